//! The state that all tasks of a simulation share: stores, time, chance, and the trace.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use compute_gallery::host::{Clock, Deadlines, Workers};
use compute_gallery::model::Region;
use compute_gallery::store::*;
use compute_gallery::testkit::{ManualClock, SeededEntropy};
use compute_gallery::{GalleryService, GalleryServiceBuilder};

use crate::clock::WrongClock;
use crate::executor::at_once;
use crate::model::Model;
use crate::neighbour::{self, Expected};
use crate::network::{Network, Remote};

pub const CATALOG: &str = "catalog";
pub const REGIONS: [&str; 3] = ["westeurope", "eastus", "northeurope"];
/// The stores of the first region, if it has zones.
const ZONES: [&str; 3] = [REGIONS[0], "westeurope-2", "westeurope-3"];
pub const PROCESSES: usize = 3;

/// How often callers do each thing in `client`, relative to the others.
const USUAL: [usize; 11] = [20, 6, 18, 16, 6, 10, 3, 9, 9, 5, 3];

/// The lines of the trace that a failure shows.
const SHOWN: usize = 80;

/// What a run has, by its seed.
#[derive(Debug)]
pub struct Conditions {
    /// How often this run's callers do each thing, and with how many versions: some runs are more crowded than others.
    pub likings: Vec<usize>,
    pub versions: usize,
    /// The gallery keeps what is deleted for a day.
    pub keeps_deleted: bool,
    /// The stores have times. Else clocks cannot be compared with anything.
    pub stores_have_times: bool,
    /// Calls that fail for the moment are made again.
    retries: bool,
    /// Calls have deadlines, and some get no answer.
    pub hangs: bool,
    /// The first region has three zones.
    is_zonal: bool,
    pub power_fails: bool,
    /// A newer build enables a feature at the end that this build does not know.
    pub ends_read_only: bool,
    /// Other galleries share a store with ours.
    has_neighbours: bool,
}

pub struct World {
    chance: SeededEntropy,
    pub conditions: Conditions,
    trace: Mutex<Trace>,
    pub network: Mutex<Network>,
    pub model: Mutex<Model>,
    stores: BTreeMap<&'static str, MemoryStore>,
    /// The stores' time.
    truth: ManualClock,
    clocks: [WrongClock; PROCESSES + neighbour::NAMES.len()],
    /// What the neighbours were told that they have.
    pub neighbours: BTreeMap<&'static str, neighbour::Expected>,
    /// Services that have been opened.
    opened: Mutex<Vec<(usize, GalleryService)>>,
    counts: Mutex<BTreeMap<String, u64>>,
    new_calls: AtomicUsize,
    read_only: AtomicBool,
    ending: AtomicBool,
}

#[derive(Default)]
struct Trace {
    hash: DefaultHasher,
    is_printed: bool,
    tail: VecDeque<String>,
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Conditions {
    fn new(chance: &SeededEntropy) -> Self {
        let one_in = |count| chance.below(count) == 0;
        let likings = USUAL.iter().map(|usual| usual * [1, 1, 5][chance.below(3)]).collect();
        Self {
            likings,
            versions: [1, 2, 5][chance.below(3)],
            keeps_deleted: one_in(3),
            stores_have_times: one_in(2),
            retries: one_in(3),
            hangs: one_in(3),
            is_zonal: one_in(3),
            power_fails: one_in(2),
            ends_read_only: one_in(8),
            has_neighbours: one_in(3),
        }
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        let start: DateTime<Utc> = "2026-01-02T03:04:05Z".parse().unwrap();
        let chance = SeededEntropy::new(seed);
        let conditions = Conditions::new(&chance);
        let told = conditions.stores_have_times;
        let truth = ManualClock::new(start);
        let truth = if told { truth.compared_with_stores() } else { truth };
        let store = |place| {
            let store = MemoryStore::new();
            (place, if told { store.with_clock(truth.clone()) } else { store })
        };
        let stores = REGIONS.into_iter().chain(ZONES).chain([CATALOG, neighbour::CONTESTED]).map(store).collect();
        let clocks = std::array::from_fn(|_| WrongClock::new(truth.clone()));
        let world = Self {
            chance,
            conditions,
            trace: Mutex::default(),
            network: Mutex::default(),
            model: Mutex::default(),
            stores,
            truth,
            clocks,
            neighbours: neighbour::NAMES.map(|name| (name, Expected::default())).into(),
            opened: Mutex::default(),
            counts: Mutex::default(),
            new_calls: AtomicUsize::new(0),
            read_only: AtomicBool::new(false),
            ending: AtomicBool::new(false),
        };
        lock(&world.trace).is_printed = std::env::var_os("SIMULATION_TRACE").is_some();
        world.say(format!("-- {:?}", world.conditions));
        (0..world.processes()).for_each(|process| world.set_clock(process));
        let mut network = lock(&world.network);
        // Some runs see no fault at all: there, nothing but the callers' own doings excuses a failure.
        (network.rate, network.hangs) = ([0, 3, 10, 40][world.below(4)], world.conditions.hangs);
        drop(network);
        world
    }

    /// How many processes there are, of all galleries.
    pub fn processes(&self) -> usize {
        if self.conditions.has_neighbours { self.clocks.len() } else { PROCESSES }
    }

    pub fn below(&self, end: usize) -> usize {
        self.chance.below(end)
    }

    pub fn one_in(&self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub fn of<'a, T>(&self, things: &'a [T]) -> &'a T {
        &things[self.below(things.len())]
    }

    /// A caller's next operation, as an index into [`likings`](Conditions::likings).
    pub fn any_liking(&self) -> usize {
        let likings = &self.conditions.likings;
        let mut chosen = self.below(likings.iter().sum());
        likings.iter().take_while(|liking| chosen.checked_sub(**liking).map(|rest| chosen = rest).is_some()).count()
    }

    pub fn say(&self, line: String) {
        let mut trace = lock(&self.trace);
        line.hash(&mut trace.hash);
        if trace.is_printed {
            eprintln!("{line}");
        }
        if trace.tail.len() == SHOWN {
            trace.tail.pop_front();
        }
        trace.tail.push_back(line);
    }

    /// A hash of everything that has happened.
    pub fn trace_hash(&self) -> u64 {
        lock(&self.trace).hash.finish()
    }

    pub fn trace_tail(&self) -> String {
        Vec::from(lock(&self.trace).tail.clone()).join("\n")
    }

    pub fn calls(&self) -> u64 {
        lock(&self.network).calls
    }

    /// The faults that the task whose turn it is has met, and those of its process.
    pub fn faults_met(&self) -> (u64, u64) {
        let network = lock(&self.network);
        let (process, task) = network.turn;
        let of =
            |faults: &BTreeMap<usize, u64>, whose| faults.get(&whose).copied().unwrap_or(0) + network.faults_of_all;
        (of(&network.faults_of_task, task), of(&network.faults_of_process, process))
    }

    /// A task stands still, which is a fault where its calls have deadlines.
    pub fn excuse(&self, process: usize, task: usize) {
        if self.conditions.hangs {
            let mut network = lock(&self.network);
            *network.faults_of_process.entry(process).or_default() += 1;
            *network.faults_of_task.entry(task).or_default() += 1;
        }
    }

    pub fn goes_on(&self, process: usize, task: usize) {
        lock(&self.network).turn = (process, task);
    }

    pub fn pass_time(&self, time: Duration) {
        self.truth.advance(time);
        if self.conditions.hangs && time > Duration::from_secs(5) {
            lock(&self.network).faults_of_all += 1;
        }
    }

    /// The stores' time, if they have one.
    pub fn store_time(&self) -> Option<DateTime<Utc>> {
        self.conditions.stores_have_times.then(|| self.truth.now())
    }

    /// Sets a process's clock: nearly right in most cases, else hours before or behind, or a year if nothing tells it the time.
    pub fn set_clock(&self, process: usize) {
        let minutes = match (self.conditions.stores_have_times, self.below(4)) {
            (true, 0) => TimeDelta::hours(self.below(24) as i64 - 12),
            (true, _) => TimeDelta::zero(),
            (false, 0 | 1) => TimeDelta::hours(self.below(24) as i64 - 12),
            (false, _) => TimeDelta::days(*self.of(&[-365, -364, -335, 0, 1, 30, 365])),
        };
        // Up to nine minutes before or behind.
        let ahead = minutes + TimeDelta::milliseconds(self.below(18 * 60_000) as i64) - TimeDelta::minutes(9);
        self.say(format!("-- the clock of process {process} is {ahead} ahead"));
        self.clocks[process].set_ahead(ahead);
        self.count("clock that is set");
        if self.conditions.hangs || self.conditions.retries {
            lock(&self.network).faults_of_all += 1;
        }
    }

    /// A store goes away for some calls; of a region with zones one or two do, not always at once.
    pub fn outage(&self) {
        let regions = REGIONS.iter().map(|region| self.zones(region));
        let together: Vec<&[&str]> = regions.chain([&[CATALOG][..], &[neighbour::CONTESTED]]).collect();
        let together = *self.of(&together);
        for _ in 0..if together.len() > 1 { 1 + self.below(2) } else { 1 } {
            let place = *self.of(together);
            let mut network = lock(&self.network);
            if network.rate > 0 {
                let until = network.calls + 20 + self.below(150) as u64;
                network.outages.insert(place, until);
                drop(network);
                self.say(format!("-- {place} is away until call {until}"));
            }
        }
    }

    /// From here on nothing fails and no operation begins. Clocks are set where something can tell that they are wrong.
    pub fn end(&self) {
        self.say("-- the faults stop".to_owned());
        if self.conditions.stores_have_times {
            self.clocks.iter().for_each(|clock| clock.set_ahead(TimeDelta::zero()));
        }
        self.ending.store(true, Ordering::Relaxed);
        let mut network = lock(&self.network);
        (network.rate, network.outages) = (0, BTreeMap::new());
    }

    /// From here on this build may write nothing.
    pub fn becomes_read_only(&self) {
        self.read_only.store(true, Ordering::Relaxed);
    }

    pub fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Relaxed)
    }

    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// The number of a call that begins.
    pub fn new_call(&self) -> usize {
        self.new_calls.fetch_add(1, Ordering::Relaxed)
    }

    /// Something has happened: a fault, or the success of an operation.
    pub fn count(&self, what: &str) {
        *lock(&self.counts).entry(what.to_owned()).or_default() += 1;
    }

    pub fn counts(&self) -> BTreeMap<String, u64> {
        lock(&self.counts).clone()
    }

    pub fn opened(&self, process: usize, service: GalleryService) {
        lock(&self.opened).push((process, service));
    }

    pub fn take_opened(&self) -> Vec<(usize, GalleryService)> {
        std::mem::take(&mut lock(&self.opened))
    }

    pub fn store(&self, place: &str) -> &MemoryStore {
        &self.stores[place]
    }

    /// The stores of a region: one, or one for each zone.
    pub fn zones(&self, region: &str) -> &'static [&'static str] {
        let at = REGIONS.iter().position(|one| *one == region).unwrap();
        if at == 0 && self.conditions.is_zonal { &ZONES } else { &REGIONS[at..=at] }
    }

    /// The region that a store is of.
    pub fn region_of(&self, place: &str) -> Region {
        let region = if ZONES.contains(&place) { REGIONS[0] } else { place };
        region.parse().unwrap()
    }

    /// Every store of every region.
    pub fn places(&self) -> impl Iterator<Item = &'static str> {
        REGIONS.into_iter().flat_map(|region| self.zones(region)).copied()
    }

    /// Changes in the stores since the last check.
    pub fn effects(&self) -> Vec<(&'static str, BlobKey)> {
        std::mem::take(&mut lock(&self.network).effects)
    }

    /// Who changes anything in a region's store owns it, and nobody changes anything of another's catalog.
    pub fn is_its_own(&self, remote: &Remote, key: &BlobKey) {
        let Remote { place, catalog: (catalog_place, name), .. } = remote;
        let segments: Vec<&str> = key.segments().collect();
        let is_own = match segments.as_slice() {
            ["owner"] | [_, "regions", _, "owner"] => true,
            [whose, "catalog", ..] if *place == REGIONS[0] => whose == name,
            ["catalog", ..] => *place == CATALOG && name.is_empty(),
            below => {
                let prefix = match below {
                    [whose, "regions", region, ..] => format!("{whose}/regions/{region}/"),
                    _ => String::new(),
                };
                let owner =
                    self.owner(place, &prefix).unwrap_or_else(|| panic!("{place} has no owner, and gets {key}"));
                self.catalog_id(catalog_place, name).is_some_and(|id| owner["catalog"] == *id)
            }
        };
        assert!(is_own, "{key} of {place} is changed by a process of another gallery, {name:?}");
    }

    /// What the owner blob says of the store that begins at `prefix`.
    pub fn owner(&self, place: &str, prefix: &str) -> Option<serde_json::Value> {
        let bytes = at_once(self.store(place).find(&format!("{prefix}owner").parse().unwrap())).unwrap()?;
        Some(serde_json::from_slice(&bytes).unwrap())
    }

    /// The id of the catalog of the gallery `name`, or of ours, which has no name.
    pub fn catalog_id(&self, place: &str, name: &str) -> Option<String> {
        let key = if name.is_empty() { "catalog/identity".to_owned() } else { format!("{name}/catalog/identity") };
        let bytes = at_once(self.store(place).find(&key.parse().unwrap())).unwrap()?;
        let line = bytes.split(|byte| *byte == b'\n').next()?;
        let identity: serde_json::Value = serde_json::from_slice(line).unwrap();
        identity["catalog"].as_str().map(str::to_owned)
    }

    /// A service whose regions' stores are what `at` says of each place.
    pub fn mounted<S: BlobStore>(
        &self,
        catalog: impl BlobStore,
        at: impl Fn(&'static str) -> S,
    ) -> GalleryServiceBuilder {
        let mut builder = GalleryService::builder().allow_all().one_store_for_all_zones().catalog_store(catalog);
        for region in REGIONS {
            builder = match *self.zones(region) {
                [one, two, three] => builder.zonal_region_stores(region, [one, two, three].map(&at)),
                _ => builder.region_store(region, at(region)),
            };
        }
        builder
    }

    /// A service over the same stores that meets no fault and whose calls do not count.
    pub async fn observer(&self) -> GalleryService {
        self.observer_with_clock().await.0
    }

    /// The same with its clock.
    pub async fn observer_with_clock(&self) -> (GalleryService, ManualClock) {
        let builder = self.mounted(self.store(CATALOG).clone(), |place| self.store(place).clone());
        let clock = self.observing_clock();
        (self.as_observer(builder, &clock).open_or_create().await.unwrap(), clock)
    }

    /// The settings of a service that meets no fault.
    pub fn as_observer(&self, builder: GalleryServiceBuilder, clock: &ManualClock) -> GalleryServiceBuilder {
        let entropy = SeededEntropy::new(self.chance.number());
        builder.clock(clock.clone()).entropy(entropy).workers(Workers::inline())
    }

    /// The settings of a process's service.
    pub fn as_process(&self, process: usize, builder: GalleryServiceBuilder) -> GalleryServiceBuilder {
        let builder = builder.clock(self.clocks[process].clone()).workers(Workers::inline());
        let builder = builder.entropy(SeededEntropy::new(self.chance.number()));
        // Faults are to be met.
        let retries = if self.conditions.retries { RetryPolicy::default() } else { RetryPolicy::none() };
        builder.retries(retries).deadlines(match self.conditions.hangs {
            true => Deadlines::default()
                .with_call(Duration::from_secs(30))
                .with_call_per_mebibyte(Duration::ZERO)
                .with_commit(Duration::from_secs(120))
                .with_zone(Duration::from_secs(10)),
            // None is to come of the time that passes at once.
            false => Deadlines::none(),
        })
    }

    pub fn observing_clock(&self) -> ManualClock {
        let clock = ManualClock::auto_advancing(self.truth.now());
        if self.truth.is_virtual() { clock } else { clock.compared_with_stores() }
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("World")
    }
}

/// A service of a process of our gallery.
pub fn builder(world: &Arc<World>, process: usize) -> GalleryServiceBuilder {
    let remote = |place| Remote { world: world.clone(), place, catalog: (CATALOG, "") };
    world.as_process(process, world.mounted(remote(CATALOG), remote))
}
