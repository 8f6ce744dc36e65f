//! The rule book, rule by rule, through the public face. `docs/rules.md` lists every rule with the test that holds it.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use std::collections::BTreeSet;
use std::io::Cursor;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use compute_gallery::billing::Prices;
use compute_gallery::change::LifecyclePolicy;
use compute_gallery::deploy::OsProfile;
use compute_gallery::deploy::{Generalized, Specialized};
use compute_gallery::disk::{DiskFormat, DiskSource};
use compute_gallery::model::*;
use compute_gallery::placement::{Autoscaler, PlacementPolicy, PlacementRequest, Pool, ReplicaState};
use compute_gallery::publish::{
    ImportReport, LocalDisks, NewManagedImage, NewSnapshot, SnapshotDisks, SourceMachine, VhdBlob,
};
use compute_gallery::read::Usage;
use compute_gallery::read::{LatestVerdict, Scope};
use compute_gallery::store::MemoryStore;
use compute_gallery::testkit::ManualClock;
use compute_gallery::*;
use futures::executor::block_on;

fn now() -> DateTime<Utc> {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn region(name: &str) -> Region {
    name.parse().unwrap()
}

fn gallery_id(name: &str) -> GalleryId {
    format!("/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/{name}").parse().unwrap()
}

fn image_id() -> ImageDefinitionId {
    gallery_id("g").image("web".parse().unwrap())
}

fn version_id(number: &str) -> ImageVersionId {
    image_id().version(number.parse().unwrap())
}

fn flat<T: std::str::FromStr<Err = Error>>(kind: &str, name: &str) -> T {
    format!("/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/{kind}/{name}").parse().unwrap()
}

fn gallery() -> Gallery {
    Gallery::new(gallery_id("g"), region("westeurope"))
}

fn definition_of(id: ImageDefinitionId, sku: &str) -> ImageDefinition {
    let identifier = ImageIdentifier::new("Contoso", "Finance", sku).unwrap();
    ImageDefinition::new(id, region("westeurope"), OsType::Linux, OsState::Generalized, identifier)
}

fn definition() -> ImageDefinition {
    definition_of(image_id(), "Backend")
}

fn disk(seed: u8) -> DiskSource {
    DiskSource::bytes(vec![seed; 4096], DiskFormat::Raw)
}

fn profile(regions: &str) -> PublishingProfile {
    PublishingProfile::new(regions.parse().unwrap())
}

fn version(number: &str, regions: &str) -> NewImageVersion {
    NewImageVersion::new(version_id(number), region("westeurope"), profile(regions), disk(1))
}

struct World {
    session: Session,
    clock: ManualClock,
}

impl World {
    async fn with(builder: GalleryServiceBuilder) -> Self {
        let clock = ManualClock::new(now());
        let service = builder.store(MemoryStore::new()).clock(clock.clone()).open_or_create().await.unwrap();
        Self { session: service.session("test".parse().unwrap()), clock }
    }

    /// With a gallery and a definition.
    async fn new() -> Self {
        Self::filled(GalleryService::builder().allow_all()).await
    }

    async fn filled(builder: GalleryServiceBuilder) -> Self {
        let world = Self::with(builder).await;
        world.session.create_gallery(gallery()).await.unwrap();
        world.session.create_image_definition(definition()).await.unwrap();
        world
    }

    async fn publish(&self, number: &str, regions: &str) -> ImageVersion {
        let published = self.session.publish(version(number, regions)).await.unwrap().resource;
        self.session.replicate(published.id()).await.unwrap();
        published
    }

    /// What is wrong with publishing; planning says the same as running.
    async fn refused(&self, new: impl Fn() -> NewImageVersion) -> Error {
        let plan = self.session.publish(new()).plan().await.unwrap();
        let error = self.session.publish(new()).await.unwrap_err();
        assert_eq!(plan.problems, error.problems().cloned().collect::<Vec<_>>());
        error
    }

    fn latest(&self, place: &str) -> Option<String> {
        let latest = self.session.view().latest(&image_id(), &region(place));
        latest.ok().map(|version| version.id().number().to_string())
    }

    async fn version(&self, number: &str) -> Arc<ImageVersion> {
        self.session.refresh().await.unwrap().image_version(&version_id(number)).unwrap()
    }
}

/// Code and message of the only problem.
#[track_caller]
fn one(error: Error, code: &str, says: &str) {
    let problems: Vec<_> = error.problems().collect();
    assert_eq!(problems.len(), 1, "{error}");
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(says), "{error}");
}

// Galleries and definitions.

#[test]
fn a_gallery_name_is_unique_within_its_subscription() {
    block_on(async {
        let session = World::new().await.session;
        let elsewhere = "/subscriptions/dev/resourceGroups/other/providers/Microsoft.Compute/galleries/G";
        let twin = Gallery::new(elsewhere.parse().unwrap(), region("westeurope"));
        one(session.create_gallery(twin).await.unwrap_err(), "OperationNotAllowed", "is not unique");
        let abroad = elsewhere.replace("dev", "prod").parse().unwrap();
        session.create_gallery(Gallery::new(abroad, region("westeurope"))).await.unwrap();
    });
}

#[test]
fn a_resource_stays_in_its_location() {
    block_on(async {
        let session = World::new().await.session;
        let moved = Gallery::new(gallery_id("g"), region("eastus"));
        one(session.create_gallery(moved.clone()).await.unwrap_err(), "InvalidResourceLocation", "already exists in");
        let error = session.update_gallery(moved).await.unwrap_err();
        assert_eq!(error.target(), "gallery.location");
        one(error, "InvalidResourceLocation", "already exists in");
    });
}

#[test]
fn a_location_must_be_a_region_that_there_is() {
    block_on(async {
        let session = World::new().await.session;
        let nowhere = Gallery::new(gallery_id("n"), region("Europe West"));
        let error = session.create_gallery(nowhere).await.unwrap_err();
        one(error, "LocationNotAvailableForResourceType", "`westeurope`");
    });
}

#[test]
fn creating_the_same_again_changes_nothing_and_another_is_refused() {
    block_on(async {
        let session = World::new().await.session;
        let before = session.view().number();
        session.create_gallery(gallery()).await.unwrap();
        session.create_image_definition(definition()).await.unwrap();
        assert_eq!(session.refresh().await.unwrap().number(), before);
        one(session.create_gallery(gallery().with_description("x")).await.unwrap_err(), "Conflict", "other properties");
    });
}

#[test]
fn publisher_offer_and_sku_together_are_unique_without_case() {
    block_on(async {
        let session = World::new().await.session;
        let twin = |name: &str, sku| definition_of(gallery_id("g").image(name.parse().unwrap()), sku);
        let error = session.create_image_definition(twin("other", "BACKEND")).await.unwrap_err();
        one(error, "OperationNotAllowed", "Choose a different");
        session.create_image_definition(twin("two-of-three", "Frontend")).await.unwrap();
    });
}

#[test]
fn a_child_needs_its_parent() {
    block_on(async {
        let world = World::with(GalleryService::builder().allow_all()).await;
        let error = world.session.create_image_definition(definition()).await.unwrap_err();
        one(error, "ParentResourceNotFound", "Parent resource");
        one(world.refused(|| version("1.0.0", "westeurope")).await, "ParentResourceNotFound", "Parent resource");
    });
}

#[test]
fn a_definition_carries_all_its_metadata() {
    block_on(async {
        let world = World::with(GalleryService::builder().allow_all()).await;
        world.session.create_gallery(gallery()).await.unwrap();
        let machine = RecommendedMachine::default()
            .with_v_cpus(ResourceRange::new(Some(2), Some(16)).unwrap())
            .with_memory(ResourceRange::new(Some(4), None).unwrap());
        let plan = PurchasePlan { name: "p".into(), publisher: "q".into(), product: "r".into() };
        let tags = Tags::new([("stage".to_owned(), "prod".to_owned())].into()).unwrap();
        let rich = definition()
            .with_hyper_v_generation(HyperVGeneration::V2)
            .with_architecture(Architecture::Arm64)
            .with_description("a")
            .with_eula("b")
            .with_privacy_statement_uri("https://c")
            .with_release_note_uri("https://d")
            .with_end_of_life_date(now() + TimeDelta::days(1))
            .with_recommended(machine)
            .with_disallowed_disk_types(["Standard_LRS"])
            .with_purchase_plan(plan)
            .with_feature("SecurityType", "TrustedLaunchSupported")
            .with_tags(tags);
        world.session.create_image_definition(rich.clone()).await.unwrap();
        assert_eq!(*world.session.view().image_definition(&image_id()).unwrap(), rich);
        let json = serde_json::to_value(&rich).unwrap();
        assert_eq!(json["properties"]["recommended"]["vCPUs"]["max"], 16);
        assert_eq!(json["properties"]["disallowed"]["diskTypes"][0], "Standard_LRS");
        assert_eq!(json["properties"]["features"][0]["name"], "SecurityType");
        assert_eq!(serde_json::from_value::<ImageDefinition>(json).unwrap(), rich);
    });
}

#[test]
fn a_recommended_minimum_is_not_above_its_maximum() {
    let body = |min: u32| {
        let mut body = definition().body();
        body["properties"]["recommended"] = serde_json::json!({"vCPUs": {"min": min, "max": 4}});
        ImageDefinition::from_body(image_id(), &body)
    };
    assert!(body(4).is_ok());
    assert!(body(5).unwrap_err().to_string().contains("must not be greater than the maximum"));
}

#[test]
fn a_feature_has_one_value() {
    let mut body = definition().with_feature("SecurityType", "TrustedLaunch").body();
    let twice = serde_json::json!([{"name": "SecurityType", "value": "a"}, {"name": "securitytype", "value": "b"}]);
    body["properties"]["features"] = twice;
    let error = ImageDefinition::from_body(image_id(), &body).unwrap_err();
    assert!(error.to_string().contains("named twice"), "{error}");
}

#[test]
fn an_end_of_life_lies_ahead_when_it_is_set() {
    block_on(async {
        let world = World::new().await;
        let past = definition_of(gallery_id("g").image("old".parse().unwrap()), "Old").with_end_of_life_date(now());
        let error = world.session.create_image_definition(past).await.unwrap_err();
        one(error, "InvalidParameter", "must be set to a future date");
        let late = || {
            let profile = profile("westeurope").with_end_of_life_date(now() - TimeDelta::days(1));
            NewImageVersion::new(version_id("1.0.0"), region("westeurope"), profile, disk(1))
        };
        one(world.refused(late).await, "InvalidParameter", "must be set to a future date");
        let body = r#"{"location": "westeurope", "properties": {"osType": "Linux", "osState": "Generalized",
            "identifier": {"publisher": "a", "offer": "b", "sku": "c"}, "endOfLifeDate": "next year"}}"#;
        let error = ImageDefinition::from_body(image_id(), &serde_json::from_str(body).unwrap()).unwrap_err();
        assert_eq!((error.code(), error.target()), ("InvalidParameter", "galleryImage.properties.endOfLifeDate"));
    });
}

#[test]
fn an_end_of_life_is_for_information() {
    block_on(async {
        let world = World::new().await;
        let profile = profile("westeurope").with_end_of_life_date(now() + TimeDelta::days(1));
        let new = NewImageVersion::new(version_id("1.0.0"), region("westeurope"), profile, disk(1));
        world.session.publish(new).await.unwrap();
        world.clock.advance(std::time::Duration::from_secs(2 * 86_400));
        assert_eq!(world.latest("westeurope").as_deref(), Some("1.0.0"));
        // Other changes are still possible when the date has passed.
        let tagged = ImageVersion::clone(&*world.version("1.0.0").await);
        let tagged = tagged.with_tags(Tags::new([("old".to_owned(), String::new())].into()).unwrap());
        world.session.update_image_version(tagged).await.unwrap();
    });
}

#[test]
fn a_community_gallery_says_who_publishes_it() {
    block_on(async {
        let session = World::with(GalleryService::builder().allow_all()).await.session;
        let silent = gallery().with_sharing_profile(SharingProfile::new(SharingPermissions::Community));
        one(session.create_gallery(silent).await.unwrap_err(), "InvalidParameter", "needs communityGalleryInfo");
        let info = CommunityGalleryInfo {
            publisher_uri: "https://contoso.example".into(),
            publisher_contact: "images@contoso.example".into(),
            eula: "free".into(),
            public_name_prefix: "contoso".into(),
        };
        session.create_gallery(gallery().with_sharing_profile(SharingProfile::community(info))).await.unwrap();
    });
}

// Limits.

#[test]
fn limits_count_per_subscription_and_region_and_usage_tells() {
    block_on(async {
        let limits = Limits::default().with_galleries(2).with_image_definitions(1).with_image_versions(1);
        let world = World::with(GalleryService::builder().allow_all().limits(limits)).await;
        let session = &world.session;
        for name in ["g", "h"] {
            session.create_gallery(Gallery::new(gallery_id(name), region("westeurope"))).await.unwrap();
        }
        let third = || Gallery::new(gallery_id("i"), region("westeurope"));
        let error = session.create_gallery(third()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitReached);
        one(error, "OperationNotAllowed", "Current Limit: 2, Current Usage: 2");
        session.create_gallery(Gallery::new(gallery_id("i"), region("eastus"))).await.unwrap();

        session.create_image_definition(definition()).await.unwrap();
        let other = definition_of(gallery_id("h").image("web".parse().unwrap()), "x");
        one(
            session.create_image_definition(other).await.unwrap_err(),
            "OperationNotAllowed",
            "image definitions quota",
        );
        session.publish(version("1.0.0", "westeurope")).await.unwrap();
        one(world.refused(|| version("1.0.1", "westeurope")).await, "OperationNotAllowed", "image versions quota");

        let usage = session.view().usage(&"dev".parse().unwrap(), &region("westeurope")).unwrap();
        assert_eq!(usage.map(|usage| (usage.current_value, usage.limit)), [(2, 2), (1, 1), (1, 1)]);
    });
}

#[test]
fn the_defaults_are_those_of_the_original_service_and_today_has_a_preset() {
    let (first, today) = (Limits::default(), Limits::azure_2026());
    assert_eq!((first.galleries(), first.image_definitions(), first.image_versions()), (100, 1_000, 10_000));
    assert_eq!((first.max_disk_bytes(), today.max_disk_bytes()), (1 << 40, 2 << 40));
    assert_eq!(first.scale_set_instances_from_gallery(), 1_000);
    assert_eq!(first.scale_set_instances_from_managed_image(), 600);
}

#[test]
fn each_disk_is_at_most_a_tebibyte() {
    block_on(async {
        let world =
            World::with(GalleryService::builder().allow_all().limits(Limits::default().with_max_disk_bytes(4096)))
                .await;
        world.session.create_gallery(gallery()).await.unwrap();
        world.session.create_image_definition(definition()).await.unwrap();
        let large = || {
            let disks = LocalDisks::new(disk(1)).with_data_disk(3, DiskSource::bytes(vec![0; 8192], DiskFormat::Raw));
            NewImageVersion::new(version_id("1.0.0"), region("westeurope"), profile("westeurope"), disks)
        };
        let error = world.refused(large).await;
        assert!(error.target().ends_with("dataDiskImages[0]"), "{error}");
        one(error, "GallerySourceResourceExceedsMaxSize", "`8192` bytes are more than `4096`");
    });
}

// Regions.

#[test]
fn a_version_goes_only_where_it_may() {
    block_on(async {
        let world = World::new().await;
        for (regions, code, says) in [
            ("westeurope,atlantis", "LocationNotAvailableForResourceType", "not available"),
            ("westeurope,chinaeast", "InvalidParameter", "another cloud"),
            ("westeurope,usgovvirginia", "InvalidParameter", "another cloud"),
            ("westeurope,australiacentral", "InvalidParameter", "allow-list"),
            ("eastus", "InvalidParameter", "must contain the location"),
            ("westeurope=100,eastus=101", "InvalidParameter", "must be between '1' and '100'"),
        ] {
            one(world.refused(|| version("1.0.0", regions)).await, code, says);
        }
        let capped = Limits::default().with_replicas_per_region(10);
        let world = World::with(GalleryService::builder().allow_all().limits(capped)).await;
        world.session.create_gallery(gallery()).await.unwrap();
        world.session.create_image_definition(definition()).await.unwrap();
        let error = world.refused(|| version("1.0.0", "westeurope,eastus=11")).await;
        one(error, "InvalidParameter", "must be between '1' and '10'");
    });
}

#[test]
fn no_region_stands_twice_and_counts_are_read_from_text() {
    let error = "West Europe=2, westeurope".parse::<TargetRegions>().unwrap_err();
    one(error, "InvalidParameter", "Duplicate regions are not allowed");
    let profile = profile("South Central US=2, eastus").with_replica_count(5.try_into().unwrap());
    assert_eq!(profile.replicas_in(&region("southcentralus")), Some(2));
    assert_eq!(profile.replicas_in(&region("East US")), Some(5));
    for wrong in ["eastus=0", "eastus=4294967296", "eastus=x", "eastus="] {
        assert_eq!(wrong.parse::<TargetRegions>().unwrap_err().code(), "InvalidParameter", "{wrong}");
    }
}

#[test]
fn zone_redundant_storage_needs_zones() {
    block_on(async {
        let zones = [MemoryStore::new(), MemoryStore::new(), MemoryStore::new()];
        let zonal = GalleryService::builder().allow_all().zonal_region_stores(region("eastus"), zones);
        let world = World::filled(zonal).await;
        let zrs = |place: &str| {
            let home = TargetRegion::new(region("westeurope"));
            let target = TargetRegion::new(region(place)).with_storage_account_type(StorageAccountType::StandardZrs);
            let profile = PublishingProfile::new(TargetRegions::new(vec![home, target]).unwrap());
            NewImageVersion::new(version_id("1.0.0"), region("westeurope"), profile, disk(1))
        };
        one(world.refused(|| zrs("westus")).await, "InvalidParameter", "ZRS storage account type is not supported");
        let published = world.session.publish(zrs("eastus")).await.unwrap().resource;
        let accounts = ["westeurope", "eastus"];
        let accounts = accounts.map(|place| published.publishing_profile().storage_account_type_in(&region(place)));
        assert_eq!(accounts, [StorageAccountType::StandardLrs, StorageAccountType::StandardZrs]);
    });
}

#[test]
fn a_host_adds_its_own_regions_and_clouds_and_allows_restricted_ones() {
    block_on(async {
        let lab = |name: &str| RegionInfo::new(name, Cloud::Other("lab".into())).unwrap();
        let catalog = RegionCatalog::default()
            .with_region(lab("Rack 7"))
            .with_region(lab("Rack 8").with_target_only())
            .with_allowed("dev".parse().unwrap(), region("australiacentral"));
        let world = World::with(GalleryService::builder().allow_all().region_catalog(catalog)).await;
        world.session.create_gallery(Gallery::new(gallery_id("lab"), region("rack7"))).await.unwrap();
        let identifier = ImageIdentifier::new("Contoso", "Finance", "Backend").unwrap();
        let image = gallery_id("lab").image("web".parse().unwrap());
        let (linux, generalized) = (OsType::Linux, OsState::Generalized);
        let of_lab = ImageDefinition::new(image.clone(), region("rack8"), linux, generalized, identifier);
        world.session.create_image_definition(of_lab).await.unwrap();
        let in_lab = |home: &str, regions: &str| {
            NewImageVersion::new(image.version("1.0.0".parse().unwrap()), region(home), profile(regions), disk(1))
        };
        let error = world.refused(|| in_lab("rack8", "rack8")).await;
        one(error, "InvalidParameter", "target region only");
        one(world.refused(|| in_lab("rack7", "rack7,eastus")).await, "InvalidParameter", "another cloud");
        world.session.publish(in_lab("rack7", "rack7,rack8")).await.unwrap();
        world.session.create_gallery(gallery()).await.unwrap();
        world.session.create_image_definition(definition()).await.unwrap();
        let allowed = NewImageVersion::new(
            version_id("1.0.1"),
            region("westeurope"),
            profile("westeurope,australiacentral"),
            disk(1),
        );
        world.session.publish(allowed).await.unwrap();
    });
}

#[test]
fn shallow_replication_has_one_replica() {
    block_on(async {
        let world = World::new().await;
        let body = serde_json::json!({"targetRegions": [{"name": "westeurope", "regionalReplicaCount": 2}],
            "replicationMode": "Shallow"});
        let profile: PublishingProfile = serde_json::from_value(body).unwrap();
        let new = || NewImageVersion::new(version_id("1.0.0"), region("westeurope"), profile.clone(), disk(1));
        one(world.refused(new).await, "InvalidParameter", "replication mode Shallow");
    });
}

// Sources.

async fn managed_image(session: &Session, name: &str, place: &str) -> ManagedImageId {
    let id: ManagedImageId = flat("images", name);
    let disks = LocalDisks::new(disk(7)).with_data_disk(2, disk(8));
    let new = NewManagedImage::new(id.clone(), region(place), OsType::Linux, disks);
    session.create_managed_image(new).await.unwrap();
    id
}

async fn bytes_of(session: &Session, id: impl Into<ImageRef>, lun: Option<u32>) -> Vec<u8> {
    let deployment = session.deploy(id, &region("westeurope"));
    let deployment = if let Some(lun) = lun { deployment.data_disk(lun) } else { deployment };
    deployment.to_writer(Cursor::new(Vec::new())).await.unwrap().1.into_inner()
}

#[test]
fn a_managed_image_makes_a_version_without_copying_a_byte() {
    block_on(async {
        let World { session, .. } = World::new().await;
        let image = managed_image(&session, "golden", "westeurope").await;
        let new = NewImageVersion::new(version_id("1.0.0"), region("westeurope"), profile("westeurope"), image.clone());
        let published = session.publish(new).await.unwrap();
        assert_eq!(published.import, ImportReport::default());
        let source = published.resource.storage_profile().source();
        assert_eq!(source, Some(&VersionSource::ManagedImage(image.clone())));
        session.delete(&image).await.unwrap();
        assert_eq!(bytes_of(&session, version_id("1.0.0"), None).await, vec![7; 4096]);
        assert_eq!(bytes_of(&session, version_id("1.0.0"), Some(2)).await, vec![8; 4096]);
    });
}

#[test]
fn snapshots_make_a_version_of_several_disks() {
    block_on(async {
        let World { session, .. } = World::new().await;
        let (os, data): (SnapshotId, SnapshotId) = (flat("snapshots", "os"), flat("snapshots", "data"));
        let generation = HyperVGeneration::V1;
        let new = NewSnapshot::of_os_disk(os.clone(), region("westeurope"), disk(3), OsType::Linux, generation);
        session.create_snapshot(new).await.unwrap();
        session.create_snapshot(NewSnapshot::of_data_disk(data.clone(), region("westeurope"), disk(4))).await.unwrap();
        let disks = SnapshotDisks::new(os.clone()).with_data_disk(5, data.clone());
        let new = NewImageVersion::new(version_id("1.0.0"), region("westeurope"), profile("westeurope"), disks);
        let published = session.publish(new).await.unwrap();
        assert_eq!(published.resource.storage_profile().data_disk_images()[0].lun(), 5);
        assert_eq!(bytes_of(&session, version_id("1.0.0"), None).await, vec![3; 4096]);
        assert_eq!(bytes_of(&session, version_id("1.0.0"), Some(5)).await, vec![4; 4096]);
        assert_eq!(bytes_of(&session, &data, None).await, vec![4; 4096], "a snapshot is of use by itself");

        let twice = SnapshotDisks::new(os.clone()).with_data_disk(5, os);
        let new = NewImageVersion::new(version_id("1.0.1"), region("westeurope"), profile("westeurope"), twice);
        one(session.publish(new).await.unwrap_err(), "InvalidParameter", "named twice");
    });
}

#[test]
fn a_vhd_blob_a_vm_and_another_version_are_sources_in_one_call() {
    block_on(async {
        let World { session, .. } = World::new().await;
        let publish = |number: &str, source: ImageSource| {
            let new = NewImageVersion::new(version_id(number), region("westeurope"), profile("westeurope"), source);
            session.publish(new).into_future()
        };
        let account = "/subscriptions/dev/resourceGroups/vms/providers/Microsoft.Storage/storageAccounts/vhds";
        let blob = VhdBlob { uri: "https://a/b.vhd".into(), storage_account: account.parse().unwrap(), disk: disk(1) };
        let from_blob = publish("1.0.0", blob.into()).await.unwrap().resource;
        let json = serde_json::to_value(&from_blob).unwrap();
        assert_eq!(json["properties"]["storageProfile"]["osDiskImage"]["source"]["uri"], "https://a/b.vhd");
        let machine = SourceMachine {
            id: flat("virtualMachines", "vm"),
            location: region("westeurope"),
            os_type: OsType::Linux,
            os_state: OsState::Generalized,
            hyper_v_generation: HyperVGeneration::V1,
            architecture: Architecture::X64,
            purchase_plan: None,
            disks: LocalDisks::new(disk(2)),
        };
        publish("1.0.1", machine.into()).await.unwrap();
        let copy = publish("1.0.2", version_id("1.0.1").into()).await.unwrap();
        assert_eq!(copy.import.read_bytes, 0);
        assert_eq!(bytes_of(&session, version_id("1.0.2"), None).await, vec![2; 4096]);
    });
}

#[test]
fn a_source_must_be_there_and_in_the_source_region() {
    block_on(async {
        let world = World::new().await;
        let away = managed_image(&world.session, "away", "eastus").await;
        let from = |image: &ManagedImageId| {
            NewImageVersion::new(version_id("1.0.0"), region("westeurope"), profile("westeurope"), image.clone())
        };
        one(world.refused(|| from(&away)).await, "NotFound", "in the same region");
        let absent: ManagedImageId = flat("images", "absent");
        one(world.refused(|| from(&absent)).await, "NotFound", "is not found");
    });
}

#[test]
fn a_source_must_match_its_definition() {
    block_on(async {
        let world = World::new().await;
        let machine = |os_type, os_state, hyper_v_generation| SourceMachine {
            id: flat("virtualMachines", "vm"),
            location: region("westeurope"),
            os_type,
            os_state,
            hyper_v_generation,
            architecture: Architecture::X64,
            purchase_plan: None,
            disks: LocalDisks::new(disk(2)),
        };
        let new = || {
            let source = machine(OsType::Windows, OsState::Specialized, HyperVGeneration::V2);
            NewImageVersion::new(version_id("1.0.0"), region("westeurope"), profile("westeurope"), source)
        };
        let error = world.refused(new).await;
        let said = error.to_string();
        for what in ["OS type ['Windows']", "('Generalized') is not 'Specialized'", "Hypervisor generation ['V2']"] {
            assert!(said.contains(what), "{said}");
        }
        assert!(error.problems().all(|problem| problem.code() == "Conflict"), "{said}");
    });
}

#[test]
fn luns_are_unique_and_below_64() {
    block_on(async {
        let world = World::new().await;
        let new = || {
            let disks = LocalDisks::new(disk(1)).with_data_disk(1, disk(2)).with_data_disk(1, disk(3));
            let disks = disks.with_data_disk(64, disk(4));
            NewImageVersion::new(version_id("1.0.0"), region("westeurope"), profile("westeurope"), disks)
        };
        let error = world.refused(new).await;
        let said = error.to_string();
        assert!(said.contains("LUN `1` is used twice") && said.contains("LUN `64` is above 63"), "{said}");
    });
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    block_on(async {
        let world = World::new().await;
        world.publish("1.0.0", "westeurope").await;
        let new = || {
            let profile = profile("westeurope,atlantis,chinaeast").with_end_of_life_date(now());
            let disks = LocalDisks::new(disk(1)).with_data_disk(99, disk(2));
            NewImageVersion::new(version_id("1.0.0"), region("westeurope"), profile, disks)
        };
        let codes: Vec<_> = world.refused(new).await.problems().map(|problem| problem.code().to_owned()).collect();
        let wanted = [
            "Conflict",
            "LocationNotAvailableForResourceType",
            "InvalidParameter",
            "InvalidParameter",
            "InvalidParameter",
        ];
        assert_eq!(codes, wanted);
    });
}

// Versions and latest.

#[test]
fn latest_is_the_highest_number_that_is_there_and_not_excluded() {
    block_on(async {
        let world = World::new().await;
        for number in ["1.0.9", "1.0.12", "0.99.0"] {
            world.publish(number, "westeurope,eastus").await;
        }
        assert_eq!(world.latest("westeurope").as_deref(), Some("1.0.12"), "numeric, not by text or time");
        world.session.publish(version("2.0.0", "westeurope=2,eastus")).await.unwrap();
        assert_eq!(world.latest("westeurope").as_deref(), Some("1.0.12"), "2.0.0 is not complete yet");
        world.session.replicate(&version_id("2.0.0")).await.unwrap();
        assert_eq!(world.latest("westeurope").as_deref(), Some("2.0.0"));

        // Excluded in general, and not in one region: the region's flag beats the general one.
        let newest = ImageVersion::clone(&*world.version("2.0.0").await);
        let flags = [("westeurope", Some(false)), ("eastus", None)].map(|(place, flag)| {
            let target = TargetRegion::new(region(place)).with_regional_replica_count(ReplicaCount::ONE);
            flag.map_or(target.clone(), |flag| target.with_exclude_from_latest(flag))
        });
        let profile = newest.publishing_profile().clone().with_exclude_from_latest(true);
        let profile = profile.with_target_regions(TargetRegions::new(flags.into()).unwrap());
        world.session.update_image_version(newest.with_publishing_profile(profile).unwrap()).await.unwrap();
        assert_eq!(world.latest("westeurope").as_deref(), Some("2.0.0"));
        assert_eq!(world.latest("eastus").as_deref(), Some("1.0.12"));
        world.publish("3.0.0", "westeurope").await;

        let said = |place: &str| -> Vec<LatestVerdict> {
            let explained = world.session.view().explain_latest(&image_id(), &region(place)).unwrap();
            explained.into_iter().map(|candidate| candidate.verdict).collect()
        };
        use LatestVerdict::{Excluded, Latest, NotATarget, Older};
        assert_eq!(said("westeurope"), [Older, Older, Older, Older, Latest]);
        assert_eq!(said("eastus"), [Older, Older, Latest, Excluded, NotATarget]);
    });
}

#[test]
fn no_latest_says_why() {
    block_on(async {
        let world = World::new().await;
        let view = world.session.view();
        let none = view.latest(&image_id(), &region("westeurope")).unwrap_err();
        one(none, "GalleryImageNotFound", "There is no latest image version");
        world.publish("1.0.0", "westeurope").await;
        let view = world.session.view();
        let away = view.latest(&image_id(), &region("eastus")).unwrap_err();
        one(away, "GalleryImageNotFound", "is not available in eastus region");
        let early =
            world.session.deploy(version_id("1.0.0"), &region("eastus")).to_writer(Vec::new()).await.unwrap_err();
        one(early, "GalleryImageNotFound", "is not available in eastus region");
        let no_disk = world.session.deploy(version_id("1.0.0"), &region("westeurope")).data_disk(1);
        let no_disk = no_disk.to_writer(Vec::new()).await.unwrap_err();
        one(no_disk, "InvalidParameter", "imageReference is invalid");
    });
}

#[test]
fn the_next_number_is_easy_to_come_by() {
    let number: VersionNumber = "1.2.3".parse().unwrap();
    let next = [number.next_patch(), number.next_minor(), number.next_major()];
    assert_eq!(next.map(|number| number.unwrap().to_string()), ["1.2.4", "1.3.0", "2.0.0"]);
    let last: VersionNumber = "2147483647.2147483647.2147483647".parse().unwrap();
    assert_eq!([last.next_patch(), last.next_minor(), last.next_major()], [None; 3]);
    one("1.0".parse::<VersionNumber>().unwrap_err(), "InvalidParameter", "Major(int).Minor(int).Patch(int)");
}

// Updates.

#[test]
fn only_what_may_change_changes_and_the_rest_is_refused_by_name() {
    block_on(async {
        let world = World::new().await;
        let session = &world.session;
        session.update_gallery(gallery().with_description("new")).await.unwrap();
        assert_eq!(session.view().gallery(&gallery_id("g")).unwrap().description(), Some("new"));

        let range = |max| ResourceRange::new(None, Some(max)).unwrap();
        let machine = RecommendedMachine::default().with_v_cpus(range(4)).with_memory(range(16));
        let later = definition().with_description("new").with_recommended(machine);
        let later = later.with_end_of_life_date(now() + TimeDelta::days(9)).with_release_note_uri("https://x");
        session.update_image_definition(later.clone()).await.unwrap();
        assert_eq!(*session.view().image_definition(&image_id()).unwrap(), later);

        let identifier = ImageIdentifier::new("Fabrikam", "Finance", "Backend").unwrap();
        let wrong =
            ImageDefinition::new(image_id(), region("eastus"), OsType::Windows, OsState::Specialized, identifier)
                .with_hyper_v_generation(HyperVGeneration::V2)
                .with_architecture(Architecture::Arm64)
                .with_eula("x")
                .with_privacy_statement_uri("https://x")
                .with_end_of_life_date(now() + TimeDelta::days(9))
                .with_feature("SecurityType", "TrustedLaunch");
        let error = session.update_image_definition(wrong).await.unwrap_err();
        let wanted = [
            "properties.architecture",
            "properties.eula",
            "properties.features",
            "properties.hyperVGeneration",
            "properties.identifier.publisher",
            "properties.osState",
            "properties.osType",
            "properties.privacyStatementUri",
        ];
        let changes = || error.problems().filter(|problem| problem.code() == "PropertyChangeNotAllowed");
        let named: BTreeSet<_> = changes().map(|problem| problem.target().to_owned()).collect();
        assert_eq!(named, wanted.map(|path| format!("galleryImage.{path}")).into());
        for problem in changes() {
            assert_eq!(problem.message(), format!("Changing property '{}' is not allowed.", problem.target()));
        }
        let others: Vec<_> = error.problems().filter(|problem| !named.contains(problem.target())).collect();
        assert_eq!(others.iter().map(|problem| problem.code()).collect::<Vec<_>>(), ["InvalidResourceLocation"]);

        one(
            session.update_gallery(Gallery::new(gallery_id("x"), region("eastus"))).await.unwrap_err(),
            "ResourceNotFound",
            "",
        );
    });
}

#[test]
fn an_end_of_life_is_moved_and_not_unset() {
    block_on(async {
        let world = World::new().await;
        let ends = |days| definition().with_end_of_life_date(now() + TimeDelta::days(days));
        world.session.update_image_definition(ends(1)).await.unwrap();
        world.session.update_image_definition(ends(2)).await.unwrap();
        let error = world.session.update_image_definition(ends(-1)).await.unwrap_err();
        one(error, "InvalidParameter", "future date");
        let error = world.session.update_image_definition(definition()).await.unwrap_err();
        one(error, "PropertyChangeNotAllowed", "cannot be unset");
    });
}

#[test]
fn regions_are_added_and_removed_and_the_bytes_follow() {
    block_on(async {
        let world = World::new().await;
        let published = world.publish("1.0.0", "westeurope").await;
        let to = |version: &ImageVersion, regions: &str| {
            let profile = version.publishing_profile().clone().with_target_regions(regions.parse().unwrap());
            version.clone().with_publishing_profile(profile)
        };
        let wider = to(&published, "westeurope=3,eastus").unwrap();
        let plan = world.session.update_image_version(wider.clone()).plan().await.unwrap();
        let stored = world.session.view().image_content(&version_id("1.0.0")).unwrap().stored_bytes;
        let moved: Vec<_> = plan.regions.iter().map(|plan| (plan.cross_region_bytes, plan.stored_bytes)).collect();
        assert_eq!(moved, [(0, 2 * stored), (stored, stored)]);

        world.session.update_image_version(wider.clone()).await.unwrap();
        // The replica that is there goes on serving while others are made.
        assert_eq!(world.latest("westeurope").as_deref(), Some("1.0.0"));
        assert_eq!(world.latest("eastus"), None);
        let again = world.session.replicate(&version_id("1.0.0")).plan().await.unwrap();
        let moved: Vec<_> = again.regions.iter().map(|plan| (plan.cross_region_bytes, plan.stored_bytes)).collect();
        assert_eq!(moved, [(0, 2 * stored), (stored, stored)]);
        let report = world.session.replicate(&version_id("1.0.0")).await.unwrap();
        assert_eq!(report.regions[0].local_bytes, 2 * stored);
        assert_eq!(report.regions[1].cross_region_bytes, stored);
        assert_eq!(world.latest("eastus").as_deref(), Some("1.0.0"));

        one(to(&wider, "eastus").unwrap_err(), "InvalidParameter", "must contain the location");
        let narrower = to(&wider, "westeurope").unwrap();
        let error = world.session.update_image_version(narrower.clone()).await.unwrap_err();
        one(error, "BadRequest", "Complete set of target locations not specified");
        let allowed = SafetyProfile::default().with_deletion_of_replicated_locations(true);
        world.session.update_image_version(narrower.with_safety_profile(allowed)).await.unwrap();
        assert_eq!(world.latest("eastus"), None);
        let gone =
            world.session.deploy(version_id("1.0.0"), &region("eastus")).to_writer(Vec::new()).await.unwrap_err();
        assert_eq!(gone.code(), "GalleryImageNotFound");
    });
}

#[test]
fn a_region_keeps_its_storage_account_type() {
    block_on(async {
        let world = World::filled(GalleryService::builder().allow_all().one_store_for_all_zones()).await;
        let published = world.publish("1.0.0", "westeurope").await;
        let zrs = TargetRegion::new(region("westeurope")).with_storage_account_type(StorageAccountType::StandardZrs);
        let profile = published.publishing_profile().clone();
        let profile = profile.with_target_regions(TargetRegions::new(vec![zrs]).unwrap());
        let error = world.session.update_image_version(published.with_publishing_profile(profile).unwrap()).await;
        one(
            error.unwrap_err(),
            "InvalidParameter",
            "does not match the storage account type in the existing TargetRegion: 'westeurope'",
        );
    });
}

#[test]
fn a_version_of_other_disks_or_source_is_another_version() {
    block_on(async {
        let world = World::new().await;
        let published = world.publish("1.0.0", "westeurope").await;
        let storage = StorageProfile::new(DiskImage::new(1 << 30), Vec::new()).unwrap();
        let profile = published.publishing_profile().clone();
        let other = ImageVersion::new(version_id("1.0.0"), region("westeurope"), profile, storage).unwrap();
        let error = world.session.update_image_version(other).await.unwrap_err();
        assert!(error.problems().all(|problem| problem.code() == "PropertyChangeNotAllowed"), "{error}");
        assert!(error.target().starts_with("galleryImageVersion.properties.storageProfile"), "{error}");
        one(world.refused(|| version("1.0.0", "westeurope")).await, "Conflict", "never changes");
    });
}

#[test]
fn a_tag_may_be_called_like_a_property() {
    block_on(async {
        let session = World::new().await.session;
        let tagged = |value: &str| {
            let tags = Tags::new([("architecture".to_owned(), value.to_owned())].into()).unwrap();
            gallery().with_tags(tags)
        };
        session.update_gallery(tagged("x64")).await.unwrap();
        assert_eq!(*session.view().gallery(&gallery_id("g")).unwrap(), tagged("x64"));
        session.update_gallery(gallery()).await.unwrap();
        assert!(session.view().gallery(&gallery_id("g")).unwrap().tags().is_empty());
    });
}

#[test]
fn a_managed_image_is_made_from_what_it_is_said_to_be() {
    block_on(async {
        let world = World::new().await;
        let machine = SourceMachine {
            id: flat("virtualMachines", "vm"),
            location: region("westeurope"),
            os_type: OsType::Windows,
            os_state: OsState::Specialized,
            hyper_v_generation: HyperVGeneration::V1,
            architecture: Architecture::X64,
            purchase_plan: None,
            disks: LocalDisks::new(disk(2)),
        };
        let id: ManagedImageId = flat("images", "wrong");
        let new = NewManagedImage::new(id, region("westeurope"), OsType::Linux, machine);
        let error = world.session.create_managed_image(new).await.unwrap_err();
        assert_eq!(error.problems().count(), 2, "{error}");
        let elsewhere = "/subscriptions/other/resourceGroups/a/providers/Microsoft.Compute/images/golden";
        let elsewhere: ManagedImageId = elsewhere.parse().unwrap();
        let new = NewManagedImage::new(elsewhere.clone(), region("westeurope"), OsType::Linux, disk(1));
        world.session.create_managed_image(new).await.unwrap();
        let new = || {
            let source = elsewhere.clone();
            NewImageVersion::new(version_id("1.0.0"), region("westeurope"), profile("westeurope"), source)
        };
        one(world.refused(new).await, "InvalidParameter", "in another subscription");
    });
}

// Deletion.

#[test]
fn children_go_first_or_with_a_planned_cascade() {
    block_on(async {
        let World { session, .. } = World::new().await;
        for number in ["1.0.0", "1.0.1"] {
            session.publish(version(number, "westeurope")).await.unwrap();
        }
        let error = session.delete(gallery_id("g")).await.unwrap_err();
        one(error, "CannotDeleteResource", "/images/web'");
        one(session.delete(image_id()).await.unwrap_err(), "CannotDeleteResource", "/versions/1.0.0', '");
        let plan = session.delete(gallery_id("g")).cascade().plan().await.unwrap();
        assert_eq!(plan.deletes.len(), 4);
        assert_eq!(plan.deletes.last(), Some(&gallery_id("g").into()), "children first");
        assert!(session.view().gallery(&gallery_id("g")).is_ok(), "a plan changes nothing");
        assert_eq!(session.delete(gallery_id("g")).cascade().await.unwrap(), plan.deletes);
        assert!(session.view().gallery(&gallery_id("g")).is_err(), "what was deleted is gone for the next read");
        assert!(session.delete(gallery_id("g")).await.unwrap().is_empty(), "what is not there is deleted already");
        session.create_gallery(gallery()).await.unwrap();
    });
}

#[test]
fn a_version_can_be_kept_until_its_end_of_life() {
    block_on(async {
        let world = World::new().await;
        let profile = profile("westeurope").with_end_of_life_date(now() + TimeDelta::days(2));
        let safety = SafetyProfile::default().with_block_deletion_before_end_of_life(true);
        let new = NewImageVersion::new(version_id("1.0.0"), region("westeurope"), profile, disk(1));
        world.session.publish(new.with_safety_profile(safety)).await.unwrap();
        let code = "DeleteGalleryImageVersionBlockedBeforeEndOfLife";
        one(world.session.delete(version_id("1.0.0")).await.unwrap_err(), code, "end of life not reached");
        let error = world.session.delete(gallery_id("g")).cascade().await.unwrap_err();
        one(error, code, "end of life not reached");
        assert!(world.session.view().image_definition(&image_id()).is_ok(), "a refused cascade deletes nothing");
        world.clock.advance(std::time::Duration::from_secs(3 * 86_400));
        world.session.delete(version_id("1.0.0")).await.unwrap();
    });
}

#[test]
fn a_soft_deleted_version_is_deployable_restorable_and_never_the_latest() {
    block_on(async {
        let world = World::new().await;
        let session = &world.session;
        session.update_gallery(gallery().with_soft_delete_policy(SoftDeletePolicy::enabled())).await.unwrap();
        for number in ["1.0.0", "1.0.1"] {
            world.publish(number, "westeurope").await;
        }
        session.delete(version_id("1.0.1")).await.unwrap();
        assert_eq!(world.latest("westeurope").as_deref(), Some("1.0.0"));
        assert_eq!(bytes_of(session, version_id("1.0.1"), None).await, vec![1; 4096]);
        assert_eq!(session.view().image_versions(&image_id(), None, 9).unwrap().items.len(), 1);
        assert_eq!(session.view().soft_deleted_versions(&image_id()).unwrap().len(), 1);
        one(world.refused(|| version("1.0.1", "westeurope")).await, "Conflict", "can be restored");
        let tagged = ImageVersion::clone(&*world.version("1.0.1").await)
            .with_tags(Tags::new([("a".into(), "b".into())].into()).unwrap());
        one(session.update_image_version(tagged).await.unwrap_err(), "OperationNotAllowed", "marked for deletion");
        session.restore(&version_id("1.0.1")).await.unwrap();
        assert_eq!(world.latest("westeurope").as_deref(), Some("1.0.1"));

        session.delete(version_id("1.0.1")).await.unwrap();
        one(session.delete(image_id()).await.unwrap_err(), "CannotDeleteResource", "nested resources");
        world.clock.advance(std::time::Duration::from_secs(7 * 86_400 + 1));
        one(session.restore(&version_id("1.0.1")).await.unwrap_err(), "ResourceNotFound", "was not found");
        session.publish(version("1.0.1", "westeurope")).await.unwrap();
        session.delete(version_id("1.0.1")).bypass_soft_delete().await.unwrap();
        assert!(session.view().soft_deleted_versions(&image_id()).unwrap().is_empty());
    });
}

// Lists.

#[test]
fn lists_have_scopes_pages_and_numeric_order() {
    block_on(async {
        let World { session, .. } = World::new().await;
        let id = |subscription: &str, group: &str, name: &str| -> GalleryId {
            let id = format!(
                "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Compute/galleries/{name}"
            );
            id.parse().unwrap()
        };
        for (subscription, group, name) in [("dev", "images", "h"), ("dev", "other", "i"), ("prod", "images", "g")] {
            session.create_gallery(Gallery::new(id(subscription, group, name), region("westeurope"))).await.unwrap();
        }
        let view = session.view();
        let names = |scope: &ListScope| -> Vec<String> {
            let mut names = Vec::new();
            let mut after = None;
            loop {
                let page = view.galleries(scope, after.as_ref(), 1);
                names.extend(page.items.iter().map(|gallery| gallery.id().name().to_string()));
                match page.next {
                    Some(next) => after = Some(next),
                    None => return names,
                }
            }
        };
        let (dev, images) = ("dev".parse::<SubscriptionId>().unwrap(), "IMAGES".parse().unwrap());
        assert_eq!(names(&ListScope::All), ["g", "h", "i", "g"]);
        assert_eq!(names(&ListScope::Subscription(dev.clone())), ["g", "h", "i"]);
        assert_eq!(names(&ListScope::ResourceGroup(dev, images)), ["g", "h"]);

        for number in ["1.0.10", "1.0.9", "1.0.2"] {
            session.publish(version(number, "westeurope")).await.unwrap();
        }
        let view = session.view();
        let page = view.image_versions(&image_id(), None, 2).unwrap();
        let numbers: Vec<_> = page.items.iter().map(|version| version.id().number().to_string()).collect();
        assert_eq!(numbers, ["1.0.2", "1.0.9"]);
        let rest = view.image_versions(&image_id(), page.next, 2).unwrap();
        assert_eq!((rest.items.len(), rest.next), (1, None));
        assert_eq!(view.image_definitions(&gallery_id("g"), None, 9).unwrap().items.len(), 1);
    });
}

#[test]
fn managed_images_and_snapshots_have_a_life_of_their_own() {
    block_on(async {
        let World { session, .. } = World::with(GalleryService::builder().allow_all()).await;
        let image = managed_image(&session, "golden", "westeurope").await;
        assert_eq!(session.view().managed_image(&image).unwrap().os_state(), OsState::Generalized);
        assert_eq!(session.view().managed_images(&ListScope::All, None, 9).items.len(), 1);
        assert_eq!(bytes_of(&session, &image, Some(2)).await, vec![8; 4096]);
        let again = NewManagedImage::new(image.clone(), region("westeurope"), OsType::Linux, disk(9));
        one(session.create_managed_image(again).await.unwrap_err(), "Conflict", "choose another name");
        let away = session.deploy(&image, &region("eastus")).to_writer(Vec::new()).await.unwrap_err();
        assert_eq!(away.code(), "GalleryImageNotFound");
        let snapshot: SnapshotId = flat("snapshots", "s");
        let new = NewSnapshot::of_data_disk(snapshot.clone(), region("westeurope"), disk(1));
        session.create_snapshot(new).await.unwrap();
        assert_eq!(session.view().snapshots(&ListScope::All, None, 9).items[0].disk_size_bytes(), 4096);
        assert_eq!(session.delete(&snapshot).await.unwrap(), [ResourceId::from(&snapshot)]);
        assert!(session.view().snapshot(&snapshot).is_err());
        session.delete(&image).await.unwrap();
        assert!(session.view().managed_image(&image).is_err());
    });
}

// VMs and scale sets.

#[test]
fn a_generalized_image_gives_each_vm_its_own_name() {
    block_on(async {
        let world = World::new().await;
        world.publish("1.0.0", "westeurope").await;
        let image = world.session.boot_image(image_id(), &region("westeurope")).await.unwrap();
        assert_eq!(image.clone().specialized().unwrap_err().kind(), ErrorKind::Invalid);
        let image = image.generalized().unwrap();
        assert_eq!(*image.id(), version_id("1.0.0").into(), "a definition means its latest version");
        let vm = image.vm("web-1".parse().unwrap(), OsProfile::new("admin").unwrap());
        assert_eq!((vm.computer_name.as_deref(), vm.collides_with.len()), (Some("web-1"), 0));
        let bytes = vm.deploy().to_writer(Cursor::new(Vec::new())).await.unwrap().1.into_inner();
        assert_eq!(bytes, vec![1; 4096]);
    });
}

#[test]
fn a_specialized_image_tells_what_it_carries_and_which_names_collide() {
    block_on(async {
        let world = World::with(GalleryService::builder().allow_all()).await;
        world.session.create_gallery(gallery()).await.unwrap();
        let identifier = ImageIdentifier::new("a", "b", "c").unwrap();
        let specialized =
            ImageDefinition::new(image_id(), region("westeurope"), OsType::Linux, OsState::Specialized, identifier);
        world.session.create_image_definition(specialized).await.unwrap();
        let carried = CarriedIdentity { computer_name: "golden".into(), accounts: vec!["root".into()] };
        let new = version("1.0.0", "westeurope").with_carried_identity(carried.clone());
        world.session.publish(new).await.unwrap();
        let image = world.session.boot_image(version_id("1.0.0"), &region("westeurope")).await.unwrap();
        assert!(image.clone().generalized().unwrap_err().to_string().contains("'osProfile' is not allowed"));
        let image = image.specialized().unwrap();
        assert_eq!(image.carried(), Some(&carried));
        assert!(image.advice().iter().any(|advice| advice.contains("`root`")));
        let first = image.vm("one".parse().unwrap());
        assert_eq!((first.computer_name.as_deref(), first.collides_with.len()), (Some("golden"), 0));
        let second = image.vm("two".parse().unwrap());
        assert_eq!(second.collides_with, ["one".parse().unwrap()]);
        assert!(second.os_profile.is_none());
        // What is in the disks is in a copy of them.
        let copy =
            NewImageVersion::new(version_id("1.0.1"), region("westeurope"), profile("westeurope"), version_id("1.0.0"));
        world.session.publish(copy).await.unwrap();
        let image = world.session.boot_image(version_id("1.0.1"), &region("westeurope")).await.unwrap();
        let image = image.specialized().unwrap();
        assert_eq!(image.carried(), Some(&carried));
        // Two versions carry one computer name: their VMs collide as those of one version do.
        let third = image.vm("three".parse().unwrap());
        assert_eq!(third.collides_with, ["one".parse().unwrap(), "two".parse().unwrap()]);
    });
    block_on(async {
        let world = World::new().await;
        let carried = || version("1.0.0", "westeurope").with_carried_identity(CarriedIdentity::default());
        one(world.refused(carried).await, "InvalidParameter", "carries no accounts");
    });
}

#[test]
fn a_scale_set_has_as_many_instances_as_its_kind_of_image_allows() {
    block_on(async {
        let world = World::new().await;
        world.publish("1.0.0", "westeurope").await;
        let image = managed_image(&world.session, "golden", "westeurope").await;
        for (id, most) in [(ResourceId::from(image), 600), (version_id("1.0.0").into(), 1_000)] {
            let image = world.session.boot_image(id, &region("westeurope")).await.unwrap().generalized().unwrap();
            let set = |instances| image.scale_set("web".parse().unwrap(), OsProfile::new("admin").unwrap(), instances);
            assert_eq!(set(most).unwrap().instances(), most);
            let error = set(most + 1).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::LimitReached);
            one(error, "OperationNotAllowed", &format!("at most {most} instances"));
        }
    });
}

// Placement.

#[test]
fn a_pool_follows_its_regions_replica_count_and_an_autoscalers_advice_is_an_update() {
    block_on(async {
        let world = World::new().await;
        let published = world.publish("1.0.0", "westeurope").await;
        let home = region("westeurope");
        let pool = world.session.pool(version_id("1.0.0"), &home).await.unwrap();
        let serving = |pool: &Pool| pool.replicas().iter().filter(|one| one.state == ReplicaState::Serving).count();
        assert_eq!(serving(&pool), 1);
        // Twenty creations at once, and forty that wait: three times the replicas.
        let busy = pool.place_vms(20).unwrap();
        let waiting: Vec<_> = (0..40).map(|_| pool.acquire(PlacementRequest::vm())).collect();
        let wanted = Autoscaler::new(&PlacementPolicy::default(), &Limits::default()).observe(&pool.observe()).replicas;
        assert_eq!(wanted, 5, "60 VMs at 70 % of 20 a replica");
        let profile = published.publishing_profile().clone().with_replicas_in(&home, wanted.try_into().unwrap());
        let more = published.with_publishing_profile(profile).unwrap();
        world.session.update_image_version(more.clone()).await.unwrap();
        world.session.replicate(&version_id("1.0.0")).await.unwrap();
        let grown = world.session.pool(version_id("1.0.0"), &home).await.unwrap();
        assert_eq!(serving(&grown), wanted as usize);
        for waits in waiting {
            waits.await.unwrap().finish();
        }
        drop(busy);
        // A replica of one's own choice, and back to one.
        let lease = grown.place(PlacementRequest::scale_set(600)).unwrap();
        let deployment = world.session.deploy(version_id("1.0.0"), &home).on_replica(lease.replica());
        let deployed = deployment.to_writer(Cursor::new(Vec::new())).await.unwrap().0;
        assert_eq!(deployed.replica, lease.replica().number());
        let profile = more.publishing_profile().clone().with_replicas_in(&home, ReplicaCount::ONE);
        world.session.update_image_version(more.with_publishing_profile(profile).unwrap()).await.unwrap();
        world.session.collect().await.unwrap();
        for _ in 0..3 {
            assert_eq!(bytes_of(&world.session, version_id("1.0.0"), None).await, vec![1; 4096]);
        }
        assert_eq!(serving(&grown), 1);
    });
}

// Costs and lifecycle.

#[test]
fn costs_are_estimated_before_and_known_after() {
    block_on(async {
        let world = World::new().await;
        let prices = Prices::new(1 << 30, 1 << 30);
        let plan = world.session.publish(version("1.0.0", "westeurope=2,eastus=3")).plan().await.unwrap();
        let estimate = plan.cost(&prices);
        assert_eq!(estimate.disks, 5);
        world.publish("1.0.0", "westeurope=2,eastus=3").await;
        let view = world.session.view();
        let stored = view.image_content(&version_id("1.0.0")).unwrap().stored_bytes;
        let cost = view.cost(&prices, [&version_id("1.0.0")]).unwrap();
        assert_eq!((cost.disks, cost.storage_per_month, cost.egress), (5, 5 * stored, stored));
        assert!(estimate.storage_per_month >= 5 * 4096, "the estimate is an upper bound of the data: {estimate:?}");
    });
}

#[test]
fn the_newest_go_wide_and_the_older_stay_at_home() {
    block_on(async {
        let world = World::new().await;
        for number in ["1.0.0", "1.0.1", "1.0.2"] {
            world.publish(number, "westeurope,eastus").await;
        }
        let policy = LifecyclePolicy::new(1, "westeurope=2,eastus,southeastasia".parse().unwrap());
        let refused = world.session.apply_lifecycle(&image_id(), policy.clone()).await.unwrap_err();
        assert!(refused.problems().all(|problem| problem.code() == "BadRequest"), "{refused}");
        let policy = policy.with_removal_of_protected();
        let dry = world.session.apply_lifecycle(&image_id(), policy.clone()).plan().await.unwrap();
        assert_eq!(dry.events.len(), 3);
        assert!(dry.regions.iter().any(|plan| plan.region == region("southeastasia")));
        let changed = world.session.apply_lifecycle(&image_id(), policy.clone()).await.unwrap();
        for version in &changed {
            world.session.replicate(version.id()).await.unwrap();
        }
        let where_is = |number: &str| {
            let version = world.session.view().image_version(&version_id(number)).unwrap();
            version.publishing_profile().target_regions().to_string()
        };
        assert_eq!(where_is("1.0.0"), "westeurope");
        assert_eq!(where_is("1.0.1"), "westeurope");
        assert_eq!(where_is("1.0.2"), "westeurope,eastus,southeastasia");
        assert_eq!(world.latest("southeastasia").as_deref(), Some("1.0.2"));
        assert!(world.session.apply_lifecycle(&image_id(), policy).await.unwrap().is_empty(), "nothing is left to do");
    });
}

// The table.

/// Every row of `docs/rules.md` names a test that there is, and every one of Azure's own error rows is in it.
#[test]
fn the_table_of_rules_names_tests_that_exist() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = String::new();
    let mut ahead = vec![root.join("src"), root.join("tests")];
    while let Some(path) = ahead.pop() {
        for entry in std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()) {
            match entry.is_dir() {
                true => ahead.push(entry),
                false if entry.extension().is_some_and(|extension| extension == "rs") => {
                    sources.push_str(&std::fs::read_to_string(entry).unwrap());
                }
                false => {}
            }
        }
    }
    let table = std::fs::read_to_string(root.join("docs/rules.md")).unwrap();
    let mut rows = 0;
    for row in table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| rule")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, rule, source, code, test, _] = cells[..] else { panic!("{row}") };
        assert!(!rule.is_empty() && !source.is_empty() && !code.is_empty(), "{row}");
        rows += 1;
        let reasons = ["not modelled:", "not applicable:", "waits for the control plane:"];
        if let Some(why) = reasons.iter().find_map(|reason| test.strip_prefix(reason)) {
            assert!(why.len() > 10 && code == "-", "{row}");
            continue;
        }
        for name in test.split(", ") {
            let name = name.strip_prefix('`').and_then(|name| name.strip_suffix('`'));
            let name = name.unwrap_or_else(|| panic!("a test stands in backticks: {row}"));
            // A function that is run as a test, or an example that must not compile.
            let function = format!("fn {name}(");
            let is_test = |before: &str| before.lines().rev().take(3).any(|line| line.trim() == "#[test]");
            let before_each = sources.split(&function).collect::<Vec<_>>();
            let (_, before_each) = before_each.split_last().unwrap();
            let exists = before_each.iter().any(|before| is_test(before));
            let exists = exists || sources.contains(&format!("compile_fail,{name}\n"));
            assert!(exists, "`{name}` is no test: {row}");
        }
    }
    assert!(rows >= 130, "{rows}");
    let known: BTreeSet<&str> = table.split(|char: char| !char.is_ascii_alphanumeric()).collect();
    for number in (1..=37).map(|number| format!("E{number}")).chain((1..=8).map(|number| format!("V{number}"))) {
        assert!(known.contains(number.as_str()), "{number} is missing");
    }
}
