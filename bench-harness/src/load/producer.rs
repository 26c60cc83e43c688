//! `Producer`: takes records when they are due, gathers them into batches per partition, sends, and hears what became of them.
//!
//! What waits is never a record, only the time it was due and its number: a batch is made when it is sent, and made again when it is sent
//! again. Requests of a connection are answered in order. After an error the failed batches of a connection go first and one at a time, so
//! that an idempotent producer keeps each partition's order.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;

use coreline_wire::ErrorCode;

use super::link::Link;
use super::producer_answer;
use super::shared::Context;
use super::template::Intended;
use crate::client::topology::PartitionNumber;
use crate::delivery::Sent;
use crate::result::Metric;
use crate::scenario::{Acks, Partitioner, Producers};
use crate::schedule::{NEVER, Pacer};

/// Most bytes of a request that gathers several batches, as `max.request.size`.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Bytes at which a request of full batches is large enough.
const REQUEST_BYTES_GOOD: usize = 66 << 10;
/// Batches kept for reuse.
const POOL_MAX: usize = 64;

/// One producer.
#[derive(Debug)]
pub struct Producer {
    pub(super) index: u32,
    /// When to wake it next, for the thread's timers.
    pub wake_ns: u64,
    noticed: Option<Pacer>,
    pub(super) taken: Option<Pacer>,
    records_left: u64,
    pub(super) streams: Vec<Stream>,
    pub(super) lanes: Vec<Lane>,
    /// Records under way: building, ready, in flight or to be sent again.
    pub(super) buffered: u64,
    turn: u32,
    round: u64,
    random: u64,
    pool: Vec<Batch>,
    pub(super) lists: Vec<Vec<Batch>>,
    pub(super) id: (i64, i16),
    pub(super) id_generation: u32,
    pub(super) needs_id: bool,
    closing: bool,
    topology_version: u64,
}

/// One partition of a producer.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) sent: Sent,
    building: Option<Batch>,
    /// The sequence number that counts as 0 for the server, and the producer id it belongs to.
    pub(super) sequence_base: (u64, u32),
    /// The request that holds a batch of it, by [`Producer::round`].
    gathered: u64,
}

/// Records of one partition.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) partition: PartitionNumber,
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) intended: Intended,
    pub(super) opened_ns: u64,
    pub(super) attempts: u32,
}

/// A connection to one broker and what goes through it.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) link: Link,
    /// Batches being built, in the order they must go.
    order: VecDeque<(PartitionNumber, u64, u64)>,
    ready: VecDeque<Batch>,
    pub(super) retry: VecDeque<Batch>,
    pub(super) in_flight: VecDeque<InFlight>,
    /// When it was last freed after it had been blocked.
    pub(super) free_since_ns: u64,
    blocked: bool,
}

/// A request without its answer.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) correlation: i32,
    pub(super) sent_ns: u64,
    /// Its batches; empty for a request for a new producer id.
    pub(super) batches: Vec<Batch>,
}

impl Producer {
    /// Producer `index` with its first token; one token per broker.
    pub fn new(index: u32, load: &crate::scenario::Load, p: &Producers, partitions: u32, records_max: u64, id: (i64, i16)) -> Producer {
        Producer {
            index,
            wake_ns: 0,
            noticed: Pacer::new(load, index, p.count),
            taken: Pacer::new(load, index, p.count),
            records_left: records_max,
            streams: (0..partitions).map(|_| Stream::default()).collect(),
            lanes: Vec::new(),
            buffered: 0,
            // Producers begin on different partitions, spread over all of them: walking on together, each would follow where the first one was.
            turn: (u64::from(index) * u64::from(partitions.max(1)) / u64::from(p.count.max(1))) as u32,
            round: 0,
            random: 0x2545_f491_4f6c_dd1d ^ (u64::from(index) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            pool: Vec::new(),
            lists: Vec::new(),
            id,
            id_generation: 0,
            needs_id: false,
            closing: false,
            topology_version: 0,
        }
    }

    /// Gives it a connection per broker.
    pub fn add_lane(&mut self, token: u64) {
        self.lanes.push(Lane {
            link: Link::new(token),
            order: VecDeque::new(),
            ready: VecDeque::new(),
            retry: VecDeque::new(),
            in_flight: VecDeque::new(),
            free_since_ns: 0,
            blocked: true,
        });
    }

    /// How many brokers it has connections for.
    pub fn lane_count(&self) -> usize {
        self.lanes.len()
    }

    /// Whether everything due was sent and answered, and nothing more is due.
    pub fn is_idle(&self) -> bool {
        self.closing && self.buffered == 0
    }

    /// Does all that can be done now.
    pub fn pump(&mut self, c: &mut Context<'_>) {
        self.follow_leaders(c);
        let end = c.shared.end_ns.load(Ordering::Relaxed);
        self.take_due(end, c);
        self.closing = self.records_left == 0 || c.now >= end;
        for lane in 0..self.lanes.len() {
            self.lanes[lane].link.open(c.topology.nodes[lane].address, c);
            self.send_lane(lane, c);
        }
        self.wake_ns = self.next_wake(end, c);
    }

    /// Takes what is due from the schedule, as far as the buffer holds it.
    fn take_due(&mut self, end: u64, c: &mut Context<'_>) {
        let start = c.shared.start_ns();
        let due = c.now.min(end.saturating_sub(1)).saturating_sub(start);
        if c.now < start {
            return;
        }
        if let Some(noticed) = &mut self.noticed {
            while noticed.peek() <= due {
                noticed.advance();
                c.cells.counts.scheduled += 1;
            }
        }
        let p = &c.plan.scenario.producers;
        let record = u64::from(p.value_bytes + p.key_bytes);
        while let Some(at) = self.taken.as_ref().map(Pacer::peek).filter(|at| *at <= due) {
            if (self.buffered + 1) * record > p.buffer_bytes || self.records_left == 0 {
                return;
            }
            if let Some(taken) = &mut self.taken {
                taken.advance();
            }
            self.append(start + at, c);
        }
    }

    /// Puts one record into the batch of its partition.
    fn append(&mut self, intended_ns: u64, c: &mut Context<'_>) {
        let p = &c.plan.scenario.producers;
        let partition = self.choose(c);
        self.records_left -= 1;
        self.buffered += 1;
        let Some(lane) = c.topology.leader(partition).map(usize::from) else { return };
        let stream = &mut self.streams[partition as usize];
        if stream.building.is_none() {
            let linger = if self.taken.is_some() { (p.linger_ms * 1e6) as u64 } else { 0 };
            let batch = new_batch(&mut self.pool, partition, stream.sent.assigned, intended_ns);
            self.lanes[lane].order.push_back((partition, batch.first, intended_ns + linger));
            stream.building = Some(batch);
        }
        stream.sent.assigned += 1;
        let full = match &mut stream.building {
            Some(batch) => {
                batch.intended.each.push(intended_ns);
                batch.count += 1;
                batch.count as usize == c.template.records_max()
            }
            None => false,
        };
        if full {
            self.lanes[lane].ready.extend(stream.building.take());
            self.turn_sticky(p);
        }
    }

    fn turn_sticky(&mut self, p: &Producers) {
        if p.partitioner == Partitioner::Sticky {
            self.turn = (self.turn + 1) % self.streams.len() as u32;
        }
    }

    fn choose(&mut self, c: &Context<'_>) -> PartitionNumber {
        let all = self.streams.len() as u32;
        match c.plan.scenario.producers.partitioner {
            Partitioner::Sticky => self.turn,
            Partitioner::RoundRobin => {
                self.turn = (self.turn + 1) % all;
                self.turn
            }
            Partitioner::Keyed => {
                // xorshift64: the same records in every run.
                self.random ^= self.random << 13;
                self.random ^= self.random >> 7;
                self.random ^= self.random << 17;
                let keys = &c.plan.partition_of_key;
                let key = keys[(self.random % keys.len() as u64) as usize];
                let topic = (self.random >> 40) as u32 % c.plan.scenario.topic.count;
                topic * c.plan.scenario.topic.partitions + key
            }
        }
    }

    /// Sends through one lane until it is blocked or has nothing.
    fn send_lane(&mut self, lane: usize, c: &mut Context<'_>) {
        let p = &c.plan.scenario.producers;
        loop {
            let l = &mut self.lanes[lane];
            let room = l.link.can_write() && l.in_flight.len() < p.in_flight as usize;
            if room && l.blocked {
                l.free_since_ns = c.now;
            }
            l.blocked = !room;
            if !room {
                return;
            }
            if self.needs_id {
                if self.lanes.iter().all(|l| l.in_flight.is_empty()) {
                    producer_answer::ask_for_id(self, lane, c);
                }
                return;
            }
            if !l.retry.is_empty() {
                if !l.in_flight.is_empty() {
                    return;
                }
                let batch = l.retry.pop_front();
                self.send(lane, batch.into_iter().collect(), c);
                continue;
            }
            self.seal_expired(lane, c);
            if self.taken.is_none() && self.lanes[lane].ready.is_empty() && !self.closing && c.now >= c.shared.start_ns() {
                self.take_at_will(lane, c);
            }
            let mut batches = self.lists.pop().unwrap_or_default();
            self.gather(lane, c, &mut batches);
            if batches.is_empty() {
                self.lists.push(batches);
                return;
            }
            self.send(lane, batches, c);
        }
    }

    /// Closes batches that have waited long enough.
    fn seal_expired(&mut self, lane: usize, c: &mut Context<'_>) {
        while let Some((partition, first, deadline)) = self.lanes[lane].order.front().copied() {
            let building = &mut self.streams[partition as usize].building;
            if building.as_ref().is_some_and(|b| b.first == first) {
                if deadline > c.now && !self.closing {
                    return;
                }
                let batch = building.take();
                self.lanes[lane].ready.extend(batch);
                self.turn_sticky(&c.plan.scenario.producers);
            }
            self.lanes[lane].order.pop_front();
        }
    }

    /// Without a rate: makes as many records as a batch holds, due now, for partitions of this lane.
    fn take_at_will(&mut self, lane: usize, c: &mut Context<'_>) {
        let p = &c.plan.scenario.producers;
        let count = (c.template.records_max() as u64).min(self.records_left);
        if p.partitioner != Partitioner::Sticky {
            (0..count).for_each(|_| self.append(c.now, c));
            c.cells.counts.scheduled += count;
            self.seal_expired(lane, c);
            return;
        }
        let mut bytes = 0;
        for _ in 0..self.streams.len() {
            self.turn_sticky(p);
            if c.topology.leader(self.turn).map(usize::from) != Some(lane) {
                continue;
            }
            let count = (c.template.records_max() as u64).min(self.records_left);
            if count == 0 {
                return;
            }
            bytes += c.template.batch_bytes(count as usize);
            if bytes > c.template.batch_bytes(count as usize) && bytes > REQUEST_BYTES_GOOD {
                // It comes first next time.
                self.turn = self.turn.checked_sub(1).unwrap_or(self.streams.len() as u32 - 1);
                return;
            }
            let sent = &mut self.streams[self.turn as usize].sent;
            let mut batch = new_batch(&mut self.pool, self.turn, sent.assigned, c.now);
            batch.count = count;
            sent.assigned += count;
            self.records_left -= count;
            self.buffered += count;
            c.cells.counts.scheduled += count;
            self.lanes[lane].ready.push_back(batch);
        }
    }

    /// Takes what goes into the next request: batches of different partitions, full ones up to [`REQUEST_BYTES_GOOD`].
    fn gather(&mut self, lane: usize, c: &Context<'_>, batches: &mut Vec<Batch>) {
        self.round += 1;
        let ready = &mut self.lanes[lane].ready;
        let mut bytes = 0;
        while let Some(next) = ready.front() {
            let size = c.template.batch_bytes(next.count as usize);
            let gathered = &mut self.streams[next.partition as usize].gathered;
            let full = next.count as usize == c.template.records_max();
            let bound = if full { REQUEST_BYTES_GOOD } else { REQUEST_BYTES_MAX };
            if *gathered == self.round || (bytes > 0 && bytes + size > bound) {
                return;
            }
            *gathered = self.round;
            bytes += size;
            batches.extend(ready.pop_front());
        }
    }

    /// Sends batches as one request.
    fn send(&mut self, lane: usize, mut batches: Vec<Batch>, c: &mut Context<'_>) {
        self.note_lateness(lane, &batches, c);
        match self.write(lane, &mut batches, c) {
            Ok(correlation) => {
                c.cells.counts.produce_requests += 1;
                for batch in &mut batches {
                    if batch.attempts == 0 {
                        c.cells.counts.sent += batch.count;
                    }
                    batch.attempts += 1;
                }
                if c.plan.scenario.producers.acks == Acks::None {
                    self.acked(&mut batches, None, c);
                    self.lists.push(batches);
                } else {
                    self.lanes[lane].in_flight.push_back(InFlight { correlation, sent_ns: c.now, batches });
                }
            }
            Err(_) => {
                self.lanes[lane].retry.extend(batches);
                self.disconnect(lane, "disconnect", c);
            }
        }
    }

    /// Counts batches as acknowledged; `sent_ns` is `None` when nothing was awaited.
    pub(super) fn acked(&mut self, batches: &mut Vec<Batch>, sent_ns: Option<u64>, c: &mut Context<'_>) {
        let p = &c.plan.scenario.producers;
        for batch in batches.drain(..) {
            c.cells.counts.acked += batch.count;
            c.cells.counts.acked_bytes += batch.count * u64::from(p.value_bytes + p.key_bytes);
            self.buffered -= batch.count;
            if let Some(sent_ns) = sent_ns {
                if batch.intended.each.is_empty() {
                    let same = batch.intended.same;
                    c.cells.record(Metric::ProduceResponse, same, c.now.saturating_sub(same), batch.count);
                    c.cells.record(Metric::ProduceService, same, c.now.saturating_sub(sent_ns), batch.count);
                } else {
                    for intended in &batch.intended.each {
                        c.cells.record(Metric::ProduceResponse, *intended, c.now.saturating_sub(*intended), 1);
                    }
                    c.cells.record_each(Metric::ProduceService, &batch.intended.each, c.now.saturating_sub(sent_ns));
                }
            }
            if self.pool.len() < POOL_MAX {
                self.pool.push(batch);
            }
        }
    }

    /// Gives a batch up.
    pub(super) fn failed(&mut self, batch: Batch, c: &mut Context<'_>) {
        self.streams[batch.partition as usize].sent.not_acked((batch.first, batch.first + batch.count));
        self.buffered -= batch.count;
        c.cells.counts.failed += batch.count;
    }

    /// Queues a batch to be sent again, or gives it up.
    pub(super) fn again(&mut self, lane: usize, batch: Batch, c: &mut Context<'_>) {
        let p = &c.plan.scenario.producers;
        let expired = c.now.saturating_sub(batch.opened_ns) > u64::from(p.delivery_timeout_ms) * 1_000_000;
        if !p.retries || expired {
            self.needs_id |= p.idempotent;
            return self.failed(batch, c);
        }
        let retry = &mut self.lanes[lane].retry;
        let at = retry.partition_point(|b| (b.partition, b.first) < (batch.partition, batch.first));
        retry.insert(at, batch);
    }

    /// Closes a lane; what was in flight is sent again or given up.
    pub(super) fn disconnect(&mut self, lane: usize, kind: &'static str, c: &mut Context<'_>) {
        self.lanes[lane].link.close(kind, c);
        while let Some(request) = self.lanes[lane].in_flight.pop_front() {
            request.batches.into_iter().for_each(|batch| self.again(lane, batch, c));
        }
    }

    /// Looks for requests without an answer, and for batches that can wait no longer. Called a few times per second.
    pub fn check_timeouts(&mut self, c: &mut Context<'_>) {
        let p = &c.plan.scenario.producers;
        let timeout = u64::from(p.request_timeout_ms) * 1_000_000;
        for lane in 0..self.lanes.len() {
            if self.lanes[lane].in_flight.front().is_some_and(|r| c.now.saturating_sub(r.sent_ns) > timeout) {
                self.disconnect(lane, "timeout", c);
            }
            for batch in std::mem::take(&mut self.lanes[lane].retry) {
                self.again(lane, batch, c);
            }
        }
    }

    /// A lane's socket can be written to.
    pub fn on_writable(&mut self, lane: usize, c: &mut Context<'_>) {
        if self.lanes[lane].link.on_writable().is_err() {
            self.disconnect(lane, "disconnect", c);
        }
    }

    /// A lane's socket has something to read.
    pub fn on_readable(&mut self, lane: usize, c: &mut Context<'_>) {
        if let Err(error) = producer_answer::read(self, lane, c) {
            self.disconnect(lane, if error.kind() == io::ErrorKind::InvalidData { "malformed" } else { "disconnect" }, c);
        }
    }

    /// Moves what waits to the lanes of new leaders.
    fn follow_leaders(&mut self, c: &mut Context<'_>) {
        let version = c.shared.topology_version();
        if version == self.topology_version {
            return;
        }
        self.topology_version = version;
        for lane in 0..self.lanes.len() {
            let l = &mut self.lanes[lane];
            let (order, ready, retry) = (std::mem::take(&mut l.order), std::mem::take(&mut l.ready), std::mem::take(&mut l.retry));
            let last = self.lanes.len() - 1;
            let to = |partition| c.topology.leader(partition).map_or(lane, usize::from).min(last);
            order.into_iter().for_each(|o| self.lanes[to(o.0)].order.push_back(o));
            ready.into_iter().for_each(|b| self.lanes[to(b.partition)].ready.push_back(b));
            retry.into_iter().for_each(|b| self.lanes[to(b.partition)].retry.push_back(b));
        }
    }

    /// When something will have to be done without an event.
    fn next_wake(&self, end: u64, c: &Context<'_>) -> u64 {
        let links = self.lanes.iter().map(|l| l.link.wake_ns()).min().unwrap_or(NEVER);
        if c.now < c.shared.start_ns() {
            return links.min(c.shared.start_ns());
        }
        // Blocked lanes wake by events.
        let free = self.lanes.iter().filter(|l| !l.blocked);
        let deadline = free.filter_map(|l| l.order.front().map(|o| o.2)).min().unwrap_or(NEVER);
        let next = match &self.taken {
            Some(taken) if self.lanes.iter().any(|l| !l.blocked) && !self.closing => {
                let p = &c.plan.scenario.producers;
                let linger = (p.linger_ms * 1e6) as u64;
                let building = match p.partitioner {
                    Partitioner::Sticky => self.streams[self.turn as usize].building.as_ref().map_or(0, |b| b.count),
                    _ => 0,
                };
                let missing = (c.template.records_max() as u64).saturating_sub(building + 1);
                let full = taken.eta(missing);
                let next = taken.peek().saturating_add(linger).min(full).saturating_add(c.shared.start_ns());
                if next >= end { end } else { next }
            }
            _ => NEVER,
        };
        links.min(deadline).min(next)
    }

    /// Numbers of all streams at the end; what has no answer counts as not acknowledged. Returns them with the records unanswered.
    pub fn finish(mut self) -> (u32, Vec<Sent>, u64) {
        let unanswered = self.buffered;
        let lanes = std::mem::take(&mut self.lanes);
        let open =
            lanes.into_iter().flat_map(|l| l.ready.into_iter().chain(l.retry).chain(l.in_flight.into_iter().flat_map(|r| r.batches)));
        let building: Vec<Batch> = self.streams.iter_mut().filter_map(|s| s.building.take()).collect();
        for batch in open.chain(building) {
            self.streams[batch.partition as usize].sent.not_acked((batch.first, batch.first + batch.count));
        }
        let mut sent: Vec<Sent> = self.streams.into_iter().map(|s| s.sent).collect();
        sent.iter_mut().for_each(Sent::settle);
        (self.index, sent, unanswered)
    }
}

fn new_batch(pool: &mut Vec<Batch>, partition: PartitionNumber, first: u64, intended_ns: u64) -> Batch {
    let mut batch = pool.pop().unwrap_or_default();
    batch.intended.each.clear();
    batch.intended.same = intended_ns;
    Batch { partition, first, count: 0, opened_ns: intended_ns, attempts: 0, intended: batch.intended }
}

/// Whether an error code means that the leaders moved.
pub(super) fn is_leadership(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NotLeaderOrFollower
            | ErrorCode::LeaderNotAvailable
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::UnknownTopicId
            | ErrorCode::FencedLeaderEpoch
    )
}
