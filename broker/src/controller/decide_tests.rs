//! Tables of requests and answers for topics and partitions; the sentences and codes were asked from Apache Kafka 4.3.1.

use coreline_wire::error_code::ErrorCode::{
    self, InvalidConfig, InvalidPartitions, InvalidReplicaAssignment, InvalidReplicationFactor, InvalidRequest, InvalidTopicException,
    PolicyViolation, TopicAlreadyExists, UnknownTopicId, UnknownTopicOrPartition,
};
use coreline_wire::ids::TopicId;

use super::replay::replay_batch;
use super::request::*;
use super::testing::{Seeded, World};
use crate::metadata::{ConfigResource, MetadataDelta, MetadataImage};

fn topic(name: &str, partitions: i32, replication_factor: i16) -> NewTopic {
    NewTopic { name: name.to_owned(), partitions, replication_factor, ..NewTopic::default() }
}

fn assigned(name: &str, assignments: &[(i32, &[i32])]) -> NewTopic {
    let assignments = assignments.iter().map(|(index, replicas)| (*index, replicas.to_vec())).collect();
    NewTopic { assignments, ..NewTopic::with_defaults(name) }
}

fn configured(name: &str, configs: &[(&str, Option<&str>)]) -> NewTopic {
    let configs = configs.iter().map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned))).collect();
    NewTopic { configs, ..topic(name, 1, 1) }
}

fn create_all(world: &mut World, topics: Vec<NewTopic>) -> Vec<Result<CreatedTopic, ApiError>> {
    match world.submit(&ControllerRequest::CreateTopics { topics, validate_only: false }) {
        ControllerResponse::CreateTopics(results) => results,
        other => panic!("create topics answered {other:?}"),
    }
}

fn grow(world: &mut World, name: &str, count: i32, assignments: Option<&[&[i32]]>) -> Result<(), (ErrorCode, String)> {
    let assignments = assignments.map(|all| all.iter().map(|replicas| replicas.to_vec()).collect());
    let topics = vec![NewPartitions { name: name.to_owned(), count, assignments }];
    match world.submit(&ControllerRequest::CreatePartitions { topics, validate_only: false }) {
        ControllerResponse::CreatePartitions(mut results) => results.remove(0).map_err(plain),
        other => panic!("create partitions answered {other:?}"),
    }
}

fn delete_all(world: &mut World, topics: Vec<TopicSelector>) -> Vec<DeletedTopic> {
    match world.submit(&ControllerRequest::DeleteTopics { topics }) {
        ControllerResponse::DeleteTopics(results) => results,
        other => panic!("delete topics answered {other:?}"),
    }
}

fn plain(error: ApiError) -> (ErrorCode, String) {
    (error.code, error.message.unwrap_or_default())
}

#[test]
fn bad_topics_are_refused_as_in_kafka() {
    let mut world = World::with_topics(&["ok", "v.o"]);
    let cases: Vec<(NewTopic, ErrorCode, &str)> = vec![
        (topic("ok", 2, 1), TopicAlreadyExists, "Topic 'ok' already exists."),
        (topic("ok", 0, 0), TopicAlreadyExists, "Topic 'ok' already exists."),
        (topic("v_o", 1, 1), InvalidTopicException, "Topic 'v_o' collides with existing topic: v.o"),
        (topic("", 1, 1), InvalidTopicException, "Topic name is invalid: the empty string is not allowed"),
        (topic("__cluster_metadata", 1, 1), InvalidRequest, "Creation of internal topic __cluster_metadata is prohibited."),
        (topic("a", 0, 1), InvalidPartitions, "Number of partitions was set to an invalid non-positive value."),
        (topic("a", -2, 1), InvalidPartitions, "Number of partitions was set to an invalid non-positive value."),
        (topic("a", 1, 0), InvalidReplicationFactor, "Replication factor must be larger than 0, or -1 to use the default value."),
        (topic("a", 1, -2), InvalidReplicationFactor, "Replication factor must be larger than 0, or -1 to use the default value."),
        (
            topic("a", 1, 3),
            InvalidReplicationFactor,
            "Unable to replicate the partition 3 time(s): The target replication factor of 3 cannot be reached because only 1 broker(s) \
             are registered.",
        ),
        (topic("a", 10_001, 1), PolicyViolation, "Excessively large number of partitions per request."),
        (topic("a", i32::MAX, 1), PolicyViolation, "Excessively large number of partitions per request."),
        (configured("a", &[("nope", Some("1"))]), InvalidConfig, "Unknown topic config name: nope"),
        (
            configured("a", &[("retention.ms", Some("abc"))]),
            InvalidConfig,
            "Invalid value abc for configuration retention.ms: Not a number of type LONG",
        ),
        (configured("a", &[("retention.ms", None)]), InvalidConfig, "Null value not supported for topic configs: retention.ms"),
        // The configuration is looked at before the numbers.
        (NewTopic { configs: vec![("x".into(), Some("y".into()))], ..topic("a", 0, 9) }, InvalidConfig, "Unknown topic config name: x"),
    ];
    for (request, code, message) in cases {
        assert_eq!(world.create(request.clone()).map_err(plain), Err((code, message.to_owned())), "{request:?}");
    }
    assert_eq!(world.image.topic_count(), 2, "a refused topic leaves nothing behind");
}

#[test]
fn bad_assignments_are_refused_as_in_kafka() {
    let mut world = World::new();
    let manual = "The manual partition assignment includes";
    let cases: Vec<(NewTopic, ErrorCode, String)> = vec![
        (
            NewTopic { partitions: 2, ..assigned("a", &[(0, &[1]), (1, &[1])]) },
            InvalidRequest,
            "A manual partition assignment was specified, but numPartitions was not set to -1.".into(),
        ),
        (
            NewTopic { replication_factor: 1, ..assigned("a", &[(0, &[1])]) },
            InvalidRequest,
            "A manual partition assignment was specified, but replication factor was not set to -1.".into(),
        ),
        (assigned("a", &[(0, &[2])]), InvalidReplicaAssignment, format!("{manual} broker 2, but no such broker is registered.")),
        (assigned("a", &[(1, &[1])]), InvalidReplicaAssignment, "partitions should be a consecutive 0-based integer sequence".into()),
        (
            assigned("a", &[(0, &[1]), (-1, &[1])]),
            InvalidReplicaAssignment,
            "partitions should be a consecutive 0-based integer sequence".into(),
        ),
        (
            assigned("a", &[(0, &[1]), (0, &[1])]),
            InvalidReplicaAssignment,
            "Found multiple manual partition assignments for partition 0".into(),
        ),
        (assigned("a", &[(0, &[])]), InvalidReplicaAssignment, format!("{manual} an empty replica list.")),
        (assigned("a", &[(0, &[1, 1])]), InvalidReplicaAssignment, format!("{manual} the broker 1 more than once.")),
        (
            assigned("a", &[(0, &[1]), (1, &[1, 2])]),
            InvalidReplicaAssignment,
            format!("{manual} broker 2, but no such broker is registered."),
        ),
    ];
    for (request, code, message) in cases {
        assert_eq!(world.create(request.clone()).map_err(plain), Err((code, message)), "{request:?}");
    }
    assert_eq!(world.create(assigned("a", &[(1, &[1]), (0, &[1])])).map(|topic| topic.partitions), Ok(2));
}

#[test]
fn good_topics_are_created_with_defaults_filled_in() {
    let mut world = World::new();
    world.limits.partitions_default = 3;
    let created = world.create(NewTopic::with_defaults("def")).expect("created");
    assert_eq!((created.partitions, created.replication_factor), (3, 1));
    let image = world.image.topic(created.id).expect("in the image");
    assert_eq!((&*image.name, image.partitions.len()), ("def", 3));
    assert!(image.partitions.iter().all(|p| p.leader == 1 && p.leader_epoch == 0 && *p.replicas == [1] && *p.isr == [1]));
    // The last value of a key that is given twice counts.
    let twice = configured("two", &[("retention.ms", Some("1000")), ("retention.ms", Some("2000"))]);
    assert_eq!(world.create(twice).map(|topic| topic.configs), Ok(vec![("retention.ms".to_owned(), "2000".to_owned())]));
    assert_eq!(world.topic_config("two"), [("retention.ms".to_owned(), "2000".to_owned())]);
}

#[test]
fn a_request_s_topics_succeed_and_fail_each_for_itself() {
    let mut world = World::new();
    let results =
        create_all(&mut world, vec![topic("two", 1, 1), topic("three", 1, 1), topic("two", 2, 1), topic("x.y", 1, 1), topic("x_y", 1, 1)]);
    let codes: Vec<_> = results.iter().map(|result| result.as_ref().map_or_else(|error| error.code, |_| ErrorCode::None)).collect();
    assert_eq!(codes, [InvalidRequest, ErrorCode::None, InvalidRequest, ErrorCode::None, InvalidTopicException]);
    let names: Vec<_> = world.image.topics_sorted().iter().map(|topic| topic.name.to_string()).collect();
    assert_eq!(names, ["three", "x.y"]);
}

#[test]
fn the_partitions_of_one_request_are_bounded_together() {
    let mut world = World::new();
    let results = create_all(&mut world, vec![topic("a", 6_000, 1), topic("b", 4_000, 1), topic("c", 1, 1)]);
    let codes: Vec<_> = results.iter().map(|result| result.as_ref().map_or_else(|error| error.code, |_| ErrorCode::None)).collect();
    assert_eq!(codes, [PolicyViolation; 3], "too many together are none at all, as in Kafka");
    assert!(create_all(&mut world, vec![topic("a", 6_000, 1), topic("b", 4_000, 1)]).iter().all(Result::is_ok));
    world.limits.partitions_max = 10_001;
    assert!(world.create(topic("d", 1, 1)).is_ok());
    assert_eq!(world.create(topic("e", 1, 1)).map_err(|error| error.code), Err(PolicyViolation));
    assert_eq!(grow(&mut world, "d", 2, None).map_err(|error| error.0), Err(PolicyViolation));
}

#[test]
fn validate_only_answers_and_changes_nothing() {
    let mut world = World::with_topics(&["ok"]);
    let topics = vec![topic("val", 3, 1), topic("ok", 3, 1)];
    let answer = world.submit(&ControllerRequest::CreateTopics { topics, validate_only: true });
    let ControllerResponse::CreateTopics(results) = answer else { panic!("wrong answer") };
    assert_eq!(results[0].as_ref().map(|topic| topic.partitions), Ok(3));
    assert_eq!(results[1].as_ref().map_err(|error| error.code), Err(TopicAlreadyExists));
    let topics = vec![NewPartitions { name: "ok".into(), count: 9, assignments: None }];
    let answer = world.submit(&ControllerRequest::CreatePartitions { topics, validate_only: true });
    assert_eq!(answer, ControllerResponse::CreatePartitions(vec![Ok(())]));
    assert_eq!((world.image.topic_count(), world.image.partition_count()), (1, 2));
}

#[test]
fn partitions_only_grow() {
    let mut world = World::with_topics(&["ok"]);
    assert_eq!(grow(&mut world, "ok", 3, None), Ok(()));
    let manual = "The manual partition assignment includes";
    let short = |n: usize| format!("Attempted to add 2 additional partition(s), but only {n} assignment(s) were specified.");
    type Case<'a> = (&'a str, i32, Option<&'a [&'a [i32]]>, ErrorCode, String);
    let cases: Vec<Case<'_>> = vec![
        ("ok", 3, None, InvalidPartitions, "Topic already has 3 partition(s).".into()),
        ("ok", 1, None, InvalidPartitions, "The topic ok currently has 3 partition(s); 1 would not be an increase.".into()),
        ("ok", -1, None, InvalidPartitions, "The topic ok currently has 3 partition(s); -1 would not be an increase.".into()),
        ("nope", 3, None, UnknownTopicOrPartition, String::new()),
        ("ok", 5, Some(&[&[1]]), InvalidReplicaAssignment, short(1)),
        ("ok", 5, Some(&[]), InvalidReplicaAssignment, short(0)),
        ("ok", 5, Some(&[&[1], &[1], &[1]]), InvalidReplicaAssignment, short(3)),
        ("ok", 5, Some(&[&[1], &[2]]), InvalidReplicaAssignment, format!("{manual} broker 2, but no such broker is registered.")),
        ("ok", 5, Some(&[&[1], &[]]), InvalidReplicaAssignment, format!("{manual} an empty replica list.")),
        ("ok", 5, Some(&[&[1], &[1, 1]]), InvalidReplicaAssignment, format!("{manual} the broker 1 more than once.")),
        ("ok", i32::MAX, None, PolicyViolation, "Excessively large number of partitions per request.".into()),
    ];
    for (name, count, assignments, code, message) in cases {
        assert_eq!(grow(&mut world, name, count, assignments), Err((code, message)), "{name} {count} {assignments:?}");
    }
    assert_eq!(grow(&mut world, "ok", 5, Some(&[&[1], &[1]])), Ok(()));
    assert_eq!(world.image.topic_by_name("ok").map(|topic| topic.partitions.len()), Some(5));
    assert_eq!(world.image.partition_count(), 5);
    let twice = vec![
        NewPartitions { name: "ok".into(), count: 6, assignments: None },
        NewPartitions { name: "ok".into(), count: 7, assignments: None },
    ];
    let answer = world.submit(&ControllerRequest::CreatePartitions { topics: twice, validate_only: false });
    let ControllerResponse::CreatePartitions(results) = answer else { panic!("wrong answer") };
    assert!(results.iter().all(|result| result.as_ref().map_err(|error| error.code) == Err(InvalidRequest)));
}

#[test]
fn topics_are_deleted_by_name_and_by_id_with_their_configuration() {
    let mut world = World::with_topics(&["a", "b.c", "d"]);
    let alteration = ConfigAlteration {
        resource: ConfigResource::topic("a"),
        replace_all: false,
        entries: vec![("retention.ms".into(), Some("5".into()))],
    };
    assert_eq!(world.alter(alteration), Ok(()));
    let id = world.image.topic_id("b.c").expect("exists");
    let a = world.image.topic_id("a").expect("exists");
    let unknown = TopicId([1; 16]);
    let results = delete_all(
        &mut world,
        vec![
            TopicSelector::Name("a".into()),
            TopicSelector::Id(id),
            TopicSelector::Name("nope".into()),
            TopicSelector::Id(unknown),
            TopicSelector::Name("d".into()),
            TopicSelector::Name("d".into()),
        ],
    );
    let error = |code, message: &str| Err(ApiError::new(code, message));
    let host = "This server does not host this";
    let want = vec![
        DeletedTopic { name: Some("a".into()), id: a, result: Ok(()) },
        DeletedTopic { name: Some("b.c".into()), id, result: Ok(()) },
        DeletedTopic {
            name: Some("nope".into()),
            id: TopicId::ZERO,
            result: error(UnknownTopicOrPartition, &format!("{host} topic-partition.")),
        },
        DeletedTopic { name: None, id: unknown, result: error(UnknownTopicId, &format!("{host} topic ID.")) },
        DeletedTopic { name: Some("d".into()), id: TopicId::ZERO, result: error(InvalidRequest, "Duplicate topic name.") },
        DeletedTopic { name: Some("d".into()), id: TopicId::ZERO, result: error(InvalidRequest, "Duplicate topic name.") },
    ];
    assert_eq!(results, want);
    assert!(world.image.topic_config("a").is_none());
    assert_eq!((world.image.topic_count(), world.image.partition_count()), (1, 2));
    // A name comes free with its collisions; the id never comes back.
    assert!(world.create(topic("b_c", 1, 1)).is_ok());
    assert!(world.create(topic("a", 1, 1)).is_ok_and(|topic| topic.id != a));
    assert!(world.topic_config("a").is_empty(), "a new topic does not inherit the old one's configuration");
}

#[test]
fn producer_id_blocks_do_not_overlap() {
    let mut world = World::new();
    let request = ControllerRequest::AllocateProducerIds { broker: 1 };
    assert_eq!(world.submit(&request), ControllerResponse::ProducerIds { first: 0, len: 1000 });
    assert_eq!(world.submit(&request), ControllerResponse::ProducerIds { first: 1000, len: 1000 });
}

#[test]
fn topic_ids_are_never_taken_for_options() {
    use super::decide::Randomness;
    let mut random = Seeded(3);
    for _ in 0..2_000 {
        let id = random.topic_id();
        assert!(!id.is_zero() && !id.to_string().starts_with('-'), "{id}");
    }
}

/// Any history: the image that grew by decisions equals the image that replays the records, batch by batch or as one, and the merged
/// delta tells exactly the difference.
#[test]
fn replaying_any_history_gives_the_live_image() {
    for seed in 0..40u64 {
        let mut random = Seeded(seed);
        let mut world = World::new();
        let before = world.image.clone();
        let mut merged = MetadataDelta::default();
        let start = world.history.len();
        for _ in 0..60 {
            let request = random_request(&mut random, &world.image);
            let decision = world.decide(&request);
            let delta = world.apply(&decision.records);
            merged.merge(&delta);
        }
        let mut replayed = MetadataImage::empty();
        for batch in &world.history {
            replay_batch(&mut replayed, &mut MetadataDelta::default(), batch);
        }
        assert_eq!(replayed, world.image, "seed {seed}");
        assert_eq!(through_snapshot(&world.image), Ok(world.image.clone()), "seed {seed}: after a snapshot");

        let mut one = MetadataDelta::default();
        let mut image = before.clone();
        replay_batch(&mut image, &mut one, &world.history[start..].concat());
        assert_eq!(one, merged, "seed {seed}: merged deltas differ from the delta of one run");
        assert_delta_is_the_difference(&before, &world.image, &merged, seed);
    }
}

fn through_snapshot(image: &MetadataImage) -> Result<MetadataImage, String> {
    use crate::quorum::snapshot::SnapshotContent;
    use crate::quorum::stored::StoredMembershipConfig;
    let members = StoredMembershipConfig { configs: vec![vec![1]], nodes: vec![(1, String::new())] };
    let bytes = SnapshotContent::of(image, None, None, members).to_bytes();
    SnapshotContent::from_bytes(&bytes)?.to_image()
}

fn random_request(random: &mut Seeded, image: &MetadataImage) -> ControllerRequest {
    let name = |random: &mut Seeded| ["a", "b.c", "b_c", "d", "e", "f"][random.below(6) as usize].to_owned();
    match random.below(7) {
        0 | 1 => {
            let mut new = topic(&name(random), 1 + random.below(4) as i32, 1);
            if random.below(2) == 0 {
                new.configs.push(("retention.ms".into(), Some(random.below(3).to_string())));
            }
            ControllerRequest::CreateTopics { topics: vec![new, topic(&name(random), 1, 1)], validate_only: random.below(8) == 0 }
        }
        2 => ControllerRequest::DeleteTopics { topics: vec![TopicSelector::Name(name(random))] },
        3 => {
            let count = 1 + random.below(8) as i32;
            ControllerRequest::CreatePartitions {
                topics: vec![NewPartitions { name: name(random), count, assignments: None }],
                validate_only: false,
            }
        }
        4 => {
            let value = (random.below(3) > 0).then(|| random.below(3).to_string());
            let key = ["retention.ms", "segment.ms"][random.below(2) as usize];
            ControllerRequest::AlterConfigs {
                resources: vec![ConfigAlteration {
                    resource: ConfigResource::topic(&name(random)),
                    replace_all: random.below(2) == 0,
                    entries: vec![(key.into(), value)],
                }],
                validate_only: false,
            }
        }
        5 => ControllerRequest::AllocateProducerIds { broker: 1 },
        _ => {
            let epoch = image.broker(1).map_or(0, |broker| broker.epoch);
            if random.below(2) == 0 {
                ControllerRequest::FenceBroker { id: 1, epoch }
            } else {
                ControllerRequest::RegisterBroker(BrokerRegistration { id: 1, incarnation: [0; 16], endpoints: vec![], rack: None })
            }
        }
    }
}

fn assert_delta_is_the_difference(before: &MetadataImage, after: &MetadataImage, delta: &MetadataDelta, seed: u64) {
    for (tp, partition) in after.partitions() {
        let was = before.partition(tp);
        assert_eq!(delta.partitions_created.contains(&tp), was.is_none(), "seed {seed}: {tp} created");
        if was.is_some_and(|was| was != partition) {
            assert!(delta.partitions_changed.contains(&tp), "seed {seed}: {tp} changed");
        }
    }
    for tp in &delta.partitions_created {
        assert!(after.contains(*tp), "seed {seed}: {tp} was created and is not there");
    }
    for topic in after.topics() {
        assert_eq!(delta.topics_created.contains(&topic.id), before.topic(topic.id).is_none(), "seed {seed}: {}", topic.name);
    }
    let gone: Vec<_> = before.topics().filter(|topic| after.topic(topic.id).is_none()).map(|topic| topic.id).collect();
    let mut gone_sorted = gone;
    gone_sorted.sort_unstable();
    assert_eq!(delta.topics_deleted.keys().copied().collect::<Vec<_>>(), gone_sorted, "seed {seed}");
    for (resource, overrides) in after.configs() {
        if before.config(resource) != Some(overrides) {
            assert!(delta.configs_changed.contains(resource), "seed {seed}: {resource:?}");
        }
    }
}
