//! What the leader of a partition knows of its replicas, and where that puts the high watermark (sans-I/O).
//!
//! The high watermark is the smallest log end offset among the in-sync replicas, where the leader counts its own log as far as it is what
//! the topic's durability class promises: what a consumer has read of a durable topic is then on every in-sync replica's disk. It never goes
//! back within a leader epoch.
//! Caller: `partition/mod.rs`.

use std::collections::BTreeMap;

use coreline_wire::ids::{BrokerId, LeaderEpoch, Offset};

/// State of the leader of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderState {
    epoch: LeaderEpoch,
    high_watermark: Offset,
    /// Settled log end offset of each in-sync replica, the leader's own among them.
    in_sync: BTreeMap<BrokerId, Offset>,
}

impl LeaderState {
    /// Takes leadership in `epoch` with the in-sync replicas `isr`, of which nothing is known above `high_watermark` yet.
    pub fn new(epoch: LeaderEpoch, isr: &[BrokerId], high_watermark: Offset) -> LeaderState {
        assert!(!isr.is_empty(), "a leader is in its own ISR");
        LeaderState { epoch, high_watermark, in_sync: isr.iter().map(|&id| (id, high_watermark)).collect() }
    }

    /// The leader epoch.
    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// Everything below is on all in-sync replicas.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Number of in-sync replicas.
    pub fn in_sync_count(&self) -> usize {
        self.in_sync.len()
    }

    /// A replica has everything below `end`; returns the high watermark if that moved it. Replicas outside the ISR move nothing.
    pub fn replica_end(&mut self, replica: BrokerId, end: Offset) -> Option<Offset> {
        let known = self.in_sync.get_mut(&replica)?;
        *known = end.max(*known);
        let lowest = self.in_sync.values().copied().min()?;
        if lowest <= self.high_watermark {
            return None;
        }
        self.high_watermark = lowest;
        Some(lowest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alone_the_leader_moves_it_by_its_own_settled_end() {
        let mut s = LeaderState::new(0, &[1], 10);
        assert_eq!(s.replica_end(1, 15), Some(15));
        assert_eq!(s.replica_end(1, 15), None);
        assert_eq!(s.replica_end(1, 12), None, "late news does not move it back");
        assert_eq!(s.high_watermark(), 15);
    }

    #[test]
    fn the_slowest_in_sync_replica_decides() {
        let mut s = LeaderState::new(3, &[1, 2, 3], 0);
        assert_eq!(s.replica_end(1, 100), None);
        assert_eq!(s.replica_end(2, 50), None);
        assert_eq!(s.replica_end(9, 7), None, "not in the ISR");
        assert_eq!(s.replica_end(3, 20), Some(20));
        assert_eq!(s.replica_end(3, 70), Some(50));
        assert_eq!(s.high_watermark(), 50);
    }
}
