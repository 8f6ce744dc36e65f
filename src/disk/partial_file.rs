//! A file that is being written, beside the file that it will replace.
//!
//! It is named after that file and its content, and locked while it is written, so the leftover of a killed process is
//! recognized. The next deployment of the same content to the same file goes on with it; one of other content removes it. Neither
//! touches a file that another process is writing.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::content::digest::Digest;
use crate::error::{Error, ErrorKind, Problem, Result};

/// Attempts before a partial file of the same name counts as in use: another process may remove the same leftover at
/// the same moment.
const ATTEMPTS: usize = 8;

/// The hexadecimal digits of the content's digest in the name.
const DIGITS: usize = 16;

/// A file under a temporary name; removed unless it is finished.
pub(crate) struct PartialFile {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    /// Whether it is the leftover of a killed process, which may hold any bytes.
    taken_over: bool,
    finished: bool,
}

impl PartialFile {
    /// Creates a file of `size` zeros that will become `path`, or takes over the one that a killed process left. `content` is the
    /// digest of what it will hold. Blocks.
    pub(crate) fn create(path: PathBuf, content: &Digest, size: u64) -> Result<Self> {
        let name = path.file_name().ok_or_else(|| {
            Error::invalid(
                path.display().to_string(),
                "the path does not name a file: pass the path of the file to write",
            )
        })?;
        if path.symlink_metadata().is_ok_and(|there| !there.is_file()) {
            return Err(conflict(&path, "the path is not a regular file: deploy to a file, then copy it there"));
        }
        let mut own_name = partial_of(name);
        own_name.push(content.to_string().get(..DIGITS).unwrap_or_default());
        let temporary = path.with_file_name(&own_name);
        let (file, taken_over) = create_locked(&path, &temporary, size)?;
        let partial = Self { file, temporary, path, taken_over, finished: false };
        remove_leftovers(&partial.path, &own_name);
        if taken_over {
            return Ok(partial);
        }
        // All holes to begin with: only what is not zero is written.
        partial.file.set_len(size).map_err(|error| partial.failed("setting the file's size", error))?;
        Ok(partial)
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Returns whether it may hold the bytes of an earlier attempt, right or wrong.
    pub(crate) fn is_taken_over(&self) -> bool {
        self.taken_over
    }

    /// Gives the file its final name: readers see the old file, no file, or all of this one. With `sync`, it is durable
    /// first. Blocks.
    pub(crate) fn finish(mut self, sync: bool) -> Result<()> {
        let written = match sync {
            true => self.file.sync_all(),
            // Some network file systems write back on close and report errors there: so a duplicate is closed before
            // the rename, and the original keeps the lock.
            false => self.file.try_clone().map(drop),
        };
        written.map_err(|error| self.failed("finishing the file", error))?;
        // ORDER: sync, then rename. The other way round, rename -> power cut: the final name holds a file with holes in
        // place of data.
        std::fs::rename(&self.temporary, &self.path).map_err(|error| self.failed("giving the file its name", error))?;
        self.finished = true;
        if !sync {
            return Ok(());
        }
        sync_parent(&self.path).map_err(|error| {
            let what = "the file is complete and has its name; the name may not survive a power cut, because the \
                        directory cannot be synced";
            let problem =
                Problem::new(ErrorKind::Unknown, "OperationNotAllowed", self.path.display().to_string(), what);
            Error::new(problem).with_source(error)
        })
    }

    fn failed(&self, doing: &str, error: io::Error) -> Error {
        Error::from_io(self.path.display().to_string(), doing, error)
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if !self.finished {
            // If this fails, the next deployment to that file does it.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// Returns the prefix of the names of a file's partial files.
fn partial_of(name: &OsStr) -> OsString {
    let mut partial = name.to_owned();
    partial.push(".partial-");
    partial
}

fn conflict(path: &Path, what: &str) -> Error {
    Error::conflict(path.display().to_string(), what)
}

/// Creates a new file that only this process writes, or takes over a leftover; true for the latter. Any other existing file is never
/// written to: another process may have it open.
fn create_locked(path: &Path, temporary: &Path, size: u64) -> Result<(File, bool)> {
    let failed = |error| Error::from_io(path.display().to_string(), "creating the file", error);
    for _ in 0..ATTEMPTS {
        if let Some(file) = take_over(temporary, size) {
            return Ok((file, true));
        }
        let created = OpenOptions::new().read(true).write(true).create_new(true).open(temporary);
        match created {
            Ok(file) => {
                // On file systems without locks, the exclusive creation of the name has to suffice.
                let locked = !matches!(file.try_lock(), Err(TryLockError::WouldBlock));
                if locked && is_at(&file, temporary) {
                    return Ok((file, false));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let removed = remove_unused(temporary).map_err(|error| {
                    let what =
                        "an unfinished file is in the way and cannot be removed: remove it if no deployment is writing it";
                    conflict(temporary, what).with_source(error)
                });
                removed?;
            }
            Err(error) => return Err(failed(error)),
        }
    }
    let what =
        "another deployment of the same content to this file is under way: wait for it, or deploy to another file";
    Err(conflict(path, what))
}

/// Opens the leftover of a killed deployment of the same content: a regular file under this one name, of the right size, that nobody has
/// locked. What it holds is checked by the caller.
#[cfg(unix)]
fn take_over(temporary: &Path, size: u64) -> Option<File> {
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

    use rustix::fs::OFlags;

    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(temporary).ok()?;
    let metadata = file.metadata().ok()?;
    let is_leftover = metadata.is_file() && metadata.nlink() == 1 && metadata.len() == size;
    (is_leftover && file.try_lock().is_ok() && is_at(&file, temporary)).then_some(file)
}

#[cfg(not(unix))]
fn take_over(_: &Path, _: u64) -> Option<File> {
    None
}

/// Removes the leftovers of killed deployments to `path`, except `own_name`.
fn remove_leftovers(path: &Path, own_name: &OsStr) {
    let (Some(name), parent) = (path.file_name(), parent_of(path)) else { return };
    let partial = partial_of(name);
    let is_leftover = |name: &OsStr| {
        let digits = name.as_encoded_bytes().strip_prefix(partial.as_encoded_bytes());
        let hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        name != own_name && digits.is_some_and(|digits| digits.len() == DIGITS && digits.iter().all(hex))
    };
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    for name in entries.map(|entry| entry.file_name()).filter(|name| is_leftover(name)) {
        // A leftover that stays does no harm: the next deployment tries again.
        let _ = remove_unused(&path.with_file_name(name));
    }
}

/// Removes a partial file whose lock is free. Fails if the lock cannot be checked.
fn remove_unused(partial: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;

        use rustix::fs::OFlags;
        // A link or a pipe of that name was not left by a deployment.
        options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
    }
    let file = match options.open(partial) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    match file.try_lock() {
        Ok(()) if is_at(&file, partial) => std::fs::remove_file(partial),
        // It is being written, or has just been renamed to its final name.
        Ok(()) | Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Returns whether `path` still names the open file: a finished one was renamed and must not be touched.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let same =
        |(one, other): (std::fs::Metadata, std::fs::Metadata)| (one.dev(), one.ino()) == (other.dev(), other.ino());
    file.metadata().ok().zip(path.symlink_metadata().ok()).is_some_and(same)
}

#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(unix)]
fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(parent_of(path))?.sync_all()
}

/// Other systems cannot sync a directory.
#[cfg(not(unix))]
fn sync_parent(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(path: &Path, content: u8) -> Result<PartialFile> {
        PartialFile::create(path.to_owned(), &Digest::of(&[content]), 100)
    }

    #[test]
    fn a_partial_file_that_is_written_is_neither_removed_nor_written_to_by_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.raw");
        let (one, other) = (create(&path, 1).unwrap(), create(&path, 2).unwrap());
        let refused = create(&path, 1).map(drop).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
        assert!(one.temporary.exists() && other.temporary.exists());
        one.finish(true).unwrap();
        drop(other);
        let names: Vec<_> =
            std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["out.raw"]);
        create(&path, 1).unwrap().finish(false).unwrap();
    }

    #[test]
    fn the_leftover_of_a_killed_process_is_taken_over_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.raw");
        let left = create(&path, 1).unwrap();
        let (temporary, bytes) = (left.temporary.clone(), [7; 100]);
        std::fs::write(&temporary, bytes).unwrap();
        // While it is written, it is nobody else's.
        assert!(take_over(&temporary, 100).is_none());
        // As a killed process leaves it: unlocked, and not removed.
        drop(std::mem::replace(&mut { left }.file, tempfile::tempfile().unwrap()));
        std::fs::write(&temporary, bytes).unwrap();
        assert!(take_over(&temporary, 99).is_none(), "of another size");
        let next = create(&path, 1).unwrap();
        assert!(next.is_taken_over());
        assert_eq!(std::fs::read(&temporary).unwrap(), bytes);
        next.finish(true).unwrap();
        assert!(!create(&path, 2).unwrap().is_taken_over());
        #[cfg(unix)]
        {
            std::fs::write(&temporary, bytes).unwrap();
            std::fs::hard_link(&temporary, directory.path().join("other")).unwrap();
            assert!(take_over(&temporary, 100).is_none(), "it has another name");
        }
    }

    #[test]
    fn a_file_that_is_in_the_way_is_not_written_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.raw");
        let temporary = create(&path, 1).unwrap().temporary.clone();
        std::fs::write(&temporary, b"a stranger's").unwrap();
        let strangers = File::open(&temporary).unwrap();
        let partial = create(&path, 1).unwrap();
        assert!(!is_at(&strangers, &temporary));
        assert_eq!(strangers.metadata().unwrap().len(), 12);
        drop(partial);
        // Nor is a link followed.
        #[cfg(unix)]
        {
            let victim = directory.path().join("victim");
            std::fs::write(&victim, b"precious").unwrap();
            std::os::unix::fs::symlink(&victim, &temporary).unwrap();
            let refused = create(&path, 1).map(drop).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
            assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
        }
    }
}
