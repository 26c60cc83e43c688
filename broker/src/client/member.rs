//! `Member`: a member of a classic consumer group: joins, leads when told to, beats, commits and leaves.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use coreline_wire::ErrorCode;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::{
    GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, OffsetCommitRequest, SyncGroupRequest,
    join_group_request::JoinGroupRequestProtocol, sync_group_request::SyncGroupRequestAssignment,
};

use super::assign::{self, RANGE};
use super::cluster::Lane;
use super::metadata::Topics;
use super::offsets::{Committed, Committer, commit_request};
use super::{ClientError, Cluster, Partition, text};

/// What a member is known by, and its timers.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    pub(crate) group: String,
    pub(crate) topics: Vec<String>,
    /// Name of a static member (KIP-345).
    pub(crate) instance: Option<String>,
    pub(crate) session: Duration,
    /// Longest time that others wait for this member in a rebalance.
    pub(crate) rebalance: Duration,
}

/// A member of a group.
#[derive(Debug)]
pub(crate) struct Member {
    membership: Membership,
    id: String,
    generation: i32,
    next_beat: Instant,
}

/// What the group says to a heartbeat or a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// All is well.
    Stable,
    /// Others come or go: join again.
    Rebalancing,
    /// This member is not known any more: join again; what it had is not its own.
    Lost,
}

impl Member {
    /// Not in the group yet.
    pub(crate) fn new(membership: Membership) -> Member {
        Member { membership, id: String::new(), generation: -1, next_beat: Instant::now() }
    }

    /// Joins, or joins again, and returns the partitions that are this member's.
    pub(crate) fn join(&mut self, cluster: &mut Cluster) -> Result<Vec<Partition>, ClientError> {
        loop {
            if let Some(partitions) = cluster.retry(|cluster| self.join_once(cluster))? {
                self.next_beat = Instant::now() + self.beat_interval();
                return Ok(partitions);
            }
        }
    }

    fn beat_interval(&self) -> Duration {
        (self.membership.session / 3).min(Duration::from_secs(3))
    }

    fn what(&self) -> String {
        format!("group '{}'", self.membership.group)
    }

    /// One round; `None` when another is needed at once.
    fn join_once(&mut self, cluster: &mut Cluster) -> Result<Option<Vec<Partition>>, ClientError> {
        let node = cluster.coordinator(&self.membership.group)?;
        let wait = self.membership.rebalance + cluster.timeout();
        let answer = cluster.call_node(node, Lane::Group, wait, |version| self.join_request(version))?;
        match ErrorCode::from_code(answer.error_code) {
            ErrorCode::None => {}
            ErrorCode::MemberIdRequired => {
                self.id = answer.member_id.to_string();
                return Ok(None);
            }
            ErrorCode::UnknownMemberId => {
                self.id.clear();
                return Ok(None);
            }
            ErrorCode::RebalanceInProgress => return Ok(None),
            code => return Err(ClientError::kafka(code.code(), None, self.what())),
        }
        self.id = answer.member_id.to_string();
        self.generation = answer.generation_id;
        let assignments = if *answer.leader == *answer.member_id { self.lead(cluster, &answer)? } else { Vec::new() };
        let protocol = (answer.protocol_type.clone(), answer.protocol_name.clone());
        let answer = cluster.call_node(node, Lane::Group, wait, |version| {
            let request = SyncGroupRequest::default()
                .with_group_id(GroupId(text(&self.membership.group)))
                .with_generation_id(self.generation)
                .with_member_id(text(&self.id))
                .with_assignments(assignments);
            let request = if version >= 3 { request.with_group_instance_id(self.instance()) } else { request };
            if version >= 5 {
                request.with_protocol_type(protocol.0.or_else(|| Some(text("consumer")))).with_protocol_name(protocol.1)
            } else {
                request
            }
        })?;
        match ErrorCode::from_code(answer.error_code) {
            ErrorCode::None => assign::read_assignment(&answer.assignment)
                .map(Some)
                .ok_or_else(|| ClientError::Protocol { at: self.what(), why: "the leader's assignment cannot be read".into() }),
            ErrorCode::RebalanceInProgress => Ok(None),
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => {
                self.id.clear();
                Ok(None)
            }
            code => Err(ClientError::kafka(code.code(), None, self.what())),
        }
    }

    fn instance(&self) -> Option<kafka_protocol::protocol::StrBytes> {
        self.membership.instance.as_deref().map(text)
    }

    fn join_request(&self, version: i16) -> JoinGroupRequest {
        let millis = |d: Duration| i32::try_from(d.as_millis()).unwrap_or(i32::MAX);
        let protocol =
            JoinGroupRequestProtocol::default().with_name(text(RANGE)).with_metadata(assign::subscription(&self.membership.topics));
        let request = JoinGroupRequest::default()
            .with_group_id(GroupId(text(&self.membership.group)))
            .with_session_timeout_ms(millis(self.membership.session))
            .with_member_id(text(&self.id))
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        let request = if version >= 1 { request.with_rebalance_timeout_ms(millis(self.membership.rebalance)) } else { request };
        if version >= 5 { request.with_group_instance_id(self.instance()) } else { request }
    }

    /// Divides the partitions among all members.
    fn lead(&self, cluster: &mut Cluster, answer: &JoinGroupResponse) -> Result<Vec<SyncGroupRequestAssignment>, ClientError> {
        let mut members: Vec<(String, String, Vec<String>)> = Vec::new();
        for member in &answer.members {
            let topics = assign::read_subscription(&member.metadata).ok_or_else(|| ClientError::Protocol {
                at: self.what(),
                why: format!("the subscription of member '{}' cannot be read", member.member_id.as_str()),
            })?;
            // Static members keep their place by their name.
            let order = member.group_instance_id.as_ref().unwrap_or(&member.member_id).to_string();
            members.push((order, member.member_id.to_string(), topics));
        }
        members.sort();
        let mut names: Vec<String> = members.iter().flat_map(|(_, _, topics)| topics.clone()).collect();
        names.sort();
        names.dedup();
        let metadata = cluster.metadata(Topics::Named(&names))?;
        let counts: BTreeMap<String, i32> = metadata.topics.iter().map(|t| (t.name.clone(), t.partitions.len() as i32)).collect();
        let members: Vec<(String, Vec<String>)> = members.into_iter().map(|(_, id, topics)| (id, topics)).collect();
        let given = assign::range(&members, &counts);
        Ok(given
            .iter()
            .map(|(id, partitions)| {
                SyncGroupRequestAssignment::default().with_member_id(text(id)).with_assignment(assign::assignment(partitions))
            })
            .collect())
    }

    /// Says that this member lives, when it is time to.
    pub(crate) fn beat(&mut self, cluster: &mut Cluster) -> Result<Standing, ClientError> {
        if Instant::now() < self.next_beat {
            return Ok(Standing::Stable);
        }
        self.next_beat = Instant::now() + self.beat_interval();
        let code = cluster.retry(|cluster| {
            let node = cluster.coordinator(&self.membership.group)?;
            let answer = cluster.call_node(node, Lane::Group, self.membership.session, |version| {
                let request = HeartbeatRequest::default()
                    .with_group_id(GroupId(text(&self.membership.group)))
                    .with_generation_id(self.generation)
                    .with_member_id(text(&self.id));
                if version >= 3 { request.with_group_instance_id(self.instance()) } else { request }
            })?;
            let code = ErrorCode::from_code(answer.error_code);
            if code.is_retriable() { Err(ClientError::kafka(answer.error_code, None, self.what())) } else { Ok(code) }
        })?;
        self.standing(code)
    }

    /// Commits; [`Standing::Lost`] means that nothing was committed.
    pub(crate) fn commit(&mut self, cluster: &mut Cluster, offsets: &BTreeMap<Partition, Committed>) -> Result<Standing, ClientError> {
        if offsets.is_empty() {
            return Ok(Standing::Stable);
        }
        let (id, instance) = (self.id.clone(), self.membership.instance.clone());
        let by = Committer { member: &id, generation: self.generation, instance: instance.as_deref() };
        let group = self.membership.group.clone();
        let code = cluster.retry(|cluster| {
            let node = cluster.coordinator(&group)?;
            let wait = cluster.timeout();
            let make = |version| commit_request(&group, &by, offsets, version);
            let answer = cluster.call_node::<OffsetCommitRequest>(node, Lane::Group, wait, make)?;
            let codes = answer.topics.iter().flat_map(|t| &t.partitions).map(|p| p.error_code);
            match codes.into_iter().find(|code| *code != 0) {
                Some(code) if ErrorCode::from_code(code).is_retriable() => {
                    Err(ClientError::kafka(code, None, format!("committing offsets of group '{group}'")))
                }
                code => Ok(ErrorCode::from_code(code.unwrap_or(0))),
            }
        })?;
        self.standing(code)
    }

    fn standing(&mut self, code: ErrorCode) -> Result<Standing, ClientError> {
        match code {
            ErrorCode::None => Ok(Standing::Stable),
            ErrorCode::RebalanceInProgress => Ok(Standing::Rebalancing),
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => {
                if code == ErrorCode::UnknownMemberId {
                    self.id.clear();
                }
                Ok(Standing::Lost)
            }
            code => Err(ClientError::kafka(code.code(), None, self.what())),
        }
    }

    /// Leaves, so that others need not wait for the session's end. A static member stays: it is expected back.
    pub(crate) fn leave(&mut self, cluster: &mut Cluster) -> Result<(), ClientError> {
        if self.id.is_empty() || self.membership.instance.is_some() {
            return Ok(());
        }
        let node = cluster.coordinator(&self.membership.group)?;
        let answer = cluster.call_node(node, Lane::Group, cluster.timeout(), |version| {
            let request = LeaveGroupRequest::default().with_group_id(GroupId(text(&self.membership.group)));
            if version >= 3 {
                request.with_members(vec![MemberIdentity::default().with_member_id(text(&self.id))])
            } else {
                request.with_member_id(text(&self.id))
            }
        })?;
        self.id.clear();
        ClientError::check(answer.error_code, None, || self.what())
    }
}
