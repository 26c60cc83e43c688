//! A server started here: its directory, ports, log and supervisor; start, stop, kill, wipe.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::supervise::{Launch, Supervisor};
use super::{Spec, Surroundings, kafka};
use crate::cost::{Cgroup, MemoryGroup};
use crate::error::BenchError;
use crate::interrupt::{self, Flag, LOOK};
use crate::probe;
use crate::target::Target;

/// Longest time from start to the first connection.
const START_TIME_MAX: Duration = Duration::from_secs(120);
/// Longest time from SIGTERM to the end.
const STOP_TIME_MAX: Duration = Duration::from_secs(120);
/// Longest time from SIGKILL to the end.
const KILL_TIME_MAX: Duration = Duration::from_secs(30);
/// Longest time for one attempt to connect.
const CONNECT_TIME_MAX: Duration = Duration::from_millis(500);
/// How often a starting server is tried; also how late its readiness may be noticed.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// Coreline bounds the connections of one address, and all load comes from one: what it bounds all connections by. Shown in every report.
const CONNECTIONS: (&str, &str) = ("max.connections.per.ip", "20000");
/// Lines of a dead server's log that an error shows.
const LOG_LINES_SHOWN: usize = 12;

/// Where a server lives on this host.
#[derive(Clone, Debug)]
pub struct Place {
    /// Configuration and log.
    pub dir: PathBuf,
    /// Data; emptied by a wipe.
    pub data: PathBuf,
    /// Port of the Kafka listener on 127.0.0.1.
    pub port: u16,
    /// A second free port, for whatever the server needs one.
    pub second_port: u16,
}

/// What an adapter has to say about its server.
pub(super) struct Recipe {
    /// How it is started.
    pub(super) argv: Vec<String>,
    /// Additional environment.
    pub(super) environment: Vec<(String, String)>,
    /// Version, as the server or its jars tell it.
    pub(super) version: Option<String>,
    /// Of what is run; see `TargetInfo::sha256`.
    pub(super) sha256: Option<String>,
    /// Settings that differ from the server's defaults, for the report.
    pub(super) settings: Vec<(String, String)>,
    /// `HOST:PORT` of Coreline's metrics.
    pub(super) admin: Option<String>,
    /// Run on the empty data directory before the first start.
    pub(super) format: Option<Vec<String>>,
}

/// What may look at a server while the engine has it: survives restarts of the server.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    pid: Arc<AtomicU32>,
    cgroup: Option<Arc<Cgroup>>,
    admin: Option<String>,
}

impl Watch {
    /// The server's process while it runs.
    pub fn pid(&self) -> Option<u32> {
        Some(self.pid.load(Ordering::Relaxed)).filter(|pid| *pid != 0)
    }

    /// Its control group, where there is one.
    pub fn cgroup(&self) -> Option<&Cgroup> {
        self.cgroup.as_deref()
    }

    /// `HOST:PORT` of Coreline's metrics.
    pub fn admin(&self) -> Option<&str> {
        self.admin.as_deref()
    }
}

/// A server that this program starts. Dropping it ends the server and deletes its data.
pub struct Local {
    name: String,
    bootstrap: String,
    place: Place,
    recipe: Recipe,
    // In this order: the supervisor ends the server, then its control group and its directory can go.
    supervisor: Supervisor,
    watch: Watch,
    _memory: Option<MemoryGroup>,
    flag: Flag,
    dir: TempDir,
}

impl Local {
    pub(super) fn prepare(spec: &Spec, around: &Surroundings) -> Result<Local, BenchError> {
        let name = spec.to_string();
        let dir = tempfile::Builder::new().prefix("coreline-bench-").tempdir_in(&around.data_root);
        let dir = dir.map_err(|error| BenchError::host(format!("making a directory in {}", around.data_root.display()), error))?;
        let [port, second_port] = free_ports()?;
        let place = Place { dir: dir.path().to_path_buf(), data: dir.path().join("data"), port, second_port };
        let mut bootstrap = format!("127.0.0.1:{port}");
        let mut recipe = match spec {
            Spec::Coreline { path, settings } => coreline(path.as_deref(), settings, &place, around)?,
            Spec::Kafka { libs, settings, heap, durable } => {
                kafka::recipe(libs.as_deref().or(around.kafka_libs.as_deref()), settings, heap, *durable, &place, &around.flag)?
            }
            Spec::Command { command, address } => {
                bootstrap = address.clone().unwrap_or(bootstrap);
                shell(command, &place, &around.flag)
            }
            Spec::Address(address) => return Err(BenchError::target(address, "a server that runs already is not started here")),
        };
        // They are none of the server's own settings, and belong beside them.
        let cpus: Vec<String> = around.server_cpus.iter().map(usize::to_string).collect();
        recipe.settings.extend((!cpus.is_empty()).then(|| ("--server-cpus".to_string(), cpus.join(","))));
        recipe.settings.extend(around.server_memory.map(|bytes| ("--server-memory".to_string(), bytes.to_string())));
        let watch = Watch { pid: Arc::default(), cgroup: Cgroup::create().map(Arc::new), admin: recipe.admin.clone() };
        let memory = match around.server_memory {
            Some(bytes) => MemoryGroup::limit(watch.cgroup(), bytes).map_err(|error| BenchError::host("--server-memory", error))?,
            None => None,
        };
        let groups = watch.cgroup().map(Cgroup::path).into_iter().chain(memory.as_ref().map(MemoryGroup::path));
        let cgroups = groups.map(Path::to_path_buf).collect();
        let launch = Launch {
            argv: recipe.argv.clone(),
            environment: recipe.environment.clone(),
            log: place.dir.join("server.log"),
            cgroups,
            dir: place.dir.clone(),
            cpus: around.server_cpus.clone(),
        };
        let supervisor = Supervisor::spawn(&around.program, &launch).map_err(|error| BenchError::host("starting a supervisor", error))?;
        let mut local = Local { name, bootstrap, place, recipe, supervisor, watch, _memory: memory, flag: Arc::clone(&around.flag), dir };
        local.make_data()?;
        Ok(local)
    }

    /// Where it lives.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Its version, if it is known.
    pub fn version(&self) -> Option<&str> {
        self.recipe.version.as_deref()
    }

    /// What is run, by its sum; `None` where that is not known.
    pub fn sha256(&self) -> Option<&str> {
        self.recipe.sha256.as_deref()
    }

    /// Settings that differ from the server's defaults.
    pub fn settings(&self) -> &[(String, String)] {
        &self.recipe.settings
    }

    /// For looking at it while the engine has it.
    pub fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// Waits until the Kafka listener takes a connection.
    pub fn wait_until_it_serves(&mut self) -> Result<(), BenchError> {
        let begun = Instant::now();
        let address = resolve(&self.bootstrap).ok_or_else(|| BenchError::target(&self.name, "its address does not resolve"))?;
        loop {
            interrupt::check(&self.flag)?;
            if TcpStream::connect_timeout(&address, CONNECT_TIME_MAX).is_ok() {
                return Ok(());
            }
            if let Some(status) = self.ended(LOOK_AGAIN) {
                return Err(self.died(&status, "before it served"));
            }
            if begun.elapsed() > START_TIME_MAX {
                self.kill()?;
                return Err(self.fault(&format!("takes no connections on {} after {} s", self.bootstrap, START_TIME_MAX.as_secs())));
            }
        }
    }

    /// Stops it in its tracks.
    pub fn freeze(&self) {
        self.supervisor.signal(Signal::SIGSTOP);
    }

    /// Lets it go on, and waits until it takes connections.
    pub fn thaw(&mut self) -> Result<(), BenchError> {
        self.supervisor.signal(Signal::SIGCONT);
        self.wait_until_it_serves()
    }

    fn ended(&mut self, limit: Duration) -> Option<String> {
        let status = self.supervisor.wait_exit(limit)?;
        self.watch.pid.store(0, Ordering::Relaxed);
        Some(status)
    }

    /// The last lines of its log.
    pub fn log_end(&self) -> String {
        last_lines(&self.place.dir.join("server.log"), LOG_LINES_SHOWN)
    }

    fn make_data(&mut self) -> Result<(), BenchError> {
        let failed = |error| BenchError::host(format!("making {}", self.place.data.display()), error);
        fs::create_dir_all(&self.place.data).map_err(failed)?;
        let Some((program, arguments)) = self.recipe.format.as_ref().and_then(|argv| argv.split_first()) else { return Ok(()) };
        let out = interrupt::output(std::process::Command::new(program).args(arguments), &self.flag);
        interrupt::check(&self.flag)?;
        let out = out.map_err(|error| BenchError::host(format!("running {program}"), error))?;
        if out.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&out.stderr);
        let said: Vec<&str> = said.lines().rev().take(LOG_LINES_SHOWN).collect();
        Err(self.fault(&format!(
            "its storage could not be formatted ({}):\n{}",
            out.status,
            said.into_iter().rev().collect::<Vec<_>>().join("\n")
        )))
    }

    fn fault(&self, what: &str) -> BenchError {
        BenchError::target(&self.name, format!("{what}\n{}", self.log_end()).trim_end().to_string())
    }

    fn died(&self, status: &str, when: &str) -> BenchError {
        self.fault(&format!("ended {when} ({status}); the end of its log:"))
    }

    fn end(&mut self, signal: Signal, limit: Duration) -> Result<(), BenchError> {
        if self.supervisor.running().is_none() {
            return Ok(());
        }
        self.supervisor.signal(signal);
        let begun = Instant::now();
        while begun.elapsed() < limit {
            if self.ended(LOOK).is_some() || self.supervisor.running().is_none() {
                return Ok(());
            }
            if signal != Signal::SIGKILL && interrupt::is_raised(&self.flag) {
                // Its data is thrown away: nobody waits for a clean end of it.
                return self.end(Signal::SIGKILL, KILL_TIME_MAX);
            }
        }
        let late = self.fault(&format!("still runs {} s after {signal}", limit.as_secs()));
        self.supervisor.signal(Signal::SIGKILL);
        let _ = self.ended(KILL_TIME_MAX);
        Err(late)
    }
}

impl Drop for Local {
    /// Whoever interrupts does not wait for gigabytes to be deleted: the supervisor does that on its own.
    fn drop(&mut self) {
        if interrupt::is_raised(&self.flag) {
            self.supervisor.leave_to_itself();
            self.dir.disable_cleanup(true);
        }
    }
}

impl Target for Local {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn bootstrap(&self) -> String {
        self.bootstrap.clone()
    }

    fn pid(&self) -> Option<u32> {
        self.supervisor.running()
    }

    fn unasked_end(&mut self) -> Option<String> {
        self.ended(Duration::ZERO)
    }

    fn start(&mut self) -> Result<(), BenchError> {
        if self.supervisor.running().is_some() && self.unasked_end().is_none() {
            return Err(self.fault("runs already"));
        }
        let pid = self.supervisor.start().map_err(|why| BenchError::target(&self.name, format!("cannot be started: {why}")))?;
        self.watch.pid.store(pid, Ordering::Relaxed);
        Ok(())
    }

    fn stop(&mut self) -> Result<(), BenchError> {
        self.end(Signal::SIGTERM, STOP_TIME_MAX)
    }

    fn kill(&mut self) -> Result<(), BenchError> {
        self.end(Signal::SIGKILL, KILL_TIME_MAX)
    }

    fn wipe(&mut self) -> Result<(), BenchError> {
        self.kill()?;
        fs::remove_dir_all(&self.place.data).map_err(|error| BenchError::host(format!("emptying {}", self.place.data.display()), error))?;
        self.make_data()
    }
}

fn coreline(path: Option<&Path>, settings: &[(String, String)], place: &Place, around: &Surroundings) -> Result<Recipe, BenchError> {
    let path = match path {
        Some(path) => path.to_path_buf(),
        None => around.program.with_file_name("coreline"),
    };
    if !path.is_file() {
        let hint = "build it beside this program (cargo build --release -p coreline-broker) or name it: coreline:PATH";
        return Err(BenchError::Config(format!("no executable {}; {hint}", path.display())));
    }
    let said = interrupt::output(std::process::Command::new(&path).arg("--version"), &around.flag).ok();
    interrupt::check(&around.flag)?;
    let version = said.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_string()).filter(|text| !text.is_empty());
    let sha256 = probe::sha256(&path, &around.flag);
    let (listen, admin) = (format!("127.0.0.1:{}", place.port), format!("127.0.0.1:{}", place.second_port));
    let mut argv = vec![path.display().to_string(), "serve".into(), "--listen".into(), listen, "--admin-listen".into(), admin.clone()];
    argv.extend(["--data-dir".into(), place.data.display().to_string()]);
    let mut settings = settings.to_vec();
    if settings.iter().all(|(key, _)| key != CONNECTIONS.0) {
        settings.push((CONNECTIONS.0.to_string(), CONNECTIONS.1.to_string()));
    }
    for (key, value) in &settings {
        argv.extend(["--set".into(), format!("{key}={value}")]);
    }
    Ok(Recipe { argv, environment: Vec::new(), version, sha256, settings, admin: Some(admin), format: None })
}

fn shell(command: &str, place: &Place, flag: &Flag) -> Recipe {
    let sha256 = program_of(command).and_then(|path| probe::sha256(path, flag));
    let command = command.replace("{port}", &place.port.to_string()).replace("{dir}", &place.data.display().to_string());
    let argv = vec!["/bin/sh".into(), "-c".into(), command];
    Recipe { argv, environment: Vec::new(), version: None, sha256, settings: Vec::new(), admin: None, format: None }
}

/// The executable that a command names by its path, if it begins with one: what a shell makes of anything else is its own affair.
fn program_of(command: &str) -> Option<&Path> {
    let command = command.trim_start();
    let program = command.strip_prefix("exec ").unwrap_or(command).split_whitespace().next()?;
    (program.contains('/') && !program.contains(['$', '"', '\'', '`', '(', ';', '=']))
        .then(|| Path::new(program))
        .filter(|path| path.is_file())
}

/// Two ports that nobody listens on now. Somebody may take one before the server does; then the server says so and the run ends.
fn free_ports() -> Result<[u16; 2], BenchError> {
    let free = || TcpListener::bind(("127.0.0.1", 0));
    let ports = free().and_then(|a| free().map(|b| (a, b))).and_then(|(a, b)| Ok([a.local_addr()?.port(), b.local_addr()?.port()]));
    ports.map_err(|error| BenchError::host("looking for a free port", error))
}

fn resolve(address: &str) -> Option<SocketAddr> {
    address.to_socket_addrs().ok()?.next()
}

fn last_lines(path: &Path, most: usize) -> String {
    const BYTES_MAX: u64 = 64 * 1024;
    let mut bytes = Vec::new();
    if let Ok(mut file) = fs::File::open(path) {
        let length = file.metadata().map_or(0, |m| m.len());
        let _ = file.seek(SeekFrom::Start(length.saturating_sub(BYTES_MAX)));
        let _ = file.take(BYTES_MAX).read_to_end(&mut bytes);
    }
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(most)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_program_that_a_command_begins_with_is_known() {
        let path = |command| program_of(command).and_then(Path::to_str);
        assert_eq!((path("/bin/sh -c x"), path(" exec /bin/sh {port}")), (Some("/bin/sh"), Some("/bin/sh")));
        for command in ["sh -c x", "/bin/no-such-program {port}", "A=/bin/sh x", "$(/bin/sh)", "", "cd /; ./x", "/bin"] {
            assert_eq!(path(command), None, "{command}");
        }
    }
}
