//! The clocks: `CLOCK_MONOTONIC` nanoseconds, which all processes of a host share, and milliseconds since 1970 for record timestamps.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC`. Comparable between processes of one host, not between hosts.
#[inline]
pub fn now_ns() -> u64 {
    // The clock exists on every Linux; a zero would show as absurd latencies, which the self-check reports.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |t| t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64)
}

/// Milliseconds since 1970.
#[inline]
pub fn unix_ms() -> i64 {
    clock_gettime(ClockId::CLOCK_REALTIME).map_or(0, |t| t.tv_sec() * 1_000 + t.tv_nsec() / 1_000_000)
}

/// CPU seconds of this process so far: user and system.
pub fn own_cpu_seconds() -> (f64, f64) {
    use nix::sys::resource::{UsageWho, getrusage};
    let seconds = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
    getrusage(UsageWho::RUSAGE_SELF).map_or((0.0, 0.0), |u| (seconds(u.user_time()), seconds(u.system_time())))
}
