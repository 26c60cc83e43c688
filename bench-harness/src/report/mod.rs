//! What people and other tools read: tables for the terminal, one HTML file, OpenMessaging Benchmark's JSON, HdrHistogram's log, OpenMetrics,
//! results over time.

pub mod hdr;
pub mod history;
pub mod html;
pub mod html_compare;
pub mod omb;
pub mod openmetrics;
mod page;
mod plot;
pub mod terminal;

use crate::result::Metric;

/// A metric's name for people.
pub(crate) fn metric_name(metric: Metric) -> &'static str {
    match metric {
        Metric::ProduceResponse => "produce, response",
        Metric::ProduceService => "produce, service",
        Metric::E2eResponse => "end to end, response",
        Metric::E2eService => "end to end, service",
        Metric::Lateness => "generator's lateness",
        Metric::LatenessOwn => "  of it its own",
    }
}

/// A number with as many digits as people read: four, or all of its integer part.
pub(crate) fn number(value: f64) -> String {
    let magnitude = value.abs();
    match magnitude {
        _ if magnitude == 0.0 => "0".into(),
        _ if magnitude >= 1000.0 => grouped(value),
        _ if magnitude >= 100.0 => decimals(value, 1),
        _ if magnitude >= 10.0 => decimals(value, 2),
        _ if magnitude >= 0.001 => decimals(value, 3),
        _ => format!("{value:.1e}"),
    }
}

/// At most so many decimals, without zeros at the end.
fn decimals(value: f64, most: usize) -> String {
    format!("{value:.most$}").trim_end_matches('0').trim_end_matches('.').to_string()
}

/// An integer with a comma every three digits.
fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if value < 0.0 { format!("-{out}") } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_as_people_read_them() {
        let shown: Vec<String> = [0.0, 1_234_567.4, 999.94, 12.345, 50.0, 0.1234, 0.000_012, -4_321.0].into_iter().map(number).collect();
        assert_eq!(shown, ["0", "1,234,567", "999.9", "12.35", "50", "0.123", "1.2e-5", "-4,321"]);
    }
}
