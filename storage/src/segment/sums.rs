//! Checksums of a segment's whole bytes, one CRC-32 per 64 KiB: what a batch's own checksum leaves out (base offset, length, leader epoch) is covered too.
//!
//! Taken from memory when the flusher writes, so they say what the disk ought to hold. The sidecar `<base>.sums` keeps them; bytes of `FORMAT.md`. Pure.
//! Callers: flusher (extends), checkpointer (saves), `log/sums.rs` (loads, completes and checks), whoever writes a whole segment ([`sidecar_of`]).

use std::ops::Range;

use coreline_wire::ids::TopicPartition;

/// Bytes of a segment that one sum covers.
pub const SUM_BLOCK_BYTES: u32 = 64 << 10;
/// First bytes of a sidecar.
pub const SUMS_MAGIC: &[u8; 8] = b"CLN-SUMS";
/// Bytes of a sidecar before its sums.
pub const SUMS_HEADER_BYTES: usize = 52;
const SUMS_VERSION: u16 = 1;
/// Largest sidecar: of a segment of 2 GiB.
pub const SUMS_FILE_BYTES_MAX: usize = SUMS_HEADER_BYTES + 4 * (1 << 31) / SUM_BLOCK_BYTES as usize;

/// CRC-32 of the bytes from the last multiple of 64 KiB up to a position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrefixSum {
    /// The position.
    pub at: u32,
    /// The sum; of nothing, 0, at a multiple of 64 KiB.
    pub sum: u32,
}

/// Sums at the end of a segment's written bytes, all in the same run of hashing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SumMarks {
    /// At the end itself.
    pub end: PrefixSum,
    /// At the last block boundary of the device.
    pub aligned: PrefixSum,
    /// At the end of the last batch that ends there or before.
    pub boundary: PrefixSum,
}

impl SumMarks {
    /// All three at one position.
    pub fn at(position: u32, sum: u32) -> SumMarks {
        let mark = PrefixSum { at: position, sum };
        SumMarks { end: mark, aligned: mark, boundary: mark }
    }

    /// The sum up to `position`, when it is one of the marks.
    pub fn sum_at(&self, position: u32) -> Option<u32> {
        if position.is_multiple_of(SUM_BLOCK_BYTES) {
            return Some(0);
        }
        [self.end, self.aligned, self.boundary].iter().find(|mark| mark.at == position).map(|mark| mark.sum)
    }
}

/// Sums that a checkpoint keeps: of what the sidecar does not have yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedSums {
    /// First block that is in here; those before it are in the sidecar.
    pub first: u32,
    /// Sums of the whole blocks from there on.
    pub full: Vec<u32>,
    /// Sum of the bytes behind the last whole block; `None` when it is not known.
    pub prefix: Option<u32>,
}

impl SavedSums {
    /// Of nothing.
    pub fn empty() -> SavedSums {
        SavedSums { prefix: Some(0), ..SavedSums::default() }
    }

    /// Whether they reach exactly up to a position.
    fn fits(&self, position: u32) -> bool {
        self.first as usize + self.full.len() == (position / SUM_BLOCK_BYTES) as usize
    }
}

/// Sums of a run of a segment's blocks up to where it is written; grows at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentSums {
    /// Block of `full[0]`.
    first: u32,
    full: Vec<u32>,
    marks: SumMarks,
}

impl SegmentSums {
    /// Of a segment that is hashed on from `position`: blocks before it are not known here.
    pub fn resume(position: u32, sum: u32) -> SegmentSums {
        SegmentSums { first: position / SUM_BLOCK_BYTES, full: Vec::new(), marks: SumMarks::at(position, sum) }
    }

    /// As a checkpoint at `position` keeps them; what it does not know is looked for in the sidecar and in the log.
    pub fn from_saved(saved: &SavedSums, position: u32) -> SegmentSums {
        if saved.fits(position) {
            SegmentSums { first: saved.first, full: saved.full.clone(), marks: SumMarks::at(position, saved.prefix.unwrap_or(0)) }
        } else {
            SegmentSums::resume(position, saved.prefix.unwrap_or(0))
        }
    }

    /// What a checkpoint at `position` keeps, when the sum up to there is `prefix`.
    pub fn to_saved(&self, position: u32, prefix: Option<u32>) -> SavedSums {
        let blocks = (position / SUM_BLOCK_BYTES).saturating_sub(self.first) as usize;
        SavedSums { first: self.first, full: self.full.iter().take(blocks).copied().collect(), prefix }
    }

    /// Hashes bytes at `position`, which is not behind the end; what was hashed before is left out. `boundary` is where the last whole batch ends.
    pub fn extend(&mut self, position: u32, bytes: &[u8], alignment: u32, boundary: u32) {
        let end = position + bytes.len() as u32;
        assert!(position <= self.end(), "bytes {}..{position} were never hashed", self.end());
        let aligned = end & !(alignment - 1);
        let mut stops = [boundary, aligned, end];
        stops.sort_unstable();
        for stop in stops {
            if stop > self.end() && stop <= end {
                self.hash(&bytes[(self.end() - position) as usize..(stop - position) as usize]);
            }
            if stop == self.end() {
                let here = self.marks.end;
                if stop == aligned {
                    self.marks.aligned = here;
                }
                if stop == boundary {
                    self.marks.boundary = here;
                }
            }
        }
    }

    fn hash(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let PrefixSum { at, sum } = self.marks.end;
            let left = SUM_BLOCK_BYTES - at % SUM_BLOCK_BYTES;
            let (piece, rest) = bytes.split_at(bytes.len().min(left as usize));
            let sum = extend_sum(sum, piece);
            let at = at + piece.len() as u32;
            if at.is_multiple_of(SUM_BLOCK_BYTES) {
                self.full.push(sum);
            }
            self.marks.end = PrefixSum { at, sum: if at.is_multiple_of(SUM_BLOCK_BYTES) { 0 } else { sum } };
            bytes = rest;
        }
    }

    /// Up to where it is hashed.
    pub fn end(&self) -> u32 {
        self.marks.end.at
    }

    /// The sums at the end.
    pub fn marks(&self) -> SumMarks {
        self.marks
    }

    /// Blocks from here on are known.
    pub fn first(&self) -> u32 {
        self.first
    }

    /// Sum of a whole block, when it is known.
    pub fn block(&self, block: u32) -> Option<u32> {
        self.full.get(block.checked_sub(self.first)? as usize).copied()
    }

    /// Puts the blocks before the first known one in front. `head` is hashed up to exactly there (or is of all of a segment of which nothing is known here).
    pub fn prepend(&mut self, mut head: SegmentSums) {
        debug_assert!(head.first == 0 && head.first + head.full.len() as u32 >= self.first);
        head.full.truncate(self.first as usize);
        head.full.append(&mut self.full);
        (self.first, self.full) = (0, head.full);
    }

    /// Only the whole blocks before this one.
    pub fn cut(mut self, block: u32) -> SegmentSums {
        self.full.truncate(block.saturating_sub(self.first) as usize);
        let end = (self.first + self.full.len() as u32) * SUM_BLOCK_BYTES;
        SegmentSums { marks: SumMarks::at(end, 0), ..self }
    }

    /// Forgets blocks below a position up to which the sidecar has them.
    pub fn forget_below(&mut self, saved: u32) {
        let keep_from = (saved / SUM_BLOCK_BYTES).min(self.first + self.full.len() as u32);
        if keep_from > self.first {
            self.full.drain(..(keep_from - self.first) as usize);
            self.full.shrink_to_fit();
            self.first = keep_from;
        }
    }

    /// Memory it takes besides itself, bytes.
    pub fn memory_bytes(&self) -> usize {
        self.full.capacity() * 4
    }

    /// Bytes of the sidecar; `None` while blocks at the front are not known. `resume` is the start of a batch at or before the end.
    pub fn encode(&self, base_offset: i64, next_offset: i64, resume: u32) -> Option<Vec<u8>> {
        if self.first != 0 {
            return None;
        }
        let mut out = Vec::with_capacity(SUMS_HEADER_BYTES + 4 * self.full.len());
        out.extend_from_slice(SUMS_MAGIC);
        out.extend_from_slice(&SUMS_VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&(self.full.len() as u32).to_le_bytes());
        out.extend_from_slice(&base_offset.to_le_bytes());
        out.extend_from_slice(&self.end().to_le_bytes());
        out.extend_from_slice(&resume.to_le_bytes());
        out.extend_from_slice(&self.marks.end.sum.to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&next_offset.to_le_bytes());
        self.full.iter().for_each(|sum| out.extend_from_slice(&sum.to_le_bytes()));
        let crc = crc32fast::hash(&out);
        out[36..40].copy_from_slice(&crc.to_le_bytes());
        Some(out)
    }

    /// Reads a sidecar; an error text when it is not one that `encode` wrote.
    pub fn decode(base_offset: i64, file: &[u8]) -> Result<Sidecar, &'static str> {
        let (fixed, sums) = file.split_first_chunk::<SUMS_HEADER_BYTES>().ok_or("shorter than its header")?;
        let int = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| fixed[at + i]));
        if &fixed[..8] != SUMS_MAGIC {
            return Err("another kind of file");
        }
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&fixed[..36]);
        hasher.update(&[0; 4]);
        hasher.update(&fixed[40..]);
        hasher.update(sums);
        if hasher.finalize() != int(36) {
            return Err("bad checksum");
        }
        if u16::from_le_bytes([fixed[8], fixed[9]]) != SUMS_VERSION {
            return Err("another version");
        }
        let (end, resume) = (int(24), int(28));
        let (full, []) = sums.as_chunks::<4>() else { return Err("not whole sums") };
        if full.len() != int(12) as usize || full.len() as u32 != end / SUM_BLOCK_BYTES {
            return Err("another number of sums than it says");
        }
        if i64::from_le_bytes(std::array::from_fn(|i| fixed[16 + i])) != base_offset || resume > end {
            return Err("of another segment");
        }
        let full = full.iter().map(|sum| u32::from_le_bytes(*sum)).collect();
        let sums = SegmentSums { first: 0, full, marks: SumMarks::at(end, int(32)) };
        Ok(Sidecar { sums, next_offset: i64::from_le_bytes(std::array::from_fn(|i| fixed[44 + i])), resume })
    }
}

/// Writes into a sidecar of which partition it is: segments of two partitions may have the same base offset.
pub fn sign(mut file: Vec<u8>, tp: TopicPartition) -> Vec<u8> {
    file[40..44].copy_from_slice(&owner(tp).to_le_bytes());
    file[36..40].fill(0);
    let crc = crc32fast::hash(&file);
    file[36..40].copy_from_slice(&crc.to_le_bytes());
    file
}

/// Reads the sidecar of a partition's segment; one that does not say of which partition it is, as before 2026-11-23, may be its own.
pub fn decode_signed(base_offset: i64, tp: TopicPartition, file: &[u8]) -> Result<Sidecar, &'static str> {
    let sidecar = SegmentSums::decode(base_offset, file)?;
    match file[40..44] {
        [0, 0, 0, 0] => Ok(sidecar),
        ref signed if *signed == owner(tp).to_le_bytes() => Ok(sidecar),
        _ => Err("of another partition"),
    }
}

/// Never 0.
fn owner(tp: TopicPartition) -> u32 {
    extend_sum(crc32fast::hash(&tp.topic.0), &tp.partition.to_le_bytes()).max(1)
}

/// What a sidecar says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sidecar {
    /// The sums, from the first block on.
    pub sums: SegmentSums,
    /// Offset behind the segment's last batch; of a segment that was not sealed then, at that time.
    pub next_offset: i64,
    /// Start of a batch at or before the end of what is summed up: from there on the batches can be walked.
    pub resume: u32,
}

/// The sidecar of a whole, finished segment file, for whoever writes one at once; `next_offset` is where the next segment begins, `bytes` may come in
/// pieces of any size. It must be durable before the file replaces another one, or the other's sidecar be removed first.
pub fn sidecar_of<'a>(base_offset: i64, next_offset: i64, bytes: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut sums = SegmentSums::default();
    for piece in bytes {
        sums.hash(piece);
    }
    let end = sums.end();
    sums.encode(base_offset, next_offset, end).unwrap_or_default()
}

/// CRC-32 of more bytes behind those that gave `sum`.
pub fn extend_sum(sum: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(sum);
    hasher.update(bytes);
    hasher.finalize()
}

/// Which blocks of a segment were found to be as they ought to be, in this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifiedBlocks {
    bits: Vec<u64>,
    /// Up to here in a block that is not whole yet.
    partial: u32,
}

impl VerifiedBlocks {
    /// Runs of blocks that hold bytes of `from..to` and were not checked; blocks are checked up to `to` only when that is the end of what can be.
    pub fn missing(&self, from: u32, to: u32) -> Option<Range<u32>> {
        let mut blocks = (from / SUM_BLOCK_BYTES)..to.div_ceil(SUM_BLOCK_BYTES);
        while !blocks.is_empty() && self.has(blocks.start, to) {
            blocks.start += 1;
        }
        while !blocks.is_empty() && self.has(blocks.end - 1, to) {
            blocks.end -= 1;
        }
        (!blocks.is_empty()).then_some(blocks)
    }

    /// Whether a block was checked as far as `to`.
    pub fn has(&self, block: u32, to: u32) -> bool {
        let whole = self.bits.get(block as usize / 64).is_some_and(|word| word & (1 << (block % 64)) != 0);
        whole || (self.partial / SUM_BLOCK_BYTES == block && to <= self.partial)
    }

    /// A block has to be checked again.
    pub fn forget(&mut self, block: u32) {
        if let Some(word) = self.bits.get_mut(block as usize / 64) {
            *word &= !(1 << (block % 64));
        }
        if self.partial / SUM_BLOCK_BYTES == block {
            self.partial = block * SUM_BLOCK_BYTES;
        }
    }

    /// Notes that a block was checked up to `end`.
    pub fn note(&mut self, block: u32, end: u32) {
        if end / SUM_BLOCK_BYTES > block {
            let word = block as usize / 64;
            if self.bits.len() <= word {
                self.bits.resize(word + 1, 0);
            }
            self.bits[word] |= 1 << (block % 64);
        } else {
            self.partial = self.partial.max(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::sim::Rng;

    const BLOCK: usize = SUM_BLOCK_BYTES as usize;

    fn bytes(len: usize) -> Vec<u8> {
        let mut rng = Rng::new(9);
        (0..len).map(|_| rng.next_u64() as u8).collect()
    }

    #[test]
    fn any_cutting_into_writes_gives_the_same_sums() {
        let data = bytes(3 * BLOCK + 5000);
        let expected: Vec<u32> = data.chunks_exact(BLOCK).map(crc32fast::hash).collect();
        for seed in 0..50 {
            let mut rng = Rng::new(seed);
            let mut sums = SegmentSums::default();
            while (sums.end() as usize) < data.len() {
                // A write begins at the block of the device that was written last, wholly or partly.
                let from = sums.end() as usize & !4095;
                let to = (sums.end() as usize + 1 + rng.below(40_000) as usize).min(data.len());
                let boundary = to as u32 - rng.below(5000).min(to as u64) as u32;
                sums.extend(from as u32, &data[from..to], 4096, boundary);
                let marks = sums.marks();
                for mark in [marks.end, marks.aligned, marks.boundary] {
                    let start = mark.at as usize / BLOCK * BLOCK;
                    let of_nothing = mark.at as usize == start;
                    let sum = if of_nothing { 0 } else { crc32fast::hash(&data[start..mark.at as usize]) };
                    assert_eq!(mark.sum, sum, "seed {seed}: up to {}", mark.at);
                }
                assert_eq!((marks.end.at as usize, marks.aligned.at as usize), (to, to & !4095));
            }
            assert_eq!((0..3).map(|b| sums.block(b).unwrap()).collect::<Vec<_>>(), expected, "seed {seed}");
        }
    }

    #[test]
    fn a_sidecar_round_trips_and_any_changed_byte_is_found() {
        let data = bytes(2 * BLOCK + 77);
        let file = sidecar_of(5, 9, data.chunks(1000));
        let Sidecar { sums, next_offset, resume } = SegmentSums::decode(5, &file).unwrap();
        assert_eq!(
            (sums.end() as usize, resume as usize, sums.block(1)),
            (data.len(), data.len(), Some(crc32fast::hash(&data[BLOCK..2 * BLOCK])))
        );
        assert_eq!(sums.encode(5, next_offset, resume), Some(file.clone()));
        assert!(SegmentSums::decode(6, &file).is_err());
        for at in 0..file.len() {
            let mut bad = file.clone();
            bad[at] ^= 0x40;
            assert!(SegmentSums::decode(5, &bad).is_err(), "byte {at}");
            assert!(SegmentSums::decode(5, &file[..at]).is_err(), "cut {at}");
        }
    }

    #[test]
    fn a_sidecar_of_another_partition_is_refused() {
        let data = bytes(BLOCK + 77);
        let tp = |partition| TopicPartition { partition, ..TopicPartition::default() };
        let unsigned = sidecar_of(5, 9, [data.as_slice()]);
        let signed = sign(unsigned.clone(), tp(1));
        let sidecar = SegmentSums::decode(5, &unsigned);
        assert_eq!(decode_signed(5, tp(1), &signed), sidecar);
        assert_eq!(decode_signed(5, tp(1), &unsigned), sidecar);
        assert_eq!(decode_signed(5, tp(2), &signed), Err("of another partition"));
        assert!(decode_signed(5, tp(1), &[&signed[..40], &[7], &signed[41..]].concat()).is_err());
    }

    #[test]
    fn a_run_that_was_resumed_joins_what_the_sidecar_has() {
        let data = bytes(4 * BLOCK);
        let saved = BLOCK + 300;
        let mut head = SegmentSums::default();
        head.extend(0, &data[..saved], 4096, 0);
        let mut sums = SegmentSums::resume(saved as u32, head.marks().end.sum);
        sums.extend(BLOCK as u32, &data[BLOCK..], 4096, 0);
        assert_eq!((sums.first(), sums.block(0), sums.encode(0, 0, 0)), (1, None, None));
        sums.prepend(head);
        assert_eq!(sums.encode(0, 8, 4 * SUM_BLOCK_BYTES), Some(sidecar_of(0, 8, [data.as_slice()])));
        sums.forget_below(2 * SUM_BLOCK_BYTES + 5);
        assert_eq!((sums.first(), sums.block(1)), (2, None));
        assert_eq!(sums.block(3), Some(crc32fast::hash(&data[3 * BLOCK..])));
    }

    #[test]
    fn blocks_are_asked_for_until_they_were_checked() {
        let mut verified = VerifiedBlocks::default();
        let block = SUM_BLOCK_BYTES;
        assert_eq!(verified.missing(10, 3 * block), Some(0..3));
        verified.note(0, block);
        assert_eq!(verified.missing(10, 3 * block), Some(1..3));
        verified.note(70, 71 * block);
        assert_eq!(verified.missing(70 * block, 70 * block + 5), None);
        verified.note(2, 2 * block + 4096);
        assert_eq!(verified.missing(2 * block, 2 * block + 4096), None);
        assert_eq!(verified.missing(2 * block, 2 * block + 8192), Some(2..3), "it has grown since");
        assert_eq!(verified.missing(5, 5), None);
        verified.forget(70);
        verified.forget(2);
        verified.forget(500);
        assert_eq!(verified.missing(70 * block, 70 * block + 5), Some(70..71));
        assert_eq!(verified.missing(2 * block, 2 * block + 4096), Some(2..3));
    }
}
