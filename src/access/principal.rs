//! Who acts, and where they belong.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $field:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                if text.is_empty() || text.len() > 256 || text.chars().any(|char| char.is_control() || char == '/') {
                    let rule = "it has 1 to 256 characters, no `/` and no control character";
                    return Err(Error::invalid($field, format!("`{}` is no id: {rule}", text.escape_debug())));
                }
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "`{self}`")
            }
        }
    };
}

id! {
    /// The id of a user, guest, group or service principal: 1 to 256 characters, compared as they are.
    PrincipalId, "principalId"
}

id! {
    /// The id of a tenant: 1 to 256 characters, compared as they are.
    TenantId, "tenantId"
}

id! {
    /// The id of a management group: 1 to 256 characters, compared as they are.
    ManagementGroupId, "managementGroupId"
}

id! {
    /// The name of an assignment: 1 to 256 characters, unique at its scope.
    AssignmentId, "assignmentId"
}

/// What a principal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PrincipalKind {
    /// A person of the tenant.
    User,
    /// A person of another tenant, known here.
    Guest,
    /// Several principals.
    Group,
    /// A program: an application's account in one tenant.
    ServicePrincipal,
}
