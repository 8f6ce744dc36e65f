//! The body of a request.

use serde_json::Value;

/// The body of Azure's PUT, or of its PATCH. It is read when the operation is decided, on the state of then.
///
/// It is read leniently: enum values in any case, `null` as absent, a missing `properties` as an empty one, dates without a time or
/// a zone, regions by their display name. Properties that are read only are ignored, so that what was read can be sent back. Those
/// that the model does not have are kept as they came and answered again.
///
/// A PUT says what the resource is to be. What cannot be changed and is left out stays as it is. A PATCH says what is to change:
/// objects are merged, `null` removes, and a list replaces.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// use compute_gallery::model::Request;
/// use serde_json::json;
///
/// let id = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/Other";
/// let body = json!({"location": "West US", "identity": {"type": "SystemAssigned"}, "tags": null});
/// session.put_gallery(id, body).await?;
/// session.put_gallery(id, Request::patch(json!({"properties": {"description": "Golden images"}}))).await?;
/// let answer = session.view().json(id)?;
/// assert_eq!(answer["properties"]["description"], "Golden images");
/// assert_eq!(answer["identity"]["type"], "SystemAssigned");
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub(super) body: Value,
    pub(super) is_patch: bool,
}

impl Request {
    /// Returns the request of a PUT with this body.
    pub fn put(body: Value) -> Self {
        Self { body, is_patch: false }
    }

    /// Returns the request of a PATCH with this body.
    pub fn patch(body: Value) -> Self {
        Self { body, is_patch: true }
    }

    pub(crate) fn is_patch(&self) -> bool {
        self.is_patch
    }
}

impl From<Value> for Request {
    fn from(body: Value) -> Self {
        Self::put(body)
    }
}
