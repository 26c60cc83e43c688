//! How topics are named: Produce and Fetch by name up to v12 and by id from v13 on (KIP-516), others by id; and the tag section behind most
//! structures.

use bytes::Bytes;

use crate::decode::{DecodeError, Decoder};
use crate::encode::Sink;
use crate::ids::TopicId;
use crate::primitive::{WireString, put_string};
use crate::tagged_field;

/// First version of either API that names topics by id.
const FIRST_WITH_ID: i16 = 13;

/// Reads the name or the id of a topic, whichever the version carries; the other is empty.
pub(super) fn read_topic(d: &mut Decoder<'_>, body: &Bytes, version: i16, flexible: bool) -> Result<(WireString, TopicId), DecodeError> {
    if version >= FIRST_WITH_ID {
        Ok((WireString::EMPTY, TopicId(d.uuid()?)))
    } else {
        Ok((WireString::share(body, d.string(flexible)?), TopicId::ZERO))
    }
}

/// Reads the id of a topic.
pub(super) fn read_id(d: &mut Decoder<'_>) -> Result<TopicId, DecodeError> {
    Ok(TopicId(d.uuid()?))
}

/// Writes the name or the id of a topic, whichever the version carries.
pub(super) fn write_topic<W: Sink>(w: &mut W, name: &str, topic_id: TopicId, version: i16, flexible: bool) {
    if version >= FIRST_WITH_ID {
        w.put(&topic_id.0);
    } else {
        put_string(w, name, flexible);
    }
}

/// Smallest encoding of a topic in bytes: name or id, an empty array, tags.
pub(super) fn min_topic_size(version: i16, flexible: bool) -> usize {
    match (version >= FIRST_WITH_ID, flexible) {
        (true, _) => 16 + 1 + 1,
        (false, true) => 1 + 1 + 1,
        (false, false) => 2 + 4,
    }
}

/// Skips the tag section where there is one.
pub(super) fn skip_tags(d: &mut Decoder<'_>, flexible: bool) -> Result<(), DecodeError> {
    if flexible { tagged_field::skip(d) } else { Ok(()) }
}

/// Writes an empty tag section where there is one.
pub(super) fn write_no_tags<W: Sink>(w: &mut W, flexible: bool) {
    if flexible {
        tagged_field::write_none(w);
    }
}
