//! Where each region's bytes are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use super::region_store::{RegionStore, Site};
use super::targets::ready_in;
use crate::catalog::{Catalog, State, VersionRecord};
use crate::content::names::SlotId;
use crate::error::{Error, Problem, Result};
use crate::host::sync::Mutex;
use crate::host::{Clock, Entropy};
use crate::model::{Region, StorageAccountType};
use crate::replica::copies::{ZoneCopies, answers_of_most};
use crate::replica::slot::Slot;
use crate::store::{BlobKey, BlobStore, Prefixed};

/// The stores of the regions: one each, or one for each zone, or a share of a common one.
#[derive(Debug)]
pub(crate) struct Regions {
    own: BTreeMap<Region, Vec<Arc<RegionStore>>>,
    common: Option<Arc<dyn BlobStore>>,
    /// The shares of the common store that were used.
    shares: Mutex<BTreeMap<Region, Arc<RegionStore>>>,
    catalog: Arc<Catalog>,
    entropy: Arc<dyn Entropy>,
    clock: Arc<dyn Clock>,
    /// A zone that is not done when most are has so much time left.
    grace: Option<Duration>,
    /// `Standard_ZRS` is taken where one store stands for all zones, too.
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
    ) -> Self {
        let of_region = |(region, stores): (Region, Vec<Arc<dyn BlobStore>>)| {
            let is_zonal = stores.len() > 1;
            let zones = (1..).zip(stores).map(|(zone, store)| {
                let site = Site { region: region.clone(), zone: is_zonal.then_some(zone) };
                Arc::new(RegionStore::new(store, site, catalog.clone(), entropy.clone()))
            });
            let zones = zones.collect();
            (region, zones)
        };
        let own = own.into_iter().map(of_region).collect();
        let one_store_for_all_zones = false;
        Self { own, common, shares: Mutex::default(), catalog, entropy, clock, grace, one_store_for_all_zones }
    }

    /// Refuses a store that was given for the wrong region, or that has seen a newer log.
    pub(crate) async fn check(&self) -> Result<()> {
        let looks = self.own.values().flatten().map(|store| async {
            match store.refuse_a_wrong_one().await {
                // A store that lost its owner is refused in use, so that it does not keep the others away.
                Err(error) if store.has_an_owner().await => Err(error),
                _ => Ok(()),
            }
        });
        join_all(looks).await.into_iter().collect()
    }

    /// Makes what was given for a region this catalog's.
    pub(crate) async fn adopt(&self, region: &Region) -> Result<()> {
        for store in self.zones(region)? {
            store.adopt().await.map_err(|error| store.at_site(error))?;
        }
        Ok(())
    }

    /// Before something is condemned: each zone that answers is the right store, and has seen no newer log.
    pub(crate) async fn prove(&self, region: &Region) -> Result<()> {
        let zones = self.zones(region)?;
        join_all(zones.iter().map(|store| store.refuse_a_wrong_one())).await.into_iter().collect()
    }

    /// At the beginning of an operation that writes or deletes: mounts may have been changed since the last one.
    pub(crate) fn recheck(&self, region: &Region) {
        self.zones(region).into_iter().flatten().for_each(|store| store.recheck());
    }

    /// Notes in the stores where replicas of that kind lie that they have seen the log up to `state`: a log that ends before
    /// is refused from here on. Most of the zones must have it.
    pub(crate) async fn witness(&self, region: &Region, account: StorageAccountType, state: &State) -> Result<()> {
        let zones = self.zones_of(region, account);
        let noting = (0..zones).map(|zone| (zone, self.witness_in(region, zone, state))).collect();
        // One zone that has it refuses an older log, so most of them are enough, and none is waited for.
        let noted = answers_of_most(noting, zones, &*self.clock, Some(Duration::ZERO)).await;
        match noted.values().filter(|noted| noted.is_ok()).count() * 2 > zones {
            true => Ok(()),
            false => noted.into_values().find_map(Result::err).map_or(Ok(()), Err),
        }
    }

    /// The same in one zone.
    pub(crate) async fn witness_in(&self, region: &Region, zone: usize, state: &State) -> Result<()> {
        let zones = self.zones(region)?;
        let Some(store) = zones.get(zone) else { return Ok(()) };
        store.witness(state.number(), &state.head()).await.map_err(|error| store.at_site(error))
    }

    /// What is wrong with keeping something on `account` in `region`, which stands at `target`.
    pub(crate) fn problem_with(&self, target: &str, region: &Region, account: StorageAccountType) -> Option<Problem> {
        if self.common.is_none() && !self.own.contains_key(region) {
            let have = self.own.keys().map(|region| format!("`{region}`")).collect::<Vec<_>>().join(", ");
            let what = format!(
                "region `{region}` has no store here; those with one are {have}; give it one when the service is built"
            );
            return Some(Problem::invalid(format!("{target}.name"), what));
        }
        let once = self.kept_on(region, account) != account && !self.one_store_for_all_zones;
        once.then(|| {
            let what = format!(
                "Standard_ZRS keeps each replica in three zones, and region `{region}` has one store here: give it one for \
                 each zone with `zonal_region_stores`, or use Standard_LRS there"
            );
            Problem::invalid(format!("{target}.storageAccountType"), what)
        })
    }

    /// What a region's replicas are kept on in truth: `Standard_LRS` where zone-redundant ones are kept in one store.
    pub(crate) fn kept_on(&self, region: &Region, account: StorageAccountType) -> StorageAccountType {
        match account {
            StorageAccountType::StandardZrs if self.zones_of(region, account) == 1 => StorageAccountType::StandardLrs,
            other => other,
        }
    }

    /// The stores of a region's zones; one that stands for all of the region, where it has no zones.
    fn zones(&self, region: &Region) -> Result<Vec<Arc<RegionStore>>> {
        if let Some(own) = self.own.get(region) {
            return Ok(own.clone());
        }
        let Some(common) = &self.common else {
            let what = format!("region `{region}` has no store here: give it one when the service is built");
            return Err(Error::unavailable("region", what));
        };
        let mut shares = self.shares.lock();
        if let Some(share) = shares.get(region) {
            return Ok(vec![share.clone()]);
        }
        let share = Arc::new(Prefixed::new(common.clone(), format!("regions/{region}").parse()?));
        let site = Site { region: region.clone(), zone: None };
        let share = Arc::new(RegionStore::new(share, site, self.catalog.clone(), self.entropy.clone()));
        shares.insert(region.clone(), share.clone());
        Ok(vec![share])
    }

    /// Every region that has a store of its own, or something in the common one.
    pub(crate) async fn all(&self, state: &State) -> Result<BTreeSet<Region>> {
        let mut regions: BTreeSet<Region> = self.own.keys().cloned().collect();
        regions.extend(state.uploads().map(|(_, upload)| upload.region.clone()));
        let Some(common) = &self.common else { return Ok(regions) };
        regions.extend(in_common(&**common).await?);
        Ok(regions)
    }

    /// Every slot that a region has something in. A zone that does not answer is left out, unless all do not.
    pub(crate) async fn slots(&self, state: &State, region: &Region) -> Result<Vec<(SlotId, Slot)>> {
        let (zones, mut slots, mut silent) = (self.zones(region)?, Vec::new(), None);
        let mut answered = false;
        for (zone, store) in zones.into_iter().enumerate() {
            match names(&*store, &"slots".parse()?, &store.site().to_string()).await {
                Ok(names) => {
                    answered = true;
                    for number in names.iter().filter_map(|name| name.parse().ok()) {
                        let id = SlotId { zone, number };
                        slots.push((id, slot(&store, state, id)?));
                    }
                }
                Err(error) => silent = silent.or(Some(error)),
            }
        }
        match silent {
            Some(error) if !answered => Err(error),
            _ => Ok(slots),
        }
    }

    /// A slot of a region by its place, if the region has such a zone.
    pub(crate) fn slot(&self, state: &State, region: &Region, id: SlotId) -> Result<Option<Slot>> {
        self.zones(region)?.get(id.zone).map(|store| slot(store, state, id)).transpose()
    }

    /// In how many zones of a region a replica is kept.
    pub(crate) fn zones_of(&self, region: &Region, account: StorageAccountType) -> usize {
        match account {
            StorageAccountType::StandardZrs => self.own.get(region).map_or(1, Vec::len),
            // Zone 1, for all: versions share chunks only within a slot.
            _ => 1,
        }
    }

    /// One replica of a region, in the zones that its kind of storage is kept in.
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

    /// The first `count` replicas of a region.
    pub(crate) fn replicas(
        &self,
        state: &State,
        region: &Region,
        count: u32,
        account: StorageAccountType,
    ) -> Result<Vec<Vec<Slot>>> {
        (0..count).map(|number| self.copies(state, region, number, account)).collect()
    }

    /// The replica that an import goes to.
    pub(crate) fn first(&self, state: &State, region: &Region, account: StorageAccountType) -> Result<ZoneCopies> {
        Ok(ZoneCopies::new(self.copies(state, region, 0, account)?, self.clock.clone(), self.grace))
    }

    /// Every slot that has a version whole, by the catalog's word: its home's first, then those of `region`, then all
    /// others. One whose region has no store here is left out.
    pub(crate) fn holders(&self, state: &State, record: &VersionRecord) -> Vec<Slot> {
        let (home, profile) = (record.version.location(), record.version.publishing_profile());
        let of = |region: &Region, count: u32| {
            self.replicas(state, region, count, profile.storage_account_type_in(region)).unwrap_or_default()
        };
        let at_home = of(home, ready_in(record, home));
        let away = record.ready_regions().filter(|region| *region != home);
        at_home.into_iter().chain(away.flat_map(|region| of(region, record.replicas_ready(region)))).flatten().collect()
    }
}

/// That a region's store was replaced while something was on its way to it.
pub(crate) fn another_store(region: &Region) -> Error {
    let what = format!(
        "another store was adopted for region `{region}` meanwhile, and what was sent is in the one before: try again"
    );
    Error::busy(region.to_string(), what)
}

fn slot(store: &Arc<RegionStore>, state: &State, id: SlotId) -> Result<Slot> {
    let (site, incarnations) = (store.site(), state.incarnations(&store.site().region, id));
    Slot::new(store.clone(), &site.to_string(), id.number, incarnations)
}

/// The regions that have something in a common store.
pub(crate) async fn in_common(common: &dyn BlobStore) -> Result<Vec<Region>> {
    let names = names(common, &"regions".parse()?, "regions").await?;
    names.iter().map(|name| name.parse()).collect()
}

/// The names right below a key.
async fn names(store: &dyn BlobStore, under: &BlobKey, site: &str) -> Result<Vec<String>> {
    let (mut names, mut after): (Vec<String>, Option<BlobKey>) = (Vec::new(), None);
    // From one name to the next, whatever each has below it.
    loop {
        let page = store.list(Some(under), after.as_ref(), 1).await.map_err(|error| error.at(site))?;
        let Some(name) = page.blobs.first().and_then(|blob| blob.key.segments().nth(1)) else { return Ok(names) };
        after = Some(format!("{under}/{name}/zzzz").parse()?);
        names.push(name.to_owned());
    }
}
