//! Role assignments and deny assignments.

use serde::{Deserialize, Serialize};

use super::action::{ActionPattern, ActionSet};
use super::principal::{AssignmentId, PrincipalId};
use super::role::{RoleId, id_at};
use super::scope::AccessScope;
use crate::error::{Error, Result};

/// A role that a principal has at a scope, and in everything below it. Scope and id identify the assignment.
///
/// ```
/// use compute_gallery::access::{AccessScope, BuiltInRole, RoleAssignment};
///
/// let images = AccessScope::ResourceGroup("dev".parse()?, "images".parse()?);
/// let reader = RoleAssignment::new("build agents", "agents".parse()?, BuiltInRole::ComputeGalleryImageReader.id(), images)?;
/// assert_eq!(reader.scope.to_string(), "/subscriptions/dev/resourceGroups/images");
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RoleAssignment {
    /// Unique at the scope.
    pub id: AssignmentId,
    /// The user, guest, group or service principal that has the role.
    pub principal: PrincipalId,
    /// A built-in role or a custom one.
    pub role: RoleId,
    /// The role holds here and in everything below.
    pub scope: AccessScope,
}

impl RoleAssignment {
    /// Returns an assignment of `role` to `principal`.
    ///
    /// # Errors
    ///
    /// `Invalid` for an `id` that is not an [`AssignmentId`].
    pub fn new(id: &str, principal: PrincipalId, role: RoleId, scope: impl Into<AccessScope>) -> Result<Self> {
        Ok(Self { id: id.parse()?, principal, role, scope: scope.into() })
    }

    /// Returns the assignment as Azure's GET answers it, without the principal's type, which the directory knows.
    ///
    /// ```
    /// use compute_gallery::access::{AccessScope, BuiltInRole, RoleAssignment};
    ///
    /// let dev = AccessScope::Subscription("dev".parse()?);
    /// let json = RoleAssignment::new("a", "ann".parse()?, BuiltInRole::Reader.id(), dev)?.json();
    /// assert_eq!(json["id"], "/subscriptions/dev/providers/Microsoft.Authorization/roleAssignments/a");
    /// assert_eq!(json["properties"]["scope"], "/subscriptions/dev");
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    pub fn json(&self) -> serde_json::Value {
        let Self { id, principal, role, scope } = self;
        let path = scope.path();
        let below = if path == "/" { "" } else { &path };
        serde_json::json!({
            "id": format!("{below}/providers/Microsoft.Authorization/roleAssignments/{id}"),
            "name": id,
            "type": "Microsoft.Authorization/roleAssignments",
            "properties": { "principalId": principal, "roleDefinitionId": id_at(scope, role), "scope": path },
        })
    }
}

/// A denial of actions at a scope and in everything below it, which wins over every role (Azure: deny assignments).
///
/// ```
/// use compute_gallery::access::{AccessScope, DenyAssignment};
///
/// let dev = AccessScope::Subscription("dev".parse()?);
/// let frozen = DenyAssignment::to_everybody_but("frozen", ["release".parse()?], ["*/write", "*/delete"], dev.clone())?;
/// assert!(frozen.to.is_everybody());
/// // A list of principals is not empty, and a denial to everybody has an exception.
/// assert!(DenyAssignment::to("no", [], ["*"], dev.clone()).is_err());
/// assert!(DenyAssignment::to_everybody_but("no", [], ["*"], dev).is_err());
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DenyAssignment {
    /// Unique at the scope.
    pub id: AssignmentId,
    /// The principals to whom the actions are denied.
    pub to: DeniedTo,
    /// The actions that are denied.
    pub actions: Vec<ActionPattern>,
    /// The actions, among those, that are not denied after all.
    #[serde(default)]
    pub not_actions: Vec<ActionPattern>,
    /// The denial holds here and in everything below.
    pub scope: AccessScope,
}

/// The principals that a deny assignment applies to.
///
/// Exhaustive: code that overlooks a kind of principals takes something denied for allowed.
///
/// ```
/// use compute_gallery::access::{AccessScope, DeniedTo, DenyAssignment};
///
/// let dev = AccessScope::Subscription("dev".parse()?);
/// let denial = DenyAssignment::to("no-agents", ["agents".parse()?], ["*/delete"], dev)?.with_exceptions(["bob".parse()?]);
/// assert!(matches!(&denial.to, DeniedTo::Principals { except, .. } if except.len() == 1));
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DeniedTo {
    /// These principals, without the exceptions.
    Principals {
        /// Users, guests, groups or service principals.
        principals: SomePrincipals,
        /// Principals that it does not apply to, though they are in a group that it names.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        except: Vec<PrincipalId>,
    },
    /// Every principal of every tenant but these. Azure: a denial to everybody has an exception, so that it can be undone.
    EverybodyBut(SomePrincipals),
}

/// One principal or more.
///
/// ```
/// use compute_gallery::access::SomePrincipals;
///
/// assert_eq!(SomePrincipals::try_from(vec!["ann".parse()?])?.as_slice().len(), 1);
/// assert!(SomePrincipals::try_from(vec![]).is_err());
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<PrincipalId>", into = "Vec<PrincipalId>")]
pub struct SomePrincipals(Vec<PrincipalId>);

impl SomePrincipals {
    /// Returns the principals.
    pub fn as_slice(&self) -> &[PrincipalId] {
        &self.0
    }
}

impl TryFrom<Vec<PrincipalId>> for SomePrincipals {
    type Error = Error;

    fn try_from(principals: Vec<PrincipalId>) -> Result<Self> {
        if principals.is_empty() {
            let what = "the list of principals is empty: name at least one; a denial to everybody needs at least one exception";
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
    /// Returns whether it applies to everybody but the exceptions.
    pub fn is_everybody(&self) -> bool {
        matches!(self, Self::EverybodyBut(_))
    }

    /// Returns the principals that it names; none where it applies to everybody.
    pub fn principals(&self) -> &[PrincipalId] {
        match self {
            Self::Principals { principals, .. } => principals.as_slice(),
            Self::EverybodyBut(_) => &[],
        }
    }

    /// Returns the exceptions.
    pub fn except(&self) -> &[PrincipalId] {
        match self {
            Self::Principals { except, .. } => except,
            Self::EverybodyBut(except) => except.as_slice(),
        }
    }
}

impl DenyAssignment {
    /// Returns a denial of `actions` to these principals.
    ///
    /// # Errors
    ///
    /// `Invalid` for a malformed id or pattern, and for an empty list of principals.
    pub fn to<'a>(
        id: &str,
        principals: impl IntoIterator<Item = PrincipalId>,
        actions: impl IntoIterator<Item = &'a str>,
        scope: impl Into<AccessScope>,
    ) -> Result<Self> {
        let principals = principals.into_iter().collect::<Vec<_>>().try_into()?;
        Self::new(id, DeniedTo::Principals { principals, except: Vec::new() }, actions, scope.into())
    }

    /// Returns a denial of `actions` to everybody but `except`.
    ///
    /// # Errors
    ///
    /// `Invalid` for a malformed id or pattern, and for an empty list of exceptions.
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

    /// Sets the actions, among those that it denies, that it does not deny after all.
    ///
    /// # Errors
    ///
    /// `Invalid` for a malformed pattern.
    pub fn with_not_actions<'a>(mut self, actions: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        self.not_actions = actions.into_iter().map(str::parse).collect::<Result<_>>()?;
        Ok(self)
    }

    /// Adds principals that the denial does not apply to.
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
