//! Fetch: records by offset, limits, waits, sessions, topic ids, and what stored batches look like.

use bytes::Bytes;
use coreline_wire::record::attributes::Compression;
use coreline_wire::record::batch::{BatchHeader, Batches};
use kafka_protocol::messages::DeleteTopicsRequest;
use kafka_protocol::messages::{
    BrokerId, DeleteRecordsRequest, FetchRequest, FetchResponse, delete_records_request as dr, fetch_request as fr,
};
use uuid::Uuid;

use super::produce::{batch, put};
use super::session::Session;

/// A partition's part of a request.
pub fn partition(index: i32, offset: i64) -> fr::FetchPartition {
    fr::FetchPartition::default().with_partition(index).with_fetch_offset(offset).with_partition_max_bytes(1_000_000)
}

fn topic(session: &Session, name: &str, partitions: Vec<fr::FetchPartition>) -> fr::FetchTopic {
    fr::FetchTopic::default().with_topic(session.topic(name)).with_partitions(partitions)
}

fn request(topics: Vec<fr::FetchTopic>) -> FetchRequest {
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(0)
        .with_min_bytes(1)
        .with_max_bytes(10_000_000)
        .with_session_epoch(-1)
        .with_topics(topics)
}

/// One partition from an offset on.
pub fn one(session: &Session, name: &str, index: i32, offset: i64) -> FetchRequest {
    request(vec![topic(session, name, vec![partition(index, offset)])])
}

fn header(h: &BatchHeader, size: usize) -> String {
    // How well a codec compressed is nobody's promise.
    let size = if matches!(h.compression(), Some(Compression::None)) { size.to_string() } else { "some".to_string() };
    format!(
        "[{}..{} epoch {} attributes {} {} to {} producer {} {} {} count {} bytes {size}]",
        h.base_offset,
        h.last_offset(),
        h.partition_leader_epoch,
        h.attributes.0,
        h.base_timestamp,
        h.max_timestamp,
        h.producer_id,
        h.producer_epoch,
        h.base_sequence,
        h.record_count
    )
}

/// The answer with batch headers in the place of records.
fn tell(_: &Session, response: &FetchResponse) -> String {
    let mut response = response.clone();
    for partition in response.responses.iter_mut().flat_map(|t| t.partitions.iter_mut()) {
        if let Some(records) = partition.records.take() {
            let mut text = String::new();
            let mut batches = Batches::new(records.clone());
            // What Kafka cuts off in the middle is no use to anyone and is not told.
            while let Some(Ok((h, _))) = batches.next() {
                text += &header(&h, h.size_bytes());
            }
            partition.records = Some(Bytes::from(text));
        }
    }
    format!("{response:?}")
}

/// The same with topics in no order: Kafka's depends on which of them it can read.
fn tell_sorted(session: &Session, response: &FetchResponse) -> String {
    let mut response = response.clone();
    response.responses.sort_by_key(|t| t.partitions.iter().map(|p| (p.error_code, p.high_watermark)).max());
    tell(session, &response)
}

/// All of this file.
pub fn cases(session: &mut Session) {
    let id = session.create("read", 3, &[]);
    for count in [3, 2, 1] {
        put(session, "read", 0, batch(count).build().unwrap());
    }
    put(session, "read", 1, batch(4).build().unwrap());
    offsets(session, id);
    limits(session);
    waits(session);
    stored(session);
    sessions(session);
    sessions_by_id(session, id);
    epochs(session);
}

fn offsets(session: &mut Session, id: Uuid) {
    for version in 4..=12 {
        let request = one(session, "read", 0, 0);
        session.ask_as("from 0", version, &request, tell);
    }
    for (case, name, index, offset) in [
        ("from the middle of a batch", "read", 0, 4),
        ("last batch", "read", 0, 5),
        ("at the end", "read", 0, 6),
        ("behind the end", "read", 0, 7),
        ("offset -1", "read", 0, -1),
        ("offset -2", "read", 0, -2),
        ("empty partition", "read", 2, 0),
        ("behind an empty partition", "read", 2, 1),
        ("unknown partition", "read", 3, 0),
        ("partition -1", "read", -1, 0),
        ("unknown topic", "nowhere", 0, 0),
        ("invalid topic", "no where", 0, 0),
    ] {
        for version in 4..=12 {
            let request = one(session, name, index, offset);
            session.ask_as(case, version, &request, tell);
        }
    }
    for version in 13..=18 {
        let by_id = |id, index| request(vec![fr::FetchTopic::default().with_topic_id(id).with_partitions(vec![partition(index, 0)])]);
        let fix = |mut r: FetchRequest| {
            if version >= 15 {
                r.replica_id = FetchRequest::default().replica_id;
            }
            r
        };
        session.ask_as("by id", version, &fix(by_id(id, 0)), tell);
        session.ask_as("by id, unknown partition", version, &fix(by_id(id, 9)), tell);
        session.ask_as("unknown id", version, &fix(by_id(Uuid::from_u128(0x1234_5678_1234_5678_1234_5678_1234_5678), 0)), tell);
        session.ask_as("nil id", version, &fix(by_id(Uuid::nil(), 0)), tell);
    }
    for level in [0, 1] {
        let request = one(session, "read", 0, 0).with_isolation_level(level);
        session.ask_as(&format!("isolation level {level}"), 4, &request, tell);
        session.ask_as(&format!("isolation level {level}"), 12, &request, tell);
    }
    session.ask_as("nothing", 12, &self::request(vec![]), tell);
    session.ask_as("no partitions", 12, &self::request(vec![topic(session, "read", vec![])]), tell);
    let twice = self::request(vec![topic(session, "read", vec![partition(0, 0), partition(0, 3)])]);
    session.ask_as("partition twice", 12, &twice, tell);
    let topics = vec![
        topic(session, "read", vec![partition(1, 0)]),
        topic(session, "nowhere", vec![partition(0, 0)]),
        topic(session, "read", vec![partition(0, 3)]),
    ];
    session.ask_as("topic twice", 12, &self::request(topics), tell);
    let request = one(session, "read", 0, 0).with_replica_id(BrokerId(1));
    session.ask_as("as replica 1", 12, &request, |_, r| format!("{:?}", r.responses[0].partitions[0].error_code));
    let request = one(session, "read", 0, 0).with_replica_id(BrokerId(77));
    session.ask_as("as replica 77", 12, &request, |_, r| format!("{:?}", r.responses[0].partitions[0].error_code));
}

fn limits(session: &mut Session) {
    let both = |session: &Session, max: i32, a: i32, b: i32| {
        request(vec![topic(
            session,
            "read",
            vec![partition(0, 0).with_partition_max_bytes(a), partition(1, 0).with_partition_max_bytes(b), partition(9, 0)],
        )])
        .with_max_bytes(max)
    };
    for (case, max, a, b) in [
        ("max bytes 0", 0, 1_000_000, 1_000_000),
        ("max bytes 1", 1, 1_000_000, 1_000_000),
        ("max bytes of one batch", 130, 1_000_000, 1_000_000),
        ("max bytes 300", 300, 1_000_000, 1_000_000),
        ("partition max bytes 0", 1_000_000, 0, 0),
        ("partition max bytes 1", 1_000_000, 1, 1),
        ("partition max bytes 200", 1_000_000, 200, 200),
        ("partition max bytes 280", 1_000_000, 280, 1),
    ] {
        let request = both(session, max, a, b);
        session.ask_as(case, 12, &request, tell);
    }
}

fn waits(session: &mut Session) {
    for (case, name, offset, wait, min) in [
        ("at the end, wait 400", "read", 6, 400, 1),
        ("min bytes 0 at the end, wait 5000", "read", 6, 5000, 0),
        ("min bytes not reached, wait 400", "read", 0, 400, 1_000_000),
        ("min bytes reached, wait 5000", "read", 0, 5000, 100),
        ("out of range, wait 5000", "read", 60, 5000, 1),
        ("unknown topic, wait 5000", "nowhere", 0, 5000, 1),
        ("negative wait", "read", 6, -1, 1),
        ("negative min bytes, wait 5000", "read", 6, 5000, -1),
    ] {
        let request = one(session, name, 0, offset).with_max_wait_ms(wait).with_min_bytes(min);
        session.call(12, &request);
        let took = session.took.as_millis();
        let told = match took {
            0..300 => "at once",
            300..3000 => "after its wait",
            _ => "much later",
        };
        session.record(&format!("Fetch timing {case}"), told);
    }
    let nothing = request(vec![]).with_max_wait_ms(400);
    session.call(12, &nothing);
    let told = if session.took.as_millis() < 300 { "at once" } else { "after its wait" };
    session.record("Fetch timing nothing asked", told);
}

fn stored(session: &mut Session) {
    for name in ["gzipped", "zstdd", "uncompressed", "idempotent", "append-time", "small", "compacted"] {
        let request = one(session, name, 0, 0);
        session.ask_as(&format!("stored in {name}"), 12, &request, tell);
    }
    let request = one(session, "zstdd", 0, 0);
    session.ask_as("zstd below v10", 9, &request, tell);
    let request = one(session, "plain", 1, 0);
    session.ask_as("codecs below v10", 9, &request, |_, r| format!("{:?}", r.responses[0].partitions[0].error_code));
    let partition = dr::DeleteRecordsPartition::default().with_partition_index(1).with_offset(2);
    let topic = dr::DeleteRecordsTopic::default().with_name(session.topic("read")).with_partitions(vec![partition]);
    session.call(2, &DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(5000));
    for offset in [0, 1, 2, 3] {
        let request = one(session, "read", 1, offset);
        session.ask_as(&format!("start 2 from {offset}"), 12, &request, tell);
    }
}

fn in_session(session: &Session, id: i32, epoch: i32, parts: &[(i32, i64)]) -> FetchRequest {
    let topics =
        if parts.is_empty() { vec![] } else { vec![topic(session, "read", parts.iter().map(|(i, o)| partition(*i, *o)).collect())] };
    request(topics).with_session_id(id).with_session_epoch(epoch)
}

fn sessions(session: &mut Session) {
    let forget =
        |session: &Session, index: i32| vec![fr::ForgottenTopic::default().with_topic(session.topic("read")).with_partitions(vec![index])];
    let new = in_session(session, 0, 0, &[(0, 0), (1, 2), (2, 0)]);
    let id = session.ask_as("new session", 12, &new, tell).unwrap().session_id;
    let steps: Vec<(&str, FetchRequest)> = vec![
        ("session, no change", in_session(session, id, 1, &[])),
        ("session, at the ends", in_session(session, id, 2, &[(0, 6), (1, 4)])),
        ("session, still no change", in_session(session, id, 3, &[])),
        ("session, back to 3", in_session(session, id, 4, &[(0, 3)])),
        ("session, out of range", in_session(session, id, 5, &[(0, 30)])),
        ("session, error repeated", in_session(session, id, 6, &[])),
        ("session, forget", in_session(session, id, 7, &[]).with_forgotten_topics_data(forget(session, 0))),
        ("session, after forgetting", in_session(session, id, 8, &[])),
        ("session, add an unknown partition", in_session(session, id, 9, &[(7, 0)])),
        ("session, unknown partition repeated", in_session(session, id, 10, &[])),
        ("session, forget what is not there", in_session(session, id, 11, &[]).with_forgotten_topics_data(forget(session, 0))),
        ("session, wrong epoch", in_session(session, id, 20, &[])),
        ("session, old epoch", in_session(session, id, 3, &[])),
        ("session, right epoch after wrong ones", in_session(session, id, 12, &[])),
        ("session, unknown id", in_session(session, 123_456, 1, &[])),
        ("session, id 0 epoch 1", in_session(session, 0, 1, &[])),
        ("session, negative id", in_session(session, -5, 1, &[])),
        ("session, close", in_session(session, id, -1, &[])),
        ("session, closed", in_session(session, id, 13, &[])),
        ("session, close unknown with partitions", in_session(session, 123_456, -1, &[(0, 5)])),
        ("session, epoch -2", in_session(session, 0, -2, &[(0, 5)])),
        ("session, new with unknown id", in_session(session, 123_456, 0, &[(0, 5)])),
        ("session, empty", in_session(session, 0, 0, &[])),
    ];
    for (case, request) in steps {
        session.ask_as(case, 12, &request, tell);
    }
    let nowhere = request(vec![topic(session, "nowhere", vec![partition(0, 0)])]).with_session_epoch(0);
    let id = session.ask_as("session of an unknown topic", 12, &nowhere, tell).unwrap().session_id;
    session.ask_as("session of an unknown topic, second", 12, &in_session(session, id, 1, &[]), tell);
    let id = session.ask_as("new session", 7, &in_session(session, 0, 0, &[(0, 5)]), tell).unwrap().session_id;
    session.ask_as("session of v7 by id", 13, &in_session(session, id, 1, &[]), tell);
    let replace = in_session(session, 0, 0, &[(0, 5)]);
    let id = session.call(12, &replace).unwrap().session_id;
    let text = session.call(12, &in_session(session, id, 0, &[(0, 6)])).map(|r| (r.error_code, r.session_id == id, r.session_id != 0));
    session.record("Fetch session replaced: error, same id, new id", &format!("{text:?}"));
    session.ask_as("session replaced", 12, &in_session(session, id, 1, &[]), tell);
}

fn sessions_by_id(session: &mut Session, id: Uuid) {
    let ask = |id: i32, epoch: i32, topics: Vec<fr::FetchTopic>| request(topics).with_session_id(id).with_session_epoch(epoch);
    let by_id = |topic: Uuid, offset| fr::FetchTopic::default().with_topic_id(topic).with_partitions(vec![partition(0, offset)]);
    let doomed = session.create("doomed", 1, &[]);
    put(session, "doomed", 0, batch(1).build().unwrap());
    let strange = Uuid::from_u128(0x1234_5678_1234_5678_1234_5678_1234_5678);
    let new = ask(0, 0, vec![by_id(id, 6), by_id(strange, 0), by_id(doomed, 0)]);
    let number = session.ask_as("new session with an unknown id", 13, &new, tell_sorted).unwrap().session_id;
    session.ask_as("session by id", 13, &ask(number, 1, vec![]), tell_sorted);
    session.ask_as("session by id, by name", 12, &ask(number, 2, vec![]), tell_sorted);
    session.ask_as("session by id, after by name", 13, &ask(number, 2, vec![]), tell_sorted);
    let name = session.topic("doomed");
    session.call(5, &DeleteTopicsRequest::default().with_topic_names(vec![name]).with_timeout_ms(5000));
    session.settle();
    session.ask_as("session by id, deleted topic", 13, &ask(number, 3, vec![]), tell_sorted);
    let forgotten = vec![fr::ForgottenTopic::default().with_topic_id(doomed).with_partitions(vec![0])];
    session.ask_as("session by id, forget the deleted", 13, &ask(number, 4, vec![]).with_forgotten_topics_data(forgotten), tell_sorted);
}

fn epochs(session: &mut Session) {
    for epoch in [-1, 0, 1, 9] {
        let part = partition(0, 5).with_current_leader_epoch(epoch);
        let request = request(vec![topic(session, "read", vec![part])]);
        for version in [9, 12] {
            session.ask_as(&format!("leader epoch {epoch}"), version, &request, tell);
        }
        let part = partition(0, 5).with_last_fetched_epoch(epoch);
        let request = self::request(vec![topic(session, "read", vec![part])]);
        session.ask_as(&format!("last fetched epoch {epoch}"), 12, &request, tell);
    }
    let part = partition(0, 60).with_last_fetched_epoch(0);
    let request = request(vec![topic(session, "read", vec![part])]);
    session.ask_as("last fetched epoch 0 behind the end", 12, &request, tell);
}
