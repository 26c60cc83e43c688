//! Classic groups and committed offsets: FindCoordinator to OffsetFetch.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::{
    FindCoordinatorRequest, FindCoordinatorResponse, GroupId, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, OffsetCommitRequest,
    OffsetFetchRequest, OffsetFetchResponse, SyncGroupRequest, join_group_request as jg, leave_group_request as lg,
    offset_commit_request as oc, offset_fetch_request as of, sync_group_request as sg,
};

use super::session::{Session, s, versions};
use crate::common;

/// Waits until groups are served: the topic of their offsets is made by the first question.
pub fn ready(session: &mut Session) {
    let deadline = Instant::now() + common::PATIENCE;
    let request = find(&[&session.name("first")], 0);
    loop {
        let found = session.call(4, &request).unwrap();
        if found.coordinators[0].error_code == 0 {
            let ping = heartbeat(session, "first", 0, "m");
            let answer = session.call(4, &ping).unwrap();
            if ![14, 15, 16].contains(&answer.error_code) {
                return;
            }
        }
        assert!(Instant::now() < deadline, "{found:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// All of this file.
pub fn cases(session: &mut Session) {
    ready(session);
    session.create("committed", 2, &[]);
    coordinators(session);
    strangers(session);
    simple_commits(session);
    fetches(session);
    joins(session);
    members(session);
    static_members(session);
}

fn find(keys: &[&str], kind: i8) -> FindCoordinatorRequest {
    FindCoordinatorRequest::default().with_key_type(kind).with_coordinator_keys(keys.iter().map(|k| s(k)).collect())
}

/// A group of this run.
pub fn group(session: &Session, name: &str) -> GroupId {
    if name.is_empty() { GroupId(s("")) } else { GroupId(s(&session.name(name))) }
}

fn coordinators(session: &mut Session) {
    for version in 0..=3 {
        session.ask_as("group", version, &FindCoordinatorRequest::default().with_key(s("g")), tell_place);
        session.ask_as("empty group", version, &FindCoordinatorRequest::default().with_key(s("")), tell_place);
        if version > 0 {
            for kind in [2, 3, -1] {
                let request = FindCoordinatorRequest::default().with_key(s("g")).with_key_type(kind);
                session.ask_as(&format!("type {kind}"), version, &request, tell_place);
                session.reconnect();
            }
        }
    }
    for version in 4..=6 {
        session.ask_as("group", version, &find(&["g"], 0), tell_place);
        session.ask_as("two groups", version, &find(&["g", "h", "g"], 0), tell_place);
        session.ask_as("empty group", version, &find(&["", "g"], 0), tell_place);
        session.ask_as("no groups", version, &find(&[], 0), tell_place);
        for kind in [2, 3, -1] {
            session.ask_as(&format!("type {kind}"), version, &find(&["g"], kind), tell_place);
            session.reconnect();
        }
    }
}

/// The answer without words on failures.
fn tell_place(_: &Session, response: &FindCoordinatorResponse) -> String {
    let mut response = response.clone();
    if response.error_code != 0 {
        response.error_message = None;
    }
    for coordinator in response.coordinators.iter_mut().filter(|c| c.error_code != 0) {
        coordinator.error_message = None;
    }
    format!("{response:?}")
}

/// A Heartbeat request.
pub fn heartbeat(session: &Session, name: &str, generation: i32, member: &str) -> HeartbeatRequest {
    HeartbeatRequest::default().with_group_id(group(session, name)).with_generation_id(generation).with_member_id(s(member))
}

/// A LeaveGroup request, v3 and later.
pub fn leave(session: &Session, name: &str, member: &str) -> LeaveGroupRequest {
    let member = lg::MemberIdentity::default().with_member_id(s(member));
    LeaveGroupRequest::default().with_group_id(group(session, name)).with_members(vec![member])
}

fn leave_old(session: &Session, name: &str, member: &str) -> LeaveGroupRequest {
    LeaveGroupRequest::default().with_group_id(group(session, name)).with_member_id(s(member))
}

/// A SyncGroup request.
pub fn sync(session: &Session, name: &str, generation: i32, member: &str, assignments: &[(&str, &[u8])]) -> SyncGroupRequest {
    let assignments = assignments
        .iter()
        .map(|(m, a)| sg::SyncGroupRequestAssignment::default().with_member_id(s(m)).with_assignment(Bytes::copy_from_slice(a)))
        .collect();
    SyncGroupRequest::default()
        .with_group_id(group(session, name))
        .with_generation_id(generation)
        .with_member_id(s(member))
        .with_assignments(assignments)
}

/// The same with protocol, for v5 and later.
pub fn named_sync(request: SyncGroupRequest, kind: &str, name: &str) -> SyncGroupRequest {
    request.with_protocol_type(Some(s(kind))).with_protocol_name(Some(s(name)))
}

/// Requests of members and groups that do not exist.
fn strangers(session: &mut Session) {
    for version in versions(12) {
        for (case, name, generation, member) in
            [("unknown group", "none", 1, "m"), ("empty group", "", 1, "m"), ("unknown group, empty member", "none", -1, "")]
        {
            let request = heartbeat(session, name, generation, member);
            session.ask(case, version, &request);
        }
    }
    for version in versions(13) {
        for (case, name) in [("unknown group", "none"), ("empty group", "")] {
            let request = if version < 3 { leave_old(session, name, "m") } else { leave(session, name, "m") };
            session.ask(case, version, &request);
        }
        if version >= 3 {
            let request = LeaveGroupRequest::default().with_group_id(group(session, "none"));
            session.ask("no members", version, &request);
        }
    }
    for version in versions(14) {
        for (case, name) in [("unknown group", "none"), ("empty group", "")] {
            let mut request = sync(session, name, 1, "m", &[]);
            if version >= 5 {
                request = named_sync(request, "consumer", "range");
            }
            session.ask(case, version, &request);
        }
    }
    let request = sync(session, "none", 1, "m", &[]);
    session.ask("without protocol", 5, &request);
}

/// A commit to one partition.
pub fn commit(session: &Session, name: &str, topic: &str, partition: i32, offset: i64, metadata: Option<&str>) -> OffsetCommitRequest {
    let partition = oc::OffsetCommitRequestPartition::default()
        .with_partition_index(partition)
        .with_committed_offset(offset)
        .with_committed_metadata(metadata.map(s));
    let topic = oc::OffsetCommitRequestTopic::default().with_name(session.topic(topic)).with_partitions(vec![partition]);
    OffsetCommitRequest::default().with_group_id(group(session, name)).with_generation_id_or_member_epoch(-1).with_topics(vec![topic])
}

/// Commits of consumers that assign partitions themselves.
fn simple_commits(session: &mut Session) {
    for version in versions(8) {
        for (case, topic, partition, offset, metadata) in [
            ("simple", "committed", 0, 5, Some("note")),
            ("null metadata", "committed", 1, 6, None),
            ("unknown topic", "nowhere", 0, 5, Some("")),
            ("unknown partition", "committed", 9, 5, Some("")),
            ("partition -1", "committed", -1, 5, Some("")),
            ("offset -1", "committed", 0, -1, Some("")),
            ("offset -2", "committed", 0, -2, Some("")),
        ] {
            let request = commit(session, "simple", topic, partition, offset, metadata);
            session.ask(case, version, &request);
        }
        let request = commit(session, "simple", "committed", 0, 5, Some(&"x".repeat(4097)));
        session.ask("metadata too large", version, &request);
        let request = commit(session, "simple", "committed", 0, 5, Some(&"x".repeat(4096)));
        session.ask("metadata as large as allowed", version, &request);
        let request = commit(session, "", "committed", 0, 5, None);
        session.ask("empty group", version, &request);
        let request = commit(session, "simple", "committed", 0, 5, None).with_generation_id_or_member_epoch(3).with_member_id(s("m"));
        session.ask("unknown member", version, &request);
        let request = commit(session, "new-group", "committed", 0, 5, None).with_generation_id_or_member_epoch(3).with_member_id(s("m"));
        session.ask("unknown member of an unknown group", version, &request);
        let request = commit(session, "simple", "committed", 0, 5, None).with_member_id(s("m"));
        session.ask("member without generation", version, &request);
        let request = commit(session, "simple", "committed", 0, 5, None).with_generation_id_or_member_epoch(0);
        session.ask("generation 0 without member", version, &request);
        let request = OffsetCommitRequest::default().with_group_id(group(session, "simple")).with_generation_id_or_member_epoch(-1);
        session.ask("no topics", version, &request);
    }
    let mut request = commit(session, "simple", "committed", 0, 7, Some("seven"));
    request.topics.push(commit(session, "simple", "nowhere", 0, 1, None).topics.remove(0));
    let first = request.topics[0].partitions[0].clone();
    request.topics[0].partitions.extend([first.clone().with_partition_index(5), first.with_committed_offset(8)]);
    request.topics[0].partitions[0].committed_leader_epoch = 3;
    session.ask_as("good, bad and twice", 8, &request, |_, r| {
        let mut r = r.clone();
        r.topics.sort_by(|a, b| a.name.cmp(&b.name));
        r.topics.iter_mut().for_each(|t| t.partitions.sort_by_key(|p| p.partition_index));
        format!("{r:?}")
    });
}

/// An OffsetFetch request up to v7.
pub fn old_fetch(session: &Session, name: &str, topics: Option<&[(&str, &[i32])]>) -> OffsetFetchRequest {
    let topics = topics.map(|t| {
        t.iter()
            .map(|(n, p)| of::OffsetFetchRequestTopic::default().with_name(session.topic(n)).with_partition_indexes(p.to_vec()))
            .collect()
    });
    OffsetFetchRequest::default().with_group_id(group(session, name)).with_topics(topics)
}

/// An OffsetFetch request from v8.
pub fn new_fetch(session: &Session, groups: &[(&str, Option<&[(&str, &[i32])]>)]) -> OffsetFetchRequest {
    let groups = groups
        .iter()
        .map(|(name, topics)| {
            let topics = topics.map(|t| {
                t.iter()
                    .map(|(n, p)| of::OffsetFetchRequestTopics::default().with_name(session.topic(n)).with_partition_indexes(p.to_vec()))
                    .collect()
            });
            of::OffsetFetchRequestGroup::default().with_group_id(group(session, name)).with_topics(topics)
        })
        .collect();
    OffsetFetchRequest::default().with_groups(groups)
}

/// The answer with partitions in order where Kafka's order is that of a hash map.
pub fn tell(_: &Session, response: &OffsetFetchResponse) -> String {
    let mut response = response.clone();
    response.topics.iter_mut().for_each(|t| t.partitions.sort_by_key(|p| p.partition_index));
    response.topics.sort_by(|a, b| a.name.cmp(&b.name));
    for group in &mut response.groups {
        group.topics.iter_mut().for_each(|t| t.partitions.sort_by_key(|p| p.partition_index));
        group.topics.sort_by(|a, b| a.name.cmp(&b.name));
    }
    format!("{response:?}")
}

fn fetches(session: &mut Session) {
    for (partition, metadata) in [(0, Some("zero")), (1, None)] {
        let mut request = commit(session, "simple", "committed", partition, 11, metadata);
        request.topics[0].partitions[0].committed_leader_epoch = 2;
        session.call(8, &request);
    }
    let known: &[(&str, &[i32])] = &[("committed", &[0, 1, 7]), ("nowhere", &[0])];
    for version in 1..=7 {
        for (case, name, topics) in [
            ("known", "simple", Some(known)),
            ("unknown group", "none", Some(known)),
            ("empty group", "", Some(known)),
            ("no topics", "simple", Some(&[][..])),
            ("all topics", "simple", None),
            ("all topics of an unknown group", "none", None),
        ] {
            if topics.is_none() && version < 2 {
                continue;
            }
            let request = old_fetch(session, name, topics);
            session.ask_as(case, version, &request, tell);
        }
    }
    let request = old_fetch(session, "simple", Some(known)).with_require_stable(true);
    session.ask_as("stable", 7, &request, tell);
    let twice: &[(&str, &[i32])] = &[("committed", &[0, 0]), ("committed", &[1])];
    let request = old_fetch(session, "simple", Some(twice));
    session.ask_as("twice", 6, &request, tell);
    for version in [8, 9] {
        for (case, groups) in [
            ("two groups", vec![("simple", Some(known)), ("none", Some(known))]),
            ("all topics", vec![("simple", None), ("none", None)]),
            ("no topics", vec![("simple", Some(&[][..]))]),
            ("no groups", vec![]),
            ("empty group", vec![("", Some(known))]),
            ("group twice", vec![("simple", Some(&known[..1])), ("simple", None)]),
        ] {
            let request = new_fetch(session, &groups);
            session.ask_as(case, version, &request, tell);
        }
    }
    let mut request = new_fetch(session, &[("simple", Some(known))]);
    request.groups[0].member_id = Some(s("m"));
    request.groups[0].member_epoch = 4;
    session.ask_as("with member epoch", 9, &request, tell);
}

/// A JoinGroup request.
pub fn join(session: &Session, name: &str, member: &str) -> JoinGroupRequest {
    let protocol = |name: &str| jg::JoinGroupRequestProtocol::default().with_name(s(name)).with_metadata(Bytes::from_static(b"meta"));
    JoinGroupRequest::default()
        .with_group_id(group(session, name))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(3000)
        .with_member_id(s(member))
        .with_protocol_type(s("consumer"))
        .with_protocols(vec![protocol("range"), protocol("roundrobin")])
}

fn joins(session: &mut Session) {
    for version in versions(11) {
        for (case, name, member) in [("empty group", "", ""), ("unknown member", "none", "stranger")] {
            let mut request = join(session, name, member);
            if version == 0 {
                request.rebalance_timeout_ms = JoinGroupRequest::default().rebalance_timeout_ms;
            }
            session.ask(case, version, &request);
        }
    }
    for version in 1..=9 {
        for (case, timeout) in [("short session", 5999), ("no session", 0), ("long session", 1_800_001)] {
            let request = join(session, "none", "").with_session_timeout_ms(timeout);
            session.ask(case, version, &request);
        }
        let request = join(session, "none", "").with_protocols(vec![]);
        session.ask("no protocols", version, &request);
        let request = join(session, "none", "").with_protocol_type(s(""));
        session.ask("no protocol type", version, &request);
    }
    let request = join(session, "negative", "").with_rebalance_timeout_ms(-1);
    session.ask("negative rebalance timeout", 4, &request);
}

/// A member's id is its client id and a random part.
fn hide(session: &mut Session, id: &str, with: &str) {
    session.mask(id, with);
}

/// One member through its life, by versions of one age.
fn members(session: &mut Session) {
    for (age, join_v, sync_v, beat_v, leave_v, commit_v) in [("old", 1, 0, 0, 0, 2), ("middle", 4, 2, 2, 2, 6), ("new", 9, 5, 4, 5, 9)] {
        let name = format!("life-{age}");
        let mut id = String::new();
        let request = join(session, &name, "");
        let first = session.call(join_v, &request).unwrap();
        if join_v >= 4 {
            id = first.member_id.to_string();
            hide(session, &id, &format!("<{age}>"));
            let text = format!("{first:?}");
            session.record(&format!("life {age}: first join"), &text);
            // Known but not yet a member.
            let request = heartbeat(session, &name, -1, &id);
            session.ask(&format!("life {age}: before joining"), beat_v, &request);
        }
        let joined = if id.is_empty() {
            first
        } else {
            let request = join(session, &name, &id);
            session.call(join_v, &request).unwrap()
        };
        if id.is_empty() {
            id = joined.member_id.to_string();
            hide(session, &id, &format!("<{age}>"));
        }
        let text = format!("{joined:?}");
        session.record(&format!("life {age}: joined"), &text);
        let generation = joined.generation_id;
        let request = heartbeat(session, &name, generation, &id);
        session.ask(&format!("life {age}: before sync"), beat_v, &request);
        let request = commit(session, &name, "committed", 0, 1, None).with_generation_id_or_member_epoch(generation).with_member_id(s(&id));
        session.ask(&format!("life {age}: before sync"), commit_v, &request);
        let named = |request| if sync_v >= 5 { named_sync(request, "consumer", "range") } else { request };
        let request = named(sync(session, &name, generation + 1, &id, &[(&id, b"assigned")]));
        session.ask(&format!("life {age}: wrong generation"), sync_v, &request);
        let request = named(sync(session, &name, generation, "stranger", &[]));
        session.ask(&format!("life {age}: stranger"), sync_v, &request);
        if sync_v >= 5 {
            let request = named_sync(sync(session, &name, generation, &id, &[]), "connect", "range");
            session.ask(&format!("life {age}: wrong protocol type"), sync_v, &request);
            let request = named_sync(sync(session, &name, generation, &id, &[]), "consumer", "sticky");
            session.ask(&format!("life {age}: wrong protocol"), sync_v, &request);
        }
        let request = named(sync(session, &name, generation, &id, &[(&id, b"assigned"), ("stranger", b"more")]));
        session.ask(&format!("life {age}: leader"), sync_v, &request);
        session.ask(&format!("life {age}: leader again"), sync_v, &request);
        for (case, generation, member) in [
            ("well", generation, id.as_str()),
            ("wrong generation", generation + 1, id.as_str()),
            ("generation -1", -1, id.as_str()),
            ("stranger", generation, "stranger"),
            ("empty member", generation, ""),
        ] {
            let request = heartbeat(session, &name, generation, member);
            session.ask(&format!("life {age}: {case}"), beat_v, &request);
            let request = commit(session, &name, "committed", 0, 21, Some(case))
                .with_generation_id_or_member_epoch(generation)
                .with_member_id(s(member));
            session.ask(&format!("life {age}: {case}"), commit_v, &request);
        }
        let request = commit(session, &name, "committed", 0, 1, None);
        session.ask(&format!("life {age}: simple commit to members"), commit_v, &request);
        let request = old_fetch(session, &name, None);
        session.ask_as(&format!("life {age}: committed"), 5, &request, tell);
        let request = join(session, &name, &id).with_protocol_type(s("connect"));
        session.ask(&format!("life {age}: other type"), join_v, &request);
        let mut request = join(session, &name, "");
        request.protocols.iter_mut().for_each(|p| p.name = s("other"));
        session.ask(&format!("life {age}: no common protocol"), join_v, &request);
        let request = join(session, &name, "stranger");
        session.ask(&format!("life {age}: stranger"), join_v, &request);
        let request = join(session, &name, &id);
        session.ask(&format!("life {age}: leader rejoins"), join_v, &request);
        let request = if leave_v < 3 { leave_old(session, &name, "stranger") } else { leave(session, &name, "stranger") };
        session.ask(&format!("life {age}: stranger"), leave_v, &request);
        let request = if leave_v < 3 { leave_old(session, &name, &id) } else { leave(session, &name, &id) };
        session.ask(&format!("life {age}: leaves"), leave_v, &request);
        session.ask(&format!("life {age}: leaves again"), leave_v, &request);
        let request = heartbeat(session, &name, generation, &id);
        session.ask(&format!("life {age}: after leaving"), beat_v, &request);
        let request = commit(session, &name, "committed", 1, 1, None);
        session.ask(&format!("life {age}: simple commit after leaving"), commit_v, &request);
        let request = commit(session, &name, "committed", 1, 1, None).with_generation_id_or_member_epoch(generation).with_member_id(s(&id));
        session.ask(&format!("life {age}: member commit after leaving"), commit_v, &request);
        let request = commit(session, &name, "committed", 1, 1, None).with_generation_id_or_member_epoch(generation);
        session.ask(&format!("life {age}: generation commit after leaving"), commit_v, &request);
    }
}

fn static_members(session: &mut Session) {
    let instance = |request: JoinGroupRequest| request.with_group_instance_id(Some(s("i-1")));
    let request = instance(join(session, "static", ""));
    let joined = session.call(7, &request).unwrap();
    let first = joined.member_id.to_string();
    hide(session, &first, "<static 1>");
    session.record("static: joined", &format!("{joined:?}"));
    let request = named_sync(sync(session, "static", joined.generation_id, &first, &[(&first, b"mine")]), "consumer", "range")
        .with_group_instance_id(Some(s("i-1")));
    session.ask("static: leader", 5, &request);
    for (version, skip) in [(7, "static: again"), (9, "static: again")] {
        let request = instance(join(session, "static", ""));
        let again = session.call(version, &request).unwrap();
        let id = again.member_id.to_string();
        hide(session, &id, &format!("<static v{version}>"));
        session.record(&format!("{skip} v{version}"), &format!("{again:?}"));
    }
    let request = heartbeat(session, "static", 1, &first).with_group_instance_id(Some(s("i-1")));
    session.ask("static: old id", 4, &request);
    let request = heartbeat(session, "static", 1, "m").with_group_instance_id(Some(s("i-2")));
    session.ask("static: unknown instance", 4, &request);
    let request = commit(session, "static", "committed", 0, 1, None)
        .with_generation_id_or_member_epoch(1)
        .with_member_id(s(&first))
        .with_group_instance_id(Some(s("i-1")));
    session.ask("static: old id", 7, &request);
    let request = named_sync(sync(session, "static", 1, &first, &[]), "consumer", "range").with_group_instance_id(Some(s("i-1")));
    session.ask("static: old id", 5, &request);
    let request = instance(join(session, "static", "stranger"));
    session.ask("static: stranger", 9, &request);
    let members = vec![
        lg::MemberIdentity::default().with_member_id(s(&first)).with_group_instance_id(Some(s("i-1"))),
        lg::MemberIdentity::default().with_group_instance_id(Some(s("i-2"))),
        lg::MemberIdentity::default().with_group_instance_id(Some(s("i-1"))),
        lg::MemberIdentity::default().with_member_id(s("stranger")),
    ];
    let request = LeaveGroupRequest::default().with_group_id(group(session, "static")).with_members(members);
    session.ask("static: several leave", 3, &request);
}
