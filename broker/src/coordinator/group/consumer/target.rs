//! When the group's epoch rises, and the target assignment that follows it.

use std::collections::{BTreeMap, BTreeSet};

use coreline_wire::TopicId;

use super::View;
use super::assignor::{Assignor, GroupSpec, Subscriber};
use super::draft::Draft;
use super::state::ConsumerState;
use crate::coordinator::cluster::Cluster;
use crate::coordinator::consumer_record::{EpochValue, MemberValue, Partitions, TargetEpochValue};

/// Raises the epoch when a subscription changed, or when the subscribed topics are not what they were. A new group begins at epoch 1, and
/// at 2 when its first member wants topics, as in Kafka.
pub(super) fn raise_epoch(view: &View<'_>, draft: &mut Draft<'_>, changed: bool) {
    let metadata_hash = metadata_hash(draft.state(), view.cluster);
    let state = draft.state();
    let wants_topics = |member: &MemberValue| !member.topics.is_empty() || member.regex.as_ref().is_some_and(|regex| !regex.is_empty());
    let epoch = match state.epoch {
        Some(known) if !changed && known.metadata_hash == metadata_hash => return,
        Some(known) => known.epoch.saturating_add(1),
        None => 1 + i32::from(state.members.values().any(wants_topics)),
    };
    draft.set_epoch(EpochValue { epoch, metadata_hash });
}

/// Raises the epoch without looking at anything else: a member is gone.
pub(super) fn raise_epoch_after_loss(view: &View<'_>, draft: &mut Draft<'_>) {
    raise_epoch(view, draft, true);
}

/// Of the names, ids and partition counts of all subscribed topics that exist; 0 when there are none.
fn metadata_hash(state: &ConsumerState, cluster: &Cluster) -> i64 {
    let names: BTreeSet<&str> = state.members.values().flat_map(|member| state.topics_of(member)).collect();
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut any = false;
    for name in names {
        let Some((id, partitions)) = cluster.topic(name) else { continue };
        any = true;
        for byte in name.bytes().chain([0]).chain(id.0).chain(partitions.to_be_bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    if any { (hash ^ (hash >> 32)) as i64 | 1 } else { 0 }
}

/// Computes the target anew when the group's epoch is ahead of it.
pub(super) fn follow_epoch(view: &View<'_>, draft: &mut Draft<'_>) {
    let state = draft.state();
    let epoch = state.group_epoch();
    if epoch <= state.assignment_epoch() {
        return;
    }
    let assignor = state.preferred_assignor().and_then(Assignor::from_name).unwrap_or(view.config.consumer_assignor());
    let assigned = assignor.assign(&spec(state, view.cluster));
    tracing::info!(
        group = %view.group_id, epoch, assignor = assignor.name(), members = state.members.len(),
        "a target assignment is computed"
    );
    let members: Vec<String> = state.members.keys().cloned().collect();
    for member in members {
        let target = assigned.get(&member).cloned().unwrap_or_default();
        if draft.state().targets.get(&member) != Some(&target) {
            draft.set_target(&member, target);
        }
    }
    draft.set_target_epoch(TargetEpochValue { epoch, timestamp_ms: view.now.wall_ms });
}

fn spec<'a>(state: &'a ConsumerState, cluster: &Cluster) -> GroupSpec<'a> {
    let mut found: BTreeMap<&str, Option<(TopicId, i32)>> = BTreeMap::new();
    let mut spec = GroupSpec::default();
    for (id, member) in &state.members {
        let mut topics = BTreeSet::new();
        for name in state.topics_of(member) {
            if let Some((topic, partitions)) = *found.entry(name).or_insert_with(|| cluster.topic(name)) {
                topics.insert(topic);
                spec.topics.insert(topic, partitions);
            }
        }
        let subscriber = Subscriber { instance_id: member.instance_id.as_deref(), topics, target: state.targets.get(id) };
        spec.members.insert(id, subscriber);
    }
    spec
}

/// True when all of `some` is in `all`.
pub(super) fn is_within(some: &Partitions, all: &crate::coordinator::consumer_record::OwnedPartitions) -> bool {
    let has = |topic: &TopicId, partition: &i32| all.get(topic).is_some_and(|had| had.contains_key(partition));
    some.iter().all(|(topic, partitions)| partitions.iter().all(|partition| has(topic, partition)))
}
