//! Deadlines of the group machine, in order. Times are ticks (milliseconds of the monotonic clock).

use std::collections::{BTreeMap, BTreeSet};

use super::group::Timer;

/// Timers by deadline. Bounded by what the machine sets: one per member, two per group, one for all.
#[derive(Debug, Default)]
pub(super) struct TimerSet {
    deadlines: BTreeMap<Timer, i64>,
    order: BTreeSet<(i64, Timer)>,
}

impl TimerSet {
    /// Sets or replaces a deadline.
    pub(super) fn set(&mut self, timer: Timer, at_ms: i64) {
        if let Some(before) = self.deadlines.insert(timer.clone(), at_ms) {
            if before == at_ms {
                return;
            }
            self.order.remove(&(before, timer.clone()));
        }
        self.order.insert((at_ms, timer));
        debug_assert_eq!(self.deadlines.len(), self.order.len());
    }

    /// Removes a deadline, if it is set.
    pub(super) fn clear(&mut self, timer: &Timer) {
        if let Some(at_ms) = self.deadlines.remove(timer) {
            self.order.remove(&(at_ms, timer.clone()));
        }
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<i64> {
        self.order.first().map(|(at_ms, _)| *at_ms)
    }

    /// Takes out the earliest timer whose deadline has come.
    pub(super) fn pop_due(&mut self, now_ms: i64) -> Option<Timer> {
        if self.next()? > now_ms {
            return None;
        }
        let (_, timer) = self.order.pop_first()?;
        self.deadlines.remove(&timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    #[test]
    fn a_timer_that_is_set_again_has_only_its_last_deadline() {
        let mut timers = TimerSet::default();
        let (a, b) = (Timer::Rebalance(Rc::from("a")), Timer::Rebalance(Rc::from("b")));
        timers.set(a.clone(), 10);
        timers.set(b.clone(), 20);
        timers.set(a.clone(), 30);
        assert_eq!(timers.next(), Some(20));
        assert_eq!(timers.pop_due(19), None);
        assert_eq!(timers.pop_due(40), Some(b));
        assert_eq!(timers.pop_due(40), Some(a.clone()));
        assert_eq!(timers.pop_due(40), None);
        timers.set(a.clone(), 50);
        timers.clear(&a);
        assert_eq!(timers.next(), None);
    }
}
