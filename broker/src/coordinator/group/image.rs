//! The durable image of one partition of `__consumer_offsets`: what a restart would know. Changed by [`Image::replay`] alone.

use std::collections::BTreeMap;

use super::consumer::ConsumerState;
use crate::coordinator::record::{GroupValue, OffsetValue, Record};

/// Groups and committed offsets, as the log has them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Image {
    /// Classic groups by id.
    pub groups: BTreeMap<String, GroupValue>,
    /// Consumer groups by id. None of which nothing is known is kept.
    pub consumer: BTreeMap<String, ConsumerState>,
    /// Committed offsets by group, then topic, then partition. No empty maps are kept.
    pub offsets: BTreeMap<String, BTreeMap<String, BTreeMap<i32, OffsetValue>>>,
}

impl Image {
    /// Applies one record. The same at start-up and after an append; it cannot fail.
    pub fn replay(&mut self, record: &Record) {
        match record {
            Record::Group { group, value: Some(value) } => {
                self.groups.insert(group.clone(), value.clone());
            }
            Record::Group { group, value: None } => {
                self.groups.remove(group);
            }
            Record::Offset { group, topic, partition, value: Some(value) } => {
                let topics = self.offsets.entry(group.clone()).or_default();
                topics.entry(topic.clone()).or_default().insert(*partition, value.clone());
            }
            Record::Consumer(record) => {
                let state = self.consumer.entry(record.group().to_owned()).or_default();
                state.replay(record);
                if state.is_unknown() {
                    self.consumer.remove(record.group());
                }
            }
            Record::Offset { group, topic, partition, value: None } => self.forget_offset(group, topic, *partition),
        }
    }

    /// The committed offset of one partition.
    pub fn offset(&self, group: &str, topic: &str, partition: i32) -> Option<&OffsetValue> {
        self.offsets.get(group)?.get(topic)?.get(&partition)
    }

    /// Whether the log knows anything of the group.
    pub fn knows(&self, group: &str) -> bool {
        self.groups.contains_key(group) || self.offsets.contains_key(group) || self.consumer.contains_key(group)
    }

    fn forget_offset(&mut self, group: &str, topic: &str, partition: i32) {
        let Some(topics) = self.offsets.get_mut(group) else { return };
        if let Some(partitions) = topics.get_mut(topic) {
            partitions.remove(&partition);
            if partitions.is_empty() {
                topics.remove(topic);
            }
        }
        if topics.is_empty() {
            self.offsets.remove(group);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(partition: i32, value: Option<i64>) -> Record {
        let value = value.map(|offset| OffsetValue {
            offset,
            leader_epoch: -1,
            metadata: String::new(),
            commit_timestamp_ms: 0,
            expire_timestamp_ms: -1,
            topic_id: coreline_wire::TopicId::ZERO,
        });
        Record::Offset { group: "g".into(), topic: "t".into(), partition, value }
    }

    #[test]
    fn the_last_record_of_a_key_counts_and_a_tombstone_leaves_nothing_behind() {
        let mut image = Image::default();
        for record in [offset(0, Some(1)), offset(0, Some(2)), offset(1, Some(9))] {
            image.replay(&record);
        }
        assert_eq!(image.offset("g", "t", 0).map(|value| value.offset), Some(2));
        for record in [offset(0, None), offset(1, None), offset(7, None)] {
            image.replay(&record);
        }
        assert_eq!(image, Image::default());
        assert!(!image.knows("g"));
    }
}
