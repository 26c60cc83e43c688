//! One Java virtual machine that runs Kafka's tools, one command after the other.

use crate::process;
use crate::tools::script::Line;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// What a command may take before it is ended, and what the machine gets beyond that.
const COMMAND_SECONDS: u64 = 60;
const GRACE: Duration = Duration::from_secs(15);

/// Tool, class, and the option that takes the broker's address.
const TOOLS: [(&str, &str, &str); 22] = [
    ("topics", "org.apache.kafka.tools.TopicCommand", "--bootstrap-server"),
    ("configs", "kafka.admin.ConfigCommand", "--bootstrap-server"),
    ("consumer-groups", "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", "--bootstrap-server"),
    ("groups", "org.apache.kafka.tools.GroupsCommand", "--bootstrap-server"),
    ("get-offsets", "org.apache.kafka.tools.GetOffsetShell", "--bootstrap-server"),
    ("delete-records", "org.apache.kafka.tools.DeleteRecordsCommand", "--bootstrap-server"),
    ("log-dirs", "org.apache.kafka.tools.LogDirsCommand", "--bootstrap-server"),
    ("features", "org.apache.kafka.tools.FeatureCommand", "--bootstrap-server"),
    ("metadata-quorum", "org.apache.kafka.tools.MetadataQuorumCommand", "--bootstrap-server"),
    ("leader-election", "org.apache.kafka.tools.LeaderElectionCommand", "--bootstrap-server"),
    ("reassign-partitions", "org.apache.kafka.tools.reassign.ReassignPartitionsCommand", "--bootstrap-server"),
    ("client-metrics", "org.apache.kafka.tools.ClientMetricsCommand", "--bootstrap-server"),
    ("cluster", "org.apache.kafka.tools.ClusterTool", "--bootstrap-server"),
    ("broker-api-versions", "org.apache.kafka.tools.BrokerApiVersionsCommand", "--bootstrap-server"),
    ("console-producer", "org.apache.kafka.tools.ConsoleProducer", "--bootstrap-server"),
    ("console-consumer", "org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server"),
    ("verifiable-producer", "org.apache.kafka.tools.VerifiableProducer", "--bootstrap-server"),
    ("verifiable-consumer", "org.apache.kafka.tools.VerifiableConsumer", "--bootstrap-server"),
    ("producer-perf", "org.apache.kafka.tools.ProducerPerformance", "--bootstrap-server"),
    ("consumer-perf", "org.apache.kafka.tools.ConsumerPerformance", "--bootstrap-server"),
    ("end-to-end-latency", "org.apache.kafka.tools.EndToEndLatency", "--bootstrap-server"),
    ("transactions", "org.apache.kafka.tools.TransactionsCommand", "--bootstrap-server"),
];

/// A tool's end.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) exit: i64,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) ms: i64,
}

pub(crate) struct Machine {
    child: process::Ended,
    stdin: ChildStdin,
    answers: Receiver<Value>,
    /// Answers of commands in the background that came while another one was waited for.
    early: Vec<Value>,
    bootstrap: String,
    folder: std::path::PathBuf,
    commands: usize,
}

impl Machine {
    pub(crate) fn start(command: &[String], bootstrap: String, folder: std::path::PathBuf) -> Result<Machine, String> {
        let child =
            Command::new(&command[0]).args(&command[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = process::Ended(child.map_err(|error| format!("cannot start {command:?}: {error}"))?);
        let stdin = child.0.stdin.take().expect("piped");
        let stdout = child.0.stdout.take().expect("piped");
        let (sender, answers) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if serde_json::from_str(&line).is_ok_and(|answer: Value| sender.send(answer).is_err()) {
                    break;
                }
            }
        });
        Ok(Machine { child, stdin, answers, early: Vec::new(), bootstrap, folder, commands: 0 })
    }

    /// Runs the tool to its end; None for one in the background, whose end `wait` gives.
    pub(crate) fn run(&mut self, line: &Line) -> Result<Option<Answer>, String> {
        let (_, class, option) = TOOLS.iter().find(|(name, ..)| *name == line.tool).ok_or_else(|| format!("unknown tool {}", line.tool))?;
        let folder = self.folder.display().to_string();
        let mut args: Vec<String> = line.args.iter().map(|arg| arg.replace("$DIR", &folder)).collect();
        // A sub-command comes first.
        let at = usize::from(args.first().is_some_and(|first| !first.starts_with("--")));
        let at = if line.tool == "metadata-quorum" || line.tool == "features" { 0 } else { at };
        args.splice(at..at, [(*option).to_owned(), self.bootstrap.clone()]);
        self.commands += 1;
        let id = line.background.clone().unwrap_or_else(|| self.commands.to_string());
        let wanted = json!({"id": id, "class": class, "args": args, "stdin": line.stdin, "seconds": COMMAND_SECONDS, "background": line.background.is_some()});
        writeln!(self.stdin, "{wanted}").and_then(|()| self.stdin.flush()).map_err(|error| format!("the machine is gone: {error}"))?;
        if line.background.is_some() { Ok(None) } else { self.wait(&id).map(Some) }
    }

    pub(crate) fn wait(&mut self, id: &str) -> Result<Answer, String> {
        loop {
            let early = self.early.iter().position(|answer| answer["id"] == *id).map(|at| self.early.remove(at));
            let answer = match early {
                Some(answer) => answer,
                None => {
                    let limit = Duration::from_secs(COMMAND_SECONDS) + GRACE;
                    let status = self.child.0.try_wait();
                    self.answers.recv_timeout(limit).map_err(|error| format!("no answer: {error}; the machine: {status:?}"))?
                }
            };
            if answer["id"] != *id {
                self.early.push(answer);
                continue;
            }
            let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
            return Ok(Answer {
                exit: answer["exit"].as_i64().unwrap_or(-1),
                out: text("out"),
                err: text("err"),
                ms: answer["ms"].as_i64().unwrap_or(-1),
            });
        }
    }
}
