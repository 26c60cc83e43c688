//! Which crashes are tried: the points of a recording, and what each pending thing meets there.

use coreline_storage::io::sim::{CrashMode, Event, Fate, Op, Pending, Recording, Rng, SimDisk, Sweep, fates};

use super::Effort;

/// A crash at one point: the fate of each pending thing, in the order in which the model asks.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) fates: Vec<Fate>,
    /// Only the process dies: fates are those of what was in flight.
    pub(crate) kill: bool,
    seed: u64,
}

pub(crate) struct Plans {
    pub(crate) list: Vec<Plan>,
    pub(crate) exhaustive: bool,
}

impl Plan {
    pub(crate) fn image(&self, sweep: &Sweep<'_>) -> SimDisk {
        let mut fates = self.fates.iter();
        let mut choose = |_: &Pending<'_>| fates.next().copied().unwrap_or(Fate::Keep);
        if self.kill { sweep.kill_with(self.seed, &mut choose) } else { sweep.crash_with(self.seed, &mut choose) }
    }

    pub(crate) fn random(sweep: &Sweep<'_>, rng: &mut Rng) -> Plan {
        let seed = rng.next_u64();
        let kill = rng.percent(20);
        let mode = [CrashMode::Mixed, CrashMode::Mixed, CrashMode::Mixed, CrashMode::LoseAll][rng.below(4) as usize];
        let mut choose = fates(seed, mode);
        let fates = sweep.model().pending().iter().map(|pending| choose(pending)).collect();
        Plan { fates, kill, seed }
    }

    /// The same crash with as many fates as possible made harmless, as long as it fails.
    pub(crate) fn shrink(&self, fails: &dyn Fn(&Plan) -> bool) -> Plan {
        let mut least = self.clone();
        for i in 0..least.fates.len().min(200) {
            for fate in [Fate::Keep, Fate::Lose] {
                let was = least.fates[i];
                if was == fate {
                    break;
                }
                least.fates[i] = fate;
                if fails(&least) {
                    break;
                }
                least.fates[i] = was;
            }
        }
        least
    }
}

/// Before and behind each barrier of the recording, and its end; at most `points_max`, in order.
pub(crate) fn points(recording: &Recording, points_max: usize, rng: &mut Rng) -> Vec<usize> {
    let mut barriers = std::collections::BTreeSet::new();
    let mut points = Vec::new();
    for (index, event) in recording.events().iter().enumerate() {
        match event {
            Event::Submitted(id, Op::Write { dsync: true, .. } | Op::SyncFile { .. } | Op::SyncDir { .. } | Op::SyncAll) => {
                barriers.insert(*id);
            }
            Event::Completed(id) if barriers.remove(id) => points.extend([index, index + 1]),
            _ => {}
        }
    }
    points.push(recording.events().len());
    points.dedup();
    while points.len() > points_max {
        // Never the end.
        points.remove(rng.below(points.len() as u64 - 1) as usize);
    }
    points
}

/// The crashes to try here.
pub(crate) fn plans(sweep: &Sweep<'_>, effort: Effort, rng: &mut Rng) -> Plans {
    let pending = sweep.model().pending().len();
    let mut list = Vec::new();
    let exhaustive = pending <= effort.exhaustive_max;
    if exhaustive {
        for bits in 0..1u64 << pending {
            let fates = (0..pending).map(|i| if bits >> i & 1 == 1 { Fate::Keep } else { Fate::Lose }).collect();
            list.push(Plan { fates, kill: false, seed: rng.next_u64() });
        }
    }
    let random = if exhaustive { 1 + effort.random_images / 4 } else { effort.random_images };
    list.extend((0..random).map(|_| Plan::random(sweep, rng)));
    Plans { list, exhaustive }
}
