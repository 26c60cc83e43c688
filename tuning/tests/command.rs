//! The command line as a user types it: on this host (only read, but for one harmless setting) and on recorded hosts.

mod support;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

fn tune(arguments: &[&str]) -> (i32, String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_coreline-tune")).args(arguments).output().expect("the binary runs");
    let text = |b: Vec<u8>| String::from_utf8(b).expect("UTF-8");
    (out.status.code().unwrap_or(-1), text(out.stdout), text(out.stderr))
}

/// Runs a command that has to end within half a second; on a busy machine the best of five runs counts.
fn in_time(arguments: &[&str]) -> (i32, String) {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        let (code, out, _) = tune(arguments);
        best = best.min(start.elapsed());
        if best < Duration::from_millis(500) {
            return (code, out);
        }
    }
    panic!("{arguments:?} took {best:?} at best");
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// A recorded host as files, and the arguments that name it.
fn host(name: &str) -> (tempfile::TempDir, String) {
    let dir = support::folder();
    support::plant(dir.path(), name);
    let root = dir.path().to_str().expect("UTF-8").to_owned();
    (dir, root)
}

#[test]
fn check_reads_this_host_in_half_a_second() {
    let (code, out) = in_time(&["check", "--json"]);
    assert!(code == 0 || code == 1, "exit code {code}");
    let json = json(&out);
    assert!(json["facts"]["kernel_release"].is_string() && json["facts"]["platform"]["kind"].is_string(), "{json}");
    assert!(json["findings"].as_array().is_some_and(|f| f.len() >= 50), "{json}");
}

#[test]
fn check_of_a_large_host_ends_in_time_too() {
    let (dir, root) = host("bare-metal-nvme");
    let write = |path: String, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().expect("below")).expect("create");
        std::fs::write(path, text).expect("write");
    };
    let mounts: String =
        (0..5000).map(|i| format!("{i} 1 0:{i} / /var/lib/pods/{i} rw,relatime - overlay overlay rw,lowerdir=/a\n")).collect();
    write("proc/self/mountinfo".into(), &(mounts + "28 1 259:2 / / rw - ext4 /dev/nvme0n1p2 rw\n"));
    write("sys/devices/system/cpu/online".into(), "0-255\n");
    for i in 0..256 {
        write(format!("sys/devices/system/cpu/cpu{i}/power/pm_qos_resume_latency_us"), "0\n");
        write(format!("sys/devices/system/cpu/cpufreq/policy{i}/scaling_governor"), "powersave\n");
    }
    for i in 300..1300 {
        write(format!("sys/kernel/irq/{i}/actions"), "nvme0q1\n");
        write(format!("proc/irq/{i}/smp_affinity"), "ff\n");
    }
    let (code, out) = in_time(&["check", "--root", &root]);
    assert!(code == 1 && out.contains("256 CPUs"), "{out}");
}

#[test]
fn what_helps_in_a_proof_is_kept_and_what_does_not_is_put_back() {
    let (dir, root) = host("vm-virtio");
    let before = support::planted(dir.path());
    let file = format!("{root}/proc/sys/vm/max_map_count");
    let temporary = std::env::temp_dir();
    let prove = |bench: &str, more: &[&str]| {
        let bench = format!("awk '{bench}' {file}");
        let dir = temporary.to_str().expect("UTF-8");
        let mut all =
            vec!["prove", "--root", &root, "--knob", "max_map_count", "--rounds", "3", "--yes", "--dir", dir, "--bench", &bench, "--json"];
        all.extend(more);
        let (code, out, err) = tune(&all);
        (code, if out.is_empty() { serde_json::Value::Null } else { json(&out) }, err)
    };
    // A bench that gets worse by the knob, one that does not care, one that fails: nothing is left behind.
    let (code, proof, _) = prove("{print $1}", &["--keep"]);
    assert_eq!((code, &proof["proofs"][0]["verdict"]), (1, &"harms".into()), "{proof}");
    let (code, proof, _) = prove("{print 5}", &["--keep"]);
    assert_eq!((code, &proof["proofs"][0]["verdict"]), (1, &"unclear".into()), "{proof}");
    let (code, _, err) = prove("{print \"broken\"}", &["--keep"]);
    assert!(code == 2 && err.contains("broken"), "{err}");
    assert_eq!(support::planted(dir.path()), before);
    let (code, proof, _) = prove("{print 1000000000 / $1}", &["--keep"]);
    assert_eq!((code, &proof["helps"][0]), (0, &"max_map_count".into()), "{proof}");
    let ratio = proof["proofs"][0]["comparisons"][0]["ratio"].as_f64().expect("a ratio");
    assert!((ratio - 65530.0 / 262_144.0).abs() < 1e-3, "{ratio}");
    assert_eq!(support::planted(dir.path())["/proc/sys/vm/max_map_count"], "262144", "kept");
    assert_eq!(tune(&["rollback", "--yes", "--root", &root]).0, 0);
    assert_eq!(support::planted(dir.path()), before);
}

#[test]
fn a_proof_that_is_interrupted_puts_everything_back() {
    let (dir, root) = host("vm-virtio");
    let before = support::planted(dir.path());
    let temporary = std::env::temp_dir();
    let mut child = Command::new(env!("CARGO_BIN_EXE_coreline-tune"))
        .args(["prove", "--root", &root, "--knob", "stat_interval", "--rounds", "1000", "--probe-ms", "10", "--yes", "--dir"])
        .arg(&temporary)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("runs");
    // It has begun when a journal is there.
    let begun = Instant::now();
    while !dir.path().join("var/lib/coreline-tune/000001.journal").exists() {
        assert!(begun.elapsed() < Duration::from_secs(30) && child.try_wait().expect("asks").is_none(), "it did not begin");
        std::thread::yield_now();
    }
    assert!(tune(&["status", "--root", &root]).1.contains("another coreline-tune is at work"));
    let (code, _, err) = tune(&["apply", "--yes", "--root", &root]);
    assert!(code == 2 && err.contains("wait until it is done"), "{err}");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("signals");
    let out = child.wait_with_output().expect("ends");
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.code() == Some(2) && err.contains("everything is as it was"), "{} {err}", out.status);
    assert_eq!(support::planted(dir.path()), before);
}

/// A proof that was killed may leave a whole batch in force: that is found and named, and undone like any other.
#[test]
fn a_proof_that_is_killed_is_found_by_status() {
    let (dir, root) = host("vm-virtio");
    let before = support::planted(dir.path());
    let (setting, mark) = (dir.path().join("proc/sys/vm/stat_interval"), dir.path().join("mark"));
    // With the knob turned it says who it is, and does not end.
    let bench = format!(
        "if [ \"$(cat {})\" = 1 ]; then echo 1; else echo $$ > {1}.new; mv {1}.new {1}; exec sleep 60; fi",
        setting.display(),
        mark.display()
    );
    let mut child = Command::new(env!("CARGO_BIN_EXE_coreline-tune"))
        .args(["prove", "--root", &root, "--knob", "stat_interval", "--probe-ms", "10", "--yes", "--bench", &bench, "--dir"])
        .arg(std::env::temp_dir())
        .spawn()
        .expect("runs");
    let begun = Instant::now();
    while !mark.exists() {
        assert!(begun.elapsed() < Duration::from_secs(30) && child.try_wait().expect("asks").is_none(), "it did not begin");
        std::thread::yield_now();
    }
    child.kill().expect("kills");
    child.wait().expect("ends");
    let sleeper = std::fs::read_to_string(&mark).expect("reads").trim().parse().expect("a pid");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(sleeper), nix::sys::signal::Signal::SIGKILL).expect("kills");
    let (code, out, _) = tune(&["status", "--root", &root]);
    assert!(code == 1 && out.contains("proof of stat_interval") && out.contains("LEFT BEHIND"), "{code} {out}");
    assert_eq!(tune(&["rollback", "--yes", "--root", &root]).0, 0);
    assert_eq!(support::planted(dir.path()), before);
}

#[test]
fn check_opens_nothing_for_writing() {
    if Command::new("strace").arg("-V").output().is_err() {
        return writes_nothing_by_types_alone();
    }
    let log = tempfile::NamedTempFile::new().expect("temporary file");
    let traced = "trace=open,openat,creat,mkdir,mkdirat,unlink,unlinkat,rename,renameat2,truncate,ftruncate,link,symlink,chmod,mount,ioctl";
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", traced, "-o"]).arg(log.path()).arg(env!("CARGO_BIN_EXE_coreline-tune")).arg("check");
    let out = command.output().expect("runs");
    let text = std::fs::read_to_string(log.path()).expect("a trace");
    if text.is_empty() {
        // Tracing is forbidden in many containers.
        return writes_nothing_by_types_alone();
    }
    assert!(out.status.code().is_some_and(|c| c < 2) && text.contains("openat"), "{text}");
    let writing = ["O_WRONLY", "O_RDWR", "O_CREAT", "mkdir", "unlink", "rename", "truncate", "link(", "chmod", "mount("];
    let bad: Vec<&str> =
        text.lines().filter(|l| writing.iter().any(|w| l.contains(w)) && !l.contains("readlink") && !l.contains("/dev/null")).collect();
    assert!(bad.is_empty(), "{bad:#?}");
}

/// Where nothing can be traced: a tree of files is the same afterwards, and no journal was made.
fn writes_nothing_by_types_alone() {
    let (dir, root) = host("vm-virtio");
    let before = support::planted(dir.path());
    tune(&["check", "--root", &root]);
    assert_eq!(support::planted(dir.path()), before);
    assert!(!dir.path().join("var").exists());
}

#[test]
fn every_command_that_only_looks_leaves_a_host_as_it_is() {
    let (dir, root) = host("vm-virtio");
    let before = support::planted(dir.path());
    for arguments in [
        &["check", "--all"][..],
        &["plan", "--profile", "production-latency"],
        &["status"],
        &["explain"],
        &["explain", "cpu_governor"],
        &["persist", "--profile", "bench-host"],
        &["record"],
    ] {
        for json_too in [false, true] {
            let mut all = arguments.to_vec();
            all.extend(["--root", &root]);
            if json_too {
                all.push("--json");
            }
            let (code, out, err) = tune(&all);
            assert!(code < 2 && !out.is_empty() && err.is_empty(), "{all:?}: {code} {err}");
            if json_too {
                json(&out);
            }
        }
    }
    assert_eq!(support::planted(dir.path()), before);
    assert!(!dir.path().join("var").exists() && !dir.path().join("etc/sysctl.d").exists());
}

#[test]
fn findings_say_what_to_do_and_set_the_exit_code() {
    let (_dir, root) = host("container");
    let (code, out, _) = tune(&["check", "--root", &root]);
    assert_eq!(code, 1, "{out}");
    assert!(out.starts_with("container on kvm"), "{out}");
    assert!(out.contains("FATAL   io_uring") && out.contains("kernel.io_uring_disabled=0"), "{out}");
    assert!(out.contains("why: ") && out.contains("how: "), "{out}");
    assert!(!out.contains('\x1b'), "no colour where there is no terminal");
    let (_dir, root) = host("cloud-metal-tuned");
    let (code, out, _) = tune(&["check", "--root", &root, "--json"]);
    assert_eq!(code, 0, "{out}");
}

#[test]
fn apply_status_rollback_on_a_tree_of_files() {
    let (dir, root) = host("vm-virtio");
    let before = support::planted(dir.path());
    let on = |arguments: &[&str]| {
        let mut all = arguments.to_vec();
        all.extend(["--root", &root]);
        tune(&all)
    };
    assert_eq!(on(&["plan"]).0, 1, "there is something to do");
    let (code, _, err) = on(&["apply"]);
    assert!(code == 2 && err.contains("--yes"), "without a terminal --yes is needed: {err}");
    let (code, out, err) = on(&["apply", "--profile", "production-latency", "--without", "busy_poll", "--yes"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(!out.contains("busy_poll"), "{out}");
    let now = support::planted(dir.path());
    assert_eq!(now["/sys/block/vda/queue/scheduler"], "none");
    assert_eq!(now["/proc/sys/net/ipv4/tcp_max_syn_backlog"], "4096");
    let (code, out, _) = on(&["apply", "--profile", "production-latency", "--without", "busy_poll", "--yes"]);
    assert!(code == 0 && out.contains("nothing to write"), "a second time there is nothing to do: {out}");
    // A second batch on top, then somebody else.
    assert_eq!(on(&["apply", "--only", "--with", "syn_backlog=8192", "--yes"]).0, 0);
    let (code, out, _) = on(&["status", "--json"]);
    let status = json(&out);
    assert_eq!((code, status["batches"].as_array().map(Vec::len)), (1, Some(2)), "the first batch sees the second as another: {status}");
    std::fs::write(dir.path().join("proc/sys/vm/stat_interval"), "77\n").expect("write");
    let (code, out, _) = on(&["rollback", "--yes"]);
    assert!(code == 1 && out.contains("stat_interval: left alone: somebody else set it to 77"), "{code} {out}");
    let mut expected = before;
    expected.insert("/proc/sys/vm/stat_interval".into(), "77".into());
    assert_eq!(support::planted(dir.path()), expected);
}

#[test]
fn mistakes_end_with_two_and_a_sentence_that_names_them() {
    let (dir, root) = host("vm-virtio");
    let state = dir.path().join("state");
    let state = state.to_str().expect("UTF-8");
    let bad = dir.path().join("bad.toml");
    std::fs::write(&bad, "name = \"bad\"\nabout = \"x\"\n[set]\nbusy_poll = \"fast\"\n").expect("write");
    let bad = bad.to_str().expect("UTF-8");
    for (arguments, named) in [
        (&["check", "--root", "/no/such/tree"][..], "/no/such/tree"),
        (&["explain", "cpu_governer"], "cpu_governor"),
        (&["plan", "--profile", "prodution"], "prodution"),
        (&["plan", "--profile", bad], "busy_poll"),
        (&["plan", "--with", "disk_write_cache"], "never"),
        (&["plan", "--with", "busy_poll=9999"], "1 to 1000"),
        (&["plan", "--with", "filesystem"], "by hand"),
        (&["prove", "--root", &root, "--yes"], "--knob"),
        (&["prove", "--root", &root, "--yes", "--knob", "nothing"], "nothing"),
        (&["prove", "--baseline", "--dir", "/no/such/dir"], "/no/such/dir"),
        (&["persist", "--cpus", "2-"], "2-"),
        (&["persist", "--cpus", "1,8000"], "no CPU 8000"),
        (&["prove", "--bench", "true", "--figure", "a..b"], "a..b"),
        (&["nonsense"], "nonsense"),
        (&["apply", "--bogus"], "--bogus"),
    ] {
        let (code, _, err) = tune(arguments);
        assert!(code == 2 && err.contains(named), "{arguments:?}: {code} {err}");
    }
    let (code, out, _) = tune(&["explain", "cpu_governer", "--json"]);
    assert!(code == 2 && json(&out)["error"].as_str().is_some_and(|e| e.contains("cpu_governor")), "{out}");
    // A damaged journal: named by file and line, and nothing is written.
    assert_eq!(tune(&["apply", "--yes", "--root", &root, "--state", state]).0, 0);
    let journal = Path::new(state).join("000001.journal");
    let text = std::fs::read_to_string(&journal).expect("a journal").replace("4096", "4097");
    std::fs::write(&journal, text).expect("write");
    let before = support::planted(dir.path());
    for command in [&["status"][..], &["rollback", "--yes"], &["apply", "--yes", "--with", "tcp_fastopen"]] {
        let mut all = command.to_vec();
        all.extend(["--root", &root, "--state", state]);
        let (code, _, err) = tune(&all);
        assert!(code == 2 && err.contains("000001.journal") && err.contains("line 1"), "{command:?}: {code} {err}");
    }
    assert_eq!(support::planted(dir.path()), before);
}

#[test]
fn a_restart_of_the_host_ends_what_was_in_force() {
    let (dir, root) = host("vm-virtio");
    assert_eq!(tune(&["apply", "--yes", "--root", &root]).0, 0);
    std::fs::write(dir.path().join("proc/sys/kernel/random/boot_id"), "another\n").expect("write");
    let before = support::planted(dir.path());
    let (code, out, _) = tune(&["status", "--root", &root]);
    assert!(code == 0 && out.contains("started anew"), "{out}");
    assert_eq!(tune(&["rollback", "--yes", "--root", &root]).0, 0);
    assert_eq!(support::planted(dir.path()), before, "nothing is undone");
    assert!(tune(&["status", "--root", &root]).1.contains("nothing is in force"));
}

#[test]
fn a_setting_that_cannot_be_written_undoes_the_batch_and_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let (dir, root) = host("vm-virtio");
    let user = Ordinary::new();
    user.give(dir.path());
    let path = dir.path().join("proc/sys/net/ipv4/tcp_slow_start_after_idle");
    // Readable by nobody's mode bits but ours, writable by a bit that is not ours: the plan thinks that it can be written.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o464)).expect("sets");
    let before = support::planted(dir.path());
    let (code, _, err) = user.tune(&["apply", "--yes", "--root", &root]);
    assert!(code == 2 && err.contains("tcp_slow_start_after_idle") && err.contains("permission denied"), "{err}");
    assert_eq!(support::planted(dir.path()), before);
}

#[test]
fn an_ordinary_user_is_told_that_apply_needs_root() {
    let user = Ordinary::new();
    for command in [&["apply", "--yes", "--only", "--with", "stat_interval=3"][..], &["prove", "--yes", "--knob", "stat_interval=3"]] {
        let (code, out, err) = user.tune(command);
        // A container may not have the setting, or may have it read-only: then there is nothing to do.
        assert!(
            code == 2 && err.contains("root") || code < 2 && err.is_empty() && out.contains("stat_interval"),
            "{command:?}: {code} {out} {err}"
        );
    }
    let (code, out, err) = user.tune(&["check"]);
    assert!(code < 2 && err.is_empty() && out.contains("kernel"), "{code} {out} {err}");
    assert!(user.tune(&["status"]).0 < 2);
}

/// Somebody moves a setting right after the batch was written: it is undone, and their value stays.
#[test]
fn a_setting_that_is_moved_back_at_once_undoes_the_batch() {
    let (dir, root) = host("two-numa-nodes");
    let apply = ["apply", "--only", "--with", "net_irq", "--with", "stat_interval", "--yes", "--settle-s", "2", "--root", &root];
    let (_, out, _) = tune(&["plan", "--only", "--with", "net_irq", "--root", &root]);
    assert!(
        out.contains("explain irqbalance") && !out.contains("smp_affinity:"),
        "nothing is placed while irqbalance would move it: {out}"
    );
    let drop_in = dir.path().join("etc/systemd/system/irqbalance.service.d/50-coreline-tune.conf");
    std::fs::create_dir_all(drop_in.parent().expect("a folder")).expect("create");
    std::fs::write(drop_in, "# made by coreline-tune persist\n").expect("write");
    let before = support::planted(dir.path());
    let (file, journal) = (dir.path().join("proc/irq/120/smp_affinity"), dir.path().join("var/lib/coreline-tune/000001.journal"));
    let mover = std::thread::spawn(move || {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(60) {
            // Not sooner: a value that moves before it was read back is refused as one that the kernel did not keep.
            if std::fs::read_to_string(&journal).is_ok_and(|lines| lines.contains(r#""record":"commit""#)) {
                return std::fs::write(&file, "00000000,00000004\n").is_ok();
            }
            std::thread::yield_now();
        }
        false
    });
    let (code, out, err) = tune(&apply);
    assert!(mover.join().expect("no panic"), "it was never written: {out} {err}");
    assert!(code == 2 && err.contains("/proc/irq/120/smp_affinity") && err.contains("irqbalance"), "{code} {out} {err}");
    let mut expected = before;
    expected.insert("/proc/irq/120/smp_affinity".into(), "4".into());
    let now = support::planted(dir.path());
    let differing: Vec<_> = now.iter().filter(|(path, text)| expected.get(*path) != Some(text)).collect();
    assert!(differing.is_empty(), "{differing:?}");
    assert!(tune(&["status", "--root", &root]).1.contains("nothing is in force"));
}

/// An ordinary user and a copy of the program that they may run: whoever runs the tests if it is not root, otherwise nobody.
struct Ordinary {
    dir: tempfile::TempDir,
}

impl Ordinary {
    const NOBODY: u32 = 65_534;

    fn new() -> Ordinary {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("temporary directory");
        std::fs::copy(env!("CARGO_BIN_EXE_coreline-tune"), dir.path().join("coreline-tune")).expect("copies");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("sets");
        Ordinary { dir }
    }

    /// Makes a folder and all below it theirs.
    fn give(&self, path: &Path) {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        std::os::unix::fs::lchown(path, Some(Self::NOBODY), Some(Self::NOBODY)).expect("gives");
        if path.is_dir() && !path.is_symlink() {
            std::fs::read_dir(path).expect("a folder").flatten().for_each(|entry| self.give(&entry.path()));
        }
    }

    fn tune(&self, arguments: &[&str]) -> (i32, String, String) {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(self.dir.path().join("coreline-tune"));
        if nix::unistd::geteuid().is_root() {
            command.uid(Self::NOBODY).gid(Self::NOBODY);
        }
        let out = command.args(arguments).output().expect("the copy runs");
        let text = |b: Vec<u8>| String::from_utf8(b).expect("UTF-8");
        (out.status.code().unwrap_or(-1), text(out.stdout), text(out.stderr))
    }
}

/// The one test that changes this host: how often each CPU folds its statistics, for a moment.
#[test]
fn a_real_setting_is_applied_proved_and_put_back() {
    const PATH: &str = "/proc/sys/vm/stat_interval";
    struct PutBack(String);
    impl Drop for PutBack {
        fn drop(&mut self) {
            let _ = std::fs::write(PATH, &self.0);
        }
    }
    // One host, one setting: other runs of this test wait.
    let lock =
        std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(std::env::temp_dir().join("coreline-tune-test.lock"));
    let Ok(Ok(_lock)) = lock.map(|file| nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive)) else { return };
    let Ok(before) = std::fs::read_to_string(PATH) else { return };
    let Ok(now) = before.trim().parse::<u64>() else { return };
    if !nix::unistd::geteuid().is_root() || now >= 299 || std::fs::write(PATH, &before).is_err() {
        return;
    }
    let _put_back = PutBack(before.clone());
    let state = tempfile::tempdir().expect("temporary directory");
    let state = state.path().to_str().expect("UTF-8");
    let knob = format!("stat_interval={}", now + 1);
    let read = || std::fs::read_to_string(PATH).expect("readable").trim().parse::<u64>().expect("a number");
    let (code, out, err) = tune(&["apply", "--only", "--with", &knob, "--yes", "--state", state]);
    assert_eq!((code, read()), (0, now + 1), "{out}{err}");
    let (code, out, _) = tune(&["status", "--state", state]);
    assert!(code == 0 && out.contains("ours"), "{out}");
    let (code, out, _) = tune(&["rollback", "--yes", "--state", state]);
    assert_eq!((code, read()), (0, now), "{out}");
    let (code, out, err) = tune(&["prove", "--knob", &knob, "--rounds", "3", "--probe-ms", "10", "--yes", "--state", state, "--json"]);
    assert!(code < 2, "{err}");
    let proof = json(&out);
    assert!(proof["proofs"][0]["comparisons"][0]["ratio"].is_f64(), "{proof}");
    assert_eq!(read(), now, "a proof leaves nothing behind");
    refused_by_the_kernel(now);
    assert_eq!(read(), now);
}

/// A batch of two settings whose second the kernel itself refuses.
fn refused_by_the_kernel(now: u64) {
    use coreline_tuning::plan::{Plan, Step};
    let step = |path: &str, old: String, new: &str| Step {
        knob: "k".into(),
        path: path.into(),
        old,
        new: new.into(),
        format: coreline_tuning::value::Format::Plain,
        raise_only: false,
        rank: 1,
        resets: vec![],
        not_writable: None,
    };
    let timer = std::fs::read_to_string("/proc/sys/kernel/timer_migration").unwrap_or_default();
    let steps = vec![
        step("/proc/sys/vm/stat_interval", now.to_string(), &(now + 1).to_string()),
        step("/proc/sys/kernel/timer_migration", timer.trim().to_owned(), "no number"),
    ];
    if timer.is_empty() {
        return;
    }
    let plan = Plan { profile: "p".into(), steps, skipped: vec![] };
    let mut tree = coreline_tuning::tree::HostTree::new(coreline_tuning::sysfs::Root::at("/"));
    let mut log = support::MemoryLog::default();
    let error = coreline_tuning::transaction::apply(&plan, Default::default(), &mut tree, &mut log).expect_err("refused").to_string();
    assert!(error.contains("timer_migration") && error.contains("the kernel refuses \"no number\": invalid argument"), "{error}");
}

#[test]
fn the_probes_run_on_this_host() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (code, out, err) = tune(&["prove", "--baseline", "--probe-ms", "15", "--dir", dir.path().to_str().expect("UTF-8"), "--json"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(json(&out)["baseline"].as_object().map(serde_json::Map::len), Some(6), "{out}");
    assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 0, "no file is left");
}
