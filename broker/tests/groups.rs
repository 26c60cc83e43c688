//! Real clients in consumer groups against the real process: members join, are added, killed and leave, the broker is stopped and killed under
//! them, offsets are reset; from what the members tell it is checked that every partition has one owner at a time and per generation, that
//! committed offsets never go back by themselves, and that no record is lost or read by two owners in one generation.
//!
//! The members are the client programs of `broker/tests/clients/`, driven by lines (`member`, in its README). The variables of
//! `interop.rs` hold here too: `CORELINE_INTEROP_VERBOSE=1` prints the steps, `CORELINE_INTEROP_TARGET=kafka KAFKA_LIBS=DIR` is the control,
//! `CORELINE_GROUP_ROUNDS=20` repeats every life so often, `CORELINE_GROUP_ONLY=python` leaves out the kinds without that in their name.

#![allow(clippy::disallowed_methods, reason = "a test process has no shards: it waits for child processes")]

mod groups {
    pub(crate) mod command_line;
    pub(crate) mod group;
    pub(crate) mod history;
    pub(crate) mod member;
    pub(crate) mod migration;
    pub(crate) mod pattern;
    pub(crate) mod scenario;
}
#[path = "interop/harness.rs"]
mod harness;
#[path = "interop/probe.rs"]
mod probe;
#[path = "interop/process.rs"]
mod process;
#[path = "interop/recipes.rs"]
mod recipes;
#[path = "interop/toolchain.rs"]
mod toolchain;

use groups::command_line::command_line;
use groups::group::{HELPER, Kind, Programs};
use groups::migration::migration;
use groups::pattern::pattern;
use groups::scenario::{life, storm};
use std::io::Write;
use std::thread;
use std::time::Instant;
use toolchain::Recipe;

const CLIENTS: [(&str, &Recipe); 5] = [
    ("java", &recipes::JAVA),
    ("librdkafka", &recipes::LIBRDKAFKA),
    ("franz-go", &recipes::FRANZ),
    ("kafka-python", &recipes::PYTHON),
    ("kafkajs", &recipes::NODE),
];

const fn classic(client: &'static str, assignor: &'static str, cooperative: bool, statics: bool) -> Kind {
    Kind { client, protocol: "classic", assignor: Some(assignor), cooperative, statics }
}

const JAVA_RANGE: Kind = classic("java", "range", false, true);
const LIBRDKAFKA_RANGE: Kind = classic("librdkafka", "range", false, true);

#[test]
fn classic_groups_of_java() {
    lives("classic_groups_of_java", &[JAVA_RANGE, classic("java", "cooperative-sticky", true, false)]);
}

#[test]
fn classic_groups_of_the_others() {
    lives(
        "classic_groups_of_the_others",
        &[
            LIBRDKAFKA_RANGE,
            classic("librdkafka", "cooperative-sticky", true, false),
            classic("franz-go", "range", false, false),
            classic("franz-go", "cooperative-sticky", true, true),
            classic("kafka-python", "range", false, true),
            classic("kafka-python", "cooperative-sticky", true, false),
            // It has neither cooperative assignors nor static members.
            classic("kafkajs", "roundrobin", false, false),
        ],
    );
}

#[test]
fn java_and_librdkafka_share_a_classic_group() {
    let test = "java_and_librdkafka_share_a_classic_group";
    let kinds = [JAVA_RANGE, LIBRDKAFKA_RANGE, JAVA_RANGE, LIBRDKAFKA_RANGE, LIBRDKAFKA_RANGE];
    let Some(programs) = prepare(&kinds) else { return };
    rounds(test, || vec![storm(&programs, "java and librdkafka, range", &kinds)]);
}

const fn consumer(client: &'static str, assignor: Option<&'static str>) -> Kind {
    Kind { client, protocol: "consumer", assignor, cooperative: true, statics: true }
}

#[test]
fn consumer_groups_of_all_who_have_them() {
    lives(
        "consumer_groups_of_all_who_have_them",
        &[
            consumer("java", None),
            consumer("librdkafka", None),
            consumer("librdkafka", Some("range")),
            // It leaves out its instance id when a static member says goodbye, which Kafka refuses too: its place is taken until its session ends.
            Kind { statics: false, ..consumer("franz-go", None) },
        ],
    );
}

#[test]
fn java_librdkafka_and_franz_go_share_a_consumer_group() {
    let test = "java_librdkafka_and_franz_go_share_a_consumer_group";
    let kinds = [consumer("java", None), consumer("librdkafka", None), consumer("franz-go", None), consumer("librdkafka", None)];
    let Some(programs) = prepare(&kinds) else { return };
    rounds(test, || vec![storm(&programs, "java, librdkafka and franz-go, uniform", &kinds)]);
}

/// Members of the classic protocol are joined by one of the consumer protocol, and are left alone again.
#[test]
fn groups_migrate_online_in_both_directions() {
    let test = "groups_migrate_online_in_both_directions";
    let (java, librdkafka) = (classic("java", "cooperative-sticky", true, false), classic("librdkafka", "cooperative-sticky", true, false));
    let cases = [([JAVA_RANGE, LIBRDKAFKA_RANGE], consumer("java", None)), ([java, librdkafka], consumer("librdkafka", None))];
    let Some(programs) = prepare(&[JAVA_RANGE, LIBRDKAFKA_RANGE]) else { return };
    rounds(test, || {
        let programs = &programs;
        let start = |case: &([Kind; 2], Kind)| {
            let (old, new) = *case;
            move || migration(programs, old, new)
        };
        thread::scope(|scope| {
            let all: Vec<_> = cases.iter().map(|case| scope.spawn(start(case))).collect();
            all.into_iter().map(|one| one.join().unwrap_or_else(|_| Err("the driver panicked".to_owned()))).collect()
        })
    });
}

/// Topics that match an expression come and go under their members; the broker searches for the topics (KIP-848).
#[test]
fn java_and_librdkafka_subscribe_an_expression() {
    let test = "java_and_librdkafka_subscribe_an_expression";
    let (java, librdkafka) = (consumer("java", None), consumer("librdkafka", None));
    let Some(programs) = prepare(&[java, librdkafka]) else { return };
    rounds(test, || {
        thread::scope(|scope| {
            let other = scope.spawn(|| pattern(&programs, [librdkafka, consumer("librdkafka", Some("range"))]));
            let first = pattern(&programs, [java, librdkafka]);
            vec![first, other.join().unwrap_or_else(|_| Err("the driver panicked".to_owned()))]
        })
    });
}

/// The command line is a classic member, also of a group of the consumer protocol.
#[test]
fn the_command_line_shares_a_group_with_a_real_client() {
    let test = "the_command_line_shares_a_group_with_a_real_client";
    let Some(programs) = prepare(&[LIBRDKAFKA_RANGE]) else { return };
    rounds(test, || {
        thread::scope(|scope| {
            let other = scope.spawn(|| command_line(&programs, consumer("librdkafka", None)));
            let first = command_line(&programs, LIBRDKAFKA_RANGE);
            vec![first, other.join().unwrap_or_else(|_| Err("the driver panicked".to_owned()))]
        })
    });
}

/// Each life has a broker of its own and waits most of the time: all at once.
fn lives(test: &str, kinds: &[Kind]) {
    let only = std::env::var("CORELINE_GROUP_ONLY").unwrap_or_default();
    let kinds: Vec<Kind> = kinds.iter().filter(|kind| kind.name().contains(&only)).copied().collect();
    let Some(programs) = prepare(&kinds) else { return };
    rounds(test, || {
        thread::scope(|scope| {
            let all: Vec<_> = kinds.iter().map(|kind| scope.spawn(|| life(&programs, *kind))).collect();
            all.into_iter().map(|one| one.join().unwrap_or_else(|_| Err("the driver panicked".to_owned()))).collect()
        })
    });
}

/// As often as `CORELINE_GROUP_ROUNDS` says.
fn rounds(test: &str, one: impl Fn() -> Vec<Result<String, String>>) {
    let rounds = std::env::var("CORELINE_GROUP_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1);
    for _ in 0..rounds {
        let start = Instant::now();
        report(test, start, one());
    }
}

/// None, printed, when one of the clients cannot run here.
fn prepare(kinds: &[Kind]) -> Option<Programs> {
    let needed = |client: &str| client == HELPER || kinds.iter().any(|kind| kind.client == client);
    let mut programs = Programs::new();
    for (client, recipe) in CLIENTS.iter().filter(|(client, _)| needed(client)) {
        programs.insert(client, toolchain::prepare(recipe)?);
    }
    Some(programs)
}

fn report(test: &str, start: Instant, results: Vec<Result<String, String>>) {
    let mut failures = Vec::new();
    for result in results {
        match result {
            Ok(line) => drop(writeln!(std::io::stderr(), "groups: {test} in {:.1} s: {line}", start.elapsed().as_secs_f32())),
            Err(reason) => failures.push(reason),
        }
    }
    let control = match harness::Target::from_env() {
        harness::Target::Coreline => String::new(),
        harness::Target::Kafka { libs } => format!("CORELINE_INTEROP_TARGET=kafka KAFKA_LIBS={} ", libs.display()),
    };
    assert!(
        failures.is_empty(),
        "{}\n\nrepeat with: {control}cargo test -p coreline-broker --test groups {test} -- --exact --nocapture",
        failures.join("\n\n")
    );
}
