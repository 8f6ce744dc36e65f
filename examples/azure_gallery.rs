//! Azure's gallery service as a program: az, the SDKs and other tools talk to it as to Azure.
//!
//! `cargo run --release --features serve --example azure_gallery -- --https 127.0.0.1:8443 --ca ca.pem`
//!
//! `docs/azure-clients.md` has a page for each client.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use compute_gallery::access::{MemoryDirectory, TenantId};
use compute_gallery::arm::{ArmBuilder, OneToken, TestClock, TestEndpoints, UntrustedClaims};
use compute_gallery::model::{Region, RegionCatalog};
use compute_gallery::serve::{Authority, Server};
use compute_gallery::store::{FsStore, MemoryStore};
use compute_gallery::{Caller, GalleryService, GalleryServiceBuilder};
use lexopt::prelude::*;
use serde_json::Value;

type Failure = Box<dyn std::error::Error>;

const HELP: &str = "\
Azure's gallery service, on loopback.

  --http ADDR:PORT        listen for http
  --https ADDR:PORT       listen for https, with certificates of an authority of its own
  --proxy ADDR:PORT       listen as a proxy (HTTPS_PROXY), in which it is every host
  --ca FILE               write the authority's certificate
  --store DIR             keep everything in a directory (default: memory)
  --regions LIST          names of regions, by commas (default: all)
  --named-sources SIZE    a source that is not there is a disk of this size: 30GiB, 512MiB, or bytes
  --instant               operations are done when they are answered
  --retry-after SECONDS   seconds between polls of an operation, at least 1 (default: 1)
  --token TOKEN           the only token that is taken (default: any)
  --directory FILE        tenants, and who is in them, as JSON: callers are the claims of their tokens, which are
                          believed, and have the roles that were assigned to them (default: all may do all)
  --strict-versions       refuse api-versions that Azure does not have, for reads as well
  --test-endpoints        answer /_test/ as well";

/// The command line.
#[derive(Default)]
struct Arguments {
    http: Option<std::net::SocketAddr>,
    https: Option<std::net::SocketAddr>,
    proxy: Option<std::net::SocketAddr>,
    ca: Option<PathBuf>,
    store: Option<PathBuf>,
    regions: Option<String>,
    named_sources: Option<u64>,
    instant: bool,
    retry_after: Option<NonZeroU32>,
    token: Option<String>,
    directory: Option<PathBuf>,
    strict_versions: bool,
    test_endpoints: bool,
}

fn arguments() -> Result<Option<Arguments>, Failure> {
    let mut read = Arguments::default();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("http") => read.http = Some(parser.value()?.parse()?),
            Long("https") => read.https = Some(parser.value()?.parse()?),
            Long("proxy") => read.proxy = Some(parser.value()?.parse()?),
            Long("ca") => read.ca = Some(parser.value()?.into()),
            Long("store") => read.store = Some(parser.value()?.into()),
            Long("regions") => read.regions = Some(parser.value()?.string()?),
            Long("named-sources") => read.named_sources = Some(size(&parser.value()?.string()?)?),
            Long("instant") => read.instant = true,
            Long("retry-after") => read.retry_after = Some(parser.value()?.parse()?),
            Long("token") => read.token = Some(parser.value()?.string()?),
            Long("directory") => read.directory = Some(parser.value()?.into()),
            Long("strict-versions") => read.strict_versions = true,
            Long("test-endpoints") => read.test_endpoints = true,
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    if read.http.is_none() && read.https.is_none() && read.proxy.is_none() {
        return Err("nothing to listen on: give --http, --https or --proxy".into());
    }
    Ok(Some(read))
}

/// Reads a size: bytes, or with a unit.
fn size(text: &str) -> Result<u64, Failure> {
    let digits = text.trim_end_matches(|char: char| char.is_ascii_alphabetic());
    let unit = match text.strip_prefix(digits).unwrap_or_default().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        other => return Err(format!("`{text}` is no size: `{other}` is no unit").into()),
    };
    let number: u64 = digits.parse().map_err(|error| format!("`{text}` is no size: {error}"))?;
    number.checked_mul(unit).ok_or_else(|| format!("`{text}` is too large").into())
}

/// The regions of the list, as Azure knows them.
fn regions(list: Option<&str>) -> Result<RegionCatalog, Failure> {
    let all = RegionCatalog::azure_2026();
    let Some(list) = list else { return Ok(all) };
    let mut some = RegionCatalog::empty();
    for name in list.split(',') {
        let region: Region = name.trim().parse()?;
        let info = all.get(&region).ok_or_else(|| format!("`{name}` is no region of Azure"))?;
        some = some.with_region(info.clone());
    }
    Ok(some)
}

/// Reads a directory, and who may do everything:
/// `{"administrators": [CALLER], "tenants": {TENANT: {"subscriptions": [ID], "users": [CALLER], "applications": [CALLER], "guests": {PRINCIPAL: CALLER},
/// "consents": {PRINCIPAL: CALLER}}}}`.
fn directory(path: &Path) -> Result<(MemoryDirectory, Vec<Caller>), Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let read: Value = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let directory = MemoryDirectory::new();
    let list = |of: &Value, name: &str| -> Vec<String> {
        let items = of.get(name).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let pairs = |of: &Value, name: &str| -> Vec<(String, String)> {
        let items = of.get(name).and_then(Value::as_object).into_iter().flatten();
        items.filter_map(|(id, of)| Some((id.clone(), of.as_str()?.to_owned()))).collect()
    };
    let mut tenants: Vec<(TenantId, &Value)> = Vec::new();
    for (name, of) in read.get("tenants").and_then(Value::as_object).into_iter().flatten() {
        let tenant: TenantId = name.parse()?;
        for subscription in list(of, "subscriptions") {
            directory.add_subscription(subscription.parse()?, tenant.clone(), None)?;
        }
        for user in list(of, "users") {
            directory.add_user(&user, &tenant)?;
        }
        for application in list(of, "applications") {
            directory.add_application(&application, &tenant)?;
        }
        tenants.push((tenant, of));
    }
    for (tenant, of) in tenants {
        for (id, user) in pairs(of, "guests") {
            directory.add_guest(&id, &tenant, &user)?;
        }
        for (id, application) in pairs(of, "consents") {
            directory.consent(&id, &tenant, &application)?;
        }
    }
    let administrators = list(&read, "administrators").iter().map(|caller| caller.parse()).collect::<Result<_, _>>()?;
    Ok((directory, administrators))
}

fn main() -> Result<(), Failure> {
    let Some(arguments) = arguments()? else {
        println!("{HELP}");
        return Ok(());
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(arguments))
}

async fn serve(arguments: Arguments) -> Result<(), Failure> {
    let (regions, clock) = (regions(arguments.regions.as_deref())?, TestClock::default());
    let people = arguments.directory.as_deref().map(directory).transpose()?;
    let settings = {
        let (regions, clock, people) = (regions.clone(), clock.clone(), people.clone());
        move || -> GalleryServiceBuilder {
            let settings = match &people {
                Some((directory, administrators)) => {
                    let settings = GalleryService::builder().directory(directory.clone());
                    administrators.iter().cloned().fold(settings, GalleryServiceBuilder::administrator)
                }
                None => GalleryService::builder().allow_all(),
            };
            settings
                .one_store_for_all_zones()
                .require_resource_groups()
                .azure_2026()
                // The host of the double encrypts, or nothing does.
                .record_disk_encryption_sets()
                .region_catalog(regions.clone())
                .clock(clock.clone())
        }
    };
    let service = match &arguments.store {
        Some(folder) => settings().store(FsStore::open_or_create(folder)?).open_or_create().await?,
        None => settings().store(MemoryStore::new()).create().await?,
    };
    let mut arm = ArmBuilder::new(service).region_catalog(regions).clock(clock.clone());
    if people.is_some() {
        arm = arm.authenticator(UntrustedClaims);
    }
    if let Some(token) = &arguments.token {
        arm = arm.authenticator(OneToken::new(token, "admin".parse()?));
    }
    if let Some(bytes) = arguments.named_sources {
        arm = arm.named_sources(bytes);
    }
    if let Some(seconds) = arguments.retry_after {
        arm = arm.retry_after(seconds);
    }
    if arguments.instant {
        arm = arm.instant();
    }
    if arguments.strict_versions {
        arm = arm.strict_versions();
    }
    if arguments.test_endpoints {
        arm = arm.test_endpoints(TestEndpoints::new(clock, move || settings().store(MemoryStore::new()).create()));
    }

    let authority = Authority::new()?;
    let ca = arguments.ca.as_deref().map_or_else(|| "ca.pem".to_owned(), |path| path.display().to_string());
    if let Some(path) = &arguments.ca {
        authority.write(path)?;
    }
    let mut server = Server::new(arm.build(), authority);
    if let Some(address) = arguments.http {
        println!("http://{}", server.http(address).await?);
    }
    if let Some(address) = arguments.https {
        let at = server.https(address).await?;
        println!("https://{at}");
    }
    if let Some(address) = arguments.proxy {
        let at = server.proxy(address).await?;
        println!("proxy http://{at}");
        println!(
            "az:     HTTPS_PROXY=http://{at} REQUESTS_CA_BUNDLE={ca} AZURE_CORE_INSTANCE_DISCOVERY=false az login --service-principal -u gallery -p any --tenant 11111111-1111-1111-1111-111111111111"
        );
        println!("Python: HTTPS_PROXY=http://{at} REQUESTS_CA_BUNDLE={ca} python your_program.py");
        println!("JS:     HTTPS_PROXY=http://{at} NODE_EXTRA_CA_CERTS={ca} node your_program.js");
    } else if let Some(address) = arguments.https {
        println!(
            "az:     az cloud register -n gallery --skip-endpoint-discovery --endpoint-resource-manager https://{address} (docs/azure-clients.md has the rest; REQUESTS_CA_BUNDLE={ca})"
        );
        println!(
            "Python: ComputeManagementClient(credential, subscription, base_url=\"https://{address}\"), with REQUESTS_CA_BUNDLE={ca}"
        );
        println!(
            "JS:     new ComputeManagementClient(credential, subscription, {{endpoint: \"https://{address}\"}}), with NODE_EXTRA_CA_CERTS={ca}"
        );
    } else if let Some(address) = arguments.http {
        println!(
            "Python: ComputeManagementClient(credential, subscription, base_url=\"http://{address}\", authentication_policy=HeadersPolicy({{\"Authorization\": \"Bearer x\"}}))"
        );
        println!(
            "JS:     new ComputeManagementClient(credential, subscription, {{endpoint: \"http://{address}\", allowInsecureConnection: true}}), with a bearer policy of your own"
        );
        println!("curl:   curl -H 'Authorization: Bearer x' http://{address}/subscriptions?api-version=2022-12-01");
    }
    println!("ready");
    server.run().await?;
    Ok(())
}
