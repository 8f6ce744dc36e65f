//! Listings in the order of whole keys, with one open directory per level.

use std::io;
use std::ops::ControlFlow;
use std::vec;

use super::super::blob::BlobMeta;
use super::super::key::BlobKey;
use super::entry::Kind;
use super::system::Dir;

/// A listing under way: each directory is read once, and its names are kept until the walk has passed them.
#[derive(Debug)]
pub(super) struct Walk {
    after: Option<BlobKey>,
    /// From the first directory down to that in which the walk is.
    levels: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    dir: Dir,
    /// Its own key; `None` for the root.
    at: Option<BlobKey>,
    names: vec::IntoIter<String>,
}

impl Walk {
    /// Starts in `dir`, whose own key is `at`, with the first blob after `after`.
    pub(super) fn new(dir: Dir, at: Option<BlobKey>, after: Option<BlobKey>) -> io::Result<Self> {
        let mut walk = Self { after, levels: Vec::new() };
        walk.enter(dir, at)?;
        Ok(walk)
    }

    /// Returns the next blobs, at most `most` of them; none at the end.
    pub(super) fn next_page(&mut self, most: usize) -> io::Result<Vec<BlobMeta>> {
        let mut found: Vec<BlobMeta> = Vec::new();
        while found.len() < most
            && let Some(level) = self.levels.last_mut()
        {
            let Some(name) = level.names.next() else {
                self.levels.pop();
                continue;
            };
            match name.strip_suffix('/') {
                Some(name) => match level.dir.open_dir(name) {
                    Ok(below) => {
                        let at = key_of(level.at.as_ref(), name);
                        self.enter(below, at)?;
                    }
                    // Gone, or a link by now.
                    Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                    Err(error) => return Err(error),
                },
                None => {
                    let key = key_of(level.at.as_ref(), &name);
                    if let (Some(Kind::File(size)), Some(key)) = (level.dir.kind(&name)?, key) {
                        found.push(BlobMeta::new(key, size));
                    }
                }
            }
        }
        Ok(found)
    }

    fn enter(&mut self, dir: Dir, at: Option<BlobKey>) -> io::Result<()> {
        let mut names = names_in(&dir, |name, is_dir| {
            key_of(at.as_ref(), name).is_some_and(|key| is_wanted(self.after.as_ref(), &key, is_dir))
        })?;
        names.shrink_to_fit();
        self.levels.push(Level { dir, at, names: names.into_iter() });
        Ok(())
    }
}

/// The names that are wanted, sorted as the keys of the blobs are: a directory with its slash, so `a-b`, then `a/b`, then `a0`.
fn names_in(dir: &Dir, is_wanted: impl Fn(&str, bool) -> bool) -> io::Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    dir.for_each(&mut |name, is_dir| {
        if is_wanted(name, is_dir) {
            names.push(if is_dir { format!("{name}/") } else { name.to_owned() });
        }
        ControlFlow::Continue(())
    })?;
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Returns whether the blob, or any blob in the directory, can come after `after`.
fn is_wanted(after: Option<&BlobKey>, key: &BlobKey, is_dir: bool) -> bool {
    match after {
        None => true,
        Some(after) if is_dir => after.is_under(key) || format!("{key}/").as_str() > after.as_str(),
        Some(after) => key > after,
    }
}

/// Returns the directories with blobs in `dir`, whose own key is `at`, that come after the directory `after`; at most `most`.
pub(super) fn folders(
    dir: &Dir,
    at: Option<&BlobKey>,
    after: Option<&BlobKey>,
    most: usize,
) -> io::Result<Vec<BlobKey>> {
    let after = after.map(|after| format!("{after}/"));
    let is_wanted = |name: &str, is_dir: bool| {
        is_dir && key_of(at, name).is_some_and(|key| after.as_ref().is_none_or(|after| format!("{key}/") > *after))
    };
    let mut found: Vec<BlobKey> = Vec::new();
    for name in names_in(dir, is_wanted)? {
        if found.len() >= most {
            break;
        }
        let name = name.trim_end_matches('/');
        if let Some(key) = key_of(at, name)
            && has_blobs(dir, name, &key)?
        {
            found.push(key);
        }
    }
    Ok(found)
}

/// Returns whether there is a blob at any depth below the directory `name`, whose own key is `at`.
fn has_blobs(dir: &Dir, name: &str, at: &BlobKey) -> io::Result<bool> {
    let dir = match dir.open_dir(name) {
        Ok(dir) => dir,
        // Gone, or a link by now.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    let (mut is_found, mut below): (bool, Vec<String>) = (false, Vec::new());
    dir.for_each(&mut |name, is_dir| {
        match key_of(Some(at), name) {
            Some(_) if is_dir => below.push(name.to_owned()),
            Some(_) => is_found = true,
            None => {}
        }
        if is_found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    for name in below {
        if is_found {
            break;
        }
        is_found = key_of(Some(at), &name).map_or(Ok(false), |key| has_blobs(&dir, &name, &key))?;
    }
    Ok(is_found)
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
        ControlFlow::Continue(())
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
