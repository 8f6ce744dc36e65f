//! The index of a disk: a tree of chunk references in disk order.
//!
//! Every node has up to 256 children. A node of level 0, a leaf, refers to the chunks of 16 MiB of disk; one of level 1
//! to the leaves of 4 GiB; level 2 spans 1 TiB. Children that are all zero are absent, so a disk that is mostly holes
//! has a small index. Nodes are records in packs, named by their hash, so versions share the nodes that did not change. The
//! root is in the manifest.

use super::chunk::CHUNK_BYTES;
use super::digest::Digest;
use super::names::{MAX_RECORDS, PackId, UploadId};
use super::record::RecordRef;
use crate::error::{Error, ErrorKind, Problem, Result};

/// Children of a node.
pub(crate) const FAN_OUT: u64 = 256;

const MAGIC: [u8; 4] = *b"cgn2";
const HEADER_BYTES: usize = 4 + 4 + 32;
const PACK_ENTRY_BYTES: usize = 20;
const CHILD_BYTES: usize = 36;

/// Returns the level of the root of a disk's index: the lowest that spans the disk.
pub(crate) fn root_level(disk_size: u64) -> u8 {
    let mut chunks = disk_size.div_ceil(CHUNK_BYTES as u64);
    let mut level = 0;
    while chunks > FAN_OUT {
        chunks = chunks.div_ceil(FAN_OUT);
        level += 1;
    }
    level
}

/// A node of the index: its level, and its children by their number, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) level: u8,
    pub(crate) children: Vec<(u8, RecordRef)>,
}

impl Node {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut packs: Vec<PackId> = Vec::new();
        let mut present = [0_u8; 32];
        let mut lines = Vec::with_capacity(self.children.len() * CHILD_BYTES);
        for (number, child) in &self.children {
            if let Some(byte) = present.get_mut(usize::from(number / 8)) {
                *byte |= 1 << (number % 8);
            }
            // Mostly the pack of the previous child, so the search starts at the end.
            let pack = packs.iter().rposition(|pack| *pack == child.pack).unwrap_or_else(|| {
                packs.push(child.pack);
                packs.len() - 1
            });
            lines.extend_from_slice(child.digest.as_bytes());
            // At most 256 children, so at most 256 packs.
            lines.extend_from_slice(&(pack as u16).to_le_bytes());
            lines.extend_from_slice(&child.ordinal.to_le_bytes());
        }
        let mut bytes = Vec::with_capacity(HEADER_BYTES + packs.len() * PACK_ENTRY_BYTES + lines.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[self.level, 0]);
        bytes.extend_from_slice(&(packs.len() as u16).to_le_bytes());
        bytes.extend_from_slice(&present);
        for pack in &packs {
            bytes.extend_from_slice(pack.upload.as_bytes());
            bytes.extend_from_slice(&pack.number.to_le_bytes());
        }
        bytes.extend_from_slice(&lines);
        bytes
    }

    /// Parses a node strictly: [`encode`](Self::encode) returns the same bytes for every node that it accepts.
    ///
    /// # Errors
    ///
    /// `Unsupported`: its hash is right, so a newer build has written it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let what =
            "an index node has a form that this build does not know: use the build that wrote it, or a newer one";
        let newer = || Error::new(Problem::new(ErrorKind::Unsupported, "NotSupported", "index node", what));
        Self::try_parse(bytes).ok_or_else(newer)
    }

    fn try_parse(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&MAGIC)?;
        let (&[level, 0, low, high], rest) = rest.split_first_chunk::<4>()? else { return None };
        let (present, rest) = rest.split_first_chunk::<32>()?;
        let pack_count = usize::from(u16::from_le_bytes([low, high]));
        let (pack_bytes, lines) = rest.split_at_checked(pack_count * PACK_ENTRY_BYTES)?;
        let mut packs = Vec::with_capacity(pack_count);
        for entry in pack_bytes.chunks_exact(PACK_ENTRY_BYTES) {
            let (upload, number) = entry.split_first_chunk::<16>()?;
            let number = u32::from_le_bytes(*number.first_chunk()?);
            packs.push(PackId { upload: UploadId::from_bytes(*upload), number });
        }
        let numbers = (0..=u8::MAX).filter(|number| is_set(present, *number));
        let count = present.iter().map(|byte| byte.count_ones() as usize).sum::<usize>();
        if count == 0 || lines.len() != count * CHILD_BYTES {
            return None;
        }
        let (mut children, mut seen) = (Vec::with_capacity(count), 0);
        for (number, line) in numbers.zip(lines.chunks_exact(CHILD_BYTES)) {
            let (digest, rest) = line.split_first_chunk::<32>()?;
            let &[low, high, ordinal_low, ordinal_high] = rest.first_chunk::<4>()?;
            let pack = usize::from(u16::from_le_bytes([low, high]));
            // Packs are listed in the order of their first use, each once.
            seen = seen.max(pack + 1);
            let ordinal = u16::from_le_bytes([ordinal_low, ordinal_high]);
            if u32::from(ordinal) >= MAX_RECORDS {
                return None;
            }
            let child = RecordRef { digest: Digest::from_bytes(*digest), pack: *packs.get(pack)?, ordinal };
            children.push((number, child));
        }
        let node = Self { level, children };
        (seen == packs.len() && node.encode() == bytes).then_some(node)
    }
}

fn is_set(present: &[u8; 32], number: u8) -> bool {
    present.get(usize::from(number / 8)).is_some_and(|byte| byte & (1 << (number % 8)) != 0)
}

/// Turns chunk references in disk order into nodes, bottom up.
#[derive(Debug)]
pub(crate) struct IndexBuilder {
    /// The open node of each level, from the leaf up, with its number within the level.
    open: Vec<(u64, Node)>,
}

impl IndexBuilder {
    pub(crate) fn new(disk_size: u64) -> Self {
        let levels = 0..=root_level(disk_size);
        Self { open: levels.map(|level| (0, Node { level, children: Vec::new() })).collect() }
    }

    /// Adds the chunk at `position`, in ascending order. Passes each completed node to `store`.
    pub(crate) fn push(
        &mut self,
        position: u64,
        chunk: RecordRef,
        store: &mut impl FnMut(&Node) -> RecordRef,
    ) -> Result<()> {
        self.add(0, position, chunk, store)
    }

    fn add(
        &mut self,
        level: usize,
        position: u64,
        child: RecordRef,
        store: &mut impl FnMut(&Node) -> RecordRef,
    ) -> Result<()> {
        let Some((number, node)) = self.open.get_mut(level) else {
            return Err(Error::corrupt("index", format!("a chunk lies past the end of the disk: `{position}`")));
        };
        if *number != position / FAN_OUT && !node.children.is_empty() {
            let (done_number, done) = (*number, std::mem::take(&mut node.children));
            let done = store(&Node { level: node.level, children: done });
            self.add(level + 1, done_number, done, store)?;
        }
        if let Some((number, node)) = self.open.get_mut(level) {
            *number = position / FAN_OUT;
            node.children.push(((position % FAN_OUT) as u8, child));
        }
        Ok(())
    }

    /// Completes the tree and returns its root, which a manifest carries; `None` for a disk of zeros.
    pub(crate) fn finish(mut self, store: &mut impl FnMut(&Node) -> RecordRef) -> Result<Option<Node>> {
        let root = self.open.len().saturating_sub(1);
        for level in 0..=root {
            let Some((number, node)) = self.open.get_mut(level).filter(|(_, node)| !node.children.is_empty()) else {
                continue;
            };
            let (number, node) = (*number, Node { level: level as u8, ..std::mem::take(node) });
            if level == root {
                return Ok(Some(node));
            }
            let stored = store(&node);
            self.add(level + 1, number, stored, store)?;
        }
        Ok(None)
    }
}

#[cfg(test)]
#[cfg(feature = "_properties")]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use proptest::prelude::*;

    use super::*;

    fn record(seed: u64, pack: u32) -> RecordRef {
        RecordRef {
            digest: Digest::of(&seed.to_le_bytes()),
            pack: PackId { upload: UploadId::from_bytes([1; 16]), number: pack },
            ordinal: (seed % 1000) as u16,
        }
    }

    fn chunks_below(nodes: &HashMap<Digest, Node>, node: &Node, number: u64, found: &mut BTreeMap<u64, RecordRef>) {
        for (child, reference) in &node.children {
            let number = number * FAN_OUT + u64::from(*child);
            if node.level == 0 {
                found.insert(number, *reference);
            } else {
                chunks_below(nodes, &nodes[&reference.digest], number, found);
            }
        }
    }

    #[test]
    fn levels_span_what_they_say() {
        for (size, level) in
            [(512, 0), (16 << 20, 0), ((16 << 20) + 1, 1), (4 << 30, 1), ((4 << 30) + 512, 2), (1 << 40, 2)]
        {
            assert_eq!(root_level(size), level, "{size}");
        }
    }

    #[test]
    fn a_disk_of_zeros_has_no_index() {
        assert_eq!(IndexBuilder::new(1 << 40).finish(&mut |_| record(0, 0)).unwrap(), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn what_goes_in_is_found_below_the_root(
            positions in prop::collection::btree_set(0_u64..(1 << 24), 1..600),
            packs in 1_u32..300,
        ) {
            let mut nodes = HashMap::new();
            let mut builder = IndexBuilder::new(1 << 40);
            let mut store = |node: &Node| {
                let bytes = node.encode();
                assert_eq!(&Node::parse(&bytes).unwrap(), node);
                assert!(bytes.len() <= HEADER_BYTES + 256 * (PACK_ENTRY_BYTES + CHILD_BYTES));
                let digest = Digest::of(&bytes);
                nodes.insert(digest, node.clone());
                RecordRef { digest, ..record(5, 9) }
            };
            let expected: BTreeMap<u64, RecordRef> =
                positions.iter().map(|at| (*at, record(*at, *at as u32 % packs))).collect();
            for (position, chunk) in &expected {
                builder.push(*position, *chunk, &mut store).unwrap();
            }
            let root = builder.finish(&mut store).unwrap().unwrap();
            assert_eq!(root.level, 2);
            let mut found = BTreeMap::new();
            chunks_below(&nodes, &root, 0, &mut found);
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_mean_one_node(
            mut bytes in prop::collection::vec(any::<u8>(), 0..200), valid in any::<bool>(), at in any::<prop::sample::Index>(),
        ) {
            if valid {
                let node = Node { level: 1, children: vec![(3, record(8, 1)), (200, record(9, 2))] };
                let mut changed = node.encode();
                let at = at.index(changed.len());
                changed[at] ^= bytes.first().copied().unwrap_or(0);
                bytes = changed;
            }
            if let Ok(node) = Node::parse(&bytes) {
                prop_assert_eq!(node.encode(), bytes);
            }
        }
    }
}
