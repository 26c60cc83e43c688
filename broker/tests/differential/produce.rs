//! Produce: what is accepted, with which offsets, and how each kind of bad batch is refused. InitProducerId.

use bytes::Bytes;
use coreline_wire::record::attributes::{Compression, TimestampType};
use coreline_wire::record::batch::patch_crc;
use coreline_wire::record::builder::BatchBuilder;
use kafka_protocol::messages::{
    InitProducerIdRequest, ProduceRequest, ProduceResponse, ProducerId, TransactionalId, produce_request as pr,
};
use uuid::Uuid;

use super::session::{Session, s};
use crate::common;

/// A batch of `count` small records from `base` on.
pub fn batch(count: i32) -> BatchBuilder {
    let mut builder = BatchBuilder::new();
    for i in 0..count {
        builder.push(1000 + i64::from(i), Some(b"k"), Some(format!("value {i}").as_bytes()), &[("h", Some(b"x"))]);
    }
    builder
}

/// One partition of one topic.
pub fn request(session: &Session, topic: &str, partition: i32, records: Option<Bytes>) -> ProduceRequest {
    let data = pr::PartitionProduceData::default().with_index(partition).with_records(records);
    let topic = pr::TopicProduceData::default().with_name(session.topic(topic)).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(-1).with_timeout_ms(5000).with_topic_data(vec![topic])
}

/// Produces and expects success.
pub fn put(session: &mut Session, topic: &str, partition: i32, records: Bytes) {
    let request = request(session, topic, partition, Some(records));
    let answer = session.call(9, &request).unwrap();
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0, "{answer:?}");
}

/// The answer, of messages only whether they are there where single records are at fault. Otherwise ours say why, where Kafka's are mostly
/// null.
fn tell(_: &Session, response: &ProduceResponse) -> String {
    let mut response = response.clone();
    for partition in response.responses.iter_mut().flat_map(|t| t.partition_responses.iter_mut()) {
        let names_records = !partition.record_errors.is_empty();
        partition.error_message = partition.error_message.take().filter(|_| names_records).map(|_| s("words"));
        for error in &mut partition.record_errors {
            error.batch_index_error_message = error.batch_index_error_message.as_ref().map(|_| s("words"));
        }
    }
    format!("{response:?}")
}

/// The same where what came before decides on the offset.
fn tell_without_offset(session: &Session, response: &ProduceResponse) -> String {
    let mut response = response.clone();
    response.responses.iter_mut().flat_map(|t| t.partition_responses.iter_mut()).for_each(|p| p.base_offset = p.base_offset.min(0));
    tell(session, &response)
}

fn patched(mut builder: BatchBuilder, at: usize, bytes: &[u8], crc: bool) -> Bytes {
    if builder.record_count() == 0 {
        builder.push(1000, Some(b"k"), Some(b"v"), &[]);
    }
    let mut batch = builder.build().unwrap().to_vec();
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    if crc {
        patch_crc(&mut batch);
    }
    Bytes::from(batch)
}

/// All of this file.
pub fn cases(session: &mut Session) {
    happy(session);
    addressed(session);
    refused(session);
    timestamps(session);
    by_topic_config(session);
    producers(session);
    unanswered(session);
    producer_ids(session);
}

fn happy(session: &mut Session) {
    let id = session.create("plain", 2, &[]);
    for version in 3..=12 {
        let request = request(session, "plain", 0, Some(batch(3).build().unwrap()));
        session.ask_as("three records", version, &request, tell);
    }
    let topic = |id| {
        let data = pr::PartitionProduceData::default().with_index(0).with_records(Some(batch(1).build().unwrap()));
        let topic = pr::TopicProduceData::default().with_topic_id(id).with_partition_data(vec![data]);
        ProduceRequest::default().with_acks(1).with_timeout_ms(5000).with_topic_data(vec![topic])
    };
    session.ask_as("by id", 13, &topic(id), tell);
    session.ask_as("unknown id", 13, &topic(Uuid::from_u128(0x1234_5678_1234_5678_1234_5678_1234_5678)), tell);
    session.ask_as("nil id", 13, &topic(Uuid::nil()), tell);
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let records = batch(5).compression(codec, None).build().unwrap();
        for version in 3..=12 {
            let request = request(session, "plain", 1, Some(records.clone()));
            session.ask_as(&format!("{codec:?}"), version, &request, tell);
        }
    }
}

fn addressed(session: &mut Session) {
    let records = || Some(batch(1).build().unwrap());
    for (case, topic, partition) in [
        ("unknown topic", "nowhere", 0),
        ("unknown partition", "plain", 2),
        ("partition -1", "plain", -1),
        ("invalid topic", "no where", 0),
    ] {
        for version in 3..=12 {
            let request = request(session, topic, partition, records());
            session.ask_as(case, version, &request, tell);
        }
    }
    let empty = pr::TopicProduceData::default().with_name(session.topic("plain"));
    session.ask_as("no topics", 9, &ProduceRequest::default().with_acks(1).with_timeout_ms(5000), tell);
    session.ask_as("no partitions", 9, &ProduceRequest::default().with_acks(1).with_timeout_ms(5000).with_topic_data(vec![empty]), tell);
    let good = pr::PartitionProduceData::default().with_index(0).with_records(records());
    let bad = pr::PartitionProduceData::default().with_index(7).with_records(records());
    let topics = vec![
        pr::TopicProduceData::default().with_name(session.topic("nowhere")).with_partition_data(vec![good.clone()]),
        pr::TopicProduceData::default().with_name(session.topic("plain")).with_partition_data(vec![bad, good]),
    ];
    let mixed = ProduceRequest::default().with_acks(-1).with_timeout_ms(5000).with_topic_data(topics);
    session.ask_as("good and bad", 9, &mixed, |_, r| {
        let mut r = r.clone();
        r.responses.sort_by(|a, b| a.name.0.cmp(&b.name.0));
        r.responses.iter_mut().for_each(|t| t.partition_responses.sort_by_key(|p| p.index));
        format!("{r:?}")
    });
    let internal = pr::PartitionProduceData::default().with_index(0).with_records(records());
    let name = kafka_protocol::messages::TopicName(s("__consumer_offsets"));
    let topics = vec![pr::TopicProduceData::default().with_name(name).with_partition_data(vec![internal])];
    super::groups::ready(session);
    session.ask_as("internal topic", 9, &ProduceRequest::default().with_acks(1).with_timeout_ms(5000).with_topic_data(topics), tell);
    for acks in [2, -2, 3] {
        let request = request(session, "plain", 0, records()).with_acks(acks);
        session.ask_as(&format!("acks {acks}"), 9, &request, tell);
    }
    let transactional = request(session, "plain", 0, records()).with_transactional_id(Some(TransactionalId(s("t"))));
    session.ask_as("transactional id without transaction", 9, &transactional, tell);
}

fn refused(session: &mut Session) {
    session.create("refusing", 1, &[]);
    let one = || batch(1);
    let two = [batch(1).build().unwrap(), batch(1).build().unwrap()].concat();
    let whole = batch(1).build().unwrap();
    let cases: Vec<(&str, Option<Bytes>)> = vec![
        ("empty records", Some(Bytes::new())),
        ("half a header", Some(whole.slice(..30))),
        ("cut batch", Some(whole.slice(..whole.len() - 3))),
        ("two batches", Some(Bytes::from(two))),
        ("bytes behind the batch", Some(Bytes::from([&whole[..], b"tail"].concat()))),
        ("magic 0", Some(patched(one(), 16, &[0], false))),
        ("magic 1", Some(patched(one(), 16, &[1], false))),
        ("magic 3", Some(patched(one(), 16, &[3], false))),
        ("wrong checksum", Some(patched(one(), 17, &[1, 2, 3, 4], false))),
        ("changed value", Some(patched(one(), 70, b"!", false))),
        ("base offset 5", Some(patched(one(), 0, &5i64.to_be_bytes(), false))),
        ("small length", Some(patched(one(), 8, &10i32.to_be_bytes(), false))),
        ("negative length", Some(patched(one(), 8, &(-1i32).to_be_bytes(), false))),
        ("large length", Some(patched(one(), 8, &100_000i32.to_be_bytes(), false))),
        ("count 0", Some(patched(one(), 57, &0i32.to_be_bytes(), true))),
        ("count 2 of 1", Some(patched(one(), 57, &2i32.to_be_bytes(), true))),
        ("count -1", Some(patched(one(), 57, &(-1i32).to_be_bytes(), true))),
        ("last offset delta 3", Some(patched(one(), 23, &3i32.to_be_bytes(), true))),
        ("last offset delta -1", Some(patched(one(), 23, &(-1i32).to_be_bytes(), true))),
        ("count and delta too large", Some(patched(patch_twice(), 23, &3i32.to_be_bytes(), true))),
        ("leader epoch set", Some(patched(one(), 12, &9i32.to_be_bytes(), false))),
        ("codec 5", Some(patched(one(), 21, &5i16.to_be_bytes(), true))),
        ("codec 7", Some(patched(one(), 21, &7i16.to_be_bytes(), true))),
        ("codec gzip on plain bytes", Some(patched(one(), 21, &1i16.to_be_bytes(), true))),
        ("control batch", Some(patched(one(), 21, &0x20i16.to_be_bytes(), true))),
        ("transactional without producer", Some(patched(one(), 21, &0x10i16.to_be_bytes(), true))),
        ("delete horizon bit", Some(patched(one(), 21, &0x40i16.to_be_bytes(), true))),
        ("reserved bit", Some(patched(one(), 21, &0x100i16.to_be_bytes(), true))),
        ("wrong max timestamp", Some(patched(one(), 35, &99_000i64.to_be_bytes(), true))),
        ("negative max timestamp", Some(patched(one(), 35, &(-1i64).to_be_bytes(), true))),
        ("producer without sequence", Some(one().producer(4000, 0, -1).build().unwrap())),
        ("sequence without producer", Some(one().producer(-1, -1, 5).build().unwrap())),
        ("producer with epoch -1", Some(one().producer(4000, -1, 0).build().unwrap())),
        ("record length beyond the batch", Some(patched(one(), 61, &[0x7e], true))),
        ("record of length 0", Some(patched(one(), 61, &[0], true))),
        ("record offset delta 1", Some(patched(one(), 64, &[2], true))),
    ];
    for (case, records) in cases {
        let request = request(session, "refusing", 0, records);
        session.ask_as(case, 9, &request, tell_without_offset);
    }
    for version in [3, 7, 8] {
        let request = request(session, "plain", 0, Some(patched(one(), 17, &[1, 2, 3, 4], false)));
        session.ask_as("wrong checksum", version, &request, tell);
    }
}

fn patch_twice() -> BatchBuilder {
    let mut builder = batch(1);
    builder.push_at(3, 2000, Some(b"k"), Some(b"v"), &[]);
    builder
}

fn stamped(timestamp: i64) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.push(1000, Some(b"k"), Some(b"fine"), &[]);
    builder.push(timestamp, Some(b"k"), Some(b"v"), &[]);
    builder.build().unwrap()
}

fn now_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}

fn timestamps(session: &mut Session) {
    session.create("append-time", 1, &[("message.timestamp.type", "LogAppendTime")]);
    session.create("narrow-time", 1, &[("message.timestamp.before.max.ms", "60000"), ("message.timestamp.after.max.ms", "60000")]);
    let hour = 3_600_000;
    for version in [3, 7, 8, 9] {
        for (case, topic, records) in [
            ("append time", "append-time", stamped(2000)),
            ("append time, far ahead", "append-time", stamped(now_ms() + 10 * hour)),
            ("far ahead", "plain", stamped(now_ms() + 10 * hour)),
            ("within the hour", "plain", stamped(now_ms() + hour / 2)),
            ("long ago", "narrow-time", stamped(2000)),
            ("timestamp -1", "plain", {
                let mut b = BatchBuilder::new();
                b.push(-1, Some(b"k"), Some(b"v"), &[]);
                b.build().unwrap()
            }),
            ("append time bit", "plain", batch(1).timestamp_type(TimestampType::LogAppendTime).build().unwrap()),
            ("append time bit on append time", "append-time", batch(1).timestamp_type(TimestampType::LogAppendTime).build().unwrap()),
        ] {
            let request = request(session, topic, 0, Some(records));
            session.ask_as(case, version, &request, tell_without_offset);
        }
    }
    let request = request(
        session,
        "plain",
        0,
        Some(batch(1).timestamp_type(TimestampType::LogAppendTime).compression(Compression::Gzip, None).build().unwrap()),
    );
    session.ask_as("append time bit, compressed", 9, &request, tell_without_offset);
}

fn by_topic_config(session: &mut Session) {
    session.create("compacted", 1, &[("cleanup.policy", "compact")]);
    session.create("both-policies", 1, &[("cleanup.policy", "compact,delete")]);
    session.create("small", 1, &[("max.message.bytes", "200")]);
    session.create("gzipped", 1, &[("compression.type", "gzip")]);
    session.create("zstdd", 1, &[("compression.type", "zstd")]);
    session.create("uncompressed", 1, &[("compression.type", "uncompressed")]);
    session.create("safe", 1, &[("min.insync.replicas", "2")]);
    let keyless = |codec| {
        let mut builder = BatchBuilder::new().compression(codec, None);
        for key in [Some(&b"k"[..]), None, Some(b"k"), None] {
            builder.push(1000, key, Some(b"v"), &[]);
        }
        builder.build().unwrap()
    };
    let mut large = BatchBuilder::new();
    large.push(1000, Some(b"k"), Some(&[b'x'; 300]), &[]);
    let large = large.build().unwrap();
    let mut squeezed = BatchBuilder::new().compression(Compression::Gzip, None);
    squeezed.push(1000, Some(b"k"), Some(&[b'x'; 300]), &[]);
    let squeezed = squeezed.build().unwrap();
    for version in [3, 7, 8, 9] {
        for (case, topic, records) in [
            ("null key compacted", "compacted", keyless(Compression::None)),
            ("null key compacted, gzip", "compacted", keyless(Compression::Gzip)),
            ("null key compacted and deleted", "both-policies", keyless(Compression::None)),
            ("too large", "small", large.clone()),
            ("small when compressed", "small", squeezed.clone()),
            ("to gzip", "gzipped", batch(4).build().unwrap()),
            ("lz4 to zstd", "zstdd", batch(4).compression(Compression::Lz4, None).build().unwrap()),
            ("lz4 to none", "uncompressed", batch(4).compression(Compression::Lz4, None).build().unwrap()),
        ] {
            let request = request(session, topic, 0, Some(records));
            session.ask_as(case, version, &request, tell);
        }
    }
    for acks in [-1, 1] {
        let request = request(session, "safe", 0, Some(batch(1).build().unwrap())).with_acks(acks);
        session.ask_as(&format!("too few replicas, acks {acks}"), 9, &request, tell);
    }
    let mut huge = BatchBuilder::new();
    huge.push(1000, Some(b"k"), Some(&vec![b'x'; 1_100_000]), &[]);
    let request = request(session, "plain", 0, Some(huge.build().unwrap()));
    session.ask_as("above the default limit", 9, &request, tell);
}

fn producers(session: &mut Session) {
    session.create("idempotent", 2, &[]);
    let steps: Vec<(&str, i32, i64, i16, i32, i32)> = vec![
        // Name, partition, producer, epoch, first sequence, records.
        ("new producer from 0", 0, 5000, 0, 0, 3),
        ("next", 0, 5000, 0, 3, 2),
        ("repeated last", 0, 5000, 0, 3, 2),
        ("repeated first", 0, 5000, 0, 0, 3),
        ("gap", 0, 5000, 0, 6, 1),
        ("overlap", 0, 5000, 0, 4, 2),
        ("other length", 0, 5000, 0, 3, 1),
        ("next epoch not from 0", 0, 5000, 1, 5, 1),
        ("next epoch", 0, 5000, 1, 0, 1),
        ("old epoch", 0, 5000, 0, 5, 1),
        ("old epoch from 0", 0, 5000, 0, 0, 3),
        ("epoch 5 from 0", 0, 5000, 5, 0, 1),
        ("unknown producer from 7", 0, 5001, 0, 7, 1),
        ("unknown producer, then 8", 0, 5001, 0, 8, 1),
        ("unknown producer epoch 3", 0, 5002, 3, 0, 1),
        ("to the last sequence", 1, 5003, 0, i32::MAX - 1, 2),
        ("sequence wraps", 1, 5003, 0, 0, 2),
        ("sequence wraps again", 1, 5003, 0, 0, 2),
        ("across the wrap", 1, 5004, 0, i32::MAX, 3),
        ("after the wrap", 1, 5004, 0, 2, 1),
        ("across the wrap again", 1, 5004, 0, i32::MAX, 3),
    ];
    for (case, partition, id, epoch, sequence, count) in steps {
        let records = batch(count).producer(id, epoch, sequence).build().unwrap();
        let request = request(session, "idempotent", partition, Some(records));
        session.ask_as(case, 9, &request, tell);
    }
    for i in 0..7 {
        put(session, "idempotent", 0, batch(1).producer(5010, 0, i).build().unwrap());
    }
    for i in [6, 2, 1, 0] {
        let request = request(session, "idempotent", 0, Some(batch(1).producer(5010, 0, i).build().unwrap()));
        session.ask_as(&format!("repeated {i} of 7"), 9, &request, tell);
    }
    for version in [3, 9, 11, 12] {
        let transactional = batch(1).producer(5020, 0, 0).transactional().build().unwrap();
        let request = request(session, "idempotent", 0, Some(transactional)).with_transactional_id(Some(TransactionalId(s("t"))));
        session.ask_as("transactional batch", version, &request, tell);
    }
}

fn unanswered(session: &mut Session) {
    let send = |session: &mut Session, case: &str, request: ProduceRequest| {
        session.send(9, &request.with_acks(0));
        // The next answer on this connection is that of the next request, or there is none.
        let answer = session.call(0, &kafka_protocol::messages::ApiVersionsRequest::default());
        session.record(case, if answer.is_some() { "no answer" } else { "closed" });
        session.reconnect();
    };
    let records = || Some(batch(1).build().unwrap());
    let good = request(session, "plain", 0, records());
    send(session, "Produce acks 0", good);
    let unknown = request(session, "nowhere", 0, records());
    send(session, "Produce acks 0 to an unknown topic", unknown);
    let corrupt = request(session, "plain", 0, Some(patched(batch(1), 17, &[1, 2, 3, 4], false)));
    send(session, "Produce acks 0 with a wrong checksum", corrupt);
    let large = request(session, "small", 0, Some(batch(20).build().unwrap()));
    send(session, "Produce acks 0 too large", large);
    send(session, "Produce acks 0 without topics", ProduceRequest::default().with_timeout_ms(1000));
    let _ = common::PATIENCE;
}

fn producer_ids(session: &mut Session) {
    // The coordinator of transactions is another issue's; here ids without a transactional id.
    for version in 0..=5 {
        session.ask("new", version, &InitProducerIdRequest::default().with_transaction_timeout_ms(60_000));
        session.ask("timeout 0", version, &InitProducerIdRequest::default().with_transaction_timeout_ms(0));
        let empty =
            InitProducerIdRequest::default().with_transaction_timeout_ms(60_000).with_transactional_id(Some(TransactionalId(s(""))));
        session.ask("empty transactional id", version, &empty);
    }
    for (case, id, epoch) in [("known id", 5000, 3), ("id without epoch", 5000, -1), ("epoch without id", -1, 3), ("both negative", -2, -2)]
    {
        let request = InitProducerIdRequest::default()
            .with_transaction_timeout_ms(60_000)
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(epoch);
        session.ask(case, 4, &request);
    }
}
