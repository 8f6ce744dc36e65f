//! The official examples of Azure's API: every request body becomes a value of the model and the same body again.
//!
//! `tests/azure/requests.json` holds the bodies of the api-versions 2018-06-01, 2019-03-01 and 2023-07-03, unchanged.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of a test may fail as the test does")]

use compute_gallery::model::*;
use serde_json::{Value, json};

/// Examples that are malformed, with the problem of each.
const MALFORMED: &[(&str, &str)] = &[
    // One blob as OS disk and as data disk, which the service's own rules refuse.
    ("2023-07-03/GalleryImageVersion_Create_WithVHD.json", "named twice"),
    ("2023-07-03/GalleryImageVersion_Create_WithVHD_UefiSettings.json", "named twice"),
];

/// The examples name what a reader should fill in: `{subscriptionId}` and the like.
fn filled_in(body: &Value) -> Value {
    match body {
        Value::String(text) => json!(text.replace("{versionName}", "1.0.0").replace(['{', '}'], "")),
        Value::Array(items) => items.iter().map(filled_in).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), filled_in(value))).collect(),
        other => other.clone(),
    }
}

fn gallery_id() -> GalleryId {
    "/subscriptions/s/resourceGroups/r/providers/Microsoft.Compute/galleries/g".parse().unwrap()
}

/// Reads a body and writes it back; the error if the model refuses it.
fn there_and_back(kind: &str, body: &Value) -> Result<Value, String> {
    let wrong = |error: compute_gallery::Error| error.to_string();
    match kind {
        "gallery" => Gallery::from_body(gallery_id(), body).map(|gallery| gallery.body()).map_err(wrong),
        "galleryImage" => {
            let id = gallery_id().image("i".parse().unwrap());
            ImageDefinition::from_body(id, body).map(|definition| definition.body()).map_err(wrong)
        }
        "galleryImageVersion" => ImageVersionRequest::from_body(body).map(|request| request.body()).map_err(wrong),
        _ => panic!("{kind}"),
    }
}

#[test]
fn every_official_request_is_understood_and_written_back() {
    let examples: serde_json::Map<String, Value> = serde_json::from_str(include_str!("azure/requests.json")).unwrap();
    let (mut put, mut patched) = (0, 0);
    for (name, example) in &examples {
        let (kind, body) = example.as_object().unwrap().iter().next().unwrap();
        let body = filled_in(body);
        if body.get("location").is_none() {
            patched += 1;
            continue;
        }
        put += 1;
        match (there_and_back(kind, &body), MALFORMED.iter().find(|(malformed, _)| malformed == name)) {
            (Ok(back), None) => assert_eq!(back, body, "{name}"),
            (Err(error), Some((_, how))) => assert!(error.contains(how), "{name}: {error}"),
            (back, malformed) => panic!("{name}: {back:?}, {malformed:?}"),
        }
    }
    assert_eq!((put, patched), (24, 4));
}

#[test]
fn malformed_examples_are_understood_when_they_are_mended() {
    let examples: Value = serde_json::from_str(include_str!("azure/requests.json")).unwrap();
    for (name, _) in MALFORMED {
        let mut body = filled_in(&examples[name]["galleryImageVersion"]);
        body["properties"]["storageProfile"]["dataDiskImages"][0]["source"]["uri"] = json!("https://other/data.vhd");
        assert_eq!(there_and_back("galleryImageVersion", &body).unwrap(), body, "{name}");
    }
}

#[test]
fn official_patches_change_what_they_name_and_nothing_else() {
    let examples: Value = serde_json::from_str(include_str!("azure/requests.json")).unwrap();
    let patch = |name: &str, kind: &str| filled_in(&examples[format!("2023-07-03/{name}.json")][kind]);
    let gallery = Gallery::new(gallery_id(), "westus".parse().unwrap());
    let gallery = gallery.with_soft_delete_policy(SoftDeletePolicy::enabled());
    let patched = gallery.patched(&patch("Gallery_Update", "gallery")).unwrap();
    assert_eq!(patched.description(), Some("This is the gallery description."));
    assert!(patched.soft_delete_policy().is_enabled());

    let create = filled_in(&examples["2023-07-03/GalleryImage_Create.json"]["galleryImage"]);
    let definition = ImageDefinition::from_body(gallery_id().image("i".parse().unwrap()), &create).unwrap();
    assert_eq!(definition.patched(&patch("GalleryImage_Update", "galleryImage")).unwrap(), definition);

    let id = definition.id().version("1.0.0".parse().unwrap());
    let profile = PublishingProfile::new("westus=1".parse().unwrap());
    let disks = StorageProfile::new(DiskImage::new(1 << 30), Vec::new()).unwrap();
    let version = ImageVersion::new(id, "westus".parse().unwrap(), profile, disks.clone()).unwrap();
    let patched = version.patched(&patch("GalleryImageVersion_Update_WithoutSourceId", "galleryImageVersion")).unwrap();
    let regions = patched.publishing_profile();
    assert_eq!(regions.replicas_in(&"eastus".parse().unwrap()), Some(2));
    assert_eq!(regions.storage_account_type_in(&"eastus".parse().unwrap()), StorageAccountType::StandardZrs);
    assert_eq!(patched.storage_profile(), &disks);
}

#[test]
fn a_version_has_one_kind_of_source() {
    let version = |storage: Value| {
        let profile = json!({"targetRegions": [{"name": "West US"}]});
        let body =
            json!({"location": "West US", "properties": {"publishingProfile": profile, "storageProfile": storage}});
        there_and_back("galleryImageVersion", &body).unwrap_err()
    };
    let id = |kind: &str| format!("/subscriptions/s/resourceGroups/r/providers/Microsoft.Compute/{kind}/x");
    for (storage, rule) in [
        (json!({}), "The body has no source"),
        (json!({"source": {"uri": "https://x/y.vhd"}}), "belong to the source of a disk image"),
        (
            json!({"source": {"id": id("snapshots")}}),
            "must either be a managed image, virtual machine or another gallery image version",
        ),
        (json!({"source": {"id": "images/x"}}), "Expect fully qualified resource Id"),
        (
            json!({"source": {"id": id("images"), "virtualMachineId": id("virtualMachines")}}),
            "One and only one source type",
        ),
        (
            json!({"source": {"id": id("images")}, "osDiskImage": {"source": {"id": id("disks")}}}),
            "One and only one source type",
        ),
        (json!({"osDiskImage": {"source": {"id": id("images")}}}), "must be a managed disk or snapshot"),
        (json!({"dataDiskImages": [{"lun": 0, "source": {"id": id("disks")}}]}), "no OS disk"),
        (
            json!({"osDiskImage": {"source": {"id": id("disks")}}, "dataDiskImages": [{"lun": 0, "source": {"id": id("disks")}}]}),
            "named twice",
        ),
        (
            json!({"osDiskImage": {"source": {"id": id("disks")}}, "dataDiskImages": [{"lun": 64, "source": {"id": id("snapshots")}}]}),
            "LUN `64` is above 63",
        ),
    ] {
        let error = version(storage.clone());
        assert!(error.contains(rule), "{storage}: {error}");
    }
}
