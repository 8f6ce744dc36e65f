//! The most memory that each operation has at a time: each in a process of its own.

use std::fs;
use std::path::Path;
use std::process::Command;

use compute_gallery::store::Durability;
use futures::executor::block_on;

use crate::{Outcome, gallery};

/// In an order in which each finds what it needs.
const OPERATIONS: [&str; 8] = [
    "open",
    "publish",
    "publish again",
    "replicate to a second slot and a second region",
    "deploy",
    "read by `ImageReader`",
    "scrub",
    "delete and collect",
];

pub(crate) fn measure(disk: &Path, place: &Path) -> Outcome {
    println!("\nPeak memory, {}\n\n| operation | MiB |\n|---|---|", disk.file_stem().unwrap_or_default().display());
    let store = place.join("peak");
    for operation in OPERATIONS {
        let mut child = Command::new(std::env::current_exe()?);
        let output = child.arg("--peak-of").arg(operation).arg(disk).arg(&store).output()?;
        if !output.status.success() {
            return Err(format!("{operation}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        println!("| {operation} | {} |", String::from_utf8(output.stdout)?.trim());
    }
    Ok(fs::remove_dir_all(store)?)
}

/// Does one operation and prints the peak of this process in MiB.
pub(crate) fn child(operation: &str, disk: &Path, place: &Path) -> Outcome {
    let (session, deployed) = (gallery::open(place, Durability::Full)?, place.with_extension("raw"));
    let regions = "westeurope=2,eastus=1";
    match operation {
        "publish" => gallery::publish(&session, "1.0.0", disk, regions)?,
        "publish again" => gallery::publish(&session, "1.0.1", disk, regions)?,
        "deploy" => {
            gallery::deploy(&session, "1.0.0", &deployed, true)?;
            fs::remove_file(deployed)?;
        }
        "scrub" => drop(block_on(session.scrub(&gallery::home()?))?),
        "delete and collect" => block_on(async {
            session.delete(gallery::version("1.0.0")?).await?;
            session.delete(gallery::version("1.0.1")?).await?;
            let freed = session.collect().await?.bytes();
            if freed == 0 { Err("nothing was freed".into()) } else { Outcome::Ok(()) }
        })?,
        "read by `ImageReader`" => block_on(async {
            let reader = session.deploy(gallery::version("1.0.0")?, &gallery::home()?).open().await?;
            for start in (0..reader.size()).step_by(1 << 20) {
                reader.read_at(start..reader.size().min(start + (1 << 20))).await?;
            }
            Outcome::Ok(())
        })?,
        "replicate to a second slot and a second region" => gallery::replicate(&session, "1.0.0")?,
        _ => {}
    }
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("the system does not tell")?;
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse()?;
    println!("{:.0}", kib as f64 / 1024.0);
    Ok(())
}
