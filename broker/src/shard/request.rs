//! What one shard can ask of another: the requests and answers that cross the mesh, one variant per kind.
//!
//! Payloads are owned and `Send`. The shard that gets a request answers it in `serve`.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use super::mesh::{self, MeshRequest};
use super::task_queue::Queue;
use super::{Shard, ShardId};
use crate::controller::{ControllerError, ControllerRequest, ControllerResponse};
use crate::coordinator::request::{GroupRequest, GroupResponse};
use crate::error::Fatal;
use crate::metadata::Publication;
use crate::metrics::ShardSnapshot;
use crate::partition;
use crate::partition::request::{PartitionReply, PartitionRequest};

/// The mesh between shards.
pub type Mesh = mesh::Mesh<ShardRequest, ShardReply>;

/// A request to another shard; one variant per kind, grouped by the part that answers it.
#[derive(Debug)]
pub enum ShardRequest {
    /// For the controller, on the metadata shard.
    Controller(Box<ControllerRequest>),
    /// For the group coordinator, on the metadata shard.
    Group(GroupRequest),
    /// For the owner of partitions.
    Partition(PartitionRequest),
    /// A new image of the metadata; answered when this shard's partitions match it.
    Publish(Publication),
    /// The counts of a shard.
    Metrics,
    /// Answered with `Pong` (health check, tests).
    Ping,
}

/// The answer to a [`ShardRequest`], variant by variant.
#[derive(Debug)]
pub enum ShardReply {
    /// To `Controller`.
    Controller(Result<ControllerResponse, ControllerError>),
    /// To `Group`.
    Group(GroupResponse),
    /// To `Partition`.
    Partition(PartitionReply),
    /// To `Publish`.
    Published,
    /// To `Metrics`.
    Metrics(Box<ShardSnapshot>),
    /// To `Ping`.
    Pong,
}

impl MeshRequest for ShardRequest {
    fn parks(&self) -> bool {
        match self {
            ShardRequest::Group(request) => request.may_park(),
            ShardRequest::Partition(request) => matches!(request, PartitionRequest::FetchWait { .. }),
            // Waits for commit and publication, which may wait for this very shard.
            ShardRequest::Controller(_) => true,
            ShardRequest::Publish(_) | ShardRequest::Metrics | ShardRequest::Ping => false,
        }
    }

    fn queue(&self) -> Queue {
        match self {
            ShardRequest::Controller(_) | ShardRequest::Group(_) | ShardRequest::Publish(_) => Queue::Net,
            ShardRequest::Partition(PartitionRequest::Produce { .. }) => Queue::Produce,
            ShardRequest::Partition(_) => Queue::Fetch,
            ShardRequest::Metrics | ShardRequest::Ping => Queue::Background,
        }
    }
}

/// Answers a request of another shard, or of this one. Runs up to its first wait before the next request of the same sender starts.
pub fn serve(shard: Rc<Shard>, from: ShardId, request: ShardRequest) -> Pin<Box<dyn Future<Output = ShardReply>>> {
    Box::pin(async move {
        let _ = from;
        match request {
            ShardRequest::Controller(request) => ShardReply::Controller(shard.controller.submit(*request).await),
            ShardRequest::Group(request) => ShardReply::Group(shard.groups.call(request).await),
            ShardRequest::Partition(request) => ShardReply::Partition(partition::request::serve(&shard, request).await),
            ShardRequest::Publish(publication) => {
                if let Err(error) = shard.publish(&publication).await {
                    let id = shard.id;
                    shard.lifecycle.fail(Fatal::new(format!("shard {id} cannot follow the metadata: {error}")));
                    // The process is ending; an answer would claim that this shard has followed.
                    std::future::pending::<()>().await;
                }
                ShardReply::Published
            }
            ShardRequest::Metrics => ShardReply::Metrics(Box::new(shard.snapshot())),
            ShardRequest::Ping => ShardReply::Pong,
        }
    })
}
