//! The operations of [`GalleryService`] and [`Session`]. The only room that imports all the others.

pub mod change;
pub mod deploy;
pub mod drive;
pub mod publish;
pub mod read;
pub mod replicate;
pub(crate) mod rules;
pub(crate) mod session;
pub mod upkeep;
