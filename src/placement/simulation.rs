//! Simulates creations on a pool in virtual time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::fmt;
use std::time::Duration;

use super::lease::Lease;
use super::pool::Pool;
use super::random::SplitMix;
use super::replica::{ReplicaId, ReplicaState, Zone};
use super::request::PlacementRequest;

/// How long a creation takes on a replica that is not overloaded.
///
/// A model to fit to your measurements: a fixed time to boot, and a time per GiB that is read. Half of each duration is
/// fixed, the other half is exponentially distributed, so that some creations take much longer.
///
/// ```
/// use std::time::Duration;
/// use compute_gallery::placement::CreationTime;
///
/// assert_eq!(CreationTime::of_image(30 << 30).mean(), Duration::from_secs(120));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreationTime {
    mean: Duration,
}

impl CreationTime {
    /// Creates the model for an image of `bytes`: a mean of 60 seconds, and 2 per GiB (500 MiB per second).
    pub fn of_image(bytes: u64) -> Self {
        Self::new(Duration::from_secs(60) + Duration::from_millis(bytes / (1 << 20) * 2_000 / 1_024))
    }

    /// Creates the model from a measured mean.
    pub fn new(mean: Duration) -> Self {
        Self { mean }
    }

    /// Returns the mean.
    pub fn mean(&self) -> Duration {
        self.mean
    }
}

/// What happens to a creation without room. Exhaustive: these are the three answers of a [`Pool`].
///
/// ```
/// use std::time::Duration;
/// use compute_gallery::placement::{CreationTime, Overflow, PlacementRequest, Pool, Simulation};
///
/// let simulation = Simulation::new(7, CreationTime::of_image(30 << 30));
/// let simulation = (0..30).fold(simulation, |all, _| all.with_request(Duration::ZERO, PlacementRequest::vm()));
/// let pool = Pool::default();
/// pool.resize(1);
/// let run = |overflow| simulation.clone().with_overflow(overflow).run(&pool, Duration::from_secs(3_600));
/// assert_eq!(run(Overflow::Refuse).refused, 10);
/// assert_eq!(run(Overflow::Throttle).throttled, 10);
/// assert_eq!(run(Overflow::Queue).completed, 30);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// It waits, first in, first out.
    Queue,
    /// It starts anyway, and takes longer in proportion to its replica's overload.
    Throttle,
    /// It is refused and does not return.
    Refuse,
}

/// A failure to simulate: see [`Simulation::with_failure`].
///
/// ```
/// use std::time::Duration;
/// use compute_gallery::placement::{CreationTime, PlacementRequest, Pool, SimulatedFailure, Simulation, Zone};
///
/// let pool = Pool::default();
/// [1, 2].map(|zone| pool.add_replica(Some(Zone::new(zone))));
/// let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3_600));
/// let report = Simulation::new(7, CreationTime::of_image(30 << 30))
///     .with_request(Duration::ZERO, PlacementRequest::scale_set(1_000))
///     .with_failure(second, hour, SimulatedFailure::Zone(Zone::new(2)))
///     .run(&pool, 2 * hour);
/// assert_eq!((report.interrupted, report.completed), (1, 1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimulatedFailure {
    /// One replica.
    Replica(ReplicaId),
    /// All replicas of a zone.
    Zone(Zone),
}

/// A discrete-event simulation. It places on a [`Pool`] as a program does, so it tests your pool with its strategy,
/// replicas and zones.
///
/// Throughput grows with each replica until the replicas serve all arrivals:
///
/// ```
/// use std::time::Duration;
/// use compute_gallery::placement::{CreationTime, Pool, Simulation, SimulationReport};
///
/// let run = |replicas| -> SimulationReport {
///     let pool = Pool::default();
///     pool.resize(replicas);
///     let simulation = Simulation::new(7, CreationTime::new(Duration::from_secs(120)));
///     // 1,800 per hour are 60 at once.
///     simulation.with_arrivals(1_800.0).run(&pool, Duration::from_secs(8 * 3_600))
/// };
/// let [one, two, four, eight] = [1, 2, 4, 8].map(run);
/// assert!((one.per_hour() - 600.0).abs() < 30.0);
/// assert!((two.per_hour() - 1_200.0).abs() < 60.0);
/// assert!((four.per_hour() - 1_800.0).abs() < 90.0);
/// assert!((eight.per_hour() - four.per_hour()).abs() < 30.0);
/// assert_eq!(eight.wait(99), Duration::ZERO);
/// ```
#[derive(Clone, Debug)]
pub struct Simulation {
    seed: u64,
    creation: CreationTime,
    arrivals_per_hour: f64,
    overflow: Overflow,
    requests: Vec<(Duration, PlacementRequest)>,
    failures: Vec<(Duration, Duration, SimulatedFailure)>,
}

/// The outcome of a simulation.
///
/// `{}` prints a summary.
///
/// ```
/// use std::time::Duration;
/// use compute_gallery::placement::{CreationTime, PlacementRequest, Pool, Simulation};
///
/// let pool = Pool::default();
/// pool.resize(1);
/// let simulation = Simulation::new(7, CreationTime::new(Duration::from_secs(60)));
/// let report = simulation.with_request(Duration::ZERO, PlacementRequest::vm()).run(&pool, Duration::from_secs(3_600));
/// assert_eq!((report.completed, report.wait(100)), (1, Duration::ZERO));
/// assert!(report.to_string().starts_with("1 of 1 creations completed in "));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SimulationReport {
    /// The virtual time of the run.
    pub elapsed: Duration,
    /// The creations that arrived. A request of many VMs is one.
    pub arrived: u64,
    /// The creations that completed in time.
    pub completed: u64,
    /// The creations on a replica without room.
    pub throttled: u64,
    /// The creations that were refused.
    pub refused: u64,
    /// How often a creation started again because its replica failed.
    pub interrupted: u64,
    /// The creations that still waited at the end.
    pub waiting: u64,
    /// The highest load of a replica, in percent of its capacity.
    pub busiest_percent: u64,
    /// The completed creations in which each replica, by its number, had a portion.
    pub by_replica: Vec<u64>,
    /// Microseconds from arrival to start of each completed creation, ascending.
    waits: Vec<u64>,
    /// Microseconds from arrival to end of each completed creation, ascending.
    durations: Vec<u64>,
}

impl SimulationReport {
    /// Returns the completed creations per hour.
    pub fn per_hour(&self) -> f64 {
        let hours = self.elapsed.as_secs_f64() / 3_600.0;
        if hours > 0.0 { self.completed as f64 / hours } else { 0.0 }
    }

    /// Returns a percentile of the time from arrival to start, over the completed creations (nearest rank).
    pub fn wait(&self, percentile: u32) -> Duration {
        nearest_rank(&self.waits, percentile)
    }

    /// Returns a percentile of the time from arrival to end, over the completed creations (nearest rank).
    pub fn duration(&self, percentile: u32) -> Duration {
        nearest_rank(&self.durations, percentile)
    }

    /// Returns the throttled share of the arrivals, from 0 to 1.
    pub fn throttled_share(&self) -> f64 {
        if self.arrived == 0 { 0.0 } else { self.throttled as f64 / self.arrived as f64 }
    }
}

impl fmt::Display for SimulationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { arrived, completed, throttled, refused, interrupted, waiting, busiest_percent, .. } = self;
        let (elapsed, wait) = (self.elapsed.as_secs_f64(), self.wait(95).as_secs_f64());
        write!(
            f,
            "{completed} of {arrived} creations completed in {elapsed:.0} s, 95 % of them started within {wait:.0} s; "
        )?;
        write!(f, "{throttled} throttled, {refused} refused, {interrupted} interrupted, {waiting} waiting; ")?;
        write!(f, "the busiest replica reached {busiest_percent} % of its capacity")
    }
}

fn nearest_rank(sorted: &[u64], percentile: u32) -> Duration {
    let rank = (sorted.len() * percentile.min(100) as usize).div_ceil(100).max(1);
    Duration::from_micros(sorted.get(rank - 1).copied().unwrap_or(0))
}

impl Simulation {
    /// Creates a simulation without arrivals. One seed gives one report. By default, creations without room wait.
    pub fn new(seed: u64, creation: CreationTime) -> Self {
        Self {
            seed,
            creation,
            arrivals_per_hour: 0.0,
            overflow: Overflow::Queue,
            requests: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// Sets the mean rate of VMs that arrive one by one at random (Poisson).
    #[must_use]
    pub fn with_arrivals(mut self, per_hour: f64) -> Self {
        self.arrivals_per_hour = per_hour;
        self
    }

    /// Adds a request that arrives at the time `at`.
    #[must_use]
    pub fn with_request(mut self, at: Duration, request: PlacementRequest) -> Self {
        self.requests.push((at, request));
        self
    }

    /// Sets what happens to a creation without room.
    #[must_use]
    pub fn with_overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Adds a failure of a replica or a zone from the time `at`, for `lasting`. Its creations start again elsewhere, ahead of
    /// the queue. The first of overlapping failures to end ends all of them.
    #[must_use]
    pub fn with_failure(mut self, at: Duration, lasting: Duration, failure: SimulatedFailure) -> Self {
        self.failures.push((at, lasting, failure));
        self
    }

    /// Runs until the virtual time `until`, or until nothing is left to do. It gives all its leases back. Replicas that had
    /// not recovered at the end stay failed.
    pub fn run(&self, pool: &Pool, until: Duration) -> SimulationReport {
        let mut run = Run::new(self, pool);
        let until = micros(until);
        while let Some(Reverse((now, _, event))) = run.events.pop() {
            if now > until {
                run.now = until;
                break;
            }
            run.now = now;
            run.happens(event);
        }
        run.report()
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A creation that arrived.
#[derive(Clone, Copy, Debug)]
struct Creation {
    arrived: u64,
    request: PlacementRequest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A random arrival, which schedules the next one.
    Arrival,
    /// One of `Simulation::requests`.
    Requested(usize),
    /// The end of an attempt, unless it was interrupted.
    Done(u64),
    /// The start and the end of one of `Simulation::failures`.
    Fails(usize),
    Recovers(usize),
}

#[derive(Debug)]
struct Run<'a> {
    simulation: &'a Simulation,
    pool: &'a Pool,
    random: SplitMix,
    now: u64,
    /// By time, then by order of creation, so that nothing depends on the heap's own order.
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    made: u64,
    /// The current attempts, with their start.
    running: BTreeMap<u64, (Creation, u64, Lease)>,
    attempts: u64,
    queue: VecDeque<Creation>,
    report: SimulationReport,
    most: u64,
}

impl<'a> Run<'a> {
    fn new(simulation: &'a Simulation, pool: &'a Pool) -> Self {
        let report = SimulationReport {
            elapsed: Duration::ZERO,
            arrived: 0,
            completed: 0,
            throttled: 0,
            refused: 0,
            interrupted: 0,
            waiting: 0,
            busiest_percent: 0,
            by_replica: vec![0; pool.replicas().len()],
            waits: Vec::new(),
            durations: Vec::new(),
        };
        let mut run = Self {
            simulation,
            pool,
            random: SplitMix::new(simulation.seed),
            now: 0,
            events: BinaryHeap::new(),
            made: 0,
            running: BTreeMap::new(),
            attempts: 0,
            queue: VecDeque::new(),
            report,
            most: 0,
        };
        for (index, (at, _)) in simulation.requests.iter().enumerate() {
            run.at(micros(*at), Event::Requested(index));
        }
        for (index, (at, lasting, _)) in simulation.failures.iter().enumerate() {
            run.at(micros(*at), Event::Fails(index));
            run.at(micros(at.saturating_add(*lasting)), Event::Recovers(index));
        }
        run.next_arrival();
        run
    }

    fn at(&mut self, time: u64, event: Event) {
        self.made += 1;
        self.events.push(Reverse((time, self.made, event)));
    }

    fn next_arrival(&mut self) {
        if self.simulation.arrivals_per_hour > 0.0 {
            let after = self.random.exponential(3_600e6 / self.simulation.arrivals_per_hour);
            self.at(self.now.saturating_add(after as u64), Event::Arrival);
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Arrival => {
                self.arrives(PlacementRequest::vm());
                self.next_arrival();
            }
            Event::Requested(index) => {
                if let Some((_, request)) = self.simulation.requests.get(index) {
                    self.arrives(*request);
                }
            }
            Event::Done(attempt) => {
                if let Some((creation, started, lease)) = self.running.remove(&attempt) {
                    self.done(&creation, started, &lease);
                    drop(lease);
                    self.serve();
                }
            }
            Event::Fails(index) => self.fails(index),
            Event::Recovers(index) => {
                for id in self.hit_by(index) {
                    self.pool.restore(id).ok();
                }
                self.serve();
            }
        }
    }

    fn arrives(&mut self, request: PlacementRequest) {
        self.report.arrived += 1;
        let creation = Creation { arrived: self.now, request };
        let is_first = self.queue.is_empty();
        let request = match self.simulation.overflow {
            Overflow::Throttle => request.with_throttling(),
            _ => request,
        };
        if is_first && self.starts(Creation { request, ..creation }) {
            return;
        }
        match self.simulation.overflow {
            Overflow::Refuse => self.report.refused += 1,
            Overflow::Queue | Overflow::Throttle => self.queue.push_back(Creation { request, ..creation }),
        }
    }

    /// Starts the waiting creations, up to the first without room.
    fn serve(&mut self) {
        while let Some(first) = self.queue.front() {
            if !self.starts(*first) {
                return;
            }
            self.queue.pop_front();
        }
    }

    fn starts(&mut self, creation: Creation) -> bool {
        let Ok(lease) = self.pool.place(creation.request) else { return false };
        self.attempts += 1;
        let mean = micros(self.simulation.creation.mean) as f64 / 2.0;
        let alone = mean + self.random.exponential(mean);
        // As slow as its slowest replica, whose rate its creations share.
        let loads = self.pool.loads(lease.portions().map(|portion| portion.replica()));
        let most = loads.max().unwrap_or(0);
        self.most = self.most.max(most);
        let slower = (most as f64 / self.pool.capacity() as f64).max(1.0);
        self.at(self.now.saturating_add((alone * slower) as u64), Event::Done(self.attempts));
        self.report.throttled += u64::from(lease.is_throttled());
        self.running.insert(self.attempts, (creation, self.now, lease));
        true
    }

    fn done(&mut self, creation: &Creation, started: u64, lease: &Lease) {
        self.report.completed += 1;
        self.report.waits.push(started - creation.arrived);
        self.report.durations.push(self.now - creation.arrived);
        let replicas: BTreeSet<u32> = lease.portions().map(|portion| portion.replica().number()).collect();
        for replica in replicas {
            if let Some(count) = self.report.by_replica.get_mut(replica as usize) {
                *count += 1;
            }
        }
    }

    fn hit_by(&self, failure: usize) -> Vec<ReplicaId> {
        let failure = self.simulation.failures.get(failure).map(|(_, _, failure)| *failure);
        let hit = |id: ReplicaId, zone: Option<Zone>| match failure {
            Some(SimulatedFailure::Replica(failed)) => failed == id,
            Some(SimulatedFailure::Zone(failed)) => zone == Some(failed),
            None => false,
        };
        let replicas = self.pool.replicas();
        let hit = replicas.iter().filter(|replica| hit(replica.id, replica.zone));
        hit.filter(|replica| replica.state != ReplicaState::Draining).map(|replica| replica.id).collect()
    }

    fn fails(&mut self, failure: usize) {
        let hit: BTreeSet<ReplicaId> = self.hit_by(failure).into_iter().collect();
        for id in &hit {
            self.pool.fail(*id).ok();
        }
        let is_hit = |lease: &Lease| lease.portions().any(|portion| hit.contains(&portion.replica()));
        let lost = self.running.extract_if(.., |_, (_, _, lease)| is_hit(lease));
        let mut again: Vec<Creation> = lost.map(|(_, (creation, _, _))| creation).collect();
        self.report.interrupted += again.len() as u64;
        // Those that were refused later stay refused.
        again.sort_by_key(|creation| creation.arrived);
        for creation in again.into_iter().rev() {
            self.queue.push_front(creation);
        }
        self.serve();
    }

    fn report(mut self) -> SimulationReport {
        self.report.elapsed = Duration::from_micros(self.now);
        self.report.waiting = self.queue.len() as u64;
        self.report.busiest_percent = self.most * 100 / self.pool.capacity().max(1);
        self.report.waits.sort_unstable();
        self.report.durations.sort_unstable();
        self.report
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::erlang::erlang_c;
    use crate::placement::strategy::TwoChoices;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn pool(replicas: u32) -> Pool {
        let pool = Pool::default();
        for replica in 0..replicas {
            pool.add_replica(Some(Zone::new(1 + replica as u16 % 3)));
        }
        pool
    }

    /// Creations of two minutes.
    fn simulation(seed: u64) -> Simulation {
        Simulation::new(seed, CreationTime::new(Duration::from_secs(120)))
    }

    #[test]
    fn one_seed_gives_one_report() {
        let run = |seed| {
            let pool = pool(3).with_strategy(TwoChoices::new(5));
            simulation(seed).with_arrivals(1_900.0).run(&pool, 4 * HOUR)
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    /// A replica serves 600 per hour, and 3,000 arrive. Each of 5 replicas adds 600, the sixth adds nothing.
    #[test]
    fn throughput_is_linear_in_replicas_until_all_arrivals_are_served() {
        for replicas in 1..=8_u32 {
            let report = simulation(3).with_arrivals(3_000.0).run(&pool(replicas), 10 * HOUR);
            let expected = f64::from(replicas * 600).min(3_000.0);
            assert!(
                (report.per_hour() / expected - 1.0).abs() < 0.03,
                "{replicas}: {} of {expected}",
                report.per_hour()
            );
            assert!(report.busiest_percent <= 100);
            if replicas >= 7 {
                assert_eq!(report.wait(95), Duration::ZERO);
            }
        }
    }

    /// The formula is exact for exponential durations, and close for the model's.
    #[test]
    fn the_share_that_waits_is_what_erlang_expects() {
        let report = simulation(9).with_arrivals(1_600.0).run(&pool(3), 200 * HOUR);
        let waited = report.waits.iter().filter(|wait| **wait > 0).count() as f64 / report.completed as f64;
        let expected = erlang_c(60, 1_600.0 / 30.0);
        assert!((waited - expected).abs() < 0.05, "{waited} of {expected}");
    }

    #[test]
    fn overload_is_throttled_queued_or_refused_as_configured() {
        let run = |overflow| simulation(4).with_arrivals(2_400.0).with_overflow(overflow).run(&pool(3), 2 * HOUR);
        let (queued, throttled, refused) = (run(Overflow::Queue), run(Overflow::Throttle), run(Overflow::Refuse));
        assert!(throttled.throttled_share() > 0.5 && throttled.busiest_percent > 100);
        assert!(throttled.wait(100) == Duration::ZERO && throttled.duration(50) > refused.duration(50));
        assert!(refused.refused > 0 && refused.busiest_percent <= 100 && refused.waiting == 0);
        assert!(queued.waiting > 0 && queued.wait(99) > Duration::from_secs(60));
        assert_eq!((queued.throttled, queued.refused), (0, 0));
    }

    #[test]
    fn creations_of_a_lost_zone_complete_elsewhere() {
        let pool = pool(6);
        let simulation = simulation(6)
            .with_request(Duration::ZERO, PlacementRequest::vms(60))
            .with_request(Duration::from_secs(1), PlacementRequest::scale_set(1_000))
            .with_failure(Duration::from_secs(10), HOUR, SimulatedFailure::Zone(Zone::new(2)))
            .with_failure(Duration::from_secs(20), HOUR, SimulatedFailure::Replica(ReplicaId(0)));
        let report = simulation.run(&pool, 10 * HOUR);
        assert_eq!((report.arrived, report.completed), (2, 2));
        assert!(report.interrupted >= 1);
        assert_eq!(report.by_replica.get(1), Some(&0), "it was lost before it completed anything");
        assert!(pool.replicas().iter().all(|replica| replica.load == 0 && replica.state == ReplicaState::Serving));
    }

    #[test]
    fn a_guideline_burst_does_not_wait_on_the_recommended_replicas() {
        let burst = (0..120).fold(simulation(8), |all, _| all.with_request(Duration::ZERO, PlacementRequest::vm()));
        let (enough, few) = (burst.run(&pool(6), 10 * HOUR), burst.run(&pool(5), 10 * HOUR));
        assert_eq!((enough.completed, enough.wait(100), enough.busiest_percent), (120, Duration::ZERO, 100));
        assert_eq!(few.completed, 120);
        assert!(few.wait(84) > Duration::ZERO && few.wait(83) == Duration::ZERO, "100 of 120 start at once");
    }
}
