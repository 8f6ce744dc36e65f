//! What the service is made of; everything else in this room stands on it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};

use super::authorize::Authority;
use super::regions::Regions;
use crate::access::Caller;
use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::host::{Clock, Entropy, Workers};
use crate::image::Compression;
use crate::image::random_access::ChunkCache;
use crate::model::{Limits, Region, RegionCatalog, ResourceId};
use crate::placement::{PlacementPolicy, Pool};
use crate::replication::UnderWay;

/// What the service is made of.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) catalog: Arc<Catalog>,
    pub(super) authority: Authority,
    pub(super) regions: Regions,
    pub(super) region_catalog: RegionCatalog,
    pub(super) limits: Limits,
    pub(super) workers: Workers,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    /// What readers have read lately.
    pub(super) chunks: Arc<ChunkCache>,
    /// For the chunks of new images.
    pub(super) compression: Compression,
    /// The computer names of the VMs that were made of specialized images, with those VMs' names.
    pub(super) computer_names: Mutex<BTreeMap<(Caller, ResourceId, String), BTreeSet<String>>>,
    pub(super) placement_policy: PlacementPolicy,
    /// The replications that this process carries out.
    pub(super) under_way: UnderWay,
    /// What each replica is doing in this process.
    pub(super) pools: Mutex<HashMap<(ResourceId, Region), Pool>>,
}

impl Parts {
    /// What time it surely is: for what ends a soft deletion, which can't be undone.
    pub(super) fn log_time(&self) -> DateTime<Utc> {
        self.catalog.log_time()
    }

    /// Random bytes.
    pub(super) fn draw<const N: usize>(&self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.entropy.fill(&mut bytes).map_err(|error| Error::from_io("entropy", "drawing random bytes", error))?;
        Ok(bytes)
    }

    /// The replicas of an image in a region and what they are doing, kept for this process.
    pub(super) fn pool(&self, image: &ResourceId, region: &Region, place: &super::deploy::Placed) -> Pool {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || match image {
            ResourceId::ManagedImage(_) => Pool::of_managed_image(&self.placement_policy, place.account),
            _ => Pool::new(&self.placement_policy, place.account),
        };
        let pool = pools.entry((image.clone(), region.clone())).or_insert_with(new).clone();
        // It may have been another number before.
        pool.resize(place.replicas);
        pool
    }
}
