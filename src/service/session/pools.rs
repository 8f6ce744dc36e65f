//! The replica pools of this process.

use std::collections::HashMap;

use crate::catalog::State;
use crate::host::sync::Mutex;
use crate::model::{Region, ResourceId};
use crate::placement::Pool;

/// A pool for each image and region that was used, while the image exists. A lease keeps its pool alive.
#[derive(Debug, Default)]
pub(crate) struct Pools(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    pools: HashMap<(ResourceId, Region), Pool>,
    /// At this number of pools, those of deleted images are dropped.
    sweep_from: usize,
}

impl Pools {
    /// Returns the pool of an image in a region, or a `new` one.
    pub(crate) fn of(&self, state: &State, image: &ResourceId, region: &Region, new: impl FnOnce() -> Pool) -> Pool {
        let mut kept = self.0.lock();
        if kept.pools.len() >= kept.sweep_from {
            kept.pools.retain(|(image, _), _| state.has_image(image));
            kept.sweep_from = (kept.pools.len() * 2).max(16);
        }
        kept.pools.entry((image.clone(), region.clone())).or_insert_with(new).clone()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.lock().pools.len()
    }
}
