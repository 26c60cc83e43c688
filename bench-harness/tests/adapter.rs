//! Servers that the harness starts: they serve, they are stopped and wiped, and they never outlive the harness.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use coreline_bench::adapter::{Server, Spec, Surroundings};

/// Longest wait for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(30);

fn surroundings(root: &Path) -> Surroundings {
    Surroundings {
        program: PathBuf::from(env!("CARGO_BIN_EXE_coreline-bench")),
        data_root: root.to_path_buf(),
        kafka_libs: None,
        server_cpus: Vec::new(),
        server_memory: None,
        flag: Default::default(),
    }
}

fn prepare(target: &str, root: &Path) -> Server {
    let spec = Spec::parse(target).unwrap_or_else(|error| panic!("{error}"));
    Server::prepare(&spec, &surroundings(root)).unwrap_or_else(|error| panic!("{error}"))
}

/// True if the process is there and not only waiting to be reaped.
fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

#[allow(clippy::disallowed_methods)] // Between looks at a process that is being killed.
fn gone(pid: u32) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while lives(pid) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    !lives(pid)
}

/// A server in a shell that python runs below; says where its data is.
const WEB: &str = "cmd:echo begun >> {dir}/begun; python3 -m http.server {port} --bind 127.0.0.1 --directory {dir}";

#[test]
fn a_command_is_started_stopped_and_wiped() {
    let root = tempfile::tempdir().expect("a directory");
    let mut server = prepare(WEB, root.path());
    server.start_fresh().unwrap_or_else(|error| panic!("{error}"));
    let begun = server.local().map(|local| local.place().data.join("begun")).expect("a local server");
    let pid = server.target().pid().expect("runs");
    assert!(begun.exists() && lives(pid));
    server.target().kill().expect("is killed");
    assert_eq!(server.target().pid(), None);
    assert!(gone(pid) && begun.exists(), "killed, its data is there");
    server.target().start().expect("starts again");
    let again = server.target().pid().expect("runs");
    assert_ne!(pid, again);
    assert_eq!(server.local().map(|local| local.watch().pid()), Some(Some(again)));
    server.target().wipe().expect("is wiped");
    assert!(gone(again) && !begun.exists(), "wiped, nothing is left");
    drop(server);
    assert_eq!(std::fs::read_dir(root.path()).map(Iterator::count).unwrap_or(9), 0, "no directory stays behind");
}

#[test]
fn a_server_that_ends_at_once_is_reported_with_its_last_words() {
    let root = tempfile::tempdir().expect("a directory");
    let mut server = prepare("cmd:echo no license for {port} >&2; exit 3", root.path());
    let error = server.start_fresh().expect_err("it ends").to_string();
    assert!(error.contains("no license for") && error.contains("code 3"), "{error}");
    let mut server = prepare("cmd:exec /nowhere/at/all {port}", root.path());
    let error = server.start_fresh().expect_err("there is no such program").to_string();
    assert!(error.contains("/nowhere/at/all"), "{error}");
    let error = Server::prepare(&Spec::parse("coreline:/nowhere/coreline").expect("parses"), &surroundings(root.path())).err();
    assert!(error.is_some_and(|error| error.to_string().contains("no executable /nowhere/coreline")));
}

/// The supervisor gets the end of its input when the harness is gone, whatever ended the harness; `kill -9` closes pipes too.
#[test]
fn nothing_outlives_the_harness() {
    let root = tempfile::tempdir().expect("a directory");
    let log = root.path().join("log");
    let mut supervisor = Command::new(env!("CARGO_BIN_EXE_coreline-bench"));

    supervisor.args(["supervise", "--log"]).arg(&log).args(["--", "/bin/sh", "-c", "sleep 1000 & echo child $!; wait"]);
    let mut supervisor = supervisor.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
    let mut input = supervisor.stdin.take().expect("a pipe");
    let mut answers = BufReader::new(supervisor.stdout.take().expect("a pipe")).lines();
    input.write_all(b"start\n").expect("takes a command");
    let answer = answers.next().expect("answers").expect("reads");
    let pid: u32 = answer.strip_prefix("pid ").and_then(|pid| pid.parse().ok()).unwrap_or_else(|| panic!("{answer}"));
    let deadline = Instant::now() + PATIENCE;
    let child = loop {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        if let Some(child) = text.trim().strip_prefix("child ").and_then(|pid| pid.parse::<u32>().ok()) {
            break child;
        }
        assert!(Instant::now() < deadline, "the server said {text:?}");
        std::thread::yield_now();
    };
    assert!(lives(pid) && lives(child));
    drop(input);
    assert!(gone(pid), "the server outlived the harness");
    assert!(gone(child), "the server's child outlived the harness");
    supervisor.wait().expect("the supervisor ends");
}

/// Even when it is the supervisor that somebody kills, the server is gone with the harness's handle on it.
#[test]
fn a_killed_supervisor_leaves_no_server_behind() {
    let root = tempfile::tempdir().expect("a directory");
    let mut server = prepare(WEB, root.path());
    server.start_fresh().unwrap_or_else(|error| panic!("{error}"));
    let pid = server.target().pid().expect("runs");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("runs");
    let supervisor: u32 = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok()).expect("a parent");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(supervisor as i32), nix::sys::signal::Signal::SIGKILL).expect("is killed");
    drop(server);
    assert!(gone(pid), "the server outlived the harness");
}

/// The bound is the kernel's, on the server's own control group, and goes with the server.
#[test]
fn a_server_is_kept_to_the_memory_that_it_may_use() {
    let root = tempfile::tempdir().expect("a directory");
    let bounded = Surroundings { server_memory: Some(64 << 20), ..surroundings(root.path()) };
    let mut server = match Server::prepare(&Spec::parse(WEB).expect("parses"), &bounded) {
        Ok(server) => server,
        Err(error) => {
            // Not every host lets its users make control groups; then it says so and starts nothing.
            assert!(error.to_string().starts_with("--server-memory: "), "{error}");
            return;
        }
    };
    server.start_fresh().unwrap_or_else(|error| panic!("{error}"));
    let pid = server.target().pid().expect("runs");
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("runs");
    let bound = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2)).find_map(|path| {
        let in_one = |file: &str| Path::new(file.split_once('*').expect("a star").0).join(path.trim_start_matches('/'));
        let at = |pattern: &str| in_one(pattern).join(pattern.split_once("*/").expect("a file").1);
        ["/sys/fs/cgroup/memory/*/memory.limit_in_bytes", "/sys/fs/cgroup/*/memory.max"]
            .into_iter()
            .map(at)
            .find(|file| file.to_string_lossy().contains("coreline-bench-") && file.exists())
    });
    let bound = bound.unwrap_or_else(|| panic!("no group with a bound: {groups}"));
    assert_eq!(std::fs::read_to_string(&bound).expect("reads").trim(), (64 << 20).to_string());
    let settings = server.local().expect("local").settings().to_vec();
    assert!(settings.contains(&("--server-memory".to_string(), (64 << 20).to_string())), "{settings:?}");
    drop(server);
    assert!(gone(pid) && !bound.exists(), "the group is gone with the server");
}
