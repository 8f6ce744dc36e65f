//! Recognizes files that are declared raw and look like another format.
//!
//! It only refuses: the bytes may be a guest's, so they never choose how a disk is read.

use super::format::DiskFormat;
use super::vhd::footer::is_footer;

/// A file format that wraps a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lookalike {
    pub(super) name: &'static str,
    how: How,
}

/// The way from a file of a format to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// It is read as it is.
    Is(DiskFormat),
    /// By `qemu-img`, under this name of the format.
    Qemu(&'static str),
    /// By a command that writes the disk to its output.
    Unpack(&'static str),
    /// By a command that writes several files.
    Extract(&'static str),
}

/// These bytes at a file's start identify every format but a fixed VHD.
pub(super) const HEAD_BYTES: usize = 512;

/// Formats with their magic bytes and the offset of these.
const FORMATS: [(usize, &[u8], Lookalike); 20] = [
    (0, b"vhdxfile", Lookalike { name: "VHDX", how: How::Is(DiskFormat::Vhdx) }),
    (0, b"QFI\xfb", Lookalike { name: "qcow2", how: How::Is(DiskFormat::Qcow2) }),
    (0, b"QED\0", Lookalike { name: "QED", how: How::Qemu("qed") }),
    (0, b"KDMV", Lookalike { name: "VMDK", how: How::Is(DiskFormat::Vmdk) }),
    (0, b"COWD", Lookalike { name: "VMDK", how: How::Qemu("vmdk") }),
    (0, b"\xbe\xba\xfe\xca\0\0\0\0", Lookalike { name: "VMDK", how: How::Qemu("vmdk") }),
    (0, b"# Disk DescriptorFile", Lookalike { name: "VMDK", how: How::Is(DiskFormat::Vmdk) }),
    (64, b"\x7f\x10\xda\xbe", Lookalike { name: "VDI", how: How::Qemu("vdi") }),
    (0, b"WithoutFreeSpace", Lookalike { name: "Parallels", how: How::Qemu("parallels") }),
    (0, b"WithouFreSpacExt", Lookalike { name: "Parallels", how: How::Qemu("parallels") }),
    (0, b"\x1f\x8b\x08", Lookalike { name: "gzip", how: How::Unpack("gzip -dc") }),
    (0, b"\xfd7zXZ\0", Lookalike { name: "xz", how: How::Unpack("xz -dc") }),
    (0, b"\x28\xb5\x2f\xfd", Lookalike { name: "zstd", how: How::Unpack("zstd -dc") }),
    (0, b"\x04\x22\x4d\x18", Lookalike { name: "lz4", how: How::Unpack("lz4 -dc") }),
    (0, b"LZIP", Lookalike { name: "lzip", how: How::Unpack("lzip -dc") }),
    (4, b"1AY&SY", Lookalike { name: "bzip2", how: How::Unpack("bzip2 -dc") }),
    (0, b"PK\x03\x04", Lookalike { name: "zip", how: How::Extract("unzip") }),
    (0, b"7z\xbc\xaf\x27\x1c", Lookalike { name: "7z", how: How::Extract("7z x") }),
    (257, b"ustar", Lookalike { name: "tar", how: How::Extract("tar -xf") }),
    (0, b"\x3a\xff\x26\xed", Lookalike { name: "Android sparse image", how: How::Extract("simg2img") }),
];

const VHD: Lookalike = Lookalike { name: "VHD", how: How::Is(DiskFormat::Vhd) };

impl Lookalike {
    /// Returns the format that `head`, the start of a file, looks like.
    pub(super) fn of_head(head: &[u8]) -> Option<Self> {
        let found = FORMATS.iter().find(|(at, magic, _)| head.get(*at..).is_some_and(|rest| rest.starts_with(magic)));
        found.map(|(_, _, format)| *format)
    }

    /// As [`of_head`](Self::of_head), and also recognizes a VHD by its footer in `tail`.
    pub(super) fn of(head: &[u8], tail: &[u8]) -> Option<Self> {
        let footer = |bytes: &[u8]| bytes.first_chunk().is_some_and(is_footer);
        if footer(tail) || footer(head) { Some(VHD) } else { Self::of_head(head) }
    }

    /// Returns the fix for a file that was declared raw.
    pub(super) fn instead_of_raw(&self, file: &str) -> String {
        match self.how {
            How::Is(DiskFormat::Vhd) => "state `DiskFormat::Vhd`".into(),
            How::Is(format) => format!(
                "state `DiskFormat::{format:?}`, or convert it: `qemu-img convert -f {} -O raw {file} disk.raw`",
                self.name.to_lowercase()
            ),
            How::Qemu(format) => format!("convert it: `qemu-img convert -f {format} -O raw {file} disk.raw`"),
            How::Unpack(command) => format!("unpack it: `{command} {file} > disk.raw`"),
            How::Extract(command) => format!("take the disk out of it: `{command} {file}`"),
        }
    }

    /// Returns the fix for a file that was declared a VHD.
    pub(super) fn instead_of_vhd(&self, file: &str) -> String {
        let convert = |format: &str| {
            format!(
                "convert it: `qemu-img convert -f {format} -O vpc -o subformat=fixed,force_size=on {file} disk.vhd`"
            )
        };
        match self.how {
            How::Is(DiskFormat::Vhd) => self.instead_of_raw(file),
            How::Is(format) => format!("state `DiskFormat::{format:?}`, or {}", convert(&self.name.to_lowercase())),
            How::Qemu(format) => convert(format),
            How::Unpack(_) | How::Extract(_) => self.instead_of_raw(file).replace("disk.raw", "disk.vhd"),
        }
    }

    /// Returns the format, if it is one that is read.
    pub(super) fn format(&self) -> Option<DiskFormat> {
        match self.how {
            How::Is(format) => Some(format),
            How::Qemu(_) | How::Unpack(_) | How::Extract(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::vhd::footer::fixed_footer;

    #[test]
    fn each_format_is_told_by_its_bytes_and_nothing_else_is() {
        for (at, magic, format) in FORMATS {
            let mut head = vec![0; HEAD_BYTES];
            assert_eq!(Lookalike::of(&head, &head), None);
            head[at..at + magic.len()].copy_from_slice(magic);
            assert_eq!(Lookalike::of(&head, &[0; 512]), Some(format));
            assert_eq!(Lookalike::of(&head[..at + magic.len() - 1], &[]), None, "{}", format.name);
            head[at] ^= 1;
            assert_eq!(Lookalike::of(&head, &[0; 512]), None, "{}", format.name);
        }
        // An MBR, a GPT's protective one, a file system without a partition table, an encrypted disk: raw disks all.
        let mut mbr = vec![0; HEAD_BYTES];
        mbr[510..].copy_from_slice(b"\x55\xaa");
        let luks = [&b"LUKS\xba\xbe\0\x01"[..], &[0; 504]].concat();
        for head in [mbr, luks, b"XFSB".to_vec(), Vec::new()] {
            assert_eq!(Lookalike::of(&head, &[]), None, "{head:?}");
        }
    }

    #[test]
    fn a_footer_counts_only_with_its_checksum() {
        let mut footer = fixed_footer(1 << 20, 0, [0; 16]).unwrap();
        assert_eq!(Lookalike::of(&[0; 512], &footer), Some(VHD));
        assert_eq!(Lookalike::of(&footer, &[0; 512]), Some(VHD));
        footer[100] ^= 1;
        assert_eq!(Lookalike::of(&footer, &footer), None);
    }
}
