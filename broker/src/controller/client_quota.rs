//! Decides AlterClientQuotas: Kafka's checks in Kafka's words; an entity that fails changes nothing, the others take effect.
//!
//! Diverges: a host name is no entity of type ip (Kafka resolves it), and a value that is not a number is refused.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use coreline_wire::error_code::ErrorCode;

use super::decide::Decision;
use super::record::MetadataRecord;
use super::request::{AlteredQuotas, ApiError, QuotaAlteration};
use crate::metadata::MetadataImage;
use crate::metadata::client_quota::{QuotaEntity, QuotaEntityType, QuotaKey, QuotaValues};

/// One result per distinct entity, in the order of their first mention.
pub fn alter_client_quotas(image: &MetadataImage, alterations: &[QuotaAlteration], validate_only: bool) -> Decision<Vec<AlteredQuotas>> {
    let mut records = Vec::new();
    let mut answer: Vec<AlteredQuotas> = Vec::new();
    for alteration in alterations {
        let entity = distinct(&alteration.entity);
        let twice = |ops: &[(String, Option<f64>)]| {
            let mut seen = BTreeSet::new();
            ops.iter().any(|(key, _)| !seen.insert(key))
        };
        let place = answer.iter().position(|(named, _)| *named == entity);
        let result = if place.is_some() || twice(&alteration.ops) {
            let named: Vec<_> = entity.iter().map(|(kind, name)| format!("{kind}={}", name.as_deref().unwrap_or("null"))).collect();
            Err(refused(format!("Ignoring duplicate entity ClientQuotaEntity(entries={{{}}})", named.join(", "))))
        } else {
            alter_entity(image, &entity, &alteration.ops).map(|its| records.extend(its))
        };
        match place {
            Some(place) => answer[place].1 = result,
            None => answer.push((entity, result)),
        }
    }
    if validate_only {
        records.clear();
    }
    Decision { records, answer }
}

/// The parts of an entity as asked, of a type that is given twice the last one.
fn distinct(parts: &[(String, Option<String>)]) -> Vec<(String, Option<String>)> {
    let mut entity: Vec<(String, Option<String>)> = Vec::new();
    for part in parts {
        entity.retain(|(kind, _)| *kind != part.0);
        entity.push(part.clone());
    }
    entity.sort_unstable();
    entity
}

fn alter_entity(
    image: &MetadataImage,
    parts: &[(String, Option<String>)],
    ops: &[(String, Option<f64>)],
) -> Result<Vec<MetadataRecord>, ApiError> {
    let mut typed = Vec::new();
    for (kind, name) in parts {
        let Some(kind) = QuotaEntityType::from_name(kind) else {
            return Err(refused(format!("Unhandled client quota entity type: {kind}")));
        };
        if name.as_deref() == Some("") {
            return Err(refused(format!("Empty {} not supported", kind.name())));
        }
        typed.push((kind, name.as_deref()));
    }
    let entity = QuotaEntity::of(typed);
    let keys = keys_of(&entity)?;
    let none = QuotaValues::new();
    let current = image.client_quotas().get(&entity).unwrap_or(&none);
    let mut records = Vec::new();
    for (key, value) in ops {
        if let Some(value) = value {
            check_value(keys, key, *value)?;
        }
        if current.get(key.as_str()) != value.as_ref() {
            records.push(MetadataRecord::ClientQuota {
                entity: entity.parts().map(|(kind, name)| (kind, name.map(str::to_owned))).collect(),
                key: key.clone(),
                value: value.map(f64::to_bits),
            });
        }
    }
    Ok(records)
}

/// The keys that quotas of such an entity may have.
fn keys_of(entity: &QuotaEntity) -> Result<&'static [QuotaKey], ApiError> {
    match (entity.parts().len(), entity.part(QuotaEntityType::Ip)) {
        (0, _) => Err(refused("Invalid empty client quota entity")),
        (1, Some(Some(address))) if address.parse::<IpAddr>().is_err() => {
            Err(refused(format!("{address} is not a valid IP or resolvable host.")))
        }
        (1, Some(_)) => Ok(&[QuotaKey::ConnectionCreationRate]),
        (_, Some(_)) => Err(refused("Invalid quota entity combination, IP entity shouldnot be combined with User or ClientId")),
        (_, None) => {
            Ok(&[QuotaKey::ProducerByteRate, QuotaKey::ConsumerByteRate, QuotaKey::RequestPercentage, QuotaKey::ControllerMutationRate])
        }
    }
}

fn check_value(keys: &[QuotaKey], name: &str, value: f64) -> Result<(), ApiError> {
    let Some(key) = QuotaKey::from_name(name).filter(|key| keys.contains(key)) else {
        return Err(refused(format!("Invalid configuration key {name}")));
    };
    let whole = match key {
        QuotaKey::ProducerByteRate | QuotaKey::ConsumerByteRate => Some((i64::MAX as f64, "a LONG")),
        QuotaKey::ConnectionCreationRate => Some((f64::from(i32::MAX), "an INT")),
        QuotaKey::RequestPercentage | QuotaKey::ControllerMutationRate => None,
    };
    if let Some((most, kind)) = whole {
        if value > most {
            return Err(refused(format!("Proposed value for {name} is too large for {kind}.")));
        }
        // Kafka's tolerance.
        if (value - value.round()).abs() > 1e-6 {
            return Err(refused(format!("{name} cannot be a fractional value.")));
        }
    }
    if value > 0.0 { Ok(()) } else { Err(refused(format!("Quota {name} must be greater than 0"))) }
}

fn refused(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidRequest, message)
}

/// Replays a quota record: sets or removes one key of an entity.
pub(super) fn replay(image: &mut MetadataImage, entity: &[(QuotaEntityType, Option<String>)], key: &str, value: Option<u64>) {
    let entity = QuotaEntity::of(entity.iter().map(|(kind, name)| (*kind, name.as_deref())));
    let quotas = Arc::make_mut(&mut image.client_quotas);
    let Some(bits) = value else {
        if let Some(values) = quotas.get_mut(&entity) {
            values.remove(key);
            if values.is_empty() {
                quotas.remove(&entity);
            }
        }
        return;
    };
    quotas.entry(entity).or_default().insert(Arc::from(key), f64::from_bits(bits));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::testing::World;
    use crate::controller::{ControllerRequest, ControllerResponse};

    type Entity = &'static [(&'static str, Option<&'static str>)];
    type Ops = &'static [(&'static str, Option<f64>)];

    fn alteration(entity: Entity, ops: Ops) -> QuotaAlteration {
        QuotaAlteration {
            entity: entity.iter().map(|(kind, name)| ((*kind).to_owned(), name.map(str::to_owned))).collect(),
            ops: ops.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect(),
        }
    }

    fn alter(world: &mut World, entries: Vec<QuotaAlteration>, validate_only: bool) -> Vec<Option<String>> {
        match world.submit(&ControllerRequest::AlterClientQuotas { entries, validate_only }) {
            ControllerResponse::AlterClientQuotas(results) => results
                .into_iter()
                .map(|(_, result)| {
                    result.err().map(|error| {
                        assert_eq!(error.code, ErrorCode::InvalidRequest);
                        error.message.unwrap_or_default()
                    })
                })
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    fn shown(world: &World) -> Vec<String> {
        world.image.client_quotas().iter().map(|(entity, values)| format!("{entity}: {values:?}")).collect()
    }

    const USER: Entity = &[("user", Some("a"))];

    #[test]
    fn refusals_are_those_recorded_from_kafka() {
        let mut world = World::new();
        let cases: [(Entity, Ops, &str); 19] = [
            (&[], &[("producer_byte_rate", Some(1.0))], "Invalid empty client quota entity"),
            (USER, &[("producer_byte_rate", Some(1000.5))], "producer_byte_rate cannot be a fractional value."),
            (USER, &[("connection_creation_rate", Some(5.0))], "Invalid configuration key connection_creation_rate"),
            (USER, &[("bogus", Some(5.0))], "Invalid configuration key bogus"),
            (USER, &[("consumer_byte_rate", Some(8.0)), ("bogus", Some(5.0))], "Invalid configuration key bogus"),
            (USER, &[("SCRAM-SHA-256", Some(5.0))], "Invalid configuration key SCRAM-SHA-256"),
            (&[("user", Some(""))], &[("producer_byte_rate", Some(1.0))], "Empty user not supported"),
            (&[("bogus", Some("x"))], &[("producer_byte_rate", Some(1.0))], "Unhandled client quota entity type: bogus"),
            (&[("", Some("x"))], &[("producer_byte_rate", Some(1.0))], "Unhandled client quota entity type: "),
            (
                &[("user", Some("a")), ("ip", Some("127.0.0.1"))],
                &[("producer_byte_rate", Some(1.0))],
                "Invalid quota entity combination, IP entity shouldnot be combined with User or ClientId",
            ),
            (
                &[("ip", Some("127.0.0.9"))],
                &[("connection_creation_rate", Some(10.5))],
                "connection_creation_rate cannot be a fractional value.",
            ),
            (&[("ip", Some("127.0.0.9"))], &[("producer_byte_rate", Some(10.0))], "Invalid configuration key producer_byte_rate"),
            (&[("ip", Some("not an ip"))], &[("connection_creation_rate", Some(1.0))], "not an ip is not a valid IP or resolvable host."),
            (USER, &[("producer_byte_rate", Some(0.0))], "Quota producer_byte_rate must be greater than 0"),
            (USER, &[("request_percentage", Some(-1.0))], "Quota request_percentage must be greater than 0"),
            (USER, &[("producer_byte_rate", Some(1e30))], "Proposed value for producer_byte_rate is too large for a LONG."),
            (&[("ip", None)], &[("connection_creation_rate", Some(-5.0))], "Quota connection_creation_rate must be greater than 0"),
            (
                USER,
                &[("producer_byte_rate", Some(1.0)), ("producer_byte_rate", Some(2.0))],
                "Ignoring duplicate entity ClientQuotaEntity(entries={user=a})",
            ),
            (USER, &[("request_percentage", Some(f64::NAN))], "Quota request_percentage must be greater than 0"),
        ];
        for (entity, ops, message) in cases {
            assert_eq!(alter(&mut world, vec![alteration(entity, ops)], false), [Some(message.to_owned())], "{entity:?} {ops:?}");
        }
        assert!(world.image.client_quotas().is_empty(), "{:?}", shown(&world));
    }

    #[test]
    fn quotas_are_set_changed_and_removed_per_key() {
        let mut world = World::new();
        let set = alteration(USER, &[("producer_byte_rate", Some(1000.0)), ("request_percentage", Some(12.5))]);
        assert_eq!(alter(&mut world, vec![set.clone()], true), [None]);
        assert!(world.image.client_quotas().is_empty(), "validate only");
        assert_eq!(alter(&mut world, vec![set.clone()], false), [None]);
        let again = alter_client_quotas(&world.image, &[set], false);
        assert!(again.records.is_empty(), "what is set already is not recorded: {again:?}");
        assert_eq!(alter(&mut world, vec![alteration(USER, &[("request_percentage", None), ("bogus", None)])], false), [None]);
        assert_eq!(shown(&world), ["user=a: {\"producer_byte_rate\": 1000.0}"]);
        let pair = alteration(&[("client-id", None), ("user", None)], &[("controller_mutation_rate", Some(0.5))]);
        let ip = alteration(&[("ip", Some("::1"))], &[("connection_creation_rate", Some(7.0))]);
        assert_eq!(alter(&mut world, vec![pair, ip, alteration(USER, &[("producer_byte_rate", None)])], false), [None, None, None]);
        assert_eq!(
            shown(&world),
            ["user=null, client-id=null: {\"controller_mutation_rate\": 0.5}", "ip=::1: {\"connection_creation_rate\": 7.0}"]
        );
    }

    #[test]
    fn an_entity_named_twice_is_refused_after_its_first_mention_took_effect() {
        let mut world = World::new();
        let dup = |value| QuotaAlteration { ops: vec![("producer_byte_rate".to_owned(), Some(value))], ..alteration(USER, &[]) };
        let other = alteration(&[("user", Some("b"))], &[]);
        let messages = alter(&mut world, vec![dup(1.0), other, dup(2.0)], false);
        assert_eq!(messages, [Some("Ignoring duplicate entity ClientQuotaEntity(entries={user=a})".to_owned()), None]);
        assert_eq!(shown(&world), ["user=a: {\"producer_byte_rate\": 1.0}"]);
    }
}
