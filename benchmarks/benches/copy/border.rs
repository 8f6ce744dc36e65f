//! A replication into another region, over a border that takes so much in a second.

use std::fs;
use std::path::Path;

use compute_gallery::content::Compression;
use compute_gallery::store::Durability;

use crate::table::Table;
use crate::{Outcome, gallery, peers};

/// 200 MiB/s.
const RATE: u64 = 200 << 20;

const PLAIN: &str = "plain";

pub(crate) fn measure(disk: &Path, place: &Path, rounds: usize) -> Outcome {
    let (base, copy, mut table) = (place.join("base"), place.join("copy"), Table::default());
    for round in 0..=rounds {
        for (name, compression) in [(PLAIN, Compression::None), ("compressed on the way", Compression::Later)] {
            let stored = base.join(name);
            if round == 0 {
                let session = gallery::open_with(&stored, Durability::LostOnPowerCut, compression)?;
                gallery::publish(&session, "1.0.0", disk, "westeurope=1,eastus=1")?;
            }
            let ready = || {
                peers::cp_directory(&stored, &copy)?;
                let session = gallery::open_with(&copy, Durability::LostOnPowerCut, compression)?;
                peers::settle(disk, place)?;
                Ok(session)
            };
            table.time(name, ready, |session| gallery::replicate_over(&session, "1.0.0", "eastus", RATE))?;
            fs::remove_dir_all(&copy)?;
        }
    }
    fs::remove_dir_all(base)?;
    let name = disk.file_stem().unwrap_or_default().to_string_lossy();
    let data = fs::metadata(disk).map(|meta| std::os::unix::fs::MetadataExt::blocks(&meta) * 512)?;
    table.print(&format!("{name} into another region, over a border of 200 MiB/s"), data, &[PLAIN]);
    Ok(())
}
