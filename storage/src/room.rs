//! How much room is left on the device, and when clients' appends are refused because it is little: hysteresis between two marks.
//!
//! What is free counts without what any store of the data directory has accepted and not written yet (`claims.rs`), so that everything accepted can be
//! written. Only clients are refused; group commits, the metadata, retention and deletion use the reserve. Asked for while data is written or room is short,
//! never while nothing happens; between two looks a store accepts what it has taken of the room that the last one found.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use crate::claims::Claims;
use crate::error::StorageError;
use crate::io::Disk;
use crate::store::StoreInner;

/// Room on a device, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// That this process may still use.
    pub free: u64,
    /// Of the whole file system.
    pub total: u64,
}

/// The marks in force, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Marks {
    min: u64,
    resume: u64,
}

impl Marks {
    /// `None` stands for what suits a file system of this size.
    fn new(min: Option<u64>, resume: Option<u64>, total: u64) -> Marks {
        let min = min.unwrap_or_else(|| (total / 50).clamp(AUTO_MIN_BYTES, AUTO_MAX_BYTES).min(total / 4));
        Marks { min, resume: resume.unwrap_or(min.saturating_add(min / 4)).max(min) }
    }

    /// Whether clients are refused, when they were (or not) until now.
    fn refuses(&self, refused: bool, free: u64) -> bool {
        free < if refused { self.resume } else { self.min }
    }
}

/// What a store knows of its device's room.
#[derive(Debug, Default)]
pub(crate) struct Room {
    space: Cell<Option<DiskSpace>>,
    refused: Cell<bool>,
    /// Nothing is to be left alone.
    without_reserve: Cell<bool>,
    claims: Claims,
    /// What of the claims is this store's.
    claimed: Cell<u64>,
    /// What of it may still be accepted.
    budget: Cell<u64>,
    /// The budget at the last pass of the flusher.
    budget_before: Cell<u64>,
    /// An append was refused because nothing was left to take.
    starved: Cell<bool>,
    /// A write was refused for want of space, and this was told.
    full_told: Cell<bool>,
    asked_at: Cell<Option<Duration>>,
    asked_written: Cell<u64>,
    failure: RefCell<Option<String>>,
}

impl Room {
    /// Of one of the stores that share `claims`.
    pub(crate) fn new(claims: Claims, without_reserve: bool) -> Room {
        claims.join();
        let mut room = Room::default();
        room.claims = claims;
        room.without_reserve.set(without_reserve);
        room
    }

    /// Clients' appends are refused.
    pub(crate) fn is_low(&self) -> bool {
        self.refused.get() || self.starved.get()
    }

    /// Whether a client's append of so many bytes may be taken, beside `unflushed` bytes that were.
    pub(crate) fn admits(&self, bytes: u64, unflushed: u64) -> bool {
        if self.refused.get() {
            return false;
        }
        let budget = self.budget.get();
        if budget >= bytes || self.without_reserve.get() {
            return true;
        }
        let taken = self.claims.take_share(bytes - budget, BUDGET_BYTES);
        self.starved.set(taken == 0);
        self.budget.set(budget + taken);
        self.publish(unflushed);
        taken > 0
    }

    /// An append was taken.
    pub(crate) fn accepted(&self, bytes: u64) {
        self.budget.set(self.budget.get().saturating_sub(bytes));
    }

    /// Whether so many bytes may be reserved for a segment before they are needed.
    pub(crate) fn may_reserve(&self, bytes: u64) -> bool {
        !self.is_low() && self.claims.take(bytes, 3 * bytes)
    }

    fn publish(&self, unflushed: u64) {
        let now = unflushed + self.budget.get();
        self.claims.claim(self.claimed.replace(now), now);
    }

    /// Each pass of the flusher: tells the others what was written, and gives back what nobody uses.
    fn pass(&self, unflushed: u64) {
        let budget = self.budget.get();
        if self.budget_before.replace(budget) == budget && budget > 0 {
            self.claims.give(self.budget.take());
        }
        self.publish(unflushed);
    }

    /// As of the last look, bytes; 0 before the first.
    pub(crate) fn free_bytes(&self) -> u64 {
        self.space.get().map_or(0, |space| space.free)
    }

    /// The device had no room for a write that can be repeated: nothing is lost, it waits in the journal.
    pub(crate) fn note_full(&self, error: &StorageError) {
        self.refused.set(true);
        if !self.full_told.replace(true) {
            tracing::error!(%error, "the disk is full: what was acknowledged stays in the journal, clients' appends are refused until space is freed");
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.claims.leave(self.claimed.get());
    }
}

/// Looks again, when that may tell something new.
pub(crate) async fn refresh<D: Disk>(store: &StoreInner<D>) {
    let room = &store.room;
    room.pass(store.unflushed_bytes.get());
    if room.without_reserve.get() && !room.refused.get() {
        return;
    }
    let (now, written) = (store.disk.now(), store.segment_bytes_written.get());
    let grown = written - room.asked_written.get();
    let since = room.asked_at.get().map(|at| now.saturating_sub(at));
    let due = match since {
        None => true,
        Some(since) if room.refused.get() => since >= LOOK_WHILE_LOW,
        Some(since) if room.starved.get() => since >= LOOK_WHEN_STARVED,
        Some(since) => grown >= LOOK_BYTES || (grown > 0 && since >= LOOK_EVERY),
    };
    if !due {
        return;
    }
    room.asked_at.set(Some(now));
    room.asked_written.set(written);
    let space = match store.disk.space().await {
        Ok(space) => space,
        Err(error) => {
            let text = error.to_string();
            if room.failure.replace(Some(text.clone())).as_ref() != Some(&text) {
                tracing::warn!(%error, "how much space is free cannot be told");
            }
            return;
        }
    };
    room.space.set(Some(space));
    let marks = Marks::new(store.config.free_bytes_min, store.config.free_bytes_resume, space.total);
    room.publish(store.unflushed_bytes.get());
    let free = space.free.saturating_sub(room.claims.claimed());
    if !room.without_reserve.get() {
        room.claims.set_left(free.saturating_sub(marks.min));
    }
    room.starved.set(false);
    let refused = marks.refuses(room.refused.get(), free);
    if refused && !room.refused.replace(true) {
        tracing::warn!(
            free_bytes = free,
            resume_bytes = marks.resume,
            "little space is left: clients' appends are refused until some is freed; reads, deletion and retention go on"
        );
    } else if !refused && room.refused.replace(false) {
        room.full_told.set(false);
        tracing::info!(free_bytes = free, "there is space again: appends are taken");
    }
}

/// Looks at most this often while clients are refused.
const LOOK_WHILE_LOW: Duration = Duration::from_millis(500);
/// The same while there seems to be nothing left to take.
const LOOK_WHEN_STARVED: Duration = Duration::from_millis(50);
/// Looks at least this often while data is written.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks after so many bytes were written.
const LOOK_BYTES: u64 = 8 << 20;
/// Most that a store takes at once for the appends of clients; it is given back when they stop.
const BUDGET_BYTES: u64 = 16 << 20;
/// Bounds of what is kept free when the configuration does not say.
const AUTO_MIN_BYTES: u64 = 64 << 20;
const AUTO_MAX_BYTES: u64 = 512 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appends_are_refused_below_the_lower_mark_until_the_upper_one() {
        let marks = Marks::new(Some(100), Some(150), 1 << 40);
        for (refused, free, expected) in [(false, 100, false), (false, 99, true), (true, 120, true), (true, 149, true), (true, 150, false)]
        {
            assert_eq!(marks.refuses(refused, free), expected, "{refused} {free}");
        }
        assert_eq!(Marks::new(Some(100), Some(50), 0).resume, 100, "never below the lower one");
    }

    #[test]
    fn the_reserve_suits_the_file_system() {
        const MIB: u64 = 1 << 20;
        for (total, min) in [(64 * MIB, 16 * MIB), (512 * MIB, 64 * MIB), (10 << 30, (10 << 30) / 50), (1 << 40, 512 * MIB)] {
            assert_eq!(Marks::new(None, None, total), Marks { min, resume: min + min / 4 }, "{total}");
        }
    }
}
