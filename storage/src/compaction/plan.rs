//! Decides what of a log can be compacted at `now`, whether it is worth it, and which segments become one. Pure.
//!
//! ```text
//! log start ... | clean | dirty: may be compacted | not yet: too young, open, unflushed or active
//!                       ^ cleaned_to              ^ end
//! ```
//! Rules as Kafka's: whole segments below the last stable offset whose newest record is older than `min.compaction.lag.ms`; due when the dirty share is above
//! `min.cleanable.dirty.ratio`, or when a dirty record is older than `max.compaction.lag.ms`. Caller: `compaction/mod.rs`.

use std::ops::Range;

use crate::config::LogConfig;

/// What compaction looks at of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentFacts {
    /// Its first offset.
    pub base_offset: i64,
    /// Offset behind its last batch.
    pub next_offset: i64,
    /// Bytes of batches.
    pub size: u32,
    /// Largest timestamp, ms; `None` when nobody looked yet.
    pub max_timestamp_ms: Option<i64>,
    /// Timestamp of its first batch, ms; `None` when nobody looked yet.
    pub first_timestamp_ms: Option<i64>,
    /// Sealed, cut to size, and below the recovery point's segment.
    pub settled: bool,
}

/// What is known before a log is judged.
#[derive(Clone, Copy, Debug)]
pub struct LogFacts<'a> {
    /// Its configuration.
    pub config: &'a LogConfig,
    /// Its segments, oldest first, the last one active.
    pub segments: &'a [SegmentFacts],
    /// First offset a client may read.
    pub log_start: i64,
    /// Offset below which an earlier compaction has seen every record.
    pub cleaned_to: i64,
    /// Below it nothing can be taken back.
    pub last_stable: i64,
    /// Wall clock, ms.
    pub now_ms: i64,
}

/// The judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Judgement {
    /// Nothing to do.
    Clean,
    /// Find out the timestamps of this segment, then ask again.
    NeedTimestamps {
        /// Its first offset.
        segment_base: i64,
    },
    /// It may be compacted.
    Dirty(Dirty),
}

/// What may be compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dirty {
    /// First offset that no compaction has seen.
    pub from: i64,
    /// Base offset of the first segment that must stay as it is.
    pub end: i64,
    /// Share of the bytes that are dirty, millionths.
    pub dirty_ppm: u32,
    /// It is time: the share is above the configured one, or a record is too old to wait.
    pub due: bool,
}

/// Decides.
pub fn judge(log: &LogFacts<'_>) -> Judgement {
    if !log.config.cleanup_policy.compact {
        return Judgement::Clean;
    }
    let log_end = log.segments.last().map_or(0, |s| s.next_offset);
    let from = if (log.log_start..=log_end).contains(&log.cleaned_to) { log.cleaned_to } else { log.log_start };
    let youngest_ms = log.now_ms.saturating_sub(log.config.min_compaction_lag_ms);
    let mut end = from;
    let mut overdue = false;
    let (mut clean_bytes, mut dirty_bytes) = (0u64, 0u64);
    for segment in log.segments {
        if segment.base_offset < from {
            clean_bytes += u64::from(segment.size);
        }
        if segment.next_offset <= from {
            continue;
        }
        if !segment.settled || segment.next_offset > log.last_stable {
            break;
        }
        if log.config.min_compaction_lag_ms > 0 {
            let Some(newest) = segment.max_timestamp_ms else {
                return Judgement::NeedTimestamps { segment_base: segment.base_offset };
            };
            if newest > youngest_ms {
                break;
            }
        }
        if log.config.max_compaction_lag_ms < i64::MAX && segment.size > 0 {
            let Some(first) = segment.first_timestamp_ms else {
                return Judgement::NeedTimestamps { segment_base: segment.base_offset };
            };
            overdue |= first > 0 && first < log.now_ms.saturating_sub(log.config.max_compaction_lag_ms);
        }
        dirty_bytes += u64::from(segment.size);
        end = segment.next_offset;
    }
    if dirty_bytes == 0 {
        return Judgement::Clean;
    }
    let dirty_ppm = (u128::from(dirty_bytes) * 1_000_000 / u128::from(clean_bytes + dirty_bytes)) as u32;
    Judgement::Dirty(Dirty { from, end, dirty_ppm, due: overdue || dirty_ppm > log.config.min_cleanable_dirty_ppm })
}

/// Which segments become one: as many in a row as fit into `segment.bytes`, into the index's bound and into 31 bits of relative offsets.
pub fn groups(config: &LogConfig, segments: &[SegmentFacts]) -> Vec<Range<usize>> {
    let index_bytes = |s: &SegmentFacts| (u64::from(s.size) / u64::from(config.index_interval_bytes.max(64)) + 1) * 8;
    let mut groups: Vec<Range<usize>> = Vec::new();
    let (mut size, mut index) = (0u64, 0u64);
    for (at, segment) in segments.iter().enumerate() {
        let fits = groups.last().is_some_and(|group| {
            size + u64::from(segment.size) <= u64::from(config.segment_bytes)
                && index + index_bytes(segment) <= u64::from(config.segment_index_bytes)
                && segment.next_offset - 1 - segments[group.start].base_offset <= i64::from(i32::MAX)
        });
        match groups.last_mut() {
            Some(group) if fits => group.end = at + 1,
            _ => {
                groups.push(at..at + 1);
                (size, index) = (0, 0);
            }
        }
        size += u64::from(segment.size);
        index += index_bytes(segment);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CleanupPolicy;

    const NOW: i64 = 1_000_000;

    /// Segments of ten offsets and 100 bytes, a thousand ms apart, the newest of them `NOW`; the last is active.
    fn segments(count: i64) -> Vec<SegmentFacts> {
        let segment = |i| SegmentFacts {
            base_offset: i * 10,
            next_offset: i * 10 + 10,
            size: 100,
            max_timestamp_ms: Some(NOW - (count - 1 - i) * 1000),
            first_timestamp_ms: Some(NOW - (count - 1 - i) * 1000 - 900),
            settled: i + 1 < count,
        };
        (0..count).map(segment).collect()
    }

    fn config() -> LogConfig {
        LogConfig { cleanup_policy: CleanupPolicy { delete: false, compact: true }, ..LogConfig::default() }
    }

    fn facts<'a>(config: &'a LogConfig, segments: &'a [SegmentFacts], cleaned_to: i64) -> LogFacts<'a> {
        LogFacts { config, segments, log_start: 0, cleaned_to, last_stable: 1000, now_ms: NOW }
    }

    fn dirty(from: i64, end: i64, percent: u32, due: bool) -> Judgement {
        Judgement::Dirty(Dirty { from, end, dirty_ppm: percent * 10_000, due })
    }

    #[test]
    fn settled_segments_are_dirty_and_the_share_decides() {
        let (c, s) = (config(), segments(5));
        assert_eq!(judge(&facts(&c, &s, 0)), dirty(0, 40, 100, true));
        assert_eq!(judge(&facts(&c, &s, 10)), dirty(10, 40, 75, true));
        assert_eq!(judge(&facts(&c, &s, 20)), dirty(20, 40, 50, false), "the share must be above the configured one");
        assert_eq!(judge(&facts(&c, &s, 30)), dirty(30, 40, 25, false));
        assert_eq!(judge(&facts(&c, &s, 40)), Judgement::Clean);
        assert_eq!(judge(&facts(&c, &s, 99)), dirty(0, 40, 100, true), "a mark beyond the log starts over");
        let eager = LogConfig { min_cleanable_dirty_ppm: 0, ..config() };
        assert_eq!(judge(&facts(&eager, &s, 30)), dirty(30, 40, 25, true));
        let delete = LogConfig::default();
        assert_eq!(judge(&facts(&delete, &s, 0)), Judgement::Clean);
    }

    #[test]
    fn a_pass_that_ended_within_a_segment_goes_on_there() {
        let (c, s) = (config(), segments(5));
        // Segment 10 counts as clean and as dirty, as in Kafka.
        let Judgement::Dirty(d) = judge(&facts(&c, &s, 15)) else { panic!("dirty") };
        assert_eq!((d.from, d.end, d.dirty_ppm, d.due), (15, 40, 600_000, true));
    }

    #[test]
    fn what_is_open_or_unsettled_or_young_stays() {
        let (c, mut s) = (config(), segments(5));
        assert_eq!(judge(&LogFacts { last_stable: 29, ..facts(&c, &s, 0) }), dirty(0, 20, 100, true));
        assert_eq!(judge(&LogFacts { last_stable: 9, ..facts(&c, &s, 0) }), Judgement::Clean);
        // The newest of the segments is 0, 1000, 2000 ... ms old.
        for (lag, end) in [(1000, 40), (1001, 30), (2000, 30), (2001, 20), (4000, 10)] {
            let young = LogConfig { min_compaction_lag_ms: lag, ..config() };
            assert_eq!(judge(&facts(&young, &s, 0)), dirty(0, end, 100, true), "{lag} ms");
        }
        let young = LogConfig { min_compaction_lag_ms: 5000, ..config() };
        assert_eq!(judge(&facts(&young, &s, 0)), Judgement::Clean);
        s[1].max_timestamp_ms = None;
        assert_eq!(judge(&facts(&young, &s, 10)), Judgement::NeedTimestamps { segment_base: 10 });
        s[2].settled = false;
        assert_eq!(judge(&facts(&c, &s, 0)), dirty(0, 20, 100, true));
    }

    #[test]
    fn a_record_that_waited_too_long_makes_it_due() {
        let s = segments(5);
        for (lag, due) in [(1_900, true), (1_899, true), (1_901, false)] {
            let c = LogConfig { max_compaction_lag_ms: lag - 1, ..config() };
            assert_eq!(judge(&facts(&c, &s, 30)), dirty(30, 40, 25, due), "{lag} ms");
        }
    }

    #[test]
    fn neighbours_are_joined_while_they_fit() {
        let s = segments(7);
        let c = LogConfig { segment_bytes: 250, ..config() };
        assert_eq!(groups(&c, &s), [0..2, 2..4, 4..6, 6..7]);
        assert_eq!(groups(&LogConfig { segment_bytes: 50, ..config() }, &s).len(), 7, "a segment larger than the bound is a group");
        assert_eq!(groups(&config(), &s), vec![0..7]);
        let mut far = segments(3);
        far[2].next_offset = i64::from(i32::MAX) + 11;
        assert_eq!(groups(&config(), &far), [0..2, 2..3]);
        let small_index = LogConfig { segment_index_bytes: 1024, index_interval_bytes: 64, ..config() };
        assert!(groups(&small_index, &[SegmentFacts { size: 8000, ..s[0] }, SegmentFacts { size: 8000, ..s[1] }]).len() == 2);
    }
}
