//! Where a disk comes from.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::disk::{ReadAt, SharedDisk};
use super::vhd;
use crate::error::{Error, Result};

/// The format of a disk file. The caller always states it: a guest can write a header of any format into its own disk,
/// so guessing would let it choose how its bytes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DiskFormat {
    /// The guest's bytes and nothing else.
    Raw,
    /// A Virtual Hard Disk: fixed or dynamic when read, fixed when written. Differencing disks are refused: backing
    /// files are never followed.
    Vhd,
}

/// A disk to import: a file, a reader or bytes, with its format.
///
/// ```
/// use compute_gallery::image::{DiskFormat, DiskSource};
///
/// let in_memory = DiskSource::bytes(vec![7; 4096], DiskFormat::Raw);
/// let on_disk = DiskSource::path("web.vhd", DiskFormat::Vhd);
/// let anywhere = DiskSource::reader(std::io::Cursor::new(vec![7; 4096]), DiskFormat::Raw);
/// # let _ = (in_memory, on_disk, anywhere);
/// ```
pub struct DiskSource {
    input: Input,
    format: DiskFormat,
    target: String,
}

enum Input {
    Path(PathBuf),
    Bytes(Bytes),
    Reader(Mutex<Box<dyn ReadSeek>>),
}

trait ReadSeek: Read + Seek + Send {}
impl<R: Read + Seek + Send> ReadSeek for R {}

impl DiskSource {
    /// A file or block device. On Linux its holes are skipped without being read.
    pub fn path(path: impl Into<PathBuf>, format: DiskFormat) -> Self {
        let path = path.into();
        Self { target: path.display().to_string(), input: Input::Path(path), format }
    }

    /// Bytes in memory.
    pub fn bytes(bytes: impl Into<Bytes>, format: DiskFormat) -> Self {
        Self { input: Input::Bytes(bytes.into()), format, target: "disk".into() }
    }

    /// Anything that can be read and sought in.
    pub fn reader(reader: impl Read + Seek + Send + 'static, format: DiskFormat) -> Self {
        Self { input: Input::Reader(Mutex::new(Box::new(reader))), format, target: "disk".into() }
    }

    /// What errors call it.
    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// Opens it and returns the guest's view; everything that can be told from headers and sizes is checked here.
    /// Blocks.
    pub(crate) fn open(self) -> Result<SharedDisk> {
        let target = self.target;
        let failed = |error| Error::from_io(target.as_str(), "opening the disk", error);
        let file: SharedDisk = match self.input {
            Input::Path(path) => Arc::new(FileDisk::open(&path).map_err(failed)?),
            Input::Bytes(bytes) => Arc::new(bytes),
            Input::Reader(reader) => {
                Arc::new(ReaderDisk::new(reader.into_inner().unwrap_or_else(PoisonError::into_inner)).map_err(failed)?)
            }
        };
        let disk = match self.format {
            DiskFormat::Raw => file,
            DiskFormat::Vhd => vhd::open(file, &target)?,
        };
        let size = disk.size();
        if size == 0 || size % SECTOR_BYTES != 0 {
            let fix = "a disk is a whole number of 512-byte sectors, at least one: pad it, or state its true format";
            return Err(Error::invalid(target, format!("the disk has `{size}` bytes: {fix}")));
        }
        Ok(disk)
    }
}

/// The unit in which disks are sized.
const SECTOR_BYTES: u64 = 512;

impl std::fmt::Debug for DiskSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DiskSource({}, {:?})", self.target, self.format)
    }
}

struct FileDisk {
    file: File,
    size: u64,
}

impl FileDisk {
    fn open(path: &std::path::Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        if file.metadata()?.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
        }
        // Not the length in the metadata: a block device has none there.
        let size = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, size })
    }
}

impl ReadAt for FileDisk {
    fn size(&self) -> u64 {
        self.size
    }

    #[cfg(unix)]
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, buffer, offset)
    }

    #[cfg(windows)]
    fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match std::os::windows::fs::FileExt::seek_read(&self.file, buffer, offset)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => {
                    buffer = buffer.get_mut(read..).unwrap_or_default();
                    offset += read as u64;
                }
            }
        }
        Ok(())
    }

    #[cfg(target_os = "linux")]
    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        use rustix::fs::{SeekFrom, seek};
        use rustix::io::Errno;

        let start = match seek(&self.file, SeekFrom::Data(from)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(None),
            // A file system that knows no holes: everything may be data.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok((from < self.size).then_some(from..self.size)),
            Err(error) => return Err(error.into()),
        };
        let end = seek(&self.file, SeekFrom::Hole(start))?.min(self.size);
        Ok((start < end).then_some(start..end))
    }
}

impl ReadAt for Bytes {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|error| io::Error::new(io::ErrorKind::UnexpectedEof, error))?;
        let end = start.saturating_add(buffer.len());
        buffer.copy_from_slice(self.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

struct ReaderDisk {
    reader: Mutex<Box<dyn ReadSeek>>,
    size: u64,
}

impl ReaderDisk {
    fn new(mut reader: Box<dyn ReadSeek>) -> io::Result<Self> {
        let size = reader.seek(SeekFrom::End(0))?;
        Ok(Self { reader: Mutex::new(reader), size })
    }
}

impl ReadAt for ReaderDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        reader.seek(SeekFrom::Start(offset))?;
        reader.read_exact(buffer)
    }
}
