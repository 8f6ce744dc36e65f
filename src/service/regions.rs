//! Where each region's bytes are.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Problem, Result};
use crate::image::Slot;
use crate::model::Region;
use crate::store::{BlobStore, Prefixed};

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
