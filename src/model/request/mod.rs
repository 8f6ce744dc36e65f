//! Requests as Azure's clients send them: read leniently, beside the strict model.
//!
//! A [`shape`] says which properties of a body the model has. What it has becomes the strict body, in canonical form; what it does
//! not have is kept as it came, and joined to the answer again.

mod answer;
mod read;
mod request_body;
mod shape;
mod shapes;
mod version;

pub(crate) use answer::Answer;
pub(crate) use read::{Readable, Requested};
pub use request_body::Request;
