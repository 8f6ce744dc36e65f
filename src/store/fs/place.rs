//! The directory of a store, and the way to the parent of a blob.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard};

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
    /// INVARIANT: directories whose own names this process made durable. Each is kept open, so that one that was removed and
    /// made again, by any process, is seen to be another one, whose name may not be durable.
    durable: Mutex<HashMap<BlobKey, Arc<Dir>>>,
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

/// The maximum number of remembered directories, few because they are open. A forgotten one costs a sync when it is next needed.
const DURABLE_NAMES: usize = 32;

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
        self.open_root().map_err(|error| call.failed(error))
    }

    pub(super) fn open_root(&self) -> io::Result<Root> {
        let dir = Dir::open_root(&self.root)?;
        let staging = dir.open_dir(STAGING)?;
        Ok(Root { dir, staging })
    }

    pub(super) fn sync(&self, dir: &Dir) -> io::Result<()> {
        match self.durability {
            Durability::Full => dir.sync(),
            Durability::LostOnPowerCut => Ok(()),
        }
    }

    fn durable(&self) -> MutexGuard<'_, HashMap<BlobKey, Arc<Dir>>> {
        self.durable.lock()
    }

    /// Returns whether this process has made the name of `dir` durable, which has the key `at`.
    fn is_durable(&self, at: &BlobKey, dir: &Dir) -> io::Result<bool> {
        let known = self.durable().get(at).cloned();
        known.map_or(Ok(false), |known| known.is_same(dir))
    }

    fn remember_durable(&self, at: &BlobKey, dir: Dir) {
        let mut durable = self.durable();
        if durable.len() >= DURABLE_NAMES
            && let Some(any) = durable.keys().next().cloned()
        {
            durable.remove(&any);
        }
        durable.insert(at.clone(), Arc::new(dir));
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

    /// Opens the parent as [`parent`](Self::parent) does, and makes missing directories. It is absent if another call has just
    /// removed one of them, empty.
    pub(super) fn create_parent<'k>(&self, root: &Root, key: &'k BlobKey) -> io::Result<Parent<'k>> {
        let (directories, name) = split(key);
        let mut dir = None;
        let mut at: Option<BlobKey> = None;
        for segment in directories {
            let above = dir.as_ref().unwrap_or(&root.dir);
            let mut found = step(above, segment)?;
            if matches!(found, Step::Absent) {
                match above.create_dir(segment) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    // The directory above was empty, and is removed by now.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Parent::Absent),
                    result => result?,
                }
                found = step(above, segment)?;
            }
            let next = match found {
                Step::Dir(next) => next,
                Step::IsBlob => return Ok(Parent::IsBlob),
                Step::Absent => return Ok(Parent::Absent),
            };
            at = walk::key_of(at.as_ref(), segment);
            if self.durability == Durability::Full
                && let Some(at) = &at
                && !self.is_durable(at, &next)?
            {
                // ORDER: a directory's own name is durable before anything in it is acknowledged. One that was found may be
                // another process's that has not synced it yet, so finding it is not enough.
                above.sync()?;
                self.remember_durable(at, next.try_clone()?);
            }
            dir = Some(next);
        }
        let dir = dir.map_or_else(|| Dir::open_root(&self.root), Ok)?;
        Ok(Parent::Dir(dir, name))
    }

    /// Opens the directories with the name that each has in the one before, down to that of the key `at`; `None` if it is absent.
    pub(super) fn way<'k>(&self, root: &Root, at: Option<&'k BlobKey>) -> io::Result<Option<Vec<(Dir, &'k str)>>> {
        let mut way: Vec<(Dir, &str)> = Vec::new();
        for segment in at.into_iter().flat_map(BlobKey::segments) {
            match step(way.last().map_or(&root.dir, |(dir, _)| dir), segment)? {
                Step::Dir(next) => way.push((next, segment)),
                Step::Absent | Step::IsBlob => return Ok(None),
            }
        }
        Ok(Some(way))
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

#[cfg(all(unix, not(portable_fs)))]
#[cfg(test)]
mod tests {
    use super::*;

    fn opened(place: &Place, at: &BlobKey) -> Dir {
        place.enter(Dir::open_root(&place.root).unwrap(), Some(at)).unwrap().unwrap()
    }

    /// A file system gives the number of a removed directory to the next one.
    #[test]
    fn a_directory_that_was_removed_and_made_again_is_not_known_to_be_durable() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::new(directory.path(), Durability::Full).unwrap();
        place.create_directories().unwrap();
        let (key, at): (BlobKey, BlobKey) = ("a/b".parse().unwrap(), "a".parse().unwrap());
        for _ in 0..20 {
            let root = place.open_root().unwrap();
            assert!(matches!(place.create_parent(&root, &key).unwrap(), Parent::Dir(..)));
            assert!(place.is_durable(&at, &opened(&place, &at)).unwrap());
            // By another process.
            root.dir.remove_dir("a").unwrap();
            root.dir.create_dir("a").unwrap();
            assert!(!place.is_durable(&at, &opened(&place, &at)).unwrap());
        }
    }

    #[test]
    fn few_directories_stay_open() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::new(directory.path(), Durability::Full).unwrap();
        place.create_directories().unwrap();
        let root = place.open_root().unwrap();
        for number in 0..2 * DURABLE_NAMES {
            place.create_parent(&root, &format!("{number}/a").parse().unwrap()).unwrap();
        }
        assert_eq!(place.durable().len(), DURABLE_NAMES);
    }
}
