//! Strategies that choose a replica, and their explanations.

use std::fmt;

use super::random::SplitMix;
use super::replica::ReplicaId;
use super::replica_table::Candidates;
use super::request::PlacementRequest;

/// Chooses a replica for a request. [`LeastLoaded`] is the default and hard to beat: one process knows every load.
///
/// If the chosen replica has no room, the pool takes the least loaded one instead, so that no strategy can refuse or
/// overload while there is room.
///
/// ```
/// use compute_gallery::placement::{Candidates, Explanation, PlacementRequest, Pool, ReplicaId, Strategy};
///
/// /// Fills one replica after the other, so that the others can be removed.
/// #[derive(Debug)]
/// struct Pack;
///
/// impl Strategy for Pack {
///     fn choose(&mut self, all: &Candidates<'_>, _: &PlacementRequest, why: &mut Explanation) -> Option<ReplicaId> {
///         let chosen = all.iter().filter(|id| all.fits(*id)).max_by_key(|id| all.load(*id));
///         why.because(|| "it is the fullest with room".into());
///         chosen
///     }
/// }
///
/// let pool = Pool::default().with_strategy(Pack);
/// pool.resize(6);
/// let leases: Vec<_> = (0..20).map(|_| pool.place(PlacementRequest::vm())).collect::<Result<_, _>>()?;
/// assert!(leases.iter().all(|lease| lease.replica() == leases[0].replica()));
/// # Ok::<(), compute_gallery::Error>(())
/// ```
pub trait Strategy: fmt::Debug + Send {
    /// Returns the replica for a request or for one part of it; `None` leaves the choice to the pool. The pool is locked
    /// during the call: it must neither call the pool nor drop a lease of it.
    fn choose(
        &mut self,
        candidates: &Candidates<'_>,
        request: &PlacementRequest,
        why: &mut Explanation,
    ) -> Option<ReplicaId>;

    /// Whether it always chooses a least loaded replica. The pool then places many VMs at a cost that does not depend on
    /// their number. By default `false`.
    fn is_least_loaded(&self) -> bool {
        false
    }
}

/// Why a replica was chosen, or a request refused: see [`Pool::place_explained`](super::Pool::place_explained).
///
/// ```
/// use compute_gallery::placement::{PlacementRequest, Pool};
///
/// let (refused, why) = Pool::default().place_explained(PlacementRequest::vms(2));
/// assert!(refused.is_err());
/// assert_eq!(why.reasons(), ["the replicas have room for 0 of 2 VMs"]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Explanation {
    recording: bool,
    reasons: Vec<String>,
}

impl Explanation {
    /// Records no reasons, and does not compute them.
    pub(super) fn unrecorded() -> Self {
        Self::default()
    }

    pub(super) fn recorded() -> Self {
        Self { recording: true, reasons: Vec::new() }
    }

    /// Adds a reason, which is computed only for an explained placement.
    pub fn because(&mut self, reason: impl FnOnce() -> String) {
        if self.recording {
            self.reasons.push(reason());
        }
    }

    /// Returns the reasons in the order of the decision.
    pub fn reasons(&self) -> &[String] {
        &self.reasons
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reasons.join("; "))
    }
}

/// Chooses the least loaded replica by exact counts. Each of R replicas gets at most ceil(N/R) of N VMs, which is optimal
/// (join-shortest-queue with one chooser).
///
/// ```
/// use compute_gallery::placement::{LeastLoaded, PlacementRequest, Pool};
///
/// let pool = Pool::default().with_strategy(LeastLoaded);
/// pool.resize(3);
/// let _leases: Vec<_> = (0..7).map(|_| pool.place(PlacementRequest::vm())).collect::<Result<_, _>>()?;
/// assert_eq!(pool.replicas().iter().map(|replica| replica.load / 30).max(), Some(3));
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct LeastLoaded;

impl Strategy for LeastLoaded {
    fn choose(
        &mut self,
        candidates: &Candidates<'_>,
        _: &PlacementRequest,
        why: &mut Explanation,
    ) -> Option<ReplicaId> {
        let chosen = candidates.least_loaded()?;
        why.because(|| {
            let (load, capacity, others) = (candidates.load(chosen), candidates.capacity(), candidates.len());
            format!("{chosen} is the least loaded of {others}: {load} of {capacity} units")
        });
        Some(chosen)
    }

    fn is_least_loaded(&self) -> bool {
        true
    }
}

/// Chooses one replica after the other and skips full ones, which takes up to one step per replica.
///
/// ```
/// use compute_gallery::placement::{PlacementRequest, Pool, RoundRobin};
///
/// let pool = Pool::default().with_strategy(RoundRobin::default());
/// pool.resize(2);
/// let turns = [(); 3].map(|()| pool.place(PlacementRequest::vm()).map(|lease| lease.replica().number()).ok());
/// assert_eq!(turns, [Some(0), Some(1), Some(0)]);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundRobin {
    next: usize,
}

impl Strategy for RoundRobin {
    fn choose(
        &mut self,
        candidates: &Candidates<'_>,
        _: &PlacementRequest,
        why: &mut Explanation,
    ) -> Option<ReplicaId> {
        let count = candidates.len();
        for _ in 0..count {
            let chosen = candidates.nth(self.next % count)?;
            self.next = (self.next + 1) % count;
            if candidates.fits(chosen) {
                why.because(|| format!("it is {chosen}'s turn"));
                return Some(chosen);
            }
            why.because(|| format!("it is {chosen}'s turn, but it is full"));
        }
        None
    }
}

/// Chooses the less loaded of two random replicas. Some replicas get about ln ln R / ln 2 VMs more than the average
/// (Mitzenmacher & Upfal, "Probability and Computing", chapter 14). For comparison, and for replicas that other processes
/// use too, whose loads this pool does not know.
///
/// ```
/// use compute_gallery::placement::{PlacementRequest, Pool, TwoChoices};
///
/// let run = |seed| {
///     let pool = Pool::default().with_strategy(TwoChoices::new(seed));
///     pool.resize(10);
///     [(); 5].map(|()| pool.place(PlacementRequest::vm()).map(|lease| lease.replica()).ok())
/// };
/// assert_eq!(run(7), run(7));
/// ```
#[derive(Clone, Debug)]
pub struct TwoChoices {
    random: SplitMix,
}

impl TwoChoices {
    /// Creates the strategy from a seed: one seed, one sequence of draws.
    pub fn new(seed: u64) -> Self {
        Self { random: SplitMix::new(seed) }
    }
}

impl Strategy for TwoChoices {
    fn choose(
        &mut self,
        candidates: &Candidates<'_>,
        _: &PlacementRequest,
        why: &mut Explanation,
    ) -> Option<ReplicaId> {
        let count = candidates.len();
        let first = self.random.below(count);
        // The second is drawn from the others, so that they differ.
        let second = match count {
            0 | 1 => first,
            _ => (first + 1 + self.random.below(count - 1)) % count,
        };
        let (first, second) = (candidates.nth(first)?, candidates.nth(second)?);
        let (chosen, other) =
            if candidates.load(first) <= candidates.load(second) { (first, second) } else { (second, first) };
        why.because(|| {
            let (load, other_load) = (candidates.load(chosen), candidates.load(other));
            format!("{chosen} and {other} were drawn, with loads of {load} and {other_load} units")
        });
        Some(chosen)
    }
}
