//! Directory operations relative to open directories, so that no symbolic link is ever followed on the way.
//!
//! A link, or a file in place of a directory, is [`io::ErrorKind::NotADirectory`].

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::call::not_what_it_should_be;
use super::entry::Kind;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// An open directory.
#[derive(Debug)]
pub(super) struct Dir(OwnedFd);

impl Dir {
    /// The root; its owner may have made it a symbolic link.
    pub(super) fn open_root(path: &Path) -> io::Result<Self> {
        Ok(Self(retry_on_intr(|| rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty())).map_err(plain)?))
    }

    pub(super) fn open_dir(&self, name: &str) -> io::Result<Self> {
        let flags = DIRECTORY | OFlags::NOFOLLOW;
        Ok(Self(retry_on_intr(|| rustix::fs::openat(&self.0, name, flags, Mode::empty())).map_err(plain)?))
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    pub(super) fn create_dir(&self, name: &str) -> io::Result<()> {
        rustix::fs::mkdirat(&self.0, name, Mode::RWXU | Mode::RWXG | Mode::RWXO).map_err(plain)
    }

    /// Removes an empty directory, and fails for any other.
    pub(super) fn remove_dir(&self, name: &str) -> io::Result<()> {
        rustix::fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR).map_err(plain)
    }

    /// Returns whether both are one directory: as long as one of them is open, no other directory takes its number.
    pub(super) fn is_same(&self, other: &Dir) -> io::Result<bool> {
        let (one, other) = (rustix::fs::fstat(&self.0).map_err(plain)?, rustix::fs::fstat(&other.0).map_err(plain)?);
        Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
    }

    /// Makes the names in it durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        // Apple's fsync leaves it in the disk's cache. (For files, `File::sync_data` knows.)
        #[cfg(target_vendor = "apple")]
        match rustix::fs::fcntl_fullfsync(&self.0) {
            // This file system cannot.
            Err(Errno::INVAL | Errno::NOTSUP | Errno::OPNOTSUPP | Errno::NOTTY) => {}
            result => return result.map_err(plain),
        }
        rustix::fs::fsync(&self.0).map_err(plain)
    }

    /// Returns what `name` is, without following a link.
    pub(super) fn kind(&self, name: &str) -> io::Result<Option<Kind>> {
        match retry_on_intr(|| rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)) {
            Ok(stat) => Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => Kind::File(u64::try_from(stat.st_size).unwrap_or(0)),
                FileType::Directory => Kind::Directory,
                _ => Kind::Other,
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(plain(error)),
        }
    }

    /// Returns the time of the last write to `name`, by the file system's clock.
    pub(super) fn modified(&self, name: &str) -> io::Result<Option<SystemTime>> {
        match retry_on_intr(|| rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)) {
            Ok(stat) => {
                let (seconds, nanos) = (stat.st_mtime.try_into().ok(), stat.st_mtime_nsec.try_into().ok());
                let since = seconds.zip(nanos).map(|(seconds, nanos)| Duration::new(seconds, nanos));
                Ok(since.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since)))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(plain(error)),
        }
    }

    /// Opens a regular file for reading; a directory of that name is not found.
    pub(super) fn open_file(&self, name: &str) -> io::Result<(File, u64)> {
        // Without NONBLOCK, opening a foreign pipe waits until a process writes to it.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file =
            File::from(retry_on_intr(|| rustix::fs::openat(&self.0, name, flags, Mode::empty())).map_err(plain)?);
        let meta = file.metadata()?;
        if meta.is_file() {
            Ok((file, meta.len()))
        } else if meta.is_dir() {
            Err(io::ErrorKind::NotFound.into())
        } else {
            Err(not_what_it_should_be())
        }
    }

    pub(super) fn create_file(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::WGRP | Mode::ROTH | Mode::WOTH;
        Ok(retry_on_intr(|| rustix::fs::openat(&self.0, name, flags, mode)).map_err(plain)?.into())
    }

    pub(super) fn remove_file(&self, name: &str) -> io::Result<()> {
        rustix::fs::unlinkat(&self.0, name, AtFlags::empty()).map_err(plain)
    }

    /// Moves a file to a free name; [`io::ErrorKind::AlreadyExists`] if it is taken.
    pub(super) fn move_new(&self, name: &str, to: &Dir, new_name: &str) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
        {
            let free = rustix::fs::RenameFlags::NOREPLACE;
            match rustix::fs::renameat_with(&self.0, name, &to.0, new_name, free) {
                // This kernel or file system cannot (NFS, old FUSE): a hard link has one winner, too.
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
                result => return result.map_err(plain),
            }
        }
        self.link_new(name, to, new_name)
    }

    fn link_new(&self, name: &str, to: &Dir, new_name: &str) -> io::Result<()> {
        if let Err(error) = rustix::fs::linkat(&self.0, name, &to.0, new_name, AtFlags::empty()) {
            // A network file system that lost the answer repeats the request and then finds its own link: it is ours if the file
            // has two names now.
            let ours = error == Errno::EXIST
                && rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| stat.st_nlink > 1);
            if !ours {
                return Err(plain(error));
            }
        }
        // If this fails, the second name is a leftover that is removed by age.
        let _ = self.remove_file(name);
        Ok(())
    }

    /// Moves a file to a name, in the place of the file that has it.
    pub(super) fn replace(&self, name: &str, to: &Dir, new_name: &str) -> io::Result<()> {
        rustix::fs::renameat(&self.0, name, &to.0, new_name).map_err(plain)
    }

    /// Calls `each` with the UTF-8 names of regular files and directories, and whether it is a directory, until it breaks.
    pub(super) fn for_each(&self, each: &mut dyn FnMut(&str, bool) -> ControlFlow<()>) -> io::Result<()> {
        for entry in rustix::fs::Dir::read_from(&self.0).map_err(plain)? {
            let entry = entry.map_err(plain)?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            let is_dir = match entry.file_type() {
                FileType::RegularFile => false,
                FileType::Directory => true,
                FileType::Unknown => match self.kind(name)? {
                    Some(Kind::File(_)) => false,
                    Some(Kind::Directory) => true,
                    Some(Kind::Other) | None => continue,
                },
                _ => continue,
            };
            if each(name, is_dir).is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn plain(error: Errno) -> io::Error {
    match error {
        // Systems differ in the error of NOFOLLOW for a link.
        Errno::LOOP | Errno::MLINK => not_what_it_should_be(),
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_hard_link_fallback_has_one_winner_too() {
        let root = tempfile::tempdir().unwrap();
        let dir = Dir::open_root(root.path()).unwrap();
        for (name, bytes) in [("one", b"1"), ("two", b"2")] {
            dir.create_file(name).unwrap().write_all(bytes).unwrap();
        }
        dir.link_new("one", &dir, "target").unwrap();
        assert_eq!(dir.link_new("two", &dir, "target").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(root.path().join("target")).unwrap(), b"1");
        assert!(dir.kind("one").unwrap().is_none());
        assert!(matches!(dir.kind("two").unwrap(), Some(Kind::File(1))));
    }
}
