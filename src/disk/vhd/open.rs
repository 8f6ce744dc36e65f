//! Opens a VHD as the guest's view of it.

use std::sync::Arc;

use super::dynamic::DynamicVhd;
use super::fixed::FixedVhd;
use super::footer::DiskType;
use super::footers::Footers;
use crate::disk::format::VhdFooter;
use crate::disk::note::DiskNote;
#[cfg(feature = "testkit")]
use crate::disk::read_at::ReadAt;
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

/// Opens any bytes as a VHD and reads from it as a guest might; a panic is a bug.
#[cfg(feature = "testkit")]
pub(crate) fn fuzz(data: &[u8]) {
    for believed in [VhdFooter::Both, VhdFooter::End, VhdFooter::Copy] {
        if let Ok((disk, _)) = open(Arc::new(bytes::Bytes::copy_from_slice(data)), believed, "disk") {
            read_some(&*disk);
        }
    }
}

#[cfg(feature = "testkit")]
fn read_some(disk: &dyn ReadAt) {
    const WINDOW_BYTES: u64 = 64 << 10;
    let size = disk.size();
    let mut window = vec![0; size.min(WINDOW_BYTES) as usize];
    for offset in [0, size - window.len() as u64] {
        assert!(disk.read_exact_at(&mut window, offset).is_ok(), "an opened disk in memory is readable");
    }
    let mut from = 0;
    for _ in 0..1000 {
        let Ok(Some(range)) = disk.next_data(from) else { break };
        assert!(from <= range.start && range.start < range.end && range.end <= size, "{range:?} from {from} of {size}");
        from = range.end;
    }
}
