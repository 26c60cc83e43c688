//! The newest offset of each key, in a memory of fixed size: what one pass of compaction knows.
//!
//! Keys are kept as 128 bits of keyed hashes (two SipHash-1-3 with keys drawn per map, so that nobody can make keys that collide), 24 bytes to a key. When it is full, the
//! pass ends before the record that did not fit; the next pass goes on from there.

use std::hash::{BuildHasher, RandomState};

/// The table. `Send`: it is filled and asked on pool threads.
#[derive(Debug)]
pub struct KeyMap {
    /// Two hashes, and the offset plus one; all zero is free.
    slots: Vec<[u64; 3]>,
    used: usize,
    used_max: usize,
    hashers: [RandomState; 2],
    /// Every record up to this offset is in it; -1 for none.
    latest: i64,
}

impl KeyMap {
    /// A map of at most `bytes` and no larger than `records` keys need. At most `load_factor` (0.1 to 0.99) of it is filled.
    pub fn new(bytes: usize, load_factor: f64, records: u64) -> KeyMap {
        let load_factor = if load_factor.is_finite() { load_factor.clamp(0.1, 0.99) } else { 0.9 };
        let affordable = (bytes / SLOT_BYTES).max(SLOTS_MIN);
        let needed = usize::try_from(((records as f64 / load_factor) as u64).saturating_add(1)).unwrap_or(usize::MAX).max(SLOTS_MIN);
        let count = affordable.min(needed);
        let used_max = ((count as f64 * load_factor) as usize).clamp(1, count - 1);
        KeyMap { slots: vec![[0; 3]; count], used: 0, used_max, hashers: [RandomState::new(), RandomState::new()], latest: -1 }
    }

    /// Keys in it.
    pub fn len(&self) -> usize {
        self.used
    }

    /// True when no key is in it.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Every record up to this offset was looked at; -1 for none.
    pub fn latest(&self) -> i64 {
        self.latest
    }

    /// Notes that every record up to `offset` was looked at.
    pub fn set_latest(&mut self, offset: i64) {
        self.latest = self.latest.max(offset);
    }

    /// Notes that the key's newest record is at `offset`; false when there is no room for another key.
    pub fn put(&mut self, key: &[u8], offset: i64) -> bool {
        let (index, hashes) = self.find(key);
        let slot = &mut self.slots[index];
        if slot[2] == 0 {
            if self.used == self.used_max {
                return false;
            }
            self.used += 1;
            *slot = [hashes[0], hashes[1], 0];
        }
        slot[2] = slot[2].max(offset as u64 + 1);
        true
    }

    /// Offset of the key's newest record, if it is known.
    pub fn get(&self, key: &[u8]) -> Option<i64> {
        let (index, _) = self.find(key);
        self.slots[index][2].checked_sub(1).map(|offset| offset as i64)
    }

    /// The key's slot, or the free one where it would go. There is always a free one.
    fn find(&self, key: &[u8]) -> (usize, [u64; 2]) {
        let hashes = [self.hashers[0].hash_one(key), self.hashers[1].hash_one(key)];
        let mut index = ((u128::from(hashes[0]) * self.slots.len() as u128) >> 64) as usize;
        loop {
            let slot = &self.slots[index];
            if slot[2] == 0 || slot[..2] == hashes {
                return (index, hashes);
            }
            index = if index + 1 == self.slots.len() { 0 } else { index + 1 };
        }
    }
}

/// Bytes of a slot.
pub const SLOT_BYTES: usize = 24;
/// Smallest table.
const SLOTS_MIN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_newest_offset_of_each_key_until_it_is_full() {
        let mut map = KeyMap::new(1000 * SLOT_BYTES, 0.9, u64::MAX);
        for offset in 0..900i64 {
            assert!(map.put(&offset.to_be_bytes(), offset), "key {offset}");
        }
        assert!(!map.put(b"one more", 900));
        assert!(map.put(&7i64.to_be_bytes(), 2000), "a known key needs no room");
        assert!(map.put(&7i64.to_be_bytes(), 5), "an older record changes nothing");
        assert_eq!((map.get(&7i64.to_be_bytes()), map.get(&8i64.to_be_bytes()), map.get(b"one more")), (Some(2000), Some(8), None));
        assert_eq!((map.len(), map.get(b"")), (900, None));
    }

    #[test]
    fn takes_no_more_memory_than_there_are_records() {
        assert!(KeyMap::new(1 << 40, 0.9, 90).slots.len() <= 102);
        let mut tiny = KeyMap::new(0, f64::NAN, 0);
        assert!(tiny.put(b"a", 0) && tiny.get(b"a") == Some(0), "there is room for one key at least");
    }
}
