//! The command line: `coreline serve`, `coreline config`, `coreline log`, the commands that speak to a cluster, `--version`. Fixed: scripts depend
//! on it.
//!
//! Wrong usage and wrong configuration end with exit code 2 and one line per mistake on standard error.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::config::{Config, ConfigError, print};
use crate::log_tool::LogCommand;
use crate::tool::completions::{self, CompletionShell};
use crate::tool::{ConfigCommand, ToolCommand};

/// Exit code for wrong usage and wrong configuration.
pub const EXIT_USAGE: i32 = 2;

/// What the process was asked to do.
#[derive(Debug)]
pub enum Command {
    /// Run the broker.
    Serve(Box<Config>),
    /// Look at a stopped broker's data directory.
    Log(LogCommand),
    /// Speak to a cluster.
    Tool(Box<ToolCommand>),
    /// Settings in a running cluster.
    Config(ConfigCommand),
    /// Print this text to standard output and end.
    Print(String),
}

/// Reads the process's arguments. Ends the process for `--help`, `--version` and mistakes.
pub fn parse() -> Command {
    match parse_from(std::env::args_os()) {
        Ok(command) => command,
        Err(CliError::Usage(error)) => error.exit(),
        Err(error @ (CliError::Config(_) | CliError::Man(_))) => {
            eprintln!("{error}");
            std::process::exit(EXIT_USAGE);
        }
    }
}

/// Reads arguments, the program's name first.
pub fn parse_from<I, T>(args: I) -> Result<Command, CliError>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let arguments = Arguments::try_parse_from(args).map_err(CliError::Usage)?;
    match arguments.action {
        Action::Serve(options) => Ok(Command::Serve(Box::new(options.load()?))),
        Action::Log { command } => Ok(Command::Log(command)),
        Action::Tool(command) => Ok(Command::Tool(Box::new(command))),
        Action::Completions { shell } => Ok(Command::Print(completions::completions(Arguments::command(), shell))),
        Action::Man { folder } => completions::man(Arguments::command(), folder.as_deref()).map(Command::Print).map_err(CliError::Man),
        Action::Config { command: Some(command), .. } => Ok(Command::Config(command)),
        Action::Config { docs: true, .. } => Ok(Command::Print(print::docs())),
        Action::Config { options, json, .. } => {
            let config = options.load()?;
            Ok(Command::Print(if json { print::json(&config) } else { print::toml(&config) }))
        }
    }
}

/// Why the arguments are refused.
#[derive(Debug)]
pub enum CliError {
    /// The arguments themselves, or a request for help or the version.
    Usage(clap::Error),
    /// What they configure.
    Config(ConfigError),
    /// The folder for man pages.
    Man(String),
}

impl std::fmt::Display for CliError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CliError::Usage(error) => write!(f, "{error}"),
            CliError::Man(why) => write!(f, "coreline: writing man pages: {why}"),
            CliError::Config(error) => {
                for (i, problem) in error.0.iter().enumerate() {
                    let end = if i == 0 { "" } else { "\n" };
                    write!(f, "{end}coreline: {problem}")?;
                }
                Ok(())
            }
        }
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> CliError {
        CliError::Config(error)
    }
}

/// A Kafka-protocol broker for bare-metal Linux.
#[derive(Parser, Debug)]
#[command(name = "coreline", version, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Run the broker.
    Serve(Options),
    /// Look at the data directory of a broker that is stopped.
    Log {
        #[command(subcommand)]
        command: LogCommand,
    },
    #[command(flatten)]
    Tool(ToolCommand),
    /// Print completions for a shell: `source <(coreline completions bash)`.
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: CompletionShell,
    },
    /// Print the man page, or write a page for every command into a folder.
    Man {
        /// The folder; created when it does not exist.
        #[arg(value_name = "DIR")]
        folder: Option<PathBuf>,
    },
    /// Print the effective configuration with the source of each value; or list, get, set and unset settings in a running cluster.
    #[command(args_conflicts_with_subcommands = true)]
    Config {
        #[command(subcommand)]
        command: Option<ConfigCommand>,
        #[command(flatten)]
        options: Options,
        /// Print it as JSON.
        #[arg(long)]
        json: bool,
        /// Print the documentation of every setting instead.
        #[arg(long, conflicts_with = "json")]
        docs: bool,
    },
}

#[derive(Args, Debug)]
struct Options {
    /// TOML file with settings under Kafka's names.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data directory, created when it does not exist [default: ./coreline-data].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Kafka listener [default: 127.0.0.1:9092].
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// HTTP listener for /metrics, /health and /ready [default: 127.0.0.1:9644].
    #[arg(long, value_name = "HOST:PORT")]
    admin_listen: Option<String>,
    /// Address that clients are told to connect to [default: the listener's].
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Number of shards, one core each [default: all CPUs the process may use].
    #[arg(long, value_name = "N")]
    shards: Option<String>,
    /// Number of this node [default: 1].
    #[arg(long, value_name = "N")]
    node_id: Option<String>,
    /// Any setting, over the file; may be given many times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Options {
    fn load(self) -> Result<Config, ConfigError> {
        let given = [
            ("--data-dir", "log.dirs", self.data_dir),
            ("--listen", "listeners", self.listen),
            ("--admin-listen", "admin.listen", self.admin_listen),
            ("--advertise", "advertised.listeners", self.advertise),
            ("--shards", "shards", self.shards),
            ("--node-id", "node.id", self.node_id),
        ];
        let flags: Vec<_> = given.into_iter().filter_map(|(flag, key, value)| Some((flag, key, value?))).collect();
        Config::load(self.config.as_deref(), &self.set, &flags)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn serve(args: &[&str]) -> Result<Config, String> {
        let all = ["coreline", "serve"].iter().chain(args);
        match parse_from(all) {
            Ok(Command::Serve(config)) => Ok(*config),
            Ok(other) => Err(format!("{other:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let config = serve(&[]).expect("no arguments are needed");
        assert_eq!(config.data_dir(), PathBuf::from("./coreline-data"));
        assert_eq!((config.listen().to_string(), config.admin_listen().to_string()), ("127.0.0.1:9092".into(), "127.0.0.1:9644".into()));
        assert_eq!((config.node_id, config.shards, config.advertised_listeners.as_deref()), (1, 0, None));
    }

    #[test]
    fn every_flag_reaches_its_key_and_goes_before_set_and_file() {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(b"num.partitions = 5\n[node]\nid = 9\n").expect("written");
        let path = file.path().display().to_string();
        let config = serve(&[
            "--config",
            &path,
            "--data-dir",
            "/d",
            "--listen",
            "[::1]:1",
            "--admin-listen",
            "h:2",
            "--advertise",
            "a.b:3",
            "--shards",
            "2",
            "--node-id",
            "4",
            "--set",
            "node.id=8",
            "--set",
            "num.partitions=6",
        ])
        .expect("valid");
        assert_eq!(
            (config.data_dir(), config.listen().to_string(), config.admin_listen().to_string()),
            ("/d".into(), "[::1]:1".into(), "h:2".into())
        );
        assert_eq!((config.node_id, config.shards, config.num_partitions), (4, 2, 6));
        assert_eq!(config.entry("node.id").map(|(_, e)| e.source.to_string()).as_deref(), Some("--node-id"));
    }

    #[test]
    fn mistakes_are_one_clear_line_each() {
        assert_eq!(
            serve(&["--shards", "many", "--set", "num.partitons=1"]),
            Err("coreline: --set num.partitons: unknown key; did you mean num.partitions?\ncoreline: --shards: Not a number of type INT, found \"many\"".into())
        );
        assert!(serve(&["--bogus"]).is_err_and(|e| e.contains("--bogus")));
        assert!(matches!(parse_from(["coreline"]), Err(CliError::Usage(_))));
        let Err(CliError::Usage(version)) = parse_from(["coreline", "--version"]) else { panic!("--version ends the run") };
        assert_eq!((version.exit_code(), version.to_string()), (0, format!("coreline {}\n", env!("CARGO_PKG_VERSION"))));
        let Err(CliError::Usage(usage)) = parse_from(["coreline", "serve", "--bogus"]) else { panic!("refused") };
        assert_eq!(usage.exit_code(), EXIT_USAGE);
    }

    #[test]
    fn every_command_for_people_is_documented() {
        let document = include_str!("../CLI.md");
        let mut open = vec![("coreline".to_string(), Arguments::command())];
        let mut commands = 0;
        let scripts =
            [CompletionShell::Bash, CompletionShell::Zsh, CompletionShell::Fish].map(|s| completions::completions(Arguments::command(), s));
        while let Some((path, command)) = open.pop() {
            let own = ["coreline serve", "coreline log verify", "coreline log dump"].contains(&path.as_str());
            if command.get_subcommands().next().is_none() && !own {
                commands += 1;
                assert!(document.contains(&format!("`{path}")), "broker/CLI.md says nothing of `{path}`");
                assert!(command.get_about().is_some(), "`{path}` has no help");
                assert!(scripts.iter().all(|s| s.contains(command.get_name())), "completions leave out `{path}`");
            }
            open.extend(command.get_subcommands().map(|c| (format!("{path} {}", c.get_name()), c.clone())));
        }
        assert!(commands > 30, "{commands}");
        Arguments::command().debug_assert();
    }

    #[test]
    fn config_of_a_cluster_and_of_this_process_do_not_mix() {
        assert!(matches!(parse_from(["coreline", "config", "list", "topic", "t", "--json"]), Ok(Command::Config(_))));
        assert!(matches!(parse_from(["coreline", "config", "--json"]), Ok(Command::Print(_))));
        assert!(matches!(parse_from(["coreline", "config", "--node-id", "3", "list", "topic", "t"]), Err(CliError::Usage(_))));
    }

    #[test]
    fn config_prints_values_with_their_source() {
        let Ok(Command::Print(text)) = parse_from(["coreline", "config", "--node-id", "3"]) else { panic!("prints") };
        assert!(text.lines().any(|l| l.starts_with("node.id = 3") && l.ends_with("# --node-id")), "{text}");
        let Ok(Command::Print(docs)) = parse_from(["coreline", "config", "--docs"]) else { panic!("prints") };
        assert!(docs.contains("| `retention.ms` |"));
    }
}
