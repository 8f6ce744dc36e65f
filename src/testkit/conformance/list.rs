//! Promises of `list`.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::support::{Outcome, Store, at_once, cases, create, ensure, key, list, listed, overwrite};
use crate::store::{BlobKey, BlobStoreExt, PutMode};

cases![
    an_empty_store_has_nothing_to_list,
    keys_are_in_the_order_of_their_bytes,
    a_slash_is_sorted_as_the_byte_that_it_is,
    every_limit_gives_the_same_keys,
    every_key_is_a_place_to_go_on_from,
    a_limit_of_zero_is_one,
    the_largest_limit_gives_all,
    a_page_that_holds_all_may_say_so,
    going_on_after_the_last_key_gives_nothing,
    going_on_after_an_absent_key_gives_what_is_greater,
    under_takes_whole_segments,
    under_leaves_out_the_key_itself,
    under_what_is_absent_is_nothing,
    under_a_blob_is_nothing,
    under_and_after_go_together,
    a_listing_tells_the_sizes,
    a_listing_follows_a_delete,
    an_overwritten_blob_is_listed_once,
    a_put_is_listed_at_once,
    many_keys_are_all_listed,
    deep_keys_are_listed,
    a_listing_while_others_put_has_what_was_there,
    a_listing_while_others_delete_has_what_stays,
    a_listing_while_others_overwrite_has_each_once,
];

/// In the order of their bytes: `-` and `.` come before `/`, digits and letters after.
pub(super) const KEYS: [&str; 18] = [
    "0",
    "a-",
    "a-b",
    "a.b",
    "a/b",
    "a/b-c/d",
    "a/b.c",
    "a/c/d",
    "a/c/d0",
    "a/c/e/f/g",
    "a/c0",
    "a0",
    "a_b",
    "ab",
    "ab/c",
    "b-/x",
    "b/x",
    "b0/x",
];

/// All of [`KEYS`] that a store can have beside each other whose names are files and directories.
pub(super) async fn fill(store: &Store) -> Outcome<Vec<&'static str>> {
    let kept: Vec<&str> =
        KEYS.into_iter().filter(|one| !KEYS.iter().any(|other| other.starts_with(&format!("{one}/")))).collect();
    for at in kept.iter().rev() {
        create(store, at, b"x").await?;
    }
    Ok(kept)
}

async fn an_empty_store_has_nothing_to_list(store: Store) -> Outcome {
    for (under, after) in [(None, None), (Some("a"), None), (None, Some("a")), (Some("a/b"), Some("a/b/c"))] {
        let (keys, more) = list(&store, under, after, 10).await?;
        ensure!(keys.is_empty() && !more, "{keys:?}, more: {more}");
    }
    Ok(())
}

async fn keys_are_in_the_order_of_their_bytes(store: Store) -> Outcome {
    let kept = fill(&store).await?;
    let keys = listed(&store).await?;
    ensure!(keys == kept, "{keys:?}, {kept:?} expected");
    Ok(())
}

async fn a_slash_is_sorted_as_the_byte_that_it_is(store: Store) -> Outcome {
    for at in ["a0", "a/b", "a-b"] {
        create(&store, at, b"x").await?;
    }
    let keys = listed(&store).await?;
    ensure!(keys == ["a-b", "a/b", "a0"], "{keys:?}");
    Ok(())
}

async fn every_limit_gives_the_same_keys(store: Store) -> Outcome {
    let kept = fill(&store).await?;
    for under in [None, Some("a"), Some("a/c"), Some("b")] {
        let expected: Vec<&str> = match under {
            None => kept.clone(),
            Some(under) => kept.iter().copied().filter(|at| at.starts_with(&format!("{under}/"))).collect(),
        };
        for limit in 1..=kept.len() + 1 {
            let mut keys: Vec<String> = Vec::new();
            loop {
                let (page, more) = list(&store, under, keys.last().map(String::as_str), limit).await?;
                keys.extend(page);
                if !more {
                    break;
                }
                ensure!(keys.len() <= kept.len(), "it goes on for ever: {keys:?}");
            }
            ensure!(keys == expected, "under {under:?} by {limit}: {keys:?}, {expected:?} expected");
        }
    }
    Ok(())
}

async fn every_key_is_a_place_to_go_on_from(store: Store) -> Outcome {
    let kept = fill(&store).await?;
    for after in KEYS {
        let expected: Vec<&str> = kept.iter().copied().filter(|at| *at > after).collect();
        let (keys, _) = list(&store, None, Some(after), usize::MAX).await?;
        ensure!(keys == expected, "after {after}: {keys:?}, {expected:?} expected");
    }
    Ok(())
}

async fn a_limit_of_zero_is_one(store: Store) -> Outcome {
    create(&store, "a", b"x").await?;
    create(&store, "b", b"x").await?;
    let (keys, more) = list(&store, None, None, 0).await?;
    ensure!(keys == ["a"] && more, "{keys:?}, more: {more}");
    Ok(())
}

async fn the_largest_limit_gives_all(store: Store) -> Outcome {
    let kept = fill(&store).await?;
    let (keys, more) = list(&store, None, None, usize::MAX).await?;
    ensure!(keys == kept && !more, "{keys:?}, more: {more}");
    Ok(())
}

async fn a_page_that_holds_all_may_say_so(store: Store) -> Outcome {
    let kept = fill(&store).await?;
    let (keys, more) = list(&store, None, None, kept.len() - 1).await?;
    ensure!(keys.len() == kept.len() - 1 && more, "one is left, but it says {more}");
    let (rest, more) = list(&store, None, keys.last().map(String::as_str), kept.len()).await?;
    ensure!(rest.len() == 1 && !more, "{rest:?}, more: {more}");
    Ok(())
}

async fn going_on_after_the_last_key_gives_nothing(store: Store) -> Outcome {
    fill(&store).await?;
    for after in ["b0/x", "b0/x/y", "c", "zzz/zzz"] {
        let (keys, more) = list(&store, None, Some(after), 5).await?;
        ensure!(keys.is_empty() && !more, "after {after}: {keys:?}, more: {more}");
    }
    Ok(())
}

async fn going_on_after_an_absent_key_gives_what_is_greater(store: Store) -> Outcome {
    let kept = fill(&store).await?;
    for after in ["a", "a/", "a/a", "a/b/z", "a/c", "a/c/", "a/c/d/e", "a/c/e/f/zz", "a/z", "a9", "b", "b.", "00"] {
        let Ok(start) = key(after) else { continue };
        let expected: Vec<&str> = kept.iter().copied().filter(|at| *at > start.as_str()).collect();
        let (keys, _) = list(&store, None, Some(after), usize::MAX).await?;
        ensure!(keys == expected, "after {after}: {keys:?}, {expected:?} expected");
    }
    Ok(())
}

async fn under_takes_whole_segments(store: Store) -> Outcome {
    for at in ["log/1", "log/2", "log-old/1", "logs/1", "lo/1", "x/log/1"] {
        create(&store, at, b"x").await?;
    }
    let (keys, _) = list(&store, Some("log"), None, 10).await?;
    ensure!(keys == ["log/1", "log/2"], "{keys:?}");
    Ok(())
}

async fn under_leaves_out_the_key_itself(store: Store) -> Outcome {
    create(&store, "a/b", b"x").await?;
    create(&store, "a/c", b"x").await?;
    let (keys, _) = list(&store, Some("a/b"), None, 10).await?;
    ensure!(keys.is_empty(), "{keys:?}");
    Ok(())
}

async fn under_what_is_absent_is_nothing(store: Store) -> Outcome {
    fill(&store).await?;
    for under in ["z", "a/z", "a/c/z", "b/y/z"] {
        let (keys, more) = list(&store, Some(under), None, 10).await?;
        ensure!(keys.is_empty() && !more, "under {under}: {keys:?}");
    }
    Ok(())
}

async fn under_a_blob_is_nothing(store: Store) -> Outcome {
    create(&store, "a", b"x").await?;
    for under in ["a", "a/b", "a/b/c"] {
        let (keys, more) = list(&store, Some(under), None, 10).await?;
        ensure!(keys.is_empty() && !more, "under {under}: {keys:?}");
    }
    Ok(())
}

async fn under_and_after_go_together(store: Store) -> Outcome {
    let kept = fill(&store).await?;
    for under in ["a", "a/c", "b", "b-"] {
        for after in KEYS.into_iter().chain(["a", "a/c", "b", "z"]) {
            let below = format!("{under}/");
            let expected: Vec<&str> = kept.iter().copied().filter(|at| at.starts_with(&below) && *at > after).collect();
            let (keys, more) = list(&store, Some(under), Some(after), 100).await?;
            ensure!(keys == expected && !more, "under {under} after {after}: {keys:?}, {expected:?} expected");
        }
    }
    Ok(())
}

async fn a_listing_tells_the_sizes(store: Store) -> Outcome {
    for (at, bytes) in [("a", b"" as &[u8]), ("b/c", b"123"), ("d", b"12345")] {
        create(&store, at, bytes).await?;
    }
    let sizes: Vec<u64> = store.list_all(None).await?.iter().map(|meta| meta.size).collect();
    ensure!(sizes == [0, 3, 5], "{sizes:?}");
    Ok(())
}

async fn a_listing_follows_a_delete(store: Store) -> Outcome {
    for at in ["a/1", "a/2", "a/3"] {
        create(&store, at, b"x").await?;
    }
    store.delete(&key("a/2")?).await?;
    let keys = listed(&store).await?;
    ensure!(keys == ["a/1", "a/3"], "{keys:?}");
    Ok(())
}

async fn an_overwritten_blob_is_listed_once(store: Store) -> Outcome {
    create(&store, "a", b"x").await?;
    overwrite(&store, "a", b"longer").await?;
    let all = store.list_all(None).await?;
    ensure!(all.len() == 1 && all.iter().all(|meta| meta.size == 6), "{all:?}");
    Ok(())
}

async fn a_put_is_listed_at_once(store: Store) -> Outcome {
    for number in 0..20 {
        let at = format!("log/{number:02}");
        store.put(&key(&at)?, Bytes::new(), PutMode::Create).await?;
        let keys = listed(&store).await?;
        ensure!(keys.last() == Some(&at) && keys.len() == number + 1, "after `{at}`: {keys:?}");
    }
    Ok(())
}

async fn many_keys_are_all_listed(store: Store) -> Outcome {
    let mut expected: Vec<String> = Vec::new();
    for number in 0..1_200_u32 {
        let at = format!("many/{:02x}/{number:05}", number % 7);
        store.put(&key(&at)?, Bytes::new(), PutMode::Create).await?;
        expected.push(at);
    }
    expected.sort_unstable();
    let keys: Vec<String> =
        store.list_all(Some(&key("many")?)).await?.into_iter().map(|meta| meta.key.to_string()).collect();
    ensure!(keys == expected, "{} keys are listed, or in another order", keys.len());
    Ok(())
}

async fn deep_keys_are_listed(store: Store) -> Outcome {
    let deep = "d/".repeat(60) + "e";
    store.put(&key(&deep)?, Bytes::new(), PutMode::Create).await?;
    create(&store, "d/z", b"x").await?;
    let keys = listed(&store).await?;
    ensure!(keys == [deep.as_str(), "d/z"], "{keys:?}");
    let (keys, _) = list(&store, Some("d/d/d"), Some("d/d/d/c"), 10).await?;
    ensure!(keys == [deep.as_str()], "{keys:?}");
    Ok(())
}

/// Lists by small pages while `other` works; all of `staying` must be in each listing once.
async fn list_beside(store: &Store, staying: &[String], other: BoxFuture<'_, Outcome>) -> Outcome {
    let done = AtomicBool::new(false);
    let changer = async {
        let result = other.await;
        done.store(true, Ordering::SeqCst);
        result
    };
    let reader = async {
        let mut last = false;
        while !last {
            last = done.load(Ordering::SeqCst);
            let mut keys: Vec<String> = Vec::new();
            loop {
                let (page, more) = list(store, None, keys.last().map(String::as_str), 3).await?;
                keys.extend(page);
                if !more {
                    break;
                }
            }
            ensure!(keys.windows(2).all(|pair| pair.first() < pair.last()), "not in ascending order: {keys:?}");
            let kept = keys.iter().filter(|at| staying.contains(at)).count();
            ensure!(kept == staying.len(), "{kept} of {} that stay are listed: {keys:?}", staying.len());
        }
        Ok(())
    };
    at_once(vec![reader.boxed(), changer.boxed()])?;
    Ok(())
}

/// Blobs that stay, and names between them for some that do not.
async fn stay_and_move(store: &Store) -> Outcome<(Vec<String>, Vec<BlobKey>)> {
    let staying: Vec<String> = (0..8).map(|number| format!("a/{number}/stays")).collect();
    for at in &staying {
        store.put(&key(at)?, Bytes::new(), PutMode::Create).await?;
    }
    let moving: Outcome<Vec<BlobKey>> = (0..48).map(|number| key(format!("a/{}/moves-{number}", number % 9))).collect();
    Ok((staying, moving?))
}

async fn a_listing_while_others_put_has_what_was_there(store: Store) -> Outcome {
    let (staying, moving) = stay_and_move(&store).await?;
    let other = async {
        for at in &moving {
            store.put(at, Bytes::new(), PutMode::Create).await?;
        }
        Ok(())
    };
    list_beside(&store, &staying, other.boxed()).await
}

async fn a_listing_while_others_delete_has_what_stays(store: Store) -> Outcome {
    let (staying, moving) = stay_and_move(&store).await?;
    for at in &moving {
        store.put(at, Bytes::new(), PutMode::Create).await?;
    }
    let other = async {
        for at in &moving {
            store.delete(at).await?;
        }
        Ok(())
    };
    list_beside(&store, &staying, other.boxed()).await
}

async fn a_listing_while_others_overwrite_has_each_once(store: Store) -> Outcome {
    let (staying, _) = stay_and_move(&store).await?;
    let other = async {
        for round in 0..6 {
            for at in &staying {
                store.put(&key(at)?, Bytes::from(vec![0; round]), PutMode::Overwrite).await?;
            }
        }
        Ok(())
    };
    list_beside(&store, &staying, other.boxed()).await
}
