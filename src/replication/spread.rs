//! The order in which packs spread over the slots of a region. No I/O and no clock.
//!
//! A pack crosses the border once; then its holders pass it on. The rarest pack goes next, from the holder that has
//! sent the least, so every pack doubles its holders as early as possible, and filling a region takes hardly longer
//! than filling one slot. Among equal slots, one is taken at random: in a fixed order, neighbors end up with the same
//! packs and have nothing to send each other (`docs/decisions/0010`).

use std::collections::{BTreeSet, VecDeque};

/// One pack on its way to one slot, both by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub(crate) item: usize,
    pub(crate) from: Sender,
    pub(crate) to: usize,
}

/// The sender of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// Another region.
    Border,
    /// A slot of the same region, by index.
    Slot(usize),
}

/// The state of a spread: the holders of each item, the transfers under way, and the queue.
#[derive(Debug)]
pub(crate) struct Spread {
    items: Vec<Item>,
    /// Items that no slot has and that are not crossing the border, in order.
    outside: VecDeque<usize>,
    /// All other items that a slot still wants, by the number of slots that have or are getting them.
    waiting: BTreeSet<(usize, usize)>,
    /// Slots that can start one more transfer, as sender and as receiver.
    can_send: Bits,
    can_receive: Bits,
    /// The number of transfers that each slot sends and receives, and the most of each.
    busy: Vec<(usize, usize)>,
    at_a_time: usize,
    sent: Vec<usize>,
    gone: Bits,
    random: u64,
}

#[derive(Debug)]
struct Item {
    holders: Bits,
    /// Slots that want it and are not getting it.
    wanted: Bits,
    /// The number of slots that have it or are getting it.
    reach: usize,
}

impl Spread {
    /// Slot i has the items of `has[i]` and wants those of `wants[i]`, out of `items` items. Each slot sends and
    /// receives `at_a_time` at a time, at least one.
    pub(crate) fn new(items: usize, has: &[BTreeSet<usize>], wants: &[BTreeSet<usize>], at_a_time: usize) -> Self {
        let slots = has.len();
        let item = |number: usize| {
            let of = |sets: &[BTreeSet<usize>]| {
                Bits::of(slots, |slot| sets.get(slot).is_some_and(|set| set.contains(&number)))
            };
            let holders = of(has);
            Item { reach: holders.count(), wanted: of(wants), holders }
        };
        let items: Vec<Item> = (0..items).map(item).collect();
        let wanted = || items.iter().enumerate().filter(|(_, item)| item.wanted.any());
        let outside = wanted().filter(|(_, item)| item.reach == 0).map(|(number, _)| number).collect();
        let waiting = wanted().filter(|(_, item)| item.reach > 0).map(|(number, item)| (item.reach, number)).collect();
        let free = || Bits::of(slots, |_| true);
        let (can_send, can_receive, sent, gone) = (free(), free(), vec![0; slots], Bits::of(slots, |_| false));
        let (busy, at_a_time, random) = (vec![(0, 0); slots], at_a_time.max(1), 0x9e37_79b9_7f4a_7c15);
        Self { items, outside, waiting, can_send, can_receive, busy, at_a_time, sent, gone, random }
    }

    /// Returns whether no slot wants anything that is not on its way.
    pub(crate) fn is_done(&self) -> bool {
        self.waiting.is_empty()
            && self.outside.iter().all(|number| self.items.get(*number).is_none_or(|item| !item.wanted.any()))
    }

    /// Returns the next transfer, over the border only with `crossing`; `None` if nothing can start before something
    /// arrives.
    pub(crate) fn next(&mut self, crossing: bool) -> Option<Transfer> {
        let transfer =
            if crossing { self.next_over_border().or_else(|| self.next_within()) } else { self.next_within() }?;
        self.begin(&transfer);
        Some(transfer)
    }

    /// Notes that a transfer is under way.
    fn begin(&mut self, transfer: &Transfer) {
        self.count(transfer, 1);
        if let Some(item) = self.items.get_mut(transfer.item) {
            item.wanted.set(transfer.to, false);
        }
        self.reaches(transfer.item, 1);
    }

    fn next_over_border(&mut self) -> Option<Transfer> {
        // The slots that wanted it may be gone.
        while self.outside.front().is_some_and(|number| self.items.get(*number).is_none_or(|item| !item.wanted.any())) {
            self.outside.pop_front();
        }
        let item = *self.outside.front()?;
        let to = self.any_of(&self.items.get(item)?.wanted.and(&self.can_receive))?;
        self.outside.pop_front();
        Some(Transfer { item, from: Sender::Border, to })
    }

    fn next_within(&mut self) -> Option<Transfer> {
        let found = self.waiting.iter().find_map(|(_, number)| {
            let item = self.items.get(*number)?;
            let can = item.holders.meets(&self.can_send) && item.wanted.meets(&self.can_receive);
            can.then(|| (*number, item.holders.and(&self.can_send), item.wanted.and(&self.can_receive)))
        });
        let (item, senders, receivers) = found?;
        let sent = |slot: &usize| self.sent.get(*slot).copied().unwrap_or(0);
        let least = senders.iter().map(|slot| sent(&slot)).min()?;
        let mut idlest = senders.clone();
        senders.iter().filter(|slot| sent(slot) > least).for_each(|slot| idlest.set(slot, false));
        let (from, to) = (self.any_of(&idlest)?, self.any_of(&receivers)?);
        self.sent.get_mut(from).into_iter().for_each(|sent| *sent += 1);
        Some(Transfer { item, from: Sender::Slot(from), to })
    }

    /// Returns transfers of the item of `transfer` to the other slots that want it, for a sender that serves them all at once; none if
    /// more than `most` want it.
    pub(crate) fn beside(&mut self, transfer: &Transfer, most: usize) -> Vec<Transfer> {
        let Some(item) = self.items.get(transfer.item).filter(|item| item.wanted.count() <= most) else {
            return Vec::new();
        };
        let slots = item.wanted.and(&self.can_receive);
        let transfers: Vec<Transfer> = slots.iter().map(|to| Transfer { to, ..*transfer }).collect();
        transfers.iter().for_each(|transfer| self.begin(transfer));
        transfers
    }

    /// Notes that a transfer has arrived.
    pub(crate) fn arrived(&mut self, transfer: &Transfer) {
        self.over(transfer);
        let gone = self.gone.has(transfer.to);
        match self.items.get_mut(transfer.item) {
            Some(item) if !gone => item.holders.set(transfer.to, true),
            // The slot is gone, so its copy does not count.
            _ => self.reaches(transfer.item, -1),
        }
    }

    /// Notes that a transfer failed at its receiver, which gets nothing more.
    pub(crate) fn lost(&mut self, transfer: &Transfer) {
        self.over(transfer);
        self.reaches(transfer.item, -1);
        self.leave(transfer.to);
    }

    /// Notes that the sender does not have the item after all. It comes from another holder, or over the border.
    pub(crate) fn not_there(&mut self, transfer: &Transfer) {
        self.over(transfer);
        let gone = self.gone.has(transfer.to);
        let (Sender::Slot(slot), Some(item)) = (transfer.from, self.items.get_mut(transfer.item)) else { return };
        let held = item.holders.has(slot);
        item.holders.set(slot, false);
        item.wanted.set(transfer.to, !gone);
        self.reaches(transfer.item, if held { -2 } else { -1 });
    }

    fn over(&mut self, transfer: &Transfer) {
        self.count(transfer, -1);
    }

    /// Counts a transfer as under way (`more` = 1) or as over (-1).
    fn count(&mut self, transfer: &Transfer, more: isize) {
        if let Some((_, receiving)) = self.busy.get_mut(transfer.to) {
            *receiving = receiving.saturating_add_signed(more);
            self.can_receive.set(transfer.to, *receiving < self.at_a_time);
        }
        if let Sender::Slot(slot) = transfer.from
            && let Some((sending, _)) = self.busy.get_mut(slot)
        {
            *sending = sending.saturating_add_signed(more);
            self.can_send.set(slot, *sending < self.at_a_time);
        }
    }

    /// Removes a slot: it gets and sends nothing more.
    pub(crate) fn leave(&mut self, slot: usize) {
        self.gone.set(slot, true);
        for number in 0..self.items.len() {
            let Some(item) = self.items.get_mut(number) else { continue };
            item.wanted.set(slot, false);
            let held = item.holders.has(slot);
            item.holders.set(slot, false);
            self.reaches(number, if held { -1 } else { 0 });
        }
    }

    /// Changes the reach of an item by `more`, and queues it again if a slot still wants it.
    fn reaches(&mut self, number: usize, more: isize) {
        let Some(item) = self.items.get_mut(number) else { return };
        self.waiting.remove(&(item.reach, number));
        item.reach = item.reach.saturating_add_signed(more);
        let (reach, wanted) = (item.reach, item.wanted.any());
        match (wanted, reach) {
            (false, _) => {}
            (true, 0) if self.outside.contains(&number) => {}
            (true, 0) => self.outside.push_front(number),
            (true, _) => {
                self.waiting.insert((reach, number));
            }
        }
    }

    /// Returns one of `slots` at random.
    fn any_of(&mut self, slots: &Bits) -> Option<usize> {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let start = (self.random % self.sent.len().max(1) as u64) as usize;
        slots.first_from(start)
    }
}

/// A set of slots.
#[derive(Clone, Debug)]
struct Bits(Vec<u64>);

impl Bits {
    fn of(count: usize, is_in: impl Fn(usize) -> bool) -> Self {
        let mut bits = Self(vec![0; count.div_ceil(64)]);
        (0..count).filter(|slot| is_in(*slot)).for_each(|slot| bits.set(slot, true));
        bits
    }

    fn set(&mut self, slot: usize, is_in: bool) {
        if let Some(word) = self.0.get_mut(slot / 64) {
            *word = *word & !(1 << (slot % 64)) | u64::from(is_in) << (slot % 64);
        }
    }

    fn has(&self, slot: usize) -> bool {
        self.0.get(slot / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1)
    }

    fn any(&self) -> bool {
        self.0.iter().any(|word| *word != 0)
    }

    fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| a & b != 0)
    }

    fn and(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a & b).collect())
    }

    fn iter(&self) -> impl Iterator<Item = usize> {
        let of_word = |(number, word): (usize, &u64)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
                rest &= rest - 1;
                Some(number * 64 + bit)
            })
        };
        self.0.iter().enumerate().flat_map(of_word)
    }

    /// Returns the first slot from `start` on, else the first of all.
    fn first_from(&self, start: usize) -> Option<usize> {
        let word = |number: usize, mask: u64| {
            let bits = self.0.get(number)? & mask;
            (bits != 0).then(|| number * 64 + bits.trailing_zeros() as usize)
        };
        let (first, mask) = (start / 64, u64::MAX << (start % 64));
        let later = (first + 1..self.0.len()).chain(0..first + 1).find_map(|number| word(number, u64::MAX));
        word(first, mask).or(later)
    }
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "_properties")]
    use proptest::prelude::*;

    use super::*;

    /// The rounds that it takes where every transfer takes one, and the border lets one through at a time.
    fn rounds(spread: &mut Spread) -> usize {
        for round in 0.. {
            let mut under_way: Vec<Transfer> = spread.next(true).into_iter().collect();
            under_way.extend(std::iter::from_fn(|| spread.next(false)));
            if under_way.is_empty() {
                return round;
            }
            assert!(under_way.iter().filter(|transfer| transfer.from == Sender::Border).count() <= 1);
            under_way.iter().for_each(|transfer| spread.arrived(transfer));
        }
        0
    }

    /// The lower bound of any schedule: every slot gets one pack a round, and the holders of the last pack at most
    /// double. The spread takes at most 5 % longer, and so hardly depends on the number of slots.
    #[test]
    fn a_thousand_replicas_take_hardly_longer_than_one() {
        const PACKS: usize = 480;
        let all: BTreeSet<usize> = (0..PACKS).collect();
        let mut worst = (0.0, 0);
        for slots in (1..=9).chain([16, 33, 64, 127, 128, 129, 500, 1000]) {
            let mut spread = Spread::new(PACKS, &vec![BTreeSet::new(); slots], &vec![all.clone(); slots], 1);
            let bound = PACKS - 1 + slots.next_power_of_two().ilog2() as usize;
            let ratio = rounds(&mut spread) as f64 / bound as f64;
            assert!(spread.items.iter().all(|item| item.holders.count() == slots));
            worst = if ratio > worst.0 { (ratio, slots) } else { worst };
        }
        println!("at most {:.4} times the bound, with {} slots", worst.0, worst.1);
        assert!(worst.0 <= 1.05, "{worst:?}");
    }

    #[cfg(feature = "_properties")]
    proptest! {
        /// For any holdings, losses and missing items: in the end every remaining slot has what it wants, nothing was
        /// sent to a slot that had it, and only items that no slot had crossed the border.
        #[test]
        fn everybody_gets_what_it_wants_once(
            slots in prop::collection::vec((prop::collection::btree_set(0_usize..6, 0..6), prop::collection::btree_set(0_usize..6, 0..6)), 1..6),
            fates in prop::collection::vec(0_u8..20, 0..40), at_a_time in 1_usize..4,
        ) {
            let mut has: Vec<BTreeSet<usize>> = slots.iter().map(|(has, _)| has.clone()).collect();
            let mut wants: Vec<BTreeSet<usize>> = slots.iter().map(|(has, wants)| wants - has).collect();
            let mut spread = Spread::new(6, &has, &wants, at_a_time);
            let mut fates = fates.into_iter();
            let (mut under_way, mut gone, mut absent) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
            loop {
                under_way.extend(spread.next(under_way.len() < 2));
                if under_way.len() == 3 || (!under_way.is_empty() && spread.next(false).map(|transfer| under_way.push(transfer)).is_none()) {
                    let transfer: Transfer = under_way.remove(0);
                    match transfer.from {
                        Sender::Border => prop_assert!(!has.iter().any(|slot| slot.contains(&transfer.item))),
                        // One that was lost since it began to send has sent what it had.
                        Sender::Slot(from) => prop_assert!(gone.contains(&from) || has[from].contains(&transfer.item) || absent.contains(&(from, transfer.item))),
                    }
                    match fates.next() {
                        Some(0) => {
                            spread.lost(&transfer);
                            gone.insert(transfer.to);
                            has[transfer.to].clear();
                            wants[transfer.to].clear();
                        }
                        Some(1) if transfer.from != Sender::Border && wants[transfer.to].contains(&transfer.item) => {
                            let Sender::Slot(from) = transfer.from else { continue };
                            has[from].remove(&transfer.item);
                            absent.insert((from, transfer.item));
                            spread.not_there(&transfer);
                        }
                        _ => {
                            spread.arrived(&transfer);
                            if !gone.contains(&transfer.to) {
                                prop_assert!(wants[transfer.to].remove(&transfer.item), "sent twice");
                                has[transfer.to].insert(transfer.item);
                            }
                        }
                    }
                } else if under_way.is_empty() {
                    break;
                }
            }
            prop_assert!(wants.iter().all(BTreeSet::is_empty), "{wants:?}");
        }
    }
}
