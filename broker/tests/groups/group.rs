//! One group: its programs, its history, and the waits and checks that scenarios are made of.

use crate::groups::history::{Event, History, Place};
use crate::groups::member::{Program, now_ms};
use crate::harness::Broker;
use crate::process;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Longer than any wait here may take on a machine that is busy with other things.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);
/// Partitions of the topic that a group reads.
pub(crate) const PARTITIONS: i32 = 6;

/// A client in a role: its program, and what it says to the group.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) client: &'static str,
    /// `classic` or `consumer`.
    pub(crate) protocol: &'static str,
    /// None: the client's, or in the consumer protocol the broker's, own choice.
    pub(crate) assignor: Option<&'static str>,
    /// Keeps what it may keep through a rebalance.
    pub(crate) cooperative: bool,
    /// Has static membership.
    pub(crate) statics: bool,
}

impl Kind {
    pub(crate) fn name(&self) -> String {
        format!("{} {} {}", self.client, self.protocol, self.assignor.unwrap_or("default"))
    }
}

/// The commands that run the client programs, by client.
pub(crate) type Programs = BTreeMap<&'static str, Vec<String>>;

/// The program that creates topics, produces and observes for all.
pub(crate) const HELPER: &str = "librdkafka";

/// Runs a client program to its end; its lines.
pub(crate) fn run(programs: &Programs, client: &str, bootstrap: &str, args: &[&str]) -> Result<Vec<serde_json::Value>, String> {
    let words = &programs[client];
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(["--bootstrap", bootstrap, "--timeout", "30"]).args(args);
    let output = process::run(&mut command, LIMIT).map_err(|reason| format!("{client} {}: {reason}", args.join(" ")))?;
    if !output.status.success() {
        return Err(format!("{client} {} ended with {}\n{}", args.join(" "), output.status, process::tail(&output.stderr)));
    }
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).map_err(|error| format!("{error}: {}", process::tail(line)))).collect()
}

/// The topic and what is in it.
pub(crate) struct Feed {
    pub(crate) topic: String,
    /// Records in each partition.
    pub(crate) end: i64,
}

impl Feed {
    pub(crate) fn create(programs: &Programs, bootstrap: &str, topic: &str) -> Result<Feed, String> {
        run(programs, HELPER, bootstrap, &["create", topic, &PARTITIONS.to_string()])?;
        Ok(Feed { topic: topic.to_owned(), end: 0 })
    }

    /// As many records into each partition; they are acknowledged when this returns.
    pub(crate) fn produce(&mut self, programs: &Programs, bootstrap: &str, each: i64) -> Result<(), String> {
        let mut file = tempfile::NamedTempFile::new().map_err(|error| format!("no temporary file: {error}"))?;
        for i in 0..each * i64::from(PARTITIONS) {
            let partition = i % i64::from(PARTITIONS);
            writeln!(file, r#"{{"i":{i},"partition":{partition},"key":null,"value":"YQ==","headers":[],"timestamp":null}}"#)
                .map_err(|error| format!("produce file: {error}"))?;
        }
        let path = file.path().to_str().expect("temporary paths are text");
        run(programs, HELPER, bootstrap, &["produce", &self.topic, "--idempotent", "--file", path])?;
        self.end += each;
        Ok(())
    }

    pub(crate) fn places(&self) -> Vec<Place> {
        (0..PARTITIONS).map(|partition| (self.topic.clone(), partition)).collect()
    }
}

/// One group.
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) history: History,
    /// What members subscribe instead of a topic.
    pattern: Option<String>,
    programs: BTreeMap<usize, Program>,
    kinds: Vec<Kind>,
    events: Receiver<(usize, Event)>,
    sender: Sender<(usize, Event)>,
}

impl Group {
    /// Empty, watched by an observer of its committed offsets.
    pub(crate) fn watch(programs: &Programs, broker: &Broker, name: &str, feed: &Feed) -> Result<Group, String> {
        let (sender, events) = channel();
        let mut group = Group {
            name: name.to_owned(),
            history: History::default(),
            pattern: None,
            programs: BTreeMap::new(),
            kinds: Vec::new(),
            events,
            sender,
        };
        let bootstrap = broker.bootstrap();
        let args = ["--bootstrap", &bootstrap, "watch", &feed.topic, "--group", name];
        let number = group.history.join("the observer", None);
        let program = Program::start(&programs[HELPER], &args, number, group.sender.clone())?;
        group.programs.insert(number, program);
        group.kinds.push(Kind { client: HELPER, protocol: "", assignor: None, cooperative: false, statics: false });
        Ok(group)
    }

    /// Members that join from now on subscribe every topic that matches, an expression that begins with `^`.
    pub(crate) fn subscribe_pattern(&mut self, pattern: &str) {
        self.pattern = Some(pattern.to_owned());
    }

    /// Starts a member; its number.
    pub(crate) fn join(&mut self, programs: &Programs, broker: &Broker, kind: Kind, feed: &Feed) -> Result<usize, String> {
        self.start(programs, broker, kind, feed, None, None)
    }

    /// A static member; `again` is the number of the program whose place it takes.
    pub(crate) fn join_static(
        &mut self,
        programs: &Programs,
        broker: &Broker,
        kind: Kind,
        feed: &Feed,
        instance: &str,
        again: Option<usize>,
    ) -> Result<usize, String> {
        self.start(programs, broker, kind, feed, Some(instance), again)
    }

    fn start(
        &mut self,
        programs: &Programs,
        broker: &Broker,
        kind: Kind,
        feed: &Feed,
        instance: Option<&str>,
        again: Option<usize>,
    ) -> Result<usize, String> {
        let bootstrap = broker.bootstrap();
        // librdkafka takes what begins with ^ for an expression, Java has another call for it.
        let topic = self.pattern.as_ref().filter(|_| kind.client == HELPER).unwrap_or(&feed.topic);
        let mut args = vec!["--bootstrap", &bootstrap, "member", topic, "--group", &self.name, "--protocol", kind.protocol];
        self.pattern.iter().filter(|_| kind.client != HELPER).for_each(|pattern| args.extend(["--regex", pattern]));
        kind.assignor.iter().for_each(|assignor| args.extend(["--assignor", assignor]));
        instance.iter().for_each(|instance| args.extend(["--instance", instance]));
        // One that is killed has to be back before its session is over, also on a machine that has much else to do.
        if instance.is_some() && kind.protocol == "classic" && ["java", "librdkafka"].contains(&kind.client) {
            args.extend(["--session", "20000"]);
        }
        let number = self.history.join(&format!("{} {}", kind.client, self.history.members.len()), again);
        self.kinds.push(kind);
        let program = Program::start(&programs[kind.client], &args, number, self.sender.clone())?;
        self.programs.insert(number, program);
        Ok(number)
    }

    /// kill -9.
    pub(crate) fn kill(&mut self, member: usize) {
        if let Some(program) = self.programs.remove(&member) {
            let at = program.kill();
            self.drain(member);
            self.history.apply(member, Event::Ended { at, why: String::new() });
        }
    }

    /// It leaves and ends.
    pub(crate) fn leave(&mut self, member: usize) -> Result<(), String> {
        let name = self.history.members[member].name.clone();
        let mut program = self.programs.remove(&member).ok_or_else(|| format!("{name} does not run"))?;
        program.tell("leave")?;
        program.end().map_err(|reason| format!("{name}: {reason}"))?;
        self.drain(usize::MAX);
        self.check()
    }

    /// Waits until `done` says so.
    pub(crate) fn until(&mut self, what: &str, done: impl Fn(&History) -> bool) -> Result<(), String> {
        let deadline = Instant::now() + LIMIT;
        loop {
            self.check()?;
            if done(&self.history) {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok((member, event)) => self.history.apply(member, event),
                Err(_) => return Err(format!("{what}: not within {LIMIT:?}\n{}", self.state())),
            }
        }
    }

    /// Every partition has one owner among these members, each of them has some, in one generation where the protocol has one.
    pub(crate) fn settle(&mut self, members: &[usize]) -> Result<(), String> {
        self.settle_on(members, None)
    }

    /// The same of the partitions of these topics, and of no others.
    pub(crate) fn settle_on(&mut self, members: &[usize], feeds: Option<&[&Feed]>) -> Result<(), String> {
        let kinds = self.kinds.clone();
        let wanted: Option<BTreeSet<Place>> = feeds.map(|feeds| feeds.iter().flat_map(|feed| feed.places()).collect());
        self.until(&format!("members {members:?} share the partitions"), |history| {
            let mut all: BTreeSet<&Place> = BTreeSet::new();
            let mut count = 0;
            for member in members.iter().map(|member| &history.members[*member]) {
                count += member.owned.len();
                all.extend(member.owned.keys());
                if member.owned.is_empty() {
                    return false;
                }
            }
            let newest = history.members.iter().map(|member| member.generation).max();
            let together = members.iter().all(|i| kinds[*i].protocol != "classic" || Some(history.members[*i].generation) == newest);
            let complete = match &wanted {
                Some(wanted) => all.iter().copied().eq(wanted),
                None => all.len() == PARTITIONS as usize,
            };
            together && complete && count == all.len()
        })
    }

    /// Every record has been read by some member.
    pub(crate) fn read_all(&mut self, feed: &Feed) -> Result<(), String> {
        let (places, end) = (feed.places(), feed.end);
        self.until(&format!("everything is read up to {end}"), |history| {
            places.iter().all(|place| history.read.get(place).is_some_and(|read| read.len() as i64 == end))
        })
    }

    /// The members commit what they read until all of it is committed: a rebalance may come between, and what was read and not committed
    /// before one may come again. The observer sees it.
    pub(crate) fn commit(&mut self, members: &[usize], feed: &Feed) -> Result<(), String> {
        let deadline = Instant::now() + LIMIT;
        let (places, end) = (feed.places(), feed.end);
        loop {
            for member in members {
                self.commit_once(*member)?;
            }
            if places.iter().all(|place| self.history.committed(place) == end) {
                break;
            }
            if Instant::now() > deadline {
                return Err(format!("not everything is committed at {end} within {LIMIT:?}\n{}", self.state()));
            }
            self.pause(Duration::from_millis(100));
        }
        self.until(&format!("all partitions are seen committed at {end}"), |history| {
            places.iter().all(|place| history.observed.get(place) == Some(&end))
        })
    }

    /// A member commits what it read, or is told that it cannot.
    pub(crate) fn commit_once(&mut self, member: usize) -> Result<(), String> {
        let this = &self.history.members[member];
        let before = (this.commits, this.commit_failures.len());
        self.programs.get_mut(&member).ok_or("it does not run")?.tell("commit")?;
        self.until(&format!("member {member} commits"), |history| {
            let member = &history.members[member];
            (member.commits, member.commit_failures.len()) != before
        })
    }

    /// Hears what comes for so long: for retries, and to see that nothing happens.
    pub(crate) fn pause(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        while let Ok((member, event)) = self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.history.apply(member, event);
        }
    }

    /// What a member owns since when: equal before and after, it kept it all the time.
    pub(crate) fn holdings(&self, member: usize) -> BTreeMap<Place, i64> {
        self.history.members[member].owned.iter().map(|(place, holding)| (place.clone(), holding.since)).collect()
    }

    /// An administrator sets the offsets of the empty group.
    pub(crate) fn reset(&mut self, programs: &Programs, broker: &Broker, client: &str, feed: &Feed, to: i64) -> Result<(), String> {
        self.pause(Duration::ZERO);
        self.history.reset_begins();
        run(programs, client, &broker.bootstrap(), &["group-reset", &feed.topic, "--group", &self.name, "--to", &to.to_string()])?;
        let now = now_ms();
        // An observation that was asked for before the reset has been heard once a later one comes.
        let offsets: Vec<(Place, i64)> = feed.places().into_iter().map(|place| (place, to)).collect();
        self.pause(Duration::from_millis(500));
        self.history.reset_is_done(now, &offsets);
        self.until("the reset is seen", |history| offsets.iter().all(|(place, to)| history.observed.get(place) == Some(to)))
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        if self.history.faults.is_empty() { Ok(()) } else { Err(format!("{}\n{}", self.history.faults.join("\n"), self.state())) }
    }

    /// Ends the observer and every member that is left; on failure what the programs said on stderr.
    pub(crate) fn end(mut self, failed: bool) -> String {
        let mut said = String::new();
        for (number, program) in std::mem::take(&mut self.programs) {
            let words = program.last_words();
            if failed && !words.is_empty() {
                said += &format!("\n{} said:\n{words}\n", self.history.members[number].name);
            }
        }
        said
    }

    fn drain(&mut self, killed: usize) {
        while let Ok((member, event)) = self.events.try_recv() {
            if !(member == killed && matches!(event, Event::Ended { .. })) {
                self.history.apply(member, event);
            }
        }
    }

    fn state(&self) -> String {
        let one = |member: &crate::groups::history::Member| {
            let owned: Vec<String> = member.owned.iter().map(|((_, partition), held)| format!("{partition}@{:?}", held.next)).collect();
            let state = if member.alive { "" } else { " (gone)" };
            format!("  {}{state}: generation {}, owns [{}], {:?}", member.name, member.generation, owned.join(" "), member.commit_failures)
        };
        let members: Vec<String> = self.history.members.iter().map(one).collect();
        let observed: Vec<String> = self.history.observed.iter().map(|((_, partition), offset)| format!("{partition}:{offset}")).collect();
        format!("group {}:\n{}\n  committed, as observed: {}", self.name, members.join("\n"), observed.join(" "))
    }
}
