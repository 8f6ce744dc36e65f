//! Mistakes of an operator.

use std::sync::LazyLock;

use bytes::Bytes;
use compute_gallery::host::Clock;
use compute_gallery::store::*;
use compute_gallery::testkit::ManualClock;
use compute_gallery::{GalleryService, GalleryServiceBuilder};

use crate::neighbour::NAMES;
use crate::world::{CATALOG, REGIONS, World};

static LOG: LazyLock<BlobKey> = LazyLock::new(|| "catalog/log".parse().unwrap());
static CHECKPOINTS: LazyLock<BlobKey> = LazyLock::new(|| "catalog/checkpoints".parse().unwrap());

impl World {
    /// An operator opens the stores with the wrong catalog, mounts them in the wrong places, or has lost some of the log. Each is
    /// refused, or is harmless, and nothing changes in the regions.
    pub fn mistake(&self) {
        futures::executor::block_on(async {
            if self.store(CATALOG).find(&"catalog/identity".parse().unwrap()).await.unwrap().is_none() {
                return;
            }
            let before = self.regions().await;
            match self.below(5) {
                0 => {
                    self.say("-- an operator makes a new catalog over the regions".to_owned());
                    let made = self.operator(MemoryStore::new(), false).create().await;
                    let is_owned = self.places().any(|place| self.owner(place, "").is_some());
                    assert!(made.is_err() || !is_owned, "another catalog's stores are taken");
                }
                1 => {
                    self.say("-- an operator swaps two regions".to_owned());
                    if before.iter().any(|(place, key, _)| REGIONS[..2].contains(place) && key.as_str() == "owner") {
                        let opened = self.operator(self.copy_of(CATALOG).await, true).open().await;
                        assert!(opened.is_err(), "two regions are swapped");
                    }
                }
                2 => {
                    self.say("-- an operator mounts a region of another gallery".to_owned());
                    let theirs = Prefixed::new(
                        self.store(REGIONS[0]).clone(),
                        format!("{}/regions/westeurope", NAMES[0]).parse().unwrap(),
                    );
                    let clock = ManualClock::auto_advancing(self.observing_clock().now());
                    if theirs.find(&"owner".parse().unwrap()).await.unwrap().is_some() {
                        let copy = self.copy_of(CATALOG).await;
                        let builder =
                            self.mounted(copy, |place| self.store(place).clone()).region_store("eastus", theirs);
                        assert!(
                            self.as_observer(builder, &clock).open().await.is_err(),
                            "a neighbour's region is ours"
                        );
                    }
                    if self.owner("eastus", "").is_some() {
                        let copy = self.copy_of(REGIONS[0]).await;
                        let builder =
                            GalleryService::builder().allow_all().store(Prefixed::new(copy, NAMES[0].parse().unwrap()));
                        let builder = builder.region_store("eastus", self.store("eastus").clone());
                        assert!(self.as_observer(builder, &clock).open().await.is_err(), "our region is a neighbour's");
                    }
                }
                3 => {
                    let copy = self.copy_of(CATALOG).await;
                    let log = copy.list_all(Some(&LOG)).await.unwrap();
                    let Some(lost) = log.get(self.below(log.len().max(1))) else { return };
                    copy.delete(&lost.key).await.unwrap();
                    self.say(format!("-- an operator opens a log that has lost {}", lost.key));
                    let checkpoint = copy.list(Some(&CHECKPOINTS), None, 1).await.unwrap().blobs;
                    let number = |key: &BlobKey| key.as_str().rsplit('/').next().unwrap().parse::<u64>().unwrap();
                    let from = checkpoint.first().map_or(0, |blob| u64::MAX - number(&blob.key));
                    let is_hole = number(&lost.key) > from && Some(lost) != log.last();
                    let opened = self.operator(copy, false).open().await;
                    assert!(opened.is_err() || !is_hole, "a hole is taken for the end: {} of {}", lost.key, log.len());
                }
                _ => {
                    let copy = self.copy_of(CATALOG).await;
                    let log = copy.list_all(Some(&LOG)).await.unwrap();
                    let kept = self.below(log.len() + 1);
                    for blob in log.iter().skip(kept) {
                        copy.delete(&blob.key).await.unwrap();
                    }
                    for blob in copy.list_all(Some(&CHECKPOINTS)).await.unwrap() {
                        copy.delete(&blob.key).await.unwrap();
                    }
                    self.say(format!("-- an operator restores a backup with {kept} of {} commits", log.len()));
                    let witnesses = before.iter().filter(|(_, key, _)| key.as_str().starts_with("witnesses/"));
                    let seen = witnesses.filter_map(|(_, key, _)| {
                        let inverted = key.as_str().split('/').nth(1)?.split('-').next()?;
                        Some(u64::MAX - inverted.parse::<u64>().ok()?)
                    });
                    let newest = seen.max().unwrap_or(0);
                    let opened = self.operator(copy, false).open().await;
                    assert_eq!(opened.is_ok(), newest <= kept as u64, "the stores have seen {newest}, {kept} are kept");
                }
            }
            assert_eq!(self.regions().await, before, "the regions are as they were");
        });
    }

    /// Every blob of every region.
    async fn regions(&self) -> Vec<(&'static str, BlobKey, Bytes)> {
        self.blobs_of(self.places()).await
    }

    /// Every blob of the gallery.
    pub async fn everything(&self) -> Vec<(&'static str, BlobKey, Bytes)> {
        self.blobs_of(self.places().chain([CATALOG])).await
    }

    async fn blobs_of(&self, places: impl Iterator<Item = &'static str>) -> Vec<(&'static str, BlobKey, Bytes)> {
        let mut all = Vec::new();
        for region in places {
            for blob in self.store(region).list_all(None).await.unwrap() {
                let bytes = self.store(region).get(&blob.key, None).await.unwrap();
                all.push((region, blob.key, bytes));
            }
        }
        all
    }

    async fn copy_of(&self, place: &str) -> MemoryStore {
        let copy = MemoryStore::new();
        for blob in self.store(place).list_all(None).await.unwrap() {
            let bytes = self.store(place).get(&blob.key, None).await.unwrap();
            copy.put(&blob.key, bytes, PutMode::Create).await.unwrap();
        }
        copy
    }

    fn operator(&self, catalog: MemoryStore, swapped: bool) -> GalleryServiceBuilder {
        let at = |place| match place {
            "westeurope" if swapped => REGIONS[1],
            "eastus" if swapped => REGIONS[0],
            place => place,
        };
        let builder = self.mounted(catalog, |place| self.store(at(place)).clone());
        self.as_observer(builder, &ManualClock::auto_advancing(self.observing_clock().now()))
    }
}
