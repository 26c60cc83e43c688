//! The bytes that consumers put into JoinGroup and SyncGroup: subscriptions and assignments of the protocol type `consumer`.
//!
//! The topics are read of every classic group of consumers, since they say which offsets are in use; the rest when classic members become part
//! of a consumer group, and written for them while they are. Big-endian, classic strings, versions 0 to 3:
//! subscription: topics, user data, v1 owned partitions, v2 generation, v3 rack; assignment: partitions, user data. A newer version is
//! read as the newest known one.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes};

/// The protocol type of consumers.
pub(super) const CONSUMER: &str = "consumer";
const NEWEST: i16 = 3;

/// What a consumer subscribes, as it says itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Subscription {
    pub(super) topics: BTreeSet<String>,
    /// Partitions by topic name.
    pub(super) owned: BTreeMap<String, BTreeSet<i32>>,
    pub(super) rack_id: Option<String>,
}

/// The bytes are no subscription or assignment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the embedded consumer protocol is malformed")]
pub(super) struct Malformed;

/// The topics of a subscription, whatever follows them.
pub(super) fn topics(metadata: &[u8]) -> Result<BTreeSet<String>, Malformed> {
    beginning(&mut &metadata[..]).map(|(_, topics)| topics)
}

/// Reads a subscription.
pub(super) fn subscription(metadata: &[u8]) -> Result<Subscription, Malformed> {
    let mut rest = metadata;
    let cursor = &mut rest;
    let (version, topics) = beginning(cursor)?;
    skip_blob(cursor)?;
    let owned = if version >= 1 { partitions(cursor)? } else { BTreeMap::new() };
    if version >= 2 {
        number(cursor)?;
    }
    let rack_id = if version >= 3 { text(cursor)? } else { None };
    Ok(Subscription { topics, owned, rack_id: rack_id.filter(|rack| !rack.is_empty()) })
}

/// Reads an assignment: partitions by topic name. No bytes are no partitions.
pub(super) fn assignment(bytes: &[u8]) -> Result<BTreeMap<String, BTreeSet<i32>>, Malformed> {
    if bytes.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut rest = bytes;
    version(&mut rest)?;
    partitions(&mut rest)
}

/// Writes an assignment in the version of a subscription.
pub(super) fn write_assignment(partitions: &BTreeMap<&str, Vec<i32>>, metadata: &[u8]) -> Bytes {
    let mut rest = metadata;
    let mut out = Vec::new();
    out.put_i16(version(&mut rest).unwrap_or(0));
    out.put_i32(partitions.len() as i32);
    for (topic, partitions) in partitions {
        // Names of topics have at most 249 bytes.
        out.put_i16(topic.len() as i16);
        out.put_slice(topic.as_bytes());
        out.put_i32(partitions.len() as i32);
        partitions.iter().for_each(|partition| out.put_i32(*partition));
    }
    // No user data.
    out.put_i32(-1);
    out.into()
}

/// Version and topics, the same in all versions.
fn beginning(cursor: &mut &[u8]) -> Result<(i16, BTreeSet<String>), Malformed> {
    let version = version(cursor)?;
    let mut topics = BTreeSet::new();
    for _ in 0..count(cursor)? {
        topics.insert(text(cursor)?.ok_or(Malformed)?);
    }
    Ok((version, topics))
}

fn version(cursor: &mut &[u8]) -> Result<i16, Malformed> {
    match cursor.try_get_i16().map_err(|_| Malformed)? {
        version if version < 0 => Err(Malformed),
        version => Ok(version.min(NEWEST)),
    }
}

fn number(cursor: &mut &[u8]) -> Result<i32, Malformed> {
    cursor.try_get_i32().map_err(|_| Malformed)
}

/// The length of an array, no more than what follows can hold; none of them may be null.
fn count(cursor: &mut &[u8]) -> Result<usize, Malformed> {
    let count = usize::try_from(number(cursor)?).map_err(|_| Malformed)?;
    if count > cursor.len() / 2 { Err(Malformed) } else { Ok(count) }
}

fn text(cursor: &mut &[u8]) -> Result<Option<String>, Malformed> {
    let len = cursor.try_get_i16().map_err(|_| Malformed)?;
    let Ok(len) = usize::try_from(len) else { return Ok(None) };
    let (head, tail) = cursor.split_at_checked(len).ok_or(Malformed)?;
    *cursor = tail;
    std::str::from_utf8(head).map(|text| Some(text.to_owned())).map_err(|_| Malformed)
}

fn skip_blob(cursor: &mut &[u8]) -> Result<(), Malformed> {
    let len = usize::try_from(number(cursor)?.max(0)).map_err(|_| Malformed)?;
    *cursor = cursor.get(len..).ok_or(Malformed)?;
    Ok(())
}

fn partitions(cursor: &mut &[u8]) -> Result<BTreeMap<String, BTreeSet<i32>>, Malformed> {
    let mut all: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
    for _ in 0..count(cursor)? {
        let topic = text(cursor)?.ok_or(Malformed)?;
        let partitions = all.entry(topic).or_default();
        for _ in 0..count(cursor)? {
            partitions.insert(number(cursor)?);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::consumer_protocol_subscription::TopicPartition;
    use kafka_protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicName};
    use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

    #[test]
    fn subscriptions_of_every_version_are_read() {
        for version in 0..=3i16 {
            let owned = TopicPartition::default().with_topic(TopicName(StrBytes::from_static_str("a"))).with_partitions(vec![1, 2]);
            let mut message = ConsumerProtocolSubscription::default()
                .with_topics(vec![StrBytes::from_static_str("a"), StrBytes::from_static_str("b")])
                .with_user_data(Some(Bytes::from_static(b"xyz")));
            if version >= 1 {
                message = message.with_owned_partitions(vec![owned]);
            }
            if version >= 3 {
                message = message.with_rack_id(Some(StrBytes::from_static_str("r")));
            }
            let mut bytes = Vec::new();
            bytes.put_i16(version);
            message.encode(&mut bytes, version).expect("encodes");
            let read = subscription(&bytes).expect("reads");
            assert_eq!(read.topics, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
            let owned = if version >= 1 { BTreeMap::from([("a".to_owned(), BTreeSet::from([1, 2]))]) } else { BTreeMap::new() };
            assert_eq!(read.owned, owned);
            assert_eq!(read.rack_id.is_some(), version >= 3);
            for cut in 0..bytes.len() {
                assert!(subscription(&bytes[..cut]).is_err(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn topics_are_read_from_any_version_and_damage_is_no_subscription() {
        let blob = |version: i16| [&version.to_be_bytes()[..], b"\0\0\0\x02\0\x01a\0\x02bc\xff\xff\xff\xffmore"].concat();
        for version in [0, 3, 9] {
            let blob = blob(version);
            assert_eq!(topics(&blob), Ok(BTreeSet::from(["a".to_owned(), "bc".to_owned()])), "version {version}");
            for cut in 0..13 {
                assert!(topics(&blob[..cut]).is_err(), "cut at {cut}");
            }
        }
        for damaged in
            [&blob(-1)[..], b"\0\0\x7f\xff\xff\xff", b"\0\0\xff\xff\xff\xff", b"\0\0\0\0\0\x01\0\x01\xff", b"\0\0\0\0\0\x01\xff\xff"]
        {
            assert_eq!(topics(damaged), Err(Malformed));
        }
    }

    #[test]
    fn assignments_are_written_as_they_are_read() {
        let partitions = BTreeMap::from([("a", vec![0, 2])]);
        let bytes = write_assignment(&partitions, &[0, 1]);
        assert_eq!(assignment(&bytes), Ok(BTreeMap::from([("a".to_owned(), BTreeSet::from([0, 2]))])));
        let mut rest = bytes.slice(2..);
        let message = ConsumerProtocolAssignment::decode(&mut rest, 1).expect("decodes");
        assert!(rest.is_empty());
        assert_eq!(message.assigned_partitions[0].partitions, [0, 2]);
        assert_eq!(assignment(&[]), Ok(BTreeMap::new()));
        assert_eq!(assignment(b"\0\0\x7f\xff\xff\xff"), Err(Malformed));
    }
}
