//! The writer of the journal: `in_flight_max` workers, each taking the next frame, writing it, seeing to its flush if need be, and reporting in order.
//!
//! ```text
//! push -> FrameQueue -(take: seal)-> write -> written, in order -> on_written
//!                                      \-(if it must be durable: a flush, shared)-> completed, in order -> on_complete, waiters
//! ```
//! While all workers are busy, pushes collect in the frame being built: that is the group commit. Frame n + `in_flight_max` is not taken before frame n is
//! written, and a worker with a durable frame stays with it until it is reported; so at most `in_flight_max` frames with acknowledged durable bytes can be
//! missing or torn after a crash, all behind everything that was reported as durable. Frames without a durable entry in them wait for the next flush
//! that somebody asks for (`Inner::want_durable`); see `marks.rs`.

use std::cell::RefCell;

use futures_util::future::{try_join, try_join_all};

use super::builder::Sealed;
use super::recycle::JournalFile;
use super::{FrameCost, Inner, SyncMode, Ticket};
use crate::error::{StorageError, StorageResult};
use crate::io::{Disk, DiskBuffer, DiskFile, JournalIo};

/// Runs the writer until the journal is closed and drained, or a device error.
pub(super) async fn run<D: Disk>(inner: &Inner<D>, on_complete: impl FnMut(Ticket)) -> StorageResult<()> {
    let state_file = inner.state_file.borrow_mut().take();
    let Some(mut state_file) = state_file else {
        return Err(StorageError::Closed);
    };
    inner.state.borrow_mut().running = true;
    let _end = End(inner);
    let on_complete = RefCell::new(on_complete);
    let workers = (0..inner.config.in_flight_max).map(|_| inner.work_on_frames(&on_complete));
    let written = async {
        try_join_all(workers).await?;
        let newest = inner.state.borrow().marks.written();
        inner.make_durable(newest, &on_complete).await?;
        inner.state.borrow_mut().drained = true;
        inner.work.notify();
        Ok(())
    };
    let beside = try_join(inner.flush_on_demand(&on_complete), inner.keep_files_ready(&mut state_file));
    // At the end a file that is being prepared is finished: no write is left in flight behind a clean close.
    let result = try_join(written, beside).await.map(drop);
    if let Err(e) = &result {
        // Whatever ends the writer ends all promises of this directory, even an error that by itself would not.
        inner.config.poison.set(e);
    }
    result
}

/// Tells everybody that nothing completes any more, also when the writer's future is dropped.
struct End<'a, D: Disk>(&'a Inner<D>);

impl<D: Disk> Drop for End<'_, D> {
    fn drop(&mut self) {
        let state = &mut *self.0.state.borrow_mut();
        state.ended = true;
        state.running = false;
        self.0.progress.notify();
        self.0.work.notify();
    }
}

/// A frame that the writer has taken, and how it becomes durable.
struct Taken<D: Disk> {
    frame: Sealed<D>,
    /// By its own write.
    by_itself: bool,
}

impl<D: Disk> Inner<D> {
    async fn work_on_frames<F: FnMut(Ticket)>(&self, on_complete: &RefCell<F>) -> StorageResult<()> {
        loop {
            let next = self.work.until(|| self.take_frame());
            let Some(taken) = next.await? else {
                return Ok(());
            };
            self.progress.notify();
            let mut cost = self.write_frame(&taken).await?;
            // Somebody else's device error ends acknowledgements too.
            self.config.poison.check()?;
            let sequence = taken.frame.sequence;
            self.report_written(&taken.frame, cost.bytes, on_complete);
            let must = taken.frame.durable || sequence <= self.state.borrow().durable_wanted;
            if must && !taken.by_itself {
                let written = self.disk.now();
                self.make_durable(sequence, on_complete).await?;
                cost.flush_ns = self.disk.now().saturating_sub(written).as_nanos() as u64;
            }
            if let Some(hook) = &mut *self.on_frame.borrow_mut() {
                hook(cost);
            }
        }
    }

    /// The next frame when there is one and the window allows it; `Some(Ok(None))` at the end.
    fn take_frame(&self) -> Option<StorageResult<Option<Taken<D>>>> {
        if let Err(poisoned) = self.config.poison.check() {
            return Some(Err(poisoned));
        }
        let state = &mut *self.state.borrow_mut();
        match state.frames.next_sequence() {
            None => state.closed.then_some(Ok(None)),
            Some(sequence) if sequence > state.marks.written() + self.config.in_flight_max as u64 => None,
            Some(_) => {
                let frame = state.frames.take(self.identity, state.marks.completed());
                // The frame may have been the last of a slot that is released already.
                state.retire_files();
                Some(Ok(frame.map(|frame| {
                    let by_itself = self.mode == SyncMode::Dsync && (frame.durable || frame.sequence <= state.durable_wanted);
                    Taken { by_itself: state.marks.take(frame.sequence, by_itself), frame }
                })))
            }
        }
    }

    async fn write_frame(&self, taken: &Taken<D>) -> StorageResult<FrameCost> {
        let Taken { frame, by_itself } = taken;
        let file = self.work.until(|| self.state.borrow_mut().files.bind(frame.place.slot)).await;
        let len = frame.buffer.len() as u64;
        let end = frame.place.position + len;
        self.work.until(|| (file.prewritten.get() >= end).then_some(())).await;
        let began = self.disk.now();
        let handle = if *by_itself { &file.frames } else { &file.plain };
        let in_flight = JournalIo::begin();
        let write = handle.write_at(frame.buffer.clone(), frame.place.position).await;
        drop(in_flight);
        self.config.poison.guard(write)?;
        if !by_itself {
            file.unflushed.set(true);
        }
        let write_ns = self.disk.now().saturating_sub(began).as_nanos() as u64;
        let costs = &mut self.state.borrow_mut().costs;
        if *by_itself {
            costs.durable.push(write_ns)
        } else {
            costs.plain.push(write_ns)
        };
        Ok(FrameCost {
            bytes: len,
            entries: frame.entries,
            queued_ns: began.saturating_sub(frame.began).as_nanos() as u64,
            write_ns,
            flush_ns: 0,
        })
    }

    /// Flushes when somebody wants frames to be durable that nobody stays with.
    async fn flush_on_demand<F: FnMut(Ticket)>(&self, on_complete: &RefCell<F>) -> StorageResult<()> {
        loop {
            let wanted = self.work.until(|| {
                let state = self.state.borrow();
                let wanted = state.durable_wanted.min(state.marks.written());
                if state.drained || state.ended {
                    Some(None)
                } else {
                    (wanted > state.marks.completed() && state.marks.needs_flush(wanted)).then_some(Some(wanted))
                }
            });
            let Some(wanted) = wanted.await else { return Ok(()) };
            self.make_durable(wanted, on_complete).await?;
        }
    }

    /// Waits until frame `sequence`, which needs a flush, is durable; does the flush unless somebody else's covers it.
    async fn make_durable<F: FnMut(Ticket)>(&self, sequence: u64, on_complete: &RefCell<F>) -> StorageResult<()> {
        loop {
            let turn = self.work.until(|| {
                let mut state = self.state.borrow_mut();
                if state.marks.completed() >= sequence {
                    return Some(None);
                }
                if state.flush_running || state.marks.written() < sequence {
                    return None;
                }
                state.flush_running = true;
                Some(Some((state.marks.written(), state.files.take_unflushed())))
            });
            let Some((target, files)) = turn.await else { return Ok(()) };
            self.flush(&files).await?;
            self.config.poison.check()?;
            let completed = {
                let state = &mut *self.state.borrow_mut();
                state.flush_running = false;
                let target = if planted!(AckBeforeFlush) { state.marks.written() } else { target };
                let before = state.marks.completed();
                state.marks.flushed(target);
                (state.marks.completed() > before).then_some(state.marks.completed())
            };
            self.tell(None, completed, on_complete);
        }
    }

    /// One flush per file that has unflushed frames: nearly always one.
    async fn flush(&self, files: &[std::rc::Rc<JournalFile<D>>]) -> StorageResult<()> {
        let began = self.disk.now();
        let _in_flight = JournalIo::begin();
        for file in files {
            if !planted!(JournalFlushSkipped) {
                self.config.poison.guard(file.plain.sync().await)?;
            }
            self.state.borrow_mut().stats.flushes += 1;
        }
        let flush_ns = self.disk.now().saturating_sub(began).as_nanos() as u64;
        let costs = &mut self.state.borrow_mut().costs;
        costs.durable.push(costs.plain.last() + flush_ns);
        Ok(())
    }

    /// A frame is written: moves the marks as far as there is no gap.
    fn report_written<F: FnMut(Ticket)>(&self, frame: &Sealed<D>, bytes: u64, on_complete: &RefCell<F>) {
        let (written, completed) = {
            let state = &mut *self.state.borrow_mut();
            let before = (state.marks.written(), state.marks.completed());
            state.marks.wrote(frame.sequence);
            state.stats.frames += 1;
            state.stats.bytes += bytes;
            state.stats.entries += u64::from(frame.entries);
            state.stats.data_bytes += frame.data_bytes;
            let (written, completed) = (state.marks.written(), state.marks.completed());
            ((written > before.0).then_some(written), (completed > before.1).then_some(completed))
        };
        self.tell(written, completed, on_complete);
    }

    fn tell<F: FnMut(Ticket)>(&self, written: Option<u64>, completed: Option<u64>, on_complete: &RefCell<F>) {
        if let Some(ticket) = completed {
            (on_complete.borrow_mut())(Ticket(ticket));
        }
        if let Some(ticket) = written
            && let Some(hook) = &mut *self.on_written.borrow_mut()
        {
            hook(Ticket(ticket));
        }
        if completed.is_some() || written.is_some() {
            self.progress.notify();
        }
        self.work.notify();
    }
}
