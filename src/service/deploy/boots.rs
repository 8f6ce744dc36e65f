//! What boots from a disk read: recorded by one, and fetched first by the next.

use std::sync::Arc;
#[cfg(feature = "nbd")]
use std::time::Duration;

use super::reader::ImageReader;
#[cfg(feature = "nbd")]
use super::reader::Opened;
use crate::access::Action;
use crate::content::boot_set::BootSet;
#[cfg(feature = "nbd")]
use crate::content::chunk::CHUNK_BYTES;
use crate::content::names::ManifestId;
use crate::error::{ErrorKind, Result};
use crate::host::Clock;
use crate::host::in_flight::all_of;
use crate::host::sync::Mutex;
use crate::model::ResourceId;
use crate::replica::slot::Slot;
use crate::service::read::view::CatalogView;

/// A boot is over after this time.
#[cfg(feature = "nbd")]
const BOOT: Duration = Duration::from_secs(180);

/// The boot set of a disk in a region.
pub(super) struct Boots {
    /// The copies of the region's first replica.
    slots: Vec<Slot>,
    manifest: ManifestId,
    #[cfg_attr(not(feature = "nbd"), expect(dead_code, reason = "only a server waits"))]
    clock: Arc<dyn Clock>,
    known: Mutex<Option<Known>>,
}

/// What the region has.
#[derive(Clone)]
enum Known {
    Set(Arc<BootSet>),
    /// One that a newer build has written: it stays.
    Newer,
}

impl Boots {
    pub(super) fn new(slots: Vec<Slot>, manifest: ManifestId, clock: Arc<dyn Clock>) -> Self {
        Self { slots, manifest, clock, known: Mutex::default() }
    }

    /// Returns the set of the region: of the first zone that has one. One that can't be read is as good as none.
    async fn known(&self) -> Known {
        if let Some(known) = &*self.known.lock() {
            return known.clone();
        }
        let mut known = Known::Set(Arc::default());
        for slot in &self.slots {
            match slot.boot_set(&self.manifest).await {
                Ok(set) => known = Known::Set(Arc::new(set)),
                Err(error) if error.kind() == ErrorKind::Unsupported => known = Known::Newer,
                Err(_) => continue,
            }
            break;
        }
        *self.known.lock() = Some(known.clone());
        known
    }
}

/// Requires the permission to store what a boot from an image reads.
pub(super) fn may_record(view: &CatalogView, image: &ResourceId) -> Result<()> {
    let action = match image {
        ResourceId::ManagedImage(_) => Action::WriteManagedImage,
        ResourceId::Snapshot(_) => Action::WriteSnapshot,
        _ => Action::WriteVersion,
    };
    view.require(action, image.clone())
}

/// # Boot sets
impl ImageReader {
    /// Fetches what earlier boots from this disk have read, in that order, so that a boot finds it in the cache: few large reads
    /// instead of many small ones. At most half of the cache is filled ([`chunk_cache_bytes`](crate::GalleryServiceBuilder::chunk_cache_bytes)).
    /// Run it beside the boot's own reads; what both want is read once. An [`NbdServer`](crate::nbd::NbdServer) does so for each client.
    ///
    /// Returns the number of chunks of 64 KiB in the set: 0 if there is none, it is damaged, or the disk is a data disk.
    ///
    /// # Errors
    ///
    /// As [`read_at`](Self::read_at). A boot is as good without it.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 1 << 20]).await?;
    /// let first = session.deploy(&version, "eastus").record_boot().open().await?;
    /// first.read_at(0..4096).await?;
    /// first.save_boot_set().await?;
    ///
    /// let second = session.deploy(&version, "eastus").open().await?;
    /// assert_eq!(second.fetch_boot_set().await?, 1);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn fetch_boot_set(&self) -> Result<usize> {
        let Some(boots) = &self.opened().boots else { return Ok(0) };
        let Known::Set(set) = boots.known().await else { return Ok(0) };
        self.opened().disk.fetch_chunks(set.chunks()).await?;
        Ok(set.chunks().len())
    }

    /// Stores what was read since [`record_boot`](super::Deployment::record_boot), at most 256 MiB of disk, together with what is
    /// stored already. Returns whether there was anything new to write.
    ///
    /// It is kept beside the disk in this region, until a collection finds that the region need not have the disk.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `StorageFull`. A boot is as good without it.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 1 << 20]).await?;
    /// let reader = session.deploy(&version, "eastus").record_boot().open().await?;
    /// reader.read_at(0..4096).await?;
    /// assert!(reader.save_boot_set().await?);
    /// assert!(!reader.save_boot_set().await?, "nothing new");
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn save_boot_set(&self) -> Result<bool> {
        let (Some(boots), recorded) = (&self.opened().boots, self.opened().disk.recorded()) else { return Ok(false) };
        if recorded.is_empty() {
            return Ok(false);
        }
        let Known::Set(before) = boots.known().await else { return Ok(false) };
        if recorded.iter().all(|chunk| before.has(*chunk)) {
            return Ok(false);
        }
        // What this boot has read comes first, and stays if there is too much.
        let set = BootSet::of(recorded.into_iter().chain(before.chunks().iter().copied()));
        all_of(boots.slots.iter().map(|slot| slot.put_boot_set(&boots.manifest, &set)).collect()).await?;
        *boots.known.lock() = Some(Known::Set(Arc::new(set)));
        Ok(true)
    }

    /// Whether the read of a byte is one that a known boot does: then nothing is to be guessed.
    #[cfg(feature = "nbd")]
    pub(crate) fn is_of_known_boot(&self, at: u64) -> bool {
        let Some(boots) = &self.opened().boots else { return false };
        match &*boots.known.lock() {
            Some(Known::Set(set)) => u32::try_from(at / CHUNK_BYTES as u64).is_ok_and(|chunk| set.has(chunk)),
            _ => false,
        }
    }

    /// Serves a boot beside the client's requests: fetches ahead, and stores what was read once the boot is over.
    #[cfg(feature = "nbd")]
    pub(crate) async fn attend_boot(&self) {
        // The client's own requests report what fails.
        let _ = self.fetch_boot_set().await;
        let Opened { disk, boots: Some(boots), .. } = self.opened() else { return };
        if disk.is_recording() {
            boots.clock.timeout(BOOT).await;
            let _ = self.save_boot_set().await;
            disk.stop_recording();
        }
    }
}
