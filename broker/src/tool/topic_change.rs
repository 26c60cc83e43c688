//! `coreline topic create`, `alter`, `delete`, `add-partitions` and `trim`: changes, each with its outcome as a row.

use std::collections::BTreeMap;

use coreline_wire::ErrorCode;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest};
use serde::Serialize;

use super::config_rows::{self, Change, Resource};
use super::failure::{Failure, advice};
use super::out::{Out, Row, or_dash};
use super::range::{self, Point};
use super::remote::Session;
use super::topic::{AddArgs, AlterArgs, CreateArgs, DeleteArgs, TrimArgs};
use crate::client::offsets::by_topic;
use crate::client::{ClientError, Partition, To, text, topic_name};

/// What became of one thing that was to be changed.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    /// The topic, group or other thing.
    pub(crate) name: String,
    /// `created`, `deleted`, `unchanged`, ..., or `failed`.
    pub(crate) status: String,
    /// Kafka's error code, if it failed.
    pub(crate) error: Option<&'static str>,
    /// Why, and what to do.
    pub(crate) message: Option<String>,
}

impl Row for Outcome {
    const HEAD: &'static [&'static str] = &["NAME", "STATUS"];
    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), self.status.clone()]
    }
}

impl Outcome {
    /// It worked.
    pub(crate) fn done(name: &str, status: &str) -> Outcome {
        Outcome { name: name.to_string(), status: status.to_string(), error: None, message: None }
    }

    /// It did not; `code` is not 0.
    pub(crate) fn failed(name: &str, code: i16, message: Option<&str>) -> Outcome {
        let code = ErrorCode::from_code(code);
        let said = message.filter(|m| !m.is_empty()).map_or_else(|| code.to_string(), |m| format!("{code}: {}", m.trim_end_matches('.')));
        let message = advice(code).map_or(said.clone(), |advice| format!("{said}; {advice}"));
        Outcome { name: name.to_string(), status: "failed".into(), error: Some(code.name()), message: Some(message) }
    }
}

/// Prints outcomes; failures also as sentences on standard error. Fails when one failed.
pub(crate) fn report(out: &mut Out, noun: &str, outcomes: &[Outcome]) -> Result<(), Failure> {
    out.rows(outcomes)?;
    out.flush()?;
    let failed: Vec<&Outcome> = outcomes.iter().filter(|o| o.error.is_some()).collect();
    for outcome in &failed {
        eprintln!("coreline: {noun} '{}': {}", outcome.name, outcome.message.as_deref().unwrap_or_default());
    }
    if failed.is_empty() { Ok(()) } else { Err(Failure::Said) }
}

/// Creates topics.
pub(crate) fn create(session: &mut Session, args: &CreateArgs, configs: &[(String, String)]) -> Result<(), Failure> {
    let timeout_ms = session.cluster.timeout_ms();
    let mut asked = Vec::new();
    for name in &args.topics {
        let make = |version: i16| {
            let configs =
                configs.iter().map(|(k, v)| CreatableTopicConfig::default().with_name(text(k)).with_value(Some(text(v)))).collect();
            // Below version 4 there is no default to ask for (KIP-464).
            let default = if version < 4 { 1 } else { -1 };
            let topic = CreatableTopic::default()
                .with_name(topic_name(name))
                .with_num_partitions(args.partitions.unwrap_or(default))
                .with_replication_factor(args.replicas.unwrap_or(default as i16))
                .with_configs(configs);
            CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(timeout_ms).with_validate_only(args.dry_run)
        };
        asked.push(session.cluster.ask(&To::Controller, make, |answer| {
            let Some(topic) = answer.topics.into_iter().next() else { return Ok(Outcome::done(name, "created")) };
            let code = ErrorCode::from_code(topic.error_code);
            Ok(match code {
                ErrorCode::None => Outcome::done(name, if args.dry_run { "would be created" } else { "created" }),
                ErrorCode::TopicAlreadyExists if args.if_not_exists => Outcome::done(name, "exists"),
                code if code.is_retriable() => {
                    return Err(ClientError::kafka(topic.error_code, topic.error_message.as_deref(), format!("topic '{name}'")));
                }
                _ => Outcome::failed(name, topic.error_code, topic.error_message.as_deref()),
            })
        })?);
    }
    report(&mut session.out, "topic", &asked)
}

/// Deletes topics.
pub(crate) fn delete(session: &mut Session, args: &DeleteArgs) -> Result<(), Failure> {
    let timeout_ms = session.cluster.timeout_ms();
    let mut outcomes = Vec::new();
    for name in &args.topics {
        let make = |version: i16| {
            let request = DeleteTopicsRequest::default().with_timeout_ms(timeout_ms);
            if version >= 6 {
                request.with_topics(vec![DeleteTopicState::default().with_name(Some(topic_name(name)))])
            } else {
                request.with_topic_names(vec![topic_name(name)])
            }
        };
        outcomes.push(session.cluster.ask(&To::Controller, make, |answer| {
            let Some(topic) = answer.responses.into_iter().next() else { return Ok(Outcome::done(name, "deleted")) };
            Ok(match ErrorCode::from_code(topic.error_code) {
                ErrorCode::None => Outcome::done(name, "deleted"),
                ErrorCode::UnknownTopicOrPartition if args.if_exists => Outcome::done(name, "does not exist"),
                ErrorCode::UnknownTopicOrPartition => Outcome {
                    message: Some("it does not exist; see what there is with `coreline topic list`, or add --if-exists".into()),
                    ..Outcome::failed(name, topic.error_code, None)
                },
                code if code.is_retriable() => return Err(ClientError::kafka(topic.error_code, None, format!("topic '{name}'"))),
                _ => Outcome::failed(name, topic.error_code, topic.error_message.as_deref()),
            })
        })?);
    }
    report(&mut session.out, "topic", &outcomes)
}

/// Changes settings.
pub(crate) fn alter(session: &mut Session, args: &AlterArgs, changes: &[Change]) -> Result<(), Failure> {
    let mut outcomes = Vec::new();
    for name in &args.topics {
        config_rows::alter(&mut session.cluster, &Resource::Topic(name.clone()), changes, args.dry_run)?;
        outcomes.push(Outcome::done(name, if args.dry_run { "would be changed" } else { "changed" }));
    }
    report(&mut session.out, "topic", &outcomes)
}

/// Adds partitions.
pub(crate) fn add_partitions(session: &mut Session, args: &AddArgs) -> Result<(), Failure> {
    let timeout_ms = session.cluster.timeout_ms();
    let topics = session.cluster.topics(&args.topics, false)?;
    let mut outcomes = Vec::new();
    for topic in topics {
        let present = topic.partitions.len() as i32;
        let count = args.to.unwrap_or(present.saturating_add(args.num.unwrap_or(0)));
        let make = |_| {
            let topic = CreatePartitionsTopic::default().with_name(topic_name(&topic.name)).with_count(count).with_assignments(None);
            CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(timeout_ms).with_validate_only(args.dry_run)
        };
        outcomes.push(session.cluster.ask(&To::Controller, make, |answer| {
            let Some(result) = answer.results.into_iter().next() else { return Ok(Outcome::done(&topic.name, "changed")) };
            let code = ErrorCode::from_code(result.error_code);
            let verb = if args.dry_run { "would have" } else { "has" };
            Ok(match code {
                ErrorCode::None => Outcome::done(&topic.name, &format!("{verb} {count} partitions")),
                code if code.is_retriable() => return Err(ClientError::kafka(result.error_code, None, format!("topic '{}'", topic.name))),
                _ => Outcome::failed(&topic.name, result.error_code, result.error_message.as_deref()),
            })
        })?);
    }
    report(&mut session.out, "topic", &outcomes)
}

#[derive(Serialize)]
struct TrimRow {
    topic: String,
    partition: i32,
    /// First offset before.
    before: i64,
    /// First offset afterwards.
    start: i64,
    end: i64,
}

impl Row for TrimRow {
    const HEAD: &'static [&'static str] = &["TOPIC", "PARTITION", "BEFORE", "START", "END"];
    fn cells(&self) -> Vec<String> {
        vec![self.topic.clone(), self.partition.to_string(), self.before.to_string(), or_dash(Some(self.start)), self.end.to_string()]
    }
}

/// Deletes records before a place.
pub(crate) fn trim(session: &mut Session, args: &TrimArgs, point: Point, only: Option<&[i32]>) -> Result<(), Failure> {
    let topics = session.cluster.topics(std::slice::from_ref(&args.topic), false)?;
    let partitions = super::choose_partitions(&topics, only)?;
    let bounds = range::bounds(&mut session.cluster, &partitions, false)?;
    let mut targets = range::resolve(&mut session.cluster, point, &bounds, false)?;
    // Nothing comes back by asking for less than is gone already.
    targets.retain(|p, offset| bounds.get(p).is_none_or(|b| *offset > b.start));
    if let Some((p, offset)) = targets.iter().find(|(p, offset)| bounds.get(*p).is_some_and(|b| **offset > b.end)) {
        let end = bounds.get(p).map_or(0, |b| b.end);
        return Err(Failure::Failed(format!("partition {} ends at {end}, before {offset}; give an offset up to there, or `end`", p.1)));
    }
    let mut starts: BTreeMap<Partition, i64> = bounds.iter().map(|(p, b)| (p.clone(), b.start)).collect();
    if args.dry_run {
        starts.extend(targets);
    } else {
        let timeout_ms = session.cluster.timeout_ms();
        session.cluster.retry(|cluster| {
            let open: Vec<Partition> = targets.keys().cloned().collect();
            for (node, partitions) in cluster.by_leader(&open)? {
                let answer = cluster.call(&To::Node(node), |_| {
                    let topics = by_topic(
                        &partitions,
                        |p| DeleteRecordsPartition::default().with_partition_index(p.1).with_offset(targets[p]),
                        |name, all| DeleteRecordsTopic::default().with_name(topic_name(name)).with_partitions(all),
                    );
                    DeleteRecordsRequest::default().with_topics(topics).with_timeout_ms(timeout_ms)
                })?;
                for topic in answer.topics {
                    for p in topic.partitions {
                        let partition = (topic.name.to_string(), p.partition_index);
                        ClientError::check(p.error_code, None, || format!("trimming topic '{}' partition {}", partition.0, partition.1))?;
                        targets.remove(&partition);
                        starts.insert(partition, p.low_watermark);
                    }
                }
            }
            Ok(())
        })?;
    }
    let row = |(p, b): (&Partition, &range::Bounds)| TrimRow {
        topic: p.0.clone(),
        partition: p.1,
        before: b.start,
        start: starts.get(p).copied().unwrap_or(b.start),
        end: b.end,
    };
    let rows: Vec<TrimRow> = bounds.iter().map(row).collect();
    session.out.rows(&rows)?;
    session.out.flush()
}
