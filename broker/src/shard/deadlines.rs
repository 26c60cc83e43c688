//! Deadlines of one shard in order, and who is woken by each. Sans-I/O: the time is an argument.
//!
//! The executor's own timers look at every timer there is on each of its turns, so a shard sets only one of them: the earliest of these.
//! Bounded by what waits: a timer per request in flight, per parked poll and per task that sleeps.

use std::collections::BTreeMap;
use std::task::Waker;

/// Names a deadline that is set. Two with the same time differ in the number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DeadlineKey {
    at_us: u64,
    number: u64,
}

/// The deadlines that are set.
#[derive(Debug, Default)]
pub struct Deadlines {
    waiting: BTreeMap<DeadlineKey, Waker>,
    next_number: u64,
}

impl Deadlines {
    /// Sets a deadline, in microseconds of the caller's clock.
    pub fn set(&mut self, at_us: u64, waker: Waker) -> DeadlineKey {
        let key = DeadlineKey { at_us, number: self.next_number };
        self.next_number += 1;
        self.waiting.insert(key, waker);
        key
    }

    /// Another waker for a deadline that is still set.
    pub fn set_waker(&mut self, key: DeadlineKey, waker: &Waker) {
        if let Some(kept) = self.waiting.get_mut(&key) {
            kept.clone_from(waker);
        }
    }

    /// Removes a deadline; nothing happens when it is gone already.
    pub fn clear(&mut self, key: DeadlineKey) {
        self.waiting.remove(&key);
    }

    /// The earliest deadline.
    pub fn next_us(&self) -> Option<u64> {
        self.waiting.first_key_value().map(|(key, _)| key.at_us)
    }

    /// Takes out the earliest deadline if it has come.
    pub fn pop_due(&mut self, now_us: u64) -> Option<Waker> {
        let first = self.waiting.first_entry()?;
        (first.key().at_us <= now_us).then(|| first.remove())
    }

    /// How many are set.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// True when none is set.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_due_in_order_and_only_once() {
        let mut deadlines = Deadlines::default();
        let late = deadlines.set(30, Waker::noop().clone());
        deadlines.set(10, Waker::noop().clone());
        let same = deadlines.set(10, Waker::noop().clone());
        assert_eq!(deadlines.next_us(), Some(10));
        assert!(deadlines.pop_due(9).is_none());
        deadlines.clear(same);
        deadlines.clear(same);
        assert_eq!(deadlines.len(), 2);
        assert!(deadlines.pop_due(10).is_some());
        assert!(deadlines.pop_due(29).is_none());
        assert_eq!(deadlines.next_us(), Some(30));
        assert!(deadlines.pop_due(31).is_some());
        deadlines.set_waker(late, Waker::noop());
        assert!(deadlines.is_empty(), "a deadline that has come stays away");
        assert_eq!(deadlines.next_us(), None);
    }
}
