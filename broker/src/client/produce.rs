//! `Producer`: collects records into one batch per partition and sends them to their leaders, idempotently if wanted.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use coreline_wire::ErrorCode;
use coreline_wire::record::{BatchBuilder, Compression};
use kafka_protocol::messages::{
    InitProducerIdRequest, ProduceRequest,
    produce_request::{PartitionProduceData, TopicProduceData},
};

use super::cluster::Lane;
use super::offsets::by_topic;
use super::{ClientError, Cluster, Partition, To, topic_name};

/// How to produce.
#[derive(Clone, Debug)]
pub(crate) struct Producing {
    /// -1 all in-sync replicas, 1 the leader, 0 nobody.
    pub(crate) acks: i16,
    pub(crate) codec: Compression,
    pub(crate) level: Option<i32>,
    pub(crate) idempotent: bool,
    /// Size at which a batch is sent, in bytes before compression.
    pub(crate) batch_bytes: usize,
}

/// A record to be produced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NewRecord {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
    /// Milliseconds since 1970.
    pub(crate) timestamp: i64,
}

/// Where a batch went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) partition: Partition,
    /// -1 with acks=0.
    pub(crate) base_offset: i64,
    pub(crate) records: i32,
}

#[derive(Debug, Default)]
struct Pending {
    builder: BatchBuilder,
}

/// Sends records.
#[derive(Debug)]
pub(crate) struct Producer {
    producing: Producing,
    /// Id and epoch, once given out.
    identity: Option<(i64, i16)>,
    sequences: BTreeMap<Partition, i32>,
    pending: BTreeMap<Partition, Pending>,
}

impl Producer {
    /// Gets a producer id first where that is wanted.
    pub(crate) fn new(cluster: &mut Cluster, producing: Producing) -> Result<Producer, ClientError> {
        let mut identity = None;
        if producing.idempotent {
            let make = |_| InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
            identity = Some(cluster.ask(&To::Any, make, |answer| {
                ClientError::check(answer.error_code, None, || "getting a producer id".into())?;
                Ok((*answer.producer_id, answer.producer_epoch))
            })?);
        }
        Ok(Producer { producing, identity, sequences: BTreeMap::new(), pending: BTreeMap::new() })
    }

    /// Adds a record. True when the partition's batch is large enough to be sent.
    pub(crate) fn push(&mut self, partition: &Partition, record: &NewRecord) -> bool {
        let pending = self.pending.entry(partition.clone()).or_default();
        let headers: Vec<(&str, Option<&[u8]>)> = record.headers.iter().map(|(n, v)| (n.as_str(), v.as_deref())).collect();
        pending.builder.push(record.timestamp, record.key.as_deref(), record.value.as_deref(), &headers);
        pending.builder.size_bytes() >= self.producing.batch_bytes
    }

    /// Sends everything that was collected and waits until it is acknowledged.
    pub(crate) fn flush(&mut self, cluster: &mut Cluster) -> Result<Vec<Placed>, ClientError> {
        let mut batches = BTreeMap::new();
        for (partition, pending) in std::mem::take(&mut self.pending) {
            let records = pending.builder.record_count();
            let mut builder = pending.builder.compression(self.producing.codec, self.producing.level);
            if let Some((id, epoch)) = self.identity {
                builder = builder.producer(id, epoch, self.sequences.get(&partition).copied().unwrap_or(0));
            }
            let bytes = builder.build().map_err(|e| ClientError::Protocol { at: "batch".into(), why: e.to_string() })?;
            batches.insert(partition, (bytes, records));
        }
        let mut placed = Vec::new();
        let acks = self.producing.acks;
        cluster.retry(|cluster| send(cluster, acks, &mut batches, &mut placed))?;
        for one in &placed {
            // Wraps from the greatest number to 0.
            let sequence = self.sequences.entry(one.partition.clone()).or_insert(0);
            *sequence = ((i64::from(*sequence) + i64::from(one.records)) % (i64::from(i32::MAX) + 1)) as i32;
        }
        Ok(placed)
    }
}

/// Sends every batch to its leader; what is acknowledged leaves `batches`. An error is of those that stay.
fn send(
    cluster: &mut Cluster,
    acks: i16,
    batches: &mut BTreeMap<Partition, (Bytes, i32)>,
    placed: &mut Vec<Placed>,
) -> Result<(), ClientError> {
    let open: Vec<Partition> = batches.keys().cloned().collect();
    let timeout_ms = cluster.timeout_ms();
    let mut sent = Vec::new();
    let mut failed = None;
    for (node, partitions) in cluster.by_leader(&open)? {
        let make = |_| {
            ProduceRequest::default().with_acks(acks).with_timeout_ms(timeout_ms).with_topic_data(by_topic(
                &partitions,
                |p| PartitionProduceData::default().with_index(p.1).with_records(Some(batches[p].0.clone())),
                |name, data| TopicProduceData::default().with_name(topic_name(name)).with_partition_data(data),
            ))
        };
        if acks == 0 {
            cluster.send_unanswered::<ProduceRequest>(node, Lane::Short, make)?;
            for partition in partitions {
                let (_, records) = batches.remove(&partition).unwrap_or_default();
                placed.push(Placed { partition, base_offset: -1, records });
            }
            continue;
        }
        match cluster.send::<ProduceRequest>(node, Lane::Short, make) {
            Ok(one) => sent.push((node, one)),
            Err(error) => failed = Some(error),
        }
    }
    let wait = cluster.timeout() + Duration::from_secs(5);
    for (node, one) in sent {
        let answer = match cluster.receive::<ProduceRequest>(node, Lane::Short, one, wait) {
            Ok(answer) => answer,
            Err(error) => {
                failed = Some(error);
                continue;
            }
        };
        for topic in answer.responses {
            for p in topic.partition_responses {
                let partition = (topic.name.to_string(), p.index);
                // A batch that was appended before its answer was lost.
                let duplicate = p.error_code == ErrorCode::DuplicateSequenceNumber.code();
                if p.error_code == 0 || duplicate {
                    if let Some((_, records)) = batches.remove(&partition) {
                        placed.push(Placed { partition, base_offset: p.base_offset, records });
                    }
                    continue;
                }
                let message = p.error_message.or_else(|| p.record_errors.into_iter().find_map(|e| e.batch_index_error_message));
                let what = format!("producing to topic '{}' partition {}", partition.0, partition.1);
                let error = ClientError::kafka(p.error_code, message.as_deref(), what);
                // An error that stays goes before one that may pass.
                if failed.as_ref().is_none_or(ClientError::is_retriable) {
                    failed = Some(error);
                }
            }
        }
    }
    failed.map_or(Ok(()), Err)
}
