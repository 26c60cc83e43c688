//! Members that subscribe an expression: a topic that is created is assigned, one that is deleted is taken away, and one of the same name that
//! comes later begins anew (not for Java, which goes on asking for the deleted topic by its id and stays without metadata, with Apache Kafka too).

use crate::groups::group::{Feed, Group, HELPER, Kind, Programs, run};
use crate::groups::scenario::{Steps, broker, finish};
use crate::harness::Broker;

/// Members of the consumer protocol; the steps' times.
pub(crate) fn pattern(programs: &Programs, kinds: [Kind; 2]) -> Result<String, String> {
    let broker = broker(&kinds)?;
    let mut steps = Steps::new(format!("{} and {}, ^pattern-.*", kinds[0].name(), kinds[1].name()));
    let mut here = Feed::create(programs, &broker.bootstrap(), "pattern-here")?;
    let mut group = Group::watch(programs, &broker, "pattern", &here)?;
    let done = come_and_go(programs, kinds, &broker, &mut here, &mut group, &mut steps);
    finish(done, group, &broker, &steps)
}

fn come_and_go(
    programs: &Programs,
    kinds: [Kind; 2],
    broker: &Broker,
    here: &mut Feed,
    group: &mut Group,
    steps: &mut Steps,
) -> Result<(), String> {
    let bootstrap = broker.bootstrap();
    here.produce(programs, &bootstrap, 10)?;
    group.subscribe_pattern("^pattern-.*");
    // One after the other: who has not taken yet what it was given says that it owns nothing, and the broker, as Kafka does, believes that and
    // gives it to who comes then. What it takes late, it owns for a moment beside the other.
    let mut members = Vec::new();
    for kind in kinds {
        members.push(group.join(programs, broker, kind, here)?);
        group.settle_on(&members, Some(&[here]))?;
    }
    group.read_all(here)?;
    group.commit(&members, here)?;
    steps.done("join");

    // The second one shares the beginning and not the expression.
    Feed::create(programs, &bootstrap, "pattern")?;
    let mut later = Feed::create(programs, &bootstrap, "pattern-later")?;
    group.settle_on(&members, Some(&[here, &later]))?;
    later.produce(programs, &bootstrap, 10)?;
    here.produce(programs, &bootstrap, 10)?;
    group.read_all(&later)?;
    group.read_all(here)?;
    group.commit(&members, here)?;
    steps.done("a topic is created");

    run(programs, HELPER, &bootstrap, &["delete", "pattern-later"])?;
    group.settle_on(&members, Some(&[here]))?;
    here.produce(programs, &bootstrap, 10)?;
    group.read_all(here)?;
    group.commit(&members, here)?;
    steps.done("it is deleted");

    let mut all = vec![];
    if kinds.iter().all(|kind| kind.client != "java") {
        group.history.forget_topic("pattern-later");
        let mut again = Feed::create(programs, &bootstrap, "pattern-later")?;
        group.settle_on(&members, Some(&[here, &again]))?;
        again.produce(programs, &bootstrap, 5)?;
        group.read_all(&again)?;
        all.push(again);
        steps.done("it comes again");
    }
    all.push(Feed { topic: here.topic.clone(), end: here.end });

    while let Some(member) = members.pop() {
        group.leave(member)?;
        if !members.is_empty() {
            group.settle_on(&members, Some(&all.iter().collect::<Vec<_>>()))?;
        }
    }
    steps.done("leave");
    Ok(())
}
