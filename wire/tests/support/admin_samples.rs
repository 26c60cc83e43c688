//! Sample requests of the APIs that administer partitions, directories, features and the quorum; see `samples`.

use bytes::Bytes;
use coreline_wire::ApiKey;
use kafka_protocol::messages::{
    self as kp, BrokerId, alter_partition_reassignments_request as reassign, alter_replica_log_dirs_request as move_dir,
    describe_log_dirs_request as dirs, describe_producers_request as producers, describe_quorum_request as quorum,
    elect_leaders_request as elect, list_partition_reassignments_request as reassigning, update_features_request as features,
};

use super::samples::{encode, s, topic};

pub(super) fn body(api: ApiKey, v: i16) -> Bytes {
    match api {
        ApiKey::AlterReplicaLogDirs => {
            let topics = vec![move_dir::AlterReplicaLogDirTopic::default().with_name(topic("events")).with_partitions(vec![0, 3])];
            let dir = move_dir::AlterReplicaLogDir::default().with_path(s("/data/1")).with_topics(topics);
            encode(kp::AlterReplicaLogDirsRequest::default().with_dirs(vec![dir]), v)
        }
        ApiKey::DescribeLogDirs => {
            let one = dirs::DescribableLogDirTopic::default().with_topic(topic("events")).with_partitions(vec![0, 3]);
            encode(kp::DescribeLogDirsRequest::default().with_topics(Some(vec![one])), v)
        }
        ApiKey::ElectLeaders => {
            let one = elect::TopicPartitions::default().with_topic(topic("events")).with_partitions(vec![0, 3]);
            let request = kp::ElectLeadersRequest::default().with_topic_partitions(Some(vec![one])).with_timeout_ms(30_000);
            encode(request.with_election_type(i8::from(v >= 1)), v)
        }
        ApiKey::AlterPartitionReassignments => {
            let partition =
                |index, replicas| reassign::ReassignablePartition::default().with_partition_index(index).with_replicas(replicas);
            let partitions = vec![partition(0, Some(vec![BrokerId(1), BrokerId(2)])), partition(1, None)];
            let one = reassign::ReassignableTopic::default().with_name(topic("events")).with_partitions(partitions);
            let request = kp::AlterPartitionReassignmentsRequest::default().with_timeout_ms(30_000).with_topics(vec![one]);
            encode(request.with_allow_replication_factor_change(v == 0), v)
        }
        ApiKey::ListPartitionReassignments => {
            let one =
                reassigning::ListPartitionReassignmentsTopics::default().with_name(topic("events")).with_partition_indexes(vec![0, 3]);
            encode(kp::ListPartitionReassignmentsRequest::default().with_timeout_ms(30_000).with_topics(Some(vec![one])), v)
        }
        ApiKey::DescribeQuorum => {
            let partitions = vec![quorum::PartitionData::default().with_partition_index(0)];
            let one = quorum::TopicData::default().with_topic_name(topic("__cluster_metadata")).with_partitions(partitions);
            encode(kp::DescribeQuorumRequest::default().with_topics(vec![one]), v)
        }
        ApiKey::UpdateFeatures => {
            let update = features::FeatureUpdateKey::default().with_feature(s("group.version")).with_max_version_level(1);
            let update = if v == 0 { update.with_allow_downgrade(true) } else { update.with_upgrade_type(3) };
            let request = kp::UpdateFeaturesRequest::default().with_timeout_ms(30_000).with_feature_updates(vec![update]);
            encode(request.with_validate_only(v >= 1), v)
        }
        ApiKey::DescribeProducers => {
            let one = producers::TopicRequest::default().with_name(topic("events")).with_partition_indexes(vec![0, 3]);
            encode(kp::DescribeProducersRequest::default().with_topics(vec![one]), v)
        }
        ApiKey::DescribeUserScramCredentials => {
            let user = kp::describe_user_scram_credentials_request::UserName::default().with_name(s("alice"));
            encode(kp::DescribeUserScramCredentialsRequest::default().with_users(Some(vec![user])), v)
        }
        ApiKey::UnregisterBroker => encode(kp::UnregisterBrokerRequest::default().with_broker_id(BrokerId(7)), v),
        ApiKey::ListConfigResources => {
            let types = if v >= 1 { vec![2, 16, 32] } else { Vec::new() };
            encode(kp::ListConfigResourcesRequest::default().with_resource_types(types), v)
        }
        other => unreachable!("{other} is in `samples`"),
    }
}
