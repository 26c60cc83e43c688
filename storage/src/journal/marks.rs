//! `Marks`: how far the frames of a journal are written, and how far they are durable. Pure bookkeeping for `writer.rs`.
//!
//! A frame is durable by its own write (`O_DSYNC`), or by a flush that began after its write. The first kind is only used while nothing of the
//! second kind is outstanding, so that above `completed` there are first frames of the one kind, then of the other:
//!
//! ```text
//!  .. completed | by itself .. by itself | plain .. plain | not taken yet
//!                                          ^ plain_from
//! ```
//! A frame that is durable while one before it is not would be lost with it: replay ends at the first frame that is missing.

/// The marks. See the file's header.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// Frames up to here are written.
    written: u64,
    /// Bit i: frame `written + 1 + i` is written already.
    written_ahead: u32,
    /// Frames up to here are durable.
    completed: u64,
    /// Newest frame that the writer has taken.
    taken: u64,
    /// Oldest frame above `completed` that needs a flush; all taken after it do.
    plain_from: Option<u64>,
}

impl Marks {
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn completed(&self) -> u64 {
        self.completed
    }

    /// Whether a frame up to `sequence` waits for a flush, or will.
    pub(super) fn needs_flush(&self, sequence: u64) -> bool {
        self.plain_from.is_some_and(|from| from <= sequence)
    }

    /// The writer takes the next frame. True when its own write shall make it durable, which is possible only where nothing before it waits for a flush.
    pub(super) fn take(&mut self, sequence: u64, by_itself: bool) -> bool {
        debug_assert_eq!(sequence, self.taken + 1);
        self.taken = sequence;
        let by_itself = by_itself && self.plain_from.is_none();
        if !by_itself {
            self.plain_from.get_or_insert(sequence);
        }
        by_itself
    }

    /// A frame's write has completed.
    pub(super) fn wrote(&mut self, sequence: u64) {
        let ahead = sequence - self.written - 1;
        assert!(sequence <= self.taken && ahead < u64::from(u32::BITS), "frame {sequence} is outside the window after {}", self.written);
        self.written_ahead |= 1 << ahead;
        while self.written_ahead & 1 == 1 {
            self.written_ahead >>= 1;
            self.written += 1;
        }
        let by_itself = self.plain_from.map_or(self.written, |from| self.written.min(from - 1));
        self.completed = self.completed.max(by_itself);
    }

    /// A flush has completed that began when everything up to `target` was written.
    pub(super) fn flushed(&mut self, target: u64) {
        debug_assert!(target <= self.written);
        self.completed = self.completed.max(target);
        if self.plain_from.is_some_and(|from| from <= target) {
            self.plain_from = (self.taken > target).then_some(target + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn frames_that_are_durable_by_themselves_complete_in_order() {
        let mut marks = Marks::default();
        assert!(marks.take(1, true) && marks.take(2, true));
        marks.wrote(2);
        assert_eq!((marks.written(), marks.completed()), (0, 0));
        marks.wrote(1);
        assert_eq!((marks.written(), marks.completed()), (2, 2));
    }

    #[test]
    fn behind_a_plain_frame_nothing_is_durable_before_a_flush() {
        let mut marks = Marks::default();
        assert!(!marks.take(1, false));
        marks.wrote(1);
        assert!(!marks.take(2, true), "the one before it could be lost");
        marks.wrote(2);
        assert_eq!((marks.written(), marks.completed(), marks.needs_flush(1)), (2, 0, true));
        assert!(!marks.take(3, true));
        marks.flushed(2);
        assert_eq!((marks.completed(), marks.needs_flush(3)), (2, true), "the third was not written when the flush began");
        marks.wrote(3);
        marks.flushed(3);
        assert!(marks.take(4, true), "nothing waits for a flush any more");
        marks.wrote(4);
        assert_eq!(marks.completed(), 4);
    }

    proptest! {
        /// Against a model that knows of each frame whether it is written and durable.
        #[test]
        fn completed_is_the_last_frame_up_to_which_all_are_durable(steps in proptest::collection::vec((0u8..4, any::<u8>()), 1..200)) {
            let mut marks = Marks::default();
            let (mut kinds, mut written, mut durable) = (vec![], vec![], vec![]);
            let mut flush: Option<u64> = None;
            for (step, pick) in steps {
                match step {
                    0 if kinds.len() < marks.written() as usize + 4 => {
                        let by_itself = marks.take(kinds.len() as u64 + 1, pick % 3 != 0);
                        kinds.push(by_itself);
                        written.push(false);
                        durable.push(false);
                    }
                    1 => {
                        let open: Vec<usize> = (0..kinds.len()).filter(|i| !written[*i]).collect();
                        if !open.is_empty() {
                            let i = open[pick as usize % open.len()];
                            written[i] = true;
                            durable[i] = kinds[i];
                            marks.wrote(i as u64 + 1);
                        }
                    }
                    2 => flush = flush.or(Some(marks.written())),
                    _ => if let Some(target) = flush.take() {
                        durable[..target as usize].fill(true);
                        marks.flushed(target);
                    },
                }
                let prefix = |all: &[bool]| all.iter().take_while(|b| **b).count() as u64;
                prop_assert_eq!(marks.written(), prefix(&written));
                // Never too far; and not short of it while no flush is outstanding.
                prop_assert!(marks.completed() <= prefix(&durable));
                prop_assert!(marks.completed() == prefix(&durable) || marks.needs_flush(marks.completed() + 1));
            }
        }
    }
}
