//! The features that a store needs of its file system, tried before a blob is stored on it.
//!
//! A new blob gets its name by `renameat2` with `RENAME_NOREPLACE`, or by a hard link. Without either (FAT, exFAT, some network
//! and FUSE file systems), the first commit would fail; if a name could be taken twice, commits would be lost.

use std::io;

use super::super::error::{StoreErrorKind, StoreResult};
use super::call::Call;
use super::place::Place;
use super::staging::Staged;
use super::system::Dir;

/// Refuses a file system that lacks a feature. A read-only one is not tried: a store on it can be read.
pub(super) fn file_system(place: &Place, staging: &Dir, call: Call<'_>) -> StoreResult<()> {
    let (one, two) = match (Staged::create(staging), Staged::create(staging)) {
        (Ok((one, _)), Ok((two, _))) => (one, two),
        _ => return Ok(()),
    };
    match missing(&mut Files { place, staging, one, two }).map_err(|error| call.failed(error))? {
        None => Ok(()),
        Some(missing) => {
            let what = format!("`{}`: {missing}", place.root().display());
            Err(call.is(StoreErrorKind::Unsupported).with_source(what))
        }
    }
}

/// The steps of the trial, in their order.
trait Asked {
    /// Gives a file a name that is free.
    fn take_a_free_name(&mut self) -> io::Result<()>;
    /// Gives another file the same name, which is taken now.
    fn take_it_again(&mut self) -> io::Result<()>;
    /// Puts it in the place of the first.
    fn replace_it(&mut self) -> io::Result<()>;
    /// Makes the names of a directory durable.
    fn sync_the_directory(&mut self) -> io::Result<()>;
}

/// Returns the feature that it lacks; an error with another reason is an error.
fn missing(file_system: &mut impl Asked) -> io::Result<Option<String>> {
    const ON_ONE: &str = "put the store on one that has it, such as ext4, XFS or btrfs";
    let lacks = |what: &str, error: io::Error| match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => {
            Ok(Some(format!("the file system lacks {what} ({error}): {ON_ONE}")))
        }
        _ => Err(error),
    };
    if let Err(error) = file_system.take_a_free_name() {
        return lacks("a way to give a file a name only if that is free: RENAME_NOREPLACE or hard links", error);
    }
    match file_system.take_it_again() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return lacks("a way to tell that a name is taken", error),
        Ok(()) => return Ok(Some(format!("the file system gave one name to two files: {ON_ONE}"))),
    }
    if let Err(error) = file_system.replace_it() {
        return lacks("a way to put a file in the place of another: rename", error);
    }
    match file_system.sync_the_directory() {
        Err(error) => lacks("a way to make a name durable: fsync of a directory", error),
        Ok(()) => Ok(None),
    }
}

/// Two files of the staging directory, removed at the end.
struct Files<'a> {
    place: &'a Place,
    staging: &'a Dir,
    one: Staged<'a>,
    two: Staged<'a>,
}

impl Files<'_> {
    /// An unused name of a staging file, which is removed by age if a crash leaves it.
    fn name(&self) -> String {
        self.one.name().chars().rev().collect()
    }
}

impl Asked for Files<'_> {
    fn take_a_free_name(&mut self) -> io::Result<()> {
        let name = self.name();
        self.one.move_new(self.staging, &name)
    }

    fn take_it_again(&mut self) -> io::Result<()> {
        let name = self.name();
        self.two.move_new(self.staging, &name)
    }

    fn replace_it(&mut self) -> io::Result<()> {
        let name = self.name();
        self.two.replace(self.staging, &name)
    }

    fn sync_the_directory(&mut self) -> io::Result<()> {
        self.place.sync(self.staging)
    }
}

impl Drop for Files<'_> {
    fn drop(&mut self) {
        // If this fails, the file is a leftover that is removed by age.
        let _ = self.staging.remove_file(&self.name());
    }
}

#[cfg(test)]
mod tests {
    use super::super::durability::Durability;
    use super::*;

    /// Answers one after the other.
    struct Answers([io::Result<()>; 4], usize);

    impl Answers {
        fn next(&mut self) -> io::Result<()> {
            self.1 += 1;
            std::mem::replace(&mut self.0[self.1 - 1], Ok(()))
        }
    }

    impl Asked for Answers {
        fn take_a_free_name(&mut self) -> io::Result<()> {
            self.next()
        }

        fn take_it_again(&mut self) -> io::Result<()> {
            self.next()
        }

        fn replace_it(&mut self) -> io::Result<()> {
            self.next()
        }

        fn sync_the_directory(&mut self) -> io::Result<()> {
            self.next()
        }
    }

    fn errno(number: i32) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(number))
    }

    fn taken() -> io::Result<()> {
        Err(io::ErrorKind::AlreadyExists.into())
    }

    #[test]
    fn a_file_system_that_lacks_something_is_refused_by_what_it_lacks() {
        const EPERM: i32 = 1;
        for (answers, says) in [
            // FAT before Linux 6, exFAT: no hard links either.
            ([errno(EPERM), taken(), Ok(()), Ok(())], Some("RENAME_NOREPLACE or hard links (")),
            ([Ok(()), Ok(()), Ok(()), Ok(())], Some("gave one name to two files")),
            ([Ok(()), errno(EPERM), Ok(()), Ok(())], Some("tell that a name is taken")),
            ([Ok(()), taken(), errno(EPERM), Ok(())], Some("rename")),
            ([Ok(()), taken(), Ok(()), errno(EPERM)], Some("fsync of a directory")),
            ([Ok(()), taken(), Ok(()), Ok(())], None),
        ] {
            let told = missing(&mut Answers(answers, 0)).unwrap();
            match says {
                Some(says) => {
                    assert!(told.as_ref().is_some_and(|told| told.contains(says)), "{told:?} does not say {says}")
                }
                None => assert_eq!(told, None),
            }
        }
        const EIO: i32 = 5;
        let broken = missing(&mut Answers([errno(EIO), taken(), Ok(()), Ok(())], 0)).unwrap_err();
        assert_eq!(broken.raw_os_error(), Some(EIO), "a broken disk lacks nothing");
    }

    #[test]
    fn a_file_system_that_has_all_is_taken_and_nothing_is_left_on_it() {
        let directory = tempfile::tempdir().unwrap();
        let call = Call { operation: "open", key: None, root: directory.path() };
        let place = Place::new(directory.path(), Durability::Full).unwrap();
        file_system(&place, &Dir::open_root(directory.path()).unwrap(), call).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
