//! Produce, API key 0, versions 3 to 13 (0 to 2 are advertised for librdkafka's sake and refused, see `wire/src/api.rs`).
//!
//! Resolves topics, sends each batch to its owner shard in request order (the ordered part), then waits for durability behind it.
//! acks=0 gets no answer; any error of it closes the connection, so that the client asks for fresh metadata. Left out: transactions
//! (a transactional batch is answered INVALID_TXN_STATE).

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use coreline_wire::TopicPartition;
use coreline_wire::error_code::ErrorCode;
use coreline_wire::message::produce::{ProducePartitionResponse, ProduceRequest, ProduceResponse, ProduceTopicResponse, RecordError};
use coreline_wire::primitive::WireString;

use super::{Begun, HandlerError, HandlerResult, RequestContext, Response};
use crate::metadata::MetadataImage;
use crate::partition::request::{Acks, Appender, PartitionReply, PartitionRequest, ProducePart, Produced};
use crate::shard::pace::Pace;
use crate::shard::route::{self, Share};
use crate::shard::{Shard, ShardReply, ShardRequest};
use crate::stage::Stage;

/// The client id that may write to internal topics (Kafka's administrative client).
const ADMIN_CLIENT_ID: &str = "__admin_client";
/// First version that may carry zstd (KIP-110).
const ZSTD_VERSION_MIN: i16 = 7;
/// First version that names topics by id (KIP-516).
const TOPIC_ID_VERSION_MIN: i16 = 13;

/// Where the answers of a request go: the request's topics and partitions, and what is known of each already.
struct Places {
    topics: Vec<(WireString, coreline_wire::TopicId, Vec<i32>)>,
    outcomes: Vec<Option<Produced>>,
}

/// Places every batch; the rest of the work comes back as a future.
pub async fn begin(shard: &Rc<Shard>, ctx: RequestContext, body: Bytes) -> Begun {
    match start(shard, &ctx, body).await {
        Err(error) => Begun::Done(Err(error)),
        Ok(begun) => begun,
    }
}

async fn start(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> Result<Begun, HandlerError> {
    let version = ctx.api_version;
    let request_bytes = body.len() as u64;
    let request = ProduceRequest::decode(&body, version).map_err(|e| HandlerError::close(format!("malformed Produce: {e}")))?;
    ctx.mark(Stage::Decode);
    ctx.planted(Stage::Decode).await;
    let (timeout_ms, wire_acks) = (request.timeout_ms, request.acks);
    let acks = match wire_acks {
        0 => Ok(Acks::None),
        1 => Ok(Acks::Leader),
        -1 => Ok(Acks::All),
        _ => Err(ErrorCode::InvalidRequiredAcks),
    };
    // The connection reads on behind this: giving way lets no later request of it go first.
    let mut pace = Pace::new();
    let (mut places, parts) = resolve(&shard.image(), request, version, ctx.client_id.as_deref(), acks.err(), &mut pace).await;
    let acks = acks.unwrap_or(Acks::All);
    let appender = Appender::Client { zstd_allowed: version >= ZSTD_VERSION_MIN };
    let mut calls = Vec::new();
    let all = parts.len();
    let shares = route::split(parts, shard.count);
    pace.steps(all / 2).await;
    for Share { shard: owner, places: at, parts } in shares {
        let request = ShardRequest::Partition(PartitionRequest::Produce { acks, timeout_ms, appender, stamps: ctx.stamps(), parts });
        calls.push((at, shard.mesh.send(owner, request).await?));
    }
    let (shard, ctx) = (Rc::clone(shard), ctx.clone());
    Ok(Begun::pending(async move {
        for (at, call) in calls {
            if let ShardReply::Partition(PartitionReply::Produced(answers, stamps)) = call.await? {
                route::gather(&mut places.outcomes, &at, answers);
                ctx.adopt(&stamps);
                pace.steps(at.len() / 2).await;
            }
        }
        ctx.mark(Stage::ShardHop);
        if shard.quotas.active() {
            ctx.track.throttle(shard.quotas.produced(&ctx.connection.quotas, ctx.client_id.as_ref(), request_bytes));
            if acks == Acks::None {
                // Nobody could be told: its time is not counted, as in Kafka.
                ctx.track.take_worked_ns();
            }
        }
        finish(places, version, acks, &mut pace).await
    }))
}

type Part = (usize, TopicPartition, ProducePart);

async fn resolve(
    image: &MetadataImage,
    request: ProduceRequest,
    version: i16,
    client_id: Option<&str>,
    refusal: Option<ErrorCode>,
    pace: &mut Pace,
) -> (Places, Vec<Part>) {
    let mut places = Places { topics: Vec::with_capacity(request.topics.len()), outcomes: Vec::new() };
    let mut parts = Vec::new();
    for topic in request.topics {
        let by_id = version >= TOPIC_ID_VERSION_MIN;
        let found = if by_id { image.topic(topic.topic_id) } else { image.topic_by_name(&topic.name) };
        let mut indexes = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            pace.step().await;
            indexes.push(partition.index);
            let place = places.outcomes.len();
            let checked = match (refusal, found) {
                (Some(code), _) => Err((code, None)),
                (None, None) if by_id => Err((ErrorCode::UnknownTopicId, None)),
                (None, None) => Err((ErrorCode::UnknownTopicOrPartition, None)),
                (None, Some(t)) if t.is_internal() && client_id != Some(ADMIN_CLIENT_ID) => {
                    Err((ErrorCode::InvalidTopicException, Some(format!("Cannot append to internal topic {}", t.name))))
                }
                (None, Some(t)) if t.partition(partition.index).is_none() => Err((ErrorCode::UnknownTopicOrPartition, None)),
                (None, Some(t)) => Ok((TopicPartition { topic: t.id, partition: partition.index }, partition.records)),
            };
            match checked {
                Ok((id, Some(records))) => {
                    places.outcomes.push(None);
                    parts.push((place, id, ProducePart { partition: id, records }));
                }
                Ok((_, None)) => places.outcomes.push(Some(Produced::failed(ErrorCode::InvalidRecord, Some("no record batch".into())))),
                Err((code, message)) => places.outcomes.push(Some(Produced::failed(code, message))),
            }
        }
        places.topics.push((topic.name, topic.topic_id, indexes));
    }
    (places, parts)
}

async fn finish(places: Places, version: i16, acks: Acks, pace: &mut Pace) -> HandlerResult {
    let lost = || Produced::failed(ErrorCode::UnknownServerError, None);
    let mut outcomes = places.outcomes.into_iter().map(|o| o.unwrap_or_else(lost));
    if acks == Acks::None {
        return match outcomes.find(|o| o.error != ErrorCode::None) {
            Some(failed) => Err(HandlerError::close(format!("a produce with acks=0 failed: {}", failed.error.name()))),
            None => Ok(Response::None),
        };
    }
    let mut topics = Vec::with_capacity(places.topics.len());
    for (name, topic_id, indexes) in places.topics.into_iter().filter(|(_, _, indexes)| !indexes.is_empty()) {
        let mut partitions = Vec::with_capacity(indexes.len());
        for index in indexes {
            pace.step().await;
            partitions.push(answer(index, outcomes.next().unwrap_or_else(lost)));
        }
        topics.push(ProduceTopicResponse { name, topic_id, partitions });
    }
    let response = ProduceResponse { topics, throttle_time_ms: 0, node_endpoints: Vec::new() };
    let mut out = BytesMut::with_capacity(response.encoded_len(version));
    response.encode(version, &mut out);
    Ok(Response::Frame(out))
}

fn answer(index: i32, outcome: Produced) -> ProducePartitionResponse {
    ProducePartitionResponse {
        index,
        error_code: outcome.error,
        base_offset: outcome.base_offset,
        log_append_time_ms: outcome.log_append_time_ms,
        log_start_offset: outcome.log_start_offset,
        record_errors: outcome
            .record_errors
            .into_iter()
            .map(|(batch_index, message)| RecordError { batch_index, message: Some(WireString::from(message)) })
            .collect(),
        error_message: outcome.message.map(WireString::from),
        current_leader: None,
    }
}
