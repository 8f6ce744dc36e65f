//! What a boot reads is recorded, and the next boot by another host fetches it with few requests.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper of a test may fail as the test does")]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::Bytes;
use compute_gallery::ErrorKind;
use compute_gallery::access::MemoryDirectory;
use compute_gallery::deploy::ImageReader;
use compute_gallery::model::{PublishingProfile, StorageAccountType};
use compute_gallery::publish::NewImageVersion;
use compute_gallery::store::{BlobKey, BlobStore, BlobStoreExt, Capabilities, MemoryStore, PutMode};
use compute_gallery::testkit::{Fault, FaultyStore, HookedStore, Reaction, Sandbox, noise, raw, region};
use futures::executor::block_on;
use futures::future::{join, join_all};

const CHUNK: u64 = 64 << 10;
const DISK: u64 = 48 << 20;

/// A store that is like a bucket: few large reads are better than many small ones.
fn bucket() -> HookedStore {
    HookedStore::new(MemoryStore::new(), |_| async { Reaction::Pass }).with_capabilities(Capabilities::default())
}

fn disk() -> &'static [u8] {
    static DISK_BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| noise(1, DISK as usize));
    &DISK_BYTES
}

async fn sandbox() -> Sandbox {
    let sandbox = Sandbox::builder().regions(["westeurope", "eastus"]).store("eastus", bucket()).build().await.unwrap();
    sandbox.publish("1.0.0", disk().to_vec()).await.unwrap();
    sandbox
}

/// Where a boot reads: 300 pages all over the disk, without order.
fn boot() -> Vec<u64> {
    (0..300).map(|read| read * 7919 % (DISK / CHUNK) * CHUNK + read % 16 * 4096).collect()
}

async fn read(reader: &ImageReader, pages: &[u64]) {
    let disk = disk();
    for at in pages {
        assert!(reader.read_at(*at..at + 4096).await.unwrap() == disk[*at as usize..*at as usize + 4096]);
    }
}

async fn opened(sandbox: &Sandbox) -> ImageReader {
    sandbox.session().deploy(sandbox.version("1.0.0"), "eastus").open().await.unwrap()
}

async fn recording(sandbox: &Sandbox) -> ImageReader {
    sandbox.session().deploy(sandbox.version("1.0.0"), "eastus").record_boot().open().await.unwrap()
}

/// The boot sets in a store.
async fn stored(store: &FaultyStore<impl BlobStore>) -> BTreeMap<BlobKey, Bytes> {
    let mut found = BTreeMap::new();
    for blob in store.inner().list_all(None).await.unwrap() {
        if blob.key.segments().any(|segment| segment == "boots") {
            found.insert(blob.key.clone(), store.inner().get(&blob.key, None).await.unwrap());
        }
    }
    found
}

/// The requests of the region so far.
fn calls(sandbox: &Sandbox) -> u64 {
    sandbox.faults("eastus").calls()
}

#[test]
fn the_second_boot_by_another_process_needs_a_tenth_of_the_requests() {
    block_on(async {
        let one = sandbox().await;
        let first = recording(&one).await;
        let begun = calls(&one);
        assert_eq!(first.fetch_boot_set().await.unwrap(), 0);
        read(&first, &boot()).await;
        let first_boot = calls(&one) - begun;
        assert!(first.save_boot_set().await.unwrap());

        let other = one.reopen().build().await.unwrap();
        let second = opened(&other).await;
        let begun = calls(&other);
        assert_eq!(second.fetch_boot_set().await.unwrap(), 300);
        let fetched = calls(&other);
        read(&second, &boot()).await;
        assert_eq!(calls(&other), fetched, "all of it is in the cache");
        let second_boot = fetched - begun;
        assert!(second_boot * 10 <= first_boot, "{second_boot} requests after {first_boot}");

        // Beside the boot, as a server does it: what both want is fetched once.
        let third = one.reopen().build().await.unwrap();
        let reader = opened(&third).await;
        let begun = calls(&third);
        let (pages, order) = (boot(), reader.clone());
        let reads = async { read(&order, &pages).await };
        let (fetched, ()) = join(reader.fetch_boot_set(), reads).await;
        assert_eq!(fetched.unwrap(), 300);
        let beside = calls(&third) - begun;
        assert!(beside * 10 <= first_boot, "{beside} requests beside the boot, after {first_boot}");
    });
}

#[test]
fn what_two_want_at_a_time_is_read_once_and_one_who_leaves_takes_nothing_along() {
    block_on(async {
        let one = sandbox().await;
        let reader = opened(&one).await;
        reader.read_at(0..4096).await.unwrap();
        let begun = calls(&one);
        let same = join_all((0..50).map(|_| reader.read_at(9 * CHUNK..9 * CHUNK + 4096))).await;
        assert!(same.into_iter().all(|read| read.unwrap() == disk()[(9 * CHUNK) as usize..][..4096]));
        assert_eq!(calls(&one) - begun, 1);

        // A request that is never answered, and a client that goes away meanwhile, 40 times: more than there are requests at a time.
        for _ in 0..40 {
            one.faults("eastus").fail_call(0, Fault::Hang);
            let mut hanging = Box::pin(reader.read_at(20 * CHUNK..21 * CHUNK));
            assert!(futures::poll!(&mut hanging).is_pending());
            drop(hanging);
        }
        assert!(
            reader.read_at(20 * CHUNK..21 * CHUNK).await.unwrap() == disk()[(20 * CHUNK) as usize..][..CHUNK as usize]
        );

        // Who waits for another's request fails with its own, and the next one is answered.
        one.faults("eastus").fail_from(0, Fault::Before(compute_gallery::store::StoreErrorKind::PermissionDenied));
        let both = join(reader.read_at(30 * CHUNK..31 * CHUNK), reader.read_at(30 * CHUNK..31 * CHUNK)).await;
        assert!(both.0.is_err() == both.1.is_err());
        one.faults("eastus").heal();
        read(&reader, &[30 * CHUNK]).await;
    });
}

#[test]
fn a_damaged_or_foreign_boot_set_is_ignored_and_written_anew_and_a_newer_builds_stays() {
    block_on(async {
        let one = sandbox().await;
        let first = recording(&one).await;
        read(&first, &boot()).await;
        first.save_boot_set().await.unwrap();
        let store = one.store("eastus");
        let (key, good) = stored(&store).await.pop_first().unwrap();
        let put = |bytes: Vec<u8>| store.inner().put(&key, bytes.into(), PutMode::Overwrite);
        for damaged in [vec![], good[..50].to_vec(), [&good[..], b"x"].concat(), vec![0xff; 1 << 20], {
            let mut flipped = good.to_vec();
            flipped[90] ^= 1;
            flipped
        }] {
            put(damaged).await.unwrap();
            let fresh = one.reopen().build().await.unwrap();
            let reader = recording(&fresh).await;
            assert_eq!(reader.fetch_boot_set().await.unwrap(), 0);
            read(&reader, &boot()[..9]).await;
            assert!(reader.save_boot_set().await.unwrap());
            assert_eq!(recording(&one.reopen().build().await.unwrap()).await.fetch_boot_set().await.unwrap(), 9);
        }
        let mut newer = good.to_vec();
        newer.truncate(newer.len() - 32);
        newer[10] = 2;
        newer.extend(compute_gallery::content::Digest::of(&newer.clone()).as_bytes());
        put(newer.clone()).await.unwrap();
        let fresh = one.reopen().build().await.unwrap();
        let reader = recording(&fresh).await;
        assert_eq!(reader.fetch_boot_set().await.unwrap(), 0);
        read(&reader, &boot()[..9]).await;
        assert!(!reader.save_boot_set().await.unwrap());
        assert_eq!(stored(&store).await[&key], newer);
    });
}

#[test]
fn later_boots_add_what_they_read() {
    block_on(async {
        let one = sandbox().await;
        let first = recording(&one).await;
        read(&first, &[0, 5 * CHUNK]).await;
        assert!(first.save_boot_set().await.unwrap());
        let second = recording(&one.reopen().build().await.unwrap()).await;
        read(&second, &[5 * CHUNK, 9 * CHUNK]).await;
        assert!(second.save_boot_set().await.unwrap());
        assert!(!second.save_boot_set().await.unwrap());
        let third = recording(&one.reopen().build().await.unwrap()).await;
        assert_eq!(third.fetch_boot_set().await.unwrap(), 3);
        // Nothing is read, or nothing new: nothing is written.
        assert!(!third.save_boot_set().await.unwrap());
        read(&third, &[0, 9 * CHUNK]).await;
        assert!(!third.save_boot_set().await.unwrap());
        // Without a recording, nothing is written either.
        let fourth = opened(&one).await;
        read(&fourth, &[12 * CHUNK]).await;
        assert!(!fourth.save_boot_set().await.unwrap());
    });
}

#[test]
fn a_collection_keeps_a_boot_set_as_long_as_its_disk() {
    block_on(async {
        let one = sandbox().await;
        let first = recording(&one).await;
        read(&first, &boot()).await;
        first.save_boot_set().await.unwrap();
        let store = one.store("eastus");
        one.session().collect().await.unwrap();
        one.session().scrub("eastus").await.unwrap();
        one.session().compress().await.unwrap();
        assert_eq!(stored(&store).await.len(), 1);
        let fresh = opened(&one.reopen().build().await.unwrap()).await;
        assert_eq!(fresh.fetch_boot_set().await.unwrap(), 300, "also of a disk that was compressed since");
        read(&fresh, &boot()).await;

        one.session().delete(one.version("1.0.0")).await.unwrap();
        let planned = one.session().collect().plan().await.unwrap().collection.unwrap();
        let report = one.session().collect().await.unwrap();
        assert_eq!(report, planned);
        assert!(stored(&store).await.is_empty());
        assert_eq!(one.session().collect().await.unwrap().bytes(), 0);
    });
}

#[test]
fn a_boot_set_lies_in_each_zone_and_one_that_is_out_is_passed_over() {
    block_on(async {
        let one = Sandbox::builder()
            .regions(["eastus", "westeurope"])
            .zones("eastus")
            .zones("westeurope")
            .build()
            .await
            .unwrap();
        let profile = PublishingProfile::new("westeurope=1,eastus=1".parse().unwrap())
            .with_storage_account_type(StorageAccountType::StandardZrs);
        let new = NewImageVersion::new(one.version("1.0.0"), region("eastus"), profile, raw(disk().to_vec()));
        one.session().publish(new).await.unwrap();
        let first = recording(&one).await;
        read(&first, &boot()[..20]).await;
        first.save_boot_set().await.unwrap();
        for zone in one.zones("eastus") {
            assert_eq!(stored(zone).await.len(), 1);
        }
        let other = one.reopen().build().await.unwrap();
        let second = opened(&other).await;
        other.faults("eastus").fail_from(0, Fault::Before(compute_gallery::store::StoreErrorKind::Unavailable));
        assert_eq!(second.fetch_boot_set().await.unwrap(), 20);
    });
}

#[test]
fn only_one_who_may_change_the_image_records_its_boots() {
    use compute_gallery::access::{BuiltInRole, RoleAssignment};
    block_on(async {
        let directory = MemoryDirectory::new();
        directory.add_subscription("dev".parse().unwrap(), "contoso".parse().unwrap(), None).unwrap();
        directory.add_user("ann", &"contoso".parse().unwrap()).unwrap();
        let one = Sandbox::builder().directory(directory).build().await.unwrap();
        one.publish("1.0.0", vec![7; 1 << 20]).await.unwrap();
        let reader =
            RoleAssignment::new("1", "ann".parse().unwrap(), BuiltInRole::Reader.id(), one.image().gallery().clone());
        one.session().assign_role(reader.unwrap()).await.unwrap();
        let session = one.session_of("ann");
        let deployment = || session.deploy(one.version("1.0.0"), "eastus");
        let error = deployment().record_boot().open().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
        assert!(!deployment().record_boot().plan().await.unwrap().is_possible());
        let reader = deployment().open().await.unwrap();
        reader.read_at(0..4096).await.unwrap();
        assert!(!reader.save_boot_set().await.unwrap());
    });
}
