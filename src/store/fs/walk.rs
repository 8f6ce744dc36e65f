//! Listing in the order of whole keys, with one open directory per level.

use std::io;

use super::super::blob::BlobMeta;
use super::super::key::BlobKey;
use super::entry::Kind;
use super::system::Dir;

/// Lists at most `wanted` blobs below `dir`, whose own key is `at`, that come after `after`.
pub(super) fn list(
    dir: &Dir,
    at: Option<&BlobKey>,
    after: Option<&BlobKey>,
    wanted: usize,
) -> io::Result<Vec<BlobMeta>> {
    let mut walk = Walk { after, wanted, found: Vec::new() };
    walk.visit(dir, at)?;
    Ok(walk.found)
}

struct Walk<'a> {
    after: Option<&'a BlobKey>,
    wanted: usize,
    found: Vec<BlobMeta>,
}

impl Walk<'_> {
    fn visit(&mut self, dir: &Dir, at: Option<&BlobKey>) -> io::Result<()> {
        // A directory is sorted with its slash, as the keys in it are: `a-b`, then `a/b`, then `a0`.
        let mut names: Vec<String> = Vec::new();
        dir.for_each(&mut |name, is_dir| {
            if let Some(key) = key_of(at, name)
                && self.is_wanted(&key, is_dir)
            {
                names.push(if is_dir { format!("{name}/") } else { name.to_owned() });
            }
        })?;
        names.sort_unstable();
        names.dedup();
        for name in names {
            if self.found.len() >= self.wanted {
                break;
            }
            match name.strip_suffix('/') {
                Some(name) => match dir.open_dir(name) {
                    Ok(below) => self.visit(&below, key_of(at, name).as_ref())?,
                    // Gone, or a link by now.
                    Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                    Err(error) => return Err(error),
                },
                None => {
                    if let (Some(Kind::File(size)), Some(key)) = (dir.kind(&name)?, key_of(at, &name)) {
                        self.found.push(BlobMeta::new(key, size));
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns whether the blob, or any blob in the directory, can come after `after`.
    fn is_wanted(&self, key: &BlobKey, is_dir: bool) -> bool {
        match self.after {
            None => true,
            Some(after) if is_dir => after.is_under(key) || format!("{key}/").as_str() > after.as_str(),
            Some(after) => key > after,
        }
    }
}

/// Returns the key of a name; `None` if it is not a segment of a key, such as a foreign file's or a reserved one.
pub(super) fn key_of(at: Option<&BlobKey>, name: &str) -> Option<BlobKey> {
    match at {
        None => name.parse().ok(),
        Some(at) => at.join(name).ok(),
    }
}

/// Syncs `dir` and the directories below it.
pub(super) fn sync_all(dir: &Dir, at: Option<&BlobKey>) -> io::Result<()> {
    let mut names: Vec<String> = Vec::new();
    dir.for_each(&mut |name, is_dir| {
        if is_dir && key_of(at, name).is_some() {
            names.push(name.to_owned());
        }
    })?;
    dir.sync()?;
    for name in names {
        match dir.open_dir(&name) {
            Ok(below) => sync_all(&below, key_of(at, &name).as_ref())?,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
