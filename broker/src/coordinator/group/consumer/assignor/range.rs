//! The range assignor: of each topic its subscribers get consecutive partitions, the first ones one more when it does not divide.
//!
//! Members stand in one order for all topics: static ones by their static name, then the others by id. So members of the same
//! subscription get the same partitions of topics with equally many, and static members keep theirs over restarts.

use std::collections::BTreeMap;

use super::GroupSpec;
use crate::coordinator::consumer_record::Partitions;

pub(super) fn assign(spec: &GroupSpec<'_>) -> BTreeMap<String, Partitions> {
    let mut order: Vec<_> = spec.members.iter().collect();
    order.sort_by_key(|(id, member)| (member.instance_id.is_none(), member.instance_id.unwrap_or(id)));
    let mut all: BTreeMap<String, Partitions> = BTreeMap::new();
    for (topic, count) in &spec.topics {
        let subscribers: Vec<&str> = order.iter().filter(|(_, member)| member.topics.contains(topic)).map(|(id, _)| **id).collect();
        let Ok(among) = i32::try_from(subscribers.len()) else { continue };
        if among == 0 {
            continue;
        }
        let (each, more) = (count / among, count % among);
        let mut next = 0;
        for (index, member) in subscribers.into_iter().enumerate() {
            let end = next + each + i32::from((index as i32) < more);
            if next < end {
                all.entry(member.to_owned()).or_default().insert(*topic, (next..end).collect());
            }
            next = end;
        }
    }
    all
}
