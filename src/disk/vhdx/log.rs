//! The log: changes of the file's tables that were written here first, and perhaps not yet in their place.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::checksum::crc32c;
use super::header::{Guid, Header};
use super::overlay::{Change, Overlay};
use crate::disk::fields::{field, read_vec, unsupported};
use crate::disk::read_at::SharedDisk;
use crate::error::{Error, Result};

const SECTOR: usize = 4096;
const MAX_LOG_BYTES: u64 = 64 << 20;

/// An entry with a right checksum.
struct Entry {
    sequence: u64,
    /// The offset in the log of the oldest entry that this one needs.
    tail: u64,
    length: u64,
}

/// Returns the file as it is once its log is replayed.
pub(super) fn replayed(file: SharedDisk, header: &Header, target: &str) -> Result<SharedDisk> {
    if header.log_guid == Guid::default() {
        return Ok(file);
    }
    let length = header.log.end - header.log.start;
    if length > MAX_LOG_BYTES {
        let what = format!(
            "the log has `{length}` bytes, above the limit of {MAX_LOG_BYTES}; mount the disk and dismount it where it was made"
        );
        return Err(unsupported(target, what));
    }
    let log = read_vec(&*file, header.log.start, length, target, "reading the log")?;
    // Entries go around the end.
    let around = [log.as_slice(), log.as_slice()].concat();
    let entries = entries(&around, length, &header.log_guid, target)?;
    let Some(chain) = newest_chain(&entries, length) else {
        let what = "the header says that the log is in use, and it has no whole sequence of entries; the file is damaged: copy it again";
        return Err(Error::corrupt(target, what));
    };
    let entry_at = |at: u64, length: u64| around.get(at as usize..(at + length) as usize).unwrap_or_default();
    let head = chain.last().map_or(&[][..], |(at, entry)| entry_at(*at, entry.length));
    let (flushed, last) = (u64::from_le_bytes(field(head, 48)), u64::from_le_bytes(field(head, 56)));
    if file.size() < flushed {
        let what =
            format!("the file has `{}` bytes, and its log says that it had {flushed}: it is truncated", file.size());
        return Err(Error::corrupt(target, what));
    }
    let mut changed = Overlay::new(file, last);
    for (at, entry) in chain {
        replay(entry_at(at, entry.length), entry.sequence, &mut changed, target)?;
    }
    Ok(Arc::new(changed))
}

/// Finds the entries of the log, by their offsets.
fn entries(around: &[u8], length: u64, guid: &Guid, target: &str) -> Result<BTreeMap<u64, Entry>> {
    let mut found = BTreeMap::new();
    let (mut at, mut summed) = (0, 0);
    while at < length {
        let rest = around.get(at as usize..).unwrap_or_default();
        let claims = u64::from(u32::from_le_bytes(field(rest, 8)));
        let looks = rest.starts_with(b"loge") && field::<16>(rest, 32) == *guid;
        let possible = looks && claims >= SECTOR as u64 && claims.is_multiple_of(SECTOR as u64) && claims <= length;
        let bytes = rest.get(..claims as usize).unwrap_or_default();
        if possible {
            summed += claims;
            if summed > 4 * length {
                return Err(Error::corrupt(target, "the entries of the log overlap one another"));
            }
        }
        if possible && crc32c(bytes) == u32::from_le_bytes(field(bytes, 4)) {
            let (tail, sequence) =
                (u64::from(u32::from_le_bytes(field(bytes, 12))), u64::from_le_bytes(field(bytes, 16)));
            found.insert(at, Entry { sequence, tail, length: claims });
            at += claims;
        } else {
            at += SECTOR as u64;
        }
    }
    Ok(found)
}

/// Returns the entries to replay, in order: from the tail of the newest entry for which all are there, to that entry.
fn newest_chain(entries: &BTreeMap<u64, Entry>, length: u64) -> Option<Vec<(u64, &Entry)>> {
    let mut heads: Vec<(u64, &Entry)> = entries.iter().map(|(at, entry)| (*at, entry)).collect();
    heads.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.sequence));
    heads.into_iter().find_map(|(head, newest)| {
        let mut chain: Vec<(u64, &Entry)> = Vec::new();
        let mut at = newest.tail;
        loop {
            let entry = entries.get(&at)?;
            let follows = chain.last().is_none_or(|(_, before)| before.sequence.checked_add(1) == Some(entry.sequence));
            if !follows || chain.len() >= entries.len() {
                return None;
            }
            chain.push((at, entry));
            if at == head {
                return Some(chain);
            }
            at = (at + entry.length) % length;
        }
    })
}

fn replay(entry: &[u8], sequence: u64, file: &mut Overlay, target: &str) -> Result<()> {
    let wrong = |what: &str| Error::corrupt(target, format!("entry `{sequence}` of the log {what}"));
    let count = u32::from_le_bytes(field(entry, 24)) as usize;
    let described = (64 + 32 * count).next_multiple_of(SECTOR);
    let (Some(descriptors), Some(data)) = (entry.get(64..described), entry.get(described..)) else {
        return Err(wrong(&format!("claims `{count}` descriptors, more than it has room for")));
    };
    let mut data = data.as_chunks::<SECTOR>().0.iter();
    for descriptor in descriptors.as_chunks::<32>().0.iter().take(count) {
        let [a, b, at, of] = [0, 8, 16, 24].map(|at| u64::from_le_bytes(field(descriptor, at)));
        if of != sequence || !at.is_multiple_of(SECTOR as u64) {
            return Err(wrong(&format!("has a descriptor of entry `{of}` for byte `{at}`")));
        }
        let end = |length: u64| {
            at.checked_add(length).ok_or_else(|| wrong(&format!("changes bytes past 2^64, from `{at}` on")))
        };
        if descriptor.starts_with(b"zero") {
            file.change(at..end(b)?, Change::Zeros);
        } else if descriptor.starts_with(b"desc") {
            let sector = data.next().ok_or_else(|| wrong("lacks a sector of data"))?;
            let (high, low) = (u32::from_le_bytes(field(sector, 4)), u32::from_le_bytes(field(sector, 4092)));
            if !sector.starts_with(b"data") || (u64::from(high) << 32 | u64::from(low)) != sequence {
                return Err(wrong(&format!("has a torn sector of data for byte `{at}`")));
            }
            let mut bytes = *sector;
            // The first eight bytes and the last four are in the descriptor.
            bytes.iter_mut().zip(b.to_le_bytes()).for_each(|(to, from)| *to = from);
            let trailing = ((a >> 32) as u32).to_le_bytes();
            bytes.iter_mut().skip(4092).zip(trailing).for_each(|(to, from)| *to = from);
            file.change(at..end(SECTOR as u64)?, Change::Bytes(Arc::from(bytes.as_slice()), 0));
        } else {
            return Err(wrong(&format!(
                "has a descriptor of an unknown kind, `{}`",
                field::<4>(descriptor, 0).escape_ascii()
            )));
        }
    }
    Ok(())
}
