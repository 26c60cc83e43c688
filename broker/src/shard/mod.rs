//! A shard: all that one core owns. Its id, its end of the mesh, its clock; partitions, metrics and coordinators hang on it.
//!
//! Always held as `Rc<Shard>` on the shard's own thread; another shard is reached by a message, never by a pointer.

pub mod credits;
pub mod mesh;
pub mod request;
pub mod rescue;
pub mod task_queue;

use std::fmt;
use std::sync::Arc;

pub use request::{Mesh, ShardReply, ShardRequest};
use rescue::Pulse;

/// Number of a shard within this process, from 0. Never written to disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ShardId(pub u16);

impl ShardId {
    /// The shard that runs the metadata quorum and the coordinators.
    pub const METADATA: ShardId = ShardId(0);

    /// As an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// All that one core owns.
pub struct Shard {
    /// Which one this is.
    pub id: ShardId,
    /// How many there are.
    pub count: u16,
    /// Its end of the mesh.
    pub mesh: Mesh,
    /// Its turns and its outstanding work, watched by the rescue thread.
    pub pulse: Arc<Pulse>,
}

impl Shard {
    /// Wall clock, milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
    }
}
