//! Control records: transaction markers and the quorum's own. A control batch holds records whose key says what kind they are.
//!
//! Key: int16 version 0, int16 type. Value of a transaction marker: int16 version 0, int32 coordinator epoch. A marker occupies one offset.
//! Callers: the transaction coordinator, the last stable offset, compaction.

use bytes::Bytes;

use super::builder::BatchBuilder;
use super::iter::Record;
use crate::decode::{DecodeError, DecodeErrorKind, Decoder};
use crate::encode::Sink;
use crate::ids::{ProducerEpoch, ProducerId};

/// What kind of control record it is, by its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ControlType {
    /// The transaction was aborted.
    Abort,
    /// The transaction was committed.
    Commit,
    /// The quorum has a new leader (KIP-595).
    LeaderChange,
    /// First record of a metadata snapshot (KIP-630).
    SnapshotHeader,
    /// Last record of a metadata snapshot (KIP-630).
    SnapshotFooter,
    /// The quorum's protocol version (KIP-853).
    KRaftVersion,
    /// The quorum's voters (KIP-853).
    KRaftVoters,
    /// One that we do not know; readers skip it.
    Unknown(i16),
}

impl ControlType {
    /// Its number in the key.
    pub const fn code(self) -> i16 {
        match self {
            ControlType::Abort => 0,
            ControlType::Commit => 1,
            ControlType::LeaderChange => 2,
            ControlType::SnapshotHeader => 3,
            ControlType::SnapshotFooter => 4,
            ControlType::KRaftVersion => 5,
            ControlType::KRaftVoters => 6,
            ControlType::Unknown(code) => code,
        }
    }

    /// The kind with this number.
    pub const fn from_code(code: i16) -> ControlType {
        match code {
            0 => ControlType::Abort,
            1 => ControlType::Commit,
            2 => ControlType::LeaderChange,
            3 => ControlType::SnapshotHeader,
            4 => ControlType::SnapshotFooter,
            5 => ControlType::KRaftVersion,
            6 => ControlType::KRaftVoters,
            other => ControlType::Unknown(other),
        }
    }

    /// Reads the key of a control record. Later versions may append to it.
    pub fn parse(key: &[u8]) -> Result<ControlType, DecodeError> {
        let mut d = Decoder::new(key);
        if d.i16()? < 0 {
            return Err(d.error(DecodeErrorKind::BadLength(-1)));
        }
        Ok(ControlType::from_code(d.i16()?))
    }

    fn key(self) -> [u8; 4] {
        let [a, b] = self.code().to_be_bytes();
        [0, 0, a, b]
    }
}

/// A transaction marker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EndTransactionMarker {
    /// True when the transaction was committed, false when aborted.
    pub committed: bool,
    /// Epoch of the coordinator that decided.
    pub coordinator_epoch: i32,
}

impl EndTransactionMarker {
    /// Reads a marker from a control record; `None` when the record is of another kind.
    pub fn parse(record: &Record<'_>) -> Result<Option<EndTransactionMarker>, DecodeError> {
        let committed = match ControlType::parse(record.key.unwrap_or_default())? {
            ControlType::Commit => true,
            ControlType::Abort => false,
            _ => return Ok(None),
        };
        let mut d = Decoder::new(record.value.unwrap_or_default());
        d.i16()?;
        Ok(Some(EndTransactionMarker { committed, coordinator_epoch: d.i32()? }))
    }

    /// Builds the control batch that carries the marker.
    pub fn batch(&self, producer_id: ProducerId, producer_epoch: ProducerEpoch, timestamp_ms: i64) -> Bytes {
        let kind = if self.committed { ControlType::Commit } else { ControlType::Abort };
        let mut value = Vec::with_capacity(6);
        value.i16(0);
        value.i32(self.coordinator_epoch);
        let mut builder = BatchBuilder::new().producer(producer_id, producer_epoch, -1).transactional().control();
        builder.push(timestamp_ms, Some(&kind.key()), Some(&value), &[]);
        builder.build().expect("nothing is compressed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::batch::{BatchError, Origin, RawBatch};
    use crate::record::iter::Records;

    #[test]
    fn markers_come_back_and_are_refused_from_clients() {
        for committed in [true, false] {
            let marker = EndTransactionMarker { committed, coordinator_epoch: 9 };
            let bytes = marker.batch(77, 3, 1_000);
            let batch = RawBatch::new(bytes.clone()).validate(Origin::Broker).expect("sound");
            assert!(batch.header().attributes.is_control() && batch.header().attributes.is_transactional());
            assert_eq!((batch.header().producer_id, batch.header().producer_epoch, batch.header().base_sequence), (77, 3, -1));
            let record = Records::new(batch.payload(), 1).expect("fits").next().expect("one").expect("sound");
            assert_eq!(record.key, Some(&[0, 0, 0, committed as u8][..]));
            assert_eq!(EndTransactionMarker::parse(&record), Ok(Some(marker)));
            assert_eq!(RawBatch::new(bytes).validate(Origin::Client { zstd_allowed: true }), Err(BatchError::Control));
        }
    }

    #[test]
    fn kinds_are_numbered_as_in_kafka_and_others_are_kept() {
        for code in -3..10 {
            assert_eq!(ControlType::from_code(code).code(), code);
        }
        assert_eq!(ControlType::parse(&[0, 0, 0, 2]), Ok(ControlType::LeaderChange));
        assert_eq!(ControlType::parse(&[0, 1, 0, 1, 9]), Ok(ControlType::Commit));
        assert!(ControlType::parse(&[0, 0, 0]).is_err());
        assert!(ControlType::parse(&[0xff, 0xff, 0, 0]).is_err());
    }
}
