//! Where each region's bytes are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::catalog::State;
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::image::Slot;
use crate::model::Region;
use crate::store::{BlobKey, BlobStore, Prefixed};

/// The stores of the regions: one each, or a share of a common one.
#[derive(Clone, Debug, Default)]
pub(super) struct Regions {
    pub(super) own: BTreeMap<Region, Arc<dyn BlobStore>>,
    pub(super) common: Option<Arc<dyn BlobStore>>,
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

    fn store(&self, region: &Region) -> Result<Arc<dyn BlobStore>> {
        if let Some(own) = self.own.get(region) {
            return Ok(own.clone());
        }
        match &self.common {
            Some(common) => Ok(Arc::new(Prefixed::new(common.clone(), format!("regions/{region}").parse()?))),
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
        let (under, mut after): (BlobKey, Option<BlobKey>) = ("regions".parse()?, None);
        // From one region to the next, whatever each has.
        loop {
            let page = common.list(Some(&under), after.as_ref(), 1).await.map_err(|error| error.at("regions"))?;
            let Some(name) = page.blobs.first().and_then(|blob| blob.key.segments().nth(1)) else { return Ok(regions) };
            after = Some(format!("regions/{name}/zzzz").parse()?);
            regions.insert(name.parse()?);
        }
    }

    /// The numbers of the slots that a region has something in.
    pub(super) async fn slot_numbers(&self, region: &Region) -> Result<Vec<u32>> {
        let (store, under): (_, BlobKey) = (self.store(region)?, "slots".parse()?);
        let (mut numbers, mut after): (Vec<u32>, Option<BlobKey>) = (Vec::new(), None);
        loop {
            let page = store.list(Some(&under), after.as_ref(), 1).await.map_err(|error| error.at(region.as_str()))?;
            let Some(name) = page.blobs.first().and_then(|blob| blob.key.segments().nth(1)) else { return Ok(numbers) };
            after = Some(format!("slots/{name}/zzzz").parse()?);
            numbers.extend(name.parse::<u32>());
        }
    }

    /// One slot of a region.
    pub(super) fn slot(&self, region: &Region, number: u32) -> Result<Slot> {
        Slot::new(self.store(region)?, region.as_str(), number)
    }

    /// The first `count` slots of a region.
    pub(super) fn slots(&self, region: &Region, count: u32) -> Result<Vec<Slot>> {
        let store = self.store(region)?;
        (0..count).map(|number| Slot::new(store.clone(), region.as_str(), number)).collect()
    }
}
