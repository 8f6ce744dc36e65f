//! What a collection freed, or would.

use super::garbage::Unneeded;
use super::inventory::Blobs;
use crate::catalog::Event;
use crate::content::names::SlotId;
use crate::error::ErrorKind;
use crate::keys::UnrotatedKey;
use crate::model::{Region, ResourceId};

/// What a collection freed, or would.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
/// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
/// session.delete(&version).await?;
/// let report = session.collect().await?;
/// assert_eq!((report.abandoned_uploads, report.purged_versions), (0, 0));
/// assert!(report.bytes() > 0);
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CollectionReport {
    /// Imports that nobody took up again.
    pub abandoned_uploads: usize,
    /// Soft-deleted versions whose retention is over.
    pub purged_versions: usize,
    /// Each region that has something to free.
    pub regions: Vec<RegionCollection>,
    /// Of a rotation: the data keys that need an old key of the host, which must not be destroyed.
    pub unrotated_keys: Vec<UnrotatedKey>,
}

/// What a collection freed in one region, or would.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
/// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
/// session.delete(&version).await?;
/// let report = session.collect().await?;
/// let bytes: u64 = report.regions.iter().map(|region| region.bytes).sum();
/// assert_eq!(bytes, report.bytes());
/// assert!(report.regions.iter().all(|region| region.rewritten_packs == 0));
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegionCollection {
    /// The region.
    pub region: Region,
    /// The number of packs, manifests and boot sets that are freed, over all replicas.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// The number of packs that were mostly dead: what is needed of them was written anew.
    pub rewritten_packs: usize,
    /// The number of packs that were compressed after they had rested, each in its replica.
    pub compressed_packs: usize,
    /// The number of small packs that were merged, each in its replica: by a plan, those that are to be.
    pub merged_packs: usize,
    /// The bytes that what was rewritten, compressed and merged takes.
    pub rewritten_bytes: u64,
    /// The number of packs that are left to compress: by a plan, or after a budget was used up.
    pub uncompressed_packs: usize,
    /// The number of packs that were encrypted with a new key, each in its replica.
    pub reencrypted_packs: usize,
    /// The number of packs that are left under an old key: by a plan, or after a budget was used up.
    pub packs_under_old_keys: usize,
    /// Of a rotation: the replicas of which something could not be read, and may be under an old key. Scrub the region, and call again.
    pub unread_replicas: Vec<UnreadReplica>,
    /// Blobs that this catalog has never announced: of a newer catalog, where this one was restored from a backup, or of another
    /// one. They stay.
    pub foreign_blobs: usize,
    /// Their bytes.
    pub foreign_bytes: u64,
    /// Resources whose manifest no replica has whole: everything that they may need stays. Delete them, or scrub a region that
    /// has a good one.
    pub unreadable: Vec<ResourceId>,
}

/// A replica of which a rotation of keys could not read some packs.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let session = Sandbox::new().await?.session().clone();
/// let rotated = session.rotate_keys().await?;
/// for region in &rotated.regions {
///     for unread in &region.unread_replicas {
///         println!("{}, replica {}: {} packs, {:?}", region.region, unread.replica, unread.packs, unread.reason);
///     }
/// }
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnreadReplica {
    /// The number of the replica in its region, from 0.
    pub replica: u32,
    /// The number of the zone, from 1; 1 also if one store has all of the region.
    pub zone: u32,
    /// `KeyMissing`: a data key is away. `Corrupt`, `NotFound`: a head, a record or a blob is damaged or missing. `Unavailable`, …: its store
    /// does not answer.
    pub reason: ErrorKind,
    /// The number of these packs.
    pub packs: usize,
}

impl CollectionReport {
    /// All bytes together, less those that were written anew.
    pub fn bytes(&self) -> u64 {
        self.regions.iter().map(|region| region.bytes.saturating_sub(region.rewritten_bytes)).sum()
    }
}

impl CollectionReport {
    pub(crate) fn of(overdue: &[Event]) -> Self {
        let uploads = overdue.iter().filter(|event| matches!(event, Event::UploadAbandoned { .. })).count();
        Self { abandoned_uploads: uploads, purged_versions: overdue.len() - uploads, ..Self::default() }
    }

    pub(crate) fn change(&mut self, region: &Region, change: impl FnOnce(&mut RegionCollection)) {
        if !self.regions.iter().any(|there| there.region == *region) {
            let region = region.clone();
            self.regions.push(RegionCollection {
                region,
                blobs: 0,
                bytes: 0,
                rewritten_packs: 0,
                compressed_packs: 0,
                merged_packs: 0,
                rewritten_bytes: 0,
                uncompressed_packs: 0,
                reencrypted_packs: 0,
                packs_under_old_keys: 0,
                unread_replicas: Vec::new(),
                foreign_blobs: 0,
                foreign_bytes: 0,
                unreadable: Vec::new(),
            });
        }
        if let Some(there) = self.regions.iter_mut().find(|there| there.region == *region) {
            change(there);
        }
    }

    pub(crate) fn add(&mut self, region: &Region, garbage: &Blobs) {
        if !garbage.0.is_empty() {
            self.change(region, |there| {
                there.blobs += garbage.0.len();
                there.bytes += garbage.bytes();
            });
        }
    }

    /// Tells what was left alone, and why.
    pub(crate) fn tell(&mut self, region: &Region, unneeded: &Unneeded) {
        let (foreign, unreadable) = (&unneeded.foreign.0, &unneeded.unreadable);
        if !foreign.is_empty() || !unreadable.is_empty() {
            self.change(region, |there| {
                (there.foreign_blobs, there.foreign_bytes) = (foreign.len(), foreign.values().sum());
                there.unreadable = unreadable.iter().cloned().collect();
            });
        }
    }

    /// Adds a boot set that is removed.
    pub(crate) fn add_boot_set(&mut self, region: &Region, bytes: u64) {
        self.change(region, |there| {
            there.blobs += 1;
            there.bytes += bytes;
        });
    }

    pub(crate) fn add_uncompressed(&mut self, region: &Region, packs: usize) {
        if packs > 0 {
            self.change(region, |there| there.uncompressed_packs += packs);
        }
    }

    pub(crate) fn compressed(&mut self, region: &Region, written: u64) {
        self.change(region, |there| {
            there.compressed_packs += 1;
            there.rewritten_bytes += written;
        });
    }

    pub(crate) fn merged(&mut self, region: &Region, packs: usize, written: u64) {
        if packs > 0 {
            self.change(region, |there| {
                there.merged_packs += packs;
                there.rewritten_bytes += written;
            });
        }
    }

    pub(crate) fn add_under_old_keys(&mut self, region: &Region, packs: usize) {
        if packs > 0 {
            self.change(region, |there| there.packs_under_old_keys += packs);
        }
    }

    /// Adds a pack of a slot that a rotation could not read.
    pub(crate) fn unread(&mut self, region: &Region, slot: SlotId, reason: ErrorKind) {
        let (replica, zone) = (slot.number, slot.zone as u32 + 1);
        self.change(region, |there| {
            let known = there.unread_replicas.iter_mut();
            match known.into_iter().find(|one| (one.replica, one.zone, one.reason) == (replica, zone, reason)) {
                Some(one) => one.packs += 1,
                None => there.unread_replicas.push(UnreadReplica { replica, zone, reason, packs: 1 }),
            }
        });
    }

    pub(crate) fn reencrypted(&mut self, region: &Region, written: u64) {
        self.change(region, |there| {
            there.reencrypted_packs += 1;
            there.rewritten_bytes += written;
        });
    }

    pub(crate) fn rewritten(&mut self, region: &Region, written: u64) {
        self.change(region, |there| {
            there.rewritten_packs += 1;
            there.rewritten_bytes += written;
        });
    }
}
