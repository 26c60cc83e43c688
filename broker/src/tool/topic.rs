//! `coreline topic`: create, list, describe, alter, delete, add-partitions, trim.

use clap::{Args, Subcommand};

use super::failure::Failure;
use super::remote::Remote;
use super::{key_value, topic_change, topic_show};

/// Topics.
#[derive(Args, Debug)]
pub struct TopicArgs {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: TopicCommand,
}

#[derive(Subcommand, Debug)]
enum TopicCommand {
    /// Create topics.
    Create(CreateArgs),
    /// List topics.
    List(ListArgs),
    /// Show a topic's partitions with their leaders and offsets, and its settings.
    Describe(DescribeArgs),
    /// Change settings.
    Alter(AlterArgs),
    /// Delete topics with all their records.
    Delete(DeleteArgs),
    /// Give topics more partitions. Keys that are hashed go elsewhere afterwards.
    AddPartitions(AddArgs),
    /// Delete a topic's records before an offset or a time.
    Trim(TrimArgs),
}

#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// Their names.
    #[arg(required = true, value_name = "TOPIC")]
    pub(crate) topics: Vec<String>,
    /// Partitions of each [default: the broker's].
    #[arg(short = 'p', long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) partitions: Option<i32>,
    /// Replicas of each partition [default: the broker's].
    #[arg(short = 'r', long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    pub(crate) replicas: Option<i16>,
    /// A setting; may be given many times.
    #[arg(short = 'c', long = "config", value_name = "KEY=VALUE")]
    pub(crate) configs: Vec<String>,
    /// A topic that exists is no failure.
    #[arg(long)]
    pub(crate) if_not_exists: bool,
    /// Only say whether it would work.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Only topics whose name is this; * stands for anything.
    #[arg(value_name = "PATTERN")]
    pub(crate) patterns: Vec<String>,
    /// Internal topics too.
    #[arg(short = 'i', long)]
    pub(crate) internal: bool,
}

#[derive(Args, Debug)]
pub(crate) struct DescribeArgs {
    /// Their names.
    #[arg(required = true, value_name = "TOPIC")]
    pub(crate) topics: Vec<String>,
    /// All settings, not only those that were set.
    #[arg(short = 'a', long)]
    pub(crate) all_configs: bool,
}

#[derive(Args, Debug)]
pub(crate) struct AlterArgs {
    /// Their names.
    #[arg(required = true, value_name = "TOPIC")]
    pub(crate) topics: Vec<String>,
    /// A setting to set; may be given many times.
    #[arg(short = 's', long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// A setting to take back to its default; may be given many times.
    #[arg(short = 'u', long = "unset", value_name = "KEY")]
    pub(crate) unset: Vec<String>,
    /// Only say whether it would work.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Args, Debug)]
pub(crate) struct DeleteArgs {
    /// Their names.
    #[arg(required = true, value_name = "TOPIC")]
    pub(crate) topics: Vec<String>,
    /// A topic that does not exist is no failure.
    #[arg(long)]
    pub(crate) if_exists: bool,
}

#[derive(Args, Debug)]
pub(crate) struct AddArgs {
    /// Their names.
    #[arg(required = true, value_name = "TOPIC")]
    pub(crate) topics: Vec<String>,
    /// How many more.
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..), required_unless_present = "to")]
    pub(crate) num: Option<i32>,
    /// How many in all, instead.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..), conflicts_with = "num")]
    pub(crate) to: Option<i32>,
    /// Only say whether it would work.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Args, Debug)]
pub(crate) struct TrimArgs {
    /// Its name.
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: String,
    /// Records before this go: an offset, end, -N before the end, or @TIME.
    #[arg(short = 'o', long, value_name = "OFFSET", allow_hyphen_values = true)]
    pub(crate) offset: String,
    /// Only these partitions, such as 0,2 or 0-3.
    #[arg(short = 'p', long, value_name = "LIST")]
    pub(crate) partitions: Option<String>,
    /// Only say what would go.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Runs a command.
pub(crate) fn run(args: &TopicArgs) -> Result<(), Failure> {
    // What is wrong in the arguments is said before anybody is called.
    match &args.command {
        TopicCommand::Create(create) => {
            let configs = create.configs.iter().map(|c| key_value(c)).collect::<Result<Vec<_>, _>>()?;
            topic_change::create(&mut args.remote.open()?, create, &configs)
        }
        TopicCommand::List(list) => topic_show::list(&mut args.remote.open()?, list),
        TopicCommand::Describe(describe) => topic_show::describe(&mut args.remote.open()?, describe),
        TopicCommand::Alter(alter) => {
            let mut changes = Vec::new();
            for text in &alter.set {
                let (key, value) = key_value(text)?;
                changes.push((key, Some(value)));
            }
            changes.extend(alter.unset.iter().map(|key| (key.clone(), None)));
            if changes.is_empty() {
                return Err(Failure::Usage("nothing to change; give --set KEY=VALUE or --unset KEY".into()));
            }
            topic_change::alter(&mut args.remote.open()?, alter, &changes)
        }
        TopicCommand::Delete(delete) => topic_change::delete(&mut args.remote.open()?, delete),
        TopicCommand::AddPartitions(add) => topic_change::add_partitions(&mut args.remote.open()?, add),
        TopicCommand::Trim(trim) => {
            let point = super::range::parse_point(&trim.offset, super::now_ms()).map_err(Failure::Usage)?;
            let only = trim.partitions.as_deref().map(super::partition_list).transpose().map_err(Failure::Usage)?;
            topic_change::trim(&mut args.remote.open()?, trim, point, only.as_deref())
        }
    }
}
