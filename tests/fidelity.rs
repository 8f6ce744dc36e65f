//! Differences from Azure that were found and removed: each test is named after one.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper of a test may fail as the test does")]

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use compute_gallery::access::SharingUpdate;
use compute_gallery::billing::Prices;
use compute_gallery::deploy::OsProfile;
use compute_gallery::disk::{DiskFormat, DiskSource};
use compute_gallery::model::*;
use compute_gallery::publish::{LocalDisks, NewManagedImage, NewSnapshot, SourceMachine, VhdBlob};
use compute_gallery::store::MemoryStore;
use compute_gallery::testkit::{ManualClock, Sandbox, SandboxBuilder, raw, region};
use compute_gallery::*;
use futures::executor::block_on;
use serde_json::{Value, json};

const GALLERY: &str = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/g";
const REGIONS: &str = "galleryImageVersion.properties.publishingProfile.targetRegions";

fn now() -> DateTime<Utc> {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn gallery_id() -> GalleryId {
    GALLERY.parse().unwrap()
}

fn image_id() -> ImageDefinitionId {
    gallery_id().image("web".parse().unwrap())
}

fn version_id(number: &str) -> ImageVersionId {
    image_id().version(number.parse().unwrap())
}

fn flat<T: std::str::FromStr<Err = Error>>(kind: &str) -> T {
    format!("/subscriptions/dev/resourceGroups/images/providers/Microsoft.{kind}/x").parse().unwrap()
}

fn gallery() -> Gallery {
    Gallery::new(gallery_id(), region("westeurope"))
}

fn definition() -> ImageDefinition {
    let identifier = ImageIdentifier::new("Contoso", "Web", "Frontend").unwrap();
    ImageDefinition::new(image_id(), region("westeurope"), OsType::Linux, OsState::Generalized, identifier)
}

fn disk() -> DiskSource {
    raw(vec![1; 4096])
}

fn new(number: &str, regions: &str, source: impl Into<ImageSource>) -> NewImageVersion {
    let profile = PublishingProfile::new(regions.parse().unwrap());
    NewImageVersion::new(version_id(number), region("westeurope"), profile, source)
}

/// With that profile, in JSON as Azure has it.
fn with_profile(profile: Value) -> NewImageVersion {
    let profile: PublishingProfile = serde_json::from_value(profile).unwrap();
    let disks = LocalDisks::new(disk()).with_data_disk(3, disk());
    NewImageVersion::new(version_id("1.0.0"), region("westeurope"), profile, disks)
}

fn machine() -> SourceMachine {
    SourceMachine {
        id: flat("Compute/virtualMachines"),
        location: region("westeurope"),
        os_type: OsType::Linux,
        os_state: OsState::Generalized,
        hyper_v_generation: HyperVGeneration::V1,
        architecture: Architecture::X64,
        purchase_plan: None,
        disks: LocalDisks::new(disk()),
    }
}

fn community() -> SharingProfile {
    SharingProfile::community(CommunityGalleryInfo {
        publisher_uri: "https://contoso.example".into(),
        publisher_contact: "images@contoso.example".into(),
        eula: "free".into(),
        public_name_prefix: "contoso".into(),
    })
}

/// Without a gallery, and with every region of the world.
async fn session(settings: SandboxBuilder) -> (Session, ManualClock) {
    let settings = settings.one_store(MemoryStore::new()).regions([]).clock(ManualClock::new(now())).empty();
    let sandbox = settings.build().await.unwrap();
    (sandbox.session().clone(), sandbox.clock().clone())
}

/// With a gallery and a definition.
async fn filled(gallery: Gallery, definition: ImageDefinition) -> Session {
    let (session, _) = session(Sandbox::builder()).await;
    session.create_gallery(gallery).await.unwrap();
    session.create_image_definition(definition).await.unwrap();
    session
}

/// The problems of a publish; planning reports the same as running.
async fn refused(session: &Session, new: impl Fn() -> NewImageVersion) -> Error {
    let plan = session.publish(new()).plan().await.unwrap();
    let error = session.publish(new()).await.unwrap_err();
    assert_eq!(plan.problems, error.problems().cloned().collect::<Vec<_>>());
    error
}

/// Kind, code, target and Azure's sentence of the only problem.
#[track_caller]
fn told(error: &Error, kind: ErrorKind, code: &str, target: &str, sentence: &str) {
    let problems: Vec<_> = error.problems().collect();
    assert_eq!(problems.len(), 1, "{error}");
    assert_eq!((error.kind(), error.code(), error.target()), (kind, code, target), "{error}");
    assert_eq!(problems[0].message(), sentence);
    assert!(error.to_string().contains(sentence.trim_end_matches('.')), "{error}");
}

fn targets(error: &Error) -> Vec<&str> {
    error.problems().map(Problem::target).collect()
}

// Bodies.

#[test]
fn every_problem_of_a_body_is_reported_at_its_own_path() {
    let body = json!({"tags": {"a<b": "1"}, "properties": {
        "osType": "BeOS", "osState": 7, "hyperVGeneration": "V3", "endOfLifeDate": "2026-12-26",
        "identifier": {"publisher": "", "sku": "x."},
        "recommended": {"vCPUs": {"min": 5, "max": 4}, "memory": {"min": -1}},
        "features": [{"name": "SecurityType", "value": "Standard"}, {"name": "x"}],
        "purchasePlan": {"name": "a"}}});
    let error = ImageDefinition::from_body(image_id(), &body).unwrap_err();
    let expected = [
        "location",
        "tags",
        "properties.osType",
        "properties.osState",
        "properties.hyperVGeneration",
        "properties.identifier.publisher",
        "properties.identifier.offer",
        "properties.identifier.sku",
        "properties.endOfLifeDate",
        "properties.recommended.vCPUs",
        "properties.recommended.memory.min",
        "properties.purchasePlan.publisher",
        "properties.purchasePlan.product",
        "properties.features[1].value",
    ];
    assert_eq!(targets(&error), expected.map(|path| format!("galleryImage.{path}")));
    assert!(error.problems().all(|problem| problem.code() == "InvalidParameter"));

    let body = json!({"location": "west/europe", "properties": {
        "publishingProfile": {"targetRegions": [
            {"name": "westeurope", "regionalReplicaCount": 0},
            {"name": "east/us", "encryption": {"osDiskImage": {"diskEncryptionSetId": "x"}}},
            {"regionalReplicaCount": 5.5, "storageAccountType": "Standard_XRS"}],
            "replicaCount": 0},
        "storageProfile": {"osDiskImage": {"source": {"id": "x"}}, "dataDiskImages": [{"lun": -1}]},
        "safetyProfile": {"allowDeletionOfReplicatedLocations": "yes"}}});
    let error = ImageVersionRequest::from_body(&body).unwrap_err();
    let expected = [
        "location",
        "properties.publishingProfile.targetRegions[0].regionalReplicaCount",
        "properties.publishingProfile.targetRegions[1].name",
        "properties.publishingProfile.targetRegions[1].encryption.osDiskImage.diskEncryptionSetId",
        "properties.publishingProfile.targetRegions[2].name",
        "properties.publishingProfile.targetRegions[2].regionalReplicaCount",
        "properties.publishingProfile.targetRegions[2].storageAccountType",
        "properties.publishingProfile.replicaCount",
        "properties.storageProfile.osDiskImage.source.id",
        "properties.storageProfile.dataDiskImages[0].lun",
        "properties.safetyProfile.allowDeletionOfReplicatedLocations",
    ];
    assert_eq!(targets(&error), expected.map(|path| format!("galleryImageVersion.{path}")));
}

#[test]
fn a_sentence_of_azure_stands_alone_and_names_the_path_of_a_body() {
    let wrong = |path: &str, value: Value| {
        let mut body = definition().body();
        body["properties"][path] = value;
        ImageDefinition::from_body(image_id(), &body).unwrap_err()
    };
    let invalid = |error: &Error, target: &str, sentence: &str| {
        told(error, ErrorKind::Invalid, "InvalidParameter", target, sentence);
    };
    let target = "galleryImage.properties.recommended.memory";
    let sentence = format!("The minimum value of '{target}' must not be greater than the maximum value of '{target}'.");
    let error = wrong("recommended", json!({"memory": {"min": 5, "max": 4}}));
    invalid(&error, target, &sentence);
    assert_eq!(
        error.problems().next().unwrap().advice(),
        Some("`5` is greater than `4`: exchange them, or leave one out")
    );
    invalid(
        &wrong("endOfLifeDate", json!("2026-12-26 10:00:00")),
        "galleryImage.properties.endOfLifeDate",
        "Could not convert string to DateTimeOffset: 2026-12-26 10:00:00. Path 'properties.endOfLifeDate'",
    );
    invalid(
        &wrong("osType", Value::Null),
        "galleryImage.properties.osType",
        "Required parameter 'galleryImage.properties.osType' is missing (null).",
    );
    invalid(
        &wrong("identifier", json!({"publisher": "a", "offer": "b.", "sku": "c"})),
        "galleryImage.properties.identifier.offer",
        "Asset name galleryImage.properties.identifier.offer is not valid. It cannot be empty. Allowed characters are \
         uppercase or lowercase letters, digits, hyphen(-), period (.), underscore (_). Names are not allowed to end with \
         period(.). The length of the name cannot exceed 64 characters.",
    );

    let request = |profile: Value, storage: Value| {
        let properties = json!({"publishingProfile": profile, "storageProfile": storage});
        ImageVersionRequest::from_body(&json!({"location": "westeurope", "properties": properties})).unwrap_err()
    };
    let (home, image) =
        (json!([{"name": "westeurope"}]), json!({"source": {"id": flat::<ManagedImageId>("Compute/images")}}));
    let target = "galleryImageVersion.properties.publishingProfile.replicaCount";
    invalid(
        &request(json!({"targetRegions": home, "replicaCount": 0}), image.clone()),
        target,
        &format!(
            "The value '0' of parameter '{target}' is out of range. The value must be between '1' and '100', inclusive."
        ),
    );
    invalid(
        &request(json!({"targetRegions": [{"name": "westeurope"}, {"name": "West Europe"}]}), image),
        &format!("{REGIONS}[1].name"),
        "Duplicate regions are not allowed in target publishing regions.",
    );
    invalid(
        &request(json!({"targetRegions": home}), json!({"source": {"id": "images/x"}})),
        "galleryImageVersion.properties.storageProfile.source.id",
        "Property id 'images/x' at path 'properties.storageProfile.source.id' is invalid. Expect fully qualified resource Id \
         that start with '/subscriptions/{subscriptionId}' or '/providers/{resourceProviderNamespace}/'.",
    );
}

#[test]
fn a_body_and_the_json_of_a_resource_are_read_alike() {
    let rich = definition()
        .with_hyper_v_generation(HyperVGeneration::V2)
        .with_architecture(Architecture::Arm64)
        .with_description("a")
        .with_eula("b")
        .with_privacy_statement_uri("c")
        .with_release_note_uri("d")
        .with_end_of_life_date(now())
        .with_recommended(RecommendedMachine::default().with_memory(ResourceRange::new(Some(1), Some(2)).unwrap()))
        .with_disallowed_disk_types(["Standard_LRS"])
        .with_purchase_plan(PurchasePlan { name: "p".into(), publisher: "q".into(), product: "r".into() })
        .with_feature("SecurityType", "TrustedLaunch")
        .with_tags(Tags::new([("a".to_owned(), "b".to_owned())].into()).unwrap());
    assert_eq!(ImageDefinition::from_body(image_id(), &rich.body()).unwrap(), rich);
    let policy = SoftDeletePolicy::enabled().with_retention_period_in_days(3);
    let rich = gallery().with_description("a").with_sharing_profile(community()).with_soft_delete_policy(policy);
    assert_eq!(Gallery::from_body(gallery_id(), &rich.body()).unwrap(), rich);
    // Every property of a version's JSON comes back from a body, too.
    let keys = json!({"osDiskImage": {"diskEncryptionSetId": SET}, "dataDiskImages": [{"lun": 3, "diskEncryptionSetId": SET}]});
    let key = json!({"type": "x509", "value": ["YQ=="]});
    let body = json!({"location": "westeurope", "tags": {"a": "b"}, "properties": {
        "publishingProfile": {
            "targetRegions": [{"name": "westeurope", "regionalReplicaCount": 2, "storageAccountType": "Premium_LRS",
                "encryption": keys, "excludeFromLatest": true}],
            "replicaCount": 3, "excludeFromLatest": true, "storageAccountType": "Standard_ZRS", "replicationMode": "Full",
            "endOfLifeDate": "2027-01-02T03:04:05Z", "publishedDate": "2026-01-02T03:04:05Z"},
        "storageProfile": {"source": {"id": flat::<ManagedImageId>("Compute/images")},
            "osDiskImage": {"sizeInGB": 1, "sizeInBytes": 512, "hostCaching": "ReadOnly"},
            "dataDiskImages": [{"lun": 3, "sizeInGB": 1, "sizeInBytes": 512, "hostCaching": "ReadWrite"}]},
        "safetyProfile": {"allowDeletionOfReplicatedLocations": true, "blockDeletionBeforeEndOfLife": true},
        "securityProfile": {"uefiSettings": {"signatureTemplateNames": ["NoSignatureTemplate"],
            "additionalSignatures": {"pk": key, "kek": [key], "db": [key], "dbx": [key]}}}}});
    let version = ImageVersion::from_body(version_id("1.0.0"), &body).unwrap();
    assert_eq!(version.body(), body);
    assert_eq!(serde_json::from_value::<ImageVersion>(serde_json::to_value(&version).unwrap()).unwrap(), version);
}

// Names, numbers, tags.

#[test]
fn publisher_offer_and_sku_have_their_lengths_and_characters() {
    let of = |parts: [&str; 3]| ImageIdentifier::new(parts[0], parts[1], parts[2]);
    let [most, shorter, longer] = [128, 64, 65].map(|length| "a".repeat(length));
    of([&most, &shorter, &shorter]).unwrap();
    for wrong in ["", "a b", "ä", "a.", &"a".repeat(129)] {
        let error = of([wrong; 3]).unwrap_err();
        assert_eq!(error.problems().count(), 3, "{error}");
        assert!(
            error
                .problems()
                .all(|problem| problem.message().starts_with("Asset name galleryImage.properties.identifier."))
        );
    }
    assert_eq!(of(["a", &longer, &longer]).unwrap_err().problems().count(), 2);
}

#[test]
fn a_name_that_ends_badly_has_the_front_doors_code() {
    let bad = "web_".parse::<ImageName>().unwrap_err();
    assert_eq!((bad.kind(), bad.code()), (ErrorKind::Invalid, "InvalidResourceName"));
    assert!(bad.to_string().contains("has these invalid trailing characters: '_'"), "{bad}");
    assert_eq!("g.".parse::<GalleryName>().unwrap_err().code(), "InvalidResourceName");
    assert_eq!("my-gallery".parse::<GalleryName>().unwrap_err().code(), "InvalidParameter");
    assert_eq!("a b".parse::<ImageName>().unwrap_err().code(), "InvalidParameter");
}

#[test]
fn a_version_with_leading_zeros_is_kept_as_written_and_a_second_spelling_is_refused() {
    block_on(async {
        let session = filled(gallery(), definition()).await;
        for number in ["2022.01.08", "2022.1.10"] {
            session.publish(new(number, "westeurope", disk())).await.unwrap();
        }
        let there = session.view().image_versions(image_id(), None, 9).unwrap().items;
        let there: Vec<_> = there.iter().map(|version| version.id().number().to_string()).collect();
        assert_eq!(there, ["2022.01.08", "2022.1.10"], "by number, as written");
        let error = refused(&session, || new("2022.1.08", "westeurope", disk())).await;
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert!(error.to_string().contains("version `2022.01.08` has this number"), "{error}");
        // By another spelling it is the same version, and keeps its own.
        let mut other = session.view().image_version(version_id("2022.1.8")).unwrap().body();
        other["tags"] = json!({"a": "b"});
        let other = ImageVersion::from_body(version_id("2022.1.8"), &other).unwrap();
        session.update_image_version(other).await.unwrap();
        let there = session.view().image_version(version_id("2022.1.8")).unwrap();
        assert_eq!((there.id().number().to_string().as_str(), there.tags().is_empty()), ("2022.01.08", false));
    });
}

#[test]
fn a_tag_in_another_case_is_the_same_tag() {
    block_on(async {
        let tags = |tags: &[(&str, &str)]| {
            Tags::new(tags.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()).unwrap()
        };
        assert_eq!(tags(&[("foo", "1"), ("FOO", "2")]).iter().count(), 1);
        assert_eq!(tags(&[("foo", "1")]), tags(&[("FOO", "1")]));
        assert_ne!(tags(&[("É", "1")]), tags(&[("é", "1")]), "that of ASCII alone");
        let session = filled(gallery().with_tags(tags(&[("Stage", "test")])), definition()).await;
        let before = session.view().number();
        session.create_gallery(gallery().with_tags(tags(&[("STAGE", "test")]))).await.unwrap();
        session.update_gallery(gallery().with_tags(tags(&[("stage", "test")]))).await.unwrap();
        assert_eq!(session.refresh().await.unwrap().number(), before, "nothing changed");
        session.update_gallery(gallery().with_tags(tags(&[("STAGE", "prod")]))).await.unwrap();
        let there = session.view().gallery(gallery_id()).unwrap();
        assert_eq!(there.tags().iter().collect::<Vec<_>>(), [("Stage", "prod")], "the first spelling is kept");
        let patched = there.patched(&json!({"tags": {"stage": "lab"}})).unwrap();
        assert_eq!(patched.tags().iter().collect::<Vec<_>>(), [("Stage", "lab")]);
        assert!(there.patched(&json!({"tags": {"stAge": null}})).unwrap().tags().is_empty());
    });
}

#[test]
fn the_case_of_an_id_never_counts_and_its_names_keep_theirs() {
    block_on(async {
        let id = "/Subscriptions/DEV/resourcegroups/Images/PROVIDERS/microsoft.compute/Galleries/G/IMAGES/Web/Versions/1.0.0";
        let id: ImageVersionId = id.parse().unwrap();
        assert_eq!(id, version_id("1.0.0"));
        let (group, name) = (id.definition().gallery().resource_group(), id.definition().name());
        assert_eq!((group.as_str(), name.as_str()), ("Images", "Web"));
        let shared: PublicImageId = "/communityGalleries/X/IMAGES/Y/versions/LATEST".parse().unwrap();
        assert_eq!(shared, "/CommunityGalleries/x/Images/y".parse().unwrap());
        assert_eq!(shared.to_string(), "/CommunityGalleries/X/Images/Y");

        let session = filled(gallery(), definition()).await;
        let shouted: GalleryId = GALLERY.to_ascii_uppercase().parse().unwrap();
        session.update_gallery(Gallery::new(shouted, region("westeurope")).with_description("new")).await.unwrap();
        let there = session.view().gallery(gallery_id()).unwrap();
        assert_eq!((there.id().to_string().as_str(), there.description()), (GALLERY, Some("new")));
    });
}

#[test]
fn a_bad_id_says_what_is_wrong_with_it() {
    for (id, says) in [
        (format!("{GALLERY}/"), "ends with a `/`"),
        (format!("{GALLERY}/images/web/"), "ends with a `/`"),
        (format!("{GALLERY}/images/web/versions/1.0"), "three whole numbers"),
    ] {
        let error = id.parse::<ResourceId>().unwrap_err().to_string();
        assert!(error.contains(says) && error.contains(&id), "{error}");
    }
}

// Comparing.

#[test]
fn a_source_id_in_another_case_and_features_in_another_order_are_no_change() {
    block_on(async {
        let definition = definition()
            .with_feature("IsAcceleratedNetworkSupported", "True")
            .with_feature("DiskControllerTypes", "SCSI");
        let session = filled(gallery(), definition.clone()).await;
        let image: ManagedImageId = flat("Compute/images");
        let made = NewManagedImage::new(image.clone(), region("westeurope"), OsType::Linux, disk());
        session.create_managed_image(made).await.unwrap();
        session.publish(new("1.0.0", "westeurope", image)).await.unwrap();
        let before = session.view().number();

        let mut body = definition.body();
        body["properties"]["features"] = json!([{"name": "diskcontrollertypes", "value": "scsi"},
            {"name": "IsAcceleratedNetworkSupported", "value": "True"}]);
        session.update_image_definition(ImageDefinition::from_body(image_id(), &body).unwrap()).await.unwrap();
        let mut body = session.view().image_version(version_id("1.0.0")).unwrap().body();
        let id = &mut body["properties"]["storageProfile"]["source"]["id"];
        *id = json!(id.as_str().unwrap().replace("/images/providers", "/IMAGES/providers"));
        session.update_image_version(ImageVersion::from_body(version_id("1.0.0"), &body).unwrap()).await.unwrap();
        assert_eq!(session.refresh().await.unwrap().number(), before, "nothing changed");

        body["properties"]["storageProfile"]["source"]["id"] =
            json!(flat::<ManagedImageId>("Compute/images").to_string() + "y");
        let other = session.update_image_version(ImageVersion::from_body(version_id("1.0.0"), &body).unwrap()).await;
        assert_eq!(other.unwrap_err().code(), "PropertyChangeNotAllowed");
    });
}

#[test]
fn a_policy_that_is_off_is_as_none() {
    block_on(async {
        let session = filled(gallery(), definition()).await;
        let before = session.view().number();
        let mut body = gallery().body();
        body["properties"]["softDeletePolicy"] = json!({"isSoftDeleteEnabled": false});
        let off = Gallery::from_body(gallery_id(), &body).unwrap();
        session.create_gallery(off.clone()).await.unwrap();
        session.update_gallery(off).await.unwrap();
        assert_eq!(session.refresh().await.unwrap().number(), before);
    });
}

#[test]
fn an_empty_list_of_regions_keeps_them_and_restore_is_not_silently_lost() {
    block_on(async {
        let session = filled(gallery(), definition()).await;
        let published = session.publish(new("1.0.0", "westeurope,eastus", disk())).await.unwrap().resource;
        let empty = json!({"properties": {"publishingProfile": {"targetRegions": [], "replicaCount": 2}}});
        let patched = published.patched(&empty).unwrap();
        assert_eq!(patched.publishing_profile().target_regions(), published.publishing_profile().target_regions());
        assert_eq!(patched.publishing_profile().replica_count().get(), 2);
        let error = published.patched(&json!({"properties": {"restore": true, "storageProfile": {}}})).unwrap_err();
        assert_eq!(error.target(), "galleryImageVersion.properties.restore");
    });
}

// Sources.

#[test]
fn a_source_of_another_architecture_or_plan_is_refused() {
    block_on(async {
        let session = filled(gallery(), definition()).await;
        let plan = || PurchasePlan { name: "p".into(), publisher: "q".into(), product: "r".into() };
        let error = refused(&session, || {
            let arm = SourceMachine { architecture: Architecture::Arm64, ..machine() };
            new("1.0.0", "westeurope", arm)
        });
        let vm: VirtualMachineId = flat("Compute/virtualMachines");
        let sentence = format!(
            "The resource with id '{vm}' has a different architecture ['Arm64'] than the parent gallery image architecture \
             ['x64']."
        );
        told(&error.await, ErrorKind::Conflict, "Conflict", &vm.to_string(), &sentence);
        let bought = || SourceMachine { purchase_plan: Some(plan()), ..machine() };
        let error = refused(&session, || new("1.0.0", "westeurope", bought())).await;
        let sentence = format!(
            "The resource with id '{vm}' has a different plan ['{{\"name\":\"p\",\"publisher\":\"q\",\"product\":\"r\"}}'] than \
             the parent gallery image plan ['null']."
        );
        told(&error, ErrorKind::Conflict, "Conflict", &vm.to_string(), &sentence);

        // A version of another definition has that definition's.
        let other = gallery_id().image("bought".parse().unwrap());
        let identifier = ImageIdentifier::new("a", "b", "c").unwrap();
        let with_plan =
            ImageDefinition::new(other.clone(), region("westeurope"), OsType::Linux, OsState::Generalized, identifier)
                .with_architecture(Architecture::Arm64)
                .with_purchase_plan(plan());
        session.create_image_definition(with_plan).await.unwrap();
        let first = other.version("1.0.0".parse().unwrap());
        let profile = PublishingProfile::new("westeurope".parse().unwrap());
        session.publish(NewImageVersion::new(first.clone(), region("westeurope"), profile, disk())).await.unwrap();
        let error = refused(&session, || new("1.0.0", "westeurope", first.clone())).await;
        assert_eq!(error.problems().count(), 2, "{error}");
        assert!(
            error.to_string().contains("architecture ['Arm64']") && error.to_string().contains("plan ['{"),
            "{error}"
        );
    });
}

#[test]
fn a_vm_or_snapshot_is_no_source_for_trusted_launch() {
    block_on(async {
        let trusted = definition()
            .with_hyper_v_generation(HyperVGeneration::V2)
            .with_feature("SecurityType", "TrustedLaunchSupported");
        let session = filled(gallery(), trusted).await;
        let generation = HyperVGeneration::V2;
        let error = refused(&session, || {
            new("1.0.0", "westeurope", SourceMachine { hyper_v_generation: generation, ..machine() })
        });
        let vm: VirtualMachineId = flat("Compute/virtualMachines");
        let target = "galleryImageVersion.properties.storageProfile.source";
        let sentence = format!(
            "The security type 'TrustedLaunchSupported' is not supported for the source id {vm}. Currently only Vhd Blob, User \
             Image and Gallery Image Version sources are supported."
        );
        told(&error.await, ErrorKind::Invalid, "InvalidParameter", target, &sentence);
        let snapshot: SnapshotId = flat("Compute/snapshots");
        let os = NewSnapshot::of_os_disk(snapshot.clone(), region("westeurope"), disk(), OsType::Linux, generation);
        session.create_snapshot(os).await.unwrap();
        let error = refused(&session, || new("1.0.0", "westeurope", snapshot.clone())).await;
        assert_eq!(error.target(), target, "{error}");
        session.publish(new("1.0.0", "westeurope", disk())).await.unwrap();
        session.publish(new("1.0.1", "westeurope", version_id("1.0.0"))).await.unwrap();
    });
}

#[test]
fn trusted_launch_takes_the_second_generation() {
    block_on(async {
        let (session, _) = session(Sandbox::builder()).await;
        session.create_gallery(gallery()).await.unwrap();
        let error = session.create_image_definition(definition().with_feature("SecurityType", "TrustedLaunch")).await;
        let error = error.unwrap_err();
        assert_eq!(targets(&error), ["galleryImage.properties.features"], "{error}");
        session.create_image_definition(definition().with_feature("SecurityType", "Standard")).await.unwrap();
    });
}

#[test]
fn an_image_of_trusted_launch_makes_no_other_vms() {
    block_on(async {
        let trusted =
            definition().with_hyper_v_generation(HyperVGeneration::V2).with_feature("securitytype", "TrustedLaunch");
        let session = filled(gallery(), trusted).await;
        session.publish(new("1.0.0", "westeurope", disk())).await.unwrap();
        let image = session.boot_image(image_id(), "westeurope").await.unwrap().generalized().unwrap();
        assert_eq!(image.security_type(), Some(SecurityType::TrustedLaunch));
        let vm = || image.vm("a".parse().unwrap(), OsProfile::new("admin").unwrap());
        assert_eq!(vm().security_type(), SecurityType::TrustedLaunch);
        vm().with_security_type(SecurityType::TrustedLaunch).unwrap();
        let error = vm().with_security_type(SecurityType::Standard).unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Invalid, "BadRequest"));
        assert!(error.to_string().contains("with 'TrustedLaunch' security type"), "{error}");
    });
}

#[test]
fn a_vhd_blob_of_another_subscription_is_no_source() {
    block_on(async {
        let session = filled(gallery(), definition()).await;
        let blob = |subscription: &str| {
            let account = "resourceGroups/a/providers/Microsoft.Storage/storageAccounts/vhds";
            let storage_account = format!("/subscriptions/{subscription}/{account}").parse().unwrap();
            VhdBlob { uri: "https://vhds/web.vhd".into(), storage_account, disk: disk() }
        };
        let error = refused(&session, || new("1.0.0", "westeurope", blob("other"))).await;
        assert!(error.to_string().contains("another subscription ('other')"), "{error}");
        let image: ManagedImageId = flat("Compute/images");
        let made = |of: &str| NewManagedImage::new(image.clone(), region("westeurope"), OsType::Linux, blob(of));
        let error = session.create_managed_image(made("other")).await.unwrap_err();
        assert!(error.to_string().contains("another subscription ('other')"), "{error}");
        // Scenario 2: from a VHD blob of the same subscription by a managed image to a version.
        session.create_managed_image(made("DEV")).await.unwrap();
        session.publish(new("1.0.0", "westeurope", image)).await.unwrap();
    });
}

#[test]
fn a_source_in_another_region_is_one_problem_that_names_both_regions() {
    block_on(async {
        let session = filled(gallery(), definition()).await;
        let image: ManagedImageId = flat("Compute/images");
        let made = NewManagedImage::new(image.clone(), region("eastus"), OsType::Linux, disk());
        session.create_managed_image(made).await.unwrap();
        let error = refused(&session, || new("1.0.0", "westeurope", image.clone())).await;
        let sentence = format!(
            "Source '{image}' is not found. Please check source exists, and is in the same region as gallery image version \
             being created."
        );
        told(&error, ErrorKind::NotFound, "NotFound", &image.to_string(), &sentence);
        let advice = error.problems().next().unwrap().advice().unwrap().to_owned();
        assert!(advice.contains("`eastus`") && advice.contains("`westeurope`"), "{advice}");
    });
}

#[test]
fn snapshots_make_a_specialized_version() {
    block_on(async {
        let identifier = ImageIdentifier::new("Contoso", "Web", "Frontend").unwrap();
        let specialized =
            ImageDefinition::new(image_id(), region("westeurope"), OsType::Linux, OsState::Specialized, identifier);
        let session = filled(gallery(), specialized).await;
        let snapshot: SnapshotId = flat("Compute/snapshots");
        let generation = HyperVGeneration::V1;
        let os = NewSnapshot::of_os_disk(snapshot.clone(), region("westeurope"), disk(), OsType::Linux, generation);
        session.create_snapshot(os).await.unwrap();
        session.publish(new("1.0.0", "westeurope", snapshot)).await.unwrap();
        let image = session.boot_image(image_id(), "westeurope").await.unwrap().specialized().unwrap();
        assert!(image.vm("a".parse().unwrap()).os_profile.is_none());
        // A managed image is generalized, and no source for it.
        let image: ManagedImageId = flat("Compute/images");
        let made = NewManagedImage::new(image.clone(), region("westeurope"), OsType::Linux, disk());
        session.create_managed_image(made).await.unwrap();
        let error = refused(&session, || new("1.0.1", "westeurope", image.clone())).await;
        let sentence = format!(
            "Cannot create Gallery Image Version from: {image} since the OS State in the parent gallery image ('Specialized') is \
             not 'Generalized'."
        );
        told(&error, ErrorKind::Conflict, "Conflict", &image.to_string(), &sentence);
    });
}

#[test]
fn a_local_vhd_becomes_a_managed_image_and_then_a_version() {
    block_on(async {
        let session = filled(gallery(), definition()).await;
        session.publish(new("1.0.0", "westeurope", disk())).await.unwrap();
        let home = region("westeurope");
        let read =
            |number: &str, format| session.deploy(version_id(number), &home).format(format).to_writer(Vec::new());
        let vhd = read("1.0.0", DiskFormat::Vhd).await.unwrap().1;
        let image: ManagedImageId = flat("Compute/images");
        let local = DiskSource::bytes(vhd, DiskFormat::Vhd);
        let made = NewManagedImage::new(image.clone(), home.clone(), OsType::Linux, local);
        session.create_managed_image(made).await.unwrap();
        session.publish(new("1.0.1", "westeurope", image)).await.unwrap();
        let (first, second) =
            (read("1.0.0", DiskFormat::Raw).await.unwrap(), read("1.0.1", DiskFormat::Raw).await.unwrap());
        assert!(second.1.starts_with(&first.1), "the same bytes, and what a VHD is rounded up by");
    });
}

// Regions, replicas, keys.

#[test]
fn the_department_of_defence_is_in_the_governments_cloud() {
    block_on(async {
        let catalog = RegionCatalog::default().with_allowed("dev".parse().unwrap(), region("usdodeast"));
        let (session, _) =
            session(Sandbox::builder().service(move |builder| builder.region_catalog(catalog.clone()))).await;
        let of = |name: &str| Gallery::new(gallery_id(), region(name));
        session.create_gallery(of("usgovvirginia")).await.unwrap();
        let identifier = ImageIdentifier::new("a", "b", "c").unwrap();
        let (linux, generalized) = (OsType::Linux, OsState::Generalized);
        let definition = ImageDefinition::new(image_id(), region("usdodeast"), linux, generalized, identifier);
        session.create_image_definition(definition).await.unwrap();
        let to = |regions: &str| {
            let profile = PublishingProfile::new(regions.parse().unwrap());
            NewImageVersion::new(version_id("1.0.0"), region("usgovvirginia"), profile, disk())
        };
        let error = session.publish(to("usgovvirginia,usdodcentral")).await.unwrap_err();
        assert!(error.to_string().contains("not on its allow-list"), "{error}");
        session.publish(to("usgovvirginia,usdodeast")).await.unwrap();
    });
}

#[test]
fn a_gallery_stays_in_its_cloud() {
    block_on(async {
        let session = filled(gallery(), definition()).await;
        let identifier = ImageIdentifier::new("a", "b", "c").unwrap();
        let id = gallery_id().image("cn".parse().unwrap());
        let chinese = ImageDefinition::new(id, region("chinaeast"), OsType::Linux, OsState::Generalized, identifier);
        let error = session.create_image_definition(chinese).await.unwrap_err();
        assert_eq!(targets(&error), ["galleryImage.location"]);
        assert!(error.to_string().contains("another cloud (China)"), "{error}");
        let error = refused(&session, || {
            let profile = PublishingProfile::new("chinaeast".parse().unwrap());
            NewImageVersion::new(version_id("1.0.0"), region("chinaeast"), profile, disk())
        });
        assert_eq!(targets(&error.await), ["galleryImageVersion.location"]);
    });
}

#[test]
fn a_bad_target_region_is_named_by_its_place_and_meant_ones_are_offered() {
    block_on(async {
        let session = filled(gallery(), definition()).await;
        let error = refused(&session, || new("1.0.0", "westeurope,europewest", disk())).await;
        assert_eq!(error.code(), "LocationNotAvailableForResourceType");
        assert_eq!(error.target(), format!("{REGIONS}[1].name"));
        let problem = error.problems().next().unwrap();
        assert!(problem.message().starts_with("The provided location 'europewest' is not available for resource type"));
        assert!(problem.message().contains("List of available regions for the resource type is 'australiacentral,"));
        assert!(problem.advice().unwrap().contains("`westeurope`"), "{error}");
        let error = "westeurope=0,west/us,eastus=x".parse::<TargetRegions>().unwrap_err();
        let expected = ["[0].regionalReplicaCount", "[1].name", "[2].regionalReplicaCount"];
        assert_eq!(targets(&error), expected.map(|place| format!("{REGIONS}{place}")));
    });
}

#[test]
fn the_limit_of_replicas_is_the_services_and_the_error_says_which_count() {
    block_on(async {
        let limits = Limits::default().with_replicas_per_region(200);
        let (session, _) = session(Sandbox::builder().service(move |builder| builder.limits(limits.clone()))).await;
        session.create_gallery(gallery()).await.unwrap();
        session.create_image_definition(definition()).await.unwrap();
        session.publish(new("1.0.0", "westeurope=1,eastus=200", disk())).await.unwrap();
        let error = refused(&session, || new("1.0.1", "westeurope=1,eastus=201", disk())).await;
        let target = format!("{REGIONS}[1].regionalReplicaCount");
        let sentence = format!(
            "The value '201' of parameter '{target}' is out of range. The value must be between '1' and '200', inclusive."
        );
        told(&error, ErrorKind::Invalid, "InvalidParameter", &target, &sentence);
        assert!(error.to_string().contains("region `eastus`"), "{error}");
        let common = json!({"targetRegions": [{"name": "westeurope"}], "replicaCount": 201});
        let error = session.publish(with_profile(common)).plan().await.unwrap();
        let target = "galleryImageVersion.properties.publishingProfile.replicaCount";
        assert_eq!(error.problems[1].target(), target, "the first is that the number is taken");
    });
}

const SET: &str = "/subscriptions/dev/resourceGroups/keys/providers/Microsoft.Compute/diskEncryptionSets/web";

#[test]
fn keys_that_cannot_be_are_refused() {
    block_on(async {
        let session = filled(gallery(), definition()).await;
        let keys = |os: Option<&str>, luns: &[u32], of: &str| {
            let luns: Vec<_> = luns.iter().map(|lun| json!({"lun": lun, "diskEncryptionSetId": of})).collect();
            json!({"osDiskImage": {"diskEncryptionSetId": os}, "dataDiskImages": luns})
        };
        let to = |home: Value, away: Value| json!({"targetRegions": [{"name": "westeurope", "encryption": home}, {"name": "eastus", "encryption": away}]});
        let whole = || keys(Some(SET), &[3], SET);
        let theirs = SET.replace("/dev/", "/other/");
        for (profile, place, sentence) in [
            (
                to(whole(), keys(Some(&theirs), &[3], SET)),
                "[1].encryption",
                format!("The disk encryption set '{theirs}' must be in the same subscription 'dev' as the gallery resource."),
            ),
            (
                to(whole(), keys(Some(SET), &[3, 3], SET)),
                "[1].encryption.dataDiskImages",
                "Duplicate luns '3' were specified in target region 'eastus' encryption.dataDiskImages.".to_owned(),
            ),
            (
                to(keys(None, &[4], SET), keys(None, &[4], SET)),
                "[0].encryption.dataDiskImages",
                "An invalid lun [4] was specified in encryption.dataDiskImages. The lun must be one of the following values \
                 ['3']."
                    .to_owned(),
            ),
            (
                to(whole(), keys(Some(SET), &[], SET)),
                "[1].encryption",
                format!(
                    "A disk encryption set is required for disk 'LUN 3' in target region 'eastus' since disk encryption set \
                     '{SET}' is used for the corresponding disk in region 'westeurope'"
                ),
            ),
            (
                to(Value::Null, keys(Some(SET), &[], SET)),
                "[0].encryption",
                format!(
                    "A disk encryption set is required for disk \
                     'galleryArtifactVersion.properties.publishingProfile.targetRegions.encryption.osDiskImage.\
                     diskEncryptionSetId' in target region 'westeurope' since disk encryption set '{SET}' is used for the \
                     corresponding disk in region 'eastus'"
                ),
            ),
        ] {
            let error = refused(&session, || with_profile(profile.clone())).await;
            let first = error.problems().next().unwrap();
            assert_eq!(first.target(), format!("{REGIONS}{place}"), "{error}");
            assert_eq!(first.message(), sentence);
            assert!(error.problems().all(|problem| problem.code() == "InvalidParameter"), "{error}");
        }
        session.publish(with_profile(to(whole(), whole()))).await.unwrap();
        // The same keys in another case are no change.
        let there = session.view().image_version(version_id("1.0.0")).unwrap();
        let mut body = there.body();
        let sets = &mut body["properties"]["publishingProfile"]["targetRegions"][1]["encryption"];
        sets["osDiskImage"]["diskEncryptionSetId"] = json!(SET.to_ascii_uppercase());
        let before = session.view().number();
        session.update_image_version(ImageVersion::from_body(version_id("1.0.0"), &body).unwrap()).await.unwrap();
        assert_eq!(session.refresh().await.unwrap().number(), before);
    });
}

// Sharing and soft delete.

#[test]
fn a_private_gallery_becomes_a_community_gallery_and_is_private_again_after_a_reset() {
    block_on(async {
        let session = filled(gallery(), definition()).await;
        let permissions = || {
            let there = session.view().gallery(gallery_id()).unwrap();
            there.sharing_profile().map(SharingProfile::permissions)
        };
        session.update_gallery(gallery().with_sharing_profile(community())).await.unwrap();
        session.share_gallery(gallery_id(), SharingUpdate::EnableCommunity).await.unwrap();
        // A public definition is not changed under its consumers.
        let error = session.update_gallery(gallery()).await.unwrap_err();
        assert_eq!(error.code(), "PropertyChangeNotAllowed");
        let sharing = session.share_gallery(gallery_id(), SharingUpdate::Reset).await.unwrap();
        assert!(sharing.is_empty());
        assert_eq!(permissions(), Some(SharingPermissions::Private));
        session.update_gallery(gallery().with_sharing_profile(community())).await.unwrap();
        session.update_gallery(gallery()).await.unwrap();
        let groups = gallery().with_sharing_profile(SharingProfile::new(SharingPermissions::Groups));
        let error = session.update_gallery(groups).await.unwrap_err();
        assert_eq!(targets(&error), ["gallery.properties.sharingProfile.permissions"], "{error}");
    });
}

#[test]
fn a_public_name_is_one_that_a_path_can_hold() {
    block_on(async {
        let (session, _) = session(Sandbox::builder()).await;
        let named = |prefix: &str| {
            let info = community().community_gallery_info().unwrap().clone();
            let info = CommunityGalleryInfo { public_name_prefix: prefix.into(), ..info };
            gallery().with_sharing_profile(SharingProfile::community(info))
        };
        for wrong in ["x/y z", "", "a?b", "-a", "ä", &"a".repeat(65)] {
            let error = session.create_gallery(named(wrong)).await.unwrap_err();
            let target = "gallery.properties.sharingProfile.communityGalleryInfo.publicNamePrefix";
            assert_eq!(targets(&error), [target], "{wrong:?}: {error}");
        }
        session.create_gallery(named("Contoso.images_1-a")).await.unwrap();
        session.create_image_definition(definition()).await.unwrap();
        session.publish(new("1.0.0", "westeurope", disk())).await.unwrap();
        let sharing = session.share_gallery(gallery_id(), SharingUpdate::EnableCommunity).await.unwrap();
        let id = format!("/communitygalleries/{}/images/WEB", sharing.public_name.unwrap().to_ascii_uppercase());
        session.deploy(id.parse::<PublicImageId>().unwrap(), "westeurope").to_writer(Vec::new()).await.unwrap();
    });
}

#[test]
fn a_gallery_that_cannot_be_shared_beyond_roles_is_refused() {
    block_on(async {
        for profile in [SharingProfile::new(SharingPermissions::Groups), community()] {
            let session = filled(gallery().with_sharing_profile(profile), definition()).await;
            let error = refused(&session, || {
                let profile = PublishingProfile::new("eastus".parse().unwrap());
                NewImageVersion::new(version_id("1.0.0"), region("eastus"), profile, disk())
            });
            assert_eq!(targets(&error.await), ["galleryImageVersion.location"]);
            let keys = json!({"osDiskImage": {"diskEncryptionSetId": SET}});
            let encrypted = json!({"targetRegions": [{"name": "westeurope", "encryption": keys}]});
            let error = refused(&session, || with_profile(encrypted.clone())).await;
            assert_eq!(targets(&error), [format!("{REGIONS}[0].encryption")], "{error}");
            session.publish(new("1.0.0", "westeurope,eastus", disk())).await.unwrap();
        }
        let (session, _) = session(Sandbox::builder()).await;
        session.create_gallery(gallery().with_sharing_profile(community())).await.unwrap();
        let identifier = ImageIdentifier::new("a", "b", "c").unwrap();
        let plan = PurchasePlan { name: "p".into(), publisher: "q".into(), product: "r".into() };
        let bought =
            ImageDefinition::new(image_id(), region("eastus"), OsType::Linux, OsState::Generalized, identifier)
                .with_purchase_plan(plan);
        let error = session.create_image_definition(bought.clone()).await.unwrap_err();
        assert_eq!(targets(&error), ["galleryImage.location", "galleryImage.properties.purchasePlan"], "{error}");
        // Nor does a gallery become a community gallery with such things in it.
        let session = filled(gallery(), bought).await;
        let error = session.update_gallery(gallery().with_sharing_profile(community())).await.unwrap_err();
        assert_eq!(targets(&error), ["galleryImage.location", "galleryImage.properties.purchasePlan"], "{error}");
    });
}

#[test]
fn deleted_versions_are_kept_for_a_day_at_least_and_tell_when_they_were_deleted() {
    block_on(async {
        let (session, clock) = session(Sandbox::builder()).await;
        let keeps =
            |days| gallery().with_soft_delete_policy(SoftDeletePolicy::enabled().with_retention_period_in_days(days));
        let error = session.create_gallery(keeps(0)).await.unwrap_err();
        let target = "gallery.properties.softDeletePolicy.retentionPeriodInDays";
        assert_eq!(targets(&error), [target], "{error}");
        session.create_gallery(keeps(3)).await.unwrap();
        assert_eq!(session.update_gallery(keeps(0)).await.unwrap_err().target(), target);
        session.create_image_definition(definition()).await.unwrap();
        session.publish(new("1.0.0", "westeurope", disk())).await.unwrap();
        clock.advance(Duration::from_secs(60));
        session.delete(version_id("1.0.0")).await.unwrap();
        let deleted = session.view().soft_deleted_versions(image_id()).unwrap();
        let at = now() + TimeDelta::seconds(60);
        assert_eq!(deleted[0].soft_deleted_time, at);
        assert_eq!(deleted[0].restorable_until, at + TimeDelta::days(3));
    });
}

// Errors.

#[test]
fn errors_have_azures_code_kind_and_sentence() {
    block_on(async {
        let session = filled(gallery(), definition()).await;
        let gone: GalleryId = GALLERY.replace("galleries/g", "galleries/h").parse().unwrap();
        let absent = session.view().gallery(&gone).unwrap_err();
        let sentence = format!(
            "The Resource 'Microsoft.Compute/galleries/h' under resource group '{}' was not found.",
            gone.resource_group()
        );
        told(&absent, ErrorKind::NotFound, "ResourceNotFound", &gone.to_string(), &sentence);
        let orphan = gone.image("web".parse().unwrap());
        let identifier = ImageIdentifier::new("a", "b", "c").unwrap();
        let orphan =
            ImageDefinition::new(orphan, region("westeurope"), OsType::Linux, OsState::Generalized, identifier);
        let error = session.create_image_definition(orphan).await.unwrap_err();
        let sentence = "Can not perform requested operation on nested resource. Parent resource 'h' not found.";
        told(&error, ErrorKind::NotFound, "ParentResourceNotFound", &gone.to_string(), sentence);

        let twin = gallery_id().image("twin".parse().unwrap());
        let identifier = ImageIdentifier::new("contoso", "web", "frontend").unwrap();
        let twin = ImageDefinition::new(twin, region("westeurope"), OsType::Linux, OsState::Generalized, identifier);
        let error = session.create_image_definition(twin).await.unwrap_err();
        let sentence = "Gallery image: 'web' identified by (publisher:'contoso', offer:'web', sku:'frontend') already exists. \
                        Choose a different publisher, offer, sku combination.";
        told(&error, ErrorKind::Conflict, "OperationNotAllowed", "galleryImage.properties.identifier", sentence);

        let moved = Gallery::new(gallery_id(), region("eastus"));
        let sentence = "The resource 'g' already exists in location 'westeurope' in resource group 'images'. A resource with \
                        the same name cannot be created in location 'eastus'. Please select a new resource name.";
        for error in [session.create_gallery(moved.clone()).await, session.update_gallery(moved).await] {
            told(&error.unwrap_err(), ErrorKind::Conflict, "InvalidResourceLocation", "gallery.location", sentence);
        }

        let published = session.publish(new("1.0.0", "westeurope,eastus", disk())).await.unwrap().resource;
        let fewer = published.publishing_profile().clone().with_target_regions("westeurope".parse().unwrap());
        let error = session.update_image_version(published.with_publishing_profile(fewer).unwrap()).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Invalid, "BadRequest"));

        let absent = version_id("9.0.0");
        let sentence = format!(
            "The gallery image {absent} is not available in westeurope region. Please contact image owner to replicate to this \
             region, or change your requested region."
        );
        let home = region("westeurope");
        let deployed = session.deploy(&absent, &home).to_writer(Vec::new()).await.map(drop).unwrap_err();
        let booted = session.boot_image(&absent, &home).await.map(drop).unwrap_err();
        for error in [deployed, booted, session.pool(&absent, &home).await.map(drop).unwrap_err()] {
            told(&error, ErrorKind::NotFound, "GalleryImageNotFound", &absent.to_string(), &sentence);
        }
        assert_eq!(
            session.view().image_version(&absent).unwrap_err().code(),
            "ResourceNotFound",
            "reading is another thing"
        );

        let no_disk = session.deploy(version_id("1.0.0"), &home).data_disk(9).to_writer(Vec::new()).await.unwrap_err();
        let sentence = "The value of parameter imageReference is invalid.";
        told(&no_disk, ErrorKind::Invalid, "InvalidParameter", "imageReference.lun", sentence);
        let image = session.boot_image(version_id("1.0.0"), &home).await.unwrap();
        let sentence = "Required parameter 'osProfile' is missing (null).";
        told(&image.specialized().unwrap_err(), ErrorKind::Invalid, "InvalidParameter", "osProfile", sentence);
    });
}

#[test]
fn a_disks_size_is_reported_in_gigabytes() {
    block_on(async {
        let (session, _) = session(
            Sandbox::builder().service(|builder| builder.limits(Limits::default().with_max_disk_bytes(1 << 30))),
        )
        .await;
        session.create_gallery(gallery()).await.unwrap();
        session.create_image_definition(definition()).await.unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(3 << 30).unwrap();
        let large = || new("1.0.0", "westeurope", DiskSource::path(file.path(), DiskFormat::Raw));
        let error = refused(&session, large).await;
        let target = "galleryImageVersion.properties.storageProfile.osDiskImage";
        let sentence = "The GalleryImageVersion source resource size 3 exceeds the max size 1 supported.";
        told(&error, ErrorKind::Invalid, "GallerySourceResourceExceedsMaxSize", target, sentence);
    });
}

#[test]
fn a_scale_set_has_at_least_one_instance_and_gets_no_advice_that_it_follows_already() {
    block_on(async {
        let session = filled(gallery(), definition()).await;
        session.publish(new("1.0.0", "westeurope", disk())).await.unwrap();
        let image = session.boot_image(image_id(), "westeurope").await.unwrap().generalized().unwrap();
        let set = |instances| {
            image.scale_set("web".parse().unwrap(), OsProfile::new("admin").unwrap(), instances).unwrap_err()
        };
        assert_eq!((set(0).kind(), set(0).target()), (ErrorKind::Invalid, "sku.capacity"));
        assert!(!set(1_001).to_string().contains("use a gallery image"), "{}", set(1_001));
    });
}

// Zones.

#[test]
fn zone_redundant_storage_is_never_silently_kept_once() {
    block_on(async {
        let zrs =
            || with_profile(json!({"targetRegions": [{"name": "westeurope"}], "storageAccountType": "Standard_ZRS"}));
        let target = format!("{REGIONS}[0].storageAccountType");
        // One store for all regions, and one of the region's own.
        for settings in [Sandbox::builder(), Sandbox::builder().store("westeurope", MemoryStore::new())] {
            let (session, _) = session(settings).await;
            session.create_gallery(gallery()).await.unwrap();
            session.create_image_definition(definition()).await.unwrap();
            let error = refused(&session, zrs).await;
            assert_eq!(targets(&error), [target.as_str()], "{error}");
            assert!(
                error.to_string().contains("`westeurope`") && error.to_string().contains("zonal_region_stores"),
                "{error}"
            );
            // Nor by an update that adds a region.
            let published = session.publish(new("1.0.0", "westeurope", disk())).await.unwrap().resource;
            let east = TargetRegion::new(region("eastus")).with_storage_account_type(StorageAccountType::StandardZrs);
            let targets = TargetRegions::new(vec![TargetRegion::new(region("westeurope")), east]).unwrap();
            let profile = published.publishing_profile().clone().with_target_regions(targets);
            let wider = published.with_publishing_profile(profile).unwrap();
            let error = session.update_image_version(wider).await.unwrap_err();
            assert_eq!(error.target(), format!("{REGIONS}[1].storageAccountType"), "{error}");
        }

        // If the host asks for it, one store stands for all zones: plan and price report what is really kept.
        let prices = Prices::new(1 << 30, 0).with_storage(StorageAccountType::StandardZrs, 2 << 30);
        let (session, _) = session(Sandbox::builder().service(|builder| builder.one_store_for_all_zones())).await;
        session.create_gallery(gallery()).await.unwrap();
        session.create_image_definition(definition()).await.unwrap();
        let plan = session.publish(zrs()).plan().await.unwrap();
        assert_eq!(plan.regions[0].storage_account_type, StorageAccountType::StandardLrs);
        let version = session.publish(zrs()).await.unwrap();
        let stored = version.content.stored_bytes;
        let cost = session.refresh().await.unwrap().cost(&prices, [version.resource.id()]).unwrap();
        assert_eq!(cost.storage_per_month, stored, "at the price of one zone");
        let asked = version.resource.publishing_profile().storage_account_type_in(&region("westeurope"));
        assert_eq!(asked, StorageAccountType::StandardZrs, "and what was asked for is answered");
    });
}
