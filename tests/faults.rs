//! Every store call of every operation fails in turn, before and after it took effect: acknowledged changes stay, calling
//! again finishes the work, another service sees the same, and nothing is left behind when all is deleted.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of a test may fail as the test does")]

use std::sync::LazyLock;
use std::time::Duration;

use compute_gallery::access::SharingUpdate;
use compute_gallery::disk::DiskSource;
use compute_gallery::model::*;
use compute_gallery::publish::{NewManagedImage, NewSnapshot};
use compute_gallery::store::{BlobStore, BlobStoreExt, MemoryStore, RetryPolicy, StoreErrorKind};
use compute_gallery::testkit::{Fault, Faults, Sandbox, SeededEntropy, noise, raw, region};
use compute_gallery::*;
use futures::executor::block_on;
use futures::future::BoxFuture;

fn managed_image() -> ManagedImageId {
    "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/images/golden".parse().unwrap()
}

fn snapshot() -> SnapshotId {
    "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/snapshots/golden".parse().unwrap()
}

/// Small disks, of which a part is another for each.
static DISKS: LazyLock<[Vec<u8>; 4]> =
    LazyLock::new(|| [1, 2, 3, 4].map(|seed| [noise(0, 64 << 10), noise(seed, 64 << 10)].concat()));

fn disk(seed: usize) -> &'static [u8] {
    DISKS.get(seed).unwrap()
}

fn source(seed: usize) -> DiskSource {
    raw(disk(seed))
}

struct World {
    sandbox: Sandbox,
    session: Session,
    store: MemoryStore,
    faults: Faults,
}

impl World {
    /// A definition with version 1.0.0 in two regions, and another one, 1.0.1, that is not replicated yet.
    async fn new() -> Self {
        let store = MemoryStore::new();
        let settings = Sandbox::builder().one_store(store.clone()).seed(1).empty();
        // Each fault is to be met, not outlived.
        let sandbox = settings.service(|builder| builder.retries(RetryPolicy::none())).build().await.unwrap();
        let (session, faults) = (sandbox.session().clone(), sandbox.catalog_faults());
        let world = Self { sandbox, session, store, faults };
        let shared = SharingProfile::new(SharingPermissions::Groups);
        let new = Gallery::new(world.gallery(), region("westeurope")).with_sharing_profile(shared);
        world.session.create_gallery(new).await.unwrap();
        world.session.create_image_definition(world.definition("web")).await.unwrap();
        for number in ["1.0.0", "1.0.1"] {
            let new = world.new_version(number, "westeurope=2,eastus", source(world.seed(number)));
            world.session.publish(new).await.unwrap();
        }
        world.session.replicate(world.version("1.0.0")).await.unwrap();
        world
    }

    fn gallery(&self) -> GalleryId {
        self.sandbox.image().gallery().clone()
    }

    fn definition(&self, name: &str) -> ImageDefinition {
        let identifier = ImageIdentifier::new("Contoso", "Web", name).unwrap();
        let id = self.gallery().image(name.parse().unwrap());
        ImageDefinition::new(id, region("westeurope"), OsType::Linux, OsState::Generalized, identifier)
    }

    fn version(&self, number: &str) -> ImageVersionId {
        self.sandbox.version(number)
    }

    fn new_version(&self, number: &str, regions: &str, source: impl Into<ImageSource>) -> NewImageVersion {
        self.sandbox.new_version(number, regions, source)
    }

    /// Which disk a version has.
    fn seed(&self, number: &str) -> usize {
        match number {
            "1.0.0" => 1,
            "1.0.1" => 2,
            _ => 3,
        }
    }

    async fn deploys(&self, sandbox: &Sandbox, number: &str, place: &str) -> std::result::Result<(), String> {
        match sandbox.deployed(number, place).await {
            Ok(bytes) if bytes == disk(self.seed(number)) => Ok(()),
            Ok(_) => Err(format!("{number} in {place} has other bytes")),
            Err(error) => Err(format!("{number} in {place}: {error}")),
        }
    }

    async fn current(&self, number: &str) -> Result<ImageVersion> {
        Ok(ImageVersion::clone(&*self.session.refresh().await?.image_version(self.version(number))?))
    }
}

/// Something that is done to a world.
type Act = for<'a> fn(&'a World) -> BoxFuture<'a, Result<()>>;

struct Scenario {
    name: &'static str,
    /// Made before anything fails.
    prepare: Act,
    act: Act,
    /// The versions that have to be deployable afterwards, and where.
    there: &'static [(&'static str, &'static str)],
    gone: &'static [&'static str],
}

const OLD: &[(&str, &str)] = &[("1.0.0", "westeurope"), ("1.0.0", "eastus")];

/// Nothing more than the world has.
fn nothing(_: &World) -> BoxFuture<'_, Result<()>> {
    Box::pin(async { Ok(()) })
}

fn scenarios() -> Vec<Scenario> {
    let simple = |name, act| Scenario { name, prepare: nothing, act, there: OLD, gone: &[] };
    vec![
        simple("create a gallery", |world| {
            let id = world.gallery().to_string().replace("/galleries/g", "/galleries/other");
            let new = Gallery::new(id.parse().unwrap(), region("westeurope"));
            Box::pin(async move { world.session.create_gallery(new).await.map(drop) })
        }),
        simple("create a definition", |world| {
            Box::pin(async { world.session.create_image_definition(world.definition("other")).await.map(drop) })
        }),
        Scenario {
            there: &[("1.0.0", "westeurope"), ("1.0.0", "eastus"), ("1.0.1", "westeurope"), ("1.0.1", "eastus")],
            ..simple("replicate", |world| {
                Box::pin(async { world.session.replicate(world.version("1.0.1")).await.map(drop) })
            })
        },
        Scenario {
            there: &[("1.0.0", "westeurope"), ("1.0.0", "eastus"), ("2.0.0", "westeurope")],
            ..simple("publish", |world| {
                Box::pin(async {
                    world.session.publish(world.new_version("2.0.0", "westeurope", source(3))).await.map(drop)
                })
            })
        },
        Scenario {
            prepare: |world| {
                let new = NewManagedImage::new(managed_image(), region("westeurope"), OsType::Linux, source(3));
                Box::pin(async { world.session.create_managed_image(new).await.map(drop) })
            },
            there: &[("1.0.0", "westeurope"), ("2.0.0", "westeurope")],
            ..simple("publish from a managed image", |world| {
                let new = world.new_version("2.0.0", "westeurope", managed_image());
                Box::pin(async { world.session.publish(new).await.map(drop) })
            })
        },
        simple("create a snapshot", |world| {
            let (os, generation) = (OsType::Linux, HyperVGeneration::V1);
            let new = NewSnapshot::of_os_disk(snapshot(), region("westeurope"), source(3), os, generation);
            Box::pin(async { world.session.create_snapshot(new).await.map(drop) })
        }),
        Scenario {
            there: &[("1.0.0", "westeurope"), ("1.0.0", "eastus"), ("1.0.0", "northeurope")],
            ..simple("add a region", |world| {
                Box::pin(async {
                    let there = world.current("1.0.0").await?;
                    let regions = "westeurope=2,eastus,northeurope".parse().unwrap();
                    let profile = there.publishing_profile().clone().with_target_regions(regions);
                    world.session.update_image_version(there.with_publishing_profile(profile).unwrap()).await?;
                    world.session.replicate(world.version("1.0.0")).await.map(drop)
                })
            })
        },
        Scenario {
            there: &[("1.0.0", "westeurope")],
            ..simple("remove a region", |world| {
                Box::pin(async {
                    let there = world.current("1.0.0").await?;
                    let profile =
                        there.publishing_profile().clone().with_target_regions("westeurope=1".parse().unwrap());
                    let safety = SafetyProfile::default().with_deletion_of_replicated_locations(true);
                    let fewer = there.with_publishing_profile(profile).unwrap().with_safety_profile(safety);
                    world.session.update_image_version(fewer).await?;
                    world.session.collect().await.map(drop)
                })
            })
        },
        simple("compress", |world| Box::pin(async { world.session.compress().await.map(drop) })),
        Scenario {
            gone: &["1.0.1"],
            ..simple("delete and collect", |world| {
                Box::pin(async {
                    world.session.delete(world.version("1.0.1")).await?;
                    world.session.collect().await.map(drop)
                })
            })
        },
        Scenario {
            prepare: |world| {
                let soft = Gallery::new(world.gallery(), region("westeurope"))
                    .with_sharing_profile(SharingProfile::new(SharingPermissions::Groups))
                    .with_soft_delete_policy(SoftDeletePolicy::enabled());
                Box::pin(async {
                    world.session.update_gallery(soft).await?;
                    world.session.delete(world.version("1.0.0")).await.map(drop)
                })
            },
            ..simple("restore", |world| Box::pin(async { world.session.restore(world.version("1.0.0")).await }))
        },
        Scenario {
            prepare: |world| {
                Box::pin(async {
                    let place = "regions/westeurope/slots/0".parse().unwrap();
                    for blob in world.store.list_all(Some(&place)).await.unwrap() {
                        world.store.delete(&blob.key).await.unwrap();
                    }
                    Ok(())
                })
            },
            ..simple("scrub", |world| Box::pin(async { world.session.scrub("westeurope").await.map(drop) }))
        },
        simple("share", |world| {
            let (subscriptions, tenants) = (Vec::new(), vec!["fabrikam".parse().unwrap()]);
            let update = SharingUpdate::Add { subscriptions, tenants };
            Box::pin(async { world.session.share_gallery(world.gallery(), update).await.map(drop) })
        }),
        simple("deploy", |world| {
            Box::pin(async {
                assert!(world.sandbox.deployed("1.0.0", "eastus").await? == disk(1), "no wrong byte, whatever fails");
                Ok(())
            })
        }),
    ]
}

/// Does it, with the call after `skipped` failing, until it is done.
async fn done_at_last(world: &World, scenario: &Scenario, failing: Option<(u64, Fault)>) {
    if let Some((skipped, fault)) = failing {
        world.faults.fail_call(skipped, fault);
    }
    let mut unknown = false;
    for _ in 0..3 {
        match (scenario.act)(world).await {
            Ok(()) => return,
            // Only an outcome reported as unknown may turn out to have happened.
            Err(error) if unknown && error.kind() == ErrorKind::AlreadyExists => return,
            Err(error) => unknown |= error.kind() == ErrorKind::Unknown,
        }
    }
    panic!("{}, {failing:?}: calling again does not finish it", scenario.name);
}

#[test]
fn every_operation_survives_a_fault_at_every_call() {
    let mut runs = 0;
    for scenario in scenarios() {
        let calls = block_on(async {
            let world = World::new().await;
            (scenario.prepare)(&world).await.unwrap();
            let before = world.faults.calls();
            done_at_last(&world, &scenario, None).await;
            world.faults.calls() - before
        });
        for fault in [Fault::Before(StoreErrorKind::Unavailable), Fault::Before(StoreErrorKind::Unknown), Fault::After]
        {
            for skipped in 0..calls {
                runs += 1;
                block_on(async {
                    let what = format!("{}, call {skipped}, {fault:?}", scenario.name);
                    let world = World::new().await;
                    (scenario.prepare)(&world).await.unwrap();
                    done_at_last(&world, &scenario, Some((skipped, fault))).await;
                    // One that knows nothing but the store sees the same.
                    let another = world.sandbox.reopen().build().await.unwrap();
                    let other = another.session();
                    for (number, place) in scenario.there {
                        for sandbox in [&world.sandbox, &another] {
                            assert_eq!(world.deploys(sandbox, number, place).await, Ok(()), "{what}");
                        }
                    }
                    for number in scenario.gone {
                        assert!(other.view().image_version(world.version(number)).is_err(), "{what}");
                    }
                    // And nothing stays behind.
                    other.share_gallery(world.gallery(), SharingUpdate::Reset).await.unwrap();
                    other.delete(world.gallery()).cascade().bypass_soft_delete().await.unwrap();
                    for id in [ResourceId::from(managed_image()), snapshot().into()] {
                        let _ = other.delete(id).await;
                    }
                    world.sandbox.clock().advance(Duration::from_secs(8 * 86_400));
                    other.collect().await.unwrap();
                    let mut left = world.store.list_all(Some(&"regions".parse().unwrap())).await.unwrap();
                    left.retain(|blob| blob.key.as_str().contains("/slots/"));
                    assert!(left.is_empty(), "{what}: {left:?}");
                });
            }
        }
    }
    eprintln!("{runs} runs");
    assert!(runs > 150, "the scenarios reach the store: {runs}");
}

/// A put whose answer was lost may land late; the next attempt's `Full` was reported as if nothing had happened.
#[test]
fn a_refusal_after_an_unclear_answer_is_unclear() {
    block_on(async {
        let world = World::new().await;
        // Put, look, put again.
        world.faults.fail_call(0, Fault::Before(StoreErrorKind::Unknown));
        world.faults.fail_call(2, Fault::Before(StoreErrorKind::Full));
        let error = world.session.create_image_definition(world.definition("other")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unknown, "{error}");
        world.session.create_image_definition(world.definition("other")).await.unwrap();
    });
}

/// A gallery's life, one operation after another.
fn life() -> [Act; 8] {
    [
        |world| Box::pin(async { world.session.replicate(world.version("1.0.1")).await.map(drop) }),
        |world| publish(world, "2.0.0"),
        |world| Box::pin(async { world.session.replicate(world.version("2.0.0")).await.map(drop) }),
        |world| Box::pin(async { world.session.delete(world.version("1.0.1")).await.map(drop) }),
        |world| Box::pin(async { world.session.collect().await.map(drop) }),
        |world| publish(world, "2.0.1"),
        |world| {
            Box::pin(async {
                let there = world.current("2.0.1").await?;
                let regions = "westeurope=2,eastus,northeurope=2".parse().unwrap();
                let profile = there.publishing_profile().clone().with_target_regions(regions);
                world.session.update_image_version(there.with_publishing_profile(profile).unwrap()).await.map(drop)
            })
        },
        |world| Box::pin(async { world.session.replicate(world.version("2.0.1")).await.map(drop) }),
    ]
}

fn publish<'a>(world: &'a World, number: &'a str) -> BoxFuture<'a, Result<()>> {
    let new = world.new_version(number, "westeurope=2,eastus", source(world.seed(number)));
    Box::pin(async { world.session.publish(new).await.map(drop) })
}

/// The acknowledged versions and their regions after the first `done` operations.
fn acknowledged(done: usize) -> Vec<(&'static str, &'static str)> {
    let mut there = OLD.to_vec();
    if (1..4).contains(&done) {
        there.extend([("1.0.1", "westeurope"), ("1.0.1", "eastus")]);
    }
    if done >= 3 {
        there.extend([("2.0.0", "westeurope"), ("2.0.0", "eastus")]);
    }
    if done >= 8 {
        there.extend([("2.0.1", "westeurope"), ("2.0.1", "eastus"), ("2.0.1", "northeurope")]);
    }
    there
}

/// At 50 moments of a gallery's life, chosen by chance, `strike` makes something fail from that call on; `heal` mends it when
/// the first operation has failed. Nothing that was acknowledged may be gone, in between or afterwards.
fn strikes_at_random_moments(name: &str, kind: ErrorKind, strike: fn(&World, u64), heal: fn(&World)) {
    const SEED: u64 = 1;
    let calls = block_on(async {
        let world = World::new().await;
        let before = world.faults.calls();
        for act in life() {
            act(&world).await.unwrap();
        }
        world.faults.calls() - before
    });
    let (entropy, mut failed, mut looked) = (SeededEntropy::new(SEED), 0, 0);
    for _ in 0..50 {
        let moment = entropy.below(calls as usize) as u64;
        block_on(async {
            let world = World::new().await;
            strike(&world, moment);
            for (done, act) in (0..).zip(life()) {
                if let Err(error) = act(&world).await {
                    let what = format!("seed {SEED}, {name} at call {moment}, operation {done}: {error}");
                    assert_eq!(error.kind(), kind, "{what}");
                    failed += 1;
                    for mended in [false, true] {
                        for (number, place) in acknowledged(done) {
                            assert_eq!(world.deploys(&world.sandbox, number, place).await, Ok(()), "{what}");
                            looked += 1;
                        }
                        if !mended {
                            heal(&world);
                        }
                    }
                    if let Err(again) = act(&world).await {
                        panic!("{what}; and when it is mended: {again}");
                    }
                }
            }
            for (number, place) in acknowledged(usize::MAX) {
                assert_eq!(world.deploys(&world.sandbox, number, place).await, Ok(()), "{name} at call {moment}");
            }
            world.session.share_gallery(world.gallery(), SharingUpdate::Reset).await.unwrap();
            world.session.delete(world.gallery()).cascade().await.unwrap();
            // Another collection takes over after ten minutes what an interrupted one had condemned, and an import that was
            // left open is over after a week.
            world.sandbox.clock().advance(Duration::from_secs(8 * 86_400));
            world.session.collect().await.unwrap();
            let mut left = world.store.list_all(Some(&"regions".parse().unwrap())).await.unwrap();
            left.retain(|blob| blob.key.as_str().contains("/slots/"));
            assert!(left.is_empty(), "{name} at call {moment}: {left:?}");
        });
    }
    println!(
        "{name} at 50 of {calls} calls: {failed} operations failed, {looked} deployments meanwhile, 0 versions lost"
    );
    assert!(failed > 40, "the moments are within the gallery's life: {failed}");
}

#[test]
fn a_store_that_is_full_at_any_moment_loses_nothing() {
    let fill = |world: &World, moment| world.faults.fill_from(moment);
    strikes_at_random_moments("full", ErrorKind::StorageFull, fill, |world| world.faults.heal());
}
