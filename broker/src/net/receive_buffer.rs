//! The receive buffer of a connection: bytes in as they arrive, whole request frames out as slices of it, without a copy.
//!
//! Sans-I/O. Memory is taken as bytes arrive, never by the length that a frame claims: a frame that does not fit is given room in
//! steps of four times what has arrived, up to its exact size, or at once when this connection has sent frames as big before.
//! Frames share the buffer's allocation; when they are answered it is free again.

use bytes::{Buf, Bytes, BytesMut};

use crate::limits::{RECEIVE_BUFFER_BYTES, RECEIVE_STEP_BYTES, RECEIVE_TRUST_BYTES};

/// Bytes of a frame's length prefix.
const PREFIX_BYTES: usize = 4;

/// Why a stream of bytes is no stream of frames; the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A negative or zero length.
    #[error("a frame of {0} bytes")]
    BadLength(i32),
    /// More than `socket.request.max.bytes`.
    #[error("a frame of {len} bytes is larger than the {max} bytes of socket.request.max.bytes")]
    TooLarge {
        /// What the frame claims.
        len: usize,
        /// The limit.
        max: usize,
    },
}

/// See the head of the file.
#[derive(Debug)]
pub struct ReceiveBuffer {
    bytes: BytesMut,
    frame_bytes_max: usize,
    /// Largest of the recent frames, prefix included: room that this connection is trusted with at once.
    recent_frame_bytes: usize,
}

impl ReceiveBuffer {
    /// An empty buffer that accepts frames of up to this many bytes.
    pub fn new(frame_bytes_max: usize) -> Self {
        ReceiveBuffer { bytes: BytesMut::new(), frame_bytes_max, recent_frame_bytes: 0 }
    }

    /// Size of the frame at the front, prefix included, once its length is known.
    pub fn frame_bytes(&self) -> Result<Option<usize>, FrameError> {
        let Some(prefix) = self.bytes.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let len = i32::from_be_bytes(*prefix);
        match usize::try_from(len) {
            Err(_) | Ok(0) => Err(FrameError::BadLength(len)),
            Ok(len) if len > self.frame_bytes_max => Err(FrameError::TooLarge { len, max: self.frame_bytes_max }),
            Ok(len) => Ok(Some(PREFIX_BYTES + len)),
        }
    }

    /// The next whole frame, without its prefix.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        match self.frame_bytes()? {
            Some(size) if self.bytes.len() >= size => {
                let mut frame = self.bytes.split_to(size).freeze();
                frame.advance(PREFIX_BYTES);
                // Grows at once, shrinks by an eighth per frame.
                self.recent_frame_bytes = size.max(self.recent_frame_bytes - self.recent_frame_bytes / 8);
                Ok(Some(frame))
            }
            _ => Ok(None),
        }
    }

    /// Bytes received that belong to no frame handed out yet.
    pub fn pending_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Makes room and gives the buffer to read into, with the most bytes to take now.
    pub fn room(&mut self) -> Result<(&mut BytesMut, usize), FrameError> {
        let have = self.bytes.len();
        let wanted = match self.frame_bytes()? {
            // Room for a frame like those before, so that it need not move when its length is known; but no bytes of the one after it.
            None if self.recent_frame_bytes > RECEIVE_BUFFER_BYTES => {
                let needed = self.recent_frame_bytes - have;
                if self.bytes.capacity() - have < needed {
                    self.bytes.reserve(needed);
                }
                return Ok((&mut self.bytes, RECEIVE_BUFFER_BYTES - have));
            }
            // Small frames: read on into the next ones.
            None => RECEIVE_BUFFER_BYTES,
            Some(size) if size <= RECEIVE_BUFFER_BYTES => RECEIVE_BUFFER_BYTES,
            Some(size) => size.min(RECEIVE_BUFFER_BYTES.max(4 * have).max(self.recent_frame_bytes)),
        };
        let spare = self.bytes.capacity() - have;
        let needed = wanted.saturating_sub(have).max(1);
        // With a small frame in front a quarter of the buffer is room enough; with a big one the room is exact.
        let enough = if wanted == RECEIVE_BUFFER_BYTES { needed.min(RECEIVE_BUFFER_BYTES / 4) } else { needed };
        if spare < enough {
            self.bytes.reserve(needed);
        }
        let most = if wanted == RECEIVE_BUFFER_BYTES { self.bytes.capacity() - have } else { needed };
        Ok((&mut self.bytes, most.min(RECEIVE_STEP_BYTES)))
    }

    /// Gives memory back while the connection is quiet. It stays trusted with frames of up to [`RECEIVE_TRUST_BYTES`]: their room is taken only when
    /// bytes arrive.
    pub fn shrink(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
            self.recent_frame_bytes = self.recent_frame_bytes.min(RECEIVE_TRUST_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BufMut;
    use proptest::prelude::*;

    fn feed(buffer: &mut ReceiveBuffer, mut bytes: &[u8], mut step: impl FnMut() -> usize, out: &mut Vec<Bytes>) -> Result<(), FrameError> {
        while !bytes.is_empty() {
            let (target, most) = buffer.room()?;
            let n = most.min(step().max(1)).min(bytes.len());
            assert!(n > 0 && target.capacity() - target.len() >= n, "room was promised");
            target.put_slice(&bytes[..n]);
            bytes = &bytes[n..];
            while let Some(frame) = buffer.next_frame()? {
                out.push(frame);
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_frames(sizes in prop::collection::vec(1usize..60_000, 1..12), seed in 1u64..u64::MAX) {
            let mut wire = Vec::new();
            for (i, size) in sizes.iter().enumerate() {
                wire.extend_from_slice(&(*size as i32).to_be_bytes());
                wire.extend(std::iter::repeat_n(i as u8, *size));
            }
            let mut state = seed;
            let mut frames = Vec::new();
            let mut buffer = ReceiveBuffer::new(100_000);
            feed(&mut buffer, &wire, || { state = state.wrapping_mul(6364136223846793005).wrapping_add(1); (state >> 33) as usize % 20_000 }, &mut frames).unwrap();
            prop_assert_eq!(frames.len(), sizes.len());
            for (i, (frame, size)) in frames.iter().zip(&sizes).enumerate() {
                prop_assert_eq!(frame.len(), *size);
                prop_assert!(frame.iter().all(|b| *b == i as u8));
            }
            prop_assert_eq!(buffer.pending_bytes(), 0);
        }
    }

    #[test]
    fn a_claimed_length_takes_no_memory() {
        let mut buffer = ReceiveBuffer::new(100 << 20);
        let mut frames = Vec::new();
        feed(&mut buffer, &(100i32 << 20).to_be_bytes(), || 4, &mut frames).unwrap();
        feed(&mut buffer, &[0; 100], || 100, &mut frames).unwrap();
        let (target, _) = buffer.room().unwrap();
        assert!(target.capacity() <= 2 * RECEIVE_BUFFER_BYTES, "{} bytes for 104 received", target.capacity());
    }

    #[test]
    fn memory_follows_what_arrived() {
        let mut buffer = ReceiveBuffer::new(100 << 20);
        let mut frames = Vec::new();
        let size = 10 << 20;
        feed(&mut buffer, &(size as i32).to_be_bytes(), || 4, &mut frames).unwrap();
        let mut sent = PREFIX_BYTES;
        while sent < size + PREFIX_BYTES {
            let n = 10_000.min(size + PREFIX_BYTES - sent);
            feed(&mut buffer, &vec![1; n], || n, &mut frames).unwrap();
            sent += n;
            if frames.is_empty() {
                let capacity = buffer.room().unwrap().0.capacity();
                assert!(capacity <= (8 * sent).max(2 * RECEIVE_BUFFER_BYTES), "{capacity} bytes for {sent} received");
            }
        }
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].len(), size);
        drop(frames);
        buffer.shrink();
        assert_eq!(buffer.bytes.capacity(), 0);
    }

    #[test]
    fn bad_lengths_are_refused() {
        for (len, error) in [
            (-1, FrameError::BadLength(-1)),
            (0, FrameError::BadLength(0)),
            (i32::MIN, FrameError::BadLength(i32::MIN)),
            (1001, FrameError::TooLarge { len: 1001, max: 1000 }),
            (i32::MAX, FrameError::TooLarge { len: i32::MAX as usize, max: 1000 }),
        ] {
            let mut buffer = ReceiveBuffer::new(1000);
            assert_eq!(feed(&mut buffer, &i32::to_be_bytes(len), || 4, &mut Vec::new()), Err(error));
        }
    }
}
