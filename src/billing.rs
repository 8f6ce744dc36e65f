//! What versions cost under a host's price table.
//!
//! Two things are billed: the storage of each replica in each region, and what crosses a region's border, once per border:
//! the replicas after the first are made inside the region.

use std::collections::BTreeMap;

use crate::model::{Region, StorageAccountType};

/// A host's prices, in millionths of its currency.
///
/// ```
/// use compute_gallery::billing::Prices;
/// use compute_gallery::model::StorageAccountType;
///
/// // 0.05 per GiB and month, 0.02 per GiB over a border; three zones cost more.
/// let prices = Prices::new(50_000, 20_000).with_storage(StorageAccountType::StandardZrs, 62_500);
/// assert_eq!(prices.storage(&"eastus".parse()?, StorageAccountType::StandardZrs), 62_500);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prices {
    storage: u64,
    egress: u64,
    storage_of: BTreeMap<&'static str, u64>,
    storage_in: BTreeMap<(Region, &'static str), u64>,
    egress_from: BTreeMap<Region, u64>,
}

fn key(account: StorageAccountType) -> &'static str {
    match account {
        StorageAccountType::StandardLrs => "Standard_LRS",
        StorageAccountType::StandardZrs => "Standard_ZRS",
        StorageAccountType::PremiumLrs => "Premium_LRS",
    }
}

impl Prices {
    /// Storage per GiB and month, and egress per GiB, where nothing else is said.
    pub fn new(storage_per_gib_month: u64, egress_per_gib: u64) -> Self {
        let (storage_of, storage_in, egress_from) = Default::default();
        Self { storage: storage_per_gib_month, egress: egress_per_gib, storage_of, storage_in, egress_from }
    }

    /// Sets the price of storage of a kind, per GiB and month.
    #[must_use]
    pub fn with_storage(mut self, account: StorageAccountType, per_gib_month: u64) -> Self {
        self.storage_of.insert(key(account), per_gib_month);
        self
    }

    /// Sets the price of storage of a kind in one region, per GiB and month.
    #[must_use]
    pub fn with_storage_in(mut self, region: Region, account: StorageAccountType, per_gib_month: u64) -> Self {
        self.storage_in.insert((region, key(account)), per_gib_month);
        self
    }

    /// Sets the price of what leaves a region, per GiB.
    #[must_use]
    pub fn with_egress_from(mut self, region: Region, per_gib: u64) -> Self {
        self.egress_from.insert(region, per_gib);
        self
    }

    /// The price of storage, per GiB and month.
    pub fn storage(&self, region: &Region, account: StorageAccountType) -> u64 {
        let here = self.storage_in.get(&(region.clone(), key(account)));
        here.or_else(|| self.storage_of.get(key(account))).copied().unwrap_or(self.storage)
    }

    /// The price of what leaves a region, per GiB.
    pub fn egress(&self, from: &Region) -> u64 {
        self.egress_from.get(from).copied().unwrap_or(self.egress)
    }
}

/// What is stored in one region for one version, and what crossed its border for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) region: Region,
    pub(crate) account: StorageAccountType,
    /// Where the first replica came from.
    pub(crate) from: Region,
    pub(crate) replicas: u32,
    /// Over all replicas.
    pub(crate) stored_bytes: u64,
    pub(crate) cross_region_bytes: u64,
}

/// What versions cost, in millionths of the host's currency.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cost {
    /// Storage, per month.
    pub storage_per_month: u64,
    /// What crossed borders, once.
    pub egress: u64,
    /// How many disks are billed: one for each version, region and replica.
    pub disks: u64,
    /// Each version in each of its regions.
    pub lines: Vec<CostLine>,
}

/// What one version costs in one region.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CostLine {
    /// The region.
    pub region: Region,
    /// How many replicas it has there.
    pub replicas: u32,
    /// What they take, together.
    pub stored_bytes: u64,
    /// Storage, per month.
    pub storage_per_month: u64,
    /// What crossed the region's border.
    pub cross_region_bytes: u64,
    /// The price of that.
    pub egress: u64,
}

impl Cost {
    pub(crate) fn of(prices: &Prices, items: impl IntoIterator<Item = Item>) -> Self {
        let mut cost = Self::default();
        for item in items {
            let line = CostLine {
                storage_per_month: per_gib(item.stored_bytes, prices.storage(&item.region, item.account)),
                egress: per_gib(item.cross_region_bytes, prices.egress(&item.from)),
                region: item.region,
                replicas: item.replicas,
                stored_bytes: item.stored_bytes,
                cross_region_bytes: item.cross_region_bytes,
            };
            cost.storage_per_month += line.storage_per_month;
            cost.egress += line.egress;
            cost.disks += u64::from(line.replicas);
            cost.lines.push(line);
        }
        cost
    }
}

/// Rounded up: what is begun is paid.
fn per_gib(bytes: u64, price: u64) -> u64 {
    let exact = (u128::from(bytes) * u128::from(price)).div_ceil(1 << 30);
    u64::try_from(exact).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_images_in_three_regions_are_six_disks_and_each_border_is_paid_once() {
        let regions: Vec<Region> = ["westeurope", "eastus", "westus"].map(|name| name.parse().unwrap()).into();
        let items = (0..2).flat_map(|_| &regions).map(|region| Item {
            region: region.clone(),
            account: StorageAccountType::StandardLrs,
            from: regions[0].clone(),
            replicas: 1,
            stored_bytes: 1 << 30,
            cross_region_bytes: if *region == regions[0] { 0 } else { 1 << 30 },
        });
        let cost = Cost::of(&Prices::new(50_000, 20_000), items);
        assert_eq!((cost.disks, cost.storage_per_month, cost.egress), (6, 300_000, 80_000));
    }

    #[test]
    fn a_region_and_a_kind_can_have_prices_of_their_own() {
        let (east, west): (Region, Region) = ("eastus".parse().unwrap(), "westus".parse().unwrap());
        let zrs = StorageAccountType::StandardZrs;
        let prices = Prices::new(1, 2).with_storage(zrs, 3).with_storage_in(east.clone(), zrs, 4);
        let prices = prices.with_egress_from(east.clone(), 5);
        assert_eq!((prices.storage(&east, zrs), prices.storage(&west, zrs)), (4, 3));
        assert_eq!((prices.egress(&east), prices.egress(&west)), (5, 2));
        assert_eq!(per_gib(1, 1), 1, "a byte begun is paid");
    }
}
