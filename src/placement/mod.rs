//! Which replica serves a creation, and how many replicas a region needs. Pure and synchronous: no I/O, no clock, no
//! randomness but from a seed. [`Pool::acquire`] alone waits, as a future that needs no particular runtime.
//!
//! - A [`Pool`] has the replicas of one version in one region and their exact loads. [`place`](Pool::place) takes the one
//!   with the least to do, in constant time, and returns a [`Lease`] that gives its share back when it is dropped.
//! - A [`PlacementRequest`] is a VM, many VMs or a scale set. When the replicas are full it is refused with what is missing,
//!   waits in a [queue](Pool::acquire), or is [throttled](PlacementRequest::with_throttling), as the caller chooses.
//! - A [`Strategy`] chooses, and explains its choice: [`LeastLoaded`], [`BoundedHash`] for affinity, [`RoundRobin`],
//!   [`TwoChoices`], or one of yours; [`SpreadZones`] and [`PreferZone`] make any of them mind the zones.
//! - [`Sizing`] recommends a replica count for a workload or for a history, an [`Autoscaler`] follows the load, a
//!   [`Simulation`] tries it all out.
//! - A [`PlacementPolicy`] has the numbers.
//!
//! # Where the numbers come from
//!
//! | number | source |
//! |---|---|
//! | 20 VMs a replica, 600 instances a replica, scale sets of 1,000 (600) | the original Shared Image Gallery's overview, "Scaling" |
//! | 50 VMs, 1,000 instances, 3 replicas at least: [`azure_2026`](PlacementPolicy::azure_2026) | Azure Compute Gallery's overview today, "Scaling" and "Best practices" |
//! | 100 replicas at most | its API reference |
//! | ceil(N/R) for N VMs on R replicas | exact counts: join-shortest-queue with one chooser |
//! | 4/3 - 1/(3R) for a mixed batch | Graham 1969, longest processing time first |
//! | the probability of waiting | [Erlang's C formula](DemandHistory::waiting_probability) |
//! | percentages of [`Overprovision`], seconds of [`CreationTime`] | ours; the overview gives none. Measure, and set yours |
//!
//! # From a burst to a replica count
//!
//! ```
//! use std::time::Duration;
//! use compute_gallery::model::{Limits, StorageAccountType};
//! use compute_gallery::placement::{CreationTime, PlacementPolicy, Pool, PlacementRequest, Simulation, Sizing, Workload};
//!
//! let (policy, limits, storage) = (PlacementPolicy::default(), Limits::default(), StorageAccountType::StandardLrs);
//! let replicas = Sizing::new(&policy, &limits, storage).recommend(&Workload::vms(120))?.replicas;
//! assert_eq!(replicas, 6);
//!
//! // With one fewer, every sixth VM waits.
//! let burst = Simulation::new(7, CreationTime::of_image(30 << 30));
//! let burst = (0..120).fold(burst, |all, _| all.with_request(Duration::ZERO, PlacementRequest::vm()));
//! for (replicas, waits) in [(replicas, false), (replicas - 1, true)] {
//!     let pool = Pool::new(&policy, &limits, storage);
//!     pool.resize(replicas);
//!     let report = burst.run(&pool, Duration::from_secs(3_600));
//!     assert_eq!(report.wait(95) > Duration::ZERO, waits);
//! }
//! # Ok::<(), compute_gallery::Error>(())
//! ```

mod acquire;
mod autoscaler;
mod batch;
mod bounded_hash;
mod buckets;
mod erlang;
mod fill;
mod lease;
mod observation;
mod place;
mod policy;
mod pool;
mod pool_state;
mod portion;
mod queue;
mod random;
mod replica;
mod replica_table;
mod request;
mod simulation;
mod sizing;
mod strategy;
mod units;
mod zones;

pub use acquire::Acquire;
pub use autoscaler::{Autoscaler, ScalingAdvice};
pub use bounded_hash::BoundedHash;
pub use lease::Lease;
pub use observation::Observation;
pub use policy::{Capacity, PlacementPolicy, ReplicaSharing};
pub use pool::Pool;
pub use portion::Portion;
pub use replica::{ReplicaId, ReplicaState, ReplicaStatus, Zone};
pub use replica_table::Candidates;
pub use request::PlacementRequest;
pub use simulation::{CreationTime, Overflow, SimulatedFailure, Simulation, SimulationReport};
pub use sizing::{DemandHistory, ImageTraits, Overprovision, Recommendation, Sizing, Workload};
pub use strategy::{Explanation, LeastLoaded, RoundRobin, Strategy, TwoChoices};
pub use zones::{PreferZone, SpreadZones};
