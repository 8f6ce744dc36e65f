//! VMs that are noted in the catalog with the computer name that they inherit, for all processes and after them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::machines::NewVm;
use crate::access::Action;
use crate::catalog::{Changes, Event, State};
use crate::error::{Error, Result};
use crate::model::{ResourceId, VirtualMachineId, given};
use crate::service::read::view::CatalogView;
use crate::service::session::rights::Need;
use crate::service::session::session::Session;

/// VMs of specialized images that have one computer name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NameCollision {
    /// The computer name, in lower case.
    pub computer_name: String,
    /// The VMs: all but one need another name.
    pub machines: Vec<VirtualMachineId>,
}

impl NewVm {
    /// Notes in the catalog that the host has made this VM, if it inherits the computer name of a specialized image. Returns the VMs that were noted with the same
    /// name, by any process and caller: those that the caller may write. It is kept until [`forget_vm`](Session::forget_vm).
    ///
    /// # Errors
    ///
    /// `Forbidden` if the caller may not write the VM; `Unavailable`, `StorageFull`, `Unknown`.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::{Sandbox, raw};
    /// # use compute_gallery::{NewImageVersion, model::*};
    /// # let sandbox = Sandbox::new().await?;
    /// # let (home, id) = ("westeurope".parse::<Region>()?, sandbox.image().gallery().image("golden".parse()?));
    /// # let names = ImageIdentifier::new("Contoso", "Golden", "1")?;
    /// # let definition = ImageDefinition::new(id.clone(), home.clone(), OsType::Linux, OsState::Specialized, names);
    /// # sandbox.session().create_image_definition(definition).await?;
    /// # let profile = PublishingProfile::new("westeurope".parse()?);
    /// # let golden = NewImageVersion::new(id.version("1.0.0".parse()?), home, profile, raw(vec![7; 4096]));
    /// sandbox.session().publish(golden.with_carried_identity(CarriedIdentity::new("golden"))).await?;
    /// let vm = |name: &str| format!("/subscriptions/dev/resourceGroups/r/providers/Microsoft.Compute/virtualMachines/{name}");
    ///
    /// // Two processes.
    /// let other = sandbox.reopen().build().await?;
    /// let image = sandbox.session().boot_image(&id, "westeurope").await?.specialized()?;
    /// assert!(image.vm("one".parse()?).note(vm("one").as_str()).await?.is_empty());
    /// let image = other.session().boot_image(&id, "westeurope").await?.specialized()?;
    /// assert_eq!(image.vm("two".parse()?).note(vm("two").as_str()).await?[0].to_string(), vm("one"));
    /// assert_eq!(other.session().view().name_collisions()[0].machines.len(), 2);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn note(&self, id: impl TryInto<VirtualMachineId, Error: Into<Error>>) -> Result<Vec<VirtualMachineId>> {
        let id: VirtualMachineId = given(id)?;
        let inherited = self.computer_name.as_ref().filter(|_| self.os_profile.is_none());
        let Some(computer_name) = inherited.map(|name| name.to_ascii_lowercase()) else { return Ok(Vec::new()) };
        let (session, of) = (self.session().clone(), ResourceId::from(id.clone()));
        let properties = json!({"computerName": computer_name, "image": self.image()}).to_string();
        let check = move |state: &State| {
            let needs = [Need::new(Action::WriteVirtualMachine, of.clone())];
            let authorization = session.authorize(state, &needs)?;
            let is_noted = state.unmodelled(&of) == Some(&*properties);
            let event = Event::UnmodelledSet { of: of.clone(), properties: properties.clone() };
            Ok(Changes { events: if is_noted { Vec::new() } else { vec![event] }, authorization })
        };
        let session = self.session();
        let state = session.inner.catalog.commit(&session.caller, check).await?;
        let rights = session.rights();
        let same = noted(&state).filter(|(other, name)| **other != id && *name == computer_name);
        let may = |id: &VirtualMachineId| rights.may(&state, Action::WriteVirtualMachine, &id.clone().into());
        Ok(same.map(|(other, _)| other.clone()).filter(may).collect())
    }
}

/// # Computer names
impl Session {
    /// Forgets a VM that was [noted](NewVm::note): it is gone, or has a computer name of its own.
    ///
    /// # Errors
    ///
    /// `Forbidden` if the caller may not write the VM; `Unavailable`, `StorageFull`, `Unknown`.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// let vm = "/subscriptions/dev/resourceGroups/r/providers/Microsoft.Compute/virtualMachines/one";
    /// sandbox.session().forget_vm(vm).await?;
    /// assert!(sandbox.session().view().name_collisions().is_empty());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn forget_vm(&self, id: impl TryInto<VirtualMachineId, Error: Into<Error>>) -> Result<()> {
        let (id, session) = (given(id)?, self.clone());
        let of = ResourceId::from(id);
        let check = move |state: &State| {
            let authorization = session.authorize(state, &[Need::new(Action::WriteVirtualMachine, of.clone())])?;
            let properties = String::new();
            let event = state.unmodelled(&of).map(|_| Event::UnmodelledSet { of: of.clone(), properties });
            Ok(Changes { events: event.into_iter().collect(), authorization })
        };
        self.inner.catalog.commit(&self.caller, check).await.map(drop)
    }
}

/// # Computer names
impl CatalogView {
    /// Returns the computer names that several noted VMs have, of the VMs that the caller may write: a notice that outlives the processes
    /// that [noted](NewVm::note) them.
    pub fn name_collisions(&self) -> Vec<NameCollision> {
        let mut by_name: BTreeMap<String, Vec<VirtualMachineId>> = BTreeMap::new();
        for (id, name) in noted(self.state()).filter(|(id, _)| self.may(Action::WriteVirtualMachine, *id)) {
            by_name.entry(name).or_default().push(id.clone());
        }
        let several = by_name.into_iter().filter(|(_, machines)| machines.len() > 1);
        several.map(|(computer_name, machines)| NameCollision { computer_name, machines }).collect()
    }
}

/// The noted VMs with their computer names, in lower case.
fn noted(state: &State) -> impl Iterator<Item = (&VirtualMachineId, String)> {
    state.noted_machines().filter_map(|(id, properties)| {
        let read: Value = serde_json::from_str(properties).ok()?;
        Some((id, read.get("computerName")?.as_str()?.to_owned()))
    })
}
