//! The overview's three ways from an image that there is to a version that VMs are made from, end to end.

use async_trait::async_trait;
use compute_gallery::deploy::OsProfile;
use compute_gallery::publish::{ResolvedSource, SourceName, SourceResolver};
use compute_gallery::read::ListScope;
use serde_json::json;

use super::*;

const HOME: &str = "westeurope";

/// Makes a definition, found by publisher, offer and SKU, then a version of the source, then a VM of the latest in another region.
async fn from_image_to_machine(sandbox: &Sandbox, source: serde_json::Value, expected: &[u8]) {
    let session = sandbox.session();
    session.create_gallery(gallery()).await.unwrap();
    session.create_image_definition(definition()).await.unwrap();
    let body = json!({"location": HOME, "properties": {
        "storageProfile": {"source": source},
        "publishingProfile": {"targetRegions": [{"name": "West Europe"}, {"name": "East US", "regionalReplicaCount": 2}]},
    }});
    let operation = session.put_image_version(version_id("1.0.0"), body).await.unwrap().operation.unwrap();
    while !session.driver().step().await.unwrap().is_idle() {}
    assert_eq!(session.view().operation(operation).unwrap().percent, 100);

    let identifier = ImageIdentifier::new("contoso", "web", "frontend").unwrap();
    let latest = session.view().find_latest(&ListScope::All, &identifier, "eastus").unwrap();
    assert_eq!(*latest.id(), version_id("1.0.0"));
    let image = session.boot_image(image_id(), "eastus").await.unwrap();
    let vm = image.vm("web-1".parse().unwrap(), Some(OsProfile::new("admin").unwrap())).unwrap();
    assert_eq!(vm.deploy().to_writer(Vec::new()).await.unwrap().1, expected);
}

#[test]
fn scenario_1_a_managed_image_of_the_subscription_becomes_a_definition_and_a_version() {
    block_on(async {
        let sandbox = empty().await;
        let id: ManagedImageId = flat("images", "golden");
        let new = NewManagedImage::new(id.clone(), region(HOME), OsType::Linux, disk(7));
        sandbox.session().create_managed_image(new).await.unwrap();
        from_image_to_machine(&sandbox, json!({"id": id}), &[7; 4096]).await;
        // The image is of use without the gallery, too.
        assert_eq!(bytes_of(sandbox.session(), &id, None).await, [7; 4096]);
    });
}

/// A host with an unmanaged image: a VHD in a storage account.
#[derive(Clone, Debug)]
struct StorageAccount;

const BLOB: &str = "https://contoso.blob.core.windows.net/vhds/golden.vhd";

#[async_trait]
impl SourceResolver for StorageAccount {
    async fn resolve(&self, source: SourceName<'_>) -> Result<Option<ResolvedSource>> {
        let SourceName::Whole(VersionSource::ManagedImage(id)) = source else { return Ok(None) };
        Ok((id.name().as_str() == "unmanaged").then(|| ResolvedSource::new(disk(9))))
    }
}

#[test]
fn scenario_2_an_unmanaged_image_becomes_a_managed_image_and_then_a_version() {
    block_on(async {
        let sandbox = built(settings().empty().service(|builder| builder.sources(StorageAccount))).await;
        let id: ManagedImageId = flat("images", "unmanaged");
        let disk = json!({"osType": "linux", "osState": "generalized", "blobUri": BLOB});
        let body = json!({"location": HOME, "properties": {"storageProfile": {"osDisk": disk}}});
        sandbox.session().put_managed_image(&id, body).await.unwrap();
        from_image_to_machine(&sandbox, json!({"id": id}), &[9; 4096]).await;
    });
}

#[test]
fn scenario_3_a_local_vhd_is_uploaded_to_a_managed_image_and_becomes_a_version() {
    block_on(async {
        let sandbox = empty().await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("golden.vhd");
        // A fixed VHD: the bytes of the disk, then its footer. A sandbox writes one.
        let maker = filled().await;
        maker.session().publish(version("1.0.0", HOME)).await.unwrap();
        let deployment = maker.session().deploy(version_id("1.0.0"), HOME);
        deployment.format(DiskFormat::Vhd).to_path(&path).await.unwrap();

        let id: ManagedImageId = flat("images", "uploaded");
        let disk = DiskSource::path(&path, DiskFormat::Vhd);
        let new = NewManagedImage::new(id.clone(), region(HOME), OsType::Linux, disk);
        sandbox.session().create_managed_image(new).await.unwrap();
        from_image_to_machine(&sandbox, json!({"id": id}), &[1; 4096]).await;
    });
}
