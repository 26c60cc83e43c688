//! The writer of the journal: `in_flight_max` workers, each taking the next frame, writing it, flushing if need be, and reporting in order.
//!
//! ```text
//! push -> FrameQueue -(take: seal)-> write -(Flush mode: shared flush)-> done -> completed, in order -> on_complete, waiters
//! ```
//! While all workers are busy, pushes collect in the frame being built: that is the group commit. Frame n + `in_flight_max` is not taken before frame n is
//! reported, so at most `in_flight_max` frames can be missing or torn after a crash, all behind everything that was reported.

use std::cell::RefCell;

use futures_util::future::{try_join, try_join_all};

use super::builder::Sealed;
use super::recycle::JournalFile;
use super::{FrameCost, Inner, SyncMode, Ticket};
use crate::error::{StorageError, StorageResult};
use crate::io::{Disk, DiskBuffer, DiskFile};

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
        inner.state.borrow_mut().drained = true;
        inner.work.notify();
        Ok(())
    };
    // At the end a file that is being prepared is finished: no write is left in flight behind a clean close.
    let result = try_join(written, inner.keep_files_ready(&mut state_file)).await.map(drop);
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

impl<D: Disk> Inner<D> {
    async fn work_on_frames<F: FnMut(Ticket)>(&self, on_complete: &RefCell<F>) -> StorageResult<()> {
        loop {
            let next = self.work.until(|| self.take_frame());
            let Some(frame) = next.await? else {
                return Ok(());
            };
            self.progress.notify();
            let cost = self.write_frame(&frame).await?;
            // Somebody else's device error ends acknowledgements too.
            self.config.poison.check()?;
            self.report(frame.sequence, frame.data_bytes, cost, on_complete);
        }
    }

    /// The next frame when there is one and the window allows it; `Some(Ok(None))` at the end.
    fn take_frame(&self) -> Option<StorageResult<Option<Sealed<D>>>> {
        if let Err(poisoned) = self.config.poison.check() {
            return Some(Err(poisoned));
        }
        let state = &mut *self.state.borrow_mut();
        match state.frames.next_sequence() {
            None => state.closed.then_some(Ok(None)),
            Some(sequence) if sequence > state.completed + self.config.in_flight_max as u64 => None,
            Some(_) => {
                let frame = state.frames.take(self.identity, state.completed);
                // The frame may have been the last of a slot that is released already.
                state.retire_files();
                Some(Ok(frame))
            }
        }
    }

    async fn write_frame(&self, frame: &Sealed<D>) -> StorageResult<FrameCost> {
        let file = self.work.until(|| self.state.borrow_mut().files.bind(frame.place.slot)).await;
        let len = frame.buffer.len() as u64;
        let end = frame.place.position + len;
        self.work.until(|| (file.prewritten.get() >= end).then_some(())).await;
        let began = self.disk.now();
        let write = file.frames.write_at(frame.buffer.clone(), frame.place.position).await;
        self.config.poison.guard(write)?;
        let written = self.disk.now();
        if self.mode == SyncMode::Flush && !planted!(JournalFlushSkipped) {
            self.flush(&file).await?;
        }
        let flushed = self.disk.now();
        Ok(FrameCost {
            bytes: len,
            entries: frame.entries,
            queued_ns: began.saturating_sub(frame.began).as_nanos() as u64,
            write_ns: written.saturating_sub(began).as_nanos() as u64,
            flush_ns: if self.mode == SyncMode::Flush { flushed.saturating_sub(written).as_nanos() as u64 } else { 0 },
        })
    }

    /// Waits for a flush of `file` that began after this call; starts one when none is running.
    async fn flush(&self, file: &JournalFile<D>) -> StorageResult<()> {
        let early = planted!(AckBeforeFlush) && file.flush_running.get();
        let needed = file.flushes_started.get() + u64::from(!early);
        while file.flushes_finished.get() < needed {
            if file.flush_running.get() {
                let changed = || (!file.flush_running.get() || file.flushes_finished.get() >= needed).then_some(());
                self.work.until(changed).await;
                continue;
            }
            file.flush_running.set(true);
            let this = file.flushes_started.get() + 1;
            file.flushes_started.set(this);
            let result = file.frames.sync().await;
            file.flush_running.set(false);
            self.config.poison.guard(result)?;
            file.flushes_finished.set(this);
            self.state.borrow_mut().stats.flushes += 1;
            self.work.notify();
        }
        Ok(())
    }

    /// Frame `sequence` is durable: moves `completed` as far as there is no gap.
    fn report<F: FnMut(Ticket)>(&self, sequence: u64, data_bytes: u64, cost: FrameCost, on_complete: &RefCell<F>) {
        let advanced = {
            let state = &mut *self.state.borrow_mut();
            let ahead = sequence - state.completed - 1;
            assert!(ahead < self.config.in_flight_max as u64, "frame {sequence} is outside the window after {}", state.completed);
            state.done_ahead |= 1 << ahead;
            let before = state.completed;
            while state.done_ahead & 1 == 1 {
                state.done_ahead >>= 1;
                state.completed += 1;
            }
            state.stats.frames += 1;
            state.stats.bytes += cost.bytes;
            state.stats.entries += u64::from(cost.entries);
            state.stats.data_bytes += data_bytes;
            (state.completed > before).then_some(Ticket(state.completed))
        };
        if let Some(hook) = &mut *self.on_frame.borrow_mut() {
            hook(cost);
        }
        if let Some(ticket) = advanced {
            (on_complete.borrow_mut())(ticket);
            self.progress.notify();
        }
        self.work.notify();
    }
}
