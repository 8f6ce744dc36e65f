//! Which blocks of a disk are not all zero.

/// A bit for each block, and counts, so that the number of occupied blocks before any block is found at once: 2 TiB in blocks of 64 KiB
/// take 8 MiB.
#[derive(Debug)]
pub(crate) struct Occupied {
    block_bytes: u64,
    blocks: u64,
    words: Vec<u64>,
    /// The occupied blocks before each word.
    before: Vec<u64>,
    count: u64,
}

impl Occupied {
    /// Returns the blocks of a disk: those with one of `offsets` in them are occupied.
    pub(crate) fn new(disk_bytes: u64, block_bytes: u64) -> Self {
        let blocks = disk_bytes.div_ceil(block_bytes);
        Self { block_bytes, blocks, words: vec![0; blocks.div_ceil(64) as usize], before: Vec::new(), count: 0 }
    }

    /// Marks the block with the disk's byte `offset`.
    pub(crate) fn mark(&mut self, offset: u64) {
        let block = offset / self.block_bytes;
        if let Some(word) = self.words.get_mut((block / 64) as usize) {
            *word |= 1 << (block % 64);
        }
    }

    /// Counts, once all are marked.
    pub(crate) fn counted(mut self) -> Self {
        self.count = 0;
        self.before = self
            .words
            .iter()
            .scan(0, |count, word| {
                let before = *count;
                *count += u64::from(word.count_ones());
                Some(before)
            })
            .collect();
        self.count = self.words.iter().map(|word| u64::from(word.count_ones())).sum();
        self
    }

    pub(crate) fn block_bytes(&self) -> u64 {
        self.block_bytes
    }

    /// All blocks, occupied or not.
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// The occupied ones.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn contains(&self, block: u64) -> bool {
        self.words.get((block / 64) as usize).is_some_and(|word| word >> (block % 64) & 1 == 1)
    }

    /// The number of occupied blocks before this one.
    pub(crate) fn rank(&self, block: u64) -> u64 {
        let at = (block / 64) as usize;
        let (Some(before), Some(word)) = (self.before.get(at), self.words.get(at)) else { return self.count };
        before + u64::from((word & ((1 << (block % 64)) - 1)).count_ones())
    }
}
