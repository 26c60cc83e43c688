//! `Timeline`: the seconds of a run, added up from the parts that load threads hand over.

use std::collections::BTreeMap;

use crate::latency::Latency;
use crate::load::cells::Part;
use crate::result::{Counts, Measured, Metric, Window};

/// Seconds by number.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    seconds: BTreeMap<u32, (Counts, BTreeMap<Metric, Latency>)>,
}

impl Timeline {
    /// Adds a part.
    pub(super) fn add(&mut self, part: Part) {
        let (counts, latency) = self.seconds.entry(part.second).or_default();
        counts.add(&part.counts);
        for (metric, some) in part.latency {
            latency.entry(metric).or_default().merge(&some);
        }
    }

    /// What is known of a second.
    pub(super) fn second(&self, second: u32) -> (Counts, BTreeMap<Metric, Latency>) {
        self.seconds.get(&second).cloned().unwrap_or_default()
    }

    /// Throughput (acknowledged, or received when nothing is sent) and p99 in ns of the `n` seconds before `second`.
    pub(super) fn recent(&self, second: u32, n: usize) -> (Vec<f64>, Vec<f64>) {
        let mut throughput = Vec::new();
        let mut p99 = Vec::new();
        for s in second.saturating_sub(n as u32)..second {
            let (counts, latency) = self.seconds.get(&s).map_or((Counts::default(), None), |(c, l)| (*c, Some(l)));
            throughput.push(counts.acked.max(counts.received) as f64);
            let of = |metric| latency.and_then(|l| l.get(&metric)).and_then(|l| l.quantile(0.99));
            p99.extend(of(Metric::ProduceResponse).or_else(|| of(Metric::E2eResponse)).map(|ns| ns as f64));
        }
        (throughput, p99)
    }

    /// Everything from one second to before another.
    pub(super) fn between(&self, from: u32, to: u32) -> Measured {
        let mut all = Measured { seconds: f64::from(to.saturating_sub(from)), ..Default::default() };
        for (counts, latency) in self.seconds.range(from..to.max(from)).map(|(_, s)| s) {
            all.counts.add(counts);
            for (metric, some) in latency {
                all.latency.entry(*metric).or_default().merge(some);
            }
        }
        all
    }

    /// A metric's histograms of the seconds from one to before another.
    pub(super) fn each(&self, metric: Metric, from: u32, to: u32) -> impl Iterator<Item = (u32, &Latency)> {
        self.seconds.range(from..to.max(from)).filter_map(move |(second, (_, latency))| Some((*second, latency.get(&metric)?)))
    }

    /// The whole time line in windows of so many seconds.
    pub(super) fn windows(&self, seconds: u32) -> Vec<Window> {
        let Some(last) = self.seconds.last_key_value().map(|(s, _)| *s) else { return Vec::new() };
        let mut windows = Vec::new();
        for from_s in (0..=last).step_by(seconds.max(1) as usize) {
            let all = self.between(from_s, from_s + seconds);
            windows.push(Window { from_s, seconds, counts: all.counts, latency: all.latency });
        }
        windows
    }
}
