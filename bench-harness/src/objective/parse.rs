//! Reading an objective: tokens with positions, one error that points at its place, and contradictions found before anything runs.

use std::fmt;

use super::{Comparison, Figure, Latency, Objective, Term};

/// Longest text that is read, in bytes.
const TEXT_BYTES_MAX: usize = 4096;

/// Why a text is no objective.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The text.
    pub text: String,
    /// Where in it, bytes from the start.
    pub at: usize,
    /// What is wrong there.
    pub what: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let column = self.text.get(..self.at).map_or(0, |before| before.chars().count());
        write!(f, "objective, column {}: {}\n  {}\n  {}^", column + 1, self.what, self.text, " ".repeat(column))
    }
}

impl std::error::Error for ParseError {}

pub(super) fn objective(text: &str) -> Result<Objective, ParseError> {
    let fail = |at, what: String| ParseError { text: text.chars().take(200).collect(), at, what };
    if text.len() > TEXT_BYTES_MAX {
        return Err(fail(0, format!("longer than {TEXT_BYTES_MAX} bytes")));
    }
    let mut reader = Reader { text, at: 0 };
    let mut terms = Vec::new();
    loop {
        let term_at = reader.skip_blanks();
        let term = reader.term().map_err(|(at, what)| fail(at, what))?;
        if let Some(why) = impossible(&term).or_else(|| contradiction(&terms, &term)) {
            return Err(fail(term_at, why));
        }
        terms.push(term);
        let at = reader.skip_blanks();
        match reader.word() {
            "and" => {}
            "" if reader.rest().is_empty() => return Ok(Objective { text: text.trim().to_string(), terms }),
            "or" => return Err(fail(at, "`or` is not part of the language: run one search per alternative".into())),
            _ => return Err(fail(at, "expected `and` or the end".into())),
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

type Fault = (usize, String);

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_blanks(&mut self) -> usize {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
        self.at
    }

    fn take(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// Letters and digits after a letter.
    fn word(&mut self) -> &'a str {
        if self.rest().starts_with(|c: char| c.is_ascii_alphabetic()) { self.take(|c| c.is_ascii_alphanumeric()) } else { "" }
    }

    fn term(&mut self) -> Result<Term, Fault> {
        let figure = self.figure()?;
        let at = self.skip_blanks();
        let comparison = match self.take(|c| "<>=!".contains(c)) {
            "<=" => Comparison::AtMost,
            "<" => Comparison::Below,
            ">=" => Comparison::AtLeast,
            ">" => Comparison::Above,
            "==" => Comparison::Equals,
            "=" => return Err((at, "`=` is not a comparison; write `==`".into())),
            "" => return Err((at, format!("expected <=, <, >=, > or == after {figure}"))),
            other => return Err((at, format!("`{other}` is not a comparison; <=, <, >=, > and == are"))),
        };
        let (figure, value) = self.value(figure)?;
        Ok(Term { figure, comparison, value })
    }

    fn figure(&mut self) -> Result<Figure, Fault> {
        let at = self.skip_blanks();
        let name = self.take(|c| c.is_ascii_alphanumeric() || c == '.');
        match name {
            "errors" => return Ok(Figure::Errors),
            "loss" => return Ok(Figure::Loss),
            "duplicates" => return Ok(Figure::Duplicates),
            "reordered" => return Ok(Figure::Reordered),
            "throughput" => return Ok(Figure::RecordsPerSecond),
            "delivered" => return Ok(Figure::Delivered),
            "" => return Err((at, "expected a figure, such as p99.9(e2e), errors or throughput".into())),
            _ => {}
        }
        let quantile = match name.strip_prefix('p').map(str::parse::<f64>) {
            Some(Ok(percent)) if percent > 0.0 && percent < 100.0 => Some((percent * 1e9).round() / 1e11),
            Some(Ok(_)) => return Err((at, format!("`{name}`: a percentile lies between 0 and 100; for the longest write max(...)"))),
            _ if name == "mean" || name == "max" => None,
            _ => {
                let known = "pQ(...), mean(...), max(...), errors, loss, duplicates, reordered, throughput, delivered";
                return Err((at, format!("`{name}` is no figure; there are {known}")));
            }
        };
        let latency = self.latency(name)?;
        Ok(match (quantile, name) {
            (Some(q), _) => Figure::Quantile(latency, q),
            (None, "max") => Figure::Max(latency),
            (None, _) => Figure::Mean(latency),
        })
    }

    fn latency(&mut self, of: &str) -> Result<Latency, Fault> {
        let open_at = self.skip_blanks();
        if self.take(|c| c == '(') != "(" {
            return Err((open_at, format!("expected `(` after {of}: {of}(produce), {of}(service) or {of}(e2e)")));
        }
        let at = self.skip_blanks();
        let latency = match self.word() {
            "produce" => Latency::Produce,
            "service" => Latency::Service,
            "e2e" => Latency::E2e,
            other => return Err((at, format!("`{other}` is no latency; there are produce, service and e2e"))),
        };
        let close_at = self.skip_blanks();
        if self.take(|c| c == ')') != ")" {
            return Err((close_at, "expected `)`".into()));
        }
        Ok(latency)
    }

    /// A number with the unit that the figure asks for. The unit of a throughput decides whether records or bytes are meant.
    fn value(&mut self, figure: Figure) -> Result<(Figure, f64), Fault> {
        let at = self.skip_blanks();
        let digits = self.take(|c| c.is_ascii_digit() || ".-+_".contains(c)).replace('_', "");
        let number: f64 = digits
            .parse()
            .map_err(|_| (at, format!("expected a number, got `{}`", if digits.is_empty() { self.word() } else { &digits })))?;
        if number < 0.0 {
            return Err((at, format!("{figure} is never negative")));
        }
        let unit_at = self.skip_blanks();
        // "and" after a count is the next term and no unit.
        let unit = if self.rest().starts_with("and") { "" } else { self.take(|c| c.is_ascii_alphabetic() || c == '/' || c == '%') };
        let scaled = |table: &[(&str, f64)], wanted: &str| match table.iter().find(|(name, _)| *name == unit) {
            Some((_, scale)) => Ok(number * scale),
            None if unit.is_empty() => Err((unit_at, format!("{figure} needs a unit: {wanted}"))),
            None => Err((unit_at, format!("`{unit}` is no unit of {figure}; there are {wanted}"))),
        };
        let time = [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)];
        let records = [("/s", 1.0), ("k/s", 1e3), ("M/s", 1e6)];
        let bytes = [("B/s", 1.0), ("kB/s", 1e3), ("MB/s", 1e6), ("GB/s", 1e9)];
        Ok(match figure {
            Figure::Quantile(..) | Figure::Mean(_) | Figure::Max(_) => (figure, scaled(&time, "ns, us, ms and s")?),
            Figure::Errors | Figure::Loss | Figure::Duplicates | Figure::Reordered => {
                (figure, scaled(&[("", 1.0), ("k", 1e3), ("M", 1e6)], "none, k and M")?)
            }
            Figure::Delivered => (figure, scaled(&[("%", 0.01)], "%")?),
            Figure::RecordsPerSecond | Figure::BytesPerSecond => match records.iter().find(|(name, _)| *name == unit) {
                Some((_, scale)) => (Figure::RecordsPerSecond, number * scale),
                None => (Figure::BytesPerSecond, scaled(&bytes, "/s, k/s, M/s (records), B/s, kB/s, MB/s and GB/s")?),
            },
        })
    }
}

/// Why no run could meet a single demand.
fn impossible(term: &Term) -> Option<String> {
    let Term { figure, comparison, value } = *term;
    let time = matches!(figure, Figure::Quantile(..) | Figure::Mean(_) | Figure::Max(_));
    match comparison {
        Comparison::Below if value == 0.0 => Some(format!("impossible: {figure} is never below 0")),
        Comparison::AtMost | Comparison::Below | Comparison::Equals if time && value < 1000.0 => {
            Some(format!("impossible: no answer comes within {}; a loopback round trip alone takes microseconds", super::show_time(value)))
        }
        Comparison::Equals if time => Some(format!("impossible: no two runs give the same {figure}; use <=")),
        Comparison::Above if figure == Figure::Delivered && value >= 1.0 => Some("impossible: no more than 100 % can be delivered".into()),
        Comparison::AtLeast | Comparison::Equals if figure == Figure::Delivered && value > 1.0 => {
            Some("impossible: no more than 100 % can be delivered".into())
        }
        _ => None,
    }
}

/// Why no run could meet two demands at once. Quantiles of one latency grow with the quantile, so a low one bounds a high one from below.
fn contradiction(earlier: &[Term], term: &Term) -> Option<String> {
    let fault = earlier.iter().find(|other| clash(other, term) || clash(term, other))?;
    Some(format!("impossible: `{term}` contradicts `{fault}`"))
}

/// True if `low` sets a floor that lies above the ceiling that `high` sets, for the same figure or a figure that is never smaller.
fn clash(low: &Term, high: &Term) -> bool {
    let floor = matches!(low.comparison, Comparison::AtLeast | Comparison::Above | Comparison::Equals);
    let ceiling = matches!(high.comparison, Comparison::AtMost | Comparison::Below | Comparison::Equals);
    let strict = low.comparison == Comparison::Above || high.comparison == Comparison::Below;
    let ordered = match (rank(low.figure), rank(high.figure)) {
        (Some((a, q)), Some((b, r))) => a == b && q <= r,
        _ => low.figure == high.figure,
    };
    floor && ceiling && ordered && (low.value > high.value || (strict && low.value == high.value))
}

fn rank(figure: Figure) -> Option<(Latency, f64)> {
    match figure {
        Figure::Quantile(latency, q) => Some((latency, q)),
        Figure::Max(latency) => Some((latency, 1.0)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(text: &str) -> Vec<(Figure, Comparison, f64)> {
        let parsed = objective(text).unwrap_or_else(|error| panic!("{error}"));
        parsed.terms.iter().map(|t| (t.figure, t.comparison, (t.value * 1e6).round() / 1e6)).collect()
    }

    #[test]
    fn objectives_are_read() {
        assert_eq!(
            terms("p99.9(e2e) <= 5ms and errors == 0"),
            [(Figure::Quantile(Latency::E2e, 0.999), Comparison::AtMost, 5e6), (Figure::Errors, Comparison::Equals, 0.0)]
        );
        assert_eq!(
            terms(" max( produce )<1.5s and mean(service) < 200 us and delivered >= 99.5% "),
            [
                (Figure::Max(Latency::Produce), Comparison::Below, 1.5e9),
                (Figure::Mean(Latency::Service), Comparison::Below, 2e5),
                (Figure::Delivered, Comparison::AtLeast, 0.995)
            ]
        );
        assert_eq!(
            terms("throughput >= 50 MB/s and throughput > 10_000/s and loss == 0 and duplicates <= 1k and reordered == 0"),
            [
                (Figure::BytesPerSecond, Comparison::AtLeast, 5e7),
                (Figure::RecordsPerSecond, Comparison::Above, 10_000.0),
                (Figure::Loss, Comparison::Equals, 0.0),
                (Figure::Duplicates, Comparison::AtMost, 1000.0),
                (Figure::Reordered, Comparison::Equals, 0.0)
            ]
        );
    }

    /// Text, column of the error counted from 1, and words that must be in it.
    const BAD: &[(&str, usize, &str)] = &[
        ("", 1, "expected a figure"),
        ("p99(e2e)", 9, "expected <=, <"),
        ("p99 <= 5ms", 5, "p99(e2e)"),
        ("p99(e2f) <= 5ms", 5, "`e2f` is no latency"),
        ("p99(e2e <= 5ms", 9, "expected `)`"),
        ("p100(e2e) <= 5ms", 1, "between 0 and 100"),
        ("p0(e2e) <= 5ms", 1, "between 0 and 100"),
        ("q99(e2e) <= 5ms", 1, "`q99` is no figure"),
        ("p99(e2e) = 5ms", 10, "write `==`"),
        ("p99(e2e) != 5ms", 10, "is not a comparison"),
        ("p99(e2e) <= 5", 14, "needs a unit"),
        ("p99(e2e) <= 5min", 14, "`min` is no unit"),
        ("p99(e2e) <= five", 13, "expected a number, got `five`"),
        ("p99(e2e) <= -5ms", 13, "never negative"),
        ("p99(e2e) <= 1.2.3ms", 13, "expected a number"),
        ("throughput >= 5", 16, "needs a unit"),
        ("throughput >= 5 MiB/s", 17, "`MiB/s` is no unit"),
        ("errors == 0 errors == 0", 13, "`errors` is no unit"),
        ("errors == 0 and", 16, "expected a figure"),
        ("errors == 0k or loss == 0", 14, "`or` is not part"),
        ("errors == 0k ; loss == 0", 14, "expected `and`"),
        ("p99(e2e) <= 5ms und loss == 0", 17, "expected `and`"),
        ("p99(e2e) <= 0ms", 1, "impossible: no answer"),
        ("p99(e2e) == 5ms", 1, "impossible: no two runs"),
        ("errors < 0", 1, "impossible: errors is never below 0"),
        ("delivered >= 101%", 1, "impossible: no more than 100 %"),
        ("errors == 0 and errors >= 1", 17, "contradicts `errors == 0`"),
        ("p50(e2e) >= 5ms and p99(e2e) <= 1ms", 21, "contradicts"),
        ("max(e2e) < 5ms and p50(e2e) >= 5ms", 20, "contradicts"),
    ];

    #[test]
    fn errors_point_at_their_place() {
        for (text, column, words) in BAD {
            let error = objective(text).expect_err(text);
            assert_eq!(error.at + 1, *column, "{error}");
            assert!(error.what.contains(words), "{error}");
        }
        let shown = objective("p99(e2e) <= 5").expect_err("no unit").to_string();
        assert_eq!(shown.lines().last(), Some("               ^"), "{shown}");
    }

    #[test]
    fn what_can_hold_at_once_is_no_contradiction() {
        for fine in ["p50(e2e) <= 5ms and p99(e2e) >= 1ms", "p99(e2e) <= 1ms and p99(produce) >= 2ms", "errors <= 1 and errors >= 1"] {
            assert!(objective(fine).is_ok(), "{fine}");
        }
    }

    #[test]
    fn no_text_makes_it_panic() {
        for text in
            ["µ", "p99(é) <= 1ms", "p99(e2e) <= 1µs and errors == 0", "((((", "pNaN(e2e) <= 1ms", "pinf(e2e) <= 1ms", "throughput >= 1e9/s"]
        {
            let shown = objective(text).map_err(|error| error.to_string());
            assert!(shown.is_ok() || shown.is_err_and(|text| text.contains("column")), "{text}");
        }
        assert!(objective(&"x".repeat(5000)).is_err());
    }
}
