//! The immutable image of the cluster's metadata: brokers, topics, partitions, configurations, features.
//!
//! An image is a value: `controller/replay.rs` makes the next one from the last one and a batch of records, sharing what did not
//! change. Two nodes that applied the same records hold equal images. Read by every shard through an `Arc`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use coreline_wire::ids::{BrokerId, LeaderEpoch, PartitionIndex, TopicId, TopicPartition};

use super::client_quota::ClientQuotas;
use super::shared_map::{BucketKey, SharedMap, fnv1a};
use super::topic_name;

/// The overrides of one configuration resource, by key.
pub type ConfigMap = BTreeMap<Arc<str>, Arc<str>>;

/// Where in the metadata log an image stands: everything up to and including this entry is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct ImagePosition {
    /// Quorum epoch (the Raft term) of the last applied entry.
    pub quorum_epoch: u64,
    /// Index of the last applied entry; 0 before the first.
    pub index: u64,
}

/// What the cluster looks like at one position of the metadata log.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct MetadataImage {
    /// Where it stands in the metadata log.
    pub position: ImagePosition,
    /// The cluster's id as clients see it (22 characters); empty before the first record.
    pub cluster_id: Arc<str>,
    /// Node that leads the metadata quorum; -1 before the first leader.
    pub controller_id: BrokerId,
    /// First producer id that no block holds yet.
    pub next_producer_id: i64,
    pub(crate) brokers: Arc<BTreeMap<BrokerId, Arc<BrokerImage>>>,
    pub(crate) topics: SharedMap<TopicId, Arc<TopicImage>>,
    pub(crate) topic_ids: SharedMap<Arc<str>, TopicId>,
    /// Name by collision form, for the names that contain `.` or `_`.
    pub(crate) topic_forms: SharedMap<Arc<str>, Arc<str>>,
    pub(crate) configs: SharedMap<ConfigResource, Arc<ConfigMap>>,
    pub(crate) features: Arc<BTreeMap<Arc<str>, i16>>,
    pub(crate) client_quotas: Arc<ClientQuotas>,
    pub(crate) partition_count: usize,
    pub(crate) removed_topics: RemovedTopics,
}

/// Topics that the metadata log says were removed, as far back as this node has replayed it: what a broker may delete of partitions that it does not
/// know otherwise. No part of the image's value, and not in snapshots. The newest [`REMOVED_TOPICS_MAX`] are kept; of older ones files are left alone.
#[derive(Clone, Debug, Default)]
pub(crate) struct RemovedTopics(Arc<VecDeque<TopicId>>);

/// Removed topics that are remembered.
const REMOVED_TOPICS_MAX: usize = 4096;

impl RemovedTopics {
    /// Notes a removal.
    pub(crate) fn note(&mut self, id: TopicId) {
        let topics = Arc::make_mut(&mut self.0);
        if topics.len() == REMOVED_TOPICS_MAX {
            topics.pop_front();
        }
        topics.push_back(id);
    }
}

impl PartialEq for RemovedTopics {
    /// Nodes that started at different snapshots remember different removals; their images are equal all the same.
    fn eq(&self, _: &RemovedTopics) -> bool {
        true
    }
}

/// A registered broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerImage {
    /// Its node id.
    pub id: BrokerId,
    /// Drawn anew by the broker at each start.
    pub incarnation: [u8; 16],
    /// Broker epoch: rises with each registration (KIP-903).
    pub epoch: i64,
    /// Where clients reach it; the first one is what Metadata answers.
    pub endpoints: Vec<Endpoint>,
    /// Rack, if set.
    pub rack: Option<Arc<str>>,
    /// A fenced broker is registered but leads nothing and is not shown to clients.
    pub fenced: bool,
}

/// An advertised listener.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Endpoint {
    /// Listener name, e.g. `PLAINTEXT`.
    pub name: String,
    /// Host name or address, as clients are told.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// A topic and its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicImage {
    /// Its id, never used again for another topic.
    pub id: TopicId,
    /// Its name.
    pub name: Arc<str>,
    /// Partitions by number: dense, from 0.
    pub partitions: Vec<PartitionImage>,
}

/// One partition's replicas and leadership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionImage {
    /// Brokers that hold a copy; the first one is the preferred leader.
    pub replicas: Arc<[BrokerId]>,
    /// In-sync replicas.
    pub isr: Arc<[BrokerId]>,
    /// Leading broker, -1 when there is none.
    pub leader: BrokerId,
    /// Rises with each change of leadership, also when the same broker leads again after a restart (KIP-320).
    pub leader_epoch: LeaderEpoch,
    /// Rises with each change of the partition's record.
    pub partition_epoch: i32,
}

/// Kind of a configuration resource, with Kafka's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum ConfigResourceKind {
    /// A topic, by name.
    Topic = 2,
    /// A broker by its decimal id; the empty name is the default of all brokers.
    Broker = 4,
    /// A client metrics subscription, by name.
    ClientMetrics = 16,
    /// A group, by group id.
    Group = 32,
}

impl ConfigResourceKind {
    /// The kind of one of Kafka's numbers.
    pub fn from_code(code: i8) -> Option<ConfigResourceKind> {
        match code {
            2 => Some(ConfigResourceKind::Topic),
            4 => Some(ConfigResourceKind::Broker),
            16 => Some(ConfigResourceKind::ClientMetrics),
            32 => Some(ConfigResourceKind::Group),
            _ => None,
        }
    }
}

/// A configuration resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigResource {
    /// Its kind.
    pub kind: ConfigResourceKind,
    /// Its name within the kind.
    pub name: Arc<str>,
}

impl ConfigResource {
    /// The resource of a topic.
    pub fn topic(name: &str) -> ConfigResource {
        ConfigResource { kind: ConfigResourceKind::Topic, name: Arc::from(name) }
    }

    /// The resource of one broker.
    pub fn broker(id: BrokerId) -> ConfigResource {
        ConfigResource { kind: ConfigResourceKind::Broker, name: Arc::from(id.to_string()) }
    }

    /// The default of all brokers.
    pub fn broker_default() -> ConfigResource {
        ConfigResource { kind: ConfigResourceKind::Broker, name: Arc::from("") }
    }
}

impl BucketKey for ConfigResource {
    fn bucket_hash(&self) -> u64 {
        fnv1a(self.name.as_bytes()) ^ self.kind as u64
    }
}

impl MetadataImage {
    /// True when the metadata log, as far as this node has replayed it, says that this topic was removed. Topic ids are never used again.
    pub fn was_removed(&self, id: TopicId) -> bool {
        self.removed_topics.0.contains(&id)
    }

    /// The image before the first record.
    pub fn empty() -> MetadataImage {
        MetadataImage { controller_id: -1, ..MetadataImage::default() }
    }

    /// A topic by its id.
    pub fn topic(&self, id: TopicId) -> Option<&Arc<TopicImage>> {
        self.topics.get(&id)
    }

    /// A topic by its name.
    pub fn topic_by_name(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.topic(self.topic_id(name)?)
    }

    /// A topic's id by its name.
    pub fn topic_id(&self, name: &str) -> Option<TopicId> {
        self.topic_ids.get(name).copied()
    }

    /// An existing topic whose name differs from this one at most by `.` and `_`.
    pub fn colliding_topic(&self, name: &str) -> Option<&Arc<str>> {
        if !topic_name::may_collide(name) {
            return None;
        }
        self.topic_forms.get(topic_name::collision_form(name).as_str())
    }

    /// A topic's name by its id.
    pub fn topic_name(&self, id: TopicId) -> Option<&Arc<str>> {
        self.topic(id).map(|topic| &topic.name)
    }

    /// A partition.
    pub fn partition(&self, tp: TopicPartition) -> Option<&PartitionImage> {
        self.topic(tp.topic)?.partition(tp.partition)
    }

    /// True when the partition exists.
    pub fn contains(&self, tp: TopicPartition) -> bool {
        self.partition(tp).is_some()
    }

    /// All topics, in no useful order.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.topics.iter().map(|(_, topic)| topic)
    }

    /// All topics, sorted by name. Costs a sort.
    pub fn topics_sorted(&self) -> Vec<&Arc<TopicImage>> {
        let mut all: Vec<_> = self.topics().collect();
        all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Number of topics.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// Number of partitions of all topics.
    pub fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// All partitions, in no useful order.
    pub fn partitions(&self) -> impl Iterator<Item = (TopicPartition, &PartitionImage)> {
        self.topics().flat_map(|topic| {
            topic
                .partitions
                .iter()
                .enumerate()
                .map(|(index, partition)| (TopicPartition { topic: topic.id, partition: index as PartitionIndex }, partition))
        })
    }

    /// Client quotas by entity.
    pub fn client_quotas(&self) -> &Arc<ClientQuotas> {
        &self.client_quotas
    }

    /// A broker, fenced or not.
    pub fn broker(&self, id: BrokerId) -> Option<&Arc<BrokerImage>> {
        self.brokers.get(&id)
    }

    /// All registered brokers by id, fenced ones too.
    pub fn brokers(&self) -> impl Iterator<Item = &Arc<BrokerImage>> {
        self.brokers.values()
    }

    /// The brokers that clients are told of, by id.
    pub fn live_brokers(&self) -> impl Iterator<Item = &Arc<BrokerImage>> {
        self.brokers.values().filter(|broker| !broker.fenced)
    }

    /// The overrides of a resource, if it has any.
    pub fn config(&self, resource: &ConfigResource) -> Option<&Arc<ConfigMap>> {
        self.configs.get(resource)
    }

    /// The overrides of a topic, if it has any.
    pub fn topic_config(&self, name: &str) -> Option<&Arc<ConfigMap>> {
        self.configs.get(&ConfigResource::topic(name))
    }

    /// All resources with overrides, in no useful order.
    pub fn configs(&self) -> impl Iterator<Item = (&ConfigResource, &Arc<ConfigMap>)> {
        self.configs.iter()
    }

    /// The finalized level of a feature; `None` when it is not finalized.
    pub fn feature(&self, name: &str) -> Option<i16> {
        self.features.get(name).copied()
    }

    /// All finalized features, by name.
    pub fn features(&self) -> impl Iterator<Item = (&Arc<str>, i16)> {
        self.features.iter().map(|(name, level)| (name, *level))
    }
}

impl TopicImage {
    /// A partition by its number.
    pub fn partition(&self, index: PartitionIndex) -> Option<&PartitionImage> {
        self.partitions.get(usize::try_from(index).ok()?)
    }

    /// True for the topics that the broker keeps for itself.
    pub fn is_internal(&self) -> bool {
        is_internal_topic(&self.name)
    }
}

impl BrokerImage {
    /// The endpoint of a listener; the first one when there is none of that name.
    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.name == listener).or_else(|| self.endpoints.first())
    }
}

/// Name of the topic that holds group and offset records.
pub const GROUP_OFFSETS_TOPIC: &str = "__consumer_offsets";
/// Name of the topic that holds transaction records.
pub const TRANSACTION_STATE_TOPIC: &str = "__transaction_state";

/// True for the names that Kafka marks as internal in Metadata.
pub fn is_internal_topic(name: &str) -> bool {
    name == GROUP_OFFSETS_TOPIC || name == TRANSACTION_STATE_TOPIC || name == "__share_group_state"
}
