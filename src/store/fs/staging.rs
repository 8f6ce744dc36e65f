//! Files without a blob's name: those being written, and the leftovers of crashes.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::time::{Duration, SystemTime};

use super::system::Dir;
use crate::host::{Entropy, SystemEntropy};

/// A file in the staging directory, removed unless it was moved out.
#[derive(Debug)]
pub(super) struct Staged<'a> {
    dir: &'a Dir,
    name: String,
    moved: bool,
}

impl<'a> Staged<'a> {
    /// Creates an empty file of an unused name.
    pub(super) fn create(dir: &'a Dir) -> io::Result<(Self, File)> {
        let name = random_name()?;
        let file = dir.create_file(&name)?;
        Ok((Self { dir, name, moved: false }, file))
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether the file is still under its own name, which a removal of leftovers takes from it.
    pub(super) fn is_there(&self) -> bool {
        matches!(self.dir.kind(&self.name), Ok(Some(_)))
    }

    pub(super) fn move_new(&mut self, to: &Dir, name: &str) -> io::Result<()> {
        self.dir.move_new(&self.name, to, name)?;
        self.moved = true;
        Ok(())
    }

    pub(super) fn replace(&mut self, to: &Dir, name: &str) -> io::Result<()> {
        self.dir.replace(&self.name, to, name)?;
        self.moved = true;
        Ok(())
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if !self.moved {
            // If this fails, the file is a leftover that is removed by age.
            let _ = self.dir.remove_file(&self.name);
        }
    }
}

const NAME_BYTES: usize = 16;

fn random_name() -> io::Result<String> {
    let mut bytes = [0; NAME_BYTES];
    SystemEntropy.fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn is_staging_name(name: &str) -> bool {
    name.len() == 2 * NAME_BYTES && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Removes staging files that are older than `age`, and returns their number.
///
/// The age is the difference between a file's time and that of a file created now, both by the file system's clock: the local
/// one may differ by hours. A file whose time is missing or odd counts as young.
pub(super) fn remove_leftovers(dir: &Dir, age: Duration) -> io::Result<usize> {
    let (probe, file) = Staged::create(dir)?;
    let now = file.metadata()?.modified()?;
    drop(file);
    let mut names: Vec<String> = Vec::new();
    dir.for_each(&mut |name, is_dir| {
        if !is_dir && is_staging_name(name) && name != probe.name {
            names.push(name.to_owned());
        }
        ControlFlow::Continue(())
    })?;
    let mut removed = 0;
    for name in names {
        // A file that was moved out or removed meanwhile is not a leftover.
        let Ok((file, _)) = dir.open_file(&name) else { continue };
        let written = file.metadata().and_then(|meta| meta.modified()).unwrap_or(now);
        drop(file);
        let old = written > SystemTime::UNIX_EPOCH && now.duration_since(written).is_ok_and(|since| since > age);
        if old && dir.remove_file(&name).is_ok() {
            removed += 1;
        }
    }
    Ok(removed)
}
