//! `coreline cluster`: info, brokers, features, quorum, logdirs, health, metadata.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use kafka_protocol::messages::{
    DescribeClusterRequest, DescribeLogDirsRequest, DescribeQuorumRequest, describe_quorum_request::PartitionData,
    describe_quorum_request::TopicData,
};
use serde::Serialize;

use super::coding::kafka_id;
use super::failure::Failure;
use super::moment::{show_bytes, show_time};
use super::out::{Row, or_dash};
use super::remote::{Remote, Session};
use super::topic_show::{count, partition_rows};
use crate::client::metadata::{Metadata, Topics};
use crate::client::{ClientError, To, topic_name};

/// The cluster.
#[derive(Args, Debug)]
pub struct ClusterArgs {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: ClusterCommand,
}

#[derive(Subcommand, Debug)]
enum ClusterCommand {
    /// Who answers, and how large it is.
    Info,
    /// The brokers.
    Brokers,
    /// Features: what is supported, what is finalized, and the versions of APIs with --apis.
    Features {
        /// The versions of every API instead.
        #[arg(long)]
        apis: bool,
    },
    /// The metadata quorum: leader, voters, observers, lag.
    Quorum,
    /// Log directories with their sizes.
    Logdirs {
        /// Only this broker.
        #[arg(long, value_name = "ID")]
        broker: Option<i32>,
        /// Only this topic; may be given many times.
        #[arg(long = "topic", value_name = "TOPIC")]
        topics: Vec<String>,
        /// Every partition.
        #[arg(long)]
        partitions: bool,
    },
    /// Partitions without leader or with replicas missing. Exit code 1 when there are any.
    Health,
    /// Everything that Metadata says: brokers, topics, partitions.
    Metadata,
}

/// Runs a command.
pub(crate) fn run(args: &ClusterArgs) -> Result<(), Failure> {
    let mut session = args.remote.open()?;
    let session = &mut session;
    match &args.command {
        ClusterCommand::Info => info(session)?,
        ClusterCommand::Brokers => brokers(session)?,
        ClusterCommand::Features { apis: true } => apis(session)?,
        ClusterCommand::Features { apis: false } => features(session)?,
        ClusterCommand::Quorum => quorum(session)?,
        ClusterCommand::Logdirs { broker, topics, partitions } => logdirs(session, *broker, topics, *partitions)?,
        ClusterCommand::Health => health(session)?,
        ClusterCommand::Metadata => metadata(session)?,
    }
    session.out.flush()
}

#[derive(Serialize)]
struct Info {
    cluster_id: Option<String>,
    controller: Option<i32>,
    brokers: usize,
    topics: usize,
    internal_topics: usize,
    partitions: usize,
}

fn info(session: &mut Session) -> Result<(), Failure> {
    let all = session.cluster.metadata(Topics::All)?;
    let info = Info {
        cluster_id: all.cluster_id.clone(),
        controller: all.controller,
        brokers: all.brokers.len(),
        topics: all.topics.iter().filter(|t| !t.internal).count(),
        internal_topics: all.topics.iter().filter(|t| t.internal).count(),
        partitions: all.topics.iter().map(|t| t.partitions.len()).sum(),
    };
    if session.out.json {
        return session.out.value(&info);
    }
    for (name, value) in [
        ("cluster id", or_dash(info.cluster_id.as_ref())),
        ("controller", or_dash(info.controller)),
        ("brokers", info.brokers.to_string()),
        ("topics", format!("{} and {} internal", info.topics, info.internal_topics)),
        ("partitions", info.partitions.to_string()),
    ] {
        session.out.line(&format!("{name:<12}{value}"))?;
    }
    Ok(())
}

#[derive(Serialize)]
struct BrokerRow {
    id: i32,
    host: String,
    port: i32,
    rack: Option<String>,
    controller: bool,
    /// Null when the cluster does not say.
    fenced: Option<bool>,
}

impl Row for BrokerRow {
    const HEAD: &'static [&'static str] = &["ID", "HOST", "PORT", "RACK", "CONTROLLER", "FENCED"];
    fn cells(&self) -> Vec<String> {
        let yes = |b: bool| if b { "yes" } else { "no" }.to_string();
        vec![
            self.id.to_string(),
            self.host.clone(),
            self.port.to_string(),
            or_dash(self.rack.as_ref()),
            yes(self.controller),
            or_dash(self.fenced.map(yes)),
        ]
    }
}

fn broker_rows(all: &Metadata) -> Vec<BrokerRow> {
    let row = |b: &crate::client::metadata::Broker| BrokerRow {
        id: b.id,
        host: b.host.clone(),
        port: b.port,
        rack: b.rack.clone(),
        controller: all.controller == Some(b.id),
        fenced: None,
    };
    all.brokers.iter().map(row).collect()
}

fn brokers(session: &mut Session) -> Result<(), Failure> {
    let all = session.cluster.metadata(Topics::None)?;
    let mut rows = broker_rows(&all);
    if session.cluster.supports::<DescribeClusterRequest>(&To::Any)? {
        // KIP-1073: fenced brokers are listed too.
        let make = |version: i16| {
            let request = DescribeClusterRequest::default();
            if version >= 2 { request.with_include_fenced_brokers(true) } else { request }
        };
        let answer = session.cluster.call(&To::Any, make)?;
        ClientError::check(answer.error_code, answer.error_message.as_deref(), || "the cluster's brokers".into())?;
        rows = answer
            .brokers
            .iter()
            .map(|b| BrokerRow {
                id: *b.broker_id,
                host: b.host.to_string(),
                port: b.port,
                rack: b.rack.as_ref().map(|r| r.to_string()),
                controller: *answer.controller_id == *b.broker_id,
                fenced: Some(b.is_fenced),
            })
            .collect();
        rows.sort_by_key(|b| b.id);
    }
    session.out.rows(&rows)
}

#[derive(Serialize)]
struct FeatureRow {
    name: String,
    supported_min: Option<i16>,
    supported_max: Option<i16>,
    /// Null when it is not finalized.
    finalized: Option<i16>,
}

impl Row for FeatureRow {
    const HEAD: &'static [&'static str] = &["FEATURE", "SUPPORTED", "FINALIZED"];
    fn cells(&self) -> Vec<String> {
        let supported = self.supported_min.zip(self.supported_max).map(|(min, max)| format!("{min}-{max}"));
        vec![self.name.clone(), or_dash(supported), or_dash(self.finalized)]
    }
}

fn features(session: &mut Session) -> Result<(), Failure> {
    let about = session.cluster.about(&To::Any)?;
    let mut rows: BTreeMap<String, FeatureRow> = BTreeMap::new();
    fn row<'a>(rows: &'a mut BTreeMap<String, FeatureRow>, name: &str) -> &'a mut FeatureRow {
        let new = || FeatureRow { name: name.to_string(), supported_min: None, supported_max: None, finalized: None };
        rows.entry(name.to_string()).or_insert_with(new)
    }
    for feature in &about.supported_features {
        let row = row(&mut rows, &feature.name);
        (row.supported_min, row.supported_max) = (Some(feature.min_version), Some(feature.max_version));
    }
    for feature in &about.finalized_features {
        row(&mut rows, &feature.name).finalized = Some(feature.max_version_level);
    }
    let rows: Vec<FeatureRow> = rows.into_values().collect();
    session.out.rows(&rows)
}

#[derive(Serialize)]
struct ApiRow {
    key: i16,
    name: String,
    min: i16,
    max: i16,
}

impl Row for ApiRow {
    const HEAD: &'static [&'static str] = &["KEY", "API", "MIN", "MAX"];
    fn cells(&self) -> Vec<String> {
        vec![self.key.to_string(), self.name.clone(), self.min.to_string(), self.max.to_string()]
    }
}

fn apis(session: &mut Session) -> Result<(), Failure> {
    let about = session.cluster.about(&To::Any)?;
    let row = |k: &kafka_protocol::messages::api_versions_response::ApiVersion| ApiRow {
        key: k.api_key,
        name: crate::client::api_name(k.api_key),
        min: k.min_version,
        max: k.max_version,
    };
    let mut rows: Vec<ApiRow> = about.api_keys.iter().map(row).collect();
    rows.sort_by_key(|r| r.key);
    session.out.rows(&rows)
}

#[derive(Serialize)]
struct ReplicaRow {
    node: i32,
    /// `leader`, `voter` or `observer`.
    role: &'static str,
    directory: Option<String>,
    log_end_offset: i64,
    /// Behind the leader.
    lag: i64,
    last_caught_up: Option<i64>,
}

impl Row for ReplicaRow {
    const HEAD: &'static [&'static str] = &["NODE", "ROLE", "LOG-END", "LAG", "CAUGHT-UP"];
    fn cells(&self) -> Vec<String> {
        vec![
            self.node.to_string(),
            self.role.to_string(),
            self.log_end_offset.to_string(),
            self.lag.to_string(),
            or_dash(self.last_caught_up.map(show_time)),
        ]
    }
}

#[derive(Serialize)]
struct Quorum {
    leader: i32,
    leader_epoch: i32,
    high_watermark: i64,
    replicas: Vec<ReplicaRow>,
}

fn quorum(session: &mut Session) -> Result<(), Failure> {
    const METADATA_TOPIC: &str = "__cluster_metadata";
    let make = |_| {
        let topic = TopicData::default()
            .with_topic_name(topic_name(METADATA_TOPIC))
            .with_partitions(vec![PartitionData::default().with_partition_index(0)]);
        DescribeQuorumRequest::default().with_topics(vec![topic])
    };
    let partition = session.cluster.ask(&To::Any, make, |answer| {
        ClientError::check(answer.error_code, answer.error_message.as_deref(), || "the metadata quorum".into())?;
        let partition = answer.topics.into_iter().flat_map(|t| t.partitions).next();
        let partition =
            partition.ok_or_else(|| ClientError::Protocol { at: "DescribeQuorum".into(), why: "the answer has no partition".into() })?;
        ClientError::check(partition.error_code, partition.error_message.as_deref(), || "the metadata quorum".into())?;
        Ok(partition)
    })?;
    let end = partition.current_voters.iter().find(|r| r.replica_id == partition.leader_id).map_or(0, |r| r.log_end_offset);
    let voters = partition.current_voters.iter().map(|r| (r, "voter"));
    let replicas = voters.chain(partition.observers.iter().map(|r| (r, "observer"))).map(|(r, role)| ReplicaRow {
        node: *r.replica_id,
        role: if r.replica_id == partition.leader_id { "leader" } else { role },
        directory: Some(r.replica_directory_id).filter(|id| !id.is_nil()).map(|id| kafka_id(&id)),
        log_end_offset: r.log_end_offset,
        lag: (end - r.log_end_offset).max(0),
        last_caught_up: Some(r.last_caught_up_timestamp).filter(|t| *t >= 0),
    });
    let quorum = Quorum {
        leader: *partition.leader_id,
        leader_epoch: partition.leader_epoch,
        high_watermark: partition.high_watermark,
        replicas: replicas.collect(),
    };
    if session.out.json {
        return session.out.value(&quorum);
    }
    session.out.line(&format!("leader {}, epoch {}, high watermark {}", quorum.leader, quorum.leader_epoch, quorum.high_watermark))?;
    session.out.table(&quorum.replicas)
}

#[derive(Serialize)]
struct LogDirRow {
    broker: i32,
    directory: String,
    partitions: usize,
    bytes: i64,
    /// Of the volume; null when the cluster does not say.
    total_bytes: Option<i64>,
    usable_bytes: Option<i64>,
    error: Option<String>,
}

impl Row for LogDirRow {
    const HEAD: &'static [&'static str] = &["BROKER", "DIRECTORY", "PARTITIONS", "SIZE", "VOLUME", "FREE", "ERROR"];
    fn cells(&self) -> Vec<String> {
        vec![
            self.broker.to_string(),
            self.directory.clone(),
            self.partitions.to_string(),
            show_bytes(self.bytes),
            or_dash(self.total_bytes.map(show_bytes)),
            or_dash(self.usable_bytes.map(show_bytes)),
            or_dash(self.error.as_ref()),
        ]
    }
}

#[derive(Serialize)]
struct LogRow {
    broker: i32,
    directory: String,
    topic: String,
    partition: i32,
    bytes: i64,
    offset_lag: i64,
}

impl Row for LogRow {
    const HEAD: &'static [&'static str] = &["BROKER", "DIRECTORY", "TOPIC", "PARTITION", "SIZE", "LAG"];
    fn cells(&self) -> Vec<String> {
        vec![
            self.broker.to_string(),
            self.directory.clone(),
            self.topic.clone(),
            self.partition.to_string(),
            show_bytes(self.bytes),
            self.offset_lag.to_string(),
        ]
    }
}

fn logdirs(session: &mut Session, broker: Option<i32>, topics: &[String], every: bool) -> Result<(), Failure> {
    let all = session.cluster.metadata(Topics::None)?;
    let nodes: Vec<i32> = match broker {
        None => all.brokers.iter().map(|b| b.id).collect(),
        Some(id) if all.brokers.iter().any(|b| b.id == id) => vec![id],
        Some(id) => return Err(Failure::Failed(format!("there is no broker {id}; `coreline cluster brokers` lists them"))),
    };
    let (mut directories, mut logs) = (Vec::new(), Vec::new());
    for node in nodes {
        let answer = session.cluster.call(&To::Node(node), |_| DescribeLogDirsRequest::default().with_topics(None))?;
        ClientError::check(answer.error_code, None, || format!("log directories of broker {node}"))?;
        for directory in answer.results {
            let wanted = |name: &str| topics.is_empty() || topics.iter().any(|t| t == name);
            let before = logs.len();
            for topic in directory.topics.iter().filter(|t| wanted(&t.name)) {
                logs.extend(topic.partitions.iter().map(|p| LogRow {
                    broker: node,
                    directory: directory.log_dir.to_string(),
                    topic: topic.name.to_string(),
                    partition: p.partition_index,
                    bytes: p.partition_size,
                    offset_lag: p.offset_lag,
                }));
            }
            directories.push(LogDirRow {
                broker: node,
                directory: directory.log_dir.to_string(),
                partitions: logs.len() - before,
                bytes: logs[before..].iter().map(|l: &LogRow| l.bytes).sum(),
                total_bytes: Some(directory.total_bytes).filter(|b| *b >= 0),
                usable_bytes: Some(directory.usable_bytes).filter(|b| *b >= 0),
                error: Some(directory.error_code).filter(|c| *c != 0).map(|c| coreline_wire::ErrorCode::from_code(c).to_string()),
            });
        }
    }
    logs.sort_by(|a, b| (a.broker, &a.directory, &a.topic, a.partition).cmp(&(b.broker, &b.directory, &b.topic, b.partition)));
    if every { session.out.rows(&logs) } else { session.out.rows(&directories) }
}

#[derive(Serialize)]
struct UnwellRow {
    topic: String,
    partition: i32,
    /// `no leader` or `under-replicated`.
    problem: &'static str,
    leader: Option<i32>,
    /// Replicas that are not in sync.
    missing: Vec<i32>,
}

impl Row for UnwellRow {
    const HEAD: &'static [&'static str] = &["TOPIC", "PARTITION", "PROBLEM", "LEADER", "MISSING"];
    fn cells(&self) -> Vec<String> {
        vec![
            self.topic.clone(),
            self.partition.to_string(),
            self.problem.to_string(),
            or_dash(self.leader),
            super::out::list(&self.missing),
        ]
    }
}

#[derive(Serialize)]
struct Health {
    healthy: bool,
    brokers: usize,
    controller: Option<i32>,
    partitions: usize,
    unwell: Vec<UnwellRow>,
}

fn judge(all: &Metadata) -> Health {
    let mut unwell = Vec::new();
    for topic in &all.topics {
        for p in &topic.partitions {
            let missing: Vec<i32> = p.replicas.iter().filter(|r| !p.in_sync.contains(r)).copied().collect();
            let leader = Some(p.leader).filter(|l| *l >= 0);
            let problem = match leader {
                None => "no leader",
                Some(_) if !missing.is_empty() => "under-replicated",
                Some(_) => continue,
            };
            unwell.push(UnwellRow { topic: topic.name.clone(), partition: p.index, problem, leader, missing });
        }
    }
    Health {
        healthy: unwell.is_empty() && all.controller.is_some(),
        brokers: all.brokers.len(),
        controller: all.controller,
        partitions: all.topics.iter().map(|t| t.partitions.len()).sum(),
        unwell,
    }
}

fn health(session: &mut Session) -> Result<(), Failure> {
    let health = judge(&session.cluster.metadata(Topics::All)?);
    if session.out.json {
        session.out.value(&health)?;
    } else {
        let state = if health.healthy { "healthy" } else { "not healthy" };
        let controller = health.controller.map_or("no controller".to_string(), |c| format!("controller {c}"));
        session.out.line(&format!(
            "{state}: {}, {controller}, {}, {} unwell",
            count(health.brokers, "broker"),
            count(health.partitions, "partition"),
            health.unwell.len()
        ))?;
        session.out.table(&health.unwell)?;
    }
    session.out.flush()?;
    if health.healthy { Ok(()) } else { Err(Failure::Said) }
}

#[derive(Serialize)]
struct Everything {
    cluster_id: Option<String>,
    controller: Option<i32>,
    brokers: Vec<BrokerRow>,
    topics: Vec<TopicPartitions>,
}

#[derive(Serialize)]
struct TopicPartitions {
    name: String,
    internal: bool,
    partitions: Vec<super::topic_show::PartitionRow>,
}

fn metadata(session: &mut Session) -> Result<(), Failure> {
    let all = session.cluster.metadata(Topics::All)?;
    let topic = |t: &crate::client::metadata::Topic| TopicPartitions {
        name: t.name.clone(),
        internal: t.internal,
        partitions: partition_rows(t, &BTreeMap::new()),
    };
    let brokers = broker_rows(&all);
    let topics: Vec<TopicPartitions> = all.topics.iter().map(topic).collect();
    if session.out.json {
        return session.out.value(&Everything { cluster_id: all.cluster_id, controller: all.controller, brokers, topics });
    }
    session.out.line(&format!("cluster {}", or_dash(all.cluster_id)))?;
    session.out.table(&brokers)?;
    for topic in &topics {
        session.out.line("")?;
        session.out.line(&format!("topic {}: {}", topic.name, count(topic.partitions.len(), "partition")))?;
        session.out.table(&topic.partitions)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::metadata::{Topic, TopicPartition};

    #[test]
    fn what_lacks_a_leader_or_a_replica_is_unwell() {
        let partition = |index, leader, replicas: &[i32], in_sync: &[i32]| TopicPartition {
            index,
            leader,
            leader_epoch: 0,
            replicas: replicas.to_vec(),
            in_sync: in_sync.to_vec(),
            offline: vec![],
        };
        let topic = Topic {
            name: "t".into(),
            id: uuid::Uuid::nil(),
            internal: false,
            error: coreline_wire::ErrorCode::None,
            partitions: vec![partition(0, 1, &[1, 2], &[1, 2]), partition(1, 1, &[1, 2], &[1]), partition(2, -1, &[2], &[])],
        };
        let mut all = Metadata { controller: Some(1), topics: vec![topic], ..Default::default() };
        let found: Vec<_> = judge(&all).unwell.iter().map(|u| (u.partition, u.problem, u.missing.clone())).collect();
        assert_eq!(found, [(1, "under-replicated", vec![2]), (2, "no leader", vec![2])]);
        all.topics.clear();
        assert!(judge(&all).healthy);
        all.controller = None;
        assert!(!judge(&all).healthy);
    }
}
