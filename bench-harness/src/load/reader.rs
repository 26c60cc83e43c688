//! `ReaderSet`: consumers that together read everything once: their connections, fetch sessions and positions. One request per connection.

use std::io::{self, ErrorKind};
use std::sync::atomic::Ordering;

use bytes::Bytes;
use coreline_wire::{ApiKey, ErrorCode};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse, TopicName};
use kafka_protocol::protocol::{Decodable, HeaderVersion, StrBytes};

use super::group::Membership;
use super::link::Link;
use super::producer::is_leadership;
use super::records::Taker;
use super::shared::Context;
use crate::client::admin::encode;
use crate::client::fetch::{self, Ask, SESSIONS_FROM};
use crate::client::topology::{PartitionNumber, TopicRef};
use crate::clock::now_ns;
use crate::delivery::{Checker, Sent};
use crate::result::ConsumerDelivery;
use crate::scenario::Consumers;
use crate::schedule::NEVER;

/// Nanoseconds to wait after an error of a partition.
const BACKOFF_NS: u64 = 50_000_000;
/// Nanoseconds beyond the fetch's own wait until an answer counts as missing.
const ANSWER_NS: u64 = 30_000_000_000;

/// Consumers that share the partitions.
#[derive(Debug)]
pub struct ReaderSet {
    /// Name of the consumers, and number of the copy.
    pub name: String,
    /// Which part of the set this is: members whose number leaves it when divided by the set's threads, and the partitions that those read.
    part: u32,
    /// When to wake it next, for the thread's timers.
    pub wake_ns: u64,
    pub(super) config: Consumers,
    checker: Checker,
    /// Where reading goes on, by partition.
    pub(super) positions: Vec<i64>,
    pub(super) members: Vec<Member>,
    started: bool,
    churn_at_ns: u64,
    churned: usize,
    topology_version: u64,
    /// When it began, and how much it has received since, for its own throughput.
    began_ns: u64,
    bytes: u64,
    /// When it had read to the end for the first time after it began.
    reached_ns: u64,
    /// End of the log when it was set up, for readers that begin at the start.
    backlog_end: Vec<i64>,
}

/// One consumer.
#[derive(Debug, Default)]
pub struct Member {
    /// Its number in the whole set.
    number: u32,
    pub(super) lanes: Vec<FetchLane>,
    /// Partitions it reads, ascending.
    pub(super) assigned: Vec<PartitionNumber>,
    pub(super) group: Option<Membership>,
}

/// A connection to one broker.
#[derive(Debug)]
pub struct FetchLane {
    pub(super) link: Link,
    session: (i32, i32),
    /// Partitions it asks for, ascending.
    parts: Vec<PartitionNumber>,
    /// Of a session: what the server must be told.
    changed: Vec<PartitionNumber>,
    forgotten: Vec<PartitionNumber>,
    /// Correlation id and time of the request, and what it was.
    in_flight: Option<(i32, u64, Asked)>,
    /// Partitions whose first offset is to be asked for.
    lost_place: Vec<PartitionNumber>,
    backoff_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Records,
    /// Records of partitions that were taken away meanwhile: not to be looked at.
    Stale,
    Offsets,
}

impl FetchLane {
    fn new(token: u64) -> FetchLane {
        FetchLane {
            link: Link::new(token),
            session: (0, 0),
            parts: Vec::new(),
            changed: Vec::new(),
            forgotten: Vec::new(),
            in_flight: None,
            lost_place: Vec::new(),
            backoff_ns: 0,
        }
    }

    fn ask_for(&mut self, parts: Vec<PartitionNumber>) {
        if let Some((_, _, asked)) = self.in_flight.as_mut().filter(|_| self.parts != parts) {
            *asked = if *asked == Asked::Records { Asked::Stale } else { *asked };
        }
        self.forgotten.extend(self.parts.iter().filter(|p| parts.binary_search(p).is_err()));
        self.forgotten.sort_unstable();
        self.forgotten.dedup();
        self.forgotten.retain(|p| parts.binary_search(p).is_err());
        self.changed.clone_from(&parts);
        self.lost_place.retain(|p| parts.binary_search(p).is_ok());
        self.parts = parts;
    }

    fn reset(&mut self) {
        self.session = (0, 0);
        self.in_flight = None;
        self.forgotten.clear();
        self.changed.clone_from(&self.parts);
    }
}

impl ReaderSet {
    /// Part `part` of copy `copy` of `config`'s consumers, reading from `positions`; `backlog_end` is where the log ended before the load.
    pub fn new(config: &Consumers, copy: u32, part: u32, streams: usize, positions: Vec<i64>, backlog_end: Vec<i64>) -> ReaderSet {
        ReaderSet {
            name: if config.copies == 1 { config.name.clone() } else { format!("{}-{copy}", config.name) },
            part,
            wake_ns: 0,
            config: config.clone(),
            checker: Checker::new(streams),
            positions,
            members: Vec::new(),
            started: false,
            churn_at_ns: NEVER,
            churned: 0,
            topology_version: u64::MAX,
            began_ns: 0,
            bytes: 0,
            reached_ns: 0,
            backlog_end,
        }
    }

    /// Adds the set's consumer of this number with a token per broker, and its membership, if it is in a group.
    pub fn add_member(&mut self, number: u32, tokens: &[u64], group: Option<Membership>) {
        self.members.push(Member { number, lanes: tokens.iter().map(|t| FetchLane::new(*t)).collect(), assigned: Vec::new(), group });
    }

    /// Whether every consumer has its place.
    pub fn is_ready(&self) -> bool {
        self.config.start_at_s > 0 || (self.started && self.members.iter().all(|m| m.group.as_ref().is_none_or(Membership::is_stable)))
    }

    /// Whether what it does is timed.
    pub fn is_timed(&self) -> bool {
        self.config.latency
    }

    /// Whether everything up to `ends` was read.
    pub fn has_reached(&self, ends: &[i64]) -> bool {
        self.started && self.is_beyond(ends)
    }

    /// Whether the positions of this part's partitions have come to `ends`.
    fn is_beyond(&self, ends: &[i64]) -> bool {
        // A member reads the partitions that leave its number, and it belongs to the part that its number leaves.
        let is_mine = |partition: usize| partition as u32 % self.config.members % self.config.threads == self.part;
        self.positions.iter().zip(ends).enumerate().all(|(partition, (position, end))| position >= end || !is_mine(partition))
    }

    /// Does all that can be done now.
    pub fn pump(&mut self, c: &mut Context<'_>) {
        if !self.started {
            let measured = c.shared.measured_ns.load(Ordering::Relaxed);
            let at =
                if self.config.start_at_s == 0 { 0 } else { measured.saturating_add(u64::from(self.config.start_at_s) * 1_000_000_000) };
            if c.now < at {
                self.wake_ns = at;
                return;
            }
            self.started = true;
            self.began_ns = c.now;
            self.deal(c);
        }
        let version = c.shared.topology_version();
        if version != self.topology_version {
            self.topology_version = version;
            (0..self.members.len()).for_each(|m| self.spread(m, c));
        }
        self.churn(c);
        let mut wake = self.churn_at_ns;
        for m in 0..self.members.len() {
            wake = wake.min(Membership::pump(self, m, c));
            for lane in 0..self.members[m].lanes.len() {
                self.fetch(m, lane, c);
                let l = &self.members[m].lanes[lane];
                if !l.parts.is_empty() {
                    wake = wake.min(l.link.wake_ns());
                    wake = if l.backoff_ns > c.now { wake.min(l.backoff_ns) } else { wake };
                }
            }
        }
        self.wake_ns = wake;
    }

    /// Without a group: deals the partitions out in turn.
    fn deal(&mut self, c: &Context<'_>) {
        let count = self.config.members;
        for member in self.members.iter_mut().filter(|m| m.group.is_none()) {
            member.assigned = (0..c.topology.count()).filter(|p| p % count == member.number).collect();
        }
    }

    /// Gives a member other partitions.
    pub(super) fn assign(&mut self, m: usize, assigned: Vec<PartitionNumber>, c: &Context<'_>) {
        self.members[m].assigned = assigned;
        self.spread(m, c);
    }

    /// Spreads a member's partitions over its lanes by leader.
    fn spread(&mut self, m: usize, c: &Context<'_>) {
        let member = &mut self.members[m];
        for (i, lane) in member.lanes.iter_mut().enumerate() {
            lane.ask_for(member.assigned.iter().copied().filter(|p| c.topology.leader(*p).map(usize::from) == Some(i)).collect());
        }
    }

    /// Lets one group member after the other leave, and the one before come back.
    fn churn(&mut self, c: &mut Context<'_>) {
        let every = u64::from(self.config.churn_ms) * 1_000_000;
        let ended = c.now >= c.shared.end_ns.load(Ordering::Relaxed);
        if every == 0 || c.now < c.shared.start_ns() {
            return;
        }
        if self.churn_at_ns == NEVER {
            self.churn_at_ns = c.now + every;
        }
        if c.now >= self.churn_at_ns {
            self.churn_at_ns = c.now + every;
            let count = self.members.len();
            // The one that is away comes back at the next turn, when another leaves; at the end all come back.
            for member in &mut self.members {
                if let Some(group) = &mut member.group {
                    group.come_back();
                }
            }
            if !ended && count > 1 {
                self.churned = (self.churned + 1) % count;
                Membership::leave(self, (self.churned + count - 1) % count, c);
            }
        }
    }

    /// Sends the next fetch of a lane, if it may.
    fn fetch(&mut self, m: usize, lane: usize, c: &mut Context<'_>) {
        let l = &mut self.members[m].lanes[lane];
        if l.parts.is_empty() {
            return;
        }
        l.link.open(c.topology.nodes[lane].address, c);
        if !l.link.can_write() || l.in_flight.is_some() || c.now < l.backoff_ns {
            return;
        }
        if !l.lost_place.is_empty() {
            return self.ask_offsets(m, lane, c);
        }
        let Some(connection) = l.link.ready() else { return };
        let version = c.topology.versions.of(ApiKey::Fetch).unwrap_or(4);
        let sessions = self.config.sessions && version >= SESSIONS_FROM;
        let whole = !sessions || l.session.1 == 0;
        let correlation = connection.next_correlation();
        let ask = Ask {
            version,
            correlation,
            max_wait_ms: self.config.max_wait_ms as i32,
            min_bytes: self.config.min_bytes as i32,
            max_bytes: self.config.max_bytes as i32,
            partition_max_bytes: self.config.partition_max_bytes as i32,
            session: if sessions { l.session } else { (0, -1) },
            partitions: if whole { &l.parts } else { &l.changed },
            forgotten: if whole { &[] } else { &l.forgotten },
        };
        let positions = &self.positions;
        fetch::write(c.request, &ask, c.topology, |p| positions[p as usize]);
        let sent = connection.send(c.request);
        l.changed.clear();
        l.forgotten.clear();
        l.in_flight = Some((correlation, c.now, Asked::Records));
        if sent.is_err() {
            self.disconnect(m, lane, "disconnect", c);
        }
    }

    /// Asks where the partitions begin whose position is not there any more.
    fn ask_offsets(&mut self, m: usize, lane: usize, c: &mut Context<'_>) {
        let version = c.topology.versions.of(ApiKey::ListOffsets).unwrap_or(1);
        let l = &mut self.members[m].lanes[lane];
        let Some(connection) = l.link.ready() else { return };
        let correlation = connection.next_correlation();
        let topic = |number: &PartitionNumber| {
            let (topic, partition) = c.topology.split(*number);
            let partition =
                ListOffsetsPartition::default().with_partition_index(partition).with_current_leader_epoch(-1).with_timestamp(-2);
            let name = TopicName(StrBytes::from_string(c.topology.topics[topic].clone()));
            ListOffsetsTopic::default().with_name(name).with_partitions(vec![partition])
        };
        let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(l.lost_place.iter().map(topic).collect());
        l.in_flight = Some((correlation, c.now, Asked::Offsets));
        if encode(ApiKey::ListOffsets.code(), version, correlation, &request).and_then(|frame| connection.send(&frame)).is_err() {
            self.disconnect(m, lane, "disconnect", c);
        }
    }

    fn on_offsets(&mut self, m: usize, lane: usize, body: &[u8], c: &mut Context<'_>) -> io::Result<()> {
        let version = c.topology.versions.of(ApiKey::ListOffsets).unwrap_or(1);
        let mut body = Bytes::copy_from_slice(body);
        if ListOffsetsResponse::header_version(version) >= 1 && !body.is_empty() {
            body = body.slice(1..); // no tagged fields
        }
        let answer = ListOffsetsResponse::decode(&mut body, version).map_err(|e| io::Error::new(ErrorKind::InvalidData, e.to_string()))?;
        let l = &mut self.members[m].lanes[lane];
        for topic in &answer.topics {
            for p in topic.partitions.iter().filter(|p| p.error_code == 0) {
                if let Some(number) = c.topology.number(TopicRef::Name(topic.name.as_bytes()), p.partition_index, 0) {
                    self.positions[number as usize] = p.offset;
                    l.lost_place.retain(|n| *n != number);
                    l.changed.push(number);
                }
            }
        }
        l.changed.sort_unstable();
        l.changed.dedup();
        l.backoff_ns = if l.lost_place.is_empty() { 0 } else { c.now + BACKOFF_NS };
        Ok(())
    }

    /// A lane's (or the group connection's) socket can be written to. Lanes come first, the group's connection is behind them.
    pub fn on_writable(&mut self, m: usize, lane: usize, c: &mut Context<'_>) {
        match self.members[m].lanes.get_mut(lane) {
            Some(l) => {
                if l.link.on_writable().is_err() {
                    self.disconnect(m, lane, "disconnect", c);
                }
            }
            None => Membership::on_writable(self, m, c),
        }
    }

    /// A lane's (or the group connection's) socket has something to read.
    pub fn on_readable(&mut self, m: usize, lane: usize, c: &mut Context<'_>) {
        if lane >= self.members[m].lanes.len() {
            return Membership::on_readable(self, m, c);
        }
        if let Err(error) = self.read(m, lane, c) {
            self.disconnect(m, lane, if error.kind() == ErrorKind::InvalidData { "malformed" } else { "disconnect" }, c);
        }
    }

    fn read(&mut self, m: usize, lane: usize, c: &mut Context<'_>) -> io::Result<()> {
        loop {
            let Some(connection) = self.members[m].lanes[lane].link.ready() else { return Ok(()) };
            let more = connection.fill()?;
            c.now = now_ns();
            while let Some(range) = self.members[m].lanes[lane].link.ready().map_or(Ok(None), |l| l.next_frame())? {
                // The link is put back below: the frame borrows from it while the positions change.
                let mut link = std::mem::replace(&mut self.members[m].lanes[lane].link, Link::new(0));
                let done = match link.ready() {
                    Some(connection) => self.on_frame(m, lane, connection.frame(range), c),
                    None => Ok(()),
                };
                self.members[m].lanes[lane].link = link;
                done?;
                self.fetch(m, lane, c);
            }
            if !more {
                return Ok(());
            }
        }
    }

    fn on_frame(&mut self, m: usize, lane: usize, frame: &[u8], c: &mut Context<'_>) -> io::Result<()> {
        let bad = |what: String| io::Error::new(ErrorKind::InvalidData, what);
        let (id, body) = frame.split_first_chunk::<4>().ok_or_else(|| bad("an answer without correlation id".to_string()))?;
        let l = &mut self.members[m].lanes[lane];
        let asked = l.in_flight.take().filter(|(correlation, _, _)| correlation.to_be_bytes() == *id);
        let Some((_, _, asked)) = asked else { return Err(bad("an answer to no request".to_string())) };
        c.shared.answered_ns.store(c.now, Ordering::Relaxed);
        if asked == Asked::Offsets {
            return self.on_offsets(m, lane, body, c);
        }
        c.cells.counts.fetch_responses += 1;
        let version = c.topology.versions.of(ApiKey::Fetch).unwrap_or(4);
        let before = c.cells.counts.received_bytes;
        let (mut leaders, mut hint, topology) = (false, 0, c.topology);
        let check_order = self.config.from_start || self.config.start_at_s == 0;
        let mut taker = Taker { c, checker: &mut self.checker, latency: self.config.latency, check_order };
        let (positions, lost_place, changed) = (&mut self.positions, &mut l.lost_place, &mut l.changed);
        let head = fetch::read(body, version, |part| {
            let Some(number) = topology.number(part.topic, part.partition, hint) else { return };
            hint = topology.split(number).0;
            if asked == Asked::Stale {
                return;
            }
            let position = &mut positions[number as usize];
            match ErrorCode::from_code(part.error) {
                ErrorCode::None => {
                    let next = taker.take(number, *position, part.records);
                    if next != *position {
                        *position = next;
                        changed.push(number);
                    }
                }
                code => {
                    taker.c.cells.error(code.name());
                    leaders |= is_leadership(code);
                    changed.push(number);
                    if code == ErrorCode::OffsetOutOfRange {
                        lost_place.push(number);
                    }
                }
            }
        });
        let head = head.map_err(|e| bad(e.to_string()))?;
        self.bytes += c.cells.counts.received_bytes.saturating_sub(before);
        if self.reached_ns == 0 && self.is_beyond(&self.backlog_end) {
            self.reached_ns = c.now;
        }
        let l = &mut self.members[m].lanes[lane];
        l.changed.sort_unstable();
        l.changed.dedup();
        if leaders {
            c.shared.stale.store(true, Ordering::Relaxed);
            l.backoff_ns = c.now + BACKOFF_NS;
        }
        match ErrorCode::from_code(head.error) {
            ErrorCode::None if l.session.1 == 0 => l.session = (head.session, i32::from(head.session != 0)),
            // After the greatest epoch comes 1.
            ErrorCode::None => l.session.1 = l.session.1.checked_add(1).unwrap_or(1),
            // The server forgot the session, as it may: the next request begins another.
            ErrorCode::FetchSessionIdNotFound | ErrorCode::InvalidFetchSessionEpoch | ErrorCode::FetchSessionTopicIdError => l.reset(),
            code => {
                l.reset();
                l.backoff_ns = c.now + BACKOFF_NS;
                c.cells.error(code.name());
            }
        }
        Ok(())
    }

    fn disconnect(&mut self, m: usize, lane: usize, kind: &'static str, c: &mut Context<'_>) {
        let l = &mut self.members[m].lanes[lane];
        l.link.close(kind, c);
        l.reset();
    }

    /// Looks for requests without an answer. Called a few times per second.
    pub fn check_timeouts(&mut self, c: &mut Context<'_>) {
        let patience = u64::from(self.config.max_wait_ms) * 1_000_000 + ANSWER_NS;
        for m in 0..self.members.len() {
            for lane in 0..self.members[m].lanes.len() {
                if self.members[m].lanes[lane].in_flight.is_some_and(|(_, sent, _)| c.now.saturating_sub(sent) > patience) {
                    self.disconnect(m, lane, "timeout", c);
                }
            }
        }
    }

    /// The verdict of a set from all of its parts; `sent` is by stream, the run's first and then the preload's.
    pub fn finish(parts: &[&ReaderSet], sent: &[Sent], streams_of_run: usize, ends: Option<&[i64]>, idempotent: bool) -> ConsumerDelivery {
        let Some((first, others)) = parts.split_first() else { return ConsumerDelivery::default() };
        let ordered = first.config.from_start || first.config.start_at_s == 0;
        let caught_up = ordered && ends.is_some_and(|ends| parts.iter().all(|part| part.has_reached(ends)));
        // Whoever began at the end was not meant to see what was there before.
        let sent = if first.config.from_start { sent } else { &sent[..streams_of_run.min(sent.len())] };
        let in_group = parts.iter().flat_map(|part| &part.members).any(|m| m.group.is_some());
        let mut checker = first.checker.clone();
        others.iter().for_each(|part| checker.join(&part.checker));
        checker.finish(&first.name, sent, caught_up, in_group || !idempotent)
    }

    /// Rebalances its members went through, all together.
    pub fn rebalances(&self) -> u64 {
        self.members.iter().filter_map(|m| m.group.as_ref()).map(|g| g.rebalances).sum()
    }

    /// Of a set that reads from the start, from all of its parts: megabytes per second from when it began until it had reached the end of what was
    /// there before the load (or until now), and the seconds until then, if it has.
    pub fn backlog(parts: &[&ReaderSet], now: u64) -> Option<(f64, Option<f64>)> {
        let began_ns = parts.iter().filter(|part| part.started && part.config.from_start).map(|part| part.began_ns).min()?;
        let reached_ns = parts.iter().map(|part| part.reached_ns).min().filter(|reached| *reached > 0);
        let reached_ns = reached_ns.and_then(|_| parts.iter().map(|part| part.reached_ns).max());
        let seconds = |until: u64| until.saturating_sub(began_ns) as f64 / 1e9;
        let took = seconds(reached_ns.unwrap_or(now));
        let bytes: u64 = parts.iter().map(|part| part.bytes).sum();
        (took > 0.0).then(|| (bytes as f64 / 1e6 / took, reached_ns.map(seconds)))
    }
}
