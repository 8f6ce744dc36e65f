//! Galleries, image definitions and image versions.

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::answer::{Answer, Answered, Refusal};
use super::call::Call;
use super::inner::{Inner, only};
use super::operations::{Begun, Kind as Change};
use super::page::{Paging, key};
use super::projection::{Kind, check};
use super::shape::Shape;
use super::versions::ApiVersion;
use super::{groups, phantom, shape, words};
use crate::access::SharingUpdate;
use crate::error::{Error, ErrorKind};
use crate::model::{
    DiskReference, GalleryId, ImageDefinitionId, ImageVersion, ImageVersionId, Region, Request as PutRequest,
    ResourceGroupName, ResourceId, SourceDisk, SourceDisks, SubscriptionId, VersionSource,
};
use crate::service::change::{Applied, Effect};
use crate::service::publish::LocalDisks;
use crate::service::read::{CatalogView, ListScope, OperationId, ProvisioningState};

/// A request below `…/providers/Microsoft.Compute/galleries`.
struct Request<'a> {
    inner: &'a Inner,
    call: &'a Call,
    /// The id of the request, which becomes its operation's.
    id: &'a str,
    version: ApiVersion,
}

pub(super) async fn answer(inner: &Inner, call: &Call, path: &[&str], id: &str) -> Answered {
    let (in_group, rest) = match path {
        [_, _, "providers", _, _, rest @ ..] => (false, rest),
        [_, _, _, _, "providers", _, _, rest @ ..] => (true, rest),
        _ => return Err(groups::unknown(call)),
    };
    let kind = match rest {
        [_, "images", _, "versions", ..] => "galleries/images/versions",
        [_, "images", ..] => "galleries/images",
        _ => "galleries",
    };
    let version = call.gallery_version(kind, inner.settings.strict_versions)?;
    let request = Request { inner, call, id, version };
    if version < since(rest) {
        return Err(groups::unknown(call));
    }
    match (in_group, rest) {
        (_, []) => request.galleries(in_group).await,
        (false, _) => Err(groups::unknown(call)),
        (true, [_]) => request.gallery().await,
        (true, [_, "share"]) => request.share().await,
        (true, [_, "images"]) => request.images().await,
        (true, [_, "images", _]) => request.image().await,
        (true, [_, "images", _, "versions"]) => request.versions().await,
        (true, [_, "images", _, "versions", _]) => request.image_version().await,
        (true, [_, "softdeletedartifacttypes", kind, "artifacts", _, "versions"]) => request.soft_deleted(kind).await,
        (true, [_, "applications" | "scripts" | "invmaccesscontrolprofiles" | "remotecontainerimages", more @ ..]) => {
            request.absent(more.len() % 2 == 0).await
        }
        _ => Err(groups::unknown(call)),
    }
}

/// The first version that has what stands below `…/galleries`.
fn since(rest: &[&str]) -> ApiVersion {
    match rest {
        [_, "share"] => ApiVersion::V2020_09_30,
        [_, "applications", ..] => ApiVersion::V2019_03_01,
        [_, "softdeletedartifacttypes" | "invmaccesscontrolprofiles" | "remotecontainerimages", ..] => {
            ApiVersion::V2024_03_03
        }
        [_, "scripts", ..] => ApiVersion::V2025_03_03,
        _ => ApiVersion::V2018_06_01,
    }
}

impl Request<'_> {
    fn subscription(&self) -> Result<SubscriptionId, Error> {
        self.call.segment(1).parse()
    }

    fn gallery_id(&self) -> Result<GalleryId, Error> {
        let name = self.call.segment(7);
        self.call.id(8).parse().map_err(|error| name_problem(error, name.parse::<crate::model::GalleryName>().err()))
    }

    fn image_id(&self) -> Result<ImageDefinitionId, Error> {
        let name = self.call.segment(9);
        self.call.id(10).parse().map_err(|error| name_problem(error, name.parse::<crate::model::ImageName>().err()))
    }

    /// The operation that the request becomes, if it changes anything.
    fn operation(&self) -> Result<OperationId, Error> {
        self.id.parse()
    }

    async fn view(&self) -> Result<CatalogView, Refusal> {
        Ok(self.call.session.refresh().await?)
    }

    fn paging(&self) -> Result<Paging<'_>, Refusal> {
        Paging::of(self.call, &self.inner.settings)
    }

    // Galleries.

    fn shape(&self) -> Shape<'_> {
        self.inner.shape(self.version)
    }

    fn gallery_json(&self, view: &CatalogView, gallery: &GalleryId) -> Result<Value, Refusal> {
        let with_groups =
            self.call.asks_for("$select", "Permissions") || self.call.asks_for("$expand", "SharingProfile/Groups");
        let sharing = view.gallery_sharing(gallery)?;
        Ok(self.shape().gallery(view.json(gallery)?, &sharing, with_groups))
    }

    fn image_json(&self, view: &CatalogView, image: &ImageDefinitionId) -> Result<Value, Refusal> {
        Ok(self.shape().resource(Kind::Image, view.json(image)?))
    }

    fn version_json(
        &self,
        view: &CatalogView,
        version: &ImageVersionId,
        status: Option<Value>,
    ) -> Result<Value, Refusal> {
        Ok(self.shape().image_version(view.json(version)?, status))
    }

    async fn galleries(&self, in_group: bool) -> Answered {
        only(self.call, &[Method::GET])?;
        let subscription = self.subscription()?;
        let scope = match in_group {
            false => ListScope::Subscription(subscription),
            true => {
                groups::require(self.call, &self.view().await?)?;
                ListScope::ResourceGroup(subscription, self.call.segment(3).parse::<ResourceGroupName>()?)
            }
        };
        let view = self.view().await?;
        let paging = self.paging()?;
        let after = paging.after().map(|after| after.parse::<GalleryId>()).transpose()?;
        let page = view.galleries(&scope, after.as_ref(), paging.limit());
        let items =
            page.items.iter().map(|gallery| self.gallery_json(&view, gallery.id())).collect::<Result<_, _>>()?;
        Ok(paging.answer(items, page.next.map(|next| next.to_string())))
    }

    async fn gallery(&self) -> Answered {
        only(self.call, &[Method::GET, Method::PUT, Method::PATCH, Method::DELETE])?;
        match self.call.method {
            Method::GET => {
                let (id, view) = self.read_id(self.gallery_id()).await?;
                view.gallery(&id)?;
                Ok(Answer::ok(self.gallery_json(&view, &id)?))
            }
            Method::DELETE => self.delete(self.gallery_id().map(ResourceId::from)).await,
            _ => self.put_gallery().await,
        }
    }

    async fn put_gallery(&self) -> Answered {
        let request = self.request(Kind::Gallery)?;
        let put = self.call.session.put_gallery(self.gallery_id()?, request).recorded_as(self.operation()?).await?;
        let (id, region) = (put.resource.id(), put.resource.location());
        let body = self.gallery_json(&self.call.session.view(), id)?;
        Ok(self.changed(put.effect, put.operation, id.to_string(), region, body))
    }

    /// Reads the body of a PUT or PATCH.
    fn request(&self, kind: Kind) -> Result<PutRequest, Refusal> {
        let is_patch = self.is_patch()?;
        let mut body = self.call.body()?;
        check(kind, self.version, &body)?;
        words::spell(&mut body);
        Ok(if is_patch { PutRequest::patch(body) } else { PutRequest::put(body) })
    }

    /// Answers a share: its body comes back.
    async fn share(&self) -> Answered {
        only(self.call, &[Method::POST])?;
        let body = self.call.body()?;
        groups::require(self.call, &self.view().await?)?;
        let id = self.gallery_id()?;
        let update = sharing_update(&body)?;
        let gallery = self.call.session.refresh().await?.gallery(&id);
        let operation = self.operation()?;
        self.call.session.share_gallery(&id, update).recorded_as(Some(operation)).await?;
        // Nothing was to be done.
        let is_recorded = self.view().await?.operation(operation).is_ok();
        if self.inner.operations.is_instant() || !is_recorded {
            return Ok(Answer::ok(body));
        }
        let region = gallery.map(|gallery| gallery.location().to_string()).unwrap_or_default();
        let begun = Begun { id: self.id.to_owned(), kind: Change::Share, resource: id.to_string(), region, own: None };
        Ok(self.inner.operations.begin(self.call, begun, self.inner.now(), Answer::new(StatusCode::ACCEPTED, body)))
    }

    // Image definitions.

    async fn images(&self) -> Answered {
        only(self.call, &[Method::GET])?;
        let (gallery, view) = self.read_id(self.gallery_id()).await?;
        let paging = self.paging()?;
        let after = paging.after().map(str::parse).transpose()?;
        let page = view.image_definitions(&gallery, after.as_ref(), paging.limit())?;
        let items = page.items.iter().map(|image| self.image_json(&view, image.id())).collect::<Result<_, _>>()?;
        Ok(paging.answer(items, page.next.map(|next| next.to_string())))
    }

    async fn image(&self) -> Answered {
        only(self.call, &[Method::GET, Method::PUT, Method::PATCH, Method::DELETE])?;
        match self.call.method {
            Method::GET => {
                let (id, view) = self.read_id(self.image_id()).await?;
                view.image_definition(&id)?;
                Ok(Answer::ok(self.image_json(&view, &id)?))
            }
            Method::DELETE => self.delete(self.image_id().map(ResourceId::from)).await,
            _ => self.put_image().await,
        }
    }

    async fn put_image(&self) -> Answered {
        let request = self.request(Kind::Image)?;
        let put = self.call.session.put_image_definition(self.image_id()?, request);
        let put = put.recorded_as(self.operation()?).await?;
        let (id, region) = (put.resource.id(), put.resource.location());
        let body = self.image_json(&self.call.session.view(), id)?;
        Ok(self.changed(put.effect, put.operation, id.to_string(), region, body))
    }

    // Image versions.

    fn version_id(&self) -> Result<ImageVersionId, Error> {
        Ok(self.image_id()?.version(self.call.segment(11).parse()?))
    }

    async fn versions(&self) -> Answered {
        only(self.call, &[Method::GET])?;
        let (image, view) = self.read_id(self.image_id()).await?;
        let paging = self.paging()?;
        let after = paging.after().map(str::parse).transpose()?;
        let page = view.image_versions(&image, after, paging.limit())?;
        let shown = page.items.iter().map(|version| version.id()).filter(|id| !is_soft_deleted(&view, id));
        let items = shown.map(|id| self.version_json(&view, id, None)).collect::<Result<_, _>>()?;
        Ok(paging.answer(items, page.next.map(|next| next.to_string())))
    }

    async fn image_version(&self) -> Answered {
        only(self.call, &[Method::GET, Method::PUT, Method::PATCH, Method::DELETE])?;
        match self.call.method {
            Method::GET => {
                let (id, view) = self.read_id(self.version_id()).await?;
                view.image_version(&id)?;
                if is_soft_deleted(&view, &id) {
                    return Err(self.not_there());
                }
                // A version that is being created has none yet.
                let status = match self.call.asks_for("$expand", "ReplicationStatus") {
                    true => self.call.session.replication_status(&id).await.ok(),
                    false => None,
                };
                let status = status.map(|status| self.shape().replication(&status));
                Ok(Answer::ok(self.version_json(&view, &id, status)?))
            }
            Method::DELETE => self.delete(self.version_id().map(ResourceId::from)).await,
            _ => self.put_version().await,
        }
    }

    async fn put_version(&self) -> Answered {
        let (id, session) = (self.version_id()?, &self.call.session);
        let request = match self.undeletes(&id).await? {
            true => PutRequest::patch(json!({"properties": {"restore": true}})),
            false => self.request(Kind::Version)?,
        };
        let put = session.put_image_version(id, request).await?;
        let (id, region) = (put.resource.id(), put.resource.location());
        if !self.inner.is_driven() || self.call.is_of_deployment {
            let refused = self.carry_through(&put).await?;
            if let (true, Some(refused)) = (self.inner.operations.is_instant() || self.call.is_of_deployment, refused) {
                // The operation of a resource fails a deployment, and not the request.
                let status = if self.inner.operations.is_instant() { refused.status } else { StatusCode::CONFLICT };
                return Err(refused.of_status(status));
            }
        }
        let body = self.version_json(&self.call.session.view(), id, None)?;
        Ok(self.changed(put.effect, put.operation, id.to_string(), region, body))
    }

    /// Whether a PUT of a version that was deleted softly restores it, as az does: it names no source.
    async fn undeletes(&self, id: &ImageVersionId) -> Result<bool, Refusal> {
        let is_put = self.call.method == Method::PUT && self.version >= ApiVersion::V2024_03_03;
        if !is_put
            || self.call.body()?.pointer("/properties/storageProfile").is_some_and(|storage| *storage != json!({}))
        {
            return Ok(false);
        }
        Ok(is_soft_deleted(&self.view().await?, id))
    }

    /// Fills a version and its regions, where no driver does. Returns what the operation fails with.
    async fn carry_through(&self, put: &Applied<ImageVersion>) -> Result<Option<Refusal>, Refusal> {
        let (session, version, id) = (&self.call.session, &put.resource, put.resource.id());
        let view = self.view().await?;
        if view.provisioning(id)?.state == ProvisioningState::Creating {
            let completion = session.complete_version(id);
            let completed = match self.phantom(&view, version) {
                Some(disks) => completion.from_disks(disks).await,
                None => completion.await,
            };
            if let Err(error) = completed {
                // Another request may have carried it through meanwhile.
                let state = self.view().await?.provisioning(id)?.state;
                if matches!(state, ProvisioningState::Succeeded | ProvisioningState::Updating) {
                    return Ok(None);
                }
                session.give_up(put.operation, &error).await?;
                return Ok(Some(error.into()));
            }
        } else if put.effect == Effect::Unchanged {
            return Ok(None);
        }
        let Err(error) = session.replicate(id).await else { return Ok(None) };
        session.give_up(put.operation, &error).await?;
        Ok(Some(error.into()))
    }

    /// Returns zeros for a source that is only named; `None` where the source is stored, or must be.
    fn phantom(&self, view: &CatalogView, version: &ImageVersion) -> Option<LocalDisks> {
        let unknown = || self.unknown(version);
        let is_absent = |error: Option<Error>| error.is_some_and(|error| error.kind() == ErrorKind::NotFound);
        match version.storage_profile().source()? {
            VersionSource::ManagedImage(id) if is_absent(view.managed_image(id).err()) => {
                if view.named_source(id).is_ok() { groups::zeros(self.inner, view, id) } else { unknown() }
            }
            VersionSource::ImageVersion(id) if is_absent(view.image_version(id).err()) => unknown(),
            VersionSource::VirtualMachine(_) | VersionSource::CommunityGalleryImage(_) => unknown(),
            VersionSource::ManagedImage(_) | VersionSource::ImageVersion(_) => None,
            VersionSource::Disks(disks) => self.disks(view, disks),
        }
    }

    /// Returns zeros for a source of which nothing is known but what the request says of it: the data disks that it encrypts.
    fn unknown(&self, version: &ImageVersion) -> Option<LocalDisks> {
        let bytes = self.inner.settings.named_sources?;
        let encrypted = version.publishing_profile().target_regions().iter().filter_map(|target| target.encryption());
        let luns: BTreeSet<u32> = encrypted.flat_map(|disks| disks.luns()).collect();
        let os_disk = LocalDisks::new(phantom::disk(bytes));
        Some(luns.into_iter().fold(os_disk, |disks, lun| disks.with_data_disk(lun, phantom::disk(bytes))))
    }

    /// Returns zeros for disks of which not all are stored.
    fn disks(&self, view: &CatalogView, disks: &SourceDisks) -> Option<LocalDisks> {
        let mut all = std::iter::once(disks.os_disk()).chain(disks.data_disks().iter().map(|(_, disk)| disk));
        let is_stored =
            |disk: &SourceDisk| matches!(disk.reference(), DiskReference::Snapshot(id) if view.snapshot(id).is_ok());
        if all.all(is_stored) {
            return None;
        }
        let zeros = |disk: &SourceDisk| {
            let size = match disk.reference() {
                DiskReference::Disk(id) => groups::size(self.inner, view, &id.into()),
                DiskReference::Snapshot(id) => groups::size(self.inner, view, &id.into()),
                DiskReference::Vhd { .. } => self.inner.settings.named_sources,
            };
            size.map(phantom::disk)
        };
        let mut local = LocalDisks::new(zeros(disks.os_disk())?);
        for (lun, disk) in disks.data_disks() {
            local = local.with_data_disk(*lun, zeros(disk)?);
        }
        Some(local)
    }

    async fn soft_deleted(&self, kind: &str) -> Answered {
        only(self.call, &[Method::GET])?;
        let (gallery, view) = self.read_id(self.gallery_id()).await?;
        view.gallery(&gallery)?;
        if kind != "images" {
            return Ok(Answer::list(Vec::new()));
        }
        let name = self.call.segment(11);
        let image = gallery.image(name.parse()?);
        let deleted = view.soft_deleted_versions(&image)?;
        let written = |time: chrono::DateTime<chrono::Utc>| time.to_rfc3339_opts(chrono::SecondsFormat::Micros, false);
        let newest = self.version >= ApiVersion::V2026_03_03;
        self.paging()?.of_all(deleted.iter().map(|deleted| (key(&deleted.version.id().number()), deleted)), |deleted| {
            let (id, number) = (deleted.version.id(), deleted.version.id().number());
            let gallery = id.definition().gallery();
            let mut properties = json!({
                "resourceArmId": id.to_string(),
                "softDeletedArtifactType": "Images",
                "softDeletedTime": written(deleted.soft_deleted_time),
            });
            if let (true, Value::Object(properties)) = (newest, &mut properties) {
                properties.insert("consumptionEndTime".into(), json!(written(deleted.consumption_end)));
                properties.insert("hardDeletionTargetTime".into(), json!(written(deleted.restorable_until)));
            }
            Ok(json!({
                "id": format!("{gallery}/softDeletedArtifactTypes/Images/artifacts/{name}/versions/{number}"),
                "name": number.to_string(),
                "type": "Microsoft.Compute/galleries/softDeletedArtifactTypes/artifacts/versions",
                "location": deleted.version.location(),
                "properties": properties,
            }))
        })
    }

    /// Answers for what a gallery of Azure has, and this has not.
    async fn absent(&self, is_list: bool) -> Answered {
        if is_list {
            only(self.call, &[Method::GET])?;
        }
        let (gallery, view) = self.read_id(self.gallery_id()).await?;
        view.gallery(&gallery)?;
        match (&self.call.method, is_list) {
            (&Method::GET, true) => Ok(Answer::list(Vec::new())),
            (&Method::GET, false) => Err(self.not_there()),
            (&Method::DELETE, false) => Ok(Answer::empty(StatusCode::NO_CONTENT)),
            _ => {
                let what = format!("The resource type '{}' is not supported by this gallery.", self.call.segment(8));
                Err(Refusal::bad_request("InvalidResourceType", what))
            }
        }
    }

    // What all three have in common.

    fn is_patch(&self) -> Result<bool, Refusal> {
        let is_patch = self.call.method == Method::PATCH;
        if is_patch && self.version < ApiVersion::V2019_07_01 {
            only(self.call, &[Method::GET, Method::PUT, Method::DELETE])?;
        }
        Ok(is_patch)
    }

    /// A name that no resource can have names none: a read of it finds nothing.
    async fn read_id<I>(&self, id: Result<I, Error>) -> Result<(I, CatalogView), Refusal> {
        let view = self.view().await?;
        groups::require(self.call, &view)?;
        id.map(|id| (id, view)).map_err(|_no_such_name| self.not_there())
    }

    fn not_there(&self) -> Refusal {
        let what = format!(
            "The Resource 'Microsoft.Compute/{}' under resource group '{}' was not found. For more details please go to \
             https://aka.ms/ARMResourceNotFoundFix",
            self.call.segments.from(6).trim_start_matches('/'),
            self.call.segment(3)
        );
        Refusal::not_found("ResourceNotFound", what)
    }

    /// Answers a PUT or PATCH that was done.
    fn changed(
        &self,
        effect: Effect,
        operation: Option<OperationId>,
        resource: String,
        region: &Region,
        body: Value,
    ) -> Answer {
        let is_new = effect == Effect::Created;
        let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
        let Some(operation) = operation.filter(|_| !self.inner.operations.is_instant()) else {
            return Answer::new(status, body);
        };
        let kind = effect.into();
        let (id, region) = (operation.to_string(), region.to_string());
        let begun = Begun { id, kind, resource, region, own: None };
        let answer = Answer::new(status, shape::in_progress(body, kind));
        self.inner.operations.begin(self.call, begun, self.inner.now(), answer)
    }

    async fn delete(&self, id: Result<ResourceId, Error>) -> Answered {
        groups::require(self.call, &self.view().await?)?;
        let Ok(id) = id else { return Ok(Answer::empty(StatusCode::NO_CONTENT)) };
        let mut deletion = self.call.session.delete(id.clone());
        if self.call.asks_for("bypasssoftdelete", "true") {
            deletion = deletion.bypass_soft_delete();
        }
        let region = self.region_of(&id).await?;
        let is_driven = self.inner.is_driven() && !self.inner.operations.is_instant();
        let operation = match is_driven {
            true => deletion.begin().await?,
            false => {
                let operation = self.operation()?;
                (!deletion.recorded_as(operation).await?.is_empty()).then_some(operation)
            }
        };
        let Some(operation) = operation else { return Ok(Answer::empty(StatusCode::NO_CONTENT)) };
        if self.inner.operations.is_instant() {
            return Ok(Answer::empty(StatusCode::OK));
        }
        let begun =
            Begun { id: operation.to_string(), kind: Change::Delete, resource: id.to_string(), region, own: None };
        Ok(self.inner.operations.begin(self.call, begun, self.inner.now(), Answer::empty(StatusCode::ACCEPTED)))
    }

    async fn region_of(&self, id: &ResourceId) -> Result<String, Refusal> {
        let view = self.view().await?;
        let region = match id {
            ResourceId::Gallery(id) => view.gallery(id).map(|found| found.location().to_string()),
            ResourceId::ImageDefinition(id) => view.image_definition(id).map(|found| found.location().to_string()),
            ResourceId::ImageVersion(id) => view.image_version(id).map(|found| found.location().to_string()),
            _ => Ok(String::new()),
        };
        Ok(region.unwrap_or_default())
    }
}

/// A name's own problem is told as Azure tells it.
fn name_problem(whole: Error, name: Option<Error>) -> Error {
    name.unwrap_or(whole)
}

fn is_soft_deleted(view: &CatalogView, id: &ImageVersionId) -> bool {
    view.soft_deleted_versions(id.definition())
        .is_ok_and(|deleted| deleted.iter().any(|deleted| deleted.version.id() == id))
}

/// Reads the body of a share.
fn sharing_update(body: &Value) -> Result<SharingUpdate, Refusal> {
    let wrong = |path: &str, what: &str| {
        let target = format!("sharingUpdate.{path}");
        Refusal::bad_request("InvalidParameter", what).at(target)
    };
    let kind = body.get("operationType").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    let (mut subscriptions, mut tenants) = (Vec::new(), Vec::new());
    for group in body.get("groups").and_then(Value::as_array).into_iter().flatten() {
        let of = group.get("type").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
        for id in group.get("ids").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            match of.as_str() {
                "subscriptions" => subscriptions.push(id.parse()?),
                "aadtenants" => tenants.push(id.parse()?),
                _ => return Err(wrong("groups.type", "The group's type must be 'Subscriptions' or 'AADTenants'.")),
            }
        }
    }
    match kind.as_str() {
        "add" => Ok(SharingUpdate::Add { subscriptions, tenants }),
        "remove" => Ok(SharingUpdate::Remove { subscriptions, tenants }),
        "reset" => Ok(SharingUpdate::Reset),
        "enablecommunity" => Ok(SharingUpdate::EnableCommunity),
        _ => {
            let what = "Required parameter 'operationType' must be 'Add', 'Remove', 'Reset' or 'EnableCommunity'.";
            Err(wrong("operationType", what))
        }
    }
}
