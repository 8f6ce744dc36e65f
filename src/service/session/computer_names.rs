//! The computer names that VMs of specialized images have in common.

use std::collections::{BTreeMap, VecDeque};

use crate::access::Caller;
use crate::catalog::State;
use crate::host::sync::Mutex;
use crate::model::{MachineName, ResourceId};

/// Of the VMs of one caller that have one computer name, so many are remembered, the latest.
const REMEMBERED: usize = 1_000;

/// The VMs that were made of specialized images in this process, by who made them and by their computer name in lower case.
#[derive(Debug, Default)]
pub(crate) struct ComputerNames(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    vms: BTreeMap<(Caller, String), VecDeque<Made>>,
    /// From so many names on, those of images that are gone are looked for.
    sweep_from: usize,
}

/// A VM, and what it was made of.
#[derive(Debug)]
struct Made {
    name: MachineName,
    of: ResourceId,
}

impl ComputerNames {
    /// Takes note of a VM, and answers with the others of that caller and computer name, of whichever image. VMs of images
    /// that are gone are forgotten.
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
    /// How many computer names and how many VMs are remembered.
    pub(crate) fn len(&self) -> (usize, usize) {
        let kept = self.0.lock();
        (kept.vms.len(), kept.vms.values().map(VecDeque::len).sum())
    }
}
