//! Giving and taking roles, denying, and sharing galleries.

use std::sync::Arc;

use super::pending::Change;
use crate::access::{
    AccessScope, Action, AssignmentId, DenyAssignment, GallerySharing, RoleAssignment, RoleDefinition, RoleId,
    SharingUpdate,
};
use crate::catalog::{Event, State};
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::model::{Gallery, GalleryId, SharingPermissions, SharingProfile};
use crate::service::read::view::CatalogView;
use crate::service::rules::refusals::missing;
use crate::service::session::inner::Inner;
use crate::service::session::plan::Plan;
use crate::service::session::rights::Need;
use crate::service::session::session::Session;

impl Session {
    /// Makes a role of your own, or changes one: all assignments of it then mean the new one. The caller must be allowed
    /// to at each of its assignable scopes, old and new, and wherever it is assigned; a role that may be assigned anywhere is an
    /// administrator's to make.
    ///
    /// # Errors
    ///
    /// `Forbidden`; `Conflict` for the id of a built-in role, and (`RoleDefinitionHasAssignments`) where an assignment would be
    /// left outside of the assignable scopes; `Unavailable`, `StorageFull`, `Unknown`.
    pub fn define_role(&self, role: RoleDefinition) -> Change<RoleDefinition> {
        let (defined, session) = (role.clone(), self.clone());
        let judge = move |state: &State, _: &Inner| {
            let old = state.access().custom_roles().find(|old| old.id() == role.id());
            // A role that changes is changed where it was, and where it is assigned, too.
            let may = old.into_iter().all(|old| may_change(&session, state, Action::WriteRoleDefinition, old));
            if !may || !may_change(&session, state, Action::WriteRoleDefinition, &role) {
                return Plan::refused(vec![not_theirs(&session, Action::WriteRoleDefinition)]);
            }
            let is_outside =
                |there: &&Arc<RoleAssignment>| role.problem_with(&there.scope, &session.above(&there.scope)).is_some();
            if let Some(outside) = assigned(&session, state, role.id()).find(is_outside) {
                let what = "it is assigned outside of the scopes that it is to be assignable in";
                return Plan::refused(vec![has_assignments(&session, state, role.id(), outside, what)]);
            }
            let is_built_in = crate::access::BuiltInRole::ALL.iter().any(|built_in| built_in.id() == *role.id());
            if is_built_in {
                let what = "it is the id of a built-in role: choose another";
                let problem = Problem::new(ErrorKind::Conflict, "RoleDefinitionExists", role.id().to_string(), what);
                return Plan::refused(vec![problem]);
            }
            match old {
                Some(old) if **old == role => Plan::default(),
                _ => Plan::of_event(Vec::new(), Event::RoleDefined { role: role.clone() }),
            }
        };
        Change::new(self, Vec::new(), judge, |_| defined)
    }

    /// Deletes a role of your own. What does not exist is deleted already.
    ///
    /// # Errors
    ///
    /// `Forbidden`; `Conflict` where it is assigned; `Unavailable`, `StorageFull`, `Unknown`.
    pub fn delete_role(&self, role: &RoleId) -> Change<()> {
        let (id, session) = (role.clone(), self.clone());
        let judge = move |state: &State, _: &Inner| {
            let Some(role) = state.access().custom_roles().find(|role| *role.id() == id) else {
                // Whether there is one is for administrators to know.
                let known = session.rights().is_administrator();
                let refused = || Plan::refused(vec![not_theirs(&session, Action::DeleteRoleDefinition)]);
                return if known { Plan::default() } else { refused() };
            };
            if !may_change(&session, state, Action::DeleteRoleDefinition, role) {
                return Plan::refused(vec![not_theirs(&session, Action::DeleteRoleDefinition)]);
            }
            if let Some(there) = assigned(&session, state, &id).next() {
                return Plan::refused(vec![has_assignments(&session, state, &id, there, "it is assigned")]);
            }
            // What has ended with a version's retention is still in the catalog.
            let ended = state.access().assignments_of(&id).map(unassigned);
            let events = ended.chain([Event::RoleDeleted { role: id.clone() }]).collect();
            Plan { events, ..Plan::default() }
        };
        Change::new(self, Vec::new(), judge, |_| ())
    }

    /// Gives a principal a role at a scope. Assigning the same again succeeds and changes nothing.
    ///
    /// # Errors
    ///
    /// `Forbidden`; `NotFound` without the role or the resource, or where the principal is not in the scope's tenant;
    /// `AlreadyExists` where the assignment's id is taken at its scope; `Invalid` where the role may not be assigned there; `Unavailable`, `StorageFull`, `Unknown`.
    pub fn assign_role(&self, assignment: RoleAssignment) -> Change<RoleAssignment> {
        let needs = vec![Need::new(Action::WriteRoleAssignment, assignment.scope.clone())];
        let (assigned, session) = (assignment.clone(), self.clone());
        let judge = move |state: &State, _: &Inner| {
            if let Some(absent) = absent(&session, state, &assignment.scope) {
                return Plan::refused(vec![absent]);
            }
            match state.access().assignment(&assignment.scope, &assignment.id) {
                Some(there) if **there == assignment => return Plan::default(),
                Some(_) => return Plan::refused(vec![taken(&assignment.id)]),
                None => {}
            }
            let above = session.above(&assignment.scope);
            let unknown = session.unknown_principal(&assignment.principal, &assignment.scope);
            let problems = state.access().problem_with(&assignment, &above).into_iter().chain(unknown).collect();
            Plan::of_event(problems, Event::RoleAssigned { assignment: assignment.clone() })
        };
        Change::new(self, needs, judge, |_| assigned)
    }

    /// Takes a role away again: effective for the very next call. What is not assigned is taken away already.
    ///
    /// # Errors
    ///
    /// `Forbidden`; `Unavailable`, `StorageFull`, `Unknown`.
    pub fn unassign_role(&self, scope: impl Into<AccessScope>, assignment: &AssignmentId) -> Change<()> {
        let (scope, id) = (scope.into(), assignment.clone());
        let needs = vec![Need::new(Action::DeleteRoleAssignment, scope.clone())];
        let judge = move |state: &State, _: &Inner| Plan {
            events: state.access().assignment(&scope, &id).map(unassigned).into_iter().collect(),
            ..Plan::default()
        };
        Change::new(self, needs, judge, |_| ())
    }

    /// Denies something at a scope, whatever roles allow. Denying the same again succeeds and changes nothing.
    ///
    /// # Errors
    ///
    /// `Forbidden`; `NotFound` without the resource, or where a principal is not in the scope's tenant; `AlreadyExists` where
    /// the id is taken at its scope; `Unavailable`, `StorageFull`, `Unknown`.
    pub fn deny(&self, denial: DenyAssignment) -> Change<DenyAssignment> {
        let needs = vec![Need::new(Action::WriteDenyAssignment, denial.scope.clone())];
        let (denied, session) = (denial.clone(), self.clone());
        let judge = move |state: &State, _: &Inner| {
            if let Some(absent) = absent(&session, state, &denial.scope) {
                return Plan::refused(vec![absent]);
            }
            match state.access().denial(&denial.scope, &denial.id) {
                Some(there) if **there == denial => Plan::default(),
                Some(_) => Plan::refused(vec![taken(&denial.id)]),
                None => {
                    let named = denial.to.principals().iter().chain(denial.to.except());
                    let problems = named.filter_map(|principal| session.unknown_principal(principal, &denial.scope));
                    Plan::of_event(problems.collect(), Event::DenyAssigned { denial: denial.clone() })
                }
            }
        };
        Change::new(self, needs, judge, |_| denied)
    }

    /// No longer denies it. What is not denied is taken back already.
    ///
    /// # Errors
    ///
    /// As [`unassign_role`](Self::unassign_role).
    pub fn undeny(&self, scope: impl Into<AccessScope>, denial: &AssignmentId) -> Change<()> {
        let (scope, id) = (scope.into(), denial.clone());
        let needs = vec![Need::new(Action::DeleteDenyAssignment, scope.clone())];
        let judge = move |state: &State, _: &Inner| {
            let there = state.access().denial(&scope, &id);
            let event = there.map(|_| Event::DenyUnassigned { denial: id.clone(), scope: scope.clone() });
            Plan { events: event.into_iter().collect(), ..Plan::default() }
        };
        Change::new(self, needs, judge, |_| ())
    }

    /// Shares a gallery with subscriptions and tenants, or with everybody; or no longer. Answers with whom it is shared
    /// now. A community gallery that is reset has the permissions `Private` again.
    ///
    /// # Errors
    ///
    /// `Forbidden` (it takes an Owner or a Compute Gallery Sharing Admin); `NotFound`; `Conflict` where the gallery was not
    /// created for it; `LimitReached` beyond 30 subscriptions or 5 tenants; `Unavailable`, `StorageFull`, `Unknown`.
    pub fn share_gallery(&self, gallery: &GalleryId, update: SharingUpdate) -> Change<GallerySharing> {
        let (id, needs) = (gallery.clone(), vec![Need::new(Action::ShareGallery, gallery)]);
        // Drawn once: an operation that is tried again means the same name.
        let suffix = self.inner.draw::<16>().map(|bytes| format!("{:032x}", u128::from_be_bytes(bytes)));
        let judge = move |state: &State, inner: &Inner| {
            let Some((gallery, old)) = state.gallery(&id).zip(state.sharing(&id)) else {
                return Plan::refused(vec![missing(&id)]);
            };
            let suffix = match &suffix {
                Ok(suffix) => suffix,
                Err(error) => return Plan::refused(error.clone().into_problems()),
            };
            let info = gallery.sharing_profile().and_then(|profile| profile.community_gallery_info());
            let prefix = info.map_or("", |info| info.public_name_prefix.as_str());
            let new = old.after(&update, &format!("{prefix}-{suffix}"));
            let problems: Vec<Problem> = sharing_problems(inner, gallery, &update, &new);
            if !problems.is_empty() {
                return Plan::refused(problems);
            }
            let mut plan = Plan::default();
            if new != *old {
                plan.events.push(Event::GalleryShared { gallery: id.clone(), sharing: new });
            }
            if update == SharingUpdate::Reset && gallery.permissions() == SharingPermissions::Community {
                // As in the service: a community gallery that is reset is private.
                let private = SharingProfile::new(SharingPermissions::Private);
                let gallery = Gallery::clone(gallery).with_sharing_profile(private);
                plan.events.push(Event::GalleryUpdated { gallery });
            }
            plan
        };
        let (session, id) = (self.clone(), gallery.clone());
        let now = move |plan: Plan| {
            let shared = plan.events.into_iter().find_map(|event| match event {
                Event::GalleryShared { sharing, .. } => Some(sharing),
                _ => None,
            });
            shared.unwrap_or_else(|| session.inner.catalog.snapshot().sharing(&id).cloned().unwrap_or_default())
        };
        Change::new(self, needs, judge, now)
    }
}

/// Whether the caller may make, change or delete a role: they must have the right at each scope where it may be assigned, and at
/// each where it is; one that may be assigned anywhere is an administrator's.
fn may_change(session: &Session, state: &State, action: Action, role: &RoleDefinition) -> bool {
    let rights = session.rights();
    let (assignable, assigned) = (role.assignable_scopes(), assigned(session, state, role.id()));
    let mut scopes = assignable.iter().chain(assigned.map(|assignment| &assignment.scope));
    rights.is_administrator() || (!assignable.is_empty() && scopes.all(|scope| rights.may(state, action, scope)))
}

/// The assignments of a role that have not ended.
fn assigned<'a>(
    session: &Session,
    state: &'a State,
    role: &'a RoleId,
) -> impl Iterator<Item = &'a Arc<RoleAssignment>> {
    let rights = session.rights();
    state.access().assignments_of(role).filter(move |assignment| rights.stands(state, &assignment.scope))
}

fn unassigned(assignment: &Arc<RoleAssignment>) -> Event {
    Event::RoleUnassigned { assignment: assignment.id.clone(), scope: assignment.scope.clone() }
}

/// The assignment is named to those who may see it.
fn has_assignments(session: &Session, state: &State, role: &RoleId, there: &RoleAssignment, what: &str) -> Problem {
    let which = match session.rights().may(state, Action::ReadRoleAssignment, &there.scope) {
        true => format!("such as `{}` at `{}`", there.id, there.scope),
        false => "which you may not see".to_owned(),
    };
    let what = format!("{what}, {which}: take that away first");
    Problem::new(ErrorKind::Conflict, "RoleDefinitionHasAssignments", role.to_string(), what)
}

/// A resource of the gallery's that there is not has no assignments: they would pass on to what is created there.
fn absent(session: &Session, state: &State, scope: &AccessScope) -> Option<Problem> {
    let AccessScope::Resource(id) = scope else { return None };
    let is_absent = state.is_missing(scope) || state.has_ended(scope, session.inner.log_time());
    is_absent.then(|| missing(id.clone()))
}

/// The same, whether there is such a role or not.
fn not_theirs(session: &Session, action: Action) -> Problem {
    let what = format!(
        "The client '{}' does not have authorization to perform action '{action}' at every scope where the role may be \
         assigned, or there is no such role: give it assignable scopes of yours, or ask an administrator.",
        session.caller()
    );
    Problem::forbidden(action.as_str(), what)
}

fn taken(id: &AssignmentId) -> Problem {
    let what = "there is another one of that id: choose another";
    Problem::new(ErrorKind::AlreadyExists, "RoleAssignmentExists", id.to_string(), what)
}

/// What is wrong with sharing a gallery so.
fn sharing_problems(inner: &Inner, gallery: &Gallery, update: &SharingUpdate, new: &GallerySharing) -> Vec<Problem> {
    const TARGET: &str = "gallery.properties.sharingProfile";
    let permissions = gallery.sharing_profile().map(|profile| profile.permissions()).unwrap_or_default();
    let needed = match update {
        SharingUpdate::Add { .. } => Some(SharingPermissions::Groups),
        SharingUpdate::EnableCommunity => Some(SharingPermissions::Community),
        SharingUpdate::Remove { .. } | SharingUpdate::Reset => None,
    };
    let mut problems = Vec::new();
    if let Some(needed) = needed.filter(|needed| *needed != permissions) {
        let what = format!(
            "the gallery's sharing permissions are `{permissions:?}`, for this they must be `{needed:?}`, which is said when \
             a gallery is created"
        );
        problems.push(Problem::conflict(TARGET, what));
    }
    let limits = &inner.limits;
    let counts = [
        ("subscriptions", new.subscriptions.len(), limits.shared_subscriptions()),
        ("tenants", new.tenants.len(), limits.shared_tenants()),
    ];
    let grows = matches!(update, SharingUpdate::Add { .. });
    for (what, count, most) in counts.into_iter().filter(|(_, count, most)| grows && count > most) {
        let what = format!("it would be shared with `{count}` {what}, at most {most} are allowed: take some out");
        problems.push(Problem::limit_reached(TARGET, what));
    }
    problems
}

impl CatalogView {
    /// The role assignments that the caller may see, by scope and id.
    pub fn role_assignments(&self) -> Vec<Arc<RoleAssignment>> {
        self.state().access().assignments().filter(|assignment| self.sees(&assignment.scope)).cloned().collect()
    }

    /// The deny assignments that the caller may see, by scope and id.
    pub fn deny_assignments(&self) -> Vec<Arc<DenyAssignment>> {
        self.state().access().denials().filter(|denial| self.sees(&denial.scope)).cloned().collect()
    }

    /// Whether the caller may see what is assigned and denied at a scope, where that holds still.
    fn sees(&self, scope: &AccessScope) -> bool {
        self.may(Action::ReadRoleAssignment, scope.clone()) && self.rights().stands(self.state(), scope)
    }

    /// With whom a gallery is shared, beyond role assignments.
    ///
    /// # Errors
    ///
    /// `Forbidden`, `NotFound`.
    pub fn gallery_sharing(&self, gallery: &GalleryId) -> Result<GallerySharing> {
        self.require(Action::ReadGallery, gallery)?;
        self.state().sharing(gallery).cloned().ok_or_else(|| Error::new(missing(gallery)))
    }
}
