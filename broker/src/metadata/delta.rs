//! What a run of records changed in the image, so that a shard can create, change and delete its partitions without a full walk.
//!
//! Built by `controller/replay.rs`; deltas of consecutive runs merge into one. Read together with the image that comes after it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coreline_wire::ids::{BrokerId, PartitionIndex, TopicId, TopicPartition};

use super::image::{ConfigResource, MetadataImage, TopicImage};

/// The difference between two images.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct MetadataDelta {
    /// Topics that are in the later image and not in the earlier.
    pub topics_created: BTreeSet<TopicId>,
    /// Topics that were in the earlier image and are gone, as they were last.
    pub topics_deleted: BTreeMap<TopicId, Arc<TopicImage>>,
    /// Partitions that are new, those of new topics included.
    pub partitions_created: BTreeSet<TopicPartition>,
    /// Partitions of the earlier image whose leader, replicas or ISR changed.
    pub partitions_changed: BTreeSet<TopicPartition>,
    /// Resources whose overrides changed, those of deleted topics included.
    pub configs_changed: BTreeSet<ConfigResource>,
    /// Brokers registered, fenced or unfenced.
    pub brokers_changed: BTreeSet<BrokerId>,
    /// A feature level changed.
    pub features_changed: bool,
    /// A client quota changed.
    pub client_quotas_changed: bool,
    /// The metadata quorum is led by another node.
    pub controller_changed: bool,
}

impl MetadataDelta {
    /// The delta from the empty image to this one: what a shard gets that starts with it.
    pub fn full(image: &MetadataImage) -> MetadataDelta {
        MetadataDelta {
            topics_created: image.topics().map(|topic| topic.id).collect(),
            topics_deleted: BTreeMap::new(),
            partitions_created: image.partitions().map(|(tp, _)| tp).collect(),
            partitions_changed: BTreeSet::new(),
            configs_changed: image.configs().map(|(resource, _)| resource.clone()).collect(),
            brokers_changed: image.brokers().map(|broker| broker.id).collect(),
            features_changed: image.features().next().is_some(),
            client_quotas_changed: !image.client_quotas.is_empty(),
            controller_changed: image.controller_id >= 0,
        }
    }

    /// The delta from one image to a later one of the same log. Costs a walk over both.
    pub fn between(before: &MetadataImage, after: &MetadataImage) -> MetadataDelta {
        let mut delta = MetadataDelta::default();
        for topic in before.topics().filter(|topic| after.topic(topic.id).is_none()) {
            delta.topic_deleted(topic);
        }
        delta.topics_created = after.topics().map(|topic| topic.id).filter(|id| before.topic(*id).is_none()).collect();
        for (tp, partition) in after.partitions() {
            match before.partition(tp) {
                None => delta.partition_created(tp),
                Some(was) if was != partition => delta.partition_changed(tp),
                Some(_) => {}
            }
        }
        let resources = before.configs().chain(after.configs()).map(|(resource, _)| resource);
        delta.configs_changed = resources.filter(|resource| before.config(resource) != after.config(resource)).cloned().collect();
        let brokers = before.brokers().chain(after.brokers()).map(|broker| broker.id);
        delta.brokers_changed = brokers.filter(|id| before.broker(*id) != after.broker(*id)).collect();
        delta.features_changed = before.features != after.features;
        delta.client_quotas_changed = before.client_quotas != after.client_quotas;
        delta.controller_changed = before.controller_id != after.controller_id;
        delta
    }

    /// True when nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == MetadataDelta::default()
    }

    /// Appends a later delta to this one; costs nothing when this one is empty.
    pub fn append(&mut self, later: MetadataDelta) {
        if self.is_empty() {
            *self = later;
        } else {
            self.merge(&later);
        }
    }

    /// Appends a later delta to this one.
    pub fn merge(&mut self, later: &MetadataDelta) {
        for topic in later.topics_deleted.values() {
            self.topic_deleted(topic);
        }
        self.topics_created.extend(&later.topics_created);
        self.partitions_created.extend(&later.partitions_created);
        for &tp in &later.partitions_changed {
            self.partition_changed(tp);
        }
        self.configs_changed.extend(later.configs_changed.iter().cloned());
        self.brokers_changed.extend(&later.brokers_changed);
        self.features_changed |= later.features_changed;
        self.client_quotas_changed |= later.client_quotas_changed;
        self.controller_changed |= later.controller_changed;
    }

    pub(crate) fn topic_created(&mut self, id: TopicId) {
        self.topics_created.insert(id);
    }

    pub(crate) fn partition_created(&mut self, tp: TopicPartition) {
        self.partitions_created.insert(tp);
    }

    pub(crate) fn partition_changed(&mut self, tp: TopicPartition) {
        // A change of a partition that is new in this delta is part of its creation.
        if !self.partitions_created.contains(&tp) {
            self.partitions_changed.insert(tp);
        }
    }

    pub(crate) fn topic_deleted(&mut self, topic: &Arc<TopicImage>) {
        let all = (0..topic.partitions.len()).map(|index| TopicPartition { topic: topic.id, partition: index as PartitionIndex });
        for tp in all {
            self.partitions_created.remove(&tp);
            self.partitions_changed.remove(&tp);
        }
        // Created and deleted within one delta: nobody ever heard of it.
        if !self.topics_created.remove(&topic.id) {
            self.topics_deleted.insert(topic.id, Arc::clone(topic));
        }
    }
}
