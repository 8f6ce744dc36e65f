//! A pool: the replicas of one version in one region, shared by all creations from it.

use std::sync::Arc;

use super::acquire::Acquire;
use super::lease::{Lease, SharedPool};
use super::observation::Observation;
use super::policy::PlacementPolicy;
use super::pool_state::{MissingReplicas, PoolState};
use super::portion::{Portion, Portions};
use super::replica::{ReplicaId, ReplicaState, ReplicaStatus, Zone};
use super::request::{Machines, PlacementRequest};
use super::strategy::{Explanation, Strategy};
use super::units::Units;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Limits, StorageAccountType};

/// The replicas of one version in one region, with their exact loads. A clone is another handle to the same pool. All
/// methods may be called from any thread.
///
/// ```
/// use compute_gallery::ErrorKind;
/// use compute_gallery::placement::{PlacementRequest, Pool};
///
/// let pool = Pool::default();
/// pool.resize(6);
///
/// // 6 replicas of 20 VMs each are exactly enough for 120.
/// let mut vms: Vec<_> = (0..120).map(|_| pool.place(PlacementRequest::vm())).collect::<Result<_, _>>()?;
/// assert!(pool.replicas().iter().all(|replica| replica.load == pool.capacity()));
///
/// let error = pool.place(PlacementRequest::vm()).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::LimitReached);
/// assert!(error.to_string().contains("1 more replica"));
///
/// // Dropping a lease frees its portion.
/// vms.pop();
/// let lease = pool.place(PlacementRequest::vm())?;
/// assert!(!lease.is_throttled());
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Pool {
    shared: Arc<SharedPool>,
}

impl Default for Pool {
    /// A pool without replicas, by the default policy and limits, on `Standard_LRS`.
    fn default() -> Self {
        Self::new(&PlacementPolicy::default(), &Limits::default(), StorageAccountType::default())
    }
}

impl Pool {
    /// Creates a pool without replicas for a version that is stored on `storage`. The policy gives the capacity of a replica,
    /// the limits the largest scale set. By default it chooses the [least loaded](crate::placement::LeastLoaded) replica.
    ///
    /// ```
    /// use compute_gallery::model::{Limits, StorageAccountType};
    /// use compute_gallery::placement::{PlacementPolicy, PlacementRequest, Pool};
    ///
    /// let limits = Limits::default().with_scale_set_instances(1_200, 600);
    /// let pool = Pool::new(&PlacementPolicy::default(), &limits, StorageAccountType::PremiumLrs);
    /// pool.resize(2);
    /// assert!(pool.place(PlacementRequest::scale_set(1_200)).is_ok());
    /// assert!(pool.place(PlacementRequest::scale_set(1_201)).is_err());
    /// ```
    pub fn new(policy: &PlacementPolicy, limits: &Limits, storage: StorageAccountType) -> Self {
        Self::with_largest_scale_set(policy, storage, limits.scale_set_instances_from_gallery())
    }

    /// Creates a pool without replicas for a managed image, whose scale sets have a
    /// [limit of their own](Limits::scale_set_instances_from_managed_image).
    pub fn of_managed_image(policy: &PlacementPolicy, limits: &Limits, storage: StorageAccountType) -> Self {
        Self::with_largest_scale_set(policy, storage, limits.scale_set_instances_from_managed_image())
    }

    fn with_largest_scale_set(policy: &PlacementPolicy, storage: StorageAccountType, instances: u32) -> Self {
        let state = PoolState::new(Units::new(policy, storage));
        Self { shared: Arc::new(SharedPool::new(state, instances)) }
    }

    /// Sets the strategy of this pool and of all its handles.
    #[must_use]
    pub fn with_strategy(self, strategy: impl Strategy + 'static) -> Self {
        self.shared.lock().strategy = Box::new(strategy);
        self
    }

    /// Adds a replica that serves, and serves the queue.
    ///
    /// ```
    /// use compute_gallery::placement::{PlacementRequest, Pool, Zone};
    ///
    /// let pool = Pool::default();
    /// let replica = pool.add_replica(Some(Zone::new(2)));
    /// assert_eq!(pool.place(PlacementRequest::vm())?.replica(), replica);
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    pub fn add_replica(&self, zone: Option<Zone>) -> ReplicaId {
        self.shared.change(|state| state.table.add_replica(zone))
    }

    /// Gives a replica nothing new and lets it finish its creations. Once its load is 0, it can be removed.
    ///
    /// ```
    /// use compute_gallery::placement::{PlacementRequest, Pool};
    ///
    /// let pool = Pool::default();
    /// pool.resize(2);
    /// let lease = pool.place(PlacementRequest::vm())?;
    /// pool.drain(lease.replica())?;
    /// assert_ne!(pool.place(PlacementRequest::vm())?.replica(), lease.replica());
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `NotFound` if the pool has no such replica.
    pub fn drain(&self, id: ReplicaId) -> Result<()> {
        self.set_state(id, ReplicaState::Draining)
    }

    /// Gives a replica nothing new because it is lost. Its leases stay; their holders see its state in
    /// [`replicas`](Self::replicas) and place again.
    ///
    /// # Errors
    ///
    /// `NotFound` if the pool has no such replica.
    pub fn fail(&self, id: ReplicaId) -> Result<()> {
        self.set_state(id, ReplicaState::Failed)
    }

    /// Lets a drained or failed replica serve again. Its open leases count towards its load.
    ///
    /// # Errors
    ///
    /// `NotFound` if the pool has no such replica.
    pub fn restore(&self, id: ReplicaId) -> Result<()> {
        self.set_state(id, ReplicaState::Serving)
    }

    fn set_state(&self, id: ReplicaId, to: ReplicaState) -> Result<()> {
        if self.shared.change(|state| state.table.set_state(id, to)) {
            return Ok(());
        }
        Err(Error::not_found(id.to_string(), "the pool has no such replica: list them with `replicas`"))
    }

    /// Makes replicas 0 to `replicas` - 1 serve, except failed ones, and drains all others: for a changed replica count of
    /// the region. Replicas that it adds have no zone.
    pub fn resize(&self, replicas: u32) {
        self.shared.change(|state| {
            for number in 0..state.table.len().max(replicas as usize) as u32 {
                let id = ReplicaId(number);
                match state.table.state(id) {
                    None => _ = state.table.add_replica(None),
                    Some(ReplicaState::Failed) => {}
                    Some(_) if number < replicas => _ = state.table.set_state(id, ReplicaState::Serving),
                    Some(_) => _ = state.table.set_state(id, ReplicaState::Draining),
                }
            }
        });
    }

    /// Returns the status of all replicas, by number.
    pub fn replicas(&self) -> Vec<ReplicaStatus> {
        self.shared.lock().table.status()
    }

    /// Returns the capacity of one replica in units. A unit is the largest size of which a VM and a scale-set instance are
    /// whole multiples: by default the capacity is 600, of which a VM takes 30.
    pub fn capacity(&self) -> u64 {
        self.shared.units().capacity
    }

    /// Returns the load of the serving replicas and of the queue, for an [`Autoscaler`](super::Autoscaler).
    pub fn observe(&self) -> Observation {
        let state = self.shared.lock();
        let waiting = state.queue.requests().map(|request| state.units.of(request)).sum();
        let all = state.table.view(0, state.units.capacity);
        Observation { serving: all.len() as u32, load: all.total_load(), waiting, capacity: state.units.capacity }
    }

    /// Returns the loads of `replicas`.
    pub(super) fn loads(&self, replicas: impl Iterator<Item = ReplicaId>) -> impl Iterator<Item = u64> {
        let state = self.shared.lock();
        replicas.filter_map(move |id| state.table.load(id))
    }

    pub(super) fn check(&self, request: &PlacementRequest) -> Result<()> {
        self.shared.check(request)
    }

    /// Returns the size of a request in units.
    pub(super) fn units_of(&self, request: &PlacementRequest) -> u64 {
        self.shared.units().of(request)
    }

    /// Returns the number of requests in the queue.
    pub fn waiting(&self) -> usize {
        self.shared.lock().queue.len()
    }

    /// Places a request now: VMs on the replicas that the strategy chooses, a scale set on one replica, or on as few as
    /// possible if it is larger than a replica's capacity.
    ///
    /// # Errors
    ///
    /// `LimitReached` if the replicas are full or other requests wait, unless the request may be
    /// [throttled](PlacementRequest::with_throttling); the message says how many more replicas would help. `LimitReached` for a
    /// scale set above the limit. `Invalid` for a request of 0 machines.
    pub fn place(&self, request: PlacementRequest) -> Result<Lease> {
        self.place_with(request, &mut Explanation::unrecorded())
    }

    /// Places as [`place`](Self::place) does, and explains the choice or the refusal.
    ///
    /// # Errors
    ///
    /// In the first value of the pair: those of [`place`](Self::place).
    ///
    /// ```
    /// use compute_gallery::placement::{PlacementRequest, Pool};
    ///
    /// let pool = Pool::default();
    /// pool.resize(1);
    /// let (placed, why) = pool.place_explained(PlacementRequest::vm());
    /// assert!(placed.is_ok());
    /// assert_eq!(why.to_string(), "replica 0 is the least loaded of 1: 0 of 600 units");
    /// ```
    pub fn place_explained(&self, request: PlacementRequest) -> (Result<Lease>, Explanation) {
        let mut why = Explanation::recorded();
        (self.place_with(request, &mut why), why)
    }

    fn place_with(&self, request: PlacementRequest, why: &mut Explanation) -> Result<Lease> {
        self.shared.check(&request)?;
        let mut state = self.shared.lock();
        let waiting = if request.throttle { 0 } else { state.queue.len() };
        // A refusal is put into words after the lock is released.
        let missing = match request.machines {
            _ if waiting > 0 => MissingReplicas(0),
            // The usual request is one VM. Its lease is written once: copied through the general case, it took 20 ns more.
            Machines::Vms(1) => match state.take(self.shared.units().vm, &request, request.throttle, why) {
                Some((replica, throttled)) => {
                    // Cloned while this core has the lock's cache line: later, another thread may have taken it.
                    let shared = self.shared.clone();
                    drop(state);
                    let portion = Portion { replica, count: 1, throttled, units: self.shared.units().vm };
                    return Ok(Lease::new(shared, Portions::One(portion), false));
                }
                None => MissingReplicas(1),
            },
            _ => match state.place(&request, why) {
                Ok(portions) => {
                    drop(state);
                    return Ok(self.shared.lease(&request, portions));
                }
                Err(missing) => missing,
            },
        };
        let serving = state.table.serving();
        drop(state);
        Err(refused(missing, waiting, serving))
    }

    /// Places `vms` VMs at once, all or none. With the default strategy the cost does not depend on their number.
    ///
    /// # Errors
    ///
    /// Those of [`place`](Self::place).
    ///
    /// ```
    /// use compute_gallery::placement::Pool;
    ///
    /// let pool = Pool::default();
    /// pool.resize(1_000);
    /// let lease = pool.place_vms(20_000)?;
    /// assert_eq!(lease.portions().map(|portion| portion.count()).max(), Some(20));
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    pub fn place_vms(&self, vms: u32) -> Result<Lease> {
        self.place(PlacementRequest::vms(vms))
    }

    /// Places VMs and scale sets together, the largest first, all or none. Returns one lease per request, in their order.
    ///
    /// The strategy chooses. With the default one, no replica has more than 4/3 - 1/(3R) times the load of the optimal
    /// assignment to R idle replicas (Graham 1969). If that does not fit, replicas are filled one after the other (best fit
    /// decreasing) without the strategy. A batch that fits neither way may still be feasible: to find out is NP-hard.
    ///
    /// # Errors
    ///
    /// Those of [`place`](Self::place).
    ///
    /// ```
    /// use compute_gallery::placement::{PlacementRequest, Pool};
    ///
    /// let pool = Pool::default();
    /// pool.resize(6);
    /// // 40 VMs take as much as 1,200 instances; the set of 1,000 is split.
    /// let scale_sets = [600, 1_000, 600].map(PlacementRequest::scale_set);
    /// let requests: Vec<_> = std::iter::once(PlacementRequest::vms(40)).chain(scale_sets).collect();
    /// let leases = pool.place_batch(&requests)?;
    /// assert_eq!(leases.iter().map(|lease| lease.portions().count()).collect::<Vec<_>>(), [4, 1, 2, 1]);
    /// assert!(pool.place_batch(&[PlacementRequest::vm(), PlacementRequest::scale_set(600)]).is_err());
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    pub fn place_batch(&self, requests: &[PlacementRequest]) -> Result<Vec<Lease>> {
        requests.iter().try_for_each(|request| self.shared.check(request))?;
        let mut state = self.shared.lock();
        let waits = requests.iter().any(|request| !request.throttle);
        let waiting = if waits { state.queue.len() } else { 0 };
        let placed = if waiting == 0 { state.place_batch(requests) } else { Err(MissingReplicas(0)) };
        let serving = state.table.serving();
        drop(state);
        match placed {
            Ok(all) => {
                Ok(requests.iter().zip(all).map(|(request, portions)| self.shared.lease(request, portions)).collect())
            }
            Err(missing) => Err(refused(missing, waiting, serving)),
        }
    }

    /// Queues a request: the future resolves when it has room, first in, first out. This call takes the position in the
    /// queue. While a request waits, [`place`](Self::place) refuses, so that none is starved.
    ///
    /// If the serving replicas become fewer while it waits, it waits for others to be added.
    ///
    /// # Errors
    ///
    /// In the future's output, at once: those of [`place`](Self::place), for a request that would not fit if all serving
    /// replicas were idle.
    ///
    /// ```
    /// use compute_gallery::placement::{PlacementRequest, Pool};
    ///
    /// # futures::executor::block_on(async {
    /// let pool = Pool::default();
    /// pool.resize(1);
    /// let twenty = pool.place_vms(20)?;
    /// let waits = pool.acquire(PlacementRequest::scale_set(300));
    /// assert_eq!(pool.waiting(), 1);
    /// drop(twenty);
    /// assert_eq!(waits.await?.replica().number(), 0);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn acquire(&self, request: PlacementRequest) -> Acquire {
        if let Err(error) = self.shared.check(&request) {
            return Acquire::decided(self.shared.clone(), Err(error));
        }
        let mut state = self.shared.lock();
        let may_go = request.throttle || state.queue.is_empty();
        let placed =
            if may_go { state.place(&request, &mut Explanation::unrecorded()) } else { Err(MissingReplicas(0)) };
        match placed {
            Ok(portions) => {
                drop(state);
                Acquire::decided(self.shared.clone(), Ok(self.shared.lease(&request, portions)))
            }
            Err(_) if state.is_feasible(&request) => {
                let (ticket, receiver) = state.queue.enter(request);
                drop(state);
                Acquire::waiting(self.shared.clone(), ticket, request, receiver)
            }
            Err(missing) => {
                let serving = state.table.serving();
                drop(state);
                let missing = MissingReplicas(missing.0.max(1));
                Acquire::decided(self.shared.clone(), Err(refused(missing, 0, serving)))
            }
        }
    }
}

/// The error for a request without room, with the number of missing replicas.
fn refused(MissingReplicas(missing): MissingReplicas, waiting: usize, serving: usize) -> Error {
    let what = match (waiting, serving) {
        (0, 0) => "no replica serves: add one with `add_replica`, or raise the replica count".to_owned(),
        (0, _) => {
            let (s, serve) =
                (if missing == 1 { "" } else { "s" }, if serving == 1 { "replica is" } else { "replicas are" });
            format!(
                "the {serving} {serve} too busy: {missing} more replica{s} would have room; raise the replica count, \
                 wait with `acquire`, or accept throttling with `with_throttling`"
            )
        }
        (1, _) => "1 other request waits for room: wait behind it with `acquire`".to_owned(),
        (others, _) => format!("{others} other requests wait for room: wait behind them with `acquire`"),
    };
    Error::of(ErrorKind::LimitReached, "TooManyRequests", "regionalReplicaCount", what)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::executor::block_on;

    use super::*;

    fn pool(replicas: u32) -> Pool {
        let pool = Pool::default();
        pool.resize(replicas);
        pool
    }

    #[test]
    fn the_first_request_is_served_first_at_any_size() {
        let pool = pool(1);
        let mut vms = pool.place(PlacementRequest::vms(20)).unwrap();
        let mut large = pool.acquire(PlacementRequest::scale_set(600));
        let mut small = pool.acquire(PlacementRequest::vm());
        assert_eq!(pool.waiting(), 2);
        while let Some(vm) = vms.split_vm() {
            drop(vm);
            assert!((&mut small).now_or_never().is_none(), "it must not overtake");
            assert!(pool.place(PlacementRequest::vm()).is_err(), "it must not overtake");
        }
        drop(vms);
        let large = (&mut large).now_or_never().unwrap().unwrap();
        assert!((&mut small).now_or_never().is_none());
        drop(large);
        assert!(small.now_or_never().unwrap().is_ok());
    }

    #[test]
    fn a_position_that_is_dropped_frees_its_room() {
        let pool = pool(1);
        let nineteen = pool.place(PlacementRequest::vms(19)).unwrap();
        let large = pool.acquire(PlacementRequest::vms(20));
        let small = pool.acquire(PlacementRequest::vm());
        drop(large);
        let small = small.now_or_never().expect("the large request has left the queue").unwrap();
        // Granted, and dropped without a poll.
        let granted = pool.acquire(PlacementRequest::vm());
        drop(small);
        drop(granted);
        drop(nineteen);
        assert_eq!(pool.replicas()[0].load, 0);
        assert_eq!(pool.waiting(), 0);
    }

    /// Portions are sent after the pool is unlocked, so their receiver can be dropped in between.
    #[test]
    fn portions_whose_receiver_is_gone_go_to_the_next_in_the_queue() {
        let pool = pool(1);
        let full = pool.place(PlacementRequest::vms(20)).unwrap();
        let (first, second) = (pool.acquire(PlacementRequest::vms(20)), pool.acquire(PlacementRequest::vms(20)));
        let grants = {
            let mut state = pool.shared.lock();
            state.table.add_replica(None);
            state.grant()
        };
        assert_eq!(grants.len(), 1, "only the first has room");
        drop(first);
        pool.shared.send(grants);
        let second = second.now_or_never().expect("the room of the first is free again").unwrap();
        assert_eq!(second.replica().number(), 1);
        drop((full, second));
        assert!(pool.replicas().iter().all(|replica| replica.load == 0));
    }

    /// A lease in the channel would lock the pool while its receiver is dropped. Portions are data, and `Acquire` returns them.
    #[test]
    fn an_acquire_dropped_between_grant_and_poll_gives_its_portions_back() {
        let pool = pool(1);
        let full = pool.place(PlacementRequest::vms(20)).unwrap();
        let (first, second) = (pool.acquire(PlacementRequest::vms(20)), pool.acquire(PlacementRequest::vm()));
        drop(full);
        assert_eq!((pool.waiting(), pool.replicas()[0].load), (1, 600), "the first is granted and was not polled");
        drop(first);
        assert_eq!((pool.waiting(), pool.replicas()[0].load), (0, 30), "the second is granted");
        drop(second);
        assert_eq!(pool.replicas()[0].load, 0);
    }

    /// A grant is data, which does not give itself back: a panic between two of them must not lose the second.
    #[test]
    fn a_waker_that_panics_loses_no_capacity() {
        struct Panics;
        impl std::task::Wake for Panics {
            fn wake(self: std::sync::Arc<Self>) {
                panic!("a caller's waker");
            }
        }
        let waker = std::sync::Arc::new(Panics).into();
        let pool = pool(1);
        let full = pool.place(PlacementRequest::vms(20)).unwrap();
        let (mut first, second) = (pool.acquire(PlacementRequest::vm()), pool.acquire(PlacementRequest::vm()));
        assert!(first.poll_unpin(&mut std::task::Context::from_waker(&waker)).is_pending());
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(full))).is_err());
        assert_eq!(pool.replicas()[0].load, 30, "the first has its VM");
        assert!(second.now_or_never().unwrap().is_err(), "the second gets an error");
        drop(first.now_or_never().unwrap());
        assert_eq!(pool.replicas()[0].load, 0);
    }

    #[test]
    fn a_waiter_is_woken_by_other_threads_and_by_new_replicas() {
        let pool = pool(1);
        let full = pool.place(PlacementRequest::vms(20)).unwrap();
        let (first, second) = (pool.acquire(PlacementRequest::vm()), pool.acquire(PlacementRequest::vms(20)));
        std::thread::scope(|scope| {
            scope.spawn(|| drop(full));
            block_on(async {
                let lease = first.await.unwrap();
                pool.add_replica(None);
                second.await.unwrap().finish();
                lease.finish();
            });
        });
        assert!(pool.replicas().iter().all(|replica| replica.load == 0));
    }

    #[test]
    fn a_request_that_can_never_fit_does_not_wait() {
        let pool = pool(1);
        assert!(pool.acquire(PlacementRequest::vms(21)).now_or_never().unwrap().is_err());
        assert!(pool.acquire(PlacementRequest::scale_set(1_000)).now_or_never().unwrap().is_err());
        assert!(pool.acquire(PlacementRequest::vms(0)).now_or_never().unwrap().is_err());
        assert_eq!(pool.waiting(), 0);
    }
}
