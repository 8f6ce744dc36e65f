//! The regions that a service knows, and what each can do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::name::SubscriptionId;
use super::publishing_profile::StorageAccountType;
use super::region::Region;
use crate::error::{ErrorKind, Problem, Result};

/// A group of regions. Azure: a version is not replicated from one cloud to another.
///
/// ```
/// use compute_gallery::model::{Cloud, RegionCatalog};
///
/// let regions = RegionCatalog::default();
/// assert_eq!(regions.get(&"chinaeast".parse()?).map(|region| region.cloud()), Some(&Cloud::China));
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cloud {
    /// Azure's public cloud.
    Public,
    /// Azure in China.
    China,
    /// Azure for the US government and its department of defence.
    UsGovernment,
    /// Azure Germany, which is closed.
    Germany,
    /// A cloud of the host's own, by its name.
    Other(String),
}

impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "Public",
            Self::China => "China",
            Self::UsGovernment => "US Government",
            Self::Germany => "Germany",
            Self::Other(name) => name,
        })
    }
}

/// A region, and what it can do.
///
/// ```
/// use compute_gallery::model::{Cloud, RegionInfo};
///
/// let rack = RegionInfo::new("Rack 7", Cloud::Other("lab".into()))?.with_zones();
/// assert_eq!(rack.region().as_str(), "rack7");
/// assert!(rack.has_zones() && rack.can_be_source() && !rack.is_restricted());
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionInfo {
    region: Region,
    display_name: String,
    cloud: Cloud,
    zones: bool,
    source: bool,
    restricted: bool,
}

impl RegionInfo {
    /// Returns a region without zones, open to all subscriptions, that versions can be published in.
    ///
    /// # Errors
    ///
    /// `Invalid` for a name that does not parse as a [`Region`].
    pub fn new(display_name: &str, cloud: Cloud) -> Result<Self> {
        let region = display_name.parse()?;
        Ok(Self { region, display_name: display_name.to_owned(), cloud, zones: false, source: true, restricted: false })
    }

    /// Gives it availability zones, so that it can keep replicas on `Standard_ZRS`.
    #[must_use]
    pub fn with_zones(mut self) -> Self {
        self.zones = true;
        self
    }

    /// Makes it a target region alone: versions are replicated to it, and not published in it.
    #[must_use]
    pub fn with_target_only(mut self) -> Self {
        self.source = false;
        self
    }

    /// Restricts it to subscriptions that the catalog [allows](RegionCatalog::with_allowed).
    #[must_use]
    pub fn with_restricted_access(mut self) -> Self {
        self.restricted = true;
        self
    }

    /// Returns the region.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Returns the name for people, such as `South Central US`.
    pub fn display_name(&self) -> &str {
        &self.display_name
    }

    /// Returns the cloud that it belongs to.
    pub fn cloud(&self) -> &Cloud {
        &self.cloud
    }

    /// Returns whether it has availability zones.
    pub fn has_zones(&self) -> bool {
        self.zones
    }

    /// Returns whether versions can be published in it.
    pub fn can_be_source(&self) -> bool {
        self.source
    }

    /// Returns whether only allowed subscriptions can use it.
    pub fn is_restricted(&self) -> bool {
        self.restricted
    }
}

/// The regions that a service knows: those of Azure by default, with the source regions of the original Shared Image Gallery. A
/// host adds its own.
///
/// ```
/// use compute_gallery::model::{Cloud, Region, RegionCatalog, RegionInfo};
///
/// let sweden: Region = "swedencentral".parse()?;
/// // A target region alone in the original service; a source region, too, today.
/// assert_eq!(RegionCatalog::default().get(&sweden).map(|region| region.can_be_source()), Some(false));
/// assert_eq!(RegionCatalog::azure_2026().get(&sweden).map(|region| region.can_be_source()), Some(true));
///
/// let lab = RegionCatalog::empty().with_region(RegionInfo::new("Rack 7", Cloud::Other("lab".into()))?);
/// assert_eq!(lab.iter().map(|region| region.display_name()).collect::<Vec<_>>(), ["Rack 7"]);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionCatalog {
    regions: BTreeMap<Region, RegionInfo>,
    allowed: BTreeSet<(SubscriptionId, Region)>,
}

/// Azure's regions: display name, and z for zones, s for a source region of the original service, r for restricted.
const AZURE: &[(Cloud, &[(&str, &str)])] = &[
    (
        Cloud::Public,
        &[
            ("Australia Central", "sr"),
            ("Australia Central 2", "sr"),
            ("Australia East", "sz"),
            ("Australia Southeast", "s"),
            ("Austria East", "z"),
            ("Belgium Central", "z"),
            ("Brazil South", "sz"),
            ("Brazil Southeast", ""),
            ("Canada Central", "sz"),
            ("Canada East", "s"),
            ("Central India", "sz"),
            ("Central US", "sz"),
            ("Central US EUAP", "s"),
            ("Chile Central", "z"),
            ("East Asia", "sz"),
            ("East US", "sz"),
            ("East US 2", "sz"),
            ("East US 2 EUAP", "sz"),
            ("France Central", "sz"),
            ("France South", "s"),
            ("Germany North", ""),
            ("Germany West Central", "z"),
            ("Indonesia Central", "z"),
            ("Israel Central", "z"),
            ("Italy North", "z"),
            ("Japan East", "sz"),
            ("Japan West", "sz"),
            ("Jio India Central", ""),
            ("Jio India West", ""),
            ("Korea Central", "sz"),
            ("Korea South", "s"),
            ("Malaysia West", "z"),
            ("Mexico Central", "z"),
            ("New Zealand North", "z"),
            ("North Central US", "s"),
            ("North Europe", "sz"),
            ("Norway East", "z"),
            ("Norway West", ""),
            ("Poland Central", "z"),
            ("Qatar Central", "z"),
            ("South Africa North", "z"),
            ("South Africa West", ""),
            ("South Central US", "sz"),
            ("South India", "s"),
            ("Southeast Asia", "sz"),
            ("Spain Central", "z"),
            ("Sweden Central", "z"),
            ("Sweden South", ""),
            ("Switzerland North", "z"),
            ("Switzerland West", ""),
            ("UAE Central", ""),
            ("UAE North", "z"),
            ("UK South", "sz"),
            ("UK West", "s"),
            ("West Central US", "s"),
            ("West Europe", "sz"),
            ("West India", "s"),
            ("West US", "s"),
            ("West US 2", "sz"),
            ("West US 3", "z"),
        ],
    ),
    (
        Cloud::China,
        &[
            ("China East", "s"),
            ("China East 2", "s"),
            ("China East 3", ""),
            ("China North", "s"),
            ("China North 2", "s"),
            ("China North 3", "z"),
        ],
    ),
    (
        Cloud::UsGovernment,
        &[
            ("US DoD Central", "sr"),
            ("US DoD East", "sr"),
            ("US Gov Arizona", "s"),
            ("US Gov Texas", "s"),
            ("US Gov Virginia", "sz"),
        ],
    ),
    (Cloud::Germany, &[("Germany Central", ""), ("Germany Northeast", "")]),
];

impl Default for RegionCatalog {
    fn default() -> Self {
        let mut catalog = Self::empty();
        for (cloud, regions) in AZURE {
            for (name, flags) in *regions {
                // The names above are those of regions: a test reads them all.
                let Ok(region) = RegionInfo::new(name, cloud.clone()) else { continue };
                let (zones, source, restricted) = (flags.contains('z'), flags.contains('s'), flags.contains('r'));
                catalog = catalog.with_region(RegionInfo { zones, source, restricted, ..region });
            }
        }
        catalog
    }
}

impl RegionCatalog {
    /// Returns a catalog without a region.
    pub fn empty() -> Self {
        Self { regions: BTreeMap::new(), allowed: BTreeSet::new() }
    }

    /// Returns the regions of today's Azure: versions can be published in each of them.
    pub fn azure_2026() -> Self {
        let mut catalog = Self::default();
        catalog.regions.values_mut().for_each(|region| region.source = true);
        catalog
    }

    /// Adds a region, or replaces the one of that name.
    #[must_use]
    pub fn with_region(mut self, region: RegionInfo) -> Self {
        self.regions.insert(region.region.clone(), region);
        self
    }

    /// Allows a subscription to use a restricted region.
    #[must_use]
    pub fn with_allowed(mut self, subscription: SubscriptionId, region: Region) -> Self {
        self.allowed.insert((subscription, region));
        self
    }

    /// Returns a region; `None` where the service does not know it.
    pub fn get(&self, region: &Region) -> Option<&RegionInfo> {
        self.regions.get(region)
    }

    /// Iterates over the regions, by name.
    pub fn iter(&self) -> impl Iterator<Item = &RegionInfo> {
        self.regions.values()
    }

    /// Returns the problem of managing a resource of `kind` in `region`; `None` where there is none.
    pub(crate) fn problem_with_location(&self, kind: &str, region: &Region) -> Option<Problem> {
        if self.regions.contains_key(region) {
            return None;
        }
        let near = self.iter().filter(|known| shares_a_word(&known.display_name, region.as_str()));
        let near: Vec<_> = near.map(|known| format!("`{}`", known.region)).collect();
        let all = self.regions.keys().map(Region::as_str).collect::<Vec<_>>().join(",");
        let what = format!(
            "The provided location '{region}' is not available for resource type '{kind}'. List of available regions for the \
             resource type is '{all}'."
        );
        let fix = if near.is_empty() { "the name".to_owned() } else { format!("it to {}", near.join(" or ")) };
        let advice = format!("correct {fix}, or let the host add the region with `RegionCatalog::with_region`");
        let problem = Problem::new(ErrorKind::Invalid, "LocationNotAvailableForResourceType", "location", what);
        Some(problem.with_advice(advice))
    }

    /// Returns the problem of a resource in `region` in a gallery in `gallery`, where these are in different clouds.
    pub(crate) fn problem_with_cloud(&self, gallery: &Region, region: &Region, target: &str) -> Option<Problem> {
        let (of_gallery, of_region) = (self.get(gallery)?, self.get(region)?);
        (of_gallery.cloud != of_region.cloud).then(|| {
            let what = format!(
                "region `{region}` is in another cloud ({}) than the gallery's location `{gallery}` ({}): make a gallery \
                 there, and publish to it",
                of_region.cloud, of_gallery.cloud
            );
            Problem::invalid(target, what)
        })
    }

    /// Returns the problems of replicating a version from `home` to `region`, which is at `target` of a body.
    pub(crate) fn problems_with_target(
        &self,
        target: &dyn fmt::Display,
        subscription: &SubscriptionId,
        home: &Region,
        region: &Region,
        account: StorageAccountType,
    ) -> Vec<Problem> {
        // Text is made for what is wrong alone: each publication asks for each of its regions.
        let name = || format!("{target}.name");
        let Some(info) = self.get(region) else {
            let problem = self.problem_with_location("Microsoft.Compute/galleries/images/versions", region);
            return problem.into_iter().map(|problem| problem.at(&name())).collect();
        };
        let mut problems = Vec::new();
        let mut wrong = |what: String| problems.push(Problem::invalid(name(), what));
        if let Some(home) = self.get(home) {
            if home.cloud != info.cloud {
                wrong(format!(
                    "region `{region}` is in another cloud ({}) than the version's location `{}` ({}): a version is \
                     not replicated across clouds; publish it there again",
                    info.cloud, home.region, home.cloud
                ));
            }
            if home.region == *region && !info.source {
                wrong(format!(
                    "region `{region}` can be a target region only: publish the version in another region, and name this one \
                     among its target regions"
                ));
            }
        }
        if info.restricted && !self.allowed.contains(&(subscription.clone(), region.clone())) {
            wrong(format!(
                "region `{region}` is restricted, and subscription `{subscription}` is not on its allow-list: a host adds it \
                 with `RegionCatalog::with_allowed`"
            ));
        }
        if account == StorageAccountType::StandardZrs && !info.zones {
            let what = "ZRS storage account type is not supported in this region.";
            let problem = Problem::invalid(format!("{target}.storageAccountType"), what);
            problems.push(problem.with_advice(format!("`{region}` has no zones: use Standard_LRS there")));
        }
        problems
    }
}

fn shares_a_word(display_name: &str, region: &str) -> bool {
    let words = display_name.split(' ').filter(|word| word.len() > 3);
    words.map(str::to_ascii_lowercase).any(|word| region.contains(&word))
}

impl From<RegionInfo> for Region {
    fn from(info: RegionInfo) -> Self {
        info.region
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn problems(home: &str, target: &str, account: StorageAccountType) -> String {
        let catalog = RegionCatalog::default();
        let subscription = "dev".parse().unwrap();
        let problems = catalog.problems_with_target(
            &"targetRegions[0]",
            &subscription,
            &home.parse().unwrap(),
            &target.parse().unwrap(),
            account,
        );
        Error::from_problems(problems).err().map_or_else(String::new, |error| error.to_string())
    }

    #[test]
    fn every_region_of_the_table_is_in_the_catalog() {
        let names = AZURE.iter().flat_map(|(_, regions)| regions.iter()).map(|(name, _)| *name);
        let catalog = RegionCatalog::default();
        for name in names.clone() {
            assert_eq!(catalog.get(&name.parse().unwrap()).map(RegionInfo::display_name), Some(name));
        }
        assert_eq!(catalog.iter().count(), names.count());
        // The original service's table of source regions.
        assert_eq!(catalog.iter().filter(|region| region.can_be_source()).count(), 41);
        assert!(RegionCatalog::azure_2026().iter().all(RegionInfo::can_be_source));
    }

    #[test]
    fn a_region_refuses_what_it_cannot_do() {
        use StorageAccountType::{StandardLrs, StandardZrs};
        assert_eq!(problems("westeurope", "eastus", StandardZrs), "");
        assert!(problems("westeurope", "westus", StandardZrs).contains("ZRS storage account type is not supported"));
        assert!(problems("westeurope", "chinaeast", StandardLrs).contains("another cloud"));
        let dod = problems("usgovtexas", "usdodeast", StandardLrs);
        assert!(dod.contains("not on its allow-list") && !dod.contains("another cloud"), "{dod}");
        assert!(problems("westeurope", "australiacentral", StandardLrs).contains("not on its allow-list"));
        assert!(problems("swedencentral", "swedencentral", StandardLrs).contains("target region only"));
        assert_eq!(problems("westeurope", "swedencentral", StandardLrs), "");
        assert!(problems("westeurope", "europewest", StandardLrs).contains("`westeurope`"));
    }

    #[test]
    fn an_allow_listed_subscription_can_use_a_restricted_region() {
        let (subscription, region): (SubscriptionId, Region) =
            ("dev".parse().unwrap(), "Australia Central 2".parse().unwrap());
        let catalog = RegionCatalog::default().with_allowed(subscription.clone(), region.clone());
        let lrs = StorageAccountType::StandardLrs;
        assert!(catalog.problems_with_target(&"targetRegions[0]", &subscription, &region, &region, lrs).is_empty());
    }
}
