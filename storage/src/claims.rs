//! `Claims`: what the stores of one data directory have taken of the room on its file system and not written yet, so that together they leave the reserve
//! alone.
//!
//! A look at the file system (`room.rs`) says how much there is to take; who accepts bytes of clients, or wants a file for a journal, takes of that first:
//! clients' bytes by the piece, so that an append touches nothing shared. What was taken counts as gone until it is written, by everybody's looks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Shared by the stores of a data directory; clones share it. Without a look there is no bound.
#[derive(Clone, Debug, Default)]
pub struct Claims(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    /// What may still be taken as of the newest look, bytes.
    left: AtomicU64,
    /// Taken and not written, bytes.
    claimed: AtomicU64,
    stores: AtomicU64,
}

impl Default for Pool {
    fn default() -> Self {
        Pool { left: AtomicU64::new(UNBOUNDED), claimed: AtomicU64::default(), stores: AtomicU64::default() }
    }
}

impl Claims {
    /// One store more shares what is left.
    pub(crate) fn join(&self) {
        self.0.stores.fetch_add(1, Relaxed);
    }

    /// One store less, with what it has claimed.
    pub(crate) fn leave(&self, claimed: u64) {
        self.0.stores.fetch_sub(1, Relaxed);
        self.claim(claimed, 0);
    }

    /// All that is claimed, bytes.
    pub(crate) fn claimed(&self) -> u64 {
        self.0.claimed.load(Relaxed)
    }

    /// A claim is now `now` where it was `before`.
    pub(crate) fn claim(&self, before: u64, now: u64) {
        self.0.claimed.fetch_add(now.wrapping_sub(before), Relaxed);
    }

    /// A look has found so much above the reserve that nobody has claimed.
    pub(crate) fn set_left(&self, bytes: u64) {
        self.0.left.store(bytes, Relaxed);
    }

    /// Takes `bytes` when they and `besides` are left.
    pub(crate) fn take(&self, bytes: u64, besides: u64) -> bool {
        self.update(|left| (left >= bytes.saturating_add(besides)).then(|| left - bytes))
    }

    /// Takes a share, at least `least` and at most `most` bytes; 0 when there is not that much. No more than `least` while nobody knows how much there is.
    pub(crate) fn take_share(&self, least: u64, most: u64) -> u64 {
        let mut share = most;
        let of = 4 * self.0.stores.load(Relaxed).max(1);
        let taken = self.update(|left| {
            share = if left == UNBOUNDED { least } else { (left / of).clamp(least, most.max(least)) };
            left.checked_sub(share)
        });
        if taken { share } else { 0 }
    }

    /// Gives back what was taken.
    pub(crate) fn give(&self, bytes: u64) {
        self.update(|left| Some(left.saturating_add(bytes)));
    }

    fn update(&self, mut change: impl FnMut(u64) -> Option<u64>) -> bool {
        let bounded = |left| if left == UNBOUNDED { change(left).map(|_| UNBOUNDED) } else { change(left) };
        self.0.left.fetch_update(Relaxed, Relaxed, bounded).is_ok()
    }
}

/// Nobody has looked, or there is no reserve.
const UNBOUNDED: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_not_taken_again() {
        let claims = Claims::default();
        assert!(claims.take(1 << 60, 1 << 60), "without a look there is no bound");
        assert_eq!(claims.take_share(10, 100), 10);
        claims.join();
        claims.join();
        claims.set_left(1000);
        assert_eq!(claims.clone().take_share(10, 100), 100, "an eighth is more");
        assert_eq!(claims.take_share(10, 500), 112);
        assert!(claims.take(700, 88) && !claims.take(80, 9));
        assert_eq!((claims.take_share(10, 100), claims.take_share(79, 100), claims.take_share(78, 100)), (11, 0, 0));
        claims.give(1);
        assert_eq!(claims.take_share(78, 100), 78);
    }

    #[test]
    fn claims_add_up_over_stores() {
        let (one, other) = (Claims::default(), Claims::default());
        let same = one.clone();
        one.claim(0, 70);
        same.claim(0, 30);
        one.claim(70, 20);
        assert_eq!((same.claimed(), other.claimed()), (50, 0));
        one.join();
        one.leave(20);
        assert_eq!(same.claimed(), 30);
    }
}
