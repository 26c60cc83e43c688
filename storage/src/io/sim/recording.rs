//! `Recording`: every event of a run, from which a crash can be taken at each event afterwards, without running again.
//!
//! ```text
//! disk.record(); run the workload, noting disk.recorded_events() at each acknowledgement;
//! let mut sweep = disk.take_recording().sweep();
//! while sweep.step() { for seed in .. { let survivor = sweep.crash(seed, CrashMode::Mixed); recover(survivor); check } }
//! ```

use super::SimDisk;
use super::content::Rng;
use super::model::{Event, Fate, Model, Pending};

/// How a crash treats what was not durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashMode {
    /// Everything that was submitted is there.
    KeepAll,
    /// Only what was durable is there.
    LoseAll,
    /// Each pending thing is kept, lost, torn or made garbage by the seed; the seed also decides how often each.
    Mixed,
}

/// The events of a run and the state it began with.
#[derive(Clone, Debug)]
pub struct Recording {
    pub(super) start: Model,
    pub(super) events: Vec<Event>,
}

impl Recording {
    /// The events, in order.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Walks over all crash points, beginning before the first event.
    pub fn sweep(&self) -> Sweep<'_> {
        Sweep { recording: self, model: self.start.clone(), events: 0 }
    }

    /// The disk that survives a crash after `events` events.
    pub fn crash_at(&self, events: usize, seed: u64, mode: CrashMode) -> SimDisk {
        let mut sweep = self.sweep();
        while sweep.events < events && sweep.step() {}
        sweep.crash(seed, mode)
    }
}

/// A walk over the crash points of a recording.
pub struct Sweep<'a> {
    recording: &'a Recording,
    model: Model,
    events: usize,
}

impl Sweep<'_> {
    /// Applies the next event; false at the end.
    pub fn step(&mut self) -> bool {
        let Some(event) = self.recording.events.get(self.events) else {
            return false;
        };
        self.model.apply(event);
        self.events += 1;
        true
    }

    /// Events applied so far.
    pub fn events(&self) -> usize {
        self.events
    }

    /// The state here.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The disk that survives a crash here.
    pub fn crash(&self, seed: u64, mode: CrashMode) -> SimDisk {
        crash(&self.model, seed, mode)
    }

    /// The disk that survives a crash here, with fates chosen by the caller.
    pub fn crash_with(&self, seed: u64, choose: &mut dyn FnMut(&Pending<'_>) -> Fate) -> SimDisk {
        SimDisk::from_model(self.model.crash(choose), seed)
    }

    /// The disk that the next process finds when only this one dies here: nothing that completed is lost, nothing more is durable than was.
    pub fn kill_with(&self, seed: u64, choose: &mut dyn FnMut(&Pending<'_>) -> Fate) -> SimDisk {
        SimDisk::from_model(self.model.kill(choose), seed)
    }

    /// All disks that can survive a crash here when each pending thing is either kept or lost: 2^pending of them, so only for at most `pending_max`
    /// pending things (at most 16); `None` above.
    pub fn crash_every_way(&self, pending_max: usize) -> Option<Vec<SimDisk>> {
        let pending = self.model.pending().len();
        if pending > pending_max.min(16) {
            return None;
        }
        let ways = 0..1u64 << pending;
        Some(
            ways.map(|bits| {
                let mut at = 0;
                let survivor = self.model.crash(&mut |_| {
                    at += 1;
                    if bits >> (at - 1) & 1 == 1 { Fate::Keep } else { Fate::Lose }
                });
                SimDisk::from_model(survivor, bits)
            })
            .collect(),
        )
    }
}

pub(super) fn crash(model: &Model, seed: u64, mode: CrashMode) -> SimDisk {
    let mut choose = fates(seed, mode);
    SimDisk::from_model(model.crash(&mut choose), seed)
}

/// A chooser of fates from a seed.
pub fn fates(seed: u64, mode: CrashMode) -> impl FnMut(&Pending<'_>) -> Fate {
    let mut rng = Rng::new(seed ^ 0xc4a5_4000);
    // Each crash has its own temper, so that "nearly all kept" and "nearly all lost" happen as often as the middle.
    let keep = [5, 30, 50, 70, 95][rng.below(5) as usize];
    let lose = rng.below(101);
    move |_| match mode {
        CrashMode::KeepAll => Fate::Keep,
        CrashMode::LoseAll => Fate::Lose,
        CrashMode::Mixed if rng.percent(keep) => Fate::Keep,
        CrashMode::Mixed if rng.percent(lose) => Fate::Lose,
        CrashMode::Mixed if rng.percent(50) => Fate::Torn(rng.next_u64()),
        CrashMode::Mixed => Fate::Garbage(rng.next_u64()),
    }
}
