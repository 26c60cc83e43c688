//! Decides reassignments of replicas (KIP-455) as far as one node can carry them out: the same brokers, in any order of preference.
//!
//! Replicas do not move between brokers yet, so no reassignment is ever in progress. Sentences and codes were asked from Apache Kafka 4.3.1.

use coreline_wire::error_code::ErrorCode;
use coreline_wire::ids::{BrokerId, PartitionIndex};

use super::decide::Decision;
use super::placement;
use super::record::MetadataRecord;
use super::request::ApiError;
use crate::metadata::MetadataImage;

/// Where the replicas of a partition shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reassignment {
    /// Name of the topic.
    pub topic: String,
    /// Number of the partition.
    pub partition: PartitionIndex,
    /// The brokers, the preferred leader first; `None` cancels what is in progress.
    pub replicas: Option<Vec<BrokerId>>,
}

/// One result per partition, in order; one that fails changes nothing, the others take effect.
pub fn reassign(image: &MetadataImage, partitions: &[Reassignment], factor_may_change: bool) -> Decision<Vec<Result<(), ApiError>>> {
    let mut records = Vec::new();
    let answer = partitions.iter().map(|asked| one(image, asked, factor_may_change).map(|record| records.extend(record))).collect();
    Decision { records, answer }
}

fn one(image: &MetadataImage, asked: &Reassignment, factor_may_change: bool) -> Result<Option<MetadataRecord>, ApiError> {
    let unknown = |what: String| ApiError::new(ErrorCode::UnknownTopicOrPartition, what);
    let (name, index) = (&asked.topic, asked.partition);
    let topic = image.topic_by_name(name).ok_or_else(|| unknown(format!("Unable to find a topic named {name}.")))?;
    let partition = topic.partition(index).ok_or_else(|| unknown(format!("Unable to find partition {name}:{index}.")))?;
    let Some(target) = &asked.replicas else {
        return Err(ApiError { code: ErrorCode::NoReassignmentInProgress, message: None });
    };
    placement::check_assignment(image, index, target, None)?;
    let (has, wanted) = (partition.replicas.len(), target.len());
    if has != wanted && !factor_may_change {
        let message = format!("The replication factor is changed from {has} to {wanted}");
        return Err(ApiError::new(ErrorCode::InvalidReplicationFactor, message));
    }
    let same_brokers = has == wanted && target.iter().all(|id| partition.replicas.contains(id));
    if !same_brokers {
        // Diverges: Kafka would start to copy.
        let message = "Replicas do not move between brokers yet: the assignment must name the brokers that hold the partition now.";
        return Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, message));
    }
    Ok((**target != *partition.replicas).then(|| MetadataRecord::PartitionChange {
        topic: topic.id.0,
        partition: index,
        leader: None,
        isr: None,
        replicas: Some(target.clone()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::testing::World;

    fn ask(topic: &str, partition: i32, replicas: Option<&[i32]>) -> Reassignment {
        Reassignment { topic: topic.to_owned(), partition, replicas: replicas.map(<[i32]>::to_vec) }
    }

    #[test]
    fn bad_assignments_are_refused_as_in_kafka() {
        let world = World::with_topics(&["t"]);
        let cancelled = reassign(&world.image, &[ask("t", 0, None)], true);
        assert_eq!(cancelled.answer, [Err(ApiError { code: ErrorCode::NoReassignmentInProgress, message: None })]);
        let cases: [(Reassignment, ErrorCode, &str); 6] = [
            (ask("u", 0, Some(&[1])), ErrorCode::UnknownTopicOrPartition, "Unable to find a topic named u."),
            (ask("t", 7, Some(&[1])), ErrorCode::UnknownTopicOrPartition, "Unable to find partition t:7."),
            (ask("t", 7, None), ErrorCode::UnknownTopicOrPartition, "Unable to find partition t:7."),
            (
                ask("t", 0, Some(&[])),
                ErrorCode::InvalidReplicaAssignment,
                "The manual partition assignment includes an empty replica list.",
            ),
            (
                ask("t", 0, Some(&[2])),
                ErrorCode::InvalidReplicaAssignment,
                "The manual partition assignment includes broker 2, but no such broker is registered.",
            ),
            (
                ask("t", 0, Some(&[1, 1])),
                ErrorCode::InvalidReplicaAssignment,
                "The manual partition assignment includes the broker 1 more than once.",
            ),
        ];
        for (asked, code, message) in cases {
            let decision = reassign(&world.image, std::slice::from_ref(&asked), true);
            assert_eq!(decision.answer, [Err(ApiError::new(code, message))], "{asked:?}");
            assert!(decision.records.is_empty());
        }
    }

    #[test]
    fn the_same_brokers_are_fine_in_any_order() {
        let mut world = World::with_topics(&["t"]);
        let decision = reassign(&world.image, &[ask("t", 0, Some(&[1])), ask("t", 1, Some(&[1]))], true);
        assert_eq!((decision.answer, decision.records), (vec![Ok(()), Ok(())], vec![]));
        world.register(2);
        world.create_with_assignment("two", vec![vec![1, 2]]);
        let factor = reassign(&world.image, &[ask("two", 0, Some(&[1]))], false).answer.remove(0).expect_err("refused");
        assert_eq!(factor.code, ErrorCode::InvalidReplicationFactor);
        let fewer = reassign(&world.image, &[ask("two", 0, Some(&[1]))], true).answer.remove(0).expect_err("refused");
        assert_eq!(fewer.code, ErrorCode::InvalidReplicaAssignment);
        let decision = reassign(&world.image, &[ask("two", 0, Some(&[2, 1]))], true);
        assert_eq!(decision.answer, [Ok(())]);
        world.apply(&decision.records);
        let topic = world.image.topic_by_name("two").expect("created");
        assert_eq!((&*topic.partitions[0].replicas, topic.partitions[0].leader), (&[2, 1][..], 1), "leads on until an election");
    }
}
