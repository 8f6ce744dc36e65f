//! The file store.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream;

use super::super::blob::{BlobFile, BlobMeta, Folders, MAX_BLOB_BYTES, Page, Pages, PutMode};
use super::super::blob_place::BlobPlace;
use super::super::blob_store::BlobStore;
use super::super::capabilities::{Capabilities, Latency};
use super::super::derived;
use super::super::error::{StoreError, StoreErrorKind, StoreResult};
use super::super::key::BlobKey;
use super::blobs::read;
use super::buffers::Buffers;
use super::call::{Call, not_what_it_should_be};
use super::copy::{self, Blocks};
use super::durability::Durability;
use super::entry::Kind;
use super::place::{Parent, Place};
use super::walk::{self, Walk};
use super::{probe, staging};
use crate::host::Workers;

/// A store in a directory: the blob `a/b` is the file `b` in the directory `a`.
///
/// Any number of processes of one machine may use a directory at once, all with the same [`Durability`]. On a network file
/// system, the contract holds as far as `rename`, `link` and `fsync` do.
///
/// - A file whose name is not a [`BlobKey`] is ignored.
/// - Symbolic links below the directory are never followed: a call that meets one is
///   [`Obstructed`](StoreErrorKind::Obstructed), and a listing leaves it out.
/// - A file system cannot have both `a` and `a/b`: the second of them is `Obstructed`, and the first stays.
/// - A directory goes with its last blob. (On other systems than Unix it stays. A crash may leave one that is empty, until a blob of it is deleted.)
/// - A copy has its own blocks, also if the file system can share those of the source (btrfs, XFS): a bad sector damages one of
///   the two. [`with_shared_blocks`](Self::with_shared_blocks) changes that. Holes stay holes.
/// - A directory without a `.staging` is not a store: [`open`](Self::open) refuses it, and every later call is
///   [`Unavailable`](StoreErrorKind::Unavailable). So a disk that is not mounted does not look like an empty store.
///
/// ```
/// use bytes::Bytes;
/// use compute_gallery::store::{BlobStore, FsStore, PutMode, StoreErrorKind};
///
/// # futures::executor::block_on(async {
/// # let directory = tempfile::tempdir()?;
/// # let directory = directory.path();
/// let store = FsStore::create(directory)?;
/// store.put(&"a/b".parse()?, Bytes::from_static(b"bytes"), PutMode::Create).await?;
/// assert_eq!(std::fs::read(directory.join("a/b"))?, b"bytes");
///
/// let clash = store.put(&"a/b/c".parse()?, Bytes::new(), PutMode::Create).await.unwrap_err();
/// assert_eq!(clash.kind(), StoreErrorKind::Obstructed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct FsStore {
    place: Arc<Place>,
    workers: Workers,
    blocks: Blocks,
    buffers: Buffers,
}

/// No put takes this long, however slow the disk.
const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 60 * 60);

impl FsStore {
    /// Opens the store in the directory `root` that [`create`](Self::create) has made.
    ///
    /// A directory that is missing or mistyped, or whose disk is not mounted, is an error, and nothing is made there.
    /// Half-written files that a crash left more than a day ago are removed.
    ///
    /// ```
    /// use compute_gallery::store::{FsStore, StoreErrorKind};
    ///
    /// let directory = tempfile::tempdir()?;
    /// let not_mounted = FsStore::open(directory.path()).unwrap_err();
    /// assert_eq!(not_mounted.kind(), StoreErrorKind::NotFound);
    /// FsStore::create(directory.path())?;
    /// FsStore::open(directory.path())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no store; `Unsupported` if the file system lacks a feature that a store needs, such as a way to
    /// give a file a name only if the name is free (FAT and exFAT have none); `Obstructed` if something else has the store's
    /// place; `PermissionDenied`, `Unavailable`. Each names the path.
    pub fn open(root: impl AsRef<Path>) -> StoreResult<Self> {
        Self::open_with(root, Durability::default())
    }

    /// Opens the store as [`open`](Self::open) does, with another durability.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub fn open_with(root: impl AsRef<Path>, durability: Durability) -> StoreResult<Self> {
        let place = Self::place("open", root.as_ref(), durability)?;
        let call = place.call("open");
        if !place.is_store().map_err(|error| call.opening(error))? {
            return Err(call.opening(io::ErrorKind::NotFound.into()));
        }
        Self::enter(place, "open")
    }

    /// Makes a store in the directory `root`, and the directory if it does not exist. Files in the directory stay.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` if there is a store: [`open`](Self::open) it; `NotFound` if the directory cannot be made; `Obstructed`
    /// if something else has the store's place; `Unsupported` as for [`open`](Self::open); `PermissionDenied`, `Full`,
    /// `Unavailable`. Each names the path.
    pub fn create(root: impl AsRef<Path>) -> StoreResult<Self> {
        Self::create_with(root, Durability::default())
    }

    /// Makes a store as [`create`](Self::create) does, with another durability.
    ///
    /// # Errors
    ///
    /// Those of [`create`](Self::create).
    pub fn create_with(root: impl AsRef<Path>, durability: Durability) -> StoreResult<Self> {
        let place = Self::place("create", root.as_ref(), durability)?;
        let call = place.call("create");
        if !place.create_directories().map_err(|error| call.opening(error))? {
            let what = format!("a store is in `{}` already: open it", place.root().display());
            return Err(call.is(StoreErrorKind::AlreadyExists).with_detail(what));
        }
        Self::enter(place, "create")
    }

    /// Opens the store in the directory `root`, or makes one: for directories that are not mount points, such as those of tests.
    /// On a mount point use [`open`](Self::open), which notices that the disk is not mounted.
    ///
    /// # Errors
    ///
    /// Those of [`create`](Self::create), except for `AlreadyExists`.
    pub fn open_or_create(root: impl AsRef<Path>) -> StoreResult<Self> {
        Self::open_or_create_with(root, Durability::default())
    }

    /// Opens or makes a store as [`open_or_create`](Self::open_or_create) does, with another durability.
    ///
    /// # Errors
    ///
    /// Those of [`open_or_create`](Self::open_or_create).
    pub fn open_or_create_with(root: impl AsRef<Path>, durability: Durability) -> StoreResult<Self> {
        let place = Self::place("open", root.as_ref(), durability)?;
        let call = place.call("open");
        place.create_directories().map_err(|error| call.opening(error))?;
        Self::enter(place, "open")
    }

    fn place(operation: &'static str, root: &Path, durability: Durability) -> StoreResult<Place> {
        let call = Call { operation, key: None, root };
        Place::new(root, durability).map_err(|error| call.opening(error))
    }

    fn enter(place: Place, operation: &'static str) -> StoreResult<Self> {
        let opened = place.enter_root(place.call(operation))?;
        probe::file_system(&place, &opened.staging, place.call(operation))?;
        // A read-only store is of use, too: its leftovers stay.
        let _ = staging::remove_leftovers(&opened.staging, LEFTOVER_AGE);
        Ok(Self {
            place: Arc::new(place),
            workers: Workers::default(),
            blocks: Blocks::OfItsOwn,
            buffers: Buffers::default(),
        })
    }

    /// Lets a copy share its source's blocks if the file system can (btrfs, XFS). The copy then takes no time and no space,
    /// and damage to a block damages both. So several replicas in one region add no safety and no read capacity: it is for
    /// stores that are discarded, and for file systems on redundant disks.
    #[must_use]
    pub fn with_shared_blocks(self) -> Self {
        Self { blocks: Blocks::Shared, ..self }
    }

    /// Sets where system calls run: by default on [`Workers::default`].
    #[must_use]
    pub fn with_workers(self, workers: Workers) -> Self {
        Self { workers, ..self }
    }

    /// Removes half-written files that are older than `age` by the file system's clock, and returns their number. A put or copy
    /// that has been running for longer than that fails.
    ///
    /// [`open`](Self::open) does it with an age of one day.
    ///
    /// # Errors
    ///
    /// `PermissionDenied`, `Full`, `Unavailable`.
    pub async fn remove_leftovers(&self, age: Duration) -> StoreResult<usize> {
        let place = Arc::clone(&self.place);
        self.workers
            .run(move || {
                let call = Call { operation: "remove_leftovers", key: None, root: place.root() };
                let root = place.enter_root(call)?;
                staging::remove_leftovers(&root.staging, age).map_err(|error| call.failed(error))
            })
            .await
    }

    /// Runs `work` where blocking is allowed.
    async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        key: Option<&BlobKey>,
        work: impl FnOnce(&Place, Call<'_>) -> StoreResult<T> + Send + 'static,
    ) -> StoreResult<T> {
        let (place, key) = (Arc::clone(&self.place), key.cloned());
        self.workers.run(move || work(&place, Call { operation, key: key.as_ref(), root: place.root() })).await
    }
}

/// Writes the parts one after the other, without putting them together.
fn write_parts(file: &mut File, parts: &[Bytes]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let mut rest = slices.as_mut_slice();
    // Those without bytes go, because a write of nothing looks like a full disk.
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match file.write_vectored(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A listing by pages, before and after its first one.
#[derive(Debug)]
enum Listing {
    New { under: Option<BlobKey>, after: Option<BlobKey> },
    Open(Walk),
}

impl Listing {
    fn next(self, place: &Place, call: Call<'_>) -> StoreResult<Option<(Vec<BlobMeta>, Walk)>> {
        let mut walk = match self {
            Self::Open(walk) => walk,
            Self::New { under, after } => {
                let root = place.enter_root(call)?;
                let walk = place.enter(root.dir, under.as_ref()).and_then(|found| match found {
                    Some(dir) => Walk::new(dir, under, after).map(Some),
                    None => Ok(None),
                });
                match walk.map_err(|error| call.failed(error))? {
                    Some(walk) => walk,
                    None => return Ok(None),
                }
            }
        };
        let page = walk.next_page(derived::PAGE).map_err(|error| call.failed(error))?;
        Ok((!page.is_empty()).then_some((page, walk)))
    }
}

#[async_trait]
impl BlobStore for FsStore {
    async fn put(&self, key: &BlobKey, bytes: Bytes, mode: PutMode) -> StoreResult<()> {
        let to = key.clone();
        self.run("put", Some(key), move |place, call| {
            if bytes.len() as u64 > MAX_BLOB_BYTES {
                return Err(call.is(StoreErrorKind::TooLarge));
            }
            place.store(call, &place.enter_root(call)?, &to, mode, |file| file.write_all(&bytes))
        })
        .await
    }

    async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> StoreResult<Bytes> {
        let (from, buffers) = (key.clone(), self.buffers.clone());
        self.run("get", Some(key), move |place, call| {
            let (file, size) = place.open_blob(call, &place.enter_root(call)?, &from)?;
            let range = range.unwrap_or(0..size);
            if range.start > range.end || range.end > size {
                return Err(call.is(StoreErrorKind::InvalidRange));
            }
            read(file, range, &buffers).map_err(|error| call.failed(error))
        })
        .await
    }

    async fn head(&self, key: &BlobKey) -> StoreResult<BlobMeta> {
        let at = key.clone();
        self.run("head", Some(key), move |place, call| {
            let found = match place.parent(&place.enter_root(call)?, &at) {
                Ok(Parent::Dir(dir, name)) => dir.kind(name).and_then(|kind| Ok((kind, dir.modified(name)?))),
                Ok(Parent::Absent | Parent::IsBlob) => Ok((None, None)),
                Err(error) => Err(error),
            };
            match found.map_err(|error| call.failed(error))? {
                (Some(Kind::File(size)), modified) => {
                    Ok(BlobMeta { modified: modified.map(Into::into), ..BlobMeta::new(at, size) })
                }
                (Some(Kind::Directory) | None, _) => Err(call.is(StoreErrorKind::NotFound)),
                (Some(Kind::Other), _) => Err(call.failed(not_what_it_should_be())),
            }
        })
        .await
    }

    async fn delete(&self, key: &BlobKey) -> StoreResult<()> {
        let at = key.clone();
        let beside = move |place: &Place, call: Call<'_>| {
            place.delete_beside(call, at.parent().as_ref(), &[&at]).into_iter().collect()
        };
        self.run("delete", Some(key), beside).await
    }

    async fn list(&self, under: Option<&BlobKey>, after: Option<&BlobKey>, limit: usize) -> StoreResult<Page> {
        let (at, after, limit) = (under.cloned(), after.cloned(), limit.max(1));
        self.run("list", under, move |place, call| {
            let root = place.enter_root(call)?;
            let listed = place.enter(root.dir, at.as_ref()).and_then(|found| match found {
                // One more than the limit shows whether there are more.
                Some(dir) => Walk::new(dir, at, after)?.next_page(limit.saturating_add(1)),
                None => Ok(Vec::new()),
            });
            let mut blobs = listed.map_err(|error| call.failed(error))?;
            let more = blobs.len() > limit;
            blobs.truncate(limit);
            Ok(Page::new(blobs, more))
        })
        .await
    }

    async fn copy(&self, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        let (from, to, blocks) = (from.clone(), to.clone(), self.blocks);
        self.run("copy", None, move |place, call| {
            let reading = Call { key: Some(&from), ..call };
            let writing = Call { key: Some(&to), ..call };
            let root = place.enter_root(writing)?;
            let (mut file, size) = place.open_blob(reading, &root, &from)?;
            if size > MAX_BLOB_BYTES {
                return Err(reading.is(StoreErrorKind::TooLarge));
            }
            place.store(writing, &root, &to, mode, |copy| copy::copy_bytes(&mut file, copy, size, blocks))
        })
        .await
    }

    async fn persist(&self, under: &BlobKey) -> StoreResult<()> {
        let at = under.clone();
        self.run("persist", Some(under), move |place, call| {
            if place.durability == Durability::LostOnPowerCut {
                return Ok(());
            }
            let root = place.enter_root(call)?;
            place.persist(root.dir, &at).map_err(|error| call.failed(error))
        })
        .await
    }

    fn capabilities(&self) -> Capabilities {
        let is_free = self.place.durability == Durability::LostOnPowerCut;
        Capabilities::default().with_latency(Latency::Low).with_copies_inside(true).with_free_persist(is_free)
    }

    async fn open_file(&self, key: &BlobKey) -> StoreResult<Option<BlobFile>> {
        let at = key.clone();
        self.run("open_file", Some(key), move |place, call| {
            let (file, size) = place.open_blob(call, &place.enter_root(call)?, &at)?;
            let modified = file.metadata().and_then(|meta| meta.modified()).ok();
            let meta = BlobMeta { modified: modified.map(Into::into), ..BlobMeta::new(at, size) };
            Ok(Some(BlobFile::new(meta, file)))
        })
        .await
    }

    async fn put_parts(&self, key: &BlobKey, parts: &[Bytes], mode: PutMode) -> StoreResult<()> {
        let (to, parts) = (key.clone(), parts.to_vec());
        self.run("put_parts", Some(key), move |place, call| {
            if derived::size_of(&parts) > MAX_BLOB_BYTES {
                return Err(call.is(StoreErrorKind::TooLarge));
            }
            place.store(call, &place.enter_root(call)?, &to, mode, |file| write_parts(file, &parts))
        })
        .await
    }

    /// Removes the blobs of each directory together, and syncs it once.
    async fn delete_many(&self, keys: &[BlobKey]) -> Vec<StoreResult<()>> {
        let (place, all) = (Arc::clone(&self.place), keys.to_vec());
        self.workers.run(move || place.delete_many(place.call("delete"), &all)).await
    }

    /// Reads each directory once.
    fn list_pages(&self, under: Option<&BlobKey>, after: Option<&BlobKey>) -> Pages<'_> {
        let start = Some(Listing::New { under: under.cloned(), after: after.cloned() });
        let under = under.cloned();
        Box::pin(stream::try_unfold((start, under), move |(listing, under)| async move {
            let Some(listing) = listing else { return Ok(None) };
            let next = move |place: &Place, call: Call<'_>| listing.next(place, call);
            let page = self.run("list", under.as_ref(), next).await?;
            Ok(page.map(|(page, walk)| (page, (Some(Listing::Open(walk)), under))))
        }))
    }

    async fn list_folders(
        &self,
        under: Option<&BlobKey>,
        after: Option<&BlobKey>,
        limit: usize,
    ) -> StoreResult<Folders> {
        let (at, after, limit) = (under.cloned(), after.cloned(), limit.max(1));
        self.run("list_folders", under, move |place, call| {
            let root = place.enter_root(call)?;
            let listed = place.enter(root.dir, at.as_ref()).and_then(|found| match found {
                // One more than the limit shows whether there are more.
                Some(dir) => walk::folders(&dir, at.as_ref(), after.as_ref(), limit.saturating_add(1)),
                None => Ok(Vec::new()),
            });
            let mut keys = listed.map_err(|error| call.failed(error))?;
            let more = keys.len() > limit;
            keys.truncate(limit);
            Ok(Folders::new(keys, more))
        })
        .await
    }

    /// Copies between the parts of one directory.
    async fn copy_from(&self, store: &dyn BlobStore, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        let place = store.place_of(from);
        let here =
            place.filter(|place| place.store::<Self>().is_some_and(|other| other.place.root() == self.place.root()));
        let Some(here) = here else {
            return Err(StoreError::new(StoreErrorKind::Unsupported, "copy_from", Some(to)));
        };
        self.copy(here.key(), to, mode).await.map_err(|error| error.of_copy(from, to))
    }

    fn place_of(&self, key: &BlobKey) -> Option<BlobPlace<'_>> {
        Some(BlobPlace::new(self, key.clone()))
    }
}
