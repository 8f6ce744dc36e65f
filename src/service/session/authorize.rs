//! Access checks of a session. They come first, and go by the id of a resource, not by its existence: a refusal does not reveal
//! whether the resource exists.

use super::inner::Authority;
use super::rights::{Need, Rights};
use super::session::Session;
use crate::access::{
    AccessScope, Action, Authorization, Decision, PrincipalId, Principals, SharingMatrix, SharingRow, with_above,
};
use crate::catalog::State;
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::model::{GalleryId, ResourceId};

/// # Access decisions
impl Session {
    pub(crate) fn rights(&self) -> Rights {
        let principals = match &self.inner.authority {
            Authority::AllowAll => Principals::default(),
            Authority::Roles { directory, .. } => {
                let mut accounts = directory.memberships(&self.caller);
                accounts
                    .retain(|account| self.tenants.as_ref().is_none_or(|tenants| tenants.contains(&account.tenant)));
                Principals(accounts)
            }
        };
        Rights { caller: self.caller.clone(), inner: self.inner.clone(), principals }
    }

    /// Returns the first assignment that allows `needs`, or everything that is refused.
    pub(crate) fn authorize(&self, state: &State, needs: &[Need]) -> Result<Option<Authorization>> {
        self.rights().require(state, needs).or_else(|problems| Error::from_problems(problems).map(|()| None))
    }

    /// Returns the known scopes above `scope`.
    pub(crate) fn above(&self, scope: &AccessScope) -> Vec<AccessScope> {
        match &self.inner.authority {
            Authority::AllowAll => std::iter::successors(scope.parent(), AccessScope::parent).collect(),
            Authority::Roles { directory, .. } => with_above(&**directory, scope).into_iter().skip(1).collect(),
        }
    }

    /// Refuses callers that are not administrators: for operations on the whole catalog. `what` names the operation.
    pub(crate) fn require_administrator(&self, what: &str) -> Result<()> {
        if self.rights().is_administrator() {
            return Ok(());
        }
        let refused = format!("client `{}` does not have authorization to {what}: ask an administrator", self.caller());
        Err(Error::forbidden(what, refused))
    }

    /// As [`require_administrator`](Self::require_administrator), for what a janitor may do too.
    pub(crate) fn require_janitor(&self, what: &str) -> Result<()> {
        if self.rights().is_janitor() {
            return Ok(());
        }
        let refused = format!(
            "client `{}` does not have authorization to {what}: ask an administrator or a janitor",
            self.caller()
        );
        Err(Error::forbidden(what, refused))
    }

    /// Returns the problem with assigning to a principal at `scope`: it must exist, in the tenant of the scope.
    pub(crate) fn unknown_principal(&self, principal: &PrincipalId, scope: &AccessScope) -> Option<Problem> {
        let Authority::Roles { directory, .. } = &self.inner.authority else { return None };
        let wrong = |what: String| Some(Problem::new(ErrorKind::NotFound, "PrincipalNotFound", "principalId", what));
        let Some(theirs) = directory.tenant_of_principal(principal) else {
            return wrong(format!("the directory knows no principal `{principal}`: add it first, or correct the id"));
        };
        let of_scope = with_above(&**directory, scope).into_iter().find_map(|above| match above {
            AccessScope::TenantRoot(tenant) => Some(tenant),
            _ => None,
        });
        let other = of_scope.filter(|tenant| *tenant != theirs)?;
        wrong(format!(
            "principal `{principal}` does not exist in tenant `{other}`, which `{scope}` is in: invite the user as a guest, \
             or consent to the application, and name the account in that tenant"
        ))
    }

    /// Decides whether the caller may do `action` at `scope` now, and says why. Of a deny assignment only name and place
    /// are told, as in Azure, unless the caller may read role assignments there.
    ///
    /// ```
    /// use compute_gallery::GalleryService;
    /// use compute_gallery::access::{AccessScope, Action, MemoryDirectory};
    /// use compute_gallery::store::MemoryStore;
    ///
    /// # futures::executor::block_on(async {
    /// let directory = MemoryDirectory::new();
    /// directory.add_user("ann", &"contoso".parse()?)?;
    /// directory.add_subscription("dev".parse()?, "contoso".parse()?, None)?;
    /// let service = GalleryService::builder().store(MemoryStore::new()).directory(directory).open_or_create().await?;
    /// let session = service.session("ann".parse()?);
    /// let decision = session.explain_access(Action::WriteGallery, &AccessScope::Subscription("dev".parse()?));
    /// assert!(decision.to_string().contains("no role allows"));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn explain_access(&self, action: Action, scope: &AccessScope) -> Decision {
        self.rights().explain(&self.inner.catalog.snapshot(), action, scope)
    }

    /// Returns the sharing matrix of a gallery: the definitions and versions that the caller may read.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let matrix = session.sharing_matrix(image.gallery());
    /// assert!(matrix.to_string().contains("1.0.0"));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn sharing_matrix(&self, gallery: &GalleryId) -> SharingMatrix {
        let (state, rights) = (self.inner.catalog.snapshot(), self.rights());
        let may = |action, id: ResourceId| rights.may(&state, action, &id.into());
        let rows = state.definitions(gallery, None).filter_map(|definition| {
            let readable = |version: &crate::model::ImageVersionId| may(Action::ReadVersion, version.into());
            let there = state.versions(definition.id(), None).filter(|record| record.soft_deleted.is_none());
            let versions = there.map(|record| record.version.id());
            let versions: Vec<_> = versions.filter(|id| readable(id)).map(|id| id.number().to_string()).collect();
            let image = may(Action::ReadImage, definition.id().into());
            let name = definition.id().name().to_string();
            (image || !versions.is_empty()).then_some(SharingRow { name, image, versions })
        });
        let rows = rows.collect();
        SharingMatrix::new(may(Action::ReadGallery, gallery.into()) && state.gallery(gallery).is_some(), rows)
    }
}
