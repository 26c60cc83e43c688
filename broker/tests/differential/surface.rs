//! What tools for operators ask of a broker: log directories, producers, elections, reassignments, the quorum, features.

use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterReplicaLogDirsRequest, BrokerId, DescribeLogDirsRequest, DescribeLogDirsResponse,
    DescribeProducersRequest, DescribeProducersResponse, DescribeQuorumRequest, DescribeQuorumResponse, ElectLeadersRequest,
    ElectLeadersResponse, ListPartitionReassignmentsRequest, TopicName, UpdateFeaturesRequest, alter_partition_reassignments_request as ap,
    alter_replica_log_dirs_request as al, describe_log_dirs_request as dl, describe_producers_request as dp, describe_quorum_request as dq,
    elect_leaders_request as el, list_partition_reassignments_request as lp, update_features_request as uf,
};
use kafka_protocol::protocol::StrBytes;

use super::later;
use super::produce::{batch, put};
use super::session::{Session, all, s};

/// All of this file.
pub fn cases(session: &mut Session) {
    session.create("stored", 2, &[]);
    put(session, "stored", 0, batch(3).build().unwrap());
    log_dirs(session);
    moved_dirs(session);
    producers(session);
    elections(session);
    reassignments(session);
    listed_reassignments(session);
    quorum(session);
    features(session);
}

/// Topics with partitions, as many requests name them; a name that starts with `/` is taken as it is.
fn named(session: &Session, topics: &[(&str, &[i32])]) -> Vec<(TopicName, Vec<i32>)> {
    let name = |name: &str| name.strip_prefix('/').map_or_else(|| session.topic(name), |name| TopicName(s(name)));
    topics.iter().map(|(n, p)| (name(n), p.to_vec())).collect()
}

/// Requests for partitions that most of these APIs take.
const WRONG: &[(&str, &[(&str, &[i32])])] = &[
    ("unknown topic", &[("nowhere", &[0])]),
    ("unknown partition", &[("stored", &[7])]),
    ("partition -1", &[("stored", &[-1])]),
    ("invalid topic", &[("no where", &[0])]),
    ("empty topic", &[("/", &[0])]),
    ("no partitions", &[("stored", &[])]),
    ("partition twice", &[("stored", &[0, 0])]),
    ("topic twice", &[("stored", &[0]), ("stored", &[1])]),
    ("good and bad", &[("stored", &[0, 9]), ("nowhere", &[1])]),
    ("no topics", &[]),
];

/// Only topics of this run, in order; sizes are told as empty or not, and directories are each broker's own.
fn tell_dirs(session: &Session, response: &DescribeLogDirsResponse) -> String {
    let mut response = response.clone();
    for result in &mut response.results {
        result.log_dir = s("<dir>");
        result.topics.retain(|t| session.is_mine(&t.name.0));
        result.topics.sort_by(|a, b| a.name.cmp(&b.name));
        for topic in &mut result.topics {
            topic.partitions.sort_by_key(|p| p.partition_index);
            topic.partitions.iter_mut().for_each(|p| p.partition_size = p.partition_size.min(1));
        }
        (result.total_bytes, result.usable_bytes) = (result.total_bytes.signum(), result.usable_bytes.signum());
    }
    format!("{response:?}")
}

fn log_dirs(session: &mut Session) {
    let request = |topics: Vec<(TopicName, Vec<i32>)>| {
        let topic = |(name, partitions)| dl::DescribableLogDirTopic::default().with_topic(name).with_partitions(partitions);
        DescribeLogDirsRequest::default().with_topics(Some(topics.into_iter().map(topic).collect()))
    };
    for version in all::<DescribeLogDirsRequest>() {
        session.ask_as("all", version, &DescribeLogDirsRequest::default().with_topics(None), |session, r| {
            let mut r = r.clone();
            r.results.iter_mut().for_each(|r| r.topics.retain(|t| t.name == session.topic("stored")));
            tell_dirs(session, &r)
        });
        let both: &[(&str, &[(&str, &[i32])])] = &[("both", &[("stored", &[0, 1])])];
        for (case, topics) in both.iter().chain(WRONG) {
            let request = request(named(session, topics));
            session.ask_as(case, version, &request, tell_dirs);
        }
    }
    let both = request(named(session, &[("stored", &[0, 1])]));
    later::ask_dirs(session, "both", &both, tell_dirs);
    for (case, topics) in WRONG {
        let request = request(named(session, topics));
        later::ask_dirs(session, case, &request, tell_dirs);
    }
}

/// There is one directory, so nothing can be moved.
fn moved_dirs(session: &mut Session) {
    let request = |path: &StrBytes, topics: Vec<(TopicName, Vec<i32>)>| {
        let topic = |(name, partitions)| al::AlterReplicaLogDirTopic::default().with_name(name).with_partitions(partitions);
        let dir = al::AlterReplicaLogDir::default().with_path(path.clone()).with_topics(topics.into_iter().map(topic).collect());
        AlterReplicaLogDirsRequest::default().with_dirs(vec![dir])
    };
    let here = session.call(4, &DescribeLogDirsRequest::default()).and_then(|r| r.results.first().map(|r| r.log_dir.clone()));
    let here = here.unwrap_or_default();
    for version in all::<AlterReplicaLogDirsRequest>() {
        for (case, path) in [("unknown directory", "/nowhere/at/all"), ("relative directory", "logs"), ("empty directory", "")] {
            let request = request(&s(path), named(session, &[("stored", &[0])]));
            session.ask(case, version, &request);
        }
        let there: &[(&str, &[(&str, &[i32])])] = &[("where it is", &[("stored", &[0])])];
        for (case, topics) in there.iter().chain(WRONG) {
            let request = request(&here, named(session, topics));
            session.ask_as(case, version, &request, |_, r| {
                let mut r = r.clone();
                r.results.sort_by(|a, b| a.topic_name.cmp(&b.topic_name));
                r.results.iter_mut().for_each(|t| t.partitions.sort_by_key(|p| p.partition_index));
                format!("{r:?}")
            });
        }
        session.ask("no directories", version, &AlterReplicaLogDirsRequest::default());
    }
}

fn tell_producers(_: &Session, response: &DescribeProducersResponse) -> String {
    let mut response = response.clone();
    for partition in response.topics.iter_mut().flat_map(|t| t.partitions.iter_mut()) {
        partition.active_producers.sort_by_key(|p| p.producer_epoch);
    }
    format!("{response:?}")
}

fn producers(session: &mut Session) {
    for (id, epoch, first, count) in [(7001, 0, 0, 3), (7001, 0, 3, 2), (7002, 4, 0, 1)] {
        put(session, "stored", 1, batch(count).producer(id, epoch, first).build().unwrap());
    }
    let both: &[(&str, &[(&str, &[i32])])] = &[("both", &[("stored", &[1, 0])])];
    for (case, topics) in both.iter().chain(WRONG) {
        let topic = |(name, partitions)| dp::TopicRequest::default().with_name(name).with_partition_indexes(partitions);
        let topics = named(session, topics).into_iter().map(topic).collect();
        session.ask_as(case, 0, &DescribeProducersRequest::default().with_topics(topics), tell_producers);
    }
    put(session, "stored", 1, batch(1).producer(7001, 1, 0).build().unwrap());
    let topic = dp::TopicRequest::default().with_name(session.topic("stored")).with_partition_indexes(vec![1]);
    session.ask_as("next epoch", 0, &DescribeProducersRequest::default().with_topics(vec![topic]), tell_producers);
}

fn tell_elected(_: &Session, response: &ElectLeadersResponse) -> String {
    let mut response = response.clone();
    response.replica_election_results.iter_mut().for_each(|t| t.partition_result.sort_by_key(|p| p.partition_id));
    response.replica_election_results.sort_by(|a, b| a.topic.cmp(&b.topic));
    format!("{response:?}")
}

fn elections(session: &mut Session) {
    let request = |kind: i8, topics: Vec<(TopicName, Vec<i32>)>| {
        let topic = |(name, partitions)| el::TopicPartitions::default().with_topic(name).with_partitions(partitions);
        ElectLeadersRequest::default()
            .with_election_type(kind)
            .with_topic_partitions(Some(topics.into_iter().map(topic).collect()))
            .with_timeout_ms(5000)
    };
    for version in all::<ElectLeadersRequest>() {
        let both: &[(&str, &[(&str, &[i32])])] = &[("both", &[("stored", &[0, 1])])];
        for (case, topics) in both.iter().chain(WRONG) {
            let preferred = request(0, named(session, topics));
            session.ask_as(case, version, &preferred, tell_elected);
            if version > 0 {
                let unclean = request(1, named(session, topics));
                session.ask_as(&format!("unclean: {case}"), version, &unclean, tell_elected);
            }
        }
        let all = ElectLeadersRequest::default().with_topic_partitions(None).with_timeout_ms(5000);
        session.ask_as("all", version, &all, |session, r| {
            let mut r = r.clone();
            r.replica_election_results.retain(|t| t.topic == session.topic("stored"));
            tell_elected(session, &r)
        });
        if version > 0 {
            for kind in [2, -1] {
                let strange = request(kind, named(session, &[("stored", &[0])]));
                session.ask_as(&format!("type {kind}"), version, &strange, tell_elected);
                session.reconnect();
            }
        }
        let at_once = request(0, named(session, &[("stored", &[0])])).with_timeout_ms(0);
        session.ask_as("no time", version, &at_once, tell_elected);
    }
}

fn reassignments(session: &mut Session) {
    let request = |topics: Vec<(TopicName, Vec<(i32, Option<&[i32]>)>)>| {
        let partition = |(index, replicas): (i32, Option<&[i32]>)| {
            ap::ReassignablePartition::default()
                .with_partition_index(index)
                .with_replicas(replicas.map(|r| r.iter().map(|b| BrokerId(*b)).collect()))
        };
        let topic = |(name, partitions): (TopicName, Vec<_>)| {
            ap::ReassignableTopic::default().with_name(name).with_partitions(partitions.into_iter().map(partition).collect())
        };
        AlterPartitionReassignmentsRequest::default().with_topics(topics.into_iter().map(topic).collect()).with_timeout_ms(5000)
    };
    for version in all::<AlterPartitionReassignmentsRequest>() {
        for (case, name, index, replicas) in [
            ("where it is", "stored", 0, Some(&[1][..])),
            ("cancel nothing", "stored", 0, None),
            ("unknown broker", "stored", 0, Some(&[7])),
            ("one more, unknown", "stored", 0, Some(&[1, 7])),
            ("no replicas", "stored", 0, Some(&[])),
            ("broker twice", "stored", 0, Some(&[1, 1])),
            ("negative broker", "stored", 0, Some(&[-1])),
            ("unknown topic", "nowhere", 0, Some(&[1])),
            ("unknown topic, cancel", "nowhere", 0, None),
            ("invalid topic", "no where", 0, Some(&[1])),
            ("unknown partition", "stored", 9, Some(&[1])),
            ("partition -1", "stored", -1, Some(&[1])),
        ] {
            let request = request(vec![(session.topic(name), vec![(index, replicas)])]);
            session.ask(case, version, &request);
        }
        let twice = request(vec![(session.topic("stored"), vec![(0, Some(&[1][..])), (0, Some(&[1][..]))])]);
        session.ask("partition twice", version, &twice);
        let twice = request(vec![(session.topic("stored"), vec![(0, None)]), (session.topic("stored"), vec![(1, Some(&[1][..]))])]);
        session.ask("topic twice", version, &twice);
        session.ask("no topics", version, &request(vec![]));
        session.ask("no partitions", version, &request(vec![(session.topic("stored"), vec![])]));
        let both =
            request(vec![(session.topic("stored"), vec![(0, Some(&[1][..])), (1, None)]), (session.topic("nowhere"), vec![(0, None)])]);
        session.ask("good and bad", version, &both);
        if version > 0 {
            let fixed = request(vec![(session.topic("stored"), vec![(0, Some(&[1][..]))])]).with_allow_replication_factor_change(false);
            session.ask("factor must stay", version, &fixed);
            let fixed = request(vec![(session.topic("stored"), vec![(0, Some(&[1, 2][..]))])]).with_allow_replication_factor_change(false);
            session.ask("factor must stay, but does not", version, &fixed);
        }
    }
}

fn listed_reassignments(session: &mut Session) {
    let request = |topics: Vec<(TopicName, Vec<i32>)>| {
        let topic = |(name, partitions)| lp::ListPartitionReassignmentsTopics::default().with_name(name).with_partition_indexes(partitions);
        ListPartitionReassignmentsRequest::default().with_topics(Some(topics.into_iter().map(topic).collect())).with_timeout_ms(5000)
    };
    session.ask("all", 0, &ListPartitionReassignmentsRequest::default().with_topics(None).with_timeout_ms(5000));
    let both: &[(&str, &[(&str, &[i32])])] = &[("both", &[("stored", &[0, 1])])];
    for (case, topics) in both.iter().chain(WRONG) {
        let request = request(named(session, topics));
        session.ask(case, 0, &request);
    }
}

/// Without what is each cluster's own: epochs, offsets, times, addresses of controllers.
fn tell_quorum(_: &Session, response: &DescribeQuorumResponse) -> String {
    let mut response = response.clone();
    for partition in response.topics.iter_mut().flat_map(|t| t.partitions.iter_mut()) {
        (partition.leader_epoch, partition.high_watermark) = (partition.leader_epoch.signum(), partition.high_watermark.signum());
        for replica in partition.current_voters.iter_mut().chain(partition.observers.iter_mut()) {
            replica.log_end_offset = replica.log_end_offset.signum();
            replica.replica_directory_id = Default::default();
            (replica.last_fetch_timestamp, replica.last_caught_up_timestamp) =
                (replica.last_fetch_timestamp.signum(), replica.last_caught_up_timestamp.signum());
        }
    }
    for listener in response.nodes.iter_mut().flat_map(|n| n.listeners.iter_mut()) {
        listener.port = listener.port.min(1);
    }
    format!("{response:?}")
}

fn quorum(session: &mut Session) {
    for version in all::<DescribeQuorumRequest>() {
        for (case, topics) in [
            ("metadata", &[("/__cluster_metadata", &[0][..])][..]),
            ("metadata, partition 1", &[("/__cluster_metadata", &[1])]),
            ("metadata, two partitions", &[("/__cluster_metadata", &[0, 1])]),
            ("metadata twice", &[("/__cluster_metadata", &[0]), ("/__cluster_metadata", &[0])]),
            ("metadata, no partitions", &[("/__cluster_metadata", &[])]),
            ("other topic", &[("stored", &[0])]),
            ("metadata and other topic", &[("/__cluster_metadata", &[0]), ("stored", &[0])]),
            ("no topics", &[]),
        ] {
            let partition = |index| dq::PartitionData::default().with_partition_index(index);
            let topic = |(name, partitions): (TopicName, Vec<i32>)| {
                dq::TopicData::default().with_topic_name(name).with_partitions(partitions.into_iter().map(partition).collect())
            };
            let topics = named(session, topics).into_iter().map(topic).collect();
            session.ask_as(case, version, &DescribeQuorumRequest::default().with_topics(topics), tell_quorum);
        }
    }
}

/// Nothing here changes a level: what would is only validated.
fn features(session: &mut Session) {
    type Update = (&'static str, i16, bool, i8);
    let cases: Vec<(&str, Vec<Update>)> = vec![
        ("unknown feature", vec![("no.such.feature", 1, false, 1)]),
        ("unknown feature, level 0", vec![("no.such.feature", 0, true, 2)]),
        ("empty feature", vec![("", 1, false, 1)]),
        ("no updates", vec![]),
        ("group version as it is", vec![("group.version", 1, false, 1)]),
        ("group version too high", vec![("group.version", 99, false, 1)]),
        ("group version -1", vec![("group.version", -1, false, 1)]),
        ("group version down as an upgrade", vec![("group.version", 0, false, 1)]),
        ("group version down", vec![("group.version", 0, true, 2)]),
        ("group version down, unsafe", vec![("group.version", 0, true, 3)]),
        ("transaction version too high", vec![("transaction.version", 99, false, 1)]),
        ("metadata version too high", vec![("metadata.version", 9999, false, 1)]),
        ("metadata version 0", vec![("metadata.version", 0, true, 2)]),
        ("metadata version 1", vec![("metadata.version", 1, true, 2)]),
        ("upgrade type 0", vec![("group.version", 1, false, 0)]),
        ("upgrade type 9", vec![("group.version", 1, false, 9)]),
        ("feature twice", vec![("group.version", 1, false, 1), ("group.version", 1, false, 1)]),
        ("good and bad", vec![("group.version", 1, false, 1), ("no.such.feature", 1, false, 1)]),
    ];
    for version in all::<UpdateFeaturesRequest>() {
        for (case, updates) in &cases {
            let update = |(name, level, down, kind): &Update| {
                let update = uf::FeatureUpdateKey::default().with_feature(s(name)).with_max_version_level(*level);
                if version == 0 { update.with_allow_downgrade(*down) } else { update.with_upgrade_type(*kind) }
            };
            let request = UpdateFeaturesRequest::default().with_timeout_ms(5000).with_feature_updates(updates.iter().map(update).collect());
            // Version 0 knows no trial.
            let trials: &[bool] = match version {
                0 if case.contains("down") => &[],
                0 => &[false],
                _ if case.contains("down") || case.contains("metadata") => &[true],
                _ => &[false, true],
            };
            for trial in trials {
                let request = if version == 0 { request.clone() } else { request.clone().with_validate_only(*trial) };
                session.ask_as(&format!("{case}{}", if *trial { ", on trial" } else { "" }), version, &request, |_, r| {
                    let mut r = r.clone();
                    r.results.sort_by(|a, b| a.feature.cmp(&b.feature));
                    format!("{r:?}")
                });
                session.reconnect();
            }
        }
    }
}
