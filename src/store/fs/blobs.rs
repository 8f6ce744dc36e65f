//! Blobs of a store's directory: written, found, removed and made durable.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use bytes::Bytes;

use super::super::blob::{MAX_BLOB_BYTES, PutMode};
use super::super::error::{StoreErrorKind, StoreResult};
use super::super::key::BlobKey;
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
        let (dir, name) = match self.create_parent(root, key).map_err(|error| call.failed(error))? {
            Parent::Dir(dir, name) => (dir, name),
            Parent::Absent | Parent::IsBlob => return Err(call.failed(not_what_it_should_be())),
        };
        let moved = match mode {
            PutMode::Create => staged.move_new(&dir, name),
            PutMode::Overwrite => staged.replace(&dir, name),
        };
        if let Err(error) = moved {
            return Err(match (mode, error.kind()) {
                (PutMode::Create, io::ErrorKind::AlreadyExists) => match refuse(call, &dir, name, mode) {
                    Err(refused) if refused.kind() == StoreErrorKind::Obstructed => refused,
                    _ => call.is(StoreErrorKind::AlreadyExists),
                },
                _ => call.changing(error),
            });
        }
        // ORDER: the name is durable before it is acknowledged. It is there from here on, so a failure leaves open
        // whether it will stay.
        self.sync(&dir).map_err(|error| call.unknown(error))
    }

    pub(super) fn delete(&self, call: Call<'_>, key: &BlobKey) -> StoreResult<()> {
        let root = self.enter_root(call)?;
        let Parent::Dir(dir, name) = self.parent(&root, key).map_err(|error| call.failed(error))? else {
            return Ok(());
        };
        match dir.kind(name).map_err(|error| call.failed(error))? {
            Some(Kind::File(_)) => match dir.remove_file(name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(call.changing(error)),
                _ => {}
            },
            Some(Kind::Directory) => return Ok(()),
            Some(Kind::Other) => return Err(call.failed(not_what_it_should_be())),
            None => {}
        }
        // Also if it was gone already: the process that removed it may not have synced yet.
        self.sync(&dir).map_err(|error| call.unknown(error))
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

fn refuse(call: Call<'_>, dir: &Dir, name: &str, mode: PutMode) -> StoreResult<()> {
    match dir.kind(name).map_err(|error| call.failed(error))? {
        Some(Kind::File(_)) if mode == PutMode::Create => Err(call.is(StoreErrorKind::AlreadyExists)),
        Some(Kind::File(_)) | None => Ok(()),
        Some(Kind::Directory | Kind::Other) => Err(call.failed(not_what_it_should_be())),
    }
}

pub(super) fn read(mut file: File, range: Range<u64>) -> io::Result<Bytes> {
    let length = range.end.saturating_sub(range.start);
    if length > MAX_BLOB_BYTES {
        // No store has put this, and it may be larger than memory.
        return Err(not_what_it_should_be());
    }
    let capacity = usize::try_from(length).map_err(io::Error::other)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(capacity).map_err(io::Error::other)?;
    file.seek(SeekFrom::Start(range.start))?;
    file.take(length).read_to_end(&mut bytes)?;
    if bytes.len() < capacity {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes.into())
}
