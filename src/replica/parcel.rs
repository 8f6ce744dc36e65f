//! What is sent to a slot.

use bytes::Bytes;

use crate::content::extents::Extents;
use crate::content::names::PackId;
use crate::content::pack::PackInfo;
use crate::content::part::Part;
use crate::content::record::TableLine;
use crate::error::Result;

/// What a slot is to get of a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParcelRequest {
    pub(crate) pack: PackInfo,
    pub(crate) extents: Extents,
    /// Rather the whole pack, from whoever has that.
    pub(crate) whole: bool,
}

impl ParcelRequest {
    /// The bytes to send; a part has a table besides.
    pub(crate) fn bytes(&self) -> u64 {
        if self.whole { self.pack.length } else { self.extents.bytes() }
    }
}

/// What is sent to a slot: a whole pack, or a part of one.
#[derive(Clone, Debug)]
pub(crate) enum Parcel {
    Pack(PackInfo),
    Part(Part),
}

impl Parcel {
    pub(super) fn pack(&self) -> PackId {
        match self {
            Self::Pack(info) => info.id,
            Self::Part(part) => part.id.pack,
        }
    }

    /// Verifies a whole blob.
    pub(super) fn verify(&self, blob: &[u8]) -> Result<()> {
        match self {
            Self::Pack(info) => info.verify(blob),
            Self::Part(part) => part.verify(blob),
        }
    }

    /// The records of a damaged blob that are still good.
    pub(super) fn records_in(&self, blob: &Bytes) -> Result<Vec<(TableLine, Bytes)>> {
        match self {
            Self::Pack(info) => info.records_in(blob),
            Self::Part(part) => Ok(part.records_in(blob)),
        }
    }

    /// The bytes that it takes.
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Pack(info) => info.length,
            Self::Part(part) => part.length(),
        }
    }
}
