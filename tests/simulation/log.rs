//! The log, read by its documented format: what happened, in the fields that the model follows.

use std::hash::{DefaultHasher, Hash, Hasher};

use chrono::{DateTime, Utc};
use compute_gallery::content::Digest;
use compute_gallery::model::{
    ImageVersion, ImageVersionId, ManagedImage, ManagedImageId, Region, ResourceId, Snapshot, SnapshotId,
};
use compute_gallery::store::{BlobKey, BlobStoreExt, MemoryStore};
use serde::Deserialize;

use crate::executor::at_once;

/// What happened.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Event {
    UploadStarted {
        upload: String,
        target: ResourceId,
        region: Region,
    },
    UploadAbandoned {
        upload: String,
    },
    ImageVersionPublished {
        version: ImageVersion,
        content: Content,
    },
    ImageVersionUpdated {
        version: ImageVersion,
    },
    ImageVersionDeleted {
        version: ImageVersionId,
        restorable_until: Option<DateTime<Utc>>,
    },
    ImageVersionRestored {
        version: ImageVersionId,
    },
    ManagedImageCreated {
        image: ManagedImage,
        content: Content,
    },
    ManagedImageDeleted {
        image: ManagedImageId,
    },
    SnapshotCreated {
        snapshot: Snapshot,
        content: Content,
    },
    SnapshotDeleted {
        snapshot: SnapshotId,
    },
    RegionStoreClaimed {
        region: Region,
        /// From 1; `None` where one store is all of the region.
        zone: Option<usize>,
        store: String,
    },
    ContentCondemned {
        region: Region,
        blobs: Vec<ZoneBlobs>,
    },
    RemovalTakenOver {
        region: Region,
    },
    ContentRemoved {
        region: Region,
    },
    RegionCompleted {
        version: ImageVersionId,
        region: Region,
        replicas: u32,
    },
    #[serde(other)]
    Other,
}

/// What the disks of an image hold.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Content {
    pub upload: String,
    pub manifest: Digest,
    pub os_disk_digest: Digest,
}

#[derive(Clone, Debug, Deserialize)]
pub struct ZoneBlobs {
    /// From 1.
    pub zone: usize,
    pub keys: Vec<BlobKey>,
}

#[derive(Deserialize)]
struct Entry {
    number: u64,
    changes: Vec<Change>,
}

#[derive(Deserialize)]
struct Change {
    caller: String,
    events: Vec<Event>,
}

/// A commit as the log has it.
pub struct Commit {
    pub number: u64,
    /// A hash of the entry's bytes.
    pub hash: u64,
    /// Each event, with its caller.
    pub events: Vec<(String, Event)>,
}

/// The entries after `number`.
pub fn after(store: &MemoryStore, number: u64) -> Vec<Commit> {
    let mut found = Vec::new();
    for number in number + 1.. {
        let Some(bytes) = at_once(store.find(&log_key(number))).unwrap() else { break };
        // The first line is the entry, the second its hash.
        let line = bytes.split(|byte| *byte == b'\n').next().unwrap();
        let entry: Entry = serde_json::from_slice(line).unwrap();
        assert_eq!(entry.number, number);
        let of = |Change { caller, events }| events.into_iter().map(move |event| (Clone::clone(&caller), event));
        let mut hash = DefaultHasher::new();
        bytes.hash(&mut hash);
        let events = entry.changes.into_iter().flat_map(of).collect();
        found.push(Commit { number, hash: hash.finish(), events });
    }
    found
}

pub fn log_key(number: u64) -> BlobKey {
    format!("catalog/log/{number:020}").parse().unwrap()
}
