//! Several processes on one bucket. A test runs itself again for them.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]
#![expect(clippy::disallowed_methods, reason = "processes and servers take real time")]
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::process::Child;
use std::time::{Duration, Instant};

use compute_gallery::ErrorKind;
use compute_gallery::model::Limits;
use compute_gallery::read::ListScope;
use compute_gallery::store::{BlobStoreExt, ObjectStoreBlobs};
use compute_gallery::testkit::{Sandbox, SandboxBuilder, noise, raw};
use futures::executor::block_on;

use crate::service::{Service, commits, figures};

/// What a process that a test has started is to do.
fn role() -> Option<(Service, String)> {
    Some((Service::of_parent()?, std::env::var("ENGINES_ROLE").ok()?))
}

fn roomy(sandbox: SandboxBuilder) -> SandboxBuilder {
    let limits = Limits::default().with_galleries(100_000);
    sandbox.empty().service(move |builder| builder.limits(limits.clone()))
}

async fn writer(catalog: &ObjectStoreBlobs, service: &Service) -> Sandbox {
    let stores = [catalog.clone(), service.open("west"), service.open("east")];
    roomy(service.gallery_in(stores)).build().await.unwrap()
}

/// Lets so many processes commit, one commit after another each, and prints what it cost.
///
/// Every acknowledged commit is in the log, and none is there twice. In a test's child it does the child's part.
pub fn commit_at_once(test: &str, service: impl FnOnce() -> Service, processes: usize, each: usize) {
    if let Some((service, name)) = role() {
        return block_on(async {
            let catalog = service.open("catalog");
            let sandbox = writer(&catalog, &service).await;
            println!("ready");
            // All have opened it when this one's first commit begins, or soon after.
            let before = catalog.requests();
            let mut seconds = commits(&sandbox, &name, each).await;
            let requests = catalog.requests() - before;
            let (median, slowest) = figures(&mut seconds);
            println!("\nfigures {requests} {median} {slowest}");
        });
    }
    let service = service();
    let catalog = service.open("catalog");
    // The catalog is there before they race.
    drop(block_on(writer(&catalog, &service)));
    let started = Instant::now();
    let children: Vec<Child> = (0..processes).map(|number| service.child(test, &format!("p{number}"))).collect();
    let (mut acknowledged, mut requests, mut medians, mut slowest) = (0, 0, Vec::new(), 0_f64);
    for child in children {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        acknowledged += said.matches("acknowledged ").count();
        let line = said.lines().find_map(|line| line.strip_prefix("figures ")).unwrap_or_else(|| panic!("{said}"));
        let mut figures = line.split(' ').map(|figure| figure.parse::<f64>().unwrap());
        requests += figures.next().unwrap() as u64;
        medians.push(figures.next().unwrap());
        slowest = slowest.max(figures.next().unwrap());
    }
    let seconds = started.elapsed().as_secs_f64();
    let sandbox = block_on(writer(&catalog, &service));
    let there = sandbox.session().view().galleries(&ListScope::All, None, usize::MAX).items.len();
    let (median, _) = figures(&mut medians);
    println!(
        "| {:?} | {processes} x {each} | {acknowledged} acknowledged, {there} in the log | {:.2} requests a commit | {:.1} commits/s | \
         median {median:.3} s, slowest {slowest:.3} s |",
        service.protocol,
        requests as f64 / acknowledged as f64,
        acknowledged as f64 / seconds,
    );
    assert_eq!((acknowledged, there), (processes * each, processes * each));
    assert!(slowest < 3.0 + 40.0 * median, "one starved: {slowest} s, {median} s");
}

/// Publishes, whatever an earlier process has done of it.
async fn finish(service: &Service, mebibytes: usize) -> Sandbox {
    let sandbox = service.gallery().build().await.unwrap();
    let version = sandbox.new_version("1.0.0", "westeurope=1,eastus=1", raw(noise(9, mebibytes << 20)));
    match sandbox.session().publish(version).await {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}"),
    }
    sandbox
}

/// Kills a process in the middle of a publish; this one takes it up. In a test's child it publishes.
pub fn take_over(test: &str, service: impl FnOnce() -> Service, mebibytes: usize) {
    if let Some((service, _)) = role() {
        return drop(block_on(finish(&service, mebibytes)));
    }
    let service = service();
    let west = service.open("west");
    let packs = || {
        let listed = block_on(west.list_all(None)).unwrap();
        listed.iter().filter(|blob| blob.key.as_str().contains("/packs/")).count()
    };
    let mut child = service.child(test, "victim");
    let begun = Instant::now();
    while packs() < 2 && child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it publishes nothing");
    }
    let was_alive = child.try_wait().unwrap().is_none();
    // SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(was_alive, "it was done before it was killed: give it a larger disk");
    let found = packs();
    let started = Instant::now();
    block_on(async {
        let sandbox = finish(&service, mebibytes).await;
        let published = started.elapsed();
        sandbox.session().replicate(sandbox.version("1.0.0")).await.unwrap();
        let disk = noise(9, mebibytes << 20);
        assert!(sandbox.deployed("1.0.0", "eastus").await.unwrap() == disk);
        println!(
            "| {:?} | killed with {found} packs sent | published by another in {published:.2?} |",
            service.protocol
        );
    });
}
