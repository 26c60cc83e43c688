//! Odd input to the APIs of classic groups: doubled, empty, long and strange names, counts beyond reason, and the order of checks.

use bytes::Bytes;
use kafka_protocol::messages::{
    FindCoordinatorRequest, GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, OffsetCommitRequest,
    SyncGroupRequest, TopicName, join_group_request as jg, leave_group_request as lg, offset_commit_request as oc,
};

use super::group_admin::{delete, describe, join, subscription};
use super::groups::{commit, group, heartbeat, leave, named_sync, new_fetch, old_fetch, sync, tell as tell_offsets};
use super::session::{Session, all, s, versions};

/// All of this file.
pub fn cases(session: &mut Session) {
    session.create("odd", 2, &[]);
    joins(session);
    names(session);
    syncs(session);
    commits(session);
    fetches(session);
    departures(session);
    by_version(session);
}

fn protocol(name: &str, metadata: &'static [u8]) -> jg::JoinGroupRequestProtocol {
    jg::JoinGroupRequestProtocol::default().with_name(s(name)).with_metadata(Bytes::from_static(metadata))
}

/// Asks to join, to the end; the ids are masked.
fn entered(session: &mut Session, case: &str, version: i16, request: &JoinGroupRequest) -> Option<JoinGroupResponse> {
    let mut joined = session.call(version, request);
    if let Some(first) = joined.clone().filter(|j| !j.member_id.is_empty()) {
        session.mask(&first.member_id, &format!("<{case}>"));
        if first.error_code == 79 {
            joined = session.call(version, &request.clone().with_member_id(first.member_id));
        }
    }
    let text = joined.as_ref().map_or("closed".to_string(), |j| format!("{j:?}"));
    session.record(&format!("JoinGroup v{version} odd: {case}"), &text);
    joined
}

fn joins(session: &mut Session) {
    type Change = fn(JoinGroupRequest) -> JoinGroupRequest;
    let cases: Vec<(&str, Change)> = vec![
        ("protocol twice", |r| r.with_protocols(vec![protocol("a", b"1"), protocol("a", b"2"), protocol("b", b"3")])),
        ("empty protocol name", |r| r.with_protocols(vec![protocol("", b"1")])),
        ("empty metadata", |r| r.with_protocols(vec![protocol("a", b"")])),
        ("many protocols", |r| r.with_protocols((0..200).map(|i| protocol(&format!("p{i}"), b"")).collect())),
        ("long protocol type", |r| r.with_protocol_type(s(&"t".repeat(1000)))),
        ("rebalance timeout 0", |r| r.with_rebalance_timeout_ms(0)),
        ("greatest rebalance timeout", |r| r.with_rebalance_timeout_ms(i32::MAX)),
        ("longest session", |r| r.with_session_timeout_ms(1_800_000)),
        ("shortest session", |r| r.with_session_timeout_ms(6000)),
        ("negative session", |r| r.with_session_timeout_ms(-1)),
        ("no protocols, no type", |r| r.with_protocols(vec![]).with_protocol_type(s(""))),
        ("no protocols, bad session", |r| r.with_protocols(vec![]).with_session_timeout_ms(1)),
        ("unknown member, bad session", |r| r.with_member_id(s("stranger")).with_session_timeout_ms(1)),
    ];
    for (case, change) in &cases {
        for version in [3, 9] {
            let name = format!("odd-{}-{version}", case.replace([' ', ','], "-"));
            let request = change(join(session, &name, ""));
            let joined = entered(session, &format!("{case} v{version}"), version, &request);
            if let Some(joined) = joined.filter(|j| j.error_code == 0) {
                let request = leave(session, &name, &joined.member_id);
                session.call(5, &request);
            }
        }
    }
    let request = join(session, "odd-reason", "").with_reason(Some(s(&"because ".repeat(100))));
    entered(session, "long reason", 9, &request);
    let request = join(session, "odd-instance", "stranger").with_group_instance_id(Some(s("i")));
    entered(session, "unknown member with an instance", 9, &request);
}

/// Names of groups are any text.
fn names(session: &mut Session) {
    let long = "n".repeat(20_000);
    for (case, name) in
        [("spaces", "a b c"), ("letters of everywhere", "größe-群-🦀"), ("control letters", "a\tb\u{1}"), ("dots", ".."), ("long", &long)]
    {
        let name = format!("{case}{name}");
        session.mask(&session.name(&name), &format!("<{case}>"));
        let request = commit(session, &name, "odd", 0, 3, None);
        session.ask(&format!("name: {case}"), 8, &request);
        let request = old_fetch(session, &name, None);
        session.ask_as(&format!("name: {case}"), 7, &request, tell_offsets);
        let request = describe(session, &[&name]);
        session.ask(&format!("name: {case}"), 6, &request);
        let request = delete(session, &[&name]);
        session.ask(&format!("name: {case}"), 2, &request);
    }
    for version in all::<HeartbeatRequest>() {
        let request = HeartbeatRequest::default().with_group_id(GroupId(s("  "))).with_member_id(s("m")).with_generation_id(1);
        session.ask("blank group", version, &request);
    }
    for version in 4..=6 {
        let keys = (0..300).map(|i| s(&format!("key-{i}"))).collect();
        let request = FindCoordinatorRequest::default().with_key_type(0).with_coordinator_keys(keys);
        session.ask_as("many keys", version, &request, |_, r| {
            format!("{} {:?}", r.coordinators.len(), r.coordinators.iter().all(|c| c.error_code == 0 && c.node_id.0 == 1))
        });
    }
    let many: Vec<String> = (0..300).map(|i| format!("nobody-{i}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let request = describe(session, &many);
    session.ask_as("many", 5, &request, |_, r| format!("{} {}", r.groups.len(), r.groups.iter().all(|g| g.group_state.as_str() == "Dead")));
    let request = delete(session, &many);
    session.ask_as("many", 2, &request, |_, r| format!("{} {}", r.results.len(), r.results.iter().all(|g| g.error_code == 69)));
}

/// A stable group of one, and what its leader may say.
fn syncs(session: &mut Session) {
    let name = "odd-sync";
    let mut request = join(session, name, "");
    let topics = [session.name("odd")];
    request.protocols.iter_mut().for_each(|p| p.metadata = subscription(&topics));
    let joined = entered(session, "leader", 9, &request).unwrap();
    let id = joined.member_id.to_string();
    let named = |r: SyncGroupRequest| named_sync(r, "consumer", "range");
    for (case, generation, member, assignments) in [
        ("generation -1", -1, id.as_str(), vec![]),
        ("greatest generation", i32::MAX, id.as_str(), vec![]),
        ("generation 0", 0, id.as_str(), vec![]),
        ("empty member", 1, "", vec![]),
        ("stranger with a wrong generation", 7, "stranger", vec![]),
        ("member twice", 1, id.as_str(), vec![(id.as_str(), &b"one"[..]), (id.as_str(), &b"two"[..])]),
        ("after that, of strangers only", 1, id.as_str(), vec![("stranger", &b"x"[..])]),
        ("after that, nothing", 1, id.as_str(), vec![]),
    ] {
        let request = named(sync(session, name, generation, member, &assignments));
        session.ask(&format!("odd: {case}"), 5, &request);
    }
    for (case, kind, protocol) in
        [("no type", None, Some("range")), ("no name", Some("consumer"), None), ("neither", None, None), ("empty both", Some(""), Some(""))]
    {
        let request = sync(session, name, 1, &id, &[]).with_protocol_type(kind.map(s)).with_protocol_name(protocol.map(s));
        session.ask(&format!("odd: {case}"), 5, &request);
    }
    for (case, generation, member) in
        [("generation 0", 0, id.as_str()), ("greatest generation", i32::MAX, &id), ("stranger, wrong generation", 9, "stranger")]
    {
        for version in versions(12) {
            let request = heartbeat(session, name, generation, member);
            session.ask(&format!("odd: {case}"), version, &request);
        }
    }
    // The same member joins with fewer protocols, another type, another session.
    let request = join(session, name, &id).with_session_timeout_ms(1);
    session.ask("odd: member with a bad session", 9, &request);
    let request = join(session, name, &id).with_protocols(vec![]);
    session.ask("odd: member without protocols", 9, &request);
    let request = leave(session, name, &id);
    session.call(5, &request);
}

fn commits(session: &mut Session) {
    let topic = |session: &Session, name: &str, partitions: Vec<oc::OffsetCommitRequestPartition>| {
        oc::OffsetCommitRequestTopic::default().with_name(session.topic(name)).with_partitions(partitions)
    };
    let request = |session: &Session, topics| {
        OffsetCommitRequest::default()
            .with_group_id(group(session, "odd-commit"))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(topics)
    };
    let at = |index: i32, offset: i64| {
        oc::OffsetCommitRequestPartition::default().with_partition_index(index).with_committed_offset(offset).with_committed_metadata(None)
    };
    for version in versions(8) {
        for (case, partitions) in [
            ("no partitions", vec![]),
            ("greatest offset", vec![at(0, i64::MAX)]),
            ("smallest offset", vec![at(0, i64::MIN)]),
            ("greatest partition", vec![at(i32::MAX, 1)]),
            ("one good, one bad, one too long", vec![at(0, 1), at(9, 1), at(1, 1).with_committed_metadata(Some(s(&"x".repeat(5000))))]),
        ] {
            let request = request(session, vec![topic(session, "odd", partitions)]);
            session.ask_as(&format!("odd: {case}"), version, &request, |_, r| {
                let mut r = r.clone();
                r.topics.iter_mut().for_each(|t| t.partitions.sort_by_key(|p| p.partition_index));
                format!("{r:?}")
            });
        }
        if version >= 6 {
            for epoch in [-5, 0, 99, i32::MAX] {
                let request = request(session, vec![topic(session, "odd", vec![at(0, 1).with_committed_leader_epoch(epoch)])]);
                session.ask(&format!("odd: leader epoch {epoch}"), version, &request);
                let request = old_fetch(session, "odd-commit", Some(&[("odd", &[0])]));
                session.ask_as(&format!("after leader epoch {epoch} by v{version}"), 7, &request, tell_offsets);
            }
        }
        if version <= 4 {
            let mut request = request(session, vec![topic(session, "odd", vec![at(0, 1)])]);
            request.retention_time_ms = 5;
            session.ask("odd: retention of its own", version, &request);
        }
        if version >= 7 {
            let request = request(session, vec![topic(session, "odd", vec![at(0, 1)])]).with_group_instance_id(Some(s("i")));
            session.ask("odd: instance without member", version, &request);
        }
        for (case, name) in [("topic with a space", "no where"), ("internal topic", "__consumer_offsets"), ("empty topic", "")] {
            let topic = oc::OffsetCommitRequestTopic::default().with_name(TopicName(s(name))).with_partitions(vec![at(0, 1)]);
            let request = request(session, vec![topic]);
            session.ask(&format!("odd: {case}"), version, &request);
        }
    }
    // Offsets of internal topics are like any others.
    let forget = delete(session, &["odd-commit"]);
    session.call(2, &forget);
    let many = (0..2000).map(|i| at(i, 1)).collect();
    let request = request(session, vec![topic(session, "odd", many)]);
    session.ask_as("odd: many partitions", 8, &request, |_, r| {
        let good = r.topics[0].partitions.iter().filter(|p| p.error_code == 0).count();
        let unknown = r.topics[0].partitions.iter().filter(|p| p.error_code == 3).count();
        format!("{good} {unknown}")
    });
}

fn fetches(session: &mut Session) {
    for version in 1..=7 {
        for (case, partitions) in
            [("no partitions", &[][..]), ("partition -1", &[-1]), ("greatest partition", &[i32::MAX]), ("partition twice", &[0, 0])]
        {
            let request = old_fetch(session, "odd-commit", Some(&[("odd", partitions)]));
            session.ask_as(&format!("odd: {case}"), version, &request, tell_offsets);
        }
    }
    for version in 8..=9 {
        for (case, partitions) in [("no partitions", &[][..]), ("partition -1", &[-1]), ("partition twice", &[0, 0])] {
            let request = new_fetch(session, &[("odd-commit", Some(&[("odd", partitions)])), ("nobody", Some(&[("odd", partitions)]))]);
            session.ask_as(&format!("odd: {case}"), version, &request, tell_offsets);
        }
        let request = new_fetch(session, &[("odd-commit", None)]).with_require_stable(true);
        session.ask_as("odd: stable", version, &request, tell_offsets);
    }
}

fn departures(session: &mut Session) {
    let name = "odd-leave";
    let request = join(session, name, "");
    let joined = entered(session, "leaver", 9, &request).unwrap();
    let id = joined.member_id.to_string();
    let gone = |id: &str| lg::MemberIdentity::default().with_member_id(s(id)).with_reason(Some(s("enough")));
    let request = LeaveGroupRequest::default().with_group_id(group(session, name)).with_members(vec![
        gone("stranger"),
        gone(&id),
        gone(&id),
        gone(""),
    ]);
    session.ask("odd: stranger, member, member again, nobody", 5, &request);
    let many = (0..500).map(|i| lg::MemberIdentity::default().with_member_id(s(&format!("m{i}")))).collect();
    let request = LeaveGroupRequest::default().with_group_id(group(session, name)).with_members(many);
    session.ask_as("odd: many", 3, &request, |_, r| {
        format!("{} {} {}", r.error_code, r.members.len(), r.members.iter().all(|m| m.error_code == 25))
    });
}

/// The same life by every version of JoinGroup, with the others' versions beside it.
fn by_version(session: &mut Session) {
    for version in all::<JoinGroupRequest>() {
        let name = format!("by-version-{version}");
        let mut request = join(session, &name, "");
        let topics = [session.name("odd")];
        request.protocols.iter_mut().for_each(|p| p.metadata = subscription(&topics));
        if version == 0 {
            request.rebalance_timeout_ms = JoinGroupRequest::default().rebalance_timeout_ms;
        }
        let joined = entered(session, &format!("v{version} of a life"), version, &request).unwrap();
        let (id, generation) = (joined.member_id.to_string(), joined.generation_id);
        let v = |highest: i16| version.min(highest);
        let mut request = sync(session, &name, generation, &id, &[(&id, b"mine")]);
        if v(5) == 5 {
            request = named_sync(request, "consumer", "range");
        }
        session.ask(&format!("life by version {version}"), v(5), &request);
        let request = heartbeat(session, &name, generation, &id);
        session.ask(&format!("life by version {version}"), v(4), &request);
        let request = commit(session, &name, "odd", 0, 5, Some("x")).with_generation_id_or_member_epoch(generation).with_member_id(s(&id));
        session.ask(&format!("life by version {version}"), v(9).max(2), &request);
        let request = describe(session, &[&name]);
        session.ask(&format!("life by version {version}"), v(6), &request);
        let request = if v(5) < 3 {
            LeaveGroupRequest::default().with_group_id(group(session, &name)).with_member_id(s(&id))
        } else {
            leave(session, &name, &id)
        };
        session.ask(&format!("life by version {version}"), v(5), &request);
        let request = heartbeat(session, &name, generation, &id);
        session.ask(&format!("life by version {version}, left"), v(4), &request);
    }
}
