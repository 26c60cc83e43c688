//! Strings, byte strings and arrays in both dress codes: classic (fixed-width length) and compact (KIP-482, varint of length + 1).
//!
//! `flexible` selects compact. Lengths follow the protocol guide's primitive types: a string holds at most 32,767 bytes, -1 (compact: 0)
//! stands for null. Callers: `header`, `fence`, `message/*`.

use std::fmt;
use std::ops::{Deref, Range};

use bytes::Bytes;

use crate::decode::{DecodeError, DecodeErrorKind, Decoder};
use crate::encode::Sink;

/// The most bytes a protocol string may hold.
pub const MAX_STRING_BYTES: usize = i16::MAX as usize;

/// A UTF-8 string that shares the bytes of the frame it came in; cloning does not copy.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct WireString(Bytes);

impl WireString {
    /// The empty string.
    pub const EMPTY: WireString = WireString(Bytes::new());

    /// A string without a copy or an allocation.
    pub const fn from_static(s: &'static str) -> WireString {
        WireString(Bytes::from_static(s.as_bytes()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("only built from UTF-8")
    }

    /// The text's bytes, shared.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// `part` as a string that shares `whole`, of which it must be a slice.
    pub(crate) fn share(whole: &Bytes, part: &str) -> WireString {
        WireString(whole.slice_ref(part.as_bytes()))
    }
}

impl Deref for WireString {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for WireString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for WireString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<&str> for WireString {
    fn from(s: &str) -> Self {
        WireString(Bytes::copy_from_slice(s.as_bytes()))
    }
}

impl From<String> for WireString {
    fn from(s: String) -> Self {
        WireString(Bytes::from(s.into_bytes()))
    }
}

impl TryFrom<Bytes> for WireString {
    type Error = std::str::Utf8Error;
    fn try_from(bytes: Bytes) -> Result<Self, Self::Error> {
        std::str::from_utf8(&bytes)?;
        Ok(WireString(bytes))
    }
}

impl PartialEq<str> for WireString {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other.as_bytes()
    }
}

impl PartialEq<&str> for WireString {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == *other.as_bytes()
    }
}

impl<'a> Decoder<'a> {
    /// Reads a string, null allowed.
    pub fn nullable_string(&mut self, flexible: bool) -> Result<Option<&'a str>, DecodeError> {
        let len = if flexible { self.unsigned_varint()? as i64 - 1 } else { self.i16()? as i64 };
        if len == -1 {
            return Ok(None);
        }
        if !(0..=MAX_STRING_BYTES as i64).contains(&len) {
            return Err(self.error(DecodeErrorKind::BadLength(len)));
        }
        let at = self.position();
        let bytes = self.bytes(len as usize)?;
        match std::str::from_utf8(bytes) {
            Ok(s) => Ok(Some(s)),
            Err(_) => Err(DecodeError { at, kind: DecodeErrorKind::NotUtf8 }),
        }
    }

    /// Reads a string.
    pub fn string(&mut self, flexible: bool) -> Result<&'a str, DecodeError> {
        match self.nullable_string(flexible)? {
            Some(s) => Ok(s),
            None => Err(self.error(DecodeErrorKind::UnexpectedNull)),
        }
    }

    /// Reads a byte string, null allowed: where its bytes lie in the decoder's input. Record sets are read like this too.
    pub fn nullable_bytes(&mut self, flexible: bool) -> Result<Option<Range<usize>>, DecodeError> {
        let len = if flexible { self.unsigned_varint()? as i64 - 1 } else { self.i32()? as i64 };
        if len == -1 {
            return Ok(None);
        }
        if !(0..=i32::MAX as i64).contains(&len) {
            return Err(self.error(DecodeErrorKind::BadLength(len)));
        }
        let start = self.position();
        self.bytes(len as usize)?;
        Ok(Some(start..self.position()))
    }

    /// Reads the count of an array whose elements take at least `min_size` bytes each, null allowed.
    pub fn nullable_array(&mut self, flexible: bool, min_size: usize) -> Result<Option<usize>, DecodeError> {
        let count = if flexible { self.unsigned_varint()? as i64 - 1 } else { self.i32()? as i64 };
        match count {
            -1 => Ok(None),
            n if n < 0 => Err(self.error(DecodeErrorKind::BadLength(n))),
            n => self.check_count(n as u64, min_size).map(Some),
        }
    }

    /// Reads the count of an array whose elements take at least `min_size` bytes each.
    pub fn array(&mut self, flexible: bool, min_size: usize) -> Result<usize, DecodeError> {
        match self.nullable_array(flexible, min_size)? {
            Some(count) => Ok(count),
            None => Err(self.error(DecodeErrorKind::UnexpectedNull)),
        }
    }
}

/// Writes a string. One beyond [`MAX_STRING_BYTES`] is cut at a character so that the message stays well-formed.
pub fn put_string<W: Sink + ?Sized>(w: &mut W, s: &str, flexible: bool) {
    let s = &s[..s.floor_char_boundary(MAX_STRING_BYTES)];
    if flexible {
        w.unsigned_varint(s.len() as u32 + 1);
    } else {
        w.i16(s.len() as i16);
    }
    w.put(s.as_bytes());
}

/// Writes a string or null.
pub fn put_nullable_string<W: Sink + ?Sized>(w: &mut W, s: Option<&str>, flexible: bool) {
    match s {
        Some(s) => put_string(w, s, flexible),
        None if flexible => w.unsigned_varint(0),
        None => w.i16(-1),
    }
}

/// Writes the length of a byte string; the bytes follow by other means.
pub fn put_bytes_len<W: Sink + ?Sized>(w: &mut W, len: usize, flexible: bool) {
    debug_assert!(len <= i32::MAX as usize, "{len} bytes do not fit a protocol byte string");
    if flexible {
        w.unsigned_varint(len as u32 + 1);
    } else {
        w.i32(len as i32);
    }
}

/// Writes a byte string or null.
pub fn put_nullable_bytes<W: Sink + ?Sized>(w: &mut W, bytes: Option<&[u8]>, flexible: bool) {
    match bytes {
        Some(bytes) => {
            put_bytes_len(w, bytes.len(), flexible);
            w.put(bytes);
        }
        None => put_null_array(w, flexible),
    }
}

/// Writes the count of an array; the elements follow.
pub fn put_array<W: Sink + ?Sized>(w: &mut W, count: usize, flexible: bool) {
    put_bytes_len(w, count, flexible);
}

/// Writes a null array.
pub fn put_null_array<W: Sink + ?Sized>(w: &mut W, flexible: bool) {
    if flexible {
        w.unsigned_varint(0);
    } else {
        w.i32(-1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_come_back_in_both_dress_codes() {
        for flexible in [false, true] {
            for s in [None, Some(""), Some("topic"), Some("naïve ☃")] {
                let mut out = Vec::new();
                put_nullable_string(&mut out, s, flexible);
                let mut d = Decoder::new(&out);
                assert_eq!(d.nullable_string(flexible), Ok(s));
                assert_eq!(d.finish(), Ok(()));
                for cut in 0..out.len() {
                    assert!(Decoder::new(&out[..cut]).nullable_string(flexible).is_err());
                }
            }
        }
    }

    #[test]
    fn an_overlong_string_is_cut_at_a_character() {
        let long = "é".repeat(20_000);
        let mut out = Vec::new();
        put_string(&mut out, &long, true);
        let read = Decoder::new(&out).string(true).expect("well-formed");
        assert_eq!(read.len(), MAX_STRING_BYTES - 1);
        assert!(long.starts_with(read));
    }

    #[test]
    fn lengths_and_counts_are_not_believed() {
        assert_eq!(Decoder::new(&[0x80, 0x00]).nullable_string(false).map_err(|e| e.kind), Err(DecodeErrorKind::BadLength(-32768)));
        assert!(Decoder::new(&[0xff, 0xff, 0xff, 0xff, 0x0f]).nullable_string(true).is_err());
        assert!(Decoder::new(&[0x7f, 0xff, 0xff, 0xff, 0]).nullable_bytes(false).is_err());
        assert_eq!(
            Decoder::new(&[0x7f, 0xff, 0xff, 0xff, 0]).array(false, 1).map_err(|e| e.kind),
            Err(DecodeErrorKind::CountTooLarge { count: i32::MAX as u64, possible: 1 })
        );
        assert_eq!(Decoder::new(&[0xff, 0xff, 0xff, 0xff]).array(false, 1).map_err(|e| e.kind), Err(DecodeErrorKind::UnexpectedNull));
        assert_eq!(Decoder::new(&[0xff, 0xff, 0xff, 0xfe]).array(false, 1).map_err(|e| e.kind), Err(DecodeErrorKind::BadLength(-2)));
        assert_eq!(Decoder::new(&[2, 0xff]).string(true).map_err(|e| e.kind), Err(DecodeErrorKind::NotUtf8));
        let zeros = vec![0u8; Decoder::MAX_ELEMENTS + 1];
        let mut d = Decoder::new(&zeros);
        assert_eq!(d.check_count(zeros.len() as u64, 1).map_err(|e| e.kind), Err(DecodeErrorKind::TooManyElements));
    }
}
