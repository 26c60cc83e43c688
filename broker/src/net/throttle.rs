//! Throttling of a connection (KIP-219): the answer goes out at once and says for how long; then the connection is not read for that long.
//!
//! Here is what is counted of a request's time, and how an answer that is encoded already is told its throttle time.

use std::future::Future;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use crate::handler::{Chunk, RequestContext, Response, Track};
use crate::quota::{ShardQuotas, work};

/// Polls a future and charges the time of each poll to the request, and what other shards do for it.
pub fn timed<F: Future + Unpin>(track: Rc<Track>, future: F) -> impl Future<Output = F::Output> + Unpin {
    work::charged(track, future)
}

/// Closes the account of a request that is answered: milliseconds for which its connection is to be muted. They are written into the answer.
pub fn settle(quotas: &ShardQuotas, ctx: &RequestContext, response: &mut Response) -> u64 {
    let worked_ns = ctx.track.take_worked_ns();
    let worked = if worked_ns > 0 { quotas.worked(&ctx.connection.quotas, ctx.client_id.as_ref(), worked_ns) } else { 0 };
    let throttle_ms = worked.max(ctx.track.throttle_ms());
    if throttle_ms > 0 {
        tell(ctx.api_key, ctx.api_version, response, throttle_ms);
    }
    throttle_ms
}

/// Writes the throttle time into an encoded body; an answer without such a field stays as it is.
fn tell(api_key: i16, version: i16, response: &mut Response, throttle_ms: u64) {
    let value = i32::try_from(throttle_ms).unwrap_or(i32::MAX).to_be_bytes();
    let write = |body: &mut [u8], at: Option<usize>| {
        if let Some(field) = at.and_then(|at| body.get_mut(at..at + value.len())) {
            field.copy_from_slice(&value);
        }
    };
    match response {
        Response::None => {}
        Response::Frame(body) => {
            let at = position(api_key, version, body);
            write(body, at);
        }
        // A fetch or a long list: the field is in front, in memory.
        Response::Chunks(chunks) => {
            if let Some(Chunk::Bytes(first)) = chunks.first_mut() {
                let mut body = BytesMut::from(&first[..]);
                let at = position(api_key, version, &body);
                write(&mut body, at);
                *first = Bytes::from(body);
            }
        }
    }
}

/// Where the throttle time lies in a body, from Kafka's message schemas; `None` where there is none, and for APIs that nobody has looked up.
fn position(api_key: i16, version: i16, body: &[u8]) -> Option<usize> {
    let since = |first: i16| (version >= first).then_some(0);
    match api_key {
        // Produce: behind the topics; behind it only the tags, of which there is at most the empty section.
        0 => body.len().checked_sub(if version >= 9 { 5 } else { 4 }),
        1 => since(1),
        3 | 8 | 9 => since(3),
        2 | 11 | 19 | 23 => since(2),
        10 | 12..=16 | 20 => since(1),
        // ApiVersions: behind the error code and the table.
        18 if version >= 3 => {
            let (count, len) = uvarint(body.get(2..)?)?;
            Some(2 + len + count.checked_sub(1)? * 7)
        }
        18 if version >= 1 => {
            let count = u32::from_be_bytes(body.get(2..6)?.try_into().ok()?);
            Some(6 + usize::try_from(count).ok()? * 6)
        }
        21 | 22 | 24..=26 | 28..=35 | 37 | 42..=46 | 48..=51 | 57 | 60 | 61 | 64..=66 | 68 | 69 | 71 | 72 | 74..=81 => Some(0),
        // OffsetDelete: behind the error code.
        47 => Some(2),
        _ => None,
    }
}

/// An unsigned varint of at most three bytes, and its length.
fn uvarint(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (i, byte) in bytes.iter().take(3).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, i + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use coreline_wire::api::{self, ApiKey};
    use kafka_protocol::messages as kp;
    use kafka_protocol::protocol::{Decodable, Encodable};

    use super::*;

    /// The throttle time that a client reads from an answer that was told 1234; `None` if the version has no such field.
    macro_rules! read_back {
        ($key:expr, $version:expr, $filled:expr, $response:ty) => {{
            let filled: $response = $filled;
            let mut body = BytesMut::new();
            filled.encode(&mut body, $version).expect("encodes");
            let whole = body.len();
            let mut response = Response::Frame(body);
            tell($key, $version, &mut response, 1234);
            let Response::Frame(body) = response else { panic!("still a frame") };
            assert_eq!(body.len(), whole);
            let told = <$response>::decode(&mut body.freeze(), $version).expect("still an answer");
            // Everything else is as it was.
            assert_eq!(<$response>::with_throttle_time_ms(told.clone(), filled.throttle_time_ms), filled, "{} v{}", $key, $version);
            told.throttle_time_ms
        }};
    }

    fn check(key: i16, version: i16) -> Option<i32> {
        macro_rules! all {
            ($($number:literal => $response:ident,)*) => {
                match key {
                    $($number => Some(read_back!(key, version, kp::$response::default(), kp::$response)),)*
                    _ => None,
                }
            };
        }
        all! {
            0 => ProduceResponse, 1 => FetchResponse, 2 => ListOffsetsResponse, 3 => MetadataResponse, 8 => OffsetCommitResponse,
            9 => OffsetFetchResponse, 10 => FindCoordinatorResponse, 11 => JoinGroupResponse, 12 => HeartbeatResponse, 13 => LeaveGroupResponse,
            14 => SyncGroupResponse, 15 => DescribeGroupsResponse, 16 => ListGroupsResponse, 18 => ApiVersionsResponse,
            19 => CreateTopicsResponse, 20 => DeleteTopicsResponse, 21 => DeleteRecordsResponse, 22 => InitProducerIdResponse,
            23 => OffsetForLeaderEpochResponse, 24 => AddPartitionsToTxnResponse, 25 => AddOffsetsToTxnResponse, 26 => EndTxnResponse,
            28 => TxnOffsetCommitResponse, 32 => DescribeConfigsResponse, 33 => AlterConfigsResponse, 34 => AlterReplicaLogDirsResponse,
            35 => DescribeLogDirsResponse, 37 => CreatePartitionsResponse, 42 => DeleteGroupsResponse, 43 => ElectLeadersResponse,
            44 => IncrementalAlterConfigsResponse, 45 => AlterPartitionReassignmentsResponse, 46 => ListPartitionReassignmentsResponse,
            47 => OffsetDeleteResponse, 48 => DescribeClientQuotasResponse, 49 => AlterClientQuotasResponse,
            50 => DescribeUserScramCredentialsResponse, 51 => AlterUserScramCredentialsResponse, 57 => UpdateFeaturesResponse,
            60 => DescribeClusterResponse, 61 => DescribeProducersResponse, 64 => UnregisterBrokerResponse,
            65 => DescribeTransactionsResponse, 66 => ListTransactionsResponse, 68 => ConsumerGroupHeartbeatResponse,
            69 => ConsumerGroupDescribeResponse, 71 => GetTelemetrySubscriptionsResponse, 72 => PushTelemetryResponse,
            74 => ListConfigResourcesResponse, 75 => DescribeTopicPartitionsResponse,
        }
    }

    #[test]
    fn every_served_answer_that_has_the_field_is_told() {
        for spec in api::ALL {
            for version in spec.min..=api::known_version(spec.key.code(), spec.max) {
                let has_none = match spec.key {
                    ApiKey::ApiVersions => version < 1,
                    ApiKey::Metadata | ApiKey::OffsetCommit | ApiKey::OffsetFetch => version < 3,
                    ApiKey::ListOffsets | ApiKey::JoinGroup => version < 2,
                    ApiKey::FindCoordinator | ApiKey::Heartbeat | ApiKey::LeaveGroup | ApiKey::SyncGroup => version < 1,
                    other => matches!(other.code(), 15 | 16) && version < 1,
                };
                match check(spec.key.code(), version) {
                    Some(told) => assert_eq!(told, if has_none { 0 } else { 1234 }, "{} v{version}", spec.name),
                    None => assert_eq!(position(spec.key.code(), version, &[0; 64]), None, "{}: add it to this test", spec.name),
                }
            }
        }
    }

    #[test]
    fn the_field_is_found_behind_tables_of_any_length() {
        for count in [0, 1, 60, 126, 127, 128, 300] {
            for version in 1..=4 {
                let keys = (0..count).map(|key| kp::api_versions_response::ApiVersion::default().with_api_key(key)).collect();
                assert_eq!(read_back!(18, version, kp::ApiVersionsResponse::default().with_api_keys(keys), kp::ApiVersionsResponse), 1234);
            }
        }
        for version in 3..=13 {
            let topic = kp::produce_response::TopicProduceResponse::default();
            assert_eq!(read_back!(0, version, kp::ProduceResponse::default().with_responses(vec![topic]), kp::ProduceResponse), 1234);
        }
    }

    #[test]
    fn an_answer_in_parts_is_told_in_its_first() {
        let mut response = Response::Chunks(vec![Chunk::Bytes(Bytes::from_static(&[0; 16])), Chunk::Bytes(Bytes::from_static(b"records"))]);
        tell(1, 12, &mut response, 7);
        let Response::Chunks(chunks) = response else { panic!("still parts") };
        let Chunk::Bytes(first) = &chunks[0] else { panic!("memory") };
        assert_eq!((&first[..4], first.len(), chunks.len()), (&[0, 0, 0, 7][..], 16, 2));
        for body in [&[][..], &[0; 3]] {
            let mut short = Response::Frame(BytesMut::from(body));
            for key in [0, 1, 18, 47] {
                tell(key, 4, &mut short, 7);
            }
            assert_eq!(short.len(), body.len());
        }
    }
}
