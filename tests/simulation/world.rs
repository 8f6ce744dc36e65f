//! The state that all tasks of a simulation share: stores behind a network, time, chance, and the trace.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use compute_gallery::host::Clock;
use compute_gallery::model::Region;
use compute_gallery::store::*;
use compute_gallery::testkit::{ManualClock, SeededEntropy, YieldingStore};
use compute_gallery::{GalleryService, GalleryServiceBuilder};

use crate::model::Model;

pub const CATALOG: &str = "catalog";
static LOG: LazyLock<BlobKey> = LazyLock::new(|| "catalog/log".parse().unwrap());
static CHECKPOINTS: LazyLock<BlobKey> = LazyLock::new(|| "catalog/checkpoints".parse().unwrap());

/// The clocks begin a year before the truth, and are then set.
const YEAR: TimeDelta = TimeDelta::days(365);

pub const REGIONS: [&str; 3] = ["westeurope", "eastus", "northeurope"];
pub const PROCESSES: usize = 3;

/// How often callers do each thing in `client`, relative to the others.
const USUAL: [usize; 10] = [20, 6, 18, 16, 6, 10, 3, 9, 9, 3];

/// The lines of the trace that a failure shows.
const SHOWN: usize = 80;

pub struct World {
    chance: SeededEntropy,
    /// How often this run's callers do each thing, and with how many versions: some runs are more crowded than others.
    pub likings: Vec<usize>,
    pub versions: usize,
    /// Whether calls that fail for the moment are made again.
    retries: bool,
    trace: Mutex<Trace>,
    network: Mutex<Network>,
    pub model: Mutex<Model>,
    stores: BTreeMap<&'static str, MemoryStore>,
    /// The stores' time.
    truth: ManualClock,
    clocks: [ManualClock; PROCESSES],
    /// Services that have been opened.
    opened: Mutex<Vec<(usize, GalleryService)>>,
    succeeded: Mutex<BTreeMap<String, u64>>,
    new_calls: AtomicUsize,
    ending: AtomicBool,
}

#[derive(Default)]
struct Trace {
    hash: DefaultHasher,
    is_printed: bool,
    tail: VecDeque<String>,
}

/// The fate of requests on their way.
#[derive(Default)]
struct Network {
    calls: u64,
    faults: u64,
    /// Calls of a thousand that fail.
    rate: usize,
    /// Stores that are away, and until which call.
    outages: BTreeMap<&'static str, u64>,
    /// Changes that arrive after their callers gave up, and at which call.
    late: Vec<(u64, &'static str, Change)>,
    /// The process and the task whose turn it is.
    turn: (usize, usize),
    faults_of_task: BTreeMap<usize, u64>,
    faults_of_process: BTreeMap<usize, u64>,
    /// Changes that took effect and were not looked at yet.
    effects: Vec<(&'static str, BlobKey)>,
}

#[derive(Clone, Debug)]
enum Change {
    Put(BlobKey, Bytes, PutMode),
    Copy(BlobKey, BlobKey, PutMode),
    Delete(BlobKey),
}

enum Fate {
    Served,
    Refused(StoreErrorKind),
    /// It happens, and the answer is lost.
    Unanswered,
    /// It happens later, after its caller got `Unknown`.
    Late,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub fn new(seed: u64) -> Self {
        let start: DateTime<Utc> = "2026-01-02T03:04:05Z".parse().unwrap();
        // In some runs the stores tell the time, and clocks are nearly right; in others they don't, and clocks may be wrong by
        // up to a year.
        let told = seed % 4 < 2;
        let clock = |start: DateTime<Utc>| {
            let clock = ManualClock::new(start);
            if told { clock.compared_with_stores() } else { clock }
        };
        let truth = clock(start);
        let store = |place| {
            let store = MemoryStore::new();
            (place, if told { store.with_clock(truth.clone()) } else { store })
        };
        let stores = REGIONS.into_iter().chain([CATALOG]).map(store).collect();
        let mut world = Self {
            chance: SeededEntropy::new(seed),
            likings: Vec::new(),
            versions: 1,
            retries: seed.is_multiple_of(3),
            trace: Mutex::default(),
            network: Mutex::default(),
            model: Mutex::default(),
            stores,
            truth,
            clocks: std::array::from_fn(|_| clock(start - YEAR)),
            opened: Mutex::default(),
            succeeded: Mutex::default(),
            new_calls: AtomicUsize::new(0),
            ending: AtomicBool::new(false),
        };
        lock(&world.trace).is_printed = std::env::var_os("SIMULATION_TRACE").is_some();
        for clock in &world.clocks {
            let wrong = match told {
                // Up to nine minutes before or behind.
                true => YEAR + TimeDelta::milliseconds(world.below(18 * 60_000) as i64) - TimeDelta::minutes(9),
                false => {
                    let days = *world.of(&[0, 0, 1, 30, 365, 366, 395, 730]);
                    TimeDelta::days(days) + TimeDelta::milliseconds(world.below(20 * 60_000) as i64)
                }
            };
            clock.advance(wrong.to_std().unwrap());
        }
        world.likings = USUAL.iter().map(|usual| usual * world.of(&[1, 1, 5])).collect();
        world.versions = *world.of(&[1, 2, 5]);
        // Some runs see no fault at all: there, nothing but the callers' own doings excuses a failure.
        lock(&world.network).rate = [0, 3, 10, 40][world.below(4)];
        world
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

    /// A caller's next operation, as an index into [`likings`](Self::likings).
    pub fn any_liking(&self) -> usize {
        let mut chosen = self.below(self.likings.iter().sum());
        self.likings
            .iter()
            .take_while(|liking| chosen.checked_sub(**liking).map(|rest| chosen = rest).is_some())
            .count()
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

    pub fn faults(&self) -> u64 {
        lock(&self.network).faults
    }

    /// The faults that the task whose turn it is has met, and those of its process.
    pub fn faults_met(&self) -> (u64, u64) {
        let network = lock(&self.network);
        let (process, task) = network.turn;
        let of = |faults: &BTreeMap<usize, u64>, whose| faults.get(&whose).copied().unwrap_or(0);
        (of(&network.faults_of_task, task), of(&network.faults_of_process, process))
    }

    pub fn goes_on(&self, process: usize, task: usize) {
        lock(&self.network).turn = (process, task);
    }

    pub fn pass_time(&self, time: Duration) {
        self.clocks.iter().chain([&self.truth]).for_each(|clock| clock.advance(time));
    }

    /// A store goes away for some calls.
    pub fn outage(&self, place: &'static str, calls: u64) {
        let mut network = lock(&self.network);
        if network.rate > 0 {
            let until = network.calls + calls;
            network.outages.insert(place, until);
            drop(network);
            self.say(format!("-- {place} is away until call {until}"));
        }
    }

    /// From here on nothing fails and no operation begins.
    pub fn end(&self) {
        self.say("-- the faults stop".to_owned());
        self.ending.store(true, Ordering::Relaxed);
        let mut network = lock(&self.network);
        (network.rate, network.outages) = (0, BTreeMap::new());
    }

    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// The number of a call that begins.
    pub fn new_call(&self) -> usize {
        self.new_calls.fetch_add(1, Ordering::Relaxed)
    }

    pub fn succeeded(&self, what: &str) {
        *lock(&self.succeeded).entry(what.to_owned()).or_default() += 1;
    }

    pub fn all_succeeded(&self) -> BTreeMap<String, u64> {
        lock(&self.succeeded).clone()
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

    /// Lets late changes arrive whose time has come, or all of them.
    pub fn deliver_late(&self, all: bool) {
        let (due, later) = {
            let mut network = lock(&self.network);
            let (late, now) = (std::mem::take(&mut network.late), network.calls);
            late.into_iter().partition::<Vec<_>, _>(|(at, ..)| all || *at <= now)
        };
        lock(&self.network).late = later;
        for (_, place, change) in due {
            let outcome = futures::executor::block_on(change.apply(self.store(place)));
            self.say(format!("-- late in {place}: {change}: {}", if outcome.is_ok() { "done" } else { "refused" }));
            self.took_effect(place, &change);
        }
    }

    fn took_effect(&self, place: &'static str, change: &Change) {
        let (Change::Put(key, ..) | Change::Copy(_, key, _) | Change::Delete(key)) = change;
        lock(&self.network).effects.push((place, key.clone()));
    }

    /// Changes in the stores since the last check.
    pub fn effects(&self) -> Vec<(&'static str, BlobKey)> {
        std::mem::take(&mut lock(&self.network).effects)
    }

    /// A service over the same stores that meets no fault and whose calls do not count.
    pub async fn observer(&self) -> GalleryService {
        self.observer_with_clock().await.0
    }

    /// The same with its clock.
    pub async fn observer_with_clock(&self) -> (GalleryService, ManualClock) {
        let mut builder = GalleryService::builder().allow_all().catalog_store(self.stores[CATALOG].clone());
        for region in REGIONS {
            builder = builder.region_store(region.parse::<Region>().unwrap(), self.stores[region].clone());
        }
        let clock = ManualClock::auto_advancing(self.truth.now());
        let clock = if self.truth.is_virtual() { clock } else { clock.compared_with_stores() };
        let builder = builder.clock(clock.clone()).entropy(SeededEntropy::new(self.chance.number()));
        let builder = builder.workers(compute_gallery::host::Workers::inline());
        (builder.open_or_create().await.unwrap(), clock)
    }

    /// An operator opens the stores with the wrong catalog, mounts them in the wrong places, or has lost some of the log. Each is
    /// refused, or is harmless, and nothing changes in the regions.
    pub fn mistake(&self) {
        futures::executor::block_on(async {
            let before = self.regions().await;
            match self.below(4) {
                0 => {
                    self.say("-- an operator makes a new catalog over the regions".to_owned());
                    let made = self.operator(MemoryStore::new(), false).create().await;
                    assert!(made.is_err() || before.is_empty(), "another catalog's stores are taken");
                }
                1 => {
                    self.say("-- an operator swaps two regions".to_owned());
                    if before.iter().any(|(place, key, _)| *place != REGIONS[2] && key.as_str() == "owner") {
                        let opened = self.operator(self.copy_of_catalog().await, true).open().await;
                        assert!(opened.is_err(), "two regions are swapped");
                    }
                }
                2 => {
                    let copy = self.copy_of_catalog().await;
                    let log = copy.list_all(Some(&LOG)).await.unwrap();
                    let Some(lost) = log.get(self.below(log.len().max(1))) else { return };
                    copy.delete(&lost.key).await.unwrap();
                    self.say(format!("-- an operator opens a log that has lost {}", lost.key));
                    let checkpoint = copy.list(Some(&CHECKPOINTS), None, 1).await.unwrap().blobs;
                    let number = |key: &BlobKey| key.as_str().rsplit('/').next().unwrap().parse::<u64>().unwrap();
                    let from = checkpoint.first().map_or(0, |blob| u64::MAX - number(&blob.key));
                    let is_hole = number(&lost.key) > from && Some(lost) != log.last();
                    let opened = self.operator(copy, false).open().await;
                    assert!(opened.is_err() || !is_hole, "a hole is taken for the end: {} of {}", lost.key, log.len());
                }
                _ => {
                    let copy = self.copy_of_catalog().await;
                    let log = copy.list_all(Some(&LOG)).await.unwrap();
                    let kept = self.below(log.len() + 1);
                    for blob in log.iter().skip(kept) {
                        copy.delete(&blob.key).await.unwrap();
                    }
                    for blob in copy.list_all(Some(&CHECKPOINTS)).await.unwrap() {
                        copy.delete(&blob.key).await.unwrap();
                    }
                    self.say(format!("-- an operator restores a backup with {kept} of {} commits", log.len()));
                    let witnesses = before.iter().filter(|(_, key, _)| key.as_str().starts_with("witnesses/"));
                    let seen = witnesses.filter_map(|(_, key, _)| {
                        let inverted = key.as_str().split('/').nth(1)?.split('-').next()?;
                        Some(u64::MAX - inverted.parse::<u64>().ok()?)
                    });
                    let newest = seen.max().unwrap_or(0);
                    let opened = self.operator(copy, false).open().await;
                    assert_eq!(opened.is_ok(), newest <= kept as u64, "the stores have seen {newest}, {kept} are kept");
                }
            }
            assert_eq!(self.regions().await, before, "the regions are as they were");
        });
    }

    /// Every blob of every region.
    async fn regions(&self) -> Vec<(&'static str, BlobKey, Bytes)> {
        let mut all = Vec::new();
        for region in REGIONS {
            for blob in self.stores[region].list_all(None).await.unwrap() {
                let bytes = self.stores[region].get(&blob.key, None).await.unwrap();
                all.push((region, blob.key, bytes));
            }
        }
        all
    }

    async fn copy_of_catalog(&self) -> MemoryStore {
        let copy = MemoryStore::new();
        for blob in self.stores[CATALOG].list_all(None).await.unwrap() {
            let bytes = self.stores[CATALOG].get(&blob.key, None).await.unwrap();
            copy.put(&blob.key, bytes, PutMode::Create).await.unwrap();
        }
        copy
    }

    fn operator(&self, catalog: MemoryStore, swapped: bool) -> GalleryServiceBuilder {
        let mut builder = GalleryService::builder().allow_all().catalog_store(catalog);
        let [first, second, third] = REGIONS;
        let mounted = if swapped { [second, first, third] } else { REGIONS };
        for (region, place) in REGIONS.into_iter().zip(mounted) {
            builder = builder.region_store(region.parse::<Region>().unwrap(), self.stores[place].clone());
        }
        let clock = ManualClock::auto_advancing(self.truth.now());
        builder
            .clock(clock)
            .entropy(SeededEntropy::new(self.chance.number()))
            .workers(compute_gallery::host::Workers::inline())
    }

    fn fate(&self, place: &'static str, operation: &str) -> Fate {
        let is_change = matches!(operation, "put" | "copy" | "delete");
        let mut network = lock(&self.network);
        network.calls += 1;
        let is_away = network.outages.get(place).is_some_and(|until| network.calls < *until);
        if !is_away && self.below(1000) >= network.rate {
            return Fate::Served;
        }
        let (process, task) = network.turn;
        network.faults += 1;
        *network.faults_of_process.entry(process).or_default() += 1;
        *network.faults_of_task.entry(task).or_default() += 1;
        match self.below(6) {
            _ if is_away => Fate::Refused(StoreErrorKind::Unavailable),
            0 | 1 if is_change => Fate::Unanswered,
            2 if is_change => Fate::Refused(StoreErrorKind::Unknown),
            3 if is_change && operation != "delete" => Fate::Refused(StoreErrorKind::Full),
            4 if is_change => Fate::Late,
            _ if is_change => Fate::Refused(StoreErrorKind::Unavailable),
            0 => Fate::Unanswered,
            _ => Fate::Refused(StoreErrorKind::Unavailable),
        }
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("World")
    }
}

/// A store as a process reaches it: over a network that fails.
#[derive(Clone, Debug)]
struct Remote {
    world: Arc<World>,
    place: &'static str,
}

/// The settings of a process's service.
pub fn builder(world: &Arc<World>, process: usize) -> GalleryServiceBuilder {
    let remote = |place| YieldingStore::new(Remote { world: world.clone(), place });
    let mut builder = GalleryService::builder().allow_all().catalog_store(remote(CATALOG));
    for region in REGIONS {
        builder = builder.region_store(region, remote(region));
    }
    let builder = builder.clock(world.clocks[process].clone()).entropy(SeededEntropy::new(world.chance.number()));
    // Faults are to be met, and none is to come of the clock's leaps.
    let retries = if world.retries { RetryPolicy::default() } else { RetryPolicy::none() };
    let builder = builder.retries(retries).deadlines(compute_gallery::host::Deadlines::none());
    builder.workers(compute_gallery::host::Workers::inline())
}

impl Change {
    async fn apply(&self, store: &MemoryStore) -> StoreResult<()> {
        match self.clone() {
            Self::Put(key, bytes, mode) => store.put(&key, bytes, mode).await,
            Self::Copy(from, to, mode) => store.copy(&from, &to, mode).await,
            Self::Delete(key) => store.delete(&key).await,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put(key, bytes, mode) => write!(f, "put {key} ({} bytes, {mode:?})", bytes.len()),
            Self::Copy(from, to, _) => write!(f, "copy {from} to {to}"),
            Self::Delete(key) => write!(f, "delete {key}"),
        }
    }
}

impl Remote {
    fn store(&self) -> &MemoryStore {
        self.world.store(self.place)
    }

    fn answer<T>(&self, what: &dyn fmt::Display, answer: StoreResult<T>) -> StoreResult<T> {
        let said = answer.as_ref().map_or_else(|error| format!("{:?}", error.kind()), |_| "done".to_owned());
        let turn = lock(&self.world.network).turn;
        self.world.say(format!("   process {} task {}: {}: {what}: {said}", turn.0, turn.1, self.place));
        answer
    }

    async fn read<T>(
        &self,
        operation: &'static str,
        key: Option<&BlobKey>,
        work: impl Future<Output = StoreResult<T>>,
    ) -> StoreResult<T> {
        let refused = |kind| Err(StoreError::new(kind, operation, key));
        let answer = match self.world.fate(self.place, operation) {
            Fate::Served => work.await,
            Fate::Refused(kind) => refused(kind),
            Fate::Unanswered | Fate::Late => work.await.and(refused(StoreErrorKind::Unavailable)),
        };
        let what = format!("{operation} {}", key.map_or("everything", |key| key.as_str()));
        self.answer(&what, answer)
    }

    async fn change(&self, operation: &'static str, key: &BlobKey, change: Change) -> StoreResult<()> {
        let unknown = || Err(StoreError::new(StoreErrorKind::Unknown, operation, Some(key)));
        let answer = match self.world.fate(self.place, operation) {
            Fate::Served => change.apply(self.store()).await,
            Fate::Refused(kind) => Err(StoreError::new(kind, operation, Some(key))),
            Fate::Unanswered => change.apply(self.store()).await.and(unknown()),
            Fate::Late => {
                let delay = 1 + self.world.below(200) as u64;
                let mut network = lock(&self.world.network);
                let at = network.calls + delay;
                network.late.push((at, self.place, change.clone()));
                unknown()
            }
        };
        self.world.took_effect(self.place, &change);
        self.answer(&change, answer)
    }
}

/// The provided methods are made of these, and so have their faults.
#[async_trait]
impl BlobStore for Remote {
    async fn put(&self, key: &BlobKey, bytes: Bytes, mode: PutMode) -> StoreResult<()> {
        self.change("put", key, Change::Put(key.clone(), bytes, mode)).await
    }

    async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> StoreResult<Bytes> {
        self.read("get", Some(key), self.store().get(key, range)).await
    }

    async fn head(&self, key: &BlobKey) -> StoreResult<BlobMeta> {
        self.read("head", Some(key), self.store().head(key)).await
    }

    async fn delete(&self, key: &BlobKey) -> StoreResult<()> {
        self.change("delete", key, Change::Delete(key.clone())).await
    }

    async fn list(&self, under: Option<&BlobKey>, after: Option<&BlobKey>, limit: usize) -> StoreResult<Page> {
        self.read("list", under, self.store().list(under, after, limit)).await
    }

    async fn copy(&self, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        self.change("copy", to, Change::Copy(from.clone(), to.clone(), mode)).await
    }

    async fn persist(&self, under: &BlobKey) -> StoreResult<()> {
        self.read("persist", Some(under), self.store().persist(under)).await
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default().with_remounts(self.store().capabilities().can_be_remounted())
    }
}
