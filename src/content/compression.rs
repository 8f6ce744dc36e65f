//! Compression of chunks.

use super::chunk::CHUNK_BYTES;
use super::record::GROUP_CHUNKS;

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
    /// Stores new chunks plain, so that a publish and the first deployments take as long as a copy; `Session::collect` and
    /// `Session::compress` compress what has rested, better than an import does: groups of eight chunks at a higher level.
    /// Content that crosses a region's border is compressed on its way.
    Later,
    /// Stores chunks plain: for stores that compress, or where processor time costs more than space.
    None,
}

/// The level of zstd: the one that reads fastest of those that keep four Debian builds below 270 MiB. It stores
/// literals as they are, which the ones from 1 on do not (`docs/decisions/0009`).
const LEVEL: i32 = -1;

/// The level of zstd for content that has rested, which takes the processor four times as long: four Debian builds take 0.316 of
/// their blocks that are not zero, and 0.384 at the level of an import, each chunk by itself (`docs/decisions/0023`).
pub(super) const RESTED_LEVEL: i32 = 6;

/// The level of zstd for content that crosses a border, which is to be faster than the border: 0.339.
pub(super) const CROSSING_LEVEL: i32 = 1;

/// Compresses chunks. Reused, because setting up its context takes longer than compressing a chunk.
pub(crate) struct Compressor {
    context: Option<zstd_safe::CCtx<'static>>,
    level: i32,
    frame: Vec<u8>,
}

impl Compressor {
    pub(crate) fn new(compression: Compression) -> Self {
        match compression {
            Compression::Zstd => Self {
                context: Some(zstd_safe::CCtx::create()),
                level: LEVEL,
                frame: vec![0; zstd_safe::compress_bound(CHUNK_BYTES)],
            },
            Compression::Later | Compression::None => Self { context: None, level: LEVEL, frame: Vec::new() },
        }
    }

    /// Returns a compressor of groups of chunks.
    pub(super) fn of_groups(level: i32) -> Self {
        let frame = vec![0; zstd_safe::compress_bound(GROUP_CHUNKS * CHUNK_BYTES)];
        Self { context: Some(zstd_safe::CCtx::create()), level, frame }
    }

    /// Returns the zstd frame of one or several chunks if it has at most `limit` bytes.
    pub(crate) fn compress(&mut self, chunks: &[u8], limit: usize) -> Option<&[u8]> {
        let length = self.context.as_mut()?.compress(self.frame.as_mut_slice(), chunks, self.level).ok()?;
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
