//! The names of a slot's blobs, none of which is ever used twice.
//!
//! A condemned blob is dead in its slot under its name, permanently. The same pack, part or manifest can come back,
//! under a name that ends with its incarnation: the number of the commit that condemned the one before. If names were
//! used again, then: collection A condemns `packs/u/3` and stalls -> an import writes `packs/u/3` again and its version
//! is published -> A goes on and deletes it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::names::{ManifestId, MemberPlace, MergedId, PackId, PartId, UploadId};
use crate::error::Result;
use crate::store::BlobKey;

/// A blob of a slot. The number is its incarnation: 0 for the first, then the number of the commit that condemned the
/// one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum BlobName {
    Pack(PackId, u64),
    Part(PartId, u64),
    Manifest(ManifestId, u64),
    /// It has no incarnation: each is named anew.
    Merged(MergedId),
}

impl BlobName {
    /// Returns its key within a slot.
    pub(crate) fn key(&self) -> Result<BlobKey> {
        let (name, incarnation) = match self {
            Self::Pack(id, incarnation) => (id.key()?, incarnation),
            Self::Part(id, incarnation) => (id.key()?, incarnation),
            Self::Manifest(id, incarnation) => (format!("manifests/{}/{}", id.upload, id.digest).parse()?, incarnation),
            Self::Merged(id) => return id.key(),
        };
        match incarnation {
            0 => Ok(name),
            incarnation => format!("{name}-{incarnation}").parse(),
        }
    }

    /// Returns the blob name that `key`, within a slot, stands for.
    pub(crate) fn of_key(key: &BlobKey) -> Option<Self> {
        let segments: Vec<&str> = key.segments().collect();
        let name = match segments.as_slice() {
            ["packs", upload, name] => {
                let (number, incarnation) = split_incarnation(name, 0)?;
                Self::Pack(PackId { upload: upload.parse().ok()?, number: number.parse().ok()? }, incarnation)
            }
            ["parts", upload, number, place @ .., name] => {
                let (name, incarnation) = split_incarnation(name, 3)?;
                let pack = PackId { upload: upload.parse().ok()?, number: number.parse().ok()? };
                let place = match place {
                    [] => None,
                    [place] => Some(MemberPlace::of_name(place)?),
                    _ => return None,
                };
                Self::Part(PartId::of_name(pack, name)?.placed(place), incarnation)
            }
            ["manifests", upload, name] => {
                let (digest, incarnation) = split_incarnation(name, 0)?;
                Self::Manifest(ManifestId { upload: upload.parse().ok()?, digest: digest.parse().ok()? }, incarnation)
            }
            ["merged", family, name] => Self::Merged(MergedId::of_name(family, name)?),
            _ => return None,
        };
        // One name has one form.
        (name.key().ok()? == *key).then_some(name)
    }

    /// Returns the pack that the blob is, or is a part of.
    pub(crate) fn pack(&self) -> Option<PackId> {
        match self {
            Self::Pack(id, _) => Some(*id),
            Self::Part(id, _) => Some(id.pack),
            Self::Manifest(..) | Self::Merged(_) => None,
        }
    }
}

/// Splits a name that has `dashes` dashes of its own from its incarnation.
fn split_incarnation(name: &str, dashes: usize) -> Option<(&str, u64)> {
    match name.match_indices('-').nth(dashes) {
        None => Some((name, 0)),
        Some((at, _)) => {
            let (name, incarnation) = name.split_at_checked(at)?;
            Some((name, incarnation.strip_prefix('-')?.parse().ok().filter(|incarnation| *incarnation > 0)?))
        }
    }
}

/// Everything that was ever condemned in a slot: the dead names, and the incarnation of each new blob.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "WrittenIncarnations", into = "WrittenIncarnations")]
pub(crate) struct Incarnations {
    packs: BTreeMap<PackId, u64>,
    /// Each dead part with its incarnation, and the commit that condemned it.
    parts: BTreeMap<(PartId, u64), u64>,
    manifests: BTreeMap<ManifestId, u64>,
    /// Each dead merged blob, and the commit that condemned it.
    merged: BTreeMap<MergedId, u64>,
}

impl Incarnations {
    /// Notes that commit `number` condemned `name`.
    pub(crate) fn end(&mut self, name: BlobName, number: u64) {
        // A dead blob that a late put brought back does not end the one that is alive.
        if self.is_dead(name) {
            return;
        }
        match name {
            BlobName::Pack(id, _) => drop(self.packs.insert(id, number)),
            BlobName::Part(id, incarnation) => drop(self.parts.insert((id, incarnation), number)),
            BlobName::Manifest(id, _) => drop(self.manifests.insert(id, number)),
            BlobName::Merged(id) => {
                self.merged.insert(id, number);
                // Links die with it, and its name does not come back: they need no record of their own.
                self.parts.retain(|(part, _), _| part.place().is_none_or(|place| place.merged != id));
            }
        }
    }

    /// Returns whether `name` was condemned: nothing may rely on it.
    pub(crate) fn is_dead(&self, name: BlobName) -> bool {
        match name {
            BlobName::Pack(id, incarnation) => incarnation < self.of_pack(id),
            // A member is as dead as the blob that it is in, whatever the store still has.
            BlobName::Part(id, incarnation) => {
                self.parts.contains_key(&(id, incarnation))
                    || id.place().is_some_and(|place| self.merged.contains_key(&place.merged))
            }
            BlobName::Manifest(id, incarnation) => incarnation < self.of_manifest(id),
            BlobName::Merged(id) => self.merged.contains_key(&id),
        }
    }

    /// Returns the incarnation of a pack in this slot.
    pub(crate) fn of_pack(&self, id: PackId) -> u64 {
        self.packs.get(&id).copied().unwrap_or(0)
    }

    /// Returns the incarnation of new parts of a pack in this slot.
    pub(crate) fn of_parts(&self, pack: PackId) -> u64 {
        let of_pack = self.parts.range((PartId::first_of(pack), 0)..).take_while(|((id, _), _)| id.pack == pack);
        of_pack.map(|(_, number)| *number).max().unwrap_or(0)
    }

    /// Returns the incarnation of a manifest in this slot.
    pub(crate) fn of_manifest(&self, id: ManifestId) -> u64 {
        self.manifests.get(&id).copied().unwrap_or(0)
    }
}

/// The stored form: consecutive packs of one upload with the same incarnation as a run, from the first to the last.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct WrittenIncarnations {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    packs: Vec<(UploadId, u32, u32, u64)>,
    /// Keys within the slot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parts: Vec<(String, u64)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    manifests: Vec<(UploadId, Digest, u64)>,
    /// Keys within the slot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    merged: Vec<(String, u64)>,
}

impl From<Incarnations> for WrittenIncarnations {
    fn from(incarnations: Incarnations) -> Self {
        let mut packs: Vec<(UploadId, u32, u32, u64)> = Vec::new();
        for (id, number) in incarnations.packs {
            match packs.last_mut() {
                Some((upload, _, last, same)) if *upload == id.upload && *last + 1 == id.number && *same == number => {
                    *last = id.number;
                }
                _ => packs.push((id.upload, id.number, id.number, number)),
            }
        }
        let key = |id, incarnation| BlobName::Part(id, incarnation).key().map(|key| key.to_string()).ok();
        let parts = incarnations
            .parts
            .into_iter()
            .filter_map(|((id, incarnation), number)| Some((key(id, incarnation)?, number)));
        let manifests = incarnations.manifests.into_iter().map(|(id, number)| (id.upload, id.digest, number));
        let merged = incarnations.merged.into_iter();
        let merged = merged.filter_map(|(id, number)| Some((id.key().ok()?.to_string(), number)));
        Self { packs, parts: parts.collect(), manifests: manifests.collect(), merged: merged.collect() }
    }
}

impl From<WrittenIncarnations> for Incarnations {
    fn from(written: WrittenIncarnations) -> Self {
        let mut incarnations = Self::default();
        for (upload, first, last, number) in written.packs {
            incarnations.packs.extend((first..=last).map(|pack| (PackId { upload, number: pack }, number)));
        }
        for (key, number) in written.parts {
            if let Some(BlobName::Part(id, incarnation)) = key.parse().ok().as_ref().and_then(BlobName::of_key) {
                incarnations.parts.insert((id, incarnation), number);
            }
        }
        for (key, number) in written.merged {
            if let Some(BlobName::Merged(id)) = key.parse().ok().as_ref().and_then(BlobName::of_key) {
                incarnations.merged.insert(id, number);
            }
        }
        let manifests = written.manifests.into_iter();
        incarnations.manifests =
            manifests.map(|(upload, digest, number)| (ManifestId { upload, digest }, number)).collect();
        incarnations
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::FamilyId;
    use super::*;

    fn pack(number: u32) -> PackId {
        PackId { upload: UploadId::from_bytes([7; 16]), number }
    }

    fn part(number: u32) -> PartId {
        PartId::of_name(pack(number), &format!("00003-00009-0123456789abcdef-{}", Digest::of(b"table"))).unwrap()
    }

    fn merged(number: u64) -> MergedId {
        MergedId { family: FamilyId::of("web"), number, front: 4096, hash: 0x0123_4567_89ab_cdef }
    }

    #[test]
    fn a_member_dies_with_its_merged_blob() {
        let mut incarnations = Incarnations::default();
        let place = MemberPlace { merged: merged(7), offset: 8192, length: 77 };
        let member = BlobName::Part(part(3).placed(Some(place)), 0);
        let other = MemberPlace { merged: merged(8), ..place };
        let other = BlobName::Part(part(3).placed(Some(other)), 0);
        incarnations.end(BlobName::Merged(merged(7)), 9);
        assert!(incarnations.is_dead(BlobName::Merged(merged(7))) && incarnations.is_dead(member));
        assert!(!incarnations.is_dead(other) && !incarnations.is_dead(BlobName::Part(part(3), 0)));
        let written = serde_json::to_string(&incarnations).unwrap();
        assert_eq!(serde_json::from_str::<Incarnations>(&written).unwrap(), incarnations);
        // What is merged again and again leaves one name for each blob, and no part gets a name that was used.
        let mut many = Incarnations::default();
        let alone = BlobName::Part(part(3), 0);
        many.end(alone, 5);
        for number in (10..1000).step_by(10) {
            let place = MemberPlace { merged: merged(number), ..place };
            let member = BlobName::Part(part(3).placed(Some(place)), many.of_parts(pack(3)));
            assert!(!many.is_dead(member));
            many.end(member, number + 3);
            many.end(BlobName::Merged(merged(number)), number + 3);
            assert!(many.is_dead(member) && many.is_dead(alone));
        }
        assert_eq!((many.parts.len(), many.merged.len(), many.of_parts(pack(3))), (1, 99, 5));
        for name in [member, other, BlobName::Merged(merged(0)), BlobName::Merged(merged(u64::MAX))] {
            assert_eq!(BlobName::of_key(&name.key().unwrap()), Some(name));
        }
        let BlobName::Part(id, _) = member else { panic!("a part") };
        let later = BlobName::Part(id, 12);
        assert_eq!(BlobName::of_key(&later.key().unwrap()), Some(later));
        let last = BlobName::Part(id, u64::MAX);
        assert_eq!(BlobName::of_key(&last.key().unwrap()), Some(last));
    }

    #[test]
    fn a_name_comes_back_from_its_key_and_has_one_form() {
        let manifest = ManifestId { upload: UploadId::from_bytes([9; 16]), digest: Digest::of(b"m") };
        for incarnation in [0, 1, 41, u64::MAX] {
            for name in [
                BlobName::Pack(pack(3), incarnation),
                BlobName::Part(part(3), incarnation),
                BlobName::Manifest(manifest, incarnation),
            ] {
                let key = name.key().unwrap();
                assert_eq!(BlobName::of_key(&key), Some(name), "{key}");
                if incarnation == 0 {
                    assert_eq!(BlobName::of_key(&format!("{key}-0").parse().unwrap()), None);
                    assert_eq!(BlobName::of_key(&format!("{key}-07").parse().unwrap()), None);
                }
            }
        }
        for key in ["packs/x/0", "owner", "manifests/a", "packs/07070707070707070707070707070707/3"] {
            assert_eq!(BlobName::of_key(&key.parse().unwrap()), None, "{key}");
        }
    }

    #[test]
    fn no_name_is_used_twice() {
        let mut incarnations = Incarnations::default();
        let mut used = Vec::new();
        for number in 1..50 {
            let whole = BlobName::Pack(pack(1), incarnations.of_pack(pack(1)));
            let piece = BlobName::Part(part(1), incarnations.of_parts(pack(1)));
            for name in [whole, piece] {
                assert!(!incarnations.is_dead(name) && !used.contains(&name), "{name:?}");
                used.push(name);
                incarnations.end(name, number);
                assert!(incarnations.is_dead(name));
            }
            assert!(!incarnations.is_dead(BlobName::Pack(pack(2), 0)));
        }
        let written = serde_json::to_string(&incarnations).unwrap();
        assert_eq!(serde_json::from_str::<Incarnations>(&written).unwrap(), incarnations);
    }

    #[test]
    fn packs_that_were_condemned_together_are_written_as_a_run() {
        let mut incarnations = Incarnations::default();
        (0..60_000).for_each(|number| incarnations.end(BlobName::Pack(pack(number), 0), 5));
        let written = serde_json::to_string(&incarnations).unwrap();
        assert!(written.len() < 100, "{written}");
        assert_eq!(serde_json::from_str::<Incarnations>(&written).unwrap(), incarnations);
    }
}
