//! A catalog that is opened from a checkpoint is the catalog that its log tells, whatever became of the checkpoint.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper of a test may fail as the test does")]

use std::collections::BTreeSet;

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

/// The segments that the newest checkpoint names.
async fn named(sandbox: &Sandbox) -> Vec<BlobKey> {
    let newest = blobs(sandbox, "checkpoints").await.remove(0);
    let root = sandbox.catalog_store().get(&newest, None).await.unwrap();
    let root: serde_json::Value = serde_json::from_slice(root.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    let all = ["ranges", "deltas"].map(|list| root[list].as_array().unwrap().clone()).concat();
    let key = |one: &serde_json::Value| format!("catalog/segments/{}", one["segment"]["name"].as_str().unwrap());
    all.iter().map(|one| key(one).parse().unwrap()).collect()
}

/// Makes so many changes that a checkpoint is written.
async fn pass_checkpoint(sandbox: &Sandbox) {
    let session = sandbox.session();
    for round in 0..64 {
        let there = session.view().gallery(sandbox.image().gallery()).unwrap();
        let described = (*there).clone().with_description(format!("{} {round}", session.view().number()));
        session.update_gallery(described).await.unwrap();
    }
}

#[test]
fn a_lost_segment_is_made_up_for_by_the_next_checkpoint() {
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        filled(&sandbox).await;
        for _ in 0..4 {
            pass_checkpoint(&sandbox).await;
        }
        for at in 0.. {
            let segments = named(&sandbox).await;
            let Some(lost) = segments.get(at) else { return assert!(at > 3, "the catalog is too small for this test") };
            sandbox.catalog_store().delete(lost).await.unwrap();
            let again = sandbox.reopen().build().await.unwrap();
            pass_checkpoint(&again).await;
            let there = blobs(&sandbox, "segments").await;
            assert!(named(&sandbox).await.iter().all(|segment| there.contains(segment)), "without {lost}");
            assert_eq!(seen(&reopened(&sandbox).await), seen(&again.session().view()));
        }
    });
}

/// Makes the catalog so large that a checkpoint writes a part of it anew, and of the rest what changed.
async fn filled(sandbox: &Sandbox) {
    let tags = Tags::new((0..50).map(|tag| (format!("tag{tag}"), format!("{tag:0>256}"))).collect()).unwrap();
    let create = |number: u32| {
        let image = sandbox.image().gallery().image(format!("m{number}").parse().unwrap());
        let identifier = ImageIdentifier::new("Contoso", "Web", &format!("Filled{number}")).unwrap();
        let home = "westeurope".parse().unwrap();
        let definition = ImageDefinition::new(image, home, OsType::Linux, OsState::Generalized, identifier);
        sandbox.session().create_image_definition(definition.with_tags(tags.clone()))
    };
    try_join_all((0..150).map(create)).await.unwrap();
}

#[test]
fn a_large_catalog_is_the_same_from_its_ranges_and_deltas() {
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        filled(&sandbox).await;
        let mut parts = 0;
        for rounds in [0..25, 25..50, 50..75, 75..100] {
            changed(&sandbox, rounds).await.unwrap();
            parts = parts.max(named(&sandbox).await.len());
            assert_eq!(seen(&reopened(&sandbox).await), seen(&sandbox.session().view()));
        }
        assert!(parts > 4, "the catalog is too small for this test");
    });
}
#[test]
fn the_segments_of_the_two_newest_checkpoints_stay() {
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        filled(&sandbox).await;
        let mut older = BTreeSet::new();
        for _ in 0..3 {
            pass_checkpoint(&sandbox).await;
            let newest = named(&sandbox).await;
            let there = blobs(&sandbox, "segments").await;
            let lacking: Vec<_> = newest.iter().chain(&older).filter(|segment| !there.contains(segment)).collect();
            assert!(lacking.is_empty(), "{lacking:?}");
            assert!(newest.len() > 4, "the catalog is too small for this test");
            older = newest.into_iter().collect();
        }
    });
}

#[test]
fn a_name_that_another_resource_took_over_is_taken_also_in_a_catalog_from_a_checkpoint() {
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        let session = sandbox.session();
        let home: Region = "westeurope".parse().unwrap();
        let in_group = |number, group: &str| -> GalleryId {
            let id = gallery(number).to_string();
            id.replace("/resourceGroups/images/", &format!("/resourceGroups/{group}/")).parse().unwrap()
        };
        let definition = |number, name: &str| {
            let image = sandbox.image().gallery().image(format!("{name}{number}").parse().unwrap());
            let identifier = ImageIdentifier::new("Contoso", "Web", &format!("Taken{number}")).unwrap();
            ImageDefinition::new(image, home.clone(), OsType::Linux, OsState::Generalized, identifier)
        };
        filled(&sandbox).await;
        // In each round other parts of the catalog are written anew.
        for number in 0..4 {
            session.create_gallery(Gallery::new(in_group(number, "z"), home.clone())).await.unwrap();
            session.create_image_definition(definition(number, "z")).await.unwrap();
            pass_checkpoint(&sandbox).await;
            // Taken over by resources whose keys come first, within one checkpoint.
            session.delete(in_group(number, "z")).await.unwrap();
            session.delete(definition(number, "z").id()).await.unwrap();
            session.create_gallery(Gallery::new(in_group(number, "a"), home.clone())).await.unwrap();
            session.create_image_definition(definition(number, "a")).await.unwrap();
            pass_checkpoint(&sandbox).await;
            assert!(named(&sandbox).await.len() > 4, "the catalog is too small for this test");
            let again = sandbox.reopen().build().await.unwrap();
            for session in [session, again.session()] {
                let gallery = Gallery::new(in_group(number, "b"), home.clone());
                let error = session.create_gallery(gallery).await.unwrap_err();
                assert!(error.to_string().contains("is not unique within the subscription"), "{error}");
                let error = session.create_image_definition(definition(number, "b")).await.unwrap_err();
                assert!(error.to_string().contains("already exists. Choose a different publisher"), "{error}");
            }
        }
    });
}
