//! Ctrl-C while something is awaited: the run ends soon, and what it has is written, marked as interrupted.

mod fake;
mod schema_check;

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use coreline_bench::interrupt::Flag;
use coreline_bench::run::run;
use coreline_bench::scenario::{Overrides, Scenario, load};
use coreline_bench::target::Address;
use coreline_wire::ApiKey;
use fake::{Fake, Fault};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Longest time from the interruption to the end. It takes a twentieth of a second; what would be waited for otherwise is 10 s and more.
const SOON: Duration = Duration::from_secs(5);

fn scenario(set: &[&str]) -> Scenario {
    let fixed = ["warmup_s=0", "warmup_max_s=0", "generator.spin_us=0", "producers.value_bytes=100", "drain_s=600"];
    let set = fixed.iter().chain(set).map(ToString::to_string).collect();
    load("end-to-end", &Overrides { duration_s: Some(1), warmup_s: None, rate: Some("500".into()), set }).expect("a sound scenario")
}

/// Every moment at which a run waits for an answer of the server: what is asked, for the how-manieth time, of which scenario.
const MOMENTS: [(&str, ApiKey, u64, &[&str]); 10] = [
    ("connecting", ApiKey::ApiVersions, 1, &[]),
    ("creating topics", ApiKey::CreateTopics, 1, &[]),
    ("asking for leaders", ApiKey::Metadata, 1, &[]),
    ("asking for first offsets", ApiKey::ListOffsets, 1, &[]),
    ("asking for end offsets", ApiKey::ListOffsets, 2, &[]),
    ("asking for producer ids", ApiKey::InitProducerId, 1, &[]),
    ("writing the backlog", ApiKey::Produce, 3, &["preload.bytes=500000", "preload.drop_caches=false"]),
    ("greeting idle connections", ApiKey::ApiVersions, 5, &["background.connections=1"]),
    ("the load", ApiKey::Produce, 3, &["duration_s=600"]),
    ("asking for end offsets in the drain", ApiKey::ListOffsets, 3, &[]),
];

#[test]
fn every_wait_of_a_run_ends_soon_with_a_result_that_says_so() {
    std::thread::scope(|scope| {
        for (moment, api, number, set) in MOMENTS {
            scope.spawn(move || {
                let fake = Fake::start(Fault::Silent(api, number));
                let flag = Flag::default();
                let raised = {
                    let (fake, flag) = (fake.clone(), Flag::clone(&flag));
                    std::thread::spawn(move || {
                        fake.wait_until_silent();
                        flag.store(true, Ordering::Relaxed);
                        Instant::now()
                    })
                };
                let result = run(&scenario(set), &mut Address(fake.address()), &flag, &mut |_| {});
                let took = raised.join().expect("raised").elapsed();
                let result = result.unwrap_or_else(|error| panic!("{moment}: {error}"));
                assert!(took < SOON, "{moment}: it took {took:?}");
                assert!(result.interrupted && !result.verdict.valid && result.target.died.is_none(), "{moment}: {:?}", result.verdict);
                assert_eq!(
                    result.figures.contains_key("create_topics_s"),
                    number > 1 || api == ApiKey::ListOffsets || api == ApiKey::InitProducerId,
                    "{moment}"
                );
                schema_check::hold("run", &serde_json::to_value(&result).expect("JSON"));
            });
        }
    });
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the program, waits for `reached`, sends it SIGINT; how it ended, how long that took, and what it wrote.
fn interrupted(dir: &Path, arguments: &[&str], reached: impl FnOnce()) -> (ExitStatus, Duration, Value, String) {
    let (json, html) = (dir.join("out.json"), dir.join("out.html"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_coreline-bench"));
    command.args(arguments).arg("--json").arg(&json).arg("--data-root").arg(dir);
    if arguments[0] != "slo" {
        command.arg("--html").arg(&html);
    }
    let mut child = Ended(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary runs"));
    reached();
    let begun = Instant::now();
    kill(Pid::from_raw(child.0.id() as i32), Signal::SIGINT).expect("is sent");
    let status = child.0.wait().expect("it ends");
    let took = begun.elapsed();
    let text = std::fs::read_to_string(&json).expect("it wrote its result");
    let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text:?}"));
    (status, took, value, std::fs::read_to_string(&html).unwrap_or_default())
}

#[test]
fn every_command_writes_what_it_has_and_ends_with_130() {
    const CAPACITY: [&str; 10] =
        ["compare", "end-to-end", "--no-probe", "--load-levels", "50", "--warmup", "0", "--a", "127.0.0.1:1", "--b"];
    std::thread::scope(|scope| {
        for (kind, arguments, api) in [
            ("run", &["run", "end-to-end", "--no-probe", "--target"][..], ApiKey::Metadata),
            ("slo", &["slo", "end-to-end", "--objective", "errors == 0", "--no-probe", "--target"], ApiKey::Metadata),
            ("compare", &["compare", "end-to-end", "--no-probe", "--a", "127.0.0.1:1", "--b"], ApiKey::Metadata),
            ("compare", &CAPACITY, ApiKey::Produce),
        ] {
            scope.spawn(move || {
                let dir = tempfile::tempdir().expect("a directory");
                let fake = Fake::start(Fault::Silent(api, 1));
                let address = fake.address();
                let mut arguments = arguments.to_vec();
                // The first block of a comparison is A's.
                arguments.iter_mut().filter(|a| **a == "127.0.0.1:1").for_each(|a| *a = &address);
                arguments.push(&address);
                let (status, took, json, html) = interrupted(dir.path(), &arguments, || fake.wait_until_silent());
                assert_eq!(status.code(), Some(130), "{kind}");
                assert!(took < SOON, "{kind}: it took {took:?}");
                assert_eq!(json["interrupted"], true, "{kind}");
                schema_check::hold(kind, &json);
                assert!(kind == "slo" || html.contains("Interrupted: this is what was measured until then."), "{kind}");
            });
        }
    });
}

/// A server that never serves, and notes that it was started.
#[test]
#[allow(clippy::disallowed_methods)] // Between looks for a file that another process makes.
fn the_wait_for_a_server_that_is_started_ends_soon_too() {
    std::thread::scope(|scope| {
        for command in ["run", "slo", "compare"] {
            scope.spawn(move || {
                let dir = tempfile::tempdir().expect("a directory");
                let mark = dir.path().join("begun");
                let server = format!("cmd:: {{port}}; echo begun > {}; exec sleep 1000", mark.display());
                let arguments = match command {
                    "run" => vec!["run", "end-to-end", "--no-probe", "--target", &server],
                    "slo" => vec!["slo", "end-to-end", "--no-probe", "--objective", "errors == 0", "--target", &server],
                    _ => vec!["compare", "end-to-end", "--no-probe", "--keep", "5", "--a", &server, "--b", &server],
                };
                let reached = || {
                    let until = Instant::now() + Duration::from_secs(60);
                    while !mark.exists() {
                        assert!(Instant::now() < until, "the server was never started");
                        std::thread::sleep(Duration::from_millis(5));
                    }
                };
                let (status, took, json, _) = interrupted(dir.path(), &arguments, reached);
                assert_eq!((status.code(), &json["interrupted"]), (Some(130), &Value::Bool(true)), "{command}");
                assert!(took < SOON, "{command}: it took {took:?}");
                schema_check::hold(command, &json);
            });
        }
    });
}
