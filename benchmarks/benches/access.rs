//! What a decision costs, with few assignments and with many.
//!
//! `cargo bench --bench access`: prints medians.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use compute_gallery::access::*;
use compute_gallery::model::{GalleryId, ImageVersionId};

fn main() -> Result<(), Box<dyn Error>> {
    // Built by `cargo test --benches`, too; only `cargo bench` runs it.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let gallery: GalleryId =
        "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/Contoso".parse()?;
    let version: ImageVersionId = gallery.image("web".parse()?).version("1.0.0".parse()?);
    let caller: PrincipalId = "ann".parse()?;
    let groups: Vec<PrincipalId> =
        ["web", "publishers", "everybody", "emea"].iter().map(|id| id.parse()).collect::<Result<_, _>>()?;
    let mut scopes: Vec<AccessScope> =
        std::iter::successors(Some(AccessScope::from(&version)), AccessScope::parent).collect();
    scopes.push(AccessScope::ManagementGroup("prod".parse()?));
    scopes.push(AccessScope::TenantRoot("contoso".parse()?));
    println!("{:<14} {:>14} {:>14} {:>14}", "assignments", "allowed", "not granted", "denied");
    for count in [10, 1_000, 100_000] {
        let mut policy = AccessPolicy::new();
        // Spread over all scopes of the path and many galleries beside it, of principals and groups by turns.
        for number in 0..count {
            let principal = if number % 2 == 0 { format!("user{number}") } else { format!("group{}", number % 50) };
            let scope = match number % 8 {
                7 => gallery_beside(number)?.into(),
                place => scopes.get(place).cloned().ok_or("there are seven")?,
            };
            let role = BuiltInRole::ALL.get(number % 7).ok_or("there are seven")?.id();
            policy.assign(RoleAssignment::new(&number.to_string(), principal.parse()?, role, scope)?);
        }
        let readers = RoleAssignment::new(
            "r",
            "everybody".parse()?,
            BuiltInRole::Reader.id(),
            scopes.last().cloned().ok_or("a root")?,
        )?;
        policy.assign(readers);
        policy.deny(DenyAssignment::to_everybody_but("d", ["release".parse()?], ["*/delete"], &gallery)?);
        let time = |action| per_call(&|| policy.decide(&caller, &groups, black_box(action), black_box(&scopes)));
        assert!(policy.decide(&caller, &groups, Action::ReadVersion, &scopes).is_allowed());
        let times = [Action::ReadVersion, Action::WriteVersion, Action::DeleteVersion].map(time);
        let [allowed, not_granted, denied] = times;
        println!("{count:<14} {allowed:>11.0} ns {not_granted:>11.0} ns {denied:>11.0} ns");
    }
    Ok(())
}

fn gallery_beside(number: usize) -> Result<GalleryId, compute_gallery::Error> {
    format!("/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/g{number}").parse()
}

/// Nanoseconds.
fn per_call<T>(call: &dyn Fn() -> T) -> f64 {
    let mut rounds: Vec<f64> = (0..31)
        .map(|_| {
            let started = Instant::now();
            for _ in 0..10_000 {
                black_box(call());
            }
            started.elapsed().as_secs_f64() / 1e4 * 1e9
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds.get(rounds.len() / 2).copied().unwrap_or(f64::NAN)
}
