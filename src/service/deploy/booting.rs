//! Boots from a disk: what one reads is recorded, and fetched first by the next.

use std::sync::Arc;
#[cfg(feature = "nbd")]
use std::time::Duration;

use super::boots::Known;
use super::reader::ImageReader;
use crate::content::boot_set::BootSet;
#[cfg(feature = "nbd")]
use crate::content::chunk::CHUNK_BYTES;
use crate::error::Result;
use crate::host::in_flight::all_of;

/// What a boot reads is stored so often: a server that is killed leaves all but the last of it.
#[cfg(feature = "nbd")]
const SAVED_EVERY: Duration = Duration::from_secs(10);

/// A boot is over after so many of them.
#[cfg(feature = "nbd")]
const BOOT: usize = 18;

/// # Boot sets
impl ImageReader {
    /// Fetches what earlier boots from this disk have read, in that order, so that a boot finds it in the cache: few large reads
    /// instead of many small ones. At most half of the cache is filled ([`chunk_cache_bytes`](crate::GalleryServiceBuilder::chunk_cache_bytes)).
    /// Run it beside the boot's own reads; what both want is read once. An `NbdServer` (feature `nbd`) does so for each client.
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

    /// Serves a boot beside the client's requests: fetches ahead, and stores what was read, now and then until the boot is over.
    #[cfg(feature = "nbd")]
    pub(crate) async fn attend_boot(&self) {
        // The client's own requests report what fails.
        let _ = self.fetch_boot_set().await;
        let disk = &self.opened().disk;
        if disk.is_recording() {
            for _ in 0..BOOT {
                self.clock().timeout(SAVED_EVERY).await;
                let _ = self.save_boot_set().await;
            }
            disk.stop_recording();
        }
    }
}
