//! Promises of `list_pages` and `list_folders`.

use bytes::Bytes;
use futures::TryStreamExt;

use super::list::{KEYS, fill};
use super::support::{Outcome, Store, cases, create, ensure, key};
use crate::store::{BlobKey, BlobStoreExt, PutMode};

cases![
    pages_have_every_blob_once_in_order,
    pages_start_after_a_key,
    pages_of_nothing_are_none,
    folders_are_the_next_segments_with_blobs_below,
    every_limit_gives_the_same_folders,
    every_folder_is_a_place_to_go_on_from,
    a_folder_goes_with_its_last_blob,
    folders_of_the_longest_names_are_listed,
    folders_beside_many_blobs_are_listed,
];

async fn paged(store: &Store, under: Option<&str>, after: Option<&str>) -> Outcome<Vec<String>> {
    let (under, after) = (under.map(key).transpose()?, after.map(key).transpose()?);
    let mut pages = store.list_pages(under.as_ref(), after.as_ref());
    let mut keys: Vec<String> = Vec::new();
    while let Some(page) = pages.try_next().await? {
        ensure!(!page.is_empty(), "an empty page");
        keys.extend(page.iter().map(|meta| meta.key.to_string()));
    }
    Ok(keys)
}

fn below<'a>(kept: &[&'a str], under: Option<&str>) -> Vec<&'a str> {
    let start = under.map_or(String::new(), |under| format!("{under}/"));
    kept.iter().copied().filter(|at| at.starts_with(&start)).collect()
}

async fn pages_have_every_blob_once_in_order(store: Store) -> Outcome {
    let kept = fill(&store).await?;
    for under in [None, Some("a"), Some("a/c"), Some("b-"), Some("ab")] {
        let (keys, expected) = (paged(&store, under, None).await?, below(&kept, under));
        ensure!(keys == expected, "under {under:?}: {keys:?}, {expected:?} expected");
    }
    Ok(())
}

async fn pages_start_after_a_key(store: Store) -> Outcome {
    let kept = fill(&store).await?;
    for under in [None, Some("a"), Some("a/c")] {
        for after in KEYS.into_iter().chain(["a", "a/c", "zz"]) {
            let expected: Vec<&str> = below(&kept, under).into_iter().filter(|at| *at > after).collect();
            let keys = paged(&store, under, Some(after)).await?;
            ensure!(keys == expected, "under {under:?} after {after}: {keys:?}, {expected:?} expected");
        }
    }
    Ok(())
}

async fn pages_of_nothing_are_none(store: Store) -> Outcome {
    let keys = paged(&store, None, None).await?;
    ensure!(keys.is_empty(), "an empty store lists {keys:?}");
    create(&store, "a", b"x").await?;
    for under in ["a", "a/b", "z"] {
        let keys = paged(&store, Some(under), None).await?;
        ensure!(keys.is_empty(), "under {under}: {keys:?}");
    }
    Ok(())
}

/// The folders of the keys, in the order of the keys.
fn folders_of(kept: &[&str], under: Option<&str>) -> Vec<String> {
    let start = under.map_or(String::new(), |under| format!("{under}/"));
    let folder = |at: &&str| Some(format!("{start}{}", at.strip_prefix(&start)?.split_once('/')?.0));
    let mut folders: Vec<String> = kept.iter().filter_map(folder).collect();
    folders.dedup();
    folders
}

/// The folders of one page, and whether there may be more.
async fn folders(
    store: &Store,
    under: Option<&str>,
    after: Option<&str>,
    limit: usize,
) -> Outcome<(Vec<String>, bool)> {
    let (under, after) = (under.map(key).transpose()?, after.map(key).transpose()?);
    let page = store.list_folders(under.as_ref(), after.as_ref(), limit).await?;
    ensure!(page.keys.len() <= limit.max(1), "a page of {} for a limit of {limit}", page.keys.len());
    ensure!(!(page.keys.is_empty() && page.more), "an empty page says that there is more");
    Ok((page.keys.iter().map(BlobKey::to_string).collect(), page.more))
}

async fn all_folders(store: &Store, under: Option<&str>) -> Outcome<Vec<String>> {
    let under = under.map(key).transpose()?;
    Ok(store.list_all_folders(under.as_ref()).await?.iter().map(BlobKey::to_string).collect())
}

const UNDER: [Option<&str>; 7] = [None, Some("a"), Some("a/c"), Some("a/c/e"), Some("a/b"), Some("b"), Some("nothing")];

async fn folders_are_the_next_segments_with_blobs_below(store: Store) -> Outcome {
    let (keys, more) = folders(&store, None, None, 10).await?;
    ensure!(keys.is_empty() && !more, "an empty store has the folders {keys:?}");
    let kept = fill(&store).await?;
    for under in UNDER {
        let (keys, expected) = (all_folders(&store, under).await?, folders_of(&kept, under));
        ensure!(keys == expected, "under {under:?}: {keys:?}, {expected:?} expected");
    }
    Ok(())
}

async fn every_limit_gives_the_same_folders(store: Store) -> Outcome {
    let kept = fill(&store).await?;
    for under in UNDER {
        let expected = folders_of(&kept, under);
        for limit in 0..=expected.len() + 1 {
            let mut keys: Vec<String> = Vec::new();
            loop {
                let (page, more) = folders(&store, under, keys.last().map(String::as_str), limit).await?;
                keys.extend(page);
                if !more {
                    break;
                }
                ensure!(keys.len() <= expected.len(), "it goes on for ever: {keys:?}");
            }
            ensure!(keys == expected, "under {under:?} by {limit}: {keys:?}, {expected:?} expected");
        }
    }
    Ok(())
}

async fn every_folder_is_a_place_to_go_on_from(store: Store) -> Outcome {
    let kept = fill(&store).await?;
    for under in [None, Some("a"), Some("a/c")] {
        for after in KEYS.into_iter().chain(["a", "a/c", "a/z", "b", "b0", "zz"]) {
            let in_it = |folder: &str| format!("{folder}/");
            let mut expected = folders_of(&kept, under);
            expected.retain(|folder| in_it(folder) > in_it(after));
            let mut keys: Vec<String> = Vec::new();
            let (mut from, mut more) = (after.to_owned(), true);
            while more {
                let page;
                (page, more) = folders(&store, under, Some(&from), 100).await?;
                keys.extend(page);
                from = keys.last().unwrap_or(&from).clone();
                ensure!(keys.len() <= expected.len(), "after {after}: {keys:?}, {expected:?} expected");
            }
            ensure!(keys == expected, "under {under:?} after {after}: {keys:?}, {expected:?} expected");
        }
    }
    Ok(())
}

async fn a_folder_goes_with_its_last_blob(store: Store) -> Outcome {
    for at in ["a/b/1", "a/b/2", "a/c/d/1", "e"] {
        create(&store, at, b"x").await?;
    }
    for (deleted, left) in [("a/b/1", &["a/b", "a/c"] as &[&str]), ("a/c/d/1", &["a/b"]), ("a/b/2", &[])] {
        store.delete(&key(deleted)?).await?;
        let keys = all_folders(&store, Some("a")).await?;
        ensure!(keys == left, "after the deletion of `{deleted}`: {keys:?}, {left:?} expected");
    }
    let keys = all_folders(&store, None).await?;
    ensure!(keys.is_empty(), "{keys:?}");
    create(&store, "a/b/1", b"x").await?;
    ensure!(all_folders(&store, None).await? == ["a"], "it is not there again");
    Ok(())
}

async fn folders_of_the_longest_names_are_listed(store: Store) -> Outcome {
    let longest = |last: &str| format!("f/{}{last}", "z".repeat(BlobKey::MAX_SEGMENT_BYTES - 1));
    let names = [longest("-"), longest("."), longest(""), longest("0"), longest("z")];
    for name in names.iter().rev() {
        for at in ["0", "z"] {
            store.put(&key(format!("{name}/{at}"))?, Bytes::new(), PutMode::Create).await?;
        }
    }
    let keys = all_folders(&store, Some("f")).await?;
    ensure!(keys == names, "{keys:?}");
    Ok(())
}

async fn folders_beside_many_blobs_are_listed(store: Store) -> Outcome {
    for number in 0..230 {
        store.put(&key(format!("f/b{number:03}"))?, Bytes::new(), PutMode::Create).await?;
        store.put(&key(format!("f/d/{number:03}"))?, Bytes::new(), PutMode::Create).await?;
    }
    for at in ["f/a/1", "f/c/1", "f/c/2", "f/e/1"] {
        create(&store, at, b"x").await?;
    }
    let keys = all_folders(&store, Some("f")).await?;
    ensure!(keys == ["f/a", "f/c", "f/d", "f/e"], "{keys:?}");
    Ok(())
}
