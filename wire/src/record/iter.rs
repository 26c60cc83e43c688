//! Records inside an uncompressed payload, borrowed from it.
//!
//! ```text
//! varint length | int8 attributes | varlong timestamp delta | varint offset delta
//! varint key length, -1 null | key | varint value length, -1 null | value
//! varint header count | (varint key length | key | varint value length, -1 null | value)*
//! ```
//!
//! Nothing is copied and nothing allocated, per record or at all. A record must fill its length exactly, and the payload must hold exactly
//! the batch's count. Callers: `validate`, offset lookup by timestamp, the coordinators, the bench client.

use crate::decode::{DecodeError, DecodeErrorKind, Decoder};

/// Smallest encoding of a record: length, attributes, two deltas, null key, null value, no headers.
pub const MIN_RECORD_BYTES: usize = 7;

/// One record, borrowed from its payload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// Unused by the protocol; 0.
    pub attributes: i8,
    /// Milliseconds from the batch's base timestamp.
    pub timestamp_delta: i64,
    /// From the batch's base offset.
    pub offset_delta: i32,
    /// Key, if there is one.
    pub key: Option<&'a [u8]>,
    /// Value; `None` deletes the key in a compacted topic.
    pub value: Option<&'a [u8]>,
    /// Headers, checked when the record was read.
    pub headers: Headers<'a>,
}

/// One header of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header<'a> {
    /// Name, UTF-8.
    pub key: &'a str,
    /// Value, if there is one.
    pub value: Option<&'a [u8]>,
}

/// The headers of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Headers<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Headers<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Walks them.
    pub fn iter(&self) -> impl Iterator<Item = Header<'a>> + use<'a> {
        let mut d = Decoder::new(self.bytes);
        (0..self.count).map_while(move |_| read_header(&mut d).ok())
    }
}

/// Walks the records of an uncompressed payload.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    d: Decoder<'a>,
    left: usize,
}

impl<'a> Records<'a> {
    /// Starts at the front of `payload`, which claims to hold `count` records. A count that cannot fit is refused at once.
    pub fn new(payload: &'a [u8], count: i32) -> Result<Records<'a>, DecodeError> {
        let d = Decoder::new(payload);
        let possible = payload.len() / MIN_RECORD_BYTES;
        match usize::try_from(count) {
            Ok(left) if left <= possible => Ok(Records { d, left }),
            Ok(left) => Err(d.error(DecodeErrorKind::CountTooLarge { count: left as u64, possible })),
            Err(_) => Err(d.error(DecodeErrorKind::BadLength(count as i64))),
        }
    }

    /// Bytes of the payload read so far.
    pub fn position(&self) -> usize {
        self.d.position()
    }

    /// The next record; `None` after the last one, once nothing is left over.
    fn read(&mut self) -> Result<Option<Record<'a>>, DecodeError> {
        if self.left == 0 {
            self.d.finish()?;
            return Ok(None);
        }
        self.left -= 1;
        read_record(&mut self.d).map(Some)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, DecodeError>;

    /// After an error the walk is over.
    fn next(&mut self) -> Option<Self::Item> {
        let item = self.read().transpose();
        if matches!(item, Some(Err(_))) {
            *self = Records { d: Decoder::new(&[]), left: 0 };
        }
        item
    }
}

fn read_record<'a>(d: &mut Decoder<'a>) -> Result<Record<'a>, DecodeError> {
    let len = d.varint()?;
    let at = d.position();
    let Ok(len) = usize::try_from(len) else {
        return Err(d.error(DecodeErrorKind::BadLength(len as i64)));
    };
    // A decoder of its own keeps every field inside the record; its errors count from the record, so they are moved.
    let mut r = Decoder::new(d.bytes(len)?);
    read_fields(&mut r).map_err(|e| DecodeError { at: at + e.at, kind: e.kind })
}

fn read_fields<'a>(r: &mut Decoder<'a>) -> Result<Record<'a>, DecodeError> {
    let attributes = r.i8()?;
    let timestamp_delta = r.varlong()?;
    let offset_delta = r.varint()?;
    let key = read_nullable(r)?;
    let value = read_nullable(r)?;
    let count = r.varint()?;
    // A header is at least two lengths.
    let possible = r.remaining() / 2;
    let count = match usize::try_from(count) {
        Ok(count) if count <= possible => count,
        Ok(count) => return Err(r.error(DecodeErrorKind::CountTooLarge { count: count as u64, possible })),
        Err(_) => return Err(r.error(DecodeErrorKind::BadLength(count as i64))),
    };
    let headers = Headers { bytes: r.rest(), count };
    for _ in 0..count {
        read_header(r)?;
    }
    r.finish()?;
    Ok(Record { attributes, timestamp_delta, offset_delta, key, value, headers })
}

fn read_header<'a>(r: &mut Decoder<'a>) -> Result<Header<'a>, DecodeError> {
    let at = r.position();
    let key = read_nullable(r)?.ok_or(DecodeError { at, kind: DecodeErrorKind::UnexpectedNull })?;
    let key = std::str::from_utf8(key).map_err(|_| DecodeError { at, kind: DecodeErrorKind::NotUtf8 })?;
    Ok(Header { key, value: read_nullable(r)? })
}

fn read_nullable<'a>(r: &mut Decoder<'a>) -> Result<Option<&'a [u8]>, DecodeError> {
    let len = r.varint()?;
    match usize::try_from(len) {
        Ok(len) => r.bytes(len).map(Some),
        Err(_) if len == -1 => Ok(None),
        Err(_) => Err(r.error(DecodeErrorKind::BadLength(len as i64))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::Sink;

    fn record(body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut inner = Vec::new();
        body(&mut inner);
        let mut out = Vec::new();
        out.varint(inner.len() as i32);
        out.put(&inner);
        out
    }

    fn fields(out: &mut Vec<u8>, headers: i32) {
        out.i8(0);
        out.varlong(-3);
        out.varint(0);
        out.varint(-1);
        out.varint(2);
        out.put(b"ab");
        out.varint(headers);
    }

    fn only(payload: &[u8]) -> Result<Record<'_>, DecodeError> {
        Records::new(payload, 1)?.next().expect("one record")
    }

    #[test]
    fn reads_nulls_headers_and_negative_deltas() {
        let payload = record(|out| {
            fields(out, 2);
            out.put(&[2, b'k', 1, 0, 4, b'v', b'w']);
        });
        let read = only(&payload).expect("sound");
        assert_eq!((read.timestamp_delta, read.key, read.value), (-3, None, Some(&b"ab"[..])));
        let headers: Vec<_> = read.headers.iter().collect();
        assert_eq!(headers, [Header { key: "k", value: None }, Header { key: "", value: Some(b"vw") }]);
        for cut in 0..payload.len() {
            assert!(only(&payload[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn lengths_and_counts_inside_a_record_are_not_believed() {
        // Headers claimed beyond the record, although the payload goes on.
        let mut payload = record(|out| fields(out, 1));
        payload.extend_from_slice(&[0; 50]);
        assert!(matches!(only(&payload).map_err(|e| e.kind), Err(DecodeErrorKind::CountTooLarge { .. })));
        // A value longer than the record.
        let payload = record(|out| {
            out.put(&[0, 0, 0, 1]);
            out.varint(i32::MAX);
        });
        assert!(matches!(only(&payload).map_err(|e| e.kind), Err(DecodeErrorKind::Truncated { .. })));
        // Bytes left inside the record.
        let payload = record(|out| {
            fields(out, 0);
            out.u8(0);
        });
        assert_eq!(only(&payload).map_err(|e| e.kind), Err(DecodeErrorKind::TrailingBytes(1)));
        // A record length below zero; a batch count that cannot fit; one below zero.
        assert!(only(&[1, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(Records::new(&[0; 13], 2).is_err());
        assert!(Records::new(&[], -1).is_err());
    }

    #[test]
    fn bytes_behind_the_last_record_are_an_error_and_the_end() {
        let mut payload = record(|out| fields(out, 0));
        payload.push(0);
        let mut records = Records::new(&payload, 1).expect("fits");
        assert!(matches!(records.next(), Some(Ok(_))));
        assert!(matches!(records.next(), Some(Err(_))));
        assert!(records.next().is_none());
    }
}
