//! What the wire answers, request by request, against what Apache Kafka 4.3 answered to the same requests.
//!
//! The answers of Kafka are in `differential/kafka-4.3.txt`. To record them again, start a Kafka 4.3 with one node and the settings of
//! [`SETTINGS`] on an empty directory and run this test with `CORELINE_DIFFERENTIAL_TARGET=HOST:PORT`
//! (`CORELINE_DIFFERENTIAL_OUTPUT=FILE` writes elsewhere). Answers are masked: ids, ports, wall-clock times.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, unreachable_pub)] // A client may sleep between two questions.

mod common;
mod differential {
    pub mod configs;
    pub mod fetch;
    pub mod golden;
    pub mod groups;
    pub mod log_reads;
    pub mod metadata;
    pub mod produce;
    pub mod session;
    pub mod topics;
    pub mod two_clients;
}

use differential::session::Session;
use differential::{configs, fetch, golden, groups, log_reads, metadata, produce, topics, two_clients};

/// Settings that both brokers run with, as `--set` takes them.
const SETTINGS: &[&str] = &["offsets.topic.num.partitions=8", "group.initial.rebalance.delay.ms=0"];

/// Cases that differ on purpose, by a part of their name, with the reason. An entry that matches no difference fails the test.
const ALLOWED: &[(&str, &str)] = &[
    ("Metadata v1 with a byte too many", "a body is read to its last byte; Kafka ignores what follows"),
    ("Metadata v1 count -2", "only -1 is null; Kafka takes any negative count for it"),
    ("Metadata v1 name that is no UTF-8", "text is UTF-8; Kafka puts marks in its place"),
    ("Produce v9 bytes behind the batch", "the one batch is all there may be; Kafka ignores less than a batch behind it"),
    ("Produce v9 codec 5", "unsupported compression; Kafka fails with an unknown error"),
    ("Produce v9 codec 7", "the same"),
    ("Produce v9 codec gzip on plain bytes", "only a rule of the topic makes us decompress, which saves most of the CPU"),
    ("Produce v9 delete horizon bit", "only a broker's cleaner may set it; Kafka stores it"),
    ("Produce v9 producer with epoch -1", "a producer id comes with an epoch; Kafka stores it"),
    ("append time bit", "only a broker may set it, whatever the topic says; Kafka lets it pass where the topic has CreateTime"),
    ("Produce v9 repeated", "no append time where there is none; Kafka tells the timestamp of the batch it kept"),
    ("Produce v9 sequence wraps again", "the same"),
    ("Produce v9 across the wrap again", "the same"),
    ("transactional", "there are no transactions yet"),
    ("Fetch v12 partition twice", "each naming is answered; Kafka answers the last"),
    ("Fetch v12 topic twice", "the same"),
    ("Fetch v12 session, empty", "a session without partitions gets no slot"),
    ("Fetch v13 session by id, deleted topic", "an unknown id is an unknown id in a session too"),
    ("ListOffsets v7 all deleted -3", "no record is left; Kafka finds a deleted one"),
    ("CreateTopics v7 with list config", "a list has one spelling, without spaces"),
    ("topic durability.class", "a setting of ours"),
    ("IncrementalAlterConfigs v1 unknown on broker", "a setting that nobody reads is refused"),
    ("IncrementalAlterConfigs v1 per-broker key on all brokers", "read-only here, for one broker only there: other words, same code"),
    ("DescribeConfigs v4 after dynamic changes", "synonyms are those that are set, and the default's own name"),
];

fn run(session: &mut Session) {
    metadata::versions(session);
    topics::cases(session);
    metadata::cases(session);
    produce::cases(session);
    fetch::cases(session);
    log_reads::cases(session);
    configs::cases(session);
    groups::cases(session);
    two_clients::cases(session);
}

#[test]
fn the_wire_answers_what_kafka_answers() {
    if let Ok(target) = std::env::var("CORELINE_DIFFERENTIAL_TARGET") {
        let mut session = Session::new(target.parse().expect("HOST:PORT"), true);
        run(&mut session);
        golden::write(&session.answers);
        return;
    }
    for shards in ["1", "2"] {
        let dir = common::dir();
        let mut args = vec!["--shards", shards];
        for setting in SETTINGS {
            args.extend(["--set", setting]);
        }
        let broker = common::Broker::start(dir.path(), &args);
        let mut session = Session::new(broker.addr, false);
        run(&mut session);
        golden::compare(&session.answers, ALLOWED);
        broker.stop();
    }
}
