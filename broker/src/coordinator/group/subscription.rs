//! Which topics the members of a classic group read: known when they are consumers, told in the blob that they give with their protocol.
//!
//! It decides which offsets are in use and so can be neither deleted nor expire. Callers: `admin`, `retention`.

use std::collections::BTreeSet;

use super::embedded::{self, CONSUMER};
use super::{ClassicGroup, ClassicState};

impl ClassicGroup {
    /// Its members are consumers, which tell what they read.
    pub(super) fn is_of_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// Whether offsets of this topic are in use. When consumers tell what they read in a way that we cannot read, everything is.
    pub(super) fn is_subscribed(&self, topic: &str) -> bool {
        self.subscribed.as_ref().map_or(self.is_of_consumers(), |topics| topics.contains(topic))
    }

    /// What the members read, for the generation that begins. `None` when that is not known.
    pub(super) fn subscriptions(&self) -> Option<BTreeSet<String>> {
        if !self.is_of_consumers() {
            return None;
        }
        let mut topics = BTreeSet::new();
        if self.is(ClassicState::Empty) && self.members.is_empty() {
            return Some(topics);
        }
        let protocol = self.protocol_name.as_deref();
        for member in self.members.values() {
            let metadata = member.metadata(protocol?);
            topics.extend(embedded::topics(&metadata).ok()?);
        }
        Some(topics)
    }
}
