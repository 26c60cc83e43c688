//! The end of the process, and its phases: what the main thread does when a shard arrives, fails or ends, and when a signal comes.
//!
//! The supervisor is pure; `supervise` runs it. First signal: drain and stop, exit 0. Second signal: end at once. The failure or panic
//! of a shard ends the process with a sentence, because a dead shard would leave its partitions dark.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use nix::sys::signal::{SigSet, Signal};

use crate::error::Fatal;
use crate::shard::lifecycle::{Event, Lifecycle, Phase};

/// What the main thread does next.
#[derive(Debug, PartialEq, Eq)]
enum Action {
    /// Go on to this phase.
    Advance(Phase),
    /// End now: well, or with a sentence.
    End(Result<(), Fatal>),
}

/// Counts who has arrived where.
#[derive(Debug)]
struct Supervisor {
    shards: usize,
    phase: Phase,
    /// Arrivals at the next phase.
    arrived: usize,
    ended: usize,
    signalled: bool,
}

impl Supervisor {
    fn new(shards: usize) -> Self {
        Supervisor { shards, phase: Phase::Boot, arrived: 0, ended: 0, signalled: false }
    }

    fn on(&mut self, event: Event) -> Option<Action> {
        match event {
            Event::Arrived(_, phase) => {
                if phase <= self.phase {
                    return None;
                }
                self.arrived += 1;
                (self.arrived == self.shards).then(|| self.advance(phase))
            }
            Event::Failed(fatal) => Some(Action::End(Err(fatal))),
            Event::Panicked(shard, text) => Some(Action::End(Err(Fatal::new(format!(
                "shard {shard} panicked: {text}; the process ends because its partitions would stay dark"
            ))))),
            Event::Ended(shard) if self.phase < Phase::Flushed => {
                Some(Action::End(Err(Fatal::new(format!("shard {shard} ended while the broker was running")))))
            }
            Event::Ended(_) => {
                self.ended += 1;
                (self.ended == self.shards).then_some(Action::End(Ok(())))
            }
            Event::Signal(name) if self.signalled => {
                Some(Action::End(Err(Fatal::new(format!("ended at once by a second signal ({name})")))))
            }
            Event::Signal(_) => {
                self.signalled = true;
                // During the start nothing has been promised to anybody yet, and the next start recovers.
                match self.phase {
                    Phase::Serving => Some(self.advance(Phase::Draining)),
                    _ => Some(Action::End(Err(Fatal::new("ended by a signal before the start was complete")))),
                }
            }
        }
    }

    fn advance(&mut self, phase: Phase) -> Action {
        self.phase = phase;
        self.arrived = 0;
        Action::Advance(phase)
    }
}

/// Runs the process from its first phase to its last; `before_serving` runs when every shard has come that far. Returns when every shard has
/// ended, or at once with a sentence.
pub fn supervise(
    events: &Receiver<Event>,
    lifecycle: &Arc<Lifecycle>,
    shards: usize,
    started: Instant,
    before_serving: impl Fn(),
) -> Result<(), Fatal> {
    let mut supervisor = Supervisor::new(shards);
    loop {
        let event = events.recv().map_err(|_| Fatal::new("every shard is gone"))?;
        if let Event::Signal(name) = &event {
            tracing::info!("{name}: stopping");
        }
        match supervisor.on(event) {
            None => {}
            Some(Action::Advance(phase)) => {
                if phase == Phase::Serving {
                    before_serving();
                }
                lifecycle.advance(phase);
                match phase {
                    Phase::Serving => tracing::info!(shards, start_ms = started.elapsed().as_millis() as u64, "ready"),
                    Phase::Stopping => tracing::info!("every request is answered; flushing"),
                    phase => tracing::debug!(?phase, "all shards arrived"),
                }
            }
            Some(Action::End(outcome)) => return outcome,
        }
    }
}

/// Blocks SIGTERM and SIGINT for all threads started later and starts the one that waits for them. SIGXFSZ is blocked for good: a write beyond the
/// limit of a file's size (`ulimit -f`) is answered by an error then, which counts as a full disk, and does not end the process.
pub fn watch_signals(lifecycle: Arc<Lifecycle>) -> Result<(), Fatal> {
    let refused = |error: &dyn std::fmt::Display| Fatal::new(format!("signals cannot be watched: {error}"));
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set.add(Signal::SIGINT);
    set.thread_block().map_err(|error| refused(&error))?;
    let mut ignored = SigSet::empty();
    ignored.add(Signal::SIGXFSZ);
    ignored.thread_block().map_err(|error| refused(&error))?;
    let watch = move || {
        while let Ok(signal) = set.wait() {
            lifecycle.report(Event::Signal(signal.as_str()));
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(watch).map_err(|error| refused(&error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::ShardId;

    fn arrive(supervisor: &mut Supervisor, phase: Phase) {
        for shard in 0..supervisor.shards {
            let action = supervisor.on(Event::Arrived(ShardId(shard as u16), phase));
            let last = shard + 1 == supervisor.shards;
            assert_eq!(action, last.then_some(Action::Advance(phase)));
        }
    }

    fn serving(shards: usize) -> Supervisor {
        let mut supervisor = Supervisor::new(shards);
        for phase in [Phase::Recovered, Phase::Meshed, Phase::Serving] {
            arrive(&mut supervisor, phase);
        }
        supervisor
    }

    fn sentence(action: Option<Action>) -> String {
        match action {
            Some(Action::End(Err(fatal))) => fatal.sentence,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_signal_drains_stops_and_ends_well() {
        for shards in [1, 3] {
            let mut supervisor = serving(shards);
            assert_eq!(supervisor.on(Event::Signal("SIGTERM")), Some(Action::Advance(Phase::Draining)));
            arrive(&mut supervisor, Phase::Stopping);
            arrive(&mut supervisor, Phase::Flushed);
            for shard in 0..shards {
                let action = supervisor.on(Event::Ended(ShardId(shard as u16)));
                assert_eq!(action, (shard + 1 == shards).then_some(Action::End(Ok(()))));
            }
        }
    }

    #[test]
    fn a_second_signal_ends_at_once() {
        let mut supervisor = serving(2);
        supervisor.on(Event::Signal("SIGTERM"));
        assert!(sentence(supervisor.on(Event::Signal("SIGINT"))).contains("second signal"));
    }

    #[test]
    fn a_signal_during_the_start_ends_at_once() {
        assert!(sentence(Supervisor::new(2).on(Event::Signal("SIGINT"))).contains("before the start was complete"));
    }

    #[test]
    fn a_dead_shard_ends_the_process() {
        let mut supervisor = serving(2);
        assert!(sentence(supervisor.on(Event::Ended(ShardId(1)))).contains("shard 1 ended"));
        assert!(sentence(serving(2).on(Event::Panicked(ShardId(0), "boom".into()))).contains("boom"));
        assert_eq!(sentence(serving(2).on(Event::Failed(Fatal::new("the disk is full")))), "the disk is full");
    }
}
