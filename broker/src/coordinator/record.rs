//! Records of `__consumer_offsets`, byte by byte as Kafka writes them: committed offsets and groups, keys and values, tombstones.
//!
//! | record | key | value |
//! |---|---|---|
//! | offset | `version i16 = 0 or 1, group, topic, partition i32` | v0: offset, metadata, committed at; v1: + expires at; v2: as v0; v3: offset, leader epoch, metadata, committed at; v4: v3 in flexible form |
//! | group | `version i16 = 2, group` | v0: type, generation, protocol, leader, members; v1: + rebalance timeout; v2: + time of the state; v3: + instance id; v4: v3 in flexible form |
//!
//! Everything is big-endian; strings carry an i16 length and blobs an i32 length (in v4 compact lengths and tagged fields, of which one is
//! known: the topic id). A record without a value is a tombstone. Written: offset key v1 with value v4 (v3 without a topic id, v1 when it
//! has an expiry of its own), group key v2 with value v3, as Kafka 4.3 does. Consumer groups: `consumer_record`. Other key versions belong to
//! other kinds of groups and are told apart, not refused.
//! Callers: the driver (both ways), `group::image` (replay).

use bytes::{Buf, BufMut, Bytes};
use coreline_wire::TopicId;

use super::consumer_record::ConsumerRecord;

/// One record of `__consumer_offsets` that we understand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// The committed offset of one partition in one group.
    Offset {
        /// The group.
        group: String,
        /// The topic's name.
        topic: String,
        /// The partition.
        partition: i32,
        /// `None` removes it.
        value: Option<OffsetValue>,
    },
    /// A classic group and its members.
    Group {
        /// The group.
        group: String,
        /// `None` removes it.
        value: Option<GroupValue>,
    },
    /// A part of a consumer group (KIP-848).
    Consumer(ConsumerRecord),
}

/// A committed offset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OffsetValue {
    /// Offset of the next record to consume.
    pub offset: i64,
    /// Leader epoch of the last consumed record; -1 when unknown.
    pub leader_epoch: i32,
    /// The client's own note.
    pub metadata: String,
    /// Wall clock of the commit, milliseconds.
    pub commit_timestamp_ms: i64,
    /// Own expiry (OffsetCommit v2 to v4), milliseconds; -1 for none.
    pub expire_timestamp_ms: i64,
    /// Id of the topic; zero when unknown.
    pub topic_id: TopicId,
}

/// A classic group as it is between rebalances.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GroupValue {
    /// `consumer`, `connect`, ...; empty for a group that never had a member.
    pub protocol_type: String,
    /// The generation.
    pub generation: i32,
    /// The assignor of the generation; none in an empty group.
    pub protocol: Option<String>,
    /// Member id of the leader.
    pub leader: Option<String>,
    /// When the group came into this state, wall clock milliseconds; -1 when unknown.
    pub state_timestamp_ms: i64,
    /// Members in the order of their ids when we wrote it.
    pub members: Vec<MemberValue>,
}

/// A member of a classic group.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MemberValue {
    /// Its id.
    pub member_id: String,
    /// Its static name.
    pub instance_id: Option<String>,
    /// The client's name for itself.
    pub client_id: String,
    /// Its address, `/127.0.0.1`.
    pub client_host: String,
    /// How long it may take to rejoin; -1 in records of version 0, where the session timeout counts.
    pub rebalance_timeout_ms: i32,
    /// It is removed when it says nothing for this long.
    pub session_timeout_ms: i32,
    /// Its blob for the generation's protocol; opaque.
    pub subscription: Bytes,
    /// Its assignment; opaque.
    pub assignment: Bytes,
}

/// What a key and value turned out to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decoded {
    /// One of ours.
    Known(Record),
    /// A record of another kind of group, by the version of its key.
    Unknown(i16),
}

/// Why bytes are not a record, or a record cannot be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordError {
    /// The bytes end inside a field, or a length points beyond them.
    #[error("a record of the offsets topic ends inside a field")]
    Truncated,
    /// A text is not UTF-8.
    #[error("a text in a record of the offsets topic is not UTF-8")]
    NotUtf8,
    /// A field that must be there is null.
    #[error("a field of a record of the offsets topic is null and must not be")]
    UnexpectedNull,
    /// The value's version is newer than what we read.
    #[error("version {0} of a value in the offsets topic is not known")]
    ValueVersion(i16),
    /// A text has more than 32,767 bytes, or a blob more than 2^31 - 1.
    #[error("a text or blob is too long for a record of the offsets topic")]
    TooLong,
}

const OFFSET_KEY_VERSION: i16 = 1;
const GROUP_KEY_VERSION: i16 = 2;
/// The version that has room for a topic id.
const OFFSET_VALUE_VERSION_WITH_TOPIC_ID: i16 = 4;
const OFFSET_VALUE_VERSION: i16 = 3;
/// The last version that has room for an expiry of its own.
const OFFSET_VALUE_VERSION_WITH_EXPIRY: i16 = 1;
const GROUP_VALUE_VERSION: i16 = 3;
const TOPIC_ID_TAG: u32 = 0;
const NEWEST_VALUE_VERSION: i16 = 4;
const FIRST_FLEXIBLE_VALUE_VERSION: i16 = 4;
/// Smallest encoding of a member: two empty strings and a session timeout, two empty blobs, one member id (flexible form).
const MEMBER_BYTES_MIN: usize = 3 + 4 + 2 + 1;

impl Record {
    /// The group that the record belongs to.
    pub fn group(&self) -> &str {
        match self {
            Record::Offset { group, .. } | Record::Group { group, .. } => group,
            Record::Consumer(record) => record.group(),
        }
    }

    /// Key and value; no value for a tombstone.
    pub fn encode(&self) -> Result<(Bytes, Option<Bytes>), RecordError> {
        let mut key = Vec::with_capacity(64);
        let value = match self {
            Record::Offset { group, topic, partition, value } => {
                key.put_i16(OFFSET_KEY_VERSION);
                put_text(&mut key, group)?;
                put_text(&mut key, topic)?;
                key.put_i32(*partition);
                value.as_ref().map(encode_offset).transpose()?
            }
            Record::Group { group, value } => {
                key.put_i16(GROUP_KEY_VERSION);
                put_text(&mut key, group)?;
                value.as_ref().map(encode_group).transpose()?
            }
            Record::Consumer(record) => return record.encode(),
        };
        Ok((key.into(), value.map(Bytes::from)))
    }

    /// Reads a key and its value. Bytes after the last known field are ignored, as Kafka's readers do.
    pub fn decode(mut key: &[u8], value: Option<&[u8]>) -> Result<Decoded, RecordError> {
        let record = match get_i16(&mut key)? {
            0 | 1 => {
                let group = Form::Classic.text(&mut key)?;
                let topic = Form::Classic.text(&mut key)?;
                let partition = get_i32(&mut key)?;
                Record::Offset { group, topic, partition, value: value.map(decode_offset).transpose()? }
            }
            GROUP_KEY_VERSION => Record::Group { group: Form::Classic.text(&mut key)?, value: value.map(decode_group).transpose()? },
            other => match ConsumerRecord::decode(other, key, value)? {
                Some(record) => Record::Consumer(record),
                None => return Ok(Decoded::Unknown(other)),
            },
        };
        Ok(Decoded::Known(record))
    }
}

fn encode_offset(value: &OffsetValue) -> Result<Vec<u8>, RecordError> {
    let mut out = Vec::with_capacity(32 + value.metadata.len());
    if value.expire_timestamp_ms >= 0 {
        out.put_i16(OFFSET_VALUE_VERSION_WITH_EXPIRY);
        out.put_i64(value.offset);
        put_text(&mut out, &value.metadata)?;
        out.put_i64(value.commit_timestamp_ms);
        out.put_i64(value.expire_timestamp_ms);
    } else if value.topic_id != TopicId::ZERO {
        out.put_i16(OFFSET_VALUE_VERSION_WITH_TOPIC_ID);
        out.put_i64(value.offset);
        out.put_i32(value.leader_epoch);
        put_compact_text(&mut out, &value.metadata)?;
        out.put_i64(value.commit_timestamp_ms);
        put_varint(&mut out, 1);
        put_varint(&mut out, TOPIC_ID_TAG);
        put_varint(&mut out, value.topic_id.0.len() as u32);
        out.put_slice(&value.topic_id.0);
    } else {
        out.put_i16(OFFSET_VALUE_VERSION);
        out.put_i64(value.offset);
        out.put_i32(value.leader_epoch);
        put_text(&mut out, &value.metadata)?;
        out.put_i64(value.commit_timestamp_ms);
    }
    Ok(out)
}

fn decode_offset(mut bytes: &[u8]) -> Result<OffsetValue, RecordError> {
    let cursor = &mut bytes;
    let version = value_version(cursor)?;
    let form = Form::of(version);
    let offset = get_i64(cursor)?;
    let leader_epoch = if version >= 3 { get_i32(cursor)? } else { -1 };
    let metadata = form.text(cursor)?;
    let commit_timestamp_ms = get_i64(cursor)?;
    let expire_timestamp_ms = if version == 1 { get_i64(cursor)? } else { -1 };
    let mut topic_id = TopicId::ZERO;
    form.tags(cursor, |tag, bytes| {
        if let (TOPIC_ID_TAG, Ok(id)) = (tag, bytes.try_into()) {
            topic_id = TopicId(id);
        }
    })?;
    Ok(OffsetValue { offset, leader_epoch, metadata, commit_timestamp_ms, expire_timestamp_ms, topic_id })
}

fn encode_group(value: &GroupValue) -> Result<Vec<u8>, RecordError> {
    let mut out = Vec::with_capacity(256);
    out.put_i16(GROUP_VALUE_VERSION);
    put_text(&mut out, &value.protocol_type)?;
    out.put_i32(value.generation);
    put_nullable_text(&mut out, value.protocol.as_deref())?;
    put_nullable_text(&mut out, value.leader.as_deref())?;
    out.put_i64(value.state_timestamp_ms);
    out.put_i32(i32::try_from(value.members.len()).map_err(|_| RecordError::TooLong)?);
    for member in &value.members {
        put_text(&mut out, &member.member_id)?;
        put_nullable_text(&mut out, member.instance_id.as_deref())?;
        put_text(&mut out, &member.client_id)?;
        put_text(&mut out, &member.client_host)?;
        out.put_i32(member.rebalance_timeout_ms);
        out.put_i32(member.session_timeout_ms);
        put_blob(&mut out, &member.subscription)?;
        put_blob(&mut out, &member.assignment)?;
    }
    Ok(out)
}

fn decode_group(mut bytes: &[u8]) -> Result<GroupValue, RecordError> {
    let cursor = &mut bytes;
    let version = value_version(cursor)?;
    let form = Form::of(version);
    let protocol_type = form.text(cursor)?;
    let generation = get_i32(cursor)?;
    let protocol = form.nullable_text(cursor)?;
    let leader = form.nullable_text(cursor)?;
    let state_timestamp_ms = if version >= 2 { get_i64(cursor)? } else { -1 };
    let count = form.count(cursor)?;
    if count > cursor.len() / MEMBER_BYTES_MIN {
        return Err(RecordError::Truncated);
    }
    let mut members = Vec::new();
    for _ in 0..count {
        members.push(decode_member(cursor, version)?);
    }
    form.tags(cursor, |_, _| {})?;
    Ok(GroupValue { protocol_type, generation, protocol, leader, state_timestamp_ms, members })
}

fn decode_member(cursor: &mut &[u8], version: i16) -> Result<MemberValue, RecordError> {
    let form = Form::of(version);
    let member = MemberValue {
        member_id: form.text(cursor)?,
        instance_id: if version >= 3 { form.nullable_text(cursor)? } else { None },
        client_id: form.text(cursor)?,
        client_host: form.text(cursor)?,
        rebalance_timeout_ms: if version >= 1 { get_i32(cursor)? } else { -1 },
        session_timeout_ms: get_i32(cursor)?,
        subscription: form.blob(cursor)?,
        assignment: form.blob(cursor)?,
    };
    form.tags(cursor, |_, _| {})?;
    Ok(member)
}

fn value_version(cursor: &mut &[u8]) -> Result<i16, RecordError> {
    match get_i16(cursor)? {
        version @ 0..=NEWEST_VALUE_VERSION => Ok(version),
        other => Err(RecordError::ValueVersion(other)),
    }
}

/// How lengths are written: fixed ones up to v3, compact ones with tagged fields from v4.
#[derive(Clone, Copy)]
pub(super) enum Form {
    Classic,
    Flexible,
}

impl Form {
    fn of(value_version: i16) -> Self {
        if value_version >= FIRST_FLEXIBLE_VALUE_VERSION { Form::Flexible } else { Form::Classic }
    }

    pub(super) fn text(self, cursor: &mut &[u8]) -> Result<String, RecordError> {
        self.nullable_text(cursor)?.ok_or(RecordError::UnexpectedNull)
    }

    pub(super) fn nullable_text(self, cursor: &mut &[u8]) -> Result<Option<String>, RecordError> {
        let len = match self {
            Form::Classic => i64::from(get_i16(cursor)?),
            Form::Flexible => i64::from(get_varint(cursor)?) - 1,
        };
        let Ok(len) = usize::try_from(len) else { return Ok(None) };
        let text = std::str::from_utf8(take(cursor, len)?).map_err(|_| RecordError::NotUtf8)?;
        Ok(Some(text.to_owned()))
    }

    pub(super) fn blob(self, cursor: &mut &[u8]) -> Result<Bytes, RecordError> {
        let len = match self {
            Form::Classic => i64::from(get_i32(cursor)?),
            Form::Flexible => i64::from(get_varint(cursor)?) - 1,
        };
        let len = usize::try_from(len).map_err(|_| RecordError::UnexpectedNull)?;
        Ok(Bytes::copy_from_slice(take(cursor, len)?))
    }

    pub(super) fn count(self, cursor: &mut &[u8]) -> Result<usize, RecordError> {
        let count = match self {
            Form::Classic => i64::from(get_i32(cursor)?),
            Form::Flexible => i64::from(get_varint(cursor)?) - 1,
        };
        usize::try_from(count).map_err(|_| RecordError::UnexpectedNull)
    }

    /// Walks the tagged fields; those that the visitor does not know are passed over.
    pub(super) fn tags(self, cursor: &mut &[u8], mut visit: impl FnMut(u32, &[u8])) -> Result<(), RecordError> {
        if let Form::Flexible = self {
            for _ in 0..get_varint(cursor)? {
                let tag = get_varint(cursor)?;
                let len = get_varint(cursor)?;
                visit(tag, take(cursor, usize::try_from(len).map_err(|_| RecordError::Truncated)?)?);
            }
        }
        Ok(())
    }
}

pub(super) fn take<'a>(cursor: &mut &'a [u8], len: usize) -> Result<&'a [u8], RecordError> {
    let (head, tail) = cursor.split_at_checked(len).ok_or(RecordError::Truncated)?;
    *cursor = tail;
    Ok(head)
}

pub(super) fn get_i16(cursor: &mut &[u8]) -> Result<i16, RecordError> {
    cursor.try_get_i16().map_err(|_| RecordError::Truncated)
}

pub(super) fn get_i32(cursor: &mut &[u8]) -> Result<i32, RecordError> {
    cursor.try_get_i32().map_err(|_| RecordError::Truncated)
}

pub(super) fn get_i64(cursor: &mut &[u8]) -> Result<i64, RecordError> {
    cursor.try_get_i64().map_err(|_| RecordError::Truncated)
}

pub(super) fn get_varint(cursor: &mut &[u8]) -> Result<u32, RecordError> {
    let mut value = 0u32;
    for shift in (0..32).step_by(7) {
        let byte = cursor.try_get_u8().map_err(|_| RecordError::Truncated)?;
        value |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(RecordError::Truncated)
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) -> Result<(), RecordError> {
    out.put_i16(i16::try_from(text.len()).map_err(|_| RecordError::TooLong)?);
    out.put_slice(text.as_bytes());
    Ok(())
}

/// As long as the classic form can be, so that a value can be written in either.
pub(super) fn put_compact_text(out: &mut Vec<u8>, text: &str) -> Result<(), RecordError> {
    let len = i16::try_from(text.len()).map_err(|_| RecordError::TooLong)?;
    // Compact lengths count from one, zero is null.
    put_varint(out, u32::from(len.unsigned_abs()) + 1);
    out.put_slice(text.as_bytes());
    Ok(())
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

fn put_nullable_text(out: &mut Vec<u8>, text: Option<&str>) -> Result<(), RecordError> {
    match text {
        Some(text) => put_text(out, text)?,
        None => out.put_i16(-1),
    }
    Ok(())
}

fn put_blob(out: &mut Vec<u8>, blob: &[u8]) -> Result<(), RecordError> {
    out.put_i32(i32::try_from(blob.len()).map_err(|_| RecordError::TooLong)?);
    out.put_slice(blob);
    Ok(())
}

#[cfg(test)]
#[path = "record_test.rs"]
mod tests;
