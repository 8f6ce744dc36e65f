//! Decrypts what leaves a slot to be written anew, and encrypts what comes into one.

use bytes::Bytes;

use super::parcel::Parcel;
use super::slot::Slot;
use crate::content::head::Head;
use crate::content::naming::Naming;
use crate::content::part::Part;
use crate::content::record::Line;
use crate::error::{Error, Result};
use crate::host::Workers;
use crate::keys::keyring::RegionKeys;

impl Slot {
    /// Returns the keys of its region.
    pub(crate) fn keys(&self) -> &RegionKeys {
        &self.keys
    }

    /// Returns how its catalog names content.
    pub(crate) fn naming(&self) -> Naming {
        self.keys.naming()
    }

    /// Returns the good records of a blob of any slot, as they were before they were encrypted.
    pub(super) async fn decrypted_records(&self, head: &Head, blob: &Bytes) -> Result<Vec<(Line, Bytes)>> {
        let key = self.keys.of_blob(head.key()).await?;
        Ok(head.decrypted(head.records_in(blob), head.cipher(key.as_deref())?.as_ref()))
    }

    /// Decodes every record of a verified blob of any slot, and compares it with the content that it is named by.
    pub(super) async fn check(&self, parcel: &Parcel, blob: &Bytes, workers: &Workers) -> Result<()> {
        let head = parcel.head(self.catalog(), blob)?;
        let key = self.keys.of_blob(head.key()).await?;
        let (parcel, blob, naming) = (parcel.clone(), blob.clone(), self.naming());
        workers.run(move || parcel.check(&head, &blob, key.as_deref(), naming)).await
    }

    /// Returns a verified parcel as this slot stores it: encrypted with the key of its region, if the catalog is encrypted. A pack keeps its
    /// name.
    pub(super) async fn encrypted_for_here(&self, parcel: &Parcel, bytes: Bytes) -> Result<(Parcel, Bytes)> {
        let (Some(key), Some(workers)) = (self.keys.current().await?, self.keys.workers()) else {
            return Ok((parcel.clone(), bytes));
        };
        let head = parcel.head(self.catalog(), &bytes)?;
        if head.key() == Some(key.number()) {
            return Ok((parcel.clone(), bytes));
        }
        let before = match head.key() {
            // It was built in memory.
            None => None,
            number => self.keys.of_blob(number).await?,
        };
        let (parcel, catalog) = (parcel.clone(), self.catalog());
        let encrypt = move || {
            let records = head.decrypted(head.records_in(&bytes), head.cipher(before.as_deref())?.as_ref());
            if records.len() != head.lines().len() {
                return Err(Error::corrupt(format!("pack {}", parcel.pack()), "a record of it can't be decrypted"));
            }
            parcel.encrypted(catalog, &head, records, &key)
        };
        workers.run(encrypt).await
    }

    /// Returns whether a pack or part of this slot is under another key than the region's current one. Reads its head.
    ///
    /// # Errors
    ///
    /// Also if it is not there any more, or shorter than its head.
    pub(crate) async fn is_under_old_key(&self, parcel: &Parcel) -> Result<bool> {
        let Some(key) = self.keys.current().await? else { return Ok(false) };
        let number = match parcel {
            Parcel::Pack(info) => self.read_head(info).await??.0.key(),
            Parcel::Part(part) => match self.head_of_part(part).await? {
                Some((head, _)) => head.key(),
                None => {
                    let what = "its head can't be read: it was removed, or is cut short";
                    return Err(Error::corrupt(format!("{}, part of pack {}", self.label(), part.id.pack), what));
                }
            },
        };
        Ok(number != Some(key.number()))
    }

    /// Returns a pack or part of this slot as a part under the region's key; `None` if it is under that already.
    pub(crate) async fn under_new_key(&self, parcel: &Parcel, workers: &Workers) -> Result<Option<(Part, Bytes)>> {
        let Some(key) = self.keys.current().await? else { return Ok(None) };
        let bytes = self.verified(parcel, workers).await?;
        let head = parcel.head(self.catalog(), &bytes)?;
        if head.key() == Some(key.number()) {
            return Ok(None);
        }
        let before = self.keys.of_blob(head.key()).await?;
        let (parcel, catalog, naming) = (parcel.clone(), self.catalog(), self.naming());
        let encrypt = move || {
            parcel.check(&head, &bytes, before.as_deref(), naming)?;
            let records = head.decrypted(head.records_in(&bytes), head.cipher(before.as_deref())?.as_ref());
            let (part, bytes) = parcel.as_part(catalog, &head, records, &key)?;
            // What is written is read as it will be.
            let written = Parcel::Part(part.clone());
            written.check(&written.verified(catalog, &bytes)?, &bytes, Some(&key), naming)?;
            Ok(Some((part, bytes)))
        };
        workers.run(encrypt).await
    }
}
