//! Opens a VMDK as the guest's view of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::descriptor::{Descriptor, MAGIC, MAX_BYTES};
use super::header::{Header, SECTOR};
use super::map::Sparse;
use crate::disk::fields::{read_vec, unsupported};
use crate::disk::mapped::Mapped;
use crate::disk::note::DiskNote;
use crate::disk::read_at::{ReadAt, SharedDisk};
use crate::error::{Error, Result};

/// Returns the guest's view of the sparse VMDK in `file`; errors name `target`.
pub(crate) fn open(file: SharedDisk, unclean: bool, target: &str) -> Result<(SharedDisk, Option<DiskNote>)> {
    let (header, note) = Header::read(&*file, unclean, target)?;
    let map = Sparse::open(file.clone(), header, target)?;
    Ok((Arc::new(Mapped::new(file, map)), note))
}

/// A flat disk: the raw file beside its descriptor.
pub(crate) struct Flat {
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
}

/// Returns the flat file that the descriptor in `file` is for; `None` if the file is no descriptor. Its name must be the one that VMware
/// gives it, `NAME-flat.vmdk` beside `NAME.vmdk`: a descriptor that could name any file would publish it.
pub(crate) fn flat(file: &dyn ReadAt, path: Option<&Path>, target: &str) -> Result<Option<Flat>> {
    if file.size() < MAGIC.len() as u64 {
        return Ok(None);
    }
    let bytes = read_vec(file, 0, file.size().min(MAX_BYTES), target, "reading the descriptor")?;
    if !bytes.starts_with(MAGIC) {
        return Ok(None);
    }
    let Descriptor { sectors, kind, file: named, offset } = Descriptor::parse(&bytes, target)?;
    if !["FLAT", "VMFS"].contains(&kind.as_str()) || offset != 0 {
        let what = format!(
            "the descriptor is of an extent of kind `{kind}` at sector `{offset}`, and a flat one at 0 is read; name the sparse file \
             itself, or make one file of it: `qemu-img convert`"
        );
        return Err(unsupported(target, what));
    }
    let Some(path) = path else {
        let what = "the disk is a descriptor with a file beside it: give it as a path (`DiskSource::path`), or the flat file as raw";
        return Err(Error::invalid(target, what));
    };
    let expected = path.file_stem().map(|stem| {
        let mut name = stem.to_owned();
        name.push("-flat.vmdk");
        name
    });
    let expected = expected.filter(|expected| *expected == *named).ok_or_else(|| {
        let what = format!(
            "the descriptor names the file `{named}`, and only `{}-flat.vmdk` beside it is opened; give that file itself, as raw",
            path.file_stem().unwrap_or_default().display()
        );
        Error::invalid(target, what)
    })?;
    let path = path.with_file_name(expected);
    if path.symlink_metadata().is_ok_and(|there| !there.is_file()) {
        let what = "it is no regular file, and a descriptor's file is not followed elsewhere: give it itself, as raw";
        return Err(Error::invalid(path.display().to_string(), what));
    }
    let size = sectors
        .checked_mul(SECTOR)
        .ok_or_else(|| Error::corrupt(target, format!("the extent has `{sectors}` sectors")))?;
    Ok(Some(Flat { path, size }))
}
