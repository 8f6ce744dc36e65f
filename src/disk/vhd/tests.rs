//! Whole files: written by hand, damaged, and made by `qemu-img`.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

#[cfg(feature = "_properties")]
use proptest::prelude::*;
#[cfg(feature = "_properties")]
use proptest::test_runner::RngSeed;

use super::fields::checksum;
use super::footer::{DiskType, Footer, Geometry, NO_OFFSET, fixed_footer};
use crate::disk::format::VhdFooter;
use crate::disk::note::DiskNote;
use crate::disk::read_at::{ReadAt, SharedDisk};
use crate::disk::vhd::open::open;
use crate::error::{ErrorKind, Result};

const UNALLOCATED: u32 = u32::MAX;
const TABLE_AT: usize = 1536;
/// The file's first sector after what [`dynamic`] puts before the blocks: three of footer and header, one of table.
const BLOCKS_AT: u32 = 4;

fn dynamic_footer(size: u64) -> Footer {
    Footer {
        features: 2,
        data_offset: 512,
        time_stamp: 0,
        creator_application: *b"test",
        creator_version: 0x0001_0000,
        creator_host_os: *b"Wi2k",
        original_size: size,
        current_size: size,
        geometry: Geometry { cylinders: 1, heads: 1, sectors_per_track: 1 },
        disk_type: DiskType::Dynamic,
        unique_id: [7; 16],
        saved_state: 0,
    }
}

/// A dynamic VHD with room for 128 table entries; each block is its bitmap's first byte and its data.
fn dynamic(size: u64, block_bytes: usize, table: &[u32], blocks: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut file = dynamic_footer(size).to_bytes().to_vec();
    file.extend(b"cxsparse");
    file.extend(NO_OFFSET.to_be_bytes());
    file.extend((TABLE_AT as u64).to_be_bytes());
    file.extend([0, 1, 0, 0]);
    file.extend((table.len() as u32).to_be_bytes());
    file.extend((block_bytes as u32).to_be_bytes());
    file.resize(TABLE_AT, 0);
    for entry in table {
        file.extend(entry.to_be_bytes());
    }
    file.resize(BLOCKS_AT as usize * 512, 0xff);
    let bitmap_bytes = (block_bytes / 4096).div_ceil(512).max(1) * 512;
    for (bits, data) in blocks {
        assert_eq!(data.len(), block_bytes);
        file.push(*bits);
        file.resize(file.len() + bitmap_bytes - 1, 0);
        file.extend(data);
    }
    file.extend_from_within(..512);
    repair(&mut file);
    file
}

/// Makes the checksums of footer, copy and header right again.
fn repair(file: &mut [u8]) {
    let footer_at = file.len() - 512;
    for (part, checksum_at) in [(footer_at..footer_at + 512, 64), (0..512, 64), (512..1536, 36)] {
        if let Some(part) = file.get_mut(part) {
            let sum = checksum(part, checksum_at);
            part[checksum_at..checksum_at + 4].copy_from_slice(&sum.to_be_bytes());
        }
    }
}

/// Bytes that are never zero and differ from sector to sector.
fn noise(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|at| ((at / 512 * 31 + at % 509 + seed * 97) % 255 + 1) as u8).collect()
}

/// Five blocks of four sectors, the last one short: the second and the fifth are there, out of order, and the fifth
/// misses its second sector.
fn sample() -> Vec<u8> {
    let table = [UNALLOCATED, BLOCKS_AT + 5, UNALLOCATED, UNALLOCATED, BLOCKS_AT];
    dynamic(9 * 1024, 2048, &table, &[(0b1011_0000, noise(2048, 5)), (0b1111_0000, noise(2048, 2))])
}

/// What a guest sees of [`sample`].
fn sample_content() -> Vec<u8> {
    let mut content = vec![0; 9 * 1024];
    content[2048..4096].copy_from_slice(&noise(2048, 2));
    content[8192..8704].copy_from_slice(&noise(2048, 5)[..512]);
    content
}

fn open_bytes(file: Vec<u8>) -> Result<SharedDisk> {
    open_believing(file, VhdFooter::Both).map(|(disk, _)| disk)
}

fn open_believing(file: Vec<u8>, footer: VhdFooter) -> Result<(SharedDisk, Option<DiskNote>)> {
    open(Arc::new(bytes::Bytes::from(file)), footer, "a.vhd")
}

fn open_file(file: Arc<dyn ReadAt>) -> SharedDisk {
    open(file, VhdFooter::Both, "a.vhd").unwrap().0
}

fn read_all(disk: &dyn ReadAt) -> Vec<u8> {
    let mut content = vec![0xaa; disk.size() as usize];
    disk.read_exact_at(&mut content, 0).unwrap();
    content
}

fn data_ranges(disk: &dyn ReadAt) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    let mut from = 0;
    while let Some(range) = disk.next_data(from).unwrap() {
        assert!(from <= range.start && range.start < range.end && range.end <= disk.size(), "{range:?}");
        from = range.end;
        ranges.push(range);
    }
    ranges
}

/// What is read of the data ranges, with zeros between them.
fn read_sparse(disk: &dyn ReadAt) -> Vec<u8> {
    let mut content = vec![0; disk.size() as usize];
    for range in data_ranges(disk) {
        disk.read_exact_at(&mut content[range.start as usize..range.end as usize], range.start).unwrap();
    }
    content
}

fn refused(file: Vec<u8>, kind: ErrorKind, says: &str) {
    let Err(error) = open_bytes(file) else { panic!("a file was accepted that should say {says}") };
    assert_eq!((error.kind(), error.target()), (kind, "a.vhd"), "{error}");
    assert!(error.to_string().contains(says), "{error} does not say {says}");
}

/// [`sample`] with `value` at `at`, and right checksums.
fn patched(at: usize, value: &[u8]) -> Vec<u8> {
    let mut file = sample();
    file[at..at + value.len()].copy_from_slice(value);
    repair(&mut file);
    file
}

/// [`sample`] with `value` at `at` of its footer and of the copy, and right checksums.
fn patched_footer(at: usize, value: &[u8]) -> Vec<u8> {
    let mut file = patched(sample().len() - 512 + at, value);
    file[at..at + value.len()].copy_from_slice(value);
    repair(&mut file);
    file
}

#[test]
fn a_dynamic_disk_reads_as_its_blocks_and_zeros() {
    let disk = open_bytes(sample()).unwrap();
    assert_eq!(disk.size(), 9 * 1024);
    assert!(read_all(&*disk) == sample_content());
    assert_eq!(data_ranges(&*disk), [2048..4096, 8192..9216]);
    assert_eq!(disk.next_data(3000).unwrap(), Some(3000..4096));
    assert_eq!(disk.next_data(9216).unwrap(), None);
    assert_eq!(disk.next_data(u64::MAX).unwrap(), None);
}

#[test]
fn any_window_reads_as_that_part_of_the_whole() {
    let (disk, content) = (open_bytes(sample()).unwrap(), sample_content());
    for start in (0..content.len()).step_by(173) {
        for length in [0, 1, 511, 512, 513, 1700, 2048, 5000] {
            let end = content.len().min(start + length);
            let mut window = vec![0xaa; end - start];
            disk.read_exact_at(&mut window, start as u64).unwrap();
            assert!(window == content[start..end], "{start}..{end}");
        }
    }
    for (offset, length) in [(9 * 1024, 1), (9 * 1024 - 1, 2), (u64::MAX, 2), (u64::MAX - 1, 1)] {
        let error = disk.read_exact_at(&mut vec![0; length], offset).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}

#[test]
fn a_sector_whose_bit_is_clear_reads_as_zero_whatever_the_file_has_there() {
    for bits in 0..=255_u8 {
        let data = noise(4096, 1);
        let disk = open_bytes(dynamic(4096, 4096, &[BLOCKS_AT], &[(bits, data.clone())])).unwrap();
        let mut expected = data;
        for sector in (0..8).filter(|sector| bits & (0x80 >> sector) == 0) {
            expected[sector * 512..][..512].fill(0);
        }
        assert!(read_all(&*disk) == expected, "{bits:#010b}");
        let mut middle = vec![0xaa; 2000];
        disk.read_exact_at(&mut middle, 1100).unwrap();
        assert!(middle == expected[1100..3100], "{bits:#010b}");
    }
}

#[test]
fn a_bitmap_of_several_sectors_is_read_where_the_window_is() {
    const BLOCK: usize = 4 << 20;
    let bits = noise(BLOCK / 4096, 4);
    let data = noise(BLOCK, 1);
    let mut file = dynamic(BLOCK as u64, BLOCK, &[BLOCKS_AT], &[(0, data.clone())]);
    file[BLOCKS_AT as usize * 512..][..bits.len()].copy_from_slice(&bits);
    let mut expected = data;
    for (number, sector) in expected.chunks_mut(512).enumerate() {
        if bits[number / 8] & (0x80 >> (number % 8)) == 0 {
            sector.fill(0);
        }
    }
    let disk = open_bytes(file).unwrap();
    assert!(read_all(&*disk) == expected);
    let across_bytes = (0..40).map(|sector| (sector * 512 + 100, 1024));
    let far = [(5000, 9000), (BLOCK / 2 + 3 * 512 + 1, 70_000), (BLOCK - 513, 513)];
    for (start, length) in across_bytes.chain(far) {
        let mut window = vec![0xaa; length];
        disk.read_exact_at(&mut window, start as u64).unwrap();
        assert!(window == expected[start..start + length], "{start}");
    }
}

/// A file that knows its data and notes its reads.
struct Watched {
    bytes: Vec<u8>,
    data: Vec<Range<u64>>,
    reads: Mutex<Vec<(u64, usize)>>,
}

impl ReadAt for Watched {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.reads.lock().unwrap().push((offset, buffer.len()));
        buffer.copy_from_slice(&self.bytes[offset as usize..][..buffer.len()]);
        Ok(())
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        Ok(self.data.iter().find(|range| range.end > from).map(|range| range.start.max(from)..range.end))
    }
}

#[test]
fn holes_of_the_file_are_holes_of_the_disk() {
    let blocks_at = u64::from(BLOCKS_AT) * 512;
    // Of the block that the disk has second and the file last, only the second sector.
    let sector = blocks_at + 2560 + 512 + 512;
    let data = vec![0..blocks_at, sector..sector + 512];
    let file = Watched { bytes: sample(), data, reads: Mutex::default() };
    let disk = open_file(Arc::new(file));
    assert_eq!(disk.next_data(0).unwrap(), Some(2560..3072));
    assert_eq!(disk.next_data(3072).unwrap(), None);

    let mut file = noise(4096, 0);
    file.extend(fixed_footer(4096, 0, [0; 16]).unwrap());
    let data = vec![512..1024, 3584..4608];
    let disk = open_file(Arc::new(Watched { bytes: file, data, reads: Mutex::default() }));
    assert_eq!(data_ranges(&*disk), [512..1024, 3584..4096]);
}

#[test]
fn a_large_read_takes_two_reads_a_block_however_ragged_its_bitmap() {
    let bytes = dynamic(4096 * 2, 4096, &[BLOCKS_AT, BLOCKS_AT + 9], &[(0x55, noise(4096, 1)), (0xff, noise(4096, 2))]);
    let file = Arc::new(Watched { bytes, data: Vec::new(), reads: Mutex::default() });
    let disk = open_file(file.clone());
    file.reads.lock().unwrap().clear();
    read_all(&*disk);
    let at = u64::from(BLOCKS_AT) * 512;
    let expected = [(at, 1), (at + 512, 4096), (at + 4608, 1), (at + 5120, 4096)];
    assert_eq!(*file.reads.lock().unwrap(), expected);
}

#[test]
fn a_fixed_disk_is_all_but_the_footer() {
    let mut file = noise(1024, 3);
    file.extend(fixed_footer(1024, 0, [0; 16]).unwrap());
    let disk = open_bytes(file).unwrap();
    assert!(read_all(&*disk) == noise(1024, 3));
    assert_eq!(disk.next_data(0).unwrap(), Some(0..1024));
    assert_eq!(disk.next_data(1024).unwrap(), None);
    let beyond = disk.read_exact_at(&mut [0; 2], 1023).unwrap_err();
    assert_eq!(beyond.kind(), io::ErrorKind::UnexpectedEof, "the footer is not part of the disk");
}

#[test]
fn a_fixed_file_of_another_length_than_its_footer_says_is_refused() {
    let footer = fixed_footer(2048, 0, [0; 16]).unwrap();
    let file = |length| [noise(length, 0), footer.to_vec()].concat();
    refused(file(1024), ErrorKind::Corrupt, "truncated: it has `1536` bytes, but the footer says `2560`");
    refused(file(4096), ErrorKind::Corrupt, "too long: it has `4608` bytes, but the footer says `2560`");
}

#[test]
fn a_file_without_a_footer_is_refused() {
    refused(Vec::new(), ErrorKind::Corrupt, "`0` bytes");
    refused(noise(511, 0), ErrorKind::Corrupt, "`511` bytes");
    refused([b"QFI\xfb\0\0\0\x03".to_vec(), vec![0; 504]].concat(), ErrorKind::Corrupt, r"`QFI\xfb\x00\x00\x00\x03`");
    let mut short = sample();
    short.truncate(short.len() - 512);
    let says = format!("truncated: it begins with the copy of a footer but ends, after `{}` bytes", short.len());
    refused(short, ErrorKind::Corrupt, &says);
}

/// `sample` with another size in one of its footers.
fn with_size_in(footer: usize, size: u64) -> Vec<u8> {
    let mut file = sample();
    file[footer + 48..footer + 56].copy_from_slice(&size.to_be_bytes());
    repair(&mut file);
    file
}

#[test]
fn footers_that_disagree_are_refused_and_either_can_be_chosen() {
    let end = sample().len() - 512;
    refused(with_size_in(end, 4096), ErrorKind::Corrupt, "the size is `4096` in the footer and `9216` in the copy");
    refused(with_size_in(0, 4096), ErrorKind::Corrupt, "the size is `9216` in the footer and `4096` in the copy");
    for (wrong, footer, size) in [
        (end, VhdFooter::Copy, 9216),
        (end, VhdFooter::End, 4096),
        (0, VhdFooter::End, 9216),
        (0, VhdFooter::Copy, 4096),
    ] {
        let (disk, note) = open_believing(with_size_in(wrong, 4096), footer).unwrap();
        assert_eq!((disk.size(), note), (size, Some(DiskNote::OneFooterBelieved(footer))));
        assert!(read_all(&*disk) == sample_content()[..size as usize]);
    }
    for footer in [VhdFooter::Both, VhdFooter::End, VhdFooter::Copy] {
        assert_eq!(open_believing(sample(), footer).unwrap().1, None, "nothing was to choose");
    }
}

#[test]
fn one_whole_footer_of_two_is_enough_when_the_caller_chooses_it() {
    let last = sample().len() - 512;
    let (mut zeroed, mut flipped, mut no_copy, mut bad_copy) = (sample(), sample(), sample(), sample());
    zeroed[last..].fill(0);
    flipped[last + 50] ^= 1;
    no_copy[..512].fill(0);
    bad_copy[50] ^= 1;
    let cut = sample()[..last].to_vec();
    for (file, whole, says) in [
        (zeroed, VhdFooter::Copy, "VhdFooter::Copy"),
        (flipped, VhdFooter::Copy, "VhdFooter::Copy"),
        (cut, VhdFooter::Copy, "VhdFooter::Copy"),
        (no_copy, VhdFooter::End, "VhdFooter::End"),
        (bad_copy, VhdFooter::End, "VhdFooter::End"),
    ] {
        let other = if whole == VhdFooter::Copy { VhdFooter::End } else { VhdFooter::Copy };
        refused(file.clone(), ErrorKind::Corrupt, says);
        assert!(open_believing(file.clone(), other).is_err_and(|error| error.kind() == ErrorKind::Corrupt));
        let (disk, note) = open_believing(file, whole).unwrap();
        assert!(read_all(&*disk) == sample_content());
        assert_eq!(note, Some(DiskNote::OneFooterBelieved(whole)));
    }
    // Both gone.
    let mut none = sample();
    none[..512].fill(0);
    none[last..].fill(0);
    for footer in [VhdFooter::Both, VhdFooter::End, VhdFooter::Copy] {
        assert!(open_believing(none.clone(), footer).is_err());
    }
}

/// What a guest writes into its first sector is no copy of a footer.
#[test]
fn a_fixed_disk_that_begins_with_a_footer_is_read_by_its_own() {
    let mut file = sample();
    file.extend(fixed_footer(file.len() as u64, 0, [0; 16]).unwrap());
    for footer in [VhdFooter::Both, VhdFooter::End, VhdFooter::Copy] {
        let (disk, note) = open_believing(file.clone(), footer).unwrap();
        assert!(read_all(&*disk) == sample() && note.is_none(), "{footer:?}");
    }
    let mut truncated = noise(4096, 0);
    truncated[..512].copy_from_slice(&fixed_footer(2048, 0, [0; 16]).unwrap());
    assert!(open_believing(truncated, VhdFooter::Copy).is_err(), "a fixed VHD has no copy to believe");
}

#[test]
fn bytes_that_the_bitmap_hides_are_counted_when_they_are_read() {
    // Of eight sectors two are written; of the six others one is zero in the file too.
    let mut data = noise(4096, 1);
    data[1024..1536].fill(0);
    let disk = open_bytes(dynamic(4096, 4096, &[BLOCKS_AT], &[(0b1001_0000, data)])).unwrap();
    assert_eq!(disk.hidden_bytes(), 0);
    read_all(&*disk);
    assert_eq!(disk.hidden_bytes(), 5 * 512);
    let disk = open_bytes(sample()).unwrap();
    read_all(&*disk);
    // The last block is short: what lies behind the disk's end is not read.
    assert_eq!(disk.hidden_bytes(), 512);
}

#[test]
fn a_wrong_checksum_is_refused() {
    let mut file = sample();
    let last = file.len() - 512;
    file[last + 64..last + 68].copy_from_slice(&[1, 2, 3, 4]);
    refused(file, ErrorKind::Corrupt, "checksum of the footer is `0x01020304`");
    let mut file = sample();
    file[512 + 36..512 + 40].copy_from_slice(&[4, 3, 2, 1]);
    refused(file, ErrorKind::Corrupt, "checksum of the header is `0x04030201`");
}

#[test]
fn sizes_and_types_that_no_disk_has_are_refused() {
    refused(patched_footer(48, &0_u64.to_be_bytes()), ErrorKind::Invalid, "`0` bytes");
    refused(patched_footer(48, &9000_u64.to_be_bytes()), ErrorKind::Invalid, "`9000` bytes");
    refused(patched_footer(48, &(1_u64 << 63).to_be_bytes()), ErrorKind::Invalid, "`9223372036854775808` bytes");
    refused(patched_footer(60, &[0, 0, 0, 4]), ErrorKind::Unsupported, "backing files are never followed");
    refused(patched_footer(60, &[0, 0, 0, 9]), ErrorKind::Unsupported, "`9`");
}

#[test]
fn a_header_that_lies_is_refused() {
    refused(patched(512, b"cxsparsX"), ErrorKind::Corrupt, "`cxsparsX`");
    refused(patched(512 + 24, &[0, 2, 0, 0]), ErrorKind::Unsupported, "`0x00020000`");
    for bytes in [0_u32, 256, 3000, 1 << 31] {
        refused(patched(512 + 32, &bytes.to_be_bytes()), ErrorKind::Unsupported, &format!("block size is `{bytes}`"));
    }
    for offset in [0x2000_u64, u64::MAX] {
        refused(patched_footer(16, &offset.to_be_bytes()), ErrorKind::Corrupt, &format!("byte `{offset}`"));
        let says = format!("block table of 20 bytes at byte `{offset}`");
        refused(patched(512 + 16, &offset.to_be_bytes()), ErrorKind::Corrupt, &says);
    }
    let footer_at = sample().len() as u64 - 512;
    refused(patched(512 + 16, &(footer_at - 19).to_be_bytes()), ErrorKind::Corrupt, "is not inside");
    refused(patched_footer(16, &(footer_at - 1023).to_be_bytes()), ErrorKind::Corrupt, "is not inside");
    refused(
        patched(512 + 16, &520_u64.to_be_bytes()),
        ErrorKind::Corrupt,
        "block table at byte `520` overlaps the header",
    );
    refused(patched(512 + 16, &[0; 8]), ErrorKind::Corrupt, "overlaps the copy of the footer");
}

#[test]
fn a_table_of_the_wrong_length_is_refused() {
    refused(patched(512 + 28, &4_u32.to_be_bytes()), ErrorKind::Corrupt, "`4` entries");
    refused(patched(512 + 28, &u32::MAX.to_be_bytes()), ErrorKind::Corrupt, "block table of 17179869180 bytes");
    let mut file = patched(512 + 28, &u32::MAX.to_be_bytes());
    for footer in [0, file.len() - 512] {
        file[footer + 48..footer + 56].copy_from_slice(&(2040_u64 << 30).to_be_bytes());
    }
    file[512 + 32..512 + 36].copy_from_slice(&(256_u32 << 10).to_be_bytes());
    repair(&mut file);
    refused(file, ErrorKind::Unsupported, "33423360 bytes, above the limit of 16777216");
}

#[test]
fn blocks_outside_of_the_file_or_over_one_another_are_refused() {
    let entry = |number: usize, sector: u32| patched(TABLE_AT + 4 * number, &sector.to_be_bytes());
    refused(entry(0, u32::MAX - 1), ErrorKind::Corrupt, "block `0` at sector `4294967294` ends at");
    refused(entry(1, BLOCKS_AT + 6), ErrorKind::Corrupt, "block `1` at sector `10` ends at byte 7680");
    refused(entry(2, 0), ErrorKind::Corrupt, "block `2` at sector `0` overlaps the copy of the footer");
    refused(entry(2, 1), ErrorKind::Corrupt, "block `2` at sector `1` overlaps the header");
    refused(entry(2, 3), ErrorKind::Corrupt, "block `2` at sector `3` overlaps the block table");
    refused(entry(1, BLOCKS_AT + 4), ErrorKind::Corrupt, "sectors `4` and `8` overlap");
    refused(entry(1, BLOCKS_AT), ErrorKind::Corrupt, "sectors `4` and `4` overlap");
}

#[test]
fn entries_beyond_the_disk_are_not_looked_at() {
    let mut table = vec![BLOCKS_AT];
    table.resize(100, 0);
    let disk = open_bytes(dynamic(512, 512, &table, &[(0x80, noise(512, 1))])).unwrap();
    assert!(read_all(&*disk) == noise(512, 1));
}

#[cfg(feature = "_properties")]
proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(2000),
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_damaged_file_is_refused_or_readable(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        in_fields in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        kept in prop_oneof![4 => Just(None), 1 => any::<prop::sample::Index>().prop_map(Some)],
        repaired in any::<bool>(),
    ) {
        let mut file = sample();
        for (at, value) in flips {
            let at = at.index(file.len());
            file[at] ^= value;
        }
        // Most bytes say nothing; these say where everything is.
        let footer_at = file.len() - 512;
        let fields: Vec<usize> =
            [footer_at + 16..footer_at + 24, footer_at + 48..footer_at + 64, 528..548, 1536..1556].into_iter().flatten().collect();
        for (at, value) in in_fields {
            file[fields[at.index(fields.len())]] = value;
        }
        if let Some(kept) = kept {
            file.truncate(kept.index(file.len()));
        }
        if repaired && file.len() >= 512 {
            repair(&mut file);
        }
        if let Ok(disk) = open_bytes(file) {
            let mut window = vec![0; disk.size().min(64 << 10) as usize];
            disk.read_exact_at(&mut window, 0).unwrap();
            let last = disk.size() - window.len() as u64;
            disk.read_exact_at(&mut window, last).unwrap();
            prop_assert!(data_ranges(&*disk).len() <= 2);
        }
    }
}

fn qemu_img(arguments: &[&str], from: &Path, to: &Path) {
    let output = Command::new("qemu-img")
        .arg("convert")
        .args(arguments)
        .args([from, to])
        .output()
        .expect("this test needs `qemu-img` (Debian's package `qemu-utils`) on the PATH");
    assert!(output.status.success(), "qemu-img {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Seven and a bit MiB with data at the edges of QEMU's blocks of 2 MiB, and the second and third of them empty.
fn scattered() -> Vec<u8> {
    let mut raw = vec![0; (7 << 20) + 3 * 512];
    let last = raw.len() - 100;
    for (seed, at) in [0, 70_000, (2 << 20) - 700, (6 << 20) - 1, (6 << 20) + 4096, last].into_iter().enumerate() {
        let length = (raw.len() - at).min(5000 + seed);
        let length = if seed == 2 { 700 } else { length };
        raw[at..at + length].copy_from_slice(&noise(length, seed));
    }
    raw
}

/// What `qemu-img` makes of `raw`.
fn converted(raw: &[u8], arguments: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::write(&from, raw).unwrap();
    qemu_img(arguments, &from, &to);
    fs::read(to).unwrap()
}

#[test]
fn qemus_vhds_read_as_the_disk_that_they_were_made_of() {
    let raw = scattered();
    for (options, rounded) in [
        ("subformat=dynamic", true),
        ("subformat=dynamic,force_size=on", false),
        ("subformat=fixed", true),
        ("subformat=fixed,force_size=on", false),
    ] {
        let disk = open_bytes(converted(&raw, &["-f", "raw", "-O", "vpc", "-o", options])).unwrap();
        let content = read_all(&*disk);
        assert_eq!(content.len() > raw.len(), rounded, "{options}: {} bytes", content.len());
        assert!(content[..raw.len()] == raw && content[raw.len()..].iter().all(|&byte| byte == 0), "{options}");
        assert!(read_sparse(&*disk) == content, "{options}");
        if options.starts_with("subformat=dynamic") {
            let blocks: Vec<u64> = data_ranges(&*disk).iter().map(|range| range.start >> 21).collect();
            assert_eq!(blocks, [0, 2, 3], "{options}: the second block was never written");
        }
    }
}

#[test]
fn our_footer_differs_from_qemus_in_four_fields() {
    for size in [512_u64, 1_234_432, 1 << 20] {
        let raw = vec![0; size as usize];
        let file = converted(&raw, &["-f", "raw", "-O", "vpc", "-o", "subformat=fixed,force_size=on"]);
        let ours = fixed_footer(size, 0x0506_0708, *b"fedcba9876543210").unwrap();
        let theirs = &file[size as usize..];
        assert_eq!(theirs.len(), 512);
        let four = [24..28, 28..32, 64..68, 68..84];
        for at in (0..512).filter(|at| !four.iter().any(|field| field.contains(at))) {
            assert_eq!(ours[at], theirs[at], "byte {at} of the footer of a disk of {size} bytes");
        }
        assert_eq!(ours[24..28], [5, 6, 7, 8]);
        assert_eq!(&ours[28..32], b"cgal");
        assert_eq!(&ours[68..84], b"fedcba9876543210");
    }
}

/// By creator and geometry QEMU decides whether a disk has the footer's size or the geometry's; ours has the former.
#[test]
fn qemu_reads_our_fixed_disks_whole() {
    let raw = scattered();
    let mut file = raw.clone();
    file.extend(fixed_footer(raw.len() as u64, 0, [1; 16]).unwrap());
    assert!(converted(&file, &["-f", "vpc", "-O", "raw"]) == raw);
}

#[cfg(feature = "testkit")]
#[test]
fn the_fuzz_target_takes_anything() {
    let mut fixed = noise(512, 0);
    fixed.extend(fixed_footer(512, 0, [0; 16]).unwrap());
    for file in [Vec::new(), noise(3000, 1), sample(), fixed] {
        crate::disk::fuzz::vhd(&file);
    }
}
