//! Real clients against the real process: every client family creates topics, produces and consumes (plain and in a group) with
//! every codec it has, over restarts and kills of the broker, on one and on two shards; contents are compared byte by byte.
//!
//! One test per client and number of shards, and one where every client reads what every other wrote. The client programs live in
//! `broker/tests/clients/` and are built by the test (`interop/toolchain.rs`).
//!
//! | variable | meaning |
//! |---|---|
//! | `CORELINE_INTEROP_SEED=SEED:BASE` | repeats the record sets of a failed run; the failure prints it. The seed is 1 by default, `clock` draws one |
//! | `CORELINE_INTEROP_TARGET=kafka`, `KAFKA_LIBS=DIR` | the control: the same suite against Apache Kafka, DIR holds its jars |
//! | `CORELINE_INTEROP_BINARY=PATH` | another build of the broker: an optimized one, or an older one |
//! | `CORELINE_INTEROP_VERBOSE=1` | prints every step as it is done |
//! | `CORELINE_INTEROP_KEEP=1` | keeps data folder and log of the broker |
//! | `CI=true` | a missing toolchain is a failure instead of a printed skip |

#![allow(clippy::disallowed_methods, reason = "a test process has no shards: it polls child processes and sleeps between")]

#[path = "interop/base64.rs"]
mod base64;
#[path = "interop/client.rs"]
mod client;
#[path = "interop/harness.rs"]
mod harness;
#[path = "interop/kcat.rs"]
mod kcat;
#[path = "interop/probe.rs"]
mod probe;
#[path = "interop/process.rs"]
mod process;
#[path = "interop/recipes.rs"]
mod recipes;
#[path = "interop/records.rs"]
mod records;
#[path = "interop/scenario.rs"]
mod scenario;
#[path = "interop/toolchain.rs"]
mod toolchain;

use client::{Abilities, Client, Family};
use records::Seed;
use scenario::{ONE_SHARD, Plan, Scenario, TWO_SHARDS};
use std::io::Write;
use std::time::Instant;
use toolchain::Recipe;

static JAVA: Family = Family { name: "java", recipe: Some(&recipes::JAVA), able: Abilities::ALL };

static FRANZ: Family = Family { name: "franz-go", recipe: Some(&recipes::FRANZ), able: Abilities::ALL };

static PYTHON: Family = Family {
    name: "kafka-python",
    recipe: Some(&recipes::PYTHON),
    // It refuses null header values, and a record with neither key nor value.
    able: Abilities { null_headers: false, null_key_and_value: false, ..Abilities::ALL },
};

static NODE: Family = Family {
    name: "kafkajs",
    recipe: Some(&recipes::NODE),
    // Its headers are an object, and it cannot measure a null value there.
    able: Abilities { null_headers: false, interleaved_headers: false, ..Abilities::ALL },
};

static PLATFORMATIC: Family = Family {
    name: "platformatic",
    recipe: Some(&Recipe {
        folder: "node-platformatic",
        needs: &[&["node", "--version"], &["npm", "--version"]],
        build: &[&["npm", "ci", "--no-audit", "--no-fund"]],
        run: &["node", "./main.js"],
    }),
    // zstd only where Node itself has it (22.15+).
    able: Abilities { codecs: &["none", "gzip", "snappy", "lz4"], reads_all: false, ..Abilities::ALL },
};

static LIBRDKAFKA: Family = Family { name: "librdkafka", recipe: Some(&recipes::LIBRDKAFKA), able: Abilities::ALL };

static KCAT: Family = Family {
    name: "kcat",
    recipe: None,
    able: Abilities {
        null_key_and_value: false,
        empty_keys: false,
        timestamps: false,
        partitioner: false,
        other_acks: false,
        deletes: false,
        ..Abilities::ALL
    },
};

static FAMILIES: [&Family; 7] = [&JAVA, &FRANZ, &PYTHON, &NODE, &PLATFORMATIC, &LIBRDKAFKA, &KCAT];

#[test]
fn java_on_one_shard() {
    check("java_on_one_shard", &JAVA, ONE_SHARD);
}

#[test]
fn java_on_two_shards() {
    check("java_on_two_shards", &JAVA, TWO_SHARDS);
}

#[test]
fn franz_go_on_one_shard() {
    check("franz_go_on_one_shard", &FRANZ, ONE_SHARD);
}

#[test]
fn franz_go_on_two_shards() {
    check("franz_go_on_two_shards", &FRANZ, TWO_SHARDS);
}

#[test]
fn kafka_python_on_one_shard() {
    check("kafka_python_on_one_shard", &PYTHON, ONE_SHARD);
}

#[test]
fn kafka_python_on_two_shards() {
    check("kafka_python_on_two_shards", &PYTHON, TWO_SHARDS);
}

#[test]
fn kafkajs_on_one_shard() {
    check("kafkajs_on_one_shard", &NODE, ONE_SHARD);
}

#[test]
fn kafkajs_on_two_shards() {
    check("kafkajs_on_two_shards", &NODE, TWO_SHARDS);
}

#[test]
fn platformatic_on_one_shard() {
    check("platformatic_on_one_shard", &PLATFORMATIC, ONE_SHARD);
}

#[test]
fn platformatic_on_two_shards() {
    check("platformatic_on_two_shards", &PLATFORMATIC, TWO_SHARDS);
}

#[test]
fn librdkafka_on_one_shard() {
    check("librdkafka_on_one_shard", &LIBRDKAFKA, ONE_SHARD);
}

#[test]
fn librdkafka_on_two_shards() {
    check("librdkafka_on_two_shards", &LIBRDKAFKA, TWO_SHARDS);
}

#[test]
fn kcat_on_one_shard() {
    check("kcat_on_one_shard", &KCAT, ONE_SHARD);
}

#[test]
fn kcat_on_two_shards() {
    check("kcat_on_two_shards", &KCAT, TWO_SHARDS);
}

#[test]
fn every_client_reads_what_every_other_wrote() {
    let seed = Seed::from_env();
    let clients: Vec<Client> = FAMILIES.iter().filter_map(|family| Client::prepare(family)).collect();
    let start = Instant::now();
    match scenario::cross(&clients, seed) {
        Ok(log) => tell("every_client_reads_what_every_other_wrote", start, &log),
        Err(reason) => fail("every_client_reads_what_every_other_wrote", seed, &reason),
    }
}

/// Five times in the ordinary tests; `CORELINE_KILL_ROUNDS=200` is the long run.
#[test]
fn nothing_is_lost_or_doubled_when_the_broker_is_killed_again_and_again() {
    let test = "nothing_is_lost_or_doubled_when_the_broker_is_killed_again_and_again";
    let seed = Seed::from_env();
    let rounds = std::env::var("CORELINE_KILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(5);
    let Some(client) = Client::prepare(&LIBRDKAFKA) else { return };
    let start = Instant::now();
    match Scenario::start(&client, 1, seed).and_then(|scenario| scenario.kill_again_and_again(rounds)) {
        Ok(log) => tell(test, start, &log),
        Err(reason) => fail(test, seed, &reason),
    }
}

fn check(test: &str, family: &'static Family, plan: Plan) {
    let seed = Seed::from_env();
    let Some(client) = Client::prepare(family) else { return };
    let start = Instant::now();
    let done = client.version().and_then(|version| {
        let log = Scenario::start(&client, plan[0], seed)?.run(plan)?;
        Ok([vec![version], log].concat())
    });
    match done {
        Ok(log) => tell(test, start, &log),
        Err(reason) => fail(test, seed, &reason),
    }
}

/// One line past the capture: the clients' versions and what each did are a result of their own.
fn tell(test: &str, start: Instant, log: &[String]) {
    let _ = writeln!(std::io::stderr(), "interop: {test} in {:.1} s: {}", start.elapsed().as_secs_f32(), log.join(", "));
}

fn fail(test: &str, seed: Seed, reason: &str) -> ! {
    let control = match harness::Target::from_env() {
        harness::Target::Coreline => String::new(),
        harness::Target::Kafka { libs } => format!("CORELINE_INTEROP_TARGET=kafka KAFKA_LIBS={} ", libs.display()),
    };
    panic!(
        "{test}: {reason}\n\nrepeat with: {control}CORELINE_INTEROP_SEED={}:{} cargo test -p coreline-broker --test interop {test} -- --exact --nocapture",
        seed.seed, seed.base_ms
    );
}
