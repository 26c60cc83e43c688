//! What the members of one group told, and what must hold of it: one owner of a partition at a time and in a generation, no record read by two
//! owners in one generation, every partition resumed where the group committed, committed offsets that never go back by themselves.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) type Place = (String, i32);

/// A line of a member, or of the observer of committed offsets. Times are milliseconds of the machine's clock, told by whoever saw it.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// `owned` is everything from now on, `gained` what came new.
    Assigned {
        at: i64,
        generation: i32,
        gained: Vec<Place>,
        owned: Vec<Place>,
    },
    /// Told before the broker knows.
    Revoked {
        at: i64,
        gone: Vec<Place>,
    },
    Records {
        generation: i32,
        place: Place,
        offsets: Vec<i64>,
    },
    /// Asked for at one time, acknowledged at another.
    Committed {
        at: i64,
        offsets: Vec<(Place, i64)>,
    },
    CommitFailed {
        offsets: Vec<(Place, i64)>,
        reason: String,
    },
    Left,
    /// The observer's question and answer; -1 where nothing is committed.
    Observed {
        asked: i64,
        offsets: Vec<(Place, i64)>,
    },
    /// The program is gone, at this time at the latest.
    Ended {
        at: i64,
        why: String,
    },
    Problem(String),
}

impl Event {
    pub(crate) fn parse(line: &str) -> Event {
        Event::from_json(line).unwrap_or_else(|reason| Event::Problem(format!("{reason}: {line}")))
    }

    fn from_json(line: &str) -> Result<Event, String> {
        let line: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let at = line["at"].as_i64().unwrap_or_default();
        let generation = line["generation"].as_i64().unwrap_or(-1) as i32;
        Ok(match line["event"].as_str().ok_or("no event")? {
            "assigned" => Event::Assigned { at, generation, gained: places(&line["partitions"])?, owned: places(&line["owned"])? },
            "revoked" | "lost" => Event::Revoked { at, gone: places(&line["partitions"])? },
            "records" => {
                let offsets = line["offsets"].as_array().ok_or("no offsets")?.iter().map(|one| one.as_i64().ok_or("not an offset"));
                Event::Records {
                    generation,
                    place: place(&line["topic"], &line["partition"])?,
                    offsets: offsets.collect::<Result<_, _>>()?,
                }
            }
            "committed" => Event::Committed { at, offsets: offsets(&line["offsets"])? },
            "commit-failed" => Event::CommitFailed { offsets: offsets(&line["offsets"])?, reason: line["reason"].to_string() },
            "left" => Event::Left,
            "observed" => Event::Observed { asked: line["asked"].as_i64().ok_or("no asked")?, offsets: offsets(&line["offsets"])? },
            // A broker that is down answers nobody.
            "observe-failed" => Event::Observed { asked: 0, offsets: Vec::new() },
            other => Event::Problem(format!("{other} {}", line["reason"])),
        })
    }
}

fn place(topic: &Value, partition: &Value) -> Result<Place, String> {
    Ok((topic.as_str().ok_or("no topic")?.to_owned(), partition.as_i64().ok_or("no partition")? as i32))
}

fn places(list: &Value) -> Result<Vec<Place>, String> {
    list.as_array().ok_or("no partitions")?.iter().map(|one| place(&one[0], &one[1])).collect()
}

fn offsets(list: &Value) -> Result<Vec<(Place, i64)>, String> {
    let one = |one: &Value| Ok((place(&one[0], &one[1])?, one[2].as_i64().ok_or("no offset")?));
    list.as_array().ok_or("no offsets")?.iter().map(one).collect()
}

/// One program from its start to its end.
#[derive(Default)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// The first program of the same member: a static member that comes back is who it was.
    identity: usize,
    pub(crate) alive: bool,
    pub(crate) left: bool,
    pub(crate) generation: i32,
    /// How often it was told an assignment.
    pub(crate) assignments: usize,
    pub(crate) owned: BTreeMap<Place, Holding>,
    pub(crate) commits: usize,
    pub(crate) commit_failures: Vec<String>,
}

/// One stretch of time in which a member owns a partition.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Holding {
    pub(crate) since: i64,
    /// Behind the last record that it read; None before the first.
    pub(crate) next: Option<i64>,
}

/// A stretch that is over.
struct Span {
    member: usize,
    from: i64,
    to: i64,
}

/// A commit: acknowledged, or tried without an answer.
struct Commit {
    at: i64,
    offset: i64,
    acknowledged: bool,
}

/// All of it, and what was found wrong.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) members: Vec<Member>,
    pub(crate) faults: Vec<String>,
    /// Every offset that anybody read.
    pub(crate) read: BTreeMap<Place, BTreeSet<i64>>,
    pub(crate) observed: BTreeMap<Place, i64>,
    /// Rebalances seen: the members' assignments, all together.
    pub(crate) assignments: usize,
    owners: BTreeMap<(i32, Place), usize>,
    readers: BTreeMap<(i32, Place, i64), usize>,
    spans: BTreeMap<Place, Vec<Span>>,
    commits: BTreeMap<Place, Vec<Commit>>,
    /// Commits before a reset count no more; the observer may see either side of it while it happens.
    resetting: bool,
}

impl History {
    /// A program starts; `again` is the number of the one whose place it takes as a static member.
    pub(crate) fn join(&mut self, name: &str, again: Option<usize>) -> usize {
        let number = self.members.len();
        let identity = again.map_or(number, |before| self.members[before].identity);
        self.members.push(Member { name: name.to_owned(), identity, alive: true, generation: -1, ..Member::default() });
        number
    }

    pub(crate) fn apply(&mut self, member: usize, event: Event) {
        match event {
            Event::Assigned { at, generation, gained, owned } => self.assigned(member, at, generation, &gained, &owned),
            Event::Revoked { at, gone } => gone.iter().for_each(|place| self.release(member, place, at)),
            Event::Records { generation, place, offsets } => {
                offsets.iter().for_each(|offset| self.record(member, generation, &place, *offset))
            }
            Event::Committed { at, offsets } => {
                self.members[member].commits += 1;
                for (place, offset) in offsets {
                    self.commits.entry(place).or_default().push(Commit { at, offset, acknowledged: true });
                }
            }
            Event::CommitFailed { offsets, reason } => {
                self.members[member].commit_failures.push(reason);
                for (place, offset) in offsets {
                    self.commits.entry(place).or_default().push(Commit { at: 0, offset, acknowledged: false });
                }
            }
            Event::Left => self.members[member].left = true,
            Event::Observed { asked, offsets } => offsets.iter().for_each(|(place, offset)| self.observe(asked, place, *offset)),
            // Of a killed program the driver has told already when that was.
            Event::Ended { .. } if !self.members[member].alive => {}
            Event::Ended { at, why } => {
                self.members[member].alive = false;
                let owned: Vec<Place> = self.members[member].owned.keys().cloned().collect();
                owned.iter().for_each(|place| self.release(member, place, at));
                if !why.is_empty() {
                    self.faults.push(format!("{} ended: {why}", self.members[member].name));
                }
            }
            Event::Problem(reason) => self.faults.push(format!("{}: {reason}", self.members[member].name)),
        }
    }

    /// The group's offsets were set by an administrator: what was committed before binds no more.
    pub(crate) fn reset_begins(&mut self) {
        self.resetting = true;
    }

    pub(crate) fn reset_is_done(&mut self, now: i64, offsets: &[(Place, i64)]) {
        self.resetting = false;
        for (place, offset) in offsets {
            self.observed.remove(place);
            self.commits.insert(place.clone(), vec![Commit { at: now, offset: *offset, acknowledged: true }]);
        }
    }

    /// The topic was deleted, and with it what was committed: one of the same name begins anew.
    pub(crate) fn forget_topic(&mut self, topic: &str) {
        self.read.retain(|place, _| place.0 != topic);
        self.observed.retain(|place, _| place.0 != topic);
        self.commits.retain(|place, _| place.0 != topic);
        self.readers.retain(|(_, place, _), _| place.0 != topic);
    }

    /// The last acknowledged commit.
    pub(crate) fn committed(&self, place: &Place) -> i64 {
        self.commits.get(place).and_then(|all| all.iter().rfind(|commit| commit.acknowledged)).map_or(-1, |commit| commit.offset)
    }

    fn assigned(&mut self, member: usize, at: i64, generation: i32, gained: &[Place], owned: &[Place]) {
        self.assignments += 1;
        let (name, identity) = (self.members[member].name.clone(), self.members[member].identity);
        let before: Vec<Place> = self.members[member].owned.keys().cloned().collect();
        before.iter().filter(|place| !owned.contains(place)).for_each(|place| {
            self.faults.push(format!("{name} does not own {place:?} any more and was not told to give it up"));
            self.release(member, place, at);
        });
        for place in owned {
            // A member's epoch may be behind the group's in the consumer protocol; still a partition has one owner per epoch.
            if let Some(other) =
                self.owners.insert((generation, place.clone()), identity).filter(|other| *other != identity && generation >= 0)
            {
                let other = &self.members[other].name;
                self.faults.push(format!("generation {generation}: {place:?} belongs to {other} and to {name}"));
            }
        }
        let this = &mut self.members[member];
        this.generation = generation;
        this.assignments += 1;
        for place in gained.iter().chain(owned) {
            if gained.contains(place) || !this.owned.contains_key(place) {
                this.owned.insert(place.clone(), Holding { since: at, next: None });
            }
        }
    }

    fn release(&mut self, member: usize, place: &Place, at: i64) {
        let Some(holding) = self.members[member].owned.remove(place) else { return };
        let span = Span { member, from: holding.since, to: at };
        let open = self.members.iter().enumerate().filter_map(|(i, other)| Some((i, other.owned.get(place)?.since, i64::MAX)));
        let closed = self.spans.get(place).into_iter().flatten().map(|other| (other.member, other.from, other.to));
        let clash = open.chain(closed).find(|(other, from, to)| *other != member && span.from < *to && *from < span.to);
        if let Some((other, from, to)) = clash {
            let (this, other) = (&self.members[member].name, &self.members[other].name);
            self.faults.push(format!("{place:?} was owned by {this} from {} to {at} and by {other} from {from} to {to}", span.from));
        }
        self.spans.entry(place.clone()).or_default().push(span);
    }

    fn record(&mut self, member: usize, generation: i32, place: &Place, offset: i64) {
        self.read.entry(place.clone()).or_default().insert(offset);
        let (name, identity) = (self.members[member].name.clone(), self.members[member].identity);
        let Some(holding) = self.members[member].owned.get(place).copied() else {
            self.faults.push(format!("{name} read {place:?} offset {offset} without owning it"));
            return;
        };
        match holding.next {
            None => self.first_read(member, place, holding.since, offset),
            Some(next) if next == offset => {}
            Some(next) => self.faults.push(format!("{name} read {place:?} offset {offset} where {next} was next")),
        }
        self.members[member].owned.insert(place.clone(), Holding { next: Some(offset + 1), ..holding });
        if generation >= 0
            && let Some(other) = self.readers.insert((generation, place.clone(), offset), identity).filter(|other| *other != identity)
        {
            let other = &self.members[other].name;
            self.faults.push(format!("generation {generation}: {place:?} offset {offset} was read by {other} and by {name}"));
        }
    }

    /// A new owner begins where the group had committed: not behind it, and not beyond what anybody tried to commit.
    fn first_read(&mut self, member: usize, place: &Place, since: i64, offset: i64) {
        let all = self.commits.get(place).map(Vec::as_slice).unwrap_or_default();
        let floor = all.iter().filter(|commit| commit.acknowledged && commit.at < since).map(|commit| commit.offset).max().unwrap_or(0);
        let ceiling = all.iter().map(|commit| commit.offset).max().unwrap_or(0);
        if !(floor..=ceiling).contains(&offset) {
            let name = &self.members[member].name;
            self.faults.push(format!("{name} began {place:?} at offset {offset}; committed was {floor}, tried at most {ceiling}"));
        }
    }

    fn observe(&mut self, asked: i64, place: &Place, offset: i64) {
        if self.resetting {
            return;
        }
        let before = self.observed.insert(place.clone(), offset).unwrap_or(-1);
        if offset < before {
            self.faults.push(format!("the committed offset of {place:?} went back from {before} to {offset}"));
        }
        let acknowledged = self.commits.get(place).into_iter().flatten().filter(|commit| commit.acknowledged && commit.at < asked);
        let floor = acknowledged.map(|commit| commit.offset).next_back().unwrap_or(-1);
        if offset < floor {
            self.faults.push(format!("the committed offset of {place:?} is {offset}; {floor} was acknowledged before"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, History};

    fn run(lines: &[(usize, &str)]) -> Vec<String> {
        let mut history = History::default();
        let members = [history.join("a", None), history.join("b", None)];
        for (member, line) in lines {
            history.apply(members[*member], Event::parse(line));
        }
        history.faults
    }

    fn expect(lines: &[(usize, &str)], fault: &str) {
        let faults = run(lines);
        assert_eq!(faults.iter().any(|found| found.contains(fault)), !fault.is_empty(), "{fault:?} in {faults:?}");
    }

    const A_OWNS: (usize, &str) = (0, r#"{"event":"assigned","at":10,"generation":1,"partitions":[["t",0]],"owned":[["t",0]]}"#);
    const A_GIVES: (usize, &str) = (0, r#"{"event":"revoked","at":20,"partitions":[["t",0]]}"#);
    const A_READS: (usize, &str) = (0, r#"{"event":"records","generation":1,"topic":"t","partition":0,"offsets":[0,1,2]}"#);
    const A_COMMITS: (usize, &str) = (0, r#"{"event":"committed","at":15,"asked":14,"offsets":[["t",0,3]]}"#);

    #[test]
    fn planted_faults_are_found() {
        let b_owns = |at: i64, generation: i32| {
            format!(r#"{{"event":"assigned","at":{at},"generation":{generation},"partitions":[["t",0]],"owned":[["t",0]]}}"#)
        };
        let b_reads =
            |offset: i64| format!(r#"{{"event":"records","generation":2,"topic":"t","partition":0,"offsets":[{offset},{}]}}"#, offset + 1);
        let sees = |asked: i64, offset: i64| format!(r#"{{"event":"observed","asked":{asked},"offsets":[["t",0,{offset}]]}}"#);
        let sound = [A_OWNS, A_READS, A_COMMITS, A_GIVES, (1, &*b_owns(20, 2)), (1, &*b_reads(3)), (1, &*sees(16, 3)), (1, &*sees(30, 3))];
        assert_eq!(run(&sound), Vec::<String>::new());

        expect(&[A_OWNS, (1, &b_owns(12, 1))], "generation 1");
        expect(&[A_OWNS, (1, &b_owns(12, 2)), A_GIVES], "was owned by");
        expect(&[A_OWNS, A_GIVES, (1, &b_owns(19, 2)), (1, r#"{"event":"revoked","at":30,"partitions":[["t",0]]}"#)], "was owned by");
        expect(&[A_OWNS, A_READS, A_COMMITS, A_GIVES, (1, &b_owns(20, 2)), (1, &b_reads(4))], "began");
        expect(&[A_OWNS, A_READS, A_COMMITS, A_GIVES, (1, &b_owns(20, 2)), (1, &b_reads(1))], "began");
        expect(&[A_OWNS, A_READS, A_READS], "was next");
        expect(&[A_OWNS, A_GIVES, A_READS], "without owning");
        expect(&[A_OWNS, A_READS, A_COMMITS, (1, &sees(14, 3)), (1, &sees(15, -1))], "went back");
        expect(&[A_OWNS, A_READS, A_COMMITS, (1, &sees(16, -1))], "was acknowledged before");
    }
}
