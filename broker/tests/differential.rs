//! What the wire answers, request by request, against what Apache Kafka 4.3 answered to the same requests.
//!
//! The answers of Kafka are in `differential/kafka-4.3.txt`. To record them again, start a Kafka 4.3 with one node and the settings of
//! [`SETTINGS`] on an empty directory and run this test with `CORELINE_DIFFERENTIAL_TARGET=HOST:PORT`
//! (`CORELINE_DIFFERENTIAL_OUTPUT=FILE` writes elsewhere). Answers are masked: ids, ports, wall-clock times.
#![allow(clippy::unwrap_used, unreachable_pub)]

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
}

use differential::session::Session;
use differential::{configs, fetch, golden, groups, log_reads, metadata, produce, topics};

/// Settings that both brokers run with, as `--set` takes them.
const SETTINGS: &[&str] = &["offsets.topic.num.partitions=8", "group.initial.rebalance.delay.ms=0"];

/// Cases that differ on purpose, by the start of their name, with the reason. An entry that matches no difference fails the test.
const ALLOWED: &[(&str, &str)] = &[];

fn run(session: &mut Session) {
    metadata::versions(session);
    topics::cases(session);
    metadata::cases(session);
    produce::cases(session);
    fetch::cases(session);
    log_reads::cases(session);
    configs::cases(session);
    groups::cases(session);
}

#[test]
fn the_wire_answers_what_kafka_answers() {
    if let Ok(target) = std::env::var("CORELINE_DIFFERENTIAL_TARGET") {
        let mut session = Session::new(target.parse().expect("HOST:PORT"), true);
        run(&mut session);
        golden::write(&session.answers);
        return;
    }
    let dir = common::dir();
    let mut args = Vec::new();
    for setting in SETTINGS {
        args.extend(["--set", setting]);
    }
    let broker = common::Broker::start(dir.path(), &args);
    let mut session = Session::new(broker.addr, false);
    run(&mut session);
    golden::compare(&session.answers, ALLOWED);
    broker.stop();
}
