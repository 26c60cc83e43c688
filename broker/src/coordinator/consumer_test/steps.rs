//! What single requests to consumer groups come to, step by step.

use std::collections::BTreeSet;
use std::rc::Rc;

use coreline_wire::TopicId;
use coreline_wire::error_code::ErrorCode;

use super::blobs::subscription;
use crate::coordinator::consumer_record::Partitions;
use crate::coordinator::group::{Action, Event, GroupCoordinator, Timer, Token, WriteId};
use crate::coordinator::record::Record;
use crate::coordinator::request::{
    ConsumerDescribeAnswer, ConsumerHeartbeat, ConsumerHeartbeatAnswer, GroupRequest, GroupResponse, Heartbeat, JoinGroup, OffsetCommit,
    OffsetFetch, PartitionCommit, SyncGroup, TopicCommit,
};
use crate::coordinator::{GroupConfig, Now};

const T: TopicId = TopicId([1; 16]);

struct Group {
    machine: GroupCoordinator,
    now: Now,
    next: u64,
    /// Records of the last request.
    written: Vec<Record>,
}

impl Group {
    fn new(config: GroupConfig) -> Self {
        let mut group = Group { machine: GroupCoordinator::new(config), now: Now::default(), next: 0, written: Vec::new() };
        group.publish(&[("t", 1, 4)]);
        let found = group.machine.apply(Event::TopicFound { partitions: 1 }, group.now);
        assert!(matches!(found[..], [Action::SetTimer(Timer::Retention(0), _)]));
        assert!(group.machine.apply(Event::Loaded { partition: 0 }, group.now).is_empty());
        group
    }

    fn publish(&mut self, topics: &[(&str, u8, usize)]) {
        self.next += 1;
        let names: Vec<&str> = topics.iter().map(|(name, ..)| *name).chain(["t"]).collect();
        let change = super::change(super::cluster(topics, self.next), &names);
        self.apply(Event::Published(change));
    }

    /// Everything that follows from an event, writes included; the last answer.
    fn apply(&mut self, event: Event) -> Option<GroupResponse> {
        let mut answer = None;
        let mut events = vec![event];
        self.written.clear();
        while let Some(event) = events.pop() {
            for action in self.machine.apply(event, self.now) {
                match action {
                    Action::Answer(_, response) => answer = Some(response),
                    Action::Append { write, records, .. } => {
                        self.written.extend(records.iter().cloned());
                        events.push(Event::Appended(write));
                    }
                    Action::Search(mut search) => {
                        while search.step() {}
                        let (pattern, version) = (search.pattern.clone(), search.version);
                        events.push(Event::Searched { pattern, version, found: search.found() });
                    }
                    Action::SetTimer(..) | Action::ClearTimer(_) => {}
                }
            }
            self.machine.check_against_images();
        }
        answer
    }

    fn ask(&mut self, request: GroupRequest) -> GroupResponse {
        self.next += 1;
        let mut nonce = [0; 16];
        nonce[0] = self.next as u8;
        self.apply(Event::Request { token: Token(self.next), request, nonce }).expect("an answer")
    }

    fn beat(&mut self, request: ConsumerHeartbeat) -> ConsumerHeartbeatAnswer {
        match self.ask(GroupRequest::ConsumerHeartbeat(Box::new(request))) {
            GroupResponse::ConsumerHeartbeat(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn describe(&mut self) -> ConsumerDescribeAnswer {
        match self.ask(GroupRequest::ConsumerDescribe { group_id: "g".into() }) {
            GroupResponse::ConsumerDescribe(answer) => *answer,
            other => panic!("{other:?}"),
        }
    }

    fn commit(&mut self, member: &str, epoch: i32, partition: i32, v9: bool) -> ErrorCode {
        let partitions = vec![PartitionCommit { partition, offset: 5, leader_epoch: -1, metadata: None, refused: ErrorCode::None }];
        let request = OffsetCommit {
            group_id: "g".into(),
            generation_id: epoch,
            member_id: member.into(),
            retention_ms: -1,
            tells_missing_group: v9,
            topics: vec![TopicCommit { name: "t".into(), id: T, partitions }],
            ..OffsetCommit::default()
        };
        match self.ask(GroupRequest::Commit(request)) {
            GroupResponse::Commit(answer) => answer.topics[0].1[0].1,
            other => panic!("{other:?}"),
        }
    }

    fn fetch(&mut self, member: Option<&str>, member_epoch: i32) -> ErrorCode {
        let request = OffsetFetch { group_id: "g".into(), member_id: member.map(str::to_owned), member_epoch, ..OffsetFetch::default() };
        match self.ask(GroupRequest::Fetch(request)) {
            GroupResponse::Fetch(answer) => answer.error,
            other => panic!("{other:?}"),
        }
    }
}

fn join(member: &str) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        group_id: "g".into(),
        member_id: member.into(),
        rebalance_timeout_ms: 5_000,
        topics: Some(BTreeSet::from(["t".to_owned()])),
        owned: Some(Partitions::new()),
        ..ConsumerHeartbeat::default()
    }
}

fn beat(member: &str, epoch: i32, owned: Option<&[i32]>) -> ConsumerHeartbeat {
    let owned = owned.map(part);
    ConsumerHeartbeat {
        group_id: "g".into(),
        member_id: member.into(),
        member_epoch: epoch,
        rebalance_timeout_ms: -1,
        owned,
        ..ConsumerHeartbeat::default()
    }
}

fn part(partitions: &[i32]) -> Partitions {
    if partitions.is_empty() { Partitions::new() } else { Partitions::from([(T, partitions.iter().copied().collect())]) }
}

fn told(answer: &ConsumerHeartbeatAnswer) -> (ErrorCode, i32, Option<Partitions>) {
    (answer.error, answer.member_epoch, answer.assignment.clone())
}

#[test]
fn a_partition_is_given_when_its_owner_has_confirmed_that_it_gave_it_up() {
    let mut group = Group::new(GroupConfig::default());
    assert_eq!(told(&group.beat(join("a"))), (ErrorCode::None, 2, Some(part(&[0, 1, 2, 3]))));
    assert_eq!(told(&group.beat(join("b"))), (ErrorCode::None, 3, Some(part(&[]))), "all is taken");
    assert_eq!(group.describe().state, "Reconciling");
    // The owner learns what it keeps; until it says that it gave up the rest, nobody gets that.
    assert_eq!(told(&group.beat(beat("a", 2, None))), (ErrorCode::None, 2, Some(part(&[0, 1]))));
    assert_eq!(told(&group.beat(beat("b", 3, None))), (ErrorCode::None, 3, None));
    assert_eq!(told(&group.beat(beat("a", 2, Some(&[0, 1, 2])))), (ErrorCode::None, 2, None));
    assert_eq!(told(&group.beat(beat("a", 2, Some(&[0, 1])))), (ErrorCode::None, 3, None));
    assert_eq!(told(&group.beat(beat("b", 3, None))), (ErrorCode::None, 3, Some(part(&[2, 3]))));
    assert_eq!(group.describe().state, "Stable");
    // Nothing new: nothing is written, no assignment is told.
    assert_eq!(told(&group.beat(beat("b", 3, Some(&[2, 3])))), (ErrorCode::None, 3, None));
    assert_eq!(group.written, []);
    // Everything is told to who asks for everything.
    let full = ConsumerHeartbeat { member_epoch: 3, owned: Some(part(&[2, 3])), ..join("b") };
    assert_eq!(told(&group.beat(full)), (ErrorCode::None, 3, Some(part(&[2, 3]))));
    assert_eq!(group.written, []);
}

#[test]
fn epochs_fence_members_commits_and_fetches() {
    let mut group = Group::new(GroupConfig::default());
    assert_eq!(told(&group.beat(beat("a", 2, None))).0, ErrorCode::GroupIdNotFound);
    group.beat(join("a"));
    group.beat(join("b"));
    assert_eq!(told(&group.beat(beat("x", 2, None))).0, ErrorCode::UnknownMemberId);
    assert_eq!(told(&group.beat(beat("b", 4, None))).0, ErrorCode::FencedMemberEpoch);
    assert_eq!(told(&group.beat(beat("b", 2, None))).0, ErrorCode::FencedMemberEpoch);
    group.beat(beat("a", 2, None));
    group.beat(beat("a", 2, Some(&[0, 1])));
    // The answer that raised the epoch may have been lost; but only who owns no more than it has may repeat.
    assert_eq!(told(&group.beat(beat("a", 2, Some(&[0, 1])))), (ErrorCode::None, 3, Some(part(&[0, 1]))));
    assert_eq!(told(&group.beat(beat("a", 2, Some(&[0, 1, 2])))).0, ErrorCode::FencedMemberEpoch);

    group.beat(beat("b", 3, None));
    assert_eq!(group.commit("b", 3, 2, true), ErrorCode::None);
    assert_eq!(group.commit("b", 3, 2, false), ErrorCode::UnsupportedVersion);
    assert_eq!(group.commit("b", 4, 2, true), ErrorCode::StaleMemberEpoch);
    assert_eq!(group.commit("x", 3, 2, true), ErrorCode::UnknownMemberId);
    assert_eq!(group.commit("", -1, 2, true), ErrorCode::UnknownMemberId);
    // KIP-1251: what the member has had since then it may commit with an older epoch.
    assert_eq!(group.commit("a", 2, 0, true), ErrorCode::None);
    assert_eq!(group.commit("a", 2, 2, true), ErrorCode::StaleMemberEpoch);
    assert_eq!(group.commit("b", 2, 2, true), ErrorCode::StaleMemberEpoch);
    assert_eq!(group.fetch(Some("b"), 3), ErrorCode::None);
    assert_eq!(group.fetch(Some("b"), 2), ErrorCode::StaleMemberEpoch);
    assert_eq!(group.fetch(Some("x"), 2), ErrorCode::UnknownMemberId);
    assert_eq!(group.fetch(None, -1), ErrorCode::None);

    // An empty group takes offsets from anybody.
    group.beat(beat("a", -1, None));
    group.beat(beat("b", -1, None));
    assert_eq!(group.describe().state, "Empty");
    assert_eq!(group.commit("", -1, 2, true), ErrorCode::None);
}

#[test]
fn what_a_request_must_hold() {
    let mut group = Group::new(GroupConfig::default());
    let refused = |request: ConsumerHeartbeat| Group::new(GroupConfig::default()).beat(request).error;
    assert_eq!(refused(ConsumerHeartbeat { rebalance_timeout_ms: -1, ..join("a") }), ErrorCode::InvalidRequest);
    assert_eq!(refused(ConsumerHeartbeat { owned: None, ..join("a") }), ErrorCode::InvalidRequest);
    assert_eq!(refused(ConsumerHeartbeat { owned: Some(part(&[1])), ..join("a") }), ErrorCode::InvalidRequest);
    assert_eq!(refused(ConsumerHeartbeat { topics: None, ..join("a") }), ErrorCode::InvalidRequest);
    assert_eq!(refused(ConsumerHeartbeat { instance_id: Some(String::new()), ..join("a") }), ErrorCode::InvalidRequest);
    assert_eq!(refused(join("")), ErrorCode::InvalidRequest);
    assert_eq!(refused(beat("a", -2, None)), ErrorCode::InvalidRequest);
    assert_eq!(refused(beat("a", -3, None)), ErrorCode::InvalidRequest);
    assert_eq!(refused(ConsumerHeartbeat { assignor: Some("x".into()), ..join("a") }), ErrorCode::UnsupportedAssignor);
    assert_eq!(refused(ConsumerHeartbeat { regex: Some("(".into()), ..join("a") }), ErrorCode::InvalidRegularExpression);
    // Version 0: the coordinator makes the id.
    let answer = group.beat(ConsumerHeartbeat { may_lack_id: true, ..join("") });
    assert_eq!(answer.member_id.map(|id| id.len()), Some(22));

    let mut full = Group::new(GroupConfig { consumer_max_size: 1, ..GroupConfig::default() });
    full.beat(join("a"));
    assert_eq!(full.beat(join("b")).error, ErrorCode::GroupMaxSizeReached);
    assert_eq!(full.beat(join("a")).error, ErrorCode::None, "a member may always begin anew");
}

#[test]
fn a_static_member_comes_back_under_a_new_id_to_what_it_had() {
    let named = |member: &str| ConsumerHeartbeat { instance_id: Some("i".into()), ..join(member) };
    let leaves = |member: &str| ConsumerHeartbeat { instance_id: Some("i".into()), ..beat(member, -2, None) };
    let mut group = Group::new(GroupConfig::default());
    group.beat(named("a"));
    assert_eq!(group.beat(named("b")).error, ErrorCode::UnreleasedInstanceId);
    assert_eq!(told(&group.beat(leaves("a"))), (ErrorCode::None, -2, None));
    assert_eq!(told(&group.beat(named("b"))), (ErrorCode::None, 2, Some(part(&[0, 1, 2, 3]))), "no new epoch");
    let old = ConsumerHeartbeat { instance_id: Some("i".into()), ..beat("a", 2, None) };
    assert_eq!(group.beat(old).error, ErrorCode::FencedInstanceId);
    assert_eq!(group.beat(leaves("a")).error, ErrorCode::FencedInstanceId);
    // Away for longer than its session: it is out.
    group.beat(leaves("b"));
    group.apply(Event::Expired(Timer::Session { group: Rc::from("g"), member: Rc::from("b") }));
    assert_eq!(group.describe().state, "Empty");
}

#[test]
fn expressions_are_searched_again_when_topics_come_and_go() {
    let by_regex = |regex: &str| ConsumerHeartbeat { topics: None, regex: Some(regex.into()), ..join("a") };
    let mut group = Group::new(GroupConfig::default());
    assert_eq!(told(&group.beat(by_regex("x.*|t"))), (ErrorCode::None, 2, Some(part(&[0, 1, 2, 3]))));
    assert_eq!(group.describe().members[0].regex.as_deref(), Some("x.*|t"));
    group.publish(&[("t", 1, 4), ("x1", 2, 1)]);
    let answer = group.beat(beat("a", 2, None));
    let mut both = part(&[0, 1, 2, 3]);
    both.insert(TopicId([2; 16]), BTreeSet::from([0]));
    assert_eq!(told(&answer), (ErrorCode::None, 3, Some(both)));
    group.publish(&[("x1", 2, 1)]);
    let answer = group.beat(beat("a", 3, None));
    assert_eq!(answer.assignment, Some(Partitions::from([(TopicId([2; 16]), BTreeSet::from([0]))])));
    // Nobody subscribes it any more: it is forgotten.
    group.beat(ConsumerHeartbeat { regex: Some(String::new()), ..beat("a", 3, Some(&[])) });
    assert!(group.machine.consumer_group("g").is_some_and(|state| state.regexes.is_empty()));
}

#[test]
fn partitions_that_are_added_are_assigned_at_the_next_heartbeat() {
    let mut group = Group::new(GroupConfig::default());
    group.beat(join("a"));
    group.publish(&[("t", 1, 6)]);
    assert_eq!(told(&group.beat(beat("a", 2, None))), (ErrorCode::None, 3, Some(part(&[0, 1, 2, 3, 4, 5]))));
    group.publish(&[("t", 1, 6), ("other", 2, 1)]);
    assert_eq!(told(&group.beat(beat("a", 3, None))), (ErrorCode::None, 3, None));
}

#[test]
fn a_member_that_does_not_give_up_in_time_is_out() {
    let mut group = Group::new(GroupConfig::default());
    group.beat(join("a"));
    group.beat(join("b"));
    group.beat(beat("a", 2, None));
    group.apply(Event::Expired(Timer::Reconcile { group: Rc::from("g"), member: Rc::from("a") }));
    assert_eq!(group.beat(beat("a", 2, None)).error, ErrorCode::UnknownMemberId);
    assert_eq!(told(&group.beat(beat("b", 3, Some(&[])))), (ErrorCode::None, 4, Some(part(&[0, 1, 2, 3]))));
    // A deadline that was overtaken does nothing.
    group.apply(Event::Expired(Timer::Reconcile { group: Rc::from("g"), member: Rc::from("b") }));
    assert_eq!(group.beat(beat("b", 4, None)).error, ErrorCode::None);
}

#[test]
fn a_write_that_fails_changes_nothing_and_says_so() {
    let mut group = Group::new(GroupConfig::default());
    let request = GroupRequest::ConsumerHeartbeat(Box::new(join("a")));
    let actions = group.machine.apply(Event::Request { token: Token(1), request, nonce: [1; 16] }, group.now);
    let write = actions.iter().find_map(|action| if let Action::Append { write, .. } = action { Some(*write) } else { None });
    // Who comes meanwhile waits, and is decided behind it.
    let request = GroupRequest::ConsumerHeartbeat(Box::new(join("b")));
    let waits = group.machine.apply(Event::Request { token: Token(2), request, nonce: [2; 16] }, group.now);
    assert_eq!(waits, []);
    let failed = group.machine.apply(Event::AppendFailed(write.expect("a write"), ErrorCode::KafkaStorageError), group.now);
    let [Action::Answer(Token(1), GroupResponse::ConsumerHeartbeat(answer)), ..] = &failed[..] else { panic!("{failed:?}") };
    assert_eq!(answer.error, ErrorCode::NotCoordinator);
    let again = failed.iter().find_map(|action| if let Action::Append { write, .. } = action { Some(*write) } else { None });
    let done = group.machine.apply(Event::Appended(again.unwrap_or(WriteId(99))), group.now);
    assert!(
        done.iter().any(|action| matches!(action, Action::Answer(Token(2), GroupResponse::ConsumerHeartbeat(a)) if a.member_epoch == 2))
    );
    assert_eq!(group.describe().members.len(), 1);
    group.machine.check_against_images();
}

#[test]
fn who_waits_for_a_write_that_takes_too_long_is_told_and_comes_again() {
    let mut group = Group::new(GroupConfig::default());
    let ask = |group: &mut Group, token: u64, member: &str| {
        let request = GroupRequest::ConsumerHeartbeat(Box::new(join(member)));
        group.machine.apply(Event::Request { token: Token(token), request, nonce: [token as u8; 16] }, group.now)
    };
    let refused = |actions: &[Action], token: u64| {
        let late = |answer: &ConsumerHeartbeatAnswer| answer.error == ErrorCode::CoordinatorNotAvailable;
        let told = |a: &&Action| matches!(a, Action::Answer(t, GroupResponse::ConsumerHeartbeat(x)) if *t == Token(token) && late(x));
        actions.iter().filter(told).count()
    };
    let actions = ask(&mut group, 1, "a");
    let write =
        actions.iter().find_map(|action| if let Action::Append { write, .. } = action { Some(*write) } else { None }).expect("a write");
    assert_eq!(ask(&mut group, 2, "b"), [], "it waits");
    let told = group.machine.apply(Event::Overdue(write), group.now);
    assert_eq!((refused(&told, 1), refused(&told, 2), told.len()), (1, 1, 2), "{told:?}");
    assert_eq!(refused(&ask(&mut group, 3, "b"), 3), 1, "nobody waits behind it");
    assert_eq!(group.machine.apply(Event::Overdue(write), group.now), [], "told once");
    let done = group.machine.apply(Event::Appended(write), group.now);
    assert!(!done.iter().any(|action| matches!(action, Action::Answer(..))), "{done:?}");
    assert_eq!(group.describe().members.len(), 1, "the member that was late is in");
    group.machine.check_against_images();
}

fn classic_join(member: &str) -> JoinGroup {
    JoinGroup {
        group_id: "g".into(),
        member_id: member.into(),
        client_host: "/h".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 5_000,
        protocol_type: "consumer".into(),
        protocols: vec![("range".into(), subscription(&BTreeSet::from(["t".to_owned()])))],
        ..JoinGroup::default()
    }
}

#[test]
fn a_classic_group_is_upgraded_with_its_member_and_downgraded_when_the_other_goes() {
    let mut group = Group::new(GroupConfig { initial_rebalance_delay_ms: 0, ..GroupConfig::default() });
    // A classic group of one.
    group.next += 1;
    let request = GroupRequest::Join(classic_join(""));
    group.apply(Event::Request { token: Token(group.next), request, nonce: [9; 16] });
    let Some(GroupResponse::Join(joined)) = group.apply(Event::Expired(Timer::Rebalance(Rc::from("g")))) else { panic!("not joined") };
    let all = group.written.clone();
    assert_eq!((joined.generation_id, all), (1, Vec::new()));
    let sync = |generation_id| SyncGroup {
        group_id: "g".into(),
        generation_id,
        member_id: joined.member_id.clone(),
        // Version 0, one topic "t" with partitions 0 to 3.
        assignments: vec![(
            joined.member_id.clone(),
            b"\0\0\0\0\0\x01\0\x01t\0\0\0\x04\0\0\0\0\0\0\0\x01\0\0\0\x02\0\0\0\x03\xff\xff\xff\xff".as_slice().into(),
        )],
        ..SyncGroup::default()
    };
    let beats = |generation_id| Heartbeat { group_id: "g".into(), generation_id, member_id: joined.member_id.clone(), instance_id: None };
    let GroupResponse::Sync(synced) = group.ask(GroupRequest::Sync(sync(1))) else { panic!("not synced") };
    assert!(synced.error.is_ok());

    // A member of the new protocol turns it into a consumer group; the old one keeps what it has.
    assert_eq!(told(&group.beat(join("new"))), (ErrorCode::None, 2, Some(part(&[]))));
    let described = group.describe();
    assert_eq!(described.members.iter().filter(|member| member.is_classic).count(), 1);
    // It is asked to rejoin, owns nothing then, and gets its half.
    assert_eq!(group.ask(GroupRequest::Heartbeat(beats(1))), GroupResponse::Heartbeat(ErrorCode::RebalanceInProgress));
    let GroupResponse::Join(rejoined) = group.ask(GroupRequest::Join(classic_join(&joined.member_id))) else { panic!("not joined") };
    assert_eq!((rejoined.error, rejoined.generation_id, rejoined.leader.as_str()), (ErrorCode::None, 2, ""));
    let GroupResponse::Sync(synced) = group.ask(GroupRequest::Sync(sync(2))) else { panic!("not synced") };
    assert_eq!(synced.assignment.len(), 2 + 4 + 3 + 4 + 2 * 4 + 4, "two partitions of one topic");
    assert_eq!(told(&group.beat(beat("new", 2, Some(&[])))), (ErrorCode::None, 2, Some(part(&[2, 3]))));
    assert_eq!(group.ask(GroupRequest::Heartbeat(beats(2))), GroupResponse::Heartbeat(ErrorCode::None));
    assert_eq!(group.commit(&joined.member_id, 1, 2, true), ErrorCode::IllegalGeneration);

    // The last member of the new protocol goes: classic again, with a rebalance.
    assert_eq!(group.beat(beat("new", -1, None)).error, ErrorCode::None);
    assert!(group.machine.consumer_group("g").is_none());
    assert_eq!(group.machine.group("g").map(|group| group.state().name()), Some("PreparingRebalance"));
    assert_eq!(group.ask(GroupRequest::Heartbeat(beats(2))), GroupResponse::Heartbeat(ErrorCode::RebalanceInProgress));
    assert_eq!(group.describe().error, ErrorCode::GroupIdNotFound);
}

#[test]
fn empty_groups_change_their_protocol_and_keep_their_offsets() {
    let mut group = Group::new(GroupConfig::default());
    group.beat(join("a"));
    assert_eq!(group.commit("a", 2, 3, true), ErrorCode::None);
    group.beat(beat("a", -1, None));
    // To classic: a JoinGroup waits for the tombstones, then joins.
    group.next += 1;
    let request = GroupRequest::Join(classic_join(""));
    assert_eq!(group.apply(Event::Request { token: Token(group.next), request, nonce: [8; 16] }), None, "parked in the join phase");
    assert!(group.machine.consumer_group("g").is_none());
    assert_eq!(group.machine.group("g").map(|group| group.members().len()), Some(1));
    let stored = || OffsetFetch { group_id: "g".into(), member_epoch: -1, ..OffsetFetch::default() };
    let offsets = |response| match response {
        GroupResponse::Fetch(answer) => answer.topics.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(offsets(group.ask(GroupRequest::Fetch(stored()))), 1);
    // And back, once it is empty again.
    let member = group.machine.group("g").and_then(|group| group.members().keys().next().cloned()).expect("a member");
    group.apply(Event::Cancelled { token: Token(group.next - 1), group_id: "g".into() });
    group.apply(Event::Expired(Timer::Session { group: Rc::from("g"), member }));
    group.apply(Event::Expired(Timer::Rebalance(Rc::from("g"))));
    assert_eq!(told(&group.beat(join("b"))).1, 2);
    assert_eq!(offsets(group.ask(GroupRequest::Fetch(stored()))), 1);
}
