//! Size-prefixed frames as a state machine: bytes in, whole frames out.
//!
//! A frame is a big-endian `i32` size and that many bytes. A negative size or one above the cap is an error, at once and for good. The
//! declared size reserves nothing: memory grows only with bytes that arrived. Callers: the broker's connection, the bench client.

use bytes::{Buf, Bytes, BytesMut};

/// Bytes of the size prefix.
pub const SIZE_PREFIX_BYTES: usize = 4;

/// Why a byte stream cannot be cut into frames any further.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// The size prefix is negative.
    #[error("frame size {0} is negative")]
    Negative(i32),
    /// The size prefix is above the cap.
    #[error("frame of {size} bytes is above the limit of {limit}")]
    TooLarge {
        /// Declared size in bytes.
        size: usize,
        /// The cap in bytes.
        limit: usize,
    },
}

/// Cuts a byte stream into frames.
#[derive(Debug)]
pub struct FrameDecoder {
    buf: BytesMut,
    limit: usize,
    failed: Option<FrameError>,
}

impl FrameDecoder {
    /// A decoder that refuses frames of more than `limit` bytes (without the prefix).
    pub fn new(limit: usize) -> Self {
        FrameDecoder { buf: BytesMut::new(), limit, failed: None }
    }

    /// Changes the cap, for instance once the peer has authenticated. A frame already begun is judged by the new cap.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Appends bytes as they arrived. After an error they are dropped.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.buf.extend_from_slice(bytes);
        }
    }

    /// The buffer itself, for readers that append to it in place. They must only append.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buf
    }

    /// Bytes held that are not yet part of a returned frame.
    pub fn buffered(&self) -> usize {
        self.buf.len()
    }

    /// Bytes still missing of the frame at the front, once its size is known and sound: a hint for how much to read, never for how much to
    /// allocate at once.
    pub fn missing(&self) -> Option<usize> {
        let size = usize::try_from(self.declared()?).ok()?;
        (size <= self.limit).then(|| (SIZE_PREFIX_BYTES + size).saturating_sub(self.buf.len()))
    }

    /// The next whole frame without its prefix, sharing the buffer's memory; `None` when more bytes are needed. After an error every call
    /// returns that error.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let Some(size) = self.declared() else {
            return Ok(None);
        };
        let Ok(size) = usize::try_from(size) else {
            return Err(self.fail(FrameError::Negative(size)));
        };
        if size > self.limit {
            return Err(self.fail(FrameError::TooLarge { size, limit: self.limit }));
        }
        if self.buf.len() < SIZE_PREFIX_BYTES + size {
            return Ok(None);
        }
        self.buf.advance(SIZE_PREFIX_BYTES);
        Ok(Some(self.buf.split_to(size).freeze()))
    }

    fn declared(&self) -> Option<i32> {
        self.buf.first_chunk::<SIZE_PREFIX_BYTES>().map(|prefix| i32::from_be_bytes(*prefix))
    }

    #[cold]
    fn fail(&mut self, error: FrameError) -> FrameError {
        self.failed = Some(error);
        self.buf = BytesMut::new();
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_whole_however_the_bytes_arrive() {
        let stream: Vec<u8> = [&b"\0\0\0\x03abc"[..], b"\0\0\0\0", b"\0\0\0\x01z"].concat();
        for step in 1..=stream.len() {
            let mut decoder = FrameDecoder::new(3);
            let mut frames = Vec::new();
            for chunk in stream.chunks(step) {
                decoder.push(chunk);
                while let Some(frame) = decoder.next().expect("sound") {
                    frames.push(frame);
                }
            }
            assert_eq!(frames, [&b"abc"[..], b"", b"z"], "in steps of {step}");
            assert_eq!(decoder.buffered(), 0);
        }
    }

    #[test]
    fn a_bad_size_is_an_error_for_good() {
        for (prefix, error) in [
            ((-1i32).to_be_bytes(), FrameError::Negative(-1)),
            (i32::MIN.to_be_bytes(), FrameError::Negative(i32::MIN)),
            (1001i32.to_be_bytes(), FrameError::TooLarge { size: 1001, limit: 1000 }),
            (i32::MAX.to_be_bytes(), FrameError::TooLarge { size: i32::MAX as usize, limit: 1000 }),
        ] {
            let mut decoder = FrameDecoder::new(1000);
            decoder.push(&prefix);
            assert_eq!(decoder.next(), Err(error));
            decoder.push(b"\0\0\0\x01z");
            assert_eq!(decoder.next(), Err(error));
        }
    }

    #[test]
    fn the_declared_size_reserves_nothing() {
        let mut decoder = FrameDecoder::new(100 << 20);
        decoder.push(&(100i32 << 20).to_be_bytes());
        decoder.push(&[0; 100]);
        assert_eq!(decoder.next(), Ok(None));
        assert_eq!(decoder.missing(), Some((100 << 20) - 100));
        assert!(decoder.buffer().capacity() < 4096);
    }
}
