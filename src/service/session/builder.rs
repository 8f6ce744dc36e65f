//! The service, and what a host builds it from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::authority::Authority;
use super::inner::Inner;
use super::session::Session;
use crate::access::{Caller, Directory};
use crate::catalog::Catalog;
use crate::content::compression::Compression;
use crate::error::{Error, ErrorKind, Result};
use crate::host::{Clock, Deadlines, Entropy, SystemClock, SystemEntropy, Workers};
use crate::image::random_access::ChunkCache;
use crate::model::{Limits, Region, RegionCatalog};
use crate::placement::PlacementPolicy;
use crate::regions::region_store;
use crate::regions::stores::{Regions, in_common};
use crate::store::{BlobStore, Prefixed, RetryPolicy, Retrying, WithDeadline};

/// A Shared Image Gallery. Cheap to clone; any number of them, in any number of processes, may work on the same
/// stores at once.
///
/// ```
/// use compute_gallery::model::{Gallery, GalleryId};
/// use compute_gallery::store::MemoryStore;
/// use compute_gallery::GalleryService;
///
/// # futures::executor::block_on(async {
/// let service = GalleryService::builder().store(MemoryStore::new()).allow_all().create().await?;
/// let session = service.session("docs".parse()?);
///
/// let id: GalleryId = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/Contoso".parse()?;
/// session.create_gallery(Gallery::new(id.clone(), "West Europe".parse()?)).await?;
/// assert_eq!(session.view().gallery(&id)?.location().as_str(), "westeurope");
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct GalleryService(pub(crate) Arc<Inner>);

/// What readers of images keep of what they have read, where nothing is said.
const CHUNK_CACHE_BYTES: u64 = 64 << 20;

/// Builds a [`GalleryService`]: say where the bytes go; all else has a default.
#[derive(Debug, Default)]
#[must_use = "nothing is opened before `open` or `create`"]
pub struct GalleryServiceBuilder {
    catalog: Option<Arc<dyn BlobStore>>,
    allow_all: bool,
    directory: Option<Arc<dyn Directory>>,
    administrators: BTreeSet<Caller>,
    chunk_cache_bytes: Option<u64>,
    compression: Compression,
    placement_policy: PlacementPolicy,
    common_store: Option<Arc<dyn BlobStore>>,
    region_stores: BTreeMap<Region, Vec<Arc<dyn BlobStore>>>,
    adopted: BTreeSet<Region>,
    one_store_for_all_zones: bool,
    region_catalog: RegionCatalog,
    limits: Limits,
    workers: Workers,
    clock: Option<Arc<dyn Clock>>,
    entropy: Option<Arc<dyn Entropy>>,
    deadlines: Deadlines,
    retries: RetryPolicy,
}

impl GalleryService {
    /// Begins with no store and the defaults of all else.
    pub fn builder() -> GalleryServiceBuilder {
        GalleryServiceBuilder::default()
    }

    /// The service as `caller` uses it: a user or application that the directory knows, whose roles decide what it may
    /// do; any name, where everything is allowed. The name goes into the history of what it does.
    pub fn session(&self, caller: Caller) -> Session {
        Session { inner: self.0.clone(), caller }
    }
}

impl GalleryServiceBuilder {
    /// One store for everything that has none of its own: the catalog and any region, each under a key of its own.
    pub fn store(mut self, store: impl BlobStore) -> Self {
        self.common_store = Some(Arc::new(store));
        self
    }

    /// A store for one region: a disk or bucket in that place.
    pub fn region_store(mut self, region: Region, store: impl BlobStore) -> Self {
        self.region_stores.insert(region, vec![Arc::new(store)]);
        self
    }

    /// A store for each of a region's three zones. What is to be kept on `Standard_ZRS` is kept in all three, and outlives
    /// the loss of any one of them; all else is kept in the first alone. Each store remembers which zone it is, and is refused
    /// in another's place. A region with one store takes no `Standard_ZRS`, unless [`one_store_for_all_zones`](Self::one_store_for_all_zones) is said.
    pub fn zonal_region_stores<S: BlobStore>(mut self, region: Region, zones: [S; 3]) -> Self {
        let zones = zones.into_iter().map(|store| Arc::new(store) as Arc<dyn BlobStore>);
        self.region_stores.insert(region, zones.collect());
        self
    }

    /// Makes the store that is given for `region` (or the stores of its zones) this catalog's when the catalog is opened,
    /// whatever the store says of itself. What is in it stays, and what belongs to another catalog is never removed.
    ///
    /// For three cases, in which the store is refused otherwise: the disk of a region was lost and this is a new one (a scrub
    /// then fills it); the catalog was restored from a backup and is older than the store; a region gets three zones in
    /// place of one store, or the other way round. The store's former owner can no longer use it.
    pub fn adopt_region_store(mut self, region: Region) -> Self {
        self.adopted.insert(region);
        self
    }

    /// Takes `Standard_ZRS` also where a region has one store, which then stands for all its zones: each replica is kept
    /// once, and plans and prices say `Standard_LRS`. For tests of software that asks for it.
    pub fn one_store_for_all_zones(mut self) -> Self {
        self.one_store_for_all_zones = true;
        self
    }

    /// A store for the catalog.
    pub fn catalog_store(mut self, store: impl BlobStore) -> Self {
        self.catalog = Some(Arc::new(store));
        self
    }

    /// Everybody may do everything: for hosts that make their own checks, and for tests.
    pub fn allow_all(mut self) -> Self {
        self.allow_all = true;
        self
    }

    /// Roles decide who may do what; `directory` knows who is who.
    pub fn directory(mut self, directory: impl Directory) -> Self {
        self.directory = Some(Arc::new(directory));
        self
    }

    /// Lets a caller do everything, without any role: to assign the first ones.
    pub fn administrator(mut self, caller: Caller) -> Self {
        self.administrators.insert(caller);
        self
    }

    /// How many bytes of chunks readers of images keep, together; 64 MiB where nothing is said.
    pub fn chunk_cache_bytes(mut self, bytes: u64) -> Self {
        self.chunk_cache_bytes = Some(bytes);
        self
    }

    /// Whether the chunks of new images are compressed; they are, where nothing is said. What is stored stays as it is,
    /// and can be read either way.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Other numbers for placing VMs and scale sets on replicas than the original service's.
    pub fn placement_policy(mut self, policy: PlacementPolicy) -> Self {
        self.placement_policy = policy;
        self
    }

    /// Other regions than Azure's.
    pub fn region_catalog(mut self, catalog: RegionCatalog) -> Self {
        self.region_catalog = catalog;
        self
    }

    /// Other limits than the default ones.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the limits, the placement policy and the regions of Azure Compute Gallery as of 2026, in place of the original
    /// Shared Image Gallery's. Call [`limits`](Self::limits), [`placement_policy`](Self::placement_policy) and
    /// [`region_catalog`](Self::region_catalog) after it to change one of them.
    ///
    /// ```
    /// use compute_gallery::GalleryService;
    /// use compute_gallery::model::Limits;
    /// use compute_gallery::store::MemoryStore;
    ///
    /// # futures::executor::block_on(async {
    /// let fewer = Limits::azure_2026().with_galleries(10);
    /// let builder = GalleryService::builder().azure_2026().limits(fewer);
    /// builder.store(MemoryStore::new()).allow_all().create().await?;
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn azure_2026(self) -> Self {
        self.limits(Limits::azure_2026())
            .placement_policy(PlacementPolicy::azure_2026())
            .region_catalog(RegionCatalog::azure_2026())
    }

    /// Where blocking work runs, and how much of it at once.
    pub fn workers(mut self, workers: Workers) -> Self {
        self.workers = workers;
        self
    }

    /// Another clock than the system's.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Another source of randomness than the system's.
    pub fn entropy(mut self, entropy: impl Entropy) -> Self {
        self.entropy = Some(Arc::new(entropy));
        self
    }

    /// How long to wait for a store, a commit and a zone.
    pub fn deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    /// How long a store that did not do something is asked again.
    pub fn retries(mut self, retries: RetryPolicy) -> Self {
        self.retries = retries;
        self
    }

    /// Makes a new catalog on a store that has none, and opens it.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` where a catalog is there; else those of [`open`](Self::open).
    pub async fn create(self) -> Result<GalleryService> {
        self.start(Start::Create).await
    }

    /// Opens the catalog, or makes a new one on a store that has none: for tests, and for programs whose store is not on a
    /// disk that may be missing. A store that belongs to another catalog is refused either way.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open), but for a catalog that is absent.
    pub async fn open_or_create(self) -> Result<GalleryService> {
        self.start(Start::OpenOrCreate).await
    }

    /// Opens the catalog, after a check that its store can be trusted with it, that no entry of its log is missing, and that
    /// each region's store is the one that the catalog has claimed.
    ///
    /// # Errors
    ///
    /// `NotFound` where no catalog is in the store: it is not mounted, or its path or prefix is wrong; a new one is made with
    /// [`create`](Self::create). `Unavailable` where a region's store belongs to another catalog, region or zone, or has seen a
    /// newer log than this one: the message names both, and nothing was changed. `Invalid` where no store was given for the
    /// catalog, or neither [`directory`](Self::directory) nor [`allow_all`](Self::allow_all); `Unsupported` where its store
    /// lets two callers create one key, or the catalog was written by a newer build; `Corrupt` where the log is damaged or has
    /// a hole.
    pub async fn open(self) -> Result<GalleryService> {
        self.start(Start::Open).await
    }

    async fn start(self, start: Start) -> Result<GalleryService> {
        let Some(store) = self.catalog.clone().or_else(|| self.common_store.clone()) else {
            let fix = "the catalog has no store: give one with `store` or `catalog_store`";
            return Err(Error::invalid("catalog_store", fix));
        };
        let authority = match (self.allow_all, self.directory.clone()) {
            (true, None) => Authority::AllowAll,
            (false, Some(directory)) => Authority::Roles { directory, administrators: self.administrators.clone() },
            (true, Some(_)) => {
                let fix = "a directory and `allow_all` exclude each other: leave one out";
                return Err(Error::invalid("directory", fix));
            }
            (false, None) => {
                let fix = "who may do what is not said: give a `directory` for roles, or ask for `allow_all`";
                return Err(Error::invalid("directory", fix));
            }
        };
        let clock = self.clock.clone().unwrap_or_else(|| Arc::new(SystemClock));
        let entropy = self.entropy.clone().unwrap_or_else(|| Arc::new(SystemEntropy));
        let (deadlines, retries) = (self.deadlines, self.retries);
        let steady = |store| -> Arc<dyn BlobStore> {
            let ending = WithDeadline::new(store, deadlines, clock.clone());
            Arc::new(Retrying::new(ending, retries, clock.clone(), entropy.clone()))
        };
        let store: Arc<dyn BlobStore> = Arc::new(Prefixed::new(steady(store), "catalog".parse()?));
        let open = || Catalog::open(store.clone(), clock.clone(), entropy.clone());
        let create = async || {
            // ORDER: before anything is made. A mistyped catalog leaves no second one behind.
            self.refuse_stores_of_others().await?;
            Catalog::create(store.clone(), clock.clone(), entropy.clone()).await
        };
        let catalog = match start {
            Start::Open => open().await?,
            Start::Create => create().await?,
            Start::OpenOrCreate => match open().await {
                Err(error) if error.kind() == ErrorKind::NotFound => match create().await {
                    // Another process was faster.
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => open().await?,
                    created => created?,
                },
                opened => opened?,
            },
        };
        let catalog = Arc::new(catalog.with_commit_limit(deadlines.for_commit()));
        let Self {
            common_store, region_stores, region_catalog, limits, workers, compression, placement_policy, ..
        } = self;
        let zones = |(region, zones): (Region, Vec<_>)| (region, zones.into_iter().map(steady).collect());
        let (region_stores, common_store) = (region_stores.into_iter().map(zones).collect(), common_store.map(steady));
        let mut regions = Regions::new(
            region_stores,
            common_store,
            catalog.clone(),
            entropy.clone(),
            clock.clone(),
            deadlines.for_zone(),
        );
        regions.one_store_for_all_zones = self.one_store_for_all_zones;
        for region in &self.adopted {
            regions.adopt(region).await?;
        }
        regions.check().await?;
        let chunks = Arc::new(ChunkCache::new(self.chunk_cache_bytes.unwrap_or(CHUNK_CACHE_BYTES)));
        let (pools, computer_names, under_way) = Default::default();
        Ok(GalleryService(Arc::new(Inner {
            catalog,
            authority,
            regions: Arc::new(regions),
            region_catalog,
            limits,
            workers,
            clock: clock.clone(),
            entropy: entropy.clone(),
            chunks,
            compression,
            placement_policy,
            under_way,
            pools,
            computer_names,
        })))
    }
}

impl GalleryServiceBuilder {
    /// A new catalog takes no store that says whose it is.
    async fn refuse_stores_of_others(&self) -> Result<()> {
        for (region, stores) in self.region_stores.iter().filter(|(region, _)| !self.adopted.contains(*region)) {
            for store in stores {
                region_store::refuse_an_owned(&**store, region).await?;
            }
        }
        let Some(common) = &self.common_store else { return Ok(()) };
        for region in in_common(&**common).await? {
            if !self.adopted.contains(&region) && !self.region_stores.contains_key(&region) {
                let share = Prefixed::new(common.clone(), format!("regions/{region}").parse()?);
                region_store::refuse_an_owned(&share, &region).await?;
            }
        }
        Ok(())
    }
}

/// Whether the catalog is to be there.
#[derive(Clone, Copy)]
enum Start {
    Open,
    Create,
    OpenOrCreate,
}
