//! How many connections there may be: in all, per client address, and new ones per second; the decision and the counters.
//!
//! The counters are shared by the shards and locked for a few instructions per accepted or closed connection, never per request.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hashbrown::HashMap;

/// Limits on connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Connections of the broker (`max.connections`).
    pub total: usize,
    /// Connections of one client address (`max.connections.per.ip`).
    pub per_address: usize,
    /// New connections per second and shard.
    pub per_second: u32,
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
    limits: ConnectionLimits,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl ConnectionQuota {
    /// No connections yet.
    pub fn new(limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(ConnectionQuota { limits, counts: Mutex::default() })
    }

    /// A place for a connection from this address, or why there is none.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Result<ConnectionPlace, Refusal> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.total >= self.limits.total {
            return Err(Refusal::Total(counts.total));
        }
        let of_address = counts.by_address.get(&address).copied().unwrap_or(0);
        if of_address >= self.limits.per_address {
            return Err(Refusal::PerAddress(of_address));
        }
        counts.by_address.insert(address, of_address + 1);
        counts.total += 1;
        Ok(ConnectionPlace { quota: Arc::clone(self), address })
    }

    /// Connections now.
    pub fn connections(&self) -> usize {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).total
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
        let mut counts = self.quota.counts.lock().unwrap_or_else(PoisonError::into_inner);
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

    #[test]
    fn refuses_above_the_limits_and_takes_places_back() {
        let quota = ConnectionQuota::new(ConnectionLimits { total: 3, per_address: 2, per_second: 1 });
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
