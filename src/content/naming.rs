//! The names of content: hashes, and in an encrypted catalog keyed ones.

use super::digest::Digest;

/// How a catalog names chunks and index nodes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Naming {
    /// By their hash.
    #[default]
    Plain,
    /// By their hash under the secret of an encrypted catalog, so that a name does not confirm a guess of the content.
    Keyed([u8; 32]),
}

impl Naming {
    /// Returns the name of content.
    pub(crate) fn name(&self, content: &[u8]) -> Digest {
        match self {
            Self::Plain => Digest::of(content),
            Self::Keyed(secret) => Digest::from_bytes(*blake3::keyed_hash(secret, content).as_bytes()),
        }
    }
}

impl std::fmt::Debug for Naming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            Self::Keyed(_) => "Keyed(..)",
        })
    }
}
