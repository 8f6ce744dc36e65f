use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;

use super::checksum::crc32c;
use super::overlay::{Change, Overlay};
use crate::disk::read_at::{ReadAt, SharedDisk};

fn qemu_img(arguments: &[&str], paths: &[&Path]) {
    let output = Command::new("qemu-img")
        .args(arguments)
        .args(paths)
        .output()
        .expect("this test needs `qemu-img` (Debian's package `qemu-utils`) on the PATH");
    assert!(output.status.success(), "qemu-img {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn content(disk: &dyn ReadAt) -> Vec<u8> {
    let mut bytes = vec![0; disk.size() as usize];
    disk.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

/// An entry with a zero and a data descriptor, and its sector of data.
fn entry(sequence: u64, tail: u32, zero: (u64, u64), data: (u64, u8), file_bytes: u64) -> Vec<u8> {
    let mut entry = vec![0; 8192];
    put(&mut entry, 0, b"loge");
    put(&mut entry, 8, &8192_u32.to_le_bytes());
    put(&mut entry, 12, &tail.to_le_bytes());
    put(&mut entry, 16, &sequence.to_le_bytes());
    put(&mut entry, 24, &2_u32.to_le_bytes());
    put(&mut entry, 32, &[0x11; 16]);
    put(&mut entry, 48, &file_bytes.to_le_bytes());
    put(&mut entry, 56, &file_bytes.to_le_bytes());
    put(&mut entry, 64, b"zero");
    put(&mut entry, 72, &zero.1.to_le_bytes());
    put(&mut entry, 80, &zero.0.to_le_bytes());
    put(&mut entry, 88, &sequence.to_le_bytes());
    put(&mut entry, 96, b"desc");
    put(&mut entry, 100, &[data.1 ^ 1; 4]);
    put(&mut entry, 104, &[data.1 ^ 2; 8]);
    put(&mut entry, 112, &data.0.to_le_bytes());
    put(&mut entry, 120, &sequence.to_le_bytes());
    put(&mut entry, 4096, b"data");
    put(&mut entry, 4100, &((sequence >> 32) as u32).to_le_bytes());
    put(&mut entry, 4104, &[data.1; 4084]);
    put(&mut entry, 8188, &(sequence as u32).to_le_bytes());
    let sum = crc32c(&entry).to_le_bytes();
    put(&mut entry, 4, &sum);
    entry
}

/// A file whose log holds two entries that were not yet made, the second around the log's end; and qemu makes them.
#[test]
fn a_log_is_replayed_as_qemu_replays_it() {
    let folder = tempfile::tempdir().unwrap();
    let [raw, path, back] = ["raw", "a.vhdx", "back"].map(|name| folder.path().join(name));
    let disk: Vec<u8> = (0..3 << 20).map(|at| (at / 512 % 251 + 1) as u8).collect();
    std::fs::write(&raw, &disk).unwrap();
    qemu_img(&["convert", "-f", "raw", "-O", "vhdx", "-o", "block_size=1M"], &[&raw, &path]);
    let mut file = std::fs::read(&path).unwrap();
    // The table of blocks is at 2 MiB.
    let blocks = u64::from_le_bytes(file[2 << 20..][..8].try_into().unwrap()) & !0xf_ffff;
    let (log, bytes) = (1 << 20, file.len() as u64);
    let tail = (1_u32 << 20) - 8192 - 4096;
    let first = entry(7, tail, (blocks, 4096), (blocks + 8192, 0x44), bytes);
    let second = entry(8, tail, (blocks + 8192, 0), (blocks + 16384, 0x66), bytes);
    put(&mut file, log + tail as usize, &first);
    put(&mut file, log + tail as usize + 8192, &second[..4096]);
    put(&mut file, log, &second[4096..]);
    for header in [64 << 10, 128 << 10] {
        put(&mut file, header + 48, &[0x11; 16]);
        let sum = crc32c(&file[header..header + 4096]).to_le_bytes();
        put(&mut file, header + 4, &sum);
    }
    let read = super::open::open(Arc::new(Bytes::from(file.clone())), "a.vhdx").map(|disk| content(&*disk)).unwrap();
    std::fs::write(&path, &file).unwrap();
    qemu_img(&["check", "-q", "-r", "all"], &[&path]);
    qemu_img(&["convert", "-f", "vhdx", "-O", "raw"], &[&path, &back]);
    let theirs = std::fs::read(&back).unwrap();
    assert!(theirs != disk, "the log changes the disk");
    assert!(read == theirs);
    // Without the older entry, the newer one can't be replayed.
    put(&mut file, log + tail as usize, &[0; 64]);
    let error = super::open::open(Arc::new(Bytes::from(file)), "a.vhdx").map(drop).unwrap_err();
    assert!(error.to_string().contains("no whole sequence"), "{error}");
}

#[test]
fn changes_lie_on_top_of_one_another() {
    let file: SharedDisk = Arc::new(Bytes::from(vec![1; 100]));
    let mut overlay = Overlay::new(file, 120);
    let mut expected = [vec![1; 100], vec![0; 20]].concat();
    let mut state = 12345_u64;
    for round in 0..200_u8 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (start, length) = ((state >> 33) % 120, (state >> 50) % 30);
        let end = (start + length).min(120);
        let bytes: Vec<u8> = (0..end - start).map(|at| round ^ at as u8).collect();
        let change = if round % 3 == 0 { Change::Zeros } else { Change::Bytes(bytes.clone().into(), 0) };
        expected[start as usize..end as usize].copy_from_slice(&if round % 3 == 0 {
            vec![0; bytes.len()]
        } else {
            bytes
        });
        overlay.change(start..end, change);
        assert!(content(&overlay) == expected, "round {round}");
        let (mut from, mut known) = (0, vec![false; 120]);
        while let Some(data) = overlay.next_data(from).unwrap() {
            assert!(!data.is_empty() && data.start >= from);
            known[data.start as usize..data.end as usize].fill(true);
            from = data.end;
        }
        assert!((0..120).all(|at| known[at] || expected[at] == 0), "round {round}");
    }
}
