//! `Cells`: what a load thread records, by second, handed to the main thread when a second is over.
//!
//! Counts belong to the second in which something happened, latencies to the second in which the record was due. A few seconds are kept dense;
//! an older one is handed over and, should it be needed again, started anew: parts of a second add up at the receiver.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;

use crate::latency::{Latency, Recorder};
use crate::result::{Counts, Metric};

/// Seconds kept dense, at most [`Metric::ALL`] x 250 KB each.
const LIVE: usize = 4;
const SECOND: u64 = 1_000_000_000;

/// A part of a second.
#[derive(Debug, Default)]
pub struct Part {
    /// Seconds from the start of the schedule.
    pub second: u32,
    /// What happened.
    pub counts: Counts,
    /// What completed of the records due then.
    pub latency: Vec<(Metric, Latency)>,
}

/// Recorder of a thread.
#[derive(Debug)]
pub struct Cells {
    start_ns: u64,
    live: Vec<Cell>,
    /// Index of the cell used last.
    recent: usize,
    used: u64,
    second: u32,
    /// Counts of the current second.
    pub counts: Counts,
    errors: BTreeMap<&'static str, u64>,
    out: Sender<Part>,
}

#[derive(Debug)]
struct Cell {
    from_ns: u64,
    second: u32,
    used: u64,
    recorders: [Option<Box<Recorder>>; Metric::ALL.len()],
}

impl Cell {
    fn new(start_ns: u64, second: u32) -> Cell {
        Cell { from_ns: start_ns + u64::from(second) * SECOND, second, used: 0, recorders: Default::default() }
    }

    fn take(&mut self) -> Vec<(Metric, Latency)> {
        let taken = Metric::ALL.iter().zip(&mut self.recorders);
        taken.filter_map(|(metric, recorder)| Some((*metric, recorder.as_mut()?.take()?))).collect()
    }
}

impl Cells {
    /// Records from `start_ns` on; an earlier time counts as the first second.
    pub fn new(start_ns: u64, out: Sender<Part>) -> Cells {
        Cells {
            start_ns,
            live: vec![Cell::new(start_ns, 0)],
            recent: 0,
            used: 0,
            second: 0,
            counts: Counts::default(),
            errors: BTreeMap::new(),
            out,
        }
    }

    /// Sets the start once it is known. What was recorded before counts as the first second.
    pub fn start_at(&mut self, start_ns: u64) {
        if self.start_ns != start_ns {
            self.flush();
            self.start_ns = start_ns;
            self.live = vec![Cell::new(start_ns, 0)];
            self.recent = 0;
        }
    }

    /// Records `count` samples of `ns` for records due at `intended_ns`.
    #[inline]
    pub fn record(&mut self, metric: Metric, intended_ns: u64, ns: u64, count: u64) {
        // A time before the start wraps to something huge, and is then looked at closely.
        if intended_ns.wrapping_sub(self.live[self.recent].from_ns) >= SECOND {
            self.select(intended_ns);
        }
        let recorder = &mut self.live[self.recent].recorders[metric as usize];
        recorder.get_or_insert_with(Box::default).record(ns, count);
    }

    /// Records `ns` once for each of the times, which ascend and are mostly of one second.
    pub fn record_each(&mut self, metric: Metric, intended: &[u64], ns: u64) {
        match intended {
            [first, .., last] if self.second_of(*first) != self.second_of(*last) => {
                intended.iter().for_each(|i| self.record(metric, *i, ns, 1))
            }
            [first, ..] => self.record(metric, *first, ns, intended.len() as u64),
            [] => {}
        }
    }

    fn second_of(&self, intended_ns: u64) -> u32 {
        (intended_ns.saturating_sub(self.start_ns) / SECOND) as u32
    }

    fn select(&mut self, intended_ns: u64) {
        let second = self.second_of(intended_ns);
        self.used += 1;
        self.recent = match self.live.iter().position(|c| c.second == second) {
            Some(i) => i,
            None if self.live.len() < LIVE => {
                self.live.push(Cell::new(self.start_ns, second));
                self.live.len() - 1
            }
            None => {
                let oldest = (0..self.live.len()).min_by_key(|i| self.live[*i].used).unwrap_or(0);
                self.hand_over(oldest);
                let cell = &mut self.live[oldest];
                (cell.second, cell.from_ns) = (second, self.start_ns + u64::from(second) * SECOND);
                oldest
            }
        };
        self.live[self.recent].used = self.used;
    }

    fn hand_over(&mut self, i: usize) {
        let cell = &mut self.live[i];
        let latency = cell.take();
        if !latency.is_empty() {
            // The receiver is gone only when the run is.
            let _ = self.out.send(Part { second: cell.second, counts: Counts::default(), latency });
        }
    }

    /// Counts an error.
    pub fn error(&mut self, kind: &'static str) {
        *self.errors.entry(kind).or_default() += 1;
        self.counts.errors += 1;
    }

    /// Goes on to the second of `now_ns`, handing over everything when it is another.
    pub fn turn(&mut self, now_ns: u64) {
        let second = (now_ns.saturating_sub(self.start_ns) / SECOND) as u32;
        if second != self.second {
            self.flush();
            self.second = second;
        }
    }

    /// Hands over everything.
    pub fn flush(&mut self) {
        (0..self.live.len()).for_each(|i| self.hand_over(i));
        let counts = std::mem::take(&mut self.counts);
        if counts != Counts::default() {
            let _ = self.out.send(Part { second: self.second, counts, latency: Vec::new() });
        }
    }

    /// Errors so far by kind.
    pub fn errors(&self) -> &BTreeMap<&'static str, u64> {
        &self.errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_between_seconds_however_late_it_comes() {
        let (out, parts) = std::sync::mpsc::channel();
        let mut cells = Cells::new(5 * SECOND, out);
        for i in 0..1000u64 {
            cells.turn((5 + i / 100) * SECOND);
            // Every record of second i % 9 completes now, out of order.
            cells.record(Metric::ProduceResponse, (5 + i % 9) * SECOND + i, i, 2);
            cells.counts.acked += 1;
        }
        cells.record(Metric::Lateness, 0, 1, 1);
        cells.error("timeout");
        cells.flush();
        drop(cells);
        let (mut by_second, mut acked, mut errors, mut early) = (BTreeMap::<u32, u64>::new(), 0, 0, 0);
        for part in parts {
            acked += part.counts.acked;
            errors += part.counts.errors;
            for (metric, latency) in part.latency {
                match metric {
                    Metric::ProduceResponse => *by_second.entry(part.second).or_default() += latency.count(),
                    _ => early += latency.count() * u64::from(part.second == 0),
                }
            }
        }
        assert_eq!((acked, errors, early), (1000, 1, 1));
        let wanted: BTreeMap<u32, u64> = (0..9u32).map(|s| (s, (0..1000).filter(|i| i % 9 == s).count() as u64 * 2)).collect();
        assert_eq!(by_second, wanted);
    }
}
