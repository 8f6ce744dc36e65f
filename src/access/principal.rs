//! Who acts, and where they belong.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::text_newtype;

fn read_id(field: &str, text: &str) -> Result<Arc<str>> {
    if text.is_empty() || text.len() > 256 || text.chars().any(|char| char.is_control() || char == '/') {
        let rule = "it has 1 to 256 characters, no `/` and no control character";
        return Err(Error::invalid(field, format!("`{}` is no id: {rule}", text.escape_debug())));
    }
    Ok(text.into())
}

text_newtype! {
    /// The id of a user, guest, group or service principal: 1 to 256 bytes, no `/`, compared as it is.
    ///
    /// ```
    /// use compute_gallery::access::PrincipalId;
    ///
    /// let ann: PrincipalId = "ann@contoso.com".parse()?;
    /// assert_ne!(ann, "Ann@contoso.com".parse()?, "unlike names of resources, ids of principals have case");
    /// assert!("contoso/ann".parse::<PrincipalId>().is_err());
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    PrincipalId, |text| read_id("principalId", text)
}

text_newtype! {
    /// The id of a tenant: 1 to 256 bytes, no `/`, compared as it is. A subscription belongs to one tenant.
    ///
    /// ```
    /// use compute_gallery::access::TenantId;
    ///
    /// assert_eq!("contoso".parse::<TenantId>()?.as_str(), "contoso");
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    TenantId, |text| read_id("tenantId", text)
}

text_newtype! {
    /// The id of a management group, which holds subscriptions and other management groups: 1 to 256 bytes, no `/`, compared
    /// as it is.
    ManagementGroupId, |text| read_id("managementGroupId", text)
}

text_newtype! {
    /// The name of a role assignment or deny assignment: 1 to 256 bytes, no `/`, unique at its scope.
    ///
    /// ```
    /// use compute_gallery::access::AssignmentId;
    ///
    /// assert!("build agents".parse::<AssignmentId>().is_ok());
    /// assert!("".parse::<AssignmentId>().unwrap_err().to_string().contains("1 to 256 characters"));
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    AssignmentId, |text| read_id("assignmentId", text)
}

/// What a principal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
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
