//! Which replica serves a creation, and how many replicas a region needs. Pure and synchronous: no I/O, no clock, no randomness
//! but from a seed.
//!
//! - A [`Pool`] has the replicas of one version in one region and their exact loads. [`place`](Pool::place) takes the one with
//!   the least to do, in constant time, and returns a [`Lease`] that gives its share back when it is dropped.
//! - A [`PlacementPolicy`] has the numbers, such as 20 VMs for a replica.
//! - A [`Strategy`] chooses; [`LeastLoaded`] is the default.

mod autoscaler;
mod batch;
mod bounded_hash;
mod buckets;
mod erlang;
mod fill;
mod lease;
mod place;
mod policy;
mod pool;
mod queue;
mod random;
mod replicas;
mod request;
mod simulation;
mod sizing;
mod strategy;
mod zones;

pub use autoscaler::{Advice, Autoscaler, Observation};
pub use bounded_hash::BoundedHash;
pub use erlang::erlang_c;
pub use lease::{Lease, Share};
pub use policy::{Capacity, PlacementPolicy, Sharing};
pub use pool::Pool;
pub use queue::Acquire;
pub use replicas::{ReplicaId, ReplicaState, ReplicaStatus, Replicas, Zone};
pub use request::Request;
pub use simulation::{CreationTime, Failure, Simulation, SimulationReport, WhenFull};
pub use sizing::{DemandHistory, ImageTraits, Overprovision, Recommendation, Sizing, Workload};
pub use strategy::{Explanation, LeastLoaded, RoundRobin, Strategy, TwoChoices};
pub use zones::{PreferZone, SpreadZones};
