//! Parcels: the unit that is sent to a slot, a whole pack or a part of one.

use bytes::Bytes;

use crate::content::cipher::DataKey;
use crate::content::codec::Unpacker;
use crate::content::extents::Extents;
use crate::content::head::Head;
use crate::content::names::{CatalogId, PackId};
use crate::content::naming::Naming;
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
    pub(super) fn verified(&self, catalog: CatalogId, blob: &Bytes) -> Result<Head> {
        match self {
            Self::Pack(info) => info.verify(catalog, blob),
            Self::Part(part) => part.verify(catalog, blob),
        }
    }

    /// Verifies the parcel's blob.
    pub(super) fn verify(&self, catalog: CatalogId, blob: &Bytes) -> Result<()> {
        self.verified(catalog, blob).map(drop)
    }

    /// Reads the head of its blob.
    pub(super) fn head(&self, catalog: CatalogId, blob: &Bytes) -> Result<Head> {
        match self {
            Self::Pack(info) => info.head(catalog, blob),
            Self::Part(part) => part.head_in(catalog, blob),
        }
    }

    /// Reads the head of its blob, or what is left of it.
    pub(super) fn head_or_rest(&self, catalog: CatalogId, blob: &Bytes) -> Result<Head> {
        match self {
            Self::Pack(info) => info.head_or_rest(catalog, blob),
            Self::Part(part) => Ok(part.head_or_rest(catalog, blob)),
        }
    }

    /// Decodes every record of a verified blob, and compares it with the content that it is named by. `key` is the data key of its head.
    pub(super) fn check(&self, head: &Head, blob: &Bytes, key: Option<&DataKey>, naming: Naming) -> Result<()> {
        let stored = head.lines().iter().filter_map(|line| Some((*line, line.stored_in(blob)?)));
        let records = head.decrypted(stored.collect(), head.cipher(key)?.as_ref());
        let mut unpacker = Unpacker::new(naming);
        let mut good = records.iter().filter(|(line, stored)| unpacker.decodes(line, stored));
        match head.lines().iter().find(|line| good.next().is_none_or(|(good, _)| good.ordinal != line.ordinal)) {
            None => Ok(()),
            Some(line) => {
                let what = format!("record `{}` is sealed, and decodes to other content", line.ordinal);
                Err(Error::corrupt(format!("pack {}", self.pack()), what))
            }
        }
    }

    /// Returns the parcel of the same records, which are not encrypted, encrypted with `key`.
    pub(super) fn encrypted(
        &self,
        catalog: CatalogId,
        head: &Head,
        records: Vec<(Line, Bytes)>,
        key: &DataKey,
    ) -> Result<(Self, Bytes)> {
        match self {
            Self::Pack(info) => {
                let bytes = info.encrypted(catalog, records, key)?;
                Ok((Self::Pack(*info), bytes))
            }
            Self::Part(_) => {
                let (part, bytes) = self.as_part(catalog, head, records, key)?;
                Ok((Self::Part(part), bytes))
            }
        }
    }

    /// Returns a part of the same records, which are not encrypted, encrypted with `key`.
    pub(super) fn as_part(
        &self,
        catalog: CatalogId,
        head: &Head,
        records: Vec<(Line, Bytes)>,
        key: &DataKey,
    ) -> Result<(Part, Bytes)> {
        let info = match self {
            Self::Pack(info) => *info,
            Self::Part(part) => part.pack_info(head),
        };
        Part::build_with(catalog, &info, records, Some(key))
    }

    /// Returns the length of its blob.
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Pack(info) => info.length,
            Self::Part(part) => part.length(),
        }
    }
}
