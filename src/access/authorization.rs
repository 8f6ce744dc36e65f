//! What allowed a change, as the audit trail keeps it.

use serde::{Deserialize, Serialize};

use super::decision::Grant;
use super::principal::AssignmentId;
use super::scope::AccessScope;

/// What allowed a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Authorization {
    /// The role assignment, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignment: Option<AssignmentId>,
    /// Where that stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<AccessScope>,
    /// The whole of it in words.
    pub because: String,
}

impl Authorization {
    /// As it is told to those who may not read assignments where it stands.
    pub(crate) fn without_names(self) -> Self {
        match self.assignment {
            Some(_) => Self { assignment: None, scope: None, because: "a role assignment".to_owned() },
            None => self,
        }
    }
}

impl From<Grant> for Authorization {
    fn from(grant: Grant) -> Self {
        let because = grant.to_string();
        match grant {
            Grant::Role { assignment, .. } => {
                let (id, scope) = (assignment.id.clone(), assignment.scope.clone());
                Self { assignment: Some(id), scope: Some(scope), because }
            }
            Grant::AllowAll | Grant::Administrator | Grant::Shared | Grant::Community => {
                Self { assignment: None, scope: None, because }
            }
        }
    }
}
