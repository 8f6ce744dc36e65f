//! Compression of chunks.

use super::chunk::CHUNK_BYTES;

/// How imports compress new chunks. Chunks are found by their content, and each records its encoding: a gallery may be
/// opened with either setting at any time, its versions share chunks, and all of them can be read.
///
/// ```
/// use compute_gallery::content::Compression;
/// use compute_gallery::store::MemoryStore;
/// use compute_gallery::GalleryService;
///
/// # futures::executor::block_on(async {
/// assert_eq!(Compression::default(), Compression::Zstd);
/// let store = MemoryStore::new();
/// let builder = GalleryService::builder().store(store.clone()).allow_all();
/// builder.compression(Compression::None).create().await?;
///
/// // The same gallery, from now on with compression.
/// let builder = GalleryService::builder().store(store).allow_all();
/// assert!(builder.compression(Compression::Zstd).open().await.is_ok());
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// Compresses each chunk by itself, with zstd at a level that reads fast; a chunk that hardly shrinks is stored
    /// plain. The default. Four Debian builds take 268 MiB and not 771; importing new chunks takes the processor twice
    /// as long, deploying them half as long again (`docs/decisions/0009`).
    #[default]
    Zstd,
    /// Stores chunks plain: for stores that compress, or where processor time costs more than space.
    None,
}

/// The level of zstd: the one that reads fastest of those that keep four Debian builds below 270 MiB. It stores
/// literals as they are, which the ones from 1 on do not (`docs/decisions/0009`).
const LEVEL: i32 = -1;

/// Compresses chunks. Reused, because setting up its context takes longer than compressing a chunk.
pub(crate) struct Compressor {
    context: Option<zstd_safe::CCtx<'static>>,
    frame: Vec<u8>,
}

impl Compressor {
    pub(crate) fn new(compression: Compression) -> Self {
        match compression {
            Compression::Zstd => Self {
                context: Some(zstd_safe::CCtx::create()),
                frame: vec![0; zstd_safe::compress_bound(CHUNK_BYTES)],
            },
            Compression::None => Self { context: None, frame: Vec::new() },
        }
    }

    /// Returns the zstd frame of `chunk` if it has at most `limit` bytes.
    pub(crate) fn compress(&mut self, chunk: &[u8], limit: usize) -> Option<&[u8]> {
        let length = self.context.as_mut()?.compress(self.frame.as_mut_slice(), chunk, LEVEL).ok()?;
        self.frame.get(..length).filter(|frame| frame.len() <= limit)
    }
}

/// Decompresses chunks; reused, like [`Compressor`].
pub(crate) struct Decompressor(zstd_safe::DCtx<'static>);

impl Default for Decompressor {
    fn default() -> Self {
        Self(zstd_safe::DCtx::create())
    }
}

impl Decompressor {
    /// Fills `content` from a frame; false if the frame does not fill it exactly. Allocates nothing, whatever length
    /// the frame claims.
    pub(crate) fn decompress(&mut self, frame: &[u8], content: &mut [u8]) -> bool {
        self.0.decompress(content, frame) == Ok(content.len())
    }
}
