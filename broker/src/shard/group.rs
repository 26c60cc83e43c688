//! The group coordinator on the metadata shard: its driver over this shard's executor, clocks and partitions.

use std::cell::OnceCell;
use std::rc::Rc;
use std::time::Duration;

use super::offsets_log::PartitionsLog;
use super::task_queue::{self, Queue};
use super::{Shard, clock};
use crate::config::Config;
use crate::coordinator::{GroupConfig, GroupDriver, LocalFuture, Now, Runtime};
use crate::stage::monotonic_us;

/// The driver as it runs here.
pub type ShardGroupDriver = GroupDriver<PartitionsLog, ShardRuntime>;

/// The driver of a shard that is set up later; nothing is loaded before it runs.
pub fn driver(config: &Config, shard: Rc<OnceCell<Rc<Shard>>>) -> ShardGroupDriver {
    GroupDriver::new(GroupConfig::from(config), PartitionsLog::new(shard), ShardRuntime)
}

/// This shard's executor and the system's clocks and randomness.
#[derive(Clone, Copy, Debug)]
pub struct ShardRuntime;

impl Runtime for ShardRuntime {
    fn now(&self) -> Now {
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Now { ticks_ms: (monotonic_us() / 1000) as i64, wall_ms: wall.map_or(0, |since| since.as_millis() as i64) }
    }

    fn sleep(&self, duration: Duration) -> LocalFuture<'static, ()> {
        Box::pin(clock::sleep(duration))
    }

    fn spawn(&self, task: LocalFuture<'static, ()>) {
        task_queue::spawn(Queue::Net, task).detach();
    }

    fn random(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        // A member id has to be unique, not secret; a system without randomness has stopped the start already.
        let _ = getrandom::fill(&mut bytes);
        bytes
    }
}
