//! Azure's published examples against the face, and the answers of each api-version against its description: valid, and without a field
//! that it has not. `azure/derive.py` made the two files.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper of a test may fail as the test does")]

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use compute_gallery::GalleryService;
use compute_gallery::arm::{ApiVersion, Arm, ArmBuilder};
use compute_gallery::store::MemoryStore;
use futures::executor::block_on;
use http::Request;
use serde_json::{Value, json};

const NEWEST: &str = "2026-03-03";
const SUBSCRIPTION: &str = "subscription-id";

/// A field of a type, as its description tells.
#[derive(Debug)]
struct Field {
    form: &'static str,
    since: &'static str,
    until: &'static str,
    words: Vec<&'static str>,
    is_required: bool,
}

impl Field {
    fn is_in(&self, version: &str) -> bool {
        self.since <= version && (self.until.is_empty() || version < self.until)
    }
}

type Fields = BTreeMap<&'static str, Field>;

/// Reads the fields of each type.
fn described() -> BTreeMap<&'static str, Fields> {
    let mut types: BTreeMap<&str, Fields> = BTreeMap::new();
    for row in include_str!("azure/fields.tsv").lines() {
        let [of, path, form, since, until, words, flags] = row.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let words = words.split('|').filter(|word| !word.is_empty());
        let words = words.map(|word| word.split('@').next().unwrap()).collect();
        let is_required = flags.contains("required");
        types.entry(of).or_default().insert(path, Field { form, since, until, words, is_required });
    }
    types
}

/// Checks an object against the fields of its type, as a strict validator does.
fn problems(fields: &Fields, version: &str, path: &str, object: &Value, found: &mut Vec<String>) {
    let Some(object) = object.as_object() else { return found.push(format!("`{path}` is no object: {object}")) };
    let at = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    for (name, value) in object {
        let path = at(name);
        let Some(field) = fields.get(path.as_str()).filter(|field| field.is_in(version)) else {
            found.push(format!("`{path}` is not in {version}"));
            continue;
        };
        let item = field.form.strip_prefix("list of ");
        let items = || value.as_array().map(Vec::as_slice).unwrap_or_default();
        let is_of_form = match (field.form, item) {
            ("list", _) => {
                items().iter().for_each(|item| problems(fields, version, &path, item, found));
                value.is_array()
            }
            ("object", _) => {
                problems(fields, version, &path, value, found);
                true
            }
            ("map", _) => {
                value.as_object().is_some_and(|map| map.values().all(|value| value.is_string() || value.is_object()))
            }
            (_, Some(form)) => value.is_array() && items().iter().all(|item| is_of(form, item)),
            (form, None) => is_of(form, value),
        };
        if !is_of_form {
            found.push(format!("`{path}` is no {}: {value}", field.form));
        }
        let words = value.as_str().into_iter().chain(items().iter().filter_map(Value::as_str));
        for word in words.filter(|word| !field.words.is_empty() && !field.words.contains(word)) {
            found.push(format!("`{path}` is `{word}`, and none of {:?}", field.words));
        }
    }
    let is_child = |name: &str| match path {
        "" => !name.contains('.'),
        path => name.strip_prefix(path).and_then(|rest| rest.strip_prefix('.')).is_some_and(|rest| !rest.contains('.')),
    };
    for (name, _) in fields.iter().filter(|(name, field)| field.is_required && field.is_in(version) && is_child(name)) {
        let last = name.rsplit('.').next().unwrap();
        if !object.contains_key(last) {
            found.push(format!("`{name}` is required"));
        }
    }
}

fn is_of(form: &str, value: &Value) -> bool {
    match form {
        "string" => value.is_string(),
        "integer" => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        "boolean" => value.is_boolean(),
        "date" => value.as_str().is_some_and(|text| chrono::DateTime::parse_from_rfc3339(text).is_ok()),
        _ => false,
    }
}

fn face(instant: bool) -> Arm {
    let service = GalleryService::builder()
        .allow_all()
        .one_store_for_all_zones()
        .require_resource_groups()
        .record_disk_encryption_sets()
        .azure_2026();
    let service = block_on(service.store(MemoryStore::new()).create()).unwrap();
    let builder = ArmBuilder::new(service).named_sources(4 << 20);
    if instant { builder.instant().build() } else { builder.build() }
}

fn call(arm: &Arm, method: &str, url: &str, body: Option<&Value>) -> (u16, Value) {
    let request = Request::builder().method(method).uri(url.replace(' ', "%20")).header("Authorization", "Bearer x");
    let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
    let (head, body) = block_on(arm.answer(request.body(body).unwrap())).into_parts();
    (head.status.as_u16(), if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() })
}

fn must(arm: &Arm, method: &str, url: &str, body: Value) -> Value {
    let (status, answer) = call(arm, method, &format!("{url}?api-version={NEWEST}"), Some(&body));
    assert!(status < 300, "{method} {url}: {status} {answer}");
    answer
}

/// The type of what a route has; `true` if it is a list of it.
fn type_of(route: &str) -> (&'static str, bool) {
    let segments: Vec<&str> = route.split('/').skip(1).collect();
    let at = |name: &str| segments.iter().position(|segment| *segment == name);
    let of = |names: [&'static str; 3], from: usize| {
        let rest = segments.len() - from;
        (names[(rest - 1) / 2], rest % 2 == 1)
    };
    if at("share").is_some() {
        ("SharingUpdate", false)
    } else if at("softDeletedArtifactTypes").is_some() {
        ("GallerySoftDeletedResource", true)
    } else if let Some(from) = at("sharedGalleries") {
        of(["SharedGallery", "SharedGalleryImage", "SharedGalleryImageVersion"], from)
    } else if let Some(from) = at("communityGalleries") {
        of(["CommunityGallery", "CommunityGalleryImage", "CommunityGalleryImageVersion"], from)
    } else {
        of(["Gallery", "GalleryImage", "GalleryImageVersion"], at("galleries").unwrap())
    }
}

/// One published example.
struct Example {
    name: String,
    version: String,
    method: String,
    route: String,
    parameters: Value,
    responses: Value,
}

fn examples() -> Vec<Example> {
    let all: Vec<Value> = serde_json::from_str(include_str!("azure/examples.json")).unwrap();
    let text = |of: &Value, name: &str| of[name].as_str().unwrap().to_owned();
    let read = |of: &Value| Example {
        name: format!("{}/{}", text(of, "version"), text(of, "name")),
        version: text(of, "version"),
        method: text(of, "method"),
        route: text(of, "route"),
        parameters: of["parameters"].clone(),
        responses: of["responses"].clone(),
    };
    all.iter().map(read).collect()
}

impl Example {
    fn parameter(&self, name: &str) -> Option<String> {
        self.parameters[name]
            .as_str()
            .map(|text| text.replace(['{', '}'], "").replace("myGalleryImageVersionName", "1.0.0"))
    }

    /// The body of the request, whose placeholders became names.
    fn body(&self) -> Option<Value> {
        if self.method == "GET" || self.method == "DELETE" {
            return None;
        }
        fn named(value: &mut Value) {
            match value {
                Value::String(text) => {
                    *text = text
                        .replace(['{', '}'], "")
                        .replace("subscriptionId", SUBSCRIPTION)
                        .replace("versionName", "1.0.0")
                }
                Value::Array(items) => items.iter_mut().for_each(named),
                Value::Object(fields) => fields.values_mut().for_each(named),
                _ => {}
            }
        }
        let mut body = self.parameters.as_object().unwrap().values().find(|value| value.is_object()).unwrap().clone();
        named(&mut body);
        Some(body)
    }

    /// Puts what is there before the request, and returns the request's URL.
    fn prepare(&self, arm: &Arm) -> String {
        let (of, is_list) = type_of(&self.route);
        let is_new = self.method == "PUT" && !is_list;
        let group = format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/myResourceGroup");
        let gallery = format!("{group}/providers/Microsoft.Compute/galleries/myGalleryName");
        let share = format!("{gallery}/share");
        let image = format!("{gallery}/images/myGalleryImageName");
        let version =
            format!("{image}/versions/{}", self.parameter("galleryImageVersionName").unwrap_or("1.0.0".into()));
        let source = |name: &str| format!("{group}/providers/Microsoft.Compute/{name}");
        must(arm, "PUT", &group, json!({"location": "West US"}));
        must(
            arm,
            "PUT",
            &source("images/imageName"),
            json!({"location": "West US", "properties": {"storageProfile": {
                "osDisk": {"osType": "Windows", "osState": "Generalized", "diskSizeGB": 10},
                "dataDisks": [{"lun": 1, "diskSizeGB": 10}],
            }}}),
        );
        let community = json!({
            "publisherUri": "uri", "publisherContact": "pir@microsoft.com", "eula": "eula", "publicNamePrefix": "PirPublic",
        });
        let profile = match of {
            _ if of.starts_with("Community") || self.name.contains("CommunityGallery") => {
                json!({"permissions": "Community", "communityGalleryInfo": community})
            }
            _ if of.starts_with("Shared") || self.name.contains("Shar") || self.name.contains("SelectPermissions") => {
                json!({"permissions": "Groups"})
            }
            _ => json!({"permissions": "Private"}),
        };
        if !is_new || of != "Gallery" {
            let soft = self.name.contains("SoftDelet");
            let gallery_body = json!({"location": "West US", "properties": {
                "description": "This is the gallery description.", "sharingProfile": &profile,
                "softDeletePolicy": {"isSoftDeleteEnabled": soft},
            }});
            must(arm, "PUT", &gallery, gallery_body);
            let is_read = self.method == "GET";
            let groups = json!([{"type": "Subscriptions", "ids": [SUBSCRIPTION]}]);
            match profile["permissions"].as_str().unwrap() {
                "Groups" if is_read => {
                    drop(must(arm, "POST", &share, json!({"operationType": "Add", "groups": groups})))
                }
                "Community" if is_read => drop(must(arm, "POST", &share, json!({"operationType": "EnableCommunity"}))),
                _ => {}
            }
        }
        let needs_image = of != "Gallery" && of != "SharingUpdate" && !(is_new && of == "GalleryImage");
        if needs_image || is_list {
            must(
                arm,
                "PUT",
                &image,
                json!({"location": "West US", "properties": {
                    "osType": "Windows", "osState": "Generalized", "hyperVGeneration": if self.name.contains("UpdateFeatures") { "V2" } else { "V1" },
                    "identifier": {"publisher": "myPublisherName", "offer": "myOfferName", "sku": "mySkuName"},
                }}),
            );
        }
        let is_deletion = self.method == "DELETE" && of != "GalleryImageVersion";
        if needs_image && !(is_new && of == "GalleryImageVersion") && !is_deletion && of != "GalleryImage" {
            let snapshot =
                |name: &str| json!({"source": {"id": source(&format!("snapshots/{name}"))}, "hostCaching": "None"});
            let vhd = |name: &str| json!({"uri": format!("https://a.blob.core.windows.net/v/{name}.vhd"), "storageAccountId": source("x").replace("Microsoft.Compute/x", "Microsoft.Storage/storageAccounts/a")});
            let storage = match &self.name {
                name if name.contains("Snapshots") => {
                    let mut data = snapshot("data");
                    data["lun"] = json!(1);
                    json!({"osDiskImage": snapshot("os"), "dataDiskImages": [data]})
                }
                name if name.contains("Vhd") => json!({
                    "osDiskImage": {"source": vhd("os"), "hostCaching": "ReadOnly"},
                    "dataDiskImages": [{"lun": 1, "source": vhd("data"), "hostCaching": "None"}],
                }),
                name if name.ends_with("GalleryImageVersion_Update.json") => {
                    json!({"source": self.body().unwrap()["properties"]["storageProfile"]["source"]})
                }
                _ => json!({"source": {"id": source("images/imageName")}}),
            };
            let regions = json!([
                {"name": "West US", "regionalReplicaCount": 1},
                {"name": "East US", "regionalReplicaCount": 2, "storageAccountType": "Standard_ZRS"},
            ]);
            must(
                arm,
                "PUT",
                &version,
                json!({"location": "West US", "properties": {
                    "storageProfile": storage, "publishingProfile": {"targetRegions": regions},
                    "safetyProfile": {"allowDeletionOfReplicatedLocations": true},
                }}),
            );
        }
        if self.name.contains("SoftDeletedResource") || self.name.contains("Restore") {
            call(arm, "DELETE", &format!("{version}?api-version=2024-03-03"), None);
        }
        let mut url = self.route.clone();
        for name in self.parameters.as_object().unwrap().keys() {
            let value = self.parameter(name).unwrap_or_default();
            let value = match (name.as_str(), of) {
                ("subscriptionId", _) => SUBSCRIPTION.to_owned(),
                ("location", _) => "westus".to_owned(),
                ("galleryUniqueName", _) => {
                    let (_, there) = call(arm, "GET", &format!("{gallery}?api-version={NEWEST}"), None);
                    there["properties"]["identifier"]["uniqueName"].as_str().unwrap().to_owned()
                }
                ("publicGalleryName", _) => {
                    let (_, there) = call(arm, "GET", &format!("{gallery}?api-version={NEWEST}"), None);
                    there["properties"]["sharingProfile"]["communityGalleryInfo"]["publicNames"][0]
                        .as_str()
                        .unwrap()
                        .to_owned()
                }
                _ => value,
            };
            url = url.replace(&format!("{{{name}}}"), &value);
        }
        let mut query = format!("{url}?api-version={}", self.version);
        for name in ["$expand", "$select", "sharedTo", "bypassSoftDelete"] {
            if let Some(value) = self.parameters.get(name) {
                query.push_str(&format!("&{name}={}", value.to_string().trim_matches('"')));
            }
        }
        query
    }
}

/// The paths that an object has a value at.
fn paths(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, below)| paths(below, &format!("{at}.{name}"), found)),
        Value::Array(items) if !items.is_empty() => items.iter().for_each(|item| paths(item, at, found)),
        _ => drop(found.insert(at.trim_start_matches('.').to_owned())),
    }
}

/// What an example's answer has and ours has not: what nobody put there, and what this gallery does not do.
const NOT_OURS: &[&str] = &[
    "nextLink",
    "policyViolations",
    "artifactTags.",
    "validationsProfile",
    "imageMetadataProfiles",
    "encryption",
    "dataDiskImages",
    "targetRegions.excludeFromLatest",
    "endOfLifeDate",
    "properties.eula",
    "privacyStatementUri",
    "disclaimer",
];

/// A body with each field that a request may have.
fn whole(of: &str) -> Value {
    let group = format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/myResourceGroup/providers/Microsoft.Compute");
    let set = format!("{group}/diskEncryptionSets/des");
    let community =
        json!({"publisherUri": "u", "publisherContact": "a@b.c", "eula": "e", "publicNamePrefix": "prefix"});
    let key = json!({"type": "sha256", "value": ["AA=="]});
    match of {
        "Gallery" => {
            json!({"location": "West US", "tags": {"a": "b"}, "identity": {"type": "SystemAssigned"}, "properties": {
                "description": "d", "sharingProfile": {"permissions": "Community", "communityGalleryInfo": community},
                "softDeletePolicy": {"isSoftDeleteEnabled": true, "retentionPeriodInDays": 7, "gracePeriodInDays": 30},
            }})
        }
        "GalleryImage" => json!({"location": "West US", "tags": {"a": "b"}, "properties": {
            "description": "d", "eula": "e", "privacyStatementUri": "p", "releaseNoteUri": "r", "osType": "Linux",
            "osState": "Generalized", "hyperVGeneration": "V2", "architecture": "x64", "endOfLifeDate": "2099-01-01T00:00:00Z",
            "identifier": {"publisher": "p", "offer": "o", "sku": "s"}, "disallowed": {"diskTypes": ["Standard_LRS"]},
            "recommended": {"vCPUs": {"min": 1, "max": 2}, "memory": {"min": 1, "max": 2}},
            "purchasePlan": {"name": "n", "publisher": "p", "product": "q"},
            "features": [{"name": "SecurityType", "value": "TrustedLaunch", "startsAtVersion": "1.0.0"}],
        }}),
        _ => json!({"location": "West US", "tags": {"a": "b"}, "properties": {
            "storageProfile": {
                "osDiskImage": {"source": {"id": format!("{group}/snapshots/os")}, "hostCaching": "ReadOnly"},
                "dataDiskImages": [{"lun": 0, "hostCaching": "None", "source": {
                    "uri": "https://a.blob.core.windows.net/v/data.vhd",
                    "storageAccountId": format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/r/providers/Microsoft.Storage/storageAccounts/a"),
                }}],
            },
            "publishingProfile": {
                "targetRegions": [{"name": "West US", "regionalReplicaCount": 1, "storageAccountType": "Standard_LRS",
                    "excludeFromLatest": true,
                    "additionalReplicaSets": [{"storageAccountType": "PremiumV2_LRS", "regionalReplicaCount": 1}],
                    "encryption": {"osDiskImage": {"diskEncryptionSetId": set, "securityProfile": {
                        "confidentialVMEncryptionType": "EncryptedWithCmk", "secureVMDiskEncryptionSetId": set,
                    }}, "dataDiskImages": [{"lun": 0, "diskEncryptionSetId": set}]},
                }],
                "replicaCount": 1, "excludeFromLatest": false, "endOfLifeDate": "2099-01-01T00:00:00Z",
                "storageAccountType": "Standard_LRS", "replicationMode": "Full",
                "targetExtendedLocations": [{"name": "a", "extendedLocation": {"name": "b", "type": "EdgeZone"},
                    "extendedLocationReplicaCount": 1, "storageAccountType": "StandardSSD_LRS"}],
            },
            "safetyProfile": {"allowDeletionOfReplicatedLocations": true, "blockDeletionBeforeEndOfLife": false},
            "securityProfile": {
                "uefiSettings": {"signatureTemplateNames": ["MicrosoftWindowsTemplate"],
                    "additionalSignatures": {"pk": key, "kek": [key], "db": [key], "dbx": [key]}},
                "secretsProvisioningSettings": {"isSupported": true, "osName": "x", "components": [{"name": "OS", "version": "1"}]},
            },
        }}),
    }
}

#[test]
fn each_field_is_in_the_versions_that_have_it_alone_in_and_out() {
    let (types, arm, mut found) = (described(), face(true), Vec::new());
    let group = format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/myResourceGroup");
    let gallery = format!("{group}/providers/Microsoft.Compute/galleries");
    let plain = json!({"location": "West US", "properties": {}});
    must(&arm, "PUT", &group, json!({"location": "West US"}));
    must(&arm, "PUT", &format!("{gallery}/plain"), plain);
    let urls = [
        ("Gallery", format!("{gallery}/whole")),
        ("GalleryImage", format!("{gallery}/plain/images/web")),
        ("GalleryImageVersion", format!("{gallery}/plain/images/web/versions/1.0.0")),
    ];
    for (of, url) in urls {
        let (fields, body) = (&types[of], whole(of));
        must(&arm, "PUT", &url, body.clone());
        let mut leaves = BTreeSet::new();
        paths(&body, "", &mut leaves);
        for version in ApiVersion::ALL.iter().map(|version| version.as_str()) {
            let (status, answer) = call(&arm, "GET", &format!("{url}?api-version={version}"), None);
            assert_eq!(status, 200, "{answer}");
            let mut wrong = Vec::new();
            problems(fields, version, "", &answer, &mut wrong);
            let mut ours = BTreeSet::new();
            paths(&answer, "", &mut ours);
            for leaf in &leaves {
                let field = fields.get(leaf.as_str()).or_else(|| fields.get(leaf.rsplit_once('.')?.0)).unwrap();
                match (field.is_in(version), ours.contains(leaf)) {
                    (true, false) => wrong.push(format!("`{leaf}` is not answered")),
                    (false, true) => wrong.push(format!("`{leaf}` is answered")),
                    (false, false) => {
                        let (status, answer) =
                            call(&arm, "PUT", &format!("{url}?api-version={version}"), Some(&alone(&body, leaf)));
                        let target = answer["error"]["target"].as_str().unwrap_or_default();
                        let is_below = leaf.starts_with(target.split_once('.').map_or(" ", |(_, path)| path));
                        if status != 400 || answer["error"]["code"] != "InvalidParameter" || !is_below {
                            wrong.push(format!("`{leaf}` is taken: {status} {answer}"));
                        }
                    }
                    (true, true) => {}
                }
            }
            // What an older version's description says of words is not known.
            wrong.retain(|problem| !problem.contains("is required") || version >= "2019-07-01");
            found.extend(wrong.into_iter().map(|wrong| format!("{of} {version}: {wrong}")));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// A body with one of its leaves alone.
fn alone(body: &Value, leaf: &str) -> Value {
    let Some(name) = leaf.split('.').next().filter(|name| !name.is_empty()) else { return body.clone() };
    let rest = leaf.strip_prefix(name).unwrap().trim_start_matches('.');
    match &body {
        Value::Array(items) => Value::Array(items.iter().map(|item| alone(item, leaf)).collect()),
        Value::Object(fields) => json!({name: alone(&fields[name], rest)}),
        other => (*other).clone(),
    }
}

#[test]
fn each_example_is_answered_in_the_schema_of_its_version() {
    let types = described();
    let mut found = Vec::new();
    for example in examples() {
        for instant in [true, false] {
            let arm = face(instant);
            let url = example.prepare(&arm);
            let (of, is_list) = type_of(&example.route);
            let (fields, version) = (&types[of], example.version.as_str());
            let body = example.body();
            let mut wrong = Vec::new();
            if let Some(body) = &body {
                problems(fields, version, "", body, &mut wrong);
                // A PATCH leaves out what it does not change, and the oldest versions' source is elsewhere.
                wrong.retain(|problem| !problem.ends_with("is required"));
                wrong.iter_mut().for_each(|problem| problem.insert_str(0, "in the request: "));
            }
            let (status, answer) = call(&arm, &example.method, &url, body.as_ref());
            // Its disks are one blob, which Azure refuses (E29), whatever the example says.
            let is_twice = example.name.contains("Create_WithVHD");
            if is_twice {
                assert_eq!(
                    (status, &answer["error"]["target"]),
                    (400, &json!("galleryImageVersion.properties.storageProfile"))
                );
            } else if example.responses.get(status.to_string()).is_none() {
                wrong.push(format!("status {status}: {answer}"));
            } else if is_list {
                let items = answer["value"].as_array().unwrap();
                assert!(!items.is_empty(), "{}", example.name);
                items.iter().for_each(|item| problems(fields, version, "", item, &mut wrong));
            } else if !answer.is_null() {
                problems(fields, version, "", &answer, &mut wrong);
            }
            let told = example.responses.get("201").or(example.responses.get(status.to_string()));
            if let (true, Some(told)) = (instant && answer.is_object() && status < 300, told) {
                let (mut ours, mut theirs) = (BTreeSet::new(), BTreeSet::new());
                paths(&answer, "", &mut ours);
                paths(&told["body"], "", &mut theirs);
                let lost = theirs.difference(&ours).filter(|path| !NOT_OURS.iter().any(|other| path.contains(other)));
                wrong.extend(lost.map(|lost| format!("`{lost}` is lost")));
            }
            found.extend(wrong.into_iter().map(|wrong| format!("{} ({instant}): {wrong}", example.name)));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// Writes each example's request with our answer as a file that Azure's validator reads (`tests/azure/oav.sh`).
#[test]
#[ignore = "writes files into the folder `TRAFFIC`"]
fn traffic_for_azures_validator() {
    let folder = std::path::PathBuf::from(std::env::var("TRAFFIC").unwrap());
    let examples = examples();
    // Two files of a version may have one name.
    for (at, example) in examples.iter().enumerate().filter(|(_, of)| !of.name.contains("Create_WithVHD")) {
        for instant in [true, false] {
            let arm = face(instant);
            let (url, body) = (example.prepare(&arm).replace(' ', "%20"), example.body());
            let request = Request::builder().method(example.method.as_str()).uri(&url);
            let request = request.header("Authorization", "Bearer x").header("Host", "management.azure.com");
            let bytes = body.as_ref().map(|body| Bytes::from(body.to_string())).unwrap_or_default();
            let (head, answer) = block_on(arm.answer(request.body(bytes).unwrap())).into_parts();
            let headers: BTreeMap<&str, &str> =
                head.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
            let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
            let mut sent = json!({
                "url": format!("https://management.azure.com{url}"), "method": example.method,
                "headers": {"Content-Type": "application/json"},
            });
            if let Some(body) = body {
                sent["body"] = body;
            }
            let mut got = json!({"statusCode": head.status.as_str(), "headers": headers});
            if !answer.is_null() {
                got["body"] = answer;
            }
            let of = folder.join(&example.version);
            std::fs::create_dir_all(&of).unwrap();
            let name = example.name.rsplit('/').next().unwrap();
            std::fs::write(
                of.join(format!("{at}-{instant}-{name}")),
                json!({"liveRequest": sent, "liveResponse": got}).to_string(),
            )
            .unwrap();
        }
    }
}
