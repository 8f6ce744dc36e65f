//! What a disk's file is made of when it is written: the disk's bytes in their places, and the pieces around them.
//!
//! A format that leaves zeros out needs to know before the first byte which blocks are not all zero; then every offset is fixed. So a
//! file can be written in any order, in order to a pipe, and again from where a killed process stopped.

mod blocks;
mod occupied;
mod piece;
mod qcow2;
mod vhd;
mod vhdx;

use std::sync::Arc;

pub(crate) use occupied::Occupied;
pub(crate) use qcow2::overlay;

use self::piece::Piece;
use super::format::WrittenFormat;
use super::vhd::footer::{TIME_ZERO_SECONDS, fixed_footer};
use crate::content::digest::Digest;
use crate::error::{Error, Result};

/// The layout of one file; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Layout(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    /// The disk, and a VHD footer or nothing behind it.
    Flat {
        disk_bytes: u64,
        footer: Option<Box<[u8; 512]>>,
    },
    Vhd(Box<vhd::DynamicVhd>),
    Vhdx(vhdx::Vhdx),
    Qcow2(qcow2::Qcow2),
}

impl WrittenFormat {
    /// Returns the size of the blocks that are left out where they are all zero; `None` if the format has none.
    pub(crate) fn block_bytes(self, disk_bytes: u64) -> Option<u64> {
        match self {
            Self::Raw | Self::Vhd => None,
            Self::VhdDynamic => Some(vhd::BLOCK_BYTES),
            Self::Vhdx => Some(vhdx::block_bytes(disk_bytes)),
            Self::Qcow2 => Some(qcow2::CLUSTER_BYTES),
        }
    }
}

impl Layout {
    /// Returns the layout of a disk of `disk_bytes`. `created` is in seconds since the Unix epoch; `occupied` has blocks of the
    /// [format's size](WrittenFormat::block_bytes).
    pub(crate) fn of(
        format: WrittenFormat,
        disk_bytes: u64,
        created: i64,
        uuid: [u8; 16],
        occupied: Option<Occupied>,
    ) -> Result<Self> {
        let since_2000 = u32::try_from(created.saturating_sub(TIME_ZERO_SECONDS)).unwrap_or(0);
        let blocks = || occupied.ok_or_else(|| Error::invalid("format", "the format needs to know the disk's blocks"));
        let kind = match format {
            WrittenFormat::Raw => Kind::Flat { disk_bytes, footer: None },
            WrittenFormat::Vhd => {
                Kind::Flat { disk_bytes, footer: Some(Box::new(fixed_footer(disk_bytes, since_2000, uuid)?)) }
            }
            WrittenFormat::VhdDynamic => {
                Kind::Vhd(Box::new(vhd::DynamicVhd::new(disk_bytes, since_2000, uuid, blocks()?)?))
            }
            WrittenFormat::Vhdx => Kind::Vhdx(vhdx::Vhdx::new(disk_bytes, uuid, blocks()?)?),
            WrittenFormat::Qcow2 => Kind::Qcow2(qcow2::Qcow2::new(disk_bytes, blocks()?, None)?),
        };
        Ok(Self(Arc::new(kind)))
    }

    /// Returns the digest of a file's content: the disk, and the format. Not of the pieces, which have a time and a random number.
    pub(crate) fn content(&self, disk: &Digest) -> Digest {
        let kind: &[u8] = match &*self.0 {
            Kind::Flat { footer: None, .. } => return *disk,
            Kind::Flat { footer: Some(_), .. } => b"vhd",
            Kind::Vhd(_) => b"vhd dynamic",
            Kind::Vhdx(_) => b"vhdx",
            Kind::Qcow2(_) => b"qcow2",
        };
        Digest::of(&[disk.as_bytes(), kind].concat())
    }

    /// Returns the length of the file.
    pub(crate) fn file_bytes(&self) -> u64 {
        match &*self.0 {
            Kind::Flat { disk_bytes, footer } => disk_bytes + footer.as_ref().map_or(0, |footer| footer.len() as u64),
            Kind::Vhd(disk) => disk.file_bytes(),
            Kind::Vhdx(disk) => disk.blocks.end(),
            Kind::Qcow2(disk) => disk.blocks.end(),
        }
    }

    /// Returns the place of a byte of the disk that is in an occupied block. Places ascend with offsets, and a block's bytes lie
    /// one behind the other.
    pub(crate) fn place(&self, offset: u64) -> u64 {
        match &*self.0 {
            Kind::Flat { .. } => offset,
            Kind::Vhd(disk) => disk.blocks.place(offset),
            Kind::Vhdx(disk) => disk.blocks.place(offset),
            Kind::Qcow2(disk) => disk.blocks.place(offset),
        }
    }

    /// Returns a piece by its number, from 0 on, in the order of their offsets; `None` behind the last.
    pub(crate) fn piece(&self, number: u64) -> Option<Piece> {
        match &*self.0 {
            Kind::Flat { disk_bytes, footer } => {
                let footer = footer.as_ref().filter(|_| number == 0)?;
                Some((*disk_bytes, footer.to_vec()))
            }
            Kind::Vhd(disk) => disk.piece(number),
            Kind::Vhdx(disk) => disk.piece(number),
            Kind::Qcow2(disk) => disk.piece(number),
        }
    }
}
