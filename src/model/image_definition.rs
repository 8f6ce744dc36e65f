//! Image definitions.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{ImageDefinitionId, ImageIdentifier, Region, Tags};

/// The operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OsType {
    /// Windows.
    Windows,
    /// Linux.
    Linux,
}

/// Whether machine and user specific information was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OsState {
    /// It was: each VM gets its own.
    Generalized,
    /// It was not: VMs keep accounts and computer name.
    Specialized,
}

/// The firmware: BIOS or UEFI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HyperVGeneration {
    /// BIOS.
    #[default]
    V1,
    /// UEFI.
    V2,
}

/// The processor architecture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Architecture {
    /// x86, 64 bit.
    #[default]
    #[serde(rename = "x64")]
    X64,
    /// ARM, 64 bit.
    Arm64,
}

/// An image definition: what its versions have in common.
///
/// ```
/// use compute_gallery::model::{GalleryId, ImageDefinition, ImageIdentifier, OsState, OsType};
///
/// let gallery: GalleryId = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/Contoso".parse()?;
/// let identifier = ImageIdentifier::new("Contoso", "Web", "Frontend")?;
/// let region = "westeurope".parse()?;
/// let web = ImageDefinition::new(gallery.image("web".parse()?), region, OsType::Linux, OsState::Generalized, identifier);
/// assert_eq!(serde_json::to_value(&web).unwrap()["properties"]["hyperVGeneration"], "V1");
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Json", into = "Json")]
pub struct ImageDefinition {
    id: ImageDefinitionId,
    location: Region,
    tags: Tags,
    properties: Properties,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    os_type: OsType,
    os_state: OsState,
    #[serde(default, rename = "hyperVGeneration")]
    hyper_v_generation: HyperVGeneration,
    #[serde(default)]
    architecture: Architecture,
    identifier: ImageIdentifier,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    eula: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    privacy_statement_uri: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    release_note_uri: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end_of_life_date: Option<DateTime<Utc>>,
    #[serde(default, skip_deserializing)]
    provisioning_state: Succeeded,
}

/// Written, not read: a definition that exists is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
enum Succeeded {
    #[default]
    Succeeded,
}

impl ImageDefinition {
    /// A definition with the defaults of all that is optional: generation V1, x64.
    pub fn new(
        id: ImageDefinitionId,
        location: Region,
        os_type: OsType,
        os_state: OsState,
        identifier: ImageIdentifier,
    ) -> Self {
        let properties = Properties {
            os_type,
            os_state,
            hyper_v_generation: HyperVGeneration::default(),
            architecture: Architecture::default(),
            identifier,
            description: None,
            eula: None,
            privacy_statement_uri: None,
            release_note_uri: None,
            end_of_life_date: None,
            provisioning_state: Succeeded::Succeeded,
        };
        Self { id, location, tags: Tags::default(), properties }
    }

    /// Sets the firmware.
    #[must_use]
    pub fn with_hyper_v_generation(mut self, generation: HyperVGeneration) -> Self {
        self.properties.hyper_v_generation = generation;
        self
    }

    /// Sets the architecture.
    #[must_use]
    pub fn with_architecture(mut self, architecture: Architecture) -> Self {
        self.properties.architecture = architecture;
        self
    }

    /// Sets the description.
    #[must_use]
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.properties.description = Some(description.into());
        self
    }

    /// Sets the licence agreement.
    #[must_use]
    pub fn with_eula(mut self, eula: impl Into<String>) -> Self {
        self.properties.eula = Some(eula.into());
        self
    }

    /// Sets the address of the privacy statement.
    #[must_use]
    pub fn with_privacy_statement_uri(mut self, uri: impl Into<String>) -> Self {
        self.properties.privacy_statement_uri = Some(uri.into());
        self
    }

    /// Sets the address of the release notes.
    #[must_use]
    pub fn with_release_note_uri(mut self, uri: impl Into<String>) -> Self {
        self.properties.release_note_uri = Some(uri.into());
        self
    }

    /// Sets the end of its life; for information only.
    #[must_use]
    pub fn with_end_of_life_date(mut self, date: DateTime<Utc>) -> Self {
        self.properties.end_of_life_date = Some(date);
        self
    }

    /// Sets the tags.
    #[must_use]
    pub fn with_tags(mut self, tags: Tags) -> Self {
        self.tags = tags;
        self
    }

    /// Its id.
    pub fn id(&self) -> &ImageDefinitionId {
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

    /// The operating system.
    pub fn os_type(&self) -> OsType {
        self.properties.os_type
    }

    /// Whether machine and user specific information was removed.
    pub fn os_state(&self) -> OsState {
        self.properties.os_state
    }

    /// The firmware.
    pub fn hyper_v_generation(&self) -> HyperVGeneration {
        self.properties.hyper_v_generation
    }

    /// The architecture.
    pub fn architecture(&self) -> Architecture {
        self.properties.architecture
    }

    /// Publisher, offer and SKU.
    pub fn identifier(&self) -> &ImageIdentifier {
        &self.properties.identifier
    }

    /// Its description.
    pub fn description(&self) -> Option<&str> {
        self.properties.description.as_deref()
    }

    /// The licence agreement.
    pub fn eula(&self) -> Option<&str> {
        self.properties.eula.as_deref()
    }

    /// The address of the privacy statement.
    pub fn privacy_statement_uri(&self) -> Option<&str> {
        self.properties.privacy_statement_uri.as_deref()
    }

    /// The address of the release notes.
    pub fn release_note_uri(&self) -> Option<&str> {
        self.properties.release_note_uri.as_deref()
    }

    /// The end of its life.
    pub fn end_of_life_date(&self) -> Option<DateTime<Utc>> {
        self.properties.end_of_life_date
    }
}

#[derive(Serialize, Deserialize)]
struct Json {
    id: ImageDefinitionId,
    #[serde(default, skip_deserializing)]
    name: String,
    #[serde(default, rename = "type", skip_deserializing)]
    kind: &'static str,
    location: Region,
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    tags: Tags,
    properties: Properties,
}

impl From<ImageDefinition> for Json {
    fn from(definition: ImageDefinition) -> Self {
        let ImageDefinition { id, location, tags, properties } = definition;
        Self { name: id.name().to_string(), kind: "Microsoft.Compute/galleries/images", id, location, tags, properties }
    }
}

impl From<Json> for ImageDefinition {
    fn from(json: Json) -> Self {
        let Json { id, location, tags, properties, .. } = json;
        Self { id, location, tags, properties }
    }
}
