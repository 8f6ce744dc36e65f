//! Parcels: the unit that is sent to a slot, a whole pack or a part of one.

use bytes::Bytes;

use crate::content::codec::Unpacker;
use crate::content::extents::Extents;
use crate::content::head::Head;
use crate::content::names::{CatalogId, PackId};
use crate::content::pack::PackInfo;
use crate::content::part::Part;
use crate::content::record::Line;
use crate::error::{Error, Result};

/// A request for some records of a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParcelRequest {
    pub(crate) pack: PackInfo,
    pub(crate) extents: Extents,
    /// Prefer all of the pack, if any holder has it in one blob.
    pub(crate) whole: bool,
}

impl ParcelRequest {
    /// Returns the bytes to send: of a part, about.
    pub(crate) fn bytes(&self) -> u64 {
        if self.whole { self.pack.length } else { self.pack.bytes_of(&self.extents) }
    }
}

/// A whole pack, or a part of one.
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

    /// Verifies the parcel's blob. Returns its head.
    fn verified(&self, catalog: CatalogId, blob: &Bytes) -> Result<Head> {
        match self {
            Self::Pack(info) => info.verify(catalog, blob),
            Self::Part(part) => part.verify(catalog, blob),
        }
    }

    /// Verifies the parcel's blob.
    pub(super) fn verify(&self, catalog: CatalogId, blob: &Bytes) -> Result<()> {
        self.verified(catalog, blob).map(drop)
    }

    /// As [`verify`](Self::verify), and decodes every record and compares it with the content that it is named by.
    pub(super) fn check(&self, catalog: CatalogId, blob: &Bytes) -> Result<()> {
        let (head, mut unpacker) = (self.verified(catalog, blob)?, Unpacker::default());
        let mut is_good = |line: &Line| line.stored_in(blob).is_some_and(|stored| unpacker.decodes(line, &stored));
        match head.lines().iter().find(|line| !is_good(line)) {
            None => Ok(()),
            Some(line) => {
                let what = format!("record `{}` is sealed, and decodes to other content", line.ordinal);
                Err(Error::corrupt(format!("pack {}", self.pack()), what))
            }
        }
    }

    /// Returns the records of a damaged blob that are still good.
    pub(super) fn records_in(&self, catalog: CatalogId, blob: &Bytes) -> Vec<(Line, Bytes)> {
        match self {
            Self::Pack(info) => info.good_records_in(catalog, blob),
            Self::Part(part) => part.good_records_in(catalog, blob),
        }
    }

    /// Returns the length of its blob.
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Pack(info) => info.length,
            Self::Part(part) => part.length(),
        }
    }
}
