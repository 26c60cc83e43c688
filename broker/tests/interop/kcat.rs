//! kcat behind the driver's interface: its own command line instead of the common one.
//!
//! kcat sets headers per invocation and reads one message per file, so a record is one invocation. It sends neither empty keys nor
//! explicit timestamps, and it creates topics only by asking for them (automatic creation).

use crate::client::{Ack, Bounds, COMMAND_SECONDS, Paced};
use crate::harness::PARTITIONS;
use crate::process::{self, Ended};
use crate::records::{Got, GotHeaders, Record};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// Stands behind every printed record: headers have no length in kcat's output.
const END: &[u8] = b"--8c1f0a37-end--\n";
const LIMIT: Duration = Duration::from_secs(COMMAND_SECONDS);

pub(crate) fn version() -> Result<String, String> {
    let output = process::run(Command::new("kcat").arg("-V"), LIMIT)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.starts_with("Version ")).ok_or("kcat -V without a version")?;
    let librdkafka = line.split("librdkafka ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or("?");
    Ok(format!("kcat {} (librdkafka {librdkafka})", line.split(' ').nth(1).unwrap_or("?")))
}

/// Asking for a topic creates it; asked again until every partition has its leader.
pub(crate) fn create(bootstrap: &str, topics: &[String]) -> Result<(), String> {
    let deadline = Instant::now() + LIMIT;
    for topic in topics {
        while describe(bootstrap, topic).map(|partitions| partitions.len()) != Ok(PARTITIONS as usize) {
            if Instant::now() > deadline {
                return Err(format!("kcat: {topic} was not created by asking for it: {:?}", describe(bootstrap, topic)));
            }
        }
    }
    Ok(())
}

pub(crate) fn describe(bootstrap: &str, topic: &str) -> Result<Vec<Value>, String> {
    let answer: Value =
        serde_json::from_slice(&run(kcat(bootstrap).args(["-L", "-J", "-t", topic]))?).map_err(|error| error.to_string())?;
    let ids = |list: &Value| list.as_array().map(|list| list.iter().map(|each| each["id"].clone()).collect::<Vec<_>>());
    let line = |partition: &Value| {
        json!({"topic": topic, "partition": partition["partition"], "leader": partition["leader"],
            "replicas": ids(&partition["replicas"]), "isr": ids(&partition["isrs"])})
    };
    Ok(answer["topics"][0]["partitions"].as_array().map(|partitions| partitions.iter().map(line).collect()).unwrap_or_default())
}

pub(crate) fn list_offsets(bootstrap: &str, topic: &str, timestamp: i64) -> Result<Vec<Bounds>, String> {
    let query = |timestamp: i64| -> Result<Vec<i64>, String> {
        let mut command = kcat(bootstrap);
        command.arg("-Q");
        for partition in 0..PARTITIONS {
            command.arg("-t").arg(format!("{topic}:{partition}:{timestamp}"));
        }
        let output = String::from_utf8_lossy(&run(&mut command)?).into_owned();
        let offset = |partition: i32| {
            let start = format!("{topic} [{partition}] offset ");
            output.lines().find_map(|line| line.strip_prefix(&start)?.parse().ok()).ok_or_else(|| format!("kcat -Q printed {output}"))
        };
        (0..PARTITIONS).map(offset).collect()
    };
    let (earliest, latest, at) = (query(-2)?, query(-1)?, query(timestamp)?);
    let bounds = (0..PARTITIONS as usize).map(|at_partition| Bounds {
        partition: at_partition as i32,
        earliest: earliest[at_partition],
        latest: latest[at_partition],
        at: Some(at[at_partition]),
    });
    Ok(bounds.collect())
}

pub(crate) fn produce(bootstrap: &str, topic: &str, codec: &str, records: &[Record]) -> Result<Vec<Ack>, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let file = folder.path().join("value");
    let mut acks = Vec::with_capacity(records.len());
    for record in records {
        let partition = record.partition.expect("kcat's records name their partition");
        let mut command = kcat(bootstrap);
        command.args(["-P", "-vvv", "-E", "-t", topic, "-p", &partition.to_string(), "-z", codec, "-X", "acks=all"]);
        command.args(["-X", "enable.idempotence=true"]);
        if let Some(key) = &record.key {
            command.arg("-k").arg(OsStr::from_bytes(key));
        }
        for (name, value) in &record.headers {
            let value = value.as_ref().map(|value| [b"=", value.as_slice()].concat()).unwrap_or_default();
            command.arg("-H").arg(OsStr::from_bytes(&[name.as_bytes(), &value].concat()));
        }
        match record.value.as_deref() {
            Some(value) if !value.is_empty() => {
                std::fs::write(&file, value).map_err(|error| error.to_string())?;
                command.arg(&file);
            }
            // An empty file is skipped, an empty line is not when it holds a key delimiter: the key then comes from the line.
            value => {
                let key = record.key.as_deref().ok_or("kcat sends no empty value without a key")?;
                std::fs::write(&file, [key, b"\t\n"].concat()).map_err(|error| error.to_string())?;
                command.args(["-K", "\\t", "-l"]).arg(&file);
                if value.is_none() {
                    command.arg("-Z");
                }
            }
        }
        let output = process::run(&mut command, LIMIT)?;
        let text = process::tail(&output.stderr);
        let place = text.lines().find_map(delivered).filter(|_| output.status.success());
        let (partition, offset) =
            place.ok_or_else(|| format!("kcat did not deliver record i={} ({}):\n{text}", record.i, output.status))?;
        acks.push(Ack { i: record.i, partition, offset });
    }
    Ok(acks)
}

/// One kcat for all records, fed line by line; all go to one partition, so that its reports come in the order of the records.
pub(crate) fn produce_paced(bootstrap: &str, topic: &str, codec: &str, records: &[Record], per_second: u32) -> Result<Paced, String> {
    let partition = records.first().and_then(|record| record.partition).ok_or("nothing to produce")?;
    let mut lines = Vec::with_capacity(records.len());
    for record in records {
        if record.partition != Some(partition) {
            return Err("kcat's paced produce takes one partition".to_owned());
        }
        let (key, value) = (record.key.as_deref().unwrap_or_default(), record.value.as_deref().unwrap_or_default());
        lines.push([key, b"\t", value, b"\n"].concat());
    }
    let mut command = kcat(bootstrap);
    command.args(["-P", "-vvv", "-E", "-u", "-K", "\\t", "-t", topic, "-p", &partition.to_string(), "-z", codec]);
    command.args(["-X", "acks=all", "-X", "enable.idempotence=true", "-X", "reconnect.backoff.max.ms=500", "-X", "linger.ms=5"]);
    command.args(["-X", &format!("message.timeout.ms={}", COMMAND_SECONDS * 1000)]);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = Ended(child.map_err(|error| format!("kcat: {error}"))?);
    let mut stdin = child.0.stdin.take().expect("piped");
    thread::spawn(move || {
        let start = Instant::now();
        for (sent, line) in lines.iter().enumerate() {
            let due = start + Duration::from_secs_f64(sent as f64 / f64::from(per_second));
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if stdin.write_all(line).and_then(|()| stdin.flush()).is_err() {
                break;
            }
        }
    });
    let stderr = child.0.stderr.take().expect("piped");
    let order: Vec<i64> = records.iter().map(|record| record.i).collect();
    let (sender, acks) = channel();
    let stderr = thread::spawn(move || {
        let mut text = Vec::new();
        let mut order = order.into_iter();
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            match delivered(&line) {
                Some((partition, offset)) => {
                    let ack =
                        order.next().map(|i| Ack { i, partition, offset }).ok_or_else(|| "kcat reported more than was sent".to_owned());
                    let _ = sender.send(ack);
                }
                None => text.extend_from_slice(format!("{line}\n").as_bytes()),
            }
        }
        text
    });
    Ok(Paced { child, acks, stderr, _file: None })
}

/// `% Message delivered to partition 1 (offset 0) on broker 1`
fn delivered(line: &str) -> Option<(i32, i64)> {
    let rest = line.strip_prefix("% Message delivered to partition ")?;
    let (partition, rest) = rest.split_once(" (offset ")?;
    Some((partition.parse().ok()?, rest.split_once(')')?.0.parse().ok()?))
}

pub(crate) fn consume(bootstrap: &str, topics: &[String]) -> Result<Vec<Got>, String> {
    let mut got = Vec::new();
    for topic in topics {
        let mut command = kcat(bootstrap);
        command.args(["-C", "-e", "-q", "-o", "beginning", "-t", topic, "-f", FORMAT]);
        got.extend(parse(&run(&mut command)?)?);
    }
    Ok(got)
}

pub(crate) fn group_consume(bootstrap: &str, topics: &[String], group: &str, count: usize) -> Result<Vec<Got>, String> {
    let mut command = kcat(bootstrap);
    // kcat stores the offset of what it printed and commits it when it leaves.
    command.args(["-G", group, "-q", "-c", &count.to_string(), "-X", "auto.offset.reset=earliest", "-f", FORMAT]);
    command.args(topics);
    parse(&run(&mut command)?)
}

const FORMAT: &str = "%t %p %o %T %K %S %k%s%h--8c1f0a37-end--\n";

fn parse(mut output: &[u8]) -> Result<Vec<Got>, String> {
    let mut got = Vec::new();
    while !output.is_empty() {
        let mut words = Vec::new();
        for _ in 0..6 {
            let end = output.iter().position(|byte| *byte == b' ').ok_or("kcat's output ends within a record")?;
            words.push(String::from_utf8_lossy(&output[..end]).into_owned());
            output = &output[end + 1..];
        }
        let number = |at: usize| words[at].parse::<i64>().map_err(|error| format!("{error}: {words:?}"));
        let mut field = |len: i64| -> Result<Option<Vec<u8>>, String> {
            let Ok(len) = usize::try_from(len) else { return Ok(None) };
            let mut bytes = vec![0; len];
            output.read_exact(&mut bytes).map_err(|error| format!("{error} within a record of {len} bytes"))?;
            Ok(Some(bytes))
        };
        let (key, value) = (field(number(4)?)?, field(number(5)?)?);
        let end = output.windows(END.len()).position(|window| window == END).ok_or("a record of kcat's output has no end")?;
        let headers = GotHeaders::Printed(output[..end].to_vec());
        output = &output[end + END.len()..];
        let (partition, offset, timestamp) = (number(1)? as i32, number(2)?, number(3)?);
        got.push(Got { topic: words.swap_remove(0), partition, offset, timestamp, timestamp_type: None, key, value, headers });
    }
    Ok(got)
}

fn kcat(bootstrap: &str) -> Command {
    let mut command = Command::new("kcat");
    // No configuration of the machine's user has a say here.
    command.env("KCAT_CONFIG", "/dev/null").args(["-b", bootstrap]);
    command
}

fn run(command: &mut Command) -> Result<Vec<u8>, String> {
    let output = process::run(command, LIMIT)?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(format!("{command:?} ended with {}\n{}", output.status, process::tail(&output.stderr)))
    }
}

#[test]
fn kcat_output_is_read_by_its_lengths() {
    let output = b"t 1 7 99 3 4 a bv\n lh=NULL--8c1f0a37-end--\nt 0 8 -1 -1 -1 --8c1f0a37-end--\n";
    let got = parse(output).expect("well formed");
    assert_eq!(got.len(), 2);
    assert_eq!((got[0].partition, got[0].offset, got[0].timestamp), (1, 7, 99));
    assert_eq!((got[0].key.as_deref(), got[0].value.as_deref()), (Some(&b"a b"[..]), Some(&b"v\n l"[..])));
    assert_eq!(got[0].headers, GotHeaders::Printed(b"h=NULL".to_vec()));
    assert_eq!((&got[1].key, &got[1].value), (&None, &None));
    assert!(parse(&output[..30]).is_err());
}

#[test]
fn delivery_reports_of_kcat_are_understood() {
    assert_eq!(delivered("% Message delivered to partition 1 (offset 42) on broker 1"), Some((1, 42)));
    assert_eq!(delivered("% Producing file v1 (4 bytes)"), None);
}
