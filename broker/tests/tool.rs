//! The command line for people, run as a user runs it: output, JSON, exit codes and the sentences that say what to do.
//!
//! `cargo test -p coreline-broker --test tool` starts a broker for each test. `CORELINE_TEST_BROKERS=HOST:PORT cargo test -p coreline-broker --test tool`
//! runs the same against any Kafka-protocol cluster; what a cluster has no API for is left out with a printed line.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// A user with a home and a cluster.
struct User {
    brokers: String,
    home: TempDir,
    /// Ends with the test.
    _broker: Option<(common::Broker, TempDir)>,
}

/// What a command did.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
    command: String,
}

impl Ran {
    fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "`{}`\n{}\n{}", self.command, self.out, self.err);
        self.out
    }

    fn fails(self, code: i32, part: &str) -> String {
        assert_eq!(self.code, Some(code), "`{}`\n{}\n{}", self.command, self.out, self.err);
        assert!(self.err.contains(part), "`{}` should say {part:?}:\n{}", self.command, self.err);
        self.out
    }
}

impl User {
    /// With a broker of its own, or the cluster of `CORELINE_TEST_BROKERS`.
    fn with_cluster() -> User {
        let home = common::dir();
        if let Some(brokers) = std::env::var("CORELINE_TEST_BROKERS").ok().filter(|b| !b.is_empty()) {
            return User { brokers, home, _broker: None };
        }
        let data = common::dir();
        let broker = common::Broker::start(
            data.path(),
            &["--shards", "1", "--set", "offsets.topic.num.partitions=4", "--set", "group.initial.rebalance.delay.ms=0"],
        );
        User { brokers: broker.addr.to_string(), home, _broker: Some((broker, data)) }
    }

    /// With nothing to speak to.
    fn alone() -> User {
        User { brokers: "127.0.0.1:1".into(), home: common::dir(), _broker: None }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coreline"));
        command.args(args).env("XDG_CONFIG_HOME", self.home.path()).env("CORELINE_BROKERS", &self.brokers);
        command.env_remove("CORELINE_PROFILE").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, b"")
    }

    fn run_with(&self, args: &[&str], input: &[u8]) -> Ran {
        let mut child = self.command(args).spawn().expect("the binary starts");
        let mut stdin = child.stdin.take().expect("piped");
        let input = input.to_vec();
        // A command that does not read its input closes it.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().expect("the command ends");
        writer.join().expect("the input is written");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr), command: args.join(" ") }
    }

    fn json(&self, args: &[&str]) -> Value {
        let out = self.run(&[args, &["--json"]].concat()).ok();
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("`{}` prints JSON: {e}\n{out}", args.join(" ")))
    }

    /// Whether the cluster has an API; what needs it is left out otherwise.
    fn has(&self, api: &str) -> bool {
        let apis = self.json(&["cluster", "features", "--apis"]);
        let there = apis.as_array().is_some_and(|all| all.iter().any(|a| a["name"] == api));
        if !there {
            eprintln!("left out: the cluster has no {api}");
        }
        there
    }
}

/// A name that no other test and no other run has.
fn name(stem: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
    format!("{stem}-{now}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Ctrl-C; what the rest of the output was, and the exit code.
fn interrupt(mut child: Child, mut out: impl Read) -> (Option<i32>, String) {
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).expect("it runs");
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("text");
    (child.wait().expect("it ends").code(), rest)
}

#[test]
fn topics_and_settings() {
    let user = User::with_cluster();
    let topic = name("topic");
    let topic = topic.as_str();

    assert_eq!(user.run(&["topic", "create", topic, "-p", "3", "-c", "retention.ms=86400000", "--dry-run"]).ok().lines().count(), 2);
    user.run(&["topic", "describe", topic])
        .fails(1, &format!("topic '{topic}' does not exist; create it with `coreline topic create {topic}`"));
    let out = user.run(&["topic", "create", topic, "-p", "3", "-c", "retention.ms=86400000"]).ok();
    assert!(out.lines().nth(1).is_some_and(|l| l.starts_with(topic) && l.ends_with("created")), "{out}");
    user.run(&["topic", "create", topic]).fails(1, "--if-not-exists");
    user.run(&["topic", "create", topic, "--if-not-exists"]).ok();
    user.run(&["topic", "create", &name("bad"), "-c", "no.such=1"]).fails(1, "INVALID_CONFIG");

    let listed = user.json(&["topic", "list", topic]);
    assert_eq!(listed, serde_json::json!([{"name": topic, "partitions": 3, "replicas": 1, "internal": false}]));
    assert!(user.run(&["topic", "list", &format!("{}*", &topic[..10])]).ok().contains(topic));

    let described = &user.json(&["topic", "describe", topic])[0];
    assert_eq!(described["partitions"].as_array().map(Vec::len), Some(3));
    assert_eq!(described["partitions"][2]["partition"], 2);
    assert_eq!((&described["partitions"][0]["start"], &described["partitions"][0]["end"]), (&Value::from(0), &Value::from(0)));
    assert!(described["configs"].as_array().is_some_and(|all| all.iter().any(|c| c["name"] == "retention.ms" && c["value"] == "86400000")));

    user.run(&["topic", "alter", topic, "--set", "retention.ms=3600000"]).ok();
    assert_eq!(user.run(&["config", "get", "topic", topic, "retention.ms"]).ok(), "3600000\n");
    user.run(&["config", "set", "topic", topic, "max.message.bytes=2000000", "--dry-run"]).ok();
    user.run(&["config", "set", "topic", topic, "max.message.bytes=2000000"]).ok();
    assert!(user.run(&["config", "list", "topic", topic]).ok().contains("max.message.bytes  2000000  topic"));
    user.run(&["config", "unset", "topic", topic, "max.message.bytes"]).ok();
    assert!(!user.run(&["config", "list", "topic", topic]).ok().contains("max.message.bytes"));
    assert!(user.run(&["config", "list", "topic", topic, "--all"]).ok().contains("max.message.bytes"));
    user.run(&["config", "get", "topic", topic, "no.such"]).fails(1, "has no setting 'no.such'");
    user.run(&["config", "list", "topic", "no-such-topic"]).fails(1, "does not exist");
    user.run(&["topic", "alter", topic]).fails(2, "nothing to change");

    user.run(&["topic", "add-partitions", topic, "-n", "1"]).ok();
    assert_eq!(user.json(&["topic", "list", topic])[0]["partitions"], 4);
    user.run(&["topic", "add-partitions", topic, "--to", "2"]).fails(1, "INVALID_PARTITIONS");

    user.run(&["produce", topic, "-p", "0", "-v", "a", "-v", "b", "-v", "c"]).ok();
    user.run(&["topic", "trim", topic, "-o", "9", "-p", "0"]).fails(1, "ends at 3");
    assert!(user.run(&["topic", "trim", topic, "-o", "2", "-p", "0", "--dry-run"]).ok().contains('2'));
    assert_eq!(user.json(&["topic", "trim", topic, "-o", "-1", "-p", "0"])[0]["start"], 2);
    assert_eq!(user.run(&["consume", topic, "-e"]).ok(), "c\n");
    user.run(&["consume", topic, "-p", "0", "-o", "1", "-e"]).fails(1, "offset 1 is not there; the partition has 2 to 3");

    assert_eq!(user.run(&["topic", "delete", topic, "no-such-topic"]).fails(1, "'no-such-topic'").matches("deleted").count(), 1);
    user.run(&["topic", "delete", topic, "--if-exists"]).ok();
}

#[test]
fn the_cluster() {
    let user = User::with_cluster();
    let info = user.json(&["cluster", "info"]);
    let brokers = user.json(&["cluster", "brokers"]);
    // Brokers that are down are listed too, as fenced.
    let up = |all: &Vec<Value>| all.iter().filter(|b| b["fenced"] != true).count() as u64;
    assert_eq!(info["brokers"].as_u64(), brokers.as_array().map(up));
    assert!(user.run(&["cluster", "info"]).ok().starts_with("cluster id  "));
    assert!(user.run(&["cluster", "health"]).ok().starts_with("healthy: "));
    assert_eq!(user.json(&["cluster", "health"])["healthy"], true);
    assert!(user.run(&["cluster", "metadata"]).ok().contains("ID  HOST"));
    assert!(user.json(&["cluster", "metadata"])["topics"].is_array());
    assert!(user.json(&["cluster", "features"]).as_array().is_some_and(|f| !f.is_empty()));
    let broker = brokers[0]["id"].to_string();
    assert!(user.json(&["config", "list", "broker", &broker]).as_array().is_some_and(|c| !c.is_empty()));
    user.run(&["config", "list", "broker", "one"]).fails(2, "'one' is no broker");
    if user.has("DescribeQuorum") {
        assert!(user.run(&["cluster", "quorum"]).ok().starts_with("leader "));
        assert!(user.json(&["cluster", "quorum"])["replicas"][0]["log_end_offset"].is_i64());
    } else {
        user.run(&["cluster", "quorum"]).fails(1, "this cluster does not support DescribeQuorum");
    }
    if user.has("DescribeLogDirs") {
        assert!(user.json(&["cluster", "logdirs"])[0]["directory"].is_string());
        user.run(&["cluster", "logdirs", "--partitions"]).ok();
        user.run(&["cluster", "logdirs", "--broker", "9999"]).fails(1, "there is no broker 9999");
    }
    if user.has("AlterClientQuotas") {
        let app = name("app");
        user.run(&["quota", "set", "--client-id", &app, "producer_byte_rate=1000"]).ok();
        let listed = user.json(&["quota", "list", "--client-id", &app]);
        assert_eq!(listed, serde_json::json!([{"client_id": app, "quota": "producer_byte_rate", "value": 1000.0}]));
        user.run(&["quota", "unset", "--client-id", &app, "producer_byte_rate"]).ok();
        assert_eq!(user.json(&["quota", "list", "--client-id", &app]), serde_json::json!([]));
        user.run(&["quota", "set", "producer_byte_rate=1"]).fails(2, "whose quota?");
    }
}

#[test]
fn records_in_and_out() {
    let user = User::with_cluster();
    let topic = name("records");
    let topic = topic.as_str();
    user.run_with(&["produce", topic], b"x\n").fails(1, "does not exist; create it with");
    user.run(&["topic", "create", topic, "-p", "2"]).ok();
    user.run(&["produce", topic, "-p", "2", "-v", "x"]).fails(1, "has no partition 2; it has 0 to 1");

    // Keys, headers, every codec; then in order out of one partition.
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        user.run_with(&["produce", topic, "-p", "0", "-K", ":", "-z", codec, "-H", &format!("codec={codec}")], b"k:v\n").ok();
    }
    let out = user.run(&["consume", topic, "-e", "-f", "%p %o %k=%v %h\\n"]).ok();
    assert_eq!(out, "0 0 k=v codec=none\n0 1 k=v codec=gzip\n0 2 k=v codec=snappy\n0 3 k=v codec=lz4\n0 4 k=v codec=zstd\n");

    // Places.
    let offsets = |place: &str| user.run(&["consume", topic, "-e", "-p", "0", "-o", place, "-f", "%o "]).ok();
    assert_eq!(offsets("-2"), "3 4 ");
    assert_eq!(offsets("+3"), "3 4 ");
    assert_eq!(offsets("1:3"), "1 2 ");
    assert_eq!(offsets(":2"), "0 1 ");
    assert_eq!(offsets("end"), "");
    assert_eq!(offsets("@-1h"), "0 1 2 3 4 ");
    assert_eq!(offsets("@2001-01-01:@2001-01-02"), "");
    assert_eq!(user.run(&["consume", topic, "-n", "2", "-f", "%i"]).ok(), "12");

    // Bytes that are no text, nulls and times survive a way through files.
    user.run(&["produce", topic, "-p", "1", "-k", "gone", "--tombstone", "--timestamp", "2025-11-22T10:00:00Z"]).ok();
    user.run_with(&["produce", topic, "-p", "1", "-f", "%k{hex} %v{base64}\\n"], b"00ff /w==\n").ok();
    let rows: Vec<Value> = user
        .run(&["consume", topic, "-p", "1", "-e", "--json"])
        .ok()
        .lines()
        .map(|l| serde_json::from_str(l).expect("an object per line"))
        .collect();
    assert_eq!((&rows[0]["key"], &rows[0]["value"], &rows[0]["time"]), (&"gone".into(), &Value::Null, &"2025-11-22T10:00:00.000Z".into()));
    assert_eq!((&rows[1]["key_base64"], &rows[1]["value_base64"]), (&"AP8=".into(), &"/w==".into()));
    let format = "%p %T %K %V %k%v %h{hex}\\n";
    let dump = user.run(&["consume", topic, "-p", "0", "-e", "-f", format]).ok();
    let copy = name("copy");
    user.run(&["topic", "create", &copy, "-p", "2"]).ok();
    user.run_with(&["produce", &copy, "-f", format], dump.as_bytes()).ok();
    assert_eq!(user.run(&["consume", &copy, "-e", "-f", format]).ok(), dump);

    // What was sent, as JSON; other acknowledgements.
    let sent = user.json(&["produce", topic, "-p", "1", "-v", "x", "--acks", "1"]);
    assert_eq!((&sent["records"], &sent["placed"][0]["offset"]), (&Value::from(1), &Value::from(2)));
    assert_eq!(user.json(&["produce", topic, "-p", "1", "-v", "x", "--acks", "0"])["placed"][0]["offset"], -1);
    // Both in one partition, in order, whatever the batches were.
    let many: String = (0..20_000).map(|i| format!("{i}\n")).collect();
    user.run_with(&["produce", &copy, "-p", "1", "--batch-bytes", "5000"], many.as_bytes()).ok();
    assert_eq!(user.run(&["consume", &copy, "-p", "1", "-e"]).ok(), many);

    user.run_with(&["produce", topic, "-f", "%k:%v\\n"], b"a:b\nno key\n").fails(1, "record 2 of the input");
    user.run(&["consume", "no-such-topic"]).fails(1, "topic 'no-such-topic' does not exist; create it with");
    user.run(&["consume", topic, "-f", "%q"]).fails(2, "%q is not a field; there are %t");
    user.run(&["consume", topic, "-o", "soon"]).fails(2, "'soon' is not an offset; write earliest, end");
    user.run(&["produce", topic, "-f", "%k%v\\n"]).fails(2, "put a literal between them");
}

#[test]
fn following_and_leaving() {
    let user = User::with_cluster();
    let topic = name("follow");
    let topic = topic.as_str();
    user.run(&["topic", "create", topic, "-p", "1"]).ok();
    user.run(&["produce", topic, "-v", "first"]).ok();

    // Follows until Ctrl-C, which ends it well.
    let mut child = user.command(&["consume", topic]).spawn().expect("starts");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    assert_eq!(line, "first\n");
    user.run(&["produce", topic, "-v", "second"]).ok();
    line.clear();
    out.read_line(&mut line).expect("a line");
    assert_eq!(line, "second\n");
    assert_eq!(interrupt(child, out), (Some(0), String::new()));

    // A reader that goes away is no failure and no noise.
    let many: String = (0..50_000).map(|i| format!("line {i}\n")).collect();
    user.run_with(&["produce", topic], many.as_bytes()).ok();
    let mut child = user.command(&["consume", topic, "-e"]).spawn().expect("starts");
    let mut some = [0; 20];
    child.stdout.take().expect("piped").read_exact(&mut some).expect("some bytes");
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(0), ""));

    // In a group Ctrl-C commits what was printed.
    let group = name("group");
    let mut child = user.command(&["consume", topic, "-g", &group, "-f", "%o\\n"]).spawn().expect("starts");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    line.clear();
    out.read_line(&mut line).expect("a line");
    assert_eq!(line, "0\n");
    let (code, rest) = interrupt(child, out);
    assert_eq!(code, Some(0));
    let next = rest.lines().last().map_or(1, |l| l.parse::<i64>().expect("an offset") + 1);
    assert_eq!(user.json(&["offsets", "get", "-g", &group])[0]["offset"], next);

    // What was read from a terminal before Ctrl-C is sent.
    let mut child = user.command(&["produce", topic, "--verbose"]).spawn().expect("starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(b"typed\nhalf a li").expect("written");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    line.clear();
    out.read_line(&mut line).expect("a line");
    assert!(line.ends_with(": 1 records\n"), "{line}");
    assert_eq!(interrupt(child, out).0, Some(0));
    assert_eq!(user.run(&["consume", topic, "-o", "-1", "-e"]).ok(), "typed\n");
}

#[test]
fn groups_and_offsets() {
    let user = User::with_cluster();
    let (topic, group) = (name("shared"), name("readers"));
    let (topic, group) = (topic.as_str(), group.as_str());
    user.run(&["topic", "create", topic, "-p", "2"]).ok();
    for partition in ["0", "1"] {
        user.run(&["produce", topic, "-p", partition, "-v", "a", "-v", "b", "-v", "c"]).ok();
    }
    assert_eq!(user.run(&["consume", topic, "-g", group, "-n", "4"]).ok().lines().count(), 4);
    assert_eq!(user.run(&["consume", topic, "-g", group, "-e"]).ok().lines().count(), 2, "goes on where it left off");
    user.run(&["consume", topic, "-g", group, "-o", "5"]).fails(2, "coreline group reset");

    assert_eq!(
        user.json(&["offsets", "get", topic, "-o", "-1"]),
        serde_json::json!([{"topic": topic, "partition": 0, "offset": 2}, {"topic": topic, "partition": 1, "offset": 2}])
    );
    assert_eq!(user.json(&["offsets", "get", topic, "-o", "@-1h", "-p", "1"])[0]["offset"], 0);
    let committed = |group: &str| {
        let rows = user.json(&["offsets", "get", "-g", group]);
        rows.as_array().expect("rows").iter().map(|r| r["offset"].as_i64().expect("an offset")).collect::<Vec<_>>()
    };
    assert_eq!(committed(group), [3, 3]);
    user.run(&["offsets", "get", "-g", group, "-p", "x"]).fails(2, "no list of partitions");
    user.run(&["offsets", "commit", group, &format!("{topic}:0=1")]).ok();
    assert_eq!(committed(group), [1, 3]);
    user.run(&["offsets", "commit", group, &format!("{topic}:7=1")]).fails(1, "has no partition 7");
    user.run(&["offsets", "commit", group, topic]).fails(2, "TOPIC:PARTITION=OFFSET");

    // Shown first, done with --execute.
    let planned = user.run(&["group", "reset", group, "--shift", "-1"]);
    assert!(planned.err.contains("nothing was changed; add --execute"), "{}", planned.err);
    planned.ok();
    assert_eq!(committed(group), [1, 3]);
    user.run(&["group", "reset", group]).fails(2, "");
    user.run(&["group", "reset", &name("none"), "-o", "earliest"]).fails(1, "has committed nothing yet; say which topics");
    if !user.has("DescribeGroups") {
        return;
    }
    user.run(&["group", "reset", group, "--shift", "-1", "--execute"]).ok();
    assert_eq!(committed(group), [0, 2]);
    let saved = user.home.path().join("saved");
    std::fs::write(&saved, user.run(&["offsets", "get", "-g", group]).ok()).expect("written");
    user.run(&["group", "reset", group, "-o", "end", "-t", &format!("{topic}:1"), "--execute"]).ok();
    assert_eq!(committed(group), [0, 3]);
    user.run(&["group", "reset", group, "--from-file", &saved.display().to_string(), "--execute"]).ok();
    assert_eq!(committed(group), [0, 2]);

    let described = &user.json(&["group", "describe", group])[0];
    assert_eq!((&described["state"], &described["total_lag"], &described["members"]), (&"Empty".into(), &Value::from(4), &Value::from(0)));
    assert_eq!(described["partitions"][1]["lag"], 1);
    assert!(user.run(&["group", "describe", group]).ok().contains("total lag 4"));
    user.run(&["group", "describe", "no-such-group"]).fails(1, "group 'no-such-group' does not exist; see which groups there are");
    let listed = user.json(&["group", "list", "--state", "empty"]);
    assert!(listed.as_array().is_some_and(|all| all.iter().any(|g| g["group"] == group)), "{listed}");

    // With a member in it.
    let mut child = user.command(&["consume", topic, "-g", group]).spawn().expect("starts");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    let members = user.json(&["group", "members", group]);
    assert_eq!(members[0]["partitions"].as_array().map(Vec::len), Some(2), "{members}");
    assert_eq!(user.json(&["group", "describe", group])[0]["state"], "Stable");
    user.run(&["group", "reset", group, "-o", "earliest", "--execute"]).fails(1, "has members; stop them first");
    user.run(&["group", "delete", group]).fails(1, "NON_EMPTY_GROUP");
    assert_eq!(interrupt(child, out).0, Some(0));

    if user.has("OffsetDelete") {
        user.run(&["offsets", "delete", group, &format!("{topic}:0")]).ok();
        assert_eq!(committed(group), [3]);
        user.run(&["offsets", "delete", group, "no-such-topic"]).fails(1, "has committed none of these");
    }
    user.run(&["group", "delete", group]).ok();
    user.run(&["group", "delete", group]).fails(1, "GROUP_ID_NOT_FOUND");
    user.run(&["group", "delete", group, "--if-exists"]).ok();
}

#[test]
fn profiles_and_usage() {
    let user = User::alone();
    user.run(&["topic", "list"]).fails(1, "no broker can be reached: 127.0.0.1:1: Connection refused");
    user.run(&["topic", "list", "-b", "nowhere:x"]).fails(2, "write HOST:PORT");
    user.run(&["topic", "list", "-b", "SASL_SSL://h:1"]).fails(2, "SASL_SSL is not supported yet");
    user.run(&["topic", "list", "--tls"]).fails(2, "TLS is not supported yet");
    user.run(&["topic", "list", "--timeout", "soon"]).fails(2, "'soon' is not a duration");
    user.run(&["topic"]).fails(2, "Usage");
    user.run(&["topic", "crate", "x"]).fails(2, "create");
    user.run(&["produce", "t", "-v", "x", "-z", "gzip", "--compression-level", "10"]).fails(2, "it is 0 to 9");
    user.run(&["produce", "t", "-v", "x", "-z", "lz4", "--compression-level", "1"]).fails(2, "for gzip (0 to 9) and zstd");

    user.run(&["topic", "list", "--profile", "prod"]).fails(2, "create it with `coreline profile create prod");
    user.run(&["profile", "create", "prod", "-b", "127.0.0.1:2,127.0.0.1:3"]).ok();
    user.run(&["profile", "create", "prod", "-b", "h"]).fails(2, "--force");
    user.run(&["profile", "create", "test", "-b", "127.0.0.1:4", "--timeout", "5s"]).ok();
    user.run(&["profile", "use", "test"]).ok();
    let listed = user.json(&["profile", "list"]);
    assert_eq!((&listed[1]["name"], &listed[1]["current"], &listed[0]["current"]), (&"test".into(), &true.into(), &false.into()));
    user.run(&["topic", "list", "--profile", "prod"]).fails(1, "127.0.0.1:3: Connection refused");
    let current = user.command(&["topic", "list"]).env_remove("CORELINE_BROKERS").output().expect("runs");
    assert!(String::from_utf8_lossy(&current.stderr).contains("127.0.0.1:4: Connection refused"));
    user.run(&["profile", "delete", "prod"]).ok();
    user.run(&["profile", "use", "prod"]).fails(2, "there is no profile 'prod'");
    let file = user.home.path().join("coreline/profiles.toml");
    std::fs::write(&file, "[profile.p]\nbrokers = \"h\"\nsasl_mechanism = \"PLAIN\"\n").expect("written");
    user.run(&["topic", "list"]).fails(2, "TLS and SASL are not supported yet");
}

#[test]
fn completions_and_man_pages() {
    let user = User::alone();
    for shell in ["bash", "zsh", "fish"] {
        let script = user.run(&["completions", shell]).ok();
        for word in ["serve", "topic", "add-partitions", "trim", "group", "reset", "quota", "consume", "--brokers", "--exit-at-end"] {
            // fish names long options without the dashes.
            assert!(script.contains(word.trim_start_matches('-')), "{shell}: {word}");
        }
        if shell == "bash" {
            let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("bash");
            bash.stdin.take().expect("piped").write_all(script.as_bytes()).expect("written");
            let ended = bash.wait_with_output().expect("ends");
            assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        }
    }
    let help = user.run(&["consume", "--help"]).ok();
    let at = |part: &str| help.find(part).unwrap_or_else(|| panic!("{part:?} is missing in\n{help}"));
    assert!(at("Options:") < at("--exit-at-end") && at("--exit-at-end") < at("Cluster and output:") && at("--brokers") < at("Formats:"));
    assert!(user.run(&["man"]).ok().contains(".TH coreline 1"));
    let folder = user.home.path().join("man");
    user.run(&["man", &folder.display().to_string()]).ok();
    let page = |name: &str| std::fs::read_to_string(Path::new(&folder).join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert!(page("coreline-topic-create.1").contains("partitions"));
    assert!(page("coreline-group-reset.1").contains("execute"));
    let commands = ["serve", "topic", "group", "config", "quota", "cluster", "produce", "consume", "offsets", "profile", "log"];
    commands.iter().for_each(|command| assert!(!page(&format!("coreline-{command}.1")).is_empty()));
}
