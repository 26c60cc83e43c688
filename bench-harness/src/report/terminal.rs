//! Tables for the terminal: a run, a search, a comparison.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::compare::{CompareResult, Levels};
use crate::cost::ServerCost;
use crate::figures::server_cost;
use crate::objective::{percent, share_percent, show_time};
use crate::probe::{DiskProbes, host_line};
use crate::quiet::Quiet;
use crate::report::{metric_name, number};
use crate::result::{Metric, RunResult, TargetInfo};
use crate::slo::{SloResult, Sure};
use crate::stages::StageReport;
use crate::stats::{Better, Ratio, Verdict};

const QUANTILES: [(f64, &str); 5] = [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99")];

/// A run's table. Writing to a `String` cannot fail.
pub fn run(result: &RunResult) -> String {
    let mut out = String::new();
    let measured = &result.measured;
    let _ = writeln!(out, "\n{}: {}", result.scenario, result.title);
    let _ = writeln!(out, "target      {}{}, {}", result.target.name, version(&result.target), result.durability);
    if !result.target.settings.is_empty() {
        let settings: Vec<String> = result.target.settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let _ = writeln!(out, "            {}", settings.join(", "));
    }
    changed(&mut out, &result.overrides);
    if let Some(host) = &result.host {
        let _ = writeln!(out, "host        {}", host_line(host));
    }
    let counts = &measured.counts;
    let _ = writeln!(
        out,
        "measured    {} s: {} records/s acknowledged ({} MB/s), {} records/s received ({} MB/s), {} errors",
        number(measured.seconds),
        number(result.acked_per_s()),
        number(result.acked_bytes_per_s() / 1e6),
        number(result.received_per_s()),
        number(result.received_bytes_per_s() / 1e6),
        counts.errors
    );
    latencies(&mut out, result);
    for (name, value) in &result.figures {
        let _ = writeln!(out, "{name:<32} {}", number(*value));
    }
    delivery(&mut out, result);
    if let Some(cost) = server_cost(result) {
        cost_lines(&mut out, &cost);
    }
    let generator = &result.generator;
    let late = match generator.late_carried {
        Some((q, us)) => format!("late p{} {} us (bound {} us)", percent(q), number(us), number(generator.late_limit_us)),
        None if generator.late_max_us.is_some() => "too few records to say how late".to_string(),
        None => "not scheduled".to_string(),
    };
    let per_gb = generator.cpu_s_per_gb.map_or(String::new(), |s| format!(", {} CPU-s/GB", number(s)));
    let per_million = generator.cpu_s_per_million.map_or(String::new(), |s| format!(", {} CPU-s/M records", number(s)));
    let _ = writeln!(out, "generator   {late}, sent {} % of the schedule{per_gb}{per_million}", share_percent(generator.sent_share));
    if let (Some(busiest), Some(waited)) = (generator.busiest_thread, generator.waited_for_cpu_s) {
        let threads =
            if generator.threads == 1 { "its thread".to_string() } else { format!("the busiest of {} threads", generator.threads) };
        let _ = writeln!(
            out,
            "            {threads} ran {:.0} % of the time; {} s waiting for a CPU that others had{}",
            busiest * 100.0,
            number(waited),
            generator.steal_s.map_or(String::new(), |s| format!(", {} CPU-s taken from this host by its hypervisor", number(s)))
        );
    }
    if let Some(quiet) = &generator.quiet {
        let _ = writeln!(out, "            {}", quiet_line(quiet, result.settings.get("generator.cpus").map_or("", String::as_str)));
    }
    if let Some(stages) = result.stages.clone().and_then(|value| serde_json::from_value::<StageReport>(value).ok()) {
        stage_lines(&mut out, &stages);
    }
    if let Some(disk) = result.disk.clone().and_then(|value| serde_json::from_value::<DiskProbes>(value).ok()) {
        disk_line(&mut out, &disk);
    }
    verdict(&mut out, result);
    out
}

/// The generator's error where the hypervisor left it alone.
fn quiet_line(quiet: &Quiet, cpus: &str) -> String {
    let whose = if cpus.is_empty() { "this host".to_string() } else { format!("CPU {cpus}") };
    let each = if quiet.window_ms == 1_000 { "seconds".to_string() } else { format!("windows of {} ms", quiet.window_ms) };
    let late = [(quiet.p50_us, "p50"), (quiet.p99_us, "p99"), (quiet.p999_us, "p99.9")];
    let late: Vec<String> = late.iter().filter_map(|(us, name)| us.map(|us| format!("{name} {} us", number(us)))).collect();
    let late = if late.is_empty() { "too few records in them to say how late".to_string() } else { format!("late {}", late.join(", ")) };
    format!("nothing taken from {whose} in {} of {} {each} and those next to them: {late}", quiet.windows, quiet.of)
}

/// What the command line changed of the scenario: its title and description speak of the committed one.
fn changed(out: &mut String, overrides: &BTreeMap<String, String>) {
    if !overrides.is_empty() {
        let all: Vec<String> = overrides.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let _ = writeln!(out, "changed     {}", all.join(", "));
    }
}

fn latencies(out: &mut String, result: &RunResult) {
    if result.measured.latency.is_empty() {
        return;
    }
    let _ = write!(out, "\n{:<22}", "latency");
    for (_, label) in QUANTILES {
        let _ = write!(out, "{label:>11}");
    }
    let _ = writeln!(out, "{:>11}{:>12}", "max", "samples");
    for metric in Metric::ALL {
        let Some(latency) = result.latency(metric).filter(|latency| latency.count() > 0) else { continue };
        let _ = write!(out, "{:<22}", metric_name(metric));
        for (q, _) in QUANTILES {
            // What the sample cannot carry is not shown.
            let _ = write!(out, "{:>11}", latency.quantile(q).map_or("-".into(), |ns| show_time(ns as f64)));
        }
        let _ = writeln!(out, "{:>11}{:>12}", latency.max().map_or("-".into(), |ns| show_time(ns as f64)), number(latency.count() as f64));
    }
    out.push('\n');
}

fn delivery(out: &mut String, result: &RunResult) {
    let delivery = &result.delivery;
    if delivery.consumers.is_empty() {
        let _ = writeln!(out, "delivery    nothing was read back; {} of {} records acknowledged", delivery.acked, delivery.produced);
    }
    for consumer in &delivery.consumers {
        let _ = writeln!(
            out,
            "delivery    {}: {} of {} received, {} lost, {} duplicates, {} reordered, {} corrupt",
            consumer.name, consumer.received, consumer.expected, consumer.lost, consumer.duplicates, consumer.reordered, consumer.corrupt
        );
    }
    for (kind, count) in &result.errors {
        let _ = writeln!(out, "errors      {kind}: {count}");
    }
}

fn cost_lines(out: &mut String, cost: &ServerCost) {
    let per = |gb: Option<f64>, million: Option<f64>| {
        let gb = gb.map_or(String::new(), |s| format!(", {} CPU-s/GB", number(s)));
        gb + &million.map_or(String::new(), |s| format!(", {} CPU-s/M records", number(s)))
    };
    if let Some(server) = &cost.server {
        let _ = writeln!(
            out,
            "server      {} CPU-s ({} % of a core, by {}){}",
            number(server.cpu_s),
            number(server.cpu_percent),
            server.cpu_source,
            per(cost.server_cpu_s_per_gb, cost.server_cpu_s_per_million)
        );
        let calls = match (&server.system_calls, &server.system_calls_missing) {
            (Some(calls), _) => number(*calls as f64),
            (None, why) => format!("not counted: {}", why.as_deref().unwrap_or("?")),
        };
        let _ = writeln!(
            out,
            "            RSS {} MB (peak {}), {} threads, {} waits, {} preemptions, disk {} MB read, {} MB written, system calls {calls}",
            number(server.rss_bytes as f64 / 1e6),
            number(server.rss_peak_bytes as f64 / 1e6),
            server.threads,
            number(server.voluntary_switches as f64),
            number(server.involuntary_switches as f64),
            number(server.disk_read_bytes as f64 / 1e6),
            number(server.disk_written_bytes as f64 / 1e6)
        );
    }
    let host = &cost.host;
    let shown = |value: Option<f64>| value.map_or("?".to_string(), number);
    let _ = writeln!(
        out,
        "whole host  {} CPU-s{}; steal {} s; some task waited for CPU {} %, I/O {} %, memory {} % of the time",
        shown(host.busy_cpu_s),
        per(cost.host_cpu_s_per_gb, cost.host_cpu_s_per_million),
        shown(host.steal_s),
        shown(host.cpu_pressure_percent),
        shown(host.io_pressure_percent),
        shown(host.memory_pressure_percent)
    );
}

fn stage_lines(out: &mut String, report: &StageReport) {
    for api in report.apis.iter().filter(|api| !api.quantiles.is_empty()) {
        let _ = writeln!(
            out,
            "\nwhere {} requests spent their time in the server ({} requests, waiting for data left out):",
            api.api,
            number(api.requests as f64)
        );
        for at in &api.quantiles {
            let which = if at.quantile > 0.5 { "and beyond" } else { "and around" };
            let to = at.to_s.map_or("more".to_string(), |to| show_time(to * 1e9));
            let _ = write!(out, "  p{:<5} {which}, {} to {to}:", percent(at.quantile), show_time(at.from_s * 1e9));
            for stage in at.stages.iter().filter(|stage| stage.share >= 0.01) {
                let _ = write!(out, "  {} {:.0} %", stage.stage, stage.share * 100.0);
            }
            out.push('\n');
        }
    }
}

fn disk_line(out: &mut String, disk: &DiskProbes) {
    let spread = |label: &str, probe: &crate::probe::DiskProbe| {
        let p99 = probe.write_flush_4kib.p99.map_or(String::new(), |us| format!(", p99 {} us", number(us)));
        format!(
            "{label} 4 KiB write+flush p50 {} us{p99}, 1 MiB write p50 {} us",
            number(probe.write_flush_4kib.p50),
            number(probe.write_1mib.p50)
        )
    };
    let after = disk.after.as_ref().map_or(String::new(), |probe| format!("; {}", spread("after", probe)));
    let cached = if disk.before.is_direct { "" } else { " (through the page cache: this file system refuses direct I/O)" };
    let _ = writeln!(out, "disk        {}{after}{cached}", spread("before", &disk.before));
}

fn verdict(out: &mut String, result: &RunResult) {
    for note in &result.verdict.notes {
        let _ = writeln!(out, "note        {note}");
    }
    if result.interrupted {
        let _ = writeln!(out, "INTERRUPTED: what was measured until then is above");
    }
    match result.verdict.valid {
        true => out.push_str("valid\n"),
        false => {
            let _ = writeln!(out, "INVALID, do not quote: {}", result.verdict.reasons.join("; "));
        }
    }
}

/// A search's end.
pub fn slo(result: &SloResult) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "\n{}: {}", result.scenario, result.title);
    let _ = writeln!(out, "target      {}, {}", result.target, result.durability);
    let _ = writeln!(out, "objective   {}", result.objective);
    let _ = match result.answer.rate {
        Some(rate) => writeln!(out, "rate        {} records/s", number(rate)),
        None => writeln!(out, "rate        none"),
    };
    let sure = match result.answer.sure {
        Sure::Confirmed => "confirmed",
        Sure::LowerBound => "a lower bound",
        Sure::Unsteady => "not sure",
        Sure::Never => "never met",
    };
    let _ = writeln!(out, "how sure    {sure}: {}", result.answer.why);
    for (share, met, trials) in &result.answer.confirmed {
        let _ = writeln!(out, "            at {:.0} %: {met} of {trials} trials met it", share * 100.0);
    }
    if result.interrupted {
        let _ = writeln!(out, "INTERRUPTED");
    }
    if let Some(why) = &result.ended {
        let _ = writeln!(out, "ENDED: {why}");
    }
    out
}

/// A comparison's table.
pub fn compare(result: &CompareResult) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "\n{}: {}", result.scenario, result.title);
    for (side, target) in [("A", &result.a), ("B", &result.b)] {
        let settings: Vec<String> = target.settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let _ = writeln!(out, "{side}           {}{} {}", target.name, version(target), settings.join(", "));
    }
    let _ = writeln!(out, "durability  {}", result.durability);
    changed(&mut out, &result.overrides);
    let _ = writeln!(out, "host        {}", host_line(&result.host));
    if let Some(levels) = &result.levels {
        let _ = writeln!(out, "capacity    {}", capacity_line(levels));
    }
    let blocks = result.blocks.iter().filter(|m| !m.block.noise).count();
    let kept = if result.kept { ", servers kept" } else { "" };
    let _ = writeln!(
        out,
        "blocks      {blocks} in turns, {} of A with itself before{kept}; seed {}\n",
        result.blocks.len() - blocks,
        result.seed
    );
    let _ = writeln!(out, "{:<34}{:>12}{:>12}   {:<26}{:<18}verdict", "figure (geometric mean)", "A", "B", "B/A [95 % interval]", "A/A");
    let mut level = None;
    for row in &result.rows {
        if row.level != level {
            level = row.level;
            out.push_str(&level_line(result.levels.as_ref(), level).map_or(String::new(), |line| format!("{line}\n")));
        }
        let shown = |value: Option<f64>| value.map_or("-".to_string(), number);
        let _ = writeln!(
            out,
            "{:<34}{:>12}{:>12}   {:<26}{:<18}{}",
            row.figure,
            shown(row.a),
            shown(row.b),
            row.ratio.map_or("-".into(), interval),
            row.noise.map_or("-".into(), |noise| format!("{:.3}", noise.point)),
            verdict_text(row.verdict, row.better)
        );
    }
    if let Some(disk) = &result.disk {
        disk_line(&mut out, disk);
    }
    for note in &result.notes {
        let _ = writeln!(out, "note        {note}");
    }
    if result.interrupted {
        let _ = writeln!(out, "INTERRUPTED: ratios are of the pairs that were complete");
    }
    for complaint in &result.complaints {
        let _ = writeln!(out, "INVALID, do not quote: {complaint}");
    }
    out
}

/// What both targets can do.
pub(super) fn capacity_line(levels: &Levels) -> String {
    let [a, b] = levels.capacity.map(number);
    format!("as fast as they take it A {a}, B {b} records/s; levels are shares of {}'s", levels.slower)
}

/// What a level is.
pub(super) fn level_line(levels: Option<&Levels>, percent: Option<u32>) -> Option<String> {
    let level = levels?.at.iter().find(|level| Some(level.percent) == percent)?;
    Some(format!("at {} %, {} records/s", level.percent, number(level.rate)))
}

/// Its version and the sum of what ran.
pub(super) fn version(target: &TargetInfo) -> String {
    let sum = target.sha256.as_ref().map(|digits| format!("sha256 {digits}"));
    let parts: Vec<String> = target.version.iter().cloned().chain(sum).collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

/// A ratio with its interval.
pub(super) fn interval(ratio: Ratio) -> String {
    match ratio.high.is_finite() {
        true => format!("{:.3} [{:.3}, {:.3}]", ratio.point, ratio.low, ratio.high),
        false => format!("{:.3} [one pair]", ratio.point),
    }
}

/// What a verdict says, in words.
pub(super) fn verdict_text(verdict: Verdict, better: Better) -> &'static str {
    match (verdict, better) {
        (Verdict::A, Better::Lower) => "A is lower (better)",
        (Verdict::A, Better::Higher) => "A is higher (better)",
        (Verdict::B, Better::Lower) => "B is lower (better)",
        (Verdict::B, Better::Higher) => "B is higher (better)",
        (Verdict::CoversOne, _) => "no winner: covers 1",
        (Verdict::WithinNoise, _) => "no winner: within noise",
        (Verdict::TooFewPairs, _) => "no verdict: too few pairs",
        (Verdict::NotMeasured, _) => "not measured on both",
    }
}
