//! Results over time as a table: a line per figure with where it moved, or a line per result of one figure.

use std::fmt::Write;

use super::number;
use crate::history::{By, Change, Figure, History, Line, RESULTS_MIN, Series};
use crate::stats::Better;

/// All series; of the figures whose names hold `only` every result. Without it what A and B of a comparison had is shown where it moved: the ratio
/// is what two days have in common. Writing to a `String` cannot fail.
pub fn text(history: &History, only: Option<&str>) -> String {
    let mut out = String::new();
    for series in &history.series {
        let lines: Vec<&Line> = series.figures.iter().filter(|line| only.is_none_or(|only| line.figure.contains(only))).collect();
        if lines.is_empty() {
            continue;
        }
        head(&mut out, series);
        if only.is_none() && series.results.len() < 2 {
            continue;
        }
        if only.is_none() {
            let _ = writeln!(out, "{:<44}{:>12}{:>12}   moved", "figure", "first", "last");
        }
        for line in lines {
            let of_one_side = line.figure.ends_with(", A") || line.figure.ends_with(", B");
            match only {
                None if of_one_side && line.changes.is_empty() => {}
                None => summary(&mut out, series, line),
                Some(_) => every(&mut out, series, line),
            }
        }
    }
    if out.is_empty() {
        let _ = writeln!(out, "no figure is called so");
    }
    for (file, why) in &history.skipped {
        let _ = writeln!(out, "skipped     {file}: {why}");
    }
    out
}

fn head(out: &mut String, series: &Series) {
    let results = &series.results;
    let invalid = results.iter().filter(|result| !result.valid).count();
    let left_out = if invalid > 0 { format!(" ({invalid} of them not to be quoted; they tell no change)") } else { String::new() };
    let mut days: Vec<String> = [results.first(), results.last()].into_iter().flatten().map(|r| day(r.started_unix_ms)).collect();
    days.dedup();
    let _ = writeln!(out, "\n{}", series.of);
    let plural = if results.len() == 1 { "" } else { "s" };
    let _ = writeln!(out, "{} result{plural}{left_out}, {}", results.len(), days.join(" to "));
    let carry = series.figures.iter().flat_map(|line| line.values.iter().flatten()).any(|value| value.interval.is_some());
    let usable = results.len() - invalid;
    let needed = if carry { 2 } else { RESULTS_MIN };
    if usable < needed {
        let _ = writeln!(out, "too few to tell a change: {needed} that may be quoted are the least");
    }
}

fn summary(out: &mut String, series: &Series, line: &Line) {
    let known: Vec<&Figure> = line.values.iter().flatten().collect();
    let shown = |figure: Option<&&Figure>| figure.map_or("-".into(), |figure| number(figure.value));
    let moved: Vec<String> = line.changes.iter().map(|change| told(series, line, change)).collect();
    let moved = if moved.is_empty() { "-".to_string() } else { moved.join("; ") };
    let _ = writeln!(out, "{:<44}{:>12}{:>12}   {moved}", line.figure, shown(known.first()), shown(known.last()));
}

fn every(out: &mut String, series: &Series, line: &Line) {
    let _ = writeln!(out, "{}", line.figure);
    for (i, (result, value)) in series.results.iter().zip(&line.values).enumerate() {
        let Some(value) = value else { continue };
        let interval = value.interval.map_or(String::new(), |(low, high)| format!(" [{}, {}]", number(low), number(high)));
        let invalid = if result.valid { "" } else { "  not to be quoted" };
        let moved = line.changes.iter().find(|change| change.at == i);
        let moved = moved.map_or(String::new(), |change| format!("  MOVED {}", told(series, line, change)));
        let _ = writeln!(
            out,
            "  {}  {:>12}{interval:<22}  {}  {}{invalid}{moved}",
            minute(result.started_unix_ms),
            number(value.value),
            result.sha256.join(" "),
            result.file
        );
    }
}

fn told(series: &Series, line: &Line, change: &Change) -> String {
    let way = match ((change.to > change.from), line.better) {
        (true, Better::Higher) | (false, Better::Lower) => "better",
        _ => "worse",
    };
    let by = match change.by {
        By::Intervals => "intervals apart".to_string(),
        By::Ranks(p) => format!("p {}", number(p)),
    };
    let when = series.results.get(change.at).map_or(String::new(), |result| day(result.started_unix_ms));
    format!("{when} {} -> {} ({way}, {:.3} x, {by})", number(change.from), number(change.to), change.to / change.from)
}

/// A day of UTC, from milliseconds since 1970.
fn day(unix_ms: i64) -> String {
    // Howard Hinnant's civil_from_days: years begin in March, eras of 400 years have 146,097 days.
    let days = unix_ms.div_euclid(86_400_000) + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    format!("{:04}-{month:02}-{day:02}", year_of_era + era * 400 + i64::from(month <= 2))
}

fn minute(unix_ms: i64) -> String {
    let minutes = unix_ms.div_euclid(60_000).rem_euclid(1_440);
    format!("{} {:02}:{:02}", day(unix_ms), minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Found;

    #[test]
    fn days_are_those_of_the_calendar() {
        let seconds = [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_795_305_599, "2026-11-21"),
            (4_107_542_400, "2100-03-01"),
            (-1, "1969-12-31"),
        ];
        for (s, shown) in seconds {
            assert_eq!(day(s * 1_000), shown);
        }
        assert_eq!(minute(1_795_305_599_000), "2026-11-21 23:59");
    }

    #[test]
    fn a_move_is_shown_with_when_whither_and_why() {
        let result =
            |i: i64, valid| Found { file: format!("{i}.json"), started_unix_ms: i * 86_400_000, valid, sha256: vec!["ab12".into()] };
        let value = |value: f64| Some(Figure { value, interval: Some((value * 0.9, value * 1.1)) });
        let line = Line {
            figure: "produce p99 us, B/A".into(),
            better: Better::Lower,
            values: vec![value(2.0), value(9.0), value(1.0)],
            changes: vec![Change { at: 2, from: 2.0, to: 1.0, by: By::Intervals }],
        };
        let results = vec![result(1, true), result(2, false), result(3, true)];
        let series = vec![Series { of: "compare latency: A kafka, B coreline".into(), results, figures: vec![line] }];
        let history = History { schema: 1, series, skipped: vec![("x.json".into(), "no JSON".into())] };
        let all = text(&history, None);
        assert!(
            all.contains("1970-01-04 2 -> 1 (better, 0.500 x, intervals apart)") && all.contains("1 of them not to be quoted"),
            "{all}"
        );
        assert!(all.contains("skipped     x.json: no JSON"), "{all}");
        let one = text(&history, Some("p99"));
        assert!(one.contains("9 [8.1, 9.9]") && one.contains("ab12") && one.contains("not to be quoted") && one.contains("MOVED"), "{one}");
        assert!(text(&history, Some("p50")).contains("no figure is called so"));
        let mut alone = history.clone();
        alone.series[0].results.truncate(1);
        let said = text(&alone, None);
        assert!(said.contains("1 result, 1970-01-02\n") && said.contains("too few") && !said.contains("B/A"), "{said}");
    }
}
