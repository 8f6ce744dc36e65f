//! The deployments that a face keeps, in memory.

use std::collections::{HashMap, VecDeque};

use serde_json::Value;

use crate::access::Caller;
use crate::host::sync::Mutex;

/// Deployments that are kept. The oldest makes room, as in Azure.
const KEPT: usize = 800;

/// The deployments of a face, kept in memory.
#[derive(Debug, Default)]
pub(in crate::arm) struct Deployments(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// By id in lower case.
    by_id: HashMap<String, Deployment>,
    order: VecDeque<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Deployment {
    /// Who has deployed it.
    pub(super) caller: Caller,
    pub(super) body: Value,
    pub(super) template: Value,
    pub(super) operations: Vec<Value>,
}

impl Deployments {
    pub(in crate::arm) fn clear(&self) {
        *self.0.lock() = Kept::default();
    }

    pub(super) fn get(&self, id: &str) -> Option<Deployment> {
        self.0.lock().by_id.get(&id.to_ascii_lowercase()).cloned()
    }

    pub(super) fn remove(&self, id: &str) {
        let (mut kept, id) = (self.0.lock(), id.to_ascii_lowercase());
        kept.order.retain(|known| *known != id);
        kept.by_id.remove(&id);
    }

    /// Keeps one; returns whether it is a new one.
    pub(super) fn put(&self, id: &str, deployment: Deployment) -> bool {
        let (mut kept, id) = (self.0.lock(), id.to_ascii_lowercase());
        let is_new = kept.by_id.insert(id.clone(), deployment).is_none();
        if is_new {
            kept.order.push_back(id);
        }
        if kept.order.len() > KEPT
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.by_id.remove(&oldest);
        }
        is_new
    }

    /// Returns those of a group, with their ids in lower case.
    pub(super) fn all_in(&self, group: &str) -> Vec<(String, Value)> {
        let (kept, group) = (self.0.lock(), format!("{}/", group.to_ascii_lowercase()));
        let ids = kept.order.iter().filter(|id| id.starts_with(&group));
        ids.filter_map(|id| Some((id.clone(), kept.by_id.get(id)?.body.clone()))).collect()
    }
}
