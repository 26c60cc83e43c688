//! Probes of processor and network: timer jitter, wake-up, loopback round trip. Short, and no load beyond one or two threads.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::stats::quantile;
use super::{Measure, Metric, name};
use crate::knob::ProbeKind;

/// Most samples that one run keeps.
pub(super) const SAMPLES_MAX: usize = 200_000;

/// Latencies of one run, microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Distribution {
    /// How many.
    pub samples: usize,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile; not printed below a thousand samples.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Distribution {
    /// Of unsorted values.
    pub fn of(mut values: Vec<f64>) -> Distribution {
        values.sort_by(f64::total_cmp);
        let q = |q| quantile(&values, q);
        Distribution { samples: values.len(), p50: q(0.5), p90: q(0.9), p99: q(0.99), p999: q(0.999), max: q(1.0) }
    }
}

/// A probe of the processor or the network that runs for a while.
pub struct LatencyProbe {
    /// Which.
    pub kind: ProbeKind,
    /// How long.
    pub time: Duration,
}

impl Measure for LatencyProbe {
    fn measure(&mut self) -> io::Result<Vec<Metric>> {
        let d = self.distribution()?;
        let of = |quantile: &str, value| Metric { name: format!("{} {quantile}", name(self.kind)), value };
        Ok(vec![of("p50", d.p50), of("p99", d.p99)])
    }
}

impl LatencyProbe {
    /// All latencies of one run.
    pub fn distribution(&self) -> io::Result<Distribution> {
        let values = match self.kind {
            ProbeKind::TimerJitter => timer_jitter(self.time),
            ProbeKind::WakeUp => wake_up(self.time),
            ProbeKind::Loopback => loopback(self.time)?,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a probe of processor or network")),
        };
        Ok(Distribution::of(values))
    }
}

pub(super) fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1000.0
}

/// How late sleeps of 100 us end.
fn timer_jitter(time: Duration) -> Vec<f64> {
    const SLEEP: Duration = Duration::from_micros(100);
    let run = move || {
        // The kernel may otherwise add 50 us on purpose to join timers.
        let _ = nix::sys::prctl::set_timerslack(1);
        let (end, mut values) = (Instant::now() + time, Vec::new());
        while Instant::now() < end && values.len() < SAMPLES_MAX {
            let start = Instant::now();
            thread::park_timeout(SLEEP);
            values.push(micros(start.elapsed().saturating_sub(SLEEP)));
        }
        values
    };
    // A thread of its own, so that the slack of ours stays.
    thread::spawn(run).join().unwrap_or_default()
}

/// How long a sleeping thread takes to run after it was sent a message.
fn wake_up(time: Duration) -> Vec<f64> {
    const PAUSE: Duration = Duration::from_micros(200);
    let (sender, receiver) = mpsc::sync_channel::<Instant>(1);
    let sleeper = thread::spawn(move || receiver.iter().take(SAMPLES_MAX).map(|sent| micros(sent.elapsed())).collect::<Vec<f64>>());
    let end = Instant::now() + time;
    while Instant::now() < end {
        // Long enough for the other thread, and its core, to fall asleep.
        thread::park_timeout(PAUSE);
        if sender.send(Instant::now()).is_err() {
            break;
        }
    }
    drop(sender);
    sleeper.join().unwrap_or_default()
}

/// Round trips of 64 bytes over loopback TCP.
fn loopback(time: Duration) -> io::Result<Vec<f64>> {
    const BYTES: usize = 64;
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    let echo = thread::spawn(move || -> io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut buffer = [0; BYTES];
        while stream.read_exact(&mut buffer).is_ok() {
            stream.write_all(&buffer)?;
        }
        Ok(())
    });
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let (mut buffer, mut values, end) = ([7; BYTES], Vec::new(), Instant::now() + time);
    while Instant::now() < end && values.len() < SAMPLES_MAX {
        let start = Instant::now();
        stream.write_all(&buffer)?;
        stream.read_exact(&mut buffer)?;
        values.push(micros(start.elapsed()));
    }
    drop(stream);
    match echo.join() {
        Ok(_) => Ok(values),
        Err(_) => Err(io::Error::other("the echoing thread failed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_probe_gives_latencies() {
        for kind in [ProbeKind::TimerJitter, ProbeKind::WakeUp, ProbeKind::Loopback] {
            let d = LatencyProbe { kind, time: Duration::from_millis(100) }.distribution().expect("runs");
            assert!(d.samples > 1 && d.p50 > 0.0 && d.p50 <= d.p99 && d.p99 <= d.max, "{kind:?}: {d:?}");
        }
    }
}
