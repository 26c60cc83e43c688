//! One run on prepared ground: load threads are started, led through warm-up, measured phase and drain, and stopped.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::setup;
use super::timeline::Timeline;
use super::{Progress, SecondSeen};
use crate::client::admin::Admin;
use crate::client::topology::Topology;
use crate::clock::{now_ns, own_cpu_seconds};
use crate::cost::{HostCounts, steal_ticks};
use crate::cpus;
use crate::error::BenchError;
use crate::interrupt::{self, Flag};
use crate::load::cells::Part;
use crate::load::shared::{Plan, Shared};
use crate::load::worker::{Job, Report, Worker};
use crate::quiet::Sieve;
use crate::result::Phase;
use crate::scenario::Restart;
use crate::steady::{self, is_steady};
use crate::target::Target;

const SECOND: u64 = 1_000_000_000;
/// How often the main thread looks around.
const LOOK: Duration = Duration::from_millis(50);
/// Longest wait for readers and idle connections to stand.
const STAND_NS: u64 = 60 * SECOND;
/// Nanoseconds from the last preparation to the first record.
const LEAD_NS: u64 = 100_000_000;

/// How a run went.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) reports: Vec<Report>,
    pub(super) timeline: Timeline,
    pub(super) phases: Vec<Phase>,
    /// First second of the measured phase and the one behind its last.
    pub(super) measured: (u32, u32),
    pub(super) interrupted: bool,
    pub(super) died: Option<String>,
    pub(super) ends: Option<Vec<i64>>,
    /// CPU seconds of the generator in the measured phase.
    pub(super) cpu_s: f64,
    /// Seconds of it that each load thread ran, and waited for a CPU.
    pub(super) threads: Vec<(f64, f64)>,
    /// CPU seconds of it that the hypervisor took from this host.
    pub(super) steal_s: Option<f64>,
    /// What was taken from the load threads' CPUs, read when each second began.
    pub(super) sieve: Sieve,
    pub(super) down_ns: u64,
    pub(super) first_ack_ns: u64,
    pub(super) ended_ns: u64,
    pub(super) notes: Vec<String>,
    /// Errors by kind of the preload: a batch that was repeated there may lie behind later ones in the log.
    pub(super) preload_errors: BTreeMap<String, u64>,
}

/// Nanoseconds of the drain that are enough of a neighbour for the last second: several ticks, at which steal is counted.
const NEIGHBOUR_NS: u64 = 50_000_000;

/// How long a run goes on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Length {
    /// By the scenario's phases.
    Phases,
    /// Until every producer has sent its records.
    Records,
}

/// Where readers begin and how groups are found.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) first: Vec<i64>,
    pub(super) end: Vec<i64>,
    pub(super) coordinators: BTreeMap<usize, SocketAddr>,
}

/// The main thread's side of a run.
pub(super) struct Conductor<'a> {
    pub(super) plan: Arc<Plan>,
    pub(super) target: &'a mut dyn Target,
    pub(super) flag: &'a Flag,
    pub(super) progress: &'a mut dyn FnMut(Progress<'_>),
    pub(super) shared: Arc<Shared>,
    parts: Receiver<Part>,
    threads: Vec<JoinHandle<std::io::Result<Report>>>,
    out: Outcome,
    shown: u32,
    phase: &'static str,
    cpu_at: f64,
}

impl<'a> Conductor<'a> {
    /// Starts the load threads; they wait for the start.
    pub(super) fn new(
        plan: Plan,
        topology: Topology,
        ids: Vec<(i64, i16)>,
        places: Places,
        target: &'a mut dyn Target,
        flag: &'a Flag,
        progress: &'a mut dyn FnMut(Progress<'_>),
    ) -> Result<Conductor<'a>, BenchError> {
        let plan = Arc::new(plan);
        let shared = Arc::new(Shared::new(now_ns(), topology));
        let (sender, parts) = channel();
        let mut threads = Vec::new();
        for (i, job) in jobs(&plan, &ids, &places).into_iter().enumerate() {
            let worker = Worker::new(Arc::clone(&plan), Arc::clone(&shared), job, sender.clone())
                .map_err(|e| BenchError::host("setting up a load thread", e))?;
            let builder = std::thread::Builder::new().name(format!("load-{i}"));
            threads.push(builder.spawn(move || worker.run()).map_err(|e| BenchError::host("starting a load thread", e))?);
        }
        let (out, phase) = (Outcome::default(), "");
        Ok(Conductor { plan, target, flag, progress, shared, parts, threads, out, shown: 0, phase, cpu_at: 0.0 })
    }

    /// Leads the run to its end.
    pub(super) fn run(mut self, length: Length) -> Result<Outcome, BenchError> {
        let done = self.stand().and_then(|()| match length {
            Length::Phases => self.phases(),
            Length::Records => self.until_sent(),
        });
        self.shared.stop.store(true, Ordering::Relaxed);
        self.out.ended_ns = now_ns();
        for thread in self.threads.drain(..) {
            let report = thread.join().map_err(|_| BenchError::host("load thread", std::io::Error::other("panicked")))?;
            self.out.reports.push(report.map_err(|e| BenchError::host("load thread", e))?);
        }
        while let Ok(part) = self.parts.try_recv() {
            self.out.timeline.add(part);
        }
        self.out.down_ns = self.shared.down_ns.load(Ordering::Relaxed);
        self.out.first_ack_ns = self.shared.first_ack_ns.load(Ordering::Relaxed);
        match done {
            Err(BenchError::Target { target, reason }) => {
                let errors: Vec<String> = super::verdict::errors(&self.out).iter().map(|(kind, n)| format!("{kind} {n}")).collect();
                let reason = if errors.is_empty() { reason } else { format!("{reason} (errors: {})", errors.join(", ")) };
                Err(BenchError::Target { target, reason })
            }
            done => done.map(|()| self.out),
        }
    }

    /// What the load threads ran and waited so far; empty where the kernel does not count it.
    fn thread_times(&self) -> Vec<(u64, u64)> {
        let threads = self.shared.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.iter().map(|thread| cpus::times(*thread)).collect::<Option<_>>().unwrap_or_default()
    }

    /// Waits until readers have their places and idle connections stand, then sets the start.
    fn stand(&mut self) -> Result<(), BenchError> {
        let begun = now_ns();
        while self.shared.unready.load(Ordering::Acquire) > 0 {
            self.look();
            if interrupt::is_raised(self.flag) {
                break;
            }
            if let Some(status) = self.target.unasked_end() {
                return Err(BenchError::target(self.target.name(), format!("the server ended by itself ({status})")));
            }
            if now_ns() - begun > STAND_NS || self.threads.iter().any(JoinHandle::is_finished) {
                self.shared.stop.store(true, Ordering::Relaxed);
                let hint = match self.plan.scenario.background.connections {
                    0 => String::new(),
                    n => format!(", {n} idle ones among them; a server may bound its connections, those of one address, or open files"),
                };
                let why = format!("not all connections of readers stood after {} s{hint}", STAND_NS / SECOND);
                return Err(BenchError::target(self.target.bootstrap(), why));
            }
        }
        self.out.sieve.reading(steal_ticks(&self.plan.scenario.generator.cpus));
        self.shared.start_at(now_ns() + LEAD_NS);
        self.shared.answered_ns.store(now_ns() + LEAD_NS, Ordering::Relaxed);
        Ok(())
    }

    /// Takes what load threads hand over, for a moment.
    fn look(&mut self) {
        let until = now_ns() + LOOK.as_nanos() as u64;
        while let Some(left) = until.checked_sub(now_ns()) {
            match self.parts.recv_timeout(Duration::from_nanos(left)) {
                Ok(part) => self.out.timeline.add(part),
                Err(_) => break,
            }
        }
    }

    /// Looks around; false when the run must end now.
    fn turn(&mut self) -> bool {
        self.look();
        let now = now_ns();
        let start = self.shared.start_ns();
        let second = (now.saturating_sub(start) / SECOND) as u32;
        if now >= start {
            self.read_steal(second, (now - start) % SECOND);
        }
        // A second is shown a moment after it is over, once the threads have handed it over.
        while self.shown < second && now > start + u64::from(self.shown + 1) * SECOND + SECOND / 10 {
            let (counts, latency) = self.out.timeline.second(self.shown);
            let seen = SecondSeen { second: self.shown, phase: self.phase, counts, latency: &latency };
            (self.progress)(Progress::Second(&seen));
            self.shown += 1;
        }
        if interrupt::is_raised(self.flag) {
            self.out.interrupted = true;
            return false;
        }
        if self.threads.iter().any(JoinHandle::is_finished) {
            self.out.died = Some("a load thread ended".to_string());
            return false;
        }
        if let Some(status) = self.target.unasked_end() {
            self.out.died = Some(format!("the server ended by itself ({status})"));
            return false;
        }
        if self.shared.stale.swap(false, Ordering::Relaxed) {
            self.refresh();
        }
        let s = &self.plan.scenario;
        let expects_answers = s.producers.count > 0 && s.producers.acks != crate::scenario::Acks::None || !s.consumers.is_empty();
        let silent = now.saturating_sub(self.shared.answered_ns.load(Ordering::Relaxed));
        if expects_answers && silent > u64::from(s.generator.dead_after_s) * SECOND {
            self.out.died = Some(format!("no answer for {} s", silent / SECOND));
            return false;
        }
        true
    }

    /// Reads the steal counter once a second, when it has begun: `into_ns` ago. What was not read in time stays unread. The first reading of all was
    /// before the first second, so that the window in front of that one is the lead.
    fn read_steal(&mut self, second: u32, into_ns: u64) {
        let sieve = &mut self.out.sieve;
        while sieve.readings() <= second as usize + 1 {
            let in_time = sieve.readings() == second as usize + 1 && into_ns < SECOND / 2;
            sieve.reading(if in_time { steal_ticks(&self.plan.scenario.generator.cpus) } else { None });
        }
    }

    /// Asks for the leaders again. Failing is no harm: whoever misses one says so again.
    fn refresh(&mut self) {
        let (before, _) = self.shared.topology();
        for node in &before.nodes {
            let Ok(mut admin) = Admin::connect(node.address, self.flag) else { continue };
            if let Ok(Some(next)) = admin.topology(&before.topics, before.partitions, &before)
                // New brokers would need new connections; the run keeps to those it began with.
                && next.nodes.len() == before.nodes.len()
            {
                if next.leaders != before.leaders || next.nodes != before.nodes {
                    self.shared.set_topology(next);
                }
                return;
            }
        }
    }

    fn enter(&mut self, phase: &'static str, from_s: u32) {
        if !self.phase.is_empty() {
            (self.progress)(Progress::PhaseEnded(self.phase));
            if let Some(last) = self.out.phases.last_mut() {
                last.to_s = from_s;
            }
        }
        self.phase = phase;
        if !phase.is_empty() {
            self.out.phases.push(Phase { name: phase.to_string(), from_s, to_s: from_s, steady: None });
            (self.progress)(Progress::PhaseStarted(phase));
        }
    }

    fn second_now(&self) -> u32 {
        (now_ns().saturating_sub(self.shared.start_ns()) / SECOND) as u32
    }

    fn until_sent(&mut self) -> Result<(), BenchError> {
        while self.turn() && self.shared.producers_busy.load(Ordering::Acquire) > 0 {}
        Ok(())
    }

    fn phases(&mut self) -> Result<(), BenchError> {
        let s = self.plan.scenario.clone();
        let start = self.shared.start_ns();
        let at = |second: u32| start + u64::from(second) * SECOND;
        let set = |shared: &Shared, from: u32| {
            shared.end_ns.store(at(from + s.duration_s), Ordering::Relaxed);
            shared.measured_ns.store(at(from), Ordering::Relaxed);
        };
        let mut from = s.warmup_s;
        let waits = s.warmup_max_s > s.warmup_s;
        if !waits {
            set(&self.shared, from);
        }
        let mut steady = None;
        let mut go_on = true;
        if s.warmup_max_s > 0 {
            self.enter("warmup", 0);
            while go_on && now_ns() < at(from) {
                go_on = self.turn();
                // Decided a second ahead, so that the measured phase begins on a whole one.
                if waits && steady.is_none() && self.shown + 1 >= from {
                    let (throughput, p99) = self.out.timeline.recent(self.shown, steady::SECONDS);
                    let calm = is_steady(&throughput) && (p99.len() < steady::SECONDS || is_steady(&p99));
                    if calm || self.shown + 2 >= s.warmup_max_s {
                        steady = Some(calm);
                        from = (self.second_now() + 1).max(s.warmup_s);
                        set(&self.shared, from);
                    } else {
                        from = self.shown + 2;
                    }
                }
            }
            if let Some(phase) = self.out.phases.last_mut() {
                phase.steady = steady;
            }
        }
        let to = from + s.duration_s;
        if go_on {
            self.enter("measured", from);
            self.cpu_at = own_cpu();
            let threads_at = self.thread_times();
            let host_at = HostCounts::read();
            let mut restart = s.restart.map(|r| (at(from + r.at_s), r));
            while go_on && now_ns() < at(to) {
                if let Some((when, r)) = restart.filter(|(when, _)| now_ns() >= *when) {
                    restart = None;
                    let _ = when;
                    self.restart(r)?;
                }
                go_on = self.turn();
            }
            self.out.cpu_s = own_cpu() - self.cpu_at;
            self.out.steal_s = HostCounts::read().since(&host_at, 0.0).steal_s;
            let between = |((ran, waited), (ran_at, waited_at)): (&(u64, u64), &(u64, u64))| {
                (ran.saturating_sub(*ran_at) as f64 / 1e9, waited.saturating_sub(*waited_at) as f64 / 1e9)
            };
            self.out.threads = self.thread_times().iter().zip(&threads_at).map(between).collect();
            self.out.measured = (from, if go_on { to } else { self.second_now().min(to) });
        }
        let now = self.second_now();
        self.enter(if go_on { "drain" } else { "" }, if go_on { to } else { now });
        if go_on {
            self.drain(at(to) + u64::from(s.drain_s) * SECOND);
            if self.out.sieve.readings() == to as usize + 2 && now_ns() >= at(to) + NEIGHBOUR_NS {
                // What was taken in the last second has shown by now.
                self.out.sieve.reading(steal_ticks(&s.generator.cpus));
            }
            let now = self.second_now();
            self.enter("", now.max(to));
        }
        Ok(())
    }

    /// Waits for answers, then for readers to reach the end.
    fn drain(&mut self, deadline: u64) {
        while self.shared.producers_busy.load(Ordering::Acquire) > 0 && now_ns() < deadline {
            if !self.turn() {
                return;
            }
        }
        if self.plan.scenario.consumers.is_empty() {
            return;
        }
        loop {
            let (topology, _) = self.shared.topology();
            if let Ok(ends) = setup::offsets(&topology, -1, self.flag) {
                let _ = self.shared.end_offsets.set(ends.clone());
                self.out.ends = Some(ends);
                break;
            }
            if now_ns() >= deadline || !self.turn() {
                return;
            }
        }
        // The threads look at the offsets at their next tick.
        self.look();
        while self.shared.readers_busy.load(Ordering::Acquire) > 0 && now_ns() < deadline && self.turn() {}
    }

    fn restart(&mut self, r: Restart) -> Result<(), BenchError> {
        (self.progress)(Progress::SettingUp(if r.kill { "the server is killed" } else { "the server is stopped" }));
        self.shared.down_ns.store(now_ns(), Ordering::Relaxed);
        if r.kill {
            self.target.kill()?
        } else {
            self.target.stop()?
        }
        if interrupt::pause(Duration::from_millis(u64::from(r.down_ms)), self.flag).is_err() {
            // The next look around ends the run, with what it has.
            return Ok(());
        }
        (self.progress)(Progress::SettingUp("the server is started again"));
        self.target.start()
    }
}

fn own_cpu() -> f64 {
    let (user, system) = own_cpu_seconds();
    user + system
}

/// Deals producers, sets of readers and idle connections out to the load threads.
fn jobs(plan: &Plan, ids: &[(i64, i16)], places: &Places) -> Vec<Job> {
    let s = &plan.scenario;
    let threads = s.generator.threads as usize;
    let cpu = |i: usize| s.generator.cpus.get(i % s.generator.cpus.len().max(1)).copied();
    let empty = |i| Job { producers: Vec::new(), readers: Vec::new(), coordinators: places.coordinators.clone(), idle: 0, cpu: cpu(i) };
    let mut jobs: Vec<Job> = (0..threads).map(empty).collect();
    for p in 0..s.producers.count {
        let id = ids.get(p as usize).copied().unwrap_or((-1, -1));
        jobs[p as usize % threads].producers.push((p, id));
    }
    // From the other end, so that one producer and one reader on two threads do not meet.
    let mut at = threads - 1;
    for (i, consumers) in s.consumers.iter().enumerate() {
        for copy in 0..consumers.copies {
            let positions = if consumers.from_start { &places.first } else { &places.end };
            for part in 0..consumers.threads {
                jobs[at].readers.push((i, copy, part, positions.clone(), places.end.clone()));
                at = at.checked_sub(1).unwrap_or(threads - 1);
            }
        }
    }
    for i in 0..s.background.connections as usize {
        jobs[i % threads].idle += 1;
    }
    jobs
}
