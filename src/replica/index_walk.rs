//! Reads an index in disk order, with at most 4 GiB of disk's references in memory.

use bytes::Bytes;

use super::holders::{Holders, Rejected};
use crate::content::chunk::CHUNK_BYTES;
use crate::content::digest::Digest;
use crate::content::index::{FAN_OUT, Node};
use crate::content::manifest::ManifestDisk;
use crate::content::record::RecordRef;
use crate::error::{Error, Result};

/// The chunk references below one node of level 1 (or 0, for a small disk), with their positions, ascending: at most
/// 65,536.
pub(crate) type Span = Vec<(u64, RecordRef)>;

/// A walk over the index of a disk in a slot. Every node is verified.
#[derive(Clone, Debug)]
pub(crate) struct IndexWalk {
    holders: Holders,
    disk_size: u64,
    /// Nodes not yet read, the next one last: level, number within the level, reference.
    ahead: Vec<(u8, u64, RecordRef)>,
    /// The nodes of the last span.
    entered: Vec<RecordRef>,
}

impl IndexWalk {
    pub(crate) fn new(holders: Holders, disk: &ManifestDisk) -> Self {
        let ahead = disk.root.map(|root| (disk.root_level(), 0, root.into())).into_iter().collect();
        Self { holders, disk_size: disk.size, ahead, entered: Vec::new() }
    }

    /// Returns the next chunk references; `None` at the end.
    pub(crate) async fn next_span(&mut self) -> Result<Option<Span>> {
        self.entered.clear();
        while let Some((level, number, record)) = self.ahead.pop() {
            let node = self.nodes(level, &[record]).await?.pop().unwrap_or_default();
            self.entered.push(record);
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
                    self.holders.label(),
                    "an index refers to a chunk past the end of its disk",
                ));
            }
            return Ok(Some(span));
        }
        Ok(None)
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

    async fn nodes(&self, level: u8, records: &[RecordRef]) -> Result<Vec<Node>> {
        read_nodes(&self.holders, level, records).await
    }
}

/// Reads nodes of one level, verified.
pub(super) async fn read_nodes(holders: &Holders, level: u8, records: &[RecordRef]) -> Result<Vec<Node>> {
    if records.is_empty() {
        return Ok(Vec::new());
    }
    let verified = |stored: Vec<Bytes>| {
        let nodes = records.iter().zip(&stored).map(|(record, bytes)| {
            let node = if Digest::of(bytes) == record.digest { Node::parse(bytes).ok() } else { None };
            node.filter(|node| node.level == level).ok_or_else(|| {
                let what = format!("index node `{}` is damaged", record.digest);
                Rejected::Damaged(*record, Error::corrupt("index", what))
            })
        });
        std::future::ready(nodes.collect())
    };
    holders.read(records, verified).await
}
