//! The command line as a user types it.

mod fake;
mod schema_check;

use std::io::{Read, Write};
use std::process::Command;

#[test]
fn host_prints_the_facts_of_this_host() {
    let out = Command::new(env!("CARGO_BIN_EXE_coreline-bench")).arg("host").output().expect("the binary runs");
    assert!(out.status.success());
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert!(json["kernel_release"].is_string(), "{json}");
}

/// Replaces what stands between `<!-- name -->` and `<!-- /name -->`.
fn filled(text: &str, name: &str, content: &str) -> String {
    let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = text.split_once(&open).expect("the opening mark");
    let (_, after) = rest.split_once(&close).expect("the closing mark");
    format!("{before}{open}{content}{close}{after}")
}

#[test]
fn the_readme_lists_every_scenario_and_every_key() {
    use coreline_bench::scenario::{Overrides, key_table, load, names};
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let text = std::fs::read_to_string(path).expect("README");
    let mut table = String::from("| name | measures |\n|---|---|\n");
    for name in names() {
        table.push_str(&format!("| `{name}` | {} |\n", load(name, &Overrides::default()).expect("parses").title));
    }
    let wanted = filled(&filled(&text, "scenarios", &table), "keys", &key_table());
    if std::env::var_os("CORELINE_UPDATE_DOCS").is_some() {
        std::fs::write(path, &wanted).expect("written");
    } else {
        assert!(text == wanted, "stale; rewrite with CORELINE_UPDATE_DOCS=1 cargo test -p coreline-bench --test command");
    }
}

#[test]
fn the_published_tables_are_those_of_the_result_files() {
    let table = concat!(env!("CARGO_MANIFEST_DIR"), "/baseline/table");
    let out = Command::new("python3").args([table, "--check"]).output().expect("python3 runs");
    let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "rewrite them with bench-harness/baseline/table: {said}");
}

#[test]
fn wrong_input_ends_with_2_and_an_unreachable_target_with_3() {
    let run = |args: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_coreline-bench")).args(args).output().expect("the binary runs");
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("bad.toml");
    std::fs::write(&file, "title = \"x\"\nspeed = 5\n").expect("written");
    let file = file.to_str().expect("UTF-8");
    let pipe = dir.path().join("pipe.toml");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).expect("made");
    let pipe = pipe.to_str().expect("UTF-8");
    // Something that answers, but not as a Kafka listener does.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let web = listener.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 64]).and_then(|_| stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
        }
    });
    for (args, code, wanted) in [
        (&["run", file][..], 2, "bad.toml:2: speed: unknown key"),
        (&["run", "no-such-scenario"], 2, "no scenario `no-such-scenario`"),
        (&["run", pipe], 2, "pipe.toml: no regular file"),
        (&["run", "missing.toml"], 2, "missing.toml: No such file"),
        (&["run", "latency", "--set", "producers.count=0x"], 2, "producers.count on the command line"),
        (&["run", "latency", "--rate", "fast"], 2, "load.rate on the command line"),
        (&["run", "latency", "--durations", "5"], 2, "--durations"),
        (&["run", "latency", "--target", "kafka:/nowhere"], 2, "/nowhere: no directory of Apache Kafka's jars"),
        (&["run", "latency", "--server-cpus", "0-x"], 2, "--server-cpus: `x` is no CPU"),
        (&["run", "latency", "--set", "generator.cpus=8191"], 2, "generator.cpus on the command line"),
        (&["slo", "latency", "--objective", "errors == 0", "--trial", "0"], 2, "--trial"),
        (&["compare", "latency", "--a", "h:1", "--b", "h:1", "--load-levels", "30,120"], 2, "--load-levels: `120` is no level"),
        (&["compare", "latency", "--a", "h:1", "--b", "h:1", "--load-levels", "30", "--rate", "5"], 2, "leave --rate out"),
        (&["compare", "idle", "--a", "h:1", "--b", "h:1", "--load-levels", "30"], 2, "sends no records at a rate"),
        (&["slo", "latency", "--objective", "errors == 0", "--at-least", "NaN"], 2, "--at-least NaN"),
        (&["run", "latency", "--json", "same", "--html", "same"], 2, "same: two outputs"),
        (&["host", "--cpus", "0"], 2, "--pacing"),
        (&["run", "latency", "--server-memory", "lots"], 2, "`lots` is no size"),
        (&["run", "latency", "--target", "h:1", "--server-memory", "1g"], 2, "--server-memory: a server that runs already"),
        (&["compare", "latency", "--a", "coreline", "--b", "h:1", "--server-cpus", "0"], 2, "--server-cpus: a server that runs already"),
        (&["compare", "latency", "--a", "h:1", "--b", "h:2", "--admin", "h:3"], 2, "--admin is for one target"),
        (&["history", "/nowhere"], 2, "/nowhere: No such file"),
        (&["history", file], 2, "bad.toml: no JSON"),
        (&["run", "latency", "--target", &web, "--no-probe"], 3, "is this a Kafka listener?"),
        (&["run", "restart", "--target", "127.0.0.1:1", "--no-probe"], 3, "127.0.0.1:1"),
    ] {
        let (got, stderr) = run(args);
        assert_eq!(got, Some(code), "{args:?}: {stderr}");
        assert!(stderr.contains(wanted), "{args:?}: {stderr:?} lacks {wanted:?}");
    }
}

/// A second server that serves once, and not when it is measured: what was measured of the first is not thrown away with it. And one that never
/// does is told before anything is measured.
#[test]
fn a_comparison_whose_target_fails_keeps_what_it_has_and_one_that_never_served_measures_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let fake = fake::Fake::start(fake::Fault::None);
    let compare = |b: &str, json: &std::path::Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coreline-bench"));
        command.args(["compare", "end-to-end", "--a", &fake.address(), "--b", b, "--pairs", "4", "--noise-pairs", "0", "--no-probe", "-q"]);
        command.args(["--duration", "1", "--warmup", "0", "--rate", "500", "--set", "generator.spin_us=0", "--data-root"]).arg(dir.path());
        let out = command.arg("--json").arg(json).output().expect("the binary runs");
        (out.status.code(), [out.stdout, out.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat())
    };
    let json = dir.path().join("never.json");
    let (code, said) = compare("cmd:echo no license for {port}; exit 7", &json);
    assert!(code == Some(3) && said.contains("no license for") && !json.exists(), "{code:?}: {said}");
    let (json, mark) = (dir.path().join("once.json"), dir.path().join("mark"));
    let once = format!("cmd:test ! -e {0} || exit 7; touch {0}; exec python3 -m http.server {{port}} --bind 127.0.0.1", mark.display());
    let (code, said) = compare(&once, &json);
    assert!(code == Some(3) && said.contains("it ended before its pairs were complete"), "{code:?}: {said}");
    let result: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&json).expect("written")).expect("JSON");
    schema_check::hold("compare", &result);
    assert!(result["ended"].as_str().is_some_and(|why| why.contains("code 7")), "{}", result["ended"]);
    assert_eq!(result["blocks"].as_array().map(Vec::len), Some(1), "A's first block");
}
