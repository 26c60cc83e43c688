//! The engine against a server in memory that does things wrong: what is planted must be found, and nothing else.

mod fake;

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use coreline_bench::error::BenchError;
use coreline_bench::result::{Metric, RunResult};
use coreline_bench::run::{Progress, run};
use coreline_bench::scenario::{Overrides, Scenario, load};
use coreline_bench::target::{Address, Target};
use fake::{Fake, Fault};

/// A second of load without warm-up. Lateness is no failure here: tests share their CPUs.
fn scenario(name: &str, rate: &str, set: &[&str]) -> Scenario {
    let fixed = ["generator.late_limit_us=10000000", "generator.sent_share_min=0", "generator.spin_us=0", "drain_s=30", "warmup_max_s=0"];
    let set = fixed.iter().chain(set).map(ToString::to_string).collect();
    load(name, &Overrides { duration_s: Some(1), warmup_s: None, rate: Some(rate.to_string()), set }).expect("a sound scenario")
}

fn end_to_end(set: &[&str]) -> Scenario {
    scenario("end-to-end", "2000", &[&["warmup_s=0", "producers.value_bytes=100", "topic.partitions=3"], set].concat())
}

fn measure(scenario: &Scenario, target: &mut dyn Target) -> Result<RunResult, BenchError> {
    run(scenario, target, &Arc::new(AtomicBool::new(false)), &mut |_| {})
}

fn against(fault: Fault, set: &[&str]) -> RunResult {
    measure(&end_to_end(set), &mut Address(Fake::start(fault).address())).expect("measured")
}

#[test]
fn a_sound_server_gets_a_valid_result_with_every_record_accounted_for() {
    for set in [
        &[][..],
        &["producers.compression=zstd", "producers.filler=text", "producers.linger_ms=5"],
        &["producers.partitioner=keyed", "producers.key_bytes=16", "producers.count=3", "producers.compression=lz4"],
        &["producers.partitioner=round-robin", "producers.linger_ms=3", "topic.count=2", "generator.threads=2"],
        &[
            "producers.acks=1",
            "producers.idempotent=false",
            "consumers.tail.copies=2",
            "consumers.tail.members=2",
            "consumers.tail.sessions=false",
        ],
        &["generator.threads=3", "consumers.tail.threads=2", "consumers.tail.members=3", "producers.partitioner=round-robin"],
        &["load.rate=max", "producers.in_flight=2", "producers.batch_bytes=4000"],
    ] {
        let r = against(Fault::None, set);
        assert!(r.verdict.valid && r.delivery.verified, "{set:?}: {:?}", r.verdict);
        assert!(r.errors.is_empty(), "{set:?}: {:?}", r.errors);
        for c in &r.delivery.consumers {
            assert_eq!((c.received, c.expected), (r.delivery.produced, r.delivery.produced), "{set:?}: {c:?}");
        }
        let open = r.latency(Metric::ProduceResponse).expect("timed");
        assert_eq!(open.count(), r.measured.latency[&Metric::ProduceService].count(), "both sides of the same records");
        assert_eq!(r.measured.latency[&Metric::E2eResponse].count(), r.delivery.consumers.iter().map(|c| c.received).sum::<u64>());
        assert!(!set.contains(&"load.rate=max") || r.generator.quiet.is_none(), "a closed loop has nothing to be late for");
        if !set.contains(&"load.rate=max") {
            assert_eq!(r.delivery.produced, 2000, "{set:?}: an open schedule is kept whatever happens");
            assert_eq!(open.count(), 2000, "{set:?}");
            // All of the one second or nothing of it; a host that tells nothing of steal has none.
            let quiet = r.generator.quiet.clone().unwrap_or_default();
            assert!(quiet.windows <= quiet.of && quiet.of <= 1 && quiet.deadlines == quiet.windows * 2000, "{set:?}: {quiet:?}");
        }
        let windows: u64 = r.timeline.iter().filter_map(|w| w.latency.get(&Metric::ProduceResponse)).map(|l| l.count()).sum();
        assert_eq!(windows, r.delivery.acked, "{set:?}: the time line holds every record");
        let text = serde_json::to_string(&r).expect("JSON");
        let back: RunResult = serde_json::from_str(&text).expect("reads");
        let same = back.measured.latency == r.measured.latency && back.timeline == r.timeline && back.delivery == r.delivery;
        assert!(same, "{set:?}: JSON loses nothing");
    }
}

#[test]
fn servers_of_every_age_are_spoken_to() {
    // Produce, Fetch, Metadata: Kafka 0.11, 1.1, 2.3, 2.8, 3.9; ids in Metadata but not in Produce; a server of today.
    let ages = [[3, 4, 4], [5, 7, 5], [7, 11, 8], [9, 12, 10], [11, 17, 12], [12, 18, 13], [13, 18, 9], [i16::MAX; 3]];
    let sets = [&["load.rate=300"][..], &["load.rate=300", "topic.count=3", "producers.partitioner=round-robin", "producers.linger_ms=9"]];
    std::thread::scope(|scope| {
        for (most, set) in ages.iter().flat_map(|most| sets.map(|set| (*most, set))) {
            scope.spawn(move || {
                let r = measure(&end_to_end(set), &mut Address(Fake::speaking(Fault::None, most).address())).expect("measured");
                assert!(r.verdict.valid && r.delivery.verified, "{most:?} {set:?}: {:?}", r.verdict);
                assert!(r.delivery.produced == 300 && r.errors.is_empty(), "{most:?} {set:?}: {:?} {:?}", r.delivery, r.errors);
            });
        }
    });
}

#[test]
fn a_planted_loss_is_found() {
    // Where the readers share the check among threads it is found as well.
    let shared = ["generator.threads=2", "consumers.tail.threads=2", "consumers.tail.members=2"];
    for (fault, found) in
        [(Fault::Lose(2), [true, false, false]), (Fault::Double(2), [false, true, false]), (Fault::Damage(2), [false, false, true])]
    {
        let r = against(fault, &shared);
        let tail = &r.delivery.consumers[..];
        assert!(tail.len() == 1 && tail[0].caught_up, "{fault:?}: {tail:?}");
        // What is damaged is missing as well.
        let seen = [tail[0].lost > 0 && tail[0].corrupt == 0, tail[0].duplicates > 0, tail[0].corrupt > 0];
        assert_eq!(seen, found, "{fault:?}: {tail:?}");
    }
    let r = against(Fault::Lose(2), &[]);
    let tail = &r.delivery.consumers[0];
    assert!(tail.lost > 0 && tail.duplicates + tail.reordered + tail.corrupt == 0, "{tail:?}");
    assert_eq!(tail.received + tail.lost, r.delivery.produced);
    assert!(!r.verdict.valid && r.verdict.reasons[0].contains("acknowledged records are lost"), "{:?}", r.verdict);
}

#[test]
fn a_planted_duplicate_is_found() {
    let r = against(Fault::Double(2), &[]);
    let tail = &r.delivery.consumers[0];
    assert!(tail.duplicates > 0 && tail.lost + tail.reordered + tail.corrupt == 0, "{tail:?}");
    assert_eq!(tail.received, r.delivery.produced + tail.duplicates);
    assert!(!r.verdict.valid && r.verdict.reasons[0].contains("more than once"), "{:?}", r.verdict);
}

#[test]
fn a_planted_reorder_is_found() {
    let r = against(Fault::Swap(2), &["topic.partitions=1"]);
    let tail = &r.delivery.consumers[0];
    assert!(tail.reordered > 0 && tail.lost + tail.duplicates + tail.corrupt == 0, "{tail:?}");
    assert!(!r.verdict.valid && r.verdict.reasons[0].contains("out of order"), "{:?}", r.verdict);
}

#[test]
fn planted_damage_is_found() {
    let r = against(Fault::Damage(2), &[]);
    let tail = &r.delivery.consumers[0];
    assert!(tail.corrupt > 0 && tail.duplicates == 0, "{tail:?}");
    assert!(!r.verdict.valid && r.verdict.reasons.iter().any(|why| why.contains("damaged")), "{:?}", r.verdict);
}

#[test]
fn a_lost_answer_is_repeated_and_doubles_only_without_idempotence() {
    let r = against(Fault::Hang(2), &[]);
    assert_eq!((r.delivery.consumers[0].duplicates, r.delivery.consumers[0].lost), (0, 0), "{:?}", r.delivery);
    assert!(r.verdict.valid && r.errors["disconnect"] >= 1, "{:?} {:?}", r.verdict, r.errors);

    let r = against(Fault::Hang(2), &["producers.idempotent=false"]);
    let tail = &r.delivery.consumers[0];
    assert!(tail.duplicates > 0 && tail.lost == 0, "{tail:?}");
    assert!(r.durability.contains("at least once") && r.verdict.notes.iter().any(|n| n.contains("more than once")), "{:?}", r.verdict);

    let r = against(Fault::Hang(2), &["producers.idempotent=false", "producers.retries=false"]);
    assert!(r.delivery.failed > 0 && r.delivery.consumers[0].lost == 0, "what was given up is not lost: {:?}", r.delivery);
}

/// A server that can go down and come back, as an adapter's.
struct Restartable(Fake, Option<&'static str>);

impl Target for Restartable {
    fn name(&self) -> String {
        "fake".to_string()
    }
    fn bootstrap(&self) -> String {
        self.0.address()
    }
    fn pid(&self) -> Option<u32> {
        Some(1)
    }
    fn unasked_end(&mut self) -> Option<String> {
        self.1.map(str::to_string)
    }
    fn start(&mut self) -> Result<(), BenchError> {
        self.0.up();
        Ok(())
    }
    fn stop(&mut self) -> Result<(), BenchError> {
        self.0.down();
        Ok(())
    }
    fn kill(&mut self) -> Result<(), BenchError> {
        self.stop()
    }
    fn wipe(&mut self) -> Result<(), BenchError> {
        Ok(())
    }
}

#[test]
fn a_restart_under_load_is_survived_without_loss_and_its_length_is_known() {
    let set = ["warmup_s=0", "duration_s=2", "restart.at_s=1", "restart.down_ms=300", "producers.value_bytes=100"];
    let r = measure(&scenario("restart", "1000", &set), &mut Restartable(Fake::start(Fault::None), None)).expect("measured");
    let tail = &r.delivery.consumers[0];
    assert_eq!((tail.lost, tail.duplicates, tail.reordered, tail.received), (0, 0, 0, 2000), "{:?}", r.delivery);
    assert!(r.figures["restart.first_ack_s"] >= 0.3, "{:?}", r.figures);
    let late = r.latency(Metric::ProduceResponse).expect("timed").count_above(100_000_000);
    assert!(late >= 150, "records that were due while it was down waited for it: {late}");
}

#[test]
fn a_late_reader_checks_the_backlog_and_the_tail_does_not_ask_for_it() {
    let set = [
        "warmup_s=0",
        "duration_s=2",
        "preload.bytes=300000",
        "preload.drop_caches=false",
        "producers.value_bytes=100",
        "producers.batch_bytes=5000",
        "consumers.cold.start_at_s=1",
        "consumers.cold.members=2",
        "consumers.cold.threads=2",
    ];
    let r = measure(&scenario("catch-up", "500", &set), &mut Address(Fake::start(Fault::None).address())).expect("measured");
    let seen: Vec<_> = r.delivery.consumers.iter().map(|c| (c.name.as_str(), c.received, c.expected, c.lost, c.caught_up)).collect();
    assert_eq!(seen, [("cold", 4000, 4000, 0, true), ("tail", 1000, 1000, 0, true)], "{:?}", r.verdict);
    assert!(r.verdict.valid && r.figures["consumer.cold.mb_per_s"] > 0.0, "{:?} {:?}", r.verdict, r.figures);

    // A batch of the backlog that is repeated, and doubled, because its answer was lost: expected of this scenario's producers, and noted.
    let r = measure(&scenario("catch-up", "500", &set), &mut Address(Fake::start(Fault::Hang(5)).address())).expect("measured");
    assert!(r.verdict.valid && r.delivery.consumers[0].duplicates > 0, "{:?} {:?}", r.verdict, r.delivery);
    assert!(r.errors.contains_key("disconnect"), "errors of the preload are told: {:?}", r.errors);

    // A batch of the backlog that is lost.
    let r = measure(&scenario("catch-up", "500", &set), &mut Address(Fake::start(Fault::Lose(5)).address())).expect("measured");
    let lost: Vec<_> = r.delivery.consumers.iter().map(|c| c.lost > 0).collect();
    assert_eq!(lost, [true, false], "{:?}", r.delivery);
}

#[test]
fn starts_are_measured() {
    let set = ["start_up.repeats=3"];
    let s = load("start-up", &Overrides { set: set.map(String::from).to_vec(), ..Default::default() }).expect("sound");
    let r = measure(&s, &mut Restartable(Fake::start(Fault::None), None)).expect("measured");
    assert!(
        r.verdict.valid && r.figures["start_to_first_ack_s"] > 0.0 && r.figures.contains_key("start_to_first_ack_s.002"),
        "{:?}",
        r.figures
    );
}

#[test]
fn a_server_that_falls_silent_ends_the_run_with_what_there_is() {
    let r = against(Fault::Mute(20), &["generator.dead_after_s=1", "duration_s=60"]);
    assert!(r.target.died.as_ref().is_some_and(|why| why.contains("no answer")), "{:?}", r.target);
    assert!(!r.verdict.valid && r.delivery.unanswered > 0 && r.delivery.acked > 0, "{:?}", r.delivery);
}

#[test]
fn a_server_that_ended_ends_the_run_at_once_and_is_named_as_the_reason() {
    let s = end_to_end(&["duration_s=600", "consumers.tail.start_at_s=1"]);
    let r = measure(&s, &mut Restartable(Fake::start(Fault::None), Some("SIGKILL"))).expect("measured");
    assert_eq!(r.target.died.as_deref(), Some("the server ended by itself (SIGKILL)"));
    assert!(!r.verdict.valid && r.verdict.reasons.iter().any(|why| why.contains("SIGKILL")), "{:?}", r.verdict);
    // Before it answered, there is nothing to report but that.
    let fake = Fake::start(Fault::None);
    fake.down();
    let error = measure(&s, &mut Restartable(fake, Some("code 3"))).expect_err("no answer").to_string();
    assert!(error.contains("ended by itself before it answered (code 3)"), "{error}");
}

#[test]
fn a_restart_of_a_server_that_is_only_an_address_is_refused_before_the_load() {
    let error =
        measure(&scenario("restart", "100", &["restart.at_s=0"]), &mut Address(Fake::start(Fault::None).address())).expect_err("refused");
    assert!(error.to_string().contains("restarts the server"), "{error}");
}

#[test]
fn an_unreachable_server_is_an_error_of_the_target() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    for address in [free.to_string(), "no.such.host.invalid:9".to_string(), "nonsense".to_string()] {
        let error = measure(&end_to_end(&[]), &mut Address(address.clone())).expect_err("refused");
        assert!(matches!(error, BenchError::Target { .. }) && error.exit_code() == 3, "{address}: {error}");
    }
}

#[test]
fn an_interrupted_run_still_tells_what_it_measured() {
    let interrupt = Arc::new(AtomicBool::new(false));
    let raise = Arc::clone(&interrupt);
    let r = run(&end_to_end(&["duration_s=600"]), &mut Address(Fake::start(Fault::None).address()), &interrupt, &mut |event| {
        if let Progress::Second(seen) = event {
            assert!(seen.counts.scheduled > 0);
            raise.store(true, Ordering::Relaxed);
        }
    });
    let r = r.expect("measured");
    assert!(r.interrupted && !r.verdict.valid && r.delivery.acked > 0 && !r.timeline.is_empty(), "{:?}", r.verdict);
}

/// The server of the next test, in a process of its own that can be stopped. Says its address and serves until its input ends.
#[test]
#[ignore = "a server for another test"]
fn a_server_to_be_stopped() {
    println!("address={}", Fake::start(Fault::None).address());
    let _ = std::io::stdin().read_line(&mut String::new());
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_server_stopped_for_a_tenth_of_a_second_shows_it_fully_in_response_time() {
    use std::io::{BufRead, BufReader};
    const STOPPED: Duration = Duration::from_millis(100);
    let exe = std::env::current_exe().expect("this test");
    let child = Command::new(exe)
        .args(["--ignored", "--exact", "a_server_to_be_stopped", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("runs");
    let mut child = Ended(child);
    let lines = BufReader::new(child.0.stdout.take().expect("piped")).lines();
    let address = lines.map_while(Result::ok).find_map(|l| l.split_once("address=").map(|(_, a)| a.to_string())).expect("an address");
    let pid = nix::unistd::Pid::from_raw(child.0.id() as i32);
    let s = scenario("latency", "2000", &["warmup_s=0", "duration_s=2", "producers.value_bytes=100"]);
    let mut stops = 0;
    let r = run(&s, &mut Address(address), &Arc::new(AtomicBool::new(false)), &mut |event| {
        if let Progress::Second(seen) = event
            && seen.second == 0
        {
            stops += 1;
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).expect("stopped");
            // On a busy host its threads run on until the scheduler lets them see the signal.
            let stopped = nix::sys::wait::waitpid(pid, Some(nix::sys::wait::WaitPidFlag::WUNTRACED)).expect("a child");
            assert!(matches!(stopped, nix::sys::wait::WaitStatus::Stopped(..)), "{stopped:?}");
            #[allow(clippy::disallowed_methods)] // This is what is measured, not what is waited for.
            std::thread::sleep(STOPPED);
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGCONT).expect("goes on");
        }
    });
    let r = r.expect("measured");
    assert_eq!(stops, 1);
    let of = |metric| r.latency(metric).expect("timed");
    let stopped_ns = STOPPED.as_nanos() as u64;
    // 200 records were due meanwhile, one every half millisecond; the first waited all of it, half of them half of it.
    let (response, service) = (of(Metric::ProduceResponse), of(Metric::ProduceService));
    assert!(response.max() >= Some(stopped_ns - stopped_ns / 100), "{:?}", response.quantiles());
    assert!(response.count_above(stopped_ns / 2) >= 95, "{} records waited half of it", response.count_above(stopped_ns / 2));
    assert!(response.count_above(stopped_ns / 10) >= 170, "{} records waited a tenth of it", response.count_above(stopped_ns / 10));
    assert_eq!((response.count(), service.count()), (4000, 4000), "no record is left out");
}
