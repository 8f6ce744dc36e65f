//! A block device that a disk is written to.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::path::Path;

use crate::error::{Error, Result};

/// Opens a block device that the system does not use, for a disk of `size` bytes. Blocks.
pub(crate) fn open_device(path: &Path, size: u64) -> Result<File> {
    let target = || path.display().to_string();
    let failed = |error| Error::from_io(target(), "opening the device", error);
    let refused = || {
        let what =
            "it is no block device, and a file is not written over in place: deploy to a path (`Deployment::to_path`)";
        Error::conflict(target(), what)
    };
    // Opening a device may have effects: so the type is checked first.
    if !is_block_device(&std::fs::metadata(path).map_err(failed)?) {
        return Err(refused());
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // Without the creation of a file, it asks that the system does not use the device.
        options.custom_flags(rustix::fs::OFlags::EXCL.bits() as i32);
    }
    let mut device = options.open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::ResourceBusy => {
            let what = "the system uses the device: unmount it, or take it out of its array, then deploy again";
            Error::conflict(target(), what).with_source(error)
        }
        _ => failed(error),
    })?;
    if !is_block_device(&device.metadata().map_err(failed)?) {
        return Err(refused());
    }
    let has = device.seek(SeekFrom::End(0)).map_err(failed)?;
    if has < size {
        return Err(Error::invalid(
            target(),
            format!("the device has `{has}` bytes, and the disk {size}: take a larger one"),
        ));
    }
    Ok(device)
}

#[cfg(unix)]
fn is_block_device(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    metadata.file_type().is_block_device()
}

#[cfg(not(unix))]
fn is_block_device(_: &std::fs::Metadata) -> bool {
    false
}
