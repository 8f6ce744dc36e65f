//! How much of a store survives a power cut.

/// What an [`FsStore`] does for a power cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// What was acknowledged survives it.
    #[default]
    Full,
    /// What was acknowledged in the last seconds may be lost, or be there without its bytes. Only for stores that are
    /// thrown away after a power cut, such as those of tests: about seven times as fast for small blobs. A crash of the
    /// process alone loses nothing.
    LostOnPowerCut,
}
