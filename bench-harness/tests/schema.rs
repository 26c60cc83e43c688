//! Every kind of JSON that the program writes, as it writes it, is as `schema/result-v1.json` has it; and the check can fail.

mod fake;
mod schema_check;

use std::path::Path;
use std::process::Command;

use fake::{Fake, Fault};
use schema_check::{faults, hold};
use serde_json::{Value, json};

/// Runs the program; what it wrote to `--json`, or else to its standard output.
fn written(dir: &Path, arguments: &[&str], to_file: bool) -> Value {
    let json = dir.join("out.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_coreline-bench"));
    command.args(arguments);
    if to_file {
        command.arg("--json").arg(&json).args(["--quiet", "--no-probe"]);
    }
    let out = command.output().expect("the binary runs");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    let bytes = if to_file { std::fs::read(&json).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {said}")) } else { out.stdout };
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {said}"))
}

/// What makes a second of load short; lateness does not matter here.
const SHORT: [&str; 14] = [
    "--duration",
    "1",
    "--warmup",
    "0",
    "--rate",
    "2000",
    "--set",
    "generator.late_limit_us=10000000",
    "--set",
    "generator.spin_us=0",
    "--set",
    "producers.value_bytes=100",
    "--set",
    "topic.partitions=2",
];

#[test]
fn what_every_command_writes_is_as_the_schema_has_it() {
    let fake = Fake::start(Fault::None).address();
    let of = |arguments: &[&str], to_file: bool| {
        let dir = tempfile::tempdir().expect("a directory");
        written(dir.path(), arguments, to_file)
    };
    std::thread::scope(|scope| {
        scope.spawn(|| hold("host", &of(&["host"], false)));
        scope.spawn(|| hold("pacing", &of(&["host", "--pacing", "1000", "--seconds", "1"], false)));
        scope.spawn(|| {
            let dir = tempfile::tempdir().expect("a directory");
            let out = dir.path().join("history.json");
            let mut history = Command::new(env!("CARGO_BIN_EXE_coreline-bench"));
            history.args(["history", concat!(env!("CARGO_MANIFEST_DIR"), "/baseline"), "--json"]).arg(&out);
            assert!(history.output().expect("the binary runs").status.success());
            hold("history", &serde_json::from_slice(&std::fs::read(&out).expect("written")).expect("JSON"));
        });
        let run = scope.spawn(|| of(&[&["run", "end-to-end", "--target", &fake][..], &SHORT].concat(), true));
        let rates = ["--min-rate", "500", "--max-rate", "500", "--trial", "1", "--trial-warmup", "0"];
        let slo = ["slo", "end-to-end", "--target", &fake, "--objective", "p50(e2e) <= 10s and errors == 0"];
        let slo = scope.spawn(move || of(&[&slo[..], &rates, &SHORT].concat(), true));
        let compare = ["compare", "end-to-end", "--a", &fake, "--b", &fake, "--pairs", "1", "--noise-pairs", "0"];
        let compare = scope.spawn(move || of(&[&compare[..], &SHORT].concat(), true));
        let levels = ["compare", "end-to-end", "--a", &fake, "--b", &fake, "--pairs", "1", "--noise-pairs", "0", "--load-levels", "20"];
        let closed: Vec<&str> = SHORT.iter().copied().filter(|word| !["--rate", "2000"].contains(word)).collect();
        let levels = scope.spawn(move || of(&[&levels[..], &closed].concat(), true));
        // Answers twenty batches and no more: the trial finds it dead, and the search ends with what it has.
        let mute = Fake::start(Fault::Mute(20)).address();
        let failing = scope.spawn(move || {
            let rates = ["--min-rate", "500", "--max-rate", "500", "--trial", "60", "--set", "generator.dead_after_s=1"];
            let slo = ["slo", "end-to-end", "--target", &mute, "--objective", "errors == 0"];
            of(&[&slo[..], &rates, &SHORT].concat(), true)
        });
        let run = run.join().expect("ran");
        hold("run", &run);
        assert!(run["measured"]["latency"]["lateness_own"]["gap_count"].as_array().is_some_and(|all| !all.is_empty()));
        let slo = slo.join().expect("ran");
        hold("slo", &slo);
        assert!(slo["trials"].as_array().is_some_and(|trials| !trials.is_empty()), "{slo}");
        let failing = failing.join().expect("ran");
        hold("slo", &failing);
        let ended = failing["ended"].as_str().is_some_and(|why| why.contains("no answer for "));
        assert!(ended && failing["trials"].as_array().map(Vec::len) == Some(1), "{failing}");
        let compare = compare.join().expect("ran");
        hold("compare", &compare);
        assert_eq!(compare["blocks"].as_array().map(Vec::len), Some(2));
        let has =
            |result: &Value, figure: &str| result["rows"].as_array().is_some_and(|rows| rows.iter().any(|row| row["figure"] == figure));
        for figure in ["acknowledged records/s", "produce p50 us", "e2e p50 us"] {
            assert!(has(&compare, figure), "{figure}: {}", compare["rows"]);
        }
        let sum = compare["tool_sha256"].as_str().unwrap_or_default();
        assert!(sum.len() == 16 && run["tool_sha256"] == sum && slo["tool_sha256"] == sum, "{sum}");
        let levels = levels.join().expect("ran");
        hold("compare", &levels);
        let at = &levels["levels"]["at"][0];
        let capacity = &levels["levels"]["capacity"][usize::from(levels["levels"]["slower"] == "B")];
        let fifth = capacity.as_f64().map(|capacity| (capacity * 20.0 / 100.0).round());
        assert!(at["percent"] == 20 && at["rate"].as_f64() == fifth && at["latency"]["produce_response"].is_array(), "{at}, {capacity}");
        assert!(has(&levels, "produce p50 us"), "{}", levels["rows"]);
        assert_eq!(levels["capacity_blocks"].as_array().map(Vec::len), Some(2));
        for list in ["blocks", "rows"] {
            let all = levels[list].as_array().expect("a list");
            let level = |one: &Value| if list == "rows" { one["level"].clone() } else { one["block"]["level"].clone() };
            assert!(!all.is_empty() && all.iter().all(|one| level(one) == 20), "{list}: {levels}");
        }
    });
    let printed = of(&["schema"], false);
    assert_eq!(printed, serde_json::from_str::<Value>(schema_check::TEXT).expect("JSON"), "`schema` prints the committed file");
}

#[test]
fn the_committed_results_are_as_the_schema_has_them() {
    let baseline = concat!(env!("CARGO_MANIFEST_DIR"), "/baseline");
    let results = std::fs::read_dir(baseline).expect("is there").flatten().map(|entry| entry.path());
    let mut count = 0;
    for path in results.filter(|path| path.extension().is_some_and(|e| e == "json")) {
        let text = std::fs::read_to_string(&path).expect("reads");
        let faults = faults("compare", &serde_json::from_str(&text).expect("JSON"));
        assert!(faults.is_empty(), "{}: {faults:#?}", path.display());
        count += 1;
    }
    assert!(count >= 10, "{count} results");
}

/// Every way that the nested parts of a document can stop being as the schema has them, one at a time.
fn spoilt(value: &Value, path: &str, out: &mut Vec<(String, Value)>) {
    let wrong = |v: &Value| if v.is_string() { json!(5) } else { json!("x") };
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let with = |changed: Value| {
                    let mut fields = fields.clone();
                    fields.insert(name.clone(), changed);
                    Value::Object(fields)
                };
                let mut inner = Vec::new();
                spoilt(field, &format!("{path}.{name}"), &mut inner);
                out.extend(inner.into_iter().map(|(what, changed)| (what, with(changed))));
                if !field.is_null() {
                    out.push((format!("{path}.{name} of another type"), with(wrong(field))));
                }
            }
        }
        Value::Array(items) => {
            if let Some(first) = items.first() {
                let with = |changed: Value| Value::Array(std::iter::once(changed).chain(items[1..].iter().cloned()).collect());
                let mut inner = Vec::new();
                spoilt(first, &format!("{path}[0]"), &mut inner);
                out.extend(inner.into_iter().map(|(what, changed)| (what, with(changed))));
                out.push((format!("{path}[0] of another type"), with(wrong(first))));
            }
        }
        _ => {}
    }
}

#[test]
fn a_document_that_is_otherwise_is_refused() {
    use coreline_bench::latency::Recorder;
    use coreline_bench::result::{ConsumerDelivery, Metric, Phase, RunResult, SCHEMA, Window};
    let mut recorder = Recorder::default();
    recorder.record(5_000, 2_000);
    let latency = recorder.take().expect("samples");
    let mut run = RunResult { schema: SCHEMA, ..RunResult::default() };
    run.measured.latency = Metric::ALL.map(|metric| (metric, latency.clone())).into();
    run.timeline.push(Window { latency: run.measured.latency.clone(), ..Window::default() });
    run.phases.push(Phase { name: "measured".into(), ..Phase::default() });
    run.delivery.consumers.push(ConsumerDelivery::default());
    run.generator.late_carried = Some((0.99, 3.0));
    run.generator.quiet = Some(Default::default());
    run.target.died = Some("it did".into());
    let good = serde_json::to_value(&run).expect("JSON");
    hold("run", &good);

    let mut bad = Vec::new();
    spoilt(&good, "run", &mut bad);
    assert!(bad.len() > 80, "{} ways", bad.len());
    for (what, document) in &bad {
        assert!(!faults("run", document).is_empty(), "{what} was not noticed");
    }
    for name in good.as_object().expect("an object").keys() {
        let mut document = good.clone();
        document.as_object_mut().expect("an object").remove(name);
        assert!(faults("run", &document).iter().any(|fault| fault.contains("is missing")), "{name}");
    }
    for (path, value) in [("/speed", json!(1)), ("/verdict/maybe", json!(true)), ("/measured/latency/ping", json!({}))] {
        let (parent, name) = path.rsplit_once('/').expect("a path");
        let mut document = good.clone();
        document.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object").insert(name.to_string(), value);
        assert!(!faults("run", &document).is_empty(), "{path} was not noticed");
    }
    assert!(!faults("run", &json!({ "schema": 2 })).is_empty());
}
