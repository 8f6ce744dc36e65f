//! The newest versions in many regions, the older ones in one.

use std::sync::Arc;

use super::pending::Change;
use super::resources::moves;
use crate::access::Action;
use crate::catalog::{Event, State, VersionRecord};
use crate::error::Result;
use crate::model::{
    ImageDefinitionId, ImageVersion, PublishingProfile, Region, ReplicaCount, TargetRegion, TargetRegions,
};
use crate::service::rules::refusals::missing;
use crate::service::rules::version::{RegionProtection, update_version};
use crate::service::session::inner::Inner;
use crate::service::session::plan::Plan;
use crate::service::session::rights::Need;
use crate::service::session::session::Session;

/// Where the versions of a definition go by their age: the newest to many regions, all older ones to their own alone.
///
/// ```
/// use compute_gallery::change::LifecyclePolicy;
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
    removes_protected: bool,
}

impl LifecyclePolicy {
    /// The `newest` versions by number go to `regions` (and to their own location, where that is not among them); older
    /// ones to their own location alone, with one replica. Where a version is already, it keeps its exclusion from
    /// latest and its storage. A version that is not complete at home or excluded from latest is neither, and is left as it
    /// is; an older one leaves a region only when a newer one is complete there.
    pub fn new(newest: usize, regions: TargetRegions) -> Self {
        Self { newest, regions, older_replicas: ReplicaCount::ONE, removes_protected: false }
    }

    /// Sets how many replicas the older ones keep.
    #[must_use]
    pub fn with_older_replicas(mut self, replicas: ReplicaCount) -> Self {
        self.older_replicas = replicas;
        self
    }

    /// Takes older versions out of regions also where their safety profile does not allow that, which it doesn't where
    /// nothing is said.
    #[must_use]
    pub fn with_removal_of_protected(mut self) -> Self {
        self.removes_protected = true;
        self
    }

    /// Those of a definition's versions that are to change, as they are to be.
    fn changes<'a>(
        &self,
        records: impl DoubleEndedIterator<Item = &'a Arc<VersionRecord>>,
    ) -> Result<Vec<ImageVersion>> {
        let mut changes = Vec::new();
        let (mut age, mut newer): (usize, Vec<&VersionRecord>) = (0, Vec::new());
        for record in records.rev() {
            let (version, home) = (&record.version, record.version.location());
            let profile = version.publishing_profile();
            if record.replicas_ready(home) == 0 || profile.is_excluded_from_latest_in(home) {
                continue;
            }
            let served = |region: &Region| newer.iter().any(|newer| newer.replicas_ready(region) > 0);
            let wanted = match age < self.newest {
                true => self.wide(profile, home)?,
                false => self.narrow(profile, home, &served)?,
            };
            age += 1;
            newer.push(record);
            if *profile.target_regions() != wanted {
                let profile = profile.clone().with_target_regions(wanted);
                changes.push(ImageVersion::clone(version).with_publishing_profile(profile)?);
            }
        }
        changes.reverse();
        Ok(changes)
    }

    fn wide(&self, profile: &PublishingProfile, home: &Region) -> Result<TargetRegions> {
        // A region that the version goes to already keeps its flags and its storage: only counts are the policy's.
        let merged = |target: &TargetRegion| match profile.target_regions().find(target.region()) {
            Some(there) => match target.regional_replica_count() {
                Some(count) => there.clone().with_regional_replica_count(count),
                None => there.clone(),
            },
            None => target.clone(),
        };
        let missing = self.regions.find(home).is_none().then(|| own(profile, home));
        TargetRegions::new(missing.into_iter().chain(self.regions.iter().map(merged)).collect())
    }

    fn narrow(
        &self,
        profile: &PublishingProfile,
        home: &Region,
        served: &dyn Fn(&Region) -> bool,
    ) -> Result<TargetRegions> {
        let targets = profile.target_regions().iter();
        let kept = targets.filter(|target| target.region() != home && !served(target.region()));
        let own = own(profile, home).with_regional_replica_count(self.older_replicas);
        TargetRegions::new(std::iter::once(own).chain(kept.cloned()).collect())
    }
}

fn own(profile: &PublishingProfile, home: &Region) -> TargetRegion {
    profile.target_regions().find(home).cloned().unwrap_or_else(|| TargetRegion::new(home.clone()))
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
    ) -> Change<Vec<ImageVersion>> {
        let needs = vec![Need::new(Action::WriteVersion, definition)];
        let (definition, session) = (definition.clone(), self.clone());
        let judge = move |state: &State, inner: &Inner| {
            if state.definition(&definition).is_none() {
                return Plan::refused(vec![missing(&definition)]);
            }
            let there = || state.versions(&definition, None).filter(|record| record.soft_deleted.is_none());
            let changes = match policy.changes(there()) {
                Ok(changes) => changes,
                Err(error) => return Plan::refused(error.into_problems()),
            };
            let mut plan = Plan::default();
            for version in changes {
                let Some(old) = state.version(version.id()) else { continue };
                // Somebody may be allowed to in the definition, and denied it at a version.
                if let Err(refused) = session.rights().require(state, &[Need::new(Action::WriteVersion, version.id())])
                {
                    plan.problems.extend(refused);
                    continue;
                }
                let protection = match policy.removes_protected {
                    true => RegionProtection::Lifted,
                    false => RegionProtection::Held,
                };
                plan.problems.extend(update_version(state, inner, old, &version, protection));
                plan.regions.extend(moves(inner, old, &version));
                plan.events.push(Event::ImageVersionUpdated { version });
            }
            if !plan.problems.is_empty() {
                plan.events.clear();
                plan.regions.clear();
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
        Change::new(self, needs, judge, updated)
    }
}
