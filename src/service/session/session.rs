//! A caller's way into the gallery.

use std::sync::Arc;

use super::inner::Inner;
use crate::access::Caller;
use crate::catalog::State;
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

    /// The newest state.
    pub(crate) async fn state(&self) -> Result<Arc<State>> {
        self.inner.catalog.refresh().await
    }
}
