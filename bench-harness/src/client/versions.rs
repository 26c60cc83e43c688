//! Which version of each API is spoken: the highest that both sides know. Topic ids need Metadata v10, without which names are used.

use coreline_wire::ApiKey;

/// API and the versions this client speaks. Group members are those of the classic protocol, in the last versions that are not flexible.
const SPOKEN: [(ApiKey, i16, i16); 15] = [
    (ApiKey::Produce, 3, 13),
    (ApiKey::Fetch, 4, 18),
    (ApiKey::ListOffsets, 1, 7),
    (ApiKey::Metadata, 1, 12),
    (ApiKey::OffsetCommit, 2, 7),
    (ApiKey::OffsetFetch, 1, 5),
    (ApiKey::FindCoordinator, 0, 2),
    (ApiKey::JoinGroup, 2, 5),
    (ApiKey::Heartbeat, 0, 3),
    (ApiKey::LeaveGroup, 0, 2),
    (ApiKey::SyncGroup, 0, 3),
    (ApiKey::CreateTopics, 2, 5),
    (ApiKey::DeleteTopics, 1, 5),
    (ApiKey::InitProducerId, 0, 4),
    (ApiKey::ApiVersions, 0, 0),
];

/// First version of Produce and of Fetch that names topics by id.
pub const TOPIC_IDS_FROM: i16 = 13;
/// First version of Metadata that tells them.
const METADATA_IDS_FROM: i16 = 10;

/// The version of each API that is spoken with a server.
#[derive(Clone, Debug, Default)]
pub struct Versions {
    chosen: Vec<(i16, i16)>,
}

impl Versions {
    /// Chooses from the server's ranges (key, least, greatest).
    pub fn choose(server: &[(i16, i16, i16)]) -> Versions {
        let common = |(key, min, max): &(ApiKey, i16, i16)| {
            let (_, low, high) = server.iter().find(|(k, _, _)| *k == key.code())?;
            let version = (*max).min(*high);
            (version >= *min && version >= *low).then_some((key.code(), version))
        };
        let versions = Versions { chosen: SPOKEN.iter().filter_map(common).collect() };
        if versions.of(ApiKey::Metadata) >= Some(METADATA_IDS_FROM) { versions } else { versions.by_name() }
    }

    /// The same for a server that does not tell the ids of its topics: Produce and Fetch in versions that name them.
    pub fn by_name(mut self) -> Versions {
        for (key, version) in &mut self.chosen {
            if [ApiKey::Produce.code(), ApiKey::Fetch.code()].contains(key) {
                *version = (*version).min(TOPIC_IDS_FROM - 1);
            }
        }
        self
    }

    /// The version of an API; `None` when there is none in common.
    pub fn of(&self, api: ApiKey) -> Option<i16> {
        self.chosen.iter().find(|(key, _)| *key == api.code()).map(|(_, version)| *version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_is_chosen() {
        let v = Versions::choose(&[(0, 3, 13), (1, 4, 6), (2, 9, 11)]);
        assert_eq!((v.of(ApiKey::Produce), v.of(ApiKey::Fetch)), (Some(12), Some(6)), "no ids without Metadata v10");
        assert_eq!((v.of(ApiKey::ListOffsets), v.of(ApiKey::Metadata)), (None, None));
        let v = Versions::choose(&[(0, 3, 13), (1, 4, 30), (3, 0, 13)]);
        assert_eq!((v.of(ApiKey::Produce), v.of(ApiKey::Fetch)), (Some(13), Some(18)));
        let v = v.by_name();
        assert_eq!((v.of(ApiKey::Produce), v.of(ApiKey::Fetch), v.of(ApiKey::Metadata)), (Some(12), Some(12), Some(12)));
        let old = Versions::choose(&[(0, 0, 3), (1, 0, 4), (3, 0, 5)]);
        assert_eq!((old.of(ApiKey::Produce), old.of(ApiKey::Fetch)), (Some(3), Some(4)), "Kafka 0.11");
    }
}
