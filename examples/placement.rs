//! Compares strategies at the guideline's exact size, explains a choice, and recommends replica counts.
//!
//! `cargo run --example placement`

use std::time::Duration;

use compute_gallery::model::{Limits, OsType, StorageAccountType};
use compute_gallery::placement::*;

fn main() -> Result<(), compute_gallery::Error> {
    let storage = StorageAccountType::StandardLrs;
    let (policy, limits) = (PlacementPolicy::default(), Limits::default());

    println!("1,000 VMs on the guideline's 50 replicas: 20 on each is the optimum.");
    // The pools have twice the capacity, so that no full replica corrects a strategy.
    let roomy = policy.clone().with_capacity(Capacity::new(40, 1_200));
    let pool = || {
        let pool = Pool::new(&roomy, &limits, storage);
        (0..50).for_each(|replica| _ = pool.add_replica(Some(Zone::new(1 + replica % 3))));
        pool
    };
    println!("{:<44} {:>8} {:>8} {:>9}", "", "busiest", "idlest", "above 20");
    for (name, pool) in [
        ("least loaded", pool()),
        ("least loaded, spread over 3 zones", pool().with_strategy(SpreadZones(LeastLoaded))),
        ("round robin", pool().with_strategy(RoundRobin::default())),
        ("two choices", pool().with_strategy(TwoChoices::new(7))),
        ("bounded hash of 200 hosts, slack 25 %", pool().with_strategy(BoundedHash::default())),
    ] {
        let vm = |number: u32| PlacementRequest::vm().with_affinity(&format!("host-{}", number % 200));
        let leases: Vec<Lease> = (0..1_000).map(|number| pool.place(vm(number))).collect::<Result<_, _>>()?;
        let vms: Vec<u64> = pool.replicas().iter().map(|replica| replica.load * 40 / pool.capacity()).collect();
        let (busiest, idlest) = (vms.iter().max().unwrap_or(&0), vms.iter().min().unwrap_or(&0));
        println!("{name:<44} {busiest:>8} {idlest:>8} {:>9}", vms.iter().filter(|vms| **vms > 20).count());
        drop(leases);
    }

    println!("\nWhy a replica was chosen");
    let pool = pool().with_strategy(PreferZone(BoundedHash::default()));
    let (lease, why) = pool.place_explained(PlacementRequest::vm().with_zone(Zone::new(2)).with_affinity("host-17"));
    println!("{}: {why}", lease?.replica());

    println!("\nHow many replicas");
    let gib = 1 << 30;
    let windows = ImageTraits::new(OsType::Windows, 127 * gib, 12 * gib);
    for workload in [
        Workload::vms(120),
        Workload::default().with_scale_sets(5, 600),
        Workload::vms(120).with_scale_sets(5, 600).with_image(windows),
    ] {
        println!("{}", Sizing::new(&policy, &limits, storage).recommend(&workload)?);
    }
    let history = DemandHistory::new(1_200.0, Duration::from_secs(300)).with_peaks([90, 110, 130, 180]);
    println!("{}", Sizing::new(&policy, &limits, storage).recommend_for(&history, 0.01)?);
    println!(
        "today's numbers: {}",
        Sizing::new(&PlacementPolicy::azure_2026(), &limits, storage).recommend(&Workload::vms(500))?
    );
    Ok(())
}
