//! A consumer group as the log has it: members, epochs, target, who owns what. Changed by [`ConsumerState::replay`] alone.
//!
//! Each kind of record has its own map, so that records count in whatever order compaction leaves them. The owner of a partition and the
//! member of a static name follow from them and are kept beside.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use coreline_wire::TopicId;

use crate::coordinator::consumer_record::{
    ConsumerRecord, CurrentValue, EpochValue, MemberState, MemberValue, OwnedPartitions, Partitions, RegexValue, TargetEpochValue,
};

/// Epoch of a static member that is away for a while.
pub(super) const STATIC_LEAVE_EPOCH: i32 = -2;
/// Epoch of a member that leaves.
pub(super) const LEAVE_EPOCH: i32 = -1;

/// A consumer group as the log has it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ConsumerState {
    /// Its epoch; `None` when the group is not (any more) one of this kind.
    pub epoch: Option<EpochValue>,
    /// Epoch of the target assignment.
    pub target_epoch: Option<TargetEpochValue>,
    /// Members by id, as they described themselves.
    pub members: BTreeMap<String, MemberValue>,
    /// What each member is to have.
    pub targets: BTreeMap<String, Partitions>,
    /// What each member has.
    pub current: BTreeMap<String, CurrentValue>,
    /// What subscribed expressions match.
    pub regexes: BTreeMap<String, RegexValue>,
    owners: BTreeMap<TopicId, BTreeMap<i32, String>>,
    instances: BTreeMap<String, String>,
}

/// What ConsumerGroupDescribe and ListGroups call a group's state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ConsumerGroupState {
    /// No members.
    Empty,
    /// The target is behind the group's epoch.
    Assigning,
    /// Members are on their way to the target.
    Reconciling,
    /// Every member has its target.
    Stable,
}

impl ConsumerGroupState {
    /// Its name in the protocol.
    pub const fn name(self) -> &'static str {
        match self {
            ConsumerGroupState::Empty => "Empty",
            ConsumerGroupState::Assigning => "Assigning",
            ConsumerGroupState::Reconciling => "Reconciling",
            ConsumerGroupState::Stable => "Stable",
        }
    }
}

impl fmt::Display for ConsumerGroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ConsumerState {
    /// Applies one record of this group. It cannot fail.
    pub fn replay(&mut self, record: &ConsumerRecord) {
        match record {
            ConsumerRecord::Epoch { value, .. } => self.epoch = *value,
            ConsumerRecord::TargetEpoch { value, .. } => self.target_epoch = *value,
            ConsumerRecord::Member { member, value, .. } => self.replay_member(member, value.as_deref()),
            ConsumerRecord::Target { member, value, .. } => put(&mut self.targets, member, value.as_ref()),
            ConsumerRecord::Current { member, value, .. } => self.replay_current(member, value.as_ref()),
            ConsumerRecord::Regex { regex, value, .. } => put(&mut self.regexes, regex, value.as_ref()),
        }
    }

    fn replay_member(&mut self, member: &str, value: Option<&MemberValue>) {
        let before = self.members.get(member).and_then(|value| value.instance_id.clone());
        if let Some(instance) = before
            && self.instances.get(&instance).is_some_and(|current| current == member)
        {
            self.instances.remove(&instance);
        }
        if let Some(instance) = value.and_then(|value| value.instance_id.clone()) {
            self.instances.insert(instance, member.to_owned());
        }
        put(&mut self.members, member, value);
    }

    fn replay_current(&mut self, member: &str, value: Option<&CurrentValue>) {
        if let Some(before) = self.current.remove(member) {
            for (topic, partition) in each(&before.assigned).chain(each(&before.revoking)) {
                let Some(owners) = self.owners.get_mut(&topic) else { continue };
                if owners.get(&partition).is_some_and(|owner| owner == member) {
                    owners.remove(&partition);
                }
                if owners.is_empty() {
                    self.owners.remove(&topic);
                }
            }
        }
        if let Some(value) = value {
            for (topic, partition) in each(&value.assigned).chain(each(&value.revoking)) {
                self.owners.entry(topic).or_default().insert(partition, member.to_owned());
            }
            self.current.insert(member.to_owned(), value.clone());
        }
    }

    /// True when the log knows nothing of the group.
    pub fn is_unknown(&self) -> bool {
        *self == ConsumerState::default()
    }

    /// The group's epoch; 0 before the first.
    pub fn group_epoch(&self) -> i32 {
        self.epoch.map_or(0, |epoch| epoch.epoch)
    }

    /// Epoch of the target assignment; 0 before the first.
    pub fn assignment_epoch(&self) -> i32 {
        self.target_epoch.map_or(0, |target| target.epoch)
    }

    /// The member that has a partition, or must still give it up.
    pub fn owner(&self, topic: TopicId, partition: i32) -> Option<&str> {
        self.owners.get(&topic)?.get(&partition).map(String::as_str)
    }

    /// The member with a static name.
    pub fn static_member(&self, instance: &str) -> Option<&str> {
        self.instances.get(instance).map(String::as_str)
    }

    /// What a member has; nothing at epoch 0 for one that is new.
    pub fn current_of(&self, member: &str) -> CurrentValue {
        self.current.get(member).cloned().unwrap_or_else(|| CurrentValue { previous_epoch: -1, ..CurrentValue::default() })
    }

    /// Epoch of a member.
    pub fn member_epoch(&self, member: &str) -> i32 {
        self.current.get(member).map_or(0, |current| current.epoch)
    }

    /// Where the group is.
    pub fn state(&self) -> ConsumerGroupState {
        if self.members.is_empty() {
            return ConsumerGroupState::Empty;
        }
        if self.group_epoch() > self.assignment_epoch() {
            return ConsumerGroupState::Assigning;
        }
        let reconciled = |member| {
            let current = self.current.get(member);
            current.is_some_and(|current| current.state == MemberState::Stable && current.epoch == self.assignment_epoch())
        };
        if self.members.keys().all(reconciled) { ConsumerGroupState::Stable } else { ConsumerGroupState::Reconciling }
    }

    /// True when some member subscribes the topic, by name or by expression.
    pub fn subscribes(&self, topic: &str) -> bool {
        self.members.values().any(|member| member.topics.contains(topic) || self.matched(member).is_some_and(|names| names.contains(topic)))
    }

    /// What a member's expression matches, once that is known.
    pub fn matched(&self, member: &MemberValue) -> Option<&BTreeSet<String>> {
        let regex = member.regex.as_deref().filter(|regex| !regex.is_empty())?;
        self.regexes.get(regex).map(|value| &value.topics)
    }

    /// Names of the topics that a member subscribes, by name or by expression.
    pub fn topics_of<'a>(&'a self, member: &'a MemberValue) -> impl Iterator<Item = &'a str> {
        member.topics.iter().chain(self.matched(member).into_iter().flatten()).map(String::as_str)
    }

    /// Members that speak the classic protocol.
    pub fn classic_members(&self) -> usize {
        self.members.values().filter(|member| member.classic.is_some()).count()
    }

    /// The assignor that most members prefer; between equals the first by name.
    pub fn preferred_assignor(&self) -> Option<&str> {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for name in self.members.values().filter_map(|member| member.assignor.as_deref()) {
            *votes.entry(name).or_default() += 1;
        }
        let most = votes.values().copied().max()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name)
    }

    /// The records that make the log forget the group.
    pub fn tombstones(&self, group: &str) -> Vec<ConsumerRecord> {
        let group = || group.to_owned();
        let mut records = Vec::new();
        for member in self.current.keys() {
            records.push(ConsumerRecord::Current { group: group(), member: member.clone(), value: None });
        }
        for member in self.targets.keys() {
            records.push(ConsumerRecord::Target { group: group(), member: member.clone(), value: None });
        }
        if self.target_epoch.is_some() {
            records.push(ConsumerRecord::TargetEpoch { group: group(), value: None });
        }
        for member in self.members.keys() {
            records.push(ConsumerRecord::Member { group: group(), member: member.clone(), value: None });
        }
        for regex in self.regexes.keys() {
            records.push(ConsumerRecord::Regex { group: group(), regex: regex.clone(), value: None });
        }
        if self.epoch.is_some() {
            records.push(ConsumerRecord::Epoch { group: group(), value: None });
        }
        records
    }

    /// Asserts what must hold of a state that came about in one history, not of one read half.
    pub fn check(&self, group: &str) {
        let mut owned = 0;
        for (member, current) in &self.current {
            assert!(self.members.contains_key(member), "group {group:?}: {member:?} has partitions and is no member");
            for (topic, partition) in each(&current.assigned).chain(each(&current.revoking)) {
                owned += 1;
                assert_eq!(self.owner(topic, partition), Some(member.as_str()), "group {group:?}: {topic}-{partition} has two owners");
            }
        }
        assert_eq!(owned, self.owners.values().map(BTreeMap::len).sum::<usize>(), "group {group:?}: owners without members");
        for member in self.targets.keys() {
            assert!(self.members.contains_key(member), "group {group:?}: {member:?} has a target and is no member");
        }
        for (instance, member) in &self.instances {
            let carried = self.members.get(member).and_then(|value| value.instance_id.as_ref());
            assert_eq!(carried, Some(instance), "group {group:?}: static {instance:?} maps to {member:?}");
        }
        assert!(self.assignment_epoch() <= self.group_epoch(), "group {group:?}: the target is ahead of the group");
    }
}

/// The partitions of a map.
pub(super) fn each(owned: &OwnedPartitions) -> impl Iterator<Item = (TopicId, i32)> {
    owned.iter().flat_map(|(topic, partitions)| partitions.keys().map(|partition| (*topic, *partition)))
}

fn put<V: Clone>(map: &mut BTreeMap<String, V>, key: &str, value: Option<&V>) {
    match value {
        Some(value) => drop(map.insert(key.to_owned(), value.clone())),
        None => drop(map.remove(key)),
    }
}
