//! When to try again: waits that double from 50 ms to 1 s, until the operation's time is over.

use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(1);

/// The tries of one operation.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    deadline: Instant,
    next: Duration,
}

impl Backoff {
    /// Tries until `deadline`.
    pub(super) fn until(deadline: Instant) -> Backoff {
        Backoff { deadline, next: FIRST }
    }

    /// How long to wait before the next try; `None` when there is none.
    pub(super) fn wait(&mut self, now: Instant) -> Option<Duration> {
        if now + self.next >= self.deadline {
            return None;
        }
        let wait = self.next;
        self.next = (self.next * 2).min(LONGEST);
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end_at_the_deadline() {
        let start = Instant::now();
        let mut backoff = Backoff::until(start + Duration::from_secs(5));
        let (mut now, mut waits) = (start, Vec::new());
        while let Some(wait) = backoff.wait(now) {
            now += wait;
            waits.push(wait.as_millis());
        }
        assert_eq!(waits, [50, 100, 200, 400, 800, 1000, 1000, 1000]);
        assert!(now < start + Duration::from_secs(5));
        assert_eq!(Backoff::until(start).wait(start), None);
    }
}
