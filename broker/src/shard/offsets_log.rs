//! The group coordinator's log: `__consumer_offsets` through the partitions of this node, wherever their shards are.
//!
//! Used on the metadata shard alone. Appends take the same way as a client's, with acks=all; reads are whole batches in memory.

use std::cell::OnceCell;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use coreline_wire::error_code::ErrorCode;
use coreline_wire::ids::Offset;
use coreline_wire::record::batch::Batches;
use coreline_wire::{TopicId, TopicPartition};

use super::placement::owner_shard;
use super::{Shard, ShardReply, ShardRequest, blocking};
use crate::config::Config;
use crate::controller::{ControllerRequest, ControllerResponse, NewTopic};
use crate::coordinator::OffsetsLog;
use crate::fetch_session::FetchWant;
use crate::handler::Chunk;
use crate::metadata::image::GROUP_OFFSETS_TOPIC;
use crate::partition::request::{Acks, Appender, FetchPart, PartitionReply, PartitionRequest, ProducePart};
use crate::stage::{StageStamps, monotonic_us};

/// Bytes of one read while loading.
const READ_BYTES: i32 = 1 << 20;

/// The topic's partitions as seen from the metadata shard.
pub struct PartitionsLog {
    /// Set while the shard starts, before the driver runs.
    shard: Rc<OnceCell<Rc<Shard>>>,
}

impl PartitionsLog {
    /// On the metadata shard, which may be set up later.
    pub fn new(shard: Rc<OnceCell<Rc<Shard>>>) -> PartitionsLog {
        PartitionsLog { shard }
    }

    fn shard(&self) -> Result<&Rc<Shard>, ErrorCode> {
        self.shard.get().ok_or(ErrorCode::CoordinatorNotAvailable)
    }

    fn locate(&self, partition: i32) -> Result<TopicPartition, ErrorCode> {
        let image = self.shard()?.image();
        let topic = image.topic_by_name(GROUP_OFFSETS_TOPIC).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        topic.partition(partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        Ok(TopicPartition { topic: topic.id, partition })
    }

    async fn ask(&self, id: TopicPartition, request: PartitionRequest) -> Result<PartitionReply, ErrorCode> {
        let shard = self.shard()?;
        let owner = owner_shard(id, shard.count);
        match shard.mesh.call(owner, ShardRequest::Partition(request)).await {
            Ok(ShardReply::Partition(reply)) => Ok(reply),
            Ok(_) => Err(ErrorCode::UnknownServerError),
            Err(_) => Err(ErrorCode::NotLeaderOrFollower),
        }
    }

    /// How `__consumer_offsets` is created: compacted, as in Kafka.
    fn new_topic(config: &Config) -> NewTopic {
        let configs = [
            ("cleanup.policy", "compact".to_owned()),
            ("compression.type", "producer".to_owned()),
            ("segment.bytes", config.offsets_topic_segment_bytes.to_string()),
        ];
        NewTopic {
            name: GROUP_OFFSETS_TOPIC.to_owned(),
            partitions: config.offsets_topic_num_partitions,
            replication_factor: config.offsets_topic_replication_factor,
            configs: configs.into_iter().map(|(key, value)| (key.to_owned(), Some(value))).collect(),
            ..NewTopic::default()
        }
    }
}

impl OffsetsLog for PartitionsLog {
    async fn partition_count(&self) -> Result<Option<i32>, ErrorCode> {
        Ok(self.shard()?.image().topic_by_name(GROUP_OFFSETS_TOPIC).map(|t| t.partitions.len() as i32))
    }

    async fn ensure_topic(&self) -> Result<i32, ErrorCode> {
        if let Some(count) = self.partition_count().await? {
            return Ok(count);
        }
        let shard = self.shard()?;
        let request = ControllerRequest::CreateTopics { topics: vec![Self::new_topic(&shard.config)], validate_only: false };
        match shard.controller.submit(request).await {
            Ok(ControllerResponse::CreateTopics(mut answers)) => match answers.pop() {
                Some(Ok(topic)) => Ok(topic.partitions),
                Some(Err(error)) if error.code == ErrorCode::TopicAlreadyExists => {
                    self.partition_count().await?.ok_or(ErrorCode::UnknownTopicOrPartition)
                }
                Some(Err(error)) => Err(error.code),
                None => Err(ErrorCode::UnknownServerError),
            },
            Ok(_) => Err(ErrorCode::UnknownServerError),
            Err(error) => Err(error.code()),
        }
    }

    async fn append(&self, partition: i32, batch: Bytes) -> Result<i64, ErrorCode> {
        let id = self.locate(partition)?;
        // No deadline: an append that timed out could still be seen later, and the coordinator has to know. It answers its own clients in time.
        let request = PartitionRequest::Produce {
            acks: Acks::All,
            timeout_ms: i32::MAX,
            appender: Appender::Coordinator,
            stamps: StageStamps::start(monotonic_us()),
            parts: vec![ProducePart { partition: id, records: batch }],
        };
        match self.ask(id, request).await? {
            PartitionReply::Produced(mut answers, _) => match answers.pop() {
                Some(produced) if produced.error == ErrorCode::None => Ok(produced.base_offset),
                Some(produced) => Err(produced.error),
                None => Err(ErrorCode::UnknownServerError),
            },
            _ => Err(ErrorCode::UnknownServerError),
        }
    }

    fn topic_was_deleted(&self, id: TopicId) -> bool {
        self.shard().is_ok_and(|shard| shard.image().was_removed(id))
    }

    async fn read(&self, partition: i32, from: i64) -> Result<(Vec<Bytes>, i64), ErrorCode> {
        let id = self.locate(partition)?;
        let mut offset: Offset = from;
        loop {
            let want = FetchWant { fetch_offset: offset, max_bytes: READ_BYTES, current_leader_epoch: -1, last_fetched_epoch: -1 };
            let parts = vec![FetchPart { partition: id, want }];
            let PartitionReply::Fetched(mut answers) = self.ask(id, PartitionRequest::FetchRead { parts, max_bytes: READ_BYTES }).await?
            else {
                return Err(ErrorCode::UnknownServerError);
            };
            let Some(fetched) = answers.pop() else { return Err(ErrorCode::UnknownServerError) };
            match fetched.error {
                ErrorCode::None => return gather(&fetched.records, offset).await,
                // The log may start later than asked.
                ErrorCode::OffsetOutOfRange if offset == 0 => offset = self.log_start(id).await?,
                code => return Err(code),
            }
        }
    }
}

impl PartitionsLog {
    async fn log_start(&self, id: TopicPartition) -> Result<Offset, ErrorCode> {
        let query = crate::partition::request::OffsetQuery {
            partition: id,
            timestamp: crate::partition::lookup::marker::EARLIEST,
            current_leader_epoch: -1,
        };
        match self.ask(id, PartitionRequest::ListOffsets(vec![query])).await? {
            PartitionReply::Offsets(found) => found.first().map(|f| f.offset).ok_or(ErrorCode::UnknownServerError),
            _ => Err(ErrorCode::UnknownServerError),
        }
    }
}

/// Joins the pieces of an answer and cuts them into batches; also tells the offset behind the last one.
async fn gather(records: &[Chunk], from: Offset) -> Result<(Vec<Bytes>, i64), ErrorCode> {
    let mut joined = BytesMut::with_capacity(records.iter().map(Chunk::len).sum());
    for chunk in records {
        match chunk {
            Chunk::Bytes(bytes) => joined.extend_from_slice(bytes),
            Chunk::File(span) => {
                let bytes = blocking::read_span(span.clone()).await.map_err(|error| {
                    tracing::error!(%error, "the group coordinator's log cannot be read");
                    ErrorCode::KafkaStorageError
                })?;
                joined.extend_from_slice(&bytes);
            }
        }
    }
    let mut next = from;
    let mut batches = Vec::new();
    for batch in Batches::new(joined.freeze()) {
        let (header, raw) = batch.map_err(|error| {
            tracing::error!(%error, "the group coordinator's log holds a damaged batch");
            ErrorCode::CorruptMessage
        })?;
        // The first batch may begin before the asked offset.
        if header.next_offset() > from {
            batches.push(raw.bytes().clone());
        }
        next = next.max(header.next_offset());
    }
    Ok((batches, next))
}
