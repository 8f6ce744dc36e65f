//! Deployments of compiled ARM templates (JSON) in a resource group.

mod deployments;
mod evaluate;
mod expression;
mod functions;
mod jsonc;
mod plan;

pub(super) use deployments::{Deployments, answer};
