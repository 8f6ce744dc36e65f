//! A gallery to test against, in one line.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};

use super::background::Background;
use super::calls::Calls;
use super::faulty_store::{Fault, Faults, FaultyStore};
use super::manual_clock::ManualClock;
use super::script::{Arrived, Late, Refusal, Script};
use super::seeded_entropy::SeededEntropy;
use crate::access::Directory;
use crate::disk::{DiskFormat, DiskSource};
use crate::error::Result;
use crate::host::Workers;
use crate::model::{
    Gallery, GalleryId, ImageDefinition, ImageDefinitionId, ImageIdentifier, ImageVersion, ImageVersionId, OsState,
    OsType, PublishingProfile, Region,
};
use crate::service::drive::Driver;
use crate::service::publish::AnySource;
use crate::service::publish::{ImageSource, NewImageVersion, Published};
use crate::service::session::{GalleryService, GalleryServiceBuilder, Session};
use crate::store::{BlobStore, MemoryStore, Prefixed, StoreErrorKind};

/// The store of a place in a [`Sandbox`]: `faults()` makes it fail, and `inner()` is the same store past the faults.
type SandboxStore = FaultyStore<Arc<dyn BlobStore>>;

/// A setting of the service, applied whenever the sandbox opens one.
type Setting = Arc<dyn Fn(GalleryServiceBuilder) -> GalleryServiceBuilder + Send + Sync>;

type DriverSetting = Arc<dyn Fn(Driver) -> Driver + Send + Sync>;

/// A gallery service to test against: stores in memory, virtual time, randomness that repeats, a fault switch for every store, and a gallery with the definition of a generalized Linux image.
///
/// A malformed or unknown name of a region, a version or a caller panics; a refusal by the gallery is an `Err`.
///
/// ```
/// use compute_gallery::testkit::{Sandbox, noise};
///
/// # futures::executor::block_on(async {
/// let sandbox = Sandbox::new().await?;
/// let disk = noise(7, 1 << 20);
/// sandbox.publish("1.0.0", disk.clone()).await?;
/// assert_eq!(sandbox.deployed("1.0.0", "eastus").await?, disk);
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
///
/// A region that is down is a switch:
///
/// ```
/// use compute_gallery::ErrorKind;
/// use compute_gallery::store::StoreErrorKind;
/// use compute_gallery::testkit::{Fault, Sandbox};
///
/// # futures::executor::block_on(async {
/// let sandbox = Sandbox::builder().regions(["westeurope", "eastus"]).seed(7).build().await?;
/// sandbox.faults("eastus").fail_from(0, Fault::Before(StoreErrorKind::Unavailable));
/// let error = sandbox.publish("1.0.0", vec![7; 4096]).await.unwrap_err();
/// assert_eq!((error.kind(), error.target()), (ErrorKind::Unavailable, "eastus"));
///
/// sandbox.faults("eastus").heal();
/// sandbox.session().replicate(&sandbox.version("1.0.0")).await?;
/// assert_eq!(sandbox.deployed("1.0.0", "eastus").await?, [7; 4096]);
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct Sandbox {
    settings: SandboxBuilder,
    service: GalleryService,
    session: Session,
    image: ImageDefinitionId,
    catalog: SandboxStore,
    script: Arc<Script>,
    background: Background,
}

impl Sandbox {
    /// A sandbox with the default settings of [`SandboxBuilder`].
    ///
    /// # Errors
    ///
    /// None with these settings.
    pub async fn new() -> Result<Self> {
        Self::builder().build().await
    }

    /// The default settings, to be changed.
    pub fn builder() -> SandboxBuilder {
        SandboxBuilder::default()
    }

    /// Settings of another process on the same stores, with the same clock: its [`build`](SandboxBuilder::build) opens the
    /// catalog and creates nothing.
    ///
    /// ```
    /// use compute_gallery::testkit::Sandbox;
    ///
    /// # futures::executor::block_on(async {
    /// let sandbox = Sandbox::new().await?;
    /// let other = sandbox.reopen().build().await?;
    /// sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// assert_eq!(other.deployed("1.0.0", "westeurope").await?, [7; 4096]);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn reopen(&self) -> SandboxBuilder {
        SandboxBuilder { start: Start::Reopened, ..self.settings.clone() }
    }

    /// The gallery as the caller `test` uses it, who may do everything.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The gallery as another caller uses it.
    #[track_caller]
    pub fn session_of(&self, caller: &str) -> Session {
        self.service.session(literal(caller))
    }

    /// The id of the image definition: `web` in the gallery `g`.
    pub fn image(&self) -> &ImageDefinitionId {
        &self.image
    }

    /// The id of a version of the image.
    #[track_caller]
    pub fn version(&self, number: &str) -> ImageVersionId {
        self.image.version(literal(number))
    }

    /// A version of the image made in the first region, for a publish with settings of its own. `regions` are its targets with
    /// their replica counts, such as `westeurope=2,eastus`.
    #[track_caller]
    pub fn new_version(&self, number: &str, regions: &str, source: impl Into<ImageSource>) -> NewImageVersion {
        let profile = PublishingProfile::new(literal(regions));
        NewImageVersion::new(self.version(number), self.settings.home(), profile, source)
    }

    /// Publishes a raw disk as a version with one replica in each of the sandbox's regions, and replicates it.
    ///
    /// # Errors
    ///
    /// Those of [`Session::publish`] and [`Session::replicate`].
    pub async fn publish(&self, number: &str, disk: impl Into<Bytes>) -> Result<Published<ImageVersion>> {
        let regions: Vec<&str> = self.settings.regions.iter().map(Region::as_str).collect();
        self.publish_to(number, &regions.join(","), disk).await
    }

    /// Publishes a raw disk as a version with these target regions, and replicates it.
    ///
    /// # Errors
    ///
    /// Those of [`Session::publish`] and [`Session::replicate`].
    pub async fn publish_to(
        &self,
        number: &str,
        regions: &str,
        disk: impl Into<Bytes>,
    ) -> Result<Published<ImageVersion>> {
        let published = self.session.publish(self.new_version(number, regions, raw(disk))).await?;
        self.session.replicate(published.resource.id()).await?;
        Ok(published)
    }

    /// The OS disk of a version, deployed in a region.
    ///
    /// # Errors
    ///
    /// Those of [`Session::deploy`].
    pub async fn deployed(&self, number: &str, region: &str) -> Result<Vec<u8>> {
        let deployment = self.session.deploy(self.version(number), region);
        Ok(deployment.to_writer(Vec::new()).await?.1)
    }

    /// The percentage of a version that has arrived in a region, as the replication status says.
    ///
    /// # Errors
    ///
    /// Those of [`Session::replication_status`].
    pub async fn progress(&self, number: &str, region: &str) -> Result<u8> {
        let status = self.session.replication_status(self.version(number)).await?;
        let region: Region = literal(region);
        Ok(status.summary.iter().find(|line| line.region == region).map_or(0, |line| line.progress))
    }

    /// Fails what a session is asked for, in place of doing it: `publish`, `put`, `complete` (an announced version gets its bytes),
    /// `replicate` (to one region), `deploy`, `delete`, and `change` (any other change of the catalog). Of several refusals of a call, the
    /// one that was added first counts. A name that is none of these panics.
    ///
    /// ```
    /// use compute_gallery::ErrorKind;
    /// use compute_gallery::testkit::{Calls, Refusal, Sandbox};
    ///
    /// # futures::executor::block_on(async {
    /// let sandbox = Sandbox::new().await?;
    /// let full = Refusal::new(ErrorKind::LimitReached, "QuotaExceeded").with_message("No more than two.");
    /// sandbox.refuse(Calls::of("publish").nth(3), full);
    /// sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// sandbox.publish("1.0.1", vec![7; 4096]).await?;
    /// let error = sandbox.publish("1.0.2", vec![7; 4096]).await.unwrap_err();
    /// assert_eq!((error.kind(), error.code()), (ErrorKind::LimitReached, "QuotaExceeded"));
    /// sandbox.publish("1.0.2", vec![7; 4096]).await?;
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    #[track_caller]
    pub fn refuse(&self, calls: Calls, refusal: Refusal) {
        self.script.refuse_on(calls, refusal);
    }

    /// Ends all [refusals](Self::refuse).
    pub fn accept(&self) {
        self.script.accept_all();
    }

    /// Takes a region's store away for a span of time: every call of it fails as `Unavailable`.
    ///
    /// ```
    /// use compute_gallery::testkit::Sandbox;
    /// use std::time::Duration;
    ///
    /// # futures::executor::block_on(async {
    /// let sandbox = Sandbox::new().await?;
    /// let minutes = |minutes: u64| sandbox.now() + Duration::from_secs(60 * minutes);
    /// sandbox.outage("eastus", minutes(10)..minutes(30));
    /// sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// sandbox.advance(Duration::from_secs(15 * 60)).await?;
    /// assert!(sandbox.publish("1.0.1", vec![7; 4096]).await.is_err());
    /// sandbox.run_until_idle().await?;
    /// assert_eq!(sandbox.deployed("1.0.1", "eastus").await?, [7; 4096]);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    #[track_caller]
    pub fn outage(&self, region: &str, times: Range<DateTime<Utc>>) {
        self.faults(region).on(Calls::all().during(times), Fault::Before(StoreErrorKind::Unavailable));
    }

    pub(super) fn script(&self) -> &Script {
        &self.script
    }

    pub(super) fn background(&self) -> &Background {
        &self.background
    }

    /// The service's clock.
    pub fn clock(&self) -> &ManualClock {
        &self.settings.clock
    }

    /// The fault switch of a region's store: of the first zone's, if the region has zones.
    #[track_caller]
    pub fn faults(&self, region: &str) -> Faults {
        self.store(region).faults()
    }

    /// The fault switch of the catalog's store.
    pub fn catalog_faults(&self) -> Faults {
        self.catalog_store().faults()
    }

    /// A region's store, or its first zone's: [`inner`](FaultyStore::inner) looks into it past the faults.
    #[track_caller]
    pub fn store(&self, region: &str) -> SandboxStore {
        match self.zones(region) {
            [first, ..] => first.clone(),
            [] => self.settings.share_of(&literal(region)),
        }
    }

    /// The stores of a region's three zones.
    #[track_caller]
    pub fn zones(&self, region: &str) -> &[SandboxStore] {
        self.settings.stores.get(&literal::<Region>(region)).map_or(&[], Vec::as_slice)
    }

    /// The catalog's store.
    pub fn catalog_store(&self) -> SandboxStore {
        self.catalog.clone()
    }
}

/// Settings of a [`Sandbox`].
///
/// | setting | by default |
/// |---|---|
/// | [`regions`](Self::regions) | `westeurope`, `eastus` and `northeurope`; the first is home |
/// | stores | one in memory for the catalog and one for each region |
/// | [`clock`](Self::clock) | auto-advancing from 2026-01-02T03:04:05Z: nothing waits |
/// | [`seed`](Self::seed) | 0 |
/// | [`bytes_per_second`](Self::bytes_per_second), [`latency`](Self::latency) | bytes arrive at once, and calls take no time |
/// | [`any_source`](Self::any_source) | a source that is only named is not found |
/// | [`driver`](Self::driver) | collects and scrubs nothing |
/// | who may do what | everybody everything, or as the roles of a [`directory`](Self::directory) say |
/// | work | on the thread that polls, so that a run repeats |
/// | the [`service`](Self::service)'s other settings | those of [`GalleryServiceBuilder`] |
///
/// ```
/// use compute_gallery::store::FsStore;
/// use compute_gallery::testkit::Sandbox;
///
/// # futures::executor::block_on(async {
/// let directory = tempfile::tempdir()?;
/// let files = FsStore::create(directory.path().join("store"))?;
/// let sandbox = Sandbox::builder().one_store(files).zones("northeurope").seed(7).build().await?;
/// sandbox.publish_to("1.0.0", "westeurope=2,southeastasia", vec![7; 4096]).await?;
/// assert!(directory.path().join("store/regions/southeastasia").is_dir());
/// assert_eq!(sandbox.zones("northeurope").len(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
#[must_use = "nothing is opened before `build`"]
pub struct SandboxBuilder {
    regions: Vec<Region>,
    catalog: Option<SandboxStore>,
    common: Option<SandboxStore>,
    stores: BTreeMap<Region, Vec<SandboxStore>>,
    clock: ManualClock,
    seed: u64,
    access: Option<Setting>,
    service: Vec<Setting>,
    bytes_per_second: BTreeMap<Region, u64>,
    latencies: BTreeMap<Region, Duration>,
    arrived: Arrived,
    sees_late: Duration,
    driver: Option<DriverSetting>,
    start: Start,
    /// Services that have been opened on these stores: each draws its own randomness.
    processes: Arc<AtomicU64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Filled,
    Empty,
    Reopened,
}

impl Default for SandboxBuilder {
    fn default() -> Self {
        let start = DateTime::UNIX_EPOCH + TimeDelta::seconds(1_767_323_045);
        Self {
            regions: ["westeurope", "eastus", "northeurope"].map(literal).to_vec(),
            catalog: None,
            common: None,
            stores: BTreeMap::new(),
            clock: ManualClock::auto_advancing(start),
            seed: 0,
            access: None,
            service: Vec::new(),
            bytes_per_second: BTreeMap::new(),
            latencies: BTreeMap::new(),
            arrived: Arc::default(),
            sees_late: Duration::ZERO,
            driver: None,
            start: Start::Filled,
            processes: Arc::default(),
        }
    }
}

impl SandboxBuilder {
    /// The regions, each with a store of its own; versions, the gallery and its definition are made in the first.
    #[track_caller]
    pub fn regions<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.regions = names.into_iter().map(literal).collect();
        self
    }

    /// Gives a region three zones, each with a store in memory.
    #[track_caller]
    pub fn zones(self, region: &str) -> Self {
        self.zone_stores(region, [(); 3].map(|()| MemoryStore::new()))
    }

    /// Gives a region three zones, each with a store of the caller's.
    #[track_caller]
    pub fn zone_stores<S: BlobStore>(self, region: &str, stores: [S; 3]) -> Self {
        self.with_stores(region, stores.map(faulty).to_vec())
    }

    /// Gives a region a store of the caller's.
    #[track_caller]
    pub fn store(self, region: &str, store: impl BlobStore) -> Self {
        self.with_stores(region, vec![faulty(store)])
    }

    /// Gives the catalog a store of the caller's.
    pub fn catalog_store(mut self, store: impl BlobStore) -> Self {
        self.catalog = Some(faulty(store));
        self
    }

    /// Keeps in one store what has none of its own: the catalog, and every region of the world under a key of its own. So a
    /// whole sandbox is kept in a directory: `one_store(FsStore::create(path)?)`.
    pub fn one_store(mut self, store: impl BlobStore) -> Self {
        self.common = Some(faulty(store));
        self
    }

    /// Another clock: one that stands still until the test moves it ([`ManualClock::new`]), or begins at another time.
    pub fn clock(mut self, clock: ManualClock) -> Self {
        self.clock = clock;
        self
    }

    /// The seed of the service's randomness. Two catalogs, and two programs on one store, need seeds of their own.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Lets roles decide who may do what; the caller `test` may do everything, and assigns the first ones.
    ///
    /// ```
    /// use compute_gallery::ErrorKind;
    /// use compute_gallery::access::MemoryDirectory;
    /// use compute_gallery::testkit::Sandbox;
    ///
    /// # futures::executor::block_on(async {
    /// let sandbox = Sandbox::builder().directory(MemoryDirectory::new()).build().await?;
    /// let error = sandbox.session_of("ann").delete(sandbox.image()).await.unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Forbidden);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn directory(mut self, directory: impl Directory + Clone) -> Self {
        self.access =
            Some(Arc::new(move |builder| builder.directory(directory.clone()).administrator(literal("test"))));
        self
    }

    /// Other settings of the service, applied after all others and to each process that is opened on the stores.
    ///
    /// ```
    /// use compute_gallery::ErrorKind;
    /// use compute_gallery::model::Limits;
    /// use compute_gallery::testkit::Sandbox;
    ///
    /// # futures::executor::block_on(async {
    /// let limits = || Limits::default().with_image_versions(1);
    /// let sandbox = Sandbox::builder().service(move |builder| builder.limits(limits())).build().await?;
    /// sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let error = sandbox.publish("1.0.1", vec![7; 4096]).await.unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::LimitReached);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn service<F>(mut self, settings: F) -> Self
    where
        F: Fn(GalleryServiceBuilder) -> GalleryServiceBuilder + Send + Sync + 'static,
    {
        self.service.push(Arc::new(settings));
        self
    }

    /// Lets the disks of each version arrive in a region at this rate, by their size, whatever they store: a disk of 30 GiB of zeros costs
    /// nothing and takes as long as any. Meanwhile its progress goes from 1 to 100 %, and faults of `put` in the region's store
    /// hit it. In the source region it is the time of the publication. 0 counts as 1.
    #[track_caller]
    pub fn bytes_per_second(mut self, region: &str, rate: u64) -> Self {
        self.bytes_per_second.insert(literal(region), rate.max(1));
        self
    }

    /// Lets each call of a region's store take this time.
    #[track_caller]
    pub fn latency(mut self, region: &str, latency: Duration) -> Self {
        self.latencies.insert(literal(region), latency);
        self
    }

    /// Lets every source that is only named, such as a VM, stand for a disk of `bytes` zeros: see [`AnySource`].
    ///
    /// # Panics
    ///
    /// If `bytes` is the size of no disk: a multiple of 512, from 512 to 64 TiB.
    #[track_caller]
    #[expect(clippy::panic, reason = "it ends a test")]
    pub fn any_source(self, bytes: u64) -> Self {
        let any = AnySource::of_zeros(bytes).unwrap_or_else(|error| panic!("{error}"));
        self.service(move |builder| builder.sources(any))
    }

    /// Lets what the session reads of the catalog be as old as this, as in a cache: a deleted version is still there for a while, and can be
    /// deployed. For a sandbox that is [reopened](Sandbox::reopen), which is another process.
    ///
    /// ```
    /// use compute_gallery::testkit::Sandbox;
    /// use std::time::Duration;
    ///
    /// # futures::executor::block_on(async {
    /// let sandbox = Sandbox::new().await?;
    /// sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let other = sandbox.reopen().sees_late(Duration::from_secs(60)).build().await?;
    /// assert!(other.session().view().image_version(sandbox.version("1.0.0")).is_ok());
    ///
    /// sandbox.session().delete(sandbox.version("1.0.0")).await?;
    /// assert!(other.session().refresh().await?.image_version(sandbox.version("1.0.0")).is_ok());
    /// sandbox.clock().advance(Duration::from_secs(60));
    /// assert!(other.session().refresh().await?.image_version(sandbox.version("1.0.0")).is_err());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn sees_late(mut self, by: Duration) -> Self {
        self.sees_late = by;
        self
    }

    /// Settings of the driver that [goes on by itself](Sandbox#time-and-what-goes-on-by-itself), such as
    /// `|driver| driver.collect_every(Some(day))`.
    pub fn driver(mut self, settings: impl Fn(Driver) -> Driver + Send + Sync + 'static) -> Self {
        self.driver = Some(Arc::new(settings));
        self
    }

    /// Creates neither the gallery nor the definition.
    pub fn empty(mut self) -> Self {
        self.start = Start::Empty;
        self
    }

    /// Opens the catalog, or creates it unless the sandbox is [reopened](Sandbox::reopen).
    ///
    /// # Errors
    ///
    /// Those of [`GalleryServiceBuilder::open_or_create`], or [`GalleryServiceBuilder::open`] of a reopened one.
    pub async fn build(mut self) -> Result<Sandbox> {
        for region in self.regions.iter().filter(|_| self.common.is_none()) {
            self.stores.entry(region.clone()).or_insert_with(|| vec![in_memory()]);
        }
        let catalog = self.catalog.clone().or_else(|| self.common.clone()).unwrap_or_else(in_memory);
        self.catalog = Some(catalog.clone());
        let process = self.processes.fetch_add(1, Ordering::Relaxed);
        let script = Arc::new(self.script(&catalog));
        let mut builder = GalleryService::builder()
            .record_disk_encryption_sets()
            .clock(self.clock.clone())
            .entropy(SeededEntropy::new(self.seed.wrapping_add(process)))
            .workers(Workers::inline())
            .abandon_duties_after(ABANDONED_AFTER)
            .simulation(script.clone())
            .catalog_store(catalog.clone());
        if let Some(common) = &self.common {
            builder = builder.store(common.clone());
        }
        for (region, stores) in &self.stores {
            builder = match stores.as_slice() {
                [one, two, three] => {
                    builder.zonal_region_stores(region.clone(), [one, two, three].map(SandboxStore::clone))
                }
                stores => stores.iter().fold(builder, |builder, one| builder.region_store(region.clone(), one.clone())),
            };
        }
        builder = match &self.access {
            Some(access) => access(builder),
            None => builder.allow_all(),
        };
        builder = self.service.iter().fold(builder, |builder, setting| setting(builder));
        let service =
            if self.start == Start::Reopened { builder.open().await? } else { builder.open_or_create().await? };
        let group = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute";
        let image = literal::<GalleryId>(&format!("{group}/galleries/g")).image(literal("web"));
        let (session, home) = (service.session(literal("test")), self.home());
        if self.start == Start::Filled {
            session.create_gallery(Gallery::new(image.gallery().clone(), home.clone())).await?;
            let identifier = ImageIdentifier::new("Contoso", "Web", "Frontend")?;
            let (os, state) = (OsType::Linux, OsState::Generalized);
            session.create_image_definition(ImageDefinition::new(image.clone(), home, os, state, identifier)).await?;
        }
        let (of_driver, settings) = (session.clone(), self.driver.clone());
        let background = Background::new(move || {
            let driver = of_driver.driver().collect_every(None).look_every(LOOKS_EVERY);
            match &settings {
                Some(settings) => settings(driver),
                None => driver,
            }
        });
        Ok(Sandbox { settings: self, service, session, image, catalog, script, background })
    }

    #[track_caller]
    fn with_stores(mut self, region: &str, stores: Vec<SandboxStore>) -> Self {
        let region: Region = literal(region);
        if !self.regions.contains(&region) {
            self.regions.push(region.clone());
        }
        self.stores.insert(region, stores);
        self
    }

    /// What the service is to do beside its work; the stores get the clock, their seeds and latencies.
    fn script(&self, catalog: &SandboxStore) -> Script {
        let mut script = Script::new(self.clock.clone(), self.seed);
        script.bytes_per_second = self.bytes_per_second.clone();
        script.arrived = self.arrived.clone();
        script.late = Late::by(self.sees_late);
        let of_regions = self.stores.values().flatten();
        for (number, store) in (0..).zip(of_regions.chain(&self.common).chain([catalog])) {
            let faults = store.faults();
            faults.set_clock(self.clock.clone());
            if self.start != Start::Reopened {
                faults.set_seed(self.seed.wrapping_add(number));
            }
        }
        for (region, stores) in &self.stores {
            let latency = self.latencies.get(region).copied().unwrap_or_default();
            stores.iter().for_each(|store| store.faults().set_latency(latency));
            script.stores.extend(stores.first().map(|store| (region.clone(), store.faults())));
        }
        let in_common = self.bytes_per_second.keys().filter(|region| !self.stores.contains_key(*region));
        script.stores.extend(
            in_common.zip(self.common.iter().cycle()).map(|(region, common)| (region.clone(), common.faults())),
        );
        script
    }

    fn home(&self) -> Region {
        self.regions.first().cloned().unwrap_or_else(|| literal("westeurope"))
    }

    /// What a region without a store of its own has in the common one.
    #[track_caller]
    #[expect(clippy::panic, reason = "it ends a test")]
    fn share_of(&self, region: &Region) -> SandboxStore {
        let Some(common) = &self.common else { panic!("the sandbox has no region `{region}`: name it in `regions`") };
        let share = Prefixed::new(common.inner().clone(), literal(&format!("regions/{region}")));
        FaultyStore::with_faults(Arc::new(share), common.faults())
    }
}

impl fmt::Debug for SandboxBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { regions, clock, seed, start, .. } = self;
        let mut all = f.debug_struct("SandboxBuilder");
        all.field("regions", regions).field("clock", clock).field("seed", seed).field("start", start);
        all.finish_non_exhaustive()
    }
}

/// A region by its name, such as `westeurope` or `West Europe`.
#[track_caller]
pub fn region(name: &str) -> Region {
    literal(name)
}

/// A raw disk of these bytes.
pub fn raw(disk: impl Into<Bytes>) -> DiskSource {
    DiskSource::bytes(disk, DiskFormat::Raw)
}

/// How often the driver looks for something to do, and for a change of another process.
const LOOKS_EVERY: Duration = Duration::from_secs(30);

/// A fourth of it passes between two commits of a driver that is at work, which tell of its percent.
const ABANDONED_AFTER: Duration = Duration::from_secs(600);

/// What a test has written down.
#[track_caller]
#[expect(clippy::panic, reason = "it ends a test")]
fn literal<T: FromStr<Err: Display>>(text: &str) -> T {
    text.parse().unwrap_or_else(|error| panic!("`{text}`: {error}"))
}

fn in_memory() -> SandboxStore {
    faulty(MemoryStore::new())
}

fn faulty(store: impl BlobStore) -> SandboxStore {
    FaultyStore::new(Arc::new(store))
}
