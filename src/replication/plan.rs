//! What to send, from where, to where. Pure.

use std::collections::BTreeSet;

use crate::image::pack::{PackId, PackInfo};

/// What the slots of one region have.
pub(crate) type Present = Vec<BTreeSet<PackId>>;

/// One pack's way into one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// The region, by its place in the list that was planned for.
    pub(crate) region: usize,
    pub(crate) pack: PackInfo,
    pub(crate) from: Origin,
    /// The slots that lack it. From another region it goes to the first, and from there to the rest.
    pub(crate) to: Vec<u32>,
}

/// Where a pack comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Over the region's border.
    OtherRegion,
    /// From a slot of the same region.
    Slot(u32),
}

/// Everything that the regions lack of `packs`. Regions take turns, so that none waits for another to finish.
pub(crate) fn plan(packs: &[PackInfo], regions: &[Present]) -> Vec<Step> {
    let steps = packs.iter().flat_map(|pack| {
        regions.iter().enumerate().filter_map(|(region, slots)| {
            let (mut have, mut lack) = (None, Vec::new());
            for (slot, present) in (0_u32..).zip(slots) {
                match present.contains(&pack.id) {
                    true => have = have.or(Some(slot)),
                    false => lack.push(slot),
                }
            }
            let from = have.map_or(Origin::OtherRegion, Origin::Slot);
            let step = Step { region, pack: *pack, from, to: lack };
            (!step.to.is_empty()).then_some(step)
        })
    });
    steps.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::image::{Digest, UploadId};

    fn pack(number: u32) -> PackInfo {
        let id = PackId { upload: UploadId::from_bytes([0; 16]), number };
        PackInfo { id, length: 1, table: Digest::of(b"") }
    }

    proptest! {
        /// Carried out, a plan leaves every slot whole, sends nothing to a slot that has it, and crosses each border
        /// at most once for a pack, and only where no slot of the region has it.
        #[test]
        fn a_plan_completes_every_slot_with_nothing_sent_twice(
            regions in prop::collection::vec(prop::collection::vec(prop::collection::btree_set(0_u32..6, 0..6), 1..5), 1..5),
        ) {
            let packs: Vec<PackInfo> = (0..6).map(pack).collect();
            let mut present: Vec<Present> = regions
                .iter()
                .map(|slots| slots.iter().map(|slot| slot.iter().map(|number| pack(*number).id).collect()).collect())
                .collect();
            let before = present.clone();
            for step in plan(&packs, &before) {
                let slots = &mut present[step.region];
                let had = slots.iter().any(|slot| slot.contains(&step.pack.id));
                match step.from {
                    Origin::OtherRegion => prop_assert!(!had),
                    Origin::Slot(slot) => prop_assert!(slots[slot as usize].contains(&step.pack.id)),
                }
                for slot in step.to {
                    prop_assert!(slots[slot as usize].insert(step.pack.id), "sent twice");
                }
            }
            prop_assert!(present.iter().flatten().all(|slot| slot.len() == packs.len()));
        }
    }
}
