//! Identifiers that every crate shares: topic ids and the partition key built from them.
//!
//! Callers: all crates. Scalars of the protocol (offsets, epochs, broker ids) are plain aliases with a documented unit.

use std::fmt;

/// Number of a partition within its topic, from 0.
pub type PartitionIndex = i32;
/// Logical number of a record in a partition, from 0; -1 means "none" on the wire.
pub type Offset = i64;
/// Epoch of a partition's leader; -1 means "unknown" on the wire.
pub type LeaderEpoch = i32;
/// Node id of a broker.
pub type BrokerId = i32;
/// Id of an idempotent or transactional producer; -1 means "none".
pub type ProducerId = i64;
/// Epoch of a producer id; -1 means "none".
pub type ProducerEpoch = i16;

/// The 128-bit id of a topic (KIP-516). Shown as Kafka shows it: url-safe base64 without padding, 22 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// The all-zero id, which the protocol uses for "no id".
    pub const ZERO: TopicId = TopicId([0; 16]);

    /// True for the id that stands for "no id".
    pub fn is_zero(&self) -> bool {
        self.0 == [0; 16]
    }
}

const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from_be_bytes(self.0);
        let mut out = [0u8; 22];
        // 128 bits = 21 groups of 6 and one of 2, which base64 pads with four zero bits.
        for (i, slot) in out.iter_mut().enumerate() {
            let shift = 122 - 6 * i as i32;
            let group = if shift >= 0 { bits >> shift } else { bits << -shift };
            *slot = BASE64_URL[(group & 63) as usize];
        }
        f.write_str(std::str::from_utf8(&out).unwrap_or("?"))
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicId({self})")
    }
}

/// One partition of one topic, by topic id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicId,
    /// The partition's number within it.
    pub partition: PartitionIndex,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_as_kafka_does() {
        // Kafka's `Uuid.ONE_UUID`-style rendering: 16 bytes, last one 1.
        let mut one = [0u8; 16];
        one[15] = 1;
        assert_eq!(TopicId(one).to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(TopicId([0xff; 16]).to_string(), "_____________________w");
    }
}
