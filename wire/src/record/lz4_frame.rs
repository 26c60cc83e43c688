//! Reads an LZ4 frame into a bounded buffer: exactly one frame, to its end mark.
//!
//! ```text
//! magic | FLG | BD | content size (8)? | header checksum | blocks | end mark | content checksum (4)?
//! block: size (4, top bit: stored) | data | block checksum (4)?
//! ```
//!
//! The blocks themselves are `lz4_flex`'s work. Its frame reader takes a cut stream for a finished one and reserves by the declared block
//! size, hence this one. The frame's own checksums are stepped over: the batch's CRC-32C covers every byte of it. Callers: `compression`.

use lz4_flex::block::{DecompressError, decompress_into, decompress_into_with_dict};

/// Why a frame could not be read.
pub(super) enum Lz4Error {
    /// The output would exceed the limit.
    TooLarge,
    /// The bytes are not one whole, sound frame.
    Corrupt(String),
}

const MAGIC: u32 = 0x184d_2204;
const FLAG_LINKED_OFF: u8 = 0x20;
const FLAG_BLOCK_CHECKSUM: u8 = 0x10;
const FLAG_CONTENT_SIZE: u8 = 0x08;
const FLAG_CONTENT_CHECKSUM: u8 = 0x04;
const FLAG_RESERVED: u8 = 0x02;
const FLAG_DICTIONARY: u8 = 0x01;
const STORED: u32 = 0x8000_0000;
/// How far back a linked block may refer.
const WINDOW_BYTES: usize = 64 * 1024;
/// One byte of a block yields at most this many.
const MAX_RATIO: usize = 255;

/// Appends the content of the frame to `out`, at most `limit` bytes of it.
pub(super) fn read(input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), Lz4Error> {
    let mut rest = input;
    if u32::from_le_bytes(take(&mut rest)?) != MAGIC {
        return Err(corrupt("not an LZ4 frame"));
    }
    let [flags, descriptor] = take(&mut rest)?;
    if flags >> 6 != 1 || flags & (FLAG_RESERVED | FLAG_DICTIONARY) != 0 {
        return Err(corrupt("unsupported frame flags"));
    }
    let block_max = match (descriptor >> 4) & 7 {
        code @ 4..=7 => 1usize << (8 + 2 * code),
        _ => return Err(corrupt("unknown block size")),
    };
    let content_size = match flags & FLAG_CONTENT_SIZE {
        0 => None,
        _ => Some(u64::from_le_bytes(take(&mut rest)?)),
    };
    let _header_checksum: [u8; 1] = take(&mut rest)?;

    let start = out.len();
    loop {
        let size = u32::from_le_bytes(take(&mut rest)?);
        if size == 0 {
            break;
        }
        let len = (size & !STORED) as usize;
        if len > block_max || len > rest.len() {
            return Err(corrupt("block beyond the frame"));
        }
        let (block, behind) = rest.split_at(len);
        rest = behind;
        let left = limit - (out.len() - start);
        if size & STORED != 0 {
            if len > left {
                return Err(Lz4Error::TooLarge);
            }
            out.extend_from_slice(block);
        } else {
            let linked = flags & FLAG_LINKED_OFF == 0;
            read_block(block, block_max, left, linked.then_some(start), out)?;
        }
        if flags & FLAG_BLOCK_CHECKSUM != 0 {
            let _block_checksum: [u8; 4] = take(&mut rest)?;
        }
    }
    if flags & FLAG_CONTENT_CHECKSUM != 0 {
        let _content_checksum: [u8; 4] = take(&mut rest)?;
    }
    if content_size.is_some_and(|size| size != (out.len() - start) as u64) {
        return Err(corrupt("content size does not match"));
    }
    if rest.is_empty() { Ok(()) } else { Err(corrupt("bytes behind the frame")) }
}

/// Decompresses one block to the end of `out`. `linked` is where the frame's output starts when blocks may refer to earlier ones.
fn read_block(block: &[u8], block_max: usize, left: usize, linked: Option<usize>, out: &mut Vec<u8>) -> Result<(), Lz4Error> {
    let possible = block_max.min(block.len().saturating_mul(MAX_RATIO));
    let room = possible.min(left);
    let at = out.len();
    out.resize(at + room, 0);
    let (before, output) = out.split_at_mut(at);
    let result = match linked {
        Some(start) => decompress_into_with_dict(block, output, &before[start.max(at.saturating_sub(WINDOW_BYTES))..]),
        None => decompress_into(block, output),
    };
    out.truncate(at + *result.as_ref().unwrap_or(&0));
    match result {
        Ok(_) => Ok(()),
        Err(DecompressError::OutputTooSmall { .. }) if room < possible => Err(Lz4Error::TooLarge),
        Err(e) => Err(corrupt(&e.to_string())),
    }
}

fn corrupt(why: &str) -> Lz4Error {
    Lz4Error::Corrupt(why.to_owned())
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Lz4Error> {
    let (value, behind) = rest.split_first_chunk::<N>().ok_or_else(|| corrupt("frame is cut"))?;
    *rest = behind;
    Ok(*value)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

    use super::*;

    fn frame(info: FrameInfo, input: &[u8]) -> Vec<u8> {
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(input).expect("writes");
        encoder.finish().expect("finishes")
    }

    #[test]
    fn every_kind_of_frame_comes_back() {
        let input: Vec<u8> = (0..75_000u32).flat_map(|i| (i % 9000).to_le_bytes()).collect();
        for mode in [BlockMode::Independent, BlockMode::Linked] {
            for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max4MB] {
                for checksums in [false, true] {
                    for content_size in [None, Some(input.len() as u64)] {
                        let info = FrameInfo::new()
                            .block_mode(mode)
                            .block_size(size)
                            .block_checksums(checksums)
                            .content_checksum(checksums)
                            .content_size(content_size);
                        let packed = frame(info, &input);
                        let mut out = Vec::new();
                        assert!(read(&packed, input.len(), &mut out).is_ok());
                        assert!(out == input);
                        for cut in (0..packed.len()).step_by(9001).chain(packed.len() - 9..packed.len()) {
                            let cut_result = read(&packed[..cut], input.len(), &mut Vec::new());
                            assert!(matches!(cut_result, Err(Lz4Error::Corrupt(_))), "cut at {cut} of {}", packed.len());
                        }
                        assert!(matches!(read(&packed, input.len() - 1, &mut Vec::new()), Err(Lz4Error::TooLarge)));
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_not_one_frame_is_refused() {
        let good = frame(FrameInfo::new(), b"some bytes");
        let with = |at: usize, value: u8| {
            let mut bad = good.clone();
            bad[at] = value;
            bad
        };
        // Magic, version, dictionary flag, block size, a byte behind the frame.
        for bad in [with(0, 0), with(4, 0), with(4, good[4] | 1), with(5, 0x30), [&good[..], &[0]].concat()] {
            assert!(matches!(read(&bad, 1000, &mut Vec::new()), Err(Lz4Error::Corrupt(_))));
        }
    }
}
