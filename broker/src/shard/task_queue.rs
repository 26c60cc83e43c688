//! Named glommio queues of a shard and their shares, and the one way to start a task on them.
//!
//! Tasks started here are counted as turns of the shard (see `rescue`). On a thread that is no shard (tests) tasks go to the
//! executor's default queue.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use coreline_storage::io::ReactorTurn;
use glommio::{Latency, Shares, TaskQueueHandle};

pub use glommio::Task;

use super::clock;
use super::rescue::Pulse;
use super::stall::StallDetector;
use crate::metrics::Counter;

/// Which queue a task runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Connections, the mesh, and the handlers that a connection runs itself.
    Net,
    /// Produce requests of other shards, the journal.
    Produce,
    /// Fetch requests of other shards.
    Fetch,
    /// Everything that nobody waits for: flushing, retention, the control plane.
    Background,
}

/// Queues with their shares of a busy shard's CPU time; foreground work is alike, background gets an eighth of each.
const QUEUES: [(Queue, usize, &str); 4] =
    [(Queue::Net, 800, "net"), (Queue::Produce, 800, "produce"), (Queue::Fetch, 800, "fetch"), (Queue::Background, 100, "background")];

struct Local {
    handles: [TaskQueueHandle; 4],
    pulse: Arc<Pulse>,
    stalls: Rc<StallDetector>,
    reactor_turn: Rc<ReactorTurn>,
}

thread_local! {
    static LOCAL: RefCell<Option<Local>> = const { RefCell::new(None) };
}

/// Creates the queues of this shard's executor; `pulse` counts its turns.
pub fn create(pulse: Arc<Pulse>) -> io::Result<()> {
    let reactor_turn = Rc::new(ReactorTurn::new()?);
    pulse.on_this_thread();
    let handles =
        QUEUES.map(|(_, shares, name)| glommio::executor().create_task_queue(Shares::Static(shares), Latency::NotImportant, name));
    LOCAL.with(|local| *local.borrow_mut() = Some(Local { handles, pulse, stalls: Rc::default(), reactor_turn }));
    Ok(())
}

/// Forgets the queues; the executor of this thread is ending.
pub fn forget() {
    LOCAL.with(|local| local.borrow_mut().take());
}

/// This shard's pulse, `None` on a thread that is no shard.
pub fn pulse() -> Option<Arc<Pulse>> {
    LOCAL.with(|local| local.borrow().as_ref().map(|local| Arc::clone(&local.pulse)))
}

/// This shard's stall detector; on a thread that is no shard, one that counts nothing.
pub fn stalls() -> Rc<StallDetector> {
    LOCAL.with(|local| local.borrow().as_ref().map(|local| Rc::clone(&local.stalls))).unwrap_or_default()
}

/// Adds to a counter of this shard; on a thread that is no shard, and before it serves, to none.
pub fn count(counter: Counter, n: u64) {
    LOCAL.with(|local| {
        if let Some(local) = local.borrow().as_ref() {
            local.stalls.count(counter, n);
        }
    });
}

/// Starts a task of this shard. Dropping the handle cancels it: keep it, or `detach` it.
pub fn spawn<T: 'static>(queue: Queue, future: impl Future<Output = T> + 'static) -> Task<T> {
    let place = QUEUES.iter().position(|(q, ..)| *q == queue).unwrap_or(0);
    let local =
        LOCAL.with(|local| local.borrow().as_ref().map(|local| (local.handles[place], Arc::clone(&local.pulse), Rc::clone(&local.stalls))));
    match local {
        None => glommio::spawn_local(future),
        Some((handle, pulse, stalls)) => {
            glommio::spawn_local_into(Counted { pulse, stalls, queue: QUEUES[place].2, future: Box::pin(future) }, handle)
                .expect("the queue was created on this executor and is never removed")
        }
    }
}

/// Gives way so that the reactor looks at the rings and the other shards. A loop that may run long calls this now and then: with a
/// preempt timer that never fires, merely yielding would keep the run queue full and the reactor unreached.
pub async fn reactor_turn() {
    let turn = LOCAL.with(|local| local.borrow().as_ref().map(|local| Rc::clone(&local.reactor_turn)));
    match turn {
        Some(turn) => turn.take().await,
        None => clock::sleep(Duration::from_millis(1)).await,
    }
}

/// Counts each poll as a turn of the shard, and its time.
struct Counted<F> {
    pulse: Arc<Pulse>,
    stalls: Rc<StallDetector>,
    queue: &'static str,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.pulse.turn_begins();
        let began = self.stalls.turn();
        let polled = self.future.as_mut().poll(cx);
        self.stalls.turn_over(began, self.queue);
        self.pulse.turn_ends();
        polled
    }
}
