//! Access: two tenants, a group, a role, the view of each caller, and a refusal that explains itself.
//!
//! `cargo run --example sharing`: works in memory.

use std::error::Error;

use compute_gallery::access::*;
use compute_gallery::disk::{DiskFormat, DiskSource};
use compute_gallery::model::*;
use compute_gallery::store::MemoryStore;
use compute_gallery::{GalleryService, NewImageVersion, PublicImageId, Session};
use futures::StreamExt;
use futures::executor::block_on;

fn main() -> Result<(), Box<dyn Error>> {
    block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    // The directory of users, groups and tenants. A host implements `Directory` over its own; this one is in memory.
    let directory = MemoryDirectory::new();
    let (contoso, fabrikam): (TenantId, TenantId) = ("contoso".parse()?, "fabrikam".parse()?);
    directory.add_user("ann", &contoso)?;
    directory.add_user("bob", &fabrikam)?;
    directory.add_group("web-team", &contoso)?;
    directory.add_member("web-team", "ann")?;
    directory.add_subscription("dev".parse()?, contoso.clone(), None)?;
    directory.add_application("deployer", &fabrikam)?;

    let builder = GalleryService::builder().store(MemoryStore::new()).directory(directory.clone());
    let service = builder.administrator("root".parse()?).create().await?;
    let root = service.session("root".parse()?);
    let gallery: GalleryId =
        "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/Contoso".parse()?;
    let (web, home): (ImageDefinitionId, Region) = (gallery.image("web".parse()?), "westeurope".parse()?);
    let shareable = SharingProfile::new(SharingPermissions::Groups);
    root.create_gallery(Gallery::new(gallery.clone(), home.clone()).with_sharing_profile(shareable)).await?;
    let identifier = ImageIdentifier::new("Contoso", "Web", "Frontend")?;
    let definition = ImageDefinition::new(web.clone(), home.clone(), OsType::Linux, OsState::Generalized, identifier);
    root.create_image_definition(definition).await?;
    let version = web.version("1.0.0".parse()?);
    let disk = DiskSource::bytes(vec![1; 1 << 20], DiskFormat::Raw);
    let profile = PublishingProfile::new("westeurope".parse()?);
    root.publish(NewImageVersion::new(version.clone(), home.clone(), profile, disk)).await?;

    println!("# A role for a group, at the definition");
    let reader = BuiltInRole::ComputeGalleryImageReader.id();
    root.assign_role(RoleAssignment::new("web-team-reads-web", "web-team".parse()?, reader, &web)?).await?;
    let ann = service.session("ann".parse()?);
    print!("{}", ann.sharing_matrix(&gallery));
    let why = ann.explain_access(Action::ReadVersion, &version.clone().into());
    println!("reading {} is {why}", version.number());
    deploy(&ann, &version, &home).await;

    println!("\n# A refusal");
    if let Err(error) = ann.delete(version.clone()).await {
        println!("{} ({}): {error}", error.code(), error.target());
    }

    println!("\n# Another tenant's application, with the consent of both tenants");
    let deployer = service.session("deployer".parse()?);
    deploy(&deployer, &version, &home).await;
    directory.consent("deployer-at-contoso", &contoso, "deployer")?;
    let reader = BuiltInRole::ComputeGalleryImageReader.id();
    root.assign_role(RoleAssignment::new("deployer", "deployer-at-contoso".parse()?, reader, &gallery)?).await?;
    deploy(&deployer, &version, &home).await;

    println!("\n# Direct sharing, with a whole tenant");
    let tenant = SharingUpdate::Add { subscriptions: Vec::new(), tenants: vec![fabrikam] };
    root.share_gallery(&gallery, tenant).await?;
    let bob = service.session("bob".parse()?);
    for shared in bob.view().shared_galleries() {
        println!("bob sees {}", shared.unique_id);
    }
    let public: PublicImageId = "/SharedGalleries/dev-CONTOSO/Images/web/Versions/latest".parse()?;
    let (deployed, _) = bob.deploy(&public, &home).to_writer(Vec::new()).await?;
    println!("bob deploys {public}: {} bytes", deployed.virtual_size);

    println!("\n# The audit trail: caller, change, and the assignment that allowed it");
    let mut history = Box::pin(root.history(0));
    while let Some(entry) = history.next().await {
        let entry = entry?;
        let because = entry.authorization.map(|authorization| authorization.because).unwrap_or_default();
        println!("{:>3} {} by {}: {because}", entry.number, entry.event.kind, entry.caller);
    }
    Ok(())
}

async fn deploy(session: &Session, version: &ImageVersionId, region: &Region) {
    match session.deploy(version, region).to_writer(Vec::new()).await {
        Ok((deployed, _)) => println!("{} deploys {} bytes", session.caller(), deployed.virtual_size),
        Err(error) => println!("{} is refused: {error}", session.caller()),
    }
}
