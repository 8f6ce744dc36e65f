//! Zones: a region of three stores loses any one of them, at any moment, and loses nothing and stops nothing.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use std::io::Cursor;

use compute_gallery::disk::{DiskFormat, DiskSource};
use compute_gallery::model::*;
use compute_gallery::publish::NewManagedImage;
use compute_gallery::store::{BlobStore, BlobStoreExt, MemoryStore, StoreErrorKind};
use compute_gallery::testkit::{Fault, Faults, FaultyStore, ManualClock, SeededEntropy};
use compute_gallery::*;
use futures::executor::block_on;

fn region(name: &str) -> Region {
    name.parse().unwrap()
}

fn image() -> ImageDefinitionId {
    let gallery = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/g";
    gallery.parse::<GalleryId>().unwrap().image("web".parse().unwrap())
}

fn version(number: u8) -> ImageVersionId {
    image().version(format!("1.0.{number}").parse().unwrap())
}

/// A disk of 256 KiB, of which a quarter is another for each version.
fn disk(number: u8) -> Vec<u8> {
    let own = |at: usize| if at >= 192 << 10 { number.wrapping_mul(31) } else { 0 };
    (0..256_usize << 10).map(|at| (at / 4096 % 200) as u8 ^ (at % 251) as u8 ^ own(at)).collect()
}

/// A gallery whose home region has three zones, and that has another region with one store.
struct World {
    session: Session,
    zones: [MemoryStore; 3],
    faults: [Faults; 3],
    catalog: MemoryStore,
    far: MemoryStore,
}

impl World {
    async fn new() -> Self {
        let (catalog, far) = (MemoryStore::new(), MemoryStore::new());
        let zones = [(); 3].map(|()| MemoryStore::new());
        let (session, faults) = open(&catalog, &far, &zones, 1, &[]).await;
        let home = region("westeurope");
        session.create_gallery(Gallery::new(image().gallery().clone(), home.clone())).await.unwrap();
        let identifier = ImageIdentifier::new("a", "b", "c").unwrap();
        let definition = ImageDefinition::new(image(), home, OsType::Linux, OsState::Generalized, identifier);
        session.create_image_definition(definition).await.unwrap();
        Self { session, zones, faults, catalog, far }
    }

    /// The same gallery, with an empty store in place of a zone that is lost for good, which the operator adopts.
    async fn with_new_zone(mut self, zone: usize) -> Self {
        if let Some(lost) = self.zones.get_mut(zone) {
            *lost = MemoryStore::new();
        }
        (self.session, self.faults) = open(&self.catalog, &self.far, &self.zones, 2, &[region("westeurope")]).await;
        self
    }

    fn lose(&self, zone: usize, after: u64) {
        let faults = self.faults.get(zone).unwrap();
        faults.fail_from(after, Fault::Before(StoreErrorKind::Unavailable));
    }

    /// Every blob of a zone with its length, where it is not the shared ground of all.
    async fn blobs(&self, zone: usize) -> Vec<(String, u64)> {
        let slots = "slots".parse().unwrap();
        let blobs = self.zones.get(zone).unwrap().list_all(Some(&slots)).await.unwrap();
        blobs.into_iter().map(|blob| (blob.key.to_string(), blob.size)).collect()
    }

    async fn is_degraded(&self, number: u8) -> bool {
        let status = self.session.replication_status(&version(number)).await.unwrap();
        status.summary.iter().any(|region| region.degraded)
    }
}

async fn open(
    catalog: &MemoryStore,
    far: &MemoryStore,
    zones: &[MemoryStore; 3],
    seed: u64,
    adopted: &[Region],
) -> (Session, [Faults; 3]) {
    let faulty = zones.clone().map(FaultyStore::new);
    let faults = [0, 1, 2].map(|zone: usize| faulty.get(zone).unwrap().faults());
    let builder = GalleryService::builder().one_store_for_all_zones().allow_all().catalog_store(catalog.clone());
    let builder = builder.zonal_region_stores(region("westeurope"), faulty).region_store(region("eastus"), far.clone());
    let builder = adopted.iter().fold(builder, |builder, region| builder.adopt_region_store(region.clone()));
    let clock = ManualClock::auto_advancing("2026-01-02T03:04:05Z".parse().unwrap());
    let service = builder.clock(clock).entropy(SeededEntropy::new(seed)).open_or_create().await.unwrap();
    (service.session("test".parse().unwrap()), faults)
}

fn new_version(number: u8, regions: &str, account: StorageAccountType) -> NewImageVersion {
    let profile = PublishingProfile::new(regions.parse().unwrap()).with_storage_account_type(account);
    let source = DiskSource::bytes(disk(number), DiskFormat::Raw);
    NewImageVersion::new(version(number), region("westeurope"), profile, source)
}

async fn deployed(session: &Session, number: u8) -> Result<Vec<u8>> {
    let deployment = session.deploy(version(number), &region("westeurope"));
    Ok(deployment.to_writer(Cursor::new(Vec::new())).await?.1.into_inner())
}

const ZRS: StorageAccountType = StorageAccountType::StandardZrs;
const LRS: StorageAccountType = StorageAccountType::StandardLrs;

#[test]
fn each_zone_has_all_of_a_zone_redundant_version_and_one_zone_all_of_the_others() {
    block_on(async {
        let world = World::new().await;
        world.session.publish(new_version(0, "westeurope=2,eastus=1", ZRS)).await.unwrap();
        let report = world.session.replicate(&version(0)).await.unwrap();
        let (first, second) = (world.blobs(0).await, world.blobs(1).await);
        assert!(first.len() >= 6 && first == second && second == world.blobs(2).await, "{first:?}");
        // What was imported is in all zones of the first replica; the three of the second were filled from there.
        let home = report.regions.first().unwrap();
        let packs: u64 = first.iter().filter(|(key, _)| key.starts_with("slots/0/packs")).map(|(_, bytes)| bytes).sum();
        assert_eq!((home.cross_region_bytes, home.local_bytes), (0, 3 * packs));
        assert!(!world.is_degraded(0).await);

        world.session.publish(new_version(1, "westeurope=1", LRS)).await.unwrap();
        assert!(world.blobs(0).await.len() > first.len());
        assert_eq!((world.blobs(1).await, world.blobs(2).await), (second.clone(), second));
        // A zone-redundant one does not build on what lies in one zone alone.
        world.session.publish(new_version(2, "westeurope=1", ZRS)).await.unwrap();
        world.lose(0, 0);
        assert!(deployed(&world.session, 2).await.unwrap() == disk(2));
    });
}

#[test]
fn a_zone_redundant_version_does_not_build_on_what_is_not_in_all_zones_yet() {
    block_on(async {
        let world = World::new().await;
        let golden: ManagedImageId =
            "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/images/golden".parse().unwrap();
        let source = DiskSource::bytes(disk(0), DiskFormat::Raw);
        let new = NewManagedImage::new(golden.clone(), region("westeurope"), OsType::Linux, source);
        world.session.create_managed_image(new).await.unwrap();
        let profile = PublishingProfile::new("westeurope=1".parse().unwrap()).with_storage_account_type(ZRS);
        let of_image = NewImageVersion::new(version(0), region("westeurope"), profile, golden);
        world.session.publish(of_image).await.unwrap();
        assert!(deployed(&world.session, 0).await.is_err(), "not before it is in all zones");
        world.session.publish(new_version(1, "westeurope=1", ZRS)).await.unwrap();
        world.lose(0, 0);
        assert!(deployed(&world.session, 1).await.unwrap() == disk(1));
        world.faults.iter().for_each(Faults::heal);
        world.session.replicate(&version(0)).await.unwrap();
        world.lose(0, 0);
        assert!(deployed(&world.session, 0).await.unwrap() == disk(0));
    });
}

#[test]
fn a_zone_that_is_lost_while_publishing_replicating_or_deploying_loses_and_stops_nothing() {
    block_on(async {
        let (mut moments, mut degraded, mut acknowledged) = (0, 0, 0);
        for zone in 0..3 {
            let mut after = 0;
            loop {
                let world = World::new().await;
                world.session.publish(new_version(0, "westeurope=2", ZRS)).await.unwrap();
                world.session.replicate(&version(0)).await.unwrap();
                let calls = world.faults.get(zone).unwrap().calls();
                world.lose(zone, after);
                // Nothing of it is refused or fails, whenever the zone goes.
                let published = world.session.publish(new_version(1, "westeurope=2,eastus=1", ZRS)).await.unwrap();
                let report = world.session.replicate(&version(1)).await.unwrap();
                let told = published.degraded || report.regions.iter().any(|region| region.degraded);
                // Whoever publishes and replicates hears of it, if it happened by then.
                let worked = world.faults.get(zone).unwrap().calls() - calls;
                assert_eq!(told, worked > after, "zone {zone} is lost after {after} of {worked} calls");
                for number in [0, 1] {
                    assert!(deployed(&world.session, number).await.unwrap() == disk(number), "zone {zone}, {after}");
                    acknowledged += 1;
                }
                let over = world.faults.get(zone).unwrap().calls() - calls < after;
                moments += 1;
                degraded += usize::from(told);
                assert!(over || world.is_degraded(1).await, "zone {zone} is lost after {after} calls");
                // The zone is there again, empty or with what it had: a scrub fills it, and it can serve alone.
                let world = if after % 2 == 0 {
                    let world = world.with_new_zone(zone).await;
                    assert!(world.is_degraded(0).await && world.is_degraded(1).await);
                    world
                } else {
                    world.faults.iter().for_each(Faults::heal);
                    world
                };
                let report = world.session.scrub(&region("westeurope")).await.unwrap();
                assert_eq!((report.damaged, report.damaged_versions.len()), (0, 0), "{report:?}");
                assert!(!world.is_degraded(0).await && !world.is_degraded(1).await);
                let whole = [0, 1, 2].map(|zone| world.blobs(zone));
                let whole = futures::future::join_all(whole).await;
                assert!(whole.windows(2).all(|pair| pair[0] == pair[1]), "all zones have the same");
                (0..3).filter(|other| *other != zone).for_each(|other| world.lose(other, 0));
                for number in [0, 1] {
                    assert!(deployed(&world.session, number).await.unwrap() == disk(number));
                }
                if over {
                    break;
                }
                after += 1;
            }
        }
        println!(
            "{moments} moments, {degraded} told to be degraded, {acknowledged} versions acknowledged and none lost"
        );
        assert!(moments >= 50, "{moments}");
    });
}

#[test]
fn two_zones_that_are_lost_stop_a_publish_and_lose_no_version() {
    block_on(async {
        let world = World::new().await;
        world.session.publish(new_version(0, "westeurope=1", ZRS)).await.unwrap();
        world.lose(1, 0);
        world.lose(2, 0);
        assert!(deployed(&world.session, 0).await.unwrap() == disk(0));
        let error = world.session.publish(new_version(1, "westeurope=1", ZRS)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("zone"), "{error}");
        world.faults.iter().for_each(Faults::heal);
        world.session.publish(new_version(1, "westeurope=1", ZRS)).await.unwrap();
        assert!(deployed(&world.session, 1).await.unwrap() == disk(1));
    });
}

#[test]
fn a_version_in_one_zone_is_told_to_be_lost_and_mended_from_another_region() {
    block_on(async {
        let world = World::new().await;
        world.session.publish(new_version(0, "westeurope=2,eastus=1", LRS)).await.unwrap();
        world.session.replicate(&version(0)).await.unwrap();
        world.session.publish(new_version(1, "westeurope=1", LRS)).await.unwrap();
        world.lose(0, 0);
        let status = world.session.replication_status(&version(0)).await.unwrap();
        let home = status.summary.first().unwrap();
        assert!(home.degraded && home.details.contains("zone 1"), "{home:?}");
        // Another region serves it meanwhile.
        assert!(deployed(&world.session, 0).await.unwrap() == disk(0));

        let world = world.with_new_zone(0).await;
        let report = world.session.scrub(&region("westeurope")).await.unwrap();
        assert_eq!(report.damaged_versions, [ResourceId::from(version(1))], "no other region has that: {report:?}");
        assert!(report.mended > 0 && !world.is_degraded(0).await);
        for key in world.far.list_all(Some(&"slots".parse().unwrap())).await.unwrap() {
            world.far.delete(&key.key).await.unwrap();
        }
        assert!(deployed(&world.session, 0).await.unwrap() == disk(0));
    });
}

#[test]
fn deleting_everything_empties_every_zone() {
    block_on(async {
        let world = World::new().await;
        for number in 0..3 {
            world.session.publish(new_version(number, "westeurope=2,eastus=1", ZRS)).await.unwrap();
            world.session.replicate(&version(number)).await.unwrap();
        }
        world.session.delete(image().gallery().clone()).cascade().await.unwrap();
        // One zone does not answer: the others are emptied; later that one too.
        world.lose(1, 0);
        world.session.collect().await.unwrap();
        assert!(world.blobs(0).await.is_empty() && world.blobs(2).await.is_empty() && !world.blobs(1).await.is_empty());
        world.faults.iter().for_each(Faults::heal);
        world.session.collect().await.unwrap();
        assert!(world.blobs(1).await.is_empty());
    });
}
