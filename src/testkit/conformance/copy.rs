//! Promises of `copy`.

use bytes::Bytes;

use super::support::{Outcome, Store, cases, create, ensure, fails, holds, is_absent, key, listed, overwrite};
use crate::store::{PutMode, StoreErrorKind, StoreResult};

cases![
    a_copy_has_the_same_bytes_and_the_source_stays,
    a_copy_of_no_bytes_has_none,
    a_copy_of_several_megabytes_is_whole,
    a_copy_of_what_is_absent_names_it,
    a_creating_copy_onto_a_blob_already_exists_and_names_it,
    an_overwriting_copy_replaces,
    an_overwriting_copy_creates,
    a_creating_copy_onto_itself_already_exists,
    an_overwriting_copy_onto_itself_changes_nothing,
    a_copy_outlives_its_source,
    a_copy_stays_when_its_source_changes,
    a_source_stays_when_its_copy_changes,
    a_copy_of_a_copy_is_a_copy,
    a_failed_copy_leaves_nothing,
];

async fn copy(store: &Store, from: &str, to: &str, mode: PutMode) -> Outcome<StoreResult<()>> {
    Ok(store.copy(&key(from)?, &key(to)?, mode).await)
}

async fn a_copy_has_the_same_bytes_and_the_source_stays(store: Store) -> Outcome {
    create(&store, "a/b", b"bytes").await?;
    copy(&store, "a/b", "c/d/e", PutMode::Create).await??;
    holds(&store, "a/b", b"bytes").await?;
    holds(&store, "c/d/e", b"bytes").await?;
    ensure!(listed(&store).await? == ["a/b", "c/d/e"], "not both are listed");
    Ok(())
}

async fn a_copy_of_no_bytes_has_none(store: Store) -> Outcome {
    create(&store, "a", b"").await?;
    copy(&store, "a", "b", PutMode::Create).await??;
    holds(&store, "b", b"").await
}

async fn a_copy_of_several_megabytes_is_whole(store: Store) -> Outcome {
    let bytes: Bytes = (0..5_000_001_u32).map(|at| (at / 11) as u8).collect();
    store.put(&key("a")?, bytes.clone(), PutMode::Create).await?;
    copy(&store, "a", "b", PutMode::Create).await??;
    holds(&store, "b", &bytes).await
}

async fn a_copy_of_what_is_absent_names_it(store: Store) -> Outcome {
    create(&store, "there", b"x").await?;
    for (to, mode) in [("b", PutMode::Create), ("b", PutMode::Overwrite), ("there", PutMode::Create)] {
        fails(copy(&store, "a", to, mode).await?, StoreErrorKind::NotFound, "a")?;
    }
    is_absent(&store, "b").await?;
    holds(&store, "there", b"x").await
}

async fn a_creating_copy_onto_a_blob_already_exists_and_names_it(store: Store) -> Outcome {
    create(&store, "a", b"source").await?;
    create(&store, "b", b"target").await?;
    fails(copy(&store, "a", "b", PutMode::Create).await?, StoreErrorKind::AlreadyExists, "b")?;
    holds(&store, "b", b"target").await
}

async fn an_overwriting_copy_replaces(store: Store) -> Outcome {
    create(&store, "a", b"source").await?;
    create(&store, "b", b"a longer target").await?;
    copy(&store, "a", "b", PutMode::Overwrite).await??;
    holds(&store, "b", b"source").await
}

async fn an_overwriting_copy_creates(store: Store) -> Outcome {
    create(&store, "a", b"source").await?;
    copy(&store, "a", "b", PutMode::Overwrite).await??;
    holds(&store, "b", b"source").await
}

async fn a_creating_copy_onto_itself_already_exists(store: Store) -> Outcome {
    create(&store, "a", b"bytes").await?;
    fails(copy(&store, "a", "a", PutMode::Create).await?, StoreErrorKind::AlreadyExists, "a")?;
    holds(&store, "a", b"bytes").await
}

async fn an_overwriting_copy_onto_itself_changes_nothing(store: Store) -> Outcome {
    create(&store, "a", b"bytes").await?;
    copy(&store, "a", "a", PutMode::Overwrite).await??;
    holds(&store, "a", b"bytes").await
}

async fn a_copy_outlives_its_source(store: Store) -> Outcome {
    create(&store, "a", b"bytes").await?;
    copy(&store, "a", "b", PutMode::Create).await??;
    store.delete(&key("a")?).await?;
    holds(&store, "b", b"bytes").await
}

async fn a_copy_stays_when_its_source_changes(store: Store) -> Outcome {
    create(&store, "a", b"bytes").await?;
    copy(&store, "a", "b", PutMode::Create).await??;
    overwrite(&store, "a", b"other").await?;
    holds(&store, "b", b"bytes").await
}

async fn a_source_stays_when_its_copy_changes(store: Store) -> Outcome {
    create(&store, "a", b"bytes").await?;
    copy(&store, "a", "b", PutMode::Create).await??;
    overwrite(&store, "b", b"other").await?;
    holds(&store, "a", b"bytes").await?;
    store.delete(&key("b")?).await?;
    holds(&store, "a", b"bytes").await
}

async fn a_copy_of_a_copy_is_a_copy(store: Store) -> Outcome {
    create(&store, "a", b"bytes").await?;
    copy(&store, "a", "b", PutMode::Create).await??;
    copy(&store, "b", "c", PutMode::Create).await??;
    store.delete(&key("a")?).await?;
    store.delete(&key("b")?).await?;
    holds(&store, "c", b"bytes").await
}

async fn a_failed_copy_leaves_nothing(store: Store) -> Outcome {
    fails(copy(&store, "a/b", "c/d", PutMode::Overwrite).await?, StoreErrorKind::NotFound, "a/b")?;
    ensure!(listed(&store).await?.is_empty(), "something is there");
    Ok(())
}
