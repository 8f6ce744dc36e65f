//! A resource as Azure's GET answers it.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::read::{Readable, Shaped, parsed};
use super::shape::join;
use crate::model::region::Region;
use crate::model::region_catalog::RegionCatalog;

/// What an answer has beside the resource.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'a> {
    /// The properties that the model does not have.
    pub(crate) unmodelled: Option<&'a str>,
    pub(crate) provisioning_state: &'a str,
    pub(crate) regions: &'a RegionCatalog,
}

impl Answer<'_> {
    /// Writes a resource in canonical form.
    pub(crate) fn json<T: Readable + Serialize>(&self, resource: &T) -> Value {
        let mut json = serde_json::to_value(resource).unwrap_or_default();
        let Value::Object(object) = &mut json else { return json };
        if let Some(Value::Object(properties)) = object.get_mut("properties") {
            properties.insert("provisioningState".to_owned(), self.provisioning_state.into());
            if let Some(Value::Object(storage)) = properties.get_mut("storageProfile") {
                measured(storage);
            }
            if let Some(Value::Object(profile)) = properties.get_mut("publishingProfile") {
                self.resolve(profile);
            }
            if properties.contains_key("osState") {
                // As Azure's service fills them in.
                properties.entry("hyperVGeneration").or_insert(json!("V1"));
                properties.entry("architecture").or_insert(json!("x64"));
            }
        }
        let Shaped(shape) = T::SHAPE;
        join(shape, object, &parsed(self.unmodelled));
        json
    }

    /// Writes the common values into each region, and regions as they are displayed.
    fn resolve(&self, profile: &mut Map<String, Value>) {
        let default = |name: &str, default: Value| profile.get(name).cloned().unwrap_or(default);
        let (count, account) =
            (default("replicaCount", json!(1)), default("storageAccountType", json!("Standard_LRS")));
        profile.entry("replicaCount").or_insert(json!(1));
        profile.entry("excludeFromLatest").or_insert(json!(false));
        profile.entry("replicationMode").or_insert(json!("Full"));
        // A version has either the type or the strategy.
        if !self.unmodelled.is_some_and(|kept| kept.contains("\"storageAccountStrategy\"")) {
            profile.entry("storageAccountType").or_insert(account.clone());
        }
        let regions = profile.get_mut("targetRegions").and_then(Value::as_array_mut);
        for target in regions.into_iter().flatten().filter_map(Value::as_object_mut) {
            target.entry("regionalReplicaCount").or_insert_with(|| count.clone());
            target.entry("storageAccountType").or_insert_with(|| account.clone());
            let region = target.get("name").and_then(Value::as_str).and_then(|name| name.parse::<Region>().ok());
            let known = region.and_then(|region| self.regions.get(&region).map(|info| info.display_name().to_owned()));
            if let Some(name) = known {
                target.insert("name".to_owned(), name.into());
            }
        }
    }
}

/// Leaves sizes out that Azure does not have, or that are not known yet.
fn measured(storage: &mut Map<String, Value>) {
    fn of_disk(disk: &mut Map<String, Value>) {
        disk.remove("sizeInBytes");
        if disk.get("sizeInGB") == Some(&json!(0)) {
            disk.remove("sizeInGB");
        }
    }
    if let Some(Value::Object(disk)) = storage.get_mut("osDiskImage") {
        of_disk(disk);
        if *disk == Map::from_iter([("hostCaching".to_owned(), json!("None"))]) {
            storage.remove("osDiskImage");
        }
    }
    let disks = storage.get_mut("dataDiskImages").and_then(Value::as_array_mut);
    disks.into_iter().flatten().filter_map(Value::as_object_mut).for_each(of_disk);
}
