//! Subscriptions, resource groups, and the resources beside galleries: managed images, snapshots, disks.

use http::header::LOCATION;
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::answer::{Answer, Answered, Refusal};
use super::call::Call;
use super::face::{Inner, only};
use super::operations::{Begun, Kind as Change};
use super::phantom;
use super::versions::ApiVersion;
use crate::error::{Error, ErrorKind};
use crate::model::{
    HyperVGeneration, ManagedImage, ManagedImageId, OsType, Region, Request, ResourceGroupId, ResourceGroupName,
    Snapshot, SnapshotId, SubscriptionId, Tags,
};
use crate::service::change::Effect;
use crate::service::publish::{ImageSource, LocalDisks, NewManagedImage, NewSnapshot};
use crate::service::read::{CatalogView, ListScope};

/// The subscription that is listed before there is any.
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
            list(call).await
        }
        ["subscriptions", _, "resourcegroups", _] => group(inner, call, id).await,
        ["subscriptions", _, "resourcegroups", _, "resources"] | ["subscriptions", _, "resources"] => {
            get()?;
            resources(inner, call).await
        }
        ["subscriptions", _, "operationresults", operation] => {
            get()?;
            match inner.operations.poll(call, operation, inner.now())? {
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
        [_, _, "resourcegroups", _, "providers", "microsoft.compute", kind @ ("images" | "snapshots" | "disks"), _] => {
            neighbour(inner, call, kind, id).await
        }
        _ => Err(unknown(call)),
    }
}

/// Refuses a path that leads nowhere.
pub(super) fn unknown(call: &Call) -> Refusal {
    let at = call.segments.iter().position(|segment| segment.eq_ignore_ascii_case("providers"));
    match at.map(|at| (call.segment(at + 1), call.segment(at + 2))) {
        Some((namespace, kind)) if !kind.is_empty() => {
            let what = format!(
                "The resource type '{}' could not be found in the namespace '{}' for api version '{}'.",
                kind.escape_debug(),
                namespace.escape_debug(),
                call.api_version.escape_debug()
            );
            Refusal::not_found("InvalidResourceType", what)
        }
        _ => {
            let what = format!("The request path '{}' is unknown.", call.path().escape_debug());
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
    if ids.is_empty() {
        ids.push(FIRST_SUBSCRIPTION);
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
    Ok(Answer::ok(provider(inner, call, known.copied().unwrap_or_else(|| call.segments.last().map_or("", |_| name)))))
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

async fn list(call: &Call) -> Answered {
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
    Ok(Answer::list(groups))
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
            call.session.delete_resource_group(id.as_str()).await?;
            inner.neighbours.clear_below(&format!("{id}/"));
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
            let is_new = put.effect == Effect::Created;
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
    let disks = inner
        .neighbours
        .below(&format!("{}/", call.id(call.segments.len().saturating_sub(1))), "Microsoft.Compute/disks");
    items.extend(disks.into_iter().map(|disk| {
        let of = |name: &str| disk.get(name).cloned().unwrap_or_default();
        json!({"id": of("id"), "name": of("name"), "type": of("type"), "location": of("location")})
    }));
    let is_wanted = |item: &Value| {
        let kind = item.get("type").and_then(Value::as_str).unwrap_or_default();
        wanted.is_none_or(|wanted| kind.eq_ignore_ascii_case(wanted))
    };
    items.retain(is_wanted);
    Ok(Answer::list(items))
}

// Managed images, snapshots, disks.

fn azure_type(kind: &str) -> String {
    match kind {
        "virtualmachines" => "Microsoft.Compute/virtualMachines".to_owned(),
        kind => format!("Microsoft.Compute/{kind}"),
    }
}

async fn neighbours(inner: &Inner, call: &Call, kind: &str) -> Answered {
    let scope = scope_of(call)?;
    let view = call.session.refresh().await?;
    let items = match kind {
        "images" => {
            let images = view.managed_images(&scope, None, usize::MAX).items;
            images.iter().map(|image| image_json(inner, image)).collect()
        }
        "snapshots" => {
            let snapshots = view.snapshots(&scope, None, usize::MAX).items;
            snapshots.iter().map(|snapshot| snapshot_json(inner, snapshot)).collect()
        }
        _ => {
            let above = call.path();
            let above = above.to_ascii_lowercase();
            let above = above.split("/providers/").next().unwrap_or_default();
            inner.neighbours.below(&format!("{above}/"), &azure_type(kind))
        }
    };
    Ok(Answer::list(items))
}

/// Returns the size of a disk that was put.
pub(super) fn disk_size(inner: &Inner, id: &str) -> Option<u64> {
    let disk = inner.neighbours.get(id)?;
    disk.pointer("/properties/diskSizeBytes").and_then(Value::as_u64)
}

async fn neighbour(inner: &Inner, call: &Call, kind: &str, operation: &str) -> Answered {
    only(call, &[Method::GET, Method::PUT, Method::DELETE])?;
    let view = call.session.refresh().await?;
    require(call, &view)?;
    let id = call.id(8);
    let not_there = || {
        let what = format!(
            "The Resource 'Microsoft.Compute/{kind}/{}' under resource group '{}' was not found. For more details please go to \
             https://aka.ms/ARMResourceNotFoundFix",
            call.segment(7),
            call.segment(3)
        );
        Refusal::not_found("ResourceNotFound", what)
    };
    match call.method {
        Method::GET => match kind {
            "images" => Ok(Answer::ok(image_json(inner, &*view.managed_image(id.as_str())?))),
            "snapshots" => Ok(Answer::ok(snapshot_json(inner, &*view.snapshot(id.as_str())?))),
            _ => inner.neighbours.get(&id).map(Answer::ok).ok_or_else(not_there),
        },
        Method::DELETE => {
            let document = inner.neighbours.remove(&id).is_some();
            let deleted = match kind {
                "disks" => document,
                _ => !call.session.delete(id.as_str()).await?.is_empty(),
            };
            match (deleted, inner.operations.is_instant()) {
                (false, _) => Ok(Answer::empty(StatusCode::NO_CONTENT)),
                (true, true) => Ok(Answer::empty(StatusCode::OK)),
                (true, false) => {
                    Ok(begin(inner, call, operation, Change::Delete, &id, Answer::empty(StatusCode::ACCEPTED)))
                }
            }
        }
        _ => {
            let (body, status) = put(inner, call, &view, kind, &id).await?;
            match inner.operations.is_instant() || status == StatusCode::OK {
                true => Ok(Answer::new(status, body)),
                false => Ok(begin(inner, call, operation, Change::Create, &id, Answer::new(status, body))),
            }
        }
    }
}

fn begin(inner: &Inner, call: &Call, operation: &str, kind: Change, id: &str, answer: Answer) -> Answer {
    let result = answer.body.clone();
    let (resource, region, error) = (id.to_owned(), String::new(), None);
    let begun = Begun { id: operation.to_owned(), kind, resource, region, result, error };
    inner.operations.begin(call, begun, inner.now(), answer)
}

/// Puts a managed image, snapshot or disk.
async fn put(
    inner: &Inner,
    call: &Call,
    view: &CatalogView,
    kind: &str,
    id: &str,
) -> Result<(Value, StatusCode), Refusal> {
    let body = call.body()?;
    let location: Region = match body.get("location").and_then(Value::as_str) {
        Some(location) => location.parse()?,
        None => {
            return Err(Refusal::bad_request(
                "LocationRequired",
                "The location property is required for this definition.",
            ));
        }
    };
    let tags: Tags = body
        .get("tags")
        .filter(|tags| tags.is_object())
        .cloned()
        .map_or_else(Default::default, |tags| serde_json::from_value(tags).unwrap_or_default());
    let text = |path: &str| body.pointer(path).and_then(Value::as_str);
    match kind {
        "images" => {
            let id: ManagedImageId = id.parse()?;
            let disk = "/properties/storageProfile/osDisk";
            if let Ok(there) = view.managed_image(&id) {
                return Ok((image_json(inner, &there), StatusCode::OK));
            }
            let os_type: OsType = word(text(&format!("{disk}/osType")).unwrap_or("Linux"))?;
            let source = match body.pointer("/properties/sourceVirtualMachine/id").and_then(Value::as_str) {
                Some(vm) => ImageSource::from(LocalDisks::new(phantom::disk(named(inner, vm)?))),
                None => image_source(inner, view, body.pointer("/properties/storageProfile"))?,
            };
            let mut new = NewManagedImage::new(id.clone(), location, os_type, source).with_tags(tags);
            if let Some(generation) = text("/properties/hyperVGeneration") {
                new = new.with_hyper_v_generation(word::<HyperVGeneration>(generation)?);
            }
            let image = call.session.create_managed_image(new).await?.resource;
            inner.neighbours.put(&id.to_string(), json!({"properties": body.get("properties")}));
            Ok((image_json(inner, &image), StatusCode::CREATED))
        }
        "snapshots" => {
            let id: SnapshotId = id.parse()?;
            if let Ok(there) = view.snapshot(&id) {
                return Ok((snapshot_json(inner, &there), StatusCode::OK));
            }
            let bytes = created_size(inner, &body)?;
            let generation = text("/properties/hyperVGeneration").map(word).transpose()?.unwrap_or_default();
            let disk = phantom::disk(bytes);
            let new = match text("/properties/osType").map(word).transpose()? {
                Some(os_type) => NewSnapshot::of_os_disk(id.clone(), location, disk, os_type, generation),
                None => NewSnapshot::of_data_disk(id.clone(), location, disk),
            };
            let snapshot = call.session.create_snapshot(new.with_tags(tags)).await?.resource;
            inner
                .neighbours
                .put(&id.to_string(), json!({"properties": body.get("properties"), "sku": body.get("sku")}));
            Ok((snapshot_json(inner, &snapshot), StatusCode::CREATED))
        }
        _ => {
            let bytes = created_size(inner, &body)?;
            let mut disk = Map::new();
            disk.insert("id".into(), json!(id));
            disk.insert("name".into(), json!(call.segment(7)));
            disk.insert("type".into(), json!("Microsoft.Compute/disks"));
            disk.insert("location".into(), json!(location));
            disk.insert("tags".into(), json!(tags));
            disk.insert("sku".into(), body.get("sku").cloned().unwrap_or_else(|| json!({"name": "Standard_LRS"})));
            let mut properties = body.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
            properties.insert("diskSizeGB".into(), json!(bytes.div_ceil(GIB)));
            properties.insert("diskSizeBytes".into(), json!(bytes));
            properties.insert("diskState".into(), json!("Unattached"));
            properties.insert("provisioningState".into(), json!("Succeeded"));
            disk.insert("properties".into(), Value::Object(properties));
            let disk = Value::Object(disk);
            let is_new = inner.neighbours.put(id, disk.clone());
            Ok((disk, if is_new { StatusCode::CREATED } else { StatusCode::OK }))
        }
    }
}

/// Reads a word of an enum in any case.
fn word<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Refusal> {
    let spelled = ["Linux", "Windows", "V1", "V2"].into_iter().find(|known| known.eq_ignore_ascii_case(text));
    let read = serde_json::from_value(json!(spelled.unwrap_or(text)));
    read.map_err(|error| Refusal::bad_request("InvalidParameter", format!("'{}': {error}", text.escape_debug())))
}

/// Returns the size of a source that is named alone.
fn named(inner: &Inner, id: &str) -> Result<u64, Refusal> {
    let no_such = || {
        let what = format!("Resource {} is not found.", id.escape_debug());
        Refusal::not_found("NotFound", what)
    };
    disk_size(inner, id).or(inner.settings.named_sources).ok_or_else(no_such)
}

/// Returns the size of a disk or snapshot that is created.
fn created_size(inner: &Inner, body: &Value) -> Result<u64, Refusal> {
    let gib = |path: &str| body.pointer(path).and_then(Value::as_u64).map(|gib| gib.saturating_mul(GIB));
    let text = |path: &str| body.pointer(path).and_then(Value::as_str);
    if let Some(bytes) = gib("/properties/diskSizeGB") {
        return Ok(bytes);
    }
    let source =
        text("/properties/creationData/sourceResourceId").or_else(|| text("/properties/creationData/sourceUri"));
    let source = source.or_else(|| text("/properties/creationData/imageReference/id"));
    let source = source.or_else(|| text("/properties/creationData/galleryImageReference/id"));
    match source {
        Some(source) => named(inner, source),
        None => {
            let what = "Required parameter 'disk.diskSizeGB' is missing (null).";
            Err(Refusal::bad_request("InvalidParameter", what).at("disk.diskSizeGB"))
        }
    }
}

/// Returns the source of a managed image of disks.
fn image_source(inner: &Inner, view: &CatalogView, storage: Option<&Value>) -> Result<ImageSource, Refusal> {
    let missing = || {
        let what = "Required parameter 'storageProfile.osDisk' is missing (null).";
        Refusal::bad_request("InvalidParameter", what).at("image.properties.storageProfile.osDisk")
    };
    let size = |disk: &Value| {
        let id = ["/managedDisk/id", "/snapshot/id", "/blobUri"].iter().find_map(|path| disk.pointer(path)?.as_str());
        let snapshot = |id: &str| Some(view.snapshot(id).ok()?.disk_size_bytes());
        let given = disk.get("diskSizeGB").and_then(Value::as_u64).map(|gib| gib.saturating_mul(GIB));
        match (id, given) {
            (Some(id), given) => snapshot(id).map_or_else(|| named(inner, id).map(|named| given.unwrap_or(named)), Ok),
            (None, _) => Err(missing()),
        }
    };
    let os_disk = storage.and_then(|storage| storage.get("osDisk")).ok_or_else(missing)?;
    let mut disks = LocalDisks::new(phantom::disk(size(os_disk)?));
    for disk in storage.and_then(|storage| storage.get("dataDisks")).and_then(Value::as_array).into_iter().flatten() {
        let lun = disk.get("lun").and_then(Value::as_u64).and_then(|lun| u32::try_from(lun).ok()).unwrap_or_default();
        disks = disks.with_data_disk(lun, phantom::disk(size(disk)?));
    }
    Ok(disks.into())
}

/// Returns a managed image in Azure's form: what was put, and what the service knows.
fn image_json(inner: &Inner, image: &ManagedImage) -> Value {
    let id = image.id().to_string();
    let mut properties = put_before(inner, &id);
    let storage = image.storage_profile();
    let of_os = json!({
        "osType": image.os_type(), "osState": "Generalized", "caching": storage.os_disk_image().host_caching(),
        "diskSizeGB": storage.os_disk_image().size_in_bytes().div_ceil(GIB), "storageAccountType": "Standard_LRS",
    });
    let profile = properties.entry("storageProfile").or_insert_with(|| json!({}));
    if let Value::Object(profile) = profile {
        merge(profile.entry("osDisk").or_insert_with(|| json!({})), &of_os);
        profile.entry("dataDisks").or_insert_with(|| {
            let disk = |disk: &crate::model::DataDiskImage| json!({"lun": disk.lun(), "diskSizeGB": disk.size_in_bytes().div_ceil(GIB)});
            storage.data_disk_images().iter().map(disk).collect()
        });
        profile.entry("zoneResilient").or_insert(json!(false));
    }
    properties.insert("hyperVGeneration".into(), json!(image.hyper_v_generation()));
    properties.insert("provisioningState".into(), json!("Succeeded"));
    json!({
        "id": id, "name": image.id().name(), "type": "Microsoft.Compute/images", "location": image.location(),
        "tags": image.tags(), "properties": properties,
    })
}

fn snapshot_json(inner: &Inner, snapshot: &Snapshot) -> Value {
    let id = snapshot.id().to_string();
    let mut properties = put_before(inner, &id);
    if let Some(os_type) = snapshot.os_type() {
        properties.insert("osType".into(), json!(os_type));
    }
    if let Some(generation) = snapshot.hyper_v_generation() {
        properties.insert("hyperVGeneration".into(), json!(generation));
    }
    properties.insert("diskSizeBytes".into(), json!(snapshot.disk_size_bytes()));
    properties.insert("diskSizeGB".into(), json!(snapshot.disk_size_bytes().div_ceil(GIB)));
    properties.insert("diskState".into(), json!("Unattached"));
    properties.insert("provisioningState".into(), json!("Succeeded"));
    json!({
        "id": id, "name": snapshot.id().name(), "type": "Microsoft.Compute/snapshots", "location": snapshot.location(),
        "tags": snapshot.tags(), "sku": {"name": "Standard_LRS", "tier": "Standard"}, "properties": properties,
    })
}

fn put_before(inner: &Inner, id: &str) -> Map<String, Value> {
    let document = inner.neighbours.get(id).unwrap_or_default();
    document.get("properties").and_then(Value::as_object).cloned().unwrap_or_default()
}

fn merge(into: &mut Value, from: &Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
}
