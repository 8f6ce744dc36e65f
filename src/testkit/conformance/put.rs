//! Promises of `put`.

use bytes::Bytes;

use super::support::{Outcome, Store, cases, create, ensure, fails, holds, is_absent, key, listed, overwrite};
use crate::store::{MAX_BLOB_BYTES, PutMode, StoreErrorKind};

cases![
    a_blob_can_be_put,
    a_created_blob_reads_back,
    a_blob_of_a_megabyte_reads_back,
    every_value_of_a_byte_survives,
    a_blob_can_have_no_bytes,
    a_part_of_a_buffer_is_stored_alone,
    a_second_create_already_exists_and_changes_nothing,
    a_second_create_of_the_same_bytes_already_exists,
    a_create_after_an_overwrite_already_exists,
    a_create_onto_an_empty_blob_already_exists,
    a_create_after_a_delete_succeeds,
    an_overwrite_creates_what_is_absent,
    an_overwrite_by_more_bytes_leaves_those,
    an_overwrite_by_fewer_bytes_leaves_those,
    an_overwrite_by_no_bytes_leaves_none,
    a_hundred_overwrites_leave_the_last,
    a_put_leaves_other_blobs_alone,
    the_largest_blob_can_be_put,
    a_byte_more_is_too_large_and_changes_nothing,
    too_large_for_an_overwrite_leaves_the_old_blob,
];

/// Without this, the other promises mean nothing.
async fn a_blob_can_be_put(store: Store) -> Outcome {
    create(&store, "a", b"bytes").await
}

async fn a_created_blob_reads_back(store: Store) -> Outcome {
    create(&store, "a/b", b"bytes").await?;
    holds(&store, "a/b", b"bytes").await
}

async fn a_blob_of_a_megabyte_reads_back(store: Store) -> Outcome {
    let bytes: Bytes = (0..1_u32 << 20).map(|at| (at / 7) as u8).collect();
    store.put(&key("a")?, bytes.clone(), PutMode::Create).await?;
    holds(&store, "a", &bytes).await
}

async fn every_value_of_a_byte_survives(store: Store) -> Outcome {
    let bytes: Bytes = (0..=u8::MAX).collect();
    store.put(&key("a")?, bytes.clone(), PutMode::Create).await?;
    holds(&store, "a", &bytes).await
}

async fn a_blob_can_have_no_bytes(store: Store) -> Outcome {
    create(&store, "a/empty", b"").await?;
    holds(&store, "a/empty", b"").await?;
    ensure!(listed(&store).await? == ["a/empty"], "it is not listed");
    Ok(())
}

async fn a_part_of_a_buffer_is_stored_alone(store: Store) -> Outcome {
    let buffer = Bytes::from_static(b"before-inside-after");
    store.put(&key("a")?, buffer.slice(7..13), PutMode::Create).await?;
    holds(&store, "a", b"inside").await
}

async fn a_second_create_already_exists_and_changes_nothing(store: Store) -> Outcome {
    create(&store, "a/b", b"first").await?;
    let second = store.put(&key("a/b")?, Bytes::from_static(b"second one"), PutMode::Create).await;
    fails(second, StoreErrorKind::AlreadyExists, "a/b")?;
    holds(&store, "a/b", b"first").await
}

async fn a_second_create_of_the_same_bytes_already_exists(store: Store) -> Outcome {
    create(&store, "a", b"same").await?;
    let second = store.put(&key("a")?, Bytes::from_static(b"same"), PutMode::Create).await;
    fails(second, StoreErrorKind::AlreadyExists, "a")
}

async fn a_create_after_an_overwrite_already_exists(store: Store) -> Outcome {
    overwrite(&store, "a", b"first").await?;
    let second = store.put(&key("a")?, Bytes::from_static(b"second"), PutMode::Create).await;
    fails(second, StoreErrorKind::AlreadyExists, "a")?;
    holds(&store, "a", b"first").await
}

async fn a_create_onto_an_empty_blob_already_exists(store: Store) -> Outcome {
    create(&store, "a", b"").await?;
    let second = store.put(&key("a")?, Bytes::from_static(b"second"), PutMode::Create).await;
    fails(second, StoreErrorKind::AlreadyExists, "a")?;
    holds(&store, "a", b"").await
}

async fn a_create_after_a_delete_succeeds(store: Store) -> Outcome {
    create(&store, "a", b"first").await?;
    store.delete(&key("a")?).await?;
    create(&store, "a", b"second").await?;
    holds(&store, "a", b"second").await
}

async fn an_overwrite_creates_what_is_absent(store: Store) -> Outcome {
    overwrite(&store, "a/b/c", b"bytes").await?;
    holds(&store, "a/b/c", b"bytes").await
}

async fn an_overwrite_by_more_bytes_leaves_those(store: Store) -> Outcome {
    create(&store, "a", b"few").await?;
    overwrite(&store, "a", b"many more").await?;
    holds(&store, "a", b"many more").await
}

async fn an_overwrite_by_fewer_bytes_leaves_those(store: Store) -> Outcome {
    create(&store, "a", b"many more").await?;
    overwrite(&store, "a", b"few").await?;
    holds(&store, "a", b"few").await
}

async fn an_overwrite_by_no_bytes_leaves_none(store: Store) -> Outcome {
    create(&store, "a", b"some").await?;
    overwrite(&store, "a", b"").await?;
    holds(&store, "a", b"").await
}

async fn a_hundred_overwrites_leave_the_last(store: Store) -> Outcome {
    let key = key("a/b")?;
    for number in 0..100_u8 {
        store.put(&key, Bytes::from(vec![number; 300]), PutMode::Overwrite).await?;
    }
    holds(&store, "a/b", &[99; 300]).await?;
    ensure!(listed(&store).await? == ["a/b"], "it is listed in another way than once");
    Ok(())
}

async fn a_put_leaves_other_blobs_alone(store: Store) -> Outcome {
    for (at, bytes) in [("a/b", b"1" as &[u8]), ("a/c", b"22"), ("a-b", b"333"), ("ab", b"4444")] {
        create(&store, at, bytes).await?;
    }
    overwrite(&store, "a/c", b"new").await?;
    for (at, bytes) in [("a/b", b"1" as &[u8]), ("a/c", b"new"), ("a-b", b"333"), ("ab", b"4444")] {
        holds(&store, at, bytes).await?;
    }
    Ok(())
}

fn zeros(count: u64) -> Outcome<Bytes> {
    Ok(vec![0; usize::try_from(count)?].into())
}

async fn the_largest_blob_can_be_put(store: Store) -> Outcome {
    let at = key("large")?;
    store.put(&at, zeros(MAX_BLOB_BYTES)?, PutMode::Create).await?;
    ensure!(store.head(&at).await?.size == MAX_BLOB_BYTES, "its size differs");
    ensure!(store.get(&at, None).await?.len() as u64 == MAX_BLOB_BYTES, "its length differs");
    let end = store.get(&at, Some(MAX_BLOB_BYTES - 3..MAX_BLOB_BYTES)).await?;
    ensure!(end.as_ref() == [0; 3], "its end differs");
    Ok(())
}

async fn a_byte_more_is_too_large_and_changes_nothing(store: Store) -> Outcome {
    let put = store.put(&key("large")?, zeros(MAX_BLOB_BYTES + 1)?, PutMode::Create).await;
    fails(put, StoreErrorKind::TooLarge, "large")?;
    is_absent(&store, "large").await
}

async fn too_large_for_an_overwrite_leaves_the_old_blob(store: Store) -> Outcome {
    create(&store, "a", b"old").await?;
    let put = store.put(&key("a")?, zeros(MAX_BLOB_BYTES + 1)?, PutMode::Overwrite).await;
    fails(put, StoreErrorKind::TooLarge, "a")?;
    holds(&store, "a", b"old").await
}
