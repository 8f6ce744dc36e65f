//! Image definitions.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::body::{from_body, from_body_by};
use super::image_identifier::ImageIdentifier;
use super::recommended_machine::RecommendedMachine;
use super::region::Region;
use super::resource::{NoMore, resource, updatable};
use super::resource_id::ImageDefinitionId;
use super::tags::Tags;
use crate::error::{Error, Problem};

/// The operating system of an image.
///
/// Exhaustive: Azure knows these two, and a host that starts VMs has to handle each.
///
/// ```
/// use compute_gallery::model::OsType;
///
/// assert_eq!(serde_json::from_str::<OsType>("\"Linux\"").unwrap(), OsType::Linux);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OsType {
    /// Microsoft Windows.
    Windows,
    /// Any distribution of Linux.
    Linux,
}

impl std::fmt::Display for OsType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Windows => "Windows",
            Self::Linux => "Linux",
        })
    }
}

/// Whether machine and user specific information was removed from an image.
///
/// Exhaustive: it was removed, or it was not. It decides what a VM needs: an [`OsProfile`](crate::deploy::OsProfile), or none.
///
/// ```
/// use compute_gallery::model::OsState;
///
/// assert_eq!(serde_json::to_value(OsState::Specialized).unwrap(), "Specialized");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OsState {
    /// Removed: each VM gets its own accounts and computer name.
    Generalized,
    /// Kept: VMs have the accounts and the computer name of the image.
    Specialized,
}

impl std::fmt::Display for OsState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Generalized => "Generalized",
            Self::Specialized => "Specialized",
        })
    }
}

/// The firmware that an image starts with.
///
/// ```
/// use compute_gallery::model::HyperVGeneration;
///
/// assert_eq!(HyperVGeneration::default(), HyperVGeneration::V1);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum HyperVGeneration {
    /// BIOS.
    #[default]
    V1,
    /// UEFI.
    V2,
}

impl std::fmt::Display for HyperVGeneration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::V1 => "V1",
            Self::V2 => "V2",
        })
    }
}

/// The processor architecture of an image.
///
/// ```
/// use compute_gallery::model::Architecture;
///
/// assert_eq!(Architecture::default().to_string(), "x64");
/// ```
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

/// How a VM protects its start (Azure: `securityProfile.securityType` of a VM).
///
/// ```
/// use compute_gallery::model::SecurityType;
///
/// assert_eq!(SecurityType::ConfidentialVm.to_string(), "ConfidentialVM");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SecurityType {
    /// No protection.
    #[default]
    Standard,
    /// Secure boot and a virtual TPM.
    TrustedLaunch,
    /// As trusted launch, in memory that the host cannot read.
    ConfidentialVm,
}

impl std::fmt::Display for SecurityType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Standard => "Standard",
            Self::TrustedLaunch => "TrustedLaunch",
            Self::ConfidentialVm => "ConfidentialVM",
        })
    }
}

/// The plan under which an image of the marketplace was bought (Azure: `ImagePurchasePlan`).
///
/// Exhaustive: a plan is these three texts, and a literal tells them apart where arguments would not.
///
/// ```
/// use compute_gallery::model::PurchasePlan;
///
/// let plan = PurchasePlan { name: "pro".into(), publisher: "contoso".into(), product: "firewall".into() };
/// assert_eq!(serde_json::to_value(&plan).unwrap()["product"], "firewall");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurchasePlan {
    /// Azure: `name`, the plan itself.
    pub name: String,
    /// The seller.
    pub publisher: String,
    /// The offer that the plan belongs to.
    pub product: String,
}

/// Something that an image supports, such as `SecurityType` with the value `TrustedLaunchSupported` (Azure: `GalleryImageFeature`).
///
/// ```
/// use compute_gallery::model::ImageFeature;
///
/// let feature = ImageFeature::new("DiskControllerTypes", "SCSI, NVMe").with_starts_at_version("2.0.0");
/// assert_eq!(serde_json::to_value(&feature).unwrap()["startsAtVersion"], "2.0.0");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ImageFeature {
    /// Unique in a definition, compared without case.
    pub name: String,
    /// Text, also for numbers and truth values, such as `True`.
    pub value: String,
    /// The first version that supports the feature; `None` means every version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_at_version: Option<String>,
}

impl ImageFeature {
    /// Returns a feature that every version supports.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into(), starts_at_version: None }
    }

    /// Sets the first version that supports it.
    #[must_use]
    pub fn with_starts_at_version(mut self, version: impl Into<String>) -> Self {
        self.starts_at_version = Some(version.into());
        self
    }
}

/// The types of disk that an image is not made for, such as `Standard_LRS`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Disallowed {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    disk_types: Vec<String>,
}

/// An image definition: a group of versions, and what they have in common.
///
/// Azure: OS type, OS state, generation, architecture, identifier and purchase plan stay as they were created.
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
#[derive(Clone, Debug, PartialEq, Eq)]
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
    #[serde(default, rename = "hyperVGeneration", skip_serializing_if = "Option::is_none")]
    hyper_v_generation: Option<HyperVGeneration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    architecture: Option<Architecture>,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recommended: Option<RecommendedMachine>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    disallowed: Option<Disallowed>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    purchase_plan: Option<PurchasePlan>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    features: Vec<ImageFeature>,
}

from_body_by!(plain: OsType, OsState, HyperVGeneration, Architecture);

from_body!(PurchasePlan { required name: "name", required publisher: "publisher", required product: "product" });

from_body!(ImageFeature {
    required name: "name",
    required value: "value",
    optional starts_at_version: "startsAtVersion",
});

from_body!(Disallowed { default disk_types: "diskTypes" });

from_body!(Properties {
    required os_type: "osType",
    required os_state: "osState",
    optional hyper_v_generation: "hyperVGeneration",
    optional architecture: "architecture",
    required identifier: "identifier",
    optional description: "description",
    optional eula: "eula",
    optional privacy_statement_uri: "privacyStatementUri",
    optional release_note_uri: "releaseNoteUri",
    optional end_of_life_date: "endOfLifeDate",
    optional recommended: "recommended",
    optional disallowed: "disallowed",
    optional purchase_plan: "purchasePlan",
    default features: "features",
});

impl std::fmt::Display for Architecture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::X64 => "x64",
            Self::Arm64 => "Arm64",
        })
    }
}

impl ImageDefinition {
    /// Returns a definition of generation V1 for x64, without optional properties.
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
            hyper_v_generation: Some(HyperVGeneration::default()),
            architecture: Some(Architecture::default()),
            identifier,
            description: None,
            eula: None,
            privacy_statement_uri: None,
            release_note_uri: None,
            end_of_life_date: None,
            recommended: None,
            disallowed: None,
            purchase_plan: None,
            features: Vec::new(),
        };
        Self { id, location, tags: Tags::default(), properties }
    }

    /// Sets the firmware. V1 by default.
    #[must_use]
    pub fn with_hyper_v_generation(mut self, generation: HyperVGeneration) -> Self {
        self.properties.hyper_v_generation = Some(generation);
        self
    }

    /// Sets the architecture. x64 by default.
    #[must_use]
    pub fn with_architecture(mut self, architecture: Architecture) -> Self {
        self.properties.architecture = Some(architecture);
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

    /// Sets the end of the image's life, which lies in the future when it is set. Azure: it is for information alone.
    #[must_use]
    pub fn with_end_of_life_date(mut self, date: DateTime<Utc>) -> Self {
        self.properties.end_of_life_date = Some(date);
        self
    }

    /// Sets the vCPUs and the memory that the image is made for.
    #[must_use]
    pub fn with_recommended(mut self, recommended: RecommendedMachine) -> Self {
        self.properties.recommended = Some(recommended);
        self
    }

    /// Sets the types of disk that the image is not made for, such as `Standard_LRS`.
    #[must_use]
    pub fn with_disallowed_disk_types(mut self, disk_types: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let disk_types = disk_types.into_iter().map(Into::into).collect();
        self.properties.disallowed = Some(Disallowed { disk_types });
        self
    }

    /// Sets the plan under which the image was bought. Azure: a source with another plan is refused.
    #[must_use]
    pub fn with_purchase_plan(mut self, plan: PurchasePlan) -> Self {
        self.properties.purchase_plan = Some(plan);
        self
    }

    /// Adds a feature, or replaces the one of that name.
    #[must_use]
    pub fn with_feature(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.with_features([ImageFeature::new(name, value)])
    }

    /// Adds features; each replaces one of the same name, compared without case.
    ///
    /// ```
    /// # use compute_gallery::model::{ImageDefinition, ImageFeature, ImageIdentifier, OsState, OsType};
    /// # let id = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/Contoso/images/web".parse()?;
    /// # let identifier = ImageIdentifier::new("Contoso", "Web", "Frontend")?;
    /// # let web = ImageDefinition::new(id, "westeurope".parse()?, OsType::Linux, OsState::Generalized, identifier);
    /// let web = web.with_feature("DiskControllerTypes", "SCSI");
    /// let nvme = ImageFeature::new("diskControllerTypes", "SCSI, NVMe").with_starts_at_version("2.0.0");
    /// assert_eq!(web.with_features([nvme.clone()]).features(), [nvme]);
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    #[must_use]
    pub fn with_features(mut self, features: impl IntoIterator<Item = ImageFeature>) -> Self {
        for feature in features {
            self.properties.features.retain(|other| !other.name.eq_ignore_ascii_case(&feature.name));
            self.properties.features.push(feature);
        }
        self
    }

    /// Returns the operating system.
    pub fn os_type(&self) -> OsType {
        self.properties.os_type
    }

    /// Returns whether machine and user specific information was removed.
    pub fn os_state(&self) -> OsState {
        self.properties.os_state
    }

    /// Returns the firmware.
    pub fn hyper_v_generation(&self) -> HyperVGeneration {
        self.properties.hyper_v_generation.unwrap_or_default()
    }

    /// Returns the architecture.
    pub fn architecture(&self) -> Architecture {
        self.properties.architecture.unwrap_or_default()
    }

    /// Returns publisher, offer and SKU.
    pub fn identifier(&self) -> &ImageIdentifier {
        &self.properties.identifier
    }

    /// Returns the description.
    pub fn description(&self) -> Option<&str> {
        self.properties.description.as_deref()
    }

    /// Returns the licence agreement.
    pub fn eula(&self) -> Option<&str> {
        self.properties.eula.as_deref()
    }

    /// Returns the address of the privacy statement.
    pub fn privacy_statement_uri(&self) -> Option<&str> {
        self.properties.privacy_statement_uri.as_deref()
    }

    /// Returns the address of the release notes.
    pub fn release_note_uri(&self) -> Option<&str> {
        self.properties.release_note_uri.as_deref()
    }

    /// Returns the end of the image's life.
    pub fn end_of_life_date(&self) -> Option<DateTime<Utc>> {
        self.properties.end_of_life_date
    }

    /// Returns the vCPUs and the memory that the image is made for.
    pub fn recommended(&self) -> RecommendedMachine {
        self.properties.recommended.unwrap_or_default()
    }

    /// Returns the types of disk that the image is not made for.
    pub fn disallowed_disk_types(&self) -> &[String] {
        self.properties.disallowed.as_ref().map_or(&[], |disallowed| &disallowed.disk_types)
    }

    /// Returns the plan under which the image was bought.
    pub fn purchase_plan(&self) -> Option<&PurchasePlan> {
        self.properties.purchase_plan.as_ref()
    }

    /// Returns the value of the feature `SecurityType`.
    pub fn security_type(&self) -> Option<&str> {
        let feature = self.features().iter().find(|feature| feature.name.eq_ignore_ascii_case("SecurityType"));
        feature.map(|feature| feature.value.as_str())
    }

    /// Returns the only security type that VMs of its versions can have; `None` where the feature `SecurityType` leaves a choice.
    ///
    /// ```
    /// # use compute_gallery::model::{ImageDefinition, ImageIdentifier, OsState, OsType};
    /// use compute_gallery::model::SecurityType;
    ///
    /// # let id = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/Contoso/images/web".parse()?;
    /// # let identifier = ImageIdentifier::new("Contoso", "Web", "Frontend")?;
    /// # let web = ImageDefinition::new(id, "westeurope".parse()?, OsType::Linux, OsState::Generalized, identifier);
    /// let (only, also) = ("TrustedLaunch", "TrustedLaunchSupported");
    /// let required = |value| web.clone().with_feature("SecurityType", value).required_security_type();
    /// assert_eq!(required(only), Some(SecurityType::TrustedLaunch));
    /// assert_eq!(required(also), None);
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    pub fn required_security_type(&self) -> Option<SecurityType> {
        let value = self.security_type()?.to_ascii_lowercase();
        match value.as_str() {
            "trustedlaunch" => Some(SecurityType::TrustedLaunch),
            "confidentialvm" => Some(SecurityType::ConfidentialVm),
            _ => None,
        }
    }

    /// Returns the features.
    pub fn features(&self) -> &[ImageFeature] {
        &self.properties.features
    }
}

/// Refuses a feature that is named twice.
fn features_once(definition: &ImageDefinition) -> crate::error::Result<()> {
    let mut seen = std::collections::BTreeSet::new();
    let twice = definition.features().iter().filter(|feature| !seen.insert(feature.name.to_ascii_lowercase()));
    let problems = twice.map(|feature| {
        let what = format!("feature `{}` is named twice: give it one value", feature.name);
        Problem::invalid("galleryImage.properties.features", what)
    });
    Error::from_problems(problems.collect())
}

resource!(
    ImageDefinition,
    ImageDefinitionId,
    Properties,
    "Microsoft.Compute/galleries/images",
    "galleryImage",
    |_definition| NoMore {},
    features_once
);

updatable!(ImageDefinition);
