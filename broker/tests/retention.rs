//! What goes and what stays, of a real process: deleted topics (also when it is killed in the middle), old segments, superseded records; settings altered meanwhile.
#![allow(clippy::unwrap_used)]

#[path = "common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Broker, PATIENCE, dir, frame, read_frame};
use coreline_wire::record::validate::records;
use coreline_wire::record::{BatchBuilder, Batches, Origin};

fn ask(stream: &mut TcpStream, api_key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    stream.write_all(&frame(api_key, version, 1, body)).unwrap();
    read_frame(stream).unwrap().split_off(4)
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as i16).to_be_bytes()[..], text.as_bytes()].concat()
}

/// CreateTopics v2 of one topic with one partition.
fn create(stream: &mut TcpStream, topic: &str, configs: &[(&str, &str)]) {
    let mut body = 1i32.to_be_bytes().to_vec();
    body.extend(string(topic));
    body.extend(1i32.to_be_bytes());
    body.extend(1i16.to_be_bytes());
    body.extend([0; 4]);
    body.extend((configs.len() as i32).to_be_bytes());
    for (key, value) in configs {
        body.extend(string(key));
        body.extend(string(value));
    }
    body.extend(60_000i32.to_be_bytes());
    body.push(0);
    let answer = ask(stream, 19, 2, &body);
    assert_eq!(answer[10 + topic.len()..12 + topic.len()], [0, 0], "{topic} is not created: {answer:?}");
}

/// DeleteTopics v1.
fn delete(stream: &mut TcpStream, topic: &str) {
    let body = [&1i32.to_be_bytes()[..], &string(topic), &60_000i32.to_be_bytes()].concat();
    let answer = ask(stream, 20, 1, &body);
    assert_eq!(answer[answer.len() - 2..], [0, 0], "{topic} is not deleted: {answer:?}");
}

/// IncrementalAlterConfigs v0: sets one setting of a topic.
fn alter(stream: &mut TcpStream, topic: &str, key: &str, value: &str) {
    let body = [&1i32.to_be_bytes()[..], &[2], &string(topic), &1i32.to_be_bytes(), &string(key), &[0], &string(value), &[0]].concat();
    let answer = ask(stream, 44, 0, &body);
    assert_eq!(answer[8..10], [0, 0], "{key} is not set: {answer:?}");
}

/// Produce v7 with acks=all; answers with the base offset.
fn produce(stream: &mut TcpStream, topic: &str, batch: &[u8]) -> i64 {
    let mut body = [&(-1i16).to_be_bytes()[..], &(-1i16).to_be_bytes(), &60_000i32.to_be_bytes(), &1i32.to_be_bytes()].concat();
    body.extend(string(topic));
    body.extend([&1i32.to_be_bytes()[..], &0i32.to_be_bytes(), &(batch.len() as i32).to_be_bytes(), batch].concat());
    let answer = ask(stream, 0, 7, &body);
    let part = &answer[10 + topic.len()..];
    assert_eq!(part[4..6], [0, 0], "refused: {answer:?}");
    i64::from_be_bytes(part[6..14].try_into().unwrap())
}

/// ListOffsets v1: offset for a timestamp, -2 for the earliest.
fn list_offset(stream: &mut TcpStream, topic: &str, timestamp: i64) -> i64 {
    let body = [
        &(-1i32).to_be_bytes()[..],
        &1i32.to_be_bytes(),
        &string(topic),
        &1i32.to_be_bytes(),
        &0i32.to_be_bytes(),
        &timestamp.to_be_bytes(),
    ];
    let answer = ask(stream, 2, 1, &body.concat());
    let part = &answer[10 + topic.len()..];
    assert_eq!(part[4..6], [0, 0], "no offset: {answer:?}");
    i64::from_be_bytes(part[14..22].try_into().unwrap())
}

/// Every record of a topic from an offset on: offset, key, value. Fetch v4.
fn consume(stream: &mut TcpStream, topic: &str, mut offset: i64) -> Vec<(i64, Vec<u8>, Option<Vec<u8>>)> {
    let mut out = Vec::new();
    let mut scratch = Vec::new();
    loop {
        let mut body = [&(-1i32).to_be_bytes()[..], &1i32.to_be_bytes(), &1i32.to_be_bytes(), &(1i32 << 20).to_be_bytes(), &[0]].concat();
        body.extend([&1i32.to_be_bytes()[..], &string(topic), &1i32.to_be_bytes(), &0i32.to_be_bytes()].concat());
        body.extend([&offset.to_be_bytes()[..], &(1i32 << 20).to_be_bytes()].concat());
        let answer = ask(stream, 1, 4, &body);
        let part = &answer[14 + topic.len()..];
        assert_eq!(part[4..6], [0, 0], "fetch at {offset} fails");
        let high_watermark = i64::from_be_bytes(part[6..14].try_into().unwrap());
        let before = offset;
        // No aborted transactions: their count is 0 or -1.
        for batch in Batches::new(Bytes::copy_from_slice(&part[30..])) {
            let Ok((header, batch)) = batch else { break };
            let batch = batch.validate(Origin::Log).unwrap();
            for record in records(&header, batch.bytes(), 1 << 24, &mut scratch).unwrap() {
                let record = record.unwrap();
                let at = header.base_offset + i64::from(record.offset_delta);
                if at >= before {
                    out.push((at, record.key.unwrap_or_default().to_vec(), record.value.map(<[u8]>::to_vec)));
                }
            }
            offset = header.next_offset();
        }
        if offset >= high_watermark || offset == before {
            return out;
        }
    }
}

fn batch(timestamp: i64, key: &str, len: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    builder.push(timestamp, Some(key.as_bytes()), Some(&vec![b'v'; len]), &[]);
    builder.build().unwrap().to_vec()
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} never came true");
        #[allow(clippy::disallowed_methods)] // The broker's background has no event to wait for.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Directories of partitions.
fn partitions(data: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(data.join("topics")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn segments(dir: &Path) -> usize {
    std::fs::read_dir(dir).map_or(0, |files| files.filter(|f| f.as_ref().unwrap().path().extension().is_some_and(|e| e == "log")).count())
}

const T0: i64 = 1_700_000_000_000;
const SMALL: (&str, &str) = ("segment.bytes", "1048576");

#[test]
fn a_deleted_topic_goes_also_when_the_process_is_killed_and_its_name_is_free_at_once() {
    let data = dir();
    let broker = Broker::start(data.path(), &["--shards", "2"]);
    let mut stream = broker.connect();
    for round in 0..4 {
        create(&mut stream, "again", &[SMALL]);
        for i in 0..5 {
            produce(&mut stream, "again", &batch(T0, &format!("{round}-{i}"), 400_000));
        }
        delete(&mut stream, "again");
    }
    create(&mut stream, "again", &[SMALL]);
    assert_eq!(produce(&mut stream, "again", &batch(T0, "new", 10)), 0, "a new topic begins at 0");
    // No time for the removals to end.
    broker.kill();
    // A directory that looks like a partition, of a topic that no metadata has ever named.
    let foreign = data.path().join("topics").join("AAAAAAAAAAAAAAAAAAAAAQ-0");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("00000000000000000000.log"), b"somebody's data").unwrap();
    let broker = Broker::start(data.path(), &["--shards", "1"]);
    until("the files of the deleted topics go", || partitions(data.path()).len() == 2);
    assert!(broker.log.text().contains("left alone"), "{}", broker.log.text());
    assert_eq!(std::fs::read(foreign.join("00000000000000000000.log")).unwrap(), b"somebody's data");
    let mut stream = broker.connect();
    let found = consume(&mut stream, "again", 0);
    assert_eq!(found.iter().map(|(at, key, _)| (*at, key.as_slice())).collect::<Vec<_>>(), [(0, &b"new"[..])]);
    broker.stop();
    // And once more: nothing of it is named again.
    let broker = Broker::start(data.path(), &[]);
    assert_eq!(partitions(data.path()).len(), 2);
    broker.stop();
}

#[test]
fn retention_follows_its_settings_at_once_and_frees_files() {
    let data = dir();
    let broker = Broker::start(data.path(), &["--shards", "1", "--set", "log.retention.check.interval.ms=50"]);
    let mut stream = broker.connect();
    create(&mut stream, "old", &[SMALL, ("retention.ms", "-1"), ("message.timestamp.type", "CreateTime")]);
    for i in 0..12 {
        produce(&mut stream, "old", &batch(T0 + i, &format!("{i}"), 400_000));
    }
    let folder = partitions(data.path()).remove(0);
    until("segments are written", || segments(&folder) >= 6);
    assert_eq!(list_offset(&mut stream, "old", -2), 0);
    // Two records to a segment: 800 KB.
    alter(&mut stream, "old", "retention.bytes", "2000000");
    until("the log is short", || list_offset(&mut stream, "old", -2) == 6);
    until("the files go", || segments(&folder) <= 3);
    assert_eq!(list_offset(&mut stream, "old", T0 + 3), 6, "the first record that is left");
    assert_eq!(list_offset(&mut stream, "old", T0 + 8), 8);
    alter(&mut stream, "old", "retention.ms", "3600000");
    until("the log is empty", || list_offset(&mut stream, "old", -2) == 12);
    until("the last file goes", || segments(&folder) <= 1);
    assert_eq!(produce(&mut stream, "old", &batch(T0, "next", 10)), 12);
    broker.kill();
    let broker = Broker::start(data.path(), &[]);
    let mut stream = broker.connect();
    assert!([12, 13].contains(&list_offset(&mut stream, "old", -2)));
    broker.stop();
}

#[test]
fn compaction_keeps_the_newest_record_of_each_key() {
    let data = dir();
    let cleaner = ["--shards", "1", "--set", "log.cleaner.backoff.ms=50"];
    let broker = Broker::start(data.path(), &cleaner);
    let mut stream = broker.connect();
    create(&mut stream, "keys", &[SMALL, ("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0.01")]);
    let mut newest = BTreeMap::new();
    for i in 0..40 {
        let key = format!("key {}", i % 7);
        let at = produce(&mut stream, "keys", &batch(T0 + i, &key, 100_000));
        newest.insert(key.into_bytes(), at);
    }
    until("it is compacted", || broker.metric("coreline_compactions_total") >= 1.0);
    let check = |stream: &mut TcpStream| {
        let found = consume(stream, "keys", 0);
        assert!(found.windows(2).all(|w| w[0].0 < w[1].0));
        let last: BTreeMap<Vec<u8>, i64> = found.iter().map(|(at, key, _)| (key.clone(), *at)).collect();
        assert_eq!(last, newest, "of every key the newest record is there");
        found.len()
    };
    until("few are left", || check(&mut stream) < 20);
    assert!(broker.metric("coreline_compacted_records_total") >= 20.0);
    broker.kill();
    let broker = Broker::start(data.path(), &cleaner);
    let mut stream = broker.connect();
    assert!(check(&mut stream) < 20, "also after a kill");
    broker.stop();
}
