//! Truncation of the audit trail.

use crate::catalog::Truncation;
use crate::error::Result;
use crate::service::session::session::Session;

/// What [`Session::truncate_history`] has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryTruncation {
    /// The history begins after this commit.
    pub begins_after: u64,
    /// How many entries were replaced. One has the operations that were committed together.
    pub replaced: u64,
}

/// # Truncation
impl Session {
    /// Forgets who did what up to commit `up_to`: replaces the entries of the log by tombstones of 230 bytes. Nothing else
    /// does that, and it cannot be undone. What exists stays as it is.
    ///
    /// Of the newest entries, those are kept that the older of the catalog's two newest checkpoints does not have: 64 to 256. Both
    /// are read in full first. A truncation that was interrupted is finished by the next.
    ///
    /// # Errors
    ///
    /// `Forbidden` for callers who are not administrators; `Conflict` before the catalog has two checkpoints; `Corrupt` if one of
    /// them is damaged, or the log has a hole: nothing is replaced then. `Unavailable`, `Unknown` where the store fails: some
    /// entries may be replaced.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::host::Workers;
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::builder().service(|builder| builder.workers(Workers::inline())).build().await?;
    /// # let session = sandbox.session();
    /// # let image = sandbox.image();
    /// use futures::TryStreamExt;
    ///
    /// let gallery = (*session.view().gallery(image.gallery())?).clone();
    /// for number in 0..192 {
    ///     session.update_gallery(gallery.clone().with_description(format!("{number} times"))).await?;
    /// }
    /// let truncation = session.truncate_history(20).await?;
    /// assert_eq!(truncation.begins_after, 20);
    /// let left: Vec<_> = session.history(session.history_begins_after().await?).try_collect().await?;
    /// assert_eq!(left[0].number, 21);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn truncate_history(&self, up_to: u64) -> Result<HistoryTruncation> {
        self.require_administrator("truncate the history")?;
        let Truncation { boundary, replaced } = self.inner.catalog.truncate(self.caller(), up_to).await?;
        Ok(HistoryTruncation { begins_after: boundary, replaced })
    }

    /// Returns the commit after which the history begins: 0 until it is truncated.
    ///
    /// # Errors
    ///
    /// `Forbidden` for callers who are not administrators; `Unavailable` where the store fails.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// assert_eq!(sandbox.session().history_begins_after().await?, 0);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn history_begins_after(&self) -> Result<u64> {
        self.require_administrator("see where the history begins")?;
        self.inner.catalog.boundary().await
    }
}
