//! Who may do what: principals, roles, assignments, and one pure decision that can say why.
//!
//! Nothing here does I/O. The host tells who is who through a [`Directory`]; roles and assignments are kept in the
//! catalog, so that they survive and are part of its history.

mod action;
mod assignment;
mod caller;
mod decision;
mod directory;
mod matrix;
mod memory_directory;
mod policy;
mod principal;
mod role;
mod scope;
mod sharing;

pub use action::{Action, ActionPattern};
pub use assignment::{DeniedTo, DenyAssignment, RoleAssignment, SomePrincipals};
pub use caller::Caller;
pub use decision::{Decision, Denial, Grant};
pub use directory::{Directory, Membership};
pub use matrix::{SharingMatrix, SharingRow};
pub use memory_directory::MemoryDirectory;
pub use policy::AccessPolicy;
pub(crate) use policy::{Principals, WrittenPolicy, with_above};
pub use principal::{AssignmentId, ManagementGroupId, PrincipalId, PrincipalKind, TenantId};
pub use role::{BuiltInRole, RoleDefinition, RoleId};
pub use scope::AccessScope;
pub use sharing::{GallerySharing, SharingUpdate};
