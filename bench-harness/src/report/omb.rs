//! A run as OpenMessaging Benchmark writes its results, so that its chart script reads it.
//!
//! Times are milliseconds, delays microseconds, series one value per ten seconds. Publish latency counts from the intended send time, which that
//! tool's does not (it has the delay apart); a quantile that a sample cannot carry is replaced by the sample's maximum, an upper bound, because
//! the script needs a number.

use serde_json::{Map, Value, json};

use crate::latency::Latency;
use crate::objective::percent;
use crate::result::{Metric, RunResult, Window};

/// The script draws a point every ten seconds.
const STEP_S: u32 = 10;
const PERCENTILES: [(&str, f64); 7] =
    [("50pct", 0.5), ("75pct", 0.75), ("95pct", 0.95), ("99pct", 0.99), ("999pct", 0.999), ("9999pct", 0.9999), ("99999pct", 0.99999)];

/// The result as that tool's JSON.
pub fn export(result: &RunResult) -> Value {
    let setting = |key: &str| result.settings.get(key).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let consumers = result.delivery.consumers.len();
    let mut out = Map::new();
    out.insert("workload".into(), json!(result.scenario));
    out.insert("driver".into(), json!(result.target.name));
    out.insert("messageSize".into(), json!(setting("producers.value_bytes")));
    out.insert("topics".into(), json!(setting("topic.count")));
    out.insert("partitions".into(), json!(setting("topic.partitions")));
    out.insert("producersPerTopic".into(), json!(setting("producers.count") / setting("topic.count").max(1)));
    out.insert("consumersPerTopic".into(), json!(consumers));
    out.insert("beginTime".into(), json!(result.started_unix_ms));
    let steps = steps(result);
    let rate = |of: &dyn Fn(&Window) -> u64| steps.iter().map(|w| of(w) as f64 / f64::from(w.seconds.max(1))).collect::<Vec<f64>>();
    out.insert("publishRate".into(), json!(rate(&|w| w.counts.acked)));
    out.insert("publishErrorRate".into(), json!(rate(&|w| w.counts.failed)));
    out.insert("consumeRate".into(), json!(rate(&|w| w.counts.received)));
    let mut behind = 0i128;
    let backlog = steps.iter().map(|w| {
        behind += i128::from(w.counts.acked) * consumers as i128 - i128::from(w.counts.received);
        behind.max(0) as u64
    });
    out.insert("backlog".into(), json!(backlog.collect::<Vec<u64>>()));
    for (name, metric, unit_ns) in [
        ("PublishLatency", Metric::ProduceResponse, 1e6),
        ("PublishDelayLatency", Metric::Lateness, 1e3),
        ("EndToEndLatency", Metric::E2eResponse, 1e6),
    ] {
        latency(&mut out, result, &steps, name, metric, unit_ns);
    }
    Value::Object(out)
}

/// Windows of the measured phase, joined to steps.
fn steps(result: &RunResult) -> Vec<Window> {
    let phase = result.phases.iter().find(|phase| phase.name == "measured");
    let (from_s, to_s) = phase.map_or((0, u32::MAX), |phase| (phase.from_s, phase.to_s));
    let mut steps: Vec<Window> = Vec::new();
    for window in result.timeline.iter().filter(|w| w.from_s >= from_s && w.from_s < to_s) {
        match steps.last_mut().filter(|last| last.seconds + window.seconds <= STEP_S) {
            Some(last) => {
                last.seconds += window.seconds;
                last.counts.add(&window.counts);
                for (metric, latency) in &window.latency {
                    last.latency.entry(*metric).or_default().merge(latency);
                }
            }
            None => steps.push(window.clone()),
        }
    }
    steps
}

fn latency(out: &mut Map<String, Value>, result: &RunResult, steps: &[Window], name: &str, metric: Metric, unit_ns: f64) {
    let lower = name[..1].to_lowercase() + &name[1..];
    let quantile =
        |latency: Option<&Latency>, q| latency.and_then(|l| l.quantile(q).or_else(|| l.max())).map_or(0.0, |ns| ns as f64 / unit_ns);
    let mean = |latency: Option<&Latency>| latency.and_then(Latency::mean).map_or(0.0, |ns| ns / unit_ns);
    let all = result.latency(metric);
    let series = |of: &dyn Fn(Option<&Latency>) -> f64| steps.iter().map(|w| of(w.latency.get(&metric))).collect::<Vec<f64>>();
    out.insert(format!("{lower}Avg"), json!(series(&mean)));
    out.insert(format!("aggregated{name}Avg"), json!(mean(all)));
    for (label, q) in PERCENTILES {
        out.insert(format!("{lower}{label}"), json!(series(&|latency| quantile(latency, q))));
        out.insert(format!("aggregated{name}{label}"), json!(quantile(all, q)));
    }
    out.insert(format!("{lower}Max"), json!(series(&|latency| quantile(latency, 1.0))));
    out.insert(format!("aggregated{name}Max"), json!(quantile(all, 1.0)));
    let quantiles: Map<String, Value> = all
        .map(|latency| latency.quantiles().into_iter().map(|(q, ns)| (percent(q), json!(ns as f64 / unit_ns))).collect())
        .unwrap_or_default();
    out.insert(format!("aggregated{name}Quantiles"), Value::Object(quantiles));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::Recorder;
    use crate::result::Phase;

    #[test]
    fn the_chart_scripts_series_are_there() {
        let mut result = RunResult { scenario: "latency".into(), ..RunResult::default() };
        result.target.name = "coreline".into();
        result.phases = vec![Phase { name: "measured".into(), from_s: 2, to_s: 27, steady: None }];
        for second in 0..30 {
            let mut recorder = Recorder::default();
            recorder.record(u64::from(second + 1) * 1_000_000, 1000);
            let mut window = Window { from_s: second, seconds: 1, ..Window::default() };
            window.counts.acked = 1000;
            window.latency.extend(recorder.take().map(|latency| (Metric::ProduceResponse, latency)));
            if let Some(latency) = window.latency.get(&Metric::ProduceResponse) {
                result.measured.latency.entry(Metric::ProduceResponse).or_default().merge(latency);
            }
            result.timeline.push(window);
        }
        let json = export(&result);
        let length = |name: &str| json[name].as_array().map(Vec::len);
        for name in
            ["publishLatency99pct", "publishDelayLatency99pct", "publishRate", "endToEndLatency95pct", "consumeRate", "endToEndLatencyAvg"]
        {
            assert_eq!(length(name), Some(3), "{name}: 25 s are two whole steps and a half");
        }
        assert_eq!(json["publishRate"][0], 1000.0);
        let p50 = json["aggregatedPublishLatency50pct"].as_f64().expect("a number");
        assert!((14.9..15.1).contains(&p50), "{p50} ms");
        let quantiles = json["aggregatedPublishLatencyQuantiles"].as_object().expect("quantiles");
        assert!(quantiles.contains_key("99.9") && quantiles.keys().all(|key| key.parse::<f64>().is_ok_and(|q| q < 100.0)), "{quantiles:?}");
        assert!(json["aggregatedEndToEndLatencyQuantiles"].as_object().is_some_and(|q| q.is_empty()));
    }
}
