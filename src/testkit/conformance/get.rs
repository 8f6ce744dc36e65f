//! Promises of `get` and `head`.

use std::io::Read;
use std::ops::Range;

use super::support::{Outcome, Store, cases, create, ensure, fails, key, overwrite};
use crate::store::{BlobStoreExt, StoreErrorKind};

cases![
    the_whole_range_is_the_blob,
    a_range_is_exactly_its_bytes,
    an_empty_range_within_the_blob_is_empty,
    a_range_past_the_end_is_invalid,
    a_range_that_starts_past_the_end_is_invalid,
    an_empty_range_past_the_end_is_invalid,
    an_inverted_range_is_invalid,
    a_range_of_the_largest_numbers_is_invalid,
    a_blob_without_bytes_has_one_range,
    an_absent_blob_is_not_found,
    a_range_of_an_absent_blob_is_not_found,
    head_of_an_absent_blob_is_not_found,
    head_tells_the_size_of_each_blob,
    head_follows_an_overwrite,
    a_range_follows_an_overwrite,
    find_is_none_of_an_absent_blob,
    an_open_file_is_the_blob_as_it_was,
    a_file_of_an_absent_blob_is_not_found_or_none,
];

async fn range(store: &Store, at: &str, range: Range<u64>, bytes: &[u8]) -> Outcome {
    let found = store.get(&key(at)?, Some(range.clone())).await?;
    ensure!(found == bytes, "{range:?} is {found:?}, {bytes:?} expected");
    Ok(())
}

async fn invalid(store: &Store, at: &str, range: Range<u64>) -> Outcome {
    fails(store.get(&key(at)?, Some(range)).await, StoreErrorKind::InvalidRange, at)
}

async fn the_whole_range_is_the_blob(store: Store) -> Outcome {
    create(&store, "a", b"0123456789").await?;
    range(&store, "a", 0..10, b"0123456789").await
}

async fn a_range_is_exactly_its_bytes(store: Store) -> Outcome {
    let all = b"0123456789";
    create(&store, "a/b", all).await?;
    for start in 0..10 {
        for end in start..=10 {
            let bytes: Vec<u8> = all.iter().copied().take(end).skip(start).collect();
            range(&store, "a/b", start as u64..end as u64, &bytes).await?;
        }
    }
    Ok(())
}

async fn an_empty_range_within_the_blob_is_empty(store: Store) -> Outcome {
    create(&store, "a", b"0123").await?;
    for at in 0..=4 {
        range(&store, "a", at..at, b"").await?;
    }
    Ok(())
}

async fn a_range_past_the_end_is_invalid(store: Store) -> Outcome {
    create(&store, "a", b"0123").await?;
    invalid(&store, "a", 0..5).await?;
    invalid(&store, "a", 3..5).await?;
    invalid(&store, "a", 4..5).await
}

async fn a_range_that_starts_past_the_end_is_invalid(store: Store) -> Outcome {
    create(&store, "a", b"0123").await?;
    invalid(&store, "a", 5..6).await?;
    invalid(&store, "a", 1 << 40..(1 << 40) + 1).await
}

async fn an_empty_range_past_the_end_is_invalid(store: Store) -> Outcome {
    create(&store, "a", b"0123").await?;
    invalid(&store, "a", 5..5).await
}

#[expect(clippy::reversed_empty_ranges, reason = "they are what is tried")]
async fn an_inverted_range_is_invalid(store: Store) -> Outcome {
    create(&store, "a", b"0123").await?;
    invalid(&store, "a", 1..0).await?;
    invalid(&store, "a", 4..3).await?;
    invalid(&store, "a", u64::MAX..0).await
}

async fn a_range_of_the_largest_numbers_is_invalid(store: Store) -> Outcome {
    create(&store, "a", b"0123").await?;
    invalid(&store, "a", 0..u64::MAX).await?;
    invalid(&store, "a", u64::MAX - 1..u64::MAX).await?;
    invalid(&store, "a", u64::MAX..u64::MAX).await
}

async fn a_blob_without_bytes_has_one_range(store: Store) -> Outcome {
    create(&store, "a", b"").await?;
    range(&store, "a", 0..0, b"").await?;
    invalid(&store, "a", 0..1).await
}

async fn an_absent_blob_is_not_found(store: Store) -> Outcome {
    fails(store.get(&key("a/b")?, None).await, StoreErrorKind::NotFound, "a/b")
}

#[expect(clippy::reversed_empty_ranges, reason = "absence comes before the range")]
async fn a_range_of_an_absent_blob_is_not_found(store: Store) -> Outcome {
    fails(store.get(&key("a")?, Some(0..0)).await, StoreErrorKind::NotFound, "a")?;
    fails(store.get(&key("a")?, Some(9..3)).await, StoreErrorKind::NotFound, "a")
}

async fn head_of_an_absent_blob_is_not_found(store: Store) -> Outcome {
    fails(store.head(&key("a/b")?).await, StoreErrorKind::NotFound, "a/b")
}

async fn head_tells_the_size_of_each_blob(store: Store) -> Outcome {
    for (at, bytes) in [("a/1", b"" as &[u8]), ("a/2", b"12"), ("b", b"12345")] {
        create(&store, at, bytes).await?;
        let meta = store.head(&key(at)?).await?;
        ensure!(meta.key.as_str() == at && meta.size == bytes.len() as u64, "`{at}` is told as {meta:?}");
    }
    Ok(())
}

async fn head_follows_an_overwrite(store: Store) -> Outcome {
    create(&store, "a", b"one").await?;
    overwrite(&store, "a", b"longer").await?;
    ensure!(store.head(&key("a")?).await?.size == 6, "the old size is told");
    Ok(())
}

async fn a_range_follows_an_overwrite(store: Store) -> Outcome {
    create(&store, "a", b"0123456789").await?;
    overwrite(&store, "a", b"abc").await?;
    range(&store, "a", 1..3, b"bc").await?;
    invalid(&store, "a", 1..4).await
}

async fn find_is_none_of_an_absent_blob(store: Store) -> Outcome {
    ensure!(store.find(&key("a")?).await?.is_none(), "bytes were found");
    ensure!(store.find_meta(&key("a")?).await?.is_none(), "a size was found");
    create(&store, "a", b"x").await?;
    ensure!(store.find(&key("a")?).await?.is_some_and(|bytes| bytes == "x"), "the blob was not found");
    Ok(())
}

async fn an_open_file_is_the_blob_as_it_was(store: Store) -> Outcome {
    create(&store, "a/b", b"before").await?;
    let told = store.head(&key("a/b")?).await?;
    let Some(mut open) = store.open_file(&key("a/b")?).await? else { return Ok(()) };
    ensure!(open.meta == told, "{:?} is told of the file, {told:?} of the blob", open.meta);
    overwrite(&store, "a/b", b"after").await?;
    store.delete(&key("a/b")?).await?;
    let mut bytes = Vec::new();
    open.file.read_to_end(&mut bytes)?;
    ensure!(bytes == b"before", "the file has {bytes:?}");
    Ok(())
}

async fn a_file_of_an_absent_blob_is_not_found_or_none(store: Store) -> Outcome {
    create(&store, "a/b", b"1").await?;
    for at in ["a", "b", "a/b/c"] {
        match store.open_file(&key(at)?).await {
            Ok(None) => {}
            open => fails(open, StoreErrorKind::NotFound, at)?,
        }
    }
    Ok(())
}
