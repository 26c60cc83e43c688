//! The nouns of the metadata log: what a committed entry can say about the cluster.
//!
//! A batch of records is one log entry and takes effect as a whole. Encoding: one byte of format version, then postcard. Rules of
//! evolution: variants and fields are only ever added, variants at the end; a record whose fields change becomes a new variant; a
//! reader that meets a version or a variant it does not know refuses the log rather than guess. Meaning: `controller/replay.rs`.

use coreline_wire::ids::{BrokerId, LeaderEpoch, PartitionIndex};
use serde::{Deserialize, Serialize};

use crate::metadata::client_quota::QuotaEntityType;
use crate::metadata::{ConfigResourceKind, Endpoint};

/// Version byte of the batch encoding written by this build.
pub const FORMAT_VERSION: u8 = 1;

/// One fact about the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetadataRecord {
    /// The cluster's id; the first record of a cluster, never changed.
    ClusterId {
        /// 22 characters of url-safe base64.
        id: String,
    },
    /// The finalized level of a feature; 0 removes it.
    FeatureLevel {
        /// Kafka's name of the feature.
        name: String,
        /// The level.
        level: i16,
    },
    /// A broker has registered; replaces its earlier registration. It is fenced until unfenced.
    RegisterBroker {
        /// Node id.
        id: BrokerId,
        /// Of this run of the broker.
        incarnation: [u8; 16],
        /// Broker epoch.
        epoch: i64,
        /// Advertised listeners.
        endpoints: Vec<Endpoint>,
        /// Rack.
        rack: Option<String>,
    },
    /// The broker may lead and is shown to clients.
    UnfenceBroker {
        /// Node id.
        id: BrokerId,
        /// Broker epoch that this is about; another one makes the record void.
        epoch: i64,
    },
    /// The broker leads nothing and is not shown to clients.
    FenceBroker {
        /// Node id.
        id: BrokerId,
        /// Broker epoch that this is about; another one makes the record void.
        epoch: i64,
    },
    /// A topic without partitions yet.
    Topic {
        /// Topic id.
        id: [u8; 16],
        /// Name.
        name: String,
    },
    /// A partition, new at the end of its topic.
    Partition {
        /// Topic id.
        topic: [u8; 16],
        /// Number: the topic's number of partitions so far.
        partition: PartitionIndex,
        /// Replicas, the preferred leader first.
        replicas: Vec<BrokerId>,
        /// In-sync replicas.
        isr: Vec<BrokerId>,
        /// Leader, -1 for none.
        leader: BrokerId,
        /// Leader epoch.
        leader_epoch: LeaderEpoch,
    },
    /// A partition's leadership changed. The partition epoch rises by one; the leader epoch rises by one when `leader` is given.
    PartitionChange {
        /// Topic id.
        topic: [u8; 16],
        /// Number.
        partition: PartitionIndex,
        /// The new leader (possibly the old one again), -1 for none.
        leader: Option<BrokerId>,
        /// The new in-sync replicas.
        isr: Option<Vec<BrokerId>>,
        /// The new replicas.
        replicas: Option<Vec<BrokerId>>,
    },
    /// A topic is gone, with its partitions and its configuration.
    RemoveTopic {
        /// Topic id.
        id: [u8; 16],
    },
    /// An override of a configuration resource.
    Config {
        /// Kind of the resource.
        kind: ConfigResourceKind,
        /// Name of the resource.
        resource: String,
        /// Key.
        key: String,
        /// Value; `None` removes the override.
        value: Option<String>,
    },
    /// A block of producer ids was given away.
    ProducerIdBlock {
        /// Broker that got it.
        broker: BrokerId,
        /// First id that is still free.
        next_producer_id: i64,
    },
    /// A quota of an entity.
    ClientQuota {
        /// Type and name of each part; no name is the default.
        entity: Vec<(QuotaEntityType, Option<String>)>,
        /// Key.
        key: String,
        /// The bits of the value, a 64-bit float; `None` removes the quota.
        value: Option<u64>,
    },
    /// A broker is forgotten.
    UnregisterBroker {
        /// Node id.
        id: BrokerId,
        /// Broker epoch that this is about; another one makes the record void.
        epoch: i64,
    },
}

/// Why a batch of records could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A newer build wrote it.
    #[error("metadata records of format {found}, this build knows {FORMAT_VERSION}")]
    UnknownFormat {
        /// The version byte.
        found: u8,
    },
    /// It cannot be read in its format.
    #[error("metadata records do not decode: {0}")]
    Malformed(String),
}

/// Encodes a batch.
pub fn encode_batch(records: &[MetadataRecord]) -> Vec<u8> {
    let head = vec![FORMAT_VERSION];
    postcard::to_extend(records, head).expect("records are plain data and a vector grows")
}

/// Decodes a batch.
pub fn decode_batch(bytes: &[u8]) -> Result<Vec<MetadataRecord>, RecordError> {
    match bytes.split_first() {
        None => Err(RecordError::Malformed("no bytes".to_owned())),
        Some((&FORMAT_VERSION, body)) => {
            let (records, rest) = postcard::take_from_bytes(body).map_err(|error| RecordError::Malformed(error.to_string()))?;
            if !rest.is_empty() {
                return Err(RecordError::Malformed(format!("{} bytes after the last record", rest.len())));
            }
            Ok(records)
        }
        Some((&found, _)) => Err(RecordError::UnknownFormat { found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<MetadataRecord> {
        vec![
            MetadataRecord::ClusterId { id: "abcdefghijklmnopqrstuv".to_owned() },
            MetadataRecord::FeatureLevel { name: "metadata.version".to_owned(), level: 25 },
            MetadataRecord::RegisterBroker {
                id: 1,
                incarnation: [7; 16],
                epoch: 3,
                endpoints: vec![Endpoint { name: "PLAINTEXT".to_owned(), host: "h".to_owned(), port: 9092 }],
                rack: None,
            },
            MetadataRecord::UnfenceBroker { id: 1, epoch: 3 },
            MetadataRecord::Topic { id: [9; 16], name: "t".to_owned() },
            MetadataRecord::Partition { topic: [9; 16], partition: 0, replicas: vec![1], isr: vec![1], leader: 1, leader_epoch: 0 },
            MetadataRecord::PartitionChange { topic: [9; 16], partition: 0, leader: Some(-1), isr: None, replicas: None },
            MetadataRecord::Config {
                kind: ConfigResourceKind::Topic,
                resource: "t".to_owned(),
                key: "retention.ms".to_owned(),
                value: Some("5".to_owned()),
            },
            MetadataRecord::ProducerIdBlock { broker: 1, next_producer_id: 1000 },
            MetadataRecord::RemoveTopic { id: [9; 16] },
            MetadataRecord::FenceBroker { id: 1, epoch: 3 },
        ]
    }

    #[test]
    fn a_batch_survives_its_encoding() {
        let records = sample();
        assert_eq!(decode_batch(&encode_batch(&records)), Ok(records));
        assert_eq!(decode_batch(&encode_batch(&[])), Ok(vec![]));
    }

    #[test]
    fn any_cut_is_an_error() {
        let bytes = encode_batch(&sample());
        for cut in 0..bytes.len() {
            assert!(decode_batch(&bytes[..cut]).is_err(), "a batch cut at {cut} of {} was read", bytes.len());
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(decode_batch(&longer).is_err());
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let mut bytes = encode_batch(&sample());
        bytes[0] = 2;
        assert_eq!(decode_batch(&bytes), Err(RecordError::UnknownFormat { found: 2 }));
    }

    #[test]
    fn the_first_format_stays_readable() {
        // Written by format 1. If this fails, stored logs cannot be read any more: do not change the bytes.
        let bytes: Vec<u8> = (0..FORMAT_1_SAMPLE.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&FORMAT_1_SAMPLE[at..at + 2], 16).expect("hexadecimal digits"))
            .collect();
        assert_eq!(decode_batch(&bytes), Ok(sample()));
        assert_eq!(encode_batch(&sample()), bytes);
    }

    const FORMAT_1_SAMPLE: &str = concat!(
        "010b00166162636465666768696a6b6c6d6e6f7071727374757601106d657461646174612e76657273696f6e3202020707070707070707",
        "0707070707070707060109504c41494e544558540168844700030206050909090909090909090909090909090901740609090909090909",
        "0909090909090909090001020102020007090909090909090909090909090909090001010000090001740c726574656e74696f6e2e6d73",
        "0101350a02d00f0809090909090909090909090909090909040206",
    );
}
