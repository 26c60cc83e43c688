//! `Pacer`: when each record of one producer is due. Open loop: the answer never depends on the server.

use crate::scenario::{Load, Shape};

/// A time that never comes.
pub const NEVER: u64 = u64::MAX;

/// Pieces into which a period of a sine is cut.
const SINE_PIECES: f64 = 500.0;
/// Pieces looked through for the next record before the load counts as over.
const PIECES_MAX: u32 = 10_000_000;

/// The due times of one producer, ascending. Times are nanoseconds after the start of the schedule.
#[derive(Clone, Debug)]
pub struct Pacer {
    shape: Shape,
    /// Records per second of this producer, before the shape.
    rate: f64,
    /// Share of the whole rate that is this producer's, for replayed rates.
    share: f64,
    /// Records handed out.
    taken: u64,
    /// Fraction of an interval by which the first record comes late, so that producers do not fire at once.
    offset: f64,
    /// Of shapes that change: where the last record was, in seconds.
    at_s: f64,
    next: u64,
}

impl Pacer {
    /// The due times of producer `index` of `count`; `None` without a rate.
    pub fn new(load: &Load, index: u32, count: u32) -> Option<Pacer> {
        let rate = load.rate? / f64::from(count.max(1));
        let offset = f64::from(index) / f64::from(count.max(1));
        let share = 1.0 / f64::from(count.max(1));
        let mut pacer = Pacer { shape: load.shape.clone(), rate, share, taken: 0, offset, at_s: 0.0, next: 0 };
        pacer.next = pacer.following(offset);
        Some(pacer)
    }

    /// When the next record is due.
    #[inline]
    pub fn peek(&self) -> u64 {
        self.next
    }

    /// Goes on to the one after it.
    #[inline]
    pub fn advance(&mut self) {
        self.taken += 1;
        self.next = match self.shape {
            Shape::Constant => self.due(self.taken),
            _ => self.following(1.0),
        };
    }

    /// About when the `n`th record from now is due (0: the next one); exact for a constant rate.
    pub fn eta(&self, n: u64) -> u64 {
        match self.shape {
            Shape::Constant => self.due(self.taken + n),
            _ if self.next == NEVER => NEVER,
            _ => {
                let (rate, _) = self.piece(self.at_s);
                self.next.saturating_add((n as f64 / rate.max(1e-9) * 1e9) as u64)
            }
        }
    }

    fn due(&self, k: u64) -> u64 {
        ((k as f64 + self.offset) / self.rate * 1e9) as u64
    }

    /// Walks on until `need` more records have come due.
    fn following(&mut self, mut need: f64) -> u64 {
        if self.shape == Shape::Constant {
            return self.due(self.taken);
        }
        for _ in 0..PIECES_MAX {
            let (rate, end_s) = self.piece(self.at_s);
            let possible = rate * (end_s - self.at_s);
            if rate > 0.0 && need <= possible {
                self.at_s += need / rate;
                return (self.at_s * 1e9) as u64;
            }
            if end_s.is_infinite() {
                return NEVER;
            }
            need -= possible;
            // A piece may end where floating point puts us back before it.
            self.at_s = if end_s > self.at_s { end_s } else { self.at_s + 1e-9 };
        }
        NEVER
    }

    /// This producer's rate at `at_s`, and until when it holds.
    fn piece(&self, at_s: f64) -> (f64, f64) {
        match &self.shape {
            Shape::Constant => (self.rate, f64::INFINITY),
            Shape::Step { factors, each_s } => {
                let i = (at_s / each_s) as usize;
                match factors.get(i) {
                    Some(f) if i + 1 < factors.len() => (self.rate * f, (i + 1) as f64 * each_s),
                    _ => (self.rate * factors.last().copied().unwrap_or(1.0), f64::INFINITY),
                }
            }
            Shape::Sine { amplitude, period_s } => {
                let piece_s = period_s / SINE_PIECES;
                let i = (at_s / piece_s).floor();
                let middle = (i + 0.5) * piece_s;
                let factor = 1.0 + amplitude * (std::f64::consts::TAU * middle / period_s).sin();
                (self.rate * factor.max(0.0), (i + 1.0) * piece_s)
            }
            Shape::Burst { factor, burst_s, period_s } => {
                let i = (at_s / period_s).floor();
                let within = at_s - i * period_s;
                if within < *burst_s { (self.rate * factor, i * period_s + burst_s) } else { (self.rate, (i + 1.0) * period_s) }
            }
            Shape::Replay { rates, each_s } => {
                let i = (at_s / each_s).floor();
                let rate = rates.get(i as usize % rates.len().max(1)).copied().unwrap_or(0.0);
                (rate * self.share, (i + 1.0) * each_s)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records of all producers per whole second.
    fn per_second(load: &Load, producers: u32, seconds: usize) -> Vec<u64> {
        let mut counts = vec![0; seconds];
        for p in 0..producers {
            let mut pacer = Pacer::new(load, p, producers).expect("a rate");
            let mut before = 0;
            while pacer.peek() < seconds as u64 * 1_000_000_000 {
                assert!(pacer.peek() >= before, "due times ascend");
                before = pacer.peek();
                counts[(before / 1_000_000_000) as usize] += 1;
                pacer.advance();
            }
        }
        counts
    }

    fn near(got: &[u64], wanted: &[f64]) {
        for (g, w) in got.iter().zip(wanted) {
            assert!((*g as f64 - w).abs() <= w * 0.01 + 3.0, "{got:?} for {wanted:?}");
        }
    }

    #[test]
    fn a_constant_rate_does_not_drift() {
        let load = Load { rate: Some(3_000.0), shape: Shape::Constant };
        let mut pacer = Pacer::new(&load, 0, 1).expect("a rate");
        (0..3_000_000).for_each(|_| pacer.advance());
        assert_eq!(pacer.peek(), 1_000 * 1_000_000_000);
        assert_eq!(pacer.eta(3), 1_000_001_000_000);
        near(&per_second(&load, 7, 3), &[3e3; 3]);
    }

    #[test]
    fn shapes_give_the_rates_they_promise() {
        let of = |shape| per_second(&Load { rate: Some(1000.0), shape }, 3, 6);
        near(&of(Shape::Step { factors: vec![1.0, 4.0, 0.5], each_s: 2.0 }), &[1e3, 1e3, 4e3, 4e3, 500.0, 500.0]);
        near(&of(Shape::Burst { factor: 5.0, burst_s: 1.0, period_s: 3.0 }), &[5e3, 1e3, 1e3, 5e3, 1e3, 1e3]);
        near(&of(Shape::Replay { rates: vec![100.0, 0.0, 2000.0], each_s: 1.0 }), &[100.0, 0.0, 2e3, 100.0, 0.0, 2e3]);
        let sine = of(Shape::Sine { amplitude: 1.0, period_s: 6.0 });
        let area = |a: f64, b: f64| {
            1000.0
                * ((b - a)
                    + 6.0 / std::f64::consts::TAU * ((std::f64::consts::TAU * a / 6.0).cos() - (std::f64::consts::TAU * b / 6.0).cos()))
        };
        near(&sine, &(0..6).map(|s| area(f64::from(s), f64::from(s + 1))).collect::<Vec<_>>());
    }

    #[test]
    fn a_load_that_has_ended_is_never_due() {
        let load = Load { rate: Some(10.0), shape: Shape::Step { factors: vec![1.0, 0.0], each_s: 1.0 } };
        let mut pacer = Pacer::new(&load, 0, 1).expect("a rate");
        (0..20).for_each(|_| pacer.advance());
        assert_eq!(pacer.peek(), NEVER);
        assert!(Pacer::new(&Load { rate: None, shape: Shape::Constant }, 0, 1).is_none());
    }
}
