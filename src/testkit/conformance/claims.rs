//! Promises that a store makes by its capabilities: what it claims works, and what it does not claim is refused.

use bytes::Bytes;
use futures::FutureExt;

use super::support::{
    Failure, Outcome, Store, at_once, cases, create, ensure, fails, holds, is_absent, key, listed, overwrite,
};
use crate::store::{
    BlobStore, BlobStoreExt, BlobVersion, MAX_BLOB_BYTES, MemoryStore, Prefixed, PutMode, StoreErrorKind, StoreResult,
};

cases![
    capabilities_stay_the_same,
    conditional_changes_that_are_not_claimed_are_refused,
    a_blob_that_differs_has_another_version,
    a_listing_tells_the_version_that_head_tells,
    a_replacement_of_the_version_that_is_there_is_made,
    a_replacement_of_another_version_is_refused,
    a_replacement_of_what_is_absent_is_refused,
    a_replacement_that_is_too_large_changes_nothing,
    a_deletion_of_the_version_that_is_there_is_made,
    a_deletion_of_another_version_is_refused,
    a_deletion_of_a_version_that_is_gone_is_fine,
    of_many_replacements_of_a_version_exactly_one_wins,
    a_copy_between_parts_of_a_store_is_made_or_refused,
    a_copy_between_parts_obeys_the_mode,
    a_copy_between_parts_of_what_is_absent_names_it,
    a_copy_from_another_service_is_refused,
];

async fn capabilities_stay_the_same(store: Store) -> Outcome {
    let before = store.capabilities();
    create(&store, "a", b"x").await?;
    ensure!(store.capabilities() == before, "{:?} before, {:?} after", before, store.capabilities());
    Ok(())
}

/// The version of a blob; `None` if the store does not claim conditional changes.
async fn version(store: &Store, at: &str) -> Outcome<Option<BlobVersion>> {
    let version = store.head(&key(at)?).await?.version;
    match store.capabilities().changes_conditionally() {
        true => version.map(Some).ok_or_else(|| Failure::new(format!("head of `{at}` tells no version"))),
        false => Ok(None),
    }
}

async fn conditional_changes_that_are_not_claimed_are_refused(store: Store) -> Outcome {
    create(&store, "a", b"bytes").await?;
    if store.capabilities().changes_conditionally() {
        return Ok(());
    }
    let told = store.head(&key("a")?).await?.version;
    for version in told.into_iter().chain([BlobVersion::new("1")]) {
        for at in ["a", "absent"] {
            let at_key = key(at)?;
            fails(store.replace_if(&at_key, Bytes::new(), &version).await, StoreErrorKind::Unsupported, at)?;
            fails(store.delete_if(&at_key, &version).await, StoreErrorKind::Unsupported, at)?;
        }
    }
    holds(&store, "a", b"bytes").await?;
    is_absent(&store, "absent").await
}

async fn a_blob_that_differs_has_another_version(store: Store) -> Outcome {
    create(&store, "a", b"1").await?;
    let Some(first) = version(&store, "a").await? else { return Ok(()) };
    ensure!(version(&store, "a").await? == Some(first.clone()), "the version changes by itself");
    let mut versions = vec![first];
    for bytes in [b"2" as &[u8], b"33", b""] {
        overwrite(&store, "a", bytes).await?;
        versions.extend(version(&store, "a").await?);
    }
    store.delete(&key("a")?).await?;
    create(&store, "a", b"again").await?;
    versions.extend(version(&store, "a").await?);
    for (number, version) in versions.iter().enumerate() {
        ensure!(!versions.iter().skip(number + 1).any(|other| other == version), "`{version}` is told twice");
    }
    Ok(())
}

async fn a_listing_tells_the_version_that_head_tells(store: Store) -> Outcome {
    for at in ["a", "b/c"] {
        create(&store, at, b"1").await?;
        overwrite(&store, at, b"2").await?;
    }
    for meta in store.list_all(None).await? {
        let head = store.head(&meta.key).await?.version;
        ensure!(meta.version.is_none() || meta.version == head, "{:?}, and head tells {head:?}", meta);
    }
    Ok(())
}

async fn a_replacement_of_the_version_that_is_there_is_made(store: Store) -> Outcome {
    create(&store, "a/b", b"1").await?;
    for bytes in [b"22" as &'static [u8], b"", b"3"] {
        let Some(version) = version(&store, "a/b").await? else { return Ok(()) };
        store.replace_if(&key("a/b")?, Bytes::from_static(bytes), &version).await?;
        holds(&store, "a/b", bytes).await?;
    }
    ensure!(listed(&store).await? == ["a/b"], "it is listed in another way than once");
    Ok(())
}

async fn a_replacement_of_another_version_is_refused(store: Store) -> Outcome {
    create(&store, "a/b", b"first").await?;
    let Some(first) = version(&store, "a/b").await? else { return Ok(()) };
    create(&store, "other", b"other").await?;
    overwrite(&store, "a/b", b"second").await?;
    for version in [Some(first), version(&store, "other").await?].into_iter().flatten() {
        let replaced = store.replace_if(&key("a/b")?, Bytes::from_static(b"third"), &version).await;
        fails(replaced, StoreErrorKind::Changed, "a/b")?;
        holds(&store, "a/b", b"second").await?;
    }
    Ok(())
}

async fn a_replacement_of_what_is_absent_is_refused(store: Store) -> Outcome {
    create(&store, "a/b", b"first").await?;
    let Some(version) = version(&store, "a/b").await? else { return Ok(()) };
    store.delete(&key("a/b")?).await?;
    for at in ["a/b", "never/there"] {
        let replaced = store.replace_if(&key(at)?, Bytes::from_static(b"second"), &version).await;
        fails(replaced, StoreErrorKind::Changed, at)?;
        is_absent(&store, at).await?;
    }
    Ok(())
}

async fn a_replacement_that_is_too_large_changes_nothing(store: Store) -> Outcome {
    create(&store, "a", b"bytes").await?;
    let Some(version) = version(&store, "a").await? else { return Ok(()) };
    let large = Bytes::from(vec![0; usize::try_from(MAX_BLOB_BYTES + 1)?]);
    fails(store.replace_if(&key("a")?, large, &version).await, StoreErrorKind::TooLarge, "a")?;
    holds(&store, "a", b"bytes").await
}

async fn a_deletion_of_the_version_that_is_there_is_made(store: Store) -> Outcome {
    create(&store, "a/b", b"1").await?;
    create(&store, "a/c", b"1").await?;
    let Some(version) = version(&store, "a/b").await? else { return Ok(()) };
    store.delete_if(&key("a/b")?, &version).await?;
    is_absent(&store, "a/b").await?;
    holds(&store, "a/c", b"1").await
}

async fn a_deletion_of_another_version_is_refused(store: Store) -> Outcome {
    create(&store, "a/b", b"first").await?;
    let Some(first) = version(&store, "a/b").await? else { return Ok(()) };
    overwrite(&store, "a/b", b"second").await?;
    fails(store.delete_if(&key("a/b")?, &first).await, StoreErrorKind::Changed, "a/b")?;
    holds(&store, "a/b", b"second").await
}

async fn a_deletion_of_a_version_that_is_gone_is_fine(store: Store) -> Outcome {
    create(&store, "a/b", b"first").await?;
    let Some(version) = version(&store, "a/b").await? else { return Ok(()) };
    store.delete_if(&key("a/b")?, &version).await?;
    store.delete_if(&key("a/b")?, &version).await?;
    store.delete_if(&key("never/there")?, &version).await?;
    is_absent(&store, "a/b").await
}

async fn of_many_replacements_of_a_version_exactly_one_wins(store: Store) -> Outcome {
    create(&store, "a", b"start").await?;
    for round in 0..20_u8 {
        let Some(version) = version(&store, "a").await? else { return Ok(()) };
        let tasks = (0..8_u8).map(|who| {
            let (store, version) = (&store, &version);
            async move {
                match store.replace_if(&key("a")?, Bytes::from(vec![round, who]), version).await {
                    Ok(()) => Ok(true),
                    Err(error) if error.kind() == StoreErrorKind::Changed => Ok(false),
                    Err(error) => Err(error.into()),
                }
            }
            .boxed()
        });
        let wins = at_once(tasks.collect())?;
        ensure!(wins.iter().filter(|won| **won).count() == 1, "winners of round {round}: {wins:?}");
        let winner = wins.iter().position(|won| *won).unwrap_or_default();
        holds(&store, "a", &[round, winner as u8]).await?;
    }
    Ok(())
}

/// Two parts of the store.
fn parts(store: &Store) -> Outcome<[Prefixed<Store>; 2]> {
    Ok([Prefixed::new(store.clone(), key("one")?), Prefixed::new(store.clone(), key("two/2")?)])
}

/// Copies the blob `from` of the one part to the other.
async fn copy(store: &Store, from: &str, to: &str, mode: PutMode) -> Outcome<StoreResult<()>> {
    let [one, two] = parts(store)?;
    Ok(two.copy_from(&one, &key(from)?, &key(to)?, mode).await)
}

async fn a_copy_between_parts_of_a_store_is_made_or_refused(store: Store) -> Outcome {
    create(&store, "one/a/b", b"bytes").await?;
    create(&store, "two/2/a/b", b"a decoy").await?;
    let copied = copy(&store, "a/b", "c/d", PutMode::Overwrite).await?;
    if !store.capabilities().copies_inside() {
        fails(copied, StoreErrorKind::Unsupported, "c/d")?;
        return is_absent(&store, "two/2/c/d").await;
    }
    copied?;
    holds(&store, "two/2/c/d", b"bytes").await?;
    holds(&store, "one/a/b", b"bytes").await?;
    store.delete(&key("one/a/b")?).await?;
    holds(&store, "two/2/c/d", b"bytes").await?;
    ensure!(listed(&store).await?.len() == 2, "other blobs are there, too");
    Ok(())
}

async fn a_copy_between_parts_obeys_the_mode(store: Store) -> Outcome {
    create(&store, "one/a", b"bytes").await?;
    create(&store, "two/2/b", b"other").await?;
    if !store.capabilities().copies_inside() {
        return Ok(());
    }
    match copy(&store, "a", "b", PutMode::Create).await? {
        // Some services cannot copy so.
        Err(error) if error.kind() == StoreErrorKind::Unsupported => {}
        refused => fails(refused, StoreErrorKind::AlreadyExists, "b")?,
    }
    holds(&store, "two/2/b", b"other").await?;
    copy(&store, "a", "b", PutMode::Overwrite).await??;
    holds(&store, "two/2/b", b"bytes").await
}

async fn a_copy_between_parts_of_what_is_absent_names_it(store: Store) -> Outcome {
    if !store.capabilities().copies_inside() {
        return Ok(());
    }
    fails(copy(&store, "absent", "b", PutMode::Overwrite).await?, StoreErrorKind::NotFound, "absent")?;
    ensure!(listed(&store).await?.is_empty(), "something is there");
    Ok(())
}

async fn a_copy_from_another_service_is_refused(store: Store) -> Outcome {
    let elsewhere = MemoryStore::new();
    elsewhere.put(&key("a")?, Bytes::from_static(b"bytes"), PutMode::Create).await?;
    for mode in [PutMode::Create, PutMode::Overwrite] {
        let copied = store.copy_from(&elsewhere, &key("a")?, &key("b")?, mode).await;
        fails(copied, StoreErrorKind::Unsupported, "b")?;
    }
    ensure!(listed(&store).await?.is_empty(), "something is there");
    Ok(())
}
