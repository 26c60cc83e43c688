//! A join storm: many groups with many members come at once; how long until all are stable, and what it costs the broker.
//!
//! A small one runs with the other tests. The large one, on an otherwise quiet machine (open files: `ulimit -n 20000`):
//! `cargo test --release -p coreline-broker --test storm -- --ignored --nocapture`. `STORM_GROUPS` (1,000), `STORM_MEMBERS` (10) and
//! `STORM_HOLD_S` (10: heartbeats of all members every 3 s for so long) change it; `STORM_TARGET=HOST:PORT` and `STORM_PID` let another broker
//! take the storm, Apache Kafka for one; `STORM_PROTOCOL=consumer` is the storm in the consumer protocol (KIP-848), whose members beat at once
//! when their assignment changed and else when the broker told them to. One connection per member; a thread per group sends for all its members, then reads for all.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout)] // A client may sleep between two heartbeats; figures are printed.

mod common;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, CreateTopicsRequest, FindCoordinatorRequest, GroupId, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, ListGroupsRequest, RequestHeader, ResponseHeader, SyncGroupRequest, TopicName,
    consumer_group_heartbeat_request as hb, create_topics_request as ct, join_group_request as jg, join_group_response as jr,
    sync_group_request as sg,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

/// Versions that are spoken, those of today's clients.
const JOIN: i16 = 9;
const SYNC: i16 = 5;
const BEAT: i16 = 4;
const CONSUMER_BEAT: i16 = 1;
/// Partitions of the topic that consumer groups read.
const PARTITIONS: i32 = 10;
/// Between two heartbeats of a member, as clients do by default.
const BEAT_EVERY: Duration = Duration::from_secs(3);
/// A thread only encodes and decodes small frames.
const STACK_BYTES: usize = 256 * 1024;

fn s(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_string())
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// A member's connection, and in the consumer protocol what it was told.
struct Member {
    stream: TcpStream,
    id: StrBytes,
    epoch: i32,
    owned: Vec<hb::TopicPartitions>,
    /// When it beats next.
    due: Instant,
}

impl Member {
    fn send<R: Request>(&mut self, version: i16, request: &R) {
        let mut inner = BytesMut::new();
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_client_id(Some(StrBytes::from_static_str("storm")));
        header.encode(&mut inner, R::header_version(version)).unwrap();
        request.encode(&mut inner, version).unwrap();
        let frame = [&(inner.len() as i32).to_be_bytes()[..], &inner].concat();
        self.stream.write_all(&frame).unwrap();
    }

    fn receive<R: Request>(&mut self, version: i16) -> R::Response {
        let mut answer = Bytes::from(common::read_frame(&mut self.stream).expect("an answer"));
        ResponseHeader::decode(&mut answer, R::Response::header_version(version)).unwrap();
        R::Response::decode(&mut answer, version).unwrap()
    }

    fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.send(version, request);
        self.receive::<R>(version)
    }
}

fn connect(addr: SocketAddr) -> Member {
    Member { stream: common::connect(addr), id: StrBytes::default(), epoch: 0, owned: Vec::new(), due: Instant::now() }
}

/// A group and its connections.
struct Group {
    id: GroupId,
    members: Vec<Member>,
}

impl Group {
    fn join(&mut self) -> Vec<JoinGroupResponse> {
        let mut subscription = vec![0, 0, 0, 0, 0, 1, 0, 6];
        subscription.extend(b"events\xff\xff\xff\xff");
        let protocol = |name| jg::JoinGroupRequestProtocol::default().with_name(s(name)).with_metadata(Bytes::from(subscription.clone()));
        for member in &mut self.members {
            let request = JoinGroupRequest::default()
                .with_group_id(self.id.clone())
                .with_session_timeout_ms(45_000)
                .with_rebalance_timeout_ms(300_000)
                .with_member_id(member.id.clone())
                .with_protocol_type(s("consumer"))
                .with_protocols(vec![protocol("range"), protocol("cooperative-sticky")]);
            member.send(JOIN, &request);
        }
        self.members.iter_mut().map(|member| member.receive::<JoinGroupRequest>(JOIN)).collect()
    }

    /// From the first request to everybody's assignment.
    fn form(&mut self) -> i32 {
        for (n, named) in self.join().into_iter().enumerate() {
            assert_eq!(named.error_code, 79, "{named:?}");
            self.members[n].id = named.member_id;
        }
        let joined = self.join();
        let generation = joined[0].generation_id;
        for (n, answer) in joined.into_iter().enumerate() {
            assert_eq!((answer.error_code, answer.generation_id), (0, generation), "a member of {:?} came too late", self.id);
            let is_leader = answer.leader == answer.member_id;
            let assign = |member: &jr::JoinGroupResponseMember| {
                sg::SyncGroupRequestAssignment::default()
                    .with_member_id(member.member_id.clone())
                    .with_assignment(Bytes::from(member.member_id.as_bytes().to_vec()))
            };
            assert!(!is_leader || answer.members.len() == self.members.len(), "the leader sees all");
            let request = SyncGroupRequest::default()
                .with_group_id(self.id.clone())
                .with_generation_id(generation)
                .with_member_id(answer.member_id)
                .with_protocol_type(Some(s("consumer")))
                .with_protocol_name(answer.protocol_name)
                .with_assignments(answer.members.iter().map(assign).collect());
            self.members[n].send(SYNC, &request);
        }
        for member in &mut self.members {
            let synced = member.receive::<SyncGroupRequest>(SYNC);
            assert_eq!((synced.error_code, &synced.assignment[..]), (0, member.id.as_bytes()));
        }
        generation
    }

    /// From the first heartbeat to everybody's share, in one epoch.
    fn form_as_consumers(&mut self) {
        for (n, member) in self.members.iter_mut().enumerate() {
            member.id = s(&format!("{}-{n}", self.id.as_str()));
            member.due = Instant::now();
        }
        let deadline = Instant::now() + common::PATIENCE;
        while !self.is_shared() {
            assert!(
                Instant::now() < deadline,
                "{:?} is not shared: {:?}",
                self.id,
                self.members.iter().map(|m| m.epoch).collect::<Vec<_>>()
            );
            self.beat_as_consumers();
        }
    }

    /// Every partition has its owner, every owner the same epoch.
    fn is_shared(&self) -> bool {
        let of = |member: &Member| member.owned.iter().map(|topic| topic.partitions.len()).sum::<usize>();
        let all: usize = self.members.iter().map(of).sum();
        let epoch = self.members[0].epoch;
        all == PARTITIONS as usize && self.members.iter().all(|member| member.epoch == epoch && epoch > 0 && of(member) > 0)
    }

    /// Waits until the next member is to beat; all whose time has come do.
    fn beat_as_consumers(&mut self) {
        let next = self.members.iter().map(|member| member.due).min().unwrap();
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        let now = Instant::now();
        let mut beating = Vec::new();
        for member in self.members.iter_mut().filter(|member| member.due <= now) {
            let joins = member.epoch == 0;
            let request = ConsumerGroupHeartbeatRequest::default()
                .with_group_id(self.id.clone())
                .with_member_id(member.id.clone())
                .with_member_epoch(member.epoch)
                .with_rebalance_timeout_ms(if joins { 300_000 } else { -1 })
                .with_subscribed_topic_names(joins.then(|| vec![TopicName(s("events"))]))
                .with_topic_partitions(Some(member.owned.clone()));
            member.send(CONSUMER_BEAT, &request);
            beating.push(member);
        }
        for member in beating {
            let answer = member.receive::<ConsumerGroupHeartbeatRequest>(CONSUMER_BEAT);
            assert_eq!(answer.error_code, 0, "{answer:?}");
            member.epoch = answer.member_epoch;
            member.due = Instant::now() + Duration::from_millis(answer.heartbeat_interval_ms as u64);
            if let Some(assignment) = answer.assignment {
                let told = |topic: &kafka_protocol::messages::consumer_group_heartbeat_response::TopicPartitions| {
                    hb::TopicPartitions::default().with_topic_id(topic.topic_id).with_partitions(topic.partitions.clone())
                };
                let owned: Vec<_> = assignment.topic_partitions.iter().map(told).collect();
                if owned != member.owned {
                    member.owned = owned;
                    member.due = Instant::now();
                }
            }
        }
    }

    fn beat(&mut self, generation: i32) {
        for member in &mut self.members {
            let request =
                HeartbeatRequest::default().with_group_id(self.id.clone()).with_generation_id(generation).with_member_id(member.id.clone());
            member.send(BEAT, &request);
        }
        for member in &mut self.members {
            assert_eq!(member.receive::<HeartbeatRequest>(BEAT).error_code, 0);
        }
    }
}

/// CPU seconds and resident KiB of a process.
fn cost(pid: i32) -> (f64, u64) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    (ticks as f64 / 100.0, rss.trim().trim_end_matches(" kB").parse().unwrap())
}

/// Forms the groups; what it took, in words.
fn storm(addr: SocketAddr, pid: Option<i32>, (groups, members): (usize, usize), consumers: bool, hold: Duration) -> Duration {
    let deadline = Instant::now() + common::PATIENCE;
    let mut asker = connect(addr);
    // The topic of the groups is made by the first question and loaded.
    let find = FindCoordinatorRequest::default().with_coordinator_keys(vec![s("storm")]);
    while asker.call(4, &find).coordinators[0].error_code != 0 || asker.call(5, &ListGroupsRequest::default()).error_code != 0 {
        assert!(Instant::now() < deadline, "no coordinator");
        std::thread::sleep(Duration::from_millis(50));
    }
    if consumers {
        let topic =
            ct::CreatableTopic::default().with_name(TopicName(s("events"))).with_num_partitions(PARTITIONS).with_replication_factor(1);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(60_000);
        assert!(matches!(asker.call(7, &request).topics[0].error_code, 0 | 36));
    }
    let cost_now = || pid.map_or((0.0, 0), cost);
    let before = cost_now();
    let started = Arc::new(Barrier::new(groups + 1));
    let stable = Arc::new(Barrier::new(groups + 1));
    let connected = Arc::new(Barrier::new(groups + 1));
    let run = |n: usize| {
        let (connected, started, stable) = (Arc::clone(&connected), Arc::clone(&started), Arc::clone(&stable));
        let work = move || {
            let mut group = Group { id: GroupId(s(&format!("storm-{n}"))), members: (0..members).map(|_| connect(addr)).collect() };
            connected.wait();
            started.wait();
            let generation = if consumers {
                group.form_as_consumers();
                0
            } else {
                group.form()
            };
            stable.wait();
            let end = Instant::now() + hold;
            while consumers && group.members.iter().any(|member| member.due < end) {
                group.beat_as_consumers();
            }
            while !consumers && Instant::now() < end {
                group.beat(generation);
                std::thread::sleep(BEAT_EVERY.min(end.saturating_duration_since(Instant::now())));
            }
        };
        std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work).unwrap()
    };
    let threads: Vec<_> = (0..groups).map(run).collect();
    connected.wait();
    let idle = cost_now();
    let begun = Instant::now();
    started.wait();
    stable.wait();
    let took = begun.elapsed();
    let after = cost_now();
    let listed = asker.call(5, &ListGroupsRequest::default().with_states_filter(vec![s("Stable")]));
    let mine = listed.groups.iter().filter(|group| group.group_id.starts_with("storm-")).count();
    assert_eq!(mine, groups, "every group is stable");
    let protocol = if consumers { "consumer" } else { "classic" };
    println!("{groups} {protocol} groups of {members} stable after {:.2} s", took.as_secs_f64());
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    if pid.is_some() {
        let end = cost_now();
        let kib = |(_, rss): (f64, u64)| rss;
        println!("broker CPU: {:.2} s to connect, {:.2} s to form the groups", idle.0 - before.0, after.0 - idle.0);
        println!("broker RSS: {} KiB before, {} connected, {} with the groups", kib(before), kib(idle), kib(after));
        if !hold.is_zero() {
            let per_s = (end.0 - after.0) / hold.as_secs_f64();
            println!("broker CPU with the heartbeats of all members: {:.1} % of a core", per_s * 100.0);
        }
    }
    took
}

#[test]
fn a_small_storm_settles() {
    let dir = common::dir();
    let broker = common::Broker::start(dir.path(), &["--shards", "2", "--set", "group.initial.rebalance.delay.ms=1000"]);
    storm(broker.addr, Some(broker.pid()), (20, 5), false, Duration::ZERO);
    broker.stop();
}

#[test]
fn a_small_storm_of_the_consumer_protocol_settles() {
    let dir = common::dir();
    let often = ["--set", "group.consumer.min.heartbeat.interval.ms=500", "--set", "group.consumer.heartbeat.interval.ms=500"];
    let broker = common::Broker::start(dir.path(), &[&["--shards", "2"][..], &often].concat());
    storm(broker.addr, Some(broker.pid()), (20, 5), true, Duration::ZERO);
    broker.stop();
}

#[test]
#[ignore = "a measurement: see the head of this file"]
fn a_large_storm_settles_within_ten_seconds() {
    let (groups, members) = (setting("STORM_GROUPS", 1_000), setting("STORM_MEMBERS", 10));
    let hold = Duration::from_secs(setting("STORM_HOLD_S", 10) as u64);
    let consumers = std::env::var("STORM_PROTOCOL").is_ok_and(|name| name == "consumer");
    if let Ok(target) = std::env::var("STORM_TARGET") {
        let pid = std::env::var("STORM_PID").ok().map(|pid| pid.parse().expect("STORM_PID is a number"));
        storm(target.parse().expect("HOST:PORT"), pid, (groups, members), consumers, hold);
        return;
    }
    let dir = common::dir();
    let broker = common::Broker::start(dir.path(), &["--set", "max.connections.per.ip=20000"]);
    let took = storm(broker.addr, Some(broker.pid()), (groups, members), consumers, hold);
    broker.stop();
    // In the consumer protocol whoever came first gives up with its second heartbeat what the others have with their third at the latest.
    assert!(took <= Duration::from_secs(if consumers { 15 } else { 10 }), "{took:?}");
}
