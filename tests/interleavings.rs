//! One operation stands still before and after each of its store calls in turn, while another process does something else
//! from beginning to end.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use compute_gallery::model::*;
use compute_gallery::read::{EventKind, HistoryEntry, ProvisioningState};
use compute_gallery::store::MemoryStore;
use compute_gallery::testkit::{Sandbox, YieldingStore, raw, region};
use compute_gallery::*;
use futures::executor::block_on;
use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};
use serde_json::json;

#[path = "interleavings/steps.rs"]
mod steps;

use steps::{gallery, goes_on, sends};

fn publish(sandbox: &Sandbox, number: &str, regions: &str, disk: &'static [u8]) -> Publication<ImageVersion> {
    sandbox.session().publish(sandbox.new_version(number, regions, raw(disk)))
}

/// Three processes on one store: the first two can be stopped at each call.
async fn processes() -> [Sandbox; 3] {
    let store = MemoryStore::new();
    let fast = Sandbox::builder().one_store(store.clone()).build().await.unwrap();
    let yielding = YieldingStore::new(store);
    let slow = fast.reopen().catalog_store(yielding.clone()).one_store(yielding);
    [slow.clone().build().await.unwrap(), slow.build().await.unwrap(), fast]
}

/// Lets a collection go on until it has condemned something, and not removed it.
async fn until_it_condemns<F: Future + Unpin>(collection: &mut F, fast: &Sandbox) {
    let condemns = |entry: &HistoryEntry| entry.event.kind == EventKind::ContentCondemned;
    while !fast.session().history(0).try_collect::<Vec<_>>().await.unwrap().iter().any(condemns) {
        assert!(!goes_on(collection, 1), "it condemns something");
    }
}

async fn is_whole(sandbox: &Sandbox, place: &str) -> bool {
    let report = sandbox.session().scrub(region(place)).await.unwrap();
    (report.mended, report.damaged) == (0, 0)
}

/// A version whose region was taken out and put in again looked as if nothing had happened, and was recorded as complete there
/// although a collection had removed its packs in between.
#[test]
fn a_region_that_was_put_in_again_is_complete_only_when_its_packs_are_there_again() {
    for steps in 0.. {
        let is_over = block_on(async {
            let [slow, _, fast] = processes().await;
            publish(&fast, "1.0.0", "westeurope,eastus", &[7; 10_240]).await.unwrap();
            fast.session().replicate(fast.version("1.0.0")).await.unwrap();
            // Its packs are there, and the region is to be completed anew.
            sends(&fast, "westeurope").await;
            sends(&fast, "westeurope,eastus").await;
            let mut replication = slow.session().replicate(slow.version("1.0.0"));
            let is_over = goes_on(&mut replication, steps);
            sends(&fast, "westeurope").await;
            fast.session().collect().await.unwrap();
            sends(&fast, "westeurope,eastus").await;
            if !is_over {
                // It may be refused; content that it reports as complete has to be there.
                let _ = replication.await;
                assert!(is_whole(&fast, "eastus").await, "stopped after {steps} steps");
            }
            is_over
        });
        if is_over {
            assert!(steps > 10, "{steps}");
            return;
        }
    }
}

#[test]
fn a_region_that_was_put_in_again_is_complete_by_none_of_what_is_being_removed() {
    block_on(async {
        let [_, collector, fast] = processes().await;
        publish(&fast, "1.0.0", "westeurope,eastus", &[7; 10_240]).await.unwrap();
        fast.session().replicate(fast.version("1.0.0")).await.unwrap();
        sends(&fast, "westeurope").await;
        let mut collection = collector.session().collect();
        until_it_condemns(&mut collection, &fast).await;
        sends(&fast, "westeurope,eastus").await;
        // The content that it needs is there and condemned: it is sent again, under names that the collection does not know.
        fast.session().replicate(fast.version("1.0.0")).await.unwrap();
        assert!(is_whole(&fast, "eastus").await);
        collection.await.unwrap();
        assert!(is_whole(&fast, "eastus").await);
    });
}

/// A publish that was announced while a manifest of the same content was being removed could put it, lose it to that
/// collection, and commit after the collection was over.
#[test]
fn a_manifest_that_is_being_removed_is_not_relied_on() {
    // A disk of zeros has no packs of its own, so its manifest is always the same.
    let zeros = |sandbox: &Sandbox, number| publish(sandbox, number, "westeurope", &[0; 10_240]);
    for steps in 0.. {
        let is_over = block_on(async {
            let [slow, collector, fast] = processes().await;
            zeros(&fast, "1.0.0").await.unwrap();
            fast.session().delete(fast.version("1.0.0")).await.unwrap();
            let mut collection = collector.session().collect();
            until_it_condemns(&mut collection, &fast).await;
            let mut publishing = zeros(&slow, "1.0.1");
            let mut is_over = goes_on(&mut publishing, steps);
            collection.await.unwrap();
            if is_over {
                return true;
            }
            while !is_over {
                is_over = goes_on(&mut publishing, 1);
                assert!(is_whole(&fast, "westeurope").await, "stopped after {steps} steps");
            }
            false
        });
        if is_over {
            assert!(steps > 10, "{steps}");
            return;
        }
    }
}

/// A version is made of the source that its announcement names: a completion that began before it was deleted and announced again has another.
#[test]
fn a_late_completion_makes_nothing_of_a_version_that_was_announced_again() {
    for steps in 0.. {
        let is_over = block_on(async {
            let [slow, _, fast] = processes().await;
            let (session, id) = (fast.session(), fast.version("2.0.0"));
            publish(&fast, "1.0.0", "westeurope", &[7; 10_240]).await.unwrap();
            publish(&fast, "1.0.1", "westeurope", &[8; 10_240]).await.unwrap();
            let made_of = |number: &str| {
                let storage = json!({"source": {"id": fast.version(number).to_string()}});
                json!({"location": "westeurope", "properties": {"storageProfile": storage}})
            };
            session.put_image_version(&id, made_of("1.0.0")).await.unwrap();
            let mut completion = slow.session().complete_version(&id);
            if goes_on(&mut completion, steps) {
                return true;
            }
            session.delete(&id).await.unwrap();
            session.put_image_version(&id, made_of("1.0.1")).await.unwrap();
            // It is refused, unless it had read nothing before, or was done.
            let _ = completion.await;
            let state = session.refresh().await.unwrap().provisioning(&id).unwrap().state;
            if state == ProvisioningState::Creating {
                session.complete_version(&id).await.unwrap();
            }
            assert_eq!(fast.deployed("2.0.0", "westeurope").await.unwrap(), [8; 10_240], "stopped after {steps} steps");
            false
        });
        if is_over {
            assert!(steps > 10, "{steps}");
            return;
        }
    }
}

/// An operation that began while another of its process was reading the log was judged by an older state, so it did
/// not see what was acknowledged before it began.
#[test]
fn an_operation_sees_what_was_acknowledged_before_it_began() {
    for steps in 0.. {
        let is_over = block_on(async {
            let [slow, _, fast] = processes().await;
            let mut earlier = slow.session().create_gallery(gallery(&slow, "earlier"));
            let is_over = goes_on(&mut earlier, steps);
            fast.session().create_gallery(gallery(&fast, "new")).await.unwrap();
            let deletion = slow.session().delete(gallery(&slow, "new").id());
            let deleted = if is_over { deletion.await } else { futures::join!(earlier, deletion).1 };
            assert_eq!(deleted.unwrap().len(), 1, "stopped after {steps} steps");
            is_over
        });
        if is_over {
            assert!(steps > 2, "{steps}");
            return;
        }
    }
}

/// Tells whether it was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Polls it each time that it is woken, and only then; `None` where it waits for something that does not come.
fn goes_to_its_end<F: Future + Unpin>(mut work: F) -> Option<F::Output> {
    let woken = Arc::new(Woken(true.into()));
    while woken.0.swap(false, Ordering::Relaxed) {
        if let Poll::Ready(done) = work.poll_unpin(&mut Context::from_waker(&Waker::from(woken.clone()))) {
            return Some(done);
        }
    }
    None
}

/// A caller that was alive and not polled (in a `select!` on a reference, in a stream of futures) held the right to commit, so
/// no other caller of its process ever came to its end.
#[test]
fn a_parked_caller_stops_no_other_caller() {
    let firsts: [fn(&Sandbox) -> BoxFuture<'static, ()>; 4] = [
        |sandbox| sandbox.session().create_gallery(gallery(sandbox, "first")).map(drop).boxed(),
        |sandbox| publish(sandbox, "1.0.1", "westeurope", &[1; 10_240]).map(drop).boxed(),
        |sandbox| sandbox.session().replicate(sandbox.version("1.0.0")).map(drop).boxed(),
        |sandbox| sandbox.session().delete(sandbox.version("1.0.0")).map(drop).boxed(),
    ];
    for (number, first) in firsts.into_iter().enumerate() {
        for steps in 0.. {
            let what = format!("first {number}, parked after {steps} steps");
            let [sandbox, other, fast] = block_on(processes());
            let session = sandbox.session();
            block_on(publish(&fast, "1.0.0", "westeurope,eastus", &[7; 10_240])).unwrap();
            let mut parked = first(&sandbox);
            let is_over = goes_on(&mut parked, steps);
            // Each in the same process, one after the other and two at once; and one in another process.
            for name in ["second", "third"] {
                let (one, two) = (gallery(&sandbox, name), gallery(&sandbox, &format!("{name}Too")));
                let both = futures::future::join(session.create_gallery(one), session.create_gallery(two));
                let (one, two) = goes_to_its_end(both).unwrap_or_else(|| panic!("{what}: {name} never ends"));
                one.and(two).unwrap();
            }
            let published = publish(&sandbox, "2.0.0", "westeurope", &[2; 10_240]);
            goes_to_its_end(published).unwrap_or_else(|| panic!("{what}: a publish never ends")).unwrap();
            let elsewhere = other.session().create_gallery(gallery(&other, "elsewhere"));
            goes_to_its_end(elsewhere).unwrap_or_else(|| panic!("{what}: another process never ends")).unwrap();
            // And the parked one goes on where it stood.
            if is_over {
                assert!(steps > 5, "{what}");
                break;
            }
            goes_to_its_end(parked).unwrap_or_else(|| panic!("{what}: it never ends itself"));
        }
    }
}

/// The caller that was polled last goes away while the others wait: the commit that it drove goes on.
#[test]
fn a_caller_that_goes_away_leaves_its_commit_to_the_others() {
    for steps in 0.. {
        let [sandbox, ..] = block_on(processes());
        let session = sandbox.session();
        let mut first = session.create_gallery(gallery(&sandbox, "first"));
        let mut second = session.create_gallery(gallery(&sandbox, "second"));
        assert!(!goes_on(&mut second, 1));
        let is_over = goes_on(&mut first, steps);
        drop(first);
        let second = goes_to_its_end(second).unwrap_or_else(|| panic!("it never ends, after {steps} steps"));
        second.unwrap();
        if is_over {
            assert!(steps > 2, "{steps}");
            return;
        }
    }
}
