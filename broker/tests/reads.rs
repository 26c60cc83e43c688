//! Reads from the disk and the bounds of memory, of a real process: cold records come whole and in order with and without `sendfile`, many
//! partitions take little memory and few descriptors, and all of them are there after a kill; what each durability class promises of a kill -9.
//!
//! The figures on a quiet machine with a release build come from `tests/clients/perf/storage.py`.
#![allow(clippy::unwrap_used)]

#[path = "common/mod.rs"]
mod common;

use std::fs::File;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{Broker, PATIENCE, dir, frame, read_frame};
use coreline_wire::record::BatchBuilder;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

fn ask(stream: &mut TcpStream, api_key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    stream.write_all(&frame(api_key, version, 1, body)).unwrap();
    read_frame(stream).unwrap().split_off(4)
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as i16).to_be_bytes()[..], text.as_bytes()].concat()
}

/// CreateTopics v2 of one topic.
fn create(stream: &mut TcpStream, topic: &str, partitions: i32) {
    create_with(stream, topic, partitions, &[]);
}

/// The same with configurations.
fn create_with(stream: &mut TcpStream, topic: &str, partitions: i32, configs: &[(&str, &str)]) {
    let mut body = 1i32.to_be_bytes().to_vec();
    body.extend(string(topic));
    body.extend(partitions.to_be_bytes());
    body.extend(1i16.to_be_bytes());
    body.extend([0; 4]);
    body.extend((configs.len() as i32).to_be_bytes());
    for (name, value) in configs {
        body.extend(string(name));
        body.extend(string(value));
    }
    body.extend(60_000i32.to_be_bytes());
    body.push(0);
    let answer = ask(stream, 19, 2, &body);
    assert_eq!(answer[10 + topic.len()..12 + topic.len()], [0, 0], "{topic} is not created: {answer:?}");
}

/// Produce v7 with acks=all of one batch to each of these partitions; all must take it.
fn produce(stream: &mut TcpStream, topic: &str, partitions: impl ExactSizeIterator<Item = i32>, batch: &[u8]) {
    let count = partitions.len();
    let mut body = (-1i16).to_be_bytes().to_vec();
    body.extend((-1i16).to_be_bytes());
    body.extend(60_000i32.to_be_bytes());
    body.extend(1i32.to_be_bytes());
    body.extend(string(topic));
    body.extend((count as i32).to_be_bytes());
    for partition in partitions {
        body.extend(partition.to_be_bytes());
        body.extend((batch.len() as i32).to_be_bytes());
        body.extend(batch);
    }
    let answer = ask(stream, 0, 7, &body);
    for part in answer[10 + topic.len()..].chunks(30).take(count) {
        assert_eq!(part[4..6], [0, 0], "a partition refuses: {part:?}");
    }
}

/// Fetch v4 of one partition: its records from an offset on, and the high watermark.
fn fetch(stream: &mut TcpStream, topic: &str, partition: i32, offset: i64, max_bytes: i32) -> (Vec<u8>, i64) {
    let mut body = (-1i32).to_be_bytes().to_vec();
    body.extend(100i32.to_be_bytes());
    body.extend(1i32.to_be_bytes());
    body.extend(max_bytes.to_be_bytes());
    body.push(0);
    body.extend(1i32.to_be_bytes());
    body.extend(string(topic));
    body.extend(1i32.to_be_bytes());
    body.extend(partition.to_be_bytes());
    body.extend(offset.to_be_bytes());
    body.extend(max_bytes.to_be_bytes());
    let answer = ask(stream, 1, 4, &body);
    let part = &answer[14 + topic.len()..];
    assert_eq!(part[4..6], [0, 0], "fetch at {offset} fails");
    // No aborted transactions: their count is 0 or -1.
    (part[30..].to_vec(), i64::from_be_bytes(part[6..14].try_into().unwrap()))
}

/// Offset behind the last whole batch of `records`, and the bytes of the whole batches.
fn whole(records: &[u8]) -> Option<(i64, usize)> {
    let (mut at, mut next) = (0, None);
    while let Some(header) = records.get(at..at + 61) {
        let base = i64::from_be_bytes(header[..8].try_into().unwrap());
        let end = at + 12 + i32::from_be_bytes(header[8..12].try_into().unwrap()) as usize;
        if end > records.len() {
            break;
        }
        next = Some((base + i64::from(i32::from_be_bytes(header[23..27].try_into().unwrap())) + 1, end));
        at = end;
    }
    next
}

fn batch(fill: u8, len: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    builder.push(1_700_000_000_000, None, Some(&vec![fill; len]), &[]);
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

/// Drops the segments below `folder` from the page cache; answers with their bytes.
fn drop_from_cache(folder: &Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            bytes += drop_from_cache(&entry.path());
        } else if entry.path().extension().is_some_and(|e| e == "log") {
            let file = File::open(entry.path()).unwrap();
            posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
            bytes += file.metadata().unwrap().len();
        }
    }
    bytes
}

#[test]
fn cold_records_come_whole_and_in_order_with_and_without_sendfile() {
    let folder = dir();
    // Little memory, so that hardly anything can be answered from the tail.
    let common = ["--shards", "2", "--set", "tail.memory.bytes=2097152", "--set", "log.segment.bytes=4194304"];
    let broker = Broker::start(folder.path(), &common);
    let mut stream = broker.connect();
    create(&mut stream, "cold", 2);
    for i in 0..90u8 {
        produce(&mut stream, "cold", 0..2, &batch(i, 120_000));
    }
    until("everything is flushed", || broker.metric("coreline_unflushed_bytes") == 0.0);
    broker.stop();

    for sendfile in ["true", "false"] {
        let broker = Broker::start(folder.path(), &[&common[..], &["--set", &format!("segment.sendfile.enable={sendfile}")]].concat());
        assert!(drop_from_cache(folder.path()) > 20_000_000);
        // Two at the same place, each on a connection of its own.
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let mut stream = broker.connect();
                std::thread::spawn(move || {
                    for partition in 0..2 {
                        let (mut offset, mut end) = (0, 1);
                        while offset < end {
                            let (records, high_watermark) = fetch(&mut stream, "cold", partition, offset, 700_000);
                            end = high_watermark;
                            let Some((next, bytes)) = whole(&records) else { panic!("nothing at {offset} of {end}") };
                            for (i, batch) in records[..bytes].chunks(bytes / (next - offset) as usize).enumerate() {
                                let fill = offset as u8 + i as u8;
                                assert!(batch[batch.len() - 110_000..batch.len() - 1].iter().all(|b| *b == fill), "offset {offset}+{i}");
                            }
                            offset = next;
                        }
                        assert_eq!(end, 90);
                    }
                })
            })
            .collect();
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        assert!(broker.metric("coreline_turn_seconds_count") > 100.0, "turns are measured");
        assert!(broker.metric("coreline_longest_turn_microseconds") > 0.0);
        broker.stop();
    }
}

/// One topic and something for each of its partitions.
fn of_all(topic: &str, partitions: i32, part: impl Fn(i32) -> Vec<u8>) -> Vec<u8> {
    let head = [&1i32.to_be_bytes()[..], &string(topic), &partitions.to_be_bytes()].concat();
    (0..partitions).fold(head, |mut body, p| {
        body.extend(part(p));
        body
    })
}

/// A request over many partitions holds its shard for some hundred of them, not for all: counted, so that it does not depend on the machine.
fn requests_over_many_partitions_give_way(broker: &Broker, stream: &mut TcpStream, topic: &str, partitions: i32) {
    const STEPS_PER_TURN: i32 = 256;
    let p4 = |p: i32| p.to_be_bytes().to_vec();
    let p_and = |p: i32, rest: &[u8]| [&p.to_be_bytes()[..], rest].concat();
    let batch = batch(7, 200);
    let with_batch = |p| [&p4(p)[..], &(batch.len() as i32).to_be_bytes(), &batch].concat();
    let fetch = |offset: i64, wait_ms: i32| {
        let head = [-1, wait_ms, 1, 50 << 20].map(i32::to_be_bytes).concat();
        let parts = of_all(topic, partitions, |p| p_and(p, &[&offset.to_be_bytes()[..], &(1i32 << 20).to_be_bytes()].concat()));
        [&head[..], &[0], &parts].concat()
    };
    let end = {
        let answer = ask(stream, 2, 1, &[&p4(-1)[..], &of_all(topic, 1, |p| p_and(p, &(-1i64).to_be_bytes()))].concat());
        i64::from_be_bytes(answer[answer.len() - 8..].try_into().unwrap())
    };
    let produce = |acks: i16| {
        [&(-1i16).to_be_bytes()[..], &acks.to_be_bytes(), &60_000i32.to_be_bytes(), &of_all(topic, partitions, with_batch)].concat()
    };
    let resources = (0..100).fold(100i32.to_be_bytes().to_vec(), |mut body, _| {
        body.extend([&[2][..], &string(topic), &(-1i32).to_be_bytes()].concat());
        body
    });
    let alterations = (0..100).fold(100i32.to_be_bytes().to_vec(), |mut body, _| {
        body.extend([&[2][..], &string(topic), &0i32.to_be_bytes()].concat());
        body
    });
    create(stream, "grown", 1);
    let grown = [&p4(1)[..], &string("grown")].concat();
    // Name, key, version, body, and how many of its loops look at every partition.
    let kinds: [(&str, i16, i16, Vec<u8>, i32); 13] = [
        ("Fetch", 1, 4, fetch(0, 0), 4),
        ("Fetch that waits", 1, 4, fetch(end, 20), 6),
        ("Produce, acks=all", 0, 7, produce(-1), 6),
        ("Produce, acks=1", 0, 7, produce(1), 6),
        ("ListOffsets", 2, 1, [&p4(-1)[..], &of_all(topic, partitions, |p| p_and(p, &1i64.to_be_bytes()))].concat(), 3),
        ("OffsetForLeaderEpoch", 23, 2, of_all(topic, partitions, |p| p_and(p, &[0; 8])), 3),
        ("DeleteRecords", 21, 0, [&of_all(topic, partitions, |p| p_and(p, &[0; 8]))[..], &p4(60_000)].concat(), 3),
        ("DescribeLogDirs", 35, 1, of_all(topic, partitions, p4), 1),
        ("Metadata", 3, 4, [&[0, 0, 0, 1][..], &string(topic), &[0]].concat(), 0),
        ("DescribeConfigs of 100 topics", 32, 1, [&resources[..], &[0]].concat(), 2),
        ("IncrementalAlterConfigs of 100 topics", 44, 0, [&alterations[..], &[0]].concat(), 1),
        ("CreatePartitions", 37, 0, [&grown[..], &p4(partitions), &p4(-1), &p4(60_000), &[0]].concat(), 10),
        ("DeleteTopics", 20, 1, [&grown[..], &p4(60_000)].concat(), 9),
    ];
    for (name, key, version, body, loops) in kinds {
        let before = broker.metric("coreline_gave_way_total");
        ask(stream, key, version, &body);
        let gave_way = broker.metric("coreline_gave_way_total") - before;
        let least = (loops * (partitions / STEPS_PER_TURN)).max(1);
        assert!(gave_way >= f64::from(least), "{name} over {partitions} partitions gave way {gave_way} times, not {least}");
    }
}

#[test]
fn many_partitions_take_little_memory_and_few_descriptors_and_survive_a_kill() {
    const PARTITIONS: i32 = 1000;
    const FILES: f64 = 64.0;
    let folder = dir();
    let args = ["--shards", "1", "--set", "segment.files.max=64"];
    let broker = Broker::start(folder.path(), &args);
    let mut stream = broker.connect();
    // What the first topic and the first requests cost is not the partitions'.
    create(&mut stream, "first", 1);
    produce(&mut stream, "first", 0..1, &batch(1, 100));
    let before = broker.metric("process_resident_memory_bytes");
    create(&mut stream, "many", PARTITIONS);
    for from in (0..PARTITIONS).step_by(100) {
        produce(&mut stream, "many", from..from + 100, &batch(7, 200));
    }
    until("everything is flushed", || broker.metric("coreline_unflushed_bytes") == 0.0);
    let each = (broker.metric("process_resident_memory_bytes") - before) / f64::from(PARTITIONS);
    requests_over_many_partitions_give_way(&broker, &mut stream, "many", PARTITIONS);
    assert!(each < 32.0 * 1024.0, "{each} bytes for each idle partition");
    let files = broker.metric("coreline_open_segment_files");
    assert!(files <= FILES, "{files} segment files are open");
    produce(&mut stream, "many", 0..PARTITIONS, &batch(8, 200));
    broker.kill();

    let broker = Broker::start(folder.path(), &args);
    let mut stream = broker.connect();
    produce(&mut stream, "many", 0..PARTITIONS, &batch(9, 200));
    for partition in (0..PARTITIONS).step_by(37) {
        let (records, high_watermark) = fetch(&mut stream, "many", partition, 0, 100_000);
        assert_eq!((whole(&records).map(|(next, _)| next), high_watermark), (Some(5), 5), "partition {partition}");
    }
    let files = broker.metric("coreline_open_segment_files");
    assert!(files <= FILES, "{files} segment files are open");
    broker.stop();
}

/// A log's batches without what the broker stamps, as far as it goes.
fn batches(stream: &mut TcpStream, topic: &str) -> Vec<Vec<u8>> {
    let (mut all, mut offset) = (Vec::new(), 0);
    loop {
        let (records, high_watermark) = fetch(stream, topic, 0, offset, 1 << 20);
        let Some((next, len)) = whole(&records) else {
            assert_eq!(offset, high_watermark, "{topic} ends early");
            return all;
        };
        let mut at = 0;
        while at < len {
            let size = 12 + i32::from_be_bytes(records[at + 8..at + 12].try_into().unwrap()) as usize;
            assert_eq!(i64::from_be_bytes(records[at..at + 8].try_into().unwrap()), all.len() as i64, "{topic}: offsets without a gap");
            all.push(records[at + 16..at + size].to_vec());
            at += size;
        }
        offset = next;
    }
}

/// kill -9 right behind the last acknowledgement, again and again. `durable` and `replicated` lose nothing; `memory` may lose what no write had taken
/// yet, never from the middle, and nothing from before a durable batch of the same journal. (A power cut is another matter: `storage/FORMAT.md`.)
#[test]
fn each_durability_class_keeps_over_a_kill_what_it_promises() {
    const CLASSES: [&str; 3] = ["memory", "replicated", "durable"];
    let data = dir();
    let args = [
        "--shards",
        "1",
        "--set",
        "journal.file.bytes=1048576",
        "--set",
        "journal.max.bytes=4194304",
        "--set",
        "log.segment.bytes=1048576",
    ];
    let mut broker = Broker::start(data.path(), &args);
    let mut stream = broker.connect();
    CLASSES.iter().for_each(|class| create_with(&mut stream, class, 1, &[("durability.class", class)]));
    let mut sent: Vec<Vec<Vec<u8>>> = vec![Vec::new(); CLASSES.len()];
    for round in 0..4u8 {
        let mut promised = [0; CLASSES.len()];
        for number in 0..40usize {
            let last_durable = number < 30;
            for (index, class) in CLASSES.iter().enumerate().filter(|(index, _)| last_durable || *index < 2) {
                let batch = batch(round * 40 + number as u8, 100 + number * 97 + usize::from(round) * 1000);
                produce(&mut stream, class, std::iter::once(0), &batch);
                sent[index].push(batch[16..].to_vec());
                match *class {
                    "durable" => promised = [sent[0].len(), sent[1].len(), sent[2].len()],
                    "replicated" => promised[index] = sent[index].len(),
                    _ => {}
                }
            }
        }
        broker.kill();
        broker = Broker::start(data.path(), &args);
        stream = broker.connect();
        for (index, class) in CLASSES.iter().enumerate() {
            let found = batches(&mut stream, class);
            let (wanted, promised) = (&mut sent[index], promised[index]);
            assert!(found.len() >= promised, "{class}, round {round}: {} of {} batches, {promised} promised", found.len(), wanted.len());
            assert!(wanted.starts_with(&found), "{class}, round {round}: other batches than were sent");
            println!("{class}, round {round}: {} of {} acknowledged batches are there, {promised} promised", found.len(), wanted.len());
            wanted.truncate(found.len());
        }
    }
    broker.stop();
}
