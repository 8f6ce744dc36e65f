//! What the slots of a region lack of a version, and the form in which it is sent. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use crate::content::extents::Extents;
use crate::content::manifest::Needs;
use crate::content::names::PackId;
use crate::content::pack::PackInfo;
use crate::replica::holding::Holding;
use crate::replica::parcel::ParcelRequest;

/// The holdings of one slot.
pub(crate) type Holdings = BTreeMap<PackId, Holding>;

/// What a region lacks of a version.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lacking {
    /// The pieces to send, each to at least one slot.
    pub(crate) pieces: Vec<ParcelRequest>,
    /// For each slot, the pieces that it has and can pass on.
    pub(crate) has: Vec<BTreeSet<usize>>,
    /// For each slot, the pieces that it needs and lacks.
    pub(crate) wants: Vec<BTreeSet<usize>>,
    /// The bytes that all slots together must have, and those that they have: each pack's share of its length.
    pub(crate) needed_bytes: u64,
    pub(crate) present_bytes: u64,
}

impl Lacking {
    /// Returns the bytes that are to cross the region's border, and those that are to be stored, both about.
    pub(crate) fn sizes(&self) -> (u64, u64) {
        let (mut crossing, mut stored) = (0, 0);
        for (number, piece) in self.pieces.iter().enumerate() {
            let in_sets = |sets: &[BTreeSet<usize>]| sets.iter().filter(|set| set.contains(&number)).count() as u64;
            crossing += if in_sets(&self.has) == 0 { piece.bytes() } else { 0 };
            stored += piece.bytes() * in_sets(&self.wants);
        }
        (crossing, stored)
    }
}

/// Compares the holdings of a region's slots with the needs of a version. Only pieces that no slot has cross the
/// border; the others come from a slot of the region.
pub(crate) fn compare<'a>(packs: impl IntoIterator<Item = &'a PackInfo>, needs: &Needs, slots: &[Holdings]) -> Lacking {
    let sets = || vec![BTreeSet::new(); slots.len()];
    let mut lacking = Lacking { has: sets(), wants: sets(), ..Lacking::default() };
    let nothing = Holding::default();
    for pack in packs {
        let Some(need) = needs.get(&pack.id) else { continue };
        let holdings: Vec<&Holding> = slots.iter().map(|slot| slot.get(&pack.id).unwrap_or(&nothing)).collect();
        let missing: Vec<Extents> = holdings.iter().map(|holding| holding.lacks(pack, need)).collect();
        lacking.needed_bytes += pack.bytes_of(need) * slots.len() as u64;
        let present = |missing: &Extents| pack.bytes_of(need).saturating_sub(pack.bytes_of(missing));
        lacking.present_bytes += missing.iter().map(present).sum::<u64>();
        // Split so that every slot has or lacks each piece as a whole.
        let apart = missing.iter().fold(vec![need.clone()], |pieces, missing| {
            let split = |piece: Extents| {
                let there = piece.minus(missing);
                [piece.minus(&there), there]
            };
            pieces.into_iter().flat_map(split).filter(|piece| !piece.is_empty()).collect()
        });
        for extents in apart.into_iter().filter(|piece| missing.iter().any(|missing| missing.contains(piece))) {
            let (number, mut blank) = (lacking.pieces.len(), true);
            for (slot, (missing, holding)) in missing.iter().zip(&holdings).enumerate() {
                let wanted = missing.contains(&extents);
                blank &= !wanted || (!holding.has_whole(pack) && holding.parts.is_empty());
                let sets = if wanted { &mut lacking.wants } else { &mut lacking.has };
                if let Some(set) = sets.get_mut(slot) {
                    set.insert(number);
                }
            }
            let whole = blank && pack.is_mostly(&extents);
            lacking.pieces.push(ParcelRequest { pack: *pack, extents, whole });
        }
    }
    lacking
}

#[cfg(test)]
#[cfg(feature = "_properties")]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::content::digest::Digest;
    use crate::content::head::Described;
    use crate::content::names::{CatalogId, UploadId};
    use crate::content::pack::PackBuilder;
    use crate::content::part::Part;
    use crate::content::record::{Encoding, Line};

    const RECORDS: usize = 12;

    type TestPack = (PackInfo, Vec<(Line, Bytes)>);

    fn pack(number: u32) -> TestPack {
        let id = PackId { upload: UploadId::from_bytes([0; 16]), number };
        let mut builder = PackBuilder::new(Described { catalog: CATALOG, pack: id }, None);
        for record in 0..RECORDS as u8 {
            let bytes = vec![record; 100];
            builder.append(Digest::of(&bytes), Encoding::Plain, &bytes, &Digest::of(&bytes));
        }
        let pack = builder.finish();
        let blob = [&pack.head[..], &pack.records[..]].concat().into();
        (pack.info, pack.info.head(CATALOG, &pack.head).unwrap().records_in(&blob))
    }

    const CATALOG: CatalogId = CatalogId(UploadId::from_bytes([5; 16]));

    /// Some of a pack's records: 0 is none, 1 is the whole pack, any other value is a mask.
    fn holding(chosen: u16, (info, records): &TestPack) -> Holding {
        match chosen {
            0 => Holding::default(),
            1 => Holding { whole: Some(info.length), ..Holding::default() },
            _ => {
                let records = records.iter().filter(|(line, _)| chosen >> line.ordinal & 1 == 1).cloned().collect();
                Holding { parts: vec![Part::build(CATALOG, info, records).unwrap().0], ..Holding::default() }
            }
        }
    }

    fn chosen() -> impl Strategy<Value = u16> {
        prop_oneof![Just(0), Just(1), 0_u16..1 << RECORDS]
    }

    proptest! {
        /// Once carried out, every slot has everything it needs; no piece goes to a slot that has it, a piece with a
        /// holder in the region is whole there, and exactly the bytes that no slot has cross the border.
        #[test]
        fn what_is_lacking_completes_every_slot_and_no_more(
            slots in prop::collection::vec(prop::collection::vec(chosen(), 3), 1..5),
            needed in prop::collection::vec(1_u16..1 << RECORDS, 3),
        ) {
            let packs: Vec<_> = (0..3).map(pack).collect();
            let infos: Vec<PackInfo> = packs.iter().map(|pack| pack.0).collect();
            let holdings: Vec<Holdings> = slots
                .iter()
                .map(|slot| slot.iter().zip(&packs).map(|(chosen, pack)| (pack.0.id, holding(*chosen, pack))).collect())
                .collect();
            let needs: Needs = needed
                .iter()
                .zip(&packs)
                .map(|(chosen, pack)| (pack.0.id, (0..RECORDS).filter(|at| chosen >> at & 1 == 1).map(|at| at as u32..at as u32 + 1).collect()))
                .collect();
            let lacking = compare(&infos, &needs, &holdings);
            for info in &infos {
                let need = &needs[&info.id];
                let missing: Vec<Extents> = holdings.iter().map(|slot| slot[&info.id].lacks(info, need)).collect();
                let nowhere = missing.iter().fold(need.clone(), |all, one| all.minus(&all.minus(one)));
                let mut crossed = Extents::default();
                for (slot, missing) in missing.iter().enumerate() {
                    let mut got = Extents::default();
                    for (number, piece) in lacking.pieces.iter().enumerate().filter(|(_, piece)| piece.pack == *info) {
                        if lacking.wants[slot].contains(&number) {
                            prop_assert!(missing.contains(&piece.extents), "it is there already");
                            prop_assert_eq!(got.minus(&piece.extents), got.clone(), "sent twice");
                            got = got.union(&piece.extents);
                        }
                        if lacking.has[slot].contains(&number) {
                            prop_assert_eq!(piece.extents.minus(missing), piece.extents.clone(), "it is not there");
                        }
                        let held = lacking.has.iter().any(|has| has.contains(&number));
                        if !held && lacking.wants.iter().any(|wants| wants.contains(&number)) && slot == 0 {
                            crossed = crossed.union(&piece.extents);
                        }
                    }
                    prop_assert_eq!(&got, missing, "slot {}", slot);
                }
                prop_assert_eq!(crossed, nowhere);
            }
            let missing: u64 = lacking.needed_bytes - lacking.present_bytes;
            prop_assert_eq!(missing == 0, lacking.pieces.is_empty());
        }
    }
}
