//! The directory of a store, and the way to the parent of a blob.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;

use super::super::error::StoreResult;
use super::super::key::BlobKey;
use super::call::{Call, not_what_it_should_be};
use super::durability::Durability;
use super::entry::{Kind, STAGING};
use super::system::Dir;
use super::walk;
use crate::host::sync::Mutex;

/// The directory of a store, and the names in it that this process knows to be durable.
#[derive(Debug)]
pub(super) struct Place {
    root: PathBuf,
    pub(super) durability: Durability,
    /// INVARIANT: directories whose own names this process made durable. None is ever removed, so they stay so.
    durable: Mutex<HashSet<BlobKey>>,
}

/// The root and its staging directory, opened for one call.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) dir: Dir,
    pub(super) staging: Dir,
}

/// The parent directory of a blob.
#[derive(Debug)]
pub(super) enum Parent<'a> {
    Dir(Dir, &'a str),
    Absent,
    /// A blob has the name that the directory would need.
    IsBlob,
}

/// The maximum number of remembered names. A forgotten one costs a sync when it is next needed.
const DURABLE_NAMES: usize = 16 << 10;

impl Place {
    pub(super) fn new(root: impl AsRef<Path>, durability: Durability) -> io::Result<Self> {
        Ok(Self { root: std::path::absolute(root)?, durability, durable: Mutex::default() })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn call(&self, operation: &'static str) -> Call<'_> {
        Call { operation, key: None, root: &self.root }
    }

    /// Returns whether the directory is a store.
    pub(super) fn is_store(&self) -> io::Result<bool> {
        match Dir::open_root(&self.root) {
            Ok(root) => Ok(root.kind(STAGING)?.is_some()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes a store of the directory; false if it is one already.
    pub(super) fn create_directories(&self) -> io::Result<bool> {
        let missing: Vec<&Path> = self.root.ancestors().take_while(|path| !path.exists()).collect();
        for path in missing.into_iter().rev() {
            match std::fs::create_dir(path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                result => result?,
            }
            if let Some(parent) = path.parent() {
                self.sync(&Dir::open_root(parent)?)?;
            }
        }
        let root = Dir::open_root(&self.root)?;
        if root.kind(STAGING)?.is_some() {
            return Ok(false);
        }
        let is_new = match root.create_dir(STAGING) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            result => result.map(|()| true)?,
        };
        self.sync(&root)?;
        Ok(is_new)
    }

    pub(super) fn enter_root(&self, call: Call<'_>) -> StoreResult<Root> {
        let open = || {
            let dir = Dir::open_root(&self.root)?;
            let staging = dir.open_dir(STAGING)?;
            Ok(Root { dir, staging })
        };
        open().map_err(|error| call.failed(error))
    }

    pub(super) fn sync(&self, dir: &Dir) -> io::Result<()> {
        match self.durability {
            Durability::Full => dir.sync(),
            Durability::LostOnPowerCut => Ok(()),
        }
    }

    fn durable(&self) -> MutexGuard<'_, HashSet<BlobKey>> {
        self.durable.lock()
    }

    /// Opens the directory of the key `at`; `None` if there is none.
    pub(super) fn enter(&self, root: Dir, at: Option<&BlobKey>) -> io::Result<Option<Dir>> {
        let mut dir = root;
        for segment in at.into_iter().flat_map(BlobKey::segments) {
            match step(&dir, segment)? {
                Step::Dir(next) => dir = next,
                Step::Absent | Step::IsBlob => return Ok(None),
            }
        }
        Ok(Some(dir))
    }

    pub(super) fn parent<'k>(&self, root: &Root, key: &'k BlobKey) -> io::Result<Parent<'k>> {
        let (directories, name) = split(key);
        let mut dir = None;
        for segment in directories {
            match step(dir.as_ref().unwrap_or(&root.dir), segment)? {
                Step::Dir(next) => dir = Some(next),
                Step::Absent => return Ok(Parent::Absent),
                Step::IsBlob => return Ok(Parent::IsBlob),
            }
        }
        // A key of one segment lies in the root itself.
        let dir = dir.map_or_else(|| Dir::open_root(&self.root), Ok)?;
        Ok(Parent::Dir(dir, name))
    }

    /// Opens the parent as [`parent`](Self::parent) does, and makes missing directories.
    pub(super) fn create_parent<'k>(&self, root: &Root, key: &'k BlobKey) -> io::Result<Parent<'k>> {
        let (directories, name) = split(key);
        let mut dir = None;
        let mut at: Option<BlobKey> = None;
        for segment in directories {
            let above = dir.as_ref().unwrap_or(&root.dir);
            let (next, created) = match step(above, segment)? {
                Step::Dir(next) => (next, false),
                Step::IsBlob => return Ok(Parent::IsBlob),
                Step::Absent => {
                    match above.create_dir(segment) {
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                        result => result?,
                    }
                    match step(above, segment)? {
                        Step::Dir(next) => (next, true),
                        Step::IsBlob => return Ok(Parent::IsBlob),
                        Step::Absent => return Err(io::ErrorKind::NotFound.into()),
                    }
                }
            };
            at = walk::key_of(at.as_ref(), segment);
            if self.durability == Durability::Full
                && let Some(at) = &at
                && (created || !self.durable().contains(at))
            {
                // ORDER: a directory's own name is durable before anything in it is acknowledged. One that was found may be
                // another process's that has not synced it yet, so finding it is not enough.
                above.sync()?;
                let mut durable = self.durable();
                if durable.len() >= DURABLE_NAMES {
                    durable.clear();
                }
                durable.insert(at.clone());
            }
            dir = Some(next);
        }
        let dir = dir.map_or_else(|| Dir::open_root(&self.root), Ok)?;
        Ok(Parent::Dir(dir, name))
    }
}

pub(super) enum Step {
    Dir(Dir),
    Absent,
    IsBlob,
}

/// Enters the directory `name` of `dir`; a link is an error.
pub(super) fn step(dir: &Dir, name: &str) -> io::Result<Step> {
    match dir.open_dir(name) {
        Ok(next) => Ok(Step::Dir(next)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Step::Absent),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => match dir.kind(name)? {
            Some(Kind::File(_)) => Ok(Step::IsBlob),
            None => Ok(Step::Absent),
            Some(Kind::Directory | Kind::Other) => Err(not_what_it_should_be()),
        },
        Err(error) => Err(error),
    }
}

/// The directories above the blob, and its name in the last of them.
fn split(key: &BlobKey) -> (impl Iterator<Item = &str>, &str) {
    let mut segments = key.segments();
    let name = segments.next_back().unwrap_or_default();
    (segments, name)
}
