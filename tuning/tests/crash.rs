//! `kill -9` at every step of a real `apply` and a real `rollback`: a child process kills itself, then the program itself finds it and undoes it.

mod support;

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};

use coreline_tuning::facts::Facts;
use coreline_tuning::journal::{Log, Record, Stamp, State, Store};
use coreline_tuning::plan::plan;
use coreline_tuning::profile::Profile;
use coreline_tuning::sysfs::Root;
use coreline_tuning::transaction::{apply, rollback};
use coreline_tuning::tree::{HostTree, Tree};

const ROOT: &str = "CORELINE_TUNE_CRASH_ROOT";
const STEP: &str = "CORELINE_TUNE_CRASH_STEP";

/// Kills the process at its n-th operation: before it when the number is odd, after it when it is even.
struct Deadly<T> {
    inner: T,
    left: std::rc::Rc<std::cell::Cell<usize>>,
}

impl<T> Deadly<T> {
    fn step(&self) {
        let left = self.left.get();
        if left == 1 {
            nix::sys::signal::kill(nix::unistd::getpid(), nix::sys::signal::Signal::SIGKILL).expect("kills");
        }
        self.left.set(left.saturating_sub(1));
    }
}

impl<T: Tree> Tree for Deadly<T> {
    fn read(&mut self, path: &str) -> io::Result<String> {
        self.inner.read(path)
    }
    fn write(&mut self, path: &str, text: &str) -> io::Result<()> {
        self.step();
        let result = self.inner.write(path, text);
        self.step();
        result
    }
}

impl<L: Log> Log for Deadly<L> {
    fn append(&mut self, record: &Record) -> io::Result<()> {
        self.step();
        let result = self.inner.append(record);
        self.step();
        result
    }
}

fn profile() -> Profile {
    let mut profile = Profile::load("production-latency").expect("built in");
    profile.add("disk_nr_requests=100").expect("may be named");
    profile
}

/// What the child runs; on its own it is no test.
#[test]
fn child() {
    let (Ok(root), Ok(step)) = (std::env::var(ROOT), std::env::var(STEP)) else { return };
    let (verb, step) = step.split_once(' ').expect("a verb and a number");
    let left = std::rc::Rc::new(std::cell::Cell::new(step.parse().expect("a number")));
    let facts = Facts::read(&Root::at(&root));
    let store = Store::at(Path::new(&root).join("var/lib/coreline-tune"));
    let locked = store.lock().expect("free");
    let mut tree = Deadly { inner: HostTree::new(Root::at(&root)), left: left.clone() };
    if verb == "apply" {
        let (_, log) = locked.create().expect("creates");
        let stamp = Stamp { boot_id: facts.boot_id.clone().expect("recorded"), ..Stamp::default() };
        apply(&plan(&facts, &profile()), stamp, &mut tree, &mut Deadly { inner: log, left: left.clone() }).expect("applies");
    } else {
        let (number, journal) = store.load().expect("loads").pop().expect("one is in force");
        let log = locked.reopen(number).expect("opens");
        rollback(&journal, &mut tree, &mut Deadly { inner: log, left: left.clone() });
    }
}

fn run_child(root: &Path, verb: &str, step: usize) -> ExitStatus {
    let me = std::env::current_exe().expect("a test binary");
    let mut command = Command::new(me);
    command.args(["--exact", "child", "--nocapture", "--test-threads=1"]).env(ROOT, root).env(STEP, format!("{verb} {step}"));
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    command.status().expect("runs")
}

fn tune(root: &Path, arguments: &[&str]) -> (i32, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_coreline-tune")).arg("--root").arg(root).args(arguments).output().expect("runs");
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    (out.status.code().unwrap_or(-1), text)
}

#[test]
fn a_kill_at_any_step_of_apply_is_found_and_undone() {
    let mut finished = false;
    for step in 1..200 {
        let dir = support::folder();
        support::plant(dir.path(), "vm-virtio");
        let before = support::planted(dir.path());
        let status = run_child(dir.path(), "apply", step);
        if status.success() {
            assert!(step > 40, "only {step} steps");
            finished = true;
            break;
        }
        assert_eq!(status.signal(), Some(9), "step {step}: {status}");
        let states: Vec<State> =
            Store::at(dir.path().join("var/lib/coreline-tune")).load().expect("loads").iter().map(|(_, j)| j.state()).collect();
        match states[..] {
            [State::Empty] => assert_eq!(support::planted(dir.path()), before, "step {step}: written before it was journalled"),
            [State::Unfinished] => {
                let (code, text) = tune(dir.path(), &["status"]);
                assert!(code == 1 && text.contains("CUT OFF"), "step {step}: {code} {text}");
                let (code, text) = tune(dir.path(), &["apply", "--yes"]);
                assert!(code == 2 && text.contains("rollback"), "step {step}: {code} {text}");
            }
            [State::InForce] => {}
            _ => panic!("step {step}: {states:?}"),
        }
        let (code, text) = tune(dir.path(), &["rollback", "--yes"]);
        assert_eq!((code, support::planted(dir.path())), (0, before), "step {step}: {text}");
        let (code, text) = tune(dir.path(), &["status"]);
        assert!(code == 0 && text.contains("nothing is in force"), "step {step}: {text}");
    }
    assert!(finished, "apply did not end");
}

#[test]
fn a_kill_at_any_step_of_rollback_is_found_and_ended() {
    let mut finished = false;
    for step in 1..200 {
        let dir = support::folder();
        support::plant(dir.path(), "vm-virtio");
        let before = support::planted(dir.path());
        assert!(run_child(dir.path(), "apply", 0).success());
        let status = run_child(dir.path(), "rollback", step);
        if status.success() {
            assert!(step > 20, "only {step} steps");
            finished = true;
            break;
        }
        assert_eq!(status.signal(), Some(9), "step {step}: {status}");
        let (code, text) = tune(dir.path(), &["rollback", "--yes"]);
        assert_eq!((code, support::planted(dir.path())), (0, before), "step {step}: {text}");
    }
    assert!(finished, "rollback did not end");
}
