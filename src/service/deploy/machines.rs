//! What VMs and scale sets are made from, and what the two OS states mean for them.

use std::marker::PhantomData;

use super::deployment::Deployment;
use super::pool::deployable;
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::model::{
    CarriedIdentity, ImageDefinitionId, ImageVersionId, MachineName, OsState, Region, ResourceId, SecurityType,
};
use crate::service::read::latest::not_available;
use crate::service::read::view::CatalogView;
use crate::service::session::session::Session;

/// What makes a VM of a generalized image one of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OsProfile {
    /// The computer name; the VM's name where none is given.
    pub computer_name: Option<MachineName>,
    admin_username: String,
}

impl OsProfile {
    /// A profile with the VM's name as computer name, and the name of the first account: 1 to 64 characters, no blank and no
    /// control character among them. (Windows takes at most 20, and has names of its own that it refuses.)
    ///
    /// # Errors
    ///
    /// `Invalid` for a name that breaks this.
    pub fn new(admin_username: impl Into<String>) -> Result<Self> {
        let name = admin_username.into();
        if !(1..=64).contains(&name.chars().count()) || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
            let rule = "an account's name has 1 to 64 characters, no blank and no control character among them";
            return Err(Error::invalid("osProfile.adminUsername", format!("`{}`: {rule}", name.escape_debug())));
        }
        Ok(Self { computer_name: None, admin_username: name })
    }

    /// The first account.
    pub fn admin_username(&self) -> &str {
        &self.admin_username
    }
}

/// What of an image is known beside its id.
#[derive(Clone, Debug, Default)]
struct Known {
    carried: Option<CarriedIdentity>,
    /// The only security type that VMs of it can have, if there is one.
    security_type: Option<SecurityType>,
}

/// The state of a generalized image: what is of one machine or user was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generalized;

/// The state of a specialized image: accounts and computer name are still in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Specialized;

/// An image that VMs can be made from, in one region. Which state it has decides what a VM of it needs.
#[derive(Clone, Debug)]
pub enum BootImage {
    /// VMs need an OS profile.
    Generalized(Image<Generalized>),
    /// VMs can't have an OS profile.
    Specialized(Image<Specialized>),
}

impl BootImage {
    /// The image, if it is generalized.
    ///
    /// # Errors
    ///
    /// `Invalid`.
    pub fn generalized(self) -> Result<Image<Generalized>> {
        match self {
            Self::Generalized(image) => Ok(image),
            Self::Specialized(image) => {
                Err(image.other_state("Parameter 'osProfile' is not allowed.", OsState::Specialized))
            }
        }
    }

    /// The image, if it is specialized.
    ///
    /// # Errors
    ///
    /// `Invalid`.
    pub fn specialized(self) -> Result<Image<Specialized>> {
        match self {
            Self::Specialized(image) => Ok(image),
            Self::Generalized(image) => {
                Err(image.other_state("Required parameter 'osProfile' is missing (null).", OsState::Generalized))
            }
        }
    }
}

/// An image of one OS state, in one region.
///
/// A VM of a generalized image can't be asked for without an OS profile:
///
/// ```compile_fail,E0061
/// # use compute_gallery::deploy::{Generalized, Image};
/// # use compute_gallery::model::MachineName;
/// fn make(image: Image<Generalized>, name: MachineName) { image.vm(name); }
/// ```
///
/// nor one of a specialized image with one:
///
/// ```compile_fail,E0061
/// # use compute_gallery::deploy::{Image, OsProfile, Specialized};
/// # use compute_gallery::model::MachineName;
/// fn make(image: Image<Specialized>, name: MachineName) { image.vm(name, OsProfile::new("admin")); }
/// ```
#[derive(Clone, Debug)]
pub struct Image<S> {
    session: Session,
    id: ResourceId,
    region: Region,
    /// The definition that it was found by, and the version.
    by_definition: Option<(ImageDefinitionId, ImageVersionId)>,
    known: Known,
    state: PhantomData<S>,
}

/// A VM to be made: its disk is [deployed](Self::deploy); the machine itself is the host's to make.
#[derive(Debug)]
pub struct NewVm {
    session: Session,
    id: ResourceId,
    region: Region,
    by_definition: Option<(ImageDefinitionId, ImageVersionId)>,
    /// Its name.
    pub name: MachineName,
    /// The computer name that its OS will have; `None` where the image is specialized and does not say.
    pub computer_name: Option<String>,
    /// What makes it one of its own; `None` where the image is specialized.
    pub os_profile: Option<OsProfile>,
    security_type: SecurityType,
    /// The only one that it can have, if there is one.
    only_security_type: Option<SecurityType>,
    /// Other VMs that this caller has made of specialized images in this process and that have the same computer name, also
    /// those of another version or definition: change it in all but one. The latest 1,000 are remembered, and none of an
    /// image that is gone.
    pub collides_with: Vec<MachineName>,
}

/// A scale set to be made.
///
/// It can be given another image of its own state and of no other:
///
/// ```compile_fail,E0308
/// # use compute_gallery::deploy::{Generalized, Image, ScaleSet, Specialized};
/// fn update(set: &mut ScaleSet<Generalized>, image: Image<Specialized>) { set.update_image(image); }
/// ```
#[derive(Clone, Debug)]
pub struct ScaleSet<S> {
    name: MachineName,
    image: Image<S>,
    instances: u32,
    os_profile: Option<OsProfile>,
}

impl Session {
    /// An image to make VMs from, in a region: a version, a definition (its latest version), or a managed image.
    ///
    /// # Errors
    ///
    /// `NotFound` where it does not exist or can't be deployed in the region; `Unsupported` for anything that is no
    /// image; `Unavailable`, `Corrupt`.
    pub async fn boot_image(&self, image: impl Into<ResourceId>, region: &Region) -> Result<BootImage> {
        let (view, image) = (self.refresh().await?, image.into());
        view.require_linked(&image)?;
        let mut by_definition = None;
        let (id, state, known) = match image {
            ResourceId::ImageDefinition(definition) => {
                let latest = view.latest(&definition, region)?.id().clone();
                by_definition = Some((definition, latest.clone()));
                self.of_version(&view, latest, region)?
            }
            ResourceId::ImageVersion(version) => self.of_version(&view, version, region)?,
            ResourceId::ManagedImage(image) => {
                let state = view.managed_image(&image)?.os_state();
                (image.into(), state, Known::default())
            }
            other => {
                let what = "VMs are made from image versions, definitions and managed images";
                let problem = Problem::new(ErrorKind::Unsupported, "InvalidParameter", other.to_string(), what);
                return Err(Error::new(problem));
            }
        };
        deployable(&view, &id, region)?;
        let (session, region) = (self.clone(), region.clone());
        Ok(match state {
            OsState::Generalized => {
                let known = Known { carried: None, ..known };
                BootImage::Generalized(Image { session, id, region, by_definition, known, state: PhantomData })
            }
            OsState::Specialized => {
                BootImage::Specialized(Image { session, id, region, by_definition, known, state: PhantomData })
            }
        })
    }

    fn of_version(
        &self,
        view: &CatalogView,
        id: ImageVersionId,
        region: &Region,
    ) -> Result<(ResourceId, OsState, Known)> {
        // Whoever may deploy a version is told what it needs, though they may not see its definition.
        let Some(definition) = view.state().definition(id.definition()) else {
            return Err(Error::new(not_available(&id, region)));
        };
        let record = view.record(&id).map_err(|_untold| Error::new(not_available(&id, region)))?;
        let known = Known { carried: record.carried.clone(), security_type: definition.required_security_type() };
        Ok((id.into(), definition.os_state(), known))
    }
}

impl<S> Image<S> {
    /// What it is: a version or a managed image.
    pub fn id(&self) -> &ResourceId {
        &self.id
    }

    /// The only security type that VMs of it can have, where its definition says one.
    pub fn security_type(&self) -> Option<SecurityType> {
        self.known.security_type
    }

    fn other_state(&self, sentence: &str, state: OsState) -> Error {
        let problem = Problem::invalid("osProfile", sentence);
        Error::new(problem.with_advice(format!("`{}` is {}.", self.id, format!("{state:?}").to_ascii_lowercase())))
    }

    fn new_vm(&self, name: MachineName, computer_name: Option<String>, os_profile: Option<OsProfile>) -> NewVm {
        let mut collides_with = Vec::new();
        // Computer names of generalized images are given, not inherited.
        if let Some(computer_name) = computer_name.as_ref().filter(|_| os_profile.is_none()) {
            let inner = &self.session.inner;
            let (state, made) = (inner.catalog.snapshot(), (&name, &self.id));
            collides_with = inner.computer_names.note(&state, self.session.caller(), computer_name, made);
        }
        let (session, id, region) = (self.session.clone(), self.id.clone(), self.region.clone());
        let by_definition = self.by_definition.clone();
        let only_security_type = self.known.security_type;
        let security_type = only_security_type.unwrap_or_default();
        NewVm {
            session,
            id,
            region,
            by_definition,
            name,
            computer_name,
            os_profile,
            security_type,
            only_security_type,
            collides_with,
        }
    }

    /// Refuses no instances, and more than a scale set of this kind of image can have.
    fn holds(&self, instances: u32) -> Result<()> {
        let limits = &self.session.inner.limits;
        let gallery = limits.scale_set_instances_from_gallery();
        let (most, kind, fix) = match self.id {
            ResourceId::ManagedImage(_) => {
                let most = limits.scale_set_instances_from_managed_image();
                (most, "a managed image", format!("make several, or use a gallery image, which allows {gallery}"))
            }
            _ => (gallery, "a gallery image", "make several".to_owned()),
        };
        if instances == 0 {
            let what = format!("a scale set of `0` instances is none: ask for 1 to {most}");
            return Err(Error::invalid("sku.capacity", what));
        }
        if instances <= most {
            return Ok(());
        }
        let what = format!("a scale set from {kind} has at most {most} instances, not `{instances}`: {fix}");
        Err(Error::limit_reached("sku.capacity", what))
    }

    fn new_scale_set(&self, name: MachineName, instances: u32, os_profile: Option<OsProfile>) -> Result<ScaleSet<S>>
    where
        S: Clone,
    {
        self.holds(instances)?;
        Ok(ScaleSet { name, image: self.clone(), instances, os_profile })
    }
}

impl Image<Generalized> {
    /// A VM of it.
    pub fn vm(&self, name: MachineName, os_profile: OsProfile) -> NewVm {
        let computer_name = os_profile.computer_name.as_ref().unwrap_or(&name).to_string();
        self.new_vm(name, Some(computer_name), Some(os_profile))
    }

    /// A scale set of it.
    ///
    /// # Errors
    ///
    /// `LimitReached` for more instances than the kind of image allows, `Invalid` for none.
    pub fn scale_set(&self, name: MachineName, os_profile: OsProfile, instances: u32) -> Result<ScaleSet<Generalized>> {
        self.new_scale_set(name, instances, Some(os_profile))
    }
}

impl Image<Specialized> {
    /// What the VM that it was made from left in it, where that is known.
    pub fn carried(&self) -> Option<&CarriedIdentity> {
        self.known.carried.as_ref()
    }

    /// What to mind with VMs of it.
    pub fn advice(&self) -> Vec<String> {
        let mut advice = Vec::new();
        if let Some(CarriedIdentity { computer_name, accounts }) = &self.known.carried {
            advice.push(format!(
                "every VM is called `{computer_name}` until that is changed: change it to avoid collisions"
            ));
            let accounts = accounts.join("`, `");
            advice.push(format!("these accounts can log in to every VM: `{accounts}`"));
        } else {
            advice.push("accounts and computer name of the VM that it was made from are in every VM".to_owned());
        }
        advice.push(
            "no OS profile means no secrets through it (key vault, WinRM): use managed identities instead".to_owned(),
        );
        advice
    }

    /// A VM of it.
    pub fn vm(&self, name: MachineName) -> NewVm {
        let computer_name = self.known.carried.as_ref().map(|carried| carried.computer_name.clone());
        self.new_vm(name, computer_name, None)
    }

    /// A scale set of it.
    ///
    /// # Errors
    ///
    /// `LimitReached` for more instances than the kind of image allows, `Invalid` for none.
    pub fn scale_set(&self, name: MachineName, instances: u32) -> Result<ScaleSet<Specialized>> {
        self.new_scale_set(name, instances, None)
    }
}

impl NewVm {
    /// The security type that it is to have: its image's only one, else the standard, until another is set.
    pub fn security_type(&self) -> SecurityType {
        self.security_type
    }

    /// Sets the security type.
    ///
    /// # Errors
    ///
    /// `Invalid` where the image makes VMs of another security type only.
    pub fn with_security_type(mut self, security_type: SecurityType) -> Result<Self> {
        if let Some(only) = self.only_security_type.filter(|only| *only != security_type) {
            let what = format!(
                "The gallery image '{}' only supports creation of VMs and VM Scale Sets with '{only}' security type.",
                self.id
            );
            let problem = Problem::new(ErrorKind::Invalid, "BadRequest", "securityProfile.securityType", what);
            return Err(Error::new(problem.with_advice(format!("It is `{security_type}`."))));
        }
        self.security_type = security_type;
        Ok(self)
    }

    /// The deployment of its OS disk; `.data_disk(lun)` makes it that of another.
    pub fn deploy(&self) -> Deployment {
        match &self.by_definition {
            Some((definition, version)) => {
                Deployment::of_latest(&self.session, definition.clone(), version.clone(), &self.region)
            }
            None => self.session.deploy(self.id.clone(), &self.region),
        }
    }
}

impl<S> ScaleSet<S> {
    /// Its name.
    pub fn name(&self) -> &MachineName {
        &self.name
    }

    /// The image that new instances are made from.
    pub fn image(&self) -> &Image<S> {
        &self.image
    }

    /// How many instances it has.
    pub fn instances(&self) -> u32 {
        self.instances
    }

    /// The computer name that several of its instances have, if the image is specialized: change it in all but one.
    pub fn colliding_name(&self) -> Option<&str> {
        let carried = self.image.known.carried.as_ref().filter(|_| self.instances > 1);
        carried.map(|carried| carried.computer_name.as_str())
    }

    /// What makes its instances their own; `None` where the image is specialized.
    pub fn os_profile(&self) -> Option<&OsProfile> {
        self.os_profile.as_ref()
    }

    /// Makes new instances from another image of the same OS state.
    ///
    /// # Errors
    ///
    /// `LimitReached` where the set has more instances than the kind of image allows; it then stays as it is.
    pub fn update_image(&mut self, image: Image<S>) -> Result<()> {
        image.holds(self.instances)?;
        self.image = image;
        Ok(())
    }

    /// The deployment of one instance's OS disk.
    pub fn deploy_instance(&self) -> Deployment {
        let Image { session, id, region, by_definition, .. } = &self.image;
        match by_definition {
            Some((definition, version)) => Deployment::of_latest(session, definition.clone(), version.clone(), region),
            None => session.deploy(id.clone(), region),
        }
    }
}
