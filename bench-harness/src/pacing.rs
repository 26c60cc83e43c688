//! Pacing alone: how exactly this host lets a load thread keep a schedule when it has nothing to send. What is lost here no run can do better.

use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use serde::Serialize;

use crate::client::poll::Poll;
use crate::clock::now_ns;
use crate::cost::{HostCounts, steal_ticks};
use crate::latency::{Latency, Recorder};
use crate::quiet::{Quiet, Sieve};
use crate::{cpus, interrupt};

/// What is tried.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Deadlines per second.
    pub rate: u32,
    /// Seconds.
    pub seconds: u32,
    /// As `generator.spin_us`.
    pub spin_us: u64,
    /// As `generator.cpus`, the first of them.
    pub cpus: Vec<usize>,
    /// As `generator.realtime`.
    pub realtime: u32,
}

/// How it went. Errors are how long after a deadline the thread noticed it; it never does before.
#[derive(Clone, Debug, Serialize)]
pub struct Pacing {
    /// Deadlines per second.
    pub rate: u32,
    /// Deadlines there were.
    pub deadlines: u64,
    /// Microseconds spent spinning before each, at least.
    pub spin_us: u64,
    /// Microseconds before a deadline that it woke up at in the end: as many as the wake-ups' lateness asked for.
    pub margin_us: f64,
    /// Median error in microseconds; `None` for too few deadlines, as are the others.
    pub p50_us: Option<f64>,
    /// 99th percentile of the error.
    pub p99_us: Option<f64>,
    /// 99.9th percentile of the error.
    pub p999_us: Option<f64>,
    /// 99th percentile of the error without the time that the thread was held up: by the kernel, other threads, the hypervisor.
    pub own_p99_us: Option<f64>,
    /// Largest error.
    pub max_us: Option<f64>,
    /// The error in the windows in which the hypervisor took nothing from the thread's CPU (from any, where it is not kept on one); `None` where the
    /// host does not tell.
    pub quiet: Option<Quiet>,
    /// Times that it slept: at most once per deadline.
    pub sleeps: u64,
    /// Turns of its loop, spinning included.
    pub turns: u64,
    /// Seconds that it was ready to run and another thread had its CPU.
    pub waited_for_cpu_s: Option<f64>,
    /// Seconds that it was held up, whoever had its CPU: from when it asked to be woken, or last looked at the clock, until it ran again.
    pub held_up_s: f64,
    /// CPU seconds that the hypervisor gave to others meanwhile, of all CPUs of this host; `None` where it does not tell.
    pub steal_s: Option<f64>,
}

/// Milliseconds of a window of quiet time.
const WINDOW_MS: u64 = 200;
const WINDOW_NS: u64 = WINDOW_MS * 1_000_000;
/// Windows before the first deadline that counts: the margin is learnt in them, and the first has a neighbour.
const WARM_WINDOWS: u64 = 5;
/// Nanoseconds until the warm-up begins.
const LEAD_NS: u64 = 1_000_000;

/// The errors of a window: each whole, and its own part, nanoseconds.
type Errors = Vec<(u64, u64)>;

/// Keeps the schedule on a thread of its own, and looks at what the hypervisor takes meanwhile.
pub fn measure(attempt: &Attempt) -> io::Result<Pacing> {
    let one = attempt.cpus[..attempt.cpus.len().min(1)].to_vec();
    measure_beside(attempt, move || steal_ticks(&one))
}

/// The same with a steal counter that somebody else reads.
fn measure_beside(attempt: &Attempt, steal: impl Fn() -> Option<u64> + Send + 'static) -> io::Result<Pacing> {
    let (begun, begin) = channel();
    let (out, errors) = channel();
    let elsewhere: Vec<usize> = match attempt.cpus.first() {
        Some(pacing) => cpus::open()?.into_iter().filter(|cpu| cpu != pacing).collect(),
        None => Vec::new(),
    };
    let windows = u64::from(attempt.seconds) * 1_000 / WINDOW_MS;
    let watch = std::thread::Builder::new().name("pacing-watch".into());
    let watch = watch.spawn(move || {
        // Not on the CPU of the thread that is timed, where there is another.
        cpus::keep_on(&elsewhere)?;
        Ok::<_, io::Error>(collect(windows, &begin, &errors, steal))
    })?;
    let pacing = {
        let attempt = attempt.clone();
        std::thread::Builder::new().name("pacing".into()).spawn(move || pace(&attempt, &begun, &out))?
    };
    // Whatever went wrong there ends its channels, and with them the watch.
    let pacing = pacing.join().map_err(|_| io::Error::other("the pacing thread panicked"))?;
    let found = watch.join().map_err(|_| io::Error::other("the thread that watches the pacing panicked"))?;
    let (pacing, (all, own, quiet)) = (pacing?, found?);
    let us = |errors: &Latency, q: f64| errors.quantile(q).map(|ns| ns as f64 / 1e3);
    Ok(Pacing {
        p50_us: us(&all, 0.5),
        p99_us: us(&all, 0.99),
        p999_us: us(&all, 0.999),
        own_p99_us: us(&own, 0.99),
        max_us: all.max().map(|ns| ns as f64 / 1e3),
        quiet,
        ..pacing
    })
}

/// Reads the steal counter at the edge of every window, from the first of the warm-up to one behind the last, and sorts the errors by it: all, the
/// part of its own, and those of quiet windows.
fn collect(
    windows: u64,
    begin: &Receiver<u64>,
    errors: &Receiver<(u64, Errors)>,
    steal: impl Fn() -> Option<u64>,
) -> (Latency, Latency, Option<Quiet>) {
    let (mut all, mut own, mut sieve) = (Latency::default(), Latency::default(), Sieve::default());
    let Ok(start) = begin.recv() else { return (all, own, None) };
    let mut recorders = (Recorder::default(), Recorder::default());
    let mut take = |(window, errors): (u64, Errors), sieve: &mut Sieve| {
        errors.iter().for_each(|(error, part)| {
            recorders.0.record(*error, 1);
            recorders.1.record(*part, 1);
        });
        if let Some(some) = recorders.0.take() {
            all.merge(&some);
            sieve.window((WARM_WINDOWS + window) as usize, some);
        }
        own.merge(&recorders.1.take().unwrap_or_default());
    };
    let nobody = AtomicBool::new(false);
    for n in 0..=WARM_WINDOWS + windows + 1 {
        let edge = start + n * WINDOW_NS;
        let _ = interrupt::pause(Duration::from_nanos(edge.saturating_sub(now_ns())), &nobody);
        // Between two edges rather than at one it would be of neither.
        sieve.reading(steal().filter(|_| now_ns() < edge + WINDOW_NS / 2));
        errors.try_iter().for_each(|some| take(some, &mut sieve));
    }
    errors.iter().for_each(|some| take(some, &mut sieve));
    (all, own, sieve.finish(WINDOW_MS))
}

/// The thread that is timed. Errors are handed over window by window, so that it does nothing else between deadlines.
fn pace(attempt: &Attempt, begun: &Sender<u64>, out: &Sender<(u64, Errors)>) -> io::Result<Pacing> {
    cpus::keep_on(&attempt.cpus[..attempt.cpus.len().min(1)])?;
    cpus::realtime(attempt.realtime)?;
    let _ = nix::sys::prctl::set_timerslack(1);
    let mut poll = Poll::new(attempt.spin_us * 1_000)?;
    let mut ready = Vec::new();
    let rate = u64::from(attempt.rate.max(1));
    let due = |n: u64| n * 1_000_000_000 / rate;
    let deadlines = rate * u64::from(attempt.seconds);
    let (mut sleeps, mut turns) = (0, 0);
    let begin = now_ns() + LEAD_NS;
    // Nobody listens any more only if the watch could not begin, which is told then.
    let _ = begun.send(begin);
    let mut wait = |poll: &mut Poll, deadline: u64| -> io::Result<(u64, u64)> {
        let (mut slept, mut turned) = (0, 0);
        while now_ns() < deadline {
            slept += u64::from(poll.wait(deadline, &mut ready)?);
            turned += 1;
        }
        Ok((slept, turned))
    };
    let start = begin + WARM_WINDOWS * WINDOW_NS;
    for n in (0..).take_while(|n| begin + due(*n) < start) {
        wait(&mut poll, begin + due(n))?;
    }
    let host = HostCounts::read();
    let before = cpus::times(cpus::thread_id());
    let held_up_before = poll.held_up_ns();
    let room = (rate * WINDOW_MS / 1_000 + 1) as usize;
    let (mut window, mut errors) = (0, Errors::with_capacity(room));
    for n in 0..deadlines {
        let deadline = start + due(n);
        let (slept, turned) = wait(&mut poll, deadline)?;
        (sleeps, turns) = (sleeps + slept, turns + turned);
        let now = now_ns();
        if due(n) / WINDOW_NS != window {
            let _ = out.send((window, std::mem::replace(&mut errors, Errors::with_capacity(room))));
            window = due(n) / WINDOW_NS;
        }
        errors.push((now - deadline, (now - deadline).saturating_sub(poll.held_up(deadline, now))));
    }
    let _ = out.send((window, errors));
    let waited = cpus::times(cpus::thread_id()).zip(before).map(|(after, before)| after.1.saturating_sub(before.1) as f64 / 1e9);
    Ok(Pacing {
        rate: attempt.rate,
        deadlines,
        spin_us: attempt.spin_us,
        margin_us: poll.margin_ns() as f64 / 1e3,
        p50_us: None,
        p99_us: None,
        p999_us: None,
        own_p99_us: None,
        max_us: None,
        quiet: None,
        sleeps,
        turns,
        waited_for_cpu_s: waited,
        held_up_s: (poll.held_up_ns() - held_up_before) as f64 / 1e9,
        steal_s: HostCounts::read().since(&host, f64::from(attempt.seconds)).steal_s,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(spin_us: u64) -> Attempt {
        Attempt { rate: 1_000, seconds: 1, spin_us, cpus: Vec::new(), realtime: 0 }
    }

    /// Counts, not times: they hold on a machine that others use too.
    #[test]
    fn a_deadline_costs_one_sleep_at_most_and_spinning_none_more() {
        let of = |spin_us| std::thread::spawn(move || (spin_us, measure(&attempt(spin_us)).expect("paced")));
        for (spin_us, p) in [0, 200, 1_000_000].map(of).map(|thread| thread.join().expect("paced")) {
            assert_eq!(p.deadlines, 1_000);
            assert!(p.sleeps <= p.deadlines, "{p:?}");
            assert!(p.p50_us.is_some() && p.p99_us.is_some() && p.p99_us <= p.max_us && p.own_p99_us <= p.p99_us, "{p:?}");
            assert!(p.quiet.as_ref().is_none_or(|quiet| quiet.of == 5 && quiet.windows <= 5 && quiet.deadlines <= 1_000), "{p:?}");
            match spin_us {
                0 => assert!(p.sleeps == p.turns, "never spins: {p:?}"),
                1_000_000 => assert!(p.sleeps == 0 && p.turns > 0, "never sleeps: {p:?}"),
                // Where others have the CPU it may wake up too late to spin.
                _ => assert!(p.turns >= p.sleeps, "{p:?}"),
            }
        }
    }

    #[test]
    fn what_is_taken_at_every_edge_leaves_nothing_quiet_and_what_stands_still_all() {
        let taken = std::sync::atomic::AtomicU64::new(0);
        let rising = move || Some(taken.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        let rising = std::thread::spawn(move || measure_beside(&attempt(0), rising).expect("paced").quiet);
        let still = std::thread::spawn(|| measure_beside(&attempt(0), || Some(5)).expect("paced").quiet);
        assert_eq!(measure_beside(&attempt(0), || None).expect("paced").quiet, None);
        // None only where the watch itself was too late for every edge.
        if let Some(quiet) = rising.join().expect("paced") {
            assert_eq!((quiet.windows, quiet.of, quiet.deadlines, quiet.p50_us), (0, 5, 0, None));
        }
        if let Some(still) = still.join().expect("paced") {
            // Fewer where it was too late for some.
            assert!(still.of == 5 && still.deadlines == still.windows * 200, "{still:?}");
        }
    }
}
