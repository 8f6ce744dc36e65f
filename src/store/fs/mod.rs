//! Blobs as files.

mod blobs;
mod buffers;
mod call;
mod copy;
mod durability;
mod entry;
mod fs_store;
mod place;
mod probe;
mod staging;
mod walk;

#[cfg(any(not(unix), portable_fs))]
#[path = "portable.rs"]
mod system;
#[cfg(all(unix, not(portable_fs)))]
#[path = "unix.rs"]
mod system;

pub use durability::Durability;
pub use fs_store::FsStore;
