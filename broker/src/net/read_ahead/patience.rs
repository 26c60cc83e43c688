//! How long a piece of read-ahead waits for the journal: while its thread is ahead of the least rate that consumers of old records are promised.

use std::time::{Duration, Instant};

use crate::limits::{READ_GIVES_WAY_MAX, READ_PIECE_EVERY};

/// One thread's account: every piece earns the next ones some time to wait, so that a single slow write is waited for and a producer that never
/// pauses still leaves the thread one piece in [`READ_PIECE_EVERY`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// When the next piece is begun at the latest.
    due: Instant,
}

impl Patience {
    /// Nothing earned yet.
    pub(super) fn new(now: Instant) -> Patience {
        Patience { due: now }
    }

    /// Begins a window; who was idle has not earned anything, and lost nothing.
    pub(super) fn window(&mut self, now: Instant) {
        self.due = self.due.max(now + READ_PIECE_EVERY);
    }

    /// How long the next piece may still wait.
    pub(super) fn left(&self, now: Instant) -> Duration {
        self.due.saturating_duration_since(now)
    }

    /// A piece is begun: earlier than it was due earns, up to [`READ_GIVES_WAY_MAX`].
    pub(super) fn begun(&mut self, now: Instant) {
        self.due = (self.due.max(now) + READ_PIECE_EVERY).min(now + READ_GIVES_WAY_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Begins pieces, each as late as it may be or, before `busy_from`, as soon as the device is done. When each was begun.
    fn pieces(count: u32, device: Duration, busy_from: u32) -> Vec<Duration> {
        let start = Instant::now();
        let mut now = start;
        let mut patience = Patience::new(now);
        patience.window(now);
        (0..count)
            .map(|n| {
                now += if n < busy_from { Duration::ZERO } else { patience.left(now) };
                patience.begun(now);
                let at = now - start;
                now += device;
                at
            })
            .collect()
    }

    #[test]
    fn a_journal_that_never_pauses_leaves_a_piece_in_each_interval() {
        let at = pieces(100, Duration::from_micros(200), 0);
        assert_eq!(at[0], READ_PIECE_EVERY);
        assert!(at.windows(2).all(|pair| pair[1] - pair[0] == READ_PIECE_EVERY), "{at:?}");
    }

    #[test]
    fn pieces_that_did_not_have_to_wait_earn_a_longer_wait_once() {
        let device = Duration::from_micros(200);
        let at = pieces(200, device, 150);
        assert_eq!(at[150] - at[149], READ_GIVES_WAY_MAX, "all that can be earned");
        assert_eq!(at[151] - at[150], READ_PIECE_EVERY, "and it is spent");
        let few = pieces(20, device, 4);
        assert_eq!(few[4], 5 * READ_PIECE_EVERY, "what four pieces earned and the first interval");
    }

    #[test]
    fn idle_time_earns_nothing() {
        let start = Instant::now();
        let mut patience = Patience::new(start);
        let later = start + Duration::from_secs(60);
        assert_eq!(patience.left(later), Duration::ZERO);
        patience.window(later);
        assert_eq!(patience.left(later), READ_PIECE_EVERY);
        patience.begun(later);
        patience.window(later);
        assert_eq!(patience.left(later), 2 * READ_PIECE_EVERY, "a next window keeps what was earned");
    }
}
