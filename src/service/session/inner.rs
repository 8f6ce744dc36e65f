//! The parts of the service, on which everything else in this room is built.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::computer_names::ComputerNames;
use super::pools::Pools;
use super::simulation::Simulation;
use super::sources::SourceResolver;
use crate::access::{Caller, Directory};
use crate::catalog::Catalog;
use crate::content::compression::Compression;
use crate::error::Result;
use crate::host::in_flight::Budget;
use crate::host::{Clock, Entropy, Metrics, Workers, draw};
use crate::image::chunk_cache::ChunkCache;
use crate::model::{Limits, RegionCatalog};
use crate::placement::PlacementPolicy;
use crate::regions::stores::Regions;
use crate::replica::mending::Renew;
use crate::replica::slot::Slot;
use crate::replication::UnderWay;

/// Who decides access.
#[derive(Clone, Debug)]
pub(crate) enum Authority {
    /// Every caller may do everything: the host checks access itself.
    AllowAll,
    /// Roles decide, of principals that the directory knows; administrators may do everything, and janitors collect, compress and scrub.
    Roles { directory: Arc<dyn Directory>, administrators: BTreeSet<Caller>, janitors: BTreeSet<Caller> },
}

/// The parts of the service.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) authority: Authority,
    pub(crate) regions: Arc<Regions>,
    pub(crate) region_catalog: RegionCatalog,
    pub(crate) limits: Limits,
    /// Whether a resource needs a resource group that is there.
    pub(crate) requires_groups: bool,
    /// Whether what has passed its end of life is not deployed.
    pub(crate) refuses_after_end_of_life: bool,
    /// Whether a deployment reads no replicas of other regions.
    pub(crate) within_region: bool,
    /// How long the system may take to copy a batch of a deployment; `None` is unlimited.
    pub(crate) copy_within: Option<Duration>,
    /// How long a duty of another must not change until it counts as abandoned.
    pub(crate) quiet: Duration,
    pub(crate) workers: Workers,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    /// The cache of all image readers.
    pub(crate) chunks: Arc<ChunkCache>,
    /// Bytes that all operations together keep in memory and in flight.
    pub(crate) memory: Budget,
    /// Of the chunks of new images.
    pub(crate) compression: Compression,
    /// Accepts disk encryption sets where nothing is encrypted.
    pub(crate) records_encryption_sets: bool,
    pub(crate) computer_names: ComputerNames,
    pub(crate) placement_policy: PlacementPolicy,
    /// The replications that run in this process.
    pub(crate) under_way: UnderWay,
    /// Knows the sources that the catalog only knows by name.
    pub(crate) sources: Option<Arc<dyn SourceResolver>>,
    /// Is told of work that has ended.
    pub(crate) metrics: Option<Arc<dyn Metrics>>,
    /// Set by the double for tests.
    pub(crate) simulation: Option<Arc<dyn Simulation>>,
    /// The load of each replica in this process.
    pub(crate) pools: Pools,
}

impl Inner {
    /// Returns a time that has surely passed. It decides the end of soft deletions, which cannot be undone.
    pub(crate) fn log_time(&self) -> DateTime<Utc> {
        self.catalog.log_time()
    }

    /// Draws `N` random bytes.
    pub(crate) fn draw<const N: usize>(&self) -> Result<[u8; N]> {
        draw(&*self.entropy, "drawing random bytes")
    }
}

impl Renew for Inner {
    fn renewed<'a>(&'a self, slot: &'a Slot) -> BoxFuture<'a, Result<Slot>> {
        async move {
            let (region, id) = slot.place();
            Ok(slot.clone().with_incarnations(self.catalog.refresh().await?.incarnations(region, id)))
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use crate::disk::format::DiskFormat;
    use crate::disk::source::DiskSource;
    use crate::model::{
        CarriedIdentity, Gallery, GalleryId, ImageDefinition, ImageIdentifier, OsState, OsType, PublishingProfile,
        Region, VersionNumber,
    };
    use crate::store::MemoryStore;
    use crate::{GalleryService, NewImageVersion};

    #[test]
    fn pools_and_computer_names_are_bounded_by_the_number_of_existing_images() {
        block_on(async {
            let service = GalleryService::builder().allow_all().store(MemoryStore::new()).create().await.unwrap();
            let session = service.session("test".parse().unwrap());
            let home: Region = "westeurope".parse().unwrap();
            let id = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/galleries/g";
            let gallery: GalleryId = id.parse().unwrap();
            session.create_gallery(Gallery::new(gallery.clone(), home.clone())).await.unwrap();
            let image = gallery.image("web".parse().unwrap());
            let identifier = ImageIdentifier::new("a", "b", "c").unwrap();
            let os = (OsType::Linux, OsState::Specialized);
            let definition = ImageDefinition::new(image.clone(), home.clone(), os.0, os.1, identifier);
            session.create_image_definition(definition).await.unwrap();
            for number in 0..100 {
                let version = image.version(VersionNumber::new(1, 0, number).unwrap());
                let profile = PublishingProfile::new("westeurope".parse().unwrap());
                let disk = DiskSource::bytes(vec![7; 512], DiskFormat::Raw);
                let carried = CarriedIdentity { computer_name: format!("golden-{number}"), accounts: Vec::new() };
                let new = NewImageVersion::new(version.clone(), home.clone(), profile, disk);
                session.publish(new.with_carried_identity(carried)).await.unwrap();
                session.pool(version.clone(), &home).await.unwrap();
                let made_of = session.boot_image(version.clone(), &home).await.unwrap().specialized().unwrap();
                for vm in 0..20 {
                    made_of.vm(format!("vm-{vm}").parse().unwrap());
                }
                session.delete(version).await.unwrap();
            }
            assert!(service.0.pools.len() <= 16, "{}", service.0.pools.len());
            let (names, vms) = service.0.computer_names.len();
            assert!(names <= 16 && vms <= 320, "{names} names of {vms} VMs");
        });
    }
}
