//! Sources that the catalog only knows by name: the host's resolver says what they are.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use compute_gallery::billing::Prices;
use compute_gallery::disk::DiskSource;
use compute_gallery::model::*;
use compute_gallery::publish::{AnySource, ResolvedSource, SourceName, SourceResolver};
use compute_gallery::read::{OperationStatus, ProvisioningState};
use compute_gallery::store::StoreErrorKind;
use compute_gallery::testkit::{Fault, Sandbox, noise, raw};
use compute_gallery::*;
use futures::executor::block_on;
use serde_json::{Value, json};

const GROUP: &str = "/subscriptions/dev/resourceGroups/r/providers/Microsoft.Compute";

/// A host with a disk, a snapshot, a VHD and two VMs, one of which is a Windows machine.
#[derive(Clone, Debug, Default)]
struct Host {
    /// Why it does not answer.
    away: Arc<Mutex<Option<Error>>>,
}

#[async_trait]
impl SourceResolver for Host {
    async fn resolve(&self, source: SourceName<'_>) -> Result<Option<ResolvedSource>> {
        if let Some(error) = &*self.away.lock().unwrap() {
            return Err(error.clone());
        }
        let name = match source {
            SourceName::Whole(whole) => whole.to_string(),
            SourceName::Disk(disk) => disk.to_string(),
            _ => return Ok(None),
        };
        let seed = match name.rsplit('/').next().unwrap() {
            "os" => 1,
            "data-snapshot" => 2,
            "data.vhd" => 3,
            "linux-vm" | "windows-vm" => 4,
            _ => return Ok(None),
        };
        let mut resolved = ResolvedSource::new(raw(noise(seed, 1 << 20)));
        resolved.location = Some("westeurope".parse()?);
        if seed == 4 {
            let os = if name.ends_with("windows-vm") { OsType::Windows } else { OsType::Linux };
            resolved.os_type = Some(os);
            resolved.data_disks.push((7, raw(noise(5, 1 << 20))));
        }
        Ok(Some(resolved))
    }
}

/// An error of the kind that passes.
async fn passing() -> Error {
    let sandbox = Sandbox::new().await.unwrap();
    sandbox.catalog_faults().fail_from(0, Fault::Before(StoreErrorKind::Unavailable));
    sandbox.session().refresh().await.unwrap_err()
}

async fn sandbox(host: &Host) -> Sandbox {
    let host = host.clone();
    Sandbox::builder().service(move |builder| builder.sources(host.clone())).build().await.unwrap()
}

fn body(storage: Value) -> Value {
    json!({"location": "westeurope", "properties": {"storageProfile": storage}})
}

#[test]
fn disks_of_several_kinds_and_whole_machines_are_sources() {
    block_on(async {
        let sandbox = sandbox(&Host::default()).await;
        let (session, id) = (sandbox.session(), sandbox.version("1.0.0"));
        let disk = |lun: u32, source: Value| json!({"lun": lun, "source": source});
        let storage = json!({
            "osDiskImage": {"source": {"id": format!("{GROUP}/disks/os")}},
            "dataDiskImages": [
                disk(0, json!({"id": format!("{GROUP}/snapshots/data-snapshot")})),
                disk(1, json!({"uri": "https://account.example/vhds/data.vhd"})),
            ],
        });
        session.put_image_version(&id, body(storage)).await.unwrap();
        let mut driver = session.driver();
        while !driver.step().await.unwrap().is_idle() {}
        assert_eq!(sandbox.deployed("1.0.0", "westeurope").await.unwrap(), noise(1, 1 << 20));
        let version = session.view().image_version(&id).unwrap();
        let luns: Vec<u32> = version.storage_profile().data_disk_images().iter().map(DataDiskImage::lun).collect();
        assert_eq!(luns, [0, 1]);
        for (lun, seed) in [(0, 2), (1, 3)] {
            let deployment = session.deploy(&id, "westeurope").data_disk(lun);
            assert_eq!(deployment.to_writer(Vec::new()).await.unwrap().1, noise(seed, 1 << 20));
        }

        let vm = sandbox.version("2.0.0");
        let machine = |name: &str| json!({"source": {"virtualMachineId": format!("{GROUP}/virtualMachines/{name}")}});
        session.put_image_version(&vm, body(machine("linux-vm"))).await.unwrap();
        while !driver.step().await.unwrap().is_idle() {}
        let deployment = session.deploy(&vm, "westeurope").data_disk(7);
        assert_eq!(deployment.to_writer(Vec::new()).await.unwrap().1, noise(5, 1 << 20));

        // What is known of it is compared with the definition; what is not there is not found.
        for (number, name, code) in [("3.0.0", "windows-vm", "Conflict"), ("4.0.0", "no-vm", "NotFound")] {
            let put = session.put_image_version(sandbox.version(number), body(machine(name))).await.unwrap();
            while !driver.step().await.unwrap().is_idle() {}
            let failed = session.view().operation(put.operation.unwrap()).unwrap();
            assert_eq!((failed.status, failed.error.unwrap().code.as_str()), (OperationStatus::Failed, code), "{name}");
        }
    });
}

#[test]
fn a_resolver_that_is_away_leaves_the_version_creating_and_is_asked_again() {
    block_on(async {
        let host = Host::default();
        let sandbox = sandbox(&host).await;
        let (session, id) = (sandbox.session(), sandbox.version("1.0.0"));
        let error = passing().await;
        *host.away.lock().unwrap() = Some(error);
        let storage = json!({"osDiskImage": {"source": {"id": format!("{GROUP}/disks/os")}}});
        session.put_image_version(&id, body(storage)).await.unwrap();
        let mut driver = session.driver();
        assert_eq!(driver.step().await.unwrap().done.iter().filter(|done| done.outcome.is_err()).count(), 1);
        assert_eq!(session.view().provisioning(&id).unwrap().state, ProvisioningState::Creating);
        *host.away.lock().unwrap() = None;
        sandbox.clock().advance(Duration::from_secs(11));
        while !driver.step().await.unwrap().is_idle() {}
        assert_eq!(session.view().provisioning(&id).unwrap().state, ProvisioningState::Succeeded);
    });
}

#[test]
fn a_size_without_bytes_goes_through_every_layer_and_costs_none() {
    block_on(async {
        let any = AnySource::of_zeros(512 << 30).unwrap();
        let sandbox = Sandbox::builder().service(move |builder| builder.sources(any)).build().await.unwrap();
        let (session, id) = (sandbox.session(), sandbox.version("1.0.0"));
        let regions = json!([{"name": "westeurope"}, {"name": "eastus", "regionalReplicaCount": 3}]);
        let source = json!({"virtualMachineId": format!("{GROUP}/virtualMachines/vm")});
        let properties = json!({"storageProfile": {"source": source}, "publishingProfile": {"targetRegions": regions}});
        session.put_image_version(&id, json!({"location": "westeurope", "properties": properties})).await.unwrap();
        let mut driver = session.driver();
        while !driver.step().await.unwrap().is_idle() {}
        let view = session.view();
        assert_eq!(view.json(&id).unwrap()["properties"]["provisioningState"], "Succeeded");
        assert_eq!(view.image_version(&id).unwrap().storage_profile().os_disk_image().size_in_bytes(), 512 << 30);
        let stored = view.image_content(&id).unwrap().stored_bytes;
        assert!(stored == 0 && view.image_content(&id).unwrap().is_zeros(), "{stored}");
        let cost = view.cost(&Prices::new(1, 1), [&id]).unwrap();
        println!("{stored} bytes for 512 GiB: {cost:?}");
        let reader = session.deploy(&id, "eastus").open().await.unwrap();
        assert!(reader.read_at(300 << 30..(300 << 30) + 4096).await.unwrap().iter().all(|byte| *byte == 0));
    });
    assert_eq!(DiskSource::zeros(0).unwrap_err().kind(), ErrorKind::Invalid);
}

/// A host whose disks are streams of unknown length.
#[derive(Clone, Debug)]
struct Streams;

#[async_trait]
impl SourceResolver for Streams {
    async fn resolve(&self, source: SourceName<'_>) -> Result<Option<ResolvedSource>> {
        let SourceName::Disk(DiskReference::Disk(_)) = source else { return Ok(None) };
        let stream = futures::io::Cursor::new(noise(6, 1 << 20));
        let folder = std::env::temp_dir();
        let disk = DiskSource::spooled(stream, compute_gallery::disk::DiskFormat::Raw, folder, 1 << 30).await?;
        Ok(Some(ResolvedSource::new(disk)))
    }
}

#[test]
fn a_stream_of_the_host_and_a_snapshot_that_is_stored_become_one_version() {
    block_on(async {
        let sandbox = Sandbox::builder().service(|builder| builder.sources(Streams)).build().await.unwrap();
        let (session, id) = (sandbox.session(), sandbox.version("1.0.0"));
        let snapshot: SnapshotId = format!("{GROUP}/snapshots/stored").parse().unwrap();
        let new =
            publish::NewSnapshot::of_data_disk(snapshot.clone(), "westeurope".parse().unwrap(), raw(noise(7, 1 << 20)));
        session.create_snapshot(new).await.unwrap();
        let storage = json!({
            "osDiskImage": {"source": {"id": format!("{GROUP}/disks/os")}},
            "dataDiskImages": [{"lun": 4, "source": {"id": snapshot}}],
        });
        session.put_image_version(&id, body(storage)).await.unwrap();
        let mut driver = session.driver();
        while !driver.step().await.unwrap().is_idle() {}
        assert_eq!(session.deploy(&id, "westeurope").to_async_writer(Vec::new()).await.unwrap().1, noise(6, 1 << 20));
        let (_, data) = session.deploy(&id, "westeurope").data_disk(4).to_async_writer(Vec::new()).await.unwrap();
        assert_eq!(data, noise(7, 1 << 20));
    });
}
