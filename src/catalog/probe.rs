//! Probes of a store: whether it refuses a second creation of a key, and the time of its clock.

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::frame;
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::host::{Entropy, draw};
use crate::store::{BlobKey, BlobStore, BlobStoreExt, PutMode, StoreError, StoreErrorKind};

/// How often a second creation is tried while its answer is lost.
const ATTEMPTS: usize = 4;

/// Refuses a store that lets two callers create the same key: two writers would both believe that they committed.
/// Returns the store's time, if it reports one.
pub(super) async fn probe(store: &dyn BlobStore, entropy: &dyn Entropy) -> Result<Option<DateTime<Utc>>> {
    let key = probe_key(entropy)?;
    let bytes = Bytes::from_static(b"is a second creation refused?\n");
    create_probe(store, &key, bytes.clone()).await?;
    let (mut second, there) = futures::join!(store.put(&key, bytes.clone(), PutMode::Create), store.head(&key));
    let time = there.map_err(failed)?.modified;
    // A second creation whose answer was lost says nothing: it may have been refused or accepted. The probe is there in both cases, so
    // another one asks the same.
    for _ in 1..ATTEMPTS {
        if !matches!(&second, Err(error) if error.kind() == StoreErrorKind::Unknown) {
            break;
        }
        second = store.put(&key, bytes.clone(), PutMode::Create).await;
    }
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

#[cfg(all(test, feature = "testkit"))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures::executor::block_on;

    use super::*;
    use crate::store::{BlobStoreExt, MemoryStore};
    use crate::testkit::{HookedStore, Reaction, SeededEntropy};

    /// A store that loses the answers of creations `from` to `to`, counted from 1; `accepts` all of them, or keeps its contract.
    fn losing(from: u64, to: u64, accepts: bool) -> (MemoryStore, HookedStore) {
        let (inner, puts) = (MemoryStore::new(), Arc::<AtomicU64>::default());
        let store = HookedStore::new(inner.clone(), move |call| {
            let number = match call.operation {
                "put" => puts.fetch_add(1, Ordering::Relaxed) + 1,
                _ => 0,
            };
            let is_lost = (from..=to).contains(&number);
            let accepted = if accepts && number > 1 { Reaction::Swallow } else { Reaction::Pass };
            async move { if is_lost { Reaction::Fail(StoreErrorKind::Unknown) } else { accepted } }
        });
        (inner, store)
    }

    #[test]
    fn a_second_creation_whose_answer_is_lost_is_asked_again_and_nothing_is_left() {
        for lost in 0..=3 {
            let (inner, store) = losing(2, 1 + lost, false);
            assert!(block_on(probe(&store, &SeededEntropy::new(1))).is_ok(), "{lost} answers lost");
            assert!(block_on(inner.list_all(None)).unwrap().is_empty());
            let (_, store) = losing(2, 1 + lost, true);
            let refused = block_on(probe(&store, &SeededEntropy::new(1))).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Unsupported, "{lost} answers lost: {refused:#}");
        }
        // It never becomes clear: nothing is claimed of the store, and nothing is left in it.
        let (inner, store) = losing(2, 99, false);
        let unclear = block_on(probe(&store, &SeededEntropy::new(1))).unwrap_err();
        assert_eq!(unclear.kind(), ErrorKind::Unavailable, "{unclear:#}");
        assert!(block_on(inner.list_all(None)).unwrap().is_empty());
    }
}
