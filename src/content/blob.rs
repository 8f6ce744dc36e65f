//! Puts blobs together: places their records, and encrypts them.

use bytes::{Bytes, BytesMut};

use super::aead::TAG_BYTES;
use super::cipher::{DataKey, Salt};
use super::digest::Digest;
use super::head::{Described, Head, place_after, records_at};
use super::record::{Hashed, Line, bound_to};
use crate::error::{Error, Result};

/// Returns a blob of records of a pack, with its head. The same records, with the same key, give the same bytes.
pub(super) fn assembled(
    of: Described,
    content: Digest,
    mut records: Vec<(Line, Bytes)>,
    key: Option<&DataKey>,
) -> Result<(Head, Bytes)> {
    records.sort_unstable_by_key(|(line, _)| line.ordinal);
    let (start, tag_bytes) = (records_at(records.len()) as usize, if key.is_some() { TAG_BYTES } else { 0 });
    let mut blob = BytesMut::with_capacity(start + records.iter().map(|(_, bytes)| bytes.len() + 4096).sum::<usize>());
    blob.resize(start, 0);
    let (mut end, mut lines, mut before) = (0, Vec::<Line>::with_capacity(records.len()), None::<&Bytes>);
    let mut hashed = Hashed::default();
    for (line, bytes) in &records {
        let length = (bytes.len() + tag_bytes) as u32;
        let mut line = Line { length, offset: place_after(end, length.into()) as u32, ..*line };
        if key.is_some() {
            // The salt is chosen by the seals: they are of these bytes, whatever they were before.
            line = line.sealed(&hashed.hash_of(bytes));
        }
        // The chunks of a group have the same bytes, which are written once.
        let beside = lines.last().map(|last| Line { offset: last.offset, ..line });
        let shared =
            lines.last().zip(beside).filter(|(last, beside)| beside.shares_with(last) && before == Some(bytes));
        let line = match shared {
            Some((_, beside)) => beside,
            None => {
                blob.resize(start + line.offset as usize, 0);
                blob.extend_from_slice(bytes);
                blob.resize(blob.len() + tag_bytes, 0);
                line
            }
        };
        (end, before) = (line.range().end, Some(bytes));
        lines.push(line);
    }
    let encryption = match key {
        Some(key) => Some((key.number(), encrypt(of, key, &mut lines, blob.get_mut(start..).unwrap_or_default())?)),
        None => None,
    };
    let (head, bytes) = Head::build(of, content, lines, encryption);
    if let Some(place) = blob.get_mut(..start) {
        place.copy_from_slice(&bytes);
    }
    Ok((head, blob.freeze()))
}

/// Returns the salt of a blob of these lines, whose seals are those of the bytes before encryption: so the lines say all that is
/// encrypted, and where.
fn salt_of(of: Described, key: &DataKey, lines: &[Line]) -> Salt {
    let mut hasher = key.salt_hasher();
    hasher.update(&of.bytes());
    for line in lines {
        hasher.update(line.content.as_bytes()).update(line.seal.as_bytes());
        hasher.update(&line.offset.to_le_bytes()).update(&line.length.to_le_bytes());
        hasher.update(&line.ordinal.to_le_bytes());
    }
    hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default()
}

/// Encrypts records in place. `records` begin with the first one; behind each range is room for its tag, which its line counts. Seals the
/// lines anew, and returns the blob's salt.
pub(super) fn encrypt(of: Described, key: &DataKey, lines: &mut [Line], records: &mut [u8]) -> Result<Salt> {
    let salt = salt_of(of, key, lines);
    let (cipher, start) = (key.cipher(&of.bytes(), &salt)?, records_at(lines.len()));
    let broken = || Error::corrupt(format!("pack {}", of.pack), "a record has no room for what authenticates it");
    for sharing in lines.chunk_by_mut(|one, next| next.shares_with(one)) {
        let bound = bound_to(sharing);
        let Some(first) = sharing.first() else { continue };
        let range = first.offset as usize..first.range().end as usize;
        let stored = records.get_mut(range).ok_or_else(broken)?;
        let (record, place) = stored.split_last_chunk_mut::<TAG_BYTES>().ok_or_else(broken)?;
        *place = cipher.seal(start + u64::from(first.offset), &bound, record).ok_or_else(broken)?;
        let hash = Digest::of(stored);
        sharing.iter_mut().for_each(|line| *line = line.sealed(&hash));
    }
    Ok(salt)
}
