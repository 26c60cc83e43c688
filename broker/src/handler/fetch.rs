//! Fetch, API key 1, versions 4 to 18: consumers read record batches.
//!
//! Reads every partition of the request or of its session (KIP-227), waits for `min_bytes` up to `max_wait_ms` (the long poll), and
//! answers with spans of memory and of files, never a copy. Any error, diverging epoch or partition that cannot give more ends the
//! wait. Left out: followers (a replica id is answered NOT_LEADER_OR_FOLLOWER), preferred replicas, aborted transactions.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use coreline_wire::error_code::ErrorCode;
use coreline_wire::ids::Offset;
use coreline_wire::message::chunk::{Chunk as WireChunk, SpanLen};
use coreline_wire::message::current_leader::LeaderIdAndEpoch;
use coreline_wire::message::fetch::{
    EpochEndOffset, FetchEncoder, FetchPartitionResponse, FetchRequest, FetchResponse, FetchTopicResponse,
};
use coreline_wire::primitive::WireString;
use coreline_wire::{TopicId, TopicPartition};

use super::{Chunk, HandlerError, HandlerResult, RequestContext, Response};
use crate::fetch_session::{FetchContext, FetchKey, FetchSaid, FetchWant, SessionError, TopicKey};
use crate::metadata::MetadataImage;
use crate::metrics::{Counter, Gauge};
use crate::partition::request::{FetchPart, Fetched, PartitionReply, PartitionRequest};
use crate::purgatory::first_of::first_of;
use crate::shard::pace::{Pace, STEPS_PER_TURN};
use crate::shard::route::{self, Share};
use crate::shard::{Shard, ShardReply, ShardRequest, clock};
use crate::stage::Stage;

/// First version that names topics by id (KIP-516).
const TOPIC_ID_VERSION_MIN: i16 = 13;
/// First version with sessions (KIP-227).
const SESSION_VERSION_MIN: i16 = 7;

impl SpanLen for Chunk {
    fn span_len(&self) -> usize {
        self.len()
    }
}

/// One partition of the answer: how the client knows it, and what came of it.
struct Row {
    key: FetchKey,
    want: FetchWant,
    /// Where it lives, or why it cannot be read.
    target: Result<TopicPartition, ErrorCode>,
    fetched: Option<Fetched>,
}

/// Answers a fetch.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let version = ctx.api_version;
    let request = FetchRequest::decode(&body, version).map_err(|e| HandlerError::close(format!("malformed Fetch: {e}")))?;
    ctx.mark(Stage::Decode);
    let by_id = version >= TOPIC_ID_VERSION_MIN;
    let image = shard.image();
    let mut pace = Pace::new();
    let asked = wants(&image, &request, by_id, &mut pace).await;
    let epoch = if version >= SESSION_VERSION_MIN { request.session_epoch } else { crate::fetch_session::FINAL_EPOCH };
    let begun = shard.sessions.borrow_mut().begin(request.session_id, epoch, by_id, shard.now_ms());
    let context = match begun {
        Ok(context) => context,
        Err(error) => {
            let error_code = match error {
                SessionError::IdNotFound => ErrorCode::FetchSessionIdNotFound,
                SessionError::InvalidEpoch => ErrorCode::InvalidFetchSessionEpoch,
                SessionError::TopicIdMix => ErrorCode::FetchSessionTopicIdError,
            };
            return Ok(encode(FetchResponse { error_code, ..FetchResponse::default() }, version));
        }
    };
    let (context, wanted) = match context {
        FetchContext::Incremental { session_id } => in_session(shard, &image, &request, (session_id, by_id), asked, &mut pace).await,
        other => (other, asked),
    };
    let follower = request.replica_id >= 0;
    let mut rows: Vec<Row> = Vec::with_capacity(wanted.len());
    for (key, want) in wanted {
        pace.step().await;
        let target = if follower { Err(ErrorCode::NotLeaderOrFollower) } else { locate(&image, &key) };
        rows.push(Row { key, want, target, fetched: None });
    }
    let mut max_bytes = request.max_bytes.clamp(0, shard.config.fetch_max_bytes);
    if shard.quotas.active() {
        let most = shard.quotas.fetch_bytes_max(&ctx.connection.quotas, ctx.client_id.as_ref());
        max_bytes = max_bytes.min(i32::try_from(most).unwrap_or(i32::MAX));
    }
    long_poll(shard, ctx, &mut rows, &request, max_bytes).await?;
    if shard.quotas.active() && throttled(shard, ctx, &rows) {
        // Neither records nor a new session; one that exists goes on as if nothing had been asked.
        let session_id = if let FetchContext::Incremental { session_id } = context { session_id } else { 0 };
        return Ok(encode(FetchResponse { session_id, ..FetchResponse::default() }, version));
    }
    answer(shard, rows, &context, &request, version).await
}

/// Counts the answer's bytes and the request's time so far; true when the records are to be withheld (KIP-219).
fn throttled(shard: &Shard, ctx: &RequestContext, rows: &[Row]) -> bool {
    let (cell, client_id) = (&ctx.connection.quotas, ctx.client_id.as_ref());
    let worked_ns = ctx.track.take_worked_ns();
    let worked_ms = if worked_ns > 0 { shard.quotas.worked(cell, client_id, worked_ns) } else { 0 };
    // What is not sent does not count.
    let bytes = if worked_ms > 0 { 0 } else { rows.iter().filter_map(|row| row.fetched.as_ref()).map(|fetched| fetched.bytes).sum() };
    let fetched = shard.quotas.fetched(cell, client_id, bytes);
    ctx.track.throttle(fetched.throttle_ms.max(worked_ms));
    fetched.withheld || worked_ms > 0
}

async fn wants(image: &MetadataImage, request: &FetchRequest, by_id: bool, pace: &mut Pace) -> Vec<(FetchKey, FetchWant)> {
    let mut wants = Vec::new();
    for topic in &request.topics {
        let key = topic_key(image, by_id, &topic.name, topic.topic_id);
        for p in &topic.partitions {
            pace.step().await;
            let want = FetchWant {
                fetch_offset: p.fetch_offset,
                max_bytes: p.partition_max_bytes,
                // Any negative one is none, as in Kafka.
                current_leader_epoch: p.current_leader_epoch.max(-1),
                last_fetched_epoch: p.last_fetched_epoch,
            };
            wants.push(((key.clone(), p.partition), want));
        }
    }
    wants
}

/// Brings a session to what an incremental request says, and lists what it then holds. One that holds nothing any more is over.
async fn in_session(
    shard: &Shard,
    image: &MetadataImage,
    request: &FetchRequest,
    (session_id, by_id): (i32, bool),
    asked: Vec<(FetchKey, FetchWant)>,
    pace: &mut Pace,
) -> (FetchContext, Vec<(FetchKey, FetchWant)>) {
    for (key, want) in asked {
        pace.step().await;
        shard.sessions.borrow_mut().want(session_id, key, want);
    }
    for topic in &request.forgotten_topics {
        let key = topic_key(image, by_id, &topic.name, topic.topic_id);
        for &partition in &topic.partitions {
            pace.step().await;
            shard.sessions.borrow_mut().forget(session_id, &(key.clone(), partition));
        }
    }
    let (mut wanted, mut from) = (Vec::new(), Some(0));
    while let Some(at) = from {
        let (some, next) = shard.sessions.borrow().listed(session_id, at, STEPS_PER_TURN);
        pace.steps(some.len()).await;
        wanted.extend(some);
        from = next;
    }
    if wanted.is_empty() { (FetchContext::Sessionless, wanted) } else { (FetchContext::Incremental { session_id }, wanted) }
}

/// The name comes from the image where it can, so that a session does not keep the request's memory.
fn topic_key(image: &MetadataImage, by_id: bool, name: &str, id: TopicId) -> TopicKey {
    match by_id {
        true => TopicKey::Id(id),
        false => TopicKey::Name(image.topic_by_name(name).map_or_else(|| name.into(), |t| t.name.clone())),
    }
}

fn locate(image: &MetadataImage, key: &FetchKey) -> Result<TopicPartition, ErrorCode> {
    let topic = match &key.0 {
        TopicKey::Id(id) => image.topic(*id).ok_or(ErrorCode::UnknownTopicId)?,
        TopicKey::Name(name) => image.topic_by_name(name).ok_or(ErrorCode::UnknownTopicOrPartition)?,
    };
    topic.partition(key.1).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    Ok(TopicPartition { topic: topic.id, partition: key.1 })
}

/// What ended a wait before its deadline.
enum Waited {
    /// A partition has more.
    Moved,
    /// The broker is stopping.
    Stopping,
}

/// Reads until there is enough, nothing to wait for, or no time left.
async fn long_poll(
    shard: &Rc<Shard>,
    ctx: &RequestContext,
    rows: &mut [Row],
    request: &FetchRequest,
    max_bytes: i32,
) -> Result<(), HandlerError> {
    let deadline = Instant::now() + Duration::from_millis(request.max_wait_ms.max(0) as u64);
    loop {
        read(shard, rows, max_bytes).await?;
        ctx.mark(Stage::Validate);
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || is_enough(rows, request.min_bytes.min(max_bytes)) {
            return Ok(());
        }
        let stopping = async {
            shard.stopping.at_least(1).await;
            Ok(Waited::Stopping)
        };
        let waited = clock::within(left, futures_lite::future::or(wait(shard, rows), stopping));
        let parked = shard.metrics.held(Gauge::DelayedOperations);
        let waited = ctx.parked(waited).await;
        drop(parked);
        match waited {
            Some(Ok(Waited::Moved)) => {}
            Some(Err(error)) => return Err(error),
            // One last look: what came without filling `min_bytes` is answered too.
            Some(Ok(Waited::Stopping)) | None => return read(shard, rows, max_bytes).await,
        }
    }
}

fn is_enough(rows: &[Row], min_bytes: i32) -> bool {
    let mut bytes = 0;
    for row in rows {
        match &row.fetched {
            Some(f) if f.error == ErrorCode::None && f.diverging.is_none() && !(f.limited && f.bytes > 0) => bytes += f.bytes,
            _ => return true,
        }
    }
    rows.is_empty() || bytes >= i64::from(min_bytes).max(0) as u64
}

/// Reads every row once, each on its owner shard, at the same time; then keeps to `max_bytes` in the order of the rows.
async fn read(shard: &Rc<Shard>, rows: &mut [Row], max_bytes: i32) -> Result<(), HandlerError> {
    let parts = rows.iter().enumerate().filter_map(|(i, row)| {
        let partition = row.target.ok()?;
        Some((i, partition, FetchPart { partition, want: row.want }))
    });
    let mut calls = Vec::new();
    let shares = route::split(parts, shard.count);
    let mut pace = Pace::new();
    pace.steps(rows.len() / 2).await;
    for Share { shard: owner, places, parts } in shares {
        let request = ShardRequest::Partition(PartitionRequest::FetchRead { parts, max_bytes });
        calls.push((places, shard.mesh.send(owner, request).await?));
    }
    let mut answers: Vec<Option<Fetched>> = rows.iter().map(|row| row.target.err().map(Fetched::failed)).collect();
    for (places, call) in calls {
        if let ShardReply::Partition(PartitionReply::Fetched(fetched)) = call.await? {
            route::gather(&mut answers, &places, fetched);
            pace.steps(places.len() / 2).await;
        }
    }
    let mut left = u64::from(max_bytes.max(0) as u32);
    let mut nothing_yet = true;
    for (row, answer) in rows.iter_mut().zip(answers) {
        pace.step().await;
        let mut fetched = answer.unwrap_or_else(|| Fetched::failed(ErrorCode::UnknownServerError));
        // Each shard kept to the limits alone; together they may have found more, and more than one batch above its partition's limit.
        let most = left.min(u64::from(row.want.max_bytes.max(0) as u32));
        if fetched.bytes > most && !nothing_yet {
            fetched.records.clear();
            (fetched.bytes, fetched.limited) = (0, true);
        }
        left = left.saturating_sub(fetched.bytes);
        nothing_yet &= fetched.bytes == 0;
        row.fetched = Some(fetched);
    }
    Ok(())
}

/// Waits until one of the rows has more than it had; ends with an error when an owner shard is gone.
async fn wait(shard: &Rc<Shard>, rows: &[Row]) -> Result<Waited, HandlerError> {
    let parts = rows.iter().enumerate().filter_map(|(i, row)| {
        let known: Offset = row.fetched.as_ref()?.high_watermark;
        Some((i, row.target.ok()?, (row.target.ok()?, known + 1)))
    });
    let mut calls = Vec::new();
    let shares = route::split(parts, shard.count);
    Pace::new().steps(rows.len() / 2).await;
    for Share { shard: owner, parts, .. } in shares {
        calls.push(shard.mesh.send(owner, ShardRequest::Partition(PartitionRequest::FetchWait { parts })).await?);
    }
    let (_, first) = first_of(calls).await;
    first?;
    Ok(Waited::Moved)
}

async fn answer(shard: &Shard, rows: Vec<Row>, context: &FetchContext, request: &FetchRequest, version: i16) -> HandlerResult {
    let mut pace = Pace::new();
    let session_id = match context {
        FetchContext::Sessionless => 0,
        FetchContext::Incremental { session_id } => *session_id,
        FetchContext::Full => {
            let by_id = version >= TOPIC_ID_VERSION_MIN;
            shard.sessions.borrow_mut().establish(shard.random_i32(), by_id, rows.len(), shard.now_ms())
        }
    };
    let mut topics: Vec<FetchTopicResponse<Chunk>> = Vec::new();
    let mut last: Option<TopicKey> = None;
    for row in rows {
        pace.steps(2).await;
        match context {
            FetchContext::Sessionless => {}
            FetchContext::Full => shard.sessions.borrow_mut().remember(session_id, &row.key, row.want, said(&row)),
            FetchContext::Incremental { session_id } => {
                if !shard.sessions.borrow_mut().must_send(*session_id, &row.key, said(&row)) {
                    continue;
                }
            }
        }
        if last.as_ref() != Some(&row.key.0) {
            let (name, topic_id) = match &row.key.0 {
                TopicKey::Name(name) => (WireString::from(&**name), TopicId::ZERO),
                TopicKey::Id(id) => (WireString::EMPTY, *id),
            };
            topics.push(FetchTopicResponse { name, topic_id, partitions: Vec::new() });
            last = Some(row.key.0.clone());
        }
        if let Some(topic) = topics.last_mut() {
            shard.metrics.add(Counter::BytesFetched, row.fetched.as_ref().map_or(0, |f| f.bytes));
            topic.partitions.push(partition_answer(shard, row, request.isolation_level));
        }
    }
    let mut encoder = FetchEncoder::begin(version, 0, ErrorCode::None, session_id, topics.len());
    for topic in topics {
        encoder.topic(&topic.name, topic.topic_id, topic.partitions.len());
        for partition in topic.partitions {
            pace.step().await;
            encoder.partition(partition);
        }
        encoder.topic_end();
    }
    Ok(Response::Chunks(encoder.end(&[]).into_iter().map(into_chunk).collect()))
}

fn said(row: &Row) -> FetchSaid {
    let failed = Fetched::failed(ErrorCode::UnknownServerError);
    let f = row.fetched.as_ref().unwrap_or(&failed);
    FetchSaid {
        high_watermark: f.high_watermark,
        log_start_offset: f.log_start_offset,
        error: f.error.code(),
        bytes: f.bytes,
        must_send: f.diverging.is_some(),
    }
}

fn partition_answer(shard: &Shard, row: Row, isolation_level: i8) -> FetchPartitionResponse<Chunk> {
    let f = row.fetched.unwrap_or_else(|| Fetched::failed(ErrorCode::UnknownServerError));
    let stale = matches!(f.error, ErrorCode::FencedLeaderEpoch | ErrorCode::NotLeaderOrFollower);
    FetchPartitionResponse {
        partition: row.key.1,
        error_code: f.error,
        high_watermark: f.high_watermark,
        last_stable_offset: f.last_stable_offset,
        log_start_offset: f.log_start_offset,
        diverging_epoch: f.diverging.map(|(epoch, end_offset)| EpochEndOffset { epoch, end_offset }),
        current_leader: (stale && f.leader_epoch >= 0)
            .then(|| LeaderIdAndEpoch { leader_id: shard.node_id(), leader_epoch: f.leader_epoch }),
        snapshot_id: None,
        // Under read committed an empty list says "none aborted"; without it the field is null. Kafka sends an empty list for what it
        // does not know, too.
        aborted_transactions: match f.error {
            ErrorCode::None => (isolation_level == 1).then(Vec::new),
            ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId => Some(Vec::new()),
            _ => None,
        },
        preferred_read_replica: -1,
        records: f.records,
    }
}

fn encode(response: FetchResponse<Chunk>, version: i16) -> Response {
    Response::Chunks(response.encode(version).into_iter().map(into_chunk).collect())
}

fn into_chunk(chunk: WireChunk<Chunk>) -> Chunk {
    match chunk {
        WireChunk::Bytes(bytes) => Chunk::Bytes(bytes),
        WireChunk::Span(span) => span,
    }
}
