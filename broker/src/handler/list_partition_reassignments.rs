//! ListPartitionReassignments (key 46, v0): the reassignments in progress (KIP-455), of which there are none while replicas do not move.

use std::rc::Rc;

use bytes::Bytes;
use kafka_protocol::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

use super::{HandlerResult, RequestContext, codec};
use crate::shard::Shard;

/// Answers at once. Partitions that do not exist are left out, as in Kafka.
pub async fn handle(_: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let _: ListPartitionReassignmentsRequest = codec::decode(ctx, body)?;
    codec::encode(ctx, &ListPartitionReassignmentsResponse::default().with_error_message(None))
}
