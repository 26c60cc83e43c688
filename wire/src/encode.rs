//! `Sink`: where encoders write. One description of a message serves both passes: `Counter` gives the exact size, a buffer takes the bytes.
//!
//! Callers: `header`, `message/*`, `record/builder`.

use bytes::{BufMut, BytesMut};

use crate::varint;

/// Something that bytes are written to, in protocol order.
pub trait Sink {
    /// Appends raw bytes.
    fn put(&mut self, bytes: &[u8]);

    /// Appends one byte.
    #[inline]
    fn u8(&mut self, v: u8) {
        self.put(&[v]);
    }

    /// Appends one byte.
    #[inline]
    fn i8(&mut self, v: i8) {
        self.put(&v.to_be_bytes());
    }

    /// Appends a big-endian `i16`.
    #[inline]
    fn i16(&mut self, v: i16) {
        self.put(&v.to_be_bytes());
    }

    /// Appends a big-endian `i32`.
    #[inline]
    fn i32(&mut self, v: i32) {
        self.put(&v.to_be_bytes());
    }

    /// Appends a big-endian `u32`.
    #[inline]
    fn u32(&mut self, v: u32) {
        self.put(&v.to_be_bytes());
    }

    /// Appends a big-endian `i64`.
    #[inline]
    fn i64(&mut self, v: i64) {
        self.put(&v.to_be_bytes());
    }

    /// Appends an unsigned varint.
    #[inline]
    fn unsigned_varint(&mut self, v: u32) {
        if v < 0x80 {
            return self.u8(v as u8);
        }
        let mut out = [0; 10];
        let len = varint::write_u64(v as u64, &mut out);
        self.put(&out[..len]);
    }

    /// Appends a zig-zag varint.
    #[inline]
    fn varint(&mut self, v: i32) {
        self.unsigned_varint(varint::unzigzag_i32(v));
    }

    /// Appends a zig-zag varlong.
    #[inline]
    fn varlong(&mut self, v: i64) {
        let v = varint::unzigzag_i64(v);
        if v < 0x80 {
            return self.u8(v as u8);
        }
        let mut out = [0; 10];
        let len = varint::write_u64(v, &mut out);
        self.put(&out[..len]);
    }
}

impl Sink for BytesMut {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.put_slice(bytes);
    }
}

impl Sink for Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    #[inline]
    fn u8(&mut self, v: u8) {
        self.push(v);
    }
}

/// A sink that only counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counter {
    /// Bytes that were written.
    pub bytes: usize,
}

impl Sink for Counter {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
    }
}

/// The number of bytes that `write` writes.
pub fn measure(write: impl FnOnce(&mut Counter)) -> usize {
    let mut counter = Counter::default();
    write(&mut counter);
    counter.bytes
}
