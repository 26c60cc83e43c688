//! Which partition a record goes to: Kafka's hash of the key, by turns, or at random; decided without I/O.

/// How records without a given partition are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Spread {
    /// By the key's hash as Kafka's own clients do it; without a key one partition per batch, in turn.
    Hash,
    /// One after the other, keys or not.
    RoundRobin,
    /// At random, keys or not.
    Random,
}

/// Chooses partitions.
#[derive(Clone, Debug)]
pub(crate) struct Partitioner {
    spread: Spread,
    turn: u32,
    random: u64,
}

impl Partitioner {
    /// `seed` drives the random choice.
    pub(crate) fn new(spread: Spread, seed: u64) -> Partitioner {
        Partitioner { spread, turn: 0, random: seed | 1 }
    }

    /// The partition of a record among `count`.
    pub(crate) fn choose(&mut self, key: Option<&[u8]>, count: u32) -> i32 {
        let count = count.max(1);
        let number = match (self.spread, key) {
            (Spread::Hash, Some(key)) => (murmur2(key) & 0x7fff_ffff) % count,
            // Stays until the batch is sent.
            (Spread::Hash, None) => self.turn % count,
            (Spread::RoundRobin, _) => {
                self.turn = self.turn.wrapping_add(1);
                self.turn.wrapping_sub(1) % count
            }
            (Spread::Random, _) => {
                // xorshift64
                self.random ^= self.random << 13;
                self.random ^= self.random >> 7;
                self.random ^= self.random << 17;
                ((self.random >> 33) as u32) % count
            }
        };
        number as i32
    }

    /// A batch was sent.
    pub(crate) fn batch_sent(&mut self) {
        if self.spread == Spread::Hash {
            self.turn = self.turn.wrapping_add(1);
        }
    }
}

/// The hash of Kafka's default partitioner (murmur2 with Kafka's seed), so that a key is found where other clients put it.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut h = 0x9747_b28c_u32 ^ data.len() as u32;
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]).wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = chunks.remainder();
    for (i, byte) in rest.iter().enumerate().rev() {
        h ^= u32::from(*byte) << (8 * i);
    }
    if !rest.is_empty() {
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_hash_as_kafka_hashes_them() {
        // The vectors of Kafka's own test of murmur2.
        for (key, wanted) in [("21", -973932308), ("foobar", -790332482), ("a-little-bit-long-string", -985981536), ("abc", 479470107)] {
            assert_eq!(murmur2(key.as_bytes()) as i32, wanted, "{key}");
        }
    }

    #[test]
    fn each_spread_does_what_it_says() {
        let mut hash = Partitioner::new(Spread::Hash, 1);
        assert_eq!(hash.choose(Some(b"abc"), 3), hash.choose(Some(b"abc"), 3));
        assert_eq!((hash.choose(None, 3), hash.choose(None, 3)), (0, 0));
        hash.batch_sent();
        assert_eq!(hash.choose(None, 3), 1);
        let mut turns = Partitioner::new(Spread::RoundRobin, 1);
        assert_eq!([0; 4].map(|_| turns.choose(Some(b"k"), 3)), [0, 1, 2, 0]);
        let mut random = Partitioner::new(Spread::Random, 42);
        let mut seen = [0; 4];
        (0..400).for_each(|_| seen[random.choose(None, 4) as usize] += 1);
        assert!(seen.iter().all(|n| *n > 50), "{seen:?}");
    }
}
