//! (API key, version) to handler: one line per API; the response header; what happens to an API or a version that is not served.
//!
//! The versions are those of `coreline_wire::api`, written there once; a test holds that every row there has a line here.

use std::rc::Rc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use coreline_wire::api::{self, ApiKey};
use coreline_wire::error_code::ErrorCode;
use coreline_wire::header;

use crate::handler::{self, Begun, Chunk, HandlerError, RequestContext, Response};
use crate::net::pipeline::Outgoing;
use crate::shard::Shard;
use crate::shard::task_queue::Queue;

/// What to do with a request, by its header alone.
#[derive(Debug)]
pub enum Route {
    /// Its handler answers it.
    Serve(ApiKey),
    /// The answer is known already.
    Answer(Outgoing),
    /// The connection is closed for this reason.
    Close(String),
}

macro_rules! handlers {
    ($($api:ident => $kind:ident $module:ident,)*) => {
        /// The APIs that have a handler.
        pub const SERVED: &[ApiKey] = &[$(ApiKey::$api),*];

        /// Starts a request; when this returns its ordered part is over.
        pub async fn begin(shard: &Rc<Shard>, api: ApiKey, ctx: RequestContext, body: Bytes) -> Begun {
            match api {
                $(ApiKey::$api => handlers!(@$kind $module, shard, ctx, body),)*
                #[allow(unreachable_patterns)]
                other => Begun::Done(Err(HandlerError::close(format!("{other} has no handler")))),
            }
        }
    };
    (@begin $module:ident, $shard:ident, $ctx:ident, $body:ident) => {
        handler::$module::begin($shard, $ctx, $body).await
    };
    (@handle $module:ident, $shard:ident, $ctx:ident, $body:ident) => {{
        let shard = Rc::clone($shard);
        Begun::pending(async move { handler::$module::handle(&shard, &$ctx, $body).await })
    }};
}

// `begin`: has an ordered part of its own. `handle`: has none.
handlers! {
    Produce => begin produce,
    Fetch => handle fetch,
    ListOffsets => handle list_offsets,
    Metadata => handle metadata,
    OffsetCommit => handle offset_commit,
    OffsetFetch => handle offset_fetch,
    FindCoordinator => handle find_coordinator,
    JoinGroup => handle join_group,
    Heartbeat => handle heartbeat,
    LeaveGroup => handle leave_group,
    SyncGroup => handle sync_group,
    DescribeGroups => handle describe_groups,
    ListGroups => handle list_groups,
    ApiVersions => handle api_versions,
    CreateTopics => handle create_topics,
    DeleteTopics => handle delete_topics,
    DeleteRecords => handle delete_records,
    InitProducerId => handle init_producer_id,
    OffsetForLeaderEpoch => handle offset_for_leader_epoch,
    DescribeConfigs => handle describe_configs,
    AlterConfigs => handle alter_configs,
    AlterReplicaLogDirs => handle alter_replica_log_dirs,
    DescribeLogDirs => handle describe_log_dirs,
    CreatePartitions => handle create_partitions,
    DeleteGroups => handle delete_groups,
    ElectLeaders => handle elect_leaders,
    IncrementalAlterConfigs => handle incremental_alter_configs,
    AlterPartitionReassignments => handle alter_partition_reassignments,
    ListPartitionReassignments => handle list_partition_reassignments,
    OffsetDelete => handle offset_delete,
    DescribeClientQuotas => handle describe_client_quotas,
    AlterClientQuotas => handle alter_client_quotas,
    DescribeUserScramCredentials => handle describe_user_scram_credentials,
    DescribeQuorum => handle describe_quorum,
    UpdateFeatures => handle update_features,
    DescribeCluster => handle describe_cluster,
    DescribeProducers => handle describe_producers,
    UnregisterBroker => handle unregister_broker,
    GetTelemetrySubscriptions => handle get_telemetry_subscriptions,
    PushTelemetry => handle push_telemetry,
    ListConfigResources => handle list_config_resources,
    ConsumerGroupHeartbeat => handle consumer_group_heartbeat,
    ConsumerGroupDescribe => handle consumer_group_describe,
    DescribeTopicPartitions => handle describe_topic_partitions,
}

/// The queue that a request runs on once it had to wait.
pub fn queue(api: ApiKey) -> Queue {
    match api {
        ApiKey::Produce => Queue::Produce,
        ApiKey::Fetch => Queue::Fetch,
        _ => Queue::Net,
    }
}

/// Decides by key and version.
pub fn route(ctx: &RequestContext) -> Route {
    match api::find(ctx.api_key) {
        None => Route::Close(format!("API key {} is not served", ctx.api_key)),
        Some(spec) if spec.serves(ctx.api_version) => Route::Serve(spec.key),
        // KIP-511: a client that knows newer versions learns ours from an answer in v0, whatever version it asked in.
        Some(spec) if spec.key == ApiKey::ApiVersions => Route::Answer(api_versions_not_supported(ctx.correlation_id)),
        Some(spec) => Route::Close(format!("version {} is not served, only {} to {}", ctx.api_version, spec.min, spec.max)),
    }
}

/// A request in a log line.
pub fn describe(ctx: &RequestContext) -> String {
    match api::find(ctx.api_key) {
        Some(spec) => format!("{} v{}", spec.name, ctx.api_version),
        None => format!("API {} v{}", ctx.api_key, ctx.api_version),
    }
}

/// Puts size prefix and header before a response's body.
pub fn outgoing(ctx: &RequestContext, response: Response) -> Result<Outgoing, HandlerError> {
    let api = ApiKey::from_code(ctx.api_key).ok_or_else(|| HandlerError::close("an answer to an API that is not served"))?;
    let request = Some((api, ctx.stamps()));
    let body_bytes = response.len();
    let body = match response {
        Response::None => return Ok(Outgoing { request, ..Outgoing::default() }),
        Response::Frame(body) => vec![Chunk::Bytes(body.freeze())],
        Response::Chunks(chunks) => chunks,
    };
    let header_bytes = header::response_header_len(api, ctx.api_version);
    let size = i32::try_from(header_bytes + body_bytes)
        .map_err(|_| HandlerError::close(format!("an answer of {body_bytes} bytes is larger than a frame can be")))?;
    let mut head = BytesMut::with_capacity(4 + header_bytes);
    head.put_i32(size);
    header::encode_response_header(&mut head, api, ctx.api_version, ctx.correlation_id);
    debug_assert_eq!(head.remaining(), 4 + header_bytes);
    let mut chunks = Vec::with_capacity(body.len() + 1);
    chunks.push(Chunk::Bytes(head.freeze()));
    chunks.extend(body);
    Ok(Outgoing { chunks, bytes: 4 + header_bytes + body_bytes, request })
}

/// The body of ApiVersions v0 with error 35 and the one entry that tells which versions of ApiVersions are served.
fn api_versions_not_supported(correlation_id: i32) -> Outgoing {
    let spec = ApiKey::ApiVersions.spec();
    let mut frame = BytesMut::with_capacity(20);
    frame.put_i32(16);
    frame.put_i32(correlation_id);
    frame.put_i16(ErrorCode::UnsupportedVersion.code());
    frame.put_i32(1);
    frame.put_i16(spec.key.code());
    frame.put_i16(spec.advertised_min);
    frame.put_i16(spec.max);
    Outgoing { bytes: frame.len(), chunks: vec![Chunk::Bytes(frame.freeze())], request: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::{ApiVersionsResponse, ResponseHeader};
    use kafka_protocol::protocol::Decodable;

    fn bytes(outgoing: &Outgoing) -> Bytes {
        let mut all = BytesMut::new();
        for chunk in &outgoing.chunks {
            match chunk {
                Chunk::Bytes(bytes) => all.extend_from_slice(bytes),
                Chunk::File(_) => panic!("no files here"),
            }
        }
        assert_eq!(all.len(), outgoing.bytes);
        all.freeze()
    }

    #[test]
    fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
        for version in [-1, 5, 99, i16::MAX] {
            let Route::Answer(outgoing) = route(&RequestContext::for_test(18, version)) else { panic!("version {version}") };
            let mut frame = bytes(&outgoing);
            assert_eq!(frame.get_i32() as usize, frame.remaining());
            assert_eq!(ResponseHeader::decode(&mut frame, 0).unwrap().correlation_id, 1);
            let body = ApiVersionsResponse::decode(&mut frame, 0).unwrap();
            assert!(frame.is_empty());
            assert_eq!(body.error_code, 35);
            assert_eq!(body.api_keys.len(), 1);
            let entry = &body.api_keys[0];
            assert_eq!((entry.api_key, entry.min_version, entry.max_version), (18, 0, 4));
        }
    }

    #[test]
    fn every_advertised_api_has_a_handler_and_no_other() {
        let mut served = SERVED.to_vec();
        served.sort_unstable();
        assert_eq!(served, api::ALL.iter().map(|spec| spec.key).collect::<Vec<_>>());
    }

    #[test]
    fn other_unknown_keys_and_versions_close() {
        for (key, version) in [(-1, 0), (9999, 0), (4, 1), (0, 2), (0, 99), (1, 3), (3, 14)] {
            assert!(matches!(route(&RequestContext::for_test(key, version)), Route::Close(_)), "{key} v{version}");
        }
        for spec in api::ALL {
            for version in spec.min..=spec.max {
                assert!(matches!(route(&RequestContext::for_test(spec.key.code(), version)), Route::Serve(key) if key == spec.key));
            }
        }
    }

    #[test]
    fn the_size_prefix_and_the_header_come_first() {
        let body = || Response::Frame(BytesMut::from(&b"body"[..]));
        // ApiVersions: header v0 at any version. Metadata v9: flexible, one byte of tags.
        for (key, version, header) in [(18, 4, 4), (3, 9, 5), (3, 8, 4)] {
            let frame = bytes(&outgoing(&RequestContext::for_test(key, version), body()).unwrap());
            assert_eq!(frame.len(), 4 + header + 4);
            assert_eq!(&frame[..8], [&((header + 4) as i32).to_be_bytes()[..], &1i32.to_be_bytes()[..]].concat());
            assert_eq!(&frame[4 + header..], b"body");
        }
        assert_eq!(outgoing(&RequestContext::for_test(0, 9), Response::None).unwrap().bytes, 0);
    }
}
