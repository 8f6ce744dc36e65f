//! The needs of versions: every record that their indexes refer to.

use std::collections::{BTreeMap, HashSet};

use super::holders::Holders;
use super::index_walk::read_nodes;
use crate::content::extents::{Extents, Gathering};
use crate::content::manifest::Manifest;
use crate::content::names::PackId;
use crate::content::record::RecordRef;
use crate::error::Result;

/// The needed extents of each pack.
pub(crate) type Needs = BTreeMap<PackId, Extents>;

/// Collects the needs of versions. Index nodes that several versions share are read once.
#[derive(Debug, Default)]
pub(crate) struct NeedsBuilder {
    needs: BTreeMap<PackId, Gathering>,
    visited: HashSet<(PackId, u32)>,
}

impl NeedsBuilder {
    /// Adds the needs of a version, whose index is read from `holders`.
    pub(crate) async fn add_version(&mut self, manifest: &Manifest, holders: &Holders) -> Result<()> {
        for disk in &manifest.disks {
            let mut ahead: Vec<(u8, Vec<RecordRef>)> =
                disk.root.map(|root| (disk.root_level(), vec![root.into()])).into_iter().collect();
            while let Some((level, mut records)) = ahead.pop() {
                records.retain(|record| self.visited.insert((record.pack, record.offset)));
                records.iter().for_each(|record| self.add_record(record));
                // At most the 256 children of one node: 4 MiB of leaves.
                for node in read_nodes(holders, level, &records).await? {
                    match level.checked_sub(1) {
                        None => node.children.iter().for_each(|(_, chunk)| self.add_record(chunk)),
                        Some(below) => {
                            ahead.push((below, node.children.into_iter().map(|(_, record)| record).collect()));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds all records of a version's packs: for a version whose index cannot be read.
    pub(crate) fn add_all_packs(&mut self, manifest: &Manifest) {
        for pack in &manifest.packs {
            self.needs.entry(pack.id).or_default().add(pack.record_range());
        }
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
    builder.add_version(manifest, holders).await?;
    Ok(builder.build())
}
