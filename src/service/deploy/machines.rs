//! VMs and scale sets from generalized and specialized images.

use std::marker::PhantomData;

use super::deployment::Deployment;
use super::pool::deployable;
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::model::{
    CarriedIdentity, ImageDefinitionId, ImageVersionId, MachineName, OsState, Region, ResourceId, SecurityType,
    VaultSecretUri, given,
};
use crate::service::read::latest::not_available;
use crate::service::read::view::CatalogView;
use crate::service::session::session::Session;

/// What makes a VM of a generalized image one of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OsProfile {
    /// `None` means the VM's name.
    pub computer_name: Option<MachineName>,
    admin_username: String,
    secrets: Vec<VaultSecretUri>,
}

impl OsProfile {
    /// Returns a profile with the VM's name as computer name. The name of the first account has 1 to 64 characters, without
    /// blanks and control characters. (Windows allows at most 20, and reserves some names.)
    ///
    /// # Errors
    ///
    /// `Invalid` for a name that breaks this rule.
    pub fn new(admin_username: impl Into<String>) -> Result<Self> {
        let name = admin_username.into();
        if !(1..=64).contains(&name.chars().count()) || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
            let rule = "an account's name has 1 to 64 characters, without blanks and control characters";
            return Err(Error::invalid("osProfile.adminUsername", format!("`{}`: {rule}", name.escape_debug())));
        }
        Ok(Self { computer_name: None, admin_username: name, secrets: Vec::new() })
    }

    /// Sets the secrets and certificates that the host puts into the VM, as references to a key vault. A VM of a specialized image has no OS
    /// profile, and so no secrets: it takes them by a managed identity.
    ///
    /// ```
    /// use compute_gallery::deploy::OsProfile;
    ///
    /// let winrm = "https://contoso.vault.azure.net/secrets/winrm/4f0c".parse()?;
    /// let profile = OsProfile::new("azureuser")?.with_secrets(vec![winrm]);
    /// assert_eq!(profile.secrets().len(), 1);
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    #[must_use]
    pub fn with_secrets(mut self, secrets: Vec<VaultSecretUri>) -> Self {
        self.secrets = secrets;
        self
    }

    /// Returns the references to secrets.
    pub fn secrets(&self) -> &[VaultSecretUri] {
        &self.secrets
    }

    /// Returns the name of the first account.
    pub fn admin_username(&self) -> &str {
        &self.admin_username
    }
}

/// What is known of an image besides its id.
#[derive(Clone, Debug, Default)]
struct Known {
    carried: Option<CarriedIdentity>,
    /// The only security type of its VMs, if there is one.
    security_type: Option<SecurityType>,
}

/// The state of an image whose machine- and user-specific data was removed.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
/// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
/// use compute_gallery::deploy::{Generalized, Image};
///
/// let generalized: Image<Generalized> = session.boot_image(&version, "eastus").await?.generalized()?;
/// assert_eq!(generalized.id(), &version.into());
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generalized;

/// The state of an image that still has the accounts and the computer name of its source VM.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
/// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
/// use compute_gallery::deploy::Specialized;
///
/// // The sandbox's image is generalized.
/// assert!(session.boot_image(&version, "eastus").await?.specialized().is_err());
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Specialized;

/// An image to make VMs from, in one region. Its OS state decides what a VM needs.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
/// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
/// use compute_gallery::deploy::{BootImage, OsProfile};
///
/// let vm = match session.boot_image(image, "eastus").await? {
///     BootImage::Generalized(image) => image.vm("web-01".parse()?, OsProfile::new("azureuser")?),
///     BootImage::Specialized(image) => image.vm("web-01".parse()?),
/// };
/// assert_eq!(vm.computer_name.as_deref(), Some("web-01"));
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub enum BootImage {
    /// A VM needs an OS profile.
    Generalized(Image<Generalized>),
    /// A VM has no OS profile.
    Specialized(Image<Specialized>),
}

impl BootImage {
    /// Returns the image if it is generalized.
    ///
    /// # Errors
    ///
    /// `Invalid` for a specialized image.
    pub fn generalized(self) -> Result<Image<Generalized>> {
        match self {
            Self::Generalized(image) => Ok(image),
            Self::Specialized(image) => {
                Err(image.other_state("Parameter 'osProfile' is not allowed.", OsState::Specialized))
            }
        }
    }

    /// Returns a VM of the image, whose OS state is known when it runs: a generalized image needs an OS profile, a specialized one takes
    /// none, and so no secrets.
    ///
    /// # Errors
    ///
    /// `Invalid`, in Azure's words, if it has a profile and may not, or the other way round.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let image = sandbox.session().boot_image(sandbox.image(), "eastus").await?;
    /// let error = image.vm("web-01".parse()?, None).unwrap_err();
    /// assert!(error.to_string().contains("Required parameter 'osProfile' is missing (null)"));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn vm(self, name: MachineName, os_profile: Option<OsProfile>) -> Result<NewVm> {
        match os_profile {
            Some(os_profile) => self.generalized().map(|image| image.vm(name, os_profile)),
            None => self.specialized().map(|image| image.vm(name)),
        }
    }

    /// Returns the image if it is specialized.
    ///
    /// # Errors
    ///
    /// `Invalid` for a generalized image.
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
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
/// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
/// use compute_gallery::deploy::OsProfile;
///
/// let image = session.boot_image(&version, "eastus").await?.generalized()?;
/// let (_, disk) = image.vm("web-01".parse()?, OsProfile::new("azureuser")?).deploy().to_writer(Vec::new()).await?;
/// assert_eq!(disk, [7; 4096]);
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
///
/// A VM of a generalized image needs an OS profile:
///
/// ```compile_fail,E0061
/// # use compute_gallery::deploy::{Generalized, Image};
/// # use compute_gallery::model::MachineName;
/// fn make(image: Image<Generalized>, name: MachineName) { image.vm(name); }
/// ```
///
/// A VM of a specialized image takes none:
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
    /// The definition that led to it, and the version.
    by_definition: Option<(ImageDefinitionId, ImageVersionId)>,
    known: Known,
    state: PhantomData<S>,
}

/// A VM to create: [`deploy`](Self::deploy) writes its disk, and the host creates the machine.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
/// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
/// # use compute_gallery::{deploy::OsProfile, model::SecurityType};
/// let image = session.boot_image(&version, "eastus").await?.generalized()?;
/// let vm = image.vm("web-01".parse()?, OsProfile::new("azureuser")?);
/// assert_eq!(vm.computer_name.as_deref(), Some("web-01"));
/// assert!(vm.collides_with.is_empty());
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct NewVm {
    session: Session,
    id: ResourceId,
    region: Region,
    by_definition: Option<(ImageDefinitionId, ImageVersionId)>,
    /// The resource name.
    pub name: MachineName,
    /// Of its OS; `None` for a specialized image whose computer name is unknown.
    pub computer_name: Option<String>,
    /// `None` for a specialized image.
    pub os_profile: Option<OsProfile>,
    security_type: SecurityType,
    /// The only possible one, if the image sets it.
    only_security_type: Option<SecurityType>,
    /// Other VMs with the same computer name that this caller has made from specialized images in this process, including
    /// those of other versions and definitions. All but one need another computer name. The latest 1,000 are remembered,
    /// except those of deleted images.
    pub collides_with: Vec<MachineName>,
}

/// A scale set to create.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
/// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
/// use compute_gallery::deploy::OsProfile;
///
/// let image = session.boot_image(&version, "eastus").await?.generalized()?;
/// let set = image.scale_set("web".parse()?, OsProfile::new("azureuser")?, 3)?;
/// let (_, disk) = set.deploy_instance(0)?.to_writer(Vec::new()).await?;
/// assert_eq!(set.computer_name(2).as_deref(), Some("web000002"));
/// assert_eq!((set.instances(), disk), (3, vec![7; 4096]));
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
///
/// Its image can be replaced by one of the same OS state only:
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

/// # VMs and scale sets
impl Session {
    /// Returns an image to make VMs from, in a region: a version, a definition (its latest version there) or a managed
    /// image.
    ///
    /// # Errors
    ///
    /// `NotFound` if it does not exist or cannot be deployed in the region; `Unsupported` for other resources; `Forbidden`,
    /// `Unavailable`, `Corrupt`.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let boot = session.boot_image(image, "eastus").await?;
    /// assert_eq!(boot.generalized()?.id(), &version.into());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn boot_image(
        &self,
        image: impl TryInto<ResourceId, Error: Into<Error>>,
        region: impl TryInto<Region, Error: Into<Error>>,
    ) -> Result<BootImage> {
        let (image, region) = (given(image)?, &given(region)?);
        let view = self.refresh().await?;
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
                let what = "VMs are made from image versions, definitions and managed images: name one of these";
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
        // The permission to deploy a version includes what its VMs need, even without the permission to see its definition.
        let Some(definition) = view.state().definition(id.definition()) else {
            return Err(Error::new(not_available(&id, region)));
        };
        let record = view.record(&id).map_err(|_untold| Error::new(not_available(&id, region)))?;
        let known = Known { carried: record.carried().cloned(), security_type: definition.required_security_type() };
        Ok((id.into(), definition.os_state(), known))
    }
}

impl<S> Image<S> {
    /// Returns the id of the version or managed image.
    pub fn id(&self) -> &ResourceId {
        &self.id
    }

    /// Returns the only security type of its VMs, if the definition sets one.
    pub fn security_type(&self) -> Option<SecurityType> {
        self.known.security_type
    }

    fn other_state(&self, sentence: &str, state: OsState) -> Error {
        let problem = Problem::invalid("osProfile", sentence);
        let state = state.to_string().to_ascii_lowercase();
        Error::new(problem.with_advice(format!("`{}` is {state}: take it with `BootImage::{state}`", self.id)))
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
    /// Returns a VM of the image.
    pub fn vm(&self, name: MachineName, os_profile: OsProfile) -> NewVm {
        let computer_name = os_profile.computer_name.as_ref().unwrap_or(&name).to_string();
        self.new_vm(name, Some(computer_name), Some(os_profile))
    }

    /// Returns a scale set of the image.
    ///
    /// # Errors
    ///
    /// `LimitReached` for more instances than this kind of image allows, `Invalid` for 0 instances.
    pub fn scale_set(&self, name: MachineName, os_profile: OsProfile, instances: u32) -> Result<ScaleSet<Generalized>> {
        self.new_scale_set(name, instances, Some(os_profile))
    }
}

impl Image<Specialized> {
    /// Returns the accounts and the computer name of the source VM, if they are known.
    pub fn carried(&self) -> Option<&CarriedIdentity> {
        self.known.carried.as_ref()
    }

    /// Returns advice on VMs of the image: name collisions, inherited accounts, secrets.
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

    /// Returns a VM of the image.
    pub fn vm(&self, name: MachineName) -> NewVm {
        let computer_name = self.known.carried.as_ref().map(|carried| carried.computer_name.clone());
        self.new_vm(name, computer_name, None)
    }

    /// Returns a scale set of the image.
    ///
    /// # Errors
    ///
    /// `LimitReached` for more instances than this kind of image allows, `Invalid` for 0 instances.
    pub fn scale_set(&self, name: MachineName, instances: u32) -> Result<ScaleSet<Specialized>> {
        self.new_scale_set(name, instances, None)
    }
}

impl NewVm {
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    pub(super) fn image(&self) -> &ResourceId {
        &self.id
    }

    /// Returns the security type: by default the image's only one, or the standard one.
    pub fn security_type(&self) -> SecurityType {
        self.security_type
    }

    /// Sets the security type.
    ///
    /// # Errors
    ///
    /// `Invalid` if the image allows another security type only.
    pub fn with_security_type(mut self, security_type: SecurityType) -> Result<Self> {
        if let Some(only) = self.only_security_type.filter(|only| *only != security_type) {
            let what = format!(
                "The gallery image '{}' only supports creation of VMs and VM Scale Sets with '{only}' security type.",
                self.id
            );
            let problem = Problem::new(ErrorKind::Invalid, "BadRequest", "securityProfile.securityType", what);
            return Err(Error::new(problem.with_advice(format!("`{security_type}` was set: set `{only}`"))));
        }
        self.security_type = security_type;
        Ok(self)
    }

    /// Returns the deployment of its OS disk; [`data_disk`](Deployment::data_disk) selects another disk.
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
    /// Returns the name.
    pub fn name(&self) -> &MachineName {
        &self.name
    }

    /// Returns the image of new instances.
    pub fn image(&self) -> &Image<S> {
        &self.image
    }

    /// Returns the number of instances.
    pub fn instances(&self) -> u32 {
        self.instances
    }

    /// Returns the computer name that its instances share if the image is specialized: all but one need another.
    pub fn colliding_name(&self) -> Option<&str> {
        let carried = self.image.known.carried.as_ref().filter(|_| self.instances > 1);
        carried.map(|carried| carried.computer_name.as_str())
    }

    /// Returns the settings of its instances; `None` for a specialized image.
    pub fn os_profile(&self) -> Option<&OsProfile> {
        self.os_profile.as_ref()
    }

    /// Sets the image of new instances, of the same OS state.
    ///
    /// # Errors
    ///
    /// `LimitReached` if the set has more instances than the kind of image allows. The set then keeps its image.
    pub fn update_image(&mut self, image: Image<S>) -> Result<()> {
        image.holds(self.instances)?;
        self.image = image;
        Ok(())
    }

    /// Returns the computer name of an instance: as Azure makes it, of the set's prefix and its number in six digits of base 36. `None` for a
    /// specialized image whose computer name is unknown.
    pub fn computer_name(&self, number: u32) -> Option<String> {
        let Some(profile) = &self.os_profile else {
            return self.image.known.carried.as_ref().map(|carried| carried.computer_name.clone());
        };
        let (mut digits, mut rest) = (Vec::new(), number);
        while digits.len() < 6 {
            digits.extend(char::from_digit(rest % 36, 36).map(|digit| digit.to_ascii_uppercase()));
            rest /= 36;
        }
        let prefix = profile.computer_name.as_ref().unwrap_or(&self.name);
        Some(format!("{prefix}{}", digits.iter().rev().collect::<String>()))
    }

    /// Returns the deployment of the OS disk of an instance, by its number: from 0.
    ///
    /// # Errors
    ///
    /// `Invalid` for a number that the set does not have.
    pub fn deploy_instance(&self, number: u32) -> Result<Deployment> {
        if number >= self.instances {
            let what = format!("`{number}` is no instance of a scale set with {} instances, from 0", self.instances);
            return Err(Error::invalid("instanceId", what));
        }
        let Image { session, id, region, by_definition, .. } = &self.image;
        Ok(match by_definition {
            Some((definition, version)) => Deployment::of_latest(session, definition.clone(), version.clone(), region),
            None => session.deploy(id.clone(), region),
        })
    }
}
