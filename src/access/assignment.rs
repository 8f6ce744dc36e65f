//! Who has which role where, and to whom something is denied.

use serde::{Deserialize, Serialize};

use super::action::{ActionPattern, ActionSet};
use super::principal::{AssignmentId, PrincipalId};
use super::role::RoleId;
use super::scope::AccessScope;
use crate::error::{Error, Result};

/// A principal has a role at a scope, and in everything below. An assignment is known by its scope and its name there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
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
///
/// ```
/// use compute_gallery::access::{AccessScope, DenyAssignment};
///
/// let dev = AccessScope::Subscription("dev".parse()?);
/// let frozen = DenyAssignment::to_everybody_but("frozen", ["release".parse()?], ["*/write", "*/delete"], dev.clone())?;
/// assert!(frozen.to.is_everybody());
/// // Nobody is named by an empty list, and everybody is never without exception.
/// assert!(DenyAssignment::to("no", [], ["*"], dev.clone()).is_err());
/// assert!(DenyAssignment::to_everybody_but("no", [], ["*"], dev).is_err());
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DenyAssignment {
    /// Its name.
    pub id: AssignmentId,
    /// To whom.
    pub to: DeniedTo,
    /// What.
    pub actions: Vec<ActionPattern>,
    /// What of that not.
    #[serde(default)]
    pub not_actions: Vec<ActionPattern>,
    /// Where.
    pub scope: AccessScope,
}

/// Whom a deny assignment concerns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DeniedTo {
    /// These, less the exceptions.
    Principals {
        /// These.
        principals: SomePrincipals,
        /// The exceptions.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        except: Vec<PrincipalId>,
    },
    /// Everybody, of whichever tenant, but these. Azure too demands an exception, so that the denial can be undone.
    EverybodyBut(SomePrincipals),
}

/// One principal or more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<PrincipalId>", into = "Vec<PrincipalId>")]
pub struct SomePrincipals(Vec<PrincipalId>);

impl SomePrincipals {
    /// The principals.
    pub fn as_slice(&self) -> &[PrincipalId] {
        &self.0
    }
}

impl TryFrom<Vec<PrincipalId>> for SomePrincipals {
    type Error = Error;

    fn try_from(principals: Vec<PrincipalId>) -> Result<Self> {
        if principals.is_empty() {
            let what = "it names no principal: name one at least; what is denied to everybody excepts one at least";
            return Err(Error::invalid("denyAssignment.principals", what));
        }
        Ok(Self(principals))
    }
}

impl From<SomePrincipals> for Vec<PrincipalId> {
    fn from(some: SomePrincipals) -> Self {
        some.0
    }
}

impl DeniedTo {
    /// Whether it is everybody, less the exceptions.
    pub fn is_everybody(&self) -> bool {
        matches!(self, Self::EverybodyBut(_))
    }

    /// Whom it names; nobody where it is everybody.
    pub fn principals(&self) -> &[PrincipalId] {
        match self {
            Self::Principals { principals, .. } => principals.as_slice(),
            Self::EverybodyBut(_) => &[],
        }
    }

    /// The exceptions.
    pub fn except(&self) -> &[PrincipalId] {
        match self {
            Self::Principals { except, .. } => except,
            Self::EverybodyBut(except) => except.as_slice(),
        }
    }
}

impl DenyAssignment {
    /// Denies these principals `actions`.
    ///
    /// # Errors
    ///
    /// `Invalid` for a name or a pattern that is none, and without principals.
    pub fn to<'a>(
        id: &str,
        principals: impl IntoIterator<Item = PrincipalId>,
        actions: impl IntoIterator<Item = &'a str>,
        scope: impl Into<AccessScope>,
    ) -> Result<Self> {
        let principals = principals.into_iter().collect::<Vec<_>>().try_into()?;
        Self::new(id, DeniedTo::Principals { principals, except: Vec::new() }, actions, scope.into())
    }

    /// Denies everybody but these `actions`.
    ///
    /// # Errors
    ///
    /// `Invalid` for a name or a pattern that is none, and without exceptions.
    pub fn to_everybody_but<'a>(
        id: &str,
        except: impl IntoIterator<Item = PrincipalId>,
        actions: impl IntoIterator<Item = &'a str>,
        scope: impl Into<AccessScope>,
    ) -> Result<Self> {
        let except = except.into_iter().collect::<Vec<_>>().try_into()?;
        Self::new(id, DeniedTo::EverybodyBut(except), actions, scope.into())
    }

    fn new<'a>(id: &str, to: DeniedTo, actions: impl IntoIterator<Item = &'a str>, scope: AccessScope) -> Result<Self> {
        let actions = actions.into_iter().map(str::parse).collect::<Result<_>>()?;
        Ok(Self { id: id.parse()?, to, actions, not_actions: Vec::new(), scope })
    }

    /// Sets the patterns of actions that it does not deny after all.
    ///
    /// # Errors
    ///
    /// `Invalid` for a pattern that is malformed.
    pub fn with_not_actions<'a>(mut self, actions: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        self.not_actions = actions.into_iter().map(str::parse).collect::<Result<_>>()?;
        Ok(self)
    }

    /// Adds principals to whom it does not apply.
    #[must_use]
    pub fn with_exceptions(mut self, principals: impl IntoIterator<Item = PrincipalId>) -> Self {
        let (DeniedTo::Principals { except, .. } | DeniedTo::EverybodyBut(SomePrincipals(except))) = &mut self.to;
        except.extend(principals);
        self
    }

    pub(super) fn set(&self) -> ActionSet {
        ActionSet::matching(&self.actions, &self.not_actions)
    }
}
