//! The service and its builder.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::inner::{Authority, Inner};
use super::session::Session;
use super::simulation::Simulation;
use super::sources::SourceResolver;
use crate::access::{Caller, Directory};
use crate::catalog::{Catalog, Mode};
use crate::content::compression::Compression;
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::host::in_flight::Budget;
use crate::host::{Clock, Deadlines, Entropy, KeyProvider, Metrics, SystemClock, SystemEntropy, Workers};
use crate::image::chunk_cache::ChunkCache;
use crate::image::export::BATCH_BYTES;
use crate::keys::keyring::Keyring;
use crate::model::{Limits, Region, RegionCatalog, given};
use crate::placement::PlacementPolicy;
use crate::regions::region_store;
use crate::regions::stores::{Regions, in_common};
use crate::replica::verified::Verified;
use crate::store::{BlobStore, Latency, Prefixed, RetryPolicy, Retrying, WithDeadline};

/// A Shared Image Gallery. A clone is cheap and is the same service. Services in any number of processes may work on the
/// same stores at the same time.
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

/// The default memory of all operations.
const MEMORY_BYTES: u64 = 256 << 20;

/// The default memory of all operations if a region is far away: sixteen packs of 16 MiB in flight are a quarter of it.
const FAR_MEMORY_BYTES: u64 = 1 << 30;

/// How long a duty of another must not change until it counts as abandoned, by default.
const QUIET: Duration = Duration::from_secs(120);

/// Default size of the chunk cache that image readers share.
const CHUNK_CACHE_BYTES: u64 = 64 << 20;

/// Builds a [`GalleryService`]. Two settings are required: a store for the catalog, and either
/// [`directory`](Self::directory) or [`allow_all`](Self::allow_all). Nothing is read or written before
/// [`create`](Self::create), [`open`](Self::open) or [`open_or_create`](Self::open_or_create).
///
/// | setting | default | what it does |
/// |---|---|---|
/// | [`store`](Self::store) | none | holds the catalog and each region that has no store of its own |
/// | [`catalog_store`](Self::catalog_store) | `store` | holds the catalog |
/// | [`region_store`](Self::region_store) | `store` | holds one region |
/// | [`zonal_region_stores`](Self::zonal_region_stores) | none | hold the three zones of one region |
/// | [`adopt_region_store`](Self::adopt_region_store) | off | claims a region's store that is new, or was another catalog's |
/// | [`one_store_for_all_zones`](Self::one_store_for_all_zones) | off | accepts `Standard_ZRS` in a region with one store |
/// | [`directory`](Self::directory) | none | decides access by roles |
/// | [`allow_all`](Self::allow_all) | off | lets every caller do everything |
/// | [`administrator`](Self::administrator) | none | lets one caller do everything |
/// | [`janitor`](Self::janitor) | none | lets one caller collect, compress and scrub |
/// | [`region_catalog`](Self::region_catalog) | [`RegionCatalog::default`] | the regions that exist |
/// | [`refuse_deployments_after_end_of_life`](Self::refuse_deployments_after_end_of_life) | off | refuses deployments of what has passed its end of life |
/// | [`deploy_within_region`](Self::deploy_within_region) | off | reads no replicas of other regions for a deployment |
/// | [`abandon_duties_after`](Self::abandon_duties_after) | 2 minutes | how long a duty of another driver is left to it without a sign of life |
/// | [`require_resource_groups`](Self::require_resource_groups) | off | refuses resources in groups and subscriptions that are not there |
/// | [`limits`](Self::limits) | [`Limits::default`] | quotas, disk size, replica and scale-set maxima |
/// | [`placement_policy`](Self::placement_policy) | [`PlacementPolicy::default`] | what one replica serves at once |
/// | [`azure_2026`](Self::azure_2026) | off | sets these three to Azure Compute Gallery's |
/// | [`compression`](Self::compression) | [`Compression::Zstd`] | how and when content is compressed |
/// | [`encryption`](Self::encryption) | none | encrypts the content of a new catalog, and reads that of an encrypted one |
/// | [`record_disk_encryption_sets`](Self::record_disk_encryption_sets) | off | accepts disk encryption sets in a catalog that is not encrypted |
/// | [`remember_verified`](Self::remember_verified) | `true` | hashes what it reads of a local file once |
/// | [`memory_bytes`](Self::memory_bytes) | 256 MiB, or 1 GiB with a region in a bucket | what all operations together keep in memory and in flight |
/// | [`chunk_cache_bytes`](Self::chunk_cache_bytes) | 64 MiB | size of the cache that all [image readers](crate::ImageReader) share |
/// | [`workers`](Self::workers) | as many threads as the machine runs at once | where blocking work runs |
/// | [`deadlines`](Self::deadlines) | call: 60 s and 2 s per MiB; commit: 5 min; zone: 30 s | how long to wait for an answer |
/// | [`retries`](Self::retries) | for 30 s, with pauses of up to 100 ms, doubling to 5 s | how long to repeat a failed store call |
/// | [`clock`](Self::clock) | [`SystemClock`] | time and timers |
/// | [`entropy`](Self::entropy) | [`SystemEntropy`] | randomness |
/// | [`metrics`](Self::metrics) | none | is told of each piece of work |
/// | [`sources`](Self::sources) | none | says what a source is that the catalog only knows by name |
///
/// ```
/// use compute_gallery::store::MemoryStore;
/// use compute_gallery::GalleryService;
///
/// # futures::executor::block_on(async {
/// // The catalog and most regions share a store; East US has its own.
/// let builder = GalleryService::builder().store(MemoryStore::new()).region_store("eastus", MemoryStore::new());
/// let service = builder.allow_all().create().await?;
/// assert_eq!(service.session("docs".parse()?).view().number(), 0);
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Default)]
#[must_use = "nothing is opened before `open` or `create`"]
pub struct GalleryServiceBuilder {
    catalog: Option<Arc<dyn BlobStore>>,
    allow_all: bool,
    directory: Option<Arc<dyn Directory>>,
    administrators: BTreeSet<Caller>,
    janitors: BTreeSet<Caller>,
    chunk_cache_bytes: Option<u64>,
    memory_bytes: Option<u64>,
    compression: Compression,
    encryption: Option<Arc<dyn KeyProvider>>,
    records_encryption_sets: bool,
    forgets_verified: bool,
    placement_policy: PlacementPolicy,
    common_store: Option<Arc<dyn BlobStore>>,
    region_stores: BTreeMap<Region, Vec<Arc<dyn BlobStore>>>,
    adopted: BTreeSet<Region>,
    /// Regions that were given as text and are none.
    problems: Vec<Problem>,
    one_store_for_all_zones: bool,
    region_catalog: RegionCatalog,
    limits: Limits,
    requires_groups: bool,
    refuses_after_end_of_life: bool,
    within_region: bool,
    quiet: Option<Duration>,
    workers: Workers,
    clock: Option<Arc<dyn Clock>>,
    entropy: Option<Arc<dyn Entropy>>,
    sources: Option<Arc<dyn SourceResolver>>,
    metrics: Option<Arc<dyn Metrics>>,
    simulation: Option<Arc<dyn Simulation>>,
    deadlines: Deadlines,
    retries: RetryPolicy,
}

impl GalleryService {
    /// Returns a builder with default settings and no store.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use compute_gallery::{ErrorKind, GalleryService};
    ///
    /// let error = GalleryService::builder().allow_all().create().await.unwrap_err();
    /// assert_eq!((error.kind(), error.target()), (ErrorKind::Invalid, "catalog_store"));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn builder() -> GalleryServiceBuilder {
        GalleryServiceBuilder::default()
    }

    /// Returns the service as `caller` uses it. With a [`directory`](GalleryServiceBuilder::directory), `caller` is a user
    /// or an application that the directory knows; with [`allow_all`](GalleryServiceBuilder::allow_all) it is any name. The
    /// history of changes names the caller.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use compute_gallery::GalleryService;
    /// use compute_gallery::store::MemoryStore;
    ///
    /// let service = GalleryService::builder().store(MemoryStore::new()).allow_all().create().await?;
    /// assert_eq!(service.session("ann".parse()?).caller().as_str(), "ann");
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn session(&self, caller: Caller) -> Session {
        Session { inner: self.0.clone(), caller, tenants: None }
    }
}

impl GalleryServiceBuilder {
    /// Sets the store of everything that has no store of its own: the catalog and each region, under separate keys.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use compute_gallery::GalleryService;
    /// use compute_gallery::store::FsStore;
    ///
    /// let directory = tempfile::tempdir().unwrap();
    /// let path = directory.path().join("gallery");
    /// let store = FsStore::create(&path).unwrap();
    /// GalleryService::builder().store(store).allow_all().create().await?;
    /// assert!(path.join("catalog").is_dir());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn store(mut self, store: impl BlobStore) -> Self {
        self.common_store = Some(Arc::new(store));
        self
    }

    /// Sets the store of one region: a disk or a bucket in that place. A region without a store takes no images.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use compute_gallery::GalleryService;
    /// use compute_gallery::store::MemoryStore;
    ///
    /// let builder = GalleryService::builder().catalog_store(MemoryStore::new()).allow_all();
    /// let service = builder.region_store("westeurope", MemoryStore::new()).create().await?;
    /// # use compute_gallery::{disk::*, model::*, publish::NewSnapshot};
    /// # let session = service.session("docs".parse()?);
    /// # let snapshot = |region: &str| -> compute_gallery::Result<_> {
    /// # let id = "/subscriptions/dev/resourceGroups/a/providers/Microsoft.Compute/snapshots/data".parse()?;
    /// # Ok(NewSnapshot::of_data_disk(id, region.parse()?, DiskSource::bytes(vec![7; 4096], DiskFormat::Raw)))
    /// # };
    /// assert!(session.create_snapshot(snapshot("westeurope")?).plan().await?.is_possible());
    /// assert!(!session.create_snapshot(snapshot("eastus")?).plan().await?.is_possible());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn region_store(self, region: impl TryInto<Region, Error: Into<Error>>, store: impl BlobStore) -> Self {
        self.in_region(region, |builder, region| drop(builder.region_stores.insert(region, vec![Arc::new(store)])))
    }

    /// Sets a store for each of a region's three zones. A replica on `Standard_ZRS` is stored in all three and survives the
    /// loss of any one of them; everything else is stored in the first alone. Each store remembers its zone and is refused
    /// as the store of another. A region with one store refuses `Standard_ZRS`, unless
    /// [`one_store_for_all_zones`](Self::one_store_for_all_zones) is set.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::{NewImageVersion, model::*, testkit::{Sandbox, raw, region}};
    /// use compute_gallery::store::MemoryStore;
    ///
    /// # let sandbox = Sandbox::builder().regions(["eastus"]).service(|builder| {
    /// let zones = [MemoryStore::new(), MemoryStore::new(), MemoryStore::new()];
    /// let builder = builder.zonal_region_stores("eastus", zones);
    /// # builder
    /// # });
    /// # let sandbox = sandbox.build().await?;
    /// # let session = sandbox.session();
    /// let profile = PublishingProfile::new("eastus".parse()?).with_storage_account_type(StorageAccountType::StandardZrs);
    /// # let new = NewImageVersion::new(sandbox.version("1.0.0"), region("eastus"), profile, raw(vec![7; 4096]));
    /// let plan = session.publish(new).plan().await?;
    /// assert_eq!(plan.regions[0].storage_account_type, StorageAccountType::StandardZrs);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn zonal_region_stores<S: BlobStore>(
        self,
        region: impl TryInto<Region, Error: Into<Error>>,
        zones: [S; 3],
    ) -> Self {
        let zones = zones.into_iter().map(|store| Arc::new(store) as Arc<dyn BlobStore>);
        self.in_region(region, |builder, region| drop(builder.region_stores.insert(region, zones.collect())))
    }

    /// Claims the store of `region`, or the stores of its zones, for this catalog when the catalog is opened, whatever the
    /// store says of its owner. Its content stays, and blobs that belong to another catalog are never removed. The former
    /// owner can no longer use the store.
    ///
    /// Three cases need it, and the store is not used otherwise: a new disk replaces a lost one (a scrub then fills it); the catalog
    /// was restored from a backup and is older than the store; a region changes from one store to three zones, or back.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::{Sandbox, region};
    /// use compute_gallery::store::MemoryStore;
    ///
    /// let sandbox = Sandbox::builder().regions(["westeurope", "eastus"]).build().await?;
    /// sandbox.publish("1.0.0", vec![7; 4096]).await?;
    ///
    /// // The disk of East US was lost. The new one is not used before it is adopted.
    /// let replaced = || sandbox.reopen().store("eastus", MemoryStore::new());
    /// let refused = replaced().build().await?;
    /// assert_ne!(refused.session().scrub("eastus").await?.unreachable, 0);
    /// let adopted = replaced().service(|builder| builder.adopt_region_store("eastus")).build().await?;
    /// let report = adopted.session().scrub("eastus").await?;
    /// assert_eq!((report.unreachable, report.damaged), (0, 0));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn adopt_region_store(self, region: impl TryInto<Region, Error: Into<Error>>) -> Self {
        self.in_region(region, |builder, region| {
            builder.adopted.insert(region);
        })
    }

    /// Changes the settings of a region, or notes that it is none.
    fn in_region(
        mut self,
        region: impl TryInto<Region, Error: Into<Error>>,
        change: impl FnOnce(&mut Self, Region),
    ) -> Self {
        match given(region) {
            Ok(region) => change(&mut self, region),
            Err(error) => self.problems.extend(error.into_problems()),
        }
        self
    }

    /// Accepts `Standard_ZRS` in regions with one store, which then stands for all three zones: each replica is stored
    /// once, and plans and prices say `Standard_LRS`. Meant for tests of software that asks for `Standard_ZRS`.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::{NewImageVersion, model::*, testkit::{Sandbox, raw, region}};
    /// # let sandbox = Sandbox::builder().regions(["eastus"]).service(|builder| {
    /// let builder = builder.one_store_for_all_zones();
    /// # builder
    /// # });
    /// # let sandbox = sandbox.build().await?;
    /// # let session = sandbox.session();
    /// let profile = PublishingProfile::new("eastus".parse()?).with_storage_account_type(StorageAccountType::StandardZrs);
    /// # let new = NewImageVersion::new(sandbox.version("1.0.0"), region("eastus"), profile, raw(vec![7; 4096]));
    /// let plan = session.publish(new).plan().await?;
    /// assert_eq!(plan.regions[0].storage_account_type, StorageAccountType::StandardLrs);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn one_store_for_all_zones(mut self) -> Self {
        self.one_store_for_all_zones = true;
        self
    }

    /// Sets the store of the catalog. By default the catalog is in the [`store`](Self::store) of everything.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use compute_gallery::GalleryService;
    /// use compute_gallery::store::MemoryStore;
    ///
    /// let store = MemoryStore::new();
    /// GalleryService::builder().catalog_store(store.clone()).allow_all().create().await?;
    /// assert!(GalleryService::builder().catalog_store(store).allow_all().open().await.is_ok());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn catalog_store(mut self, store: impl BlobStore) -> Self {
        self.catalog = Some(Arc::new(store));
        self
    }

    /// Lets every caller do everything: for hosts that check access themselves, and for tests. Excludes
    /// [`directory`](Self::directory).
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use compute_gallery::GalleryService;
    /// use compute_gallery::access::{AccessScope, Action};
    /// use compute_gallery::store::MemoryStore;
    ///
    /// let service = GalleryService::builder().store(MemoryStore::new()).allow_all().create().await?;
    /// let dev = AccessScope::Subscription("dev".parse()?);
    /// assert!(service.session("ann".parse()?).explain_access(Action::WriteGallery, &dev).is_allowed());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn allow_all(mut self) -> Self {
        self.allow_all = true;
        self
    }

    /// Sets the directory of users, groups and subscriptions; roles then decide access. Excludes
    /// [`allow_all`](Self::allow_all).
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use compute_gallery::GalleryService;
    /// use compute_gallery::access::{AccessScope, Action, MemoryDirectory};
    /// use compute_gallery::store::MemoryStore;
    ///
    /// let directory = MemoryDirectory::new();
    /// directory.add_user("ann", &"contoso".parse()?)?;
    /// let service = GalleryService::builder().store(MemoryStore::new()).directory(directory).create().await?;
    /// let dev = AccessScope::Subscription("dev".parse()?);
    /// assert!(!service.session("ann".parse()?).explain_access(Action::WriteGallery, &dev).is_allowed());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn directory(mut self, directory: impl Directory) -> Self {
        self.directory = Some(Arc::new(directory));
        self
    }

    /// Lets `caller` do everything without a role, such as assigning the first roles, collecting and scrubbing. May be
    /// called once for each administrator.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use compute_gallery::GalleryService;
    /// use compute_gallery::access::{AccessScope, Action, MemoryDirectory};
    /// use compute_gallery::store::MemoryStore;
    ///
    /// let builder = GalleryService::builder().store(MemoryStore::new()).directory(MemoryDirectory::new());
    /// let service = builder.administrator("root".parse()?).create().await?;
    /// let dev = AccessScope::Subscription("dev".parse()?);
    /// assert!(service.session("root".parse()?).explain_access(Action::WriteRoleAssignment, &dev).is_allowed());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn administrator(mut self, caller: Caller) -> Self {
        self.administrators.insert(caller);
        self
    }

    /// Lets `caller`, such as the service principal of a nightly job, [collect](Session::collect), [compress](Session::compress) and
    /// [scrub](Session::scrub) without a role, and do nothing else. May be called once for each.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use compute_gallery::access::MemoryDirectory;
    /// use compute_gallery::store::MemoryStore;
    /// use compute_gallery::{ErrorKind, GalleryService};
    ///
    /// let builder = GalleryService::builder().store(MemoryStore::new()).directory(MemoryDirectory::new());
    /// let nightly = builder.janitor("nightly".parse()?).create().await?.session("nightly".parse()?);
    /// nightly.collect().await?;
    /// assert_eq!(nightly.define_role(compute_gallery::access::RoleDefinition::new("r", "r")?).await.unwrap_err().kind(), ErrorKind::Forbidden);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn janitor(mut self, caller: Caller) -> Self {
        self.janitors.insert(caller);
        self
    }

    /// Sets the size of the chunk cache that all [image readers](crate::ImageReader) share, in bytes: 64 MiB by default.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use compute_gallery::GalleryService;
    /// use compute_gallery::store::MemoryStore;
    ///
    /// let builder = GalleryService::builder().store(MemoryStore::new()).allow_all();
    /// assert!(builder.chunk_cache_bytes(1 << 30).create().await.is_ok());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn chunk_cache_bytes(mut self, bytes: u64) -> Self {
        self.chunk_cache_bytes = Some(bytes);
        self
    }

    /// Sets how many bytes all operations of the service together keep in memory and in flight: 256 MiB by default, and 1 GiB if the
    /// store of a region is [far away](crate::store::Latency::High). One operation has at most a quarter of it in flight. A line of
    /// 16 requests is full with 256 MiB.
    ///
    /// Imports wait for each other: one takes three times the size of its disks, at most 48 MiB, and packs on their way up to a quarter
    /// while they are free. An import that is alive and not polled keeps its share; the others go on without theirs when nothing has
    /// moved for 30 seconds. Deployments, replications and scrubs never wait: they read 8 MiB ahead, and up to a quarter while it is free.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use compute_gallery::GalleryService;
    /// use compute_gallery::store::MemoryStore;
    ///
    /// let builder = GalleryService::builder().store(MemoryStore::new()).allow_all();
    /// assert!(builder.memory_bytes(1 << 30).create().await.is_ok());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn memory_bytes(mut self, bytes: u64) -> Self {
        self.memory_bytes = Some(bytes);
        self
    }

    /// Sets how and when content is compressed: by default while it is imported. Stored chunks stay as they are and are
    /// readable with any setting.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use compute_gallery::GalleryService;
    /// use compute_gallery::content::Compression;
    /// use compute_gallery::store::MemoryStore;
    ///
    /// let builder = GalleryService::builder().store(MemoryStore::new()).allow_all();
    /// assert!(builder.compression(Compression::None).create().await.is_ok());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Sets what wraps the keys of the catalog. A catalog that is created with it is encrypted in all its regions, from then on and for ever, and
    /// opens only with it; one that was created without it does not open with it. Names of content and digests of disks are keyed: the
    /// digest of a disk is one in all regions of the catalog, and another one than
    /// [`ImageDigest::of`](crate::image::ImageDigest::of) gives. The [format](crate::docs::format) says what encryption hides.
    ///
    /// It needs the feature `encryption`: without it, opening fails as `Unsupported`. If the keys are lost, so is the content.
    ///
    /// ```
    /// # #[cfg(feature = "encryption")] futures::executor::block_on(async {
    /// use compute_gallery::{ErrorKind, GalleryService};
    /// use compute_gallery::host::Secret;
    /// use compute_gallery::keys::LocalKeys;
    /// use compute_gallery::store::MemoryStore;
    ///
    /// let store = MemoryStore::new();
    /// let builder = || GalleryService::builder().store(store.clone()).allow_all();
    /// builder().encryption(LocalKeys::new("2026", Secret([7; 32]))).create().await?;
    /// assert_eq!(builder().open().await.unwrap_err().kind(), ErrorKind::KeyMissing);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn encryption(mut self, provider: impl KeyProvider) -> Self {
        self.encryption = Some(Arc::new(provider));
        self
    }

    /// Accepts versions that name disk encryption sets in a catalog that is not encrypted, and keeps the names: for a host that encrypts by
    /// other means. By default such a version is refused there.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use compute_gallery::GalleryService;
    /// use compute_gallery::store::MemoryStore;
    ///
    /// let builder = GalleryService::builder().store(MemoryStore::new()).allow_all();
    /// assert!(builder.record_disk_encryption_sets().create().await.is_ok());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn record_disk_encryption_sets(mut self) -> Self {
        self.records_encryption_sets = true;
        self
    }

    /// Sets whether the service remembers, as long as it lives, which stored content it has verified: by default it does. A file of a
    /// local store is hashed again when its length or its time of modification has changed, and otherwise not: so a bit
    /// that flips on the disk between two deployments of one service is found by a scrub, not by the second deployment. A store on a
    /// network is hashed each time. What is stored plain and was verified, the system copies from file to file, and shares its blocks where
    /// the file system can (XFS, btrfs): a second deployment then takes a fraction of the first one's time and no space until the VM writes. A
    /// bad sector of a shared block is one of both.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use compute_gallery::GalleryService;
    /// use compute_gallery::store::MemoryStore;
    ///
    /// let builder = GalleryService::builder().store(MemoryStore::new()).allow_all();
    /// assert!(builder.remember_verified(false).create().await.is_ok());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn remember_verified(mut self, remembers: bool) -> Self {
        self.forgets_verified = !remembers;
        self
    }

    /// Sets what one replica serves at once: by default what a replica of the original Shared Image Gallery serves.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::{Sandbox, region};
    /// use compute_gallery::placement::{Capacity, PlacementPolicy};
    ///
    /// # let sandbox = Sandbox::builder().service(|builder| {
    /// let one_vm = PlacementPolicy::default().with_capacity(Capacity::new(1, 1));
    /// let builder = builder.placement_policy(one_vm);
    /// # builder
    /// # });
    /// # let sandbox = sandbox.build().await?;
    /// # let (session, eastus) = (sandbox.session(), region("eastus"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// # let version = sandbox.version("1.0.0");
    /// let pool = session.pool(version, &eastus).await?;
    /// let _lease = pool.place_vms(1)?;
    /// assert!(pool.place_vms(1).is_err());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn placement_policy(mut self, policy: PlacementPolicy) -> Self {
        self.placement_policy = policy;
        self
    }

    /// Sets the regions that exist: Azure's by default.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// use compute_gallery::model::{Cloud, RegionCatalog, RegionInfo};
    ///
    /// let lab = RegionCatalog::empty().with_region(RegionInfo::new("Rack 7", Cloud::Other("lab".into()))?);
    /// # let sandbox = Sandbox::builder().regions(["rack7"]).service(move |builder| {
    /// # let lab = lab.clone();
    /// let builder = builder.region_catalog(lab);
    /// # builder
    /// # });
    /// # let sandbox = sandbox.build().await?;
    /// # let session = sandbox.session();
    /// let gallery = session.view().gallery(sandbox.image().gallery())?;
    /// assert_eq!(gallery.location().as_str(), "rack7");
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn region_catalog(mut self, catalog: RegionCatalog) -> Self {
        self.region_catalog = catalog;
        self
    }

    /// Sets quotas and maxima: by default those of the original Shared Image Gallery.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// use compute_gallery::ErrorKind;
    /// use compute_gallery::model::Limits;
    ///
    /// # let sandbox = Sandbox::builder().service(|builder| {
    /// let builder = builder.limits(Limits::default().with_image_versions(1));
    /// # builder
    /// # });
    /// # let sandbox = sandbox.build().await?;
    /// sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let error = sandbox.publish("1.0.1", vec![7; 4096]).await.unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::LimitReached);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Refuses new galleries, managed images and snapshots in a resource group that was not
    /// [created](Session::put_resource_group) (`ResourceGroupNotFound`), or in a subscription that the directory does not know
    /// (`SubscriptionNotFound`), as Azure does. By default a resource group is a part of an id.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use compute_gallery::GalleryService;
    /// use compute_gallery::store::MemoryStore;
    /// use serde_json::json;
    ///
    /// let builder = GalleryService::builder().store(MemoryStore::new()).allow_all();
    /// let service = builder.require_resource_groups().create().await?;
    /// let session = service.session("ann".parse()?);
    /// let (group, body) = ("/subscriptions/dev/resourceGroups/images", json!({"location": "westeurope"}));
    /// let gallery = format!("{group}/providers/Microsoft.Compute/galleries/Contoso");
    /// let error = session.put_gallery(&*gallery, body.clone()).await.unwrap_err();
    /// assert_eq!(error.code(), "ResourceGroupNotFound");
    /// session.put_resource_group(group, body.clone()).await?;
    /// session.put_gallery(&*gallery, body).await?;
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn require_resource_groups(mut self) -> Self {
        self.requires_groups = true;
        self
    }

    /// Sets how long a duty of another driver or call must not change while this service watches, until it counts as abandoned: 2 minutes by
    /// default. All services of a catalog need the same. A held duty is renewed four times in it, each time by a commit.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::{Sandbox, raw};
    /// use futures::FutureExt;
    /// use std::time::Duration;
    ///
    /// let sandbox = Sandbox::builder().service(|builder| builder.abandon_duties_after(Duration::from_secs(20))).build().await?;
    /// let new = sandbox.new_version("1.0.0", "westeurope,eastus", raw(vec![7; 4096]));
    /// sandbox.session().publish(new).await?;
    /// // A driver is killed while it sends a byte per second.
    /// let mut killed = sandbox.session().driver().collect_every(None).bytes_per_second(1);
    /// let mut step = Box::pin(killed.step());
    /// assert!((0..100).all(|_| (&mut step).now_or_never().is_none()));
    /// drop(step);
    /// let (other, began) = (sandbox.reopen().build().await?, sandbox.now());
    /// other.session().replicate(&sandbox.version("1.0.0")).await?;
    /// let waited = (sandbox.now() - began).num_seconds();
    /// assert!((20..40).contains(&waited), "{waited}");
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn abandon_duties_after(mut self, time: Duration) -> Self {
        self.quiet = Some(time);
        self
    }

    /// Refuses new deployments of versions whose end of life, or that of their definition, has passed. Azure does not: there the date informs.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// use compute_gallery::testkit::raw;
    /// use std::time::Duration;
    ///
    /// let sandbox = Sandbox::builder().service(|builder| builder.refuse_deployments_after_end_of_life()).build().await?;
    /// let (session, id) = (sandbox.session(), sandbox.version("1.0.0"));
    /// let profile = "westeurope".parse().map(compute_gallery::model::PublishingProfile::new)?;
    /// let profile = profile.with_end_of_life_date("2026-02-01T00:00:00Z".parse().unwrap());
    /// let new = compute_gallery::NewImageVersion::new(id.clone(), "westeurope".parse()?, profile, raw(vec![7; 4096]));
    /// session.publish(new).await?;
    /// assert!(session.deploy(&id, "westeurope").plan().await?.is_possible());
    /// sandbox.clock().advance(Duration::from_secs(60 * 24 * 3600));
    /// // The log's time passes with its commits.
    /// sandbox.publish_to("1.0.1", "westeurope", vec![7; 4096]).await?;
    /// let plan = session.deploy(&id, "westeurope").plan().await?;
    /// assert!(plan.problems[0].to_string().contains("end of life"));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn refuse_deployments_after_end_of_life(mut self) -> Self {
        self.refuses_after_end_of_life = true;
        self
    }

    /// Lets a deployment read the replicas of its own region alone. By default it reads on from another region where they are damaged or do
    /// not answer, and mends them; that is traffic between regions, and Azure does not do it.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// use compute_gallery::store::StoreErrorKind;
    /// use compute_gallery::testkit::{Calls, Fault, Sandbox};
    ///
    /// let sandbox = Sandbox::new().await?;
    /// sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// sandbox.faults("eastus").on(Calls::of("get"), Fault::Before(StoreErrorKind::PermissionDenied));
    /// assert_eq!(sandbox.deployed("1.0.0", "eastus").await?, [7; 4096]);
    ///
    /// let strict = sandbox.reopen().service(|builder| builder.deploy_within_region()).build().await?;
    /// assert!(strict.deployed("1.0.0", "eastus").await.is_err());
    /// assert_eq!(strict.deployed("1.0.0", "westeurope").await?, [7; 4096]);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn deploy_within_region(mut self) -> Self {
        self.within_region = true;
        self
    }

    /// Sets the limits, the placement policy and the regions of Azure Compute Gallery as of 2026, in place of the original
    /// Shared Image Gallery's. [`limits`](Self::limits), [`placement_policy`](Self::placement_policy) and
    /// [`region_catalog`](Self::region_catalog) override it when they are called after it.
    ///
    /// ```
    /// use compute_gallery::GalleryService;
    /// use compute_gallery::model::Limits;
    /// use compute_gallery::store::MemoryStore;
    ///
    /// # futures::executor::block_on(async {
    /// let fewer = Limits::azure_2026().with_galleries(10);
    /// let builder = GalleryService::builder().azure_2026().limits(fewer);
    /// assert!(builder.store(MemoryStore::new()).allow_all().create().await.is_ok());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn azure_2026(self) -> Self {
        self.limits(Limits::azure_2026())
            .placement_policy(PlacementPolicy::azure_2026())
            .region_catalog(RegionCatalog::azure_2026())
    }

    /// Sets where blocking work runs, and how much of it at once: by default on as many threads as the machine runs at
    /// once.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use compute_gallery::GalleryService;
    /// use compute_gallery::host::Workers;
    /// use compute_gallery::store::MemoryStore;
    ///
    /// // All work is done by the thread that polls, as in simulations.
    /// let builder = GalleryService::builder().store(MemoryStore::new()).allow_all();
    /// assert!(builder.workers(Workers::inline()).create().await.is_ok());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn workers(mut self, workers: Workers) -> Self {
        self.workers = workers;
        self
    }

    /// Sets the clock: the system's by default.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// use compute_gallery::GalleryService;
    /// use compute_gallery::store::MemoryStore;
    /// use compute_gallery::testkit::ManualClock;
    ///
    /// let clock = ManualClock::auto_advancing("2026-01-02T03:04:05Z".parse().unwrap());
    /// let builder = GalleryService::builder().store(MemoryStore::new()).allow_all();
    /// assert!(builder.clock(clock).create().await.is_ok());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Sets the source of randomness: the system's by default.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// use compute_gallery::GalleryService;
    /// use compute_gallery::store::MemoryStore;
    /// use compute_gallery::testkit::SeededEntropy;
    ///
    /// // The same seed makes the same run.
    /// let builder = GalleryService::builder().store(MemoryStore::new()).allow_all();
    /// assert!(builder.entropy(SeededEntropy::new(7)).create().await.is_ok());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn entropy(mut self, entropy: impl Entropy) -> Self {
        self.entropy = Some(Arc::new(entropy));
        self
    }

    /// Sets what says what a source is that the catalog only knows by name: [`SourceResolver`] has an example. By default such a
    /// version is completed [from disks at hand](crate::publish::Completion::from_disks) alone.
    pub fn sources(mut self, sources: impl SourceResolver) -> Self {
        self.sources = Some(Arc::new(sources));
        self
    }

    /// Sets what is told of each piece of work that has ended: [`Metrics`] has an example. With the feature `tracing` each is a span, too.
    pub fn metrics(mut self, metrics: impl Metrics) -> Self {
        self.metrics = Some(Arc::new(metrics));
        self
    }

    /// Sets what a simulation decides.
    #[cfg(feature = "testkit")]
    pub(crate) fn simulation(mut self, simulation: Arc<dyn Simulation>) -> Self {
        self.simulation = Some(simulation);
        self
    }

    /// Sets how long to wait for a store call, a commit and a zone: see [`Deadlines`] for the defaults.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use compute_gallery::GalleryService;
    /// use compute_gallery::host::Deadlines;
    /// use compute_gallery::store::MemoryStore;
    /// use std::time::Duration;
    ///
    /// let slow_link = Deadlines::default().with_call_per_mebibyte(Duration::from_secs(20));
    /// let builder = GalleryService::builder().store(MemoryStore::new()).allow_all();
    /// assert!(builder.deadlines(slow_link).create().await.is_ok());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    /// Sets how long a failed store call is repeated: by default for 30 s, with pauses that double from 100 ms to 5 s.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::{Fault, Sandbox};
    /// use compute_gallery::store::{RetryPolicy, StoreErrorKind};
    ///
    /// # let sandbox = Sandbox::builder().service(|builder| {
    /// let builder = builder.retries(RetryPolicy::none());
    /// # builder
    /// # });
    /// # let sandbox = sandbox.build().await?;
    /// sandbox.faults("westeurope").fail_call(0, Fault::Before(StoreErrorKind::Unavailable));
    /// assert!(sandbox.publish("1.0.0", vec![7; 4096]).await.is_err());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn retries(mut self, retries: RetryPolicy) -> Self {
        self.retries = retries;
        self
    }

    /// Creates a catalog on a store that has none, and opens it.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` if the store has a catalog; otherwise as [`open`](Self::open).
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use compute_gallery::{ErrorKind, GalleryService};
    /// use compute_gallery::store::MemoryStore;
    ///
    /// let store = MemoryStore::new();
    /// let builder = || GalleryService::builder().store(store.clone()).allow_all();
    /// builder().create().await?;
    /// assert_eq!(builder().create().await.unwrap_err().kind(), ErrorKind::AlreadyExists);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn create(self) -> Result<GalleryService> {
        self.start(Start::Create).await
    }

    /// Opens the catalog, or creates one on a store that has none: for tests, and for programs whose store is not a disk
    /// that may be unmounted. A store that belongs to another catalog is refused either way.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), except for a missing catalog.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use compute_gallery::GalleryService;
    /// use compute_gallery::store::MemoryStore;
    ///
    /// let store = MemoryStore::new();
    /// let builder = || GalleryService::builder().store(store.clone()).allow_all();
    /// builder().open_or_create().await?;
    /// assert!(builder().open().await.is_ok());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn open_or_create(self) -> Result<GalleryService> {
        self.start(Start::OpenOrCreate).await
    }

    /// Opens the catalog, after checks that its store keeps the contract of [`BlobStore`], that the log has no hole, and
    /// that each region's store is the one that the catalog has claimed.
    ///
    /// # Errors
    ///
    /// - `NotFound` if the store has no catalog: it is not mounted, or its path or prefix is wrong.
    ///   [`create`](Self::create) creates a catalog.
    /// - `Unavailable` if a region's store belongs to another catalog, region or zone, or has seen a newer log than this
    ///   one. The message names both, and nothing was changed. Also if a store does not answer.
    /// - `Invalid` without a store for the catalog, for text that is no region, and without exactly one of [`directory`](Self::directory) and
    ///   [`allow_all`](Self::allow_all).
    /// - `Unsupported` if the store lets two callers create one key, or a newer build wrote the catalog.
    /// - `Corrupt` if the log is damaged or has a hole.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use compute_gallery::{ErrorKind, GalleryService};
    /// use compute_gallery::store::MemoryStore;
    ///
    /// let error = GalleryService::builder().store(MemoryStore::new()).allow_all().open().await.unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::NotFound);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn open(self) -> Result<GalleryService> {
        self.start(Start::Open).await
    }

    /// Opens the catalog to read from it: lists and deploys, and needs no permission to write to any store. It puts and deletes
    /// nothing, not even to mend a damaged replica; every change is refused. A commit that another process has just made may
    /// be seen before it survives a power cut.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and `Unsupported` together with [`adopt_region_store`](Self::adopt_region_store).
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use compute_gallery::{ErrorKind, GalleryService};
    /// use compute_gallery::model::Gallery;
    /// use compute_gallery::store::MemoryStore;
    ///
    /// let store = MemoryStore::new();
    /// let builder = || GalleryService::builder().store(store.clone()).allow_all();
    /// builder().create().await?;
    /// let reader = builder().open_read_only().await?.session("ci".parse()?);
    /// let id = "/subscriptions/dev/resourceGroups/rg/providers/Microsoft.Compute/galleries/one".parse()?;
    /// let refused = reader.create_gallery(Gallery::new(id, "westeurope".parse()?)).await.unwrap_err();
    /// assert_eq!(refused.kind(), ErrorKind::Unsupported);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn open_read_only(self) -> Result<GalleryService> {
        self.start(Start::OpenReadOnly).await
    }

    async fn start(mut self, start: Start) -> Result<GalleryService> {
        Error::from_problems(std::mem::take(&mut self.problems))?;
        let Some(store) = self.catalog.clone().or_else(|| self.common_store.clone()) else {
            let fix = "the catalog has no store: set one with `store` or `catalog_store`";
            return Err(Error::invalid("catalog_store", fix));
        };
        let authority = match (self.allow_all, self.directory.clone()) {
            (true, None) => Authority::AllowAll,
            (false, Some(directory)) => {
                let (administrators, janitors) = (self.administrators.clone(), self.janitors.clone());
                Authority::Roles { directory, administrators, janitors }
            }
            (true, Some(_)) => {
                let fix = "`directory` and `allow_all` exclude each other: leave one out";
                return Err(Error::invalid("directory", fix));
            }
            (false, None) => {
                let fix = "access is not configured: set a `directory` for roles, or `allow_all`";
                return Err(Error::invalid("directory", fix));
            }
        };
        if self.encryption.is_some() && cfg!(not(feature = "encryption")) {
            let what = "this build lacks the feature `encryption` of the crate: build with it";
            return Err(Error::unsupported("encryption", what));
        }
        let clock = self.clock.clone().unwrap_or_else(|| Arc::new(SystemClock));
        let entropy = self.entropy.clone().unwrap_or_else(|| Arc::new(SystemEntropy));
        let (deadlines, retries) = (self.deadlines, self.retries);
        let steady = |store| -> Arc<dyn BlobStore> {
            let ending = WithDeadline::new(store, deadlines, clock.clone());
            Arc::new(Retrying::new(ending, retries, clock.clone(), entropy.clone()))
        };
        let zones = |(region, zones): (Region, Vec<_>)| (region, zones.into_iter().map(steady).collect());
        // Before any of them is asked anything.
        self.region_stores = std::mem::take(&mut self.region_stores).into_iter().map(zones).collect();
        self.common_store = self.common_store.take().map(steady);
        let store: Arc<dyn BlobStore> = Arc::new(Prefixed::new(steady(store), "catalog".parse()?));
        let open_as = |mode| Catalog::open(store.clone(), clock.clone(), entropy.clone(), self.workers.clone(), mode);
        let open = || open_as(Mode::ReadWrite);
        let create = async || {
            // ORDER: before anything is created. A mistyped catalog leaves no second one behind.
            self.refuse_unknown_regions(&|_| false)?;
            self.refuse_stores_of_others().await?;
            let is_encrypted = self.encryption.is_some();
            Catalog::create(store.clone(), clock.clone(), entropy.clone(), self.workers.clone(), is_encrypted).await
        };
        let catalog = match start {
            Start::Open => open().await?,
            Start::OpenReadOnly => open_as(Mode::ReadOnly).await?,
            Start::Create => create().await?,
            Start::OpenOrCreate => match open().await {
                Err(error) if error.kind() == ErrorKind::NotFound => match create().await {
                    // Another process has created it meanwhile.
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => open().await?,
                    created => created?,
                },
                opened => opened?,
            },
        };
        let catalog = Arc::new(catalog.with_commit_limit(deadlines.for_commit()));
        let opened = catalog.snapshot();
        self.refuse_unknown_regions(&|region| !opened.claims_of(region).is_empty())?;
        let keyring = match (catalog.snapshot().is_encrypted(), self.encryption.take()) {
            (false, None) => None,
            (true, Some(provider)) => {
                let (id, workers) = (catalog.id(), self.workers.clone());
                let may_write = catalog.refuse_change().is_ok();
                let is_new = catalog.snapshot().number() == 0;
                let rights = (is_new, may_write);
                Some(Arc::new(Keyring::open(store, id, provider, entropy.clone(), workers, rights).await?))
            }
            (true, None) => {
                let what =
                    "the catalog is encrypted: open it with its key provider, by `encryption`; nothing was changed";
                return Err(Error::of(ErrorKind::KeyMissing, "KeyVaultKeyNotFound", "encryption", what));
            }
            (false, Some(_)) => {
                let what = "the catalog was created without encryption, which can't be turned on later: open it without a key \
                            provider, or create a new catalog with one and publish its images there";
                return Err(Error::invalid("encryption", what));
            }
        };
        let is_far = |store: &Arc<dyn BlobStore>| store.capabilities().latency() == Latency::High;
        let has_far = self.region_stores.values().flatten().chain(&self.common_store).any(is_far);
        let least = if has_far { FAR_MEMORY_BYTES } else { MEMORY_BYTES };
        let memory = Budget::new(self.memory_bytes.unwrap_or(least));
        let Self {
            common_store,
            region_stores,
            region_catalog,
            limits,
            requires_groups,
            refuses_after_end_of_life,
            within_region,
            workers,
            compression,
            placement_policy,
            ..
        } = self;
        let mut regions = Regions::new(
            region_stores,
            common_store,
            catalog.clone(),
            entropy.clone(),
            clock.clone(),
            deadlines.for_zone(),
            (Verified::new(clock.clone(), !self.forgets_verified), keyring),
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
            requires_groups,
            refuses_after_end_of_life,
            within_region,
            copy_within: deadlines.for_call(BATCH_BYTES as u64),
            quiet: self.quiet.unwrap_or(QUIET),
            workers,
            clock: clock.clone(),
            entropy: entropy.clone(),
            chunks,
            memory,
            compression,
            records_encryption_sets: self.records_encryption_sets,
            placement_policy,
            under_way,
            sources: self.sources.clone(),
            metrics: self.metrics.clone(),
            simulation: self.simulation.clone(),
            pools,
            computer_names,
        })))
    }
}

impl GalleryServiceBuilder {
    /// Refuses the store of a region in which nothing can be created, and nothing was.
    fn refuse_unknown_regions(&self, is_used: &dyn Fn(&Region) -> bool) -> Result<()> {
        let is_unknown = |region: &&Region| self.region_catalog.get(region).is_none() && !is_used(region);
        let unknown = self.region_stores.keys().filter(is_unknown).map(|region| {
            let what = format!(
                "`{region}` is no region of the region catalog: correct its name, or set a `region_catalog` that has it, such as \
                 `RegionCatalog::azure_2026()`"
            );
            Problem::invalid("region_store", what)
        });
        Error::from_problems(unknown.collect())
    }

    /// Refuses stores of other catalogs: a new catalog must not take them.
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

/// Whether the catalog must exist, must not exist, or may.
#[derive(Clone, Copy)]
enum Start {
    Open,
    OpenReadOnly,
    Create,
    OpenOrCreate,
}
