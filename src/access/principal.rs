//! Who acts, and where they belong.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::text_newtype;

fn read_id(field: &str, text: &str) -> Result<Arc<str>> {
    if text.is_empty() || text.len() > 256 || text.chars().any(|char| char.is_control() || char == '/') {
        let rule = "it has 1 to 256 characters, no `/` and no control character";
        return Err(Error::invalid(field, format!("`{}` is not an id: {rule}", text.escape_debug())));
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
    ///
    /// ```
    /// use compute_gallery::access::{AccessScope, ManagementGroupId};
    ///
    /// let group: ManagementGroupId = "production".parse()?;
    /// let scope = AccessScope::ManagementGroup(group);
    /// assert_eq!(scope.to_string(), "/providers/Microsoft.Management/managementGroups/production");
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
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

/// The kind of a principal. It decides what a caller gets from a gallery that is shared with a whole tenant.
///
/// ```
/// use compute_gallery::access::{Directory, MemoryDirectory, PrincipalKind};
///
/// let directory = MemoryDirectory::new();
/// directory.add_application("builder", &"contoso".parse()?)?;
/// assert_eq!(directory.memberships(&"builder".parse()?)[0].kind, PrincipalKind::ServicePrincipal);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PrincipalKind {
    /// A person with an account in their own tenant.
    User,
    /// A person of another tenant, who was invited.
    Guest,
    /// A set of principals, which may be groups themselves.
    Group,
    /// An application's account in one tenant.
    ServicePrincipal,
}
