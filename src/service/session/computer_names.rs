//! Computer names that several VMs of specialized images share.

use std::collections::{BTreeMap, VecDeque};

use crate::access::Caller;
use crate::catalog::State;
use crate::host::sync::Mutex;
use crate::model::{MachineName, ResourceId};

/// The number of VMs, the latest, that are remembered for each caller and computer name.
const REMEMBERED: usize = 1_000;

/// The VMs that this process has made from specialized images, by caller and lower-case computer name.
#[derive(Debug, Default)]
pub(crate) struct ComputerNames(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    vms: BTreeMap<(Caller, String), VecDeque<Made>>,
    /// At this number of names, those of deleted images are dropped.
    sweep_from: usize,
}

/// A VM and its image.
#[derive(Debug)]
struct Made {
    name: MachineName,
    of: ResourceId,
}

impl ComputerNames {
    /// Remembers a VM, and returns the others of that caller and computer name, from any image. VMs of deleted images are
    /// forgotten.
    pub(crate) fn note(
        &self,
        state: &State,
        caller: &Caller,
        computer_name: &str,
        (name, of): (&MachineName, &ResourceId),
    ) -> Vec<MachineName> {
        let mut kept = self.0.lock();
        if kept.vms.len() >= kept.sweep_from {
            kept.vms.retain(|_, made| made.iter().any(|vm| state.has_image(&vm.of)));
            kept.sweep_from = (kept.vms.len() * 2).max(16);
        }
        let made = kept.vms.entry((caller.clone(), computer_name.to_ascii_lowercase())).or_default();
        made.retain(|vm| vm.name != *name && state.has_image(&vm.of));
        let others = made.iter().map(|vm| vm.name.clone()).collect();
        if made.len() >= REMEMBERED {
            made.pop_front();
        }
        made.push_back(Made { name: name.clone(), of: of.clone() });
        others
    }
}

#[cfg(test)]
impl ComputerNames {
    /// Returns the number of remembered computer names and VMs.
    pub(crate) fn len(&self) -> (usize, usize) {
        let kept = self.0.lock();
        (kept.vms.len(), kept.vms.values().map(VecDeque::len).sum())
    }
}
