//! Holdings: the blobs that a slot has of a pack.

use crate::content::blob_name::BlobName;
use crate::content::extents::Extents;
use crate::content::names::PackId;
use crate::content::pack::PackInfo;
use crate::content::part::Part;

/// A slot's holding of a pack: the whole pack, or parts of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holding {
    /// The length of the whole pack, if the slot has it.
    pub(crate) whole: Option<u64>,
    /// The incarnation of the whole pack.
    pub(crate) incarnation: u64,
    /// The readable parts.
    pub(crate) parts: Vec<Part>,
    /// Part blobs whose head cannot be read.
    pub(crate) broken: Vec<BlobName>,
    /// Blobs with a later incarnation than the log knows, with their sizes: nothing may rely on them or remove them.
    pub(crate) foreign: Vec<(BlobName, u64)>,
    /// Condemned blobs that are still there, with their sizes: nothing may rely on them.
    pub(crate) dead: Vec<(BlobName, u64)>,
}

impl Holding {
    /// Returns whether the whole pack is here. A blob of another length is not the pack.
    pub(crate) fn has_whole(&self, pack: &PackInfo) -> bool {
        self.whole == Some(pack.length)
    }

    /// Returns the number of records that are here: those of the whole pack, or of all parts together.
    pub(crate) fn records_of(&self, pack: &PackInfo) -> u64 {
        match self.has_whole(pack) {
            true => pack.records.into(),
            false => self.parts.iter().map(|part| part.extents().count()).sum(),
        }
    }

    /// Returns the records of `need` that are missing.
    pub(crate) fn lacks(&self, pack: &PackInfo, need: &Extents) -> Extents {
        match self.has_whole(pack) {
            true => Extents::default(),
            false => {
                let parts = self.parts.iter().filter(|part| part.is_of(pack));
                parts.fold(need.clone(), |lacking, part| lacking.minus(&part.extents()))
            }
        }
    }

    /// Returns the names of the whole pack and of the readable parts, with their lengths. That of a member frees nothing by itself.
    pub(crate) fn readable(&self, pack: PackId) -> impl Iterator<Item = (BlobName, u64)> {
        let whole = self.whole.map(|length| (BlobName::Pack(pack, self.incarnation), length));
        whole.into_iter().chain(
            self.parts.iter().map(|part| (part.name(), if part.id.place().is_some() { 0 } else { part.length() })),
        )
    }

    /// Returns the names of all blobs that may still be relied on.
    pub(crate) fn alive(&self, pack: PackId) -> impl Iterator<Item = BlobName> {
        let others = self.broken.iter().copied().chain(self.foreign.iter().map(|(name, _)| *name));
        self.readable(pack).map(|(name, _)| name).chain(others)
    }

    /// Removes a blob from the holding.
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

    /// Returns the bytes of the whole pack and the readable parts.
    pub(crate) fn bytes(&self) -> u64 {
        self.whole.unwrap_or(0) + self.parts.iter().map(Part::length).sum::<u64>()
    }
}
