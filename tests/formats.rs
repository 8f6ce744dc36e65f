//! Disk files of other makers: read as the guest sees them, by `qemu-img`'s own word.
//!
//! `ODD_DISKS=200 ODD_SEED=7 cargo test --features testkit --test formats` makes that many odd disks from that seed.
#![cfg(feature = "testkit")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a helper of a test may fail as the test does"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use compute_gallery::content::Digest;
use compute_gallery::disk::{DiskFormat, DiskNote, DiskSource, WrittenFormat, create_overlay};
use compute_gallery::image::ImageDigest;
use compute_gallery::model::Limits;
use compute_gallery::testkit::Sandbox;
use compute_gallery::{Error, ErrorKind};
use futures::executor::block_on;

fn qemu_img(arguments: &[&str]) -> String {
    let output = Command::new("qemu-img").args(arguments).output();
    let output = output.expect("this test needs `qemu-img` (Debian's package `qemu-utils`) on the PATH");
    assert!(output.status.success(), "qemu-img {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Makes `to` of `from` and returns it.
fn convert(from: &Path, from_format: &str, to: &Path, format: &str, options: &[&str]) {
    let paths = [from.to_str().unwrap(), to.to_str().unwrap()];
    qemu_img(&[&["convert", "-f", from_format, "-O", format], options, &paths].concat());
}

fn digest(path: &Path, format: DiskFormat) -> Result<Digest, Error> {
    let source = DiskSource::path(path, format);
    ImageDigest::of(if format == DiskFormat::Raw { source.with_any_raw_content() } else { source })
}

/// A repeatable sequence of numbers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}

/// A disk with data at the borders of blocks, some of it the same again, some of it easy to compress.
fn odd_disk(dice: &mut Dice) -> Vec<u8> {
    let border = *dice.one(&[64 << 10, 1 << 20, 2 << 20, 4 << 20, 6 << 20]);
    let size = (border + 512 * dice.below(5) * (dice.below(300) + 1)).saturating_sub(512 * dice.below(3)).max(512);
    let mut disk = vec![0; size as usize];
    match dice.below(10) {
        0 => return disk,
        1 => disk.iter_mut().for_each(|byte| *byte = dice.roll() as u8),
        _ => {}
    }
    for _ in 0..dice.below(12) {
        let around = *dice.one(&[512, 4096, 64 << 10, 1 << 20, 2 << 20]);
        let at = (around * dice.below(size / around + 1)).saturating_sub(dice.below(3) * 512).min(size - 1) as usize;
        let end = (at + 1 + dice.below(150_000) as usize).min(disk.len());
        let kind = dice.below(3);
        for (number, byte) in disk[at..end].iter_mut().enumerate() {
            *byte = match kind {
                0 => dice.roll() as u8,
                1 => (number / 700) as u8,
                _ => 0x5a,
            };
        }
    }
    disk
}

/// What `qemu-img` can make: its format and options, and ours.
const MADE: &[(&str, &[&str], DiskFormat)] = &[
    ("qcow2", &[], DiskFormat::Qcow2),
    ("qcow2", &["-o", "compat=0.10"], DiskFormat::Qcow2),
    ("qcow2", &["-o", "cluster_size=512"], DiskFormat::Qcow2),
    ("qcow2", &["-o", "cluster_size=2M"], DiskFormat::Qcow2),
    ("qcow2", &["-o", "preallocation=metadata"], DiskFormat::Qcow2),
    ("qcow2", &["-c"], DiskFormat::Qcow2),
    ("qcow2", &["-c", "-o", "compat=0.10,cluster_size=4k"], DiskFormat::Qcow2),
    ("qcow2", &["-c", "-o", "compression_type=zstd"], DiskFormat::Qcow2),
    ("qcow2", &["-c", "-o", "compression_type=zstd,cluster_size=2M"], DiskFormat::Qcow2),
    ("vhdx", &["-o", "subformat=dynamic"], DiskFormat::Vhdx),
    ("vhdx", &["-o", "subformat=dynamic,block_size=1M"], DiskFormat::Vhdx),
    ("vhdx", &["-o", "subformat=fixed"], DiskFormat::Vhdx),
    ("vmdk", &["-o", "subformat=monolithicSparse"], DiskFormat::Vmdk),
    ("vmdk", &["-o", "subformat=streamOptimized"], DiskFormat::Vmdk),
    ("vmdk", &["-o", "subformat=monolithicFlat"], DiskFormat::Vmdk),
    ("vmdk", &["-o", "subformat=monolithicSparse,zeroed_grain=on"], DiskFormat::Vmdk),
    ("vpc", &["-o", "subformat=dynamic,force_size=on"], DiskFormat::Vhd),
    ("vpc", &["-o", "subformat=fixed,force_size=on"], DiskFormat::Vhd),
];

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |value| value.parse().unwrap())
}

#[test]
fn odd_disks_of_each_format_are_read_as_qemu_reads_them() {
    let (count, seed) = (from_environment("ODD_DISKS", 54), from_environment("ODD_SEED", 20_261_128));
    println!("seed {seed}");
    let mut dice = Dice(seed);
    for number in 0..count {
        let folder = tempfile::tempdir().unwrap();
        let (raw, back) = (folder.path().join("disk.raw"), folder.path().join("back.raw"));
        let disk = odd_disk(&mut dice);
        fs::write(&raw, &disk).unwrap();
        let (format, options, ours) = MADE[number as usize % MADE.len()];
        let file = folder.path().join(format!("disk.{format}"));
        convert(&raw, "raw", &file, format, options);
        convert(&file, format, &back, "raw", &[]);
        let told = format!("disk {number} of seed {seed}: {} bytes as {format} {options:?}", disk.len());
        let read = digest(&file, ours).unwrap_or_else(|error| panic!("{told}: {error:#}"));
        assert_eq!(read, digest(&back, DiskFormat::Raw).unwrap(), "{told}");
        if ours == DiskFormat::Qcow2 {
            assert_eq!(read, digest(&raw, DiskFormat::Raw).unwrap(), "{told}");
        }
        let detected = DiskFormat::detect(&file).unwrap();
        assert_eq!(detected.format, ours, "{told}: {}", detected.why);
    }
}

fn made(name: &str, size: &str, arguments: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    qemu_img(&[&["create", "-q"], arguments, &[path.to_str().unwrap(), size]].concat());
    (folder, path)
}

#[test]
fn two_tebibytes_of_holes_take_no_time() {
    for (name, arguments, format) in [
        ("a.qcow2", &["-f", "qcow2"][..], DiskFormat::Qcow2),
        ("a.qcow2", &["-f", "qcow2", "-o", "cluster_size=2M"], DiskFormat::Qcow2),
        ("a.vhdx", &["-f", "vhdx", "-o", "block_size=1M"], DiskFormat::Vhdx),
        ("a.vmdk", &["-f", "vmdk"], DiskFormat::Vmdk),
    ] {
        let (folder, path) = made(name, "2T", arguments);
        let raw = folder.path().join("zeros");
        fs::File::create(&raw).unwrap().set_len(2 << 40).unwrap();
        assert_eq!(digest(&path, format).unwrap(), digest(&raw, DiskFormat::Raw).unwrap(), "{name} {arguments:?}");
    }
}

fn refused(path: &Path, format: DiskFormat, kind: ErrorKind, says: &str) {
    let error = digest(path, format).expect_err(says);
    assert_eq!(error.kind(), kind, "{error:#}");
    assert!(error.to_string().contains(says), "{error} does not say `{says}`");
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    let (folder, base) = made("base.qcow2", "1M", &["-f", "qcow2"]);
    let at = |name: &str| folder.path().join(name);
    let create = |name: &str, arguments: &[&str]| {
        let path = at(name);
        qemu_img(&[&["create", "-q"], arguments, &[path.to_str().unwrap()]].concat());
        path
    };
    let backed = create("backed.qcow2", &["-f", "qcow2", "-F", "qcow2", "-b", base.to_str().unwrap()]);
    refused(&backed, DiskFormat::Qcow2, ErrorKind::Unsupported, "backing files are never followed");
    let data = format!("data_file={}", at("data.raw").display());
    let external = at("external.qcow2");
    qemu_img(&["create", "-q", "-f", "qcow2", "-o", &data, external.to_str().unwrap(), "1M"]);
    refused(&external, DiskFormat::Qcow2, ErrorKind::Unsupported, "external data file");
    let extended = at("extended.qcow2");
    qemu_img(&["create", "-q", "-f", "qcow2", "-o", "extended_l2=on", extended.to_str().unwrap(), "1M"]);
    refused(&extended, DiskFormat::Qcow2, ErrorKind::Unsupported, "extended L2");
    for (bit, marked) in [(1, "dirty"), (2, "corrupt")] {
        let mut bytes = fs::read(&base).unwrap();
        bytes[79] |= bit;
        fs::write(at("marked.qcow2"), bytes).unwrap();
        refused(&at("marked.qcow2"), DiskFormat::Qcow2, ErrorKind::Conflict, marked);
        let accepted = DiskSource::path(at("marked.qcow2"), DiskFormat::Qcow2).with_unclean_close();
        assert!(ImageDigest::of(accepted).is_ok());
    }
    let split = at("split.vmdk");
    qemu_img(&["create", "-q", "-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse", split.to_str().unwrap(), "3G"]);
    refused(&split, DiskFormat::Vmdk, ErrorKind::Unsupported, "2` extents");
    refused(&at("split-s001.vmdk"), DiskFormat::Vmdk, ErrorKind::Unsupported, "0` extents");
    let delta = at("delta.vmdk");
    let parent = at("parent.vmdk");
    qemu_img(&["create", "-q", "-f", "vmdk", parent.to_str().unwrap(), "1M"]);
    qemu_img(&["create", "-q", "-f", "vmdk", "-F", "vmdk", "-b", parent.to_str().unwrap(), delta.to_str().unwrap()]);
    refused(&delta, DiskFormat::Vmdk, ErrorKind::Unsupported, "parents are never followed");
    for format in [DiskFormat::Qcow2, DiskFormat::Vhdx, DiskFormat::Vmdk] {
        fs::write(at("other"), vec![7; 2 << 20]).unwrap();
        refused(&at("other"), format, ErrorKind::Corrupt, "state its true format");
    }
}

/// A descriptor that names a file chooses nothing: it would publish any file that this process can read.
#[test]
fn a_descriptor_opens_its_own_flat_file_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("secret-flat.vmdk"), vec![7; 1 << 20]).unwrap();
    let descriptor = |named: &str| {
        format!(
            "# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 2048 FLAT \"{named}\" 0\n"
        )
    };
    for named in ["secret-flat.vmdk", "/etc/passwd", "../a-flat.vmdk", ""] {
        fs::write(at("a.vmdk"), descriptor(named)).unwrap();
        refused(&at("a.vmdk"), DiskFormat::Vmdk, ErrorKind::Invalid, "only `a-flat.vmdk` beside it");
    }
    fs::write(at("a.vmdk"), descriptor("a-flat.vmdk")).unwrap();
    std::os::unix::fs::symlink(at("secret-flat.vmdk"), at("a-flat.vmdk")).unwrap();
    refused(&at("a.vmdk"), DiskFormat::Vmdk, ErrorKind::Invalid, "no regular file");
    fs::remove_file(at("a-flat.vmdk")).unwrap();
    fs::write(at("a-flat.vmdk"), vec![7; (1 << 20) - 512]).unwrap();
    refused(&at("a.vmdk"), DiskFormat::Vmdk, ErrorKind::Corrupt, "says 1048576");
    let bytes = DiskSource::bytes(descriptor("a-flat.vmdk").into_bytes(), DiskFormat::Vmdk);
    assert_eq!(ImageDigest::of(bytes).unwrap_err().kind(), ErrorKind::Invalid);
}

/// A truncated copy is refused, wherever it was cut, unless only what no guest sees is missing.
#[test]
fn a_truncated_copy_is_refused_or_whole() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mut dice = Dice(5);
    let disk: Vec<u8> = (0..(3 << 20) + 512).map(|_| dice.roll() as u8).collect();
    fs::write(at("disk.raw"), &disk).unwrap();
    let whole = digest(&at("disk.raw"), DiskFormat::Raw).unwrap();
    for (format, options, ours) in MADE.iter().filter(|(_, options, _)| !options.iter().any(|o| o.contains("Flat"))) {
        convert(&at("disk.raw"), "raw", &at("file"), format, options);
        let bytes = fs::read(at("file")).unwrap();
        for part in 0..12 {
            // Not within the last cluster, whose end qemu may leave out.
            fs::write(at("cut"), &bytes[..bytes.len() * part / 13]).unwrap();
            if let Ok(read) = digest(&at("cut"), *ours) {
                assert_eq!(read, whole, "{format} {options:?} cut at {part}/13");
            }
        }
    }
}

async fn publish(sandbox: &Sandbox, number: &str, raw: &Path) {
    let source = DiskSource::path(raw, DiskFormat::Raw).with_any_raw_content();
    let version = sandbox.new_version(number, "westeurope,eastus", source);
    sandbox.session().publish(version).await.unwrap();
    sandbox.session().replicate(sandbox.version(number)).await.unwrap();
}

/// What is written: our format, the one that reads it here, qemu's name of it, and whether qemu can check it.
const WRITTEN: &[(WrittenFormat, DiskFormat, &str, bool)] = &[
    (WrittenFormat::Raw, DiskFormat::Raw, "raw", false),
    (WrittenFormat::Vhd, DiskFormat::Vhd, "vpc", false),
    (WrittenFormat::VhdDynamic, DiskFormat::Vhd, "vpc", false),
    (WrittenFormat::Vhdx, DiskFormat::Vhdx, "vhdx", true),
    (WrittenFormat::Qcow2, DiskFormat::Qcow2, "qcow2", true),
];

/// `file`, byte for byte the disk in `raw`, and without a fault.
fn is_the_disk(file: &Path, format: &str, checked: bool, raw: &Path) {
    let (file, raw) = (file.to_str().unwrap(), raw.to_str().unwrap());
    qemu_img(&["compare", "-f", format, "-F", "raw", file, raw]);
    if checked {
        qemu_img(&["check", "-q", "-f", format, file]);
    }
}

#[test]
fn odd_disks_are_written_in_each_format_as_qemu_reads_them() {
    let (count, seed) = (from_environment("ODD_DISKS", 40) / 5, from_environment("ODD_SEED", 7));
    println!("seed {seed}");
    let mut dice = Dice(seed);
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        for number in 0..count.max(1) {
            let folder = tempfile::tempdir().unwrap();
            let (raw, disk) = (folder.path().join("disk.raw"), odd_disk(&mut dice));
            fs::write(&raw, &disk).unwrap();
            let name = format!("1.0.{number}");
            publish(&sandbox, &name, &raw).await;
            let version = sandbox.version(&name);
            for (format, ours, theirs, checked) in WRITTEN {
                println!("disk {number} of seed {seed}: {} bytes as {format:?}", disk.len());
                let deployment = || sandbox.session().deploy(&version, "eastus").format(*format);
                let (path, piped) = (folder.path().join("path"), folder.path().join("piped"));
                let deployed = deployment().to_path(&path).await.unwrap();
                is_the_disk(&path, theirs, *checked, &raw);
                assert_eq!(digest(&path, *ours).unwrap(), deployed.digest);
                let (_, bytes) = deployment().to_writer(Vec::new()).await.unwrap();
                fs::write(&piped, bytes).unwrap();
                is_the_disk(&piped, theirs, *checked, &raw);
                let azure = matches!(format, WrittenFormat::Vhd | WrittenFormat::VhdDynamic);
                let told = deployed.notes.iter().any(|note| matches!(note, DiskNote::NotWholeMebibytes { .. }));
                assert_eq!(told, azure && disk.len() % (1 << 20) != 0);
            }
        }
    });
}

#[test]
fn two_tebibytes_of_holes_are_written_as_holes() {
    use std::os::unix::fs::{FileExt, MetadataExt};
    let folder = tempfile::tempdir().unwrap();
    // And the largest dynamic VHD.
    let sizes = [("1.0.0", (2 << 40) - 512), ("1.0.1", 2040 << 30)];
    block_on(async {
        let limits = || Limits::default().with_max_disk_bytes(2 << 40);
        let sandbox = Sandbox::builder().service(move |builder| builder.limits(limits())).build().await.unwrap();
        for (number, size) in sizes {
            let file = fs::File::create(folder.path().join(number)).unwrap();
            file.set_len(size).unwrap();
            for at in [0, 77 << 30, (600 << 30) + 4096, size - 1024] {
                file.write_all_at(&[7; 1000], at).unwrap();
            }
            publish(&sandbox, number, &folder.path().join(number)).await;
        }
        for (format, ours, theirs, checked) in WRITTEN {
            let path = folder.path().join("out");
            let deploy =
                |number| sandbox.session().deploy(sandbox.version(number), "eastus").format(*format).to_path(&path);
            let (number, deployed) = match format {
                WrittenFormat::VhdDynamic => {
                    let error = deploy("1.0.0").await.unwrap_err();
                    assert!(error.to_string().contains("at most 2040 GiB"), "{error}");
                    ("1.0.1", deploy("1.0.1").await.unwrap())
                }
                _ => ("1.0.0", deploy("1.0.0").await.unwrap()),
            };
            assert_eq!(digest(&path, *ours).unwrap(), deployed.digest, "{format:?}");
            let allocated = fs::metadata(&path).unwrap().blocks() * 512;
            assert!(allocated < 64 << 20, "{format:?} takes {allocated} bytes");
            // Where a VHD or a VHDX has holes, qemu reads zeros, for hours.
            if matches!(format, WrittenFormat::Raw | WrittenFormat::Qcow2) {
                is_the_disk(&path, theirs, *checked, &folder.path().join(number));
            }
        }
    });
}

/// A killed deployment is played by its leftover: half of the file, one chunk of it flipped, and bytes where the disk has zeros.
#[test]
fn a_deployment_goes_on_with_what_a_killed_one_left() {
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice(3);
    let mut disk: Vec<u8> = (0..24 << 20).map(|_| dice.roll() as u8).collect();
    disk[5 << 20..7 << 20].fill(0);
    let raw = folder.path().join("disk.raw");
    fs::write(&raw, &disk).unwrap();
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        publish(&sandbox, "1.0.0", &raw).await;
        for (format, _, theirs, checked) in WRITTEN {
            let path = folder.path().join("out");
            let deploy = || sandbox.session().deploy(sandbox.version("1.0.0"), "eastus").format(*format);
            let faults = sandbox.faults("eastus");
            let begun = faults.calls();
            deploy().to_path(&path).await.unwrap();
            let calls = faults.calls() - begun;
            let whole = fs::read(&path).unwrap();
            fs::remove_file(&path).unwrap();
            let mut left = whole.clone();
            let half = left.len() / 2;
            left[half..].fill(0x77);
            left[3 << 20] ^= 1;
            if *format == WrittenFormat::Raw {
                left[(6 << 20) + 9] = 1;
            }
            // Its name is told by a deployment that fails half-way and is not dropped until we have looked.
            let name = partial_name(&sandbox, &path, *format).await;
            fs::write(&name, &left).unwrap();
            let begun = faults.calls();
            deploy().to_path(&path).await.unwrap();
            is_the_disk(&path, theirs, *checked, &raw);
            let again = faults.calls() - begun;
            assert!(again < calls, "{format:?}: {again} store calls, and {calls} for all of it");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "{format:?}: a leftover stays");
        }
    });
}

/// The name of the partial file of a deployment, seen while it runs.
async fn partial_name(sandbox: &Sandbox, path: &Path, format: WrittenFormat) -> PathBuf {
    let seen = std::sync::Arc::new(std::sync::Mutex::new(None));
    let (told, folder) = (seen.clone(), path.parent().unwrap().to_owned());
    let deployment = sandbox.session().deploy(sandbox.version("1.0.0"), "eastus").format(format);
    let deployment = deployment.on_progress(move |_| {
        let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let partial = names.into_iter().find(|name| name.to_str().unwrap().contains(".partial-"));
        if let Some(partial) = partial {
            *told.lock().unwrap() = Some(partial);
        }
    });
    deployment.to_path(path).await.unwrap();
    fs::remove_file(path).unwrap();
    seen.lock().unwrap().take().unwrap()
}

#[test]
fn an_overlay_shows_its_backing_disk_and_keeps_writes_for_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (raw, overlay) = (folder.path().join("disk.raw"), folder.path().join("vm.qcow2"));
    fs::write(&raw, vec![7; (3 << 20) + 512]).unwrap();
    create_overlay(&overlay, (3 << 20) + 512, raw.to_str().unwrap()).unwrap();
    is_the_disk(&overlay, "qcow2", true, &raw);
    let info = qemu_img(&["info", "--output=json", overlay.to_str().unwrap()]);
    assert!(info.contains(&format!("\"backing-filename\": \"{}\"", raw.display())), "{info}");
    assert!(info.contains("\"backing-filename-format\": \"raw\""), "{info}");
    // And it is refused as a source: what it names is never followed.
    refused(&overlay, DiskFormat::Qcow2, ErrorKind::Unsupported, "backing files are never followed");
    for (size, backing) in [(0, "a"), (513, "a"), (512, ""), (512, "a".repeat(1024).as_str())] {
        assert_eq!(create_overlay(folder.path().join("b"), size, backing).unwrap_err().kind(), ErrorKind::Invalid);
    }
}

/// By hand, as root: `DEVICE=$(losetup -f --show FILE) cargo test --features testkit --test formats device -- --ignored`. It overwrites
/// the device, of at least 32 MiB.
#[test]
#[ignore = "it overwrites a block device"]
fn a_device_holds_the_disk_and_no_old_bytes() {
    let device = PathBuf::from(std::env::var("DEVICE").unwrap());
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice(11);
    let mut disk: Vec<u8> = (0..(20 << 20) + 1536).map(|_| dice.roll() as u8).collect();
    disk[3 << 20..9 << 20].fill(0);
    disk[(12 << 20) + 512..(12 << 20) + 4096].fill(0);
    fs::write(folder.path().join("disk.raw"), &disk).unwrap();
    fs::write(&device, vec![0x55; 32 << 20]).unwrap();
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        publish(&sandbox, "1.0.0", &folder.path().join("disk.raw")).await;
        let deployment = || sandbox.session().deploy(sandbox.version("1.0.0"), "eastus");
        deployment().to_device(&device).await.unwrap();
        let held = fs::read(&device).unwrap();
        assert!(held[..disk.len()] == disk);
        assert!(held[disk.len()..32 << 20].iter().all(|&byte| byte == 0x55), "what lies behind the disk stays");
        let error = deployment().format(WrittenFormat::Vhd).to_device(&device).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    });
}

/// A stream in small pieces, with a wait before each, that fails at the end if it is told to.
struct Stream {
    left: std::io::Cursor<Vec<u8>>,
    waits: bool,
    fails: bool,
}

impl Stream {
    fn of(bytes: &[u8]) -> Self {
        Self { left: std::io::Cursor::new(bytes.to_vec()), waits: true, fails: false }
    }
}

impl futures::io::AsyncRead for Stream {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut [u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        self.waits = !self.waits;
        if !self.waits {
            context.waker().wake_by_ref();
            return std::task::Poll::Pending;
        }
        let most = buffer.len().min(100_003);
        match std::io::Read::read(&mut self.left, &mut buffer[..most])? {
            0 if self.fails => std::task::Poll::Ready(Err(std::io::Error::other("the line is cut"))),
            read => std::task::Poll::Ready(Ok(read)),
        }
    }
}

fn spooled(stream: Stream, format: DiskFormat, folder: &Path, most: u64) -> Result<DiskSource, Error> {
    block_on(DiskSource::spooled(stream, format, folder, most))
}

#[test]
fn a_stream_is_the_disk_that_its_bytes_are_in_each_format_and_wrapping() {
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice(13);
    let mut disk: Vec<u8> = (0..(1 << 20) + 512).map(|_| dice.roll() as u8).collect();
    disk[100 << 10..900 << 10].fill(0);
    let (raw, spool) = (folder.path().join("raw"), folder.path().join("spool"));
    fs::write(&raw, &disk).unwrap();
    fs::create_dir(&spool).unwrap();
    let whole = digest(&raw, DiskFormat::Raw).unwrap();
    let flat = |options: &[&str]| options.iter().any(|option| option.contains("Flat"));
    let mut files = vec![(raw.clone(), DiskFormat::Raw)];
    for (number, (format, options, ours)) in MADE.iter().enumerate().filter(|(_, (_, options, _))| !flat(options)) {
        let file = folder.path().join(format!("{number}.{format}"));
        convert(&raw, "raw", &file, format, options);
        files.push((file, *ours));
    }
    for (file, format) in files {
        let bytes = fs::read(&file).unwrap();
        let source = spooled(Stream::of(&bytes), format, &spool, bytes.len() as u64).unwrap();
        assert_eq!(ImageDigest::of(source).unwrap(), whole, "{}", file.display());
        // What it is wrapped in is unwrapped behind the stream, in the same folder.
        let packed = Command::new("gzip").arg("-1c").arg(&file).output().unwrap().stdout;
        let source = spooled(Stream::of(&packed), format, &spool, 1 << 30).unwrap();
        let source = source.with_wrapping([compute_gallery::disk::Wrapping::Gzip]);
        assert_eq!(ImageDigest::of(source).unwrap(), whole, "{}", file.display());
    }
    assert_eq!(fs::read_dir(&spool).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn a_stream_that_is_too_long_or_fails_or_has_no_folder_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = vec![7; (3 << 20) + 512];
    let refused = |stream, folder: &Path, most| spooled(stream, DiskFormat::Raw, folder, most).map(drop).unwrap_err();
    let error = refused(Stream::of(&bytes), folder.path(), bytes.len() as u64 - 1);
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("more than `3146239` bytes"), "{error}");
    let error = refused(Stream { fails: true, ..Stream::of(&bytes) }, folder.path(), 1 << 30);
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(format!("{error:#}").contains("the line is cut"), "{error:#}");
    let error = refused(Stream::of(&bytes), &folder.path().join("absent"), 1 << 30);
    assert!(error.to_string().contains("absent"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    // No bytes are no disk.
    let none = spooled(Stream::of(&[]), DiskFormat::Raw, folder.path(), 1 << 30).unwrap();
    assert_eq!(ImageDigest::of(none).unwrap_err().kind(), ErrorKind::Invalid);
}

/// Zeros with a little in the middle: the file behind them is all holes but one.
#[cfg(target_os = "linux")]
#[test]
fn a_stream_of_zeros_takes_no_space() {
    use futures::io::AsyncReadExt;
    use std::os::unix::fs::{FileExt, MetadataExt};
    let folder = tempfile::tempdir().unwrap();
    let zeros = || futures::io::repeat(0).take(32 << 20);
    let stream = zeros().chain(futures::io::Cursor::new(vec![7; 4096])).chain(zeros());
    let source = block_on(DiskSource::spooled(stream, DiskFormat::Raw, folder.path(), 4 << 30)).unwrap();
    // It has no name: only this process knows it.
    let open = fs::read_dir("/proc/self/fd").unwrap().map(|open| open.unwrap().path());
    let spool: Vec<_> = open.filter(|open| fs::read_link(open).is_ok_and(|to| to.starts_with(folder.path()))).collect();
    assert_eq!(spool.len(), 1);
    let metadata = fs::metadata(&spool[0]).unwrap();
    assert_eq!(metadata.len(), (64 << 20) + 4096);
    assert!(metadata.blocks() * 512 <= 2 << 20, "{} bytes are taken", metadata.blocks() * 512);
    let file = fs::File::create(folder.path().join("raw")).unwrap();
    file.set_len((64 << 20) + 4096).unwrap();
    file.write_all_at(&[7; 4096], 32 << 20).unwrap();
    assert_eq!(ImageDigest::of(source).unwrap(), digest(&folder.path().join("raw"), DiskFormat::Raw).unwrap());
}
