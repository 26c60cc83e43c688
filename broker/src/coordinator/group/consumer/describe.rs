//! ConsumerGroupDescribe: the group as the log has it.

use coreline_wire::error_code::ErrorCode;

use super::Assignor;
use super::state::ConsumerState;
use crate::coordinator::cluster::Cluster;
use crate::coordinator::consumer_record::{CurrentValue, MemberValue, Partitions};
use crate::coordinator::consumer_request::{ConsumerDescribeAnswer, DescribedConsumer, TopicShare, without_epochs};

/// Describes a group. Topics that are gone are left out.
pub(super) fn describe(state: &ConsumerState, cluster: &Cluster, default: Assignor) -> ConsumerDescribeAnswer {
    let member = |(id, member): (&String, &MemberValue)| {
        let current = state.current_of(id);
        DescribedConsumer {
            member_id: id.clone(),
            instance_id: member.instance_id.clone(),
            rack_id: member.rack_id.clone(),
            epoch: current.epoch,
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            topics: member.topics.iter().cloned().collect(),
            regex: member.regex.clone().filter(|regex| !regex.is_empty()),
            assignment: shares(&held(&current), cluster),
            target: state.targets.get(id).map(|target| shares(target, cluster)).unwrap_or_default(),
            is_classic: member.classic.is_some(),
        }
    };
    ConsumerDescribeAnswer {
        error: ErrorCode::None,
        message: None,
        state: state.state().name().to_owned(),
        epoch: state.group_epoch(),
        assignment_epoch: state.assignment_epoch(),
        assignor: state.preferred_assignor().unwrap_or(default.name()).to_owned(),
        members: state.members.iter().map(member).collect(),
    }
}

/// What the member has, with what it has not yet confirmed to be given up.
fn held(current: &CurrentValue) -> Partitions {
    let mut held = without_epochs(&current.assigned);
    for (topic, partitions) in without_epochs(&current.revoking) {
        held.entry(topic).or_default().extend(partitions);
    }
    held
}

fn shares(partitions: &Partitions, cluster: &Cluster) -> Vec<TopicShare> {
    let share = |(id, partitions): (&coreline_wire::TopicId, &std::collections::BTreeSet<i32>)| {
        let name = cluster.name(*id)?.to_owned();
        Some(TopicShare { id: *id, name, partitions: partitions.iter().copied().collect() })
    };
    partitions.iter().filter_map(share).collect()
}
