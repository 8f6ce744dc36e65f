//! Packs that no replica has good, as far as this process has seen.

use std::collections::BTreeSet;

use crate::content::manifest::Packs;
use crate::content::names::PackId;
use crate::host::sync::Mutex;
use crate::model::Region;

/// The most packs that are remembered: some MiB.
const MOST: usize = 65_536;

/// A version that needs one is no base: what is published next stores its chunks again.
#[derive(Debug, Default)]
pub(crate) struct Lost(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    /// The region in which it is lost; `None` for all of them.
    packs: BTreeSet<(PackId, Option<Region>)>,
    /// Whether there were more than can be remembered: each may be lost then.
    are_more: bool,
}

impl Lost {
    /// Notes packs that are lost in a region, or in all regions.
    pub(crate) fn note(&self, region: Option<&Region>, packs: impl IntoIterator<Item = PackId>) {
        let mut noted = self.0.lock();
        for pack in packs {
            match noted.packs.len() < MOST {
                true => drop(noted.packs.insert((pack, region.cloned()))),
                false => noted.are_more = true,
            }
        }
    }

    /// Notes that a region has all of a pack that it needs.
    pub(crate) fn found(&self, region: &Region, pack: &PackId) {
        let mut noted = self.0.lock();
        if !noted.packs.is_empty() {
            noted.packs.remove(&(*pack, Some(region.clone())));
            noted.packs.remove(&(*pack, None));
        }
    }

    pub(crate) fn has_any_of(&self, packs: &Packs, region: &Region) -> bool {
        let noted = self.0.lock();
        let is_lost =
            |pack: PackId| noted.packs.contains(&(pack, None)) || noted.packs.contains(&(pack, Some(region.clone())));
        noted.are_more || (!noted.packs.is_empty() && packs.iter().any(|pack| is_lost(pack.id)))
    }
}
