//! A catalog that is opened from a checkpoint is the catalog that its log tells, whatever became of the checkpoint.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use compute_gallery::access::{BuiltInRole, RoleAssignment};
use compute_gallery::model::*;
use compute_gallery::read::ListScope;
use compute_gallery::store::{BlobKey, BlobStore, BlobStoreExt};
use compute_gallery::testkit::Sandbox;
use compute_gallery::{CatalogView, Result};
use futures::executor::block_on;
use futures::future::try_join_all;

fn gallery(number: u32) -> GalleryId {
    let id = format!("/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/Other{number}");
    id.parse().unwrap()
}

/// What a caller sees of a catalog.
fn seen(view: &CatalogView) -> Vec<String> {
    let mut seen = Vec::new();
    let galleries = view.galleries(&ListScope::All, None, 10_000).items;
    for gallery in galleries {
        seen.push(serde_json::to_string(&*gallery).unwrap());
        for definition in view.image_definitions(gallery.id(), None, 10_000).unwrap().items {
            seen.push(serde_json::to_string(&*definition).unwrap());
            let versions = view.image_versions(definition.id(), None, 10_000).unwrap().items;
            seen.extend(versions.iter().map(|version| serde_json::to_string(&**version).unwrap()));
            let latest = view.latest(definition.id(), "westeurope").map(|latest| latest.id().to_string());
            seen.push(latest.unwrap_or_else(|error| error.code().to_owned()));
        }
    }
    seen.extend(view.role_assignments().iter().map(|one| format!("{one:?}")));
    seen.push(format!("{:?}", view.usage("dev", "westeurope").unwrap()));
    seen
}

/// Changes of all kinds: things come, change and go, over several checkpoints.
async fn changed(sandbox: &Sandbox, rounds: std::ops::Range<u32>) -> Result<()> {
    let session = sandbox.session();
    for round in rounds {
        let id = gallery(round % 7);
        let there = session.view().gallery(&id).ok();
        match there {
            None => drop(session.create_gallery(Gallery::new(id.clone(), "westeurope".parse()?)).await?),
            Some(_) if round % 5 == 0 => drop(session.delete(&id).cascade().await?),
            Some(there) => {
                session.update_gallery((*there).clone().with_description(format!("round {round}"))).await?;
            }
        }
        if session.view().gallery(&id).is_ok() {
            let name = format!("image{}", round % 3).parse()?;
            let identifier = ImageIdentifier::new("Contoso", "Web", &format!("sku{}", round % 3))?;
            let image = id.image(name);
            let (os, state) = (OsType::Linux, OsState::Generalized);
            let definition = ImageDefinition::new(image.clone(), "westeurope".parse()?, os, state, identifier);
            if session.view().image_definition(&image).is_err() {
                session.create_image_definition(definition).await?;
            }
            let reader = RoleAssignment::new("reader", "ann".parse()?, BuiltInRole::Reader.id(), &image)?;
            session.assign_role(reader).await?;
        }
        let number = format!("1.0.{round}");
        sandbox.publish(&number, vec![round as u8 + 1; 4096]).await?;
        if round % 3 == 0 {
            session.delete(sandbox.version(&number)).await?;
        }
    }
    Ok(())
}

async fn blobs(sandbox: &Sandbox, folder: &str) -> Vec<BlobKey> {
    let all = sandbox.catalog_store().list_all(Some(&format!("catalog/{folder}").parse().unwrap())).await.unwrap();
    all.into_iter().map(|blob| blob.key).collect()
}

async fn reopened(sandbox: &Sandbox) -> CatalogView {
    sandbox.reopen().build().await.unwrap().session().view()
}

#[test]
fn a_catalog_is_the_same_from_each_checkpoint_and_from_its_log_alone() {
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        for rounds in [0..25, 25..60, 60..90] {
            changed(&sandbox, rounds).await.unwrap();
            let expected = seen(&sandbox.session().view());
            assert!(blobs(&sandbox, "checkpoints").await.len() <= 2, "two checkpoints are kept");
            assert_eq!(seen(&reopened(&sandbox).await), expected);
        }
        let expected = seen(&sandbox.session().view());
        for key in blobs(&sandbox, "checkpoints").await {
            sandbox.catalog_store().delete(&key).await.unwrap();
        }
        assert_eq!(seen(&reopened(&sandbox).await), expected, "from the log alone");
    });
}

#[test]
fn a_checkpoint_without_one_of_its_segments_costs_time_and_no_change() {
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        changed(&sandbox, 0..60).await.unwrap();
        let expected = seen(&sandbox.session().view());
        for segment in blobs(&sandbox, "segments").await {
            let store = sandbox.catalog_store();
            let bytes = store.get(&segment, None).await.unwrap();
            store.delete(&segment).await.unwrap();
            assert_eq!(seen(&reopened(&sandbox).await), expected, "without {segment}");
            let mut damaged = bytes.to_vec();
            *damaged.last_mut().unwrap() ^= 1;
            store.put(&segment, damaged.into(), compute_gallery::store::PutMode::Overwrite).await.unwrap();
            assert_eq!(seen(&reopened(&sandbox).await), expected, "with a flipped bit in {segment}");
            store.put(&segment, bytes, compute_gallery::store::PutMode::Overwrite).await.unwrap();
        }
        // It goes on from there, and tidies up.
        let again = sandbox.reopen().build().await.unwrap();
        changed(&again, 60..90).await.unwrap();
        assert_eq!(seen(&reopened(&sandbox).await), seen(&again.session().view()));
        assert!(blobs(&sandbox, "checkpoints").await.len() <= 2);
    });
}

#[test]
fn two_processes_write_checkpoints_of_one_catalog() {
    block_on(async {
        let first = Sandbox::new().await.unwrap();
        let second = first.reopen().build().await.unwrap();
        for round in 0..120 {
            let change = |sandbox: &Sandbox, number| {
                let gallery = Gallery::new(gallery(number), "westeurope".parse().unwrap());
                match round {
                    0 => sandbox.session().create_gallery(gallery),
                    _ => sandbox.session().update_gallery(gallery.with_description(format!("round {round}"))),
                }
            };
            try_join_all([change(&first, 1), change(&second, 2)]).await.unwrap();
        }
        let (view, expected) = (reopened(&first).await, first.session().refresh().await.unwrap());
        assert_eq!(seen(&view), seen(&expected));
        assert_eq!(view.gallery(gallery(2)).unwrap().description(), Some("round 119"));
        // No segment is left that nothing names, but for those of the newest.
        assert!(blobs(&first, "segments").await.len() <= 12);
    });
}
