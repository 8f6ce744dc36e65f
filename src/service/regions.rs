//! Where each region's bytes are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::catalog::{State, VersionRecord};
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::image::{Copies, Slot};
use crate::model::{Region, StorageAccountType};
use crate::store::{BlobKey, BlobStore, Prefixed};

/// The stores of the regions: one each, or one for each zone, or a share of a common one.
#[derive(Clone, Debug, Default)]
pub(super) struct Regions {
    pub(super) own: BTreeMap<Region, Vec<Arc<dyn BlobStore>>>,
    pub(super) common: Option<Arc<dyn BlobStore>>,
}

/// A slot by its place: a zone of a region, from 0, and a number within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SlotId {
    pub(super) zone: usize,
    pub(super) number: u32,
}

impl Regions {
    /// What is wrong with having `region` as a target, if anything is.
    pub(super) fn problem_with(&self, region: &Region) -> Option<Problem> {
        let known = self.common.is_some() || self.own.contains_key(region);
        (!known).then(|| {
            let have = self.own.keys().map(|region| format!("`{region}`")).collect::<Vec<_>>().join(", ");
            let what = format!(
                "region `{region}` has no store here; those with one are {have}; give it one when the service is built"
            );
            Problem::invalid("galleryImageVersion.properties.publishingProfile.targetRegions", what)
        })
    }

    /// The stores of a region's zones, each with the name that errors give it; one that stands for all of the region, where
    /// it has no zones.
    fn zones(&self, region: &Region) -> Result<Vec<(String, Arc<dyn BlobStore>)>> {
        if let Some(own) = self.own.get(region) {
            let name = |zone: usize| match own.len() {
                1 => format!("region {region}"),
                _ => format!("region {region} zone {}", zone + 1),
            };
            return Ok(own.iter().enumerate().map(|(zone, store)| (name(zone), store.clone())).collect());
        }
        match &self.common {
            Some(common) => {
                let store = Prefixed::new(common.clone(), format!("regions/{region}").parse()?);
                Ok(vec![(format!("region {region}"), Arc::new(store))])
            }
            None => {
                let what = format!("region `{region}` has no store here: give it one when the service is built");
                Err(Error::new(Problem::new(ErrorKind::Unavailable, "OperationNotAllowed", "region", what)))
            }
        }
    }

    /// Every region that has a store of its own, or something in the common one.
    pub(super) async fn all(&self, state: &State) -> Result<BTreeSet<Region>> {
        let mut regions: BTreeSet<Region> = self.own.keys().cloned().collect();
        regions.extend(state.uploads().map(|(_, upload)| upload.region.clone()));
        let Some(common) = &self.common else { return Ok(regions) };
        for name in names(common.as_ref(), &"regions".parse()?, "regions").await? {
            regions.insert(name.parse()?);
        }
        Ok(regions)
    }

    /// Every slot that a region has something in. A zone that does not answer is left out, unless all do not.
    pub(super) async fn slots(&self, region: &Region) -> Result<Vec<(SlotId, Slot)>> {
        let (zones, mut slots, mut silent) = (self.zones(region)?, Vec::new(), None);
        let mut answered = false;
        for (zone, (site, store)) in zones.into_iter().enumerate() {
            match names(store.as_ref(), &"slots".parse()?, &site).await {
                Ok(names) => {
                    answered = true;
                    for number in names.iter().filter_map(|name| name.parse().ok()) {
                        slots.push((SlotId { zone, number }, Slot::new(store.clone(), &site, number)?));
                    }
                }
                Err(error) => silent = silent.or(Some(error)),
            }
        }
        match silent {
            Some(error) if !answered => Err(error),
            _ => Ok(slots),
        }
    }

    /// In how many zones of a region a replica is kept.
    pub(super) fn zones_of(&self, region: &Region, account: StorageAccountType) -> usize {
        match account {
            StorageAccountType::StandardZrs => self.own.get(region).map_or(1, Vec::len),
            // Zone 1, for all: versions share chunks only within a slot.
            _ => 1,
        }
    }

    /// One replica of a region, in the zones that its kind of storage is kept in.
    pub(super) fn copies(&self, region: &Region, number: u32, account: StorageAccountType) -> Result<Vec<Slot>> {
        let zones = self.zones(region)?.into_iter().take(self.zones_of(region, account));
        zones.map(|(site, store)| Slot::new(store, &site, number)).collect()
    }

    /// The first `count` replicas of a region.
    pub(super) fn replicas(&self, region: &Region, count: u32, account: StorageAccountType) -> Result<Vec<Vec<Slot>>> {
        (0..count).map(|number| self.copies(region, number, account)).collect()
    }

    /// The replica that an import goes to.
    pub(super) fn first(&self, region: &Region, account: StorageAccountType) -> Result<Copies> {
        Ok(Copies::new(self.copies(region, 0, account)?))
    }

    /// Every slot that has a version whole, by the catalog's word: its home's first, then those of `region`, then all
    /// others. One whose region has no store here is left out.
    pub(super) fn holders(&self, record: &VersionRecord) -> Vec<Slot> {
        let (home, profile) = (record.version.location(), record.version.publishing_profile());
        let of = |region: &Region, count: u32| {
            self.replicas(region, count, profile.storage_account_type_in(region)).unwrap_or_default()
        };
        // A version's home has it whole from the moment that it is published.
        let at_home = of(home, record.replicas_ready(home).max(1));
        let away = record.ready_regions().filter(|region| *region != home);
        at_home.into_iter().chain(away.flat_map(|region| of(region, record.replicas_ready(region)))).flatten().collect()
    }
}

/// The names right below a key.
async fn names(store: &dyn BlobStore, under: &BlobKey, site: &str) -> Result<Vec<String>> {
    let (mut names, mut after): (Vec<String>, Option<BlobKey>) = (Vec::new(), None);
    // From one name to the next, whatever each has below it.
    loop {
        let page = store.list(Some(under), after.as_ref(), 1).await.map_err(|error| error.at(site))?;
        let Some(name) = page.blobs.first().and_then(|blob| blob.key.segments().nth(1)) else { return Ok(names) };
        after = Some(format!("{under}/{name}/zzzz").parse()?);
        names.push(name.to_owned());
    }
}
