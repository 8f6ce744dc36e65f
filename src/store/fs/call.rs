//! What the errors of the system mean to the caller of a store.

use std::io;

use super::super::{BlobKey, StoreError, StoreErrorKind};

pub(super) fn not_what_it_should_be() -> io::Error {
    io::Error::new(io::ErrorKind::NotADirectory, "a link, file or directory that the store did not put there is there")
}

/// What is being done, for its errors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) operation: &'static str,
    pub(super) key: Option<&'a BlobKey>,
}

impl Call<'_> {
    pub(super) fn is(self, kind: StoreErrorKind) -> StoreError {
        StoreError::new(kind, self.operation, self.key)
    }

    /// A step failed that leaves everything as it was.
    pub(super) fn failed(self, error: io::Error) -> StoreError {
        self.is(kind_of(&error)).with_source(error)
    }

    /// The step failed that makes the change. What the system refuses has not happened; an answer that got lost, as
    /// from a network file system, may have.
    pub(super) fn changing(self, error: io::Error) -> StoreError {
        match kind_of(&error) {
            StoreErrorKind::Unavailable if error.kind() != io::ErrorKind::NotFound => self.unknown(error),
            kind => self.is(kind).with_source(error),
        }
    }

    pub(super) fn unknown(self, error: io::Error) -> StoreError {
        self.is(StoreErrorKind::Unknown).with_source(error)
    }
}

fn kind_of(error: &io::Error) -> StoreErrorKind {
    use io::ErrorKind as Io;
    match error.kind() {
        Io::StorageFull | Io::QuotaExceeded => StoreErrorKind::Full,
        Io::PermissionDenied
        | Io::ReadOnlyFilesystem
        | Io::NotADirectory
        | Io::IsADirectory
        | Io::DirectoryNotEmpty => StoreErrorKind::PermissionDenied,
        Io::InvalidFilename | Io::CrossesDevices | Io::Unsupported => StoreErrorKind::Unsupported,
        _ => StoreErrorKind::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_the_system_has_a_kind_to_act_on() {
        use StoreErrorKind::{Full, PermissionDenied, Unavailable, Unknown, Unsupported};
        let call = Call { operation: "put", key: None };
        for (name, code, failed, changing) in [
            ("EPERM", 1, PermissionDenied, PermissionDenied),
            ("ENOENT", 2, Unavailable, Unavailable),
            ("EIO", 5, Unavailable, Unknown),
            ("EACCES", 13, PermissionDenied, PermissionDenied),
            ("EXDEV", 18, Unsupported, Unsupported),
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
