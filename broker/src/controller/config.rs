//! Decides changes of configuration overrides. Keys and values were validated by the handlers that know the registry.

use coreline_wire::error_code::ErrorCode;

use super::decide::Decision;
use super::record::MetadataRecord;
use super::request::{ApiError, ConfigAlteration};
use crate::metadata::{ConfigResourceKind, MetadataImage};

/// One result per resource; a resource that fails changes nothing, the others take effect.
pub fn alter_configs(image: &MetadataImage, resources: &[ConfigAlteration], validate_only: bool) -> Decision<Vec<Result<(), ApiError>>> {
    let mut records = Vec::new();
    let answer = resources.iter().map(|alteration| alter_resource(image, alteration, &mut records)).collect();
    if validate_only {
        records.clear();
    }
    Decision { records, answer }
}

fn alter_resource(image: &MetadataImage, alteration: &ConfigAlteration, records: &mut Vec<MetadataRecord>) -> Result<(), ApiError> {
    let resource = &alteration.resource;
    if resource.kind == ConfigResourceKind::Topic && image.topic_by_name(&resource.name).is_none() {
        return Err(ApiError::new(ErrorCode::UnknownTopicOrPartition, format!("The topic '{}' does not exist.", resource.name)));
    }
    let before = image.config(resource);
    let mut record = |key: &str, value: Option<&str>| {
        records.push(MetadataRecord::Config {
            kind: resource.kind,
            resource: resource.name.to_string(),
            key: key.to_owned(),
            value: value.map(str::to_owned),
        });
    };
    if let Some(before) = before.filter(|_| alteration.replace_all) {
        for key in before.keys().filter(|key| !alteration.entries.iter().any(|(name, _)| **name == ***key)) {
            record(key, None);
        }
    }
    for (key, value) in &alteration.entries {
        let same = before.and_then(|before| before.get(key.as_str())).map(|value| &**value) == value.as_deref();
        if !same {
            record(key, value.as_deref());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::testing::World;
    use crate::metadata::ConfigResource;

    fn alteration(replace_all: bool, entries: &[(&str, Option<&str>)]) -> ConfigAlteration {
        let entries = entries.iter().map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned))).collect();
        ConfigAlteration { resource: ConfigResource::topic("t"), replace_all, entries }
    }

    #[test]
    fn only_what_changes_is_recorded() {
        let mut world = World::with_topics(&["t"]);
        let set = alteration(false, &[("retention.ms", Some("5")), ("cleanup.policy", Some("compact"))]);
        assert_eq!(world.alter(set.clone()), Ok(()));
        assert_eq!(alter_configs(&world.image, &[set], false).records, vec![], "the same again changes nothing");
        assert_eq!(world.alter(alteration(false, &[("retention.ms", None), ("segment.ms", None)])), Ok(()));
        assert_eq!(world.topic_config("t"), [("cleanup.policy".to_owned(), "compact".to_owned())]);
    }

    #[test]
    fn replacing_removes_what_is_not_named() {
        let mut world = World::with_topics(&["t"]);
        assert_eq!(world.alter(alteration(false, &[("retention.ms", Some("5")), ("segment.ms", Some("6"))])), Ok(()));
        assert_eq!(world.alter(alteration(true, &[("segment.ms", Some("7"))])), Ok(()));
        assert_eq!(world.topic_config("t"), [("segment.ms".to_owned(), "7".to_owned())]);
        assert_eq!(world.alter(alteration(true, &[])), Ok(()));
        assert!(world.image.topic_config("t").is_none(), "a resource without overrides is not kept");
    }

    #[test]
    fn an_unknown_topic_is_refused_and_the_others_take_effect() {
        let mut world = World::with_topics(&["t"]);
        let unknown = ConfigAlteration { resource: ConfigResource::topic("u"), ..alteration(false, &[("a", Some("b"))]) };
        let known = alteration(false, &[("retention.ms", Some("5"))]);
        let decision = alter_configs(&world.image, &[unknown, known], false);
        assert_eq!(decision.answer[0].as_ref().map_err(|error| error.code), Err(ErrorCode::UnknownTopicOrPartition));
        assert_eq!((decision.answer[1].is_ok(), decision.records.len()), (true, 1));
        world.apply(&decision.records);
    }

    #[test]
    fn validate_only_records_nothing() {
        let world = World::with_topics(&["t"]);
        let decision = alter_configs(&world.image, &[alteration(false, &[("retention.ms", Some("5"))])], true);
        assert_eq!((decision.records, decision.answer), (vec![], vec![Ok(())]));
    }
}
