//! The descriptor: lines of text.

use crate::disk::fields::unsupported;
use crate::error::{Error, Result};

/// How a descriptor begins.
pub(super) const MAGIC: &[u8] = b"# Disk DescriptorFile";

/// The most bytes of a descriptor that are read.
pub(super) const MAX_BYTES: u64 = 64 << 10;

/// The one extent of a disk that can be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub(super) sectors: u64,
    /// `SPARSE`, `FLAT` or `VMFS`.
    pub(super) kind: String,
    pub(super) file: String,
    /// In sectors.
    pub(super) offset: u64,
}

impl Descriptor {
    pub(super) fn parse(bytes: &[u8], target: &str) -> Result<Self> {
        let text = String::from_utf8_lossy(bytes);
        // It is padded with zeros.
        let lines =
            text.split(['\n', '\r', '\0']).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut extents = Vec::new();
        for line in lines {
            if let Some((key, value)) =
                line.split_once('=').map(|(key, value)| (key.trim(), value.trim().trim_matches('"')))
            {
                let parent = key.eq_ignore_ascii_case("parentCID") && !value.eq_ignore_ascii_case("ffffffff");
                if parent || key.eq_ignore_ascii_case("parentFileNameHint") {
                    let what = format!(
                        "it is a delta of another disk (`{key}` is `{value}`), and parents are never followed; consolidate its \
                         snapshots, or clone it"
                    );
                    return Err(unsupported(target, what));
                }
            } else {
                extents.push(line);
            }
        }
        let [line] = extents.as_slice() else {
            let what = format!(
                "the descriptor has `{}` extents, and a disk of one is read; make one file of it: `vmware-vdiskmanager -r … -t 0`, \
                 `vmkfstools -i` or `qemu-img convert`",
                extents.len()
            );
            return Err(unsupported(target, what));
        };
        Self::extent(line)
            .ok_or_else(|| Error::corrupt(target, format!("the descriptor's extent `{line}` can't be read")))
    }

    fn extent(line: &str) -> Option<Self> {
        let (start, rest) = line.split_once('"')?;
        let (file, rest) = rest.split_once('"')?;
        let mut words = start.split_whitespace();
        let access = words.next()?;
        let (sectors, kind) = (words.next()?.parse().ok()?, words.next()?.to_ascii_uppercase());
        if !["RW", "RDONLY"].iter().any(|known| access.eq_ignore_ascii_case(known)) || words.next().is_some() {
            return None;
        }
        let offset = match rest.split_whitespace().next() {
            Some(offset) => offset.parse().ok()?,
            None => 0,
        };
        Some(Self { sectors, kind, file: file.to_owned(), offset })
    }
}
