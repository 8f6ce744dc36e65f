//! A request for one or more replicas.

use std::fmt;

use super::random::mix;
use super::replica::Zone;

/// The machines that a creation makes from an image: one VM, several, or a scale set.
///
/// ```
/// use compute_gallery::placement::{PlacementRequest, Zone};
///
/// let request = PlacementRequest::vm().with_zone(Zone::new(2)).with_affinity("host-17").with_throttling();
/// assert_eq!(request.zone(), Some(Zone::new(2)));
/// assert_eq!(PlacementRequest::scale_set(600).to_string(), "a scale set of 600 instances");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacementRequest {
    pub(super) machines: Machines,
    pub(super) throttle: bool,
    zone: Option<Zone>,
    affinity: Option<u64>,
}

/// The machines of a request; for a scale set, its instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machines {
    Vms(u32),
    ScaleSet(u32),
}

impl PlacementRequest {
    /// Requests one VM.
    pub fn vm() -> Self {
        Self::vms(1)
    }

    /// Requests `count` VMs, each on any replica.
    pub fn vms(count: u32) -> Self {
        Self { machines: Machines::Vms(count), throttle: false, zone: None, affinity: None }
    }

    /// Requests a scale set of `instances`: on one replica, or split over several if it is larger than a replica's capacity.
    pub fn scale_set(instances: u32) -> Self {
        Self { machines: Machines::ScaleSet(instances), ..Self::vm() }
    }

    /// Sets the zone of the machines, for strategies that [prefer](super::PreferZone) a replica in it.
    #[must_use]
    pub fn with_zone(mut self, zone: Zone) -> Self {
        self.zone = Some(zone);
        self
    }

    /// Sets a name, such as the host that the machines start on: strategies with [affinity](super::BoundedHash) send
    /// requests of one name to one replica.
    #[must_use]
    pub fn with_affinity(mut self, name: &str) -> Self {
        // FNV-1a, then mixed: similar names must not be neighbours on the ring.
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        self.affinity = Some(mix(hash));
        self
    }

    /// Places the request even if the replicas are full or others wait. Its lease is then
    /// [throttled](super::Lease::is_throttled).
    #[must_use]
    pub fn with_throttling(mut self) -> Self {
        self.throttle = true;
        self
    }

    /// Returns the zone of the machines, if it was set.
    pub fn zone(&self) -> Option<Zone> {
        self.zone
    }

    /// Returns the hash of the affinity name, if it was set.
    pub fn affinity(&self) -> Option<u64> {
        self.affinity
    }
}

impl fmt::Display for PlacementRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.machines {
            Machines::Vms(1) => f.write_str("1 VM"),
            Machines::Vms(count) => write!(f, "{count} VMs"),
            Machines::ScaleSet(instances) => {
                write!(f, "a scale set of {instances} instance{}", if instances == 1 { "" } else { "s" })
            }
        }
    }
}
