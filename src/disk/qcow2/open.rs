//! Opens a qcow2 as the guest's view of it.

use std::sync::Arc;

use super::header::Header;
use super::map::Qcow2;
use crate::disk::mapped::Mapped;
use crate::disk::note::DiskNote;
use crate::disk::read_at::SharedDisk;
use crate::error::Result;

/// Returns the guest's view of the qcow2 in `file`; errors name `target`. `unclean` accepts one that is marked dirty or corrupt.
pub(crate) fn open(file: SharedDisk, unclean: bool, target: &str) -> Result<(SharedDisk, Option<DiskNote>)> {
    let (header, note) = Header::read(&*file, unclean, target)?;
    let map = Qcow2::open(file.clone(), header, target)?;
    Ok((Arc::new(Mapped::new(file, map)), note))
}
