//! Two shards on CPUs that others keep busy: messages between them and durable appends must go on.
//!
//! A shard that is ready to run but waits for its CPU is not stuck: the kernel shares the CPU. Stuck is a time in which both shards sleep
//! although a message is under way between them: then somebody parked with runnable tasks. The longest such time is measured from outside,
//! as the state of the two threads, and must stay below the bound although the executors are the real ones and nobody polls.
#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use coreline_broker::shard::ShardId;
use coreline_broker::shard::mesh::{self, MeshRequest};
use coreline_broker::shard::rescue::{self, Pulse, Rescue};
use coreline_broker::shard::task_queue::{self, Queue};
use coreline_storage::io::{Disk, DiskBuffer, DiskFile, HostDisk, OpenMode};
use glommio::{LocalExecutorBuilder, Placement};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Longest time that both shards may sleep with a message under way: detected after 10 to 15 ms, woken when the rescue thread has its turn.
const STUCK_MAX: Duration = Duration::from_millis(50);
/// A look at the threads counts for at most this long, so that a late look of the watching thread proves nothing.
const LOOK_MAX: Duration = Duration::from_millis(5);
const RUN: Duration = Duration::from_secs(20);

struct Ping(u64);

impl MeshRequest for Ping {
    fn queue(&self) -> Queue {
        Queue::Net
    }
}

/// What the run came to; shown as a whole.
#[allow(dead_code)]
#[derive(Debug)]
struct Outcome {
    round_trips: u64,
    appends: u64,
    longest_stuck: Duration,
    longest_gap: Duration,
    pokes: u64,
    rescues: u64,
}

/// State letter of a thread of this process: R runs or waits for its CPU, S sleeps.
fn state(tid: i32) -> u8 {
    std::fs::read(format!("/proc/self/task/{tid}/stat"))
        .ok()
        .and_then(|stat| stat.iter().rposition(|b| *b == b')').and_then(|at| stat.get(at + 2).copied()))
        .unwrap_or(b'?')
}

fn contend(dir: &Path, preempt: Duration) -> Outcome {
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let cpus: Vec<usize> = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap()).cycle().take(2).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let hogs: Vec<_> = cpus
        .iter()
        .map(|cpu| {
            let (cpu, stop) = (*cpu, Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut only = CpuSet::new();
                only.set(cpu).unwrap();
                sched_setaffinity(Pid::from_raw(0), &only).unwrap();
                let mut n = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    n = std::hint::black_box(n.wrapping_mul(31).wrapping_add(7));
                }
            })
        })
        .collect();

    let pulses = Pulse::for_shards(2);
    // With this variable set nobody rescues, and the second run hangs in most cases: the proof that this test can fail.
    let watched = if std::env::var_os("CORELINE_TEST_NO_RESCUE").is_some() { Vec::new() } else { pulses.clone() };
    let rescue = Rescue::start(watched, Duration::from_secs(30), |shard| panic!("shard {shard} is dead")).unwrap();
    let round_trips = Arc::new(AtomicU64::new(0));
    let appends = Arc::new(AtomicU64::new(0));
    let tids: Arc<[AtomicI32; 2]> = Arc::default();
    let shards: Vec<_> = mesh::ends::<Ping, u64>(&pulses)
        .into_iter()
        .zip(&pulses)
        .enumerate()
        .map(|(i, (end, pulse))| {
            let (pulse, stop, tids) = (Arc::clone(pulse), Arc::clone(&stop), Arc::clone(&tids));
            let (round_trips, appends, dir) = (Arc::clone(&round_trips), Arc::clone(&appends), dir.to_path_buf());
            LocalExecutorBuilder::new(Placement::Fixed(cpus[i]))
                .preempt_timer(preempt)
                .spin_before_park(Duration::ZERO)
                .spawn(move || async move {
                    tids[i].store(nix::unistd::gettid().as_raw(), Ordering::Release);
                    task_queue::create(Arc::clone(&pulse)).unwrap();
                    let pokes = rescue::answer_pokes(ShardId(i as u16), Arc::clone(&pulse));
                    let mesh = end.join().await;
                    mesh.serve(Rc::new(|_, Ping(n)| Box::pin(async move { n + 1 })));

                    let appending = {
                        let (stop, pulse) = (Arc::clone(&stop), Arc::clone(&pulse));
                        task_queue::spawn(Queue::Background, async move {
                            let disk = HostDisk::open(&dir).await.unwrap();
                            let file = disk.open(&dir.join(format!("appends-{i}")), OpenMode::CreateNew).await.unwrap();
                            let mut position = 0;
                            while !stop.load(Ordering::Relaxed) {
                                let _work = pulse.work();
                                let mut block = disk.buffer(4096);
                                block.bytes_mut().fill(position as u8);
                                file.write_at(Rc::new(block), position % (1 << 20)).await.unwrap();
                                file.sync().await.unwrap();
                                position += 4096;
                                appends.fetch_add(1, Ordering::Relaxed);
                            }
                        })
                    };
                    let pinging = {
                        let (mesh, stop) = (mesh.clone(), Arc::clone(&stop));
                        task_queue::spawn(Queue::Net, async move {
                            let n = Cell::new(0);
                            while i == 0 && !stop.load(Ordering::Relaxed) {
                                let _work = pulse.work();
                                let answer = mesh.call(ShardId(1), Ping(n.get())).await.unwrap();
                                assert_eq!(answer, n.get() + 1);
                                n.set(answer);
                                round_trips.fetch_add(1, Ordering::Relaxed);
                            }
                        })
                    };
                    pinging.await;
                    appending.await;
                    // The other shard may still ask.
                    while !stop.load(Ordering::Relaxed) || mesh.open_requests() != (0, 0) {
                        glommio::timer::sleep(Duration::from_millis(1)).await;
                    }
                    glommio::timer::sleep(Duration::from_millis(200)).await;
                    mesh.close().await;
                    pokes.cancel().await;
                    task_queue::forget();
                })
                .unwrap()
        })
        .collect();

    let started = Instant::now();
    let (mut last_look, mut last_count, mut last_change) = (started, 0, started);
    let (mut stuck, mut longest_stuck, mut longest_gap) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    while started.elapsed() < RUN {
        #[allow(clippy::disallowed_methods)] // This thread is the clock that watches the shards.
        std::thread::sleep(Duration::from_millis(1));
        let now = Instant::now();
        let count = round_trips.load(Ordering::Relaxed);
        let asleep = tids.iter().all(|tid| state(tid.load(Ordering::Acquire)) == b'S');
        if count != last_count || count == 0 {
            longest_gap = longest_gap.max(now - last_change);
            (last_count, last_change, stuck) = (count, now, Duration::ZERO);
        } else if asleep {
            stuck += (now - last_look).min(LOOK_MAX);
            longest_stuck = longest_stuck.max(stuck);
        } else {
            stuck = Duration::ZERO;
        }
        last_look = now;
    }
    stop.store(true, Ordering::Relaxed);
    for shard in shards {
        shard.join().unwrap();
    }
    drop(rescue);
    for hog in hogs {
        hog.join().unwrap();
    }
    Outcome {
        round_trips: last_count,
        appends: appends.load(Ordering::Relaxed),
        longest_stuck,
        longest_gap,
        pokes: pulses.iter().map(|pulse| pulse.pokes()).sum(),
        rescues: pulses.iter().map(|pulse| pulse.rescues()).sum(),
    }
}

#[test]
fn messages_and_appends_go_on_while_others_keep_the_cpus_busy() {
    hold("an hour", Duration::from_secs(3600));
}

/// The timer that the configuration does not offer, because it loses wake-ups: with it a lane of the mesh was seen to stay silent for the
/// whole run although its shard turned, which the rescue thread cannot see. Not part of the suite; `cargo test -p coreline-broker --test
/// contention -- --ignored` shows it on a busy machine.
#[test]
#[ignore = "shows why a short preempt timer is not offered; it may fail"]
fn a_short_preempt_timer_loses_wake_ups() {
    hold("1 ms", Duration::from_millis(1));
}

fn hold(name: &str, preempt: Duration) {
    // On the build's own disk: a file system in memory would not do direct I/O.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let outcome = contend(dir.path(), preempt);
    eprintln!("preempt timer {name}: {outcome:?}");
    assert!(outcome.longest_stuck <= STUCK_MAX, "preempt timer {name}: {outcome:?}");
    assert!(outcome.round_trips > 100 && outcome.appends > 100, "preempt timer {name}: {outcome:?}");
}
