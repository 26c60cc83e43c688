//! OffsetFetch, API key 9, version 10 alone: topics by id instead of name (KIP-848). `kafka-protocol` ends at version 9.
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
use crate::primitive::{WireString, put_array, put_null_array, put_nullable_string, put_string};

/// The version that is read and written here.
pub const VERSION: i16 = 10;

/// An OffsetFetch request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OffsetFetchRequest {
    /// The groups that are asked about.
    pub groups: Vec<OffsetFetchGroup>,
    /// Offsets of open transactions are to be told as unstable (KIP-447).
    pub require_stable: bool,
}

/// What is asked about one group.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OffsetFetchGroup {
    /// The group.
    pub group_id: WireString,
    /// The member that asks.
    pub member_id: Option<WireString>,
    /// Its epoch in a consumer group, or -1.
    pub member_epoch: i32,
    /// Partitions by topic; `None` for all that the group has.
    pub topics: Option<Vec<(TopicId, Vec<PartitionIndex>)>>,
}

/// The answer to an OffsetFetch request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OffsetFetchResponse {
    /// How long the client is muted because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// Answers, by group.
    pub groups: Vec<OffsetFetchGroupResponse>,
}

/// Offsets of one group.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OffsetFetchGroupResponse {
    /// The group.
    pub group_id: WireString,
    /// Its offsets, by topic.
    pub topics: Vec<(TopicId, Vec<OffsetFetchPartition>)>,
    /// Outcome for the group.
    pub error_code: ErrorCode,
}

/// The offset of one partition.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OffsetFetchPartition {
    /// Partition number.
    pub index: PartitionIndex,
    /// Offset of the next record to consume, -1 when there is none.
    pub offset: Offset,
    /// Leader epoch of the last consumed record, -1 when unknown.
    pub leader_epoch: LeaderEpoch,
    /// The client's own note.
    pub metadata: Option<WireString>,
    /// Outcome.
    pub error_code: ErrorCode,
}

impl OffsetFetchRequest {
    /// Decodes a request body. Strings share `body`'s memory.
    pub fn decode(body: &Bytes, version: i16) -> Result<OffsetFetchRequest, DecodeError> {
        only(ApiKey::OffsetFetch, version, VERSION)?;
        let mut d = Decoder::new(body);
        let groups = read_array(&mut d, true, false, 1 + 1 + 4 + 1 + 1, |d| {
            let group_id = WireString::share(body, d.string(true)?);
            let member_id = d.nullable_string(true)?.map(|s| WireString::share(body, s));
            let member_epoch = d.i32()?;
            let topics = match d.nullable_array(true, 16 + 1 + 1)? {
                None => None,
                Some(count) => {
                    // The count was checked against the bytes that are left and against the element budget.
                    let mut topics = Vec::with_capacity(count);
                    for _ in 0..count {
                        let topic_id = read_id(d)?;
                        let partitions = read_array(d, true, false, 4, |d| d.i32())?;
                        skip_tags(d, true)?;
                        topics.push((topic_id, partitions));
                    }
                    Some(topics)
                }
            };
            skip_tags(d, true)?;
            Ok(OffsetFetchGroup { group_id, member_id, member_epoch, topics })
        })?;
        let require_stable = d.i8()? != 0;
        skip_tags(&mut d, true)?;
        d.finish()?;
        Ok(OffsetFetchRequest { groups, require_stable })
    }

    /// Writes the request body.
    pub fn write<W: Sink>(&self, w: &mut W) {
        put_array(w, self.groups.len(), true);
        for group in &self.groups {
            put_string(w, &group.group_id, true);
            put_nullable_string(w, group.member_id.as_deref(), true);
            w.i32(group.member_epoch);
            match &group.topics {
                None => put_null_array(w, true),
                Some(topics) => {
                    put_array(w, topics.len(), true);
                    for (topic_id, partitions) in topics {
                        w.put(&topic_id.0);
                        put_array(w, partitions.len(), true);
                        partitions.iter().for_each(|index| w.i32(*index));
                        write_no_tags(w, true);
                    }
                }
            }
            write_no_tags(w, true);
        }
        w.i8(self.require_stable.into());
        write_no_tags(w, true);
    }
}

impl OffsetFetchResponse {
    /// Decodes a response body. Strings share `body`'s memory.
    pub fn decode(body: &Bytes, version: i16) -> Result<OffsetFetchResponse, DecodeError> {
        only(ApiKey::OffsetFetch, version, VERSION)?;
        let mut d = Decoder::new(body);
        let throttle_time_ms = d.i32()?;
        let groups = read_array(&mut d, true, false, 1 + 1 + 2 + 1, |d| {
            let group_id = WireString::share(body, d.string(true)?);
            let topics = read_array(d, true, false, 16 + 1 + 1, |d| {
                let topic_id = read_id(d)?;
                let partitions = read_array(d, true, false, 4 + 8 + 4 + 1 + 2 + 1, |d| {
                    let (index, offset, leader_epoch) = (d.i32()?, d.i64()?, d.i32()?);
                    let metadata = d.nullable_string(true)?.map(|s| WireString::share(body, s));
                    let error_code = ErrorCode::from_code(d.i16()?);
                    skip_tags(d, true)?;
                    Ok(OffsetFetchPartition { index, offset, leader_epoch, metadata, error_code })
                })?;
                skip_tags(d, true)?;
                Ok((topic_id, partitions))
            })?;
            let error_code = ErrorCode::from_code(d.i16()?);
            skip_tags(d, true)?;
            Ok(OffsetFetchGroupResponse { group_id, topics, error_code })
        })?;
        skip_tags(&mut d, true)?;
        d.finish()?;
        Ok(OffsetFetchResponse { throttle_time_ms, groups })
    }

    /// Encodes the response body.
    pub fn encode(&self) -> BytesMut {
        let mut body = BytesMut::with_capacity(measure(|w| self.write(w)));
        self.write(&mut body);
        body
    }

    fn write<W: Sink>(&self, w: &mut W) {
        w.i32(self.throttle_time_ms);
        put_array(w, self.groups.len(), true);
        for group in &self.groups {
            put_string(w, &group.group_id, true);
            put_array(w, group.topics.len(), true);
            for (topic_id, partitions) in &group.topics {
                w.put(&topic_id.0);
                put_array(w, partitions.len(), true);
                for partition in partitions {
                    w.i32(partition.index);
                    w.i64(partition.offset);
                    w.i32(partition.leader_epoch);
                    put_nullable_string(w, partition.metadata.as_deref(), true);
                    w.i16(partition.error_code.code());
                    write_no_tags(w, true);
                }
                write_no_tags(w, true);
            }
            w.i16(group.error_code.code());
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
            let id = |r: &mut Random| TopicId(std::array::from_fn(|_| r.next() as u8));
            let topic = |r: &mut Random| (id(r), (0..r.below(4)).map(|_| r.next() as i32).collect());
            let group = |r: &mut Random| OffsetFetchGroup {
                group_id: r.text(9).into(),
                member_id: (r.below(2) > 0).then(|| r.text(9).into()),
                member_epoch: r.next() as i32,
                topics: (r.below(3) > 0).then(|| (0..r.below(4)).map(|_| topic(r)).collect()),
            };
            let request = OffsetFetchRequest { groups: (0..r.below(4)).map(|_| group(r)).collect(), require_stable: r.below(2) > 0 };
            let mut body = BytesMut::new();
            request.write(&mut body);
            let body = body.freeze();
            check_request(9, 10, &body).unwrap_or_else(|e| panic!("seed {seed}: fence: {e}"));
            assert_eq!(OffsetFetchRequest::decode(&body, 10), Ok(request), "seed {seed}");
            for cut in 0..body.len() {
                assert!(OffsetFetchRequest::decode(&body.slice(..cut), 10).is_err(), "seed {seed} cut at {cut}");
            }

            let partition = |r: &mut Random| OffsetFetchPartition {
                index: r.next() as i32,
                offset: r.next() as i64,
                leader_epoch: r.next() as i32,
                metadata: (r.below(3) > 0).then(|| r.text(9).into()),
                error_code: if r.below(2) == 0 { ErrorCode::None } else { ErrorCode::UnknownTopicId },
            };
            let topic = |r: &mut Random| (id(r), (0..r.below(4)).map(|_| partition(r)).collect());
            let group = |r: &mut Random| OffsetFetchGroupResponse {
                group_id: r.text(9).into(),
                topics: (0..r.below(4)).map(|_| topic(r)).collect(),
                error_code: if r.below(2) == 0 { ErrorCode::None } else { ErrorCode::StaleMemberEpoch },
            };
            let response = OffsetFetchResponse { throttle_time_ms: r.next() as i32, groups: (0..r.below(4)).map(|_| group(r)).collect() };
            let body = response.encode().freeze();
            assert_eq!(OffsetFetchResponse::decode(&body, 10), Ok(response), "seed {seed}");
        }
    }

    #[test]
    fn a_request_is_the_one_of_the_schema_byte_by_byte() {
        let group = |topics| OffsetFetchGroup { group_id: "g".into(), member_id: Some("m".into()), member_epoch: 3, topics };
        let groups = vec![group(Some(vec![(TopicId([9; 16]), vec![1])])), group(None)];
        let mut body = Vec::new();
        OffsetFetchRequest { groups, require_stable: true }.write(&mut body);
        let head = [2, b'g', 2, b'm', 0, 0, 0, 3];
        assert_eq!(body, [&[3][..], &head, &[2], &[9; 16], &[2, 0, 0, 0, 1, 0, 0], &head, &[0, 0], &[1, 0]].concat());
    }
}
