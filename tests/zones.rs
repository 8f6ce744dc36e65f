//! Zones: a region of three stores loses any one of them, at any moment, and loses nothing and stops nothing.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use compute_gallery::model::*;
use compute_gallery::publish::NewManagedImage;
use compute_gallery::replicate::ReplicationReport;
use compute_gallery::store::{BlobStore, BlobStoreExt, MemoryStore, StoreErrorKind};
use compute_gallery::testkit::{Fault, Sandbox, noise, raw, region};
use compute_gallery::upkeep::ScrubReport;
use compute_gallery::*;
use futures::executor::block_on;

/// A disk of 256 KiB, of which a quarter is another for each version.
fn disk(number: u8) -> Vec<u8> {
    [noise(0, 192 << 10), noise(1 + u64::from(number), 64 << 10)].concat()
}

/// A gallery whose home region has three zones, and that has another region with one store.
struct World(Sandbox);

impl World {
    async fn new() -> Self {
        let sandbox = Sandbox::builder().regions(["westeurope", "eastus"]).zones("westeurope");
        Self(sandbox.service(|builder| builder.one_store_for_all_zones()).build().await.unwrap())
    }

    /// The same gallery, with an empty store in place of a zone that is lost permanently, which the operator adopts.
    async fn with_new_zone(self, zone: usize) -> Self {
        let zones = [0, 1, 2].map(|each| match each == zone {
            true => std::sync::Arc::new(MemoryStore::new()),
            false => self.0.zones("westeurope").get(each).unwrap().inner().clone(),
        });
        let reopened = self.0.reopen().zone_stores("westeurope", zones);
        Self(reopened.service(|builder| builder.adopt_region_store("westeurope")).build().await.unwrap())
    }

    fn version(&self, number: u8) -> ImageVersionId {
        self.0.version(&format!("1.0.{number}"))
    }

    fn new_version(&self, number: u8, regions: &str, account: StorageAccountType) -> NewImageVersion {
        let profile = PublishingProfile::new(regions.parse().unwrap()).with_storage_account_type(account);
        NewImageVersion::new(self.version(number), region("westeurope"), profile, raw(disk(number)))
    }

    async fn publish(&self, number: u8, regions: &str, account: StorageAccountType) -> Result<Published<ImageVersion>> {
        self.0.session().publish(self.new_version(number, regions, account)).await
    }

    async fn replicate(&self, number: u8) -> ReplicationReport {
        self.0.session().replicate(self.version(number)).await.unwrap()
    }

    async fn deployed(&self, number: u8) -> Result<Vec<u8>> {
        self.0.deployed(&format!("1.0.{number}"), "westeurope").await
    }

    async fn scrub(&self) -> ScrubReport {
        self.0.session().scrub("westeurope").await.unwrap()
    }

    fn lose(&self, zone: usize, after: u64) {
        let zone = self.0.zones("westeurope").get(zone).unwrap();
        zone.faults().fail_from(after, Fault::Before(StoreErrorKind::Unavailable));
    }

    fn heal(&self) {
        self.0.zones("westeurope").iter().for_each(|zone| zone.faults().heal());
    }

    /// The store calls that a zone has had.
    fn calls(&self, zone: usize) -> u64 {
        self.0.zones("westeurope").get(zone).unwrap().faults().calls()
    }

    /// Every blob of a zone with its length, except those that say whose store it is.
    async fn blobs(&self, zone: usize) -> Vec<(String, u64)> {
        let slots = "slots".parse().unwrap();
        let blobs = self.0.zones("westeurope").get(zone).unwrap().inner().list_all(Some(&slots)).await.unwrap();
        blobs.into_iter().map(|blob| (blob.key.to_string(), blob.size)).collect()
    }

    async fn is_degraded(&self, number: u8) -> bool {
        let status = self.0.session().replication_status(&self.version(number)).await.unwrap();
        status.summary.iter().any(|region| region.degraded)
    }
}

const ZRS: StorageAccountType = StorageAccountType::StandardZrs;
const LRS: StorageAccountType = StorageAccountType::StandardLrs;

#[test]
fn each_zone_has_all_of_a_zone_redundant_version_and_one_zone_all_of_the_others() {
    block_on(async {
        let world = World::new().await;
        world.publish(0, "westeurope=2,eastus=1", ZRS).await.unwrap();
        let report = world.replicate(0).await;
        let (first, second) = (world.blobs(0).await, world.blobs(1).await);
        assert!(first.len() >= 4 && first == second && second == world.blobs(2).await, "{first:?}");
        // Imported packs are in all zones of the first replica; the three of the second were filled from there.
        let home = report.regions.first().unwrap();
        let packs: u64 = first.iter().filter(|(key, _)| key.starts_with("slots/0/packs")).map(|(_, bytes)| bytes).sum();
        assert_eq!((home.cross_region_bytes, home.local_bytes), (0, 3 * packs));
        assert!(!world.is_degraded(0).await);

        world.publish(1, "westeurope=1", LRS).await.unwrap();
        assert!(world.blobs(0).await.len() > first.len());
        assert_eq!((world.blobs(1).await, world.blobs(2).await), (second.clone(), second));
        // A zone-redundant version does not build on content of one zone alone.
        world.publish(2, "westeurope=1", ZRS).await.unwrap();
        world.lose(0, 0);
        assert!(world.deployed(2).await.unwrap() == disk(2));
    });
}

#[test]
fn a_zone_redundant_version_does_not_build_on_what_is_not_in_all_zones_yet() {
    block_on(async {
        let world = World::new().await;
        let golden: ManagedImageId =
            "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/images/golden".parse().unwrap();
        let new = NewManagedImage::new(golden.clone(), region("westeurope"), OsType::Linux, raw(disk(0)));
        world.0.session().create_managed_image(new).await.unwrap();
        let profile = PublishingProfile::new("westeurope=1".parse().unwrap()).with_storage_account_type(ZRS);
        let of_image = NewImageVersion::new(world.version(0), region("westeurope"), profile, golden);
        world.0.session().publish(of_image).await.unwrap();
        assert!(world.deployed(0).await.is_err(), "not before it is in all zones");
        world.publish(1, "westeurope=1", ZRS).await.unwrap();
        world.lose(0, 0);
        assert!(world.deployed(1).await.unwrap() == disk(1));
        world.heal();
        world.replicate(0).await;
        world.lose(0, 0);
        assert!(world.deployed(0).await.unwrap() == disk(0));
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
                world.publish(0, "westeurope=2", ZRS).await.unwrap();
                world.replicate(0).await;
                let calls = world.calls(zone);
                world.lose(zone, after);
                // Nothing of it is refused or fails, whenever the zone goes.
                let published = world.publish(1, "westeurope=2,eastus=1", ZRS).await.unwrap();
                let report = world.replicate(1).await;
                let told = published.degraded || report.regions.iter().any(|region| region.degraded);
                // Publishing and replicating report it, if it happened by then.
                let worked = world.calls(zone) - calls;
                assert_eq!(told, worked > after, "zone {zone} is lost after {after} of {worked} calls");
                for number in [0, 1] {
                    assert!(world.deployed(number).await.unwrap() == disk(number), "zone {zone}, {after}");
                    acknowledged += 1;
                }
                let over = world.calls(zone) - calls < after;
                moments += 1;
                degraded += usize::from(told);
                assert!(over || world.is_degraded(1).await, "zone {zone} is lost after {after} calls");
                // The zone is there again, empty or with what it had: a scrub fills it, and it can serve alone.
                let world = if after % 2 == 0 {
                    let world = world.with_new_zone(zone).await;
                    assert!(world.is_degraded(0).await && world.is_degraded(1).await);
                    world
                } else {
                    world.heal();
                    world
                };
                let report = world.scrub().await;
                assert_eq!((report.damaged, report.damaged_versions.len()), (0, 0), "{report:?}");
                assert!(!world.is_degraded(0).await && !world.is_degraded(1).await);
                let whole = [0, 1, 2].map(|zone| world.blobs(zone));
                let whole = futures::future::join_all(whole).await;
                assert!(whole.windows(2).all(|pair| pair[0] == pair[1]), "all zones have the same");
                (0..3).filter(|other| *other != zone).for_each(|other| world.lose(other, 0));
                for number in [0, 1] {
                    assert!(world.deployed(number).await.unwrap() == disk(number));
                }
                if over {
                    break;
                }
                after += 1;
            }
        }
        println!(
            "{moments} moments, {degraded} reported as degraded, {acknowledged} versions acknowledged and none lost"
        );
        assert!(moments >= 50, "{moments}");
    });
}

#[test]
fn two_zones_that_are_lost_stop_a_publish_and_lose_no_version() {
    block_on(async {
        let world = World::new().await;
        world.publish(0, "westeurope=1", ZRS).await.unwrap();
        world.lose(1, 0);
        world.lose(2, 0);
        assert!(world.deployed(0).await.unwrap() == disk(0));
        let error = world.publish(1, "westeurope=1", ZRS).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("zone"), "{error}");
        world.heal();
        world.publish(1, "westeurope=1", ZRS).await.unwrap();
        assert!(world.deployed(1).await.unwrap() == disk(1));
    });
}

#[test]
fn a_version_in_a_lost_zone_is_reported_and_mended_from_another_region() {
    block_on(async {
        let world = World::new().await;
        world.publish(0, "westeurope=2,eastus=1", LRS).await.unwrap();
        world.replicate(0).await;
        world.publish(1, "westeurope=1", LRS).await.unwrap();
        world.lose(0, 0);
        let status = world.0.session().replication_status(&world.version(0)).await.unwrap();
        let home = status.summary.first().unwrap();
        assert!(home.degraded && home.details.contains("zone 1"), "{home:?}");
        // Another region serves it meanwhile.
        assert!(world.deployed(0).await.unwrap() == disk(0));

        let world = world.with_new_zone(0).await;
        let report = world.scrub().await;
        assert_eq!(
            report.damaged_versions,
            [ResourceId::from(world.version(1))],
            "no other region has that: {report:?}"
        );
        assert!(report.mended > 0 && !world.is_degraded(0).await);
        let far = world.0.store("eastus");
        for key in far.list_all(Some(&"slots".parse().unwrap())).await.unwrap() {
            far.delete(&key.key).await.unwrap();
        }
        assert!(world.deployed(0).await.unwrap() == disk(0));
    });
}

/// Two zones were away in turn: what a version has itself and what it shares with the one before are whole in two zones each, and together in one.
/// What is kept in one zone alone needs all of it there.
#[test]
fn a_version_in_one_zone_does_not_build_on_what_missed_that_zone() {
    block_on(async {
        let world = World::new().await;
        let session = world.0.session();
        // The stores are claimed while all zones are there.
        world.publish(9, "westeurope=1", ZRS).await.unwrap();
        session.delete(world.version(9)).await.unwrap();
        for (number, away) in [(0, 0), (1, 1)] {
            world.lose(away, 0);
            assert!(world.publish(number, "westeurope=1", ZRS).await.unwrap().degraded);
            world.heal();
        }
        world.publish(2, "westeurope=1", LRS).await.unwrap();
        assert!(world.deployed(2).await.unwrap() == disk(2), "it is whole in its zone");

        let copy = || {
            let profile = PublishingProfile::new("westeurope=1".parse().unwrap()).with_storage_account_type(LRS);
            let new = NewImageVersion::new(world.version(3), region("westeurope"), profile, world.version(1));
            session.publish(new)
        };
        let refused = copy().await.unwrap_err();
        assert!(refused.kind() == ErrorKind::Unavailable && refused.to_string().contains("scrub"), "{refused}");
        world.scrub().await;
        copy().await.unwrap();
        for number in [0, 1] {
            session.delete(world.version(number)).await.unwrap();
        }
        session.collect().await.unwrap();
        for (number, of) in [(2, 2), (3, 1)] {
            assert!(world.deployed(number).await.unwrap() == disk(of), "{number}");
        }
    });
}

#[test]
fn deleting_everything_empties_every_zone() {
    block_on(async {
        let world = World::new().await;
        for number in 0..3 {
            world.publish(number, "westeurope=2,eastus=1", ZRS).await.unwrap();
            world.replicate(number).await;
        }
        world.0.session().delete(world.0.image().gallery()).cascade().await.unwrap();
        // One zone does not answer: the others are emptied; later that one too.
        world.lose(1, 0);
        world.0.session().collect().await.unwrap();
        assert!(world.blobs(0).await.is_empty() && world.blobs(2).await.is_empty() && !world.blobs(1).await.is_empty());
        world.heal();
        world.0.session().collect().await.unwrap();
        assert!(world.blobs(1).await.is_empty());
    });
}
