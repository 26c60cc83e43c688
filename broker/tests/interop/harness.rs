//! Starts and stops the broker under test: the coreline binary of this build, or Apache Kafka as the control.
//!
//! `CORELINE_INTEROP_TARGET=kafka KAFKA_LIBS=DIR` runs the same suite against Apache Kafka (DIR holds its jars): what fails there is
//! wrong in the suite or beyond the client. Kafka knows no shards, so the number is ignored.

use crate::probe::{admin_ready, answers_api_versions, free_port};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Every topic that a client lets the broker create has this many partitions.
pub(crate) const PARTITIONS: i32 = 3;

const READY_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// Which broker the suite talks to.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Coreline,
    Kafka { libs: PathBuf },
}

impl Target {
    pub(crate) fn from_env() -> Target {
        match std::env::var("CORELINE_INTEROP_TARGET").as_deref() {
            Ok("kafka") => {
                let libs = std::env::var_os("KAFKA_LIBS").expect("CORELINE_INTEROP_TARGET=kafka needs KAFKA_LIBS, the folder of its jars");
                Target::Kafka { libs: libs.into() }
            }
            Ok("coreline") | Err(_) => Target::Coreline,
            Ok(other) => panic!("CORELINE_INTEROP_TARGET is {other:?}: coreline or kafka"),
        }
    }
}

/// One broker on one data directory; it may be stopped, killed and started again. Dropped, it is killed and its data removed.
pub(crate) struct Broker {
    target: Target,
    port: u16,
    second_port: u16,
    folder: tempfile::TempDir,
    child: Option<Child>,
    settings: Vec<String>,
}

impl Broker {
    /// With `settings`, each `KEY=VALUE`, beside the usual ones.
    pub(crate) fn start_with(target: Target, shards: u16, settings: &[&str]) -> Result<Broker, String> {
        // Beside the build, on a real disk: the system's temporary folder may be memory.
        let folder = tempfile::Builder::new().prefix("interop-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
        let folder = folder.map_err(|error| format!("no temporary folder: {error}"))?;
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut broker = Broker { target, port: free_port(), second_port: free_port(), folder, child: None, settings };
        broker.start_again(shards).map_err(|reason| format!("{reason}; its last lines:\n{}", broker.log_tail()))?;
        Ok(broker)
    }

    /// Starts the stopped broker on its old data directory and ports and waits until it serves.
    pub(crate) fn start_again(&mut self, shards: u16) -> Result<(), String> {
        assert!(self.child.is_none(), "the broker still runs");
        let mut command = match &self.target {
            Target::Coreline => self.coreline(shards),
            Target::Kafka { libs } => self.kafka(&libs.clone())?,
        };
        let log = OpenOptions::new().create(true).append(true).open(self.log()).map_err(|error| format!("broker log: {error}"))?;
        let also = log.try_clone().map_err(|error| format!("broker log: {error}"))?;
        let child = command.stdin(Stdio::null()).stdout(log).stderr(also).spawn();
        self.child = Some(child.map_err(|error| format!("cannot start {command:?}: {error}"))?);
        self.wait_ready()
    }

    /// SIGTERM; the broker has to end by itself, with status 0 (Apache Kafka's JVM ends with 143).
    pub(crate) fn stop(&mut self) -> Result<(), String> {
        let status = self.end(Signal::SIGTERM)?;
        let clean = match self.target {
            Target::Coreline => status.code() == Some(0),
            Target::Kafka { .. } => matches!(status.code(), Some(0 | 143)),
        };
        if clean { Ok(()) } else { Err(format!("the broker ended with {status} after SIGTERM")) }
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) -> Result<(), String> {
        self.end(Signal::SIGKILL).map(drop)
    }

    pub(crate) fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The last lines that the broker wrote, for a failure's message.
    pub(crate) fn log_tail(&self) -> String {
        let text = fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    fn end(&mut self, signal: Signal) -> Result<ExitStatus, String> {
        let mut child = self.child.take().expect("the broker runs");
        // A broker that already died shows in its exit status.
        let _ = kill(Pid::from_raw(child.id() as i32), signal);
        let deadline = Instant::now() + STOP_WITHIN;
        while Instant::now() < deadline {
            match child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => thread::sleep(Duration::from_millis(5)),
                Err(error) => return Err(format!("waiting for the broker: {error}")),
            }
        }
        let _ = child.kill();
        let _ = child.wait();
        Err(format!("the broker still ran {STOP_WITHIN:?} after {signal}"))
    }

    fn coreline(&self, shards: u16) -> Command {
        let built = std::env::var_os("CORELINE_INTEROP_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_coreline").into());
        let mut command = Command::new(built);
        command.arg("serve").arg("--data-dir").arg(self.data());
        command.args(["--listen", &self.bootstrap(), "--admin-listen", &format!("127.0.0.1:{}", self.second_port)]);
        command.args(["--shards", &shards.to_string()]);
        for setting in [format!("num.partitions={PARTITIONS}"), "group.initial.rebalance.delay.ms=0".to_owned()] {
            command.args(["--set", &setting]);
        }
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        command
    }

    fn kafka(&self, libs: &Path) -> Result<Command, String> {
        let (port, controller, data) = (self.port, self.second_port, self.data());
        let properties = self.folder.path().join("server.properties");
        let text = format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\ncontroller.listener.names=CONTROLLER\nlog.dirs={}\n\
             offsets.topic.replication.factor=1\noffsets.topic.num.partitions=4\ngroup.initial.rebalance.delay.ms=0\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             share.coordinator.state.topic.replication.factor=1\nshare.coordinator.state.topic.min.isr=1\nnum.partitions={PARTITIONS}\n",
            data.display()
        );
        let text = format!("{text}{}\n", self.settings.join("\n"));
        fs::write(&properties, text).map_err(|error| format!("server.properties: {error}"))?;
        let classes = format!("{}/*", libs.display());
        if !data.join("meta.properties").exists() {
            fs::create_dir_all(&data).map_err(|error| format!("data folder: {error}"))?;
            let mut format = Command::new("java");
            format.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", &classes, "kafka.tools.StorageTool", "format"]);
            format.args(["-t", "MkU3OEVBNTcwNTJENDM2Qg", "--ignore-formatted", "-c"]).arg(&properties);
            let done = format.output().map_err(|error| format!("java: {error}"))?;
            if !done.status.success() {
                return Err(format!("StorageTool format: {}", String::from_utf8_lossy(&done.stderr)));
            }
        }
        let mut command = Command::new("java");
        command.args(["-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", &classes, "kafka.Kafka"]).arg(properties);
        Ok(command)
    }

    fn wait_ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + READY_WITHIN;
        while Instant::now() < deadline {
            let child = self.child.as_mut().expect("just started");
            if let Ok(Some(status)) = child.try_wait() {
                self.child = None;
                return Err(format!("the broker ended at its start with {status}"));
            }
            let admin = match self.target {
                Target::Coreline => admin_ready(self.second_port),
                Target::Kafka { .. } => true,
            };
            if admin && answers_api_versions(self.port) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Err(format!("the broker was not ready after {READY_WITHIN:?}"))
    }

    /// The data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("broker.log")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::env::var_os("CORELINE_INTEROP_KEEP").is_some() {
            self.folder.disable_cleanup(true);
            let _ = writeln!(std::io::stderr(), "interop: kept {}", self.folder.path().display());
        }
    }
}

/// Held while its file is locked against other test processes; the lock goes with the file.
pub(crate) fn locked(path: &Path) -> Result<File, String> {
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    file.lock().map_err(|error| format!("locking {}: {error}", path.display()))?;
    Ok(file)
}
