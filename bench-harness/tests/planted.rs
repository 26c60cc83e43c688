//! A slow stage that is planted in the broker is named by the attribution: the whole way from the broker's stamps to the JSON of a run.
//!
//! Needs the `coreline` executable beside the harness (a whole build has it); without it the test says so and passes, with `CI=true` it fails.

mod schema_check;

use std::process::Command;

use coreline_bench::result::RunResult;
use coreline_bench::stages::StageReport;

/// Long beside everything else that a produce does, on a busy machine too.
const DELAY_US: u64 = 60_000;

#[test]
fn a_planted_slow_stage_is_named() {
    let bench = std::path::Path::new(env!("CARGO_BIN_EXE_coreline-bench"));
    if !bench.with_file_name("coreline").is_file() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "no coreline beside {}", bench.display());
        #[allow(clippy::print_stderr)] // A skip that nobody sees is a lie.
        {
            eprintln!("SKIPPED: no coreline beside {}; build it with: cargo build -p coreline-broker", bench.display());
        }
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let json = dir.path().join("result.json");
    let mut command = Command::new(bench);
    command.args(["run", "latency", "--rate", "500", "--duration", "4", "--warmup", "0", "--no-probe", "--quiet", "--json"]).arg(&json);
    // Enough requests at once that so slow a server still answers the schedule; how late the generator is does not matter here.
    command.args(["--set", "producers.count=20", "--set", "producers.batch_bytes=1200", "--set", "generator.late_limit_us=10000000"]);
    command.env("CORELINE_PLANTED_DELAY", format!("device_write:{DELAY_US}"));
    let out = command.output().expect("the harness runs");
    let said = format!("{}\n{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    let text = std::fs::read_to_string(&json).unwrap_or_else(|error| panic!("no result ({error}):\n{said}"));
    // With what a server that was started here cost, and its stages.
    schema_check::hold("run", &serde_json::from_str(&text).expect("JSON"));
    let result: RunResult = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}:\n{said}"));
    let stages: StageReport = serde_json::from_value(result.stages.expect("a Coreline has stages")).expect("a report of stages");
    for quantile in [0.5, 0.99] {
        let largest = stages.largest("Produce", quantile).unwrap_or_else(|| panic!("no p{}:\n{said}", quantile * 100.0));
        let planted = stages.share("Produce", quantile, "device_write").expect("the stage has time");
        assert!(planted.mean_s >= DELAY_US as f64 / 1e6, "{planted:?}\n{said}");
        if quantile == 0.5 {
            assert_eq!(largest.stage, "device_write", "{said}");
            assert!(largest.share > 0.5, "{largest:?}\n{said}");
        }
    }
}
