//! Which version of each API is spoken with a broker: the highest that both sides know, below what this client has a reason to avoid.

use std::collections::BTreeMap;

use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Message, Request};

/// APIs whose later versions name topics by id only, which this client does not keep: KIP-516 (Fetch, Produce).
const AVOIDED: [(i16, i16); 2] = [(0, 12), (1, 12)];

/// Versions that a broker speaks, by API key: lowest and highest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Versions(pub(crate) BTreeMap<i16, (i16, i16)>);

impl Versions {
    /// The version to speak for a request; the ranges when there is none.
    pub(super) fn choose<R: Request>(&self) -> Result<i16, (Option<(i16, i16)>, (i16, i16))> {
        let ours = ours::<R>();
        let theirs = self.0.get(&R::KEY).copied();
        let (low, high) = theirs.ok_or((None, ours))?;
        let version = high.min(ours.1);
        if version >= low.max(ours.0) { Ok(version) } else { Err((theirs, ours)) }
    }
}

/// Lowest and highest version of a request spoken here.
fn ours<R: Request>() -> (i16, i16) {
    let range = <R as Message>::VERSIONS;
    let avoided = AVOIDED.iter().find(|(key, _)| *key == R::KEY);
    (range.min, avoided.map_or(range.max, |(_, max)| range.max.min(*max)))
}

/// The name of an API, or its number.
pub(crate) fn api_name(key: i16) -> String {
    ApiKey::try_from(key).map_or_else(|_| format!("API {key}"), |api| format!("{api:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::{FetchRequest, MetadataRequest, ProduceRequest};

    #[test]
    fn the_highest_common_version_is_chosen() {
        let versions = |low, high| Versions([(0, (low, high)), (1, (low, high)), (3, (low, high))].into());
        assert_eq!(versions(0, 99).choose::<FetchRequest>(), Ok(12));
        assert_eq!(versions(0, 99).choose::<ProduceRequest>(), Ok(12));
        assert_eq!(versions(0, 7).choose::<FetchRequest>(), Ok(7));
        assert_eq!(versions(0, 3).choose::<FetchRequest>(), Err((Some((0, 3)), (4, 12))));
        assert_eq!(versions(13, 18).choose::<FetchRequest>(), Err((Some((13, 18)), (4, 12))));
        assert_eq!(Versions::default().choose::<MetadataRequest>(), Err((None, (0, 13))));
        assert_eq!((api_name(3).as_str(), api_name(9999).as_str()), ("Metadata", "API 9999"));
    }
}
