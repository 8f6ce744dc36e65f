//! `Microsoft.Resources/deployments` in a resource group: each resource of a template becomes a PUT to the face itself.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderName, Method, Request, StatusCode};
use serde_json::{Map, Value, json};

use super::evaluate::{Scope, Stop};
use super::jsonc::plain;
use super::kept::Deployment;
use super::plan::{Planned, parameters, planned, variables};
use crate::access::{AccessScope, Action};
use crate::arm::answer::{Answer, Answered, Refusal};
use crate::arm::call::{Address, Call};
use crate::arm::groups;
use crate::arm::inner::{Inner, guid, only};
use crate::arm::machines;
use crate::arm::operations::{Begun, Kind as Change, Own};
use crate::arm::page::Paging;
use crate::arm::text::percent_encoded;
use crate::arm::versions::ApiVersion;

pub(in crate::arm) async fn answer(inner: &Inner, call: &Call, path: &[&str], id: &str) -> Answered {
    call.any_version()?;
    let get = || only(call, &[Method::GET]);
    let post = || only(call, &[Method::POST]);
    // Its operations are asked for by an older path as well, without the provider.
    let place = if path.get(4) == Some(&"providers") { 7 } else { 5 };
    let name = call.segment(place);
    let at = format!("{}/providers/Microsoft.Resources/deployments/{name}", group_of(call));
    let request = Deploying { inner, call, id, name, at };
    // Who may not see the group sees no deployment of it.
    let group = request.send(&Method::GET, &request.group(), "2024-11-01", None).await?;
    let there = || inner.deployments.get(&request.at).ok_or_else(|| request.not_there());
    match path.get(place..).unwrap_or_default() {
        [] => {
            get()?;
            let all = inner.deployments.all_in(&request.group());
            Paging::of(call, &inner.settings)?.of_all(all, Ok)
        }
        [_] => {
            only(call, &[Method::GET, Method::HEAD, Method::PUT, Method::DELETE])?;
            match call.method {
                Method::GET => Ok(Answer::ok(there()?.body)),
                Method::HEAD => {
                    let is_there = there().is_ok();
                    Ok(Answer::empty(if is_there { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }))
                }
                Method::DELETE => {
                    request.may_replace().await?;
                    inner.deployments.remove(&request.at);
                    Ok(Answer::empty(StatusCode::NO_CONTENT))
                }
                _ => request.put(group).await,
            }
        }
        [_, "validate"] => {
            post()?;
            request.validate(group).await
        }
        [_, "whatif"] => {
            post()?;
            request.what_if(group).await
        }
        [_, "exporttemplate"] => {
            post()?;
            Ok(Answer::ok(json!({"template": there()?.template})))
        }
        [_, "operations"] => {
            get()?;
            // In the order in which they were done.
            let operations = there()?.operations.into_iter().enumerate();
            Paging::of(call, &inner.settings)?.of_all(operations.map(|(at, of)| (format!("{at:08}"), of)), Ok)
        }
        [_, "operations", operation] => {
            get()?;
            let found = there()?
                .operations
                .into_iter()
                .find(|of| of.get("operationId").and_then(Value::as_str) == Some(operation));
            found.map(Answer::ok).ok_or_else(|| request.not_there())
        }
        [_, "operationstatuses", operation] => {
            get()?;
            inner.poll(call, operation).await
        }
        _ => Err(groups::unknown(call)),
    }
}

fn group_of(call: &Call) -> String {
    format!("/subscriptions/{}/resourceGroups/{}", call.segment(1), call.segment(3))
}

fn invalid(what: impl Into<String>) -> Refusal {
    Refusal::bad_request("InvalidTemplate", what)
}

impl From<Stop> for Refusal {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Wrong(what) => invalid(format!("Unable to process the template: {what}")),
            Stop::Needs(id) => invalid(format!("The resource '{id}' is not defined in the template.")),
        }
    }
}

/// A request about a deployment.
pub(super) struct Deploying<'a> {
    inner: &'a Inner,
    pub(super) call: &'a Call,
    /// The id of the request.
    pub(super) id: &'a str,
    name: &'a str,
    /// The id of the deployment.
    at: String,
}

/// What a deployment came to.
struct Outcome {
    operations: Vec<Value>,
    /// Ids of what was deployed.
    deployed: Vec<String>,
    outputs: Result<Value, Refusal>,
}

impl Deploying<'_> {
    pub(super) fn group(&self) -> String {
        group_of(self.call)
    }

    fn not_there(&self) -> Refusal {
        let what = format!("Deployment '{}' could not be found.", self.name);
        Refusal::not_found("DeploymentNotFound", what)
    }

    /// Sends a request of the same caller to the face itself.
    pub(super) async fn send(
        &self,
        method: &Method,
        path: &str,
        version: &str,
        body: Option<&Value>,
    ) -> Result<Value, Refusal> {
        let encoded: Vec<String> = path.split('/').map(percent_encoded).collect();
        let url = format!("{}?api-version={}", encoded.join("/"), percent_encoded(version));
        let (proto, host) = self.call.base.split_once("://").unwrap_or(("http", "localhost"));
        let request = Request::builder().method(method).uri(url).header(HOST, host);
        let request = request.header(HeaderName::from_static("x-forwarded-proto"), proto);
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = request.body(body).map_err(|error| invalid(format!("'{path}' is no address: {error}")))?;
        let address = Address::of(&request);
        let call = Call::new(request, address, self.call.session.clone())?;
        let call = call.of_deployment();
        let answer = self.inner.route(&call, &guid()?).await?;
        Ok(answer.body.unwrap_or_default())
    }

    /// Returns the body: az sends the template in it as its file has it.
    pub(super) fn sent(&self) -> Result<Value, Refusal> {
        Call::parsed(plain(&String::from_utf8_lossy(self.call.raw())).as_bytes())
    }

    /// Reads the body: the template, its scope and its resources.
    pub(super) fn read(&self, group: Value, is_dry: bool) -> Result<(Value, Scope, Vec<Planned>), Refusal> {
        let body = self.sent()?;
        let properties = body.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        if properties.get("mode").and_then(Value::as_str).is_some_and(|mode| !mode.eq_ignore_ascii_case("incremental"))
        {
            return Err(invalid("Only the deployment mode 'Incremental' is supported here."));
        }
        let given = properties.get("parameters").and_then(Value::as_object).cloned().unwrap_or_default();
        if ["templateLink", "parametersLink"].iter().any(|link| properties.contains_key(*link))
            || given.values().any(|of| of.get("reference").is_some())
        {
            return Err(invalid(
                "Links and references to other stores are not supported here: send the template and its parameters.",
            ));
        }
        let template = properties.get("template").filter(|template| template.is_object()).cloned();
        let template =
            template.ok_or_else(|| invalid("Deployment template validation failed: the request has no template."))?;
        let deployment =
            json!({"name": self.name, "properties": {"mode": "Incremental", "provisioningState": "Running"}});
        let mut scope = Scope {
            subscription: self.call.segment(1).to_owned(),
            group,
            deployment,
            parameters: Map::new(),
            variables: Map::new(),
            symbols: HashMap::new(),
            known: HashMap::new(),
            now: self.inner.now(),
            fresh: guid()?,
            is_dry,
            calls: Cell::new(0),
            depth: Cell::new(0),
        };
        parameters(&template, &given, &mut scope)?;
        variables(&template, &mut scope)?;
        let planned = planned(&template, &mut scope)?;
        Ok((template, scope, planned))
    }

    async fn validate(&self, group: Value) -> Answered {
        let (template, scope, planned) = self.read(group, true)?;
        let bodies = planned.iter().map(|resource| resource.body(&scope)).collect::<Result<_, _>>()?;
        self.preflight(bodies, &planned).await?;
        outputs(&template, &scope)?;
        let ids: Vec<String> = planned.iter().map(|resource| resource.id.clone()).collect();
        let mut body = self.json(&template, &scope, &planned, "Succeeded");
        if let Some(Value::Object(properties)) = body.get_mut("properties") {
            properties.insert("validatedResources".into(), ids.iter().map(|id| json!({"id": id})).collect());
        }
        Ok(Answer::ok(body))
    }

    /// Looks up the images that VMs, scale sets and disks of the template name, before anything is deployed. One that the template makes
    /// itself cannot be there yet.
    async fn preflight(&self, bodies: Vec<Value>, planned: &[Planned]) -> Result<(), Refusal> {
        let mut absent: Vec<(String, String)> = Vec::new();
        for body in bodies {
            let Some(image) = machines::image(&body) else { continue };
            let is_made = planned.iter().any(|made| {
                let (made, image) = (made.id.to_ascii_lowercase(), image.to_ascii_lowercase());
                made == image || made.starts_with(&format!("{image}/"))
            });
            if is_made || !machines::is_absent(&self.call.session, &body).await? {
                continue;
            }
            let region = body.get("location").and_then(Value::as_str).unwrap_or_default();
            absent.push((region.to_owned(), format!("'{image}'")));
        }
        let Some((region, _)) = absent.first() else { return Ok(()) };
        let images: Vec<&str> = absent.iter().filter(|(of, _)| of == region).map(|(_, image)| image.as_str()).collect();
        let what = format!(
            "In region {region}, the following list of Shared Image Gallery images referenced from the deployment template were not found: \
             {}. Please verify that they exist, are replicated to the region, and are not marked 'exclude from latest'.",
            images.join(", ")
        );
        Err(Refusal::bad_request("InvalidParameter", what).at("imageReference"))
    }

    /// Refuses to replace or forget what another has deployed, unless the caller may change the group.
    async fn may_replace(&self) -> Result<(), Refusal> {
        let caller = self.call.session.caller();
        if self.inner.deployments.get(&self.at).is_none_or(|there| there.caller == *caller) {
            return Ok(());
        }
        let group = AccessScope::ResourceGroup(self.call.segment(1).parse()?, self.call.segment(3).parse()?);
        Ok(self.call.session.refresh().await?.require(Action::WriteResourceGroup, group)?)
    }

    async fn put(&self, group: Value) -> Answered {
        self.may_replace().await?;
        let (template, mut scope, planned) = self.read(group, false)?;
        // What refers to a resource that is not there yet names no image that is.
        let bodies = planned.iter().filter_map(|resource| resource.body(&scope).ok()).collect();
        self.preflight(bodies, &planned).await?;
        let mut body = self.json(&template, &scope, &planned, "Succeeded");
        let Outcome { operations, deployed, outputs } = self.deploy(&template, &mut scope, planned).await;
        let error = outputs.as_ref().err().cloned();
        if let Some(Value::Object(properties)) = body.get_mut("properties") {
            properties.insert("outputResources".into(), deployed.iter().map(|id| json!({"id": id})).collect());
            match &outputs {
                Ok(outputs) => drop(properties.insert("outputs".into(), outputs.clone())),
                Err(refusal) => {
                    properties.insert("provisioningState".into(), json!("Failed"));
                    properties.insert("error".into(), refusal.error());
                }
            }
        }
        let caller = self.call.session.caller().clone();
        let is_new =
            self.inner.deployments.put(&self.at, Deployment { caller, body: body.clone(), template, operations });
        if self.inner.operations.is_instant() {
            return match error {
                Some(refusal) => Err(refusal),
                None => Ok(Answer::new(if is_new { StatusCode::CREATED } else { StatusCode::OK }, body)),
            };
        }
        let begun = Begun {
            id: self.id.to_owned(),
            kind: if is_new { Change::Create } else { Change::Update },
            resource: self.at.clone(),
            region: String::new(),
            own: Some(Own {
                caller: self.call.session.caller().clone(),
                result: body.clone(),
                error: error.as_ref().map(Refusal::error),
            }),
        };
        if let Some(Value::Object(properties)) = body.get_mut("properties") {
            properties.insert("provisioningState".into(), json!("Accepted"));
            properties.retain(|name, _| !matches!(name.as_str(), "outputs" | "outputResources" | "error"));
        }
        let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
        let answer = self.inner.operations.begin(self.call, begun, self.inner.now(), Answer::new(status, body));
        // A deployment's operation has an address of its own.
        let operation = HeaderName::from_static("azure-asyncoperation");
        let Answer { status, headers, body } = answer;
        let url = format!(
            "{}{}/operationStatuses/{}?api-version={}",
            self.call.base, self.at, self.id, self.call.api_version
        );
        let headers = headers.into_iter().filter(|(name, _)| *name != operation).collect();
        Ok(Answer { status, headers, body }.with(operation, url))
    }

    /// Deploys resources one by one, each after those that it depends on or refers to. The first refusal ends it.
    async fn deploy(&self, template: &Value, scope: &mut Scope, mut waiting: Vec<Planned>) -> Outcome {
        let (mut operations, mut deployed, mut deferred) = (Vec::new(), Vec::new(), HashSet::new());
        let refused = loop {
            let is_ready = |of: &Planned| {
                !deferred.contains(&of.id) && !waiting.iter().any(|other| other.id != of.id && of.waits_for(other))
            };
            let Some(place) = waiting.iter().position(is_ready) else {
                let Some(first) = waiting.first() else { break None };
                break Some(invalid(format!(
                    "Deployment template validation failed: 'Circular dependency detected on resource: '{}'.'.",
                    first.id
                )));
            };
            let resource = waiting.remove(place);
            let result = match resource.body(scope) {
                Err(Stop::Needs(id)) => {
                    if waiting.iter().any(|other| other.id.eq_ignore_ascii_case(&id)) {
                        deferred.insert(resource.id.clone());
                        waiting.insert(place, resource);
                        continue;
                    }
                    match self.send(&Method::GET, &id, ApiVersion::LATEST.as_str(), None).await {
                        Ok(found) => {
                            scope.known.insert(id, found);
                            waiting.insert(place, resource);
                            continue;
                        }
                        Err(refusal) => Err(refusal),
                    }
                }
                Err(stop) => Err(stop.into()),
                Ok(body) => self.send(&Method::PUT, &resource.id, &resource.api_version, Some(&body)).await,
            };
            operations.push(self.operation(&resource, result.as_ref().err()));
            match result {
                Ok(made) => {
                    scope.known.insert(resource.id.to_ascii_lowercase(), made);
                    deployed.push(resource.id);
                    deferred.clear();
                }
                Err(refusal) => break Some(failure(&resource, &refusal)),
            }
        };
        let outputs = match refused {
            Some(refusal) => Err(refusal),
            None => loop {
                match outputs(template, scope) {
                    Err(Stop::Needs(id)) => match self.send(&Method::GET, &id, ApiVersion::LATEST.as_str(), None).await
                    {
                        Ok(found) => drop(scope.known.insert(id, found)),
                        Err(refusal) => break Err(refusal),
                    },
                    Err(stop) => break Err(stop.into()),
                    Ok(outputs) => break Ok(outputs),
                }
            },
        };
        Outcome { operations, deployed, outputs }
    }

    fn operation(&self, resource: &Planned, refusal: Option<&Refusal>) -> Value {
        let operation = resource
            .id
            .to_ascii_lowercase()
            .bytes()
            .fold(0_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let operation = format!("{operation:016X}");
        let status = refusal.map_or(json!({"error": null}), |refusal| json!({"error": refusal.error()}));
        let code = refusal
            .map_or("OK".to_owned(), |refusal| refusal.status.canonical_reason().unwrap_or("Error").replace(' ', ""));
        json!({
            "id": format!("{}/operations/{operation}", self.at),
            "operationId": operation,
            "properties": {
                "provisioningOperation": "Create",
                "provisioningState": if refusal.is_some() { "Failed" } else { "Succeeded" },
                "timestamp": self.inner.now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
                "duration": "PT0S", "trackingId": self.id, "statusCode": code,
                "statusMessage": if refusal.is_some() { status } else { Value::Null },
                "targetResource": {"id": resource.id, "resourceType": resource.kind, "resourceName": resource.name},
            },
        })
    }

    /// Returns the deployment as Azure answers it.
    fn json(&self, template: &Value, scope: &Scope, planned: &[Planned], state: &str) -> Value {
        let kind_of = |name: &str| {
            let known = template.get("parameters").and_then(|all| all.get(name)).and_then(|of| of.get("type"));
            known.and_then(Value::as_str).unwrap_or("object").to_owned()
        };
        let shown = scope.parameters.iter().map(|(name, value)| {
            let kind = kind_of(name);
            (name.clone(), if is_secret(&kind) { json!({"type": kind}) } else { json!({"type": kind, "value": value}) })
        });
        let mut providers: Vec<(String, Vec<Value>)> = Vec::new();
        for resource in planned {
            let (namespace, kind) = resource.kind.split_once('/').unwrap_or((&resource.kind, ""));
            let kind = json!({"resourceType": kind, "locations": [null]});
            match providers.iter_mut().find(|(known, _)| known == namespace) {
                Some((_, kinds)) if kinds.contains(&kind) => {}
                Some((_, kinds)) => kinds.push(kind),
                None => providers.push((namespace.to_owned(), vec![kind])),
            }
        }
        let providers =
            providers.into_iter().map(|(namespace, kinds)| json!({"namespace": namespace, "resourceTypes": kinds}));
        json!({
            "id": self.at, "name": self.name, "type": "Microsoft.Resources/deployments",
            "properties": {
                "parameters": Value::Object(shown.collect()), "mode": "Incremental", "provisioningState": state,
                "timestamp": self.inner.now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true), "duration": "PT0S",
                "correlationId": self.id, "providers": providers.collect::<Vec<_>>(), "dependencies": [],
            },
        })
    }
}

/// Whether a parameter or output of a type is told to nobody.
fn is_secret(kind: &str) -> bool {
    kind.to_ascii_lowercase().starts_with("secure")
}

/// Evaluates what a template puts out.
fn outputs(template: &Value, scope: &Scope) -> Result<Value, Stop> {
    let mut made = Map::new();
    for (name, of) in template.get("outputs").and_then(Value::as_object).into_iter().flatten() {
        let turns = Vec::new();
        if let Some(condition) = of.get("condition")
            && scope.value(condition, &turns)? == json!(false)
        {
            continue;
        }
        let value = match of.get("copy") {
            Some(copy) => {
                let copy = copy.as_object().cloned().unwrap_or_default();
                let named = copy.into_iter().chain([("name".to_owned(), json!(name))]).collect();
                scope.looped(&Value::Object(named), &turns)?.1
            }
            None => scope.value(of.get("value").unwrap_or(&Value::Null), &turns)?,
        };
        let kind = of.get("type").cloned().unwrap_or(json!("String"));
        let is_secret = kind.as_str().is_some_and(is_secret);
        made.insert(
            name.clone(),
            if is_secret { json!({"type": kind}) } else { json!({"type": kind, "value": value}) },
        );
    }
    Ok(made.into())
}

/// Returns the refusal of a deployment of which a resource was refused.
fn failure(resource: &Planned, refusal: &Refusal) -> Refusal {
    let what = "At least one resource deployment operation failed. Please list deployment operations for details. Please see \
                https://aka.ms/arm-deployment-operations for usage details.";
    let mut detail = refusal.error();
    if let Value::Object(detail) = &mut detail {
        detail.insert("target".into(), json!(resource.id));
    }
    Refusal::new(StatusCode::CONFLICT, "DeploymentFailed", what).detailed(detail)
}
