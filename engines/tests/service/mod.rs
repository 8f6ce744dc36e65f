//! A service that a gallery is kept on: the scripted one of this process, or a server.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper of a test may fail as the test does"
)]
#![expect(clippy::disallowed_methods, reason = "processes and servers take real time")]
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use compute_gallery::host::{SystemClock, SystemEntropy, Workers};
use compute_gallery::store::*;
use compute_gallery::testkit::{Sandbox, SandboxBuilder, noise};
use compute_gallery::{ErrorKind, Result};

use crate::fake::{Fake, Protocol};

/// Where a service is, and below which prefix a test works: in the words of the environment, so that other processes find it.
#[derive(Clone, Debug)]
pub struct Service {
    pub protocol: Protocol,
    environment: Vec<(String, String)>,
    pub prefix: String,
}

const PREFIX: &str = "ENGINES_PREFIX";
const SCHEME: &str = "ENGINES_SCHEME";

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

impl Service {
    /// The scripted one.
    pub fn of(fake: &Fake, protocol: Protocol) -> Self {
        let at = fake.address();
        let environment = match protocol {
            Protocol::S3 => s3(&at),
            Protocol::Azure => pairs(&[
                ("AZURE_STORAGE_ENDPOINT", &at),
                ("AZURE_ALLOW_HTTP", "true"),
                ("AZURE_STORAGE_ACCOUNT_NAME", "account"),
                ("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0"),
            ]),
            Protocol::Google => {
                pairs(&[("GOOGLE_BASE_URL", &at), ("GOOGLE_ALLOW_HTTP", "true"), ("GOOGLE_BEARER_TOKEN", "token")])
            }
        };
        Self { protocol, environment, prefix: "gallery".to_owned() }
    }

    /// The servers that `engines/servers` has started, each with a part of its own for a test.
    pub fn servers(test: &str) -> Vec<Self> {
        let address = |name: &str| {
            std::env::var(name).unwrap_or_else(|_| panic!("run it by `engines/servers`, which sets `{name}`"))
        };
        let azurite = pairs(&[
            ("AZURE_STORAGE_USE_EMULATOR", "true"),
            ("AZURITE_BLOB_STORAGE_URL", &address("AZURITE_BLOB_STORAGE_URL")),
        ]);
        let of = |protocol, environment| Self { protocol, environment, prefix: test.to_owned() };
        vec![of(Protocol::S3, s3(&address("ENGINES_MOTO"))), of(Protocol::Azure, azurite)]
    }

    /// In a process that a test has started: the service of that test.
    pub fn of_parent() -> Option<Self> {
        let protocol = match std::env::var(SCHEME).ok()?.as_str() {
            "s3" => Protocol::S3,
            "az" => Protocol::Azure,
            _ => Protocol::Google,
        };
        let environment =
            std::env::vars().filter(|(name, _)| ["AWS_", "AZUR", "GOOG"].iter().any(|start| name.starts_with(start)));
        Some(Self { protocol, environment: environment.collect(), prefix: std::env::var(PREFIX).unwrap() })
    }

    fn scheme(&self) -> &'static str {
        match self.protocol {
            Protocol::S3 => "s3",
            Protocol::Azure => "az",
            Protocol::Google => "gs",
        }
    }

    /// Opens a bucket: by the environment in a process of its own, and else with its settings.
    pub fn open(&self, bucket: &str) -> ObjectStoreBlobs {
        self.open_at(bucket, &self.prefix)
    }

    pub fn open_at(&self, bucket: &str, prefix: &str) -> ObjectStoreBlobs {
        if std::env::var(SCHEME).is_ok() {
            return ObjectStoreBlobs::from_url(&format!("{}://{bucket}/{prefix}", self.scheme())).unwrap();
        }
        macro_rules! configured {
            ($builder:expr) => {
                self.environment.iter().fold($builder, |builder, (name, value)| {
                    match name.to_ascii_lowercase().parse() {
                        Ok(key) => builder.with_config(key, value),
                        // One for a server, which is read from the environment.
                        Err(_) => builder,
                    }
                })
            };
        }
        match self.protocol {
            Protocol::S3 => {
                let builder = configured!(object_store::aws::AmazonS3Builder::new());
                ObjectStoreBlobs::s3(builder.with_bucket_name(bucket), prefix).unwrap()
            }
            Protocol::Azure => {
                let builder = configured!(object_store::azure::MicrosoftAzureBuilder::new());
                ObjectStoreBlobs::azure(builder.with_container_name(bucket), prefix).unwrap()
            }
            Protocol::Google => {
                let builder = configured!(object_store::gcp::GoogleCloudStorageBuilder::new());
                ObjectStoreBlobs::google(builder.with_bucket_name(bucket), prefix).unwrap()
            }
        }
    }

    /// This test again, in a process of its own.
    pub fn child(&self, test: &str, role: &str) -> Child {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture", "--include-ignored"]).envs(self.environment.iter().cloned());
        command.env(PREFIX, &self.prefix).env(SCHEME, self.scheme()).env("ENGINES_ROLE", role);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// A gallery with its catalog and its two regions in a bucket each.
    pub fn gallery(&self) -> SandboxBuilder {
        self.gallery_in(["catalog", "west", "east"].map(|bucket| self.open(bucket)))
    }

    pub fn gallery_in<S: BlobStore>(&self, [catalog, west, east]: [S; 3]) -> SandboxBuilder {
        let sandbox = Sandbox::builder().regions(["westeurope", "eastus"]).catalog_store(catalog);
        let sandbox = sandbox.store("westeurope", west).store("eastus", east);
        sandbox.service(|builder| builder.clock(SystemClock).entropy(SystemEntropy).workers(Workers::default()))
    }
}

fn s3(at: &str) -> Vec<(String, String)> {
    pairs(&[
        ("AWS_ENDPOINT", at),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "us-east-1"),
    ])
}

/// The steps of the whole job, with the requests and the seconds of each.
pub struct Job<'a> {
    requests: Box<dyn Fn() -> u64 + 'a>,
    name: String,
}

impl<'a> Job<'a> {
    pub fn new(name: impl Into<String>, requests: impl Fn() -> u64 + 'a) -> Self {
        Self { requests: Box::new(requests), name: name.into() }
    }

    async fn step<T>(&self, name: &str, step: impl Future<Output = T>) -> T {
        let (before, started) = ((self.requests)(), Instant::now());
        let done = step.await;
        let (requests, seconds) = ((self.requests)() - before, started.elapsed().as_secs_f64());
        println!("| {} | {name} | {requests} | {seconds:.2} |", self.name);
        done
    }

    /// Publishes, replicates to two buckets, deploys, changes, scrubs, deletes and collects: equal bytes, and nothing is left.
    pub async fn run(&self, sandbox: SandboxBuilder, mebibytes: usize) -> Result<()> {
        let sandbox = self.step("open, empty", opened(&sandbox)).await?;
        let session = sandbox.session();
        let mut disk = noise(1, mebibytes << 20);
        disk.extend(vec![b'a'; 2 << 20]);
        for (number, change) in [("1.0.0", 0), ("1.0.1", 100_000)] {
            disk[..change].copy_from_slice(&noise(2, change));
            let source = compute_gallery::testkit::raw(disk.clone());
            let version = sandbox.new_version(number, "westeurope=2,eastus=1", source);
            self.step("publish", session.publish(version)).await?;
            self.step("replicate", session.replicate(sandbox.version(number))).await?;
            for region in ["westeurope", "eastus"] {
                let deployed = self.step("deploy", sandbox.deployed(number, region)).await?;
                assert!(deployed == disk, "{number} in {region}");
            }
        }
        let status = self.step("status", session.replication_status(&sandbox.version("1.0.1"))).await?;
        assert_eq!(status.aggregated_state, compute_gallery::replicate::AggregatedState::Completed);
        let report = self.step("scrub", session.scrub("eastus")).await?;
        assert_eq!((report.mended, report.damaged), (0, 0), "{report:?}");
        assert!(report.verified_bytes > 0);
        self.step("delete", session.delete(sandbox.version("1.0.0"))).await?;
        self.step("collect", session.collect()).await?;
        assert!(sandbox.deployed("1.0.1", "eastus").await? == disk);
        let again = self.step("open again", opened(&sandbox.reopen())).await?;
        assert!(again.deployed("1.0.1", "westeurope").await? == disk);
        let gallery = again.image().gallery().clone();
        self.step("delete all", again.session().delete(&gallery).cascade()).await?;
        self.step("collect all", again.session().collect()).await?;
        assert!(again.session().collect().await?.regions.is_empty());
        for region in ["westeurope", "eastus"] {
            let mut left = again.store(region).list_all(None).await;
            for _ in 0..9 {
                if left.is_err() {
                    left = again.store(region).list_all(None).await;
                }
            }
            let left = left.unwrap();
            let left: Vec<&str> =
                left.iter().map(|blob| blob.key.as_str()).filter(|key| key.contains("slots/")).collect();
            assert!(left.is_empty(), "{region}: {left:?}");
        }
        Ok(())
    }
}

/// Opens it, again where that is unclear: whether the second creation of the probe was refused.
async fn opened(sandbox: &SandboxBuilder) -> Result<Sandbox> {
    let mut opened = sandbox.clone().build().await;
    for _ in 0..4 {
        match opened {
            Err(error) if error.kind() == ErrorKind::Unknown => opened = sandbox.clone().build().await,
            opened => return opened,
        }
    }
    opened
}

/// Commits one after another, each a gallery of its own. Returns the seconds of each.
pub async fn commits(sandbox: &Sandbox, name: &str, number: usize) -> Vec<f64> {
    let mut seconds = Vec::new();
    for at in 0..number {
        let id = format!("/subscriptions/dev/resourceGroups/a/providers/Microsoft.Compute/galleries/{name}x{at}");
        let gallery = compute_gallery::model::Gallery::new(id.parse().unwrap(), "westeurope".parse().unwrap());
        let started = Instant::now();
        sandbox.session().create_gallery(gallery).await.unwrap();
        println!("acknowledged {name}x{at}");
        seconds.push(started.elapsed().as_secs_f64());
    }
    seconds
}

pub fn figures(seconds: &mut [f64]) -> (f64, f64) {
    seconds.sort_by(f64::total_cmp);
    (seconds[seconds.len() / 2], *seconds.last().unwrap())
}

/// What a test has counted, as words.
pub fn told(counts: &BTreeMap<String, u64>) -> String {
    counts.iter().map(|(kind, number)| format!("{kind} {number}")).collect::<Vec<_>>().join(", ")
}
