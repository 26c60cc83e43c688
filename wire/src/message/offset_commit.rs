//! OffsetCommit, API key 8, version 10 alone: topics by id instead of name (KIP-848). `kafka-protocol` ends at version 9.
//!
//! Always flexible. Unknown tagged fields are skipped. Which ids exist is for the handler to say.

use bytes::{Bytes, BytesMut};

use super::topic::{read_id, skip_tags, write_no_tags};
use super::{only, read_array};
use crate::api::ApiKey;
use crate::decode::{DecodeError, Decoder};
use crate::encode::{Sink, measure};
use crate::error_code::ErrorCode;
use crate::ids::{LeaderEpoch, Offset, PartitionIndex, TopicId};
use crate::primitive::{WireString, put_array, put_nullable_string, put_string};

/// The version that is read and written here.
pub const VERSION: i16 = 10;

/// An OffsetCommit request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OffsetCommitRequest {
    /// The group.
    pub group_id: WireString,
    /// Generation of a classic group, epoch of a member of a consumer group; -1 without group management.
    pub generation_id_or_member_epoch: i32,
    /// The member, or empty.
    pub member_id: WireString,
    /// The member's static name.
    pub group_instance_id: Option<WireString>,
    /// What to keep, by topic.
    pub topics: Vec<OffsetCommitTopic>,
}

/// Offsets of one topic.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OffsetCommitTopic {
    /// The topic.
    pub topic_id: TopicId,
    /// Offsets, by partition.
    pub partitions: Vec<OffsetCommitPartition>,
}

/// The offset of one partition.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OffsetCommitPartition {
    /// Partition number.
    pub index: PartitionIndex,
    /// Offset of the next record to consume.
    pub offset: Offset,
    /// Leader epoch of the last consumed record, -1 when unknown.
    pub leader_epoch: LeaderEpoch,
    /// The client's own note.
    pub metadata: Option<WireString>,
}

/// The answer to an OffsetCommit request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OffsetCommitResponse {
    /// How long the client is muted because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// Outcomes, by topic.
    pub topics: Vec<OffsetCommitTopicResponse>,
}

/// Outcomes for one topic.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OffsetCommitTopicResponse {
    /// The topic.
    pub topic_id: TopicId,
    /// Number and outcome of each partition.
    pub partitions: Vec<(PartitionIndex, ErrorCode)>,
}

impl OffsetCommitRequest {
    /// Decodes a request body. Strings share `body`'s memory.
    pub fn decode(body: &Bytes, version: i16) -> Result<OffsetCommitRequest, DecodeError> {
        only(ApiKey::OffsetCommit, version, VERSION)?;
        let mut d = Decoder::new(body);
        let group_id = WireString::share(body, d.string(true)?);
        let generation_id_or_member_epoch = d.i32()?;
        let member_id = WireString::share(body, d.string(true)?);
        let group_instance_id = d.nullable_string(true)?.map(|s| WireString::share(body, s));
        let topics = read_array(&mut d, true, false, 16 + 1 + 1, |d| {
            let topic_id = read_id(d)?;
            let partitions = read_array(d, true, false, 4 + 8 + 4 + 1 + 1, |d| {
                let (index, offset, leader_epoch) = (d.i32()?, d.i64()?, d.i32()?);
                let metadata = d.nullable_string(true)?.map(|s| WireString::share(body, s));
                skip_tags(d, true)?;
                Ok(OffsetCommitPartition { index, offset, leader_epoch, metadata })
            })?;
            skip_tags(d, true)?;
            Ok(OffsetCommitTopic { topic_id, partitions })
        })?;
        skip_tags(&mut d, true)?;
        d.finish()?;
        Ok(OffsetCommitRequest { group_id, generation_id_or_member_epoch, member_id, group_instance_id, topics })
    }

    /// Writes the request body.
    pub fn write<W: Sink>(&self, w: &mut W) {
        put_string(w, &self.group_id, true);
        w.i32(self.generation_id_or_member_epoch);
        put_string(w, &self.member_id, true);
        put_nullable_string(w, self.group_instance_id.as_deref(), true);
        put_array(w, self.topics.len(), true);
        for topic in &self.topics {
            w.put(&topic.topic_id.0);
            put_array(w, topic.partitions.len(), true);
            for partition in &topic.partitions {
                w.i32(partition.index);
                w.i64(partition.offset);
                w.i32(partition.leader_epoch);
                put_nullable_string(w, partition.metadata.as_deref(), true);
                write_no_tags(w, true);
            }
            write_no_tags(w, true);
        }
        write_no_tags(w, true);
    }
}

impl OffsetCommitResponse {
    /// Decodes a response body.
    pub fn decode(body: &Bytes, version: i16) -> Result<OffsetCommitResponse, DecodeError> {
        only(ApiKey::OffsetCommit, version, VERSION)?;
        let mut d = Decoder::new(body);
        let throttle_time_ms = d.i32()?;
        let topics = read_array(&mut d, true, false, 16 + 1 + 1, |d| {
            let topic_id = read_id(d)?;
            let partitions = read_array(d, true, false, 4 + 2 + 1, |d| {
                let outcome = (d.i32()?, ErrorCode::from_code(d.i16()?));
                skip_tags(d, true)?;
                Ok(outcome)
            })?;
            skip_tags(d, true)?;
            Ok(OffsetCommitTopicResponse { topic_id, partitions })
        })?;
        skip_tags(&mut d, true)?;
        d.finish()?;
        Ok(OffsetCommitResponse { throttle_time_ms, topics })
    }

    /// Encodes the response body.
    pub fn encode(&self) -> BytesMut {
        let mut body = BytesMut::with_capacity(measure(|w| self.write(w)));
        self.write(&mut body);
        body
    }

    fn write<W: Sink>(&self, w: &mut W) {
        w.i32(self.throttle_time_ms);
        put_array(w, self.topics.len(), true);
        for topic in &self.topics {
            w.put(&topic.topic_id.0);
            put_array(w, topic.partitions.len(), true);
            for (index, error) in &topic.partitions {
                w.i32(*index);
                w.i16(error.code());
                write_no_tags(w, true);
            }
            write_no_tags(w, true);
        }
        write_no_tags(w, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fence::check_request;
    use crate::test_random::Random;

    #[test]
    fn a_request_and_an_answer_come_back_as_they_were_written() {
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let r = &mut random;
            let partition = |r: &mut Random| OffsetCommitPartition {
                index: r.next() as i32,
                offset: r.next() as i64,
                leader_epoch: r.next() as i32,
                metadata: (r.below(3) > 0).then(|| r.text(9).into()),
            };
            let id = |r: &mut Random| TopicId(std::array::from_fn(|_| r.next() as u8));
            let topic = |r: &mut Random| OffsetCommitTopic { topic_id: id(r), partitions: (0..r.below(4)).map(|_| partition(r)).collect() };
            let request = OffsetCommitRequest {
                group_id: r.text(9).into(),
                generation_id_or_member_epoch: r.next() as i32,
                member_id: r.text(9).into(),
                group_instance_id: (r.below(2) > 0).then(|| r.text(9).into()),
                topics: (0..r.below(4)).map(|_| topic(r)).collect(),
            };
            let mut body = BytesMut::new();
            request.write(&mut body);
            let body = body.freeze();
            check_request(8, 10, &body).unwrap_or_else(|e| panic!("seed {seed}: fence: {e}"));
            assert_eq!(OffsetCommitRequest::decode(&body, 10), Ok(request), "seed {seed}");
            for cut in 0..body.len() {
                assert!(OffsetCommitRequest::decode(&body.slice(..cut), 10).is_err(), "seed {seed} cut at {cut}");
            }

            let outcome = |r: &mut Random| (r.next() as i32, if r.below(2) == 0 { ErrorCode::None } else { ErrorCode::UnknownTopicId });
            let topic =
                |r: &mut Random| OffsetCommitTopicResponse { topic_id: id(r), partitions: (0..r.below(4)).map(|_| outcome(r)).collect() };
            let response = OffsetCommitResponse { throttle_time_ms: r.next() as i32, topics: (0..r.below(4)).map(|_| topic(r)).collect() };
            let body = response.encode().freeze();
            assert_eq!(OffsetCommitResponse::decode(&body, 10), Ok(response), "seed {seed}");
        }
    }

    #[test]
    fn a_request_is_the_one_of_the_schema_byte_by_byte() {
        let partition = OffsetCommitPartition { index: 2, offset: 5, leader_epoch: -1, metadata: Some("n".into()) };
        let request = OffsetCommitRequest {
            group_id: "g".into(),
            generation_id_or_member_epoch: 7,
            member_id: "m".into(),
            group_instance_id: None,
            topics: vec![OffsetCommitTopic { topic_id: TopicId([9; 16]), partitions: vec![partition] }],
        };
        let mut body = Vec::new();
        request.write(&mut body);
        let head = [2, b'g', 0, 0, 0, 7, 2, b'm', 0, 2];
        let tail = [2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 2, b'n', 0, 0, 0];
        assert_eq!(body, [&head[..], &[9; 16], &tail].concat());
        let body = Bytes::from(body);
        assert!([9, 11].iter().all(|version| OffsetCommitRequest::decode(&body, *version).is_err()), "other versions");
    }
}
