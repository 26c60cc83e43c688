//! The codecs of record batches: gzip, snappy (xerial framing or raw), LZ4 frame, zstd; decompression always under an output limit.
//!
//! The limit holds while decompressing, not afterwards: nothing is reserved because a stream claims a size, neither a xerial chunk nor a
//! zstd window nor an LZ4 block. Callers: `validate`, `builder`, the broker's recompression.

use std::io::{self, Read, Write};

use super::attributes::Compression;
use super::lz4_frame::{self, Lz4Error};
use crate::error_code::ErrorCode;

/// Why bytes could not be compressed or decompressed.
#[derive(Debug, thiserror::Error)]
pub enum CompressionError {
    /// The output would exceed the limit.
    #[error("{codec}: decompressed size is above the limit of {limit} bytes")]
    TooLarge {
        /// The codec.
        codec: Compression,
        /// The limit in bytes.
        limit: usize,
    },
    /// The bytes are not a whole, sound stream of the codec.
    #[error("{codec}: {why}")]
    Corrupt {
        /// The codec.
        codec: Compression,
        /// What the decoder said.
        why: String,
    },
    /// The compressor failed, for instance because of a level that the codec does not have.
    #[error("{codec}: cannot compress: {why}")]
    Compress {
        /// The codec.
        codec: Compression,
        /// What the encoder said.
        why: String,
    },
}

impl CompressionError {
    /// The Kafka error code that the producer gets. The checksum held, so what does not decompress is the producer's doing, and a retry would
    /// bring the same bytes: not `CORRUPT_MESSAGE`, which is retriable.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            CompressionError::TooLarge { .. } => ErrorCode::MessageTooLarge,
            CompressionError::Corrupt { .. } => ErrorCode::InvalidRecord,
            CompressionError::Compress { .. } => ErrorCode::UnknownServerError,
        }
    }
}

/// Appends the decompressed form of `input` to `out`, at most `limit` bytes of it. On error `out` holds what came out until then.
pub fn decompress(codec: Compression, input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), CompressionError> {
    if input.is_empty() && codec != Compression::None {
        return Err(corrupt(codec, "no bytes"));
    }
    match codec {
        Compression::None if input.len() > limit => Err(CompressionError::TooLarge { codec, limit }),
        Compression::None => {
            out.extend_from_slice(input);
            Ok(())
        }
        Compression::Gzip => read_limited(codec, flate2::bufread::MultiGzDecoder::new(input), limit, out),
        Compression::Snappy => unsnap(input, limit, out),
        Compression::Lz4 => lz4_frame::read(input, limit, out).map_err(|e| match e {
            Lz4Error::TooLarge => CompressionError::TooLarge { codec, limit },
            Lz4Error::Corrupt(why) => CompressionError::Corrupt { codec, why },
        }),
        Compression::Zstd => unzstd(input, limit, out),
    }
}

/// Appends the compressed form of `input` to `out`. `level` means what the codec says it means (gzip 1 to 9, zstd -131072 to 22); `None` is
/// its default; snappy and LZ4 have none.
pub fn compress(codec: Compression, level: Option<i32>, input: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let result = match codec {
        Compression::None => {
            out.extend_from_slice(input);
            Ok(())
        }
        Compression::Gzip => gzip(level, input, out),
        Compression::Snappy => snap_xerial(input, out),
        Compression::Lz4 => lz4(input, out),
        Compression::Zstd => zstd::stream::copy_encode(input, out, level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL)),
    };
    result.map_err(|e| CompressionError::Compress { codec, why: e.to_string() })
}

fn corrupt(codec: Compression, why: impl ToString) -> CompressionError {
    CompressionError::Corrupt { codec, why: why.to_string() }
}

/// Reads a stream to its end, which must come within `limit` bytes. Memory grows with what came out.
fn read_limited(codec: Compression, reader: impl Read, limit: usize, out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let before = out.len();
    let mut limited = reader.take(limit as u64 + 1);
    limited.read_to_end(out).map_err(|e| corrupt(codec, e))?;
    if out.len() - before > limit {
        out.truncate(before + limit);
        return Err(CompressionError::TooLarge { codec, limit });
    }
    Ok(())
}

// --- snappy ---------------------------------------------------------------------------------------------------------------------------

/// Begins a xerial stream; two big-endian `i32` follow, version and oldest compatible version.
const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_HEADER_BYTES: usize = 16;
/// Uncompressed bytes per chunk, as snappy-java's streams have it.
const XERIAL_CHUNK_BYTES: usize = 32 * 1024;
/// A snappy element of 3 bytes yields at most 64, so no block grows by more than this.
const SNAPPY_MAX_RATIO: usize = 22;

fn unsnap(input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let end = out.len().saturating_add(limit);
    if !input.starts_with(&XERIAL_MAGIC) {
        return unsnap_block(input, end, limit, out);
    }
    let mut rest = input;
    while !rest.is_empty() {
        // Streams may follow one another, each with its header.
        if rest.starts_with(&XERIAL_MAGIC) {
            rest = rest.get(XERIAL_HEADER_BYTES..).ok_or_else(|| corrupt(Compression::Snappy, "xerial header is cut"))?;
            continue;
        }
        let Some((len, behind)) = rest.split_first_chunk::<4>() else {
            return Err(corrupt(Compression::Snappy, "xerial chunk length is cut"));
        };
        let len = i32::from_be_bytes(*len);
        let chunk = usize::try_from(len).ok().and_then(|len| behind.get(..len));
        let chunk = chunk.ok_or_else(|| corrupt(Compression::Snappy, format!("xerial chunk of {len} bytes")))?;
        unsnap_block(chunk, end, limit, out)?;
        rest = &behind[chunk.len()..];
    }
    Ok(())
}

fn unsnap_block(block: &[u8], end: usize, limit: usize, out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let codec = Compression::Snappy;
    let len = snap::raw::decompress_len(block).map_err(|e| corrupt(codec, e))?;
    if len > block.len().saturating_mul(SNAPPY_MAX_RATIO) {
        return Err(corrupt(codec, format!("block of {} bytes claims {len}", block.len())));
    }
    let start = out.len();
    if len > end - start {
        return Err(CompressionError::TooLarge { codec, limit });
    }
    out.resize(start + len, 0);
    let written = snap::raw::Decoder::new().decompress(block, &mut out[start..]).map_err(|e| corrupt(codec, e));
    out.truncate(start + *written.as_ref().unwrap_or(&0));
    written.map(drop)
}

fn snap_xerial(input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.extend_from_slice(&XERIAL_MAGIC);
    out.extend_from_slice(&1i32.to_be_bytes());
    out.extend_from_slice(&1i32.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for chunk in input.chunks(XERIAL_CHUNK_BYTES) {
        let start = out.len();
        let most = snap::raw::max_compress_len(chunk.len());
        out.resize(start + 4 + most, 0);
        let len = encoder.compress(chunk, &mut out[start + 4..]).map_err(io::Error::other)?;
        out[start..start + 4].copy_from_slice(&(len as i32).to_be_bytes());
        out.truncate(start + 4 + len);
    }
    Ok(())
}

// --- gzip, LZ4 ------------------------------------------------------------------------------------------------------------------------

fn gzip(level: Option<i32>, input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let level = match level {
        None => flate2::Compression::default(),
        Some(level @ 0..=9) => flate2::Compression::new(level as u32),
        Some(level) => return Err(io::Error::other(format!("no level {level}"))),
    };
    let mut encoder = flate2::write::GzEncoder::new(out, level);
    encoder.write_all(input)?;
    encoder.finish().map(drop)
}

fn lz4(input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    // What Kafka's own clients write: independent blocks of 64 KiB.
    let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(input)?;
    encoder.finish().map(drop).map_err(io::Error::other)
}

// --- zstd -----------------------------------------------------------------------------------------------------------------------------

/// Largest window a streaming decoder reserves for: 8 MiB, what RFC 8878 (3.1.1.1.2) asks every decoder to support.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

fn unzstd(input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let codec = Compression::Zstd;
    if zstd_window_log(input).is_some_and(|log| log > ZSTD_WINDOW_LOG_MAX) {
        return unzstd_without_window(input, limit, out);
    }
    let mut decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(|e| corrupt(codec, e))?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|e| corrupt(codec, e))?;
    read_limited(codec, decoder, limit, out)
}

/// The window a frame asks for, rounded up to a power of two, when it states one (RFC 8878, 3.1.1.1).
fn zstd_window_log(input: &[u8]) -> Option<u32> {
    let [0x28, 0xb5, 0x2f, 0xfd, descriptor, window, ..] = *input else {
        return None;
    };
    let single_segment = descriptor & 0x20 != 0;
    (!single_segment).then(|| 10 + (window >> 3) as u32 + (window & 7 != 0) as u32)
}

/// Levels 20 to 22 state windows of up to 128 MiB even for small data. Into one buffer they decode without any window, and the buffer grows
/// from the size of the input to the limit, so it takes memory for what came out and not for what was claimed.
fn unzstd_without_window(input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let codec = Compression::Zstd;
    let mut decompressor = zstd::bulk::Decompressor::new().map_err(|e| corrupt(codec, e))?;
    let mut size = (4 * input.len()).clamp(64 * 1024, limit.max(64 * 1024)).min(limit.max(1));
    loop {
        let mut buffer = Vec::with_capacity(size);
        match decompressor.decompress_to_buffer(input, &mut buffer) {
            Ok(_) => {
                out.extend_from_slice(&buffer);
                return Ok(());
            }
            Err(e) if e.to_string().contains("too small") => {
                if size >= limit {
                    return Err(CompressionError::TooLarge { codec, limit });
                }
                size = size.saturating_mul(4).min(limit);
            }
            Err(e) => return Err(corrupt(codec, e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_random::Random;

    const CODECS: [Compression; 4] = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    fn compressible(len: usize) -> Vec<u8> {
        let mut random = Random::new(len as u64);
        let mut out = Vec::new();
        while out.len() < len {
            out.extend_from_slice(format!("record {} ", random.below(1000)).as_bytes());
        }
        out.truncate(len);
        out
    }

    fn packed(codec: Compression, input: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        compress(codec, None, input, &mut out).expect("compresses");
        out
    }

    fn unpacked(codec: Compression, input: &[u8], limit: usize) -> Result<Vec<u8>, CompressionError> {
        let mut out = b"kept".to_vec();
        let result = decompress(codec, input, limit, &mut out);
        assert!(out.starts_with(b"kept") && out.len() <= 4 + limit, "{codec} never exceeds the limit");
        result.map(|()| out.split_off(4))
    }

    #[test]
    fn every_codec_gives_back_what_it_took_exactly_at_the_limit() {
        for codec in Compression::ALL {
            for len in [1, 100, 32 * 1024, 32 * 1024 + 1, 300_000] {
                let input = compressible(len);
                let small = packed(codec, &input);
                assert_eq!(unpacked(codec, &small, len).expect("fits exactly"), input, "{codec} {len}");
                let refused = unpacked(codec, &small, len - 1);
                assert!(matches!(refused, Err(CompressionError::TooLarge { .. })), "{codec} {len}: {refused:?}");
            }
        }
    }

    #[test]
    fn every_cut_is_an_error() {
        let input = compressible(3000);
        for codec in CODECS {
            let small = packed(codec, &input);
            for cut in 0..small.len() {
                // A xerial stream may end after any chunk, so only a whole chunk may be missing without notice: there is one chunk here, and
                // the bare header is the one cut that yields nothing instead of an error.
                match unpacked(codec, &small[..cut], 1 << 20) {
                    Err(_) => {}
                    Ok(out) => {
                        assert!(codec == Compression::Snappy && cut == XERIAL_HEADER_BYTES && out.is_empty(), "{codec} cut at {cut}")
                    }
                }
            }
        }
    }

    #[test]
    fn random_damage_never_panics_and_never_exceeds_the_limit() {
        let input = compressible(20_000);
        for codec in CODECS {
            let small = packed(codec, &input);
            let mut random = Random::new(7);
            for _ in 0..2000 {
                let mut damaged = small.clone();
                for _ in 0..1 + random.below(3) {
                    let at = random.below(damaged.len() as u64) as usize;
                    damaged[at] = random.next() as u8;
                }
                let _ = unpacked(codec, &damaged, 30_000);
            }
        }
    }

    #[test]
    fn bombs_stop_at_the_limit() {
        let zeros = vec![0u8; 16 << 20];
        for codec in CODECS {
            let bomb = packed(codec, &zeros);
            let mut out = Vec::new();
            let refused = decompress(codec, &bomb, 256 << 10, &mut out);
            assert!(matches!(refused, Err(CompressionError::TooLarge { .. })), "{codec}");
            assert!(out.capacity() <= 1 << 20, "{codec} took {} bytes", out.capacity());
            assert_eq!(refused.map_err(|e| e.error_code()), Err(ErrorCode::MessageTooLarge));
        }
    }

    #[test]
    fn raw_snappy_is_read_and_its_claims_are_not_believed() {
        let input = compressible(5000);
        let raw = snap::raw::Encoder::new().compress_vec(&input).expect("compresses");
        assert_eq!(unpacked(Compression::Snappy, &raw, 5000).expect("raw"), input);
        // A block of six bytes that claims 4 GiB - 1, bare and inside a xerial chunk.
        let claim = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
        assert!(matches!(unpacked(Compression::Snappy, &claim, usize::MAX >> 8), Err(CompressionError::Corrupt { .. })));
        let mut xerial = packed(Compression::Snappy, &[]);
        xerial.extend_from_slice(&6i32.to_be_bytes());
        xerial.extend_from_slice(&claim);
        assert!(matches!(unpacked(Compression::Snappy, &xerial, usize::MAX >> 8), Err(CompressionError::Corrupt { .. })));
        for len in [i32::MAX, -1, i32::MIN] {
            let mut xerial = packed(Compression::Snappy, &[]);
            xerial.extend_from_slice(&len.to_be_bytes());
            xerial.extend_from_slice(&raw);
            assert!(matches!(unpacked(Compression::Snappy, &xerial, 1 << 20), Err(CompressionError::Corrupt { .. })));
        }
        // Two streams in a row.
        let twice = [packed(Compression::Snappy, b"one "), packed(Compression::Snappy, b"two")].concat();
        assert_eq!(unpacked(Compression::Snappy, &twice, 100).expect("two streams"), b"one two");
    }

    #[test]
    fn zstd_windows_above_eight_mebibytes_are_read_without_reserving_them() {
        let input = compressible(100_000);
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 22).expect("level 22");
        encoder.write_all(&input).expect("writes");
        let small = encoder.finish().expect("finishes");
        assert!(zstd_window_log(&small).is_some_and(|log| log > ZSTD_WINDOW_LOG_MAX), "the test is about large windows");
        assert_eq!(unpacked(Compression::Zstd, &small, input.len()).expect("fits exactly"), input);
        assert!(matches!(unpacked(Compression::Zstd, &small, input.len() - 1), Err(CompressionError::TooLarge { .. })));
        for cut in (0..small.len()).step_by(97) {
            assert!(unpacked(Compression::Zstd, &small[..cut], 1 << 20).is_err());
        }
    }

    #[test]
    fn levels_are_the_codecs_own() {
        let input = compressible(50_000);
        for (codec, level) in [(Compression::Gzip, 1), (Compression::Gzip, 9), (Compression::Zstd, -5), (Compression::Zstd, 10)] {
            let mut out = Vec::new();
            compress(codec, Some(level), &input, &mut out).expect("a level it has");
            assert_eq!(unpacked(codec, &out, input.len()).expect("sound"), input);
        }
        assert!(compress(Compression::Gzip, Some(10), &input, &mut Vec::new()).is_err());
    }
}
