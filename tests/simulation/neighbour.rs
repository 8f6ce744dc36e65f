//! Neighbours: two more galleries, each with a catalog and regions below a prefix of its own in our first region's store, and both
//! with one more store that only one of them can have. Each does a little of everything, and never touches what is another's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use compute_gallery::store::*;
use compute_gallery::testkit::ManualClock;
use compute_gallery::*;

use crate::client::{DISKS, create_definition, gallery, new_version, version};
use crate::network::Remote;
use crate::world::{PROCESSES, REGIONS, World, lock};

/// Their names, which are the prefixes of what they have in our store. One begins as the other.
pub const NAMES: [&str; 2] = ["neighbour", "neighbour-2"];

/// The store that both have as a region.
pub const CONTESTED: &str = "contested";
const CONTESTED_REGION: &str = "northeurope";

const VERSIONS: usize = 2;

/// The disks that each version may have by what its owner was told; `None` is no version.
pub type Expected = Mutex<BTreeMap<usize, BTreeSet<Option<usize>>>>;

/// The number of a neighbour's process.
pub fn process(name: &str) -> usize {
    PROCESSES + NAMES.iter().position(|one| *one == name).unwrap()
}

/// The settings of a service of theirs, on stores as `at` says. A store that is the other's is not mounted.
pub fn mounted<S: BlobStore>(name: &str, is_contested: bool, at: impl Fn(&'static str) -> S) -> GalleryServiceBuilder {
    let own = Prefixed::new(at(REGIONS[0]), name.parse().unwrap());
    let builder = GalleryService::builder().allow_all().store(own);
    if is_contested { builder.region_store(CONTESTED_REGION, at(CONTESTED)) } else { builder }
}

/// Opens the gallery, and does one thing after another until the end.
pub async fn live(world: Arc<World>, name: &'static str) {
    let remote = |place| Remote { world: world.clone(), place, catalog: (REGIONS[0], name) };
    let mut is_contested = true;
    let service = loop {
        let builder = world.as_process(process(name), mounted(name, is_contested, remote));
        match builder.open_or_create().await {
            Ok(service) => break service,
            // If the store is the other's, an operator takes it out of the settings.
            Err(_) => is_contested = !is_contested,
        }
    };
    let session = service.session(name.parse().unwrap());
    while !world.is_ending() {
        if create_definition(&session, false).await.is_ok() {
            break;
        }
    }
    while !world.is_ending() {
        let number = world.below(VERSIONS);
        match world.below(10) {
            0..4 => publish(&world, name, &session, number).await,
            4 | 5 => drop(session.replicate(version(number)).await),
            6 => deploy(&world, name, &session, number).await,
            7 => delete(&world, name, &session, number).await,
            _ => drop(session.collect().await),
        }
    }
}

/// What a version may be, if a change to `new` begins now.
fn begins(expected: &Expected, number: usize, new: Option<usize>) -> BTreeSet<Option<usize>> {
    let mut expected = lock(expected);
    let possible = expected.entry(number).or_insert_with(|| [None].into());
    let before = possible.clone();
    possible.insert(new);
    before
}

/// What it may be after an answer: the change, or what was before; both if that is unknown.
fn ends<T>(
    expected: &Expected,
    number: usize,
    outcome: &Result<T>,
    before: BTreeSet<Option<usize>>,
    new: Option<usize>,
) {
    let possible = match outcome {
        Ok(_) => [new].into(),
        Err(error) if error.kind() == ErrorKind::Unknown => return,
        Err(_) => before,
    };
    lock(expected).insert(number, possible);
}

async fn publish(world: &World, name: &str, session: &Session, number: usize) {
    let expected = &world.neighbours[name];
    let (home, targets) = *world.of(&[
        ("westeurope", "westeurope=1"),
        ("westeurope", "westeurope=2,northeurope=1"),
        ("northeurope", "northeurope=1,westeurope=1"),
    ]);
    let disk_number = world.below(DISKS.len());
    let new = new_version(number, home, targets, disk_number);
    world.say(format!("{name}: publish {number} in {home}"));
    let before = begins(expected, number, Some(disk_number));
    let outcome = session.publish(new).await;
    world.say(format!("{name}: published {number}: {:?}", outcome.as_ref().map(drop).map_err(Error::kind)));
    ends(expected, number, &outcome, before, Some(disk_number));
    if outcome.is_ok() {
        world.count("neighbour's publish");
    }
}

async fn delete(world: &World, name: &str, session: &Session, number: usize) {
    let before = begins(&world.neighbours[name], number, None);
    let outcome = session.delete(version(number)).await;
    world.say(format!("{name}: deleted {number}: {:?}", outcome.as_ref().map(drop).map_err(Error::kind)));
    ends(&world.neighbours[name], number, &outcome, before, None);
}

async fn deploy(world: &World, name: &str, session: &Session, number: usize) {
    if let Ok((_, bytes)) = session.deploy(version(number), "westeurope").to_writer(Vec::new()).await {
        is_expected(world, name, number, &bytes);
        world.count("neighbour's deploy");
    }
}

fn is_expected(world: &World, name: &str, number: usize, bytes: &[u8]) {
    let expected = lock(&world.neighbours[name]);
    let possible = expected.get(&number).into_iter().flatten().flatten();
    assert!(possible.into_iter().any(|disk| DISKS[*disk].0 == bytes), "{name} has wrong bytes of {number}");
}

/// Mounted as the catalog has claimed its stores: with the one that both want, or without.
async fn opened(world: &World, name: &str, clock: &ManualClock) -> Session {
    for is_contested in [true, false] {
        let builder = mounted(name, is_contested, |place| world.store(place).clone());
        if let Ok(service) = world.as_observer(builder, clock).open_or_create().await {
            let session = service.session("last".parse().unwrap());
            if session.collect().await.is_ok() {
                return session;
            }
        }
    }
    panic!("{name} cannot be opened");
}

/// Whether it owns the store that both want.
fn has_contested(world: &World, name: &str) -> bool {
    let id = world.catalog_id(REGIONS[0], name);
    world.owner(CONTESTED, "").is_some_and(|owner| id.is_some_and(|id| owner["catalog"] == *id))
}

/// Everything that a neighbour was told it has is there, and when it is deleted nothing is left of it.
pub async fn is_intact(world: &World, name: &str) {
    let clock = world.observing_clock();
    let session = opened(world, name, &clock).await;
    create_definition(&session, false).await.unwrap();
    let expected = lock(&world.neighbours[name]).clone();
    let view = session.refresh().await.unwrap();
    for (number, possible) in expected {
        let Ok(there) = view.image_version(version(number)) else {
            assert!(possible.contains(&None), "{name} has lost {number}: {possible:?}");
            continue;
        };
        // Where the contested store was not had, not all of it can be complete.
        let _ = session.replicate(version(number)).await;
        let (_, bytes) = session.deploy(version(number), there.location()).to_writer(Vec::new()).await.unwrap();
        is_expected(world, name, number, &bytes);
    }
    session.delete(gallery()).cascade().await.unwrap();
    for _ in 0..2 {
        let time = Duration::from_secs(400 * 86_400);
        clock.advance(time);
        world.pass_time(time);
    }
    let mut collections = 0;
    while !is_empty(world, name).await {
        collections += 1;
        assert!(collections <= 3, "garbage of {name} is left");
        session.collect().await.unwrap();
    }
}

async fn is_empty(world: &World, name: &str) -> bool {
    let regions: BlobKey = format!("{name}/regions").parse().unwrap();
    let blobs = world.store(REGIONS[0]).list_all(Some(&regions)).await.unwrap();
    let slots = "slots".parse().unwrap();
    let contested = world.store(CONTESTED).list_all(Some(&slots)).await.unwrap();
    !blobs.iter().any(|blob| blob.key.as_str().contains("/slots/"))
        && (contested.is_empty() || !has_contested(world, name))
}
