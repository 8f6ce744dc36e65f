//! Ids of resources that lie right in a resource group: managed images, snapshots, disks, VMs, storage accounts.

use super::name::{ResourceGroupName, ResourceName, SubscriptionId};
use super::shared::{Shared, Spelled};

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct TopLevelPath {
    subscription: SubscriptionId,
    resource_group: ResourceGroupName,
    name: ResourceName,
}

impl TopLevelPath {
    fn names(&self) -> [&str; 3] {
        [self.subscription.as_str(), self.resource_group.as_str(), self.name.as_str()]
    }
}

macro_rules! top_level_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Shared<TopLevelPath>);

        impl Spelled for $name {
            fn is_spelled_as(&self, other: &Self) -> bool {
                self.0.is_same(&other.0) || self.0.names() == other.0.names()
            }
        }

        impl $name {
            /// Returns the id of the resource `name` in a resource group.
            pub fn new(subscription: SubscriptionId, resource_group: ResourceGroupName, name: ResourceName) -> Self {
                Self(Shared::new(TopLevelPath { subscription, resource_group, name }))
            }

            /// Returns the subscription that the resource is in.
            pub fn subscription(&self) -> &SubscriptionId {
                &self.0.subscription
            }

            /// Returns the resource group that the resource is in.
            pub fn resource_group(&self) -> &ResourceGroupName {
                &self.0.resource_group
            }

            /// Returns the name.
            pub fn name(&self) -> &ResourceName {
                &self.0.name
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let TopLevelPath { subscription, resource_group, name } = &*self.0;
                write!(f, "/subscriptions/{subscription}/resourceGroups/{resource_group}")?;
                write!(f, concat!("/providers/", $kind, "/{}"), name)
            }
        }
    };
}

top_level_id! {
    /// The id of a managed image: `/subscriptions/…/resourceGroups/…/providers/Microsoft.Compute/images/…`.
    ///
    /// ```
    /// use compute_gallery::model::ManagedImageId;
    ///
    /// let id: ManagedImageId =
    ///     "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/images/golden".parse()?;
    /// assert_eq!(id, ManagedImageId::new("dev".parse()?, "images".parse()?, "golden".parse()?));
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    ManagedImageId, "Microsoft.Compute/images"
}

top_level_id! {
    /// The id of a snapshot: `/subscriptions/…/resourceGroups/…/providers/Microsoft.Compute/snapshots/…`.
    ///
    /// ```
    /// use compute_gallery::model::SnapshotId;
    ///
    /// let id = SnapshotId::new("dev".parse()?, "images".parse()?, "nightly".parse()?);
    /// assert!(id.to_string().ends_with("/providers/Microsoft.Compute/snapshots/nightly"));
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    SnapshotId, "Microsoft.Compute/snapshots"
}

top_level_id! {
    /// The id of a managed disk: `/subscriptions/…/resourceGroups/…/providers/Microsoft.Compute/disks/…`.
    ///
    /// ```
    /// use compute_gallery::model::DiskId;
    ///
    /// let id = DiskId::new("dev".parse()?, "machines".parse()?, "data".parse()?);
    /// assert!(id.to_string().ends_with("/providers/Microsoft.Compute/disks/data"));
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    DiskId, "Microsoft.Compute/disks"
}

top_level_id! {
    /// The id of a VM: `/subscriptions/…/resourceGroups/…/providers/Microsoft.Compute/virtualMachines/…`.
    ///
    /// ```
    /// use compute_gallery::model::VirtualMachineId;
    ///
    /// let id = VirtualMachineId::new("dev".parse()?, "machines".parse()?, "web-01".parse()?);
    /// assert!(id.to_string().ends_with("/providers/Microsoft.Compute/virtualMachines/web-01"));
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    VirtualMachineId, "Microsoft.Compute/virtualMachines"
}

top_level_id! {
    /// The id of a storage account: `/subscriptions/…/resourceGroups/…/providers/Microsoft.Storage/storageAccounts/…`.
    ///
    /// ```
    /// use compute_gallery::model::StorageAccountId;
    ///
    /// let id = StorageAccountId::new("dev".parse()?, "vhds".parse()?, "contosovhds".parse()?);
    /// assert!(id.to_string().ends_with("/providers/Microsoft.Storage/storageAccounts/contosovhds"));
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    StorageAccountId, "Microsoft.Storage/storageAccounts"
}
