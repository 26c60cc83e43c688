//! Decides which brokers hold the replicas of new partitions: placed by us, or checked when the client placed them.
//!
//! Pure and without randomness: partition n starts at the n-th live broker. Callers: `topic`, `partitions`.

use std::collections::BTreeMap;

use coreline_wire::error_code::ErrorCode;
use coreline_wire::ids::{BrokerId, PartitionIndex, TopicId};

use super::record::MetadataRecord;
use super::request::{ApiError, NewTopic};
use crate::metadata::MetadataImage;

/// Where a new partition lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replicas {
    /// All replicas, the preferred leader first.
    pub replicas: Vec<BrokerId>,
    /// Those that are live, and so in sync with a log that is empty.
    pub isr: Vec<BrokerId>,
}

impl Replicas {
    /// The record that creates the partition, led by its first live replica.
    pub fn into_record(self, topic: TopicId, partition: PartitionIndex) -> MetadataRecord {
        let leader = self.isr.first().copied().unwrap_or(-1);
        MetadataRecord::Partition { topic: topic.0, partition, replicas: self.replicas, isr: self.isr, leader, leader_epoch: 0 }
    }
}

/// Places `count` partitions, the first of which has number `first`, with `factor` replicas each.
pub fn spread(image: &MetadataImage, first: usize, count: usize, factor: usize) -> Result<Vec<Replicas>, ApiError> {
    let registered = image.brokers().count();
    let refuse = |why: String| {
        let message = format!("Unable to replicate the partition {factor} time(s): {why}");
        Err(ApiError::new(ErrorCode::InvalidReplicationFactor, message))
    };
    if factor > registered {
        return refuse(format!(
            "The target replication factor of {factor} cannot be reached because only {registered} broker(s) are registered."
        ));
    }
    let live: Vec<BrokerId> = image.live_brokers().map(|broker| broker.id).collect();
    if live.is_empty() {
        return refuse("All brokers are currently fenced.".to_owned());
    }
    let fenced: Vec<BrokerId> = image.brokers().filter(|broker| broker.fenced).map(|broker| broker.id).collect();
    let partition = |index: usize| {
        let rotated = live.iter().cycle().skip(index % live.len()).take(live.len());
        let replicas: Vec<BrokerId> = rotated.chain(&fenced).take(factor).copied().collect();
        let isr = replicas.iter().take(live.len()).copied().collect();
        Replicas { replicas, isr }
    };
    Ok((first..first + count).map(partition).collect())
}

/// Checks the client's own placement of a new topic.
pub fn manual(image: &MetadataImage, topic: &NewTopic) -> Result<Vec<Replicas>, ApiError> {
    let wrong = |code, message: &str| Err(ApiError::new(code, message));
    if topic.replication_factor != -1 {
        return wrong(ErrorCode::InvalidRequest, "A manual partition assignment was specified, but replication factor was not set to -1.");
    }
    if topic.partitions != -1 {
        return wrong(ErrorCode::InvalidRequest, "A manual partition assignment was specified, but numPartitions was not set to -1.");
    }
    let mut by_index: BTreeMap<PartitionIndex, Replicas> = BTreeMap::new();
    let mut factor = None;
    for (index, replicas) in &topic.assignments {
        if by_index.contains_key(index) {
            let message = format!("Found multiple manual partition assignments for partition {index}");
            return Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, message));
        }
        let checked = check_assignment(image, *index, replicas, factor)?;
        factor = factor.or(Some(replicas.len()));
        by_index.insert(*index, checked);
    }
    let consecutive = by_index.keys().enumerate().all(|(want, index)| i32::try_from(want) == Ok(*index));
    if !consecutive {
        return wrong(ErrorCode::InvalidReplicaAssignment, "partitions should be a consecutive 0-based integer sequence");
    }
    Ok(by_index.into_values().collect())
}

/// Checks one partition's placement; `factor` is the number of replicas of the topic's other partitions.
pub fn check_assignment(
    image: &MetadataImage,
    index: PartitionIndex,
    replicas: &[BrokerId],
    factor: Option<usize>,
) -> Result<Replicas, ApiError> {
    let wrong = |message: String| Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, message));
    if replicas.is_empty() {
        return wrong("The manual partition assignment includes an empty replica list.".to_owned());
    }
    for (position, id) in replicas.iter().enumerate() {
        if image.broker(*id).is_none() {
            return wrong(format!("The manual partition assignment includes broker {id}, but no such broker is registered."));
        }
        if replicas[..position].contains(id) {
            return wrong(format!("The manual partition assignment includes the broker {id} more than once."));
        }
    }
    if let Some(factor) = factor.filter(|factor| *factor != replicas.len()) {
        return wrong(format!(
            "The manual partition assignment includes a partition with {} replica(s), but this is not consistent with previous \
             partitions, which have {factor} replica(s).",
            replicas.len()
        ));
    }
    let is_live = |id: &BrokerId| image.broker(*id).is_some_and(|broker| !broker.fenced);
    let isr: Vec<BrokerId> = replicas.iter().copied().filter(is_live).collect();
    if isr.is_empty() {
        return wrong(format!(
            "All brokers specified in the manual partition assignment for partition {index} are fenced or in controlled shutdown."
        ));
    }
    Ok(Replicas { replicas: replicas.to_vec(), isr })
}
