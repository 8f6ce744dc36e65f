//! What a survey keeps of the manifests that it has read: what they need, and not their bytes.
//!
//! Versions of a definition share most of their packs, and need most of them whole: so a pack is here once, and so is a set of records. A
//! line of a manifest takes 16 bytes, where the manifest itself has more than 200 for it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::content::extents::Extents;
use crate::content::manifest::{Manifest, Needs};
use crate::content::names::{ManifestId, PackId};
use crate::content::pack::PackInfo;

/// The manifests that were read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surveyed {
    /// Each pack that one of them names.
    packs: Vec<PackInfo>,
    numbers: HashMap<PackId, u32>,
    /// The records that are needed of a pack.
    sets: HashSet<Arc<Extents>>,
    manifests: BTreeMap<ManifestId, Arc<Read>>,
}

/// What is kept of a manifest.
#[derive(Debug)]
struct Read {
    /// Its root and its pages.
    blobs: Box<[ManifestId]>,
    /// The packs that it names, by their numbers, each with the records that it needs.
    lines: Box<[(u32, Arc<Extents>)]>,
}

impl Surveyed {
    pub(crate) fn has(&self, id: &ManifestId) -> bool {
        self.manifests.contains_key(id)
    }

    pub(crate) fn add(&mut self, id: ManifestId, manifest: &Manifest) {
        let mut lines = Vec::with_capacity(manifest.packs.iter().len());
        for (pack, needed) in manifest.lines() {
            let number = match self.numbers.get(&pack.id) {
                // A pack has one form for all who name it; if one tells another, each keeps what it was told.
                Some(number) if self.packs.get(*number as usize) == Some(&pack) => *number,
                known => {
                    let (is_new, number) = (known.is_none(), self.packs.len() as u32);
                    self.packs.push(pack);
                    if is_new {
                        self.numbers.insert(pack.id, number);
                    }
                    number
                }
            };
            let needed = match self.sets.get(&needed) {
                Some(known) => known.clone(),
                None => {
                    let new = Arc::new(needed);
                    self.sets.insert(new.clone());
                    new
                }
            };
            lines.push((number, needed));
        }
        let blobs = manifest.blobs().map(|(id, _)| *id).collect();
        self.manifests.insert(id, Arc::new(Read { blobs, lines: lines.into() }));
    }

    /// Returns the packs of a manifest, each with the records that it needs; none of one that was not read.
    pub(crate) fn lines(&self, id: &ManifestId) -> impl Iterator<Item = (&PackInfo, &Extents)> {
        let lines = self.manifests.get(id).into_iter().flat_map(|read| read.lines.iter());
        lines.filter_map(|(number, needed)| Some((self.packs.get(*number as usize)?, &**needed)))
    }

    /// Returns the root and the pages of a manifest.
    pub(crate) fn blobs(&self, id: &ManifestId) -> impl Iterator<Item = &ManifestId> {
        self.manifests.get(id).into_iter().flat_map(|read| read.blobs.iter())
    }

    /// Returns what manifests need of each pack.
    pub(crate) fn needs_of<'m>(&self, manifests: impl IntoIterator<Item = &'m ManifestId>) -> Needs {
        let mut needs = Needs::new();
        for (pack, needed) in manifests.into_iter().flat_map(|id| self.lines(id)) {
            let all = needs.entry(pack.id).or_default();
            // Mostly they need the same.
            if !all.contains(needed) {
                *all = all.union(needed);
            }
        }
        needs
    }
}
