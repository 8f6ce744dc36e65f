//! Overlays: a file of its own for each VM, on top of a disk that nobody writes to.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use super::layout::overlay;
use crate::error::{Error, Result};

/// The most bytes of a backing name in a qcow2.
const MAX_NAME_BYTES: usize = 1023;

/// Creates a qcow2 at `path` in which nothing is written yet, on top of a raw disk of `size` bytes: a VM that starts from it writes into its own
/// file. `backing` is what QEMU opens: an NBD address such as `nbd+unix:///?socket=/run/web.sock`, or the path of a raw file. An
/// existing file is not replaced. Blocks.
///
/// # Errors
///
/// - `Invalid` if the size is zero or not whole sectors of 512 bytes, or the name is empty or longer than 1,023 bytes.
/// - `AlreadyExists` if there is a file at the path; `StorageFull`, `Unavailable`.
///
/// ```
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("vm1.qcow2");
/// compute_gallery::disk::create_overlay(&path, 1 << 30, "nbd+unix:///?socket=/run/web.sock")?;
/// assert!(std::fs::read(&path).unwrap().starts_with(b"QFI\xfb"));
/// assert!(compute_gallery::disk::create_overlay(&path, 1 << 30, "web.raw").is_err());
/// # Ok::<(), compute_gallery::Error>(())
/// ```
pub fn create_overlay(path: impl AsRef<Path>, size: u64, backing: &str) -> Result<()> {
    if size == 0 || !size.is_multiple_of(512) {
        return Err(Error::invalid(
            "size",
            format!("the size is `{size}` bytes: a disk has whole sectors of 512, at least one"),
        ));
    }
    if backing.is_empty() || backing.len() > MAX_NAME_BYTES {
        let what = format!("the name has `{}` bytes: name a disk in 1 to {MAX_NAME_BYTES}", backing.len());
        return Err(Error::invalid("backing", what));
    }
    let path = path.as_ref();
    let failed = |error| Error::from_io(path.display().to_string(), "creating the overlay", error);
    let bytes = overlay(size, backing)?;
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(failed)
}
