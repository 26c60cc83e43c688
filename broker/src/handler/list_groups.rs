//! ListGroups, API key 16, versions 0 to 5: the groups of this coordinator.
//!
//! v3 flexible, v4 states and a filter on them (KIP-518), v5 types and a filter on them (KIP-848). Filters ignore case; a word that is
//! no state or type matches nothing.

use std::rc::Rc;

use bytes::Bytes;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};
use kafka_protocol::protocol::StrBytes;

use super::{HandlerResult, RequestContext, codec};
use crate::coordinator::request::{self, ListAnswer, ListGroups};
use crate::shard::Shard;

/// First version with states.
const STATE_VERSION: i16 = 4;
/// First version with types.
const TYPE_VERSION: i16 = 5;

/// Lists groups.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: ListGroupsRequest = codec::decode(ctx, body)?;
    let words = |words: Vec<StrBytes>| words.into_iter().map(|word| word.to_string()).collect();
    let request = ListGroups { states: words(request.states_filter), types: words(request.types_filter) };
    let answer = shard.groups.list(request).await;
    codec::encode(ctx, &respond(answer, ctx.api_version))
}

fn respond(answer: ListAnswer, version: i16) -> ListGroupsResponse {
    let from = |first: i16, word: &'static str| if version >= first { StrBytes::from_static_str(word) } else { StrBytes::default() };
    let group = |group: request::ListedGroup| {
        ListedGroup::default()
            .with_group_id(GroupId(StrBytes::from_string(group.group_id)))
            .with_protocol_type(StrBytes::from_string(group.protocol_type))
            .with_group_state(from(STATE_VERSION, group.state))
            .with_group_type(from(TYPE_VERSION, group.kind))
    };
    ListGroupsResponse::default().with_error_code(answer.error.code()).with_groups(answer.groups.into_iter().map(group).collect())
}

#[cfg(test)]
mod tests {
    use coreline_wire::error_code::ErrorCode;
    use kafka_protocol::protocol::Encodable;

    use super::*;

    #[test]
    fn states_and_types_are_told_from_the_versions_that_have_them() {
        for version in 0..=5 {
            let group = request::ListedGroup { group_id: "g".into(), protocol_type: "consumer".into(), state: "Stable", kind: "classic" };
            let response = respond(ListAnswer { error: ErrorCode::None, groups: vec![group] }, version);
            let told = &response.groups[0];
            assert_eq!(told.group_state.as_str(), if version >= 4 { "Stable" } else { "" }, "version {version}");
            assert_eq!(told.group_type.as_str(), if version >= 5 { "classic" } else { "" }, "version {version}");
            assert!(response.compute_size(version).is_ok(), "version {version}");
        }
    }
}
