//! Promises about names, and of `persist`.

use bytes::Bytes;

use super::support::{Failure, Outcome, Store, cases, create, ensure, fails, holds, is_absent, key, listed};
use crate::store::{BlobKey, PutMode, StoreErrorKind, StoreResult};

cases![
    the_longest_key_works,
    the_longest_segment_works,
    every_character_of_a_key_works,
    keys_that_begin_alike_are_different,
    a_blob_below_a_blob_is_stored_or_refused,
    a_blob_above_a_blob_is_stored_or_refused,
    a_copy_onto_a_clash_is_stored_or_refused,
    nothing_is_found_below_a_blob,
    nothing_is_found_above_a_blob,
    persisting_what_is_absent_is_fine,
    persisting_keeps_everything,
    persisting_a_blob_is_fine,
];

async fn the_longest_key_works(store: Store) -> Outcome {
    let segment = "k".repeat(127);
    let at = format!("{segment}/{segment}/{segment}/{segment}z");
    ensure!(at.len() == BlobKey::MAX_BYTES, "the case itself is wrong: {}", at.len());
    match store.put(&key(&at)?, Bytes::from_static(b"x"), PutMode::Create).await {
        // A store inside another has less room.
        Err(error) if error.kind() == StoreErrorKind::Unsupported => {
            ensure!(listed(&store).await?.is_empty(), "it is refused and listed");
            Ok(())
        }
        result => {
            result?;
            holds(&store, &at, b"x").await?;
            ensure!(listed(&store).await? == [at], "it is not listed");
            Ok(())
        }
    }
}

async fn the_longest_segment_works(store: Store) -> Outcome {
    let at = format!("a/{}", "s".repeat(BlobKey::MAX_SEGMENT_BYTES));
    store.put(&key(&at)?, Bytes::from_static(b"x"), PutMode::Create).await?;
    holds(&store, &at, b"x").await
}

async fn every_character_of_a_key_works(store: Store) -> Outcome {
    let at = "abcdefghijklmnopqrstuvwxyz/0123456789/a._-z/0..0/0--_.x";
    create(&store, at, b"x").await?;
    holds(&store, at, b"x").await?;
    ensure!(listed(&store).await? == [at], "it is listed in another way");
    Ok(())
}

async fn keys_that_begin_alike_are_different(store: Store) -> Outcome {
    for (at, bytes) in [("a/1", b"1" as &[u8]), ("a/10", b"10"), ("a/1.", b"1."), ("a/1-", b"1-"), ("a1", b"a1")] {
        create(&store, at, bytes).await?;
    }
    holds(&store, "a/1", b"1").await?;
    holds(&store, "a/10", b"10").await?;
    holds(&store, "a1", b"a1").await?;
    is_absent(&store, "a/11").await
}

/// Either it was stored, or it was refused cleanly; `there` is untouched in any case.
async fn stored_or_refused(store: &Store, result: StoreResult<()>, at: &str, there: &str) -> Outcome {
    match result {
        Ok(()) => holds(store, at, b"new").await?,
        Err(error) => {
            fails(Err::<(), _>(error), StoreErrorKind::Obstructed, at)?;
            is_absent(store, at).await?;
        }
    }
    holds(store, there, b"old").await
}

async fn a_blob_below_a_blob_is_stored_or_refused(store: Store) -> Outcome {
    create(&store, "a", b"old").await?;
    for (at, mode) in [("a/b", PutMode::Create), ("a/c/d", PutMode::Overwrite)] {
        let put = store.put(&key(at)?, Bytes::from_static(b"new"), mode).await;
        stored_or_refused(&store, put, at, "a").await?;
    }
    Ok(())
}

async fn a_blob_above_a_blob_is_stored_or_refused(store: Store) -> Outcome {
    create(&store, "a/b/c", b"old").await?;
    for (at, mode) in [("a/b", PutMode::Create), ("a", PutMode::Overwrite)] {
        let put = store.put(&key(at)?, Bytes::from_static(b"new"), mode).await;
        stored_or_refused(&store, put, at, "a/b/c").await?;
    }
    Ok(())
}

async fn a_copy_onto_a_clash_is_stored_or_refused(store: Store) -> Outcome {
    create(&store, "new", b"new").await?;
    create(&store, "a/b", b"old").await?;
    for (at, mode) in [("a", PutMode::Create), ("a/b/c", PutMode::Overwrite)] {
        let copy = store.copy(&key("new")?, &key(at)?, mode).await;
        stored_or_refused(&store, copy, at, "a/b").await?;
    }
    Ok(())
}

async fn nothing_is_found_below_a_blob(store: Store) -> Outcome {
    create(&store, "a", b"x").await?;
    is_absent(&store, "a/b").await?;
    is_absent(&store, "a/b/c").await
}

async fn nothing_is_found_above_a_blob(store: Store) -> Outcome {
    create(&store, "a/b/c", b"x").await?;
    is_absent(&store, "a").await?;
    is_absent(&store, "a/b").await
}

async fn persisting_what_is_absent_is_fine(store: Store) -> Outcome {
    store.persist(&key("a")?).await?;
    create(&store, "b/c", b"x").await?;
    Ok(store.persist(&key("b/d/e")?).await?)
}

async fn persisting_keeps_everything(store: Store) -> Outcome {
    for at in ["a/b", "a/c/d", "e"] {
        create(&store, at, b"x").await?;
    }
    for under in ["a", "a/c"] {
        store.persist(&key(under)?).await?;
    }
    for at in ["a/b", "a/c/d", "e"] {
        holds(&store, at, b"x").await?;
    }
    Ok(())
}

async fn persisting_a_blob_is_fine(store: Store) -> Outcome {
    create(&store, "a/b", b"x").await?;
    store.persist(&key("a/b")?).await.map_err(|error| Failure::new(error.to_string()))?;
    holds(&store, "a/b", b"x").await
}
