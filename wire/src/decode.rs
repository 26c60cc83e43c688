//! `Decoder`: a bounds-checked cursor over bytes that nobody vouches for, and the error it stops with.
//!
//! Invariants: it never reads past the end, never allocates, and believes a count only up to `remaining / smallest element`.
//! All elements of one message together are held under [`Decoder::MAX_ELEMENTS`], so decoded memory is bounded by more than the frame.
//! Callers: `header`, `fence`, `message/*`, `record/*`.

use std::fmt;

use crate::varint;

/// Why a decoder stopped, and at which byte of its input.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("at byte {at}: {kind}")]
pub struct DecodeError {
    /// Position in the decoded bytes, from 0.
    pub at: usize,
    /// What was wrong there.
    pub kind: DecodeErrorKind,
}

/// What was wrong with the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecodeErrorKind {
    /// More bytes were promised or needed than are left.
    Truncated {
        /// Bytes that were needed.
        needed: usize,
        /// Bytes that were left.
        left: usize,
    },
    /// A length or a count below -1, or -1 where null has no meaning.
    BadLength(i64),
    /// Null where the schema does not allow it.
    UnexpectedNull,
    /// A count that cannot fit into the bytes that are left.
    CountTooLarge {
        /// The count that was read.
        count: u64,
        /// The most that could follow.
        possible: usize,
    },
    /// All elements of the message together exceed the budget.
    TooManyElements,
    /// A variable-length integer that does not end or does not fit.
    BadVarint,
    /// A string that is not UTF-8.
    NotUtf8,
    /// More than [`crate::tagged_field::MAX_UNKNOWN_TAGS`] unknown tagged fields in one structure.
    TooManyTags,
    /// Tags not in strictly ascending order (KIP-482).
    TagOrder,
    /// A tagged field whose content does not fill its declared size, or a tag that this version does not know as such.
    BadTag(u32),
    /// Bytes left over after the message.
    TrailingBytes(usize),
    /// An API key that is not served.
    UnknownApi(i16),
    /// A version of a known API that is not served.
    UnsupportedVersion {
        /// The API key.
        api_key: i16,
        /// The version asked for.
        version: i16,
    },
}

impl fmt::Display for DecodeErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeErrorKind::Truncated { needed, left } => write!(f, "{needed} bytes needed, {left} left"),
            DecodeErrorKind::BadLength(n) => write!(f, "length {n}"),
            DecodeErrorKind::UnexpectedNull => f.write_str("null where a value is required"),
            DecodeErrorKind::CountTooLarge { count, possible } => write!(f, "count {count}, at most {possible} can follow"),
            DecodeErrorKind::TooManyElements => write!(f, "more than {} elements in one message", Decoder::MAX_ELEMENTS),
            DecodeErrorKind::BadVarint => f.write_str("malformed varint"),
            DecodeErrorKind::NotUtf8 => f.write_str("string is not UTF-8"),
            DecodeErrorKind::TooManyTags => f.write_str("too many unknown tagged fields"),
            DecodeErrorKind::TagOrder => f.write_str("tags are not in ascending order"),
            DecodeErrorKind::BadTag(tag) => write!(f, "tagged field {tag} is malformed"),
            DecodeErrorKind::TrailingBytes(n) => write!(f, "{n} bytes left over"),
            DecodeErrorKind::UnknownApi(key) => write!(f, "API key {key} is not served"),
            DecodeErrorKind::UnsupportedVersion { api_key, version } => {
                write!(f, "version {version} of API key {api_key} is not served")
            }
        }
    }
}

/// A cursor over untrusted bytes.
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    buf: &'a [u8],
    at: usize,
    elements_left: usize,
}

macro_rules! fixed_int {
    ($($name:ident -> $t:ty),* $(,)?) => {
        $(
            #[doc = concat!("Reads a big-endian `", stringify!($t), "`.")]
            #[inline]
            pub fn $name(&mut self) -> Result<$t, DecodeError> {
                Ok(<$t>::from_be_bytes(self.fixed()?))
            }
        )*
    };
}

impl<'a> Decoder<'a> {
    /// The most array elements one message may hold, all arrays together. Larger messages are refused, however many bytes follow.
    pub const MAX_ELEMENTS: usize = 1_000_000;

    /// A decoder at the start of `buf`.
    pub fn new(buf: &'a [u8]) -> Self {
        Decoder { buf, at: 0, elements_left: Self::MAX_ELEMENTS }
    }

    /// Bytes already read.
    #[inline]
    pub fn position(&self) -> usize {
        self.at
    }

    /// Bytes not yet read.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.buf.len() - self.at
    }

    /// What is not yet read, without reading it.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        &self.buf[self.at..]
    }

    /// An error at the current position.
    #[cold]
    pub fn error(&self, kind: DecodeErrorKind) -> DecodeError {
        DecodeError { at: self.at, kind }
    }

    /// The next `len` bytes.
    #[inline]
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let left = self.remaining();
        if len > left {
            return Err(self.error(DecodeErrorKind::Truncated { needed: len, left }));
        }
        let out = &self.buf[self.at..self.at + len];
        self.at += len;
        Ok(out)
    }

    #[inline]
    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.buf[self.at..].first_chunk::<N>() {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => Err(self.error(DecodeErrorKind::Truncated { needed: N, left: self.remaining() })),
        }
    }

    fixed_int!(i8 -> i8, u8 -> u8, i16 -> i16, u16 -> u16, i32 -> i32, u32 -> u32, i64 -> i64);

    /// Reads one byte as a boolean; any value but 0 is true, as in Kafka.
    #[inline]
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.u8()? != 0)
    }

    /// Reads 16 bytes.
    #[inline]
    pub fn uuid(&mut self) -> Result<[u8; 16], DecodeError> {
        self.fixed()
    }

    /// Reads an unsigned varint of at most 5 bytes that fits 32 bits.
    #[inline]
    pub fn unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let (value, len) = varint::read_u32(&self.buf[self.at..]).map_err(|e| self.varint_error(e))?;
        self.at += len;
        Ok(value)
    }

    /// Reads a zig-zag varint of at most 5 bytes.
    #[inline]
    pub fn varint(&mut self) -> Result<i32, DecodeError> {
        Ok(varint::zigzag_i32(self.unsigned_varint()?))
    }

    /// Reads a zig-zag varlong of at most 10 bytes.
    #[inline]
    pub fn varlong(&mut self) -> Result<i64, DecodeError> {
        let (value, len) = varint::read_u64(&self.buf[self.at..]).map_err(|e| self.varint_error(e))?;
        self.at += len;
        Ok(varint::zigzag_i64(value))
    }

    #[cold]
    fn varint_error(&self, e: varint::VarintError) -> DecodeError {
        self.error(match e {
            varint::VarintError::Truncated => {
                let left = self.remaining();
                DecodeErrorKind::Truncated { needed: left + 1, left }
            }
            varint::VarintError::Overflow => DecodeErrorKind::BadVarint,
        })
    }

    /// Checks a count of elements that each take at least `min_size` bytes, and takes it out of the message's element budget.
    #[inline]
    pub fn check_count(&mut self, count: u64, min_size: usize) -> Result<usize, DecodeError> {
        let possible = self.remaining() / min_size.max(1);
        if count > possible as u64 {
            return Err(self.error(DecodeErrorKind::CountTooLarge { count, possible }));
        }
        let count = count as usize;
        self.charge(count)?;
        Ok(count)
    }

    /// Takes `elements` out of the message's element budget.
    #[inline]
    pub fn charge(&mut self, elements: usize) -> Result<(), DecodeError> {
        match self.elements_left.checked_sub(elements) {
            Some(left) => {
                self.elements_left = left;
                Ok(())
            }
            None => Err(self.error(DecodeErrorKind::TooManyElements)),
        }
    }

    /// Fails unless everything was read.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            n => Err(self.error(DecodeErrorKind::TrailingBytes(n))),
        }
    }
}
