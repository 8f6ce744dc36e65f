//! The block device server, as `qemu-img` and clients of any kind meet it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a helper of a test may fail as the test does"
)]
#![expect(clippy::disallowed_methods, reason = "a server has a thread of its own")]

#[path = "round_trips/virtual_time.rs"]
mod virtual_time;

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::process::Command;
use std::sync::LazyLock;
use std::task::{Context, Poll};
use std::time::Duration;

use compute_gallery::ErrorKind;
use compute_gallery::host::Clock;
use compute_gallery::nbd::NbdServer;
use compute_gallery::testkit::{ManualClock, Sandbox};
use futures::executor::block_on;
use futures::future::{Either, select};
use futures::io::{AsyncRead, AsyncWrite};

/// A disk with data, zeros and data, not of whole chunks.
fn disk() -> Vec<u8> {
    static DISK: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut disk: Vec<u8> = (0..(9 << 20) + 1536_u32).map(|at| (at / 512 % 251 + at % 3) as u8 | 1).collect();
        disk[1 << 20..5 << 20].fill(0);
        disk
    });
    DISK.clone()
}

struct Served {
    folder: tempfile::TempDir,
    socket: PathBuf,
    faults: compute_gallery::testkit::Faults,
}

/// Serves the disk on a Unix socket, by a thread that lives as long as the test.
fn serve() -> Served {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("web.sock");
    let sandbox = block_on(Sandbox::new()).unwrap();
    block_on(sandbox.publish("1.0.0", disk())).unwrap();
    let faults = sandbox.faults("eastus");
    let path = socket.clone();
    std::thread::spawn(move || {
        block_on(async {
            let reader = sandbox.session().deploy(sandbox.version("1.0.0"), "eastus").open().await.unwrap();
            NbdServer::new("web", reader).listen_unix(path).await.unwrap();
        });
    });
    while UnixStream::connect(&socket).is_err() {
        std::thread::yield_now();
    }
    Served { folder, socket, faults }
}

fn qemu_img(arguments: &[&str]) -> String {
    let output = Command::new("qemu-img").args(arguments).output();
    let output = output.expect("this test needs `qemu-img` (Debian's package `qemu-utils`) on the PATH");
    assert!(output.status.success(), "qemu-img {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn uri(socket: &Path, name: &str) -> String {
    format!("nbd+unix:///{name}?socket={}", socket.display())
}

#[test]
fn qemu_reads_the_disk_and_its_holes_by_its_name_and_without() {
    let served = serve();
    let raw = served.folder.path().join("disk.raw");
    std::fs::write(&raw, disk()).unwrap();
    for name in ["", "web"] {
        qemu_img(&["compare", "-f", "raw", "-F", "raw", &uri(&served.socket, name), raw.to_str().unwrap()]);
    }
    let map = qemu_img(&["map", "--output=json", "-f", "raw", &uri(&served.socket, "")]);
    assert!(
        map.contains(
            r#""start": 1048576, "length": 4194304, "depth": 0, "present": true, "zero": true, "data": false"#
        ),
        "{map}"
    );
    let copy = served.folder.path().join("copy.qcow2");
    qemu_img(&[
        "convert",
        "-f",
        "raw",
        "-O",
        "qcow2",
        "-m",
        "16",
        "-W",
        &uri(&served.socket, ""),
        copy.to_str().unwrap(),
    ]);
    qemu_img(&["compare", "-f", "qcow2", "-F", "raw", copy.to_str().unwrap(), raw.to_str().unwrap()]);
    let none = Command::new("qemu-img").args(["info", "-f", "raw", &uri(&served.socket, "other")]).output().unwrap();
    assert!(!none.status.success());
}

#[test]
fn a_vm_writes_into_an_overlay_on_the_served_disk() {
    let served = serve();
    let overlay = served.folder.path().join("vm.qcow2");
    let backing = uri(&served.socket, "");
    compute_gallery::disk::create_overlay(&overlay, disk().len() as u64, &backing).unwrap();
    let path = overlay.to_str().unwrap();
    let written = Command::new("qemu-io")
        .args(["-f", "qcow2", "-c", "write -P 9 1M 64k", "-c", "read -P 9 1M 64k", path])
        .output();
    assert!(written.unwrap().status.success());
    let flat = served.folder.path().join("flat.raw");
    qemu_img(&["convert", "-f", "qcow2", "-O", "raw", path, flat.to_str().unwrap()]);
    let mut expected = disk();
    expected[1 << 20..(1 << 20) + (64 << 10)].fill(9);
    assert!(std::fs::read(&flat).unwrap() == expected);
}

/// A client that speaks the protocol by hand.
struct Client(UnixStream);

const GO: u32 = 7;

impl Client {
    fn connect(served: &Served) -> Self {
        let stream = UnixStream::connect(&served.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut client = Self(stream);
        assert_eq!(client.take::<8>(), *b"NBDMAGIC");
        assert_eq!(client.take::<8>(), *b"IHAVEOPT");
        assert_eq!(client.take::<2>(), [0, 3]);
        client.put(&3_u32.to_be_bytes());
        client
    }

    /// Up to the transmission of requests, with simple replies.
    fn ready(served: &Served) -> Self {
        let mut client = Self::connect(served);
        client.option(GO, &[0, 0, 0, 0, 0, 0]);
        loop {
            let (kind, _) = client.answer();
            assert!(kind < 1 << 31, "{kind:#x}");
            if kind == 1 {
                return client;
            }
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn option(&mut self, option: u32, data: &[u8]) {
        let length = (data.len() as u32).to_be_bytes();
        self.put(&[&b"IHAVEOPT"[..], &option.to_be_bytes(), &length, data].concat());
    }

    fn answer(&mut self) -> (u32, Vec<u8>) {
        assert_eq!(self.take::<8>(), 0x0003_e889_0455_65a9_u64.to_be_bytes());
        let [_, kind, length] = [self.take(), self.take(), self.take()].map(u32::from_be_bytes);
        let mut data = vec![0; length as usize];
        self.0.read_exact(&mut data).unwrap();
        (kind, data)
    }

    fn request(&mut self, command: u16, cookie: u64, offset: u64, length: u32) {
        let magic = 0x2560_9513_u32.to_be_bytes();
        let [flags, command] = [0, command].map(u16::to_be_bytes);
        let [cookie, offset] = [cookie, offset].map(u64::to_be_bytes);
        self.put(&[&magic[..], &flags, &command, &cookie, &offset, &length.to_be_bytes()].concat());
    }

    /// The error and the cookie of a simple reply.
    fn reply(&mut self) -> (u32, u64) {
        assert_eq!(self.take::<4>(), 0x6744_6698_u32.to_be_bytes());
        (u32::from_be_bytes(self.take()), u64::from_be_bytes(self.take()))
    }

    /// Whether the server has closed the connection.
    fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).is_ok_and(|_| rest.is_empty())
    }

    fn reads(&mut self) {
        self.request(0, 99, 0, 4096);
        assert_eq!(self.reply(), (0, 99));
        assert!(self.take::<4096>() == disk()[..4096]);
    }
}

#[test]
fn requests_that_can_not_be_met_are_refused_and_the_next_is_met() {
    let served = serve();
    let mut client = Client::ready(&served);
    let size = disk().len() as u64;
    for (command, offset, length, error) in [
        (0, 0, 0, 22),
        (0, size, 512, 22),
        (0, size - 511, 512, 22),
        (0, u64::MAX, 512, 22),
        (0, 0, u32::MAX, 22),
        (4, 0, 512, 1),
        (6, 0, 512, 1),
        // Not agreed upon: block status.
        (7, 0, 512, 22),
        (77, 0, 512, 22),
        (3, 0, 0, 0),
        (5, 0, 65_536, 0),
    ] {
        client.request(command, 5, offset, length);
        assert_eq!(client.reply(), (error, 5), "command {command} at {offset} of {length}");
    }
    // The bytes of a write are taken, and not done.
    client.request(1, 6, 0, 100_000);
    client.put(&[7; 100_000]);
    assert_eq!(client.reply(), (1, 6));
    client.reads();
    // Many at once, in any order.
    for cookie in 0..100 {
        client.request(0, cookie, 5_242_880 + cookie * 512, 512);
    }
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let (error, cookie) = client.reply();
        let at = 5_242_880 + cookie as usize * 512;
        assert!(error == 0 && client.take::<512>() == disk()[at..at + 512] && seen.insert(cookie));
    }
    client.request(2, 0, 0, 0);
    assert!(client.is_closed());
}

#[test]
fn clients_that_talk_rubbish_or_stop_half_way_harm_no_other() {
    let served = serve();
    let mut good = Client::ready(&served);
    let mut state = 1_u64;
    for round in 0..40_u64 {
        let mut client = if round % 2 == 0 { Client::connect(&served) } else { Client::ready(&served) };
        let mut bytes: Vec<u8> = Vec::new();
        for _ in 0..round * 3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            bytes.push((state >> 40) as u8);
        }
        // The server may have gone away before all is written.
        let _ = client.0.write_all(&bytes);
        let _ = client.0.shutdown(std::net::Shutdown::Write);
        drop(client);
        good.reads();
    }
    // A reply that nobody takes.
    let mut deaf = Client::ready(&served);
    for cookie in 0..8 {
        deaf.request(0, cookie, 0, 8 << 20);
    }
    good.reads();
    drop(deaf);
    good.reads();
    for magic in [b"IHAVEOPX", b"NBDMAGIC"] {
        let mut client = Client::connect(&served);
        client.put(magic);
        assert!(client.is_closed());
    }
    // Lengths that do not add up, and too long ones.
    let mut client = Client::connect(&served);
    for data in [&[][..], &[0, 0, 0, 9, 1], &[0xff; 64], &[0, 0, 0, 0, 0, 9, 0]] {
        client.option(GO, data);
        assert_eq!(client.answer().0, (1 << 31) + 3, "{data:?}");
    }
    client.option(GO, &[&[0, 0, 0, 5][..], b"other", &[0, 0]].concat());
    assert_eq!(client.answer().0, (1 << 31) + 6);
    client.option(GO, &vec![0; 100_000]);
    assert_eq!(client.answer().0, (1 << 31) + 9);
    client.option(5, &[]);
    assert_eq!(client.answer().0, (1 << 31) + 1, "TLS is left to the host");
    client.option(10, &[0; 8]);
    assert_eq!(client.answer().0, (1 << 31) + 3, "before structured replies");
    client.option(3, &[]);
    assert_eq!(client.answer(), (2, [&[0, 0, 0, 3][..], b"web"].concat()));
    assert_eq!(client.answer().0, 1);
    client.option(2, &[]);
    assert_eq!(client.answer().0, 1);
    assert!(client.is_closed());
    good.reads();
}

#[test]
fn what_was_read_is_not_read_again() {
    let served = serve();
    let mut client = Client::ready(&served);
    // What is fetched ahead may still be under way when the first reads are answered.
    let calls = std::iter::repeat_with(|| {
        client.reads();
        served.faults.calls()
    });
    let counts: Vec<u64> = calls.take(10).collect();
    let [before, begun] = *counts.last_chunk().unwrap();
    assert_eq!(before, begun, "{counts:?}");
    Client::ready(&served).reads();
    assert_eq!(served.faults.calls(), begun, "the cache is everyone's");
}

#[test]
fn an_address_that_others_can_reach_and_a_socket_in_use_are_refused() {
    let served = serve();
    let sandbox = block_on(Sandbox::new()).unwrap();
    block_on(sandbox.publish("1.0.0", vec![7; 4096])).unwrap();
    let deployment = sandbox.session().deploy(sandbox.version("1.0.0"), "eastus");
    let server = NbdServer::new("web", block_on(deployment.open()).unwrap());
    let error = block_on(server.listen_tcp("0.0.0.0:10809".parse().unwrap())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    let error = block_on(server.listen_unix(&served.socket)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    let file = served.folder.path().join("file");
    std::fs::write(&file, b"precious").unwrap();
    let error = block_on(server.listen_unix(&file)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    Client::ready(&served).reads();
}

/// A client that says something, and then nothing more, and takes every answer.
struct Silent(io::Cursor<Vec<u8>>);

impl AsyncRead for Silent {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match self.0.read(buffer)? {
            0 => Poll::Pending,
            read => Poll::Ready(Ok(read)),
        }
    }
}

impl AsyncWrite for Silent {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The client's flags, its choice of the first disk, and then reads of 4 KiB at these offsets; with `goes`, it says so in the end.
fn said(reads: &[u64], goes: bool) -> Vec<u8> {
    let mut said = [&3_u32.to_be_bytes()[..], b"IHAVEOPT", &GO.to_be_bytes(), &6_u32.to_be_bytes(), &[0; 6]].concat();
    let mut request = |command: u16, offset: u64, length: u32| {
        let cookie = [0; 8];
        let [magic, length] = [0x2560_9513, length].map(u32::to_be_bytes);
        said.extend([&magic[..], &[0, 0], &command.to_be_bytes(), &cookie, &offset.to_be_bytes(), &length].concat());
    };
    reads.iter().for_each(|at| request(0, *at, 4096));
    if goes {
        request(2, 0, 0);
    }
    said
}

/// A gallery with a clock of its own.
fn timed() -> (ManualClock, Sandbox) {
    let clock = ManualClock::new("2026-01-02T12:00:00Z".parse().unwrap());
    let sandbox = virtual_time::run(&clock, Sandbox::builder().clock(clock.clone()).build()).unwrap();
    virtual_time::run(&clock, sandbox.publish("1.0.0", disk())).unwrap();
    (clock, sandbox)
}

/// Serves a client for so long; `None` if it is still there then. What comes after that is what a killed server leaves.
fn serve_for(seconds: u64, clock: &ManualClock, sandbox: &Sandbox, said: Vec<u8>) -> Option<io::Result<()>> {
    virtual_time::run(clock, async {
        let deployment = sandbox.session().deploy(sandbox.version("1.0.0"), "eastus").record_boot();
        let server = NbdServer::new("web", deployment.open().await.unwrap());
        let served = server.serve(Silent(io::Cursor::new(said)));
        match select(pin!(served), clock.sleep(Duration::from_secs(seconds))).await {
            Either::Left((served, _)) => Some(served),
            Either::Right(_) => None,
        }
    })
}

/// A client that connects and never chooses a disk holds a place of a server for 30 seconds; one that has chosen, as long as it likes.
#[test]
fn a_client_that_does_not_finish_its_handshake_is_sent_away() {
    let (clock, sandbox) = timed();
    let whole = said(&[], false);
    for length in [0, 3, 4, 12, 20, whole.len() - 1] {
        let said = || whole[..length].to_vec();
        assert!(serve_for(29, &clock, &sandbox, said()).is_none(), "after {length} bytes");
        let error = serve_for(31, &clock, &sandbox, said()).unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        assert!(error.to_string().contains("30 seconds"), "{error}");
    }
    let mut more = whole.clone();
    more.extend([0x25, 0x60]);
    for said in [whole, more] {
        assert!(serve_for(7 * 24 * 3600, &clock, &sandbox, said).is_none(), "a VM may read nothing for days");
    }
}

/// The number of chunks in the boot set, for a new process.
fn boot_set(clock: &ManualClock, sandbox: &Sandbox) -> usize {
    virtual_time::run(clock, async {
        let other = sandbox.reopen().build().await.unwrap();
        let deployment = other.session().deploy(other.version("1.0.0"), "eastus");
        deployment.open().await.unwrap().fetch_boot_set().await.unwrap()
    })
}

#[test]
fn the_boot_set_is_stored_when_the_client_leaves_and_by_a_server_that_is_killed_later() {
    let (clock, sandbox) = timed();
    let reads = [0, 65_536, 6 << 20];
    assert!(serve_for(9, &clock, &sandbox, said(&reads, false)).is_none());
    assert_eq!(boot_set(&clock, &sandbox), 0, "killed within ten seconds");
    assert!(serve_for(11, &clock, &sandbox, said(&reads, false)).is_none());
    assert_eq!(boot_set(&clock, &sandbox), 3, "killed later");
    assert!(serve_for(9, &clock, &sandbox, said(&[7 << 20], true)).unwrap().is_ok());
    assert_eq!(boot_set(&clock, &sandbox), 4, "the client has left");
    // Once it is stored, nothing is written any more.
    let calls = |seconds| {
        let begun = sandbox.faults("eastus").calls();
        assert!(serve_for(seconds, &clock, &sandbox, said(&reads, false)).is_none());
        sandbox.faults("eastus").calls() - begun
    };
    calls(9);
    assert_eq!(calls(9), calls(600), "the first one has filled the cache");
}
