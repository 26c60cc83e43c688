//! Looks at every record that came: checksum, delivery header, order, arrival time. Nothing is allocated per record.

use coreline_wire::record::batch::HEADER_BYTES;
use coreline_wire::record::crc32c::crc32c;
use coreline_wire::record::{BatchHeader, Compression, Records, compression};

use super::shared::Context;
use crate::client::topology::PartitionNumber;
use crate::delivery::Checker;
use crate::payload::Stamp;
use crate::result::Metric;

/// Where the checksummed part of a batch begins.
const CHECKED_FROM: usize = 21;
/// Largest batch after decompression.
const PLAIN_BYTES_MAX: usize = 256 << 20;

/// What is the same for all batches of an answer.
#[derive(Debug)]
pub(super) struct Taker<'a, 'c> {
    pub(super) c: &'a mut Context<'c>,
    pub(super) checker: &'a mut Checker,
    /// Whether arrivals count as end-to-end latency.
    pub(super) latency: bool,
    /// Whether order can be told: false for a reader that began at the end after the load did.
    pub(super) check_order: bool,
}

/// Samples of the same times, recorded at once.
#[derive(Default)]
struct Same {
    intended_ns: u64,
    sent_ns: u64,
    count: u64,
}

impl Taker<'_, '_> {
    /// Takes the batches of one partition from `position` on and returns the offset to go on from. A batch cut off at the end is left.
    pub(super) fn take(&mut self, partition: PartitionNumber, mut position: i64, mut records: &[u8]) -> i64 {
        while let Ok(header) = BatchHeader::parse(records) {
            let Some((batch, rest)) = records.split_at_checked(header.size_bytes()) else { break };
            records = rest;
            if header.last_offset() < position {
                continue;
            }
            if crc32c(&batch[CHECKED_FROM..]) != header.crc {
                self.checker.corrupt += header.record_count.max(1) as u64;
                self.c.cells.error("corrupt");
            } else if !header.attributes.is_control() && !self.batch(partition, position, &header, &batch[HEADER_BYTES..]) {
                self.checker.corrupt += 1;
                self.c.cells.error("corrupt");
            }
            position = header.next_offset();
        }
        position
    }

    /// False when the batch does not hold what its header says.
    fn batch(&mut self, partition: PartitionNumber, position: i64, header: &BatchHeader, payload: &[u8]) -> bool {
        match header.compression() {
            Some(Compression::None) => self.records(partition, position, header, payload),
            Some(codec) => {
                let mut plain = std::mem::take(self.c.plain);
                plain.clear();
                let good = compression::decompress(codec, payload, PLAIN_BYTES_MAX, &mut plain).is_ok()
                    && self.records(partition, position, header, &plain);
                *self.c.plain = plain;
                good
            }
            None => false,
        }
    }

    fn records(&mut self, partition: PartitionNumber, position: i64, header: &BatchHeader, payload: &[u8]) -> bool {
        let Ok(records) = Records::new(payload, header.record_count) else { return false };
        let plan = self.c.plan;
        let (all, streams) = (self.c.topology.count(), plan.streams());
        let value_bytes = plan.scenario.producers.value_bytes as usize;
        let mut same = Same::default();
        for record in records {
            let Ok(record) = record else { return false };
            // A fetch may begin inside a batch.
            if header.base_offset + i64::from(record.offset_delta) < position {
                continue;
            }
            let value = record.value.unwrap_or_default();
            let Some(stamp) = Stamp::read(value) else {
                self.checker.foreign += 1;
                continue;
            };
            let base = if stamp.run == plan.run_id {
                0
            } else if Some(stamp.run) == plan.preload_id {
                streams
            } else {
                self.checker.foreign += 1;
                continue;
            };
            let stream = stamp.stream as usize;
            if stream >= streams || stamp.stream % all != partition || value.len() != value_bytes {
                self.checker.corrupt += 1;
                continue;
            }
            let bytes = value.len() + record.key.map_or(0, <[u8]>::len);
            self.c.cells.counts.received += 1;
            self.c.cells.counts.received_bytes += bytes as u64;
            if self.check_order {
                self.checker.see(base + stream, stamp.sequence);
            } else {
                self.checker.received += 1;
            }
            if self.latency && base == 0 {
                if (stamp.intended_ns, stamp.sent_ns) != (same.intended_ns, same.sent_ns) {
                    self.arrived(&same);
                    same = Same { intended_ns: stamp.intended_ns, sent_ns: stamp.sent_ns, count: 0 };
                }
                same.count += 1;
            }
        }
        self.arrived(&same);
        true
    }

    fn arrived(&mut self, same: &Same) {
        if same.count > 0 {
            let now = self.c.now;
            self.c.cells.record(Metric::E2eResponse, same.intended_ns, now.saturating_sub(same.intended_ns), same.count);
            self.c.cells.record(Metric::E2eService, same.intended_ns, now.saturating_sub(same.sent_ns), same.count);
        }
    }
}
