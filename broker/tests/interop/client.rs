//! The clients under test behind one interface: the programs of `broker/tests/clients/`, and kcat.

use crate::kcat;
use crate::probe;
use crate::process::{self, Ended};
use crate::records::{Got, Record};
use crate::toolchain::{self, Recipe};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What a client gives itself for one command, and what it gets on top before it is killed.
pub(crate) const COMMAND_SECONDS: u64 = 60;
const GRACE: Duration = Duration::from_secs(15);

/// One client family: how to get it and what its library can do. Everything it cannot do is left out of its record sets, by name.
pub(crate) struct Family {
    pub(crate) name: &'static str,
    /// None: kcat, which is not built here.
    pub(crate) recipe: Option<&'static Recipe>,
    pub(crate) able: Abilities,
}

pub(crate) struct Abilities {
    pub(crate) codecs: &'static [&'static str],
    /// Reads what every other client writes; else it is left out of the readers of the test of all pairs.
    pub(crate) reads_all: bool,
    /// An idempotent producer: a record exactly once although the broker dies under it.
    pub(crate) idempotent: bool,
    /// Produces headers whose value is null.
    pub(crate) null_headers: bool,
    /// Has headers as a list: the same name may come again after another one.
    pub(crate) interleaved_headers: bool,
    pub(crate) null_key_and_value: bool,
    /// Tells an empty key from a null one when producing, and takes keys of any bytes.
    pub(crate) empty_keys: bool,
    /// Sets the timestamp when producing.
    pub(crate) timestamps: bool,
    /// Reports where a record went that it placed by its own partitioner.
    pub(crate) partitioner: bool,
    /// Produces with acks=0 and acks=1 too.
    pub(crate) other_acks: bool,
    /// Deletes topics.
    pub(crate) deletes: bool,
}

impl Abilities {
    pub(crate) const ALL: Abilities = Abilities {
        codecs: &["none", "gzip", "snappy", "lz4", "zstd"],
        reads_all: true,
        idempotent: true,
        null_headers: true,
        interleaved_headers: true,
        null_key_and_value: true,
        empty_keys: true,
        timestamps: true,
        partitioner: true,
        other_acks: true,
        deletes: true,
    };
}

/// Where the client says a record went. The offset is -1 where the broker answered a retry whose first answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) i: i64,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) partition: i32,
    pub(crate) earliest: i64,
    pub(crate) latest: i64,
    pub(crate) at: Option<i64>,
}

/// A client that runs on this machine.
pub(crate) struct Client {
    pub(crate) family: &'static Family,
    command: Vec<String>,
}

impl Client {
    /// None when the toolchain is missing, which is then printed.
    pub(crate) fn prepare(family: &'static Family) -> Option<Client> {
        let command = match family.recipe {
            Some(recipe) => toolchain::prepare(recipe)?,
            None => match probe::available(&["kcat", "-V"]) {
                Ok(()) => vec!["kcat".to_owned()],
                Err(reason) => {
                    probe::missing(family.name, &reason);
                    return None;
                }
            },
        };
        Some(Client { family, command })
    }

    pub(crate) fn version(&self) -> Result<String, String> {
        if self.is_kcat() {
            return kcat::version();
        }
        let lines = self.run(None, &["version"])?;
        let line = lines.first().ok_or("version printed nothing")?;
        Ok(format!("{} {}", line["client"].as_str().unwrap_or("?"), line["version"].as_str().unwrap_or("?")))
    }

    pub(crate) fn create(&self, bootstrap: &str, topics: &[String]) -> Result<(), String> {
        if self.is_kcat() {
            return kcat::create(bootstrap, topics);
        }
        let partitions = crate::harness::PARTITIONS.to_string();
        self.run(Some(bootstrap), &["create", &topics.join(","), &partitions]).map(drop)
    }

    pub(crate) fn delete(&self, bootstrap: &str, topics: &[String]) -> Result<(), String> {
        self.run(Some(bootstrap), &["delete", &topics.join(",")]).map(drop)
    }

    /// The partitions of the topic that have a leader.
    pub(crate) fn describe(&self, bootstrap: &str, topic: &str) -> Result<Vec<i32>, String> {
        let lines = if self.is_kcat() { kcat::describe(bootstrap, topic)? } else { self.run(Some(bootstrap), &["describe", topic])? };
        let led = |line: &&Value| line["topic"] == topic && line["leader"] == 1 && line["replicas"] == line["isr"] && line["isr"][0] == 1;
        Ok(lines.iter().filter(led).filter_map(|line| line["partition"].as_i64()).map(|partition| partition as i32).collect())
    }

    pub(crate) fn list_offsets(&self, bootstrap: &str, topic: &str, timestamp: i64) -> Result<Vec<Bounds>, String> {
        if self.is_kcat() {
            return kcat::list_offsets(bootstrap, topic, timestamp);
        }
        let lines = self.run(Some(bootstrap), &["list-offsets", topic, "--timestamp", &timestamp.to_string()])?;
        let bounds = |line: &Value| {
            let number = |name: &str| line[name].as_i64().ok_or_else(|| format!("no {name} in {line}"));
            Ok(Bounds {
                partition: number("partition")? as i32,
                earliest: number("earliest")?,
                latest: number("latest")?,
                at: Some(number("at")?),
            })
        };
        lines.iter().map(bounds).collect()
    }

    /// Produces with acks=all and waits for every acknowledgement.
    pub(crate) fn produce(&self, bootstrap: &str, topic: &str, codec: &str, records: &[Record]) -> Result<Vec<Ack>, String> {
        if self.is_kcat() {
            return kcat::produce(bootstrap, topic, codec, records);
        }
        let file = produce_file(records)?;
        let mut args = vec!["produce", topic, "--codec", codec, "--file", path(file.path())];
        if self.family.able.idempotent {
            args.push("--idempotent");
        }
        self.run(Some(bootstrap), &args)?.iter().map(ack).collect()
    }

    /// Produces with acks=0 or acks=1 and without idempotence. With acks=0 nobody knows the offsets.
    pub(crate) fn produce_with_acks(&self, bootstrap: &str, topic: &str, acks: &str, records: &[Record]) -> Result<Vec<Ack>, String> {
        let file = produce_file(records)?;
        let lines = self.run(Some(bootstrap), &["produce", topic, "--acks", acks, "--file", path(file.path())])?;
        if acks == "0" { Ok(Vec::new()) } else { lines.iter().map(ack).collect() }
    }

    /// Starts a paced produce whose acknowledgements are read while it runs.
    pub(crate) fn produce_paced(
        &self,
        bootstrap: &str,
        topic: &str,
        codec: &str,
        records: &[Record],
        per_second: u32,
    ) -> Result<Paced, String> {
        if self.is_kcat() {
            return kcat::produce_paced(bootstrap, topic, codec, records, per_second);
        }
        let file = produce_file(records)?;
        let rate = per_second.to_string();
        let mut args = vec!["produce", topic, "--codec", codec, "--rate", &rate, "--file", path(file.path())];
        if self.family.able.idempotent {
            args.push("--idempotent");
        }
        let mut command = self.command(Some(bootstrap), &args);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = Ended(child.map_err(|error| format!("cannot start: {error}"))?);
        let stderr = process::collect(child.0.stderr.take());
        let stdout = child.0.stdout.take().expect("piped");
        let (sender, acks) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let parsed = serde_json::from_str(&line).map_err(|error| format!("{error}: {line}")).and_then(|line| ack(&line));
                if sender.send(parsed).is_err() {
                    break;
                }
            }
        });
        Ok(Paced { child, acks, stderr, _file: Some(file) })
    }

    pub(crate) fn consume(&self, bootstrap: &str, topics: &[String], count: usize) -> Result<Vec<Got>, String> {
        if self.is_kcat() {
            return kcat::consume(bootstrap, topics);
        }
        self.records(bootstrap, &["consume", &topics.join(","), "--count", &count.to_string()])
    }

    /// Consumes `count` records as a member of the group and commits exactly them.
    pub(crate) fn group_consume(&self, bootstrap: &str, topics: &[String], group: &str, count: usize) -> Result<Vec<Got>, String> {
        if self.is_kcat() {
            return kcat::group_consume(bootstrap, topics, group, count);
        }
        self.records(bootstrap, &["group-consume", &topics.join(","), "--group", group, "--count", &count.to_string(), "--commit"])
    }

    fn records(&self, bootstrap: &str, args: &[&str]) -> Result<Vec<Got>, String> {
        let grouped = !self.family.able.interleaved_headers;
        self.run(Some(bootstrap), args)?.iter().map(|line| Got::from_json(line, grouped)).collect()
    }

    fn run(&self, bootstrap: Option<&str>, args: &[&str]) -> Result<Vec<Value>, String> {
        let output = process::run(&mut self.command(bootstrap, args), Duration::from_secs(COMMAND_SECONDS) + GRACE);
        let output = output.map_err(|reason| format!("{} {}: {reason}", self.family.name, args.join(" ")))?;
        if !output.status.success() {
            return Err(format!("{} {} ended with {}\n{}", self.family.name, args.join(" "), output.status, process::tail(&output.stderr)));
        }
        let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).map_err(|error| format!("{error}: {}", process::tail(line)))).collect()
    }

    fn command(&self, bootstrap: Option<&str>, args: &[&str]) -> Command {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]);
        if let Some(bootstrap) = bootstrap {
            command.args(["--bootstrap", bootstrap, "--timeout", &COMMAND_SECONDS.to_string()]);
        }
        command.args(args);
        command
    }

    fn is_kcat(&self) -> bool {
        self.family.recipe.is_none()
    }
}

/// A produce that still runs.
pub(crate) struct Paced {
    pub(crate) child: Ended,
    pub(crate) acks: Receiver<Result<Ack, String>>,
    pub(crate) stderr: JoinHandle<Vec<u8>>,
    pub(crate) _file: Option<tempfile::NamedTempFile>,
}

impl Paced {
    /// The next `count` acknowledgements.
    pub(crate) fn take(&mut self, count: usize) -> Result<Vec<Ack>, String> {
        let limit = Duration::from_secs(COMMAND_SECONDS) + GRACE;
        (0..count)
            .map(|at| self.acks.recv_timeout(limit).map_err(|error| format!("after {at} of {count} acknowledgements: {error}"))?)
            .collect()
    }

    /// Every further acknowledgement, and the program's good end.
    pub(crate) fn finish(mut self) -> Result<Vec<Ack>, String> {
        let status = self.child.wait(Duration::from_secs(COMMAND_SECONDS) + GRACE)?;
        if status.is_none() {
            let _ = self.child.0.kill();
        }
        let acks: Result<Vec<Ack>, String> = self.acks.iter().collect();
        let stderr = process::tail(&process::joined(self.stderr));
        match status {
            Some(status) if status.success() => acks,
            Some(status) => Err(format!("the producer ended with {status}\n{stderr}")),
            None => Err(format!("the producer still ran\n{stderr}")),
        }
    }
}

fn ack(line: &Value) -> Result<Ack, String> {
    let number = |name: &str| line[name].as_i64().ok_or_else(|| format!("no {name} in {line}"));
    Ok(Ack { i: number("i")?, partition: number("partition")? as i32, offset: number("offset")? })
}

fn produce_file(records: &[Record]) -> Result<tempfile::NamedTempFile, String> {
    let mut file = tempfile::NamedTempFile::new().map_err(|error| format!("no temporary file: {error}"))?;
    let text: String = records.iter().map(|record| format!("{}\n", record.to_json())).collect();
    file.write_all(text.as_bytes()).map_err(|error| format!("{}: {error}", file.path().display()))?;
    Ok(file)
}

fn path(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}
