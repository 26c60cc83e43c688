//! The bytes that classic consumers exchange: subscriptions and assignments, version 0.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut, Bytes};
use coreline_wire::TopicId;

use crate::coordinator::consumer_record::Partitions;

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.put_i16(text.len() as i16);
    out.put_slice(text.as_bytes());
}

/// The bytes of a consumer's subscription, version 0: topics, no user data.
pub(super) fn subscription(topics: &BTreeSet<String>) -> Bytes {
    let mut out = Vec::new();
    out.put_i16(0);
    out.put_i32(topics.len() as i32);
    topics.iter().for_each(|topic| put_text(&mut out, topic));
    out.put_i32(-1);
    out.into()
}

pub(super) fn assignment(share: &BTreeMap<&str, Vec<i32>>) -> Bytes {
    let mut out = Vec::new();
    out.put_i16(0);
    out.put_i32(share.len() as i32);
    for (topic, partitions) in share {
        put_text(&mut out, topic);
        out.put_i32(partitions.len() as i32);
        partitions.iter().for_each(|partition| out.put_i32(*partition));
    }
    out.put_i32(-1);
    out.into()
}

/// Reads an assignment; topics that are gone are passed over.
pub(super) fn assigned(bytes: &[u8], ids: &BTreeMap<String, TopicId>) -> Partitions {
    use bytes::Buf;
    let mut rest = bytes;
    let mut all = Partitions::new();
    if rest.is_empty() {
        return all;
    }
    rest.advance(2);
    for _ in 0..rest.get_i32() {
        let len = rest.get_i16() as usize;
        let name = String::from_utf8_lossy(&rest[..len]).into_owned();
        rest.advance(len);
        let partitions: BTreeSet<i32> = (0..rest.get_i32()).map(|_| rest.get_i32()).collect();
        if let Some(id) = ids.get(&name) {
            all.insert(*id, partitions);
        }
    }
    all
}
