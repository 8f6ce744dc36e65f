//! Advises more replicas when they are busy and fewer after a long idle time. It changes nothing itself.

use std::collections::VecDeque;
use std::fmt;

use super::observation::Observation;
use super::policy::PlacementPolicy;
use crate::model::Limits;

/// A replica count to move to, and the reason.
///
/// `{}` prints both.
///
/// ```
/// use compute_gallery::model::Limits;
/// use compute_gallery::placement::{Autoscaler, PlacementPolicy, Pool};
///
/// let advice = Autoscaler::new(&PlacementPolicy::azure_2026(), &Limits::default()).observe(&Pool::default().observe());
/// assert_eq!((advice.replicas, advice.change), (3, 3));
/// assert!(advice.to_string().starts_with("3 replicas (+3): "));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScalingAdvice {
    /// The number of replicas that should serve.
    pub replicas: u32,
    /// How many to add to those that serve; negative to drain.
    pub change: i64,
    /// One sentence, with the numbers that led to it.
    pub reason: String,
}

impl fmt::Display for ScalingAdvice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.replicas == 1 { "" } else { "s" };
        write!(f, "{} replica{plural} ({:+}): {}", self.replicas, self.change, self.reason)
    }
}

/// Advises on a region's replica count by the rule of Kubernetes' horizontal pod autoscaler: enough replicas to bring the
/// load to a target, no change within a tolerance of it, more at once, and fewer only if every observation of a window
/// needed fewer. A short lull therefore removes no replica that the next burst needs: a replica is a deep copy and takes
/// long to make.
///
/// ```
/// use compute_gallery::model::Limits;
/// use compute_gallery::placement::{Autoscaler, PlacementPolicy, Pool};
///
/// let mut autoscaler = Autoscaler::new(&PlacementPolicy::default(), &Limits::default());
/// let pool = Pool::default();
/// pool.resize(4);
/// let vms = pool.place_vms(80)?;
/// let advice = autoscaler.observe(&pool.observe());
/// // 80 VMs at 70 % of 20 per replica.
/// assert_eq!((advice.replicas, advice.change), (6, 2));
/// pool.resize(advice.replicas);
///
/// drop(vms);
/// assert_eq!(autoscaler.observe(&pool.observe()).change, 0);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Autoscaler {
    min: u32,
    max: u32,
    target_percent: u32,
    tolerance_percent: u32,
    window: usize,
    /// The replicas that each observation of the window needed.
    recent: VecDeque<u32>,
}

impl Autoscaler {
    /// Creates an autoscaler between the policy's fewest replicas and the limits' most.
    ///
    /// By default the target is 70 % (one replica of four can fail), the tolerance 10 % of that, and the window 5
    /// observations. Tolerance and window are Kubernetes': its window of 5 minutes is 5 observations, one per minute.
    pub fn new(policy: &PlacementPolicy, limits: &Limits) -> Self {
        let max = limits.replicas_per_region().max(1);
        let min = policy.min_replicas().min(max);
        Self { min, max, target_percent: 70, tolerance_percent: 10, window: 5, recent: VecDeque::new() }
    }

    /// Sets the target load in percent of the replicas' capacity, clamped to 1 to 100.
    #[must_use]
    pub fn with_target(mut self, percent: u32) -> Self {
        self.target_percent = percent.clamp(1, 100);
        self
    }

    /// Sets how far the load may be from the target without a change, in percent of the target.
    #[must_use]
    pub fn with_tolerance(mut self, percent: u32) -> Self {
        self.tolerance_percent = percent;
        self
    }

    /// Sets how many observations in a row must need fewer replicas before it advises fewer; 0 counts as 1.
    #[must_use]
    pub fn with_window(mut self, observations: usize) -> Self {
        self.window = observations.max(1);
        self
    }

    /// Records an observation and returns the advice. Observe at equal intervals: the window counts observations, not time.
    pub fn observe(&mut self, observation: &Observation) -> ScalingAdvice {
        let Observation { serving, load, waiting, capacity } = *observation;
        let demand = u128::from(load) + u128::from(waiting);
        let target = u128::from(capacity.max(1)) * u128::from(self.target_percent);
        let needed = (demand * 100).div_ceil(target);
        // Compared as fractions: demand / (serving * target), against 1.
        let (ratio, one) = (demand * 10_000, u128::from(serving) * target);
        let tolerance = u128::from(self.tolerance_percent);
        let is_near = waiting == 0 && ratio.abs_diff(one * 100) <= one * tolerance;
        let desired = if is_near { serving } else { u32::try_from(needed).unwrap_or(u32::MAX) };
        let desired = desired.clamp(self.min, self.max);

        self.recent.push_back(desired);
        while self.recent.len() > self.window {
            self.recent.pop_front();
        }
        let most = self.recent.iter().copied().max().unwrap_or(desired);
        let percent = if one == 0 { 0 } else { demand * 100 / (u128::from(serving) * u128::from(capacity.max(1))) };
        let (replicas, reason) = if desired > serving {
            (desired, format!("the load is {percent} % of the capacity: {desired} are needed"))
        } else if desired == serving {
            (serving, format!("the load of {percent} % is near the target"))
        } else if self.recent.len() < self.window {
            let seen = self.recent.len();
            (serving, format!("{desired} would do now, but only {seen} of {} observations are known", self.window))
        } else if most < serving {
            (most, format!("{most} would have done in each of the last {} observations", self.window))
        } else {
            (
                serving,
                format!("{desired} would do now, but {most} were needed within the last {} observations", self.window),
            )
        };
        ScalingAdvice { replicas, change: i64::from(replicas) - i64::from(serving), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(serving: u32, percent: u64) -> Observation {
        Observation { serving, load: u64::from(serving) * 600 * percent / 100, waiting: 0, capacity: 600 }
    }

    fn autoscaler() -> Autoscaler {
        let limits = Limits::default().with_replicas_per_region(20);
        Autoscaler::new(&PlacementPolicy::default().with_min_replicas(2), &limits)
    }

    #[test]
    fn near_the_target_nothing_is_changed() {
        let mut autoscaler = autoscaler();
        for percent in [63, 70, 77, 65, 75, 64] {
            assert_eq!(autoscaler.observe(&seen(10, percent)).change, 0, "{percent}");
        }
        assert_eq!(autoscaler.observe(&seen(10, 80)).change, 2);
    }

    #[test]
    fn a_lull_is_waited_out_and_a_night_is_not() {
        let mut autoscaler = autoscaler();
        for _ in 0..2 {
            autoscaler.observe(&seen(10, 70));
            for _ in 0..4 {
                assert_eq!(autoscaler.observe(&seen(10, 14)).change, 0);
            }
        }
        assert_eq!(autoscaler.observe(&seen(10, 14)).change, -8);
        assert_eq!(autoscaler.observe(&seen(2, 70)).change, 0);
    }

    /// A load that goes up and down faster than the window changes the count once.
    #[test]
    fn it_does_not_flap() {
        let (mut autoscaler, mut replicas, mut changes) = (autoscaler(), 5, 0);
        for minute in 0..100 {
            let load = if minute % 3 == 0 { 4_200 } else { 1_200 };
            let advice = autoscaler.observe(&Observation { serving: replicas, load, waiting: 0, capacity: 600 });
            changes += u32::from(advice.change != 0);
            replicas = advice.replicas;
        }
        assert_eq!((replicas, changes), (10, 1));
    }

    #[test]
    fn those_that_wait_count_and_the_bounds_hold() {
        let waiting = Observation { waiting: 600, ..seen(2, 100) };
        assert_eq!(autoscaler().observe(&waiting).replicas, 5);
        assert_eq!(autoscaler().observe(&Observation { waiting: 1 << 40, ..waiting }).replicas, 20);
        assert_eq!(autoscaler().observe(&seen(0, 0)).replicas, 2);
    }
}
