//! The mesh between real executors: order, bounds, cancellation, panics, a peer that goes away.
#![allow(clippy::unwrap_used)]

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use coreline_broker::limits;
use coreline_broker::quota::work::{self, Account};
use coreline_broker::shard::ShardId;
use coreline_broker::shard::mesh::{self, Mesh, MeshError, MeshRequest};
use coreline_broker::shard::rescue::Pulse;
use coreline_broker::shard::task_queue::{self, Queue};
use glommio::{LocalExecutorBuilder, Placement};

enum Ask {
    /// Answered at once with its number, noted in order.
    Note(u64),
    /// Answered after a while with its number, noted in order.
    NoteThenWait(u64),
    /// Holds the shard for so long, gives way, and holds it again.
    Work(Duration),
    /// Never answered.
    Hang,
    /// Panics at its first poll, or after waiting.
    Panic { wait: bool },
    /// Answered when this many of its kind are open.
    Rendezvous { together: usize, parks: bool },
}

impl MeshRequest for Ask {
    fn parks(&self) -> bool {
        matches!(self, Ask::Rendezvous { parks: true, .. })
    }

    fn queue(&self) -> Queue {
        Queue::Produce
    }
}

type TestMesh = Mesh<Ask, u64>;

/// What the serving side saw.
#[derive(Default)]
struct Seen {
    noted: RefCell<Vec<u64>>,
    open: Cell<usize>,
    open_max: Cell<usize>,
    dropped: Rc<Cell<usize>>,
}

struct CountDrop(Rc<Cell<usize>>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

async fn answer(seen: Rc<Seen>, ask: Ask) -> u64 {
    match ask {
        Ask::Note(n) => {
            seen.noted.borrow_mut().push(n);
            n
        }
        Ask::NoteThenWait(n) => {
            seen.noted.borrow_mut().push(n);
            task_queue::reactor_turn().await;
            n
        }
        Ask::Work(time) => {
            hold(time);
            task_queue::reactor_turn().await;
            hold(time);
            0
        }
        Ask::Hang => {
            let _counted = CountDrop(Rc::clone(&seen.dropped));
            std::future::pending().await
        }
        Ask::Panic { wait } => {
            if wait {
                task_queue::reactor_turn().await;
            }
            panic!("asked to");
        }
        Ask::Rendezvous { together, .. } => {
            seen.open.set(seen.open.get() + 1);
            seen.open_max.set(seen.open_max.get().max(seen.open.get()));
            while seen.open_max.get() < together {
                task_queue::reactor_turn().await;
            }
            seen.open.set(seen.open.get() - 1);
            together as u64
        }
    }
}

fn hold(time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {}
}

/// What was charged, nanoseconds.
#[derive(Default)]
struct Sum(Cell<u64>);

impl Account for Sum {
    fn charge(&self, ns: u64) {
        self.0.set(self.0.get() + ns);
    }
}

/// Runs a body on each of `count` executors that are joined by a mesh and answer as above. Ends when all bodies have.
fn on_mesh<F>(count: u16, body: impl Fn(ShardId, TestMesh, Rc<Seen>) -> F + Send + Sync + 'static)
where
    F: Future<Output = ()> + 'static,
{
    let body = Arc::new(body);
    let done = Arc::new(AtomicUsize::new(0));
    let pulses = Pulse::for_shards(count);
    let threads: Vec<_> = mesh::ends::<Ask, u64>(&pulses)
        .into_iter()
        .zip(pulses)
        .enumerate()
        .map(|(i, (end, pulse))| {
            let (body, done) = (Arc::clone(&body), Arc::clone(&done));
            LocalExecutorBuilder::new(Placement::Unbound)
                .preempt_timer(Duration::from_secs(3600))
                .spawn(move || async move {
                    task_queue::create(pulse).unwrap();
                    let mesh = end.join().await;
                    let seen = Rc::new(Seen::default());
                    let serving = Rc::clone(&seen);
                    mesh.serve(Rc::new(move |_, ask| Box::pin(answer(Rc::clone(&serving), ask))));
                    body(ShardId(i as u16), mesh.clone(), seen).await;
                    done.fetch_add(1, Ordering::SeqCst);
                    while done.load(Ordering::SeqCst) < usize::from(count) {
                        glommio::timer::sleep(Duration::from_millis(2)).await;
                    }
                    mesh.close().await;
                    task_queue::forget();
                })
                .unwrap()
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

const OTHER: [ShardId; 2] = [ShardId(1), ShardId(0)];

#[test]
fn requests_run_in_order_up_to_their_first_wait_and_answers_find_their_callers() {
    const CALLS: u64 = 20_000;
    on_mesh(2, |id, mesh, seen| async move {
        let mut open = std::collections::VecDeque::new();
        for n in 0..CALLS {
            let ask = if n % 3 == 0 { Ask::NoteThenWait(n) } else { Ask::Note(n) };
            open.push_back((n, mesh.send(OTHER[id.index()], ask).await.unwrap()));
            if open.len() > 500 {
                let (n, call) = open.pop_front().unwrap();
                assert_eq!(call.await, Ok(n));
            }
        }
        for (n, call) in open {
            assert_eq!(call.await, Ok(n));
        }
        while seen.noted.borrow().len() < CALLS as usize {
            task_queue::reactor_turn().await;
        }
        assert!(seen.noted.borrow().iter().copied().eq(0..CALLS), "taken out of order");
    });
}

#[test]
fn what_another_shard_works_is_charged_to_who_asked() {
    on_mesh(2, |id, mesh, _| async move {
        let sum = Rc::new(Sum::default());
        let time = Duration::from_millis(20);
        let call = Box::pin(mesh.call(OTHER[id.index()], Ask::Work(time)));
        assert_eq!(work::charged(sum.clone(), call).await, Ok(0));
        let charged = Duration::from_nanos(sum.0.get());
        assert!(charged >= time * 2, "{charged:?}");
        // A call without an account, behind one with.
        assert_eq!(mesh.call(OTHER[id.index()], Ask::Work(time)).await, Ok(0));
        assert_eq!(Duration::from_nanos(sum.0.get()), charged);
    });
}

#[test]
fn a_request_to_this_shard_runs_directly_and_in_order() {
    on_mesh(1, |id, mesh, seen| async move {
        let first = mesh.send(id, Ask::NoteThenWait(1)).await.unwrap();
        let second = mesh.send(id, Ask::Note(2)).await.unwrap();
        assert_eq!(*seen.noted.borrow(), [1, 2], "run up to the first wait before `send` returns");
        assert_eq!((second.await, first.await), (Ok(2), Ok(1)));
        let hanging = mesh.send(id, Ask::Hang).await.unwrap();
        drop(hanging);
        assert_eq!(seen.dropped.get(), 1);
    });
}

#[test]
fn more_than_a_lane_holds_may_be_open_and_no_more_than_the_credits() {
    on_mesh(2, |id, mesh, seen| async move {
        for parks in [false, true] {
            let credits = if parks { limits::MESH_PARKED_CREDITS } else { limits::MESH_CREDITS };
            let together = credits.min(3000);
            // Half as many again as are needed to meet: those above the credits wait for a place.
            let calls = (0..together + together / 2).map(|_| mesh.call(OTHER[id.index()], Ask::Rendezvous { together, parks }));
            for answer in futures_util::future::join_all(calls).await {
                assert_eq!(answer, Ok(together as u64));
            }
            assert!(seen.open_max.get() >= together && seen.open_max.get() <= credits, "{} open at once", seen.open_max.get());
            // Both shards are through before the next kind starts.
            while mesh.open_requests() != (0, 0) {
                task_queue::reactor_turn().await;
            }
            glommio::timer::sleep(Duration::from_millis(20)).await;
        }
    });
}

#[test]
fn a_caller_that_goes_away_cancels_its_request_and_gives_its_credit_back() {
    on_mesh(2, |id, mesh, seen| async move {
        const ROUNDS: usize = limits::MESH_CREDITS * 3;
        if id == ShardId(0) {
            for _ in 0..ROUNDS {
                let call = mesh.send(ShardId(1), Ask::Hang).await.unwrap();
                task_queue::reactor_turn().await;
                drop(call);
            }
            assert_eq!(mesh.call(ShardId(1), Ask::Note(7)).await, Ok(7));
        } else {
            while seen.noted.borrow().is_empty() || seen.dropped.get() < ROUNDS {
                task_queue::reactor_turn().await;
            }
            assert_eq!(seen.dropped.get(), ROUNDS);
        }
        while mesh.open_requests() != (0, 0) {
            task_queue::reactor_turn().await;
        }
    });
}

#[test]
fn a_panic_reaches_its_caller_and_nobody_else() {
    on_mesh(2, |id, mesh, _| async move {
        let to = OTHER[id.index()];
        for wait in [false, true] {
            let fine = mesh.send(to, Ask::NoteThenWait(1)).await.unwrap();
            assert_eq!(mesh.call(to, Ask::Panic { wait }).await, Err(MeshError::Panicked));
            assert_eq!(fine.await, Ok(1));
            assert_eq!(mesh.call(to, Ask::Note(2)).await, Ok(2));
        }
    });
}

#[test]
fn calls_to_a_shard_that_goes_away_end() {
    on_mesh(3, |id, mesh, _| async move {
        if id == ShardId(2) {
            glommio::timer::sleep(Duration::from_millis(20)).await;
            mesh.close().await;
            drop(mesh);
            return;
        }
        let hanging = mesh.send(ShardId(2), Ask::Hang).await.unwrap();
        assert_eq!(hanging.await, Err(MeshError::Gone));
        assert_eq!(mesh.call(ShardId(2), Ask::Note(1)).await, Err(MeshError::Gone));
        assert_eq!(mesh.call(OTHER[id.index()], Ask::Note(1)).await, Ok(1), "the other one is still there");
    });
}
