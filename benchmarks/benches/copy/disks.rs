//! A whole disk in, in again, and out, beside the tools that do the same.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use compute_gallery::store::Durability;

use crate::table::Table;
use crate::{Outcome, gallery, peers};

const CP: &str = "`cp`";
const CP_SYNC: &str = "`cp`, `sync`";

pub(crate) fn measure(disk: &Path, place: &Path, rounds: usize) -> Outcome {
    let mut table = Table::default();
    for _ in 0..=rounds {
        let work = place.join("disk");
        fs::create_dir(&work)?;
        cp(disk, &work, &mut table)?;
        ours(disk, &work, &mut table)?;
        qemu_img(disk, &work, &mut table)?;
        borg(disk, &work, &mut table)?;
        casync(disk, &work, &mut table)?;
        fs::remove_dir_all(work)?;
    }
    let (name, data) = (disk.file_stem().unwrap_or_default().to_string_lossy(), fs::metadata(disk)?.blocks() * 512);
    table.print(&format!("The disk {name}"), data, &[CP, CP_SYNC]);
    Ok(())
}

fn cp(disk: &Path, work: &Path, table: &mut Table) -> Outcome {
    let copy = work.join("copy.raw");
    table.time(CP, || peers::settle(disk, work), |()| peers::cp_disk(disk, &copy))?;
    fs::remove_file(&copy)?;
    table.time(
        CP_SYNC,
        || peers::settle(disk, work),
        |()| {
            peers::cp_disk(disk, &copy)?;
            peers::sync([copy.as_path()])
        },
    )?;
    Ok(fs::remove_file(&copy)?)
}

fn ours(disk: &Path, work: &Path, table: &mut Table) -> Outcome {
    for (durability, word) in [(Durability::Full, "durable"), (Durability::LostOnPowerCut, "lost on a power cut")] {
        let (store, deployed) = (work.join("store"), work.join("deployed.raw"));
        let session = gallery::open(&store, durability)?;
        let settled = || peers::settle(disk, work);
        for (name, number) in [("import", "1.0.0"), ("import again", "1.0.1")] {
            let publish = |()| gallery::publish(&session, number, disk, "westeurope");
            table.time(&format!("{name}, {word}"), settled, publish)?;
        }
        if durability == Durability::Full {
            for (name, sync) in [("deploy, durable", true), ("deploy, left to the system", false)] {
                table.time(name, settled, |()| gallery::deploy(&session, "1.0.0", &deployed, sync))?;
                fs::remove_file(&deployed)?;
            }
        }
        fs::remove_dir_all(store)?;
    }
    Ok(())
}

fn qemu_img(disk: &Path, work: &Path, table: &mut Table) -> Outcome {
    if !peers::is_there("qemu-img") {
        return Ok(());
    }
    let to = work.join("converted");
    for (name, options) in [
        ("`qemu-img convert`, raw", &["-O", "raw"][..]),
        ("`qemu-img convert`, fixed VHD", &["-O", "vpc", "-o", "subformat=fixed,force_size=on"]),
    ] {
        let mut convert = Command::new("qemu-img");
        convert.args(["convert", "-f", "raw"]).args(options).arg(disk).arg(&to);
        table.time(name, || peers::settle(disk, work), |()| peers::run(&mut convert))?;
        fs::remove_file(&to)?;
    }
    Ok(())
}

/// As near to what we do as it can be told: chunks of 64 KiB, no compression, no encryption, and all of the disk read
/// again, since we are not told either that it has not changed.
fn borg(disk: &Path, work: &Path, table: &mut Table) -> Outcome {
    if !peers::is_there("borg") || table.has_enough_of("borg") {
        return Ok(());
    }
    let (repository, out) = (work.join("borg"), work.join("borg-out"));
    let borg = |arguments: &[&str]| {
        let mut borg = Command::new("borg");
        borg.args(arguments).env("BORG_REPO", &repository).env("BORG_BASE_DIR", work.join("borg-home"));
        borg.env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes");
        borg
    };
    peers::run(&mut borg(&["init", "-e", "none"]))?;
    let options = ["--chunker-params", "fixed,65536", "--compression", "none", "--sparse", "--files-cache", "disabled"];
    for (name, archive) in [("`borg create`", "::1.0.0"), ("`borg create` again", "::1.0.1")] {
        let mut create = borg(&["create"]);
        create.args(options).arg(archive).arg(disk);
        table.time(name, || peers::settle(disk, work), |()| peers::run(&mut create))?;
    }
    fs::create_dir(&out)?;
    let mut extract = borg(&["extract", "--sparse", "::1.0.0"]);
    extract.current_dir(&out);
    table.time("`borg extract`", || peers::settle(disk, work), |()| peers::run(&mut extract))?;
    fs::remove_dir_all(out)?;
    Ok(fs::remove_dir_all(repository)?)
}

/// It always compresses.
fn casync(disk: &Path, work: &Path, table: &mut Table) -> Outcome {
    if !peers::is_there("casync") || table.has_enough_of("casync") {
        return Ok(());
    }
    let (store, out) = (work.join("casync"), work.join("casync-out"));
    let store_option = format!("--store={}", store.display());
    fs::create_dir(&store)?;
    for (name, index) in [("`casync make`", "1.0.0.caibx"), ("`casync make` again", "1.0.1.caibx")] {
        let mut make = Command::new("casync");
        make.arg("make").arg(&store_option).arg(work.join(index)).arg(disk);
        table.time(name, || peers::settle(disk, work), |()| peers::run(&mut make))?;
    }
    let mut extract = Command::new("casync");
    extract.arg("extract").arg(&store_option).arg(work.join("1.0.0.caibx")).arg(&out);
    table.time("`casync extract`", || peers::settle(disk, work), |()| peers::run(&mut extract))
}
