//! The rows of a segment as bytes.
//!
//! A row is a byte for its kind, then its fields. Versions and announced imports, which a catalog has by the million, have a
//! form of their own; every other record is a line of JSON. What versions have in common is written once in a segment, as
//! JSON, and read once: they refer to it, and share it in memory.
//!
//! `docs/format.md` has the layout. Rows have one form: bytes that are left over, and a kind or flag that this build does not
//! know, are refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::event::{ImageContent, UploadName};
use super::frame::{self, Unknown};
use super::record::{InRegion, Number, VersionRecord};
use super::rows::Row;
use crate::content::digest::Digest;
use crate::content::names::UploadId;
use crate::error::{Error, Result};
use crate::model::{ImageDefinitionId, ImageVersion, Region, VersionNumber};

/// The kinds of rows.
const JSON: u8 = 0;
const VERSION: u8 = 1;
const ANNOUNCED: u8 = 2;

/// The flags of a version: which of its optional fields follow.
const PUBLISHED_DATE: u8 = 1;
const CARRIED: u8 = 1 << 1;
const SOFT_DELETED: u8 = 1 << 2;
const DELETED: u8 = 1 << 3;

/// The flags of a version in a region.
const READY: u8 = 1;
const FAILED: u8 = 1 << 1;

/// What versions have in common: one of them, whose id and date of publication do not count.
#[derive(Serialize, Deserialize)]
struct Alike(#[serde(serialize_with = "ImageVersion::compact")] ImageVersion);

fn unwritable(error: serde_json::Error) -> Error {
    Error::corrupt("catalog checkpoint", "a record cannot be written").with_source(error)
}

/// Writes the rows of one segment.
#[derive(Default)]
pub(super) struct RowWriter {
    bytes: Vec<u8>,
    /// The values that were written.
    definitions: Written,
    alike: Written,
    regions: Written,
    /// What versions have in common is written with the id of the first of them.
    first: Option<ImageDefinitionId>,
}

/// The numbers of values by their text, from 1.
type Written = BTreeMap<Vec<u8>, u64>;

impl RowWriter {
    /// Returns the length of what was written.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns the rows, and begins anew.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(self).bytes
    }

    /// Appends a row.
    pub(super) fn push(&mut self, row: &Row) -> Result<()> {
        match row {
            Row::Version { of, record } => self.version(*of, record),
            Row::Announced(UploadName(upload), number) => {
                self.bytes.push(ANNOUNCED);
                self.bytes.extend_from_slice(upload.as_bytes());
                self.number(*number);
                Ok(())
            }
            row => {
                self.bytes.push(JSON);
                self.json(row)
            }
        }
    }

    fn version(&mut self, of: Number, record: &VersionRecord) -> Result<()> {
        let VersionRecord { version, content, published, changed, regions, carried, soft_deleted, deleted } = record;
        let date = version.publishing_profile().published_date();
        let flags = [
            (PUBLISHED_DATE, date.is_some()),
            (CARRIED, carried.is_some()),
            (SOFT_DELETED, soft_deleted.is_some()),
            (DELETED, deleted.is_some()),
        ];
        self.bytes.push(VERSION);
        self.bytes.push(flags.iter().filter(|(_, is_set)| *is_set).map(|(flag, _)| flag).sum());
        refer(&mut self.bytes, &mut self.definitions, &(of, version.id().definition()))?;
        self.alike(version)?;
        self.text(version.id().number().to_string().as_bytes());
        self.time(date);
        let ImageContent { upload: UploadName(upload), manifest, os_disk_digest, stored_bytes } = content;
        self.bytes.extend_from_slice(upload.as_bytes());
        self.bytes.extend_from_slice(manifest.as_bytes());
        self.bytes.extend_from_slice(os_disk_digest.as_bytes());
        [*stored_bytes, *published, *changed, regions.len() as u64].into_iter().for_each(|number| self.number(number));
        for InRegion { region, ready, crossed, failed } in regions {
            let flags = u8::from(ready.is_some()) * READY + u8::from(failed.is_some()) * FAILED;
            self.bytes.push(flags);
            refer(&mut self.bytes, &mut self.regions, region)?;
            ready.iter().for_each(|ready| self.number((*ready).into()));
            self.number(*crossed);
            failed.iter().for_each(|failed| self.text(failed.as_bytes()));
        }
        if let Some(carried) = carried {
            self.json(carried)?;
        }
        self.time(*soft_deleted);
        self.time(*deleted);
        Ok(())
    }

    /// Refers to what a version has in common with others.
    fn alike(&mut self, version: &ImageVersion) -> Result<()> {
        let id = self.first.get_or_insert_with(|| version.id().definition().clone());
        let alike = version.published_as_another(id.version(VersionNumber::LEAST), None);
        refer(&mut self.bytes, &mut self.alike, &Alike(alike))
    }

    fn json(&mut self, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_vec(value).map_err(unwritable)?;
        self.text(&text);
        Ok(())
    }

    fn text(&mut self, text: &[u8]) {
        write_text(&mut self.bytes, text);
    }

    fn number(&mut self, number: u64) {
        write_number(&mut self.bytes, number);
    }

    fn time(&mut self, time: Option<DateTime<Utc>>) {
        if let Some(time) = time {
            self.bytes.extend_from_slice(&time.timestamp().to_le_bytes());
            self.bytes.extend_from_slice(&time.timestamp_subsec_nanos().to_le_bytes());
        }
    }
}

/// Seven bits a byte, the lowest first; all but the last byte have the highest bit.
fn write_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn write_text(bytes: &mut Vec<u8>, text: &[u8]) {
    write_number(bytes, text.len() as u64);
    bytes.extend_from_slice(text);
}

/// Writes the number of a value, or 0 and the value, which has the next number from there on.
fn refer(bytes: &mut Vec<u8>, written: &mut Written, value: &impl Serialize) -> Result<()> {
    let (text, next) = (serde_json::to_vec(value).map_err(unwritable)?, written.len() as u64 + 1);
    match written.get(&text) {
        Some(place) => write_number(bytes, *place),
        None => {
            write_number(bytes, 0);
            write_text(bytes, &text);
            written.insert(text, next);
        }
    }
    Ok(())
}

type Read<T> = std::result::Result<T, Unknown>;

const CUT_OFF: Unknown = Unknown::Foreign("a row that is cut off");

/// Reads the rows of a segment, one after the other.
pub(super) struct RowReader<'a> {
    rest: &'a [u8],
    definitions: Vec<(Number, ImageDefinitionId)>,
    alike: Vec<Alike>,
    regions: Vec<Region>,
}

impl<'a> RowReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, definitions: Vec::new(), alike: Vec::new(), regions: Vec::new() }
    }

    fn row(&mut self) -> Read<Row> {
        match self.byte()? {
            JSON => self.json(),
            VERSION => self.version(),
            ANNOUNCED => Ok(Row::Announced(self.upload()?, self.number()?)),
            _ => Err(Unknown::Foreign("a kind of row")),
        }
    }

    fn version(&mut self) -> Read<Row> {
        let flags = self.byte()?;
        if flags & !(PUBLISHED_DATE | CARRIED | SOFT_DELETED | DELETED) != 0 {
            return Err(Unknown::Foreign("a flag of a version"));
        }
        let at = refers(&mut self.rest, &mut self.definitions)?;
        let alike = refers(&mut self.rest, &mut self.alike)?;
        let number = str::from_utf8(self.text()?).ok().and_then(|number| number.parse::<VersionNumber>().ok());
        let number = number.ok_or(Unknown::Foreign("the number of a version"))?;
        let date = self.time(flags & PUBLISHED_DATE)?;
        let content = ImageContent {
            upload: self.upload()?,
            manifest: Digest::from_bytes(self.array()?),
            os_disk_digest: Digest::from_bytes(self.array()?),
            stored_bytes: self.number()?,
        };
        let (published, changed) = (self.number()?, self.number()?);
        let regions = (0..self.number()?).map(|_| self.in_region()).collect::<Read<Box<[InRegion]>>>()?;
        let carried = if flags & CARRIED == 0 { None } else { Some(Box::new(self.json()?)) };
        let (soft_deleted, deleted) = (self.time(flags & SOFT_DELETED)?, self.time(flags & DELETED)?);
        let ((of, definition), Alike(alike)) =
            self.definitions.get(at).zip(self.alike.get(alike)).ok_or(Unknown::Foreign("a reference"))?;
        let version = Arc::new(alike.published_as_another(definition.version(number), date));
        let record = VersionRecord { version, content, published, changed, regions, carried, soft_deleted, deleted };
        Ok(Row::Version { of: *of, record: Arc::new(record) })
    }

    fn in_region(&mut self) -> Read<InRegion> {
        let flags = self.byte()?;
        if flags & !(READY | FAILED) != 0 {
            return Err(Unknown::Foreign("a flag of a region"));
        }
        let at = refers(&mut self.rest, &mut self.regions)?;
        let region = self.regions.get(at).cloned().ok_or(Unknown::Foreign("a reference"))?;
        let ready = if flags & READY == 0 { None } else { Some(self.number()?) };
        let ready = ready.map(|ready| u32::try_from(ready).map_err(|_large| Unknown::Foreign("a count of replicas")));
        let (ready, crossed) = (ready.transpose()?, self.number()?);
        let failed = if flags & FAILED == 0 { None } else { Some(str::from_utf8(self.text()?)) };
        let failed = failed.transpose().map_err(|_not_text| Unknown::Foreign("a reason that is no text"))?;
        Ok(InRegion { region, ready, crossed, failed: failed.map(Into::into) })
    }

    fn json<T: Serialize + DeserializeOwned>(&mut self) -> Read<T> {
        frame::known(self.text()?)
    }

    fn byte(&mut self) -> Read<u8> {
        self.array().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(CUT_OFF)?;
        self.rest = rest;
        Ok(*array)
    }

    fn upload(&mut self) -> Read<UploadName> {
        Ok(UploadName(UploadId::from_bytes(self.array()?)))
    }

    fn number(&mut self) -> Read<u64> {
        read_number(&mut self.rest)
    }

    fn text(&mut self) -> Read<&'a [u8]> {
        read_text(&mut self.rest)
    }

    fn time(&mut self, flag: u8) -> Read<Option<DateTime<Utc>>> {
        if flag == 0 {
            return Ok(None);
        }
        let (seconds, nanos) = (i64::from_le_bytes(self.array()?), u32::from_le_bytes(self.array()?));
        DateTime::from_timestamp(seconds, nanos).map(Some).ok_or(Unknown::Foreign("a time"))
    }
}

impl Iterator for RowReader<'_> {
    type Item = Read<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.rest.is_empty()).then(|| self.row())
    }
}

fn read_number(rest: &mut &[u8]) -> Read<u64> {
    let mut number = 0;
    for at in 0..10 {
        let (byte, after) = rest.split_first().ok_or(CUT_OFF)?;
        *rest = after;
        let bits = u64::from(byte & 0x7f);
        if at == 9 && bits > 1 {
            break;
        }
        number |= bits << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Unknown::Foreign("a number of more than 64 bits"))
}

fn read_text<'a>(rest: &mut &'a [u8]) -> Read<&'a [u8]> {
    let length = usize::try_from(read_number(rest)?).map_err(|_large| CUT_OFF)?;
    let (text, after) = rest.split_at_checked(length).ok_or(CUT_OFF)?;
    *rest = after;
    Ok(text)
}

/// Returns the position among the values that were read of the one that is referred to, which may come here first.
fn refers<T: Serialize + DeserializeOwned>(rest: &mut &[u8], read: &mut Vec<T>) -> Read<usize> {
    match read_number(rest)? {
        0 => {
            read.push(frame::known(read_text(rest)?)?);
            Ok(read.len() - 1)
        }
        place => usize::try_from(place - 1).map_err(|_large| Unknown::Foreign("a reference")),
    }
}

#[cfg(feature = "testkit")]
pub(super) fn fuzz(data: &[u8]) {
    let Ok(rows) = RowReader::new(data).collect::<Read<Vec<Row>>>() else { return };
    let mut writer = RowWriter::default();
    #[expect(clippy::unwrap_used, reason = "only for tests: what was read can be written")]
    rows.iter().for_each(|row| writer.push(row).unwrap());
    let again = RowReader::new(&writer.take()).collect::<Read<Vec<Row>>>();
    assert!(again.is_ok_and(|again| again == rows), "{rows:?}");
}

#[cfg(test)]
mod tests {
    use super::super::record_key::RecordKey;
    use super::*;
    use crate::model::{DiskImage, PublishingProfile, StorageProfile};

    fn version(definition: &str, number: &str, regions: &str) -> VersionRecord {
        let id = "/subscriptions/s/resourceGroups/r/providers/Microsoft.Compute/galleries/g/images";
        let id = format!("{id}/{definition}/versions/{number}").parse().unwrap();
        let profile = PublishingProfile::new(regions.parse().unwrap())
            .with_published_date(DateTime::from_timestamp(1_800_000_000, 123_456_789).unwrap());
        let disks = StorageProfile::new(DiskImage::new(1 << 30), vec![]).unwrap();
        let home = regions.split([',', '=']).next().unwrap().parse().unwrap();
        let version = ImageVersion::new(id, home, profile, disks).unwrap();
        let digest = Digest::of(number.as_bytes());
        let upload = UploadName(UploadId::from_bytes([7; 16]));
        let content = ImageContent { upload, manifest: digest, os_disk_digest: digest, stored_bytes: u64::MAX };
        VersionRecord::new(version, content, None, 300)
    }

    fn written(rows: &[Row]) -> Vec<u8> {
        let mut writer = RowWriter::default();
        rows.iter().for_each(|row| writer.push(row).unwrap());
        writer.take()
    }

    fn read(bytes: &[u8]) -> Read<Vec<Row>> {
        RowReader::new(bytes).collect()
    }

    fn row(of: Number, record: VersionRecord) -> Row {
        Row::Version { of, record: Arc::new(record) }
    }

    /// Versions of two definitions, with all that a version can have, and rows of the other kinds.
    fn rows() -> Vec<Row> {
        let mut one = version("web", "1.0.0", "West Europe=2,eastus");
        one.complete_in(&"eastus".parse().unwrap(), 3, 1 << 40);
        one.fail_in(&"West Europe".parse().unwrap(), "no reason");
        one.soft_deleted = DateTime::from_timestamp(-1, 999_999_999);
        one.deleted = DateTime::from_timestamp(1_700_000_000, 0);
        let same = version("web", "2022.01.08", "West Europe=2,eastus");
        let spelled = version("Web", "2022.2.8", "westeurope=2,eastus");
        let other = version("db", "0.0.0", "eastus");
        let key = RecordKey::Version(8, "9.9.9".parse().unwrap());
        let upload = UploadName(UploadId::from_bytes([1; 16]));
        vec![row(7, one), row(7, same), row(7, spelled), row(9, other), Row::Announced(upload, 128), Row::Removed(key)]
    }

    #[test]
    fn rows_are_read_as_they_were_written_also_in_the_spelling_of_their_names() {
        let (rows, bytes) = (rows(), written(&rows()));
        let again = read(&bytes).unwrap();
        assert_eq!(again, rows);
        assert_eq!(format!("{again:?}"), format!("{rows:?}"));
        let json = |row: &Row| match row {
            Row::Version { record, .. } => serde_json::to_string(&*record.version).unwrap(),
            _ => String::new(),
        };
        assert_eq!(again.iter().map(json).collect::<Vec<_>>(), rows.iter().map(json).collect::<Vec<_>>());
        assert_eq!(written(&again), bytes);
    }

    #[test]
    fn what_versions_have_in_common_is_written_once() {
        let of = |count: u32| {
            written(&(0..count).map(|at| row(7, version("web", &format!("1.0.{at}"), "eastus"))).collect::<Vec<_>>())
        };
        let (one, many) = (of(1).len(), of(101).len());
        assert!(one > 300 && many < one + 100 * 128, "{one}, {many}");
    }

    #[test]
    fn a_row_that_is_cut_off_or_has_an_unknown_kind_flag_or_reference_is_refused() {
        let bytes = written(&rows());
        let ends: Vec<usize> = (1..=rows().len()).map(|count| written(&rows()[..count]).len()).collect();
        for end in (1..bytes.len()).filter(|end| !ends.contains(end)) {
            assert!(read(&bytes[..end]).is_err(), "cut off at {end}");
        }
        let changed = |at: usize, to: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = to;
            read(&bytes).unwrap_err().refused("it".into(), "use a newer build").to_string()
        };
        assert!(changed(0, 3).contains("a kind of row: use a newer build"));
        assert!(changed(1, 0x80).contains("a flag of a version"));
        assert!(changed(2, 5).contains("does not know"));
        assert!(read_number(&mut &[0xff; 10][..]).is_err());
        let mut greatest = Vec::new();
        write_number(&mut greatest, u64::MAX);
        assert!(matches!(read_number(&mut &greatest[..]), Ok(u64::MAX)));
    }
}
