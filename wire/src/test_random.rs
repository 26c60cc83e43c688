//! A small seeded generator for tests (splitmix64): the same seed, the same input, on every machine.

/// Random numbers from a seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Up to `max` bytes.
    pub(crate) fn bytes(&mut self, max: u64) -> Vec<u8> {
        let len = self.below(max + 1);
        (0..len).map(|_| self.next() as u8).collect()
    }

    /// Up to `max` characters, some of them beyond ASCII.
    pub(crate) fn text(&mut self, max: u64) -> String {
        let len = self.below(max + 1);
        (0..len).map(|_| if self.below(8) == 0 { 'é' } else { (b'a' + self.below(26) as u8) as char }).collect()
    }
}
