//! Promises of `delete`.

use super::support::{Outcome, Store, cases, create, ensure, holds, is_absent, key, list, listed};

cases![
    a_deleted_blob_is_absent,
    deleting_what_is_absent_is_fine,
    deleting_twice_is_fine,
    a_delete_leaves_other_blobs_alone,
    deleting_above_blobs_removes_none,
    deleting_below_a_blob_leaves_it,
    a_name_can_be_used_again_and_again,
    deleting_everything_leaves_an_empty_store,
];

async fn a_deleted_blob_is_absent(store: Store) -> Outcome {
    create(&store, "a/b", b"bytes").await?;
    store.delete(&key("a/b")?).await?;
    is_absent(&store, "a/b").await
}

async fn deleting_what_is_absent_is_fine(store: Store) -> Outcome {
    store.delete(&key("a")?).await?;
    Ok(store.delete(&key("a/b/c")?).await?)
}

async fn deleting_twice_is_fine(store: Store) -> Outcome {
    create(&store, "a/b", b"bytes").await?;
    store.delete(&key("a/b")?).await?;
    store.delete(&key("a/b")?).await?;
    is_absent(&store, "a/b").await
}

async fn a_delete_leaves_other_blobs_alone(store: Store) -> Outcome {
    for at in ["a/b", "a/b-", "a/b0", "a/c", "ab"] {
        create(&store, at, b"x").await?;
    }
    store.delete(&key("a/b")?).await?;
    for at in ["a/b-", "a/b0", "a/c", "ab"] {
        holds(&store, at, b"x").await?;
    }
    Ok(())
}

async fn deleting_above_blobs_removes_none(store: Store) -> Outcome {
    create(&store, "a/b/c", b"x").await?;
    store.delete(&key("a")?).await?;
    store.delete(&key("a/b")?).await?;
    holds(&store, "a/b/c", b"x").await
}

async fn deleting_below_a_blob_leaves_it(store: Store) -> Outcome {
    create(&store, "a", b"x").await?;
    store.delete(&key("a/b")?).await?;
    holds(&store, "a", b"x").await
}

async fn a_name_can_be_used_again_and_again(store: Store) -> Outcome {
    for bytes in [b"1" as &[u8], b"22", b"333"] {
        create(&store, "a/b", bytes).await?;
        holds(&store, "a/b", bytes).await?;
        store.delete(&key("a/b")?).await?;
        is_absent(&store, "a/b").await?;
    }
    Ok(())
}

async fn deleting_everything_leaves_an_empty_store(store: Store) -> Outcome {
    for at in ["a", "b/c", "b/d/e"] {
        create(&store, at, b"x").await?;
    }
    for at in listed(&store).await? {
        store.delete(&key(at)?).await?;
    }
    let (keys, more) = list(&store, None, None, 10).await?;
    ensure!(keys.is_empty() && !more, "{keys:?}");
    Ok(())
}
