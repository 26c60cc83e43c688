//! A machine, its log as bytes, its topics and its clients, driven by random numbers. Clients do what real ones do: they give up
//! partitions before they say so, take new ones only when told, begin anew when fenced.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::TopicId;
use coreline_wire::error_code::ErrorCode;

use super::blobs::assigned;
use crate::coordinator::batch::Encoded;
use crate::coordinator::consumer_record::Partitions;
use crate::coordinator::group::{Action, Event, GroupCoordinator, Image, Search, Token, WriteId};
use crate::coordinator::record::{Decoded, Record};
use crate::coordinator::request::{GroupRequest, GroupResponse};
use crate::coordinator::timer::TimerSet;
use crate::coordinator::{GroupConfig, Now};

const PARTITIONS: i32 = 2;
const GROUPS: usize = 2;
const CLIENTS: usize = 8;
/// Names that may be topics; the expression of the tests matches the first two.
pub(super) const NAMES: [&str; 4] = ["a1", "a2", "b1", "b2"];

/// What was seen over all histories.
#[derive(Debug, Default, Clone)]
pub(super) struct Seen {
    pub(super) granted: u64,
    pub(super) revoked: u64,
    pub(super) fenced: u64,
    pub(super) failed: u64,
    /// Requests whose write was overdue.
    pub(super) late: u64,
    pub(super) restarts: u64,
    pub(super) upgrades: u64,
    pub(super) downgrades: u64,
    pub(super) committed: u64,
    pub(super) settled: u64,
}

impl Seen {
    pub(super) fn add(&mut self, other: &Seen) {
        self.granted += other.granted;
        self.revoked += other.revoked;
        self.fenced += other.fenced;
        self.failed += other.failed;
        self.late += other.late;
        self.restarts += other.restarts;
        self.upgrades += other.upgrades;
        self.downgrades += other.downgrades;
        self.committed += other.committed;
        self.settled += other.settled;
    }
}

/// A client and what it believes.
#[derive(Debug, Default, Clone)]
pub(super) struct Client {
    pub(super) group: String,
    pub(super) instance: Option<String>,
    /// Speaks the classic protocol.
    pub(super) classic: bool,
    pub(super) topics: BTreeSet<String>,
    pub(super) regex: bool,
    pub(super) member: String,
    pub(super) epoch: i32,
    pub(super) joined: bool,
    /// What it reads.
    pub(super) owned: Partitions,
    /// What it was told to have.
    pub(super) assigned: Partitions,
    /// An answer was lost: tell everything again.
    pub(super) full: bool,
    /// Waits for an answer to this.
    pub(super) waits: Option<Token>,
    /// Member ids and subscriptions that it was told as the leader of a classic generation.
    pub(super) followers: Vec<(String, Bytes)>,
    /// A classic member that has to send SyncGroup next.
    pub(super) syncs: bool,
}

type Key = (String, String, i32);

pub(super) struct World {
    random: u64,
    config: GroupConfig,
    machine: GroupCoordinator,
    timers: TimerSet,
    now: Now,
    log: Vec<Vec<Encoded>>,
    in_flight: VecDeque<(WriteId, i32, Rc<Vec<Record>>)>,
    searches: VecDeque<Search>,
    pub(super) clients: Vec<Client>,
    next_token: u64,
    pub(super) next_member: u64,
    pub(super) asked: BTreeMap<Token, (usize, GroupRequest)>,
    pub(super) topics: BTreeMap<&'static str, (u8, usize)>,
    next_topic: u8,
    position: u64,
    committed: BTreeMap<Key, i64>,
    pub(super) calm: bool,
    /// A write is told to be overdue just now.
    late: bool,
    pub(super) seen: Seen,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let config = GroupConfig {
            initial_rebalance_delay_ms: 100,
            consumer_max_size: 7,
            consumer_min_session_timeout_ms: 1_000,
            consumer_session_timeout_ms: 10_000,
            retention_check_interval_ms: 60_000,
            ..GroupConfig::default()
        };
        let mut world = World {
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x848,
            machine: GroupCoordinator::new(config.clone()),
            config,
            timers: TimerSet::default(),
            now: Now { ticks_ms: 0, wall_ms: 1_700_000_000_000 },
            log: vec![Vec::new(); PARTITIONS as usize],
            in_flight: VecDeque::new(),
            searches: VecDeque::new(),
            clients: Vec::new(),
            next_token: 0,
            next_member: 0,
            asked: BTreeMap::new(),
            topics: BTreeMap::from([("a1", (1, 3)), ("b1", (2, 2))]),
            next_topic: 3,
            position: 1,
            committed: BTreeMap::new(),
            calm: false,
            late: false,
            seen: Seen::default(),
        };
        // Half of the histories have members of the classic protocol too.
        let mixed = world.chance(50);
        for n in 0..CLIENTS {
            let client = Client {
                group: format!("g{}", n % GROUPS),
                instance: n.is_multiple_of(3).then(|| format!("i{n}")),
                classic: mixed && world.chance(50),
                ..Client::default()
            };
            world.clients.push(client);
            world.subscribe(n);
        }
        world.start();
        world
    }

    pub(super) fn draw(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.draw(100) < percent
    }

    pub(super) fn subscribe(&mut self, who: usize) {
        self.clients[who].regex = !self.clients[who].classic && self.chance(25);
        let topics = NAMES.iter().filter(|_| self.draw(2) == 0).map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        self.clients[who].topics = if topics.is_empty() { BTreeSet::from(["a1".to_owned()]) } else { topics };
        self.clients[who].full = true;
    }

    fn start(&mut self) {
        self.machine = GroupCoordinator::new(self.config.clone());
        self.timers = TimerSet::default();
        self.in_flight.clear();
        self.searches.clear();
        for (who, _) in std::mem::take(&mut self.asked).into_values() {
            self.lost(who);
        }
        self.publish();
        self.apply(Event::TopicFound { partitions: PARTITIONS });
        for partition in 0..PARTITIONS {
            let records = decode(&self.log[partition as usize]);
            self.apply(Event::Load { partition, records });
            self.apply(Event::Loaded { partition });
        }
    }

    fn publish(&mut self) {
        self.position += 1;
        let topics: Vec<(&str, u8, usize)> = self.topics.iter().map(|(name, (number, count))| (*name, *number, *count)).collect();
        let cluster = super::cluster(&topics, self.position);
        self.apply(Event::Published(super::change(cluster, &NAMES)));
    }

    pub(super) fn step(&mut self) {
        match self.draw(100) {
            0..=29 => self.conclude(),
            30..=37 => self.wait(),
            38..=39 => self.cancel(),
            40 if self.chance(30) => self.restart(),
            41 => self.change_topics(),
            42..=48 => self.searched(),
            49..=58 => {
                let who = self.draw(CLIENTS as u64) as usize;
                // What it tells and what it does must not cross each other.
                if self.clients[who].waits.is_none() {
                    self.follow(who);
                }
            }
            _ => {
                let who = self.draw(CLIENTS as u64) as usize;
                self.ask(who);
            }
        }
        self.machine.check_against_images();
        self.check_owners();
    }

    fn change_topics(&mut self) {
        let name = NAMES[self.draw(NAMES.len() as u64) as usize];
        match self.topics.get(name).copied() {
            None => {
                let count = 1 + self.draw(3) as usize;
                self.topics.insert(name, (self.next_topic, count));
                self.next_topic += 1;
            }
            Some((number, count)) if self.chance(60) => drop(self.topics.insert(name, (number, count + 1))),
            Some(_) if self.topics.len() > 1 => drop(self.topics.remove(name)),
            Some(_) => {}
        }
        self.publish();
    }

    fn restart(&mut self) {
        while self.chance(50) {
            let Some((_, partition, records)) = self.in_flight.pop_front() else { break };
            self.durable(partition, &records);
        }
        self.seen.restarts += 1;
        self.start();
    }

    fn durable(&mut self, partition: i32, records: &[Record]) {
        for record in records {
            if let Record::Offset { group, topic, partition, value: Some(value) } = record {
                self.committed.insert((group.clone(), topic.clone(), *partition), value.offset);
            }
            if let Record::Group { value, .. } = record {
                let other_kind = records.iter().any(|record| matches!(record, Record::Consumer(_)));
                self.seen.upgrades += u64::from(other_kind && value.is_none());
                self.seen.downgrades += u64::from(other_kind && value.is_some());
            }
        }
        self.log[partition as usize].extend(encode(records));
    }

    fn conclude(&mut self) {
        if !self.calm && self.chance(10) {
            self.overdue();
        }
        let Some((write, partition, records)) = self.in_flight.pop_front() else { return };
        if self.calm || self.chance(90) {
            self.durable(partition, &records);
            self.apply(Event::Appended(write));
        } else {
            self.seen.failed += 1;
            self.apply(Event::AppendFailed(write, ErrorCode::KafkaStorageError));
        }
    }

    /// A write takes so long that its clients are told to come again: to them it is as if the answer were lost.
    fn overdue(&mut self) {
        if self.in_flight.is_empty() {
            return;
        }
        let nth = self.draw(self.in_flight.len() as u64) as usize;
        self.late = true;
        self.apply(Event::Overdue(self.in_flight[nth].0));
        self.late = false;
    }

    fn searched(&mut self) {
        let Some(mut search) = self.searches.pop_front() else { return };
        while search.step() {}
        let (pattern, version) = (search.pattern.clone(), search.version);
        self.apply(Event::Searched { pattern, version, found: search.found() });
    }

    fn wait(&mut self) {
        let spans = [10, 200, 1_000, 3_000, 15_000];
        let last = if self.chance(5) { 5 } else { 4 };
        let ms = spans[self.draw(last) as usize];
        self.advance(ms);
    }

    fn advance(&mut self, ms: i64) {
        let until = self.now.ticks_ms + ms;
        while let Some(at_ms) = self.timers.next().filter(|at_ms| *at_ms <= until) {
            self.now.wall_ms += (at_ms - self.now.ticks_ms).max(0);
            self.now.ticks_ms = self.now.ticks_ms.max(at_ms);
            let timer = self.timers.pop_due(self.now.ticks_ms).expect("due");
            self.apply(Event::Expired(timer));
        }
        self.now.wall_ms += until - self.now.ticks_ms;
        self.now.ticks_ms = until;
    }

    fn cancel(&mut self) {
        if self.asked.is_empty() {
            return;
        }
        let nth = self.draw(self.asked.len() as u64) as usize;
        let token = *self.asked.keys().nth(nth).expect("in range");
        self.forget(token);
    }

    fn forget(&mut self, token: Token) {
        let Some((who, request)) = self.asked.remove(&token) else { return };
        self.lost(who);
        self.apply(Event::Cancelled { token, group_id: request.group_id().unwrap_or_default().to_owned() });
    }

    /// An answer was lost. Whoever takes partitions now that it has not taken yet may be late: they may have been taken back in that answer.
    fn lost(&mut self, who: usize) {
        let client = &mut self.clients[who];
        client.waits = None;
        client.full = true;
        client.assigned = client.owned.clone();
    }

    /// A client does what it was told: gives up first, then takes.
    fn follow(&mut self, who: usize) {
        let client = &mut self.clients[who];
        let before = count(&client.owned);
        let assigned = client.assigned.clone();
        client.owned.retain(|topic, partitions| {
            partitions.retain(|partition| assigned.get(topic).is_some_and(|assigned| assigned.contains(partition)));
            !partitions.is_empty()
        });
        self.seen.revoked += (before - count(&client.owned)) as u64;
        // What it gave up must be told before it takes more, as real clients do.
        if client.owned.is_empty() || before == count(&client.owned) {
            self.seen.granted += (count(&assigned) - count(&client.owned)) as u64;
            client.owned = assigned;
        }
    }

    pub(super) fn drop_all(&mut self, who: usize) {
        self.clients[who].owned.clear();
        self.clients[who].assigned.clear();
    }

    pub(super) fn request(&mut self, who: usize, request: GroupRequest) {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.clients[who].waits = Some(token);
        self.asked.insert(token, (who, request.clone()));
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.draw(u64::MAX).to_le_bytes());
        self.apply(Event::Request { token, request, nonce });
    }

    fn apply(&mut self, event: Event) {
        for action in self.machine.apply(event, self.now) {
            match action {
                Action::Answer(token, response) => self.answered(token, response),
                Action::Append { write, partition, records } => self.in_flight.push_back((write, partition, records)),
                Action::SetTimer(timer, at_ms) => self.timers.set(timer, at_ms),
                Action::ClearTimer(timer) => self.timers.clear(&timer),
                Action::Search(search) => self.searches.push_back(search),
            }
        }
    }

    fn answered(&mut self, token: Token, response: GroupResponse) {
        let Some((who, request)) = self.asked.remove(&token) else { return };
        if self.late {
            self.seen.late += 1;
            return self.lost(who);
        }
        self.clients[who].waits = None;
        let ids = self.topics.iter().map(|(name, (number, _))| ((*name).to_owned(), TopicId([*number; 16]))).collect::<BTreeMap<_, _>>();
        let client = &mut self.clients[who];
        match response {
            GroupResponse::ConsumerHeartbeat(answer) if answer.error.is_ok() => {
                client.joined = true;
                client.full = false;
                client.epoch = answer.member_epoch;
                client.member = answer.member_id.expect("an id");
                if let Some(assignment) = answer.assignment {
                    client.assigned = assignment;
                }
            }
            GroupResponse::ConsumerHeartbeat(answer) => match answer.error {
                ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId | ErrorCode::GroupIdNotFound | ErrorCode::FencedInstanceId => {
                    self.seen.fenced += 1;
                    client.joined = false;
                    self.drop_all(who);
                }
                ErrorCode::UnreleasedInstanceId | ErrorCode::GroupMaxSizeReached => client.joined = false,
                ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable => client.full = true,
                other => panic!("a correct heartbeat is answered {other:?}: {:?} to {request:?}", answer.message),
            },
            GroupResponse::Join(answer) if answer.error.is_ok() => {
                client.joined = true;
                client.syncs = true;
                client.epoch = answer.generation_id;
                client.member = answer.member_id;
                client.followers = answer.members.into_iter().map(|member| (member.member_id, member.metadata)).collect();
            }
            GroupResponse::Join(answer) if answer.error != ErrorCode::RebalanceInProgress => client.member.clear(),
            GroupResponse::Sync(answer) if answer.error.is_ok() => {
                client.syncs = false;
                client.assigned = assigned(&answer.assignment, &ids);
                client.owned = client.assigned.clone();
            }
            GroupResponse::Sync(answer) => {
                client.joined = false;
                client.syncs = false;
                if answer.error != ErrorCode::RebalanceInProgress {
                    client.member.clear();
                }
            }
            GroupResponse::Heartbeat(error) => match error {
                ErrorCode::None => {}
                ErrorCode::RebalanceInProgress => client.joined = false,
                _ => {
                    client.joined = false;
                    client.member.clear();
                    self.drop_all(who);
                }
            },
            GroupResponse::Commit(answer) => self.seen.committed += u64::from(answer.topics[0].1[0].1.is_ok()),
            GroupResponse::Fetch(answer) => {
                for (topic, fetched) in answer.topics {
                    for fetched in fetched {
                        let key = (self.clients[who].group.clone(), topic.clone(), fetched.partition);
                        let expected = self.committed.get(&key).copied().unwrap_or(-1);
                        assert_eq!(fetched.offset, expected, "the offset of {key:?} went back");
                    }
                }
            }
            _ => {}
        }
    }

    /// Whatever a member reads, the coordinator counts as that member's.
    fn check_owners(&self) {
        for client in self.clients.iter().filter(|client| client.joined) {
            let Some(state) = self.machine.consumer_group(&client.group) else { continue };
            if !state.members.contains_key(&client.member) {
                continue;
            }
            // A classic member of an earlier generation reads until it hears of the next one.
            if client.classic && state.member_epoch(&client.member) != client.epoch {
                continue;
            }
            // What is deleted cannot be read.
            let exists = |topic: &TopicId| self.topics.values().any(|(number, _)| TopicId([*number; 16]) == *topic);
            for (topic, partitions) in client.owned.iter().filter(|(topic, _)| exists(topic)) {
                for partition in partitions {
                    let owner = state.owner(*topic, *partition);
                    assert_eq!(owner, Some(client.member.as_str()), "{topic}-{partition} was given away while {} reads it", client.member);
                }
            }
        }
    }

    /// The durable image of the running machine is what a replay of the log gives.
    pub(super) fn check_log(&self) {
        let replayed = self.log.iter().map(|log| {
            let mut image = Image::default();
            decode(log).iter().for_each(|record| image.replay(record));
            image
        });
        assert!(self.machine.images().eq(replayed.collect::<Vec<Image>>().iter()), "the durable image is not what the log says");
    }

    /// Nothing changes any more and nothing fails: every group comes to rest, and every partition that somebody wants is read by one.
    pub(super) fn settle(&mut self) {
        self.calm = true;
        for token in self.asked.keys().copied().collect::<Vec<_>>() {
            self.forget(token);
        }
        for round in 0..80 {
            for who in 0..CLIENTS {
                self.ask(who);
            }
            while !self.in_flight.is_empty() || !self.searches.is_empty() {
                self.conclude();
                self.searched();
            }
            for who in 0..CLIENTS {
                self.follow(who);
            }
            // Who is gone must have had the time to be missed.
            self.advance(if round < 60 { 900 } else { 100 });
            self.machine.check_against_images();
            self.check_owners();
        }
        self.check_log();
        for group in (0..GROUPS).map(|n| format!("g{n}")) {
            let Some(state) = self.machine.consumer_group(&group) else { continue };
            if state.members.is_empty() || state.classic_members() == state.members.len() {
                continue;
            }
            self.seen.settled += 1;
            assert_eq!(state.state().name(), "Stable", "{group} has not come to rest: {state:#?}");
            let readers = self.clients.iter().filter(|client| client.group == group && client.joined);
            let read: BTreeSet<(TopicId, i32)> = readers.clone().flat_map(|client| pairs(&client.owned)).collect();
            assert_eq!(readers.map(|client| pairs(&client.owned).count()).sum::<usize>(), read.len(), "{group}: read twice");
            for (name, (number, count)) in &self.topics {
                let wanted = state.subscribes(name);
                for partition in 0..*count as i32 {
                    assert_eq!(read.contains(&(TopicId([*number; 16]), partition)), wanted, "{group}: {name}-{partition}, {state:#?}");
                }
            }
        }
        let live: Vec<Image> = self.machine.images().cloned().collect();
        self.start();
        assert!(self.machine.images().eq(live.iter()), "a restart knows something else");
    }
}

fn pairs(partitions: &Partitions) -> impl Iterator<Item = (TopicId, i32)> {
    partitions.iter().flat_map(|(topic, partitions)| partitions.iter().map(|partition| (*topic, *partition)))
}

fn count(partitions: &Partitions) -> usize {
    partitions.values().map(BTreeSet::len).sum()
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
