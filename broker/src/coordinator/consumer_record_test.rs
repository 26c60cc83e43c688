//! Tests of `consumer_record`: bytes as Kafka 4.3 writes them, round trips, refusals.

use super::super::record::{Decoded, Record};
use super::*;

fn id(byte: u8) -> TopicId {
    TopicId([byte; 16])
}

fn samples() -> Vec<ConsumerRecord> {
    let (group, member) = (|| "g".to_owned(), || "m".to_owned());
    let classic = ClassicValue { session_timeout_ms: 9, protocols: vec![("range".into(), Bytes::from_static(b"xy"))] };
    let owned = OwnedPartitions::from([(id(1), BTreeMap::from([(0, 3), (1, 4)])), (id(2), BTreeMap::from([(7, 4)]))]);
    let full = MemberValue {
        instance_id: Some("i".into()),
        rack_id: Some("r".into()),
        client_id: "c".into(),
        client_host: "/h".into(),
        topics: BTreeSet::from(["a".to_owned(), "b".to_owned()]),
        regex: Some("x.*".into()),
        rebalance_timeout_ms: 5,
        assignor: Some("uniform".into()),
        classic: Some(classic),
    };
    let current = CurrentValue {
        epoch: 4,
        previous_epoch: 3,
        state: MemberState::UnrevokedPartitions,
        assigned: owned.clone(),
        revoking: OwnedPartitions::from([(id(3), BTreeMap::from([(2, 1)]))]),
    };
    let target = Partitions::from([(id(1), BTreeSet::from([0, 1]))]);
    let regex = RegexValue { topics: BTreeSet::from(["a".to_owned()]), version: 8, timestamp_ms: 9 };
    vec![
        ConsumerRecord::Epoch { group: group(), value: Some(EpochValue { epoch: 5, metadata_hash: -2 }) },
        ConsumerRecord::Epoch { group: group(), value: Some(EpochValue { epoch: 5, metadata_hash: 0 }) },
        ConsumerRecord::Epoch { group: group(), value: None },
        ConsumerRecord::Member { group: group(), member: member(), value: Some(Box::new(full)) },
        ConsumerRecord::Member { group: group(), member: member(), value: Some(Box::default()) },
        ConsumerRecord::Member { group: group(), member: member(), value: None },
        ConsumerRecord::TargetEpoch { group: group(), value: Some(TargetEpochValue { epoch: 5, timestamp_ms: 77 }) },
        ConsumerRecord::TargetEpoch { group: group(), value: None },
        ConsumerRecord::Target { group: group(), member: member(), value: Some(target) },
        ConsumerRecord::Target { group: group(), member: member(), value: None },
        ConsumerRecord::Current { group: group(), member: member(), value: Some(current) },
        ConsumerRecord::Current { group: group(), member: member(), value: None },
        ConsumerRecord::Regex { group: group(), regex: "x.*".into(), value: Some(regex) },
        ConsumerRecord::Regex { group: group(), regex: "x.*".into(), value: None },
    ]
}

#[test]
fn every_record_comes_back_and_no_prefix_of_it_does() {
    for record in samples() {
        let record = Record::Consumer(record);
        let (key, value) = record.encode().expect("encodes");
        assert_eq!(Record::decode(&key, value.as_deref()), Ok(Decoded::Known(record.clone())));
        for cut in 2..key.len() {
            assert!(Record::decode(&key[..cut], value.as_deref()).is_err(), "{record:?}: key cut at {cut}");
        }
        let value = value.unwrap_or_default();
        for cut in 0..value.len() {
            assert!(Record::decode(&key, Some(&value[..cut])).is_err(), "{record:?}: value cut at {cut}");
        }
    }
}

#[test]
fn bytes_are_those_of_kafka() {
    let bytes = |record: ConsumerRecord| {
        let (key, value) = record.encode().expect("encodes");
        (key.to_vec(), value.map(|value| value.to_vec()))
    };
    let (key, value) = bytes(samples().remove(0));
    assert_eq!(key, b"\0\x03\0\x01g");
    // Version, epoch, one tag: number 0, 8 bytes.
    assert_eq!(value.unwrap(), b"\0\0\0\0\0\x05\x01\0\x08\xff\xff\xff\xff\xff\xff\xff\xfe");
    let (key, value) = bytes(samples().remove(8));
    assert_eq!(key, b"\0\x07\0\x01g\0\x01m");
    let id = [1; 16];
    assert_eq!(value.unwrap(), [b"\0\0\x02", &id[..], b"\x03\0\0\0\0\0\0\0\x01\0\0"].concat());
}

#[test]
fn a_newer_value_is_refused_and_a_newer_state_is_unknown() {
    let record = samples().remove(10);
    let (key, value) = record.encode().expect("encodes");
    let mut bytes = value.expect("a value").to_vec();
    // Version, epoch, previous epoch, state.
    bytes[10] = 9;
    let Ok(Decoded::Known(Record::Consumer(ConsumerRecord::Current { value: Some(current), .. }))) = Record::decode(&key, Some(&bytes))
    else {
        panic!("does not decode")
    };
    assert_eq!(current.state, MemberState::Unknown);
    bytes[1] = 1;
    assert_eq!(Record::decode(&key, Some(&bytes)), Err(RecordError::ValueVersion(1)));
}

#[test]
fn a_count_beyond_the_bytes_takes_no_memory() {
    let key = b"\0\x07\0\x01g\0\x01m";
    assert_eq!(Record::decode(key, Some(b"\0\0\xff\xff\xff\xff\x0f")), Err(RecordError::Truncated));
    let mut value = b"\0\0\x02".to_vec();
    value.extend([1; 16]);
    value.extend(b"\xff\xff\xff\xff\x0f\0");
    assert_eq!(Record::decode(key, Some(&value)), Err(RecordError::Truncated));
}
