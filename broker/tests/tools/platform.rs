//! Kafka Streams' word count and Kafka Connect's file source and sink, unchanged, with restarts and kills of themselves and of the broker.

use crate::harness::{Broker, Target};
use crate::probe::free_port;
use crate::process::Ended;
use crate::tools::machine::Machine;
use crate::tools::script::parse;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(90);

/// A Java program of the platform; its output goes to a log in the folder.
struct Platform {
    child: Ended,
    log: PathBuf,
}

impl Platform {
    /// `java` is the command of the suite up to its main class.
    fn start(java: &[String], class: &str, args: &[&Path], log: PathBuf) -> Result<Platform, String> {
        let out = OpenOptions::new().create(true).append(true).open(&log).map_err(|error| error.to_string())?;
        let err = out.try_clone().map_err(|error| error.to_string())?;
        let mut command = Command::new(&java[0]);
        command.args(&java[1..]).arg(class).args(args).stdin(Stdio::null()).stdout(out).stderr(err);
        let child = command.spawn().map_err(|error| format!("cannot start {class}: {error}"))?;
        Ok(Platform { child: Ended(child), log })
    }

    fn signal(mut self, signal: Signal) -> Result<(), String> {
        let _ = kill(Pid::from_raw(self.child.0.id() as i32), signal);
        self.child.wait(LIMIT)?.map(drop).ok_or_else(|| format!("it still runs after {signal}\n{}", self.tail()))
    }

    fn tail(&self) -> String {
        tail(&self.log)
    }
}

fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// The suite's command without its main class, logging warnings.
fn java(command: &[String]) -> Vec<String> {
    let words = command[..command.len() - 1].iter();
    words.map(|word| word.replace("defaultLogLevel=off", "defaultLogLevel=warn").replace("-Xmx512m", "-Xmx256m")).collect()
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn append(path: &Path, lines: std::ops::Range<usize>) -> Result<(), String> {
    let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    lines.into_iter().try_for_each(|line| writeln!(file, "line {line}")).map_err(|error| format!("{}: {error}", path.display()))
}

/// Waits until the file holds these lines, each at least once and for the first time in this order.
fn sunk(path: &Path, lines: usize) -> Result<usize, String> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        let mut seen = Vec::new();
        let written = text.lines().count();
        for line in text.lines() {
            if !seen.contains(&line) {
                seen.push(line);
            }
        }
        let wanted: Vec<String> = (0..lines).map(|line| format!("line {line}")).collect();
        if seen.iter().map(|line| (*line).to_owned()).eq(wanted.iter().cloned()) {
            return Ok(written);
        }
        if Instant::now() > deadline {
            return Err(format!("{} lines of {lines} came to the sink, the last is {:?}", seen.len(), seen.last()));
        }
        thread::sleep(Duration::from_millis(50));
    }
}

// Streams --------------------------------------------------------------------------------------------------------------

const INPUT: [&str; 4] =
    ["all streams lead to kafka", "hello kafka streams", "join kafka summit", "streams streams everywhere and kafka below"];

/// The demo of Apache Kafka: its counts after the start, after a kill -9 with its state directory lost, and over a restart and a kill of the broker.
pub(crate) fn word_count(command: &[String]) -> Result<String, String> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).map_err(|error| error.to_string())?;
    let mut broker = Broker::start_with(Target::from_env(), 2, &[])?;
    let log = folder.path().join("streams.log");
    let done = count_words(command, &mut broker, folder.path(), &log);
    done.map_err(|reason| format!("{reason}\n\nStreams:\n{}\n\nthe broker's last lines:\n{}", tail(&log), broker.log_tail()))
}

fn count_words(command: &[String], broker: &mut Broker, folder: &Path, log: &Path) -> Result<String, String> {
    let start = Instant::now();
    let class = "org.apache.kafka.streams.examples.wordcount.WordCountDemo";
    let mut tools = Machine::start(command, broker.bootstrap(), folder.to_owned())?;
    let mut run = |line: &str| -> Result<String, String> {
        let line = parse(line)?.remove(0);
        let answer = tools.run(&line)?.ok_or("not in the background")?;
        if answer.exit == 0 { Ok(answer.out) } else { Err(format!("{}: {answer:?}", line.text)) }
    };
    run("topics --create --topic streams-plaintext-input --partitions 2")?;
    run("topics --create --topic streams-wordcount-output --partitions 2 --config cleanup.policy=compact")?;
    let (properties, state) = (folder.join("streams.properties"), folder.join("state"));
    write(
        &properties,
        &format!(
            "bootstrap.servers={}\nstate.dir={}\ncommit.interval.ms=200\nsession.timeout.ms=10000\nheartbeat.interval.ms=500\n",
            broker.bootstrap(),
            state.display()
        ),
    )?;
    let mut words: BTreeMap<&str, u64> = BTreeMap::new();
    let mut produced = |run: &mut dyn FnMut(&str) -> Result<String, String>, lines: &[&'static str]| -> Result<(), String> {
        run(&format!("console-producer --topic streams-plaintext-input <<< '{}\\n'", lines.join("\\n")))?;
        for word in lines.iter().flat_map(|line| line.split(' ')) {
            *words.entry(word).or_default() += 1;
        }
        let total: u64 = words.values().sum();
        // The demo tells each new count, so there are as many as words, and the last of each word is its count.
        let deadline = Instant::now() + LIMIT;
        loop {
            let out = run(&format!(
                "console-consumer --topic streams-wordcount-output --from-beginning --max-messages {total} --timeout-ms 30000 --formatter-property \
                 print.key=true --value-deserializer org.apache.kafka.common.serialization.LongDeserializer"
            ))?;
            let mut told: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
            for (word, count) in out.lines().filter_map(|line| line.split_once('\t')) {
                told.entry(word).or_default().push(count.trim().parse().map_err(|error| format!("{word} {count}: {error}"))?);
            }
            let right = words.iter().all(|(word, count)| told.get(word).is_some_and(|counts| counts.iter().copied().eq(1..=*count)));
            if right && told.len() == words.len() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("expected counts {words:?}, told were {told:?}"));
            }
        }
    };
    let demo = Platform::start(&java(command), class, &[&properties], log.to_owned())?;
    produced(&mut run, &INPUT)?;
    let mut steps = vec![format!("word count {:.1} s", start.elapsed().as_secs_f32())];

    // Its own topics, made as it wants them.
    let changelog = run("topics --describe --topic streams-wordcount-.*-changelog")?;
    let repartition = run("topics --describe --topic streams-wordcount-.*-repartition")?;
    if !changelog.contains("cleanup.policy=compact") || !repartition.contains("retention.ms=-1") {
        return Err(format!("internal topics: {changelog}\n{repartition}"));
    }

    // Once everything is committed a kill takes nothing back; without its directory the counts come from the changelog.
    until(|| Ok(lagless(&run("consumer-groups --describe --group streams-wordcount")?)), "the commits of Streams")?;
    demo.signal(Signal::SIGKILL)?;
    fs::remove_dir_all(&state).map_err(|error| format!("state: {error}"))?;
    let demo = Platform::start(&java(command), class, &[&properties], log.to_owned())?;
    produced(&mut run, &INPUT[1..])?;
    steps.push(format!("restored after kill -9 {:.1} s", start.elapsed().as_secs_f32()));

    broker.stop()?;
    broker.start_again(1)?;
    produced(&mut run, &INPUT[..2])?;
    until(|| Ok(lagless(&run("consumer-groups --describe --group streams-wordcount")?)), "the commits of Streams")?;
    broker.kill()?;
    broker.start_again(2)?;
    produced(&mut run, &INPUT[..2])?;
    steps.push(format!("broker restarted and killed {:.1} s", start.elapsed().as_secs_f32()));
    demo.signal(Signal::SIGTERM)?;
    broker.stop()?;
    Ok(steps.join(", "))
}

/// Whether the group's description shows no lag; of a partition without records nothing is committed.
fn lagless(description: &str) -> bool {
    let row = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = description.lines().filter(|line| line.starts_with("streams-wordcount ")).map(row).collect();
    !rows.is_empty() && rows.iter().all(|row| row.len() > 5 && (row[5] == "0" || row[4] == "0"))
}

fn until(mut done: impl FnMut() -> Result<bool, String>, what: &str) -> Result<(), String> {
    let deadline = Instant::now() + LIMIT;
    while !done()? {
        if Instant::now() > deadline {
            return Err(format!("{what}: not within {LIMIT:?}"));
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

// Connect --------------------------------------------------------------------------------------------------------------

const CONVERTERS: &str = "key.converter=org.apache.kafka.connect.storage.StringConverter\nvalue.converter=org.apache.kafka.connect.storage.StringConverter\n\
                          offset.flush.interval.ms=300\nplugin.discovery=service_load\nconsumer.session.timeout.ms=6000\nconsumer.heartbeat.interval.ms=500\n";

/// A standalone worker with the file source and the file sink, over a restart of the broker and a kill -9 of the worker.
pub(crate) fn connect_standalone(command: &[String]) -> Result<String, String> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).map_err(|error| error.to_string())?;
    let mut broker = Broker::start_with(Target::from_env(), 2, &[])?;
    let done = standalone(command, &mut broker, folder.path());
    let log = folder.path().join("connect.log");
    done.map_err(|reason| format!("{reason}\n\nConnect:\n{}\n\nthe broker's last lines:\n{}", tail(&log), broker.log_tail()))
}

fn standalone(command: &[String], broker: &mut Broker, folder: &Path) -> Result<String, String> {
    let start = Instant::now();
    let at = |name: &str| folder.join(name);
    let (worker, source, sink, input, output) =
        (at("worker.properties"), at("source.properties"), at("sink.properties"), at("in.txt"), at("out.txt"));
    write(
        &worker,
        &format!(
            "bootstrap.servers={}\n{CONVERTERS}offset.storage.file.filename={}\nlisteners=http://127.0.0.1:{}\n",
            broker.bootstrap(),
            at("connect.offsets").display(),
            free_port()
        ),
    )?;
    write(
        &source,
        &format!("name=file-source\nconnector.class=FileStreamSource\ntasks.max=1\nfile={}\ntopic=connect-lines\n", input.display()),
    )?;
    write(
        &sink,
        &format!("name=file-sink\nconnector.class=FileStreamSink\ntasks.max=1\nfile={}\ntopics=connect-lines\n", output.display()),
    )?;
    let begin =
        || Platform::start(&java(command), "org.apache.kafka.connect.cli.ConnectStandalone", &[&worker, &source, &sink], at("connect.log"));
    append(&input, 0..50)?;
    let connect = begin()?;
    sunk(&output, 50)?;
    let mut steps = vec![format!("source and sink {:.1} s", start.elapsed().as_secs_f32())];
    broker.stop()?;
    broker.start_again(1)?;
    append(&input, 50..100)?;
    sunk(&output, 100)?;
    broker.kill()?;
    broker.start_again(2)?;
    append(&input, 100..150)?;
    sunk(&output, 150)?;
    steps.push(format!("broker restarted and killed {:.1} s", start.elapsed().as_secs_f32()));
    connect.signal(Signal::SIGKILL)?;
    append(&input, 150..200)?;
    let connect = begin()?;
    let written = sunk(&output, 200)?;
    steps.push(format!("kill -9 {:.1} s, {} lines written again", start.elapsed().as_secs_f32(), written - 200));
    connect.signal(Signal::SIGTERM)?;
    broker.stop()?;
    Ok(steps.join(", "))
}

/// Two distributed workers share connectors by Connect's own group protocol; one is killed and the other takes over.
pub(crate) fn connect_distributed(command: &[String]) -> Result<String, String> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).map_err(|error| error.to_string())?;
    let mut broker = Broker::start_with(Target::from_env(), 2, &[])?;
    let done = distributed(command, &mut broker, folder.path());
    let logs = [0, 1].map(|number| tail(&folder.path().join(format!("connect-{number}.log"))));
    done.map_err(|reason| format!("{reason}\n\nConnect:\n{}\n\nthe broker's last lines:\n{}", logs.join("\n--\n"), broker.log_tail()))
}

fn distributed(command: &[String], broker: &mut Broker, folder: &Path) -> Result<String, String> {
    let start = Instant::now();
    let at = |name: &str| folder.join(name);
    let ports = [free_port(), free_port()];
    let mut workers = Vec::new();
    for (number, port) in ports.iter().enumerate() {
        let properties = at(&format!("worker-{number}.properties"));
        write(
            &properties,
            &format!(
                "bootstrap.servers={}\n{CONVERTERS}group.id=connect-cluster\nlisteners=http://127.0.0.1:{port}\nsession.timeout.ms=6000\nheartbeat.interval.ms=500\n\
                 scheduled.rebalance.max.delay.ms=0\nconfig.storage.topic=connect-configs\nconfig.storage.replication.factor=1\n\
                 offset.storage.topic=connect-offsets\noffset.storage.replication.factor=1\noffset.storage.partitions=3\n\
                 status.storage.topic=connect-status\nstatus.storage.replication.factor=1\nstatus.storage.partitions=2\n",
                broker.bootstrap()
            ),
        )?;
        let log = at(&format!("connect-{number}.log"));
        workers.push(Platform::start(&java(command), "org.apache.kafka.connect.cli.ConnectDistributed", &[&properties], log)?);
    }
    let (input, output) = (at("in.txt"), at("out.txt"));
    append(&input, 0..50)?;
    let connectors = [
        json!({"name": "file-source", "config": {"connector.class": "FileStreamSource", "tasks.max": "1", "file": input, "topic": "connect-lines"}}),
        json!({"name": "file-sink", "config": {"connector.class": "FileStreamSink", "tasks.max": "1", "file": output, "topics": "connect-lines"}}),
    ];
    for connector in &connectors {
        // Refused while the workers start and rebalance.
        until(
            || {
                Ok(
                    matches!(http(ports[1], "POST", "/connectors", &connector.to_string()), Some((201 | 409, body)) if body["error_code"] != 409 || known(&body)),
                )
            },
            "a connector",
        )?;
    }
    sunk(&output, 50)?;
    let mut steps = vec![format!("source and sink {:.1} s", start.elapsed().as_secs_f32())];
    workers.remove(0).signal(Signal::SIGKILL)?;
    append(&input, 50..100)?;
    let written = sunk(&output, 100)?;
    steps.push(format!("a worker killed {:.1} s, {} lines written again", start.elapsed().as_secs_f32(), written - 100));
    broker.stop()?;
    broker.start_again(1)?;
    append(&input, 100..150)?;
    sunk(&output, 150)?;
    steps.push(format!("broker restarted {:.1} s", start.elapsed().as_secs_f32()));
    workers.remove(0).signal(Signal::SIGTERM)?;
    broker.stop()?;
    Ok(steps.join(", "))
}

/// Whether the refusal says that the connector is there already: an earlier request did it without telling.
fn known(body: &Value) -> bool {
    body["message"].as_str().is_some_and(|message| message.contains("already exists"))
}

/// One request; status and body, if there was an answer.
fn http(port: u16, method: &str, path: &str, body: &str) -> Option<(u16, Value)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let length = body.len();
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Some((status, serde_json::from_str(body).unwrap_or_default()))
}
