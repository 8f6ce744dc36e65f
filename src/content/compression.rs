//! Chunks made smaller, and whole again.

use super::chunk::CHUNK_BYTES;

/// Whether the chunks that an import adds are compressed. Chunks are found by what they hold, and each says how it is
/// stored: a gallery may be opened with one, then with the other, its versions share their chunks and all can be read.
///
/// ```
/// use compute_gallery::content::Compression;
/// use compute_gallery::store::MemoryStore;
/// use compute_gallery::GalleryService;
///
/// # futures::executor::block_on(async {
/// let builder = GalleryService::builder().store(MemoryStore::new()).allow_all();
/// let service = builder.compression(Compression::None).create().await?;
/// # let _ = service;
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// With zstd at a level that reads fast, each chunk by itself; a chunk that it hardly makes smaller is stored as it
    /// is. Four Debian builds take 268 MiB and not 771; importing new chunks takes the processor twice as long,
    /// deploying them half as long again (`docs/decisions/0009`).
    #[default]
    Zstd,
    /// Not at all: for stores that compress by themselves, and where the processor is dearer than the disk.
    None,
}

/// The level of zstd: the one that reads fastest of those that keep four Debian builds below 270 MiB. It stores
/// literals as they are, which the ones from 1 on do not (`docs/decisions/0009`).
const LEVEL: i32 = -1;

/// Makes chunks smaller; to be used again and again, as what it works in takes longer to set up than a chunk.
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

    /// The zstd frame of `chunk`, if it is no longer than `limit`.
    pub(crate) fn compress(&mut self, chunk: &[u8], limit: usize) -> Option<&[u8]> {
        let length = self.context.as_mut()?.compress(self.frame.as_mut_slice(), chunk, LEVEL).ok()?;
        self.frame.get(..length).filter(|frame| frame.len() <= limit)
    }
}

/// The other way; to be used again and again, too.
pub(crate) struct Decompressor(zstd_safe::DCtx<'static>);

impl Default for Decompressor {
    fn default() -> Self {
        Self(zstd_safe::DCtx::create())
    }
}

impl Decompressor {
    /// Fills `content` from a frame; false if the frame does not fill it exactly. Whatever the frame says of its own
    /// length, nothing is allocated for it.
    pub(crate) fn decompress(&mut self, frame: &[u8], content: &mut [u8]) -> bool {
        self.0.decompress(content, frame) == Ok(content.len())
    }
}
