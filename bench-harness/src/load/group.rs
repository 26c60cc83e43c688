//! `Membership`: a classic consumer group's member: join, sync, heartbeat, offset commit, leave; eager, assignment by range over member ids.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use coreline_wire::decode::Decoder;
use coreline_wire::encode::Sink;
use coreline_wire::primitive::put_nullable_string;
use coreline_wire::{ApiKey, ErrorCode};
use kafka_protocol::messages::{
    GroupId, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, OffsetCommitRequest,
    OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, SyncGroupRequest, SyncGroupResponse, TopicName,
    join_group_request::JoinGroupRequestProtocol,
    offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
    offset_fetch_request::OffsetFetchRequestTopic,
    sync_group_request::SyncGroupRequestAssignment,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};

use super::link::Link;
use super::reader::ReaderSet;
use super::shared::Context;
use crate::client::admin::encode;
use crate::client::topology::{PartitionNumber, TopicRef, Topology};
use crate::clock::now_ns;

/// Nanoseconds between heartbeats.
const HEARTBEAT_NS: u64 = 1_000_000_000;
/// Nanoseconds between offset commits.
const COMMIT_NS: u64 = 1_000_000_000;
/// Nanoseconds to wait after an error of the group.
const BACKOFF_NS: u64 = 100_000_000;

/// Where a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Away until it is told to come back.
    Away,
    /// To join as soon as it can.
    Outside,
    /// Waiting for the answer to join, sync, or offset fetch.
    Settling,
    /// Has its partitions.
    Stable,
}

/// A member of a group.
#[derive(Debug)]
pub struct Membership {
    link: Link,
    address: SocketAddr,
    group: String,
    state: State,
    member_id: StrBytes,
    generation: i32,
    in_flight: VecDeque<(i32, ApiKey)>,
    /// Not before this time: after an error, or the next heartbeat.
    at_ns: u64,
    commit_at_ns: u64,
    /// Where partitions begin that nobody committed.
    first_offsets: Vec<i64>,
    /// Rebalances it went through.
    pub rebalances: u64,
}

fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.to_string())
}

fn malformed(e: impl std::fmt::Display) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, e.to_string())
}

impl Membership {
    /// A member of `group`, whose coordinator listens at `address`.
    pub fn new(token: u64, address: SocketAddr, group: &str, first_offsets: Vec<i64>) -> Membership {
        Membership {
            link: Link::new(token),
            address,
            group: group.to_string(),
            state: State::Outside,
            member_id: StrBytes::default(),
            generation: -1,
            in_flight: VecDeque::new(),
            at_ns: 0,
            commit_at_ns: 0,
            first_offsets,
            rebalances: 0,
        }
    }

    /// Whether it has its partitions.
    pub fn is_stable(&self) -> bool {
        self.state == State::Stable
    }

    /// Comes back if it is away.
    pub fn come_back(&mut self) {
        if self.state == State::Away {
            self.state = State::Outside;
        }
    }

    fn send<R: Encodable + HeaderVersion>(&mut self, api: ApiKey, request: &R, c: &Context<'_>) -> io::Result<()> {
        let version = c.topology.versions.of(api).ok_or_else(|| malformed(api.name()))?;
        let Some(connection) = self.link.ready() else { return Err(ErrorKind::NotConnected.into()) };
        let correlation = connection.next_correlation();
        connection.send(&encode(api.code(), version, correlation, request)?)?;
        self.in_flight.push_back((correlation, api));
        Ok(())
    }

    /// Does what is due for member `m` of `set` and returns when to come again.
    pub(super) fn pump(set: &mut ReaderSet, m: usize, c: &mut Context<'_>) -> u64 {
        let session_timeout = set.config.session_timeout_ms as i32;
        let Some(group) = set.members[m].group.as_mut().filter(|g| g.state != State::Away) else { return u64::MAX };
        let address = group.address;
        group.link.open(address, c);
        if group.link.ready().is_none() {
            return group.link.wake_ns();
        }
        let due = c.now >= group.at_ns;
        let done = match group.state {
            State::Outside if due && group.in_flight.is_empty() => {
                group.state = State::Settling;
                let mut subscription = Vec::new();
                subscription.i16(0);
                put_topics(&mut subscription, &c.topology.topics, |_, _| {});
                subscription.i32(-1);
                let protocol = JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(Bytes::from(subscription));
                let request = JoinGroupRequest::default()
                    .with_group_id(GroupId(text(&group.group)))
                    .with_session_timeout_ms(session_timeout)
                    .with_rebalance_timeout_ms(session_timeout)
                    .with_member_id(group.member_id.clone())
                    .with_protocol_type(text("consumer"))
                    .with_protocols(vec![protocol]);
                group.send(ApiKey::JoinGroup, &request, c)
            }
            State::Stable if due => {
                group.at_ns = c.now + HEARTBEAT_NS;
                let request = HeartbeatRequest::default()
                    .with_group_id(GroupId(text(&group.group)))
                    .with_generation_id(group.generation)
                    .with_member_id(group.member_id.clone());
                let beat = group.send(ApiKey::Heartbeat, &request, c);
                if c.now >= group.commit_at_ns { beat.and_then(|()| Self::commit(set, m, c)) } else { beat }
            }
            _ => Ok(()),
        };
        if done.is_err() {
            Self::disconnect(set, m, "disconnect", c);
        }
        set.members[m]
            .group
            .as_ref()
            .map_or(u64::MAX, |g| if g.state == State::Settling { u64::MAX } else { g.at_ns.max(c.now + 1_000_000) })
    }

    /// Commits the offsets of a member's partitions.
    fn commit(set: &mut ReaderSet, m: usize, c: &mut Context<'_>) -> io::Result<()> {
        let member = &mut set.members[m];
        let Some(group) = &mut member.group else { return Ok(()) };
        group.commit_at_ns = c.now + COMMIT_NS;
        let topic_of = |n: &PartitionNumber| c.topology.split(*n).0;
        let topics: Vec<_> = member
            .assigned
            .chunk_by(|a, b| topic_of(a) == topic_of(b))
            .map(|run| {
                let one = |n: &PartitionNumber| {
                    let offset = set.positions[*n as usize];
                    OffsetCommitRequestPartition::default().with_partition_index(c.topology.split(*n).1).with_committed_offset(offset)
                };
                OffsetCommitRequestTopic::default()
                    .with_name(TopicName(text(&c.topology.topics[topic_of(&run[0])])))
                    .with_partitions(run.iter().map(one).collect())
            })
            .collect();
        if topics.is_empty() {
            return Ok(());
        }
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text(&group.group)))
            .with_generation_id_or_member_epoch(group.generation)
            .with_member_id(group.member_id.clone())
            .with_topics(topics);
        group.send(ApiKey::OffsetCommit, &request, c)
    }

    /// Commits, leaves the group and stays away.
    pub(super) fn leave(set: &mut ReaderSet, m: usize, c: &mut Context<'_>) {
        if set.members[m].group.as_ref().is_none_or(|g| g.state != State::Stable) {
            return;
        }
        let done = Self::commit(set, m, c).and_then(|()| match &mut set.members[m].group {
            Some(group) => {
                let id = std::mem::take(&mut group.member_id);
                let request = LeaveGroupRequest::default().with_group_id(GroupId(text(&group.group))).with_member_id(id);
                group.state = State::Away;
                group.send(ApiKey::LeaveGroup, &request, c)
            }
            None => Ok(()),
        });
        set.assign(m, Vec::new(), c);
        if done.is_err() {
            Self::disconnect(set, m, "disconnect", c);
        }
    }

    /// Gives its partitions up and joins again.
    fn rejoin(set: &mut ReaderSet, m: usize, keep_id: bool, c: &mut Context<'_>) {
        let keep = keep_id && Self::commit(set, m, c).is_ok();
        set.assign(m, Vec::new(), c);
        if let Some(group) = set.members[m].group.as_mut().filter(|g| g.state != State::Away) {
            group.state = State::Outside;
            group.rebalances += 1;
            group.at_ns = if keep { c.now } else { c.now + BACKOFF_NS / 10 };
            if !keep_id {
                group.member_id = StrBytes::default();
            }
        }
    }

    fn disconnect(set: &mut ReaderSet, m: usize, kind: &'static str, c: &mut Context<'_>) {
        if let Some(group) = &mut set.members[m].group {
            group.link.close(kind, c);
            group.in_flight.clear();
            if group.state != State::Away {
                group.state = State::Outside;
                group.at_ns = c.now + BACKOFF_NS;
            }
        }
        set.assign(m, Vec::new(), c);
    }

    pub(super) fn on_writable(set: &mut ReaderSet, m: usize, c: &mut Context<'_>) {
        if set.members[m].group.as_mut().is_some_and(|g| g.link.on_writable().is_err()) {
            Self::disconnect(set, m, "disconnect", c);
        }
    }

    pub(super) fn on_readable(set: &mut ReaderSet, m: usize, c: &mut Context<'_>) {
        if let Err(error) = Self::read(set, m, c) {
            Self::disconnect(set, m, if error.kind() == ErrorKind::InvalidData { "malformed" } else { "disconnect" }, c);
        }
    }

    fn read(set: &mut ReaderSet, m: usize, c: &mut Context<'_>) -> io::Result<()> {
        loop {
            let Some(connection) = set.members[m].group.as_mut().and_then(|g| g.link.ready()) else { return Ok(()) };
            let more = connection.fill()?;
            c.now = now_ns();
            while let Some(group) = &mut set.members[m].group {
                let Some(connection) = group.link.ready() else { return Ok(()) };
                let Some(range) = connection.next_frame()? else { break };
                let frame = Bytes::copy_from_slice(connection.frame(range));
                let (id, api) = group.in_flight.pop_front().ok_or_else(|| malformed("an answer to no request"))?;
                if frame.first_chunk() != Some(&id.to_be_bytes()) {
                    return Err(malformed("an answer to another request"));
                }
                c.shared.answered_ns.store(c.now, Ordering::Relaxed);
                Self::on_answer(set, m, api, frame.slice(4..), c)?;
            }
            if !more {
                return Ok(());
            }
        }
    }

    fn on_answer(set: &mut ReaderSet, m: usize, api: ApiKey, mut body: Bytes, c: &mut Context<'_>) -> io::Result<()> {
        let v = c.topology.versions.of(api).unwrap_or(0);
        let Some(group) = &mut set.members[m].group else { return Ok(()) };
        match api {
            ApiKey::JoinGroup => {
                let answer = JoinGroupResponse::decode(&mut body, v).map_err(malformed)?;
                match ErrorCode::from_code(answer.error_code) {
                    ErrorCode::None => {
                        group.member_id = answer.member_id.clone();
                        group.generation = answer.generation_id;
                        let assignments = if answer.leader == answer.member_id {
                            let ids: Vec<StrBytes> = answer.members.iter().map(|m| m.member_id.clone()).collect();
                            assign_ranges(ids, c.topology)
                        } else {
                            Vec::new()
                        };
                        let request = SyncGroupRequest::default()
                            .with_group_id(GroupId(text(&group.group)))
                            .with_generation_id(group.generation)
                            .with_member_id(group.member_id.clone())
                            .with_assignments(assignments);
                        group.send(ApiKey::SyncGroup, &request, c)?;
                    }
                    // KIP-394: the id to join with.
                    ErrorCode::MemberIdRequired => {
                        group.member_id = answer.member_id;
                        group.state = State::Outside;
                        group.at_ns = c.now;
                    }
                    code => Self::on_error(set, m, code, c),
                }
            }
            ApiKey::SyncGroup => {
                let answer = SyncGroupResponse::decode(&mut body, v).map_err(malformed)?;
                match ErrorCode::from_code(answer.error_code) {
                    ErrorCode::None => {
                        let assigned = read_assignment(&answer.assignment, c.topology)?;
                        // Asked for before reading begins; kept meanwhile without being read.
                        set.members[m].assigned = assigned;
                        Self::ask_offsets(set, m, c)?;
                    }
                    code => Self::on_error(set, m, code, c),
                }
            }
            ApiKey::OffsetFetch => {
                let answer = OffsetFetchResponse::decode(&mut body, v).map_err(malformed)?;
                match ErrorCode::from_code(answer.error_code) {
                    ErrorCode::None => {
                        for topic in &answer.topics {
                            for p in &topic.partitions {
                                let Some(n) = c.topology.number(TopicRef::Name(topic.name.as_bytes()), p.partition_index, 0) else {
                                    continue;
                                };
                                let first = group.first_offsets[n as usize];
                                set.positions[n as usize] = if p.committed_offset >= 0 { p.committed_offset } else { first };
                            }
                        }
                        group.state = State::Stable;
                        group.at_ns = c.now + HEARTBEAT_NS;
                        group.commit_at_ns = c.now + COMMIT_NS;
                        let assigned = std::mem::take(&mut set.members[m].assigned);
                        set.assign(m, assigned, c);
                    }
                    code => Self::on_error(set, m, code, c),
                }
            }
            ApiKey::Heartbeat => {
                let code = HeartbeatResponse::decode(&mut body, v).map_err(malformed)?.error_code;
                if code != 0 && group.state == State::Stable {
                    Self::on_error(set, m, ErrorCode::from_code(code), c);
                }
            }
            ApiKey::OffsetCommit => {
                let answer = OffsetCommitResponse::decode(&mut body, v).map_err(malformed)?;
                let codes = answer.topics.iter().flat_map(|t| &t.partitions).map(|p| ErrorCode::from_code(p.error_code));
                // During a rebalance a commit may be refused; what it would have saved comes again and is counted.
                let benign = [ErrorCode::None, ErrorCode::RebalanceInProgress, ErrorCode::IllegalGeneration, ErrorCode::UnknownMemberId];
                codes.filter(|code| !benign.contains(code)).for_each(|code| c.cells.error(code.name()));
            }
            _ => {}
        }
        Ok(())
    }

    fn on_error(set: &mut ReaderSet, m: usize, code: ErrorCode, c: &mut Context<'_>) {
        match code {
            // What a group member must expect.
            ErrorCode::RebalanceInProgress => Self::rejoin(set, m, true, c),
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => Self::rejoin(set, m, false, c),
            code => {
                c.cells.error(code.name());
                Self::rejoin(set, m, true, c);
                if let Some(group) = &mut set.members[m].group {
                    group.at_ns = c.now + BACKOFF_NS;
                }
            }
        }
    }

    fn ask_offsets(set: &mut ReaderSet, m: usize, c: &mut Context<'_>) -> io::Result<()> {
        let member = &mut set.members[m];
        let Some(group) = &mut member.group else { return Ok(()) };
        let topic_of = |n: &PartitionNumber| c.topology.split(*n).0;
        let topics = member.assigned.chunk_by(|a, b| topic_of(a) == topic_of(b)).map(|run| {
            OffsetFetchRequestTopic::default()
                .with_name(TopicName(text(&c.topology.topics[topic_of(&run[0])])))
                .with_partition_indexes(run.iter().map(|n| c.topology.split(*n).1).collect())
        });
        let request = OffsetFetchRequest::default().with_group_id(GroupId(text(&group.group))).with_topics(Some(topics.collect()));
        group.send(ApiKey::OffsetFetch, &request, c)
    }
}

/// Appends an array of topics, each followed by what `rest` writes.
fn put_topics(out: &mut Vec<u8>, topics: &[String], rest: impl Fn(&mut Vec<u8>, usize)) {
    out.i32(topics.len() as i32);
    for (i, topic) in topics.iter().enumerate() {
        put_nullable_string(out, Some(topic), false);
        rest(out, i);
    }
}

/// Deals each topic's partitions out in ranges over the members, sorted by id.
fn assign_ranges(mut ids: Vec<StrBytes>, topology: &Topology) -> Vec<SyncGroupRequestAssignment> {
    ids.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    let count = ids.len() as u32;
    let of = |(i, id): (usize, &StrBytes)| {
        let (from, to) = (i as u32 * topology.partitions / count, (i as u32 + 1) * topology.partitions / count);
        let mut out = Vec::new();
        out.i16(0);
        put_topics(&mut out, &topology.topics, |out, _| {
            out.i32((to - from) as i32);
            (from..to).for_each(|p| out.i32(p as i32));
        });
        out.i32(-1);
        SyncGroupRequestAssignment::default().with_member_id(id.clone()).with_assignment(Bytes::from(out))
    };
    ids.iter().enumerate().map(of).collect()
}

/// Reads an assignment; partitions that are not of this run are left out.
fn read_assignment(bytes: &[u8], topology: &Topology) -> io::Result<Vec<PartitionNumber>> {
    let mut assigned = Vec::new();
    if bytes.is_empty() {
        return Ok(assigned);
    }
    let mut d = Decoder::new(bytes);
    let mut read = || {
        d.i16()?;
        for _ in 0..d.i32()?.max(0) {
            let len = d.i16()?;
            let topic = d.bytes(usize::try_from(len).unwrap_or(0))?;
            for _ in 0..d.i32()?.max(0) {
                let partition = d.i32()?;
                assigned.extend(topology.number(TopicRef::Name(topic), partition, 0));
            }
        }
        Ok::<(), coreline_wire::decode::DecodeError>(())
    };
    read().map_err(malformed)?;
    assigned.sort_unstable();
    assigned.dedup();
    Ok(assigned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_every_partition_once_and_read_back() {
        let topology = Topology { topics: vec!["a".into(), "b".into()], partitions: 7, ..Default::default() };
        for members in 1..10 {
            let ids = (0..members).map(|i| text(&format!("m{i}"))).collect();
            let mut all: Vec<_> =
                assign_ranges(ids, &topology).iter().flat_map(|a| read_assignment(&a.assignment, &topology).expect("sound")).collect();
            all.sort_unstable();
            assert_eq!(all, (0..14).collect::<Vec<_>>());
        }
        assert!(read_assignment(&[0, 0, 0, 0], &topology).is_err());
        assert!(read_assignment(&[], &topology).expect("none").is_empty());
    }
}
