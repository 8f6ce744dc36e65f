//! Requests as Azure's clients send them: `put_*` and PATCH, what they change, and what GET answers of them.
//!
//! `tests/azure/requests.json` and `newer.json` hold official bodies, unchanged. `cargo test --features testkit --test requests --
//! --nocapture` prints what the answers have not of them.
#![cfg(feature = "testkit")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper of a test may fail as the test does"
)]

use std::time::Duration;

use compute_gallery::access::{AccessScope, BuiltInRole, MemoryDirectory, RoleAssignment, RoleDefinition};
use compute_gallery::change::Effect;
use compute_gallery::model::*;
use compute_gallery::publish::{LocalDisks, NewManagedImage};
use compute_gallery::read::{EventKind, ListScope, ProvisioningState};
use compute_gallery::store::StoreErrorKind;
use compute_gallery::testkit::{Fault, Sandbox, raw};
use compute_gallery::*;
use futures::executor::block_on;
use serde_json::{Value, json};

/// Official bodies that are refused, with the rule.
const REFUSED: &[(&str, &str)] = &[
    // One blob as OS disk and as data disk, which the service's own rules refuse (E29).
    ("2023-07-03/GalleryImageVersion_Create_WithVHD.json", "named twice"),
    ("2023-07-03/GalleryImageVersion_Create_WithVHD_UefiSettings.json", "named twice"),
];

/// What an answer has elsewhere, or not at all, on purpose.
const ELSEWHERE: &[(&str, &str)] = &[
    ("properties.publishingProfile.source", "the legacy source is answered as storageProfile.source"),
    ("properties.allowUpdateImage", "is about the request alone"),
    ("properties.restore", "is about the request alone"),
];

const GALLERY: &str = "/subscriptions/s/resourceGroups/r/providers/Microsoft.Compute/galleries/g";

fn gallery() -> GalleryId {
    GALLERY.parse().unwrap()
}

fn image() -> ImageDefinitionId {
    gallery().image("i".parse().unwrap())
}

fn version() -> ImageVersionId {
    image().version("1.0.0".parse().unwrap())
}

/// The examples name what a reader should fill in: `{subscriptionId}` and the like.
fn filled_in(body: &Value) -> Value {
    match body {
        Value::String(text) => {
            let text = text.replace("{subscriptionId}", "s").replace("{versionName}", "1.0.0");
            json!(text.replace(['{', '}'], ""))
        }
        Value::Array(items) => items.iter().map(filled_in).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), filled_in(value))).collect(),
        other => other.clone(),
    }
}

/// Adds the paths of what was given and is not answered. Regions are compared as regions.
fn losses(path: &str, given: &Value, answered: &Value, lost: &mut Vec<String>) {
    match (given, answered) {
        (Value::Object(given), Value::Object(_)) => {
            for (name, value) in given {
                let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                losses(&below, value, &answered[name], lost);
            }
        }
        (Value::Array(given), Value::Array(answered)) if given.len() == answered.len() => {
            let both = given.iter().zip(answered).enumerate();
            both.for_each(|(at, (given, answered))| losses(&format!("{path}[{at}]"), given, answered, lost));
        }
        (Value::Object(given), Value::Null) if given.is_empty() => {}
        (Value::String(given), Value::String(answered)) if path.ends_with("ocation") || path.ends_with("].name") => {
            if given.parse::<Region>().unwrap() != answered.parse::<Region>().unwrap() {
                lost.push(path.to_owned());
            }
        }
        _ if given == answered => {}
        _ => lost.push(path.to_owned()),
    }
}

async fn put(session: &Session, kind: &str, request: Request) -> Result<(Effect, Value)> {
    let (effect, id) = match kind {
        "gallery" => (session.put_gallery(gallery(), request).await?.effect, gallery().into()),
        "galleryImage" => (session.put_image_definition(image(), request).await?.effect, image().into()),
        "galleryImageVersion" => {
            (session.put_image_version(version(), request).await?.effect, ResourceId::from(version()))
        }
        _ => panic!("{kind}"),
    };
    Ok((effect, session.view().json(id)?))
}

async fn sandbox() -> Sandbox {
    Sandbox::builder().regions(["westus", "eastus", "eastus2"]).zones("eastus").zones("eastus2").build().await.unwrap()
}

fn definition_body() -> Value {
    let identifier = json!({"publisher": "p", "offer": "o", "sku": "s"});
    json!({"location": "West US", "properties": {"osType": "Windows", "osState": "Generalized", "identifier": identifier}})
}

/// Makes the parents of a resource, and the resource itself for a PATCH.
async fn prepare(session: &Session, kind: &str, body: &Value) {
    let is_patch = body.get("location").is_none();
    if kind != "gallery" || is_patch {
        session.put_gallery(gallery(), json!({"location": "westus"})).await.unwrap();
    }
    let mut definition = definition_body();
    if is_patch && kind == "galleryImage" {
        for name in ["identifier", "hyperVGeneration"] {
            definition["properties"][name] = body["properties"][name].clone();
        }
    }
    if kind == "galleryImage" && is_patch || kind == "galleryImageVersion" {
        session.put_image_definition(image(), definition).await.unwrap();
    }
    if kind == "galleryImageVersion" && is_patch {
        let id =
            "/subscriptions/subscriptionId/resourceGroups/resourceGroup/providers/Microsoft.Compute/images/imageName";
        let id = id.replace("subscriptionId", "s");
        let created = json!({"location": "westus", "properties": {"storageProfile": {"source": {"id": id}}}});
        session.put_image_version(version(), created).await.unwrap();
    }
}

#[test]
fn every_official_request_goes_through_put_and_its_answer_has_all_of_it() {
    let read = |text| serde_json::from_str::<serde_json::Map<String, Value>>(text).unwrap();
    let mut examples = read(include_str!("azure/requests.json"));
    examples.extend(read(include_str!("azure/newer.json")));
    let (mut rows, mut count) = (Vec::new(), 0);
    for (name, example) in &examples {
        let (kind, body) = example.as_object().unwrap().iter().next().unwrap();
        let body = filled_in(body);
        let row = block_on(async {
            let sandbox = sandbox().await;
            let session = sandbox.session();
            prepare(session, kind, &body).await;
            let is_patch = body.get("location").is_none();
            let request = if is_patch { Request::patch(body.clone()) } else { Request::put(body.clone()) };
            let refused = REFUSED.iter().find(|(refused, _)| refused == name);
            let answered = match (put(session, kind, request.clone()).await, refused) {
                (Ok((_, answered)), None) => answered,
                (Err(error), Some((_, rule))) => {
                    assert!(error.to_string().contains(rule), "{name}: {error}");
                    return format!("refused: {rule}");
                }
                (outcome, refused) => panic!("{name}: {outcome:?}, {refused:?}"),
            };
            // The same again, and what was read, change nothing.
            if !is_patch {
                for again in [request, Request::put(answered.clone())] {
                    let (effect, same) = put(session, kind, again).await.unwrap();
                    assert_eq!((effect, same), (Effect::Unchanged, answered.clone()), "{name}");
                }
            }
            let mut lost = Vec::new();
            losses("", &body, &answered, &mut lost);
            let known = |path: &String| ELSEWHERE.iter().any(|(elsewhere, _)| path == elsewhere);
            assert!(lost.iter().all(known), "{name} has lost {lost:?}: {answered:#}");
            lost.join(", ")
        });
        count += 1;
        rows.push(format!("{name:75} {row}"));
    }
    println!("{}", rows.join("\n"));
    assert_eq!((count, rows.iter().filter(|row| row.contains("refused")).count()), (31, REFUSED.len()));
}

#[test]
fn what_the_model_does_not_have_is_kept_as_it_came() {
    block_on(async {
        let sandbox = sandbox().await;
        let session = sandbox.session();
        let identity = json!({"type": "UserAssigned", "userAssignedIdentities": {"/x": {}}, "n": 0.1, "none": null});
        let body = json!({
            "location": "WestUS", "identity": identity, "tags": null,
            "properties": {"identifier": {}, "sharingProfile": {"permissions": "groups", "groups": []}, "provisioningState": "x"},
        });
        let gallery_put = session.put_gallery(gallery(), body.clone()).await.unwrap();
        assert_eq!(gallery_put.effect, Effect::Created);
        let json = session.view().json(gallery()).unwrap();
        assert_eq!(json["identity"], identity);
        assert_eq!(json["properties"]["sharingProfile"], json!({"permissions": "Groups"}));
        assert_eq!(json["properties"]["provisioningState"], "Succeeded");

        session.put_image_definition(image(), definition_body()).await.unwrap();
        let source = "/subscriptions/s/resourceGroups/r/providers/Microsoft.Compute/images/x";
        let cvm = json!({"confidentialVMEncryptionType": "EncryptedWithPmk"});
        let replicas = json!([{"storageAccountType": "PremiumV2_LRS", "regionalReplicaCount": 2}]);
        let profile = json!({
            "targetRegions": [
                {"name": "East US", "storageAccountType": "standard_zrs", "additionalReplicaSets": replicas},
                {"name": "westus", "encryption": {"osDiskImage": {"securityProfile": cvm}}},
            ],
            "storageAccountStrategy": "PreferStandard_ZRS", "targetExtendedLocations": [{"name": "edge"}],
            "endOfLifeDate": "2090-01-01", "replicationMode": "full",
        });
        let storage = json!({"source": {"id": source}, "osDiskImage": {"hostCaching": "none", "source": {}}, "dataDiskImages": null});
        let properties = json!({"publishingProfile": profile, "storageProfile": storage});
        session.put_image_version(version(), json!({"location": "westus", "properties": properties})).await.unwrap();
        let check = |count: Value| {
            let json = session.view().json(version()).unwrap();
            let profile = &json["properties"]["publishingProfile"];
            let (eastus, westus) = (&profile["targetRegions"][0], &profile["targetRegions"][1]);
            assert_eq!(eastus["additionalReplicaSets"], replicas, "{json:#}");
            assert_eq!((&eastus["name"], &eastus["storageAccountType"]), (&json!("East US"), &json!("Standard_ZRS")));
            assert_eq!((&eastus["regionalReplicaCount"], &westus["name"]), (&count, &json!("West US")));
            assert_eq!(westus["encryption"], json!({"osDiskImage": {"securityProfile": cvm}}));
            assert_eq!(profile["storageAccountStrategy"], "PreferStandard_ZRS");
            assert_eq!(profile["targetExtendedLocations"], json!([{"name": "edge"}]));
            assert_eq!(profile["endOfLifeDate"], "2090-01-01T00:00:00Z");
        };
        check(json!(1));
        // A PATCH keeps it, and another process reads it from a checkpoint as from the log.
        let patch = json!({"properties": {"publishingProfile": {"replicaCount": 2}, "storageProfile": {}}, "location": "westus"});
        session.put_image_version(version(), Request::patch(patch)).await.unwrap();
        check(json!(2));
        // null removes.
        session.put_gallery(gallery(), Request::patch(json!({"identity": null}))).await.unwrap();
        assert_eq!(session.view().json(gallery()).unwrap().get("identity"), None);
        // With the resource it goes.
        session.put_gallery(gallery(), body.clone()).await.unwrap();
        session.delete(gallery()).cascade().await.unwrap();
        session.put_gallery(gallery(), json!({"location": "westus"})).await.unwrap();
        assert_eq!(session.view().json(gallery()).unwrap().get("identity"), None);
    });
}

#[test]
fn a_request_is_refused_with_all_its_problems_and_their_targets() {
    block_on(async {
        let sandbox = sandbox().await;
        let session = sandbox.session();
        session.put_gallery(gallery(), json!({"location": "westus"})).await.unwrap();
        session.put_image_definition(image(), definition_body()).await.unwrap();
        let targets = |problems: &[Problem]| problems.iter().map(|one| one.target().to_owned()).collect::<Vec<_>>();
        let body =
            json!({"properties": {"osType": "Plan9", "endOfLifeDate": "tomorrow", "identifier": {"offer": "o"}}});
        let plan = session.put_image_definition(gallery().image("x".parse().unwrap()), body).plan().await.unwrap();
        let image = "galleryImage.properties";
        assert_eq!(
            targets(&plan.problems),
            [
                "galleryImage.location".to_owned(),
                format!("{image}.osType"),
                format!("{image}.osState"),
                format!("{image}.identifier.publisher"),
                format!("{image}.identifier.sku"),
                format!("{image}.endOfLifeDate"),
            ]
        );
        // A version without a source, in a region that is not one.
        let regions = json!({"targetRegions": [{"name": "westus", "regionalReplicaCount": 0}]});
        let body = json!({"location": "westus", "properties": {"publishingProfile": regions}});
        let plan = session.put_image_version(version(), body).plan().await.unwrap();
        let version_target = "galleryImageVersion.properties";
        assert_eq!(
            targets(&plan.problems),
            [
                format!("{version_target}.storageProfile.source"),
                format!("{version_target}.publishingProfile.targetRegions[0].regionalReplicaCount"),
            ]
        );
        // What cannot change, each.
        let mut body = definition_body();
        body["properties"]["osType"] = json!("linux");
        body["properties"]["eula"] = json!("eula");
        let error = session.put_image_definition(image_id(), body.clone()).await.unwrap_err();
        let wrong: Vec<_> = error.problems().map(|one| (one.code().to_owned(), one.target().to_owned())).collect();
        let changed = |name: &str| ("PropertyChangeNotAllowed".to_owned(), format!("{image}.{name}"));
        assert_eq!(wrong, [changed("eula"), changed("osType")]);
        // A PATCH of what is not there.
        let absent = session.put_gallery(format!("{GALLERY}2"), Request::patch(json!({}))).await.unwrap_err();
        assert_eq!((absent.kind(), absent.code()), (ErrorKind::NotFound, "ResourceNotFound"));
        // Features change only with `allowUpdateImage`, and what is left out stays.
        let features = json!([{"name": "IsHibernateSupported", "value": "True"}]);
        let patch = |allowed: bool| {
            let properties = json!({"features": features, "allowUpdateImage": allowed});
            session.put_image_definition(image_id(), Request::patch(json!({"properties": properties})))
        };
        assert_eq!(patch(false).await.unwrap_err().code(), "PropertyChangeNotAllowed");
        assert_eq!(patch(true).await.unwrap().effect, Effect::Updated);
        let mut body = definition_body();
        body["properties"]["description"] = json!("d");
        let kept = session.put_image_definition(image_id(), body).await.unwrap().resource;
        assert_eq!((kept.features().len(), kept.description()), (1, Some("d")));
    });
}

fn image_id() -> ImageDefinitionId {
    image()
}

#[test]
fn a_version_is_there_from_its_announcement_and_completed_from_its_source() {
    block_on(async {
        let sandbox = Sandbox::builder().regions(["westeurope", "eastus"]).build().await.unwrap();
        let (session, image) = (sandbox.session(), sandbox.image());
        let id = sandbox.version("1.0.0");
        let golden = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/images/golden";
        let storage = json!({"source": {"id": golden}, "osDiskImage": {"hostCaching": "readonly"}});
        let uefi = json!({"uefiSettings": {"signatureTemplateNames": ["NoSignatureTemplate"]}});
        let body = json!({"location": "West Europe", "tags": {"a": "b"},
            "properties": {"storageProfile": storage, "securityProfile": uefi, "safetyProfile": {"blockDeletionBeforeEndOfLife": false}}});
        let put = || session.put_image_version(&id, body.clone());
        assert_eq!(put().await.unwrap().effect, Effect::Created);
        assert_eq!(put().await.unwrap().effect, Effect::Unchanged);
        let used = |view: &CatalogView| view.usage("dev", "westeurope").unwrap()[2].current_value;
        let state = |view: &CatalogView| view.provisioning(&id).unwrap().state;
        let view = session.view();
        assert_eq!((state(&view), used(&view)), (ProvisioningState::Creating, 1));
        assert_eq!(view.image_versions(image, None, 10).unwrap().items[0].id(), &id);
        assert!(view.latest(image, "westeurope").is_err());
        assert!(session.deploy(&id, "westeurope").to_writer(Vec::new()).await.is_err());
        assert!(session.replicate(&id).await.is_err());
        assert_eq!(view.incomplete_versions()[0].version.id(), &id);
        assert_eq!(session.delete(image).await.unwrap_err().code(), "CannotDeleteResource");
        let json = view.json(&id).unwrap();
        assert_eq!(json["properties"]["storageProfile"]["osDiskImage"], json!({"hostCaching": "ReadOnly"}));

        // The source is not there: the version fails, and stays so.
        let error = session.complete_version(&id).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, "NotFound"));
        let failed = session.view().provisioning(&id).unwrap();
        assert_eq!((failed.state, failed.error.unwrap().code.as_str()), (ProvisioningState::Failed, "NotFound"));
        assert_eq!(session.view().json(&id).unwrap()["properties"]["provisioningState"], "Failed");
        assert_eq!(session.complete_version(&id).await.unwrap_err().kind(), ErrorKind::Conflict);

        // It comes; the same request repairs the version.
        let disk = raw(vec![7; 4096]);
        let new = NewManagedImage::new(golden.parse().unwrap(), "westeurope".parse().unwrap(), OsType::Linux, disk);
        session.create_managed_image(new).await.unwrap();
        assert_eq!(put().await.unwrap().effect, Effect::Updated);
        assert_eq!(state(&session.view()), ProvisioningState::Creating);
        // Its regions may change until it is complete.
        let regions = json!([{"name": "westeurope"}, {"name": "eastus"}]);
        let patch = json!({"properties": {"publishingProfile": {"targetRegions": regions}}});
        session.put_image_version(&id, Request::patch(patch)).await.unwrap();
        let published = session.complete_version(&id).await.unwrap().resource;
        assert_eq!(published.storage_profile().os_disk_image().size_in_bytes(), 4096);
        assert_eq!(published.storage_profile().os_disk_image().host_caching(), HostCaching::ReadOnly);
        assert_eq!(published.tags().iter().next(), Some(("a", "b")));
        assert!(published.security_profile().is_some() && published.publishing_profile().published_date().is_some());
        let view = session.view();
        assert_eq!((state(&view), used(&view)), (ProvisioningState::Succeeded, 1));
        assert_eq!(view.latest(image, "westeurope").unwrap().id(), &id);
        assert!(view.incomplete_versions().is_empty());
        session.replicate(&id).await.unwrap();
        assert_eq!(sandbox.deployed("1.0.0", "eastus").await.unwrap(), [7; 4096]);

        // az's echo of what it read changes nothing, and neither does a source that is left out.
        let echo = session.view().json(&id).unwrap();
        assert_eq!(session.put_image_version(&id, echo).await.unwrap().effect, Effect::Unchanged);
        let mut other = body.clone();
        other["properties"]["storageProfile"] = json!({});
        other["properties"]["publishingProfile"] = json!({"targetRegions": []});
        assert_eq!(session.put_image_version(&id, other.clone()).await.unwrap().effect, Effect::Unchanged);
        other["properties"]["storageProfile"] = json!({"source": {"id": golden.replace("golden", "silver")}});
        let error = session.put_image_version(&id, other).await.unwrap_err();
        assert_eq!(error.code(), "PropertyChangeNotAllowed");
        assert_eq!(error.target(), "galleryImageVersion.properties.storageProfile.source.id");
        // More replicas: Updating, until they are there.
        let patch = json!({"properties": {"publishingProfile": {"targetRegions": [{"name": "westeurope", "regionalReplicaCount": 2}, {"name": "eastus"}]}}});
        assert_eq!(session.put_image_version(&id, Request::patch(patch)).await.unwrap().effect, Effect::Updated);
        assert_eq!(state(&session.view()), ProvisioningState::Updating);
        session.replicate(&id).await.unwrap();
        assert_eq!(state(&session.view()), ProvisioningState::Succeeded);
    });
}

#[test]
fn an_incomplete_version_is_deleted_and_its_number_is_free() {
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        let (session, id) = (sandbox.session(), sandbox.version("1.0.0"));
        let vm = "/subscriptions/dev/resourceGroups/r/providers/Microsoft.Compute/virtualMachines/vm";
        let storage = json!({"source": {"virtualMachineId": vm}});
        let body = json!({"location": "westeurope", "properties": {"storageProfile": storage}});
        session.put_image_version(&id, body.clone()).await.unwrap();
        let taken = sandbox.publish("1.0.0", vec![7; 4096]).await.unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
        session.delete(&id).await.unwrap();
        assert!(session.view().image_version(&id).is_err());
        assert_eq!(session.view().usage("dev", "westeurope").unwrap()[2].current_value, 0);
        session.put_image_version(&id, body).await.unwrap();
        session.complete_version(&id).from_disks(LocalDisks::new(raw(vec![9; 4096]))).await.unwrap();
        assert_eq!(sandbox.deployed("1.0.0", "westeurope").await.unwrap(), [9; 4096]);
        let source = session.view().json(&id).unwrap()["properties"]["storageProfile"]["source"].clone();
        assert_eq!(source, json!({"virtualMachineId": vm}));
        // Of several, lists are in numeric order.
        for number in ["0.9.0", "1.1.0"] {
            let body = json!({"location": "westeurope", "properties": {"storageProfile": {"source": {"virtualMachineId": vm}}}});
            session.put_image_version(sandbox.version(number), body).await.unwrap();
        }
        let (view, mut after, mut numbers) = (session.view(), None, Vec::new());
        loop {
            let page = view.image_versions(sandbox.image(), after, 1).unwrap();
            numbers.extend(page.items.iter().map(|version| version.id().number().to_string()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(numbers, ["0.9.0", "1.0.0", "1.1.0"]);
        session.delete(sandbox.image().gallery()).cascade().await.unwrap();
        assert!(session.view().galleries(&ListScope::All, None, 1).items.is_empty());
        assert!(session.view().incomplete_versions().is_empty());
    });
}

#[test]
fn a_put_can_be_made_on_what_was_read() {
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        let (session, id) = (sandbox.session(), sandbox.image().gallery().clone());
        let describe =
            |text: &str| session.put_gallery(&id, Request::patch(json!({"properties": {"description": text}})));
        let read = session.view().revision(&id).unwrap();
        let first = describe("one").if_unchanged_since(read).await.unwrap();
        assert!(first.revision > read);
        let late = describe("two").if_unchanged_since(read);
        assert_eq!(late.plan().await.unwrap().problems[0].code(), "PreconditionFailed");
        assert_eq!(late.await.unwrap_err().code(), "PreconditionFailed");
        assert_eq!(session.view().gallery(&id).unwrap().description(), Some("one"));
        let plan = describe("three").plan().await.unwrap();
        assert_eq!(plan.events()[0].kind, EventKind::GalleryUpdated);
        let same = describe("one").await.unwrap();
        assert_eq!((same.effect, same.revision), (Effect::Unchanged, first.revision));
        session.delete(&id).cascade().await.unwrap();
        let body = json!({"location": "westeurope"});
        let gone = session.put_gallery(&id, body).if_unchanged_since(first.revision).await.unwrap_err();
        assert_eq!(gone.code(), "PreconditionFailed");
    });
}

#[test]
fn a_request_restores_a_version() {
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        let (session, id) = (sandbox.session(), sandbox.version("1.0.0"));
        sandbox.publish("1.0.0", vec![7; 4096]).await.unwrap();
        let policy = json!({"properties": {"softDeletePolicy": {"isSoftDeleteEnabled": true}}});
        session.put_gallery(sandbox.image().gallery(), Request::patch(policy)).await.unwrap();
        // A PUT that says nothing of it leaves it on.
        session.put_gallery(sandbox.image().gallery(), json!({"location": "westeurope"})).await.unwrap();
        session.delete(&id).await.unwrap();
        let tags = Request::patch(json!({"tags": {"a": "b"}}));
        assert_eq!(session.put_image_version(&id, tags).await.unwrap_err().code(), "OperationNotAllowed");
        let restore = Request::patch(json!({"properties": {"restore": true, "storageProfile": {}}}));
        assert_eq!(session.put_image_version(&id, restore).await.unwrap().effect, Effect::Updated);
        assert_eq!(session.view().latest(sandbox.image(), "westeurope").unwrap().id(), &id);
    });
}

/// The bytes of a disk that is not all alike.
fn disk(seed: u8) -> Vec<u8> {
    (0..204_800_u32).map(|at| (at / 1_000) as u8 ^ seed).collect()
}

#[test]
fn an_announced_version_is_completed_after_any_time_and_any_interruption() {
    block_on(async {
        let vm = "/subscriptions/dev/resourceGroups/r/providers/Microsoft.Compute/virtualMachines/vm";
        let storage = json!({"source": {"virtualMachineId": vm}});
        let body = json!({"location": "westeurope", "properties": {"storageProfile": storage}});
        let mut calls = 0;
        for broken in 0.. {
            let sandbox = Sandbox::new().await.unwrap();
            let (session, id) = (sandbox.session(), sandbox.version("1.0.0"));
            session.put_image_version(&id, body.clone()).await.unwrap();
            let faults = sandbox.faults("westeurope");
            faults.fail_from(broken, Fault::Before(StoreErrorKind::Unavailable));
            let completed = session.complete_version(&id).from_disks(LocalDisks::new(raw(disk(1)))).await;
            faults.heal();
            if completed.is_ok() {
                calls = broken;
                break;
            }
            // It is as it was, and what it has stored stays, though nobody came for a month.
            assert_eq!(session.view().provisioning(&id).unwrap().state, ProvisioningState::Creating);
            sandbox.clock().advance(Duration::from_secs(30 * 24 * 3_600));
            let report = session.collect().await.unwrap();
            assert_eq!(report.abandoned_uploads, 0, "broken at call {broken}");
            let again = sandbox.reopen().build().await.unwrap();
            let [unfinished] = &again.session().view().incomplete_versions()[..] else { panic!("one is unfinished") };
            let disks = LocalDisks::new(raw(disk(1)));
            again.session().complete_version(unfinished.version.id()).from_disks(disks).await.unwrap();
            assert_eq!(again.deployed("1.0.0", "westeurope").await.unwrap(), disk(1));
        }
        assert!(calls > 2, "{calls} calls");
        // One that has failed, or was deleted, is given up by age as ever.
        let sandbox = Sandbox::new().await.unwrap();
        let (session, id) = (sandbox.session(), sandbox.version("1.0.0"));
        session.put_image_version(&id, body.clone()).await.unwrap();
        let faults = sandbox.faults("westeurope");
        faults.fail_from(2, Fault::Before(StoreErrorKind::Unavailable));
        session.complete_version(&id).from_disks(LocalDisks::new(raw(disk(1)))).await.unwrap_err();
        faults.heal();
        session.delete(&id).await.unwrap();
        session.collect().await.unwrap();
        let state = session.view().image_version(&id);
        assert_eq!(state.unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn of_two_completions_one_makes_the_version_and_a_deletion_ends_both() {
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        let (session, id) = (sandbox.session(), sandbox.version("1.0.0"));
        sandbox.publish("0.1.0", disk(1)).await.unwrap();
        let storage = json!({"source": {"id": sandbox.version("0.1.0").to_string()}});
        let body = json!({"location": "westeurope", "properties": {"storageProfile": storage}});
        session.put_image_version(&id, body.clone()).await.unwrap();
        let other = sandbox.reopen().build().await.unwrap();
        let (one, two) = futures::join!(session.complete_version(&id), other.session().complete_version(&id));
        let outcomes = [one.map(drop), two.map(drop)];
        let lost: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
        assert!(lost.len() <= 1 && lost.iter().all(|error| error.kind() == ErrorKind::Conflict), "{lost:?}");
        let view = session.refresh().await.unwrap();
        assert_eq!(view.provisioning(&id).unwrap().state, ProvisioningState::Succeeded);
        assert_eq!(sandbox.deployed("1.0.0", "westeurope").await.unwrap(), disk(1));

        let id = sandbox.version("1.0.1");
        session.put_image_version(&id, body).await.unwrap();
        let (completed, deleted) = futures::join!(session.complete_version(&id), session.delete(&id));
        deleted.unwrap();
        let view = session.refresh().await.unwrap();
        let state = view.provisioning(&id);
        // Whichever came first: it was deleted as announced, before or while it was completed, or as published.
        let ended = completed.map_or_else(|error| error.kind(), |_| ErrorKind::Conflict);
        assert!(matches!(ended, ErrorKind::Conflict | ErrorKind::NotFound), "{ended:?}");
        assert_eq!(state.unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn a_resource_group_is_deleted_with_what_is_in_it() {
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        let session = sandbox.session();
        let gallery = sandbox.image().gallery();
        let id = ResourceGroupId::new(gallery.subscription().clone(), gallery.resource_group().clone());
        let body = json!({"location": "West Europe", "tags": {"a": "b"}, "managedBy": "/x", "properties": null});
        assert_eq!(session.put_resource_group(&id, body.clone()).await.unwrap().effect, Effect::Created);
        assert_eq!(session.put_resource_group(&id, body).await.unwrap().effect, Effect::Unchanged);
        let json = session.view().resource_group_json(&id).unwrap();
        assert_eq!((&json["managedBy"], &json["properties"]["provisioningState"]), (&json!("/x"), &json!("Succeeded")));
        let moved = session.put_resource_group(&id, json!({"location": "eastus"})).await.unwrap_err();
        assert_eq!((moved.kind(), moved.code()), (ErrorKind::Conflict, "InvalidResourceGroupLocation"));
        let patched = session.put_resource_group(&id, Request::patch(json!({"tags": {"a": null, "c": "d"}}))).await;
        assert_eq!(patched.unwrap().resource.tags().iter().collect::<Vec<_>>(), [("c", "d")]);

        sandbox.publish("1.0.0", disk(1)).await.unwrap();
        let elsewhere = gallery.to_string().replace(gallery.resource_group().as_str(), "other") + "2";
        session.put_gallery(&*elsewhere, json!({"location": "westeurope"})).await.unwrap();
        let deletion = session.delete_resource_group(&id);
        let all = [sandbox.version("1.0.0").into(), sandbox.image().into(), ResourceId::from(gallery)];
        assert_eq!(deletion.plan().await.unwrap().deletes, all);
        assert_eq!(deletion.await.unwrap(), all);
        let left = session.view().galleries(&ListScope::All, None, 9).items;
        assert_eq!(left.iter().map(|gallery| gallery.id().to_string()).collect::<Vec<_>>(), [elsewhere]);
        let again = session.delete_resource_group(&id).await.unwrap_err();
        assert_eq!((again.kind(), again.code()), (ErrorKind::NotFound, "ResourceGroupNotFound"));
    });
}

#[test]
fn groups_and_subscriptions_can_be_required() {
    block_on(async {
        let directory = MemoryDirectory::new();
        directory.add_subscription("s".parse().unwrap(), "contoso".parse().unwrap(), None).unwrap();
        directory.add_user("ann", &"contoso".parse().unwrap()).unwrap();
        let settings = Sandbox::builder().directory(directory).empty();
        let settings =
            settings.service(|builder| builder.administrator("root".parse().unwrap()).require_resource_groups());
        let sandbox = settings.build().await.unwrap();
        let session = sandbox.session_of("root");
        let put = |id: String| session.put_gallery(id, json!({"location": "westeurope"}));
        assert_eq!(put(GALLERY.to_owned()).await.unwrap_err().code(), "ResourceGroupNotFound");
        assert_eq!(put(GALLERY.replace("/s/", "/t/")).await.unwrap_err().code(), "SubscriptionNotFound");
        let group = |subscription: &str| {
            let id = format!("/subscriptions/{subscription}/resourceGroups/r");
            session.put_resource_group(id, json!({"location": "westeurope"}))
        };
        assert_eq!(group("t").await.unwrap_err().code(), "SubscriptionNotFound");
        group("s").await.unwrap();
        session.put_gallery(GALLERY, json!({"location": "westeurope"})).await.unwrap();
        let known: Vec<_> = session.view().subscriptions().iter().map(|one| one.json()["tenantId"].clone()).collect();
        assert_eq!(known, [json!("contoso")]);
        // Who has no role sees no subscription; who has one in it, does.
        let ann = sandbox.session_of("ann");
        assert!(ann.view().subscriptions().is_empty());
        let reader = RoleAssignment::new("r", "ann".parse().unwrap(), BuiltInRole::Reader.id(), gallery()).unwrap();
        session.assign_role(reader).await.unwrap();
        assert_eq!(ann.view().subscriptions().len(), 1);
        let at_version = ann.view().role_assignments_at(version());
        assert_eq!(at_version[0].json()["properties"]["scope"], GALLERY);
        let custom = RoleDefinition::new("own", "Own").unwrap().with_assignable_scopes(vec![gallery().into()]);
        session.define_role(custom).await.unwrap();
        let named = |scope: AccessScope| {
            let roles = session.view().role_definitions(scope).unwrap();
            roles.iter().any(|role| role.role_name() == "Own")
        };
        assert!(named(version().into()) && !named(AccessScope::Subscription("s".parse().unwrap())));
    });
}

#[test]
fn a_source_by_name_is_put_read_and_stands_for_its_bytes() {
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        let session = sandbox.session();
        let group = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute";
        let (image, disk, snapshot) =
            (format!("{group}/images/golden"), format!("{group}/disks/os"), format!("{group}/snapshots/nightly"));
        let os_disk = json!({"osType": "windows", "osState": "generalized", "blobUri": "https://x/y.vhd", "n": 0.1});
        let properties =
            json!({"storageProfile": {"osDisk": os_disk, "zoneResilient": null}, "hyperVGeneration": "v1"});
        let body = json!({"location": "West Europe", "properties": properties, "tags": {"a": "b"}});
        assert_eq!(session.put_managed_image(&*image, body.clone()).await.unwrap().effect, Effect::Created);
        assert_eq!(session.put_managed_image(&*image, body.clone()).await.unwrap().effect, Effect::Unchanged);
        let json = session.view().json(&*image).unwrap();
        assert_eq!(session.put_managed_image(&*image, json.clone()).await.unwrap().effect, Effect::Unchanged);
        let expected = json!({"osType": "Windows", "osState": "Generalized", "blobUri": "https://x/y.vhd", "n": 0.1});
        assert_eq!(json["properties"]["storageProfile"]["osDisk"], expected);
        assert_eq!((&json["type"], &json["name"]), (&json!("Microsoft.Compute/images"), &json!("golden")));
        let patch = Request::patch(json!({"properties": {"hyperVGeneration": "V2"}}));
        let error = session.put_managed_image(&*image, patch).await.unwrap_err();
        assert_eq!((error.code(), error.target()), ("PropertyChangeNotAllowed", "image.properties.hyperVGeneration"));
        let creation = |size: u64| {
            let properties = json!({"creationData": {"createOption": "Empty"}, "diskSizeGB": size});
            json!({"location": "westeurope", "sku": {"name": "Premium_LRS"}, "properties": properties})
        };
        for (size, effect) in [(4, Effect::Created), (8, Effect::Updated)] {
            assert_eq!(session.put_disk(&*disk, creation(size)).await.unwrap().effect, effect);
            assert_eq!(session.put_snapshot(&*snapshot, creation(size)).await.unwrap().effect, effect);
        }
        assert_eq!(session.view().json(&*disk).unwrap()["sku"]["name"], "Premium_LRS");
        let error = session.put_disk(&*disk, json!({})).plan().await.unwrap().problems;
        let targets: Vec<_> = error.iter().map(|problem| problem.target()).collect();
        assert_eq!(targets, ["disk.location", "disk.properties.creationData.createOption"]);

        // A version that names it has its bytes from disks at hand, if they fit what is known of it.
        let version = |number: &str, source: Value| {
            let body = json!({"location": "westeurope", "properties": {"storageProfile": source}});
            session.put_image_version(sandbox.version(number), body)
        };
        version("1.0.0", json!({"source": {"id": image}})).await.unwrap();
        assert_eq!(
            session.complete_version(sandbox.version("1.0.0")).plan().await.unwrap().problems[0].code(),
            "NotFound"
        );
        let bytes = || LocalDisks::new(raw(disk_bytes()));
        let error = session.complete_version(sandbox.version("1.0.0")).from_disks(bytes()).await.unwrap_err();
        // Windows, in a definition of Linux.
        assert!(error.to_string().contains("different OS type"), "{error}");
        version("1.0.1", json!({"osDiskImage": {"source": {"id": disk}}})).await.unwrap();
        session.complete_version(sandbox.version("1.0.1")).from_disks(bytes()).await.unwrap();
        assert_eq!(sandbox.deployed("1.0.1", "westeurope").await.unwrap(), disk_bytes());

        // With bytes it takes the place of its name.
        let new = NewManagedImage::new(
            image.parse().unwrap(),
            "westeurope".parse().unwrap(),
            OsType::Linux,
            raw(vec![7; 4096]),
        );
        session.create_managed_image(new).await.unwrap();
        assert!(session.view().named_source(&*image).is_err() && session.view().managed_image(&*image).is_ok());
        assert_eq!(session.put_managed_image(&*image, body).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
        let left = session.view().named_sources(&ListScope::All, None, 9).items;
        assert_eq!(
            left.iter().map(|source| source.id().to_string()).collect::<Vec<_>>(),
            [snapshot.clone(), disk.clone()]
        );
        session.delete(&*disk).await.unwrap();
        session.delete(&*snapshot).await.unwrap();
        assert!(session.view().named_sources(&ListScope::All, None, 9).items.is_empty());
    });
}

fn disk_bytes() -> Vec<u8> {
    disk(3)
}
