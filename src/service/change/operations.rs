//! Cancelling operations, and waiting for them.

use std::time::Duration;

use crate::access::{AccessScope, Action};
use crate::catalog::{BadEnd, Changes, Event, OperationId, OperationKind, OperationStatus, OperationTarget, State};
use crate::error::{Error, Result};
use crate::model::given;
use crate::service::read::operations::{Operation, no_operation};
use crate::service::rules::refusals::reason_of;
use crate::service::session::rights::{Need, write_action};
use crate::service::session::session::Session;

/// The code of what was cancelled.
pub(crate) const CANCELED: &str = "OperationCanceled";

/// The time between two looks of one who waits.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// # Operations
impl Session {
    /// Cancels an operation. Whatever carries it on stops at its next look; what has arrived stays.
    ///
    /// What is marked for deletion stays as it is. A version without content is `Failed` then, and putting it again tries it again. One that lacks replicas keeps those that it has: no
    /// driver goes on with it while the operation is kept, unless the version is put again with other properties. An operation that has
    /// ended stays as it is.
    ///
    /// # Errors
    ///
    /// `NotFound`, as for [`operation`](crate::CatalogView::operation); `Forbidden` for callers who may not write what it is on.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::read::{OperationStatus, ProvisioningState};
    /// use serde_json::json;
    ///
    /// let (id, vm) = (sandbox.version("1.0.0"), "/subscriptions/dev/resourceGroups/r/providers/Microsoft.Compute/virtualMachines/vm");
    /// let body = json!({"location": "westeurope", "properties": {"storageProfile": {"source": {"virtualMachineId": vm}}}});
    /// let put = session.put_image_version(&id, body).await?;
    /// let operation = session.cancel_operation(put.operation.unwrap()).await?;
    /// assert_eq!(operation.status, OperationStatus::Canceled);
    /// assert_eq!(session.view().provisioning(&id)?.state, ProvisioningState::Failed);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn cancel_operation(&self, id: impl TryInto<OperationId, Error: Into<Error>>) -> Result<Operation> {
        let (id, session) = (given(id)?, self.clone());
        let check = move |state: &State| {
            let seen = |of: &OperationTarget| session.rights().may(state, Action::ReadOperation, &of.scope());
            let record = state.operation(id).filter(|record| seen(&record.resource)).ok_or_else(|| no_operation(id))?;
            let need = match &record.resource {
                OperationTarget::Resource(resource) => Need::new(write_action(resource), resource.clone()),
                OperationTarget::ResourceGroup(group) => {
                    Need::new(Action::WriteResourceGroup, AccessScope::of_group(group))
                }
            };
            let authorization = session.authorize(state, &[need])?;
            if record.ended.is_some() {
                return Ok(Changes { events: Vec::new(), authorization });
            }
            let (code, reason) = (CANCELED.to_owned(), "its operation was cancelled".to_owned());
            let (operation, status) = (id, BadEnd::Canceled);
            let mut events =
                vec![Event::OperationEnded { operation, status, code: code.clone(), reason: reason.clone() }];
            let made = record.resource.version().filter(|_| record.kind != OperationKind::Delete);
            let open = made.filter(|version| state.incomplete(version).is_some_and(|record| record.failure.is_none()));
            events.extend(open.map(|version| Event::ImageVersionFailed { version: version.clone(), code, reason }));
            Ok(Changes { events, authorization })
        };
        let state = self.inner.catalog.commit(&self.caller, check).await?;
        state.operation(id).map(|record| Operation::of(record, &state)).ok_or_else(|| no_operation(id))
    }

    /// Records that an operation has failed for now, if it is under way: not one that has taken its place.
    pub(crate) async fn give_up(&self, operation: Option<OperationId>, error: &Error) -> Result<()> {
        let Some(operation) = operation else { return Ok(()) };
        let (code, reason) = (error.code().to_owned(), reason_of(error));
        let check = move |state: &State| {
            let (code, reason, status) = (code.clone(), reason.clone(), BadEnd::Failed);
            let events = match state.is_under_way(operation) {
                true => vec![Event::OperationEnded { operation, status, code, reason }],
                false => Vec::new(),
            };
            Ok(Changes { events, authorization: None })
        };
        self.inner.catalog.commit(&self.caller, check).await.map(drop)
    }

    /// Waits for the end of an operation, which this call does not carry on: it looks once a second.
    ///
    /// # Errors
    ///
    /// As [`operation`](crate::CatalogView::operation), and `Unavailable`, `Corrupt` if the catalog cannot be read. How the operation ended is
    /// in its status.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::read::OperationStatus;
    /// use futures::future::{Either, select};
    /// use serde_json::json;
    /// use std::pin::pin;
    ///
    /// sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let source = sandbox.version("1.0.0").to_string();
    /// let body = json!({"location": "westeurope", "properties": {"storageProfile": {"source": {"id": source}}}});
    /// let put = session.put_image_version(sandbox.version("2.0.0"), body).await?;
    /// let other = sandbox.reopen().build().await?;
    /// let (driving, waiting) = (pin!(other.session().driver().run()), pin!(session.wait_for_operation(put.operation.unwrap())));
    /// let Either::Right((operation, _)) = select(driving, waiting).await else { unreachable!() };
    /// assert_eq!(operation?.status, OperationStatus::Succeeded);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn wait_for_operation(&self, id: impl TryInto<OperationId, Error: Into<Error>>) -> Result<Operation> {
        let id = given(id)?;
        loop {
            let operation = self.refresh().await?.operation(id)?;
            if operation.status != OperationStatus::InProgress {
                return Ok(operation);
            }
            self.inner.clock.sleep(LOOK_EVERY).await;
        }
    }
}
