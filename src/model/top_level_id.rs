//! Ids of resources that lie right in a resource group: managed images, snapshots, disks, VMs, storage accounts.

use super::name::{ImageName, ResourceGroupName, SubscriptionId};

macro_rules! top_level_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name {
            subscription: SubscriptionId,
            resource_group: ResourceGroupName,
            name: ImageName,
        }

        impl $name {
            /// The id of a resource in a group.
            pub fn new(subscription: SubscriptionId, resource_group: ResourceGroupName, name: ImageName) -> Self {
                Self { subscription, resource_group, name }
            }

            /// The subscription that it is in.
            pub fn subscription(&self) -> &SubscriptionId {
                &self.subscription
            }

            /// The resource group that it is in.
            pub fn resource_group(&self) -> &ResourceGroupName {
                &self.resource_group
            }

            /// Its name.
            pub fn name(&self) -> &ImageName {
                &self.name
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let Self { subscription, resource_group, name } = self;
                write!(f, "/subscriptions/{subscription}/resourceGroups/{resource_group}")?;
                write!(f, concat!("/providers/", $kind, "/{}"), name)
            }
        }
    };
}

top_level_id! {
    /// The id of a managed image: `/subscriptions/…/resourceGroups/…/providers/Microsoft.Compute/images/…`.
    ManagedImageId, "Microsoft.Compute/images"
}

top_level_id! {
    /// The id of a snapshot: `/subscriptions/…/resourceGroups/…/providers/Microsoft.Compute/snapshots/…`.
    SnapshotId, "Microsoft.Compute/snapshots"
}

top_level_id! {
    /// The id of a managed disk: `/subscriptions/…/resourceGroups/…/providers/Microsoft.Compute/disks/…`.
    DiskId, "Microsoft.Compute/disks"
}

top_level_id! {
    /// The id of a VM: `/subscriptions/…/resourceGroups/…/providers/Microsoft.Compute/virtualMachines/…`.
    VirtualMachineId, "Microsoft.Compute/virtualMachines"
}

top_level_id! {
    /// The id of a storage account: `/subscriptions/…/resourceGroups/…/providers/Microsoft.Storage/storageAccounts/…`.
    StorageAccountId, "Microsoft.Storage/storageAccounts"
}
