//! A log whose beginning was truncated: nothing that exists changes, no number is free again, and what was not proven to be in two
//! checkpoints stays.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use compute_gallery::access::MemoryDirectory;
use compute_gallery::host::Workers;
use compute_gallery::model::*;
use compute_gallery::read::{EventKind, HistoryEntry, ListScope};
use compute_gallery::store::*;
use compute_gallery::testkit::{Fault, FaultyStore, HookedStore, Reaction, Sandbox, YieldingStore};
use compute_gallery::*;
use futures::TryStreamExt;
use futures::executor::block_on;

#[path = "interleavings/steps.rs"]
#[expect(dead_code, reason = "other tests take the other steps")]
mod steps;

use steps::goes_on;

/// A gallery in one store, with a version, and two checkpoints after it.
async fn sandbox() -> (Sandbox, MemoryStore) {
    let store = MemoryStore::new();
    let sandbox = Sandbox::builder()
        .catalog_store(store.clone())
        .service(|builder| builder.retries(RetryPolicy::none()).workers(Workers::inline()))
        .build()
        .await
        .unwrap();
    sandbox.publish("1.0.0", vec![7; 4096]).await.unwrap();
    goes_past_two_checkpoints(&sandbox).await;
    (sandbox, store)
}

/// Another process on the same stores.
async fn another(sandbox: &Sandbox) -> Sandbox {
    sandbox.reopen().build().await.unwrap()
}

async fn describes(sandbox: &Sandbox, what: &str) -> Result<()> {
    let there = sandbox.session().view().gallery(sandbox.image().gallery())?;
    let changed = Gallery::clone(&there).with_description(what);
    sandbox.session().update_gallery(changed).await.map(drop)
}

async fn goes_past_two_checkpoints(sandbox: &Sandbox) {
    let first = sandbox.session().refresh().await.unwrap().number();
    for number in 0..192 {
        describes(sandbox, &format!("{number} after {first}")).await.unwrap();
    }
}

async fn blobs(store: &MemoryStore, under: &str) -> BTreeMap<BlobKey, Bytes> {
    let mut blobs = BTreeMap::new();
    for blob in store.list_all(Some(&under.parse().unwrap())).await.unwrap() {
        blobs.insert(blob.key.clone(), store.get(&blob.key, None).await.unwrap());
    }
    blobs
}

/// The numbers of the entries that were truncated.
async fn truncated(store: &MemoryStore) -> Vec<u64> {
    let log = blobs(store, "catalog/log").await;
    let is_tombstone = |bytes: &Bytes| !bytes.windows(9).any(|part| part == b"\"changes\"");
    log.iter().zip(1..).filter(|((_, bytes), _)| is_tombstone(bytes)).map(|(_, number)| number).collect()
}

/// What a caller sees of a catalog.
fn seen(view: &CatalogView) -> String {
    let galleries = view.galleries(&ListScope::All, None, 100).items;
    let mut seen: Vec<String> = galleries.iter().map(|gallery| serde_json::to_string(&**gallery).unwrap()).collect();
    for gallery in &galleries {
        for definition in view.image_definitions(gallery.id(), None, 100).unwrap().items {
            let versions = view.image_versions(definition.id(), None, 100).unwrap().items;
            seen.extend(versions.iter().map(|version| serde_json::to_string(&**version).unwrap()));
        }
    }
    format!("{} {seen:?}", view.number())
}

async fn history(sandbox: &Sandbox, after: u64) -> Result<Vec<HistoryEntry>> {
    sandbox.session().history(after).try_collect().await
}

#[test]
fn what_exists_stays_and_the_history_says_where_it_begins() {
    block_on(async {
        let (sandbox, store) = sandbox().await;
        let (before, all) = (seen(&sandbox.session().view()), history(&sandbox, 0).await.unwrap());
        assert_eq!(sandbox.session().history_begins_after().await.unwrap(), 0);
        let truncation = sandbox.session().truncate_history(40).await.unwrap();
        assert_eq!((truncation.begins_after, truncation.replaced), (40, 40));
        assert_eq!(truncated(&store).await, (1..=40).collect::<Vec<_>>());
        for process in [&sandbox, &another(&sandbox).await] {
            assert_eq!(seen(&process.session().view()), before);
            let error = history(process, 0).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
            assert!(error.to_string().contains("the history begins after commit `40`"), "{error}");
            assert_eq!(process.session().history_begins_after().await.unwrap(), 40);
            let left: Vec<_> = all.iter().filter(|entry| entry.number > 40).cloned().collect();
            assert_eq!(history(process, 40).await.unwrap(), left);
            assert_eq!(process.deployed("1.0.0", "westeurope").await.unwrap(), [7; 4096]);
        }
        // It goes on, and further.
        goes_past_two_checkpoints(&sandbox).await;
        let again = sandbox.session().truncate_history(60).await.unwrap();
        assert_eq!((again.begins_after, again.replaced), (60, 20));
        // Backward it does nothing.
        let back = sandbox.session().truncate_history(10).await.unwrap();
        assert_eq!((back.begins_after, back.replaced), (60, 0));
        assert_eq!(history(&sandbox, 60).await.unwrap().first().unwrap().number, 61);
    });
}

#[test]
fn what_two_checkpoints_do_not_have_is_kept() {
    block_on(async {
        let (sandbox, store) = sandbox().await;
        let all = sandbox.session().truncate_history(u64::MAX).await.unwrap();
        let last = sandbox.session().view().number();
        assert!(all.begins_after > 64 && all.begins_after + 64 < last, "{all:?} of {last}");
        let roots = blobs(&store, "catalog/checkpoints").await;
        let older = roots.keys().next_back().unwrap().as_str().rsplit('/').next().unwrap().parse::<u64>().unwrap();
        assert_eq!(all.begins_after, u64::MAX - older - 1);
        assert_eq!(truncated(&store).await.len() as u64, all.begins_after);
        // From each checkpoint alone the catalog opens.
        let expected = seen(&sandbox.session().view());
        for key in roots.keys() {
            let root = store.get(key, None).await.unwrap();
            store.delete(key).await.unwrap();
            assert_eq!(seen(&another(&sandbox).await.session().view()), expected);
            store.put(key, root, PutMode::Create).await.unwrap();
        }
    });
}

#[test]
fn a_process_that_was_suspended_at_any_step_of_a_commit_loses_the_race_for_a_truncated_number_and_commits_once() {
    block_on(async {
        let (mut steps, mut commits) = (0, 0);
        loop {
            let (fast, store) = sandbox().await;
            let slow = fast.reopen().catalog_store(YieldingStore::new(store.clone())).build().await.unwrap();
            let commit = async { describes(&slow, "by the suspended process").await };
            let mut commit = pin!(commit);
            let is_over = goes_on(&mut commit, steps);
            goes_past_two_checkpoints(&fast).await;
            goes_past_two_checkpoints(&fast).await;
            fast.session().truncate_history(u64::MAX).await.unwrap();
            let log = blobs(&store, "catalog/log").await;
            if !is_over {
                commit.await.unwrap();
            }
            // Nothing that was there is another now.
            let after = blobs(&store, "catalog/log").await;
            assert!(log.iter().all(|(key, bytes)| after.get(key) == Some(bytes)), "after {steps} steps");
            commits += after.len() - log.len();
            let (slow, fast) = (slow.session().refresh().await.unwrap(), fast.session().refresh().await.unwrap());
            assert_eq!(seen(&slow), seen(&fast), "after {steps} steps");
            if is_over {
                break;
            }
            steps += 1;
        }
        // It was suspended before its entry landed, and after.
        assert!(commits > 0 && commits < steps, "{commits} of {steps}");
    });
}

#[test]
fn a_process_that_is_far_behind_goes_on_from_the_newest_checkpoint() {
    block_on(async {
        let (fast, store) = sandbox().await;
        let (behind, reader) = (another(&fast).await, another(&fast).await);
        goes_past_two_checkpoints(&fast).await;
        goes_past_two_checkpoints(&fast).await;
        fast.session().truncate_history(u64::MAX).await.unwrap();
        assert!(truncated(&store).await.len() as u64 > behind.session().view().number());
        let expected = seen(&fast.session().view());
        assert_eq!(seen(&behind.session().refresh().await.unwrap()), expected);
        // The whole log is read before content is condemned.
        reader.session().collect().await.unwrap();
        assert_eq!(reader.deployed("1.0.0", "westeurope").await.unwrap(), [7; 4096]);
        // What it commits comes after all of that.
        describes(&behind, "at last").await.unwrap();
        assert_eq!(seen(&fast.session().refresh().await.unwrap()), seen(&behind.session().view()));
    });
}

/// A store on which the tombstone of entry 7 is on its way while the flag is set.
fn slow_tombstone(store: &MemoryStore, is_late: &Arc<Mutex<bool>>) -> HookedStore {
    let late = is_late.clone();
    HookedStore::new(store.clone(), move |call| {
        let late = late.clone();
        let is_tombstone = ["put", "replace_if"].contains(&call.operation)
            && call.key.is_some_and(|key| key.as_str().ends_with("/00000000000000000007"));
        async move {
            while is_tombstone && *late.lock().unwrap() {
                let mut was_polled = false;
                std::future::poll_fn(|context| {
                    context.waker().wake_by_ref();
                    match std::mem::replace(&mut was_polled, true) {
                        true => std::task::Poll::Ready(()),
                        false => std::task::Poll::Pending,
                    }
                })
                .await;
            }
            Reaction::Pass
        }
    })
}

#[test]
fn a_late_tombstone_changes_nothing() {
    block_on(async {
        for is_conditional in [true, false] {
            let (sandbox, store) = sandbox().await;
            let is_late = Arc::new(Mutex::new(true));
            let hooked = slow_tombstone(&store, &is_late);
            let capabilities = hooked.capabilities().with_conditional_changes(is_conditional);
            let hooked = hooked.with_capabilities(capabilities);
            let slow = sandbox.reopen().catalog_store(hooked).build().await.unwrap();
            let mut truncation = pin!(async { slow.session().truncate_history(20).await });
            assert!(!goes_on(&mut truncation, 2_000));
            assert_eq!(sandbox.session().truncate_history(50).await.unwrap().begins_after, 50);
            goes_past_two_checkpoints(&sandbox).await;
            let before = blobs(&store, "catalog").await;
            *is_late.lock().unwrap() = false;
            assert_eq!(truncation.await.unwrap().begins_after, 20);
            assert_eq!(blobs(&store, "catalog").await, before);
            assert_eq!(sandbox.session().history_begins_after().await.unwrap(), 50);
        }
    });
}

#[test]
fn a_late_tombstone_replaces_no_other_entry_than_the_one_that_was_read() {
    block_on(async {
        let (sandbox, store) = sandbox().await;
        let is_late = Arc::new(Mutex::new(true));
        let slow = sandbox.reopen().catalog_store(slow_tombstone(&store, &is_late)).build().await.unwrap();
        let mut truncation = pin!(async { slow.session().truncate_history(20).await });
        assert!(!goes_on(&mut truncation, 2_000));
        // Meanwhile an operator puts something else there.
        let seventh: BlobKey = "catalog/log/00000000000000000007".parse().unwrap();
        let restored = Bytes::from_static(b"an entry of another log");
        store.put(&seventh, restored.clone(), PutMode::Overwrite).await.unwrap();
        *is_late.lock().unwrap() = false;
        assert_eq!(truncation.await.unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(store.get(&seventh, None).await.unwrap(), restored);
    });
}

#[test]
fn a_truncation_that_ends_at_any_call_changes_nothing_that_exists_and_the_next_one_finishes_it() {
    block_on(async {
        let (first, store) = sandbox().await;
        let expected = seen(&first.session().view());
        let blobs_before = blobs(&store, "catalog").await;
        for fault in [Fault::Before(StoreErrorKind::Unavailable), Fault::After] {
            for call in 0.. {
                let copy = MemoryStore::new();
                for (key, bytes) in &blobs_before {
                    copy.put(key, bytes.clone(), PutMode::Create).await.unwrap();
                }
                let faulty = FaultyStore::new(copy.clone());
                let dies = first.reopen().catalog_store(faulty.clone()).build().await.unwrap();
                faulty.faults().fail_from(call, fault);
                let is_done = dies.session().truncate_history(12).await.is_ok();
                let next = first.reopen().catalog_store(copy.clone()).build().await.unwrap();
                assert_eq!(seen(&next.session().view()), expected, "after {call} calls");
                let begins = next.session().history_begins_after().await.unwrap();
                let gone = truncated(&copy).await;
                assert!(gone.iter().all(|number| *number <= begins), "{gone:?} beyond {begins}");
                next.session().truncate_history(12).await.unwrap();
                assert_eq!(truncated(&copy).await, (1..=12).collect::<Vec<_>>(), "after {call} calls");
                assert_eq!(seen(&next.session().refresh().await.unwrap()), expected);
                if is_done {
                    break;
                }
            }
        }
    });
}

#[test]
fn two_processes_truncate_at_once() {
    block_on(async {
        for (one, other) in [(30, 30), (20, 45), (45, 20)] {
            let (sandbox, store) = sandbox().await;
            let yielding = |sandbox: &Sandbox| sandbox.reopen().catalog_store(YieldingStore::new(store.clone()));
            let [first, second] =
                [yielding(&sandbox).build().await.unwrap(), yielding(&sandbox).build().await.unwrap()];
            let expected = seen(&sandbox.session().view());
            let (a, b) =
                futures::join!(first.session().truncate_history(one), second.session().truncate_history(other));
            assert!(a.unwrap().begins_after >= one && b.unwrap().begins_after >= other);
            // One that saw the other's boundary may have left what that one is at work on.
            sandbox.session().truncate_history(0).await.unwrap();
            assert_eq!(truncated(&store).await, (1..=one.max(other)).collect::<Vec<_>>());
            assert_eq!(seen(&another(&sandbox).await.session().view()), expected);
        }
    });
}

#[test]
fn a_truncated_log_without_a_whole_checkpoint_is_refused_and_nothing_is_deleted() {
    block_on(async {
        let (sandbox, store) = sandbox().await;
        sandbox.session().truncate_history(u64::MAX).await.unwrap();
        let expected = seen(&sandbox.session().view());
        let roots: Vec<BlobKey> = blobs(&store, "catalog/checkpoints").await.into_keys().collect();
        for damages in [true, false] {
            let mut kept = Vec::new();
            for (number, key) in roots.iter().enumerate() {
                let root = store.get(key, None).await.unwrap();
                match damages {
                    true => store.put(key, Bytes::from_static(b"x"), PutMode::Overwrite).await.unwrap(),
                    false => store.delete(key).await.unwrap(),
                }
                kept.push((key, root));
                let before = blobs(&store, "catalog").await;
                let opened = sandbox.reopen().build().await;
                if number + 1 < roots.len() {
                    assert_eq!(seen(&opened.unwrap().session().view()), expected);
                } else {
                    let error = opened.unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                    assert!(error.to_string().contains("no checkpoint from there on is whole: restore one"), "{error}");
                    assert_eq!(blobs(&store, "catalog").await, before);
                }
            }
            for (key, root) in kept {
                store.put(key, root, PutMode::Overwrite).await.unwrap();
            }
        }
        assert_eq!(seen(&another(&sandbox).await.session().view()), expected);
    });
}

#[test]
fn nothing_is_truncated_unless_both_checkpoints_can_be_opened() {
    block_on(async {
        let (sandbox, store) = sandbox().await;
        let needed = [blobs(&store, "catalog/checkpoints").await, blobs(&store, "catalog/segments").await];
        for (key, bytes) in needed.iter().flatten() {
            let mut damaged = bytes.to_vec();
            *damaged.last_mut().unwrap() ^= 1;
            store.put(key, damaged.into(), PutMode::Overwrite).await.unwrap();
            let before = blobs(&store, "catalog").await;
            let error = sandbox.session().truncate_history(20).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert!(error.to_string().contains("nothing was truncated"), "{error}");
            assert_eq!(blobs(&store, "catalog").await, before, "with a flipped bit in {key}");
            store.put(key, bytes.clone(), PutMode::Overwrite).await.unwrap();
        }
        // An entry that is lost cannot be replaced.
        let third: BlobKey = "catalog/log/00000000000000000003".parse().unwrap();
        store.delete(&third).await.unwrap();
        let error = sandbox.session().truncate_history(20).await.unwrap_err();
        assert!(error.to_string().contains("entry `3` is missing"), "{error}");
        assert!(!blobs(&store, "catalog/log").await.contains_key(&third));
    });
}

#[test]
fn only_an_administrator_truncates_and_not_before_two_checkpoints() {
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        let error = sandbox.session().truncate_history(1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert!(error.to_string().contains("fewer than two checkpoints"), "{error}");
        assert_eq!(sandbox.session().truncate_history(0).await.unwrap().replaced, 0);

        let (sandbox, store) = self::sandbox().await;
        let guarded = sandbox.reopen().directory(MemoryDirectory::new()).build().await.unwrap();
        let error = guarded.session_of("ann").truncate_history(5).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
        assert_eq!(truncated(&store).await, [0_u64; 0]);
    });
}

#[test]
fn a_witness_of_a_truncated_commit_is_checked_by_its_hash() {
    block_on(async {
        let (sandbox, store) = sandbox().await;
        let all = history(&sandbox, 0).await.unwrap();
        let published = all.iter().find(|entry| entry.event.kind == EventKind::ImageVersionPublished).unwrap();
        sandbox.session().truncate_history(u64::MAX).await.unwrap();
        assert!(truncated(&store).await.contains(&published.number));
        // The region's store has seen that commit, and the log still knows it.
        let witnesses = sandbox.store("westeurope").list_all(Some(&"witnesses".parse().unwrap())).await.unwrap();
        let newest = witnesses[0].key.as_str().split(['/', '-']).nth(1).unwrap().parse::<u64>().unwrap();
        assert_eq!(u64::MAX - newest, published.number);
        assert_eq!(another(&sandbox).await.deployed("1.0.0", "westeurope").await.unwrap(), [7; 4096]);

        // Another commit under its number is another log.
        let key: BlobKey = format!("catalog/log/{:020}", published.number).parse().unwrap();
        let right = store.get(&key, None).await.unwrap();
        let tombstone = String::from_utf8(right.to_vec()).unwrap();
        let line = tombstone.lines().next().unwrap();
        let hash = line.split("\"hash\":\"").nth(1).unwrap().split('"').next().unwrap();
        let line = line.replace(hash, &"0".repeat(64));
        let other = format!("{line}\n{}\n", compute_gallery::content::Digest::of(line.as_bytes()));
        store.put(&key, other.into(), PutMode::Overwrite).await.unwrap();
        let refused = sandbox.reopen().build().await.unwrap_err();
        assert!(refused.to_string().contains("the catalog's log was replaced"), "{refused}");
        store.put(&key, right, PutMode::Overwrite).await.unwrap();
        another(&sandbox).await.publish("1.0.1", vec![8; 4096]).await.unwrap();
    });
}
