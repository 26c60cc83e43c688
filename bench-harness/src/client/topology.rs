//! `Topology`: the topics of a run and who leads their partitions. Replaced as a whole when it changes; nodes keep their index.

use std::net::SocketAddr;

use coreline_wire::TopicId;

use super::versions::Versions;

/// A partition counted over all topics of the run: `topic * partitions + partition`.
pub type PartitionNumber = u32;

/// A topic as an answer names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicRef<'a> {
    /// By name, up to version 12 of Produce and Fetch.
    Name(&'a [u8]),
    /// By id, from version 13 on.
    Id(TopicId),
}

/// A broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: i32,
    /// Where it listens.
    pub address: SocketAddr,
}

/// Topics, partitions, leaders.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    /// Brokers; one that has left keeps its place.
    pub nodes: Vec<Node>,
    /// Names of the topics of this run.
    pub topics: Vec<String>,
    /// Their ids, in the same order; zero where the server has none.
    pub ids: Vec<TopicId>,
    /// Partitions of each topic.
    pub partitions: u32,
    /// Index into `nodes` of each partition's leader.
    pub leaders: Vec<Option<u16>>,
    /// What is spoken with them.
    pub versions: Versions,
}

impl Topology {
    /// All partitions.
    pub fn count(&self) -> u32 {
        self.topics.len() as u32 * self.partitions
    }

    /// Topic index and partition of a number.
    pub fn split(&self, number: PartitionNumber) -> (usize, i32) {
        ((number / self.partitions) as usize, (number % self.partitions) as i32)
    }

    /// The id of a topic by index; zero where the server has none.
    pub fn id(&self, topic: usize) -> TopicId {
        self.ids.get(topic).copied().unwrap_or_default()
    }

    /// The number of a partition of a topic, if it is one of this run's. `hint` is the index of the topic that is looked at first.
    pub fn number(&self, topic: TopicRef<'_>, partition: i32, hint: usize) -> Option<PartitionNumber> {
        let partition = u32::try_from(partition).ok().filter(|p| *p < self.partitions)?;
        let is = |i: usize| match topic {
            TopicRef::Name(name) => self.topics.get(i).is_some_and(|t| t.as_bytes() == name),
            TopicRef::Id(id) => self.ids.get(i).is_some_and(|known| *known == id),
        };
        let index = if is(hint) { hint } else { (0..self.topics.len()).find(|i| is(*i))? };
        Some(index as u32 * self.partitions + partition)
    }

    /// The leader's index of a partition.
    pub fn leader(&self, number: PartitionNumber) -> Option<u16> {
        self.leaders.get(number as usize).copied().flatten()
    }
}
