//! The driver of a face: it carries on what requests have asked for.

use futures::future::{AbortHandle, Abortable};

use super::face::Arm;
use crate::error::Error;

impl Arm {
    /// Drives the service of a face that is [`driven`](super::ArmBuilder::driven), for good: let the host's runtime poll it, and drop it to
    /// stop. Pending for ever on a face that is not driven.
    ///
    /// Returns why it cannot go on, as [`Driver::run`](crate::drive::Driver::run) does.
    ///
    /// ```
    /// # #[cfg(feature = "arm")] {
    /// use compute_gallery::GalleryService;
    /// use compute_gallery::arm::ArmBuilder;
    /// use compute_gallery::store::MemoryStore;
    /// use futures::FutureExt;
    ///
    /// # futures::executor::block_on(async {
    /// let service = GalleryService::builder().allow_all().store(MemoryStore::new()).create().await?;
    /// let arm = ArmBuilder::new(service).driven("driver".parse()?).build();
    /// let mut driving = Box::pin(arm.drive());
    /// assert!((&mut driving).now_or_never().is_none(), "it waits for something to do");
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// # }
    /// ```
    pub async fn drive(&self) -> Error {
        let Some(caller) = &self.inner.drive.caller else { return std::future::pending().await };
        loop {
            let (abort, registration) = AbortHandle::new_pair();
            let driver = {
                // One that is replaced later finds this driver, and stops it.
                let service = self.inner.service.read();
                self.inner.drive.running.lock().push(abort);
                service.session(caller.clone()).driver()
            };
            if let Ok(error) = Abortable::new(driver.run(), registration).await {
                return error;
            }
        }
    }
}
