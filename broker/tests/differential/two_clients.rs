//! What one client sees of what another does: rebalances with two members, long polls that end because something happens.

use std::time::Duration;

use kafka_protocol::messages::{DeleteTopicsRequest, FetchRequest, JoinGroupRequest, JoinGroupResponse, SyncGroupRequest};

use super::fetch::one;
use super::groups::{commit, heartbeat, join, leave, named_sync, sync};
use super::produce::{batch, put};
use super::session::Session;

/// All of this file.
pub fn cases(session: &mut Session) {
    rebalance(session);
    polls(session);
}

/// The members that the leader is told, in order of their masked names: Kafka's order is that of a hash map.
pub fn tell(session: &mut Session, case: &str, response: &Option<JoinGroupResponse>) {
    let mut response = response.clone().unwrap();
    response.members.sort_by_key(|m| m.member_id.clone() != response.leader);
    session.record(case, &format!("{response:?}"));
}

/// Gives what was sent on the other connection time to arrive first.
pub fn let_arrive() {
    std::thread::sleep(Duration::from_millis(150));
}

/// Joins a group as the first of two members, on this connection.
fn rebalance(session: &mut Session) {
    let name = "pair";
    let enter = |session: &mut Session, mask: &str| {
        let request = join(session, name, "");
        let id = session.call(9, &request).unwrap().member_id.to_string();
        session.mask(&id, mask);
        id
    };
    let first = enter(session, "<first>");
    let request = join(session, name, &first);
    let joined = session.call(9, &request);
    tell(session, "pair: first joins", &joined);
    let named = |request| named_sync(request, "consumer", "range");
    let request = named(sync(session, name, 1, &first, &[(&first, b"all")]));
    session.ask("pair: first alone", 5, &request);

    session.switch();
    let second = enter(session, "<second>");
    let request = join(session, name, &second);
    session.send(9, &request);
    let_arrive();
    session.switch();
    let request = heartbeat(session, name, 1, &first);
    session.ask("pair: rebalance", 4, &request);
    let request = heartbeat(session, name, 1, &second);
    session.ask("pair: of the second before it is in", 4, &request);
    let request =
        commit(session, name, "committed", 0, 77, None).with_generation_id_or_member_epoch(1).with_member_id(super::session::s(&first));
    session.ask("pair: rebalance", 8, &request);
    let request = named(sync(session, name, 1, &first, &[]));
    session.ask("pair: rebalance", 5, &request);
    let request = join(session, name, &first);
    let leader = session.call(9, &request);
    tell(session, "pair: first again", &leader);
    session.switch();
    let follower = session.receive::<JoinGroupRequest>(9);
    tell(session, "pair: second joins", &follower);

    let request = named(sync(session, name, 2, &second, &[]));
    session.send(5, &request);
    let_arrive();
    session.switch();
    let request = heartbeat(session, name, 2, &first);
    session.ask("pair: before the leader's assignment", 4, &request);
    let request = heartbeat(session, name, 1, &first);
    session.ask("pair: old generation", 4, &request);
    let request = named(sync(session, name, 2, &first, &[(&first, b"half"), (&second, b"other half")]));
    session.ask("pair: leader", 5, &request);
    session.switch();
    let told = session.receive::<SyncGroupRequest>(5);
    session.record("pair: follower's assignment", &format!("{told:?}"));
    let request = join(session, name, &second);
    let same = session.call(9, &request);
    tell(session, "pair: follower joins again unchanged", &same);
    let request = named(sync(session, name, 2, &second, &[]));
    session.ask("pair: follower again", 5, &request);
    let request = leave(session, name, &second);
    session.ask("pair: second", 5, &request);
    session.switch();
    let request = heartbeat(session, name, 2, &first);
    session.ask("pair: after the other left", 4, &request);
    let request = leave(session, name, &first);
    session.ask("pair: first", 5, &request);
}

fn told(session: &mut Session, case: &str, version: i16) {
    let started = std::time::Instant::now();
    let answer = session.receive::<FetchRequest>(version).unwrap();
    let at_once = started.elapsed() < Duration::from_secs(3);
    let partition = &answer.responses[0].partitions[0];
    let bytes = partition.records.as_ref().map_or(0, |r| r.len());
    let text = format!("at once {at_once}, error {}, high watermark {}, bytes {bytes}", partition.error_code, partition.high_watermark);
    session.record(&format!("Fetch parked, {case}"), &text);
}

fn polls(session: &mut Session) {
    session.create("parked", 1, &[]);
    let wait = |request: FetchRequest| request.with_max_wait_ms(8000);
    let request = wait(one(session, "parked", 0, 0));
    session.send(12, &request);
    let_arrive();
    session.switch();
    put(session, "parked", 0, batch(1).build().unwrap());
    session.switch();
    told(session, "a batch comes", 12);

    let request = wait(one(session, "parked", 0, 1)).with_min_bytes(200);
    session.send(12, &request);
    let_arrive();
    session.switch();
    for _ in 0..3 {
        put(session, "parked", 0, batch(1).build().unwrap());
    }
    session.switch();
    told(session, "three batches come", 12);

    let request = wait(one(session, "parked", 0, 4)).with_max_wait_ms(700).with_min_bytes(10_000);
    session.send(12, &request);
    let_arrive();
    session.switch();
    put(session, "parked", 0, batch(1).build().unwrap());
    session.switch();
    told(session, "too little comes", 12);

    let request = wait(one(session, "parked", 0, 5));
    session.send(12, &request);
    let_arrive();
    session.switch();
    let name = session.topic("parked");
    session.call(5, &DeleteTopicsRequest::default().with_topic_names(vec![name]).with_timeout_ms(5000));
    session.switch();
    told(session, "the topic is deleted", 12);
}
