//! Resources of other services that clients make beside a gallery: kept as documents, in memory.

use std::collections::BTreeMap;
use std::ops::Bound;

use serde_json::Value;

use crate::host::sync::Mutex;

/// Documents by their id.
#[derive(Debug, Default)]
pub(super) struct Neighbours(Mutex<BTreeMap<String, Value>>);

impl Neighbours {
    pub(super) fn get(&self, id: &str) -> Option<Value> {
        self.0.lock().get(&id.to_ascii_lowercase()).cloned()
    }

    /// Puts a document; returns whether it is new.
    pub(super) fn put(&self, id: &str, document: Value) -> bool {
        self.0.lock().insert(id.to_ascii_lowercase(), document).is_none()
    }

    pub(super) fn remove(&self, id: &str) -> Option<Value> {
        self.0.lock().remove(&id.to_ascii_lowercase())
    }

    /// Returns the documents right below `prefix` whose `type` is `kind`.
    pub(super) fn below(&self, prefix: &str, kind: &str) -> Vec<Value> {
        let prefix = prefix.to_ascii_lowercase();
        let documents = self.0.lock();
        let from = (Bound::Included(prefix.clone()), Bound::Unbounded);
        let below = documents.range(from).take_while(|(id, _)| id.starts_with(&prefix));
        let is_kind = |document: &&Value| {
            let of = document.get("type").and_then(Value::as_str).unwrap_or_default();
            of.eq_ignore_ascii_case(kind)
        };
        below.map(|(_, document)| document).filter(is_kind).cloned().collect()
    }

    /// Removes everything below a prefix.
    pub(super) fn clear_below(&self, prefix: &str) {
        let prefix = prefix.to_ascii_lowercase();
        self.0.lock().retain(|id, _| !id.starts_with(&prefix));
    }
}
