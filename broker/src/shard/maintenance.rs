//! What a shard does now and then, whether or not anybody asks: forgets idle producers.

use std::rc::Rc;
use std::time::Duration;

use super::task_queue::{self, Queue, Task};
use super::{Shard, clock};

/// How often. A producer is forgotten at most this long after `producer.id.expiration.ms`.
const EVERY: Duration = Duration::from_secs(60);
/// Partitions between two turns of the shard.
const PARTITIONS_PER_TURN: usize = 256;

/// Starts the work; cancel the task to end it.
pub fn start(shard: &Rc<Shard>) -> Task<()> {
    let shard = Rc::clone(shard);
    task_queue::spawn(Queue::Background, async move {
        loop {
            clock::sleep(EVERY).await;
            let now_ms = shard.now_ms();
            for some in shard.partitions.all().chunks(PARTITIONS_PER_TURN) {
                some.iter().for_each(|partition| partition.log.expire_producers(now_ms));
                task_queue::reactor_turn().await;
            }
        }
    })
}
