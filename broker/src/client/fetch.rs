//! `Fetcher`: reads partitions from all their leaders at once and gives record after record; keeps the position of each.

use std::collections::BTreeMap;
use std::time::Duration;

use coreline_wire::ErrorCode;
use kafka_protocol::messages::{
    FetchRequest, FetchResponse,
    fetch_request::{FetchPartition, FetchTopic},
};

use super::cluster::Lane;
use super::offsets::{EARLIEST, LATEST, by_topic};
use super::records::{Aborted, Fetched, WalkError, Want, walk};
use super::{ClientError, Cluster, Partition, topic_name};

/// Most bytes of one answer, and of one partition in it. A larger batch comes alone (KIP-74).
const ANSWER_BYTES_MAX: i32 = 32 << 20;
const PARTITION_BYTES_MAX: i32 = 4 << 20;
/// Added to the broker's own wait before an answer counts as missing.
const ANSWER_GRACE: Duration = Duration::from_secs(30);

/// What happens when a position is not in the log any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutOfRange {
    /// Go on at the first offset.
    Earliest,
    /// Go on at the end.
    Latest,
    /// It is an error.
    Fail,
}

/// How to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// Only what is committed.
    pub(crate) committed: bool,
    /// Longest wait for new records.
    pub(crate) wait: Duration,
    pub(crate) out_of_range: OutOfRange,
}

/// Positions of partitions that are read.
#[derive(Debug)]
pub(crate) struct Fetcher {
    reading: Reading,
    positions: BTreeMap<Partition, i64>,
    scratch: Vec<u8>,
    /// Partition that goes first in the next request, so that none starves behind a full answer.
    turn: usize,
}

/// Why a poll ended.
#[derive(Debug)]
pub(crate) enum PollError<E> {
    /// The cluster's side.
    Client(ClientError),
    /// Whoever took the records failed.
    Each(E),
}

impl<E> From<ClientError> for PollError<E> {
    fn from(error: ClientError) -> Self {
        PollError::Client(error)
    }
}

impl Fetcher {
    /// Reads nothing yet.
    pub(crate) fn new(reading: Reading) -> Fetcher {
        Fetcher { reading, positions: BTreeMap::new(), scratch: Vec::new(), turn: 0 }
    }

    /// Reads these from now on, and nothing else.
    pub(crate) fn assign(&mut self, positions: BTreeMap<Partition, i64>) {
        self.positions = positions;
    }

    /// Reads a partition no more.
    pub(crate) fn drop_partition(&mut self, partition: &Partition) {
        self.positions.remove(partition);
    }

    /// The next offset of each partition.
    pub(crate) fn positions(&self) -> &BTreeMap<Partition, i64> {
        &self.positions
    }

    /// Asks every leader once and gives each record to `each`, until it has enough. Returns false when it has.
    pub(crate) fn poll<E>(
        &mut self,
        cluster: &mut Cluster,
        mut each: impl FnMut(&Fetched<'_>) -> Result<Want, E>,
    ) -> Result<bool, PollError<E>> {
        let mut partitions: Vec<Partition> = self.positions.keys().cloned().collect();
        if partitions.is_empty() {
            return Ok(true);
        }
        self.turn = (self.turn + 1) % partitions.len();
        let turn = self.turn;
        let by_node = cluster.retry(|cluster| cluster.by_leader(&partitions))?;
        partitions.clear();
        let mut sent = Vec::new();
        let mut lost = false;
        for (node, mut partitions) in by_node {
            let turn = turn % partitions.len();
            partitions.rotate_left(turn);
            match cluster.send::<FetchRequest>(node, Lane::Long, |version| self.request(&partitions, version)) {
                Ok(one) => sent.push((node, one)),
                Err(ClientError::Interrupted) => return Err(ClientError::Interrupted.into()),
                Err(error) if error.is_retriable() => lost = true,
                Err(error) => return Err(error.into()),
            }
        }
        let mut more = true;
        for (node, one) in sent {
            match cluster.receive::<FetchRequest>(node, Lane::Long, one, self.reading.wait + ANSWER_GRACE) {
                // What is left unread is fetched again from the same position.
                Ok(answer) if more => more = self.take(cluster, answer, &mut lost, &mut each)?,
                Ok(_) => {}
                Err(error) if error.is_retriable() => lost = true,
                Err(error) => return Err(error.into()),
            }
        }
        if lost {
            cluster.forget_routes();
            // Not at once: whoever is lost may need a moment.
            let mut backoff = super::backoff::Backoff::until(std::time::Instant::now() + Duration::from_secs(1));
            cluster.pause(&mut backoff)?;
        }
        Ok(more)
    }

    fn request(&self, partitions: &[Partition], version: i16) -> FetchRequest {
        let topics = by_topic(
            partitions,
            |p| {
                FetchPartition::default()
                    .with_partition(p.1)
                    .with_current_leader_epoch(-1)
                    .with_fetch_offset(self.positions.get(p).copied().unwrap_or(0))
                    .with_log_start_offset(-1)
                    .with_partition_max_bytes(PARTITION_BYTES_MAX)
            },
            |name, partitions| FetchTopic::default().with_topic(topic_name(name)).with_partitions(partitions),
        );
        let request = FetchRequest::default()
            .with_replica_id((-1).into())
            .with_max_wait_ms(i32::try_from(self.reading.wait.as_millis()).unwrap_or(i32::MAX))
            .with_min_bytes(1)
            .with_max_bytes(ANSWER_BYTES_MAX)
            .with_isolation_level(i8::from(self.reading.committed))
            .with_topics(topics);
        // No session: every request says all.
        if version >= 7 { request.with_session_id(0).with_session_epoch(-1) } else { request }
    }

    fn take<E>(
        &mut self,
        cluster: &mut Cluster,
        answer: FetchResponse,
        lost: &mut bool,
        each: &mut impl FnMut(&Fetched<'_>) -> Result<Want, E>,
    ) -> Result<bool, PollError<E>> {
        ClientError::check(answer.error_code, None, || "fetching".into())?;
        for topic in answer.responses {
            for p in topic.partitions {
                let partition = (topic.topic.to_string(), p.partition_index);
                let Some(position) = self.positions.get(&partition).copied() else { continue };
                match ErrorCode::from_code(p.error_code) {
                    ErrorCode::None => {}
                    ErrorCode::OffsetOutOfRange => {
                        let offset = self.reset(cluster, &partition, position)?;
                        self.positions.insert(partition, offset);
                        continue;
                    }
                    code if code.is_retriable() => {
                        *lost = true;
                        continue;
                    }
                    code => {
                        let what = format!("fetching topic '{}' partition {}", partition.0, partition.1);
                        return Err(ClientError::kafka(code.code(), None, what).into());
                    }
                }
                let Some(bytes) = p.records.filter(|bytes| !bytes.is_empty()) else { continue };
                let aborted: Aborted = match &p.aborted_transactions {
                    Some(all) if self.reading.committed => all.iter().map(|a| (*a.producer_id, a.first_offset)).collect(),
                    _ => Vec::new(),
                };
                let walked = walk(bytes, &partition.0, partition.1, position, aborted, &mut self.scratch, &mut *each);
                let (next, want) = walked.map_err(|error| match error {
                    WalkError::Each(error) => PollError::Each(error),
                    WalkError::Batch { topic, partition, offset, why } => PollError::Client(ClientError::Protocol {
                        at: format!("topic '{topic}' partition {partition} at offset {offset}"),
                        why: format!("the batch is damaged: {why}"),
                    }),
                })?;
                self.positions.insert(partition, next);
                if want == Want::Enough {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn reset(&self, cluster: &mut Cluster, partition: &Partition, position: i64) -> Result<i64, ClientError> {
        let time = match self.reading.out_of_range {
            OutOfRange::Earliest => EARLIEST,
            OutOfRange::Latest => LATEST,
            OutOfRange::Fail => {
                let what = format!("topic '{}' partition {}: offset {position}", partition.0, partition.1);
                return Err(ClientError::kafka(ErrorCode::OffsetOutOfRange.code(), None, what));
            }
        };
        let found = cluster.offsets_at(std::slice::from_ref(partition), time, self.reading.committed)?;
        Ok(found.get(partition).map_or(0, |at| at.offset))
    }
}
