//! Writes records of a slot anew, in another encoding.

use bytes::Bytes;

use super::parcel::Parcel;
use super::slot::Slot;
use crate::content::extents::Extents;
use crate::content::names::CatalogId;
use crate::content::naming::Naming;
use crate::content::pack::PackInfo;
use crate::content::part::Part;
use crate::content::recode::{Recoding, recode};
use crate::content::record::Line;
use crate::error::{Error, Result};
use crate::host::Workers;

impl Slot {
    /// Returns a part of exactly the records `extents`, which are here, in the encodings of `how`, or by `None` in those that they have.
    ///
    /// # Errors
    ///
    /// `Corrupt` if a record is missing, damaged or not what it is named by.
    pub(crate) async fn recoded(
        &self,
        pack: &PackInfo,
        extents: &Extents,
        how: Option<Recoding>,
        workers: &Workers,
    ) -> Result<(Parcel, Bytes)> {
        let records = self.good_records(pack, extents, workers).await?;
        let found: Extents = records.iter().map(|(line, _)| line.ordinals()).collect();
        if !extents.minus(&found).is_empty() {
            return Err(Error::corrupt(
                format!("{}, pack {}", self.label(), pack.id),
                "a needed record is damaged or missing",
            ));
        }
        let (catalog, naming, pack) = (self.catalog(), self.naming(), *pack);
        workers.run(move || part_of((catalog, naming), &pack, records, how)).await
    }

    /// As [`recoded`](Self::recoded), in the encodings that they have, as this slot stores it.
    pub(crate) async fn copied(&self, pack: &PackInfo, extents: &Extents, workers: &Workers) -> Result<(Part, Bytes)> {
        let (parcel, bytes) = self.recoded(pack, extents, None, workers).await?;
        match self.encrypted_for_here(&parcel, bytes).await? {
            (Parcel::Part(part), bytes) => Ok((part, bytes)),
            (Parcel::Pack(info), _) => {
                Err(Error::corrupt(format!("pack {}", info.id), "some of its records are no part of it"))
            }
        }
    }
}

/// Builds a part of records, in the encodings of `how`.
pub(crate) fn part_of(
    (catalog, naming): (CatalogId, Naming),
    pack: &PackInfo,
    records: Vec<(Line, Bytes)>,
    how: Option<Recoding>,
) -> Result<(Parcel, Bytes)> {
    // What is left of a group would be stored with what is not needed of it.
    let has_groups = records.iter().any(|(line, _)| line.encoding.is_in_group());
    let mut records = match how.or(has_groups.then_some(Recoding::Rested)) {
        Some(how) => recode(records, how, naming)?,
        None => records,
    };
    records.sort_unstable_by_key(|(line, _)| line.ordinal);
    let lines: Vec<Line> = records.iter().map(|(line, _)| *line).collect();
    if !pack.can_have(&lines) {
        return Err(Error::corrupt(format!("pack {}", pack.id), "its records are not those that the manifest names"));
    }
    let (part, bytes) = Part::build(catalog, pack, records)?;
    Ok((Parcel::Part(part), bytes))
}
