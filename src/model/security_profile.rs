//! The firmware settings that a version asks for.

use serde::{Deserialize, Serialize};

use super::body::{from_body, from_body_by};

/// The firmware settings that a version asks for. Kept for the host that makes the VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityProfile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uefi_settings: Option<UefiSettings>,
}

/// The signatures that the firmware trusts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UefiSettings {
    /// The templates to start from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signature_template_names: Vec<String>,
    /// Keys beyond the templates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub additional_signatures: Option<UefiSignatures>,
}

/// Keys by their place in the firmware.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UefiSignatures {
    /// The platform key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pk: Option<UefiKey>,
    /// The key exchange keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kek: Vec<UefiKey>,
    /// What is trusted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub db: Vec<UefiKey>,
    /// What is not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dbx: Vec<UefiKey>,
}

/// A key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UefiKey {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: UefiKeyType,
    /// Its parts, in base 64.
    pub value: Vec<String>,
}

/// What a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UefiKeyType {
    /// A hash.
    Sha256,
    /// A certificate.
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
    /// The firmware settings.
    pub fn uefi_settings(&self) -> Option<&UefiSettings> {
        self.uefi_settings.as_ref()
    }
}
