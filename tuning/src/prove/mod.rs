//! Proof on this host: A (as it is), B (the knob turned), A again, several rounds; the ratio with its interval says what the knob is worth.
//!
//! Each round compares B with the mean of the A before and the A after it, so that a slow drift of the host cancels. All metrics are times: lower is
//! better. A knob helps when the interval of at least one metric lies below 1, the gain is more than comparing A with A gives, and no metric is worse.
//! The intervals are widened for the number of metrics (Bonferroni), so that a knob with six metrics is not six chances to be lucky.

pub mod bench;
pub mod disk;
pub mod probe;
pub mod stats;

use std::io;

use serde::Serialize;

use crate::knob::ProbeKind;

/// Chance that a knob which does nothing is called good or bad.
const ALPHA: f64 = 0.05;
/// Fewest rounds that give an interval worth printing.
pub const ROUNDS_MIN: usize = 3;

/// One number of a measurement; lower is better.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Metric {
    /// Probe and quantile, such as `wake-up p50`.
    pub name: String,
    /// Microseconds, or what a bench command prints.
    pub value: f64,
}

/// Something that measures the host as it is now.
pub trait Measure {
    /// The same metrics in the same order each time.
    fn measure(&mut self) -> io::Result<Vec<Metric>>;
}

/// The thing to be turned on and off.
pub trait Subject {
    /// B.
    fn on(&mut self) -> Result<(), String>;
    /// A; must put everything back.
    fn off(&mut self) -> Result<(), String>;
}

/// What one metric says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The metric.
    pub metric: String,
    /// Median of all As.
    pub before: f64,
    /// Median of all Bs.
    pub after: f64,
    /// Geometric mean of B / A.
    pub ratio: f64,
    /// Lower end of its interval.
    pub low: f64,
    /// Upper end of its interval.
    pub high: f64,
    /// The ratio (above 1) that comparing neighbouring As may give: the noise of this host.
    pub noise: f64,
    /// What follows.
    pub verdict: Verdict,
}

/// What a comparison, or a knob, is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Better, outside the noise.
    Helps,
    /// Cannot be told from nothing.
    Unclear,
    /// Worse, outside the noise.
    Harms,
}

/// The result for one knob.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Proof {
    /// The knob.
    pub knob: String,
    /// Rounds that were measured.
    pub rounds: usize,
    /// By metric.
    pub comparisons: Vec<Comparison>,
    /// Harm outweighs help.
    pub verdict: Verdict,
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The knob could not be turned; nothing is left behind.
    #[error("knob {knob}: {why}")]
    Subject {
        /// The knob.
        knob: String,
        /// In words.
        why: String,
    },
    /// A probe failed; the knob is back.
    #[error("probe: {0}")]
    Probe(io::Error),
    /// The user asked to stop; the knob is back.
    #[error("stopped; everything is as it was")]
    Stopped,
    /// The knob could not be put back.
    #[error("knob {knob} could not be put back: {why}. Run `coreline-tune rollback`")]
    Stuck {
        /// The knob.
        knob: String,
        /// In words.
        why: String,
    },
}

/// Measures A B A B ... A. Whatever happens, the knob is off at the end, or the error says that it is not.
pub fn prove(
    knob: &str,
    subject: &mut dyn Subject,
    measures: &mut [Box<dyn Measure>],
    rounds: usize,
    stopped: &mut dyn FnMut() -> bool,
) -> Result<Proof, ProveError> {
    // The first run warms caches and clocks and is thrown away.
    measure(measures)?;
    let mut off = vec![measure(measures)?];
    let mut on = Vec::new();
    for _ in 0..rounds.max(ROUNDS_MIN) {
        subject.on().map_err(|why| ProveError::Subject { knob: knob.to_owned(), why })?;
        let measured = measure(measures);
        subject.off().map_err(|why| ProveError::Stuck { knob: knob.to_owned(), why })?;
        on.push(measured?);
        off.push(measure(measures)?);
        if stopped() {
            return Err(ProveError::Stopped);
        }
    }
    Ok(judge(knob, &off, &on))
}

fn measure(measures: &mut [Box<dyn Measure>]) -> Result<Vec<Metric>, ProveError> {
    let mut metrics = Vec::new();
    for m in measures {
        metrics.extend(m.measure().map_err(ProveError::Probe)?);
    }
    Ok(metrics)
}

/// Compares; `off` has one more than `on`. Pure.
pub fn judge(knob: &str, off: &[Vec<Metric>], on: &[Vec<Metric>]) -> Proof {
    let count = off.first().map_or(0, Vec::len);
    let comparisons: Vec<Comparison> = (0..count).map(|m| compare(m, count, off, on)).collect();
    let verdict = match comparisons.iter().map(|c| c.verdict).max() {
        Some(Verdict::Harms) => Verdict::Harms,
        _ if comparisons.iter().any(|c| c.verdict == Verdict::Helps) => Verdict::Helps,
        _ => Verdict::Unclear,
    };
    Proof { knob: knob.to_owned(), rounds: on.len(), comparisons, verdict }
}

fn compare(metric: usize, metrics: usize, off: &[Vec<Metric>], on: &[Vec<Metric>]) -> Comparison {
    // A time of nothing has no logarithm; a nanosecond is below what any probe resolves.
    let log = |m: &Vec<Metric>| m[metric].value.max(0.001).ln();
    let ratios: Vec<f64> = on.iter().enumerate().map(|(i, b)| log(b) - (log(&off[i]) + log(&off[i + 1])) / 2.0).collect();
    let noise: Vec<f64> = off.windows(2).map(|pair| log(&pair[1]) - log(&pair[0])).collect();
    let (mean, half) = stats::interval(&ratios, ALPHA / metrics as f64);
    let noise = stats::interval(&noise, ALPHA / metrics as f64).1.exp();
    let (ratio, low, high) = (mean.exp(), (mean - half).exp(), (mean + half).exp());
    let verdict = if high < 1.0 && ratio < 1.0 / noise {
        Verdict::Helps
    } else if low > 1.0 && ratio > noise {
        Verdict::Harms
    } else {
        Verdict::Unclear
    };
    let median = |all: &[Vec<Metric>]| stats::median(all.iter().map(|m| m[metric].value).collect());
    Comparison { metric: off[0][metric].name.clone(), before: median(off), after: median(on), ratio, low, high, noise, verdict }
}

/// The names of some probes, for people.
pub fn names(kinds: &[ProbeKind]) -> String {
    kinds.iter().map(|k| name(*k)).collect::<Vec<_>>().join(", ")
}

/// The name of a probe.
pub fn name(kind: ProbeKind) -> &'static str {
    match kind {
        ProbeKind::TimerJitter => "timer jitter",
        ProbeKind::WakeUp => "wake-up",
        ProbeKind::Loopback => "loopback",
        ProbeKind::WriteFlush => "write+flush",
        ProbeKind::SequentialDisk => "sequential disk",
        ProbeKind::RandomDisk => "random disk",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers from a fixed sequence, so that a failure repeats.
    struct Noise(u64);

    impl Noise {
        fn next(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 40) as f64 / f64::from(1_u32 << 24)
        }
    }

    fn runs(seed: u64, rounds: usize, drift: f64, effect: f64) -> Proof {
        let mut noise = Noise(seed);
        let mut time = 0.0;
        let mut run = |factor: f64| {
            time += 1.0;
            vec![Metric { name: "m".into(), value: 100.0 * factor * (1.0 + drift * time) * (0.98 + 0.04 * noise.next()) }]
        };
        let mut off = vec![run(1.0)];
        let mut on = Vec::new();
        for _ in 0..rounds {
            on.push(run(effect));
            off.push(run(1.0));
        }
        judge("k", &off, &on)
    }

    #[test]
    fn a_gain_is_found_also_below_a_drift() {
        for seed in 0..20 {
            assert_eq!(runs(seed, 8, 0.0, 0.85).verdict, Verdict::Helps, "seed {seed}");
            assert_eq!(runs(seed, 8, 0.02, 0.85).verdict, Verdict::Helps, "seed {seed}");
            assert_eq!(runs(seed, 8, 0.02, 1.2).verdict, Verdict::Harms, "seed {seed}");
        }
    }

    #[test]
    fn nothing_is_called_nothing() {
        let wrong = (0..200).filter(|seed| runs(*seed, 8, 0.01, 1.0).verdict != Verdict::Unclear).count();
        assert!(wrong <= 14, "{wrong} of 200 without an effect were called good or bad; 10 are expected at most");
    }

    struct Fake {
        on: bool,
        fail_off: bool,
    }

    impl Subject for std::rc::Rc<std::cell::RefCell<Fake>> {
        fn on(&mut self) -> Result<(), String> {
            self.borrow_mut().on = true;
            Ok(())
        }
        fn off(&mut self) -> Result<(), String> {
            if self.borrow().fail_off {
                return Err("stuck".into());
            }
            self.borrow_mut().on = false;
            Ok(())
        }
    }

    struct FakeMeasure {
        fake: std::rc::Rc<std::cell::RefCell<Fake>>,
        fail_when_on: bool,
    }

    impl Measure for FakeMeasure {
        fn measure(&mut self) -> io::Result<Vec<Metric>> {
            let on = self.fake.borrow().on;
            if on && self.fail_when_on {
                return Err(io::ErrorKind::Other.into());
            }
            Ok(vec![Metric { name: "m".into(), value: if on { 50.0 } else { 100.0 } }])
        }
    }

    fn try_prove(fail_off: bool, fail_when_on: bool, stop: bool) -> (Result<Proof, ProveError>, bool) {
        let fake = std::rc::Rc::new(std::cell::RefCell::new(Fake { on: false, fail_off }));
        let mut measures: Vec<Box<dyn Measure>> = vec![Box::new(FakeMeasure { fake: fake.clone(), fail_when_on })];
        let result = prove("k", &mut fake.clone(), &mut measures, 4, &mut || stop);
        let on = fake.borrow().on;
        (result, on)
    }

    #[test]
    fn the_knob_is_off_at_the_end_whatever_happens() {
        let (proof, on) = try_prove(false, false, false);
        let proof = proof.expect("proves");
        assert!(!on && proof.verdict == Verdict::Helps && (proof.comparisons[0].ratio - 0.5).abs() < 1e-9, "{proof:?}");
        assert!(matches!(try_prove(false, true, false), (Err(ProveError::Probe(_)), false)));
        assert!(matches!(try_prove(false, false, true), (Err(ProveError::Stopped), false)));
        assert!(matches!(try_prove(true, false, false), (Err(ProveError::Stuck { .. }), true)));
    }
}
