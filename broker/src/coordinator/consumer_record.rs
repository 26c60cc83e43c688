//! Records of consumer groups (KIP-848) in `__consumer_offsets`, byte by byte as Kafka 4.3 writes them.
//!
//! | record | key | value, version 0, flexible |
//! |---|---|---|
//! | epoch | `3, group` | group epoch; tag 0: hash of the subscribed topics |
//! | member | `5, group, member` | what the member told of itself; tag 0: its protocols, when it speaks the classic protocol |
//! | target epoch | `6, group` | epoch of the target assignment; tag 0: when it was computed |
//! | target | `7, group, member` | the partitions that the member is to have |
//! | current | `8, group, member` | epochs, state, partitions it has and partitions it must give up; tag 0 of each topic: the epochs at which it got them |
//! | regex | `16, group, regex` | the topics that a subscribed expression matched, with the metadata's version and the time |
//!
//! Keys are in the classic form. Key 4 (subscription metadata) is of Kafka before 4.1 and neither written nor read. Callers: `record`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes};
use coreline_wire::TopicId;

use super::record::{Form, RecordError, get_i16, get_i32, get_i64, get_varint, put_text, put_varint, take};

/// Partitions by topic. No empty sets are kept.
pub type Partitions = BTreeMap<TopicId, BTreeSet<i32>>;
/// Partitions by topic, each with the epoch at which its member got it. No empty maps are kept.
pub type OwnedPartitions = BTreeMap<TopicId, BTreeMap<i32, i32>>;

/// One record of a consumer group. A value of `None` removes what its key names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConsumerRecord {
    /// The group and its epoch.
    Epoch {
        /// The group.
        group: String,
        /// Its epoch.
        value: Option<EpochValue>,
    },
    /// What a member told of itself.
    Member {
        /// The group.
        group: String,
        /// The member.
        member: String,
        /// What it told.
        value: Option<Box<MemberValue>>,
    },
    /// The epoch of the target assignment.
    TargetEpoch {
        /// The group.
        group: String,
        /// Its epoch.
        value: Option<TargetEpochValue>,
    },
    /// The partitions that a member is to have.
    Target {
        /// The group.
        group: String,
        /// The member.
        member: String,
        /// The partitions.
        value: Option<Partitions>,
    },
    /// The partitions that a member has.
    Current {
        /// The group.
        group: String,
        /// The member.
        member: String,
        /// Its epochs and partitions.
        value: Option<CurrentValue>,
    },
    /// What a subscribed expression matches.
    Regex {
        /// The group.
        group: String,
        /// The expression.
        regex: String,
        /// What it matched.
        value: Option<RegexValue>,
    },
}

/// A group's epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EpochValue {
    /// Rises with each change of the members' subscriptions or of the topics.
    pub epoch: i32,
    /// Of all subscribed topics as they were when the epoch rose last.
    pub metadata_hash: i64,
}

/// What a member told of itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MemberValue {
    /// KIP-345: its static name.
    pub instance_id: Option<String>,
    /// Its rack.
    pub rack_id: Option<String>,
    /// The client's name for itself.
    pub client_id: String,
    /// Its address, `/127.0.0.1`.
    pub client_host: String,
    /// Topics that it subscribes by name.
    pub topics: BTreeSet<String>,
    /// The expression that it subscribes by; empty when it took one back.
    pub regex: Option<String>,
    /// How long it may take to give up partitions; -1 when unknown.
    pub rebalance_timeout_ms: i32,
    /// The assignor that it prefers.
    pub assignor: Option<String>,
    /// Set for a member that speaks the classic protocol.
    pub classic: Option<ClassicValue>,
}

/// What a member of the classic protocol told in its JoinGroup.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClassicValue {
    /// It is removed when it says nothing for this long.
    pub session_timeout_ms: i32,
    /// Assignors that it knows, the preferred one first, each with its subscription.
    pub protocols: Vec<(String, Bytes)>,
}

/// The epoch of the target assignment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TargetEpochValue {
    /// The group epoch that it was computed for.
    pub epoch: i32,
    /// When, wall clock milliseconds.
    pub timestamp_ms: i64,
}

/// Where a member is on its way to its target.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
#[repr(i8)]
pub enum MemberState {
    /// It has all it is to have at its epoch.
    #[default]
    Stable = 0,
    /// It has to give up partitions.
    UnrevokedPartitions = 1,
    /// It waits for partitions that others have to give up.
    UnreleasedPartitions = 2,
    /// Written by something newer.
    Unknown = 127,
}

impl MemberState {
    fn from_code(code: i8) -> MemberState {
        match code {
            0 => MemberState::Stable,
            1 => MemberState::UnrevokedPartitions,
            2 => MemberState::UnreleasedPartitions,
            _ => MemberState::Unknown,
        }
    }
}

/// What a member has.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CurrentValue {
    /// The epoch that its heartbeats must carry; -2 for a static member that is away.
    pub epoch: i32,
    /// The epoch before, which it repeats when an answer was lost.
    pub previous_epoch: i32,
    /// Where it is on its way.
    pub state: MemberState,
    /// What it has.
    pub assigned: OwnedPartitions,
    /// What it has and must give up.
    pub revoking: OwnedPartitions,
}

/// What an expression matches.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RegexValue {
    /// Names of topics.
    pub topics: BTreeSet<String>,
    /// Version of the metadata that was searched.
    pub version: i64,
    /// When, wall clock milliseconds.
    pub timestamp_ms: i64,
}

const EPOCH_KEY: i16 = 3;
const MEMBER_KEY: i16 = 5;
const TARGET_EPOCH_KEY: i16 = 6;
const TARGET_KEY: i16 = 7;
const CURRENT_KEY: i16 = 8;
const REGEX_KEY: i16 = 16;
const VALUE_VERSION: i16 = 0;
/// Smallest encoding of an array's element: an empty text.
const ELEMENT_BYTES_MIN: usize = 1;

impl ConsumerRecord {
    /// The group that the record belongs to.
    pub fn group(&self) -> &str {
        match self {
            ConsumerRecord::Epoch { group, .. }
            | ConsumerRecord::Member { group, .. }
            | ConsumerRecord::TargetEpoch { group, .. }
            | ConsumerRecord::Target { group, .. }
            | ConsumerRecord::Current { group, .. }
            | ConsumerRecord::Regex { group, .. } => group,
        }
    }

    /// Key and value; no value for a tombstone.
    pub(super) fn encode(&self) -> Result<(Bytes, Option<Bytes>), RecordError> {
        let (key, value) = match self {
            ConsumerRecord::Epoch { group, value } => (key(EPOCH_KEY, group, None)?, value.as_ref().map(encode_epoch)),
            ConsumerRecord::Member { group, member, value } => {
                (key(MEMBER_KEY, group, Some(member))?, value.as_ref().map(|value| encode_member(value)).transpose()?)
            }
            ConsumerRecord::TargetEpoch { group, value } => (key(TARGET_EPOCH_KEY, group, None)?, value.as_ref().map(encode_target_epoch)),
            ConsumerRecord::Target { group, member, value } => (key(TARGET_KEY, group, Some(member))?, value.as_ref().map(encode_target)),
            ConsumerRecord::Current { group, member, value } => {
                (key(CURRENT_KEY, group, Some(member))?, value.as_ref().map(encode_current))
            }
            ConsumerRecord::Regex { group, regex, value } => {
                (key(REGEX_KEY, group, Some(regex))?, value.as_ref().map(encode_regex).transpose()?)
            }
        };
        Ok((key.into(), value.map(Bytes::from)))
    }

    /// Reads what follows the version of a key, and its value. `None` for the key of another kind of record.
    pub(super) fn decode(key_version: i16, mut key: &[u8], value: Option<&[u8]>) -> Result<Option<Self>, RecordError> {
        let key = &mut key;
        let text = |key: &mut &[u8]| Form::Classic.text(key);
        Ok(Some(match key_version {
            EPOCH_KEY => ConsumerRecord::Epoch { group: text(key)?, value: value.map(decode_epoch).transpose()? },
            MEMBER_KEY => {
                ConsumerRecord::Member { group: text(key)?, member: text(key)?, value: value.map(decode_member).transpose()?.map(Box::new) }
            }
            TARGET_EPOCH_KEY => ConsumerRecord::TargetEpoch { group: text(key)?, value: value.map(decode_target_epoch).transpose()? },
            TARGET_KEY => ConsumerRecord::Target { group: text(key)?, member: text(key)?, value: value.map(decode_target).transpose()? },
            CURRENT_KEY => ConsumerRecord::Current { group: text(key)?, member: text(key)?, value: value.map(decode_current).transpose()? },
            REGEX_KEY => ConsumerRecord::Regex { group: text(key)?, regex: text(key)?, value: value.map(decode_regex).transpose()? },
            _ => return Ok(None),
        }))
    }
}

fn key(version: i16, group: &str, other: Option<&str>) -> Result<Vec<u8>, RecordError> {
    let mut out = Vec::with_capacity(64);
    out.put_i16(version);
    put_text(&mut out, group)?;
    other.map_or(Ok(()), |other| put_text(&mut out, other))?;
    Ok(out)
}

fn value() -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    out.put_i16(VALUE_VERSION);
    out
}

fn put_tags(out: &mut Vec<u8>, tags: &[(u32, &[u8])]) {
    put_varint(out, tags.len() as u32);
    for (tag, bytes) in tags {
        put_varint(out, *tag);
        put_varint(out, bytes.len() as u32);
        out.put_slice(bytes);
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    // Compact counts count from one, zero is null.
    put_varint(out, count as u32 + 1);
}

fn put_compact(out: &mut Vec<u8>, text: Option<&str>) -> Result<(), RecordError> {
    match text {
        Some(text) => super::record::put_compact_text(out, text),
        None => {
            put_varint(out, 0);
            Ok(())
        }
    }
}

fn get_tag_i64(bytes: &[u8]) -> i64 {
    bytes.try_into().map_or(0, i64::from_be_bytes)
}

fn encode_epoch(epoch: &EpochValue) -> Vec<u8> {
    let mut out = value();
    out.put_i32(epoch.epoch);
    let hash = epoch.metadata_hash.to_be_bytes();
    let tag: [(u32, &[u8]); 1] = [(0, &hash)];
    put_tags(&mut out, if epoch.metadata_hash == 0 { &[] } else { &tag });
    out
}

fn decode_epoch(mut bytes: &[u8]) -> Result<EpochValue, RecordError> {
    let cursor = opened(&mut bytes)?;
    let mut value = EpochValue { epoch: get_i32(cursor)?, metadata_hash: 0 };
    Form::Flexible.tags(cursor, |tag, bytes| {
        if tag == 0 {
            value.metadata_hash = get_tag_i64(bytes);
        }
    })?;
    Ok(value)
}

fn encode_target_epoch(epoch: &TargetEpochValue) -> Vec<u8> {
    let mut out = value();
    out.put_i32(epoch.epoch);
    let time = epoch.timestamp_ms.to_be_bytes();
    let tag: [(u32, &[u8]); 1] = [(0, &time)];
    put_tags(&mut out, if epoch.timestamp_ms == 0 { &[] } else { &tag });
    out
}

fn decode_target_epoch(mut bytes: &[u8]) -> Result<TargetEpochValue, RecordError> {
    let cursor = opened(&mut bytes)?;
    let mut value = TargetEpochValue { epoch: get_i32(cursor)?, timestamp_ms: 0 };
    Form::Flexible.tags(cursor, |tag, bytes| {
        if tag == 0 {
            value.timestamp_ms = get_tag_i64(bytes);
        }
    })?;
    Ok(value)
}

fn encode_member(member: &MemberValue) -> Result<Vec<u8>, RecordError> {
    let mut out = value();
    put_compact(&mut out, member.instance_id.as_deref())?;
    put_compact(&mut out, member.rack_id.as_deref())?;
    put_compact(&mut out, Some(&member.client_id))?;
    put_compact(&mut out, Some(&member.client_host))?;
    put_count(&mut out, member.topics.len());
    for topic in &member.topics {
        put_compact(&mut out, Some(topic))?;
    }
    put_compact(&mut out, member.regex.as_deref())?;
    out.put_i32(member.rebalance_timeout_ms);
    put_compact(&mut out, member.assignor.as_deref())?;
    match &member.classic {
        None => put_tags(&mut out, &[]),
        Some(classic) => {
            let classic = encode_classic(classic)?;
            put_tags(&mut out, &[(0, &classic)]);
        }
    }
    Ok(out)
}

fn encode_classic(classic: &ClassicValue) -> Result<Vec<u8>, RecordError> {
    // A structure that may be null begins with a mark that it is not.
    let mut out = vec![1];
    out.put_i32(classic.session_timeout_ms);
    put_count(&mut out, classic.protocols.len());
    for (name, metadata) in &classic.protocols {
        put_compact(&mut out, Some(name))?;
        put_count(&mut out, metadata.len());
        out.put_slice(metadata);
        put_tags(&mut out, &[]);
    }
    put_tags(&mut out, &[]);
    Ok(out)
}

fn decode_member(mut bytes: &[u8]) -> Result<MemberValue, RecordError> {
    let cursor = opened(&mut bytes)?;
    let form = Form::Flexible;
    let mut member = MemberValue {
        instance_id: form.nullable_text(cursor)?,
        rack_id: form.nullable_text(cursor)?,
        client_id: form.text(cursor)?,
        client_host: form.text(cursor)?,
        topics: texts(cursor)?,
        regex: form.nullable_text(cursor)?,
        rebalance_timeout_ms: get_i32(cursor)?,
        assignor: form.nullable_text(cursor)?,
        classic: None,
    };
    let mut classic = None;
    form.tags(cursor, |tag, bytes| {
        if tag == 0 {
            classic = Some(decode_classic(bytes));
        }
    })?;
    member.classic = classic.transpose()?.flatten();
    Ok(member)
}

fn decode_classic(mut bytes: &[u8]) -> Result<Option<ClassicValue>, RecordError> {
    let cursor = &mut bytes;
    if cursor.try_get_i8().map_err(|_| RecordError::Truncated)? < 0 {
        return Ok(None);
    }
    let session_timeout_ms = get_i32(cursor)?;
    let mut protocols = Vec::new();
    for _ in 0..count(cursor)? {
        protocols.push((Form::Flexible.text(cursor)?, Form::Flexible.blob(cursor)?));
        Form::Flexible.tags(cursor, |_, _| {})?;
    }
    Form::Flexible.tags(cursor, |_, _| {})?;
    Ok(Some(ClassicValue { session_timeout_ms, protocols }))
}

fn encode_target(partitions: &Partitions) -> Vec<u8> {
    let mut out = value();
    put_count(&mut out, partitions.len());
    for (topic, partitions) in partitions {
        out.put_slice(&topic.0);
        put_count(&mut out, partitions.len());
        partitions.iter().for_each(|partition| out.put_i32(*partition));
        put_tags(&mut out, &[]);
    }
    put_tags(&mut out, &[]);
    out
}

fn decode_target(mut bytes: &[u8]) -> Result<Partitions, RecordError> {
    let cursor = opened(&mut bytes)?;
    let mut all = Partitions::new();
    for _ in 0..count(cursor)? {
        let topic = topic_id(cursor)?;
        let partitions: BTreeSet<i32> = numbers(cursor)?.into_iter().collect();
        Form::Flexible.tags(cursor, |_, _| {})?;
        if !partitions.is_empty() {
            all.entry(topic).or_default().extend(partitions);
        }
    }
    Form::Flexible.tags(cursor, |_, _| {})?;
    Ok(all)
}

fn encode_current(current: &CurrentValue) -> Vec<u8> {
    let mut out = value();
    out.put_i32(current.epoch);
    out.put_i32(current.previous_epoch);
    out.put_i8(current.state as i8);
    put_owned(&mut out, &current.assigned);
    put_owned(&mut out, &current.revoking);
    put_tags(&mut out, &[]);
    out
}

fn put_owned(out: &mut Vec<u8>, owned: &OwnedPartitions) {
    put_count(out, owned.len());
    for (topic, partitions) in owned {
        out.put_slice(&topic.0);
        put_count(out, partitions.len());
        partitions.keys().for_each(|partition| out.put_i32(*partition));
        let mut epochs = Vec::with_capacity(4 + 4 * partitions.len());
        put_count(&mut epochs, partitions.len());
        partitions.values().for_each(|epoch| epochs.put_i32(*epoch));
        put_tags(out, &[(0, &epochs)]);
    }
}

fn decode_current(mut bytes: &[u8]) -> Result<CurrentValue, RecordError> {
    let cursor = opened(&mut bytes)?;
    let epoch = get_i32(cursor)?;
    let previous_epoch = get_i32(cursor)?;
    let state = MemberState::from_code(cursor.try_get_i8().map_err(|_| RecordError::Truncated)?);
    let assigned = owned(cursor, epoch)?;
    let revoking = owned(cursor, epoch)?;
    Form::Flexible.tags(cursor, |_, _| {})?;
    Ok(CurrentValue { epoch, previous_epoch, state, assigned, revoking })
}

/// Partitions with the epochs at which they were got; the member's epoch where the record does not say.
fn owned(cursor: &mut &[u8], member_epoch: i32) -> Result<OwnedPartitions, RecordError> {
    let mut all = OwnedPartitions::new();
    for _ in 0..count(cursor)? {
        let topic = topic_id(cursor)?;
        let partitions = numbers(cursor)?;
        let mut epochs = None;
        Form::Flexible.tags(cursor, |tag, mut bytes| {
            if tag == 0 {
                epochs = numbers(&mut bytes).ok();
            }
        })?;
        let epochs = epochs.filter(|epochs| epochs.len() == partitions.len()).unwrap_or_else(|| vec![member_epoch; partitions.len()]);
        if !partitions.is_empty() {
            all.entry(topic).or_default().extend(partitions.into_iter().zip(epochs));
        }
    }
    Ok(all)
}

fn encode_regex(regex: &RegexValue) -> Result<Vec<u8>, RecordError> {
    let mut out = value();
    put_count(&mut out, regex.topics.len());
    for topic in &regex.topics {
        put_compact(&mut out, Some(topic))?;
    }
    out.put_i64(regex.version);
    out.put_i64(regex.timestamp_ms);
    put_tags(&mut out, &[]);
    Ok(out)
}

fn decode_regex(mut bytes: &[u8]) -> Result<RegexValue, RecordError> {
    let cursor = opened(&mut bytes)?;
    let value = RegexValue { topics: texts(cursor)?, version: get_i64(cursor)?, timestamp_ms: get_i64(cursor)? };
    Form::Flexible.tags(cursor, |_, _| {})?;
    Ok(value)
}

/// Past the version of a value.
fn opened<'a, 'b>(cursor: &'b mut &'a [u8]) -> Result<&'b mut &'a [u8], RecordError> {
    match get_i16(cursor)? {
        VALUE_VERSION => Ok(cursor),
        other => Err(RecordError::ValueVersion(other)),
    }
}

/// The length of an array, no more than what follows can hold.
fn count(cursor: &mut &[u8]) -> Result<usize, RecordError> {
    let count = Form::Flexible.count(cursor)?;
    if count > cursor.len() / ELEMENT_BYTES_MIN { Err(RecordError::Truncated) } else { Ok(count) }
}

fn texts(cursor: &mut &[u8]) -> Result<BTreeSet<String>, RecordError> {
    (0..count(cursor)?).map(|_| Form::Flexible.text(cursor)).collect()
}

fn numbers(cursor: &mut &[u8]) -> Result<Vec<i32>, RecordError> {
    let count = get_varint(cursor)? as usize;
    // Null is no numbers.
    let count = count.saturating_sub(1);
    if count > cursor.len() / size_of::<i32>() {
        return Err(RecordError::Truncated);
    }
    (0..count).map(|_| get_i32(cursor)).collect()
}

fn topic_id(cursor: &mut &[u8]) -> Result<TopicId, RecordError> {
    let mut id = TopicId::ZERO;
    id.0.copy_from_slice(take(cursor, size_of::<TopicId>())?);
    Ok(id)
}

#[cfg(test)]
#[path = "consumer_record_test.rs"]
mod tests;
