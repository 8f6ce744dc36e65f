//! The fronts of merged blobs: checked, and made anew where they are damaged.
//!
//! Nothing is lost with a front, since links tell where members are: it is what a reader saves requests by.

use bytes::Bytes;

use super::mending::{MendOutcome, Renew};
use super::slot::Slot;
use crate::content::blob_name::BlobName;
use crate::content::merged::{members_of, rebuilt_front};
use crate::content::names::{FamilyId, MergedId};
use crate::error::{Error, ErrorKind, Result};
use crate::host::Workers;
use crate::store::{BlobStore, PutMode, StoreErrorKind};

impl Slot {
    /// Checks the fronts of a family's merged blobs against their names, in the store itself, and mends those that are damaged.
    pub(crate) async fn mend_fronts(&self, family: FamilyId, workers: &Workers, log: &dyn Renew) -> Vec<MendOutcome> {
        let Ok(listed) = self.listed_merged(family).await else { return vec![MendOutcome::Unreachable] };
        let mut outcomes = Vec::with_capacity(listed.len());
        for id in listed {
            let outcome = match self.mend_front(id, workers, log).await {
                Ok(outcome) => outcome,
                Err(error) if error.kind() == ErrorKind::Unsupported => MendOutcome::Good(0),
                Err(_) => MendOutcome::Unreachable,
            };
            outcomes.push(outcome);
        }
        outcomes
    }

    async fn mend_front(&self, id: MergedId, workers: &Workers, log: &dyn Renew) -> Result<MendOutcome> {
        let (key, name) = (id.key()?, BlobName::Merged(id));
        self.store.distrust(&key).await;
        match self.get_range(&key, 0..id.front_bytes()).await {
            Ok(front) => match members_of(self.catalog(), id, &front) {
                Ok(_) => return Ok(MendOutcome::Good(id.front_bytes())),
                Err(error) if error.kind() == ErrorKind::Corrupt => {}
                Err(error) => return Err(error),
            },
            // Its links are broken parts, which are mended as such.
            Err(error) if matches!(error.kind(), StoreErrorKind::NotFound | StoreErrorKind::InvalidRange) => {
                return Ok(MendOutcome::Good(0));
            }
            Err(error) => return Err(self.failed(error)),
        }
        let blob = self.store.get(&key, None).await.map_err(|error| self.failed(error))?;
        let (catalog, damaged) = (self.catalog(), blob.clone());
        let Some(front) = workers.run(move || rebuilt_front(catalog, id, &damaged)).await else {
            return Ok(MendOutcome::Lost);
        };
        // ORDER: the log is read, then the blob is written. What a collection has condemned meanwhile would be garbage again.
        if log.renewed(self).await?.is_dead(name) {
            return Ok(MendOutcome::Good(0));
        }
        let rest: Bytes = blob.slice_ref(blob.get(front.len()..).unwrap_or_default());
        let written = self.store.put_parts(&key, &[front, rest], PutMode::Overwrite).await;
        self.located.forget_merged();
        match written {
            Ok(()) => Ok(MendOutcome::Mended),
            Err(error) if error.kind() == StoreErrorKind::Unavailable => Err::<_, Error>(self.failed(error)),
            Err(_) => Ok(MendOutcome::Lost),
        }
    }
}
