//! Objectives such as `p99.9(e2e) <= 5ms and errors == 0`: what is promised of a run, as a value that judges a run's figures. Pure.
//!
//! Grammar: `objective := term { "and" term }`, `term := figure comparison value`, comparison one of `<= < >= > ==`.
//!
//! | figure | value | what it is |
//! |---|---|---|
//! | `pQ(produce)` | time | quantile Q (such as 50, 99.9) of intended send time to acknowledgement |
//! | `pQ(service)` | time | quantile of actual send to acknowledgement |
//! | `pQ(e2e)` | time | quantile of intended send time to receipt by a consumer |
//! | `mean(X)`, `max(X)` | time | of the same three |
//! | `errors` | count | produces and fetches that failed |
//! | `loss`, `duplicates`, `reordered` | count | records, by the payload check |
//! | `throughput` | `/s`, `kB/s`, `MB/s`, `GB/s` | acknowledged records or record bytes per second |
//! | `delivered` | `%` | acknowledged records over scheduled ones |
//!
//! Times take `ns`, `us`, `ms`, `s`; counts may end in `k` or `M`.

mod parse;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use parse::ParseError;

/// Which latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Latency {
    /// Intended send time to acknowledgement.
    Produce,
    /// Actual send to acknowledgement.
    Service,
    /// Intended send time to receipt by a consumer.
    E2e,
}

/// A figure of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Figure {
    /// A quantile (0 to 1, exclusive) of a latency, nanoseconds.
    Quantile(Latency, f64),
    /// The mean of a latency, nanoseconds.
    Mean(Latency),
    /// The longest latency, nanoseconds.
    Max(Latency),
    /// Failed requests.
    Errors,
    /// Records acknowledged and not received.
    Loss,
    /// Records received more than once.
    Duplicates,
    /// Records received out of their order.
    Reordered,
    /// Acknowledged records per second.
    RecordsPerSecond,
    /// Acknowledged bytes of record values per second.
    BytesPerSecond,
    /// Acknowledged over scheduled records, 0 to 1.
    Delivered,
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    /// `<=`
    #[serde(rename = "<=")]
    AtMost,
    /// `<`
    #[serde(rename = "<")]
    Below,
    /// `>=`
    #[serde(rename = ">=")]
    AtLeast,
    /// `>`
    #[serde(rename = ">")]
    Above,
    /// `==`
    #[serde(rename = "==")]
    Equals,
}

/// One demand.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Term {
    /// What is looked at.
    pub figure: Figure,
    /// How.
    pub comparison: Comparison,
    /// Against what, in the figure's unit.
    pub value: f64,
}

/// Demands that must all hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// As it was written.
    pub text: String,
    /// At least one.
    pub terms: Vec<Term>,
}

/// Where the figures of a run come from.
pub trait Figures {
    /// The figure's value, or why the run has none (no consumers, too few samples for the quantile).
    fn figure(&self, figure: Figure) -> Result<f64, String>;
}

/// One demand beside what the run did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The demand, as text.
    pub term: String,
    /// What was measured; `None` when the run has no such figure.
    pub measured: Option<f64>,
    /// Whether it held.
    pub met: bool,
    /// What was measured, for people; or why nothing was.
    pub shown: String,
}

impl Objective {
    /// Reads an objective, and refuses what no run could meet.
    pub fn parse(text: &str) -> Result<Objective, ParseError> {
        parse::objective(text)
    }

    /// Judges a run.
    pub fn judge(&self, run: &impl Figures) -> Vec<Outcome> {
        let outcome = |term: &Term| {
            let measured = run.figure(term.figure);
            let met = measured.as_ref().is_ok_and(|value| term.comparison.holds(*value, term.value));
            let shown = match &measured {
                Ok(value) => term.figure.show(*value),
                Err(why) => format!("not measured: {why}"),
            };
            Outcome { term: term.to_string(), measured: measured.ok(), met, shown }
        };
        self.terms.iter().map(outcome).collect()
    }

    /// The latencies that it speaks of.
    pub fn latencies(&self) -> impl Iterator<Item = Latency> {
        self.terms.iter().filter_map(|term| match term.figure {
            Figure::Quantile(latency, _) | Figure::Mean(latency) | Figure::Max(latency) => Some(latency),
            _ => None,
        })
    }

    /// The highest quantile asked for, 0 when there is none.
    pub fn highest_quantile(&self) -> f64 {
        self.terms.iter().filter_map(|term| if let Figure::Quantile(_, q) = term.figure { Some(q) } else { None }).fold(0.0, f64::max)
    }
}

impl Comparison {
    /// Whether `measured` satisfies it.
    pub fn holds(self, measured: f64, value: f64) -> bool {
        match self {
            Comparison::AtMost => measured <= value,
            Comparison::Below => measured < value,
            Comparison::AtLeast => measured >= value,
            Comparison::Above => measured > value,
            Comparison::Equals => measured == value,
        }
    }
}

impl Figure {
    /// A value of it, for people.
    pub fn show(self, value: f64) -> String {
        match self {
            Figure::Quantile(..) | Figure::Mean(_) | Figure::Max(_) => show_time(value),
            Figure::Errors | Figure::Loss | Figure::Duplicates | Figure::Reordered => format!("{value:.0}"),
            Figure::RecordsPerSecond => format!("{}/s", trimmed(value)),
            Figure::BytesPerSecond => format!("{} MB/s", trimmed(value / 1e6)),
            Figure::Delivered => format!("{} %", share_percent(value)),
        }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Latency::Produce => "produce",
            Latency::Service => "service",
            Latency::E2e => "e2e",
        })
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Figure::Quantile(latency, q) => write!(f, "p{}({latency})", percent(*q)),
            Figure::Mean(latency) => write!(f, "mean({latency})"),
            Figure::Max(latency) => write!(f, "max({latency})"),
            Figure::Errors => f.write_str("errors"),
            Figure::Loss => f.write_str("loss"),
            Figure::Duplicates => f.write_str("duplicates"),
            Figure::Reordered => f.write_str("reordered"),
            Figure::RecordsPerSecond | Figure::BytesPerSecond => f.write_str("throughput"),
            Figure::Delivered => f.write_str("delivered"),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Comparison::AtMost => "<=",
            Comparison::Below => "<",
            Comparison::AtLeast => ">=",
            Comparison::Above => ">",
            Comparison::Equals => "==",
        })
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.figure, self.comparison, self.figure.show(self.value))
    }
}

/// Nanoseconds in the unit that a person would use.
pub fn show_time(ns: f64) -> String {
    match ns {
        _ if ns >= 1e9 => format!("{} s", trimmed(ns / 1e9)),
        _ if ns >= 1e6 => format!("{} ms", trimmed(ns / 1e6)),
        _ if ns >= 1e3 => format!("{} us", trimmed(ns / 1e3)),
        _ => format!("{} ns", trimmed(ns)),
    }
}

/// A quantile (0 to 1) as the percentile that people wrote: 99.9999 stays that, and 0.29 is 29, not 28.999999999999996.
pub fn percent(quantile: f64) -> String {
    let text = format!("{:.9}", (quantile * 1e11).round() / 1e9);
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// A share (0 to 1) in percent with at most three decimals, rounded down: what misses a bound by little never reads as the bound, nor as all.
pub fn share_percent(share: f64) -> String {
    // A share that was written as a decimal may lie a little below it.
    trimmed((share * 1e5 + 1e-6).floor() / 1e3)
}

/// A number with at most three decimals and no zeros at its end.
fn trimmed(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Run;

    impl Figures for Run {
        fn figure(&self, figure: Figure) -> Result<f64, String> {
            match figure {
                Figure::Quantile(Latency::E2e, q) if q > 0.9999 => Err("40000 samples cannot carry p99.999".into()),
                Figure::Quantile(Latency::E2e, _) => Ok(4_900_000.0),
                Figure::Errors => Ok(0.0),
                Figure::BytesPerSecond => Ok(50e6),
                _ => Err("not in this run".into()),
            }
        }
    }

    #[test]
    fn a_run_is_judged_term_by_term() {
        let judge = |text: &str| Objective::parse(text).expect("parses").judge(&Run);
        let outcome = judge("p99.9(e2e) <= 5ms and errors == 0 and throughput > 50MB/s");
        assert_eq!(outcome.iter().map(|o| o.met).collect::<Vec<_>>(), [true, true, false]);
        assert_eq!((outcome[0].term.as_str(), outcome[0].shown.as_str()), ("p99.9(e2e) <= 5 ms", "4.9 ms"));
        assert_eq!(outcome[2].term, "throughput > 50 MB/s");
        let unmeasured = &judge("p99.999(e2e) <= 1s")[0];
        assert!(!unmeasured.met && unmeasured.measured.is_none() && unmeasured.shown.contains("40000 samples"), "{unmeasured:?}");
    }

    #[test]
    fn percentages_are_shown_as_they_were_written_and_never_better_than_they_are() {
        let quantiles: Vec<String> = [0.5, 0.29, 0.995, 0.9995, 0.999999, 0.99999999999].into_iter().map(percent).collect();
        assert_eq!(quantiles, ["50", "29", "99.5", "99.95", "99.9999", "99.999999999"]);
        let shares: Vec<String> = [0.995, 0.994_999_9, 0.999_999_9, 1.0, 0.29, 0.0].into_iter().map(share_percent).collect();
        assert_eq!(shares, ["99.5", "99.499", "99.999", "100", "29", "0"]);
        let text = "p99.9999(e2e) <= 5 ms";
        assert_eq!(Objective::parse(text).expect("parses").terms[0].to_string(), text);
    }

    #[test]
    fn times_are_shown_as_people_write_them() {
        let shown: Vec<String> = [12.0, 1_500.0, 5e6, 2.5e9].into_iter().map(show_time).collect();
        assert_eq!(shown, ["12 ns", "1.5 us", "5 ms", "2.5 s"]);
    }
}
