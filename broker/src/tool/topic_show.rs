//! `coreline topic list` and `describe`: what there is, as rows.

use std::collections::BTreeMap;

use serde::Serialize;

use super::coding::kafka_id;
use super::config_rows::{self, ConfigRow, Resource};
use super::failure::Failure;
use super::out::{Row, list as numbers, or_dash};
use super::range::{Bounds, bounds};
use super::remote::Session;
use super::topic::{DescribeArgs, ListArgs};
use crate::client::metadata::{Topic, Topics};
use crate::client::{ClientError, Partition};

#[derive(Serialize)]
struct TopicRow {
    name: String,
    partitions: usize,
    replicas: usize,
    internal: bool,
}

impl Row for TopicRow {
    const HEAD: &'static [&'static str] = &["NAME", "PARTITIONS", "REPLICAS"];
    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), self.partitions.to_string(), self.replicas.to_string()]
    }
}

/// A partition for people and scripts.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PartitionRow {
    pub(crate) partition: i32,
    /// Null when it has none.
    pub(crate) leader: Option<i32>,
    pub(crate) leader_epoch: Option<i32>,
    pub(crate) replicas: Vec<i32>,
    pub(crate) in_sync: Vec<i32>,
    pub(crate) offline: Vec<i32>,
    /// First offset; null while the partition has no leader.
    pub(crate) start: Option<i64>,
    /// The next offset that will be given out to readers.
    pub(crate) end: Option<i64>,
}

impl Row for PartitionRow {
    const HEAD: &'static [&'static str] = &["PARTITION", "LEADER", "EPOCH", "REPLICAS", "IN-SYNC", "START", "END"];
    fn cells(&self) -> Vec<String> {
        vec![
            self.partition.to_string(),
            or_dash(self.leader),
            or_dash(self.leader_epoch),
            numbers(&self.replicas),
            numbers(&self.in_sync),
            or_dash(self.start),
            or_dash(self.end),
        ]
    }
}

#[derive(Serialize)]
struct TopicDetail {
    name: String,
    id: Option<String>,
    internal: bool,
    partitions: Vec<PartitionRow>,
    configs: Vec<ConfigRow>,
}

/// The rows of a topic's partitions.
pub(crate) fn partition_rows(topic: &Topic, bounds: &BTreeMap<Partition, Bounds>) -> Vec<PartitionRow> {
    let row = |p: &crate::client::metadata::TopicPartition| {
        let known = bounds.get(&(topic.name.clone(), p.index));
        PartitionRow {
            partition: p.index,
            leader: Some(p.leader).filter(|l| *l >= 0),
            leader_epoch: Some(p.leader_epoch).filter(|e| *e >= 0),
            replicas: p.replicas.clone(),
            in_sync: p.in_sync.clone(),
            offline: p.offline.clone(),
            start: known.map(|b| b.start),
            end: known.map(|b| b.end),
        }
    };
    topic.partitions.iter().map(row).collect()
}

/// Lists topics.
pub(crate) fn list(session: &mut Session, args: &ListArgs) -> Result<(), Failure> {
    let metadata = session.cluster.metadata(Topics::All)?;
    let wanted = |topic: &&Topic| {
        let named = args.patterns.is_empty() || args.patterns.iter().any(|p| fits(p, &topic.name));
        named && (args.internal || !topic.internal)
    };
    let row = |t: &Topic| TopicRow {
        name: t.name.clone(),
        partitions: t.partitions.len(),
        replicas: t.partitions.iter().map(|p| p.replicas.len()).max().unwrap_or(0),
        internal: t.internal,
    };
    let rows: Vec<TopicRow> = metadata.topics.iter().filter(wanted).map(row).collect();
    session.out.rows(&rows)?;
    session.out.flush()
}

/// Shows topics.
pub(crate) fn describe(session: &mut Session, args: &DescribeArgs) -> Result<(), Failure> {
    let mut details = Vec::new();
    let metadata = session.cluster.metadata(Topics::Named(&args.topics))?;
    for name in &args.topics {
        let topic = metadata.topic(name).filter(|t| t.error.is_ok()).ok_or_else(|| ClientError::NoTopic { topic: name.clone() })?;
        let led: Vec<Partition> = topic.partitions.iter().filter(|p| p.leader >= 0).map(|p| (name.clone(), p.index)).collect();
        let bounds = bounds(&mut session.cluster, &led, false)?;
        let mut configs = config_rows::describe(&mut session.cluster, &Resource::Topic(name.clone()), None)?;
        configs.retain(|c| args.all_configs || c.source == "topic");
        details.push(TopicDetail {
            name: name.clone(),
            id: Some(topic.id).filter(|id| !id.is_nil()).map(|id| kafka_id(&id)),
            internal: topic.internal,
            partitions: partition_rows(topic, &bounds),
            configs,
        });
    }
    if session.out.json {
        session.out.value(&details)?;
    } else {
        for (i, detail) in details.iter().enumerate() {
            if i > 0 {
                session.out.line("")?;
            }
            let replicas = detail.partitions.iter().map(|p| p.replicas.len()).max().unwrap_or(0);
            let id = detail.id.as_ref().map_or(String::new(), |id| format!(", id {id}"));
            let internal = if detail.internal { ", internal" } else { "" };
            session.out.line(&format!(
                "topic {}: {}, {}{internal}{id}",
                detail.name,
                count(detail.partitions.len(), "partition"),
                count(replicas, "replica")
            ))?;
            session.out.table(&detail.partitions)?;
            if !detail.configs.is_empty() {
                session.out.line("")?;
                session.out.table(&detail.configs)?;
            }
        }
    }
    session.out.flush()
}

/// `1 partition`, `2 partitions`.
pub(crate) fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// Whether a name fits a pattern in which * stands for anything.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let parts: Vec<&str> = rest.split('*').collect();
    let Some((last, middle)) = parts.split_last() else { return true };
    for part in middle {
        match name.find(part) {
            Some(at) => name = &name[at + part.len()..],
            None => return false,
        }
    }
    name.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, name, wanted) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("*", "", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abde", false),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(fits(pattern, name), wanted, "{pattern} {name}");
        }
        assert_eq!((count(1, "replica"), count(0, "partition")), ("1 replica".into(), "0 partitions".into()));
    }
}
