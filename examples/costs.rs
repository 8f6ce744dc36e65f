//! The price of an image: estimated before it is published, billed afterwards.
//!
//! `cargo run --example costs`: works in memory.

use std::error::Error;

use compute_gallery::billing::{Cost, Prices};
use compute_gallery::disk::{DiskFormat, DiskSource};
use compute_gallery::model::*;
use compute_gallery::store::MemoryStore;
use compute_gallery::{GalleryService, NewImageVersion};
use futures::executor::block_on;

fn main() -> Result<(), Box<dyn Error>> {
    block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    let zones = [MemoryStore::new(), MemoryStore::new(), MemoryStore::new()];
    let service = GalleryService::builder()
        .allow_all()
        .store(MemoryStore::new())
        .zonal_region_stores("eastus", zones)
        .create()
        .await?;
    let session = service.session("costs".parse()?);
    let gallery: GalleryId =
        "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/Contoso".parse()?;
    let (web, home): (ImageDefinitionId, Region) = (gallery.image("web".parse()?), "westeurope".parse()?);
    session.create_gallery(Gallery::new(gallery, home.clone())).await?;
    let identifier = ImageIdentifier::new("Contoso", "Web", "Frontend")?;
    let definition = ImageDefinition::new(web.clone(), home.clone(), OsType::Linux, OsState::Generalized, identifier);
    session.create_image_definition(definition).await?;

    // In millionths of a currency: 0.05 per GiB and month, 0.0625 in three zones, 0.02 per GiB over a border.
    let prices = Prices::new(50_000, 20_000).with_storage(StorageAccountType::StandardZrs, 62_500);
    let zonal = TargetRegion::new("eastus".parse()?).with_storage_account_type(StorageAccountType::StandardZrs);
    let targets = TargetRegions::new(vec!["westeurope=2".parse()?, zonal, "southeastasia".parse()?])?;
    let version = web.version("1.0.0".parse()?);
    let new = || {
        // 64 MiB: half of it cannot be compressed, and half is zeros.
        let (mut disk, mut state) = (vec![0; 64 << 20], 0x2545_f491_4f6c_dd1d_u64);
        for word in disk.chunks_exact_mut(8).take(4 << 20) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        let profile = PublishingProfile::new(targets.clone());
        let disk = DiskSource::bytes(disk, DiskFormat::Raw);
        NewImageVersion::new(version.clone(), home.clone(), profile, disk)
    };
    let plan = session.publish(new()).plan().await?;
    plan.check()?;
    show("Estimate, before a byte moves", &plan.cost(&prices));

    session.publish(new()).await?;
    session.replicate(&version).await?;
    show("Bill, by the bytes that are stored and were sent", &session.view().cost(&prices, [&version])?);
    Ok(())
}

fn show(title: &str, cost: &Cost) {
    let money = |millionths: u64| millionths as f64 / 1e6;
    println!("{title}: {} disks", cost.disks);
    for line in &cost.lines {
        println!(
            "  {:<14} {} x replica, {:>6.1} MiB stored, {:.6} a month; {:>6.1} MiB over its border, {:.6} once",
            line.region.as_str(),
            line.replicas,
            line.stored_bytes as f64 / 1048576.0,
            money(line.storage_per_month),
            line.cross_region_bytes as f64 / 1048576.0,
            money(line.egress),
        );
    }
    println!("  total {:.6} a month and {:.6} once\n", money(cost.storage_per_month), money(cost.egress));
}
