//! The cost of versions by a host's prices.
//!
//! Two things are billed: the storage of each replica in each region, and the bytes that cross a region's border. They cross it
//! once, because further replicas are copied inside the region.
//!
//! Storage is billed by the bytes that are really kept, or as Azure does: each replica of each disk, of the OS and of data, is a managed disk of
//! its size. Both are in each line, whatever is billed.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::{Region, StorageAccountType};

/// A host's prices, in millionths of its currency. A price for one region takes precedence over one for a kind of storage,
/// and that over the general one.
///
/// ```
/// use compute_gallery::billing::Prices;
/// use compute_gallery::model::StorageAccountType;
///
/// // 0.05 per GiB and month, 0.02 per GiB across a border. Storage in three zones costs more.
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
    by_disk_size: bool,
}

fn key(account: StorageAccountType) -> &'static str {
    match account {
        StorageAccountType::StandardLrs => "Standard_LRS",
        StorageAccountType::StandardZrs => "Standard_ZRS",
        StorageAccountType::PremiumLrs => "Premium_LRS",
    }
}

impl Prices {
    /// Creates a price table with a general price of storage and of egress.
    pub fn new(storage_per_gib_month: u64, egress_per_gib: u64) -> Self {
        let (storage_of, storage_in, egress_from) = Default::default();
        let by_disk_size = false;
        Self {
            storage: storage_per_gib_month,
            egress: egress_per_gib,
            storage_of,
            storage_in,
            egress_from,
            by_disk_size,
        }
    }

    /// Bills the storage of managed disks by their size, as Azure does, in place of the bytes that are kept.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let (session, version) = (sandbox.session(), sandbox.version("1.0.0"));
    /// use compute_gallery::billing::Prices;
    ///
    /// // A disk of 1 MiB, of which little is kept.
    /// sandbox.publish_to("1.0.0", "westeurope=2", vec![7; 1 << 20]).await?;
    /// let prices = Prices::new(1_024_000, 0);
    /// let [kept, sizes] = [prices.clone(), prices.by_disk_size()].map(|prices| session.view().cost(&prices, [&version]));
    /// let (kept, sizes) = (kept?, sizes?);
    /// assert_eq!((sizes.disks, sizes.lines[0].disk_bytes, sizes.storage_per_month), (2, 2 << 20, 2_000));
    /// assert!(kept.lines == sizes.lines || kept.storage_per_month < sizes.storage_per_month);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn by_disk_size(mut self) -> Self {
        self.by_disk_size = true;
        self
    }

    /// Sets the price of one kind of storage, per GiB and month.
    #[must_use]
    pub fn with_storage(mut self, account: StorageAccountType, per_gib_month: u64) -> Self {
        self.storage_of.insert(key(account), per_gib_month);
        self
    }

    /// Sets the price of one kind of storage in one region, per GiB and month.
    ///
    /// ```
    /// use compute_gallery::billing::Prices;
    /// use compute_gallery::model::{Region, StorageAccountType};
    ///
    /// let (east, west): (Region, Region) = ("eastus".parse()?, "westus".parse()?);
    /// let standard = StorageAccountType::StandardLrs;
    /// let prices = Prices::new(50_000, 20_000).with_storage_in(east.clone(), standard, 40_000);
    /// assert_eq!([&east, &west].map(|region| prices.storage(region, standard)), [40_000, 50_000]);
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    #[must_use]
    pub fn with_storage_in(mut self, region: Region, account: StorageAccountType, per_gib_month: u64) -> Self {
        self.storage_in.insert((region, key(account)), per_gib_month);
        self
    }

    /// Sets the price of egress from one region, per GiB.
    #[must_use]
    pub fn with_egress_from(mut self, region: Region, per_gib: u64) -> Self {
        self.egress_from.insert(region, per_gib);
        self
    }

    /// Returns the price of storage, per GiB and month.
    pub fn storage(&self, region: &Region, account: StorageAccountType) -> u64 {
        let here = self.storage_in.get(&(region.clone(), key(account)));
        here.or_else(|| self.storage_of.get(key(account))).copied().unwrap_or(self.storage)
    }

    /// Returns the price of egress from a region, per GiB.
    pub fn egress(&self, from: &Region) -> u64 {
        self.egress_from.get(from).copied().unwrap_or(self.egress)
    }
}

/// The billed bytes of one version in one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) region: Region,
    pub(crate) account: StorageAccountType,
    /// The source of the first replica.
    pub(crate) from: Region,
    pub(crate) replicas: u32,
    /// The disks of a replica.
    pub(crate) disks: u64,
    /// The sizes of all disks, over all replicas.
    pub(crate) disk_bytes: u64,
    /// Over all replicas.
    pub(crate) stored_bytes: u64,
    pub(crate) cross_region_bytes: u64,
}

/// The cost of versions, in millionths of the host's currency. Each line is rounded up.
///
/// `{}` prints the sums in whole units of the currency.
///
/// ```
/// use compute_gallery::disk::{DiskFormat, DiskSource};
/// use compute_gallery::model::*;
/// use compute_gallery::store::MemoryStore;
/// use compute_gallery::{GalleryService, NewImageVersion};
/// use compute_gallery::billing::Prices;
///
/// # futures::executor::block_on(async {
/// # let service = GalleryService::builder().allow_all().store(MemoryStore::new()).create().await?;
/// # let session = service.session("docs".parse()?);
/// # let gallery: GalleryId = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/Contoso".parse()?;
/// # let home: Region = "westeurope".parse()?;
/// # session.create_gallery(Gallery::new(gallery.clone(), home.clone())).await?;
/// # let web = gallery.image("web".parse()?);
/// # let identifier = ImageIdentifier::new("Contoso", "Web", "Frontend")?;
/// # let definition = ImageDefinition::new(web.clone(), home.clone(), OsType::Linux, OsState::Generalized, identifier);
/// # session.create_image_definition(definition).await?;
/// // 1 MiB, with three replicas in two regions.
/// let disk = DiskSource::bytes(vec![7; 1 << 20], DiskFormat::Raw);
/// let profile = PublishingProfile::new("westeurope=2,eastus=1".parse()?);
/// let version = web.version("1.0.0".parse()?);
/// session.publish(NewImageVersion::new(version.clone(), home, profile, disk)).await?;
/// session.replicate(&version).await?;
///
/// let cost = session.refresh().await?.cost(&Prices::new(50_000, 20_000), [&version])?;
/// assert_eq!((cost.disks, cost.lines.len()), (3, 2));
/// assert!(cost.to_string().ends_with(" for 3 disks"), "{cost}");
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cost {
    /// The price of all storage per month.
    pub storage_per_month: u64,
    /// The price of all egress, once.
    pub egress: u64,
    /// The number of billed disks: one for each version, region, replica and disk of the OS or of data.
    pub disks: u64,
    /// One line for each version and region.
    pub lines: Vec<CostLine>,
}

/// The cost of one version in one region, in millionths of the host's currency.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CostLine {
    /// The region that stores it.
    pub region: Region,
    /// The number of its replicas there.
    pub replicas: u32,
    /// The number of disks of all these replicas, of the OS and of data.
    pub disks: u64,
    /// The sizes of all these disks.
    pub disk_bytes: u64,
    /// The bytes that are kept for them. 0 marks disks that are nothing but zeros, such as those of a source that only has a size.
    pub stored_bytes: u64,
    /// The price of the storage per month.
    pub storage_per_month: u64,
    /// The bytes that crossed the region's border.
    pub cross_region_bytes: u64,
    /// The price of these bytes, once.
    pub egress: u64,
}

impl Cost {
    pub(crate) fn of(prices: &Prices, items: impl IntoIterator<Item = Item>) -> Self {
        let mut cost = Self::default();
        for item in items {
            let line = CostLine {
                storage_per_month: per_gib(
                    if prices.by_disk_size { item.disk_bytes } else { item.stored_bytes },
                    prices.storage(&item.region, item.account),
                ),
                disks: item.disks * u64::from(item.replicas),
                disk_bytes: item.disk_bytes,
                egress: per_gib(item.cross_region_bytes, prices.egress(&item.from)),
                region: item.region,
                replicas: item.replicas,
                stored_bytes: item.stored_bytes,
                cross_region_bytes: item.cross_region_bytes,
            };
            cost.storage_per_month += line.storage_per_month;
            cost.egress += line.egress;
            cost.disks += line.disks;
            cost.lines.push(line);
        }
        cost
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.disks == 1 { "" } else { "s" };
        let (storage, egress) = (Amount(self.storage_per_month), Amount(self.egress));
        write!(f, "{storage} per month and {egress} once for {} disk{plural}", self.disks)
    }
}

impl fmt::Display for CostLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.replicas == 1 { "" } else { "s" };
        let (storage, egress) = (Amount(self.storage_per_month), Amount(self.egress));
        write!(f, "{}: {storage} per month and {egress} once for {} replica{plural}", self.region, self.replicas)
    }
}

/// Millionths of a currency, printed as units of it.
struct Amount(u64);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// Rounded up: a unit begun is billed.
fn per_gib(bytes: u64, price: u64) -> u64 {
    let exact = (u128::from(bytes) * u128::from(price)).div_ceil(1 << 30);
    u64::try_from(exact).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_images_in_three_regions_are_six_disks_and_each_border_is_billed_once() {
        let regions: Vec<Region> = ["westeurope", "eastus", "westus"].map(|name| name.parse().unwrap()).into();
        let items = (0..2).flat_map(|_| &regions).map(|region| Item {
            region: region.clone(),
            account: StorageAccountType::StandardLrs,
            from: regions[0].clone(),
            replicas: 1,
            disks: 1,
            disk_bytes: 4 << 30,
            stored_bytes: 1 << 30,
            cross_region_bytes: if *region == regions[0] { 0 } else { 1 << 30 },
        });
        let items: Vec<Item> = items.collect();
        let cost = Cost::of(&Prices::new(50_000, 20_000), items.clone());
        assert_eq!((cost.disks, cost.storage_per_month, cost.egress), (6, 300_000, 80_000));
        assert_eq!(cost.to_string(), "0.300000 per month and 0.080000 once for 6 disks");
        let of_size = Cost::of(&Prices::new(50_000, 20_000).by_disk_size(), items.clone());
        assert_eq!((of_size.disks, of_size.storage_per_month, of_size.egress), (6, 1_200_000, 80_000));
        let line = "eastus: 0.050000 per month and 0.020000 once for 1 replica";
        assert_eq!(cost.lines[1].to_string(), line);
    }

    #[test]
    fn a_region_and_a_kind_can_have_prices_of_their_own() {
        let (east, west): (Region, Region) = ("eastus".parse().unwrap(), "westus".parse().unwrap());
        let zrs = StorageAccountType::StandardZrs;
        let prices = Prices::new(1, 2).with_storage(zrs, 3).with_storage_in(east.clone(), zrs, 4);
        let prices = prices.with_egress_from(east.clone(), 5);
        assert_eq!((prices.storage(&east, zrs), prices.storage(&west, zrs)), (4, 3));
        assert_eq!((prices.egress(&east), prices.egress(&west)), (5, 2));
        assert_eq!(per_gib(1, 1), 1, "a unit begun is billed");
    }
}
