//! Sparse time index of one segment: up to which position all timestamps are below a value.
//!
//! An entry says "every batch before this position has timestamps of at most this value", so a search for a time may start at the newest entry whose
//! value is below it. 16 bytes an entry. A cache: rebuilt from the segment when missing or bad. Callers: appender, `log/timestamp.rs`, flusher.

/// Largest timestamp before a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeEntry {
    /// Largest timestamp of all batches before `position`, ms.
    pub max_timestamp_ms: i64,
    /// Base offset of the batch at `position` less the segment's base offset.
    pub relative_offset: u32,
    /// Start of a batch in the segment file.
    pub position: u32,
}

/// Entries in the order of timestamps and positions, both strictly increasing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeIndex {
    entries: Vec<TimeEntry>,
}

impl TimeIndex {
    /// Bytes of an entry in the file.
    pub const ENTRY_BYTES: usize = 16;

    /// The entries.
    pub fn entries(&self) -> &[TimeEntry] {
        &self.entries
    }

    /// Adds an entry, unless its timestamp is not above the last one's (then the last one serves as well).
    pub fn push(&mut self, entry: TimeEntry) {
        if self.entries.last().is_none_or(|last| last.max_timestamp_ms < entry.max_timestamp_ms && last.position < entry.position) {
            self.entries.push(entry);
        }
    }

    /// Position from which a search for the first timestamp of at least `timestamp_ms` may start.
    pub fn search_start(&self, timestamp_ms: i64) -> u32 {
        let after = self.entries.partition_point(|e| e.max_timestamp_ms < timestamp_ms);
        after.checked_sub(1).map_or(0, |at| self.entries[at].position)
    }

    /// Puts the entries of the part before this one in front. `head_max_timestamp_ms` is the largest timestamp of that part: entries of this
    /// part did not know it.
    pub fn prepend(&mut self, mut head: TimeIndex, head_max_timestamp_ms: i64) {
        for entry in std::mem::take(&mut self.entries) {
            head.push(TimeEntry { max_timestamp_ms: entry.max_timestamp_ms.max(head_max_timestamp_ms), ..entry });
        }
        self.entries = head.entries;
    }

    /// Appends the entries' bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for entry in &self.entries {
            out.extend_from_slice(&entry.max_timestamp_ms.to_le_bytes());
            out.extend_from_slice(&entry.relative_offset.to_le_bytes());
            out.extend_from_slice(&entry.position.to_le_bytes());
        }
    }

    /// Reads entries' bytes; an error text when they do not increase or lie outside `covered` bytes of the segment.
    pub fn decode(bytes: &[u8], covered: u32) -> Result<TimeIndex, &'static str> {
        let (chunks, []) = bytes.as_chunks::<16>() else { return Err("not whole entries") };
        let mut entries: Vec<TimeEntry> = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let wide = u128::from_le_bytes(*chunk);
            let entry = TimeEntry { max_timestamp_ms: wide as i64, relative_offset: (wide >> 64) as u32, position: (wide >> 96) as u32 };
            let above = entries.last().is_none_or(|last| last.max_timestamp_ms < entry.max_timestamp_ms && last.position < entry.position);
            if !above || entry.position >= covered {
                return Err("entries do not increase within the segment");
            }
            entries.push(entry);
        }
        Ok(TimeIndex { entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(entries: &[(i64, u32)]) -> TimeIndex {
        let mut index = TimeIndex::default();
        for &(max_timestamp_ms, position) in entries {
            index.push(TimeEntry { max_timestamp_ms, relative_offset: position / 10, position });
        }
        index
    }

    #[test]
    fn search_starts_behind_all_that_is_older() {
        let i = index(&[(100, 50), (100, 70), (90, 80), (200, 90)]);
        assert_eq!(i.entries().len(), 2);
        for (timestamp, start) in [(1, 0), (100, 0), (101, 50), (200, 50), (201, 90), (i64::MAX, 90)] {
            assert_eq!(i.search_start(timestamp), start, "{timestamp}");
        }
    }

    #[test]
    fn round_trips_and_refuses_disorder() {
        let i = index(&[(-5, 50), (200, 90)]);
        let mut bytes = Vec::new();
        i.encode(&mut bytes);
        assert_eq!(TimeIndex::decode(&bytes, 91), Ok(i));
        assert!(TimeIndex::decode(&bytes, 90).is_err());
        assert!(TimeIndex::decode(&bytes[..17], 91).is_err());
        bytes.rotate_left(16);
        assert!(TimeIndex::decode(&bytes, 91).is_err());
    }

    #[test]
    fn prepend_lifts_the_later_part() {
        let mut tail = index(&[(10, 60), (300, 90)]);
        tail.prepend(index(&[(100, 50)]), 150);
        assert_eq!(tail.entries().iter().map(|e| (e.max_timestamp_ms, e.position)).collect::<Vec<_>>(), [(100, 50), (150, 60), (300, 90)]);
    }
}
