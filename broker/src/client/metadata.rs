//! What a cluster has: brokers, topics, partitions and their leaders, read by Metadata.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use coreline_wire::ErrorCode;
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, metadata_request::MetadataRequestTopic};
use uuid::Uuid;

use super::backoff::Backoff;
use super::cluster::Leader;
use super::{ClientError, Cluster, Partition, To, address, topic_name};

/// How long a broker may be behind another one.
const BEHIND_MAX: Duration = Duration::from_millis(500);

/// A broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broker {
    pub(crate) id: i32,
    pub(crate) host: String,
    pub(crate) port: i32,
    pub(crate) rack: Option<String>,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) name: String,
    /// All zeros when the cluster has no topic ids.
    pub(crate) id: Uuid,
    pub(crate) internal: bool,
    pub(crate) error: ErrorCode,
    /// By ascending number.
    pub(crate) partitions: Vec<TopicPartition>,
}

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicPartition {
    pub(crate) index: i32,
    /// -1 for none.
    pub(crate) leader: i32,
    /// -1 when not known.
    pub(crate) leader_epoch: i32,
    pub(crate) replicas: Vec<i32>,
    pub(crate) in_sync: Vec<i32>,
    pub(crate) offline: Vec<i32>,
}

/// What a cluster has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metadata {
    pub(crate) cluster_id: Option<String>,
    pub(crate) controller: Option<i32>,
    pub(crate) brokers: Vec<Broker>,
    /// By name.
    pub(crate) topics: Vec<Topic>,
}

impl Metadata {
    /// The topic of this name.
    pub(crate) fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.iter().find(|t| t.name == name)
    }
}

/// Which topics to ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Topics<'a> {
    /// All of them.
    All,
    /// None: brokers only.
    None,
    /// These; what is not there comes back with an error code.
    Named(&'a [String]),
    /// These, which the broker may create if it is configured so.
    Created(&'a [String]),
}

impl Cluster {
    /// Reads metadata and remembers who leads what.
    pub(crate) fn metadata(&mut self, which: Topics<'_>) -> Result<Metadata, ClientError> {
        let answer = self.call(&To::Any, |version| request(which, version))?;
        let metadata = read(answer);
        self.nodes = metadata.brokers.iter().map(|b| (b.id, address::join(&b.host, b.port))).collect();
        self.controller = metadata.controller.filter(|c| self.nodes.contains_key(c));
        for topic in &metadata.topics {
            for p in topic.partitions.iter().filter(|p| p.leader >= 0) {
                self.leaders.insert((topic.name.clone(), p.index), Leader { node: p.leader, epoch: p.leader_epoch });
            }
        }
        Ok(metadata)
    }

    /// Reads who is there.
    pub(super) fn refresh_nodes(&mut self) -> Result<(), ClientError> {
        self.metadata(Topics::None).map(|_| ())
    }

    /// The topics of these names. One that does not exist is an error at once; one without leaders yet is asked for again. In a cluster of several
    /// brokers the one that is asked may be a moment behind the one that created it.
    pub(crate) fn topics(&mut self, names: &[String], create: bool) -> Result<Vec<Topic>, ClientError> {
        let mut backoff = Backoff::until(Instant::now() + BEHIND_MAX);
        loop {
            match self.topics_now(names, create) {
                Err(ClientError::NoTopic { .. }) if self.nodes.len() > 1 && self.pause(&mut backoff)? => {}
                result => return result,
            }
        }
    }

    fn topics_now(&mut self, names: &[String], create: bool) -> Result<Vec<Topic>, ClientError> {
        self.retry(|cluster| {
            let which = if create { Topics::Created(names) } else { Topics::Named(names) };
            let metadata = cluster.metadata(which)?;
            let mut topics = Vec::with_capacity(names.len());
            for name in names {
                let topic = metadata.topic(name).ok_or_else(|| missing(name, create))?;
                match topic.error {
                    ErrorCode::None => topics.push(topic.clone()),
                    ErrorCode::UnknownTopicOrPartition => return Err(missing(name, create)),
                    error => return Err(ClientError::kafka(error.code(), None, format!("topic '{name}'"))),
                }
                if let Some(p) = topic.partitions.iter().find(|p| p.leader < 0) {
                    let code = ErrorCode::LeaderNotAvailable.code();
                    return Err(ClientError::kafka(code, None, format!("topic '{name}' partition {}", p.index)));
                }
            }
            Ok(topics)
        })
    }

    /// Partitions by the broker that leads them. What has no leader is an error that may pass.
    pub(crate) fn by_leader(&mut self, partitions: &[Partition]) -> Result<BTreeMap<i32, Vec<Partition>>, ClientError> {
        if partitions.iter().any(|p| !self.leaders.contains_key(p)) {
            let mut names: Vec<String> = partitions.iter().map(|(topic, _)| topic.clone()).collect();
            names.dedup();
            let metadata = self.metadata(Topics::Named(&names))?;
            if let Some(gone) = metadata.topics.iter().find(|t| t.error == ErrorCode::UnknownTopicOrPartition) {
                return Err(ClientError::NoTopic { topic: gone.name.clone() });
            }
        }
        let mut by_node: BTreeMap<i32, Vec<Partition>> = BTreeMap::new();
        for p in partitions {
            let leader = self.leaders.get(p).ok_or_else(|| {
                ClientError::kafka(ErrorCode::LeaderNotAvailable.code(), None, format!("topic '{}' partition {}", p.0, p.1))
            })?;
            by_node.entry(leader.node).or_default().push(p.clone());
        }
        Ok(by_node)
    }
}

/// A topic that is not there. While it may be created on the way, asking again helps.
fn missing(name: &str, create: bool) -> ClientError {
    if create {
        ClientError::kafka(ErrorCode::LeaderNotAvailable.code(), None, format!("topic '{name}'"))
    } else {
        ClientError::NoTopic { topic: name.to_string() }
    }
}

fn request(which: Topics<'_>, version: i16) -> MetadataRequest {
    let (names, create) = match which {
        Topics::All => (None, false),
        Topics::None => (Some(&[][..]), false),
        Topics::Named(names) => (Some(names), false),
        Topics::Created(names) => (Some(names), true),
    };
    let topics = names.map(|names| names.iter().map(|n| MetadataRequestTopic::default().with_name(Some(topic_name(n)))).collect());
    // Version 0 has no null; an empty list means all of them there.
    let topics = if version == 0 { Some(topics.unwrap_or_default()) } else { topics };
    let request = MetadataRequest::default().with_topics(topics);
    // Below version 4 the broker decides alone.
    if version >= 4 { request.with_allow_auto_topic_creation(create) } else { request }
}

fn read(answer: MetadataResponse) -> Metadata {
    let ids = |all: &[kafka_protocol::messages::BrokerId]| all.iter().map(|b| **b).collect::<Vec<_>>();
    let mut topics: Vec<Topic> = answer
        .topics
        .iter()
        .map(|t| {
            let mut partitions: Vec<TopicPartition> = t
                .partitions
                .iter()
                .map(|p| TopicPartition {
                    index: p.partition_index,
                    leader: *p.leader_id,
                    leader_epoch: p.leader_epoch,
                    replicas: ids(&p.replica_nodes),
                    in_sync: ids(&p.isr_nodes),
                    offline: ids(&p.offline_replicas),
                })
                .collect();
            partitions.sort_by_key(|p| p.index);
            Topic {
                name: t.name.as_ref().map_or(String::new(), |n| n.to_string()),
                id: t.topic_id,
                internal: t.is_internal,
                error: ErrorCode::from_code(t.error_code),
                partitions,
            }
        })
        .collect();
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    let mut brokers: Vec<Broker> = answer
        .brokers
        .iter()
        .map(|b| Broker { id: *b.node_id, host: b.host.to_string(), port: b.port, rack: b.rack.as_ref().map(|r| r.to_string()) })
        .collect();
    brokers.sort_by_key(|b| b.id);
    Metadata {
        cluster_id: answer.cluster_id.map(|id| id.to_string()),
        controller: Some(*answer.controller_id).filter(|id| *id >= 0),
        brokers,
        topics,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_says_which_topics_in_every_version() {
        let names = vec!["a".to_string()];
        for version in [0, 1, 4, 13] {
            let wanted = |which| request(which, version).topics.map(|t| t.len());
            assert_eq!(wanted(Topics::All), if version == 0 { Some(0) } else { None });
            assert_eq!(wanted(Topics::None), Some(0));
            assert_eq!(wanted(Topics::Named(&names)), Some(1));
        }
        assert!(!request(Topics::Named(&names), 13).allow_auto_topic_creation);
        assert!(request(Topics::Created(&names), 13).allow_auto_topic_creation);
    }
}
