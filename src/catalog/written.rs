//! The stored form of a state, in a checkpoint.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::event::{StoreName, UploadName};
use super::record::{Condemned, ImageRecord, Upload, VersionRecord};
use super::state::State;
use crate::access::{GallerySharing, WrittenPolicy};
use crate::content::blob_name::Incarnations;
use crate::content::digest::Digest;
use crate::content::names::SlotId;
use crate::error::{Error, Result};
use crate::model::{Gallery, GalleryId, ImageDefinition, ManagedImage, Region, Snapshot};

/// The stored form of a state, in a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WrittenState {
    number: u64,
    head: Digest,
    time: DateTime<Utc>,
    galleries: Vec<Arc<Gallery>>,
    definitions: Vec<Arc<ImageDefinition>>,
    versions: Vec<Arc<VersionRecord>>,
    #[serde(default)]
    managed_images: Vec<Arc<ImageRecord<ManagedImage>>>,
    #[serde(default)]
    snapshots: Vec<Arc<ImageRecord<Snapshot>>>,
    #[serde(default)]
    sharing: Vec<(GalleryId, GallerySharing)>,
    #[serde(default)]
    access: WrittenPolicy,
    #[serde(default)]
    announced: Vec<(UploadName, u64)>,
    #[serde(default)]
    claims: Vec<(Region, Option<u32>, StoreName, u64)>,
    #[serde(default, rename = "lives")]
    incarnations: Vec<(Region, usize, u32, Arc<Incarnations>)>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    condemned: BTreeMap<Region, Arc<Condemned>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    last_condemned: BTreeMap<Region, u64>,
    uploads: Vec<(UploadName, Upload)>,
}

impl From<&State> for WrittenState {
    fn from(state: &State) -> Self {
        Self {
            number: state.number,
            head: state.head,
            time: state.time,
            galleries: state.galleries(None).cloned().collect(),
            definitions: state.definitions.values().map(|record| record.definition.clone()).collect(),
            versions: state.all_versions().cloned().collect(),
            managed_images: state.managed_images(None).cloned().collect(),
            snapshots: state.snapshots(None).cloned().collect(),
            sharing: state
                .galleries
                .iter()
                .filter(|(_, record)| !record.sharing.is_empty())
                .map(|(id, record)| (id.clone(), record.sharing.clone()))
                .collect(),
            access: state.access().into(),
            announced: state.announced.iter().map(|(upload, number)| (*upload, *number)).collect(),
            claims: state
                .claims
                .iter()
                .map(|((region, zone), (store, number))| (region.clone(), *zone, *store, *number))
                .collect(),
            incarnations: state
                .incarnations
                .iter()
                .map(|((region, slot), incarnations)| (region.clone(), slot.zone, slot.number, incarnations.clone()))
                .collect(),
            condemned: state.condemned.iter().map(|(region, condemned)| (region.clone(), condemned.clone())).collect(),
            last_condemned: state.last_condemned.iter().map(|(region, number)| (region.clone(), *number)).collect(),
            uploads: state.uploads.iter().map(|(name, upload)| (*name, upload.clone())).collect(),
        }
    }
}

impl TryFrom<WrittenState> for State {
    type Error = Error;

    fn try_from(written: WrittenState) -> Result<Self> {
        let orphan = || Error::corrupt("catalog checkpoint", "it has a resource without its parent");
        let mut state = Self::empty(written.head);
        (state.number, state.time) = (written.number, written.time);
        state.access = Arc::new(written.access.into());
        state.announced = written.announced.into_iter().collect();
        let claims = written.claims.into_iter();
        state.claims = claims.map(|(region, zone, store, number)| ((region, zone), (store, number))).collect();
        let incarnations = written.incarnations.into_iter();
        state.incarnations =
            incarnations.map(|(region, zone, number, of_slot)| ((region, SlotId { zone, number }), of_slot)).collect();
        state.condemned = written.condemned.into_iter().collect();
        state.last_condemned = written.last_condemned.into_iter().collect();
        written.uploads.into_iter().for_each(|(name, upload)| state.put_upload(name, upload));
        let mut sharing: BTreeMap<GalleryId, GallerySharing> = written.sharing.into_iter().collect();
        for gallery in written.galleries {
            let sharing = sharing.remove(gallery.id()).unwrap_or_default();
            state.put_gallery(&gallery, sharing);
        }
        for definition in written.definitions {
            state.put_definition(&definition).ok_or_else(orphan)?;
        }
        for record in written.versions {
            let of = state.definition_number(record.version.id().definition()).ok_or_else(orphan)?;
            state.put_version(of, Arc::unwrap_or_clone(record));
        }
        state.managed_images =
            written.managed_images.into_iter().map(|record| (record.resource.id().clone(), record)).collect();
        state.snapshots = written.snapshots.into_iter().map(|record| (record.resource.id().clone(), record)).collect();
        Ok(state)
    }
}
