//! Which topics the members of a classic group read: known when they are consumers, told in the blob that they give with their protocol.
//!
//! The blob's beginning is the same in all versions of the consumer protocol: `version i16, topics [string]`. It decides which offsets
//! are in use and so can be neither deleted nor expire. Callers: `admin`, `retention`.

use std::collections::BTreeSet;

use bytes::Buf;

use super::{ClassicGroup, ClassicState};

/// The protocol type of groups of consumers.
pub(super) const CONSUMER: &str = "consumer";

impl ClassicGroup {
    /// Its members are consumers, which tell what they read.
    pub(super) fn is_of_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// Whether offsets of this topic are in use. When consumers tell what they read in a way that we cannot read, everything is.
    pub(super) fn is_subscribed(&self, topic: &str) -> bool {
        self.subscribed.as_ref().map_or(self.is_of_consumers(), |topics| topics.contains(topic))
    }

    /// What the members read, for the generation that begins. `None` when that is not known.
    pub(super) fn subscriptions(&self) -> Option<BTreeSet<String>> {
        if !self.is_of_consumers() {
            return None;
        }
        let mut topics = BTreeSet::new();
        if self.is(ClassicState::Empty) && self.members.is_empty() {
            return Some(topics);
        }
        let protocol = self.protocol_name.as_deref();
        for member in self.members.values() {
            let metadata = member.metadata(protocol?);
            topics.extend(subscribed_topics(&metadata)?.map(str::to_owned));
        }
        Some(topics)
    }
}

/// The topics in a consumer's blob; `None` when it is not one.
fn subscribed_topics(mut blob: &[u8]) -> Option<impl Iterator<Item = &str>> {
    let version = blob.try_get_i16().ok()?;
    let count = usize::try_from(blob.try_get_i32().ok()?).ok()?;
    if version < 0 || count > blob.len() / 2 {
        return None;
    }
    let mut topics = Vec::with_capacity(count);
    for _ in 0..count {
        let len = usize::try_from(blob.try_get_i16().ok()?).ok()?;
        let (name, rest) = blob.split_at_checked(len)?;
        topics.push(std::str::from_utf8(name).ok()?);
        blob = rest;
    }
    Some(topics.into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_from_any_version_and_damage_is_no_subscription() {
        let blob = |version: i16| [&version.to_be_bytes()[..], b"\0\0\0\x02\0\x01a\0\x02bc\xff\xff\xff\xffmore"].concat();
        for version in [0, 3, 9] {
            let blob = blob(version);
            assert_eq!(subscribed_topics(&blob).expect("reads").collect::<Vec<_>>(), ["a", "bc"], "version {version}");
            for cut in 0..13 {
                assert!(subscribed_topics(&blob[..cut]).is_none(), "cut at {cut}");
            }
        }
        assert!(subscribed_topics(&blob(-1)).is_none());
        assert!(subscribed_topics(b"\0\0\x7f\xff\xff\xff").is_none());
        assert!(subscribed_topics(b"\0\0\0\0\0\x01\0\x01\xff").is_none());
    }
}
