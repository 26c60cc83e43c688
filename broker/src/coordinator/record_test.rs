//! Tests of the records of `__consumer_offsets`: bytes as Kafka has them, every cut is an error, round trips.

use coreline_wire::record::{Batches, Origin, Records};
use proptest::prelude::*;

use super::*;
use crate::coordinator::group::{ClassicState, Event, GroupCoordinator};
use crate::coordinator::partition::partition_of;
use crate::coordinator::{GroupConfig, Now, batch};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ascii"), 16).expect("hex")).collect()
}

fn known(key: &[u8], value: Option<&[u8]>) -> Record {
    match Record::decode(key, value).expect("a record") {
        Decoded::Known(record) => record,
        Decoded::Unknown(version) => panic!("key version {version} is not known"),
    }
}

fn offset_record(value: OffsetValue) -> Record {
    Record::Offset { group: "g".into(), topic: "t".into(), partition: 7, value: Some(value) }
}

fn sample_offset() -> OffsetValue {
    OffsetValue {
        offset: 42,
        leader_epoch: 5,
        metadata: "note".into(),
        commit_timestamp_ms: 1_700_000_000_000,
        expire_timestamp_ms: -1,
        topic_id: TopicId::ZERO,
    }
}

fn sample_group() -> GroupValue {
    GroupValue {
        protocol_type: "consumer".into(),
        generation: 3,
        protocol: Some("range".into()),
        leader: Some("m-1".into()),
        state_timestamp_ms: 1_700_000_000_000,
        members: vec![MemberValue {
            member_id: "m-1".into(),
            instance_id: Some("i".into()),
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
            rebalance_timeout_ms: 300_000,
            session_timeout_ms: 45_000,
            subscription: Bytes::from_static(b"\x00\x01sub"),
            assignment: Bytes::from_static(b"\x00\x01as"),
        }],
    }
}

#[test]
fn a_committed_offset_has_the_bytes_of_key_v1_and_value_v3() {
    let (key, value) = offset_record(sample_offset()).encode().expect("encodes");
    assert_eq!(key, hex("0001 0001 67 0001 74 00000007"));
    assert_eq!(value.expect("a value"), hex("0003 000000000000002a 00000005 0004 6e6f7465 0000018bcfe56800"));
}

#[test]
fn a_committed_offset_with_a_topic_id_is_written_as_value_v4() {
    let topic_id = TopicId(std::array::from_fn(|n| n as u8));
    let (_, value) = offset_record(OffsetValue { topic_id, ..sample_offset() }).encode().expect("encodes");
    let expected = "0004 000000000000002a 00000005 05 6e6f7465 0000018bcfe56800 01 00 10 000102030405060708090a0b0c0d0e0f";
    assert_eq!(value.expect("a value"), hex(expected));
}

/// Segments of `__consumer_offsets` (8 partitions) as Apache Kafka 4.3.1 wrote them: a dynamic and a static consumer that joined,
/// committed and closed, an administrator's reset, and a commit with metadata by a client that knows names only (version 9 or below).
const KAFKA_LOGS: [(i32, &[u8]); 4] = [
    (1, include_bytes!("../../testdata/consumer_offsets/kafka-4.3.1-of-8-partition-1.log")),
    (2, include_bytes!("../../testdata/consumer_offsets/kafka-4.3.1-of-8-partition-2.log")),
    (4, include_bytes!("../../testdata/consumer_offsets/kafka-4.3.1-of-8-partition-4.log")),
    (6, include_bytes!("../../testdata/consumer_offsets/kafka-4.3.1-of-8-partition-6.log")),
];

#[test]
fn what_kafka_wrote_is_read_and_written_again_byte_by_byte() {
    let mut count = 0;
    for (partition, log) in KAFKA_LOGS {
        for batch in Batches::new(Bytes::from_static(log)) {
            let batch = batch.expect("a batch").1.validate(Origin::Log).expect("a sound batch");
            for bytes in Records::new(batch.payload(), batch.header().record_count).expect("records") {
                let bytes = bytes.expect("a record");
                let key = bytes.key.expect("a key");
                let record = known(key, bytes.value);
                let (our_key, our_value) = record.encode().expect("encodes");
                assert_eq!((&our_key[..], our_value.as_deref()), (key, bytes.value), "{record:?}");
                assert_eq!(partition_of(record.group(), 8), partition, "{record:?}");
                count += 1;
            }
        }
    }
    assert_eq!(count, 13);
}

#[test]
fn a_log_that_kafka_wrote_is_loaded() {
    let mut machine = GroupCoordinator::new(GroupConfig::default());
    let _ = machine.apply(Event::TopicFound { partitions: 8 }, Now::default());
    for partition in 0..8 {
        if let Some((_, log)) = KAFKA_LOGS.iter().find(|(of, _)| *of == partition) {
            let mut records = Vec::new();
            batch::decode(&Bytes::from_static(log), &mut records, &mut Default::default()).expect("reads");
            let _ = machine.apply(Event::Load { partition, records }, Now::default());
        }
        let _ = machine.apply(Event::Loaded { partition }, Now::default());
    }
    machine.check_against_images();
    let shape = |id: &str| machine.group(id).map(|group| (group.state(), group.generation_id(), group.members().len()));
    assert_eq!(shape("dyn"), Some((ClassicState::Empty, 2, 0)));
    assert_eq!(shape("cg"), Some((ClassicState::Empty, 2, 0)), "the static member's session ended later");
    assert_eq!(shape("simple"), Some((ClassicState::Empty, 0, 0)));
    let offset = |group: &str, partition| machine.images().find_map(|image| image.offset(group, "t", partition)).cloned();
    assert_eq!(offset("dyn", 0).map(|value| (value.offset, value.leader_epoch)), Some((20, 0)));
    assert_eq!(offset("pygroup", 0).map(|value| (value.offset, value.metadata)), Some((7, "a note".to_owned())));
}

#[test]
fn a_committed_offset_with_an_expiry_of_its_own_is_written_as_value_v1() {
    let record = offset_record(OffsetValue { expire_timestamp_ms: 1_700_000_000_001, ..sample_offset() });
    let (key, value) = record.encode().expect("encodes");
    let value = value.expect("a value");
    assert_eq!(value, hex("0001 000000000000002a 0004 6e6f7465 0000018bcfe56800 0000018bcfe56801"));
    // Version 1 has no room for the leader epoch: what is read back is what a restart would know.
    assert_eq!(
        known(&key, Some(&value)),
        offset_record(OffsetValue { leader_epoch: -1, expire_timestamp_ms: 1_700_000_000_001, ..sample_offset() })
    );
}

#[test]
fn a_group_has_the_bytes_of_key_v2_and_value_v3() {
    let (key, value) = Record::Group { group: "g".into(), value: Some(sample_group()) }.encode().expect("encodes");
    assert_eq!(key, hex("0002 0001 67"));
    assert_eq!(
        value.expect("a value"),
        hex("0003 0008 636f6e73756d6572 00000003 0005 72616e6765 0003 6d2d31 0000018bcfe56800 00000001 \
             0003 6d2d31 0001 69 0001 63 000a 2f3132372e302e302e31 000493e0 0000afc8 00000005 0001737562 00000004 00016173")
    );
}

#[test]
fn a_tombstone_has_a_key_and_no_value() {
    for record in [
        Record::Offset { group: "g".into(), topic: "t".into(), partition: 7, value: None },
        Record::Group { group: "g".into(), value: None },
    ] {
        let (key, value) = record.encode().expect("encodes");
        assert_eq!(value, None);
        assert_eq!(known(&key, None), record);
    }
}

#[test]
fn every_version_of_an_offset_value_is_read() {
    let expect = |leader_epoch, expire_timestamp_ms| offset_record(OffsetValue { leader_epoch, expire_timestamp_ms, ..sample_offset() });
    let key = hex("0001 0001 67 0001 74 00000007");
    let topic_id = TopicId(std::array::from_fn(|n| n as u8));
    let with_id = offset_record(OffsetValue { topic_id, ..sample_offset() });
    for (bytes, expected) in [
        ("0000 000000000000002a 0004 6e6f7465 0000018bcfe56800", expect(-1, -1)),
        ("0001 000000000000002a 0004 6e6f7465 0000018bcfe56800 0000018bcfe56801", expect(-1, 1_700_000_000_001)),
        ("0002 000000000000002a 0004 6e6f7465 0000018bcfe56800", expect(-1, -1)),
        ("0003 000000000000002a 00000005 0004 6e6f7465 0000018bcfe56800", expect(5, -1)),
        ("0004 000000000000002a 00000005 05 6e6f7465 0000018bcfe56800 00", expect(5, -1)),
        ("0004 000000000000002a 00000005 05 6e6f7465 0000018bcfe56800 01 00 10 000102030405060708090a0b0c0d0e0f", with_id),
    ] {
        assert_eq!(known(&key, Some(&hex(bytes))), expected, "{bytes}");
    }
}

#[test]
fn every_version_of_a_group_value_is_read() {
    let key = hex("0002 0001 67");
    let head = "0008 636f6e73756d6572 00000003 0005 72616e6765 0003 6d2d31";
    let tail = "0000afc8 00000005 0001737562 00000004 00016173";
    let expect = |state_timestamp_ms, instance_id: Option<&str>, rebalance_timeout_ms| {
        let mut value = sample_group();
        value.state_timestamp_ms = state_timestamp_ms;
        value.members[0].instance_id = instance_id.map(str::to_owned);
        value.members[0].rebalance_timeout_ms = rebalance_timeout_ms;
        Record::Group { group: "g".into(), value: Some(value) }
    };
    let stamp = "0000018bcfe56800";
    let names = "0001 63 000a 2f3132372e302e302e31";
    for (bytes, expected) in [
        (format!("0000 {head} 00000001 0003 6d2d31 {names} {tail}"), expect(-1, None, -1)),
        (format!("0001 {head} 00000001 0003 6d2d31 {names} 000493e0 {tail}"), expect(-1, None, 300_000)),
        (format!("0002 {head} {stamp} 00000001 0003 6d2d31 {names} 000493e0 {tail}"), expect(1_700_000_000_000, None, 300_000)),
        (
            format!("0003 {head} {stamp} 00000001 0003 6d2d31 0001 69 {names} 000493e0 {tail}"),
            expect(1_700_000_000_000, Some("i"), 300_000),
        ),
        (
            format!(
                "0004 09 636f6e73756d6572 00000003 06 72616e6765 04 6d2d31 {stamp} 02 04 6d2d31 02 69 02 63 0b 2f3132372e302e302e31 \
                 000493e0 0000afc8 06 0001737562 05 00016173 00 00"
            ),
            expect(1_700_000_000_000, Some("i"), 300_000),
        ),
    ] {
        assert_eq!(known(&key, Some(&hex(&bytes))), expected, "{bytes}");
    }
}

#[test]
fn keys_of_other_kinds_of_groups_are_told_apart() {
    assert_eq!(Record::decode(&hex("000b 0001 67"), Some(&hex("0000"))), Ok(Decoded::Unknown(11)));
}

#[test]
fn a_value_version_from_the_future_is_an_error() {
    assert_eq!(Record::decode(&hex("0002 0001 67"), Some(&hex("0005"))), Err(RecordError::ValueVersion(5)));
}

#[test]
fn a_count_of_members_beyond_the_bytes_allocates_nothing() {
    let value = hex("0003 0000 00000001 ffff ffff 0000000000000000 7fffffff");
    assert_eq!(Record::decode(&hex("0002 0001 67"), Some(&value)), Err(RecordError::Truncated));
}

#[test]
fn any_cut_of_key_or_value_is_an_error() {
    for record in [offset_record(sample_offset()), Record::Group { group: "g".into(), value: Some(sample_group()) }] {
        let (key, value) = record.encode().expect("encodes");
        let value = value.expect("a value");
        for cut in 0..key.len() {
            assert!(Record::decode(&key[..cut], Some(&value)).is_err(), "key of {record:?} cut at {cut}");
        }
        for cut in 0..value.len() {
            assert!(Record::decode(&key, Some(&value[..cut])).is_err(), "value of {record:?} cut at {cut}");
        }
    }
}

#[test]
fn a_text_that_does_not_fit_is_refused_when_written() {
    let record = Record::Group { group: "g".repeat(32_768), value: None };
    assert_eq!(record.encode(), Err(RecordError::TooLong));
}

fn blob() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

prop_compose! {
    fn member()(
        member_id in ".{0,20}", instance_id in proptest::option::of(".{0,9}"), client_id in ".{0,9}", client_host in ".{0,9}",
        rebalance_timeout_ms in any::<i32>(), session_timeout_ms in any::<i32>(), subscription in blob(), assignment in blob(),
    ) -> MemberValue {
        MemberValue { member_id, instance_id, client_id, client_host, rebalance_timeout_ms, session_timeout_ms, subscription, assignment }
    }
}

proptest! {
    #[test]
    fn a_group_survives_its_bytes(
        group in ".{0,20}", protocol_type in ".{0,9}", generation in any::<i32>(), protocol in proptest::option::of(".{0,9}"),
        leader in proptest::option::of(".{0,9}"), state_timestamp_ms in any::<i64>(), members in proptest::collection::vec(member(), 0..4),
    ) {
        let record = Record::Group { group, value: Some(GroupValue { protocol_type, generation, protocol, leader, state_timestamp_ms, members }) };
        let (key, value) = record.encode().expect("encodes");
        prop_assert_eq!(Record::decode(&key, value.as_deref()), Ok(Decoded::Known(record)));
    }

    #[test]
    fn an_offset_survives_its_bytes(
        group in ".{0,20}", topic in ".{0,9}", partition in any::<i32>(), offset in any::<i64>(), leader_epoch in any::<i32>(),
        metadata in ".{0,30}", commit_timestamp_ms in any::<i64>(), topic_id in 0u8..3,
    ) {
        let value = Some(OffsetValue { offset, leader_epoch, metadata, commit_timestamp_ms, expire_timestamp_ms: -1, topic_id: TopicId([topic_id; 16]) });
        let record = Record::Offset { group, topic, partition, value };
        let (key, value) = record.encode().expect("encodes");
        prop_assert_eq!(Record::decode(&key, value.as_deref()), Ok(Decoded::Known(record)));
    }

    #[test]
    fn any_bytes_are_a_record_or_an_error(key in proptest::collection::vec(any::<u8>(), 0..40), value in proptest::collection::vec(any::<u8>(), 0..200), version in 0u8..5, kind in 0u8..3) {
        let key = [&[0, kind][..], &key].concat();
        let value = [&[0, version][..], &value].concat();
        let _ = Record::decode(&key, Some(&value));
    }
}
