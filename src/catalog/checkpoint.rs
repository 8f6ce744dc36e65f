//! Checkpoints: the state at some commit, so that opening a catalog does not read its whole log.
//!
//! They only save time: whatever is found wrong with one, an older one or the log alone gives the same state.

use serde::{Deserialize, Serialize};

use super::entry::FORMAT;
use super::frame;
use super::state::{State, Written};
use crate::error::{Error, Result};
use crate::store::{BlobKey, BlobStore, MAX_BLOB_BYTES, PutMode, StoreError};

/// A checkpoint is written after each commit whose number is a multiple of this.
pub(super) const EVERY: u64 = 64;

/// So many of the newest are kept, in case the newest is damaged.
const KEPT: usize = 2;

#[derive(Serialize, Deserialize)]
struct Checkpoint {
    format: u32,
    state: Written,
}

/// The newest sorts first, so that finding it takes one short listing and no hint that could be stale.
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

pub(super) fn decode(bytes: &[u8], key: &BlobKey) -> Result<State> {
    let (_, checkpoint): (_, Checkpoint) = frame::decode(bytes, key)?;
    if checkpoint.format != FORMAT {
        let what = format!("it has format `{}`, this build reads `{FORMAT}`", checkpoint.format);
        return Err(Error::corrupt(format!("catalog blob {key}"), what));
    }
    checkpoint.state.try_into()
}

/// The newest state that a checkpoint holds whole; the empty one where there is none.
pub(super) async fn newest(store: &dyn BlobStore) -> Result<State> {
    let failed = |error: StoreError| error.at("catalog");
    let page = store.list(Some(&folder()?), None, KEPT).await.map_err(failed)?;
    for blob in page.blobs {
        // One that is gone, damaged or of another format costs time, not data.
        let Ok(bytes) = store.get(&blob.key, None).await else { continue };
        if let Ok(state) = decode(&bytes, &blob.key)
            && key(state.number())? == blob.key
        {
            return Ok(state);
        }
    }
    Ok(State::empty())
}

/// Writes a checkpoint, then removes those that are no longer needed.
pub(super) async fn write(store: &dyn BlobStore, state: &State) -> Result<()> {
    let (_, bytes) = frame::encode(&Checkpoint { format: FORMAT, state: state.into() })?;
    if bytes.len() as u64 > MAX_BLOB_BYTES {
        return Ok(());
    }
    let failed = |error: StoreError| error.at("catalog");
    store.put(&key(state.number())?, bytes, PutMode::Overwrite).await.map_err(failed)?;
    let old = store.list(Some(&folder()?), None, 16).await.map_err(failed)?;
    for blob in old.blobs.iter().skip(KEPT) {
        store.delete(&blob.key).await.map_err(failed)?;
    }
    Ok(())
}
