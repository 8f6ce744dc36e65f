//! Where a version goes.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::body::{FromBody, from_body, from_body_by, located, plain};
use super::encryption::EncryptionImages;
use super::limits::Limits;
use super::region::Region;
use super::text::from_text;
use crate::error::{Error, Problem, Result};

const TARGET: &str = "galleryImageVersion.properties.publishingProfile.targetRegions";

/// How many replicas: at least one, and as many as the service's [`Limits`](super::limits::Limits) allow: up to 100, where
/// nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct ReplicaCount(u32);

impl ReplicaCount {
    /// One replica.
    pub const ONE: Self = Self(1);

    /// Returns a count of `replicas`.
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

    /// The number.
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

/// A count that is not from 1 to `most`.
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

/// What the replicas are stored on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StorageAccountType {
    /// In one zone.
    #[default]
    #[serde(rename = "Standard_LRS")]
    StandardLrs,
    /// In three zones.
    #[serde(rename = "Standard_ZRS")]
    StandardZrs,
    /// In one zone, fast.
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

/// A region that a version goes to. As text: `westeurope`, or `West Europe=2` with a replica count.
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
    /// A region with the common replica count.
    pub fn new(region: Region) -> Self {
        Self {
            region,
            regional_replica_count: None,
            storage_account_type: None,
            encryption: None,
            exclude_from_latest: None,
        }
    }

    /// Sets a replica count of its own.
    #[must_use]
    pub fn with_regional_replica_count(mut self, count: ReplicaCount) -> Self {
        self.regional_replica_count = Some(count);
        self
    }

    /// Sets what the replicas are stored on.
    #[must_use]
    pub fn with_storage_account_type(mut self, storage_account_type: StorageAccountType) -> Self {
        self.storage_account_type = Some(storage_account_type);
        self
    }

    /// Sets whether the version can be the latest here; beats the profile's own flag.
    #[must_use]
    pub fn with_exclude_from_latest(mut self, exclude: bool) -> Self {
        self.exclude_from_latest = Some(exclude);
        self
    }

    /// Sets the keys that the replicas are said to be encrypted with.
    #[must_use]
    pub fn with_encryption(mut self, encryption: EncryptionImages) -> Self {
        self.encryption = Some(encryption);
        self
    }

    /// The region.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Its own replica count.
    pub fn regional_replica_count(&self) -> Option<ReplicaCount> {
        self.regional_replica_count
    }

    /// What the replicas are stored on, where this region says so.
    pub fn storage_account_type(&self) -> Option<StorageAccountType> {
        self.storage_account_type
    }

    /// The keys that the replicas are said to be encrypted with.
    pub fn encryption(&self) -> Option<&EncryptionImages> {
        self.encryption.as_ref()
    }

    /// Whether the version can be the latest here, where this region says so.
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
        made.map_err(|()| Error::invalid(TARGET, "it is not understood"))
    }
}

from_text!(TargetRegion);

fn read_count(text: &str) -> Result<ReplicaCount> {
    let number = text.trim().parse::<u32>().map_err(|error| {
        let what = format!("`{}` is no replica count: write a region as `westeurope=2`", text.escape_debug());
        Error::invalid("regionalReplicaCount", what).with_source(error)
    });
    number?.try_into()
}

/// The regions that a version goes to: at least one, none twice. As text: `westeurope=2,eastus`.
///
/// ```
/// use compute_gallery::model::TargetRegions;
///
/// let regions: TargetRegions = "South Central US=2, eastus".parse()?;
/// assert_eq!(regions.iter().count(), 2);
/// assert!("eastus,East US=2".parse::<TargetRegions>().is_err());
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<TargetRegion>")]
pub struct TargetRegions(Vec<TargetRegion>);

impl TargetRegions {
    /// Regions in the order given.
    ///
    /// # Errors
    ///
    /// `Invalid` where there is none, or one stands twice.
    pub fn new(regions: Vec<TargetRegion>) -> Result<Self> {
        Self::at(TARGET, regions)
    }

    /// Regions that stand at `path`.
    fn at(path: &str, regions: Vec<TargetRegion>) -> Result<Self> {
        if regions.is_empty() {
            return Err(Error::invalid(path, "there is no target region: name at least the version's own location"));
        }
        let mut seen = BTreeSet::new();
        let twice = regions.iter().enumerate().filter(|(_, target)| !seen.insert(&target.region));
        let problems = twice.map(|(position, target)| {
            let target_name = format!("{path}[{position}].name");
            let problem =
                Problem::invalid(target_name, "Duplicate regions are not allowed in target publishing regions.");
            problem.with_advice(format!("`{}` stands twice.", target.region))
        });
        Error::from_problems(problems.collect())?;
        Ok(Self(regions))
    }

    /// The regions.
    pub fn iter(&self) -> impl Iterator<Item = &TargetRegion> {
        self.0.iter()
    }

    /// The target of that region.
    pub fn find(&self, region: &Region) -> Option<&TargetRegion> {
        self.0.iter().find(|target| target.region == *region)
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

/// Where a version goes, and whether it can be the latest.
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ReplicationMode {
    /// As deep copies.
    #[default]
    Full,
    /// As one reference to its source, for quick tests; one replica.
    Shallow,
}

impl PublishingProfile {
    /// One replica in each region that names no count.
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

    /// Sets the common replica count, for regions that name none.
    #[must_use]
    pub fn with_replica_count(mut self, count: ReplicaCount) -> Self {
        self.replica_count = Some(count);
        self
    }

    /// Sets whether the version can be the latest, where a region does not say.
    #[must_use]
    pub fn with_exclude_from_latest(mut self, exclude: bool) -> Self {
        self.exclude_from_latest = Some(exclude);
        self
    }

    /// Sets what the replicas are stored on, where a region does not say.
    #[must_use]
    pub fn with_storage_account_type(mut self, storage_account_type: StorageAccountType) -> Self {
        self.storage_account_type = Some(storage_account_type);
        self
    }

    /// Sets the regions that it goes to.
    #[must_use]
    pub fn with_target_regions(mut self, target_regions: TargetRegions) -> Self {
        self.target_regions = target_regions;
        self
    }

    /// Sets the end of its life; for information only.
    #[must_use]
    pub fn with_end_of_life_date(mut self, date: DateTime<Utc>) -> Self {
        self.end_of_life_date = Some(date);
        self
    }

    /// Sets when it was published: the service does.
    #[must_use]
    pub(crate) fn with_published_date(mut self, date: DateTime<Utc>) -> Self {
        self.published_date = Some(date);
        self
    }

    pub(crate) fn set_published_date(&mut self, date: Option<DateTime<Utc>>) {
        self.published_date = date;
    }

    /// Sets how many replicas a region has, such as an [autoscaler](crate::placement::Autoscaler) advises; a region that the
    /// version does not go to stays out.
    #[must_use]
    pub fn with_replicas_in(mut self, region: &Region, count: ReplicaCount) -> Self {
        let targets = self.target_regions.0.iter_mut().filter(|target| target.region == *region);
        targets.for_each(|target| target.regional_replica_count = Some(count));
        self
    }

    /// The regions that it goes to.
    pub fn target_regions(&self) -> &TargetRegions {
        &self.target_regions
    }

    /// The common replica count.
    pub fn replica_count(&self) -> ReplicaCount {
        self.replica_count.unwrap_or(ReplicaCount::ONE)
    }

    /// Whether the version can be the latest, where a region does not say.
    pub fn exclude_from_latest(&self) -> bool {
        self.exclude_from_latest.unwrap_or(false)
    }

    /// How the version gets to its regions.
    pub fn replication_mode(&self) -> ReplicationMode {
        self.replication_mode.unwrap_or_default()
    }

    /// What the replicas in a region are stored on: its own type, else the common one, else Standard_LRS.
    pub fn storage_account_type_in(&self, region: &Region) -> StorageAccountType {
        let own = self.target_regions.find(region).and_then(|target| target.storage_account_type);
        own.or(self.storage_account_type).unwrap_or_default()
    }

    /// The end of its life.
    pub fn end_of_life_date(&self) -> Option<DateTime<Utc>> {
        self.end_of_life_date
    }

    /// When it was published.
    pub fn published_date(&self) -> Option<DateTime<Utc>> {
        self.published_date
    }

    /// How many replicas a region has: its own count, else the common one; `None` where the version does not go.
    pub fn replicas_in(&self, region: &Region) -> Option<u32> {
        let target = self.target_regions.find(region)?;
        Some(target.regional_replica_count.unwrap_or(self.replica_count()).get())
    }

    /// Whether the version is never the latest in a region.
    pub fn is_excluded_from_latest_in(&self, region: &Region) -> bool {
        let own = self.target_regions.find(region).and_then(|target| target.exclude_from_latest);
        own.unwrap_or(self.exclude_from_latest())
    }
}
