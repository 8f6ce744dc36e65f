//! Promises of the calls for several parts, ranges and blobs.

use std::ops::Range;

use bytes::Bytes;

use super::support::{Outcome, Store, cases, create, ensure, fails, holds, is_absent, key, listed};
use crate::store::{BlobKey, MAX_BLOB_BYTES, PutMode, StoreErrorKind};

cases![
    a_blob_of_parts_has_all_of_them_in_order,
    a_blob_of_no_parts_has_no_bytes,
    a_blob_of_many_parts_is_whole,
    parts_obey_the_mode,
    parts_that_are_too_large_together_change_nothing,
    ranges_are_answered_in_the_order_of_the_question,
    ranges_near_and_far_are_exactly_their_bytes,
    one_invalid_range_is_the_answer_to_all,
    ranges_of_an_absent_blob_are_not_found,
    no_ranges_have_no_bytes,
    many_deletes_remove_those_and_no_others,
    many_deletes_answer_for_each,
    more_deletes_than_a_request_holds_are_all_made,
];

async fn put_parts(store: &Store, at: &str, parts: &[&'static str], mode: PutMode) -> Outcome {
    let parts: Vec<Bytes> = parts.iter().map(|part| Bytes::from_static(part.as_bytes())).collect();
    Ok(store.put_parts(&key(at)?, &parts, mode).await?)
}

async fn a_blob_of_parts_has_all_of_them_in_order(store: Store) -> Outcome {
    put_parts(&store, "a/b", &["one", "", "two", "3"], PutMode::Create).await?;
    holds(&store, "a/b", b"onetwo3").await?;
    put_parts(&store, "one", &["alone"], PutMode::Create).await?;
    holds(&store, "one", b"alone").await
}

async fn a_blob_of_no_parts_has_no_bytes(store: Store) -> Outcome {
    put_parts(&store, "a", &[], PutMode::Create).await?;
    put_parts(&store, "b", &["", ""], PutMode::Create).await?;
    holds(&store, "a", b"").await?;
    holds(&store, "b", b"").await
}

async fn a_blob_of_many_parts_is_whole(store: Store) -> Outcome {
    let parts: Vec<Bytes> = (0..3_000_u32).map(|number| number.to_le_bytes().repeat(100).into()).collect();
    store.put_parts(&key("a")?, &parts, PutMode::Create).await?;
    holds(&store, "a", &parts.concat()).await
}

async fn parts_obey_the_mode(store: Store) -> Outcome {
    put_parts(&store, "a", &["first"], PutMode::Create).await?;
    for parts in [&["second", "one"] as &[&'static str], &["second"]] {
        let parts: Vec<Bytes> = parts.iter().map(|part| Bytes::from_static(part.as_bytes())).collect();
        fails(store.put_parts(&key("a")?, &parts, PutMode::Create).await, StoreErrorKind::AlreadyExists, "a")?;
    }
    holds(&store, "a", b"first").await?;
    put_parts(&store, "a", &["an", "other"], PutMode::Overwrite).await?;
    holds(&store, "a", b"another").await
}

async fn parts_that_are_too_large_together_change_nothing(store: Store) -> Outcome {
    let part = Bytes::from(vec![0; usize::try_from(MAX_BLOB_BYTES / 4 + 1)?]);
    let parts = [part.clone(), part.clone(), part.clone(), part];
    fails(store.put_parts(&key("a")?, &parts, PutMode::Create).await, StoreErrorKind::TooLarge, "a")?;
    is_absent(&store, "a").await
}

async fn ranges_are_answered_in_the_order_of_the_question(store: Store) -> Outcome {
    create(&store, "a/b", b"0123456789").await?;
    let ranges = [7..9, 0..2, 9..10, 0..10, 5..5, 0..2, 1..8, 10..10];
    let found = store.get_ranges(&key("a/b")?, &ranges).await?;
    let expected = ["78", "01", "9", "0123456789", "", "01", "1234567", ""];
    ensure!(found == expected, "{found:?}, {expected:?} expected");
    Ok(())
}

async fn ranges_near_and_far_are_exactly_their_bytes(store: Store) -> Outcome {
    let blob: Bytes = (0..12_000_000_u32).map(|at| (at / 251) as u8 ^ at as u8).collect();
    store.put(&key("a")?, blob.clone(), PutMode::Create).await?;
    let mut ranges: Vec<Range<u64>> = Vec::new();
    // Gaps of nothing to megabytes, each after a short and a long range.
    let mut at = 1;
    for gap in [0, 1, 1_000, 16_384, 16_385, 70_000, 1 << 20, (1 << 20) + 1, 3_000_000] {
        for length in [100, 200_000] {
            ranges.push(at..at + length);
            at += length + gap;
        }
    }
    ranges.retain(|range| range.end <= blob.len() as u64);
    ranges.extend([0..blob.len() as u64, 11_999_999..12_000_000]);
    ranges.reverse();
    let found = store.get_ranges(&key("a")?, &ranges).await?;
    ensure!(found.len() == ranges.len(), "{} answers for {} ranges", found.len(), ranges.len());
    for (range, bytes) in ranges.iter().zip(&found) {
        let expected = blob.slice(usize::try_from(range.start)?..usize::try_from(range.end)?);
        ensure!(*bytes == expected, "{range:?} has {} bytes, or others", bytes.len());
    }
    Ok(())
}

#[expect(clippy::reversed_empty_ranges, reason = "they are what is tried")]
async fn one_invalid_range_is_the_answer_to_all(store: Store) -> Outcome {
    create(&store, "a", b"0123456789").await?;
    for invalid in [9..11, 11..11, 3..2, u64::MAX..0, 0..u64::MAX, 1 << 40..(1 << 40) + 1] {
        for ranges in [vec![invalid.clone()], vec![0..2, invalid.clone(), 4..5], vec![invalid.clone(), 0..10]] {
            fails(store.get_ranges(&key("a")?, &ranges).await, StoreErrorKind::InvalidRange, "a")?;
        }
    }
    Ok(())
}

async fn ranges_of_an_absent_blob_are_not_found(store: Store) -> Outcome {
    fails(store.get_ranges(&key("a/b")?, &[0..1, 0..0]).await, StoreErrorKind::NotFound, "a/b")?;
    fails(store.get_ranges(&key("a/b")?, &[0..0, 0..0]).await, StoreErrorKind::NotFound, "a/b")
}

async fn no_ranges_have_no_bytes(store: Store) -> Outcome {
    create(&store, "a", b"x").await?;
    ensure!(store.get_ranges(&key("a")?, &[]).await?.is_empty(), "there are some");
    Ok(())
}

async fn many_deletes_remove_those_and_no_others(store: Store) -> Outcome {
    let all = ["a", "b/1", "b/2", "b/20", "b-", "c/d/e", "c/d/f"];
    for at in all {
        create(&store, at, b"x").await?;
    }
    let deleted = ["c/d/e", "b/2", "a"];
    let keys: Vec<BlobKey> = deleted.iter().map(key).collect::<Outcome<_>>()?;
    for answer in store.delete_many(&keys).await {
        answer?;
    }
    for at in deleted {
        is_absent(&store, at).await?;
    }
    let keys = listed(&store).await?;
    ensure!(keys == ["b-", "b/1", "b/20", "c/d/f"], "{keys:?} are left");
    Ok(())
}

async fn many_deletes_answer_for_each(store: Store) -> Outcome {
    create(&store, "a", b"x").await?;
    for (keys, number) in [(&[] as &[&str], 0), (&["a", "absent", "a/b", "a", "b/c"], 5)] {
        let keys: Vec<BlobKey> = keys.iter().map(key).collect::<Outcome<_>>()?;
        let answers = store.delete_many(&keys).await;
        ensure!(answers.len() == number, "{} answers for {number} keys", answers.len());
        for answer in answers {
            answer?;
        }
    }
    is_absent(&store, "a").await
}

async fn more_deletes_than_a_request_holds_are_all_made(store: Store) -> Outcome {
    let keys: Vec<BlobKey> = (0..2_100).map(|number| key(format!("a/{number:04}"))).collect::<Outcome<_>>()?;
    for at in keys.iter().step_by(150).chain(keys.last()) {
        store.put(at, Bytes::new(), PutMode::Create).await?;
    }
    create(&store, "b", b"x").await?;
    let answers = store.delete_many(&keys).await;
    ensure!(answers.len() == keys.len(), "{} answers for {} keys", answers.len(), keys.len());
    for answer in answers {
        answer?;
    }
    let left = listed(&store).await?;
    ensure!(left == ["b"], "{left:?} are left");
    Ok(())
}
