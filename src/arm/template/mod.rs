//! Deployments of compiled ARM templates (JSON) in a resource group.

mod deployments;
mod evaluate;
mod expression;
mod functions;
mod jsonc;
mod kept;
mod plan;
mod what_if;

pub(super) use deployments::answer;
pub(super) use kept::Deployments;
