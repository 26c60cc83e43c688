//! `coreline config list|get|set|unset`: settings of topics, brokers and groups in a running cluster.

use clap::{Args, Subcommand, ValueEnum};

use super::config_rows::{self, Change, ConfigRow, Resource};
use super::failure::Failure;
use super::key_value;
use super::remote::Remote;
use super::topic_change::{Outcome, report};

/// Settings in a running cluster.
#[derive(Subcommand, Debug)]
pub enum ConfigCommand {
    /// List settings: those that somebody set, or all of them.
    List {
        /// Which cluster.
        #[command(flatten)]
        remote: Remote,
        /// Whose settings.
        #[command(flatten)]
        target: Target,
        /// Defaults too.
        #[arg(short = 'a', long)]
        all: bool,
    },
    /// Print one or more settings.
    Get {
        /// Which cluster.
        #[command(flatten)]
        remote: Remote,
        /// Whose settings.
        #[command(flatten)]
        target: Target,
        /// Their names.
        #[arg(required = true, value_name = "CONFIG")]
        names: Vec<String>,
    },
    /// Change settings.
    Set {
        /// Which cluster.
        #[command(flatten)]
        remote: Remote,
        /// Whose settings.
        #[command(flatten)]
        target: Target,
        /// The changes.
        #[arg(required = true, value_name = "CONFIG=VALUE")]
        changes: Vec<String>,
        /// Only say whether it would work.
        #[arg(long)]
        dry_run: bool,
    },
    /// Take settings back to their defaults.
    Unset {
        /// Which cluster.
        #[command(flatten)]
        remote: Remote,
        /// Whose settings.
        #[command(flatten)]
        target: Target,
        /// Their names.
        #[arg(required = true, value_name = "CONFIG")]
        names: Vec<String>,
        /// Only say whether it would work.
        #[arg(long)]
        dry_run: bool,
    },
}

/// Whose settings.
#[derive(Args, Clone, Debug)]
pub struct Target {
    /// What kind of thing.
    #[arg(value_enum, value_name = "KIND")]
    kind: Kind,
    /// Its name: a topic's or group's, a broker's id, or `all` for what holds for all brokers.
    #[arg(value_name = "NAME")]
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A topic.
    Topic,
    /// A broker.
    Broker,
    /// A consumer group.
    Group,
}

impl Target {
    fn resource(&self) -> Result<Resource, Failure> {
        Ok(match (self.kind, self.name.as_str()) {
            (Kind::Topic, name) => Resource::Topic(name.to_string()),
            (Kind::Group, name) => Resource::Group(name.to_string()),
            (Kind::Broker, "all") => Resource::Brokers,
            (Kind::Broker, id) => Resource::Broker(
                id.parse().map_err(|_| Failure::Usage(format!("'{id}' is no broker; write its id, or `all` for all brokers")))?,
            ),
        })
    }
}

/// Runs a command.
pub(crate) fn run(command: &ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::List { remote, target, all } => {
            let resource = target.resource()?;
            let mut session = remote.open()?;
            let mut rows = config_rows::describe(&mut session.cluster, &resource, None)?;
            rows.retain(|row| *all || is_set(row, &resource));
            session.out.rows(&rows)?;
            session.out.flush()
        }
        ConfigCommand::Get { remote, target, names } => {
            let resource = target.resource()?;
            let mut session = remote.open()?;
            let rows = config_rows::describe(&mut session.cluster, &resource, Some(names))?;
            if let Some(name) = names.iter().find(|name| !rows.iter().any(|row| row.name == **name)) {
                return Err(Failure::Failed(format!(
                    "{resource} has no setting '{name}'; see all of them with `coreline config list --all`"
                )));
            }
            if session.out.json {
                session.out.value(&rows)?;
            } else if let ([row], [_]) = (rows.as_slice(), names.as_slice()) {
                // Alone it is for `$(...)`.
                session.out.line(row.value.as_deref().unwrap_or_default())?;
            } else {
                session.out.table(&rows)?;
            }
            session.out.flush()
        }
        ConfigCommand::Set { remote, target, changes, dry_run } => {
            let changes: Vec<Change> =
                changes.iter().map(|c| key_value(c).map(|(name, value)| (name, Some(value)))).collect::<Result<_, _>>()?;
            alter(remote, target, &changes, *dry_run)
        }
        ConfigCommand::Unset { remote, target, names, dry_run } => {
            let changes: Vec<Change> = names.iter().map(|name| (name.clone(), None)).collect();
            alter(remote, target, &changes, *dry_run)
        }
    }
}

/// Whether somebody set it: for a topic or group on itself, for a broker anywhere.
fn is_set(row: &ConfigRow, resource: &Resource) -> bool {
    match resource {
        Resource::Topic(_) => row.source == "topic",
        Resource::Group(_) => row.source == "group",
        Resource::Broker(_) | Resource::Brokers => row.source != "default",
    }
}

fn alter(remote: &Remote, target: &Target, changes: &[Change], dry_run: bool) -> Result<(), Failure> {
    let resource = target.resource()?;
    let mut session = remote.open()?;
    config_rows::alter(&mut session.cluster, &resource, changes, dry_run)?;
    let status = if dry_run { "would be changed" } else { "changed" };
    report(&mut session.out, "config", &[Outcome::done(&target.name, status)])
}
