//! How a replica is chosen.

use std::fmt;

use super::random::SplitMix;
use super::replica::ReplicaId;
use super::replica_table::Candidates;
use super::request::PlacementRequest;

/// A way to choose a replica. [`LeastLoaded`] is the default and hard to beat: in one process every load is known.
///
/// A strategy decides between replicas that have room. Where its choice has none, the pool takes the least loaded replica
/// instead, so that no strategy can refuse or overload while there is room.
///
/// ```
/// use compute_gallery::model::StorageAccountType;
/// use compute_gallery::placement::{Explanation, PlacementPolicy, Pool, ReplicaId, Candidates, PlacementRequest, Strategy};
///
/// /// Fills one replica after the other, so that the others can be taken away.
/// #[derive(Debug)]
/// struct Pack;
///
/// impl Strategy for Pack {
///     fn choose(&mut self, candidates: &Candidates<'_>, _: &PlacementRequest, why: &mut Explanation) -> Option<ReplicaId> {
///         let chosen = candidates.iter().filter(|id| candidates.fits(*id)).max_by_key(|id| candidates.load(*id));
///         why.because(|| "the fullest that has room".into());
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
    /// The replica that should serve a request, or one part of it; none to leave it to the pool. Called while the
    /// pool is locked, so it must neither call the pool nor drop a lease of it.
    fn choose(
        &mut self,
        candidates: &Candidates<'_>,
        request: &PlacementRequest,
        why: &mut Explanation,
    ) -> Option<ReplicaId>;

    /// Whether it always takes a least loaded replica. Many VMs are then placed at once, at a cost that does not depend
    /// on how many they are.
    fn is_least_loaded(&self) -> bool {
        false
    }
}

/// Why a replica was chosen.
#[derive(Clone, Debug, Default)]
pub struct Explanation {
    recording: bool,
    reasons: Vec<String>,
}

impl Explanation {
    /// Nobody asks: reasons are not even made.
    pub(super) fn unrecorded() -> Self {
        Self::default()
    }

    pub(super) fn recorded() -> Self {
        Self { recording: true, reasons: Vec::new() }
    }

    /// Adds a reason, if someone wants to know.
    pub fn because(&mut self, reason: impl FnOnce() -> String) {
        if self.recording {
            self.reasons.push(reason());
        }
    }

    /// The reasons, in the order in which they were found.
    pub fn reasons(&self) -> &[String] {
        &self.reasons
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reasons.join("; "))
    }
}

/// The replica with the least to do, by exact counts. N VMs on R replicas give each at most ceil(N/R): no other rule is
/// better (it is join-shortest-queue with one chooser).
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
            format!("{chosen} has the least to do of {others}: {load} of {capacity} units")
        });
        Some(chosen)
    }

    fn is_least_loaded(&self) -> bool {
        true
    }
}

/// One replica after the other; those that are full are passed over, at a cost of up to one look at each.
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

/// The less loaded of two replicas that are drawn by chance. It needs no exact counts, which the pool has, and leaves
/// some replicas about ln ln R / ln 2 VMs above the average (Mitzenmacher & Upfal, "Probability and Computing", chapter
/// 14). For comparison, and for pools whose replicas other processes use too.
#[derive(Clone, Debug)]
pub struct TwoChoices {
    random: SplitMix,
}

impl TwoChoices {
    /// Draws from that seed: the same seed, the same choices.
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
        // Two different ones: the second is drawn from the others.
        let second = match count {
            0 | 1 => first,
            _ => (first + 1 + self.random.below(count - 1)) % count,
        };
        let (first, second) = (candidates.nth(first)?, candidates.nth(second)?);
        let (chosen, other) =
            if candidates.load(first) <= candidates.load(second) { (first, second) } else { (second, first) };
        why.because(|| {
            let (load, other_load) = (candidates.load(chosen), candidates.load(other));
            format!("{chosen} and {other} were drawn, with {load} and {other_load} units to do")
        });
        Some(chosen)
    }
}
