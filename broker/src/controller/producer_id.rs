//! Blocks of producer ids: each broker takes one and hands its ids out without asking again; what is left at a restart is never used.

use super::decide::Decision;
use super::record::MetadataRecord;
use super::request::ControllerResponse;
use crate::metadata::MetadataImage;
use coreline_wire::ids::BrokerId;

/// Ids of one block, as in Kafka.
pub const BLOCK_LEN: i32 = 1000;

/// The next block.
pub fn allocate_block(image: &MetadataImage, broker: BrokerId) -> Decision<ControllerResponse> {
    let first = image.next_producer_id;
    // 2^63 ids in blocks of a thousand do not run out.
    let next_producer_id = first + i64::from(BLOCK_LEN);
    Decision {
        records: vec![MetadataRecord::ProducerIdBlock { broker, next_producer_id }],
        answer: ControllerResponse::ProducerIds { first, len: BLOCK_LEN },
    }
}
