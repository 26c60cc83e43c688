//! Decides the growth of topics. A topic only grows; asking for what it has, or less, is an error, as in Kafka.

use coreline_wire::error_code::ErrorCode;

use super::decide::{ControllerLimits, Decision};
use super::placement::{self, Replicas};
use super::record::MetadataRecord;
use super::request::{ApiError, NewPartitions};
use super::topic::{duplicate_name, duplicates, too_many_partitions};
use crate::metadata::{MetadataImage, TopicImage};

/// One result per topic, in the request's order.
pub fn create_partitions(
    image: &MetadataImage,
    topics: &[NewPartitions],
    validate_only: bool,
    limits: &ControllerLimits,
) -> Decision<Vec<Result<(), ApiError>>> {
    let duplicates = duplicates(topics.iter().map(|topic| topic.name.as_str()));
    let mut records: Vec<MetadataRecord> = Vec::new();
    let mut answer = Vec::with_capacity(topics.len());
    for request in topics {
        let result = if duplicates.contains(request.name.as_str()) {
            Err(duplicate_name())
        } else {
            grow(image, request, records.len(), limits).map(|added| records.extend(added))
        };
        answer.push(result);
    }
    if validate_only {
        records.clear();
    }
    Decision { records, answer }
}

fn grow(
    image: &MetadataImage,
    request: &NewPartitions,
    in_request: usize,
    limits: &ControllerLimits,
) -> Result<Vec<MetadataRecord>, ApiError> {
    let Some(topic) = image.topic_by_name(&request.name) else {
        return Err(ApiError { code: ErrorCode::UnknownTopicOrPartition, message: None });
    };
    let has = topic.partitions.len();
    let invalid = |message| Err(ApiError::new(ErrorCode::InvalidPartitions, message));
    let wanted = usize::try_from(request.count).unwrap_or(0);
    if wanted == has {
        return invalid(format!("Topic already has {has} partition(s)."));
    }
    if wanted < has {
        let (name, count) = (&request.name, request.count);
        return invalid(format!("The topic {name} currently has {has} partition(s); {count} would not be an increase."));
    }
    let added = wanted - has;
    // Diverges: Kafka 4.3 answers UNKNOWN_SERVER_ERROR to too many; the code of CreateTopics says more.
    let total = in_request.saturating_add(added);
    if total > limits.partitions_per_request_max || image.partition_count() + total > limits.partitions_max {
        return Err(too_many_partitions());
    }
    let placed = match &request.assignments {
        Some(assignments) => assigned(image, topic, added, assignments)?,
        None => placement::spread(image, has, added, replication_factor(topic))?,
    };
    Ok(placed.into_iter().enumerate().map(|(index, replicas)| replicas.into_record(topic.id, (has + index) as i32)).collect())
}

fn assigned(image: &MetadataImage, topic: &TopicImage, added: usize, assignments: &[Vec<i32>]) -> Result<Vec<Replicas>, ApiError> {
    if assignments.len() != added {
        let message =
            format!("Attempted to add {added} additional partition(s), but only {} assignment(s) were specified.", assignments.len());
        return Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, message));
    }
    let factor = replication_factor(topic);
    let check = |(index, replicas): (usize, &Vec<i32>)| {
        placement::check_assignment(image, (topic.partitions.len() + index) as i32, replicas, Some(factor))
    };
    assignments.iter().enumerate().map(check).collect()
}

fn replication_factor(topic: &TopicImage) -> usize {
    topic.partitions.first().map_or(1, |partition| partition.replicas.len())
}
