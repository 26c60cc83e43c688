//! Counts the journal's writes and flushes that the devices of this process are at, so that reading which can wait gives way to them.

use std::sync::atomic::{AtomicUsize, Ordering};

static IN_FLIGHT: AtomicUsize = AtomicUsize::new(0);

/// A journal's write or flush in flight, from before it is submitted until it is dropped.
#[derive(Debug)]
pub struct JournalIo(());

impl JournalIo {
    /// One more is in flight.
    pub fn begin() -> JournalIo {
        IN_FLIGHT.fetch_add(1, Ordering::Relaxed);
        JournalIo(())
    }

    /// How many are, of all shards of the process. A hint: it orders nothing.
    pub fn in_flight() -> usize {
        IN_FLIGHT.load(Ordering::Relaxed)
    }
}

impl Drop for JournalIo {
    fn drop(&mut self) {
        IN_FLIGHT.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_begun_counts_until_it_is_dropped() {
        let (first, second) = (JournalIo::begin(), JournalIo::begin());
        // Other tests of this process write journals too.
        assert!(JournalIo::in_flight() >= 2);
        drop(first);
        assert!(JournalIo::in_flight() >= 1);
        drop(second);
    }
}
