//! Set-up and tear-down of a run: reaching the target, topics, offsets, producer ids, coordinators, dropped caches.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::client::admin::{Admin, resolve};
use crate::client::topology::Topology;
use crate::error::BenchError;
use crate::interrupt::{self, Flag, pause};
use crate::load::worker::group_name;
use crate::scenario::{Assignment, Scenario};
use crate::target::Target;

/// How long a target that the harness started may take to serve.
const SERVE_WAIT: Duration = Duration::from_secs(120);
/// How long a target that should be there already may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// How long a target that the harness started may take connections and answer nothing that a Kafka listener says.
const NO_KAFKA_WAIT: Duration = Duration::from_secs(15);
/// How long topics may take to have leaders.
const LEADER_WAIT: Duration = Duration::from_secs(300);
/// How long leaders may take to know that they lead.
const OFFSETS_WAIT: Duration = Duration::from_secs(300);
/// Time between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// What a failed question means: an interruption, if there was one, else an error of the target.
pub(super) fn failed(name: &str, flag: &AtomicBool, why: impl std::fmt::Display) -> BenchError {
    if interrupt::is_raised(flag) { BenchError::Interrupted } else { BenchError::target(name, why.to_string()) }
}

/// Connects to the target, patiently when it has a process that may still be starting.
pub(super) fn connect(target: &mut dyn Target, flag: &Flag) -> Result<(Admin, SocketAddr), BenchError> {
    let name = target.bootstrap();
    let address = resolve(&name, flag).map_err(|e| failed(&name, flag, format!("no such address: {e}")))?;
    let wait = if target.pid().is_some() { SERVE_WAIT } else { ANSWER_WAIT };
    let begun = Instant::now();
    let mut no_kafka: Option<Instant> = None;
    loop {
        match Admin::connect(address, flag) {
            Ok(admin) => return Ok((admin, address)),
            Err(e) if begun.elapsed() > wait || interrupt::is_raised(flag) || is_no_kafka(&e, &mut no_kafka) => {
                return Err(failed(&name, flag, format!("cannot be reached: {e}")));
            }
            Err(_) => {
                if let Some(status) = target.unasked_end() {
                    return Err(BenchError::target(target.name(), format!("the server ended by itself before it answered ({status})")));
                }
                pause(PAUSE, flag)?;
            }
        }
    }
}

/// Whether what answers has not been a Kafka listener for so long that it will not become one: `Admin` makes an error of its own of such answers,
/// while nobody listening is one of the system's.
fn is_no_kafka(error: &std::io::Error, since: &mut Option<Instant>) -> bool {
    if error.kind() != std::io::ErrorKind::Other {
        *since = None;
        return false;
    }
    since.get_or_insert_with(Instant::now).elapsed() > NO_KAFKA_WAIT
}

/// Creates the topics of a run and waits until every partition has a leader. Every name is in `created` before it is asked for, so that it can be
/// deleted however this ends.
pub(super) fn create_topics(
    admin: &mut Admin,
    scenario: &Scenario,
    run_id: u32,
    created: &mut Vec<String>,
    name: &str,
    flag: &AtomicBool,
) -> Result<Topology, BenchError> {
    let fail = |e: std::io::Error| failed(name, flag, e);
    let t = &scenario.topic;
    let topics: Vec<String> = (0..t.count).map(|i| format!("coreline-bench-{run_id:08x}-{i}")).collect();
    created.extend_from_slice(&topics);
    admin.create_topics(&topics, t.partitions, t.replication, &t.config).map_err(fail)?;
    if scenario.background.partitions > 0 {
        let idle = format!("coreline-bench-{run_id:08x}-background");
        created.push(idle.clone());
        admin.create_topics(&[idle], scenario.background.partitions, t.replication, &BTreeMap::new()).map_err(fail)?;
    }
    let begun = Instant::now();
    loop {
        let asked = Instant::now();
        match admin.topology(&topics, t.partitions, &Topology::default()) {
            Ok(Some(topology)) => return Ok(topology),
            // With thousands of partitions the question itself is work for the server.
            Ok(None) if begun.elapsed() < LEADER_WAIT => pause(PAUSE.max(asked.elapsed() * 3), flag)?,
            Ok(None) => return Err(BenchError::target(name, "the topics' partitions have no leaders")),
            Err(e) => return Err(failed(name, flag, e)),
        }
    }
}

/// Offsets of all partitions (-2 first, -1 end), each asked of its leader.
pub(super) fn offsets(topology: &Topology, which: i64, flag: &Flag) -> std::io::Result<Vec<i64>> {
    let mut out = vec![0; topology.count() as usize];
    for (i, node) in topology.nodes.iter().enumerate() {
        if topology.leaders.contains(&Some(i as u16)) {
            Admin::connect(node.address, flag)?.offsets(topology, i as u16, which, &mut out)?;
        }
    }
    Ok(out)
}

/// [`offsets`], asked again for a while: a leader that the metadata names already may not know it yet.
pub(super) fn offsets_patiently(topology: &Topology, which: i64, name: &str, flag: &Flag) -> Result<Vec<i64>, BenchError> {
    let begun = Instant::now();
    loop {
        match offsets(topology, which, flag) {
            Ok(offsets) => return Ok(offsets),
            Err(e) if begun.elapsed() > OFFSETS_WAIT => return Err(failed(name, flag, e)),
            Err(_) => pause(PAUSE, flag)?,
        }
    }
}

/// The coordinator of each group of consumers, by the consumers' index. Asks until one is there.
pub(super) fn coordinators(
    admin: &mut Admin,
    scenario: &Scenario,
    run_id: u32,
    name: &str,
    flag: &AtomicBool,
) -> Result<BTreeMap<usize, SocketAddr>, BenchError> {
    let mut found = BTreeMap::new();
    for (i, consumers) in scenario.consumers.iter().enumerate().filter(|(_, c)| c.assignment == Assignment::Group) {
        let begun = Instant::now();
        let address = loop {
            match admin.coordinator(&group_name(run_id, &consumers.name, 0)) {
                Ok(address) => break address,
                Err(e) if begun.elapsed() > LEADER_WAIT => return Err(failed(name, flag, e)),
                Err(_) => pause(PAUSE, flag)?,
            }
        };
        found.insert(i, address);
    }
    Ok(found)
}

/// Restarts the server and drops the page cache, as far as that is possible; returns what could not be done.
pub(super) fn drop_caches(target: &mut dyn Target, flag: &Flag) -> Result<Vec<String>, BenchError> {
    let mut notes = Vec::new();
    if target.pid().is_some() {
        target.stop()?;
    } else {
        notes.push("the server was not restarted after the preload (it is only an address): its own caches are warm".to_string());
    }
    // Writing gigabytes back takes its time; an interrupted run does not wait for it.
    let dropped = interrupt::on_thread(flag, Duration::ZERO, || {
        nix::unistd::sync();
        std::fs::write("/proc/sys/vm/drop_caches", "3")
    });
    interrupt::check(flag)?;
    if let Some(Err(e)) = dropped {
        notes.push(format!("the page cache was not dropped after the preload: {e}"));
    }
    if notes.iter().all(|n| !n.contains("only an address")) {
        target.start()?;
        connect(target, flag)?;
    }
    Ok(notes)
}

/// Lets this process have as many open files as it may.
pub(super) fn raise_file_limit(wanted: u64) -> Result<(), BenchError> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let fail = |e: nix::Error| BenchError::host("limit of open files", e.into());
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(fail)?;
    if soft < wanted.min(hard) {
        setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard).map_err(fail)?;
    }
    if hard < wanted {
        let why = std::io::Error::other(format!("{wanted} connections and files are needed, at most {hard} are allowed (ulimit -Hn)"));
        return Err(BenchError::host("limit of open files", why));
    }
    Ok(())
}
