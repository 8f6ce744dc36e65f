//! Roles, and the actions that they allow.

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use super::action::{Action, ActionPattern, ActionSet};
use super::scope::AccessScope;
use crate::error::{Error, Problem, Result};
use crate::model::text_newtype;

text_newtype! {
    /// The id of a role, in lower case: one of Azure's for a built-in role, any text of 1 to 128 bytes without `/` for a custom
    /// role.
    ///
    /// ```
    /// use compute_gallery::access::{BuiltInRole, RoleId};
    ///
    /// assert_eq!("Publisher".parse::<RoleId>()?.as_str(), "publisher");
    /// assert_eq!(BuiltInRole::Reader.id(), "ACDD72A7-3385-48EF-BD42-F606FBA81AE7".parse()?);
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    RoleId, read_id
}

fn read_id(text: &str) -> Result<Arc<str>> {
    if text.is_empty() || text.len() > 128 || text.chars().any(|char| char.is_control() || char == '/') {
        let rule = "a role's id has 1 to 128 characters, no `/` and no control character";
        return Err(Error::invalid("roleDefinition.id", format!("`{}`: {rule}", text.escape_debug())));
    }
    Ok(text.to_ascii_lowercase().into())
}

/// A role: the actions that it allows, and the scopes that it may be assigned at.
///
/// Azure: `not_actions` subtract from the role's own actions; they deny nothing that another role allows. Data actions are kept
/// for the record: galleries have none.
///
/// ```
/// use compute_gallery::access::{Action, RoleDefinition};
///
/// let publisher = RoleDefinition::new("publisher", "Publisher")?
///     .with_actions(["Microsoft.Compute/galleries/images/*"])?
///     .with_not_actions(["*/delete"])?;
/// assert!(publisher.allows(Action::WriteVersion));
/// assert!(!publisher.allows(Action::DeleteVersion));
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct RoleDefinition {
    #[serde(flatten)]
    written: Written,
    #[serde(skip)]
    set: ActionSet,
}

/// The stored part of a role, from which the set of its actions follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    id: RoleId,
    role_name: String,
    actions: Vec<ActionPattern>,
    not_actions: Vec<ActionPattern>,
    data_actions: Vec<ActionPattern>,
    not_data_actions: Vec<ActionPattern>,
    assignable_scopes: Vec<AccessScope>,
}

impl From<Written> for RoleDefinition {
    fn from(written: Written) -> Self {
        let set = ActionSet::matching(&written.actions, &written.not_actions);
        Self { written, set }
    }
}

/// The id of a role definition at a scope: below its subscription, as Azure has it.
pub(super) fn id_at(scope: &AccessScope, role: &RoleId) -> String {
    let subscription = scope.subscription().map(|subscription| format!("/subscriptions/{subscription}"));
    format!("{}/providers/Microsoft.Authorization/roleDefinitions/{role}", subscription.unwrap_or_default())
}

fn patterns<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Vec<ActionPattern>> {
    texts.into_iter().map(str::parse).collect()
}

impl RoleDefinition {
    /// Returns a role that allows nothing, and may be assigned anywhere.
    ///
    /// # Errors
    ///
    /// `Invalid` for an `id` that is not a [`RoleId`].
    pub fn new(id: &str, role_name: impl Into<String>) -> Result<Self> {
        let (actions, not_actions, data_actions, not_data_actions) = Default::default();
        let role_name = role_name.into();
        Ok(Written {
            id: id.parse()?,
            role_name,
            actions,
            not_actions,
            data_actions,
            not_data_actions,
            assignable_scopes: Vec::new(),
        }
        .into())
    }

    /// Sets the actions that the role allows.
    ///
    /// # Errors
    ///
    /// `Invalid` for a malformed pattern.
    pub fn with_actions<'a>(mut self, actions: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        self.written.actions = patterns(actions)?;
        Ok(self.written.into())
    }

    /// Sets the actions, among those, that the role does not allow after all.
    ///
    /// # Errors
    ///
    /// `Invalid` for a malformed pattern.
    pub fn with_not_actions<'a>(mut self, actions: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        self.written.not_actions = patterns(actions)?;
        Ok(self.written.into())
    }

    /// Sets the data actions, which have no meaning for galleries.
    ///
    /// # Errors
    ///
    /// `Invalid` for a malformed pattern.
    pub fn with_data_actions<'a>(mut self, actions: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        self.written.data_actions = patterns(actions)?;
        Ok(self)
    }

    /// Sets the scopes that the role may be assigned at, and below. Anywhere by default.
    ///
    /// ```
    /// use compute_gallery::access::{AccessScope, RoleDefinition};
    ///
    /// let dev = AccessScope::Subscription("dev".parse()?);
    /// let role = RoleDefinition::new("publisher", "Publisher")?.with_assignable_scopes(vec![dev.clone()]);
    /// assert_eq!(role.assignable_scopes(), [dev]);
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    #[must_use]
    pub fn with_assignable_scopes(mut self, scopes: Vec<AccessScope>) -> Self {
        self.written.assignable_scopes = scopes;
        self
    }

    /// Returns the id.
    pub fn id(&self) -> &RoleId {
        &self.written.id
    }

    /// Returns the name for people.
    pub fn role_name(&self) -> &str {
        &self.written.role_name
    }

    /// Returns the scopes that the role may be assigned at; an empty list means anywhere.
    pub fn assignable_scopes(&self) -> &[AccessScope] {
        &self.written.assignable_scopes
    }

    /// Returns whether the role allows an action.
    pub fn allows(&self, action: Action) -> bool {
        self.set.contains(action)
    }

    /// Returns the role as Azure's GET answers it at a scope.
    ///
    /// ```
    /// use compute_gallery::access::{AccessScope, BuiltInRole};
    ///
    /// let json = BuiltInRole::Owner.definition().json(&AccessScope::Subscription("dev".parse()?));
    /// assert_eq!(json["properties"]["type"], "BuiltInRole");
    /// assert!(json["id"].as_str().unwrap().starts_with("/subscriptions/dev/providers/Microsoft.Authorization/roleDefinitions/"));
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    pub fn json(&self, scope: &AccessScope) -> serde_json::Value {
        let Written { id, role_name, actions, not_actions, data_actions, not_data_actions, assignable_scopes } =
            &self.written;
        let is_built_in = BuiltInRole::ALL.iter().any(|role| role.id() == *id);
        let scopes: Vec<String> = match assignable_scopes.is_empty() {
            true => vec!["/".to_owned()],
            false => assignable_scopes.iter().map(AccessScope::path).collect(),
        };
        let permissions = serde_json::json!([{
            "actions": actions, "notActions": not_actions,
            "dataActions": data_actions, "notDataActions": not_data_actions,
        }]);
        serde_json::json!({
            "id": id_at(scope, id),
            "name": id,
            "type": "Microsoft.Authorization/roleDefinitions",
            "properties": {
                "roleName": role_name,
                "type": if is_built_in { "BuiltInRole" } else { "CustomRole" },
                "assignableScopes": scopes,
                "permissions": permissions,
            },
        })
    }

    pub(super) fn set(&self) -> ActionSet {
        self.set
    }

    /// Returns the problem of an assignment of the role at `scope`, where `above` are the scopes above that.
    pub(crate) fn problem_with(&self, scope: &AccessScope, above: &[AccessScope]) -> Option<Problem> {
        let fits = |allowed: &AccessScope| allowed == scope || above.contains(allowed);
        if self.written.assignable_scopes.is_empty() || self.written.assignable_scopes.iter().any(fits) {
            return None;
        }
        // The message leaves out the assignable scopes: the caller may not be allowed to know them.
        let what = format!(
            "role `{}` cannot be assigned at `{scope}`: it is not among its assignable scopes",
            self.written.id
        );
        Some(Problem::invalid("roleAssignment.scope", what))
    }
}

/// Azure's built-in roles that concern galleries.
///
/// ```
/// use compute_gallery::access::{Action, BuiltInRole};
///
/// let contributor = BuiltInRole::Contributor.definition();
/// assert_eq!(contributor.role_name(), "Contributor");
/// assert!(contributor.allows(Action::WriteVersion) && !contributor.allows(Action::ShareGallery));
/// assert_eq!(BuiltInRole::least_for(Action::ReadVersion), Some(BuiltInRole::ComputeGalleryImageReader));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum BuiltInRole {
    /// Allows everything.
    Owner,
    /// Allows everything but assigning roles and sharing galleries.
    Contributor,
    /// Allows seeing everything.
    Reader,
    /// Allows assigning roles and seeing everything.
    UserAccessAdministrator,
    /// Allows assigning roles, and seeing everything: without the other rights of a user access administrator.
    RoleBasedAccessControlAdministrator,
    /// Allows VMs, and no galleries: deploying takes a role that reads the image, too.
    VirtualMachineContributor,
    /// Allows everything in galleries but sharing them.
    ComputeGalleryArtifactsPublisher,
    /// Allows seeing and deploying definitions and versions.
    ComputeGalleryImageReader,
    /// Allows sharing galleries alone.
    ComputeGallerySharingAdmin,
}

impl BuiltInRole {
    /// All built-in roles.
    pub const ALL: &[Self] = &[
        Self::Owner,
        Self::Contributor,
        Self::Reader,
        Self::UserAccessAdministrator,
        Self::RoleBasedAccessControlAdministrator,
        Self::VirtualMachineContributor,
        Self::ComputeGalleryArtifactsPublisher,
        Self::ComputeGalleryImageReader,
        Self::ComputeGallerySharingAdmin,
    ];

    /// Returns name, id, actions and excluded actions (Azure: "Azure built-in roles", 2026).
    fn table(self) -> (&'static str, &'static str, &'static [&'static str], &'static [&'static str]) {
        match self {
            Self::Owner => ("Owner", "8e3af657-a8ff-443c-a75c-2fe8c4bcb635", &["*"], &[]),
            Self::Contributor => (
                "Contributor",
                "b24988ac-6180-42a0-ab88-20f7382dd24c",
                &["*"],
                &[
                    "Microsoft.Authorization/*/Delete",
                    "Microsoft.Authorization/*/Write",
                    "Microsoft.Authorization/elevateAccess/Action",
                    "Microsoft.Blueprint/blueprintAssignments/write",
                    "Microsoft.Blueprint/blueprintAssignments/delete",
                    "Microsoft.Compute/galleries/share/action",
                ],
            ),
            Self::Reader => ("Reader", "acdd72a7-3385-48ef-bd42-f606fba81ae7", &["*/read"], &[]),
            Self::UserAccessAdministrator => (
                "User Access Administrator",
                "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9",
                &["*/read", "Microsoft.Authorization/*", "Microsoft.Support/*"],
                &[],
            ),
            Self::RoleBasedAccessControlAdministrator => (
                "Role Based Access Control Administrator",
                "f58310d9-a9f6-439a-9e8d-f62e7b41a168",
                &[
                    "Microsoft.Authorization/roleAssignments/write",
                    "Microsoft.Authorization/roleAssignments/delete",
                    "*/read",
                    "Microsoft.Support/*",
                ],
                &[],
            ),
            Self::VirtualMachineContributor => (
                "Virtual Machine Contributor",
                "9980e02c-c2be-4d73-94e8-173b1dc7cf3c",
                &[
                    "Microsoft.Authorization/*/read",
                    "Microsoft.Compute/availabilitySets/*",
                    "Microsoft.Compute/locations/*",
                    "Microsoft.Compute/virtualMachines/*",
                    "Microsoft.Compute/virtualMachineScaleSets/*",
                    "Microsoft.Compute/cloudServices/*",
                    "Microsoft.Compute/disks/write",
                    "Microsoft.Compute/disks/read",
                    "Microsoft.Compute/disks/delete",
                    "Microsoft.DevTestLab/schedules/*",
                    "Microsoft.Insights/alertRules/*",
                    "Microsoft.Network/applicationGateways/backendAddressPools/join/action",
                    "Microsoft.Network/loadBalancers/backendAddressPools/join/action",
                    "Microsoft.Network/loadBalancers/inboundNatPools/join/action",
                    "Microsoft.Network/loadBalancers/inboundNatRules/join/action",
                    "Microsoft.Network/loadBalancers/probes/join/action",
                    "Microsoft.Network/loadBalancers/read",
                    "Microsoft.Network/locations/*",
                    "Microsoft.Network/networkInterfaces/*",
                    "Microsoft.Network/networkSecurityGroups/join/action",
                    "Microsoft.Network/networkSecurityGroups/read",
                    "Microsoft.Network/publicIPAddresses/join/action",
                    "Microsoft.Network/publicIPAddresses/read",
                    "Microsoft.Network/virtualNetworks/read",
                    "Microsoft.Network/virtualNetworks/subnets/join/action",
                    "Microsoft.RecoveryServices/locations/*",
                    "Microsoft.RecoveryServices/Vaults/backupFabrics/backupProtectionIntent/write",
                    "Microsoft.RecoveryServices/Vaults/backupFabrics/protectionContainers/protectedItems/*/read",
                    "Microsoft.RecoveryServices/Vaults/backupFabrics/protectionContainers/protectedItems/read",
                    "Microsoft.RecoveryServices/Vaults/backupFabrics/protectionContainers/protectedItems/write",
                    "Microsoft.RecoveryServices/Vaults/backupPolicies/read",
                    "Microsoft.RecoveryServices/Vaults/backupPolicies/write",
                    "Microsoft.RecoveryServices/Vaults/read",
                    "Microsoft.RecoveryServices/Vaults/usages/read",
                    "Microsoft.RecoveryServices/Vaults/write",
                    "Microsoft.ResourceHealth/availabilityStatuses/read",
                    "Microsoft.Resources/deployments/*",
                    "Microsoft.Resources/subscriptions/resourceGroups/read",
                    "Microsoft.SerialConsole/serialPorts/connect/action",
                    "Microsoft.SqlVirtualMachine/*",
                    "Microsoft.Storage/storageAccounts/listKeys/action",
                    "Microsoft.Storage/storageAccounts/read",
                    "Microsoft.Support/*",
                ],
                &[],
            ),
            Self::ComputeGalleryArtifactsPublisher => (
                "Compute Gallery Artifacts Publisher",
                "85a2d0d9-2eba-4c9c-b355-11c2cc0788ab",
                &[
                    "Microsoft.Compute/galleries/*",
                    "Microsoft.Compute/locations/capsOperations/read",
                    "Microsoft.Compute/locations/communityGalleries/*",
                    "Microsoft.Compute/locations/sharedGalleries/*",
                    "Microsoft.Compute/images/*",
                    "Microsoft.Compute/virtualMachines/write",
                    "Microsoft.Compute/disks/write",
                    "Microsoft.Authorization/*/read",
                    "Microsoft.Insights/alertRules/*",
                    "Microsoft.Resources/deployments/*",
                    "Microsoft.Resources/subscriptions/resourceGroups/read",
                ],
                &["Microsoft.Compute/galleries/share/action"],
            ),
            Self::ComputeGalleryImageReader => (
                "Compute Gallery Image Reader",
                "cf7c76d2-98a3-4358-a134-615aa78bf44d",
                &["Microsoft.Compute/galleries/images/read", "Microsoft.Compute/galleries/images/versions/read"],
                &[],
            ),
            Self::ComputeGallerySharingAdmin => (
                "Compute Gallery Sharing Admin",
                "1ef6a3be-d0ac-425d-8c01-acb62866290b",
                &["Microsoft.Compute/galleries/share/action"],
                &[],
            ),
        }
    }

    /// Returns the role that allows `action` and the fewest others.
    pub fn least_for(action: Action) -> Option<Self> {
        let roles = Self::ALL.iter().map(|role| (*role, role.definition().set()));
        roles.filter(|(_, set)| set.contains(action)).min_by_key(|(_, set)| set.len()).map(|(role, _)| role)
    }

    /// Returns the id, which is Azure's.
    pub fn id(self) -> RoleId {
        RoleId(self.table().1.into())
    }

    /// Returns the role.
    pub fn definition(self) -> RoleDefinition {
        static MADE: OnceLock<Vec<RoleDefinition>> = OnceLock::new();
        let made = MADE.get_or_init(|| Self::ALL.iter().map(|role| role.make()).collect());
        made.get(self as usize).cloned().unwrap_or_else(|| self.make())
    }

    fn make(self) -> RoleDefinition {
        let (name, _, actions, not_actions) = self.table();
        let all = |texts: &[&str]| texts.iter().filter_map(|text| text.parse().ok()).collect();
        Written {
            id: self.id(),
            role_name: name.to_owned(),
            actions: all(actions),
            not_actions: all(not_actions),
            data_actions: Vec::new(),
            not_data_actions: Vec::new(),
            assignable_scopes: Vec::new(),
        }
        .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_roles_allow_the_actions_of_their_purpose() {
        use BuiltInRole as Role;
        let allowed = |role: Role| Action::ALL.iter().filter(|action| role.definition().allows(**action)).count();
        assert_eq!(allowed(Role::Owner), Action::ALL.len());
        assert_eq!(allowed(Role::ComputeGallerySharingAdmin), 1);
        assert_eq!(allowed(Role::ComputeGalleryImageReader), 2);
        assert!(!Role::Contributor.definition().allows(Action::ShareGallery));
        assert!(!Role::Contributor.definition().allows(Action::WriteRoleAssignment));
        assert!(Role::Contributor.definition().allows(Action::ReadRoleAssignment));
        assert!(Role::UserAccessAdministrator.definition().allows(Action::WriteRoleAssignment));
        assert!(!Role::UserAccessAdministrator.definition().allows(Action::WriteGallery));
        let vms = Role::VirtualMachineContributor.definition();
        assert!(vms.allows(Action::WriteVirtualMachine) && vms.allows(Action::ReadSharedGallery));
        assert!(![Action::ReadGallery, Action::ReadImage, Action::ReadVersion].iter().any(|read| vms.allows(*read)));
        let rbac = Role::RoleBasedAccessControlAdministrator.definition();
        assert!(rbac.allows(Action::WriteRoleAssignment) && !rbac.allows(Action::WriteRoleDefinition));
        assert!(!Role::ComputeGalleryArtifactsPublisher.definition().allows(Action::ShareGallery));
        assert_eq!(Role::least_for(Action::ReadVersion), Some(Role::ComputeGalleryImageReader));
        for role in Role::ALL.iter().copied() {
            // Every pattern of the table is one.
            let (_, _, actions, not_actions) = role.table();
            assert_eq!(role.definition().written.actions.len(), actions.len());
            assert_eq!(role.definition().written.not_actions.len(), not_actions.len());
        }
    }
}
