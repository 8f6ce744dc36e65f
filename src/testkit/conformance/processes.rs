//! The race between processes.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;

use super::support::{Failure, Outcome, block_on, ensure, key};
use crate::store::{BlobStore, BlobStoreExt, PutMode, StoreErrorKind};

const ROLE: &str = "COMPUTE_GALLERY_RACE_ROLE";
const SHARED: &str = "COMPUTE_GALLERY_RACE_SHARED";
const PROCESSES: usize = 4;
const PAUSE: Duration = Duration::from_millis(2);
/// A minute: a process that waits for longer was left alone.
const PAUSES: usize = 30_000;

/// Lets four processes race to create the same blobs, and checks that each blob has exactly one winner and its bytes.
///
/// The processes are this test again: `test_name` is its full name as the test runner takes it (with modules:
/// `races::processes`), and all that the test does before the call is done in each of them, too. There the directory
/// is that of the first process, whatever `shared` says. `shared` has to be fresh, and `open` opens the store in it.
///
/// ```no_run
/// use compute_gallery::store::FsStore; // yours
/// use compute_gallery::testkit::conformance;
///
/// #[test]
/// fn processes_race() {
///     let directory = tempfile::tempdir().unwrap();
///     let open = |shared: &std::path::Path| FsStore::open_or_create(shared).unwrap();
///     assert_eq!(conformance::race_processes("processes_race", directory.path(), open, 250), Ok(()));
/// }
/// ```
///
/// # Errors
///
/// The broken promise, for the message of the test.
pub fn race_processes<S: BlobStore>(
    test_name: &str,
    shared: &Path,
    open: impl Fn(&Path) -> S,
    rounds: usize,
) -> Result<(), String> {
    let result = match (env::var(ROLE), env::var_os(SHARED)) {
        (Ok(role), Some(shared)) => block_on(race(&role, open(&PathBuf::from(shared)), rounds)),
        _ => start(test_name, shared).and_then(|racers| block_on(judge(racers, open(shared), rounds))),
    };
    result.map_err(|failure| failure.to_string())
}

/// The processes; those that still run when it is dropped are stopped.
struct Racers(Vec<Child>);

impl Drop for Racers {
    fn drop(&mut self) {
        for racer in &mut self.0 {
            // It fails for those that are done.
            let _ = racer.kill();
            let _ = racer.wait();
        }
    }
}

fn start(test_name: &str, shared: &Path) -> Outcome<Racers> {
    let mut racers = Racers(Vec::new());
    for role in 0..PROCESSES {
        let arguments: [OsString; 3] = [test_name.into(), "--exact".into(), "--nocapture".into()];
        let mut command = Command::new(env::current_exe()?);
        command.args(arguments).env(ROLE, role.to_string()).env(SHARED, std::path::absolute(shared)?);
        racers.0.push(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?);
    }
    Ok(racers)
}

/// The work of each process.
async fn race(role: &str, store: impl BlobStore, rounds: usize) -> Outcome {
    store.put(&key(format!("ready/{role}"))?, Bytes::new(), PutMode::Create).await?;
    let start = key("start")?;
    let mut pauses = 0;
    while store.find_meta(&start).await?.is_none() {
        ensure!(pauses < PAUSES, "nobody started the race");
        pauses += 1;
        std::thread::yield_now();
        if pauses % 10 == 0 {
            pause();
        }
    }
    let mut wins: Vec<String> = Vec::new();
    for round in 0..rounds {
        match store.put(&round_key(round)?, role.to_owned().into(), PutMode::Create).await {
            Ok(()) => wins.push(round.to_string()),
            Err(error) if error.kind() == StoreErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(store.put(&key(format!("wins/{role}"))?, wins.join(" ").into(), PutMode::Create).await?)
}

async fn judge(mut racers: Racers, store: impl BlobStore, rounds: usize) -> Outcome {
    let ready = key("ready")?;
    let mut pauses = 0;
    while store.list_all(Some(&ready)).await?.len() < PROCESSES {
        for racer in &mut racers.0 {
            let ended = racer.try_wait()?;
            ensure!(ended.is_none(), "a process ended before the race: is the name of the test right?");
        }
        ensure!(pauses < PAUSES, "the processes did not come to the start");
        pauses += 1;
        pause();
    }
    store.put(&key("start")?, Bytes::new(), PutMode::Create).await?;
    for racer in &mut racers.0 {
        let status = racer.wait()?;
        ensure!(status.success(), "a process failed: {status}");
    }

    let mut claimed: BTreeSet<usize> = BTreeSet::new();
    for role in 0..PROCESSES {
        let wins = store.get(&key(format!("wins/{role}"))?, None).await?;
        for round in std::str::from_utf8(&wins)?.split_whitespace() {
            let round: usize = round.parse()?;
            ensure!(claimed.insert(round), "two processes won round {round}");
            let bytes = store.get(&round_key(round)?, None).await?;
            ensure!(bytes == role.to_string(), "process {role} won round {round}, and {bytes:?} is stored");
        }
    }
    ensure!(claimed.len() == rounds, "{} of {rounds} rounds have a winner", claimed.len());
    Ok(())
}

fn round_key(round: usize) -> Result<crate::store::BlobKey, Failure> {
    key(format!("round/{:02}/{round:06}", round % 16))
}

#[expect(clippy::disallowed_methods, reason = "it waits for other processes, which no injected clock moves")]
fn pause() {
    std::thread::sleep(PAUSE);
}
