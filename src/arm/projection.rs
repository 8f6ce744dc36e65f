//! Which field each api-version has: a resource is answered in the fields of the version that was asked for, and a request may
//! use no younger one.
//!
//! The tables follow from the swagger files of 2018-06-01, 2019-03-01 and 2023-07-03 (`definitions` of `Gallery`, `GalleryImage`
//! and `GalleryImageVersion`, walked through `$ref` and `allOf`, an array as its item); the versions between them from the
//! published list of what each added; the later ones from the models of the newest client library. A path without a row is in no
//! version.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::answer::Refusal;
use super::versions::ApiVersion::{self, *};

/// A type of resource with a table of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Gallery,
    Image,
    Version,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Gallery, Self::Image, Self::Version];

    /// As it stands before a path in an error's target.
    pub(super) fn target(self) -> &'static str {
        match self {
            Self::Gallery => "gallery",
            Self::Image => "galleryImage",
            Self::Version => "galleryImageVersion",
        }
    }

    /// The fields that a version added, below `properties` where they have no dot at the start.
    fn table(self) -> &'static [(ApiVersion, &'static str)] {
        match self {
            Self::Gallery => GALLERY,
            Self::Image => IMAGE,
            Self::Version => VERSION,
        }
    }
}

/// Fields of the envelope have a dot before them; all below a field with a star is opaque.
const ENVELOPE: &[(ApiVersion, &str)] =
    &[(V2018_06_01, ".id .name .type .location .tags* .properties"), (V2024_03_03, ".systemData*")];

const GALLERY: &[(ApiVersion, &str)] = &[
    (V2018_06_01, "description identifier identifier.uniqueName provisioningState"),
    (
        V2020_09_30,
        "sharingProfile sharingProfile.permissions sharingProfile.groups sharingProfile.groups.type sharingProfile.groups.ids",
    ),
    (V2021_07_01, "softDeletePolicy softDeletePolicy.isSoftDeleteEnabled"),
    (
        V2021_10_01,
        "sharingProfile.communityGalleryInfo sharingProfile.communityGalleryInfo.publisherUri \
         sharingProfile.communityGalleryInfo.publisherContact sharingProfile.communityGalleryInfo.eula \
         sharingProfile.communityGalleryInfo.publicNamePrefix sharingProfile.communityGalleryInfo.communityGalleryEnabled \
         sharingProfile.communityGalleryInfo.publicNames sharingStatus sharingStatus.aggregatedState sharingStatus.summary \
         sharingStatus.summary.region sharingStatus.summary.state sharingStatus.summary.details",
    ),
    (
        V2024_03_03,
        ".identity .identity.type .identity.principalId .identity.tenantId .identity.userAssignedIdentities*",
    ),
    (V2026_03_03, "softDeletePolicy.retentionPeriodInDays softDeletePolicy.gracePeriodInDays"),
];

const IMAGE: &[(ApiVersion, &str)] = &[
    (
        V2018_06_01,
        "description eula privacyStatementUri releaseNoteUri osType osState endOfLifeDate identifier identifier.publisher \
         identifier.offer identifier.sku recommended recommended.vCPUs recommended.vCPUs.min recommended.vCPUs.max \
         recommended.memory recommended.memory.min recommended.memory.max disallowed disallowed.diskTypes purchasePlan \
         purchasePlan.name purchasePlan.publisher purchasePlan.product provisioningState",
    ),
    (V2019_07_01, "hyperVGeneration"),
    (V2020_09_30, "features features.name features.value"),
    (V2021_10_01, "architecture"),
    (V2024_03_03, "features.startsAtVersion allowUpdateImage"),
];

const VERSION: &[(ApiVersion, &str)] = &[
    (
        V2018_06_01,
        "publishingProfile publishingProfile.targetRegions publishingProfile.targetRegions.name \
         publishingProfile.targetRegions.regionalReplicaCount publishingProfile.replicaCount \
         publishingProfile.excludeFromLatest publishingProfile.publishedDate publishingProfile.endOfLifeDate \
         provisioningState storageProfile storageProfile.osDiskImage storageProfile.osDiskImage.sizeInGB \
         storageProfile.osDiskImage.hostCaching storageProfile.dataDiskImages storageProfile.dataDiskImages.sizeInGB \
         storageProfile.dataDiskImages.hostCaching storageProfile.dataDiskImages.lun replicationStatus \
         replicationStatus.aggregatedState replicationStatus.summary replicationStatus.summary.region \
         replicationStatus.summary.state replicationStatus.summary.details replicationStatus.summary.progress",
    ),
    (V2019_03_01, "publishingProfile.targetRegions.storageAccountType publishingProfile.storageAccountType"),
    (
        V2019_07_01,
        "storageProfile.source storageProfile.source.id storageProfile.osDiskImage.source \
         storageProfile.osDiskImage.source.id storageProfile.dataDiskImages.source storageProfile.dataDiskImages.source.id",
    ),
    (
        V2019_12_01,
        "publishingProfile.targetRegions.encryption publishingProfile.targetRegions.encryption.osDiskImage \
         publishingProfile.targetRegions.encryption.osDiskImage.diskEncryptionSetId \
         publishingProfile.targetRegions.encryption.dataDiskImages \
         publishingProfile.targetRegions.encryption.dataDiskImages.diskEncryptionSetId \
         publishingProfile.targetRegions.encryption.dataDiskImages.lun",
    ),
    (V2020_09_30, "storageProfile.osDiskImage.source.uri storageProfile.dataDiskImages.source.uri"),
    (V2021_07_01, "publishingProfile.replicationMode"),
    (
        V2021_10_01,
        "publishingProfile.targetRegions.encryption.osDiskImage.securityProfile \
         publishingProfile.targetRegions.encryption.osDiskImage.securityProfile.confidentialVMEncryptionType \
         publishingProfile.targetRegions.encryption.osDiskImage.securityProfile.secureVMDiskEncryptionSetId \
         publishingProfile.targetExtendedLocations*",
    ),
    (
        V2022_03_03,
        "publishingProfile.targetRegions.excludeFromLatest storageProfile.osDiskImage.source.storageAccountId \
         storageProfile.dataDiskImages.source.storageAccountId storageProfile.source.communityGalleryImageId \
         safetyProfile safetyProfile.allowDeletionOfReplicatedLocations safetyProfile.reportedForPolicyViolation \
         safetyProfile.policyViolations safetyProfile.policyViolations.category safetyProfile.policyViolations.details",
    ),
    (
        V2022_08_03,
        "securityProfile securityProfile.uefiSettings securityProfile.uefiSettings.signatureTemplateNames \
         securityProfile.uefiSettings.additionalSignatures*",
    ),
    (V2023_07_03, "storageProfile.source.virtualMachineId"),
    (
        V2024_03_03,
        "safetyProfile.blockDeletionBeforeEndOfLife publishingProfile.targetRegions.additionalReplicaSets \
         publishingProfile.targetRegions.additionalReplicaSets.storageAccountType \
         publishingProfile.targetRegions.additionalReplicaSets.regionalReplicaCount restore validationsProfile*",
    ),
    (V2025_03_03, "publishingProfile.storageAccountStrategy"),
    (
        V2026_03_03,
        "publishingProfile.targetRegions.encryption.dataDiskImages.securityProfile* \
         securityProfile.secretsProvisioningSettings* imageMetadataProfiles*",
    ),
];

/// Fields that a version took away: the first one without them.
const ENDED: &[(ApiVersion, &str)] = &[(
    V2019_07_01,
    "publishingProfile.source publishingProfile.source.managedImage publishingProfile.source.managedImage.id",
)];

/// When a field is there.
#[derive(Clone, Copy, Debug)]
struct Row {
    since: ApiVersion,
    until: Option<ApiVersion>,
    is_opaque: bool,
}

impl Row {
    fn is_in(self, version: ApiVersion) -> bool {
        self.since <= version && self.until.is_none_or(|until| version < until)
    }
}

/// The fields below one, by name.
type Fields = BTreeMap<&'static str, Field>;

/// A field, with those below it.
#[derive(Debug)]
struct Field {
    row: Row,
    below: Fields,
}

/// Returns the fields of a resource.
fn tree(kind: Kind) -> &'static Fields {
    static TREES: OnceLock<[Fields; 3]> = OnceLock::new();
    let [gallery, image, version] = TREES.get_or_init(|| Kind::ALL.map(tree_of));
    match kind {
        Kind::Gallery => gallery,
        Kind::Image => image,
        Kind::Version => version,
    }
}

fn tree_of(kind: Kind) -> Fields {
    let mut tree = Fields::new();
    for (path, row) in rows(kind) {
        let mut at = &mut tree;
        // A field is there only with the one above it, whose row comes before.
        for name in path {
            at = &mut at.entry(name).or_insert_with(|| Field { row, below: Fields::new() }).below;
        }
    }
    tree
}

/// Returns the rows of a table, as paths from the resource's top; a path comes after the one above it.
fn rows(kind: Kind) -> Vec<(Vec<&'static str>, Row)> {
    let mut rows = Vec::new();
    let mut add = |since, until, paths: &'static str| {
        for path in paths.split_whitespace() {
            let plain = path.trim_end_matches('*');
            let row = Row { since, until, is_opaque: plain != path };
            let path: Vec<&str> = match plain.strip_prefix('.') {
                Some(plain) => plain.split('.').collect(),
                None => std::iter::once("properties").chain(plain.split('.')).collect(),
            };
            rows.push((path, row));
        }
    };
    ENVELOPE.iter().chain(kind.table()).for_each(|(since, paths)| add(*since, None, paths));
    if kind == Kind::Version {
        ENDED.iter().for_each(|(until, paths)| add(V2018_06_01, Some(*until), paths));
    }
    rows.sort_by_key(|(path, _)| path.len());
    rows
}

/// Returns every path with its first version, and the first version without it.
#[cfg(test)]
pub(super) fn fields(kind: Kind) -> Vec<(String, ApiVersion, Option<ApiVersion>)> {
    let mut fields: Vec<_> = rows(kind).into_iter().map(|(path, row)| (path.join("."), row.since, row.until)).collect();
    fields.sort();
    fields
}

/// Takes away what the version has not.
pub(super) fn project(kind: Kind, version: ApiVersion, resource: &mut Value) {
    if kind == Kind::Version {
        legacy(version, resource);
    }
    if let Value::Object(fields) = resource {
        keep(tree(kind), version, fields);
    }
}

fn keep(known: &Fields, version: ApiVersion, fields: &mut Map<String, Value>) {
    fields.retain(|name, value| {
        let Some(field) = known.get(name.as_str()).filter(|field| field.row.is_in(version)) else { return false };
        match value {
            _ if field.row.is_opaque => {}
            Value::Object(below) => keep(&field.below, version, below),
            Value::Array(items) => {
                items.iter_mut().filter_map(Value::as_object_mut).for_each(|item| keep(&field.below, version, item));
            }
            _ => {}
        }
        true
    });
}

/// Before 2019-07-01 a version's source stood in its publishing profile.
fn legacy(version: ApiVersion, resource: &mut Value) {
    if version >= V2019_07_01 {
        return;
    }
    let source = resource.pointer("/properties/storageProfile/source/id").cloned();
    let profile = resource.pointer_mut("/properties/publishingProfile").and_then(Value::as_object_mut);
    if let (Some(id), Some(profile)) = (source, profile) {
        profile.insert("source".into(), serde_json::json!({"managedImage": {"id": id}}));
    }
}

/// Refuses a field of the request that other versions have and this has not, if it says anything.
pub(super) fn check(kind: Kind, version: ApiVersion, body: &Value) -> Result<(), Refusal> {
    let Some(younger) = body.as_object().and_then(|body| missing(tree(kind), version, body)) else {
        return Ok(());
    };
    let target = format!("{}.{younger}", kind.target());
    let what = format!("Parameter '{target}' is not allowed.");
    Err(Refusal::bad_request("InvalidParameter", what).at(target))
}

/// Returns the path of a field that says something and is not in the version.
fn missing(known: &Fields, version: ApiVersion, fields: &Map<String, Value>) -> Option<String> {
    fields.iter().find_map(|(name, value)| {
        let field = known.get(name.as_str())?;
        let below = match value {
            _ if !field.row.is_in(version) => return says(value).then(|| name.clone()),
            Value::Object(below) => missing(&field.below, version, below),
            Value::Array(items) => {
                items.iter().filter_map(Value::as_object).find_map(|item| missing(&field.below, version, item))
            }
            _ => None,
        };
        below.map(|below| format!("{name}.{below}"))
    })
}

/// Whether a value says anything: clients echo empty objects, and nulls.
fn says(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Object(below) => below.values().any(says),
        Value::Array(items) => items.iter().any(says),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_version_has_its_own_fields_alone() {
        let version = || {
            json!({"id": "x", "systemData": {"a": 1}, "properties": {
                "storageProfile": {"source": {"id": "i"}, "osDiskImage": {"sizeInGB": 1, "sizeInBytes": 7}},
                "publishingProfile": {"targetRegions": [{"name": "a", "excludeFromLatest": true, "storageAccountType": "s"}]},
                "securityProfile": {"uefiSettings": {}},
            }})
        };
        let mut old = version();
        project(Kind::Version, V2018_06_01, &mut old);
        let source = json!({"managedImage": {"id": "i"}});
        assert_eq!(
            old,
            json!({"id": "x", "properties": {
                "storageProfile": {"osDiskImage": {"sizeInGB": 1}},
                "publishingProfile": {"targetRegions": [{"name": "a"}], "source": source},
            }})
        );
        let mut new = version();
        project(Kind::Version, ApiVersion::LATEST, &mut new);
        assert_eq!(new.pointer("/properties/storageProfile/source/id"), Some(&json!("i")));
        assert_eq!(new.pointer("/properties/storageProfile/osDiskImage/sizeInBytes"), None);
        assert_eq!(new.pointer("/systemData/a"), Some(&json!(1)));
    }

    #[test]
    fn a_younger_field_is_refused_with_its_path_unless_it_says_nothing() {
        let body = json!({"properties": {"softDeletePolicy": {"isSoftDeleteEnabled": true}}});
        let refusal = check(Kind::Gallery, V2020_09_30, &body).unwrap_err();
        let error = refusal.error();
        assert_eq!(error["message"], "Parameter 'gallery.properties.softDeletePolicy' is not allowed.");
        assert!(check(Kind::Gallery, V2021_07_01, &body).is_ok());
        let echo = json!({"properties": {"softDeletePolicy": {}, "unknown": 1}});
        assert!(check(Kind::Gallery, V2018_06_01, &echo).is_ok());
    }

    #[test]
    fn a_field_is_there_only_with_the_one_above_it() {
        for kind in Kind::ALL {
            let fields = fields(kind);
            for (path, since, _) in &fields {
                if let Some((above, _)) = path.rsplit_once('.') {
                    let is_there = fields.iter().any(|(known, of, _)| known == above && of <= since);
                    assert!(is_there, "{path} without {above}");
                }
            }
        }
    }

    /// `tests/azure/fields.tsv` is derived from Azure's descriptions of all versions (`tests/azure/derive.py`).
    #[test]
    fn the_table_is_azures() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/azure/fields.tsv");
        let described = std::fs::read_to_string(file).unwrap();
        let mut differences = Vec::new();
        for kind in Kind::ALL {
            let of = ["Gallery", "GalleryImage", "GalleryImageVersion"][kind as usize];
            let mut ours: std::collections::BTreeMap<_, _> =
                fields(kind).into_iter().map(|(path, since, until)| (path, (since, until))).collect();
            let opaque: Vec<String> =
                rows(kind).into_iter().filter(|(_, row)| row.is_opaque).map(|(path, _)| path.join(".")).collect();
            for row in described.lines() {
                let [name, path, _, since, until, ..] = row.split('\t').collect::<Vec<_>>()[..] else {
                    panic!("{row}")
                };
                let opaque = |path: &str| opaque.iter().any(|known| known == path);
                let is_below = path.match_indices('.').any(|(dot, _)| path.get(..dot).is_some_and(opaque));
                // No version of the service took it, and this does not.
                if name != of || is_below || path == "properties.storageProfile.source.uri" {
                    continue;
                }
                let theirs = (ApiVersion::of(since).unwrap(), ApiVersion::of(until));
                match ours.remove(path) {
                    Some(of) if of == theirs => {}
                    other => differences.push(format!("{name} {path}: {theirs:?} expected, and not {other:?}")),
                }
            }
            differences.extend(ours.into_keys().map(|path| format!("{of} {path} is in no version")));
        }
        assert!(differences.is_empty(), "{differences:#?}");
    }

    /// The table of `docs/azure-fields.md`.
    fn page() -> String {
        let mut page = "# Fields of each api-version\n\nA field is in answers and requests of the api-version that it begins with and of all later ones, but for \
                        those that say when they ended. Generated from the table in `src/arm/projection.rs`.\n"
            .to_owned();
        for kind in Kind::ALL {
            page.push_str(&format!("\n## {}\n\n| field | from | to before |\n|---|---|---|\n", kind.target()));
            for (path, since, until) in fields(kind) {
                let until = until.map(|until| until.to_string()).unwrap_or_default();
                page.push_str(&format!("| `{path}` | {since} | {until} |\n"));
            }
        }
        page
    }

    #[test]
    fn the_page_of_fields_is_the_tables() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/azure-fields.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == page(), "docs/azure-fields.md is old: run the ignored test `write_the_page_of_fields`");
    }

    #[test]
    #[ignore = "writes docs/azure-fields.md"]
    fn write_the_page_of_fields() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/azure-fields.md"), page()).unwrap();
    }
}
