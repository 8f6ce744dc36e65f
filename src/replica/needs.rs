//! The needs of versions: every record that their indexes refer to.

use std::collections::{BTreeMap, HashSet};

use super::holders::Holders;
use super::index_walk::read_nodes;
use crate::content::extents::{Extents, Gathering};
use crate::content::manifest::Manifest;
use crate::content::names::PackId;
use crate::content::pack::PackInfo;
use crate::content::record::RecordRef;
use crate::error::Result;
use crate::host::in_flight::together;

/// The needed extents of each pack.
pub(crate) type Needs = BTreeMap<PackId, Extents>;

/// Nodes that are read together: 16 MiB at most.
const NODES: usize = 1024;

/// Collects the needs of versions. Index nodes that several versions share are read once.
#[derive(Debug, Default)]
pub(crate) struct NeedsBuilder {
    needs: BTreeMap<PackId, Gathering>,
    visited: HashSet<(PackId, u32)>,
}

impl NeedsBuilder {
    /// Adds the needs of versions, each with the slots to read its index from, and returns which of them failed. The nodes of a level
    /// are read together over all versions, so the round trips depend on the height of the indexes and not on their number.
    pub(crate) async fn add_versions(&mut self, versions: &[(&Manifest, &Holders)]) -> Vec<Result<()>> {
        let mut outcomes: Vec<Result<()>> = versions.iter().map(|_| Ok(())).collect();
        // For each level, the nodes to read, with their version.
        let mut ahead: BTreeMap<u8, Vec<(usize, RecordRef)>> = BTreeMap::new();
        for (number, (manifest, _)) in versions.iter().enumerate() {
            for disk in &manifest.disks {
                ahead.entry(disk.root_level()).or_default().extend(disk.root.map(|root| (number, root.into())));
            }
        }
        // The lowest level that fills a batch goes first, so that not much is ahead; otherwise the highest.
        while let Some((level, nodes)) = next_batch(&mut ahead) {
            let mut of_versions: BTreeMap<usize, Vec<RecordRef>> = BTreeMap::new();
            for (number, record) in nodes {
                let failed = outcomes.get(number).is_none_or(Result::is_err);
                if !failed && self.visited.insert((record.pack, record.offset)) {
                    self.add_record(&record);
                    of_versions.entry(number).or_default().push(record);
                }
            }
            let reading = of_versions.iter().filter_map(|(number, records)| {
                let (_, holders) = versions.get(*number)?;
                Some(read_nodes(holders, level, records))
            });
            let read = together(reading.collect()).await;
            for (number, read) in of_versions.into_keys().zip(read) {
                let children = match read {
                    Ok(nodes) => nodes.into_iter().flat_map(|node| node.children).map(|(_, record)| record),
                    Err(error) => {
                        outcomes.get_mut(number).into_iter().for_each(|outcome| *outcome = Err(error.clone()));
                        continue;
                    }
                };
                match level.checked_sub(1) {
                    None => children.for_each(|chunk| self.add_record(&chunk)),
                    Some(below) => ahead.entry(below).or_default().extend(children.map(|record| (number, record))),
                }
            }
        }
        outcomes
    }

    /// Adds all records of a version's packs: for a version whose index cannot be read.
    pub(crate) fn add_all_packs(&mut self, manifest: &Manifest) {
        manifest.packs.iter().for_each(|pack| self.add_pack(pack));
    }

    /// Adds all records of a pack.
    pub(crate) fn add_pack(&mut self, pack: &PackInfo) {
        self.needs.entry(pack.id).or_default().add(pack.record_range());
    }

    fn add_record(&mut self, record: &RecordRef) {
        self.needs.entry(record.pack).or_default().add(record.range());
    }

    pub(crate) fn build(self) -> Needs {
        self.needs.into_iter().map(|(pack, gathering)| (pack, gathering.finish())).collect()
    }
}

/// Returns the needs of one version.
pub(crate) async fn needs(manifest: &Manifest, holders: &Holders) -> Result<Needs> {
    let mut builder = NeedsBuilder::default();
    builder.add_versions(&[(manifest, holders)]).await.into_iter().collect::<Result<()>>()?;
    Ok(builder.build())
}

/// Takes the next nodes to read, of one level.
fn next_batch<T>(ahead: &mut BTreeMap<u8, Vec<T>>) -> Option<(u8, Vec<T>)> {
    ahead.retain(|_, nodes| !nodes.is_empty());
    let full = ahead.iter().find(|(_, nodes)| nodes.len() >= NODES);
    let level = *full.or_else(|| ahead.last_key_value())?.0;
    let nodes = ahead.get_mut(&level)?;
    Some((level, nodes.split_off(nodes.len().saturating_sub(NODES))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_fills_a_batch_goes_before_the_ones_above_it() {
        let mut ahead = BTreeMap::from([(0, vec![0; NODES - 1]), (1, vec![1; 3]), (2, vec![2; NODES + 5])]);
        let mut next = || next_batch(&mut ahead).map(|(level, nodes)| (level, nodes.len()));
        assert_eq!(next(), Some((2, NODES)));
        assert_eq!(next(), Some((2, 5)));
        assert_eq!(next(), Some((1, 3)));
        assert_eq!((next(), next()), (Some((0, NODES - 1)), None));
        let mut ahead = BTreeMap::from([(0, vec![0; NODES]), (1, vec![1; NODES])]);
        assert_eq!(next_batch(&mut ahead).map(|(level, _)| level), Some(0));
    }
}
