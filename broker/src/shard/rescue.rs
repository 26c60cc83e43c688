//! The rescue thread: wakes a shard that has work and does not turn, and ends the process when one is dead.
//!
//! glommio can park an executor that has runnable tasks: when something completes on its latency ring between its look at the rings and its first task, it
//! runs none, and when what completed woke nobody it then sleeps. That may be a preempt timer (ours never fires), or the eventfd by which another
//! thread wakes it: who has taken the sleeper's flag and loses its CPU before it writes to the eventfd does so when the sleeper was long awake. So it takes
//! contended CPUs, and a wake from another thread always frees it.
//!
//! So every shard counts its turns (polls of its tasks) and its
//! outstanding work (requests it runs, waits that were woken, messages that others sent it). A shard with work that has not turned for
//! [`POKE_AFTER`] and whose thread is parked is poked: its poke task is woken from this thread. If other tasks ran in that turn they had been
//! runnable: it was a rescue, counted and logged. A shard that only waits for its CPU, or that waits for something inside a task or for the disk, is left
//! alone, and so is an idle one; the thread sleeps while nobody has work. What is no work (a connection that is readable) may lie for as long as a shard
//! sleeps: not longer than its flusher's pause, 250 ms.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;

use super::ShardId;
use super::task_queue::{self, Task};

/// A shard with work that has not turned for this long is poked.
pub const POKE_AFTER: Duration = Duration::from_millis(10);
/// The rescue thread goes to sleep when no shard had work for this many of its rounds.
const EMPTY_ROUNDS_BEFORE_SLEEP: u32 = 20;
/// How long it sleeps at most; a shard that gets work wakes it.
const SLEEP: Duration = Duration::from_secs(1);
/// One round never counts for more than this, so that a stopped and continued process is not taken for a dead shard.
const ROUND_MAX: Duration = Duration::from_millis(100);

/// What a shard tells the rescue thread. Written by the shard, read by others; no locks.
#[derive(Debug, Default)]
pub struct Pulse {
    turns: AtomicU64,
    work: AtomicU64,
    pokes: AtomicU64,
    rescues: AtomicU64,
    poke: AtomicWaker,
    /// Set by a poke, cleared by the poke task: it holds the turns seen at the poke, plus one.
    poked_at: AtomicU64,
    ended: AtomicBool,
    /// A task of the shard is being polled.
    inside: AtomicBool,
    /// Thread id of the shard, 0 until it runs.
    tid: AtomicI32,
    sleeper: Arc<Sleeper>,
    /// What other shards have sent here. Locked when the mesh is made and by the rescue thread.
    inbound: Mutex<Vec<Arc<LaneCount>>>,
}

/// Messages of one mesh lane: a message that was sent and not taken is work of the shard that it was sent to, which may be parked and
/// not know of it. Each counter has one writer and a cache line of its own, so that counting costs no shared write.
#[derive(Debug, Default)]
pub struct LaneCount {
    sent: Padded,
    taken: Padded,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded(AtomicU64);

impl LaneCount {
    /// The sending shard puts a message into the lane.
    pub fn sent(&self, sender: &Pulse) {
        self.sent.0.store(self.sent.0.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        sender.sleeper.wake();
    }

    /// The receiving shard takes one out.
    pub fn taken(&self) {
        self.taken.0.store(self.taken.0.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    fn waiting(&self) -> u64 {
        let taken = self.taken.0.load(Ordering::Relaxed);
        self.sent.0.load(Ordering::Relaxed).saturating_sub(taken)
    }
}

/// How a shard wakes the rescue thread when it gets work while that sleeps.
#[derive(Debug, Default)]
struct Sleeper {
    asleep: AtomicBool,
    thread: std::sync::OnceLock<Thread>,
}

impl Sleeper {
    fn wake(&self) {
        if self.asleep.load(Ordering::Relaxed)
            && self.asleep.swap(false, Ordering::AcqRel)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }
}

impl Pulse {
    /// The pulses of `count` shards that one rescue thread watches.
    pub fn for_shards(count: u16) -> Vec<Arc<Pulse>> {
        let sleeper = Arc::new(Sleeper::default());
        (0..count).map(|_| Arc::new(Pulse { sleeper: Arc::clone(&sleeper), ..Pulse::default() })).collect()
    }

    /// Says that this thread is the shard's.
    pub fn on_this_thread(&self) {
        self.tid.store(nix::unistd::gettid().as_raw(), Ordering::Relaxed);
    }

    /// Whether the shard's thread is parked: it sleeps, and not inside a task. One that runs, or waits for its CPU or (state D) for the disk, is not: waking
    /// it would change nothing.
    fn is_parked(&self) -> bool {
        if self.inside.load(Ordering::Relaxed) {
            return false;
        }
        let stat = std::fs::read(format!("/proc/self/task/{}/stat", self.tid.load(Ordering::Relaxed))).unwrap_or_default();
        // The state is the letter after the name, which is in parentheses.
        let state = stat.iter().rposition(|b| *b == b')').and_then(|at| stat.get(at + 2));
        state.is_none_or(|state| *state == b'S')
    }

    /// A task of the shard is polled now. Called on the shard only; `turn_ends` follows.
    pub fn turn_begins(&self) {
        self.inside.store(true, Ordering::Relaxed);
        self.turn();
    }

    /// It was.
    pub fn turn_ends(&self) {
        self.inside.store(false, Ordering::Relaxed);
    }

    /// One turn: a task of the shard ran. Called on the shard only.
    pub fn turn(&self) {
        // Single writer: a plain load and store is cheaper than an atomic add.
        self.turns.store(self.turns.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Work that must make progress by itself is outstanding until the guard is dropped. Not for waiting on a peer or a timer.
    pub fn work(self: &Arc<Self>) -> WorkGuard {
        self.begin_work();
        WorkGuard { pulse: Arc::clone(self) }
    }

    /// As [`Pulse::work`], for who cannot keep a guard: `end_work` must follow.
    pub(super) fn begin_work(&self) {
        if self.work.fetch_add(1, Ordering::Relaxed) == 0 {
            self.sleeper.wake();
        }
    }

    /// Ends what `begin_work` began.
    pub(super) fn end_work(&self) {
        self.work.fetch_sub(1, Ordering::Relaxed);
    }

    /// Turns since the start.
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// Work outstanding now: what the shard itself has begun and what others have sent it.
    pub fn work_outstanding(&self) -> u64 {
        let inbound = self.inbound.lock().unwrap_or_else(PoisonError::into_inner);
        self.work.load(Ordering::Relaxed) + inbound.iter().map(|lane| lane.waiting()).sum::<u64>()
    }

    /// Counts a new lane into this shard as its work.
    pub fn inbound_lane(&self) -> Arc<LaneCount> {
        let lane = Arc::new(LaneCount::default());
        self.inbound.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&lane));
        lane
    }

    /// Times that the shard was woken from outside because it had work and did not turn.
    pub fn pokes(&self) -> u64 {
        self.pokes.load(Ordering::Relaxed)
    }

    /// Pokes that found runnable tasks on a parked shard.
    pub fn rescues(&self) -> u64 {
        self.rescues.load(Ordering::Relaxed)
    }

    /// The shard has ended on purpose: it need not turn any more.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    fn poke_from_outside(&self) {
        self.pokes.fetch_add(1, Ordering::Relaxed);
        self.poked_at.store(self.turns() + 1, Ordering::Release);
        self.poke.wake();
    }
}

/// Outstanding work of a shard; see [`Pulse::work`].
#[derive(Debug)]
pub struct WorkGuard {
    pulse: Arc<Pulse>,
}

impl WorkGuard {
    /// The shard whose work it is.
    pub fn pulse(&self) -> Arc<Pulse> {
        Arc::clone(&self.pulse)
    }
}

impl Drop for WorkGuard {
    fn drop(&mut self) {
        self.pulse.end_work();
    }
}

/// Starts the task of this shard that answers pokes. It is started outside the counted queues so that it is no turn itself.
pub fn answer_pokes(id: ShardId, pulse: Arc<Pulse>) -> Task<()> {
    glommio::spawn_local(async move {
        loop {
            let poked_at = std::future::poll_fn(|cx| {
                pulse.poke.register(cx.waker());
                match pulse.poked_at.swap(0, Ordering::AcqRel) {
                    0 => Poll::Pending,
                    turns => Poll::Ready(turns - 1),
                }
            })
            .await;
            // The reactor is reached when the run queues are empty: if a task ran between the poke and then, the shard had been
            // parked with it (or, rarely, an event came at this very moment).
            task_queue::reactor_turn().await;
            let ran = pulse.turns().saturating_sub(poked_at);
            if ran > 0 {
                pulse.rescues.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(shard = id.0, tasks = ran, "rescued a shard that was parked with runnable tasks");
            }
            // An answered poke shows life.
            pulse.turn();
        }
    })
}

/// What the rescue thread does about one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It turns, or has nothing to do.
    Fine,
    /// It has work and does not turn: wake it from outside.
    Poke,
    /// It did not turn for the watchdog's limit, pokes included.
    Dead,
}

/// Watches one shard. Pure: time is an argument.
#[derive(Debug)]
pub struct Watch {
    watchdog: Duration,
    turns: u64,
    still: Duration,
    since_poke: Duration,
}

impl Watch {
    /// A watch with this limit on how long a shard may have work without turning.
    pub fn new(watchdog: Duration) -> Self {
        Watch { watchdog, turns: 0, still: Duration::ZERO, since_poke: Duration::ZERO }
    }

    /// One look at the shard, `elapsed` after the last one.
    pub fn look(&mut self, elapsed: Duration, turns: u64, work: u64) -> Verdict {
        if turns != self.turns || work == 0 {
            self.turns = turns;
            self.still = Duration::ZERO;
            self.since_poke = Duration::ZERO;
            return Verdict::Fine;
        }
        self.still += elapsed;
        self.since_poke += elapsed;
        if self.still >= self.watchdog {
            Verdict::Dead
        } else if self.since_poke >= POKE_AFTER {
            self.since_poke = Duration::ZERO;
            Verdict::Poke
        } else {
            Verdict::Fine
        }
    }
}

/// The running rescue thread. Ends when dropped.
#[derive(Debug)]
pub struct Rescue {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Rescue {
    /// Starts the thread. `dead` is called, on that thread, for a shard that did not turn for `watchdog`; it ends the process.
    pub fn start(pulses: Vec<Arc<Pulse>>, watchdog: Duration, dead: impl Fn(ShardId) + Send + 'static) -> std::io::Result<Rescue> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("rescue".into()).spawn(move || watch_all(&pulses, watchdog, &stopped, &dead))?;
        Ok(Rescue { stop, thread: Some(thread) })
    }
}

impl Drop for Rescue {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It never panics; if it did, the process is ending anyway.
            let _ = thread.join();
        }
    }
}

fn watch_all(pulses: &[Arc<Pulse>], watchdog: Duration, stop: &AtomicBool, dead: &dyn Fn(ShardId)) {
    let mut watches: Vec<Watch> = pulses.iter().map(|_| Watch::new(watchdog)).collect();
    let sleeper = pulses.first().map(|pulse| Arc::clone(&pulse.sleeper)).unwrap_or_default();
    let _ = sleeper.thread.set(std::thread::current());
    let mut empty_rounds = 0;
    let mut last = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        if empty_rounds < EMPTY_ROUNDS_BEFORE_SLEEP {
            std::thread::park_timeout(POKE_AFTER / 2);
        } else {
            sleeper.asleep.store(true, Ordering::SeqCst);
            // Work that came just before the flag was set would not have woken us: it is at most this sleep late, once.
            if pulses.iter().all(|pulse| pulse.work_outstanding() == 0) {
                std::thread::park_timeout(SLEEP);
            }
            sleeper.asleep.store(false, Ordering::SeqCst);
            last = Instant::now();
            if pulses.iter().any(|pulse| pulse.work_outstanding() > 0) {
                empty_rounds = 0;
            }
            continue;
        }
        let now = Instant::now();
        let elapsed = (now - last).min(ROUND_MAX);
        last = now;
        let mut busy = false;
        for (i, (pulse, watch)) in pulses.iter().zip(&mut watches).enumerate() {
            if pulse.ended.load(Ordering::Relaxed) {
                continue;
            }
            let work = pulse.work_outstanding();
            busy |= work > 0;
            match watch.look(elapsed, pulse.turns(), work) {
                Verdict::Fine => {}
                Verdict::Poke if pulse.is_parked() => pulse.poke_from_outside(),
                Verdict::Poke => {}
                Verdict::Dead => dead(ShardId(i as u16)),
            }
        }
        empty_rounds = if busy { 0 } else { empty_rounds + 1 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn an_idle_shard_is_left_alone() {
        let mut watch = Watch::new(Duration::from_secs(1));
        for _ in 0..10_000 {
            assert_eq!(watch.look(5 * MS, 7, 0), Verdict::Fine);
        }
    }

    #[test]
    fn a_message_that_was_not_taken_is_work_of_its_receiver() {
        let pulses = Pulse::for_shards(2);
        let lane = pulses[1].inbound_lane();
        lane.sent(&pulses[0]);
        lane.sent(&pulses[0]);
        assert_eq!((pulses[0].work_outstanding(), pulses[1].work_outstanding()), (0, 2));
        lane.taken();
        let guard = pulses[1].work();
        assert_eq!(pulses[1].work_outstanding(), 2);
        drop(guard);
        lane.taken();
        assert_eq!(pulses[1].work_outstanding(), 0);
    }

    /// What waits inside a task (for a lock, for a full pipe, for a page) did not miss a wake-up.
    #[test]
    fn a_shard_that_sleeps_inside_a_task_is_not_taken_for_parked() {
        let pulse = Pulse::for_shards(1).remove(0);
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let shard = {
            let pulse = Arc::clone(&pulse);
            std::thread::spawn(move || {
                pulse.on_this_thread();
                pulse.turn_begins();
                wait.recv().expect("the test goes on");
                pulse.turn_ends();
                wait.recv().expect("the test goes on");
            })
        };
        let asleep = || {
            let stat = std::fs::read_to_string(format!("/proc/self/task/{}/stat", pulse.tid.load(Ordering::Relaxed))).unwrap_or_default();
            stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" S"))
        };
        let until = |what: &dyn Fn() -> bool| {
            let began = Instant::now();
            while !what() {
                assert!(began.elapsed() < Duration::from_secs(60), "it never comes to rest");
                std::thread::yield_now();
            }
        };
        until(&|| pulse.inside.load(Ordering::Relaxed) && asleep());
        assert!(!pulse.is_parked());
        go_on.send(()).expect("it waits");
        until(&|| pulse.is_parked());
        go_on.send(()).expect("it waits");
        shard.join().expect("it ends");
    }

    #[test]
    fn a_turning_shard_is_left_alone() {
        let mut watch = Watch::new(Duration::from_secs(1));
        for turn in 1..10_000 {
            assert_eq!(watch.look(5 * MS, turn, 3), Verdict::Fine);
        }
    }

    #[test]
    fn a_still_shard_with_work_is_poked_every_ten_milliseconds_and_in_the_end_dead() {
        let mut watch = Watch::new(Duration::from_secs(1));
        let mut pokes = 0;
        for round in 1..=200 {
            match watch.look(5 * MS, 0, 1) {
                Verdict::Fine => assert!(round % 2 == 1, "round {round}"),
                Verdict::Poke => pokes += 1,
                Verdict::Dead => {
                    assert_eq!((round, pokes), (200, 99));
                    return;
                }
            }
        }
        panic!("the watchdog never fired");
    }

    #[test]
    fn an_answered_poke_starts_the_count_again() {
        let mut watch = Watch::new(20 * MS);
        assert_eq!(watch.look(15 * MS, 0, 1), Verdict::Poke);
        assert_eq!(watch.look(15 * MS, 1, 1), Verdict::Fine);
        assert_eq!(watch.look(15 * MS, 1, 1), Verdict::Poke);
        assert_eq!(watch.look(15 * MS, 1, 1), Verdict::Dead);
    }
}
