//! Which rate to try next: climb in doublings, bisect to 3 %, confirm at 90, 100 and 110 % three times each. A rate that was the highest allowed is
//! tried three times in all: one good trial is no bound. Pure.

use serde::{Deserialize, Serialize};

/// The bisection ends when the bounds are this close.
pub(super) const TOLERANCE: f64 = 1.03;
/// Trials of each confirmation.
pub(super) const CONFIRMATIONS: usize = 3;
/// Rates of the confirmation, as shares of the rate found. The lowest comes first: when it fails the rest says nothing.
const SHARES: [f64; 3] = [0.9, 1.0, 1.1];
/// Most trials of climb and bisection: a target that answers at random must not keep us for ever.
const TRIALS_MAX: usize = 60;

/// What a trial is for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Finding bounds.
    Climb,
    /// Narrowing them.
    Bisect,
    /// Confirming a share of the rate found.
    Confirm(f64),
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Try this rate.
    Try {
        /// Records per second.
        rate: f64,
        /// Why.
        purpose: Purpose,
    },
    /// The search is over.
    Done(Answer),
}

/// What the search found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The highest rate that is claimed, records per second; `None` when the objective was missed at every rate.
    pub rate: Option<f64>,
    /// How sure that is.
    pub sure: Sure,
    /// Confirmations: share of the rate found, trials that met the objective, trials.
    pub confirmed: Vec<(f64, usize, usize)>,
    /// In words.
    pub why: String,
}

/// How sure an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sure {
    /// 90 % met it always, 100 % mostly, 110 % mostly not: a limit, and here.
    Confirmed,
    /// The objective was met up to the highest rate that was tried: the limit is somewhere above.
    LowerBound,
    /// The confirmation does not agree with the search: the rate is what held, and the limit is not sharp.
    Unsteady,
    /// No rate met it.
    Never,
}

/// The state of a search.
#[derive(Clone, Debug)]
pub struct Search {
    start: f64,
    floor: f64,
    ceiling: f64,
    met_at: Option<f64>,
    missed_at: Option<f64>,
    trials: usize,
    confirmed: Vec<(f64, usize, usize)>,
    next_confirmation: usize,
    /// Trials at the ceiling after the first that met it there: that met it again, and all.
    at_ceiling: (usize, usize),
}

impl Search {
    /// From `start`, never below `floor` nor above `ceiling`, records per second.
    pub fn new(start: f64, floor: f64, ceiling: f64) -> Search {
        let start = start.clamp(floor, ceiling);
        let confirmed = SHARES.iter().map(|share| (*share, 0, 0)).collect();
        Search { start, floor, ceiling, met_at: None, missed_at: None, trials: 0, confirmed, next_confirmation: 0, at_ceiling: (0, 0) }
    }

    /// The next trial, or the answer.
    pub fn next(&self) -> Step {
        let climb = |rate| Step::Try { rate, purpose: Purpose::Climb };
        match (self.met_at, self.missed_at) {
            (None, None) => climb(self.start),
            (None, Some(missed)) if missed <= self.floor => Step::Done(self.never()),
            (None, Some(missed)) => climb((missed / 2.0).max(self.floor)),
            (Some(met), None) if met >= self.ceiling && self.at_ceiling.1 + 1 < CONFIRMATIONS => {
                Step::Try { rate: met, purpose: Purpose::Confirm(1.0) }
            }
            (Some(met), None) if met >= self.ceiling => Step::Done(self.unbounded(met)),
            (Some(met), None) => climb((met * 2.0).min(self.ceiling)),
            (Some(met), Some(missed)) if missed / met > TOLERANCE && self.trials < TRIALS_MAX => {
                Step::Try { rate: (met * missed).sqrt(), purpose: Purpose::Bisect }
            }
            (Some(met), Some(_)) => self.confirmation(met),
        }
    }

    /// Takes the outcome of the trial that [`Search::next`] asked for.
    pub fn record(&mut self, rate: f64, purpose: Purpose, met: bool) {
        if let (Purpose::Confirm(_), None) = (purpose, self.missed_at) {
            self.at_ceiling = (self.at_ceiling.0 + usize::from(met), self.at_ceiling.1 + 1);
            if self.at_ceiling == (0, CONFIRMATIONS - 1) {
                // The first trial there was luck: the limit is looked for below.
                (self.met_at, self.missed_at) = (None, Some(rate));
            }
            return;
        }
        if let Purpose::Confirm(share) = purpose {
            if let Some(at) = self.confirmed.iter_mut().find(|(s, _, _)| *s == share) {
                at.1 += usize::from(met);
                at.2 += 1;
            }
            self.next_confirmation += 1;
            return;
        }
        self.trials += 1;
        if met {
            self.met_at = Some(self.met_at.map_or(rate, |old| old.max(rate)));
        } else {
            self.missed_at = Some(self.missed_at.map_or(rate, |old| old.min(rate)));
        }
    }

    /// The shares take turns, so that a bad minute of the machine does not fall on one of them.
    fn confirmation(&self, found: f64) -> Step {
        let count = CONFIRMATIONS * SHARES.len();
        if self.next_confirmation >= count {
            return Step::Done(self.judged(found));
        }
        let share = SHARES[self.next_confirmation % SHARES.len()];
        Step::Try { rate: found * share, purpose: Purpose::Confirm(share) }
    }

    fn judged(&self, found: f64) -> Answer {
        let passed = |i: usize| self.confirmed[i].1;
        let mostly = CONFIRMATIONS.div_ceil(2);
        let (rate, sure, why) = match (passed(0) == CONFIRMATIONS, passed(1) >= mostly, passed(2) < mostly) {
            (true, true, true) => (Some(found), Sure::Confirmed, "held at 90 % always, at 100 % mostly, at 110 % mostly not".to_string()),
            (true, true, false) => {
                (Some(found), Sure::Unsteady, "110 % mostly held too: the limit lies higher, the search met a bad moment".into())
            }
            (true, false, _) => {
                (Some(found * SHARES[0]), Sure::Unsteady, "100 % did not hold mostly, 90 % always did: claimed is 90 %".into())
            }
            (false, ..) if passed(0) >= mostly => (
                Some(found * SHARES[0]),
                Sure::Unsteady,
                "even 90 % did not hold always: claimed is 90 %, as something that mostly holds".into(),
            ),
            (false, ..) => (
                None,
                Sure::Unsteady,
                "what the search found did not hold when it was repeated: the machine or the server is too unsteady".into(),
            ),
        };
        Answer { rate, sure, confirmed: self.confirmed.clone(), why }
    }

    fn unbounded(&self, met: f64) -> Answer {
        let held = self.at_ceiling.0 + 1;
        let (sure, what) = if held == CONFIRMATIONS { (Sure::LowerBound, "always") } else { (Sure::Unsteady, "mostly") };
        let why = format!("held {what} at the highest rate that was tried ({met:.0}/s); --max-rate sets it");
        Answer { rate: Some(met), sure, confirmed: vec![(1.0, held, CONFIRMATIONS)], why }
    }

    fn never(&self) -> Answer {
        let why = format!("impossible for this target: missed even at {:.0} records/s", self.floor);
        Answer { rate: None, sure: Sure::Never, confirmed: Vec::new(), why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a search against a target that meets the objective when `meets` says so; the answer and the number of trials.
    fn search(start: f64, mut meets: impl FnMut(f64, usize) -> bool) -> (Answer, usize) {
        let mut search = Search::new(start, 10.0, 1e6);
        for trial in 0..200 {
            match search.next() {
                Step::Done(answer) => return (answer, trial),
                Step::Try { rate, purpose } => {
                    let met = meets(rate, trial);
                    search.record(rate, purpose, met);
                }
            }
        }
        panic!("no end after 200 trials: {search:?}");
    }

    #[test]
    fn a_sharp_limit_is_found_within_three_percent_from_either_side() {
        for (start, limit) in [(1_000.0, 47_000.0), (500_000.0, 47_000.0), (47_000.0, 47_000.0), (1_000.0, 11.0), (1_000.0, 990_000.0)] {
            let (answer, trials) = search(start, |rate, _| rate <= limit);
            let rate = answer.rate.expect("there is one");
            assert!(rate <= limit && rate * TOLERANCE * 1.001 >= limit, "{rate} for {limit}");
            // At 110 % the limit is passed unless bisection ended well below it.
            assert_eq!(answer.sure, Sure::Confirmed, "{answer:?}");
            assert!(trials <= 35, "{trials} trials");
        }
    }

    #[test]
    fn an_objective_that_nothing_meets_and_one_that_everything_meets() {
        let (never, trials) = search(1_000.0, |_, _| false);
        assert_eq!((never.rate, never.sure), (None, Sure::Never));
        assert!(never.why.contains("even at 10 records/s") && trials < 12, "{never:?}");
        let (always, _) = search(1_000.0, |_, _| true);
        assert_eq!((always.rate, always.sure), (Some(1e6), Sure::LowerBound));
        assert_eq!(always.confirmed, [(1.0, CONFIRMATIONS, CONFIRMATIONS)]);
    }

    #[test]
    fn one_good_trial_at_the_highest_rate_is_no_bound() {
        let mut search = Search::new(1e6, 10.0, 1e6);
        for met in [true, true, false] {
            let Step::Try { rate, purpose } = search.next() else { panic!("{search:?}") };
            assert_eq!(rate, 1e6);
            search.record(rate, purpose, met);
        }
        let Step::Done(answer) = search.next() else { panic!("{search:?}") };
        assert_eq!((answer.rate, answer.sure), (Some(1e6), Sure::Unsteady), "{answer:?}");
        let mut search = Search::new(1e6, 10.0, 1e6);
        let mut trial = 0;
        let answer = loop {
            match search.next() {
                Step::Done(answer) => break answer,
                Step::Try { rate, purpose } => search.record(rate, purpose, trial == 0 || rate <= 400_000.0),
            }
            trial += 1;
        };
        assert_eq!(answer.sure, Sure::Confirmed, "{answer:?}");
        assert!(answer.rate.is_some_and(|rate| rate <= 400_000.0 && rate > 380_000.0), "{answer:?}");
    }

    #[test]
    fn an_answer_that_does_not_repeat_is_not_called_sure() {
        // Meets it during the search and never again.
        let mut search_over = false;
        let (answer, _) = search(1_000.0, |rate, trial| {
            search_over |= trial >= 12;
            rate <= 47_000.0 && !search_over
        });
        assert_ne!(answer.sure, Sure::Confirmed, "{answer:?}");
        // 100 % is too much when repeated, 90 % is not.
        let (answer, _) = search(1_000.0, |rate, trial| rate <= if trial > 12 { 44_000.0 } else { 47_000.0 });
        assert_eq!(answer.sure, Sure::Unsteady);
        assert!(answer.rate.is_some_and(|rate| rate < 44_000.0), "{answer:?}");
    }

    #[test]
    fn a_target_that_answers_at_random_comes_to_an_end() {
        for seed in 1..50u64 {
            let mut state = seed;
            let (answer, trials) = search(1_000.0, |_, _| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                state >> 63 == 0
            });
            assert!(trials <= TRIALS_MAX + 9, "{trials} trials, {answer:?}");
        }
    }
}
