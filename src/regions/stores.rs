//! The stores of all regions and zones, and the slots in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use super::lost::Lost;
use super::region_store::{RegionStore, Site};
use super::targets::ready_in;
use crate::catalog::{Catalog, State, VersionRecord};
use crate::content::names::{FamilyId, SlotId};
use crate::error::{Error, Problem, Result};
use crate::host::in_flight::{all_of, together};
use crate::host::sync::Mutex;
use crate::host::{Clock, Entropy};
use crate::keys::keyring::{Keyring, RegionKeys};
use crate::model::{Region, StorageAccountType};
use crate::replica::copies::{ZoneCopies, answers_of_most};
use crate::replica::health::Health;
use crate::replica::slot::{Contents, Slot};
use crate::replica::verified::Verified;
use crate::store::{BlobMeta, BlobStore, BlobStoreExt, Prefixed};

/// The blobs of a page.
const PAGE: usize = 1_000;

/// The stores of the regions: one each, one for each zone, or a prefix of a common store.
#[derive(Debug)]
pub(crate) struct Regions {
    own: BTreeMap<Region, Vec<Arc<RegionStore>>>,
    common: Option<Arc<dyn BlobStore>>,
    /// The prefixes of the common store that were used.
    shares: Mutex<BTreeMap<Region, Arc<RegionStore>>>,
    catalog: Arc<Catalog>,
    entropy: Arc<dyn Entropy>,
    clock: Arc<dyn Clock>,
    /// The time that a zone has left after most zones are done; `None` is unlimited.
    grace: Option<Duration>,
    /// What this process has verified.
    verified: Verified,
    /// What it has found to be lost.
    lost: Lost,
    /// The keys of an encrypted catalog.
    keyring: Option<Arc<Keyring>>,
    /// Accepts `Standard_ZRS` for a region with one store.
    pub(crate) one_store_for_all_zones: bool,
}

impl Regions {
    pub(crate) fn new(
        own: BTreeMap<Region, Vec<Arc<dyn BlobStore>>>,
        common: Option<Arc<dyn BlobStore>>,
        catalog: Arc<Catalog>,
        entropy: Arc<dyn Entropy>,
        clock: Arc<dyn Clock>,
        grace: Option<Duration>,
        (verified, keyring): (Verified, Option<Arc<Keyring>>),
    ) -> Self {
        let of_region = |(region, stores): (Region, Vec<Arc<dyn BlobStore>>)| {
            let is_zonal = stores.len() > 1;
            let zones = (1..).zip(stores).map(|(zone, store)| {
                let site = Site { region: region.clone(), zone: is_zonal.then_some(zone) };
                let keys = RegionKeys::new(keyring.clone(), region.as_str());
                let known = (Health::new(clock.clone()), verified.clone(), keys);
                Arc::new(RegionStore::new(store, site, catalog.clone(), entropy.clone(), known))
            });
            let zones = zones.collect();
            (region, zones)
        };
        let own = own.into_iter().map(of_region).collect();
        let one_store_for_all_zones = false;
        Self {
            own,
            common,
            shares: Mutex::default(),
            catalog,
            entropy,
            clock,
            grace,
            verified,
            lost: Lost::default(),
            keyring,
            one_store_for_all_zones,
        }
    }

    /// Returns the keys of the catalog, if it is encrypted.
    pub(crate) fn keyring(&self) -> Option<&Arc<Keyring>> {
        self.keyring.as_ref()
    }

    /// Refuses a store that belongs to another region or catalog, or has seen a newer log.
    pub(crate) async fn check(&self) -> Result<()> {
        let checks = self.own.values().flatten().map(|store| async {
            match store.refuse_a_wrong_one().await {
                // A store that lost its owner is refused when it is used, so that it does not disable the others.
                Err(error) if store.has_an_owner().await => Err(error),
                _ => Ok(()),
            }
        });
        join_all(checks).await.into_iter().collect()
    }

    /// Adopts the stores of a region for this catalog.
    pub(crate) async fn adopt(&self, region: &Region) -> Result<()> {
        for store in self.zones(region)? {
            store.adopt().await.map_err(|error| store.at_site(error))?;
        }
        Ok(())
    }

    /// Checks, before something is condemned, that each zone that answers is the right store and has seen no newer log.
    pub(crate) async fn prove(&self, region: &Region) -> Result<()> {
        let zones = self.zones(region)?;
        join_all(zones.iter().map(|store| store.prove())).await.into_iter().collect()
    }

    /// Makes the stores of a region check their ownership again, at the start of an operation that writes or deletes:
    /// mounts may have changed.
    pub(crate) fn recheck(&self, region: &Region) {
        self.zones(region).into_iter().flatten().for_each(|store| store.recheck());
    }

    /// As [`recheck`](Self::recheck), and checks at once, so that many reads that begin together find it done.
    pub(crate) async fn recheck_now(&self, region: &Region) {
        check_now(self.zones(region).unwrap_or_default()).await;
    }

    /// As [`recheck_now`](Self::recheck_now), while reads go on that are verified by their hashes.
    pub(crate) async fn recheck_beside_reads(&self, region: &Region) {
        let zones = self.zones(region).unwrap_or_default();
        together(zones.iter().map(|store| store.check_anew()).collect()).await;
    }

    /// As [`recheck_now`](Self::recheck_now), for all stores that this service has used.
    pub(crate) async fn recheck_all_now(&self) {
        let shares: Vec<Arc<RegionStore>> = self.shares.lock().values().cloned().collect();
        check_now(self.own.values().flatten().cloned().chain(shares).collect()).await;
    }

    /// Records in the zones that keep replicas on `account` that they have seen the log up to `state`: they refuse an
    /// older log from then on. Most of the zones must succeed.
    pub(crate) async fn witness(&self, region: &Region, account: StorageAccountType, state: &State) -> Result<()> {
        let zones = self.zones_of(region, account);
        let noting = (0..zones).map(|zone| (zone, self.witness_in(region, zone, state))).collect();
        // One zone is enough to refuse an older log, so a majority suffices, and none is waited for after that.
        let noted = answers_of_most(noting, zones, &*self.clock, Some(Duration::ZERO)).await;
        match noted.values().filter(|noted| noted.is_ok()).count() * 2 > zones {
            true => Ok(()),
            false => noted.into_values().find_map(Result::err).map_or(Ok(()), Err),
        }
    }

    /// As [`witness`](Self::witness), in one zone.
    pub(crate) async fn witness_in(&self, region: &Region, zone: usize, state: &State) -> Result<()> {
        let zones = self.zones(region)?;
        let Some(store) = zones.get(zone) else { return Ok(()) };
        store.witness_commit(state.number(), &state.head()).await.map_err(|error| store.at_site(error))
    }

    /// Returns the packs that were found to be lost.
    pub(crate) fn lost(&self) -> &Lost {
        &self.lost
    }

    /// Returns the problem with storage on `account` in `region`, if any. `target` names the property that asks for it.
    pub(crate) fn problem_with(
        &self,
        target: &dyn fmt::Display,
        region: &Region,
        account: StorageAccountType,
    ) -> Option<Problem> {
        if self.common.is_none() && !self.own.contains_key(region) {
            let have = self.own.keys().map(|region| format!("`{region}`")).collect::<Vec<_>>().join(", ");
            let what = format!(
                "region `{region}` has no store here; the regions with one are {have}; add one when the service is built"
            );
            return Some(Problem::invalid(format!("{target}.name"), what));
        }
        let once = self.kept_on(region, account) != account && !self.one_store_for_all_zones;
        once.then(|| {
            let what = format!(
                "`Standard_ZRS` keeps each replica in three zones, and region `{region}` has one store here: give it one for \
                 each zone with `zonal_region_stores`, or use Standard_LRS there"
            );
            Problem::invalid(format!("{target}.storageAccountType"), what)
        })
    }

    /// Returns the effective storage account type: `Standard_LRS` for zone-redundant replicas in one store.
    pub(crate) fn kept_on(&self, region: &Region, account: StorageAccountType) -> StorageAccountType {
        match account {
            StorageAccountType::StandardZrs if self.zones_of(region, account) == 1 => StorageAccountType::StandardLrs,
            other => other,
        }
    }

    /// Returns the stores of a region's zones, or the one store of a region without zones.
    fn zones(&self, region: &Region) -> Result<Vec<Arc<RegionStore>>> {
        if let Some(own) = self.own.get(region) {
            return Ok(own.clone());
        }
        let Some(common) = &self.common else {
            let what = "the region has no store here: add one when the service is built";
            return Err(Error::unavailable(region.to_string(), what));
        };
        let mut shares = self.shares.lock();
        if let Some(share) = shares.get(region) {
            return Ok(vec![share.clone()]);
        }
        let share = Arc::new(Prefixed::new(common.clone(), format!("regions/{region}").parse()?));
        let site = Site { region: region.clone(), zone: None };
        let keys = RegionKeys::new(self.keyring.clone(), region.as_str());
        let known = (Health::new(self.clock.clone()), self.verified.clone(), keys);
        let share = RegionStore::new(share, site, self.catalog.clone(), self.entropy.clone(), known);
        let share = Arc::new(share);
        shares.insert(region.clone(), share.clone());
        Ok(vec![share])
    }

    /// Returns every region that has a store of its own, or content in the common store.
    pub(crate) async fn all(&self, state: &State) -> Result<BTreeSet<Region>> {
        let mut regions: BTreeSet<Region> = self.own.keys().cloned().collect();
        regions.extend(state.uploads().map(|(_, upload)| upload.region.clone()));
        let Some(common) = &self.common else { return Ok(regions) };
        regions.extend(in_common(&**common).await?);
        Ok(regions)
    }

    /// Lists a region: every nonempty slot, with what it has. Zones that do not answer are left out. Fails if none answers.
    pub(crate) async fn list(&self, state: &State, region: &Region) -> Result<Vec<(SlotId, Slot, Contents)>> {
        let zones = self.zones(region)?;
        let listing = zones.iter().enumerate().map(|(zone, store)| list_zone(store, state, zone));
        let (mut slots, mut silent, mut answered) = (Vec::new(), None, false);
        for listed in together(listing.collect()).await {
            match listed {
                Ok(listed) => {
                    answered = true;
                    slots.extend(listed);
                }
                Err(error) => silent = silent.or(Some(error)),
            }
        }
        match silent {
            Some(error) if !answered => Err(error),
            _ => Ok(slots),
        }
    }

    /// Returns a slot of a region; `None` if the region has no such zone.
    pub(crate) fn slot(&self, state: &State, region: &Region, id: SlotId) -> Result<Option<Slot>> {
        self.zones(region)?.get(id.zone).map(|store| slot(store, state, id)).transpose()
    }

    /// Returns the number of zones of a region that keep a replica.
    pub(crate) fn zones_of(&self, region: &Region, account: StorageAccountType) -> usize {
        match account {
            StorageAccountType::StandardZrs => self.own.get(region).map_or(1, Vec::len),
            // Always zone 1: versions share chunks only within a slot.
            _ => 1,
        }
    }

    /// Returns the copies of replica `number` of a region, one for each zone that keeps it.
    pub(crate) fn copies(
        &self,
        state: &State,
        region: &Region,
        number: u32,
        account: StorageAccountType,
    ) -> Result<Vec<Slot>> {
        let zones = self.zones(region)?.into_iter().take(self.zones_of(region, account)).enumerate();
        zones.map(|(zone, store)| slot(&store, state, SlotId { zone, number })).collect()
    }

    /// Returns the copies of the first `count` replicas of a region.
    pub(crate) fn replicas(
        &self,
        state: &State,
        region: &Region,
        count: u32,
        account: StorageAccountType,
    ) -> Result<Vec<Vec<Slot>>> {
        (0..count).map(|number| self.copies(state, region, number, account)).collect()
    }

    /// Returns the replica that an import writes to.
    pub(crate) fn first(&self, state: &State, region: &Region, account: StorageAccountType) -> Result<ZoneCopies> {
        Ok(ZoneCopies::new(self.copies(state, region, 0, account)?, self.clock.clone(), self.grace))
    }

    /// Returns every slot that has a version whole, by the catalog, those of its home region first. Regions without a
    /// store here are left out.
    pub(crate) fn holders(&self, state: &State, record: &VersionRecord) -> Vec<Slot> {
        let (home, profile) = (record.version.location(), record.version.publishing_profile());
        let of = |region: &Region, count: u32| {
            self.replicas(state, region, count, profile.storage_account_type_in(region)).unwrap_or_default()
        };
        let at_home = of(home, ready_in(record, home));
        let away = record.ready_regions().filter(|region| *region != home);
        let slots = at_home.into_iter().chain(away.flat_map(|region| of(region, record.replicas_ready(region))));
        let family = FamilyId::of(&record.version.id().definition().to_string());
        slots.flatten().map(|slot| slot.in_family(family)).collect()
    }
}

/// Returns the error for a region's store that was replaced while something was sent to it.
pub(crate) fn another_store(region: &Region) -> Error {
    let what = format!(
        "another store was adopted for region `{region}` during the operation, and the content went to the previous one: try again"
    );
    Error::busy(region.to_string(), what)
}

async fn check_now(stores: Vec<Arc<RegionStore>>) {
    stores.iter().for_each(|store| store.recheck());
    // One that fails is asked again by the first read of it, which reports the failure.
    together(stores.iter().map(|store| store.is_not_anothers()).collect()).await;
}

fn slot(store: &Arc<RegionStore>, state: &State, id: SlotId) -> Result<Slot> {
    let (site, incarnations) = (store.site(), state.incarnations(&store.site().region, id));
    let known = (store.health().clone(), store.verified().clone(), store.keys().clone());
    Slot::new(store.clone(), &site.to_string(), (&site.region, id), store.catalog(), incarnations, known)
}

/// Lists the slots of a zone. A zone of few blobs fits on one page; otherwise each slot is listed by itself.
async fn list_zone(store: &Arc<RegionStore>, state: &State, zone: usize) -> Result<Vec<(SlotId, Slot, Contents)>> {
    let (site, folder) = (store.site().to_string(), "slots".parse()?);
    let page = store.list(Some(&folder), None, PAGE).await.map_err(|error| error.at(&site))?;
    let mut listed: BTreeMap<u32, Option<Vec<BlobMeta>>> = BTreeMap::new();
    if page.more {
        let slots = store.list_all_folders(Some(&folder)).await.map_err(|error| error.at(&site))?;
        listed.extend(slots.iter().filter_map(|slot| Some((slot.segments().nth(1)?.parse().ok()?, None))));
    } else {
        for blob in page.blobs {
            let mut segments = blob.key.segments().skip(1);
            let Some(Ok(number)) = segments.next().map(str::parse) else { continue };
            let Ok(key) = segments.collect::<Vec<_>>().join("/").parse() else { continue };
            listed.entry(number).or_default().get_or_insert_default().push(BlobMeta { key, ..blob });
        }
    }
    let reading = listed.into_iter().map(|(number, listed)| async move {
        let id = SlotId { zone, number };
        let slot = slot(store, state, id)?;
        let contents = slot.all_contents(listed).await?;
        Ok((id, slot, contents))
    });
    all_of(reading.collect()).await
}

/// Returns the regions with content in a common store.
pub(crate) async fn in_common(common: &dyn BlobStore) -> Result<Vec<Region>> {
    let folders = common.list_all_folders(Some(&"regions".parse()?)).await.map_err(|error| error.at("regions"))?;
    folders.iter().filter_map(|folder| folder.segments().nth(1)).map(str::parse).collect()
}
