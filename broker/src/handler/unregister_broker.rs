//! UnregisterBroker (key 64, v0): asks the controller to forget a broker that does not run.

use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::error_code::ErrorCode;
use kafka_protocol::messages::{UnregisterBrokerRequest, UnregisterBrokerResponse};

use super::admin::{ask_controller, text, wrong_answer};
use super::{HandlerResult, RequestContext, codec};
use crate::controller::{ApiError, ControllerRequest, ControllerResponse};
use crate::shard::Shard;

/// The request has no timeout of its own.
const TIMEOUT_MS: i32 = 30_000;

/// Asks the controller and answers when the broker is forgotten.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: UnregisterBrokerRequest = codec::decode(ctx, body)?;
    let asked = ControllerRequest::UnregisterBroker { id: request.broker_id.0 };
    let outcome = match ask_controller(shard, asked, TIMEOUT_MS).await {
        Ok(ControllerResponse::UnregisterBroker(result)) => result,
        Ok(_) => Err(wrong_answer()),
        Err(error) => Err(error),
    };
    codec::encode(ctx, &answer(outcome))
}

fn answer(outcome: Result<(), ApiError>) -> UnregisterBrokerResponse {
    let (code, message) = outcome.map_or_else(|error| (error.code, error.message), |()| (ErrorCode::None, None));
    UnregisterBrokerResponse::default().with_error_code(code.code()).with_error_message(text(message))
}
