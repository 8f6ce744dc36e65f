//! What a request for a version leaves to the service.

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::model::image_version::ImageVersion;
use crate::model::version_source::one_source;

const SOURCE: &str = "galleryImageVersion.properties.storageProfile.source";

/// Moves the source from where the api-versions 2018-06-01 and 2019-03-01 have it: `publishingProfile.source.managedImage`.
pub(super) fn renew(body: &mut Value) -> Result<()> {
    let profile = body.pointer_mut("/properties/publishingProfile").and_then(Value::as_object_mut);
    let Some(old) = profile.and_then(|profile| profile.remove("source")).filter(|source| !source.is_null()) else {
        return Ok(());
    };
    let Some(source) = old.get("managedImage").cloned() else {
        return Err(Error::new(one_source(SOURCE, "`publishingProfile.source` has no `managedImage`: name one")));
    };
    let Some(Value::Object(properties)) = body.get_mut("properties") else { return Ok(()) };
    let storage = properties.entry("storageProfile").or_insert(Value::Null);
    if storage.is_null() {
        *storage = json!({});
    }
    if has_source(storage) {
        let advice =
            "name the source once: in storageProfile, or in publishingProfile as api-versions until 2019-03-01 did";
        return Err(Error::new(one_source(SOURCE, advice)));
    }
    if let Value::Object(storage) = storage {
        storage.insert("source".to_owned(), source);
    }
    Ok(())
}

/// Fills in the target regions of a new version, and the disks of one that is there: they never change.
pub(super) fn complete(body: &mut Value, there: Option<&ImageVersion>) -> Result<()> {
    let location = body.get("location").cloned();
    let Some(Value::Object(properties)) = body.get_mut("properties") else { return Ok(()) };
    let profile = properties.entry("publishingProfile").or_insert_with(|| json!({}));
    if let (Value::Object(profile), Some(location)) = (profile, location) {
        profile.entry("targetRegions").or_insert_with(|| json!([{"name": location}]));
        if let Some(before) = there.map(ImageVersion::body) {
            let before = before.pointer("/properties/publishingProfile");
            drop_echo(profile, before, "storageAccountType", "Standard_LRS");
            drop_echo(profile, before, "replicationMode", "Full");
        }
    }
    let storage = properties.entry("storageProfile").or_insert_with(|| json!({}));
    match there.map(ImageVersion::body) {
        Some(before) => {
            let before = before.pointer("/properties/storageProfile").cloned().unwrap_or_default();
            if has_source(storage) {
                sized(storage, &before);
            } else {
                let given = std::mem::replace(storage, before);
                cached(storage, &given);
            }
            Ok(())
        }
        None if has_source(storage) => Ok(()),
        None => {
            let advice = "the body has no source: name a managed image, version, VM or disks";
            Err(Error::new(one_source(SOURCE, advice)))
        }
    }
}

/// Takes a default out of a request for a version that does not say it: answers have it, and it comes back.
fn drop_echo(profile: &mut Map<String, Value>, before: Option<&Value>, name: &str, default: &str) {
    let is_unsaid = before.is_some_and(|before| before.get(name).is_none());
    if is_unsaid && profile.get(name).and_then(Value::as_str) == Some(default) {
        profile.remove(name);
    }
}

/// Returns whether an object of the storage profile names a source.
fn has_source(storage: &Value) -> bool {
    let names = |value: &Value| value.get("source").and_then(Value::as_object).is_some_and(|source| !source.is_empty());
    names(storage) || storage.get("osDiskImage").is_some_and(names) || disks(storage).iter().any(names)
}

fn disks(storage: &Value) -> &[Value] {
    storage.get("dataDiskImages").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Gives the disks of a request the sizes that they have, and data disks that the request has not.
fn sized(storage: &mut Value, before: &Value) {
    let Value::Object(storage) = storage else { return };
    if let Some(os_disk) = before.get("osDiskImage") {
        add(storage.entry("osDiskImage").or_insert_with(|| json!({})), os_disk);
    }
    if disks(before).is_empty() {
        return;
    }
    let Value::Array(data_disks) = storage.entry("dataDiskImages").or_insert_with(|| json!([])) else { return };
    for disk in disks(before) {
        match data_disks.iter_mut().find(|there| there.get("lun") == disk.get("lun")) {
            Some(there) => add(there, disk),
            None => {
                let mut disk = disk.clone();
                if let Value::Object(disk) = &mut disk {
                    disk.remove("source");
                }
                data_disks.push(disk);
            }
        }
    }
}

/// Adds what a disk has beside its source.
fn add(disk: &mut Value, before: &Value) {
    let (Value::Object(disk), Value::Object(before)) = (disk, before) else { return };
    let beside = before.iter().filter(|(name, _)| *name != "source");
    for (name, value) in beside {
        disk.entry(name.clone()).or_insert_with(|| value.clone());
    }
}

/// Takes over how a request wants its disks cached.
fn cached(storage: &mut Value, given: &Value) {
    let caching = |disk: &Value| disk.get("hostCaching").cloned();
    let set = |disk: Option<&mut Map<String, Value>>, caching: Option<Value>| {
        if let Some((disk, caching)) = disk.zip(caching) {
            disk.insert("hostCaching".to_owned(), caching);
        }
    };
    let os_disk = given.get("osDiskImage").and_then(caching);
    set(storage.get_mut("osDiskImage").and_then(Value::as_object_mut), os_disk);
    let data_disks = storage.get_mut("dataDiskImages").and_then(Value::as_array_mut);
    for disk in data_disks.into_iter().flatten() {
        let wanted = disks(given).iter().find(|wanted| wanted.get("lun") == disk.get("lun"));
        set(disk.as_object_mut(), wanted.and_then(caching));
    }
}
