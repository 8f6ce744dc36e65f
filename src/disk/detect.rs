//! Detects a file's format, for a caller who asks for it.

use std::path::Path;

use super::file::FileDisk;
use super::format::DiskFormat;
use super::lookalike::{HEAD_BYTES, Lookalike};
use super::read_at::ReadAt;
use super::source::reading_failed;
use crate::error::{Error, Result};

/// A format, and the reason for it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Detected {
    /// The format that the file looks like.
    pub format: DiskFormat,
    /// The bytes that say so.
    pub why: String,
}

impl DiskFormat {
    /// Detects the format of a file by its first and last bytes. Only for a file that no guest has written as a raw disk, such as
    /// a download: a guest can write the header of any format into its disk, and would choose how its bytes are read. Nothing in
    /// this crate calls it. Blocks.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the file looks like a format that is not read, such as an archive, with the command that converts it;
    /// `NotFound`, `Invalid`, `Unavailable` if the file can't be opened or read.
    ///
    /// ```
    /// use compute_gallery::disk::DiskFormat;
    ///
    /// let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("disk");
    /// std::fs::write(&path, [0; 4096]).unwrap();
    /// let detected = DiskFormat::detect(&path)?;
    /// assert_eq!(detected.format, DiskFormat::Raw);
    /// assert!(detected.why.contains("no known format"));
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    pub fn detect(path: impl AsRef<Path>) -> Result<Detected> {
        let target = path.as_ref().display().to_string();
        let file = FileDisk::open(path.as_ref(), true)?;
        let ends = file.size().min(HEAD_BYTES as u64) as usize;
        let (mut head, mut tail) = (vec![0; ends], vec![0; ends]);
        file.read_exact_at(&mut head, 0).map_err(|error| reading_failed(&target, error))?;
        file.read_exact_at(&mut tail, file.size() - ends as u64).map_err(|error| reading_failed(&target, error))?;
        let Some(found) = Lookalike::of(&head, &tail) else {
            let why = "the first and last bytes are of no known format".to_owned();
            return Ok(Detected { format: Self::Raw, why });
        };
        match found.format() {
            Some(Self::Vhd) => Ok(Detected {
                format: Self::Vhd,
                why: "the file has a footer that begins with `conectix`, with a right checksum".into(),
            }),
            Some(format) => {
                let begin = head.get(..8).unwrap_or(&head).escape_ascii();
                Ok(Detected { format, why: format!("the file begins with `{begin}`") })
            }
            None => {
                let fix = found.instead_of_raw(&target);
                Err(Error::unsupported(target, format!("it looks like {}, which is not read: {fix}", found.name)))
            }
        }
    }
}
