//! `Microsoft.Authorization`: role assignments, role definitions and deny assignments at every scope.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::answer::{Answer, Answered, Refusal};
use super::call::Call;
use super::groups;
use super::inner::{Inner, only};
use super::page::Paging;
use crate::access::{
    AccessScope, AssignmentId, BuiltInRole, DenyAssignment, PrincipalId, RoleAssignment, RoleDefinition, RoleId,
    TenantId,
};
use crate::model::ResourceId;

pub(super) async fn answer(inner: &Inner, call: &Call, at: usize, path: &[&str]) -> Answered {
    call.any_version()?;
    let rest = path.get(at + 2..).unwrap_or_default();
    let scope = || scope(call, at);
    match rest {
        ["roleassignments"] => {
            only(call, &[Method::GET])?;
            assignments(inner, call, &scope()?).await
        }
        ["roleassignments", _] => assignment(inner, call, &scope()?, call.segment(at + 3)).await,
        ["roledefinitions"] => {
            only(call, &[Method::GET])?;
            definitions(inner, call, &scope()?)
        }
        ["roledefinitions", id] => {
            only(call, &[Method::GET])?;
            let role: RoleId = id.parse()?;
            let found = BuiltInRole::ALL.iter().map(|role| role.definition()).find(|known| *known.id() == role);
            let what = || {
                let what = format!("The role definition with ID '{id}' does not exist.");
                Refusal::not_found("RoleDefinitionDoesNotExist", what)
            };
            found.map(|role| Answer::ok(definition_json(call, &role))).ok_or_else(what)
        }
        ["denyassignments"] => {
            only(call, &[Method::GET])?;
            let here = scope()?;
            let view = call.session.refresh().await?;
            let shown = view.deny_assignments().into_iter().filter(|denial| concerns(call, &here, &denial.scope));
            let keyed = shown.map(|denial| (format!("{}/{}", denial.scope, denial.id), denial));
            Paging::of(call, &inner.settings)?.of_all(keyed, |denial| Ok(denial_json(&denial)))
        }
        ["locks"]
        | ["permissions"]
        | ["policyassignments"]
        | ["classicadministrators"]
        | ["roleeligibilityschedules"]
        | ["roleassignmentscheduleinstances"] => {
            only(call, &[Method::GET])?;
            Ok(Answer::list(Vec::new()))
        }
        _ => Err(groups::unknown(call)),
    }
}

/// Reads the scope before `providers/Microsoft.Authorization`.
fn scope(call: &Call, at: usize) -> Result<AccessScope, Refusal> {
    match call.segments.lower().get(..at).unwrap_or_default() {
        [] => Ok(AccessScope::TenantRoot(TENANT.parse::<TenantId>()?)),
        ["providers", "microsoft.management", "managementgroups", _] => {
            Ok(AccessScope::ManagementGroup(call.segment(3).parse()?))
        }
        ["subscriptions", _] => Ok(AccessScope::Subscription(call.segment(1).parse()?)),
        ["subscriptions", _, "resourcegroups", _] => {
            Ok(AccessScope::ResourceGroup(call.segment(1).parse()?, call.segment(3).parse()?))
        }
        _ => Ok(AccessScope::Resource(call.id(at).parse::<ResourceId>()?)),
    }
}

const TENANT: &str = "11111111-1111-1111-1111-111111111111";

/// Whether a list at `here` shows what stands at `there`: at or above it with `atScope()`, else below it as well.
fn concerns(call: &Call, here: &AccessScope, there: &AccessScope) -> bool {
    let above = |below: &AccessScope, wanted: &AccessScope| {
        let mut next = Some(below.clone());
        while let Some(scope) = next {
            if scope == *wanted {
                return true;
            }
            next = scope.parent();
        }
        false
    };
    let filter = call.parameter("$filter").unwrap_or_default().to_ascii_lowercase();
    let is_root = matches!(there, AccessScope::TenantRoot(_) | AccessScope::ManagementGroup(_));
    above(here, there) || is_root || (!filter.contains("atscope()") && above(there, here))
}

/// Returns the quoted value after `name eq`.
fn filtered(call: &Call, name: &str) -> Option<String> {
    let filter = call.parameter("$filter")?;
    let at = filter.to_ascii_lowercase().find(&format!("{name} eq "))?;
    filter.get(at..)?.split('\'').nth(1).map(str::to_owned)
}

fn scope_text(scope: &AccessScope) -> String {
    match scope {
        AccessScope::TenantRoot(_) => "/".to_owned(),
        scope => scope.to_string(),
    }
}

fn definition_id(subscription: &str, role: &RoleId) -> String {
    let above = if subscription.is_empty() { String::new() } else { format!("/subscriptions/{subscription}") };
    format!("{above}/providers/Microsoft.Authorization/roleDefinitions/{role}")
}

fn assignment_json(assignment: &RoleAssignment, kind: &str) -> Value {
    let scope = scope_text(&assignment.scope);
    let subscription = assignment.scope.subscription().map_or("", |id| id.as_str());
    json!({
        "id": format!("{}/providers/Microsoft.Authorization/roleAssignments/{}", scope.trim_end_matches('/'), assignment.id),
        "name": assignment.id,
        "type": "Microsoft.Authorization/roleAssignments",
        "properties": {
            "roleDefinitionId": definition_id(subscription, &assignment.role),
            "principalId": assignment.principal,
            "principalType": kind,
            "scope": scope,
            "condition": null, "conditionVersion": null, "createdOn": "2020-01-01T00:00:00Z", "updatedOn": "2020-01-01T00:00:00Z",
            "createdBy": null, "updatedBy": null, "delegatedManagedIdentityResourceId": null, "description": null,
        },
    })
}

async fn assignments(inner: &Inner, call: &Call, here: &AccessScope) -> Answered {
    let view = call.session.refresh().await?;
    let principal = filtered(call, "principalid").or_else(|| {
        let filter = call.parameter("$filter")?;
        let at = filter.to_ascii_lowercase().find("assignedto(")?;
        filter.get(at..)?.split('\'').nth(1).map(str::to_owned)
    });
    let shown = view.role_assignments().into_iter().filter(|assignment| concerns(call, here, &assignment.scope));
    let of = |assignment: &std::sync::Arc<RoleAssignment>| {
        principal.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(assignment.principal.as_str()))
    };
    let keyed = shown.filter(of).map(|assignment| (format!("{}/{}", assignment.scope, assignment.id), assignment));
    Paging::of(call, &inner.settings)?.of_all(keyed, |assignment| Ok(assignment_json(&assignment, "ServicePrincipal")))
}

async fn assignment(inner: &Inner, call: &Call, scope: &AccessScope, name: &str) -> Answered {
    only(call, &[Method::GET, Method::PUT, Method::DELETE])?;
    let id: AssignmentId = name.parse()?;
    let view = call.session.refresh().await?;
    let there = view.role_assignments().into_iter().find(|known| known.id == id && known.scope == *scope);
    match call.method {
        Method::GET => {
            let what =
                || Refusal::not_found("RoleAssignmentNotFound", format!("The role assignment '{id}' is not found."));
            there.map(|there| Answer::ok(assignment_json(&there, "ServicePrincipal"))).ok_or_else(what)
        }
        Method::DELETE => match there {
            None => Ok(Answer::empty(StatusCode::NO_CONTENT)),
            Some(there) => {
                call.session.unassign_role(there.scope.clone(), id).await?;
                Ok(Answer::ok(assignment_json(&there, "ServicePrincipal")))
            }
        },
        _ => {
            let body = call.body()?;
            let text = |name: &str| {
                body.pointer(&format!("/properties/{name}")).or_else(|| body.get(name)).and_then(Value::as_str)
            };
            let missing = |name: &str| {
                Refusal::bad_request("InvalidRequestContent", format!("The request's property '{name}' is missing."))
            };
            let role = text("roleDefinitionId").ok_or_else(|| missing("roleDefinitionId"))?;
            let role: RoleId = role.rsplit('/').next().unwrap_or_default().parse()?;
            let principal: PrincipalId = text("principalId").ok_or_else(|| missing("principalId"))?.parse()?;
            let new = RoleAssignment::new(name, principal, role, scope.clone())?;
            let kind = text("principalType").unwrap_or("ServicePrincipal");
            let same = |there: &RoleAssignment| there.principal == new.principal && there.role == new.role;
            if there.as_ref().is_some_and(|there| same(there)) {
                return Ok(Answer::ok(assignment_json(&new, kind)));
            }
            let twin = view.role_assignments().into_iter().find(|known| known.scope == new.scope && same(known));
            if twin.is_some() {
                return Err(Refusal::new(
                    StatusCode::CONFLICT,
                    "RoleAssignmentExists",
                    "The role assignment already exists.",
                ));
            }
            let made = call.session.assign_role(new).await?;
            let _ = inner;
            Ok(Answer::new(StatusCode::CREATED, assignment_json(&made, kind)))
        }
    }
}

fn definition_json(call: &Call, role: &RoleDefinition) -> Value {
    let written = serde_json::to_value(role).unwrap_or_default();
    let list = |name: &str| written.get(name).cloned().unwrap_or_else(|| json!([]));
    let subscription = if call.segment(0).eq_ignore_ascii_case("subscriptions") { call.segment(1) } else { "" };
    let built_in = BuiltInRole::ALL.iter().any(|known| known.id() == *role.id());
    let scopes: Vec<String> = role.assignable_scopes().iter().map(scope_text).collect();
    json!({
        "id": definition_id(subscription, role.id()),
        "name": role.id(),
        "type": "Microsoft.Authorization/roleDefinitions",
        "properties": {
            "roleName": role.role_name(),
            "type": if built_in { "BuiltInRole" } else { "CustomRole" },
            "description": "",
            "assignableScopes": if scopes.is_empty() { vec!["/".to_owned()] } else { scopes },
            "permissions": [{
                "actions": list("actions"), "notActions": list("notActions"), "dataActions": list("dataActions"),
                "notDataActions": list("notDataActions"),
            }],
        },
    })
}

fn definitions(inner: &Inner, call: &Call, _here: &AccessScope) -> Answered {
    let name = filtered(call, "rolename");
    let roles = BuiltInRole::ALL.iter().map(|role| role.definition());
    let wanted = roles.filter(|role| name.as_ref().is_none_or(|name| name.eq_ignore_ascii_case(role.role_name())));
    let keyed = wanted.map(|role| (role.id().to_string(), role));
    Paging::of(call, &inner.settings)?.of_all(keyed, |role| Ok(definition_json(call, &role)))
}

fn denial_json(denial: &DenyAssignment) -> Value {
    let scope = scope_text(&denial.scope);
    let principal = |id: &PrincipalId| json!({"id": id, "type": "ServicePrincipal"});
    let everybody = json!({"id": "00000000-0000-0000-0000-000000000000", "type": "SystemDefined"});
    let principals: Vec<Value> = match denial.to.is_everybody() {
        true => vec![everybody],
        false => denial.to.principals().iter().map(principal).collect(),
    };
    let except: Vec<Value> = denial.to.except().iter().map(principal).collect();
    json!({
        "id": format!("{}/providers/Microsoft.Authorization/denyAssignments/{}", scope.trim_end_matches('/'), denial.id),
        "name": denial.id,
        "type": "Microsoft.Authorization/denyAssignments",
        "properties": {
            "denyAssignmentName": denial.id, "description": "", "scope": scope, "doNotApplyToChildScopes": false,
            "isSystemProtected": false, "principals": principals, "excludePrincipals": except,
            "permissions": [{
                "actions": denial.actions, "notActions": denial.not_actions, "dataActions": [], "notDataActions": [],
            }],
        },
    })
}
