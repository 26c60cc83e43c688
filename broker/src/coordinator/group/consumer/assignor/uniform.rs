//! The uniform assignor: everybody has as many partitions as the others, give or take one, and keeps what it had as far as that allows.
//!
//! All members subscribe the same topics: shares are known beforehand; who has more gives up the last ones, who has less takes what is
//! free. Else: what is free goes to the subscriber with the fewest, then single partitions move from who has most to who has least as
//! long as that makes loads more equal. Each move lowers the sum of the squared loads, so it ends.

use std::collections::{BTreeMap, BTreeSet};

use coreline_wire::TopicId;

use super::GroupSpec;
use crate::coordinator::consumer_record::Partitions;

type Partition = (TopicId, i32);

pub(super) fn assign(spec: &GroupSpec<'_>) -> BTreeMap<String, Partitions> {
    let mut shares = Shares::kept(spec);
    let mut subscriptions = spec.members.values().map(|member| &member.topics);
    let first = subscriptions.next();
    if subscriptions.all(|topics| Some(topics) == first) {
        shares.even_out()
    } else {
        shares.spread(spec)
    }
    shares.finish()
}

/// Everybody's share in the making.
struct Shares<'a> {
    by_member: BTreeMap<&'a str, BTreeSet<Partition>>,
    /// Partitions that nobody has.
    free: BTreeSet<Partition>,
}

impl<'a> Shares<'a> {
    /// What everybody has and may keep: of a topic that it subscribes, a partition that exists and that nobody else has.
    fn kept(spec: &GroupSpec<'a>) -> Self {
        let mut free: BTreeSet<Partition> = spec.topics.iter().flat_map(|(topic, count)| (0..*count).map(|p| (*topic, p))).collect();
        let mut by_member = BTreeMap::new();
        for (id, member) in &spec.members {
            let had = member.target.into_iter().flatten().filter(|(topic, _)| member.topics.contains(topic));
            let had = had.flat_map(|(topic, partitions)| partitions.iter().map(|partition| (*topic, *partition)));
            by_member.insert(*id, had.filter(|partition| free.remove(partition)).collect());
        }
        Shares { by_member, free }
    }

    /// Everybody may have everything: shares differ by one at most.
    fn even_out(&mut self) {
        let members = self.by_member.len();
        let total = self.free.len() + self.by_member.values().map(BTreeSet::len).sum::<usize>();
        let (least, mut larger) = (total / members, total % members);
        // Who has more than the least keeps one more, as long as there are larger shares.
        for share in self.by_member.values_mut() {
            let quota = if share.len() > least && larger > 0 {
                larger -= 1;
                least + 1
            } else {
                least
            };
            while share.len() > quota {
                self.free.extend(share.pop_last());
            }
        }
        for share in self.by_member.values_mut() {
            // Larger shares that are left go to those that have not one yet.
            let quota = if share.len() <= least && larger > 0 {
                larger -= 1;
                least + 1
            } else {
                least
            };
            while share.len() < quota {
                let Some(partition) = self.free.pop_first() else { break };
                share.insert(partition);
            }
        }
        debug_assert!(self.free.is_empty(), "{} partitions are left", self.free.len());
    }

    /// Members have different choices.
    fn spread(&mut self, spec: &GroupSpec<'a>) {
        let mut subscribers: BTreeMap<TopicId, Vec<&'a str>> = BTreeMap::new();
        for (id, member) in &spec.members {
            member.topics.iter().for_each(|topic| subscribers.entry(*topic).or_default().push(id));
        }
        // Those with the fewest takers first: the others can make up for it.
        let mut free: Vec<Partition> = std::mem::take(&mut self.free).into_iter().collect();
        free.sort_by_key(|(topic, partition)| (subscribers.get(topic).map_or(0, Vec::len), *topic, *partition));
        for partition in free {
            let takers = subscribers.get(&partition.0).into_iter().flatten();
            let fewest = takers.min_by_key(|id| self.load(id)).copied();
            if let Some(share) = fewest.and_then(|id| self.by_member.get_mut(id)) {
                share.insert(partition);
            }
        }
        let mut moved = true;
        while moved {
            moved = false;
            for (topic, takers) in &subscribers {
                while self.move_one(*topic, takers) {
                    moved = true;
                }
            }
        }
    }

    fn load(&self, member: &str) -> usize {
        self.by_member.get(member).map_or(0, BTreeSet::len)
    }

    /// Moves a partition of the topic from its most loaded owner to its least loaded taker, if that makes them more equal.
    fn move_one(&mut self, topic: TopicId, takers: &[&'a str]) -> bool {
        let of_topic = |share: &BTreeSet<Partition>| share.range((topic, 0)..=(topic, i32::MAX)).next_back().copied();
        let owns = |id: &&&str| self.by_member.get(**id).is_some_and(|share| of_topic(share).is_some());
        let most = takers.iter().filter(owns).max_by_key(|id| self.load(id)).copied();
        let least = takers.iter().min_by_key(|id| self.load(id)).copied();
        let (Some(most), Some(least)) = (most, least) else { return false };
        if self.load(most) <= self.load(least) + 1 {
            return false;
        }
        let Some(partition) = self.by_member.get(most).and_then(of_topic) else { return false };
        if let Some(share) = self.by_member.get_mut(most) {
            share.remove(&partition);
        }
        if let Some(share) = self.by_member.get_mut(least) {
            share.insert(partition);
        }
        true
    }

    fn finish(self) -> BTreeMap<String, Partitions> {
        let mut all = BTreeMap::new();
        for (id, share) in self.by_member {
            let mut partitions = Partitions::new();
            for (topic, partition) in share {
                partitions.entry(topic).or_default().insert(partition);
            }
            if !partitions.is_empty() {
                all.insert(id.to_owned(), partitions);
            }
        }
        all
    }
}
