//! The delivery header at the front of every value: who sent it, as which number, when it was due and when it was sent.
//!
//! ```text
//!  0  4  run id              16  8  intended time, ns of CLOCK_MONOTONIC
//!  4  4  stream              24  8  time it was handed to the socket, the same clock
//!  8  8  sequence number
//! ```
//!
//! A stream is one producer on one partition (`producer * partitions + partition`); its records count 0, 1, 2 and so on, in the order of
//! sending. Big-endian. The rest of the value is filler, covered like the header by the batch's checksum.

/// Bytes of the header.
pub const STAMP_BYTES: usize = 32;
/// Where in the header the part begins that differs from batch to batch.
pub const SEQUENCE_AT: usize = 8;

/// A delivery header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Run.
    pub run: u32,
    /// Producer and partition.
    pub stream: u32,
    /// Number within the stream, from 0.
    pub sequence: u64,
    /// When the record was due.
    pub intended_ns: u64,
    /// When its request was handed to the socket.
    pub sent_ns: u64,
}

impl Stamp {
    /// Writes all of it.
    pub fn write(&self, out: &mut [u8; STAMP_BYTES]) {
        out[..4].copy_from_slice(&self.run.to_be_bytes());
        out[4..8].copy_from_slice(&self.stream.to_be_bytes());
        out[8..16].copy_from_slice(&self.sequence.to_be_bytes());
        out[16..24].copy_from_slice(&self.intended_ns.to_be_bytes());
        out[24..].copy_from_slice(&self.sent_ns.to_be_bytes());
    }

    /// Reads it from the front of a value; `None` when that is too short.
    #[inline]
    pub fn read(value: &[u8]) -> Option<Stamp> {
        let b = value.first_chunk::<STAMP_BYTES>()?;
        let word = |at: usize| u64::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3], b[at + 4], b[at + 5], b[at + 6], b[at + 7]]);
        let first = word(0);
        Some(Stamp { run: (first >> 32) as u32, stream: first as u32, sequence: word(8), intended_ns: word(16), sent_ns: word(24) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_was_written() {
        let stamp = Stamp { run: 1, stream: u32::MAX, sequence: 3 << 40, intended_ns: 4, sent_ns: u64::MAX };
        let mut out = [0; STAMP_BYTES];
        stamp.write(&mut out);
        assert_eq!(Stamp::read(&out), Some(stamp));
        assert_eq!(Stamp::read(&out[..31]), None);
    }
}
