//! Checkpoints: the state at some commit, so that opening a catalog does not read its whole log.
//!
//! A checkpoint only saves time: if one is damaged, an older one or the log alone gives the same state.

use serde::{Deserialize, Serialize};

use super::entry::FORMAT;
use super::frame::{self, failed};
use super::identity::CatalogId;
use super::state::State;
use super::written::WrittenState;
use crate::error::{Error, Result};
use crate::store::{BlobKey, BlobStore, BlobStoreExt, MAX_BLOB_BYTES, PutMode};

/// A checkpoint is written after each commit whose number is a multiple of this.
pub(super) const EVERY: u64 = 64;

/// The number of newest checkpoints that are kept, in case the newest is damaged.
const KEPT: usize = 2;

#[derive(Serialize, Deserialize)]
struct Checkpoint {
    format: u32,
    catalog: CatalogId,
    state: WrittenState,
}

/// The newest sorts first: finding it takes one short listing, and no hint that could be stale.
fn key(number: u64) -> Result<BlobKey> {
    format!("checkpoints/{:020}", u64::MAX - number).parse()
}

fn folder() -> Result<BlobKey> {
    "checkpoints".parse()
}

#[cfg(feature = "testkit")]
pub(super) fn fuzz_key() -> BlobKey {
    #[expect(clippy::unwrap_used, reason = "only for tests, and constant")]
    key(0).unwrap()
}

pub(super) fn decode(bytes: &[u8], key: &BlobKey) -> Result<(CatalogId, State)> {
    let (_, checkpoint): (_, Checkpoint) = frame::decode(bytes, key)?;
    if checkpoint.format != FORMAT {
        let what = format!("it has format `{}`, this build reads `{FORMAT}`", checkpoint.format);
        return Err(Error::corrupt(format!("catalog blob {key}"), what));
    }
    Ok((checkpoint.catalog, checkpoint.state.try_into()?))
}

/// Returns the newest state that an intact checkpoint of the catalog holds.
///
/// # Errors
///
/// If the store does not answer: falling back to the whole log could take hours.
pub(super) async fn newest(store: &dyn BlobStore, catalog: CatalogId) -> Result<Option<State>> {
    let page = store.list(Some(&folder()?), None, KEPT).await.map_err(failed)?;
    for blob in page.blobs {
        // A missing, damaged or foreign checkpoint costs time, not data.
        let Some(bytes) = store.find(&blob.key).await.map_err(failed)? else { continue };
        if let Ok((of, state)) = decode(&bytes, &blob.key)
            && of == catalog
            && key(state.number())? == blob.key
        {
            return Ok(Some(state));
        }
    }
    Ok(None)
}

/// Writes a checkpoint, then removes old ones.
pub(super) async fn write(store: &dyn BlobStore, catalog: CatalogId, state: &State) -> Result<()> {
    let (_, bytes) = frame::encode(&Checkpoint { format: FORMAT, catalog, state: state.into() })?;
    if bytes.len() as u64 > MAX_BLOB_BYTES {
        return Ok(());
    }
    store.put(&key(state.number())?, bytes, PutMode::Overwrite).await.map_err(failed)?;
    let old = store.list(Some(&folder()?), None, 16).await.map_err(failed)?;
    for blob in old.blobs.iter().skip(KEPT) {
        store.delete(&blob.key).await.map_err(failed)?;
    }
    Ok(())
}
