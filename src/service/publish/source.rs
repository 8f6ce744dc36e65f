//! What an image is made from, and what is known of it.

use crate::access::Action;
use crate::catalog::{ImageContent, State};
use crate::disk::source::DiskSource;
use crate::error::{ErrorKind, Problem, Result};
use crate::model::{
    Architecture, CarriedIdentity, DiskReference, HyperVGeneration, ImageDefinition, ImageVersionId, ManagedImageId,
    NamedSource, OsState, OsType, PurchasePlan, Region, ResourceId, SnapshotId, SourceDisk, SourceDisks,
    StorageAccountId, SubscriptionId, VersionSource, VirtualMachineId,
};
use crate::service::rules::refusals::deleting;
use crate::service::session::inner::Inner;
use crate::service::session::rights::Need;

/// What an image is made from.
///
/// ```
/// use compute_gallery::disk::{DiskFormat, DiskSource};
/// use compute_gallery::ImageSource;
/// use compute_gallery::publish::{LocalDisks, SnapshotDisks};
///
/// let disk = || DiskSource::path("web.vhd", DiskFormat::Vhd);
/// let one_disk = ImageSource::from(disk());
/// let two_disks = ImageSource::from(LocalDisks::new(disk()).with_data_disk(0, disk()));
/// let snapshot = "/subscriptions/dev/resourceGroups/vms/providers/Microsoft.Compute/snapshots/web-os";
/// let snapshots = ImageSource::from(SnapshotDisks::new(snapshot.parse()?));
/// # let _ = (one_disk, two_disks, snapshots);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
///
/// It is of one kind; disks can't be added to a managed image:
///
/// ```compile_fail,E0599
/// # use compute_gallery::ImageSource;
/// # use compute_gallery::disk::DiskSource;
/// # use compute_gallery::model::ManagedImageId;
/// fn add(image: ManagedImageId, disk: DiskSource) { ImageSource::from(image).with_data_disk(0, disk); }
/// ```
#[derive(Debug)]
pub struct ImageSource {
    pub(crate) source: Source,
    /// Bytes to import; `None` where the source is stored already.
    pub(crate) disks: Option<LocalDisks>,
}

/// What an image is made from, its bytes apart.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Bytes that are imported, with what is known of them and the name that the image records.
    Disks(Box<Facts>, Option<VersionSource>),
    ManagedImage(ManagedImageId),
    ImageVersion(ImageVersionId),
    Snapshots(SnapshotDisks),
}

/// What is known of a source, to be compared with the definition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(super) id: String,
    pub(super) location: Option<Region>,
    pub(super) os_type: Option<OsType>,
    pub(super) os_state: Option<OsState>,
    pub(super) hyper_v_generation: Option<HyperVGeneration>,
    pub(super) architecture: Option<Architecture>,
    /// The plan under which it was bought, or that it was not bought.
    pub(super) purchase_plan: Option<Option<PurchasePlan>>,
}

/// What a source must be, as far as it is known.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) os_type: OsType,
    pub(crate) os_state: OsState,
    pub(crate) hyper_v_generation: HyperVGeneration,
    /// Known of a definition, not of a managed image, which has neither.
    pub(crate) of_definition: Option<(Architecture, Option<PurchasePlan>)>,
}

impl From<&ImageDefinition> for Expected {
    fn from(definition: &ImageDefinition) -> Self {
        let (os_type, os_state) = (definition.os_type(), definition.os_state());
        let of_definition = Some((definition.architecture(), definition.purchase_plan().cloned()));
        Self { os_type, os_state, hyper_v_generation: definition.hyper_v_generation(), of_definition }
    }
}

/// Disks of your own: an OS disk, and data disks with their logical unit numbers.
#[derive(Debug)]
pub struct LocalDisks {
    pub(crate) os_disk: DiskSource,
    pub(crate) data_disks: Vec<(u32, DiskSource)>,
}

/// Snapshots: of an OS disk, and of data disks with their logical unit numbers.
#[derive(Clone, Debug)]
pub struct SnapshotDisks {
    pub(crate) os_disk: SnapshotId,
    pub(crate) data_disks: Vec<(u32, SnapshotId)>,
}

/// An unmanaged image: a VHD in a storage account, with a way to read it.
///
/// It is exhaustive: a publisher states each fact, because the rules compare each one.
#[derive(Debug)]
pub struct VhdBlob {
    /// The blob's address, for the record.
    pub uri: String,
    /// The storage account that it is in: publishing takes the right to list its keys.
    pub storage_account: StorageAccountId,
    /// The bytes.
    pub disk: DiskSource,
}

/// A VM: what is known of it, and a way to read its disks.
///
/// It is exhaustive: a publisher states each fact, because the rules compare each one with the definition.
#[derive(Debug)]
pub struct SourceMachine {
    /// Its id.
    pub id: VirtualMachineId,
    /// The region that it is in.
    pub location: Region,
    /// Its operating system.
    pub os_type: OsType,
    /// Whether it was generalized.
    pub os_state: OsState,
    /// Its firmware.
    pub hyper_v_generation: HyperVGeneration,
    /// Its processor.
    pub architecture: Architecture,
    /// The plan under which its image was bought, if it was.
    pub purchase_plan: Option<PurchasePlan>,
    /// Its disks.
    pub disks: LocalDisks,
}

impl LocalDisks {
    /// An OS disk alone.
    pub fn new(os_disk: DiskSource) -> Self {
        Self { os_disk, data_disks: Vec::new() }
    }

    /// Adds a data disk with its logical unit number.
    #[must_use]
    pub fn with_data_disk(mut self, lun: u32, disk: DiskSource) -> Self {
        self.data_disks.push((lun, disk));
        self
    }
}

impl SnapshotDisks {
    /// The snapshot of an OS disk alone.
    pub fn new(os_disk: SnapshotId) -> Self {
        Self { os_disk, data_disks: Vec::new() }
    }

    /// Adds the snapshot of a data disk with its logical unit number.
    #[must_use]
    pub fn with_data_disk(mut self, lun: u32, snapshot: SnapshotId) -> Self {
        self.data_disks.push((lun, snapshot));
        self
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (Option<u32>, &SnapshotId)> {
        let data_disks = self.data_disks.iter().map(|(lun, snapshot)| (Some(*lun), snapshot));
        std::iter::once((None, &self.os_disk)).chain(data_disks)
    }

    fn name(&self) -> Result<VersionSource, crate::error::Error> {
        let disk = |id: &SnapshotId| SourceDisk::new(DiskReference::Snapshot(id.clone()));
        let data_disks = self.data_disks.iter().map(|(lun, id)| (*lun, disk(id)));
        Ok(VersionSource::Disks(SourceDisks::new(disk(&self.os_disk), data_disks.collect())?))
    }
}

impl From<DiskSource> for LocalDisks {
    fn from(disk: DiskSource) -> Self {
        Self::new(disk)
    }
}

impl From<DiskSource> for ImageSource {
    fn from(disk: DiskSource) -> Self {
        LocalDisks::new(disk).into()
    }
}

impl From<LocalDisks> for ImageSource {
    fn from(disks: LocalDisks) -> Self {
        Self { source: Source::Disks(Box::default(), None), disks: Some(disks) }
    }
}

impl From<VhdBlob> for ImageSource {
    fn from(blob: VhdBlob) -> Self {
        let VhdBlob { uri, storage_account, disk } = blob;
        let facts = Box::new(Facts { id: uri.clone(), ..Facts::default() });
        let name = SourceDisks::new(
            SourceDisk::new(DiskReference::Vhd { uri, storage_account: Some(storage_account) }),
            Vec::new(),
        );
        let source = Source::Disks(facts, name.ok().map(VersionSource::Disks));
        Self { source, disks: Some(LocalDisks::new(disk)) }
    }
}

impl From<SourceMachine> for ImageSource {
    fn from(machine: SourceMachine) -> Self {
        let SourceMachine { id, location, os_type, os_state, hyper_v_generation, architecture, purchase_plan, disks } =
            machine;
        let facts = Box::new(Facts {
            id: id.to_string(),
            location: Some(location),
            os_type: Some(os_type),
            os_state: Some(os_state),
            hyper_v_generation: Some(hyper_v_generation),
            architecture: Some(architecture),
            purchase_plan: Some(purchase_plan),
        });
        Self { source: Source::Disks(facts, Some(VersionSource::VirtualMachine(id))), disks: Some(disks) }
    }
}

impl From<ManagedImageId> for ImageSource {
    fn from(id: ManagedImageId) -> Self {
        Self { source: Source::ManagedImage(id), disks: None }
    }
}

impl From<ImageVersionId> for ImageSource {
    fn from(id: ImageVersionId) -> Self {
        Self { source: Source::ImageVersion(id), disks: None }
    }
}

impl From<SnapshotDisks> for ImageSource {
    fn from(disks: SnapshotDisks) -> Self {
        Self { source: Source::Snapshots(disks), disks: None }
    }
}

impl From<SnapshotId> for ImageSource {
    fn from(id: SnapshotId) -> Self {
        SnapshotDisks::new(id).into()
    }
}

/// A source that is in the catalog, as it is in one state.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredSource {
    pub(crate) id: ResourceId,
    /// The LUN that its OS disk gets, where it is to be a data disk.
    pub(crate) lun: Option<u32>,
    pub(crate) content: ImageContent,
    /// What the VM that it was made from left in it.
    pub(crate) carried: Option<CarriedIdentity>,
}

/// What a source is in a state: the stored things that it names, and everything that is wrong with it.
#[derive(Debug, Default)]
pub(crate) struct SourceState {
    pub(crate) stored: Vec<StoredSource>,
    pub(crate) problems: Vec<Problem>,
}

impl Facts {
    /// What is known of a source by name.
    fn of_named(source: &NamedSource) -> Self {
        Self {
            id: source.id().to_string(),
            location: Some(source.location().clone()),
            os_type: source.os_type(),
            os_state: source.os_state(),
            hyper_v_generation: source.hyper_v_generation(),
            ..Self::default()
        }
    }
}

impl Source {
    /// Returns the ids of what the catalog has the bytes of.
    pub(super) fn stored(&self) -> Vec<ResourceId> {
        match self {
            Self::Disks(..) => Vec::new(),
            Self::ManagedImage(id) => vec![id.into()],
            Self::ImageVersion(id) => vec![id.into()],
            Self::Snapshots(snapshots) => snapshots.all().map(|(_, id)| id.into()).collect(),
        }
    }

    /// Returns whether the catalog has the bytes of a name.
    pub(super) fn is_stored(state: &State, name: &VersionSource) -> bool {
        match Self::named(name) {
            Self::Disks(..) => false,
            Self::ManagedImage(id) => state.managed_image(&id).is_some(),
            Self::ImageVersion(id) => state.version(&id).is_some(),
            Self::Snapshots(snapshots) => snapshots.all().all(|(_, id)| state.snapshot(id).is_some()),
        }
    }

    /// Returns the source of disks at hand that stand for a name.
    pub(crate) fn standing_for(state: &State, name: &VersionSource) -> Self {
        let id: Option<ResourceId> = match name {
            VersionSource::ManagedImage(id) => Some(id.into()),
            VersionSource::Disks(disks) => match disks.os_disk().reference() {
                DiskReference::Snapshot(id) => Some(id.into()),
                DiskReference::Disk(id) => Some(id.into()),
                DiskReference::Vhd { .. } => None,
            },
            _ => None,
        };
        let known = id.and_then(|id| state.named_source(&id));
        let facts = known.map(|record| Facts::of_named(&record.source)).unwrap_or_default();
        Self::Disks(Box::new(facts), Some(name.clone()))
    }

    /// Returns the source of a name: what the catalog may know, or disks whose bytes are elsewhere.
    pub(crate) fn named(name: &VersionSource) -> Self {
        match name {
            VersionSource::ManagedImage(id) => Self::ManagedImage(id.clone()),
            VersionSource::ImageVersion(id) => Self::ImageVersion(id.clone()),
            VersionSource::Disks(disks) => {
                let snapshot = |disk: &SourceDisk| match disk.reference() {
                    DiskReference::Snapshot(id) => Some(id.clone()),
                    DiskReference::Disk(_) | DiskReference::Vhd { .. } => None,
                };
                let data_disks = disks.data_disks().iter().map(|(lun, disk)| Some((*lun, snapshot(disk)?))).collect();
                match snapshot(disks.os_disk()).zip(data_disks) {
                    Some((os_disk, data_disks)) => Self::Snapshots(SnapshotDisks { os_disk, data_disks }),
                    None => Self::Disks(Box::default(), Some(name.clone())),
                }
            }
            VersionSource::VirtualMachine(_) | VersionSource::CommunityGalleryImage(_) => {
                Self::Disks(Box::default(), Some(name.clone()))
            }
        }
    }

    /// What is to be recorded of it.
    pub(crate) fn name(&self) -> Result<Option<VersionSource>> {
        Ok(match self {
            Self::Disks(_, name) => name.clone(),
            Self::ManagedImage(id) => Some(VersionSource::ManagedImage(id.clone())),
            Self::ImageVersion(id) => Some(VersionSource::ImageVersion(id.clone())),
            Self::Snapshots(snapshots) => Some(snapshots.name()?),
        })
    }

    /// What the caller must be allowed to do with it: rights on the source, as the service asks for them.
    pub(crate) fn needs(&self) -> Vec<Need> {
        match self {
            Self::Disks(_, Some(VersionSource::VirtualMachine(id))) => {
                vec![Need::linked(Action::WriteVirtualMachine, id)]
            }
            Self::Disks(_, Some(VersionSource::Disks(disks))) => match disks.os_disk().reference() {
                DiskReference::Vhd { storage_account: Some(account), .. } => {
                    vec![Need::linked(Action::ListStorageKeys, account)]
                }
                _ => Vec::new(),
            },
            Self::Disks(..) => Vec::new(),
            Self::ManagedImage(id) => vec![Need::linked(Action::ReadManagedImage, id)],
            Self::ImageVersion(id) => vec![Need::linked(Action::ReadVersion, id)],
            Self::Snapshots(snapshots) => {
                // The service asks for write; who may not read it must not get to read it by a version, either.
                let needs = |id| [Need::linked(Action::WriteSnapshot, id), Need::undenied(Action::ReadSnapshot, id)];
                snapshots.all().flat_map(|(_, id)| needs(id)).collect()
            }
        }
    }
    /// Looks for the source in `state`; it must be in `region`, and be as `expected` where something is.
    pub(crate) fn look_at(
        &self,
        state: &State,
        inner: &Inner,
        region: &Region,
        expected: Option<&Expected>,
    ) -> SourceState {
        let mut looked = SourceState::default();
        let marked = |id: ResourceId| deleting(state, &id.into());
        match self {
            Self::Disks(facts, _) => looked.problems.extend(facts.problems(region, expected)),
            Self::ManagedImage(id) => match state.managed_image(id) {
                None => looked.problems.push(not_found(id)),
                Some(record) => {
                    let image = &record.resource;
                    looked.problems.extend(marked(id.into()));
                    let facts = Facts {
                        id: id.to_string(),
                        location: Some(image.location().clone()),
                        os_type: Some(image.os_type()),
                        os_state: Some(image.os_state()),
                        hyper_v_generation: Some(image.hyper_v_generation()),
                        ..Facts::default()
                    };
                    looked.problems.extend(facts.problems(region, expected));
                    let content = record.content.clone();
                    looked.stored.push(StoredSource { id: id.clone().into(), lun: None, content, carried: None });
                }
            },
            Self::ImageVersion(id) => {
                let record = state.version(id).filter(|record| !state.is_gone(record, inner.log_time()));
                match record.zip(state.definition(id.definition())) {
                    None => looked.problems.push(not_found(id)),
                    Some((record, of)) => {
                        looked.problems.extend(marked(id.into()));
                        if let Some(end) = state.consumption_end(record).filter(|end| *end <= inner.log_time()) {
                            let advice = format!("it was deleted, and could be a source until {end}: restore it");
                            looked.problems.push(not_found(id).with_advice(advice));
                        }
                        let ready = record.replicas_ready(region) > 0;
                        let facts = Facts {
                            id: id.to_string(),
                            location: Some(if ready { region.clone() } else { record.version.location().clone() }),
                            os_type: Some(of.os_type()),
                            os_state: Some(of.os_state()),
                            hyper_v_generation: Some(of.hyper_v_generation()),
                            architecture: Some(of.architecture()),
                            purchase_plan: Some(of.purchase_plan().cloned()),
                        };
                        looked.problems.extend(facts.problems(region, expected));
                        let content = record.content.clone();
                        looked.stored.push(StoredSource {
                            id: id.clone().into(),
                            lun: None,
                            content,
                            carried: record.carried().cloned(),
                        });
                    }
                }
            }
            Self::Snapshots(snapshots) => {
                for (lun, id) in snapshots.all() {
                    let Some(record) = state.snapshot(id) else {
                        looked.problems.push(not_found(id));
                        continue;
                    };
                    let snapshot = &record.resource;
                    looked.problems.extend(marked(id.into()));
                    let facts = Facts {
                        id: id.to_string(),
                        location: Some(snapshot.location().clone()),
                        os_type: snapshot.os_type(),
                        hyper_v_generation: snapshot.hyper_v_generation(),
                        ..Facts::default()
                    };
                    if lun.is_none() && snapshot.os_type().is_none() {
                        let what = format!("snapshot `{id}` is of a data disk: an OS disk takes the snapshot of one");
                        looked.problems.push(Problem::invalid(id.to_string(), what));
                    }
                    looked.problems.extend(facts.problems(region, expected.filter(|_| lun.is_none())));
                    let content = record.content.clone();
                    looked.stored.push(StoredSource { id: id.clone().into(), lun, content, carried: None });
                }
            }
        }
        looked
    }
}

/// An image outside of a gallery, managed or not, is of the subscription that it is taken into. (FAQ: existing images.)
pub(crate) fn same_subscription(source: &Source, subscription: &SubscriptionId) -> Option<Problem> {
    let (source, kind, theirs) = match source {
        Source::ManagedImage(id) => (id.to_string(), "a managed image", id.subscription()),
        Source::Disks(_, Some(VersionSource::Disks(disks))) => match disks.os_disk().reference() {
            DiskReference::Vhd { uri, storage_account: Some(account) } => {
                (uri.clone(), "the storage account of a VHD", account.subscription())
            }
            _ => return None,
        },
        _ => return None,
    };
    (theirs != subscription).then(|| {
        let what = format!(
            "source '{source}' is in another subscription ('{theirs}') than what is made of it ('{subscription}'): {kind} must \
             be in the same; publish it there, and share the version"
        );
        Problem::invalid(source, what)
    })
}

/// A definition of trusted launch takes no source whose firmware state can't be known.
pub(crate) fn trusted_launch(source: &Source, definition: &ImageDefinition) -> Option<Problem> {
    let supported = "TrustedLaunchSupported";
    definition.security_type().filter(|security_type| security_type.eq_ignore_ascii_case(supported))?;
    let source = match source {
        Source::Disks(_, Some(VersionSource::VirtualMachine(id))) => id.to_string(),
        Source::Snapshots(snapshots) => snapshots.os_disk.to_string(),
        Source::Disks(..) | Source::ManagedImage(_) | Source::ImageVersion(_) => return None,
    };
    let what = format!(
        "The security type '{supported}' is not supported for the source id {source}. Currently only Vhd Blob, User Image and \
         Gallery Image Version sources are supported."
    );
    Some(Problem::invalid(SOURCE, what))
}

const SOURCE: &str = "galleryImageVersion.properties.storageProfile.source";

pub(crate) fn not_found(id: &dyn std::fmt::Display) -> Problem {
    let what = format!(
        "Source '{id}' is not found. Please check source exists, and is in the same region as gallery image version being \
         created."
    );
    Problem::new(ErrorKind::NotFound, "NotFound", id.to_string(), what)
}

impl Facts {
    fn problems(&self, region: &Region, expected: Option<&Expected>) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Some(elsewhere) = self.location.as_ref().filter(|location| *location != region) {
            let advice =
                format!("it is in `{elsewhere}`, and the version's location is `{region}`: publish in `{elsewhere}`");
            problems.push(not_found(&self.id).with_advice(advice));
        }
        let Some(expected) = expected else { return problems };
        const ADVICE: &str = "use another source, or another definition";
        let mut conflict = |what: String| {
            problems.push(Problem::new(ErrorKind::Conflict, "Conflict", self.id.as_str(), what).with_advice(ADVICE));
        };
        let mut differs = |what: &str, source: &dyn std::fmt::Display, parent: &dyn std::fmt::Display| {
            conflict(format!(
                "The resource with id '{}' has a different {what} ['{source}'] than the parent gallery image {what} \
                 ['{parent}'].",
                self.id
            ));
        };
        if let Some(os_type) = self.os_type.filter(|os_type| *os_type != expected.os_type) {
            differs("OS type", &os_type, &expected.os_type);
        }
        let generation = self.hyper_v_generation.filter(|own| *own != expected.hyper_v_generation);
        if let Some(own) = generation {
            differs("Hypervisor generation", &own, &expected.hyper_v_generation);
        }
        if let Some((architecture, plan)) = &expected.of_definition {
            if let Some(own) = self.architecture.filter(|own| own != architecture) {
                differs("architecture", &own, architecture);
            }
            if let Some(own) = self.purchase_plan.as_ref().filter(|own| *own != plan) {
                differs("plan", &as_json(own.as_ref()), &as_json(plan.as_ref()));
            }
        }
        if let Some(own) = self.os_state.filter(|state| *state != expected.os_state) {
            conflict(format!(
                "Cannot create Gallery Image Version from: {} since the OS State in the parent gallery image ('{}') is not \
                 '{own}'.",
                self.id, expected.os_state
            ));
        }
        problems
    }
}

/// A plan as Azure writes it in its sentence; `null` where there is none.
fn as_json(plan: Option<&PurchasePlan>) -> String {
    serde_json::to_string(&plan).unwrap_or_default()
}
