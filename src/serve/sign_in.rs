//! What clients ask of the sign-in service, of managed identity and of the metadata endpoints before their first request.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::arm::{base_of, base64_url};
use crate::host::{Clock, SystemClock};

/// Seconds until a token expires.
const LIFE: i64 = 24 * 60 * 60;

/// The tenant of a token whose request names none.
const TENANT: &str = "11111111-1111-1111-1111-111111111111";
/// The principal of a token whose request names none.
const PRINCIPAL: &str = "22222222-2222-2222-2222-222222222222";

/// Stands in for the sign-in service. It checks nothing: who gets in is the [`Authenticator`](crate::arm::Authenticator)'s.
#[derive(Clone, Copy, Debug)]
pub(super) struct SignIn;

impl SignIn {
    /// Answers a request for a token or for metadata; `None` if it is another's.
    pub(super) fn answer(&self, request: &Request<Bytes>) -> Option<Response<Bytes>> {
        // Most requests are the gallery's: they are told apart before anything is copied.
        let first = request.uri().path().trim_start_matches('/').split('/').next().unwrap_or_default();
        if ["subscriptions", "providers", "tenants"].iter().any(|word| first.eq_ignore_ascii_case(word)) {
            return None;
        }
        let path = request.uri().path().trim_start_matches('/').to_ascii_lowercase();
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let base = base_of(request);
        let parameters = || Parameters::of(request);
        let body = match (request.method(), segments.as_slice()) {
            (&Method::GET, ["metadata", "endpoints"]) => metadata(&base, &parameters()),
            (&Method::GET, ["common" | "organizations", "discovery", "instance"]) => discovery(request, &base),
            (&Method::GET, [tenant, "v2.0", ".well-known", "openid-configuration"]) => open_id(&base, tenant, "/v2.0"),
            (&Method::GET, [tenant, ".well-known", "openid-configuration"]) => open_id(&base, tenant, ""),
            (&Method::GET, [_, "discovery", "keys"] | [_, "discovery", "v2.0", "keys"]) => json!({"keys": []}),
            (&Method::POST, [tenant, "oauth2", "token"] | [tenant, "oauth2", "v2.0", "token"]) => {
                token(&base, tenant, &parameters())
            }
            (&Method::POST, [tenant, "oauth2", "v2.0", "devicecode"]) => device_code(&base, tenant),
            (&Method::GET, ["msi", "token"] | ["metadata", "identity", "oauth2", "token"])
            | (&Method::POST, ["msi", "token"] | ["oauth2", "token"]) => token(&base, TENANT, &parameters()),
            _ => return None,
        };
        let mut response = Response::new(Bytes::from(body.to_string()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        *response.status_mut() = StatusCode::OK;
        Some(response)
    }
}

/// The parameters of a request: of its query and of its form.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn of(request: &Request<Bytes>) -> Self {
        let form = std::str::from_utf8(request.body()).unwrap_or_default();
        let pairs = request.uri().query().unwrap_or_default().split('&').chain(form.split('&'));
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=')?;
            Some((name.to_ascii_lowercase(), crate::arm::percent_decoded(&value.replace('+', " "))))
        };
        Self(pairs.filter_map(pair).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A cloud, as `az cloud register` reads it: one object, or a list of them in the oldest version.
fn metadata(base: &str, parameters: &Parameters) -> Value {
    let version = parameters.get("api-version").unwrap_or_default();
    let audiences = ["https://management.core.windows.net/", "https://management.azure.com/"];
    let mut cloud = json!({
        "name": "gallery",
        "authentication": {
            "loginEndpoint": base, "audiences": audiences, "tenant": "common", "identityProvider": "AAD",
        },
        "resourceManager": base,
        "portal": base,
        "graph": base,
        "graphAudience": base,
        "microsoftGraphResourceId": base,
        "gallery": base,
        "batch": "https://batch.core.windows.net/",
        "media": "https://rest.media.azure.net",
        "sqlManagement": "https://management.core.windows.net:8443/",
        "activeDirectoryDataLake": "https://datalake.azure.net/",
        "suffixes": {
            "storage": "core.windows.net", "keyVaultDns": "vault.azure.net", "sqlServerHostname": "database.windows.net",
            "acrLoginServer": "azurecr.io",
        },
    });
    match version {
        // The form that has neither a name nor a list.
        "2015-01-01" => {
            json!({"galleryEndpoint": base, "graphEndpoint": base, "portalEndpoint": base, "authentication": {
                "loginEndpoint": base, "audiences": audiences,
            }})
        }
        "2019-05-01" => json!([cloud]),
        _ => std::mem::take(&mut cloud),
    }
}

fn discovery(request: &Request<Bytes>, base: &str) -> Value {
    let host = request.uri().host().or_else(|| request.headers().get(HOST)?.to_str().ok()).unwrap_or("localhost");
    json!({
        "tenant_discovery_endpoint": format!("{base}/{TENANT}/v2.0/.well-known/openid-configuration"),
        "api-version": "1.1",
        "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
    })
}

fn open_id(base: &str, tenant: &str, version: &str) -> Value {
    json!({
        "issuer": format!("{base}/{tenant}{version}"),
        "authorization_endpoint": format!("{base}/{tenant}/oauth2{version}/authorize"),
        "token_endpoint": format!("{base}/{tenant}/oauth2{version}/token"),
        "device_authorization_endpoint": format!("{base}/{tenant}/oauth2/v2.0/devicecode"),
        "jwks_uri": format!("{base}/{tenant}/discovery{version}/keys"),
        "response_types_supported": ["code", "id_token", "token"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
        "tenant_region_scope": null,
        "cloud_instance_name": "localhost",
    })
}

fn device_code(base: &str, tenant: &str) -> Value {
    json!({
        "user_code": "GALLERY", "device_code": "gallery", "verification_uri": format!("{base}/{tenant}/device"),
        "expires_in": 900, "interval": 1, "message": "No code is needed: go on.",
    })
}

/// A token with three parts, as clients decode it; its signature is none.
fn token(base: &str, tenant: &str, parameters: &Parameters) -> Value {
    let now = SystemClock.now().timestamp();
    let tenant = if matches!(tenant, "common" | "organizations") { TENANT } else { tenant };
    let principal = parameters.get("client_id").or_else(|| parameters.get("username")).unwrap_or(PRINCIPAL);
    let resource = parameters.get("resource").or_else(|| parameters.get("scope")).unwrap_or_default();
    let claims = json!({
        "aud": resource.trim_end_matches(".default"),
        "iss": format!("{base}/{tenant}/"),
        "iat": now, "nbf": now - 60, "exp": now + LIFE,
        "appid": principal, "oid": principal, "sub": principal, "tid": tenant, "ver": "1.0", "idtyp": "app",
        "xms_mirid": format!("/subscriptions/{TENANT}/resourcegroups/gallery/providers/Microsoft.ManagedIdentity/userAssignedIdentities/gallery"),
    });
    let header = json!({"typ": "JWT", "alg": "none"});
    let part = |value: &Value| base64_url(value.to_string().as_bytes());
    let jwt = format!("{}.{}.{}", part(&header), part(&claims), base64_url(b"not signed"));
    let is_person = ["password", "refresh_token", "authorization_code", "device_code"];
    let grant = parameters.get("grant_type").unwrap_or_default();
    let mut answer = json!({
        "token_type": "Bearer", "access_token": jwt, "resource": resource, "scope": resource,
        "expires_in": LIFE, "ext_expires_in": LIFE,
    });
    if parameters.get("grant_type").is_none() {
        // Managed identity: numbers as text.
        answer = json!({
            "token_type": "Bearer", "access_token": jwt, "resource": resource, "client_id": principal,
            "expires_in": LIFE.to_string(), "expires_on": (now + LIFE).to_string(), "not_before": (now - 60).to_string(),
        });
    } else if is_person.iter().any(|kind| grant.ends_with(kind)) {
        let info = json!({"uid": principal, "utid": tenant});
        let client = parameters.get("client_id").unwrap_or_default();
        let id = json!({
            "aud": client, "iss": format!("{base}/{tenant}/v2.0"), "iat": now, "nbf": now - 60, "exp": now + LIFE,
            "oid": principal, "sub": principal, "tid": tenant, "preferred_username": principal, "ver": "2.0",
        });
        let id = format!("{}.{}.{}", part(&header), part(&id), base64_url(b"not signed"));
        if let Value::Object(answer) = &mut answer {
            answer.insert("refresh_token".into(), json!("gallery"));
            answer.insert("client_info".into(), json!(base64_url(info.to_string().as_bytes())));
            answer.insert("id_token".into(), json!(id));
        }
    }
    answer
}
