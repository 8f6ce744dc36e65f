//! What a slot has of a pack.

use crate::content::blob_name::BlobName;
use crate::content::extents::Extents;
use crate::content::names::PackId;
use crate::content::pack::PackInfo;
use crate::content::part::Part;

/// What a slot has of a pack.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holding {
    /// The length of the whole pack, if that is here.
    pub(crate) whole: Option<u64>,
    /// The incarnation that the whole pack has here.
    pub(crate) incarnation: u64,
    /// Parts of it.
    pub(crate) parts: Vec<Part>,
    /// What is named as parts of it and has no table that can be read.
    pub(crate) broken: Vec<BlobName>,
    /// What lies there under a incarnation that comes later than the one it has: nothing may rely on it, or remove it.
    pub(crate) foreign: Vec<(BlobName, u64)>,
    /// What has been condemned of it and is still there, with its size: nothing may rely on it.
    pub(crate) dead: Vec<(BlobName, u64)>,
}

impl Holding {
    /// Whether the pack is here whole. A blob of another length is not the pack.
    pub(crate) fn has_whole(&self, pack: &PackInfo) -> bool {
        self.whole == Some(pack.length)
    }

    /// Whether some of the pack is here.
    pub(crate) fn has_any_of(&self, pack: &PackInfo) -> bool {
        self.has_whole(pack) || !self.parts.is_empty()
    }

    /// What of `need` is not here.
    pub(crate) fn lacks(&self, pack: &PackInfo, need: &Extents) -> Extents {
        match self.has_whole(pack) {
            true => Extents::default(),
            false => self.parts.iter().fold(need.clone(), |lacking, part| lacking.minus(&part.extents())),
        }
    }

    /// The whole pack and the parts, with their lengths.
    pub(crate) fn readable(&self, pack: PackId) -> impl Iterator<Item = (BlobName, u64)> {
        let whole = self.whole.map(|length| (BlobName::Pack(pack, self.incarnation), length));
        whole.into_iter().chain(self.parts.iter().map(|part| (part.name(), part.length())))
    }

    /// Takes a blob out.
    pub(crate) fn remove(&mut self, name: BlobName) {
        if matches!(name, BlobName::Pack(_, incarnation) if incarnation == self.incarnation) {
            self.whole = None;
        }
        self.parts.retain(|part| part.name() != name);
        self.broken.retain(|broken| *broken != name);
        self.dead.retain(|(dead, _)| *dead != name);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.whole.is_none() && self.parts.is_empty() && self.broken.is_empty()
    }

    /// The bytes that it takes.
    pub(crate) fn bytes(&self) -> u64 {
        self.whole.unwrap_or(0) + self.parts.iter().map(Part::length).sum::<u64>()
    }
}
