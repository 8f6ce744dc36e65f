//! Reading an index back, in disk order, with as much of it in memory as spans 4 GiB of disk.

use bytes::Bytes;

use super::holders::{Holders, Rejected};
use crate::content::chunk::CHUNK_BYTES;
use crate::content::digest::Digest;
use crate::content::index::{FAN_OUT, Node};
use crate::content::manifest::ManifestDisk;
use crate::content::record::RecordRef;
use crate::error::{Error, Result};

/// The chunk references below one node of level 1 (or 0, of a small disk), with their positions, ascending: at most
/// 65,536 of them.
pub(crate) type Span = Vec<(u64, RecordRef)>;

/// A walk over the index of a disk in a slot. Every node is verified.
#[derive(Debug)]
pub(crate) struct IndexWalk {
    replicas: Holders,
    disk_size: u64,
    /// Nodes not yet entered, the next one on top: level, number within the level, place.
    ahead: Vec<(u8, u64, RecordRef)>,
    /// The nodes that the last span came from.
    entered: Vec<RecordRef>,
}

impl IndexWalk {
    pub(crate) fn new(replicas: Holders, disk: &ManifestDisk) -> Self {
        let ahead = disk.root.map(|root| (disk.root_level(), 0, root.into())).into_iter().collect();
        Self { replicas, disk_size: disk.size, ahead, entered: Vec::new() }
    }

    /// The next chunk references; `None` at the end.
    pub(crate) async fn next_span(&mut self) -> Result<Option<Span>> {
        self.entered.clear();
        while let Some((level, number, place)) = self.ahead.pop() {
            let node = self.nodes(level, &[place]).await?.pop().unwrap_or_default();
            self.entered.push(place);
            let children = node.children.into_iter().map(|(child, place)| (number * FAN_OUT + u64::from(child), place));
            let span: Span = match level {
                0 => children.collect(),
                1 => {
                    let (numbers, places): (Vec<u64>, Vec<RecordRef>) = children.unzip();
                    let leaves = self.nodes(0, &places).await?;
                    self.entered.extend(places);
                    let chunks = numbers.into_iter().zip(leaves).flat_map(|(number, leaf)| {
                        leaf.children
                            .into_iter()
                            .map(move |(child, place)| (number * FAN_OUT + u64::from(child), place))
                    });
                    chunks.collect()
                }
                _ => {
                    let below = children.map(|(number, place)| (level - 1, number, place));
                    let first_below = self.ahead.len();
                    self.ahead.extend(below);
                    self.ahead.get_mut(first_below..).unwrap_or_default().reverse();
                    continue;
                }
            };
            let past_end = |(position, _): &(u64, RecordRef)| *position >= self.disk_size.div_ceil(CHUNK_BYTES as u64);
            if span.last().is_some_and(past_end) {
                return Err(Error::corrupt(
                    self.replicas.place(),
                    "an index refers to a chunk past the end of its disk",
                ));
            }
            return Ok(Some(span));
        }
        Ok(None)
    }

    /// The nodes that the last span was read from: what to know of, besides the chunks, to store none of it again.
    pub(crate) fn entered(&self) -> &[RecordRef] {
        &self.entered
    }

    /// Leaves out, unread, what ends before the chunk at `position`.
    pub(crate) fn skip_to(&mut self, position: u64) {
        let ends_before = |level: u8, number: u64| {
            let chunks = FAN_OUT.saturating_pow(u32::from(level) + 1);
            number.saturating_add(1).saturating_mul(chunks) <= position
        };
        while self.ahead.last().is_some_and(|(level, number, _)| ends_before(*level, *number)) {
            self.ahead.pop();
        }
    }

    async fn nodes(&self, level: u8, places: &[RecordRef]) -> Result<Vec<Node>> {
        read_nodes(&self.replicas, level, places).await
    }
}

/// Nodes of one level, verified.
pub(super) async fn read_nodes(replicas: &Holders, level: u8, places: &[RecordRef]) -> Result<Vec<Node>> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let verified = |records: Vec<Bytes>| {
        let nodes = places.iter().zip(&records).map(|(place, bytes)| {
            let node = if Digest::of(bytes) == place.digest { Node::parse(bytes).ok() } else { None };
            node.filter(|node| node.level == level).ok_or_else(|| {
                let what = format!("index node `{}` is damaged", place.digest);
                Rejected::Damaged(*place, Error::corrupt("index", what))
            })
        });
        std::future::ready(nodes.collect())
    };
    replicas.read(places, verified).await
}
