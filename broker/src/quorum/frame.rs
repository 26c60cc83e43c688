//! Frames of the metadata log: how they lie in a file, and what a scan of a file's bytes finds. Pure.
//!
//! A frame is a header of 32 bytes and a body (`stored::FrameBody` in postcard), padded with zeros to whole blocks of 4096 bytes:
//!
//! | at | bytes | field |
//! |--:|--:|---|
//! | 0 | 4 | magic `CLQL` |
//! | 4 | 4 | CRC-32 (IEEE) of everything from byte 8 to the end of the body |
//! | 8 | 4 | length of the body |
//! | 12 | 4 | format version |
//! | 16 | 8 | sequence: rises by one from frame to frame, across files |
//! | 24 | 8 | salt: drawn per file, the same in all its frames |
//!
//! All little-endian. Each frame is flushed before the next one is written, so only the last one can be torn: a bad frame that any good
//! frame follows is damage, and the start is refused. Behind the last frame the file is zeros.

use super::stored::FrameBody;

/// Frames begin at multiples of this.
pub const BLOCK_BYTES: usize = 4096;
/// Bytes before the body.
pub const HEADER_BYTES: usize = 32;
/// Longest body. A request makes at most 10,000 partitions; a registration touches every partition of the cluster.
pub const BODY_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Version written by this build.
pub const FORMAT_VERSION: u32 = 1;

const MAGIC: [u8; 4] = *b"CLQL";

/// A frame found by a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where it begins in the file.
    pub position: u64,
    /// Its sequence.
    pub sequence: u64,
    /// Its file's salt.
    pub salt: u64,
    /// What it says.
    pub body: FrameBody,
}

/// What a scan of one file found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The frames, in order.
    pub frames: Vec<Frame>,
    /// Where the next frame goes.
    pub end: u64,
    /// Why the bytes at `end` are not zeros, when they are not: a frame that was being written when the power went.
    pub torn: Option<String>,
}

/// Why a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanError {
    /// A bad frame that a good one follows.
    Damaged {
        /// Where the bad frame begins.
        position: u64,
        /// What is wrong with it.
        why: String,
    },
    /// A frame of a later format.
    NewerFormat {
        /// Its version.
        found: u32,
    },
}

/// Appends a frame to `out`, padded to whole blocks.
pub fn encode(out: &mut Vec<u8>, sequence: u64, salt: u64, body: &FrameBody) {
    let start = out.len();
    debug_assert!(start.is_multiple_of(BLOCK_BYTES), "a frame begins at a block, not at {start}");
    out.resize(start + HEADER_BYTES, 0);
    let mut taken = std::mem::take(out);
    taken = postcard::to_extend(body, taken).expect("bodies are plain data and a vector grows");
    *out = taken;
    let len = out.len() - start - HEADER_BYTES;
    assert!(len <= BODY_BYTES_MAX, "a frame of {len} bytes, at most {BODY_BYTES_MAX} can be read again");
    let header = &mut out[start..start + HEADER_BYTES];
    header[0..4].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&(len as u32).to_le_bytes());
    header[12..16].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    header[16..24].copy_from_slice(&sequence.to_le_bytes());
    header[24..32].copy_from_slice(&salt.to_le_bytes());
    let crc = crc32fast::hash(&out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    out.resize(start + (HEADER_BYTES + len).next_multiple_of(BLOCK_BYTES), 0);
}

/// Reads a file's bytes. `first_sequence` is what its first frame must have, if that is known.
///
/// # Errors
/// [`ScanError::Damaged`] when a bad frame lies before a good one, [`ScanError::NewerFormat`] for a file of a later build.
pub fn scan(bytes: &[u8], first_sequence: Option<u64>) -> Result<Scan, ScanError> {
    let mut frames: Vec<Frame> = Vec::new();
    let mut at = 0usize;
    let torn = loop {
        let expected = frames.last().map(|frame| (frame.sequence + 1, frame.salt));
        let found = match read_frame(bytes, at) {
            Ok(None) => break None,
            Ok(Some((frame, len))) => {
                let wrong = match (expected, first_sequence) {
                    (Some((sequence, salt)), _) => frame.sequence != sequence || frame.salt != salt,
                    (None, Some(sequence)) => frame.sequence != sequence,
                    (None, None) => false,
                };
                let why = || format!("its sequence {} does not follow", frame.sequence);
                if wrong { Err(why()) } else { Ok((frame, len)) }
            }
            Err(BadFrame::Newer(found)) => return Err(ScanError::NewerFormat { found }),
            Err(BadFrame::Bad(why)) => Err(why),
        };
        match found {
            Ok((frame, len)) => {
                frames.push(frame);
                at += len;
            }
            Err(why) => break Some(why),
        }
    };
    let salt = frames.last().map(|frame| frame.salt);
    let next = frames.last().map(|frame| frame.sequence + 1).or(first_sequence).unwrap_or(0);
    if let Some(follower) = later_frame(bytes, at, next, salt) {
        let why = torn.unwrap_or_else(|| "it is empty".to_owned());
        let why = format!("{why}, and a good frame follows at {follower}");
        return Err(ScanError::Damaged { position: at as u64, why });
    }
    let torn = torn.or_else(|| {
        let rest = bytes.get(at..).unwrap_or_default();
        rest.iter().any(|byte| *byte != 0).then(|| "the bytes behind the last frame are not zeros".to_owned())
    });
    Ok(Scan { frames, end: at as u64, torn })
}

enum BadFrame {
    Newer(u32),
    Bad(String),
}

/// The frame at a position with the length it occupies; `None` where a block of zeros, or the file's end, is.
fn read_frame(bytes: &[u8], at: usize) -> Result<Option<(Frame, usize)>, BadFrame> {
    let bad = |why: String| Err(BadFrame::Bad(why));
    let rest = bytes.get(at..).unwrap_or_default();
    let block = &rest[..rest.len().min(BLOCK_BYTES)];
    if block.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let Some(header) = rest.first_chunk::<HEADER_BYTES>() else {
        return bad(format!("{} bytes are too few for a frame", rest.len()));
    };
    let u32_at = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
    let u64_at = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
    if header[0..4] != MAGIC {
        return bad("it does not begin as a frame does".to_owned());
    }
    let len = u32_at(8) as usize;
    // The length is believed only as far as there are bytes.
    let Some(content) = rest.get(8..HEADER_BYTES + len).filter(|_| len <= BODY_BYTES_MAX) else {
        return bad(format!("its body of {len} bytes goes beyond the file"));
    };
    if crc32fast::hash(content) != u32_at(4) {
        return bad("its checksum is wrong".to_owned());
    }
    let version = u32_at(12);
    if version != FORMAT_VERSION {
        return Err(BadFrame::Newer(version));
    }
    let body = match postcard::take_from_bytes::<FrameBody>(&rest[HEADER_BYTES..HEADER_BYTES + len]) {
        Ok((body, [])) => body,
        Ok((_, rest)) => return bad(format!("its body has {} bytes too many", rest.len())),
        Err(error) => return bad(format!("its body does not decode: {error}")),
    };
    let frame = Frame { position: at as u64, sequence: u64_at(16), salt: u64_at(24), body };
    Ok(Some((frame, (HEADER_BYTES + len).next_multiple_of(BLOCK_BYTES))))
}

/// Where a good frame lies behind `at` that belongs to this file.
fn later_frame(bytes: &[u8], at: usize, next: u64, salt: Option<u64>) -> Option<usize> {
    let mut position = at + BLOCK_BYTES;
    while position < bytes.len() {
        if let Ok(Some((frame, _))) = read_frame(bytes, position)
            && frame.sequence > next
            && salt.is_none_or(|salt| frame.salt == salt)
        {
            return Some(position);
        }
        position += BLOCK_BYTES;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::stored::{Blob, StoredEntry, StoredLogId, StoredPayload, StoredVote};
    use super::*;

    fn vote(term: u64) -> FrameBody {
        FrameBody::Vote(StoredVote { term, node: 1, committed: true })
    }

    fn entries(index: u64, bytes: usize) -> FrameBody {
        let id = StoredLogId { term: 1, index };
        FrameBody::Entries { committed: None, entries: vec![StoredEntry { id, payload: StoredPayload::Records(Blob(vec![0xab; bytes])) }] }
    }

    fn file(bodies: &[FrameBody]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (index, body) in bodies.iter().enumerate() {
            encode(&mut bytes, 10 + index as u64, 77, body);
        }
        bytes
    }

    fn sample() -> Vec<FrameBody> {
        vec![vote(1), entries(0, 100), entries(1, 10_000), vote(2)]
    }

    #[test]
    fn frames_are_found_again() {
        let mut bytes = file(&sample());
        let end = bytes.len() as u64;
        assert_eq!(end, 4096 * (1 + 1 + 3 + 1));
        for zeros in [0, 4096, 100_000] {
            bytes.resize(end as usize + zeros, 0);
            let scan = scan(&bytes, Some(10)).expect("a good file");
            assert_eq!((scan.end, scan.torn), (end, None));
            assert_eq!(scan.frames.iter().map(|frame| frame.body.clone()).collect::<Vec<_>>(), sample());
            assert_eq!(scan.frames.iter().map(|frame| frame.position).collect::<Vec<_>>(), [0, 4096, 8192, 20480]);
        }
    }

    #[test]
    fn a_file_cut_anywhere_keeps_the_frames_before_the_cut() {
        let bytes = file(&sample());
        let ends = [4096usize, 8192, 20480, 24576];
        for cut in (0..bytes.len()).step_by(97).chain(ends) {
            let scan = scan(&bytes[..cut], Some(10)).expect("a torn tail is no damage");
            // The zeros that pad a frame may be missing: its bytes are all there.
            let whole = ends.iter().filter(|end| **end <= cut).count();
            assert!(scan.frames.len() == whole || scan.frames.len() == whole + 1, "cut {cut}: {} frames", scan.frames.len());
            assert_eq!(scan.torn.is_some(), scan.end < cut as u64 && bytes[scan.end as usize..cut].iter().any(|b| *b != 0), "cut {cut}");
        }
    }

    #[test]
    fn any_flipped_bit_before_the_last_frame_is_damage() {
        let clean = file(&sample());
        for at in (0..20_480).step_by(61) {
            let mut bytes = clean.clone();
            bytes[at] ^= 0x10;
            let in_padding = clean[at] == 0 && scan(&bytes, Some(10)).is_ok_and(|scan| scan.frames.len() == 4);
            if in_padding {
                continue; // Padding is not part of any frame.
            }
            match scan(&bytes, Some(10)) {
                Err(ScanError::Damaged { position, why }) => {
                    assert!(position as usize <= at && at < position as usize + 3 * 4096, "flip at {at} blamed on {position}: {why}");
                }
                other => panic!("flip at {at} was not noticed: {other:?}"),
            }
        }
    }

    #[test]
    fn a_missing_frame_in_the_middle_is_damage() {
        let mut bytes = file(&sample());
        bytes[4096..8192].fill(0);
        assert!(matches!(scan(&bytes, Some(10)), Err(ScanError::Damaged { position: 4096, .. })));
    }

    #[test]
    fn a_frame_of_another_file_does_not_count() {
        let mut bytes = file(&sample()[..2]);
        let mut foreign = Vec::new();
        encode(&mut foreign, 12, 78, &vote(9));
        bytes.extend_from_slice(&foreign);
        let scan = scan(&bytes, Some(10)).expect("a foreign frame is a torn tail");
        assert_eq!((scan.frames.len(), scan.end, scan.torn.is_some()), (2, 8192, true));
    }

    #[test]
    fn a_later_format_is_named() {
        let mut bytes = file(&sample());
        bytes[12] = 2;
        let crc = crc32fast::hash(&bytes[8..HEADER_BYTES + u32::from_le_bytes(bytes[8..12].try_into().expect("four")) as usize]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(scan(&bytes, Some(10)), Err(ScanError::NewerFormat { found: 2 }));
    }

    #[test]
    fn hostile_lengths_do_not_reach_beyond_the_file() {
        let mut bytes = file(&sample()[..1]);
        bytes[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        let scan = scan(&bytes, None).expect("the only frame is torn");
        assert_eq!((scan.frames.len(), scan.torn.is_some()), (0, true));
    }
}
