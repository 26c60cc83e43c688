//! The controller over the mesh: requests to the metadata shard from the others, publications from it to all.

use futures_util::future::LocalBoxFuture;

use super::{Mesh, ShardId, ShardReply, ShardRequest};
use crate::controller::client::ControllerTransport;
use crate::controller::{ControllerError, ControllerRequest, ControllerResponse};
use crate::metadata::Publication;
use crate::metadata::publish::Publisher;

/// The way to the controller from any shard but the metadata shard.
#[derive(Debug)]
pub struct MeshController(pub Mesh);

impl ControllerTransport for MeshController {
    fn submit(&self, request: ControllerRequest) -> LocalBoxFuture<'_, Result<ControllerResponse, ControllerError>> {
        Box::pin(async move {
            match self.0.call(ShardId::METADATA, ShardRequest::Controller(Box::new(request))).await {
                Ok(ShardReply::Controller(answer)) => answer,
                Ok(_) => Err(ControllerError::Failed("an answer of another kind".into())),
                Err(_) => Err(ControllerError::Stopping),
            }
        })
    }
}

/// Publications from the metadata shard to every shard, itself included.
#[derive(Debug)]
pub struct MeshPublisher(pub Mesh);

impl Publisher for MeshPublisher {
    fn publish(&self, publication: Publication) -> LocalBoxFuture<'_, ()> {
        Box::pin(async move {
            let all = self.0.shards().map(|id| self.0.call(id, ShardRequest::Publish(publication.clone())));
            for answer in futures_util::future::join_all(all).await {
                if answer.is_err() {
                    // A shard is gone: the process is ending, and nobody may be told that everyone has followed.
                    std::future::pending::<()>().await;
                }
            }
        })
    }
}
