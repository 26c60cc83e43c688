//! Topics made, grown and deleted: CreateTopics, CreatePartitions, DeleteTopics.

use kafka_protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, create_partitions_request as cp,
    create_topics_request as ct, delete_topics_request as dt,
};
use uuid::Uuid;

use super::session::{Session, s, versions};

fn topic(session: &Session, name: &str, partitions: i32, replicas: i16) -> ct::CreatableTopic {
    ct::CreatableTopic::default().with_name(session.topic(name)).with_num_partitions(partitions).with_replication_factor(replicas)
}

fn with_config(topic: ct::CreatableTopic, name: &str, value: Option<&str>) -> ct::CreatableTopic {
    topic.with_configs(vec![ct::CreatableTopicConfig::default().with_name(s(name)).with_value(value.map(s))])
}

fn assigned(session: &Session, name: &str, assignments: &[(i32, &[i32])]) -> ct::CreatableTopic {
    let assignments = assignments
        .iter()
        .map(|(index, brokers)| {
            ct::CreatableReplicaAssignment::default()
                .with_partition_index(*index)
                .with_broker_ids(brokers.iter().map(|b| BrokerId(*b)).collect())
        })
        .collect();
    topic(session, name, -1, -1).with_assignments(assignments)
}

fn create(topics: Vec<ct::CreatableTopic>) -> CreateTopicsRequest {
    CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(10_000)
}

/// Configs are compared on their own (DescribeConfigs): here the topic's own are enough. Topics in order of name: Kafka's order is a hash map's.
fn tell(_: &Session, response: &CreateTopicsResponse) -> String {
    let mut response = response.clone();
    for topic in &mut response.topics {
        // Kafka goes on with another cause that there is not here.
        topic.error_message =
            topic.error_message.as_ref().map(|m| s(m.split(" or some brokers").next().unwrap_or("").trim_end_matches('.')));
        let overrides: Vec<_> = topic.configs.iter().flatten().filter(|c| ![3, 5].contains(&c.config_source)).cloned().collect();
        topic.configs = topic.configs.as_ref().map(|_| overrides);
    }
    response.topics.sort_by(|a, b| a.name.0.cmp(&b.name.0));
    format!("{response:?}")
}

/// All of this file.
pub fn cases(session: &mut Session) {
    creating(session);
    growing(session);
    deleting(session);
}

fn creating(session: &mut Session) {
    for version in versions(19) {
        let name = format!("made-{version}");
        let request = create(vec![topic(session, &name, 2, 1)]);
        session.ask_as("new", version, &request, tell);
        session.wait_for_leader(&name);
        session.ask_as("existing", version, &request, tell);
        let dry = create(vec![topic(session, "dry", 2, 1)]).with_validate_only(true);
        session.ask_as("validate only", version, &dry, tell);
        let exists = request.with_validate_only(true);
        session.ask_as("validate only existing", version, &exists, tell);
    }
    let bad: Vec<(&str, ct::CreatableTopic)> = vec![
        ("no partitions", topic(session, "bad", 0, 1)),
        ("negative partitions", topic(session, "bad", -2, 1)),
        ("no replicas", topic(session, "bad", 1, 0)),
        ("negative replicas", topic(session, "bad", 1, -2)),
        ("more replicas than brokers", topic(session, "bad", 1, 3)),
        ("name with a slash", topic(session, "b/ad", 1, 1)),
        ("long name", topic(session, &"x".repeat(250), 1, 1)),
        ("unknown config", with_config(topic(session, "bad", 1, 1), "no.such.config", Some("1"))),
        ("bad config value", with_config(topic(session, "bad", 1, 1), "retention.ms", Some("soon"))),
        ("config out of bounds", with_config(topic(session, "bad", 1, 1), "segment.bytes", Some("1"))),
        ("bad list config", with_config(topic(session, "bad", 1, 1), "cleanup.policy", Some("shred"))),
        ("bad boolean config", with_config(topic(session, "bad", 1, 1), "unclean.leader.election.enable", Some("maybe"))),
        ("bad ratio", with_config(topic(session, "bad", 1, 1), "min.cleanable.dirty.ratio", Some("1.5"))),
        ("bad compression", with_config(topic(session, "bad", 1, 1), "compression.type", Some("rar"))),
        ("null config value", with_config(topic(session, "bad", 1, 1), "retention.ms", None)),
        ("empty config value", with_config(topic(session, "bad", 1, 1), "retention.ms", Some(""))),
        ("unknown broker assigned", assigned(session, "bad", &[(0, &[7])])),
        ("gap in assignment", assigned(session, "bad", &[(0, &[1]), (2, &[1])])),
        ("assignment from 1", assigned(session, "bad", &[(1, &[1])])),
        ("partition assigned twice", assigned(session, "bad", &[(0, &[1]), (0, &[1])])),
        ("broker assigned twice", assigned(session, "bad", &[(0, &[1, 1])])),
        ("empty assignment", assigned(session, "bad", &[(0, &[])])),
        ("negative broker assigned", assigned(session, "bad", &[(0, &[-1])])),
        ("uneven assignment", assigned(session, "bad", &[(0, &[1]), (1, &[])])),
        ("assignment and partitions", assigned(session, "bad", &[(0, &[1])]).with_num_partitions(1)),
        ("assignment and replicas", assigned(session, "bad", &[(0, &[1])]).with_replication_factor(1)),
    ];
    for (case, topic) in bad {
        let name = topic.name.clone();
        let answer = session.ask_as(case, 7, &create(vec![topic.clone()]), tell);
        if answer.is_none_or(|a| a.topics.iter().all(|t| t.error_code == 0)) {
            session.call(5, &DeleteTopicsRequest::default().with_topic_names(vec![name]).with_timeout_ms(5000));
            session.settle();
        }
        session.ask_as(&format!("{case}, validate only"), 6, &create(vec![topic]).with_validate_only(true), tell);
    }
    for (case, name) in [("empty name", ""), ("dot", "."), ("two dots", ".."), ("name with a space", "a b"), ("not ascii", "zqü")] {
        let bad = topic(session, "", 1, 1).with_name(kafka_protocol::messages::TopicName(s(name)));
        session.ask_as(case, 7, &create(vec![bad]), tell);
    }
    session.ask_as("no topics", 7, &create(vec![]), tell);
    let request = create(vec![topic(session, "defaults", -1, -1)]);
    session.ask_as("defaults", 4, &request, tell);
    let request = create(vec![topic(session, "defaults5", -1, -1)]);
    session.ask_as("defaults", 5, &request, tell);
    let request = create(vec![topic(session, "defaults2", -1, -1)]);
    session.ask_as("defaults below v4", 3, &request, tell);
    let twice = create(vec![topic(session, "twice", 1, 1), topic(session, "twice", 2, 1), topic(session, "once", 1, 1)]);
    for version in versions(19) {
        session.ask_as(&format!("duplicate names {version}"), version, &twice, tell);
        session.settle();
    }
    let request = create(vec![assigned(session, "assigned", &[(0, &[1]), (1, &[1])])]);
    session.ask_as("assignment", 7, &request, tell);
    let request = create(vec![topic(session, "co.llide", 1, 1)]);
    session.ask_as("name with a dot", 7, &request, tell);
    let request = create(vec![topic(session, "co_llide", 1, 1)]);
    session.ask_as("colliding name", 7, &request, tell);
    let both = create(vec![topic(session, "mixed-good", 1, 1), topic(session, "mixed bad", 1, 1)]);
    session.ask_as("one good one bad", 7, &both, tell);
    let configured = with_config(topic(session, "configured", 1, 1), "retention.ms", Some("1000"));
    session.ask_as("with config", 7, &create(vec![configured]), tell);
    let spaced = with_config(topic(session, "spaced", 1, 1), "cleanup.policy", Some("compact, delete"));
    session.ask_as("with list config", 7, &create(vec![spaced]), tell);
    let none = create(vec![topic(session, "no-time", 1, 1)]).with_timeout_ms(0);
    session.call(7, &none);
    session.settle();
}

fn grow(session: &Session, name: &str, count: i32, assignments: Option<&[&[i32]]>) -> cp::CreatePartitionsTopic {
    let assignments = assignments.map(|all| {
        all.iter().map(|b| cp::CreatePartitionsAssignment::default().with_broker_ids(b.iter().map(|b| BrokerId(*b)).collect())).collect()
    });
    cp::CreatePartitionsTopic::default().with_name(session.topic(name)).with_count(count).with_assignments(assignments)
}

fn growing(session: &mut Session) {
    session.create("grow", 2, &[]);
    let request = |topics| CreatePartitionsRequest::default().with_topics(topics).with_timeout_ms(10_000);
    let cases: Vec<(&str, Vec<cp::CreatePartitionsTopic>)> = vec![
        ("same count", vec![grow(session, "grow", 2, None)]),
        ("fewer", vec![grow(session, "grow", 1, None)]),
        ("none", vec![grow(session, "grow", 0, None)]),
        ("negative", vec![grow(session, "grow", -1, None)]),
        ("unknown topic", vec![grow(session, "nowhere", 4, None)]),
        ("invalid name", vec![grow(session, "no where", 4, None)]),
        ("unknown broker", vec![grow(session, "grow", 3, Some(&[&[9]]))]),
        ("too few assignments", vec![grow(session, "grow", 4, Some(&[&[1]]))]),
        ("too many assignments", vec![grow(session, "grow", 3, Some(&[&[1], &[1]]))]),
        ("empty assignments", vec![grow(session, "grow", 3, Some(&[]))]),
        ("empty assignment", vec![grow(session, "grow", 3, Some(&[&[]]))]),
        ("broker twice", vec![grow(session, "grow", 3, Some(&[&[1, 1]]))]),
        ("too many replicas", vec![grow(session, "grow", 3, Some(&[&[1, 2]]))]),
        ("no topics", vec![]),
    ];
    for (case, topics) in cases {
        session.ask(case, 3, &request(topics));
    }
    let good = request(vec![grow(session, "grow", 3, None)]);
    session.ask("validate only", 0, &good.clone().with_validate_only(true));
    session.ask("one more", 0, &good);
    session.wait_for_leader("grow");
    session.ask("same again", 2, &good);
    let good = request(vec![grow(session, "grow", 5, Some(&[&[1], &[1]]))]);
    session.ask("assigned", 3, &good);
    session.wait_for_leader("grow");
    let twice = request(vec![grow(session, "grow", 6, None), grow(session, "grow", 7, None)]);
    session.ask("duplicate names", 3, &twice);
}

fn deleting(session: &mut Session) {
    let ids: Vec<Uuid> = (0..4).map(|i| session.create(&format!("gone-{i}"), 1, &[])).collect();
    let by_name = |names: &[&str], session: &Session| {
        DeleteTopicsRequest::default().with_topic_names(names.iter().map(|n| session.topic(n)).collect()).with_timeout_ms(10_000)
    };
    let state = |name: Option<&str>, id: Uuid, session: &Session| {
        dt::DeleteTopicState::default().with_name(name.map(|n| session.topic(n))).with_topic_id(id)
    };
    let by_state = |topics| DeleteTopicsRequest::default().with_topics(topics).with_timeout_ms(10_000);
    let request = by_name(&["nowhere", "no where"], session);
    for version in 1..=5 {
        session.ask_as("unknown", version, &request, |_, r| {
            let mut r = r.clone();
            r.responses.sort_by(|a, b| a.name.cmp(&b.name));
            format!("{r:?}")
        });
    }
    let request = by_name(&["gone-0"], session);
    session.ask("existing", 1, &request);
    session.settle();
    session.ask("again", 4, &request);
    let request = by_name(&["gone-1", "gone-1"], session);
    session.ask("duplicate names", 5, &request);
    session.ask("none", 5, &by_name(&[], session));
    session.ask("none", 6, &by_state(vec![]));
    let request = by_state(vec![state(None, ids[2], session)]);
    session.ask("by id", 6, &request);
    session.settle();
    session.ask("by id again", 6, &request);
    let request = by_state(vec![state(Some("gone-3"), Uuid::nil(), session)]);
    session.ask("by name", 6, &request);
    session.settle();
    let strange = Uuid::from_u128(0x1234_5678_1234_5678_1234_5678_1234_5678);
    session.ask("unknown id", 6, &by_state(vec![state(None, strange, session)]));
    session.ask("nil id", 6, &by_state(vec![state(None, Uuid::nil(), session)]));
    let request = by_state(vec![state(Some("defaults"), strange, session)]);
    session.ask("name and id", 6, &request);
    let request = by_state(vec![state(Some("nowhere"), Uuid::nil(), session)]);
    session.ask("unknown name", 6, &request);
}
