//! What operators ask about groups and their offsets: DescribeGroups, ListGroups, DeleteGroups, OffsetDelete, through a group's whole life.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, DescribeGroupsResponse, GroupId, JoinGroupRequest, LeaveGroupRequest, ListGroupsRequest,
    ListGroupsResponse, OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest, leave_group_request as lg,
    offset_delete_request as od,
};

use super::groups::{commit, group, heartbeat, join as short_join, leave, named_sync, old_fetch, sync, tell as tell_offsets};
use super::session::{Session, all, s};

/// All of this file.
pub fn cases(session: &mut Session) {
    session.create("kept", 3, &[]);
    session.create("other", 1, &[]);
    strangers(session);
    life(session);
    statics(session);
    filters(session);
    offsets_deleted(session);
    deleted(session);
    choices(session);
}

/// A JoinGroup request of a member that stays while the cases are asked, however busy the machine is.
pub fn join(session: &Session, name: &str, member: &str) -> JoinGroupRequest {
    short_join(session, name, member).with_session_timeout_ms(60_000).with_rebalance_timeout_ms(60_000)
}

/// A DescribeGroups request.
pub fn describe(session: &Session, names: &[&str]) -> DescribeGroupsRequest {
    DescribeGroupsRequest::default().with_groups(names.iter().map(|n| group(session, n)).collect())
}

/// The answer with members in order of their masked ids: Kafka's order is that of a hash map.
pub fn tell_groups(session: &Session, response: &DescribeGroupsResponse) -> String {
    let mut response = response.clone();
    for group in &mut response.groups {
        group.members.sort_by_key(|m| session.masked(&m.member_id));
    }
    // Kafka asks its coordinators one by one.
    response.groups.sort_by(|a, b| a.group_id.0.cmp(&b.group_id.0));
    format!("{response:?}")
}

/// The groups of this run, in order of name.
pub fn tell_list(session: &Session, response: &ListGroupsResponse) -> String {
    let mut response = response.clone();
    response.groups.retain(|g| session.is_mine(&g.group_id.0));
    response.groups.sort_by(|a, b| a.group_id.0.cmp(&b.group_id.0));
    format!("{response:?}")
}

/// A ListGroups request.
pub fn list(states: &[&str], types: &[&str]) -> ListGroupsRequest {
    ListGroupsRequest::default()
        .with_states_filter(states.iter().map(|n| s(n)).collect())
        .with_types_filter(types.iter().map(|n| s(n)).collect())
}

/// A DeleteGroups request.
pub fn delete(session: &Session, names: &[&str]) -> DeleteGroupsRequest {
    DeleteGroupsRequest::default().with_groups_names(names.iter().map(|n| group(session, n)).collect())
}

/// An OffsetDelete request.
pub fn forget(session: &Session, name: &str, topics: &[(&str, &[i32])]) -> OffsetDeleteRequest {
    let topic = |(name, partitions): &(&str, &[i32])| {
        let partitions = partitions.iter().map(|p| od::OffsetDeleteRequestPartition::default().with_partition_index(*p)).collect();
        od::OffsetDeleteRequestTopic::default().with_name(session.topic(name)).with_partitions(partitions)
    };
    OffsetDeleteRequest::default().with_group_id(group(session, name)).with_topics(topics.iter().map(topic).collect())
}

/// Topics and partitions in order.
pub fn tell_forgotten(_: &Session, response: &OffsetDeleteResponse) -> String {
    let mut response = response.clone();
    response.topics.iter_mut().for_each(|t| t.partitions.sort_by_key(|p| p.partition_index));
    response.topics.sort_by(|a, b| a.name.cmp(&b.name));
    format!("{response:?}")
}

/// What a Java consumer says in JoinGroup: version 0 of its subscription.
pub fn subscription(topics: &[String]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    bytes.put_i32(topics.len() as i32);
    for topic in topics {
        bytes.put_i16(topic.len() as i16);
        bytes.extend_from_slice(topic.as_bytes());
    }
    bytes.put_i32(-1);
    bytes.freeze()
}

/// What its leader says in SyncGroup: version 0 of an assignment.
pub fn assignment(topics: &[(String, &[i32])]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    bytes.put_i32(topics.len() as i32);
    for (topic, partitions) in topics {
        bytes.put_i16(topic.len() as i16);
        bytes.extend_from_slice(topic.as_bytes());
        bytes.put_i32(partitions.len() as i32);
        partitions.iter().for_each(|p| bytes.put_i32(*p));
    }
    bytes.put_i32(-1);
    bytes.freeze()
}

/// Asks every version about these groups.
fn described(session: &mut Session, case: &str, names: &[&str]) {
    for version in all::<DescribeGroupsRequest>() {
        let request = describe(session, names);
        session.ask_as(case, version, &request, tell_groups);
    }
}

/// Lists in every version.
fn listed(session: &mut Session, case: &str) {
    for version in all::<ListGroupsRequest>() {
        session.ask_as(case, version, &list(&[], &[]), tell_list);
    }
}

fn strangers(session: &mut Session) {
    described(session, "unknown group", &["none"]);
    described(session, "empty group", &[""]);
    described(session, "no groups", &[]);
    described(session, "unknown twice", &["none", "none"]);
    for version in 3..=6 {
        let request = describe(session, &["none"]).with_include_authorized_operations(true);
        session.ask_as("unknown group with operations", version, &request, tell_groups);
    }
    listed(session, "no groups yet");
    for version in all::<DeleteGroupsRequest>() {
        for (case, names) in [
            ("unknown group", vec!["none"]),
            ("empty group", vec![""]),
            ("no groups", vec![]),
            ("unknown twice", vec!["none", "none"]),
            ("two unknown", vec!["none", "", "nobody"]),
        ] {
            let request = delete(session, &names);
            session.ask_as(case, version, &request, |_, r| {
                let mut r = r.clone();
                r.results.sort_by(|a, b| a.group_id.0.cmp(&b.group_id.0));
                format!("{r:?}")
            });
        }
    }
    for (case, name, topics) in [
        ("unknown group", "none", &[("kept", &[0][..])][..]),
        ("empty group", "", &[("kept", &[0])]),
        ("unknown group, no topics", "none", &[]),
        ("unknown group and topic", "none", &[("nowhere", &[0])]),
    ] {
        let request = forget(session, name, topics);
        session.ask_as(case, 0, &request, tell_forgotten);
    }
}

/// Joins with the subscription of a consumer; the id is masked, the answer recorded.
fn enter(
    session: &mut Session,
    case: &str,
    name: &str,
    topics: &[&str],
    change: impl Fn(JoinGroupRequest) -> JoinGroupRequest,
) -> (String, i32) {
    let topics: Vec<String> = topics.iter().map(|t| session.name(t)).collect();
    let mut request = change(join(session, name, ""));
    request.protocols.iter_mut().for_each(|p| p.metadata = subscription(&topics));
    let mut joined = session.call(9, &request).unwrap();
    let id = joined.member_id.to_string();
    session.mask(&id, &format!("<{case}>"));
    if joined.error_code == 79 {
        joined = session.call(9, &request.with_member_id(s(&id))).unwrap();
    }
    session.record(&format!("{case} joins"), &format!("{joined:?}"));
    (id, joined.generation_id)
}

/// A group in each of its states.
fn life(session: &mut Session) {
    let name = "life";
    let request = commit(session, name, "kept", 0, 5, Some("note"));
    session.call(8, &request);
    described(session, "empty with offsets", &[name]);
    listed(session, "one empty");

    let request = join(session, name, "");
    let id = session.call(9, &request).unwrap().member_id.to_string();
    session.mask(&id, "<pending>");
    described(session, "a member without an answer yet", &[name]);
    let request = delete(session, &[name]);
    session.ask("a member without an answer yet", 2, &request);
    // That deleted the group, or did not.
    described(session, "after deleting with a pending member", &[name]);
    let request = leave(session, name, &id);
    session.ask("pending member", 5, &request);
    let request = commit(session, name, "kept", 0, 5, Some("note"));
    session.call(8, &request);

    let (id, generation) = enter(session, "lone", name, &["kept"], |r| r);
    described(session, "before the assignment", &[name]);
    listed(session, "before the assignment");
    let kept = [(session.name("kept"), &[0, 1][..])];
    let request = named_sync(sync(session, name, generation, &id, &[(&id, &assignment(&kept))]), "consumer", "range");
    session.ask("lone: assigned", 5, &request);
    described(session, "stable", &[name]);
    described(session, "stable twice and unknown", &[name, "none", name]);
    for version in 3..=6 {
        let request = describe(session, &[name]).with_include_authorized_operations(true);
        session.ask_as("stable with operations", version, &request, tell_groups);
    }
    listed(session, "stable");
    for version in all::<DeleteGroupsRequest>() {
        let request = delete(session, &[name]);
        session.ask("stable group", version, &request);
    }
    for (case, topics) in [
        ("subscribed", &[("kept", &[0][..])][..]),
        ("subscribed and other", &[("kept", &[0, 1]), ("other", &[0])]),
        ("not subscribed, without offset", &[("other", &[0])]),
        ("unknown topic", &[("nowhere", &[0])]),
        ("unknown partition", &[("kept", &[9]), ("other", &[9])]),
        ("partition -1", &[("kept", &[-1])]),
        ("no topics", &[]),
        ("no partitions", &[("kept", &[]), ("other", &[])]),
    ] {
        let request = forget(session, name, topics);
        session.ask_as(&format!("stable: {case}"), 0, &request, tell_forgotten);
    }

    session.switch();
    let request = join(session, name, "");
    let second = session.call(9, &request).unwrap().member_id.to_string();
    session.mask(&second, "<second>");
    let mut request = join(session, name, &second);
    let topics = [session.name("kept"), session.name("other")];
    request.protocols.iter_mut().for_each(|p| p.metadata = subscription(&topics));
    session.send(9, &request);
    super::two_clients::let_arrive();
    session.switch();
    described(session, "rebalance", &[name]);
    listed(session, "rebalance");
    let request = delete(session, &[name]);
    session.ask("rebalance", 2, &request);
    let request = forget(session, name, &[("kept", &[0]), ("other", &[0])]);
    session.ask_as("rebalance", 0, &request, tell_forgotten);
    let request = leave(session, name, &id);
    session.ask("first of two leaves in the rebalance", 5, &request);
    session.switch();
    let alone = session.receive::<JoinGroupRequest>(9).unwrap();
    session.record("second joins alone", &format!("{alone:?}"));
    let request = leave(session, name, &second);
    session.ask("the last leaves", 5, &request);
    session.switch();
    described(session, "everyone left", &[name]);
    listed(session, "everyone left");
    let request = old_fetch(session, name, None);
    session.ask_as("everyone left", 7, &request, tell_offsets);
}

/// Static members: DescribeGroups shows them, LeaveGroup takes them out by instance.
fn statics(session: &mut Session) {
    let name = "statics";
    let with = |instance: &'static str| move |r: JoinGroupRequest| r.with_group_instance_id(Some(s(instance)));
    let (first, generation) = enter(session, "static one", name, &["kept"], with("one"));
    let request =
        named_sync(sync(session, name, generation, &first, &[(&first, b"x")]), "consumer", "range").with_group_instance_id(Some(s("one")));
    session.ask("static one assigned", 5, &request);
    described(session, "static member", &[name]);
    for version in 3..=4 {
        let request = heartbeat(session, name, generation, &first).with_group_instance_id(Some(s("one")));
        session.ask("static one", version, &request);
        let request = heartbeat(session, name, generation, "stranger").with_group_instance_id(Some(s("one")));
        session.ask("static one, wrong id", version, &request);
        let request = heartbeat(session, name, generation, "").with_group_instance_id(Some(s("one")));
        session.ask("static one, empty id", version, &request);
        let request = heartbeat(session, name, generation, &first).with_group_instance_id(Some(s("two")));
        session.ask("static one, other instance", version, &request);
        let request = heartbeat(session, name, generation + 1, &first).with_group_instance_id(Some(s("one")));
        session.ask("static one, wrong generation", version, &request);
    }
    for version in 7..=9 {
        for (case, id, instance, generation) in [
            ("good", first.as_str(), "one", generation),
            ("wrong id", "stranger", "one", generation),
            ("empty id", "", "one", generation),
            ("unknown instance", first.as_str(), "two", generation),
            ("wrong generation", first.as_str(), "one", generation + 1),
            ("no generation", first.as_str(), "one", -1),
        ] {
            let request = commit(session, name, "kept", 0, 1, None)
                .with_generation_id_or_member_epoch(generation)
                .with_member_id(s(id))
                .with_group_instance_id(Some(s(instance)));
            session.ask(&format!("static: {case}"), version, &request);
        }
    }
    for (case, instance) in
        [("empty instance", ""), ("instance with a space", "in valid"), ("instance of two dots", ".."), ("long instance", &"i".repeat(250))]
    {
        let request = join(session, &format!("odd-{}", instance.len()), "").with_group_instance_id(Some(s(instance)));
        let joined = session.call(9, &request);
        if let Some(joined) = &joined {
            session.mask(&joined.member_id, &format!("<{case}>"));
        }
        session.record(&format!("JoinGroup v9 static: {case}"), &joined.map_or("closed".to_string(), |j| format!("{j:?}")));
    }
    let gone = |id: &str, instance: Option<&str>| {
        lg::MemberIdentity::default().with_member_id(s(id)).with_group_instance_id(instance.map(s)).with_reason(None)
    };
    for version in 3..=5 {
        for (case, members) in [
            ("unknown instance", vec![gone("", Some("nobody"))]),
            ("wrong id", vec![gone("stranger", Some("one"))]),
            ("neither", vec![gone("", None)]),
            ("empty instance", vec![gone("", Some(""))]),
            ("no members", vec![]),
        ] {
            let request = LeaveGroupRequest::default().with_group_id(group(session, name)).with_members(members);
            session.ask(&format!("static: {case}"), version, &request);
        }
    }
    let request = LeaveGroupRequest::default().with_group_id(group(session, name)).with_members(vec![
        gone("", Some("one")),
        gone("", Some("one")),
        gone(&first, None),
    ]);
    session.ask("static: taken out, twice", 5, &request);
    described(session, "static member taken out", &[name]);
}

/// ListGroups by state and type.
fn filters(session: &mut Session) {
    enter(session, "filtered", "filtered", &["kept"], |r| r);
    for version in 4..=5 {
        for states in [
            &["Empty"][..],
            &["Stable"],
            &["CompletingRebalance"],
            &["PreparingRebalance"],
            &["Dead"],
            &["empty"],
            &["COMPLETINGREBALANCE"],
            &["completing_rebalance"],
            &["Nonsense"],
            &[""],
            &["Empty", "CompletingRebalance"],
            &["Empty", "Nonsense"],
            &["Empty", "Empty"],
            &["Assigning", "Reconciling"],
        ] {
            session.ask_as(&format!("states {states:?}"), version, &list(states, &[]), tell_list);
        }
    }
    for types in [
        &["classic"][..],
        &["consumer"],
        &["Classic"],
        &["share"],
        &["streams"],
        &["nonsense"],
        &[""],
        &["classic", "consumer"],
        &["classic", "nonsense"],
    ] {
        session.ask_as(&format!("types {types:?}"), 5, &list(&[], types), tell_list);
        session.ask_as(&format!("empty groups of types {types:?}"), 5, &list(&["Empty"], types), tell_list);
    }
}

/// OffsetDelete on groups that are not consumers' and on empty ones.
fn offsets_deleted(session: &mut Session) {
    let name = "forgetful";
    for (topic, partition) in [("kept", 0), ("kept", 1), ("kept", 2), ("other", 0)] {
        let request = commit(session, name, topic, partition, 7, None);
        session.call(8, &request);
    }
    for (case, topics) in [
        ("one", &[("kept", &[0][..])][..]),
        ("again", &[("kept", &[0])]),
        ("twice", &[("kept", &[1, 1]), ("kept", &[1])]),
        ("good and bad", &[("kept", &[2, 9]), ("nowhere", &[0]), ("other", &[-1])]),
        ("invalid topic", &[("no where", &[0])]),
        ("no topics", &[]),
    ] {
        let request = forget(session, name, topics);
        session.ask_as(&format!("empty group: {case}"), 0, &request, tell_forgotten);
        let request = old_fetch(session, name, None);
        session.ask_as(&format!("after forgetting: {case}"), 7, &request, tell_offsets);
    }
    let request = forget(session, name, &[("other", &[0])]);
    session.ask_as("empty group: the last", 0, &request, tell_forgotten);
    described(session, "without offsets", &[name]);

    for (name, kind) in [("workers", "connect"), ("garbage", "consumer")] {
        let request = commit(session, name, "kept", 0, 7, None);
        session.call(8, &request);
        // The metadata says nothing of topics.
        let request = join(session, name, "").with_protocol_type(s(kind));
        let id = session.call(9, &request).unwrap().member_id.to_string();
        session.mask(&id, &format!("<{name}>"));
        let joined = session.call(9, &request.with_member_id(s(&id))).unwrap();
        let request = named_sync(sync(session, name, joined.generation_id, &id, &[(&id, b"work")]), kind, "range");
        session.ask(&format!("{name} assigned"), 5, &request);
        described(session, name, &[name]);
        let request = forget(session, name, &[("kept", &[0])]);
        session.ask_as(&format!("members of {name}"), 0, &request, tell_forgotten);
        let request = leave(session, name, &id);
        session.ask(&format!("of {name}"), 5, &request);
        described(session, &format!("{name} left"), &[name]);
        let request = forget(session, name, &[("kept", &[0])]);
        session.ask_as(&format!("{name} left"), 0, &request, tell_forgotten);
    }
}

/// DeleteGroups: what it deletes is gone, a new group of the name begins anew.
fn deleted(session: &mut Session) {
    for version in all::<DeleteGroupsRequest>() {
        let name = format!("doomed-{version}");
        let request = commit(session, &name, "kept", 0, 7, None);
        session.call(8, &request);
        let request = delete(session, &[&name]);
        session.ask("empty", version, &request);
        session.ask("again", version, &request);
        let request: OffsetFetchRequest = old_fetch(session, &name, None);
        session.ask_as(&format!("deleted v{version}"), 7, &request, tell_offsets);
        described(session, &format!("deleted v{version}"), &[&name]);
    }
    for name in ["pile-1", "pile-2"] {
        let request = commit(session, name, "kept", 0, 7, None);
        session.call(8, &request);
    }
    let request = delete(session, &["pile-1", "pile-2", "pile-1", "none", "filtered", ""]);
    session.ask_as("several", 2, &request, |_, r| {
        let mut r = r.clone();
        r.results.sort_by(|a, b| (&a.group_id.0, a.error_code).cmp(&(&b.group_id.0, b.error_code)));
        format!("{r:?}")
    });
    let (id, generation) = enter(session, "anew", "doomed-0", &["kept"], |r| r);
    let request = heartbeat(session, "doomed-0", generation, &id);
    session.ask("anew", 4, &request);
    let request = leave(session, "doomed-0", &id);
    session.ask("anew", 5, &request);
    listed(session, "at the end");
    let strange = DeleteGroupsRequest::default().with_groups_names(vec![GroupId(s(&"g".repeat(3000)))]);
    session.ask_as("long name", 2, &strange, |_, r| format!("{}", r.results[0].error_code));
}

/// Which protocol two members agree on, and when a rejoin makes a new generation.
fn choices(session: &mut Session) {
    let name = "choice";
    let protocols = |r: JoinGroupRequest, names: &[&str]| {
        let old = r.protocols[0].clone();
        r.with_protocols(names.iter().map(|n| old.clone().with_name(s(n))).collect())
    };
    let (first, _) = enter(session, "chooser", name, &["kept"], |r| protocols(r, &["a", "b", "c"]));
    let request = named_sync(sync(session, name, 1, &first, &[]), "consumer", "a");
    session.ask("chooser alone", 5, &request);
    session.switch();
    let request = protocols(join(session, name, ""), &["c", "b"]);
    let second = session.call(9, &request).unwrap().member_id.to_string();
    session.mask(&second, "<other chooser>");
    session.send(9, &request.clone().with_member_id(s(&second)));
    super::two_clients::let_arrive();
    session.switch();
    let request = protocols(join(session, name, &first), &["a", "b", "c"]);
    let joined = session.call(9, &request).unwrap();
    super::two_clients::tell(session, "chooser: with the other", &Some(joined));
    session.switch();
    let joined = session.receive::<JoinGroupRequest>(9);
    super::two_clients::tell(session, "other chooser", &joined);
    // Nobody has been assigned anything yet.
    let again = session.call(9, &protocols(join(session, name, &second), &["c", "b"]));
    session.switch();
    super::two_clients::tell(session, "other chooser again before the assignment", &again);
    let sync_first = named_sync(sync(session, name, 2, &first, &[(&first, b"1"), (&second, b"2")]), "consumer", "b");
    session.ask("chooser assigns", 5, &sync_first);
    for version in [2, 5] {
        let request = sync(session, name, 2, &second, &[]);
        let request = if version == 5 { named_sync(request, "consumer", "b") } else { request };
        session.ask("other chooser", version, &request);
    }
    // A follower whose metadata changes makes a new generation; nobody else answers, so the first of the two leaves.
    session.switch();
    let topics = [session.name("kept"), session.name("other")];
    let mut changed = protocols(join(session, name, &second), &["c", "b"]);
    changed.protocols.iter_mut().for_each(|p| p.metadata = subscription(&topics));
    session.send(9, &changed);
    super::two_clients::let_arrive();
    session.switch();
    let request = heartbeat(session, name, 2, &first);
    session.ask("after the other's change", 4, &request);
    let request = leave(session, name, &first);
    session.ask("chooser", 5, &request);
    session.switch();
    let joined = session.receive::<JoinGroupRequest>(9);
    super::two_clients::tell(session, "other chooser, changed and alone", &joined);
    let request = leave(session, name, &second);
    session.ask("other chooser", 5, &request);
    session.switch();
}
