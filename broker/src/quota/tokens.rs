//! The bucket of controller mutations (KIP-599): partitions created and deleted take tokens that come back at the quota's rate.
//!
//! It holds at most a window's worth and starts full. It may go below zero, by the request that emptied it; then strict requests are refused
//! and older ones wait. Asked a few times per administrative request, so a lock will do.

use std::sync::{Mutex, PoisonError};

use super::window::WindowSpec;

/// A bucket.
#[derive(Debug)]
pub struct Tokens {
    spec: WindowSpec,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What was taken and has not come back: the level is the window's worth less this.
    taken: f64,
    at_ms: u64,
}

impl Tokens {
    /// A full bucket.
    pub fn new(spec: WindowSpec) -> Tokens {
        Tokens { spec, state: Mutex::default() }
    }

    fn level(&self, state: &mut State, now_ms: u64, per_second: f64) -> f64 {
        let back = now_ms.saturating_sub(state.at_ms) as f64 * per_second / 1000.0;
        state.taken = (state.taken - back).max(0.0);
        state.at_ms = state.at_ms.max(now_ms);
        per_second * f64::from(self.spec.samples) * self.spec.part_ms as f64 / 1000.0 - state.taken
    }

    /// Takes tokens unless the bucket is below zero already.
    pub fn take_strict(&self, now_ms: u64, per_second: f64, amount: f64) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let open = self.level(&mut state, now_ms, per_second) >= 0.0;
        if open {
            state.taken += amount;
        }
        open
    }

    /// Takes tokens whatever is in it.
    pub fn take(&self, now_ms: u64, per_second: f64, amount: f64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.level(&mut state, now_ms, per_second);
        state.taken += amount;
    }

    /// Gives back tokens of what was not done.
    pub fn give_back(&self, amount: f64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.taken = (state.taken - amount).max(0.0);
    }

    /// Milliseconds until it is at zero again; 0 while it is not below.
    pub fn wait_ms(&self, now_ms: u64, per_second: f64) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let level = self.level(&mut state, now_ms, per_second);
        if level < 0.0 { (-level / per_second * 1000.0).round().min(3_600_000.0) as u64 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_may_empty_it_and_the_next_one_waits() {
        // 2 per second, 11 parts of a second: 22 tokens.
        let tokens = Tokens::new(WindowSpec { samples: 11, part_ms: 1000 });
        assert!(tokens.take_strict(1000, 2.0, 20.0));
        assert!(tokens.take_strict(1000, 2.0, 12.0), "it was not below zero");
        assert!(!tokens.take_strict(1000, 2.0, 1.0));
        assert_eq!(tokens.wait_ms(1000, 2.0), 5000);
        assert_eq!((tokens.wait_ms(5900, 2.0), tokens.wait_ms(6000, 2.0)), (100, 0));
        assert!(tokens.take_strict(6000, 2.0, 1.0));
        tokens.take(6000, 2.0, 9.0);
        assert_eq!(tokens.wait_ms(6000, 2.0), 5000);
        tokens.give_back(10.0);
        assert_eq!(tokens.wait_ms(6000, 2.0), 0);
        assert_eq!(tokens.wait_ms(600_000, 2.0), 0);
        assert!(
            tokens.take_strict(600_000, 2.0, 22.0) && tokens.take_strict(600_000, 2.0, 1.0),
            "no more than a window's worth comes back"
        );
        assert!(!tokens.take_strict(600_000, 2.0, 1.0));
    }
}
