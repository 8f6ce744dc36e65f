//! Machines is to be created.

use super::random::mix;
use super::replica::Zone;

/// Something to be created from an image: a VM, several, or a scale set; and what to do when the replicas are full.
///
/// ```
/// use compute_gallery::placement::{PlacementRequest, Zone};
///
/// let request = PlacementRequest::vm().with_zone(Zone::new(2)).with_affinity("host-17").with_throttling();
/// assert_eq!(request.zone(), Some(Zone::new(2)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacementRequest {
    pub(super) machines: Machines,
    pub(super) throttle: bool,
    zone: Option<Zone>,
    affinity: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machines {
    Vms(u32),
    ScaleSet(u32),
}

impl PlacementRequest {
    /// One VM.
    pub fn vm() -> Self {
        Self::vms(1)
    }

    /// So many VMs, each on any replica.
    pub fn vms(count: u32) -> Self {
        Self { machines: Machines::Vms(count), throttle: false, zone: None, affinity: None }
    }

    /// A scale set of so many instances: on one replica, or split over several where it is more than one may serve.
    pub fn scale_set(instances: u32) -> Self {
        Self { machines: Machines::ScaleSet(instances), ..Self::vm() }
    }

    /// It is created in that zone, for strategies that [prefer](super::PreferZone) a replica beside it.
    #[must_use]
    pub fn with_zone(mut self, zone: Zone) -> Self {
        self.zone = Some(zone);
        self
    }

    /// It goes with others of the same name, such as the host that they start on, for strategies that keep
    /// [affinity](super::BoundedHash).
    #[must_use]
    pub fn with_affinity(mut self, name: &str) -> Self {
        // FNV-1a, then mixed: near names must not be near on the ring.
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        self.affinity = Some(mix(hash));
        self
    }

    /// When the replicas are full it is placed anyway, and its lease says that it will be
    /// [throttled](super::Lease::is_throttled), instead of being refused.
    #[must_use]
    pub fn with_throttling(mut self) -> Self {
        self.throttle = true;
        self
    }

    /// The zone that it is created in, where that was said.
    pub fn zone(&self) -> Option<Zone> {
        self.zone
    }

    /// The hash of the name that it goes with, where that was said.
    pub fn affinity(&self) -> Option<u64> {
        self.affinity
    }
}
