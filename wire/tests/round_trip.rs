//! Produce and Fetch: what we write, `kafka-protocol` reads and writes alike, and we read it back; any cut is an error, never a panic.
//!
//! Every property runs over every version; a failure names the seed, which proptest keeps and shows.

mod support;

use bytes::{Bytes, BytesMut};
use coreline_wire::api::ApiKey;
use coreline_wire::message::chunk::{Chunk, SpanLen, total_len};
use coreline_wire::message::{FetchRequest, FetchResponse, ProduceRequest, ProduceResponse};
use coreline_wire::{DecodeError, DecodeErrorKind};
use kafka_protocol::messages as kp;
use kafka_protocol::protocol::{Decodable, Encodable};
use proptest::prelude::*;
use support::{Random, theirs};

fn versions(api: ApiKey) -> std::ops::RangeInclusive<i16> {
    api.spec().min..=api.spec().max
}

/// The bytes as `kafka-protocol` writes the message, and the message as it reads them.
fn through_theirs<T: Encodable + Decodable>(message: &T, version: i16) -> (Bytes, T) {
    let mut out = BytesMut::new();
    message.encode(&mut out, version).expect("their encoder takes it");
    let bytes = out.freeze();
    let mut rest = bytes.clone();
    let read = T::decode(&mut rest, version).expect("their decoder takes it");
    assert!(rest.is_empty());
    (bytes, read)
}

fn join(chunks: &[Chunk<Bytes>]) -> Bytes {
    let mut out = BytesMut::new();
    for chunk in chunks {
        match chunk {
            Chunk::Bytes(bytes) | Chunk::Span(bytes) => out.extend_from_slice(bytes),
        }
    }
    assert_eq!(out.len(), total_len(chunks));
    out.freeze()
}

/// Every cut is an error, and so is a byte too many.
fn refuses_cuts<T: std::fmt::Debug>(bytes: &Bytes, decode: impl Fn(&Bytes) -> Result<T, DecodeError>) {
    for cut in 0..bytes.len() {
        decode(&bytes.slice(..cut)).expect_err("a cut message");
    }
    let longer: Bytes = [&bytes[..], &[0]].concat().into();
    let error = decode(&longer).expect_err("a byte too many");
    assert_eq!(error.kind, DecodeErrorKind::TrailingBytes(1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn produce_requests(seed: u64) {
        for version in versions(ApiKey::Produce) {
            let message = support::produce_request(&mut Random::new(seed), version);
            let mut out = BytesMut::new();
            message.encode(version, &mut out);
            let bytes = out.freeze();
            prop_assert_eq!(bytes.len(), message.encoded_len(version));
            let (their_bytes, _) = through_theirs(&theirs::produce_request(&message), version);
            prop_assert_eq!(&bytes, &their_bytes, "v{}", version);
            prop_assert_eq!(&ProduceRequest::decode(&bytes, version).expect("sound"), &message);
            refuses_cuts(&bytes, |bytes| ProduceRequest::decode(bytes, version));
        }
    }

    #[test]
    fn produce_responses(seed: u64) {
        for version in versions(ApiKey::Produce) {
            let message = support::produce_response(&mut Random::new(seed), version);
            let mut out = BytesMut::new();
            message.encode(version, &mut out);
            let bytes = out.freeze();
            prop_assert_eq!(bytes.len(), message.encoded_len(version));
            let (their_bytes, _) = through_theirs(&theirs::produce_response(&message), version);
            prop_assert_eq!(&bytes, &their_bytes, "v{}", version);
            prop_assert_eq!(&ProduceResponse::decode(&bytes, version).expect("sound"), &message);
            refuses_cuts(&bytes, |bytes| ProduceResponse::decode(bytes, version));
        }
    }

    #[test]
    fn fetch_requests(seed: u64) {
        for version in versions(ApiKey::Fetch) {
            let message = support::fetch_request(&mut Random::new(seed), version);
            let mut out = BytesMut::new();
            message.encode(version, &mut out);
            let bytes = out.freeze();
            prop_assert_eq!(bytes.len(), message.encoded_len(version));
            let (their_bytes, _) = through_theirs(&theirs::fetch_request(&message, version), version);
            prop_assert_eq!(&bytes, &their_bytes, "v{}", version);
            prop_assert_eq!(&FetchRequest::decode(&bytes, version).expect("sound"), &message);
            refuses_cuts(&bytes, |bytes| FetchRequest::decode(bytes, version));
        }
    }

    #[test]
    fn fetch_responses(seed: u64) {
        for version in versions(ApiKey::Fetch) {
            let message = support::fetch_response(&mut Random::new(seed), version);
            let chunks = message.clone().encode(version);
            let bytes = join(&chunks);
            let (their_bytes, _) = through_theirs(&theirs::fetch_response(&message), version);
            prop_assert_eq!(&bytes, &their_bytes, "v{}", version);
            prop_assert_eq!(&FetchResponse::decode(&bytes, version).expect("sound"), &message);
            refuses_cuts(&bytes, |bytes| FetchResponse::decode(bytes, version));
        }
    }

    #[test]
    fn random_damage_is_refused_or_decodes_but_never_panics(seed: u64) {
        let mut random = Random::new(seed);
        for version in versions(ApiKey::Fetch) {
            let request = support::fetch_request(&mut random, version);
            let mut out = BytesMut::new();
            request.encode(version, &mut out);
            let _ = FetchRequest::decode(&damage(&mut random, &out), version);
            let response = join(&support::fetch_response(&mut random, version).encode(version));
            let _ = FetchResponse::decode(&damage(&mut random, &response), version);
        }
        for version in versions(ApiKey::Produce) {
            let mut out = BytesMut::new();
            support::produce_request(&mut random, version).encode(version, &mut out);
            let _ = ProduceRequest::decode(&damage(&mut random, &out), version);
            let mut out = BytesMut::new();
            support::produce_response(&mut random, version).encode(version, &mut out);
            let _ = ProduceResponse::decode(&damage(&mut random, &out), version);
        }
    }
}

fn damage(random: &mut Random, bytes: &[u8]) -> Bytes {
    let mut out = bytes.to_vec();
    for _ in 0..1 + random.below(3) {
        let at = random.below(out.len() as u64) as usize;
        out[at] = random.next() as u8;
    }
    out.into()
}

#[test]
fn records_are_slices_of_the_frame() {
    let records = Bytes::from(vec![7; 10_000]);
    let mut message = support::produce_request(&mut Random::new(1), 9);
    message.topics.truncate(0);
    message.topics.push(coreline_wire::message::produce::ProduceTopic {
        name: "t".into(),
        partitions: vec![coreline_wire::message::produce::ProducePartition { index: 0, records: Some(records.clone()) }],
        ..Default::default()
    });
    let mut out = BytesMut::new();
    message.encode(9, &mut out);
    let frame = out.freeze();
    let read = ProduceRequest::decode(&frame, 9).expect("sound");
    let slice = read.topics[0].partitions[0].records.as_ref().expect("records");
    assert_eq!(slice, &records);
    assert!(frame.as_ptr_range().contains(&slice.as_ptr()), "no copy was made");
}

/// Stands for a range of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Span(usize);

impl SpanLen for Span {
    fn span_len(&self) -> usize {
        self.0
    }
}

#[test]
fn spans_lie_in_order_where_their_records_belong() {
    use coreline_wire::message::fetch::{FetchPartitionResponse, FetchTopicResponse};
    let partition = |index: i32, spans: &[usize]| FetchPartitionResponse {
        partition: index,
        records: spans.iter().map(|len| Span(*len)).collect(),
        ..Default::default()
    };
    for version in versions(ApiKey::Fetch) {
        let response = FetchResponse {
            topics: vec![
                FetchTopicResponse {
                    name: if version < 13 { "a".into() } else { Default::default() },
                    topic_id: Default::default(),
                    partitions: vec![partition(0, &[5, 0, 7]), partition(1, &[]), partition(2, &[0])],
                },
                FetchTopicResponse {
                    name: if version < 13 { "b".into() } else { Default::default() },
                    topic_id: Default::default(),
                    partitions: vec![partition(3, &[100])],
                },
            ],
            ..FetchResponse::default()
        };
        let chunks = response.encode(version);
        assert!(total_len(&chunks) > 112);
        let spans: Vec<_> = chunks.iter().filter_map(|c| if let Chunk::Span(span) = c { Some(span.0) } else { None }).collect();
        assert_eq!(spans, [5, 7, 100]);
        // With the spans filled in, a client reads them back where they belong.
        let filled: Vec<Chunk<Bytes>> = chunks
            .into_iter()
            .map(|chunk| match chunk {
                Chunk::Bytes(bytes) => Chunk::Bytes(bytes),
                Chunk::Span(Span(len)) => Chunk::Span(Bytes::from(vec![len as u8; len])),
            })
            .collect();
        let read = FetchResponse::decode(&join(&filled), version).expect("sound");
        let records: Vec<_> = read.topics.iter().flat_map(|t| &t.partitions).map(|p| p.records.concat()).collect();
        assert_eq!(records, [[vec![5; 5], vec![7; 7]].concat(), vec![], vec![], vec![100; 100]]);
    }
}

#[test]
fn unknown_tags_are_skipped_and_missing_versions_refused() {
    for (version, ok) in [(2, false), (3, true), (13, true), (14, false)] {
        let mut out = BytesMut::new();
        ProduceRequest::default().encode(version.clamp(3, 13), &mut out);
        assert_eq!(ProduceRequest::decode(&out.freeze(), version).is_ok(), ok, "v{version}");
    }
    let mut out = BytesMut::new();
    FetchRequest::default().encode(18, &mut out);
    let end = out.len() - 1;
    assert_eq!(out[end], 0, "no tags");
    out.truncate(end);
    out.extend_from_slice(&[1, 99, 3, 1, 2, 3]);
    assert_eq!(FetchRequest::decode(&out.freeze(), 18).expect("an unknown tag"), FetchRequest::default());
}

#[test]
fn their_defaults_are_ours() {
    for version in versions(ApiKey::Fetch) {
        let (bytes, _) = through_theirs(&kp::FetchRequest::default(), version);
        let ours = FetchRequest::decode(&bytes, version).expect("sound");
        let expected = FetchRequest { session_epoch: if version >= 7 { -1 } else { ours.session_epoch }, ..FetchRequest::default() };
        assert_eq!(ours, expected, "v{version}");
    }
}
