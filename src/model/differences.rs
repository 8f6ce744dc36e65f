//! The properties in which two forms of a resource differ.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The value of a property that is absent, as JSON.
const DEFAULTS: &[(&str, &str)] = &[
    ("hyperVGeneration", "\"V1\""),
    ("architecture", "\"x64\""),
    ("excludeFromLatest", "false"),
    ("replicaCount", "1"),
    ("replicationMode", "\"Full\""),
    ("storageAccountType", "\"Standard_LRS\""),
    ("hostCaching", "\"None\""),
    ("permissions", "\"Private\""),
    ("isSoftDeleteEnabled", "false"),
    ("retentionPeriodInDays", "7"),
    ("allowDeletionOfReplicatedLocations", "false"),
    ("blockDeletionBeforeEndOfLife", "false"),
];

const NULL: &str = "null";

/// Returns the paths of all properties that differ, such as `properties.eula`; an absent one has its default.
pub(crate) fn differences(old: &impl Serialize, new: &impl Serialize) -> Vec<String> {
    let (old, new) = (written(old), written(new));
    let mut paths = Vec::new();
    compare("", &old, &new, &mut paths);
    paths.sort_unstable();
    paths
}

/// Returns a value as JSON, in a buffer that mostly need not grow.
fn written(value: &impl Serialize) -> String {
    let mut json = Vec::with_capacity(2 << 10);
    let written = serde_json::to_writer(&mut json, value).ok().and_then(|()| String::from_utf8(json).ok());
    written.unwrap_or_else(|| NULL.to_owned())
}

/// Compares two values as they are written. Only what is not written alike is parsed, one level at a time: two forms of a
/// resource have most properties in common.
fn compare(path: &str, old: &str, new: &str, paths: &mut Vec<String>) {
    if old == new {
        return;
    }
    match (Kind::of(old), Kind::of(new)) {
        // An object without properties, or with defaults alone, equals none.
        (Kind::Object, Kind::Object | Kind::Null) | (Kind::Null, Kind::Object) => {
            compare_properties(path, &properties(old), &properties(new), paths);
        }
        (Kind::Text, Kind::Text) if is_name(path) && old.eq_ignore_ascii_case(new) => {}
        (Kind::Text, Kind::Text) if is_region(path) && region(old) == region(new) => {}
        (Kind::List, Kind::List) if are_alike(path, old, new) => {}
        _ => paths.push(path.to_owned()),
    }
}

fn compare_properties<'a>(path: &str, old: &Properties<'a>, new: &Properties<'a>, paths: &mut Vec<String>) {
    for (name, old) in old {
        let new = new.get(name).map_or_else(|| default_of(path, name), |new| new.get());
        compare_property(path, name, old.get(), new, paths);
    }
    for (name, new) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
        compare_property(path, name, default_of(path, name), new.get(), paths);
    }
}

fn compare_property(path: &str, name: &Name<'_>, old: &str, new: &str, paths: &mut Vec<String>) {
    if old != new {
        let below = if path.is_empty() { name.0.to_string() } else { format!("{path}.{}", name.0) };
        compare(&below, old, new, paths);
    }
}

/// Returns the value of a property of the object at `path` that is absent.
fn default_of(path: &str, name: &Name<'_>) -> &'static str {
    // A target region inherits from the version, which is more than a default; a tag has no default.
    let has_none = path.ends_with(".targetRegions") || path == "tags";
    DEFAULTS.iter().find(|(known, _)| *known == name.0 && !has_none).map_or(NULL, |(_, value)| value)
}

/// Returns whether two lists have the same items. A list is one property: it differs, or not.
fn are_alike(path: &str, old: &str, new: &str) -> bool {
    let (old, new) = (items(path, old), items(path, new));
    let mut within = Vec::new();
    old.iter().zip(&new).for_each(|(old, new)| compare(path, old.get(), new.get(), &mut within));
    old.len() == new.len() && within.is_empty()
}

/// The kind of a JSON value, by its first character.
#[derive(Clone, Copy)]
enum Kind {
    Null,
    Object,
    List,
    Text,
    /// A number or a truth value, which is written in one way.
    Other,
}

impl Kind {
    fn of(json: &str) -> Self {
        match json.as_bytes().first() {
            Some(b'n') => Self::Null,
            Some(b'{') => Self::Object,
            Some(b'[') => Self::List,
            Some(b'"') => Self::Text,
            _ => Self::Other,
        }
    }
}

/// The name of a property.
#[derive(PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The properties of an object, and their values as they are written.
type Properties<'a> = BTreeMap<Name<'a>, &'a RawValue>;

/// Returns the properties of an object; null has none.
fn properties(json: &str) -> Properties<'_> {
    serde_json::from_str(json).unwrap_or_default()
}

/// Returns the items of a list, sorted by their key where their order does not count.
fn items<'a>(path: &str, json: &'a str) -> Vec<&'a RawValue> {
    let key = match path {
        "properties.features" => Some("name"),
        _ if path.ends_with(".dataDiskImages") => Some("lun"),
        _ => None,
    };
    let mut items: Vec<&RawValue> = serde_json::from_str(json).unwrap_or_default();
    if let Some(key) = key {
        items.sort_by_cached_key(|item| {
            let key = properties(item.get()).get(&Name(key.into())).map(|key| key.get());
            key.map(|key| (key.parse::<u64>().ok(), key.to_ascii_lowercase()))
        });
    }
    items
}

/// Returns whether the property at `path` is compared without case: an id, a name, a feature.
fn is_name(path: &str) -> bool {
    let last = path.rsplit('.').next().unwrap_or(path);
    let is_id = (last == "id" || last.ends_with("Id")) && !path.starts_with("tags.");
    let below = ["properties.identifier.", "properties.features."];
    is_id || path == "name" || below.iter().any(|below| path.starts_with(below))
}

fn is_region(path: &str) -> bool {
    path == "location" || path == "properties.publishingProfile.targetRegions.name"
}

/// Returns a region as it is compared: without case and spaces.
fn region(name: &str) -> String {
    name.replace(' ', "").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_absent_property_has_its_default() {
        let old = json!({"id": "/A", "properties": {"architecture": "x64", "eula": "x"}});
        let new = json!({"id": "/a", "properties": {"hyperVGeneration": "V2", "eula": "X", "disallowed": {}}});
        assert_eq!(differences(&old, &new), ["properties.eula", "properties.hyperVGeneration"]);
        let to = |name: &str| json!({"location": name, "properties": {"publishingProfile": {"targetRegions": [{"name": name}]}}});
        let (mut old, new) = (to("West Europe"), to("westeurope"));
        assert!(differences(&old, &new).is_empty());
        let target = &mut old["properties"]["publishingProfile"]["targetRegions"][0];
        target["excludeFromLatest"] = json!(false);
        assert_eq!(differences(&old, &new), ["properties.publishingProfile.targetRegions"]);
    }

    #[test]
    fn names_are_compared_with_their_escapes_and_lists_by_their_keys() {
        let named = |tag: &str, value: u64| json!({"tags": {(tag): value}});
        assert_eq!(differences(&named("a\"b", 1), &named("a\"b", 2)), ["tags.a\"b"]);
        assert_eq!(differences(&named("a", 1), &json!({})), ["tags.a"]);
        let features =
            |first: &str, second: &str| json!({"properties": {"features": [{"name": first}, {"name": second}]}});
        assert!(differences(&features("A", "b"), &features("B", "a")).is_empty());
        assert_eq!(differences(&features("A", "b"), &features("A", "c")), ["properties.features"]);
        let disks = |luns: [u64; 2]| json!({"dataDiskImages": luns.map(|lun| json!({"lun": lun}))});
        assert!(differences(&json!({"d": disks([2, 10])}), &json!({"d": disks([10, 2])})).is_empty());
    }
}
