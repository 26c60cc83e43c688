//! Properties of the assignors over random groups: complete, exclusive, balanced, sticky; co-partitioned ranges.
//!
//! `ASSIGNOR_SEED=n` runs one group; a failure prints its seed.

use super::*;

struct Group {
    topics: BTreeMap<TopicId, i32>,
    members: BTreeMap<String, (Option<String>, BTreeSet<TopicId>)>,
    targets: BTreeMap<String, Partitions>,
    random: u64,
}

impl Group {
    fn new(seed: u64, homogeneous: bool) -> Self {
        let mut group = Group { topics: BTreeMap::new(), members: BTreeMap::new(), targets: BTreeMap::new(), random: seed };
        for n in 0..=group.draw(6) {
            let count = group.draw(12) as i32;
            group.topics.insert(TopicId([n as u8 + 1; 16]), count);
        }
        for n in 0..=group.draw(9) {
            let instance = (group.draw(4) == 0).then(|| format!("i{}", 9 - n));
            let topics = group.topics.keys().copied().collect::<Vec<_>>();
            let topics = topics.into_iter().filter(|_| homogeneous || group.draw(2) == 0).collect();
            group.members.insert(format!("m{n}"), (instance, topics));
        }
        group
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    fn spec(&self) -> GroupSpec<'_> {
        let wanted: BTreeSet<TopicId> = self.members.values().flat_map(|(_, topics)| topics.iter().copied()).collect();
        let target = |id: &String| self.targets.get(id);
        let members = self.members.iter().map(|(id, (instance, topics))| {
            let subscriber = Subscriber { instance_id: instance.as_deref(), topics: topics.clone(), target: target(id) };
            (id.as_str(), subscriber)
        });
        GroupSpec {
            members: members.collect(),
            topics: self.topics.iter().filter(|(id, _)| wanted.contains(id)).map(|(id, count)| (*id, *count)).collect(),
        }
    }

    fn assign(&self, assignor: Assignor) -> BTreeMap<String, Partitions> {
        let assigned = assignor.assign(&self.spec());
        let mut seen = BTreeSet::new();
        for (id, partitions) in &assigned {
            for (topic, partitions) in partitions {
                assert!(self.members[id].1.contains(topic), "{id} does not subscribe {topic}");
                assert!(!partitions.is_empty());
                for partition in partitions {
                    assert!((0..self.topics[topic]).contains(partition), "{topic}-{partition} does not exist");
                    assert!(seen.insert((*topic, *partition)), "{topic}-{partition} has two owners");
                }
            }
        }
        let wanted: i32 = self.spec().topics.values().sum();
        assert_eq!(seen.len(), wanted as usize, "partitions are left");
        assigned
    }

    fn loads(&self, assigned: &BTreeMap<String, Partitions>) -> BTreeMap<String, usize> {
        let load = |id: &String| assigned.get(id).map_or(0, |partitions| partitions.values().map(BTreeSet::len).sum());
        self.members.keys().map(|id| (id.clone(), load(id))).collect()
    }
}

fn seeds() -> Vec<u64> {
    match std::env::var("ASSIGNOR_SEED") {
        Ok(seed) => vec![seed.parse().expect("a number")],
        Err(_) => (0..400).collect(),
    }
}

fn moved(before: &BTreeMap<String, Partitions>, after: &BTreeMap<String, Partitions>, staying: &Group) -> usize {
    let mut moved = 0;
    for (id, partitions) in before.iter().filter(|(id, _)| staying.members.contains_key(*id)) {
        for (topic, partitions) in partitions {
            let now = after.get(id).and_then(|now| now.get(topic));
            moved += partitions.iter().filter(|partition| now.is_none_or(|now| !now.contains(partition))).count();
        }
    }
    moved
}

#[test]
fn uniform_is_balanced_and_moves_no_more_than_balance_takes() {
    for seed in seeds() {
        eprintln!("ASSIGNOR_SEED={seed}");
        let mut group = Group::new(seed, true);
        group.targets = group.assign(Assignor::Uniform);
        assert_eq!(group.assign(Assignor::Uniform), group.targets, "nothing changed, nothing moves");
        for _ in 0..4 {
            let before = group.targets.clone();
            let joins = group.draw(2) == 0;
            if joins {
                let topics = group.topics.keys().copied().collect();
                let id = format!("n{}", group.draw(1_000));
                group.members.insert(id, (None, topics));
            } else if group.members.len() > 1 {
                let gone = group.members.keys().next().cloned().expect("a member");
                group.members.remove(&gone);
                group.targets.remove(&gone);
            }
            let after = group.assign(Assignor::Uniform);
            let loads = group.loads(&after);
            let (least, most) = (loads.values().min().expect("members"), loads.values().max().expect("members"));
            assert!(most - least <= 1, "{loads:?}");
            let gained: usize = if joins { loads.values().sum::<usize>().div_ceil(group.members.len()) } else { 0 };
            assert!(moved(&before, &after, &group) <= gained, "{} moved, {gained} had to", moved(&before, &after, &group));
            group.targets = after;
        }
    }
}

#[test]
fn uniform_with_different_subscriptions_leaves_no_move_that_would_balance() {
    for seed in seeds() {
        eprintln!("ASSIGNOR_SEED={seed}");
        let mut group = Group::new(seed, false);
        group.targets = group.assign(Assignor::Uniform);
        for _ in 0..3 {
            let loads = group.loads(&group.targets);
            for (id, partitions) in &group.targets {
                for topic in partitions.keys() {
                    for (other, _) in group.members.iter().filter(|(_, (_, topics))| topics.contains(topic)) {
                        assert!(loads[id] <= loads[other] + 1, "{topic} could go from {id} to {other}: {loads:?}");
                    }
                }
            }
            assert_eq!(group.assign(Assignor::Uniform), group.targets, "nothing changed, nothing moves");
            let topics = group.topics.keys().copied().collect::<Vec<_>>();
            let topics = topics.into_iter().filter(|_| group.draw(2) == 0).collect();
            let id = format!("n{}", group.draw(1_000));
            group.members.insert(id, (None, topics));
            group.targets = group.assign(Assignor::Uniform);
        }
    }
}

#[test]
fn range_gives_the_same_ranges_of_topics_with_equally_many_partitions() {
    for seed in seeds() {
        eprintln!("ASSIGNOR_SEED={seed}");
        let group = Group::new(seed, true);
        let assigned = group.assign(Assignor::Range);
        for partitions in assigned.values() {
            for (a, ours) in partitions {
                let consecutive = ours.last().expect("not empty") - ours.first().expect("not empty") + 1;
                assert_eq!(consecutive as usize, ours.len(), "a range has no gaps");
                for (b, theirs) in partitions {
                    assert!(group.topics[a] != group.topics[b] || ours == theirs, "{a} and {b} are not co-partitioned");
                }
            }
        }
        group.assign(Assignor::Range);
    }
    for seed in seeds() {
        Group::new(seed, false).assign(Assignor::Range);
    }
}

#[test]
fn static_members_keep_their_ranges_under_new_ids() {
    let topic = TopicId([1; 16]);
    let group = |ids: [&str; 2]| {
        let members = ids.iter().zip(["a", "b"]);
        let members = members.map(|(id, instance)| ((*id).to_owned(), (Some(instance.to_owned()), BTreeSet::from([topic])))).collect();
        Group { topics: BTreeMap::from([(topic, 3)]), members, targets: BTreeMap::new(), random: 0 }
    };
    let before = group(["m1", "m2"]).assign(Assignor::Range);
    let after = group(["m4", "m3"]).assign(Assignor::Range);
    assert_eq!((before.get("m1"), before.get("m2")), (after.get("m4"), after.get("m3")));
    assert_eq!(before["m1"][&topic], BTreeSet::from([0, 1]));
}
