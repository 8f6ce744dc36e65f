//! The names of catalogs and uploads, and of the slots, packs, parts and manifests that belong to them.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::digest::Digest;
use crate::error::{Error, Result};
use crate::store::BlobKey;

/// The most records of a pack: a bitmap of them has 2 KiB.
pub(crate) const MAX_RECORDS: u32 = 1 << 14;

/// One import of one version. It owns the packs that it writes until the version is published, so an abandoned import
/// can be removed without regard to any other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct UploadId([u8; 16]);

impl UploadId {
    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for UploadId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::invalid("upload", format!("`{}` is not 32 hexadecimal digits", text.escape_debug()));
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        u128::from_str_radix(text, 16)
            .map(|number| Self(number.to_be_bytes()))
            .map_err(|error| wrong().with_source(error))
    }
}

impl Serialize for UploadId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UploadId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The random id of a catalog.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct CatalogId(pub(crate) UploadId);

impl fmt::Display for CatalogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for CatalogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of a pack: the upload that wrote it, and a number within that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct PackId {
    pub(crate) upload: UploadId,
    pub(crate) number: u32,
}

impl PackId {
    /// Returns its key within a slot, without incarnation.
    pub(crate) fn key(&self) -> Result<BlobKey> {
        format!("packs/{}/{:010}", self.upload, self.number).parse()
    }
}

impl fmt::Display for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.upload, self.number)
    }
}

/// The versions of one image definition: what they need is merged together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FamilyId(u64);

impl FamilyId {
    /// Returns the family of an image definition, by its id.
    pub(crate) fn of(definition: &str) -> Self {
        let hash = Digest::of(definition.to_ascii_lowercase().as_bytes());
        Self(u64::from_be_bytes(hash.as_bytes().first_chunk().copied().unwrap_or_default()))
    }

    /// Returns the key prefix of the merged blobs of the family within a slot.
    pub(crate) fn keys(&self) -> Result<BlobKey> {
        format!("merged/{:016x}", self.0).parse()
    }
}

/// The name of a merged blob: its family, the newest commit that its writer knew, the length of its front, and the start of the hash
/// of the front. It is never used again: one that was condemned is older than the commit that did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MergedId {
    pub(super) family: FamilyId,
    pub(super) number: u64,
    pub(super) front: u32,
    pub(super) hash: u64,
}

impl MergedId {
    /// Returns its key within a slot. The newest of a family sorts first.
    pub(crate) fn key(&self) -> Result<BlobKey> {
        let Self { family, number, front, hash } = self;
        family.keys()?.join(&format!("{:020}-{front:08}-{hash:016x}", u64::MAX - number))
    }

    /// Parses the name of a merged blob of a family.
    pub(crate) fn of_name(family: &str, name: &str) -> Option<Self> {
        let mut fields = name.split('-');
        let number = u64::MAX - fields.next()?.parse::<u64>().ok()?;
        let front = fields.next()?.parse().ok()?;
        let hash = u64::from_str_radix(fields.next()?, 16).ok()?;
        let family = FamilyId(u64::from_str_radix(family, 16).ok()?);
        fields.next().is_none().then_some(Self { family, number, front, hash })
    }

    /// Returns the newest commit that its writer knew.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Returns the length of its front.
    pub(crate) fn front_bytes(&self) -> u64 {
        self.front.into()
    }

    pub(crate) fn family(&self) -> FamilyId {
        self.family
    }
}

/// The place of a part that is a member of a merged blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MemberPlace {
    pub(crate) merged: MergedId,
    pub(crate) offset: u32,
    pub(crate) length: u32,
}

impl MemberPlace {
    /// Returns the bytes of the merged blob that are the part.
    pub(crate) fn range(&self) -> Range<u64> {
        u64::from(self.offset)..u64::from(self.offset) + u64::from(self.length)
    }
}

/// The name of a part: its pack, the number of its records and of those of the pack, the start of the hash of the latter's digests,
/// and the hash of its head. So a listing tells which parts have all of a pack. That of a member of a merged blob has its place there, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PartId {
    pub(crate) pack: PackId,
    pub(super) records: u32,
    pub(super) of: u32,
    pub(super) content: [u8; 8],
    pub(super) head: Digest,
    /// `None` for a blob of its own.
    pub(super) place: Option<MemberPlace>,
}

impl PartId {
    /// Returns its key within a slot, without incarnation.
    pub(crate) fn key(&self) -> Result<BlobKey> {
        let Self { pack, records, of, content, head, place } = self;
        let name = format!("{records:05}-{of:05}-{:016x}-{head}", u64::from_be_bytes(*content));
        let Some(MemberPlace { merged, offset, length }) = place else { return Self::keys_of(pack)?.join(&name) };
        let MergedId { family, number, front, hash } = merged;
        let place = format!("{:016x}-{number:020}-{front:08}-{hash:016x}-{offset:08}-{length:08}", family.0);
        Self::keys_of(pack)?.join(&format!("{place}/{name}"))
    }

    /// Returns the key prefix of all parts of a pack.
    pub(crate) fn keys_of(pack: &PackId) -> Result<BlobKey> {
        format!("parts/{}/{:010}", pack.upload, pack.number).parse()
    }

    /// Parses the name of a part of `pack`.
    pub(crate) fn of_name(pack: PackId, name: &str) -> Option<Self> {
        let mut fields = name.split('-');
        let mut count = || fields.next()?.parse().ok().filter(|count| *count <= MAX_RECORDS);
        let (records, of) = (count()?, count()?);
        let content = u64::from_str_radix(fields.next()?, 16).ok()?.to_be_bytes();
        let head = fields.next()?.parse().ok()?;
        let id = Self { pack, records, of, content, head, place: None };
        (records <= of && fields.next().is_none()).then_some(id)
    }

    /// Returns an id that sorts before every part of `pack`.
    pub(crate) fn first_of(pack: PackId) -> Self {
        Self { pack, records: 0, of: 0, content: [0; 8], head: Digest::from_bytes([0; 32]), place: None }
    }

    /// Returns its place in a merged blob, if it is a member of one.
    pub(crate) fn place(&self) -> Option<&MemberPlace> {
        self.place.as_ref()
    }

    /// Returns the name of the same part in that place, or in a blob of its own.
    pub(crate) fn placed(self, place: Option<MemberPlace>) -> Self {
        Self { place, ..self }
    }
}

impl MemberPlace {
    /// Parses the place before the name of a member.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        let mut fields = name.split('-');
        let family = FamilyId(u64::from_str_radix(fields.next()?, 16).ok()?);
        let (number, front) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let hash = u64::from_str_radix(fields.next()?, 16).ok()?;
        let (offset, length) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let merged = MergedId { family, number, front, hash };
        fields.next().is_none().then_some(Self { merged, offset, length })
    }
}

/// The address of a slot in a region: a zone, from 0, and a number within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct SlotId {
    pub(crate) zone: usize,
    pub(crate) number: u32,
}

/// The name of a manifest: the upload that it was written for, and its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ManifestId {
    pub(crate) upload: UploadId,
    pub(crate) digest: Digest,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upload_ids_are_written_as_32_digits() {
        let id = UploadId::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(id.to_string(), "000102030405060708090a0b0c0d0eff");
        assert_eq!(id.to_string().parse::<UploadId>().unwrap(), id);
        for wrong in ["", "00", "+00102030405060708090a0b0c0d0eff", "000102030405060708090a0b0c0d0egg"] {
            assert!(wrong.parse::<UploadId>().is_err(), "{wrong}");
        }
    }
}
