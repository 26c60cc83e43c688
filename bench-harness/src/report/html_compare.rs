//! A comparison as one HTML file: verdicts, ratios with intervals, percentiles of both, every block, host, raw data.

use std::collections::BTreeMap;

use super::html::{around, changed, folded, head, section, stage_shares, verdict};
use super::page::{escape, page, pairs};
use super::plot::{self, Line};
use super::terminal::{interval, verdict_text};
use super::{metric_name, number, terminal};
use crate::compare::{CompareResult, Levels, Row, Side};
use crate::latency::Latency;
use crate::probe::host_line;
use crate::result::{Metric, TargetInfo};
use crate::stats::Verdict;

/// The report of a comparison.
pub fn page_of(result: &CompareResult) -> String {
    let mut body = String::new();
    head(
        &mut body,
        &result.title,
        &format!("{}: A is {}, B is {}; {}", result.scenario, name(&result.a), name(&result.b), result.durability),
    );
    changed(&mut body, &result.overrides);
    body.push_str(&format!("<p class=\"soft\">{}</p>", escape(&host_line(&result.host))));
    let kept = if result.kept {
        "both servers lived through all blocks, the one not measured was stopped in its tracks"
    } else {
        "each block had a server started afresh"
    };
    let blocks = result.blocks.iter().filter(|m| !m.block.noise).count();
    let note = format!("{blocks} blocks in turns after {} of A with itself; {kept}", result.blocks.len() - blocks);
    let capacity = result.levels.as_ref().map(terminal::capacity_line);
    let notes: Vec<String> = [note].into_iter().chain(capacity).chain(result.notes.iter().cloned()).collect();
    verdict(&mut body, result.complaints.is_empty(), result.interrupted, &result.complaints, &notes);
    body.push_str(&table(result));
    body.push_str(&latencies(result, &result.latency, ""));
    if let Some(levels) = &result.levels {
        body.push_str(&by_load(result, levels));
        for level in &levels.at {
            body.push_str(&latencies(result, &level.latency, &format!(" at {} %", level.percent)));
        }
    }
    for (side, stages) in &result.stages {
        let html = stage_shares(stages);
        if !html.is_empty() {
            body.push_str(&format!("<p>{side}, its last block:</p>{html}"));
        }
    }
    body.push_str(&blocks_over_time(result));
    let disk = result.disk.as_ref().and_then(|disk| serde_json::to_value(disk).ok());
    body.push_str(&around(disk.as_ref(), Some(&result.host)));
    body.push_str(&folded("Scenario", &pairs(result.settings.clone())));
    body.push_str(&folded("As text", &format!("<pre>{}</pre>", escape(&terminal::compare(result)))));
    page(
        &format!("{}: {} and {}", result.scenario, result.a.name, result.b.name),
        &body,
        result,
        &format!("{}-compare.json", result.scenario),
    )
}

fn name(target: &TargetInfo) -> String {
    let settings: Vec<String> = target.settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
    format!("{}{} {}", target.name, terminal::version(target), settings.join(", ")).trim_end().to_string()
}

/// Percentiles of both, a plot for each metric that both have.
fn latencies(result: &CompareResult, latency: &BTreeMap<Metric, [Latency; 2]>, at: &str) -> String {
    let mut html = String::new();
    for (metric, [a, b]) in latency.iter().filter(|(_, [a, b])| a.count() > 0 && b.count() > 0) {
        let series = [(format!("A {}", result.a.name), a), (format!("B {}", result.b.name), b)];
        let title = format!("Latency by percentile{at}: {}", metric_name(*metric));
        html.push_str(&section(&title, &plot::percentiles(&title, &series)));
    }
    html
}

/// Response time against load, of both: what the levels are measured for.
fn by_load(result: &CompareResult, levels: &Levels) -> String {
    let mut html = String::new();
    for name in ["produce", "e2e"] {
        let line = |side: Side, q: &str| Line {
            label: format!("{side} {q}"),
            points: levels
                .at
                .iter()
                .filter_map(|level| {
                    let figure = format!("{name} {q} us");
                    let row = result.rows.iter().find(|row| row.level == Some(level.percent) && row.figure == figure)?;
                    Some((level.rate, if side == Side::A { row.a? } else { row.b? } * 1e3))
                })
                .collect(),
        };
        let lines: Vec<Line> =
            [(Side::A, "p50"), (Side::B, "p50"), (Side::A, "p99"), (Side::B, "p99")].map(|(side, q)| line(side, q)).into();
        if lines.iter().any(|line| line.points.len() > 1) {
            html.push_str(&plot::by_load(&format!("{name}, response time (logarithmic) by records per second"), &lines));
        }
    }
    if html.is_empty() { html } else { section("Latency by load", &html) }
}

fn table(result: &CompareResult) -> String {
    let mut html =
        "<table><tr><th>figure, geometric mean of blocks</th><th>A</th><th>B</th><th>B / A [95 %]</th><th>A / A</th><th>verdict</th></tr>"
            .to_string();
    let mut level = None;
    for row in &result.rows {
        if row.level != level {
            level = row.level;
            let line = terminal::level_line(result.levels.as_ref(), level).unwrap_or_default();
            html.push_str(&format!("<tr><th colspan=\"6\">{}</th></tr>", escape(&line)));
        }
        let shown = |value: Option<f64>| value.map_or("-".to_string(), number);
        html.push_str(&format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&row.figure),
            shown(row.a),
            shown(row.b),
            row.ratio.map_or("-".into(), interval),
            row.noise.map_or("-".into(), |noise| format!("{:.3}", noise.point)),
            verdict_text(row.verdict, row.better)
        ));
    }
    html.push_str("</table>");
    let called = |verdict| matches!(verdict, Verdict::A | Verdict::B);
    let label = |row: &Row| row.level.map_or(row.figure.clone(), |percent| format!("{percent} %: {}", row.figure));
    let rows: Vec<_> = result.rows.iter().filter_map(|row| Some((label(row), row.ratio?, called(row.verdict)))).collect();
    section("Ratios", &(html + &plot::ratios("Ratios with intervals", &rows)))
}

/// The first figure that both have, block by block: a drift of the machine shows here.
fn blocks_over_time(result: &CompareResult) -> String {
    // Of a comparison with levels those of the highest.
    let last = result.rows.iter().filter_map(|row| row.level).max();
    let first_row = result.rows.iter().find(|row| row.ratio.is_some() && row.level == last);
    let Some(figure) = first_row.map(|row| &row.figure) else { return String::new() };
    let first = result.blocks.first().map_or(0, |m| m.started_unix_ms);
    let line = |side: Side, label: &str| Line {
        label: label.into(),
        points: result
            .blocks
            .iter()
            .filter(|m| m.block.side == side && m.block.level == last)
            .filter_map(|m| Some(((m.started_unix_ms - first) as f64 / 1000.0, *m.figures.get(figure)?)))
            .collect(),
    };
    let at = terminal::level_line(result.levels.as_ref(), last).map_or(String::new(), |line| format!(", {line}"));
    let title = format!("Block by block: {figure}{at}");
    section(&title, &plot::over_time(&title, &[line(Side::A, "A"), line(Side::B, "B")], &[], false, number))
}
