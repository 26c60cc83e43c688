//! Quiet time: the windows of a run in which the hypervisor took nothing from its CPUs, so that the error measured there is this host's own.
//!
//! The hypervisor of a virtual machine gives its CPUs to others for milliseconds (steal), and whoever waited for a deadline meanwhile is late by as
//! much; a few such pauses per second are the whole p99. The kernel counts them in `/proc/stat`, in steps of 10 ms, when the CPU's next tick comes. A
//! step that shows in one window may have been taken in the one before, and what is less than a step shows later or never: a window is quiet only
//! where the counter stood still in it, in the one before it and in the one behind it. What the threads of this host took from each other is no
//! reason to leave a window out.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::latency::Latency;

/// What was measured in quiet windows. Quantiles are microseconds, `None` where there were too few deadlines for them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quiet {
    /// Windows in which nothing was taken.
    pub windows: u64,
    /// Of so many.
    pub of: u64,
    /// Milliseconds of each.
    pub window_ms: u64,
    /// Deadlines (records) in the quiet ones.
    pub deadlines: u64,
    /// Median error.
    pub p50_us: Option<f64>,
    /// 99th percentile of the error.
    pub p99_us: Option<f64>,
    /// 99.9th percentile of the error.
    pub p999_us: Option<f64>,
}

/// Whether window `i`, between readings `i` and `i + 1` of the steal counter, is quiet; `None` as long as the readings do not reach far enough to
/// tell. A reading is `None` where there was none in time. Pure.
pub fn is_quiet(readings: &[Option<u64>], i: usize) -> Option<bool> {
    let Some(before) = i.checked_sub(1) else { return Some(false) };
    let around = readings.get(before..before + 4)?;
    Some(around[0].is_some() && around.iter().all(|reading| *reading == around[0]))
}

/// Adds up the windows that turn out to be quiet, and holds no more of the others than what is not decided yet.
#[derive(Debug, Default)]
pub struct Sieve {
    readings: Vec<Option<u64>>,
    waiting: VecDeque<(usize, Latency)>,
    quiet: Latency,
    windows: u64,
    of: u64,
}

impl Sieve {
    /// Readings there are: the next one is of the edge with this number.
    pub fn readings(&self) -> usize {
        self.readings.len()
    }

    /// The steal counter at the next edge; `None` where it could not be read, or not in time.
    pub fn reading(&mut self, ticks: Option<u64>) {
        self.readings.push(ticks);
        self.settle();
    }

    /// The errors of the window between edges `i` and `i + 1`; once for each window that counts.
    pub fn window(&mut self, i: usize, errors: Latency) {
        self.of += 1;
        self.waiting.push_back((i, errors));
        self.settle();
    }

    fn settle(&mut self) {
        let (readings, quiet, windows) = (&self.readings, &mut self.quiet, &mut self.windows);
        self.waiting.retain(|(i, errors)| match is_quiet(readings, *i) {
            None => true,
            Some(false) => false,
            Some(true) => {
                quiet.merge(errors);
                *windows += 1;
                false
            }
        });
    }

    /// The sum; `None` where the host never told what was taken. What is undecided now has no neighbour and does not count.
    pub fn finish(self, window_ms: u64) -> Option<Quiet> {
        self.readings.iter().any(Option::is_some).then(|| {
            let at = |q: f64| self.quiet.quantile(q).map(|ns| ns as f64 / 1e3);
            Quiet {
                windows: self.windows,
                of: self.of,
                window_ms,
                deadlines: self.quiet.count(),
                p50_us: at(0.5),
                p99_us: at(0.99),
                p999_us: at(0.999),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::Recorder;

    fn quiet(readings: &[Option<u64>]) -> String {
        let shown = |i| match is_quiet(readings, i) {
            None => '?',
            Some(true) => 'q',
            Some(false) => '-',
        };
        (0..readings.len().saturating_sub(1)).map(shown).collect()
    }

    #[test]
    fn a_window_is_quiet_when_it_and_its_neighbours_are() {
        let still = |n| vec![Some(7); n];
        assert_eq!(quiet(&still(6)), "-qqq?", "the first has no neighbour, the last not yet");
        let mut step = still(10);
        step[5..].iter_mut().for_each(|reading| *reading = Some(8));
        // It shows in window 4, between readings 4 and 5.
        assert_eq!(quiet(&step), "-qq---qq?");
        let mut missed = still(10);
        missed[4] = None;
        assert_eq!(quiet(&missed), "-q----qq?", "two windows without an end, and their neighbours");
        assert_eq!(quiet(&[None, None, None, None, None]), "---?");
        assert_eq!((quiet(&[]), quiet(&[Some(1)])), (String::new(), String::new()));
    }

    fn errors(ns: u64, count: u64) -> Latency {
        let mut recorder = Recorder::default();
        recorder.record(ns, count);
        recorder.take().expect("samples")
    }

    #[test]
    fn only_quiet_windows_are_added_up_whenever_they_come() {
        let ticks = [3, 3, 3, 3, 3, 4, 4, 4, 4, 4];
        let windows: Vec<Latency> = (0..9).map(|i| errors(if (3..6).contains(&i) { 5_000_000 } else { 9_000 }, 400)).collect();
        let mut at_once = Sieve::default();
        for (i, reading) in ticks.iter().enumerate() {
            at_once.reading(Some(*reading));
            if i > 0 {
                at_once.window(i - 1, windows[i - 1].clone());
            }
            assert!(at_once.waiting.len() <= 2, "no more is held than what is not decided");
        }
        let mut at_the_end = Sieve::default();
        ticks.iter().for_each(|reading| at_the_end.reading(Some(*reading)));
        windows.into_iter().enumerate().for_each(|(i, window)| at_the_end.window(i, window));
        let found = at_once.finish(200).expect("was read");
        assert_eq!(at_the_end.finish(200), Some(found.clone()));
        assert_eq!((found.windows, found.of, found.deadlines), (4, 9, 1600), "{found:?}");
        assert!(found.p99_us.is_some_and(|us| (9.0..9.1).contains(&us)), "no window next to the step: {found:?}");
        assert_eq!(found.p999_us, None, "1,600 deadlines do not carry it");
    }

    #[test]
    fn a_host_that_does_not_tell_has_no_quiet_time() {
        let mut sieve = Sieve::default();
        (0..9).for_each(|_| sieve.reading(None));
        sieve.window(4, errors(1, 1));
        assert_eq!(sieve.finish(200), None);
    }
}
