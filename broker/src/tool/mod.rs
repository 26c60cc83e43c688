//! `coreline topic|group|config|quota|cluster|produce|consume|offsets|profile`: a command line for people, against any Kafka-protocol cluster.
//!
//! Exit codes: 0 done, 1 the cluster cannot be reached or refused, or what was looked for is not there, 2 wrong usage. Every command prints a table,
//! or JSON with `--json`; fields and formats are in `broker/CLI.md`.
//!
//! | file | owns |
//! |---|---|
//! | `remote`, `profile` | which cluster |
//! | `out`, `failure` | what is printed, and how a command fails |
//! | `moment`, `range`, `coding`, `template*` | how people write times, offsets, bytes and formats |
//! | `topic*`, `group*`, `offsets`, `config*`, `quota`, `cluster`, `produce`, `consume*` | the commands |
//! | `completions` | shell completions and man pages, from the same definitions |

mod cluster;
mod coding;
pub(crate) mod completions;
mod config_command;
mod config_rows;
mod consume;
mod consume_group;
mod consume_read;
mod failure;
mod group;
mod group_reset;
mod moment;
mod offsets;
mod out;
mod produce;
mod profile;
mod quota;
mod range;
mod remote;
mod template;
mod template_read;
mod template_write;
mod topic;
mod topic_change;
mod topic_show;

use clap::Subcommand;

use crate::client::Partition;
use crate::client::metadata::Topic;
pub use config_command::ConfigCommand;
use failure::Failure;
pub use remote::Remote;

/// A command that speaks to a cluster.
#[derive(Subcommand, Debug)]
pub enum ToolCommand {
    /// Topics: create, list, describe, alter, delete, add partitions, trim.
    Topic(topic::TopicArgs),
    /// The cluster: brokers, features, quorum, log directories, health.
    Cluster(cluster::ClusterArgs),
    /// Send records to a topic, from standard input, a file or the command line.
    Produce(Box<produce::ProduceArgs>),
    /// Read records of topics.
    Consume(Box<consume::ConsumeArgs>),
    /// Consumer groups: list, describe with lag, members, delete, reset.
    Group(group::GroupArgs),
    /// Offsets of topics and of groups.
    Offsets(offsets::OffsetsArgs),
    /// Client quotas: list, set, unset.
    Quota(quota::QuotaArgs),
    /// Named clusters.
    Profile(profile::ProfileArgs),
}

/// Runs a command; the process's exit code.
pub fn run(command: &ToolCommand) -> i32 {
    let result = match command {
        ToolCommand::Topic(args) => topic::run(args),
        ToolCommand::Cluster(args) => cluster::run(args),
        ToolCommand::Produce(args) => produce::run(args),
        ToolCommand::Consume(args) => consume::run(args),
        ToolCommand::Group(args) => group::run(args),
        ToolCommand::Offsets(args) => offsets::run(args),
        ToolCommand::Quota(args) => quota::run(args),
        ToolCommand::Profile(args) => profile::run(args),
    };
    exit_code(result)
}

/// Runs a command on settings in a running cluster; the process's exit code.
pub fn run_config(command: &ConfigCommand) -> i32 {
    exit_code(config_command::run(command))
}

/// Prints text; the process's exit code. A reader that went away is no failure.
pub fn print(text: &str) -> i32 {
    exit_code(completions::print(text))
}

fn exit_code(result: Result<(), Failure>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(failure) => {
            if let Some(sentence) = failure.sentence() {
                eprintln!("coreline: {sentence}");
            }
            failure.exit_code()
        }
    }
}

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// Reads `KEY=VALUE`.
fn key_value(text: &str) -> Result<(String, String), Failure> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_string(), value.to_string())),
        _ => Err(Failure::Usage(format!("'{text}' is not KEY=VALUE"))),
    }
}

/// The partitions of topics, or only these of each; one that is not there is an error.
fn choose_partitions(topics: &[Topic], only: Option<&[i32]>) -> Result<Vec<Partition>, Failure> {
    let mut chosen = Vec::new();
    for topic in topics {
        match only {
            None => chosen.extend(topic.partitions.iter().map(|p| (topic.name.clone(), p.index))),
            Some(only) => {
                for index in only {
                    if !topic.partitions.iter().any(|p| p.index == *index) {
                        let last = topic.partitions.len() as i32 - 1;
                        return Err(Failure::Failed(format!("topic '{}' has no partition {index}; it has 0 to {last}", topic.name)));
                    }
                    chosen.push((topic.name.clone(), *index));
                }
            }
        }
    }
    chosen.sort();
    Ok(chosen)
}

/// Reads partitions: `0`, `0,2`, `0-3,7`.
fn partition_list(text: &str) -> Result<Vec<i32>, String> {
    let wrong = || format!("'{text}' is no list of partitions; write for instance 0,2 or 0-3");
    let mut all = Vec::new();
    for part in text.split(',') {
        let number = |s: &str| s.parse::<i32>().ok().filter(|n| *n >= 0).ok_or_else(wrong);
        match part.split_once('-') {
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last || last - first > 1_000_000 {
                    return Err(wrong());
                }
                all.extend(first..=last);
            }
            None => all.push(number(part)?),
        }
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_pairs_are_read() {
        assert_eq!(partition_list("7,0-2,1"), Ok(vec![0, 1, 2, 7]));
        assert!(["", "x", "-1", "3-1", "1,", "0-99999999"].iter().all(|t| partition_list(t).is_err()));
        assert_eq!(key_value("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(key_value("a").is_err() && key_value("=b").is_err());
    }
}
