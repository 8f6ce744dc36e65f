//! Chooses the replica that serves each creation, and advises how many replicas a region needs. Pure and synchronous: no
//! I/O, no clock, and randomness from a seed only. [`Pool::acquire`] alone waits, as a future that needs no particular
//! runtime.
//!
//! - A [`Pool`] holds the replicas of one version in one region with their exact loads. [`Pool::place`] takes the least
//!   loaded one in constant time and returns a [`Lease`], which frees its [portions](Portion) when it is dropped.
//! - A [`PlacementRequest`] is for one VM, several VMs or a scale set. If the replicas are full, it is refused with the
//!   number of missing replicas, waits in a [queue](Pool::acquire), or is
//!   [throttled](PlacementRequest::with_throttling), as the caller chooses.
//! - A [`Strategy`] chooses and explains its choice: [`LeastLoaded`], [`BoundedHash`] for affinity, [`RoundRobin`],
//!   [`TwoChoices`], or your own. [`SpreadZones`] and [`PreferZone`] make any of them zone-aware.
//! - [`Sizing`] recommends a replica count for a workload or a history, an [`Autoscaler`] follows the load, and a
//!   [`Simulation`] tries a configuration in virtual time.
//! - A [`PlacementPolicy`] holds the capacity of a replica. [`Limits`](crate::model::Limits) hold the largest scale set and the
//!   most replicas of a region.
//!
//! # Where the numbers come from
//!
//! | number | source |
//! |---|---|
//! | 20 VMs and 600 instances per replica | the original Shared Image Gallery's overview, "Scaling" |
//! | 50 VMs, 1,000 instances, at least 3 replicas: [`azure_2026`](PlacementPolicy::azure_2026) | Azure Compute Gallery's overview today, "Scaling" and "Best practices" |
//! | ceil(N/R) for N VMs on R replicas | exact counts: join-shortest-queue with one chooser |
//! | 4/3 - 1/(3R) for a mixed batch | Graham 1969, longest processing time first |
//! | the probability of waiting | Erlang's C formula: [`DemandHistory::waiting_probability`] |
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
//! // With one replica less, every sixth VM waits.
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
