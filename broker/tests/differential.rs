//! What the wire answers, request by request, against what Apache Kafka 4.3 answered to the same requests.
//!
//! The answers of Kafka are in `differential/kafka-4.3*.txt`, one file per part of the table, its error texts included. To record a part
//! again, start a Kafka 4.3 with one node and the settings of [`SETTINGS`] and [`KAFKA_ONLY`] on an empty directory and run its test with
//! `CORELINE_DIFFERENTIAL_TARGET=HOST:PORT` (`CORELINE_DIFFERENTIAL_OUTPUT=DIRECTORY` writes elsewhere). Answers are masked: ids, ports,
//! wall-clock times. What the broker does not advertise is skipped, and must stand in `allowed::NOT_SERVED`; what differs must stand in
//! the part's list there. `-- --nocapture` prints what was skipped, `CORELINE_DIFFERENTIAL_WORDS=1` the errors told in other words.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout, unreachable_pub)] // A client may sleep between two questions.

mod common;
mod differential {
    pub mod allowed;
    pub mod configs;
    pub mod consumer_groups;
    pub mod fetch;
    pub mod golden;
    pub mod group_admin;
    pub mod group_odd;
    pub mod groups;
    pub mod hostile;
    pub mod later;
    pub mod log_reads;
    pub mod metadata;
    pub mod migration;
    pub mod mixed;
    pub mod odd;
    pub mod produce;
    pub mod quotas;
    pub mod resources;
    pub mod session;
    pub mod surface;
    pub mod telemetry;
    pub mod topics;
    pub mod two_clients;
}

use differential::golden::{Part, Words};
use differential::session::Session;
use differential::{
    allowed, configs, consumer_groups, fetch, golden, group_admin, group_odd, groups, hostile, later, log_reads, metadata, migration,
    mixed, odd, produce, quotas, resources, surface, telemetry, topics, two_clients,
};

/// Settings that both brokers run with, as `--set` takes them.
const SETTINGS: &[&str] = &["offsets.topic.num.partitions=8", "group.initial.rebalance.delay.ms=0"];

/// Settings of the Kafka that is recorded alone: answers of a rebalance come with the heartbeat that starts it.
#[allow(dead_code)] // For whoever records.
const KAFKA_ONLY: &[&str] = &["group.consumer.assignment.interval.ms=0"];

/// Records or compares one part of the table.
fn check(part: &Part, cases: impl Fn(&mut Session)) {
    if let Ok(target) = std::env::var("CORELINE_DIFFERENTIAL_TARGET") {
        let mut session = Session::new(target.parse().expect("HOST:PORT"), true);
        cases(&mut session);
        golden::write(part, &session);
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
        cases(&mut session);
        golden::compare(part, &session, allowed::NOT_SERVED);
        if shards == "2" {
            hostile::replay(&broker, &session);
        }
        broker.stop();
    }
}

#[test]
fn the_log_and_its_topics_answer_what_kafka_answers() {
    check(&Part { file: "kafka-4.3.txt", allowed: allowed::LOG_AND_METADATA, words: Words::Exact }, |session| {
        metadata::versions(session);
        topics::cases(session);
        metadata::cases(session);
        produce::cases(session);
        fetch::cases(session);
        log_reads::cases(session);
        configs::cases(session);
        groups::cases(session);
        later::cases(session);
        two_clients::cases(session);
    });
}

#[test]
fn groups_answer_what_kafka_answers() {
    check(&Part { file: "kafka-4.3-groups.txt", allowed: allowed::GROUPS, words: Words::Exact }, |session| {
        groups::ready(session);
        group_admin::cases(session);
        group_odd::cases(session);
    });
}

#[test]
fn consumer_groups_answer_what_kafka_answers() {
    let part = Part { file: "kafka-4.3-consumer-groups.txt", allowed: allowed::CONSUMER_GROUPS, words: Words::Present };
    check(&part, |session| {
        groups::ready(session);
        consumer_groups::cases(session);
        migration::cases(session);
    });
}

#[test]
fn the_rest_for_operators_answers_what_kafka_answers() {
    check(&Part { file: "kafka-4.3-surface.txt", allowed: allowed::SURFACE, words: Words::Present }, |session| {
        surface::cases(session);
        resources::cases(session);
        odd::cases(session);
    });
}

#[test]
fn quotas_answer_what_kafka_answers() {
    check(&Part { file: "kafka-4.3-quotas.txt", allowed: allowed::QUOTAS, words: Words::Exact }, |session| {
        quotas::cases(session);
    });
}

#[test]
fn telemetry_answers_what_kafka_answers() {
    check(&Part { file: "kafka-4.3-telemetry.txt", allowed: allowed::TELEMETRY, words: Words::Present }, |session| {
        telemetry::cases(session);
    });
}

#[test]
fn half_right_requests_get_what_kafka_answers() {
    check(&Part { file: "kafka-4.3-mixed.txt", allowed: allowed::MIXED, words: Words::Present }, mixed::cases);
}
