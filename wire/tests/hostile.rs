//! Hostile input: what a peer that lies about sizes, counts and tags gets. Nothing panics, nothing takes long, nothing is reserved on a claim.
//!
//! Compression bombs and lying records are tested beside the code (`record/compression.rs`, `record/tests.rs`), inflated counts of each fenced
//! request in `fence/tests.rs`.

mod support;

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use coreline_wire::api::{self, ApiKey};
use coreline_wire::frame::{FrameDecoder, FrameError};
use coreline_wire::message::{FetchRequest, FetchResponse, ProduceRequest, ProduceResponse};
use coreline_wire::record::{Batches, Origin, RawBatch};
use coreline_wire::{DecodeErrorKind, Decoder, fence, header};
use support::{Random, samples};

#[test]
fn frames_that_lie_about_their_size_end_the_stream() {
    for (size, limit, error) in [
        (-1, 100, FrameError::Negative(-1)),
        (i32::MIN, 100, FrameError::Negative(i32::MIN)),
        (101, 100, FrameError::TooLarge { size: 101, limit: 100 }),
        (i32::MAX, 512 << 10, FrameError::TooLarge { size: i32::MAX as usize, limit: 512 << 10 }),
        // A TLS client hello and an HTTP request, read as a size.
        (0x1603_0100, 100 << 20, FrameError::TooLarge { size: 0x1603_0100, limit: 100 << 20 }),
        (i32::from_be_bytes(*b"GET "), 100 << 20, FrameError::TooLarge { size: 0x4745_5420, limit: 100 << 20 }),
    ] {
        let mut frames = FrameDecoder::new(limit);
        frames.push(&size.to_be_bytes());
        assert_eq!(frames.next(), Err(error));
        // What follows is dropped, not gathered.
        frames.push(&[0; 10_000]);
        assert_eq!((frames.next(), frames.buffered()), (Err(error), 0));
    }
}

#[test]
fn a_frame_that_never_arrives_takes_no_memory() {
    let mut frames = FrameDecoder::new(100 << 20);
    frames.push(&(100i32 << 20).to_be_bytes());
    for _ in 0..100 {
        frames.push(&[0; 10]);
        assert_eq!(frames.next(), Ok(None));
    }
    assert!(frames.buffer().capacity() < 16 << 10, "memory follows the bytes");
}

#[test]
fn random_bodies_are_refused_or_read_by_kafka_protocol_but_never_panic() {
    for spec in api::ALL {
        for version in spec.min..=spec.max {
            let mut random = Random::new(((spec.key.code() as u64) << 16) | version as u64);
            for _ in 0..300 {
                // Small bytes, so that counts and lengths are often plausible.
                let mut body = random.bytes(60);
                body.iter_mut().for_each(|b| *b %= 5);
                let body = Bytes::from(body);
                match spec.key {
                    ApiKey::Produce => {
                        let _ = ProduceRequest::decode(&body, version);
                        let _ = ProduceResponse::decode(&body, version);
                    }
                    ApiKey::Fetch => {
                        let _ = FetchRequest::decode(&body, version);
                        let _ = FetchResponse::decode(&body, version);
                    }
                    other => {
                        if fence::check_request(other.code(), version, &body).is_ok() {
                            samples::debug(other, version, &body).expect("what passed the fence is sound");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn random_headers_never_panic() {
    let mut random = Random::new(3);
    for _ in 0..20_000 {
        let mut frame = random.bytes(40);
        if frame.len() > 3 {
            frame[0] = 0;
            frame[1] %= 80;
            frame[2] = 0;
            frame[3] %= 20;
        }
        let _ = header::decode_request(&Bytes::from(frame));
    }
}

#[test]
fn produce_and_fetch_refuse_inflated_counts_at_once() {
    let start = Instant::now();
    let counts: [&[u8]; 4] = [&[0x7f, 0xff, 0xff, 0xff], &[0xff, 0xff, 0xff, 0xfe], &[0x80, 0, 0, 0], &[0, 0x10, 0, 0]];
    let compact: [&[u8]; 3] = [&[0xff, 0xff, 0xff, 0xff, 0x0f], &[0xff, 0xff, 0xff, 0xff, 0xff], &[0x80, 0x80, 0x40]];
    for version in 3..=13 {
        for count in if version >= 9 { &compact[..] } else { &counts[..] } {
            // No transactional id, acks, timeout, then topics.
            let mut body = BytesMut::new();
            if version >= 9 {
                body.put_u8(0)
            } else {
                body.put_i16(-1)
            };
            body.put_i16(-1);
            body.put_i32(1000);
            body.extend_from_slice(count);
            body.extend_from_slice(&[0; 64]);
            assert!(ProduceRequest::decode(&body.freeze(), version).is_err(), "v{version} {count:x?}");
        }
    }
    for version in 4..=18 {
        for count in if version >= 12 { &compact[..] } else { &counts[..] } {
            let mut body = BytesMut::new();
            let fixed = if version <= 14 { 4 } else { 0 } + 4 + 4 + 4 + 1 + if version >= 7 { 8 } else { 0 };
            body.put_bytes(0, fixed);
            body.extend_from_slice(count);
            body.extend_from_slice(&[0; 64]);
            assert!(FetchRequest::decode(&body.freeze(), version).is_err(), "v{version} {count:x?}");
        }
    }
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn elements_are_bounded_even_when_all_their_bytes_are_there() {
    // Forgotten topics of a Fetch, each with an empty name, no partitions and no tags: three bytes that become a structure.
    let count = Decoder::MAX_ELEMENTS + 1;
    let mut body = BytesMut::new();
    body.put_bytes(0, 4 + 4 + 4 + 4 + 1 + 8);
    body.put_u8(1);
    let mut rest = count as u32 + 1;
    while rest >= 0x80 {
        body.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    body.put_u8(rest as u8);
    for _ in 0..count {
        body.extend_from_slice(&[1, 1, 0]);
    }
    body.extend_from_slice(&[1, 0]);
    let error = FetchRequest::decode(&body.freeze(), 12).expect_err("one too many");
    assert_eq!(error.kind, DecodeErrorKind::TooManyElements);
}

#[test]
fn unknown_tags_are_bounded_in_headers_and_bodies() {
    let tags = |n: u8| -> Vec<u8> { [vec![n], (0..n).flat_map(|tag| [tag, 0]).collect()].concat() };
    // DescribeCluster v0: one boolean, then tags.
    for (n, ok) in [(64, true), (65, false)] {
        let body = [vec![1], tags(n)].concat();
        assert_eq!(fence::check_request(60, 0, &body).is_ok(), ok, "{n} tags");
        let mut frame = vec![0, 60, 0, 0, 0, 0, 0, 1, 0xff, 0xff];
        frame.extend_from_slice(&tags(n));
        assert_eq!(header::decode_request(&Bytes::from(frame)).is_ok(), ok, "{n} tags in the header");
    }
}

#[test]
fn random_record_bytes_are_refused() {
    let mut random = Random::new(9);
    for _ in 0..20_000 {
        let mut bytes = random.bytes(200);
        if bytes.len() > 16 {
            bytes[16] = 2;
            bytes[8..11].fill(0);
        }
        let bytes = Bytes::from(bytes);
        assert!(RawBatch::new(bytes.clone()).validate(Origin::Client { zstd_allowed: true }).is_err());
        assert!(Batches::new(bytes).count() <= 4);
    }
}
