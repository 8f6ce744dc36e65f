//! Disk sources: a file, a reader or bytes, opened and checked against its stated format.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::io::{AsyncRead, AsyncReadExt};

use super::fields::Damaged;
use super::file::FileDisk;
use super::format::{DiskFormat, VhdFooter};
use super::lookalike::{HEAD_BYTES, Lookalike};
use super::note::{self, DiskNote};
use super::qcow2::open::open as open_qcow2;
use super::read_at::{EndedEarly, ReadAt, SharedDisk, Stamp};
use super::spool::{BLOCK, Spool};
use super::unwrap::{Wrapping, unwrapped};
use super::vhd::open::open as open_vhd;
use super::vhdx::open::open as open_vhdx;
use super::vmdk::open::{flat, open as open_vmdk};
use crate::error::{Error, Result};
use crate::holes::Doubt;
use crate::host::Workers;
use crate::host::sync::Mutex;

/// A disk to import: a file, a reader or bytes, with its format.
///
/// A doubtful disk is refused by default. The `with_…` methods accept it, and the report of the import lists each such
/// decision as a [`DiskNote`].
///
/// ```
/// use compute_gallery::disk::{DiskFormat, DiskSource, VhdFooter};
///
/// let in_memory = DiskSource::bytes(vec![7; 4096], DiskFormat::Raw);
/// let on_disk = DiskSource::path("web.vhd", DiskFormat::Vhd).with_vhd_footer(VhdFooter::Copy);
/// let anywhere = DiskSource::reader(std::io::Cursor::new(vec![7; 4096]), DiskFormat::Raw);
/// assert_eq!(format!("{on_disk:?}"), "DiskSource(web.vhd, Vhd)");
///
/// // Where the bytes come from makes no difference.
/// # use compute_gallery::image::ImageDigest;
/// assert_eq!(ImageDigest::of(in_memory)?, ImageDigest::of(anywhere)?);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
pub struct DiskSource {
    input: Input,
    format: DiskFormat,
    target: String,
    choices: Choices,
    /// The outermost first.
    wrappings: Vec<Wrapping>,
    unwrapped_limit: u64,
    spool: Option<PathBuf>,
}

/// The caller's exceptions to the default checks.
#[derive(Clone, Copy, Debug, Default)]
struct Choices {
    holes_read: bool,
    changes: bool,
    any_content: bool,
    unclean: bool,
    footer: VhdFooter,
}

enum Input {
    Path(PathBuf),
    Bytes(Bytes),
    Reader(Mutex<Box<dyn ReadSeek>>),
    Spooled(SharedDisk),
}

/// What a wrapped file may unwrap to, unless the caller says otherwise: the largest disk of [`Limits::azure_2026`](crate::model::Limits::azure_2026).
const UNWRAPPED_LIMIT: u64 = 2 << 40;

trait ReadSeek: Read + Seek + Send {}
impl<R: Read + Seek + Send> ReadSeek for R {}

impl DiskSource {
    fn new(input: Input, format: DiskFormat, target: String) -> Self {
        let (choices, wrappings) = (Choices::default(), Vec::new());
        Self { input, format, target, choices, wrappings, unwrapped_limit: UNWRAPPED_LIMIT, spool: None }
    }

    /// Returns a source that reads a regular file or block device; anything else (a pipe, a directory, a character
    /// device) is refused when it is opened. On Linux, holes are skipped without being read, unless the file system
    /// contradicts itself about them: [`with_holes_read`](Self::with_holes_read).
    pub fn path(path: impl Into<PathBuf>, format: DiskFormat) -> Self {
        let path = path.into();
        let target = path.display().to_string();
        Self::new(Input::Path(path), format, target)
    }

    /// Returns a source of bytes in memory.
    pub fn bytes(bytes: impl Into<Bytes>, format: DiskFormat) -> Self {
        Self::new(Input::Bytes(bytes.into()), format, "disk".into())
    }

    /// Returns a source that reads from anything seekable. A stream goes through [`spooled`](Self::spooled).
    pub fn reader(reader: impl Read + Seek + Send + 'static, format: DiskFormat) -> Self {
        Self::new(Input::Reader(Mutex::new(Box::new(reader))), format, "disk".into())
    }

    /// Returns a source of a stream that can be read once, such as the body of a request or a pipe, of any length: reads it now, to its
    /// end, into a file without a name in `folder`, with holes where it is zero. It takes as much space there as the stream has data, until
    /// the source is dropped. What the stream is wrapped in is unwrapped later, by [`with_wrapping`](Self::with_wrapping).
    ///
    /// # Errors
    ///
    /// `StorageFull`; `Invalid` if the stream has more than `most` bytes; `Unavailable`, also if the stream fails.
    ///
    /// ```
    /// use compute_gallery::disk::{DiskFormat, DiskSource};
    /// use compute_gallery::image::ImageDigest;
    ///
    /// # futures::executor::block_on(async {
    /// let body = futures::io::Cursor::new(vec![7; 4096]);
    /// let source = DiskSource::spooled(body, DiskFormat::Raw, std::env::temp_dir(), 1 << 40).await?;
    /// let in_memory = DiskSource::bytes(vec![7; 4096], DiskFormat::Raw);
    /// assert_eq!(ImageDigest::of(source)?, ImageDigest::of(in_memory)?);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn spooled(
        mut stream: impl AsyncRead + Send + Unpin,
        format: DiskFormat,
        folder: impl Into<PathBuf>,
        most: u64,
    ) -> Result<Self> {
        let (folder, workers) = (folder.into(), Workers::default());
        let target = "stream".to_owned();
        let failed = |doing: &str, error| Error::from_io("stream", doing, error);
        let place = folder.clone();
        let created = workers.run(move || Spool::create(&place)).await;
        let mut spool = created.map_err(|error| Error::from_io(folder.display().to_string(), "spooling", error))?;
        let mut block = Vec::new();
        loop {
            let mut part = (&mut stream).take(BLOCK as u64);
            part.read_to_end(&mut block).await.map_err(|error| failed("reading the stream", error))?;
            if block.is_empty() {
                break;
            }
            if spool.written() + block.len() as u64 > most {
                return Err(Error::invalid(
                    target,
                    format!("the stream has more than `{most}` bytes: raise the limit"),
                ));
            }
            let appended = workers.run(move || {
                let appended = spool.append(&block);
                block.clear();
                (spool, block, appended)
            });
            let (same, emptied, appended) = appended.await;
            (spool, block) = (same, emptied);
            appended.map_err(|error| failed("spooling", error))?;
        }
        let disk = workers.run(move || spool.finish()).await.map_err(|error| failed("spooling", error))?;
        Ok(Self { spool: Some(folder), ..Self::new(Input::Spooled(disk), format, target) })
    }

    /// Unwraps the file before it is read as a disk: it is compressed, or alone in an archive. Of several wrappings, the outermost comes
    /// first: `[Gzip, Tar]` for `disk.tar.gz`. The disk is written to a file without a name ([`with_spool`](Self::with_spool)),
    /// with holes where it is zero.
    ///
    /// What is cut short, damaged, or followed by something else is refused, with the offset.
    ///
    /// ```
    /// use compute_gallery::disk::{DiskFormat, DiskSource, Wrapping};
    /// use compute_gallery::image::ImageDigest;
    ///
    /// let wrapped = DiskSource::path("web.raw.gz", DiskFormat::Raw).with_wrapping([Wrapping::Gzip]);
    /// # let _ = wrapped;
    /// let wrong = DiskSource::bytes(vec![7; 4096], DiskFormat::Raw).with_wrapping([Wrapping::Zstd]);
    /// assert!(ImageDigest::of(wrong).unwrap_err().to_string().contains("at byte `0`"));
    /// ```
    #[must_use]
    pub fn with_wrapping(mut self, wrappings: impl IntoIterator<Item = Wrapping>) -> Self {
        self.wrappings.extend(wrappings);
        self
    }

    /// Sets the most bytes that a wrapped file may unwrap to: 2 TiB by default. Zeros take time, and no space.
    #[must_use]
    pub fn with_unwrapped_limit(mut self, bytes: u64) -> Self {
        self.unwrapped_limit = bytes;
        self
    }

    /// Sets the folder for what is unwrapped: that of the system for temporary files by default, or that of the
    /// [`spooled`](Self::spooled) stream.
    #[must_use]
    pub fn with_spool(mut self, folder: impl Into<PathBuf>) -> Self {
        self.spool = Some(folder.into());
        self
    }

    /// Reads every byte, including reported holes: for a file system that reports holes wrongly. Reading takes as long
    /// as for a disk without holes; the stored image is the same.
    #[must_use]
    pub fn with_holes_read(mut self) -> Self {
        self.choices.holes_read = true;
        self
    }

    /// Accepts a disk that is written to while it is read, such as that of a running VM. The image may then mix bytes
    /// of different times.
    #[must_use]
    pub fn with_changes_while_read(mut self) -> Self {
        self.choices.changes = true;
        self
    }

    /// Accepts a [`Raw`](DiskFormat::Raw) disk even if its first or last bytes look like another format.
    ///
    /// ```
    /// use compute_gallery::disk::{DiskFormat, DiskSource};
    /// use compute_gallery::image::ImageDigest;
    ///
    /// let mut bytes = vec![0; 4096];
    /// bytes[..4].copy_from_slice(b"QFI\xfb");
    /// let source = || DiskSource::bytes(bytes.clone(), DiskFormat::Raw);
    /// let error = ImageDigest::of(source()).unwrap_err();
    /// assert!(error.to_string().contains("looks like qcow2"));
    /// assert!(ImageDigest::of(source().with_any_raw_content()).is_ok());
    /// ```
    #[must_use]
    pub fn with_any_raw_content(mut self) -> Self {
        self.choices.any_content = true;
        self
    }

    /// Selects the footer of a dynamic VHD whose two footers disagree, or of which one is missing. The default is
    /// [`VhdFooter::Both`].
    #[must_use]
    pub fn with_vhd_footer(mut self, footer: VhdFooter) -> Self {
        self.choices.footer = footer;
        self
    }

    /// Accepts a qcow2 that is marked dirty or corrupt, or a VMDK that is marked in use: a VM has it open, or did not close it. The
    /// disk is then as after a power cut.
    ///
    /// ```
    /// use compute_gallery::disk::{DiskFormat, DiskSource};
    ///
    /// let after_a_crash = DiskSource::path("web.qcow2", DiskFormat::Qcow2).with_unclean_close();
    /// assert_eq!(format!("{after_a_crash:?}"), "DiskSource(web.qcow2, Qcow2)");
    /// ```
    #[must_use]
    pub fn with_unclean_close(mut self) -> Self {
        self.choices.unclean = true;
        self
    }

    /// Opens the source and checks everything that headers and sizes show. Blocks.
    pub(crate) fn open(self) -> Result<OpenSource> {
        let Self { input, mut format, mut target, mut choices, wrappings, unwrapped_limit, spool } = self;
        let failed = |target: &str, error| Error::from_io(target, "opening the disk", error);
        let mut notes = Vec::new();
        let path = if let Input::Path(path) = &input { Some(path.clone()) } else { None };
        let mut file: SharedDisk = match input {
            Input::Path(path) => open_file(&path, choices.holes_read, &mut notes)?,
            Input::Bytes(bytes) => Arc::new(bytes),
            Input::Spooled(disk) => disk,
            Input::Reader(reader) => {
                Arc::new(ReaderDisk::new(reader.into_inner()).map_err(|error| failed(&target, error))?)
            }
        };
        // What it is unwrapped from must not change, either.
        let given = file.clone();
        let before = given.first_stamp().map_err(|error| failed(&target, error))?;
        if !wrappings.is_empty() {
            let folder = spool.unwrap_or_else(std::env::temp_dir);
            file = unwrapped(file, &wrappings, &folder, unwrapped_limit)
                .map_err(|error| reading_failed(&target, error))?;
        }
        let path = path.filter(|_| wrappings.is_empty());
        if format == DiskFormat::Vmdk
            && let Some(flat) = flat(&*file, path.as_deref(), &target)?
        {
            let descriptor = target;
            target = flat.path.display().to_string();
            file = open_file(&flat.path, choices.holes_read, &mut notes)?;
            if file.size() != flat.size {
                let what =
                    format!("it has `{}` bytes, and its descriptor `{descriptor}` says {}", file.size(), flat.size);
                return Err(Error::corrupt(target, what));
            }
            // The guest's bytes and nothing else, whatever they look like.
            format = DiskFormat::Raw;
            choices.any_content = true;
        }
        let (stamped, before) = match wrappings.is_empty() {
            true => (file.clone(), file.first_stamp().map_err(|error| failed(&target, error))?),
            false => (given, before),
        };
        let disk = match format {
            DiskFormat::Raw => {
                notes.extend(check_raw(&*file, choices.any_content, &target)?);
                file.clone()
            }
            DiskFormat::Vhd => {
                let (disk, note) = open_vhd(file.clone(), choices.footer, &target)?;
                notes.extend(note);
                disk
            }
            DiskFormat::Vhdx => open_vhdx(file.clone(), &target)?,
            DiskFormat::Qcow2 => {
                let (disk, note) = open_qcow2(file.clone(), choices.unclean, &target)?;
                notes.extend(note);
                disk
            }
            DiskFormat::Vmdk => {
                let (disk, note) = open_vmdk(file.clone(), choices.unclean, &target)?;
                notes.extend(note);
                disk
            }
        };
        let size = disk.size();
        if size == 0 || size % SECTOR_BYTES != 0 {
            let fix = "a disk has a whole number of 512-byte sectors, at least one: pad it, or state its true format";
            return Err(Error::invalid(target, format!("the disk has `{size}` bytes: {fix}")));
        }
        notes.extend(note::of_size(size));
        Ok(OpenSource { disk, file: stamped, before, may_change: choices.changes, target, notes })
    }
}

/// Opens a file, and notes what is doubtful about its holes.
fn open_file(path: &Path, holes_read: bool, notes: &mut Vec<DiskNote>) -> Result<SharedDisk> {
    let file = FileDisk::open(path, holes_read)?;
    notes.extend(file.doubt().map(|doubt| match doubt {
        Doubt::Contradiction { at } => DiskNote::HolesContradict { at },
        Doubt::Allocated { allocated, data } => DiskNote::MoreAllocatedThanData { allocated, data },
    }));
    Ok(Arc::new(file))
}

/// Refuses a raw disk that looks like another format, or returns a note if `any_content` accepts it.
fn check_raw(file: &dyn ReadAt, any_content: bool, target: &str) -> Result<Option<DiskNote>> {
    let ends = (file.size().min(HEAD_BYTES as u64)) as usize;
    let (mut head, mut tail) = (vec![0; ends], vec![0; ends]);
    file.read_exact_at(&mut head, 0).map_err(|error| reading_failed(target, error))?;
    file.read_exact_at(&mut tail, file.size() - ends as u64).map_err(|error| reading_failed(target, error))?;
    match Lookalike::of(&head, &tail) {
        None => Ok(None),
        Some(Lookalike { name, .. }) if any_content => Ok(Some(DiskNote::TakenAsRaw { looks_like: name })),
        Some(found) => {
            let what = format!(
                "the disk is declared raw and looks like {}: {}, or accept it as it is by `DiskSource::with_any_raw_content`",
                found.name,
                found.instead_of_raw(target)
            );
            Err(Error::invalid(target, what))
        }
    }
}

/// The size of every disk is a multiple of this.
const SECTOR_BYTES: u64 = 512;

impl std::fmt::Debug for DiskSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DiskSource({}, {:?})", self.target, self.format)
    }
}

/// An open disk; clones share it.
#[derive(Clone)]
pub(crate) struct OpenSource {
    /// The guest's view.
    pub(crate) disk: SharedDisk,
    /// Its name in errors.
    pub(crate) target: String,
    file: SharedDisk,
    before: Stamp,
    may_change: bool,
    notes: Vec<DiskNote>,
}

impl OpenSource {
    /// Returns the notes on the disk after it has been read. Refuses a disk that changed since it was opened, unless
    /// the caller accepts changes. `hidden_before` is the value of `hidden_bytes` before the first read. Blocks.
    pub(crate) fn notes_at_the_end(&self, hidden_before: u64) -> Result<Vec<DiskNote>> {
        let mut notes = self.notes.clone();
        let hidden = self.disk.hidden_bytes().saturating_sub(hidden_before);
        notes.extend((hidden > 0).then_some(DiskNote::HiddenBytes { bytes: hidden }));
        let after = self.file.stamp().map_err(|error| reading_failed(&self.target, error))?;
        if after == self.before {
            return Ok(notes);
        }
        let (before, after) = (self.before.to_string(), after.to_string());
        if !self.may_change {
            let what = format!(
                "the disk changed while it was read: it had {before} when it was opened, and has {after} now; stop what writes to \
                 it, or publish a snapshot, or accept it as it was read by `DiskSource::with_changes_while_read`"
            );
            return Err(changed(&self.target, what));
        }
        notes.push(DiskNote::ChangedWhileRead { before, after });
        Ok(notes)
    }
}

fn changed(target: &str, what: String) -> Error {
    Error::conflict(target, what)
}

/// Returns the error of a failed read of an open disk.
pub(crate) fn reading_failed(target: &str, error: io::Error) -> Error {
    if error.get_ref().is_some_and(|inner| inner.is::<Damaged>()) {
        return Error::corrupt(target, error.to_string()).with_source(error);
    }
    match error.get_ref().is_some_and(|inner| inner.is::<EndedEarly>()) {
        true => changed(
            target,
            "the disk was cut short while it was read: stop what writes to it, then publish again".into(),
        )
        .with_source(error),
        false => Error::from_io(target, "reading the disk", error),
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
        let mut reader = self.reader.lock();
        reader.seek(SeekFrom::Start(offset))?;
        let read = reader.read_exact(buffer);
        drop(reader);
        read.map_err(|error| match (error.kind(), self.stamp()) {
            (io::ErrorKind::UnexpectedEof, Ok(now)) if now.size < self.size => now.ended_early(self.size),
            _ => error,
        })
    }

    fn stamp(&self) -> io::Result<Stamp> {
        let mut reader = self.reader.lock();
        Ok(Stamp::of_size(reader.seek(SeekFrom::End(0))?))
    }
}
