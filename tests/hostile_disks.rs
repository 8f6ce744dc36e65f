//! Disk files that claim too much, lead in circles, overlap or unpack to more than they say: each is refused with the value and the rule, or is
//! read as what it is, in little memory.
//!
//! Each test runs in a process of its own whose address space is limited: a reader that believes a header would be killed.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper of a test may fail as the test does")]

use std::path::Path;
use std::process::Command;

use compute_gallery::disk::{DiskFormat, DiskSource, Wrapping};
use compute_gallery::image::ImageDigest;
use compute_gallery::{Error, ErrorKind};

/// Of address space: the program and its threads take half of it.
const LIMIT_KIB: u64 = 512 << 10;

/// Runs the test of this name again, in little memory.
fn in_little_memory(name: &str, test: impl FnOnce()) {
    if std::env::var_os("IN_LITTLE_MEMORY").is_some() {
        return test();
    }
    let limited = format!("ulimit -S -v {LIMIT_KIB} && exec \"$0\" --exact \"$1\" --test-threads=1");
    let program = std::env::current_exe().unwrap();
    let run = Command::new("sh").arg("-c").arg(limited).arg(program).arg(name).env("IN_LITTLE_MEMORY", "1").output();
    let run = run.unwrap();
    let said = [run.stdout, run.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(run.status.success() && said.contains("1 passed"), "{}: {said}", run.status);
}

fn read(file: &[u8], format: DiskFormat) -> Result<String, Error> {
    ImageDigest::of(DiskSource::bytes(file.to_vec(), format)).map(|digest| digest.to_string())
}

/// It is refused, and the message has all of these.
fn refused(file: &[u8], format: DiskFormat, says: &[&str]) {
    let error = read(file, format).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported), "{error}");
    for part in says {
        assert!(error.to_string().contains(part), "`{error}` does not say `{part}`");
    }
}

fn is_the_disk(file: &[u8], format: DiskFormat, disk: &[u8]) {
    let raw = DiskSource::bytes(disk.to_vec(), DiskFormat::Raw).with_any_raw_content();
    assert_eq!(read(file, format).unwrap(), ImageDigest::of(raw).unwrap().to_string());
}

fn is_zeros(file: &[u8], format: DiskFormat, bytes: u64) {
    assert_eq!(read(file, format).unwrap(), ImageDigest::of(DiskSource::zeros(bytes).unwrap()).unwrap().to_string());
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

fn with(file: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    put(&mut file, at, bytes);
    file
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = Vec::with_capacity(length + 8);
    while noise.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend_from_slice(&state.to_le_bytes());
    }
    noise.truncate(length);
    noise
}

/// Runs a command of the shell, whose memory is not limited, and returns its output.
fn shell(command: &str, arguments: &[&Path]) -> Vec<u8> {
    let unlimited = format!("ulimit -S -v unlimited && {command}");
    let run = Command::new("sh").arg("-c").arg(unlimited).arg("sh").args(arguments).output().unwrap();
    assert!(run.status.success(), "this test needs `{command}`: {}", String::from_utf8_lossy(&run.stderr));
    run.stdout
}

/// What this program makes of so many zeros.
fn zeros_packed(mib: u32, program: &str) -> Vec<u8> {
    let packed = shell(&format!("head -c {mib}M /dev/zero | {program}"), &[]);
    assert!(!packed.is_empty(), "this test needs `{program}`");
    packed
}

/// A deflate stream of 64 MiB.
fn bomb() -> Vec<u8> {
    let gzip = zeros_packed(64, "gzip -9n");
    gzip[10..gzip.len() - 8].to_vec()
}

/// What `qemu-img` makes of these bytes.
fn made(disk: &[u8], format: &str, options: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let [raw, file] = ["raw", "file"].map(|name| folder.path().join(name));
    std::fs::write(&raw, disk).unwrap();
    shell(&format!("qemu-img convert -f raw -O {format} -o {options} \"$1\" \"$2\""), &[&raw, &file]);
    std::fs::read(file).unwrap()
}

mod qcow2 {
    use super::*;

    const FORMAT: DiskFormat = DiskFormat::Qcow2;

    /// Version 3, and its first level in the second cluster; the third is a table, the fourth and the fifth are data.
    fn file(cluster_bits: u32, size: u64) -> Vec<u8> {
        let cluster = 1_usize << cluster_bits.clamp(9, 21);
        let mut file = vec![0; 5 * cluster];
        put(&mut file, 0, b"QFI\xfb\0\0\0\x03");
        put(&mut file, 20, &cluster_bits.to_be_bytes());
        put(&mut file, 24, &size.to_be_bytes());
        put(&mut file, 36, &((cluster / 8) as u32).to_be_bytes());
        put(&mut file, 40, &(cluster as u64).to_be_bytes());
        put(&mut file, 96, &4_u32.to_be_bytes());
        put(&mut file, 100, &104_u32.to_be_bytes());
        file
    }

    const CLUSTER: usize = 64 << 10;

    /// A disk of four clusters, with these entries of its one table.
    fn with_entries(entries: &[u64]) -> Vec<u8> {
        let mut file = with(&file(16, 4 * CLUSTER as u64), CLUSTER, &(2 * CLUSTER as u64).to_be_bytes());
        file[3 * CLUSTER..].copy_from_slice(&noise(2 * CLUSTER));
        for (number, entry) in entries.iter().enumerate() {
            put(&mut file, 2 * CLUSTER + 8 * number, &entry.to_be_bytes());
        }
        file
    }

    #[test]
    fn a_size_of_2_to_the_63() {
        in_little_memory("qcow2::a_size_of_2_to_the_63", || {
            for size in [1 << 63, u64::MAX, (1 << 61) + 512] {
                for bits in 9..=21 {
                    refused(&file(bits, size), FORMAT, &[&format!("`{size}`"), "byte 24", "first level"]);
                }
            }
        });
    }

    #[test]
    fn cluster_bits_of_0_to_63() {
        in_little_memory("qcow2::cluster_bits_of_0_to_63", || {
            for bits in (0..64).chain([1 << 16, u32::MAX]) {
                match bits {
                    9..=21 => is_zeros(&file(bits, 8 << 10), FORMAT, 8 << 10),
                    _ => refused(&file(bits, 8 << 10), FORMAT, &[&format!("`{bits}`"), "byte 20", "9 to 21"]),
                }
            }
        });
    }

    #[test]
    fn a_first_level_of_4_gib() {
        in_little_memory("qcow2::a_first_level_of_4_gib", || {
            let entries = 1_u32 << 29;
            // A disk that needs it, and one that does not.
            let needed = with(&file(16, 1 << 58), 36, &entries.to_be_bytes());
            refused(&needed, FORMAT, &["4294967296", "33554432", "byte 24"]);
            is_zeros(&with(&file(16, 1 << 20), 36, &entries.to_be_bytes()), FORMAT, 1 << 20);
            // One within the limit, that is not there.
            let absent = with(&file(16, 1 << 50), 36, &entries.to_be_bytes());
            refused(&absent, FORMAT, &["first level", "`65536`", "not inside the file"]);
        });
    }

    #[test]
    fn tables_that_lead_in_circles() {
        in_little_memory("qcow2::tables_that_lead_in_circles", || {
            let cluster = CLUSTER as u64;
            let large = file(16, 1 << 30);
            let to = |at: u64| with(&large, CLUSTER, &at.to_be_bytes());
            refused(&to(cluster), FORMAT, &["entry `0`", "0x10000", "into the first level"]);
            let twice = with(&to(2 * cluster), CLUSTER + 8, &(2 * cluster).to_be_bytes());
            refused(&twice, FORMAT, &["same table", "`131072`"]);
            refused(&with_entries(&[2 * cluster]), FORMAT, &["byte `0`", "0x20000", "into a table"]);
            refused(&with_entries(&[0, cluster]), FORMAT, &["byte `65536`", "0x10000", "into the first level"]);
            refused(&with_entries(&[1 << 55]), FORMAT, &["byte `0`", "past the end"]);
            refused(&with_entries(&[3 * cluster + 512]), FORMAT, &["byte `0`", "no multiple"]);
        });
    }

    /// Legal, and harmless to a reader.
    #[test]
    fn clusters_that_overlap_read_as_the_same_bytes() {
        in_little_memory("qcow2::clusters_that_overlap_read_as_the_same_bytes", || {
            let at = 3 * CLUSTER as u64;
            let data = noise(2 * CLUSTER)[..CLUSTER].to_vec();
            is_the_disk(&with_entries(&[at; 4]), FORMAT, &data.repeat(4));
        });
    }

    #[test]
    fn a_cluster_that_unpacks_to_64_mib_is_no_more_than_a_cluster() {
        in_little_memory("qcow2::a_cluster_that_unpacks_to_64_mib_is_no_more_than_a_cluster", || {
            let at = 3 * CLUSTER as u64;
            let entry = |bytes: usize| 1 << 62 | (bytes as u64).div_ceil(512) << 54 | at;
            let deflate = bomb();
            let packed = with(&with_entries(&[entry(deflate.len()); 4]), 3 * CLUSTER, &deflate);
            is_zeros(&packed, FORMAT, 4 * CLUSTER as u64);
            let zstd = zeros_packed(64, "zstd -q -c");
            let mut packed = with(&with_entries(&[entry(zstd.len()); 4]), 3 * CLUSTER, &zstd);
            put(&mut packed, 72, &8_u64.to_be_bytes());
            put(&mut packed, 100, &112_u32.to_be_bytes());
            put(&mut packed, 104, &[1]);
            refused(&packed, FORMAT, &["zstd", "damaged"]);
        });
    }
}

mod vhdx {
    use super::*;

    const FORMAT: DiskFormat = DiskFormat::Vhdx;
    const MIB: usize = 1 << 20;
    const TABLE: &[u8] = b"\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd\x4a\x08";
    const PARAMETERS: &[u8] = b"\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b";
    const SIZE: &[u8] = b"\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8";

    fn file() -> Vec<u8> {
        made(&noise(3 * MIB), "vhdx", "block_size=1M")
    }

    fn crc32c(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |sum, byte| {
            (0..8).fold(sum ^ u32::from(*byte), |sum, _| sum >> 1 ^ (0x82f6_3b78 & (sum & 1).wrapping_neg()))
        })
    }

    /// With right checksums of the headers and the tables of regions.
    fn repaired(mut file: Vec<u8>) -> Vec<u8> {
        for (at, length) in [(64 << 10, 4096), (128 << 10, 4096), (192 << 10, 64 << 10), (256 << 10, 64 << 10)] {
            put(&mut file, at + 4, &[0; 4]);
            let sum = crc32c(&file[at..at + length]);
            put(&mut file, at + 4, &sum.to_le_bytes());
        }
        file
    }

    fn find(file: &[u8], id: &[u8], from: usize) -> usize {
        from + file[from..].windows(id.len()).position(|window| window == id).unwrap()
    }

    fn metadata(file: &[u8]) -> usize {
        (MIB..file.len()).step_by(MIB).find(|&at| file[at..].starts_with(b"metadata")).unwrap()
    }

    /// The place of an item of the metadata.
    fn item(file: &[u8], id: &[u8]) -> usize {
        let metadata = metadata(file);
        let entry = find(file, id, metadata);
        metadata + u32::from_le_bytes(file[entry + 16..entry + 20].try_into().unwrap()) as usize
    }

    /// The place of the table of blocks.
    fn table(file: &[u8]) -> usize {
        let entry = find(file, TABLE, 192 << 10);
        u64::from_le_bytes(file[entry + 16..entry + 24].try_into().unwrap()) as usize
    }

    #[test]
    fn a_size_of_2_to_the_63() {
        in_little_memory("vhdx::a_size_of_2_to_the_63", || {
            let file = file();
            for size in [1 << 63, u64::MAX, (64 << 40) + 512] {
                let claims = with(&file, item(&file, SIZE), &u64::to_le_bytes(size));
                refused(&claims, FORMAT, &[&format!("`{size}`"), "64 TiB"]);
            }
            let claims = with(&file, item(&file, SIZE), &(64_u64 << 40).to_le_bytes());
            refused(&claims, FORMAT, &["table of blocks", "has room for", "70368744177664"]);
        });
    }

    #[test]
    fn blocks_of_any_size() {
        in_little_memory("vhdx::blocks_of_any_size", || {
            let file = file();
            let at = item(&file, PARAMETERS);
            for block in [0, 1, 512, (1 << 20) - 1, 3 << 20, 512 << 20, 1 << 31, u32::MAX] {
                refused(&with(&file, at, &block.to_le_bytes()), FORMAT, &[&format!("`{block}`"), "1 to 256 MiB"]);
            }
        });
    }

    #[test]
    fn a_table_of_4_gib() {
        in_little_memory("vhdx::a_table_of_4_gib", || {
            let mut file = file();
            for regions in [192 << 10, 256 << 10] {
                let entry = find(&file, TABLE, regions);
                put(&mut file, entry + 24, &0xfff0_0000_u32.to_le_bytes());
            }
            refused(&repaired(file), FORMAT, &["table of blocks", "4293918720", "not inside the file"]);
        });
    }

    #[test]
    fn blocks_that_overlap_one_another_or_the_tables() {
        in_little_memory("vhdx::blocks_that_overlap_one_another_or_the_tables", || {
            let file = file();
            let table = table(&file);
            let first: [u8; 8] = file[table..table + 8].try_into().unwrap();
            refused(&with(&file, table + 8, &first), FORMAT, &["overlap", "1048576 bytes"]);
            for into in [MIB, table, metadata(&file)] {
                let entry = (into as u64 & !0xf_ffff | 6).to_le_bytes();
                refused(&with(&file, table + 8, &entry), FORMAT, &["overlaps the tables"]);
            }
            refused(&with(&file, table + 8, &6_u64.to_le_bytes()), FORMAT, &["block `1`", "into the headers"]);
            let far = (!0xf_ffff_u64 | 6).to_le_bytes();
            refused(&with(&file, table + 8, &far), FORMAT, &["block `1`", "past the end"]);
        });
    }

    /// A log that says that the file has 2^63 bytes, and makes them zeros: what is behind it may be claimed, and takes no memory.
    #[test]
    fn a_log_of_2_to_the_63_zeros() {
        in_little_memory("vhdx::a_log_of_2_to_the_63_zeros", || {
            let mut file = file();
            let (log, last) = (MIB, 1_u64 << 62);
            let mut entry = vec![0; 4096];
            put(&mut entry, 0, b"loge");
            put(&mut entry, 8, &4096_u32.to_le_bytes());
            put(&mut entry, 16, &1_u64.to_le_bytes());
            put(&mut entry, 24, &1_u32.to_le_bytes());
            put(&mut entry, 32, &[0x11; 16]);
            put(&mut entry, 56, &(1_u64 << 63).to_le_bytes());
            put(&mut entry, 64, b"zero");
            put(&mut entry, 72, &last.to_le_bytes());
            put(&mut entry, 80, &last.to_le_bytes());
            put(&mut entry, 88, &1_u64.to_le_bytes());
            let sum = crc32c(&entry);
            put(&mut entry, 4, &sum.to_le_bytes());
            put(&mut file, log, &entry);
            for header in [64 << 10, 128 << 10] {
                put(&mut file, header + 48, &[0x11; 16]);
            }
            is_the_disk(&repaired(file.clone()), FORMAT, &noise(3 * MIB));
            // A table that is long enough, all of it behind the file.
            for regions in [192 << 10, 256 << 10] {
                let entry = find(&file, TABLE, regions);
                put(&mut file, entry + 16, &last.to_le_bytes());
                put(&mut file, entry + 24, &0xfff0_0000_u32.to_le_bytes());
            }
            let size = item(&file, SIZE);
            put(&mut file, size, &(64_u64 << 40).to_le_bytes());
            refused(&repaired(file.clone()), FORMAT, &["above the limit of 8388608"]);
            put(&mut file, size, &(4_u64 << 40).to_le_bytes());
            is_zeros(&repaired(file), FORMAT, 4 << 40);
        });
    }
}

mod vmdk {
    use super::*;

    const FORMAT: DiskFormat = DiskFormat::Vmdk;
    const GRAIN: usize = 64 << 10;

    fn file() -> Vec<u8> {
        made(&noise(4 * GRAIN), "vmdk", "subformat=monolithicSparse")
    }

    fn at(file: &[u8], field: usize) -> usize {
        u64::from_le_bytes(file[field..field + 8].try_into().unwrap()) as usize * 512
    }

    fn sector(file: &[u8], field: usize) -> usize {
        u32::from_le_bytes(file[field..field + 4].try_into().unwrap()) as usize * 512
    }

    #[test]
    fn a_size_of_2_to_the_63() {
        in_little_memory("vmdk::a_size_of_2_to_the_63", || {
            let file = file();
            refused(&with(&file, 12, &(1_u64 << 63).to_le_bytes()), FORMAT, &["byte 12", "9223372036854775808"]);
            let most = u64::MAX / 512;
            refused(&with(&file, 12, &most.to_le_bytes()), FORMAT, &["directory", "above the limit of 16777216"]);
            // A directory within the limit, that is not there.
            let absent = with(&file, 12, &(1_u64 << 37).to_le_bytes());
            refused(&absent, FORMAT, &["directory", "not inside the file"]);
            let descriptor = b"# Disk DescriptorFile\nRW 18446744073709551615 SPARSE \"a.vmdk\"\n";
            assert!(read(descriptor, FORMAT).is_err());
        });
    }

    #[test]
    fn grains_and_tables_of_any_size() {
        in_little_memory("vmdk::grains_and_tables_of_any_size", || {
            let file = file();
            for grain in [0, 1, 4, 24, 8192, 1 << 32, 1 << 63, u64::MAX] {
                refused(&with(&file, 20, &u64::to_le_bytes(grain)), FORMAT, &[&format!("`{grain}`"), "byte 20"]);
            }
            for entries in [0, 513, 1 << 16, u32::MAX] {
                refused(&with(&file, 44, &u32::to_le_bytes(entries)), FORMAT, &[&format!("`{entries}`"), "byte 44"]);
            }
            let long = with(&file, 36, &u64::MAX.to_le_bytes());
            refused(&long, FORMAT, &["descriptor", "not inside the file"]);
        });
    }

    #[test]
    fn tables_that_lead_in_circles() {
        in_little_memory("vmdk::tables_that_lead_in_circles", || {
            // With two tables: a disk of more than 32 MiB.
            let file = made(&vec![7; 33 << 20], "vmdk", "subformat=monolithicSparse");
            let directory = at(&file, 56);
            let first: [u8; 4] = file[directory..directory + 4].try_into().unwrap();
            refused(&with(&file, directory + 4, &first), FORMAT, &["overlap"]);
            refused(
                &with(&file, directory, &u32::MAX.to_le_bytes()),
                FORMAT,
                &["entry `0`", "4294967295", "past the end"],
            );
            let table = sector(&file, directory);
            refused(&with(&file, table, &u32::MAX.to_le_bytes()), FORMAT, &["byte `0`", "4294967295", "past the end"]);
            // A directory that is its own table leads to grains that are parts of the file: bytes that are there, and no more of them.
            let own = with(&file, directory, &((directory / 512) as u32).to_le_bytes());
            assert!(read(&own, FORMAT).is_ok());
        });
    }

    #[test]
    fn grains_that_overlap_read_as_the_same_bytes() {
        in_little_memory("vmdk::grains_that_overlap_read_as_the_same_bytes", || {
            let mut file = file();
            let table = sector(&file, at(&file, 56));
            let first: [u8; 4] = file[table..table + 4].try_into().unwrap();
            (1..4).for_each(|grain| put(&mut file, table + 4 * grain, &first));
            is_the_disk(&file, FORMAT, &noise(4 * GRAIN)[..GRAIN].repeat(4));
        });
    }

    #[test]
    fn a_grain_that_unpacks_to_64_mib_is_no_more_than_a_grain() {
        in_little_memory("vmdk::a_grain_that_unpacks_to_64_mib_is_no_more_than_a_grain", || {
            let file = made(&noise(2 * GRAIN), "vmdk", "subformat=streamOptimized");
            let marker = (0..file.len())
                .step_by(512)
                .find(|&at| at > 512 && file[at..].len() > 16 && file[at + 12..].starts_with(&[0x78]))
                .unwrap();
            let bomb = [&b"\x78\xda"[..], &bomb()[..60_000]].concat();
            let mut packed = with(&file, marker + 12, &bomb);
            put(&mut packed, marker + 8, &(bomb.len() as u32).to_le_bytes());
            let disk = [vec![0; GRAIN], noise(2 * GRAIN)[GRAIN..].to_vec()].concat();
            is_the_disk(&packed, FORMAT, &disk);
            put(&mut packed, marker + 8, &u32::MAX.to_le_bytes());
            refused(&packed, FORMAT, &["byte `0`", "4294967295"]);
        });
    }
}

mod vhd {
    use super::*;

    const FORMAT: DiskFormat = DiskFormat::Vhd;
    const MIB: usize = 1 << 20;

    fn file() -> Vec<u8> {
        made(&noise(4 * MIB), "vpc", "subformat=dynamic,force_size=on")
    }

    /// With right checksums of the footers and the header.
    fn repaired(mut file: Vec<u8>) -> Vec<u8> {
        let end = file.len() - 512;
        for (at, length, sum_at) in [(0, 512, 64), (end, 512, 64), (512, 1024, 36)] {
            put(&mut file, at + sum_at, &[0; 4]);
            let sum = !file[at..at + length].iter().map(|byte| u32::from(*byte)).sum::<u32>();
            put(&mut file, at + sum_at, &sum.to_be_bytes());
        }
        file
    }

    #[test]
    fn a_size_of_2_to_the_63() {
        in_little_memory("vhd::a_size_of_2_to_the_63", || {
            let file = file();
            let end = file.len() - 512;
            for size in [1 << 63, u64::MAX - 511] {
                let size = u64::to_be_bytes(size);
                let claims = with(&with(&file, 48, &size), end + 48, &size);
                assert!(read(&repaired(claims), FORMAT).is_err());
            }
            let large = (2040_u64 << 30).to_be_bytes();
            let claims = repaired(with(&with(&file, 48, &large), end + 48, &large));
            refused(&claims, FORMAT, &["block table", "2190433320960"]);
        });
    }

    #[test]
    fn blocks_and_tables_of_any_size() {
        in_little_memory("vhd::blocks_and_tables_of_any_size", || {
            let file = file();
            for block in [0, 1, 256, 3 << 20, 512 << 20, 1 << 31, u32::MAX] {
                let claims = repaired(with(&file, 512 + 32, &block.to_be_bytes()));
                refused(&claims, FORMAT, &[&format!("`{block}`"), "512 bytes to 256 MiB"]);
            }
            let table = repaired(with(&file, 512 + 28, &u32::MAX.to_be_bytes()));
            refused(&table, FORMAT, &["block table of 17179869180 bytes", "not inside"]);
            for at in [u64::MAX, 1 << 63, file.len() as u64] {
                assert!(read(&repaired(with(&file, 512 + 16, &at.to_be_bytes())), FORMAT).is_err(), "a table at {at}");
            }
        });
    }

    #[test]
    fn blocks_that_overlap_one_another_or_the_table() {
        in_little_memory("vhd::blocks_that_overlap_one_another_or_the_table", || {
            let file = file();
            let table = u64::from_be_bytes(file[512 + 16..512 + 24].try_into().unwrap()) as usize;
            let first: [u8; 4] = file[table..table + 4].try_into().unwrap();
            refused(&with(&file, table + 4, &first), FORMAT, &["overlap"]);
            for into in [0, 1, (table / 512) as u32] {
                assert!(read(&with(&file, table, &into.to_be_bytes()), FORMAT).is_err(), "a block at sector {into}");
            }
            refused(&with(&file, table, &(u32::MAX - 1).to_be_bytes()), FORMAT, &["block"]);
        });
    }
}

mod wrapped {
    use super::*;

    fn unwrapped(file: Vec<u8>, wrapping: Wrapping, most: u64) -> Result<String, Error> {
        let source = DiskSource::bytes(file, DiskFormat::Raw).with_wrapping([wrapping]).with_unwrapped_limit(most);
        ImageDigest::of(source).map(|digest| digest.to_string())
    }

    /// A stream of 64 MiB is refused where it goes over the limit; within it, it is what it is.
    fn bomb(wrapping: Wrapping, program: &str) {
        let file = zeros_packed(64, program);
        assert!(file.len() < 1 << 20);
        let error = unwrapped(file, wrapping, 1 << 20).unwrap_err();
        assert!(error.to_string().contains("more than `1048576` bytes"), "{error}");
        let zeros = ImageDigest::of(DiskSource::zeros(4 << 20).unwrap()).unwrap().to_string();
        assert_eq!(unwrapped(zeros_packed(4, program), wrapping, 4 << 20).unwrap(), zeros);
    }

    #[test]
    fn a_gzip_bomb() {
        in_little_memory("wrapped::a_gzip_bomb", || bomb(Wrapping::Gzip, "gzip -9n"));
    }

    #[test]
    fn a_zstd_bomb_and_a_window_of_2_gib() {
        in_little_memory("wrapped::a_zstd_bomb_and_a_window_of_2_gib", || {
            bomb(Wrapping::Zstd, "zstd -q -c");
            // No content size, and a window of 2^31 bytes.
            let wide = [&b"\x28\xb5\x2f\xfd\0\xa8"[..], &[1, 0, 0]].concat();
            let error = unwrapped(wide, Wrapping::Zstd, 1 << 30).unwrap_err();
            assert!(error.to_string().contains("memory"), "{error}");
        });
    }

    #[cfg(feature = "xz")]
    #[test]
    fn an_xz_bomb_and_a_dictionary_of_4_gib() {
        in_little_memory("wrapped::an_xz_bomb_and_a_dictionary_of_4_gib", || {
            bomb(Wrapping::Xz, "xz -T1 -0 -c");
            let packed = zeros_packed(1, "xz -T1 -0 -c");
            // The filter's one property, in the first block's header, and that header's checksum.
            let mut wide = with(&packed, 16, &[40]);
            let sum = crc32(&wide[12..20]);
            put(&mut wide, 20, &sum.to_le_bytes());
            let error = unwrapped(wide, Wrapping::Xz, 1 << 30).unwrap_err();
            assert!(error.to_string().contains("xz stream"), "{error}");
        });
    }

    #[cfg(feature = "xz")]
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |sum, byte| {
            (0..8).fold(sum ^ u32::from(*byte), |sum, _| sum >> 1 ^ (0xedb8_8320 & (sum & 1).wrapping_neg()))
        })
    }

    #[test]
    fn a_tar_of_2_to_the_63_bytes() {
        in_little_memory("wrapped::a_tar_of_2_to_the_63_bytes", || {
            for size in [1_u64 << 63, u64::MAX, 1 << 40] {
                let mut file = vec![0; 4096];
                put(&mut file, 0, b"disk.raw");
                put(&mut file, 124, &[&[0x80, 0, 0, 0][..], &size.to_be_bytes()].concat());
                put(&mut file, 148, b"        0ustar");
                let sum: u32 = file[..512].iter().map(|byte| u32::from(*byte)).sum();
                put(&mut file, 148, format!("{sum:06o}\0 ").as_bytes());
                let error = unwrapped(file.clone(), Wrapping::Tar, 1 << 40).unwrap_err();
                assert!(error.to_string().contains("it was cut short"), "{error}");
                // A pax header as long.
                put(&mut file, 148, b"        x");
                let sum: u32 = file[..512].iter().map(|byte| u32::from(*byte)).sum();
                put(&mut file, 148, format!("{sum:06o}\0 ").as_bytes());
                let error = unwrapped(file, Wrapping::Tar, 1 << 40).unwrap_err();
                assert!(error.to_string().contains(&format!("`{size}` bytes, above 1048576")), "{error}");
            }
        });
    }
}
