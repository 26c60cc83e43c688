//! `coreline consume` as a member beside a real client: it gets its share, reads and commits it, and Ctrl-C hands it back at once.

use crate::groups::group::{Feed, Group, Kind, LIMIT, PARTITIONS, Programs};
use crate::groups::history::{Event, Place};
use crate::groups::member::now_ms;
use crate::groups::scenario::{Steps, broker, finish, removals};
use crate::harness::Broker;
use crate::process;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// Records in each partition, each time.
const EACH: i64 = 5;

/// The command line beside one member of this kind; the steps' times.
pub(crate) fn command_line(programs: &Programs, kind: Kind) -> Result<String, String> {
    let broker = broker(&[kind])?;
    let mut steps = Steps::new(format!("the command line beside {}", kind.name()));
    let mut feed = Feed::create(programs, &broker.bootstrap(), "line")?;
    let mut group = Group::watch(programs, &broker, "line", &feed)?;
    let done = beside(programs, kind, &broker, &mut feed, &mut group, &mut steps);
    finish(done, group, &broker, &steps)
}

fn beside(programs: &Programs, kind: Kind, broker: &Broker, feed: &mut Feed, group: &mut Group, steps: &mut Steps) -> Result<(), String> {
    let bootstrap = broker.bootstrap();
    let member = group.join(programs, broker, kind, feed)?;
    group.settle(&[member])?;
    let line = Line::start(&bootstrap, &feed.topic, &group.name)?;
    group.until("the command line has its half", |history| history.members[member].owned.len() == PARTITIONS as usize / 2)?;
    steps.done("join");

    feed.produce(programs, &bootstrap, EACH)?;
    let half = (EACH * i64::from(PARTITIONS) / 2) as usize;
    let read = line.read(half)?;
    let theirs: BTreeSet<Place> = group.holdings(member).into_keys().collect();
    let mine: BTreeSet<Place> = read.keys().map(|partition| (feed.topic.clone(), *partition)).collect();
    if !mine.is_disjoint(&theirs) || mine.len() + theirs.len() != PARTITIONS as usize {
        return Err(format!("{mine:?} and {theirs:?} are not all partitions, each once"));
    }
    if read.values().any(|offsets| !offsets.iter().copied().eq(0..EACH)) {
        return Err(format!("not every record once and in order: {read:?}"));
    }
    group.until("the member has read its half", |history| {
        theirs.iter().all(|place| history.read.get(place).is_some_and(|r| r.len() as i64 == EACH))
    })?;
    group.commit_once(member)?;
    steps.done("read");

    // What it printed it commits; the others need not wait for the end of its session.
    let removed = removals(broker);
    let offsets: Vec<(Place, i64)> = mine.iter().map(|place| (place.clone(), EACH)).collect();
    mine.iter().for_each(|place| drop(group.history.read.insert(place.clone(), (0..EACH).collect())));
    // From now on it may have, once it has ended it has.
    group.history.apply(0, Event::CommitFailed { offsets: offsets.clone(), reason: String::new() });
    line.interrupt()?;
    group.history.apply(0, Event::Committed { at: now_ms(), offsets });
    group.until("what the command line printed is seen committed", |history| {
        mine.iter().all(|place| history.observed.get(place) == Some(&EACH))
    })?;
    group.settle(&[member])?;
    if removals(broker).is_some_and(|last| Some(last) != removed) {
        return Err("the command line was missed by the end of its session".to_owned());
    }
    feed.produce(programs, &bootstrap, EACH)?;
    group.read_all(feed)?;
    group.commit(&[member], feed)?;
    steps.done("Ctrl-C");
    group.leave(member)
}

/// A running `coreline consume`. Dropped, it is killed.
struct Line {
    child: process::Ended,
    /// Partition and offset of each record that it prints.
    records: Receiver<(i32, i64)>,
    stderr: JoinHandle<Vec<u8>>,
}

impl Line {
    fn start(bootstrap: &str, topic: &str, group: &str) -> Result<Line, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coreline"));
        command.args(["consume", topic, "--brokers", bootstrap, "-g", group, "-f", "%p %o\\n"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| format!("cannot start coreline consume: {error}"))?;
        let stderr = process::collect(child.stderr.take());
        let stdout = child.stdout.take().ok_or("its output is not piped")?;
        let (sender, records) = channel();
        thread::spawn(move || {
            let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok()).unwrap_or(-1);
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let mut words = line.split(' ');
                let record = (number(words.next()) as i32, number(words.next()));
                if sender.send(record).is_err() {
                    return;
                }
            }
        });
        Ok(Line { child: process::Ended(child), records, stderr })
    }

    /// The next so many records, offsets by partition.
    fn read(&self, count: usize) -> Result<BTreeMap<i32, Vec<i64>>, String> {
        let deadline = Instant::now() + LIMIT;
        let mut read: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
        for n in 0..count {
            let left = deadline.saturating_duration_since(Instant::now());
            let (partition, offset) =
                self.records.recv_timeout(left).map_err(|_| format!("the command line read {n} of {count} records: {read:?}"))?;
            read.entry(partition).or_default().push(offset);
        }
        Ok(read)
    }

    /// Ctrl-C, which ends it well.
    fn interrupt(mut self) -> Result<(), String> {
        let _ = kill(Pid::from_raw(self.child.0.id() as i32), Signal::SIGINT);
        let status = self.child.wait(LIMIT)?;
        drop(self.child);
        let stderr = process::tail(&process::joined(self.stderr));
        match (status, self.records.iter().next()) {
            (Some(status), None) if status.success() => Ok(()),
            (status, more) => Err(format!("the command line ended with {status:?} after Ctrl-C, printed {more:?} more\n{stderr}")),
        }
    }
}
