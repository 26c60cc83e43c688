//! Response slots of a connection in request order: many requests in flight, answers go out in the order of the requests.
//!
//! Sans-I/O. Bounded: no request starts while [`IN_FLIGHT_REQUESTS_MAX`] are unanswered or more than
//! [`PENDING_RESPONSE_BYTES_MAX`] bytes of finished answers wait for the socket; then the connection is not read.

use std::collections::VecDeque;

use coreline_wire::api::ApiKey;

use crate::handler::Chunk;
use crate::limits::{IN_FLIGHT_REQUESTS_MAX, PENDING_RESPONSE_BYTES_MAX};
use crate::stage::StageStamps;

/// A response ready for the socket: size prefix, header and body in parts. Empty when the request has no response.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// The parts, in order.
    pub chunks: Vec<Chunk>,
    /// Their bytes.
    pub bytes: usize,
    /// The request's API and the time it took so far, for the metrics.
    pub request: Option<(ApiKey, StageStamps)>,
}

/// A request's place in the order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot(u64);

/// The slots of one connection; `T` is what is kept for a request while it runs.
#[derive(Debug)]
pub struct Pipeline<T> {
    /// Oldest first; `first` is the number of the front one.
    slots: VecDeque<State<T>>,
    first: u64,
    /// Finished answers not yet taken, and taken ones not yet sent.
    pending_bytes: usize,
}

#[derive(Debug)]
enum State<T> {
    Running(Option<T>),
    Done(Outgoing),
}

impl<T> Default for Pipeline<T> {
    fn default() -> Self {
        Pipeline { slots: VecDeque::new(), first: 0, pending_bytes: 0 }
    }
}

impl<T> Pipeline<T> {
    /// True when another request may start.
    pub fn has_room(&self) -> bool {
        self.slots.len() < IN_FLIGHT_REQUESTS_MAX && self.pending_bytes <= PENDING_RESPONSE_BYTES_MAX
    }

    /// True when every request is answered and every answer sent.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.pending_bytes == 0
    }

    /// Requests started and not yet taken for sending.
    pub fn in_flight(&self) -> usize {
        self.slots.len()
    }

    /// Bytes of finished answers that the kernel has not taken yet.
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// True when the oldest request is answered.
    pub fn front_is_done(&self) -> bool {
        matches!(self.slots.front(), Some(State::Done(_)))
    }

    /// The place of the next request.
    pub fn start(&mut self) -> Slot {
        self.slots.push_back(State::Running(None));
        Slot(self.first + self.slots.len() as u64 - 1)
    }

    /// Keeps something for a request while it runs. Dropped at once when the request is answered already.
    pub fn keep(&mut self, slot: Slot, kept: T) {
        if let Some(State::Running(place)) = self.state(slot) {
            *place = Some(kept);
        }
    }

    /// The answer of a request; returns what was kept for it. Exactly once per slot.
    pub fn finish(&mut self, slot: Slot, outgoing: Outgoing) -> Option<T> {
        self.pending_bytes += outgoing.bytes;
        let state = self.state(slot)?;
        match std::mem::replace(state, State::Done(outgoing)) {
            State::Running(kept) => kept,
            State::Done(_) => {
                debug_assert!(false, "two answers in {slot:?}");
                None
            }
        }
    }

    /// Takes back the newest place, whose request gets no answer.
    pub fn withdraw(&mut self, slot: Slot) {
        if slot.0 + 1 == self.first + self.slots.len() as u64 {
            self.slots.pop_back();
        }
    }

    /// The oldest answer, if it is there.
    pub fn take_ready(&mut self) -> Option<Outgoing> {
        match self.slots.pop_front()? {
            State::Done(outgoing) => {
                self.first += 1;
                Some(outgoing)
            }
            running => {
                self.slots.push_front(running);
                None
            }
        }
    }

    /// Bytes of a taken answer are with the kernel.
    pub fn sent(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.pending_bytes);
        self.pending_bytes -= bytes;
    }

    /// What is kept for all requests that still run; the connection is ending.
    pub fn abandon(&mut self) -> Vec<T> {
        self.slots.iter_mut().filter_map(|state| if let State::Running(kept) = state { kept.take() } else { None }).collect()
    }

    fn state(&mut self, slot: Slot) -> Option<&mut State<T>> {
        let place = slot.0.checked_sub(self.first)?;
        self.slots.get_mut(usize::try_from(place).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn answer(n: u8, bytes: usize) -> Outgoing {
        Outgoing { chunks: vec![Chunk::Bytes(Bytes::from(vec![n; bytes]))], bytes, request: None }
    }

    fn first_byte(outgoing: &Outgoing) -> u8 {
        match &outgoing.chunks[0] {
            Chunk::Bytes(bytes) => bytes[0],
            Chunk::File(_) => unreachable!("the test sends bytes"),
        }
    }

    #[test]
    fn answers_leave_in_request_order_whatever_the_order_of_completion() {
        // All orders in which five requests can finish.
        let mut order = [0usize, 1, 2, 3, 4];
        let mut orders = 0;
        permute(&mut order, 0, &mut |order| {
            orders += 1;
            let mut pipeline: Pipeline<()> = Pipeline::default();
            let slots: Vec<Slot> = (0..5).map(|_| pipeline.start()).collect();
            let mut sent = Vec::new();
            for done in order {
                pipeline.finish(slots[*done], answer(*done as u8, 10));
                while let Some(outgoing) = pipeline.take_ready() {
                    sent.push(first_byte(&outgoing));
                    pipeline.sent(outgoing.bytes);
                }
            }
            assert_eq!(sent, [0, 1, 2, 3, 4]);
            assert!(pipeline.is_empty());
        });
        assert_eq!(orders, 120);
    }

    fn permute(items: &mut [usize; 5], at: usize, visit: &mut dyn FnMut(&[usize; 5])) {
        if at == items.len() {
            return visit(items);
        }
        for i in at..items.len() {
            items.swap(at, i);
            permute(items, at + 1, visit);
            items.swap(at, i);
        }
    }

    #[test]
    fn only_the_newest_place_is_taken_back() {
        let mut pipeline: Pipeline<()> = Pipeline::default();
        let (older, newest) = (pipeline.start(), pipeline.start());
        pipeline.withdraw(older);
        assert_eq!(pipeline.in_flight(), 2);
        pipeline.withdraw(newest);
        assert_eq!(pipeline.in_flight(), 1);
        pipeline.finish(older, answer(0, 1));
        assert_eq!(pipeline.take_ready().map(|o| o.bytes), Some(1));
        pipeline.sent(1);
        assert!(pipeline.is_empty());
    }

    #[test]
    fn too_many_requests_in_flight_stop_the_next() {
        let mut pipeline: Pipeline<()> = Pipeline::default();
        let slots: Vec<Slot> = (0..IN_FLIGHT_REQUESTS_MAX).map(|_| pipeline.start()).collect();
        assert!(!pipeline.has_room());
        pipeline.finish(slots[1], answer(1, 1));
        assert!(!pipeline.has_room(), "the oldest is still unanswered");
        pipeline.finish(slots[0], answer(0, 1));
        assert_eq!(pipeline.take_ready().map(|o| o.bytes), Some(1));
        assert!(pipeline.has_room());
    }

    #[test]
    fn a_consumer_that_does_not_read_stops_the_next_request() {
        let mut pipeline: Pipeline<()> = Pipeline::default();
        let slot = pipeline.start();
        pipeline.finish(slot, answer(0, PENDING_RESPONSE_BYTES_MAX + 1));
        assert!(!pipeline.has_room());
        let outgoing = pipeline.take_ready().unwrap();
        assert!(!pipeline.has_room(), "taken is not sent");
        pipeline.sent(outgoing.bytes - 1);
        assert!(pipeline.has_room());
    }

    #[test]
    fn what_is_kept_comes_back_once() {
        let mut pipeline = Pipeline::default();
        let a = pipeline.start();
        let b = pipeline.start();
        pipeline.keep(a, "a");
        pipeline.keep(b, "b");
        assert_eq!(pipeline.finish(b, Outgoing::default()), Some("b"));
        assert_eq!(pipeline.abandon(), ["a"]);
        assert_eq!(pipeline.finish(a, Outgoing::default()), None);
    }
}
