//! AlterClientQuotas (key 49, v0-1, KIP-546): sets and removes quotas of users, client ids, both, and addresses.
//!
//! - v1: flexible
//!
//! Decided by `controller/client_quota.rs`; enforced by `quota/` from the moment of the answer.

use std::rc::Rc;

use bytes::Bytes;
use kafka_protocol::messages::alter_client_quotas_response::{EntityData, EntryData};
use kafka_protocol::messages::{AlterClientQuotasRequest, AlterClientQuotasResponse};

use super::admin::{ask_controller, text, wrong_answer};
use super::{HandlerResult, RequestContext, codec};
use crate::controller::request::QuotaAlteration;
use crate::controller::{ApiError, ControllerRequest, ControllerResponse};
use crate::shard::Shard;

/// The request has no timeout of its own.
const TIMEOUT_MS: i32 = 30_000;

/// Answers when the change is committed and every shard has it.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: AlterClientQuotasRequest = codec::decode(ctx, body)?;
    let entries: Vec<_> = request.entries.iter().map(alteration).collect();
    let ask = ControllerRequest::AlterClientQuotas { entries: entries.clone(), validate_only: request.validate_only };
    let results = match ask_controller(shard, ask, TIMEOUT_MS).await {
        Ok(ControllerResponse::AlterClientQuotas(results)) => results,
        Ok(_) => entries.into_iter().map(|entry| (entry.entity, Err(wrong_answer()))).collect(),
        Err(error) => entries.into_iter().map(|entry| (entry.entity, Err(error.clone()))).collect(),
    };
    let entries = results.into_iter().map(|(entity, result)| row(entity, result)).collect();
    codec::encode(ctx, &AlterClientQuotasResponse::default().with_entries(entries))
}

fn alteration(entry: &kafka_protocol::messages::alter_client_quotas_request::EntryData) -> QuotaAlteration {
    let part = |part: &kafka_protocol::messages::alter_client_quotas_request::EntityData| {
        (part.entity_type.to_string(), part.entity_name.as_ref().map(|name| name.to_string()))
    };
    QuotaAlteration {
        entity: entry.entity.iter().map(part).collect(),
        ops: entry.ops.iter().map(|op| (op.key.to_string(), (!op.remove).then_some(op.value))).collect(),
    }
}

fn row(entity: Vec<(String, Option<String>)>, result: Result<(), ApiError>) -> EntryData {
    let (code, message) = match result {
        Ok(()) => (0, None),
        Err(error) => (error.code.code(), error.message),
    };
    let entity = entity.into_iter().map(|(kind, name)| EntityData::default().with_entity_type(kind.into()).with_entity_name(text(name)));
    EntryData::default().with_error_code(code).with_error_message(text(message)).with_entity(entity.collect())
}
