//! Splits the partitions of one request by owner shard and gathers the answers in request order. Pure.
//!
//! Callers: the handlers of partition APIs. The sending is done by `shard/mesh.rs`.

use coreline_wire::TopicPartition;

use super::ShardId;
use super::placement::owner_shard;

/// Parts of one request that go to one shard, each with its place in the request.
#[derive(Debug, PartialEq, Eq)]
pub struct Share<T> {
    /// The owner shard.
    pub shard: ShardId,
    /// Place in the request, part by part.
    pub places: Vec<usize>,
    /// The parts, in request order.
    pub parts: Vec<T>,
}

/// Splits `parts` by owner; the shares come in the order in which their shard first appears. A request that concerns one shard
/// alone, the usual case, makes one share.
pub fn split<T>(parts: impl IntoIterator<Item = (usize, TopicPartition, T)>, shards: u16) -> Vec<Share<T>> {
    let mut shares: Vec<Share<T>> = Vec::new();
    for (place, partition, part) in parts {
        let shard = owner_shard(partition, shards);
        let share = match shares.iter_mut().find(|s| s.shard == shard) {
            Some(share) => share,
            None => {
                shares.push(Share { shard, places: Vec::new(), parts: Vec::new() });
                shares.last_mut().expect("one was just pushed")
            }
        };
        share.places.push(place);
        share.parts.push(part);
    }
    shares
}

/// Puts the answers of a share at their places. Answers that are missing leave their places as they are.
pub fn gather<R>(into: &mut [Option<R>], places: &[usize], answers: impl IntoIterator<Item = R>) {
    for (&place, answer) in places.iter().zip(answers) {
        if let Some(slot) = into.get_mut(place) {
            debug_assert!(slot.is_none(), "one answer per part");
            *slot = Some(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use coreline_wire::TopicId;

    use super::*;

    #[test]
    fn what_is_split_comes_back_in_request_order() {
        for shards in 1..5 {
            let parts = (0..20).map(|p| (p as usize, TopicPartition { topic: TopicId([3; 16]), partition: p }, p));
            let shares = split(parts, shards);
            assert_eq!(shares.len(), usize::from(shards));
            let mut out = vec![None; 20];
            for share in shares.into_iter().rev() {
                assert!(share.parts.is_sorted(), "order within a shard is the request's");
                gather(&mut out, &share.places, share.parts);
            }
            assert_eq!(out, (0..20).map(Some).collect::<Vec<_>>());
        }
    }
}
