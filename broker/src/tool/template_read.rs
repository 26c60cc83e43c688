//! Reads records by a format, the counterpart of `template_write`.
//!
//! A field of text reaches to the literal behind it; a key or value whose length was read before has that length; the last field of a format
//! without a literal behind it reaches to the end of the input.

use std::io::{ErrorKind, Read};

use super::coding;
use super::moment::parse_time;
use super::template::{Coding, Field, Piece};
use crate::client::produce::NewRecord;

/// Longest field that is read.
const FIELD_BYTES_MAX: usize = 256 << 20;
/// Bytes asked of the input at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// A record as the input describes it, with where it is to go if the input says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) record: NewRecord,
    pub(crate) topic: Option<String>,
    pub(crate) partition: Option<i32>,
    pub(crate) timestamp: Option<i64>,
}

/// Reads records out of bytes.
pub(crate) struct Reader<R> {
    input: R,
    pieces: Vec<Piece>,
    null: Option<Vec<u8>>,
    /// Where the input is read to.
    chunk: Box<[u8]>,
    /// Bytes that were read; those before `at` were used.
    buffer: Vec<u8>,
    at: usize,
    ended: bool,
    records: u64,
}

/// Refuses a format that could not be read.
pub(crate) fn check(pieces: &[Piece]) -> Result<(), String> {
    if pieces.iter().all(|p| matches!(p, Piece::Literal(_))) {
        return Err("the format has no field; write for instance '%k %v\\n'".into());
    }
    let (mut key_known, mut value_known) = (false, false);
    for (i, piece) in pieces.iter().enumerate() {
        let Piece::Field(field, coding) = piece else { continue };
        let delimited = matches!(pieces.get(i + 1), None | Some(Piece::Literal(_)));
        let sized = match field {
            Field::KeyBytes => {
                key_known = true;
                false
            }
            Field::ValueBytes => {
                value_known = true;
                false
            }
            Field::Key => key_known && *coding == Coding::Plain,
            Field::Value => value_known && *coding == Coding::Plain,
            _ => false,
        };
        if !delimited && !sized && !matches!(coding, Coding::Big(_) | Coding::Little(_)) {
            return Err(format!(
                "field {} of the format is followed at once by another; put a literal between them, or its length before",
                i + 1
            ));
        }
    }
    Ok(())
}

impl<R: Read> Reader<R> {
    /// Reads by a format that [`check`] has taken. `null` stands for a null key, value or header value.
    pub(crate) fn new(input: R, pieces: Vec<Piece>, null: Option<Vec<u8>>) -> Reader<R> {
        Reader { input, pieces, null, chunk: vec![0; CHUNK_BYTES].into(), buffer: Vec::new(), at: 0, ended: false, records: 0 }
    }

    /// The next record; `None` at the end of the input. An error says which record.
    pub(crate) fn next(&mut self) -> Result<Option<Described>, String> {
        if !self.fill(1)? {
            return Ok(None);
        }
        self.records += 1;
        let pieces = std::mem::take(&mut self.pieces);
        let result = self.record(&pieces);
        self.pieces = pieces;
        result.map(Some).map_err(|why| format!("record {} of the input: {why}", self.records))
    }

    fn record(&mut self, pieces: &[Piece]) -> Result<Described, String> {
        let mut described = Described::default();
        let (mut key_len, mut value_len) = (None, None);
        let mut delimiter_taken = false;
        for (i, piece) in pieces.iter().enumerate() {
            let (field, coding) = match piece {
                Piece::Literal(_) if std::mem::take(&mut delimiter_taken) => continue,
                Piece::Literal(bytes) => {
                    self.literal(bytes, i + 1 == pieces.len())?;
                    continue;
                }
                Piece::Field(field, coding) => (*field, *coding),
            };
            let len = match field {
                Field::Key if coding == Coding::Plain => key_len,
                Field::Value if coding == Coding::Plain => value_len,
                _ => None,
            };
            if let Coding::Big(bytes) | Coding::Little(bytes) = coding {
                let raw = self.exactly(bytes)?;
                let number = if matches!(coding, Coding::Big(_)) { signed(raw.iter()) } else { signed(raw.iter().rev()) };
                set_number(&mut described, &mut key_len, &mut value_len, field, number)?;
                continue;
            }
            let raw = match len {
                Some(-1) => None,
                Some(len) => {
                    let len = usize::try_from(len).ok().filter(|l| *l <= FIELD_BYTES_MAX).ok_or_else(|| format!("{len} is no length"))?;
                    Some(self.exactly(len)?)
                }
                None => {
                    let raw = match pieces.get(i + 1) {
                        Some(Piece::Literal(delimiter)) => {
                            delimiter_taken = true;
                            self.until(delimiter, i + 2 == pieces.len())?
                        }
                        _ => self.rest_of_input()?,
                    };
                    Some(raw).filter(|raw| self.null.as_ref() != Some(raw))
                }
            };
            self.set(&mut described, &mut key_len, &mut value_len, field, coding, raw)?;
        }
        Ok(described)
    }

    fn set(
        &self,
        described: &mut Described,
        key_len: &mut Option<i64>,
        value_len: &mut Option<i64>,
        field: Field,
        coding: Coding,
        raw: Option<Vec<u8>>,
    ) -> Result<(), String> {
        match field {
            Field::Key => described.record.key = raw.map(|raw| decode(raw, coding)).transpose()?,
            Field::Value => described.record.value = raw.map(|raw| decode(raw, coding)).transpose()?,
            Field::Headers => described.record.headers = self.headers(&raw.unwrap_or_default(), coding)?,
            _ => {
                let text = String::from_utf8(decode(raw.unwrap_or_default(), coding)?).map_err(|_| "a field is not UTF-8")?;
                match field {
                    Field::Topic => described.topic = Some(text),
                    Field::Date => described.timestamp = Some(parse_time(&text, 0)?),
                    _ => {
                        let number = text.trim().parse().map_err(|_| format!("'{text}' is not a number"))?;
                        set_number(described, key_len, value_len, field, number)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn headers(&self, raw: &[u8], coding: Coding) -> Result<Vec<(String, Option<Vec<u8>>)>, String> {
        if raw.is_empty() {
            return Ok(Vec::new());
        }
        let one = |part: &[u8]| {
            let split = part.iter().position(|b| *b == b'=');
            let name = &part[..split.unwrap_or(part.len())];
            let name = String::from_utf8(name.to_vec()).map_err(|_| "a header's name is not UTF-8".to_string())?;
            let value = split.map(|at| part[at + 1..].to_vec()).filter(|value| self.null.as_ref() != Some(value));
            Ok((name, value.map(|value| decode(value, coding)).transpose()?))
        };
        raw.split(|b| *b == b',').map(one).collect()
    }

    /// Makes sure that so many unread bytes are in the buffer; false when the input ends before.
    fn fill(&mut self, len: usize) -> Result<bool, String> {
        while self.buffer.len() - self.at < len && !self.ended {
            self.buffer.drain(..self.at);
            self.at = 0;
            let read = loop {
                match self.input.read(&mut self.chunk) {
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    other => break other.map_err(|e| format!("reading the input: {e}"))?,
                }
            };
            self.buffer.extend_from_slice(&self.chunk[..read]);
            self.ended = read == 0;
        }
        Ok(self.buffer.len() - self.at >= len)
    }

    fn exactly(&mut self, len: usize) -> Result<Vec<u8>, String> {
        if !self.fill(len)? {
            return Err(format!("the input ends inside a field of {len} bytes"));
        }
        self.at += len;
        Ok(self.buffer[self.at - len..self.at].to_vec())
    }

    fn rest_of_input(&mut self) -> Result<Vec<u8>, String> {
        while self.fill(self.buffer.len() - self.at + 1)? {
            self.bounded(self.buffer.len() - self.at)?;
        }
        let raw = self.buffer[self.at..].to_vec();
        self.at = self.buffer.len();
        Ok(raw)
    }

    /// Everything before the delimiter, which is taken too. The last delimiter of a format may be missing at the end of the input.
    fn until(&mut self, delimiter: &[u8], last: bool) -> Result<Vec<u8>, String> {
        let mut looked = 0;
        loop {
            let unread = &self.buffer[self.at..];
            let found = find(&unread[looked..], delimiter).map(|i| i + looked);
            if let Some(found) = found {
                let raw = unread[..found].to_vec();
                self.at += found + delimiter.len();
                return Ok(raw);
            }
            looked = unread.len().saturating_sub(delimiter.len() - 1);
            self.bounded(looked)?;
            if !self.fill(unread.len() + 1)? {
                if last {
                    return self.rest_of_input();
                }
                return Err(format!("the input ends before {:?}", String::from_utf8_lossy(delimiter)));
            }
        }
    }

    fn bounded(&self, len: usize) -> Result<(), String> {
        if len > FIELD_BYTES_MAX { Err(format!("a field is above {FIELD_BYTES_MAX} bytes; is the format right?")) } else { Ok(()) }
    }

    fn literal(&mut self, bytes: &[u8], last: bool) -> Result<(), String> {
        if !self.fill(bytes.len())? && last && self.buffer.len() == self.at {
            return Ok(());
        }
        if !self.buffer[self.at..].starts_with(bytes) {
            return Err(format!("the format wants {:?} here", String::from_utf8_lossy(bytes)));
        }
        self.at += bytes.len();
        Ok(())
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    match needle {
        [byte] => haystack.iter().position(|b| b == byte),
        _ => haystack.windows(needle.len()).position(|w| w == needle),
    }
}

fn decode(raw: Vec<u8>, coding: Coding) -> Result<Vec<u8>, String> {
    match coding {
        Coding::Hex => coding::from_hex(&raw).ok_or_else(|| "a field is not hexadecimal".into()),
        Coding::Base64 => coding::from_base64(&raw).ok_or_else(|| "a field is not base64".into()),
        Coding::Json => {
            let text: String = serde_json::from_slice(&raw).map_err(|_| "a field is not a JSON string")?;
            Ok(text.into_bytes())
        }
        _ => Ok(raw),
    }
}

/// A two's complement number, the most significant byte first.
fn signed<'a>(bytes: impl Iterator<Item = &'a u8>) -> i64 {
    let (mut number, mut bits) = (0i64, 0);
    for byte in bytes {
        number = number << 8 | i64::from(*byte);
        bits += 8;
    }
    if bits == 0 { 0 } else { number << (64 - bits) >> (64 - bits) }
}

fn set_number(
    described: &mut Described,
    key_len: &mut Option<i64>,
    value_len: &mut Option<i64>,
    field: Field,
    number: i64,
) -> Result<(), String> {
    match field {
        Field::KeyBytes => *key_len = Some(number),
        Field::ValueBytes => *value_len = Some(number),
        Field::Timestamp => described.timestamp = Some(number),
        Field::Partition => described.partition = Some(i32::try_from(number).map_err(|_| format!("{number} is no partition"))?),
        // What the broker decides is read over.
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::records::Fetched;
    use crate::tool::template::parse;
    use crate::tool::template_write::Writer;
    use proptest::prelude::*;

    fn read_all(format: &str, null: Option<&str>, input: &[u8]) -> Result<Vec<Described>, String> {
        let pieces = parse(format)?;
        check(&pieces)?;
        // One byte at a time, as a slow pipe gives it.
        struct Slow<'a>(&'a [u8]);
        impl Read for Slow<'_> {
            fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
                self.0.read(&mut out[..1])
            }
        }
        let mut reader = Reader::new(Slow(input), pieces, null.map(|n| n.as_bytes().to_vec()));
        let mut all = Vec::new();
        while let Some(one) = reader.next()? {
            all.push(one);
        }
        Ok(all)
    }

    fn pairs(format: &str, null: Option<&str>, input: &str) -> Vec<(Option<String>, Option<String>)> {
        let text = |bytes: Option<Vec<u8>>| bytes.map(|b| String::from_utf8(b).expect("text"));
        let all = read_all(format, null, input.as_bytes()).expect("well formed");
        all.into_iter().map(|d| (text(d.record.key), text(d.record.value))).collect()
    }

    fn pair(key: &str, value: &str) -> (Option<String>, Option<String>) {
        (Some(key.into()), Some(value.into()))
    }

    #[test]
    fn lines_keys_and_lengths_are_read() {
        assert_eq!(pairs("%v\\n", None, "a\n\nb"), [(None, Some("a".into())), (None, Some("".into())), (None, Some("b".into()))]);
        assert_eq!(pairs("%k:%v\\n", None, "k:v:w\nx:y\n"), [pair("k", "v:w"), pair("x", "y")]);
        assert_eq!(pairs("%k,%v;;", None, "a,b;c;;d,e"), [pair("a", "b;c"), pair("d", "e")]);
        assert_eq!(pairs("%v", None, "a\nb\n"), [(None, Some("a\nb\n".into()))]);
        assert_eq!(pairs("%K %V %k%v", None, "1 3 abcd2 -1 xy"), [pair("a", "bcd"), (Some("xy".into()), None)]);
        assert_eq!(pairs("%k=%v\\n", Some("NULL"), "NULL=1\na=NULL\n"), [(None, Some("1".into())), (Some("a".into()), None)]);
        assert!(pairs("%v\\n", None, "").is_empty());
        let all = read_all("%t %p %T %h %v\n", None, b"top 3 5 a=1,b= x\n").expect("well formed");
        assert_eq!((all[0].topic.as_deref(), all[0].partition, all[0].timestamp), (Some("top"), Some(3), Some(5)));
        assert_eq!(all[0].record.headers, [("a".to_string(), Some(b"1".to_vec())), ("b".to_string(), Some(vec![]))]);
    }

    #[test]
    fn mistakes_say_which_record() {
        let error = |format: &str, input: &str| read_all(format, None, input.as_bytes()).expect_err("must fail");
        assert!(error("%k:%v\n", "a:b\nno key\n").starts_with("record 2 of the input: the input ends before \":\""));
        assert!(error("%p %v\n", "x y\n").contains("'x' is not a number"));
        assert!(error("%k{hex} %v\n", "0g y\n").contains("hexadecimal"));
        assert!(error("%V %v", "-2 y").contains("no length"));
        assert!(error("%V{big32}%v", "\u{0}\u{0}\u{0}\u{9}abc").contains("ends inside"));
        assert!(error("%k%v", "x").contains("followed at once"));
        assert!(error("abc", "x").contains("no field"));
    }

    proptest! {
        #[test]
        fn what_consume_writes_produce_reads(
            records in prop::collection::vec((
                prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
                prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
                prop::collection::vec(("[a-z.-]{1,5}", prop::option::of(prop::collection::vec(any::<u8>(), 0..5))), 0..3),
                0i64..4_000_000_000_000,
                0i32..1000,
            ), 1..5),
            format in prop::sample::select(vec![
                "%p %T %h{hex} %k{hex} %v{hex}\\n",
                "%d|%h{base64}|%k{base64}|%v{base64}|%p\\n",
                "%T{little64}%p{big32}%h{hex};%K{big16}%V{little32}%k%v",
                "%o%%%i/%p,%T,%h{base64};%K,%V,%k%v--\\x00\\n",
            ]),
        ) {
            let pieces = parse(format).expect("a format");
            check(&pieces).expect("readable");
            let writer = Writer { pieces, null: b"(null)".to_vec(), harmless: false };
            let mut out = Vec::new();
            let fetched: Vec<Fetched<'_>> = records.iter().enumerate().map(|(i, (key, value, headers, timestamp, partition))| Fetched {
                topic: "t", partition: *partition, offset: i as i64, timestamp: *timestamp, append_time: false, leader_epoch: 0,
                producer_id: -1, producer_epoch: -1, key: key.as_deref(), value: value.as_deref(),
                headers: headers.iter().map(|(n, v)| (n.as_str(), v.as_deref())).collect(),
            }).collect();
            for (i, record) in fetched.iter().enumerate() {
                writer.write(record, i as u64, &mut out);
            }
            let read = read_all(format, Some("(null)"), &out).map_err(TestCaseError::fail)?;
            prop_assert_eq!(read.len(), records.len());
            for (got, (key, value, headers, timestamp, partition)) in read.into_iter().zip(records) {
                prop_assert_eq!(got.record.key, key);
                prop_assert_eq!(got.record.value, value);
                prop_assert_eq!(got.record.headers, headers);
                prop_assert_eq!(got.timestamp, Some(timestamp));
                prop_assert_eq!(got.partition, Some(partition));
            }
        }
    }
}
