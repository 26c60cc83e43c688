//! The figures of a run by name: what objectives judge and what comparisons compare.

use crate::cost::ServerCost;
use crate::latency::Latency as Histogram;
use crate::objective::{Figure, Figures, Latency};
use crate::result::{Metric, RunResult};
use crate::stats::Better;

/// One comparable figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    /// Name, such as `produce p99`.
    pub name: String,
    /// Unit.
    pub unit: &'static str,
    /// Value in the unit.
    pub value: f64,
    /// Which way better lies.
    pub better: Better,
}

/// The metric behind a latency of an objective.
pub fn metric(latency: Latency) -> Metric {
    match latency {
        Latency::Produce => Metric::ProduceResponse,
        Latency::Service => Metric::ProduceService,
        Latency::E2e => Metric::E2eResponse,
    }
}

impl Figures for RunResult {
    fn figure(&self, figure: Figure) -> Result<f64, String> {
        let histogram = |latency| match self.latency(metric(latency)).filter(|h| h.count() > 0) {
            Some(histogram) => Ok(histogram),
            None => Err(format!("no {latency} latency in this run")),
        };
        let verified =
            || if self.delivery.verified { Ok(()) } else { Err("nothing was read back, so delivery was not checked".to_string()) };
        let delivered = |of: fn(&crate::result::ConsumerDelivery) -> u64| self.delivery.consumers.iter().map(of).sum::<u64>() as f64;
        let counts = &self.measured.counts;
        match figure {
            Figure::Quantile(latency, q) => {
                let histogram: &Histogram = histogram(latency)?;
                let needed = (crate::latency::SAMPLES_BEYOND / (1.0 - q) - 1e-6).round();
                let value = histogram.quantile(q).map(|ns| ns as f64);
                value
                    .ok_or_else(|| format!("{} samples, this quantile needs {needed:.0}: a longer run or a higher rate", histogram.count()))
            }
            Figure::Mean(latency) => histogram(latency)?.mean().ok_or_else(|| "no samples".to_string()),
            Figure::Max(latency) => histogram(latency)?.max().map(|ns| ns as f64).ok_or_else(|| "no samples".to_string()),
            Figure::Errors => Ok(self.error_count() as f64),
            Figure::Loss => verified().map(|()| delivered(|c| c.lost)),
            Figure::Duplicates => verified().map(|()| delivered(|c| c.duplicates)),
            Figure::Reordered => verified().map(|()| delivered(|c| c.reordered)),
            Figure::RecordsPerSecond => Ok(self.acked_per_s()),
            Figure::BytesPerSecond => Ok(self.acked_bytes_per_s()),
            Figure::Delivered if counts.scheduled == 0 => Err("nothing was scheduled".into()),
            Figure::Delivered => Ok(counts.acked as f64 / counts.scheduled as f64),
        }
    }
}

/// What the server cost, if this run has it.
pub fn server_cost(run: &RunResult) -> Option<ServerCost> {
    serde_json::from_value(run.server_cost.clone()?).ok()
}

/// Share of a schedule from which on it counts as kept.
const KEPT_UP: f64 = 0.995;

/// The rate of a run's schedule; `None` when it sent as fast as the server took it.
fn asked_for(run: &RunResult) -> Option<f64> {
    run.settings.get("load.rate")?.parse().ok()
}

/// All figures of a run that can be compared with another run's, in the order of a report.
pub fn comparable(run: &RunResult) -> Vec<Named> {
    let mut all = Vec::new();
    let mut add = |name: String, unit, value: f64, better| {
        if value.is_finite() && value > 0.0 {
            all.push(Named { name, unit, value, better });
        }
    };
    match asked_for(run) {
        // The throughput is what was asked for: a thousandth more or less says nothing of the server.
        Some(rate) if run.figure(Figure::Delivered).is_ok_and(|delivered| delivered >= KEPT_UP) => {
            add("acknowledged".into(), "records/s", rate, Better::Higher);
        }
        _ => add("acknowledged".into(), "records/s", run.acked_per_s(), Better::Higher),
    }
    if asked_for(run).is_none() {
        add("acknowledged bytes".into(), "MB/s", run.acked_bytes_per_s() / 1e6, Better::Higher);
        add("received bytes".into(), "MB/s", run.received_bytes_per_s() / 1e6, Better::Higher);
    }
    for (metric, name) in [(Metric::ProduceResponse, "produce"), (Metric::ProduceService, "service"), (Metric::E2eResponse, "e2e")] {
        for (q, label) in [(0.5, "p50"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99")] {
            if let Some(ns) = run.latency(metric).and_then(|h| h.quantile(q)) {
                add(format!("{name} {label}"), "us", ns as f64 / 1e3, Better::Lower);
            }
        }
    }
    // A figure that ends in a number is one of several, of which the median stands beside them.
    let single = |name: &str| name.rsplit_once('.').is_none_or(|(_, end)| !end.chars().all(|c| c.is_ascii_digit()));
    for (name, value) in run.figures.iter().filter(|(name, _)| single(name)) {
        let better = if name.contains("per_s") { Better::Higher } else { Better::Lower };
        add(name.clone(), "", *value, better);
    }
    if let Some(cost) = server_cost(run) {
        let moved = cost.records > 0;
        if let Some(server) = &cost.server {
            add("server CPU".into(), "s/GB", cost.server_cpu_s_per_gb.unwrap_or(0.0), Better::Lower);
            add("server CPU".into(), "s/M records", cost.server_cpu_s_per_million.unwrap_or(0.0), Better::Lower);
            add("server RSS".into(), "MB", server.rss_bytes as f64 / 1e6, Better::Lower);
            if moved {
                let calls = server.system_calls.unwrap_or(0) as f64;
                add("server system calls".into(), "per k records", calls / cost.records as f64 * 1e3, Better::Lower);
                add(
                    "server disk writes".into(),
                    "bytes/byte in",
                    server.disk_written_bytes as f64 / run.measured.counts.acked_bytes.max(1) as f64,
                    Better::Lower,
                );
            } else {
                add("server CPU".into(), "% of a core", server.cpu_percent, Better::Lower);
                add("server waits".into(), "/s", server.voluntary_switches as f64 / cost.seconds.max(1e-9), Better::Lower);
            }
        }
        if moved {
            add("host CPU".into(), "s/GB", cost.host_cpu_s_per_gb.unwrap_or(0.0), Better::Lower);
            add("host CPU".into(), "s/M records", cost.host_cpu_s_per_million.unwrap_or(0.0), Better::Lower);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::Recorder;
    use crate::objective::Objective;

    fn run(samples: u64) -> RunResult {
        let mut recorder = Recorder::default();
        recorder.record(2_000_000, samples);
        let mut run = RunResult::default();
        run.measured.seconds = 10.0;
        run.measured.counts.scheduled = samples;
        run.measured.counts.acked = samples - 10;
        run.measured.counts.acked_bytes = samples * 100;
        run.measured.latency.extend(recorder.take().map(|h| (Metric::ProduceResponse, h)));
        run
    }

    #[test]
    fn an_objective_is_judged_on_a_run() {
        let judge = |text: &str| Objective::parse(text).expect("parses").judge(&run(5_000));
        let outcome = judge("p99(produce) <= 3ms and p99.99(produce) <= 3ms and delivered >= 99.5% and throughput >= 499/s");
        assert_eq!(outcome.iter().map(|o| o.met).collect::<Vec<_>>(), [true, false, true, true]);
        assert!(outcome[1].shown.contains("5000 samples") && outcome[1].shown.contains("100000"), "{}", outcome[1].shown);
        assert!(judge("loss == 0")[0].shown.contains("not checked"));
        assert!(judge("p50(e2e) <= 1s")[0].shown.contains("no e2e latency"));
    }

    #[test]
    fn the_throughput_of_a_schedule_that_was_kept_is_the_schedule() {
        let mut paced = run(5_000);
        let acknowledged = |run: &RunResult| comparable(run).into_iter().find(|f| f.name == "acknowledged").map(|f| f.value);
        assert_eq!(acknowledged(&paced), Some(499.0), "as fast as the server took it");
        paced.settings.insert("load.rate".into(), "500".into());
        assert_eq!(acknowledged(&paced), Some(500.0));
        paced.measured.counts.acked = 4_000;
        assert_eq!(acknowledged(&paced), Some(400.0), "it fell behind");
    }

    #[test]
    fn only_figures_that_are_there_are_compared() {
        let names: Vec<String> = comparable(&run(5_000)).into_iter().map(|f| format!("{} {}", f.name, f.unit)).collect();
        assert_eq!(names, ["acknowledged records/s", "acknowledged bytes MB/s", "produce p50 us", "produce p99 us"]);
    }
}
