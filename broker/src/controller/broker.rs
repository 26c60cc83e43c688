//! Decides registrations: a broker that starts gets a new broker epoch and leads its partitions again; one that goes is fenced.
//!
//! Each start of a broker raises the leader epoch of every partition it leads (KIP-320): offsets that were given and not durable may
//! be given again after a crash, and only the epoch tells a client that it happened.

use coreline_wire::error_code::ErrorCode;
use coreline_wire::ids::{BrokerId, TopicPartition};

use super::decide::{Decision, Randomness};
use super::features;
use super::record::MetadataRecord;
use super::request::{ApiError, BrokerRegistration, ControllerResponse};
use crate::metadata::image::PartitionImage;
use crate::metadata::{MetadataImage, TopicImage};

/// Feature that names the metadata's format to tools.
pub const METADATA_VERSION_FEATURE: &str = "metadata.version";
/// Its level: Kafka's 4.1-IV1, the release whose APIs are served.
pub const METADATA_VERSION: i16 = 27;

/// Registers a broker, and founds the cluster if there is none yet.
pub fn register(image: &MetadataImage, registration: &BrokerRegistration, random: &mut dyn Randomness) -> Decision<ControllerResponse> {
    let id = registration.id;
    let mut records = found_cluster(image, random);
    let last = image.broker(id).map_or(0, |broker| broker.epoch);
    let epoch = (last + 1).max(image.position.index as i64 + 1);
    records.push(MetadataRecord::RegisterBroker {
        id,
        incarnation: registration.incarnation,
        epoch,
        endpoints: registration.endpoints.clone(),
        rack: registration.rack.clone(),
    });
    records.push(MetadataRecord::UnfenceBroker { id, epoch });
    each_partition(image, |tp, partition| {
        let leads_again = partition.leader == id || (partition.leader < 0 && partition.isr.contains(&id));
        if leads_again {
            records.push(leader_change(tp, id));
        }
    });
    Decision { records, answer: ControllerResponse::BrokerRegistered { epoch } }
}

/// Fences a broker: what it led is led by the next in-sync replica, or by nobody.
pub fn fence(image: &MetadataImage, id: BrokerId, epoch: i64) -> Decision<ControllerResponse> {
    let mut records = Vec::new();
    if image.broker(id).is_some_and(|broker| broker.epoch == epoch && !broker.fenced) {
        records.push(MetadataRecord::FenceBroker { id, epoch });
        each_partition(image, |tp, partition| {
            if partition.leader == id {
                records.push(leader_change(tp, next_leader(image, partition, id)));
            }
        });
    }
    Decision { records, answer: ControllerResponse::BrokerFenced }
}

/// Forgets a broker that does not run; what it held stays assigned to it, as in Kafka.
pub fn unregister(image: &MetadataImage, id: BrokerId) -> Decision<Result<(), ApiError>> {
    let refuse = |code, message: String| Decision { records: Vec::new(), answer: Err(ApiError::new(code, message)) };
    match image.broker(id) {
        None => refuse(ErrorCode::BrokerIdNotRegistered, format!("Broker ID {id} is not currently registered")),
        // Diverges: Kafka forgets it and the broker registers again.
        Some(broker) if !broker.fenced => {
            refuse(ErrorCode::InvalidRequest, format!("Broker {id} is running; stop it before its registration is taken back"))
        }
        Some(broker) => Decision { records: vec![MetadataRecord::UnregisterBroker { id, epoch: broker.epoch }], answer: Ok(()) },
    }
}

fn found_cluster(image: &MetadataImage, random: &mut dyn Randomness) -> Vec<MetadataRecord> {
    let mut records = Vec::new();
    if image.cluster_id.is_empty() {
        // Kafka's cluster ids are uuids in the same form as topic ids.
        records.push(MetadataRecord::ClusterId { id: random.topic_id().to_string() });
        let others = features::supported().filter(|feature| feature.name != METADATA_VERSION_FEATURE && feature.initial > 0);
        records.extend(others.map(|feature| MetadataRecord::FeatureLevel { name: feature.name.to_owned(), level: feature.initial }));
    }
    if image.feature(METADATA_VERSION_FEATURE) != Some(METADATA_VERSION) {
        records.push(MetadataRecord::FeatureLevel { name: METADATA_VERSION_FEATURE.to_owned(), level: METADATA_VERSION });
    }
    records
}

fn next_leader(image: &MetadataImage, partition: &PartitionImage, leaving: BrokerId) -> BrokerId {
    let live = |id: &&BrokerId| image.broker(**id).is_some_and(|broker| !broker.fenced);
    partition.isr.iter().filter(|id| **id != leaving).find(live).copied().unwrap_or(-1)
}

fn leader_change(tp: TopicPartition, leader: BrokerId) -> MetadataRecord {
    MetadataRecord::PartitionChange { topic: tp.topic.0, partition: tp.partition, leader: Some(leader), isr: None, replicas: None }
}

/// Visits partitions by topic name and number, so that the records of a decision have one order.
fn each_partition(image: &MetadataImage, mut visit: impl FnMut(TopicPartition, &PartitionImage)) {
    let visit_topic = |topic: &TopicImage| {
        for (index, partition) in topic.partitions.iter().enumerate() {
            visit(TopicPartition { topic: topic.id, partition: index as i32 }, partition);
        }
    };
    image.topics_sorted().into_iter().map(|topic| &**topic).for_each(visit_topic);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::testing::World;

    #[test]
    fn the_first_registration_founds_the_cluster() {
        let world = World::new();
        let id = world.image.cluster_id.to_string();
        assert_eq!(id.len(), 22);
        assert_eq!(world.image.feature(METADATA_VERSION_FEATURE), Some(METADATA_VERSION));
        let broker = world.image.broker(1).expect("it registered");
        assert_eq!((broker.epoch, broker.fenced), (1, false));
    }

    #[test]
    fn a_restart_keeps_the_cluster_id_and_raises_broker_and_leader_epochs() {
        let mut world = World::with_topics(&["a", "b"]);
        let cluster = world.image.cluster_id.clone();
        let before = world.image.broker(1).map(|broker| broker.epoch);
        world.register(1);
        assert_eq!(world.image.cluster_id, cluster);
        assert!(world.image.broker(1).map(|broker| broker.epoch) > before);
        for (tp, partition) in world.image.partitions() {
            assert_eq!((partition.leader, partition.leader_epoch, partition.partition_epoch), (1, 1, 1), "{tp}");
        }
    }

    #[test]
    fn a_fenced_broker_leads_nothing_and_leads_again_when_it_returns() {
        let mut world = World::with_topics(&["a"]);
        let epoch = world.image.broker(1).expect("registered").epoch;
        assert_eq!(fence(&world.image, 1, epoch - 1).records, vec![], "an older epoch changes nothing");
        let records = fence(&world.image, 1, epoch).records;
        world.apply(&records);
        assert!(world.image.live_brokers().next().is_none());
        assert!(world.image.partitions().all(|(_, partition)| partition.leader == -1 && partition.leader_epoch == 1));
        world.register(1);
        assert!(world.image.partitions().all(|(_, partition)| partition.leader == 1 && partition.leader_epoch == 2));
    }

    #[test]
    fn only_a_broker_that_does_not_run_is_forgotten() {
        let mut world = World::new();
        world.register(2);
        let code = |world: &World, id| unregister(&world.image, id).answer.map_err(|error| error.code);
        assert_eq!(code(&world, 7), Err(ErrorCode::BrokerIdNotRegistered));
        assert_eq!(code(&world, 2), Err(ErrorCode::InvalidRequest));
        let epoch = world.image.broker(2).expect("registered").epoch;
        let fenced = fence(&world.image, 2, epoch).records;
        world.apply(&fenced);
        let decision = unregister(&world.image, 2);
        assert_eq!(decision.answer, Ok(()));
        world.apply(&decision.records);
        assert_eq!(world.image.brokers().count(), 1);
    }

    #[test]
    fn leadership_moves_to_a_live_in_sync_replica() {
        let mut world = World::new();
        world.register(2);
        world.register(3);
        world.create_with_assignment("t", vec![vec![2, 1, 3], vec![1, 2, 3]]);
        let epoch = world.image.broker(2).expect("registered").epoch;
        let records = fence(&world.image, 2, epoch).records;
        world.apply(&records);
        let leaders: Vec<_> = world.image.topics_sorted()[0].partitions.iter().map(|partition| partition.leader).collect();
        assert_eq!(leaders, [1, 1]);
    }
}
