//! Replicas by load: finds the least loaded one and moves a replica to another load in constant time.

use std::collections::BTreeMap;

/// A replica is in the bucket of its load; a bitmap of two levels marks the buckets that are not empty.
///
/// Measured against a `BTreeSet` of loads: see `benches/placement.rs`.
#[derive(Debug)]
pub(super) struct Buckets {
    /// The buckets of loads below [`DENSE`], up to the highest load so far.
    dense: Vec<Vec<u32>>,
    /// A bit for each dense bucket with a replica in it.
    words: [u64; WORDS],
    /// A bit for each word that is not zero.
    summary: u64,
    /// All other buckets: of replicas far beyond their capacity, or of capacities with a very fine unit.
    sparse: BTreeMap<u64, Vec<u32>>,
}

/// The bits of a bitmap of two levels of 64. A replica's capacity is 600 units, or 1,000 with today's numbers.
const DENSE: u64 = 64 * 64;
const WORDS: usize = 64;

impl Buckets {
    pub(super) fn new() -> Self {
        Self { dense: Vec::new(), words: [0; WORDS], summary: 0, sparse: BTreeMap::new() }
    }

    /// Puts a replica into a bucket and returns its position there.
    #[inline]
    pub(super) fn insert(&mut self, replica: u32, load: u64) -> u32 {
        if load >= DENSE {
            let bucket = self.sparse.entry(load).or_default();
            bucket.push(replica);
            return bucket.len() as u32 - 1;
        }
        let index = load as usize;
        if index >= self.dense.len() {
            self.dense.resize_with(index + 1, Vec::new);
        }
        let Some(bucket) = self.dense.get_mut(index) else { return 0 };
        bucket.push(replica);
        if bucket.len() == 1 {
            if let Some(word) = self.words.get_mut(index / 64) {
                *word |= 1 << (index % 64);
            }
            self.summary |= 1 << (index / 64);
        }
        bucket.len() as u32 - 1
    }

    /// Takes a replica out and returns the replica that moved to its position.
    #[inline]
    pub(super) fn remove(&mut self, load: u64, position: u32) -> Option<u32> {
        let position = position as usize;
        if load >= DENSE {
            let bucket = self.sparse.get_mut(&load)?;
            take(bucket, position);
            let moved = bucket.get(position).copied();
            if bucket.is_empty() {
                self.sparse.remove(&load);
            }
            return moved;
        }
        let index = load as usize;
        let bucket = self.dense.get_mut(index)?;
        take(bucket, position);
        if bucket.is_empty() {
            let word = self.words.get_mut(index / 64)?;
            *word &= !(1 << (index % 64));
            if *word == 0 {
                self.summary &= !(1 << (index / 64));
            }
            return None;
        }
        bucket.get(position).copied()
    }

    /// A replica with the least load, and that load. Of several, the one that came last: its caches are warm.
    #[inline]
    pub(super) fn least(&self) -> Option<(u64, u32)> {
        if self.summary == 0 {
            let (load, bucket) = self.sparse.first_key_value()?;
            return Some((*load, *bucket.last()?));
        }
        let word = self.summary.trailing_zeros() as usize;
        let index = word * 64 + self.words.get(word)?.trailing_zeros() as usize;
        Some((index as u64, *self.dense.get(index)?.last()?))
    }

    /// A replica with the most load that is at most `load`, and its load.
    pub(super) fn most_within(&self, load: u64) -> Option<(u64, u32)> {
        if load >= DENSE
            && let Some((load, bucket)) = self.sparse.range(..=load).next_back()
        {
            return Some((*load, *bucket.last()?));
        }
        let last = load.min(DENSE - 1);
        let (word, bit) = ((last / 64) as usize, last % 64);
        let here = self.words.get(word)? & (u64::MAX >> (63 - bit));
        let (word, bits) = match here {
            0 => {
                let before = self.summary & ((1 << word) - 1);
                let word = 63_usize.checked_sub(before.leading_zeros() as usize)?;
                (word, *self.words.get(word)?)
            }
            bits => (word, bits),
        };
        let index = word * 64 + (63 - bits.leading_zeros() as usize);
        Some((index as u64, *self.dense.get(index)?.last()?))
    }

    /// The buckets that are not empty, by ascending load.
    pub(super) fn levels(&self) -> impl Iterator<Item = (u64, &[u32])> {
        let dense = self.words.iter().enumerate().flat_map(|(word, bits)| {
            let mut bits = *bits;
            std::iter::from_fn(move || {
                let bit = (bits != 0).then(|| bits.trailing_zeros() as usize)?;
                bits &= bits - 1;
                Some(word * 64 + bit)
            })
        });
        let dense = dense.filter_map(|index| Some((index as u64, self.dense.get(index)?.as_slice())));
        dense.chain(self.sparse.iter().map(|(load, bucket)| (*load, bucket.as_slice())))
    }
}

fn take(bucket: &mut Vec<u32>, position: usize) {
    if position < bucket.len() {
        bucket.swap_remove(position);
    }
}

#[cfg(test)]
#[cfg(feature = "_properties")]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

        /// Against a list that is searched.
        #[test]
        fn the_extremes_are_those_of_a_list(loads in prop::collection::vec(prop_oneof![0_u64..700, 4_000..4_200_u64, 0..9_000_000_u64], 1..40), asked in 0_u64..5_000) {
            let mut buckets = Buckets::new();
            for (replica, load) in loads.iter().enumerate() {
                buckets.insert(replica as u32, *load);
            }
            prop_assert_eq!(buckets.least().map(|(load, _)| load), loads.iter().copied().min());
            let most = loads.iter().copied().filter(|load| *load <= asked).max();
            prop_assert_eq!(buckets.most_within(asked).map(|(load, _)| load), most);
            let mut sorted = loads.clone();
            sorted.sort_unstable();
            let levels: Vec<u64> = buckets.levels().flat_map(|(load, bucket)| bucket.iter().map(move |_| load)).collect();
            prop_assert_eq!(levels, sorted);
        }
    }
}
