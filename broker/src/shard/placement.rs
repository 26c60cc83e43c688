//! Which shard of this node owns a partition: a pure function of the topic id, the partition and the number of shards.
//!
//! Nothing of it is written to disk, so a restart with another number of shards only changes the answers of this function.
//! Callers: `shard/route.rs` (every request), `partition/manager.rs` (which logs to open).

use coreline_wire::TopicPartition;

use super::ShardId;

/// The owner shard of `partition` among `shards` shards.
///
/// Partitions of one topic go round robin over the shards, starting at a shard that the topic id decides, so that the partitions of a
/// topic spread evenly and single-partition topics spread too.
pub fn owner_shard(partition: TopicPartition, shards: u16) -> ShardId {
    assert!(shards > 0, "a node has at least one shard");
    let id = u128::from_be_bytes(partition.topic.0);
    // Ids are random as a rule, but nothing here relies on it: a multiplicative mix of both halves spreads similar ids too.
    let high = ((id >> 64) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let seed = (high ^ (id as u64)).wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 32;
    let start = seed % u64::from(shards);
    let index = partition.partition.max(0) as u64;
    ShardId(((start + index) % u64::from(shards)) as u16)
}

#[cfg(test)]
mod tests {
    use coreline_wire::TopicId;

    use super::*;

    fn tp(id: u8, partition: i32) -> TopicPartition {
        let mut bytes = [id; 16];
        bytes[15] = id.wrapping_mul(37);
        TopicPartition { topic: TopicId(bytes), partition }
    }

    #[test]
    fn one_shard_owns_everything() {
        for p in 0..100 {
            assert_eq!(owner_shard(tp(7, p), 1), ShardId(0));
        }
    }

    #[test]
    fn partitions_of_a_topic_spread_evenly() {
        for shards in 2..=16u16 {
            let mut counts = vec![0; usize::from(shards)];
            for p in 0..i32::from(shards) * 4 {
                counts[usize::from(owner_shard(tp(9, p), shards).0)] += 1;
            }
            assert!(counts.iter().all(|&c| c == 4), "{shards} shards: {counts:?}");
        }
    }

    #[test]
    fn single_partition_topics_spread() {
        let mut counts = [0; 4];
        for id in 0..=255 {
            counts[usize::from(owner_shard(tp(id, 0), 4).0)] += 1;
        }
        assert!(counts.iter().all(|&c| c > 30), "{counts:?}");
    }
}
