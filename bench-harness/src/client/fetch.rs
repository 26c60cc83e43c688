//! Fetch in place, versions 4 to 18: requests with or without a session, answers read without copying records. From version 12 on lengths are
//! varints and structures end in tagged fields, from version 13 on topics are named by id.

use coreline_wire::ApiKey;
use coreline_wire::decode::{DecodeError, Decoder};
use coreline_wire::encode::Sink;
use coreline_wire::header::encode_request;
use coreline_wire::primitive::{put_array, put_string};
use coreline_wire::tagged_field;

use super::CLIENT_ID;
use super::produce::{count, put_topic, skip_tags, topic_ref};
use super::topology::{PartitionNumber, TopicRef, Topology};
use super::versions::TOPIC_IDS_FROM;

/// First version with sessions.
pub const SESSIONS_FROM: i16 = 7;
/// First version with varints and tagged fields.
const FLEXIBLE_FROM: i16 = 12;

/// What a fetch asks for.
#[derive(Debug)]
pub struct Ask<'a> {
    /// API version.
    pub version: i16,
    /// Correlation id.
    pub correlation: i32,
    /// Most milliseconds to wait.
    pub max_wait_ms: i32,
    /// Bytes to wait for.
    pub min_bytes: i32,
    /// Most bytes of the answer.
    pub max_bytes: i32,
    /// Most bytes of a partition.
    pub partition_max_bytes: i32,
    /// Session id and epoch; (0, -1) for none.
    pub session: (i32, i32),
    /// Partitions to ask for or to change, ascending.
    pub partitions: &'a [PartitionNumber],
    /// Partitions to drop from the session, ascending.
    pub forgotten: &'a [PartitionNumber],
}

/// Writes a whole request into `out`; `offset` tells where each partition is read from.
pub fn write(out: &mut Vec<u8>, ask: &Ask<'_>, topology: &Topology, offset: impl Fn(PartitionNumber) -> i64) {
    let v = ask.version;
    out.clear();
    out.i32(0);
    encode_request(out, ApiKey::Fetch, v, ask.correlation, Some(CLIENT_ID));
    if v < 15 {
        out.i32(-1); // a consumer, no replica; later a tagged field
    }
    out.i32(ask.max_wait_ms);
    out.i32(ask.min_bytes);
    out.i32(ask.max_bytes);
    out.i8(0);
    if v >= SESSIONS_FROM {
        out.i32(ask.session.0);
        out.i32(ask.session.1);
    }
    let flexible = v >= FLEXIBLE_FROM;
    by_topic(out, v, ask.partitions, topology, |out, number, index| {
        out.i32(index);
        if v >= 9 {
            out.i32(-1);
        }
        out.i64(offset(number));
        if v >= 12 {
            out.i32(-1); // last fetched epoch
        }
        if v >= 5 {
            out.i64(-1);
        }
        out.i32(ask.partition_max_bytes);
        if flexible {
            tagged_field::write_none(out);
        }
    });
    if v >= SESSIONS_FROM {
        by_topic(out, v, ask.forgotten, topology, |out, _, index| out.i32(index));
    }
    if v >= 11 {
        put_string(out, "", flexible);
    }
    if flexible {
        tagged_field::write_none(out);
    }
    super::produce::finish(out, 0);
}

fn by_topic(
    out: &mut Vec<u8>,
    version: i16,
    numbers: &[PartitionNumber],
    topology: &Topology,
    mut put: impl FnMut(&mut Vec<u8>, PartitionNumber, i32),
) {
    let flexible = version >= FLEXIBLE_FROM;
    let topic_of = |n: &PartitionNumber| topology.split(*n).0;
    put_array(out, numbers.chunk_by(|a, b| topic_of(a) == topic_of(b)).count(), flexible);
    for run in numbers.chunk_by(|a, b| topic_of(a) == topic_of(b)) {
        let topic = topic_of(&run[0]);
        put_topic(out, &topology.topics[topic], topology.id(topic), version >= TOPIC_IDS_FROM, flexible);
        put_array(out, run.len(), flexible);
        for number in run {
            put(out, *number, topology.split(*number).1);
        }
        if flexible {
            tagged_field::write_none(out);
        }
    }
}

/// What an answer says as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Error code, 0 for none.
    pub error: i16,
    /// Session it belongs to, 0 for none.
    pub session: i32,
}

/// What an answer says of one partition.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// The topic.
    pub topic: TopicRef<'a>,
    /// Partition.
    pub partition: i32,
    /// Error code, 0 for none.
    pub error: i16,
    /// Batches, the last one maybe cut.
    pub records: &'a [u8],
}

/// Reads an answer (without size and correlation id) and hands out each partition.
pub fn read<'a>(body: &'a [u8], version: i16, mut each: impl FnMut(Part<'a>)) -> Result<Head, DecodeError> {
    let mut d = Decoder::new(body);
    let flexible = version >= FLEXIBLE_FROM;
    skip_tags(&mut d, flexible)?; // of the header
    d.i32()?; // throttle time
    let mut head = Head::default();
    if version >= SESSIONS_FROM {
        head = Head { error: d.i16()?, session: d.i32()? };
    }
    for _ in 0..count(&mut d, flexible)? {
        let topic = topic_ref(&mut d, version >= TOPIC_IDS_FROM, flexible)?;
        for _ in 0..count(&mut d, flexible)? {
            let (partition, error) = (d.i32()?, d.i16()?);
            d.bytes(if version >= 5 { 24 } else { 16 })?; // high watermark, last stable offset, log start offset
            for _ in 0..count(&mut d, flexible)? {
                d.bytes(16)?; // an aborted transaction
                skip_tags(&mut d, flexible)?;
            }
            if version >= 11 {
                d.i32()?; // preferred replica
            }
            let len = count(&mut d, flexible)?;
            let records = d.bytes(len)?;
            skip_tags(&mut d, flexible)?; // diverging epoch, the new leader
            each(Part { topic, partition, error, records });
        }
        skip_tags(&mut d, flexible)?;
    }
    skip_tags(&mut d, flexible)?;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{Bytes, BytesMut};
    use coreline_wire::TopicId;
    use coreline_wire::WireString;
    use coreline_wire::header::{decode_request, encode_response_header};
    use coreline_wire::message::fetch::{FetchPartitionResponse, FetchTopicResponse};
    use coreline_wire::message::{Chunk, FetchRequest, FetchResponse};

    #[test]
    fn a_request_reads_as_what_it_was_meant_to_be() {
        let ids = vec![TopicId([1; 16]), TopicId([2; 16])];
        let topology = Topology { topics: vec!["a".into(), "b".into()], ids, partitions: 4, ..Default::default() };
        for version in 4..=18 {
            let ask = Ask {
                version,
                correlation: 3,
                max_wait_ms: 500,
                min_bytes: 1,
                max_bytes: 100,
                partition_max_bytes: 10,
                session: (9, 2),
                partitions: &[1, 2, 6],
                forgotten: &[3],
            };
            let mut out = Vec::new();
            write(&mut out, &ask, &topology, |n| i64::from(n) * 100);
            let (header, body) = decode_request(&Bytes::copy_from_slice(&out[4..])).expect("header");
            assert_eq!((header.api_key, header.api_version), (1, version));
            let read = FetchRequest::decode(&body, version).expect("body");
            assert_eq!(read.topics.len(), 2);
            let p = &read.topics[1].partitions[0];
            assert_eq!((p.partition, p.fetch_offset), (2, 600));
            let wanted = if version >= 13 { ("", TopicId([2; 16])) } else { ("b", TopicId::ZERO) };
            assert_eq!((&*read.topics[1].name, read.topics[1].topic_id), wanted, "v{version}");
            if version >= SESSIONS_FROM {
                assert_eq!((read.session_id, read.session_epoch, read.forgotten_topics.len()), (9, 2, 1));
            }
        }
    }

    #[test]
    fn an_answer_is_read_whole_and_a_cut_one_is_an_error() {
        for version in 4..=18 {
            let partition = |partition, records: &'static [u8]| FetchPartitionResponse {
                partition,
                records: vec![Bytes::from_static(records)],
                ..Default::default()
            };
            let response = FetchResponse {
                session_id: 5,
                topics: vec![FetchTopicResponse {
                    name: WireString::from("t"),
                    partitions: vec![partition(0, b"abc"), partition(3, b"")],
                    topic_id: TopicId([7; 16]),
                }],
                ..Default::default()
            };
            let mut out = BytesMut::new();
            encode_response_header(&mut out, ApiKey::Fetch, version, 1);
            for chunk in response.encode(version) {
                match chunk {
                    Chunk::Bytes(b) | Chunk::Span(b) => out.extend_from_slice(&b),
                }
            }
            let out = out.split_off(4);
            let t = if version >= 13 { TopicRef::Id(TopicId([7; 16])) } else { TopicRef::Name(b"t") };
            let mut seen = Vec::new();
            let each = |p: Part<'_>| {
                assert_eq!(p.topic, t, "v{version}");
                seen.push((p.partition, p.records.to_vec()));
            };
            let head = read(&out, version, each).expect("sound");
            assert_eq!(head.session, if version >= SESSIONS_FROM { 5 } else { 0 });
            assert_eq!(seen, [(0, b"abc".to_vec()), (3, Vec::new())]);
            for cut in 0..out.len() {
                assert!(read(&out[..cut], version, |_| {}).is_err(), "v{version} cut at {cut}");
            }
        }
    }
}
