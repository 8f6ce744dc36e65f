//! Driving: what was asked for is carried through without being told.

mod board;
pub(crate) mod driver;
mod work;

pub use board::Done;
pub use driver::{Driver, Step};

pub use crate::catalog::Duty;
