//! Blobs of a store's directory: written, found, removed and made durable.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use bytes::Bytes;

use super::super::blob::{MAX_BLOB_BYTES, PutMode};
use super::super::error::{StoreErrorKind, StoreResult};
use super::super::key::BlobKey;
use super::buffers::Buffers;
use super::call::{Call, not_what_it_should_be};
use super::durability::Durability;
use super::entry::Kind;
use super::place::{Parent, Place, Root, Step, step};
use super::staging::Staged;
use super::system::Dir;
use super::walk;

impl Place {
    pub(super) fn store(
        &self,
        call: Call<'_>,
        root: &Root,
        key: &BlobKey,
        mode: PutMode,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> StoreResult<()> {
        // Most losers of a race get this answer, without the cost of a body.
        match self.parent(root, key).map_err(|error| call.failed(error))? {
            Parent::Dir(dir, name) => refuse(call, &dir, name, mode)?,
            Parent::Absent => {}
            Parent::IsBlob => return Err(call.failed(not_what_it_should_be())),
        }
        let (mut staged, mut file) = Staged::create(&root.staging).map_err(|error| call.failed(error))?;
        fill(&mut file).map_err(|error| call.failed(error))?;
        if self.durability == Durability::Full {
            // ORDER: the bytes are durable before the name exists; else a power cut leaves a name without them. After an error
            // the system may have dropped the pages, and a second sync would succeed without them: the file goes.
            file.sync_data().map_err(|error| call.failed(error))?;
        }
        // ORDER: closed before it is published, because some file systems write on close.
        drop(file);
        let mut times = 0;
        let dir = loop {
            let (dir, name) = match self.create_parent(root, key).map_err(|error| call.failed(error))? {
                Parent::Dir(dir, name) => (dir, name),
                Parent::Absent if times < DIRECTORIES_LOST => {
                    times += 1;
                    continue;
                }
                Parent::Absent => return Err(call.failed(io::ErrorKind::NotFound.into())),
                Parent::IsBlob => return Err(call.failed(not_what_it_should_be())),
            };
            let moved = match mode {
                PutMode::Create => staged.move_new(&dir, name),
                PutMode::Overwrite => staged.replace(&dir, name),
            };
            match moved {
                Ok(()) => break dir,
                // Another call has removed the directory, which was empty: nothing can be put in it any more.
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound && times < DIRECTORIES_LOST && staged.is_there() =>
                {
                    times += 1;
                }
                Err(error) if mode == PutMode::Create && error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(match refuse(call, &dir, name, mode) {
                        Err(refused) if refused.kind() == StoreErrorKind::Obstructed => refused,
                        _ => call.is(StoreErrorKind::AlreadyExists),
                    });
                }
                Err(error) => return Err(call.changing(error)),
            }
        };
        // ORDER: the name is durable before it is acknowledged. It is there from here on, so a failure leaves open
        // whether it will stay.
        self.sync(&dir).map_err(|error| call.unknown(error))
    }

    /// Removes blobs, those of each directory together. The outcomes are in the order of `keys`.
    pub(super) fn delete_many(&self, call: Call<'_>, keys: &[BlobKey]) -> Vec<StoreResult<()>> {
        let mut by_directory: BTreeMap<Option<BlobKey>, Vec<(usize, &BlobKey)>> = BTreeMap::new();
        for (number, key) in keys.iter().enumerate() {
            by_directory.entry(key.parent()).or_default().push((number, key));
        }
        let mut outcomes: Vec<(usize, StoreResult<()>)> = Vec::with_capacity(keys.len());
        for (at, numbered) in by_directory {
            let (numbers, keys): (Vec<usize>, Vec<&BlobKey>) = numbered.into_iter().unzip();
            outcomes.extend(numbers.into_iter().zip(self.delete_beside(call, at.as_ref(), &keys)));
        }
        outcomes.sort_unstable_by_key(|(number, _)| *number);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// Removes blobs of the directory `at`, `None` being the root, and then the directory and those above it as far as they are
    /// empty. The outcomes are those of `keys`, in their order.
    pub(super) fn delete_beside(
        &self,
        call: Call<'_>,
        at: Option<&BlobKey>,
        keys: &[&BlobKey],
    ) -> Vec<StoreResult<()>> {
        let failed = |error: &io::Error| {
            keys.iter().map(|key| Err(Call { key: Some(key), ..call }.failed(same(error)))).collect()
        };
        let root = match self.open_root() {
            Ok(root) => root,
            Err(error) => return failed(&error),
        };
        let way = match self.way(&root, at) {
            Ok(Some(way)) => way,
            // It is gone, or never was: it was emptied durably before it was removed.
            Ok(None) => return keys.iter().map(|_| Ok(())).collect(),
            Err(error) => return failed(&error),
        };
        let dir = way.last().map_or(&root.dir, |(dir, _)| dir);
        let mut outcomes: Vec<StoreResult<()>> = keys.iter().map(|key| remove(call, dir, key)).collect();
        // Also if all were gone already: the process that removed them may not have synced yet.
        // ORDER: the directory is emptied durably before it is removed, so that its absence says that its blobs are gone.
        let synced = self.sync(dir).and_then(|()| self.remove_empty(&root, &way));
        if let Err(error) = synced {
            for (outcome, key) in outcomes.iter_mut().zip(keys).filter(|(outcome, _)| outcome.is_ok()) {
                *outcome = Err(Call { key: Some(key), ..call }.unknown(same(&error)));
            }
        }
        outcomes
    }

    /// Removes the last directory of the way if it is empty, then the one above it, and so on.
    fn remove_empty(&self, root: &Root, way: &[(Dir, &str)]) -> io::Result<()> {
        for (number, (_, name)) in way.iter().enumerate().rev() {
            let above = number.checked_sub(1).and_then(|above| way.get(above)).map_or(&root.dir, |(dir, _)| dir);
            match above.remove_dir(name) {
                Ok(()) => {}
                // Another call removed it, before this one had synced what it removed from it: now the removal has to last.
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.sync(above)?,
                // It has blobs, or foreign files, or is a mount point, or this user may not: it stays.
                Err(_) => break,
            }
        }
        Ok(())
    }

    pub(super) fn open_blob(&self, call: Call<'_>, root: &Root, key: &BlobKey) -> StoreResult<(File, u64)> {
        let Parent::Dir(dir, name) = self.parent(root, key).map_err(|error| call.failed(error))? else {
            return Err(call.is(StoreErrorKind::NotFound));
        };
        dir.open_file(name).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => call.is(StoreErrorKind::NotFound),
            _ => call.failed(error),
        })
    }

    pub(super) fn persist(&self, root: Dir, under: &BlobKey) -> io::Result<()> {
        let mut dir = root;
        for segment in under.segments() {
            // The names on the way are needed as well as those below.
            dir.sync()?;
            match step(&dir, segment)? {
                Step::Dir(next) => dir = next,
                Step::Absent | Step::IsBlob => return Ok(()),
            }
        }
        walk::sync_all(&dir, Some(under))
    }
}

/// How many times in a row another call can remove the directory that a put has just found or made. Each time that call was done
/// with a deletion, so this many are a fault of the file system.
const DIRECTORIES_LOST: u32 = 1_000;

/// The same error for one more key.
fn same(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

fn remove(call: Call<'_>, dir: &Dir, key: &BlobKey) -> StoreResult<()> {
    let call = Call { key: Some(key), ..call };
    let name = key.segments().next_back().unwrap_or_default();
    match dir.kind(name).map_err(|error| call.failed(error))? {
        Some(Kind::File(_)) => match dir.remove_file(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(call.changing(error)),
            _ => Ok(()),
        },
        Some(Kind::Directory) | None => Ok(()),
        Some(Kind::Other) => Err(call.failed(not_what_it_should_be())),
    }
}

fn refuse(call: Call<'_>, dir: &Dir, name: &str, mode: PutMode) -> StoreResult<()> {
    match dir.kind(name).map_err(|error| call.failed(error))? {
        Some(Kind::File(_)) if mode == PutMode::Create => Err(call.is(StoreErrorKind::AlreadyExists)),
        Some(Kind::File(_)) | None => Ok(()),
        Some(Kind::Directory | Kind::Other) => Err(call.failed(not_what_it_should_be())),
    }
}

pub(super) fn read(mut file: File, range: Range<u64>, buffers: &Buffers) -> io::Result<Bytes> {
    let length = range.end.saturating_sub(range.start);
    if length > MAX_BLOB_BYTES {
        // No store has put this, and it may be larger than memory.
        return Err(not_what_it_should_be());
    }
    let length = usize::try_from(length).map_err(io::Error::other)?;
    file.seek(SeekFrom::Start(range.start))?;
    buffers.filled(length, |bytes| file.read_exact(bytes))
}
