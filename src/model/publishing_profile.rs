//! Publishing profiles: the regions that a version goes to, and with how many replicas.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::body::{FromBody, from_body, from_body_by, located, plain};
use super::encryption::EncryptionImages;
use super::limits::Limits;
use super::region::Region;
use super::shared::Spelled;
use super::text::from_text;
use crate::error::{Error, Problem, Result};

const TARGET: &str = "galleryImageVersion.properties.publishingProfile.targetRegions";

/// A number of replicas: at least 1, and at most what the service's [`Limits`](crate::model::Limits) allow, 100 by default.
///
/// ```
/// use compute_gallery::model::ReplicaCount;
///
/// assert_eq!(ReplicaCount::ONE, ReplicaCount::new(1)?);
/// assert!(ReplicaCount::new(0).is_err());
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct ReplicaCount(u32);

impl ReplicaCount {
    /// One replica.
    pub const ONE: Self = Self(1);

    /// Returns a count of `replicas`. Publishing checks it against the service's limit.
    ///
    /// ```
    /// use compute_gallery::model::ReplicaCount;
    ///
    /// assert_eq!(ReplicaCount::new(3)?.get(), 3);
    /// assert!(ReplicaCount::new(0).unwrap_err().to_string().contains("must be between '1' and '100'"));
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `Invalid` for 0: a region without a replica is not a target region.
    pub fn new(replicas: u32) -> Result<Self> {
        match replicas {
            0 => Err(Error::new(out_of_range("regionalReplicaCount", 0, Limits::default().replicas_per_region()))),
            _ => Ok(Self(replicas)),
        }
    }

    /// Returns the number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for ReplicaCount {
    type Error = Error;

    fn try_from(count: u32) -> Result<Self> {
        Self::new(count)
    }
}

/// Returns the problem of a count that is not from 1 to `most`.
pub(crate) fn out_of_range(target: impl Into<String>, count: u32, most: u32) -> Problem {
    let target = target.into();
    let what = format!(
        "The value '{count}' of parameter '{target}' is out of range. The value must be between '1' and '{most}', inclusive."
    );
    Problem::invalid(target, what)
}

impl FromBody for ReplicaCount {
    fn from_body(path: &str, value: &serde_json::Value) -> Result<Self> {
        plain::<u32>(path, value)?.try_into().map_err(|error| located(error, path))
    }
}

impl From<ReplicaCount> for u32 {
    fn from(count: ReplicaCount) -> Self {
        count.0
    }
}

/// The redundancy and speed of the storage of replicas (Azure: `storageAccountType`).
///
/// ```
/// use compute_gallery::model::StorageAccountType;
///
/// assert_eq!(StorageAccountType::default().to_string(), "Standard_LRS");
/// assert_eq!(serde_json::to_value(StorageAccountType::StandardZrs).unwrap(), "Standard_ZRS");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StorageAccountType {
    /// Each replica in one zone.
    #[default]
    #[serde(rename = "Standard_LRS")]
    StandardLrs,
    /// Each replica in every zone of the region, which has to have zones.
    #[serde(rename = "Standard_ZRS")]
    StandardZrs,
    /// Each replica in one zone, on fast storage, which the region's store has to provide.
    #[serde(rename = "Premium_LRS")]
    PremiumLrs,
}

impl fmt::Display for StorageAccountType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StandardLrs => "Standard_LRS",
            Self::StandardZrs => "Standard_ZRS",
            Self::PremiumLrs => "Premium_LRS",
        })
    }
}

/// A region that a version goes to, and how. As text: `westeurope`, or `West Europe=2` with a replica count.
///
/// By default everything but the region is as in the [`PublishingProfile`].
///
/// ```
/// use compute_gallery::model::{ReplicaCount, TargetRegion};
///
/// let target: TargetRegion = "West Europe=2".parse()?;
/// assert_eq!(target, TargetRegion::new("West Europe".parse()?).with_regional_replica_count(ReplicaCount::new(2)?));
/// assert!("westeurope=0".parse::<TargetRegion>().is_err());
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetRegion {
    #[serde(rename = "name")]
    region: Region,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    regional_replica_count: Option<ReplicaCount>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    storage_account_type: Option<StorageAccountType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    encryption: Option<EncryptionImages>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exclude_from_latest: Option<bool>,
}

impl TargetRegion {
    /// Returns a target with the replica count, storage and exclusion of the profile.
    pub fn new(region: Region) -> Self {
        Self {
            region,
            regional_replica_count: None,
            storage_account_type: None,
            encryption: None,
            exclude_from_latest: None,
        }
    }

    /// Sets the replica count of this region, in place of the profile's.
    #[must_use]
    pub fn with_regional_replica_count(mut self, count: ReplicaCount) -> Self {
        self.regional_replica_count = Some(count);
        self
    }

    /// Sets the storage of the replicas in this region, in place of the profile's.
    #[must_use]
    pub fn with_storage_account_type(mut self, storage_account_type: StorageAccountType) -> Self {
        self.storage_account_type = Some(storage_account_type);
        self
    }

    /// Sets whether the version is excluded from being the latest in this region, in place of the profile's flag.
    #[must_use]
    pub fn with_exclude_from_latest(mut self, exclude: bool) -> Self {
        self.exclude_from_latest = Some(exclude);
        self
    }

    /// Sets the keys that the host encrypts the replicas with.
    #[must_use]
    pub fn with_encryption(mut self, encryption: EncryptionImages) -> Self {
        self.encryption = Some(encryption);
        self
    }

    /// Returns the region.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Returns the region's own replica count; `None` where the profile's counts.
    pub fn regional_replica_count(&self) -> Option<ReplicaCount> {
        self.regional_replica_count
    }

    /// Returns the region's own storage; `None` where the profile's counts.
    pub fn storage_account_type(&self) -> Option<StorageAccountType> {
        self.storage_account_type
    }

    /// Returns the keys that the host encrypts the replicas with.
    pub fn encryption(&self) -> Option<&EncryptionImages> {
        self.encryption.as_ref()
    }

    /// Returns the region's own flag; `None` where the profile's counts.
    pub fn exclude_from_latest(&self) -> Option<bool> {
        self.exclude_from_latest
    }
}

from_body_by!(plain: StorageAccountType, ReplicationMode);

from_body!(TargetRegion {
    required region: "name",
    optional regional_replica_count: "regionalReplicaCount",
    optional storage_account_type: "storageAccountType",
    optional encryption: "encryption",
    optional exclude_from_latest: "excludeFromLatest",
});

impl FromStr for TargetRegion {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (region, count) = text.split_once('=').map_or((text, None), |(region, count)| (region, Some(count)));
        let mut problems = Vec::new();
        let region = region.parse::<Region>().map_err(|error| problems.extend(located(error, "name").into_problems()));
        let count = count.map(read_count).transpose().map_err(|error| problems.extend(error.into_problems()));
        Error::from_problems(problems)?;
        let made = region.and_then(|region| Ok(Self { regional_replica_count: count?, ..Self::new(region) }));
        made.map_err(|()| Error::invalid(TARGET, "the target region is malformed"))
    }
}

from_text!(TargetRegion);

fn read_count(text: &str) -> Result<ReplicaCount> {
    let number = text.trim().parse::<u32>().map_err(|error| {
        let what = format!("`{}` is not a replica count: write a region as `westeurope=2`", text.escape_debug());
        Error::invalid("regionalReplicaCount", what).with_source(error)
    });
    number?.try_into()
}

/// The regions that a version goes to: at least one, and each once. As text: `westeurope=2,eastus`.
///
/// Azure: the location of a version is one of its target regions; [`ImageVersion::new`](crate::model::ImageVersion::new)
/// checks that.
///
/// ```
/// use compute_gallery::model::TargetRegions;
///
/// let regions: TargetRegions = "South Central US=2, eastus".parse()?;
/// assert_eq!(regions.iter().count(), 2);
/// assert_eq!(regions.find(&"southcentralus".parse()?).and_then(|target| target.regional_replica_count()).unwrap().get(), 2);
/// // "eastus" and "East US" are one region.
/// assert!("eastus,East US=2".parse::<TargetRegions>().is_err());
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<TargetRegion>")]
pub struct TargetRegions(Arc<[TargetRegion]>);

impl TargetRegions {
    /// Returns these regions, in this order.
    ///
    /// # Errors
    ///
    /// `Invalid` for an empty list, and for each region that is repeated.
    pub fn new(regions: Vec<TargetRegion>) -> Result<Self> {
        Self::at(TARGET, regions)
    }

    /// Does what [`new`](Self::new) does for regions at `path` of a body.
    fn at(path: &str, regions: Vec<TargetRegion>) -> Result<Self> {
        if regions.is_empty() {
            return Err(Error::invalid(
                path,
                "the list of target regions is empty: name at least the version's own location",
            ));
        }
        let mut seen = BTreeSet::new();
        let twice = regions.iter().enumerate().filter(|(_, target)| !seen.insert(&target.region));
        let problems = twice.map(|(position, target)| {
            let target_name = format!("{path}[{position}].name");
            let problem =
                Problem::invalid(target_name, "Duplicate regions are not allowed in target publishing regions.");
            problem.with_advice(format!("`{}` is named twice: leave one out", target.region))
        });
        Error::from_problems(problems.collect())?;
        Ok(Self(regions.into()))
    }

    /// Iterates over the regions in the order that they were given.
    pub fn iter(&self) -> impl Iterator<Item = &TargetRegion> {
        self.0.iter()
    }

    /// Returns the target for `region`; `None` where the version does not go there.
    pub fn find(&self, region: &Region) -> Option<&TargetRegion> {
        self.0.iter().find(|target| target.region == *region)
    }
}

impl Spelled for TargetRegions {
    fn is_spelled_as(&self, other: &Self) -> bool {
        let is = |(one, other): (&TargetRegion, &TargetRegion)| {
            one.region.is_spelled_as(&other.region) && one.encryption.is_none() && one == other
        };
        Arc::ptr_eq(&self.0, &other.0) || self.0.len() == other.0.len() && self.iter().zip(other.iter()).all(is)
    }
}

impl FromBody for TargetRegions {
    fn from_body(path: &str, value: &serde_json::Value) -> Result<Self> {
        Self::at(path, Vec::from_body(path, value)?)
    }
}

from_body!(PublishingProfile {
    required target_regions: "targetRegions",
    optional replica_count: "replicaCount",
    optional exclude_from_latest: "excludeFromLatest",
    optional storage_account_type: "storageAccountType",
    optional replication_mode: "replicationMode",
    optional end_of_life_date: "endOfLifeDate",
    optional published_date: "publishedDate",
});

impl TryFrom<Vec<TargetRegion>> for TargetRegions {
    type Error = Error;

    fn try_from(regions: Vec<TargetRegion>) -> Result<Self> {
        Self::new(regions)
    }
}

impl FromStr for TargetRegions {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (mut regions, mut problems) = (Vec::new(), Vec::new());
        for (position, text) in text.split(',').enumerate() {
            match text.parse() {
                Ok(region) => regions.push(region),
                Err(error) => {
                    let at = |problem: Problem| {
                        let target = format!("{TARGET}[{position}].{}", problem.target());
                        problem.at(&target)
                    };
                    problems.extend(Error::into_problems(error).into_iter().map(at));
                }
            }
        }
        Error::from_problems(problems)?;
        Self::new(regions)
    }
}

from_text!(TargetRegions);

impl fmt::Display for TargetRegions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, target) in self.0.iter().enumerate() {
            write!(f, "{}{}", if position == 0 { "" } else { "," }, target.region)?;
        }
        Ok(())
    }
}

/// Where a version goes, with how many replicas, and whether it can be the latest (Azure: `GalleryArtifactPublishingProfileBase`).
///
/// It is given when a version is published, and can be replaced later to add a region, to change replica counts or to exclude the
/// version from being the latest.
///
/// ```
/// use compute_gallery::model::{PublishingProfile, Region, ReplicaCount};
///
/// // Three replicas at home; everywhere else the common count, which is 1 by default.
/// let profile = PublishingProfile::new("westeurope=3,eastus,southeastasia".parse()?).with_replica_count(ReplicaCount::new(2)?);
/// let [home, away, elsewhere]: [Region; 3] = ["westeurope".parse()?, "eastus".parse()?, "japaneast".parse()?];
/// assert_eq!(profile.replicas_in(&home), Some(3));
/// assert_eq!(profile.replicas_in(&away), Some(2));
/// assert_eq!(profile.replicas_in(&elsewhere), None);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublishingProfile {
    target_regions: TargetRegions,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replica_count: Option<ReplicaCount>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exclude_from_latest: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    storage_account_type: Option<StorageAccountType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replication_mode: Option<ReplicationMode>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end_of_life_date: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    published_date: Option<DateTime<Utc>>,
}

/// How a version gets to its regions.
///
/// ```
/// use compute_gallery::model::{PublishingProfile, ReplicationMode};
///
/// assert_eq!(PublishingProfile::new("westeurope".parse()?).replication_mode(), ReplicationMode::Full);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ReplicationMode {
    /// As deep copies: each replica serves alone.
    #[default]
    Full,
    /// For quick tests: one replica in each region at most (Azure: a reference to the source in place of copies).
    Shallow,
}

impl PublishingProfile {
    /// Lets equal target regions of two profiles share memory.
    pub(super) fn share(&mut self, other: &Self) {
        self.target_regions.share(&other.target_regions);
    }

    /// Returns a profile with 1 replica in each region without a count of its own, on `Standard_LRS`, not excluded from being the
    /// latest.
    pub fn new(target_regions: TargetRegions) -> Self {
        Self {
            target_regions,
            replica_count: None,
            exclude_from_latest: None,
            storage_account_type: None,
            replication_mode: None,
            end_of_life_date: None,
            published_date: None,
        }
    }

    /// Sets the replica count of regions without one of their own. 1 by default.
    ///
    /// ```
    /// use compute_gallery::model::{PublishingProfile, ReplicaCount};
    ///
    /// let profile = PublishingProfile::new("westeurope=5,eastus".parse()?).with_replica_count(ReplicaCount::new(2)?);
    /// assert_eq!(profile.replicas_in(&"eastus".parse()?), Some(2));
    /// assert_eq!(profile.replicas_in(&"westeurope".parse()?), Some(5));
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    #[must_use]
    pub fn with_replica_count(mut self, count: ReplicaCount) -> Self {
        self.replica_count = Some(count);
        self
    }

    /// Sets whether the version is excluded from being the latest, in regions without a flag of their own. Not by default.
    ///
    /// ```
    /// use compute_gallery::model::{PublishingProfile, TargetRegion, TargetRegions};
    ///
    /// // A canary: the latest in one region alone.
    /// let canary = TargetRegion::new("eastus".parse()?).with_exclude_from_latest(false);
    /// let regions = TargetRegions::new(vec!["westeurope".parse()?, canary])?;
    /// let profile = PublishingProfile::new(regions).with_exclude_from_latest(true);
    /// assert!(profile.is_excluded_from_latest_in(&"westeurope".parse()?));
    /// assert!(!profile.is_excluded_from_latest_in(&"eastus".parse()?));
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    #[must_use]
    pub fn with_exclude_from_latest(mut self, exclude: bool) -> Self {
        self.exclude_from_latest = Some(exclude);
        self
    }

    /// Sets the storage of replicas in regions without one of their own. `Standard_LRS` by default.
    ///
    /// Azure: the storage of a region does not change once the version is there.
    ///
    /// ```
    /// use compute_gallery::model::{PublishingProfile, StorageAccountType};
    ///
    /// let profile = PublishingProfile::new("westeurope,eastus".parse()?)
    ///     .with_storage_account_type(StorageAccountType::StandardZrs);
    /// assert_eq!(profile.storage_account_type_in(&"eastus".parse()?), StorageAccountType::StandardZrs);
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    #[must_use]
    pub fn with_storage_account_type(mut self, storage_account_type: StorageAccountType) -> Self {
        self.storage_account_type = Some(storage_account_type);
        self
    }

    /// Replaces the regions that the version goes to, with their counts, storage and flags.
    ///
    /// ```
    /// use compute_gallery::model::PublishingProfile;
    ///
    /// let profile = PublishingProfile::new("westeurope".parse()?).with_target_regions("westeurope,eastus=2".parse()?);
    /// assert_eq!(profile.replicas_in(&"eastus".parse()?), Some(2));
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    #[must_use]
    pub fn with_target_regions(mut self, target_regions: TargetRegions) -> Self {
        self.target_regions = target_regions;
        self
    }

    /// Sets the end of the version's life, which lies in the future when it is set.
    ///
    /// Azure: it is for information; a version that is past it deploys as before. A
    /// [`SafetyProfile`](crate::model::SafetyProfile) can keep the version until then.
    ///
    /// ```
    /// use compute_gallery::model::PublishingProfile;
    ///
    /// let end = "2030-12-31T00:00:00Z".parse().unwrap();
    /// let profile = PublishingProfile::new("westeurope".parse()?).with_end_of_life_date(end);
    /// assert_eq!(profile.end_of_life_date(), Some(end));
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    #[must_use]
    pub fn with_end_of_life_date(mut self, date: DateTime<Utc>) -> Self {
        self.end_of_life_date = Some(date);
        self
    }

    /// Sets when the version was published.
    #[must_use]
    pub(crate) fn with_published_date(mut self, date: DateTime<Utc>) -> Self {
        self.published_date = Some(date);
        self
    }

    pub(crate) fn set_published_date(&mut self, date: Option<DateTime<Utc>>) {
        self.published_date = date;
    }

    /// Sets the replica count of one region, such as an [autoscaler](crate::placement::Autoscaler) advises. Changes nothing where
    /// the version does not go to `region`.
    ///
    /// ```
    /// use compute_gallery::model::{PublishingProfile, Region, ReplicaCount};
    ///
    /// let (home, away): (Region, Region) = ("westeurope".parse()?, "eastus".parse()?);
    /// let profile = PublishingProfile::new("westeurope".parse()?).with_replicas_in(&home, ReplicaCount::new(4)?);
    /// assert_eq!(profile.replicas_in(&home), Some(4));
    /// assert_eq!(profile.clone().with_replicas_in(&away, ReplicaCount::ONE), profile);
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    #[must_use]
    pub fn with_replicas_in(mut self, region: &Region, count: ReplicaCount) -> Self {
        let targets = Arc::make_mut(&mut self.target_regions.0).iter_mut().filter(|target| target.region == *region);
        targets.for_each(|target| target.regional_replica_count = Some(count));
        self
    }

    /// Returns the regions that the version goes to.
    pub fn target_regions(&self) -> &TargetRegions {
        &self.target_regions
    }

    /// Returns the replica count of regions without one of their own.
    pub fn replica_count(&self) -> ReplicaCount {
        self.replica_count.unwrap_or(ReplicaCount::ONE)
    }

    /// Returns whether the version is excluded from being the latest, in regions without a flag of their own.
    pub fn exclude_from_latest(&self) -> bool {
        self.exclude_from_latest.unwrap_or(false)
    }

    /// Returns how the version gets to its regions.
    pub fn replication_mode(&self) -> ReplicationMode {
        self.replication_mode.unwrap_or_default()
    }

    /// Returns the storage of the replicas in `region`: the region's own, else the profile's, else `Standard_LRS`.
    pub fn storage_account_type_in(&self, region: &Region) -> StorageAccountType {
        let own = self.target_regions.find(region).and_then(|target| target.storage_account_type);
        own.or(self.storage_account_type).unwrap_or_default()
    }

    /// Returns the end of the version's life.
    pub fn end_of_life_date(&self) -> Option<DateTime<Utc>> {
        self.end_of_life_date
    }

    /// Returns when the version was published; `None` before that.
    pub fn published_date(&self) -> Option<DateTime<Utc>> {
        self.published_date
    }

    /// Returns how many replicas `region` has: its own count, else the profile's; `None` where the version does not go there.
    pub fn replicas_in(&self, region: &Region) -> Option<u32> {
        let target = self.target_regions.find(region)?;
        Some(target.regional_replica_count.unwrap_or(self.replica_count()).get())
    }

    /// Returns whether the version is excluded from being the latest in `region`: by the region's own flag, else by the profile's.
    pub fn is_excluded_from_latest_in(&self, region: &Region) -> bool {
        let own = self.target_regions.find(region).and_then(|target| target.exclude_from_latest);
        own.unwrap_or(self.exclude_from_latest())
    }
}
