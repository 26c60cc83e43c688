//! A run as OpenMetrics text, for a file that a collector picks up: quantiles, counts, delivery, figures, and whether they may be quoted.

use std::fmt::Write;

use crate::figures::comparable;
use crate::result::{Metric, RunResult};

const QUANTILES: [f64; 5] = [0.5, 0.9, 0.99, 0.999, 0.9999];

/// The exposition of a run. Every series carries its scenario and target. Writing to a `String` cannot fail.
pub fn text(result: &RunResult) -> String {
    let of = format!("scenario=\"{}\",target=\"{}\"", escaped(&result.scenario), escaped(&result.target.name));
    let mut out = String::from("# TYPE coreline_bench_valid gauge\n# HELP coreline_bench_valid Whether the run may be quoted.\n");
    let _ = writeln!(out, "coreline_bench_valid{{{of}}} {}", u8::from(result.verdict.valid));
    out.push_str("# TYPE coreline_bench_latency_seconds summary\n# UNIT coreline_bench_latency_seconds seconds\n");
    for metric in Metric::ALL {
        let Some(latency) = result.latency(metric).filter(|latency| latency.count() > 0) else { continue };
        let series = format!("{of},metric=\"{}\"", metric.name());
        for q in QUANTILES {
            // What the sample does not carry is left out.
            if let Some(ns) = latency.quantile(q) {
                let _ = writeln!(out, "coreline_bench_latency_seconds{{{series},quantile=\"{q}\"}} {}", ns as f64 / 1e9);
            }
        }
        let _ = writeln!(out, "coreline_bench_latency_seconds_count{{{series}}} {}", latency.count());
    }
    out.push_str("# TYPE coreline_bench_records counter\n");
    let counts = &result.measured.counts;
    let kinds = [
        ("scheduled", counts.scheduled),
        ("sent", counts.sent),
        ("acknowledged", counts.acked),
        ("failed", counts.failed),
        ("received", counts.received),
    ];
    for (kind, count) in kinds {
        let _ = writeln!(out, "coreline_bench_records_total{{{of},kind=\"{kind}\"}} {count}");
    }
    out.push_str("# TYPE coreline_bench_delivery counter\n");
    for consumer in &result.delivery.consumers {
        let kinds = [
            ("lost", consumer.lost),
            ("duplicates", consumer.duplicates),
            ("reordered", consumer.reordered),
            ("corrupt", consumer.corrupt),
        ];
        for (kind, count) in kinds {
            let name = escaped(&consumer.name);
            let _ = writeln!(out, "coreline_bench_delivery_total{{{of},consumer=\"{name}\",kind=\"{kind}\"}} {count}");
        }
    }
    out.push_str("# TYPE coreline_bench_errors counter\n");
    for (kind, count) in &result.errors {
        let _ = writeln!(out, "coreline_bench_errors_total{{{of},kind=\"{}\"}} {count}", escaped(kind));
    }
    out.push_str("# TYPE coreline_bench_figure gauge\n# HELP coreline_bench_figure What comparisons compare, in the unit of its label.\n");
    for figure in comparable(result) {
        let (name, unit) = (escaped(&figure.name), escaped(figure.unit));
        let _ = writeln!(out, "coreline_bench_figure{{{of},figure=\"{name}\",unit=\"{unit}\"}} {}", figure.value);
    }
    out.push_str("# EOF\n");
    out
}

/// The value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::Recorder;
    use crate::result::ConsumerDelivery;

    #[test]
    fn every_line_is_a_series_of_a_family_that_was_named_and_the_end_is_marked() {
        let mut recorder = Recorder::default();
        recorder.record(2_000_000, 1_000);
        let mut result = RunResult { scenario: "a \"b\"\n\\".into(), ..RunResult::default() };
        result.measured.latency.extend(recorder.take().map(|latency| (Metric::ProduceResponse, latency)));
        result.delivery.consumers.push(ConsumerDelivery { name: "tail".into(), lost: 3, ..ConsumerDelivery::default() });
        result.errors.insert("timeout".into(), 2);
        let text = text(&result);
        assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1, "{text}");
        let families: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            assert!(value.parse::<f64>().is_ok() && series.contains(r#"scenario="a \"b\"\n\\""#), "{line}");
            assert!(families.iter().any(|family| series.starts_with(family)), "{line}");
        }
        assert!(
            text.contains("quantile=\"0.99\"}") && !text.contains("quantile=\"0.999\"}"),
            "1,000 samples carry p99 and no more: {text}"
        );
        assert!(text.contains("kind=\"lost\"} 3") && text.contains("kind=\"timeout\"} 2"), "{text}");
    }
}
