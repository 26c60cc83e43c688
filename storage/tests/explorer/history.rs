//! What a life did and promised, with the event of the disk at which it did: so that for a crash at any event it is known what must be there.

use std::collections::BTreeMap;
use std::rc::Rc;

use coreline_wire::TopicPartition;
use coreline_wire::record::ValidBatch;

/// A batch as it lies in the log.
pub(crate) struct Batch {
    pub(crate) base_offset: i64,
    pub(crate) next_offset: i64,
    pub(crate) bytes: Vec<u8>,
    /// Producer id and the sequence of the last record.
    pub(crate) producer: Option<(i64, i32)>,
    /// As it was handed in.
    pub(crate) raw: ValidBatch,
    /// Event of the disk when it was appended.
    pub(crate) at: usize,
}

/// One log: a value behind `(event, value)` holds from that event on.
#[derive(Clone, Default)]
pub(crate) struct LogHistory {
    pub(crate) created_at: usize,
    pub(crate) deleted_at: Option<usize>,
    pub(crate) batches: Vec<Rc<Batch>>,
    /// Ends that were durable.
    pub(crate) acked: Vec<(usize, i64)>,
    /// Ends that were acknowledged as written, to outlive the process.
    pub(crate) written: Vec<(usize, i64)>,
    /// Log starts that were asked for.
    pub(crate) start_asked: Vec<(usize, i64)>,
    /// Log starts that were answered.
    pub(crate) start_answered: Vec<(usize, i64)>,
}

/// What a crash at one event must leave of one log.
#[derive(Clone)]
pub(crate) struct Expected {
    /// Everything that was appended by then.
    pub(crate) batches: Vec<Rc<Batch>>,
    /// The recovered end is at least this.
    pub(crate) end_min: i64,
    /// At least this when only the process died.
    pub(crate) end_min_written: i64,
    /// The recovered start lies between these.
    pub(crate) start_min: i64,
    pub(crate) start_max: i64,
}

pub(crate) type Histories = BTreeMap<TopicPartition, LogHistory>;
pub(crate) type Expectations = BTreeMap<TopicPartition, Expected>;

/// Start and end of each recovered log.
pub(crate) type Outcome = BTreeMap<TopicPartition, (i64, i64)>;

fn largest(list: &[(usize, i64)], event: usize) -> i64 {
    list.iter().filter(|(at, _)| *at <= event).map(|(_, value)| *value).max().unwrap_or(0)
}

impl LogHistory {
    pub(crate) fn new(created_at: usize) -> LogHistory {
        LogHistory { created_at, ..LogHistory::default() }
    }

    pub(crate) fn end(&self) -> i64 {
        self.batches.last().map_or(0, |b| b.next_offset)
    }

    /// Sequence that a producer's next batch has.
    pub(crate) fn next_sequence(&self, producer: i64) -> i32 {
        let newest = self.batches.iter().rev().find_map(|b| b.producer.filter(|(id, _)| *id == producer));
        newest.map_or(0, |(_, last)| last + 1)
    }

    pub(crate) fn exists_at(&self, event: usize) -> bool {
        self.created_at <= event && self.deleted_at.is_none_or(|at| at > event)
    }

    fn expected_at(&self, event: usize) -> Expected {
        Expected {
            batches: self.batches.iter().filter(|b| b.at <= event).cloned().collect(),
            end_min: largest(&self.acked, event),
            end_min_written: largest(&self.acked, event).max(largest(&self.written, event)),
            start_min: largest(&self.start_answered, event),
            start_max: largest(&self.start_asked, event),
        }
    }

    /// The history of the next life, which begins with what will be recovered. Until it is (`opened`), no more is sure than what was promised before.
    fn recovered(&self, promised: &Expected, start: i64, end: i64) -> LogHistory {
        let kept = self.batches.iter().filter(|b| b.next_offset <= end);
        let batches = kept.map(|b| {
            let Batch { base_offset, next_offset, producer, .. } = **b;
            Rc::new(Batch { base_offset, next_offset, bytes: b.bytes.clone(), producer, raw: b.raw.clone(), at: 0 })
        });
        LogHistory {
            created_at: 0,
            deleted_at: None,
            batches: batches.collect(),
            acked: vec![(0, promised.end_min)],
            written: Vec::new(),
            start_asked: vec![(0, start)],
            start_answered: vec![(0, promised.start_min)],
        }
    }

    /// Readers see what is there from this event on.
    pub(crate) fn opened(&mut self, event: usize, start: i64) {
        self.acked.push((event, self.end()));
        self.start_answered.push((event, start));
    }
}

/// What a crash at an event must leave.
pub(crate) fn expectations(histories: &Histories, event: usize) -> Expectations {
    let alive = histories.iter().filter(|(_, history)| history.exists_at(event));
    alive.map(|(tp, history)| (*tp, history.expected_at(event))).collect()
}

/// The histories that the next life begins with.
pub(crate) fn recovered(histories: &Histories, promised: &Expectations, outcome: &Outcome) -> Histories {
    outcome.iter().map(|(tp, (start, end))| (*tp, histories[tp].recovered(&promised[tp], *start, *end))).collect()
}
