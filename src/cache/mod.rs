//! A cache on a host's own disk, in front of a store that is far away: [`CachedStore`].

mod block_file;
mod cached_store;
mod folder;

pub use cached_store::{CacheUse, CachedStore};
