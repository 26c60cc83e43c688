//! The journal of a shard: one sequence of frames, in pre-written files that are recycled for ever, for the appends of all its partitions.
//!
//! `push` copies an entry into the frame being built and answers with the frame's sequence number, its [`Ticket`]; the writer
//! ([`Journal::run`]) writes whole frames, one device write per group commit, and reports tickets in order once they are durable. Frame bytes:
//! `frame.rs`; placement and reuse of files: `recycle.rs`; the writer: `writer.rs`; reading back: `replay.rs`; all byte by byte in `FORMAT.md`.
//!
//! Invariants: no write is ever in flight over a block that holds reported bytes; frame n + `in_flight_max` is sent only after frame n was
//! written; a frame never spans two files; each open starts a generation that was never used before, so old frames cannot be read as new.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use crate::error::{StorageError, StorageResult};
use crate::io::{Disk, Poison};
use crate::snapshot_file::SnapshotFile;

mod builder;
mod costs;
mod frame;
mod marks;
mod recycle;
mod replay;
pub(crate) mod signal;
mod space;
mod sync_mode;
#[cfg(test)]
mod tests;
mod types;
mod writer;

pub use costs::{CostRange, JournalCosts};
pub use replay::replay;
pub use types::{
    EntryHeader, EntryKind, FrameCost, JournalConfig, JournalStats, JournalUsage, Proof, ReplayEnd, ReplayReport, SyncMode, Ticket,
};

use builder::FrameQueue;
use costs::Costs;
use marks::Marks;
use recycle::Files;
use signal::Signal;
use space::Space;

/// The journal of one shard. Clones share it; single-threaded.
pub struct Journal<D: Disk>(Rc<Inner<D>>);

impl<D: Disk> Clone for Journal<D> {
    fn clone(&self) -> Self {
        Journal(self.0.clone())
    }
}

struct Inner<D: Disk> {
    disk: D,
    dir: PathBuf,
    config: JournalConfig,
    /// Never `Probe`.
    mode: SyncMode,
    identity: Identity,
    state: RefCell<State<D>>,
    /// Where generation and released mark are kept; taken by `run`.
    state_file: RefCell<Option<SnapshotFile>>,
    /// For the writer: frames to write, files to prepare.
    work: Signal,
    /// For callers: tickets completed, space freed, the end.
    progress: Signal,
    on_frame: RefCell<Option<FrameHook>>,
    on_written: RefCell<Option<WrittenHook>>,
    /// Zeros for the file that is being prepared.
    zeros: RefCell<Option<Rc<D::Buffer>>>,
}

type FrameHook = Box<dyn FnMut(FrameCost)>;
type WrittenHook = Box<dyn FnMut(Ticket)>;

/// What every frame of this opening carries.
#[derive(Clone, Copy, Debug)]
struct Identity {
    journal: u64,
    generation: u64,
}

struct State<D: Disk> {
    frames: FrameQueue<D>,
    files: Files<D>,
    marks: Marks,
    /// Frames up to here shall become durable without more being said.
    durable_wanted: u64,
    flush_running: bool,
    /// Sequence of the newest checkpoint table of this journal.
    table: u64,
    costs: Costs,
    running: bool,
    closed: bool,
    /// Closed, and everything pushed is durable.
    drained: bool,
    /// The writer has ended: nothing completes any more.
    ended: bool,
    /// A push was refused for want of files since the last release.
    space_refused: bool,
    stats: JournalStats,
}

impl<D: Disk> Journal<D> {
    /// Opens the journal in `dir` (created when missing; its parent exists) under a generation never used before. What was in it must have been replayed
    /// and made durable elsewhere: it is never read again. The directory's name, 16 hex digits, is the journal's id.
    pub async fn open(disk: D, dir: PathBuf, config: JournalConfig) -> StorageResult<Journal<D>> {
        config.validate()?;
        let opened = recycle::open(&disk, &dir, &config).await?;
        let files_max = config.journal_bytes_max / config.file_bytes;
        let mut space = Space::new(disk.alignment(), config.file_bytes, files_max, config.frame_bytes_max());
        space.set_files_now(opened.files.countable());
        let state = State {
            frames: FrameQueue::new(space, config.pending_bytes_max),
            files: opened.files,
            marks: Marks::default(),
            durable_wanted: 0,
            flush_running: false,
            table: 0,
            costs: opened.costs,
            running: false,
            closed: false,
            drained: false,
            ended: false,
            space_refused: false,
            stats: opened.stats,
        };
        tracing::info!(
            journal = %dir.display(),
            generation = opened.identity.generation,
            mode = ?opened.mode,
            file_bytes = config.file_bytes,
            files_max,
            "journal opened"
        );
        Ok(Journal(Rc::new(Inner {
            disk,
            dir,
            config,
            mode: opened.mode,
            identity: opened.identity,
            state: RefCell::new(state),
            state_file: RefCell::new(Some(opened.state_file)),
            work: Signal::default(),
            progress: Signal::default(),
            on_frame: RefCell::new(None),
            on_written: RefCell::new(None),
            zeros: RefCell::new(None),
        })))
    }

    /// Copies an entry into the frame being built, to be made durable as soon as it is written. Synchronous; the order of pushes is the order of replay.
    /// `Full` when the journal or its queue is at the bound (nothing was written), `EntryTooLarge`, `Poisoned`, `Closed`.
    pub fn push(&self, header: EntryHeader, data: &[u8]) -> StorageResult<Ticket> {
        self.push_as(header, data, true)
    }

    /// As `push`; without `durable` the entry is written at once, but flushed only with a durable one or when somebody waits for it.
    pub fn push_as(&self, header: EntryHeader, data: &[u8], durable: bool) -> StorageResult<Ticket> {
        let inner = &*self.0;
        let state = &mut *inner.state.borrow_mut();
        if let Err(refused) = inner.check_room(state, data.len()) {
            state.stats.pushes_refused += u64::from(matches!(refused, StorageError::Full));
            return Err(refused);
        }
        let was_low = inner.is_low(state);
        let sequence = state.frames.push(&inner.disk, &header, data, durable);
        inner.work.notify();
        if !was_low && inner.is_low(state) {
            inner.progress.notify();
        }
        Ok(Ticket(sequence))
    }

    /// Whether a push of `bytes` bytes of data would be taken now. Reserves nothing.
    pub fn try_reserve(&self, bytes: usize) -> bool {
        self.0.check_room(&mut self.0.state.borrow_mut(), bytes).is_ok()
    }

    /// Waits until `try_reserve(bytes)` holds. `Poisoned`, `Closed` and `EntryTooLarge` end the wait.
    pub async fn wait_space(&self, bytes: usize) -> StorageResult<()> {
        let inner = &*self.0;
        let look = || match inner.check_room(&mut inner.state.borrow_mut(), bytes) {
            Err(StorageError::Full) => None,
            other => Some(other),
        };
        inner.progress.until(look).await
    }

    /// Every frame up to and including this one is durable.
    pub fn completed(&self) -> Ticket {
        Ticket(self.0.state.borrow().marks.completed())
    }

    /// Every frame up to and including this one is on the device, though a power cut may take those above `completed`.
    pub fn written(&self) -> Ticket {
        Ticket(self.0.state.borrow().marks.written())
    }

    /// Asks for what was pushed under `ticket` to become durable, if nothing else makes it so; does not wait.
    pub fn want_durable(&self, ticket: Ticket) {
        let mut state = self.0.state.borrow_mut();
        if ticket.0 > state.durable_wanted {
            state.durable_wanted = ticket.0;
            drop(state);
            self.0.work.notify();
        }
    }

    /// Makes everything durable that is written; at most one flush, and none when nothing waits for one.
    pub async fn flush_written(&self) -> StorageResult<()> {
        let (written, needed) = {
            let marks = &self.0.state.borrow().marks;
            (marks.written(), marks.needs_flush(marks.written()))
        };
        if needed { self.wait(Ticket(written)).await } else { Ok(()) }
    }

    /// Waits until `ticket` is durable, asking for it. `Poisoned` after a device error; `Closed` when the journal ended before.
    pub async fn wait(&self, ticket: Ticket) -> StorageResult<()> {
        self.want_durable(ticket);
        let inner = &*self.0;
        let look = || {
            let state = inner.state.borrow();
            if state.marks.completed() >= ticket.0 { Some(Ok(())) } else { inner.check_alive(&state).err().map(Err) }
        };
        inner.progress.until(look).await
    }

    /// The writer: runs until `close` (everything pushed is written first) or a device error, which has then poisoned the journal. `on_complete` is called
    /// with each new value of `completed`, in order; it may push. Runs once; when its future is dropped the journal ends.
    pub async fn run(&self, on_complete: impl FnMut(Ticket)) -> StorageResult<()> {
        writer::run(&self.0, on_complete).await
    }

    /// Says that frames up to and including `up_to` are not needed any more (their bytes are durable elsewhere); files wholly below are used again.
    ///
    /// # Panics
    /// When `up_to` is not complete.
    pub fn release(&self, up_to: Ticket) {
        let inner = &*self.0;
        let state = &mut *inner.state.borrow_mut();
        let completed = state.marks.completed();
        assert!(up_to.0 <= completed, "release of {up_to:?}, which is not durable (completed: {completed})");
        state.frames.release(up_to.0);
        state.space_refused = false;
        state.retire_files();
        inner.work.notify();
        inner.progress.notify();
    }

    /// The checkpoint table of this journal with this sequence is durable: noted with what is written next of the journal's state, so that a start finds an
    /// older copy of that table out.
    pub fn note_table(&self, sequence: u64) {
        self.0.state.borrow_mut().table = sequence;
    }

    /// Resolves when half of the bound is used, or a push was refused for want of space: the flusher should make room. Resolves at once while that holds.
    pub async fn pressure(&self) -> StorageResult<()> {
        let inner = &*self.0;
        let look = || {
            let state = inner.state.borrow();
            if inner.is_low(&state) { Some(Ok(())) } else { inner.check_alive(&state).err().map(Err) }
        };
        inner.progress.until(look).await
    }

    /// How full it is.
    pub fn usage(&self) -> JournalUsage {
        let state = self.0.state.borrow();
        let space = &state.frames.space;
        JournalUsage {
            bytes_used: space.bytes_used(),
            bytes_limit: space.bytes_limit(),
            oldest: Ticket(space.released() + 1),
            newest: Ticket(state.frames.newest()),
        }
    }

    /// Counters since it was opened.
    pub fn stats(&self) -> JournalStats {
        self.0.state.borrow().stats
    }

    /// Calls `hook` after each frame with what it cost.
    pub fn set_on_frame(&self, hook: impl FnMut(FrameCost) + 'static) {
        *self.0.on_frame.borrow_mut() = Some(Box::new(hook));
    }

    /// Calls `hook` with each new value of `written`, in order; it may push. Replaces an earlier one.
    pub fn set_on_written(&self, hook: impl FnMut(Ticket) + 'static) {
        *self.0.on_written.borrow_mut() = Some(Box::new(hook));
    }

    /// What acknowledgements of each kind have cost the device of late.
    pub fn costs(&self) -> JournalCosts {
        self.0.state.borrow().costs.summary()
    }

    /// The mode in use (never `Probe`).
    pub fn sync_mode(&self) -> SyncMode {
        self.0.mode
    }

    /// Where this journal remembers device errors.
    pub fn poison(&self) -> Poison {
        self.0.config.poison.clone()
    }

    /// The generation of this opening.
    pub fn generation(&self) -> u64 {
        self.0.identity.generation
    }

    /// Waits until `run` has ended.
    pub async fn wait_ended(&self) {
        self.0.progress.until(|| self.0.state.borrow().ended.then_some(())).await;
    }

    /// Takes no more pushes; `run` ends when everything pushed is durable.
    pub fn close(&self) {
        self.0.state.borrow_mut().closed = true;
        self.0.work.notify();
        self.0.progress.notify();
    }
}

impl<D: Disk> Inner<D> {
    /// Whether an entry of `bytes` bytes can be taken now.
    fn check_room(&self, state: &mut State<D>, bytes: usize) -> StorageResult<()> {
        self.config.poison.check()?;
        if state.closed || state.ended {
            return Err(StorageError::Closed);
        }
        let bytes_max = state.frames.entry_bytes_max();
        if bytes as u64 > bytes_max {
            return Err(StorageError::EntryTooLarge { bytes: bytes as u64, bytes_max });
        }
        while !state.frames.has_files_for(bytes) && state.files.claim_another() {
            state.frames.space.set_files_now(state.files.countable());
        }
        if !state.frames.has_files_for(bytes) {
            if !state.space_refused {
                state.space_refused = true;
                self.progress.notify();
            }
            return Err(StorageError::Full);
        }
        if state.frames.has_queue_for(bytes) { Ok(()) } else { Err(StorageError::Full) }
    }

    fn check_alive(&self, state: &State<D>) -> StorageResult<()> {
        self.config.poison.check()?;
        if state.ended { Err(StorageError::Closed) } else { Ok(()) }
    }

    /// Whether the flusher should make room.
    fn is_low(&self, state: &State<D>) -> bool {
        let space = &state.frames.space;
        state.space_refused || space.bytes_used() * 2 >= space.bytes_limit()
    }
}

impl<D: Disk> State<D> {
    /// Hands the files of released slots over for reuse.
    fn retire_files(&mut self) {
        while let Some(slot) = self.frames.space.retire() {
            self.files.retire(slot);
        }
    }
}
