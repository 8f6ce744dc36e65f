//! Deployments of templates, over HTTP in process.

#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use bytes::Bytes;
use compute_gallery::GalleryService;
use compute_gallery::arm::{Arm, ArmBuilder};
use compute_gallery::store::MemoryStore;
use futures::executor::block_on;
use http::Request;
use serde_json::{Value, json};

const GROUP: &str = "/subscriptions/dev/resourceGroups/images";
const DEPLOYMENT: &str = "/subscriptions/dev/resourcegroups/images/providers/Microsoft.Resources/deployments/first";

fn builder() -> ArmBuilder {
    let settings = GalleryService::builder()
        .allow_all()
        .one_store_for_all_zones()
        .require_resource_groups()
        .record_disk_encryption_sets()
        .azure_2026();
    ArmBuilder::new(block_on(settings.store(MemoryStore::new()).create()).unwrap()).named_sources(4 << 20)
}

fn call(arm: &Arm, method: &str, path: &str, body: &Value) -> (u16, String, Value) {
    let join = if path.contains("api-version") { "" } else { "?api-version=2025-04-01" };
    let request = Request::builder().method(method).uri(format!("{path}{join}")).header("Authorization", "Bearer x");
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    let (head, body) = block_on(arm.answer(request.header("Host", "here").body(body).unwrap())).into_parts();
    let operation = head.headers.get("azure-asyncoperation").map_or("", |url| url.to_str().unwrap()).to_owned();
    (
        head.status.as_u16(),
        operation,
        if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() },
    )
}

fn face(builder: ArmBuilder) -> Arm {
    let arm = builder.build();
    assert_eq!(call(&arm, "PUT", GROUP, &json!({"location": "westus2"})).0, 201);
    arm
}

/// The form of the quickstarts that make a gallery, a definition and a version, with what else templates of galleries use.
fn template() -> Value {
    let version = "2023-07-03";
    json!({
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0",
        "parameters": {
            "galleryName": {"type": "string", "minLength": 1},
            "location": {"type": "string", "defaultValue": "[resourceGroup().location]"},
            "regions": {"type": "array", "defaultValue": ["westus2", "East US 2"]},
            "skus": {"type": "array", "defaultValue": ["web", "db"]},
            "secret": {"type": "securestring", "defaultValue": "hidden"},
            "withVersion": {"type": "bool", "defaultValue": true},
        },
        "variables": {
            "gallery": "[toLower(concat(parameters('galleryName'), 'Gallery'))]",
            "image": "[format('{0}-{1}', variables('gallery'), 'image')]",
            "copy": [{"name": "targets", "count": "[length(parameters('regions'))]", "input": {
                "name": "[parameters('regions')[copyIndex('targets')]]", "regionalReplicaCount": "[copyIndex('targets', 1)]",
            }}],
        },
        "resources": [
            {
                "type": "Microsoft.Compute/galleries/images/versions", "apiVersion": version, "condition": "[parameters('withVersion')]",
                "name": "[format('{0}/{1}/{2}', variables('gallery'), 'web', '1.0.0')]", "location": "[parameters('location')]",
                "dependsOn": ["[resourceId('Microsoft.Compute/galleries/images', variables('gallery'), 'web')]"],
                "properties": {
                    "publishingProfile": {"targetRegions": "[variables('targets')]", "replicaCount": 1},
                    "storageProfile": {"source": {"id": "[resourceId('Microsoft.Compute/images', 'golden')]"}},
                },
            },
            {
                "type": "Microsoft.Compute/galleries/images", "apiVersion": version,
                "name": "[concat(variables('gallery'), '/', parameters('skus')[copyIndex()])]", "location": "[parameters('location')]",
                "copy": {"name": "definitions", "count": "[length(parameters('skus'))]"},
                "dependsOn": ["[variables('gallery')]"],
                "properties": {
                    "osType": "Linux", "osState": "Generalized",
                    "description": "[reference(resourceId('Microsoft.Compute/galleries', variables('gallery'))).identifier.uniqueName]",
                    "identifier": {"publisher": "[[x]", "offer": "o", "sku": "[parameters('skus')[copyIndex()]]"},
                },
            },
            {
                "type": "Microsoft.Compute/galleries", "apiVersion": version, "name": "[variables('gallery')]",
                "location": "[parameters('location')]", "tags": {"made": "[uniqueString(resourceGroup().id)]"},
                "properties": {"description": "[if(equals(1, 1), 'yes', reference('nowhere'))]"},
            },
        ],
        "outputs": {
            "galleryId": {"type": "string", "value": "[resourceId('Microsoft.Compute/galleries', variables('gallery'))]"},
            "image": {"type": "string", "value": "[variables('image')]"},
        },
    })
}

fn deployment(template: &Value, parameters: &Value) -> Value {
    json!({"properties": {"mode": "Incremental", "template": template, "parameters": parameters}})
}

fn named() -> Value {
    json!({"galleryName": {"value": "My"}})
}

#[test]
fn a_template_is_deployed_in_the_order_of_its_dependencies() {
    let arm = face(builder().instant());
    let mut good = template();
    good["resources"][1]["properties"]["identifier"]["publisher"] = json!("p");
    let body = deployment(&good, &named());
    let (status, _, validated) = call(&arm, "POST", &format!("{DEPLOYMENT}/validate"), &body);
    assert_eq!(
        (status, validated["properties"]["validatedResources"].as_array().unwrap().len()),
        (200, 4),
        "{validated}"
    );
    let gallery = format!("{GROUP}/providers/Microsoft.Compute/galleries/mygallery");
    assert_eq!(call(&arm, "GET", &format!("{gallery}?api-version=2023-07-03"), &Value::Null).0, 404);

    let (status, _, made) = call(&arm, "PUT", DEPLOYMENT, &body);
    assert_eq!(status, 201, "{made}");
    let properties = &made["properties"];
    assert_eq!(properties["provisioningState"], "Succeeded");
    assert_eq!(properties["outputs"]["galleryId"]["value"], gallery.as_str());
    assert_eq!(properties["outputs"]["image"]["value"], "mygallery-image");
    assert_eq!(properties["parameters"]["secret"], json!({"type": "securestring"}));
    let (_, _, image) = call(&arm, "GET", &format!("{gallery}/images/db?api-version=2023-07-03"), &Value::Null);
    assert_eq!(image["properties"]["description"], "dev-MYGALLERY");
    let (_, _, version) =
        call(&arm, "GET", &format!("{gallery}/images/web/versions/1.0.0?api-version=2023-07-03"), &Value::Null);
    let regions = version["properties"]["publishingProfile"]["targetRegions"].as_array().unwrap();
    let regions: Vec<_> = regions
        .iter()
        .map(|region| (region["name"].as_str().unwrap(), region["regionalReplicaCount"].as_i64().unwrap()))
        .collect();
    assert_eq!(regions, [("West US 2", 1), ("East US 2", 2)]);

    // The same again changes nothing; what was deployed is told.
    assert_eq!(call(&arm, "PUT", DEPLOYMENT, &body).0, 200);
    let (_, _, operations) = call(&arm, "GET", &format!("{DEPLOYMENT}/operations"), &Value::Null);
    assert_eq!(operations["value"].as_array().unwrap().len(), 4);
    let (_, _, exported) = call(&arm, "POST", &format!("{DEPLOYMENT}/exportTemplate"), &Value::Null);
    assert_eq!(exported["template"], good);
    let list = DEPLOYMENT.trim_end_matches("/first");
    assert_eq!(call(&arm, "GET", list, &Value::Null).2["value"][0]["name"], "first");
    assert_eq!(call(&arm, "DELETE", DEPLOYMENT, &Value::Null).0, 204);
    assert_eq!(call(&arm, "GET", DEPLOYMENT, &Value::Null).2["error"]["code"], "DeploymentNotFound");
}

#[test]
fn a_deployment_is_an_operation_and_fails_with_the_resources_error() {
    let arm = face(builder());
    // A publisher that begins with a bracket is refused by the gallery.
    let (status, operation, started) = call(&arm, "PUT", DEPLOYMENT, &deployment(&template(), &named()));
    assert_eq!((status, &started["properties"]["provisioningState"]), (201, &json!("Accepted")), "{started}");
    let url = operation.strip_prefix("http://here").unwrap();
    assert!(url.contains("/operationStatuses/"), "{url}");
    assert_eq!(call(&arm, "GET", url, &Value::Null).2["status"], "InProgress");
    let (_, _, ended) = call(&arm, "GET", url, &Value::Null);
    assert_eq!((&ended["status"], &ended["error"]["code"]), (&json!("Failed"), &json!("DeploymentFailed")), "{ended}");
    assert_eq!(ended["error"]["details"][0]["code"], "InvalidParameter");
    assert!(ended["error"]["details"][0]["target"].as_str().unwrap().ends_with("/images/web"));
    let (_, _, there) = call(&arm, "GET", DEPLOYMENT, &Value::Null);
    assert_eq!(there["properties"]["provisioningState"], "Failed");
}

#[test]
fn children_symbols_and_extensions_are_resources_too() {
    let arm = face(builder().instant());
    let image = json!({"osType": "Linux", "osState": "Generalized", "identifier": {"publisher": "p", "offer": "o", "sku": "s"}});
    let nested = json!({"resources": [{
        "type": "Microsoft.Compute/galleries", "apiVersion": "2023-07-03", "name": "G", "location": "westus2",
        "resources": [{"type": "images", "apiVersion": "2023-07-03", "name": "I", "location": "westus2", "properties": image}],
    }]});
    let (status, _, made) = call(&arm, "PUT", DEPLOYMENT, &deployment(&nested, &json!({})));
    assert_eq!(status, 201, "{made}");
    let symbols = json!({"languageVersion": "2.0", "resources": {
        "image": {"type": "Microsoft.Compute/galleries/images", "apiVersion": "2023-07-03", "name": "H/I", "location": "westus2",
            "properties": image, "dependsOn": ["gallery"]},
        "gallery": {"type": "Microsoft.Compute/galleries", "apiVersion": "2023-07-03", "name": "H", "location": "westus2"},
        "other": {"existing": true, "type": "Microsoft.Compute/galleries", "apiVersion": "2023-07-03", "name": "G"},
    }, "outputs": {
        "unique": {"type": "string", "value": "[reference('other').identifier.uniqueName]"},
        "place": {"type": "string", "value": "[reference('gallery', '2023-07-03', 'full').location]"},
    }});
    let (status, _, made) = call(&arm, "PUT", DEPLOYMENT, &deployment(&symbols, &json!({})));
    assert_eq!(status, 200, "{made}");
    assert_eq!(made["properties"]["outputs"]["unique"]["value"], "dev-G");
    assert_eq!(made["properties"]["outputs"]["place"]["value"], "westus2");
}

#[test]
fn what_is_wrong_with_a_template_is_told_before_anything_is_deployed() {
    let arm = face(builder().instant());
    let resources = |name: &str| json!({"resources": [{"type": "Microsoft.Compute/galleries", "apiVersion": "2023-07-03", "name": name, "location": "westus2"}]});
    let with = |resources: Value| json!({"resources": resources});
    let gallery = |name: &str, on: &str| json!({"type": "Microsoft.Compute/galleries", "apiVersion": "2023-07-03", "name": name, "location": "westus2", "dependsOn": [on]});
    let rows = [
        (resources("[dataUri('x')]"), json!({}), "The template function 'dataUri' is not valid"),
        (resources("[concat('a']"), json!({}), "The language expression is not valid"),
        (resources("[variables('a')]"), json!({}), "The template variable 'a' is not found"),
        (resources("[parameters('a')]"), json!({}), "The template parameter 'a' is not found"),
        (
            resources("G"),
            json!({"x": {"value": 1}}),
            "The template parameters 'x' in the parameters file are not valid",
        ),
        (template(), json!({}), "The value for the template parameter 'galleryName' is not provided"),
        (template(), json!({"galleryName": {"value": 7}}), "is not of the type 'string'"),
        (template(), json!({"galleryName": {"value": ""}}), "is out of its bounds"),
        (with(json!([gallery("A", "B"), gallery("B", "A")])), json!({}), "Circular dependency detected"),
        (with(json!([gallery("A", ""), gallery("a", "")])), json!({}), "is defined multiple times"),
        (
            with(json!([{"type": "Microsoft.Compute/galleries/images", "apiVersion": "2023-07-03", "name": "G"}])),
            json!({}),
            "incorrect segment lengths",
        ),
        (with(json!([{"type": "Microsoft.Compute/galleries", "name": "G"}])), json!({}), "has no 'apiVersion'"),
        (
            json!({"variables": {"a": "[variables('b')]", "b": "[variables('a')]"}, "resources": [{"type": "[variables('a')]", "apiVersion": "x", "name": "x"}]}),
            json!({}),
            "refers to itself",
        ),
        (json!({}), json!({}), "the template has no resources"),
    ];
    for (template, parameters, expected) in rows {
        let (status, _, answer) = call(&arm, "PUT", DEPLOYMENT, &deployment(&template, &parameters));
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert_eq!((status, &answer["error"]["code"]), (400, &json!("InvalidTemplate")), "{expected}: {answer}");
        assert!(message.contains(expected), "{message}");
    }
    // Variables that double each other end before they fill the memory.
    let mut variables = json!({"v0": "0123456789"});
    for at in 1..30 {
        let before = at - 1;
        variables[format!("v{at}")] = json!(format!("[concat(variables('v{before}'), variables('v{before}'))]"));
    }
    let bomb = json!({"variables": variables, "resources": [{"type": "a/b", "apiVersion": "x", "name": "[variables('v29')]"}]});
    assert_eq!(call(&arm, "PUT", DEPLOYMENT, &deployment(&bomb, &json!({}))).0, 400);
    let list = format!("{GROUP}/providers/Microsoft.Compute/galleries?api-version=2023-07-03");
    assert_eq!(call(&arm, "GET", &list, &Value::Null).2["value"], json!([]));
}

#[test]
fn what_if_tells_what_would_change_and_changes_nothing() {
    let arm = face(builder().instant());
    let gallery = |name: &str, description: &str| {
        json!({"type": "Microsoft.Compute/galleries", "apiVersion": "2023-07-03", "name": name, "location": "[resourceGroup().location]",
            "properties": {"description": description}})
    };
    let template = |resources: Value| deployment(&json!({"resources": resources}), &json!({}));
    let (status, _, made) = call(
        &arm,
        "PUT",
        DEPLOYMENT,
        &template(json!([gallery("Same", "a"), gallery("Other", "a"), gallery("Left", "a")])),
    );
    assert_eq!(status, 201, "{made}");
    let asked = template(json!([gallery("same", "a"), gallery("Other", "b"), gallery("New", "a")]));
    let (status, _, answer) = call(&arm, "POST", &format!("{DEPLOYMENT}/whatIf"), &asked);
    assert_eq!((status, &answer["status"]), (200, &json!("Succeeded")), "{answer}");
    let changes = answer["properties"]["changes"].as_array().unwrap();
    let told: Vec<(&str, &str)> = changes
        .iter()
        .map(|of| (of["resourceId"].as_str().unwrap().rsplit('/').next().unwrap(), of["changeType"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [("same", "NoChange"), ("Other", "Modify"), ("New", "Create"), ("Left", "Ignore")]);
    let delta =
        json!([{"path": "properties.description", "propertyChangeType": "Modify", "before": "a", "after": "b"}]);
    assert_eq!(changes[1]["delta"], delta);
    assert_eq!((&changes[2]["after"]["location"], changes[2].get("before")), (&json!("westus2"), None));
    let mut short = asked;
    short["properties"]["whatIfSettings"] = json!({"resultFormat": "ResourceIdOnly"});
    let (_, _, answer) = call(&arm, "POST", &format!("{DEPLOYMENT}/whatIf"), &short);
    assert_eq!(answer["properties"]["changes"][0]["changeType"], "Deploy");
    let new = format!("{GROUP}/providers/Microsoft.Compute/galleries/New?api-version=2023-07-03");
    assert_eq!(call(&arm, "GET", &new, &Value::Null).0, 404);
}

#[test]
fn a_secret_that_is_put_out_is_told_to_nobody() {
    for instant in [true, false] {
        let arm = face(if instant { builder().instant() } else { builder() });
        let outputs = json!({
            "secret": {"type": "secureString", "value": "[parameters('secret')]"},
            "secrets": {"type": "SecureObject", "value": {"of": "[parameters('secret')]"}},
            "plain": {"type": "string", "value": "told"},
        });
        let parameters = json!({"secret": {"type": "securestring"}});
        let template = json!({"parameters": parameters, "resources": [], "outputs": outputs});
        let body = deployment(&template, &json!({"secret": {"value": "hidden"}}));
        let (status, operation, put) = call(&arm, "PUT", DEPLOYMENT, &body);
        assert_eq!(status, 201, "{put}");
        let (_, _, there) = call(&arm, "GET", DEPLOYMENT, &Value::Null);
        assert_eq!(there["properties"]["outputs"]["plain"]["value"], "told");
        let mut answers = vec![put, there];
        if !instant {
            let id = operation.split(['/', '?']).find(|part| part.len() == 36).unwrap();
            let url = format!("{DEPLOYMENT}/operationStatuses/{id}?monitor=true&api-version=2025-04-01");
            answers.extend((0..2).map(|_| call(&arm, "GET", &url, &Value::Null).2));
        }
        assert!(answers.iter().all(|answer| !answer.to_string().contains("hidden")), "{answers:?}");
    }
}

#[test]
fn what_another_has_deployed_is_not_replaced_nor_forgotten_by_who_may_only_read() {
    use compute_gallery::access::{AccessScope, BuiltInRole, MemoryDirectory, RoleAssignment, TenantId};
    use compute_gallery::arm::UntrustedClaims;
    let (directory, tenant) = (MemoryDirectory::new(), "contoso".parse::<TenantId>().unwrap());
    directory.add_subscription("dev".parse().unwrap(), tenant.clone(), None).unwrap();
    for user in ["ann", "ben"] {
        directory.add_user(user, &tenant).unwrap();
    }
    let service = GalleryService::builder().directory(directory).administrator("ann".parse().unwrap());
    let service = block_on(service.store(MemoryStore::new()).create()).unwrap();
    let scope = AccessScope::Subscription("dev".parse().unwrap());
    let reader = RoleAssignment::new("1", "ben".parse().unwrap(), BuiltInRole::Reader.id(), scope).unwrap();
    block_on(service.session("ann".parse().unwrap()).assign_role(reader)).unwrap();
    let arm = ArmBuilder::new(service).authenticator(UntrustedClaims).instant().build();
    // {"oid":"ann"} and {"oid":"ben"}.
    let (ann, ben) = ("Bearer e30.eyJvaWQiOiJhbm4ifQ.eA", "Bearer e30.eyJvaWQiOiJiZW4ifQ.eA");
    let ask = |token: &str, method: &str, path: &str, body: &Value| {
        let request = Request::builder().method(method).uri(format!("{path}?api-version=2025-04-01"));
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let request = request.header("Authorization", token).header("Host", "here").body(body).unwrap();
        block_on(arm.answer(request)).status().as_u16()
    };
    let empty = deployment(&json!({"resources": []}), &json!({}));
    assert_eq!(ask(ann, "PUT", GROUP, &json!({"location": "westus2"})), 201);
    assert_eq!(ask(ann, "PUT", DEPLOYMENT, &empty), 201);
    assert_eq!(ask(ben, "GET", DEPLOYMENT, &Value::Null), 200);
    assert_eq!(ask(ben, "DELETE", DEPLOYMENT, &Value::Null), 403);
    assert_eq!(ask(ben, "PUT", DEPLOYMENT, &empty), 403);
    assert_eq!(ask(ann, "PUT", DEPLOYMENT, &empty), 200);
    assert_eq!(ask(ann, "DELETE", DEPLOYMENT, &Value::Null), 204);
}
