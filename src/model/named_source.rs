//! Sources by name: managed images, snapshots and disks whose bytes are elsewhere.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::body::Fields;
use super::image_definition::{HyperVGeneration, OsState, OsType};
use super::region::Region;
use super::resource_id::ResourceId;
use super::tags::Tags;
use crate::error::{Problem, Result};

/// A managed image, a snapshot or a disk as a request describes it: a source that versions name, whose bytes the gallery does not
/// keep. Its properties are kept as they came.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// use serde_json::json;
///
/// let id = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/disks/os";
/// let body = json!({"location": "West Europe", "properties": {"osType": "linux", "creationData": {"createOption": "Empty"}}});
/// let disk = session.put_disk(id, body).await?.resource;
/// assert_eq!(disk.location().as_str(), "westeurope");
/// assert_eq!(session.view().json(id)?["properties"]["osType"], "Linux");
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NamedSource {
    id: ResourceId,
    location: Region,
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    tags: Tags,
    /// All else of the body, as text: a number that is read and written again may differ.
    body: Box<str>,
}

impl NamedSource {
    /// Reads the canonical body of a request.
    pub(super) fn from_canonical(id: ResourceId, kind: &'static str, body: &Value) -> Result<Self> {
        let mut fields = Fields::of(kind, body)?;
        let (location, tags) = (fields.required("location"), fields.default("tags"));
        let has = |path: &str| body.pointer(path).is_some_and(|value| !value.is_null());
        let source = match id {
            ResourceId::ManagedImage(_) => {
                let is_there = has("/properties/storageProfile/osDisk") || has("/properties/sourceVirtualMachine");
                (is_there, "properties.storageProfile.osDisk")
            }
            _ => (has("/properties/creationData/createOption"), "properties.creationData.createOption"),
        };
        if let (false, path) = source {
            let target = format!("{kind}.{path}");
            let what = format!("Required parameter '{target}' is missing (null).");
            fields.add(vec![Problem::invalid(target, what)]);
        }
        let mut rest = body.as_object().cloned().unwrap_or_default();
        rest.retain(|name, _| name != "location" && name != "tags");
        let body = Value::Object(rest).to_string().into();
        fields.end(location.map(|location| Self { id, location, tags, body }))
    }

    /// Returns the id: of a managed image, a snapshot or a disk.
    pub fn id(&self) -> &ResourceId {
        &self.id
    }

    /// Returns the region that it is in.
    pub fn location(&self) -> &Region {
        &self.location
    }

    /// Returns the tags.
    pub fn tags(&self) -> &Tags {
        &self.tags
    }

    /// Returns the rest of its body.
    fn rest(&self) -> Map<String, Value> {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// Returns the body of the request that creates it.
    pub fn body(&self) -> Value {
        let mut body = self.rest();
        body.insert("location".to_owned(), self.location.to_string().into());
        if !self.tags.is_empty() {
            body.insert("tags".to_owned(), serde_json::to_value(&self.tags).unwrap_or_default());
        }
        Value::Object(body)
    }

    /// Returns the OS of its OS disk, if it tells.
    pub(crate) fn os_type(&self) -> Option<OsType> {
        self.word(&["/properties/storageProfile/osDisk/osType", "/properties/osType"])
    }

    /// Returns the state of its OS, if it tells.
    pub(crate) fn os_state(&self) -> Option<OsState> {
        self.word(&["/properties/storageProfile/osDisk/osState"])
    }

    /// Returns its generation, if it tells.
    pub(crate) fn hyper_v_generation(&self) -> Option<HyperVGeneration> {
        self.word(&["/properties/hyperVGeneration"])
    }

    fn word<T: for<'de> Deserialize<'de>>(&self, paths: &[&str]) -> Option<T> {
        let rest = Value::Object(self.rest());
        paths.iter().find_map(|path| T::deserialize(rest.pointer(path)?).ok())
    }

    /// Returns it as Azure's GET answers it.
    pub(crate) fn json(&self) -> Value {
        let mut json = self.body();
        let (kind, name) = (self.kind(), self.id.to_string());
        if let Value::Object(object) = &mut json {
            object.insert("id".to_owned(), name.clone().into());
            object.insert("name".to_owned(), name.rsplit('/').next().unwrap_or_default().into());
            object.insert("type".to_owned(), kind.into());
            let properties = object.entry("properties").or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(properties) = properties {
                properties.insert("provisioningState".to_owned(), "Succeeded".into());
            }
        }
        json
    }

    fn kind(&self) -> &'static str {
        match self.id {
            ResourceId::Snapshot(_) => "Microsoft.Compute/snapshots",
            ResourceId::Disk(_) => "Microsoft.Compute/disks",
            _ => "Microsoft.Compute/images",
        }
    }

    /// Returns it with the spelling of names that it had before.
    pub(crate) fn spelled_as(&self, before: &Self) -> Self {
        Self { id: before.id.clone(), tags: self.tags.spelled_as(&before.tags), ..self.clone() }
    }

    /// Returns the name of its kind in error messages.
    pub(crate) fn target(id: &ResourceId) -> &'static str {
        match id {
            ResourceId::Snapshot(_) => "snapshot",
            ResourceId::Disk(_) => "disk",
            _ => "image",
        }
    }
}
