//! `Worker`: a load thread. It owns its producers, readers and idle connections, wakes them by events and timers, and reports at the end.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::sync::{Arc, PoisonError};

use super::cells::{Cells, Part};
use super::group::Membership;
use super::idle::IdleSet;
use super::producer::Producer;
use super::reader::ReaderSet;
use super::shared::{Context, FAR, Plan, Shared};
use super::template::Template;
use crate::client::poll::{Poll, Ready};
use crate::clock::now_ns;
use crate::cpus;
use crate::delivery::Sent;
use crate::scenario::Assignment;

/// Nanoseconds between looks at what other threads say.
const TICK_NS: u64 = 20_000_000;
/// Ticks between looks for missing answers.
const TIMEOUT_TICKS: u64 = 10;

/// Who a token belongs to.
#[derive(Clone, Copy, Debug)]
enum Owner {
    Producer(usize, usize),
    Reader(usize, usize, usize),
    Idle(usize),
}

/// Who a timer wakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Actor {
    Tick,
    Producer(usize),
    Reader(usize),
}

/// What a load thread is to do.
#[derive(Debug)]
pub struct Job {
    /// Producers: index and producer id.
    pub producers: Vec<(u32, (i64, i16))>,
    /// Sets of readers, or parts of sets: consumers of the scenario by index, copy, part of it, where they begin, where the log ended.
    pub readers: Vec<(usize, u32, u32, Vec<i64>, Vec<i64>)>,
    /// Group names with their coordinators, by consumers' index.
    pub coordinators: BTreeMap<usize, SocketAddr>,
    /// Idle connections.
    pub idle: u32,
    /// CPU to be kept on.
    pub cpu: Option<usize>,
}

/// What a load thread found out.
#[derive(Debug, Default)]
pub struct Report {
    /// Streams of each producer, and its records without an answer.
    pub producers: Vec<(u32, Vec<Sent>, u64)>,
    /// Sets of readers.
    pub readers: Vec<ReaderSet>,
    /// Errors by kind.
    pub errors: BTreeMap<&'static str, u64>,
    /// Rebalances of all group members together.
    pub rebalances: u64,
}

/// A load thread.
#[derive(Debug)]
pub struct Worker {
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    poll: Poll,
    cells: Cells,
    owners: Vec<Owner>,
    timers: BinaryHeap<Reverse<(u64, Actor)>>,
    producers: Vec<Producer>,
    readers: Vec<ReaderSet>,
    idle: IdleSet,
    template: Template,
    buffers: (Vec<u8>, Vec<u8>, Vec<(Option<u32>, i16)>),
    busy: (bool, bool, bool),
    cpu: Option<usize>,
}

impl Worker {
    /// Sets everything up; connections are opened once it runs.
    pub fn new(plan: Arc<Plan>, shared: Arc<Shared>, job: Job, out: Sender<Part>) -> io::Result<Worker> {
        let s = &plan.scenario;
        let (topology, _) = shared.topology();
        let mut worker = Worker {
            poll: Poll::new(s.generator.spin_us * 1_000)?,
            cells: Cells::new(FAR, out),
            owners: Vec::new(),
            timers: BinaryHeap::new(),
            producers: Vec::new(),
            readers: Vec::new(),
            idle: IdleSet::default(),
            template: Template::new(&s.producers),
            buffers: Default::default(),
            busy: (false, false, false),
            cpu: job.cpu,
            plan: Arc::clone(&plan),
            shared,
        };
        let nodes = topology.nodes.len();
        for (index, id) in job.producers {
            let mut producer = Producer::new(index, &s.load, &s.producers, topology.count(), plan.records_max, id);
            (0..nodes).for_each(|lane| producer.add_lane(worker.token(Owner::Producer(worker.producers.len(), lane))));
            worker.producers.push(producer);
        }
        let streams = plan.streams() * (1 + usize::from(plan.preload_id.is_some()));
        for (consumers, copy, part, positions, ends) in job.readers {
            let config = &s.consumers[consumers];
            let mut set = ReaderSet::new(config, copy, part, streams, positions.clone(), ends);
            let at = worker.readers.len();
            for (m, number) in (part..config.members).step_by(config.threads as usize).enumerate() {
                let tokens: Vec<u64> = (0..nodes).map(|lane| worker.token(Owner::Reader(at, m, lane))).collect();
                let group = (config.assignment == Assignment::Group).then(|| job.coordinators.get(&consumers)).flatten().map(|address| {
                    let token = worker.token(Owner::Reader(at, m, nodes));
                    Membership::new(token, *address, &group_name(plan.run_id, &config.name, copy), positions.clone())
                });
                set.add_member(number, &tokens, group);
            }
            worker.readers.push(set);
        }
        for i in 0..job.idle as usize {
            let token = worker.token(Owner::Idle(i));
            worker.idle.add(token);
        }
        worker.report_busy();
        Ok(worker)
    }

    fn token(&mut self, owner: Owner) -> u64 {
        self.owners.push(owner);
        self.owners.len() as u64 - 1
    }

    /// Runs until it is told to stop. An error is one of this host.
    pub fn run(mut self) -> io::Result<Report> {
        self.take_place()?;
        let (mut topology, mut version) = self.shared.topology();
        let mut ready: Vec<Ready> = Vec::new();
        let mut ticks = 0u64;
        self.timers.push(Reverse((0, Actor::Tick)));
        loop {
            if self.shared.topology_version() != version {
                (topology, version) = self.shared.topology();
            }
            let start_ns = self.shared.start_ns();
            if start_ns != FAR {
                self.cells.start_at(start_ns);
            }
            let mut c = Context {
                now: now_ns(),
                poll: &self.poll,
                cells: &mut self.cells,
                shared: &self.shared,
                topology: &topology,
                plan: &self.plan,
                template: &mut self.template,
                request: &mut self.buffers.0,
                plain: &mut self.buffers.1,
                answers: &mut self.buffers.2,
            };
            c.cells.turn(c.now);
            for event in &ready {
                c.now = now_ns();
                match self.owners.get(event.token as usize) {
                    Some(Owner::Producer(p, lane)) => {
                        let producer = &mut self.producers[*p];
                        if event.writable {
                            producer.on_writable(*lane, &mut c);
                        }
                        if event.readable {
                            producer.on_readable(*lane, &mut c);
                        }
                        wake_producer(producer, *p, &mut self.timers, &mut c);
                    }
                    Some(Owner::Reader(r, m, lane)) => {
                        let set = &mut self.readers[*r];
                        if event.writable {
                            set.on_writable(*m, *lane, &mut c);
                        }
                        if event.readable {
                            set.on_readable(*m, *lane, &mut c);
                        }
                        wake_reader(set, *r, &mut self.timers, &mut c);
                    }
                    Some(Owner::Idle(i)) => {
                        if event.writable {
                            self.idle.on_writable(*i, &mut c);
                        }
                        if event.readable {
                            self.idle.on_readable(*i, &mut c);
                        }
                    }
                    None => {}
                }
            }
            c.now = now_ns();
            let mut tick = false;
            while let Some(Reverse((at, actor))) = self.timers.peek().copied().filter(|Reverse((at, _))| *at <= c.now) {
                self.timers.pop();
                match actor {
                    Actor::Tick => {
                        tick = true;
                        self.timers.push(Reverse((c.now + TICK_NS, Actor::Tick)));
                    }
                    Actor::Producer(p) if self.producers[p].wake_ns == at => {
                        wake_producer(&mut self.producers[p], p, &mut self.timers, &mut c)
                    }
                    Actor::Reader(r) if self.readers[r].wake_ns == at => wake_reader(&mut self.readers[r], r, &mut self.timers, &mut c),
                    // Another time was set meanwhile.
                    Actor::Producer(_) | Actor::Reader(_) => {}
                }
                c.now = now_ns();
            }
            if tick {
                ticks += 1;
                if self.shared.stop.load(Ordering::Relaxed) {
                    break;
                }
                let late = ticks.is_multiple_of(TIMEOUT_TICKS);
                for (i, producer) in self.producers.iter_mut().enumerate() {
                    if late {
                        producer.check_timeouts(&mut c);
                    }
                    wake_producer(producer, i, &mut self.timers, &mut c);
                }
                for (i, set) in self.readers.iter_mut().enumerate() {
                    if late {
                        set.check_timeouts(&mut c);
                    }
                    wake_reader(set, i, &mut self.timers, &mut c);
                }
                self.idle.pump(&mut c);
                self.report_busy();
            }
            let deadline = self.timers.peek().map_or(0, |Reverse((at, _))| *at);
            self.poll.wait(deadline, &mut ready)?;
        }
        self.cells.flush();
        Ok(Report {
            errors: self.cells.errors().clone(),
            rebalances: self.readers.iter().map(ReaderSet::rebalances).sum(),
            producers: self.producers.into_iter().map(Producer::finish).collect(),
            readers: self.readers,
        })
    }

    /// The CPU and the priority that are asked for, and timers without slack, are the thread's own.
    fn take_place(&self) -> io::Result<()> {
        cpus::keep_on(self.cpu.as_slice())?;
        // A thread that only checks what others time would keep the server from the CPU while it does.
        if !self.producers.is_empty() || self.readers.iter().any(ReaderSet::is_timed) {
            cpus::realtime(self.plan.scenario.generator.realtime)?;
        }
        // Without it timers come up to 50 us late; it is a wish, and refusing it shows in the self-check.
        let _ = nix::sys::prctl::set_timerslack(1);
        self.shared.threads.lock().unwrap_or_else(PoisonError::into_inner).push(cpus::thread_id());
        Ok(())
    }

    /// Tells the main thread what has changed of: something to send or hear, something to read, something to stand.
    fn report_busy(&mut self) {
        let ends = self.shared.end_offsets.get();
        let now = (
            self.producers.iter().any(|p| !p.is_idle()),
            self.readers.iter().any(|r| ends.is_none_or(|ends| !r.has_reached(ends))),
            !self.idle.is_ready() || self.readers.iter().any(|r| !r.is_ready()),
        );
        let was = std::mem::replace(&mut self.busy, now);
        let counters = [&self.shared.producers_busy, &self.shared.readers_busy, &self.shared.unready];
        for ((was, now), counter) in [(was.0, now.0), (was.1, now.1), (was.2, now.2)].into_iter().zip(counters) {
            match (was, now) {
                (false, true) => counter.fetch_add(1, Ordering::AcqRel),
                (true, false) => counter.fetch_sub(1, Ordering::AcqRel),
                _ => 0,
            };
        }
    }
}

/// Name of the group of a copy.
pub fn group_name(run_id: u32, consumers: &str, copy: u32) -> String {
    format!("coreline-bench-{run_id:08x}-{consumers}-{copy}")
}

fn wake_producer(producer: &mut Producer, i: usize, timers: &mut BinaryHeap<Reverse<(u64, Actor)>>, c: &mut Context<'_>) {
    let before = producer.wake_ns;
    producer.pump(c);
    // A time in the past may stand here when nothing can be done about it now: the tick comes back to it.
    if producer.wake_ns != before && producer.wake_ns != u64::MAX {
        timers.push(Reverse((producer.wake_ns, Actor::Producer(i))));
    }
}

fn wake_reader(set: &mut ReaderSet, i: usize, timers: &mut BinaryHeap<Reverse<(u64, Actor)>>, c: &mut Context<'_>) {
    let before = set.wake_ns;
    set.pump(c);
    if set.wake_ns != before && set.wake_ns != u64::MAX {
        timers.push(Reverse((set.wake_ns, Actor::Reader(i))));
    }
}
