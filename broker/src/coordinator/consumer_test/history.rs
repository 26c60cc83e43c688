//! Random histories of consumer groups, with classic members that come and go between them. Reliability rows 12 and 13.
//!
//! Held at every step: the durable image is what the log says, partitions that a member reads are counted as its own (so nothing is given
//! before it is given up, and nobody has two owners), committed offsets do not go back. Held at the end: groups come to rest, and every
//! subscribed partition is read by one member.
//!
//! `CONSUMER_HISTORY_SEED=n` runs one history, `CONSUMER_HISTORIES=n` that many; a failure prints its seed.

use super::world::{Seen, World};

const STEPS: usize = 500;
const HISTORIES: u64 = 60;

#[test]
fn nobody_reads_what_another_has_in_any_history() {
    let seeds = match std::env::var("CONSUMER_HISTORY_SEED") {
        Ok(seed) => vec![seed.parse().expect("a number")],
        Err(_) => (0..std::env::var("CONSUMER_HISTORIES").map_or(HISTORIES, |count| count.parse().expect("a number"))).collect(),
    };
    let mut seen = Seen::default();
    for seed in seeds {
        eprintln!("CONSUMER_HISTORY_SEED={seed}");
        let mut world = World::new(seed);
        for n in 0..STEPS {
            world.step();
            if n % 16 == 0 {
                world.check_log();
            }
        }
        world.settle();
        seen.add(&world.seen);
    }
    eprintln!("{seen:?}");
    // A test that never gets anywhere proves nothing.
    if std::env::var_os("CONSUMER_HISTORY_SEED").is_none() {
        assert!(seen.granted > 500 && seen.revoked > 200 && seen.fenced > 50 && seen.failed > 100 && seen.restarts > 20, "{seen:?}");
        assert!(seen.upgrades > 5 && seen.downgrades > 5 && seen.committed > 50 && seen.late > 50 && seen.settled > 30, "{seen:?}");
    }
}
