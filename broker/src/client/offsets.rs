//! Offsets: ListOffsets over all leaders; a group's committed offsets read, written and deleted.

use std::collections::BTreeMap;

use coreline_wire::ErrorCode;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::{
    GroupId, ListOffsetsRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, OffsetFetchResponse,
    list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
};

use super::{ClientError, Cluster, Partition, To, text, topic_name};

/// Asks for the first offset (ListOffsets' timestamp).
pub(crate) const EARLIEST: i64 = -2;
/// Asks for the end.
pub(crate) const LATEST: i64 = -1;

/// What ListOffsets says of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetAt {
    /// -1 when no record is as young.
    pub(crate) offset: i64,
    /// Milliseconds since 1970, -1 when not asked by time.
    pub(crate) timestamp: i64,
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) offset: i64,
    pub(crate) metadata: String,
}

/// Who commits: nobody in particular, or a member of a generation.
#[derive(Clone, Debug)]
pub(crate) struct Committer<'a> {
    pub(crate) member: &'a str,
    pub(crate) generation: i32,
    pub(crate) instance: Option<&'a str>,
}

/// A commit from outside the group.
pub(crate) const OUTSIDE: Committer<'static> = Committer { member: "", generation: -1, instance: None };

impl Cluster {
    /// Offsets by time (milliseconds, or [`EARLIEST`] and the like) of partitions; `committed` looks at committed transactions only.
    pub(crate) fn list_offsets(
        &mut self,
        asks: &BTreeMap<Partition, i64>,
        committed: bool,
    ) -> Result<BTreeMap<Partition, OffsetAt>, ClientError> {
        let mut found = BTreeMap::new();
        self.retry(|cluster| {
            let open: Vec<Partition> = asks.keys().filter(|p| !found.contains_key(*p)).cloned().collect();
            let mut failed = None;
            for (node, partitions) in cluster.by_leader(&open)? {
                let timeout_ms = cluster.timeout_ms();
                let answer = cluster.call(&To::Node(node), |version| {
                    let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(by_topic(
                        &partitions,
                        |p| {
                            ListOffsetsPartition::default().with_partition_index(p.1).with_timestamp(asks.get(p).copied().unwrap_or(LATEST))
                        },
                        |name, partitions| ListOffsetsTopic::default().with_name(topic_name(name)).with_partitions(partitions),
                    ));
                    // KIP-1075.
                    let request = if version >= 10 { request.with_timeout_ms(timeout_ms) } else { request };
                    // Version 1 knows no transactions.
                    if version >= 2 { request.with_isolation_level(i8::from(committed)) } else { request }
                })?;
                for topic in answer.topics {
                    for p in topic.partitions {
                        let what = || format!("offsets of topic '{}' partition {}", topic.name.as_str(), p.partition_index);
                        match ClientError::check(p.error_code, None, what) {
                            Ok(()) => {
                                let at = OffsetAt { offset: p.offset, timestamp: p.timestamp };
                                found.insert((topic.name.to_string(), p.partition_index), at);
                            }
                            Err(error) if error.is_retriable() => failed = Some(error),
                            Err(error) => return Err(error),
                        }
                    }
                }
            }
            failed.map_or(Ok(()), Err)
        })?;
        Ok(found)
    }

    /// One kind of offset of all these partitions.
    pub(crate) fn offsets_at(
        &mut self,
        partitions: &[Partition],
        time: i64,
        committed: bool,
    ) -> Result<BTreeMap<Partition, OffsetAt>, ClientError> {
        self.list_offsets(&partitions.iter().map(|p| (p.clone(), time)).collect(), committed)
    }

    /// A group's committed offsets, those below zero (none) left out.
    pub(crate) fn committed(&mut self, group: &str) -> Result<BTreeMap<Partition, Committed>, ClientError> {
        let to = To::Coordinator(group.to_string());
        let make = |version: i16| {
            let request = OffsetFetchRequest::default();
            if version >= 8 {
                let group = OffsetFetchRequestGroup::default().with_group_id(GroupId(text(group))).with_topics(None);
                // Since version 9 a group of the consumer protocol is asked by member; -1 asks from outside.
                request.with_groups(vec![if version >= 9 { group.with_member_epoch(-1) } else { group }])
            } else {
                request.with_group_id(GroupId(text(group))).with_topics(None)
            }
        };
        self.ask(&to, make, |answer: OffsetFetchResponse| read_committed(answer, group))
    }

    /// Commits offsets of a group; the first refusal is an error.
    pub(crate) fn commit(&mut self, group: &str, by: &Committer<'_>, offsets: &BTreeMap<Partition, Committed>) -> Result<(), ClientError> {
        if offsets.is_empty() {
            return Ok(());
        }
        let node = self.retry(|cluster| cluster.coordinator(group))?;
        let answer = self.call(&To::Node(node), |version| commit_request(group, by, offsets, version))?;
        for topic in answer.topics {
            for p in topic.partitions {
                ClientError::check(p.error_code, None, || {
                    format!("committing the offset of topic '{}' partition {} for group '{group}'", topic.name.as_str(), p.partition_index)
                })?;
            }
        }
        Ok(())
    }

    /// Deletes a group's committed offsets; error codes by partition.
    pub(crate) fn delete_committed(
        &mut self,
        group: &str,
        partitions: &[Partition],
    ) -> Result<BTreeMap<Partition, ErrorCode>, ClientError> {
        let to = To::Coordinator(group.to_string());
        let make = |_| {
            OffsetDeleteRequest::default().with_group_id(GroupId(text(group))).with_topics(by_topic(
                partitions,
                |p| OffsetDeleteRequestPartition::default().with_partition_index(p.1),
                |name, partitions| OffsetDeleteRequestTopic::default().with_name(topic_name(name)).with_partitions(partitions),
            ))
        };
        self.ask(&to, make, |answer| {
            ClientError::check(answer.error_code, None, || format!("deleting offsets of group '{group}'"))?;
            let mut codes = BTreeMap::new();
            for topic in &answer.topics {
                for p in &topic.partitions {
                    codes.insert((topic.name.to_string(), p.partition_index), ErrorCode::from_code(p.error_code));
                }
            }
            Ok(codes)
        })
    }
}

/// The message that commits offsets, as every version wants it.
pub(super) fn commit_request(
    group: &str,
    by: &Committer<'_>,
    offsets: &BTreeMap<Partition, Committed>,
    version: i16,
) -> OffsetCommitRequest {
    let partitions: Vec<Partition> = offsets.keys().cloned().collect();
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id_or_member_epoch(by.generation)
        .with_member_id(text(by.member))
        .with_topics(by_topic(
            &partitions,
            |p| {
                let committed = &offsets[p];
                OffsetCommitRequestPartition::default()
                    .with_partition_index(p.1)
                    .with_committed_offset(committed.offset)
                    .with_committed_metadata(Some(text(&committed.metadata)))
            },
            |name, partitions| OffsetCommitRequestTopic::default().with_name(topic_name(name)).with_partitions(partitions),
        ));
    if version >= 7 { request.with_group_instance_id(by.instance.map(text)) } else { request }
}

fn read_committed(answer: OffsetFetchResponse, group: &str) -> Result<BTreeMap<Partition, Committed>, ClientError> {
    let what = || format!("committed offsets of group '{group}'");
    ClientError::check(answer.error_code, None, what)?;
    let mut found = BTreeMap::new();
    let mut take = |topic: &str, index: i32, code: i16, offset: i64, metadata: Option<String>| {
        ClientError::check(code, None, || format!("committed offset of topic '{topic}' partition {index} in group '{group}'"))?;
        if offset >= 0 {
            found.insert((topic.to_string(), index), Committed { offset, metadata: metadata.unwrap_or_default() });
        }
        Ok(())
    };
    for topic in answer.topics {
        for p in topic.partitions {
            take(&topic.name, p.partition_index, p.error_code, p.committed_offset, p.metadata.map(|m| m.to_string()))?;
        }
    }
    for group in answer.groups {
        ClientError::check(group.error_code, None, what)?;
        for topic in group.topics {
            for p in topic.partitions {
                take(&topic.name, p.partition_index, p.error_code, p.committed_offset, p.metadata.map(|m| m.to_string()))?;
            }
        }
    }
    Ok(found)
}

/// Partitions (sorted) as the nested lists that most messages have.
pub(crate) fn by_topic<P, T>(partitions: &[Partition], one: impl Fn(&Partition) -> P, topic: impl Fn(&str, Vec<P>) -> T) -> Vec<T> {
    partitions.chunk_by(|a, b| a.0 == b.0).map(|run| topic(&run[0].0, run.iter().map(&one).collect())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::offset_fetch_response::*;

    #[test]
    fn committed_offsets_are_read_in_the_old_and_the_new_shape() {
        let old = OffsetFetchResponse::default().with_topics(vec![
            OffsetFetchResponseTopic::default().with_name(topic_name("t")).with_partitions(vec![
                OffsetFetchResponsePartition::default().with_partition_index(1).with_committed_offset(7),
                OffsetFetchResponsePartition::default().with_partition_index(2).with_committed_offset(-1),
            ]),
        ]);
        let wanted = BTreeMap::from([(("t".to_string(), 1), Committed { offset: 7, metadata: String::new() })]);
        assert_eq!(read_committed(old, "g").expect("no error"), wanted);
        let topic = OffsetFetchResponseTopics::default()
            .with_name(topic_name("t"))
            .with_partitions(vec![OffsetFetchResponsePartitions::default().with_partition_index(1).with_committed_offset(7)]);
        let group = OffsetFetchResponseGroup::default().with_topics(vec![topic]);
        assert_eq!(read_committed(OffsetFetchResponse::default().with_groups(vec![group.clone()]), "g").expect("no error"), wanted);
        let failed = OffsetFetchResponse::default().with_groups(vec![group.with_error_code(16)]);
        assert!(read_committed(failed, "g").is_err_and(|e| e.is_retriable()));
    }

    #[test]
    fn partitions_are_grouped_by_topic() {
        let all = [("a".to_string(), 0), ("a".to_string(), 1), ("b".to_string(), 0)];
        assert_eq!(by_topic(&all, |p| p.1, |name, p| (name.to_string(), p)), [("a".to_string(), vec![0, 1]), ("b".to_string(), vec![0])]);
    }
}
