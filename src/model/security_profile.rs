//! Firmware settings for VMs.

use serde::{Deserialize, Serialize};

use super::body::{from_body, from_body_by};

/// The firmware settings for VMs of a version (Azure: `ImageVersionSecurityProfile`). The gallery keeps them for the host, which
/// makes the VMs.
///
/// ```
/// use compute_gallery::model::{SecurityProfile, UefiKey, UefiKeyType, UefiSettings, UefiSignatures};
///
/// let own = UefiSignatures::new().with_db(UefiKey::new(UefiKeyType::X509, ["MIIDNzCCAh8="]));
/// let settings = UefiSettings::new()
///     .with_signature_template_names(["MicrosoftUefiCertificateAuthorityTemplate"])
///     .with_additional_signatures(own);
/// let json = serde_json::to_value(SecurityProfile::new(settings)).unwrap();
/// assert_eq!(json["uefiSettings"]["additionalSignatures"]["db"][0]["type"], "x509");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityProfile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uefi_settings: Option<UefiSettings>,
}

/// The signatures that UEFI firmware trusts and rejects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct UefiSettings {
    /// Azure: `NoSignatureTemplate`, `MicrosoftUefiCertificateAuthorityTemplate` or `MicrosoftWindowsTemplate`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signature_template_names: Vec<String>,
    /// Keys beyond the templates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub additional_signatures: Option<UefiSignatures>,
}

/// Keys of UEFI firmware, by their place in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UefiSignatures {
    /// The platform key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pk: Option<UefiKey>,
    /// The key exchange keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kek: Vec<UefiKey>,
    /// The signature database: keys that the firmware trusts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub db: Vec<UefiKey>,
    /// The database of forbidden signatures: keys that the firmware rejects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dbx: Vec<UefiKey>,
}

/// A key of UEFI firmware.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UefiKey {
    /// A certificate or a hash.
    #[serde(rename = "type")]
    pub kind: UefiKeyType,
    /// Its parts, in base 64.
    pub value: Vec<String>,
}

/// The kind of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum UefiKeyType {
    /// A SHA-256 hash.
    Sha256,
    /// An X.509 certificate.
    X509,
}

from_body_by!(plain: UefiKeyType);

from_body!(SecurityProfile { optional uefi_settings: "uefiSettings" });

from_body!(UefiSettings {
    default signature_template_names: "signatureTemplateNames",
    optional additional_signatures: "additionalSignatures",
});

from_body!(UefiSignatures { optional pk: "pk", default kek: "kek", default db: "db", default dbx: "dbx" });

from_body!(UefiKey { required kind: "type", required value: "value" });

impl SecurityProfile {
    /// Returns a profile with these firmware settings.
    pub fn new(uefi_settings: UefiSettings) -> Self {
        Self { uefi_settings: Some(uefi_settings) }
    }

    /// Returns the firmware settings.
    pub fn uefi_settings(&self) -> Option<&UefiSettings> {
        self.uefi_settings.as_ref()
    }
}

impl UefiSettings {
    /// Returns settings without a template and without further keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the templates to start from, such as `MicrosoftUefiCertificateAuthorityTemplate`.
    #[must_use]
    pub fn with_signature_template_names(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.signature_template_names = names.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the keys beyond the templates.
    #[must_use]
    pub fn with_additional_signatures(mut self, signatures: UefiSignatures) -> Self {
        self.additional_signatures = Some(signatures);
        self
    }
}

impl UefiSignatures {
    /// Returns signatures without a key.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the platform key.
    #[must_use]
    pub fn with_pk(mut self, key: UefiKey) -> Self {
        self.pk = Some(key);
        self
    }

    /// Adds a key exchange key.
    #[must_use]
    pub fn with_kek(mut self, key: UefiKey) -> Self {
        self.kek.push(key);
        self
    }

    /// Adds a key to the signature database: the firmware trusts it.
    #[must_use]
    pub fn with_db(mut self, key: UefiKey) -> Self {
        self.db.push(key);
        self
    }

    /// Adds a key to the database of forbidden signatures: the firmware rejects it.
    #[must_use]
    pub fn with_dbx(mut self, key: UefiKey) -> Self {
        self.dbx.push(key);
        self
    }
}

impl UefiKey {
    /// Returns a key of this kind from its parts in base 64.
    pub fn new(kind: UefiKeyType, value: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { kind, value: value.into_iter().map(Into::into).collect() }
    }
}
