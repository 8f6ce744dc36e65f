//! The body of an answer.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// The body of an answer: bytes that are there at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArmBody(Bytes);

impl ArmBody {
    /// Returns the bytes that are not sent yet.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl From<Bytes> for ArmBody {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl Body for ArmBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = std::mem::take(&mut self.0);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}
