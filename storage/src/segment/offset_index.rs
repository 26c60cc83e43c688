//! Sparse offset index of one segment: offset of a batch -> position of that batch in the segment file.
//!
//! Every entry names the start of a batch, so a range between two entries holds whole batches. Relative to the segment's base offset, 8 bytes
//! an entry. A cache: rebuilt from the segment when missing or bad. Callers: appender (adds), read plan (looks up), flusher (saves).

/// Start of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetEntry {
    /// Base offset of the batch less the segment's base offset.
    pub relative_offset: u32,
    /// Position of the batch in the segment file.
    pub position: u32,
}

/// Entries in the order of offsets and positions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetIndex {
    entries: Vec<OffsetEntry>,
}

impl OffsetIndex {
    /// Bytes of an entry in the file.
    pub const ENTRY_BYTES: usize = 8;

    /// The entries.
    pub fn entries(&self) -> &[OffsetEntry] {
        &self.entries
    }

    /// Bytes it would take in a file.
    pub fn size_bytes(&self) -> usize {
        self.entries.len() * Self::ENTRY_BYTES
    }

    /// Adds an entry above all others.
    pub fn push(&mut self, entry: OffsetEntry) {
        debug_assert!(
            self.entries.last().is_none_or(|last| last.relative_offset < entry.relative_offset && last.position < entry.position)
        );
        self.entries.push(entry);
    }

    /// Newest entry that is not above the offset: where a search for it starts.
    pub fn floor_by_offset(&self, relative_offset: u32) -> Option<OffsetEntry> {
        let after = self.entries.partition_point(|e| e.relative_offset <= relative_offset);
        after.checked_sub(1).map(|at| self.entries[at])
    }

    /// Newest entry that is not above the position: a batch boundary.
    pub fn floor_by_position(&self, position: u32) -> Option<OffsetEntry> {
        let after = self.entries.partition_point(|e| e.position <= position);
        after.checked_sub(1).map(|at| self.entries[at])
    }

    /// Puts the entries of the part before this one in front.
    pub fn prepend(&mut self, mut head: OffsetIndex) {
        head.entries.append(&mut self.entries);
        self.entries = head.entries;
    }

    /// Appends the entries' bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for entry in &self.entries {
            out.extend_from_slice(&entry.relative_offset.to_le_bytes());
            out.extend_from_slice(&entry.position.to_le_bytes());
        }
    }

    /// Reads entries' bytes; an error text when they do not increase or lie outside `covered` bytes of the segment.
    pub fn decode(bytes: &[u8], covered: u32) -> Result<OffsetIndex, &'static str> {
        let (chunks, []) = bytes.as_chunks::<8>() else { return Err("not whole entries") };
        let mut entries: Vec<OffsetEntry> = Vec::with_capacity(chunks.len());
        for [a, b, c, d, e, f, g, h] in chunks.iter().copied() {
            let entry = OffsetEntry { relative_offset: u32::from_le_bytes([a, b, c, d]), position: u32::from_le_bytes([e, f, g, h]) };
            let above = entries.last().is_none_or(|last| last.relative_offset < entry.relative_offset && last.position < entry.position);
            if !above || entry.position >= covered {
                return Err("entries do not increase within the segment");
            }
            entries.push(entry);
        }
        Ok(OffsetIndex { entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(entries: &[(u32, u32)]) -> OffsetIndex {
        let mut index = OffsetIndex::default();
        for &(relative_offset, position) in entries {
            index.push(OffsetEntry { relative_offset, position });
        }
        index
    }

    #[test]
    fn looks_up_the_floor() {
        let i = index(&[(0, 0), (10, 500), (25, 900)]);
        assert_eq!(i.floor_by_offset(9).unwrap().position, 0);
        assert_eq!(i.floor_by_offset(10).unwrap().position, 500);
        assert_eq!(i.floor_by_offset(u32::MAX).unwrap().position, 900);
        assert_eq!(i.floor_by_position(899).unwrap().relative_offset, 10);
        assert_eq!(index(&[(5, 70)]).floor_by_offset(4), None);
    }

    #[test]
    fn round_trips_and_refuses_disorder() {
        let i = index(&[(0, 0), (10, 500), (25, 900)]);
        let mut bytes = Vec::new();
        i.encode(&mut bytes);
        assert_eq!(bytes.len(), i.size_bytes());
        assert_eq!(OffsetIndex::decode(&bytes, 901), Ok(i));
        assert!(OffsetIndex::decode(&bytes, 900).is_err());
        assert!(OffsetIndex::decode(&bytes[1..], 901).is_err());
        bytes.rotate_left(8);
        assert!(OffsetIndex::decode(&bytes, 901).is_err());
    }

    #[test]
    fn prepend_joins_two_parts() {
        let mut tail = index(&[(25, 900)]);
        tail.prepend(index(&[(0, 0), (10, 500)]));
        assert_eq!(tail, index(&[(0, 0), (10, 500), (25, 900)]));
    }
}
