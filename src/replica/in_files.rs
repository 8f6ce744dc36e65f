//! Records that lie in files of this machine as they are on a disk, and were verified: the system copies them from there.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::index_walk::Span;
use super::located::Located;
use super::records::Records;
use super::slot::Slot;
use crate::content::chunk::{BLOCK_BYTES, CHUNK_BYTES, runs_of};
use crate::content::extents::Extents;
use crate::content::manifest::Packs;
use crate::content::record::{Encoding, Line};
use crate::host::within;
use crate::store::{BlobKey, BlobMeta, BlobStore, Latency};

/// The most packs of a batch that are open at the same time.
const MOST_FILES: usize = 4;

/// Bytes of a disk that lie in a file.
pub(crate) struct FileRun {
    pub(crate) file: Arc<File>,
    /// In the file.
    pub(crate) range: Range<u64>,
    /// The offset in the disk.
    pub(crate) at: u64,
}

/// An open blob, and the records of it that this process has verified.
struct Open {
    key: BlobKey,
    file: Arc<File>,
    verified: Extents,
}

/// Chunks in files, and the index of the slot that has them.
pub(crate) struct InFiles {
    pub(crate) runs: Vec<FileRun>,
    slot: usize,
}

impl Records {
    /// Returns where the chunks of a span lie in the slot that is read first: the blocks that are not all zero. `None` unless all are in
    /// few files of this machine, neither compressed nor encrypted, and verified by this process.
    pub(crate) async fn in_files(&self, span: &Span) -> Option<InFiles> {
        let (number, slot) = self.first_slot()?;
        Some(InFiles { runs: slot.in_files(self.packs(), span).await?, slot: number })
    }

    /// Ends the copy of chunks within a time, and notes what it tells of their slot. `None` if it has not ended.
    pub(crate) async fn copy<T>(
        &self,
        slot: usize,
        limit: Option<Duration>,
        copy: impl Future<Output = io::Result<T>>,
    ) -> Option<io::Result<T>> {
        let health = self.holders().slots().get(slot)?.health();
        let copied = within(health.clock(), limit, copy).await;
        match &copied {
            Some(Ok(_)) => self.holders().served(slot),
            Some(Err(_)) => {}
            None => health.failed(),
        }
        copied
    }
}

impl InFiles {
    /// Returns the index of the slot.
    pub(crate) fn slot(&self) -> usize {
        self.slot
    }
}

impl Slot {
    async fn in_files(&self, packs: &Packs, span: &Span) -> Option<Vec<FileRun>> {
        if !self.verified.is_on() || self.capabilities().latency() != Latency::Low {
            return None;
        }
        let of_packs = || span.chunk_by(|(_, one), (_, next)| one.pack == next.pack);
        if of_packs().nth(MOST_FILES).is_some() {
            return None;
        }
        let members = self.members_for(packs).await;
        let (mut runs, mut open) = (Vec::with_capacity(span.len()), None::<Open>);
        for of_pack in of_packs() {
            let (_, first) = of_pack.first()?;
            let member = self.located.member(&members, &first.pack).cloned();
            let blobs = match member {
                Some(member) => [member].into(),
                None => self.locate(packs.get(&first.pack)?).await.ok()?,
            };
            for (position, record) in of_pack {
                let line_in = |one: &'_ Located| one.head.line(record.ordinal).copied();
                let is_named = |line: &Line| line.content == record.digest;
                let mut lines = blobs.iter().filter_map(|one| Some((one, line_in(one).filter(is_named)?)));
                let (located, line) = lines.next()?;
                let occupied = match line.encoding {
                    Encoding::Plain => u16::MAX,
                    Encoding::Sparse { occupied } => occupied,
                    Encoding::Zstd | Encoding::Group { .. } => return None,
                };
                if open.as_ref().is_none_or(|open| open.key != located.key) {
                    open = Some(self.open_verified(located).await?);
                }
                let open = open.as_ref().filter(|open| open.verified.covers(&line.ordinals()))?;
                let (disk_offset, mut start) = (position * CHUNK_BYTES as u64, located.range(&line).start);
                runs.extend(runs_of(occupied).map(|blocks| {
                    let end = start + (blocks.len() * BLOCK_BYTES) as u64;
                    let range = std::mem::replace(&mut start, end)..end;
                    FileRun { file: open.file.clone(), range, at: disk_offset + (blocks.start * BLOCK_BYTES) as u64 }
                }));
            }
        }
        Some(runs)
    }

    async fn open_verified(&self, located: &Located) -> Option<Open> {
        let is_plain = located.head.key().is_none();
        if !is_plain || !self.verified.knows(self.shared_label(), &located.key) {
            return None;
        }
        let open = self.store.open_file(&located.blob).await.ok()??;
        // What the open file is, no other one is taken for.
        let observed =
            self.verified.observed(self.shared_label(), BlobMeta { key: located.key.clone(), ..open.meta })?;
        let verified = self.known_good(&located.head, Some(&observed));
        Some(Open { key: located.key.clone(), file: Arc::new(open.file), verified })
    }
}
