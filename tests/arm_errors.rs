//! Each row of Azure's errors, over HTTP: status, code, target, and a part of the message. The numbers are those of `docs/rules.md`.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper of a test may fail as the test does")]

use bytes::Bytes;
use compute_gallery::access::{MemoryDirectory, TenantId};
use compute_gallery::arm::{Arm, ArmBuilder, UntrustedClaims};
use compute_gallery::model::Limits;
use compute_gallery::store::{MemoryStore, StoreErrorKind};
use compute_gallery::testkit::{Fault, FaultyStore, ManualClock};
use compute_gallery::{GalleryService, GalleryServiceBuilder};
use futures::executor::block_on;
use http::Request;
use serde_json::{Value, json};

const NEWEST: &str = "2026-03-03";
const GROUP: &str = "/subscriptions/dev/resourceGroups/Images";

fn settings() -> GalleryServiceBuilder {
    GalleryService::builder()
        .allow_all()
        .one_store_for_all_zones()
        .require_resource_groups()
        .record_disk_encryption_sets()
        .azure_2026()
}

fn face(settings: GalleryServiceBuilder) -> ArmBuilder {
    let service = block_on(settings.store(MemoryStore::new()).create()).unwrap();
    ArmBuilder::new(service).named_sources(4 << 20).instant()
}

/// Sends a request as a caller whose token is `token`. A path that begins with `/` below `galleries/` is below the group's galleries.
fn send(arm: &Arm, token: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let path = match path.strip_prefix("./") {
        Some(path) => format!("{GROUP}/providers/Microsoft.Compute/{path}"),
        None => path.to_owned(),
    };
    let version = if path.contains("api-version") { String::new() } else { format!("api-version={NEWEST}") };
    let join = if path.contains('?') { '&' } else { '?' };
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    let request = Request::builder().method(method).uri(format!("{path}{join}{version}").trim_end_matches(['&', '?']));
    let request = request.header("Authorization", format!("Bearer {token}")).body(body).unwrap();
    let (head, body) = block_on(arm.answer(request)).into_parts();
    (head.status.as_u16(), if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() })
}

/// What a request of a table is to be answered: done, or refused.
enum Then {
    Done,
    /// Status, code, target, a part of the message.
    Refused(u16, &'static str, &'static str, &'static str),
}

use Then::{Done, Refused};

type Row = (&'static str, &'static str, &'static str, Value, Then);

/// Goes through a table, in order, and tells every difference.
fn check(arm: &Arm, rows: Vec<Row>) {
    let mut differences = Vec::new();
    for (name, method, path, body, then) in rows {
        let (status, answer) = send(arm, "x", method, path, &body);
        let error = |name: &str| answer["error"][name].as_str().unwrap_or_default();
        let is_as_told = match then {
            Done => status < 300,
            Refused(expected, code, target, message) => {
                (status, error("code"), error("target")) == (expected, code, target)
                    && error("message").contains(message)
            }
        };
        if !is_as_told {
            let expected = match then {
                Done => "done".to_owned(),
                Refused(status, code, target, message) => format!("{status} {code} at `{target}`: …{message}…"),
            };
            differences
                .push(format!("{name}: {method} {path}\n   expected: {expected}\n   answered: {status} {answer}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn definition(sku: &str, more: Value) -> Value {
    let mut body = json!({"location": "westus", "properties": {
        "osType": "Linux", "osState": "Generalized", "hyperVGeneration": "V1",
        "identifier": {"publisher": "Contoso", "offer": "Web", "sku": sku},
    }});
    body["properties"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// A version of a managed image, with more in its publishing profile.
fn version(source: &str, profile: Value) -> Value {
    stored(json!({"source": {"id": format!("{GROUP}/providers/Microsoft.Compute/{source}")}}), profile)
}

/// A version with this storage profile.
fn stored(storage: Value, profile: Value) -> Value {
    let mut body = json!({"location": "westus", "properties": {
        "storageProfile": storage, "publishingProfile": {"targetRegions": [{"name": "West US"}]},
    }});
    body["properties"]["publishingProfile"].as_object_mut().unwrap().extend(profile.as_object().unwrap().clone());
    body
}

fn with(mut body: Value, path: &str, value: Value) -> Value {
    let (above, name) = path.rsplit_once('/').unwrap();
    body.pointer_mut(above).unwrap()[name] = value;
    body
}

fn located(location: &str) -> Value {
    json!({"location": location})
}

/// A group, a gallery, a definition and a version of it.
fn seeded() -> Vec<Row> {
    vec![
        ("seed", "PUT", GROUP, located("westus"), Done),
        ("seed", "PUT", "./galleries/G", located("westus"), Done),
        ("seed", "PUT", "./galleries/G/images/I", definition("a", json!({})), Done),
        ("seed", "PUT", "./galleries/G/images/I/versions/1.0.0", version("images/golden", json!({})), Done),
    ]
}

const VERSION: &str = "./galleries/G/images/I/versions/1.0.0";
const NEW: &str = "./galleries/G/images/I/versions/2.0.0";

#[test]
fn resources_and_their_names() {
    let arm = face(settings()).build();
    let mut rows = seeded();
    rows.extend([
        (
            "E1 eula",
            "PUT",
            "./galleries/G/images/I",
            definition("a", json!({"eula": "x"})),
            Refused(
                409,
                "PropertyChangeNotAllowed",
                "galleryImage.properties.eula",
                "Changing property 'galleryImage.properties.eula' is not allowed.",
            ),
        ),
        (
            "E1 osType",
            "PATCH",
            "./galleries/G/images/I",
            json!({"properties": {"osType": "Windows"}}),
            Refused(
                409,
                "PropertyChangeNotAllowed",
                "galleryImage.properties.osType",
                "Changing property 'galleryImage.properties.osType' is not allowed.",
            ),
        ),
        (
            "E1 source",
            "PUT",
            VERSION,
            version("images/other", json!({})),
            Refused(
                409,
                "PropertyChangeNotAllowed",
                "galleryImageVersion.properties.storageProfile.source.id",
                "is not allowed.",
            ),
        ),
        (
            "E2 gallery",
            "DELETE",
            "./galleries/G",
            Value::Null,
            Refused(409, "CannotDeleteResource", "", "nested resources"),
        ),
        (
            "E2 definition",
            "DELETE",
            "./galleries/G/images/I",
            Value::Null,
            Refused(409, "CannotDeleteResource", "", "versions/1.0.0"),
        ),
        (
            "E3",
            "PUT",
            "./galleries/G/images/Twin",
            definition("A", json!({})),
            Refused(409, "OperationNotAllowed", "galleryImage.properties.identifier", "identified by (publisher:"),
        ),
        (
            "E4 gallery",
            "PUT",
            "./galleries/G",
            located("eastus"),
            Refused(409, "InvalidResourceLocation", "gallery.location", "already exists in location 'westus'"),
        ),
        (
            "E4 version",
            "PUT",
            VERSION,
            with(
                version("images/golden", json!({"targetRegions": [{"name": "westus"}, {"name": "eastus"}]})),
                "/location",
                json!("eastus"),
            ),
            Refused(
                409,
                "InvalidResourceLocation",
                "galleryImageVersion.location",
                "cannot be created in location 'eastus'",
            ),
        ),
        (
            "E5",
            "PUT",
            "./galleries/G/images/I/versions/1.0",
            version("images/golden", json!({})),
            Refused(400, "InvalidParameter", "galleryImageVersion.name", "Major(int).Minor(int).Patch(int)"),
        ),
        (
            "E5 int32",
            "PUT",
            "./galleries/G/images/I/versions/1.0.2147483648",
            version("images/golden", json!({})),
            Refused(400, "InvalidParameter", "galleryImageVersion.name", "Major(int).Minor(int).Patch(int)"),
        ),
        (
            "E6 gallery",
            "PUT",
            "./galleries/a-b",
            located("westus"),
            Refused(400, "InvalidParameter", "gallery.name", "invalid"),
        ),
        (
            "E6 definition",
            "PUT",
            "./galleries/G/images/a%20b",
            definition("b", json!({})),
            Refused(400, "InvalidParameter", "galleryImage.name", "invalid"),
        ),
        (
            "E7",
            "PUT",
            "./galleries/G/images/web.",
            definition("b", json!({})),
            Refused(400, "InvalidResourceName", "galleryImage.name", "trailing"),
        ),
        ("seed", "PUT", "/subscriptions/dev/resourceGroups/Other", located("westus"), Done),
        (
            "E8",
            "PUT",
            "/subscriptions/dev/resourceGroups/Other/providers/Microsoft.Compute/galleries/G",
            located("westus"),
            Refused(409, "OperationNotAllowed", "gallery.name", "not unique within the subscription"),
        ),
        (
            "E9 length",
            "PUT",
            "./galleries/G/images/J",
            definition(&"s".repeat(65), json!({})),
            Refused(400, "InvalidParameter", "galleryImage.properties.identifier.sku", "64"),
        ),
        (
            "E9 character",
            "PUT",
            "./galleries/G/images/J",
            definition("a b", json!({})),
            Refused(400, "InvalidParameter", "galleryImage.properties.identifier.sku", "not valid"),
        ),
        (
            "E25",
            "PUT",
            "./galleries/G/images/J",
            definition("j", json!({"endOfLifeDate": "2001-01-01T00:00:00Z"})),
            Refused(400, "InvalidParameter", "galleryImage.properties.endOfLifeDate", "must be set to a future date"),
        ),
        (
            "E26",
            "PUT",
            "./galleries/G/images/J",
            definition("j", json!({"recommended": {"vCPUs": {"min": 4, "max": 1}}})),
            Refused(
                400,
                "InvalidParameter",
                "galleryImage.properties.recommended.vCPUs",
                "must not be greater than the maximum",
            ),
        ),
        (
            "E26 memory",
            "PUT",
            "./galleries/G/images/J",
            definition("j", json!({"recommended": {"memory": {"min": 4, "max": 1}}})),
            Refused(
                400,
                "InvalidParameter",
                "galleryImage.properties.recommended.memory",
                "must not be greater than the maximum",
            ),
        ),
        (
            "E27",
            "PUT",
            "./galleries/G/images/J",
            definition("j", json!({"endOfLifeDate": "soon"})),
            Refused(
                400,
                "InvalidParameter",
                "galleryImage.properties.endOfLifeDate",
                "Could not convert string to DateTimeOffset: soon. Path 'properties.endOfLifeDate'",
            ),
        ),
        (
            "E31",
            "PUT",
            "./galleries/absent/images/J",
            definition("j", json!({})),
            Refused(404, "ParentResourceNotFound", "", "Parent resource 'absent' not found."),
        ),
        (
            "E31 version",
            "PUT",
            "./galleries/G/images/absent/versions/1.0.0",
            version("images/golden", json!({})),
            Refused(404, "ParentResourceNotFound", "", "Parent resource 'G/absent' not found."),
        ),
        (
            "E32",
            "GET",
            "./galleries/absent",
            Value::Null,
            Refused(
                404,
                "ResourceNotFound",
                "",
                "The Resource 'Microsoft.Compute/galleries/absent' under resource group 'Images' was not found",
            ),
        ),
        (
            "E32 definition",
            "GET",
            "./galleries/G/images/absent",
            Value::Null,
            Refused(404, "ResourceNotFound", "", "galleries/G/images/absent' under"),
        ),
        (
            "E32 version",
            "GET",
            "./galleries/G/images/I/versions/9.9.9",
            Value::Null,
            Refused(404, "ResourceNotFound", "", "versions/9.9.9' under"),
        ),
        (
            "E32 patch",
            "PATCH",
            "./galleries/absent",
            json!({"tags": {}}),
            Refused(404, "ResourceNotFound", "", "galleries/absent"),
        ),
        (
            "E33",
            "GET",
            "/subscriptions/dev/resourceGroups/absent",
            Value::Null,
            Refused(404, "ResourceGroupNotFound", "", "Resource group 'absent' could not be found."),
        ),
        (
            "E33 gallery",
            "PUT",
            "/subscriptions/dev/resourceGroups/absent/providers/Microsoft.Compute/galleries/H",
            located("westus"),
            Refused(404, "ResourceGroupNotFound", "", "Resource group 'absent' could not be found."),
        ),
        (
            "E34",
            "PUT",
            "./galleries/H",
            located("atlantis"),
            Refused(
                400,
                "LocationNotAvailableForResourceType",
                "",
                "The provided location 'atlantis' is not available for resource type 'Microsoft.Compute/galleries'",
            ),
        ),
        (
            "E35",
            "PUT",
            "./galleries/H?api-version=2022-08-01",
            located("westus"),
            Refused(400, "NoRegisteredProviderFound", "", "for type 'galleries'"),
        ),
        (
            "E14",
            "PUT",
            "./galleries/H?api-version=2019-12-01",
            json!({"location": "westus", "properties": {"softDeletePolicy": {"isSoftDeleteEnabled": true}}}),
            Refused(
                400,
                "InvalidParameter",
                "gallery.properties.softDeletePolicy",
                "Parameter 'gallery.properties.softDeletePolicy' is not allowed.",
            ),
        ),
        (
            "E14 source",
            "PUT",
            "./galleries/G/images/I/versions/2.0.0?api-version=2019-03-01",
            version("images/golden", json!({})),
            Refused(400, "InvalidParameter", "galleryImageVersion.properties.storageProfile.source", "is not allowed."),
        ),
    ]);
    check(&arm, rows);
}

#[test]
fn regions_counts_and_storage() {
    let arm = face(settings()).build();
    let regions = |list: Value| version("images/golden", json!({"targetRegions": list}));
    let mut rows = seeded();
    rows.extend([
        (
            "E10",
            "PUT",
            NEW,
            regions(json!([{"name": "West US"}, {"name": "westus"}])),
            Refused(
                400,
                "InvalidParameter",
                "galleryImageVersion.properties.publishingProfile.targetRegions[1].name",
                "Duplicate regions are not allowed in target publishing regions.",
            ),
        ),
        (
            "E11",
            "PUT",
            NEW,
            regions(json!([{"name": "eastus"}])),
            Refused(
                400,
                "InvalidParameter",
                "galleryImageVersion.properties.publishingProfile.targetRegions",
                "must contain the location of image version",
            ),
        ),
        ("seed", "PUT", VERSION, regions(json!([{"name": "westus"}, {"name": "eastus"}])), Done),
        (
            "E12",
            "PUT",
            VERSION,
            regions(json!([{"name": "westus"}])),
            Refused(
                400,
                "BadRequest",
                "galleryImageVersion.properties.publishingProfile.targetRegions",
                "Complete set of target locations not specified while updating gallery artifact '1.0.0'",
            ),
        ),
        (
            "E13",
            "PUT",
            NEW,
            regions(json!([{"name": "westus", "regionalReplicaCount": 101}])),
            Refused(
                400,
                "InvalidParameter",
                "galleryImageVersion.properties.publishingProfile.targetRegions[0].regionalReplicaCount",
                "The value must be between '1' and '100', inclusive.",
            ),
        ),
        (
            "E13 zero",
            "PUT",
            NEW,
            version("images/golden", json!({"replicaCount": 0})),
            Refused(
                400,
                "InvalidParameter",
                "galleryImageVersion.properties.publishingProfile.replicaCount",
                "is out of range",
            ),
        ),
        (
            "E21",
            "PUT",
            VERSION,
            regions(json!([{"name": "westus", "storageAccountType": "Premium_LRS"}, {"name": "eastus"}])),
            Refused(
                400,
                "InvalidParameter",
                "galleryImageVersion.properties.publishingProfile.targetRegions[0].storageAccountType",
                "Global storage account type does not match",
            ),
        ),
        (
            "E22",
            "PUT",
            NEW,
            regions(json!([{"name": "westus", "storageAccountType": "Standard_ZRS"}])),
            Refused(
                400,
                "InvalidParameter",
                "galleryImageVersion.properties.publishingProfile.targetRegions[0].storageAccountType",
                "ZRS storage account type is not supported in this region.",
            ),
        ),
        (
            "E25",
            "PUT",
            NEW,
            version("images/golden", json!({"endOfLifeDate": "2001-01-01"})),
            Refused(
                400,
                "InvalidParameter",
                "galleryImageVersion.properties.publishingProfile.endOfLifeDate",
                "must be set to a future date",
            ),
        ),
        (
            "E34",
            "PUT",
            NEW,
            regions(json!([{"name": "westus"}, {"name": "atlantis"}])),
            Refused(
                400,
                "LocationNotAvailableForResourceType",
                "galleryImageVersion.properties.publishingProfile.targetRegions[1].name",
                "'atlantis'",
            ),
        ),
        (
            "seed",
            "PUT",
            NEW,
            with(
                version("images/golden", json!({"endOfLifeDate": "2099-01-01"})),
                "/properties/safetyProfile",
                json!({"blockDeletionBeforeEndOfLife": true}),
            ),
            Done,
        ),
        (
            "E23",
            "DELETE",
            NEW,
            Value::Null,
            Refused(409, "DeleteGalleryImageVersionBlockedBeforeEndOfLife", "", "end of life not reached"),
        ),
        (
            "seed",
            "PATCH",
            "./galleries/G",
            json!({"properties": {"softDeletePolicy": {"isSoftDeleteEnabled": true}}}),
            Done,
        ),
        ("seed", "DELETE", VERSION, Value::Null, Done),
        (
            "E24",
            "PATCH",
            VERSION,
            json!({"tags": {"a": "b"}}),
            Refused(409, "OperationNotAllowed", "", "since it is marked for deletion"),
        ),
    ]);
    check(&arm, rows);
}

#[test]
fn sources() {
    let arm = face(settings()).build();
    let disk = |id: &str| json!({"source": {"id": format!("{GROUP}/providers/Microsoft.Compute/{id}")}});
    let blob = |name: &str| json!({"source": {"uri": format!("https://a.blob.core.windows.net/v/{name}.vhd")}});
    let at = |lun: u32, mut disk: Value| {
        disk["lun"] = json!(lun);
        disk
    };
    let set = |subscription: &str| {
        format!("/subscriptions/{subscription}/resourceGroups/r/providers/Microsoft.Compute/diskEncryptionSets/d")
    };
    let encrypted = |name: &str, encryption: Value| json!({"name": name, "encryption": encryption});
    let os_disk = |subscription: &str| json!({"osDiskImage": {"diskEncryptionSetId": set(subscription)}});
    let image = |os: Value| json!({"location": "westus", "properties": {"storageProfile": {"osDisk": os}}});
    const STORAGE: &str = "galleryImageVersion.properties.storageProfile";
    let mut rows = seeded();
    rows.extend([
        ("seed", "PUT", "./images/windows", image(json!({"osType": "Windows", "osState": "Generalized", "diskSizeGB": 1})), Done),
        ("seed", "PUT", "./images/specialized", image(json!({"osType": "Linux", "osState": "Specialized", "diskSizeGB": 1})), Done),
        ("seed", "PUT", "./images/large", image(json!({"osType": "Linux", "osState": "Generalized", "diskSizeGB": 3000})), Done),
        ("seed", "PUT", "./images/v2", with(image(json!({"osType": "Linux", "osState": "Generalized", "diskSizeGB": 1})), "/properties/hyperVGeneration", json!("V2")), Done),
        ("seed", "PUT", "./images/east", with(image(json!({"osType": "Linux", "osState": "Generalized", "diskSizeGB": 1})), "/location", json!("eastus")), Done),
        ("seed", "PUT", "./galleries/G/images/Trusted", definition("t", json!({"hyperVGeneration": "V2", "features": [{"name": "SecurityType", "value": "TrustedLaunchSupported"}]})), Done),
        ("E15", "PUT", "./galleries/G/images/Trusted/versions/1.0.0", version("virtualMachines/vm", json!({})),
            Refused(400, "InvalidParameter", "galleryImageVersion.properties.storageProfile.source", "The security type 'TrustedLaunchSupported' is not supported for the source id")),
        ("E16 generation", "PUT", NEW, version("images/v2", json!({})),
            Refused(409, "Conflict", "", "has a different Hypervisor generation ['V2'] than the parent gallery image Hypervisor generation ['V1'].")),
        ("E16 OS type", "PUT", "./galleries/G/images/I/versions/2.0.1", version("images/windows", json!({})), Refused(409, "Conflict", "", "['Windows']")),
        ("E16 OS state", "PUT", "./galleries/G/images/I/versions/2.0.2", version("images/specialized", json!({})), Refused(409, "Conflict", "", "pecialized")),
        ("E17 region", "PUT", "./galleries/G/images/I/versions/2.0.3", version("images/east", json!({})),
            Refused(404, "NotFound", "", "is in the same region as gallery image version being created")),
        ("E19", "PUT", "./galleries/G/images/I/versions/2.0.4", version("images/large", json!({})),
            Refused(400, "GallerySourceResourceExceedsMaxSize", "galleryImageVersion.properties.storageProfile.osDiskImage", "source resource size 3000 exceeds the max size 2048 supported")),
        ("E28", "PUT", "./galleries/G/images/I/versions/3.0.0", stored(json!({"source": {"id": "golden"}}), json!({})),
            Refused(400, "InvalidParameter", "galleryImageVersion.properties.storageProfile.source.id", "Property id 'golden' at path 'properties.storageProfile.source.id' is invalid.")),
        ("E29 kind", "PUT", "./galleries/G/images/I/versions/3.0.0", version("snapshots/s", json!({})),
            Refused(400, "InvalidParameter", "galleryImageVersion.properties.storageProfile.source.id", "")),
        ("E29 disk's kind", "PUT", "./galleries/G/images/I/versions/3.0.0", stored(json!({"osDiskImage": disk("images/golden")}), json!({})),
            Refused(400, "InvalidParameter", "galleryImageVersion.properties.storageProfile.osDiskImage.source.id", "")),
        ("E29 two sources", "PUT", "./galleries/G/images/I/versions/3.0.0", stored(json!({"source": disk("images/golden")["source"], "osDiskImage": disk("snapshots/s")}), json!({})),
            Refused(400, "InvalidParameter", STORAGE, "One and only one source type")),
        ("E29 no source", "PUT", "./galleries/G/images/I/versions/3.0.0", stored(json!({}), json!({})),
            Refused(400, "InvalidParameter", "galleryImageVersion.properties.storageProfile.source", "One and only one source type")),
        ("E29 LUN", "PUT", "./galleries/G/images/I/versions/3.0.0", stored(json!({"osDiskImage": disk("snapshots/s"), "dataDiskImages": [at(1, disk("snapshots/a")), at(1, disk("snapshots/b"))]}), json!({})),
            Refused(400, "InvalidParameter", "galleryImageVersion.properties.storageProfile.dataDiskImages[1].lun", "uplicate")),
        ("E29 twice", "PUT", "./galleries/G/images/I/versions/3.0.0", stored(json!({"osDiskImage": disk("snapshots/s"), "dataDiskImages": [at(1, disk("snapshots/s"))]}), json!({})),
            Refused(400, "InvalidParameter", STORAGE, "uplicate")),
        ("E29 one blob", "PUT", "./galleries/G/images/I/versions/3.0.0", stored(json!({"osDiskImage": blob("os"), "dataDiskImages": [at(1, blob("os"))]}), json!({})),
            Refused(400, "InvalidParameter", STORAGE, "OSDiskImage and DataDiskImage cannot point to same blob")),
        ("E30 subscription", "PUT", "./galleries/G/images/I/versions/3.0.0", version("images/golden", json!({"targetRegions": [encrypted("westus", os_disk("other"))]})),
            Refused(400, "InvalidParameter", "galleryImageVersion.properties.publishingProfile.targetRegions[0].encryption", "must be in the same subscription")),
        ("E30 all regions", "PUT", "./galleries/G/images/I/versions/3.0.0", version("images/golden", json!({"targetRegions": [encrypted("westus", os_disk("dev")), {"name": "eastus"}]})),
            Refused(400, "InvalidParameter", "galleryImageVersion.properties.publishingProfile.targetRegions[1].encryption", "")),
        ("E30 LUN", "PUT", "./galleries/G/images/I/versions/3.0.0", stored(json!({"osDiskImage": disk("snapshots/s")}), json!({"targetRegions": [encrypted("westus", json!({"dataDiskImages": [{"lun": 3, "diskEncryptionSetId": set("dev")}]}))]})),
            Refused(400, "InvalidParameter", "galleryImageVersion.properties.publishingProfile.targetRegions[0].encryption.dataDiskImages", "An invalid lun [3] was specified")),
        ("E30 update", "PUT", VERSION, version("images/golden", json!({"targetRegions": [encrypted("westus", os_disk("dev"))]})),
            Refused(400, "InvalidParameter", "galleryImageVersion.properties.publishingProfile.targetRegions[0].encryption", "cannot be changed on update")),
    ]);
    check(&arm, rows);
}

#[test]
fn a_source_that_is_not_there() {
    let service = block_on(settings().store(MemoryStore::new()).create()).unwrap();
    let arm = ArmBuilder::new(service).instant().build();
    let mut rows = seeded();
    rows.pop();
    let not_found =
        || Refused(404, "NotFound", "", "is not found. Please check source exists, and is in the same region");
    rows.extend([
        ("E17", "PUT", VERSION, version("images/golden", json!({})), not_found()),
        (
            "E17 version",
            "PUT",
            "./galleries/G/images/I/versions/1.0.1",
            version("galleries/G/images/I/versions/7.0.0", json!({})),
            not_found(),
        ),
    ]);
    check(&arm, rows);
}

/// E20, in the operation and beside the region, of a store that is away.
#[test]
fn a_replication_that_fails() {
    let eastus = FaultyStore::new(MemoryStore::new());
    let (faults, home) = (eastus.faults(), MemoryStore::new());
    let stores = GalleryService::builder().allow_all().catalog_store(MemoryStore::new());
    let stores = stores.region_store("westus", home).region_store("eastus", eastus);
    // The region is tried again by the clock.
    let stores = stores.clock(ManualClock::auto_advancing(chrono::DateTime::UNIX_EPOCH));
    let service = block_on(stores.create()).unwrap();
    let arm = ArmBuilder::new(service).named_sources(4 << 20).build();
    send(&arm, "x", "PUT", "./galleries/G", &located("westus"));
    send(&arm, "x", "PUT", "./galleries/G/images/I", &definition("a", json!({})));
    faults.fail_from(0, Fault::Before(StoreErrorKind::Unavailable));
    let regions = json!({"targetRegions": [{"name": "westus"}, {"name": "eastus"}]});
    let url = format!("{GROUP}/providers/Microsoft.Compute/galleries/G/images/I/versions/1.0.0?api-version={NEWEST}");
    let request = Request::put(&url).header("Authorization", "Bearer x");
    let request = request.body(Bytes::from(version("images/golden", regions).to_string())).unwrap();
    let begun = block_on(arm.answer(request));
    assert_eq!(begun.status(), 201);
    let operation =
        begun.headers()["azure-asyncoperation"].to_str().unwrap().split_once("localhost").unwrap().1.to_owned();
    let polls: Vec<Value> = (0..3).map(|_| send(&arm, "x", "GET", &operation, &Value::Null).1).collect();
    let ended = polls.last().unwrap();
    assert_eq!(
        (&ended["status"], &ended["error"]["code"]),
        (&json!("Failed"), &json!("ReplicationJobFailed")),
        "{ended}"
    );
    let (_, made) = send(&arm, "x", "GET", &format!("{url}&$expand=ReplicationStatus"), &Value::Null);
    let status = &made["properties"]["replicationStatus"];
    let states: Vec<(&Value, &Value)> =
        status["summary"].as_array().unwrap().iter().map(|of| (&of["region"], &of["state"])).collect();
    let expected = [(&json!("West US"), &json!("Completed")), (&json!("East US"), &json!("Failed"))];
    assert_eq!((states.as_slice(), &status["aggregatedState"]), (expected.as_slice(), &json!("Failed")), "{made}");
}

/// A VM of an image: what a gallery says of it comes before that VMs are not made.
fn vm(image: &str, more: Value) -> Value {
    let mut body = json!({"location": "westus", "properties": {"storageProfile": {"imageReference": {"id": image}}}});
    body["properties"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[test]
fn vms_and_disks_of_an_image() {
    let arm = face(settings()).build();
    let id = |path: &str| format!("{GROUP}/providers/Microsoft.Compute/{path}");
    let version_1 = id("galleries/G/images/I/versions/1.0.0");
    let profile = || json!({"osProfile": {"adminUsername": "ann"}});
    let disk = |region: &str, reference: Value| json!({"location": region, "properties": {"creationData": {"createOption": "FromImage", "galleryImageReference": reference}}});
    let only = json!({"hyperVGeneration": "V2", "features": [{"name": "SecurityType", "value": "TrustedLaunch"}]});
    let special = |mut body: Value| {
        body["properties"]["osState"] = json!("Specialized");
        body
    };
    let mut rows = seeded();
    rows.extend([
        ("seed", "PUT", "./galleries/G/images/Empty", definition("e", json!({})), Done),
        ("seed", "PUT", "./galleries/G/images/Trusted", definition("t", only), Done),
        ("seed", "PUT", "./galleries/G/images/Trusted/versions/1.0.0", version("images/golden", json!({})), Done),
        ("seed", "PUT", "./galleries/G/images/Special", special(definition("s", json!({}))), Done),
        ("seed", "PUT", "./galleries/G/images/Special/versions/1.0.0", version("images/golden", json!({})), Done),
        ("V1 version", "PUT", "./virtualMachines/vm", vm(&id("galleries/G/images/I/versions/9.0.0"), profile()),
            Refused(404, "GalleryImageNotFound", "imageReference", "is not available in westus region.")),
        ("V1 region", "PUT", "./virtualMachines/vm", with(vm(&version_1, profile()), "/location", json!("eastus")),
            Refused(404, "GalleryImageNotFound", "imageReference", "is not available in eastus region. Please contact image owner")),
        ("V2", "PUT", "./virtualMachines/vm", vm(&id("galleries/G/images/Empty"), profile()),
            Refused(404, "GalleryImageNotFound", "imageReference", "There is no latest image version exists for \"")),
        ("V6", "PUT", "./virtualMachines/vm", vm(&id("galleries/G/images/Trusted"), profile()),
            Refused(400, "BadRequest", "securityProfile.securityType", "only supports creation of VMs and VM Scale Sets with 'TrustedLaunch' security type.")),
        ("V6 scale set", "PUT", "./virtualMachineScaleSets/set", json!({"location": "westus", "properties": {"virtualMachineProfile": vm(&id("galleries/G/images/Trusted"), profile())["properties"]}}),
            Refused(400, "BadRequest", "securityProfile.securityType", "with 'TrustedLaunch' security type.")),
        ("V7 generalized", "PUT", "./virtualMachines/vm", vm(&version_1, json!({})),
            Refused(400, "InvalidParameter", "osProfile", "Required parameter 'osProfile' is missing (null).")),
        ("V7 specialized", "PUT", "./virtualMachines/vm", vm(&id("galleries/G/images/Special"), profile()),
            Refused(400, "InvalidParameter", "osProfile", "Parameter 'osProfile' is not allowed.")),
        ("V8", "PUT", "./disks/d", disk("westus", json!({"id": version_1, "lun": 7})),
            Refused(400, "InvalidParameter", "imageReference.lun", "The value of parameter imageReference is invalid.")),
        ("V1 disk", "PUT", "./disks/d", disk("eastus", json!({"id": version_1})),
            Refused(404, "GalleryImageNotFound", "imageReference", "is not available in eastus region.")),
        ("V2 disk", "PUT", "./disks/d", disk("westus", json!({"id": id("galleries/G/images/Empty")})),
            Refused(404, "GalleryImageNotFound", "imageReference", "There is no latest image version")),
        ("a disk of the latest", "PUT", "./disks/d", disk("westus", json!({"id": id("galleries/G/images/I")})), Done),
        // What is right with its image is not made all the same.
        ("a VM", "PUT", "./virtualMachines/vm", vm(&version_1, profile()), Refused(400, "InvalidResourceType", "", "'vm' was not made")),
        ("a trusted VM", "PUT", "./virtualMachines/vm", vm(&id("galleries/G/images/Trusted"), json!({"osProfile": {"adminUsername": "ann"}, "securityProfile": {"securityType": "trustedlaunch"}})),
            Refused(400, "InvalidResourceType", "", "'vm' was not made")),
        ("a specialized VM", "PUT", "./virtualMachines/vm", vm(&id("galleries/G/images/Special"), json!({})), Refused(400, "InvalidResourceType", "", "'vm' was not made")),
        ("no VM", "GET", "./virtualMachines/vm", Value::Null, Refused(404, "ResourceNotFound", "", "virtualMachines/vm")),
    ]);
    check(&arm, rows);
    let (_, made) = send(&arm, "x", "GET", "./disks/d", &Value::Null);
    assert_eq!(made["properties"]["diskSizeGB"], 1, "{made}");

    // V3: before anything of a template is made.
    let deployment = |image: &str| {
        let gallery = json!({"type": "Microsoft.Compute/galleries", "apiVersion": "2023-07-03", "name": "H", "location": "westus"});
        let mut machine = vm(image, profile());
        let more = json!({"type": "Microsoft.Compute/virtualMachines", "apiVersion": "2024-07-01", "name": "vm"});
        machine.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"properties": {"mode": "Incremental", "template": {"resources": [gallery, machine]}}})
    };
    let absent = || {
        Refused(
            400,
            "InvalidParameter",
            "imageReference",
            "In region westus, the following list of Shared Image Gallery images referenced from the deployment template were not found: '",
        )
    };
    const AT: &str = "/subscriptions/dev/resourceGroups/Images/providers/Microsoft.Resources/deployments/d";
    const VALIDATE: &str =
        "/subscriptions/dev/resourceGroups/Images/providers/Microsoft.Resources/deployments/d/validate";
    let rows: Vec<Row> = vec![
        ("V3", "PUT", AT, deployment(&id("galleries/G/images/Empty")), absent()),
        ("V3 validate", "POST", VALIDATE, deployment(&id("galleries/G/images/I/versions/7.0.0")), absent()),
        ("nothing made", "GET", "./galleries/H", Value::Null, Refused(404, "ResourceNotFound", "", "")),
        ("there", "POST", VALIDATE, deployment(&id("galleries/G/images/I")), Done),
    ];
    check(&arm, rows);
}

/// E18: a source is read by any number of versions at once. E37: applications are of no version here.
#[test]
fn what_cannot_happen_here() {
    let arm = face(settings()).build();
    let mut rows = seeded();
    rows.push((
        "E37",
        "PUT",
        "./galleries/G/applications/A/versions/1.0.0",
        json!({"location": "westus", "properties": {"publishingProfile": {"source": {"mediaLink": "https://a/b"}}}}),
        Refused(400, "InvalidResourceType", "", "'applications' is not supported"),
    ));
    check(&arm, rows);
    let source = version("galleries/G/images/I/versions/1.0.0", json!({}));
    let puts = (2..10).map(|minor| {
        let path = format!("{GROUP}/providers/Microsoft.Compute/galleries/G/images/I/versions/1.{minor}.0");
        let request = Request::put(format!("{path}?api-version={NEWEST}")).header("Authorization", "Bearer x");
        arm.answer(request.body(Bytes::from(source.to_string())).unwrap())
    });
    let statuses: Vec<u16> =
        block_on(futures::future::join_all(puts)).iter().map(|made| made.status().as_u16()).collect();
    assert_eq!(statuses, [201; 8]);
}

#[test]
fn limits() {
    let arm = face(
        settings().limits(Limits::azure_2026().with_galleries(1).with_image_definitions(1).with_image_versions(1)),
    )
    .build();
    let mut rows = seeded();
    rows.extend([
        ("E36 galleries", "PUT", "./galleries/H", located("westus"), Refused(409, "OperationNotAllowed", "", "quota")),
        (
            "E36 definitions",
            "PUT",
            "./galleries/G/images/J",
            definition("j", json!({})),
            Refused(409, "OperationNotAllowed", "", "Current Limit: 1, Current Usage: 1, Additional Required: 1"),
        ),
        (
            "E36 versions",
            "PUT",
            NEW,
            version("images/golden", json!({})),
            Refused(409, "OperationNotAllowed", "", "quota"),
        ),
    ]);
    check(&arm, rows);
}

#[test]
fn consumers_and_those_without_a_role() {
    let directory = MemoryDirectory::new();
    let tenant: TenantId = "contoso".parse().unwrap();
    for subscription in ["dev", "other"] {
        directory.add_subscription(subscription.parse().unwrap(), tenant.clone(), None).unwrap();
    }
    for user in ["ann", "ben"] {
        directory.add_user(user, &tenant).unwrap();
    }
    let builder = GalleryService::builder().directory(directory).administrator("ann".parse().unwrap()).azure_2026();
    let arm = face(builder).authenticator(UntrustedClaims).build();
    // {"oid":"ann"} and {"oid":"ben"}.
    let (ann, ben) = ("e30.eyJvaWQiOiJhbm4ifQ.eA", "e30.eyJvaWQiOiJiZW4ifQ.eA");
    let as_ann = |method: &str, path: &str, body: Value| {
        let (status, answer) = send(&arm, ann, method, path, &body);
        assert!(status < 300, "{method} {path}: {status} {answer}");
        answer
    };
    let refused = |(status, answer): (u16, Value)| {
        let error = |name: &str| answer["error"][name].as_str().unwrap_or_default().to_owned();
        (status, error("code"), error("message"))
    };
    as_ann(
        "PUT",
        "./galleries/G",
        json!({"location": "westus", "properties": {"sharingProfile": {
            "permissions": "Community", "communityGalleryInfo": {"publisherUri": "u", "publisherContact": "a@b.c", "eula": "e", "publicNamePrefix": "contoso"},
        }}}),
    );
    as_ann("PUT", "./galleries/G/images/I", definition("a", json!({})));
    as_ann("PUT", VERSION, version("images/golden", json!({})));
    as_ann("POST", "./galleries/G/share", json!({"operationType": "EnableCommunity"}));
    let gallery = as_ann("GET", "./galleries/G", Value::Null);
    let name =
        gallery["properties"]["sharingProfile"]["communityGalleryInfo"]["publicNames"][0].as_str().unwrap().to_owned();

    // V1: an image where it has no replica.
    let image = |region: &str| {
        format!("/subscriptions/dev/providers/Microsoft.Compute/locations/{region}/communityGalleries/{name}/images/I")
    };
    assert_eq!(send(&arm, ben, "GET", &image("westus"), &Value::Null).0, 200);
    let (status, code, message) = refused(send(&arm, ben, "GET", &image("eastus"), &Value::Null));
    assert_eq!((status, code.as_str()), (404, "GalleryImageNotFound"), "{message}");
    assert!(
        message.contains("is not available in eastus region. Please contact image owner to replicate to this region"),
        "{message}"
    );
    let version_there = format!("{}/versions/1.0.0", image("eastus"));
    assert_eq!(refused(send(&arm, ben, "GET", &version_there, &Value::Null)).1, "GalleryImageNotFound");

    // V5: no role.
    let (status, code, message) = refused(send(&arm, ben, "GET", "./galleries/G", &Value::Null));
    assert_eq!((status, code.as_str()), (403, "AuthorizationFailed"), "{message}");
    assert!(
        message.contains("does not have authorization to perform action 'Microsoft.Compute/galleries/read' over scope"),
        "{message}"
    );
    assert!(message.contains("If access was recently granted, please refresh your credentials."), "{message}");

    // V4: a role at the version that is made, and none at what it is made of.
    as_ann("PUT", "/subscriptions/other/resourceGroups/B/providers/Microsoft.Compute/galleries/H", located("westus"));
    as_ann(
        "PUT",
        "/subscriptions/other/resourceGroups/B/providers/Microsoft.Compute/galleries/H/images/J",
        definition("j", json!({})),
    );
    let owner =
        "/subscriptions/other/providers/Microsoft.Authorization/roleDefinitions/8e3af657-a8ff-443c-a75c-2fe8c4bcb635";
    let role =
        "/subscriptions/other/providers/Microsoft.Authorization/roleAssignments/11111111-0000-0000-0000-000000000000";
    as_ann("PUT", role, json!({"properties": {"roleDefinitionId": owner, "principalId": "ben"}}));
    let made = "/subscriptions/other/resourceGroups/B/providers/Microsoft.Compute/galleries/H/images/J/versions/1.0.0";
    let body = version("galleries/G/images/I/versions/1.0.0", json!({}));
    let (status, code, message) = refused(send(&arm, ben, "PUT", made, &body));
    assert_eq!((status, code.as_str()), (403, "LinkedAuthorizationFailed"), "{message}");
    assert!(message.contains("Microsoft.Compute/galleries/images/versions/read"), "{message}");
}
