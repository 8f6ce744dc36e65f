//! Opens a VHDX as the guest's view of it.

use std::sync::Arc;

use super::header::{Header, Regions};
use super::log::replayed;
use super::map::Vhdx;
use super::metadata::Metadata;
use crate::disk::mapped::Mapped;
use crate::disk::read_at::SharedDisk;
use crate::error::Result;

/// Returns the guest's view of the VHDX in `file`; errors name `target`.
pub(crate) fn open(file: SharedDisk, target: &str) -> Result<SharedDisk> {
    let header = Header::read(&*file, target)?;
    let file = replayed(file, &header, target)?;
    let regions = Regions::read(&*file, target)?;
    let metadata = Metadata::read(&*file, &regions, target)?;
    let map = Vhdx::open(&*file, metadata, &regions, header.log, target)?;
    Ok(Arc::new(Mapped::new(file, map)))
}
