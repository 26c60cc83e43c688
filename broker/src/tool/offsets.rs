//! `coreline offsets`: where topics begin and end, what a group has committed, and changing that by hand.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::failure::Failure;
use super::group::no_group;
use super::moment::show_time;
use super::out::{Row, or_dash};
use super::range::{Point, bounds, parse_point, resolve};
use super::remote::{Remote, Session};
use super::topic_change::{Outcome, report};
use super::{choose_partitions, now_ms, partition_list};
use crate::client::Partition;
use crate::client::offsets::{Committed, OUTSIDE};

/// Offsets.
#[derive(Args, Debug)]
pub struct OffsetsArgs {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: OffsetsCommand,
}

#[derive(Subcommand, Debug)]
enum OffsetsCommand {
    /// Offsets of topics, or those that a group has committed.
    Get {
        /// The topics.
        #[arg(value_name = "TOPIC", required_unless_present = "group")]
        topics: Vec<String>,
        /// What this group has committed instead.
        #[arg(short = 'g', long, value_name = "GROUP")]
        group: Option<String>,
        /// Of where: earliest, end, -10 (before the end), @TIME (the first record at or after it) [default: end].
        #[arg(short = 'o', long, value_name = "OFFSET", allow_hyphen_values = true, conflicts_with = "group")]
        offset: Option<String>,
        /// Only these partitions, such as 0,2 or 0-3.
        #[arg(short = 'p', long, value_name = "LIST")]
        partitions: Option<String>,
    },
    /// Commit offsets for a group. It must have no members.
    Commit {
        /// Its name.
        group: String,
        /// What to commit.
        #[arg(required = true, value_name = "TOPIC:PARTITION=OFFSET")]
        offsets: Vec<String>,
    },
    /// Delete a group's committed offsets of topics that it does not read any more.
    Delete {
        /// Its name.
        group: String,
        /// Which ones.
        #[arg(required = true, value_name = "TOPIC[:LIST]")]
        topics: Vec<String>,
    },
}

#[derive(Serialize)]
struct OffsetRow {
    topic: String,
    partition: i32,
    offset: i64,
    /// Of a committed offset.
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<String>,
    /// Of the record that was found by time.
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<i64>,
}

impl Row for OffsetRow {
    const HEAD: &'static [&'static str] = &["TOPIC", "PARTITION", "OFFSET", "NOTE"];
    fn cells(&self) -> Vec<String> {
        let note = self.metadata.clone().filter(|m| !m.is_empty()).or_else(|| self.timestamp.map(show_time));
        vec![self.topic.clone(), self.partition.to_string(), self.offset.to_string(), or_dash(note)]
    }
}

/// Runs a command.
pub(crate) fn run(args: &OffsetsArgs) -> Result<(), Failure> {
    match &args.command {
        OffsetsCommand::Get { topics, group, offset, partitions } => {
            let point = parse_point(offset.as_deref().unwrap_or("end"), now_ms()).map_err(Failure::Usage)?;
            let only = partitions.as_deref().map(partition_list).transpose().map_err(Failure::Usage)?;
            let mut session = args.remote.open()?;
            match group {
                Some(group) => of_group(&mut session, group, topics, only.as_deref()),
                None => of_topics(&mut session, topics, point, only.as_deref()),
            }
        }
        OffsetsCommand::Commit { group, offsets } => {
            let offsets = offsets.iter().map(|o| parse_commit(o)).collect::<Result<BTreeMap<_, _>, _>>()?;
            let mut session = args.remote.open()?;
            // What does not exist would be committed without a word.
            let names: std::collections::BTreeSet<String> = offsets.keys().map(|(topic, _)| topic.clone()).collect();
            for topic in session.cluster.topics(&names.into_iter().collect::<Vec<_>>(), false)? {
                let wanted: Vec<i32> = offsets.keys().filter(|(name, _)| *name == topic.name).map(|(_, p)| *p).collect();
                choose_partitions(std::slice::from_ref(&topic), Some(&wanted))?;
            }
            session.cluster.commit(group, &OUTSIDE, &offsets)?;
            let name = |p: &Partition| format!("{}:{}", p.0, p.1);
            let outcomes: Vec<Outcome> = offsets.iter().map(|(p, c)| Outcome::done(&name(p), &format!("committed {}", c.offset))).collect();
            report(&mut session.out, "offset", &outcomes)
        }
        OffsetsCommand::Delete { group, topics } => {
            let mut asked = Vec::new();
            for spec in topics {
                asked.push(match spec.split_once(':') {
                    Some((topic, list)) => (topic.to_string(), Some(partition_list(list).map_err(Failure::Usage)?)),
                    None => (spec.clone(), None),
                });
            }
            delete(&mut args.remote.open()?, group, &asked)
        }
    }
}

fn parse_commit(text: &str) -> Result<(Partition, Committed), Failure> {
    let wrong = || Failure::Usage(format!("'{text}' is not TOPIC:PARTITION=OFFSET"));
    let (place, offset) = text.rsplit_once('=').ok_or_else(wrong)?;
    let (topic, partition) = place.rsplit_once(':').ok_or_else(wrong)?;
    let partition = partition.parse::<i32>().ok().filter(|p| *p >= 0).ok_or_else(wrong)?;
    let offset = offset.parse::<i64>().ok().filter(|o| *o >= 0).ok_or_else(wrong)?;
    if topic.is_empty() { Err(wrong()) } else { Ok(((topic.to_string(), partition), Committed { offset, metadata: String::new() })) }
}

fn of_topics(session: &mut Session, topics: &[String], point: Point, only: Option<&[i32]>) -> Result<(), Failure> {
    let topics = session.cluster.topics(topics, false)?;
    let partitions = choose_partitions(&topics, only)?;
    let bounds = bounds(&mut session.cluster, &partitions, false)?;
    let offsets = resolve(&mut session.cluster, point, &bounds, false)?;
    let times = match point {
        Point::Time(time) => session.cluster.offsets_at(&partitions, time, false)?,
        _ => BTreeMap::new(),
    };
    let row = |(p, offset): (Partition, i64)| OffsetRow {
        timestamp: times.get(&p).map(|at| at.timestamp).filter(|t| *t >= 0),
        topic: p.0,
        partition: p.1,
        offset,
        metadata: None,
    };
    let rows: Vec<OffsetRow> = offsets.into_iter().map(row).collect();
    session.out.rows(&rows)?;
    session.out.flush()
}

fn of_group(session: &mut Session, group: &str, topics: &[String], only: Option<&[i32]>) -> Result<(), Failure> {
    let committed = session.cluster.committed(group)?;
    if committed.is_empty() && session.cluster.describe_group(group)?.is_none() {
        return Err(no_group(group));
    }
    let wanted = |p: &Partition| (topics.is_empty() || topics.contains(&p.0)) && only.is_none_or(|only| only.contains(&p.1));
    let row = |(p, c): (Partition, Committed)| OffsetRow {
        topic: p.0,
        partition: p.1,
        offset: c.offset,
        metadata: Some(c.metadata),
        timestamp: None,
    };
    let rows: Vec<OffsetRow> = committed.into_iter().filter(|(p, _)| wanted(p)).map(row).collect();
    session.out.rows(&rows)?;
    session.out.flush()
}

fn delete(session: &mut Session, group: &str, asked: &[(String, Option<Vec<i32>>)]) -> Result<(), Failure> {
    let committed = session.cluster.committed(group)?;
    let wanted = |p: &Partition| asked.iter().any(|(topic, only)| *topic == p.0 && only.as_ref().is_none_or(|only| only.contains(&p.1)));
    let partitions: Vec<Partition> = committed.into_keys().filter(wanted).collect();
    if partitions.is_empty() {
        return Err(Failure::Failed(format!("group '{group}' has committed none of these; see `coreline offsets get -g {group}`")));
    }
    let codes = session.cluster.delete_committed(group, &partitions)?;
    let outcome = |(p, code): (Partition, coreline_wire::ErrorCode)| {
        let name = format!("{}:{}", p.0, p.1);
        if code.is_ok() { Outcome::done(&name, "deleted") } else { Outcome::failed(&name, code.code(), None) }
    };
    let outcomes: Vec<Outcome> = codes.into_iter().map(outcome).collect();
    report(&mut session.out, "offset of", &outcomes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_read() {
        let (place, committed) = parse_commit("t:3=42").expect("valid");
        assert_eq!((place, committed.offset), (("t".to_string(), 3), 42));
        for bad in ["t", "t:3", "t=3", ":3=1", "t:x=1", "t:1=-1"] {
            assert!(parse_commit(bad).is_err(), "{bad}");
        }
    }
}
