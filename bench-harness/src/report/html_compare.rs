//! A comparison as one HTML file: verdicts, ratios with intervals, percentiles of both, every block, host, raw data.

use super::html::{around, changed, folded, head, section, stage_shares, verdict};
use super::page::{escape, page, pairs};
use super::plot::{self, Line};
use super::terminal::{interval, verdict_text};
use super::{metric_name, number, terminal};
use crate::compare::{CompareResult, Side};
use crate::probe::host_line;
use crate::result::TargetInfo;
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
    verdict(&mut body, result.complaints.is_empty(), result.interrupted, &result.complaints, &[note]);
    body.push_str(&table(result));
    for (metric, [a, b]) in &result.latency {
        if a.count() > 0 && b.count() > 0 {
            let series = [(format!("A {}", result.a.name), a), (format!("B {}", result.b.name), b)];
            let title = format!("Latency by percentile: {}", metric_name(*metric));
            body.push_str(&section(&title, &plot::percentiles(&title, &series)));
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
    let version = target.version.as_deref().map_or(String::new(), |v| format!(" ({v})"));
    format!("{}{version} {}", target.name, settings.join(", ")).trim_end().to_string()
}

fn table(result: &CompareResult) -> String {
    let mut html =
        "<table><tr><th>figure, geometric mean of blocks</th><th>A</th><th>B</th><th>B / A [95 %]</th><th>A / A</th><th>verdict</th></tr>"
            .to_string();
    for row in &result.rows {
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
    let rows: Vec<_> = result.rows.iter().filter_map(|row| Some((row.figure.clone(), row.ratio?, called(row.verdict)))).collect();
    section("Ratios", &(html + &plot::ratios("Ratios with intervals", &rows)))
}

/// The first figure that both have, block by block: a drift of the machine shows here.
fn blocks_over_time(result: &CompareResult) -> String {
    let Some(figure) = result.rows.iter().find(|row| row.ratio.is_some()).map(|row| &row.figure) else { return String::new() };
    let first = result.blocks.first().map_or(0, |m| m.started_unix_ms);
    let line = |side: Side, label: &str| Line {
        label: label.into(),
        points: result
            .blocks
            .iter()
            .filter(|m| m.block.side == side)
            .filter_map(|m| Some(((m.started_unix_ms - first) as f64 / 1000.0, *m.figures.get(figure)?)))
            .collect(),
    };
    let title = format!("Block by block: {figure}");
    section(&title, &plot::over_time(&title, &[line(Side::A, "A"), line(Side::B, "B")], &[], false, number))
}
