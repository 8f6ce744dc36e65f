//! Deploying images: disks, readers, VMs and scale sets.

mod booting;
mod boots;
pub(crate) mod deployment;
pub(crate) mod image_ref;
pub(crate) mod machines;
mod noted;
pub(crate) mod pool;
pub(crate) mod reader;

pub use deployment::{Deployed, Deployment};
pub use image_ref::ImageRef;
pub use machines::{BootImage, Generalized, Image, NewVm, OsProfile, ScaleSet, Specialized};
pub use noted::NameCollision;
pub use reader::ImageReader;
