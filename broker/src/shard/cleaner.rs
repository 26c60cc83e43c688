//! Keeps a shard's logs within their retention, compacts those that ask for it, looks again at what nobody reads, goes on with removals that a stop has
//! interrupted: in the background, never on the append path.
//!
//! What is due is decided in storage (`retention/plan.rs`, `compaction/plan.rs`); settings are read anew in each round, so that a change counts at once.

use std::rc::Rc;
use std::time::Duration;

use coreline_storage::compaction::CompactionConfig;
use coreline_wire::TopicPartition;

use super::placement::owner_shard;
use super::task_queue::{self, Queue, Task};
use super::{Shard, clock};
use crate::config::effective;

/// Starts the loops; `removed` are deleted partitions whose files are still there, of any shard. The loops end by themselves when the shard stops: await them after
/// `Store::stop_cleaning`.
pub fn start(shard: &Rc<Shard>, removed: &[TopicPartition]) -> [Task<()>; 3] {
    let mine = removed.iter().copied().filter(|id| owner_shard(*id, shard.count) == shard.id).collect();
    let (retaining, compacting, scrubbing) = (Rc::clone(shard), Rc::clone(shard), Rc::clone(shard));
    [
        task_queue::spawn(Queue::Background, retain(retaining, mine)),
        task_queue::spawn(Queue::Background, compact(compacting)),
        task_queue::spawn(Queue::Background, scrub(scrubbing)),
    ]
}

/// Waits; true when the shard stops meanwhile.
async fn stops_within(shard: &Shard, ms: i64) -> bool {
    let pause = Duration::from_millis(u64::try_from(ms).unwrap_or(0)).max(PAUSE_MIN);
    clock::within(pause, shard.stopping.at_least(1)).await.is_some()
}

async fn retain(shard: Rc<Shard>, removed: Vec<TopicPartition>) {
    for id in removed {
        if let Err(error) = shard.partitions.store().delete_log(id).await {
            tracing::error!(partition = %id, %error, "the files of a deleted partition cannot be removed");
        }
    }
    loop {
        let settings = effective::broker_settings(&shard.config, &shard.image());
        if stops_within(&shard, settings.log_retention_check_interval_ms).await {
            return;
        }
        if let Err(error) = shard.partitions.store().apply_retention(shard.now_ms()).await {
            tracing::error!(%error, "retention could not be applied");
        }
    }
}

async fn compact(shard: Rc<Shard>) {
    let mut pause_ms = 0;
    loop {
        if stops_within(&shard, pause_ms).await {
            return;
        }
        let settings = effective::broker_settings(&shard.config, &shard.image());
        pause_ms = settings.log_cleaner_backoff_ms;
        if !settings.log_cleaner_enable {
            continue;
        }
        let config = CompactionConfig {
            keys_bytes: usize::try_from(settings.log_cleaner_dedupe_buffer_size).unwrap_or(usize::MAX),
            load_factor: settings.log_cleaner_io_buffer_load_factor,
            read_bytes: u32::try_from(settings.log_cleaner_io_buffer_size).unwrap_or(0),
            bytes_per_second: settings.log_cleaner_io_max_bytes_per_second,
        };
        match shard.partitions.store().compact_next(shard.now_ms(), &config).await {
            // There may be more: at once, as long as something was done.
            Ok(Some(done)) => {
                tracing::info!(partition = %done.partition, ?done, "compacted");
                pause_ms = 0;
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "compaction has failed"),
        }
    }
}

async fn scrub(shard: Rc<Shard>) {
    // A broker that is started often is scrubbed too.
    let mut pause_ms = SCRUB_FIRST_MS;
    loop {
        let settings = effective::broker_settings(&shard.config, &shard.image());
        if stops_within(&shard, pause_ms.min(settings.log_scrub_interval_ms)).await {
            return;
        }
        pause_ms = i64::MAX;
        let settings = effective::broker_settings(&shard.config, &shard.image());
        let Some(bytes_per_second) = u64::try_from(settings.log_scrub_bytes_per_second).ok().filter(|bytes| *bytes > 0) else { continue };
        match shard.partitions.store().scrub(bytes_per_second).await {
            Ok(seen) if seen.damaged > 0 => tracing::error!(?seen, "the scrubber has found damage: see `coreline log verify`"),
            Ok(seen) => tracing::info!(?seen, "the scrubber has found all closed segments as they were written"),
            Err(error) => tracing::error!(%error, "the scrubber has failed"),
        }
    }
}

/// The first scrubbing after a start begins by then.
const SCRUB_FIRST_MS: i64 = 3_600_000;
/// Between two rounds, whatever the settings say.
const PAUSE_MIN: Duration = Duration::from_millis(10);
