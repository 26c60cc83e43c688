//! What one shard can ask of another: the requests and answers that cross the mesh, one variant per kind.
//!
//! Payloads are owned and `Send`. The shard that gets a request answers it in `serve`.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use super::mesh::{self, MeshRequest};
use crate::coordinator::request::{GroupRequest, GroupResponse};
use crate::partition;
use crate::partition::request::{PartitionReply, PartitionRequest};
use super::task_queue::Queue;
use super::{Shard, ShardId};

/// The mesh between shards.
pub type Mesh = mesh::Mesh<ShardRequest, ShardReply>;

/// A request to another shard; one variant per kind, grouped by the part that answers it.
#[derive(Debug)]
pub enum ShardRequest {
    /// For the group coordinator, on the metadata shard.
    Group(GroupRequest),
    /// For the owner of partitions.
    Partition(PartitionRequest),
    /// Answered with `Pong` (health check, tests).
    Ping,
}

/// The answer to a [`ShardRequest`], variant by variant.
#[derive(Debug)]
pub enum ShardReply {
    /// To `Group`.
    Group(GroupResponse),
    /// To `Partition`.
    Partition(PartitionReply),
    /// To `Ping`.
    Pong,
}

impl MeshRequest for ShardRequest {
    fn parks(&self) -> bool {
        match self {
            ShardRequest::Group(request) => request.may_park(),
            ShardRequest::Partition(request) => matches!(request, PartitionRequest::FetchWait { .. }),
            ShardRequest::Ping => false,
        }
    }

    fn queue(&self) -> Queue {
        match self {
            ShardRequest::Group(_) => Queue::Net,
            ShardRequest::Partition(PartitionRequest::Produce { .. }) => Queue::Produce,
            ShardRequest::Partition(_) => Queue::Fetch,
            ShardRequest::Ping => Queue::Background,
        }
    }
}

/// Answers a request of another shard, or of this one. Runs up to its first wait before the next request of the same sender starts.
pub fn serve(shard: Rc<Shard>, from: ShardId, request: ShardRequest) -> Pin<Box<dyn Future<Output = ShardReply>>> {
    Box::pin(async move {
        let _ = from;
        match request {
            ShardRequest::Group(request) => ShardReply::Group(shard.groups.call(request).await),
            ShardRequest::Partition(request) => ShardReply::Partition(partition::request::serve(&shard, request).await),
            ShardRequest::Ping => ShardReply::Pong,
        }
    })
}
