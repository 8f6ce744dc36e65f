//! A caller's way into the gallery.

use std::sync::Arc;

use futures::stream::{Stream, TryStreamExt};

use super::authority::Rights;
use super::inner::Inner;
use crate::access::{Action, Caller};
use crate::catalog::{Authorization, Commit, State};
use crate::error::Result;

/// The gallery as one caller uses it. Every call goes through a session: the place where access is decided.
///
/// Reads are made on a [`CatalogView`](crate::CatalogView): [`refresh`](Self::refresh) looks for the commits of other
/// processes first.
#[derive(Clone, Debug)]
pub struct Session {
    pub(crate) inner: Arc<Inner>,
    pub(crate) caller: Caller,
}

impl Session {
    /// On whose behalf the session works.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Every commit after number `after` (0 is the beginning), oldest first, read from the log: who did what, when, and
    /// what allowed it. Only what concerns something that the caller may see now; which assignment allowed it only where
    /// they may read assignments.
    pub fn history(&self, after: u64) -> impl Stream<Item = Result<Commit>> {
        let (rights, state) = (self.rights(), self.inner.catalog.snapshot());
        self.inner.catalog.history(after).try_filter_map(move |commit| {
            let is_seen = match commit.event.seen_by() {
                Some((action, scope)) => rights.may(&state, action, &scope),
                None => rights.is_administrator(),
            };
            std::future::ready(Ok(is_seen.then(|| told(commit, &rights, &state))))
        })
    }

    /// The newest state.
    pub(crate) async fn state(&self) -> Result<Arc<State>> {
        self.inner.catalog.refresh().await
    }
}

/// A commit without the names that the reader may not know.
fn told(commit: Commit, rights: &Rights, state: &State) -> Commit {
    let tell = |authorization: Authorization| match &authorization.scope {
        Some(scope) if !rights.may(state, Action::ReadRoleAssignment, scope) => authorization.without_names(),
        _ => authorization,
    };
    Commit { authorization: commit.authorization.map(tell), ..commit }
}
