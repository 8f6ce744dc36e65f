//! Access control: principals, roles, assignments, and one pure decision that explains itself.
//!
//! Nothing here does I/O. The host says who is who through a [`Directory`]; the catalog keeps roles and assignments, so that they
//! survive and are part of its history.
//!
//! ```
//! use compute_gallery::access::{AccessPolicy, AccessScope, Action, BuiltInRole, DenyAssignment, PrincipalId, RoleAssignment};
//!
//! let (ann, dev): (PrincipalId, _) = ("ann".parse()?, AccessScope::Subscription("dev".parse()?));
//! let mut policy = AccessPolicy::new();
//! policy.assign(RoleAssignment::new("ann-publishes", ann.clone(), BuiltInRole::Contributor.id(), dev.clone())?);
//! let publish = |policy: &AccessPolicy| policy.decide(&ann, &[], Action::WriteVersion, &[dev.clone()]);
//! assert!(publish(&policy).is_allowed());
//!
//! // A denial wins over every role.
//! policy.deny(DenyAssignment::to_everybody_but("frozen", ["release".parse()?], ["*/write"], dev.clone())?);
//! assert_eq!(publish(&policy).to_string(), "denied by deny assignment `frozen` at `/subscriptions/dev`");
//! # Ok::<(), compute_gallery::Error>(())
//! ```

mod action;
mod assignment;
mod authorization;
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
pub use authorization::Authorization;
pub use caller::Caller;
pub use decision::{Decision, Denial, Grant};
pub use directory::{Directory, Membership, Subscription};
pub use matrix::{SharingMatrix, SharingRow};
pub use memory_directory::MemoryDirectory;
pub use policy::AccessPolicy;
pub(crate) use policy::{Principals, with_above};
pub use principal::{AssignmentId, ManagementGroupId, PrincipalId, PrincipalKind, TenantId};
pub use role::{BuiltInRole, RoleDefinition, RoleId};
pub use scope::AccessScope;
pub use sharing::{GallerySharing, SharingUpdate};
