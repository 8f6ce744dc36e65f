//! What the service answers, with what the face adds, in the fields of the version that was asked for.

use serde_json::{Value, json};

use super::operations::{Kind as Change, Operations};
use super::projection::{Kind, project};
use super::versions::ApiVersion;
use crate::access::GallerySharing;
use crate::model::{Region, RegionCatalog};
use crate::service::replicate::ReplicationStatus;

/// What an answer is made with.
#[derive(Debug)]
pub(super) struct Shape<'a> {
    pub(super) version: ApiVersion,
    pub(super) regions: &'a RegionCatalog,
    pub(super) operations: &'a Operations,
    pub(super) now: chrono::DateTime<chrono::Utc>,
}

impl Shape<'_> {
    /// Returns a gallery. Whom it is shared with is left out unless `with_groups`.
    pub(super) fn gallery(&self, mut body: Value, sharing: &GallerySharing, with_groups: bool) -> Value {
        if let Some(Value::Object(profile)) = body.pointer_mut("/properties/sharingProfile") {
            if with_groups && profile.get("permissions") == Some(&json!("Groups")) {
                let group = |kind: &str, ids: Vec<&str>| (!ids.is_empty()).then(|| json!({"type": kind, "ids": ids}));
                let subscriptions = sharing.subscriptions.iter().map(|id| id.as_str()).collect();
                let tenants = sharing.tenants.iter().map(|id| id.as_str()).collect();
                let groups = [group("Subscriptions", subscriptions), group("AADTenants", tenants)];
                profile.insert("groups".into(), groups.into_iter().flatten().collect());
            }
            if let Some(Value::Object(info)) = profile.get_mut("communityGalleryInfo") {
                info.insert("communityGalleryEnabled".into(), json!(sharing.public_name.is_some()));
                if let Some(name) = &sharing.public_name {
                    info.insert("publicNames".into(), json!([name]));
                }
            }
        }
        if !sharing.is_empty() {
            let region: Option<Region> =
                body.get("location").and_then(Value::as_str).and_then(|name| name.parse().ok());
            let region = region.map(|region| self.display(&region)).unwrap_or_default();
            let summary = json!([{"region": region, "state": "Succeeded", "details": ""}]);
            insert(&mut body, "sharingStatus", json!({"aggregatedState": "Succeeded", "summary": summary}));
        }
        self.resource(Kind::Gallery, body)
    }

    /// Returns a version, with the status of its replication where it was asked for.
    pub(super) fn image_version(&self, mut body: Value, status: Option<Value>) -> Value {
        if let Some(status) = status {
            insert(&mut body, "replicationStatus", status);
        }
        if let Some(Value::String(date)) = body.pointer_mut("/properties/publishingProfile/publishedDate") {
            *date = dated(date);
        }
        if let Some(Value::Object(properties)) = body.get_mut("properties") {
            let safety = properties.entry("safetyProfile").or_insert_with(|| json!({}));
            if let Value::Object(safety) = safety {
                for name in ["allowDeletionOfReplicatedLocations", "blockDeletionBeforeEndOfLife"] {
                    safety.entry(name).or_insert(json!(false));
                }
                safety.insert("reportedForPolicyViolation".into(), json!(false));
            }
        }
        self.resource(Kind::Version, body)
    }

    /// Sets the state of an operation that goes on, and takes away what the version has not.
    pub(super) fn resource(&self, kind: Kind, mut body: Value) -> Value {
        let id = body.get("id").and_then(Value::as_str).unwrap_or_default();
        let state = body.pointer("/properties/provisioningState").and_then(Value::as_str);
        // What is under way, failed or is deleted, the service tells.
        if state.is_none_or(|state| state == "Succeeded")
            && let Some(change) = self.operations.going_on(id, self.now)
        {
            body = in_progress(body, change);
        }
        project(kind, self.version, &mut body);
        body
    }

    /// Returns the status of a replication as Azure writes it.
    pub(super) fn replication(&self, status: &ReplicationStatus) -> Value {
        let mut written = serde_json::to_value(status).unwrap_or_default();
        if let Some(Value::Array(regions)) = written.get_mut("summary") {
            for (region, of) in regions.iter_mut().zip(&status.summary) {
                let Value::Object(region) = region else { continue };
                region.insert("region".into(), json!(self.display(&of.region)));
                region.insert("details".into(), json!(of.details));
                region.remove("degraded");
            }
        }
        written
    }

    fn display(&self, region: &Region) -> String {
        self.regions.get(region).map_or_else(|| region.to_string(), |info| info.display_name().to_owned())
    }
}

/// Returns a gallery's sharing in the form of the request that shares it so.
pub(super) fn sharing_update(sharing: &GallerySharing) -> Value {
    let group = |kind: &str, ids: Vec<&str>| (!ids.is_empty()).then(|| json!({"type": kind, "ids": ids}));
    let subscriptions = group("Subscriptions", sharing.subscriptions.iter().map(|id| id.as_str()).collect());
    let tenants = group("AADTenants", sharing.tenants.iter().map(|id| id.as_str()).collect());
    let groups: Vec<Value> = subscriptions.into_iter().chain(tenants).collect();
    let kind = match (&sharing.public_name, groups.is_empty()) {
        (Some(_), _) => "EnableCommunity",
        (None, true) => "Reset",
        (None, false) => "Add",
    };
    json!({"operationType": kind, "groups": groups})
}

/// Writes a time with the seven digits after the second that Azure has.
fn dated(date: &str) -> String {
    let written = |time: chrono::DateTime<chrono::FixedOffset>| {
        format!("{}.{:07}+00:00", time.naive_utc().format("%Y-%m-%dT%H:%M:%S"), time.timestamp_subsec_nanos() / 100)
    };
    chrono::DateTime::parse_from_rfc3339(date).map_or_else(|_| date.to_owned(), written)
}

/// Returns a resource as it is while an operation on it goes on. A version that is being created has no disks yet.
pub(super) fn in_progress(mut body: Value, change: Change) -> Value {
    let state = if change == Change::Create { "Creating" } else { "Updating" };
    insert(&mut body, "provisioningState", json!(state));
    if change == Change::Create
        && let Some(Value::Object(storage)) = body.pointer_mut("/properties/storageProfile")
    {
        storage.remove("osDiskImage");
        storage.remove("dataDiskImages");
    }
    body
}

fn insert(body: &mut Value, name: &str, value: Value) {
    if let Some(Value::Object(properties)) = body.get_mut("properties") {
        properties.insert(name.into(), value);
    }
}
