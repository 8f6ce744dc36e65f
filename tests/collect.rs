//! Collection: what is deleted gives its bytes back, and nothing else does.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use std::io::Cursor;
use std::time::Duration;

use compute_gallery::image::{DiskFormat, DiskSource};
use compute_gallery::model::*;
use compute_gallery::store::{BlobStoreExt, MemoryStore, StoreErrorKind};
use compute_gallery::testkit::{Fault, Faults, FaultyStore, ManualClock};
use compute_gallery::*;
use futures::executor::block_on;

fn region(name: &str) -> Region {
    name.parse().unwrap()
}

fn image() -> ImageDefinitionId {
    let gallery = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/g";
    gallery.parse::<GalleryId>().unwrap().image("web".parse().unwrap())
}

fn version(number: &str) -> ImageVersionId {
    image().version(number.parse().unwrap())
}

/// A disk of 2 MiB whose second half is another for each version.
fn disk(number: u8) -> Vec<u8> {
    let mut bytes = vec![1; 2 << 20];
    bytes.iter_mut().zip(0_usize..).for_each(|(byte, at)| *byte = (at / 4096 % 200) as u8 + 1);
    bytes.iter_mut().skip(1 << 20).for_each(|byte| *byte ^= number);
    bytes
}

struct World {
    session: Session,
    clock: ManualClock,
    regions: MemoryStore,
    faults: Faults,
}

impl World {
    async fn new() -> Self {
        let (regions, clock) = (MemoryStore::new(), ManualClock::new("2026-01-02T03:04:05Z".parse().unwrap()));
        let faulty = FaultyStore::new(regions.clone());
        let faults = faulty.faults();
        let builder = GalleryService::builder().allow_all().catalog_store(MemoryStore::new()).store(faulty);
        let service = builder.clock(clock.clone()).open().await.unwrap();
        let session = service.session("test".parse().unwrap());
        session.create_gallery(Gallery::new(image().gallery().clone(), region("westeurope"))).await.unwrap();
        let identifier = ImageIdentifier::new("a", "b", "c").unwrap();
        let definition =
            ImageDefinition::new(image(), region("westeurope"), OsType::Linux, OsState::Generalized, identifier);
        session.create_image_definition(definition).await.unwrap();
        Self { session, clock, regions, faults }
    }

    fn new_version(&self, number: u8, regions: &str) -> NewImageVersion {
        let profile = PublishingProfile::new(regions.parse().unwrap());
        let source = DiskSource::bytes(disk(number), DiskFormat::Raw);
        NewImageVersion::new(version(&format!("1.0.{number}")), region("westeurope"), profile, source)
    }

    async fn publish(&self, number: u8, regions: &str) {
        let published = self.session.publish(self.new_version(number, regions)).await.unwrap();
        self.session.replicate(published.resource.id()).await.unwrap();
    }

    /// Bytes below `place`.
    async fn bytes(&self, place: &str) -> u64 {
        let blobs = self.regions.list_all(Some(&place.parse().unwrap())).await.unwrap();
        blobs.iter().map(|blob| blob.size).sum()
    }

    async fn deploys(&self, number: u8, place: &str) {
        let deployment = self.session.deploy(version(&format!("1.0.{number}")), &region(place));
        let bytes = deployment.to_writer(Cursor::new(Vec::new())).await.unwrap().1.into_inner();
        assert!(bytes == disk(number), "1.0.{number} in {place}");
    }
}

#[test]
fn deleting_everything_leaves_the_catalog_alone() {
    block_on(async {
        let world = World::new().await;
        for number in 0..3 {
            world.publish(number, "westeurope=2,eastus").await;
        }
        assert!(world.session.collect().await.unwrap().regions.is_empty(), "everything is needed");
        world.session.delete(image().gallery().clone()).cascade().await.unwrap();
        let all = world.bytes("regions").await;
        let plan = world.session.collect().plan().await.unwrap();
        assert_eq!((plan.bytes(), plan.regions.len()), (all, 2));
        assert_eq!(world.bytes("regions").await, all, "a plan removes nothing");
        assert_eq!(world.session.collect().await.unwrap(), plan);
        assert_eq!(world.bytes("regions").await, 0);
        assert!(world.session.collect().await.unwrap().regions.is_empty());
    });
}

#[test]
fn a_version_gives_back_its_own_and_what_others_share_stays() {
    block_on(async {
        let world = World::new().await;
        for number in 0..3 {
            world.publish(number, "westeurope,eastus").await;
        }
        let before = world.bytes("regions/eastus").await;
        world.session.delete(version("1.0.1")).await.unwrap();
        let freed = world.session.collect().await.unwrap();
        let after = world.bytes("regions/eastus").await;
        assert!(before - after > 1_000_000, "its own half is freed: {before} {after}");
        assert_eq!(freed.regions.iter().find(|one| one.region == region("eastus")).unwrap().bytes, before - after);
        for place in ["westeurope", "eastus"] {
            world.deploys(0, place).await;
            world.deploys(2, place).await;
        }
        // The first one is what the others were compared with.
        world.session.delete(version("1.0.0")).await.unwrap();
        world.session.collect().await.unwrap();
        world.deploys(2, "eastus").await;
        world.publish(3, "westeurope,eastus").await;
        world.deploys(3, "eastus").await;
    });
}

#[test]
fn regions_and_replicas_that_are_taken_away_give_back_theirs() {
    block_on(async {
        let world = World::new().await;
        world.publish(0, "westeurope=3,eastus").await;
        let one = world.bytes("regions/westeurope/slots/0").await;
        let there = world.session.view().image_version(&version("1.0.0")).unwrap();
        let profile = there.publishing_profile().clone().with_target_regions("westeurope=1".parse().unwrap());
        let safety = SafetyProfile::default().with_deletion_of_replicated_locations(true);
        let fewer = ImageVersion::clone(&there).with_publishing_profile(profile).unwrap().with_safety_profile(safety);
        world.session.update_image_version(fewer).await.unwrap();
        world.session.collect().await.unwrap();
        assert_eq!((world.bytes("regions/westeurope").await, world.bytes("regions/eastus").await), (one, 0));
        world.deploys(0, "westeurope").await;
        // And back again.
        world.session.update_image_version(ImageVersion::clone(&there)).await.unwrap();
        world.session.replicate(&version("1.0.0")).await.unwrap();
        world.deploys(0, "eastus").await;
        assert_eq!(world.bytes("regions/westeurope").await, 3 * one);
    });
}

#[test]
fn an_import_under_way_keeps_its_packs_until_it_is_given_up() {
    block_on(async {
        let world = World::new().await;
        // The packs are put, and then the manifest fails twice: once for good, once for the clean-up.
        world.faults.fail_from(1, Fault::Before(StoreErrorKind::Unavailable));
        world.session.publish(world.new_version(0, "westeurope")).await.unwrap_err();
        world.faults.heal();
        // It was closed in the catalog first, so what is left of it is garbage at once.
        assert!(world.bytes("regions").await > 0);
        assert!(!world.session.collect().await.unwrap().regions.is_empty());
        assert_eq!(world.bytes("regions").await, 0);

        // An outcome that is not known cleans up nothing: it can be taken up again, and is kept for a week.
        world.faults.fail_from(2, Fault::Before(StoreErrorKind::Unknown));
        let error = world.session.publish(world.new_version(1, "westeurope")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unknown);
        world.faults.heal();
        let kept = world.bytes("regions").await;
        assert!(world.session.collect().await.unwrap().regions.is_empty());
        assert_eq!(world.bytes("regions").await, kept);
        world.clock.advance(Duration::from_secs(8 * 86_400));
        let report = world.session.collect().await.unwrap();
        assert_eq!((report.abandoned_uploads, world.bytes("regions").await), (1, 0));
    });
}

#[test]
fn a_collection_that_was_interrupted_is_finished_by_another() {
    block_on(async {
        let world = World::new().await;
        for number in 0..3 {
            world.publish(number, "westeurope").await;
        }
        world.session.delete(version("1.0.1")).await.unwrap();
        // At each store call in turn it stops, as a process that dies does.
        for skipped in 0..40 {
            world.faults.fail_from(skipped, Fault::Before(StoreErrorKind::Unavailable));
            let _ = world.session.collect().await;
            world.faults.heal();
            world.clock.advance(Duration::from_secs(11 * 60));
            world.deploys(0, "westeurope").await;
            world.deploys(2, "westeurope").await;
        }
        world.session.collect().await.unwrap();
        assert!(world.session.collect().await.unwrap().regions.is_empty());
        world.session.delete(image()).cascade().await.unwrap();
        world.session.collect().await.unwrap();
        assert_eq!(world.bytes("regions").await, 0);
    });
}

#[test]
fn soft_deleted_versions_are_kept_until_their_retention_is_over() {
    block_on(async {
        let world = World::new().await;
        let gallery = Gallery::new(image().gallery().clone(), region("westeurope"));
        let soft = gallery.with_soft_delete_policy(SoftDeletePolicy::enabled());
        world.session.update_gallery(soft).await.unwrap();
        world.publish(0, "westeurope").await;
        world.session.delete(version("1.0.0")).await.unwrap();
        assert!(world.session.collect().await.unwrap().regions.is_empty());
        world.deploys(0, "westeurope").await;
        world.clock.advance(Duration::from_secs(8 * 86_400));
        let report = world.session.collect().await.unwrap();
        assert_eq!((report.purged_versions, world.bytes("regions").await), (1, 0));
        world.session.delete(image()).await.unwrap();
    });
}
