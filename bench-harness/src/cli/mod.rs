//! The command line: `run`, `slo`, `compare`, `history`, `list`, `host`, `schema`. Fixed: scripts depend on it. Exit codes are those of `error.rs`.

mod compare;
mod history;
mod progress;
mod run;
mod slo;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use serde::Serialize;

use crate::adapter::{Server, Spec, Surroundings, supervise};
use crate::error::{BenchError, EXIT_INTERRUPTED, EXIT_OK};
use crate::interrupt::Flag;
use crate::scenario::{self, Overrides, Scenario};
use crate::session::Around;
use crate::{cost, cpus};

/// Of what is written as JSON.
const SCHEMA: &str = include_str!("../../schema/result-v1.json");

/// Load tester for Kafka-protocol servers. Exit codes: 0 done and valid, 1 measured but invalid or objective missed, 2 wrong input, 3 target
/// or host failed, 130 interrupted.
#[derive(Parser)]
#[command(name = "coreline-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a scenario once and reports.
    Run(run::Arguments),
    /// Searches the highest rate that keeps an objective, and confirms it.
    Slo(slo::Arguments),
    /// Measures two targets in interleaved blocks and says which is better, where the run can tell.
    Compare(compare::Arguments),
    /// Lists results over time and says where a figure moved.
    History(history::Arguments),
    /// Names the committed scenarios.
    List {
        /// Shows the keys of scenario files instead.
        #[arg(long)]
        keys: bool,
    },
    /// Prints the facts of this host that belong beside every result, as JSON; or how exactly it keeps a schedule.
    Host(HostArguments),
    /// Prints the JSON Schema of everything that --json and `host` write.
    Schema,
    /// Starts and ends one server on behalf of this program.
    #[command(hide = true)]
    Supervise(SuperviseArguments),
}

#[derive(Args)]
struct HostArguments {
    /// Instead: how late a load thread with nothing to send notices deadlines, this many per second.
    #[arg(long, value_name = "RATE", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pacing: Option<u32>,
    /// Seconds of it.
    #[arg(long, requires = "pacing", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: u32,
    /// As the scenarios' generator.spin_us.
    #[arg(long, requires = "pacing", default_value_t = 50, value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    spin_us: u64,
    /// As generator.cpus.
    #[arg(long, requires = "pacing", default_value = "")]
    cpus: String,
    /// As generator.realtime.
    #[arg(long, requires = "pacing", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=99))]
    realtime: u32,
}

fn host(arguments: &HostArguments) -> Result<u8, BenchError> {
    let Some(rate) = arguments.pacing else { return print_json(&crate::probe::host()) };
    let cpus = cpus::parse(&arguments.cpus).map_err(|why| BenchError::Config(format!("--cpus: {why}")))?;
    cpus::check(&cpus).map_err(|error| BenchError::host("--cpus", error))?;
    let (seconds, spin_us, realtime) = (arguments.seconds, arguments.spin_us, arguments.realtime);
    let attempt = crate::pacing::Attempt { rate, seconds, spin_us, cpus, realtime };
    print_json(&crate::pacing::measure(&attempt).map_err(|error| BenchError::host("pacing", error))?)
}

#[derive(Args)]
struct SuperviseArguments {
    #[arg(long)]
    log: PathBuf,
    #[arg(long)]
    cgroup: Vec<PathBuf>,
    #[arg(long)]
    dir: Option<PathBuf>,
    #[arg(long, default_value = "")]
    cpus: String,
    #[arg(last = true, required = true)]
    argv: Vec<String>,
}

/// What to run.
#[derive(Args)]
struct ScenarioArguments {
    /// Name of a committed scenario, or a TOML file.
    scenario: String,
    /// Seconds to measure.
    #[arg(long, value_name = "SECONDS")]
    duration: Option<u32>,
    /// Seconds to discard first.
    #[arg(long, value_name = "SECONDS")]
    warmup: Option<u32>,
    /// Records per second, or `max`.
    #[arg(long)]
    rate: Option<String>,
    /// Any other key of the scenario.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl ScenarioArguments {
    fn load(&self) -> Result<Scenario, BenchError> {
        let overrides = Overrides { duration_s: self.duration, warmup_s: self.warmup, rate: self.rate.clone(), set: self.set.clone() };
        let scenario = scenario::load(&self.scenario, &overrides)?;
        cpus::check(&scenario.generator.cpus).map_err(|error| BenchError::host("generator.cpus", error))?;
        Ok(scenario)
    }
}

/// How servers are started and looked at.
#[derive(Args)]
struct ServerArguments {
    /// Directory of Apache Kafka's jars, for the target `kafka`; without it they are fetched from Maven Central.
    #[arg(long, value_name = "DIR")]
    kafka_libs: Option<PathBuf>,
    /// Where data directories of servers are made; default the system's temporary directory.
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,
    /// CPUs that servers started here are kept on, such as 0 or 0-1,4; both of a comparison get the same. Default: any.
    #[arg(long, value_name = "LIST")]
    server_cpus: Option<String>,
    /// Memory that each server started here may use, page cache included, such as 4g; both of a comparison get the same. Default: no bound.
    #[arg(long, value_name = "SIZE", value_parser = cost::parse_size)]
    server_memory: Option<u64>,
    /// Count the servers' system calls with perf; costs each call a little.
    #[arg(long)]
    syscalls: bool,
    /// Leave the disk probes out.
    #[arg(long)]
    no_probe: bool,
    /// `HOST:PORT` of the metrics of a Coreline that runs already.
    #[arg(long, value_name = "HOST:PORT")]
    admin: Option<String>,
    /// No live progress.
    #[arg(long, short)]
    quiet: bool,
}

impl ServerArguments {
    fn surroundings(&self, flag: &Flag) -> Result<Surroundings, BenchError> {
        let mut around = Surroundings::of_this_process(flag)?;
        around.kafka_libs.clone_from(&self.kafka_libs);
        if let Some(root) = &self.data_root {
            around.data_root.clone_from(root);
        }
        if let Some(list) = &self.server_cpus {
            around.server_cpus = cpus::parse(list).map_err(|why| BenchError::Config(format!("--server-cpus: {why}")))?;
            cpus::check(&around.server_cpus).map_err(|error| BenchError::host("--server-cpus", error))?;
        }
        around.server_memory = self.server_memory;
        Ok(around)
    }

    fn around(&self) -> Around {
        let mut around = Around { count_calls: self.syscalls, admin: self.admin.clone(), ..Around::default() };
        if let Some(root) = &self.data_root {
            around.probe_dir.clone_from(root);
        }
        if self.no_probe {
            around.probe = None;
        }
        around
    }

    fn probe_time(&self) -> Option<Duration> {
        self.around().probe
    }

    /// Refuses what would be given for nothing: settings of servers that are started here where none is, and the metrics of one that runs already
    /// where it is not one.
    fn check(&self, targets: &[&Spec]) -> Result<(), BenchError> {
        let refuse = |what: &str| Err(BenchError::Config(what.to_string()));
        let elsewhere = targets.iter().filter(|target| matches!(target, Spec::Address(_))).count();
        match () {
            () if self.server_memory.is_some() && elsewhere > 0 => {
                refuse("--server-memory: a server that runs already is not started here")
            }
            () if self.server_cpus.is_some() && elsewhere > 0 => refuse("--server-cpus: a server that runs already is not started here"),
            () if self.admin.is_some() && elsewhere != 1 => {
                refuse("--admin is for one target HOST:PORT; the metrics of a server started here are known")
            }
            () => Ok(()),
        }
    }

    fn prepare(&self, target: &Spec, flag: &Flag) -> Result<Server, BenchError> {
        Server::prepare(target, &self.surroundings(flag)?)
    }
}

/// Reads what `--target`, `--a` or `--b` says.
fn spec(target: &str) -> Result<Spec, BenchError> {
    Spec::parse(target).map_err(|error| BenchError::Config(error.to_string()))
}

/// Runs what the arguments ask for.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Slo(arguments) => slo::run(&arguments),
        Command::Compare(arguments) => compare::run(&arguments),
        Command::History(arguments) => history::run(&arguments),
        Command::List { keys: false } => list(),
        Command::List { keys: true } => print(&scenario::key_table()),
        Command::Host(arguments) => host(&arguments),
        Command::Schema => print(SCHEMA),
        Command::Supervise(SuperviseArguments { log, cgroup, dir, cpus, argv }) => {
            let serve = |cpus| supervise::serve(&supervise::Orders { log, cgroups: cgroup, dir, cpus, argv });
            cpus::parse(&cpus)
                .map_err(BenchError::Config)
                .and_then(|cpus| serve(cpus).map_err(|error| BenchError::host("supervising a server", error)))
                .map(|()| EXIT_OK)
        }
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let _ = writeln!(io::stderr(), "coreline-bench: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn list() -> Result<u8, BenchError> {
    let mut text = String::new();
    for name in scenario::names() {
        let scenario = scenario::load(name, &Overrides::default())?;
        text.push_str(&format!("{name:<22} {}\n", scenario.title));
    }
    print(&text)
}

fn print(text: &str) -> Result<u8, BenchError> {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(BenchError::host("writing to standard output", error)),
        _ => Ok(EXIT_OK),
    }
}

fn print_json(value: &impl Serialize) -> Result<u8, BenchError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| BenchError::host("writing JSON", error.into()))?;
    print(&(text + "\n"))
}

/// In one line: histograms are long lists of numbers.
fn to_json(value: &impl Serialize) -> Result<String, BenchError> {
    serde_json::to_string(value).map_err(|error| BenchError::host("writing JSON", error.into()))
}

/// Refuses an output file that cannot be written, or that another output would overwrite, before anything is measured, not after.
fn check_writable(paths: &[&Option<PathBuf>]) -> Result<(), BenchError> {
    let given: Vec<&PathBuf> = paths.iter().filter_map(|path| path.as_ref()).collect();
    if let Some(path) = given.iter().enumerate().find_map(|(i, path)| given[..i].contains(path).then_some(path)) {
        return Err(BenchError::Config(format!("{}: two outputs cannot go to the same file", path.display())));
    }
    for path in paths.iter().filter_map(|path| path.as_ref()) {
        let was_there = path.exists();
        let opened = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(path);
        opened.map_err(|error| BenchError::host(format!("writing {}", path.display()), error))?;
        // An empty file would be taken for a result if there never is one.
        if !was_there && path.is_file() {
            let _ = std::fs::remove_file(path);
        }
    }
    Ok(())
}

/// An output file that may have been asked for, and what makes its text.
type Output<'a> = (&'a Option<PathBuf>, &'a dyn Fn() -> Result<String, BenchError>);

/// Writes every file that was asked for, also when one fails, which is what comes back: what was measured must not be lost with it. Text that could
/// not be written goes to the system's temporary directory.
fn write_files(outputs: &[Output<'_>]) -> Result<(), BenchError> {
    let mut failed = Ok(());
    for (path, text) in outputs.iter().filter_map(|(path, text)| Some((path.as_ref()?, text))) {
        let text = text()?;
        if let Err(error) = std::fs::write(path, &text) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let kept = tempfile::Builder::new().prefix("coreline-bench-").suffix(&format!("-{name}")).tempfile();
            let kept = kept.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.keep().map_err(|error| error.error)));
            let instead = kept.map_or_else(|_| String::new(), |(_, kept)| format!(" (it is in {} instead)", kept.display()));
            failed = failed.and(Err(BenchError::host(format!("writing {}{instead}", path.display()), error)));
        }
    }
    failed
}

/// A flag that the first Ctrl-C (or SIGTERM) raises; the second ends the program on the spot, and its servers with it.
fn interrupt() -> Result<Flag, BenchError> {
    let flag = Flag::default();
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let armed = signal_hook::flag::register_conditional_shutdown(signal, i32::from(EXIT_INTERRUPTED), Arc::clone(&flag));
        let set = armed.and_then(|_| signal_hook::flag::register(signal, Arc::clone(&flag)));
        set.map_err(|error| BenchError::host("setting up Ctrl-C", error))?;
    }
    Ok(flag)
}
