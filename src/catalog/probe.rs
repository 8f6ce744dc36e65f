//! Probes of a store: whether it refuses a second creation of a key, and the time of its clock.

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::frame;
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::host::{Entropy, draw};
use crate::store::{BlobKey, BlobStore, BlobStoreExt, PutMode, StoreError, StoreErrorKind};

/// Refuses a store that lets two callers create the same key: two writers would both believe that they committed.
/// Returns the store's time, if it reports one.
pub(super) async fn probe(store: &dyn BlobStore, entropy: &dyn Entropy) -> Result<Option<DateTime<Utc>>> {
    let key = probe_key(entropy)?;
    let bytes = Bytes::from_static(b"is a second creation refused?\n");
    create_probe(store, &key, bytes.clone()).await?;
    let (second, there) = futures::join!(store.put(&key, bytes, PutMode::Create), store.head(&key));
    let time = there.map_err(failed)?.modified;
    store.delete(&key).await.map_err(failed)?;
    match second {
        Err(error) if error.kind() == StoreErrorKind::AlreadyExists => Ok(time),
        Err(error) => Err(failed(error)),
        Ok(()) => {
            let what = "the store accepts the same create-if-absent twice, so commits could be lost on it: use a store \
                        with conditional writes, or turn them on";
            Err(Error::new(Problem::new(ErrorKind::Unsupported, "OperationNotAllowed", "catalog", what)))
        }
    }
}

/// Returns the store's time, if it reports one.
pub(super) async fn store_time(store: &dyn BlobStore, entropy: &dyn Entropy) -> Result<Option<DateTime<Utc>>> {
    let key = probe_key(entropy)?;
    create_probe(store, &key, Bytes::from_static(b"what time is it?\n")).await?;
    let time = store.head(&key).await.map_err(failed)?.modified;
    store.delete(&key).await.map_err(failed)?;
    Ok(time)
}

/// Creates a probe. Its key is random: if one is there already, it is our own and the answer was lost.
async fn create_probe(store: &dyn BlobStore, key: &BlobKey, bytes: Bytes) -> Result<()> {
    match store.put(key, bytes, PutMode::Create).await {
        Err(error) if matches!(error.kind(), StoreErrorKind::AlreadyExists | StoreErrorKind::Unknown) => {
            match store.find_meta(key).await.map_err(failed)? {
                Some(_) => Ok(()),
                None => Err(failed(error)),
            }
        }
        done => done.map_err(failed),
    }
}

/// Whether the probe is there is of no concern to a caller who asked for a change: of that, nothing has happened.
fn failed(error: StoreError) -> Error {
    match error.kind() {
        StoreErrorKind::Unknown => {
            let what = "its store gave no clear answer to a probe, and nothing was committed: call again";
            Error::busy("catalog", what).with_source(error)
        }
        _ => frame::failed(error),
    }
}

fn probe_key(entropy: &dyn Entropy) -> Result<BlobKey> {
    format!("probes/{:032x}", u128::from_be_bytes(draw(entropy, "drawing a random name")?)).parse()
}
