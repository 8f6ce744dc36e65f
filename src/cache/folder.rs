//! The directory of a cache: which file has which blob, and which goes when there is no more room.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::block_file;
use crate::content::digest::Digest;
use crate::host::sync::Mutex;
use crate::store::BlobKey;

/// A cache is looked over when this part of it was written since, and until so many parts are free: several processes that write at
/// once find room.
const PARTS: u64 = 32;
const FREE_PARTS: u64 = 4;

#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    limit: u64,
    since: Mutex<Since>,
    /// Held while a file is written: of two threads that end in one block, the one that has less of it must see the other.
    writing: Mutex<()>,
}

/// What this process has done since it looked the cache over.
#[derive(Debug, Default)]
struct Since {
    written: u64,
    /// The files that it has made those that were used last.
    touched: HashSet<PathBuf>,
}

impl Folder {
    /// Makes the directory, and removes what is above the limit.
    pub(super) fn open(root: &Path, limit: u64) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let folder = Self { root: root.canonicalize()?, limit, since: Mutex::default(), writing: Mutex::default() };
        folder.make_room()?;
        Ok(folder)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the file of a blob, whether or not it is there.
    pub(super) fn file_of(&self, key: &BlobKey) -> PathBuf {
        let name = Digest::of(key.as_str().as_bytes()).to_string();
        let (first, rest) = name.split_at_checked(2).unwrap_or_default();
        self.root.join(first).join(rest)
    }

    /// Notes that a file is of use.
    pub(super) fn used(&self, file: &Path) -> io::Result<()> {
        let is_first = self.since.lock().touched.insert(file.to_owned());
        if is_first { block_file::touch(file) } else { Ok(()) }
    }

    /// Returns whether so many bytes have a place here at all.
    pub(super) fn has_room_for(&self, bytes: u64) -> bool {
        bytes <= self.limit / PARTS
    }

    /// Writes bytes of a blob from a block's start on, and makes room now and then.
    pub(super) fn write(&self, file: &Path, start: u64, bytes: &[u8], is_whole: bool) -> io::Result<()> {
        {
            let _one = self.writing.lock();
            block_file::write(file, start, bytes, is_whole)?;
        }
        let is_much = {
            let mut since = self.since.lock();
            since.written += bytes.len() as u64;
            since.written >= self.limit / PARTS
        };
        if is_much { self.make_room() } else { Ok(()) }
    }

    /// Removes the files that were not used for longest, if the cache is nearly full.
    fn make_room(&self) -> io::Result<()> {
        *self.since.lock() = Since::default();
        let mut files = self.files()?;
        let mut taken: u64 = files.iter().map(|(_, room, _)| room).sum();
        let most = self.limit - self.limit / PARTS * FREE_PARTS;
        files.sort_unstable();
        for (_, room, file) in files {
            if taken <= most {
                break;
            }
            match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => taken = taken.saturating_sub(room),
            }
        }
        Ok(())
    }

    /// Returns the files with the time of their last use and the room that they take.
    fn files(&self) -> io::Result<Vec<(SystemTime, u64, PathBuf)>> {
        let mut files = Vec::new();
        for folder in fs::read_dir(&self.root)?.filter_map(Result::ok).filter(|folder| is_name(&folder.file_name(), 2))
        {
            let Ok(there) = fs::read_dir(folder.path()) else { continue };
            for file in there.filter_map(Result::ok).filter(|file| is_name(&file.file_name(), 62)) {
                // One that another process has removed since takes no room.
                let Ok(about) = file.metadata() else { continue };
                files.push((about.modified().unwrap_or(SystemTime::UNIX_EPOCH), room_of(&about), file.path()));
            }
        }
        Ok(files)
    }

    #[cfg(test)]
    pub(super) fn taken(&self) -> u64 {
        self.files().unwrap().iter().map(|(_, room, _)| room).sum()
    }
}

/// Returns whether a file has a name that the cache gives: others in the directory stay.
fn is_name(name: &std::ffi::OsStr, digits: usize) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    name.to_str().is_some_and(|name| name.len() == digits && name.bytes().all(is_digit))
}

/// The room that a file takes: it may have holes.
#[cfg(unix)]
fn room_of(about: &Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;

    about.blocks().saturating_mul(512)
}

#[cfg(not(unix))]
fn room_of(about: &Metadata) -> u64 {
    about.len()
}
