//! Produce in place, versions 3 to 8: heads written in front of batches, answers read without allocating.

use coreline_wire::ApiKey;
use coreline_wire::decode::{DecodeError, Decoder};
use coreline_wire::encode::Sink;
use coreline_wire::header::encode_request;
use coreline_wire::primitive::put_nullable_string;

use super::CLIENT_ID;

/// Appends a request's head up to the first topic: size (filled in by [`finish`]), header, transactional id, acks, timeout, topic count.
pub fn head(out: &mut Vec<u8>, version: i16, correlation: i32, acks: i16, timeout_ms: i32, topics: i32) {
    out.i32(0);
    encode_request(out, ApiKey::Produce, version, correlation, Some(CLIENT_ID));
    put_nullable_string(out, None, false);
    out.i16(acks);
    out.i32(timeout_ms);
    out.i32(topics);
}

/// Appends a topic's head: name and number of its partitions.
pub fn topic(out: &mut Vec<u8>, name: &str, partitions: i32) {
    put_nullable_string(out, Some(name), false);
    out.i32(partitions);
}

/// Appends a partition's head, after which its batch follows.
pub fn partition(out: &mut Vec<u8>, index: i32, batch_bytes: usize) {
    out.i32(index);
    out.i32(batch_bytes as i32);
}

/// Fills in the size of a request that begins at the front of `request` and goes on for `more` bytes behind it.
pub fn finish(request: &mut [u8], more: usize) {
    let size = (request.len() + more - 4) as i32;
    request[..4].copy_from_slice(&size.to_be_bytes());
}

/// What an answer says of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Topic name.
    pub topic: &'a [u8],
    /// Partition.
    pub partition: i32,
    /// Error code, 0 for none.
    pub error: i16,
}

/// Reads an answer (without size and correlation id) and hands out each partition.
pub fn read<'a>(body: &'a [u8], version: i16, mut each: impl FnMut(Answer<'a>)) -> Result<(), DecodeError> {
    let mut d = Decoder::new(body);
    for _ in 0..d.i32()?.max(0) {
        let topic = string(&mut d)?;
        for _ in 0..d.i32()?.max(0) {
            let (partition, error) = (d.i32()?, d.i16()?);
            d.bytes(if version >= 5 { 24 } else { 16 })?; // base offset, append time, log start offset
            if version >= 8 {
                for _ in 0..d.i32()?.max(0) {
                    d.i32()?;
                    string(&mut d)?;
                }
                string(&mut d)?;
            }
            each(Answer { topic, partition, error });
        }
    }
    d.i32()?; // throttle time
    Ok(())
}

/// A classic nullable string as bytes, null as empty.
pub(super) fn string<'a>(d: &mut Decoder<'a>) -> Result<&'a [u8], DecodeError> {
    let len = d.i16()?;
    d.bytes(usize::try_from(len).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{Bytes, BytesMut};
    use coreline_wire::WireString;
    use coreline_wire::header::decode_request;
    use coreline_wire::message::produce::{ProducePartitionResponse, ProduceTopicResponse};
    use coreline_wire::message::{ProduceRequest, ProduceResponse};

    #[test]
    fn a_request_reads_as_what_it_was_meant_to_be() {
        for version in 3..=8 {
            let mut out = Vec::new();
            head(&mut out, version, 77, -1, 30_000, 2);
            topic(&mut out, "a", 1);
            partition(&mut out, 5, 3);
            out.put(b"one");
            topic(&mut out, "bb", 1);
            partition(&mut out, 6, 4);
            finish(&mut out, 4);
            out.put(b"four");
            assert_eq!(out[..4], ((out.len() - 4) as i32).to_be_bytes());
            let (header, body) = decode_request(&Bytes::copy_from_slice(&out[4..])).expect("header");
            assert_eq!((header.api_key, header.api_version, header.correlation_id), (0, version, 77));
            let read = ProduceRequest::decode(&body, version).expect("body");
            assert_eq!((read.acks, read.timeout_ms, read.topics.len()), (-1, 30_000, 2));
            assert_eq!(&*read.topics[1].name, "bb");
        }
    }

    #[test]
    fn an_answer_is_read_whole_and_a_cut_one_is_an_error() {
        for version in 3..=8 {
            let response = ProduceResponse {
                topics: vec![ProduceTopicResponse {
                    name: WireString::from("t"),
                    partitions: (0..3)
                        .map(|index| ProducePartitionResponse {
                            index,
                            error_code: if index == 1 {
                                coreline_wire::ErrorCode::NotLeaderOrFollower
                            } else {
                                coreline_wire::ErrorCode::None
                            },
                            ..Default::default()
                        })
                        .collect(),
                    ..Default::default()
                }],
                ..Default::default()
            };
            let mut out = BytesMut::new();
            response.encode(version, &mut out);
            let mut seen = Vec::new();
            read(&out, version, |a| seen.push((a.topic.to_vec(), a.partition, a.error))).expect("sound");
            assert_eq!(seen, [(b"t".to_vec(), 0, 0), (b"t".to_vec(), 1, 6), (b"t".to_vec(), 2, 0)]);
            for cut in 0..out.len() {
                assert!(read(&out[..cut], version, |_| {}).is_err(), "v{version} cut at {cut}");
            }
        }
    }
}
