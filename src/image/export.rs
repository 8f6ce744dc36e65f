//! Export: writes a version's disk from its index and packs.
//!
//! Batches of chunks are fetched from the store, verified and written by several workers at once, in any order for a
//! file, in disk order for a writer. How much is fetched ahead is a budget in bytes and does not depend on the number of workers.
//! Memory: one span of the index (12 MiB at most), 64 MiB of batches under way, and 4 MiB for each worker, whatever the disk's size. For
//! a writer, a batch under way is there packed and unpacked.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use futures::stream::{self, Stream, TryStreamExt};

use super::buffers::BufferPool;
use super::image_digest::ImageDigest;
use crate::content::chunk::{CHUNK_BYTES, occupied_runs};
use crate::content::codec::Unpacker;
use crate::content::manifest::ManifestDisk;
use crate::content::record::{RecordRef, StoredRecord};
use crate::disk::ending::Ending;
use crate::disk::partial_file::PartialFile;
use crate::error::{Error, Result};
use crate::host::Workers;
use crate::host::in_flight::{Budget, bytes_of};
use crate::progress::{OnProgress, Progress};
use crate::replica::index_walk::{IndexWalk, Span};
use crate::replica::records::{Records, Rejected};

/// Chunks fetched, verified and written together: 4 MiB of disk.
const BATCH_CHUNKS: usize = 64;

/// The bytes of a batch.
const BATCH_BYTES: usize = BATCH_CHUNKS * CHUNK_BYTES;

/// One disk of a version, read from the slots that hold it whole.
pub(crate) struct Export<'a> {
    pub(crate) content: &'a Records,
    pub(crate) workers: &'a Workers,
    pub(crate) disk: &'a ManifestDisk,
    pub(crate) on_progress: &'a OnProgress,
    /// The bytes that all operations share.
    pub(crate) memory: &'a Budget,
}

impl Export<'_> {
    /// Writes the disk to a new file beside `path`, then renames it: readers see the old file, no file,
    /// or the whole new one. `sync` makes it durable before it returns.
    pub(crate) async fn to_path(&self, path: &Path, ending: Ending, sync: bool) -> Result<()> {
        let (target, content) = (path.to_owned(), ending.content(&self.disk.digest));
        let size = self.disk.size + ending.bytes().len() as u64;
        let partial = self.workers.run(move || PartialFile::create(target, &content, size)).await?;
        let file = partial.file();
        let (bytes, _more) = bytes_of(self.memory);
        let (unpackers, turns) = (BufferPool::default(), self.turns());
        let turns = &turns;
        let jobs = self.batches().map_ok(|span| {
            let (file, unpackers) = (file.try_clone(), unpackers.clone());
            async move {
                let file = Arc::new(file.map_err(|error| writing(path, error))?);
                let (positions, records): (Vec<u64>, Vec<RecordRef>) = span.into_iter().unzip();
                self.content
                    .read(&records, |stored| {
                        let batch = self.batch(&positions, &records, stored);
                        let (file, unpackers) = (file.clone(), unpackers.clone());
                        let write = move || {
                            let mut unpacker = unpackers.take().unwrap_or_default();
                            // Each chunk is written while it is in the processor's cache. The file has no name before
                            // all of it is verified.
                            for number in 0..batch.records.len() {
                                let mut runs = batch.chunk(number, &mut unpacker)?;
                                runs.try_for_each(|run| write_all_at(&file, run.bytes, run.offset))
                                    .map_err(Wrong::Writing)?;
                            }
                            unpackers.give(unpacker);
                            Ok::<_, Wrong>(())
                        };
                        async move {
                            let _turn = turns.take(1).await;
                            self.workers.run(write).await.map_err(|wrong| wrong.at(path))
                        }
                    })
                    .await?;
                Ok::<u64, Error>(self.end_of(&positions))
            }
        });
        let mut jobs = Box::pin(jobs.try_buffer_unordered(bytes as usize / BATCH_BYTES));
        let mut done = 0;
        while let Some(end) = jobs.try_next().await? {
            done = done.max(end);
            (self.on_progress)(Progress { done, total: self.disk.size });
        }
        drop(jobs);
        let size = self.disk.size;
        let finish = move || {
            let ended = write_all_at(partial.file(), ending.bytes(), size);
            ended.map_err(|error| writing(partial.path(), error)).and_then(|()| partial.finish(sync))
        };
        self.workers.run(finish).await?;
        (self.on_progress)(Progress { done: size, total: size });
        Ok(())
    }

    /// Writes the disk, including its zeros, to `writer`, and returns the writer.
    pub(crate) async fn to_writer<W: Write + Send + 'static>(&self, writer: W, ending: Ending) -> Result<W> {
        let (bytes, _more) = bytes_of(self.memory);
        let (unpackers, turns) = (BufferPool::default(), self.turns());
        let turns = &turns;
        let jobs = self.batches().map_ok(|span| {
            let unpackers = unpackers.clone();
            async move {
                let (positions, records): (Vec<u64>, Vec<RecordRef>) = span.into_iter().unzip();
                let target = Path::new("writer");
                let verified = self.content.read(&records, |stored| {
                    let batch = self.batch(&positions, &records, stored);
                    let mut unpacker: Unpacker = unpackers.take().unwrap_or_default();
                    let verify = move || batch.verify(&mut unpacker).map(|()| (batch, unpacker));
                    async move {
                        let _turn = turns.take(1).await;
                        self.workers.run(verify).await.map_err(|wrong| wrong.at(target))
                    }
                });
                Ok::<_, Error>((self.end_of(&positions), verified.await?))
            }
        });
        let mut jobs = Box::pin(jobs.try_buffered(bytes as usize / (2 * BATCH_BYTES)));
        let mut sequential = Sequential { writer, at: 0 };
        let target = Path::new("writer");
        while let Some((end, (batch, unpacker))) = jobs.try_next().await? {
            let unpackers = unpackers.clone();
            let write = move || {
                batch.runs(&unpacker).try_for_each(|run| sequential.write_at(run.offset, run.bytes))?;
                unpackers.give(unpacker);
                Ok(sequential)
            };
            sequential = self.workers.run(write).await.map_err(|error| writing(target, error))?;
            (self.on_progress)(Progress { done: end, total: self.disk.size });
        }
        let size = self.disk.size;
        let finish = move || {
            sequential.write_at(size, ending.bytes())?;
            sequential.writer.flush()?;
            Ok(sequential.writer)
        };
        let writer = self.workers.run(finish).await.map_err(|error| writing(target, error))?;
        (self.on_progress)(Progress { done: size, total: size });
        Ok(writer)
    }

    /// Returns the chunk references in disk order. Fails at the end if their digest is not the disk's.
    fn batches(&self) -> impl Stream<Item = Result<Span>> {
        let walk = (IndexWalk::new(self.content.clone(), self.disk), ImageDigest::new(self.disk.size));
        let expected = self.disk.digest;
        let spans = stream::try_unfold(Some(walk), move |state| async move {
            let Some((mut walk, mut digest)) = state else { return Ok(None) };
            match walk.next_span().await? {
                Some(span) => {
                    span.iter().for_each(|(position, chunk)| digest.add(*position, &chunk.digest));
                    Ok(Some((span, Some((walk, digest)))))
                }
                None if digest.finish() == expected => Ok(None),
                None => Err(Error::corrupt(self.content.label(), "the index does not match the digest of the disk")),
            }
        });
        spans
            .map_ok(|span| stream::iter(span.chunks(BATCH_CHUNKS).map(|batch| Ok(batch.to_vec())).collect::<Vec<_>>()))
            .try_flatten()
    }

    /// The turns on the workers: one each, and one that is ready when a worker becomes free.
    fn turns(&self) -> Budget {
        Budget::new(self.workers.parallelism() as u64 + 1)
    }

    fn batch(&self, positions: &[u64], records: &[RecordRef], stored: Vec<StoredRecord>) -> Batch {
        let (positions, records) = (positions.to_vec(), records.to_vec());
        Batch { positions, records, stored, disk_size: self.disk.size }
    }

    /// Returns the disk offset at which a batch ends.
    fn end_of(&self, positions: &[u64]) -> u64 {
        positions.last().map_or(0, |last| (last + 1) * CHUNK_BYTES as u64).min(self.disk.size)
    }
}

fn writing(path: &Path, error: io::Error) -> Error {
    Error::from_io(path.display().to_string(), "writing the disk", error)
}

/// Records to verify and write.
struct Batch {
    positions: Vec<u64>,
    records: Vec<RecordRef>,
    stored: Vec<StoredRecord>,
    disk_size: u64,
}

/// The failure of a batch.
enum Wrong {
    Damaged(RecordRef, Error),
    Writing(io::Error),
}

impl Wrong {
    fn at(self, path: &Path) -> Rejected {
        match self {
            Self::Damaged(record, error) => Rejected::Damaged(record, error),
            Self::Writing(error) => Rejected::Failed(writing(path, error)),
        }
    }
}

/// A run of bytes of a disk that are not all zero.
struct Run<'a> {
    offset: u64,
    bytes: &'a [u8],
}

impl Batch {
    /// Verifies every chunk of the batch: nothing is written before all of it is verified.
    fn verify(&self, unpacker: &mut Unpacker) -> Result<(), Wrong> {
        for (number, (record, stored)) in self.records.iter().zip(&self.stored).enumerate() {
            let verified = unpacker.unpack(number, stored, &record.digest);
            verified.map_err(|error| Wrong::Damaged(*record, error))?;
        }
        Ok(())
    }

    /// Verifies one chunk and returns its runs that are not all zero, ascending.
    fn chunk<'a>(&'a self, number: usize, unpacker: &'a mut Unpacker) -> Result<impl Iterator<Item = Run<'a>>, Wrong> {
        let all = self.positions.get(number).zip(self.records.get(number)).zip(self.stored.get(number));
        if let Some(((_, record), stored)) = all {
            let verified = unpacker.unpack(0, stored, &record.digest);
            verified.map_err(|error| Wrong::Damaged(*record, error))?;
        }
        let unpacker = &*unpacker;
        Ok(all.into_iter().flat_map(move |((position, _), stored)| self.runs_of(*position, unpacker.chunk(0, stored))))
    }

    /// Returns the runs of a verified batch that are not all zero, ascending.
    fn runs<'a>(&'a self, unpacker: &'a Unpacker) -> impl Iterator<Item = Run<'a>> {
        let chunks = self.positions.iter().zip(&self.stored).enumerate();
        chunks.flat_map(move |(number, (position, stored))| self.runs_of(*position, unpacker.chunk(number, stored)))
    }

    fn runs_of<'a>(&self, position: u64, chunk: &'a [u8]) -> impl Iterator<Item = Run<'a>> + use<'a> {
        let disk_size = self.disk_size;
        occupied_runs(chunk).map(move |(offset, run)| {
            let offset = position * CHUNK_BYTES as u64 + offset as u64;
            // The last chunk of a disk is padded with zeros.
            let inside = usize::try_from(disk_size.saturating_sub(offset)).unwrap_or(usize::MAX);
            Run { offset, bytes: run.get(..inside.min(run.len())).unwrap_or_default() }
        })
    }
}

/// A writer with a position, which fills gaps with zeros.
struct Sequential<W> {
    writer: W,
    at: u64,
}

impl<W: Write> Sequential<W> {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        static ZEROS: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];
        while self.at < offset {
            let length = usize::try_from(offset - self.at).unwrap_or(usize::MAX).min(ZEROS.len());
            self.writer.write_all(ZEROS.get(..length).unwrap_or_default())?;
            self.at += length as u64;
        }
        self.writer.write_all(bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}

#[cfg(unix)]
fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = std::os::windows::fs::FileExt::seek_write(file, bytes, offset)?;
        bytes = bytes.get(written..).unwrap_or_default();
        offset += written as u64;
    }
    Ok(())
}
