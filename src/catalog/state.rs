//! The state: every commit so far, folded.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::entry::Entry;
use super::event::{Event, ImageContent, UploadName};
use crate::error::{Error, Result};
use crate::image::Digest;
use crate::model::{
    Gallery, GalleryId, ImageDefinition, ImageDefinitionId, ImageName, ImageVersion, ImageVersionId, Region,
    SubscriptionId, VersionNumber,
};

/// What exists after some commit. Never changed once it is shared; a new one shares with it all that is the same.
#[derive(Clone, Debug)]
pub(crate) struct State {
    number: u64,
    head: Digest,
    time: DateTime<Utc>,
    galleries: BTreeMap<GalleryId, Arc<GalleryRecord>>,
    uploads: BTreeMap<UploadName, Upload>,
}

#[derive(Clone, Debug)]
struct GalleryRecord {
    gallery: Gallery,
    definitions: BTreeMap<ImageName, Arc<DefinitionRecord>>,
}

#[derive(Clone, Debug)]
struct DefinitionRecord {
    definition: ImageDefinition,
    versions: BTreeMap<VersionNumber, Arc<VersionRecord>>,
}

/// A version, and how far it has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VersionRecord {
    pub(crate) version: ImageVersion,
    pub(crate) content: ImageContent,
    /// The regions that have all their replicas, with how many those are.
    complete: BTreeMap<Region, u32>,
}

/// An import that is not over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Upload {
    pub(crate) version: ImageVersionId,
    pub(crate) region: Region,
}

impl VersionRecord {
    /// Whether the version can be deployed in `region`: exactly when all its replicas there are whole.
    pub(crate) fn is_complete_in(&self, region: &Region) -> bool {
        self.complete
            .get(region)
            .is_some_and(|replicas| self.version.publishing_profile().replicas_in(region) == Some(*replicas))
    }

    /// Where it can be deployed.
    pub(crate) fn complete_regions(&self) -> impl Iterator<Item = &Region> {
        self.complete.keys().filter(|region| self.is_complete_in(region))
    }
}

impl State {
    /// Before the first commit.
    pub(super) fn empty() -> Self {
        Self {
            number: 0,
            head: Digest::of(b""),
            time: DateTime::<Utc>::MIN_UTC,
            galleries: BTreeMap::new(),
            uploads: BTreeMap::new(),
        }
    }

    /// The number of the last commit in it.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The hash of the last entry.
    pub(super) fn head(&self) -> Digest {
        self.head
    }

    /// When the last commit was made.
    pub(super) fn time(&self) -> DateTime<Utc> {
        self.time
    }

    pub(crate) fn galleries(&self) -> impl Iterator<Item = &Gallery> {
        self.galleries.values().map(|record| &record.gallery)
    }

    pub(crate) fn gallery(&self, id: &GalleryId) -> Option<&Gallery> {
        self.galleries.get(id).map(|record| &record.gallery)
    }

    /// The definitions of a gallery, by name; none where there is no such gallery.
    pub(crate) fn definitions(&self, gallery: &GalleryId) -> impl Iterator<Item = &ImageDefinition> {
        let records = self.galleries.get(gallery).into_iter().flat_map(|record| record.definitions.values());
        records.map(|record| &record.definition)
    }

    pub(crate) fn definition(&self, id: &ImageDefinitionId) -> Option<&ImageDefinition> {
        self.definition_record(id).map(|record| &record.definition)
    }

    /// The versions of a definition, in numeric order; none where there is no such definition.
    pub(crate) fn versions(
        &self,
        definition: &ImageDefinitionId,
    ) -> impl DoubleEndedIterator<Item = &Arc<VersionRecord>> {
        self.definition_record(definition).into_iter().flat_map(|record| record.versions.values())
    }

    pub(crate) fn version(&self, id: &ImageVersionId) -> Option<&Arc<VersionRecord>> {
        self.definition_record(id.definition())?.versions.get(&id.number())
    }

    /// The import under way that is to become a version, if there is one.
    pub(crate) fn upload_of(&self, version: &ImageVersionId, region: &Region) -> Option<UploadName> {
        let same = |upload: &Upload| upload.version == *version && upload.region == *region;
        self.uploads.iter().find(|(_, upload)| same(upload)).map(|(name, _)| *name)
    }

    pub(crate) fn is_open(&self, upload: UploadName) -> bool {
        self.uploads.contains_key(&upload)
    }

    /// How many resources a subscription has in a region: galleries, definitions, versions.
    pub(crate) fn usage(&self, subscription: &SubscriptionId, location: &Region) -> [usize; 3] {
        let mut usage = [0; 3];
        let [galleries, definitions, versions] = &mut usage;
        for gallery in self.galleries.values().filter(|record| record.gallery.id().subscription() == subscription) {
            *galleries += usize::from(gallery.gallery.location() == location);
            for definition in gallery.definitions.values() {
                *definitions += usize::from(definition.definition.location() == location);
                *versions +=
                    definition.versions.values().filter(|record| record.version.location() == location).count();
            }
        }
        usage
    }

    fn definition_record(&self, id: &ImageDefinitionId) -> Option<&Arc<DefinitionRecord>> {
        self.galleries.get(id.gallery())?.definitions.get(id.name())
    }

    /// The state after `entry`, whose hash is `digest`.
    pub(super) fn after(&self, entry: &Entry, digest: Digest) -> Result<Self> {
        if entry.number != self.number + 1 || entry.previous != self.head {
            let what =
                format!("entry `{}` does not follow entry `{}`: the log is broken there", entry.number, self.number);
            return Err(Error::corrupt("catalog log", what));
        }
        let mut next = self.clone();
        for event in entry.changes.iter().flat_map(|change| &change.events) {
            next.apply(event)?;
        }
        (next.number, next.head, next.time) = (entry.number, digest, entry.time);
        Ok(next)
    }

    /// Applies one event. The checks that it was allowed were made before it was written.
    pub(super) fn apply(&mut self, event: &Event) -> Result<()> {
        let missing = |what: &dyn std::fmt::Display| {
            Error::corrupt("catalog log", format!("an entry refers to `{what}`, which does not exist"))
        };
        match event {
            Event::GalleryCreated { gallery } => {
                let record = GalleryRecord { gallery: gallery.clone(), definitions: BTreeMap::new() };
                self.galleries.insert(gallery.id().clone(), Arc::new(record));
            }
            Event::ImageDefinitionCreated { definition } => {
                let id = definition.id();
                let gallery = self.galleries.get_mut(id.gallery()).ok_or_else(|| missing(id.gallery()))?;
                let record = DefinitionRecord { definition: definition.clone(), versions: BTreeMap::new() };
                Arc::make_mut(gallery).definitions.insert(id.name().clone(), Arc::new(record));
            }
            Event::UploadStarted { upload, version, region } => {
                self.uploads.insert(*upload, Upload { version: version.clone(), region: region.clone() });
            }
            Event::UploadAbandoned { upload } => {
                self.uploads.remove(upload);
            }
            Event::ImageVersionPublished { version, content } => {
                self.uploads.retain(|_, upload| upload.version != *version.id());
                let record =
                    VersionRecord { version: version.clone(), content: content.clone(), complete: BTreeMap::new() };
                self.put_version(record).ok_or_else(|| missing(version.id().definition()))?;
            }
            Event::RegionCompleted { version, region, replicas } => {
                let record = self.version_mut(version).ok_or_else(|| missing(version))?;
                record.complete.insert(region.clone(), *replicas);
            }
        }
        Ok(())
    }

    fn put_version(&mut self, record: VersionRecord) -> Option<()> {
        let id = record.version.id().clone();
        let definition = self.definition_mut(id.definition())?;
        definition.versions.insert(id.number(), Arc::new(record));
        Some(())
    }

    fn definition_mut(&mut self, id: &ImageDefinitionId) -> Option<&mut DefinitionRecord> {
        let gallery = Arc::make_mut(self.galleries.get_mut(id.gallery())?);
        gallery.definitions.get_mut(id.name()).map(Arc::make_mut)
    }

    fn version_mut(&mut self, id: &ImageVersionId) -> Option<&mut VersionRecord> {
        self.definition_mut(id.definition())?.versions.get_mut(&id.number()).map(Arc::make_mut)
    }
}

/// The state as it is written down in a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Written {
    number: u64,
    head: Digest,
    time: DateTime<Utc>,
    galleries: Vec<Gallery>,
    definitions: Vec<ImageDefinition>,
    versions: Vec<VersionRecord>,
    uploads: Vec<(UploadName, Upload)>,
}

impl From<&State> for Written {
    fn from(state: &State) -> Self {
        let definitions = || state.galleries.values().flat_map(|gallery| gallery.definitions.values());
        Self {
            number: state.number,
            head: state.head,
            time: state.time,
            galleries: state.galleries().cloned().collect(),
            definitions: definitions().map(|record| record.definition.clone()).collect(),
            versions: definitions()
                .flat_map(|record| record.versions.values())
                .map(|record| VersionRecord::clone(record))
                .collect(),
            uploads: state.uploads.iter().map(|(name, upload)| (*name, upload.clone())).collect(),
        }
    }
}

impl TryFrom<Written> for State {
    type Error = Error;

    fn try_from(written: Written) -> Result<Self> {
        let orphan = || Error::corrupt("catalog checkpoint", "it has a resource without its parent");
        let mut state = Self {
            number: written.number,
            head: written.head,
            time: written.time,
            uploads: written.uploads.into_iter().collect(),
            ..Self::empty()
        };
        for gallery in written.galleries {
            state.apply(&Event::GalleryCreated { gallery })?;
        }
        for definition in written.definitions {
            state.apply(&Event::ImageDefinitionCreated { definition })?;
        }
        for record in written.versions {
            state.put_version(record).ok_or_else(orphan)?;
        }
        Ok(state)
    }
}
