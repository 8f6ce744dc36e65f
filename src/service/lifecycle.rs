//! The newest versions in many regions, the older ones in one.

use super::authorize::Need;
use super::change::moves;
use super::parts::Parts;
use super::plan::{Operation, Plan};
use super::rules;
use super::session::Session;
use crate::access::Action;
use crate::catalog::{Event, State};
use crate::error::Result;
use crate::model::{ImageDefinitionId, ImageVersion, ReplicaCount, TargetRegion, TargetRegions};

/// Where the versions of a definition go by their age: the newest to many regions, all older ones to their own alone.
///
/// ```
/// use compute_gallery::LifecyclePolicy;
///
/// // The newest two in three regions; older ones only where they were made, with one replica.
/// let policy = LifecyclePolicy::new(2, "westeurope=3,eastus=2,southeastasia".parse()?);
/// # let _ = policy;
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LifecyclePolicy {
    newest: usize,
    regions: TargetRegions,
    older_replicas: ReplicaCount,
}

impl LifecyclePolicy {
    /// The `newest` versions by number go to `regions` (and to their own location, where that is not among them); older
    /// ones to their own location alone, with one replica. Where a version is already, it keeps its exclusion from
    /// latest and its storage.
    pub fn new(newest: usize, regions: TargetRegions) -> Self {
        Self { newest, regions, older_replicas: ReplicaCount::ONE }
    }

    /// Sets how many replicas the older ones keep.
    #[must_use]
    pub fn with_older_replicas(mut self, replicas: ReplicaCount) -> Self {
        self.older_replicas = replicas;
        self
    }

    /// Those of `versions`, given in numeric order, that are to change, as they are to be. To take a version out of
    /// regions its safety profile must allow that, so it is set to.
    ///
    /// # Errors
    ///
    /// `Invalid` where the regions of the policy and a version's own do not go together.
    pub fn changes<'a>(
        &self,
        versions: impl DoubleEndedIterator<Item = &'a ImageVersion>,
    ) -> Result<Vec<ImageVersion>> {
        let mut changes = Vec::new();
        for (age, version) in versions.rev().enumerate() {
            let home = version.location();
            let profile = version.publishing_profile();
            let own =
                || profile.target_regions().find(home).cloned().unwrap_or_else(|| TargetRegion::new(home.clone()));
            // A region that the version goes to already keeps its flags and its storage: only counts are the policy's.
            let merged = |target: &TargetRegion| match profile.target_regions().find(target.region()) {
                Some(there) => match target.regional_replica_count() {
                    Some(count) => there.clone().with_regional_replica_count(count),
                    None => there.clone(),
                },
                None => target.clone(),
            };
            let wanted = match age < self.newest {
                true => {
                    let missing = self.regions.find(home).is_none().then(own);
                    TargetRegions::new(missing.into_iter().chain(self.regions.iter().map(merged)).collect())?
                }
                false => TargetRegions::new(vec![own().with_regional_replica_count(self.older_replicas)])?,
            };
            if *profile.target_regions() == wanted {
                continue;
            }
            let removes = profile.target_regions().iter().any(|target| wanted.find(target.region()).is_none());
            let mut changed = version.clone().with_publishing_profile(profile.clone().with_target_regions(wanted))?;
            if removes {
                let safety = version.safety_profile().with_deletion_of_replicated_locations(true);
                changed = changed.with_safety_profile(safety);
            }
            changes.push(changed);
        }
        changes.reverse();
        Ok(changes)
    }
}

impl Session {
    /// Applies a policy to all versions of a definition, in one commit: all of it, or nothing.
    /// [`replicate`](Self::replicate) then brings the versions that it answers with to the regions that were added.
    ///
    /// # Errors
    ///
    /// As [`update_image_version`](Self::update_image_version).
    pub fn apply_lifecycle(
        &self,
        definition: &ImageDefinitionId,
        policy: LifecyclePolicy,
    ) -> Operation<Vec<ImageVersion>> {
        let needs = vec![Need::new(Action::WriteVersion, definition)];
        let definition = definition.clone();
        let judge = move |state: &State, parts: &Parts| {
            if state.definition(&definition).is_none() {
                return Plan::refused(vec![rules::missing(&definition)]);
            }
            let there = || state.versions(&definition, None).filter(|record| record.soft_deleted.is_none());
            let changes = match policy.changes(there().map(|record| &*record.version)) {
                Ok(changes) => changes,
                Err(error) => return Plan::refused(error.into_problems()),
            };
            let mut plan = Plan::default();
            for version in changes {
                let Some(old) = state.version(version.id()) else { continue };
                plan.problems.extend(rules::update_version(parts, parts.clock.now(), old, &version));
                plan.regions.extend(moves(old, &version));
                plan.events.push(Event::ImageVersionUpdated { version });
            }
            if !plan.problems.is_empty() {
                plan.events.clear();
            }
            plan
        };
        let updated = |plan: Plan| {
            let versions = plan.events.into_iter().filter_map(|event| match event {
                Event::ImageVersionUpdated { version } => Some(version),
                _ => None,
            });
            versions.collect()
        };
        Operation::new(self, needs, judge, updated)
    }
}
