//! A caller's way into the gallery.

use std::sync::Arc;

use futures::stream::Stream;

use super::builder::Parts;
use super::checks;
use crate::catalog::{Caller, Commit, Event, ImageContent, State, VersionRecord};
use crate::error::{Error, Result};
use crate::model::{Gallery, GalleryId, ImageDefinition, ImageDefinitionId, ImageVersion, ImageVersionId, Region};

/// The gallery as one caller uses it. Every call goes through a session: the place where access is decided.
///
/// Reads look for the commits of other processes first, so they see everything that was acknowledged before they were
/// called, by anybody.
#[derive(Clone, Debug)]
pub struct Session {
    pub(super) parts: Arc<Parts>,
    pub(super) caller: Caller,
}

impl Session {
    /// On whose behalf the session works.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Creates a gallery. Creating again what exists with the same properties succeeds and changes nothing.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` with other properties; `Conflict` where the name is taken in the subscription; `LimitReached`;
    /// `Unavailable`, `StorageFull`, `Unknown`.
    pub async fn create_gallery(&self, gallery: Gallery) -> Result<Gallery> {
        let (wanted, parts) = (gallery.clone(), self.parts.clone());
        let check = move |state: &State| {
            let new = checks::create_gallery(state, &parts.limits, &wanted)?;
            Ok(new.then(|| Event::GalleryCreated { gallery: wanted.clone() }).into_iter().collect())
        };
        self.parts.catalog.commit(&self.caller, check).await?;
        Ok(gallery)
    }

    /// Creates an image definition. Creating again what exists with the same properties succeeds and changes nothing.
    ///
    /// # Errors
    ///
    /// `NotFound` without the gallery; `AlreadyExists` with other properties; `Conflict` where publisher, offer and SKU
    /// are those of another definition of the gallery; `LimitReached`; `Unavailable`, `StorageFull`, `Unknown`.
    pub async fn create_image_definition(&self, definition: ImageDefinition) -> Result<ImageDefinition> {
        let (wanted, parts) = (definition.clone(), self.parts.clone());
        let check = move |state: &State| {
            let new = checks::create_definition(state, &parts.limits, &wanted)?;
            Ok(new.then(|| Event::ImageDefinitionCreated { definition: wanted.clone() }).into_iter().collect())
        };
        self.parts.catalog.commit(&self.caller, check).await?;
        Ok(definition)
    }

    /// All galleries, by their ids.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    pub async fn galleries(&self) -> Result<Vec<Gallery>> {
        Ok(self.state().await?.galleries().cloned().collect())
    }

    /// One gallery.
    ///
    /// # Errors
    ///
    /// `NotFound`, `Unavailable`, `Corrupt`.
    pub async fn gallery(&self, id: &GalleryId) -> Result<Gallery> {
        self.state().await?.gallery(id).cloned().ok_or_else(|| missing(id))
    }

    /// The image definitions of a gallery, by name.
    ///
    /// # Errors
    ///
    /// `NotFound` without the gallery, `Unavailable`, `Corrupt`.
    pub async fn image_definitions(&self, gallery: &GalleryId) -> Result<Vec<ImageDefinition>> {
        let state = self.state().await?;
        state.gallery(gallery).ok_or_else(|| missing(gallery))?;
        Ok(state.definitions(gallery).cloned().collect())
    }

    /// One image definition.
    ///
    /// # Errors
    ///
    /// `NotFound`, `Unavailable`, `Corrupt`.
    pub async fn image_definition(&self, id: &ImageDefinitionId) -> Result<ImageDefinition> {
        self.state().await?.definition(id).cloned().ok_or_else(|| missing(id))
    }

    /// The versions of an image definition, in numeric order.
    ///
    /// # Errors
    ///
    /// `NotFound` without the definition, `Unavailable`, `Corrupt`.
    pub async fn image_versions(&self, definition: &ImageDefinitionId) -> Result<Vec<ImageVersion>> {
        let state = self.state().await?;
        state.definition(definition).ok_or_else(|| missing(definition))?;
        Ok(state.versions(definition).map(|record| record.version.clone()).collect())
    }

    /// One image version.
    ///
    /// # Errors
    ///
    /// `NotFound`, `Unavailable`, `Corrupt`.
    pub async fn image_version(&self, id: &ImageVersionId) -> Result<ImageVersion> {
        Ok(self.version_record(id).await?.version.clone())
    }

    /// What the disks of a version hold.
    ///
    /// # Errors
    ///
    /// `NotFound`, `Unavailable`, `Corrupt`.
    pub async fn image_content(&self, id: &ImageVersionId) -> Result<ImageContent> {
        Ok(self.version_record(id).await?.content.clone())
    }

    /// The version that "latest" means in a region: the highest number among those that are complete there and not
    /// excluded (the region's own flag beats the general one).
    ///
    /// # Errors
    ///
    /// `NotFound` without the definition, or where no version qualifies (the message says how many there are and why
    /// not); `Unavailable`, `Corrupt`.
    pub async fn latest(&self, definition: &ImageDefinitionId, region: &Region) -> Result<ImageVersion> {
        let state = self.state().await?;
        state.definition(definition).ok_or_else(|| missing(definition))?;
        let (mut excluded, mut incomplete) = (0, 0);
        for record in state.versions(definition).rev() {
            if record.version.publishing_profile().is_excluded_from_latest_in(region) {
                excluded += 1;
            } else if !record.is_complete_in(region) {
                incomplete += 1;
            } else {
                return Ok(record.version.clone());
            }
        }
        let total = excluded + incomplete;
        let what = format!(
            "no version is the latest in region `{region}`: of {total}, {incomplete} are not (completely) replicated \
             there and {excluded} are excluded from latest; replicate one, or name a version"
        );
        Err(Error::not_found(definition.to_string(), what))
    }

    /// Every commit after number `after` (0 is the beginning), oldest first, read from the log.
    pub fn history(&self, after: u64) -> impl Stream<Item = Result<Commit>> {
        self.parts.catalog.history(after)
    }

    /// The newest state.
    pub(super) async fn state(&self) -> Result<Arc<State>> {
        self.parts.catalog.refresh().await
    }

    pub(super) async fn version_record(&self, id: &ImageVersionId) -> Result<Arc<VersionRecord>> {
        self.state().await?.version(id).cloned().ok_or_else(|| missing(id))
    }
}

pub(super) fn missing(id: &dyn std::fmt::Display) -> Error {
    Error::not_found(id.to_string(), "it does not exist")
}
