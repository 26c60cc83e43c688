//! `SimDisk`: a disk in memory that can fail, be slow, reorder, and lose at a crash whatever was not flushed.
//!
//! Runs on any single-threaded executor: an operation takes a seeded number of polls, so concurrent operations complete in a seeded order. Every
//! step is an [`Event`] applied to a [`Model`]; with [`SimDisk::record`] the events are kept and a crash can be taken at each of them afterwards
//! ([`Recording`]). [`SimDisk::crash`] takes one now. Time is virtual. A panic tells of two writes in flight over the same bytes.
//!
//! What survives a crash: a write through `O_DSYNC` once it completed; data and size of a file once a flush that began after them completed; a
//! directory entry once its directory was flushed. Everything else meets a fate of its own (`model.rs`). A failed flush dooms what it covered.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::{DiskBuffer, IoError, IoOp, IoResult};

mod content;
mod disk;
mod model;
mod recording;
#[cfg(test)]
mod tests;

pub use content::Rng;
pub use model::{Event, Fate, Model, Op, OpId, Pending};
pub use recording::{CrashMode, Recording, Sweep, fates};

use disk::not_found;
use model::Node;

/// Alignment of the simulated device in bytes.
pub const SIM_ALIGNMENT: usize = 4096;
/// Polls that a sleeper lets pass before it may move the clock: others get their turn first.
const SLEEP_POLLS: u32 = 16;

/// An error to inject: the operations of kind `op` on paths that contain `path_part`, after `skip` of them, fail `times` times with `errno`.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The kind of operation.
    pub op: IoOp,
    /// Part of the path; empty: any.
    pub path_part: String,
    /// Matching operations that still succeed.
    pub skip: u64,
    /// Matching operations that then fail.
    pub times: u64,
    /// The error number, such as `libc::EIO`.
    pub errno: i32,
}

/// Counters of a simulated disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimStats {
    /// Events so far (submissions and completions).
    pub events: u64,
    /// Writes submitted.
    pub writes: u64,
    /// Their bytes.
    pub bytes_written: u64,
    /// Flushes submitted, of any kind.
    pub syncs: u64,
}

/// A simulated disk. Clones share it.
#[derive(Clone)]
pub struct SimDisk(Rc<RefCell<State>>);

struct State {
    model: Model,
    /// The model at the start of the recording and what happened since.
    recording: Option<(Model, Vec<Event>)>,
    watcher: Option<Watcher>,
    rng: Rng,
    delay_polls_max: u64,
    slow_percent: u64,
    lies: bool,
    next_op: OpId,
    next_inode: u64,
    stats: SimStats,
    halt_after_events: Option<u64>,
    faults: Vec<Fault>,
    capacity_bytes: Option<u64>,
    clock: Duration,
    clock_runs: bool,
    sleepers: BTreeSet<(Duration, u64)>,
    next_sleeper: u64,
}

/// Sees each operation as it is called: its kind, its path, and of a write the position and the bytes.
type Watcher = Rc<dyn Fn(IoOp, &Path, u64, &[u8])>;

/// A file of a simulated disk.
#[derive(Clone)]
pub struct SimFile {
    disk: SimDisk,
    inode: u64,
    path: Rc<Path>,
    writable: bool,
    dsync: bool,
}

/// A buffer of a simulated disk.
pub struct SimBuffer(Vec<u8>);

impl DiskBuffer for SimBuffer {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    fn shorten(&mut self, len: usize) {
        assert!(len <= self.0.len());
        self.0.truncate(len);
    }
}

impl SimDisk {
    /// An empty disk with the root directory `/`; the seed decides the order of completions.
    pub fn new(seed: u64) -> SimDisk {
        let mut model = Model::default();
        model.add_durable_dir(Path::new("/"));
        SimDisk::from_model(model, seed)
    }

    pub(crate) fn from_model(model: Model, seed: u64) -> SimDisk {
        SimDisk(Rc::new(RefCell::new(State {
            next_inode: model.inode_max() + 1,
            next_op: model.op_max() + 1,
            model,
            recording: None,
            watcher: None,
            rng: Rng::new(seed),
            delay_polls_max: 3,
            slow_percent: 0,
            lies: false,
            stats: SimStats::default(),
            halt_after_events: None,
            faults: Vec::new(),
            capacity_bytes: None,
            clock: Duration::ZERO,
            clock_runs: true,
            sleepers: BTreeSet::new(),
            next_sleeper: 0,
        })))
    }

    /// Creates a directory and its parents, durably, at once.
    pub fn mkdir(&self, path: impl AsRef<Path>) {
        for dir in path.as_ref().ancestors().filter(|p| !p.as_os_str().is_empty()) {
            self.0.borrow_mut().model.add_durable_dir(dir);
        }
    }

    /// Operations take 0 to `polls` polls from now on (3 at first).
    pub fn set_delay(&self, polls: u64) {
        self.0.borrow_mut().delay_polls_max = polls;
    }

    /// So many of 100 operations take twenty times as long from now on (none at first).
    pub fn set_slow(&self, percent: u64) {
        self.0.borrow_mut().slow_percent = percent;
    }

    /// From now on flushes and `O_DSYNC` complete without making anything durable: a planted bug that a crash test must find.
    pub fn lie_about_flushes(&self) {
        self.0.borrow_mut().lies = true;
    }

    /// Injects an error.
    pub fn inject(&self, fault: Fault) {
        self.0.borrow_mut().faults.push(fault);
    }

    /// The write after the next `skip` fails with `errno`, once.
    pub fn fail_write(&self, skip: u64, errno: i32) {
        self.fail(IoOp::Write, skip, errno);
    }

    /// The flush after the next `skip` fails with `errno`, once.
    pub fn fail_sync(&self, skip: u64, errno: i32) {
        self.fail(IoOp::Sync, skip, errno);
    }

    fn fail(&self, op: IoOp, skip: u64, errno: i32) {
        self.inject(Fault { op, path_part: String::new(), skip, times: 1, errno });
    }

    /// The device holds this many bytes of files; `None`: no bound.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.borrow_mut().capacity_bytes = bytes;
    }

    /// From the `events`-th event on (counted from the start of the disk) nothing happens any more: operations never complete, as at a power cut.
    pub fn halt_after(&self, events: u64) {
        self.0.borrow_mut().halt_after_events = Some(events);
    }

    /// Resolves once the disk has halted: `or(workload, disk.halted())` ends a run at the crash.
    pub async fn halted(&self) {
        while !self.0.borrow().is_halted() {
            yield_now().await;
        }
    }

    /// Counters.
    pub fn stats(&self) -> SimStats {
        self.0.borrow().stats
    }

    /// Shows `watcher` each operation when it is called, before anything happens; it may look at the disk and panic when a rule is broken.
    pub fn watch(&self, watcher: impl Fn(IoOp, &Path, u64, &[u8]) + 'static) {
        self.0.borrow_mut().watcher = Some(Rc::new(watcher));
    }

    fn show(&self, kind: IoOp, path: &Path, position: Option<u64>, op: Option<&Op>) {
        let watcher = self.0.borrow().watcher.clone();
        if let Some(watcher) = watcher {
            let data: &[u8] = if let Some(Op::Write { data, .. }) = op { data } else { &[] };
            watcher(kind, path, position.unwrap_or(0), data);
        }
    }

    /// Starts keeping every event. What happened before counts as the state to begin with.
    pub fn record(&self) {
        let state = &mut *self.0.borrow_mut();
        state.recording = Some((state.model.clone(), Vec::new()));
    }

    /// Events kept since `record`; remember it beside each acknowledgement to know what a crash at an event must preserve.
    pub fn recorded_events(&self) -> usize {
        self.0.borrow().recording.as_ref().map_or(0, |(_, events)| events.len())
    }

    /// Takes what was kept since `record` and stops keeping.
    pub fn take_recording(&self) -> Option<Recording> {
        let (start, events) = self.0.borrow_mut().recording.take()?;
        Some(Recording { start, events })
    }

    /// A copy of the state now, to take crashes from.
    pub fn model(&self) -> Model {
        self.0.borrow().model.clone()
    }

    /// A second disk in the same state, with nothing in flight.
    pub fn fork(&self, seed: u64) -> SimDisk {
        SimDisk::from_model(self.model(), seed)
    }

    /// The disk that survives a crash now.
    pub fn crash(&self, seed: u64, mode: CrashMode) -> SimDisk {
        recording::crash(&self.0.borrow().model, seed, mode)
    }

    /// The disk that survives a crash now, with fates chosen by the caller.
    pub fn crash_with(&self, seed: u64, choose: &mut dyn FnMut(&Pending<'_>) -> Fate) -> SimDisk {
        SimDisk::from_model(self.0.borrow().model.crash(choose), seed)
    }

    /// Flips all bits of the bytes at `position`, durably, behind everybody's back.
    pub fn damage(&self, path: impl AsRef<Path>, position: u64, len: usize) {
        let state = &mut *self.0.borrow_mut();
        let Some(Node::File(inode)) = state.model.node(path.as_ref()).cloned() else {
            panic!("no file {}", path.as_ref().display());
        };
        let content = state.model.content(inode).expect("a named file has content");
        let bytes: Vec<u8> = content.read(position, len).iter().map(|b| !b).collect();
        state.model.overwrite(inode, position, &bytes);
    }

    /// A file's bytes as the process sees them; `None` when there is no such file.
    pub fn peek(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let state = self.0.borrow();
        match state.model.node(path.as_ref())? {
            Node::File(inode) => state.model.content(*inode).map(|c| c.read(0, usize::MAX)),
            Node::Dir => None,
        }
    }

    /// All files, by path.
    pub fn files(&self) -> Vec<PathBuf> {
        let state = self.0.borrow();
        let names = state.model.names().iter();
        names.filter(|(_, node)| matches!(node, Node::File(_))).map(|(path, _)| path.clone()).collect()
    }

    /// Stops (or starts) the clock moving by itself when somebody sleeps.
    pub fn set_clock_runs(&self, runs: bool) {
        self.0.borrow_mut().clock_runs = runs;
    }

    /// Moves the clock.
    pub fn advance(&self, by: Duration) {
        self.0.borrow_mut().clock += by;
    }

    /// Runs one operation: submitted now, completed some polls later.
    async fn perform(&self, op: Op, kind: IoOp, path: &Path, position: Option<u64>) -> IoResult<()> {
        self.show(kind, path, position, Some(&op));
        let started = self.0.borrow_mut().start(op, kind, path);
        let Some((id, polls, errno)) = started else {
            return std::future::pending().await;
        };
        self.wait(polls).await;
        let done = match errno {
            None => Event::Completed(id),
            Some(_) => Event::Failed(id),
        };
        if !self.0.borrow_mut().happen(done) {
            return std::future::pending().await;
        }
        match errno {
            None => Ok(()),
            Some(number) => Err(IoError::new(kind, path, position, io::Error::from_raw_os_error(number))),
        }
    }

    /// An operation that changes nothing (reads, opens): it takes time and may fail, but is no event.
    async fn look(&self, kind: IoOp, path: &Path, position: Option<u64>) -> IoResult<()> {
        self.show(kind, path, position, None);
        let (polls, errno) = {
            let state = &mut *self.0.borrow_mut();
            (state.rng.below(state.delay_polls_max + 1), state.fault(kind, path))
        };
        self.wait(polls).await;
        if self.0.borrow().is_halted() {
            return std::future::pending().await;
        }
        match errno {
            None => Ok(()),
            Some(number) => Err(IoError::new(kind, path, position, io::Error::from_raw_os_error(number))),
        }
    }

    async fn wait(&self, polls: u64) {
        for _ in 0..polls {
            yield_now().await;
        }
    }

    /// What is left of the capacity.
    pub(super) fn room(&self) -> crate::room::DiskSpace {
        let state = self.0.borrow();
        match state.capacity_bytes {
            None => crate::room::DiskSpace { free: 1 << 50, total: 1 << 50 },
            Some(total) => crate::room::DiskSpace { free: total.saturating_sub(used_bytes(&state.model)), total },
        }
    }

    fn check_space(&self, inode: Option<u64>, end: u64, kind: IoOp, path: &Path) -> IoResult<()> {
        let state = self.0.borrow();
        let Some(capacity) = state.capacity_bytes else {
            return Ok(());
        };
        let size = |inode: u64| state.model.content(inode).map_or(0, |c| c.size());
        let used = used_bytes(&state.model);
        let grows = end.saturating_sub(inode.map_or(0, size));
        if grows > 0 && used + grows > capacity {
            return Err(IoError::new(kind, path, None, io::Error::from_raw_os_error(libc::ENOSPC)));
        }
        Ok(())
    }

    fn node(&self, path: &Path) -> Option<Node> {
        self.0.borrow().model.node(path).cloned()
    }

    fn new_inode(&self) -> u64 {
        let state = &mut *self.0.borrow_mut();
        state.next_inode += 1;
        state.next_inode - 1
    }

    fn check_parent(&self, path: &Path, kind: IoOp) -> IoResult<()> {
        match path.parent().map(|parent| self.node(parent)) {
            Some(Some(Node::Dir)) => Ok(()),
            _ => Err(not_found(kind, path)),
        }
    }

    async fn write_small(&self, path: &Path, bytes: &[u8], sync: bool) -> IoResult<()> {
        self.check_parent(path, IoOp::Write)?;
        let inode = match self.node(path) {
            Some(Node::File(inode)) => inode,
            Some(Node::Dir) => return Err(IoError::new(IoOp::Write, path, None, io::Error::from_raw_os_error(libc::EISDIR))),
            None => {
                let inode = self.new_inode();
                let create = Op::Create { path: path.to_path_buf(), inode };
                self.perform(create, IoOp::Open, path, None).await?;
                inode
            }
        };
        self.perform(Op::SetSize { inode, size: 0 }, IoOp::Truncate, path, None).await?;
        self.check_space(Some(inode), bytes.len() as u64, IoOp::Write, path)?;
        if !bytes.is_empty() {
            let write = Op::Write { inode, position: 0, data: Rc::from(bytes), dsync: false };
            self.perform(write, IoOp::Write, path, None).await?;
        }
        if sync {
            self.perform(Op::SyncFile { inode }, IoOp::Sync, path, None).await?;
        }
        Ok(())
    }
}

impl State {
    fn is_halted(&self) -> bool {
        self.halt_after_events.is_some_and(|limit| self.stats.events >= limit)
    }

    /// Submits an operation; `None` when the disk has halted.
    fn start(&mut self, op: Op, kind: IoOp, path: &Path) -> Option<(OpId, u64, Option<i32>)> {
        let errno = self.fault(kind, path);
        match &op {
            Op::Write { data, .. } => {
                self.stats.writes += 1;
                self.stats.bytes_written += data.len() as u64;
            }
            Op::SyncFile { .. } | Op::SyncDir { .. } | Op::SyncAll => self.stats.syncs += 1,
            _ => {}
        }
        let op = if self.lies { without_durability(op) } else { op };
        let id = self.next_op;
        self.next_op += 1;
        let slow = self.slow_percent > 0 && self.rng.percent(self.slow_percent);
        let polls = self.rng.below(self.delay_polls_max + 1) * if slow { 20 } else { 1 };
        self.happen(Event::Submitted(id, op)).then_some((id, polls, errno))
    }

    /// Applies an event; false when the disk has halted.
    fn happen(&mut self, event: Event) -> bool {
        if self.is_halted() {
            return false;
        }
        self.stats.events += 1;
        self.model.apply(&event);
        if let Some((_, events)) = &mut self.recording {
            events.push(event);
        }
        true
    }

    fn fault(&mut self, kind: IoOp, path: &Path) -> Option<i32> {
        let path = path.to_string_lossy();
        for fault in &mut self.faults {
            if fault.op != kind || fault.times == 0 || !path.contains(&fault.path_part) {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
            } else {
                fault.times -= 1;
                return Some(fault.errno);
            }
        }
        None
    }
}

/// Bytes of all files.
fn used_bytes(model: &Model) -> u64 {
    let size = |node: &Node| if let Node::File(inode) = node { model.content(*inode).map_or(0, |c| c.size()) } else { 0 };
    model.names().values().map(size).sum()
}

/// The operation of a disk that lies.
fn without_durability(op: Op) -> Op {
    match op {
        Op::Write { inode, position, data, .. } => Op::Write { inode, position, data, dsync: false },
        // No file has this number: a flush of nothing.
        Op::SyncFile { .. } | Op::SyncDir { .. } | Op::SyncAll => Op::SyncFile { inode: u64::MAX },
        other => other,
    }
}

/// Gives the other tasks of the executor a turn.
fn yield_now() -> impl Future<Output = ()> {
    YieldNow(false)
}

struct YieldNow(bool);

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
