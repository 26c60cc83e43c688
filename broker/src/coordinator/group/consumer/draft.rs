//! A decision in the making: the group as the log has it, changed by the records that the decision wants to write.
//!
//! What a record does is said once, by [`ConsumerState::replay`]; the state is copied by the first record only.

use std::borrow::Cow;

use super::state::ConsumerState;
use crate::coordinator::consumer_record::{
    ConsumerRecord, CurrentValue, EpochValue, MemberValue, Partitions, RegexValue, TargetEpochValue,
};

/// A state and the records that lead to it.
pub(super) struct Draft<'a> {
    group: &'a str,
    state: Cow<'a, ConsumerState>,
    pub(super) records: Vec<ConsumerRecord>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(group: &'a str, state: Cow<'a, ConsumerState>) -> Self {
        Draft { group, state, records: Vec::new() }
    }

    pub(super) fn state(&self) -> &ConsumerState {
        &self.state
    }

    pub(super) fn push(&mut self, record: ConsumerRecord) {
        self.state.to_mut().replay(&record);
        self.records.push(record);
    }

    pub(super) fn set_epoch(&mut self, value: EpochValue) {
        self.push(ConsumerRecord::Epoch { group: self.group.to_owned(), value: Some(value) });
    }

    pub(super) fn set_target_epoch(&mut self, value: TargetEpochValue) {
        self.push(ConsumerRecord::TargetEpoch { group: self.group.to_owned(), value: Some(value) });
    }

    pub(super) fn set_member(&mut self, member: &str, value: MemberValue) {
        self.push(ConsumerRecord::Member { group: self.group.to_owned(), member: member.to_owned(), value: Some(Box::new(value)) });
    }

    pub(super) fn set_target(&mut self, member: &str, value: Partitions) {
        self.push(ConsumerRecord::Target { group: self.group.to_owned(), member: member.to_owned(), value: Some(value) });
    }

    pub(super) fn set_current(&mut self, member: &str, value: CurrentValue) {
        self.push(ConsumerRecord::Current { group: self.group.to_owned(), member: member.to_owned(), value: Some(value) });
    }

    pub(super) fn set_regex(&mut self, regex: &str, value: Option<RegexValue>) {
        self.push(ConsumerRecord::Regex { group: self.group.to_owned(), regex: regex.to_owned(), value });
    }

    /// Takes a member out. What it owned is free.
    pub(super) fn remove(&mut self, member: &str) {
        let (group, member) = (|| self.group.to_owned(), || member.to_owned());
        let records = [
            self.state.current.contains_key(&member()).then(|| ConsumerRecord::Current { group: group(), member: member(), value: None }),
            self.state.targets.contains_key(&member()).then(|| ConsumerRecord::Target { group: group(), member: member(), value: None }),
            Some(ConsumerRecord::Member { group: group(), member: member(), value: None }),
        ];
        records.into_iter().flatten().for_each(|record| self.push(record));
    }
}
