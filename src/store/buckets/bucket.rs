//! A bucket as a store.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::FutureExt;
use futures::stream::{self, StreamExt, TryStreamExt};
use object_store::list::PaginatedListStore;
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, GetOptions, GetRange, ObjectMeta, ObjectStore, PutMode as TheirMode, PutPayload,
    UpdateVersion,
};
use tokio::runtime::Handle;

use super::answer::{Answer, Call, during};
use super::fault::{Asked, Fault, Meaning};
use super::runtime;
use crate::host::sync::Mutex;
use crate::store::blob::{BlobMeta, MAX_BLOB_BYTES, Page, Pages, PutMode};
use crate::store::blob_place::BlobPlace;
use crate::store::blob_store::BlobStore;
use crate::store::blob_version::BlobVersion;
use crate::store::capabilities::Capabilities;
use crate::store::derived;
use crate::store::error::{StoreError, StoreErrorKind, StoreResult};
use crate::store::key::BlobKey;

/// The longest name that the services allow.
const MAX_NAME_BYTES: usize = 1_024;
/// How often a change is asked for while another one of the key is in progress, or a copy is asked after.
const ASKED_AGAIN: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(30);

/// A bucket of a service that the crate `object_store` speaks to, or a part of one: what is below a prefix.
///
/// Any number of processes on any number of machines may use one bucket. `docs/buckets.md` says what a bucket must allow and must
/// not do, service by service.
///
/// ```
/// use bytes::Bytes;
/// use compute_gallery::store::{BlobStore, ObjectStoreBlobs, PutMode};
/// use std::sync::Arc;
///
/// # futures::executor::block_on(async {
/// // A bucket of a service: `ObjectStoreBlobs::from_url("s3://images/contoso")?`. One in memory:
/// let bucket = Arc::new(object_store::memory::InMemory::new());
/// let store = ObjectStoreBlobs::new(bucket, "contoso")?;
/// let key = "a/b".parse()?;
/// store.put(&key, Bytes::from_static(b"bytes"), PutMode::Create).await?;
/// assert_eq!(store.get(&key, Some(1..3)).await?, "yt");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// # How it asks
///
/// - It makes each request once: the gallery repeats calls by its own [`RetryPolicy`](crate::store::RetryPolicy), and knows
///   which of them may have happened. The one exception is an answer that another change of the same key is in progress and nothing
///   was changed: that change is asked for again a few times.
/// - The time of a call is that of the gallery's [`Deadlines`](crate::host::Deadlines), not the client's. What is given up is
///   taken back: its connection is closed.
/// - Requests run on threads of their own, at most four in a process, which all buckets share: a runtime of `tokio` that starts with the
///   first bucket and lives as long as the process. So calls may be made from any thread, with any executor or none.
/// - A call to a bucket that does not exist is [`WrongStore`](StoreErrorKind::WrongStore), not
///   [`NotFound`](StoreErrorKind::NotFound): no blob is taken for lost because its bucket is. Credentials that ran out are
///   [`PermissionDenied`](StoreErrorKind::PermissionDenied).
/// - A creating copy inside S3 moves the bytes through this process: S3's own way leaves an unfinished upload behind when it is
///   interrupted. An overwriting copy does not.
#[derive(Clone)]
pub struct ObjectStoreBlobs {
    pub(super) bucket: Arc<Bucket>,
    /// Without slashes at its ends; the whole bucket if it is empty.
    pub(super) prefix: Path,
    pub(super) capabilities: Capabilities,
}

/// A client of a bucket.
pub(super) struct Bucket {
    pub(super) store: Arc<dyn ObjectStore>,
    /// The same bucket, where it removes blobs one by one unless it is asked for several.
    pub(super) one_by_one: Arc<dyn ObjectStore>,
    /// The same, for pages of a listing: `None` where blobs are listed in no order.
    pub(super) pages: Option<Arc<dyn PaginatedListStore>>,
    pub(super) service: Service,
    pub(super) home: Option<Home>,
    pub(super) runtime: Handle,
    pub(super) requests: Arc<AtomicU64>,
    /// Clients of this bucket that take a name for one of another bucket, by that bucket's name: for copies.
    pub(super) copiers: Copiers,
}

/// See [`Bucket::copiers`].
#[derive(Default)]
pub(super) struct Copiers {
    /// Makes one; `None` where the service has another way, or none.
    new: Option<NewCopier>,
    made: Mutex<BTreeMap<String, Arc<dyn ObjectStore>>>,
}

/// Makes a client that copies from the bucket of this name.
pub(super) type NewCopier = Box<dyn Fn(&str) -> object_store::Result<Arc<dyn ObjectStore>> + Send + Sync>;

impl Copiers {
    pub(super) fn made_by(new: Option<NewCopier>) -> Self {
        Self { new, made: Mutex::default() }
    }

    fn of(&self, bucket: &str) -> Option<Arc<dyn ObjectStore>> {
        let new = self.new.as_ref()?;
        let mut made = self.made.lock();
        if let Some(made) = made.get(bucket) {
            return Some(made.clone());
        }
        let copier = new(bucket).ok()?;
        made.insert(bucket.to_owned(), copier.clone());
        Some(copier)
    }
}

/// Where a bucket is: two buckets of one service can copy from each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Home {
    /// The account, or the address.
    pub(super) at: String,
    pub(super) bucket: String,
}

/// What differs from service to service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    S3 {
        /// Whether one request removes several blobs.
        deletes_many: bool,
    },
    Azure,
    Google,
    /// One that another crate brings: nothing is known of it.
    Other,
}

impl Service {
    /// The most blobs that one request removes.
    fn batch(self) -> usize {
        match self {
            Self::S3 { deletes_many: true } => 1_000,
            Self::Azure => 256,
            _ => 1,
        }
    }

    /// The header by which a deletion depends on a version.
    pub(super) fn delete_condition(self) -> Option<&'static str> {
        match self {
            Self::S3 { .. } => Some("if-match"),
            Self::Google => Some("x-goog-if-generation-match"),
            // Azure's signature of a request covers its condition, and `object_store` signs none.
            _ => None,
        }
    }

    /// Whether a copy can be made only where no blob is.
    fn creates_copies(self) -> bool {
        !matches!(self, Self::S3 { .. })
    }

    /// Whether a version is a number of the service, and not a hash of what was put.
    fn has_generations(self) -> bool {
        self == Self::Google
    }

    fn is_like(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }

    fn is_known(self) -> bool {
        self != Self::Other
    }

    pub(super) fn capabilities(self) -> Capabilities {
        let of_all = Capabilities::default().with_free_persist(true);
        match self {
            Self::Other => of_all,
            _ => of_all.with_copies_inside(true).with_remounts(false).with_conditional_changes(self.has_generations()),
        }
    }
}

impl fmt::Debug for ObjectStoreBlobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectStoreBlobs({}, `{}`)", self.bucket.store, self.prefix)
    }
}

impl ObjectStoreBlobs {
    pub(super) fn of(bucket: Bucket, prefix: Path) -> Self {
        Self { capabilities: bucket.service.capabilities(), bucket: Arc::new(bucket), prefix }
    }

    /// Sets how many requests at once the bucket serves well: 16 by default. A gallery has its own limits beside this one, of
    /// requests and of bytes, for each operation.
    #[must_use]
    pub fn with_parallel_requests(self, number: usize) -> Self {
        Self { capabilities: self.capabilities.with_parallel_requests(number), ..self }
    }

    /// Returns the number of requests that this bucket's clients have made, those for credentials among them; zero for a store that
    /// was opened elsewhere. Clones count together.
    pub fn requests(&self) -> u64 {
        self.bucket.requests.load(Ordering::Relaxed)
    }

    /// The name of a blob in the bucket.
    fn path(&self, key: &BlobKey) -> Result<Path, Fault> {
        self.name(key.as_str())
    }

    pub(super) fn name(&self, below: &str) -> Result<Path, Fault> {
        let name = format!("{}{below}", self.start());
        if name.len() > MAX_NAME_BYTES {
            return Err(Fault::of(StoreErrorKind::Unsupported));
        }
        Path::parse(name).map_err(|error| Fault::new(Asked::Read, Some(error.into()), Answer::default()))
    }

    /// What the names of all blobs start with.
    pub(super) fn start(&self) -> String {
        match self.prefix.as_ref() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        }
    }

    /// The key of a name in the bucket; `None` if it is foreign.
    pub(super) fn key(&self, name: &Path) -> Option<BlobKey> {
        name.as_ref().strip_prefix(&self.start())?.parse().ok()
    }

    /// Makes requests on the runtime.
    pub(super) async fn ask<T, F>(&self, asked: Asked, call: Call, requests: F) -> Result<(T, Answer), Fault>
    where
        T: Send + 'static,
        F: Future<Output = object_store::Result<T>> + Send + 'static,
    {
        let call = Arc::new(call);
        match runtime::on(&self.bucket.runtime, during(call.clone(), requests)).await {
            Some(Ok(done)) => Ok((done, call.answer())),
            Some(Err(error)) => Err(Fault::new(asked, Some(error), call.answer())),
            None => Err(Fault::new(asked, None, call.answer())),
        }
    }

    async fn pause(&self, times: u32) -> Result<(), Fault> {
        let pause = async move {
            tokio::time::sleep(FIRST_PAUSE.saturating_mul(1 << times.min(10))).await;
            Ok(())
        };
        self.ask(Asked::Read, Call::default(), pause).await.map(drop)
    }

    /// Puts a blob, once.
    async fn put_once(&self, asked: Asked, name: &Path, payload: &PutPayload, mode: TheirMode) -> Result<(), Fault> {
        let (store, name, payload) = (self.bucket.store.clone(), name.clone(), payload.clone());
        let put = async move { store.put_opts(&name, payload, mode.into()).await };
        self.ask(asked, Call::default(), put).await.map(drop)
    }

    pub(super) async fn write(
        &self,
        asked: Asked,
        name: &Path,
        payload: PutPayload,
        mode: TheirMode,
    ) -> Result<(), Fault> {
        let mut times = 0;
        loop {
            match self.put_once(asked, name, &payload, mode.clone()).await {
                Err(fault) if fault.meaning == Meaning::InProgress && times < ASKED_AGAIN => {
                    // Of an unknown store this may be the answer for a blob that is there.
                    if !self.bucket.service.is_known() && self.meta(name).await.is_ok() {
                        return Err(Fault::of(StoreErrorKind::AlreadyExists));
                    }
                    self.pause(times).await?;
                    times += 1;
                }
                done => return done,
            }
        }
    }

    async fn put_payload(&self, key: &BlobKey, payload: PutPayload, mode: PutMode) -> Result<(), Fault> {
        if payload.content_length() as u64 > MAX_BLOB_BYTES {
            return Err(Fault::of(StoreErrorKind::TooLarge));
        }
        let name = self.path(key)?;
        match mode {
            PutMode::Create => self.write(Asked::Create, &name, payload, TheirMode::Create).await,
            PutMode::Overwrite => self.write(Asked::Put, &name, payload, TheirMode::Overwrite).await,
        }
    }

    /// Reads a blob, or a range that is not empty; with what is known of it.
    async fn read(&self, name: &Path, range: Option<Range<u64>>) -> Result<(Bytes, ObjectMeta), Fault> {
        let (store, name, asked) = (self.bucket.store.clone(), name.clone(), range.clone());
        let read = async move {
            let options = GetOptions { range: asked.map(GetRange::Bounded), ..GetOptions::default() };
            let found = store.get_opts(&name, options).await?;
            let (meta, there) = (found.meta.clone(), found.range.clone());
            Ok((found.bytes().await?, meta, there))
        };
        let ((bytes, meta, there), answer) = self.ask(Asked::Read, Call::default(), read).await?;
        if range.is_some_and(|range| range != there) {
            return Err(Fault::of(StoreErrorKind::InvalidRange));
        }
        // A part of a body is no body.
        match bytes.len() as u64 == there.end.saturating_sub(there.start) {
            true => Ok((bytes, meta)),
            false => Err(Fault::of_answer(answer)),
        }
    }

    async fn read_exactly(&self, name: &Path, range: Range<u64>) -> Result<Bytes, Fault> {
        if range.start >= range.end {
            let size = self.meta(name).await?.size;
            let lies_within = range.start == range.end && range.end <= size;
            return if lies_within { Ok(Bytes::new()) } else { Err(Fault::of(StoreErrorKind::InvalidRange)) };
        }
        let fault = match self.read(name, Some(range.clone())).await {
            Ok((bytes, _)) => return Ok(bytes),
            Err(fault) => fault,
        };
        match fault.may_be_of_the_range(self.bucket.service.is_known()) {
            true if self.head_of(name).await.is_ok_and(|meta| meta.size < range.end) => {
                Err(Fault::of(StoreErrorKind::InvalidRange))
            }
            _ => Err(fault),
        }
    }

    /// What the service knows of a blob.
    ///
    /// Services answer a `HEAD` without a body, so also without saying whether it is the blob that does not exist or the bucket. A `GET`
    /// of the first byte says it. A blob without bytes has none.
    async fn meta(&self, name: &Path) -> Result<ObjectMeta, Fault> {
        if !self.bucket.service.is_known() {
            return self.head_of(name).await;
        }
        match self.read(name, Some(0..1)).await {
            Err(fault) if fault.may_be_of_the_range(true) => self.head_of(name).await,
            read => read.map(|(_, meta)| meta),
        }
    }

    pub(super) async fn head_of(&self, name: &Path) -> Result<ObjectMeta, Fault> {
        let (store, name) = (self.bucket.store.clone(), name.clone());
        let head = async move {
            let options = GetOptions { head: true, ..GetOptions::default() };
            store.get_opts(&name, options).await.map(|found| found.meta)
        };
        self.ask(Asked::Read, Call::default(), head).await.map(|(meta, _)| meta)
    }

    pub(super) fn version(&self, meta: &ObjectMeta) -> Option<BlobVersion> {
        if self.bucket.service.has_generations() {
            return meta.version.as_deref().map(BlobVersion::new);
        }
        // Azure leaves the quotation marks out of listings.
        let quoted = |tag: &str| if tag.ends_with('"') { tag.to_owned() } else { format!("\"{tag}\"") };
        meta.e_tag.as_deref().map(quoted).map(BlobVersion::new)
    }

    fn described(&self, key: BlobKey, meta: &ObjectMeta) -> BlobMeta {
        let described = BlobMeta::new(key, meta.size).with_modified(meta.last_modified);
        match self.version(meta) {
            Some(version) => described.with_version(version),
            None => described,
        }
    }

    /// What a listing tells of a blob of this store.
    pub(super) fn listed(&self, meta: &ObjectMeta) -> Option<BlobMeta> {
        Some(self.described(self.key(&meta.location)?, meta))
    }

    /// Removes a blob, or a version of it.
    pub(super) async fn remove(&self, name: &Path, version: Option<&BlobVersion>) -> Result<(), Fault> {
        let (asked, call) = match version {
            None => (Asked::Delete, Call::default()),
            Some(version) => match self.bucket.service.delete_condition() {
                Some(header) => (Asked::DeleteIf, Call::if_matches(header, version.as_str())),
                None => return Err(Fault::of(StoreErrorKind::Unsupported)),
            },
        };
        let (store, names) = (self.bucket.one_by_one.clone(), stream::iter([Ok(name.clone())]).boxed());
        let removal = async move { store.delete_stream(names).try_collect::<Vec<_>>().await };
        gone(self.ask(asked, call, removal).await.map(drop))
    }

    /// Removes as many blobs as one request can.
    async fn remove_batch(&self, keys: &[BlobKey]) -> Vec<StoreResult<()>> {
        let names: Vec<Path> = keys.iter().filter_map(|key| self.path(key).ok()).collect();
        if names.len() != keys.len() || keys.len() == 1 {
            return self.remove_each(keys).await;
        }
        let store = self.bucket.store.clone();
        let removal = async move {
            let names = stream::iter(names.into_iter().map(Ok)).boxed();
            Ok(store.delete_stream(names).map(|outcome| outcome.map(drop)).collect::<Vec<_>>().await)
        };
        let failed = match self.ask(Asked::Delete, Call::default(), removal).await {
            Ok((outcomes, answer)) if outcomes.len() == keys.len() => {
                let of_one = |(key, outcome): (&BlobKey, object_store::Result<()>)| {
                    let outcome = outcome.map_err(|error| Fault::new(Asked::Delete, Some(error), answer.clone()));
                    gone(outcome).map_err(|fault| fault.error("delete", Some(key)))
                };
                return keys.iter().zip(outcomes).map(of_one).collect();
            }
            Ok((outcomes, answer)) => Fault::new(Asked::Delete, outcomes.into_iter().find_map(Result::err), answer),
            Err(fault) => fault,
        };
        // The request failed, for all.
        let failed = failed.error("delete", None);
        let of_each = |key| {
            Err(StoreError::new(failed.kind(), "delete", Some(key))
                .with_source(format!("the request for several: {failed:#}")))
        };
        keys.iter().map(of_each).collect()
    }

    async fn remove_each(&self, keys: &[BlobKey]) -> Vec<StoreResult<()>> {
        derived::at_once(keys.iter().map(|key| self.delete(key)).collect(), self.capabilities).await
    }

    /// Copies inside the service, by a client that takes `from` for a name of its own.
    async fn copy_inside(
        &self,
        (client, call): (Arc<dyn ObjectStore>, Call),
        from: &Path,
        to: &Path,
        mode: CopyMode,
    ) -> Result<(), Fault> {
        let asked = if mode == CopyMode::Create { Asked::CreateCopy } else { Asked::Copy };
        let (source, target) = (from.clone(), to.clone());
        let options = CopyOptions { mode, ..CopyOptions::default() };
        let copy = async move { client.copy_opts(&source, &target, options).await };
        let ((), mut answer) = self.ask(asked, call, copy).await?;
        // Azure may answer before it is done.
        let mut times = 0;
        while answer.copy.as_deref() == Some("pending") {
            self.pause(times.min(ASKED_AGAIN)).await.map_err(|_pause| Fault::of(StoreErrorKind::Unknown))?;
            times += 1;
            let (store, target) = (self.bucket.store.clone(), to.clone());
            let head = async move {
                let options = GetOptions { head: true, ..GetOptions::default() };
                store.get_opts(&target, options).await.map(drop)
            };
            let asked = self.ask(Asked::Copy, Call::default(), head).await;
            answer = asked.map_err(|_head| Fault::of(StoreErrorKind::Unknown))?.1;
        }
        match answer.copy.as_deref() {
            None | Some("success") => Ok(()),
            // What it leaves is a blob without bytes.
            _ => Err(Fault::of(StoreErrorKind::Unknown)),
        }
    }

    /// Copies, and says which of the two blobs a fault is about.
    async fn copy_names(
        &self,
        copier: (Arc<dyn ObjectStore>, Call),
        source: &Self,
        from: &Path,
        to: &Path,
        mode: PutMode,
    ) -> Result<(), (Fault, Side)> {
        let of_target = |fault: Fault| match fault.is(StoreErrorKind::NotFound) {
            true => (fault, Side::Source),
            false => (fault, Side::Target),
        };
        match mode {
            PutMode::Overwrite => self.copy_inside(copier, from, to, CopyMode::Overwrite).await.map_err(of_target),
            PutMode::Create => match self.copy_inside(copier, from, to, CopyMode::Create).await {
                Err(fault) if fault.meaning == Meaning::InProgress || fault.is(StoreErrorKind::AlreadyExists) => {
                    // If there is nothing to copy, that is the answer.
                    source.meta(from).await.map_err(|fault| (fault, Side::Source))?;
                    match fault.meaning {
                        Meaning::InProgress if self.meta(to).await.is_ok() => {
                            Err((Fault::of(StoreErrorKind::AlreadyExists), Side::Target))
                        }
                        _ => Err((fault, Side::Target)),
                    }
                }
                done => done.map_err(of_target),
            },
        }
    }

    /// A client of this bucket that copies from `source`, and what its request has to carry for that.
    fn copier(&self, source: &Self) -> Option<(Arc<dyn ObjectStore>, Call)> {
        let ours = self.bucket.store.clone();
        if Arc::ptr_eq(&self.bucket, &source.bucket) {
            return Some((ours, Call::default()));
        }
        let (here, there) = (self.bucket.home.as_ref()?, source.bucket.home.as_ref()?);
        if here.at != there.at {
            return None;
        }
        match (self.bucket.service, source.bucket.service) {
            (one, other) if one.is_like(other) && here.bucket == there.bucket => Some((ours, Call::default())),
            (Service::S3 { .. }, Service::S3 { .. }) => Some((self.bucket.copiers.of(&there.bucket)?, Call::default())),
            (Service::Google, Service::Google) => Some((ours, Call::from_bucket(&there.bucket))),
            _ => None,
        }
    }
}

/// Which of the two blobs of a copy an error is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Target,
}

/// A blob that does not exist is removed.
fn gone(removal: Result<(), Fault>) -> Result<(), Fault> {
    match removal {
        Err(fault) if fault.is(StoreErrorKind::NotFound) => Ok(()),
        done => done,
    }
}

#[async_trait]
impl BlobStore for ObjectStoreBlobs {
    async fn put(&self, key: &BlobKey, bytes: Bytes, mode: PutMode) -> StoreResult<()> {
        self.put_payload(key, bytes.into(), mode).await.map_err(|fault| fault.error("put", Some(key)))
    }

    async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> StoreResult<Bytes> {
        let read = async {
            let name = self.path(key)?;
            match range {
                Some(range) => self.read_exactly(&name, range).await,
                None => self.read(&name, None).await.map(|(bytes, _)| bytes),
            }
        };
        read.await.map_err(|fault: Fault| fault.error("get", Some(key)))
    }

    async fn head(&self, key: &BlobKey) -> StoreResult<BlobMeta> {
        let head = async { self.meta(&self.path(key)?).await };
        let meta = head.await.map_err(|fault: Fault| fault.error("head", Some(key)))?;
        Ok(self.described(key.clone(), &meta))
    }

    async fn delete(&self, key: &BlobKey) -> StoreResult<()> {
        let removal = async { self.remove(&self.path(key)?, None).await };
        removal.await.map_err(|fault: Fault| fault.error("delete", Some(key)))
    }

    async fn list(&self, under: Option<&BlobKey>, after: Option<&BlobKey>, limit: usize) -> StoreResult<Page> {
        self.list_page(under, after, limit.max(1)).await
    }

    async fn persist(&self, _under: &BlobKey) -> StoreResult<()> {
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn copy(&self, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        let during = |error: StoreError| error.during("copy");
        if from == to {
            self.head(from).await.map_err(during)?;
            return match mode {
                PutMode::Overwrite => Ok(()),
                PutMode::Create => Err(StoreError::new(StoreErrorKind::AlreadyExists, "copy", Some(to))),
            };
        }
        if mode == PutMode::Create && !self.bucket.service.creates_copies() {
            let bytes = self.get(from, None).await.map_err(during)?;
            return self.put(to, bytes, mode).await.map_err(during);
        }
        let name = |key| self.path(key).map_err(|fault| fault.error("copy", Some(key)));
        let copied =
            self.copy_names((self.bucket.store.clone(), Call::default()), self, &name(from)?, &name(to)?, mode).await;
        copied.map_err(|(fault, side)| fault.error("copy", Some(if side == Side::Source { from } else { to })))
    }

    async fn put_parts(&self, key: &BlobKey, parts: &[Bytes], mode: PutMode) -> StoreResult<()> {
        let payload: PutPayload = parts.iter().cloned().collect();
        self.put_payload(key, payload, mode).await.map_err(|fault| fault.error("put_parts", Some(key)))
    }

    async fn delete_many(&self, keys: &[BlobKey]) -> Vec<StoreResult<()>> {
        let batches = keys.chunks(self.bucket.service.batch()).map(|keys| self.remove_batch(keys).boxed());
        derived::at_once(batches.collect(), self.capabilities).await.into_iter().flatten().collect()
    }

    fn list_pages(&self, under: Option<&BlobKey>, after: Option<&BlobKey>) -> Pages<'_> {
        self.all_pages(under, after)
    }

    async fn replace_if(&self, key: &BlobKey, bytes: Bytes, version: &BlobVersion) -> StoreResult<()> {
        let replacement = async {
            if !self.capabilities.changes_conditionally() {
                return Err(Fault::of(StoreErrorKind::Unsupported));
            }
            if bytes.len() as u64 > MAX_BLOB_BYTES {
                return Err(Fault::of(StoreErrorKind::TooLarge));
            }
            self.replace(&self.path(key)?, bytes, version).await
        };
        replacement.await.map_err(|fault| fault.error("replace_if", Some(key)))
    }

    async fn delete_if(&self, key: &BlobKey, version: &BlobVersion) -> StoreResult<()> {
        let removal = async {
            match self.capabilities.changes_conditionally() {
                true => self.remove(&self.path(key)?, Some(version)).await,
                false => Err(Fault::of(StoreErrorKind::Unsupported)),
            }
        };
        removal.await.map_err(|fault| fault.error("delete_if", Some(key)))
    }

    async fn copy_from(&self, store: &dyn BlobStore, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        let unsupported = || StoreError::new(StoreErrorKind::Unsupported, "copy_from", Some(to));
        let place = store.place_of(from).ok_or_else(unsupported)?;
        let source = place.store::<Self>().ok_or_else(unsupported)?;
        let copier = self.copier(source).ok_or_else(unsupported)?;
        let can =
            self.capabilities.copies_inside() && (mode == PutMode::Overwrite || self.bucket.service.creates_copies());
        let ours = self.path(to).map_err(|fault| fault.error("copy_from", Some(to)))?;
        let theirs = source.path(place.key()).map_err(|fault| fault.error("copy_from", Some(from)))?;
        if !can || ours == theirs {
            return Err(unsupported());
        }
        let copied = self.copy_names(copier, source, &theirs, &ours, mode).await;
        copied.map_err(|(fault, side)| fault.error("copy_from", Some(if side == Side::Source { from } else { to })))
    }

    fn place_of(&self, key: &BlobKey) -> Option<BlobPlace<'_>> {
        Some(BlobPlace::new(self, key.clone()))
    }
}

impl ObjectStoreBlobs {
    pub(super) async fn replace(&self, name: &Path, bytes: Bytes, version: &BlobVersion) -> Result<(), Fault> {
        let text = Some(version.as_str().to_owned());
        let version = match self.bucket.service.has_generations() {
            true => UpdateVersion { e_tag: None, version: text },
            false => UpdateVersion { e_tag: text, version: None },
        };
        self.write(Asked::Replace, name, bytes.into(), TheirMode::Update(version)).await
    }
}
