//! Opens a VHD as the guest's view of it.

use std::sync::Arc;

use super::dynamic::DynamicVhd;
use super::fixed::FixedVhd;
use super::footer::DiskType;
use super::footers::Footers;
use crate::disk::format::VhdFooter;
use crate::disk::note::DiskNote;
use crate::disk::read_at::SharedDisk;
use crate::error::Result;

/// Returns the guest's view of the VHD in `file`; errors name `target`.
pub(crate) fn open(file: SharedDisk, believed: VhdFooter, target: &str) -> Result<(SharedDisk, Option<DiskNote>)> {
    let footers = Footers::read(&*file, target)?;
    let chosen = footers.choose(believed, target)?;
    let disk: SharedDisk = match chosen.footer.disk_type {
        DiskType::Fixed => Arc::new(FixedVhd::open(file, &chosen.footer, target)?),
        DiskType::Dynamic => Arc::new(DynamicVhd::open(file, &chosen.footer, chosen.blocks_end, target)?),
    };
    Ok((disk, chosen.note))
}
