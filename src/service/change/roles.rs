//! Roles, role assignments, denials, and sharing of galleries.

use std::sync::Arc;

use super::pending::Change;
use crate::access::{
    AccessScope, Action, AssignmentId, DenyAssignment, GallerySharing, RoleAssignment, RoleDefinition, RoleId,
    SharingUpdate,
};
use crate::catalog::{Event, OperationKind, State};
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::model::{Gallery, GalleryId, SharingPermissions, SharingProfile, given};
use crate::service::read::view::CatalogView;
use crate::service::rules::refusals::missing;
use crate::service::session::inner::Inner;
use crate::service::session::plan::Plan;
use crate::service::session::rights::Need;
use crate::service::session::session::Session;

/// # Roles, denials and sharing
impl Session {
    /// Creates or replaces a custom role, also for its existing assignments. The caller needs the permission at each
    /// assignable scope, old and new, and at each scope where the role is assigned. Only administrators define a role that
    /// may be assigned anywhere.
    ///
    /// # Errors
    ///
    /// `Forbidden`; `Conflict` for the id of a built-in role, and (`RoleDefinitionHasAssignments`) if an assignment would
    /// be outside the assignable scopes; `Unavailable`, `StorageFull`, `Unknown`.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::access::{Action, RoleDefinition};
    ///
    /// let role = RoleDefinition::new("publisher", "Publisher")?.with_actions(["Microsoft.Compute/galleries/images/*"])?;
    /// assert!(session.define_role(role).await?.allows(Action::WriteVersion));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
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
                let what = "it is assigned outside of its new assignable scopes";
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
        Change::new(self, Vec::new(), judge, move |_| defined.clone())
    }

    /// Deletes a custom role. Deleting a role that does not exist succeeds.
    ///
    /// # Errors
    ///
    /// `Forbidden`; `Conflict` if it is assigned; `Unavailable`, `StorageFull`, `Unknown`.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::access::RoleDefinition;
    ///
    /// let role = session.define_role(RoleDefinition::new("publisher", "Publisher")?).await?;
    /// session.delete_role(role.id()).await?;
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn delete_role(&self, role: impl TryInto<RoleId, Error: Into<Error>>) -> Change<()> {
        Change::of(given(role), |role| self.role_deleted(role))
    }

    fn role_deleted(&self, id: RoleId) -> Change<()> {
        let session = self.clone();
        let judge = move |state: &State, _: &Inner| {
            let Some(role) = state.access().custom_roles().find(|role| *role.id() == id) else {
                // Only administrators learn whether it exists.
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
            // Assignments that ended with a version's retention are still in the catalog.
            let ended = state.access().assignments_of(&id).map(unassigned);
            let events = ended.chain([Event::RoleDeleted { role: id.clone() }]).collect();
            Plan { events, ..Plan::default() }
        };
        Change::new(self, Vec::new(), judge, |_| ())
    }

    /// Assigns a role to a principal at a scope. Repeating an assignment succeeds and changes nothing.
    ///
    /// # Errors
    ///
    /// `Forbidden`; `NotFound` without the role or the resource, or if the principal is not in the scope's tenant;
    /// `AlreadyExists` if another assignment at the scope has the id; `Invalid` if the role may not be assigned there;
    /// `Unavailable`, `StorageFull`, `Unknown`.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// use compute_gallery::access::{AccessScope, Action, BuiltInRole, MemoryDirectory, RoleAssignment};
    ///
    /// let directory = MemoryDirectory::new();
    /// let ann = directory.add_user("ann", &"contoso".parse()?)?;
    /// directory.add_subscription("dev".parse()?, "contoso".parse()?, None)?;
    /// let sandbox = Sandbox::builder().directory(directory).build().await?;
    ///
    /// let gallery: AccessScope = sandbox.image().gallery().into();
    /// let reader = RoleAssignment::new("ann reads", ann, BuiltInRole::Reader.id(), gallery.clone())?;
    /// sandbox.session().assign_role(reader).await?;
    /// assert!(sandbox.session_of("ann").explain_access(Action::ReadGallery, &gallery).is_allowed());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
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
        Change::new(self, needs, judge, move |_| assigned.clone())
    }

    /// Removes a role assignment, with effect from the next call on. Removing an assignment that does not exist succeeds.
    ///
    /// # Errors
    ///
    /// `Forbidden`; `Unavailable`, `StorageFull`, `Unknown`.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::access::{BuiltInRole, RoleAssignment};
    ///
    /// let gallery = sandbox.image().gallery();
    /// let reader = RoleAssignment::new("ann reads", "ann".parse()?, BuiltInRole::Reader.id(), gallery)?;
    /// let reader = session.assign_role(reader).await?;
    /// session.unassign_role(gallery, &reader.id).await?;
    /// assert!(session.view().role_assignments().is_empty());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn unassign_role(
        &self,
        scope: impl Into<AccessScope>,
        assignment: impl TryInto<AssignmentId, Error: Into<Error>>,
    ) -> Change<()> {
        Change::of(given(assignment), |assignment| self.role_unassigned(scope.into(), assignment))
    }

    fn role_unassigned(&self, scope: AccessScope, id: AssignmentId) -> Change<()> {
        let needs = vec![Need::new(Action::DeleteRoleAssignment, scope.clone())];
        let judge = move |state: &State, _: &Inner| Plan {
            events: state.access().assignment(&scope, &id).map(unassigned).into_iter().collect(),
            ..Plan::default()
        };
        Change::new(self, needs, judge, |_| ()).of_marked_too()
    }

    /// Denies actions at a scope, which beats every role. Repeating a denial succeeds and changes nothing.
    ///
    /// # Errors
    ///
    /// `Forbidden`; `NotFound` without the resource, or if a principal is not in the scope's tenant; `AlreadyExists` if
    /// another deny assignment at the scope has the id; `Unavailable`, `StorageFull`, `Unknown`.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::access::DenyAssignment;
    ///
    /// let gallery = sandbox.image().gallery();
    /// let frozen = DenyAssignment::to_everybody_but("frozen", ["release".parse()?], ["*/write"], gallery)?;
    /// session.deny(frozen).await?;
    /// assert_eq!(session.view().deny_assignments().len(), 1);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
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
        Change::new(self, needs, judge, move |_| denied.clone()).of_marked_too()
    }

    /// Removes a deny assignment. Removing one that does not exist succeeds.
    ///
    /// # Errors
    ///
    /// As [`unassign_role`](Self::unassign_role).
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::access::DenyAssignment;
    ///
    /// let gallery = sandbox.image().gallery();
    /// let frozen = DenyAssignment::to_everybody_but("frozen", ["release".parse()?], ["*/write"], gallery)?;
    /// let frozen = session.deny(frozen).await?;
    /// session.undeny(gallery, &frozen.id).await?;
    /// assert!(session.view().deny_assignments().is_empty());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn undeny(
        &self,
        scope: impl Into<AccessScope>,
        denial: impl TryInto<AssignmentId, Error: Into<Error>>,
    ) -> Change<()> {
        Change::of(given(denial), |denial| self.undenied(scope.into(), denial))
    }

    fn undenied(&self, scope: AccessScope, id: AssignmentId) -> Change<()> {
        let needs = vec![Need::new(Action::DeleteDenyAssignment, scope.clone())];
        let judge = move |state: &State, _: &Inner| {
            let there = state.access().denial(&scope, &id);
            let event = there.map(|_| Event::DenyUnassigned { denial: id.clone(), scope: scope.clone() });
            Plan { events: event.into_iter().collect(), ..Plan::default() }
        };
        Change::new(self, needs, judge, |_| ())
    }

    /// Changes the sharing of a gallery with subscriptions and tenants, or with everybody, and returns the new sharing.
    /// Resetting a community gallery makes its permissions `Private` again.
    ///
    /// # Errors
    ///
    /// `Forbidden` (it needs the role Owner or Compute Gallery Sharing Admin); `NotFound`; `Conflict` if the gallery was
    /// not created with these sharing permissions; `LimitReached` above 30 subscriptions or 5 tenants, by default;
    /// `Unavailable`, `StorageFull`, `Unknown`.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::access::SharingUpdate;
    ///
    /// // The sandbox's gallery was created as private.
    /// let error = session.share_gallery(sandbox.image().gallery(), SharingUpdate::EnableCommunity).await.unwrap_err();
    /// assert!(error.to_string().contains("`Private`"));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn share_gallery(
        &self,
        gallery: impl TryInto<GalleryId, Error: Into<Error>>,
        update: SharingUpdate,
    ) -> Change<GallerySharing> {
        Change::of(given(gallery), |gallery| self.gallery_shared(gallery, update))
    }

    fn gallery_shared(&self, shared: GalleryId, update: SharingUpdate) -> Change<GallerySharing> {
        let (id, needs) = (shared.clone(), vec![Need::new(Action::ShareGallery, &shared)]);
        // Drawn once: a retried operation means the same name.
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
        let (session, id) = (self.clone(), shared);
        let now = move |plan: Plan| {
            let shared = plan.events.into_iter().find_map(|event| match event {
                Event::GalleryShared { sharing, .. } => Some(sharing),
                _ => None,
            });
            shared.unwrap_or_else(|| session.inner.catalog.snapshot().sharing(&id).cloned().unwrap_or_default())
        };
        Change::new(self, needs, judge, now).of_kind(OperationKind::Share)
    }
}

/// Whether the caller may define or delete a role: at each assignable scope and each scope where it is assigned. Only
/// administrators may, for a role that may be assigned anywhere.
fn may_change(session: &Session, state: &State, action: Action, role: &RoleDefinition) -> bool {
    let rights = session.rights();
    let (assignable, assigned) = (role.assignable_scopes(), assigned(session, state, role.id()));
    let mut scopes = assignable.iter().chain(assigned.map(|assignment| &assignment.scope));
    rights.is_administrator() || (!assignable.is_empty() && scopes.all(|scope| rights.may(state, action, scope)))
}

/// Returns the assignments of a role that are in force.
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

/// The problem of a role with assignments. Callers who may see the assignment are told its name.
fn has_assignments(session: &Session, state: &State, role: &RoleId, there: &RoleAssignment, what: &str) -> Problem {
    let which = match session.rights().may(state, Action::ReadRoleAssignment, &there.scope) {
        true => format!("such as `{}` at `{}`", there.id, there.scope),
        false => "which you may not see".to_owned(),
    };
    let what = format!("{what}, {which}: take that away first");
    Problem::new(ErrorKind::Conflict, "RoleDefinitionHasAssignments", role.to_string(), what)
}

/// Returns the problem of a missing resource: it takes no assignments, because a resource created there later would have
/// them.
fn absent(session: &Session, state: &State, scope: &AccessScope) -> Option<Problem> {
    let AccessScope::Resource(id) = scope else { return None };
    let is_absent = state.is_missing(scope) || state.has_ended(scope, session.inner.log_time());
    is_absent.then(|| missing(id.clone()))
}

/// One answer whether or not the role exists.
fn not_theirs(session: &Session, action: Action) -> Problem {
    let what = format!(
        "client `{}` does not have authorization to perform action `{action}` at every scope where the role may be \
         assigned, or the role does not exist: use assignable scopes of yours, or ask an administrator",
        session.caller()
    );
    Problem::forbidden(action.as_str(), what)
}

fn taken(id: &AssignmentId) -> Problem {
    let what = "another assignment at the scope has this id: choose another id";
    Problem::new(ErrorKind::AlreadyExists, "RoleAssignmentExists", id.to_string(), what)
}

/// Returns the problems with a change of a gallery's sharing.
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
            "the gallery's sharing permissions are `{permissions}` and must be `{needed}`: create a gallery with these \
             permissions"
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
        let what = format!("it would be shared with `{count}` {what}, at most {most} are allowed: remove some");
        problems.push(Problem::new(ErrorKind::LimitReached, "OperationNotAllowed", TARGET, what));
    }
    problems
}

/// # Access
impl CatalogView {
    /// Returns the role assignments that the caller may see, ordered by scope and id.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// assert!(session.view().role_assignments().is_empty());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn role_assignments(&self) -> Vec<Arc<RoleAssignment>> {
        self.state().access().assignments().filter(|assignment| self.sees(&assignment.scope)).cloned().collect()
    }

    /// Returns the deny assignments that the caller may see, ordered by scope and id.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// assert!(session.view().deny_assignments().is_empty());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn deny_assignments(&self) -> Vec<Arc<DenyAssignment>> {
        self.state().access().denials().filter(|denial| self.sees(&denial.scope)).cloned().collect()
    }

    /// Whether the caller may see assignments at a scope, and they are in force.
    fn sees(&self, scope: &AccessScope) -> bool {
        self.may(Action::ReadRoleAssignment, scope.clone()) && self.rights().stands(self.state(), scope)
    }

    /// Returns the sharing of a gallery beyond role assignments.
    ///
    /// # Errors
    ///
    /// `Forbidden`, `NotFound`.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// assert!(session.view().gallery_sharing(sandbox.image().gallery())?.is_empty());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn gallery_sharing(&self, gallery: impl TryInto<GalleryId, Error: Into<Error>>) -> Result<GallerySharing> {
        let gallery = &given(gallery)?;
        self.require(Action::ReadGallery, gallery)?;
        self.state().sharing(gallery).cloned().ok_or_else(|| Error::new(missing(gallery)))
    }
}
