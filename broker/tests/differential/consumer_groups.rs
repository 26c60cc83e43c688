//! Groups of the consumer protocol (KIP-848): ConsumerGroupHeartbeat and ConsumerGroupDescribe, and what the other APIs say of such groups.

use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
    DescribeGroupsRequest, ListGroupsRequest, OffsetFetchRequest, TopicName, consumer_group_describe_response as cd,
    consumer_group_heartbeat_request as ch,
};
use uuid::Uuid;

use super::group_admin::{delete, describe, forget, join, list, tell_forgotten, tell_list};
use super::groups::{commit, group, heartbeat, leave, named_sync, new_fetch, sync, tell as tell_offsets};
use super::session::{Session, all, s};

/// Topics of this file: name and id.
struct Topics {
    three: Uuid,
    two: Uuid,
}

/// All of this file.
pub fn cases(session: &mut Session) {
    if !session.serves(68, 0) {
        session.skip_the_rest();
        return;
    }
    let topics = Topics { three: session.create("three", 3, &[]), two: session.create("two", 2, &[]) };
    session.mask(&topics.three.to_string(), "<id of three>");
    session.mask(&topics.two.to_string(), "<id of two>");
    strangers(session);
    joins(session, &topics);
    for version in all::<ConsumerGroupHeartbeatRequest>() {
        alone(session, &topics, version);
    }
    pair(session, &topics);
    spread(session);
    statics(session, &topics);
}

/// A heartbeat that says nothing new.
pub fn beat(session: &Session, name: &str, member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group(session, name))
        .with_member_id(s(member))
        .with_member_epoch(epoch)
        .with_rebalance_timeout_ms(-1)
        .with_subscribed_topic_names(None)
        .with_topic_partitions(None)
}

/// A heartbeat that joins.
pub fn enter(session: &Session, name: &str, member: &str, topics: &[&str]) -> ConsumerGroupHeartbeatRequest {
    beat(session, name, member, 0)
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(topics.iter().map(|t| session.topic(t)).collect()))
        .with_topic_partitions(Some(vec![]))
}

/// The partitions that a member says it has.
pub fn owned(topics: &[(Uuid, &[i32])]) -> Option<Vec<ch::TopicPartitions>> {
    let one = |(id, partitions): &(Uuid, &[i32])| ch::TopicPartitions::default().with_topic_id(*id).with_partitions(partitions.to_vec());
    Some(topics.iter().map(one).collect())
}

/// Topics and partitions in order.
pub fn tell(session: &Session, response: &ConsumerGroupHeartbeatResponse) -> String {
    let mut response = response.clone();
    if let Some(assignment) = &mut response.assignment {
        assignment.topic_partitions.iter_mut().for_each(|t| t.partitions.sort_unstable());
        assignment.topic_partitions.sort_by_key(|t| session.masked(&t.topic_id.to_string()));
    }
    format!("{response:?}")
}

fn in_order(assignment: &mut cd::Assignment) {
    assignment.topic_partitions.iter_mut().for_each(|t| t.partitions.sort_unstable());
    assignment.topic_partitions.sort_by(|a, b| a.topic_name.cmp(&b.topic_name));
}

/// Members in order of their masked ids.
pub fn tell_described(session: &Session, response: &ConsumerGroupDescribeResponse) -> String {
    let mut response = response.clone();
    for group in &mut response.groups {
        group.members.sort_by_key(|m| session.masked(&m.member_id));
        for member in &mut group.members {
            in_order(&mut member.assignment);
            in_order(&mut member.target_assignment);
            member.subscribed_topic_names.sort();
        }
    }
    response.groups.sort_by(|a, b| a.group_id.0.cmp(&b.group_id.0));
    format!("{response:?}")
}

/// A ConsumerGroupDescribe request.
pub fn look(session: &Session, names: &[&str]) -> ConsumerGroupDescribeRequest {
    ConsumerGroupDescribeRequest::default().with_group_ids(names.iter().map(|n| group(session, n)).collect())
}

/// What every API that shows groups shows of this one.
pub fn shown(session: &mut Session, case: &str, name: &str) {
    for version in all::<ConsumerGroupDescribeRequest>() {
        let request = look(session, &[name]);
        session.ask_as(case, version, &request, tell_described);
    }
    for version in [0, 5, 6] {
        let request: DescribeGroupsRequest = describe(session, &[name]);
        session.ask_as(case, version, &request, super::group_admin::tell_groups);
    }
    let full = session.group_name(name);
    for version in [3, 5] {
        session.ask_as(case, version, &list(&[], &[]), |session, r| {
            let mut r = r.clone();
            r.groups.retain(|g| g.group_id.0.as_str() == full);
            tell_list(session, &r)
        });
    }
}

fn strangers(session: &mut Session) {
    let request = commit(session, "classic", "three", 0, 1, None);
    session.call(8, &request);
    for version in all::<ConsumerGroupDescribeRequest>() {
        for (case, names) in [
            ("unknown group", vec!["none"]),
            ("empty group", vec![""]),
            ("no groups", vec![]),
            ("unknown twice", vec!["none", "none"]),
            ("classic group", vec!["classic"]),
        ] {
            let request = look(session, &names);
            session.ask_as(case, version, &request, tell_described);
        }
        let request = look(session, &["none", "classic"]).with_include_authorized_operations(true);
        session.ask_as("with operations", version, &request, tell_described);
    }
    for version in all::<ConsumerGroupHeartbeatRequest>() {
        for (case, name, member, epoch) in [
            ("empty group", "", "m", 0),
            ("unknown group, epoch 1", "none", "m", 1),
            ("unknown group, epoch -1", "none", "m", -1),
            ("unknown group, epoch -2", "none", "m", -2),
            ("unknown group, epoch -3", "none", "m", -3),
            ("unknown group, empty member, epoch 1", "none", "", 1),
            ("unknown group, empty member, epoch -1", "none", "", -1),
            ("classic group, epoch 1", "classic", "m", 1),
            ("classic group, epoch -1", "classic", "m", -1),
        ] {
            let request = beat(session, name, member, epoch);
            session.ask_as(case, version, &request, tell);
        }
        let request = beat(session, "none", "m", -2).with_instance_id(Some(s("i")));
        session.ask_as("unknown group, epoch -2 of an instance", version, &request, tell);
        let mut request = enter(session, "none", "m", &["three"]);
        request.group_id = kafka_protocol::messages::GroupId(s("  "));
        session.ask_as("blank group", version, &request, tell);
    }
}

/// Joins that are not well-formed, and some that are, each in a group of its own.
fn joins(session: &mut Session, topics: &Topics) {
    type Change = fn(&Session, &Topics, ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatRequest;
    let cases: Vec<(&str, Change)> = vec![
        ("empty member", |_, _, r| r.with_member_id(s(""))),
        ("blank member", |_, _, r| r.with_member_id(s("  "))),
        ("long member", |_, _, r| r.with_member_id(s(&"m".repeat(300)))),
        ("without rebalance timeout", |_, _, r| r.with_rebalance_timeout_ms(-1)),
        ("rebalance timeout 0", |_, _, r| r.with_rebalance_timeout_ms(0)),
        ("rebalance timeout -2", |_, _, r| r.with_rebalance_timeout_ms(-2)),
        ("null topics", |_, _, r| r.with_subscribed_topic_names(None)),
        ("no topics", |_, _, r| r.with_subscribed_topic_names(Some(vec![]))),
        ("null partitions", |_, _, r| r.with_topic_partitions(None)),
        ("partitions already", |_, t, r| r.with_topic_partitions(owned(&[(t.three, &[0])]))),
        ("empty instance", |_, _, r| r.with_instance_id(Some(s("")))),
        ("blank instance", |_, _, r| r.with_instance_id(Some(s("  ")))),
        ("empty rack", |_, _, r| r.with_rack_id(Some(s("")))),
        ("blank rack", |_, _, r| r.with_rack_id(Some(s(" ")))),
        ("rack", |_, _, r| r.with_rack_id(Some(s("r")))),
        ("unknown assignor", |_, _, r| r.with_server_assignor(Some(s("sticky")))),
        ("empty assignor", |_, _, r| r.with_server_assignor(Some(s("")))),
        ("assignor in capitals", |_, _, r| r.with_server_assignor(Some(s("Range")))),
        ("assignor range", |_, _, r| r.with_server_assignor(Some(s("range")))),
        ("assignor uniform", |_, _, r| r.with_server_assignor(Some(s("uniform")))),
        ("unknown topic", |session, _, r| r.with_subscribed_topic_names(Some(vec![session.topic("nowhere")]))),
        ("invalid topic", |_, _, r| r.with_subscribed_topic_names(Some(vec![TopicName(s("no where"))]))),
        ("empty topic", |_, _, r| r.with_subscribed_topic_names(Some(vec![TopicName(s(""))]))),
        ("topic twice", |session, _, r| r.with_subscribed_topic_names(Some(vec![session.topic("three"), session.topic("three")]))),
        ("two topics", |session, _, r| r.with_subscribed_topic_names(Some(vec![session.topic("three"), session.topic("two")]))),
        ("internal topic", |_, _, r| r.with_subscribed_topic_names(Some(vec![TopicName(s("__consumer_offsets"))]))),
    ];
    for version in all::<ConsumerGroupHeartbeatRequest>() {
        for (case, change) in &cases {
            let name = format!("{}-{version}", case.replace(' ', "-"));
            let request = change(session, topics, enter(session, &name, "m", &["three"]));
            session.ask_as(&format!("join: {case}"), version, &request, |session, r| {
                let mut r = r.clone();
                if *case == "empty member" && r.error_code == 0 {
                    r.member_id = r.member_id.map(|id| s(&format!("<{} letters>", id.len())));
                }
                if *case == "internal topic" {
                    // Its id is that of the broker.
                    return format!("{} {}", r.error_code, r.assignment.is_some_and(|a| a.topic_partitions.len() == 1));
                }
                tell(session, &r)
            });
        }
    }
    let regexes: Vec<(&str, Option<&str>, Option<&[&str]>)> = vec![
        ("empty regex", Some(""), None),
        ("empty regex and topics", Some(""), Some(&["three"])),
        ("null regex and no topics", None, Some(&[])),
        ("invalid regex", Some("(three"), None),
        ("regex with a back-reference", Some("(t)\\1"), None),
        ("regex with look-ahead", Some("(?=t)three"), None),
        ("regex with a bad class", Some("[z-a]"), None),
        ("regex with a lone star", Some("*"), None),
        ("regex with a named group", Some("(?P<n>t)hree"), None),
        ("invalid regex and topics", Some("(three"), Some(&["three"])),
    ];
    for (case, regex, topics) in regexes {
        let names = topics.map(|t| t.iter().map(|t| session.topic(t)).collect());
        let request =
            enter(session, &case.replace(' ', "-"), "m", &[]).with_subscribed_topic_names(names).with_subscribed_topic_regex(regex.map(s));
        session.ask_as(&format!("join: {case}"), 1, &request, tell);
    }
}

/// What of an answer goes into the next request.
fn epoch_of(answer: &Option<ConsumerGroupHeartbeatResponse>) -> i32 {
    answer.as_ref().map_or(0, |a| a.member_epoch)
}

/// One member through its life.
fn alone(session: &mut Session, topics: &Topics, version: i16) {
    let name = &format!("alone-{version}");
    let id = "lone";
    let case = |text: &str| format!("alone: {text}");
    let request = enter(session, name, id, &["three"]);
    let answer = session.ask_as(&case("joins"), version, &request, tell);
    let epoch = epoch_of(&answer);
    session.record(&format!("alone: epoch v{version}"), &format!("{epoch}"));
    shown(session, &format!("alone, joined v{version}"), name);
    let request = beat(session, name, id, epoch).with_topic_partitions(owned(&[(topics.three, &[0, 1, 2])]));
    session.ask_as(&case("has what it was given"), version, &request, tell);
    let request = enter(session, name, id, &["three"]);
    let answer = session.ask_as(&case("joins again"), version, &request, tell);
    let epoch = epoch_of(&answer);
    for (text, member, epoch) in [
        ("nothing new", id, epoch),
        ("stale epoch", id, epoch - 1),
        ("very stale epoch", id, epoch - 2),
        ("future epoch", id, epoch + 1),
        ("epoch -3", id, -3),
        ("epoch -2 without instance", id, -2),
        ("stranger", "stranger", epoch),
        ("stranger leaves", "stranger", -1),
        ("stranger leaves for a while", "stranger", -2),
        ("empty member", "", epoch),
    ] {
        let request = beat(session, name, member, epoch);
        session.ask_as(&case(text), version, &request, tell);
    }
    let strange = Uuid::from_u128(0x1234_5678_1234_5678_1234_5678_1234_5678);
    type Change = Box<dyn Fn(ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatRequest>;
    let (three, two) = (topics.three, topics.two);
    let changes: Vec<(&str, Change)> = vec![
        ("everything", Box::new(move |r| r.with_rebalance_timeout_ms(50_000).with_topic_partitions(owned(&[(three, &[0, 1, 2])])))),
        ("has less", Box::new(move |r| r.with_topic_partitions(owned(&[(three, &[1])])))),
        ("has more", Box::new(move |r| r.with_topic_partitions(owned(&[(three, &[0, 1, 2, 3]), (two, &[0])])))),
        ("has of an unknown topic", Box::new(move |r| r.with_topic_partitions(owned(&[(strange, &[0])])))),
        ("has partition -1", Box::new(move |r| r.with_topic_partitions(owned(&[(three, &[-1])])))),
        ("has a partition twice", Box::new(move |r| r.with_topic_partitions(owned(&[(three, &[0, 0]), (three, &[0])])))),
        ("unknown assignor", Box::new(|r| r.with_server_assignor(Some(s("sticky"))))),
        ("empty rack", Box::new(|r| r.with_rack_id(Some(s(""))))),
        ("instance appears", Box::new(|r| r.with_instance_id(Some(s("i"))))),
        ("empty instance", Box::new(|r| r.with_instance_id(Some(s(""))))),
    ];
    for (text, change) in changes {
        let request = change(beat(session, name, id, epoch));
        session.ask_as(&case(text), version, &request, tell);
    }
    if version >= 1 {
        let request = beat(session, name, id, epoch).with_subscribed_topic_regex(Some(s("(")));
        session.ask_as(&case("invalid regex"), version, &request, tell);
    }
    others(session, name, id, epoch, version);

    let request = beat(session, name, id, epoch).with_subscribed_topic_names(Some(vec![session.topic("two")]));
    let answer = session.ask_as(&case("wants another topic"), version, &request, tell);
    shown(session, &format!("alone, changing v{version}"), name);
    let request = beat(session, name, id, epoch_of(&answer)).with_topic_partitions(owned(&[]));
    let answer = session.ask_as(&case("gave up the first"), version, &request, tell);
    let request = beat(session, name, id, epoch_of(&answer)).with_topic_partitions(owned(&[(two, &[0, 1])]));
    let answer = session.ask_as(&case("has the other"), version, &request, tell);
    let request = beat(session, name, id, epoch_of(&answer)).with_server_assignor(Some(s("range")));
    let answer = session.ask_as(&case("another assignor"), version, &request, tell);
    shown(session, &format!("alone, another assignor v{version}"), name);
    let request = beat(session, name, id, epoch_of(&answer)).with_subscribed_topic_names(Some(vec![]));
    let answer = session.ask_as(&case("wants nothing"), version, &request, tell);
    let request = beat(session, name, id, epoch_of(&answer)).with_topic_partitions(owned(&[]));
    session.ask_as(&case("has nothing"), version, &request, tell);
    let request = beat(session, name, id, -1);
    session.ask_as(&case("leaves"), version, &request, tell);
    session.ask_as(&case("leaves again"), version, &request, tell);
    let request = beat(session, name, id, epoch);
    session.ask_as(&case("after leaving"), version, &request, tell);
    shown(session, &format!("alone, left v{version}"), name);
    let request = commit(session, name, "three", 1, 3, None);
    session.ask(&format!("alone, left v{version}"), 9, &request);
    let request = forget(session, name, &[("three", &[0])]);
    session.ask_as(&format!("alone, left v{version}"), 0, &request, tell_forgotten);
    let request = delete(session, &[name]);
    session.ask(&format!("alone, left v{version}"), 2, &request);
    session.ask(&format!("alone, deleted v{version}"), 2, &request);
    shown(session, &format!("alone, deleted v{version}"), name);
}

/// The APIs of offsets and of classic members, on a group of this protocol with one member.
fn others(session: &mut Session, name: &str, id: &str, epoch: i32, version: i16) {
    let case = |text: &str| format!("alone v{version}: {text}");
    for commit_v in [5, 8, 9] {
        for (text, member, epoch) in [
            ("good", id, epoch),
            ("stale epoch", id, epoch - 1),
            ("future epoch", id, epoch + 1),
            ("epoch -1", id, -1),
            ("stranger", "stranger", epoch),
            ("no member", "", -1),
            ("empty member", "", epoch),
        ] {
            let request =
                commit(session, name, "three", 0, 5, Some(text)).with_member_id(s(member)).with_generation_id_or_member_epoch(epoch);
            session.ask(&case(text), commit_v, &request);
        }
    }
    let wanted: &[(&str, &[i32])] = &[("three", &[0, 1])];
    for (text, member, epoch) in [
        ("good", Some(id), epoch),
        ("stale epoch", Some(id), epoch - 1),
        ("future epoch", Some(id), epoch + 1),
        ("epoch -1", Some(id), -1),
        ("stranger", Some("stranger"), epoch),
        ("no member", None, -1),
        ("empty member", Some(""), epoch),
    ] {
        let mut request: OffsetFetchRequest = new_fetch(session, &[(name, Some(wanted))]);
        request.groups[0].member_id = member.map(s);
        request.groups[0].member_epoch = epoch;
        session.ask_as(&case(text), 9, &request, tell_offsets);
    }
    let request = new_fetch(session, &[(name, None)]);
    session.ask_as(&case("all topics"), 8, &request, tell_offsets);
    for (text, topics) in
        [("subscribed", &[("three", &[0][..])][..]), ("other topic", &[("two", &[0])]), ("unknown topic", &[("nowhere", &[0])])]
    {
        let request = forget(session, name, topics);
        session.ask_as(&case(text), 0, &request, tell_forgotten);
    }
    let request = delete(session, &[name]);
    session.ask(&case("not empty"), 2, &request);
    for (text, member, epoch) in [("member", id, epoch), ("stranger", "stranger", epoch), ("empty member", "", epoch)] {
        let request = heartbeat(session, name, epoch, member);
        session.ask(&case(text), 4, &request);
        let request = named_sync(sync(session, name, epoch, member, &[]), "consumer", "range");
        session.ask(&case(text), 5, &request);
    }
    let request = leave(session, name, "stranger");
    session.ask(&case("stranger"), 5, &request);
    let request = join(session, name, "stranger").with_protocol_type(s("connect"));
    session.ask(&case("worker"), 9, &request);
    for states in [&["Stable"][..], &["stable"], &["Empty"], &["Assigning"], &["Reconciling"]] {
        let request = list(states, &["consumer"]);
        let full = session.group_name(name);
        session.ask_as::<ListGroupsRequest>(&case(&format!("{states:?}")), 5, &request, |session, r| {
            let mut r = r.clone();
            r.groups.retain(|g| g.group_id.0.as_str() == full);
            tell_list(session, &r)
        });
    }
    let request = look(session, &[name]).with_include_authorized_operations(true);
    session.ask_as(&case("operations"), 1, &request, tell_described);
}

/// Two members share a topic by the range assignor: what one has to give up, the other gets only after it was given up.
fn pair(session: &mut Session, topics: &Topics) {
    let name = "pair";
    let id = topics.three;
    let ranged = |r: ConsumerGroupHeartbeatRequest| r.with_server_assignor(Some(s("range")));
    let request = ranged(enter(session, name, "a", &["three"]));
    let answer = session.ask_as("pair: a joins", 1, &request, tell);
    let mut a = epoch_of(&answer);
    let request = beat(session, name, "a", a).with_topic_partitions(owned(&[(id, &[0, 1, 2])]));
    session.ask_as("pair: a has all", 1, &request, tell);
    let request = ranged(enter(session, name, "b", &["three"]));
    let answer = session.ask_as("pair: b joins", 1, &request, tell);
    let mut b = epoch_of(&answer);
    shown(session, "pair, b joined", name);
    let request = beat(session, name, "b", b).with_topic_partitions(owned(&[]));
    let answer = session.ask_as("pair: b waits", 1, &request, tell);
    b = epoch_of(&answer);
    let request = beat(session, name, "a", a);
    let answer = session.ask_as("pair: a has to give up", 1, &request, tell);
    a = epoch_of(&answer);
    shown(session, "pair, a gives up", name);
    let request = beat(session, name, "a", a).with_topic_partitions(owned(&[(id, &[0, 1, 2])]));
    let answer = session.ask_as("pair: a still has it", 1, &request, tell);
    a = epoch_of(&answer);
    let request = commit(session, name, "three", 2, 9, None).with_member_id(s("a")).with_generation_id_or_member_epoch(a);
    session.ask("pair: a before giving up", 9, &request);
    let request = beat(session, name, "b", b).with_topic_partitions(owned(&[]));
    let answer = session.ask_as("pair: b waits on", 1, &request, tell);
    b = epoch_of(&answer);
    let old = a;
    let request = beat(session, name, "a", a).with_topic_partitions(owned(&[(id, &[0, 1])]));
    let answer = session.ask_as("pair: a gave up", 1, &request, tell);
    a = epoch_of(&answer);
    let request = beat(session, name, "a", old).with_topic_partitions(owned(&[(id, &[0, 1])]));
    session.ask_as("pair: a's answer was lost", 1, &request, tell);
    let request = beat(session, name, "b", b).with_topic_partitions(owned(&[]));
    let answer = session.ask_as("pair: b gets it", 1, &request, tell);
    b = epoch_of(&answer);
    let request = beat(session, name, "b", b).with_topic_partitions(owned(&[(id, &[2])]));
    session.ask_as("pair: b has it", 1, &request, tell);
    shown(session, "pair, settled", name);
    for (case, member, epoch) in [("a", "a", a), ("b", "b", b), ("a, old epoch", "a", old)] {
        let request = commit(session, name, "three", 0, 5, None).with_member_id(s(member)).with_generation_id_or_member_epoch(epoch);
        session.ask(&format!("pair, settled: {case}"), 9, &request);
    }
    let request = beat(session, name, "b", -1);
    session.ask_as("pair: b leaves", 1, &request, tell);
    let request = beat(session, name, "a", a);
    let answer = session.ask_as("pair: a gets it back", 1, &request, tell);
    a = epoch_of(&answer);
    let request = beat(session, name, "a", a).with_topic_partitions(owned(&[(id, &[0, 1, 2])]));
    session.ask_as("pair: a has all again", 1, &request, tell);
    shown(session, "pair, b left", name);
    // New partitions of a topic and a new topic of the subscription are seen without being asked for; when, is up to the broker.
    let request = beat(session, name, "a", -1);
    session.ask_as("pair: a leaves", 1, &request, tell);
}

/// Three members by the uniform assignor: how many each gets, whichever.
fn spread(session: &mut Session) {
    let name = "spread";
    session.create("eight", 8, &[]);
    let mut epochs = [0; 3];
    let mut has: [Vec<(Uuid, Vec<i32>)>; 3] = [vec![], vec![], vec![]];
    for (joined, id) in ["a", "b", "c"].into_iter().enumerate() {
        let request = enter(session, name, id, &["eight"]);
        let answer = session.call(1, &request);
        take(&answer, &mut epochs[joined], &mut has[joined]);
        // Every member tells what it has and takes what it is told until nobody is told anything new.
        for _ in 0..6 {
            for (at, id) in ["a", "b", "c"].into_iter().enumerate().take(joined + 1) {
                let mine: Vec<(Uuid, &[i32])> = has[at].iter().map(|(t, p)| (*t, p.as_slice())).collect();
                let request = beat(session, name, id, epochs[at]).with_topic_partitions(owned(&mine));
                let answer = session.call(1, &request);
                take(&answer, &mut epochs[at], &mut has[at]);
            }
        }
        let mut all: Vec<i32> = has.iter().flatten().flat_map(|(_, p)| p.clone()).collect();
        all.sort_unstable();
        let mut counts: Vec<usize> = has.iter().take(joined + 1).map(|t| t.iter().map(|(_, p)| p.len()).sum()).collect();
        counts.sort_unstable();
        let agreed = epochs[..=joined].iter().all(|e| *e == epochs[0]);
        session.record(&format!("spread: {} members", joined + 1), &format!("{counts:?} {all:?} of one epoch {agreed}"));
    }
}

fn take(answer: &Option<ConsumerGroupHeartbeatResponse>, epoch: &mut i32, has: &mut Vec<(Uuid, Vec<i32>)>) {
    let answer = answer.as_ref().unwrap();
    assert_eq!(answer.error_code, 0, "{answer:?}");
    *epoch = answer.member_epoch;
    if let Some(assignment) = &answer.assignment {
        *has = assignment.topic_partitions.iter().map(|t| (t.topic_id, t.partitions.clone())).collect();
    }
}

/// Static members: away for a while, back under another member id, twice at once.
fn statics(session: &mut Session, topics: &Topics) {
    let name = "statics";
    for version in all::<ConsumerGroupHeartbeatRequest>() {
        let name = &format!("{name}-{version}");
        let case = |text: &str| format!("static: {text}");
        let with = |r: ConsumerGroupHeartbeatRequest| r.with_instance_id(Some(s("i-1")));
        let request = with(enter(session, name, "one", &["three"]));
        let answer = session.ask_as(&case("joins"), version, &request, tell);
        let epoch = epoch_of(&answer);
        let request = with(beat(session, name, "one", epoch)).with_topic_partitions(owned(&[(topics.three, &[0, 1, 2])]));
        session.ask_as(&case("has all"), version, &request, tell);
        shown(session, &format!("static v{version}"), name);
        let request = with(enter(session, name, "two", &["three"]));
        session.ask_as(&case("another of the instance while the first is there"), version, &request, tell);
        let request = with(beat(session, name, "two", epoch));
        session.ask_as(&case("wrong member of the instance"), version, &request, tell);
        let request = beat(session, name, "one", epoch);
        session.ask_as(&case("without its instance"), version, &request, tell);
        let request = beat(session, name, "one", epoch).with_instance_id(Some(s("i-2")));
        session.ask_as(&case("with another instance"), version, &request, tell);
        let request = with(beat(session, name, "one", epoch + 3));
        session.ask_as(&case("future epoch"), version, &request, tell);
        let request = with(beat(session, name, "two", -2));
        session.ask_as(&case("another member leaves for a while"), version, &request, tell);
        let request = beat(session, name, "one", -2).with_instance_id(Some(s("i-2")));
        session.ask_as(&case("another instance leaves for a while"), version, &request, tell);
        let request = with(beat(session, name, "one", -2));
        session.ask_as(&case("leaves for a while"), version, &request, tell);
        session.ask_as(&case("leaves for a while again"), version, &request, tell);
        shown(session, &format!("static, away v{version}"), name);
        let request = with(beat(session, name, "one", epoch));
        session.ask_as(&case("heartbeat while away"), version, &request, tell);
        let request = with(enter(session, name, "two", &["three"]));
        let answer = session.ask_as(&case("back under another id"), version, &request, tell);
        let epoch = epoch_of(&answer);
        shown(session, &format!("static, back v{version}"), name);
        let request = with(beat(session, name, "one", epoch));
        session.ask_as(&case("the first id"), version, &request, tell);
        let request = with(beat(session, name, "one", -1));
        session.ask_as(&case("the first id leaves"), version, &request, tell);
        let request = commit(session, name, "three", 0, 5, None)
            .with_member_id(s("two"))
            .with_group_instance_id(Some(s("i-1")))
            .with_generation_id_or_member_epoch(epoch);
        session.ask(&format!("static v{version}: good"), 9, &request);
        session.ask(&format!("static v{version}: wrong instance"), 9, &request.with_group_instance_id(Some(s("i-2"))));
        let request = with(beat(session, name, "two", -1));
        session.ask_as(&case("leaves for good"), version, &request, tell);
        shown(session, &format!("static, left v{version}"), name);
    }
}
