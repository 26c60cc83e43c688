//! What a producer does with answers: acknowledged, to be sent again, given up; and new producer ids.

use std::io::{self, ErrorKind};
use std::sync::atomic::Ordering;

use bytes::Bytes;
use coreline_wire::{ApiKey, ErrorCode};
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};
use kafka_protocol::protocol::{Decodable, HeaderVersion};

use super::producer::{Batch, InFlight, Producer, is_leadership};
use super::shared::Context;
use crate::client::admin::encode;
use crate::client::produce;
use crate::clock::now_ns;

/// Attempts after which an out-of-order answer counts as final: what should have come before was lost.
const OUT_OF_ORDER_ATTEMPTS: u32 = 10;

/// Reads and handles all answers that are there. An error ends the connection.
pub(super) fn read(producer: &mut Producer, lane: usize, c: &mut Context<'_>) -> io::Result<()> {
    loop {
        let Some(connection) = producer.lanes[lane].link.ready() else { return Ok(()) };
        let more = connection.fill()?;
        c.now = now_ns();
        loop {
            let l = &mut producer.lanes[lane];
            let Some(connection) = l.link.ready() else { return Ok(()) };
            let Some(range) = connection.next_frame()? else { break };
            let bad = |what: &str| io::Error::new(ErrorKind::InvalidData, what.to_string());
            let frame = connection.frame(range);
            let (correlation, body) = frame.split_first_chunk::<4>().ok_or_else(|| bad("an answer without correlation id"))?;
            let correlation = i32::from_be_bytes(*correlation);
            let expected = l.in_flight.front().map(|r| (r.correlation, r.batches.is_empty()));
            let Some((_, is_id)) = expected.filter(|(id, _)| *id == correlation) else { return Err(bad("an answer to no request")) };
            if is_id {
                let body = Bytes::copy_from_slice(body);
                producer.lanes[lane].in_flight.pop_front();
                on_id(producer, body, c)?;
                continue;
            }
            let version = c.topology.versions.of(ApiKey::Produce).unwrap_or(3);
            c.answers.clear();
            let answers = &mut *c.answers;
            let topology = c.topology;
            produce::read(body, version, |a| answers.push((topology.number(a.topic, a.partition, 0), a.error)))
                .map_err(|e| bad(&e.to_string()))?;
            if let Some(request) = producer.lanes[lane].in_flight.pop_front() {
                on_answer(producer, lane, request, c);
            }
        }
        if !more {
            return Ok(());
        }
    }
}

fn on_answer(producer: &mut Producer, lane: usize, mut request: InFlight, c: &mut Context<'_>) {
    c.shared.answered_ns.store(c.now, Ordering::Relaxed);
    let mut answers = std::mem::take(c.answers);
    answers.sort_unstable_by_key(|(number, _)| *number);
    let good = |batch: &Batch| {
        let at = answers.binary_search_by_key(&Some(batch.partition), |(number, _)| *number);
        // A repeat that the server knows already is there.
        at.map_or(ErrorCode::CorruptMessage, |at| match ErrorCode::from_code(answers[at].1) {
            ErrorCode::DuplicateSequenceNumber => ErrorCode::None,
            code => code,
        })
    };
    if request.batches.iter().any(|b| good(b) != ErrorCode::None) {
        let mut acked = producer.lists.pop().unwrap_or_default();
        for batch in request.batches.drain(..) {
            match good(&batch) {
                ErrorCode::None => acked.push(batch),
                code => on_error(producer, lane, batch, code, c),
            }
        }
        std::mem::swap(&mut acked, &mut request.batches);
        producer.lists.push(acked);
    }
    if !request.batches.is_empty() {
        let down = c.shared.down_ns.load(Ordering::Relaxed);
        if down != 0 && request.sent_ns > down && c.shared.first_ack_ns.load(Ordering::Relaxed) == 0 {
            c.shared.first_ack_ns.store(c.now, Ordering::Relaxed);
        }
    }
    producer.acked(&mut request.batches, Some(request.sent_ns), c);
    producer.lists.push(request.batches);
    *c.answers = answers;
}

fn on_error(producer: &mut Producer, lane: usize, batch: Batch, code: ErrorCode, c: &mut Context<'_>) {
    c.cells.error(code.name());
    if is_leadership(code) {
        c.shared.stale.store(true, Ordering::Relaxed);
    }
    match code {
        // What came before it is to be sent again, and goes first.
        ErrorCode::OutOfOrderSequenceNumber if batch.attempts < OUT_OF_ORDER_ATTEMPTS => producer.again(lane, batch, c),
        ErrorCode::OutOfOrderSequenceNumber
        | ErrorCode::UnknownProducerId
        | ErrorCode::InvalidProducerEpoch
        | ErrorCode::ProducerFenced => {
            producer.needs_id = true;
            producer.again(lane, batch, c);
        }
        code if code.is_retriable() => producer.again(lane, batch, c),
        _ => {
            // The server never counted these numbers: the next ones start over under a new id.
            producer.needs_id |= c.plan.scenario.producers.idempotent;
            producer.failed(batch, c);
        }
    }
}

/// Asks for a new producer id; nothing else is in flight.
pub(super) fn ask_for_id(producer: &mut Producer, lane: usize, c: &mut Context<'_>) {
    let version = c.topology.versions.of(ApiKey::InitProducerId).unwrap_or(0);
    let Some(connection) = producer.lanes[lane].link.ready() else { return };
    let correlation = connection.next_correlation();
    let request = InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
    let sent = encode(ApiKey::InitProducerId.code(), version, correlation, &request).and_then(|frame| connection.send(&frame));
    match sent {
        Ok(()) => {
            let sent_ns = c.now;
            producer.lanes[lane].in_flight.push_back(InFlight { correlation, sent_ns, batches: Vec::new() });
        }
        Err(_) => producer.disconnect(lane, "disconnect", c),
    }
}

fn on_id(producer: &mut Producer, mut body: Bytes, c: &mut Context<'_>) -> io::Result<()> {
    let version = c.topology.versions.of(ApiKey::InitProducerId).unwrap_or(0);
    if InitProducerIdResponse::header_version(version) >= 1 && !body.is_empty() {
        body = body.slice(1..); // no tagged fields
    }
    let answer = InitProducerIdResponse::decode(&mut body, version).map_err(|e| io::Error::new(ErrorKind::InvalidData, e.to_string()))?;
    match ErrorCode::from_code(answer.error_code) {
        ErrorCode::None => {
            producer.id = (*answer.producer_id, answer.producer_epoch);
            producer.id_generation += 1;
            producer.needs_id = false;
        }
        code => c.cells.error(code.name()),
    }
    Ok(())
}
