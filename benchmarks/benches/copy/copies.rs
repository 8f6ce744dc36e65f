//! Copies inside a store, and a replication, beside `memcpy` and `cp`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use bytes::Bytes;
use compute_gallery::host::Workers;
use compute_gallery::store::{BlobKey, BlobMeta, BlobStore, BlobStoreExt, Durability, FsStore, MemoryStore, PutMode};
use futures::executor::block_on;
use futures::{StreamExt, TryStreamExt, stream};

use crate::table::Table;
use crate::{Outcome, gallery, peers};

const PACK_BYTES: usize = 16 << 20;
const PACKS: usize = 16;

/// As many as a replication has on their way.
const AT_ONCE: usize = 4;

/// Copies of packs in memory. Each round of each way has a process of its own, since an allocator remembers: fresh memory
/// is what the process has not had before.
pub(crate) fn in_memory(rounds: usize) -> Outcome {
    let mut table = Table::default();
    for _ in 0..=rounds {
        for way in WAYS {
            let output = Command::new(std::env::current_exe()?).arg("--copy-in-memory").arg(way).output()?;
            table.add(way, String::from_utf8(output.stdout)?.trim().parse()?);
        }
    }
    table.print("Memory: 16 packs", (PACKS * PACK_BYTES) as u64, &[MEMCPY]);
    Ok(())
}

const MEMCPY: &str = "`memcpy` into fresh memory";
const WARM: &str = "`memcpy` into memory written before";
const DEEP: &str = "deep copy";
const DEEP_INLINE: &str = "deep copy, `Workers::inline()`";
const DEEP_AT_ONCE: &str = "deep copies, 4 at a time";
const SHARED: &str = "copy that shares the bytes (default)";
const WAYS: [&str; 6] = [MEMCPY, WARM, DEEP, DEEP_INLINE, DEEP_AT_ONCE, SHARED];

/// Copies in one way, and prints the seconds that it took.
pub(crate) fn child(way: &str) -> Outcome {
    let packs: Vec<Bytes> = (0..PACKS).map(|number| vec![number as u8 + 1; PACK_BYTES].into()).collect();
    let from: Vec<BlobKey> = (0..PACKS).map(|number| format!("slots/0/{number}").parse()).collect::<Result<_, _>>()?;
    let store = MemoryStore::new();
    for (key, bytes) in from.iter().zip(&packs) {
        block_on(store.put(key, bytes.clone(), PutMode::Create))?;
    }
    let (store, at_once) = match way {
        DEEP => (store.with_deep_copies(Workers::default()), 1),
        DEEP_INLINE => (store.with_deep_copies(Workers::inline()), 1),
        DEEP_AT_ONCE => (store.with_deep_copies(Workers::default()), AT_ONCE),
        _ => (store, 1),
    };
    let mut warm = vec![vec![1_u8; PACK_BYTES]; if way == WARM { PACKS } else { 0 }];
    let started = Instant::now();
    match way {
        MEMCPY => warm.extend(packs.iter().map(|pack| pack.to_vec())),
        WARM => warm.iter_mut().zip(&packs).for_each(|(to, pack)| to.copy_from_slice(pack)),
        _ => block_on(copy_all(&store, &from, at_once))?,
    }
    let seconds = started.elapsed().as_secs_f64();
    std::hint::black_box(warm);
    println!("{seconds}");
    Ok(())
}

const SLOT: &str = "slots/0/";

/// The same blob in a slot that nobody else uses.
fn target(key: &BlobKey) -> Outcome<BlobKey> {
    Ok(key.as_str().replace(SLOT, "slots/9/").parse()?)
}

async fn copy_all(store: &impl BlobStore, from: &[BlobKey], at_once: usize) -> Outcome {
    let copies = stream::iter(from).map(|from| async move {
        store.copy(from, &target(from)?, PutMode::Create).await?;
        Outcome::Ok(())
    });
    copies.buffer_unordered(at_once).try_collect::<()>().await
}

/// Copies of the packs of a disk within a file store, and its replication to a second slot.
pub(crate) fn in_files(disk: &Path, place: &Path, rounds: usize) -> Outcome {
    let base = place.join("base");
    gallery::publish(&gallery::open(&base, Durability::Full)?, "1.0.0", disk, "westeurope=2")?;
    let mut blobs: Vec<BlobMeta> = block_on(FsStore::open_or_create(&base)?.list_all(None))?;
    blobs.retain(|blob| blob.key.as_str().contains(SLOT));
    let bytes = blobs.iter().map(|blob| blob.size).sum();
    let keys: Vec<BlobKey> = blobs.into_iter().map(|blob| blob.key).collect();
    let above = keys.first().and_then(|key| key.as_str().split_once(SLOT)).map(|(above, _)| base.join(above));
    let above = above.ok_or("there is no slot")?;
    let (from, to) = (above.join("slots/0"), place.join("slot"));
    let copied = |key: &BlobKey| Some(to.join(key.as_str().split_once(SLOT)?.1));
    let copied: Vec<PathBuf> = keys.iter().filter_map(copied).collect();
    let mut table = Table::default();
    for _ in 0..=rounds {
        let settled = || peers::settle(disk, place);
        table.time(CP, settled, |()| peers::cp_directory(&from, &to))?;
        std::fs::remove_dir_all(&to)?;
        table.time(CP_SYNC, settled, |()| {
            peers::cp_directory(&from, &to)?;
            peers::sync(copied.iter().map(PathBuf::as_path))
        })?;
        std::fs::remove_dir_all(&to)?;
        for (durability, word) in [(Durability::LostOnPowerCut, "lost on a power cut"), (Durability::Full, "durable")] {
            let store = FsStore::open_or_create_with(&base, durability)?;
            for at_once in [1, AT_ONCE] {
                let name = format!("`BlobStore::copy`, {word}, {at_once} at a time");
                table.time(&name, settled, |()| block_on(copy_all(&store, &keys, at_once)))?;
                std::fs::remove_dir_all(above.join("slots/9"))?;
            }
            let copy = place.join("replicated");
            let ready = || {
                peers::cp_directory(&base, &copy)?;
                let session = gallery::open(&copy, durability)?;
                settled()?;
                Ok(session)
            };
            let name = format!("`replicate` to the second slot, {word}");
            table.time(&name, ready, |session| gallery::replicate(&session, "1.0.0"))?;
            std::fs::remove_dir_all(copy)?;
        }
    }
    std::fs::remove_dir_all(base)?;
    let name = disk.file_stem().unwrap_or_default().to_string_lossy();
    table.print(&format!("Files: the slot of {name}, {} blobs", keys.len()), bytes, &[CP, CP_SYNC]);
    Ok(())
}

const CP: &str = "`cp`";
const CP_SYNC: &str = "`cp`, `sync`";
