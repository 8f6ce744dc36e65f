//! A version's life: publish, exclude, retire, delete; each step planned before it is run.
//!
//! `cargo run --example lifecycle`: works in memory.

use std::error::Error;

use compute_gallery::change::LifecyclePolicy;
use compute_gallery::disk::{DiskFormat, DiskSource};
use compute_gallery::model::*;
use compute_gallery::store::MemoryStore;
use compute_gallery::{GalleryService, NewImageVersion, Plan, Session};
use futures::executor::block_on;

fn main() -> Result<(), Box<dyn Error>> {
    block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    let service = GalleryService::builder().allow_all().store(MemoryStore::new()).create().await?;
    let session = service.session("lifecycle".parse()?);
    let gallery: GalleryId =
        "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/Contoso".parse()?;
    let (web, home): (ImageDefinitionId, Region) = (gallery.image("web".parse()?), "westeurope".parse()?);
    let keeps_deleted = SoftDeletePolicy::enabled().with_retention_period_in_days(30);
    let new_gallery = Gallery::new(gallery.clone(), home.clone()).with_soft_delete_policy(keeps_deleted);
    session.create_gallery(new_gallery).await?;
    let identifier = ImageIdentifier::new("Contoso", "Web", "Frontend")?;
    let definition = ImageDefinition::new(web.clone(), home.clone(), OsType::Linux, OsState::Generalized, identifier);
    session.create_image_definition(definition).await?;

    println!("# Publish three versions, each in two regions");
    let mut number: VersionNumber = "1.0.0".parse()?;
    for build in 0..3 {
        let new = || {
            let disk = DiskSource::bytes(vec![build + 1; 4 << 20], DiskFormat::Raw);
            let profile = PublishingProfile::new("westeurope=2,eastus".parse()?);
            Ok::<_, compute_gallery::Error>(NewImageVersion::new(web.version(number), home.clone(), profile, disk))
        };
        if build == 0 {
            show("publish 1.0.0", &session.publish(new()?).plan().await?);
        }
        session.publish(new()?).await?;
        session.replicate(web.version(number)).await?;
        number = number.next_patch().ok_or("no number is left")?;
    }
    latest(&session, &web)?;

    println!("\n# A bad version is excluded from latest, in one region");
    let bad = session.view().image_version(web.version("1.0.2".parse()?))?;
    let out_of = |place: &TargetRegion| match place.region().as_str() {
        "eastus" => place.clone().with_exclude_from_latest(true),
        _ => place.clone(),
    };
    let targets = TargetRegions::new(bad.publishing_profile().target_regions().iter().map(out_of).collect())?;
    let profile = bad.publishing_profile().clone().with_target_regions(targets);
    session.update_image_version(ImageVersion::clone(&bad).with_publishing_profile(profile)?).await?;
    latest(&session, &web)?;

    println!("\n# The newest version stays in many regions, older ones at home only");
    let policy = LifecyclePolicy::new(1, "westeurope=2,eastus,southeastasia".parse()?).with_removal_of_protected();
    show("the policy", &session.apply_lifecycle(&web, policy.clone()).plan().await?);
    for version in session.apply_lifecycle(&web, policy).await? {
        session.replicate(version.id()).await?;
    }
    for version in session.view().image_versions(&web, None, 10)?.items {
        println!("  {} is in {}", version.id().number(), version.publishing_profile().target_regions());
    }

    println!("\n# A mistake, and its error");
    let moved = Gallery::new(gallery.clone(), "eastus".parse()?);
    show("moving the gallery", &session.update_gallery(moved).plan().await?);

    println!("\n# Delete: first soft, then permanently");
    session.delete(web.version("1.0.2".parse()?)).await?;
    latest(&session, &web)?;
    session.restore(web.version("1.0.2".parse()?)).await?;
    println!("  1.0.2 is restored");
    show("deleting the gallery", &session.delete(gallery.clone()).plan().await?);
    show("deleting it with everything in it", &session.delete(gallery.clone()).cascade().plan().await?);
    let deleted = session.delete(gallery).cascade().await?;
    println!("  {} resources are deleted", deleted.len());
    Ok(())
}

fn latest(session: &Session, web: &ImageDefinitionId) -> Result<(), Box<dyn Error>> {
    for place in ["westeurope", "eastus"] {
        match session.view().latest(web, place) {
            Ok(latest) => println!("  latest in {place}: {}", latest.id().number()),
            Err(error) => println!("  no latest in {place}: {error}"),
        }
        for candidate in session.view().explain_latest(web, place)? {
            println!("    {}: {:?}", candidate.version.id().number(), candidate.verdict);
        }
    }
    Ok(())
}

fn show(what: &str, plan: &Plan) {
    println!("  plan of {what}:");
    for problem in &plan.problems {
        println!("    refused ({}): {problem}", problem.code());
    }
    for region in &plan.regions {
        println!(
            "    {}: {} replica{}, at most {} bytes over its border and {} stored",
            region.region,
            region.replicas,
            if region.replicas == 1 { "" } else { "s" },
            region.cross_region_bytes,
            region.stored_bytes
        );
    }
    for id in &plan.deletes {
        println!("    deletes {id}");
    }
}
