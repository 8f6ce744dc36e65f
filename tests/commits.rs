//! Commits on a store that is 30 ms away, in virtual time: what they cost, and that nobody starves.
//!
//! `cargo test --features testkit --test commits -- --nocapture` prints the figures, and the seeds of the runs with jitter.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper of a test may fail as the test does")]

use std::future::{Future, pending};
use std::ops::Range;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use compute_gallery::host::{Clock, Deadlines};
use compute_gallery::model::*;
use compute_gallery::store::*;
use compute_gallery::testkit::{ManualClock, Sandbox, SandboxBuilder, SeededEntropy, region};
use compute_gallery::{ErrorKind, Result};
use futures::future::{join_all, try_join_all};

const ROUND_TRIP: Duration = Duration::from_millis(30);

/// A call, when it began, and when it was answered.
#[derive(Clone, Debug)]
struct Call {
    operation: &'static str,
    key: String,
    at: DateTime<Utc>,
}

impl Call {
    fn is_in(&self, folder: &str) -> bool {
        self.key.starts_with(&format!("catalog/{folder}"))
    }
}

/// A bucket that is 30 ms away: half of that there, half back, with or without jitter. Its blobs are durable as soon as they are
/// seen, so that `persist` makes no request.
#[derive(Clone, Debug)]
struct Distant {
    inner: MemoryStore,
    clock: ManualClock,
    jitter: Option<Arc<SeededEntropy>>,
    can_be_remounted: bool,
    calls: Arc<Mutex<Vec<Call>>>,
    /// What becomes of calls below a folder.
    trouble: Arc<Mutex<Option<(&'static str, Trouble)>>>,
}

#[derive(Clone, Copy, Debug)]
enum Trouble {
    Hangs,
    Fails,
    /// Reads are made in time, and answered late.
    ReadsLate,
}

impl Distant {
    fn new() -> Self {
        let clock = ManualClock::new("2026-01-02T03:04:05Z".parse().unwrap());
        let (calls, trouble) = (Arc::default(), Arc::default());
        Self { inner: MemoryStore::new(), clock, jitter: None, can_be_remounted: false, calls, trouble }
    }

    /// Each way takes between half and twice the time.
    fn with_jitter(seed: u64) -> Self {
        Self { jitter: Some(Arc::new(SeededEntropy::new(seed))), ..Self::new() }
    }

    async fn way(&self) {
        let factor =
            self.jitter.as_ref().map_or(1.0, |jitter| 0.5 + 1.5 * (jitter.number() >> 11) as f64 / 2_f64.powi(53));
        self.clock.sleep((ROUND_TRIP / 2).mul_f64(factor)).await;
    }

    async fn call<T>(
        &self,
        operation: &'static str,
        key: Option<&BlobKey>,
        work: impl Future<Output = StoreResult<T>>,
    ) -> StoreResult<T> {
        let (at, name) = (self.clock.now(), key.map_or_else(String::new, ToString::to_string));
        let call = Call { operation, key: name, at };
        let trouble = *self.trouble.lock().unwrap();
        let trouble = trouble.filter(|(folder, _)| call.is_in(folder)).map(|(_, trouble)| trouble);
        self.calls.lock().unwrap().push(call);
        self.way().await;
        match trouble {
            Some(Trouble::Hangs) => pending::<()>().await,
            Some(Trouble::Fails) => return Err(StoreError::new(StoreErrorKind::PermissionDenied, operation, key)),
            Some(Trouble::ReadsLate) | None => {}
        }
        let answer = work.await;
        if matches!((trouble, operation), (Some(Trouble::ReadsLate), "get")) {
            self.clock.sleep(ROUND_TRIP * 10).await;
        }
        self.way().await;
        answer
    }

    fn trouble(&self, folder: &'static str, trouble: Trouble) {
        *self.trouble.lock().unwrap() = Some((folder, trouble));
    }

    fn heal(&self) {
        *self.trouble.lock().unwrap() = None;
    }

    /// The calls since the last time.
    fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    /// Runs `work`, and moves the clock on each time that all of it waits.
    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        struct Woken(AtomicBool);
        impl Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let (woken, mut work) = (Arc::new(Woken(AtomicBool::new(false))), pin!(work));
        let waker = Waker::from(woken.clone());
        loop {
            if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(&waker)) {
                return done;
            }
            while !woken.0.swap(false, Ordering::SeqCst) {
                self.clock.advance_to_next().unwrap();
            }
        }
    }

    /// Runs `work`, and returns the time that it took.
    async fn timed<T>(&self, work: impl Future<Output = T>) -> (Duration, T) {
        let begun = self.clock.now();
        let done = work.await;
        (self.clock.now().signed_duration_since(begun).to_std().unwrap(), done)
    }

    fn settings(&self) -> SandboxBuilder {
        Sandbox::builder().regions(["westeurope"]).clock(self.clock.clone()).catalog_store(self.clone())
    }

    /// So many services, of which each has a gallery to change.
    async fn services(&self, count: usize) -> Vec<Sandbox> {
        let first = self.settings().build().await.unwrap();
        try_join_all((0..count).map(|at| first.session().create_gallery(gallery(at)))).await.unwrap();
        let others = join_all((1..count).map(|_| first.reopen().clock(self.clock.clone()).build())).await;
        [first].into_iter().chain(others.into_iter().map(Result::unwrap)).collect()
    }
}

#[async_trait]
impl BlobStore for Distant {
    async fn put(&self, key: &BlobKey, bytes: Bytes, mode: PutMode) -> StoreResult<()> {
        self.call("put", Some(key), self.inner.put(key, bytes, mode)).await
    }

    async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> StoreResult<Bytes> {
        self.call("get", Some(key), self.inner.get(key, range)).await
    }

    async fn head(&self, key: &BlobKey) -> StoreResult<BlobMeta> {
        self.call("head", Some(key), self.inner.head(key)).await
    }

    async fn delete(&self, key: &BlobKey) -> StoreResult<()> {
        self.call("delete", Some(key), self.inner.delete(key)).await
    }

    async fn list(&self, under: Option<&BlobKey>, after: Option<&BlobKey>, limit: usize) -> StoreResult<Page> {
        self.call("list", under, self.inner.list(under, after, limit)).await
    }

    async fn copy(&self, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        self.call("copy", Some(to), self.inner.copy(from, to, mode)).await
    }

    async fn persist(&self, under: &BlobKey) -> StoreResult<()> {
        self.inner.persist(under).await
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default().with_remounts(self.can_be_remounted)
    }
}

fn gallery(number: usize) -> Gallery {
    let id = format!("/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/g{number}");
    Gallery::new(id.parse().unwrap(), region("westeurope"))
}

/// Changes the gallery of a service.
async fn change(service: &Sandbox, number: usize, what: String) -> Result<()> {
    service.session().update_gallery(gallery(number).with_description(what)).await.map(drop)
}

/// So many changes one after the other; returns how long each took.
async fn changes(store: &Distant, service: &Sandbox, number: usize, count: usize) -> Vec<Duration> {
    let mut times = Vec::new();
    for round in 0..count {
        let (time, done) = store.timed(change(service, number, format!("round {round}"))).await;
        assert!(done.is_ok(), "service {number} in round {round}: {done:?}");
        times.push(time);
    }
    times
}

/// What a race cost.
#[derive(Debug)]
struct Race {
    slowest: Duration,
    median: Duration,
    /// The calls of a commit.
    calls: f64,
    /// Commits a second.
    rate: f64,
}

impl Race {
    fn ratio(&self) -> f64 {
        self.slowest.as_secs_f64() / self.median.as_secs_f64()
    }
}

/// Lets services make changes one after the other, each as fast as it can.
fn race(store: &Distant, services: usize, count: usize) -> Race {
    store.run(async {
        let all = store.services(services).await;
        store.take_calls();
        let each = all.iter().enumerate().map(|(number, service)| changes(store, service, number, count));
        let (time, times) = store.timed(join_all(each)).await;
        let mut times: Vec<Duration> = times.into_iter().flatten().collect();
        times.sort();
        let commits = times.len() as f64;
        Race {
            slowest: times[times.len() - 1],
            median: times[times.len() / 2],
            calls: store.take_calls().len() as f64 / commits,
            rate: commits / time.as_secs_f64(),
        }
    })
}

/// How many seeds a test with jitter takes: `COMMIT_SEEDS=200` for more.
fn seeds(usual: u64) -> Range<u64> {
    0..std::env::var("COMMIT_SEEDS").map_or(usual, |seeds| seeds.parse().unwrap())
}

#[test]
fn a_quiet_log_takes_one_request_for_a_commit() {
    let store = Distant::new();
    store.run(async {
        let service = &store.services(1).await[0];
        store.take_calls();
        for round in 0..30 {
            store.clock.sleep(Duration::from_secs(60)).await;
            let (time, done) = store.timed(change(service, 0, format!("round {round}"))).await;
            done.unwrap();
            assert_eq!(time, ROUND_TRIP);
            let calls = store.take_calls();
            assert!(calls.len() == 1 && calls[0].operation == "put" && calls[0].is_in("log/"), "{calls:?}");
        }
        // An answer that rests on what is there takes a look, and no put.
        let (time, again) = store.timed(change(service, 0, "round 29".to_owned())).await;
        again.unwrap();
        let calls = store.take_calls();
        assert!(time == ROUND_TRIP && calls.len() == 1 && calls[0].operation == "get", "{calls:?}");
    });
}

#[test]
fn one_writer_commits_thirty_times_a_second_one_by_one() {
    let alone = race(&Distant::new(), 1, 100);
    println!("1 x 100: {alone:?}");
    assert!(alone.rate >= 30.0 && alone.calls < 1.3, "{alone:?}");
}

#[test]
fn a_store_that_can_be_remounted_is_asked_whose_it_is_before_each_put() {
    let store = Distant { can_be_remounted: true, ..Distant::new() };
    store.run(async {
        let service = &store.services(1).await[0];
        store.take_calls();
        change(service, 0, "new".to_owned()).await.unwrap();
        let calls = store.take_calls();
        let seen: Vec<_> = calls.iter().map(|call| (call.operation, call.key.as_str())).collect();
        assert!(seen.len() == 2 && seen[0] == ("get", "catalog/identity") && seen[1].0 == "put", "{calls:?}");
        assert!(calls[0].at < calls[1].at, "one after the other: {calls:?}");
    });
}

#[test]
fn sixteen_busy_services_all_come_through() {
    let fixed = race(&Distant::new(), 16, 25);
    println!("16 x 25: {fixed:?}, slowest {:.1} times the median", fixed.ratio());
    assert!(fixed.ratio() < 5.0, "{fixed:?}");
    for seed in seeds(4) {
        let race = race(&Distant::with_jitter(seed), 16, 25);
        println!("16 x 25, seed {seed}: {race:?}, slowest {:.1} times the median", race.ratio());
        assert!(race.ratio() < 20.0, "seed {seed}: {race:?}");
    }
}

#[test]
fn a_few_services_do_not_starve_whatever_the_jitter() {
    for (services, count) in [(2, 60), (3, 40), (4, 25)] {
        let fixed = race(&Distant::new(), services, count);
        println!("{services} x {count}: {fixed:?}, slowest {:.1} times the median", fixed.ratio());
        assert!(fixed.ratio() < 5.0, "{services} services: {fixed:?}");
        let mut worst = 0.0_f64;
        for seed in seeds(20) {
            let race = race(&Distant::with_jitter(seed), services, count);
            worst = worst.max(race.ratio());
            assert!(race.ratio() < 20.0, "{services} services, seed {seed}: {race:?}");
        }
        println!("{services} x {count} with jitter: slowest at most {worst:.1} times the median");
    }
}

#[test]
fn a_newcomer_comes_through_beside_a_busy_service() {
    let mut times = Vec::new();
    for seed in seeds(20) {
        let store = Distant::with_jitter(seed);
        store.run(async {
            let all = store.services(2).await;
            let busy = changes(&store, &all[0], 0, 150);
            let newcomer = async {
                store.clock.sleep(Duration::from_millis(700)).await;
                store.timed(change(&all[1], 1, "new".to_owned())).await
            };
            let (_, (time, done)) = futures::join!(busy, newcomer);
            done.unwrap();
            assert!(time < Duration::from_secs(5), "seed {seed}: {time:?}");
            times.push(time);
        });
    }
    times.sort();
    println!("a newcomer: {:?} at the median, {:?} at most", times[times.len() / 2], times[times.len() - 1]);
}

#[test]
fn callers_of_busy_services_share_their_entries() {
    let store = Distant::new();
    store.run(async {
        let all = store.services(16).await;
        store.take_calls();
        let caller = |number: usize, caller: usize| {
            let service = &all[number];
            async move {
                for round in 0..10 {
                    change(service, number, format!("{caller} in round {round}")).await.unwrap();
                }
            }
        };
        let callers = (0..16 * 50).map(|at| caller(at % 16, at / 16));
        let (time, _) = store.timed(join_all(callers)).await;
        let rate = 8_000.0 / time.as_secs_f64();
        println!("16 services of 50 callers: {rate:.0} operations a second, {} calls", store.take_calls().len());
        assert!(rate >= 500.0, "{rate}");
    });
}

#[test]
fn a_thousand_looks_are_one_read() {
    let store = Distant::new();
    store.run(async {
        let all = store.services(2).await;
        let session = all[1].session();
        session.refresh().await.unwrap();
        store.take_calls();
        let (time, views) = store.timed(join_all((0..1_000).map(|_| session.refresh()))).await;
        assert!(views.iter().all(|view| view.is_ok()));
        assert_eq!((time, store.take_calls().len()), (ROUND_TRIP, 1));

        // A look that has begun is not shared with those who ask later: it has missed what they know of.
        store.clock.sleep(Duration::from_secs(60)).await;
        store.trouble("log/", Trouble::ReadsLate);
        let early = async { session.refresh().await.unwrap().number() };
        let late = async {
            store.clock.sleep(ROUND_TRIP).await;
            change(&all[0], 0, "new".to_owned()).await.unwrap();
            let known = all[0].session().view().number();
            let views = join_all((0..100).map(|_| session.refresh())).await;
            assert!(views.into_iter().all(|view| view.unwrap().number() >= known));
            known
        };
        store.take_calls();
        let (seen, known) = futures::join!(early, late);
        let reads = store.take_calls().iter().filter(|call| call.operation == "get").count();
        // The early one; then what is new, and that there is no more.
        assert!(seen < known && reads == 3, "{seen} < {known}, {reads} reads");
    });
}

#[test]
fn a_process_that_is_far_behind_catches_up_in_few_round_trips() {
    let store = Distant::new();
    store.run(async {
        let all = store.services(2).await;
        changes(&store, &all[0], 0, 60).await;
        let (time, done) = store.timed(all[1].session().refresh()).await;
        assert_eq!(done.unwrap().number(), all[0].session().view().number());
        // 1, 1, 2, 4, 8, 16, 16, 16.
        assert!(time <= ROUND_TRIP * 8, "{time:?}");
    });
}

async fn roots(store: &Distant) -> usize {
    store.inner.list_all(Some(&"catalog/checkpoints".parse().unwrap())).await.unwrap().len()
}

#[test]
fn no_call_of_a_checkpoint_lies_on_a_commits_path() {
    for trouble in [None, Some(Trouble::Hangs), Some(Trouble::Fails)] {
        let store = Distant::new();
        store.run(async {
            let service = &store.services(1).await[0];
            for folder in ["checkpoints", "segments"] {
                if let Some(trouble) = trouble {
                    store.trouble(folder, trouble);
                }
                for round in 0..130 {
                    // So that no commit waits for others.
                    store.clock.sleep(Duration::from_secs(1)).await;
                    let (time, done) = store.timed(change(service, 0, format!("{folder} {round}"))).await;
                    done.unwrap();
                    assert_eq!(time, ROUND_TRIP, "{trouble:?} of {folder} in round {round}");
                }
            }
            let calls = store.take_calls();
            assert!(calls.iter().any(|call| call.is_in("checkpoints")), "it is tried");
            assert_eq!(roots(&store).await > 0, trouble.is_none());
            // When the trouble is over, it is written.
            store.heal();
            store.clock.sleep(Duration::from_secs(300)).await;
            changes(&store, service, 0, 130).await;
            assert!(roots(&store).await > 0, "{trouble:?}");
        });
    }
}

#[test]
fn a_checkpoint_is_due_after_a_mebibyte_of_log_too() {
    let store = Distant::new();
    store.run(async {
        let service = &store.services(1).await[0];
        let tags = || Tags::new((0..50).map(|tag| (format!("tag{tag}"), format!("{tag:0>256}"))).collect()).unwrap();
        // About 14 KiB each, in three entries.
        for round in 0..3 {
            let changed = (0..40).map(|caller| {
                let changed = gallery(0).with_description(format!("{caller} in round {round}")).with_tags(tags());
                service.session().update_gallery(changed)
            });
            try_join_all(changed).await.unwrap();
        }
        for _ in 0..20 {
            service.session().refresh().await.unwrap();
        }
        assert!(service.session().view().number() < 20 && roots(&store).await == 1);
    });
}

#[test]
fn a_checkpoint_is_written_by_others_when_its_process_is_gone() {
    let store = Distant::new();
    store.run(async {
        let all = store.services(2).await;
        // The process whose entry makes it due does nothing from then on.
        let left = 64 - all[0].session().view().number() as usize;
        changes(&store, &all[0], 0, left).await;
        assert_eq!(all[0].session().view().number(), 64);
        changes(&store, &all[1], 1, 40).await;
        assert_eq!(roots(&store).await, 0, "it has time");
        changes(&store, &all[1], 1, 60).await;
        assert_eq!(roots(&store).await, 1);
    });
}

#[test]
fn processes_that_end_at_once_leave_no_endless_log() {
    let store = Distant::new();
    store.run(async {
        let first = store.services(1).await.remove(0);
        for round in 0..150 {
            let short = first.reopen().clock(store.clock.clone()).build().await.unwrap();
            change(&short, 0, format!("a {round}")).await.unwrap();
            change(&short, 0, format!("b {round}")).await.unwrap();
        }
        assert!(roots(&store).await > 0);
    });
}

#[test]
fn an_entry_is_bounded_and_the_rest_follows() {
    let store = Distant::new();
    store.run(async {
        let service = &store.services(1).await[0];
        let tags = || Tags::new((0..50).map(|tag| (format!("tag{tag}"), format!("{tag:0>256}"))).collect()).unwrap();
        let before = service.session().view().number();
        let changed = (0..700).map(|caller| {
            let changed = gallery(0).with_description(format!("caller {caller}")).with_tags(tags());
            service.session().update_gallery(changed)
        });
        try_join_all(changed).await.unwrap();
        let log = store.inner.list_all(Some(&"catalog/log".parse().unwrap())).await.unwrap();
        let entries: Vec<u64> = log.iter().map(|blob| blob.size).collect();
        assert!(entries.iter().all(|bytes| *bytes <= (4 << 20) + 1_000), "{entries:?}");
        let count = service.session().view().number() - before;
        assert!((3..6).contains(&count), "{count} entries");
    });
}

#[test]
fn an_operation_that_was_never_sent_is_not_unknown() {
    let store = Distant::new();
    let deadlines = Deadlines::none().with_commit(Duration::from_secs(300));
    store.run(async {
        let settings = store.settings().service(move |builder| builder.deadlines(deadlines));
        let service = settings.build().await.unwrap();
        let session = service.session();
        // So that no commit waits for others.
        store.clock.sleep(Duration::from_secs(60)).await;
        store.trouble("log/", Trouble::Hangs);
        let sent = session.create_gallery(gallery(1));
        let waiting = async {
            // The entry of the first is on its way.
            store.clock.sleep(ROUND_TRIP).await;
            session.create_gallery(gallery(2)).await
        };
        let (sent, waiting) = futures::join!(sent, waiting);
        let (sent, waiting) = (sent.unwrap_err(), waiting.unwrap_err());
        assert_eq!(sent.kind(), ErrorKind::Unknown, "{sent:#}");
        assert_eq!(waiting.kind(), ErrorKind::Unavailable, "{waiting:#}");
        assert!(waiting.is_retryable() && waiting.to_string().contains("nothing was committed"), "{waiting:#}");
        // It stays so, whatever becomes of the entry of the first.
        store.heal();
        session.create_gallery(gallery(3)).await.unwrap();
        let view = session.refresh().await.unwrap();
        assert!(view.gallery(gallery(2).id()).is_err() && view.gallery(gallery(3).id()).is_ok());
    });
}

#[test]
fn opening_takes_four_round_trips_whatever_the_log() {
    let store = Distant::new();
    store.run(async {
        let first = store.services(1).await.remove(0);
        // Its region's store has an owner from here on.
        first.publish("1.0.0", vec![7; 4096]).await.unwrap();
        let open = async |most: u32| {
            store.clock.sleep(Duration::from_secs(60)).await;
            store.take_calls();
            let opened = first.reopen().clock(store.clock.clone()).build();
            let (time, opened) = store.timed(opened).await;
            let calls = store.take_calls();
            assert!(time <= ROUND_TRIP * most, "{time:?}: {calls:?}");
            assert_eq!(opened.unwrap().session().view().number(), first.session().view().number());
        };
        open(4).await;
        changes(&store, &first, 0, 10).await;
        // The fifth: the newest commit that the region's store has seen is compared with the log.
        open(5).await;
        changes(&store, &first, 0, 60).await;
        // A checkpoint, and few entries.
        open(5).await;
        changes(&store, &first, 0, 40).await;
        // Up to 16 entries at once.
        open(7).await;
    });
}

#[test]
fn times_of_the_log_ascend_in_a_race() {
    let store = Distant::with_jitter(7);
    store.run(async {
        let all = store.services(3).await;
        join_all(all.iter().enumerate().map(|(number, service)| changes(&store, service, number, 10))).await;
        let entries: Vec<_> = {
            use futures::TryStreamExt;
            all[0].session().history(0).try_collect().await.unwrap()
        };
        assert!(entries.windows(2).all(|pair| pair[0].time <= pair[1].time));
        assert!(entries.iter().all(|entry| entry.time <= store.clock.now() + TimeDelta::seconds(1)));
        assert!(entries.len() >= 30);
    });
}
