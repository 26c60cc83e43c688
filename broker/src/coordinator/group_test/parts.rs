//! Removals that take several writes: who asked for one is told when any of them fails.

use super::transcript::Runner;

/// More offsets than one write removes.
const PARTITIONS: usize = 1_001;

/// A machine whose group `g` has committed so many, and what it does about a command.
fn with_offsets() -> impl FnMut(&str) -> Vec<String> {
    let mut runner = Runner::new();
    let mut run = move |command: &str| {
        runner.out.clear();
        runner.command(command);
        runner.out.iter().filter(|line| !line.starts_with("write ")).cloned().collect()
    };
    let all: Vec<String> = (0..PARTITIONS).map(|partition| format!("t/{partition}:1")).collect();
    run(&format!("commit c {}", all.join(" ")));
    run("written");
    run
}

#[test]
fn a_group_of_which_a_part_could_not_be_removed_is_not_told_as_deleted() {
    for failed in [0, 1] {
        let mut run = with_offsets();
        run("delete x");
        let write = |n| if n == failed { "failed REQUEST_TIMED_OUT" } else { "written" };
        assert_eq!(run(write(0)), Vec::<String>::new());
        assert_eq!(run(write(1)), ["x: deleted COORDINATOR_NOT_AVAILABLE"], "write {failed}");
        let left = run("fetch f");
        assert_eq!(left[0].matches("offset 1").count(), if failed == 0 { 1_000 } else { 1 });
        // Again, and everything goes.
        run("delete y");
        (0..failed_parts(&left)).for_each(|_| assert_eq!(run("written"), Vec::<String>::new()));
        assert_eq!(run("written"), ["y: deleted NONE"]);
        assert_eq!(run("show"), ["no groups"]);
    }
}

/// Writes before the last one, which also removes the group.
fn failed_parts(left: &[String]) -> usize {
    left[0].matches("offset 1").count() / 1_000
}

#[test]
fn offsets_of_which_a_part_could_not_be_removed_are_not_told_as_deleted() {
    let all: Vec<String> = (0..PARTITIONS).map(|partition| format!("t/{partition}")).collect();
    let mut run = with_offsets();
    run(&format!("forget x {}", all.join(" ")));
    assert_eq!(run("failed NOT_LEADER_OR_FOLLOWER"), Vec::<String>::new());
    let told = run("written");
    assert!(told[0].contains("NOT_COORDINATOR"), "{told:?}");
}
