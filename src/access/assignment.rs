//! Who has which role where, and to whom something is denied.

use serde::{Deserialize, Serialize};

use super::action::{ActionPattern, ActionSet};
use super::principal::{AssignmentId, PrincipalId};
use super::role::RoleId;
use super::scope::AccessScope;
use crate::error::Result;

/// A principal has a role at a scope, and in everything below.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleAssignment {
    /// Its name.
    pub id: AssignmentId,
    /// Who.
    pub principal: PrincipalId,
    /// Which role.
    pub role: RoleId,
    /// Where.
    pub scope: AccessScope,
}

impl RoleAssignment {
    /// An assignment.
    ///
    /// # Errors
    ///
    /// `Invalid` for a name that is none.
    pub fn new(id: &str, principal: PrincipalId, role: RoleId, scope: impl Into<AccessScope>) -> Result<Self> {
        Ok(Self { id: id.parse()?, principal, role, scope: scope.into() })
    }
}

/// Something is denied at a scope and in everything below, whatever roles allow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DenyAssignment {
    /// Its name.
    pub id: AssignmentId,
    /// To whom; to everybody where this is empty.
    #[serde(default)]
    pub principals: Vec<PrincipalId>,
    /// To whom not, even so.
    #[serde(default)]
    pub excluded: Vec<PrincipalId>,
    /// What.
    pub actions: Vec<ActionPattern>,
    /// What of that not.
    #[serde(default)]
    pub not_actions: Vec<ActionPattern>,
    /// Where.
    pub scope: AccessScope,
}

impl DenyAssignment {
    /// Denies everybody `actions`.
    ///
    /// # Errors
    ///
    /// `Invalid` for a name or a pattern that is none.
    pub fn new<'a>(
        id: &str,
        actions: impl IntoIterator<Item = &'a str>,
        scope: impl Into<AccessScope>,
    ) -> Result<Self> {
        let actions = actions.into_iter().map(str::parse).collect::<Result<_>>()?;
        let (principals, excluded, not_actions) = Default::default();
        Ok(Self { id: id.parse()?, principals, excluded, actions, not_actions, scope: scope.into() })
    }

    /// Denies it to these alone.
    #[must_use]
    pub fn to(mut self, principals: impl IntoIterator<Item = PrincipalId>) -> Self {
        self.principals = principals.into_iter().collect();
        self
    }

    /// Does not deny it to these.
    #[must_use]
    pub fn except(mut self, principals: impl IntoIterator<Item = PrincipalId>) -> Self {
        self.excluded = principals.into_iter().collect();
        self
    }

    pub(super) fn set(&self) -> ActionSet {
        ActionSet::matching(&self.actions, &self.not_actions)
    }
}
