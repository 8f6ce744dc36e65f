//! Passing failures cost little: a store that fails once, throttles, or never answers.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use std::io::{Cursor, Read, Seek, SeekFrom};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use compute_gallery::content::Compression;
use compute_gallery::disk::{DiskFormat, DiskSource};
use compute_gallery::host::{Clock, Deadlines, Workers};
use compute_gallery::model::*;
use compute_gallery::store::*;
use compute_gallery::testkit::{
    Fault, Faults, FaultyStore, ManualClock, Sandbox, SandboxBuilder, SeededEntropy, YieldingStore, raw, region,
};
use compute_gallery::*;
use futures::FutureExt;
use futures::executor::block_on;

/// A second gallery.
fn gallery(sandbox: &Sandbox, name: &str) -> Gallery {
    let id = sandbox.image().gallery().to_string().replace("/galleries/g", &format!("/galleries/{name}"));
    Gallery::new(id.parse().unwrap(), region("westeurope"))
}

/// Two packs of chunks.
static DISK: LazyLock<Vec<u8>> = LazyLock::new(|| {
    (0..20 << 4).flat_map(|chunk: u32| (0x0101_0101 | chunk << 8).to_le_bytes().repeat(16 << 10)).collect()
});

fn disk() -> &'static [u8] {
    &DISK
}

fn start() -> ManualClock {
    ManualClock::new("2026-01-02T03:04:05Z".parse().unwrap())
}

fn jumping() -> ManualClock {
    ManualClock::auto_advancing("2026-01-02T03:04:05Z".parse().unwrap())
}

/// One store for everything, so that every call of an operation has its number; not compressed, so that there are several packs.
fn settings(retries: RetryPolicy) -> SandboxBuilder {
    let sandbox = Sandbox::builder().regions(["westeurope"]).one_store(MemoryStore::new());
    sandbox.service(move |builder| builder.compression(Compression::None).retries(retries))
}

async fn sandbox(retries: RetryPolicy) -> Sandbox {
    settings(retries).build().await.unwrap()
}

async fn publish(sandbox: &Sandbox, number: &str) -> Result<Published<ImageVersion>> {
    sandbox.session().publish(sandbox.new_version(number, "westeurope", raw(disk()))).await
}

fn key() -> BlobKey {
    "a/b".parse().unwrap()
}

fn goes_on<F: Future + Unpin>(work: &mut F) -> Option<F::Output> {
    (0..10_000).find_map(|_| work.now_or_never())
}

/// No call had a time in which it had to end: a connection that had died held the right to commit for ever.
#[test]
fn a_hung_store_call_ends() {
    let (clock, faulty) = (start(), FaultyStore::new(MemoryStore::new()));
    faulty.faults().fail_from(0, Fault::Hang);
    let store = WithDeadline::new(faulty, Deadlines::default(), Arc::new(clock.clone()));
    let (at, mebibytes) = (key(), Bytes::from(vec![0; 16 << 20]));
    let seconds = Duration::from_secs;
    use StoreErrorKind::{Unavailable, Unknown};
    let ends = |time: Duration, kind: StoreErrorKind, mut call: futures::future::BoxFuture<'_, StoreResult<()>>| {
        assert!((&mut call).now_or_never().is_none());
        clock.advance(time - seconds(1));
        assert!((&mut call).now_or_never().is_none());
        clock.advance(seconds(1));
        let error = call.now_or_never().expect("it ends").unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(format!("{error:#}").contains("no answer within"), "{error}");
    };
    ends(seconds(60), Unknown, store.put(&at, Bytes::new(), PutMode::Create));
    ends(seconds(60 + 32), Unknown, store.put(&at, mebibytes, PutMode::Create));
    ends(seconds(60 + 128), Unknown, store.copy(&at, &at, PutMode::Create));
    ends(seconds(60), Unknown, store.delete(&at));
    ends(seconds(60 + 128), Unavailable, store.get(&at, None).map(|got| got.map(drop)).boxed());
    ends(seconds(60 + 2), Unavailable, store.get(&at, Some(0..9)).map(|got| got.map(drop)).boxed());
    ends(seconds(60), Unavailable, store.head(&at).map(|got| got.map(drop)).boxed());
    ends(seconds(60), Unavailable, store.list(None, None, 1).map(|got| got.map(drop)).boxed());
    ends(seconds(60), Unavailable, store.persist(&at));
    let version = BlobVersion::new("1");
    let parts = [Bytes::from(vec![0; 8 << 20]), Bytes::from(vec![0; 8 << 20])];
    ends(seconds(60 + 32), Unknown, store.put_parts(&at, &parts, PutMode::Create));
    ends(seconds(60 + 2), Unknown, store.replace_if(&at, Bytes::from_static(b"x"), &version));
    ends(seconds(60), Unknown, store.delete_if(&at, &version));
    ends(seconds(60 + 128), Unknown, store.copy_from(&store, &at, &at, PutMode::Create));
    ends(seconds(60), Unavailable, store.list_folders(None, None, 1).map(|got| got.map(drop)).boxed());
    ends(seconds(60), Unavailable, store.list_all(None).map(|got| got.map(drop)).boxed());
    ends(seconds(60 + 2), Unavailable, store.get_ranges(&at, &[0..9, 20..30]).map(|got| got.map(drop)).boxed());
    // As many rounds as requests are made one after the other.
    let keys = vec![at.clone(); 33];
    let first = |mut answers: Vec<StoreResult<()>>| match answers.len() {
        33 => answers.swap_remove(32),
        other => panic!("{other} answers for 33 keys"),
    };
    ends(seconds(3 * 60), Unknown, store.delete_many(&keys).map(first).boxed());
}

/// Whose the regions' stores are was asked without a deadline before a catalog was created: one that hung stopped that for ever.
#[test]
fn a_call_that_hangs_stops_the_creation_of_a_catalog_no_longer_than_its_deadline() {
    for of_region in [true, false] {
        for skipped in 0.. {
            let (clock, common) = (start(), FaultyStore::new(MemoryStore::new()));
            let region = FaultyStore::new(MemoryStore::new());
            let faults = if of_region { region.faults() } else { common.faults() };
            faults.fail_call(skipped, Fault::Hang);
            let builder = GalleryService::builder().allow_all().store(common).region_store("westeurope", region);
            let builder = builder.clock(clock.clone()).retries(RetryPolicy::none()).workers(Workers::inline());
            let mut opening = builder.open_or_create().boxed();
            let ended = (0..10).find_map(|_| {
                clock.advance(Duration::from_secs(60));
                (0..100).find_map(|_| (&mut opening).now_or_never())
            });
            assert!(ended.is_some(), "call {skipped} hangs for ever, of a region: {of_region}");
            if faults.calls() <= skipped {
                break;
            }
        }
    }
}

#[test]
fn a_commit_outlives_a_call_that_hangs() {
    let clock = start();
    let sandbox = block_on(settings(RetryPolicy::none()).clock(clock.clone()).build()).unwrap();
    let (session, faults) = (sandbox.session(), sandbox.catalog_faults());
    // The put: given up, and put again.
    faults.fail_call(0, Fault::Hang);
    let mut first = session.create_gallery(gallery(&sandbox, "first"));
    let mut second = session.create_gallery(gallery(&sandbox, "second"));
    assert!(goes_on(&mut first).is_none() && goes_on(&mut second).is_none());
    clock.advance(Duration::from_secs(70));
    goes_on(&mut second).expect("it ends").unwrap();
    goes_on(&mut first).expect("it ends").unwrap();
}

#[test]
fn a_commit_on_a_store_that_never_answers_is_unknown() {
    let clock = start();
    let deadlines = Deadlines::none().with_commit(Duration::from_secs(300));
    let settings = settings(RetryPolicy::default()).service(move |builder| builder.deadlines(deadlines));
    let sandbox = block_on(settings.clock(clock.clone()).build()).unwrap();
    let (session, faults) = (sandbox.session(), sandbox.catalog_faults());
    faults.fail_from(0, Fault::Hang);
    let mut first = session.create_gallery(gallery(&sandbox, "first"));
    let mut second = session.create_gallery(gallery(&sandbox, "second"));
    assert!(goes_on(&mut first).is_none() && goes_on(&mut second).is_none());
    clock.advance(Duration::from_secs(301));
    // The first was sent. The second waited for its answer: nothing of it was ever put.
    for (work, kind) in [(first, ErrorKind::Unknown), (second, ErrorKind::Unavailable)] {
        let error = work.now_or_never().expect("it ends").unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(format!("{error:#}").contains("300 s"), "{error}");
    }
    // Nothing of it is in the way of what comes later.
    faults.heal();
    block_on(session.create_gallery(gallery(&sandbox, "third"))).unwrap();
}

/// All zones were waited for, so one that hung stopped every zone-redundant publish, where one that failed was left out.
#[test]
fn a_zone_that_hangs_stops_no_publish() {
    for hung in 0..3 {
        let clock = start();
        let settings = settings(RetryPolicy::default()).zones("westeurope").seed(hung as u64);
        let sandbox = block_on(settings.clock(clock.clone()).build()).unwrap();
        let faults = sandbox.zones("westeurope").get(hung).unwrap().faults();
        faults.fail_from(0, Fault::Hang);
        let account = StorageAccountType::StandardZrs;
        let profile = PublishingProfile::new("westeurope".parse().unwrap()).with_storage_account_type(account);
        let new = NewImageVersion::new(sandbox.version("1.0.0"), region("westeurope"), profile, raw(disk()));
        let mut publishing = sandbox.session().publish(new);
        assert!(goes_on(&mut publishing).is_none());
        clock.advance(Duration::from_secs(31));
        let published = goes_on(&mut publishing).expect("it ends without the zone").unwrap();
        assert!(published.degraded);
        // It can be deployed from those that are there; the first is asked first.
        faults.heal();
        assert!(block_on(sandbox.deployed("1.0.0", "westeurope")).unwrap() == disk());
    }
}

const TRANSIENT: [Fault; 4] = [
    Fault::Before(StoreErrorKind::Unavailable),
    Fault::Before(StoreErrorKind::Unknown),
    Fault::Before(StoreErrorKind::Throttled { after: Some(Duration::from_secs(2)) }),
    Fault::After,
];

/// One 503 threw the whole import away. Now the call is made again, and no other.
#[test]
fn a_503_costs_one_pack() {
    let puts = |faults: &Faults| {
        let record = faults.record();
        record.iter().filter(|call| call.operation.starts_with("put")).count()
    };
    let (calls, usual) = block_on(async {
        let sandbox = sandbox(RetryPolicy::default()).await;
        let faults = sandbox.catalog_faults();
        faults.forget_record();
        publish(&sandbox, "1.0.0").await.unwrap();
        (faults.record(), puts(&faults))
    });
    assert!(usual >= 5, "{calls:?}");
    let mut outlived = 0;
    for fault in TRANSIENT {
        for (skipped, call) in (0..).zip(&calls) {
            let what = format!("{fault:?} at call {skipped}: {call:?}");
            block_on(async {
                let sandbox = sandbox(RetryPolicy::default()).await;
                let faults = sandbox.catalog_faults();
                faults.forget_record();
                faults.fail_call(skipped, fault);
                let published = publish(&sandbox, "1.0.0").await;
                match published {
                    // A sync that failed is not tried again under it: the next attempt takes the import up.
                    Err(error) if call.operation == "persist" => {
                        let kind = error.kind();
                        assert!(matches!(kind, ErrorKind::Unavailable | ErrorKind::Unknown), "{what}: {error}");
                        let published = publish(&sandbox, "1.0.0").await.unwrap();
                        assert_eq!(published.import.sent_bytes, 0, "{what}");
                    }
                    published => {
                        published.unwrap_or_else(|error| panic!("{what}: {error}"));
                        assert!(puts(&faults) <= usual + 1, "{what}: {} puts", puts(&faults));
                        outlived += 1;
                    }
                }
                assert!(sandbox.deployed("1.0.0", "westeurope").await.unwrap() == disk(), "{what}");
            });
        }
    }
    assert!(outlived > 30, "{outlived}");
}

/// Without retries, packs that are stored stay for the next attempt.
#[test]
fn an_import_that_met_an_error_is_taken_up_and_not_sent_again() {
    let calls = block_on(async {
        let sandbox = sandbox(RetryPolicy::none()).await;
        sandbox.catalog_faults().forget_record();
        publish(&sandbox, "1.0.0").await.unwrap();
        sandbox.catalog_faults().record()
    });
    let is_pack = |call: &compute_gallery::testkit::Call| {
        call.operation == "put_parts" && call.key.as_ref().is_some_and(|key| key.as_str().contains("/packs/"))
    };
    for kind in [StoreErrorKind::Unavailable, StoreErrorKind::Full, StoreErrorKind::Throttled { after: None }] {
        let mut stored = 0;
        for (skipped, call) in (0..).zip(&calls).filter(|(_, call)| is_pack(call)) {
            block_on(async {
                let sandbox = sandbox(RetryPolicy::none()).await;
                let (faults, store) = (sandbox.catalog_faults(), sandbox.store("westeurope"));
                faults.fail_from(skipped, Fault::Before(kind));
                let error = publish(&sandbox, "1.0.0").await.unwrap_err();
                if kind == (StoreErrorKind::Throttled { after: None }) {
                    assert_eq!((error.kind(), error.code()), (ErrorKind::Throttled { after: None }, "TooManyRequests"));
                }
                faults.heal();
                let packs = || async { store.inner().list_all(Some(&"slots/0/packs".parse().unwrap())).await };
                let before: u64 = packs().await.unwrap().iter().map(|blob| blob.size).sum();
                stored += before;
                let import = publish(&sandbox, "1.0.0").await.unwrap().import;
                let after: u64 = packs().await.unwrap().iter().map(|blob| blob.size).sum();
                assert_eq!(before + import.sent_bytes, after, "{kind:?} at call {skipped}: {call:?}");
                assert!(sandbox.deployed("1.0.0", "westeurope").await.unwrap() == disk());
            });
        }
        assert!(stored > 8 << 20, "{stored}");
    }
}

const SMALL: &[u8] = &[7; 10_240];

/// A disk that shrinks to nothing after some reads.
struct Shrinking(Cursor<&'static [u8]>, usize);

impl Read for Shrinking {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.1.checked_sub(1) {
            Some(left) => self.1 = left,
            None => self.0 = Cursor::new(&[]),
        }
        self.0.read(buffer)
    }
}

impl Seek for Shrinking {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.0.seek(to)
    }
}

/// A publisher that took up an import that another was at work on, and met an error, gave it up for both, packs and all.
#[test]
fn a_503_of_b_never_kills_the_import_of_a() {
    for mishap in ["away", "refused", "shrinks"] {
        for steps in 0.. {
            let memory = MemoryStore::new();
            let a = settings(RetryPolicy::none()).one_store(YieldingStore::new(memory.clone()));
            let a = block_on(a.build()).unwrap();
            let mut first = a.session().publish(a.new_version("1.0.0", "westeurope", raw(SMALL)));
            if (0..steps).any(|_| (&mut first).now_or_never().is_some()) {
                assert!(steps > 20, "{steps}");
                break;
            }
            let b = a.reopen().clock(jumping()).catalog_store(memory.clone()).one_store(memory.clone());
            let b = block_on(b.build()).unwrap();
            let faults = b.faults("westeurope");
            // Its store fails or refuses it after its first call; or its disk shrinks, which is
            // final: it gives up an import that is its own.
            let mut of_b = raw(SMALL);
            match mishap {
                "away" => faults.fail_from(1, Fault::Before(StoreErrorKind::Unavailable)),
                "refused" => faults.fail_from(1, Fault::Before(StoreErrorKind::PermissionDenied)),
                _ => of_b = DiskSource::reader(Shrinking(Cursor::new(SMALL), 2), DiskFormat::Raw),
            }
            let of_b = b.new_version("1.0.0", "westeurope", of_b);
            block_on(b.session().publish(of_b)).unwrap_err();
            let published = block_on(first).unwrap_or_else(|error| panic!("A after {steps} steps: {error}"));
            assert_eq!(*published.resource.id(), a.version("1.0.0"));
            assert!(block_on(a.deployed("1.0.0", "westeurope")).unwrap() == SMALL, "after {steps} steps");
        }
    }
}

#[test]
fn a_retry_never_turns_its_own_success_into_exists_nor_anothers_into_its_own() {
    block_on(async {
        let (clock, memory) = (jumping(), MemoryStore::new());
        let faulty = FaultyStore::new(memory.clone());
        let faults = faulty.faults();
        let entropy = Arc::new(SeededEntropy::new(1));
        let store = Retrying::new(faulty, RetryPolicy::default(), Arc::new(clock.clone()), entropy);
        let (at, own, other) = (key(), Bytes::from_static(b"own"), Bytes::from_static(b"other"));

        // It happened, its answer was lost, and the second attempt finds it.
        faults.fail_call(0, Fault::After);
        let error = store.put(&at, own.clone(), PutMode::Create).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unknown, "{error}");
        assert!(format!("{error:#}").contains("asked 2 times") && format!("{error:#}").contains("exists"), "{error}");
        assert_eq!(store.get(&at, None).await.unwrap(), own);

        // It did not happen, and another put came before the second attempt: not its own, and not reported as such.
        memory.put(&at, other.clone(), PutMode::Overwrite).await.unwrap();
        faults.fail_call(0, Fault::Before(StoreErrorKind::Unknown));
        let error = store.put(&at, own.clone(), PutMode::Create).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unknown, "{error}");
        assert_eq!(memory.get(&at, None).await.unwrap(), other);

        // Nothing happened: then it is another's for certain.
        faults.fail_call(0, Fault::Before(StoreErrorKind::Unavailable));
        let error = store.put(&at, own.clone(), PutMode::Create).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::AlreadyExists, "{error}");

        // A put that may have happened stays unknown, whatever comes later.
        memory.delete(&at).await.unwrap();
        faults.fail_call(0, Fault::Before(StoreErrorKind::Unknown));
        faults.fail_call(1, Fault::Before(StoreErrorKind::Full));
        let error = store.put(&at, own.clone(), PutMode::Create).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unknown, "{error}");
        faults.fail_call(0, Fault::Before(StoreErrorKind::Unknown));
        store.put(&at, own.clone(), PutMode::Create).await.unwrap();

        // A sync that failed is not made again.
        faults.fail_call(0, Fault::Before(StoreErrorKind::Unavailable));
        assert_eq!(store.persist(&at).await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    });
}

fn retrying(inner: FaultyStore<MemoryStore>) -> Retrying<FaultyStore<MemoryStore>> {
    Retrying::new(inner, RetryPolicy::default(), Arc::new(jumping()), Arc::new(SeededEntropy::new(1)))
}

#[test]
fn a_conditional_change_whose_answer_was_lost_is_unknown_and_not_anothers() {
    block_on(async {
        let memory = MemoryStore::new();
        let faulty = FaultyStore::new(memory.clone());
        let (faults, store, at) = (faulty.faults(), retrying(faulty), key());
        let version = || async { memory.head(&at).await.unwrap().version.unwrap() };
        memory.put(&at, Bytes::from_static(b"0"), PutMode::Create).await.unwrap();

        // It was replaced, the answer was lost, and the second attempt finds the new version.
        let first = version().await;
        faults.fail_call(0, Fault::After);
        let error = store.replace_if(&at, Bytes::from_static(b"1"), &first).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unknown, "{error}");
        assert!(format!("{error:#}").contains("asked 2 times") && format!("{error:#}").contains("another version"));
        assert_eq!(memory.get(&at, None).await.unwrap(), "1");

        // Nothing happened for certain: then the version is another's.
        faults.fail_call(0, Fault::Before(StoreErrorKind::Unavailable));
        let error = store.replace_if(&at, Bytes::from_static(b"2"), &first).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Changed, "{error}");
        assert!(store.delete_if(&at, &first).await.is_err_and(|error| error.kind() == StoreErrorKind::Changed));

        // It did not happen, and another replaced it before the second attempt.
        let second = version().await;
        faults.fail_call(0, Fault::Before(StoreErrorKind::Unknown));
        store.replace_if(&at, Bytes::from_static(b"3"), &second).await.unwrap();
        faults.fail_call(0, Fault::Before(StoreErrorKind::Unknown));
        let error = store.delete_if(&at, &second).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unknown, "{error}");
        assert_eq!(memory.get(&at, None).await.unwrap(), "3");

        // A deletion that happened is done, whoever did it.
        let third = version().await;
        faults.fail_call(0, Fault::After);
        store.delete_if(&at, &third).await.unwrap();
        assert!(memory.head(&at).await.is_err());
    });
}

#[test]
fn of_many_deletions_only_those_that_failed_are_made_again() {
    block_on(async {
        let memory = MemoryStore::new();
        let faulty = FaultyStore::new(memory.clone());
        let (faults, store) = (faulty.faults(), retrying(faulty));
        let keys: Vec<BlobKey> = (0..5).map(|number| format!("a/{number}").parse().unwrap()).collect();
        for key in &keys {
            memory.put(key, Bytes::new(), PutMode::Create).await.unwrap();
        }
        faults.fail_call(1, Fault::Before(StoreErrorKind::Unavailable));
        faults.fail_call(2, Fault::Before(StoreErrorKind::PermissionDenied));
        faults.fail_call(3, Fault::After);
        let kinds: Vec<_> =
            store.delete_many(&keys).await.into_iter().map(|answer| answer.map_err(|error| error.kind())).collect();
        assert_eq!(kinds, [Ok(()), Ok(()), Err(StoreErrorKind::PermissionDenied), Ok(()), Ok(())]);
        let asked: Vec<BlobKey> = faults.record().into_iter().filter_map(|call| call.key).collect();
        assert_eq!(asked, ["a/0", "a/1", "a/2", "a/3", "a/4", "a/1", "a/3"].map(|key| key.parse().unwrap()));

        // One that may have happened stays unknown, whatever comes later; the others have their own answers.
        faults.fail_call(0, Fault::Before(StoreErrorKind::Unknown));
        faults.fail_call(2, Fault::Before(StoreErrorKind::PermissionDenied));
        let answers = store.delete_many(&keys[2..4]).await;
        assert!(answers[0].as_ref().is_err_and(|error| error.kind() == StoreErrorKind::Unknown), "{answers:?}");
        assert!(answers[1].is_ok());
        assert!(store.delete_many(&[]).await.is_empty());
    });
}

#[test]
fn a_listing_goes_on_after_the_page_that_failed() {
    block_on(async {
        let memory = MemoryStore::new();
        let faulty = FaultyStore::new(memory.clone());
        let (faults, store) = (faulty.faults(), retrying(faulty));
        let keys: Vec<BlobKey> = (0..2_500).map(|number| format!("a/{number:04}").parse().unwrap()).collect();
        for key in &keys {
            memory.put(key, Bytes::new(), PutMode::Create).await.unwrap();
        }
        for fault in TRANSIENT {
            faults.fail_call(1, fault);
            faults.forget_record();
            let listed = store.list_all(Some(&"a".parse().unwrap())).await.unwrap();
            assert!(listed.iter().map(|meta| &meta.key).eq(&keys), "{fault:?}");
            assert!(faults.record().len() <= 6, "{fault:?}: {:?}", faults.record());
        }
        faults.fail_from(1, Fault::Before(StoreErrorKind::PermissionDenied));
        let error = store.list_all(None).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::PermissionDenied, "half a listing is none");
    });
}

#[test]
fn the_pauses_between_attempts_are_spread_from_nothing_to_their_bound() {
    block_on(async {
        let (clock, faulty) = (jumping(), FaultyStore::new(MemoryStore::new()));
        let faults = faulty.faults();
        let pause = Duration::from_secs(8);
        let policy = RetryPolicy::default().with_pauses(pause, pause);
        let store = Retrying::new(faulty, policy, Arc::new(clock.clone()), Arc::new(SeededEntropy::new(3)));
        let mut pauses: Vec<f64> = Vec::new();
        for _ in 0..400 {
            faults.fail_call(0, Fault::Before(StoreErrorKind::Unavailable));
            let before = clock.now();
            store.delete(&key()).await.unwrap();
            pauses.push(clock.now().signed_duration_since(before).as_seconds_f64());
        }
        assert!(pauses.iter().all(|pause| (0.0..=8.0).contains(pause)));
        for quarter in 0..4 {
            let from = f64::from(quarter) * 2.0;
            let share = pauses.iter().filter(|pause| (from..from + 2.0).contains(*pause)).count();
            assert!((70..=130).contains(&share), "{share} of 400 in quarter {quarter}");
        }
    });
}

#[test]
fn a_store_that_wants_to_be_left_alone_is_left_alone() {
    block_on(async {
        let (clock, faulty) = (jumping(), FaultyStore::new(MemoryStore::new()));
        let faults = faulty.faults();
        let entropy = Arc::new(SeededEntropy::new(1));
        let store = Retrying::new(faulty, RetryPolicy::default(), Arc::new(clock.clone()), entropy);
        let throttled =
            |seconds| Fault::Before(StoreErrorKind::Throttled { after: Some(Duration::from_secs(seconds)) });
        faults.fail_call(0, throttled(7));
        faults.fail_call(1, throttled(8));
        let before = clock.now();
        store.put(&key(), Bytes::new(), PutMode::Create).await.unwrap();
        let waited = clock.now().signed_duration_since(before).as_seconds_f64();
        assert!((15.0..15.5).contains(&waited), "{waited}");

        // Longer than the budget: the error comes at once.
        faults.fail_call(0, throttled(60));
        let (before, calls) = (clock.now(), faults.calls());
        let error = store.head(&key()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Throttled { after: Some(Duration::from_secs(60)) });
        assert_eq!((clock.now(), faults.calls()), (before, calls + 1));
    });
}

#[test]
fn a_store_that_is_away_is_waited_for_once() {
    block_on(async {
        let (clock, faulty) = (jumping(), FaultyStore::new(MemoryStore::new()));
        let faults = faulty.faults();
        let entropy = Arc::new(SeededEntropy::new(1));
        let store = Retrying::new(faulty, RetryPolicy::default(), Arc::new(clock.clone()), entropy);
        store.put(&key(), Bytes::new(), PutMode::Create).await.unwrap();
        faults.fail_from(0, Fault::Before(StoreErrorKind::Unavailable));
        let before = clock.now();
        let error = store.head(&key()).await.unwrap_err();
        let waited = clock.now().signed_duration_since(before).as_seconds_f64();
        assert!((20.0..=30.0).contains(&waited) && format!("{error:#}").contains("asked"), "{waited} s: {error}");
        // From here on others can serve without delay.
        let (before, calls) = (clock.now(), faults.calls());
        for _ in 0..10 {
            store.head(&key()).await.unwrap_err();
        }
        assert_eq!((clock.now(), faults.calls()), (before, calls + 10));
        // It is back, and then fails once.
        faults.heal();
        store.head(&key()).await.unwrap();
        faults.fail_call(0, Fault::Before(StoreErrorKind::Unavailable));
        store.head(&key()).await.unwrap();
    });
}

/// An answer rested on another process's put that was visible and not yet durable.
#[test]
fn an_answer_rests_on_what_survives_a_power_cut() {
    block_on(async {
        let memory = MemoryStore::new();
        let one = settings(RetryPolicy::none()).one_store(memory.clone()).build().await.unwrap();
        let other =
            one.reopen().clock(jumping()).catalog_store(memory.clone()).one_store(memory).build().await.unwrap();
        let (a, b, faults) = (one.session(), other.session(), other.catalog_faults());
        let gallery = |name| gallery(&one, name);
        let syncs = || faults.record().iter().filter(|call| call.operation == "persist").count();
        let refused = |error: Error| assert_ne!(error.kind(), ErrorKind::Unavailable, "{error}");

        // A refusal, and "nothing to do", each rest on what was read.
        for nothing_to_do in [false, true] {
            let new = gallery(if nothing_to_do { "one" } else { "two" });
            a.create_gallery(new.clone()).await.unwrap();
            faults.forget_record();
            let acts = || async {
                match nothing_to_do {
                    true => b.update_gallery(new.clone()).await.map(drop),
                    // Elsewhere: it is not the same one.
                    false => b.create_gallery(Gallery::new(new.id().clone(), region("eastus"))).await.map(drop),
                }
            };
            // A sync that fails, after two reads, before which a new gallery is put: no answer is given that could turn out
            // wrong.
            faults.fail_call(if nothing_to_do { 2 } else { 3 }, Fault::Before(StoreErrorKind::Unavailable));
            let error = acts().await.unwrap_err();
            assert_eq!((error.kind(), syncs()), (ErrorKind::Unavailable, 1), "{error}");
            for _ in 0..2 {
                match acts().await {
                    Ok(()) => assert!(nothing_to_do),
                    Err(error) => refused(error),
                }
                assert_eq!(syncs(), 2, "once for what was read, not for each answer");
            }
        }
        // And so does a read.
        a.create_gallery(gallery("three")).await.unwrap();
        faults.forget_record();
        b.refresh().await.unwrap().gallery(gallery("three").id()).unwrap();
        b.refresh().await.unwrap();
        assert_eq!(syncs(), 1);
        // A process's own puts need none.
        b.create_gallery(gallery("four")).await.unwrap();
        b.refresh().await.unwrap();
        assert_eq!(syncs(), 1);
    });
}

/// An import could build on a deleted version, and fail when that was purged before the import's end.
#[test]
fn a_deleted_version_is_no_base() {
    block_on(async {
        let clock = start();
        let sandbox = settings(RetryPolicy::none()).clock(clock.clone()).build().await.unwrap();
        let session = sandbox.session();
        let soft = gallery(&sandbox, "g").with_soft_delete_policy(SoftDeletePolicy::enabled());
        session.update_gallery(soft).await.unwrap();
        publish(&sandbox, "1.0.0").await.unwrap();
        let deltas = publish(&sandbox, "1.0.1").await.unwrap();
        assert_eq!(deltas.import.new_chunks, 0);
        for number in ["1.0.0", "1.0.1"] {
            session.delete(sandbox.version(number)).await.unwrap();
        }
        let whole = publish(&sandbox, "1.0.2").await.unwrap();
        assert!(whole.import.new_chunks > 0);
        clock.advance(Duration::from_secs(30 * 86_400));
        session.collect().await.unwrap();
        assert!(sandbox.deployed("1.0.2", "westeurope").await.unwrap() == disk());
    });
}
