//! Our Produce and Fetch messages, field by field, as `kafka-protocol` has them.

use bytes::Bytes;
use coreline_wire::message::{self as ours, fetch, produce};
use coreline_wire::{TopicId, WireString};
use kafka_protocol::messages::{
    self as kp, BrokerId, ProducerId, TopicName, fetch_request, fetch_response, produce_request, produce_response,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

fn text(s: &WireString) -> StrBytes {
    StrBytes::from_string(s.to_string())
}

fn name(s: &WireString) -> TopicName {
    TopicName(text(s))
}

fn uuid(id: &TopicId) -> Uuid {
    Uuid::from_bytes(id.0)
}

pub(crate) fn produce_request(m: &produce::ProduceRequest) -> kp::ProduceRequest {
    let partition = |p: &produce::ProducePartition| {
        produce_request::PartitionProduceData::default().with_index(p.index).with_records(p.records.clone())
    };
    let topic = |t: &produce::ProduceTopic| {
        produce_request::TopicProduceData::default()
            .with_name(name(&t.name))
            .with_topic_id(uuid(&t.topic_id))
            .with_partition_data(t.partitions.iter().map(partition).collect())
    };
    kp::ProduceRequest::default()
        .with_transactional_id(m.transactional_id.as_ref().map(|s| kp::TransactionalId(text(s))))
        .with_acks(m.acks)
        .with_timeout_ms(m.timeout_ms)
        .with_topic_data(m.topics.iter().map(topic).collect())
}

pub(crate) fn produce_response(m: &produce::ProduceResponse) -> kp::ProduceResponse {
    let record_error = |e: &produce::RecordError| {
        produce_response::BatchIndexAndErrorMessage::default()
            .with_batch_index(e.batch_index)
            .with_batch_index_error_message(e.message.as_ref().map(text))
    };
    let partition = |p: &produce::ProducePartitionResponse| {
        let mut out = produce_response::PartitionProduceResponse::default()
            .with_index(p.index)
            .with_error_code(p.error_code.code())
            .with_base_offset(p.base_offset)
            .with_log_append_time_ms(p.log_append_time_ms)
            .with_log_start_offset(p.log_start_offset)
            .with_record_errors(p.record_errors.iter().map(record_error).collect())
            .with_error_message(p.error_message.as_ref().map(text));
        if let Some(leader) = &p.current_leader {
            out = out.with_current_leader(
                produce_response::LeaderIdAndEpoch::default()
                    .with_leader_id(BrokerId(leader.leader_id))
                    .with_leader_epoch(leader.leader_epoch),
            );
        }
        out
    };
    let endpoint = |e: &ours::NodeEndpoint| {
        produce_response::NodeEndpoint::default()
            .with_node_id(BrokerId(e.node_id))
            .with_host(text(&e.host))
            .with_port(e.port)
            .with_rack(e.rack.as_ref().map(text))
    };
    let topic = |t: &produce::ProduceTopicResponse| {
        produce_response::TopicProduceResponse::default()
            .with_name(name(&t.name))
            .with_topic_id(uuid(&t.topic_id))
            .with_partition_responses(t.partitions.iter().map(partition).collect())
    };
    kp::ProduceResponse::default()
        .with_responses(m.topics.iter().map(topic).collect())
        .with_throttle_time_ms(m.throttle_time_ms)
        .with_node_endpoints(m.node_endpoints.iter().map(endpoint).collect())
}

pub(crate) fn fetch_request(m: &fetch::FetchRequest, version: i16) -> kp::FetchRequest {
    let partition = |p: &fetch::FetchPartition| {
        fetch_request::FetchPartition::default()
            .with_partition(p.partition)
            .with_current_leader_epoch(p.current_leader_epoch)
            .with_fetch_offset(p.fetch_offset)
            .with_last_fetched_epoch(p.last_fetched_epoch)
            .with_log_start_offset(p.log_start_offset)
            .with_partition_max_bytes(p.partition_max_bytes)
            .with_replica_directory_id(Uuid::from_bytes(p.replica_directory_id))
            .with_high_watermark(p.high_watermark)
    };
    let topic = |t: &fetch::FetchTopic| {
        fetch_request::FetchTopic::default()
            .with_topic(name(&t.name))
            .with_topic_id(uuid(&t.topic_id))
            .with_partitions(t.partitions.iter().map(partition).collect())
    };
    let forgotten = |t: &fetch::ForgottenTopic| {
        fetch_request::ForgottenTopic::default()
            .with_topic(name(&t.name))
            .with_topic_id(uuid(&t.topic_id))
            .with_partitions(t.partitions.clone())
    };
    let out = kp::FetchRequest::default()
        .with_cluster_id(m.cluster_id.as_ref().map(text))
        .with_max_wait_ms(m.max_wait_ms)
        .with_min_bytes(m.min_bytes)
        .with_max_bytes(m.max_bytes)
        .with_isolation_level(m.isolation_level)
        .with_session_id(m.session_id)
        .with_session_epoch(m.session_epoch)
        .with_topics(m.topics.iter().map(topic).collect())
        .with_forgotten_topics_data(m.forgotten_topics.iter().map(forgotten).collect())
        .with_rack_id(text(&m.rack_id));
    if version <= 14 {
        out.with_replica_id(BrokerId(m.replica_id))
    } else {
        out.with_replica_state(
            fetch_request::ReplicaState::default().with_replica_id(BrokerId(m.replica_id)).with_replica_epoch(m.replica_epoch),
        )
    }
}

pub(crate) fn fetch_response(m: &fetch::FetchResponse<Bytes>) -> kp::FetchResponse {
    let aborted = |a: &fetch::AbortedTransaction| {
        fetch_response::AbortedTransaction::default().with_producer_id(ProducerId(a.producer_id)).with_first_offset(a.first_offset)
    };
    let partition = |p: &fetch::FetchPartitionResponse<Bytes>| {
        let mut out = fetch_response::PartitionData::default()
            .with_partition_index(p.partition)
            .with_error_code(p.error_code.code())
            .with_high_watermark(p.high_watermark)
            .with_last_stable_offset(p.last_stable_offset)
            .with_log_start_offset(p.log_start_offset)
            .with_aborted_transactions(p.aborted_transactions.as_ref().map(|a| a.iter().map(aborted).collect()))
            .with_preferred_read_replica(BrokerId(p.preferred_read_replica))
            .with_records(Some(p.records.concat().into()));
        if let Some(diverging) = p.diverging_epoch {
            out = out.with_diverging_epoch(
                fetch_response::EpochEndOffset::default().with_epoch(diverging.epoch).with_end_offset(diverging.end_offset),
            );
        }
        if let Some(leader) = p.current_leader {
            out = out.with_current_leader(
                fetch_response::LeaderIdAndEpoch::default()
                    .with_leader_id(BrokerId(leader.leader_id))
                    .with_leader_epoch(leader.leader_epoch),
            );
        }
        if let Some(snapshot) = p.snapshot_id {
            out =
                out.with_snapshot_id(fetch_response::SnapshotId::default().with_end_offset(snapshot.end_offset).with_epoch(snapshot.epoch));
        }
        out
    };
    let endpoint = |e: &ours::NodeEndpoint| {
        fetch_response::NodeEndpoint::default()
            .with_node_id(BrokerId(e.node_id))
            .with_host(text(&e.host))
            .with_port(e.port)
            .with_rack(e.rack.as_ref().map(text))
    };
    let topic = |t: &fetch::FetchTopicResponse<Bytes>| {
        fetch_response::FetchableTopicResponse::default()
            .with_topic(name(&t.name))
            .with_topic_id(uuid(&t.topic_id))
            .with_partitions(t.partitions.iter().map(partition).collect())
    };
    kp::FetchResponse::default()
        .with_throttle_time_ms(m.throttle_time_ms)
        .with_error_code(m.error_code.code())
        .with_session_id(m.session_id)
        .with_responses(m.topics.iter().map(topic).collect())
        .with_node_endpoints(m.node_endpoints.iter().map(endpoint).collect())
}
