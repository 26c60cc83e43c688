//! How many connections there may be: in all, per client address, and new ones per second; the decision and the counters.
//!
//! The limits may change while the broker runs. The counters are shared by the shards and locked for a few instructions per accepted or closed connection, never per request.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use crate::config::Settings;
use crate::config::listener::parse_overrides;
use crate::quota::WindowSpec;
use crate::quota::window::SharedRate;

/// Limits on connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Connections of the broker (`max.connections`).
    pub total: usize,
    /// Connections of one client address (`max.connections.per.ip`).
    pub per_address: usize,
    /// Connections of single addresses (`max.connections.per.ip.overrides`).
    pub overrides: HashMap<IpAddr, usize>,
    /// New connections per second of the broker (`max.connection.creation.rate`); `None` for no bound.
    pub creation_rate: Option<u32>,
}

impl ConnectionLimits {
    /// From the settings.
    pub fn from_settings(settings: &Settings) -> ConnectionLimits {
        let count = |n: i32| usize::try_from(n).unwrap_or(0);
        ConnectionLimits {
            total: count(settings.max_connections),
            per_address: count(settings.max_connections_per_ip),
            overrides: parse_overrides(&settings.max_connections_per_ip_overrides).unwrap_or_default().into_iter().collect(),
            creation_rate: u32::try_from(settings.max_connection_creation_rate).ok().filter(|rate| *rate < i32::MAX as u32),
        }
    }
}

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `max.connections` reached.
    #[error("the broker has {0} connections, the most that max.connections allows")]
    Total(usize),
    /// `max.connections.per.ip` reached.
    #[error("this address has {0} connections, the most that max.connections.per.ip allows")]
    PerAddress(usize),
}

/// Counts the broker's connections. Shared by all shards.
#[derive(Debug)]
pub struct ConnectionQuota {
    counts: Mutex<Counts>,
    window: WindowSpec,
    created: SharedRate,
}

#[derive(Debug)]
struct Counts {
    limits: ConnectionLimits,
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl ConnectionQuota {
    /// No connections yet.
    pub fn new(limits: ConnectionLimits, window: WindowSpec) -> Arc<Self> {
        let counts = Mutex::new(Counts { limits, total: 0, by_address: HashMap::new() });
        Arc::new(ConnectionQuota { counts, window, created: SharedRate::new(window) })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Other limits from now on; connections that are open stay.
    pub fn set_limits(&self, limits: ConnectionLimits) {
        self.counts().limits = limits;
    }

    /// Counts a new connection; how long it is to wait for its turn, at most a part of the window.
    pub fn creation_wait(&self, now_ms: u64) -> Duration {
        let Some(per_second) = self.counts().limits.creation_rate else { return Duration::ZERO };
        self.created.record(now_ms, 1);
        Duration::from_millis(self.created.over_ms(now_ms, f64::from(per_second)).min(self.window.part_ms))
    }

    /// A place for a connection from this address, or why there is none.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Result<ConnectionPlace, Refusal> {
        let address = address.to_canonical();
        let mut counts = self.counts();
        if counts.total >= counts.limits.total {
            return Err(Refusal::Total(counts.total));
        }
        let of_address = counts.by_address.get(&address).copied().unwrap_or(0);
        if of_address >= counts.limits.overrides.get(&address).copied().unwrap_or(counts.limits.per_address) {
            return Err(Refusal::PerAddress(of_address));
        }
        counts.by_address.insert(address, of_address + 1);
        counts.total += 1;
        Ok(ConnectionPlace { quota: Arc::clone(self), address })
    }

    /// Connections now.
    pub fn connections(&self) -> usize {
        self.counts().total
    }
}

/// A connection's place; given back when dropped.
#[derive(Debug)]
pub struct ConnectionPlace {
    quota: Arc<ConnectionQuota>,
    address: IpAddr,
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        let mut counts = self.quota.counts();
        counts.total -= 1;
        let left = counts.by_address.get_mut(&self.address).map(|count| {
            *count -= 1;
            *count
        });
        if left == Some(0) {
            counts.by_address.remove(&self.address);
        }
    }
}

/// How fast one shard accepts: a bucket that holds one second's worth. Time is an argument.
#[derive(Debug)]
pub struct AcceptRate {
    per_second: u32,
    /// Thousandths of a connection.
    level: u64,
    filled_at: Instant,
}

impl AcceptRate {
    /// A full bucket.
    pub fn new(per_second: u32, now: Instant) -> Self {
        AcceptRate { per_second, level: u64::from(per_second) * 1000, filled_at: now }
    }

    /// Takes one connection; otherwise how long to wait before the next may be accepted (it stays in the listener's backlog).
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let elapsed_ms = u64::try_from(now.saturating_duration_since(self.filled_at).as_millis()).unwrap_or(u64::MAX);
        if elapsed_ms > 0 {
            let full = u64::from(self.per_second) * 1000;
            self.level = full.min(self.level.saturating_add(elapsed_ms.saturating_mul(u64::from(self.per_second))));
            self.filled_at = now;
        }
        if self.level >= 1000 {
            self.level -= 1000;
            return Ok(());
        }
        let missing_ms = (1000 - self.level).div_ceil(u64::from(self.per_second.max(1)));
        Err(Duration::from_millis(missing_ms.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const WINDOW: WindowSpec = WindowSpec { samples: 11, part_ms: 1000 };

    fn limits(settings: &[&str]) -> ConnectionLimits {
        ConnectionLimits::from_settings(&Config::with(settings).expect("valid"))
    }

    #[test]
    fn an_address_may_have_a_limit_of_its_own_and_limits_change() {
        let overrides = "max.connections.per.ip.overrides=10.0.0.1:0, [::1]:2,::2:1";
        let quota = ConnectionQuota::new(limits(&["max.connections.per.ip=1", overrides]), WINDOW);
        let address = |text: &str| text.parse::<IpAddr>().expect("valid");
        assert_eq!(quota.take(address("10.0.0.1")).unwrap_err(), Refusal::PerAddress(0));
        assert_eq!(quota.take(address("::ffff:10.0.0.1")).unwrap_err(), Refusal::PerAddress(0), "the same on a listener for both families");
        let _open = [quota.take(address("::1")).unwrap(), quota.take(address("::1")).unwrap(), quota.take(address("10.0.0.2")).unwrap()];
        assert_eq!(quota.take(address("::1")).unwrap_err(), Refusal::PerAddress(2));
        assert_eq!(quota.take(address("10.0.0.2")).unwrap_err(), Refusal::PerAddress(1));
        quota.set_limits(limits(&["max.connections=5"]));
        let _more = [quota.take(address("10.0.0.1")).unwrap(), quota.take(address("::1")).unwrap()];
        assert_eq!(quota.take(address("10.0.0.3")).unwrap_err(), Refusal::Total(5));
        for bad in ["x:1", "10.0.0.1", "10.0.0.1:", "10.0.0.1:-1", "host:1"] {
            assert!(Config::with(&[&format!("max.connections.per.ip.overrides={bad}")]).is_err(), "{bad}");
        }
    }

    #[test]
    fn new_connections_wait_above_the_creation_rate() {
        let quota = ConnectionQuota::new(limits(&["max.connection.creation.rate=10"]), WINDOW);
        let waits: Vec<_> = (0..102).map(|_| quota.creation_wait(5_000).as_millis()).collect();
        assert!(waits[..100].iter().all(|wait| *wait == 0), "ten seconds' worth at once");
        assert_eq!(waits[100..], [100, 200]);
        quota.set_limits(limits(&[]));
        assert_eq!(quota.creation_wait(5_000), Duration::ZERO);
    }

    #[test]
    fn refuses_above_the_limits_and_takes_places_back() {
        let quota = ConnectionQuota::new(limits(&["max.connections=3", "max.connections.per.ip=2"]), WINDOW);
        let a = IpAddr::from([10, 0, 0, 1]);
        let b = IpAddr::from([10, 0, 0, 2]);
        let first = quota.take(a).unwrap();
        let second = quota.take(a).unwrap();
        assert_eq!(quota.take(a).unwrap_err(), Refusal::PerAddress(2));
        let third = quota.take(b).unwrap();
        assert_eq!(quota.take(b).unwrap_err(), Refusal::Total(3));
        drop(first);
        assert_eq!(quota.connections(), 2);
        let fourth = quota.take(a).unwrap();
        drop((second, third, fourth));
        assert_eq!(quota.connections(), 0);
        assert!(quota.counts.lock().unwrap().by_address.is_empty(), "an address without connections takes no memory");
    }

    #[test]
    fn accepts_a_second_worth_at_once_then_at_the_rate() {
        let start = Instant::now();
        let mut rate = AcceptRate::new(500, start);
        for _ in 0..500 {
            assert_eq!(rate.take(start), Ok(()));
        }
        let wait = rate.take(start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(2));
        assert_eq!(rate.take(start + wait), Ok(()));
        assert!(rate.take(start + wait).is_err());
        let mut accepted = 0;
        for ms in 0..1000 {
            while rate.take(start + wait + Duration::from_millis(ms)).is_ok() {
                accepted += 1;
            }
        }
        assert!((498..=500).contains(&accepted), "{accepted} in a second");
    }
}
