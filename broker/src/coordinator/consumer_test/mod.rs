//! Tests of the machine with consumer groups: random histories with members of both protocols, and what happens step by step.

mod blobs;
mod clients;
mod history;
mod steps;
mod world;

use std::sync::Arc;

use coreline_wire::TopicId;

use super::cluster::{Cluster, ClusterChange};
use crate::metadata::{MetadataImage, PartitionImage, TopicImage};

/// A cluster with these topics: name, number in its id, partitions.
pub(super) fn cluster(topics: &[(&str, u8, usize)], position: u64) -> Cluster {
    let mut image = MetadataImage::empty();
    image.position.index = position;
    for (name, number, partitions) in topics {
        let id = TopicId([*number; 16]);
        let partition = PartitionImage { replicas: Arc::from([1]), isr: Arc::from([1]), leader: 1, leader_epoch: 0, partition_epoch: 0 };
        let topic = TopicImage { id, name: Arc::from(*name), partitions: vec![partition; *partitions] };
        image.topics.insert(id, Arc::new(topic));
        image.topic_ids.insert(Arc::from(*name), id);
    }
    Cluster::new(Arc::new(image))
}

/// The change to this cluster, about all of its topics.
pub(super) fn change(cluster: Cluster, names: &[&str]) -> ClusterChange {
    ClusterChange { cluster, topics: names.iter().map(|name| (*name).to_owned()).collect(), names_changed: true }
}
