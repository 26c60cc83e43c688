//! The classic consumer protocol's messages inside JoinGroup and SyncGroup, and the `range` assignor that a leading member runs.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use coreline_wire::Decoder;
use kafka_protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription, consumer_protocol_assignment::TopicPartition};
use kafka_protocol::protocol::Encodable;

use super::offsets::by_topic;
use super::{Partition, text, topic_name};

/// The assignor's name in JoinGroup.
pub(crate) const RANGE: &str = "range";

/// A member's subscription for JoinGroup (version 0: topics only).
pub(crate) fn subscription(topics: &[String]) -> Bytes {
    let message = ConsumerProtocolSubscription::default().with_topics(topics.iter().map(|t| text(t)).collect());
    prefixed(&message)
}

/// The topics of a subscription, whatever its version: later ones append to the first. `None` when it cannot be read.
pub(crate) fn read_subscription(bytes: &[u8]) -> Option<Vec<String>> {
    let mut d = Decoder::new(bytes);
    (d.i16().ok()? >= 0).then_some(())?;
    // Nothing is reserved by a count from outside: each item is read before the next one is believed.
    (0..d.i32().ok()?).map(|_| string(&mut d)).collect()
}

/// A member's assignment for SyncGroup. `partitions` is sorted.
pub(crate) fn assignment(partitions: &[Partition]) -> Bytes {
    let topics = by_topic(
        partitions,
        |p| p.1,
        |name, partitions| TopicPartition::default().with_topic(topic_name(name)).with_partitions(partitions),
    );
    prefixed(&ConsumerProtocolAssignment::default().with_assigned_partitions(topics))
}

/// The partitions of an assignment; none for an empty one, `None` when it cannot be read.
pub(crate) fn read_assignment(bytes: &[u8]) -> Option<Vec<Partition>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let mut d = Decoder::new(bytes);
    (d.i16().ok()? >= 0).then_some(())?;
    let mut partitions = Vec::new();
    for _ in 0..d.i32().ok()? {
        let topic = string(&mut d)?;
        for _ in 0..d.i32().ok()? {
            partitions.push((topic.clone(), d.i32().ok()?));
        }
    }
    partitions.sort();
    Some(partitions)
}

fn string(d: &mut Decoder<'_>) -> Option<String> {
    let len = usize::try_from(d.i16().ok()?).ok()?;
    Some(std::str::from_utf8(d.bytes(len).ok()?).ok()?.to_string())
}

fn prefixed<M: Encodable>(message: &M) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(0);
    // Version 0 holds what is set here, so nothing can be refused.
    let _ = message.encode(&mut out, 0);
    out.freeze()
}

/// Divides each topic's partitions among the members that want it: neighbours together, earlier members one more where it does not come out even.
/// `members` are ids with the topics they want, in the order in which they are served.
pub(crate) fn range(members: &[(String, Vec<String>)], partitions: &BTreeMap<String, i32>) -> BTreeMap<String, Vec<Partition>> {
    let mut given: BTreeMap<String, Vec<Partition>> = members.iter().map(|(id, _)| (id.clone(), Vec::new())).collect();
    for (topic, count) in partitions {
        let takers: Vec<&String> = members.iter().filter(|(_, topics)| topics.contains(topic)).map(|(id, _)| id).collect();
        let takers_count = takers.len() as i32;
        let mut next = 0;
        for (i, id) in takers.into_iter().enumerate() {
            let share = count / takers_count + i32::from((i as i32) < count % takers_count);
            if let Some(list) = given.get_mut(id) {
                list.extend((next..next + share).map(|p| (topic.clone(), p)));
            }
            next += share;
        }
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(topic: &str, index: i32) -> Partition {
        (topic.to_string(), index)
    }

    #[test]
    fn messages_come_back_as_they_went() {
        let topics = vec!["a".to_string(), "b".to_string()];
        assert_eq!(read_subscription(&subscription(&topics)), Some(topics));
        let partitions = vec![p("a", 0), p("a", 2), p("b", 1)];
        assert_eq!(read_assignment(&assignment(&partitions)), Some(partitions));
        assert_eq!(read_assignment(&Bytes::new()), Some(vec![]));
        for bytes in [&b"\0"[..], b"\xff\xff", b"\0\0\x7f\xff\xff\xff"] {
            assert_eq!(read_subscription(bytes), None, "{bytes:?}");
            assert_eq!(read_assignment(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn every_partition_has_one_owner_among_those_who_want_it() {
        let member = |id: &str, topics: &[&str]| (id.to_string(), topics.iter().map(|t| t.to_string()).collect::<Vec<_>>());
        let members = [member("m1", &["a", "b"]), member("m2", &["a"]), member("m3", &[])];
        let given = range(&members, &[("a".to_string(), 3), ("b".to_string(), 2), ("c".to_string(), 1)].into());
        assert_eq!(given["m1"], [p("a", 0), p("a", 1), p("b", 0), p("b", 1)]);
        assert_eq!(given["m2"], [p("a", 2)]);
        assert_eq!(given["m3"], []);
    }
}
