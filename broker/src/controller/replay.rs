//! Replay: what each metadata record means. Applies a record to the image and notes in the delta what changed.
//!
//! It cannot fail: decisions write only records that hold. A record that does not hold (about a topic that is gone, a broker epoch
//! that has passed) changes nothing, on every node alike, and is logged. Live application, start-up and standby use this one file.

use std::sync::Arc;

use coreline_wire::ids::{TopicId, TopicPartition};

use super::client_quota;
use super::record::MetadataRecord;
use crate::metadata::image::{ConfigMap, PartitionImage, TopicImage};
use crate::metadata::{BrokerImage, ConfigResource, MetadataDelta, MetadataImage, topic_name};

/// Applies a batch in order.
pub fn replay_batch(image: &mut MetadataImage, delta: &mut MetadataDelta, records: &[MetadataRecord]) {
    for record in records {
        replay(image, delta, record);
    }
}

/// Applies one record.
pub fn replay(image: &mut MetadataImage, delta: &mut MetadataDelta, record: &MetadataRecord) {
    match record {
        MetadataRecord::ClusterId { id } => image.cluster_id = Arc::from(id.as_str()),
        MetadataRecord::FeatureLevel { name, level } => feature_level(image, delta, name, *level),
        MetadataRecord::RegisterBroker { id, incarnation, epoch, endpoints, rack } => {
            let broker = BrokerImage {
                id: *id,
                incarnation: *incarnation,
                epoch: *epoch,
                endpoints: endpoints.clone(),
                rack: rack.as_deref().map(Arc::from),
                fenced: true,
            };
            Arc::make_mut(&mut image.brokers).insert(*id, Arc::new(broker));
            delta.brokers_changed.insert(*id);
        }
        MetadataRecord::UnfenceBroker { id, epoch } => set_fenced(image, delta, *id, *epoch, false),
        MetadataRecord::FenceBroker { id, epoch } => set_fenced(image, delta, *id, *epoch, true),
        MetadataRecord::Topic { id, name } => topic(image, delta, TopicId(*id), name),
        MetadataRecord::Partition { .. } => partition(image, delta, record),
        MetadataRecord::PartitionChange { .. } => partition_change(image, delta, record),
        MetadataRecord::RemoveTopic { id } => remove_topic(image, delta, TopicId(*id)),
        MetadataRecord::Config { kind, resource, key, value } => {
            let resource = ConfigResource { kind: *kind, name: Arc::from(resource.as_str()) };
            config(image, delta, resource, key, value.as_deref());
        }
        MetadataRecord::ClientQuota { entity, key, value } => {
            client_quota::replay(image, entity, key, *value);
            delta.client_quotas_changed = true;
        }
        MetadataRecord::ProducerIdBlock { next_producer_id, .. } => {
            // Ids are never given twice, whatever the record says.
            image.next_producer_id = image.next_producer_id.max(*next_producer_id);
        }
        MetadataRecord::UnregisterBroker { id, epoch } => {
            let brokers = Arc::make_mut(&mut image.brokers);
            if brokers.get(id).is_some_and(|broker| broker.epoch == *epoch) {
                brokers.remove(id);
                delta.brokers_changed.insert(*id);
            } else {
                tracing::error!(broker = id, epoch, "a registration that has passed is taken back: void");
            }
        }
    }
}

fn feature_level(image: &mut MetadataImage, delta: &mut MetadataDelta, name: &str, level: i16) {
    let features = Arc::make_mut(&mut image.features);
    if level == 0 {
        features.remove(name);
    } else {
        features.insert(Arc::from(name), level);
    }
    delta.features_changed = true;
}

fn set_fenced(image: &mut MetadataImage, delta: &mut MetadataDelta, id: i32, epoch: i64, fenced: bool) {
    let Some(broker) = Arc::make_mut(&mut image.brokers).get_mut(&id).filter(|broker| broker.epoch == epoch) else {
        tracing::error!(broker = id, epoch, "a fencing record is about a registration that has passed: void");
        return;
    };
    Arc::make_mut(broker).fenced = fenced;
    delta.brokers_changed.insert(id);
}

fn topic(image: &mut MetadataImage, delta: &mut MetadataDelta, id: TopicId, name: &str) {
    if image.topic(id).is_some() || image.topic_id(name).is_some() {
        tracing::error!(topic = name, %id, "a topic record is about a topic that exists: void");
        return;
    }
    let name: Arc<str> = Arc::from(name);
    image.topic_ids.insert(Arc::clone(&name), id);
    if topic_name::may_collide(&name) {
        image.topic_forms.insert(Arc::from(topic_name::collision_form(&name)), Arc::clone(&name));
    }
    image.topics.insert(id, Arc::new(TopicImage { id, name, partitions: Vec::new() }));
    delta.topic_created(id);
}

fn partition(image: &mut MetadataImage, delta: &mut MetadataDelta, record: &MetadataRecord) {
    let MetadataRecord::Partition { topic, partition, replicas, isr, leader, leader_epoch } = record else { return };
    let id = TopicId(*topic);
    let Some(topic) = image.topics.get_mut(&id).filter(|topic| topic.partitions.len() as i64 == i64::from(*partition)) else {
        tracing::error!(topic = %id, partition, "a partition record does not follow the topic's last partition: void");
        return;
    };
    let topic = Arc::make_mut(topic);
    // Neighbours mostly have the same replicas: they share one allocation.
    let last = topic.partitions.last();
    let replicas: Arc<[i32]> = match last {
        Some(before) if *before.replicas == **replicas => Arc::clone(&before.replicas),
        _ => Arc::from(replicas.as_slice()),
    };
    let isr = if *replicas == **isr { Arc::clone(&replicas) } else { Arc::from(isr.as_slice()) };
    topic.partitions.push(PartitionImage { replicas, isr, leader: *leader, leader_epoch: *leader_epoch, partition_epoch: 0 });
    image.partition_count += 1;
    delta.partition_created(TopicPartition { topic: id, partition: *partition });
}

fn partition_change(image: &mut MetadataImage, delta: &mut MetadataDelta, record: &MetadataRecord) {
    let MetadataRecord::PartitionChange { topic, partition, leader, isr, replicas } = record else { return };
    let tp = TopicPartition { topic: TopicId(*topic), partition: *partition };
    if !image.contains(tp) {
        tracing::error!(partition = %tp, "a partition change is about a partition that does not exist: void");
        return;
    }
    let Some(topic) = image.topics.get_mut(&tp.topic) else { return };
    let Some(state) = Arc::make_mut(topic).partitions.get_mut(tp.partition as usize) else { return };
    if let Some(replicas) = replicas {
        state.replicas = Arc::from(replicas.as_slice());
    }
    if let Some(isr) = isr {
        state.isr = if *state.replicas == **isr { Arc::clone(&state.replicas) } else { Arc::from(isr.as_slice()) };
    }
    if let Some(leader) = leader {
        state.leader = *leader;
        state.leader_epoch += 1;
    }
    state.partition_epoch += 1;
    delta.partition_changed(tp);
}

fn remove_topic(image: &mut MetadataImage, delta: &mut MetadataDelta, id: TopicId) {
    let Some(topic) = image.topics.remove(&id) else {
        tracing::error!(topic = %id, "a topic is removed that does not exist: void");
        return;
    };
    image.removed_topics.note(id);
    image.topic_ids.remove(&*topic.name);
    if topic_name::may_collide(&topic.name) {
        image.topic_forms.remove(topic_name::collision_form(&topic.name).as_str());
    }
    image.partition_count -= topic.partitions.len();
    let resource = ConfigResource::topic(&topic.name);
    if image.configs.remove(&resource).is_some() {
        delta.configs_changed.insert(resource);
    }
    delta.topic_deleted(&topic);
}

fn config(image: &mut MetadataImage, delta: &mut MetadataDelta, resource: ConfigResource, key: &str, value: Option<&str>) {
    let mut overrides: ConfigMap = image.configs.get(&resource).map(|map| ConfigMap::clone(map)).unwrap_or_default();
    match value {
        Some(value) => overrides.insert(Arc::from(key), Arc::from(value)),
        None => overrides.remove(key),
    };
    // A resource without overrides is not kept: the image depends on what is set, not on how it came about.
    if overrides.is_empty() {
        image.configs.remove(&resource);
    } else {
        image.configs.insert(resource.clone(), Arc::new(overrides));
    }
    delta.configs_changed.insert(resource);
}
