//! What a producer puts on the wire: one request of one batch made in place, or of several put together; and how late it was.

use std::io;
use std::sync::atomic::Ordering;

use coreline_wire::ApiKey;

use super::producer::{Batch, Producer};
use super::shared::Context;
use super::template::{Fill, HEAD_ROOM};
use crate::client::produce;
use crate::clock::unix_ms;
use crate::result::Metric;

impl Producer {
    /// Writes the request to the socket and returns its correlation id.
    pub(super) fn write(&mut self, lane: usize, batches: &mut [Batch], c: &mut Context<'_>) -> io::Result<i32> {
        let p = &c.plan.scenario.producers;
        let version = c.topology.versions.of(ApiKey::Produce).unwrap_or(3);
        let Some(connection) = self.lanes[lane].link.ready() else { return Err(io::ErrorKind::NotConnected.into()) };
        let correlation = connection.next_correlation();
        // Batches of one topic stand together.
        batches.sort_by_key(|b| b.partition);
        let topic_of = |b: &Batch| c.topology.split(b.partition).0;
        let request = &mut *c.request;
        request.clear();
        let topics = batches.chunk_by(|a, b| topic_of(a) == topic_of(b)).count();
        produce::head(request, version, correlation, p.acks.code(), p.request_timeout_ms as i32, topics);
        let timestamp_ms = unix_ms();
        for run in batches.chunk_by(|a, b| topic_of(a) == topic_of(b)) {
            let topic = topic_of(&run[0]);
            produce::topic(request, version, &c.topology.topics[topic], c.topology.id(topic), run.len());
            for batch in run {
                let index = c.topology.split(batch.partition).1;
                let stream = &mut self.streams[batch.partition as usize];
                if stream.sequence_base.1 != self.id_generation {
                    stream.sequence_base = (batch.first, self.id_generation);
                }
                let sequence = (batch.first.wrapping_sub(stream.sequence_base.0) & 0x7fff_ffff) as i32;
                c.template.fill(&Fill {
                    records: batch.count as usize,
                    run: c.plan.run_id,
                    stream: self.index * c.topology.count() + batch.partition,
                    first_sequence: batch.first,
                    intended: &batch.intended,
                    sent_ns: c.now,
                    timestamp_ms,
                    producer: if p.idempotent { (self.id.0, self.id.1, sequence) } else { (-1, -1, -1) },
                    keys: &c.plan.keys_of[index as usize],
                });
                let bytes = c.template.batch(batch.count as usize).len();
                produce::partition(request, version, index, bytes);
                if batches.len() == 1 && request.len() <= HEAD_ROOM {
                    // The one batch stays where it was made; the head is put in front of it.
                    let tail = produce::tail_bytes(version);
                    produce::finish(request, bytes + tail);
                    return c.template.framed(batch.count as usize, request, tail, |whole| connection.send(whole)).map(|()| correlation);
                }
                request.extend_from_slice(c.template.batch(batch.count as usize));
                produce::end(request, version);
            }
            produce::end(request, version);
        }
        produce::end(request, version);
        produce::finish(request, 0);
        connection.send(request).map(|()| correlation)
    }

    /// The generator's own error: how long after it should and could have gone out a batch went out.
    pub(super) fn note_lateness(&self, lane: usize, batches: &[Batch], c: &mut Context<'_>) {
        if self.taken.is_none() {
            return;
        }
        let linger = (c.plan.scenario.producers.linger_ms * 1e6) as u64;
        for batch in batches.iter().filter(|b| b.attempts == 0) {
            let last = batch.intended.each.last().copied().unwrap_or(batch.intended.same);
            let full = batch.count as usize == c.template.records_max();
            let should = if full { last.min(batch.opened_ns + linger) } else { batch.opened_ns + linger };
            let end = c.shared.end_ns.load(Ordering::Relaxed);
            let could = should.min(end).max(self.lanes[lane].free_since_ns);
            let late = c.now.saturating_sub(could);
            c.cells.record_each(Metric::Lateness, &batch.intended.each, late);
            let own = late.saturating_sub(c.poll.held_up(could, c.now));
            c.cells.record_each(Metric::LatenessOwn, &batch.intended.each, own);
        }
    }
}
