//! Export: writes a version's disk from its index and packs, as a raw disk or in another format's layout.
//!
//! Batches of chunks are fetched from the store, verified and written by several workers at once, in any order for a
//! file, in disk order for a writer. How much is fetched ahead is a budget in bytes and does not depend on the number of workers.
//! Memory: one span of the index (12 MiB at most), 64 MiB of batches under way, and 4 MiB for each worker, whatever the disk's size. For
//! a writer, a batch under way is there packed and unpacked.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::stream::{self, Stream, TryStreamExt};

use super::buffers::BufferPool;
use super::image_digest::ImageDigest;
use super::target_file::{COPIES_INSIDE, copy_runs, is_there, write_all_at, write_runs, zero};
use crate::content::chunk::{CHUNK_BYTES, occupied_runs};
use crate::content::codec::Unpacker;
use crate::content::manifest::ManifestDisk;
use crate::content::record::{RecordRef, StoredRecord};
use crate::disk::format::WrittenFormat;
use crate::disk::layout::{Layout, Occupied};
use crate::disk::partial_file::PartialFile;
use crate::error::{Error, Result};
use crate::host::Workers;
use crate::host::in_flight::{Budget, bytes_of};
use crate::progress::{OnProgress, Progress};
use crate::replica::in_files::{FileRun, InFiles};
use crate::replica::index_walk::{IndexWalk, Span};
use crate::replica::records::{Records, Rejected};

/// Chunks fetched, verified and written together: 4 MiB of disk.
const BATCH_CHUNKS: usize = 64;

/// The bytes of a batch.
pub(crate) const BATCH_BYTES: usize = BATCH_CHUNKS * CHUNK_BYTES;

/// The batches after which a file that is to be durable is synced for the first time, and again: 64 MiB.
const SYNCED_BATCHES: u64 = 16;

/// One disk of a version, read from the slots that hold it whole.
pub(crate) struct Export<'a> {
    pub(crate) content: &'a Records,
    pub(crate) workers: &'a Workers,
    pub(crate) disk: &'a ManifestDisk,
    pub(crate) on_progress: &'a OnProgress,
    /// The bytes that all operations share.
    pub(crate) memory: &'a Budget,
    /// How long the system may take to copy a batch; `None` is unlimited.
    pub(crate) copy_within: Option<Duration>,
    /// Makes an error of the gallery's content one for the caller.
    pub(crate) told: &'a (dyn Fn(Error) -> Error + Sync),
}

impl Export<'_> {
    /// Returns the layout of the disk's file in a format: for one that leaves zeros out, the index is read for it.
    pub(crate) async fn layout(&self, format: WrittenFormat, created: i64, uuid: [u8; 16]) -> Result<Layout> {
        let occupied = match format.block_bytes(self.disk.size) {
            None => None,
            Some(block_bytes) => {
                let mut occupied = Occupied::new(self.disk.size, block_bytes);
                let mut walk = IndexWalk::new(self.content.clone(), self.disk);
                while let Some(span) = walk.next_span().await.map_err(self.told)? {
                    span.iter().for_each(|(position, _)| occupied.mark(position * CHUNK_BYTES as u64));
                }
                Some(occupied.counted())
            }
        };
        Layout::of(format, self.disk.size, created, uuid, occupied)
    }

    /// Writes the disk to a new file beside `path`, then renames it: readers see the old file, no file,
    /// or the whole new one. `sync` makes it durable before it returns. What a killed process has written of the same file is checked and
    /// not fetched again.
    pub(crate) async fn to_path(&self, path: &Path, layout: &Layout, sync: bool) -> Result<()> {
        let (target, content, size) = (path.to_owned(), layout.content(&self.disk.digest), layout.file_bytes());
        let partial = self.workers.run(move || PartialFile::create(target, &content, size)).await?;
        let before = if partial.is_taken_over() { Before::Checked } else { Before::Zeros };
        self.fill(partial.file(), path, layout, before, sync).await?;
        self.workers.run(move || partial.finish(sync)).await?;
        (self.on_progress)(Progress { done: self.disk.size, total: self.disk.size });
        Ok(())
    }

    /// Writes the raw disk over the bytes of an open device. What the device has behind the disk stays.
    pub(crate) async fn to_device(&self, file: File, path: &Path, layout: &Layout, sync: bool) -> Result<()> {
        self.fill(&file, path, layout, Before::Anything, sync).await?;
        let synced = self.workers.run(move || if sync { file.sync_all() } else { Ok(()) }).await;
        synced.map_err(|error| Error::from_io(path.display().to_string(), "syncing the device", error))?;
        (self.on_progress)(Progress { done: self.disk.size, total: self.disk.size });
        Ok(())
    }

    /// Writes the disk into an open file.
    async fn fill(&self, file: &File, path: &Path, layout: &Layout, before: Before, sync: bool) -> Result<()> {
        let (bytes, _more) = bytes_of(self.memory);
        let (unpackers, turns, writing_turn) = (BufferPool::default(), self.turns(), Budget::new(1));
        let (turns, writing_turn, unsynced) = (&turns, &writing_turn, &AtomicU64::new(0));
        // Where the chunks of the batches so far end in the file.
        let mut end_of_last = 0;
        let order = match before {
            Before::Zeros => Order::Stored,
            // What is between two chunks is zeroed.
            Before::Checked | Before::Anything => Order::Disk,
        };
        let jobs = self.batches(order).map_ok(|(span, share)| {
            let (file, unpackers) = (file.try_clone(), unpackers.clone());
            let places = span.iter().map(|(position, _)| self.place(layout, *position));
            let gaps = before.gaps(places, &mut end_of_last);
            async move {
                let file = Arc::new(file.map_err(|error| writing(path, error))?);
                if before == Before::Zeros
                    && COPIES_INSIDE
                    && let Some(found) = self.content.in_files(&span).await
                {
                    let turn = writing_turn.take(1).await;
                    if self.copy(found, file.clone(), path, layout).await? {
                        drop(turn);
                        self.write_back(file, path, unsynced, sync).await?;
                        return Ok(share);
                    }
                }
                let missing = self.missing(span, layout, &file, path, before, gaps).await?;
                let (positions, records): (Vec<u64>, Vec<RecordRef>) = missing.into_iter().unzip();
                if records.is_empty() {
                    return Ok(share);
                }
                let (batch, unpacker) = self.verified(&positions, &records, &unpackers, turns).await?;
                // One batch after the other: a file takes one write at a time, and a worker that waits for another's could verify.
                let turn = writing_turn.take(1).await;
                let (layout, unpackers, written) = (layout.clone(), unpackers.clone(), file.clone());
                let write = move || {
                    let runs = batch.runs(&unpacker, before).map(|run| (layout.place(run.offset), run.bytes));
                    write_runs(&file, runs)?;
                    unpackers.give(unpacker);
                    Ok(())
                };
                self.workers.run(write).await.map_err(|error| writing(path, error))?;
                drop(turn);
                self.write_back(written, path, unsynced, sync).await?;
                Ok::<u64, Error>(share)
            }
        });
        let mut jobs = Box::pin(jobs.try_buffer_unordered(self.under_way(bytes, BATCH_BYTES)));
        let mut done = 0;
        while let Some(share) = jobs.try_next().await? {
            done += share;
            (self.on_progress)(Progress { done, total: self.disk.size });
        }
        drop(jobs);
        let rest = before.gaps([(layout.file_bytes(), 0)].into_iter(), &mut end_of_last);
        let (layout, open) = (layout.clone(), file.try_clone().map_err(|error| writing(path, error))?);
        // ORDER: zeros, then pieces. The other way round, pieces -> zeros of a gap: a bitmap between two blocks is gone.
        let finish = move || {
            rest.into_iter().try_for_each(|gap| zero(&open, gap))?;
            let mut pieces = (0..).map_while(|number| layout.piece(number));
            pieces.try_for_each(|(at, bytes)| write_all_at(&open, &bytes, at))
        };
        self.workers.run(finish).await.map_err(|error| writing(path, error))
    }

    /// Lets the disk write what the file has, after some batches, while the rest comes: the sync at the end has less to wait for.
    async fn write_back(&self, file: Arc<File>, path: &Path, unsynced: &AtomicU64, sync: bool) -> Result<()> {
        let batches = unsynced.fetch_add(1, Ordering::Relaxed) + 1;
        if !sync || !batches.is_multiple_of(SYNCED_BATCHES) {
            return Ok(());
        }
        // The system tells a failure once: it is this one's, too.
        self.workers.run(move || file.sync_data()).await.map_err(|error| writing(path, error))
    }

    /// Lets the system copy from files into `file`. False on any failure: the bytes are read and written then, and an error of that says
    /// what is wrong.
    ///
    /// A copy that does not end in time ends the deployment: it may go on to write into the file, which must have no reader then. The next
    /// one reads another replica.
    async fn copy(&self, found: InFiles, file: Arc<File>, path: &Path, layout: &Layout) -> Result<bool> {
        let (layout, disk_size, slot) = (layout.clone(), self.disk.size, found.slot());
        let copy = move || {
            // The last chunk of a disk is padded with zeros.
            let inside = |run: FileRun| {
                let end = run.range.end.min(run.range.start + disk_size.saturating_sub(run.at));
                (run.file, run.range.start..end, layout.place(run.at))
            };
            copy_runs(&file, found.runs.into_iter().map(inside))
        };
        match self.content.copy(slot, self.copy_within, self.workers.run(copy)).await {
            Some(copied) => Ok(copied.is_ok()),
            None => {
                let what =
                    "a copy from the gallery's files has not ended in time: call again, and another replica is read";
                Err(Error::unavailable(path.display().to_string(), what))
            }
        }
    }

    /// The place of a chunk in the file, and its length there.
    fn place(&self, layout: &Layout, position: u64) -> (u64, u64) {
        let start = position * CHUNK_BYTES as u64;
        (layout.place(start), self.end_of(position) - start)
    }

    /// Zeros the gaps between chunks, and returns the chunks that are not in the file yet.
    async fn missing(
        &self,
        span: Span,
        layout: &Layout,
        file: &Arc<File>,
        path: &Path,
        before: Before,
        gaps: Vec<Range<u64>>,
    ) -> Result<Span> {
        if before == Before::Zeros {
            return Ok(span);
        }
        let places: Vec<(u64, u64)> = span.iter().map(|(position, _)| self.place(layout, *position)).collect();
        let (file, naming) = (file.clone(), self.content.naming());
        let check = move || {
            gaps.into_iter().try_for_each(|gap| zero(&file, gap))?;
            let mut missing = Vec::with_capacity(span.len());
            for (chunk, (at, length)) in span.into_iter().zip(places) {
                if before == Before::Anything || !is_there(&file, at, length, &chunk.1.digest, naming)? {
                    missing.push(chunk);
                }
            }
            Ok(missing)
        };
        self.workers.run(check).await.map_err(|error| writing(path, error))
    }

    /// Writes the disk, including its zeros, to `writer`, and returns the writer.
    pub(crate) async fn to_writer<W: Write + Send + 'static>(&self, writer: W, layout: &Layout) -> Result<W> {
        let (bytes, _more) = bytes_of(self.memory);
        let (unpackers, turns) = (BufferPool::default(), self.turns());
        let turns = &turns;
        let jobs = self.batches(Order::Disk).map_ok(|(span, _)| {
            let unpackers = unpackers.clone();
            async move {
                let (positions, records): (Vec<u64>, Vec<RecordRef>) = span.into_iter().unzip();
                let end = positions.last().map_or(0, |last| self.end_of(*last));
                let verified = self.verified(&positions, &records, &unpackers, turns);
                Ok::<_, Error>((end, verified.await?))
            }
        });
        let mut jobs = Box::pin(jobs.try_buffered(self.under_way(bytes, 2 * BATCH_BYTES)));
        let mut sequential = Sequential { writer, at: 0, layout: layout.clone(), pieces: 0 };
        let target = Path::new("writer");
        while let Some((end, (batch, unpacker))) = jobs.try_next().await? {
            let unpackers = unpackers.clone();
            let write = move || {
                batch.runs(&unpacker, Before::Zeros).try_for_each(|run| sequential.write_run(&run))?;
                unpackers.give(unpacker);
                Ok(sequential)
            };
            sequential = self.workers.run(write).await.map_err(|error| writing(target, error))?;
            (self.on_progress)(Progress { done: end, total: self.disk.size });
        }
        let size = self.disk.size;
        let finish = move || {
            sequential.finish()?;
            sequential.writer.flush()?;
            Ok(sequential.writer)
        };
        let writer = self.workers.run(finish).await.map_err(|error| writing(target, error))?;
        (self.on_progress)(Progress { done: size, total: size });
        Ok(writer)
    }

    /// Reads and verifies a batch.
    async fn verified(
        &self,
        positions: &[u64],
        records: &[RecordRef],
        unpackers: &BufferPool<Unpacker>,
        turns: &Budget,
    ) -> Result<(Batch, Unpacker)> {
        let verified = self.content.read(records, |stored| {
            let batch = self.batch(positions, records, stored);
            let mut unpacker: Unpacker = unpackers.take().unwrap_or_else(|| Unpacker::new(self.content.naming()));
            let verify = move || batch.verify(&mut unpacker).map(|()| (batch, unpacker));
            async move {
                let _turn = turns.take(1).await;
                self.workers.run(verify).await
            }
        });
        verified.await.map_err(self.told)
    }

    /// Returns the chunk references in batches, each with the bytes of the disk that it stands for. Fails at the end if their digest is not
    /// the disk's.
    fn batches(&self, order: Order) -> impl Stream<Item = Result<(Span, u64)>> {
        let walk = (IndexWalk::new(self.content.clone(), self.disk), ImageDigest::new(self.disk.size), 0);
        let spans = stream::try_unfold(Some(walk), move |state| async move {
            let Some((mut walk, mut digest, start)) = state else { return Ok(None) };
            match walk.next_span().await.map_err(self.told)? {
                Some(span) => {
                    span.iter().for_each(|(position, chunk)| digest.add(*position, &chunk.digest));
                    let end = span.last().map_or(start, |(position, _)| self.end_of(*position));
                    let chunks = span.len().max(1) as u64;
                    let batches = match order {
                        Order::Disk => span.chunks(BATCH_CHUNKS).map(<[_]>::to_vec).collect(),
                        Order::Stored => self.as_stored(span).await,
                    };
                    let with_share = |batch: Span| {
                        let share = (end - start) * batch.len() as u64 / chunks;
                        Ok((batch, share))
                    };
                    let batches: Vec<Result<(Span, u64)>> = batches.into_iter().map(with_share).collect();
                    Ok(Some((stream::iter(batches), Some((walk, digest, end)))))
                }
                None if digest.finish() == self.disk.digest => Ok(None),
                None => {
                    let what = "the index does not match the digest of the disk";
                    Err((self.told)(Error::corrupt(self.content.label(), what)))
                }
            }
        });
        spans.try_flatten()
    }

    /// Divides the chunks of a span into batches in the order in which they lie in the blobs of a slot, so that each is read with few
    /// requests: a blob is divided evenly, and small ones go together.
    async fn as_stored(&self, mut span: Span) -> Vec<Span> {
        let members = self.content.members().await;
        // Packs of an import are numbered in the order of the disk.
        let blob_of = |record: &RecordRef| match members.place(&record.pack) {
            Some((blob, offset)) => (Some(blob), offset, None),
            None => (None, 0, Some(record.pack)),
        };
        span.sort_by_cached_key(|(_, record)| (blob_of(record), record.ordinal));
        let mut batches: Vec<Span> = Vec::new();
        let is_of_one = |(_, one): &(u64, RecordRef), (_, next): &(u64, RecordRef)| {
            let ((blob, _, pack), (other, _, other_pack)) = (blob_of(one), blob_of(next));
            (blob, pack) == (other, other_pack)
        };
        for of_blob in span.chunk_by(is_of_one) {
            match batches.last_mut().filter(|last| last.len() + of_blob.len() <= BATCH_CHUNKS) {
                Some(last) => last.extend_from_slice(of_blob),
                None => {
                    let even = of_blob.len().div_ceil(of_blob.len().div_ceil(BATCH_CHUNKS));
                    batches.extend(of_blob.chunks(even).map(<[_]>::to_vec));
                }
            }
        }
        batches
    }

    /// Returns how many batches of `of_each` bytes are under way at most. What is near comes as fast as it is written: more would wait in
    /// memory, each byte of which is fresh, at the cost of a page fault for each 4 KiB, and gone from the processor's cache.
    fn under_way(&self, bytes: u64, of_each: usize) -> usize {
        let most = (bytes as usize / of_each).max(1);
        if self.content.are_near() { most.min(self.workers.parallelism() + 2) } else { most }
    }

    /// The turns on the workers: one each, and one that is ready when a worker becomes free.
    fn turns(&self) -> Budget {
        Budget::new(self.workers.parallelism() as u64 + 1)
    }

    fn batch(&self, positions: &[u64], records: &[RecordRef], stored: Vec<StoredRecord>) -> Batch {
        let (positions, records) = (positions.to_vec(), records.to_vec());
        Batch { positions, records, stored, disk_size: self.disk.size }
    }

    /// Returns the disk offset at which a chunk ends.
    fn end_of(&self, position: u64) -> u64 {
        ((position + 1) * CHUNK_BYTES as u64).min(self.disk.size)
    }
}

fn writing(path: &Path, error: io::Error) -> Error {
    Error::from_io(path.display().to_string(), "writing the disk", error)
}

/// The order in which chunks are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// That of the disk.
    Disk,
    /// That in which they are stored.
    Stored,
}

/// What a file holds before it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    /// Zeros: only what is not zero is written.
    Zeros,
    /// What a killed process left: chunks that are there are kept.
    Checked,
    /// Any bytes.
    Anything,
}

impl Before {
    /// Returns the ranges of the file between chunks, which are to be made zeros. `places` are the chunks' offsets and lengths.
    fn gaps(self, places: impl Iterator<Item = (u64, u64)>, end_of_last: &mut u64) -> Vec<Range<u64>> {
        if self == Self::Zeros {
            return Vec::new();
        }
        let gaps = places.filter_map(|(at, length)| {
            let gap = std::mem::replace(end_of_last, at + length)..at;
            (!gap.is_empty()).then_some(gap)
        });
        gaps.collect()
    }
}

/// Records to verify and write.
struct Batch {
    positions: Vec<u64>,
    records: Vec<RecordRef>,
    stored: Vec<StoredRecord>,
    disk_size: u64,
}

/// A run of bytes of a disk that are not all zero.
struct Run<'a> {
    offset: u64,
    bytes: &'a [u8],
}

impl Batch {
    /// Verifies every chunk of the batch: nothing is written before all of it is verified.
    fn verify(&self, unpacker: &mut Unpacker) -> Result<(), Rejected> {
        for (number, (record, stored)) in self.records.iter().zip(&self.stored).enumerate() {
            let verified = unpacker.unpack(number, stored, &record.digest);
            verified.map_err(|error| Rejected::Damaged(*record, error))?;
        }
        Ok(())
    }

    /// Returns the runs of a verified batch that are to be written, ascending: those that are not all zero, or all of each chunk where the
    /// file may hold other bytes.
    fn runs<'a>(&'a self, unpacker: &'a Unpacker, before: Before) -> impl Iterator<Item = Run<'a>> {
        let zeros_too = before != Before::Zeros;
        let chunks = self.positions.iter().zip(&self.stored).enumerate();
        chunks.flat_map(move |(number, (position, stored))| {
            let chunk = unpacker.chunk(number, stored);
            let whole = zeros_too.then(|| self.inside(*position, 0, chunk));
            let runs = (!zeros_too).then(|| self.runs_of(*position, chunk));
            whole.into_iter().chain(runs.into_iter().flatten())
        })
    }

    fn runs_of<'a>(&self, position: u64, chunk: &'a [u8]) -> impl Iterator<Item = Run<'a>> + use<'a> {
        let disk_size = self.disk_size;
        occupied_runs(chunk).map(move |(offset, run)| inside(disk_size, position, offset, run))
    }

    fn inside<'a>(&self, position: u64, offset: usize, run: &'a [u8]) -> Run<'a> {
        inside(self.disk_size, position, offset, run)
    }
}

/// The part of a chunk's run that is on the disk: the last chunk is padded with zeros.
fn inside(disk_size: u64, position: u64, offset: usize, run: &[u8]) -> Run<'_> {
    let offset = position * CHUNK_BYTES as u64 + offset as u64;
    let inside = usize::try_from(disk_size.saturating_sub(offset)).unwrap_or(usize::MAX);
    Run { offset, bytes: run.get(..inside.min(run.len())).unwrap_or_default() }
}

/// A writer with a position, which fills gaps with zeros and puts the pieces of the layout where they belong.
struct Sequential<W> {
    writer: W,
    at: u64,
    layout: Layout,
    /// The pieces that are written.
    pieces: u64,
}

impl<W: Write> Sequential<W> {
    fn write_run(&mut self, run: &Run<'_>) -> io::Result<()> {
        let at = self.layout.place(run.offset);
        self.pieces_before(at)?;
        self.write_at(at, run.bytes)
    }

    fn pieces_before(&mut self, end: u64) -> io::Result<()> {
        while let Some((at, bytes)) = self.layout.piece(self.pieces).filter(|(at, _)| *at < end) {
            self.write_at(at, &bytes)?;
            self.pieces += 1;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.pieces_before(u64::MAX)?;
        self.write_at(self.layout.file_bytes(), &[])
    }

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
