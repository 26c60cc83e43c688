//! Kafka's own command-line tools, Streams and Connect against the real process. Every command of `tools/script.txt` has to end and print what it did with Apache
//! Kafka 4.3.1 (`tools/recorded.txt`), apart from ids, times and addresses. All run in one virtual machine (`tests/clients/java-tools`).
//!
//! Prints a matrix of tools and verbs. To record again after the script changed (the suite's own build has the jars of a whole broker):
//! `CORELINE_INTEROP_TARGET=kafka KAFKA_LIBS=$PWD/target/interop-clients/java-tools/target/libs CORELINE_TOOLS_RECORD=1 cargo test -p coreline-broker --test tools kafkas_tools`

#![allow(clippy::disallowed_methods, reason = "a test process has no shards: it waits for child processes")]

mod tools {
    pub(crate) mod machine;
    pub(crate) mod platform;
    pub(crate) mod script;
}
#[path = "interop/harness.rs"]
mod harness;
#[path = "interop/probe.rs"]
mod probe;
#[path = "interop/process.rs"]
mod process;
#[path = "interop/recipe_tools.rs"]
mod recipe_tools;
#[path = "interop/toolchain.rs"]
mod toolchain;

use harness::{Broker, Target};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};
use tools::machine::{Answer, Machine};
use tools::script::{Line, normal, parse};

const SCRIPT: &str = include_str!("tools/script.txt");
const RECORDED: &str = include_str!("tools/recorded.txt");
const UNTIL_WITHIN: Duration = Duration::from_secs(60);

/// What may differ: how a line of the script begins, and why.
const ALLOWED: &[(&str, &str)] = &[
    ("topics --create --topic wide", "the sentence: log directories are not cordoned here"),
    ("topics --describe --topic squeezed", MIN_ISR),
    ("topics --describe --topic 'pla.*'", MIN_ISR),
    ("topics --describe --topics-with-overrides", MIN_ISR),
    ("configs --describe --entity-type brokers --entity-default", MIN_ISR),
    ("console-producer --topic squeezed --sync", "the sentence leaves out the partition"),
    ("metadata-quorum describe --status", "voters have directory ids, as in Kafka's dynamic quorums, and the node's one listener"),
];

const MIN_ISR: &str = "Kafka sets min.insync.replicas for the cluster when it formats with eligible leader replicas";

#[test]
fn kafkas_tools_print_what_they_print_with_kafka() {
    let Some(command) = toolchain::prepare(&recipe_tools::TOOLS) else { return };
    let start = Instant::now();
    let mut broker = Broker::start_with(Target::from_env(), 2, &[]).expect("the broker starts");
    let done = run_script(&command, &broker);
    let log = broker.log_tail();
    let results = done.unwrap_or_else(|reason| panic!("{reason}\n\nthe broker's last lines:\n{log}"));
    broker.stop().expect("the broker stops");
    if std::env::var_os("CORELINE_TOOLS_RECORD").is_some() {
        let text: String = results.iter().map(|(line, text)| format!("$ {}\n{text}\n", line.text)).collect();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/recorded.txt");
        std::fs::write(&path, text).expect("the record is written");
        return;
    }
    let differences = compare(&results);
    let _ = writeln!(
        std::io::stderr(),
        "tools: {} commands in {:.1} s\n{}",
        results.len(),
        start.elapsed().as_secs_f32(),
        matrix(&results, &differences)
    );
    let bad: Vec<&String> = differences.iter().filter(|(_, (allowed, _))| allowed.is_none()).map(|(_, (_, text))| text).collect();
    assert!(
        bad.is_empty(),
        "{} commands print something else than with Kafka:\n\n{}\n\nthe broker's last lines:\n{log}\n\nrepeat with: cargo test -p coreline-broker --test tools kafkas_tools -- --nocapture",
        bad.len(),
        bad.iter().map(|text| text.as_str()).collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn streams_counts_words() {
    platform("streams_counts_words", tools::platform::word_count);
}

#[test]
fn connect_moves_lines_with_one_worker() {
    platform("connect_moves_lines_with_one_worker", tools::platform::connect_standalone);
}

#[test]
fn connect_moves_lines_with_two_workers() {
    platform("connect_moves_lines_with_two_workers", tools::platform::connect_distributed);
}

fn platform(test: &str, work: fn(&[String]) -> Result<String, String>) {
    let Some(command) = toolchain::prepare(&recipe_tools::TOOLS) else { return };
    match work(&command) {
        Ok(line) => drop(writeln!(std::io::stderr(), "tools: {test}: {line}")),
        Err(reason) => panic!("{test}: {reason}\n\nrepeat with: cargo test -p coreline-broker --test tools {test} -- --exact --nocapture"),
    }
}

fn run_script(command: &[String], broker: &Broker) -> Result<Vec<(Line, String)>, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let port = broker.bootstrap().rsplit(':').next().and_then(|port| port.parse().ok()).expect("an address ends with a port");
    let mut machine = Machine::start(command, broker.bootstrap(), folder.path().to_owned())?;
    let data = broker.data();
    let folders = [(folder.path(), "DIR"), (data.as_path(), "DATA")];
    let mut results = Vec::new();
    for line in parse(SCRIPT)? {
        let answer = match line.tool.as_str() {
            "file" => {
                let text = line.args[1].replace("\\n", "\n");
                std::fs::write(folder.path().join(&line.args[0]), text).map_err(|error| error.to_string())?;
                continue;
            }
            "await" => machine.wait(&line.args[0])?,
            _ => match repeated(&mut machine, &line).map_err(|reason| format!("{}: {reason}", line.text))? {
                Some(answer) => answer,
                None => continue,
            },
        };
        let text = normal(&line, answer.exit, &answer.out, &answer.err, &folders, port);
        if std::env::var_os("CORELINE_INTEROP_VERBOSE").is_some() {
            let _ = writeln!(std::io::stderr(), "$ {}  ({} ms)\n{}{}", line.text, answer.ms, answer.out, answer.err);
        }
        results.push((line, text));
    }
    Ok(results)
}

/// Runs the line once, or until its word is printed.
fn repeated(machine: &mut Machine, line: &Line) -> Result<Option<Answer>, String> {
    let deadline = Instant::now() + UNTIL_WITHIN;
    loop {
        let answer = machine.run(line)?;
        let there = |answer: &Answer, word: &str| answer.out.contains(word) || answer.err.contains(word);
        match (&answer, &line.until) {
            (Some(got), Some(word)) if !there(got, word) => {
                if Instant::now() > deadline {
                    return Err(format!("never printed {word}: {got:?}"));
                }
            }
            _ => return Ok(answer),
        }
    }
}

/// Number of the command, whether it may differ (why), and how it does.
type Differences = BTreeMap<usize, (Option<&'static str>, String)>;

fn compare(results: &[(Line, String)]) -> Differences {
    let recorded: Vec<(&str, &str)> =
        RECORDED.split("$ ").filter(|one| !one.is_empty()).map(|one| one.split_once('\n').expect("a command has an answer")).collect();
    let mut found = Differences::new();
    for (at, (line, text)) in results.iter().enumerate() {
        let wanted = recorded.get(at).filter(|(name, _)| *name == line.text).map(|(_, wanted)| *wanted);
        let wanted = wanted.unwrap_or("not recorded: the script changed, record it again\n").trim_end();
        if wanted != text.trim_end() {
            let why = ALLOWED.iter().find(|(prefix, _)| line.text.starts_with(prefix)).map(|(_, why)| *why);
            found.insert(at, (why, format!("$ {}\n  Kafka:\n{}\n  Coreline:\n{}", line.text, indented(wanted), indented(text))));
        }
    }
    found
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

/// A line for each tool: its verbs, and which of them differ.
fn matrix(results: &[(Line, String)], differences: &Differences) -> String {
    let mut tools: BTreeMap<String, BTreeMap<String, Option<String>>> = BTreeMap::new();
    for (at, (line, _)) in results.iter().enumerate().filter(|(_, (line, _))| line.tool != "await") {
        let (tool, verb) = line.verb();
        let cell = tools.entry(tool).or_default().entry(verb).or_default();
        if let Some((why, _)) = differences.get(&at) {
            *cell = Some(why.unwrap_or("DIFFERS").to_owned());
        }
    }
    let verb = |(verb, differs): (&String, &Option<String>)| match differs {
        None if verb.is_empty() => "ok".to_owned(),
        None => verb.clone(),
        Some(why) => format!("{verb} [{why}]"),
    };
    let rows = tools.iter().map(|(tool, verbs)| format!("| {tool} | {} |\n", verbs.iter().map(verb).collect::<Vec<_>>().join("; ")));
    format!("| tool | verbs as with Kafka [differs because] |\n|---|---|\n{}", rows.collect::<String>())
}
