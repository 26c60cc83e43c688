//! Sample requests in versions that `kafka-protocol` does not know, by our own codecs.

use bytes::{Bytes, BytesMut};
use coreline_wire::message::offset_commit::{self, OffsetCommitPartition, OffsetCommitRequest, OffsetCommitTopic};
use coreline_wire::message::offset_fetch::{self, OffsetFetchGroup, OffsetFetchRequest};
use coreline_wire::{ApiKey, TopicId};

const ID: TopicId = TopicId([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);

/// The sample's body; `None` for every other version.
pub(super) fn body(api: ApiKey, version: i16) -> Option<Bytes> {
    let mut out = BytesMut::new();
    match api {
        ApiKey::OffsetCommit if version == offset_commit::VERSION => {
            let noted = OffsetCommitPartition { index: 4, offset: 1234, leader_epoch: 3, metadata: Some("note".into()) };
            let bare = OffsetCommitPartition { leader_epoch: -1, metadata: None, ..noted.clone() };
            let request = OffsetCommitRequest {
                group_id: "group".into(),
                generation_id_or_member_epoch: 7,
                member_id: "member".into(),
                group_instance_id: Some("instance".into()),
                topics: vec![OffsetCommitTopic { topic_id: ID, partitions: vec![noted, bare] }],
            };
            request.write(&mut out);
        }
        ApiKey::OffsetFetch if version == offset_fetch::VERSION => {
            let group = OffsetFetchGroup {
                group_id: "group".into(),
                member_id: Some("member".into()),
                member_epoch: 6,
                topics: Some(vec![(ID, vec![0, 1])]),
            };
            let all = OffsetFetchGroup { group_id: "other".into(), member_epoch: -1, ..OffsetFetchGroup::default() };
            OffsetFetchRequest { groups: vec![group, all], require_stable: true }.write(&mut out);
        }
        _ => return None,
    }
    Some(out.freeze())
}

/// What a body of such a version holds, in readable form; `None` for every other version.
pub(super) fn debug(api: ApiKey, version: i16, body: &Bytes) -> Option<Result<String, String>> {
    let told = match api {
        ApiKey::OffsetCommit if version == offset_commit::VERSION => OffsetCommitRequest::decode(body, version).map(|r| format!("{r:#?}")),
        ApiKey::OffsetFetch if version == offset_fetch::VERSION => OffsetFetchRequest::decode(body, version).map(|r| format!("{r:#?}")),
        _ => return None,
    };
    Some(told.map_err(|error| error.to_string()))
}
