//! What the main thread and the load threads tell each other, and what every actor of a load thread is handed.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::cells::Cells;
use super::template::Template;
use crate::client::poll::Poll;
use crate::client::topology::{PartitionNumber, Topology};
use crate::scenario::{Partitioner, Scenario};

/// A start that is not known yet.
pub const FAR: u64 = u64::MAX / 2;

/// Between the main thread and the load threads.
#[derive(Debug)]
pub struct Shared {
    /// Start of the schedule, ns of the monotonic clock; [`FAR`] while it is not known.
    start_ns: AtomicU64,
    /// End of the schedule; `u64::MAX` while it is not known.
    pub end_ns: AtomicU64,
    /// Start of the measured phase; `u64::MAX` while it is not known.
    pub measured_ns: AtomicU64,
    /// Time is up: report and end.
    pub stop: AtomicBool,
    /// When a server answered last.
    pub answered_ns: AtomicU64,
    /// A load thread found the leaders to be wrong.
    pub stale: AtomicBool,
    /// Producers that still have something to send or to hear.
    pub producers_busy: AtomicUsize,
    /// Sets of readers that have not read to the end offsets.
    pub readers_busy: AtomicUsize,
    /// Load threads whose readers and idle connections do not all stand yet.
    pub unready: AtomicUsize,
    /// Where each partition ends, once nothing more is produced.
    pub end_offsets: OnceLock<Vec<i64>>,
    /// When the server was seen to answer a produce request for the first time after it went down; 0 when not, or not asked.
    pub first_ack_ns: AtomicU64,
    /// When the server went down; 0 when it did not.
    pub down_ns: AtomicU64,
    /// Thread ids of the load threads.
    pub threads: Mutex<Vec<i32>>,
    topology: Mutex<Arc<Topology>>,
    topology_version: AtomicU64,
}

impl Shared {
    /// Of a run that has not started.
    pub fn new(now: u64, topology: Topology) -> Shared {
        Shared {
            start_ns: AtomicU64::new(FAR),
            end_ns: AtomicU64::new(u64::MAX),
            measured_ns: AtomicU64::new(u64::MAX),
            stop: AtomicBool::new(false),
            answered_ns: AtomicU64::new(now),
            stale: AtomicBool::new(false),
            producers_busy: AtomicUsize::new(0),
            readers_busy: AtomicUsize::new(0),
            unready: AtomicUsize::new(0),
            end_offsets: OnceLock::new(),
            first_ack_ns: AtomicU64::new(0),
            down_ns: AtomicU64::new(0),
            threads: Mutex::default(),
            topology: Mutex::new(Arc::new(topology)),
            topology_version: AtomicU64::new(0),
        }
    }

    /// Start of the schedule; [`FAR`] while it is not known.
    pub fn start_ns(&self) -> u64 {
        self.start_ns.load(Ordering::Relaxed)
    }

    /// Sets the start.
    pub fn start_at(&self, ns: u64) {
        self.start_ns.store(ns, Ordering::Relaxed);
    }

    /// The topology in force and its version.
    pub fn topology(&self) -> (Arc<Topology>, u64) {
        let guard = self.topology.lock().unwrap_or_else(PoisonError::into_inner);
        (Arc::clone(&guard), self.topology_version.load(Ordering::Acquire))
    }

    /// The version alone, cheap.
    pub fn topology_version(&self) -> u64 {
        self.topology_version.load(Ordering::Acquire)
    }

    /// Replaces the topology.
    pub fn set_topology(&self, topology: Topology) {
        let mut guard = self.topology.lock().unwrap_or_else(PoisonError::into_inner);
        *guard = Arc::new(topology);
        self.topology_version.fetch_add(1, Ordering::Release);
    }
}

/// What all actors of a run know from the start.
#[derive(Debug)]
pub struct Plan {
    /// The scenario.
    pub scenario: Scenario,
    /// Id of this run in payloads.
    pub run_id: u32,
    /// Id of the preload's payloads, if there is one.
    pub preload_id: Option<u32>,
    /// Records each producer sends at most; `u64::MAX` without a bound.
    pub records_max: u64,
    /// Partition within its topic of each key.
    pub partition_of_key: Vec<u32>,
    /// Keys that may stand in a record of a partition, by partition within its topic, one after the other.
    pub keys_of: Vec<Vec<u8>>,
}

impl Plan {
    /// Deals the keys out.
    pub fn new(scenario: &Scenario, run_id: u32, preload_id: Option<u32>, records_max: u64) -> Plan {
        let p = &scenario.producers;
        let partitions = scenario.topic.partitions;
        let mut plan = Plan {
            scenario: scenario.clone(),
            run_id,
            preload_id,
            records_max,
            partition_of_key: Vec::new(),
            keys_of: vec![Vec::new(); partitions as usize],
        };
        if p.key_bytes == 0 {
            return plan;
        }
        for k in 0..p.keys {
            let mut key = format!("{:08x}", k.wrapping_mul(0x9e37_79b1)).into_bytes();
            key.resize(p.key_bytes as usize, b'k');
            let partition = (murmur2(&key) & 0x7fff_ffff) % partitions;
            if p.partitioner == Partitioner::Keyed {
                plan.keys_of[partition as usize].extend_from_slice(&key);
                plan.partition_of_key.push(partition);
            } else {
                plan.keys_of[(k % partitions) as usize].extend_from_slice(&key);
            }
        }
        plan
    }

    /// Streams of a run: producers times partitions.
    pub fn streams(&self) -> usize {
        self.scenario.producers.count as usize * self.scenario.topic.all_partitions() as usize
    }
}

/// Murmur2 as Kafka's clients use it to place keys.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut h = 0x9747_b28c ^ data.len() as u32;
    let mut chunks = data.chunks_exact(4);
    for c in &mut chunks {
        let mut k = u32::from_le_bytes([c[0], c[1], c[2], c[3]]).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        h = h.wrapping_mul(M) ^ k;
    }
    let rest = chunks.remainder();
    for (i, b) in rest.iter().enumerate() {
        h ^= u32::from(*b) << (8 * i);
    }
    if !rest.is_empty() {
        h = h.wrapping_mul(M);
    }
    h = (h ^ (h >> 13)).wrapping_mul(M);
    h ^ (h >> 15)
}

/// What an actor is handed at each event.
#[derive(Debug)]
pub struct Context<'a> {
    /// The time, just read.
    pub now: u64,
    /// The thread's poll.
    pub poll: &'a Poll,
    /// Where to record.
    pub cells: &'a mut Cells,
    /// The main thread.
    pub shared: &'a Shared,
    /// Who leads what.
    pub topology: &'a Topology,
    /// The run.
    pub plan: &'a Plan,
    /// The batch to fill.
    pub template: &'a mut Template,
    /// Buffer for requests.
    pub request: &'a mut Vec<u8>,
    /// Buffer for decompressed batches.
    pub plain: &'a mut Vec<u8>,
    /// Buffer for answers.
    pub answers: &'a mut Vec<(Option<PartitionNumber>, i16)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_where_kafkas_clients_put_them() {
        // Published test values of Kafka's own murmur2.
        for (key, hash) in [("21", -973_932_308i32), ("foobar", -790_332_482), ("a-little-bit-long-string", -985_981_536)] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }
}
