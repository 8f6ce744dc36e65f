//! The ARM face in process: requests and answers as Azure has them, without a socket.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper of a test may fail as the test does")]

use std::collections::BTreeSet;

use bytes::Bytes;
use compute_gallery::GalleryService;
use compute_gallery::arm::{ApiVersion, Arm, ArmBody, ArmBuilder, OneToken, TestClock, TestEndpoints, UntrustedClaims};
use compute_gallery::model::{Limits, RegionCatalog};
use compute_gallery::store::MemoryStore;
use futures::executor::block_on;
use http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use tower_service::Service;

const GROUP: &str = "/subscriptions/dev/resourceGroups/Images";
const GALLERY: &str = "/subscriptions/dev/resourceGroups/Images/providers/Microsoft.Compute/galleries/Contoso";
const IMAGE: &str = "/subscriptions/dev/resourceGroups/Images/providers/Microsoft.Compute/galleries/Contoso/images/web";
const NEWEST: &str = "2026-03-03";

/// What came back.
#[derive(Debug)]
struct Got {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Got {
    fn error(&self) -> (u16, &str, &str) {
        let text = |path: &str| self.body.pointer(path).and_then(Value::as_str).unwrap_or_default();
        (self.status.as_u16(), text("/error/code"), text("/error/target"))
    }

    fn message(&self) -> &str {
        self.body["error"]["message"].as_str().unwrap_or_default()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

fn service() -> GalleryService {
    let builder =
        GalleryService::builder().allow_all().one_store_for_all_zones().require_resource_groups().azure_2026();
    let builder = builder.record_disk_encryption_sets();
    block_on(builder.store(MemoryStore::new()).create()).unwrap()
}

fn builder() -> ArmBuilder {
    ArmBuilder::new(service()).region_catalog(RegionCatalog::azure_2026()).named_sources(4 << 20)
}

fn request(method: &str, url: &str, body: Option<&Value>) -> Request<Bytes> {
    let request = Request::builder().method(method).uri(url);
    let request = request.header("Authorization", "Bearer x").header("Host", "gallery.example:8443");
    request.body(body.map(|body| Bytes::from(body.to_string())).unwrap_or_default()).unwrap()
}

fn send(arm: &Arm, request: Request<Bytes>) -> Got {
    let (head, body) = block_on(arm.answer(request)).into_parts();
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    Got { status: head.status, headers: head.headers, body }
}

fn call(arm: &Arm, method: &str, path: &str, version: &str, body: impl Into<Option<Value>>) -> Got {
    let join = if path.contains('?') { '&' } else { '?' };
    send(arm, request(method, &format!("{path}{join}api-version={version}"), body.into().as_ref()))
}

fn put(arm: &Arm, path: &str, body: Value) -> Got {
    call(arm, "PUT", path, NEWEST, body)
}

fn definition(sku: &str) -> Value {
    json!({"location": "westus", "properties": {
        "osType": "Linux", "osState": "Generalized", "hyperVGeneration": "V1",
        "identifier": {"publisher": "Contoso", "offer": "Web", "sku": sku},
    }})
}

fn version_of(source: &str) -> Value {
    let source = format!("{GROUP}/providers/Microsoft.Compute/images/{source}");
    json!({"location": "westus", "properties": {
        "storageProfile": {"source": {"id": source}},
        "publishingProfile": {"targetRegions": [{"name": "West US"}, {"name": "eastus2"}]},
    }})
}

/// A face with a group, a gallery and a definition.
fn with_image(builder: ArmBuilder) -> Arm {
    let arm = builder.build();
    assert_eq!(put(&arm, GROUP, json!({"location": "westus"})).status, 201);
    assert_eq!(put(&arm, GALLERY, json!({"location": "westus"})).status, 201);
    assert_eq!(put(&arm, IMAGE, definition("a")).status, 201);
    arm
}

#[test]
fn a_long_running_operation_is_in_progress_once_and_then_done() {
    let arm = builder().build();
    put(&arm, GROUP, json!({"location": "westus"}));
    let created = put(&arm, GALLERY, json!({"location": "westus", "properties": {}}));
    assert_eq!((created.status.as_u16(), &created.body["properties"]["provisioningState"]), (201, &json!("Creating")));
    assert_eq!((created.header("retry-after"), created.header("location")), ("1", ""));
    let operation = created.header("azure-asyncoperation").to_owned();
    let id = created.header("x-ms-request-id");
    let prefix =
        "http://gallery.example:8443/subscriptions/dev/providers/Microsoft.Compute/locations/westus/capsOperations/";
    assert_eq!(operation, format!("{prefix}{id}?api-version={NEWEST}"));
    let poll = |url: &str| send(&arm, request("GET", url.strip_prefix("http://gallery.example:8443").unwrap(), None));
    let first = poll(&operation);
    assert_eq!((&first.body["status"], first.header("retry-after")), (&json!("InProgress"), "1"));
    assert_eq!((&first.body["name"], &first.body["endTime"]), (&json!(id), &Value::Null));
    let second = poll(&operation);
    assert_eq!((&second.body["status"], second.header("retry-after")), (&json!("Succeeded"), ""));
    let gallery = call(&arm, "GET", GALLERY, NEWEST, None);
    assert_eq!(gallery.body["properties"]["provisioningState"], "Succeeded");

    // An update answers 200, and a deletion 202 with both headers; what is not there answers 204.
    let updated = call(&arm, "PATCH", GALLERY, NEWEST, json!({"properties": {"description": "b"}}));
    assert_eq!((updated.status.as_u16(), &updated.body["properties"]["provisioningState"]), (200, &json!("Updating")));
    let deleted = call(&arm, "DELETE", GALLERY, NEWEST, None);
    assert_eq!((deleted.status.as_u16(), &deleted.body), (202, &Value::Null));
    let monitor = deleted.header("location").to_owned();
    assert!(monitor.contains("?monitor=true&api-version="));
    assert!(!deleted.header("azure-asyncoperation").is_empty());
    assert_eq!([poll(&monitor).status, poll(&monitor).status], [202, 204]);
    let again = call(&arm, "DELETE", GALLERY, NEWEST, None);
    assert_eq!((again.status.as_u16(), again.header("azure-asyncoperation")), (204, ""));
    assert_eq!(call(&arm, "GET", &format!("{GALLERY}x/../.."), NEWEST, None).status, 404);
}

#[test]
fn an_instant_face_has_nothing_to_poll() {
    let arm = with_image(builder().instant());
    let created = put(&arm, &format!("{IMAGE}/versions/1.0.0"), version_of("golden"));
    assert_eq!((created.status.as_u16(), &created.body["properties"]["provisioningState"]), (201, &json!("Succeeded")));
    assert_eq!((created.header("azure-asyncoperation"), created.header("retry-after")), ("", ""));
    assert_eq!(call(&arm, "DELETE", &format!("{IMAGE}/versions/1.0.0"), NEWEST, None).status, 200);
}

#[test]
fn a_version_of_a_source_that_is_not_there_fails_in_its_operation() {
    let arm = with_image(ArmBuilder::new(service()));
    let path = format!("{IMAGE}/versions/1.0.0");
    let created = put(&arm, &path, version_of("golden"));
    assert_eq!(created.status, 201);
    let operation =
        created.header("azure-asyncoperation").strip_prefix("http://gallery.example:8443").unwrap().to_owned();
    let poll = || send(&arm, request("GET", &operation, None)).body;
    poll();
    let ended = poll();
    assert_eq!((&ended["status"], &ended["error"]["code"]), (&json!("Failed"), &json!("NotFound")));
    assert!(ended["error"]["message"].as_str().unwrap().starts_with("Source '"));
    let version = call(&arm, "GET", &path, NEWEST, None);
    assert_eq!(version.body["properties"]["provisioningState"], "Failed");
    assert_eq!(call(&arm, "DELETE", &path, NEWEST, None).status, 202);
}

#[test]
fn errors_have_azures_status_code_and_target() {
    let arm = with_image(builder().instant());
    let v1 = format!("{IMAGE}/versions/1.0.0");
    assert_eq!(put(&arm, &v1, version_of("golden")).status, 201);
    let with = |mut body: Value, path: &str, value: Value| {
        *body.pointer_mut(path).unwrap() = value;
        body
    };
    let mut differences = Vec::new();
    let mut check = |got: Got, expected: (u16, &str, &str)| {
        if got.error() != expected {
            differences.push(format!("{expected:?} expected, got {} {}", got.status, got.body));
        }
    };
    // E1: what may not change.
    let mut eula = definition("a");
    eula["properties"]["eula"] = json!("x");
    check(put(&arm, IMAGE, eula), (409, "PropertyChangeNotAllowed", "galleryImage.properties.eula"));
    let other = version_of("other");
    let path = "galleryImageVersion.properties.storageProfile.source.id";
    check(put(&arm, &v1, other), (409, "PropertyChangeNotAllowed", path));
    // E2: children.
    check(call(&arm, "DELETE", GALLERY, NEWEST, None), (409, "CannotDeleteResource", ""));
    check(call(&arm, "DELETE", IMAGE, NEWEST, None), (409, "CannotDeleteResource", ""));
    // E3: the same identifier.
    check(
        put(&arm, &format!("{GALLERY}/images/twin"), definition("A")),
        (409, "OperationNotAllowed", "galleryImage.properties.identifier"),
    );
    // E4: another region.
    check(put(&arm, GALLERY, json!({"location": "eastus"})), (409, "InvalidResourceLocation", "gallery.location"));
    // E5, E6: names.
    check(
        put(&arm, &format!("{IMAGE}/versions/1.0"), version_of("golden")),
        (400, "InvalidParameter", "galleryImageVersion.name"),
    );
    check(put(&arm, &format!("{GALLERY}/images/a%20b"), definition("b")).status_only(), (400, "", ""));
    // E10, E11: regions.
    let twice = json!([{"name": "West US"}, {"name": "westus"}]);
    let regions = "/properties/publishingProfile/targetRegions";
    let v2 = format!("{IMAGE}/versions/2.0.0");
    let target = "galleryImageVersion.properties.publishingProfile.targetRegions";
    check(
        put(&arm, &v2, with(version_of("golden"), regions, twice)),
        (400, "InvalidParameter", &format!("{target}[1].name")),
    );
    let away = json!([{"name": "eastus2"}]);
    check(put(&arm, &v2, with(version_of("golden"), regions, away)), (400, "InvalidParameter", target));
    // E12: a region fewer.
    let fewer = put(&arm, &v1, with(version_of("golden"), regions, json!([{"name": "westus"}])));
    assert_eq!((fewer.error().0, fewer.error().1), (400, "BadRequest"), "{}", fewer.body);
    // E13: a count.
    let many = json!([{"name": "westus", "regionalReplicaCount": 1000}]);
    let got = put(&arm, &v2, with(version_of("golden"), regions, many));
    assert_eq!((got.error().0, got.error().1), (400, "InvalidParameter"), "{}", got.body);
    assert!(got.message().contains("out of range"));
    // E14: a field that the version has not.
    let policy = json!({"location": "westus", "properties": {"softDeletePolicy": {"isSoftDeleteEnabled": true}}});
    check(
        call(&arm, "PUT", GALLERY, "2019-12-01", policy),
        (400, "InvalidParameter", "gallery.properties.softDeletePolicy"),
    );
    // E31, E32, E33: what is not there.
    let orphan = format!("{GROUP}/providers/Microsoft.Compute/galleries/absent/images/web");
    check(put(&arm, &orphan, definition("c")), (404, "ParentResourceNotFound", ""));
    check(call(&arm, "GET", &orphan, NEWEST, None), (404, "ResourceNotFound", ""));
    let nowhere = GALLERY.replace("Images", "nowhere");
    check(put(&arm, &nowhere, json!({"location": "westus"})), (404, "ResourceGroupNotFound", ""));
    check(call(&arm, "GET", &nowhere, NEWEST, None), (404, "ResourceGroupNotFound", ""));
    // E34: no such region.
    let got = put(&arm, &format!("{GROUP}/providers/Microsoft.Compute/galleries/b"), json!({"location": "atlantis"}));
    assert_eq!((got.error().0, got.error().1), (400, "LocationNotAvailableForResourceType"), "{}", got.body);
    // E35: no such api-version.
    let got = call(&arm, "PUT", GALLERY, "2022-08-01", json!({"location": "westus"}));
    check_list(&got);
    check(call(&arm, "GET", GALLERY, "", None), (400, "MissingApiVersionParameter", ""));
    // The front door's.
    let bad = Request::put(format!("{GALLERY}?api-version={NEWEST}")).header("Authorization", "Bearer x");
    check(send(&arm, bad.body(Bytes::from("{\"location\": ")).unwrap()), (400, "InvalidRequestContent", ""));
    check(call(&arm, "POST", GALLERY, NEWEST, json!({})), (405, "MethodNotAllowed", ""));
    check(
        call(&arm, "GET", &format!("{GROUP}/providers/Microsoft.Compute/unknown"), NEWEST, None),
        (404, "InvalidResourceType", ""),
    );
    assert!(differences.is_empty(), "{differences:#?}");
}

impl Got {
    /// The status alone is told by the sources.
    fn status_only(mut self) -> Self {
        self.body = Value::Null;
        self
    }
}

fn check_list(got: &Got) {
    assert_eq!((got.error().0, got.error().1), (400, "NoRegisteredProviderFound"));
    assert!(ApiVersion::ALL.iter().all(|version| got.message().contains(version.as_str())), "{}", got.message());
}

#[test]
fn an_unknown_api_version_is_read_as_the_nearest_older_unless_strict() {
    let arm = with_image(builder().instant());
    assert_eq!(call(&arm, "GET", IMAGE, "2019-05-01", None).body["properties"]["hyperVGeneration"], Value::Null);
    assert_eq!(call(&arm, "GET", IMAGE, "2019-08-01", None).body["properties"]["hyperVGeneration"], "V1");
    check_list(&call(&arm, "GET", IMAGE, "2017-01-01", None));
    let strict = builder().instant().strict_versions().build();
    check_list(&call(&strict, "GET", IMAGE, "2019-08-01", None));
}

#[test]
fn the_oldest_versions_have_the_source_in_the_publishing_profile() {
    let arm = with_image(builder().instant());
    let source = format!("{GROUP}/providers/Microsoft.Compute/images/golden");
    let body = json!({"location": "West US", "properties": {"publishingProfile": {
        "targetRegions": [{"name": "West US"}], "source": {"managedImage": {"id": source}},
    }}});
    let path = format!("{IMAGE}/versions/1.0.0");
    let made = call(&arm, "PUT", &path, "2018-06-01", body);
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(made.body["properties"]["publishingProfile"]["source"]["managedImage"]["id"], source.as_str());
    assert_eq!(made.body["properties"]["storageProfile"].get("source"), None);
    let now = call(&arm, "GET", &path, NEWEST, None).body;
    assert_eq!(now["properties"]["storageProfile"]["source"]["id"], source.as_str());
    assert_eq!(now["properties"]["publishingProfile"].get("source"), None);
}

#[test]
fn lists_have_pages_whose_links_are_absolute() {
    let arm = with_image(builder().instant().page(2));
    for number in ["1.0.0", "1.0.1", "1.0.2"] {
        assert_eq!(put(&arm, &format!("{IMAGE}/versions/{number}"), version_of("golden")).status, 201);
    }
    let first = call(&arm, "GET", &format!("{IMAGE}/versions"), NEWEST, None).body;
    let names = |page: &Value| -> Vec<String> {
        page["value"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&first), ["1.0.0", "1.0.1"]);
    let link = first["nextLink"].as_str().unwrap().strip_prefix("http://gallery.example:8443").unwrap();
    let second = send(&arm, request("GET", link, None)).body;
    assert_eq!((names(&second), second.get("nextLink")), (vec!["1.0.2".to_owned()], None));
    let wrong = call(&arm, "GET", &format!("{IMAGE}/versions?$skiptoken=!"), NEWEST, None);
    assert_eq!(wrong.error().0, 400);
}

#[test]
fn each_list_comes_whole_in_pages_of_one() {
    let arm = with_image(builder().instant().page(1));
    let compute = format!("{GROUP}/providers/Microsoft.Compute");
    let soft = json!({"location": "westus", "properties": {"softDeletePolicy": {"isSoftDeleteEnabled": true}}});
    put(&arm, GALLERY, soft);
    // A tenth version: the order is that of numbers.
    for number in ["1.0.2", "1.0.10", "1.0.1"] {
        assert_eq!(put(&arm, &format!("{IMAGE}/versions/{number}"), version_of("golden")).status, 201);
        assert_eq!(call(&arm, "DELETE", &format!("{IMAGE}/versions/{number}"), NEWEST, None).status, 200);
        assert_eq!(put(&arm, &format!("{IMAGE}/versions/2{number}"), version_of("golden")).status, 201);
    }
    let info = json!({"publisherUri": "u", "publisherContact": "a@b.c", "eula": "e", "publicNamePrefix": "contoso"});
    let community = json!({"permissions": "Community", "communityGalleryInfo": info});
    let mut public = String::new();
    for name in ["a", "B", "c"] {
        assert_eq!(
            put(&arm, &format!("/subscriptions/dev/resourceGroups/g{name}"), json!({"location": "westus"})).status,
            201
        );
        let disk =
            json!({"location": "westus", "properties": {"creationData": {"createOption": "Empty"}, "diskSizeGB": 1}});
        let image = json!({"location": "westus", "properties": {"storageProfile": {"osDisk": {"osType": "Linux", "osState": "Generalized", "diskSizeGB": 1}}}});
        assert_eq!(put(&arm, &format!("{compute}/disks/{name}"), disk.clone()).status, 200);
        assert_eq!(put(&arm, &format!("{compute}/snapshots/{name}"), disk).status, 200);
        assert_eq!(put(&arm, &format!("{compute}/images/{name}"), image).status, 201);
        let reader =
            "/subscriptions/dev/providers/Microsoft.Authorization/roleDefinitions/acdd72a7-3385-48ef-bd42-f606fba81ae7";
        let role = json!({"properties": {"roleDefinitionId": reader, "principalId": name}});
        let id = format!("1111111{}-0000-0000-0000-000000000000", name.to_ascii_lowercase());
        assert_eq!(
            put(&arm, &format!("{GALLERY}/providers/Microsoft.Authorization/roleAssignments/{id}"), role).status,
            201
        );
        let shared = format!("{compute}/galleries/shared{name}");
        let groups = json!({"location": "westus", "properties": {"sharingProfile": {"permissions": "Groups"}}});
        assert_eq!(put(&arm, &shared, groups).status, 201);
        let add = json!({"operationType": "Add", "groups": [{"type": "Subscriptions", "ids": ["other"]}]});
        assert_eq!(call(&arm, "POST", &format!("{shared}/share"), NEWEST, add).status, 200);
        let image = format!("{compute}/galleries/open/images/{name}");
        if public.is_empty() {
            put(
                &arm,
                &format!("{compute}/galleries/open"),
                json!({"location": "westus", "properties": {"sharingProfile": community}}),
            );
            call(
                &arm,
                "POST",
                &format!("{compute}/galleries/open/share"),
                NEWEST,
                json!({"operationType": "EnableCommunity"}),
            );
            let open = call(&arm, "GET", &format!("{compute}/galleries/open"), NEWEST, None).body;
            public = open["properties"]["sharingProfile"]["communityGalleryInfo"]["publicNames"][0]
                .as_str()
                .unwrap()
                .to_owned();
        }
        assert_eq!(put(&arm, &image, definition(name)).status, 201);
        assert_eq!(put(&arm, &format!("{image}/versions/1.0.0"), version_of("golden")).status, 201);
        assert_eq!(put(&arm, &format!("{image}/versions/1.0.1{}", name.len()), version_of("golden")).status, 201);
        let template = json!({"properties": {"mode": "Incremental", "template": {"resources": []}}});
        assert_eq!(
            put(&arm, &format!("{GROUP}/providers/Microsoft.Resources/deployments/{name}"), template).status,
            201
        );
    }
    let location = "/subscriptions/dev/providers/Microsoft.Compute/locations/westus";
    let community = format!("{location}/communityGalleries/{public}/images");
    let shared = format!("{location}/sharedGalleries");
    let rows = [
        (format!("{compute}/galleries"), 5),
        ("/subscriptions/dev/providers/Microsoft.Compute/galleries".to_owned(), 5),
        (format!("{compute}/galleries/open/images"), 3),
        (format!("{IMAGE}/versions"), 3),
        (format!("{GALLERY}/softDeletedArtifactTypes/Images/artifacts/web/versions"), 3),
        (shared, 3),
        (community.clone(), 3),
        (format!("{community}/a/versions"), 2),
        ("/subscriptions/dev/resourceGroups".to_owned(), 4),
        (format!("{GROUP}/resources"), 14),
        (format!("{GROUP}/resources?$filter=resourceType eq 'Microsoft.Compute/disks'"), 3),
        (format!("{compute}/images"), 3),
        (format!("{compute}/disks"), 3),
        (format!("{compute}/snapshots"), 3),
        ("/subscriptions/dev/providers/Microsoft.Compute/snapshots".to_owned(), 3),
        (format!("{GALLERY}/providers/Microsoft.Authorization/roleAssignments"), 3),
        (format!("{GROUP}/providers/Microsoft.Resources/deployments"), 3),
    ];
    for (path, count) in rows {
        let path = path.replace(' ', "%20");
        let join = if path.contains('?') { '&' } else { '?' };
        let whole = call(&arm, "GET", &format!("{path}{join}$top=1000"), NEWEST, None);
        assert_eq!((whole.status.as_u16(), whole.body.get("nextLink")), (200, None), "{path}: {}", whole.body);
        let (mut paged, mut next) = (Vec::new(), format!("{path}{join}api-version={NEWEST}"));
        loop {
            let page = send(&arm, request("GET", &next, None));
            assert_eq!(page.status, 200, "{next}: {}", page.body);
            let items = page.body["value"].as_array().unwrap();
            assert_eq!(items.len(), 1, "{next}");
            paged.extend(items.iter().cloned());
            let Some(link) = page.body.get("nextLink") else { break };
            next = link.as_str().unwrap().strip_prefix("http://gallery.example:8443").unwrap().to_owned();
        }
        assert_eq!((paged.len(), &json!(paged)), (count, &whole.body["value"]), "{path}");
    }
    let deleted = format!("{GALLERY}/softDeletedArtifactTypes/Images/artifacts/web/versions?$top=9");
    let deleted = call(&arm, "GET", &deleted, NEWEST, None).body;
    let names: Vec<&str> = deleted["value"].as_array().unwrap().iter().map(|of| of["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["1.0.1", "1.0.2", "1.0.10"]);
    let roles = "/subscriptions/dev/providers/Microsoft.Authorization/roleDefinitions?$top=2";
    assert!(call(&arm, "GET", roles, NEWEST, None).body.get("nextLink").is_some());
    // What goes between two pages moves no other item.
    let first = call(&arm, "GET", &format!("{compute}/disks"), NEWEST, None).body;
    assert_eq!(first["value"][0]["name"], "a");
    call(&arm, "DELETE", &format!("{compute}/disks/a"), NEWEST, None);
    let link = first["nextLink"].as_str().unwrap().strip_prefix("http://gallery.example:8443").unwrap().to_owned();
    assert_eq!(send(&arm, request("GET", &link, None)).body["value"][0]["name"], "B");
}

#[test]
fn no_token_no_access() {
    let arm = builder().authenticator(OneToken::new("good", "ann".parse().unwrap())).build();
    let url = format!("{GROUP}?api-version=2024-11-01");
    let ask = |token: Option<&str>, auxiliary: Option<&str>| {
        let mut request = Request::get(&url);
        if let Some(token) = token {
            request = request.header("Authorization", token);
        }
        if let Some(auxiliary) = auxiliary {
            request = request.header("x-ms-authorization-auxiliary", auxiliary);
        }
        let got = send(&arm, request.body(Bytes::new()).unwrap());
        (got.status.as_u16(), got.header("www-authenticate").starts_with("Bearer "))
    };
    assert_eq!(ask(None, None), (401, true));
    assert_eq!(ask(Some("Basic good"), None), (401, true));
    assert_eq!(ask(Some("Bearer bad"), None), (401, true));
    assert_eq!(ask(Some("bearer good"), None), (404, false));
    assert_eq!(ask(Some("Bearer good"), Some("Bearer bad")), (401, true));
    assert_eq!(ask(Some("Bearer good"), Some("Bearer good, Bearer good")), (404, false));
}

#[test]
fn who_lacks_a_role_gets_403_with_azures_words() {
    use compute_gallery::access::{MemoryDirectory, TenantId};
    let directory = MemoryDirectory::new();
    let tenant: TenantId = "contoso".parse().unwrap();
    directory.add_subscription("dev".parse().unwrap(), tenant.clone(), None).unwrap();
    for user in ["ann", "ben"] {
        directory.add_user(user, &tenant).unwrap();
    }
    let service = GalleryService::builder().directory(directory).administrator("ann".parse().unwrap());
    let service = block_on(service.store(MemoryStore::new()).create()).unwrap();
    let arm = ArmBuilder::new(service).authenticator(UntrustedClaims).instant().build();
    // {"oid":"ann"} and {"oid":"ben"}.
    let (ann, ben) = ("Bearer e30.eyJvaWQiOiJhbm4ifQ.eA", "Bearer e30.eyJvaWQiOiJiZW4ifQ.eA");
    let ask = |token: &str, method: &str, path: &str, body: Option<Value>| {
        let url = format!("{path}?api-version={NEWEST}");
        let mut request = request(method, &url, body.as_ref());
        request.headers_mut().insert("Authorization", token.parse().unwrap());
        send(&arm, request)
    };
    let gallery = || Some(json!({"location": "westus"}));
    let refused = ask(ben, "PUT", GALLERY, gallery());
    assert_eq!(refused.error(), (403, "AuthorizationFailed", ""), "{}", refused.body);
    assert!(refused.message().contains("Microsoft.Compute/galleries/write"));
    let made = ask(ann, "PUT", GALLERY, gallery());
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(ask(ben, "GET", GALLERY, None).status, 403);
    // A role by the wire.
    let reader = "acdd72a7-3385-48ef-bd42-f606fba81ae7";
    let role = format!("/subscriptions/dev/providers/Microsoft.Authorization/roleDefinitions/{reader}");
    let body = json!({"properties": {"roleDefinitionId": role, "principalId": "ben", "principalType": "User"}});
    let path =
        format!("{GALLERY}/providers/Microsoft.Authorization/roleAssignments/11111111-0000-0000-0000-000000000000");
    assert_eq!(ask(ann, "PUT", &path, Some(body)).status, 201);
    assert_eq!(ask(ben, "GET", GALLERY, None).status, 200);
    assert_eq!(ask(ben, "DELETE", GALLERY, None).error().0, 403);
    let list = format!("{GALLERY}/providers/Microsoft.Authorization/roleAssignments");
    assert_eq!(ask(ann, "GET", &list, None).body["value"][0]["properties"]["principalId"], "ben");
    assert_eq!(ask(ann, "DELETE", &path, None).status, 200);
    assert_eq!(ask(ann, "DELETE", &path, None).status, 204);
    assert_eq!(ask(ben, "GET", GALLERY, None).status, 403);
}

#[test]
fn a_version_is_made_of_another_tenants_with_a_token_of_each() {
    use compute_gallery::access::{MemoryDirectory, TenantId};
    let directory = MemoryDirectory::new();
    let [contoso, fabrikam]: [TenantId; 2] = ["contoso".parse().unwrap(), "fabrikam".parse().unwrap()];
    directory.add_subscription("dev".parse().unwrap(), contoso.clone(), None).unwrap();
    directory.add_subscription("other".parse().unwrap(), fabrikam.clone(), None).unwrap();
    directory.add_application("app", &contoso).unwrap();
    directory.consent("app-at-fabrikam", &fabrikam, "app").unwrap();
    let settings = GalleryService::builder().directory(directory).administrator("ann".parse().unwrap());
    let settings = settings.one_store_for_all_zones().azure_2026();
    let service = block_on(settings.store(MemoryStore::new()).create()).unwrap();
    let arm = ArmBuilder::new(service).authenticator(UntrustedClaims).named_sources(4 << 20).instant().build();
    // {"oid":"ann"}, and {"oid":"app"} with a `tid`.
    let ann = "Bearer e30.eyJvaWQiOiJhbm4ifQ.eA";
    let [of_contoso, of_fabrikam] = [
        "Bearer e30.eyJvaWQiOiJhcHAiLCJ0aWQiOiJjb250b3NvIn0.eA",
        "Bearer e30.eyJvaWQiOiJhcHAiLCJ0aWQiOiJmYWJyaWthbSJ9.eA",
    ];
    let ask = |tokens: &[&str], method: &str, path: &str, body: Option<Value>| {
        let mut request = request(method, &format!("{path}?api-version={NEWEST}"), body.as_ref());
        request.headers_mut().insert("Authorization", tokens[0].parse().unwrap());
        for token in &tokens[1..] {
            request.headers_mut().append("x-ms-authorization-auxiliary", token.parse().unwrap());
        }
        send(&arm, request)
    };
    let as_ann = |path: &str, body: Value| {
        let got = ask(&[ann], "PUT", path, Some(body));
        assert_eq!(got.status, 201, "{path}: {}", got.body);
    };
    let theirs = GALLERY.replace("/dev/", "/other/");
    for gallery in [GALLERY, &theirs] {
        as_ann(gallery, json!({"location": "westus"}));
        as_ann(&format!("{gallery}/images/web"), definition("a"));
    }
    as_ann(&format!("{IMAGE}/versions/1.0.0"), version_of("golden"));
    // Its principal of each tenant has a role there.
    for (subscription, principal, role) in [
        ("dev", "app", "acdd72a7-3385-48ef-bd42-f606fba81ae7"),
        ("other", "app-at-fabrikam", "b24988ac-6180-42a0-ab88-20f7382dd24c"),
    ] {
        let authorization = format!("/subscriptions/{subscription}/providers/Microsoft.Authorization");
        let id = "11111111-0000-0000-0000-000000000000";
        let role = format!("{authorization}/roleDefinitions/{role}");
        as_ann(
            &format!("{authorization}/roleAssignments/{id}"),
            json!({"properties": {"roleDefinitionId": role, "principalId": principal}}),
        );
    }
    let made = format!("{theirs}/images/web/versions/1.0.0");
    let of = || {
        Some(json!({"location": "westus", "properties": {
            "storageProfile": {"source": {"id": format!("{IMAGE}/versions/1.0.0")}},
        }}))
    };
    let refused = ask(&[of_fabrikam], "PUT", &made, of());
    assert_eq!(refused.error().0, 403, "{}", refused.body);
    assert_eq!(refused.body["error"]["code"], "LinkedAuthorizationFailed");
    let told = "the current tenant is not authorized to access linked subscription 'dev'";
    assert!(refused.message().contains(told), "{}", refused.message());
    assert_eq!(ask(&[of_contoso], "PUT", &made, of()).error().0, 403);
    assert_eq!(ask(&[of_fabrikam], "GET", &made, None).status, 404);
    let both = ask(&[of_fabrikam, of_contoso], "PUT", &made, of());
    assert_eq!(both.status, 201, "{}", both.body);
    assert_eq!(ask(&[of_fabrikam], "GET", &made, None).status, 200);
    assert_eq!(ask(&[of_contoso], "GET", &made, None).status, 403);
    assert_eq!(ask(&[of_contoso, of_fabrikam], "GET", &made, None).status, 200);
}

#[test]
fn what_a_gallery_has_and_this_has_not_is_empty() {
    let arm = with_image(builder().instant());
    for kind in ["applications", "scripts", "inVMAccessControlProfiles"] {
        assert_eq!(call(&arm, "GET", &format!("{GALLERY}/{kind}"), NEWEST, None).body, json!({"value": []}));
        assert_eq!(
            call(&arm, "GET", &format!("{GALLERY}/{kind}/x"), NEWEST, None).error(),
            (404, "ResourceNotFound", "")
        );
        assert_eq!(call(&arm, "PUT", &format!("{GALLERY}/{kind}/x"), NEWEST, json!({})).status, 400);
        assert_eq!(call(&arm, "DELETE", &format!("{GALLERY}/{kind}/x"), NEWEST, None).status, 204);
    }
}

#[test]
fn the_double_moves_time_seeds_fails_and_tells_what_was_called() {
    let clock = TestClock::default();
    let of_service = clock.clone();
    let make = move || {
        let builder = GalleryService::builder().allow_all().limits(Limits::azure_2026()).clock(of_service.clone());
        builder.store(MemoryStore::new()).create()
    };
    let arm = ArmBuilder::new(block_on(make()).unwrap()).named_sources(1 << 20).instant();
    let arm = arm.test_endpoints(TestEndpoints::new(clock, make)).build();
    let test = |method: &str, path: &str, body: Option<Value>| {
        send(&arm, request(method, &format!("/_test/{path}"), body.as_ref()))
    };
    let seed = json!([{"id": GALLERY, "body": {"location": "westus"}}, {"id": IMAGE, "body": definition("a")}]);
    assert_eq!(test("POST", "seed", Some(seed)).status, 204);
    assert_eq!(call(&arm, "GET", IMAGE, NEWEST, None).status, 200);

    // The second read of the gallery is throttled, once.
    let fault = json!({"method": "GET", "path": "/galleries/Contoso", "after": 1, "times": 1, "status": 429, "code": "Busy", "retryAfter": 3});
    assert_eq!(test("POST", "faults", Some(fault)).status, 204);
    let statuses = [(); 3].map(|()| call(&arm, "GET", GALLERY, NEWEST, None));
    assert_eq!(statuses.each_ref().map(|got| got.status.as_u16()), [200, 429, 200]);
    assert_eq!((statuses[1].error().1, statuses[1].header("retry-after")), ("Busy", "3"));

    assert_eq!(test("PUT", "clock", Some(json!({"now": "2030-01-01T00:00:00Z"}))).status, 200);
    assert_eq!(test("POST", "clock/advance", Some(json!({"seconds": 86400}))).body["now"], "2030-01-02T00:00:00Z");

    let calls = test("GET", "calls", None).body;
    let last = calls["value"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["method"], &last["status"], &last["fault"]), (&json!("GET"), &json!(200), &json!(false)));
    assert_eq!(test("POST", "reset", None).status, 204);
    assert_eq!(call(&arm, "GET", GALLERY, NEWEST, None).status, 404);
    // Without being asked for, there is no such path.
    assert_eq!(send(&builder().build(), request("GET", "/_test/calls", None)).error().0, 400);
}

#[test]
fn a_tower_service_reads_any_body_up_to_its_limit() {
    let mut arm = builder().body_bytes(1000).build();
    let url = format!("{GROUP}?api-version=2024-11-01");
    let mut send = |length: usize| {
        let body = format!("{{\"location\": \"westus\"{}}}", " ".repeat(length));
        let request = Request::put(&url).header("Authorization", "Bearer x").body(body).unwrap();
        block_on(arm.call(request)).unwrap().map(|body: ArmBody| body.bytes().clone())
    };
    assert_eq!(send(0).status(), 201);
    assert_eq!(send(2000).status(), 413);
}

/// The routes, with their methods, the first api-version of the gallery's that has them, and what a request may ask for besides. Routes of other
/// types take any date.
const ROUTES: &[(&str, &str, &str, &str)] = &[
    ("/subscriptions", "GET", "", ""),
    ("/subscriptions/{s}", "GET", "", ""),
    ("/tenants", "GET", "", ""),
    ("/subscriptions/{s}/locations", "GET", "", ""),
    ("/subscriptions/{s}/providers", "GET", "", ""),
    ("/subscriptions/{s}/providers/{p}", "GET", "", ""),
    ("/subscriptions/{s}/providers/{p}/register", "POST", "", ""),
    ("/subscriptions/{s}/resourceGroups", "GET", "", "pages"),
    ("/subscriptions/{s}/resourceGroups/{r}", "GET HEAD PUT PATCH DELETE", "", ""),
    ("/subscriptions/{s}/resourceGroups/{r}/resources", "GET", "", "pages, $filter=resourceType eq '…'"),
    ("/subscriptions/{s}/resources", "GET", "", "pages, $filter=resourceType eq '…'"),
    ("{c}/galleries", "GET", "2018-06-01", "pages"),
    ("{r}/galleries", "GET", "2018-06-01", "pages"),
    ("{r}/galleries/{g}", "GET PUT PATCH DELETE", "2018-06-01", "$select=Permissions, $expand=SharingProfile/Groups"),
    ("{r}/galleries/{g}/share", "POST", "2020-09-30", ""),
    ("{r}/galleries/{g}/images", "GET", "2018-06-01", "pages"),
    ("{r}/galleries/{g}/images/{i}", "GET PUT PATCH DELETE", "2018-06-01", ""),
    ("{r}/galleries/{g}/images/{i}/versions", "GET", "2018-06-01", "pages"),
    (
        "{r}/galleries/{g}/images/{i}/versions/{v}",
        "GET PUT PATCH DELETE",
        "2018-06-01",
        "$expand=ReplicationStatus, bypassSoftDelete=true",
    ),
    ("{r}/galleries/{g}/softDeletedArtifactTypes/Images/artifacts/{i}/versions", "GET", "2024-03-03", "pages"),
    ("{r}/galleries/{g}/applications", "GET", "2019-03-01", "empty"),
    ("{r}/galleries/{g}/scripts", "GET", "2025-03-03", "empty"),
    ("{r}/galleries/{g}/inVMAccessControlProfiles", "GET", "2024-03-03", "empty"),
    ("{c}/locations/{l}/sharedGalleries", "GET", "2020-09-30", "pages"),
    ("{c}/locations/{l}/sharedGalleries/{u}", "GET", "2020-09-30", ""),
    ("{c}/locations/{l}/sharedGalleries/{u}/images", "GET", "2020-09-30", "pages"),
    ("{c}/locations/{l}/sharedGalleries/{u}/images/{i}", "GET", "2020-09-30", ""),
    ("{c}/locations/{l}/sharedGalleries/{u}/images/{i}/versions", "GET", "2020-09-30", "pages"),
    ("{c}/locations/{l}/sharedGalleries/{u}/images/{i}/versions/{v}", "GET", "2020-09-30", ""),
    ("{c}/locations/{l}/communityGalleries/{n}", "GET", "2021-07-01", ""),
    ("{c}/locations/{l}/communityGalleries/{n}/images", "GET", "2021-07-01", "pages"),
    ("{c}/locations/{l}/communityGalleries/{n}/images/{i}", "GET", "2021-07-01", ""),
    ("{c}/locations/{l}/communityGalleries/{n}/images/{i}/versions", "GET", "2021-07-01", "pages"),
    ("{c}/locations/{l}/communityGalleries/{n}/images/{i}/versions/{v}", "GET", "2021-07-01", ""),
    ("{c}/locations/{l}/capsOperations/{o}", "GET", "", "monitor=true"),
    ("{c}/locations/{l}/usages", "GET", "", ""),
    ("{c}/images", "GET", "", "pages"),
    ("{r}/images", "GET", "", "pages"),
    ("{r}/images/{n}", "GET PUT PATCH DELETE", "", ""),
    ("{c}/snapshots", "GET", "", "pages"),
    ("{r}/snapshots", "GET", "", "pages"),
    ("{r}/snapshots/{n}", "GET PUT PATCH DELETE", "", ""),
    ("{c}/disks", "GET", "", "pages"),
    ("{r}/disks", "GET", "", "pages"),
    ("{r}/disks/{n}", "GET PUT PATCH DELETE", "", ""),
    ("{r}/virtualMachines/{n}", "GET PUT PATCH DELETE", "", "checked, and refused"),
    ("{r}/virtualMachineScaleSets/{n}", "GET PUT PATCH DELETE", "", "checked, and refused"),
    ("{t}/deployments", "GET", "", "pages"),
    ("{t}/deployments/{d}", "GET HEAD PUT DELETE", "", ""),
    ("{t}/deployments/{d}/validate", "POST", "", ""),
    ("{t}/deployments/{d}/whatIf", "POST", "", ""),
    ("{t}/deployments/{d}/exportTemplate", "POST", "", ""),
    ("{t}/deployments/{d}/operations", "GET", "", "pages"),
    ("/providers/Microsoft.ResourceGraph/resources", "POST", "", "communityGalleryResources"),
    ("{scope}/providers/Microsoft.Authorization/roleAssignments", "GET", "", "pages, $filter"),
    ("{scope}/providers/Microsoft.Authorization/roleAssignments/{id}", "GET PUT DELETE", "", ""),
    ("{scope}/providers/Microsoft.Authorization/roleDefinitions", "GET", "", "pages, $filter=roleName eq '…'"),
    ("{scope}/providers/Microsoft.Authorization/roleDefinitions/{id}", "GET", "", ""),
    ("{scope}/providers/Microsoft.Authorization/denyAssignments", "GET", "", "pages"),
];

const METHODS: [&str; 6] = ["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"];

/// A route as an address.
fn address(route: &str) -> String {
    let id = "acdd72a7-3385-48ef-bd42-f606fba81ae7";
    let compute = "/subscriptions/dev/providers/Microsoft.Compute";
    let in_group = format!("{GROUP}/providers/Microsoft.Compute");
    let templates = format!("{GROUP}/providers/Microsoft.Resources");
    let start = [("{c}", compute), ("{r}/", &format!("{in_group}/")), ("{t}", &templates), ("{scope}", GALLERY)];
    let whole = start.iter().find_map(|(start, of)| Some(format!("{of}{}", route.strip_prefix(start)?)));
    let names = [
        ("{s}", "dev"),
        ("{r}", "Images"),
        ("{g}", "Contoso"),
        ("{i}", "web"),
        ("{v}", "1.0.0"),
        ("{l}", "westus"),
        ("{u}", "dev-CONTOSO"),
        ("{n}", "name"),
        ("{d}", "first"),
        ("{p}", "Microsoft.Compute"),
        ("{o}", id),
        ("{id}", id),
    ];
    names.iter().fold(whole.unwrap_or(route.to_owned()), |route, (name, value)| route.replace(name, value))
}

/// Routes that are there, at the versions that have them, with their methods and no others.
#[test]
fn each_route_of_the_table_is_there_and_its_other_methods_are_refused() {
    let mut differences = Vec::new();
    for (route, methods, since, _) in ROUTES {
        // The one before the first that has it, that, and the newest.
        let all: Vec<&str> = ApiVersion::ALL.iter().map(|version| version.as_str()).collect();
        let first = all.iter().position(|version| version == since).unwrap_or(all.len() - 1);
        let versions = BTreeSet::from([all[first.saturating_sub(1)], all[first], NEWEST]);
        for version in versions {
            let arm = with_image(builder().instant());
            for method in METHODS {
                let got = call(&arm, method, &address(route), version, json!({}));
                let is_absent = got.error().1 == "InvalidResourceType" && got.status == 404;
                let is_there = version >= *since;
                let is_patch_of_old = method == "PATCH" && !since.is_empty() && version < "2019-07-01";
                let is_taken = is_there && methods.split(' ').any(|of| of == method) && !is_patch_of_old;
                let as_told = match (is_there, is_taken) {
                    (false, _) => is_absent,
                    (true, true) => !is_absent && got.status != 405,
                    (true, false) => got.status == 405,
                };
                if !as_told && (method != "HEAD" || is_taken) {
                    differences.push(format!("{method} {route} {version}: {} {}", got.status, got.body));
                }
            }
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
}

/// The table of `docs/azure-routes.md`.
fn page_of_routes() -> String {
    let mut page = "# Routes\n\nEach is answered at the api-versions that it begins with and at all later ones, with the fields of `azure-fields.md`. `any` is any date. \
                    `{c}` is `/subscriptions/{s}/providers/Microsoft.Compute`, `{r}/` is `/subscriptions/{s}/resourceGroups/{r}/providers/Microsoft.Compute/`, \
                    `{t}` is `/subscriptions/{s}/resourceGroups/{r}/providers/Microsoft.Resources`, `{scope}` is every scope. Lists with pages take `$skiptoken` and `$top`. \
                    Generated from the table in `tests/arm.rs`, which asks for each of them at each version.\n\n\
                    | route | methods | from | besides |\n|---|---|---|---|\n"
        .to_owned();
    for (route, methods, since, more) in ROUTES {
        let methods = methods.replace(' ', ", ");
        let since = if since.is_empty() { "any" } else { since };
        let methods = if *since == *"2018-06-01" { methods.replace("PATCH", "PATCH (2019-07-01)") } else { methods };
        page.push_str(&format!("| `{route}` | {methods} | {since} | {} |\n", more.replace('|', "\\|")));
    }
    page
}

#[test]
fn the_page_of_routes_is_the_table() {
    let written = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/azure-routes.md")).unwrap();
    assert!(
        written == page_of_routes(),
        "docs/azure-routes.md is old: run the ignored test `write_the_page_of_routes`"
    );
}

#[test]
#[ignore = "writes docs/azure-routes.md"]
fn write_the_page_of_routes() {
    std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/azure-routes.md"), page_of_routes()).unwrap();
}

/// A service on a store, with any source a disk of zeros, and the clock of a test.
fn service_on(store: MemoryStore, clock: &TestClock, create: bool) -> GalleryService {
    use compute_gallery::publish::AnySource;
    let builder = GalleryService::builder().allow_all().one_store_for_all_zones().azure_2026();
    let builder = builder
        .record_disk_encryption_sets()
        .clock(clock.clone())
        .sources(AnySource::of_zeros(4 << 20).unwrap())
        .store(store);
    block_on(async { if create { builder.create().await } else { builder.open().await } }).unwrap()
}

fn polled(arm: &Arm, url: &str) -> Got {
    send(arm, request("GET", url.strip_prefix("http://gallery.example:8443").unwrap(), None))
}

#[test]
fn an_operation_is_told_by_any_process_and_after_a_restart() {
    let (store, clock) = (MemoryStore::new(), TestClock::default());
    let first = with_image(ArmBuilder::new(service_on(store.clone(), &clock, true)).clock(clock.clone()));
    let created = put(&first, &format!("{IMAGE}/versions/1.0.0"), version_of("golden"));
    let gallery = call(&first, "PATCH", GALLERY, NEWEST, json!({"tags": {"team": "web"}}));
    let deleted = call(&first, "DELETE", &format!("{IMAGE}/versions/1.0.0"), NEWEST, None);
    let share = json!({"operationType": "Add", "groups": [{"type": "Subscriptions", "ids": ["prod"]}]});
    let properties = json!({"sharingProfile": {"permissions": "Groups"}});
    put(&first, &format!("{GALLERY}2"), json!({"location": "westus", "properties": properties}));
    let shared = call(&first, "POST", &format!("{GALLERY}2/share"), NEWEST, share);
    let group = call(&first, "DELETE", GROUP, NEWEST, None);
    drop(first);

    let second = ArmBuilder::new(service_on(store, &clock, false)).clock(clock).build();
    for began in [&created, &gallery, &deleted, &shared] {
        let told = polled(&second, began.header("azure-asyncoperation")).body;
        // Nothing paces what another process has begun.
        assert_eq!(told["status"], "Succeeded", "{told}");
        assert!(told["endTime"].as_str() >= told["startTime"].as_str());
    }
    assert_eq!(polled(&second, deleted.header("location")).status, 204);
    // Its gallery is gone by now.
    assert_eq!(polled(&second, shared.header("location")).status, 404);
    assert_eq!(polled(&second, group.header("location")).status, 200);
    let unknown = created.header("azure-asyncoperation").replace("capsOperations/", "capsOperations/0");
    assert_eq!(polled(&second, &unknown).status, 404);
}

#[test]
fn a_driven_face_announces_and_marks_and_its_driver_carries_through() {
    use compute_gallery::read::OperationId;
    use futures::FutureExt;
    let (store, clock) = (MemoryStore::new(), TestClock::default());
    let service = service_on(store, &clock, true);
    let session = service.session("ann".parse().unwrap());
    let arm = ArmBuilder::new(service).clock(clock.clone()).driven("driver".parse().unwrap());
    let arm = with_image(arm);
    let path = format!("{IMAGE}/versions/1.0.0");
    let state = || call(&arm, "GET", &path, NEWEST, None).body["properties"]["provisioningState"].clone();
    let operation_of = |got: &Got| -> OperationId {
        let url = got.header("azure-asyncoperation");
        url.split(['/', '?']).find_map(|part| part.parse().ok().filter(|_| part.len() == 36)).unwrap()
    };
    let step = || block_on(session.driver().collect_every(None).step()).unwrap();

    let created = put(&arm, &path, version_of("golden"));
    assert_eq!((created.status.as_u16(), state()), (201, json!("Creating")));
    polled(&arm, created.header("azure-asyncoperation"));
    let told = polled(&arm, created.header("azure-asyncoperation")).body;
    assert_eq!((&told["status"], &told["percentComplete"]), (&json!("InProgress"), &json!(0)));
    while !step().is_idle() {}
    let told = polled(&arm, created.header("azure-asyncoperation")).body;
    assert_eq!((&told["status"], state()), (&json!("Succeeded"), json!("Succeeded")), "{told}");
    assert_eq!(call(&arm, "PUT", &path, NEWEST, version_of("golden")).header("azure-asyncoperation"), "");

    // Marked, it does not change; cancelled, it is as it was; deleted, it is gone.
    let marked = call(&arm, "DELETE", &path, NEWEST, None);
    assert_eq!((marked.status.as_u16(), state()), (202, json!("Deleting")));
    let changed = call(&arm, "PATCH", &path, NEWEST, json!({"tags": {"a": "b"}}));
    assert_eq!(changed.error().0, 409);
    assert!(changed.message().contains("is marked for deletion"), "{}", changed.message());
    let latest = session.view().latest(IMAGE, "westus").unwrap_err();
    assert!(latest.to_string().contains("1.0.0 is marked for deletion"), "{latest}");
    assert!(
        block_on(session.deploy(path.as_str(), "westus").plan()).unwrap().problems[0].message().contains("deletion")
    );
    block_on(session.cancel_operation(operation_of(&marked))).unwrap();
    assert_eq!(state(), "Succeeded");
    assert_eq!(polled(&arm, marked.header("azure-asyncoperation")).body["status"], "Canceled");
    // A gallery is marked with what is in it; one that has children after all is as it was.
    let marked = call(&arm, "DELETE", &path, NEWEST, None);
    let again = call(&arm, "DELETE", &path, NEWEST, None);
    assert_eq!(operation_of(&marked), operation_of(&again));
    step();
    assert_eq!(block_on(session.wait_for_operation(operation_of(&marked))).unwrap().status.to_string(), "Succeeded");
    assert_eq!(call(&arm, "GET", &path, NEWEST, None).status, 404);

    // The face's own driver waits on the clock that tests move.
    let mut driving = Box::pin(arm.drive());
    assert!((&mut driving).now_or_never().is_none());
    put(&arm, &path, version_of("golden"));
    assert!((&mut driving).now_or_never().is_none());
    assert_eq!(state(), "Creating", "it looks every five seconds");
    clock.advance(chrono::TimeDelta::seconds(5));
    while state() == "Creating" {
        assert!((&mut driving).now_or_never().is_none());
        std::thread::yield_now();
    }
}
