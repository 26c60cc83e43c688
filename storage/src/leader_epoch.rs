//! Leader epochs of one log: epoch -> first offset written under it; where two logs diverge (KIP-101, KIP-279).
//!
//! Epochs and their start offsets both strictly increase. Lives in memory, is saved in the checkpoint table and rebuilt above the recovery
//! point by replaying batches. Callers: appender, loader, `Log::epoch_end_offset`.

/// One epoch and the first offset written under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    /// The leader epoch.
    pub epoch: i32,
    /// Offset of the first batch that carries it.
    pub start_offset: i64,
}

/// The epochs of a log, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    entries: Vec<EpochStart>,
}

impl LeaderEpochs {
    /// Builds from saved entries; an error text when they do not strictly increase.
    pub fn from_entries(entries: Vec<EpochStart>) -> Result<LeaderEpochs, &'static str> {
        let ordered = entries.windows(2).all(|w| w[0].epoch < w[1].epoch && w[0].start_offset < w[1].start_offset);
        let positive = entries.iter().all(|e| e.epoch >= 0 && e.start_offset >= 0);
        if ordered && positive { Ok(LeaderEpochs { entries }) } else { Err("leader epochs do not strictly increase") }
    }

    /// Entries, oldest first.
    pub fn entries(&self) -> &[EpochStart] {
        &self.entries
    }

    /// Epoch of the newest entry, -1 when there is none.
    pub fn latest(&self) -> i32 {
        self.entries.last().map_or(-1, |e| e.epoch)
    }

    /// Notes that a batch at `offset` carries `epoch`. Epochs that are not newer than the latest change nothing (batches without an
    /// epoch carry -1).
    pub fn observe(&mut self, epoch: i32, offset: i64) {
        if epoch < 0 || epoch <= self.latest() {
            return;
        }
        // An epoch under which nothing was written gives way to the next one that starts at the same offset.
        while self.entries.last().is_some_and(|e| e.start_offset >= offset) {
            self.entries.pop();
        }
        self.entries.push(EpochStart { epoch, start_offset: offset });
    }

    /// Answer to OffsetForLeaderEpoch: the largest epoch that is not above `epoch`, and the offset at which it ended (the start of the
    /// next epoch, or the log end). An epoch below all that are known is answered with itself and the start of the first known one: what it
    /// covered is gone from the log. `(-1, -1)` when it is above all of them (this log has never seen it and cannot tell).
    pub fn end_offset(&self, epoch: i32, log_end: i64) -> (i32, i64) {
        if epoch < 0 || epoch > self.latest() {
            return (-1, -1);
        }
        let after = self.entries.partition_point(|e| e.epoch <= epoch);
        match after.checked_sub(1) {
            None => (epoch, self.entries[0].start_offset),
            Some(at) => (self.entries[at].epoch, self.entries.get(after).map_or(log_end, |next| next.start_offset)),
        }
    }

    /// Epoch of the batch at `offset`, -1 when unknown.
    pub fn at(&self, offset: i64) -> i32 {
        let after = self.entries.partition_point(|e| e.start_offset <= offset);
        after.checked_sub(1).map_or(-1, |at| self.entries[at].epoch)
    }

    /// Forgets epochs that end at or below the new log start; the one that covers it now starts there.
    pub fn truncate_front(&mut self, log_start: i64) {
        let after = self.entries.partition_point(|e| e.start_offset <= log_start);
        if after > 1 {
            self.entries.drain(..after - 1);
        }
        if let Some(first) = self.entries.first_mut() {
            first.start_offset = first.start_offset.max(log_start);
        }
    }

    /// Forgets epochs that start at or above `end`.
    pub fn truncate_back(&mut self, end: i64) {
        self.entries.retain(|e| e.start_offset < end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
        LeaderEpochs::from_entries(entries.iter().map(|&(epoch, start_offset)| EpochStart { epoch, start_offset }).collect()).unwrap()
    }

    #[test]
    fn observe_keeps_both_columns_strictly_increasing() {
        let mut e = LeaderEpochs::default();
        for (epoch, offset) in [(-1, 0), (0, 0), (0, 5), (2, 9), (1, 12), (3, 9)] {
            e.observe(epoch, offset);
        }
        assert_eq!(e, epochs(&[(0, 0), (3, 9)]));
    }

    #[test]
    fn end_offset_follows_kip_279() {
        let e = epochs(&[(1, 10), (3, 20), (6, 30)]);
        for (asked, expected) in
            [(0, (0, 10)), (1, (1, 20)), (2, (1, 20)), (3, (3, 30)), (5, (3, 30)), (6, (6, 44)), (7, (-1, -1)), (-1, (-1, -1))]
        {
            assert_eq!(e.end_offset(asked, 44), expected, "epoch {asked}");
        }
    }

    #[test]
    fn epoch_at_an_offset() {
        let e = epochs(&[(1, 10), (3, 20)]);
        for (offset, expected) in [(9, -1), (10, 1), (19, 1), (20, 3), (99, 3)] {
            assert_eq!(e.at(offset), expected);
        }
    }

    #[test]
    fn truncation_at_both_ends() {
        let mut e = epochs(&[(1, 10), (3, 20), (6, 30)]);
        e.truncate_front(25);
        assert_eq!(e, epochs(&[(3, 25), (6, 30)]));
        e.truncate_back(30);
        assert_eq!(e, epochs(&[(3, 25)]));
        assert_eq!(e.latest(), 3);
    }

    #[test]
    fn saved_entries_out_of_order_are_refused() {
        let bad = vec![EpochStart { epoch: 2, start_offset: 5 }, EpochStart { epoch: 2, start_offset: 6 }];
        assert!(LeaderEpochs::from_entries(bad).is_err());
    }
}
