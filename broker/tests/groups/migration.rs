//! A group goes from the classic protocol to the consumer protocol and back while it works (KIP-848): members of both kinds share it.

use crate::groups::group::{Feed, Group, Kind, Programs};
use crate::groups::scenario::{Steps, broker, finish};
use crate::harness::Broker;
use std::process::Command;

/// Two classic members, then one of the other protocol beside them and without them; the steps' times.
pub(crate) fn migration(programs: &Programs, old: [Kind; 2], new: Kind) -> Result<String, String> {
    let mut broker = broker(&[new])?;
    let mut steps = Steps::new(format!("{} with {}, {}", old[0].name(), old[1].name(), new.name()));
    let mut feed = Feed::create(programs, &broker.bootstrap(), "migration")?;
    let mut group = Group::watch(programs, &broker, "migration", &feed)?;
    let done = migrate(programs, old, new, &mut broker, &mut feed, &mut group, &mut steps);
    finish(done, group, &broker, &steps)
}

fn migrate(
    programs: &Programs,
    old: [Kind; 2],
    new: Kind,
    broker: &mut Broker,
    feed: &mut Feed,
    group: &mut Group,
    steps: &mut Steps,
) -> Result<(), String> {
    let bootstrap = broker.bootstrap();
    let mut work = |broker: &Broker, group: &mut Group, members: &[usize], kind: &str, step: &str| -> Result<(), String> {
        group.settle(members)?;
        feed.produce(programs, &bootstrap, 10)?;
        group.read_all(feed)?;
        group.commit(members, feed)?;
        let now = kind_of(broker, &group.name)?;
        steps.done(step);
        if now == kind { Ok(()) } else { Err(format!("{step}: the group is of the type {now:?}, expected {kind:?}")) }
    };
    let topic = Feed { topic: "migration".to_owned(), end: 0 };

    let first = group.join(programs, broker, old[0], &topic)?;
    let second = group.join(programs, broker, old[1], &topic)?;
    work(broker, group, &[first, second], "classic", "two classic members")?;

    let third = group.join(programs, broker, new, &topic)?;
    work(broker, group, &[first, second, third], "consumer", "upgrade beside them")?;

    broker.kill()?;
    broker.start_again(1)?;
    work(broker, group, &[first, second, third], "consumer", "kill -9 of the broker while mixed")?;

    group.leave(third)?;
    work(broker, group, &[first, second], "classic", "downgrade as it leaves")?;

    let fourth = group.join(programs, broker, new, &topic)?;
    work(broker, group, &[first, second, fourth], "consumer", "upgrade again")?;
    group.leave(first)?;
    work(broker, group, &[second, fourth], "consumer", "a classic member leaves")?;
    group.leave(second)?;
    work(broker, group, &[fourth], "consumer", "the last classic member leaves")?;

    let fifth = group.join(programs, broker, old[0], &topic)?;
    work(broker, group, &[fourth, fifth], "consumer", "a classic member joins")?;
    group.kill(fourth);
    work(broker, group, &[fifth], "classic", "downgrade as it is killed")?;
    group.leave(fifth)
}

/// The type of the group, as the broker lists it.
fn kind_of(broker: &Broker, group: &str) -> Result<String, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coreline"));
    command.args(["group", "list", "--json", "--brokers", &broker.bootstrap()]);
    let output = command.output().map_err(|error| format!("coreline group list: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let found = rows.iter().find(|row| row["group"] == group).and_then(|row| row["type"].as_str().map(str::to_owned));
    found.ok_or_else(|| {
        format!("`coreline group list` does not tell the type of {group}: {text}{}", String::from_utf8_lossy(&output.stderr))
    })
}
