//! Writes fetched records by a format.

use std::io::Write;

use super::coding;
use super::moment::show_time;
use super::template::{Coding, Field, Piece};
use crate::client::records::Fetched;

/// How records are written.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    /// The format.
    pub(crate) pieces: Vec<Piece>,
    /// Stands for a null key, value or header value.
    pub(crate) null: Vec<u8>,
    /// Show control characters of keys, values and headers instead of sending them to a terminal.
    pub(crate) harmless: bool,
}

impl Writer {
    /// Appends a record, the `count`th of this run.
    pub(crate) fn write(&self, record: &Fetched<'_>, count: u64, out: &mut Vec<u8>) {
        // Behind a length of -1 stands nothing at all.
        let (mut key_sized, mut value_sized) = (false, false);
        for piece in &self.pieces {
            let Piece::Field(field, coding) = piece else {
                if let Piece::Literal(bytes) = piece {
                    out.extend_from_slice(bytes);
                }
                continue;
            };
            match field {
                Field::KeyBytes => key_sized = true,
                Field::ValueBytes => value_sized = true,
                Field::Key if key_sized && *coding == Coding::Plain && record.key.is_none() => continue,
                Field::Value if value_sized && *coding == Coding::Plain && record.value.is_none() => continue,
                _ => {}
            }
            self.field(*field, *coding, record, count, out);
        }
    }

    fn field(&self, field: Field, coding: Coding, record: &Fetched<'_>, count: u64, out: &mut Vec<u8>) {
        let len = |bytes: Option<&[u8]>| bytes.map_or(-1, |b| b.len() as i64);
        let number = match field {
            Field::Topic => return self.bytes(Some(record.topic.as_bytes()), coding, out),
            Field::Key => return self.bytes(record.key, coding, out),
            Field::Value => return self.bytes(record.value, coding, out),
            Field::Date => return self.bytes(Some(show_time(record.timestamp).as_bytes()), coding, out),
            Field::Headers => {
                for (i, (name, value)) in record.headers.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    self.bytes(Some(name.as_bytes()), Coding::Plain, out);
                    out.push(b'=');
                    self.bytes(*value, coding, out);
                }
                return;
            }
            Field::Partition => i64::from(record.partition),
            Field::Offset => record.offset,
            Field::KeyBytes => len(record.key),
            Field::ValueBytes => len(record.value),
            Field::HeaderCount => record.headers.len() as i64,
            Field::Timestamp => record.timestamp,
            Field::LeaderEpoch => i64::from(record.leader_epoch),
            Field::ProducerId => record.producer_id,
            Field::ProducerEpoch => i64::from(record.producer_epoch),
            Field::Count => count as i64,
        };
        match coding {
            Coding::Big(bytes) => out.extend_from_slice(&number.to_be_bytes()[8 - bytes..]),
            Coding::Little(bytes) => out.extend_from_slice(&number.to_le_bytes()[..bytes]),
            _ => {
                // Writing to memory.
                let _ = write!(out, "{number}");
            }
        }
    }

    fn bytes(&self, bytes: Option<&[u8]>, coding: Coding, out: &mut Vec<u8>) {
        let Some(bytes) = bytes else {
            out.extend_from_slice(if coding == Coding::Json { b"null" } else { &self.null });
            return;
        };
        match coding {
            Coding::Hex => out.extend_from_slice(coding::hex(bytes).as_bytes()),
            Coding::Base64 => out.extend_from_slice(coding::base64(bytes).as_bytes()),
            Coding::Json => {
                let text = serde_json::Value::String(String::from_utf8_lossy(bytes).into_owned());
                out.extend_from_slice(text.to_string().as_bytes());
            }
            _ if self.harmless => harmless(bytes, out),
            _ => out.extend_from_slice(bytes),
        }
    }
}

/// Text as it is but for control characters; what is not UTF-8 and what could steer a terminal as `\xHH`.
fn harmless(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() && c != '\n' && c != '\t' {
                out.extend_from_slice(format!("\\x{:02x}", c as u32).as_bytes());
            } else {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        chunk.invalid().iter().for_each(|b| out.extend_from_slice(format!("\\x{b:02x}").as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::template::parse;

    fn record() -> Fetched<'static> {
        Fetched {
            topic: "t",
            partition: 3,
            offset: 42,
            timestamp: 1_763_805_600_000,
            append_time: false,
            leader_epoch: 5,
            producer_id: -1,
            producer_epoch: -1,
            key: Some(b"\x01k"),
            value: None,
            headers: vec![("a", Some(b"x")), ("b", None)],
        }
    }

    fn written(format: &str, harmless: bool) -> Vec<u8> {
        let writer = Writer { pieces: parse(format).expect("a format"), null: b"NULL".to_vec(), harmless };
        let mut out = Vec::new();
        writer.write(&record(), 7, &mut out);
        out
    }

    #[test]
    fn every_field_is_written() {
        assert_eq!(written("%t %p %o %K %V %H %T %e %x %y %i", false), b"t 3 42 2 -1 2 1763805600000 5 -1 -1 7");
        assert_eq!(
            written("%k{hex}|%k{base64}|%k{json}|%v|%v{json}|%h|%d", false),
            b"016b|AWs=|\"\\u0001k\"|NULL|null|a=x,b=NULL|2025-11-22T10:00:00.000Z"
        );
        assert_eq!(written("%p{big16}%o{little32}%V{big8}", false), [0, 3, 42, 0, 0, 0, 0xff]);
        assert_eq!(written("%k", false), b"\x01k");
    }

    #[test]
    fn a_terminal_is_not_steered() {
        assert_eq!(written("%k\n", true), b"\\x01k\n");
        let mut out = Vec::new();
        harmless(b"\xff\x1b[2J \xc3\xa4\n", &mut out);
        assert_eq!(out, "\\xff\\x1b[2J ä\n".as_bytes());
    }
}
