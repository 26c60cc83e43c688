//! `Settling`: up to which offset a log's appends are what their durability class promises, so that they may be acknowledged and read. Pure.
//!
//! A durable batch waits until its frame is flushed, a replicated one until it is written, a memory one for nothing but the batches before it: an
//! acknowledgement covers all offsets below. The class may change between two appends. Batches of one class only: the settled end is the
//! durable end, the written end, or the log's end.

use crate::config::DurabilityClass;

/// The bookkeeping of one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settling {
    /// Offset behind the newest batch appended as durable.
    durable_until: i64,
    /// Offset behind the newest batch appended as replicated.
    written_until: i64,
    /// Everything below that is of class replicated is written.
    written_end: i64,
    settled_end: i64,
    /// Records appended in a weaker class since the last one that was flushed, and when the first of them came.
    unflushed_records: i64,
    unflushed_since_ms: i64,
}

impl Settling {
    /// Of a log of which everything below `end` is durable.
    pub fn new(end: i64) -> Settling {
        Settling { durable_until: end, written_until: end, written_end: end, settled_end: end, unflushed_records: 0, unflushed_since_ms: 0 }
    }

    /// A batch of `records` records that ends before `end` was appended.
    pub fn appended(&mut self, class: DurabilityClass, end: i64) {
        match class {
            DurabilityClass::Durable => self.durable_until = end,
            DurabilityClass::Replicated => self.written_until = end,
            DurabilityClass::Memory => {}
        }
    }

    /// Batches of class replicated are written up to `end`.
    pub fn written(&mut self, end: i64) {
        self.written_end = self.written_end.max(end);
    }

    /// Everything below may be acknowledged.
    pub fn settled_end(&self) -> i64 {
        self.settled_end
    }

    /// Moves the settled end; answers with it when it has moved.
    pub fn advance(&mut self, durable_end: i64, log_end: i64) -> Option<i64> {
        let allowed = if durable_end < self.durable_until {
            durable_end
        } else if self.written_end.max(durable_end) < self.written_until {
            self.written_end.max(durable_end)
        } else {
            log_end
        };
        (allowed > self.settled_end).then(|| {
            self.settled_end = allowed;
            allowed
        })
    }

    /// Whether a batch of a class below durable has to be flushed by `flush.messages` or `flush.ms`; it counts as appended.
    pub fn flush_due(&mut self, records: i64, now_ms: i64, flush_messages: i64, flush_ms: i64) -> bool {
        if self.unflushed_records == 0 {
            self.unflushed_since_ms = now_ms;
        }
        self.unflushed_records = self.unflushed_records.saturating_add(records);
        let due = self.unflushed_records >= flush_messages || now_ms.saturating_sub(self.unflushed_since_ms) >= flush_ms;
        if due {
            self.unflushed_records = 0;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DurabilityClass::{Durable, Memory, Replicated};
    use proptest::prelude::*;

    #[test]
    fn each_class_settles_by_its_own_mark() {
        let mut s = Settling::new(10);
        s.appended(Memory, 12);
        assert_eq!(s.advance(10, 12), Some(12));
        s.appended(Replicated, 15);
        assert_eq!(s.advance(10, 15), None);
        s.written(15);
        assert_eq!((s.advance(10, 15), s.advance(10, 15)), (Some(15), None));
        s.appended(Durable, 20);
        s.written(20);
        assert_eq!(s.advance(10, 20), None, "written is not durable");
        assert_eq!((s.advance(15, 20), s.advance(20, 20)), (None, Some(20)));
    }

    #[test]
    fn a_weaker_batch_waits_for_a_stronger_one_before_it() {
        let mut s = Settling::new(0);
        s.appended(Durable, 1);
        s.appended(Memory, 2);
        assert_eq!((s.advance(0, 2), s.advance(1, 2)), (None, Some(2)));
        s.appended(Replicated, 3);
        s.appended(Memory, 4);
        assert_eq!(s.advance(1, 4), None);
        s.written(3);
        assert_eq!(s.advance(1, 4), Some(4));
    }

    #[test]
    fn flushes_are_due_by_records_and_by_age() {
        let mut s = Settling::new(0);
        let mut due = |records, now| s.flush_due(records, now, 10, 1000);
        assert_eq!([due(4, 0), due(5, 1), due(1, 2), due(9, 3), due(1, 500)], [false, false, true, false, true]);
        assert_eq!([due(1, 600), due(1, 1599), due(1, 1600), due(1, 1700)], [false, false, true, false]);
        assert!(s.flush_due(1, 5, 1, i64::MAX), "1 is each record");
    }

    proptest! {
        /// Against the definition: the longest prefix of batches of which each has what its class asks for.
        #[test]
        fn never_beyond_what_each_batch_promises(classes in proptest::collection::vec(0u8..3, 1..40), steps in proptest::collection::vec((0u8..3, 0usize..40), 1..60)) {
            let classes: Vec<_> = classes.iter().map(|c| [Durable, Replicated, Memory][usize::from(*c)]).collect();
            let mut s = Settling::new(0);
            let (mut appended, mut written, mut durable) = (0, 0, 0);
            for (step, n) in steps {
                match step {
                    0 if appended < classes.len() => {
                        appended += 1;
                        s.appended(classes[appended - 1], appended as i64);
                    }
                    1 => {
                        written = written.max(n.min(appended));
                        if let Some(last) = (0..written).rev().find(|i| classes[*i] == Replicated) {
                            s.written(last as i64 + 1);
                        }
                    }
                    _ => durable = durable.max(n.min(written)),
                }
                s.advance(durable as i64, appended as i64);
                let good = |i: &usize| match classes[*i] { Durable => *i < durable, Replicated => *i < written, Memory => true };
                let promised = (0..appended).take_while(good).count() as i64;
                prop_assert!(s.settled_end() <= promised, "{:?}", s);
                if durable == appended || classes[..appended].iter().all(|c| *c == classes[0]) {
                    prop_assert_eq!(s.settled_end(), promised);
                }
            }
        }
    }
}
