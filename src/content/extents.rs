//! Sets of records of a pack.

use std::ops::Range;

/// Ranges of the ordinals of a pack's records, ascending; no two of them touch or overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Extents(Vec<Range<u32>>);

impl Extents {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the number of records.
    pub(crate) fn count(&self) -> u64 {
        self.0.iter().map(|range| u64::from(range.end - range.start)).sum()
    }

    /// Returns the ranges, ascending.
    pub(crate) fn ranges(&self) -> &[Range<u32>] {
        &self.0
    }

    /// Returns whether all of `range` is in the set.
    pub(crate) fn covers(&self, range: &Range<u32>) -> bool {
        let after = self.0.partition_point(|one| one.start <= range.start);
        let before = after.checked_sub(1).and_then(|at| self.0.get(at));
        range.is_empty() || before.is_some_and(|one| range.end <= one.end)
    }

    /// Returns whether all of `other` is in the set.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        other.0.iter().all(|range| self.covers(range))
    }

    pub(crate) fn union(&self, other: &Self) -> Self {
        self.0.iter().chain(&other.0).cloned().collect()
    }

    /// Returns the records that are not in `other`.
    pub(crate) fn minus(&self, other: &Self) -> Self {
        let (mut left, mut taken) = (Vec::new(), other.0.iter().peekable());
        for range in &self.0 {
            let mut start = range.start;
            while let Some(hole) = taken.peek() {
                if hole.end <= start {
                    taken.next();
                    continue;
                }
                if hole.start >= range.end {
                    break;
                }
                if hole.start > start {
                    left.push(start..hole.start);
                }
                start = hole.end;
                if start >= range.end {
                    break;
                }
            }
            if start < range.end {
                left.push(start..range.end);
            }
        }
        Self(left)
    }
}

impl FromIterator<Range<u32>> for Extents {
    fn from_iter<I: IntoIterator<Item = Range<u32>>>(ranges: I) -> Self {
        let mut gathering = Gathering::default();
        ranges.into_iter().for_each(|range| gathering.add(range));
        gathering.finish()
    }
}

/// Collects ranges, in any order, into [`Extents`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Gathering {
    ranges: Vec<Range<u32>>,
    /// The number of ranges that are sorted and joined; at twice this number, all are sorted again.
    ordered: usize,
}

impl Gathering {
    pub(crate) fn add(&mut self, range: Range<u32>) {
        match self.ranges.last_mut() {
            _ if range.is_empty() => {}
            // The records of a disk mostly lie in the order of the disk.
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.ranges.push(range),
        }
        if self.ranges.len() > 2 * self.ordered.max(512) {
            self.order();
        }
    }

    fn order(&mut self) {
        self.ranges.sort_unstable_by_key(|range| range.start);
        self.ranges.dedup_by(|range, before| {
            let joined = range.start <= before.end;
            if joined {
                before.end = before.end.max(range.end);
            }
            joined
        });
        self.ordered = self.ranges.len();
    }

    pub(crate) fn finish(mut self) -> Extents {
        self.order();
        Extents(self.ranges)
    }
}

#[cfg(test)]
#[cfg(feature = "_properties")]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn ordinals(extents: &Extents) -> BTreeSet<u32> {
        extents.0.iter().cloned().flatten().collect()
    }

    fn ranges() -> impl Strategy<Value = Vec<Range<u32>>> {
        prop::collection::vec((0_u32..60, 0_u32..8).prop_map(|(start, length)| start..start + length), 0..12)
    }

    proptest! {
        #[test]
        fn they_are_sets(a in ranges(), b in ranges(), one in (0_u32..60, 0_u32..8)) {
            let (one, sets) = (one.0..one.0 + one.1, [&a, &b].map(|ranges| ranges.iter().cloned().flatten().collect::<BTreeSet<u32>>()));
            let [a, b] = [a, b].map(Extents::from_iter);
            let [in_a, in_b] = sets;
            prop_assert_eq!(ordinals(&a), in_a.clone());
            prop_assert_eq!(a.count(), in_a.len() as u64);
            prop_assert_eq!(a.is_empty(), in_a.is_empty());
            prop_assert!(a.0.windows(2).all(|pair| pair[0].end < pair[1].start));
            prop_assert_eq!(ordinals(&a.union(&b)), &in_a | &in_b);
            prop_assert_eq!(ordinals(&a.minus(&b)), &in_a - &in_b);
            prop_assert_eq!(a.contains(&b), in_b.is_subset(&in_a));
            prop_assert_eq!(a.covers(&one), one.clone().all(|ordinal| in_a.contains(&ordinal)));
        }
    }

    #[test]
    fn many_that_are_out_of_order_stay_few() {
        let mut gathering = Gathering::default();
        (0..100_000_u32).rev().for_each(|at| gathering.add(at * 2..at * 2 + 2));
        assert!(gathering.ranges.capacity() < 5_000, "{}", gathering.ranges.capacity());
        assert_eq!(gathering.finish(), Extents(vec![0..200_000; 1]));
    }
}
