//! The request half of Fetch: what to read, and its codec. Versions are listed in the parent module.

use bytes::{Bytes, BytesMut};

use crate::api::ApiKey;
use crate::decode::{DecodeError, Decoder};
use crate::encode::{Sink, measure};
use crate::ids::{BrokerId, LeaderEpoch, Offset, PartitionIndex, TopicId};
use crate::message::topic::{min_topic_size, read_topic, skip_tags, write_no_tags, write_topic};
use crate::message::{read_array, served};
use crate::primitive::{WireString, put_array, put_nullable_string, put_string};
use crate::tagged_field;

/// A Fetch request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchRequest {
    /// Cluster the fetcher believes in (v12 on).
    pub cluster_id: Option<WireString>,
    /// Broker id of a follower, -1 for a consumer. Travels in the replica state from v15 on.
    pub replica_id: BrokerId,
    /// Broker epoch of a follower (v15 on), -1 when unknown.
    pub replica_epoch: i64,
    /// How long to wait for `min_bytes`, in milliseconds.
    pub max_wait_ms: i32,
    /// Answer at once when this many bytes are there.
    pub min_bytes: i32,
    /// Cap on all partitions together; the first batch is returned even when it is larger.
    pub max_bytes: i32,
    /// 0 read uncommitted, 1 read committed.
    pub isolation_level: i8,
    /// Fetch session (v7 on), 0 for none.
    pub session_id: i32,
    /// Epoch of the session (v7 on), -1 for none.
    pub session_epoch: i32,
    /// What to read.
    pub topics: Vec<FetchTopic>,
    /// What to drop from the session (v7 on).
    pub forgotten_topics: Vec<ForgottenTopic>,
    /// Rack of the consumer (v11 on).
    pub rack_id: WireString,
}

impl Default for FetchRequest {
    fn default() -> Self {
        FetchRequest {
            cluster_id: None,
            replica_id: -1,
            replica_epoch: -1,
            max_wait_ms: 0,
            min_bytes: 0,
            max_bytes: i32::MAX,
            isolation_level: 0,
            session_id: 0,
            session_epoch: -1,
            topics: Vec::new(),
            forgotten_topics: Vec::new(),
            rack_id: WireString::EMPTY,
        }
    }
}

/// What to read of one topic.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FetchTopic {
    /// Name; empty from v13 on.
    pub name: WireString,
    /// Id; zero before v13.
    pub topic_id: TopicId,
    /// What to read, by partition.
    pub partitions: Vec<FetchPartition>,
}

/// What to read of one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchPartition {
    /// Partition number.
    pub partition: PartitionIndex,
    /// Leader epoch the fetcher knows (v9 on), -1 when unknown.
    pub current_leader_epoch: LeaderEpoch,
    /// First offset wanted.
    pub fetch_offset: Offset,
    /// Leader epoch of the last record fetched (v12 on), -1 when none.
    pub last_fetched_epoch: LeaderEpoch,
    /// Log start offset of a follower (v5 on), -1 for a consumer.
    pub log_start_offset: Offset,
    /// Cap on this partition.
    pub partition_max_bytes: i32,
    /// Directory of a follower (v17 on), zero when unset.
    pub replica_directory_id: [u8; 16],
    /// High watermark the fetcher knows (v18 on), `i64::MAX` when unset.
    pub high_watermark: Offset,
}

impl Default for FetchPartition {
    fn default() -> Self {
        FetchPartition {
            partition: 0,
            current_leader_epoch: -1,
            fetch_offset: 0,
            last_fetched_epoch: -1,
            log_start_offset: -1,
            partition_max_bytes: 0,
            replica_directory_id: [0; 16],
            high_watermark: i64::MAX,
        }
    }
}

/// Partitions to drop from a fetch session.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ForgottenTopic {
    /// Name; empty from v13 on.
    pub name: WireString,
    /// Id; zero before v13.
    pub topic_id: TopicId,
    /// Partition numbers.
    pub partitions: Vec<PartitionIndex>,
}

impl FetchRequest {
    /// Decodes a request body. Strings share `body`'s memory.
    pub fn decode(body: &Bytes, version: i16) -> Result<FetchRequest, DecodeError> {
        let flexible = served(ApiKey::Fetch, version)?.is_flexible(version);
        let mut d = Decoder::new(body);
        let mut out = FetchRequest::default();
        if version <= 14 {
            out.replica_id = d.i32()?;
        }
        out.max_wait_ms = d.i32()?;
        out.min_bytes = d.i32()?;
        out.max_bytes = d.i32()?;
        out.isolation_level = d.i8()?;
        if version >= 7 {
            out.session_id = d.i32()?;
            out.session_epoch = d.i32()?;
        }
        let topic_size = min_topic_size(version, flexible);
        out.topics = read_array(&mut d, flexible, false, topic_size, |d| {
            let (name, topic_id) = read_topic(d, body, version, flexible)?;
            let partitions = read_array(d, flexible, false, 16, |d| FetchPartition::decode(d, version, flexible))?;
            skip_tags(d, flexible)?;
            Ok(FetchTopic { name, topic_id, partitions })
        })?;
        if version >= 7 {
            out.forgotten_topics = read_array(&mut d, flexible, false, topic_size, |d| {
                let (name, topic_id) = read_topic(d, body, version, flexible)?;
                let partitions = read_array(d, flexible, false, 4, |d| d.i32())?;
                skip_tags(d, flexible)?;
                Ok(ForgottenTopic { name, topic_id, partitions })
            })?;
        }
        if version >= 11 {
            out.rack_id = WireString::share(body, d.string(flexible)?);
        }
        if flexible {
            tagged_field::read(&mut d, |d, tag, _| match tag {
                0 => {
                    out.cluster_id = d.nullable_string(true)?.map(|s| WireString::share(body, s));
                    Ok(true)
                }
                1 if version >= 15 => {
                    out.replica_id = d.i32()?;
                    out.replica_epoch = d.i64()?;
                    tagged_field::skip(d)?;
                    Ok(true)
                }
                _ => Ok(false),
            })?;
        }
        d.finish()?;
        Ok(out)
    }

    /// Exact size of the encoded body in bytes.
    pub fn encoded_len(&self, version: i16) -> usize {
        measure(|w| self.write(w, version))
    }

    /// Appends the encoded body. Fields that the version does not carry are left out. `version` must be a served one.
    pub fn encode(&self, version: i16, out: &mut BytesMut) {
        out.reserve(self.encoded_len(version));
        self.write(out, version);
    }

    fn write<W: Sink>(&self, w: &mut W, version: i16) {
        let spec = ApiKey::Fetch.spec();
        assert!(spec.serves(version), "Fetch v{version} is not served");
        let flexible = spec.is_flexible(version);
        if version <= 14 {
            w.i32(self.replica_id);
        }
        w.i32(self.max_wait_ms);
        w.i32(self.min_bytes);
        w.i32(self.max_bytes);
        w.i8(self.isolation_level);
        if version >= 7 {
            w.i32(self.session_id);
            w.i32(self.session_epoch);
        }
        put_array(w, self.topics.len(), flexible);
        for topic in &self.topics {
            write_topic(w, &topic.name, topic.topic_id, version, flexible);
            put_array(w, topic.partitions.len(), flexible);
            for partition in &topic.partitions {
                partition.write(w, version, flexible);
            }
            write_no_tags(w, flexible);
        }
        if version >= 7 {
            put_array(w, self.forgotten_topics.len(), flexible);
            for topic in &self.forgotten_topics {
                write_topic(w, &topic.name, topic.topic_id, version, flexible);
                put_array(w, topic.partitions.len(), flexible);
                for partition in &topic.partitions {
                    w.i32(*partition);
                }
                write_no_tags(w, flexible);
            }
        }
        if version >= 11 {
            put_string(w, &self.rack_id, flexible);
        }
        if flexible {
            let has_state = version >= 15 && (self.replica_id, self.replica_epoch) != (-1, -1);
            w.unsigned_varint(self.cluster_id.is_some() as u32 + has_state as u32);
            if let Some(cluster_id) = &self.cluster_id {
                tagged_field::write_field(w, 0, |w| put_nullable_string(w, Some(cluster_id), true));
            }
            if has_state {
                tagged_field::write_field(w, 1, |w| {
                    w.i32(self.replica_id);
                    w.i64(self.replica_epoch);
                    w.u8(0);
                });
            }
        }
    }
}

impl FetchPartition {
    fn decode(d: &mut Decoder<'_>, version: i16, flexible: bool) -> Result<Self, DecodeError> {
        let mut out = FetchPartition { partition: d.i32()?, ..Default::default() };
        if version >= 9 {
            out.current_leader_epoch = d.i32()?;
        }
        out.fetch_offset = d.i64()?;
        if version >= 12 {
            out.last_fetched_epoch = d.i32()?;
        }
        if version >= 5 {
            out.log_start_offset = d.i64()?;
        }
        out.partition_max_bytes = d.i32()?;
        if flexible {
            tagged_field::read(d, |d, tag, _| match tag {
                0 if version >= 17 => {
                    out.replica_directory_id = d.uuid()?;
                    Ok(true)
                }
                1 if version >= 18 => {
                    out.high_watermark = d.i64()?;
                    Ok(true)
                }
                _ => Ok(false),
            })?;
        }
        Ok(out)
    }

    fn write<W: Sink>(&self, w: &mut W, version: i16, flexible: bool) {
        w.i32(self.partition);
        if version >= 9 {
            w.i32(self.current_leader_epoch);
        }
        w.i64(self.fetch_offset);
        if version >= 12 {
            w.i32(self.last_fetched_epoch);
        }
        if version >= 5 {
            w.i64(self.log_start_offset);
        }
        w.i32(self.partition_max_bytes);
        if flexible {
            let has_directory = version >= 17 && self.replica_directory_id != [0; 16];
            let has_watermark = version >= 18 && self.high_watermark != i64::MAX;
            w.unsigned_varint(has_directory as u32 + has_watermark as u32);
            if has_directory {
                tagged_field::write_field(w, 0, |w| w.put(&self.replica_directory_id));
            }
            if has_watermark {
                tagged_field::write_field(w, 1, |w| w.i64(self.high_watermark));
            }
        }
    }
}
