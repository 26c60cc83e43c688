//! InitProducerId, API key 22, versions 0 to 5: an id for an idempotent producer.
//!
//! Ids come in blocks from the controller; each shard hands out its own block, so an id is never given twice, also not after a
//! crash (the rest of a block is then lost). Left out: transactional ids, which come with transactions.

use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::error_code::ErrorCode;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};

use super::{HandlerResult, RequestContext, codec};
use crate::controller::{ControllerRequest, ControllerResponse};
use crate::shard::Shard;

/// The producer ids that a shard may still hand out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProducerIdBlock {
    next: i64,
    end: i64,
}

impl ProducerIdBlock {
    /// Ids `first .. first + len`.
    pub fn new(first: i64, len: i32) -> ProducerIdBlock {
        ProducerIdBlock { next: first, end: first + i64::from(len.max(0)) }
    }

    /// The next id, or `None` when the block is used up.
    pub fn take(&mut self) -> Option<i64> {
        let id = self.next;
        (id < self.end).then(|| {
            self.next += 1;
            id
        })
    }
}

/// Answers a request for a producer id.
pub async fn handle(shard: &Rc<Shard>, ctx: &RequestContext, body: Bytes) -> HandlerResult {
    let request: InitProducerIdRequest = codec::decode(ctx, body)?;
    let answer = match request.transactional_id.as_ref().map(|id| id.as_str()) {
        Some("") => failed(ErrorCode::InvalidRequest),
        // No transaction coordinator is served yet; this code is fatal to the producer, which is better than retrying for ever.
        Some(_) => failed(ErrorCode::TransactionalIdAuthorizationFailed),
        // An id comes with its epoch or not at all (KIP-360). Otherwise both are only told: who has no transactions gets a new id.
        None if (request.producer_id.0 == -1) != (request.producer_epoch == -1) => failed(ErrorCode::InvalidRequest),
        None => match next_id(shard).await {
            Ok(id) => InitProducerIdResponse::default().with_producer_id(id.into()).with_producer_epoch(0),
            Err(code) => failed(code),
        },
    };
    codec::encode(ctx, &answer)
}

fn failed(code: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse::default().with_error_code(code.code()).with_producer_id((-1).into()).with_producer_epoch(-1)
}

async fn next_id(shard: &Rc<Shard>) -> Result<i64, ErrorCode> {
    loop {
        let taken = shard.producer_ids.borrow_mut().take();
        if let Some(id) = taken {
            return Ok(id);
        }
        match shard.controller.submit(ControllerRequest::AllocateProducerIds { broker: shard.node_id() }).await {
            // When two requests come here at once both ask; the block that comes second replaces a fresh one, which only costs ids.
            Ok(ControllerResponse::ProducerIds { first, len }) if len > 0 => {
                *shard.producer_ids.borrow_mut() = ProducerIdBlock::new(first, len);
            }
            Ok(_) => return Err(ErrorCode::UnknownServerError),
            Err(error) => return Err(error.code()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_gives_each_id_once() {
        let mut block = ProducerIdBlock::new(1000, 3);
        let ids: Vec<_> = std::iter::from_fn(|| block.take()).collect();
        assert_eq!(ids, [1000, 1001, 1002]);
        assert_eq!(block.take(), None);
        assert_eq!(ProducerIdBlock::default().take(), None);
    }
}
