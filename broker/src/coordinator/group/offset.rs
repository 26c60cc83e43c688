//! OffsetCommit and OffsetFetch: whose offsets are taken, and what is told of them.

use coreline_wire::TopicId;
use coreline_wire::error_code::ErrorCode;

use super::state::ClassicState;
use super::write::PendingWrite;
use super::{ClassicGroup, Context, Group, Slot, TEXT_BYTES_MAX, Token};
use crate::coordinator::record::{OffsetValue, Record};
use crate::coordinator::request::{CommitAnswer, FetchAnswer, FetchedOffset, GroupResponse, OffsetCommit, OffsetFetch, TopicCommit};

impl Slot {
    /// Takes the offsets of a member of the running generation, or of a consumer that does without group management.
    pub(super) fn commit(&mut self, ctx: &mut Context<'_>, token: Token, request: OffsetCommit, is_full: bool) {
        let error = self.validate_commit(&request, is_full);
        if !error.is_ok() {
            return ctx.answer(token, GroupResponse::Commit(request.refuse(error)));
        }
        if let Some(group) = self.classic(&request.group_id) {
            group.touch(ctx, &request.member_id);
        }
        let (records, answer) = commit_records(ctx, request);
        if records.is_empty() {
            return ctx.answer(token, GroupResponse::Commit(answer));
        }
        ctx.append(records, PendingWrite::Commit { token, answer });
    }

    fn validate_commit(&self, request: &OffsetCommit, is_full: bool) -> ErrorCode {
        match self.groups.get(request.group_id.as_str()) {
            Some(Group::Classic(group)) => group.validate_commit(request),
            // Looked at before it came here.
            Some(Group::Consumer(_)) => ErrorCode::None,
            None if request.generation_id < 0 && is_full => ErrorCode::CoordinatorNotAvailable,
            // A simple consumer or an administrator: the group comes into being with its offsets.
            None if request.generation_id < 0 => ErrorCode::None,
            None if request.tells_missing_group => ErrorCode::GroupIdNotFound,
            None => ErrorCode::IllegalGeneration,
        }
    }

    /// Tells the durable offsets; a group that does not exist has none, which is no error.
    pub(super) fn fetch(&mut self, ctx: &mut Context<'_>, token: Token, request: OffsetFetch) {
        let known = self.image.offsets.get(&request.group_id);
        let topics = match request.topics {
            Some(topics) => {
                let fetch = |name: &str, partition| match known.and_then(|topics| topics.get(name)?.get(&partition)) {
                    Some(value) => fetched(partition, value),
                    None => FetchedOffset::none(partition),
                };
                let partitions = |name: &str, partitions: &[i32]| partitions.iter().map(|p| fetch(name, *p)).collect();
                topics.into_iter().map(|(name, wanted)| (name.clone(), partitions(&name, &wanted))).collect()
            }
            None => {
                let all = known.into_iter().flatten();
                all.map(|(name, partitions)| (name.clone(), partitions.iter().map(|(p, value)| fetched(*p, value)).collect())).collect()
            }
        };
        ctx.answer(token, GroupResponse::Fetch(FetchAnswer { error: ErrorCode::None, topics }));
    }
}

fn fetched(partition: i32, value: &OffsetValue) -> FetchedOffset {
    FetchedOffset { partition, offset: value.offset, leader_epoch: value.leader_epoch, metadata: value.metadata.clone() }
}

fn commit_records(ctx: &Context<'_>, request: OffsetCommit) -> (Vec<Record>, CommitAnswer) {
    let metadata_bytes_max = ctx.config.offset_metadata_max_bytes.min(TEXT_BYTES_MAX);
    let commit_timestamp_ms = ctx.now.wall_ms;
    let has_expiry = request.retention_ms >= 0;
    let expire_timestamp_ms = if has_expiry { commit_timestamp_ms.saturating_add(request.retention_ms) } else { -1 };
    let mut records = Vec::new();
    let mut answer = CommitAnswer::default();
    for TopicCommit { name: topic, id: topic_id, partitions } in request.topics {
        let mut outcomes = Vec::with_capacity(partitions.len());
        for commit in partitions {
            if !commit.refused.is_ok() {
                outcomes.push((commit.partition, commit.refused));
                continue;
            }
            let metadata = commit.metadata.unwrap_or_default();
            if metadata.len() > metadata_bytes_max || topic.len() > TEXT_BYTES_MAX {
                outcomes.push((commit.partition, ErrorCode::OffsetMetadataTooLarge));
                continue;
            }
            outcomes.push((commit.partition, ErrorCode::None));
            let value = OffsetValue {
                offset: commit.offset,
                // The record that holds an expiry has no room for epoch and id: what is not kept is not told either.
                leader_epoch: if has_expiry { -1 } else { commit.leader_epoch },
                topic_id: if has_expiry { TopicId::ZERO } else { topic_id },
                metadata,
                commit_timestamp_ms,
                expire_timestamp_ms,
            };
            let group = request.group_id.clone();
            records.push(Record::Offset { group, topic: topic.clone(), partition: commit.partition, value: Some(value) });
        }
        answer.topics.push((topic, outcomes));
    }
    (records, answer)
}

impl ClassicGroup {
    fn validate_commit(&self, request: &OffsetCommit) -> ErrorCode {
        if request.generation_id < 0 && self.is(ClassicState::Empty) {
            return ErrorCode::None;
        }
        if request.generation_id < 0 && request.member_id.is_empty() && request.instance_id.is_none() {
            // Nobody commits past the members of a group that is in use.
            return ErrorCode::UnknownMemberId;
        }
        let error = self.validate_member(&request.member_id, request.instance_id.as_deref());
        if !error.is_ok() {
            return error;
        }
        if request.generation_id != self.generation_id {
            return ErrorCode::IllegalGeneration;
        }
        // The member is of this generation, but does not own anything before it has its assignment.
        if self.is(ClassicState::CompletingRebalance) {
            return ErrorCode::RebalanceInProgress;
        }
        ErrorCode::None
    }
}
