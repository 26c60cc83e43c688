//! Which crashes are tried: the points of a recording, and what each pending thing meets there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

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
        let fates = sweep.model().pending().iter().map(fates(seed, mode)).collect();
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

/// Before and behind each barrier of the recording, and its end; at most `points_max`, in order. Where there are more, barriers of a rare kind are
/// chosen as often as those of a common kind.
pub(crate) fn points(recording: &Recording, points_max: usize, rng: &mut Rng) -> Vec<usize> {
    let mut kinds: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut barriers: BTreeMap<u64, String> = BTreeMap::new();
    let mut names: BTreeMap<u64, String> = BTreeMap::new();
    // Files that were written at their beginning since they were flushed: for a journal that is a file used again.
    let mut begun: BTreeSet<u64> = BTreeSet::new();
    let start = recording.sweep();
    let name = |names: &BTreeMap<u64, String>, inode: &u64| {
        names.get(inode).cloned().or_else(|| start.model().path_of(*inode).map(kind_of)).unwrap_or_default()
    };
    for (index, event) in recording.events().iter().enumerate() {
        match event {
            Event::Submitted(_, Op::Create { path, inode }) => drop(names.insert(*inode, kind_of(path))),
            Event::Submitted(id, Op::Write { inode, position, dsync: true, .. }) => {
                barriers.insert(*id, format!("write {} {}", name(&names, inode), *position == 0));
            }
            Event::Submitted(_, Op::Write { inode, position: 0, .. }) => drop(begun.insert(*inode)),
            Event::Submitted(id, Op::SyncFile { inode }) => {
                barriers.insert(*id, format!("flush {} {}", name(&names, inode), begun.remove(inode)));
            }
            Event::Submitted(id, Op::SyncDir { path }) => drop(barriers.insert(*id, format!("directory {}", kind_of(path)))),
            Event::Submitted(id, Op::SyncAll) => drop(barriers.insert(*id, "all".into())),
            Event::Completed(id) => {
                if let Some(kind) = barriers.remove(id) {
                    kinds.entry(kind).or_default().extend([index, index + 1]);
                }
            }
            _ => {}
        }
    }
    let mut points = BTreeSet::from([recording.events().len()]);
    let mut kinds: Vec<Vec<usize>> = kinds.into_values().collect();
    while points.len() < points_max && !kinds.is_empty() {
        let kind = rng.below(kinds.len() as u64) as usize;
        let of_kind = &mut kinds[kind];
        points.insert(of_kind.swap_remove(rng.below(of_kind.len() as u64) as usize));
        if of_kind.is_empty() {
            kinds.swap_remove(kind);
        }
    }
    points.into_iter().collect()
}

/// What sort of file or directory a path is: names without the numbers in them.
fn kind_of(path: &Path) -> String {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    match name.rsplit_once('.') {
        Some((stem, extension)) if stem.bytes().all(|b| b.is_ascii_hexdigit()) => extension.to_string(),
        _ if name.contains(".log.compacted.") => "compacted".into(),
        _ if name.contains(".compacted.") => "compacted sums".into(),
        _ if name.len() == 16 => "journal".into(),
        _ => name,
    }
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
