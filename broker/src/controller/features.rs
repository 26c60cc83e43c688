//! The features of the cluster (KIP-584): which there are, at which levels, and the decision to change a finalized level.
//!
//! A feature is listed while what it stands for is served: that is a question to the API table. `metadata.version` has one level, that of the
//! records this build writes. Sentences and codes were asked from Apache Kafka 4.3.1. Callers: `decide`, `broker` (founding), ApiVersions.

use std::collections::BTreeMap;

use coreline_wire::api;
use coreline_wire::error_code::ErrorCode;

use super::broker::{METADATA_VERSION, METADATA_VERSION_FEATURE};
use super::decide::Decision;
use super::record::MetadataRecord;
use super::request::ApiError;
use crate::metadata::MetadataImage;

/// Feature that lets groups use the new consumer protocol (KIP-848): 1 on, 0 off.
pub const GROUP_VERSION_FEATURE: &str = "group.version";
/// Key of ConsumerGroupHeartbeat, which `group.version` stands for.
const CONSUMER_GROUP_HEARTBEAT: i16 = 68;

/// A feature that this build supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Kafka's name of it.
    pub name: &'static str,
    /// Lowest level.
    pub min: i16,
    /// Highest level.
    pub max: i16,
    /// Level that a new cluster starts with.
    pub initial: i16,
}

/// What is supported, by name.
pub fn supported() -> impl Iterator<Item = Feature> {
    let group = Feature { name: GROUP_VERSION_FEATURE, min: 0, max: 1, initial: 1 };
    let metadata = Feature { name: METADATA_VERSION_FEATURE, min: METADATA_VERSION, max: METADATA_VERSION, initial: METADATA_VERSION };
    let group = api::find(CONSUMER_GROUP_HEARTBEAT).map(|_| group);
    group.into_iter().chain([metadata])
}

/// True when groups may use the new consumer protocol.
pub fn consumer_groups_enabled(image: &MetadataImage) -> bool {
    image.feature(GROUP_VERSION_FEATURE).is_some_and(|level| level >= 1)
}

/// Which way a level is meant to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeType {
    /// Up.
    Upgrade,
    /// Down, if nothing is lost.
    SafeDowngrade,
    /// Down, whatever is lost.
    UnsafeDowngrade,
    /// A number that this build does not know.
    Unknown,
}

impl UpgradeType {
    /// By its number on the wire (v1 and later).
    pub fn from_code(code: i8) -> UpgradeType {
        match code {
            1 => UpgradeType::Upgrade,
            2 => UpgradeType::SafeDowngrade,
            3 => UpgradeType::UnsafeDowngrade,
            _ => UpgradeType::Unknown,
        }
    }
}

/// A level that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureUpdate {
    /// The feature.
    pub name: String,
    /// Its new level; 0 takes it away.
    pub level: i16,
    /// The direction that the client means.
    pub direction: UpgradeType,
}

/// All updates take effect, or none does and the answer is the first error. `node` is this node, which the sentences name.
pub fn update_features(image: &MetadataImage, updates: &[FeatureUpdate], validate_only: bool, node: i32) -> Decision<Result<(), ApiError>> {
    // The last entry of a name counts, as in a map.
    let by_name: BTreeMap<&str, &FeatureUpdate> = updates.iter().map(|update| (update.name.as_str(), update)).collect();
    let mut records = Vec::new();
    for update in by_name.values() {
        match check(image, update, node) {
            Err(error) => return Decision { records: Vec::new(), answer: Err(error) },
            Ok(current) if current != update.level => {
                records.push(MetadataRecord::FeatureLevel { name: update.name.clone(), level: update.level });
            }
            Ok(_) => {}
        }
    }
    if validate_only {
        records.clear();
    }
    Decision { records, answer: Ok(()) }
}

/// The level of now when the update is fine.
fn check(image: &MetadataImage, update: &FeatureUpdate, node: i32) -> Result<i16, ApiError> {
    let refuse = |why: String| {
        let message = format!("Invalid update version {} for feature {}. {why}", update.level, update.name);
        Err(ApiError::new(ErrorCode::InvalidUpdateVersion, message))
    };
    let current = image.feature(&update.name).unwrap_or(0);
    if update.direction == UpgradeType::Unknown {
        return refuse("The controller does not support the given upgrade type.".to_owned());
    }
    if update.level < 0 {
        return refuse("A feature version cannot be less than 0.".to_owned());
    }
    let Some(feature) = supported().find(|feature| feature.name == update.name) else {
        // Going to 0 from 0 changes nothing, but the feature is still one that nobody knows.
        return refuse(format!("Local controller {node} does not support this feature."));
    };
    if !(feature.min..=feature.max).contains(&update.level) {
        let range = if feature.min == feature.max { feature.min.to_string() } else { format!("{}-{}", feature.min, feature.max) };
        return refuse(format!("Local controller {node} only supports versions {range}"));
    }
    match (update.level.cmp(&current), update.direction) {
        (std::cmp::Ordering::Less, UpgradeType::Upgrade) => refuse(
            "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade.".to_owned(),
        ),
        (std::cmp::Ordering::Greater, UpgradeType::SafeDowngrade | UpgradeType::UnsafeDowngrade) => {
            refuse("Can't downgrade to a newer version.".to_owned())
        }
        _ => Ok(current),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::testing::World;

    fn update(name: &str, level: i16, direction: UpgradeType) -> FeatureUpdate {
        FeatureUpdate { name: name.to_owned(), level, direction }
    }

    fn ask(world: &World, updates: &[FeatureUpdate]) -> Result<usize, String> {
        let decision = update_features(&world.image, updates, false, 1);
        decision.answer.map(|()| decision.records.len()).map_err(|error| {
            assert_eq!(error.code, ErrorCode::InvalidUpdateVersion);
            error.message.unwrap_or_default()
        })
    }

    #[test]
    fn refusals_are_in_kafkas_words() {
        use UpgradeType::*;
        let world = World::new();
        let metadata = METADATA_VERSION_FEATURE;
        let cases = [
            (update("no.such", 1, Upgrade), "1 for feature no.such. Local controller 1 does not support this feature."),
            (update("no.such", 0, SafeDowngrade), "0 for feature no.such. Local controller 1 does not support this feature."),
            (update(metadata, 7, UnsafeDowngrade), "7 for feature metadata.version. Local controller 1 only supports versions 27"),
            (update(metadata, -1, Upgrade), "-1 for feature metadata.version. A feature version cannot be less than 0."),
            (update(metadata, 27, Unknown), "27 for feature metadata.version. The controller does not support the given upgrade type."),
        ];
        for (update, words) in cases {
            assert_eq!(ask(&world, &[update]), Err(format!("Invalid update version {words}")));
        }
    }

    #[test]
    fn the_level_of_now_is_no_change() {
        let world = World::new();
        assert_eq!(ask(&world, &[update(METADATA_VERSION_FEATURE, METADATA_VERSION, UpgradeType::Upgrade)]), Ok(0));
        assert_eq!(ask(&world, &[]), Ok(0));
    }

    #[test]
    fn one_bad_update_stops_all() {
        let world = World::new();
        let updates =
            [update(METADATA_VERSION_FEATURE, METADATA_VERSION, UpgradeType::Upgrade), update("no.such", 1, UpgradeType::Upgrade)];
        assert!(ask(&world, &updates).is_err());
    }

    #[test]
    fn group_version_goes_down_and_up_where_it_is_served() {
        let mut world = World::new();
        let Some(group) = supported().find(|feature| feature.name == GROUP_VERSION_FEATURE) else {
            assert!(!consumer_groups_enabled(&world.image), "what is not served is not finalized");
            return;
        };
        assert_eq!(world.image.feature(group.name), Some(group.initial), "a new cluster starts with it");
        assert!(ask(&world, &[update(group.name, 0, UpgradeType::Upgrade)]).is_err());
        assert!(ask(&world, &[update(group.name, 2, UpgradeType::Upgrade)]).is_err());
        let down = update_features(&world.image, &[update(group.name, 0, UpgradeType::SafeDowngrade)], false, 1);
        world.apply(&down.records);
        assert!(!consumer_groups_enabled(&world.image));
        assert!(ask(&world, &[update(group.name, 1, UpgradeType::SafeDowngrade)]).is_err(), "that is up");
        let dry = update_features(&world.image, &[update(group.name, 1, UpgradeType::Upgrade)], true, 1);
        assert_eq!((dry.records, dry.answer), (vec![], Ok(())), "validate only");
        let up = update_features(&world.image, &[update(group.name, 1, UpgradeType::Upgrade)], false, 1);
        world.apply(&up.records);
        assert!(consumer_groups_enabled(&world.image));
    }
}
