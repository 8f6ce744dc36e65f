//! Packs of which no replica has all that is needed, as far as this process has seen.

use std::collections::BTreeSet;

use crate::content::manifest::Packs;
use crate::content::names::PackId;
use crate::host::sync::Mutex;

/// The most packs that are remembered: half a MiB.
const MOST: usize = 16_384;

/// A version that needs one is no base: what is published next stores its chunks again.
#[derive(Debug, Default)]
pub(crate) struct Lost(Mutex<BTreeSet<PackId>>);

impl Lost {
    pub(crate) fn note(&self, packs: impl IntoIterator<Item = PackId>) {
        let mut lost = self.0.lock();
        packs.into_iter().for_each(|pack| {
            if lost.len() < MOST {
                lost.insert(pack);
            }
        });
    }

    /// Notes that a pack is whole again.
    pub(crate) fn found(&self, pack: &PackId) {
        self.0.lock().remove(pack);
    }

    pub(crate) fn has_any_of(&self, packs: &Packs) -> bool {
        let lost = self.0.lock();
        !lost.is_empty() && packs.iter().any(|pack| lost.contains(&pack.id))
    }
}
