//! Reads an index in disk order, with at most 4 GiB of disk's references in memory.

use std::sync::Arc;

use super::records::{Records, Rejected};
use crate::content::chunk::CHUNK_BYTES;
use crate::content::index::{FAN_OUT, Node};
use crate::content::manifest::ManifestDisk;
use crate::content::naming::Naming;
use crate::content::record::{RecordRef, StoredRecord};
use crate::error::{Error, Result};

/// The chunk references below one node of level 1 (or 0, for a small disk), with their positions, ascending: at most
/// 65,536.
pub(crate) type Span = Vec<(u64, RecordRef)>;

/// A walk over the index of a disk in a slot. Every node is verified.
#[derive(Clone, Debug)]
pub(crate) struct IndexWalk {
    records: Records,
    disk_size: u64,
    /// The root, until it is entered.
    root: Option<Arc<Node>>,
    /// Nodes not yet read, the next one last: level, number within the level, reference.
    ahead: Vec<(u8, u64, RecordRef)>,
    /// The nodes of the last span.
    entered: Vec<RecordRef>,
}

impl IndexWalk {
    pub(crate) fn new(records: Records, disk: &ManifestDisk) -> Self {
        Self { records, disk_size: disk.size, root: disk.root.clone(), ahead: Vec::new(), entered: Vec::new() }
    }

    /// Returns the next chunk references; `None` at the end.
    pub(crate) async fn next_span(&mut self) -> Result<Option<Span>> {
        self.entered.clear();
        loop {
            let (level, number, node) = match self.root.take() {
                Some(root) => (root.level, 0, (*root).clone()),
                None => {
                    let Some((level, number, record)) = self.ahead.pop() else { return Ok(None) };
                    let node = self.nodes(level, &[record]).await?.pop().unwrap_or_default();
                    self.entered.push(record);
                    (level, number, node)
                }
            };
            let children =
                node.children.into_iter().map(|(child, record)| (number * FAN_OUT + u64::from(child), record));
            let span: Span = match level {
                0 => children.collect(),
                1 => {
                    let (numbers, records): (Vec<u64>, Vec<RecordRef>) = children.unzip();
                    let leaves = self.nodes(0, &records).await?;
                    self.entered.extend(records);
                    let chunks = numbers.into_iter().zip(leaves).flat_map(|(number, leaf)| {
                        leaf.children
                            .into_iter()
                            .map(move |(child, record)| (number * FAN_OUT + u64::from(child), record))
                    });
                    chunks.collect()
                }
                _ => {
                    let below = children.map(|(number, record)| (level - 1, number, record));
                    let first_below = self.ahead.len();
                    self.ahead.extend(below);
                    self.ahead.get_mut(first_below..).unwrap_or_default().reverse();
                    continue;
                }
            };
            let past_end = |(position, _): &(u64, RecordRef)| *position >= self.disk_size.div_ceil(CHUNK_BYTES as u64);
            if span.last().is_some_and(past_end) {
                return Err(Error::corrupt(
                    self.records.label(),
                    "an index refers to a chunk past the end of its disk",
                ));
            }
            return Ok(Some(span));
        }
    }

    /// Returns the nodes that the last span was read from. An import learns them like chunks, so that it stores no node
    /// twice.
    pub(crate) fn entered(&self) -> &[RecordRef] {
        &self.entered
    }

    /// Skips, unread, the nodes that end before the chunk at `position`.
    pub(crate) fn skip_to(&mut self, position: u64) {
        let ends_before = |level: u8, number: u64| {
            let chunks = FAN_OUT.saturating_pow(u32::from(level) + 1);
            number.saturating_add(1).saturating_mul(chunks) <= position
        };
        while self.ahead.last().is_some_and(|(level, number, _)| ends_before(*level, *number)) {
            self.ahead.pop();
        }
    }

    /// Reads nodes of one level, verified.
    async fn nodes(&self, level: u8, records: &[RecordRef]) -> Result<Vec<Node>> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let naming = self.records.naming();
        let verified = |stored: Vec<StoredRecord>| {
            let nodes = records.iter().zip(&stored).map(|(record, stored)| node_of(level, record, stored, naming));
            std::future::ready(nodes.collect())
        };
        self.records.read(records, verified).await
    }
}

/// Returns the index node that is stored as a record.
pub(crate) fn node_of(level: u8, record: &RecordRef, stored: &StoredRecord, naming: Naming) -> Result<Node, Rejected> {
    let named = stored.encoded().filter(|bytes| naming.name(bytes) == record.digest);
    let Some(bytes) = named else {
        let what = format!("index node `{}` is damaged", record.digest);
        return Err(Rejected::Damaged(*record, Error::corrupt("index", what)));
    };
    // It is what was written: no slot has another.
    let node = Node::parse(&bytes).map_err(Rejected::Failed)?;
    match node.level == level {
        true => Ok(node),
        false => {
            Err(Rejected::Failed(Error::corrupt("index", "an index node is of another level than its parent says")))
        }
    }
}
