//! Decides elections that a client asks for (ElectLeaders, KIP-183, KIP-460): the preferred replica, or any live one.
//!
//! Sentences and codes were asked from Apache Kafka 4.3.1.

use coreline_wire::error_code::ErrorCode;
use coreline_wire::ids::{BrokerId, PartitionIndex};

use super::decide::Decision;
use super::record::MetadataRecord;
use super::request::ApiError;
use crate::metadata::image::PartitionImage;
use crate::metadata::{MetadataImage, TopicImage};

/// Who shall lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElectionType {
    /// The first replica, if it is in sync.
    Preferred,
    /// Any in-sync replica, or else any live one, where nobody leads.
    Unclean,
}

impl ElectionType {
    /// By its number on the wire.
    pub fn from_code(code: i8) -> Option<ElectionType> {
        match code {
            0 => Some(ElectionType::Preferred),
            1 => Some(ElectionType::Unclean),
            _ => None,
        }
    }
}

/// The partitions of one topic, by its name.
pub type TopicPartitions = (String, Vec<PartitionIndex>);
/// What became of each partition of a topic.
pub type Elections = (String, Vec<(PartitionIndex, Result<(), ApiError>)>);

/// Elects leaders of the named partitions; of all partitions that need one when there is no list.
pub fn elect_leaders(image: &MetadataImage, kind: ElectionType, topics: Option<&[TopicPartitions]>) -> Decision<Vec<Elections>> {
    let mut records = Vec::new();
    let answer = match topics {
        Some(topics) => topics
            .iter()
            .map(|(name, partitions)| {
                let results = partitions.iter().map(|index| (*index, elect_by_name(image, kind, name, *index, &mut records)));
                (name.clone(), results.collect())
            })
            .collect(),
        None => image.topics_sorted().into_iter().map(|topic| elect_in_topic(image, kind, topic, &mut records)).collect(),
    };
    Decision { records, answer }
}

/// A topic's partitions that do not have the leader asked for; the others are not in the answer.
fn elect_in_topic(image: &MetadataImage, kind: ElectionType, topic: &TopicImage, records: &mut Vec<MetadataRecord>) -> Elections {
    let results = topic.partitions.iter().enumerate().filter_map(|(index, partition)| {
        let index = index as PartitionIndex;
        match elect(image, kind, topic, index, partition, records) {
            Err(error) if error.code == ErrorCode::ElectionNotNeeded => None,
            result => Some((index, result)),
        }
    });
    (topic.name.to_string(), results.collect())
}

fn elect_by_name(
    image: &MetadataImage,
    kind: ElectionType,
    name: &str,
    index: PartitionIndex,
    records: &mut Vec<MetadataRecord>,
) -> Result<(), ApiError> {
    let unknown = |what: String| ApiError::new(ErrorCode::UnknownTopicOrPartition, what);
    let topic = image.topic_by_name(name).ok_or_else(|| unknown(format!("No such topic as {name}")))?;
    let partition = topic.partition(index).ok_or_else(|| unknown(format!("No such partition as {name}-{index}")))?;
    elect(image, kind, topic, index, partition, records)
}

fn elect(
    image: &MetadataImage,
    kind: ElectionType,
    topic: &TopicImage,
    index: PartitionIndex,
    partition: &PartitionImage,
    records: &mut Vec<MetadataRecord>,
) -> Result<(), ApiError> {
    let live = |id: BrokerId| image.broker(id).is_some_and(|broker| !broker.fenced);
    let preferred = partition.replicas.first().copied().unwrap_or(-1);
    let (has_it, wanted) = match kind {
        ElectionType::Preferred => {
            let ready = live(preferred) && partition.isr.contains(&preferred);
            (partition.leader == preferred && preferred >= 0, ready.then_some(preferred))
        }
        ElectionType::Unclean => {
            let in_sync = partition.isr.iter().copied().find(|id| live(*id));
            (partition.leader >= 0, in_sync.or_else(|| partition.replicas.iter().copied().find(|id| live(*id))))
        }
    };
    if has_it {
        return Err(ApiError::new(ErrorCode::ElectionNotNeeded, "Leader election not needed for topic partition."));
    }
    let Some(leader) = wanted else {
        return Err(match kind {
            ElectionType::Preferred => ApiError::new(ErrorCode::PreferredLeaderNotAvailable, "The preferred leader was not available."),
            ElectionType::Unclean => {
                ApiError::new(ErrorCode::EligibleLeadersNotAvailable, "Eligible topic partition leaders are not available.")
            }
        });
    };
    // Who leads without having been in sync is the only one that is.
    let isr = (!partition.isr.contains(&leader)).then(|| vec![leader]);
    records.push(MetadataRecord::PartitionChange { topic: topic.id.0, partition: index, leader: Some(leader), isr, replicas: None });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::testing::World;

    fn codes(elections: &[Elections]) -> Vec<(String, Vec<(i32, ErrorCode)>)> {
        let code = |result: &Result<(), ApiError>| result.as_ref().map_or_else(|error| error.code, |()| ErrorCode::None);
        let of_topic = |(name, results): &Elections| (name.clone(), results.iter().map(|(index, result)| (*index, code(result))).collect());
        elections.iter().map(of_topic).collect()
    }

    #[test]
    fn who_leads_already_needs_no_election() {
        let world = World::with_topics(&["a"]);
        for kind in [ElectionType::Preferred, ElectionType::Unclean] {
            let asked = [("a".to_owned(), vec![0, 9]), ("b".to_owned(), vec![0])];
            let decision = elect_leaders(&world.image, kind, Some(&asked));
            let expected = vec![
                ("a".to_owned(), vec![(0, ErrorCode::ElectionNotNeeded), (9, ErrorCode::UnknownTopicOrPartition)]),
                ("b".to_owned(), vec![(0, ErrorCode::UnknownTopicOrPartition)]),
            ];
            assert_eq!((codes(&decision.answer), decision.records.len()), (expected, 0));
            let all = elect_leaders(&world.image, kind, None);
            assert_eq!(codes(&all.answer), vec![("a".to_owned(), vec![])]);
        }
        assert_eq!(ElectionType::from_code(2), None);
    }

    #[test]
    fn the_preferred_replica_leads_again_after_it_was_away() {
        let mut world = World::new();
        world.register(2);
        world.create_with_assignment("t", vec![vec![2, 1]]);
        let epoch = world.image.broker(2).expect("registered").epoch;
        let fenced = super::super::broker::fence(&world.image, 2, epoch).records;
        world.apply(&fenced);
        let preferred = |world: &World| elect_leaders(&world.image, ElectionType::Preferred, None);
        assert_eq!(codes(&preferred(&world).answer), [("t".to_owned(), vec![(0, ErrorCode::PreferredLeaderNotAvailable)])]);
        world.register(2);
        let decision = preferred(&world);
        assert_eq!(codes(&decision.answer), [("t".to_owned(), vec![(0, ErrorCode::None)])]);
        world.apply(&decision.records);
        assert_eq!(world.image.topics_sorted()[0].partitions[0].leader, 2);
    }

    #[test]
    fn where_nobody_is_live_nobody_is_elected() {
        let mut world = World::with_topics(&["t"]);
        let epoch = world.image.broker(1).expect("registered").epoch;
        let fenced = super::super::broker::fence(&world.image, 1, epoch).records;
        world.apply(&fenced);
        let decision = elect_leaders(&world.image, ElectionType::Unclean, Some(&[("t".to_owned(), vec![0])]));
        assert_eq!(codes(&decision.answer), [("t".to_owned(), vec![(0, ErrorCode::EligibleLeadersNotAvailable)])]);
    }
}
