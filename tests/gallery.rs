//! The whole path through the public face: publish, replicate, deploy; refusals, and the state that a failure leaves.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a helper of a test may fail as the test does")]

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use compute_gallery::disk::{DiskFormat, DiskSource};
use compute_gallery::host::Workers;
use compute_gallery::image::ImageDigest;
use compute_gallery::model::*;
use compute_gallery::read::HistoryEntry;
use compute_gallery::read::ListScope;
use compute_gallery::replicate::AggregatedState;
use compute_gallery::store::{BlobStoreExt, FsStore, MemoryStore, RetryPolicy, StoreErrorKind};
use compute_gallery::testkit::{
    Fault, HookedStore, Reaction, Sandbox, SandboxBuilder, YieldingStore, noise, raw, region,
};
use compute_gallery::*;
use futures::executor::block_on;
use futures::{FutureExt, StreamExt};

const MIB: usize = 1 << 20;

/// A disk of `mib` MiB: random blocks, zeros, and blocks that are mostly zeros.
fn disk(mib: usize, seed: u64) -> Vec<u8> {
    let mut bytes = noise(seed, mib * MIB);
    for (number, block) in bytes.chunks_mut(64 << 10).enumerate() {
        let used = match number {
            _ if number % 3 == 1 => 0,
            _ if number % 5 == 0 => 4800,
            _ => block.len(),
        };
        block.iter_mut().skip(used).for_each(|byte| *byte = 0);
    }
    bytes
}

/// A gallery in one store, with the system's threads.
fn on(store: impl store::BlobStore) -> SandboxBuilder {
    threaded(Sandbox::builder().one_store(store))
}

fn threaded(settings: SandboxBuilder) -> SandboxBuilder {
    settings.service(|builder| builder.workers(Workers::default()))
}

async fn sandbox() -> Sandbox {
    on(MemoryStore::new()).build().await.unwrap()
}

async fn all_versions(sandbox: &Sandbox) -> Vec<Arc<ImageVersion>> {
    let view = sandbox.session().refresh().await.unwrap();
    view.image_versions(sandbox.image(), None, usize::MAX).unwrap().items
}

async fn all_galleries(sandbox: &Sandbox) -> Vec<Arc<Gallery>> {
    sandbox.session().refresh().await.unwrap().galleries(&ListScope::All, None, usize::MAX).items
}

async fn deployed(sandbox: &Sandbox, number: &str, place: &str) -> Vec<u8> {
    sandbox.deployed(number, place).await.unwrap()
}

#[test]
fn a_disk_comes_back_from_every_region_and_a_version_costs_its_change() {
    block_on(async {
        let sandbox = sandbox().await;
        let session = sandbox.session();
        let mut bytes = disk(20, 7);
        let first =
            session.publish(sandbox.new_version("1.0.0", "westeurope=2,eastus=1", raw(bytes.clone()))).await.unwrap();
        assert_eq!(first.content.os_disk_digest, ImageDigest::of(raw(bytes.clone())).unwrap());
        let report = session.replicate(sandbox.version("1.0.0")).await.unwrap();
        assert_eq!(report.regions[1].cross_region_bytes, first.content.stored_bytes);
        assert_eq!(report.regions[0].cross_region_bytes, 0);
        assert_eq!(report.regions[0].local_bytes, first.content.stored_bytes);
        for place in ["westeurope", "eastus"] {
            assert!(deployed(&sandbox, "1.0.0", place).await == bytes, "{place}");
        }

        bytes[5 * MIB..5 * MIB + 3].copy_from_slice(b"new");
        let second =
            session.publish(sandbox.new_version("1.0.1", "westeurope=2,eastus=1", raw(bytes.clone()))).await.unwrap();
        assert_eq!(second.import.new_chunks, 1);
        assert!(second.import.new_bytes <= 64 << 10, "{:?}", second.import);
        session.replicate(sandbox.version("1.0.1")).await.unwrap();
        assert!(deployed(&sandbox, "1.0.1", "eastus").await == bytes);

        let same = session.publish(sandbox.new_version("1.0.2", "westeurope", raw(bytes.clone()))).await.unwrap();
        assert_eq!((same.import.new_chunks, same.import.sent_bytes), (0, 0));
    });
}

#[test]
fn a_version_is_deployable_and_latest_exactly_where_it_is_complete() {
    block_on(async {
        let sandbox = sandbox().await;
        let session = sandbox.session();
        let bytes = disk(2, 3);
        session.publish(sandbox.new_version("1.0.9", "westeurope=1,eastus=3", raw(bytes.clone()))).await.unwrap();
        let version = sandbox.version("1.0.9");
        assert_eq!(session.refresh().await.unwrap().latest(sandbox.image(), "westeurope").unwrap().id(), &version);
        assert_eq!(
            session.refresh().await.unwrap().latest(sandbox.image(), "eastus").unwrap_err().kind(),
            ErrorKind::NotFound
        );
        let early = session.deploy(&version, "eastus").to_writer(Vec::new()).await.unwrap_err();
        assert_eq!(early.kind(), ErrorKind::NotFound);
        assert!(early.to_string().contains("complete in `westeurope`"), "{early}");

        let mut last = 0;
        let mut replication = session.replicate(&version);
        while let Some(status) = replication.statuses().next().await {
            assert!(status.progress() >= last);
            last = status.progress();
            assert_eq!(last == 100, status.aggregated_state == AggregatedState::Completed);
        }
        assert_eq!(last, 100);
        assert_eq!(session.replication_status(&version).await.unwrap().progress(), 100);
        assert!(deployed(&sandbox, "1.0.9", "eastus").await == bytes);

        session.publish(sandbox.new_version("1.0.12", "westeurope", raw(bytes.clone()))).await.unwrap();
        assert_eq!(
            session.refresh().await.unwrap().latest(sandbox.image(), "westeurope").unwrap().id(),
            &sandbox.version("1.0.12")
        );
        let names = all_versions(&sandbox).await;
        let names: Vec<String> = names.iter().map(|version| version.id().number().to_string()).collect();
        assert_eq!(names, ["1.0.9", "1.0.12"]);
    });
}

#[test]
fn two_services_see_each_other_and_never_break_a_rule_between_them() {
    let limits = Limits::default().with_galleries(10);
    let first = on(MemoryStore::new()).empty().service(move |builder| builder.limits(limits.clone()));
    let first = block_on(first.build()).unwrap();
    let mut sandboxes: Vec<Sandbox> = (0..3).map(|_| block_on(first.reopen().build()).unwrap()).collect();
    sandboxes.push(first);
    let created: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = sandboxes
            .iter()
            .enumerate()
            .map(|(worker, sandbox)| {
                scope.spawn(move || {
                    let session = sandbox.session_of(&format!("worker {worker}"));
                    let create = |number: usize| {
                        let id = format!("/subscriptions/dev/resourceGroups/a/providers/Microsoft.Compute/galleries/g{worker}x{number}");
                        session.create_gallery(Gallery::new(id.parse().unwrap(), region("westeurope")))
                    };
                    let results = block_on(futures::future::join_all((0..8).map(create)));
                    let refused = results.iter().filter_map(|result| result.as_ref().err());
                    refused.for_each(|error| assert_eq!(error.kind(), ErrorKind::LimitReached, "{error}"));
                    results.iter().filter(|result| result.is_ok()).count()
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(created, 10);
    block_on(async {
        for sandbox in &sandboxes {
            assert_eq!(all_galleries(sandbox).await.len(), 10);
        }
        let session = sandboxes[0].session();
        let history: Vec<HistoryEntry> = session.history(0).map(|commit| commit.unwrap()).collect().await;
        assert_eq!(history.len(), 10);
        assert!(history.windows(2).all(|pair| pair[0].time <= pair[1].time));
    });
}

#[test]
fn a_lost_answer_is_looked_up_and_counts_once() {
    block_on(async {
        let sandbox = on(MemoryStore::new()).empty().build().await.unwrap();
        let session = sandbox.session();
        // Before the put of the entry, the log's end and the store's identity are read.
        sandbox.catalog_faults().fail_call(2, Fault::After);
        session.create_gallery(Gallery::new(sandbox.image().gallery().clone(), region("westeurope"))).await.unwrap();
        let history: Vec<HistoryEntry> = session.history(0).map(|commit| commit.unwrap()).collect().await;
        assert_eq!(history.len(), 1);
    });
}

/// Fails each call in turn, before and after it took effect: the publish succeeds or says so, the catalog stays whole,
/// and calling again finishes the work.
#[test]
fn publish_and_replicate_survive_a_fault_at_every_call() {
    let bytes = disk(3, 11);
    let whole = block_on(async {
        let sandbox = sandbox().await;
        let (session, faults) = (sandbox.session(), sandbox.catalog_faults());
        let before = faults.calls();
        session.publish(sandbox.new_version("1.0.0", "westeurope=2,eastus=1", raw(bytes.clone()))).await.unwrap();
        session.replicate(sandbox.version("1.0.0")).await.unwrap();
        faults.calls() - before
    });
    assert!(whole > 20, "{whole}");
    for fault in [Fault::Before(StoreErrorKind::Unavailable), Fault::Before(StoreErrorKind::Full), Fault::After] {
        for call in 0..whole {
            block_on(async {
                let sandbox = sandbox().await;
                let (session, faults) = (sandbox.session(), sandbox.catalog_faults());
                faults.fail_call(call, fault);
                let publish =
                    || session.publish(sandbox.new_version("1.0.0", "westeurope=2,eastus=1", raw(bytes.clone())));
                if let Err(first) = publish().await {
                    match publish().await {
                        Ok(_) => {}
                        // Only an outcome reported as unknown may turn out to have happened.
                        Err(error) => assert_eq!(
                            (first.kind(), error.kind()),
                            (ErrorKind::Unknown, ErrorKind::AlreadyExists),
                            "call {call}, {fault:?}: {first}; {error}"
                        ),
                    }
                }
                if session.replicate(sandbox.version("1.0.0")).await.is_err() {
                    session.replicate(sandbox.version("1.0.0")).await.unwrap();
                }
                assert!(deployed(&sandbox, "1.0.0", "eastus").await == bytes, "call {call}, {fault:?}");
                assert!(deployed(&sandbox, "1.0.0", "westeurope").await == bytes, "call {call}, {fault:?}");
            });
        }
    }
}

#[test]
fn a_replication_does_not_complete_another_version_of_the_same_number() {
    block_on(async {
        // Each call yields, so that the work stops where its news is read.
        let sandbox = on(YieldingStore::new(MemoryStore::new())).build().await.unwrap();
        let session = sandbox.session();
        let id = sandbox.version("1.0.0");
        session.publish(sandbox.new_version("1.0.0", "westeurope,eastus", raw(disk(40, 1)))).await.unwrap();
        let mut replication = session.replicate(&id);
        // Some of it is moved, then the version is another one.
        for _ in 0..2 {
            replication.statuses().next().await.unwrap();
        }
        session.delete(&id).await.unwrap();
        let other = disk(1, 2);
        session.publish(sandbox.new_version("1.0.0", "westeurope,eastus", raw(other.clone()))).await.unwrap();
        assert!(replication.await.is_err());
        assert!(session.refresh().await.unwrap().latest(sandbox.image(), "eastus").is_err());
        session.replicate(&id).await.unwrap();
        assert!(deployed(&sandbox, "1.0.0", "eastus").await == other);
    });
}

#[test]
fn a_pack_that_arrived_whole_is_not_sent_again() {
    block_on(async {
        let sandbox = sandbox().await;
        let (session, faults) = (sandbox.session(), sandbox.catalog_faults());
        let bytes = disk(80, 5);
        session.publish(sandbox.new_version("1.0.0", "westeurope,eastus=2", raw(bytes.clone()))).await.unwrap();
        faults.forget_record();
        // Dropped after the first packs have arrived, as if the process had been killed.
        let mut replication = session.replicate(sandbox.version("1.0.0"));
        for _ in 0..2 {
            replication.statuses().next().await.unwrap();
        }
        drop(replication);
        session.replicate(sandbox.version("1.0.0")).await.unwrap();
        let mut sent: BTreeMap<String, usize> = BTreeMap::new();
        for call in faults.record().into_iter().filter(|call| matches!(call.operation, "put" | "put_parts" | "copy")) {
            if let Some(key) = call.key.filter(|key| key.as_str().contains("/packs/")) {
                *sent.entry(key.to_string()).or_default() += 1;
            }
        }
        assert!(sent.len() >= 4, "{sent:?}");
        // A pack in flight when it was dropped may be sent twice; one that had arrived may not.
        assert!(sent.values().filter(|count| **count > 1).count() <= 3, "{sent:?}");
        assert!(deployed(&sandbox, "1.0.0", "eastus").await == bytes);
    });
}

#[test]
fn an_import_that_was_interrupted_goes_on_where_it_was() {
    block_on(async {
        let (store, packs) = (MemoryStore::new(), Arc::new(AtomicUsize::new(0)));
        let hanging = HookedStore::new(store.clone(), {
            let packs = packs.clone();
            move |call| {
                let is_pack =
                    call.operation == "put_parts" && call.key.is_some_and(|key| key.as_str().contains("/packs/"));
                let hangs = is_pack && packs.fetch_add(1, Ordering::SeqCst) > 1;
                async move { if hangs { std::future::pending().await } else { Reaction::Pass } }
            }
        });
        let sandbox = on(hanging).build().await.unwrap();
        let bytes = disk(150, 5);
        let new = sandbox.new_version("1.0.0", "westeurope", raw(bytes.clone()));
        let mut publishing = sandbox.session().publish(new);
        // The third pack never arrives, and the process is gone.
        std::future::poll_fn(|context| {
            assert!(publishing.poll_unpin(context).is_pending(), "it did not hang");
            if packs.load(Ordering::SeqCst) > 2 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        drop(publishing);
        let sandbox = sandbox.reopen().catalog_store(store.clone()).one_store(store).build().await.unwrap();
        assert_eq!(all_versions(&sandbox).await.len(), 0);
        let new = sandbox.new_version("1.0.0", "westeurope", raw(bytes.clone()));
        let again = sandbox.session().publish(new).await.unwrap();
        assert!(again.import.sent_bytes > 0, "{:?}", again.import);
        assert!(again.import.sent_bytes < again.content.stored_bytes, "{:?}", again.import);
        assert!(deployed(&sandbox, "1.0.0", "westeurope").await == bytes);
    });
}

#[test]
fn bad_requests_say_what_and_where_and_leave_nothing() {
    block_on(async {
        let store = MemoryStore::new();
        let sandbox = on(store.clone()).empty().build().await.unwrap();
        let session = sandbox.session();
        let publish = |regions: &str, source| session.publish(sandbox.new_version("1.0.0", regions, source));
        let orphan = publish("westeurope", raw(disk(1, 1))).await.unwrap_err();
        assert_eq!((orphan.kind(), orphan.code()), (ErrorKind::NotFound, "ParentResourceNotFound"));
        let sandbox = on(store.clone()).seed(1).build().await.unwrap();
        let odd = publish("westeurope", DiskSource::bytes(vec![1; 1000], DiskFormat::Raw)).await.unwrap_err();
        assert_eq!(odd.kind(), ErrorKind::Invalid);
        assert!(odd.to_string().contains("`1000` bytes"), "{odd}");
        let elsewhere = publish("eastus", raw(disk(1, 1))).await.unwrap_err();
        assert!(elsewhere.to_string().contains("must contain the location"), "{elsewhere}");
        let absent = publish("westeurope", DiskSource::path("/no/such/disk.raw", DiskFormat::Raw)).await.unwrap_err();
        assert_eq!((absent.kind(), absent.target()), (ErrorKind::NotFound, "/no/such/disk.raw"));
        let not_vhd = publish("westeurope", DiskSource::bytes(vec![1; 4096], DiskFormat::Vhd)).await.unwrap_err();
        assert_eq!(not_vhd.kind(), ErrorKind::Corrupt);
        let packs = store.list_all(Some(&"regions".parse().unwrap())).await.unwrap();
        assert!(packs.is_empty(), "{packs:?}");
        assert!(all_versions(&sandbox).await.is_empty());
    });
}

#[test]
fn a_region_without_a_store_is_refused_before_a_byte_moves() {
    block_on(async {
        let sandbox = Sandbox::builder().regions(["westeurope"]).build().await.unwrap();
        let (session, store) = (sandbox.session(), sandbox.store("westeurope"));
        let error =
            session.publish(sandbox.new_version("1.0.0", "westeurope,eastus", raw(disk(1, 1)))).await.unwrap_err();
        assert!(error.to_string().contains("region `eastus` has no store"), "{error}");
        assert!(store.inner().list_all(None).await.unwrap().is_empty());
    });
}

#[test]
fn a_store_that_is_full_keeps_what_it_has_for_the_next_attempt() {
    block_on(async {
        let sandbox = threaded(Sandbox::builder()).build().await.unwrap();
        let (session, faults) = (sandbox.session(), sandbox.faults("westeurope"));
        let packs = sandbox.store("westeurope").inner().clone();
        faults.fail_call(9, Fault::Before(StoreErrorKind::Full));
        let error = session.publish(sandbox.new_version("1.0.0", "westeurope", raw(disk(120, 1)))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
        let slots = "slots".parse().unwrap();
        let left: u64 = packs.list_all(Some(&slots)).await.unwrap().iter().map(|blob| blob.size).sum();
        assert!(left > 0 && all_versions(&sandbox).await.is_empty());
        faults.heal();
        let published = session.publish(sandbox.new_version("1.0.0", "westeurope", raw(disk(120, 1)))).await.unwrap();
        let all: u64 =
            packs.list_all(Some(&"slots/0/packs".parse().unwrap())).await.unwrap().iter().map(|blob| blob.size).sum();
        assert_eq!(published.import.sent_bytes + left, all);
    });
}

/// A disk with a bad sector at `bad_at`.
struct BadSector {
    disk: Cursor<Vec<u8>>,
    bad_at: u64,
}

impl Read for BadSector {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let start = self.disk.position();
        if (start..start + buffer.len() as u64).contains(&self.bad_at) {
            return Err(std::io::Error::other("bad sector"));
        }
        self.disk.read(buffer)
    }
}

impl Seek for BadSector {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.disk.seek(to)
    }
}

#[test]
fn a_disk_that_cannot_be_read_to_its_end_is_taken_up_when_it_can() {
    block_on(async {
        let store = MemoryStore::new();
        let sandbox = on(store.clone()).build().await.unwrap();
        let session = sandbox.session();
        let bad = BadSector { disk: Cursor::new(disk(120, 1)), bad_at: 100 * MIB as u64 };
        let source = DiskSource::reader(bad, DiskFormat::Raw);
        let error = session.publish(sandbox.new_version("1.0.0", "westeurope", source)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(format!("{error:#}").contains("bad sector"), "{error}");
        assert!(all_versions(&sandbox).await.is_empty());
        let packs = || async { store.list_all(Some(&"regions".parse().unwrap())).await.unwrap().len() };
        let before = packs().await;
        session.publish(sandbox.new_version("1.0.0", "westeurope", raw(disk(120, 1)))).await.unwrap();
        assert!(deployed(&sandbox, "1.0.0", "westeurope").await == disk(120, 1));
        assert!(before > 0 && packs().await > before);
        let directory = tempfile::tempdir().unwrap();
        let source = DiskSource::path(directory.path(), DiskFormat::Raw);
        let error = session.publish(sandbox.new_version("1.0.1", "westeurope", source)).await.unwrap_err();
        assert_eq!((error.kind(), error.target()), (ErrorKind::Invalid, text(directory.path())), "{error}");
    });
}

#[test]
fn a_store_that_vanishes_in_the_middle_is_named_and_the_work_goes_on_when_it_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name);
    let bytes = disk(150, 3);
    block_on(async {
        let files_in = |name: &str| FsStore::open_or_create(place(name)).unwrap();
        let settings = threaded(Sandbox::builder()).catalog_store(files_in("catalog"));
        let settings = ["westeurope", "eastus"].into_iter().fold(settings, |all, name| all.store(name, files_in(name)));
        let settings = settings.service(|builder| builder.retries(RetryPolicy::none()));
        let sandbox = settings.build().await.unwrap();
        let session = sandbox.session();

        // The disk under the store is unmounted while packs arrive.
        let (from, to) = (place("westeurope"), place("unmounted"));
        let publishing =
            session.publish(sandbox.new_version("1.0.0", "westeurope,eastus", raw(bytes.clone()))).on_progress({
                let (from, to) = (from.clone(), to.clone());
                move |progress| {
                    if progress.done > 90 * MIB as u64 {
                        let _ = std::fs::rename(&from, &to);
                    }
                }
            });
        let error = publishing.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("region westeurope slot 0"), "{error}");
        assert!(all_versions(&sandbox).await.is_empty());
        std::fs::rename(to, from).unwrap();
        session.publish(sandbox.new_version("1.0.0", "westeurope,eastus", raw(bytes.clone()))).await.unwrap();

        std::fs::rename(place("eastus"), place("unmounted")).unwrap();
        let error = session.replicate(sandbox.version("1.0.0")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("`region eastus`"), "{error}");
        assert!(deployed(&sandbox, "1.0.0", "westeurope").await == bytes);
        std::fs::rename(place("unmounted"), place("eastus")).unwrap();
        session.replicate(sandbox.version("1.0.0")).await.unwrap();
        assert!(deployed(&sandbox, "1.0.0", "eastus").await == bytes);
    });
}

#[test]
fn a_damaged_pack_is_found_and_named_and_no_file_is_left() {
    let directory = tempfile::tempdir().unwrap();
    block_on(async {
        let sandbox = on(FsStore::create(directory.path().join("store")).unwrap()).build().await.unwrap();
        let session = sandbox.session();
        session.publish(sandbox.new_version("1.0.0", "westeurope", raw(disk(4, 9)))).await.unwrap();
        let packs = directory.path().join("store/regions/westeurope/slots/0/packs");
        let upload = std::fs::read_dir(packs).unwrap().next().unwrap().unwrap().path();
        let pack = upload.join("0000000000");
        let mut bytes = std::fs::read(&pack).unwrap();
        bytes[100_000] ^= 1;
        std::fs::write(&pack, bytes).unwrap();
        let out = directory.path().join("out.raw");
        let error = session.deploy(sandbox.version("1.0.0"), "westeurope").to_path(&out).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("region westeurope slot 0"), "{error}");
        let left: Vec<_> =
            std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["store"]);
    });
}

fn qemu_img(arguments: &[&str]) -> String {
    let output =
        Command::new("qemu-img").args(arguments).output().expect("qemu-img (package qemu-utils) must be installed");
    assert!(output.status.success(), "qemu-img {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn qemu_agrees_with_our_vhds_and_we_with_its() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    block_on(async {
        let sandbox = on(FsStore::create(at("store")).unwrap()).build().await.unwrap();
        let session = sandbox.session();
        std::fs::write(at("disk.raw"), disk(9, 13)).unwrap();
        let (raw, ours, theirs) = (at("disk.raw"), at("ours.vhd"), at("theirs.vhd"));
        session
            .publish(sandbox.new_version("1.0.0", "westeurope", DiskSource::path(&raw, DiskFormat::Raw)))
            .await
            .unwrap();
        let deployment = session.deploy(sandbox.version("1.0.0"), "westeurope");
        deployment.format(DiskFormat::Vhd).to_path(&ours).await.unwrap();
        assert!(qemu_img(&["info", "-f", "vpc", text(&ours)]).contains("virtual size: 9 MiB"));
        qemu_img(&["compare", "-f", "raw", "-F", "vpc", text(&raw), text(&ours)]);
        qemu_img(&[
            "convert",
            "-f",
            "raw",
            "-O",
            "vpc",
            "-o",
            "subformat=fixed,force_size=on",
            text(&raw),
            text(&theirs),
        ]);
        let (ours, theirs) = (std::fs::read(ours).unwrap(), std::fs::read(theirs).unwrap());
        assert_eq!(ours.len(), theirs.len());
        let differ: Vec<usize> = (0..ours.len()).filter(|at| ours[*at] != theirs[*at]).map(|at| at - 9 * MIB).collect();
        // Time stamp, creator application, checksum, UUID.
        let allowed = |at: &usize| (24..32).contains(at) || (64..84).contains(at);
        assert!(differ.iter().all(allowed), "{differ:?}");

        for (number, options) in
            [("1.0.1", "subformat=dynamic,force_size=on"), ("1.0.2", "subformat=fixed,force_size=on")]
        {
            let vhd = at("qemu.vhd");
            qemu_img(&["convert", "-f", "raw", "-O", "vpc", "-o", options, text(&raw), text(&vhd)]);
            let published = session
                .publish(sandbox.new_version(number, "westeurope", DiskSource::path(&vhd, DiskFormat::Vhd)))
                .await
                .unwrap();
            assert_eq!(
                published.content.os_disk_digest,
                ImageDigest::of(DiskSource::path(&raw, DiskFormat::Raw)).unwrap()
            );
            assert_eq!(published.import.new_chunks, 0);
        }
    });
}

#[test]
fn checkpoints_and_the_log_alone_give_the_same_state() {
    block_on(async {
        let store = MemoryStore::new();
        let settings =
            on(store.clone()).empty().service(|builder| builder.limits(Limits::default().with_galleries(1000)));
        let sandbox = settings.build().await.unwrap();
        let session = sandbox.session();
        for number in 0..150 {
            let id = format!("/subscriptions/dev/resourceGroups/a/providers/Microsoft.Compute/galleries/g{number}");
            session.create_gallery(Gallery::new(id.parse().unwrap(), region("westeurope"))).await.unwrap();
        }
        let mut checkpoints = Vec::new();
        while checkpoints.len() < 2 {
            // They are written beside later calls.
            session.refresh().await.unwrap();
            checkpoints = store.list_all(Some(&"catalog/checkpoints".parse().unwrap())).await.unwrap();
        }
        assert_eq!(checkpoints.len(), 2);
        let expected = all_galleries(&sandbox).await;
        for damage in checkpoints {
            let fresh = sandbox.reopen().build().await.unwrap();
            assert_eq!(all_galleries(&fresh).await, expected);
            store::BlobStore::put(&store, &damage.key, b"damaged"[..].into(), store::PutMode::Overwrite).await.unwrap();
        }
        let fresh = sandbox.reopen().build().await.unwrap();
        assert_eq!(all_galleries(&fresh).await, expected);
    });
}
