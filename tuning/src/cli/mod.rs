//! The command line: arguments in, one text or one JSON document out, and the exit code (0 fine, 1 findings, 2 error).

mod change;
mod explain;
mod measure;
mod status;
mod table;

#[cfg(test)]
pub(crate) use explain::profiles;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};

use crate::facts::{DATA_DIR, Facts};
use crate::journal::{Stamp, Store, StoreError};
use crate::profile::{Profile, ProfileError};
use crate::sysfs::Root;
use crate::tree::HostTree;
use crate::{report, worst};

/// Where the journals lie.
const STATE_DIR: &str = "/var/lib/coreline-tune";

/// Host tuning for Coreline: check, plan, apply, prove, roll back.
///
/// Exit code 0: fine or done, 1: findings (or nothing helped, or something was left alone), 2: error.
#[derive(Parser)]
#[command(name = "coreline-tune", version)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Args)]
struct Common {
    /// Print one JSON document.
    #[arg(long, global = true)]
    json: bool,
    /// Read (and write) /proc and /sys below this directory instead of the host's.
    #[arg(long, global = true, default_value = "/", value_name = "DIR")]
    root: String,
    /// Directory of the journals [default: /var/lib/coreline-tune below the root].
    #[arg(long, global = true, value_name = "DIR")]
    state: Option<String>,
    /// Directory of the broker's data, for the storage checks.
    #[arg(long, global = true, default_value = DATA_DIR, value_name = "DIR")]
    data_dir: String,
}

/// Which knobs.
#[derive(Args, Clone, Default)]
struct Choice {
    /// laptop, bench-host, production-latency, production-throughput, or the path of a .toml file [default: the automatic knobs].
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Add a knob, with its default or a value.
    #[arg(long = "with", value_name = "KNOB[=VALUE]")]
    with: Vec<String>,
    /// Leave a knob out.
    #[arg(long = "without", value_name = "KNOB")]
    without: Vec<String>,
    /// Start from no knob at all instead of the automatic ones.
    #[arg(long, conflicts_with = "profile")]
    only: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Reads limits and settings and reports what is not as it should be; never writes.
    Check {
        /// Show also what is fine, what does not apply and what could be tried.
        #[arg(long)]
        all: bool,
    },
    /// Shows what `apply` would write.
    Plan {
        #[command(flatten)]
        choice: Choice,
    },
    /// Writes a profile's settings as one batch: all or none.
    Apply {
        #[command(flatten)]
        choice: Choice,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Look again after this many seconds and undo the batch when somebody has moved a setting [default: 30 where irqbalance runs and
        /// interrupts are placed, otherwise 0].
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=3600))]
        settle_s: Option<u64>,
    },
    /// Puts back what was applied and is still as we wrote it.
    Rollback {
        /// Only the last batch.
        #[arg(long)]
        last: bool,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Shows what is in force, what was cut off, and what others changed since.
    Status,
    /// Measures knobs on this host, A/B/A, and keeps nothing but what helps (and only with --keep).
    Prove(measure::Arguments),
    /// Writes a unit, a sysctl fragment and a udev rule that set the same at each start.
    Persist {
        #[command(flatten)]
        choice: Choice,
        /// Write below this directory (`/` installs) instead of printing.
        #[arg(long, value_name = "DIR")]
        out: Option<String>,
        /// CPUs for the broker's unit, such as 2-7.
        #[arg(long, value_name = "LIST")]
        cpus: Option<String>,
        /// Remove what an earlier persist wrote below --out.
        #[arg(long, requires = "out")]
        remove: bool,
    },
    /// Why a knob is what it is: reason, risk, undo, source. Without a name: the list.
    Explain {
        /// The knob.
        knob: Option<String>,
    },
    /// Keeps cores out of deep idle states until it is ended (by Ctrl-C or a signal); leaves nothing behind.
    Hold {
        /// Longest time to leave an idle state, microseconds.
        #[arg(long, default_value_t = 10)]
        latency_us: u16,
    },
    /// Prints everything that the checks can see, in the form of the recorded trees: for a report or a test.
    Record,
}

/// What a command has to say.
struct Answer {
    code: u8,
    text: String,
    json: Value,
}

/// Why a command cannot be done.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Profile(#[from] ProfileError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Other(String),
}

/// Runs a command line.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let json = cli.common.json;
    let mut stdout = io::stdout().lock();
    let (code, document, error) = match answer(&cli) {
        Ok(answer) if json => (answer.code, format!("{:#}\n", answer.json), None),
        Ok(answer) => (answer.code, answer.text, None),
        Err(failure) => {
            let text = failure.to_string();
            (2, if json { format!("{:#}\n", json!({ "error": text })) } else { String::new() }, Some(text))
        }
    };
    if let Some(text) = error {
        let _ = writeln!(io::stderr(), "coreline-tune: {text}");
    }
    match stdout.write_all(document.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::from(code),
        // A reader that has seen enough (head) is no error.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(code),
        Err(_) => ExitCode::from(2),
    }
}

fn answer(cli: &Cli) -> Result<Answer, Failure> {
    let common = &cli.common;
    if !std::path::Path::new(&common.root).is_dir() {
        return Err(Failure::Other(format!("--root {}: not a directory", common.root)));
    }
    match &cli.command {
        Command::Check { all } => Ok(check(common, *all)),
        Command::Plan { choice } => change::plan(common, choice),
        Command::Apply { choice, yes, settle_s } => change::apply(common, choice, *yes, *settle_s),
        Command::Rollback { last, yes } => change::rollback(common, *last, *yes),
        Command::Status => status::status(common),
        Command::Prove(arguments) => measure::prove(common, arguments),
        Command::Persist { choice, out, cpus, remove } => change::persist(common, choice, out.as_deref(), cpus.as_deref(), *remove),
        Command::Explain { knob } => explain::explain(common, knob.as_deref()),
        Command::Hold { latency_us } => measure::hold(common, *latency_us),
        Command::Record => Ok(record(common)),
    }
}

fn check(common: &Common, all: bool) -> Answer {
    let facts = common.facts();
    let findings = report(&facts);
    let code = u8::from(worst(&findings) > crate::Severity::Ok);
    let text = table::findings(&facts, &findings, all, &common.paint());
    Answer { code, text, json: json!({ "facts": facts, "findings": findings }) }
}

fn record(common: &Common) -> Answer {
    let facts = common.facts();
    let text = facts.snapshot.to_recording();
    Answer { code: 0, json: json!({ "recording": text }), text }
}

impl Common {
    fn root(&self) -> Root {
        Root::at(self.root.clone())
    }

    fn facts(&self) -> Facts {
        Facts::read_for(&self.root(), &self.data_dir)
    }

    fn tree(&self) -> HostTree {
        HostTree::new(self.root())
    }

    fn store(&self) -> Store {
        match &self.state {
            Some(dir) => Store::at(dir),
            None => Store::at(self.root().path(STATE_DIR)),
        }
    }

    /// Colour only for a terminal, and not where NO_COLOR asks for none.
    fn paint(&self) -> table::Paint {
        table::Paint { colour: !self.json && io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }

    fn stamp(&self, facts: &Facts, profile: &str) -> Stamp {
        let user = std::env::var("SUDO_USER").unwrap_or_else(|_| format!("uid {}", nix::unistd::getuid()));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Stamp {
            profile: profile.to_owned(),
            boot_id: facts.boot_id.clone().unwrap_or_default(),
            who: user,
            at_unix_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            program: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Settings of the host itself need root; a tree of files only needs its owner.
    fn require_root(&self, facts: &Facts, verb: &str) -> Result<(), Failure> {
        if self.root().is_host() && !facts.platform.root_user {
            return Err(Failure::Other(format!("{verb} writes kernel settings and the journal in {STATE_DIR}: run it as root (sudo)")));
        }
        Ok(())
    }

    /// Asks at a terminal; elsewhere `--yes` has to be said.
    fn confirm(&self, yes: bool, text: &str, question: &str) -> Result<bool, Failure> {
        if yes {
            return Ok(true);
        }
        if self.json || !io::stdin().is_terminal() {
            return Err(Failure::Other("nothing was written: say --yes, or run it at a terminal to be asked".to_owned()));
        }
        let mut error = io::stderr();
        let _ = write!(error, "{text}{question} [y/N] ");
        let mut line = String::new();
        io::stdin().read_line(&mut line).map_err(|e| Failure::Other(e.to_string()))?;
        Ok(matches!(line.trim(), "y" | "Y" | "yes"))
    }
}

impl Choice {
    fn profile(&self) -> Result<Profile, Failure> {
        let mut profile = match &self.profile {
            Some(name) => Profile::load(name)?,
            None => Profile::automatic(),
        };
        if self.only {
            profile.wishes.clear();
            "chosen".clone_into(&mut profile.name);
        }
        self.with.iter().try_for_each(|w| profile.add(w))?;
        self.without.iter().try_for_each(|w| profile.remove(w))?;
        Ok(profile)
    }
}
