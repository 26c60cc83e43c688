//! Server-side assignors (KIP-848): members, their topics and what they have in, who is to have what out. Pure functions.
//!
//! `uniform`: balanced and sticky. `range`: the same ranges of every topic, so that topics with equally many partitions are co-partitioned.

mod range;
#[cfg(test)]
mod tests;
mod uniform;

use std::collections::{BTreeMap, BTreeSet};

use coreline_wire::TopicId;

use crate::coordinator::consumer_record::Partitions;

/// A member as an assignor sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct Subscriber<'a> {
    /// KIP-345: its static name.
    pub(super) instance_id: Option<&'a str>,
    /// The topics that it subscribes; all of them exist.
    pub(super) topics: BTreeSet<TopicId>,
    /// What it was to have so far.
    pub(super) target: Option<&'a Partitions>,
}

/// What an assignor works on.
#[derive(Clone, Debug, Default)]
pub(super) struct GroupSpec<'a> {
    /// Members by id.
    pub(super) members: BTreeMap<&'a str, Subscriber<'a>>,
    /// Number of partitions of each topic that a member subscribes.
    pub(super) topics: BTreeMap<TopicId, i32>,
}

/// A server-side assignor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Assignor {
    /// Balanced and sticky.
    Uniform,
    /// Ranges of each topic.
    Range,
}

impl Assignor {
    /// All of them, by name.
    pub const ALL: [Assignor; 2] = [Assignor::Range, Assignor::Uniform];

    /// Its name in the protocol and in `group.consumer.assignors`.
    pub const fn name(self) -> &'static str {
        match self {
            Assignor::Uniform => "uniform",
            Assignor::Range => "range",
        }
    }

    /// The assignor of this name.
    pub fn from_name(name: &str) -> Option<Assignor> {
        Assignor::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    /// Everybody's partitions; a member without any is left out.
    pub(super) fn assign(self, spec: &GroupSpec<'_>) -> BTreeMap<String, Partitions> {
        if spec.members.is_empty() {
            return BTreeMap::new();
        }
        match self {
            Assignor::Uniform => uniform::assign(spec),
            Assignor::Range => range::assign(spec),
        }
    }
}
