//! Decides which segments of a log are too old or too many at `now`: whole segments, oldest first, only below the high watermark. Pure.
//!
//! As Kafka: first by size, then by the largest timestamp of each segment; the first segment that stays ends the search. When even the active segment
//! is over, it is rolled, so that the log goes on empty. Caller: `retention/mod.rs`.

use crate::config::LogConfig;

/// What retention looks at of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentAge {
    /// Its first offset.
    pub base_offset: i64,
    /// Offset behind its last batch.
    pub next_offset: i64,
    /// Bytes of batches.
    pub size: u32,
    /// Largest timestamp, ms; negative when its records have none; `None` when nobody looked yet.
    pub max_timestamp_ms: Option<i64>,
    /// When its last batch was appended, ms: what counts when the records have no timestamps.
    pub last_append_ms: i64,
}

/// What to do about a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum RetentionPlan {
    /// Nothing.
    Keep,
    /// Find out the largest timestamp of this segment, then ask again.
    NeedTimestamp {
        /// Its first offset.
        segment_base: i64,
    },
    /// Move the log start to here; what lies below goes.
    MoveLogStart {
        /// The new log start.
        to: i64,
        /// Roll the active segment first: all of it goes.
        roll: bool,
        /// Segments that go.
        segments: usize,
        /// Their bytes.
        bytes: u64,
    },
}

/// Decides. `segments` are the log's, oldest first, the last one active; `high_watermark` bounds what may go.
pub fn plan(config: &LogConfig, segments: &[SegmentAge], log_start: i64, high_watermark: i64, now_ms: i64) -> RetentionPlan {
    if !config.cleanup_policy.delete {
        return RetentionPlan::Keep;
    }
    // What lies below the log start goes anyway and does not count.
    let below = segments.iter().take(segments.len().saturating_sub(1)).take_while(|s| s.next_offset <= log_start).count();
    let segments = &segments[below..];
    let may_go = |index: usize, s: &SegmentAge| s.next_offset <= high_watermark && (index + 1 < segments.len() || s.size > 0);
    let mut gone = 0;
    if config.retention_bytes >= 0 {
        let total: i64 = segments.iter().map(|s| i64::from(s.size)).sum();
        let mut surplus = total - config.retention_bytes;
        for (index, segment) in segments.iter().enumerate() {
            if surplus < i64::from(segment.size) || surplus <= 0 || !may_go(index, segment) {
                break;
            }
            surplus -= i64::from(segment.size);
            gone = index + 1;
        }
    }
    if config.retention_ms >= 0 {
        for (index, segment) in segments.iter().enumerate().skip(gone) {
            if !may_go(index, segment) {
                break;
            }
            let Some(max) = segment.max_timestamp_ms else {
                return RetentionPlan::NeedTimestamp { segment_base: segment.base_offset };
            };
            let newest = if max >= 0 { max } else { segment.last_append_ms };
            // One that compaction has emptied keeps nobody waiting.
            if segment.size > 0 && now_ms.saturating_sub(newest) <= config.retention_ms {
                break;
            }
            gone = index + 1;
        }
    }
    let Some(last) = gone.checked_sub(1).map(|last| &segments[last]) else { return RetentionPlan::Keep };
    let to = segments.get(gone).map_or(last.next_offset, |next| next.base_offset);
    if to <= log_start && gone < segments.len() {
        return RetentionPlan::Keep;
    }
    let bytes = segments[..gone].iter().map(|s| u64::from(s.size)).sum();
    RetentionPlan::MoveLogStart { to, roll: gone == segments.len(), segments: gone, bytes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CleanupPolicy;

    const NOW: i64 = 1_000_000;

    /// Segments of ten offsets and 100 bytes each, with these largest timestamps; the last is active.
    fn segments(newest: &[Option<i64>]) -> Vec<SegmentAge> {
        let segment = |(i, max): (usize, &Option<i64>)| SegmentAge {
            base_offset: i as i64 * 10,
            next_offset: i as i64 * 10 + 10,
            size: 100,
            max_timestamp_ms: *max,
            last_append_ms: NOW - 50,
        };
        newest.iter().enumerate().map(segment).collect()
    }

    fn config(retention_ms: i64, retention_bytes: i64) -> LogConfig {
        LogConfig { retention_ms, retention_bytes, ..LogConfig::default() }
    }

    fn to(log_start: i64, roll: bool, segments: usize) -> RetentionPlan {
        RetentionPlan::MoveLogStart { to: log_start, roll, segments, bytes: segments as u64 * 100 }
    }

    #[test]
    fn by_time_whole_segments_go_from_the_oldest_on() {
        let old = Some(NOW - 2000);
        let (edge, over) = (Some(NOW - 1000), Some(NOW - 1001));
        let young = Some(NOW - 10);
        let future = Some(NOW + 500);
        let table: &[(&[Option<i64>], i64, RetentionPlan)] = &[
            (&[old, over, young], 1000, to(20, false, 2)),
            (&[old, edge, young], 1000, to(10, false, 1)),
            (&[young, old, old], 1000, RetentionPlan::Keep),
            (&[old, young, old], 1000, to(10, false, 1)),
            (&[old, old, old], 1000, to(30, true, 3)),
            (&[old, future, old], 1000, to(10, false, 1)),
            (&[old, old, young], -1, RetentionPlan::Keep),
            (&[old, None, young], 1000, RetentionPlan::NeedTimestamp { segment_base: 10 }),
            (&[young, None, young], 1000, RetentionPlan::Keep),
            (&[Some(-1), Some(-1)], 1000, RetentionPlan::Keep),
            (&[Some(-1), Some(-1)], 49, to(20, true, 2)),
            (&[old], 0, to(10, true, 1)),
        ];
        for (index, (newest, retention_ms, expected)) in table.iter().enumerate() {
            assert_eq!(plan(&config(*retention_ms, -1), &segments(newest), 0, 1000, NOW), *expected, "row {index}");
        }
    }

    #[test]
    fn by_size_the_oldest_go_while_what_stays_is_not_less_than_the_bound() {
        let s = segments(&[Some(NOW); 4]);
        for (retention_bytes, expected) in [
            (400, RetentionPlan::Keep),
            (301, RetentionPlan::Keep),
            (300, to(10, false, 1)),
            (299, to(10, false, 1)),
            (200, to(20, false, 2)),
            (0, to(40, true, 4)),
            (-1, RetentionPlan::Keep),
        ] {
            assert_eq!(plan(&config(-1, retention_bytes), &s, 0, 1000, NOW), expected, "{retention_bytes} bytes");
        }
    }

    #[test]
    fn time_goes_on_where_size_ended() {
        let s = segments(&[Some(NOW), Some(0), Some(NOW), Some(NOW)]);
        assert_eq!(plan(&config(1000, 300), &s, 0, 1000, NOW), to(20, false, 2));
        assert_eq!(plan(&config(1000, -1), &s, 0, 1000, NOW), RetentionPlan::Keep);
    }

    #[test]
    fn nothing_above_the_high_watermark_and_no_empty_active_segment_goes() {
        let mut s = segments(&[Some(0), Some(0), Some(0)]);
        assert_eq!(plan(&config(1000, -1), &s, 0, 19, NOW), to(10, false, 1));
        assert_eq!(plan(&config(1000, 0), &s, 0, 29, NOW), to(20, false, 2));
        s[2].size = 0;
        s[2].next_offset = 20;
        assert_eq!(plan(&config(1000, -1), &s, 0, 20, NOW), to(20, false, 2));
        assert_eq!(plan(&config(1000, -1), &s, 20, 20, NOW), RetentionPlan::Keep, "done before");
    }

    #[test]
    fn what_lies_below_the_log_start_does_not_count() {
        let s = segments(&[Some(NOW); 4]);
        assert_eq!(plan(&config(-1, 300), &s, 10, 1000, NOW), RetentionPlan::Keep);
        assert_eq!(plan(&config(-1, 200), &s, 15, 1000, NOW), to(20, false, 1));
    }

    #[test]
    fn without_delete_in_the_policy_nothing_goes() {
        let s = segments(&[Some(0), Some(0)]);
        for compact in [true, false] {
            let policy = CleanupPolicy { delete: false, compact };
            assert_eq!(plan(&LogConfig { cleanup_policy: policy, ..config(0, 0) }, &s, 0, 1000, NOW), RetentionPlan::Keep);
        }
        let both = CleanupPolicy { delete: true, compact: true };
        assert_eq!(plan(&LogConfig { cleanup_policy: both, ..config(0, 0) }, &s, 0, 1000, NOW), to(20, true, 2));
    }
}
