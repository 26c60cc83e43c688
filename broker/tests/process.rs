//! The real process: start, stop, refusals in one sentence, hostile bytes on its listener; with one shard and with two.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Broker, PATIENCE, connect, correlation_id, dir, frame, read_frame, refused};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// ApiVersions, in the version that an old client would use.
const API_VERSIONS: i16 = 18;

fn both(test: impl Fn(&str)) {
    for shards in ["1", "2"] {
        test(shards);
    }
}

/// Sends an ApiVersions request in a version that nobody serves and checks its answer: version 0, error 35, one entry.
fn is_alive(broker: &Broker) {
    let mut stream = broker.connect();
    stream.write_all(&frame(API_VERSIONS, 99, 7, &[0])).unwrap();
    let answer = read_frame(&mut stream).expect("an answer");
    assert_eq!(correlation_id(&answer), 7);
    assert_eq!(answer[4..], [0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4]);
}

#[test]
fn starts_answers_and_stops_cleanly() {
    both(|shards| {
        let data = dir();
        let broker = Broker::start(data.path(), &["--shards", shards]);
        is_alive(&broker);
        assert_eq!(broker.http("GET /health HTTP/1.1"), (200, "ok\n".into()));
        assert_eq!(broker.http("GET /ready HTTP/1.1"), (200, "ready\n".into()));
        assert_eq!(broker.http("HEAD /ready HTTP/1.1"), (200, String::new()));
        assert_eq!(broker.http("GET /nothing HTTP/1.1").0, 404);
        assert_eq!(broker.http("DELETE /metrics HTTP/1.1").0, 405);
        assert!(broker.metric("coreline_connections_accepted_total") >= 1.0);
        let log = broker.log.clone();
        broker.stop();
        assert!(log.wait_for(" stopped").is_some(), "{}", log.text());
        // Again on the same directory, with another number of shards.
        let broker = Broker::start(data.path(), &["--shards", "3"]);
        assert!(!broker.log.text().contains("not clean"), "{}", broker.log.text());
        is_alive(&broker);
        broker.kill();
        let broker = Broker::start(data.path(), &["--shards", shards]);
        assert!(broker.log.text().contains("not clean"), "a killed process leaves no mark:\n{}", broker.log.text());
        broker.stop();
    });
}

#[test]
fn a_stop_closes_quiet_connections_and_does_not_wait_for_half_a_request() {
    both(|shards| {
        let data = dir();
        let broker = Broker::start(data.path(), &["--shards", shards]);
        let mut quiet: Vec<_> = (0..20).map(|_| broker.connect()).collect();
        for stream in &mut quiet {
            stream.write_all(&frame(API_VERSIONS, 99, 1, &[0])).unwrap();
            read_frame(stream).unwrap();
        }
        let mut half = broker.connect();
        half.write_all(&frame(API_VERSIONS, 99, 1, &[0])[..9]).unwrap();
        let before = Instant::now();
        broker.stop();
        assert!(before.elapsed() < Duration::from_secs(8), "waited {:?} for nothing", before.elapsed());
        for mut stream in quiet {
            assert_eq!(read_frame(&mut stream), None);
        }
    });
}

#[test]
fn a_second_signal_is_not_ignored() {
    let data = dir();
    let mut broker = Broker::start(data.path(), &["--shards", "2"]);
    broker.signal(Signal::SIGTERM);
    broker.signal(Signal::SIGINT);
    // The first may have been enough by the time of the second.
    let code = broker.wait().code();
    assert!(matches!(code, Some(0 | 1)), "{code:?}");
    if code == Some(1) {
        assert!(broker.log.text().contains("second signal"), "{}", broker.log.text());
    }
}

#[test]
fn a_port_in_use_is_one_sentence() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().to_string();
    both(|shards| {
        for flag in ["--listen", "--admin-listen"] {
            let data = dir();
            let other = if flag == "--listen" { "--admin-listen" } else { "--listen" };
            let path = data.path().to_str().unwrap();
            let (code, said) = refused(&["--shards", shards, "--data-dir", path, flag, &port, other, "127.0.0.1:0"], |_| {});
            assert_eq!((code, said.len()), (Some(1), 1), "{said:?}");
            assert!(said[0].contains(&port) && said[0].contains("in use"), "{said:?}");
        }
    });
    // Another broker is no different, although its listeners can be shared.
    let (data, second) = (dir(), dir());
    let broker = Broker::start(data.path(), &["--shards", "2"]);
    let path = second.path().to_str().unwrap();
    let (code, said) =
        refused(&["--shards", "2", "--data-dir", path, "--listen", &broker.addr.to_string(), "--admin-listen", "127.0.0.1:0"], |_| {});
    assert_eq!((code, said.len()), (Some(1), 1), "{said:?}");
    assert!(said[0].contains("in use"), "{said:?}");
}

#[test]
fn a_data_directory_in_use_is_one_sentence() {
    let data = dir();
    let broker = Broker::start(data.path(), &[]);
    let path = data.path().to_str().unwrap();
    let (code, said) = refused(&["--data-dir", path, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"], |_| {});
    assert_eq!((code, said.len()), (Some(1), 1), "{said:?}");
    assert!(said[0].contains(path) && said[0].contains("in use") && said[0].contains("--data-dir"), "{said:?}");
    is_alive(&broker);
}

#[test]
fn a_data_directory_of_another_node_or_of_no_use_is_one_sentence() {
    let data = dir();
    Broker::start(data.path(), &["--node-id", "4"]).stop();
    let path = data.path().to_str().unwrap();
    let ports = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let (code, said) = refused(&[&["--data-dir", path, "--node-id", "5"], &ports[..]].concat(), |_| {});
    assert_eq!((code, said.len()), (Some(1), 1), "{said:?}");
    assert!(said[0].contains("node 4") && said[0].contains("node 5"), "{said:?}");
    let file = data.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let (code, said) = refused(&[&["--data-dir", file.to_str().unwrap()], &ports[..]].concat(), |_| {});
    assert_eq!((code, said.len()), (Some(1), 1), "{said:?}");
    assert!(said[0].contains("not a directory"), "{said:?}");
}

/// Refuses `io_uring_setup` to the process that the command becomes, as a container's profile does.
#[allow(unsafe_code)]
fn forbid_io_uring(command: &mut Command, errno: u32) {
    let filter = move || {
        let load = libc::sock_filter { code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, jt: 0, jf: 0, k: 0 };
        let compare = libc::sock_filter {
            code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
            jt: 0,
            jf: 1,
            k: libc::SYS_io_uring_setup as u32,
        };
        let answer = |k| libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k };
        let mut program = [load, compare, answer(libc::SECCOMP_RET_ERRNO | errno), answer(libc::SECCOMP_RET_ALLOW)];
        let program = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
        // SAFETY: both calls take plain numbers and a pointer to a live filter program that the kernel copies.
        let set = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
        };
        if set { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec only two system calls are made and nothing is allocated.
    unsafe { command.pre_exec(filter) };
}

#[test]
fn a_host_without_io_uring_is_one_sentence() {
    let data = dir();
    let args = ["--data-dir", data.path().to_str().unwrap(), "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    for (errno, expected) in [(libc::EPERM, "seccomp"), (libc::ENOSYS, "Linux 5.15")] {
        let (code, said) = refused(&args, |command| forbid_io_uring(command, errno as u32));
        assert_eq!((code, said.len()), (Some(1), 1), "{said:?}");
        // On a host where io_uring is switched off as a whole that is what is said.
        assert!(said[0].contains("io_uring") && (said[0].contains(expected) || said[0].contains("sysctl")), "{said:?}");
    }
}

#[test]
fn little_locked_memory_is_enough_or_one_sentence() {
    let limits = |command: &mut Command, bytes: u64| limit(command, libc::RLIMIT_MEMLOCK, bytes);
    let data = dir();
    // Just what the executor insists on: the rings run with memory that is not registered.
    Broker::start_with(data.path(), &["--shards", "2"], |command| limits(command, 512 * 1024)).stop();
    let args = ["--data-dir", data.path().to_str().unwrap(), "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let (code, said) = refused(&args, |command| limits(command, 0));
    assert_eq!((code, said.len()), (Some(1), 1), "{said:?}");
    assert!(said[0].contains("ulimit -l"), "{said:?}");
}

#[test]
fn few_open_files_are_one_sentence() {
    let data = dir();
    let args = ["--data-dir", data.path().to_str().unwrap(), "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let (code, said) = refused(&args, |command| limit(command, libc::RLIMIT_NOFILE, 1023));
    assert_eq!((code, said.len()), (Some(1), 1), "{said:?}");
    assert!(said[0].contains("1023") && said[0].contains("ulimit -n"), "{said:?}");
}

/// Sets a limit and takes away the rights to raise it again and to lock memory beyond it.
#[allow(unsafe_code)]
fn limit(command: &mut Command, resource: libc::__rlimit_resource_t, most: u64) {
    const CAP_IPC_LOCK: libc::c_ulong = 14;
    const CAP_SYS_RESOURCE: libc::c_ulong = 24;
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    let set = move || {
        // SAFETY: plain numbers and a pointer to a live struct. Dropping a capability fails without privileges, when there is none to drop.
        let done = unsafe {
            let done = libc::setrlimit(resource, &raw const limit);
            libc::prctl(libc::PR_CAPBSET_DROP, CAP_SYS_RESOURCE, 0, 0, 0);
            libc::prctl(libc::PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0);
            done
        };
        if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec only a few system calls are made and nothing is allocated.
    unsafe { command.pre_exec(set) };
}

/// A file of `/proc/PID`.
fn of_process(broker: &Broker, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{}/{file}", broker.pid())).unwrap()
}

/// The number in a line of `/proc/PID/status`.
fn status(broker: &Broker, name: &str) -> u64 {
    let status = of_process(broker, "status");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {status}"));
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// True when the process holds this file open.
fn holds(broker: &Broker, path: &str) -> bool {
    let open = std::fs::read_dir(format!("/proc/{}/fd", broker.pid())).unwrap().flatten();
    open.filter_map(|entry| std::fs::read_link(entry.path()).ok()).any(|to| to == std::path::Path::new(path))
}

/// True when some memory of the process is advised for huge pages (and may get them, see `THP_enabled`).
fn is_advised(broker: &Broker) -> bool {
    of_process(broker, "smaps")
        .lines()
        .filter_map(|line| line.strip_prefix("VmFlags:"))
        .any(|flags| flags.split(' ').any(|flag| flag == "hg"))
}

fn kernel_has_huge_pages() -> bool {
    std::path::Path::new("/sys/kernel/mm/transparent_hugepage/enabled").exists()
}

const DMA_LATENCY: &str = "/dev/cpu_dma_latency";

#[test]
fn nothing_is_held_unasked() {
    let data = dir();
    let broker = Broker::start(data.path(), &["--shards", "2"]);
    assert!(!holds(&broker, DMA_LATENCY));
    assert_eq!(status(&broker, "VmLck:"), 0);
    assert!(!kernel_has_huge_pages() || status(&broker, "THP_enabled:") == 0);
    broker.stop();
}

#[test]
fn what_the_settings_ask_for_is_held_as_far_as_the_rights_go() {
    let data = dir();
    let asked =
        ["--shards", "2", "--set", "runtime.cpu.latency.us=50", "--set", "runtime.memory.lock=true", "--set", "runtime.huge.pages=true"];
    let broker = Broker::start(data.path(), &asked);
    let log = broker.log.text();
    // Whoever runs the test: what this process may do, its child may.
    let may_bound = std::fs::OpenOptions::new().write(true).open(DMA_LATENCY).is_ok();
    assert_eq!(holds(&broker, DMA_LATENCY), may_bound);
    assert!(log.contains(if may_bound { "are bounded to 50 us" } else { "idle states are not bounded" }), "{log}");
    let locked = log.contains("memory is locked");
    assert!(locked || log.contains("runtime.memory.lock: memory is not locked: RLIMIT_MEMLOCK is"), "{log}");
    // Mappings as a whole count as locked, so it is all or nothing; what is resident is what was touched.
    assert_eq!(status(&broker, "VmLck:") > 100_000, locked, "{}", of_process(&broker, "status"));
    assert!(status(&broker, "VmRSS:") < 500_000, "the allocator's reserve is not touched: {}", of_process(&broker, "status"));
    if kernel_has_huge_pages() {
        assert_eq!(status(&broker, "THP_enabled:"), 1);
        assert!(is_advised(&broker), "the allocator advises its arenas by itself");
    }
    assert!(log.contains("huge pages are used") || log.contains("runtime.huge.pages has no effect"), "{log}");
    is_alive(&broker);
    broker.stop();
}

#[test]
fn memory_beyond_the_limit_is_not_locked_and_that_is_said() {
    let data = dir();
    let broker =
        Broker::start_with(data.path(), &["--set", "runtime.memory.lock=true"], |command| limit(command, libc::RLIMIT_MEMLOCK, 1 << 20));
    let log = broker.log.text();
    let line = log.lines().find(|line| line.contains("runtime.memory.lock")).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("WARN") && line.contains("RLIMIT_MEMLOCK is 1048576") && line.contains("LimitMEMLOCK=infinity"), "{line}");
    assert_eq!(status(&broker, "VmLck:"), 0);
    is_alive(&broker);
    broker.stop();
}

/// The connection must be closed by the broker, with one log line that has this in it.
fn closes(broker: &Broker, what: &[u8], reason: &str) {
    let mut stream = broker.connect();
    // The broker may close before all is written.
    let _ = stream.write_all(what);
    assert_eq!(read_frame(&mut stream), None, "{reason}");
    assert!(broker.log.wait_for(reason).is_some());
}

#[test]
fn hostile_bytes_close_their_connection_and_nothing_else() {
    both(|shards| {
        let data = dir();
        let broker = Broker::start(data.path(), &["--shards", shards, "--set", "socket.request.max.bytes=2000000"]);
        let mut bystander = broker.connect();
        closes(&broker, &[0xff, 0xff, 0xff, 0xff], "a frame of -1 bytes");
        closes(&broker, &0i32.to_be_bytes(), "a frame of 0 bytes");
        closes(&broker, &2_000_001i32.to_be_bytes(), "a frame of 2000001 bytes");
        closes(&broker, b"GET / HTTP/1.1\r\n\r\n", "socket.request.max.bytes");
        closes(&broker, &frame(999, 0, 1, &[]), "API key 999 is not served");
        closes(&broker, &frame(-1, 0, 1, &[]), "API key -1 is not served");
        closes(&broker, &frame(3, 99, 1, &[]), "Metadata v99");
        closes(&broker, &frame(0, 2, 1, &[]), "Produce v2");
        // A header that is cut short, and a client id longer than its frame.
        closes(&broker, &[0, 0, 0, 3, 0, 18, 0], "malformed request header");
        closes(&broker, &[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0x7f, 0xff], "malformed request header");
        // A body that claims two thousand million elements: the fence refuses it before anything is reserved.
        closes(&broker, &frame(9, 5, 1, &[0, 1, b'g', 0x7f, 0xff, 0xff, 0xff]), "malformed request");
        let mut garbage = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..100 {
            let bytes: Vec<u8> = (0..64)
                .map(|_| {
                    garbage = garbage.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (garbage >> 56) as u8
                })
                .collect();
            let mut stream = broker.connect();
            let _ = stream.write_all(&bytes);
        }
        // The one that did nothing wrong still has its connection.
        bystander.write_all(&frame(API_VERSIONS, 99, 3, &[0])).unwrap();
        assert_eq!(correlation_id(&read_frame(&mut bystander).unwrap()), 3);
        assert!(broker.metric("coreline_connections_closed_by_broker_total") >= 11.0);
        assert_eq!(broker.metric("coreline_handler_panics_total"), 0.0);
        broker.stop();
    });
}

/// A shard must not wait for whoever reads the log: standard error is a pipe of one page here, and nobody reads it for a while.
#[test]
fn a_log_that_nobody_reads_stops_nobody() {
    both(|shards| {
        let data = dir();
        let mut command = common::command();
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--shards", shards, "--data-dir"])
            .arg(data.path());
        let mut child = command.spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        fcntl(&stderr, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
        let mut lines = BufReader::new(stderr).lines().map(Result::unwrap);
        let listening = lines.by_ref().find_map(|line| line.split_once("listening on ").map(|(_, addr)| addr.trim().to_string()));
        let addr: SocketAddr = listening.expect("its address").parse().unwrap();
        assert!(lines.any(|line| line.contains(" ready")));
        // Each of these is a line; the pipe takes some thirty.
        const HOSTILE: usize = 300;
        for _ in 0..HOSTILE {
            let mut stream = connect(addr);
            let _ = stream.write_all(&0i32.to_be_bytes());
            assert_eq!(read_frame(&mut stream), None);
        }
        let mut stream = connect(addr);
        stream.write_all(&frame(API_VERSIONS, 99, 7, &[0])).unwrap();
        assert_eq!(correlation_id(&read_frame(&mut stream).expect("an answer")), 7);
        // What was said meanwhile is all there, in order, and so is the end.
        kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
        let rest: Vec<String> = lines.collect();
        assert!(child.wait().unwrap().success());
        assert_eq!(rest.iter().filter(|line| line.contains("a frame of 0 bytes")).count(), HOSTILE, "{}", rest.join("\n"));
        assert!(rest.last().unwrap().contains(" stopped"), "{}", rest.join("\n"));
    });
}

/// The same without an end of the silence: the process does not wait for it to end.
#[test]
fn a_log_that_is_never_read_does_not_hold_up_the_end() {
    let data = dir();
    let mut command = common::command();
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--set", "log.level=trace", "--data-dir"])
        .arg(data.path());
    let mut child = command.spawn().unwrap();
    let stderr = child.stderr.take().unwrap();
    fcntl(&stderr, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    let mut lines = BufReader::new(stderr).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains(" ready")));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    let (ended, end) = std::sync::mpsc::channel();
    std::thread::spawn(move || ended.send(child.wait().unwrap()));
    let status = end.recv_timeout(PATIENCE).expect("the process ends");
    assert!(status.success(), "{status}");
    drop(lines);
}

#[test]
fn twenty_thousand_requests_at_once_are_answered_in_order() {
    const REQUESTS: i32 = 20_000;
    both(|shards| {
        let data = dir();
        let broker = Broker::start(data.path(), &["--shards", shards]);
        let mut stream = broker.connect();
        let mut reader = stream.try_clone().unwrap();
        let writer = std::thread::spawn(move || {
            let mut all = Vec::new();
            for n in 0..REQUESTS {
                all.extend(frame(API_VERSIONS, 99, n, &[0]));
            }
            // In odd pieces, so that frames are cut anywhere.
            for piece in all.chunks(777) {
                stream.write_all(piece).unwrap();
            }
            stream
        });
        for n in 0..REQUESTS {
            let answer = read_frame(&mut reader).unwrap_or_else(|| panic!("closed before answer {n}:\n{}", broker.log.text()));
            assert_eq!(correlation_id(&answer), n);
        }
        drop(writer.join().unwrap());
        broker.stop();
    });
}

#[test]
fn a_client_that_does_not_read_is_not_read_either() {
    let data = dir();
    let broker = Broker::start(data.path(), &["--shards", "1"]);
    let mut stream = broker.connect();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    // Far more answers than the socket and the broker's bound hold.
    let request = frame(API_VERSIONS, 99, 1, &[0]).repeat(10_000);
    let mut taken = 0usize;
    let blocked = (0..2_000).any(|_| match stream.write(&request) {
        Ok(n) => {
            taken += n;
            false
        }
        Err(_) => true,
    });
    assert!(blocked, "the broker took {taken} bytes from a client that reads nothing");
    is_alive(&broker);
    drop(stream);
    broker.stop();
}

#[test]
fn requests_byte_by_byte_and_cut_in_the_middle() {
    let data = dir();
    let broker = Broker::start(data.path(), &["--shards", "2"]);
    let request = frame(API_VERSIONS, 99, 5, &[0]);
    let mut slow = broker.connect();
    for byte in &request {
        slow.write_all(std::slice::from_ref(byte)).unwrap();
    }
    assert_eq!(correlation_id(&read_frame(&mut slow).unwrap()), 5);
    for cut in 0..request.len() {
        let mut stream = broker.connect();
        stream.write_all(&request[..cut]).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        // A reset is as good as an end.
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty(), "an answer to {cut} bytes of a request");
    }
    broker.stop();
}

#[test]
fn idle_connections_are_closed() {
    let data = dir();
    let broker = Broker::start(data.path(), &["--shards", "2", "--set", "connections.max.idle.ms=1000"]);
    let mut stream = broker.connect();
    let before = Instant::now();
    stream.write_all(&frame(API_VERSIONS, 99, 5, &[0])).unwrap();
    assert!(read_frame(&mut stream).is_some());
    assert_eq!(read_frame(&mut stream), None);
    assert!(before.elapsed() >= Duration::from_millis(900) && before.elapsed() < PATIENCE);
    broker.stop();
}

#[test]
fn too_many_connections_are_refused_and_places_come_back() {
    let data = dir();
    let broker = Broker::start(data.path(), &["--shards", "2", "--set", "max.connections.per.ip=5"]);
    let mut kept = Vec::new();
    for _ in 0..5 {
        let mut stream = broker.connect();
        stream.write_all(&frame(API_VERSIONS, 99, 5, &[0])).unwrap();
        assert!(read_frame(&mut stream).is_some());
        kept.push(stream);
    }
    let mut refused = broker.connect();
    let _ = refused.write_all(&frame(API_VERSIONS, 99, 5, &[0]));
    assert_eq!(read_frame(&mut refused), None);
    assert!(broker.log.wait_for("max.connections.per.ip").is_some());
    drop(kept);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut stream = connect(broker.addr);
        let _ = stream.write_all(&frame(API_VERSIONS, 99, 6, &[0]));
        if read_frame(&mut stream).is_some() {
            break;
        }
        assert!(Instant::now() < deadline, "no place came back");
    }
    broker.stop();
}

#[test]
fn half_a_request_that_stalls_is_closed_and_silence_is_not() {
    let data = dir();
    let broker = Broker::start(data.path(), &["--shards", "2"]);
    let mut stalled = broker.connect();
    stalled.write_all(&frame(API_VERSIONS, 99, 5, &[0])[..10]).unwrap();
    let mut silent = broker.connect();
    let before = Instant::now();
    assert_eq!(read_frame(&mut stalled), None);
    let after = before.elapsed();
    assert!(after > Duration::from_secs(28) && after < PATIENCE, "closed after {after:?}");
    assert!(broker.log.wait_for("a request did not arrive within 30 s").is_some());
    // Nothing at all is idle, not stalled.
    silent.write_all(&frame(API_VERSIONS, 99, 6, &[0])).unwrap();
    assert_eq!(correlation_id(&read_frame(&mut silent).unwrap()), 6);
    broker.stop();
}
