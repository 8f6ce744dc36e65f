//! Recommends how many replicas a region needs.

use std::fmt;
use std::time::Duration;

use super::erlang::{erlang_c, replicas_for};
use super::policy::{PlacementPolicy, ReplicaSharing};
use super::pool::Pool;
use super::request::PlacementRequest;
use crate::error::{Error, Problem, Result};
use crate::model::{Limits, OsType, StorageAccountType};

/// The creations from an image in a region that happen at the same time.
///
/// ```
/// use compute_gallery::model::{Limits, StorageAccountType};
/// use compute_gallery::placement::{PlacementPolicy, Sizing, Workload};
///
/// let (policy, limits) = (PlacementPolicy::default(), Limits::default());
/// let both = Workload::vms(120).with_scale_sets(5, 600);
/// let recommendation = Sizing::new(&policy, &limits, StorageAccountType::StandardLrs).recommend(&both)?;
/// assert_eq!(recommendation.replicas, 11);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    vms: u32,
    scale_sets: Vec<u32>,
    image: Option<ImageTraits>,
}

impl Workload {
    /// Creates a workload of `vms` VMs.
    pub fn vms(vms: u32) -> Self {
        Self { vms, ..Self::default() }
    }

    /// Adds `count` scale sets of `instances` each.
    #[must_use]
    pub fn with_scale_sets(mut self, count: u32, instances: u32) -> Self {
        self.scale_sets.extend((0..count).map(|_| instances));
        self
    }

    /// Sets the traits of the image, for [`Overprovision`]. By default nothing is added to the guideline.
    #[must_use]
    pub fn with_image(mut self, image: ImageTraits) -> Self {
        self.image = Some(image);
        self
    }

    fn requests(&self) -> Vec<PlacementRequest> {
        let vms = (self.vms > 0).then_some(PlacementRequest::vms(self.vms));
        vms.into_iter().chain(self.scale_sets.iter().map(|instances| PlacementRequest::scale_set(*instances))).collect()
    }
}

/// The traits that make creations from an image slow: its OS, its size, its content. See [`Overprovision`].
///
/// ```
/// use compute_gallery::model::{Limits, OsType, StorageAccountType};
/// use compute_gallery::placement::{ImageTraits, PlacementPolicy, Sizing, Workload};
///
/// let (policy, limits, gib) = (PlacementPolicy::default(), Limits::default(), 1 << 30);
/// let sizing = Sizing::new(&policy, &limits, StorageAccountType::StandardLrs);
/// let large = ImageTraits::new(OsType::Linux, 600 * gib, 20 * gib);
/// // 6, and 50 % more above 512 GiB.
/// assert_eq!(sizing.recommend(&Workload::vms(120).with_image(large))?.replicas, 9);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageTraits {
    size_bytes: u64,
    content_bytes: u64,
    os_type: OsType,
}

impl ImageTraits {
    /// Creates the traits from the virtual size and from the bytes in it that are not zero.
    pub fn new(os_type: OsType, size_bytes: u64, content_bytes: u64) -> Self {
        Self { size_bytes, content_bytes, os_type }
    }
}

/// Percentages that sizing adds to the guideline for an image's size, content and OS type. They add up.
///
/// The original service's overview recommends to overprovision for these three and gives no numbers. The defaults are
/// starting points of this crate, not measurements: replace them once you know your image.
///
/// ```
/// use compute_gallery::model::{Limits, OsType, StorageAccountType};
/// use compute_gallery::placement::{ImageTraits, Overprovision, PlacementPolicy, Sizing, Workload};
///
/// let (policy, limits, gib) = (PlacementPolicy::default(), Limits::default(), 1 << 30);
/// let workload = Workload::vms(120).with_image(ImageTraits::new(OsType::Windows, 127 * gib, 12 * gib));
/// let sizing = Sizing::new(&policy, &limits, StorageAccountType::StandardLrs);
/// // 6, and 10 % more above 32 GiB, and 20 % more for Windows.
/// assert_eq!(sizing.recommend(&workload)?.replicas, 8);
/// let sizing = sizing.with_overprovision(Overprovision::none());
/// assert_eq!(sizing.recommend(&workload)?.replicas, 6);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overprovision {
    /// Pairs of a size in bytes and the percentage above it, ascending.
    percent_by_size: Vec<(u64, u32)>,
    dense_percent: u32,
    windows_percent: u32,
    linux_percent: u32,
}

impl Default for Overprovision {
    /// 10 % above 32 GiB, 25 % above 127 GiB (the usual OS disk of Windows), 50 % above 512 GiB; 15 % if more than half of
    /// the image has content; 20 % for Windows, which reads more of its disk before it is ready, and 0 for Linux.
    fn default() -> Self {
        let percent_by_size = vec![(32 << 30, 10), (127 << 30, 25), (512 << 30, 50)];
        Self { percent_by_size, dense_percent: 15, windows_percent: 20, linux_percent: 0 }
    }
}

impl Overprovision {
    /// Adds nothing.
    pub fn none() -> Self {
        Self { percent_by_size: Vec::new(), dense_percent: 0, windows_percent: 0, linux_percent: 0 }
    }

    /// Sets the percentage for images of more than `bytes` bytes, up to the next larger size that is set.
    #[must_use]
    pub fn with_size_above(mut self, bytes: u64, percent: u32) -> Self {
        self.percent_by_size.retain(|(above, _)| *above != bytes);
        self.percent_by_size.push((bytes, percent));
        self.percent_by_size.sort_unstable();
        self
    }

    /// Sets the percentage for images of which more than half has content.
    #[must_use]
    pub fn with_dense_content(mut self, percent: u32) -> Self {
        self.dense_percent = percent;
        self
    }

    /// Sets the percentage for an OS type.
    #[must_use]
    pub fn with_os_type(mut self, os_type: OsType, percent: u32) -> Self {
        match os_type {
            OsType::Windows => self.windows_percent = percent,
            OsType::Linux => self.linux_percent = percent,
        }
        self
    }

    /// The percentages that apply, with their reasons.
    fn of(&self, image: &ImageTraits) -> Vec<(u32, String)> {
        let size = self.percent_by_size.iter().rev().find(|(above, _)| image.size_bytes > *above);
        let size = size.map(|(above, percent)| (*percent, format!("the image is larger than {} GiB", above >> 30)));
        let dense = image.content_bytes > image.size_bytes / 2;
        let dense = dense.then(|| (self.dense_percent, "more than half of the image has content".to_owned()));
        let os_type = match image.os_type {
            OsType::Windows => (self.windows_percent, "it is Windows".to_owned()),
            OsType::Linux => (self.linux_percent, "it is Linux".to_owned()),
        };
        size.into_iter().chain(dense).chain([os_type]).filter(|(percent, _)| *percent > 0).collect()
    }
}

/// The past creations from an image in a region: their rate, their duration, their peaks.
///
/// ```
/// use std::time::Duration;
/// use compute_gallery::placement::DemandHistory;
///
/// // 30 VMs per hour of 1 minute each keep one server busy half of the time: every second creation waits.
/// let history = DemandHistory::new(30.0, Duration::from_secs(60));
/// assert_eq!(history.waiting_probability(1), 0.5);
/// assert!(history.waiting_probability(20) < 1e-9);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct DemandHistory {
    peaks: Vec<u32>,
    arrivals_per_hour: f64,
    mean_creation: Duration,
}

impl DemandHistory {
    /// Creates a history from the mean rate of VMs and the mean duration of a creation.
    pub fn new(arrivals_per_hour: f64, mean_creation: Duration) -> Self {
        Self { peaks: Vec::new(), arrivals_per_hour, mean_creation }
    }

    /// Returns the probability that a creation waits if `concurrent` of them can run at once, by Erlang's C formula (1917): 1 if
    /// they can't keep up.
    ///
    /// The formula is exact for random arrivals (Poisson) with exponentially distributed durations. With steadier durations
    /// about as many creations wait, and for less time.
    pub fn waiting_probability(&self, concurrent: u64) -> f64 {
        erlang_c(concurrent, self.offered())
    }

    /// The mean number of concurrent creations if none waited, in erlangs.
    fn offered(&self) -> f64 {
        self.arrivals_per_hour / 3_600.0 * self.mean_creation.as_secs_f64()
    }

    /// Adds the most VMs that were created at the same time in each period, such as each day.
    #[must_use]
    pub fn with_peaks(mut self, peaks: impl IntoIterator<Item = u32>) -> Self {
        self.peaks.extend(peaks);
        self
    }
}

/// A recommended replica count with its reasons.
///
/// `{}` prints both.
///
/// ```
/// use compute_gallery::model::{Limits, StorageAccountType};
/// use compute_gallery::placement::{PlacementPolicy, Sizing, Workload};
///
/// let (policy, limits) = (PlacementPolicy::default(), Limits::default().with_replicas_per_region(5));
/// let sizing = Sizing::new(&policy, &limits, StorageAccountType::StandardLrs);
/// let recommendation = sizing.recommend(&Workload::vms(120))?;
/// assert_eq!((recommendation.replicas, recommendation.missing), (5, 1));
/// assert!(recommendation.to_string().starts_with("5 replicas: 6 for 120 VMs at 20 per replica; "));
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recommendation {
    /// The replica count for the region, within the policy's and the limits' bounds.
    pub replicas: u32,
    /// The replicas that are needed beyond the limit; 0 if the limit suffices.
    pub missing: u32,
    /// The steps of the calculation, in order.
    pub reasons: Vec<String>,
}

impl fmt::Display for Recommendation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.replicas == 1 { "" } else { "s" };
        write!(f, "{} replica{plural}: {}", self.replicas, self.reasons.join("; "))
    }
}

/// Recommends a number of replicas for a region.
///
/// ```
/// use std::time::Duration;
/// use compute_gallery::model::{Limits, StorageAccountType};
/// use compute_gallery::placement::{DemandHistory, PlacementPolicy, Sizing, Workload};
///
/// let (policy, limits) = (PlacementPolicy::default(), Limits::default());
/// let sizing = Sizing::new(&policy, &limits, StorageAccountType::StandardLrs);
/// // The examples of the original service's overview.
/// assert_eq!(sizing.recommend(&Workload::vms(120))?.replicas, 6);
/// assert_eq!(sizing.recommend(&Workload::default().with_scale_sets(5, 600))?.replicas, 5);
///
/// // 1,200 VMs per hour of 5 minutes each are 100 at once on average. At most one in a hundred may wait.
/// let history = DemandHistory::new(1_200.0, Duration::from_secs(300));
/// assert_eq!(sizing.recommend_for(&history, 0.01)?.replicas, 7);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sizing<'a> {
    policy: &'a PlacementPolicy,
    limits: &'a Limits,
    storage: StorageAccountType,
    overprovision: Overprovision,
}

impl<'a> Sizing<'a> {
    /// Creates a sizing for replicas on `storage`: by the policy's capacity, up to the limits' most replicas.
    pub fn new(policy: &'a PlacementPolicy, limits: &'a Limits, storage: StorageAccountType) -> Self {
        Self { policy, limits, storage, overprovision: Overprovision::default() }
    }

    /// Sets the percentages that an image's traits add to the guideline.
    #[must_use]
    pub fn with_overprovision(mut self, overprovision: Overprovision) -> Self {
        self.overprovision = overprovision;
        self
    }

    /// Recommends a replica count for a workload: the fewest replicas on which all of it fits at once, plus the percentages for
    /// the image's traits, within the bounds.
    ///
    /// The workload then fits if it is placed as a [batch](Pool::place_batch), or with the scale sets first. VMs that come
    /// first spread over all replicas, and a large scale set behind them waits for a nearly idle one: if both come in any
    /// order, make replicas [exclusive](ReplicaSharing::Exclusive) or have more of them.
    ///
    /// # Errors
    ///
    /// `LimitReached` for a scale set above the limit, `Invalid` for one of 0 instances.
    pub fn recommend(&self, workload: &Workload) -> Result<Recommendation> {
        let fewest = self.fewest(&workload.requests())?;
        let capacity = self.policy.capacity_on(self.storage);
        let vms = format!("{} VMs at {} per replica", workload.vms, capacity.vms());
        let (count, instances) = (workload.scale_sets.len(), capacity.scale_set_instances());
        let scale_sets = format!("{count} scale sets at {instances} instances per replica");
        let what = match (workload.vms, count) {
            (_, 0) => vms,
            (0, _) => scale_sets,
            _ => format!("{vms} and {scale_sets}"),
        };
        let mut reasons = vec![format!("{fewest} for {what}")];
        let factors = workload.image.as_ref().map(|image| self.overprovision.of(image)).unwrap_or_default();
        let percent: u64 = factors.iter().map(|(percent, _)| u64::from(*percent)).sum();
        reasons.extend(factors.iter().map(|(percent, reason)| format!("{percent} % more because {reason}")));
        let more = (u64::from(fewest) * percent).div_ceil(100);
        Ok(self.bounded(u64::from(fewest) + more, reasons))
    }

    /// Recommends the fewest replicas with which at most `probability` of the creations wait: for the rate by Erlang's
    /// [C formula](DemandHistory::waiting_probability), for the peaks by the share that exceeds the capacity. It adds nothing
    /// for the image's traits, which the durations contain.
    ///
    /// # Errors
    ///
    /// `Invalid` if the probability is not between 0 and 1, or the rate is negative or not a number.
    pub fn recommend_for(&self, history: &DemandHistory, probability: f64) -> Result<Recommendation> {
        let mut problems = Vec::new();
        if !(probability > 0.0 && probability < 1.0) {
            let what = format!("`{probability}` is not above 0 and below 1");
            problems.push(Problem::invalid("probability", what));
        }
        let per_replica = u64::from(self.policy.capacity_on(self.storage).vms());
        let offered = history.offered();
        // The formula counts up to it one by one, so the range is bounded.
        if !(0.0..=1e9).contains(&offered) {
            let what = format!("the history has `{offered}` creations at once: from 0 to 1,000,000,000 are allowed");
            problems.push(Problem::invalid("arrivalsPerHour", what));
        }
        Error::from_problems(problems)?;
        let queueing = replicas_for(per_replica, offered, probability);
        let mut reasons = vec![format!(
            "{queueing} for {offered:.1} creations at once on average, of which at most {probability} wait"
        )];
        let peak = peak(&history.peaks, probability).map(|peak| (peak, u64::from(peak).div_ceil(per_replica)));
        if let Some((peak, replicas)) = peak {
            reasons
                .push(format!("{replicas} for a peak of {peak} VMs, which at most {probability} of the peaks exceed"));
        }
        Ok(self.bounded(queueing.max(peak.map_or(0, |(_, replicas)| replicas)), reasons))
    }

    /// The fewest replicas on which a pool places all requests.
    fn fewest(&self, requests: &[PlacementRequest]) -> Result<u32> {
        let pool = Pool::new(self.policy, self.limits, self.storage);
        // A request that is wrong at any load would never fit.
        requests.iter().try_for_each(|request| pool.check(request))?;
        let units: u64 = requests.iter().map(|request| pool.units_of(request)).sum();
        let least = u32::try_from(units.div_ceil(pool.capacity())).unwrap_or(u32::MAX);
        // Without sharing, the sum of the units is exact.
        if self.policy.replica_sharing() == ReplicaSharing::Exclusive {
            return Ok(least);
        }
        pool.resize(least);
        // It ends: one replica for each part of a scale set is enough.
        while pool.place_batch(requests).is_err() {
            pool.add_replica(None);
        }
        Ok(pool.replicas().len() as u32)
    }

    fn bounded(&self, replicas: u64, mut reasons: Vec<String>) -> Recommendation {
        let max = self.limits.replicas_per_region().max(1);
        let min = self.policy.min_replicas().min(max);
        let wanted = u32::try_from(replicas).unwrap_or(u32::MAX);
        if wanted < min {
            reasons.push(format!("at least {min}"));
        }
        let missing = wanted.saturating_sub(max);
        if missing > 0 {
            reasons.push(format!(
                "at most {max}: {missing} are missing, so use more regions or versions, or raise the limit"
            ));
        }
        Recommendation { replicas: wanted.clamp(min, max), missing, reasons }
    }
}

/// The smallest peak that at most `share` of the peaks exceed.
fn peak(peaks: &[u32], share: f64) -> Option<u32> {
    let mut sorted = peaks.to_vec();
    sorted.sort_unstable();
    let exceeding = (sorted.len() as f64 * share).floor() as usize;
    sorted.iter().rev().nth(exceeding).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replicas(policy: &PlacementPolicy, workload: &Workload) -> u32 {
        Sizing::new(policy, &Limits::default(), StorageAccountType::StandardLrs).recommend(workload).unwrap().replicas
    }

    #[test]
    fn the_guideline_holds_for_both_kinds_of_sharing_and_both_presets() {
        let both = Workload::vms(120).with_scale_sets(5, 600);
        let small = Workload::vms(10).with_scale_sets(5, 100);
        let large = Workload::default().with_scale_sets(3, 1_000);
        let shared = PlacementPolicy::default();
        let apart = PlacementPolicy::default().with_replica_sharing(ReplicaSharing::Exclusive);
        assert_eq!([&both, &small, &large].map(|workload| replicas(&shared, workload)), [11, 2, 6]);
        assert_eq!([&both, &small, &large].map(|workload| replicas(&apart, workload)), [11, 6, 6]);
        let today = PlacementPolicy::azure_2026();
        assert_eq!([&both, &small, &large].map(|workload| replicas(&today, workload)), [6, 3, 3]);
        assert_eq!(replicas(&today, &Workload::vms(500)), 10, "its documentation's example");
    }

    #[test]
    fn a_recommendation_stays_within_the_bounds_and_counts_what_is_missing() {
        let policy = PlacementPolicy::default().with_min_replicas(3);
        let limits = Limits::default().with_replicas_per_region(10);
        let sizing = Sizing::new(&policy, &limits, StorageAccountType::StandardLrs);
        assert_eq!(sizing.recommend(&Workload::default()).unwrap().replicas, 3);
        let much = sizing.recommend(&Workload::vms(260)).unwrap();
        assert_eq!((much.replicas, much.missing), (10, 3));
        assert!(much.to_string().contains("at most 10: 3 are missing"), "{much}");
        assert!(sizing.recommend(&Workload::default().with_scale_sets(1, 1_001)).is_err());
    }

    /// A policy that asks for more than the limits allow neither panics nor gets around them.
    #[test]
    fn the_limit_wins_over_the_policys_fewest_replicas() {
        let policy = PlacementPolicy::default().with_min_replicas(5);
        let limits = Limits::default().with_replicas_per_region(2);
        let sizing = Sizing::new(&policy, &limits, StorageAccountType::StandardLrs);
        assert_eq!(sizing.recommend(&Workload::vms(1)).unwrap().replicas, 2);
    }

    #[test]
    fn each_trait_adds_its_percentage() {
        let policy = PlacementPolicy::default();
        let limits = Limits::default();
        let sizing = Sizing::new(&policy, &limits, StorageAccountType::StandardLrs);
        let recommend = |image| sizing.recommend(&Workload::vms(2_000).with_image(image)).unwrap().replicas;
        const GIB: u64 = 1 << 30;
        assert_eq!(recommend(ImageTraits::new(OsType::Linux, 32 * GIB, GIB)), 100);
        let limits = Limits::default().with_replicas_per_region(1_000);
        let sizing = Sizing::new(&policy, &limits, StorageAccountType::StandardLrs);
        let recommend = |image| sizing.recommend(&Workload::vms(2_000).with_image(image)).unwrap().replicas;
        assert_eq!(recommend(ImageTraits::new(OsType::Linux, 33 * GIB, GIB)), 110);
        assert_eq!(recommend(ImageTraits::new(OsType::Linux, 30 * GIB, 20 * GIB)), 115);
        assert_eq!(recommend(ImageTraits::new(OsType::Windows, 1_024 * GIB, 600 * GIB)), 185);
    }

    #[test]
    fn history_counts_by_rate_and_by_peaks() {
        let policy = PlacementPolicy::default();
        let limits = Limits::default();
        let sizing = Sizing::new(&policy, &limits, StorageAccountType::StandardLrs);
        let calm = DemandHistory::new(120.0, Duration::from_secs(300));
        assert_eq!(sizing.recommend_for(&calm, 0.05).unwrap().replicas, 1);
        // One day in twenty is left out, and not two.
        let days = |bad: usize| (0..20).map(move |day| if day < bad { 400 } else { 90 });
        assert_eq!(sizing.recommend_for(&calm.clone().with_peaks(days(1)), 0.05).unwrap().replicas, 5);
        assert_eq!(sizing.recommend_for(&calm.clone().with_peaks(days(2)), 0.05).unwrap().replicas, 20);
        for (history, probability) in [(calm, 0.0), (DemandHistory::new(f64::NAN, Duration::from_secs(1)), 0.5)] {
            assert!(sizing.recommend_for(&history, probability).is_err());
        }
    }
}
