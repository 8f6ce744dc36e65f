//! Boundaries: up to which commit a log was truncated.
//!
//! A boundary is created before any entry up to it is replaced, so the newest says where the history begins.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::frame::{self, FORMAT, failed};
use super::identity::CatalogId;
use crate::access::Caller;
use crate::error::{Error, Result};
use crate::store::{BlobKey, BlobStore, PutMode, StoreErrorKind};

/// What a boundary says to operators. Its name alone counts.
#[derive(Serialize, Deserialize)]
struct Boundary {
    format: u32,
    catalog: CatalogId,
    number: u64,
    time: DateTime<Utc>,
    caller: Caller,
}

/// The newest sorts first.
fn key(number: u64) -> Result<BlobKey> {
    format!("boundaries/{:020}", u64::MAX - number).parse()
}

fn number_of(key: &BlobKey) -> Option<u64> {
    let number = u64::MAX - key.as_str().strip_prefix("boundaries/")?.parse::<u64>().ok()?;
    (self::key(number).ok()? == *key).then_some(number)
}

/// Returns the newest boundary, and the one before it. 0 is that of a log that is whole.
pub(super) async fn newest_boundaries(store: &dyn BlobStore) -> Result<[u64; 2]> {
    let page = store.list(Some(&"boundaries".parse()?), None, 2).await.map_err(failed)?;
    let mut numbers = page.blobs.iter().filter_map(|blob| number_of(&blob.key));
    Ok([numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)])
}

/// Returns the newest boundary: the history begins after that commit.
pub(super) async fn boundary(store: &dyn BlobStore) -> Result<u64> {
    let [newest, _] = newest_boundaries(store).await?;
    Ok(newest)
}

/// Creates a boundary, unless it exists.
pub(super) async fn create_boundary(
    store: &dyn BlobStore,
    catalog: CatalogId,
    number: u64,
    time: DateTime<Utc>,
    caller: &Caller,
) -> Result<()> {
    let boundary = Boundary { format: FORMAT, catalog, number, time, caller: caller.clone() };
    let key = key(number)?;
    match store.put(&key, frame::encode(&boundary)?.1, PutMode::Create).await {
        Ok(()) => Ok(()),
        // Another process's, or our own after a lost answer: found by reading, so perhaps not durable yet.
        Err(error) if matches!(error.kind(), StoreErrorKind::AlreadyExists) => {
            store.persist(&key).await.map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Returns the error of a history that is asked for from before the boundary.
pub(super) fn begins_later(after: u64, boundary: u64) -> Error {
    let what = format!(
        "the log was truncated: commit `{}` is gone, and the history begins after commit `{boundary}`: ask for the history \
         after that",
        after + 1
    );
    Error::not_found("history", what)
}
