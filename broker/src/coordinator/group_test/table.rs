//! The table of states and events, drawn from the machine: what each event is answered in each state, and where the group goes.

use std::path::Path;

use super::transcript::Runner;
use crate::coordinator::group::ClassicState;

/// The table's file in `testdata/group`.
pub(super) const FILE: &str = "states_and_events.txt";

/// Commands that bring a new machine's group `g` into each state. Members: m1 leads, m2 follows.
const STATES: [(&str, &[&str]); 5] = [
    ("(no group)", &[]),
    ("Empty", &["commit c t/0:1", "written"]),
    (
        "PreparingRebalance",
        &[
            "join a v=3 protocols=range:a",
            "join b v=3 protocols=range:b",
            "wait 6000",
            "sync s member=m1 gen=1 assign=m1:1,m2:2",
            "written",
            "join a member=m1 protocols=range:a",
        ],
    ),
    ("CompletingRebalance", &["join a v=3 protocols=range:a", "join b v=3 protocols=range:b", "wait 6000"]),
    (
        "Stable",
        &[
            "join a v=3 protocols=range:a",
            "join b v=3 protocols=range:b",
            "wait 6000",
            "sync s member=m1 gen=1 assign=m1:1,m2:2",
            "written",
        ],
    ),
];

/// Events, each as a command whose answer has the label `x`.
const EVENTS: [(&str, &str); 23] = [
    ("a new member joins (v3)", "join x v=3 protocols=range:c"),
    ("a new member joins (v4)", "join x v=4 protocols=range:c"),
    ("a member of another type joins", "join x v=3 type=connect"),
    ("a member without common protocol joins", "join x v=3 protocols=sticky:c"),
    ("the leader joins", "join x member=m1 protocols=range:a"),
    ("a follower joins", "join x member=m2 protocols=range:b"),
    ("a follower joins with new metadata", "join x member=m2 protocols=range:c"),
    ("a stranger joins with an id", "join x member=stranger protocols=range:c"),
    ("the leader syncs", "sync x member=m1 gen=1 assign=m1:1,m2:2"),
    ("a follower syncs", "sync x member=m2 gen=1"),
    ("a follower syncs, wrong generation", "sync x member=m2 gen=9"),
    ("a member beats", "beat x member=m2 gen=1"),
    ("a member beats, wrong generation", "beat x member=m2 gen=9"),
    ("a stranger beats", "beat x member=stranger gen=1"),
    ("a member leaves", "leave x m2"),
    ("a stranger leaves", "leave x stranger"),
    ("a member commits", "commit x member=m2 gen=1 t/0:7"),
    ("a member commits, wrong generation", "commit x member=m2 gen=9 t/0:7"),
    ("a simple consumer commits", "commit x t/0:7"),
    ("the group is described", "describe x"),
    ("the group is deleted", "delete x"),
    ("an offset is deleted", "forget x t/0"),
    ("sessions end", "wait 11000"),
];

#[test]
fn every_event_in_every_state_is_answered_as_the_table_says() {
    let mut table =
        String::from("# What each event is answered in each state of a classic group, and the state after it. Drawn from the code.\n");
    for (state, setup) in STATES {
        table.push_str(&format!("\n{state}\n"));
        for (event, command) in EVENTS {
            let mut runner = Runner::new();
            setup.iter().for_each(|command| runner.command(command));
            let before = runner.machine.group("g").map_or("(no group)", |group| group.state().name());
            assert_eq!(before, state, "the set-up of a state leads elsewhere");
            runner.out.clear();
            runner.command(command);
            let answer = runner.out.iter().find_map(|line| line.strip_prefix("x: ")).unwrap_or("-").to_owned();
            let parked = if runner.out.iter().any(|line| line.starts_with("write ")) { "after the write" } else { "parked" };
            let answer = if answer == "-" && !command.starts_with("wait") { parked.to_owned() } else { answer };
            let after = runner.machine.group("g").map_or("(no group)", |group| group.state().name());
            table.push_str(&format!("    {event:<40} {after:<20} {answer}\n"));
        }
    }
    table.push_str(&format!("\n{}", ClassicState::graphviz()));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/group").join(FILE);
    if std::env::var_os("UPDATE_TRANSCRIPTS").is_some() {
        std::fs::write(&path, &table).expect("writes the table");
    }
    let expected = std::fs::read_to_string(&path).expect("the table");
    assert!(table == expected, "the table has changed; UPDATE_TRANSCRIPTS=1 writes it anew. Now:\n{table}");
}
