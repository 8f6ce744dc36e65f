//! Actions, which roles allow: Azure's strings.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::text_newtype;

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// An action that a session takes and a role allows (Azure: `Microsoft.Compute/galleries/read` and the like).
        ///
        /// ```
        /// use compute_gallery::access::{Action, BuiltInRole};
        ///
        /// assert_eq!(Action::ShareGallery.to_string(), "Microsoft.Compute/galleries/share/action");
        /// let can_share = |role: &BuiltInRole| role.definition().allows(Action::ShareGallery);
        /// let roles: Vec<_> = BuiltInRole::ALL.iter().copied().filter(can_share).collect();
        /// assert_eq!(roles, [BuiltInRole::Owner, BuiltInRole::ComputeGallerySharingAdmin]);
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Action {
            $($(#[$doc])* $name,)*
        }

        impl Action {
            /// All actions.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Returns Azure's string.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

actions! {
    /// Seeing a gallery.
    ReadGallery = "Microsoft.Compute/galleries/read",
    /// Creating or changing a gallery.
    WriteGallery = "Microsoft.Compute/galleries/write",
    /// Deleting a gallery.
    DeleteGallery = "Microsoft.Compute/galleries/delete",
    /// Sharing a gallery with subscriptions, tenants or everybody; changing its soft delete.
    ShareGallery = "Microsoft.Compute/galleries/share/action",
    /// Seeing a definition; deploying its latest version.
    ReadImage = "Microsoft.Compute/galleries/images/read",
    /// Creating or changing a definition.
    WriteImage = "Microsoft.Compute/galleries/images/write",
    /// Deleting a definition.
    DeleteImage = "Microsoft.Compute/galleries/images/delete",
    /// Seeing a version; deploying it.
    ReadVersion = "Microsoft.Compute/galleries/images/versions/read",
    /// Publishing, changing or replicating a version.
    WriteVersion = "Microsoft.Compute/galleries/images/versions/write",
    /// Deleting a version.
    DeleteVersion = "Microsoft.Compute/galleries/images/versions/delete",
    /// Seeing what becomes of an operation.
    ReadOperation = "Microsoft.Compute/locations/capsOperations/read",
    /// Seeing the galleries that are shared with a subscription.
    ReadSharedGallery = "Microsoft.Compute/locations/sharedGalleries/read",
    /// Seeing a managed image; deploying it; publishing from it.
    ReadManagedImage = "Microsoft.Compute/images/read",
    /// Creating a managed image.
    WriteManagedImage = "Microsoft.Compute/images/write",
    /// Deleting a managed image.
    DeleteManagedImage = "Microsoft.Compute/images/delete",
    /// Seeing a snapshot; deploying it.
    ReadSnapshot = "Microsoft.Compute/snapshots/read",
    /// Creating a snapshot; publishing from it.
    WriteSnapshot = "Microsoft.Compute/snapshots/write",
    /// Deleting a snapshot.
    DeleteSnapshot = "Microsoft.Compute/snapshots/delete",
    /// Seeing a disk.
    ReadDisk = "Microsoft.Compute/disks/read",
    /// Deleting a disk.
    DeleteDisk = "Microsoft.Compute/disks/delete",
    /// Creating or changing a disk; publishing from it.
    WriteDisk = "Microsoft.Compute/disks/write",
    /// Publishing from a VM.
    WriteVirtualMachine = "Microsoft.Compute/virtualMachines/write",
    /// Publishing from a VHD in a storage account.
    ListStorageKeys = "Microsoft.Storage/storageAccounts/listKeys/action",
    /// Seeing a resource group.
    ReadResourceGroup = "Microsoft.Resources/subscriptions/resourceGroups/read",
    /// Creating or changing a resource group.
    WriteResourceGroup = "Microsoft.Resources/subscriptions/resourceGroups/write",
    /// Deleting a resource group with everything in it.
    DeleteResourceGroup = "Microsoft.Resources/subscriptions/resourceGroups/delete",
    /// Seeing the role assignments at a scope.
    ReadRoleAssignment = "Microsoft.Authorization/roleAssignments/read",
    /// Assigning a role.
    WriteRoleAssignment = "Microsoft.Authorization/roleAssignments/write",
    /// Deleting a role assignment.
    DeleteRoleAssignment = "Microsoft.Authorization/roleAssignments/delete",
    /// Seeing the roles that can be assigned at a scope.
    ReadRoleDefinition = "Microsoft.Authorization/roleDefinitions/read",
    /// Creating or changing a custom role.
    WriteRoleDefinition = "Microsoft.Authorization/roleDefinitions/write",
    /// Deleting a custom role.
    DeleteRoleDefinition = "Microsoft.Authorization/roleDefinitions/delete",
    /// Denying actions to principals.
    WriteDenyAssignment = "Microsoft.Authorization/denyAssignments/write",
    /// Deleting a deny assignment.
    DeleteDenyAssignment = "Microsoft.Authorization/denyAssignments/delete",
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of actions, one bit each: the patterns of a role are matched once, when it is made, and not at each decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ActionSet(u64);

const _: () = assert!(Action::ALL.len() <= 64, "a set has a bit for each action");

impl ActionSet {
    /// Returns the actions that `patterns` match and `not` does not.
    pub(super) fn matching(patterns: &[ActionPattern], not: &[ActionPattern]) -> Self {
        let is_in = |action: &&Action| {
            let any = |patterns: &[ActionPattern]| patterns.iter().any(|pattern| pattern.matches(action.as_str()));
            any(patterns) && !any(not)
        };
        Self(Action::ALL.iter().filter(is_in).fold(0, |set, action| set | 1 << *action as u8))
    }

    pub(super) fn len(self) -> u32 {
        self.0.count_ones()
    }

    pub(super) fn contains(self, action: Action) -> bool {
        self.0 & (1 << action as u8) != 0
    }
}

text_newtype! {
    /// An action string in which each `*` stands for any text, also over several segments; compared without case.
    ///
    /// ```
    /// use compute_gallery::access::ActionPattern;
    ///
    /// let read: ActionPattern = "*/read".parse()?;
    /// assert!(read.matches("Microsoft.Compute/galleries/images/READ"));
    /// assert!(!read.matches("Microsoft.Compute/galleries/write"));
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    ActionPattern, read_pattern
}

fn read_pattern(text: &str) -> Result<Arc<str>> {
    let plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '/' | '*' | '_' | '-');
    if text.is_empty() || text.len() > 256 || !text.chars().all(plain) {
        let rule = "an action is like `Microsoft.Compute/galleries/read`, with `*` for any text";
        return Err(Error::invalid("roleDefinition.actions", format!("`{}`: {rule}", text.escape_debug())));
    }
    Ok(text.into())
}

impl ActionPattern {
    /// Returns whether the pattern matches an action string.
    pub fn matches(&self, action: &str) -> bool {
        let (pattern, action) = (self.0.to_ascii_lowercase(), action.to_ascii_lowercase());
        let mut parts = pattern.split('*');
        let Some(mut rest) = parts.next().and_then(|first| action.strip_prefix(first)) else { return false };
        let parts: Vec<&str> = parts.collect();
        let Some((last, between)) = parts.split_last() else { return rest.is_empty() };
        for part in between {
            match rest.split_once(part) {
                Some((_, behind)) => rest = behind,
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, action, matches) in [
            ("*", "a/b", true),
            ("*/read", "a/b/read", true),
            ("a/*/read", "a/b/c/read", true),
            ("a/*/read", "a/read", false),
            ("a/*", "a/", true),
            ("a", "a", true),
            ("a", "ab", false),
            ("a*a", "a", false),
            ("*b*b", "bab", true),
            ("Microsoft.Authorization/*/Write", "microsoft.authorization/roleAssignments/write", true),
        ] {
            assert_eq!(pattern.parse::<ActionPattern>().unwrap().matches(action), matches, "{pattern} {action}");
        }
        assert!("a b".parse::<ActionPattern>().is_err());
    }
}
