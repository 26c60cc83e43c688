//! The quorum's way to other voters. There are none yet: a quorum of one sends nothing, and a message to any other node fails as
//! unreachable, which the library takes for a node that is down.

use std::fmt;
use std::future::Future;

use bytes::Bytes;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};

use super::types::{MetadataSnapshot, QuorumTypes, Vote};

/// A quorum without peers.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPeers;

/// A peer that cannot be reached.
#[derive(Clone, Copy, Debug)]
pub struct NoPeer {
    target: u64,
}

/// Why a message did not arrive.
#[derive(Debug)]
struct NoRoute(u64);

impl fmt::Display for NoRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} cannot be reached: this quorum has one voter", self.0)
    }
}

impl std::error::Error for NoRoute {}

impl NoPeer {
    fn unreachable(&self) -> Unreachable<QuorumTypes> {
        Unreachable::new(&NoRoute(self.target))
    }
}

impl RaftNetworkFactory<QuorumTypes> for NoPeers {
    type Network = NoPeer;

    async fn new_client(&mut self, target: u64, _node: &openraft::impls::BasicNode) -> NoPeer {
        NoPeer { target }
    }
}

impl RaftNetworkV2<QuorumTypes> for NoPeer {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        _rpc: AppendEntriesRequest<QuorumTypes>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<QuorumTypes>, RPCError<QuorumTypes>> {
        Err(self.unreachable().into())
    }

    async fn vote(
        &mut self,
        _rpc: VoteRequest<QuorumTypes>,
        _option: RPCOption,
    ) -> Result<VoteResponse<QuorumTypes>, RPCError<QuorumTypes>> {
        Err(self.unreachable().into())
    }

    async fn pre_vote(
        &mut self,
        _rpc: VoteRequest<QuorumTypes>,
        _option: RPCOption,
    ) -> Result<VoteResponse<QuorumTypes>, RPCError<QuorumTypes>> {
        Err(self.unreachable().into())
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: MetadataSnapshot,
        _cancel: impl Future<Output = ReplicationClosed> + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<QuorumTypes>, StreamingError<QuorumTypes>> {
        Err(self.unreachable().into())
    }
}
