//! The HTML reports in a real browser, without a network: scripts run, plots have a size, nothing overflows the page.
//!
//! Needs `chromium-headless-shell` (or `chromium`); without it the test says so and passes, with `CI=true` it fails.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use coreline_bench::compare::{Block, CompareResult, Level, Levels, Measured, Side, blocks};
use coreline_bench::latency::{Latency, Recorder};
use coreline_bench::report::{html, html_compare};
use coreline_bench::result::{Metric, Phase, RunResult, Verdict, Window};
use coreline_bench::stats::{self, Better};

/// Writes what only a browser knows into the page, for `--dump-dom`.
const MEASURE: &str = "<script>document.documentElement.dataset.plots=[...document.querySelectorAll('svg')]\
.map(s=>{const b=s.getBoundingClientRect();return Math.round(b.width)+'x'+Math.round(b.height)}).join(' ');\
document.documentElement.dataset.overflow=document.documentElement.scrollWidth-window.innerWidth;\
document.documentElement.dataset.saved=JSON.parse(document.getElementById('data').textContent).scenario;</script></body>";

fn browser() -> Option<String> {
    let there =
        |name: &&&str| Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
    ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"].iter().find(there).map(|name| name.to_string())
}

/// The page's elements after its scripts have run, and what the browser complained about.
fn open(browser: &str, dir: &Path, name: &str, html: &str, width: u32) -> (String, String) {
    let path = dir.join(name);
    std::fs::write(&path, html.replace("</body>", MEASURE)).expect("writes");
    let out = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--dump-dom",
            "--enable-logging=stderr",
            "--host-resolver-rules=MAP * ~NOTFOUND",
        ])
        .arg(format!("--user-data-dir={}", dir.join("profile").display()))
        .arg(format!("--window-size={width},900"))
        .arg(format!("file://{}", path.display()))
        .output()
        .expect("the browser runs");
    assert!(out.status.success(), "{}: {}", out.status, String::from_utf8_lossy(&out.stderr));
    let console: Vec<String> = String::from_utf8_lossy(&out.stderr).lines().filter(|l| l.contains("CONSOLE")).map(str::to_string).collect();
    (String::from_utf8_lossy(&out.stdout).into_owned(), console.join("\n"))
}

fn attribute<'a>(dom: &'a str, name: &str) -> &'a str {
    let marker = format!("data-{name}=\"");
    dom.split_once(&marker).and_then(|(_, rest)| rest.split_once('"')).map_or("", |(value, _)| value)
}

fn check(browser: &str, name: &str, html: &str, plots: usize) {
    let dir = tempfile::tempdir().expect("a directory");
    for width in [1280, 700] {
        let (dom, console) = open(browser, dir.path(), name, html, width);
        assert_eq!(console, "", "{name}: the browser complains");
        assert_eq!(attribute(&dom, "ready"), "yes", "{name}: the page's script did not run");
        assert_eq!(attribute(&dom, "saved"), "sample", "{name}: the raw data is not in the page");
        let sizes: Vec<&str> = attribute(&dom, "plots").split(' ').collect();
        assert_eq!(sizes.len(), plots, "{name} at {width}: plots are {sizes:?}");
        for size in &sizes {
            let (w, h) = size.split_once('x').and_then(|(w, h)| Some((w.parse::<u32>().ok()?, h.parse::<u32>().ok()?))).expect("a size");
            assert!(w > 500 && w < width && h > 50, "{name} at {width}: a plot is {size}");
        }
        let overflow: i32 = attribute(&dom, "overflow").parse().expect("a number");
        assert!(overflow <= 0, "{name} at {width}: {overflow} pixels beyond the edge");
    }
}

#[test]
fn the_reports_work_in_a_browser() {
    let Some(browser) = browser() else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "no chromium: .ci/run installs chromium-headless-shell");
        #[allow(clippy::print_stderr)] // A skip that nobody sees is a lie.
        {
            eprintln!("SKIPPED: no chromium-headless-shell, chromium or google-chrome; the reports were not looked at");
        }
        return;
    };
    check(&browser, "run.html", &html::run(&sample()), 4);
    check(&browser, "compare.html", &html_compare::page_of(&sample_compare()), 3);
    // Ratios, latency by load, percentiles of three levels, block by block.
    check(&browser, "levels.html", &html_compare::page_of(&sample_levels()), 6);
}

fn latency(scale: u64, samples: u64) -> Latency {
    let mut recorder = Recorder::default();
    (0..samples).for_each(|i| recorder.record(scale * (100 + i * i % 977) + if i % 500 == 0 { scale * 9_000 } else { 0 }, 1));
    recorder.take().expect("samples")
}

fn sample() -> RunResult {
    let mut result = RunResult { scenario: "sample".into(), title: "A <sample> & its \"title\", durable".into(), ..RunResult::default() };
    result.verdict = Verdict { valid: false, reasons: vec!["the generator was late".into()], notes: vec!["a note".into()] };
    result.target.name = "coreline".into();
    result.settings = (0..30).map(|i| (format!("some.key.{i}"), "a-rather-long-value-".repeat(1 + i % 9))).collect();
    result.phases = [("warmup", 0, 5), ("measured", 5, 25), ("drain", 25, 30)]
        .map(|(name, from_s, to_s)| Phase { name: name.into(), from_s, to_s, steady: None })
        .to_vec();
    for second in 0..30 {
        let mut window = Window { from_s: second, seconds: 1, ..Window::default() };
        window.counts.scheduled = 10_000;
        window.counts.acked = 9_000 + u64::from(second) * 30;
        window.counts.received = 8_000;
        window.latency.insert(Metric::ProduceResponse, latency(1000 + u64::from(second) * 10, 2_000));
        window.latency.insert(Metric::E2eResponse, latency(2500, 2_000));
        result.measured.counts.add(&window.counts);
        for (metric, latency) in &window.latency {
            result.measured.latency.entry(*metric).or_default().merge(latency);
        }
        result.timeline.push(window);
    }
    result.measured.seconds = 30.0;
    result.stages = Some(serde_json::json!({"apis": [{"api": "Produce", "requests": 5000, "quantiles": [
        {"quantile": 0.5, "from_s": 0.0001, "to_s": 0.00015, "requests": 2500, "stages": [
            {"stage": "device_write", "share": 0.7, "mean_s": 0.0001}, {"stage": "journal_wait", "share": 0.3, "mean_s": 0.00004}]},
        {"quantile": 0.99, "from_s": 0.005, "to_s": null, "requests": 50, "stages": [{"stage": "flush", "share": 1.0, "mean_s": 0.01}]}
    ]}], "counters": {}}));
    result.host = Some(coreline_bench::probe::host());
    result
}

fn sample_levels() -> CompareResult {
    let mut result = sample_compare();
    let percents = [30, 60, 90];
    let row = result.rows[0].clone();
    let at = |percent: u32| coreline_bench::compare::Row { level: Some(percent), a: Some(f64::from(percent) * 9.0), ..row.clone() };
    let p50 = |percent: u32| coreline_bench::compare::Row { figure: "produce p50 us".into(), ..at(percent) };
    result.rows = percents.iter().flat_map(|percent| [p50(*percent), at(*percent)]).collect();
    let on = |block: &Measured, percent: u32| Measured { block: Block { level: Some(percent), ..block.block }, ..block.clone() };
    result.blocks = percents.iter().flat_map(|percent| result.blocks.iter().map(|block| on(block, *percent)).collect::<Vec<_>>()).collect();
    let latency = std::mem::take(&mut result.latency);
    let at = percents.map(|percent| Level { percent, rate: f64::from(percent) * 1234.0, latency: latency.clone() }).to_vec();
    result.levels = Some(Levels { capacity: [123_400.0, 234_500.0], slower: Side::A, at });
    result.notes = vec!["4 pairs of 4 s".into()];
    result
}

fn sample_compare() -> CompareResult {
    let block = |i: usize, block: Block| {
        let value = if block.side == Side::A { 100.0 } else { 30.0 } + (i % 3) as f64;
        let figures = BTreeMap::from([("produce p99 us".to_string(), value)]);
        Measured {
            block,
            figures,
            verdict: Verdict::default(),
            errors: BTreeMap::new(),
            started_unix_ms: i as i64 * 9_000,
            steal_s: None,
            repeated: false,
        }
    };
    let pairs: Vec<(f64, f64)> = (0..6).map(|i| (100.0, 30.0 + f64::from(i))).collect();
    let ratio = stats::ratio(&pairs, 1);
    let row = |figure: &str, better| coreline_bench::compare::Row {
        figure: figure.into(),
        level: None,
        better,
        a: Some(100.0),
        b: Some(32.5),
        ratio,
        noise: stats::ratio(&[(1.0, 1.02), (1.0, 0.97)], 1),
        verdict: stats::verdict(ratio, None, better),
    };
    CompareResult {
        schema: 1,
        tool_version: "0".into(),
        scenario: "sample".into(),
        title: "A sample".into(),
        settings: BTreeMap::from([("k".into(), "v".into())]),
        overrides: BTreeMap::new(),
        durability: "acks=1".into(),
        a: Default::default(),
        b: Default::default(),
        kept: true,
        seed: 1,
        interrupted: false,
        ended: None,
        complaints: Vec::new(),
        notes: Vec::new(),
        levels: None,
        capacity_blocks: Vec::new(),
        tool_sha256: None,
        rows: vec![row("produce p99 us", Better::Lower), row("acknowledged records/s", Better::Higher)],
        latency: BTreeMap::from([(Metric::ProduceResponse, [latency(1000, 5000), latency(300, 5000)])]),
        stages: Vec::new(),
        blocks: blocks(6, 1).enumerate().map(|(i, b)| block(i, b)).collect(),
        repeated: Vec::new(),
        host: coreline_bench::probe::host(),
        disk: None,
    }
}
