//! What versions need: every record that their indexes lead to.

use std::collections::{BTreeMap, HashSet};

use super::holders::Holders;
use super::index_walk::read_nodes;
use crate::content::extents::{Extents, Gathering};
use crate::content::manifest::Manifest;
use crate::content::names::PackId;
use crate::content::record::RecordRef;
use crate::error::Result;

/// What is needed of each pack.
pub(crate) type Needs = BTreeMap<PackId, Extents>;

/// Gathers what versions need. Nodes that several of them share are read once.
#[derive(Debug, Default)]
pub(crate) struct NeedsBuilder {
    needs: BTreeMap<PackId, Gathering>,
    entered: HashSet<(PackId, u32)>,
}

impl NeedsBuilder {
    /// Adds all that a version needs, read from `replicas`.
    pub(crate) async fn add(&mut self, manifest: &Manifest, replicas: &Holders) -> Result<()> {
        for disk in &manifest.disks {
            let mut ahead: Vec<(u8, Vec<RecordRef>)> =
                disk.root.map(|root| (disk.root_level(), vec![root.into()])).into_iter().collect();
            while let Some((level, mut places)) = ahead.pop() {
                places.retain(|place| self.entered.insert((place.pack, place.offset)));
                places.iter().for_each(|place| self.need(place));
                // At most the 256 children of one node: 4 MiB of leaves.
                for node in read_nodes(replicas, level, &places).await? {
                    match level.checked_sub(1) {
                        None => node.children.iter().for_each(|(_, chunk)| self.need(chunk)),
                        Some(below) => {
                            ahead.push((below, node.children.into_iter().map(|(_, place)| place).collect()));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds all of a version's packs.
    pub(crate) fn need_all(&mut self, manifest: &Manifest) {
        for pack in &manifest.packs {
            self.needs.entry(pack.id).or_default().add(pack.record_range());
        }
    }

    fn need(&mut self, record: &RecordRef) {
        self.needs.entry(record.pack).or_default().add(record.range());
    }

    pub(crate) fn finish(self) -> Needs {
        self.needs.into_iter().map(|(pack, gathering)| (pack, gathering.finish())).collect()
    }
}

/// All that one version needs.
pub(crate) async fn needs(manifest: &Manifest, replicas: &Holders) -> Result<Needs> {
    let mut reach = NeedsBuilder::default();
    reach.add(manifest, replicas).await?;
    Ok(reach.finish())
}
