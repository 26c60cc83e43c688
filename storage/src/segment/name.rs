//! File names of a segment: base offset as 20 decimal digits, then what the file holds.
//!
//! Callers: loader (listing), flusher (creating), segment set (deleting).

/// Name of the file with the batches.
pub fn log_file(base_offset: i64) -> String {
    format!("{base_offset:020}.log")
}

/// Name of the sparse offset index.
pub fn offset_index_file(base_offset: i64) -> String {
    format!("{base_offset:020}.index")
}

/// Name of the sparse time index.
pub fn time_index_file(base_offset: i64) -> String {
    format!("{base_offset:020}.timeindex")
}

/// Name of the sidecar of checksums.
pub fn sums_file(base_offset: i64) -> String {
    format!("{base_offset:020}.sums")
}

/// Name of the producer snapshot that covers everything below `offset`.
pub fn producer_snapshot_file(offset: i64) -> String {
    format!("{offset:020}.producers")
}

/// Name that a log file beyond the recovered end is moved to; never read again, kept for a person to look at.
pub fn cut_file(base_offset: i64, generation: u64) -> String {
    format!("{base_offset:020}.log.cut.{generation}")
}

/// Name of a compacted segment before the exchange that puts it in its place.
pub fn compacted_file(base_offset: i64, generation: u64) -> String {
    format!("{base_offset:020}.log.compacted.{generation}")
}

/// Name of its checksums before that exchange.
pub fn compacted_sums_file(base_offset: i64, generation: u64) -> String {
    format!("{base_offset:020}.sums.compacted.{generation}")
}

/// The offset that a file's name begins with.
pub fn base_of(name: &str) -> Option<i64> {
    let (digits, _) = name.split_once('.')?;
    let whole = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    if whole { digits.parse().ok() } else { None }
}

/// What a file of a partition's directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Batches of the segment with this base offset.
    Log(i64),
    /// Offset index.
    OffsetIndex(i64),
    /// Time index.
    TimeIndex(i64),
    /// Checksums.
    Sums(i64),
    /// Producer snapshot as of this offset.
    ProducerSnapshot(i64),
    /// Compacted batches of the segment with this base offset, of an exchange with this generation that is not finished.
    Compacted(i64, u64),
    /// Its checksums.
    CompactedSums(i64, u64),
    /// Anything else.
    Other,
}

/// Reads a file name.
pub fn parse(name: &str) -> FileKind {
    let Some(base) = base_of(name) else { return FileKind::Other };
    let extension = &name[21..];
    match extension {
        "log" => FileKind::Log(base),
        "index" => FileKind::OffsetIndex(base),
        "timeindex" => FileKind::TimeIndex(base),
        "sums" => FileKind::Sums(base),
        "producers" => FileKind::ProducerSnapshot(base),
        other => match other.split_once(".compacted.").map(|(of, generation)| (of, generation.parse())) {
            Some(("log", Ok(generation))) => FileKind::Compacted(base, generation),
            Some(("sums", Ok(generation))) => FileKind::CompactedSums(base, generation),
            _ => FileKind::Other,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_sort_by_offset() {
        for base in [0, 7, 123_456_789, i64::MAX] {
            assert_eq!(parse(&log_file(base)), FileKind::Log(base));
            assert_eq!(parse(&offset_index_file(base)), FileKind::OffsetIndex(base));
            assert_eq!(parse(&time_index_file(base)), FileKind::TimeIndex(base));
            assert_eq!(parse(&producer_snapshot_file(base)), FileKind::ProducerSnapshot(base));
            assert_eq!(parse(&compacted_file(base, 12)), FileKind::Compacted(base, 12));
            assert_eq!(parse(&compacted_sums_file(base, 12)), FileKind::CompactedSums(base, 12));
            assert_eq!(base_of(&compacted_file(base, 12)), Some(base));
        }
        assert!(log_file(9) < log_file(10));
    }

    #[test]
    fn other_names_are_other() {
        for name in [
            "",
            "x",
            "1.log",
            "0000000000000000000x.log",
            "99999999999999999999.log",
            "00000000000000000000.log.cut.1",
            "00000000000000000000.log.compacted.x",
            "00000000000000000000",
        ] {
            assert_eq!(parse(name), FileKind::Other, "{name}");
        }
    }
}
