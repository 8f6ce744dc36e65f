//! The machine and the tools that we are held against.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Outcome;

/// Says on what this runs, and beside what.
pub(crate) fn describe(place: &Path) -> Outcome {
    let cores = std::thread::available_parallelism()?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let file_system = Command::new("df").arg("--output=fstype").arg(place).output()?.stdout;
    let file_system = String::from_utf8(file_system)?;
    println!("{cores} cores of {}", processor.trim_start_matches([' ', '\t', ':']));
    println!("Linux {}, {}", kernel.trim(), file_system.lines().last().unwrap_or_default());
    for tool in ["cp", "qemu-img", "borg", "casync"] {
        println!("{}", version(tool).unwrap_or_else(|| format!("{tool} is absent")));
    }
    Ok(())
}

pub(crate) fn is_there(tool: &str) -> bool {
    version(tool).is_some()
}

fn version(tool: &str) -> Option<String> {
    answer(Command::new(tool).arg("--version"))
}

fn answer(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()?.lines().next().map(str::to_owned)
}

/// Runs a tool, silently, to its end.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr)).into())
}

pub(crate) fn cp_disk(from: &Path, to: &Path) -> Outcome {
    run(Command::new("cp").arg("--sparse=always").arg(from).arg(to))
}

pub(crate) fn cp_directory(from: &Path, to: &Path) -> Outcome {
    run(Command::new("cp").arg("-r").arg(from).arg(to))
}

/// Makes files durable.
pub(crate) fn sync<'a>(files: impl IntoIterator<Item = &'a Path>) -> Outcome {
    run(Command::new("sync").args(files))
}

/// Gives each step the same start: nothing left to be written back, and as much memory just freed as it will fill. (On a
/// virtual machine memory that was not used lately costs a fault in the host for each page, several times the copy itself;
/// the first step after a removal would be spared it, and the others not.)
pub(crate) fn settle(disk: &Path, place: &Path) -> Outcome {
    let filler = place.join("filler.raw");
    run(&mut Command::new("sync"))?;
    cp_disk(disk, &filler)?;
    Ok(fs::remove_file(filler)?)
}
