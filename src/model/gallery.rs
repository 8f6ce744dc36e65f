//! Galleries.

use serde::{Deserialize, Serialize};

use super::{GalleryId, Region, Tags};

/// A gallery: a repository of image definitions.
///
/// ```
/// use compute_gallery::model::{Gallery, GalleryId};
///
/// let id: GalleryId = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/Contoso".parse()?;
/// let gallery = Gallery::new(id, "West Europe".parse()?).with_description("golden images");
/// let json = serde_json::to_value(&gallery).unwrap();
/// assert_eq!(json["properties"]["identifier"]["uniqueName"], "dev-CONTOSO");
/// assert_eq!(serde_json::from_value::<Gallery>(json).unwrap(), gallery);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Json", into = "Json")]
pub struct Gallery {
    id: GalleryId,
    location: Region,
    tags: Tags,
    description: Option<String>,
}

impl Gallery {
    /// A gallery without a description.
    pub fn new(id: GalleryId, location: Region) -> Self {
        Self { id, location, tags: Tags::default(), description: None }
    }

    /// Sets the description.
    #[must_use]
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Sets the tags.
    #[must_use]
    pub fn with_tags(mut self, tags: Tags) -> Self {
        self.tags = tags;
        self
    }

    /// Its id.
    pub fn id(&self) -> &GalleryId {
        &self.id
    }

    /// The region that it is managed in.
    pub fn location(&self) -> &Region {
        &self.location
    }

    /// Its tags.
    pub fn tags(&self) -> &Tags {
        &self.tags
    }

    /// Its description.
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }
}

/// Azure's form. What follows from other properties is written and not read.
#[derive(Serialize, Deserialize)]
struct Json {
    id: GalleryId,
    #[serde(default, skip_deserializing)]
    name: String,
    #[serde(default, rename = "type", skip_deserializing)]
    kind: &'static str,
    location: Region,
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    tags: Tags,
    #[serde(default)]
    properties: Properties,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(default, skip_deserializing)]
    identifier: Identifier,
    #[serde(default, skip_deserializing)]
    provisioning_state: &'static str,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Identifier {
    unique_name: String,
}

impl From<Gallery> for Json {
    fn from(gallery: Gallery) -> Self {
        let Gallery { id, location, tags, description } = gallery;
        let unique_name = format!("{}-{}", id.subscription(), id.name().as_str().to_ascii_uppercase());
        Self {
            name: id.name().to_string(),
            kind: "Microsoft.Compute/galleries",
            id,
            location,
            tags,
            properties: Properties {
                description,
                identifier: Identifier { unique_name },
                provisioning_state: "Succeeded",
            },
        }
    }
}

impl From<Json> for Gallery {
    fn from(json: Json) -> Self {
        Self { id: json.id, location: json.location, tags: json.tags, description: json.properties.description }
    }
}
