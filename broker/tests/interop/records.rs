//! Record sets: what is produced, generated from a seed, and the byte-by-byte comparison with what came back.

use crate::base64;
use crate::client::Abilities;
use crate::harness::PARTITIONS;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// Below the one megabyte that the clients and the broker take without being asked (librdkafka: 1,000,000 with everything around it).
const LARGE_BYTES: usize = 950_000;

pub(crate) type Header = (String, Option<Vec<u8>>);

/// A record as it is handed to a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) i: i64,
    /// None: the client's partitioner decides.
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<Header>,
    /// None: the client takes its clock.
    pub(crate) timestamp: Option<i64>,
}

impl Record {
    pub(crate) fn to_json(&self) -> Value {
        let text = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(base64::encode);
        let headers: Vec<Value> = self.headers.iter().map(|(name, value)| json!([name, text(value)])).collect();
        json!({"i": self.i, "partition": self.partition, "key": text(&self.key), "value": text(&self.value),
            "headers": headers, "timestamp": self.timestamp})
    }
}

/// A record as a client received it.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    /// None where the client does not tell.
    pub(crate) timestamp_type: Option<String>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: GotHeaders,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GotHeaders {
    List(Vec<Header>),
    /// Same names stand together, in the order of their first appearance: the client has a map, not a list.
    Grouped(Vec<Header>),
    /// kcat's `%h`: `name=value` with commas between, `NULL` for null.
    Printed(Vec<u8>),
}

impl Got {
    pub(crate) fn from_json(line: &Value, grouped: bool) -> Result<Got, String> {
        let bytes = |value: &Value| value.as_str().map(base64::decode).transpose();
        let number = |name: &str| line[name].as_i64().ok_or_else(|| format!("a record without {name}: {line}"));
        let mut headers = Vec::new();
        for header in line["headers"].as_array().ok_or_else(|| format!("a record without headers: {line}"))? {
            headers.push((header[0].as_str().ok_or("a header without name")?.to_owned(), bytes(&header[1])?));
        }
        Ok(Got {
            topic: line["topic"].as_str().ok_or("a record without topic")?.to_owned(),
            partition: number("partition")? as i32,
            offset: number("offset")?,
            timestamp: number("timestamp")?,
            timestamp_type: line["timestampType"].as_str().map(str::to_owned),
            key: bytes(&line["key"])?,
            value: bytes(&line["value"])?,
            headers: if grouped { GotHeaders::Grouped(headers) } else { GotHeaders::List(headers) },
        })
    }
}

/// A record with the place it was acknowledged at.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) offset: i64,
    pub(crate) record: Record,
    /// For records without a timestamp of their own: when the produce call began and ended.
    pub(crate) clock: (i64, i64),
}

/// topic and partition -> what must be there, in order.
pub(crate) type Contents = BTreeMap<(String, i32), Vec<Expected>>;

pub(crate) fn count(contents: &Contents) -> usize {
    contents.values().map(Vec::len).sum()
}

// Generation -----------------------------------------------------------------------------------------------------------

/// SplitMix64: enough randomness for test data, the same on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64, purpose: &str) -> Random {
        Random(purpose.bytes().fold(seed, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// The seed of this run and the time that its timestamps are relative to; `CORELINE_INTEROP_SEED=SEED:BASE` repeats both, `clock` draws a
/// new seed. By default every run makes the same records, so that what a change breaks is told from what a new seed finds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed {
    pub(crate) seed: u64,
    pub(crate) base_ms: i64,
}

impl Seed {
    pub(crate) fn from_env() -> Seed {
        let now = now_ms();
        match std::env::var("CORELINE_INTEROP_SEED") {
            Err(_) => Seed { seed: 1, base_ms: now },
            Ok(text) if text == "clock" => Seed { seed: now as u64, base_ms: now },
            Ok(text) => {
                let mut parts = text.splitn(2, ':').map(|part| part.parse().expect("CORELINE_INTEROP_SEED is SEED[:BASE] or clock"));
                let seed: i64 = parts.next().expect("splitn yields at least one part");
                Seed { seed: seed as u64, base_ms: parts.next().unwrap_or(now) }
            }
        }
    }
}

pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// One record of every shape that the client can produce, then `ordinary` random small ones.
pub(crate) fn shapes(seed: Seed, purpose: &str, able: &Abilities, ordinary: usize) -> Vec<Record> {
    let mut random = Random::new(seed.seed, purpose);
    let some = |text: &str| Some(text.as_bytes().to_vec());
    let header = |name: &str, value: Option<&[u8]>| (name.to_owned(), value.map(<[u8]>::to_vec));
    let every_byte: Vec<u8> = (0..=255).collect();
    let no_nul: Vec<u8> = (1..=255).collect();
    let unicode = "ключ-鍵-🗝\u{301}";
    let mut records = vec![
        Record { key: some("key"), value: some("value"), ..Record::default() },
        Record { key: None, value: some("null key"), ..Record::default() },
        Record { key: some("tombstone"), value: None, ..Record::default() },
        Record { key: some("empty value"), value: some(""), ..Record::default() },
        Record { key: some(unicode), value: some("значение 値 🦀 \u{0}\u{7f}\n\r\t\"\\"), ..Record::default() },
        Record { key: some("every byte"), value: Some(every_byte.clone()), ..Record::default() },
        Record { key: some("large"), value: Some(random.bytes(LARGE_BYTES)), ..Record::default() },
        Record { key: some("large, repetitive"), value: Some(b"0123456789abcdef".repeat(LARGE_BYTES / 16)), ..Record::default() },
        Record {
            key: some("many"),
            value: some("headers"),
            headers: (0..40).map(|i| header(&format!("h{i}"), Some(format!("v{i}").as_bytes()))).collect(),
            ..Record::default()
        },
        Record { key: some("headers"), value: some("one"), headers: vec![header("name", Some(b"value"))], ..Record::default() },
        Record {
            key: some("headers"),
            value: some("binary"),
            headers: vec![header("binary", Some(&no_nul)), header(unicode, Some(unicode.as_bytes()))],
            ..Record::default()
        },
        Record {
            key: some("headers"),
            value: some("empty"),
            headers: vec![header("empty", Some(b"")), header("x", Some(b"y"))],
            ..Record::default()
        },
        Record {
            key: some("headers"),
            value: some("twice"),
            headers: vec![header("twice", Some(b"1")), header("twice", Some(b"")), header("twice", Some(b"1"))],
            ..Record::default()
        },
        Record { key: some("headers"), value: None, headers: vec![header("of a", Some(b"tombstone"))], ..Record::default() },
    ];
    let mut only_if = |able: bool, record: Record| records.extend(able.then_some(record));
    only_if(able.empty_keys, Record { key: some(""), value: some("empty key"), ..Record::default() });
    only_if(able.empty_keys, Record { key: some(""), value: None, ..Record::default() });
    only_if(able.empty_keys, Record { key: Some(every_byte), value: some("key of every byte"), ..Record::default() });
    only_if(able.null_key_and_value, Record { headers: vec![header("neither", Some(b"key nor value"))], ..Record::default() });
    only_if(
        able.null_headers,
        Record {
            key: some("headers"),
            value: some("null"),
            headers: vec![header("null", None), header("after", Some(b"null"))],
            ..Record::default()
        },
    );
    only_if(
        able.interleaved_headers,
        Record {
            key: some("headers"),
            value: some("interleaved"),
            headers: vec![header("a", Some(b"1")), header("b", Some(b"2")), header("a", Some(b"3"))],
            ..Record::default()
        },
    );
    for i in 0..ordinary {
        let length = random.below(1024) as usize;
        let headers = if random.below(4) == 0 { vec![header("trace", Some(random.next().to_string().as_bytes()))] } else { Vec::new() };
        let key = (random.below(5) > 0).then(|| format!("key-{}", random.below(20)).into_bytes());
        records.push(Record {
            key,
            value: Some([format!("{i}:").into_bytes(), random.bytes(length)].concat()),
            headers,
            ..Record::default()
        });
    }
    // A shuffle, so that the shapes meet in batches in ever other ways.
    for at in (1..records.len()).rev() {
        records.swap(at, random.below(at as u64 + 1) as usize);
    }
    for (i, record) in records.iter_mut().enumerate() {
        record.i = i as i64;
        // Some are left to the client's partitioner, some to its clock. Timestamps are neither ordered nor unique.
        record.partition = (!able.partitioner || random.below(5) > 0).then(|| random.below(PARTITIONS as u64) as i32);
        let age = random.below(3 * 24 * 3600) as i64 * 1000;
        record.timestamp = (able.timestamps && random.below(5) > 0).then_some(seed.base_ms - age - (age / 1000) % 7);
    }
    records
}

/// Small records for a paced run.
pub(crate) fn bulk(seed: Seed, purpose: &str, len: usize, partitions: i32) -> Vec<Record> {
    let mut random = Random::new(seed.seed, purpose);
    let value = |i: usize, random: &mut Random| format!("{i}-{:016x}", random.next()).repeat(1 + random.below(20) as usize);
    (0..len)
        .map(|i| Record {
            i: i as i64,
            partition: Some(i as i32 % partitions),
            key: Some(format!("bulk-{i}").into_bytes()),
            value: Some(value(i, &mut random).into_bytes()),
            ..Record::default()
        })
        .collect()
}

// Comparison -----------------------------------------------------------------------------------------------------------

/// Compares what was consumed with the whole contents: every record, once, in offset order per partition, byte by byte.
pub(crate) fn compare_all(contents: &Contents, got: &[Got]) -> Result<(), String> {
    let mut by_partition: BTreeMap<(String, i32), Vec<&Got>> = BTreeMap::new();
    for one in got {
        by_partition.entry((one.topic.clone(), one.partition)).or_default().push(one);
    }
    for (place, expected) in contents {
        let got = by_partition.remove(place).unwrap_or_default();
        for (at, wanted) in expected.iter().enumerate() {
            let one = got.get(at).ok_or_else(|| {
                format!(
                    "{} partition {}: offset {} is missing ({} of {} records came)",
                    place.0,
                    place.1,
                    wanted.offset,
                    got.len(),
                    expected.len()
                )
            })?;
            compare(wanted, one)?;
        }
        if let Some(extra) = got.get(expected.len()) {
            return Err(format!(
                "{} partition {}: offset {} came, which nobody produced (or it came again)",
                place.0, place.1, extra.offset
            ));
        }
    }
    match by_partition.into_keys().next() {
        Some((topic, partition)) => Err(format!("{topic} partition {partition}: records came where none was produced")),
        None => Ok(()),
    }
}

/// Compares one record; the offset first.
pub(crate) fn compare(wanted: &Expected, got: &Got) -> Result<(), String> {
    let record = &wanted.record;
    let at = format!("{} partition {} offset {} (record i={})", got.topic, got.partition, got.offset, record.i);
    if wanted.offset != got.offset {
        return Err(format!("{at}: expected offset {}, the order or the offset is wrong", wanted.offset));
    }
    if record.key != got.key {
        return Err(format!("{at}: key: {}", difference(record.key.as_deref(), got.key.as_deref())));
    }
    if record.value != got.value {
        return Err(format!("{at}: value: {}", difference(record.value.as_deref(), got.value.as_deref())));
    }
    let (headers, same) = match &got.headers {
        GotHeaders::List(headers) => (format!("{headers:?}"), *headers == record.headers),
        GotHeaders::Grouped(headers) => (format!("{headers:?}"), *headers == grouped(&record.headers)),
        GotHeaders::Printed(text) => (String::from_utf8_lossy(text).into_owned(), *text == printed(&record.headers)),
    };
    if !same {
        return Err(format!("{at}: headers: expected {:?}, got {headers}", record.headers));
    }
    let (from, to) = record.timestamp.map_or(wanted.clock, |timestamp| (timestamp, timestamp));
    if got.timestamp < from || got.timestamp > to {
        return Err(format!("{at}: timestamp: expected {from}..={to}, got {}", got.timestamp));
    }
    match got.timestamp_type.as_deref() {
        None | Some("create") => Ok(()),
        Some(other) => Err(format!("{at}: timestamp type: expected create, got {other}")),
    }
}

fn grouped(headers: &[Header]) -> Vec<Header> {
    let mut names: Vec<&String> = Vec::new();
    for (name, _) in headers {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.into_iter().flat_map(|name| headers.iter().filter(move |header| header.0 == *name)).cloned().collect()
}

fn printed(headers: &[Header]) -> Vec<u8> {
    let one = |(name, value): &Header| [name.as_bytes(), b"=", value.as_deref().unwrap_or(b"NULL")].concat();
    headers.iter().map(one).collect::<Vec<_>>().join(&b","[..])
}

fn difference(wanted: Option<&[u8]>, got: Option<&[u8]>) -> String {
    let (Some(wanted), Some(got)) = (wanted, got) else {
        let name = |bytes: Option<&[u8]>| bytes.map_or("null".to_owned(), |bytes| format!("{} bytes", bytes.len()));
        return format!("expected {}, got {}", name(wanted), name(got));
    };
    let at = wanted.iter().zip(got).position(|(a, b)| a != b).unwrap_or(wanted.len().min(got.len()));
    format!("expected {} bytes, got {}; they differ at byte {at}", wanted.len(), got.len())
}

#[test]
fn the_comparison_sees_every_kind_of_difference() {
    let record = Record {
        i: 1,
        key: Some(b"k".to_vec()),
        value: Some(b"v".to_vec()),
        headers: vec![("h".into(), None)],
        timestamp: Some(5),
        ..Record::default()
    };
    let contents = Contents::from([(("t".to_owned(), 0), vec![Expected { offset: 3, record, clock: (0, 0) }])]);
    let good = Got {
        topic: "t".into(),
        partition: 0,
        offset: 3,
        timestamp: 5,
        timestamp_type: Some("create".into()),
        key: Some(b"k".to_vec()),
        value: Some(b"v".to_vec()),
        headers: GotHeaders::List(vec![("h".into(), None)]),
    };
    assert_eq!(compare_all(&contents, std::slice::from_ref(&good)), Ok(()));
    type Spoil<'a> = (&'a str, &'a dyn Fn(&mut Got));
    let bad: [Spoil<'_>; 10] = [
        ("offset", &|got| got.offset = 4),
        ("missing", &|got| got.topic = "other".into()),
        ("missing", &|got| got.partition = 1),
        ("key", &|got| got.key = None),
        ("key", &|got| got.key = Some(Vec::new())),
        ("value", &|got| got.value = Some(b"w".to_vec())),
        ("headers", &|got| got.headers = GotHeaders::List(vec![("h".into(), Some(Vec::new()))])),
        ("headers", &|got| got.headers = GotHeaders::Printed(b"h=".to_vec())),
        ("timestamp", &|got| got.timestamp = 6),
        ("timestamp type", &|got| got.timestamp_type = Some("append".into())),
    ];
    for (word, spoil) in bad {
        let mut got = good.clone();
        spoil(&mut got);
        let reason = compare_all(&contents, &[got]).expect_err(word);
        assert!(reason.contains(word), "{reason} does not name the {word}");
    }
    assert!(compare_all(&contents, &[]).expect_err("nothing came").contains("missing"));
    assert!(compare_all(&contents, &[good.clone(), good]).expect_err("it came twice").contains("again"));
}
