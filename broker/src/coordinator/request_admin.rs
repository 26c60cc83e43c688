//! What administrators ask of the group coordinator: list, describe and delete groups, delete offsets. Part of [`super::request`].

use bytes::Bytes;
use coreline_wire::error_code::ErrorCode;

/// Which groups are there?
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ListGroups {
    /// States to tell of, in any case; none means all.
    pub states: Vec<String>,
    /// Types to tell of, in any case (`classic`, `consumer`); none means all. A type that does not exist matches nothing.
    pub types: Vec<String>,
}

/// The groups of this coordinator.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ListAnswer {
    /// Outcome; `COORDINATOR_LOAD_IN_PROGRESS` as long as any partition is being loaded.
    pub error: ErrorCode,
    /// In no particular order.
    pub groups: Vec<ListedGroup>,
}

/// A group in a list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ListedGroup {
    /// Its name.
    pub group_id: String,
    /// `consumer`, `connect`, ...; empty for a group that never had a member.
    pub protocol_type: String,
    /// The name of its state.
    pub state: &'static str,
    /// `classic` or `consumer`.
    pub kind: &'static str,
}

/// A classic group and its members, or why it is not told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DescribeAnswer {
    /// Outcome. `GROUP_ID_NOT_FOUND` becomes a dead group in versions that do not know the code.
    pub error: ErrorCode,
    /// What is wrong, in words.
    pub message: Option<String>,
    /// The name of its state.
    pub state: &'static str,
    /// `consumer`, `connect`, ...
    pub protocol_type: String,
    /// The assignor of a stable generation.
    pub protocol: String,
    /// Members in the order of their ids.
    pub members: Vec<DescribedMember>,
}

/// A member as an administrator sees it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DescribedMember {
    /// Its id.
    pub member_id: String,
    /// Its static name.
    pub instance_id: Option<String>,
    /// The client's name for itself.
    pub client_id: String,
    /// Its address.
    pub client_host: String,
    /// Its blob for the protocol of a stable generation.
    pub metadata: Bytes,
    /// Its assignment, as the leader made it.
    pub assignment: Bytes,
}

/// Offsets of a group are to be forgotten.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OffsetDelete {
    /// The group.
    pub group_id: String,
    /// Partitions by topic; those that do not exist were answered by the handler.
    pub topics: Vec<(String, Vec<i32>)>,
}

/// Outcome per partition, in the order of the request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OffsetDeleteAnswer {
    /// Outcome for the group; with an error there are no topics.
    pub error: ErrorCode,
    /// Topics by name.
    pub topics: Vec<(String, Vec<(i32, ErrorCode)>)>,
}
