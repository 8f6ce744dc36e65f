//! Mistakes that a newcomer made: the error of each has its kind, field or path, value and fix, and each leaves
//! nothing behind.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use compute_gallery::deploy::OsProfile;
use compute_gallery::disk::{DiskFormat, DiskSource};
use compute_gallery::model::MachineName;
use compute_gallery::model::*;
use compute_gallery::store::{BlobStore, BlobStoreExt, FsStore, MemoryStore, PutMode, StoreErrorKind};
use compute_gallery::testkit::{Fault, FaultyStore, Sandbox, raw, region};
use compute_gallery::*;
use futures::StreamExt;
use futures::executor::block_on;
use futures::future::BoxFuture;

/// A gallery with version 1.0.0 at home, which is to go to `eastus` too.
struct World {
    sandbox: Sandbox,
    session: Session,
    scratch: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let sandbox = Sandbox::builder().regions(["westeurope", "eastus"]).build().await.unwrap();
        let session = sandbox.session().clone();
        let world = Self { sandbox, session, scratch: tempfile::tempdir().unwrap() };
        world.publish("1.0.0", "westeurope=1,eastus=1", raw(vec![7; 1 << 20])).await.unwrap();
        world
    }

    fn first(&self) -> ImageVersionId {
        self.sandbox.version("1.0.0")
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.scratch.path().join(name)
    }

    async fn publish(&self, number: &str, regions: &str, disk: DiskSource) -> Result<()> {
        self.session.publish(self.sandbox.new_version(number, regions, disk)).await.map(drop)
    }

    async fn publish_file(&self, path: &Path) -> Result<()> {
        self.publish("1.0.1", "westeurope", DiskSource::path(path, DiskFormat::Raw)).await
    }

    async fn deploy(&self, path: &Path) -> Result<()> {
        self.session.deploy(self.first(), "westeurope").to_path(path).await.map(drop)
    }

    async fn scale_set(&self, instances: u32) -> Result<()> {
        let image = self.session.boot_image(self.first(), "westeurope").await?.generalized()?;
        image.scale_set("web".parse()?, OsProfile::new("ci")?, instances).map(drop)
    }

    /// Every commit, and every blob of the regions' slots.
    async fn everything(&self) -> (usize, Vec<String>) {
        let commits = self.session.history(0).count().await;
        let mut blobs = Vec::new();
        for place in ["westeurope", "eastus"] {
            let all = self.sandbox.store(place).inner().list_all(None).await.unwrap().into_iter();
            blobs.extend(all.map(|blob| blob.key.to_string()).filter(|key| key.starts_with("slots/")));
        }
        (commits, blobs)
    }

    fn files(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.scratch.path()).unwrap();
        let mut names: Vec<String> =
            files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

/// A mistake, and its error: kind, target, and words of value, rule and fix.
struct Mistake {
    name: &'static str,
    make: for<'a> fn(&'a World) -> BoxFuture<'a, Result<()>>,
    kind: ErrorKind,
    target: &'static str,
    says: &'static [&'static str],
}

const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "a version of two numbers",
        make: |_| Box::pin(async { "1.0".parse::<VersionNumber>().map(drop) }),
        kind: ErrorKind::Invalid,
        target: "galleryImageVersion.name",
        says: &["`1.0`", "Major(int).Minor(int).Patch(int)", "1.0.0"],
    },
    Mistake {
        name: "a replica count that is none",
        make: |_| Box::pin(async { "westeurope=x".parse::<TargetRegions>().map(drop) }),
        kind: ErrorKind::Invalid,
        target: "targetRegions",
        says: &["`x`", "not a replica count", "`westeurope=2`"],
    },
    Mistake {
        name: "publish a file that is not there",
        make: |world| Box::pin(async { world.publish_file(&world.at("nope.raw")).await }),
        kind: ErrorKind::NotFound,
        target: "nope.raw",
        says: &["can't be opened", "correct the path"],
    },
    Mistake {
        name: "publish a directory",
        make: |world| Box::pin(async { world.publish_file(&world.at("directory")).await }),
        kind: ErrorKind::Invalid,
        target: "directory",
        says: &["it is a directory", "give the path of one"],
    },
    Mistake {
        name: "publish under a number that is taken",
        make: |world| {
            let disk = raw(vec![7; 512]);
            Box::pin(async { world.publish("1.0.0", "westeurope", disk).await })
        },
        kind: ErrorKind::AlreadyExists,
        target: "versions/1.0.0",
        says: &["never changes", "the next number"],
    },
    Mistake {
        name: "publish half a sector",
        make: |world| {
            let disk = raw(vec![7; 513]);
            Box::pin(async { world.publish("1.0.1", "westeurope", disk).await })
        },
        kind: ErrorKind::Invalid,
        target: "disk",
        says: &["513", "512", "pad it"],
    },
    Mistake {
        name: "publish to a region without a store",
        make: |world| {
            let disk = raw(vec![7; 512]);
            Box::pin(async { world.publish("1.0.1", "westeurope,northeurope", disk).await })
        },
        kind: ErrorKind::Invalid,
        target: "",
        says: &["northeurope", "westeurope"],
    },
    Mistake {
        name: "a rate of nothing",
        make: |world| {
            let limited = world.session.replicate(world.first()).bytes_per_second("eastus", 0);
            Box::pin(async { limited.await.map(drop) })
        },
        kind: ErrorKind::Invalid,
        target: "bytes_per_second",
        says: &["`0`", "`eastus`", "at least 1"],
    },
    Mistake {
        name: "a rate for a region that is no target",
        make: |world| {
            let limited = world.session.replicate(world.first()).bytes_per_second("westus", 1);
            Box::pin(async { limited.await.map(drop) })
        },
        kind: ErrorKind::Invalid,
        target: "bytes_per_second",
        says: &["`westus`", "set the rate of a target region"],
    },
    Mistake {
        name: "a scrub at a rate of nothing",
        make: |world| {
            let scrub = world.session.scrub("westeurope").bytes_per_second(0);
            Box::pin(async { scrub.await.map(drop) })
        },
        kind: ErrorKind::Invalid,
        target: "bytes_per_second",
        says: &["`0`", "at least 1"],
    },
    Mistake {
        name: "a scale set of 1,001 from a gallery image",
        make: |world| Box::pin(world.scale_set(1001)),
        kind: ErrorKind::LimitReached,
        target: "sku.capacity",
        says: &["`1001`", "at most 1000", "make several"],
    },
    Mistake {
        name: "a scale set of none",
        make: |world| Box::pin(world.scale_set(0)),
        kind: ErrorKind::Invalid,
        target: "sku.capacity",
        says: &["`0`", "1 to 1000"],
    },
    Mistake {
        name: "an account without a name",
        make: |_| Box::pin(async { OsProfile::new("").map(drop) }),
        kind: ErrorKind::Invalid,
        target: "osProfile.adminUsername",
        says: &["``", "1 to 64 characters"],
    },
    Mistake {
        name: "a machine whose name is a number",
        make: |_| Box::pin(async { "12".parse::<MachineName>().map(drop) }),
        kind: ErrorKind::Invalid,
        target: "osProfile.computerName",
        says: &["`12`", "not only digits"],
    },
    Mistake {
        name: "a VM of a specialized image from a generalized one",
        make: |world| {
            Box::pin(async {
                let image = world.session.boot_image(world.first(), "westeurope").await?;
                image.specialized().map(drop)
            })
        },
        kind: ErrorKind::Invalid,
        target: "osProfile",
        says: &["generalized", "'osProfile' is missing"],
    },
    Mistake {
        name: "deploy where it is not complete",
        make: |world| {
            let deployment = world.session.deploy(world.first(), "eastus");
            Box::pin(async { deployment.to_writer(Vec::new()).await.map(drop) })
        },
        kind: ErrorKind::NotFound,
        target: "1.0.0",
        says: &["eastus", "complete in `westeurope`"],
    },
    Mistake {
        name: "deploy into a directory that is not there",
        make: |world| Box::pin(async { world.deploy(&world.at("no-directory/vm.raw")).await }),
        kind: ErrorKind::NotFound,
        target: "vm.raw",
        says: &["does not exist", "correct the path"],
    },
    Mistake {
        name: "deploy over a directory",
        make: |world| Box::pin(async { world.deploy(&world.at("directory")).await }),
        kind: ErrorKind::Conflict,
        target: "directory",
        says: &["not a regular file", "deploy to a file"],
    },
    Mistake {
        name: "make a service without a store",
        make: |_| Box::pin(async { GalleryService::builder().allow_all().create().await.map(drop) }),
        kind: ErrorKind::Invalid,
        target: "catalog_store",
        says: &["no store", "`store`"],
    },
    Mistake {
        name: "make a service without saying who may do what",
        make: |_| Box::pin(async { GalleryService::builder().store(MemoryStore::new()).create().await.map(drop) }),
        kind: ErrorKind::Invalid,
        target: "directory",
        says: &["`directory`", "`allow_all`"],
    },
];

#[test]
fn each_mistake_is_reported_by_field_value_rule_and_fix_and_leaves_nothing() {
    block_on(async {
        let world = World::new().await;
        std::fs::create_dir(world.at("directory")).unwrap();
        let before = (world.everything().await, world.files());
        let mut wrong = Vec::new();
        for Mistake { name, make, kind, target, says } in MISTAKES {
            let error = make(&world).await.unwrap_err();
            if error.kind() != *kind || !error.target().contains(target) {
                wrong.push(format!("{name}: {:?} at `{}`, not {kind:?} at `{target}`", error.kind(), error.target()));
            }
            let unsaid = says.iter().filter(|part| !error.to_string().contains(**part));
            wrong.extend(unsaid.map(|part| format!("{name}: no {part} in {error}")));
            assert!((world.everything().await, world.files()) == before, "{name}: it has left something behind");
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    });
}

#[test]
fn a_store_that_cannot_hold_a_catalog_is_reported_with_its_fix() {
    block_on(async {
        fn gallery() -> Gallery {
            let id = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/Contoso";
            Gallery::new(id.parse().unwrap(), region("westeurope"))
        }
        async fn used(store: Arc<dyn BlobStore>) -> Error {
            let service = match GalleryService::builder().allow_all().store(store).open_or_create().await {
                Ok(service) => service,
                Err(error) => return error,
            };
            let session = service.session("test".parse().unwrap());
            session.create_gallery(gallery()).await.unwrap_err()
        }
        let scratch = tempfile::tempdir().unwrap();

        let read_only = FaultyStore::new(MemoryStore::new());
        read_only.faults().fail_from(0, Fault::Before(StoreErrorKind::PermissionDenied));
        let error = used(Arc::new(read_only.clone())).await;
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:#}");
        assert!(error.to_string().contains("give it the right"), "{error}");

        let root = scratch.path().join("store");
        let store = FsStore::create(&root).unwrap();
        std::fs::create_dir(root.join("catalog")).unwrap();
        std::fs::write(root.join("catalog/log"), b"").unwrap();
        let error = used(Arc::new(store.clone())).await;
        let told = format!("{error:#}");
        assert!(told.contains(&format!("`{}`", root.join("catalog/log").display())), "{told}");
        assert!(told.contains("move it away"), "{told}");

        let foreign = MemoryStore::new();
        let key = "catalog/log/00000000000000000001".parse().unwrap();
        Sandbox::builder().one_store(foreign.clone()).build().await.unwrap();
        foreign.put(&key, Bytes::from_static(b"hello"), PutMode::Overwrite).await.unwrap();
        let error = used(Arc::new(foreign.clone())).await;
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:#}");
        assert!(error.to_string().contains("restore it"), "{error}");
    });
}

#[test]
fn a_full_region_is_reported_with_its_fix() {
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        let (session, version) = (sandbox.session(), sandbox.version("1.0.0"));
        session.publish(sandbox.new_version("1.0.0", "westeurope,eastus", raw(vec![7; 1 << 20]))).await.unwrap();
        sandbox.faults("eastus").fill_from(0);
        let error = session.replicate(&version).within(Duration::from_secs(3600)).await.unwrap_err();
        assert_eq!((error.kind(), error.target()), (ErrorKind::StorageFull, "eastus"), "{error:#}");
        assert!(error.to_string().contains("free space, then call again"), "{error}");
        sandbox.faults("eastus").heal();
        session.replicate(&version).await.unwrap();
    });
}
