//! Questions about the log: ListOffsets, OffsetForLeaderEpoch, DeleteRecords.

use coreline_wire::record::attributes::Compression;
use coreline_wire::record::builder::BatchBuilder;
use kafka_protocol::messages::{
    BrokerId, DeleteRecordsRequest, DeleteRecordsResponse, ListOffsetsRequest, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    delete_records_request as dr, list_offsets_request as lo, offset_for_leader_epoch_request as of,
};

use super::produce::{batch, put};
use super::session::{Session, versions};

/// All of this file.
pub fn cases(session: &mut Session) {
    session.create("times", 2, &[]);
    for (codec, stamps) in
        [(Compression::None, [100, 500, 300]), (Compression::Gzip, [700, 600, 650]), (Compression::None, [200, 200, 200])]
    {
        let mut builder = BatchBuilder::new().compression(codec, None);
        for stamp in stamps {
            builder.push(stamp, Some(b"k"), Some(b"v"), &[]);
        }
        put(session, "times", 0, builder.build().unwrap());
    }
    list_offsets(session);
    leader_epochs(session);
    delete_records(session);
}

fn ask_time(session: &Session, topic: &str, index: i32, timestamp: i64) -> ListOffsetsRequest {
    let partition = lo::ListOffsetsPartition::default().with_partition_index(index).with_timestamp(timestamp);
    let topic = lo::ListOffsetsTopic::default().with_name(session.topic(topic)).with_partitions(vec![partition]);
    ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic])
}

fn list_offsets(session: &mut Session) {
    for version in 1..=11 {
        for timestamp in [-1, -2, -3, -4, -5, -6, -7, 0, 400] {
            let request = ask_time(session, "times", 0, timestamp);
            session.ask(&format!("timestamp {timestamp}"), version, &request);
        }
    }
    for timestamp in [100, 101, 500, 501, 650, 651, 700, 701, 5_000] {
        let request = ask_time(session, "times", 0, timestamp);
        session.ask(&format!("at {timestamp}"), 7, &request);
    }
    for timestamp in [-1, -2, -3, -4, -5, 100] {
        let request = ask_time(session, "times", 1, timestamp);
        session.ask(&format!("empty partition {timestamp}"), 10, &request);
    }
    for version in 1..=11 {
        for (case, topic, index) in [("unknown topic", "nowhere", 0), ("unknown partition", "times", 2), ("partition -1", "times", -1)] {
            let request = ask_time(session, topic, index, -1);
            session.ask(case, version, &request);
        }
    }
    let mut request = ask_time(session, "times", 0, -1);
    let first = request.topics[0].partitions[0].clone();
    request.topics[0].partitions.push(first.with_timestamp(-2));
    for version in 1..=11 {
        session.ask("partition twice", version, &request);
    }
    session.ask("no topics", 7, &ListOffsetsRequest::default().with_replica_id(BrokerId(-1)));
    for epoch in [0, 1] {
        let mut request = ask_time(session, "times", 0, -1);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        session.ask(&format!("leader epoch {epoch}"), 7, &request);
    }
    for level in [0, 1] {
        let request = ask_time(session, "times", 0, -1).with_isolation_level(level);
        session.ask(&format!("isolation level {level}"), 7, &request);
    }
    let request = ask_time(session, "times", 0, -1).with_replica_id(BrokerId(-2));
    session.ask("debugging consumer", 7, &request);
    let request = ask_time(session, "times", 0, -1).with_replica_id(BrokerId(5));
    session.ask("as replica 5", 7, &request);
    let mut request = ask_time(session, "times", 0, -1);
    request.topics.push(ask_time(session, "nowhere", 0, -1).topics.remove(0));
    request.topics.push(ask_time(session, "read", 0, -2).topics.remove(0));
    session.ask_as("three topics", 7, &request, |_, r| {
        let mut r = r.clone();
        r.topics.sort_by(|a, b| a.name.cmp(&b.name));
        format!("{r:?}")
    });
    let request = ask_time(session, "append-time", 0, 0);
    session.ask("append time", 7, &request);
    let request = ask_time(session, "append-time", 0, -3);
    session.ask_as("append time max", 7, &request, |_, r| format!("{}", r.topics[0].partitions[0].error_code));
}

fn leader_epochs(session: &mut Session) {
    let ask = |session: &Session, topic: &str, index: i32, current: i32, epoch: i32| {
        let partition =
            of::OffsetForLeaderPartition::default().with_partition(index).with_current_leader_epoch(current).with_leader_epoch(epoch);
        let topic = of::OffsetForLeaderTopic::default().with_topic(session.topic(topic)).with_partitions(vec![partition]);
        OffsetForLeaderEpochRequest::default().with_topics(vec![topic])
    };
    let fix = |mut request: OffsetForLeaderEpochRequest, version: i16| {
        if version >= 3 {
            request.replica_id = BrokerId(-1);
        }
        request
    };
    fn tell(_: &Session, response: &OffsetForLeaderEpochResponse) -> String {
        format!("{response:?}")
    }
    for version in [2, 3, 4] {
        for (case, topic, index, current, epoch) in [
            ("epoch 0", "times", 0, -1, 0),
            ("epoch 0, current 0", "times", 0, 0, 0),
            ("epoch 5", "times", 0, -1, 5),
            ("epoch -1", "times", 0, -1, -1),
            ("current 5", "times", 0, 5, 0),
            ("empty partition", "times", 1, -1, 0),
            ("unknown topic", "nowhere", 0, -1, 0),
            ("unknown partition", "times", 9, -1, 0),
        ] {
            let request = fix(ask(session, topic, index, current, epoch), version);
            session.ask_as(case, version, &request, tell);
        }
        session.ask_as("no topics", version, &fix(OffsetForLeaderEpochRequest::default(), version), tell);
    }
}

fn delete_records(session: &mut Session) {
    session.create("trim", 2, &[]);
    for _ in 0..3 {
        put(session, "trim", 0, batch(2).build().unwrap());
    }
    let delete = |session: &Session, topic: &str, index: i32, offset: i64| {
        let partition = dr::DeleteRecordsPartition::default().with_partition_index(index).with_offset(offset);
        let topic = dr::DeleteRecordsTopic::default().with_name(session.topic(topic)).with_partitions(vec![partition]);
        DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(5000)
    };
    fn tell(_: &Session, response: &DeleteRecordsResponse) -> String {
        format!("{response:?}")
    }
    for version in versions(21) {
        for (case, topic, index, offset) in [
            ("unknown topic", "nowhere", 0, 1),
            ("unknown partition", "trim", 5, 1),
            ("behind the end", "trim", 0, 7),
            ("offset -2", "trim", 0, -2),
            ("compacted topic", "compacted", 0, 1),
            ("both policies", "both-policies", 0, 0),
            ("empty partition", "trim", 1, 0),
            ("empty partition, to the end", "trim", 1, -1),
            ("in a batch", "trim", 0, 3),
            ("before the start", "trim", 0, 1),
            ("same again", "trim", 0, 3),
        ] {
            let request = delete(session, topic, index, offset);
            session.ask_as(case, version, &request, tell);
        }
    }
    let request = delete(session, "trim", 0, -1);
    session.ask_as("to the end", 2, &request, tell);
    session.ask_as("nothing", 2, &DeleteRecordsRequest::default().with_timeout_ms(1000), tell);
    for timestamp in [-1, -2, -3, 0] {
        let request = ask_time(session, "trim", 0, timestamp);
        session.ask(&format!("all deleted {timestamp}"), 7, &request);
    }
}
