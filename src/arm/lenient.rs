//! What clients send and the strict model does not take: enums in another case, nulls, echoes of what they read.

use serde_json::{Map, Value, json};

use super::projection::Kind;

/// The enums of Azure, by the name of their property.
const ENUMS: &[(&str, &[&str])] = &[
    ("osType", &["Linux", "Windows"]),
    ("osState", &["Generalized", "Specialized"]),
    ("hyperVGeneration", &["V1", "V2"]),
    ("architecture", &["x64", "Arm64"]),
    ("storageAccountType", &["Standard_LRS", "Standard_ZRS", "Premium_LRS", "PremiumV2_LRS"]),
    ("replicationMode", &["Full", "Shallow"]),
    ("hostCaching", &["None", "ReadOnly", "ReadWrite"]),
    ("permissions", &["Private", "Groups", "Community"]),
];

/// Paths that the service sets, by kind.
fn read_only(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Gallery => &["identifier", "sharingStatus"],
        Kind::Image => &["allowUpdateImage"],
        Kind::Version => &["replicationStatus", "validationsProfile", "imageMetadataProfiles"],
    }
}

/// Returns the body as the model reads it. A null of a PATCH removes, so it stays.
pub(super) fn read(kind: Kind, body: &Value, is_patch: bool) -> Value {
    let mut body = body.clone();
    canonical(&mut body, is_patch);
    let Value::Object(fields) = &mut body else { return body };
    for name in ["id", "name", "type", "systemData", "identity"] {
        fields.remove(name);
    }
    if is_patch {
        fields.remove("location");
    }
    let properties = fields.entry("properties").or_insert_with(|| json!({}));
    let Value::Object(properties) = properties else { return body };
    properties.remove("provisioningState");
    read_only(kind).iter().for_each(|name| drop(properties.remove(*name)));
    match kind {
        Kind::Gallery => gallery(properties),
        Kind::Image if !is_patch => {
            properties.entry("hyperVGeneration").or_insert_with(|| json!("V1"));
            properties.entry("architecture").or_insert_with(|| json!("x64"));
        }
        Kind::Image => {}
        Kind::Version => version(properties),
    }
    if kind == Kind::Version && !is_patch {
        let location = fields.get("location").cloned();
        regions(fields, location);
    }
    body
}

fn gallery(properties: &mut Map<String, Value>) {
    let Some(profile) = properties.get_mut("sharingProfile").and_then(Value::as_object_mut) else { return };
    profile.remove("groups");
    if let Some(info) = profile.get_mut("communityGalleryInfo").and_then(Value::as_object_mut) {
        info.remove("publicNames");
        info.remove("communityGalleryEnabled");
    }
}

fn version(properties: &mut Map<String, Value>) {
    if let Some(profile) = properties.get_mut("publishingProfile").and_then(Value::as_object_mut) {
        profile.remove("publishedDate");
        if profile.get("source").is_some_and(is_empty) {
            profile.remove("source");
        }
    }
    let Some(profile) = properties.get_mut("storageProfile").and_then(Value::as_object_mut) else { return };
    if profile.get("source").is_some_and(is_empty) {
        profile.remove("source");
    }
    let of_source = profile.contains_key("source");
    let echoed = |disk: &Value| disk.get("source").is_none_or(is_empty);
    if profile.get("osDiskImage").is_some_and(|disk| of_source || echoed(disk)) {
        profile.remove("osDiskImage");
    }
    if let Some(Value::Array(disks)) = profile.get_mut("dataDiskImages") {
        disks.retain(|disk| !of_source && !echoed(disk));
        if disks.is_empty() {
            profile.remove("dataDiskImages");
        }
    }
    if profile.is_empty() {
        properties.remove("storageProfile");
    }
}

fn regions(fields: &mut Map<String, Value>, location: Option<Value>) {
    let Some(Value::Object(properties)) = fields.get_mut("properties") else { return };
    let profile = properties.entry("publishingProfile").or_insert_with(|| json!({}));
    let Value::Object(profile) = profile else { return };
    let absent = profile.get("targetRegions").is_none_or(|regions| regions.as_array().is_some_and(Vec::is_empty));
    if let (true, Some(location)) = (absent, location) {
        profile.insert("targetRegions".into(), json!([{"name": location}]));
    }
}

/// Whether nothing is in it, at any depth.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.values().all(is_empty),
        _ => false,
    }
}

fn canonical(value: &mut Value, keeps_null: bool) {
    match value {
        Value::Object(fields) => {
            if !keeps_null {
                fields.retain(|_, value| !value.is_null());
            }
            for (name, value) in fields.iter_mut() {
                if name == "tags" {
                    continue;
                }
                let known = ENUMS.iter().find(|(known, _)| known == name).map(|(_, values)| *values);
                if let (Some(values), Some(text)) = (known, value.as_str()) {
                    if let Some(spelled) = values.iter().find(|known| known.eq_ignore_ascii_case(text)) {
                        *value = json!(spelled);
                    }
                } else if name.ends_with("Date") {
                    date(value);
                } else {
                    canonical(value, keeps_null);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| canonical(item, keeps_null)),
        _ => {}
    }
}

/// A date without a time, or without a zone, is of UTC.
fn date(value: &mut Value) {
    let Some(text) = value.as_str() else { return };
    let is_date = |text: &str| chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok();
    let is_time = |text: &str| chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").is_ok();
    if is_date(text) {
        *value = json!(format!("{text}T00:00:00Z"));
    } else if is_time(text) {
        *value = json!(format!("{text}Z"));
    }
}
