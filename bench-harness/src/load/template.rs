//! `Template`: a record batch built once; sending it again patches headers and checksum in place, so that a record costs four stores.
//!
//! All records of a scenario have the same sizes, so the batch of the first `n` records is a prefix of the full one.

use coreline_wire::encode::Sink;
use coreline_wire::record::Compression;
use coreline_wire::record::batch::{self, HEADER_BYTES, LOG_OVERHEAD_BYTES};
use coreline_wire::record::{Attributes, BatchHeader, compression};
use coreline_wire::varint;

use crate::payload::{STAMP_BYTES, Stamp};
use crate::scenario::{Filler, Producers};

/// Bytes in front of the batch for the request that carries it.
pub const HEAD_ROOM: usize = 512;
/// Bytes behind the full batch for what ends the request.
const TAIL_ROOM: usize = 3;

/// When the records of a batch were due.
#[derive(Clone, Debug, Default)]
pub struct Intended {
    /// Of every record, when `each` is empty.
    pub same: u64,
    /// Of each record in order.
    pub each: Vec<u64>,
}

/// What differs from batch to batch.
#[derive(Debug)]
pub struct Fill<'a> {
    /// Records, 1 to the template's most.
    pub records: usize,
    /// Run id.
    pub run: u32,
    /// Producer and partition.
    pub stream: u32,
    /// Number of the first record in its stream.
    pub first_sequence: u64,
    /// When they were due.
    pub intended: &'a Intended,
    /// Now, for service times.
    pub sent_ns: u64,
    /// Now, for the records' timestamps, milliseconds since 1970.
    pub timestamp_ms: i64,
    /// Producer id, epoch and sequence number of the first record; -1 each for none.
    pub producer: (i64, i16, i32),
    /// Keys to take in turn by sequence number; empty without keys.
    pub keys: &'a [u8],
}

/// The batch and where its records' values lie.
#[derive(Debug)]
pub struct Template {
    /// Room for the request's head, then the batch.
    buf: Vec<u8>,
    /// Position of each record's value in the batch.
    values: Vec<u32>,
    /// Position behind each record in the batch.
    ends: Vec<u32>,
    key_bytes: usize,
    codec: Compression,
    packed: Vec<u8>,
}

impl Template {
    /// Builds the batch of as many records as fit into `batch_bytes`, one at least.
    pub fn new(p: &Producers) -> Template {
        let (value, key) = (p.value_bytes as usize, p.key_bytes as usize);
        let mut t = Template {
            buf: vec![0; HEAD_ROOM + HEADER_BYTES],
            values: Vec::new(),
            ends: Vec::new(),
            key_bytes: key,
            codec: p.compression,
            packed: Vec::new(),
        };
        let mut filler = FillerBytes { state: 0x9e37_79b9_7f4a_7c15, kind: p.filler };
        loop {
            let index = t.values.len() as i32;
            let zigzag = |n: i32| varint::len_u32(varint::unzigzag_i32(n));
            let key_len = if key == 0 { 1 } else { zigzag(key as i32) + key };
            let body = 2 + zigzag(index) + key_len + zigzag(value as i32) + value + 1;
            let size = t.buf.len() - HEAD_ROOM + zigzag(body as i32) + body;
            if index > 0 && size > p.batch_bytes as usize {
                t.buf.resize(t.buf.len() + TAIL_ROOM, 0);
                return t;
            }
            let w = &mut t.buf;
            w.varint(body as i32);
            w.put(&[0, 0]); // attributes, timestamp delta
            w.varint(index);
            if key == 0 {
                w.varint(-1);
            } else {
                w.varint(key as i32);
                w.resize(w.len() + key, 0);
            }
            w.varint(value as i32);
            t.values.push((w.len() - HEAD_ROOM) as u32);
            w.resize(w.len() + STAMP_BYTES, 0);
            filler.append(w, value - STAMP_BYTES);
            w.varint(0);
            t.ends.push((w.len() - HEAD_ROOM) as u32);
        }
    }

    /// Most records of a batch.
    pub fn records_max(&self) -> usize {
        self.values.len()
    }

    /// Bytes of a batch of `records` before compression.
    pub fn batch_bytes(&self, records: usize) -> usize {
        self.ends[records - 1] as usize
    }

    /// Makes the batch. It then lies in [`Template::batch`].
    pub fn fill(&mut self, f: &Fill<'_>) {
        let end = self.ends[f.records - 1] as usize;
        let batch = &mut self.buf[HEAD_ROOM..HEAD_ROOM + end];
        let mut stamp =
            Stamp { run: f.run, stream: f.stream, sequence: f.first_sequence, intended_ns: f.intended.same, sent_ns: f.sent_ns };
        let (keys, key_bytes) = (f.keys.len().checked_div(self.key_bytes).unwrap_or(0), self.key_bytes);
        // All values are alike; the key ends where the value's length begins.
        let value_len = (self.ends[0] - 1 - self.values[0]) as i32;
        let key_back = varint::len_u32(varint::unzigzag_i32(value_len)) + key_bytes;
        for (i, at) in self.values[..f.records].iter().enumerate() {
            let at = *at as usize;
            if let Some(intended) = f.intended.each.get(i) {
                stamp.intended_ns = *intended;
            }
            if let Some(out) = batch[at..].first_chunk_mut() {
                stamp.write(out);
            }
            if keys > 0 {
                let (to, from) = (at - key_back, (stamp.sequence % keys as u64) as usize * key_bytes);
                batch[to..to + key_bytes].copy_from_slice(&f.keys[from..from + key_bytes]);
            }
            stamp.sequence += 1;
        }
        let header = BatchHeader {
            base_offset: 0,
            batch_length: (end - LOG_OVERHEAD_BYTES) as i32,
            partition_leader_epoch: -1,
            magic: batch::MAGIC,
            crc: 0,
            attributes: Attributes::default().with_compression(self.codec),
            last_offset_delta: f.records as i32 - 1,
            base_timestamp: f.timestamp_ms,
            max_timestamp: f.timestamp_ms,
            producer_id: f.producer.0,
            producer_epoch: f.producer.1,
            base_sequence: f.producer.2,
            record_count: f.records as i32,
        };
        if self.codec == Compression::None {
            seal(batch, header);
            return;
        }
        self.packed.clear();
        self.packed.resize(HEAD_ROOM + HEADER_BYTES, 0);
        // The level is the codec's default; the input is our own, so it cannot fail but for memory.
        if compression::compress(self.codec, None, &batch[HEADER_BYTES..], &mut self.packed).is_ok() {
            let batch = &mut self.packed[HEAD_ROOM..];
            let header = BatchHeader { batch_length: (batch.len() - LOG_OVERHEAD_BYTES) as i32, ..header };
            seal(batch, header);
        }
    }

    /// The batch that was filled last, of `records` records.
    pub fn batch(&self, records: usize) -> &[u8] {
        match self.codec {
            Compression::None => &self.buf[HEAD_ROOM..HEAD_ROOM + self.ends[records - 1] as usize],
            _ => &self.packed[HEAD_ROOM..],
        }
    }

    /// Hands out the same with `head` in front of it and `tail` zero bytes behind it, in one piece. `head` is at most [`HEAD_ROOM`] bytes,
    /// `tail` at most [`TAIL_ROOM`].
    pub fn framed<R>(&mut self, records: usize, head: &[u8], tail: usize, send: impl FnOnce(&[u8]) -> R) -> R {
        let from = HEAD_ROOM - head.len();
        if self.codec == Compression::None {
            // The next record of the full batch lies behind; it is put back.
            let end = HEAD_ROOM + self.ends[records - 1] as usize;
            let mut kept = [0; TAIL_ROOM];
            kept[..tail].copy_from_slice(&self.buf[end..end + tail]);
            self.buf[end..end + tail].fill(0);
            self.buf[from..HEAD_ROOM].copy_from_slice(head);
            let sent = send(&self.buf[from..end + tail]);
            self.buf[end..end + tail].copy_from_slice(&kept[..tail]);
            return sent;
        }
        let end = self.packed.len();
        self.packed.resize(end + tail, 0);
        self.packed[from..HEAD_ROOM].copy_from_slice(head);
        let sent = send(&self.packed[from..]);
        self.packed.truncate(end);
        sent
    }
}

fn seal(batch: &mut [u8], header: BatchHeader) {
    if let Some(gap) = batch.first_chunk_mut::<HEADER_BYTES>() {
        header.write(gap);
    }
    batch::patch_crc(batch);
}

/// Deterministic filler.
struct FillerBytes {
    state: u64,
    kind: Filler,
}

const WORDS: [&str; 8] =
    ["\"amount\":", "\"currency\":\"EUR\",", "\"customer\":", "{\"id\":", "null,", "true,", "\"status\":\"paid\"}", "17,"];

impl FillerBytes {
    fn next(&mut self) -> u64 {
        // xorshift64: enough to defeat a codec.
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    fn append(&mut self, out: &mut Vec<u8>, len: usize) {
        let end = out.len() + len;
        while out.len() < end {
            let left = end - out.len();
            match self.kind {
                Filler::Zeros => out.resize(end, 0),
                Filler::Random => {
                    let word = self.next().to_be_bytes();
                    out.extend_from_slice(&word[..left.min(8)]);
                }
                Filler::Text => {
                    let word = WORDS[(self.next() % 8) as usize].as_bytes();
                    out.extend_from_slice(&word[..left.min(word.len())]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Overrides, load};
    use coreline_wire::record::{Origin, RawBatch, Records};

    fn template(set: &[&str]) -> Template {
        let o = Overrides { set: set.iter().map(ToString::to_string).collect(), ..Default::default() };
        Template::new(&load("keyed-small", &o).expect("parses").producers)
    }

    #[test]
    fn every_prefix_in_every_codec_is_a_sound_batch_with_its_stamps() {
        for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
            let set = format!("producers.compression={codec}");
            let mut t = template(&[&set, "producers.batch_bytes=20000", "producers.filler=text"]);
            let keys: Vec<u8> = (0..3u8).flat_map(|k| [k; 16]).collect();
            for n in [1, 2, 64, 65, t.records_max()] {
                let intended = Intended { same: 0, each: (0..n as u64).map(|i| 1000 + i).collect() };
                let f = Fill {
                    records: n,
                    run: 7,
                    stream: 9,
                    first_sequence: 100,
                    intended: &intended,
                    sent_ns: 55,
                    timestamp_ms: 1_700_000_000_000,
                    producer: (4, 1, 100),
                    keys: &keys,
                };
                t.fill(&f);
                let batch = t.batch(n).to_vec();
                let whole = t.framed(n, b"head", 3, <[u8]>::to_vec);
                assert_eq!(whole, [&b"head"[..], &batch, &[0; 3]].concat(), "{codec}, {n} records");
                t.fill(&f);
                let raw = RawBatch::new(bytes::Bytes::copy_from_slice(t.batch(n)));
                let valid = raw.validate(Origin::Client { zstd_allowed: true }).expect("sound");
                let h = *valid.header();
                assert_eq!((h.record_count, h.producer_id, h.base_sequence), (n as i32, 4, 100));
                let mut plain = Vec::new();
                match h.compression().expect("known") {
                    Compression::None => plain.extend_from_slice(valid.payload()),
                    c => compression::decompress(c, valid.payload(), 1 << 20, &mut plain).expect("unpacks"),
                }
                for (i, record) in Records::new(&plain, h.record_count).expect("fits").enumerate() {
                    let record = record.expect("sound");
                    assert_eq!(record.offset_delta, i as i32);
                    assert_eq!(record.key, Some(&[((100 + i) % 3) as u8; 16][..]));
                    let value = record.value.expect("a value");
                    assert_eq!(value.len(), 100);
                    let stamp = Stamp { run: 7, stream: 9, sequence: 100 + i as u64, intended_ns: 1000 + i as u64, sent_ns: 55 };
                    assert_eq!(Stamp::read(value), Some(stamp));
                }
            }
        }
    }

    #[test]
    fn a_batch_never_exceeds_its_bound_unless_one_record_does() {
        let t = template(&["producers.batch_bytes=4096"]);
        assert!(t.batch_bytes(t.records_max()) <= 4096 && t.records_max() > 20);
        let t = template(&["producers.batch_bytes=128", "producers.value_bytes=5000"]);
        assert_eq!(t.records_max(), 1);
    }
}
