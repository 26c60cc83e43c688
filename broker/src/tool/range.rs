//! Where reading begins and ends, as people write it: `earliest`, `end`, `42`, `-10`, `+5`, `@2026-11-22T10:00:00Z`, `START:END`.

use std::collections::BTreeMap;

use super::moment::parse_time;
use crate::client::offsets::{EARLIEST, LATEST, OffsetAt};
use crate::client::{ClientError, Cluster, Partition};

/// A place in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// The first record.
    Earliest,
    /// Behind the last record.
    Latest,
    /// This offset.
    Offset(i64),
    /// This many records behind the first.
    FromStart(i64),
    /// This many records before the end.
    FromEnd(i64),
    /// The first record at or after this time, milliseconds since 1970.
    Time(i64),
}

/// From where and, maybe, up to where (not included).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) from: Point,
    pub(crate) to: Option<Point>,
}

/// Reads one place.
pub(crate) fn parse_point(text: &str, now_ms: i64) -> Result<Point, String> {
    let number = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<i64>().ok()).flatten();
    Ok(match text {
        "earliest" | "start" | "beginning" | "oldest" => Point::Earliest,
        "latest" | "end" | "newest" => Point::Latest,
        _ => {
            let point = match text.split_at_checked(1) {
                Some(("@", time)) => Some(Point::Time(parse_time(time, now_ms)?)),
                Some(("-", digits)) => number(digits).map(Point::FromEnd),
                Some(("+", digits)) => number(digits).map(Point::FromStart),
                _ => number(text).map(Point::Offset),
            };
            point.ok_or_else(|| format!("'{text}' is not an offset; write earliest, end, 42, -10 (before the end), +10, or @TIME"))?
        }
    })
}

/// Reads a place, or `START:END` where either may be left out. Times hold colons themselves: the split that makes sense is taken.
pub(crate) fn parse_range(text: &str, now_ms: i64) -> Result<Range, String> {
    let whole = match parse_point(text, now_ms) {
        Ok(from) => return Ok(Range { from, to: None }),
        Err(why) => why,
    };
    for (at, _) in text.match_indices(':') {
        let (from, to) = (&text[..at], &text[at + 1..]);
        let from_point = if from.is_empty() { Ok(Point::Earliest) } else { parse_point(from, now_ms) };
        // `@T1:T2` as rpk has it.
        let to_point = match parse_point(to, now_ms) {
            Err(_) if from.starts_with('@') => parse_time(to, now_ms).map(Point::Time),
            // A time behind a time, although it looks like an offset.
            Ok(Point::Offset(_)) if from.starts_with('@') => parse_time(to, now_ms).map(Point::Time),
            point => point,
        };
        match (from_point, to.is_empty(), to_point) {
            (Ok(from), true, _) => return Ok(Range { from, to: None }),
            (Ok(from), false, Ok(to)) => return Ok(Range { from, to: Some(to) }),
            _ => {}
        }
    }
    Err(whole)
}

/// First offset, end, and the offset of a time (if one was asked for) of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

/// A place as an offset. `at_time` is what ListOffsets says of the time, if it is one.
pub(crate) fn offset_of(point: Point, bounds: Bounds, at_time: Option<OffsetAt>) -> i64 {
    let offset = match point {
        Point::Earliest => bounds.start,
        Point::Latest => bounds.end,
        Point::Offset(offset) => return offset,
        Point::FromStart(n) => bounds.start.saturating_add(n),
        Point::FromEnd(n) => bounds.end.saturating_sub(n),
        // No record is as young: the end.
        Point::Time(_) => at_time.map(|at| at.offset).filter(|offset| *offset >= 0).unwrap_or(bounds.end),
    };
    offset.clamp(bounds.start.min(bounds.end), bounds.end)
}

/// First offset and end of partitions.
pub(crate) fn bounds(cluster: &mut Cluster, partitions: &[Partition], committed: bool) -> Result<BTreeMap<Partition, Bounds>, ClientError> {
    let start = cluster.offsets_at(partitions, EARLIEST, committed)?;
    let end = cluster.offsets_at(partitions, LATEST, committed)?;
    let of = |all: &BTreeMap<Partition, OffsetAt>, p: &Partition| all.get(p).map_or(0, |at| at.offset);
    Ok(partitions.iter().map(|p| (p.clone(), Bounds { start: of(&start, p), end: of(&end, p) })).collect())
}

/// Asks the cluster for what is needed to turn a place into offsets.
pub(crate) fn resolve(
    cluster: &mut Cluster,
    point: Point,
    bounds: &BTreeMap<Partition, Bounds>,
    committed: bool,
) -> Result<BTreeMap<Partition, i64>, ClientError> {
    let partitions: Vec<Partition> = bounds.keys().cloned().collect();
    let times = match point {
        Point::Time(time) => cluster.offsets_at(&partitions, time, committed)?,
        _ => BTreeMap::new(),
    };
    Ok(bounds.iter().map(|(p, b)| (p.clone(), offset_of(point, *b, times.get(p).copied()))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_763_805_600_000;

    #[test]
    fn ranges_are_read_in_every_form() {
        use Point::*;
        let range = |from, to| Ok(Range { from, to });
        for (text, wanted) in [
            ("earliest", range(Earliest, None)),
            ("end", range(Latest, None)),
            ("42", range(Offset(42), None)),
            ("-10", range(FromEnd(10), None)),
            ("+3", range(FromStart(3), None)),
            ("@-1h", range(Time(NOW - 3_600_000), None)),
            ("@2025-11-22T10:00:00Z", range(Time(NOW), None)),
            ("3:7", range(Offset(3), Some(Offset(7)))),
            (":7", range(Earliest, Some(Offset(7)))),
            ("3:", range(Offset(3), None)),
            (":end", range(Earliest, Some(Latest))),
            ("-5:end", range(FromEnd(5), Some(Latest))),
            ("@2025-11-22T10:00:00Z:@2025-11-22T10:00:01Z", range(Time(NOW), Some(Time(NOW + 1000)))),
            ("@2025-11-22T10:00:00Z:end", range(Time(NOW), Some(Latest))),
            ("@1763805600000:1763805601000", range(Time(NOW), Some(Time(NOW + 1000)))),
        ] {
            assert_eq!(parse_range(text, NOW), wanted, "{text}");
        }
        for text in ["", "x", "1:x", "--3", "@", "1.5", "@x:y"] {
            assert!(parse_range(text, NOW).is_err_and(|e| !e.is_empty()), "{text}");
        }
    }

    #[test]
    fn places_become_offsets_inside_the_log() {
        let bounds = Bounds { start: 10, end: 20 };
        let at = |offset| Some(OffsetAt { offset, timestamp: 0 });
        assert_eq!(offset_of(Point::Earliest, bounds, None), 10);
        assert_eq!(offset_of(Point::Latest, bounds, None), 20);
        assert_eq!(offset_of(Point::FromEnd(3), bounds, None), 17);
        assert_eq!(offset_of(Point::FromEnd(300), bounds, None), 10);
        assert_eq!(offset_of(Point::FromStart(300), bounds, None), 20);
        assert_eq!(offset_of(Point::Time(5), bounds, at(15)), 15);
        assert_eq!(offset_of(Point::Time(5), bounds, at(-1)), 20);
        assert_eq!(offset_of(Point::Offset(5), bounds, None), 5, "what was asked for is asked for: the broker refuses it");
    }
}
