//! Galleries, image definitions and image versions.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::answer::{Answer, Answered, Refusal};
use super::face::{Inner, only};
use super::call::Call;
use super::operations::{Begun, Kind as Change};
use super::projection::{Kind, check};
use super::text::{percent_encoded, base64_url, base64_url_decoded};
use super::versions::ApiVersion;
use super::{groups, lenient, phantom};
use crate::access::SharingUpdate;
use crate::error::{Error, ErrorKind};
use crate::model::{
    DiskReference, Gallery, GalleryId, ImageDefinition, ImageDefinitionId, ImageVersion, ImageVersionId,
    ImageVersionRequest, ResourceGroupName, ResourceId, SubscriptionId, VersionSource,
};
use crate::service::publish::{ImageSource, LocalDisks, NewImageVersion, SnapshotDisks, SourceMachine, VhdBlob};
use crate::service::read::{CatalogView, ListScope};

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

impl Request<'_> {
    fn subscription(&self) -> Result<SubscriptionId, Error> {
        self.call.segment(1).parse()
    }

    fn gallery_id(&self) -> Result<GalleryId, Error> {
        self.call.id(8).parse()
    }

    fn image_id(&self) -> Result<ImageDefinitionId, Error> {
        let name = self.call.segment(9);
        self.call.id(10).parse().map_err(|error| name_problem(error, name.parse::<crate::model::ImageName>().err()))
    }

    async fn view(&self) -> Result<CatalogView, Refusal> {
        Ok(self.call.session.refresh().await?)
    }

    /// Returns a page, and the address of the next one.
    fn page(&self, items: Vec<Value>, next: Option<String>) -> Answer {
        let Some(next) = next else { return Answer::list(items) };
        let mut query = format!("api-version={}", percent_encoded(&self.call.api_version));
        query.push_str(&format!("&$skiptoken={}", base64_url(next.as_bytes())));
        let next = format!("{}{}?{query}", self.call.base, self.call.path());
        Answer::ok(json!({"value": items, "nextLink": next}))
    }

    fn after(&self) -> Result<Option<String>, Refusal> {
        let Some(token) = self.call.parameter("$skiptoken") else { return Ok(None) };
        let read = base64_url_decoded(token).and_then(|bytes| String::from_utf8(bytes).ok());
        let wrong = || Refusal::bad_request("InvalidSkipToken", "The skip token is invalid: ask for the first page again.");
        read.map(Some).ok_or_else(wrong)
    }

    fn limit(&self) -> usize {
        let top = self.call.parameter("$top").and_then(|top| top.parse().ok());
        top.unwrap_or(self.inner.settings.page).clamp(1, 1000)
    }

    // Galleries.

    fn gallery_json(&self, view: &CatalogView, gallery: &Gallery) -> Value {
        let sharing = view.gallery_sharing(gallery.id()).unwrap_or_default();
        let with_groups = self.call.asks_for("$select", "Permissions")
            || self.call.asks_for("$expand", "SharingProfile/Groups");
        self.inner.shape(self.version).gallery(gallery, &sharing, with_groups)
    }

    async fn galleries(&self, in_group: bool) -> Answered {
        only(self.call, &[Method::GET])?;
        let subscription = self.subscription()?;
        let scope = match in_group {
            false => ListScope::Subscription(subscription),
            true => {
                groups::require(self.inner, self.call).await?;
                ListScope::ResourceGroup(subscription, self.call.segment(3).parse::<ResourceGroupName>()?)
            }
        };
        let view = self.view().await?;
        let after = self.after()?.map(|after| after.parse::<GalleryId>()).transpose()?;
        let page = view.galleries(&scope, after.as_ref(), self.limit());
        let items = page.items.iter().map(|gallery| self.gallery_json(&view, gallery)).collect();
        Ok(self.page(items, page.next.map(|next| next.to_string())))
    }

    async fn gallery(&self) -> Answered {
        only(self.call, &[Method::GET, Method::PUT, Method::PATCH, Method::DELETE])?;
        match self.call.method {
            Method::GET => {
                let id = self.read_id(self.gallery_id()).await?;
                let view = self.view().await?;
                let gallery = view.gallery(&id)?;
                Ok(Answer::ok(self.gallery_json(&view, &gallery)))
            }
            Method::DELETE => self.delete(self.gallery_id().map(ResourceId::from)).await,
            _ => self.put_gallery().await,
        }
    }

    async fn put_gallery(&self) -> Answered {
        let (id, is_patch, body) = (self.gallery_id(), self.is_patch()?, self.call.body()?);
        check(Kind::Gallery, self.version, &body)?;
        groups::require(self.inner, self.call).await?;
        let id = id?;
        let body = lenient::read(Kind::Gallery, &body, is_patch);
        let old = self.old(self.view().await?.gallery(&id))?;
        let is_new = old.is_none();
        let session = &self.call.session;
        let gallery = match (old, is_patch) {
            (None, true) => return Err(self.view().await?.gallery(&id).map_or_else(Refusal::from, |_| groups::unknown(self.call))),
            (None, false) => session.create_gallery(Gallery::from_body(id, &body)?).await?,
            (Some(old), true) => session.update_gallery(old.patched(&body)?).await?,
            (Some(_), false) => session.update_gallery(Gallery::from_body(id, &body)?).await?,
        };
        let region = gallery.location().to_string();
        let resource = gallery.id().to_string();
        let sharing = self.view().await?.gallery_sharing(gallery.id()).unwrap_or_default();
        let answer = || self.inner.shape(self.version).gallery(&gallery, &sharing, false);
        Ok(self.changed(is_new, resource, region, None, answer))
    }

    /// Answers a share: its body comes back.
    async fn share(&self) -> Answered {
        only(self.call, &[Method::POST])?;
        let body = self.call.body()?;
        groups::require(self.inner, self.call).await?;
        let id = self.gallery_id()?;
        let update = sharing_update(&body)?;
        let gallery = self.call.session.refresh().await?.gallery(&id);
        self.call.session.share_gallery(&id, update).await?;
        let answer = Answer::ok(body.clone());
        if self.inner.operations.is_instant() {
            return Ok(answer);
        }
        let region = gallery.map(|gallery| gallery.location().to_string()).unwrap_or_default();
        let begun = Begun {
            id: self.id.to_owned(),
            kind: Change::Share,
            resource: id.to_string(),
            region,
            result: Some(body.clone()),
            error: None,
        };
        Ok(self.inner.operations.begin(self.call, begun, self.inner.now(), Answer::new(StatusCode::ACCEPTED, body)))
    }

    // Image definitions.

    async fn images(&self) -> Answered {
        only(self.call, &[Method::GET])?;
        let gallery = self.read_id(self.gallery_id()).await?;
        let after = self.after()?.map(|after| after.parse()).transpose()?;
        let page = self.view().await?.image_definitions(&gallery, after.as_ref(), self.limit())?;
        let shape = self.inner.shape(self.version);
        let items = page.items.iter().map(|image| shape.image(image)).collect();
        Ok(self.page(items, page.next.map(|next| next.to_string())))
    }

    async fn image(&self) -> Answered {
        only(self.call, &[Method::GET, Method::PUT, Method::PATCH, Method::DELETE])?;
        match self.call.method {
            Method::GET => {
                let id = self.read_id(self.image_id()).await?;
                let image = self.view().await?.image_definition(&id)?;
                Ok(Answer::ok(self.inner.shape(self.version).image(&image)))
            }
            Method::DELETE => self.delete(self.image_id().map(ResourceId::from)).await,
            _ => self.put_image().await,
        }
    }

    async fn put_image(&self) -> Answered {
        let (id, is_patch, body) = (self.image_id(), self.is_patch()?, self.call.body()?);
        check(Kind::Image, self.version, &body)?;
        groups::require(self.inner, self.call).await?;
        let id = id?;
        let body = lenient::read(Kind::Image, &body, is_patch);
        let old = self.old(self.view().await?.image_definition(&id))?;
        let is_new = old.is_none();
        let session = &self.call.session;
        let image = match (old, is_patch) {
            (None, true) => {
                let missing = self.view().await?.image_definition(&id);
                return Err(missing.map_or_else(Refusal::from, |_| groups::unknown(self.call)));
            }
            (None, false) => session.create_image_definition(ImageDefinition::from_body(id, &body)?).await?,
            (Some(old), true) => session.update_image_definition(old.patched(&body)?).await?,
            (Some(_), false) => session.update_image_definition(ImageDefinition::from_body(id, &body)?).await?,
        };
        let (resource, region) = (image.id().to_string(), image.location().to_string());
        Ok(self.changed(is_new, resource, region, None, || self.inner.shape(self.version).image(&image)))
    }

    // Image versions.

    fn version_id(&self) -> Result<ImageVersionId, Error> {
        Ok(self.image_id()?.version(self.call.segment(11).parse()?))
    }

    async fn versions(&self) -> Answered {
        only(self.call, &[Method::GET])?;
        let image = self.read_id(self.image_id()).await?;
        let after = self.after()?.map(|after| after.parse()).transpose()?;
        let view = self.view().await?;
        let page = view.image_versions(&image, after, self.limit())?;
        let shape = self.inner.shape(self.version);
        let shown = page.items.iter().filter(|version| !is_soft_deleted(&view, version.id()));
        let items = shown.map(|version| shape.image_version(version, None, false)).collect();
        Ok(self.page(items, page.next.map(|next| next.to_string())))
    }

    async fn image_version(&self) -> Answered {
        only(self.call, &[Method::GET, Method::PUT, Method::PATCH, Method::DELETE])?;
        match self.call.method {
            Method::GET => {
                let id = self.read_id(self.version_id()).await?;
                let view = self.view().await?;
                let version = view.image_version(&id)?;
                if is_soft_deleted(&view, &id) {
                    return Err(self.not_there());
                }
                let status = match self.call.asks_for("$expand", "ReplicationStatus") {
                    true => Some(self.call.session.replication_status(&id).await?),
                    false => None,
                };
                let shape = self.inner.shape(self.version);
                let status = status.map(|status| shape.replication(&status));
                let with_uefi = self.call.asks_for("$expand", "UefiSettings");
                Ok(Answer::ok(shape.image_version(&version, status, with_uefi)))
            }
            Method::DELETE => self.delete(self.version_id().map(ResourceId::from)).await,
            _ => self.put_version().await,
        }
    }

    async fn put_version(&self) -> Answered {
        let (id, is_patch, body) = (self.version_id(), self.is_patch()?, self.call.body()?);
        check(Kind::Version, self.version, &body)?;
        groups::require(self.inner, self.call).await?;
        let id = id?;
        let restores = body.pointer("/properties/restore") == Some(&Value::Bool(true));
        let mut body = lenient::read(Kind::Version, &body, is_patch);
        if let Some(Value::Object(properties)) = body.get_mut("properties") {
            properties.remove("restore");
        }
        let session = &self.call.session;
        let view = self.view().await?;
        if is_soft_deleted(&view, &id) {
            if !restores && body.pointer("/properties/storageProfile/source").is_some() {
                let what = format!("A soft-deleted image version '{}' exists. Restore it, or delete it for good first.", id.number());
                return Err(Refusal::new(StatusCode::CONFLICT, "OperationNotAllowed", what));
            }
            session.restore(&id).await?;
            let version = self.view().await?.image_version(&id)?;
            return Ok(self.version_changed(false, &version, None));
        }
        let old = self.old(view.image_version(&id))?;
        let (is_new, version) = match old {
            None if is_patch => return Err(self.not_there()),
            None => (true, self.publish(&view, id, &body).await?),
            Some(old) => (false, session.update_image_version(old.patched(&patch_of(&body, is_patch))?).await?),
        };
        // The other regions are filled here: nothing else would.
        let replicated = session.replicate(version.id()).await.err().map(Refusal::from);
        Ok(self.version_changed(is_new, &version, replicated))
    }

    fn version_changed(&self, is_new: bool, version: &ImageVersion, error: Option<Refusal>) -> Answer {
        let (resource, region) = (version.id().to_string(), version.location().to_string());
        self.changed(is_new, resource, region, error, || {
            self.inner.shape(self.version).image_version(version, None, false)
        })
    }

    /// Makes a version of the source that the body names.
    async fn publish(&self, view: &CatalogView, id: ImageVersionId, body: &Value) -> Result<ImageVersion, Refusal> {
        let request = ImageVersionRequest::from_body(body)?;
        let definition = view.image_definition(id.definition())?;
        let (location, profile, source, tags, safety) = request.into_parts();
        let source = self.source(view, &source, &definition, &location)?;
        let new = NewImageVersion::new(id, location, profile, source).with_tags(tags);
        let new = new.with_safety_profile(safety.unwrap_or_default());
        Ok(self.call.session.publish(new).await?.resource)
    }

    /// Returns the source that is named: what is stored, or zeros that stand for it.
    fn source(
        &self,
        view: &CatalogView,
        named: &VersionSource,
        definition: &ImageDefinition,
        location: &crate::model::Region,
    ) -> Result<ImageSource, Refusal> {
        let size = self.inner.settings.named_sources;
        let machine = |id: crate::model::VirtualMachineId, bytes: u64| SourceMachine {
            id,
            location: location.clone(),
            os_type: definition.os_type(),
            os_state: definition.os_state(),
            hyper_v_generation: definition.hyper_v_generation(),
            architecture: definition.architecture(),
            purchase_plan: definition.purchase_plan().cloned(),
            disks: LocalDisks::new(phantom::disk(bytes)),
        };
        match named {
            VersionSource::ManagedImage(id) => match (view.managed_image(id), size) {
                (Err(error), Some(bytes)) if error.kind() == ErrorKind::NotFound => {
                    Ok(LocalDisks::new(phantom::disk(bytes)).into())
                }
                _ => Ok(id.clone().into()),
            },
            VersionSource::ImageVersion(id) => match (view.image_version(id), size) {
                (Err(error), Some(bytes)) if error.kind() == ErrorKind::NotFound => {
                    Ok(LocalDisks::new(phantom::disk(bytes)).into())
                }
                _ => Ok(id.clone().into()),
            },
            VersionSource::VirtualMachine(id) => match size {
                Some(bytes) => Ok(machine(id.clone(), bytes).into()),
                None => Err(no_source(&id.to_string())),
            },
            VersionSource::Disks(disks) => self.disks(view, disks),
            _ => Err(no_source("the community image")),
        }
    }

    fn disks(&self, view: &CatalogView, disks: &crate::model::SourceDisks) -> Result<ImageSource, Refusal> {
        let all = || std::iter::once((None, disks.os_disk())).chain(disks.data_disks().iter().map(|(lun, disk)| (Some(*lun), disk)));
        let stored = |reference: &DiskReference| match reference {
            DiskReference::Snapshot(id) => view.snapshot(id).is_ok().then(|| id.clone()),
            _ => None,
        };
        let snapshots: Option<Vec<_>> = all().map(|(lun, disk)| Some((lun, stored(disk.reference())?))).collect();
        if let Some(snapshots) = snapshots {
            let mut snapshots = snapshots.into_iter();
            if let Some((_, os_disk)) = snapshots.next() {
                let source = snapshots.fold(SnapshotDisks::new(os_disk), |source, (lun, snapshot)| {
                    source.with_data_disk(lun.unwrap_or_default(), snapshot)
                });
                return Ok(source.into());
            }
        }
        let size = |reference: &DiskReference| {
            let known = match reference {
                DiskReference::Disk(id) => groups::disk_size(self.inner, &id.to_string()),
                DiskReference::Snapshot(id) => view.snapshot(id).ok().map(|snapshot| snapshot.disk_size_bytes()),
                _ => None,
            };
            let name = || match reference {
                DiskReference::Disk(id) => id.to_string(),
                DiskReference::Snapshot(id) => id.to_string(),
                DiskReference::Vhd { uri, .. } => uri.clone(),
            };
            known.or(self.inner.settings.named_sources).ok_or_else(|| no_source(&name()))
        };
        let os_bytes = size(disks.os_disk().reference())?;
        if let (DiskReference::Vhd { uri, storage_account: Some(account) }, []) =
            (disks.os_disk().reference(), disks.data_disks())
        {
            let disk = phantom::disk(os_bytes);
            return Ok(VhdBlob { uri: uri.clone(), storage_account: account.clone(), disk }.into());
        }
        let mut local = LocalDisks::new(phantom::disk(os_bytes));
        for (lun, disk) in disks.data_disks() {
            local = local.with_data_disk(*lun, phantom::disk(size(disk.reference())?));
        }
        Ok(local.into())
    }

    async fn soft_deleted(&self, kind: &str) -> Answered {
        only(self.call, &[Method::GET])?;
        let gallery = self.read_id(self.gallery_id()).await?;
        let view = self.view().await?;
        view.gallery(&gallery)?;
        if kind != "images" {
            return Ok(Answer::list(Vec::new()));
        }
        let name = self.call.segment(11);
        let image = gallery.image(name.parse()?);
        let deleted = view.soft_deleted_versions(&image)?;
        let written = |time: chrono::DateTime<chrono::Utc>| time.to_rfc3339_opts(chrono::SecondsFormat::Micros, false);
        let newest = self.version >= ApiVersion::V2026_03_03;
        let items = deleted.iter().map(|deleted| {
            let (id, number) = (deleted.version.id(), deleted.version.id().number());
            let gallery = id.definition().gallery();
            let mut properties = json!({
                "resourceArmId": id.to_string(),
                "softDeletedArtifactType": "Images",
                "softDeletedTime": written(deleted.soft_deleted_time),
            });
            if let (true, Value::Object(properties)) = (newest, &mut properties) {
                properties.insert("consumptionEndTime".into(), json!(written(deleted.restorable_until)));
                properties.insert("hardDeletionTargetTime".into(), json!(written(deleted.restorable_until)));
            }
            json!({
                "id": format!("{gallery}/softDeletedArtifactTypes/Images/artifacts/{name}/versions/{number}"),
                "name": number.to_string(),
                "type": "Microsoft.Compute/galleries/softDeletedArtifactTypes/artifacts/versions",
                "location": deleted.version.location(),
                "properties": properties,
            })
        });
        Ok(Answer::list(items.collect()))
    }

    /// Answers for what a gallery of Azure has, and this has not.
    async fn absent(&self, is_list: bool) -> Answered {
        let gallery = self.read_id(self.gallery_id()).await?;
        self.view().await?.gallery(&gallery)?;
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
    async fn read_id<I>(&self, id: Result<I, Error>) -> Result<I, Refusal> {
        groups::require(self.inner, self.call).await?;
        id.map_err(|_no_such_name| self.not_there())
    }

    fn not_there(&self) -> Refusal {
        let segments = self.call.segments.iter().skip(6);
        let (kinds, names): (Vec<_>, Vec<_>) = segments.enumerate().partition(|(at, _)| at % 2 == 0);
        let join = |parts: Vec<(usize, &String)>| parts.into_iter().map(|(_, part)| part.as_str()).collect::<Vec<_>>().join("/");
        let what = format!(
            "The Resource 'Microsoft.Compute/{}/{}' under resource group '{}' was not found. For more details please go to \
             https://aka.ms/ARMResourceNotFoundFix",
            join(kinds),
            join(names),
            self.call.segment(3)
        );
        Refusal::not_found("ResourceNotFound", what)
    }

    /// Returns what is there; who may not read it may yet create it.
    fn old<T>(&self, read: Result<std::sync::Arc<T>, Error>) -> Result<Option<T>, Refusal>
    where
        T: Clone,
    {
        match read {
            Ok(old) => Ok(Some((*old).clone())),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Forbidden) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Answers a PUT or PATCH that was done.
    fn changed(
        &self,
        is_new: bool,
        resource: String,
        region: String,
        error: Option<Refusal>,
        answer: impl Fn() -> Value,
    ) -> Answer {
        let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
        if self.inner.operations.is_instant() {
            return Answer::new(status, answer());
        }
        let kind = if is_new { Change::Create } else { Change::Update };
        let mut body = answer();
        let mut result = body.clone();
        if let Some(Value::Object(properties)) = result.get_mut("properties") {
            properties.insert("provisioningState".into(), json!("Succeeded"));
        }
        let begun = Begun { id: self.id.to_owned(), kind, resource, region, result: Some(result), error };
        let mut answered = self.inner.operations.begin(self.call, begun, self.inner.now(), Answer::empty(status));
        // As it is while the operation goes on.
        let state = if is_new { "Creating" } else { "Updating" };
        if let Some(Value::Object(properties)) = body.get_mut("properties") {
            properties.insert("provisioningState".into(), json!(state));
            if let (true, Some(Value::Object(storage))) = (is_new, properties.get_mut("storageProfile")) {
                storage.remove("osDiskImage");
                storage.remove("dataDiskImages");
            }
        }
        answered.body = Some(body);
        answered
    }

    async fn delete(&self, id: Result<ResourceId, Error>) -> Answered {
        groups::require(self.inner, self.call).await?;
        let Ok(id) = id else { return Ok(Answer::empty(StatusCode::NO_CONTENT)) };
        let mut deletion = self.call.session.delete(id.clone());
        if self.call.asks_for("bypasssoftdelete", "true") {
            deletion = deletion.bypass_soft_delete();
        }
        let region = self.region_of(&id).await?;
        let deleted = deletion.await?;
        if deleted.is_empty() {
            return Ok(Answer::empty(StatusCode::NO_CONTENT));
        }
        if self.inner.operations.is_instant() {
            return Ok(Answer::empty(StatusCode::OK));
        }
        let begun = Begun {
            id: self.id.to_owned(),
            kind: Change::Delete,
            resource: id.to_string(),
            region,
            result: None,
            error: None,
        };
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

/// A PUT over a version is a patch of its whole body.
fn patch_of(body: &Value, is_patch: bool) -> Value {
    let mut patch = body.clone();
    if let (false, Value::Object(fields)) = (is_patch, &mut patch) {
        fields.entry("tags").or_insert(Value::Null);
    }
    let storage = patch.pointer_mut("/properties/storageProfile").and_then(Value::as_object_mut);
    if storage.is_some_and(|storage| storage.is_empty()) {
        if let Some(Value::Object(properties)) = patch.get_mut("properties") {
            properties.remove("storageProfile");
        }
    }
    patch
}

fn no_source(id: &str) -> Refusal {
    let what = format!(
        "Source '{id}' is not found. Please check source exists, and is in the same region as gallery image version being \
         created."
    );
    Refusal::not_found("NotFound", what).at("galleryImageVersion.properties.storageProfile")
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
