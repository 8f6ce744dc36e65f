//! Stores that break one promise each: the conformance suite names it.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper of a test may fail as the test does")]

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use compute_gallery::store::*;
use compute_gallery::testkit::{Fault, FaultyStore, conformance};
use futures::TryStreamExt;
use futures::executor::block_on;
use futures::stream::{self, StreamExt};

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Nothing,
    ReplacesAnyVersion,
    ReplacesWhatIsAbsent,
    ReplacesAndSaysChanged,
    ReplacesTooMuch,
    MissesAbsentReplacedAsNotFound,
    DeletesAnyVersion,
    MissesAVersionThatIsGone,
    HasOneVersionForAll,
    ListsAnotherVersion,
    ClaimsConditions,
    HidesConditions,
    ChangesItsMind,
    DeletesAllButOne,
    AnswersForOneLess,
    DeletesAtMostAThousand,
    RefusesAbsentOnes,
    SkipsAFolder,
    ListsBlobsAsFolders,
    ListsEmptyFolders,
    ListsFoldersFromTheStart,
    ListsAFolderTwice,
    EndsFoldersEarly,
    AnswersRangesShort,
    AnswersRangesSorted,
    AnswersRangesWithTheirGap,
    CutsRangesAtTheEnd,
    LosesTheLastPart,
    LosesPartsPastAThousand,
    PutsPartsOverBlobs,
    AddsTheParts,
    LosesTheEndOfAPage,
    PagesFromTheStart,
    HasEmptyPages,
    ClaimsCopies,
    CopiesUnasked,
    CopiesTheWrongBlob,
    CopiesOverBlobs,
    CopiesFromElsewhere,
    CopiesShareAFate,
    RefusesEveryPut,
}

#[derive(Clone, Debug)]
struct Mutant {
    store: MemoryStore,
    wrong: Wrong,
    calls: Arc<AtomicU64>,
}

impl Mutant {
    fn new(wrong: Wrong) -> Self {
        Self { store: MemoryStore::new(), wrong, calls: Arc::default() }
    }

    fn is(&self, wrong: Wrong) -> bool {
        self.wrong == wrong
    }

    fn meta(&self, meta: BlobMeta, other: bool) -> BlobMeta {
        match () {
            () if self.is(Wrong::HasOneVersionForAll) => meta.with_version(BlobVersion::new("1")),
            () if other && self.is(Wrong::ListsAnotherVersion) => meta.with_version(BlobVersion::new("1")),
            () => meta,
        }
    }

    fn fails(kind: StoreErrorKind, operation: &'static str, key: &BlobKey) -> StoreResult<()> {
        Err(StoreError::new(kind, operation, Some(key)))
    }
}

#[async_trait]
impl BlobStore for Mutant {
    async fn put(&self, key: &BlobKey, bytes: Bytes, mode: PutMode) -> StoreResult<()> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.is(Wrong::RefusesEveryPut) {
            return Self::fails(StoreErrorKind::PermissionDenied, "put", key);
        }
        self.store.put(key, bytes, mode).await
    }

    async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> StoreResult<Bytes> {
        self.store.get(key, range).await
    }

    async fn head(&self, key: &BlobKey) -> StoreResult<BlobMeta> {
        Ok(self.meta(self.store.head(key).await?, false))
    }

    async fn delete(&self, key: &BlobKey) -> StoreResult<()> {
        self.store.delete(key).await
    }

    async fn list(&self, under: Option<&BlobKey>, after: Option<&BlobKey>, limit: usize) -> StoreResult<Page> {
        let page = self.store.list(under, after, limit).await?;
        Ok(Page::new(page.blobs.into_iter().map(|meta| self.meta(meta, true)).collect(), page.more))
    }

    async fn persist(&self, under: &BlobKey) -> StoreResult<()> {
        self.store.persist(under).await
    }

    fn capabilities(&self) -> Capabilities {
        let true_ones = self.store.capabilities();
        match self.wrong {
            Wrong::HidesConditions => true_ones.with_conditional_changes(false),
            Wrong::CopiesUnasked => true_ones.with_copies_inside(false),
            Wrong::ChangesItsMind => true_ones.with_parallel_requests(1 + self.calls.load(Ordering::Relaxed) as usize),
            _ => true_ones,
        }
    }

    async fn put_parts(&self, key: &BlobKey, parts: &[Bytes], mode: PutMode) -> StoreResult<()> {
        match (self.wrong, parts) {
            (Wrong::LosesTheLastPart, [parts @ .., _]) => self.store.put_parts(key, parts, mode).await,
            (Wrong::LosesPartsPastAThousand, parts) => {
                self.store.put_parts(key, &parts[..parts.len().min(1_024)], mode).await
            }
            (Wrong::PutsPartsOverBlobs, parts) => self.store.put_parts(key, parts, PutMode::Overwrite).await,
            (Wrong::AddsTheParts, parts) => {
                for part in parts {
                    let before = self.store.get(key, None).await.unwrap_or_default();
                    self.store.put(key, [before, part.clone()].concat().into(), PutMode::Overwrite).await?;
                }
                Ok(())
            }
            (_, parts) => self.store.put_parts(key, parts, mode).await,
        }
    }

    async fn get_ranges(&self, key: &BlobKey, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        let mut ranges = ranges.to_vec();
        match self.wrong {
            Wrong::AnswersRangesSorted => ranges.sort_by_key(|range| (range.start, range.end)),
            Wrong::AnswersRangesWithTheirGap => {
                let starts: Vec<u64> = ranges.iter().map(|range| range.start).collect();
                for range in &mut ranges {
                    range.end += if starts.contains(&(range.end + 1_000)) { 1_000 } else { 0 };
                }
            }
            Wrong::CutsRangesAtTheEnd => {
                let size = self.head(key).await?.size;
                for range in &mut ranges {
                    range.end = range.end.min(size);
                    range.start = range.start.min(range.end);
                }
            }
            _ => {}
        }
        let mut answers = self.store.get_ranges(key, &ranges).await?;
        if self.is(Wrong::AnswersRangesShort) {
            for bytes in answers.iter_mut().filter(|bytes| bytes.len() > 100_000) {
                bytes.truncate(100_000);
            }
        }
        Ok(answers)
    }

    async fn delete_many(&self, keys: &[BlobKey]) -> Vec<StoreResult<()>> {
        match (self.wrong, keys) {
            (Wrong::DeletesAllButOne, [keys @ .., _]) => {
                let mut answers = self.store.delete_many(keys).await;
                answers.push(Ok(()));
                answers
            }
            (Wrong::AnswersForOneLess, keys) => self.store.delete_many(keys).await.into_iter().skip(1).collect(),
            (Wrong::DeletesAtMostAThousand, keys) => {
                let _ = self.store.delete_many(&keys[..keys.len().min(1_000)]).await;
                keys.iter().map(|_| Ok(())).collect()
            }
            (Wrong::RefusesAbsentOnes, keys) => {
                let each = stream::iter(keys).then(|key| async move {
                    self.store.head(key).await?;
                    self.store.delete(key).await
                });
                each.collect().await
            }
            (_, keys) => self.store.delete_many(keys).await,
        }
    }

    fn list_pages(&self, under: Option<&BlobKey>, after: Option<&BlobKey>) -> Pages<'_> {
        let after = after.filter(|_| !self.is(Wrong::PagesFromTheStart));
        let pages = self.store.list_pages(under, after).map_ok(|mut page| {
            if self.is(Wrong::LosesTheEndOfAPage) {
                page.pop();
            }
            page.into_iter().map(|meta| self.meta(meta, true)).collect()
        });
        match self.is(Wrong::HasEmptyPages) {
            true => pages.chain(stream::iter([Ok(Vec::new())])).boxed(),
            false => pages.boxed(),
        }
    }

    async fn list_folders(
        &self,
        under: Option<&BlobKey>,
        after: Option<&BlobKey>,
        limit: usize,
    ) -> StoreResult<Folders> {
        let after = after.filter(|_| !self.is(Wrong::ListsFoldersFromTheStart));
        let mut found = self.store.list_folders(under, after, limit).await?;
        match self.wrong {
            // As a listing that goes on after the folder and a `0` does.
            Wrong::SkipsAFolder => {
                let keys = found.keys.clone();
                found.keys.retain(|key| !keys.iter().any(|other| format!("{other}0") == key.as_str()));
            }
            Wrong::ListsBlobsAsFolders => {
                let blobs = self.store.list(under, None, 1_000).await?.blobs;
                let is_direct = |key: &BlobKey| key.parent().as_ref() == under;
                found.keys.extend(blobs.into_iter().map(|meta| meta.key).filter(is_direct));
                found.keys.sort_by_key(|key| format!("{key}/"));
            }
            Wrong::ListsEmptyFolders if under.is_some_and(|under| under.as_str() == "a") => {
                found.keys.insert(0, "a/0".parse().unwrap());
            }
            Wrong::ListsAFolderTwice => {
                let first = found.keys.first().cloned();
                found.keys.extend(first);
            }
            Wrong::EndsFoldersEarly => found.more = false,
            _ => {}
        }
        Ok(found)
    }

    async fn replace_if(&self, key: &BlobKey, bytes: Bytes, version: &BlobVersion) -> StoreResult<()> {
        match self.wrong {
            Wrong::ReplacesAnyVersion if self.store.head(key).await.is_ok() => {
                self.store.put(key, bytes, PutMode::Overwrite).await
            }
            Wrong::ReplacesWhatIsAbsent if self.store.head(key).await.is_err() => {
                self.store.put(key, bytes, PutMode::Create).await
            }
            Wrong::ReplacesAndSaysChanged => {
                let _ = self.store.replace_if(key, bytes, version).await;
                Self::fails(StoreErrorKind::Changed, "replace_if", key)
            }
            Wrong::ReplacesTooMuch => {
                let bytes = bytes.slice(..bytes.len().min(MAX_BLOB_BYTES as usize));
                self.store.replace_if(key, bytes, version).await
            }
            Wrong::MissesAbsentReplacedAsNotFound if self.store.head(key).await.is_err() => {
                Self::fails(StoreErrorKind::NotFound, "replace_if", key)
            }
            Wrong::ClaimsConditions => Self::fails(StoreErrorKind::Unsupported, "replace_if", key),
            _ => self.store.replace_if(key, bytes, version).await,
        }
    }

    async fn delete_if(&self, key: &BlobKey, version: &BlobVersion) -> StoreResult<()> {
        match self.wrong {
            Wrong::DeletesAnyVersion => self.store.delete(key).await,
            Wrong::MissesAVersionThatIsGone if self.store.head(key).await.is_err() => {
                Self::fails(StoreErrorKind::Changed, "delete_if", key)
            }
            _ => self.store.delete_if(key, version).await,
        }
    }

    async fn copy_from(&self, store: &dyn BlobStore, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        match self.wrong {
            Wrong::ClaimsCopies => Self::fails(StoreErrorKind::Unsupported, "copy_from", to),
            // Its own part of that name, not that of the other store.
            Wrong::CopiesTheWrongBlob => {
                let part = Prefixed::new(self.store.clone(), "two/2".parse().unwrap());
                self.store.copy_from(&part, from, to, mode).await
            }
            Wrong::CopiesOverBlobs => self.store.copy_from(store, from, to, PutMode::Overwrite).await,
            Wrong::CopiesFromElsewhere => self.store.put(to, store.get(from, None).await?, mode).await,
            Wrong::CopiesShareAFate => {
                self.store.copy_from(store, from, to, mode).await?;
                let place = store.place_of(from).unwrap();
                self.store.delete(place.key()).await
            }
            _ => self.store.copy_from(store, from, to, mode).await,
        }
    }

    fn place_of(&self, key: &BlobKey) -> Option<BlobPlace<'_>> {
        self.store.place_of(key)
    }
}

/// Each mutant, and the promise that it breaks.
const BROKEN: [(Wrong, &str); 38] = [
    (Wrong::ReplacesAnyVersion, "a_replacement_of_another_version_is_refused"),
    (Wrong::ReplacesWhatIsAbsent, "a_replacement_of_what_is_absent_is_refused"),
    (Wrong::ReplacesAndSaysChanged, "a_replacement_of_the_version_that_is_there_is_made"),
    (Wrong::ReplacesTooMuch, "a_replacement_that_is_too_large_changes_nothing"),
    (Wrong::MissesAbsentReplacedAsNotFound, "a_replacement_of_what_is_absent_is_refused"),
    (Wrong::DeletesAnyVersion, "a_deletion_of_another_version_is_refused"),
    (Wrong::MissesAVersionThatIsGone, "a_deletion_of_a_version_that_is_gone_is_fine"),
    (Wrong::HasOneVersionForAll, "a_blob_that_differs_has_another_version"),
    (Wrong::ListsAnotherVersion, "a_listing_tells_the_version_that_head_tells"),
    (Wrong::ClaimsConditions, "a_replacement_of_the_version_that_is_there_is_made"),
    (Wrong::HidesConditions, "conditional_changes_that_are_not_claimed_are_refused"),
    (Wrong::ChangesItsMind, "capabilities_stay_the_same"),
    (Wrong::DeletesAllButOne, "many_deletes_remove_those_and_no_others"),
    (Wrong::AnswersForOneLess, "many_deletes_answer_for_each"),
    (Wrong::DeletesAtMostAThousand, "more_deletes_than_a_request_holds_are_all_made"),
    (Wrong::RefusesAbsentOnes, "many_deletes_answer_for_each"),
    (Wrong::SkipsAFolder, "folders_are_the_next_segments_with_blobs_below"),
    (Wrong::ListsBlobsAsFolders, "folders_are_the_next_segments_with_blobs_below"),
    (Wrong::ListsEmptyFolders, "a_folder_goes_with_its_last_blob"),
    (Wrong::ListsFoldersFromTheStart, "every_folder_is_a_place_to_go_on_from"),
    (Wrong::ListsAFolderTwice, "folders_are_the_next_segments_with_blobs_below"),
    (Wrong::EndsFoldersEarly, "every_limit_gives_the_same_folders"),
    (Wrong::AnswersRangesShort, "ranges_near_and_far_are_exactly_their_bytes"),
    (Wrong::AnswersRangesSorted, "ranges_are_answered_in_the_order_of_the_question"),
    (Wrong::AnswersRangesWithTheirGap, "ranges_near_and_far_are_exactly_their_bytes"),
    (Wrong::CutsRangesAtTheEnd, "one_invalid_range_is_the_answer_to_all"),
    (Wrong::LosesTheLastPart, "a_blob_of_parts_has_all_of_them_in_order"),
    (Wrong::LosesPartsPastAThousand, "a_blob_of_many_parts_is_whole"),
    (Wrong::PutsPartsOverBlobs, "parts_obey_the_mode"),
    (Wrong::AddsTheParts, "parts_that_are_too_large_together_change_nothing"),
    (Wrong::LosesTheEndOfAPage, "pages_have_every_blob_once_in_order"),
    (Wrong::PagesFromTheStart, "pages_start_after_a_key"),
    (Wrong::HasEmptyPages, "pages_have_every_blob_once_in_order"),
    (Wrong::ClaimsCopies, "a_copy_between_parts_of_a_store_is_made_or_refused"),
    (Wrong::CopiesUnasked, "a_copy_between_parts_of_a_store_is_made_or_refused"),
    (Wrong::CopiesTheWrongBlob, "a_copy_between_parts_of_a_store_is_made_or_refused"),
    (Wrong::CopiesOverBlobs, "a_copy_between_parts_obeys_the_mode"),
    (Wrong::CopiesFromElsewhere, "a_copy_from_another_service_is_refused"),
];

#[test]
fn each_mutant_breaks_its_promise() {
    for (wrong, promise) in BROKEN {
        let report = block_on(conformance::run_case(promise, Mutant::new(wrong)));
        assert_eq!(report.failed.len(), 1, "{wrong:?} keeps `{promise}`");
        assert_eq!(report.failed[0].0, promise);
        let healthy = block_on(conformance::run_case(promise, Mutant::new(Wrong::Nothing)));
        healthy.assert_all_passed();
    }
}

#[test]
fn a_copy_that_shares_the_fate_of_its_source_is_found_out() {
    let promise = "a_copy_between_parts_of_a_store_is_made_or_refused";
    let report = block_on(conformance::run_case(promise, Mutant::new(Wrong::CopiesShareAFate)));
    assert!(report.to_string().contains("one/a/b"), "{report}");
}

#[test]
fn the_store_without_a_mistake_passes() {
    block_on(conformance::run(|| async { Mutant::new(Wrong::Nothing) })).assert_all_passed();
}

/// A wrong address is one line, and not one for each promise.
#[test]
fn a_store_that_takes_nothing_ends_the_suite_at_once() {
    let report = block_on(conformance::run(|| async { Mutant::new(Wrong::RefusesEveryPut) }));
    assert_eq!((report.passed.len(), report.failed.len()), (0, 1), "{report}");
    let told = report.to_string();
    assert!(told.contains("a_blob_can_be_put: ") && told.contains("permission denied"), "{told}");
    assert!(told.contains("Nothing can be put, so the other 1"), "{told}");
    let stops = || async {
        let store = FaultyStore::new(MemoryStore::new());
        store.faults().fail_from(0, Fault::Before(StoreErrorKind::Unavailable));
        store
    };
    assert_eq!(block_on(conformance::run(stops)).failed.len(), 1);
}

#[test]
fn a_promise_that_does_not_exist_is_broken() {
    let report = block_on(conformance::run_case("a_created_blob_reads_bach", MemoryStore::new()));
    assert!(report.passed.is_empty() && report.failed[0].1.contains("no promise of this name"), "{report}");
}
