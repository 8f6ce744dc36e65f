//! Promises for many callers at once, each on a thread of its own.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::support::{Outcome, Store, at_once, cases, create, ensure, holds, key, listed};
use crate::store::{BlobKey, BlobStoreExt, PutMode, StoreErrorKind, StoreResult};

cases![
    of_many_creators_exactly_one_wins,
    of_many_creating_copies_exactly_one_wins,
    of_racing_overwrites_one_stays_whole,
    a_reader_beside_a_create_sees_nothing_or_all,
    a_reader_beside_overwrites_never_sees_a_mixture,
    a_reader_beside_deletes_sees_nothing_or_all,
    creates_and_deletes_take_turns,
    many_creators_share_new_directories,
];

const TASKS: usize = 16;
const ROUNDS: usize = 40;

/// A body that names its writer, and shows any mixture of two.
fn body(who: usize, length: usize) -> Bytes {
    vec![who as u8; length].into()
}

fn is_whole(bytes: &[u8]) -> bool {
    bytes.windows(2).all(|pair| pair.first() == pair.last())
}

/// Whether this caller won; losing is the only other thing that may happen.
fn won(result: StoreResult<()>) -> Outcome<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == StoreErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn keys(prefix: &str) -> Outcome<Vec<BlobKey>> {
    (0..ROUNDS).map(|round| key(format!("{prefix}/{round:03}"))).collect()
}

async fn of_many_creators_exactly_one_wins(store: Store) -> Outcome {
    let keys = keys("race")?;
    let tasks = (0..TASKS).map(|who| {
        let (store, keys) = (&store, &keys);
        async move {
            let mut wins: Vec<bool> = Vec::new();
            for key in keys {
                wins.push(won(store.put(key, body(who, 100 + who), PutMode::Create).await)?);
            }
            Ok(wins)
        }
        .boxed()
    });
    let wins = at_once(tasks.collect())?;
    for (round, key) in keys.iter().enumerate() {
        let winners: Vec<usize> =
            (0..TASKS).filter(|who| wins.get(*who).and_then(|wins| wins.get(round)) == Some(&true)).collect();
        let [winner] = winners.as_slice() else {
            ensure!(false, "`{key}` has the winners {winners:?}");
            continue;
        };
        holds(&store, key.as_str(), &body(*winner, 100 + winner)).await?;
    }
    ensure!(listed(&store).await?.len() == ROUNDS, "other blobs than those are listed");
    Ok(())
}

async fn of_many_creating_copies_exactly_one_wins(store: Store) -> Outcome {
    for who in 0..TASKS {
        store.put(&key(format!("from/{who:02}"))?, body(who, 100), PutMode::Create).await?;
    }
    for round in 0..8 {
        let to = key(format!("to/{round}"))?;
        let tasks = (0..TASKS).map(|who| {
            let (store, to) = (&store, &to);
            async move { won(store.copy(&key(format!("from/{who:02}"))?, to, PutMode::Create).await) }.boxed()
        });
        let wins = at_once(tasks.collect())?;
        ensure!(wins.iter().filter(|won| **won).count() == 1, "winners of `{to}`: {wins:?}");
        let winner = wins.iter().position(|won| *won).unwrap_or(TASKS);
        holds(&store, to.as_str(), &body(winner, 100)).await?;
    }
    Ok(())
}

async fn of_racing_overwrites_one_stays_whole(store: Store) -> Outcome {
    let at = key("a/b")?;
    let tasks = (0..TASKS).map(|who| {
        let (store, at) = (&store, &at);
        async move {
            for _ in 0..8 {
                store.put(at, body(who, 5_000 + who), PutMode::Overwrite).await?;
            }
            Ok(())
        }
        .boxed()
    });
    at_once(tasks.collect())?;
    let bytes = store.get(&at, None).await?;
    let who = bytes.first().map_or(TASKS, |who| usize::from(*who));
    holds(&store, "a/b", &body(who, 5_000 + who)).await
}

/// Runs the writer, and beside it readers that check all that they see until it is done.
fn beside_readers(
    writer: BoxFuture<'_, Outcome>,
    read: impl Fn() -> BoxFuture<'static, Outcome> + Send + Sync,
) -> Outcome {
    let done = AtomicBool::new(false);
    let mut tasks = vec![
        async {
            let result = writer.await;
            done.store(true, Ordering::SeqCst);
            result
        }
        .boxed(),
    ];
    for _ in 0..3 {
        tasks.push(
            async {
                while !done.load(Ordering::SeqCst) {
                    read().await?;
                }
                Ok(())
            }
            .boxed(),
        );
    }
    at_once(tasks)?;
    Ok(())
}

const LENGTH: usize = 40_000;

/// The blob is absent, or whole and of its one length, however it is read.
async fn nothing_or_all(store: Store, at: BlobKey) -> Outcome {
    if let Some(meta) = store.find_meta(&at).await? {
        ensure!(meta.size == LENGTH as u64, "head tells {}", meta.size);
    }
    for meta in store.list(None, None, 10).await?.blobs {
        ensure!(meta.size == LENGTH as u64, "the listing tells {} for `{}`", meta.size, meta.key);
    }
    if let Some(bytes) = store.find(&at).await? {
        ensure!(bytes.len() == LENGTH && is_whole(&bytes), "a part or a mixture of {} bytes was read", bytes.len());
    }
    Ok(())
}

async fn a_reader_beside_a_create_sees_nothing_or_all(store: Store) -> Outcome {
    for at in keys("a")?.into_iter().take(10) {
        let writer = async { Ok(store.put(&at, body(1, LENGTH), PutMode::Create).await?) };
        beside_readers(writer.boxed(), || nothing_or_all(store.clone(), at.clone()).boxed())?;
    }
    Ok(())
}

async fn a_reader_beside_overwrites_never_sees_a_mixture(store: Store) -> Outcome {
    let at = key("a/b")?;
    let writer = async {
        for who in 0..ROUNDS {
            store.put(&at, body(who, LENGTH), PutMode::Overwrite).await?;
        }
        Ok(())
    };
    beside_readers(writer.boxed(), || nothing_or_all(store.clone(), at.clone()).boxed())
}

async fn a_reader_beside_deletes_sees_nothing_or_all(store: Store) -> Outcome {
    let at = key("a/b")?;
    let writer = async {
        for who in 0..ROUNDS {
            store.put(&at, body(who, LENGTH), PutMode::Create).await?;
            store.delete(&at).await?;
        }
        Ok(())
    };
    beside_readers(writer.boxed(), || nothing_or_all(store.clone(), at.clone()).boxed())
}

async fn creates_and_deletes_take_turns(store: Store) -> Outcome {
    let at = key("a/b")?;
    let tasks = (0..TASKS).map(|who| {
        let (store, at) = (&store, &at);
        async move {
            let mut wins = 0;
            for _ in 0..10 {
                if who % 4 == 0 {
                    store.delete(at).await?;
                } else if won(store.put(at, body(who, 100), PutMode::Create).await)? {
                    wins += 1;
                }
            }
            Ok(wins)
        }
        .boxed()
    });
    let wins: usize = at_once(tasks.collect())?.into_iter().sum();
    let deletes = 10 * TASKS.div_ceil(4);
    ensure!(wins >= 1, "nobody won");
    ensure!(wins <= deletes + 1, "{wins} creates won beside {deletes} deletes");
    if let Some(bytes) = store.find(&at).await? {
        ensure!(bytes.len() == 100 && is_whole(&bytes), "what stayed is not what one of them put");
    }
    store.delete(&at).await?;
    create(&store, "a/b", b"x").await
}

async fn many_creators_share_new_directories(store: Store) -> Outcome {
    for round in 0..8 {
        let tasks = (0..TASKS).map(|who| {
            let store = &store;
            async move {
                let at = key(format!("new/{round}/{}/deep/{who:02}", who % 3))?;
                Ok(store.put(&at, body(who, 10), PutMode::Create).await?)
            }
            .boxed()
        });
        at_once(tasks.collect())?;
    }
    let count = listed(&store).await?.len();
    ensure!(count == 8 * TASKS, "{count} blobs are listed");
    Ok(())
}
