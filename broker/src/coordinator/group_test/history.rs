//! Random histories: whatever happens in whatever order, the log says what is alive, every request is answered once, committed offsets
//! never go back by themselves (each one that goes was deleted, has expired, or is of a deleted topic), an assignment has one owner per
//! generation. Reliability rows 12 and 13.
//!
//! `GROUP_HISTORY_SEED=n` runs one history, `GROUP_HISTORIES=n` that many; a failure prints its seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::TopicId;
use coreline_wire::error_code::ErrorCode;

use super::history_rules::Cause;
use super::transcript::subscription;
use crate::coordinator::batch::Encoded;
use crate::coordinator::group::{Action, DeletedTopic, Event, GroupCoordinator, Image, Timer, Token, WriteId};
use crate::coordinator::record::{Decoded, Record};
use crate::coordinator::request::{
    GroupRequest, GroupResponse, Heartbeat, JoinAnswer, JoinGroup, LeaveGroup, LeavingMember, ListGroups, OffsetCommit, OffsetDelete,
    OffsetFetch, PartitionCommit, SyncGroup, TopicCommit,
};
use crate::coordinator::timer::TimerSet;
use crate::coordinator::{GroupConfig, Now};

const GROUPS: u64 = 3;
const PARTITIONS: i32 = 2;
const CLIENTS: usize = 6;
const STEPS: usize = 600;
const HISTORIES: u64 = 150;
const TOPICS: [&str; 2] = ["t", "u"];
pub(super) const OFFSETS_RETENTION_MS: i64 = 150_000;

#[test]
fn live_state_is_what_the_log_says_in_every_history() {
    let seeds = match std::env::var("GROUP_HISTORY_SEED") {
        Ok(seed) => vec![seed.parse().expect("a number")],
        Err(_) => (0..std::env::var("GROUP_HISTORIES").map_or(HISTORIES, |count| count.parse().expect("a number"))).collect(),
    };
    let mut seen = Seen::default();
    for seed in seeds {
        eprintln!("GROUP_HISTORY_SEED={seed}");
        let mut world = World::new(seed);
        for n in 0..STEPS {
            world.step();
            if n % 16 == 0 {
                world.check_log();
            }
        }
        world.end();
        seen.add(&world.seen);
    }
    eprintln!("{seen:?}");
    // A test that never gets anywhere proves nothing.
    if std::env::var_os("GROUP_HISTORY_SEED").is_none() {
        assert!(
            seen.assigned > 250 && seen.committed > 500 && seen.static_returns > 20 && seen.failed > 500 && seen.restarts > 50,
            "{seen:?}"
        );
        assert!(
            seen.expired > 500
                && seen.deleted > 50
                && seen.forgotten > 100
                && seen.of_deleted_topics > 100
                && seen.refused_deletes > 100
                && seen.retried > 10
                && seen.late > 100,
            "{seen:?}"
        );
    }
}

#[derive(Debug, Default, Clone)]
pub(super) struct Seen {
    pub(super) assigned: u64,
    pub(super) committed: u64,
    pub(super) static_returns: u64,
    pub(super) failed: u64,
    /// Requests whose write was overdue.
    pub(super) late: u64,
    pub(super) restarts: u64,
    /// Offsets that expired.
    pub(super) expired: u64,
    /// Groups that were deleted.
    pub(super) deleted: u64,
    /// Offsets that were deleted.
    pub(super) forgotten: u64,
    /// Offsets that went with their topic.
    pub(super) of_deleted_topics: u64,
    /// Of those, the ones of which the first attempt failed.
    pub(super) retried: u64,
    /// Deletions that were refused because somebody uses the group or the offset.
    pub(super) refused_deletes: u64,
}

impl Seen {
    fn add(&mut self, other: &Seen) {
        self.assigned += other.assigned;
        self.committed += other.committed;
        self.static_returns += other.static_returns;
        self.failed += other.failed;
        self.late += other.late;
        self.restarts += other.restarts;
        self.expired += other.expired;
        self.deleted += other.deleted;
        self.forgotten += other.forgotten;
        self.of_deleted_topics += other.of_deleted_topics;
        self.retried += other.retried;
        self.refused_deletes += other.refused_deletes;
    }
}

/// What a client believes of itself.
#[derive(Debug, Default, Clone)]
pub(super) struct Client {
    pub(super) group: String,
    pub(super) instance: Option<String>,
    pub(super) member: String,
    pub(super) generation: i32,
    pub(super) members: Vec<String>,
}

type OffsetKey = (String, String, i32);

pub(super) struct World {
    pub(super) random: u64,
    pub(super) config: GroupConfig,
    pub(super) machine: GroupCoordinator,
    pub(super) timers: TimerSet,
    pub(super) now: Now,
    /// What is durable, as bytes, by partition.
    pub(super) log: Vec<Vec<Encoded>>,
    pub(super) in_flight: VecDeque<(WriteId, i32, Rc<Vec<Record>>)>,
    pub(super) waiting: BTreeMap<Token, (String, usize)>,
    pub(super) next_token: u64,
    pub(super) clients: Vec<Client>,
    /// Offsets whose commit was acknowledged last.
    pub(super) committed: BTreeMap<OffsetKey, i64>,
    pub(super) asked: BTreeMap<Token, Vec<(OffsetKey, i64)>>,
    pub(super) generations: BTreeMap<String, i32>,
    pub(super) leaders: BTreeMap<(String, i32), String>,
    /// Who was told an assignment: by group, generation and assignment.
    pub(super) owners: BTreeMap<(String, i32, Bytes), (Option<String>, String)>,
    pub(super) cause: Cause,
    /// Writes that remove the offsets of a deleted topic.
    pub(super) removals: BTreeMap<WriteId, DeletedTopic>,
    /// Deleted topics of which such a write failed since the start, by partition.
    pub(super) owed: BTreeSet<(i32, DeletedTopic)>,
    pub(super) seen: Seen,
    /// A write is told to be overdue just now.
    late: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let config = GroupConfig {
            initial_rebalance_delay_ms: 100,
            max_size: 5,
            retention_check_interval_ms: 60_000,
            offsets_retention_ms: OFFSETS_RETENTION_MS,
            ..GroupConfig::default()
        };
        let client = |n: usize| Client {
            group: format!("g{}", n as u64 % GROUPS),
            instance: n.is_multiple_of(4).then(|| format!("i{n}")),
            generation: -1,
            ..Client::default()
        };
        let mut world = World {
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed,
            machine: GroupCoordinator::new(config.clone()),
            config,
            timers: TimerSet::default(),
            now: Now { ticks_ms: 0, wall_ms: 1_700_000_000_000 },
            log: vec![Vec::new(); PARTITIONS as usize],
            in_flight: VecDeque::new(),
            waiting: BTreeMap::new(),
            next_token: 0,
            clients: (0..CLIENTS).map(client).collect(),
            committed: BTreeMap::new(),
            asked: BTreeMap::new(),
            generations: BTreeMap::new(),
            leaders: BTreeMap::new(),
            owners: BTreeMap::new(),
            cause: Cause::Other,
            removals: BTreeMap::new(),
            owed: BTreeSet::new(),
            seen: Seen::default(),
            late: false,
        };
        world.start();
        world
    }

    /// splitmix64.
    fn draw(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.draw(100) < percent
    }

    /// A new machine with what is durable.
    fn start(&mut self) {
        self.machine = GroupCoordinator::new(self.config.clone());
        self.timers = TimerSet::default();
        self.in_flight.clear();
        self.removals.clear();
        self.owed.clear();
        self.waiting.clear();
        self.asked.clear();
        self.generations.clear();
        self.leaders.clear();
        self.apply(Event::TopicFound { partitions: PARTITIONS });
        for partition in 0..PARTITIONS {
            let records = decode(&self.log[partition as usize]);
            self.apply(Event::Load { partition, records });
            self.apply(Event::Loaded { partition });
        }
    }

    fn step(&mut self) {
        match self.draw(100) {
            0..=24 => self.conclude(),
            25..=39 => self.wait(),
            40..=41 => self.cancel(),
            42 if self.chance(30) => self.restart(),
            43 if self.chance(30) => self.delete_topic(),
            _ => self.ask(),
        }
        self.machine.check_against_images();
    }

    fn restart(&mut self) {
        // Some of what was under way became durable without anybody hearing of it.
        while self.chance(50) {
            let Some((_, partition, records)) = self.in_flight.pop_front() else { break };
            for record in records.iter() {
                if let Record::Offset { group, topic, partition, value: Some(value) } = record {
                    self.committed.insert((group.clone(), topic.clone(), *partition), value.offset);
                }
            }
            self.durable(partition, &records);
        }
        self.seen.restarts += 1;
        self.start();
    }

    fn durable(&mut self, partition: i32, records: &[Record]) {
        self.log[partition as usize].extend(encode(records));
        for record in records {
            if let Record::Offset { group, topic, partition, value: None } = record {
                self.committed.remove(&(group.clone(), topic.clone(), *partition));
            }
        }
    }

    fn delete_topic(&mut self) {
        let name = TOPICS[self.draw(2) as usize].to_owned();
        let topic = DeletedTopic { name, id: TopicId([self.draw(3) as u8; 16]) };
        for partition in 0..PARTITIONS {
            self.cause = Cause::TopicDeleted(topic.clone());
            self.apply(Event::TopicsDeleted { partition, topics: Rc::from([topic.clone()]) });
        }
        self.cause = Cause::Other;
    }

    fn conclude(&mut self) {
        self.overdue();
        let Some((write, partition, records)) = self.in_flight.pop_front() else { return };
        if self.chance(85) {
            self.durable(partition, &records);
            self.removals.remove(&write);
            self.apply(Event::Appended(write));
        } else {
            self.seen.failed += 1;
            let errors = [ErrorCode::NotLeaderOrFollower, ErrorCode::RequestTimedOut, ErrorCode::KafkaStorageError];
            let error = errors[self.draw(3) as usize];
            self.owed.extend(self.removals.remove(&write).map(|topic| (partition, topic)));
            self.apply(Event::AppendFailed(write, error));
        }
    }

    /// Now and then a write takes so long that who waits for it is told to come again.
    fn overdue(&mut self) {
        if let Some((write, ..)) = self.in_flight.back().filter(|(write, ..)| write.0.is_multiple_of(7)) {
            self.late = true;
            self.apply(Event::Overdue(*write));
            self.late = false;
        }
    }

    fn wait(&mut self) {
        let spans = [10, 200, 3_000, 12_000, 70_000];
        let last = if self.chance(3) { 5 } else { 4 };
        let ms = spans[self.draw(last) as usize];
        self.advance(ms);
    }

    fn advance(&mut self, ms: i64) {
        let until = self.now.ticks_ms + ms;
        while let Some(at_ms) = self.timers.next().filter(|at_ms| *at_ms <= until) {
            self.now.wall_ms += (at_ms - self.now.ticks_ms).max(0);
            self.now.ticks_ms = self.now.ticks_ms.max(at_ms);
            let timer = self.timers.pop_due(self.now.ticks_ms).expect("due");
            self.cause = if matches!(timer, Timer::Retention(_)) { Cause::Retention } else { Cause::Other };
            self.apply(Event::Expired(timer));
            self.cause = Cause::Other;
        }
        self.now.wall_ms += until - self.now.ticks_ms;
        self.now.ticks_ms = until;
    }

    fn cancel(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let nth = self.draw(self.waiting.len() as u64) as usize;
        let (token, (group_id, _)) = self.waiting.iter().nth(nth).map(|(token, caller)| (*token, caller.clone())).expect("in range");
        self.waiting.remove(&token);
        self.apply(Event::Cancelled { token, group_id });
    }

    fn ask(&mut self) {
        let who = self.draw(CLIENTS as u64) as usize;
        let client = self.clients[who].clone();
        let Client { group: group_id, instance: instance_id, member: member_id, generation: generation_id, .. } = client.clone();
        // Now and then somebody is confused.
        let generation_id = if self.chance(3) { generation_id - 1 } else { generation_id };
        let member_id = if self.chance(2) { "stranger".to_owned() } else { member_id };
        let request = match self.draw(10) {
            0..=2 => self.join(client, member_id),
            3..=4 => {
                let assignments = client.members.iter().map(|id| (id.clone(), Bytes::from(format!("{generation_id}:{id}")))).collect();
                GroupRequest::Sync(SyncGroup {
                    group_id,
                    generation_id,
                    member_id,
                    instance_id,
                    protocol_type: None,
                    protocol_name: None,
                    assignments,
                })
            }
            5 => GroupRequest::Heartbeat(Heartbeat { group_id, generation_id, member_id, instance_id }),
            6 if self.chance(40) => GroupRequest::Leave(LeaveGroup { group_id, members: vec![LeavingMember { member_id, instance_id }] }),
            6 if self.chance(40) => self.administer(group_id),
            6 | 7 => {
                let topics = Some(TOPICS.iter().map(|topic| ((*topic).to_owned(), vec![0, 1, 2])).collect());
                GroupRequest::Fetch(OffsetFetch { group_id, topics, member_epoch: -1, ..OffsetFetch::default() })
            }
            _ => self.commit(group_id, generation_id, member_id, instance_id),
        };
        self.request(who, request);
    }

    fn administer(&mut self, group_id: String) -> GroupRequest {
        match self.draw(4) {
            0 => GroupRequest::Delete(group_id),
            1 => {
                let topic = TOPICS[self.draw(2) as usize].to_owned();
                let partitions = (0..1 + self.draw(3)).map(|partition| partition as i32).collect();
                GroupRequest::DeleteOffsets(OffsetDelete { group_id, topics: vec![(topic, partitions)] })
            }
            2 => GroupRequest::Describe(group_id),
            _ => GroupRequest::List(ListGroups::default()),
        }
    }

    fn join(&mut self, client: Client, member_id: String) -> GroupRequest {
        let version = self.draw(10);
        let protocols = [vec!["range"], vec!["range", "sticky"], vec!["sticky", "range"]];
        let protocols = protocols[self.draw(3) as usize].iter();
        // Who reads what, and now and then what nobody can read.
        let nth = if self.chance(60) { 0 } else { self.draw(4) as usize };
        let blob = [subscription("t"), subscription("t"), subscription("u"), Bytes::from_static(b"odd")][nth].clone();
        // A static member that restarts does not know its id.
        let restarts = client.instance.is_some() && self.chance(30);
        GroupRequest::Join(JoinGroup {
            group_id: client.group,
            member_id: if restarts { String::new() } else { member_id },
            instance_id: client.instance,
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
            session_timeout_ms: 6_000 + self.draw(10) as i32 * 1_000,
            rebalance_timeout_ms: 1_000 + self.draw(20) as i32 * 1_000,
            protocol_type: "consumer".into(),
            protocols: protocols.map(|name| ((*name).to_owned(), blob.clone())).collect(),
            requires_known_member_id: version >= 4,
            supports_skip_assignment: version >= 9,
        })
    }

    fn commit(&mut self, group_id: String, generation_id: i32, member_id: String, instance_id: Option<String>) -> GroupRequest {
        let simple = self.chance(30);
        let count = 1 + self.draw(3);
        let commit = |world: &mut World, partition: u64| PartitionCommit {
            partition: partition as i32,
            offset: world.draw(1_000_000) as i64,
            leader_epoch: world.draw(4) as i32 - 1,
            metadata: world.chance(20).then(|| "note".to_owned()),
            refused: ErrorCode::None,
        };
        let partitions = (0..count).map(|partition| commit(self, partition)).collect();
        let id = TopicId([self.draw(3) as u8; 16]);
        GroupRequest::Commit(OffsetCommit {
            group_id,
            generation_id: if simple { -1 } else { generation_id },
            member_id: if simple { String::new() } else { member_id },
            instance_id: if simple { None } else { instance_id },
            retention_ms: if self.chance(5) { 1_000 } else { -1 },
            tells_missing_group: self.chance(50),
            topics: vec![TopicCommit { name: TOPICS[self.draw(2) as usize].to_owned(), id, partitions }],
        })
    }

    fn request(&mut self, who: usize, request: GroupRequest) {
        let token = Token(self.next_token);
        self.next_token += 1;
        let group_id = request.group_id().unwrap_or_default().to_owned();
        if let GroupRequest::Commit(commit) = &request {
            let key = |partition| (group_id.clone(), commit.topics[0].name.clone(), partition);
            self.asked.insert(token, commit.topics[0].partitions.iter().map(|p| (key(p.partition), p.offset)).collect());
        }
        self.waiting.insert(token, (group_id, who));
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.draw(u64::MAX).to_le_bytes());
        self.cause = match &request {
            GroupRequest::Delete(group_id) => Cause::DeleteGroup(group_id.clone()),
            GroupRequest::DeleteOffsets(request) => Cause::DeleteOffsets(request.clone()),
            _ => Cause::Other,
        };
        self.apply(Event::Request { token, request, nonce });
        self.cause = Cause::Other;
    }

    fn apply(&mut self, event: Event) {
        for action in self.machine.apply(event, self.now) {
            match action {
                Action::Answer(token, response) => self.answered(token, response),
                Action::Append { write, partition, records } => {
                    for record in records.iter() {
                        if let Record::Offset { group, topic, partition: of, value: None } = record
                            && let Some(topic) = self.check_tombstone(partition, group, topic, *of)
                        {
                            self.removals.insert(write, topic);
                        }
                    }
                    self.in_flight.push_back((write, partition, records));
                }
                Action::SetTimer(timer, at_ms) => {
                    assert!(at_ms >= self.now.ticks_ms, "a deadline in the past: {timer} at {at_ms}, now {}", self.now.ticks_ms);
                    self.timers.set(timer, at_ms);
                }
                Action::ClearTimer(timer) => self.timers.clear(&timer),
                Action::Search(search) => panic!("no expressions here: {search:?}"),
            }
        }
        // A group that is forgotten begins again at generation 1, with other members.
        let machine = &self.machine;
        self.generations.retain(|group, _| machine.group(group).is_some());
        self.leaders.retain(|(group, _), _| machine.group(group).is_some());
        self.owners.retain(|(group, ..), _| machine.group(group).is_some());
    }

    fn answered(&mut self, token: Token, response: GroupResponse) {
        // A commit that is late may become durable all the same, and is answered again then.
        let asked = if self.late { self.asked.get(&token).cloned() } else { self.asked.remove(&token) };
        self.seen.late += u64::from(self.late);
        if let (GroupResponse::Commit(answer), Some(asked)) = (&response, asked) {
            for ((key, offset), (_, error)) in asked.into_iter().zip(&answer.topics[0].1) {
                if error.is_ok() {
                    self.seen.committed += 1;
                    self.committed.insert(key, offset);
                }
            }
        }
        // A cancelled commit may still be answered; everything else that is answered is waited for.
        let Some((group, who)) = self.waiting.remove(&token) else {
            assert!(
                matches!(
                    response,
                    GroupResponse::Commit(_) | GroupResponse::Join(_) | GroupResponse::Deleted(_) | GroupResponse::DeletedOffsets(_)
                ),
                "{token:?} is answered twice: {response:?}"
            );
            return;
        };
        if let GroupResponse::Sync(answer) = &response
            && answer.error.is_ok()
            && !answer.assignment.is_empty()
        {
            self.assigned(who, answer.assignment.clone());
        }
        let client = &mut self.clients[who];
        match response {
            GroupResponse::Deleted(ErrorCode::None) => self.seen.deleted += 1,
            GroupResponse::Deleted(ErrorCode::NonEmptyGroup) => self.seen.refused_deletes += 1,
            GroupResponse::DeletedOffsets(answer) => {
                let codes = answer.topics.iter().flat_map(|(_, partitions)| partitions);
                self.seen.refused_deletes += codes.filter(|(_, code)| *code == ErrorCode::GroupSubscribedToTopic).count() as u64;
            }
            GroupResponse::Listed(answer) => assert_eq!(answer.groups.len(), self.machine.group_count()),
            GroupResponse::Described(answer) => {
                let state = self.machine.group(&group).map_or("Dead", |group| group.state().name());
                assert_eq!(answer.state, state);
            }
            GroupResponse::Join(answer) if answer.error.is_ok() => self.joined(who, answer),
            GroupResponse::Join(answer) => match answer.error {
                ErrorCode::MemberIdRequired => client.member = answer.member_id,
                ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId | ErrorCode::GroupMaxSizeReached => client.member = String::new(),
                _ => {}
            },
            GroupResponse::Sync(answer) if answer.error.is_ok() => self.seen.assigned += u64::from(!answer.assignment.is_empty()),
            GroupResponse::Sync(answer) if answer.error == ErrorCode::UnknownMemberId => client.member = String::new(),
            GroupResponse::Heartbeat(ErrorCode::UnknownMemberId) => client.member = String::new(),
            GroupResponse::Fetch(answer) => {
                for (topic, fetched) in answer.topics.iter().flat_map(|(topic, offsets)| offsets.iter().map(move |o| (topic, o))) {
                    let key = (group.clone(), topic.clone(), fetched.partition);
                    let expected = self.committed.get(&key).copied().unwrap_or(-1);
                    assert_eq!(fetched.offset, expected, "the offset of {key:?} went back");
                }
            }
            _ => {}
        }
    }

    fn joined(&mut self, who: usize, answer: JoinAnswer) {
        let client = &mut self.clients[who];
        if client.instance.is_some() && client.generation == answer.generation_id && client.member != answer.member_id {
            self.seen.static_returns += 1;
        }
        client.member = answer.member_id.clone();
        client.generation = answer.generation_id;
        client.members = answer.members.iter().map(|member| member.member_id.clone()).collect();
        let last = self.generations.entry(client.group.clone()).or_insert(answer.generation_id);
        assert!(answer.generation_id >= *last, "generation regression in {}: {} -> {}", client.group, last, answer.generation_id);
        *last = answer.generation_id;
        if answer.leader == answer.member_id && !answer.skip_assignment {
            assert!(!answer.members.is_empty(), "a leader without members: {answer:?}");
            let key = (client.group.clone(), answer.generation_id);
            let leader = self.leaders.entry(key).or_insert_with(|| answer.member_id.clone());
            assert_eq!(*leader, answer.member_id, "two leaders in generation {} of {}", answer.generation_id, client.group);
        }
    }

    /// The durable image of the running machine is what a replay of the log gives.
    fn check_log(&self) {
        let replayed = self.log.iter().map(|log| {
            let mut image = Image::default();
            decode(log).iter().for_each(|record| image.replay(record));
            image
        });
        assert!(self.machine.images().eq(replayed.collect::<Vec<Image>>().iter()), "the durable image is not what the log says");
    }

    /// Nobody asks any more: every session ends, every write is concluded, every caller has its answer, and a restart knows the same.
    fn end(&mut self) {
        for _ in 0..200 {
            while !self.in_flight.is_empty() {
                self.conclude();
            }
            self.advance(10_000);
        }
        while !self.in_flight.is_empty() {
            self.conclude();
        }
        self.check_log();
        assert!(self.waiting.is_empty(), "requests without an answer: {:?}", self.waiting);
        let live: Vec<Image> = self.machine.images().cloned().collect();
        let groups = self.machine.group_count();
        self.start();
        assert!(self.machine.images().eq(live.iter()), "a restart knows something else");
        assert_eq!(self.machine.group_count(), groups, "a restart knows other groups");
    }
}

fn encode(records: &[Record]) -> Vec<Encoded> {
    records.iter().map(|record| record.encode().expect("encodes")).collect()
}

fn decode(log: &[Encoded]) -> Vec<Record> {
    let decode = |(key, value): &Encoded| match Record::decode(key, value.as_deref()).expect("decodes") {
        Decoded::Known(record) => record,
        Decoded::Unknown(version) => panic!("key version {version}"),
    };
    log.iter().map(decode).collect()
}
