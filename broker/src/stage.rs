//! The stages of a request: one enum used by code, metrics and reports, and the stamps a request carries through them.
//!
//! Time is charged to a stage when the stage ends, so the stages of a request sum to its total by construction.

use std::sync::OnceLock;
use std::time::Instant;

/// Where a request spends its time, in the order of its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Stage {
    /// From the first byte of the frame to the last, and waiting for its turn on the connection.
    Receive,
    /// Header and body become a typed request.
    Decode,
    /// On the mesh: to the owner shard and back.
    ShardHop,
    /// Checks, offsets assigned, bytes placed in the tail and the journal frame; for a fetch, planning the read.
    Validate,
    /// The frame waits for the journal to take it.
    JournalWait,
    /// The device writes the frame.
    DeviceWrite,
    /// The device flushes.
    Flush,
    /// Other replicas catch up.
    ReplicaWait,
    /// Parked until a condition or a deadline: a long poll, a group rebalance, a controller commit.
    Park,
    /// The answer is encoded, waits for the answers before it, and goes into the socket.
    Send,
}

impl Stage {
    /// All stages in order.
    pub const ALL: [Stage; STAGE_COUNT] = [
        Stage::Receive,
        Stage::Decode,
        Stage::ShardHop,
        Stage::Validate,
        Stage::JournalWait,
        Stage::DeviceWrite,
        Stage::Flush,
        Stage::ReplicaWait,
        Stage::Park,
        Stage::Send,
    ];

    /// Name in metrics and reports.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Receive => "receive",
            Stage::Decode => "decode",
            Stage::ShardHop => "shard_hop",
            Stage::Validate => "validate",
            Stage::JournalWait => "journal_wait",
            Stage::DeviceWrite => "device_write",
            Stage::Flush => "flush",
            Stage::ReplicaWait => "replica_wait",
            Stage::Park => "park",
            Stage::Send => "send",
        }
    }
}

/// Number of stages.
pub const STAGE_COUNT: usize = 10;

/// How long a request spent in each stage so far, microseconds. Small and `Copy`: it travels with the request, also over the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageStamps {
    start_us: u64,
    last_us: u64,
    spent_us: [u32; STAGE_COUNT],
}

impl StageStamps {
    /// Starts the clock. `now_us` is from one monotonic clock for the whole process, such as [`monotonic_us`].
    pub fn start(now_us: u64) -> StageStamps {
        StageStamps { start_us: now_us, last_us: now_us, spent_us: [0; STAGE_COUNT] }
    }

    /// Ends a stage: the time since the last mark is charged to it. A time before the last mark charges nothing.
    pub fn mark(&mut self, stage: Stage, now_us: u64) {
        let spent = now_us.saturating_sub(self.last_us);
        let slot = &mut self.spent_us[stage as usize];
        *slot = slot.saturating_add(u32::try_from(spent).unwrap_or(u32::MAX));
        self.last_us = self.last_us.max(now_us);
    }

    /// Takes over the stamps of a part of this request that ran elsewhere, if it ended later than what is known so far. Of parts that ran side
    /// by side the slowest one counts, because the answer waited for it.
    pub fn adopt(&mut self, part: &StageStamps) {
        if part.last_us > self.last_us {
            let start_us = self.start_us;
            *self = *part;
            self.start_us = start_us;
        }
    }

    /// Time charged to a stage, microseconds.
    pub fn spent_us(&self, stage: Stage) -> u32 {
        self.spent_us[stage as usize]
    }

    /// From the start to the last mark, microseconds: the sum of all stages.
    pub fn total_us(&self) -> u64 {
        self.last_us - self.start_us
    }

    /// The total without what was spent parked, microseconds: parking waits for an event and is nobody's fault.
    pub fn active_us(&self) -> u64 {
        self.total_us().saturating_sub(u64::from(self.spent_us(Stage::Park)))
    }

    /// Time of the last mark, on the clock of `start`.
    pub fn last_us(&self) -> u64 {
        self.last_us
    }
}

/// Microseconds on the process's monotonic clock; starts near 0 at the first call.
pub fn monotonic_us() -> u64 {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    // One more than the truth, so that a stamp of 0 can mean "never".
    ORIGIN.get_or_init(Instant::now).elapsed().as_micros() as u64 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(stamps: &StageStamps) -> u64 {
        Stage::ALL.iter().map(|s| u64::from(stamps.spent_us(*s))).sum()
    }

    #[test]
    fn stages_sum_to_the_total() {
        let mut stamps = StageStamps::start(100);
        for (stage, at) in
            [(Stage::Receive, 110), (Stage::Decode, 111), (Stage::ShardHop, 150), (Stage::Validate, 149), (Stage::ShardHop, 170)]
        {
            stamps.mark(stage, at);
        }
        assert_eq!((stamps.spent_us(Stage::ShardHop), stamps.spent_us(Stage::Validate)), (59, 0));
        assert_eq!((stamps.total_us(), sum(&stamps)), (70, 70));
        stamps.mark(Stage::Park, 1_170);
        assert_eq!((stamps.total_us(), stamps.active_us()), (1_070, 70));
    }

    #[test]
    fn the_slowest_part_counts() {
        let mut stamps = StageStamps::start(0);
        stamps.mark(Stage::Decode, 10);
        let (mut fast, mut slow) = (stamps, stamps);
        fast.mark(Stage::Flush, 20);
        slow.mark(Stage::JournalWait, 50);
        stamps.adopt(&slow);
        stamps.adopt(&fast);
        stamps.mark(Stage::Send, 60);
        assert_eq!((stamps.spent_us(Stage::Flush), stamps.spent_us(Stage::JournalWait), stamps.total_us(), sum(&stamps)), (0, 40, 60, 60));
    }

    #[test]
    fn stage_names_are_unique_and_in_order() {
        let mut names: Vec<_> = Stage::ALL.iter().map(|s| s.name()).collect();
        assert!(Stage::ALL.iter().enumerate().all(|(i, s)| *s as usize == i));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), STAGE_COUNT);
    }

    #[test]
    fn the_clock_never_gives_zero() {
        assert!(monotonic_us() > 0);
    }
}
