//! Lifecycle policies: the newest versions in many regions, older ones in one.

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

/// The target regions of a definition's versions by age: the newest go to many regions, older ones to their own alone.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
/// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
/// use compute_gallery::change::LifecyclePolicy;
///
/// # sandbox.publish("1.0.1", vec![7; 4096]).await?;
/// // The newest in three regions; older ones only where they were made, with one replica.
/// let policy = LifecyclePolicy::new(1, "westeurope,eastus=2,northeurope".parse()?).with_removal_of_protected();
/// let changed = session.apply_lifecycle(image, policy).await?;
/// assert_eq!(changed[0].id(), &version);
/// assert_eq!(changed[0].publishing_profile().target_regions().iter().count(), 1);
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LifecyclePolicy {
    newest: usize,
    regions: TargetRegions,
    older_replicas: ReplicaCount,
    removes_protected: bool,
}

impl LifecyclePolicy {
    /// Returns a policy: the `newest` versions by number go to `regions` and to their own location, older ones to their own
    /// location alone, with one replica.
    ///
    /// In regions that a version is in already it keeps `excludeFromLatest` and its storage. A version that is incomplete
    /// at home or excluded from latest is left as it is and does not count. An older version leaves a region only when a
    /// newer one is complete there.
    ///
    /// ```
    /// use compute_gallery::change::LifecyclePolicy;
    ///
    /// let policy = LifecyclePolicy::new(2, "westeurope=3,eastus".parse()?);
    /// assert_ne!(policy, LifecyclePolicy::new(3, "westeurope=3,eastus".parse()?));
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    pub fn new(newest: usize, regions: TargetRegions) -> Self {
        Self { newest, regions, older_replicas: ReplicaCount::ONE, removes_protected: false }
    }

    /// Sets the replica count of older versions. 1 by default.
    #[must_use]
    pub fn with_older_replicas(mut self, replicas: ReplicaCount) -> Self {
        self.older_replicas = replicas;
        self
    }

    /// Removes older versions from regions even if their safety profile forbids it. By default the policy is refused then.
    #[must_use]
    pub fn with_removal_of_protected(mut self) -> Self {
        self.removes_protected = true;
        self
    }

    /// Returns the versions to change, with their new target regions.
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
        // A region that the version is in keeps its flags and its storage: the policy sets counts alone.
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

/// # Lifecycle
impl Session {
    /// Applies a policy to all versions of a definition in one commit, and returns the changed versions.
    /// [`replicate`](Self::replicate) then brings them to the regions that were added.
    ///
    /// # Errors
    ///
    /// As [`update_image_version`](Self::update_image_version).
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// use compute_gallery::change::LifecyclePolicy;
    ///
    /// let policy = LifecyclePolicy::new(1, "westeurope,eastus=2,northeurope".parse()?);
    /// let changed = session.apply_lifecycle(image, policy).await?;
    /// assert_eq!(changed[0].publishing_profile().replicas_in(&"eastus".parse()?), Some(2));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
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
            // What is deleted, or is to be, neither changes nor stands for an older one.
            let stays = |record: &&Arc<VersionRecord>| {
                record.soft_deleted.is_none() && state.deletion_of(&record.version.id().into()).is_none()
            };
            let there = state.versions(&definition, None).filter(stays);
            let changes = match policy.changes(there) {
                Ok(changes) => changes,
                Err(error) => return Plan::refused(error.into_problems()),
            };
            let mut plan = Plan::default();
            for version in changes {
                let Some(old) = state.version(version.id()) else { continue };
                // A caller may be allowed at the definition, and denied at a version.
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
