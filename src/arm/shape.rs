//! Resources as Azure answers them, in the fields of the newest version.

use serde_json::{Map, Value, json};

use super::operations::Operations;
use super::projection::{Kind, project};
use super::versions::ApiVersion;
use crate::access::GallerySharing;
use crate::model::{Gallery, ImageDefinition, ImageVersion, Region, RegionCatalog};

const GIB: u64 = 1 << 30;

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
    pub(super) fn gallery(&self, gallery: &Gallery, sharing: &GallerySharing, with_groups: bool) -> Value {
        let mut body = serde_json::to_value(gallery).unwrap_or_default();
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
            let region = self.display(gallery.location());
            let summary = json!([{"region": region, "state": "Succeeded", "details": ""}]);
            insert(&mut body, "sharingStatus", json!({"aggregatedState": "Succeeded", "summary": summary}));
        }
        self.finished(Kind::Gallery, body)
    }

    pub(super) fn image(&self, image: &ImageDefinition) -> Value {
        let mut body = serde_json::to_value(image).unwrap_or_default();
        if let Some(Value::Object(properties)) = body.get_mut("properties") {
            properties.entry("hyperVGeneration").or_insert_with(|| json!("V1"));
            properties.entry("architecture").or_insert_with(|| json!("x64"));
        }
        self.finished(Kind::Image, body)
    }

    /// Returns a version, with the status of its replication where it was asked for.
    pub(super) fn image_version(&self, version: &ImageVersion, status: Option<Value>, with_uefi: bool) -> Value {
        let mut body = serde_json::to_value(version).unwrap_or_default();
        let profile = version.publishing_profile();
        if let Some(Value::Array(regions)) = body.pointer_mut("/properties/publishingProfile/targetRegions") {
            for (region, written) in profile.target_regions().iter().zip(regions) {
                let Value::Object(written) = written else { continue };
                let name = region.region();
                let count = profile.replicas_in(name).unwrap_or(1);
                written.insert("name".into(), json!(self.display(name)));
                written.insert("regionalReplicaCount".into(), json!(count));
                written.insert("storageAccountType".into(), json!(profile.storage_account_type_in(name)));
                written.entry("excludeFromLatest").or_insert(json!(false));
            }
        }
        if let Some(Value::Object(written)) = body.pointer_mut("/properties/publishingProfile") {
            written.entry("replicaCount").or_insert(json!(1));
            written.entry("excludeFromLatest").or_insert(json!(false));
            written.entry("storageAccountType").or_insert(json!("Standard_LRS"));
            written.entry("replicationMode").or_insert(json!("Full"));
        }
        if let Some(Value::Object(properties)) = body.get_mut("properties") {
            let safety = properties.entry("safetyProfile").or_insert_with(|| json!({}));
            if let Value::Object(safety) = safety {
                safety.entry("allowDeletionOfReplicatedLocations").or_insert(json!(false));
                safety.insert("reportedForPolicyViolation".into(), json!(false));
                safety.insert("policyViolations".into(), json!([]));
            }
            if !with_uefi {
                if let Some(Value::Object(security)) = properties.get_mut("securityProfile") {
                    security.remove("uefiSettings");
                    if security.is_empty() {
                        properties.remove("securityProfile");
                    }
                }
            }
            if let Some(status) = status {
                properties.insert("replicationStatus".into(), status);
            }
        }
        let is_new = self.operations.state(&version.id().to_string(), self.now) == Some("Creating");
        if let Some(Value::Object(storage)) = body.pointer_mut("/properties/storageProfile") {
            disks(storage, version, is_new);
        }
        self.finished(Kind::Version, body)
    }

    /// Returns a region's status as Azure writes it.
    pub(super) fn replication(&self, status: &crate::service::replicate::ReplicationStatus) -> Value {
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

    pub(super) fn display(&self, region: &Region) -> String {
        self.regions.get(region).map_or_else(|| region.to_string(), |info| info.display_name().to_owned())
    }

    /// Sets the state of an operation that goes on, and takes away what the version has not.
    fn finished(&self, kind: Kind, mut body: Value) -> Value {
        let id = body.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        if let Some(state) = self.operations.state(&id, self.now) {
            insert(&mut body, "provisioningState", json!(state));
        }
        project(kind, self.version, &mut body);
        body
    }
}

fn insert(body: &mut Value, name: &str, value: Value) {
    if let Some(Value::Object(properties)) = body.get_mut("properties") {
        properties.insert(name.into(), value);
    }
}

/// Sizes are in gibibytes; a version that is being created has no disks yet.
fn disks(storage: &mut Map<String, Value>, version: &ImageVersion, is_new: bool) {
    if is_new {
        storage.remove("osDiskImage");
        storage.remove("dataDiskImages");
        return;
    }
    let gib = |bytes: u64| json!(bytes.div_ceil(GIB));
    let of = version.storage_profile();
    if let Some(Value::Object(disk)) = storage.get_mut("osDiskImage") {
        disk.insert("sizeInGB".into(), gib(of.os_disk_image().size_in_bytes()));
        disk.entry("hostCaching").or_insert(json!("None"));
        disk.entry("source").or_insert_with(|| json!({}));
    }
    if let Some(Value::Array(disks)) = storage.get_mut("dataDiskImages") {
        for (disk, of) in disks.iter_mut().zip(of.data_disk_images()) {
            let Value::Object(disk) = disk else { continue };
            disk.insert("sizeInGB".into(), gib(of.size_in_bytes()));
            disk.entry("hostCaching").or_insert(json!("None"));
            disk.entry("source").or_insert_with(|| json!({}));
        }
    }
}
