//! What a cluster knows of its groups: listed over all brokers, described by their coordinators, whichever protocol they use.

use coreline_wire::ErrorCode;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, DeleteGroupsRequest, DescribeGroupsRequest, GroupId, ListGroupsRequest, consumer_group_describe_response,
    describe_groups_response,
};

use super::assign::read_assignment;
use super::metadata::Topics;
use super::{ClientError, Cluster, Partition, To, text};

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) group: String,
    /// Empty when the broker is too old to say.
    pub(crate) state: String,
    /// `classic`, `consumer`, ...; empty when the broker is too old to say.
    pub(crate) kind: String,
    pub(crate) protocol: String,
    pub(crate) coordinator: i32,
}

/// A group with its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) group: String,
    pub(crate) state: String,
    /// `classic` or `consumer`.
    pub(crate) kind: &'static str,
    /// Empty while none is chosen.
    pub(crate) assignor: String,
    pub(crate) coordinator: i32,
    pub(crate) members: Vec<DescribedMember>,
}

impl Described {
    /// Has no members.
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DescribedMember {
    pub(crate) id: String,
    pub(crate) instance: Option<String>,
    pub(crate) client_id: String,
    pub(crate) host: String,
    /// Sorted.
    pub(crate) partitions: Vec<Partition>,
}

impl Cluster {
    /// The groups of all brokers, by name.
    pub(crate) fn list_groups(&mut self) -> Result<Vec<Listed>, ClientError> {
        let nodes: Vec<i32> = self.metadata(Topics::None)?.brokers.iter().map(|b| b.id).collect();
        let mut all = Vec::new();
        for node in nodes {
            all.extend(self.ask(
                &To::Node(node),
                |_| ListGroupsRequest::default(),
                |answer| {
                    ClientError::check(answer.error_code, None, || format!("groups of broker {node}"))?;
                    let listed = |g: &kafka_protocol::messages::list_groups_response::ListedGroup| Listed {
                        group: g.group_id.to_string(),
                        state: g.group_state.to_string(),
                        kind: g.group_type.to_string().to_lowercase(),
                        protocol: g.protocol_type.to_string(),
                        coordinator: node,
                    };
                    Ok(answer.groups.iter().map(listed).collect::<Vec<_>>())
                },
            )?);
        }
        all.sort_by(|a, b| a.group.cmp(&b.group));
        Ok(all)
    }

    /// A group with its members; `None` when there is none of that name.
    pub(crate) fn describe_group(&mut self, group: &str) -> Result<Option<Described>, ClientError> {
        let to = To::Coordinator(group.to_string());
        let node = self.retry(|cluster| cluster.coordinator(group))?;
        if self.supports::<ConsumerGroupDescribeRequest>(&To::Node(node))? {
            let make = |_| ConsumerGroupDescribeRequest::default().with_group_ids(vec![GroupId(text(group))]);
            let described = self.ask(&to, make, |answer| {
                let found = answer.groups.into_iter().next();
                match found.as_ref().map_or(ErrorCode::GroupIdNotFound, |g| ErrorCode::from_code(g.error_code)) {
                    // Not of this protocol, or the protocol is switched off: the other one is asked.
                    ErrorCode::GroupIdNotFound | ErrorCode::UnsupportedVersion => Ok(None),
                    ErrorCode::None => Ok(found.map(|g| of_consumer(group, node, g))),
                    code => Err(ClientError::kafka(code.code(), None, format!("group '{group}'"))),
                }
            })?;
            if described.is_some() {
                return Ok(described);
            }
        }
        let make = |_| DescribeGroupsRequest::default().with_groups(vec![GroupId(text(group))]);
        self.ask(&to, make, |answer| {
            let Some(found) = answer.groups.into_iter().next() else { return Ok(None) };
            match ErrorCode::from_code(found.error_code) {
                // KIP-1043; before it, a group that is not there is dead.
                ErrorCode::GroupIdNotFound => Ok(None),
                ErrorCode::None if *found.group_state == *"Dead" => Ok(None),
                ErrorCode::None => Ok(Some(of_classic(group, node, found))),
                code => Err(ClientError::kafka(code.code(), found.error_message.as_deref(), format!("group '{group}'"))),
            }
        })
    }

    /// Deletes a group; the error code.
    pub(crate) fn delete_group(&mut self, group: &str) -> Result<ErrorCode, ClientError> {
        let make = |_| DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text(group))]);
        self.ask(&To::Coordinator(group.to_string()), make, |answer| {
            let code = answer.results.first().map_or(ErrorCode::None, |r| ErrorCode::from_code(r.error_code));
            if code.is_retriable() { Err(ClientError::kafka(code.code(), None, format!("group '{group}'"))) } else { Ok(code) }
        })
    }
}

fn of_consumer(group: &str, node: i32, found: consumer_group_describe_response::DescribedGroup) -> Described {
    let member = |m: &consumer_group_describe_response::Member| {
        let each = |t: &consumer_group_describe_response::TopicPartitions| {
            t.partitions.iter().map(|p| (t.topic_name.to_string(), *p)).collect::<Vec<_>>()
        };
        let mut partitions: Vec<Partition> = m.assignment.topic_partitions.iter().flat_map(each).collect();
        partitions.sort();
        DescribedMember {
            id: m.member_id.to_string(),
            instance: m.instance_id.as_ref().map(|i| i.to_string()),
            client_id: m.client_id.to_string(),
            host: m.client_host.to_string(),
            partitions,
        }
    };
    Described {
        group: group.to_string(),
        state: found.group_state.to_string(),
        kind: "consumer",
        assignor: found.assignor_name.to_string(),
        coordinator: node,
        members: found.members.iter().map(member).collect(),
    }
}

fn of_classic(group: &str, node: i32, found: describe_groups_response::DescribedGroup) -> Described {
    let member = |m: &describe_groups_response::DescribedGroupMember| DescribedMember {
        id: m.member_id.to_string(),
        instance: m.group_instance_id.as_ref().map(|i| i.to_string()),
        client_id: m.client_id.to_string(),
        host: m.client_host.to_string(),
        // A group of another protocol type has assignments of its own.
        partitions: read_assignment(&m.member_assignment).unwrap_or_default(),
    };
    Described {
        group: group.to_string(),
        state: found.group_state.to_string(),
        kind: "classic",
        assignor: found.protocol_data.to_string(),
        coordinator: node,
        members: found.members.iter().map(member).collect(),
    }
}
