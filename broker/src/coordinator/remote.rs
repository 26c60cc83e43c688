//! The way to the group coordinator from the other shards: its requests over the mesh to the metadata shard.
//!
//! A caller that goes away drops the mesh's call, which drops the driver's future there: that cancels a parked request.

use std::rc::Rc;

use coreline_wire::error_code::ErrorCode;

use super::client::{GroupClient, GroupTransport};
use super::request::{GroupRequest, GroupResponse};
use super::{GroupDriver, LocalFuture, OffsetsLog, Runtime};
use crate::shard::{Mesh, ShardId, ShardReply, ShardRequest};

struct Remote {
    mesh: Mesh,
}

impl GroupClient {
    /// The client of the metadata shard, which speaks to its driver directly.
    pub fn local<L: OffsetsLog, R: Runtime>(driver: &GroupDriver<L, R>) -> Self {
        GroupClient::new(Rc::new(driver.clone()))
    }

    /// The client of any other shard.
    pub fn remote(mesh: Mesh) -> Self {
        GroupClient::new(Rc::new(Remote { mesh }))
    }
}

impl GroupTransport for Remote {
    fn call(&self, request: GroupRequest) -> LocalFuture<'static, Result<GroupResponse, ErrorCode>> {
        let mesh = self.mesh.clone();
        Box::pin(async move {
            match mesh.call(ShardId::METADATA, ShardRequest::Group(request)).await {
                Ok(ShardReply::Group(response)) => Ok(response),
                Ok(_) => Err(ErrorCode::UnknownServerError),
                Err(_) => Err(ErrorCode::CoordinatorNotAvailable),
            }
        })
    }
}
