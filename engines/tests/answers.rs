//! What a service's answers mean: each test scripts the service, and looks at what the store says.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]
#![expect(clippy::disallowed_methods, reason = "the client's waits are real")]

mod fake;

use std::sync::Arc;
use std::time::{Duration, Instant};

use compute_gallery::ErrorKind;
use compute_gallery::host::{Deadlines, SystemClock, SystemEntropy};
use compute_gallery::store::{
    BlobKey, BlobStore, BlobStoreExt, Bytes, ObjectStoreBlobs, PutMode, RetryPolicy, Retrying, StoreErrorKind,
    StoreResult, WithDeadline,
};
use fake::{Fake, PROTOCOLS, Protocol, Trouble};
use futures::executor::block_on;

fn key(text: &str) -> BlobKey {
    text.parse().unwrap()
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// A fake and a bucket of each protocol.
fn each(test: impl Fn(&Fake, Protocol, ObjectStoreBlobs)) {
    for protocol in PROTOCOLS {
        let fake = Fake::new();
        let store = fake.open(protocol, "west", "p");
        test(&fake, protocol, store);
    }
}

fn kind<T: std::fmt::Debug>(result: StoreResult<T>) -> StoreErrorKind {
    result.unwrap_err().kind()
}

fn create(store: &impl BlobStore, at: &str, text: &'static str) -> StoreResult<()> {
    block_on(store.put(&key(at), bytes(text), PutMode::Create))
}

/// As the gallery does it, with less patience.
fn retrying(store: ObjectStoreBlobs) -> impl BlobStore {
    let policy = RetryPolicy::default().with_time(Duration::from_secs(5));
    let policy = policy.with_pauses(Duration::from_millis(1), Duration::from_millis(10));
    Retrying::new(store, policy, Arc::new(SystemClock), Arc::new(SystemEntropy))
}

#[test]
fn each_call_is_one_request() {
    each(|fake, protocol, store| {
        fake.script(|_| Some(Trouble::Refused(500, "InternalError")));
        let _ = create(&store, "a", "x");
        let _ = block_on(store.get(&key("a"), None));
        let _ = block_on(store.list(None, None, 10));
        let _ = block_on(store.delete(&key("a")));
        assert_eq!(fake.counted().0, 4, "{protocol:?}: the client repeats nothing by itself");
        assert_eq!(store.requests(), 4);
    });
}

#[test]
fn a_create_that_was_done_and_failed_is_unclear_and_never_another_s() {
    each(|fake, protocol, store| {
        for (at, trouble) in [
            ("a", Trouble::DoneAndFailed(500, "InternalError")),
            ("b", Trouble::DoneAndClosed),
            ("c", Trouble::DoneAndFailed(503, "")),
        ] {
            fake.once("PUT", "p/", trouble.clone());
            assert_eq!(kind(create(&store, at, "mine")), StoreErrorKind::Unknown, "{protocol:?} {trouble:?}");
        }
        // Repeated, it finds a blob, which may be its own.
        let store = retrying(store);
        fake.once("PUT", "p/d", Trouble::DoneAndFailed(500, "InternalError"));
        assert_eq!(kind(create(&store, "d", "mine")), StoreErrorKind::Unknown, "{protocol:?}");
        assert_eq!(fake.get("west", "p/d").unwrap(), b"mine");
    });
}

#[test]
fn a_create_that_finds_a_blob_says_so() {
    each(|_, protocol, store| {
        create(&store, "a", "first").unwrap();
        assert_eq!(kind(create(&store, "a", "second")), StoreErrorKind::AlreadyExists, "{protocol:?}");
    });
}

#[test]
fn a_change_beside_another_one_is_asked_for_again() {
    each(|fake, protocol, store| {
        fake.times(3, "PUT", "p/a", Trouble::Refused(409, "ConditionalRequestConflict"));
        create(&store, "a", "mine").unwrap();
        assert_eq!(fake.counted().0, 4, "{protocol:?}");
        // Another was faster: now that is known.
        fake.put("west", "p/b", b"other");
        fake.once("PUT", "p/b", Trouble::Refused(409, "ConditionalRequestConflict"));
        assert_eq!(kind(create(&store, "b", "mine")), StoreErrorKind::AlreadyExists, "{protocol:?}");
        fake.script(|_| Some(Trouble::Refused(409, "ConditionalRequestConflict")));
        assert_eq!(kind(create(&store, "c", "mine")), StoreErrorKind::Unknown, "{protocol:?}: it never ends");
    });
}

#[test]
fn a_service_that_is_too_busy_says_for_how_long() {
    each(|fake, protocol, store| {
        create(&store, "a", "x").unwrap();
        let code = if protocol == Protocol::Azure { "ServerBusy" } else { "SlowDown" };
        fake.script(move |_| Some(Trouble::RefusedFor(503, code, 7)));
        let throttled = StoreErrorKind::Throttled { after: Some(Duration::from_secs(7)) };
        assert_eq!(kind(create(&store, "b", "x")), throttled, "{protocol:?}");
        assert_eq!(kind(block_on(store.get(&key("a"), Some(0..1)))), throttled, "{protocol:?}");
        assert_eq!(kind(block_on(store.head(&key("a")))), throttled, "{protocol:?}");
        assert_eq!(kind(block_on(store.list(None, None, 1))), throttled, "{protocol:?}");
        assert_eq!(kind(block_on(store.delete(&key("a")))), throttled, "{protocol:?}");
        assert_eq!(kind(block_on(store.copy(&key("a"), &key("b"), PutMode::Overwrite))), throttled, "{protocol:?}");
        let both = block_on(store.delete_many(&[key("a"), key("b")]));
        assert!(both.into_iter().all(|outcome| kind(outcome) == throttled), "{protocol:?}");
        fake.script(|_| Some(Trouble::RefusedFor(429, "TooManyRequests", 1)));
        let throttled = StoreErrorKind::Throttled { after: Some(Duration::from_secs(1)) };
        assert_eq!(kind(create(&store, "b", "x")), throttled, "{protocol:?}");
        fake.script(|_| None);
        assert_eq!(fake.keys("west"), ["p/a"], "nothing was done");
    });
}

#[test]
fn one_refusal_in_a_hundred_is_not_seen() {
    each(|fake, protocol, store| {
        fake.script(|asked| (asked.number % 100 == 50).then_some(Trouble::RefusedFor(503, "SlowDown", 0)));
        let store = retrying(store);
        for number in 0..300 {
            create(&store, &format!("many/{number:03}"), "x").unwrap();
        }
        assert_eq!(block_on(store.list_all(None)).unwrap().len(), 300, "{protocol:?}");
    });
}

#[test]
fn a_read_that_fails_is_no_blob_and_no_loss() {
    each(|fake, protocol, store| {
        fake.put("west", "p/a", &[7; 100_000]);
        for range in [None, Some(10..90_000)] {
            for trouble in [Trouble::Truncated, Trouble::Refused(500, "InternalError"), Trouble::DoneAndClosed] {
                fake.once("GET", "p/a", trouble.clone());
                let read = block_on(store.get(&key("a"), range.clone()));
                assert_eq!(kind(read), StoreErrorKind::Unavailable, "{protocol:?} {trouble:?}");
            }
            assert!(block_on(store.get(&key("a"), range)).is_ok());
        }
        fake.once("GET", "", Trouble::Truncated);
        assert_eq!(kind(block_on(store.list(None, None, 10))), StoreErrorKind::Unavailable, "{protocol:?}");
    });
}

#[test]
fn silence_ends_with_the_deadline_of_the_call() {
    each(|fake, protocol, store| {
        let time = Duration::from_millis(300);
        let deadlines = Deadlines::default().with_call(time).with_call_per_mebibyte(time);
        let store = WithDeadline::new(store, deadlines, Arc::new(SystemClock));
        let started = Instant::now();
        fake.script(|asked| (!asked.key.contains("done")).then_some(Trouble::Silent));
        assert_eq!(kind(block_on(store.get(&key("a"), Some(0..1)))), StoreErrorKind::Unavailable, "{protocol:?}");
        assert_eq!(kind(block_on(store.list(None, None, 1))), StoreErrorKind::Unavailable, "{protocol:?}");
        assert_eq!(kind(create(&store, "a", "x")), StoreErrorKind::Unknown, "{protocol:?}");
        fake.once("PUT", "done", Trouble::DoneAndSilent);
        assert_eq!(kind(create(&store, "done", "x")), StoreErrorKind::Unknown, "{protocol:?}");
        assert_eq!(kind(create(&store, "done", "y")), StoreErrorKind::AlreadyExists, "{protocol:?}: it was done");
        assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    });
}

#[test]
fn a_slow_service_is_waited_for() {
    each(|fake, _, store| {
        fake.put("west", "p/a", b"bytes");
        fake.once("GET", "p/a", Trouble::Slow(Duration::from_millis(300)));
        assert_eq!(block_on(store.get(&key("a"), None)).unwrap(), "bytes");
    });
}

#[test]
fn a_listing_in_another_order_is_refused_by_name() {
    each(|fake, protocol, store| {
        for at in ["p/a", "p/b", "p/c"] {
            fake.put("west", at, b"x");
        }
        fake.once("GET", "", Trouble::Reordered);
        let error = block_on(store.list(None, None, 10)).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unsupported, "{protocol:?}");
        assert!(error.to_string().contains("not in ascending order"), "{error}");
        assert_eq!(block_on(store.list_all(None)).unwrap().len(), 3);
    });
}

#[test]
fn a_bucket_that_vanished_is_the_wrong_store_and_its_blobs_are_not_lost() {
    each(|fake, protocol, store| {
        create(&store, "a", "x").unwrap();
        fake.remove_bucket("west");
        let gone = StoreErrorKind::WrongStore;
        assert_eq!(kind(block_on(store.get(&key("a"), None))), gone, "{protocol:?}");
        assert_eq!(kind(block_on(store.get(&key("a"), Some(0..1)))), gone, "{protocol:?}");
        assert_eq!(kind(block_on(store.head(&key("a")))), gone, "{protocol:?}");
        assert_eq!(kind(block_on(store.list(None, None, 1))), gone, "{protocol:?}");
        assert_eq!(kind(create(&store, "b", "x")), gone, "{protocol:?}");
        assert_eq!(kind(block_on(store.delete(&key("a")))), gone, "{protocol:?}");
        let both = block_on(store.delete_many(&[key("a"), key("b")]));
        assert!(both.into_iter().all(|outcome| kind(outcome) == gone), "{protocol:?}");
        assert_eq!(kind(block_on(store.copy(&key("a"), &key("b"), PutMode::Overwrite))), gone, "{protocol:?}");
        let error = create(&store, "b", "x").unwrap_err();
        assert!(format!("{error:#}").contains("the bucket does not exist"), "{error:#}");
        fake.restore_bucket("west");
        assert_eq!(block_on(store.get(&key("a"), None)).unwrap(), "x");
        assert_eq!(kind(block_on(store.get(&key("absent"), None))), StoreErrorKind::NotFound);
    });
}

#[test]
fn credentials_that_ran_out_are_a_matter_of_permission() {
    each(|fake, protocol, store| {
        for (status, code) in [(403, "AccessDenied"), (401, "AuthenticationFailed"), (400, "ExpiredToken")] {
            fake.script(move |_| Some(Trouble::Refused(status, code)));
            let denied = StoreErrorKind::PermissionDenied;
            assert_eq!(kind(create(&store, "a", "x")), denied, "{protocol:?} {code}");
            assert_eq!(kind(block_on(store.get(&key("a"), None))), denied, "{protocol:?} {code}");
            assert_eq!(kind(block_on(store.list(None, None, 1))), denied, "{protocol:?} {code}");
            assert_eq!(kind(block_on(store.delete(&key("a")))), denied, "{protocol:?} {code}");
        }
    });
}

#[test]
fn nothing_that_listens_is_unavailable() {
    each(|fake, protocol, _| {
        let address = fake.address();
        let gone = Fake::new();
        let store = gone.open(protocol, "west", "");
        drop(gone);
        assert_eq!(kind(create(&store, "a", "x")), StoreErrorKind::Unavailable, "{protocol:?} {address}");
        assert_eq!(kind(block_on(store.get(&key("a"), None))), StoreErrorKind::Unavailable, "{protocol:?}");
    });
}

#[test]
fn a_service_that_ignores_conditions_is_refused_by_name() {
    each(|fake, protocol, store| {
        fake.script(|_| Some(Trouble::Careless));
        let error = block_on(store.probed(&SystemEntropy)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{protocol:?}: {error}");
        assert!(format!("{error:#}").contains("If-None-Match"), "{error:#}");
        assert!(fake.keys("west").is_empty(), "{protocol:?}: {:?}", fake.keys("west"));
        fake.script(|asked| (asked.method == "DELETE").then_some(Trouble::Careless));
        let store = block_on(fake.open(protocol, "west", "").probed(&SystemEntropy)).unwrap();
        assert!(!store.capabilities().changes_conditionally(), "{protocol:?}");
        assert!(fake.keys("west").is_empty());
        fake.script(|asked| (asked.method == "PUT").then_some(Trouble::Refused(501, "NotImplemented")));
        assert_eq!(kind(create(&store, "a", "x")), StoreErrorKind::Unsupported, "{protocol:?}");
    });
}

#[test]
fn foreign_names_in_the_bucket_are_left_out() {
    each(|fake, protocol, store| {
        let foreign = ["p/Upper", "p/a b", "p/folder/", "p/a//b", "other", "q/a", "p/.probe/x", "p/b/ä", "p"];
        for name in foreign {
            fake.put("west", name, b"x");
        }
        create(&store, "a", "x").unwrap();
        create(&store, "b/c", "x").unwrap();
        let keys = |blobs: Vec<compute_gallery::store::BlobMeta>| {
            blobs.into_iter().map(|blob| blob.key.to_string()).collect::<Vec<_>>()
        };
        let page = block_on(store.list(None, None, 1)).unwrap();
        assert_eq!((keys(page.blobs), page.more), (vec!["a".to_owned()], true), "{protocol:?}");
        assert_eq!(keys(block_on(store.list(Some(&key("b")), None, 1)).unwrap().blobs), ["b/c"]);
        assert_eq!(keys(block_on(store.list_all(None)).unwrap()), ["a", "b/c"], "{protocol:?}");
        let whole = fake.open(protocol, "west", "");
        assert_eq!(
            keys(block_on(whole.list_all(None)).unwrap()),
            ["other", "p", "p/a", "p/b/c", "q/a"],
            "{protocol:?}"
        );
    });
}

#[test]
fn long_listings_are_read_by_pages_of_a_thousand() {
    each(|fake, protocol, store| {
        for number in 0..2_500 {
            fake.put("west", &format!("p/many/{number:04}"), b"x");
        }
        assert_eq!(block_on(store.list_all(Some(&key("many")))).unwrap().len(), 2_500);
        assert_eq!(fake.counted().0, 3, "{protocol:?}");
        let page = block_on(store.list(None, Some(&key("many/1999")), 3)).unwrap();
        assert_eq!((page.blobs.len(), page.more, page.blobs[0].key.as_str()), (3, true, "many/2000"), "{protocol:?}");
        assert_eq!(fake.counted().0, 1, "{protocol:?}");
    });
}

#[test]
fn many_deletions_are_few_requests() {
    each(|fake, protocol, store| {
        let keys: Vec<BlobKey> = (0..1_200).map(|number| key(&format!("many/{number:04}"))).collect();
        for at in &keys[..1_199] {
            fake.put("west", &format!("p/{at}"), b"x");
        }
        fake.put("west", "p/other", b"x");
        assert!(block_on(store.delete_many(&keys)).iter().all(Result::is_ok), "{protocol:?}");
        assert_eq!(fake.keys("west"), ["p/other"], "{protocol:?}");
        let expected = match protocol {
            Protocol::S3 => 2,
            Protocol::Azure => 5,
            Protocol::Google => 1_200,
        };
        assert_eq!(fake.counted().0, expected, "{protocol:?}");
    });
}

#[test]
fn a_copy_that_is_done_later_is_waited_for() {
    let fake = Fake::new();
    let store = fake.open(Protocol::Azure, "west", "p");
    create(&store, "a", "bytes").unwrap();
    for (to, mode) in [("b", PutMode::Overwrite), ("c", PutMode::Create)] {
        fake.once("PUT", "p/", Trouble::Pending(2));
        block_on(store.copy(&key("a"), &key(to), mode)).unwrap();
        assert_eq!(fake.get("west", &format!("p/{to}")).unwrap(), b"bytes");
    }
}

#[test]
fn copies_inside_the_service_move_no_bytes() {
    each(|fake, protocol, west| {
        create(&west, "a", "bytes").unwrap();
        fake.counted();
        block_on(west.copy(&key("a"), &key("b"), PutMode::Overwrite)).unwrap();
        assert_eq!(fake.counted().1.into_iter().collect::<Vec<_>>(), [("copy".to_owned(), 1)], "{protocol:?}");
        let part = fake.open(protocol, "west", "q");
        block_on(part.copy_from(&west, &key("a"), &key("c"), PutMode::Overwrite)).unwrap();
        assert_eq!(fake.get("west", "q/c").unwrap(), b"bytes");
        assert_eq!(fake.counted().1.into_iter().collect::<Vec<_>>(), [("copy".to_owned(), 1)], "{protocol:?}");
    });
}

#[test]
fn copies_between_buckets_of_a_service_move_no_bytes() {
    each(|fake, protocol, west| {
        let east = fake.open(protocol, "east", "q");
        create(&west, "a", "bytes").unwrap();
        fake.put("east", "p/a", b"a decoy");
        fake.counted();
        let copied = block_on(east.copy_from(&west, &key("a"), &key("b"), PutMode::Overwrite));
        if protocol == Protocol::Azure {
            // Its signature covers the source, and `object_store` names one in the same container.
            assert_eq!(kind(copied), StoreErrorKind::Unsupported);
            return;
        }
        copied.unwrap();
        assert_eq!(fake.get("east", "q/b").unwrap(), b"bytes", "{protocol:?}");
        assert_eq!(fake.counted().1.into_iter().collect::<Vec<_>>(), [("copy".to_owned(), 1)], "{protocol:?}");
        let absent = block_on(east.copy_from(&west, &key("absent"), &key("b"), PutMode::Overwrite)).unwrap_err();
        assert_eq!((absent.kind(), absent.key()), (StoreErrorKind::NotFound, Some(&key("absent"))), "{protocol:?}");
        let elsewhere = Fake::new();
        let far = elsewhere.open(protocol, "east", "q");
        let refused = block_on(far.copy_from(&west, &key("a"), &key("b"), PutMode::Overwrite));
        assert_eq!(kind(refused), StoreErrorKind::Unsupported, "{protocol:?}: another service");
    });
}

#[test]
fn what_a_gallery_cannot_use_is_refused_when_it_is_opened() {
    let s3 = || {
        let builder = object_store::aws::AmazonS3Builder::new().with_bucket_name("b");
        builder.with_access_key_id("id").with_secret_access_key("secret")
    };
    let client = Arc::new(s3().build().unwrap());
    let error = ObjectStoreBlobs::new(client, "").unwrap_err();
    assert!(error.to_string().contains("ObjectStoreBlobs::s3"), "{error}");
    let limited = object_store::limit::LimitStore::new(s3().build().unwrap(), 3);
    assert!(ObjectStoreBlobs::new(Arc::new(limited), "").is_err());

    let directory = s3().with_bucket_name("b--use1-az4--x-s3").with_s3_express(true);
    let error = ObjectStoreBlobs::s3(directory, "").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("directory bucket"), "{error}");
    let off = s3().with_conditional_put(object_store::aws::S3ConditionalPut::Disabled);
    let error = ObjectStoreBlobs::s3(off, "").unwrap_err();
    assert!(error.to_string().contains("conditional puts are turned off"), "{error}");
    let plain = s3().with_endpoint("http://127.0.0.1:1");
    let error = ObjectStoreBlobs::s3(plain, "").unwrap_err();
    assert!(error.to_string().contains("AWS_ALLOW_HTTP=true"), "{error}");
    for wrong in ["images/contoso", "s3://", "s3:///a", "ftp://a/b", "s3://a/b//c", "s3://a/../b"] {
        assert_eq!(ObjectStoreBlobs::from_url(wrong).unwrap_err().kind(), ErrorKind::Invalid, "{wrong}");
    }
}
