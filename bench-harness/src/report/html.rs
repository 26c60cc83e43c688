//! A run as one HTML file: verdict, percentiles, time lines, stages, cost, host, settings, raw data.

use std::collections::BTreeMap;

use super::page::{escape, flat, page, pairs};
use super::plot::{self, Line};
use super::{metric_name, number, terminal};
use crate::objective::{percent, show_time};
use crate::probe::host_line;
use crate::result::{Metric, RunResult, Window};
use crate::stages::StageReport;

/// The report of a run.
pub fn run(result: &RunResult) -> String {
    let mut body = String::new();
    head(&mut body, &result.title, &format!("{}: {}; {}", result.scenario, target(result), result.durability));
    changed(&mut body, &result.overrides);
    if let Some(host) = &result.host {
        body.push_str(&format!("<p class=\"soft\">{}</p>", escape(&host_line(host))));
    }
    verdict(&mut body, result.verdict.valid, result.interrupted, &result.verdict.reasons, &result.verdict.notes);
    body.push_str(&figures(result));
    body.push_str(&latency(result));
    body.push_str(&time_lines(result));
    if let Some(stages) = &result.stages {
        body.push_str(&stage_shares(stages));
    }
    if let Some(cost) = &result.server_cost {
        body.push_str(&section("What it cost", &pairs(flat(cost))));
    }
    let delivery = serde_json::to_value(&result.delivery).unwrap_or_default();
    let generator = serde_json::to_value(&result.generator).unwrap_or_default();
    body.push_str(&folded("Delivery", &pairs(flat(&delivery))));
    body.push_str(&folded("The generator's check of itself", &pairs(flat(&generator))));
    body.push_str(&around(result.disk.as_ref(), result.host.as_ref()));
    body.push_str(&folded("Scenario", &pairs(result.settings.clone())));
    body.push_str(&folded("As text", &format!("<pre>{}</pre>", escape(&terminal::run(result)))));
    page(&format!("{}: {}", result.scenario, target(result)), &body, result, &format!("{}.json", result.scenario))
}

fn target(result: &RunResult) -> String {
    let settings: Vec<String> = result.target.settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
    format!("{}{} {}", result.target.name, terminal::version(&result.target), settings.join(", ")).trim_end().to_string()
}

pub(super) fn head(body: &mut String, title: &str, line: &str) {
    body.push_str(&format!("<h1>{}</h1><p class=\"soft\">{}</p>", escape(title), escape(line)));
}

/// What the command line changed of the scenario.
pub(super) fn changed(body: &mut String, overrides: &BTreeMap<String, String>) {
    if !overrides.is_empty() {
        let all: Vec<String> = overrides.iter().map(|(key, value)| format!("{key}={value}")).collect();
        body.push_str(&format!("<p>Changed from the committed scenario: {}</p>", escape(&all.join(", "))));
    }
}

pub(super) fn verdict(body: &mut String, valid: bool, interrupted: bool, reasons: &[String], notes: &[String]) {
    let text = match (interrupted, valid) {
        (true, _) => "Interrupted: this is what was measured until then.".to_string(),
        (false, true) => "Valid.".to_string(),
        (false, false) => format!("Invalid, do not quote: {}", reasons.join("; ")),
    };
    let class = if valid && !interrupted { "verdict" } else { "verdict bad" };
    let notes: String = notes.iter().map(|note| format!("<br>{}", escape(note))).collect();
    body.push_str(&format!("<div class=\"{class}\" id=\"verdict\">{}{notes}</div>", escape(&text)));
}

pub(super) fn section(title: &str, html: &str) -> String {
    format!("<h2>{}</h2><div class=\"wide\">{html}</div>", escape(title))
}

pub(super) fn folded(title: &str, html: &str) -> String {
    format!("<details><summary>{}</summary><div class=\"wide\">{html}</div></details>", escape(title))
}

pub(super) fn around(disk: Option<&serde_json::Value>, host: Option<&serde_json::Value>) -> String {
    let disk = disk.map_or(String::new(), |disk| folded("Disk probe before and after, microseconds", &pairs(flat(disk))));
    disk + &host.map_or(String::new(), |host| folded("Host", &pairs(flat(host))))
}

fn figures(result: &RunResult) -> String {
    let mut rows = vec![
        (
            "acknowledged".to_string(),
            format!("{} records/s, {} MB/s", number(result.acked_per_s()), number(result.acked_bytes_per_s() / 1e6)),
        ),
        (
            "received".to_string(),
            format!("{} records/s, {} MB/s", number(result.received_per_s()), number(result.received_bytes_per_s() / 1e6)),
        ),
        ("errors".to_string(), result.error_count().to_string()),
    ];
    rows.extend(
        crate::figures::comparable(result)
            .into_iter()
            .filter(|f| f.unit != "us" && !f.name.starts_with("acknowledged") && !f.name.starts_with("received"))
            .map(|f| (f.name, format!("{} {}", number(f.value), f.unit))),
    );
    section(&format!("Measured for {} s", number(result.measured.seconds)), &pairs(rows))
}

fn latency(result: &RunResult) -> String {
    let present: Vec<_> = Metric::ALL.into_iter().filter_map(|m| Some((m, result.latency(m)?))).filter(|(_, l)| l.count() > 0).collect();
    if present.is_empty() {
        return String::new();
    }
    let mut table =
        "<table><tr><th>latency</th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>p99.99</th><th>max</th><th>samples</th></tr>"
            .to_string();
    for (metric, latency) in &present {
        let cell = |ns: Option<u64>| format!("<td>{}</td>", ns.map_or("-".into(), |ns| show_time(ns as f64)));
        table.push_str(&format!("<tr><td>{}</td>", metric_name(*metric)));
        [0.5, 0.9, 0.99, 0.999, 0.9999].iter().for_each(|q| table.push_str(&cell(latency.quantile(*q))));
        table.push_str(&format!("{}<td>{}</td></tr>", cell(latency.max()), number(latency.count() as f64)));
    }
    table.push_str("</table>");
    // The generator's own error is a thousand times smaller and would press the others together.
    let series: Vec<_> = present
        .iter()
        .filter(|(metric, _)| !matches!(metric, Metric::Lateness | Metric::LatenessOwn))
        .map(|(metric, latency)| (metric_name(*metric).to_string(), *latency))
        .collect();
    let note = "<p class=\"soft\">Response counts from when a record was due, service from when it was sent. Quantiles that the sample cannot carry are not shown.</p>";
    section("Latency by percentile", &(table + note + &plot::percentiles("Latency by percentile", &series)))
}

fn time_lines(result: &RunResult) -> String {
    if result.timeline.len() < 2 {
        return String::new();
    }
    let at = |w: &Window| f64::from(w.from_s) + f64::from(w.seconds) / 2.0;
    let series = |label: &str, of: &dyn Fn(&Window) -> Option<f64>| Line {
        label: label.into(),
        points: result.timeline.iter().filter_map(|w| Some((at(w), of(w)?))).collect(),
    };
    let rate = |of: fn(&Window) -> u64| move |w: &Window| Some(of(w) as f64 / f64::from(w.seconds.max(1)));
    let rates: Vec<Line> = [
        series("scheduled", &rate(|w| w.counts.scheduled)),
        series("acknowledged", &rate(|w| w.counts.acked)),
        series("received", &rate(|w| w.counts.received)),
        series("errors", &rate(|w| w.counts.errors)),
    ]
    .into_iter()
    .filter(|line| line.points.iter().any(|p| p.1 > 0.0))
    .collect();
    let mut shaded: Vec<(f64, f64)> =
        result.phases.iter().filter(|p| p.name != "measured").map(|p| (f64::from(p.from_s), f64::from(p.to_s))).collect();
    // Of no width: both plots end where the last window does.
    shaded.extend(result.timeline.last().map(|w| (at(w), at(w))));
    let quantile = |metric: Metric, q: f64| move |w: &Window| w.latency.get(&metric)?.quantile(q).map(|ns| ns as f64);
    let mut latencies: Vec<Line> = Vec::new();
    for (metric, name) in [(Metric::ProduceResponse, "produce"), (Metric::E2eResponse, "e2e")] {
        for (q, label) in [(0.5, "p50"), (0.99, "p99")] {
            latencies.push(series(&format!("{name} {label}"), &quantile(metric, q)));
        }
    }
    latencies.retain(|line| !line.points.is_empty());
    let mut html = plot::over_time("records per second by seconds of the run", &rates, &shaded, false, number);
    if !latencies.is_empty() {
        html.push_str(&plot::over_time(
            "time (logarithmic) by seconds of the run in which records were due",
            &latencies,
            &shaded,
            true,
            show_time,
        ));
    }
    section("Over time (grey: warm-up and drain, not measured)", &html)
}

/// Shares of the stages, as they lie in a result.
pub(super) fn stage_shares(stages: &serde_json::Value) -> String {
    let Ok(report) = serde_json::from_value::<StageReport>(stages.clone()) else { return String::new() };
    let mut rows = Vec::new();
    for api in &report.apis {
        for at in &api.quantiles {
            let reach = if at.quantile > 0.5 { "and beyond" } else { "" };
            let label = format!("{} p{} {reach} (n {})", api.api, percent(at.quantile), number(at.requests as f64));
            rows.push((label, at.stages.iter().map(|stage| (stage.stage.clone(), stage.share)).collect()));
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let note = "<p class=\"soft\">Of the requests around the median and beyond p99 and p99.9: the share of their time in the server that each stage had.</p>";
    section("Where the tail went", &(note.to_string() + &plot::shares("Shares of the stages", &rows)))
}
