//! Failures that only a directory of files has.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use std::fs::{self, File, FileTimes};
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use compute_gallery::store::{BlobKey, BlobStore, BlobStoreExt, Durability, FsStore, PutMode, StoreErrorKind};
use futures::executor::block_on;

fn key(text: &str) -> BlobKey {
    text.parse().unwrap()
}

fn put(store: &FsStore, at: &str, mode: PutMode) -> Result<(), StoreErrorKind> {
    block_on(store.put(&key(at), Bytes::from_static(b"new"), mode)).map_err(|error| error.kind())
}

fn listed(store: &FsStore) -> Vec<String> {
    block_on(store.list_all(None)).unwrap().into_iter().map(|meta| meta.key.to_string()).collect()
}

fn staged(root: &Path) -> usize {
    fs::read_dir(root.join(".staging")).unwrap().count()
}

#[test]
fn a_linked_directory_is_neither_written_nor_read_nor_listed() {
    let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(outside.path().join("secret"), b"secret").unwrap();
    let store = FsStore::open_or_create(inside.path()).unwrap();
    put(&store, "a/b", PutMode::Create).unwrap();
    symlink(outside.path(), inside.path().join("link")).unwrap();
    symlink(outside.path(), inside.path().join("a/link")).unwrap();
    for at in ["link/secret", "a/link/secret", "a/link/more/secret"] {
        let denied = StoreErrorKind::Obstructed;
        assert_eq!(block_on(store.get(&key(at), None)).unwrap_err().kind(), denied, "{at}");
        assert_eq!(block_on(store.head(&key(at))).unwrap_err().kind(), denied, "{at}");
        assert_eq!(block_on(store.delete(&key(at))).unwrap_err().kind(), denied, "{at}");
        assert_eq!(put(&store, at, PutMode::Create), Err(denied), "{at}");
        assert_eq!(put(&store, at, PutMode::Overwrite), Err(denied), "{at}");
        assert_eq!(block_on(store.copy(&key("a/b"), &key(at), PutMode::Overwrite)).unwrap_err().kind(), denied);
        assert_eq!(block_on(store.copy(&key(at), &key("c"), PutMode::Overwrite)).unwrap_err().kind(), denied);
    }
    assert_eq!(block_on(store.list(Some(&key("link")), None, 9)).unwrap_err().kind(), StoreErrorKind::Obstructed);
    assert_eq!(listed(&store), ["a/b"]);
    assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"secret");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(staged(inside.path()), 0);
}

#[test]
fn a_linked_blob_is_neither_written_nor_read_nor_listed() {
    let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let secret = outside.path().join("secret");
    fs::write(&secret, b"secret").unwrap();
    let store = FsStore::open_or_create(inside.path()).unwrap();
    put(&store, "a/b", PutMode::Create).unwrap();
    symlink(&secret, inside.path().join("a/link")).unwrap();
    symlink(outside.path().join("nowhere"), inside.path().join("a/dangling")).unwrap();
    for at in ["a/link", "a/dangling"] {
        let denied = StoreErrorKind::Obstructed;
        assert_eq!(block_on(store.get(&key(at), None)).unwrap_err().kind(), denied, "{at}");
        assert_eq!(block_on(store.head(&key(at))).unwrap_err().kind(), denied, "{at}");
        assert_eq!(block_on(store.delete(&key(at))).unwrap_err().kind(), denied, "{at}");
        assert_eq!(put(&store, at, PutMode::Create), Err(denied), "{at}");
        assert_eq!(put(&store, at, PutMode::Overwrite), Err(denied), "{at}");
    }
    assert_eq!(listed(&store), ["a/b"]);
    assert_eq!(fs::read(&secret).unwrap(), b"secret");
    assert!(!outside.path().join("nowhere").exists());
}

#[test]
fn a_linked_staging_directory_is_refused() {
    let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    symlink(outside.path(), inside.path().join(".staging")).unwrap();
    assert_eq!(FsStore::open_or_create(inside.path()).unwrap_err().kind(), StoreErrorKind::Obstructed);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn the_owner_may_link_the_root_itself() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("real")).unwrap();
    symlink("real", directory.path().join("root")).unwrap();
    let store = FsStore::open_or_create(directory.path().join("root")).unwrap();
    put(&store, "a", PutMode::Create).unwrap();
    assert_eq!(fs::read(directory.path().join("real/a")).unwrap(), b"new");
}

#[test]
fn a_pipe_in_the_place_of_a_blob_blocks_no_call() {
    let directory = tempfile::tempdir().unwrap();
    let store = FsStore::open_or_create(directory.path()).unwrap();
    if !Command::new("mkfifo").arg(directory.path().join("pipe")).status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no mkfifo");
        return;
    }
    assert_eq!(block_on(store.get(&key("pipe"), None)).unwrap_err().kind(), StoreErrorKind::Obstructed);
    assert!(listed(&store).is_empty());
}

fn leave_behind(root: &Path, name: &str, hours: u64) {
    let file = File::create(root.join(".staging").join(name)).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    let before = modified - Duration::from_secs(hours * 60 * 60);
    file.set_times(FileTimes::new().set_modified(before)).unwrap();
}

#[test]
fn opening_removes_old_leftovers_and_keeps_young_and_foreign_files() {
    let directory = tempfile::tempdir().unwrap();
    FsStore::open_or_create(directory.path()).unwrap();
    let (old, young) = ("0".repeat(32), "1".repeat(32));
    leave_behind(directory.path(), &old, 25);
    leave_behind(directory.path(), &young, 23);
    leave_behind(directory.path(), "of-a-stranger", 1_000);
    FsStore::open_or_create(directory.path()).unwrap();
    let mut left: Vec<_> = fs::read_dir(directory.path().join(".staging"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, [young, "of-a-stranger".to_owned()]);
}

#[test]
fn leftovers_of_odd_times_are_young() {
    let directory = tempfile::tempdir().unwrap();
    let store = FsStore::open_or_create(directory.path()).unwrap();
    for (name, modified) in [("2", std::time::UNIX_EPOCH), ("3", std::time::UNIX_EPOCH + Duration::from_secs(1 << 33))]
    {
        let file = File::create(directory.path().join(".staging").join(name.repeat(32))).unwrap();
        file.set_times(FileTimes::new().set_modified(modified)).unwrap();
    }
    leave_behind(directory.path(), &"4".repeat(32), 1);
    assert_eq!(block_on(store.remove_leftovers(Duration::from_secs(7_200))).unwrap(), 0);
    assert_eq!(block_on(store.remove_leftovers(Duration::from_secs(1_800))).unwrap(), 1);
    assert_eq!(staged(directory.path()), 2);
}

#[test]
fn a_half_written_blob_is_never_listed() {
    let directory = tempfile::tempdir().unwrap();
    let store = FsStore::open_or_create(directory.path()).unwrap();
    leave_behind(directory.path(), &"a".repeat(32), 0);
    assert!(listed(&store).is_empty());
}

#[test]
fn the_files_of_a_stranger_are_ignored() {
    use std::os::unix::ffi::OsStrExt;

    let directory = tempfile::tempdir().unwrap();
    let store = FsStore::open_or_create(directory.path()).unwrap();
    put(&store, "a/b", PutMode::Create).unwrap();
    for name in ["Upper", ".hidden", "with space", "a/UPPER", "a/-dash", "ümlaut"] {
        fs::write(directory.path().join(name), b"x").unwrap();
    }
    fs::write(directory.path().join(std::ffi::OsStr::from_bytes(b"\xff\xfe")), b"x").unwrap();
    fs::create_dir_all(directory.path().join("Directory/below")).unwrap();
    fs::write(directory.path().join("Directory/below/c"), b"x").unwrap();
    fs::create_dir_all(directory.path().join("empty/below")).unwrap();
    assert_eq!(listed(&store), ["a/b"]);
    block_on(store.persist(&key("a"))).unwrap();
}

/// A file system of a megabyte, gone when it is dropped; `None` where this user cannot mount one.
struct Tiny(tempfile::TempDir);

impl Tiny {
    fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let options = ["-t", "tmpfs", "-o", "size=1m", "tmpfs"];
        let mounted = Command::new("mount").args(options).arg(directory.path()).output();
        let mounted = mounted.is_ok_and(|output| output.status.success());
        if !mounted {
            eprintln!("skipped: this user cannot mount a small file system");
            return None;
        }
        Some(Self(directory))
    }

    fn remount(&self, option: &str) {
        let options = format!("remount,{option}");
        assert!(Command::new("mount").args(["-o", &options]).arg(self.0.path()).status().unwrap().success());
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_is_full_and_keeps_nothing_half_done() {
    let Some(tiny) = Tiny::mount() else { return };
    let store = FsStore::open_or_create(tiny.0.path()).unwrap();
    put(&store, "old", PutMode::Create).unwrap();
    let large = Bytes::from(vec![1; 2 << 20]);
    for (at, mode) in [("a/b", PutMode::Create), ("old", PutMode::Overwrite)] {
        assert_eq!(block_on(store.put(&key(at), large.clone(), mode)).unwrap_err().kind(), StoreErrorKind::Full);
    }
    let half = Bytes::from(vec![1; 600 << 10]);
    block_on(store.put(&key("half"), half, PutMode::Create)).unwrap();
    let copied = block_on(store.copy(&key("half"), &key("copy"), PutMode::Create));
    assert_eq!(copied.unwrap_err().kind(), StoreErrorKind::Full);
    assert_eq!(listed(&store), ["half", "old"]);
    assert_eq!(staged(tiny.0.path()), 0);
    assert_eq!(block_on(store.get(&key("old"), None)).unwrap(), "new");
    block_on(store.delete(&key("half"))).unwrap();
    block_on(store.put(&key("a/b"), Bytes::from(vec![1; 600 << 10]), PutMode::Create)).unwrap();
}

#[test]
fn a_read_only_disk_can_be_read_and_refuses_changes() {
    let Some(tiny) = Tiny::mount() else { return };
    put(&FsStore::open_or_create(tiny.0.path()).unwrap(), "a/b", PutMode::Create).unwrap();
    tiny.remount("ro");
    let store = FsStore::open_or_create(tiny.0.path()).unwrap();
    let denied = Err(StoreErrorKind::PermissionDenied);
    assert_eq!(put(&store, "a/c", PutMode::Create), denied);
    assert_eq!(put(&store, "a/b", PutMode::Overwrite), denied);
    assert_eq!(block_on(store.delete(&key("a/b"))).map_err(|error| error.kind()), denied);
    assert_eq!(put(&store, "a/b", PutMode::Create), Err(StoreErrorKind::AlreadyExists));
    assert_eq!(block_on(store.get(&key("a/b"), None)).unwrap(), "new");
    assert_eq!(listed(&store), ["a/b"]);
}

#[test]
fn a_root_that_is_gone_is_unavailable_and_not_empty() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("new/root");
    let store = FsStore::open_or_create(&root).unwrap();
    put(&store, "a/b", PutMode::Create).unwrap();
    fs::rename(&root, directory.path().join("away")).unwrap();
    for empty_in_its_place in [false, true] {
        if empty_in_its_place {
            fs::create_dir(&root).unwrap();
        }
        let unavailable = StoreErrorKind::Unavailable;
        assert_eq!(put(&store, "a/c", PutMode::Create), Err(unavailable));
        assert_eq!(block_on(store.get(&key("a/b"), None)).unwrap_err().kind(), unavailable);
        assert_eq!(block_on(store.head(&key("a/b"))).unwrap_err().kind(), unavailable);
        assert_eq!(block_on(store.delete(&key("a/b"))).unwrap_err().kind(), unavailable);
        assert_eq!(block_on(store.list(None, None, 9)).unwrap_err().kind(), unavailable);
        assert_eq!(block_on(store.persist(&key("a"))).unwrap_err().kind(), unavailable);
    }
    fs::remove_dir(&root).unwrap();
    fs::rename(directory.path().join("away"), &root).unwrap();
    assert_eq!(listed(&store), ["a/b"]);
}

/// A pack that a tool has made sparse would fill up with each replica.
#[cfg(all(any(target_os = "linux", target_os = "android"), not(portable_fs)))]
#[test]
fn a_blob_with_holes_is_copied_with_them() {
    use std::os::unix::fs::{FileExt, MetadataExt};

    let directory = tempfile::tempdir().unwrap();
    let store = FsStore::open_or_create_with(directory.path(), Durability::LostOnPowerCut).unwrap();
    let sparse = File::create(directory.path().join("sparse")).unwrap();
    sparse.set_len(32 << 20).unwrap();
    sparse.write_all_at(&[7; 4096], 0).unwrap();
    sparse.write_all_at(&[7; 4096], 20 << 20).unwrap();
    if sparse.metadata().unwrap().blocks() * 512 > 1 << 20 {
        eprintln!("skipped: this file system has no holes");
        return;
    }
    block_on(store.copy(&key("sparse"), &key("a/copy"), PutMode::Create)).unwrap();
    assert!(fs::metadata(directory.path().join("a/copy")).unwrap().blocks() * 512 <= 1 << 20);
    let bytes = |at: &str| block_on(store.get(&key(at), None)).unwrap();
    assert!(bytes("sparse") == bytes("a/copy"));
}

#[test]
fn a_file_too_large_for_a_blob_is_not_read_into_memory() {
    let directory = tempfile::tempdir().unwrap();
    let store = FsStore::open_or_create_with(directory.path(), Durability::LostOnPowerCut).unwrap();
    File::create(directory.path().join("huge")).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(block_on(store.get(&key("huge"), None)).unwrap_err().kind(), StoreErrorKind::Obstructed);
    assert_eq!(block_on(store.get(&key("huge"), Some(1 << 39..(1 << 39) + 2))).unwrap(), [0, 0].as_slice());
    let copied = block_on(store.copy(&key("huge"), &key("copy"), PutMode::Create));
    assert_eq!(copied.unwrap_err().kind(), StoreErrorKind::TooLarge);
}

#[test]
fn a_writer_killed_in_the_middle_leaves_no_part_of_a_blob() {
    const ROOT: &str = "FS_STORE_TEST_ROOT";
    const LENGTH: usize = 1 << 20;
    if let Some(root) = std::env::var_os(ROOT) {
        let store = FsStore::open_or_create_with(root, Durability::LostOnPowerCut).unwrap();
        for number in 0_u64.. {
            let _ =
                block_on(store.put(&key(&format!("a/{}", number % 20)), vec![7; LENGTH].into(), PutMode::Overwrite));
        }
    }
    let directory = tempfile::tempdir().unwrap();
    for round in 0..8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["a_writer_killed_in_the_middle_leaves_no_part_of_a_blob", "--exact"])
            .env(ROOT, directory.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        #[expect(clippy::disallowed_methods, reason = "the moment of the kill is to be any")]
        std::thread::sleep(Duration::from_millis(60 + 7 * round));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let store = FsStore::open_or_create(directory.path()).unwrap();
    let all = block_on(store.list_all(None)).unwrap();
    assert!(!all.is_empty());
    assert!(all.iter().all(|meta| meta.size == LENGTH as u64), "{all:?}");
    let last = block_on(store.get(&all.last().unwrap().key, None)).unwrap();
    assert!(last.iter().all(|byte| *byte == 7));
}

#[test]
fn a_place_that_is_no_store_is_reported_by_path_kind_cause_and_fix() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    symlink(at("nowhere"), at("dangling")).unwrap();
    fs::write(at("file"), b"").unwrap();
    fs::create_dir(at("linked-staging")).unwrap();
    symlink(scratch.path(), at("linked-staging").join(".staging")).unwrap();
    let cases = [
        (at("dangling"), "dangling", StoreErrorKind::NotFound, io::ErrorKind::NotFound, "correct the link"),
        (at("dangling/below"), "dangling", StoreErrorKind::NotFound, io::ErrorKind::NotFound, "correct the link"),
        (at("file"), "file", StoreErrorKind::Obstructed, io::ErrorKind::NotADirectory, "choose another place"),
        (at("file/below"), "file", StoreErrorKind::Obstructed, io::ErrorKind::NotADirectory, "choose another place"),
        (
            "/dev/null/store".into(),
            "/dev/null",
            StoreErrorKind::Obstructed,
            io::ErrorKind::NotADirectory,
            "another place",
        ),
        (at("linked-staging"), ".staging", StoreErrorKind::Obstructed, io::ErrorKind::NotADirectory, "move it away"),
        #[cfg(target_os = "linux")]
        ("/proc/store".into(), "/proc/store", StoreErrorKind::NotFound, io::ErrorKind::NotFound, "another place"),
    ];
    for (path, named, kind, below, fix) in cases {
        let error = FsStore::open_or_create(&path).unwrap_err();
        let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<io::Error>());
        assert_eq!((error.kind(), cause.map(io::Error::kind)), (kind, Some(below)), "{path:?}: {error:#}");
        let told = error.to_string();
        assert!(told.contains(&format!("{named}`")) && told.contains(fix), "{path:?}: {told}");
    }
    assert_eq!(fs::read(at("file")).unwrap(), b"");
    assert!(!at("nowhere").exists());
}

#[test]
fn an_obstruction_in_a_store_is_reported_by_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let store = FsStore::open_or_create(directory.path()).unwrap();
    fs::write(directory.path().join("log"), b"").unwrap();
    fs::create_dir(directory.path().join("taken")).unwrap();
    for (at, named) in [("log/1", "log"), ("taken", "taken")] {
        let error = block_on(store.put(&key(at), Bytes::from_static(b"new"), PutMode::Create)).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Obstructed, "{error:#}");
        let path = directory.path().join(named);
        assert!(error.to_string().contains(&format!("`{}` is ", path.display())), "{error}");
    }
    fs::remove_dir_all(directory.path().join(".staging")).unwrap();
    let error = block_on(store.get(&key("a"), None)).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:#}");
    assert!(error.to_string().contains(&directory.path().display().to_string()), "{error}");
    assert!(error.to_string().contains("`.staging`"), "{error}");
}

#[test]
fn a_read_only_place_is_reported_by_its_path() {
    let Some(tiny) = Tiny::mount() else { return };
    tiny.remount("ro");
    let path = tiny.0.path().join("store");
    let error = FsStore::open_or_create(&path).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::PermissionDenied, "{error:#}");
    let told = error.to_string();
    assert!(told.contains(&path.display().to_string()) && told.contains("mount it writable"), "{told}");
}

/// What is in the directory of a store, without its own files.
fn entries(root: &Path) -> Vec<String> {
    let all = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    all.filter(|name| name != ".staging").collect()
}

#[cfg(all(unix, not(portable_fs)))]
#[test]
fn a_directory_goes_with_its_last_blob_and_no_sooner() {
    let directory = tempfile::tempdir().unwrap();
    let store = FsStore::open_or_create(directory.path()).unwrap();
    for at in ["a/b/c/1", "a/b/c/2", "a/d", "e/1", "e/2"] {
        put(&store, at, PutMode::Create).unwrap();
    }
    let is_there = |at: &str| directory.path().join(at).exists();
    block_on(store.delete(&key("a/b/c/1"))).unwrap();
    assert!(is_there("a/b/c/2"));
    block_on(store.delete(&key("a/b/c/2"))).unwrap();
    assert!(!is_there("a/b") && is_there("a/d"));
    for answer in block_on(store.delete_many(&[key("e/1"), key("a/d"), key("e/2")])) {
        answer.unwrap();
    }
    assert!(entries(directory.path()).is_empty() && is_there(".staging"));
    // A blob may have the name now.
    put(&store, "a/b", PutMode::Create).unwrap();
    // What a crash has left empty goes with the next deletion; a stranger's files stay.
    fs::create_dir_all(directory.path().join("left/empty")).unwrap();
    block_on(store.delete(&key("left/empty/1"))).unwrap();
    assert!(!is_there("left"));
    put(&store, "f/1", PutMode::Create).unwrap();
    fs::write(directory.path().join("f/Foreign"), b"x").unwrap();
    block_on(store.delete(&key("f/1"))).unwrap();
    assert!(is_there("f/Foreign"));
}

/// Each writer has a handle of its own, as a process has, and puts and deletes its blob in directories that others empty.
#[test]
fn a_put_beside_deletes_that_remove_its_directory_is_never_lost() {
    for durability in [Durability::LostOnPowerCut, Durability::Full] {
        let directory = tempfile::tempdir().unwrap();
        FsStore::open_or_create_with(directory.path(), durability).unwrap();
        let rounds = if durability == Durability::Full { 40 } else { 400 };
        std::thread::scope(|scope| {
            for who in 0..6 {
                let store = FsStore::open_with(directory.path(), durability).unwrap();
                scope.spawn(move || {
                    for round in 0..rounds {
                        let at = key(&format!("a/{}/{who}", round % 2));
                        let bytes = Bytes::from(format!("{who} in {round}"));
                        let mode = if round % 3 == 0 { PutMode::Overwrite } else { PutMode::Create };
                        block_on(store.put(&at, bytes.clone(), mode)).unwrap();
                        assert_eq!(block_on(store.get(&at, None)).unwrap(), bytes);
                        let under = at.parent();
                        let listed = block_on(store.list_all(under.as_ref())).unwrap();
                        assert!(listed.iter().any(|meta| meta.key == at), "{at} in {round}");
                        block_on(store.delete(&at)).unwrap();
                        assert_eq!(block_on(store.get(&at, None)).unwrap_err().kind(), StoreErrorKind::NotFound);
                    }
                });
            }
        });
        // The portable half keeps directories.
        let left = entries(directory.path());
        assert!(left.is_empty() || cfg!(any(not(unix), portable_fs)), "{left:?}");
        assert!(listed(&FsStore::open(directory.path()).unwrap()).is_empty());
        assert_eq!(staged(directory.path()), 0);
    }
}

#[test]
fn processes_that_empty_each_others_directories_lose_no_put() {
    const ROOT: &str = "FS_STORE_EMPTYING_ROOT";
    if let Some(root) = std::env::var_os(ROOT) {
        let store = FsStore::open_with(root, Durability::LostOnPowerCut).unwrap();
        let who = std::process::id();
        for round in 0..300 {
            let at = key(&format!("a/{}/{who}", round % 2));
            put(&store, at.as_str(), PutMode::Create).unwrap();
            assert_eq!(block_on(store.get(&at, None)).unwrap(), "new", "{at} in {round}");
            block_on(store.delete(&at)).unwrap();
        }
        put(&store, &format!("done/{who}"), PutMode::Create).unwrap();
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let store = FsStore::open_or_create_with(directory.path(), Durability::LostOnPowerCut).unwrap();
    let start = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["processes_that_empty_each_others_directories_lose_no_put", "--exact"])
            .env(ROOT, directory.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let children: Vec<_> = (0..4).map(|_| start()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    if cfg!(all(unix, not(portable_fs))) {
        assert_eq!(entries(directory.path()), ["done"]);
    }
    assert_eq!(listed(&store).len(), 4);
}

/// Each page read and sorted the whole directory again.
#[cfg(all(target_os = "linux", not(portable_fs)))]
#[test]
fn a_listing_by_pages_goes_on_in_the_directories_that_it_has_opened() {
    use futures::TryStreamExt;

    let directory = tempfile::tempdir().unwrap();
    let store = FsStore::open_or_create_with(directory.path(), Durability::LostOnPowerCut).unwrap();
    fs::create_dir_all(directory.path().join("a/b")).unwrap();
    for number in 0..3_500 {
        File::create(directory.path().join(format!("a/b/{number:04}"))).unwrap();
    }
    block_on(async {
        let mut pages = store.list_pages(None, None);
        let mut all = pages.try_next().await.unwrap().unwrap();
        assert!(all.len() < 3_500);
        // By path nothing is found any more.
        fs::rename(directory.path().join("a"), directory.path().join("z")).unwrap();
        while let Some(page) = pages.try_next().await.unwrap() {
            all.extend(page);
        }
        let keys: Vec<String> = all.iter().map(|meta| meta.key.to_string()).collect();
        assert_eq!(keys, (0..3_500).map(|number| format!("a/b/{number:04}")).collect::<Vec<_>>());
    });
}
