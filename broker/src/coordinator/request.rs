//! What a group coordinator is asked and what it answers: owned and `Send`, free of protocol versions, so that it crosses the mesh.
//!
//! Handlers turn the versions of the protocol into these and back. Text and blobs are owned copies: a request must not keep the
//! receive buffer of a connection alive for as long as a member lives.

use bytes::Bytes;
use coreline_wire::TopicId;
use coreline_wire::error_code::ErrorCode;

pub use super::consumer_request::{ConsumerDescribeAnswer, ConsumerHeartbeat, ConsumerHeartbeatAnswer, DescribedConsumer, TopicShare};
pub use super::request_admin::{DescribeAnswer, DescribedMember, ListAnswer, ListGroups, ListedGroup, OffsetDelete, OffsetDeleteAnswer};

/// A request to the group coordinator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GroupRequest {
    /// Is the coordinator of groups able to answer? Creates `__consumer_offsets` if needed. Answered by the driver.
    Locate,
    /// JoinGroup. May be parked until the join phase ends.
    Join(JoinGroup),
    /// SyncGroup. Parked until the leader's assignment is durable.
    Sync(SyncGroup),
    /// Heartbeat.
    Heartbeat(Heartbeat),
    /// LeaveGroup.
    Leave(LeaveGroup),
    /// OffsetCommit of one group. Parked until durable.
    Commit(OffsetCommit),
    /// OffsetFetch of one group.
    Fetch(OffsetFetch),
    /// ListGroups, of all partitions of this coordinator.
    List(ListGroups),
    /// DescribeGroups, one group by its name.
    Describe(String),
    /// DeleteGroups, one group by its name. Parked until durable.
    Delete(String),
    /// OffsetDelete. Parked until durable.
    DeleteOffsets(OffsetDelete),
    /// ConsumerGroupHeartbeat (KIP-848). Parked until durable.
    ConsumerHeartbeat(Box<ConsumerHeartbeat>),
    /// ConsumerGroupDescribe of one group.
    ConsumerDescribe {
        /// The group.
        group_id: String,
    },
}

/// The answer to a [`GroupRequest`], variant by variant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GroupResponse {
    /// To `Locate`.
    Located(ErrorCode),
    /// To `Join`.
    Join(JoinAnswer),
    /// To `Sync`.
    Sync(SyncAnswer),
    /// To `Heartbeat`.
    Heartbeat(ErrorCode),
    /// To `Leave`.
    Leave(LeaveAnswer),
    /// To `Commit`.
    Commit(CommitAnswer),
    /// To `Fetch`.
    Fetch(FetchAnswer),
    /// To `List`.
    Listed(ListAnswer),
    /// To `Describe`.
    Described(DescribeAnswer),
    /// To `Delete`.
    Deleted(ErrorCode),
    /// To `DeleteOffsets`.
    DeletedOffsets(OffsetDeleteAnswer),
    /// To `ConsumerHeartbeat`.
    ConsumerHeartbeat(ConsumerHeartbeatAnswer),
    /// To `ConsumerDescribe`.
    ConsumerDescribe(Box<ConsumerDescribeAnswer>),
}

/// A member wants to be part of the next generation.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct JoinGroup {
    /// The group.
    pub group_id: String,
    /// Empty for a member that has no id yet.
    pub member_id: String,
    /// KIP-345: the name by which a static member is known over restarts.
    pub instance_id: Option<String>,
    /// The client's name for itself; the beginning of a generated member id.
    pub client_id: String,
    /// Address of the client as Kafka writes it, `/127.0.0.1`.
    pub client_host: String,
    /// The member is removed when it says nothing for this long.
    pub session_timeout_ms: i32,
    /// How long the member may take to rejoin; equal to the session timeout in version 0.
    pub rebalance_timeout_ms: i32,
    /// `consumer`, `connect`, ...
    pub protocol_type: String,
    /// Assignors that the member knows, the preferred one first, each with an opaque blob.
    pub protocols: Vec<(String, Bytes)>,
    /// KIP-394 (v4+): a new member gets an id first and has to come back with it.
    pub requires_known_member_id: bool,
    /// KIP-814 (v9+): a leader that rejoins statically may be told to skip the assignment.
    pub supports_skip_assignment: bool,
}

/// The generation that a member is part of, or why it is not.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct JoinAnswer {
    /// Outcome.
    pub error: ErrorCode,
    /// -1 with an error.
    pub generation_id: i32,
    /// Type of the group.
    pub protocol_type: Option<String>,
    /// The assignor chosen for the generation.
    pub protocol_name: Option<String>,
    /// Member id of the leader; empty with an error.
    pub leader: String,
    /// The leader must not compute an assignment (v9+).
    pub skip_assignment: bool,
    /// The member's id, maybe just generated.
    pub member_id: String,
    /// All members for the leader, nothing for the others.
    pub members: Vec<JoinedMember>,
}

impl JoinAnswer {
    /// An answer without a generation.
    pub fn error(error: ErrorCode, member_id: &str) -> Self {
        JoinAnswer { error, generation_id: -1, member_id: member_id.to_owned(), ..JoinAnswer::default() }
    }
}

/// A member as the leader sees it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct JoinedMember {
    /// Its id.
    pub member_id: String,
    /// Its static name.
    pub instance_id: Option<String>,
    /// Its blob for the chosen protocol.
    pub metadata: Bytes,
}

/// A member asks for its assignment; the leader brings everybody's.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SyncGroup {
    /// The group.
    pub group_id: String,
    /// The generation that the member joined.
    pub generation_id: i32,
    /// The member.
    pub member_id: String,
    /// Its static name.
    pub instance_id: Option<String>,
    /// KIP-559 (v5+): must match the group's when given.
    pub protocol_type: Option<String>,
    /// KIP-559 (v5+): must match the generation's when given.
    pub protocol_name: Option<String>,
    /// From the leader: member id and opaque assignment.
    pub assignments: Vec<(String, Bytes)>,
}

/// A member's assignment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SyncAnswer {
    /// Outcome.
    pub error: ErrorCode,
    /// Type of the group.
    pub protocol_type: Option<String>,
    /// The assignor of the generation.
    pub protocol_name: Option<String>,
    /// Opaque; empty with an error or for a member that the leader left out.
    pub assignment: Bytes,
}

impl SyncAnswer {
    /// An answer without an assignment.
    pub fn error(error: ErrorCode) -> Self {
        SyncAnswer { error, ..SyncAnswer::default() }
    }
}

/// A member is alive.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Heartbeat {
    /// The group.
    pub group_id: String,
    /// The generation that the member believes in.
    pub generation_id: i32,
    /// The member.
    pub member_id: String,
    /// Its static name.
    pub instance_id: Option<String>,
}

/// Members leave.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LeaveGroup {
    /// The group.
    pub group_id: String,
    /// One below v3, any number from v3.
    pub members: Vec<LeavingMember>,
}

/// One member that leaves: by member id, or by static name alone (an administrator's removal).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LeavingMember {
    /// Its id; empty when named by instance id.
    pub member_id: String,
    /// Its static name.
    pub instance_id: Option<String>,
}

/// Per member: did it leave?
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LeaveAnswer {
    /// Outcome for the request as a whole.
    pub error: ErrorCode,
    /// The members as asked, each with its outcome.
    pub members: Vec<(LeavingMember, ErrorCode)>,
}

/// Offsets of a group, to be kept.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OffsetCommit {
    /// The group; may be empty, as in Kafka.
    pub group_id: String,
    /// The member's generation, or -1 for a consumer without group management.
    pub generation_id: i32,
    /// The member, or empty.
    pub member_id: String,
    /// Its static name.
    pub instance_id: Option<String>,
    /// Versions 2 to 4: keep the offsets this long instead of `offsets.retention.minutes`; -1 for the setting.
    pub retention_ms: i64,
    /// From v9 a missing group is `GROUP_ID_NOT_FOUND` instead of `ILLEGAL_GENERATION`.
    pub tells_missing_group: bool,
    /// Topics; those that do not exist were answered by the handler.
    pub topics: Vec<TopicCommit>,
}

/// The offsets of one topic.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TopicCommit {
    /// Its name.
    pub name: String,
    /// Its id; zero when unknown.
    pub id: TopicId,
    /// Its partitions.
    pub partitions: Vec<PartitionCommit>,
}

/// One partition's committed offset.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PartitionCommit {
    /// The partition.
    pub partition: i32,
    /// Offset of the next record to consume.
    pub offset: i64,
    /// Leader epoch of the last consumed record, or -1 (v6+).
    pub leader_epoch: i32,
    /// The client's own note.
    pub metadata: Option<String>,
    /// Set by the coordinator when the member may not commit this partition (KIP-848: it got it at a later epoch, or has lost it).
    pub refused: ErrorCode,
}

/// Outcome per partition, in the order of the request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CommitAnswer {
    /// Topics by name.
    pub topics: Vec<(String, Vec<(i32, ErrorCode)>)>,
}

impl CommitAnswer {
    /// Every partition gets `error`, except that those which were refused already keep their own code.
    #[must_use]
    pub fn refuse(mut self, error: ErrorCode) -> CommitAnswer {
        let codes = self.topics.iter_mut().flat_map(|(_, partitions)| partitions).map(|(_, code)| code);
        codes.filter(|code| code.is_ok()).for_each(|code| *code = error);
        self
    }
}

/// Which committed offsets of a group are wanted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OffsetFetch {
    /// The group.
    pub group_id: String,
    /// The member that asks (v9+); `None` for an administrator.
    pub member_id: Option<String>,
    /// Its epoch (v9+), or -1.
    pub member_epoch: i32,
    /// Topics by name, or `None` for all that the group has.
    pub topics: Option<Vec<(String, Vec<i32>)>>,
    /// KIP-447: `UNSTABLE_OFFSET_COMMIT` for partitions with offsets of an open transaction (there are none yet).
    pub require_stable: bool,
}

/// Committed offsets of one group.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FetchAnswer {
    /// Outcome for the group.
    pub error: ErrorCode,
    /// Topics by name, in the order of the request, or in name order when all were asked for.
    pub topics: Vec<(String, Vec<FetchedOffset>)>,
}

/// One partition's committed offset; offset and leader epoch are -1 and the metadata is empty when there is none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchedOffset {
    /// The partition.
    pub partition: i32,
    /// Offset of the next record to consume.
    pub offset: i64,
    /// Leader epoch of the last consumed record.
    pub leader_epoch: i32,
    /// The client's own note.
    pub metadata: String,
}

impl FetchedOffset {
    /// No offset is committed for this partition.
    pub fn none(partition: i32) -> Self {
        FetchedOffset { partition, offset: -1, leader_epoch: -1, metadata: String::new() }
    }
}

impl GroupRequest {
    /// The group that is asked about; `None` for a request that is not about one group.
    pub fn group_id(&self) -> Option<&str> {
        match self {
            GroupRequest::Locate | GroupRequest::List(_) => None,
            GroupRequest::Join(request) => Some(&request.group_id),
            GroupRequest::Sync(request) => Some(&request.group_id),
            GroupRequest::Heartbeat(request) => Some(&request.group_id),
            GroupRequest::Leave(request) => Some(&request.group_id),
            GroupRequest::Commit(request) => Some(&request.group_id),
            GroupRequest::Fetch(request) => Some(&request.group_id),
            GroupRequest::Describe(group_id) | GroupRequest::Delete(group_id) => Some(group_id),
            GroupRequest::DeleteOffsets(request) => Some(&request.group_id),
            GroupRequest::ConsumerHeartbeat(request) => Some(&request.group_id),
            GroupRequest::ConsumerDescribe { group_id } => Some(group_id),
        }
    }

    /// May wait for minutes: the mesh counts it against the credits for parked requests.
    pub fn may_park(&self) -> bool {
        matches!(self, GroupRequest::Join(_) | GroupRequest::Sync(_))
    }

    /// The answer that refuses this request with `error`, per member or partition where the protocol wants that.
    pub fn refuse(&self, error: ErrorCode) -> GroupResponse {
        match self {
            GroupRequest::Locate => GroupResponse::Located(error),
            GroupRequest::Join(request) => GroupResponse::Join(JoinAnswer::error(error, &request.member_id)),
            GroupRequest::Sync(_) => GroupResponse::Sync(SyncAnswer::error(error)),
            GroupRequest::Heartbeat(_) => GroupResponse::Heartbeat(error),
            GroupRequest::Leave(_) => GroupResponse::Leave(LeaveAnswer { error, members: Vec::new() }),
            GroupRequest::Commit(request) => GroupResponse::Commit(request.refuse(error)),
            GroupRequest::Fetch(_) => GroupResponse::Fetch(FetchAnswer { error, topics: Vec::new() }),
            GroupRequest::List(_) => GroupResponse::Listed(ListAnswer { error, groups: Vec::new() }),
            GroupRequest::Describe(_) => GroupResponse::Described(DescribeAnswer { error, ..DescribeAnswer::default() }),
            GroupRequest::Delete(_) => GroupResponse::Deleted(error),
            GroupRequest::DeleteOffsets(_) => GroupResponse::DeletedOffsets(OffsetDeleteAnswer { error, topics: Vec::new() }),
            GroupRequest::ConsumerHeartbeat(_) => GroupResponse::ConsumerHeartbeat(ConsumerHeartbeatAnswer::error(error, None)),
            GroupRequest::ConsumerDescribe { .. } => GroupResponse::ConsumerDescribe(Box::new(ConsumerDescribeAnswer::error(error, None))),
        }
    }
}

impl OffsetCommit {
    /// Every partition gets `error`.
    pub fn refuse(&self, error: ErrorCode) -> CommitAnswer {
        let outcomes = |topic: &TopicCommit| topic.partitions.iter().map(|p| (p.partition, error)).collect();
        CommitAnswer { topics: self.topics.iter().map(|topic| (topic.name.clone(), outcomes(topic))).collect() }
    }
}
