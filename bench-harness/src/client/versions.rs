//! Which version of each API is spoken: the highest that both sides know, below what this client has reasons to avoid.

use coreline_wire::ApiKey;

/// API and the versions this client speaks. Produce and Fetch stop before the flexible versions, whose answers cost more to read in place.
const SPOKEN: [(ApiKey, i16, i16); 15] = [
    (ApiKey::Produce, 3, 8),
    (ApiKey::Fetch, 4, 11),
    (ApiKey::ListOffsets, 1, 7),
    (ApiKey::Metadata, 1, 9),
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
        Versions { chosen: SPOKEN.iter().filter_map(common).collect() }
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
        assert_eq!((v.of(ApiKey::Produce), v.of(ApiKey::Fetch)), (Some(8), Some(6)));
        assert_eq!((v.of(ApiKey::ListOffsets), v.of(ApiKey::Metadata)), (None, None));
    }
}
