//! A disk of zeros that costs nothing: a dynamic VHD without a block, or a qcow2 where it is larger than a VHD can be.

use bytes::Bytes;

use super::format::DiskFormat;
use super::source::DiskSource;
use crate::error::{Error, Result};

/// Bytes of a block that is not there.
const BLOCK: u64 = 2 << 20;
/// Azure has no larger disk.
const MOST: u64 = 64 << 40;

/// The largest dynamic VHD.
const LARGEST_VHD: u64 = 2040 << 30;

/// Bytes of a qcow2's cluster.
const CLUSTER: u64 = 64 << 10;

impl DiskSource {
    /// Returns a disk of zeros, of which only the size is kept: it stands for a disk whose bytes nobody needs, as in an emulator or a test.
    ///
    /// # Errors
    ///
    /// `Invalid` unless `bytes` is a multiple of 512, from 512 to 64 TiB.
    ///
    /// ```
    /// use compute_gallery::disk::DiskSource;
    /// use compute_gallery::image::ImageDigest;
    ///
    /// let large = DiskSource::zeros(1 << 40)?;
    /// assert_ne!(ImageDigest::of(large)?, ImageDigest::of(DiskSource::zeros(1 << 30)?)?);
    /// assert!(DiskSource::zeros(1000).is_err());
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    pub fn zeros(bytes: u64) -> Result<Self> {
        if bytes == 0 || bytes > MOST || !bytes.is_multiple_of(512) {
            let what = format!("a disk of `{bytes}` zeros: give a multiple of 512, from 512 to {MOST}");
            return Err(Error::invalid("disk", what));
        }
        Ok(Self::about_zeros(bytes))
    }

    /// Returns a disk of zeros of the next size that there is.
    pub(crate) fn about_zeros(bytes: u64) -> Self {
        let size = bytes.clamp(512, MOST).next_multiple_of(512);
        match size <= LARGEST_VHD {
            true => Self::bytes(vhd(size), DiskFormat::Vhd),
            false => Self::bytes(qcow2(size), DiskFormat::Qcow2),
        }
    }
}

/// Writes the format's parts: the footer's copy, the header, a table of blocks that are all absent, and the footer.
fn vhd(size: u64) -> Bytes {
    let blocks = size.div_ceil(BLOCK) as u32;
    let table = (u64::from(blocks) * 4).next_multiple_of(512) as usize;
    let mut footer = Vec::with_capacity(512);
    footer.extend_from_slice(b"conectix");
    footer.extend_from_slice(&2_u32.to_be_bytes());
    footer.extend_from_slice(&0x0001_0000_u32.to_be_bytes());
    footer.extend_from_slice(&512_u64.to_be_bytes());
    footer.extend_from_slice(&0_u32.to_be_bytes());
    footer.extend_from_slice(b"cgal\0\x01\0\0Wi2k");
    footer.extend_from_slice(&size.to_be_bytes());
    footer.extend_from_slice(&size.to_be_bytes());
    footer.extend_from_slice(&[0xFF, 0xFF, 16, 255]);
    footer.extend_from_slice(&3_u32.to_be_bytes());
    let footer = summed(footer, 512);

    let mut header = Vec::with_capacity(1024);
    header.extend_from_slice(b"cxsparse");
    header.extend_from_slice(&u64::MAX.to_be_bytes());
    header.extend_from_slice(&1536_u64.to_be_bytes());
    header.extend_from_slice(&0x0001_0000_u32.to_be_bytes());
    header.extend_from_slice(&blocks.to_be_bytes());
    header.extend_from_slice(&(BLOCK as u32).to_be_bytes());
    let header = summed(header, 1024);

    let mut disk = Vec::with_capacity(2048 + table);
    disk.extend_from_slice(&footer);
    disk.extend_from_slice(&header);
    disk.resize(disk.len() + table, 0xFF);
    disk.extend_from_slice(&footer);
    disk.into()
}

/// Writes the format's parts: the header, a table of refcounts that are all none, and a table of tables that are all absent.
fn qcow2(size: u64) -> Bytes {
    let tables = size.div_ceil(CLUSTER * CLUSTER / 8);
    let mut disk = Vec::new();
    disk.extend_from_slice(b"QFI\xfb");
    disk.extend_from_slice(&2_u32.to_be_bytes());
    // No backing file.
    disk.extend_from_slice(&[0; 12]);
    disk.extend_from_slice(&CLUSTER.trailing_zeros().to_be_bytes());
    disk.extend_from_slice(&size.to_be_bytes());
    // Not encrypted.
    disk.extend_from_slice(&0_u32.to_be_bytes());
    disk.extend_from_slice(&(tables as u32).to_be_bytes());
    disk.extend_from_slice(&(2 * CLUSTER).to_be_bytes());
    disk.extend_from_slice(&CLUSTER.to_be_bytes());
    disk.extend_from_slice(&1_u32.to_be_bytes());
    disk.resize((2 * CLUSTER + (tables * 8).next_multiple_of(CLUSTER)) as usize, 0);
    disk.into()
}

/// Adds the checksum, and zeros up to `length`.
fn summed(mut part: Vec<u8>, length: usize) -> Vec<u8> {
    let sum = !part.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    part.extend_from_slice(&sum.to_be_bytes());
    part.resize(length, 0);
    part
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::ImageDigest;

    #[test]
    fn zeros_have_their_size_and_zeros_alone() {
        let zeros = || DiskSource::bytes(vec![0; 5 << 20], DiskFormat::Raw);
        let of = |disk| ImageDigest::of(disk).unwrap();
        assert_eq!(of(DiskSource::zeros(5 << 20).unwrap()), of(zeros()));
        assert_eq!(of(DiskSource::bytes(qcow2(5 << 20), DiskFormat::Qcow2)), of(zeros()));
    }
}
