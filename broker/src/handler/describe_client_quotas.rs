//! DescribeClientQuotas (key 48, v0-1, KIP-546): the quotas whose entities match a filter.
//!
//! - v1: flexible

use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::error_code::ErrorCode;
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::describe_client_quotas_response::{EntityData, EntryData, ValueData};
use kafka_protocol::messages::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};
use kafka_protocol::protocol::StrBytes;

use super::{HandlerResult, RequestContext, codec};
use crate::controller::ApiError;
use crate::metadata::client_quota::{ClientQuotas, QuotaEntity, QuotaEntityType, QuotaValues};
use crate::shard::Shard;

/// What a filter asks of the part of one type.
enum Wanted {
    /// This name, or the default.
    Part(Option<String>),
    /// Any name or the default.
    Any,
}

type Filter = Vec<(QuotaEntityType, Wanted)>;

/// Answers from this shard's image.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: DescribeClientQuotasRequest = codec::decode(ctx, body)?;
    codec::encode(ctx, &answer(shard.image().client_quotas(), &request))
}

fn answer(quotas: &ClientQuotas, request: &DescribeClientQuotasRequest) -> DescribeClientQuotasResponse {
    let filter = match filter(&request.components) {
        Ok(filter) => filter,
        Err(error) => {
            return DescribeClientQuotasResponse::default()
                .with_error_code(error.code.code())
                .with_error_message(super::admin::text(error.message))
                .with_entries(None);
        }
    };
    let found = quotas.iter().filter(|(entity, _)| matches(entity, &filter, request.strict));
    // Kafka's message of success is empty, not absent.
    DescribeClientQuotasResponse::default()
        .with_error_message(Some(StrBytes::default()))
        .with_entries(Some(found.map(|(entity, values)| row(entity, values)).collect()))
}

/// The filter, with Kafka's checks in Kafka's order and words.
fn filter(components: &[ComponentData]) -> Result<Filter, ApiError> {
    let invalid = |message: String| Err(ApiError::new(ErrorCode::InvalidRequest, message));
    let mut filter: Filter = Vec::new();
    for component in components {
        let name = component.entity_type.as_str();
        if name.is_empty() {
            return invalid("Invalid empty entity type.".to_owned());
        }
        let Some(kind) = QuotaEntityType::from_name(name) else {
            return Err(ApiError::new(ErrorCode::UnsupportedVersion, format!("Unsupported entity type {name}")));
        };
        if filter.iter().any(|(known, _)| *known == kind) {
            return invalid(format!("Entity type {name} cannot appear more than once in the filter."));
        }
        let wanted = match (component.match_type, &component._match) {
            (0, Some(name)) => Wanted::Part(Some(name.to_string())),
            (0, None) => return invalid("Request specified MATCH_TYPE_EXACT, but set match string to null.".to_owned()),
            (1, None) => Wanted::Part(None),
            (1, Some(_)) => return invalid("Request specified MATCH_TYPE_DEFAULT, but also specified a match string.".to_owned()),
            (2, None) => Wanted::Any,
            (2, Some(_)) => return invalid("Request specified MATCH_TYPE_SPECIFIED, but also specified a match string.".to_owned()),
            (other, _) => return invalid(format!("Unknown match type {other}")),
        };
        filter.push((kind, wanted));
    }
    if filter.len() > 1 && filter.iter().any(|(kind, _)| *kind == QuotaEntityType::Ip) {
        return invalid(
            "Invalid entity filter component combination. IP filter component should not be used with user or clientId filter component."
                .to_owned(),
        );
    }
    Ok(filter)
}

/// True when the entity has every part that is asked for and, if strict, no other.
fn matches(entity: &QuotaEntity, filter: &Filter, strict: bool) -> bool {
    let fits = filter.iter().all(|(kind, wanted)| match (entity.part(*kind), wanted) {
        (None, _) => false,
        (Some(_), Wanted::Any) => true,
        (Some(name), Wanted::Part(wanted)) => name == wanted.as_deref(),
    });
    fits && (!strict || entity.parts().len() == filter.len())
}

fn row(entity: &QuotaEntity, values: &QuotaValues) -> EntryData {
    let part = |(kind, name): (QuotaEntityType, Option<&str>)| {
        EntityData::default()
            .with_entity_type(StrBytes::from_static_str(kind.name()))
            .with_entity_name(name.map(|name| StrBytes::from(name.to_owned())))
    };
    let value =
        |(key, value): (&std::sync::Arc<str>, &f64)| ValueData::default().with_key(StrBytes::from(key.to_string())).with_value(*value);
    EntryData::default().with_entity(entity.parts().map(part).collect()).with_values(values.iter().map(value).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use QuotaEntityType::{ClientId, Ip, User};

    fn quotas() -> ClientQuotas {
        let entities: [&[(QuotaEntityType, Option<&str>)]; 7] = [
            &[(User, Some("a"))],
            &[(User, Some("a")), (ClientId, Some("b"))],
            &[(User, None)],
            &[(User, None), (ClientId, None)],
            &[(ClientId, None)],
            &[(Ip, Some("127.0.0.9"))],
            &[(Ip, None)],
        ];
        let values = QuotaValues::from([("producer_byte_rate".into(), 1.0)]);
        entities.into_iter().map(|parts| (QuotaEntity::of(parts.iter().copied()), values.clone())).collect()
    }

    fn ask(components: &[(&'static str, i8, Option<&'static str>)], strict: bool) -> Result<Vec<String>, (i16, String)> {
        let component = |(kind, how, name): &(&'static str, i8, Option<&'static str>)| {
            ComponentData::default().with_entity_type((*kind).into()).with_match_type(*how).with_match(name.map(StrBytes::from))
        };
        let request =
            DescribeClientQuotasRequest::default().with_components(components.iter().map(component).collect()).with_strict(strict);
        let response = answer(&quotas(), &request);
        let Some(entries) = response.entries else { return Err((response.error_code, response.error_message.expect("told").to_string())) };
        let shown = entries.iter().map(|entry| {
            let parts = entry.entity.iter().map(|part| format!("{}={}", &*part.entity_type, part.entity_name.as_deref().unwrap_or("-")));
            parts.collect::<Vec<_>>().join(" ")
        });
        Ok(shown.collect())
    }

    #[test]
    fn filters_match_as_recorded_from_kafka() {
        assert_eq!(ask(&[], false).map(|all| all.len()), Ok(7));
        assert_eq!(ask(&[], true), Ok(vec![]), "strict without a component matches nothing");
        let all_of_user = ask(&[("user", 2, None)], false).expect("valid");
        assert_eq!(all_of_user, ["user=-", "user=- client-id=-", "user=a", "user=a client-id=b"]);
        assert_eq!(ask(&[("user", 0, Some("a"))], true), Ok(vec!["user=a".to_owned()]));
        assert_eq!(ask(&[("user", 1, None)], false), Ok(vec!["user=-".to_owned(), "user=- client-id=-".to_owned()]));
        assert_eq!(ask(&[("user", 2, None), ("client-id", 2, None)], true).map(|all| all.len()), Ok(2));
        assert_eq!(ask(&[("user", 0, Some("a")), ("client-id", 2, None)], false), Ok(vec!["user=a client-id=b".to_owned()]));
        assert_eq!(ask(&[("ip", 2, None)], false).map(|all| all.len()), Ok(2));
        assert_eq!(ask(&[("user", 0, Some("nope"))], false), Ok(vec![]));
    }

    #[test]
    fn refusals_are_those_recorded_from_kafka() {
        for (components, code, message) in [
            (&[("ip", 2, None), ("user", 2, None)][..], 42, "Invalid entity filter component combination."),
            (&[("bogus", 2, None)], 35, "Unsupported entity type bogus"),
            (&[("", 2, None)], 42, "Invalid empty entity type."),
            (&[("user", 0, None)], 42, "Request specified MATCH_TYPE_EXACT, but set match string to null."),
            (&[("user", 1, Some("x"))], 42, "Request specified MATCH_TYPE_DEFAULT, but also specified a match string."),
            (&[("user", 2, Some("x"))], 42, "Request specified MATCH_TYPE_SPECIFIED, but also specified a match string."),
            (&[("user", 3, None)], 42, "Unknown match type 3"),
            (&[("user", 2, None), ("user", 0, Some("a"))], 42, "Entity type user cannot appear more than once in the filter."),
        ] {
            let told = ask(components, false).expect_err("refused");
            assert!(told.0 == code && told.1.starts_with(message), "{components:?}: {told:?}");
        }
    }
}
