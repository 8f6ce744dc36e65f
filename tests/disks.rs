//! Disks of another format than stated, or that change: each is refused by name, or taken by an explicit choice that the report
//! shows.
#![cfg(feature = "testkit")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a helper of a test may fail as the test does"
)]

use std::error::Error as _;
use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use compute_gallery::disk::{DiskFormat, DiskNote, DiskSource, VhdFooter};
use compute_gallery::host::Workers;
use compute_gallery::image::ImageDigest;
use compute_gallery::model::*;
use compute_gallery::publish::{ImportNote, LocalDisks};
use compute_gallery::store::{BlobStoreExt, MemoryStore, StoreErrorKind};
use compute_gallery::testkit::{Fault, Sandbox};
use compute_gallery::*;
use futures::executor::block_on;

const MIB: usize = 1 << 20;

fn home() -> Region {
    "westeurope".parse().unwrap()
}

/// A gallery in one store, with the system's threads: a disk is read beside the code that changes it.
async fn sandbox() -> Sandbox {
    let sandbox = Sandbox::builder().regions(["westeurope"]).one_store(MemoryStore::new());
    sandbox.service(|builder| builder.workers(Workers::default())).build().await.unwrap()
}

fn publishing(sandbox: &Sandbox, source: impl Into<ImageSource>) -> Publication<ImageVersion> {
    sandbox.session().publish(sandbox.new_version("1.0.0", "westeurope", source))
}

/// Publishes a source in a gallery of its own.
fn publish(source: DiskSource) -> Result<Published<ImageVersion>> {
    block_on(async { publishing(&sandbox().await, source).await })
}

/// The notes in the report of publishing a source, and the digest of its disk.
fn published(source: DiskSource) -> (Vec<DiskNote>, content::Digest) {
    let published = publish(source).unwrap();
    let texts: Vec<String> = published.import.notes.iter().map(ToString::to_string).collect();
    assert!(texts.iter().all(|text| text.starts_with('`') && text.len() > 40), "{texts:?}");
    (published.import.notes.into_iter().map(|one| one.note).collect(), published.content.os_disk_digest)
}

fn digest_of(bytes: &[u8]) -> content::Digest {
    ImageDigest::of(DiskSource::bytes(bytes.to_vec(), DiskFormat::Raw).with_any_raw_content()).unwrap()
}

fn refused(source: DiskSource, kind: ErrorKind, says: &[&str]) -> Error {
    let error = publish(source).expect_err(&format!("a disk was published that should be refused: {says:?}"));
    assert_eq!(error.kind(), kind, "{error}");
    for says in says {
        assert!(error.to_string().contains(says), "`{error}` does not say `{says}`");
    }
    error
}

/// Bytes without a zero that differ from sector to sector.
fn filling(length: usize) -> Vec<u8> {
    (0..length).map(|at| ((at / 512 * 31 + at % 509) % 255 + 1) as u8).collect()
}

fn qemu_img(arguments: &[&str], from: &Path, to: &Path) {
    let output = Command::new("qemu-img").arg("convert").args(arguments).args([from, to]).output();
    let output = output.expect("this test needs `qemu-img` (Debian's package `qemu-utils`) on the PATH");
    assert!(output.status.success(), "qemu-img {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A directory with `disk.raw` of `mib` MiB, and its conversions by qemu.
struct Files(tempfile::TempDir);

impl Files {
    fn with_raw(mib: usize) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        fs::write(files.at("disk.raw"), filling(mib * MIB)).unwrap();
        files
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn converted(&self, name: &str, format: &str, options: &[&str]) -> PathBuf {
        let arguments = [&["-f", "raw", "-O", format], options].concat();
        qemu_img(&arguments, &self.at("disk.raw"), &self.at(name));
        self.at(name)
    }
}

fn raw(path: impl Into<PathBuf>) -> DiskSource {
    DiskSource::path(path, DiskFormat::Raw)
}

fn vhd(path: impl Into<PathBuf>) -> DiskSource {
    DiskSource::path(path, DiskFormat::Vhd)
}

const DYNAMIC: &[&str] = &["-o", "subformat=dynamic,force_size=on"];
const FIXED: &[&str] = &["-o", "subformat=fixed,force_size=on"];

/// Changes 512 bytes at `at` as a footer's writer would: with the checksum that belongs to it.
fn change_footer(file: &mut [u8], at: usize, field: usize, value: &[u8]) {
    let footer = &mut file[at..at + 512];
    footer[field..field + value.len()].copy_from_slice(value);
    footer[64..68].fill(0);
    let sum = !footer.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    footer[64..68].copy_from_slice(&sum.to_be_bytes());
}

/// Half of a disk was dropped where the footer at the end says half the size, and called verified.
#[test]
fn a_dynamic_vhd_whose_two_footers_disagree_is_refused_with_both_values() {
    let files = Files::with_raw(8);
    let path = files.converted("disk.vhd", "vpc", DYNAMIC);
    let mut file = fs::read(&path).unwrap();
    let end = file.len() - 512;
    change_footer(&mut file, end, 48, &(4_u64 << 20).to_be_bytes());
    fs::write(&path, &file).unwrap();
    refused(vhd(&path), ErrorKind::Corrupt, &["`8388608`", "`4194304`"]);
    let believed = |footer| published(vhd(&path).with_vhd_footer(footer));
    let disk = fs::read(files.at("disk.raw")).unwrap();
    for (footer, bytes) in [(VhdFooter::Copy, &disk[..]), (VhdFooter::End, &disk[..4 * MIB])] {
        assert_eq!(believed(footer), (vec![DiskNote::OneFooterBelieved(footer)], digest_of(bytes)));
    }
    // The same for each other field that decides what is read.
    for (field, value, says) in [
        (40, (4_u64 << 20).to_be_bytes().to_vec(), "original size"),
        (60, 2_u32.to_be_bytes().to_vec(), "disk type"),
        (16, 1024_u64.to_be_bytes().to_vec(), "header"),
        (68, vec![9; 16], "unique id"),
    ] {
        let mut file = fs::read(files.converted("disk.vhd", "vpc", DYNAMIC)).unwrap();
        change_footer(&mut file, 0, field, &value);
        fs::write(&path, &file).unwrap();
        refused(vhd(&path), ErrorKind::Corrupt, &[says]);
    }
}

#[test]
fn a_dynamic_vhd_with_one_whole_footer_is_refused_with_the_fix() {
    let files = Files::with_raw(8);
    let path = files.converted("disk.vhd", "vpc", DYNAMIC);
    let good = fs::read(&path).unwrap();
    let (mut no_end, mut no_copy) = (good.clone(), good.clone());
    no_end[good.len() - 512..].fill(0);
    no_copy[..512].fill(0);
    fs::write(&path, &no_end).unwrap();
    refused(vhd(&path), ErrorKind::Corrupt, &["copy of the footer", "is whole", "VhdFooter::Copy"]);
    fs::write(&path, &good[..good.len() - 512]).unwrap();
    refused(vhd(&path), ErrorKind::Corrupt, &["copy of the footer", "is whole", "VhdFooter::Copy"]);
    let disk = digest_of(&fs::read(files.at("disk.raw")).unwrap());
    let by = |footer| (vec![DiskNote::OneFooterBelieved(footer)], disk);
    assert_eq!(published(vhd(&path).with_vhd_footer(VhdFooter::Copy)), by(VhdFooter::Copy));
    fs::write(&path, &no_copy).unwrap();
    refused(vhd(&path), ErrorKind::Corrupt, &["copy of the footer", "VhdFooter::End"]);
    assert_eq!(published(vhd(&path).with_vhd_footer(VhdFooter::End)), by(VhdFooter::End));
}

/// It was published 512 bytes too long, its footer as the guest's last sector.
#[test]
fn a_vhd_given_as_raw_is_refused() {
    let files = Files::with_raw(2);
    for (name, options) in [("fixed.vhd", FIXED), ("dynamic.vhd", DYNAMIC)] {
        let path = files.converted(name, "vpc", options);
        refused(raw(&path), ErrorKind::Invalid, &["VHD", "DiskFormat::Vhd"]);
        let bytes = fs::read(&path).unwrap();
        let (notes, digest) = published(raw(&path).with_any_raw_content());
        assert_eq!((&notes[0], digest), (&DiskNote::TakenAsRaw { looks_like: "VHD" }, digest_of(&bytes)));
    }
}

/// A guest may write anything into its disk: with the caller's consent it is taken as raw, and within a VHD it always is.
#[test]
fn a_guest_that_writes_another_formats_header_into_its_disk_gets_its_disk_back() {
    let files = Files::with_raw(2);
    let mut disk = fs::read(files.at("disk.raw")).unwrap();
    disk[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    fs::write(files.at("disk.raw"), &disk).unwrap();
    refused(raw(files.at("disk.raw")), ErrorKind::Invalid, &["qcow2"]);
    let (notes, digest) = published(raw(files.at("disk.raw")).with_any_raw_content());
    assert_eq!((notes, digest), (vec![DiskNote::TakenAsRaw { looks_like: "qcow2" }], digest_of(&disk)));
    let path = files.converted("disk.vhd", "vpc", FIXED);
    assert_eq!(published(vhd(path)), (Vec::new(), digest_of(&disk)));
}

/// Azure refuses a VHD whose size is not whole MiB: the later one, too.
#[test]
fn a_disk_of_a_fraction_of_a_mebibyte_is_noted_and_so_is_the_vhd_written_from_it() {
    let files = Files::with_raw(100);
    let path = files.converted("disk.vhd", "vpc", &["-o", "subformat=fixed"]);
    let size = fs::metadata(&path).unwrap().len() - 512;
    assert_eq!(size, 104_865_792);
    let note = DiskNote::NotWholeMebibytes { size };
    assert_eq!(published(vhd(&path)).0, std::slice::from_ref(&note));
    block_on(async {
        let sandbox = sandbox().await;
        publishing(&sandbox, vhd(&path)).await.unwrap();
        let deployment = || sandbox.session().deploy(sandbox.version("1.0.0"), home());
        let deployed = deployment().format(DiskFormat::Vhd).to_path(files.at("out.vhd")).await.unwrap();
        assert_eq!(deployed.notes, std::slice::from_ref(&note));
        let (deployed, _) = deployment().format(DiskFormat::Vhd).to_writer(Vec::new()).await.unwrap();
        assert_eq!(deployed.notes, [note]);
        assert!(deployment().to_path(files.at("out.raw")).await.unwrap().notes.is_empty());
    });
    let files = Files::with_raw(100);
    assert_eq!(published(vhd(files.converted("disk.vhd", "vpc", FIXED))).0, []);
}

#[test]
fn bytes_that_a_dynamic_vhd_hides_are_counted_in_the_report() {
    let files = Files::with_raw(2);
    let path = files.converted("disk.vhd", "vpc", DYNAMIC);
    let mut file = fs::read(&path).unwrap();
    // The bitmap of the only block: none of its 4,096 sectors was written.
    let table = u64::from_be_bytes(file[512 + 16..512 + 24].try_into().unwrap()) as usize;
    let block = u32::from_be_bytes(file[table..table + 4].try_into().unwrap()) as usize * 512;
    file[block..block + 512].fill(0);
    fs::write(&path, &file).unwrap();
    let hidden = DiskNote::HiddenBytes { bytes: 2 << 20 };
    assert_eq!(published(vhd(&path)), (vec![hidden], digest_of(&vec![0; 2 * MIB])));
}

/// The holes that a file system reports count only if they agree with the space that the file takes.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_takes_more_space_than_its_data_is_read_whole_and_the_report_says_so() {
    let files = Files::with_raw(1);
    let file = OpenOptions::new().write(true).open(files.at("disk.raw")).unwrap();
    file.set_len(16 << 20).unwrap();
    assert_eq!(published(raw(files.at("disk.raw"))).0, []);
    let output =
        Command::new("fallocate").args(["--offset", "8MiB", "--length", "8MiB"]).arg(files.at("disk.raw")).output();
    if !output.unwrap().status.success() {
        eprintln!("skipped: this file system can't reserve space");
        return;
    }
    let report = publish(raw(files.at("disk.raw"))).unwrap();
    assert_eq!(report.import.read_bytes, 16 << 20);
    let [ImportNote { note: DiskNote::MoreAllocatedThanData { allocated, data }, .. }] = &report.import.notes[..]
    else {
        panic!("{:?}", report.import.notes);
    };
    // A page of the hole that is in memory may count as data.
    assert!((1 << 20..2 << 20).contains(data) && *allocated >= 9 << 20, "{allocated}, {data}");
    let mut disk = filling(MIB);
    disk.resize(16 * MIB, 0);
    assert_eq!(report.content.os_disk_digest, digest_of(&disk));
    let read = publish(raw(files.at("disk.raw")).with_holes_read()).unwrap();
    assert_eq!((read.import.read_bytes, read.import.notes), (16 << 20, Vec::new()), "the switch reads everything");
    assert_eq!(read.content.os_disk_digest, report.content.os_disk_digest);
}

#[test]
fn a_disk_in_another_format_or_compressed_given_as_raw_is_refused_by_name() {
    let files = Files::with_raw(2);
    for (name, format, options) in [
        ("qcow2", "qcow2", &[][..]),
        ("qcow2", "qcow2", &["-o", "compat=0.10"]),
        ("VHDX", "vhdx", &[]),
        ("VMDK", "vmdk", &[]),
        ("VMDK", "vmdk", &["-o", "subformat=streamOptimized"]),
        ("VMDK", "vmdk", &["-o", "subformat=monolithicFlat"]),
        ("VDI", "vdi", &[]),
        ("QED", "qed", &[]),
        ("Parallels", "parallels", &[]),
    ] {
        let path = files.converted(&format!("disk.{format}"), format, options);
        let mut file = OpenOptions::new().write(true).open(&path).unwrap();
        let length = file.seek(SeekFrom::End(0)).unwrap();
        file.set_len(length.next_multiple_of(512)).unwrap();
        refused(raw(&path), ErrorKind::Invalid, &[name, "convert"]);
    }
    for (name, magic) in [
        ("gzip", &[0x1f, 0x8b, 8][..]),
        ("xz", &[0xfd, b'7', b'z', b'X', b'Z', 0]),
        ("zstd", &[0x28, 0xb5, 0x2f, 0xfd]),
        ("bzip2", b"BZh91AY&SY"),
        ("lz4", &[0x04, 0x22, 0x4d, 0x18]),
        ("zip", b"PK\x03\x04"),
    ] {
        let mut bytes = filling(MIB);
        bytes[..magic.len()].copy_from_slice(magic);
        refused(DiskSource::bytes(bytes, DiskFormat::Raw), ErrorKind::Invalid, &[name]);
    }
    let mut tar = filling(MIB);
    tar[257..262].copy_from_slice(b"ustar");
    refused(DiskSource::bytes(tar, DiskFormat::Raw), ErrorKind::Invalid, &["tar"]);
}

#[test]
fn a_disk_wrongly_given_as_a_vhd_is_refused_by_the_format_that_it_resembles() {
    let files = Files::with_raw(2);
    refused(vhd(files.at("disk.raw")), ErrorKind::Corrupt, &["DiskFormat::Raw"]);
    for format in ["qcow2", "vhdx", "vmdk"] {
        let path = files.converted("other", format, &[]);
        refused(vhd(&path), ErrorKind::Corrupt, &["qemu-img convert", &format!("-f {format}"), "force_size=on"]);
    }
}

/// It was refused by a rule of dynamic VHDs.
#[test]
fn a_fixed_vhd_of_2200_gib_meets_the_gallerys_own_limit() {
    let files = Files::with_raw(1);
    let mut footer = fs::read(files.converted("disk.vhd", "vpc", FIXED)).unwrap().split_off(MIB);
    let size = 2_200_u64 << 30;
    change_footer(&mut footer, 0, 40, &size.to_be_bytes());
    change_footer(&mut footer, 0, 48, &size.to_be_bytes());
    let mut file = fs::File::create(files.at("large.vhd")).unwrap();
    file.set_len(size).unwrap();
    file.seek(SeekFrom::Start(size)).unwrap();
    file.write_all(&footer).unwrap();
    let error = refused(vhd(files.at("large.vhd")), ErrorKind::Invalid, &["2362232012800", "1099511627776"]);
    assert_eq!(error.code(), "GallerySourceResourceExceedsMaxSize");
}

/// Publishes in another thread, which may hang.
fn publish_within(source: DiskSource, limit: Duration) -> Option<Result<()>> {
    let (done, told) = mpsc::channel();
    let publishing = tempfile::tempfile().unwrap();
    #[expect(clippy::disallowed_methods, reason = "what hangs can't be run on the test's own thread")]
    std::thread::spawn(move || {
        let _alive = publishing;
        let _ = done.send(publish(source).map(drop));
    });
    told.recv_timeout(limit).ok()
}

#[cfg(unix)]
#[test]
fn a_pipe_a_socket_a_device_or_a_directory_is_refused_at_once_and_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let (pipe, socket) = (directory.path().join("pipe"), directory.path().join("socket"));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for (path, is, fix) in [
        (pipe.as_path(), "a pipe", "DiskSource::reader"),
        (&socket, "a socket", "regular file or a block device"),
        (Path::new("/dev/zero"), "a character device", "regular file or a block device"),
        (Path::new("/dev/null"), "a character device", "regular file or a block device"),
        (directory.path(), "a directory", "regular file or a block device"),
    ] {
        for format in [DiskFormat::Raw, DiskFormat::Vhd] {
            let told = publish_within(DiskSource::path(path, format), Duration::from_secs(30));
            let error = told.unwrap_or_else(|| panic!("{} hangs", path.display())).unwrap_err();
            assert_eq!((error.kind(), error.code()), (ErrorKind::Invalid, "InvalidParameter"), "{error}");
            assert_eq!(error.target(), path.to_str().unwrap());
            for says in [is, fix] {
                assert!(error.to_string().contains(says), "`{error}` does not say `{says}`");
            }
        }
    }
}

#[test]
fn an_error_of_opening_a_disk_keeps_its_path_its_cause_and_its_kind() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("nope.raw");
    let below_a_file = directory.path().join("file/nope.raw");
    fs::write(directory.path().join("file"), b"").unwrap();
    for (path, kind, code, os) in [
        (&missing, ErrorKind::NotFound, "NotFound", std::io::ErrorKind::NotFound),
        (&below_a_file, ErrorKind::Invalid, "InvalidParameter", std::io::ErrorKind::NotADirectory),
    ] {
        let error = publish(raw(path)).unwrap_err();
        assert_eq!((error.kind(), error.code()), (kind, code), "{error}");
        assert_eq!(error.target(), path.to_str().unwrap(), "{error}");
        let cause = error.source().expect("the system's error is kept").downcast_ref::<std::io::Error>();
        assert_eq!(cause.expect("it is an io::Error").kind(), os, "{error}");
        assert!(format!("{error:#}").contains("os error"), "{error:#}");
    }
}

/// Changes the file at `path` as soon as the import has read a part of it.
fn publish_while(path: &Path, source: DiskSource, change: impl Fn(&Path) + Send + Sync + 'static) -> Result<()> {
    block_on(async {
        let sandbox = sandbox().await;
        let path = path.to_owned();
        let once = std::sync::Once::new();
        let publishing = publishing(&sandbox, source).on_progress(move |_| once.call_once(|| change(&path)));
        let done = publishing.await.map(drop);
        if done.is_err() {
            let left = sandbox.store("westeurope").inner().list_all(None).await.unwrap();
            assert!(left.iter().all(|blob| !blob.key.as_str().contains("packs")), "{left:?}");
        }
        done
    })
}

/// A running VM's disk was published torn, without a word.
#[test]
fn a_disk_that_is_written_to_while_it_is_imported_is_refused() {
    let files = Files::with_raw(40);
    let path = files.at("disk.raw");
    let error = publish_while(&path, raw(&path), |path| {
        let mut file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all(b"changed").unwrap();
    })
    .expect_err("a torn disk was published");
    assert_eq!((error.kind(), error.target()), (ErrorKind::Conflict, path.to_str().unwrap()), "{error}");
    for says in ["changed while it was read", "with_changes_while_read"] {
        assert!(error.to_string().contains(says), "{error}");
    }
    publish_while(&path, raw(&path).with_changes_while_read(), |path| {
        let mut file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all(b"again").unwrap();
    })
    .unwrap();
}

/// Also after an interrupted attempt: an import that is resumed is checked at its end, too.
#[test]
fn a_disk_that_changes_while_an_import_is_taken_up_again_is_refused() {
    let files = Files::with_raw(40);
    let path = files.at("disk.raw");
    block_on(async {
        let sandbox = sandbox().await;
        let (store, faults) = (sandbox.store("westeurope"), sandbox.faults("westeurope"));
        let first = publishing(&sandbox, raw(&path)).on_progress(move |progress| {
            // The store goes away half-way: the upload stays announced, with a pack.
            if progress.done > 20 << 20 {
                faults.fail_from(0, Fault::Before(StoreErrorKind::Unavailable));
            }
        });
        first.await.map(drop).unwrap_err();
        store.faults().heal();
        assert!(!store.inner().list_all(None).await.unwrap().is_empty());
        let once = std::sync::Once::new();
        let to_change = path.clone();
        let second = publishing(&sandbox, raw(&path)).on_progress(move |_| {
            once.call_once(|| OpenOptions::new().write(true).open(&to_change).unwrap().write_all(b"x").unwrap());
        });
        let error = second.await.map(drop).expect_err("a torn disk was published");
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert!(error.to_string().contains("changed while it was read"), "{error}");
        publishing(&sandbox, raw(&path)).await.unwrap();
    });
}

#[test]
fn a_change_that_is_accepted_is_in_the_report() {
    let files = Files::with_raw(40);
    let path = files.at("disk.raw");
    block_on(async {
        let sandbox = sandbox().await;
        let once = std::sync::Once::new();
        let to_change = path.clone();
        let source = raw(&path).with_changes_while_read();
        let publishing = publishing(&sandbox, source).on_progress(move |_| {
            once.call_once(|| OpenOptions::new().append(true).open(&to_change).unwrap().write_all(b"x").unwrap());
        });
        let report = publishing.await.unwrap().import;
        let [ImportNote { note: DiskNote::ChangedWhileRead { before, after }, disk, .. }] = &report.notes[..] else {
            panic!("{:?}", report.notes);
        };
        assert_eq!(Path::new(disk), path);
        assert!(before.contains("`41943040`") && after.contains("`41943041`"), "{before}; {after}");
    });
}

#[test]
fn a_disk_that_grows_while_it_is_imported_is_refused_with_both_sizes() {
    let files = Files::with_raw(40);
    let path = files.at("disk.raw");
    let error = publish_while(&path, raw(&path), |path| {
        OpenOptions::new().write(true).open(path).unwrap().set_len(50 << 20).unwrap();
    })
    .expect_err("a disk that grew was published");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(error.to_string().contains("`41943040`") && error.to_string().contains("`52428800`"), "{error}");
}

#[test]
fn a_disk_that_shrinks_while_it_is_imported_says_so() {
    let files = Files::with_raw(40);
    let path = files.at("disk.raw");
    let error = publish_while(&path, raw(&path), |path| {
        OpenOptions::new().write(true).open(path).unwrap().set_len(1 << 20).unwrap();
    })
    .unwrap_err();
    assert_eq!((error.kind(), error.target()), (ErrorKind::Conflict, path.to_str().unwrap()), "{error}");
    let error = format!("{error:#}");
    assert!(error.contains("`41943040`") && error.contains("`1048576`"), "{error}");
}

#[test]
fn any_of_several_disks_that_changes_refuses_the_version() {
    let (os, data) = (Files::with_raw(2), Files::with_raw(40));
    let path = os.at("disk.raw");
    block_on(async {
        let sandbox = sandbox().await;
        let disks = LocalDisks::new(raw(&path)).with_data_disk(0, raw(data.at("disk.raw")));
        let target = path.to_str().unwrap().to_owned();
        let publishing = publishing(&sandbox, disks).on_progress(move |progress| {
            // The OS disk has been read, the data disk not.
            if progress.done > 4 << 20 {
                OpenOptions::new().append(true).open(&path).unwrap().write_all(b"x").unwrap();
            }
        });
        let error = publishing.await.map(drop).expect_err("a version of a torn disk was published");
        assert_eq!((error.kind(), error.target()), (ErrorKind::Conflict, target.as_str()), "{error}");
    });
}

#[test]
fn the_digest_of_a_disk_file_refuses_what_publishing_refuses() {
    let files = Files::with_raw(2);
    let path = files.converted("disk.qcow2", "qcow2", &[]);
    let error = ImageDigest::of(raw(path)).expect_err("a qcow2 was digested as raw");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}
