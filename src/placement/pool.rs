//! A pool: the replicas of one version in one region, shared by all who create from it.

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
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::model::{Limits, StorageAccountType};

/// The replicas of one version in one region. A clone is another handle to the same pool; it may be used from any thread.
///
/// ```
/// use compute_gallery::ErrorKind;
/// use compute_gallery::model::StorageAccountType;
/// use compute_gallery::placement::{PlacementPolicy, Pool, PlacementRequest};
///
/// let pool = Pool::default();
/// pool.resize(6);
///
/// // 120 VMs need 6 replicas, and 6 are enough: no replica serves more than 20.
/// let mut vms: Vec<_> = (0..120).map(|_| pool.place(PlacementRequest::vm())).collect::<Result<_, _>>()?;
/// assert!(pool.replicas().iter().all(|replica| replica.load == pool.capacity()));
///
/// let error = pool.place(PlacementRequest::vm()).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::LimitReached);
/// assert!(error.to_string().contains("1 more replica"));
///
/// // A lease that is dropped frees what it held.
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
    /// Creates a pool without replicas, of a gallery image's version that is stored on `storage`: the capacity of a replica
    /// is the policy's, the largest scale set is the limits'. It takes the [least loaded](LeastLoaded) replica.
    pub fn new(policy: &PlacementPolicy, limits: &Limits, storage: StorageAccountType) -> Self {
        Self::with_largest_scale_set(policy, storage, limits.scale_set_instances_from_gallery())
    }

    /// Creates a pool without replicas, of a managed image: its scale sets have a
    /// [limit of their own](Limits::scale_set_instances_from_managed_image).
    pub fn of_managed_image(policy: &PlacementPolicy, limits: &Limits, storage: StorageAccountType) -> Self {
        Self::with_largest_scale_set(policy, storage, limits.scale_set_instances_from_managed_image())
    }

    fn with_largest_scale_set(policy: &PlacementPolicy, storage: StorageAccountType, instances: u32) -> Self {
        let state = PoolState::new(Units::new(policy, storage));
        Self { shared: Arc::new(SharedPool::new(state, instances)) }
    }

    /// Chooses replicas by that strategy from now on.
    #[must_use]
    pub fn with_strategy(self, strategy: impl Strategy + 'static) -> Self {
        self.shared.lock().strategy = Box::new(strategy);
        self
    }

    /// Adds a replica.
    pub fn add_replica(&self, zone: Option<Zone>) -> ReplicaId {
        self.shared.change(|state| state.table.add_replica(zone))
    }

    /// Lets a replica finish what it has and gives it nothing new. Its load is 0 when it can be taken away.
    ///
    /// # Errors
    ///
    /// `NotFound` without such a replica.
    pub fn drain(&self, id: ReplicaId) -> Result<()> {
        self.set_state(id, ReplicaState::Draining)
    }

    /// Gives a replica nothing new because it is lost. Who holds leases of it sees that from
    /// [`replicas`](Self::replicas), and places again.
    ///
    /// # Errors
    ///
    /// `NotFound` without such a replica.
    pub fn fail(&self, id: ReplicaId) -> Result<()> {
        self.set_state(id, ReplicaState::Failed)
    }

    /// Lets a replica that drained or failed serve again. Machines is still leased of it counts.
    ///
    /// # Errors
    ///
    /// `NotFound` without such a replica.
    pub fn restore(&self, id: ReplicaId) -> Result<()> {
        self.set_state(id, ReplicaState::Serving)
    }

    fn set_state(&self, id: ReplicaId, to: ReplicaState) -> Result<()> {
        if self.shared.change(|state| state.table.set_state(id, to)) {
            return Ok(());
        }
        Err(Error::not_found(id.to_string(), "the pool has no such replica"))
    }

    /// Makes replicas 0 to `replicas` - 1 serve, except those that failed, and drains all others: a pool of a region
    /// whose replica count was changed. Those that are new have no zone.
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

    /// All replicas and what they are doing, by number.
    pub fn replicas(&self) -> Vec<ReplicaStatus> {
        self.shared.lock().table.status()
    }

    /// Machines a replica can do at once, in units: the largest of which a VM and a scale set's instance are whole numbers.
    /// 600 by default, of which a VM takes 30.
    pub fn capacity(&self) -> u64 {
        self.shared.units().capacity
    }

    /// Machines the replicas have to do and what waits, for an [`Autoscaler`](super::Autoscaler).
    pub fn observe(&self) -> Observation {
        let state = self.shared.lock();
        let waiting = state.queue.requests().map(|request| state.units.of(request)).sum();
        let all = state.table.view(0, state.units.capacity);
        Observation { serving: all.len() as u32, load: all.total_load(), waiting, capacity: state.units.capacity }
    }

    /// The loads of some replicas.
    pub(super) fn loads(&self, replicas: impl Iterator<Item = ReplicaId>) -> impl Iterator<Item = u64> {
        let state = self.shared.lock();
        replicas.filter_map(move |id| state.table.load(id))
    }

    pub(super) fn check(&self, request: &PlacementRequest) -> Result<()> {
        self.shared.check(request)
    }

    /// Machines a request takes of the replicas in all.
    pub(super) fn units_of(&self, request: &PlacementRequest) -> u64 {
        self.shared.units().of(request)
    }

    /// How many requests wait in the queue.
    pub fn waiting(&self) -> usize {
        self.shared.lock().queue.len()
    }

    /// Places a request now: VMs on the replicas that the strategy chooses, a scale set on one replica, or split over
    /// as few as it needs where it is more than one may serve.
    ///
    /// # Errors
    ///
    /// `LimitReached` where the replicas are full or others wait, unless the request may be
    /// [throttled](PlacementRequest::with_throttling); and for a scale set above the largest. It tells how many more replicas would
    /// help. `Invalid` for a request of nothing.
    pub fn place(&self, request: PlacementRequest) -> Result<Lease> {
        self.place_with(request, &mut Explanation::unrecorded())
    }

    /// As [`place`](Self::place), and says why that replica was chosen, or why it was refused.
    pub fn place_explained(&self, request: PlacementRequest) -> (Result<Lease>, Explanation) {
        let mut why = Explanation::recorded();
        (self.place_with(request, &mut why), why)
    }

    fn place_with(&self, request: PlacementRequest, why: &mut Explanation) -> Result<Lease> {
        self.shared.check(&request)?;
        let mut state = self.shared.lock();
        let waiting = if request.throttle { 0 } else { state.queue.len() };
        // A refusal is put into words when others can go on.
        let missing = match request.machines {
            _ if waiting > 0 => MissingReplicas(0),
            // One VM is the usual. Its lease is written once: copied through the general case, it took 20 ns more.
            Machines::Vms(1) => match state.take(self.shared.units().vm, &request, request.throttle, why) {
                Some((replica, throttled)) => {
                    // Counted while the lock's cache line is here: later, another thread would have taken it.
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

    /// Places so many VMs at once. With the default strategy the cost does not depend on how many they are.
    ///
    /// # Errors
    ///
    /// As [`place`](Self::place): all are placed or none.
    ///
    /// ```
    /// use compute_gallery::model::StorageAccountType;
    /// use compute_gallery::placement::{PlacementPolicy, Pool};
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

    /// Places VMs and scale sets together, the largest first, all or none, with a lease for each request in their order.
    ///
    /// By the strategy; with the default one no replica has more than 4/3 - 1/(3R) times the load of the best possible
    /// assignment to R idle replicas (Graham 1969). Where that does not fit, replicas are filled one after the other
    /// (best fit decreasing), whatever the strategy says. A batch that neither fits can still be feasible: which is,
    /// is a hard problem.
    ///
    /// # Errors
    ///
    /// As [`place`](Self::place).
    ///
    /// ```
    /// use compute_gallery::model::StorageAccountType;
    /// use compute_gallery::placement::{PlacementPolicy, Pool, PlacementRequest};
    ///
    /// let pool = Pool::default();
    /// pool.resize(6);
    /// // 40 VMs take as much as 1,200 instances; one of the scale sets is split.
    /// let requests = [PlacementRequest::vms(40), PlacementRequest::scale_set(600), PlacementRequest::scale_set(1_000), PlacementRequest::scale_set(600)];
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

    /// Queues for a request: a future that is ready when there is room, first in, first out. The place in the queue is
    /// taken by this call. While anyone waits, [`place`](Self::place) refuses, and nobody is starved.
    ///
    /// It is ready at once, with an error as of `place`, for what the replicas that serve could not do if they were idle.
    /// If they become fewer while it waits, it waits for others to join.
    ///
    /// ```
    /// use compute_gallery::model::StorageAccountType;
    /// use compute_gallery::placement::{PlacementPolicy, Pool, PlacementRequest};
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

/// A refusal, with what is missing.
fn refused(MissingReplicas(missing): MissingReplicas, waiting: usize, serving: usize) -> Error {
    let what = match (waiting, serving) {
        (0, 0) => "no replica serves here; let one join".to_owned(),
        (0, _) => {
            let (s, serve) =
                (if missing == 1 { "" } else { "s" }, if serving == 1 { "replica is" } else { "replicas are" });
            format!(
                "the {serving} {serve} too busy: {missing} more replica{s} would have room. Raise the replica count, \
                 wait with `acquire`, or accept throttling with `with_throttling`"
            )
        }
        (1, _) => "1 other request waits for room; wait behind it with `acquire`".to_owned(),
        (others, _) => format!("{others} other requests wait for room; wait behind them with `acquire`"),
    };
    Error::new(Problem::new(ErrorKind::LimitReached, "TooManyRequests", "regionalReplicaCount", what))
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
    fn what_comes_first_is_served_first_however_much_it_needs() {
        let pool = pool(1);
        let mut vms = pool.place(PlacementRequest::vms(20)).unwrap();
        let mut large = pool.acquire(PlacementRequest::scale_set(600));
        let mut small = pool.acquire(PlacementRequest::vm());
        assert_eq!(pool.waiting(), 2);
        while let Some(vm) = vms.split_vm() {
            drop(vm);
            assert!((&mut small).now_or_never().is_none(), "it would overtake");
            assert!(pool.place(PlacementRequest::vm()).is_err(), "it would overtake");
        }
        drop(vms);
        let large = (&mut large).now_or_never().unwrap().unwrap();
        assert!((&mut small).now_or_never().is_none());
        drop(large);
        assert!(small.now_or_never().unwrap().is_ok());
    }

    #[test]
    fn a_place_that_is_given_up_is_given_back() {
        let pool = pool(1);
        let nineteen = pool.place(PlacementRequest::vms(19)).unwrap();
        let large = pool.acquire(PlacementRequest::vms(20));
        let small = pool.acquire(PlacementRequest::vm());
        drop(large);
        let small = small.now_or_never().expect("the large one no longer stands before it").unwrap();
        // Granted, and given up without having been looked at.
        let granted = pool.acquire(PlacementRequest::vm());
        drop(small);
        drop(granted);
        drop(nineteen);
        assert_eq!(pool.replicas()[0].load, 0);
        assert_eq!(pool.waiting(), 0);
    }

    /// Portions are sent when the pool is no longer locked, so their receiver can go in between.
    #[test]
    fn shares_whose_receiver_has_gone_go_to_the_next_in_the_queue() {
        let pool = pool(1);
        let full = pool.place(PlacementRequest::vms(20)).unwrap();
        let (first, second) = (pool.acquire(PlacementRequest::vms(20)), pool.acquire(PlacementRequest::vms(20)));
        let grants = {
            let mut state = pool.shared.lock();
            state.table.add_replica(None);
            state.grant()
        };
        assert_eq!(grants.len(), 1, "there is room for the first alone");
        drop(first);
        pool.shared.send(grants);
        let second = second.now_or_never().expect("the room of the first is free again").unwrap();
        assert_eq!(second.replica().number(), 1);
        drop((full, second));
        assert!(pool.replicas().iter().all(|replica| replica.load == 0));
    }

    /// A lease in the channel would lock the pool when its receiver goes: here it goes while nobody else could unlock it.
    #[test]
    fn a_receiver_that_goes_before_it_has_looked_gives_its_shares_back() {
        let pool = pool(1);
        let full = pool.place(PlacementRequest::vms(20)).unwrap();
        let (first, second) = (pool.acquire(PlacementRequest::vms(20)), pool.acquire(PlacementRequest::vm()));
        drop(full);
        assert_eq!((pool.waiting(), pool.replicas()[0].load), (1, 600), "the first has it and does not know");
        drop(first);
        assert_eq!((pool.waiting(), pool.replicas()[0].load), (0, 30), "the second has its portion");
        drop(second);
        assert_eq!(pool.replicas()[0].load, 0);
    }

    #[test]
    fn who_waits_is_woken_by_other_threads_and_by_new_replicas() {
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
    fn nobody_waits_for_what_can_never_be() {
        let pool = pool(1);
        assert!(pool.acquire(PlacementRequest::vms(21)).now_or_never().unwrap().is_err());
        assert!(pool.acquire(PlacementRequest::scale_set(1_000)).now_or_never().unwrap().is_err());
        assert!(pool.acquire(PlacementRequest::vms(0)).now_or_never().unwrap().is_err());
        assert_eq!(pool.waiting(), 0);
    }
}
