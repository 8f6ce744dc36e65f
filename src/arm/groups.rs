//! Subscriptions, resource groups, and the resources beside galleries: managed images, snapshots, disks.

use http::header::LOCATION;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::answer::{Answer, Answered, Refusal};
use super::call::Call;
use super::inner::{Inner, only};
use super::operations::{Begun, Kind as Change};
use super::page::Paging;
use super::versions::ApiVersion;
use super::{machines, phantom};
use crate::error::{Error, ErrorKind};
use crate::model::{
    DataDiskImage, ManagedImage, ManagedImageId, NamedSource, Region, Request, ResourceGroupId, ResourceGroupName,
    ResourceId, Snapshot, SubscriptionId,
};
use crate::service::publish::LocalDisks;
use crate::service::read::{CatalogView, ListScope};

/// The subscription that is listed where any will do.
const FIRST_SUBSCRIPTION: &str = "00000000-0000-0000-0000-000000000000";
const TENANT: &str = "11111111-1111-1111-1111-111111111111";

const GIB: u64 = 1 << 30;

pub(super) async fn answer(inner: &Inner, call: &Call, path: &[&str], id: &str) -> Answered {
    let get = || only(call, &[Method::GET]);
    call.any_version()?;
    match path {
        ["subscriptions"] => {
            get()?;
            subscriptions(call).await
        }
        ["tenants"] => {
            get()?;
            let tenant = json!({
                "id": format!("/tenants/{TENANT}"), "tenantId": TENANT, "displayName": "gallery", "countryCode": "NL",
                "tenantCategory": "Home", "defaultDomain": "gallery.example", "tenantType": "AAD", "domains": ["gallery.example"],
            });
            Ok(Answer::list(vec![tenant]))
        }
        ["subscriptions", subscription] => {
            get()?;
            subscription.parse::<SubscriptionId>()?;
            Ok(Answer::ok(subscription_json(call.segment(1))))
        }
        ["subscriptions", _, "locations"] => get().map(|()| locations(inner, call)),
        ["providers"] | ["subscriptions", _, "providers"] => {
            get().map(|()| Answer::list(PROVIDERS.iter().map(|name| provider(inner, call, name)).collect()))
        }
        ["providers", name] | ["subscriptions", _, "providers", name] => {
            get()?;
            provider_named(inner, call, name)
        }
        ["subscriptions", _, "providers", name, "register" | "unregister"] => {
            only(call, &[Method::POST])?;
            provider_named(inner, call, name)
        }
        ["subscriptions", _, "resourcegroups"] => {
            get()?;
            list(inner, call).await
        }
        ["subscriptions", _, "resourcegroups", _] => group(inner, call, id).await,
        ["subscriptions", _, "resourcegroups", _, "resources"] | ["subscriptions", _, "resources"] => {
            get()?;
            resources(inner, call).await
        }
        ["subscriptions", _, "operationresults", operation] => {
            get()?;
            match inner.poll(call, operation).await? {
                answer if answer.status == StatusCode::ACCEPTED => Ok(answer),
                answer if answer.status == StatusCode::CONFLICT => Ok(answer),
                _ => Ok(Answer::empty(StatusCode::OK)),
            }
        }
        [_, _, "providers", "microsoft.compute", "locations", _, "usages"] => {
            get()?;
            usages(call).await
        }
        [_, _, "providers", "microsoft.compute", kind @ ("images" | "snapshots" | "disks" | "virtualmachines")] => {
            get()?;
            neighbours(inner, call, kind).await
        }
        [
            _,
            _,
            "resourcegroups",
            _,
            "providers",
            "microsoft.compute",
            kind @ ("images" | "snapshots" | "disks" | "virtualmachines"),
        ] => {
            get()?;
            require(call, &call.session.refresh().await?)?;
            neighbours(inner, call, kind).await
        }
        [_, _, "resourcegroups", _, "providers", "microsoft.compute", "images" | "snapshots" | "disks", _] => {
            neighbour(inner, call, id).await
        }
        [
            _,
            _,
            "resourcegroups",
            _,
            "providers",
            "microsoft.compute",
            "virtualmachines" | "virtualmachinescalesets",
            _,
        ] => {
            require(call, &call.session.refresh().await?)?;
            machines::answer(call).await
        }
        _ => Err(unknown(call)),
    }
}

/// Refuses a path that leads nowhere.
pub(super) fn unknown(call: &Call) -> Refusal {
    let at = call.segments.iter().position(|segment| segment.eq_ignore_ascii_case("providers"));
    let kinds = |at: usize| call.segments.iter().skip(at + 2).step_by(2).collect::<Vec<_>>();
    match at.map(|at| (call.segment(at + 1), kinds(at))) {
        Some((namespace, kinds)) if !kinds.is_empty() => {
            let what = format!(
                "The resource type '{}' could not be found in the namespace '{}' for api version '{}'.",
                kinds.join("/").escape_debug(),
                namespace.escape_debug(),
                call.api_version.escape_debug()
            );
            Refusal::not_found("InvalidResourceType", what)
        }
        _ => {
            let what = format!("The request path '{}' is unknown.", call.segments.from(0).escape_debug());
            Refusal::not_found("InvalidResourceType", what)
        }
    }
}

// Subscriptions and providers.

fn subscription_json(id: &str) -> Value {
    json!({
        "id": format!("/subscriptions/{id}"), "authorizationSource": "RoleBased", "managedByTenants": [],
        "subscriptionId": id, "tenantId": TENANT, "displayName": format!("gallery {id}"), "state": "Enabled",
        "subscriptionPolicies": {
            "locationPlacementId": "Public_2014-09-01", "quotaId": "PayAsYouGo_2014-09-01", "spendingLimit": "Off",
        },
    })
}

async fn subscriptions(call: &Call) -> Answered {
    let view = call.session.refresh().await?;
    let known = view.subscriptions();
    let mut ids: Vec<&str> = known.iter().map(|subscription| subscription.id.as_str()).collect();
    // Where no directory knows them, any will do: clients need one to begin with.
    if known.iter().all(|subscription| subscription.tenant.is_none()) && !ids.contains(&FIRST_SUBSCRIPTION) {
        ids.insert(0, FIRST_SUBSCRIPTION);
    }
    Ok(Answer::list(ids.into_iter().map(subscription_json).collect()))
}

fn segment_of(id: &str, at: usize) -> String {
    id.split('/').nth(at + 1).unwrap_or_default().to_owned()
}

fn locations(inner: &Inner, call: &Call) -> Answer {
    let location = |info: &crate::model::RegionInfo| {
        let name = info.region().as_str();
        json!({
            "id": format!("/subscriptions/{}/locations/{name}", call.segment(1)), "name": name, "type": "Region",
            "displayName": info.display_name(), "regionalDisplayName": info.display_name(),
            "metadata": {"regionType": "Physical", "regionCategory": "Recommended"},
        })
    };
    Answer::list(inner.regions.iter().map(location).collect())
}

const PROVIDERS: &[&str] = &["Microsoft.Compute", "Microsoft.Resources", "Microsoft.Authorization"];

fn provider_named(inner: &Inner, call: &Call, name: &str) -> Answered {
    let known = PROVIDERS.iter().find(|known| known.eq_ignore_ascii_case(name));
    Ok(Answer::ok(provider(inner, call, known.copied().unwrap_or(name))))
}

fn provider(inner: &Inner, call: &Call, name: &str) -> Value {
    let locations: Vec<&str> = inner.regions.iter().map(|info| info.display_name()).collect();
    let versions: Vec<&str> = ApiVersion::ALL.iter().rev().map(|version| version.as_str()).collect();
    let others = ["2024-11-04", "2024-07-01", "2023-03-01", "2021-07-01", "2019-03-01"];
    let kind = |name: &str, versions: &[&str]| {
        json!({
            "resourceType": name, "locations": locations, "apiVersions": versions, "capabilities": "SupportsTags, SupportsLocation",
        })
    };
    let kinds = match name {
        "Microsoft.Compute" => vec![
            kind("galleries", &versions),
            kind("galleries/images", &versions),
            kind("galleries/images/versions", &versions),
            kind("locations/sharedGalleries", &versions),
            kind("locations/communityGalleries", &versions),
            kind("images", &others),
            kind("snapshots", &others),
            kind("disks", &others),
        ],
        "Microsoft.Resources" => vec![kind("resourceGroups", &["2024-11-01", "2021-04-01"])],
        "Microsoft.Authorization" => {
            vec![kind("roleAssignments", &["2022-04-01"]), kind("roleDefinitions", &["2022-04-01"])]
        }
        _ => Vec::new(),
    };
    let above = if call.segments.len() > 2 { format!("/subscriptions/{}", call.segment(1)) } else { String::new() };
    json!({
        "id": format!("{above}/providers/{name}"), "namespace": name, "registrationState": "Registered",
        "registrationPolicy": "RegistrationRequired", "resourceTypes": kinds,
    })
}

async fn usages(call: &Call) -> Answered {
    let view = call.session.refresh().await?;
    let written = |usage: &crate::service::read::Usage| {
        let shown = match usage.name {
            "galleries" => "Galleries",
            "imageDefinitions" => "Gallery Images",
            _ => "Gallery Image Versions",
        };
        json!({
            "currentValue": usage.current_value, "limit": usage.limit, "unit": "Count",
            "name": {"value": usage.name, "localizedValue": shown},
        })
    };
    let usages = view.usage(call.segment(1), call.segment(5))?;
    Ok(Answer::list(usages.iter().map(written).collect()))
}

// Resource groups.

fn group_id(call: &Call) -> String {
    format!("/subscriptions/{}/resourceGroups/{}", call.segment(1), call.segment(3))
}

fn no_group(name: &str) -> Refusal {
    Refusal::not_found("ResourceGroupNotFound", format!("Resource group '{name}' could not be found."))
}

/// Returns the ids and regions of the galleries in a scope.
fn galleries(view: &CatalogView, scope: &ListScope, most: usize) -> impl Iterator<Item = (String, Region)> {
    let page = view.galleries(scope, None, most);
    page.items.into_iter().map(|gallery| (gallery.id().to_string(), gallery.location().clone()))
}

/// Returns the ids and regions of what the service has in a scope, at most so many of each kind.
fn all_in(view: &CatalogView, scope: &ListScope, most: usize) -> impl Iterator<Item = (String, Region)> {
    let images = view.managed_images(scope, None, most).items;
    let images = images.into_iter().map(|image| (image.id().to_string(), image.location().clone()));
    let snapshots = view.snapshots(scope, None, most).items;
    let snapshots = snapshots.into_iter().map(|snapshot| (snapshot.id().to_string(), snapshot.location().clone()));
    galleries(view, scope, most).chain(images).chain(snapshots)
}

fn scope_of(call: &Call) -> Result<ListScope, Error> {
    let subscription = call.segment(1).parse::<SubscriptionId>()?;
    match call.segment(2).eq_ignore_ascii_case("resourcegroups") && call.segments.len() > 3 {
        true => Ok(ListScope::ResourceGroup(subscription, call.segment(3).parse::<ResourceGroupName>()?)),
        false => Ok(ListScope::Subscription(subscription)),
    }
}

/// Returns a group: its record, or as the first resource in it tells where a service needs no groups.
fn found(call: &Call, view: &CatalogView) -> Result<Option<Value>, Refusal> {
    let Ok(id) = group_id(call).parse::<ResourceGroupId>() else { return Ok(None) };
    match view.resource_group_json(&id) {
        Ok(group) => return Ok(Some(group)),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let scope = ListScope::ResourceGroup(id.subscription().clone(), id.name().clone());
    let first = all_in(view, &scope, 1).next();
    Ok(first.map(|(resource, region)| implied(&id.to_string(), &segment_of(&resource, 3), region.as_str())))
}

/// Requires the group that a resource is in. Who may not see the group may yet see the resource.
pub(super) fn require(call: &Call, view: &CatalogView) -> Result<(), Refusal> {
    let id = || Some(ResourceGroupId::new(call.segment(1).parse().ok()?, call.segment(3).parse().ok()?));
    if id().is_some_and(|id| view.resource_group(&id).is_ok()) {
        return Ok(());
    }
    match found(call, view) {
        Ok(None) => Err(no_group(call.segment(3))),
        Ok(Some(_)) | Err(Refusal { status: StatusCode::FORBIDDEN, .. }) => Ok(()),
        Err(refusal) => Err(refusal),
    }
}

fn implied(id: &str, name: &str, location: &str) -> Value {
    json!({
        "id": id, "name": name, "type": "Microsoft.Resources/resourceGroups", "location": location, "tags": {},
        "properties": {"provisioningState": "Succeeded"},
    })
}

async fn list(inner: &Inner, call: &Call) -> Answered {
    let view = call.session.refresh().await?;
    let subscription: SubscriptionId = call.segment(1).parse()?;
    let page = view.resource_groups(&subscription, None, usize::MAX);
    let mut groups =
        page.items.iter().map(|group| view.resource_group_json(group.id())).collect::<Result<Vec<_>, _>>()?;
    for (resource, region) in all_in(&view, &ListScope::Subscription(subscription), usize::MAX) {
        let name = segment_of(&resource, 3);
        let has =
            |group: &Value| group.get("name").and_then(Value::as_str).is_some_and(|of| of.eq_ignore_ascii_case(&name));
        if !groups.iter().any(has) {
            let id = format!("/subscriptions/{}/resourceGroups/{name}", call.segment(1));
            groups.push(implied(&id, &name, region.as_str()));
        }
    }
    by_id(inner, call, groups)
}

/// Returns a page of resources, in the order of their ids.
fn by_id(inner: &Inner, call: &Call, items: Vec<Value>) -> Answered {
    let id = |item: &Value| item.get("id").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    Paging::of(call, &inner.settings)?.of_all(items.into_iter().map(|item| (id(&item), item)), Ok)
}

async fn group(inner: &Inner, call: &Call, operation: &str) -> Answered {
    only(call, &[Method::GET, Method::HEAD, Method::PUT, Method::PATCH, Method::DELETE])?;
    let (id, name) = (group_id(call), call.segment(3));
    let view = call.session.refresh().await?;
    match call.method {
        Method::HEAD => {
            let is_there = found(call, &view)?.is_some();
            Ok(Answer::empty(if is_there { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }))
        }
        Method::GET => found(call, &view)?.map(Answer::ok).ok_or_else(|| no_group(name)),
        Method::DELETE => {
            require(call, &view)?;
            let recorded = operation.parse()?;
            call.session.delete_resource_group(id.as_str()).recorded_as(Some(recorded)).await?;
            if inner.operations.is_instant() {
                return Ok(Answer::empty(StatusCode::OK));
            }
            let answer = begin(inner, call, operation, Change::Delete, &id, Answer::empty(StatusCode::ACCEPTED));
            // Of a group, Azure tells the location alone.
            let retry = answer.headers.into_iter().filter(|(name, _)| *name == http::header::RETRY_AFTER);
            let at = format!(
                "{}/subscriptions/{}/operationresults/{operation}?monitor=true&api-version={}",
                call.base,
                call.segment(1),
                call.api_version
            );
            let answer = Answer { status: StatusCode::ACCEPTED, headers: retry.collect(), body: None };
            Ok(answer.with(LOCATION, at))
        }
        _ => {
            let body = call.body()?;
            let request = if call.method == Method::PATCH { Request::patch(body) } else { Request::put(body) };
            let put = call.session.put_resource_group(id.as_str(), request).await?;
            let group = call.session.refresh().await?.resource_group_json(put.resource.id())?;
            let is_new = Change::from(put.effect) == Change::Create;
            Ok(Answer::new(if is_new { StatusCode::CREATED } else { StatusCode::OK }, group))
        }
    }
}

async fn resources(inner: &Inner, call: &Call) -> Answered {
    let scope = scope_of(call)?;
    let view = call.session.refresh().await?;
    let filter = call.parameter("$filter").unwrap_or_default().to_ascii_lowercase();
    let wanted = filter.split('\'').nth(1).filter(|_| filter.contains("resourcetype eq"));
    let item = |(id, region): (String, Region)| {
        let kind = id.split('/').nth(7).unwrap_or_default();
        let name = id.rsplit('/').next().unwrap_or_default();
        json!({"id": id, "name": name, "type": format!("Microsoft.Compute/{kind}"), "location": region})
    };
    let mut items: Vec<Value> = all_in(&view, &scope, usize::MAX).map(item).collect();
    let named = view.named_sources(&scope, None, usize::MAX).items;
    items.extend(named.iter().map(|source| item((source.id().to_string(), source.location().clone()))));
    let is_wanted = |item: &Value| {
        let kind = item.get("type").and_then(Value::as_str).unwrap_or_default();
        wanted.is_none_or(|wanted| kind.eq_ignore_ascii_case(wanted))
    };
    items.retain(is_wanted);
    by_id(inner, call, items)
}

// Managed images, snapshots, disks.

async fn neighbours(inner: &Inner, call: &Call, kind: &str) -> Answered {
    let scope = scope_of(call)?;
    let view = call.session.refresh().await?;
    let named = view.named_sources(&scope, None, usize::MAX).items;
    let is_kind = |source: &&std::sync::Arc<NamedSource>| match source.id() {
        ResourceId::ManagedImage(_) => kind == "images",
        ResourceId::Snapshot(_) => kind == "snapshots",
        ResourceId::Disk(_) => kind == "disks",
        _ => false,
    };
    let named = named.iter().filter(is_kind).map(|source| view.json(source.id()));
    let mut items = named.collect::<Result<Vec<Value>, _>>()?;
    match kind {
        "images" => {
            items.extend(view.managed_images(&scope, None, usize::MAX).items.iter().map(|image| image_json(image)))
        }
        "snapshots" => {
            items.extend(view.snapshots(&scope, None, usize::MAX).items.iter().map(|snapshot| snapshot_json(snapshot)));
        }
        _ => {}
    }
    by_id(inner, call, items)
}

/// Returns one as Azure answers it: what was put, or what the service knows of one with bytes.
fn neighbour_json(view: &CatalogView, id: &ResourceId) -> Result<Value, Refusal> {
    Ok(match id {
        ResourceId::ManagedImage(image) if view.named_source(id).is_err() => image_json(&*view.managed_image(image)?),
        ResourceId::Snapshot(snapshot) if view.named_source(id).is_err() => snapshot_json(&*view.snapshot(snapshot)?),
        id => view.json(id)?,
    })
}

async fn neighbour(inner: &Inner, call: &Call, operation: &str) -> Answered {
    only(call, &[Method::GET, Method::PUT, Method::PATCH, Method::DELETE])?;
    let view = call.session.refresh().await?;
    require(call, &view)?;
    let id: ResourceId = call.id(8).parse()?;
    match call.method {
        Method::GET => neighbour_json(&view, &id).map(Answer::ok),
        Method::DELETE => {
            let deletion = call.session.delete(id.clone()).recorded_as(operation.parse()?);
            let is_deleted = !deletion.await?.is_empty();
            match (is_deleted, inner.operations.is_instant()) {
                (false, _) => Ok(Answer::empty(StatusCode::NO_CONTENT)),
                (true, true) => Ok(Answer::empty(StatusCode::OK)),
                (true, false) => {
                    let answer = Answer::empty(StatusCode::ACCEPTED);
                    Ok(begin(inner, call, operation, Change::Delete, &id.to_string(), answer))
                }
            }
        }
        _ => {
            let (mut body, session) = (call.body()?, &call.session);
            if call.method == Method::PUT && matches!(id, ResourceId::Disk(_)) {
                let bytes = machines::disk_bytes(session, &body).await?;
                if let (Some(bytes), Some(Value::Object(properties))) = (bytes, body.get_mut("properties")) {
                    properties.entry("diskSizeGB").or_insert(json!(bytes.div_ceil(GIB)));
                }
            }
            let request = if call.method == Method::PATCH { Request::patch(body) } else { Request::put(body) };
            let put = match &id {
                ResourceId::ManagedImage(id) => session.put_managed_image(id, request),
                ResourceId::Snapshot(id) => session.put_snapshot(id, request),
                ResourceId::Disk(id) => session.put_disk(id, request),
                _ => return Err(unknown(call)),
            };
            let put = put.recorded_as(operation.parse()?).await?;
            let body = neighbour_json(&session.refresh().await?, put.resource.id())?;
            // Nothing is to be polled where nothing was to be done.
            let (kind, is_instant) = (put.effect.into(), inner.operations.is_instant() || put.operation.is_none());
            let status = match (&id, kind) {
                // Azure's disks and snapshots answer 202, and its images 201 or 200.
                (ResourceId::Disk(_) | ResourceId::Snapshot(_), _) if !is_instant => StatusCode::ACCEPTED,
                (ResourceId::ManagedImage(_), Change::Create) => StatusCode::CREATED,
                _ => StatusCode::OK,
            };
            let answer = Answer::new(status, body);
            match is_instant {
                true => Ok(answer),
                false => Ok(begin(inner, call, operation, kind, &id.to_string(), answer)),
            }
        }
    }
}

fn begin(inner: &Inner, call: &Call, operation: &str, kind: Change, id: &str, answer: Answer) -> Answer {
    let (resource, region) = (id.to_owned(), String::new());
    let begun = Begun { id: operation.to_owned(), kind, resource, region, own: None };
    inner.operations.begin(call, begun, inner.now(), answer)
}

/// Returns a managed image with bytes in Azure's form.
fn image_json(image: &ManagedImage) -> Value {
    let storage = image.storage_profile();
    let disk = |disk: &DataDiskImage| json!({"lun": disk.lun(), "diskSizeGB": disk.size_in_bytes().div_ceil(GIB)});
    json!({
        "id": image.id(), "name": image.id().name(), "type": "Microsoft.Compute/images", "location": image.location(),
        "tags": image.tags(),
        "properties": {
            "storageProfile": {
                "osDisk": {
                    "osType": image.os_type(), "osState": image.os_state(), "caching": storage.os_disk_image().host_caching(),
                    "diskSizeGB": storage.os_disk_image().size_in_bytes().div_ceil(GIB), "storageAccountType": "Standard_LRS",
                },
                "dataDisks": storage.data_disk_images().iter().map(disk).collect::<Vec<_>>(),
                "zoneResilient": false,
            },
            "hyperVGeneration": image.hyper_v_generation(), "provisioningState": "Succeeded",
        },
    })
}

/// Returns a snapshot with bytes in Azure's form.
fn snapshot_json(snapshot: &Snapshot) -> Value {
    let mut properties = json!({
        "diskSizeBytes": snapshot.disk_size_bytes(), "diskSizeGB": snapshot.disk_size_bytes().div_ceil(GIB),
        "diskState": "Unattached", "provisioningState": "Succeeded", "creationData": {"createOption": "Upload"},
    });
    if let Value::Object(properties) = &mut properties {
        properties.extend(snapshot.os_type().map(|os_type| ("osType".to_owned(), json!(os_type))));
        let generation = snapshot.hyper_v_generation();
        properties.extend(generation.map(|generation| ("hyperVGeneration".to_owned(), json!(generation))));
    }
    json!({
        "id": snapshot.id(), "name": snapshot.id().name(), "type": "Microsoft.Compute/snapshots",
        "location": snapshot.location(), "tags": snapshot.tags(), "sku": {"name": "Standard_LRS", "tier": "Standard"},
        "properties": properties,
    })
}

/// Returns zeros for a managed image that has no bytes; `None` if its size is not known.
pub(super) fn zeros(inner: &Inner, view: &CatalogView, id: &ManagedImageId) -> Option<LocalDisks> {
    let one = || inner.settings.named_sources.map(|bytes| LocalDisks::new(phantom::disk(bytes)));
    let Ok(image) = view.named_source(id) else { return one() };
    let body = image.body();
    let Some(storage) = body.pointer("/properties/storageProfile") else { return one() };
    let of_disk = |disk: &Value| {
        let given = disk.get("diskSizeGB").and_then(Value::as_u64).map(|gib| gib.saturating_mul(GIB));
        let of = ["/managedDisk/id", "/snapshot/id"].iter().find_map(|path| disk.pointer(path)?.as_str()?.parse().ok());
        given.or_else(|| size(inner, view, &of?)).or(inner.settings.named_sources)
    };
    let mut disks = LocalDisks::new(phantom::disk(of_disk(storage.get("osDisk")?)?));
    for disk in storage.get("dataDisks").and_then(Value::as_array).into_iter().flatten() {
        let lun = disk.get("lun").and_then(Value::as_u64).and_then(|lun| u32::try_from(lun).ok())?;
        disks = disks.with_data_disk(lun, phantom::disk(of_disk(disk)?));
    }
    Some(disks)
}

/// Returns the size of a snapshot or disk.
pub(super) fn size(inner: &Inner, view: &CatalogView, id: &ResourceId) -> Option<u64> {
    let of_snapshot = match id {
        ResourceId::Snapshot(id) => view.snapshot(id).ok().map(|snapshot| snapshot.disk_size_bytes()),
        _ => None,
    };
    let named = || {
        let body = view.named_source(id).ok()?.body();
        body.pointer("/properties/diskSizeGB")?.as_u64().map(|gib| gib.saturating_mul(GIB))
    };
    of_snapshot.or_else(named).or(inner.settings.named_sources)
}
