//! What a life did and promised, with the event of the disk at which it did: so that for a crash at any event it is known what must be there.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use coreline_wire::TopicPartition;
use coreline_wire::record::ValidBatch;

/// A record as a reader sees it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
}

/// A batch as it lies in the log.
pub(crate) struct Batch {
    pub(crate) base_offset: i64,
    pub(crate) next_offset: i64,
    pub(crate) bytes: Vec<u8>,
    /// Producer id and the sequence of the last record.
    pub(crate) producer: Option<(i64, i32)>,
    /// As it was handed in.
    pub(crate) raw: ValidBatch,
    /// Its records; only of a log that is compacted.
    pub(crate) lines: Rc<Vec<Line>>,
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
    /// Compactions that were asked for: event, offset below which they may look, wall clock.
    pub(crate) clean_asked: Vec<(usize, i64, i64)>,
    /// Offsets below which a compaction has answered that it looked at every record.
    pub(crate) clean_answered: Vec<(usize, i64)>,
    /// What readers of a compacted log found when it was opened.
    pub(crate) seen: Option<(usize, Seen)>,
}

/// Offsets of the records below `end` that were there.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) end: i64,
    pub(crate) offsets: Rc<BTreeSet<i64>>,
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
    /// Compactions that may have happened: offset below which they looked, wall clock.
    pub(crate) clean_asked: Vec<(i64, i64)>,
    /// Every record below was looked at by a compaction.
    pub(crate) clean_min: i64,
    /// What is not in here does not come back.
    pub(crate) seen: Option<Seen>,
}

pub(crate) type Histories = BTreeMap<TopicPartition, LogHistory>;
pub(crate) type Expectations = BTreeMap<TopicPartition, Expected>;

/// Start and end of each recovered log, and the checksum of what is read in between.
pub(crate) type Outcome = BTreeMap<TopicPartition, (i64, i64, u32)>;

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
            clean_asked: self.clean_asked.iter().filter(|(at, ..)| *at <= event).map(|(_, below, now_ms)| (*below, *now_ms)).collect(),
            clean_min: largest(&self.clean_answered, event),
            seen: self.seen.as_ref().filter(|(at, _)| *at <= event).map(|(_, seen)| seen.clone()),
        }
    }

    /// The history of the next life, which begins with what will be recovered. Until it is (`opened`), no more is sure than what was promised before.
    fn recovered(&self, promised: &Expected, start: i64, end: i64) -> LogHistory {
        let kept = self.batches.iter().filter(|b| b.next_offset <= end);
        let batches = kept.map(|b| {
            let Batch { base_offset, next_offset, producer, .. } = **b;
            let (bytes, raw, lines) = (b.bytes.clone(), b.raw.clone(), b.lines.clone());
            Rc::new(Batch { base_offset, next_offset, bytes, producer, raw, lines, at: 0 })
        });
        LogHistory {
            created_at: 0,
            deleted_at: None,
            batches: batches.collect(),
            acked: vec![(0, promised.end_min)],
            written: Vec::new(),
            start_asked: vec![(0, start)],
            start_answered: vec![(0, promised.start_min)],
            clean_asked: promised.clean_asked.iter().map(|(below, now_ms)| (0, *below, *now_ms)).collect(),
            clean_answered: vec![(0, promised.clean_min)],
            seen: promised.seen.clone().map(|seen| (0, seen)),
        }
    }

    /// Readers see what is there from this event on.
    pub(crate) fn opened(&mut self, event: usize, start: i64, seen: Option<Seen>) {
        self.acked.push((event, self.end()));
        self.start_answered.push((event, start));
        self.seen = seen.map(|seen| (event, seen)).or(self.seen.take());
    }
}

/// What a crash at an event must leave.
pub(crate) fn expectations(histories: &Histories, event: usize) -> Expectations {
    let alive = histories.iter().filter(|(_, history)| history.exists_at(event));
    alive.map(|(tp, history)| (*tp, history.expected_at(event))).collect()
}

/// The histories that the next life begins with.
pub(crate) fn recovered(histories: &Histories, promised: &Expectations, outcome: &Outcome) -> Histories {
    outcome.iter().map(|(tp, (start, end, _))| (*tp, histories[tp].recovered(&promised[tp], *start, *end))).collect()
}
