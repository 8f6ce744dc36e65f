//! Chooses between the footer of a VHD and the copy at the start of a dynamic one.
//!
//! If the two disagree, either can be wrong, and a wrong size drops half a disk. So disagreement is refused, unless the
//! caller selects one. A fixed VHD has one footer; its first bytes are the guest's.

use super::footer::{DiskType, FOOTER_BYTES, Footer, Found};
use crate::disk::fields::{field, read};
use crate::disk::format::VhdFooter;
use crate::disk::lookalike::Lookalike;
use crate::disk::note::DiskNote;
use crate::disk::read_at::ReadAt;
use crate::error::{Error, Result};

/// The two footers of a file, as found.
pub(super) struct Footers {
    length: u64,
    end: Found,
    copy: Found,
    looks_like: Option<Lookalike>,
}

/// The footer in use.
pub(super) struct Chosen {
    pub(super) footer: Footer,
    /// The file offset that no block of a dynamic VHD passes.
    pub(super) blocks_end: u64,
    pub(super) note: Option<DiskNote>,
}

/// A field of both footers: its name, offset and length.
type Field = (&'static str, usize, usize);

/// The fields that decide which bytes are read, or identify the disk.
const FIELDS: [Field; 5] = [
    ("disk type", 60, 4),
    ("size", 48, 8),
    ("original size", 40, 8),
    ("offset of the header", 16, 8),
    ("unique id", 68, 16),
];

const COPY_AGAIN: &str = "copy the VHD again";

impl Footers {
    pub(super) fn read(file: &dyn ReadAt, target: &str) -> Result<Self> {
        let length = file.size();
        let Some(end) = length.checked_sub(FOOTER_BYTES) else {
            let what = format!("the file has `{length}` bytes, but the footer of a VHD alone has {FOOTER_BYTES}");
            return Err(Error::corrupt(target, what));
        };
        let head = read(file, 0, target, "reading the start of the file")?;
        let end = Found::at(read(file, end, target, "reading the footer")?);
        Ok(Self { length, end, looks_like: Lookalike::of_head(&head), copy: Found::at(head) })
    }

    pub(super) fn choose(&self, believed: VhdFooter, target: &str) -> Result<Chosen> {
        let end = self.whole(&self.end, target)?;
        if let Some(footer) = end.clone().filter(|end| end.disk_type == DiskType::Fixed) {
            return Ok(Chosen { footer, blocks_end: self.before_the_end(), note: None });
        }
        // Only a dynamic VHD has a copy; in a fixed one, these bytes are the guest's.
        let copy = self.whole(&self.copy, target).ok().flatten().filter(|copy| copy.disk_type == DiskType::Dynamic);
        let disagree = self.disagreement();
        let chosen = |footer: Footer, blocks_end: u64, other: &Found| {
            let agree = disagree.is_empty() && matches!(other, Found::Whole(_));
            let note = (!agree).then_some(DiskNote::OneFooterBelieved(believed));
            Ok(Chosen { footer, blocks_end, note })
        };
        let no_footer_end = if matches!(self.end, Found::Else(_)) { self.length } else { self.before_the_end() };
        match (believed, end, copy) {
            (VhdFooter::Both, Some(end), _) if disagree.is_empty() && matches!(self.copy, Found::Whole(_)) => {
                chosen(end, self.before_the_end(), &self.copy)
            }
            (VhdFooter::End, Some(end), _) => chosen(end, self.before_the_end(), &self.copy),
            (VhdFooter::Copy, _, Some(copy)) => chosen(copy, no_footer_end, &self.end),
            (_, None, None) => Err(Error::corrupt(target, self.no_vhd(target))),
            (_, None, Some(copy)) => {
                let fault = self.no_footer();
                let what = format!(
                    "{fault}; the copy of the footer at the file's start is whole, of a disk of {} bytes: {COPY_AGAIN}, or \
                     accept the copy by `DiskSource::with_vhd_footer(VhdFooter::Copy)`",
                    copy.current_size
                );
                Err(Error::corrupt(target, what))
            }
            (_, Some(_), _) if !disagree.is_empty() => {
                let what = format!(
                    "the footer and the copy of the footer at the file's start disagree: {}; {COPY_AGAIN}, or choose one by \
                     `DiskSource::with_vhd_footer`",
                    disagree.join(", ")
                );
                Err(Error::corrupt(target, what))
            }
            (_, Some(end), _) => {
                let what = format!(
                    "the copy of the footer at the file's start {}, while the footer is whole, of a disk of {} bytes: \
                     {COPY_AGAIN}, or accept the footer by `DiskSource::with_vhd_footer(VhdFooter::End)`",
                    fault(&self.copy),
                    end.current_size
                );
                Err(Error::corrupt(target, what))
            }
        }
    }

    fn before_the_end(&self) -> u64 {
        self.length - FOOTER_BYTES
    }

    /// Returns the footer if it is intact. Fails if it describes an unsupported disk.
    fn whole(&self, found: &Found, target: &str) -> Result<Option<Footer>> {
        match found {
            Found::Whole(bytes) => Footer::parse(bytes, target).map(Some),
            Found::Damaged { .. } | Found::Else(_) => Ok(None),
        }
    }

    /// Returns the fields in which two intact footers disagree.
    fn disagreement(&self) -> Vec<String> {
        let (Found::Whole(end), Found::Whole(copy)) = (&self.end, &self.copy) else { return Vec::new() };
        let value = |bytes: &[u8; 512], (_, at, length): &Field| match *length {
            4 => u32::from_be_bytes(field(bytes, *at)).to_string(),
            8 => u64::from_be_bytes(field(bytes, *at)).to_string(),
            _ => format!("{:032x}", u128::from_be_bytes(field(bytes, *at))),
        };
        let differs = FIELDS.iter().filter_map(|one| {
            let (end, copy) = (value(end, one), value(copy, one));
            (end != copy).then(|| format!("the {} is `{end}` in the footer and `{copy}` in the copy", one.0))
        });
        differs.collect()
    }

    /// Describes the fault of a file with an intact copy and no footer.
    fn no_footer(&self) -> String {
        match &self.end {
            Found::Else(_) => format!(
                "the file is truncated: it begins with the copy of a footer but ends, after `{}` bytes, without the footer",
                self.length
            ),
            found => format!("the footer {}", fault(found)),
        }
    }

    /// Describes the fault of a file without an intact footer.
    fn no_vhd(&self, target: &str) -> String {
        let Found::Else(begin) = &self.end else {
            return format!("the footer {}; {COPY_AGAIN}", fault(&self.end));
        };
        let fix = match &self.looks_like {
            Some(format) => format!("it looks like {}: {}", format.name, format.instead_of_vhd(target)),
            None => format!("{COPY_AGAIN}, or state `DiskFormat::Raw` if it is a raw disk"),
        };
        format!(
            "the file is not a VHD, or it is truncated: its last {FOOTER_BYTES} bytes begin with `{}` and not with `conectix`; \
             {fix}",
            begin.escape_ascii()
        )
    }
}

fn fault(found: &Found) -> String {
    match found {
        Found::Whole(_) => "is of no dynamic VHD".into(),
        Found::Damaged { stored, computed } => {
            format!("is damaged: the checksum of the footer is `{stored:#010x}`, but its bytes sum to {computed:#010x}")
        }
        Found::Else(begin) => format!("is missing: `{}` is there", begin.escape_ascii()),
    }
}
