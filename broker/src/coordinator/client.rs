//! How handlers of any shard reach the group coordinator: [`GroupClient`], over the driver itself on its shard or over the mesh elsewhere.
//!
//! A call may take minutes (a parked JoinGroup). Dropping its future cancels it; a transport over the mesh must drop the driver's
//! future when the caller's is dropped.

use std::rc::Rc;

use coreline_wire::error_code::ErrorCode;

use super::LocalFuture;
use super::request::{
    CommitAnswer, ConsumerDescribeAnswer, ConsumerHeartbeat, ConsumerHeartbeatAnswer, DescribeAnswer, FetchAnswer, GroupRequest,
    GroupResponse, Heartbeat, JoinAnswer, JoinGroup, LeaveAnswer, LeaveGroup, ListAnswer, ListGroups, OffsetCommit, OffsetDelete,
    OffsetDeleteAnswer, OffsetFetch, SyncAnswer, SyncGroup,
};

/// Carries a request to the driver and its answer back. Implemented by [`super::GroupDriver`] and by the mesh.
pub trait GroupTransport {
    /// The answer, or the code to give the client when the coordinator cannot be reached (`COORDINATOR_NOT_AVAILABLE`).
    /// Dropping the future drops the work.
    fn call(&self, request: GroupRequest) -> LocalFuture<'static, Result<GroupResponse, ErrorCode>>;
}

/// A shard's way to the group coordinator. Cheap to clone.
#[derive(Clone)]
pub struct GroupClient {
    transport: Rc<dyn GroupTransport>,
}

impl GroupClient {
    /// Speaks through `transport`.
    pub fn new(transport: Rc<dyn GroupTransport>) -> Self {
        GroupClient { transport }
    }

    /// Any request; an unreachable coordinator becomes a refusal in the form of the request.
    pub async fn call(&self, request: GroupRequest) -> GroupResponse {
        let refusal = request.refuse(ErrorCode::CoordinatorNotAvailable);
        match self.transport.call(request).await {
            Ok(response) => response,
            Err(_) => refusal,
        }
    }

    /// Is there a coordinator? Creates `__consumer_offsets` on first use.
    pub async fn locate(&self) -> ErrorCode {
        match self.call(GroupRequest::Locate).await {
            GroupResponse::Located(error) => error,
            other => mismatch(&other),
        }
    }

    /// JoinGroup.
    pub async fn join(&self, request: JoinGroup) -> JoinAnswer {
        match self.call(GroupRequest::Join(request)).await {
            GroupResponse::Join(answer) => answer,
            other => JoinAnswer::error(mismatch(&other), ""),
        }
    }

    /// SyncGroup.
    pub async fn sync(&self, request: SyncGroup) -> SyncAnswer {
        match self.call(GroupRequest::Sync(request)).await {
            GroupResponse::Sync(answer) => answer,
            other => SyncAnswer::error(mismatch(&other)),
        }
    }

    /// Heartbeat.
    pub async fn heartbeat(&self, request: Heartbeat) -> ErrorCode {
        match self.call(GroupRequest::Heartbeat(request)).await {
            GroupResponse::Heartbeat(error) => error,
            other => mismatch(&other),
        }
    }

    /// LeaveGroup.
    pub async fn leave(&self, request: LeaveGroup) -> LeaveAnswer {
        match self.call(GroupRequest::Leave(request)).await {
            GroupResponse::Leave(answer) => answer,
            other => LeaveAnswer { error: mismatch(&other), members: Vec::new() },
        }
    }

    /// OffsetCommit.
    pub async fn commit(&self, request: OffsetCommit) -> CommitAnswer {
        match self.call(GroupRequest::Commit(request)).await {
            GroupResponse::Commit(answer) => answer,
            other => {
                mismatch(&other);
                CommitAnswer::default()
            }
        }
    }

    /// OffsetFetch of one group.
    pub async fn fetch(&self, request: OffsetFetch) -> FetchAnswer {
        match self.call(GroupRequest::Fetch(request)).await {
            GroupResponse::Fetch(answer) => answer,
            other => FetchAnswer { error: mismatch(&other), topics: Vec::new() },
        }
    }

    /// ListGroups.
    pub async fn list(&self, request: ListGroups) -> ListAnswer {
        match self.call(GroupRequest::List(request)).await {
            GroupResponse::Listed(answer) => answer,
            other => ListAnswer { error: mismatch(&other), groups: Vec::new() },
        }
    }

    /// DescribeGroups of one group.
    pub async fn describe(&self, group_id: String) -> DescribeAnswer {
        match self.call(GroupRequest::Describe(group_id)).await {
            GroupResponse::Described(answer) => answer,
            other => DescribeAnswer { error: mismatch(&other), ..DescribeAnswer::default() },
        }
    }

    /// DeleteGroups of one group.
    pub async fn delete(&self, group_id: String) -> ErrorCode {
        match self.call(GroupRequest::Delete(group_id)).await {
            GroupResponse::Deleted(error) => error,
            other => mismatch(&other),
        }
    }

    /// OffsetDelete.
    pub async fn delete_offsets(&self, request: OffsetDelete) -> OffsetDeleteAnswer {
        match self.call(GroupRequest::DeleteOffsets(request)).await {
            GroupResponse::DeletedOffsets(answer) => answer,
            other => OffsetDeleteAnswer { error: mismatch(&other), topics: Vec::new() },
        }
    }
}

impl GroupClient {
    /// ConsumerGroupHeartbeat.
    pub async fn consumer_heartbeat(&self, request: ConsumerHeartbeat) -> ConsumerHeartbeatAnswer {
        match self.call(GroupRequest::ConsumerHeartbeat(Box::new(request))).await {
            GroupResponse::ConsumerHeartbeat(answer) => answer,
            other => ConsumerHeartbeatAnswer::error(mismatch(&other), None),
        }
    }

    /// ConsumerGroupDescribe of one group.
    pub async fn consumer_describe(&self, group_id: String) -> ConsumerDescribeAnswer {
        match self.call(GroupRequest::ConsumerDescribe { group_id }).await {
            GroupResponse::ConsumerDescribe(answer) => *answer,
            other => ConsumerDescribeAnswer::error(mismatch(&other), None),
        }
    }
}

/// An answer of another kind than the request: a defect of the transport, told as such.
fn mismatch(response: &GroupResponse) -> ErrorCode {
    debug_assert!(false, "answer of another kind: {response:?}");
    tracing::error!(?response, "the group coordinator's answer is of another kind than the request");
    ErrorCode::UnknownServerError
}
