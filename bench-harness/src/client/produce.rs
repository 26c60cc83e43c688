//! Produce in place, versions 3 to 13: heads written in front of batches, answers read without allocating.
//!
//! From version 9 on lengths are varints and every structure ends in tagged fields, which requests leave empty: one zero byte each behind the
//! batch, the topic and the whole ([`tail_bytes`]). From version 13 on topics are named by id.

use coreline_wire::ApiKey;
use coreline_wire::decode::{DecodeError, Decoder};
use coreline_wire::encode::Sink;
use coreline_wire::header::encode_request;
use coreline_wire::primitive::{put_array, put_bytes_len, put_nullable_string, put_string};
use coreline_wire::{TopicId, tagged_field};

use super::CLIENT_ID;
use super::topology::TopicRef;
use super::versions::TOPIC_IDS_FROM;

/// First version with varints and tagged fields.
const FLEXIBLE_FROM: i16 = 9;

/// Appends a request's head up to the first topic: size (filled in by [`finish`]), header, transactional id, acks, timeout, topic count.
pub fn head(out: &mut Vec<u8>, version: i16, correlation: i32, acks: i16, timeout_ms: i32, topics: usize) {
    out.i32(0);
    encode_request(out, ApiKey::Produce, version, correlation, Some(CLIENT_ID));
    let flexible = version >= FLEXIBLE_FROM;
    put_nullable_string(out, None, flexible);
    out.i16(acks);
    out.i32(timeout_ms);
    put_array(out, topics, flexible);
}

/// Appends a topic's head: name or id, and number of its partitions.
pub fn topic(out: &mut Vec<u8>, version: i16, name: &str, id: TopicId, partitions: usize) {
    put_topic(out, name, id, version >= TOPIC_IDS_FROM, version >= FLEXIBLE_FROM);
    put_array(out, partitions, version >= FLEXIBLE_FROM);
}

/// Appends a topic by id or by name.
pub(super) fn put_topic(out: &mut Vec<u8>, name: &str, id: TopicId, by_id: bool, flexible: bool) {
    if by_id { out.put(&id.0) } else { put_string(out, name, flexible) }
}

/// Appends a partition's head, after which its batch follows.
pub fn partition(out: &mut Vec<u8>, version: i16, index: i32, batch_bytes: usize) {
    out.i32(index);
    put_bytes_len(out, batch_bytes, version >= FLEXIBLE_FROM);
}

/// Appends what ends a partition, a topic or the request.
pub fn end(out: &mut Vec<u8>, version: i16) {
    if version >= FLEXIBLE_FROM {
        tagged_field::write_none(out);
    }
}

/// Zero bytes behind the only batch of a request: the ends of its partition, its topic and the request.
pub fn tail_bytes(version: i16) -> usize {
    if version >= FLEXIBLE_FROM { 3 } else { 0 }
}

/// Fills in the size of a request that begins at the front of `request` and goes on for `more` bytes behind it.
pub fn finish(request: &mut [u8], more: usize) {
    let size = (request.len() + more - 4) as i32;
    request[..4].copy_from_slice(&size.to_be_bytes());
}

/// What an answer says of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The topic.
    pub topic: TopicRef<'a>,
    /// Partition.
    pub partition: i32,
    /// Error code, 0 for none.
    pub error: i16,
}

/// Reads an answer (without size and correlation id) and hands out each partition.
pub fn read<'a>(body: &'a [u8], version: i16, mut each: impl FnMut(Answer<'a>)) -> Result<(), DecodeError> {
    let mut d = Decoder::new(body);
    let flexible = version >= FLEXIBLE_FROM;
    skip_tags(&mut d, flexible)?; // of the header
    for _ in 0..count(&mut d, flexible)? {
        let topic = topic_ref(&mut d, version >= TOPIC_IDS_FROM, flexible)?;
        for _ in 0..count(&mut d, flexible)? {
            let (partition, error) = (d.i32()?, d.i16()?);
            d.bytes(if version >= 5 { 24 } else { 16 })?; // base offset, append time, log start offset
            if version >= 8 {
                for _ in 0..count(&mut d, flexible)? {
                    d.i32()?;
                    string(&mut d, flexible)?;
                    skip_tags(&mut d, flexible)?;
                }
                string(&mut d, flexible)?;
            }
            skip_tags(&mut d, flexible)?; // the new leader, which Metadata is asked for
            each(Answer { topic, partition, error });
        }
        skip_tags(&mut d, flexible)?;
    }
    d.i32()?; // throttle time
    skip_tags(&mut d, flexible)
}

/// Skips tagged fields where the version has them.
pub(super) fn skip_tags(d: &mut Decoder<'_>, flexible: bool) -> Result<(), DecodeError> {
    if flexible { tagged_field::skip(d) } else { Ok(()) }
}

/// The number of elements of an array, null as none. Believed only as far as the bytes go: each element reads some.
pub(super) fn count(d: &mut Decoder<'_>, flexible: bool) -> Result<usize, DecodeError> {
    Ok(if flexible { (d.unsigned_varint()? as usize).saturating_sub(1) } else { usize::try_from(d.i32()?).unwrap_or(0) })
}

/// A nullable string as bytes, null as empty.
pub(super) fn string<'a>(d: &mut Decoder<'a>, flexible: bool) -> Result<&'a [u8], DecodeError> {
    let len = if flexible { (d.unsigned_varint()? as usize).saturating_sub(1) } else { usize::try_from(d.i16()?).unwrap_or(0) };
    d.bytes(len)
}

/// A topic by id or by name.
pub(super) fn topic_ref<'a>(d: &mut Decoder<'a>, by_id: bool, flexible: bool) -> Result<TopicRef<'a>, DecodeError> {
    Ok(if by_id { TopicRef::Id(TopicId(d.uuid()?)) } else { TopicRef::Name(string(d, flexible)?) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{Bytes, BytesMut};
    use coreline_wire::WireString;
    use coreline_wire::header::{decode_request, encode_response_header};
    use coreline_wire::message::LeaderIdAndEpoch;
    use coreline_wire::message::produce::{ProducePartitionResponse, ProduceTopicResponse};
    use coreline_wire::message::{ProduceRequest, ProduceResponse};

    #[test]
    fn a_request_reads_as_what_it_was_meant_to_be() {
        for version in 3..=13 {
            let mut out = Vec::new();
            head(&mut out, version, 77, -1, 30_000, 2);
            topic(&mut out, version, "a", TopicId([1; 16]), 1);
            partition(&mut out, version, 5, 3);
            out.put(b"one");
            end(&mut out, version);
            end(&mut out, version);
            topic(&mut out, version, "bb", TopicId([2; 16]), 1);
            partition(&mut out, version, 6, 4);
            finish(&mut out, 4 + tail_bytes(version));
            out.put(b"four");
            (0..tail_bytes(version)).for_each(|_| out.put(&[0]));
            assert_eq!(out[..4], ((out.len() - 4) as i32).to_be_bytes());
            let (header, body) = decode_request(&Bytes::copy_from_slice(&out[4..])).expect("header");
            assert_eq!((header.api_key, header.api_version, header.correlation_id), (0, version, 77));
            let read = ProduceRequest::decode(&body, version).expect("body");
            assert_eq!((read.acks, read.timeout_ms, read.topics.len()), (-1, 30_000, 2));
            let last = &read.topics[1];
            let wanted = if version >= 13 { ("", TopicId([2; 16])) } else { ("bb", TopicId::ZERO) };
            assert_eq!((&*last.name, last.topic_id), wanted, "v{version}");
            assert_eq!(last.partitions[0].records.as_deref(), Some(&b"four"[..]));
        }
    }

    #[test]
    fn an_answer_is_read_whole_and_a_cut_one_is_an_error() {
        for version in 3..=13 {
            let response = ProduceResponse {
                topics: vec![ProduceTopicResponse {
                    name: WireString::from("t"),
                    topic_id: TopicId([7; 16]),
                    partitions: (0..3)
                        .map(|index| ProducePartitionResponse {
                            index,
                            error_code: if index == 1 {
                                coreline_wire::ErrorCode::NotLeaderOrFollower
                            } else {
                                coreline_wire::ErrorCode::None
                            },
                            error_message: (index == 1).then(|| WireString::from("gone")),
                            current_leader: (index == 1).then_some(LeaderIdAndEpoch { leader_id: 3, leader_epoch: 4 }),
                            ..Default::default()
                        })
                        .collect(),
                }],
                ..Default::default()
            };
            let mut out = BytesMut::new();
            encode_response_header(&mut out, ApiKey::Produce, version, 1);
            response.encode(version, &mut out);
            let out = out.split_off(4);
            let mut seen = Vec::new();
            read(&out, version, |a| seen.push((a.topic, a.partition, a.error))).expect("sound");
            let t = if version >= 13 { TopicRef::Id(TopicId([7; 16])) } else { TopicRef::Name(b"t") };
            assert_eq!(seen, [(t, 0, 0), (t, 1, 6), (t, 2, 0)]);
            for cut in 0..out.len() {
                assert!(read(&out[..cut], version, |_| {}).is_err(), "v{version} cut at {cut}");
            }
        }
    }
}
