//! The face: [`GalleryService`] and the caller's [`Session`]. The only room that knows all the others.

pub mod change;
pub mod deploy;
pub mod publish;
pub mod read;
pub mod replicate;
pub(crate) mod rules;
pub(crate) mod session;
pub mod upkeep;
