//! Groups of the consumer protocol whose members subscribe by expression, and groups that change from one protocol to the other.

use std::time::{Duration, Instant};

use kafka_protocol::messages::{ConsumerGroupHeartbeatResponse, JoinGroupRequest, JoinGroupResponse};

use super::consumer_groups::{beat, enter, owned, shown, tell};
use super::group_admin::{assignment, join, subscription};
use super::groups::{commit, heartbeat, leave, named_sync, sync};
use super::session::{Session, s};
use crate::common;

/// All of this file.
pub fn cases(session: &mut Session) {
    if !session.serves(68, 1) {
        session.skip_the_rest();
        return;
    }
    let two = session.create("moved", 2, &[]);
    session.mask(&two.to_string(), "<id of moved>");
    expressions(session);
    empty_groups(session);
    upgrade(session);
    stray(session);
}

/// Beats until the member has been assigned something, or nothing, whichever is awaited.
fn until(session: &mut Session, name: &str, member: &str, epoch: &mut i32, some: bool) -> ConsumerGroupHeartbeatResponse {
    let deadline = Instant::now() + common::PATIENCE;
    loop {
        let request = beat(session, name, member, *epoch);
        let answer = session.call(1, &request).unwrap();
        assert_eq!(answer.error_code, 0, "{answer:?}");
        *epoch = answer.member_epoch;
        if answer.assignment.as_ref().is_some_and(|a| a.topic_partitions.is_empty() != some) {
            return answer;
        }
        assert!(Instant::now() < deadline, "{answer:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The topics that an expression stands for are found behind the answers.
fn expressions(session: &mut Session) {
    session.create("moved-too", 1, &[]);
    for (case, pattern, there) in [
        ("whole name", session.name("moved"), true),
        ("with a choice", format!("{}(moved|nothing)", session.name("")), true),
        ("not anchored", session.name("move"), false),
        ("of nothing", session.name("nothing.*"), false),
    ] {
        let name = format!("expression {case}").replace(' ', "-");
        let request = enter(session, &name, "m", &[]).with_subscribed_topic_names(None).with_subscribed_topic_regex(Some(s(&pattern)));
        let answer = session.ask_as(&format!("expression {case}"), 1, &request, tell).unwrap();
        if there {
            let mut epoch = answer.member_epoch;
            let at_once = answer.assignment.as_ref().is_some_and(|a| !a.topic_partitions.is_empty());
            let answer = if at_once { answer } else { until(session, &name, "m", &mut epoch, true) };
            let topics = format!("{:?}", answer.assignment);
            session.record(&format!("expression {case}: assigned"), &topics);
            shown(session, &format!("expression {case}"), &name);
            let request = beat(session, &name, "m", epoch).with_subscribed_topic_regex(Some(s("(")));
            session.ask_as(&format!("expression {case}, then invalid"), 1, &request, tell);
        }
        let request = beat(session, &name, "m", -1);
        session.ask_as(&format!("expression {case}, leaves"), 1, &request, tell);
    }
}

/// An empty group takes the protocol of whoever joins.
fn empty_groups(session: &mut Session) {
    let request = commit(session, "turn", "moved", 0, 4, Some("kept"));
    session.call(8, &request);
    let request = enter(session, "turn", "m", &["moved"]);
    session.ask_as("turn: joins an empty classic group", 1, &request, tell);
    shown(session, "turned", "turn");
    let request = super::groups::old_fetch(session, "turn", None);
    session.ask_as("turned", 7, &request, super::groups::tell);
    let request = beat(session, "turn", "m", -1);
    session.ask_as("turn: leaves", 1, &request, tell);
    let request = join(session, "turn", "");
    let id = session.call(9, &request).unwrap().member_id.to_string();
    session.mask(&id, "<turned back>");
    let joined = session.call(9, &request.with_member_id(s(&id)));
    session.record("turned back", &format!("{joined:?}"));
    shown(session, "turned back", "turn");
    let request = leave(session, "turn", &id);
    session.ask("turned back", 5, &request);

    // A group of workers with a member stays what it is.
    let request = join(session, "workers", "").with_protocol_type(s("connect"));
    let id = session.call(9, &request).unwrap().member_id.to_string();
    session.mask(&id, "<worker>");
    session.call(9, &request.with_member_id(s(&id)));
    let request = enter(session, "workers", "m", &["moved"]);
    session.ask_as("turn: joins workers", 1, &request, tell);
    let request = leave(session, "workers", &id);
    session.ask("workers", 5, &request);
}

/// Joins as a classic consumer of one topic.
fn classic(session: &mut Session, name: &str, member: &str) -> JoinGroupRequest {
    let topics = [session.name("moved")];
    let mut request = join(session, name, member);
    request.protocols.iter_mut().for_each(|p| p.metadata = subscription(&topics));
    request
}

fn tell_joined(session: &mut Session, case: &str, joined: Option<JoinGroupResponse>) -> i32 {
    let text = joined.as_ref().map_or("closed".to_string(), |j| format!("{j:?}"));
    session.record(case, &text);
    joined.map_or(0, |j| j.generation_id)
}

/// A classic group with a member becomes one of the new protocol when a new member joins, and one of the old when it leaves.
fn upgrade(session: &mut Session) {
    let name = "upgrade";
    let topic = session.name("moved");
    let request = classic(session, name, "");
    let old = session.call(9, &request).unwrap().member_id.to_string();
    session.mask(&old, "<old>");
    let joined = session.call(9, &request.with_member_id(s(&old)));
    let mut generation = tell_joined(session, "upgrade: old joins", joined);
    let all = assignment(&[(topic, &[0, 1])]);
    let request = named_sync(sync(session, name, generation, &old, &[(&old, &all)]), "consumer", "range");
    session.ask("upgrade: old has all", 5, &request);

    let request = enter(session, name, "new", &["moved"]).with_server_assignor(Some(s("range")));
    let answer = session.ask_as("upgrade: new joins", 1, &request, tell);
    let mut epoch = answer.map_or(0, |a| a.member_epoch);
    shown(session, "upgrade, new joined", name);
    let request = heartbeat(session, name, generation, &old);
    session.ask("upgrade: old", 4, &request);
    let request = beat(session, name, "new", epoch).with_topic_partitions(owned(&[]));
    let answer = session.ask_as("upgrade: new waits", 1, &request, tell);
    epoch = answer.map_or(epoch, |a| a.member_epoch);
    let request = classic(session, name, &old);
    let joined = session.call(9, &request);
    generation = tell_joined(session, "upgrade: old joins again", joined);
    let request = named_sync(sync(session, name, generation, &old, &[]), "consumer", "range");
    session.ask("upgrade: old is told", 5, &request);
    let request = heartbeat(session, name, generation, &old);
    session.ask("upgrade: old after its part", 4, &request);
    shown(session, "upgrade, both", name);
    // What the old member says it has is in its subscription, which says nothing: it has given everything up.
    let request = beat(session, name, "new", epoch).with_topic_partitions(owned(&[]));
    let answer = session.ask_as("upgrade: new gets its part", 1, &request, tell);
    epoch = answer.map_or(epoch, |a| a.member_epoch);
    for (case, member, epoch) in
        [("old", old.as_str(), generation), ("new", "new", epoch), ("old, wrong generation", old.as_str(), generation + 1)]
    {
        let request = commit(session, name, "moved", 0, 5, None).with_member_id(s(member)).with_generation_id_or_member_epoch(epoch);
        session.ask(&format!("upgrade: {case}"), 8, &request);
        session.ask(&format!("upgrade: {case}"), 9, &request);
    }
    let request = beat(session, name, "new", -1);
    session.ask_as("upgrade: new leaves", 1, &request, tell);
    shown(session, "upgrade, new left", name);
    let request = heartbeat(session, name, generation, &old);
    session.ask("upgrade: old after the new left", 4, &request);
    let request = leave(session, name, &old);
    session.ask("upgrade: old", 5, &request);
    shown(session, "upgrade, both left", name);
}

/// A classic member that made its id itself comes to a group of the new protocol.
fn stray(session: &mut Session) {
    let request = enter(session, "stray", "new", &["moved"]);
    session.ask_as("stray: new joins", 1, &request, tell);
    let request = classic(session, "stray", "self-made");
    session.ask("stray: with an id of its own", 9, &request);
    shown(session, "stray", "stray");
    let request = leave(session, "stray", "self-made");
    session.ask("stray", 5, &request);
    let request = beat(session, "stray", "new", -1);
    session.ask_as("stray: new leaves", 1, &request, tell);
}
