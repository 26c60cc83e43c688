//! The phases of the process, shared by all shards and the main thread: who waits for which phase, and what the shards report.
//!
//! Phases only go forward. The main thread advances them when every shard has arrived; see `start` for what happens in each.

use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::Sender;
use std::task::{Poll, Waker};

use super::ShardId;
use crate::error::Fatal;

/// Where the process is between start and end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Phase {
    /// Executors run; shard 0 opens the quorum and recovers the store.
    Boot,
    /// The store is recovered: every shard opens its part and joins the mesh.
    Recovered,
    /// Every shard answers the mesh: shard 0 starts controller and coordinators, partitions are led.
    Meshed,
    /// Listeners accept: the broker is ready.
    Serving,
    /// No new connections or requests; parked requests are answered, those in flight end.
    Draining,
    /// Every request is answered: the shards flush everything.
    Stopping,
    /// Everything is on the disk: shard 0 leaves the mark of a clean stop, the shards end.
    Flushed,
}

const PHASES: [Phase; 7] = [Phase::Boot, Phase::Recovered, Phase::Meshed, Phase::Serving, Phase::Draining, Phase::Stopping, Phase::Flushed];

/// What reaches the main thread.
#[derive(Debug)]
pub enum Event {
    /// A shard has done its part of this phase.
    Arrived(ShardId, Phase),
    /// A shard cannot go on; the process ends with this sentence.
    Failed(Fatal),
    /// A shard's thread panicked.
    Panicked(ShardId, String),
    /// A shard has ended on purpose.
    Ended(ShardId),
    /// SIGTERM or SIGINT.
    Signal(&'static str),
}

/// The phase of the process. One per process, shared.
pub struct Lifecycle {
    phase: AtomicU8,
    waiting: Mutex<Vec<Waker>>,
    events: Sender<Event>,
}

impl Lifecycle {
    /// In `Boot`; events go to the main thread.
    pub fn new(events: Sender<Event>) -> Self {
        Lifecycle { phase: AtomicU8::new(Phase::Boot as u8), waiting: Mutex::default(), events }
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        PHASES[usize::from(self.phase.load(Ordering::Acquire))]
    }

    /// Goes forward to a phase; a step back is ignored. Main thread.
    pub fn advance(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Waits until the process is in this phase or a later one. On a shard.
    pub async fn reached(&self, phase: Phase) {
        std::future::poll_fn(|cx| {
            if self.phase() >= phase {
                return Poll::Ready(());
            }
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(cx.waker().clone());
            // The phase may have changed before the waker was there to be woken.
            if self.phase() >= phase { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Reports that a shard has done its part of a phase.
    pub fn arrive(&self, shard: ShardId, phase: Phase) {
        self.report(Event::Arrived(shard, phase));
    }

    /// Ends the process with a sentence, as soon as the main thread hears of it.
    pub fn fail(&self, fatal: Fatal) {
        self.report(Event::Failed(fatal));
    }

    /// Tells the main thread.
    pub fn report(&self, event: Event) {
        // The main thread outlives the shards; if it is gone the process is ending.
        let _ = self.events.send(event);
    }
}

impl fmt::Debug for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lifecycle").field("phase", &self.phase()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn phases_only_go_forward_and_wake_those_who_wait() {
        let (events, _received) = std::sync::mpsc::channel();
        let lifecycle = Lifecycle::new(events);
        let mut serving = Box::pin(lifecycle.reached(Phase::Serving));
        assert!((&mut serving).now_or_never().is_none());
        lifecycle.advance(Phase::Recovered);
        assert!((&mut serving).now_or_never().is_none());
        lifecycle.advance(Phase::Draining);
        assert!((&mut serving).now_or_never().is_some());
        lifecycle.advance(Phase::Serving);
        assert_eq!(lifecycle.phase(), Phase::Draining);
        for (i, phase) in PHASES.iter().enumerate() {
            assert_eq!(*phase as usize, i);
        }
    }
}
