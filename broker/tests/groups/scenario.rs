//! The life of a group, client by client: members are added, killed and leave, the broker is stopped and killed under them, offsets are reset.

use crate::groups::group::{Feed, Group, Kind, Programs, run};
use crate::harness::{Broker, Target};
use std::io::Write;
use std::time::{Duration, Instant};

/// How long nothing may happen where nothing must: longer than a rebalance that was going to come takes.
const QUIET: Duration = Duration::from_millis(1500);

/// What a broker gets so that a killed member is missed soon in the consumer protocol; in the classic one the members say it.
const SETTINGS: [&str; 4] = [
    "group.consumer.min.session.timeout.ms=6000",
    "group.consumer.session.timeout.ms=6000",
    "group.consumer.min.heartbeat.interval.ms=500",
    "group.consumer.heartbeat.interval.ms=500",
];

pub(crate) fn broker(kinds: &[Kind]) -> Result<Broker, String> {
    let settings: &[&str] = if kinds.iter().any(|kind| kind.protocol == "consumer") { &SETTINGS } else { &[] };
    Broker::start_with(Target::from_env(), 2, settings)
}

/// One kind of member through everything; the times of its steps.
pub(crate) fn life(programs: &Programs, kind: Kind) -> Result<String, String> {
    let mut broker = broker(&[kind])?;
    let mut steps = Steps::new(kind.name());
    let bootstrap = broker.bootstrap();
    let mut feed = Feed::create(programs, &bootstrap, "life")?;
    let mut group = Group::watch(programs, &broker, "life", &feed)?;
    let done = live(programs, kind, &mut broker, &mut feed, &mut group, &mut steps);
    let done = finish(done, group, &broker, &steps);
    if done.is_err() || !kind.statics {
        return done;
    }
    let mut group = Group::watch(programs, &broker, "static", &feed)?;
    let done = static_member(programs, kind, &mut broker, &mut feed, &mut group, &mut steps);
    finish(done, group, &broker, &steps)
}

fn live(programs: &Programs, kind: Kind, broker: &mut Broker, feed: &mut Feed, group: &mut Group, steps: &mut Steps) -> Result<(), String> {
    let bootstrap = broker.bootstrap();
    feed.produce(programs, &bootstrap, 20)?;
    let first = group.join(programs, broker, kind, feed)?;
    group.settle(&[first])?;
    group.read_all(feed)?;
    group.commit(&[first], feed)?;
    steps.done("join");

    let second = group.join(programs, broker, kind, feed)?;
    group.settle(&[first, second])?;
    feed.produce(programs, &bootstrap, 10)?;
    group.read_all(feed)?;
    group.commit(&[first, second], feed)?;
    steps.done("add");

    let held = [group.holdings(first), group.holdings(second)];
    let third = group.join(programs, broker, kind, feed)?;
    group.settle(&[first, second, third])?;
    if kind.cooperative {
        kept(group, &[(first, &held[0]), (second, &held[1])])?;
    }
    feed.produce(programs, &bootstrap, 10)?;
    group.read_all(feed)?;
    group.commit(&[first, second, third], feed)?;
    steps.done("add another");

    // What the killed member read and never committed comes again.
    feed.produce(programs, &bootstrap, 10)?;
    group.read_all(feed)?;
    let held = [group.holdings(first), group.holdings(third)];
    group.kill(second);
    group.settle(&[first, third])?;
    if kind.cooperative {
        kept(group, &[(first, &held[0]), (third, &held[1])])?;
    }
    group.read_all(feed)?;
    group.commit(&[first, third], feed)?;
    steps.done("kill -9 of a member");

    broker.stop()?;
    broker.start_again(1)?;
    feed.produce(programs, &bootstrap, 10)?;
    group.read_all(feed)?;
    group.commit(&[first, third], feed)?;
    steps.done("restart");

    feed.produce(programs, &bootstrap, 10)?;
    broker.kill()?;
    broker.start_again(2)?;
    feed.produce(programs, &bootstrap, 10)?;
    group.read_all(feed)?;
    group.commit(&[first, third], feed)?;
    steps.done("kill -9 of the broker");

    let removed = removals(broker);
    group.leave(third)?;
    group.settle(&[first])?;
    if removals(broker).is_some_and(|last| Some(last) != removed) {
        return Err("a member that left was missed by the end of its session".to_owned());
    }
    feed.produce(programs, &bootstrap, 10)?;
    group.read_all(feed)?;
    lag(programs, kind, broker, group, feed, feed.end - 10)?;
    group.commit(&[first], feed)?;
    group.leave(first)?;
    steps.done("leave, lag");

    let to = feed.end - 15;
    group.reset(programs, broker, kind.client, feed, to)?;
    let last = group.join(programs, broker, kind, feed)?;
    group.settle(&[last])?;
    group.read_all(feed)?;
    group.commit(&[last], feed)?;
    group.leave(last)?;
    steps.done("reset");
    Ok(())
}

/// The broker's last word of a member whose session was over; it begins with the time. None when later lines have pushed it out.
pub(crate) fn removals(broker: &Broker) -> Option<String> {
    broker.log_tail().lines().rfind(|line| line.contains("the member is removed")).map(str::to_owned)
}

/// A static member goes and comes back: nobody else notices, and it has what it had.
fn static_member(
    programs: &Programs,
    kind: Kind,
    broker: &mut Broker,
    feed: &mut Feed,
    group: &mut Group,
    steps: &mut Steps,
) -> Result<(), String> {
    let stays = group.join_static(programs, broker, kind, feed, "one", None)?;
    let goes = group.join_static(programs, broker, kind, feed, "two", None)?;
    group.settle(&[stays, goes])?;
    group.read_all(feed)?;
    group.commit(&[stays, goes], feed)?;
    // The one that goes may lead the group, or the other: both are tried.
    for round in 0..2 {
        let (stays, goes) = if round == 0 { (stays, goes) } else { (group.history.members.len() - 1, stays) };
        let instance = if round == 0 { "two" } else { "one" };
        let (held, had) = (group.holdings(stays), group.holdings(goes));
        let (told, generation) = (group.history.members[stays].assignments, group.history.members[stays].generation);
        // In the consumer protocol a killed member's instance is taken until its session is over; one that is closed says that it comes back.
        if kind.protocol == "classic" {
            group.kill(goes);
        } else {
            group.leave(goes)?;
        }
        let back = group.join_static(programs, broker, kind, feed, instance, Some(goes))?;
        group.settle(&[stays, back])?;
        group.pause(QUIET);
        group.check()?;
        let this = &group.history.members[stays];
        // A generation may pass where the member itself rebalances: franz-go does now and then when it comes back as the leader, and with another
        // subscription in the consumer protocol, both with Apache Kafka too. What is owned stays owned.
        let quiet = kind.protocol == "classic" && kind.client != "franz-go";
        let noticed = quiet && (this.assignments, this.generation) != (told, generation);
        if noticed || group.holdings(stays) != held {
            return Err(format!("{} noticed that a static member came back: generation {generation}, now {}", this.name, this.generation));
        }
        if group.holdings(back).keys().ne(had.keys()) {
            return Err(format!("the static member had {:?} and got {:?}", had.keys(), group.holdings(back).keys()));
        }
        if quiet && group.history.members[back].generation != generation {
            return Err(format!(
                "the static member is of generation {}, the group was of {generation}",
                group.history.members[back].generation
            ));
        }
    }
    feed.produce(programs, &broker.bootstrap(), 10)?;
    group.read_all(feed)?;
    steps.done("static rejoin");
    Ok(())
}

/// Cooperative members keep what they still own without a break.
fn kept(group: &Group, before: &[(usize, &std::collections::BTreeMap<(String, i32), i64>)]) -> Result<(), String> {
    for (member, held) in before {
        let now = group.holdings(*member);
        let name = &group.history.members[*member].name;
        if now.is_empty() || !now.keys().any(|place| held.contains_key(place)) {
            return Err(format!("{name} kept nothing of {held:?}: {now:?}"));
        }
        for (place, since) in &now {
            if held.get(place).is_some_and(|before| before != since) {
                return Err(format!("{name} was stopped on {place:?}, which it keeps"));
            }
        }
    }
    Ok(())
}

/// The client's own view of the group: committed offsets, ends, and so the lag.
fn lag(programs: &Programs, kind: Kind, broker: &Broker, group: &Group, feed: &Feed, committed: i64) -> Result<(), String> {
    let lines = run(programs, kind.client, &broker.bootstrap(), &["group-offsets", &feed.topic, "--group", &group.name])?;
    let number = |line: &serde_json::Value, name: &str| line[name].as_i64().unwrap_or(-2);
    let right = |line: &&serde_json::Value| {
        (number(line, "committed"), number(line, "end"), number(line, "lag")) == (committed, feed.end, feed.end - committed)
    };
    if lines.len() == crate::groups::group::PARTITIONS as usize && lines.iter().all(|line| right(&line)) {
        return Ok(());
    }
    Err(format!("{}: expected committed {committed} of {}, got {lines:?}", kind.client, feed.end))
}

/// Members of several kinds with an assignor in common join at once, and go one after the other.
pub(crate) fn storm(programs: &Programs, name: &str, kinds: &[Kind]) -> Result<String, String> {
    let broker = broker(kinds)?;
    let mut steps = Steps::new(name.to_owned());
    let mut feed = Feed::create(programs, &broker.bootstrap(), "storm")?;
    feed.produce(programs, &broker.bootstrap(), 20)?;
    let mut group = Group::watch(programs, &broker, "storm", &feed)?;
    let mut storm = || -> Result<(), String> {
        let mut members = Vec::new();
        for kind in kinds {
            members.push(group.join(programs, &broker, *kind, &feed)?);
            // A member that was given partitions and has not taken them says that it owns none, and the next one gets them: for that moment
            // two of them read the same, with Kafka too (DESIGN.md).
            if kind.protocol == "consumer" {
                group.settle(&members)?;
            }
        }
        group.settle(&members)?;
        group.read_all(&feed)?;
        group.commit(&members, &feed)?;
        steps.done("join");
        while members.len() > 1 {
            group.leave(members.remove(0))?;
            group.settle(&members)?;
            feed.produce(programs, &broker.bootstrap(), 5)?;
            group.read_all(&feed)?;
            group.commit(&members, &feed)?;
        }
        group.leave(members[0])?;
        steps.done("leave one by one");
        Ok(())
    };
    let done = storm();
    finish(done, group, &broker, &steps)
}

pub(crate) fn finish(done: Result<(), String>, group: Group, broker: &Broker, steps: &Steps) -> Result<String, String> {
    let done = done.and_then(|()| group.check());
    let told = group.history.assignments;
    let said = group.end(done.is_err());
    match done {
        Ok(()) => Ok(format!("{}, {told} assignments", steps.line())),
        Err(reason) => Err(format!("{}: {reason}\n{said}\nthe broker's last lines:\n{}", steps.line(), broker.log_tail())),
    }
}

/// Names and times of what is done.
pub(crate) struct Steps {
    name: String,
    log: Vec<String>,
    last: Instant,
}

impl Steps {
    pub(crate) fn new(name: String) -> Steps {
        Steps { name, log: Vec::new(), last: Instant::now() }
    }

    pub(crate) fn done(&mut self, step: &str) {
        let line = format!("{step} {:.1} s", self.last.elapsed().as_secs_f32());
        if std::env::var_os("CORELINE_INTEROP_VERBOSE").is_some() {
            let _ = writeln!(std::io::stderr(), "groups: {}: {line}", self.name);
        }
        self.log.push(line);
        self.last = Instant::now();
    }

    fn line(&self) -> String {
        format!("{}: {}", self.name, self.log.join(", "))
    }
}
