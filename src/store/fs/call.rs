//! Errors of the system as errors of a store.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

use super::super::error::{StoreError, StoreErrorKind};
use super::super::key::BlobKey;
use super::entry::STAGING;

/// A link, file or directory that is not of the store has its place.
pub(super) fn not_what_it_should_be() -> io::Error {
    io::ErrorKind::NotADirectory.into()
}

/// A call in progress, for its errors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) operation: &'static str,
    pub(super) key: Option<&'a BlobKey>,
    /// The directory of the store.
    pub(super) root: &'a Path,
}

impl Call<'_> {
    pub(super) fn is(self, kind: StoreErrorKind) -> StoreError {
        StoreError::new(kind, self.operation, self.key)
    }

    /// A step failed that leaves everything as it was.
    pub(super) fn failed(self, error: io::Error) -> StoreError {
        self.told(kind_of(&error), error)
    }

    /// The store could not be opened or made: a missing directory is not a failure of a disk.
    pub(super) fn opening(self, error: io::Error) -> StoreError {
        match error.kind() {
            io::ErrorKind::NotFound => self.told(StoreErrorKind::NotFound, error),
            _ => self.failed(error),
        }
    }

    /// The step that makes the change failed. A change that the system refuses has not happened; one whose answer was lost, as on
    /// a network file system, may have.
    pub(super) fn changing(self, error: io::Error) -> StoreError {
        match kind_of(&error) {
            StoreErrorKind::Unavailable if error.kind() != io::ErrorKind::NotFound => self.unknown(error),
            kind => self.told(kind, error),
        }
    }

    pub(super) fn unknown(self, error: io::Error) -> StoreError {
        self.told(StoreErrorKind::Unknown, error)
    }

    fn told(self, kind: StoreErrorKind, error: io::Error) -> StoreError {
        self.is(kind).with_detail(self.detail(kind, &error)).with_source(error)
    }

    /// The path, what is wrong with it and the fix. It is looked up after the failure, for this text alone.
    fn detail(self, kind: StoreErrorKind, error: &io::Error) -> String {
        let root = self.root.display();
        match kind {
            StoreErrorKind::Obstructed => match self.obstacle() {
                Some((path, what)) => {
                    format!(
                        "`{}` is {what}, which is in the way: move it away, or choose another place",
                        path.display()
                    )
                }
                None => format!("it is in `{root}`: move it away, or choose another place"),
            },
            StoreErrorKind::PermissionDenied if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                format!("the file system of `{root}` is read-only: mount it writable, or choose another place")
            }
            StoreErrorKind::PermissionDenied => {
                format!("this process's user lacks the right in `{root}`: give it the right, or choose another place")
            }
            _ if error.kind() == io::ErrorKind::NotFound => missing(self.root, self.operation),
            _ => format!("it is the store in `{root}`"),
        }
    }

    /// The first obstacle on the way to the blob.
    fn obstacle(self) -> Option<(PathBuf, &'static str)> {
        // The root and what is above it may be links.
        let above: Vec<&Path> = self.root.ancestors().collect();
        for path in above.into_iter().rev() {
            if let Ok(meta) = path.metadata().or_else(|_| path.symlink_metadata())
                && !meta.is_dir()
            {
                return Some((path.to_owned(), what_is(&meta)));
            }
        }
        let mut path = self.root.join(STAGING);
        let mut segments = self.key.into_iter().flat_map(BlobKey::segments).peekable();
        loop {
            match path.symlink_metadata() {
                Ok(meta) if !meta.is_dir() => return Some((path, what_is(&meta))),
                // A directory has the name of a blob.
                Ok(meta) if segments.peek().is_none() && self.key.is_some() => return Some((path, what_is(&meta))),
                _ => {}
            }
            match segments.next() {
                Some(segment) if path.ends_with(STAGING) => path = self.root.join(segment),
                Some(segment) => path.push(segment),
                None => return None,
            }
        }
    }
}

fn what_is(meta: &Metadata) -> &'static str {
    match () {
        () if meta.is_symlink() => "a symbolic link",
        () if meta.is_dir() => "a directory",
        () if meta.is_file() => "a file",
        () => "neither a file nor a directory",
    }
}

/// Says what of a store's directory is missing.
fn missing(root: &Path, operation: &str) -> String {
    for path in root.ancestors() {
        if let Ok(to) = path.read_link()
            && !path.exists()
        {
            let (path, to) = (path.display(), to.display());
            return format!(
                "`{path}` is a symbolic link to `{to}`, which does not exist: mount or make that, or correct the link"
            );
        }
    }
    let fix = match operation {
        "open" => "mount its disk, choose another place, or make a store there with `FsStore::create`",
        // An empty store in its place would hide that the other one is away.
        _ => "it was there when the store was opened: mount its disk again",
    };
    match root.exists() {
        true => format!("`{}` is not a store, because it has no `{STAGING}`: {fix}", root.display()),
        false => format!("`{}` does not exist: {fix}", root.display()),
    }
}

fn kind_of(error: &io::Error) -> StoreErrorKind {
    use io::ErrorKind as Io;
    match error.kind() {
        Io::StorageFull | Io::QuotaExceeded => StoreErrorKind::Full,
        Io::PermissionDenied | Io::ReadOnlyFilesystem => StoreErrorKind::PermissionDenied,
        Io::NotADirectory | Io::IsADirectory | Io::DirectoryNotEmpty => StoreErrorKind::Obstructed,
        Io::InvalidFilename | Io::CrossesDevices | Io::Unsupported => StoreErrorKind::Unsupported,
        _ => StoreErrorKind::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_the_system_has_a_kind_to_act_on() {
        use StoreErrorKind::{Full, Obstructed, PermissionDenied, Unavailable, Unknown, Unsupported};
        let call = Call { operation: "put", key: None, root: Path::new("/") };
        for (name, code, failed, changing) in [
            ("EPERM", 1, PermissionDenied, PermissionDenied),
            ("ENOENT", 2, Unavailable, Unavailable),
            ("EIO", 5, Unavailable, Unknown),
            ("EACCES", 13, PermissionDenied, PermissionDenied),
            ("EXDEV", 18, Unsupported, Unsupported),
            ("ENOTDIR", 20, Obstructed, Obstructed),
            ("EISDIR", 21, Obstructed, Obstructed),
            ("EMFILE", 24, Unavailable, Unknown),
            ("ENOSPC", 28, Full, Full),
            ("EROFS", 30, PermissionDenied, PermissionDenied),
            #[cfg(target_os = "linux")]
            ("EDQUOT", 122, Full, Full),
            #[cfg(target_os = "linux")]
            ("ESTALE", 116, Unavailable, Unknown),
        ] {
            if cfg!(unix) {
                assert_eq!(call.failed(io::Error::from_raw_os_error(code)).kind(), failed, "{name}");
                assert_eq!(call.changing(io::Error::from_raw_os_error(code)).kind(), changing, "{name}");
            }
        }
    }
}
