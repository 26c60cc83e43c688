//! The `-f` formats of consume and produce: literals and fields, `%k %v{hex} %p\n`; the same text writes records and reads them.

use super::coding;

/// A part of a format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// These bytes.
    Literal(Vec<u8>),
    /// A field of the record.
    Field(Field, Coding),
}

/// A field of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Topic,
    Partition,
    Offset,
    Key,
    Value,
    /// -1 for a null key.
    KeyBytes,
    /// -1 for a null value.
    ValueBytes,
    Headers,
    HeaderCount,
    /// Milliseconds since 1970.
    Timestamp,
    /// The timestamp as date and time, UTC.
    Date,
    LeaderEpoch,
    ProducerId,
    ProducerEpoch,
    /// Number of the record in this run, from 1.
    Count,
}

/// How a field is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// Bytes as they are, numbers as decimal text.
    Plain,
    Hex,
    Base64,
    /// A JSON string; bytes that are not UTF-8 lose what is not.
    Json,
    /// A number of so many bytes, the most significant first.
    Big(usize),
    /// A number of so many bytes, the least significant first.
    Little(usize),
}

/// Letters of the fields.
pub(crate) const FIELDS: [(char, Field, &str); 17] = [
    ('t', Field::Topic, "topic"),
    ('p', Field::Partition, "partition"),
    ('o', Field::Offset, "offset"),
    ('k', Field::Key, "key"),
    ('v', Field::Value, "value"),
    ('s', Field::Value, "value, as kcat names it"),
    ('K', Field::KeyBytes, "bytes of the key, -1 for null"),
    ('V', Field::ValueBytes, "bytes of the value, -1 for null"),
    ('S', Field::ValueBytes, "bytes of the value, as kcat names them"),
    ('h', Field::Headers, "headers, NAME=VALUE,..."),
    ('H', Field::HeaderCount, "number of headers"),
    ('T', Field::Timestamp, "timestamp, milliseconds since 1970"),
    ('d', Field::Date, "timestamp as date and time, UTC"),
    ('e', Field::LeaderEpoch, "leader epoch"),
    ('x', Field::ProducerId, "producer id"),
    ('y', Field::ProducerEpoch, "producer epoch"),
    ('i', Field::Count, "number of the record in this run, from 1"),
];

/// The fields for `--help`; a test holds it to [`FIELDS`].
pub(crate) const HELP: &str = "\
Formats:
  %t topic   %p partition   %o offset   %k key   %v (%s) value   %K %V (%S) their bytes, -1 for null
  %h headers, NAME=VALUE,...   %H how many   %T timestamp, ms since 1970   %d the same as date and time, UTC
  %e leader epoch   %x %y producer id and epoch   %i number of the record in this run   %% \\n \\t \\r \\0 \\\\ \\xHH characters
  Behind a field: {hex} {base64} {json} for bytes, {big8..64} {little8..64} for numbers, as in %k{hex} or %V{big32}%v.
  What consume writes by a format, produce reads by the same.";

impl Field {
    fn is_bytes(self) -> bool {
        matches!(self, Field::Key | Field::Value | Field::Headers | Field::Topic | Field::Date)
    }
}

/// Reads a format. Backslash escapes (`\n \t \r \0 \\ \xHH`) and `%%` are literals.
pub(crate) fn parse(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut literal: Vec<u8> = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => {
                let (bytes, after) = escape(rest)?;
                literal.extend_from_slice(&bytes);
                rest = after;
            }
            '%' => {
                let letter = rest.chars().next().ok_or("the format ends with %; write %% for the character itself")?;
                rest = &rest[letter.len_utf8()..];
                if letter == '%' {
                    literal.push(b'%');
                    continue;
                }
                let (_, field, _) = FIELDS.iter().find(|(l, _, _)| *l == letter).ok_or_else(|| {
                    let known: String = FIELDS.iter().map(|(l, _, _)| format!(" %{l}")).collect();
                    format!("%{letter} is not a field; there are{known} and %%")
                })?;
                let mut coding = Coding::Plain;
                if let Some(inner) = rest.strip_prefix('{') {
                    let (name, after) = inner.split_once('}').ok_or_else(|| format!("%{letter}{{ has no }}"))?;
                    coding = coding_of(*field, name).map_err(|why| format!("%{letter}{{{name}}}: {why}"))?;
                    rest = after;
                }
                if !literal.is_empty() {
                    pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                }
                pieces.push(Piece::Field(*field, coding));
            }
            c => literal.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}

/// Text with backslash escapes as bytes, for delimiters.
pub(crate) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c == '\\' {
            let (bytes, after) = escape(rest)?;
            out.extend_from_slice(&bytes);
            rest = after;
        } else {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    Ok(out)
}

/// What stands behind a backslash, and what comes after it.
fn escape(rest: &str) -> Result<(Vec<u8>, &str), String> {
    let c = rest.chars().next().ok_or("the text ends with a backslash; write \\\\ for the character itself")?;
    let after = &rest[c.len_utf8()..];
    let byte = match c {
        'n' => b'\n',
        't' => b'\t',
        'r' => b'\r',
        '0' => 0,
        '\\' => b'\\',
        'x' => {
            let digits = after.get(..2).and_then(|d| coding::from_hex(d.as_bytes())).ok_or("\\x needs two hexadecimal digits")?;
            return Ok((digits, &after[2..]));
        }
        _ => return Err(format!("\\{c} is not an escape; there are \\n \\t \\r \\0 \\\\ \\xHH")),
    };
    Ok((vec![byte], after))
}

fn coding_of(field: Field, name: &str) -> Result<Coding, String> {
    let number = |name: &str| match name {
        "8" => Some(1),
        "16" => Some(2),
        "32" => Some(4),
        "64" => Some(8),
        _ => None,
    };
    let coding = match name {
        "hex" => Coding::Hex,
        "base64" => Coding::Base64,
        "json" => Coding::Json,
        _ => {
            let big = name.strip_prefix("big").and_then(number).map(Coding::Big);
            let little = || name.strip_prefix("little").and_then(number).map(Coding::Little);
            big.or_else(little).ok_or("there are hex, base64 and json for bytes, big8/16/32/64 and little8/16/32/64 for numbers")?
        }
    };
    match (field.is_bytes(), coding) {
        (true, Coding::Big(_) | Coding::Little(_)) => Err("this field is no number".into()),
        (false, Coding::Hex | Coding::Base64 | Coding::Json) => Err("this field is a number".into()),
        _ => Ok(coding),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_read_with_escapes_and_codings() {
        let field = |f| Piece::Field(f, Coding::Plain);
        assert_eq!(
            parse("%t:%p\\t%%%k{hex}=%v\\x00\\n"),
            Ok(vec![
                field(Field::Topic),
                Piece::Literal(b":".to_vec()),
                field(Field::Partition),
                Piece::Literal(b"\t%".to_vec()),
                Piece::Field(Field::Key, Coding::Hex),
                Piece::Literal(b"=".to_vec()),
                field(Field::Value),
                Piece::Literal(b"\0\n".to_vec()),
            ])
        );
        assert_eq!(parse("%V{big32}"), Ok(vec![Piece::Field(Field::ValueBytes, Coding::Big(4))]));
        assert_eq!(unescape("é\\t"), Ok("é\t".as_bytes().to_vec()));
    }

    #[test]
    fn every_field_is_documented() {
        for (letter, _, what) in FIELDS {
            assert!(include_str!("../../CLI.md").contains(&format!("`%{letter}`")), "broker/CLI.md says nothing of %{letter}, {what}");
            assert!(HELP.contains(&format!("%{letter}")), "--help says nothing of %{letter}, {what}");
        }
    }

    #[test]
    fn mistakes_say_what_there_is() {
        for (text, part) in [
            ("%", "write %%"),
            ("%q", "%t %p"),
            ("%k{", "has no }"),
            ("%k{rot13}", "hex, base64"),
            ("%k{big32}", "no number"),
            ("%o{hex}", "is a number"),
            ("\\", "backslash"),
            ("\\q", "\\xHH"),
            ("\\xZ", "two hexadecimal"),
            ("\\xé", "two hexadecimal"),
        ] {
            assert!(parse(text).is_err_and(|e| e.contains(part)), "{text}: {:?}", parse(text));
        }
    }
}
