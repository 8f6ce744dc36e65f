//! One thread, many tasks, and chance choosing which of them goes on next.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::world::World;

/// Something to do, on behalf of a process.
pub type Work = BoxFuture<'static, ()>;

#[derive(Default)]
pub struct Executor {
    tasks: Vec<Task>,
    started: usize,
    /// Tasks that are alive and not polled, and for how many steps of others.
    parked: BTreeMap<usize, usize>,
}

struct Task {
    number: usize,
    process: usize,
    work: Work,
    ready: Arc<Ready>,
}

struct Ready(AtomicBool);

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The answer of a store in memory, which has it at once.
pub fn at_once<T>(answer: impl Future<Output = T>) -> T {
    answer.now_or_never().unwrap()
}

/// Lets other tasks go first.
pub async fn others_go_first() {
    let mut is_later = false;
    poll_fn(|context| {
        if std::mem::replace(&mut is_later, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Executor {
    pub fn spawn(&mut self, process: usize, work: Work) {
        self.started += 1;
        self.tasks.push(Task { number: self.started, process, work, ready: Arc::new(Ready(true.into())) });
    }

    pub fn is_idle(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Lets one of the tasks that can go on, go on; false where none can.
    pub fn step(&mut self, world: &World) -> bool {
        self.parked.retain(|_, left| {
            *left = left.saturating_sub(1);
            *left > 0
        });
        let ready = |task: &Task| task.ready.0.load(Ordering::Relaxed) && !self.parked.contains_key(&task.number);
        let places: Vec<usize> = (0..self.tasks.len()).filter(|place| ready(&self.tasks[*place])).collect();
        if places.is_empty() {
            return false;
        }
        let place = places[world.below(places.len())];
        let task = &mut self.tasks[place];
        task.ready.0.store(false, Ordering::Relaxed);
        world.goes_on(task.process, task.number);
        let waker = Waker::from(task.ready.clone());
        if let Poll::Ready(()) = task.work.as_mut().poll(&mut Context::from_waker(&waker)) {
            self.tasks.swap_remove(place);
        }
        true
    }

    /// Polls one task no more for some steps: it is alive, and holds what it holds.
    pub fn park_one(&mut self, world: &World) {
        if !self.tasks.is_empty() {
            let Task { number, process, .. } = self.tasks[world.below(self.tasks.len())];
            self.parked.insert(number, 20 + world.below(400));
            // Its deadlines go on.
            world.excuse(process, number);
        }
    }

    /// Whether one is parked while others wait.
    pub fn do_others_wait(&self) -> bool {
        let parked = self.tasks.iter().filter(|task| self.parked.contains_key(&task.number)).count();
        parked > 0 && parked < self.tasks.len()
    }

    /// The tasks that are left, each with its process and whether it can go on.
    pub fn left(&self) -> Vec<(usize, usize, bool)> {
        let left = |task: &Task| (task.process, task.number, task.ready.0.load(Ordering::Relaxed));
        self.tasks.iter().map(left).collect()
    }

    /// Polls all again.
    pub fn unpark(&mut self) {
        self.parked.clear();
    }

    /// Drops all tasks of a process at any point: it was killed.
    pub fn kill(&mut self, process: usize) {
        self.tasks.retain(|task| task.process != process);
    }

    /// Drops one task at any point and returns its process: its caller went away.
    pub fn drop_one(&mut self, world: &World) -> Option<usize> {
        if self.tasks.is_empty() {
            return None;
        }
        Some(self.tasks.swap_remove(world.below(self.tasks.len())).process)
    }
}
