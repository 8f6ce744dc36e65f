//! Directory operations by path, with nothing but the standard library.
//!
//! Each segment is checked before it is used. A symbolic link is refused; one that is swapped in between the check and the use is
//! not noticed, so only trusted users may have the right to write to the root.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::call::not_what_it_should_be;
use super::entry::Kind;

/// A directory.
#[derive(Debug)]
pub(super) struct Dir(PathBuf);

impl Dir {
    /// The root; its owner may have made it a symbolic link.
    pub(super) fn open_root(path: &Path) -> io::Result<Self> {
        if fs::metadata(path)?.is_dir() { Ok(Self(path.to_owned())) } else { Err(not_what_it_should_be()) }
    }

    pub(super) fn open_dir(&self, name: &str) -> io::Result<Self> {
        let path = self.0.join(name);
        match fs::symlink_metadata(&path)?.is_dir() {
            true => Ok(Self(path)),
            false => Err(not_what_it_should_be()),
        }
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.clone()))
    }

    pub(super) fn create_dir(&self, name: &str) -> io::Result<()> {
        fs::create_dir(self.0.join(name))
    }

    /// Directories stay here: a directory that is named by its path may be removed by another call while it is read, and on Windows a
    /// name that another process has open stays taken for a while after it is removed.
    pub(super) fn remove_dir(&self, _name: &str) -> io::Result<()> {
        Err(io::ErrorKind::DirectoryNotEmpty.into())
    }

    /// Without an open directory there is nothing to tell it by.
    pub(super) fn is_same(&self, _other: &Dir) -> io::Result<bool> {
        Ok(false)
    }

    /// Makes the names in it durable.
    #[cfg(unix)]
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }

    /// The standard library cannot open a directory here: the file system's own journal has to suffice.
    #[cfg(not(unix))]
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    /// Returns what `name` is, without following a link.
    pub(super) fn kind(&self, name: &str) -> io::Result<Option<Kind>> {
        match fs::symlink_metadata(self.0.join(name)) {
            Ok(meta) if meta.is_file() => Ok(Some(Kind::File(meta.len()))),
            Ok(meta) if meta.is_dir() => Ok(Some(Kind::Directory)),
            Ok(_) => Ok(Some(Kind::Other)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the time of the last write to `name`, by the file system's clock.
    pub(super) fn modified(&self, name: &str) -> io::Result<Option<SystemTime>> {
        match fs::symlink_metadata(self.0.join(name)) {
            Ok(meta) => Ok(meta.modified().ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a regular file for reading; a directory of that name is not found.
    pub(super) fn open_file(&self, name: &str) -> io::Result<(File, u64)> {
        match self.kind(name)? {
            Some(Kind::File(_)) => {
                let file = File::open(self.0.join(name))?;
                let size = file.metadata()?.len();
                Ok((file, size))
            }
            Some(Kind::Directory) | None => Err(io::ErrorKind::NotFound.into()),
            Some(Kind::Other) => Err(not_what_it_should_be()),
        }
    }

    pub(super) fn create_file(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).open(self.0.join(name))
    }

    pub(super) fn remove_file(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    /// Moves a file to a free name; [`io::ErrorKind::AlreadyExists`] if it is taken.
    pub(super) fn move_new(&self, name: &str, to: &Dir, new_name: &str) -> io::Result<()> {
        fs::hard_link(self.0.join(name), to.0.join(new_name))?;
        // If this fails, the second name is a leftover that is removed by age.
        let _ = self.remove_file(name);
        Ok(())
    }

    /// Moves a file to a name, in the place of the file that has it.
    pub(super) fn replace(&self, name: &str, to: &Dir, new_name: &str) -> io::Result<()> {
        fs::rename(self.0.join(name), to.0.join(new_name))
    }

    /// Calls `each` with the UTF-8 names of regular files and directories, and whether it is a directory, until it breaks.
    pub(super) fn for_each(&self, each: &mut dyn FnMut(&str, bool) -> ControlFlow<()>) -> io::Result<()> {
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            match entry.file_type() {
                Ok(kind) if kind.is_dir() || kind.is_file() => {
                    if each(&name, kind.is_dir()).is_break() {
                        break;
                    }
                }
                Ok(_) => {}
                // Gone since it was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
