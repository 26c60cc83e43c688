//! DeleteGroups, API key 42, versions 0 to 2: groups without members go, with their offsets.
//!
//! v1 as v0, v2 flexible. NON_EMPTY_GROUP for a group with members, GROUP_ID_NOT_FOUND for one that does not exist. Answered when
//! durable; a group that is named twice is answered once, as in Kafka.

use std::collections::BTreeSet;
use std::rc::Rc;

use bytes::Bytes;
use futures_util::StreamExt;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse, GroupId};

use super::{HandlerResult, RequestContext, codec};
use crate::shard::Shard;

/// Groups that are deleted beside each other: those of one partition of the offsets topic share appends.
const BESIDE_EACH_OTHER: usize = 256;

/// Deletes groups.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: DeleteGroupsRequest = codec::decode(ctx, body)?;
    let groups = shard.groups.clone();
    let delete = |group_id: GroupId| {
        let groups = groups.clone();
        async move {
            let error = groups.delete(group_id.to_string()).await;
            DeletableGroupResult::default().with_group_id(group_id).with_error_code(error.code())
        }
    };
    let results = futures_util::stream::iter(once_each(request.groups_names)).map(delete).buffered(BESIDE_EACH_OTHER).collect().await;
    codec::encode(ctx, &DeleteGroupsResponse::default().with_results(results))
}

fn once_each(mut names: Vec<GroupId>) -> Vec<GroupId> {
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

#[cfg(test)]
mod tests {
    use kafka_protocol::protocol::StrBytes;

    use super::*;

    #[test]
    fn a_group_is_asked_for_once_in_the_place_of_its_first_name() {
        let names = |names: &[&'static str]| names.iter().map(|name| GroupId(StrBytes::from_static_str(name))).collect::<Vec<_>>();
        assert_eq!(once_each(names(&["b", "a", "b", "c", "a"])), names(&["b", "a", "c"]));
    }
}
