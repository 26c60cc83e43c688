//! Pacing alone: how exactly this host lets a load thread keep a schedule when it has nothing to send. What is lost here no run can do better.

use std::io;

use serde::Serialize;

use crate::client::poll::Poll;
use crate::clock::now_ns;
use crate::cost::HostCounts;
use crate::cpus;
use crate::latency::{Latency, Recorder};

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

/// Keeps the schedule on a thread of its own.
pub fn measure(attempt: &Attempt) -> io::Result<Pacing> {
    let attempt = attempt.clone();
    let thread = std::thread::Builder::new().name("pacing".into()).spawn(move || pace(&attempt))?;
    thread.join().map_err(|_| io::Error::other("the pacing thread panicked"))?
}

fn pace(attempt: &Attempt) -> io::Result<Pacing> {
    cpus::keep_on(&attempt.cpus[..attempt.cpus.len().min(1)])?;
    cpus::realtime(attempt.realtime)?;
    let _ = nix::sys::prctl::set_timerslack(1);
    let mut poll = Poll::new(attempt.spin_us * 1_000)?;
    let (mut ready, mut errors, mut own) = (Vec::new(), Recorder::default(), Recorder::default());
    let host = HostCounts::read();
    let (mut sleeps, mut turns) = (0, 0);
    let before = cpus::times(cpus::thread_id());
    let interval = 1_000_000_000 / u64::from(attempt.rate.max(1));
    let deadlines = u64::from(attempt.rate) * u64::from(attempt.seconds);
    let start = now_ns() + 1_000_000;
    for n in 0..deadlines {
        let deadline = start + n * interval;
        while now_ns() < deadline {
            sleeps += u64::from(poll.wait(deadline, &mut ready)?);
            turns += 1;
        }
        let now = now_ns();
        errors.record(now - deadline, 1);
        own.record((now - deadline).saturating_sub(poll.held_up(deadline, now)), 1);
    }
    let waited = cpus::times(cpus::thread_id()).zip(before).map(|(after, before)| after.1.saturating_sub(before.1) as f64 / 1e9);
    let errors = errors.take();
    let own = own.take();
    let of = |errors: &Option<Latency>, q: f64| errors.as_ref()?.quantile(q).map(|ns| ns as f64 / 1e3);
    let at = |q: f64| of(&errors, q);
    Ok(Pacing {
        rate: attempt.rate,
        deadlines,
        spin_us: attempt.spin_us,
        margin_us: poll.margin_ns() as f64 / 1e3,
        p50_us: at(0.5),
        p99_us: at(0.99),
        p999_us: at(0.999),
        own_p99_us: of(&own, 0.99),
        max_us: errors.as_ref().and_then(Latency::max).map(|ns| ns as f64 / 1e3),
        sleeps,
        turns,
        waited_for_cpu_s: waited,
        held_up_s: poll.held_up_ns() as f64 / 1e9,
        steal_s: HostCounts::read().since(&host, f64::from(attempt.seconds)).steal_s,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts, not times: they hold on a machine that others use too.
    #[test]
    fn a_deadline_costs_one_sleep_at_most_and_spinning_none_more() {
        for spin_us in [0, 200, 1_000_000] {
            let attempt = Attempt { rate: 1_000, seconds: 1, spin_us, cpus: Vec::new(), realtime: 0 };
            let p = measure(&attempt).expect("paced");
            assert_eq!(p.deadlines, 1_000);
            assert!(p.sleeps <= p.deadlines, "{p:?}");
            assert!(p.p50_us.is_some() && p.p99_us.is_some() && p.p99_us <= p.max_us && p.own_p99_us <= p.p99_us, "{p:?}");
            match spin_us {
                0 => assert!(p.sleeps == p.turns, "never spins: {p:?}"),
                1_000_000 => assert!(p.sleeps == 0 && p.turns > 0, "never sleeps: {p:?}"),
                // Where others have the CPU it may wake up too late to spin.
                _ => assert!(p.turns >= p.sleeps, "{p:?}"),
            }
        }
    }
}
