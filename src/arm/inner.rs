//! What the routes of a face share.

use std::num::NonZeroU32;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use http::{Method, StatusCode};

use super::answer::Refusal;
use super::authenticator::Authenticator;
use super::call::Call;
use super::driven::Drive;
use super::operations::Operations;
use super::shape::Shape;
use super::template::Deployments;
use super::versions::ApiVersion;
use crate::error::Result;
use crate::host::sync::RwLock;
use crate::host::{Clock, SystemEntropy, draw};
use crate::model::RegionCatalog;
use crate::service::session::GalleryService;

/// The plain settings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// `None`: operations are done when they are answered.
    pub(super) retry_after: Option<NonZeroU32>,
    pub(super) strict_versions: bool,
    /// Bytes of a disk that is only named.
    pub(super) named_sources: Option<u64>,
    pub(super) body_bytes: usize,
    pub(super) page: usize,
}

/// What the routes share.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) service: RwLock<GalleryService>,
    pub(super) authenticator: Arc<dyn Authenticator>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) regions: RegionCatalog,
    pub(super) settings: Settings,
    pub(super) operations: Operations,
    pub(super) deployments: Deployments,
    pub(super) drive: Drive,
}

impl Inner {
    /// Whether a driver carries on what is asked for.
    pub(super) fn is_driven(&self) -> bool {
        self.drive.caller.is_some()
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub(super) fn shape(&self, version: ApiVersion) -> Shape<'_> {
        Shape { version, regions: &self.regions, operations: &self.operations, now: self.now() }
    }
}

/// Refuses another method than these.
pub(super) fn only(call: &Call, methods: &[Method]) -> Result<(), Refusal> {
    if methods.contains(&call.method) {
        return Ok(());
    }
    let allowed: Vec<&str> = methods.iter().map(Method::as_str).collect();
    let what = format!("The requested resource does not support http method '{}'.", call.method);
    let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", what);
    Err(refusal.with(http::header::ALLOW, allowed.join(", ")))
}

/// Returns a fresh GUID.
pub(super) fn guid() -> Result<String> {
    let drawn = u128::from_be_bytes(draw(&SystemEntropy, "drawing the id of a request")?);
    let part = |from: u32, bits: u32| (drawn >> from) & ((1 << bits) - 1);
    // The version and the variant of RFC 9562.
    let (third, fourth) = (part(64, 12) | 0x4000, part(48, 14) | 0x8000);
    Ok(format!("{:08x}-{:04x}-{third:04x}-{fourth:04x}-{:012x}", part(96, 32), part(80, 16), part(0, 48)))
}
