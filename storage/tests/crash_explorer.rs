//! The crash explorer on the code as it is: a quick run, its determinism, and a disk that lies as its control.
//!
//! One seed: `EXPLORE_SEED=n cargo test -p coreline-storage --test crash_explorer quick`. The long run (`PROOFS.md`):
//! `EXPLORE_IMAGES=100000 cargo test --release -p coreline-storage --test crash_explorer -- --ignored --nocapture long`.

mod explorer;

use explorer::{Effort, Explored, explore, run};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|n| n.parse().ok())
}

fn go(first: u64, images: u64, effort: Effort, test: &str) -> Explored {
    let (total, took, failure) = run(first, images, effort);
    eprintln!("{total:?} in {took:.1?}");
    if let Some(failure) = failure {
        panic!(
            "seed {} after {} images: {}\nrepeat: EXPLORE_SEED={} cargo test -p coreline-storage --test crash_explorer -- --include-ignored {test}",
            failure.seed, failure.images, failure.text, failure.seed
        );
    }
    total
}

#[test]
fn quick() {
    match number("EXPLORE_SEED") {
        Some(seed) => drop(go(seed, 2000, Effort::QUICK, "quick")),
        None => {
            let images = number("EXPLORE_IMAGES").unwrap_or(2000);
            let total = go(0, images, Effort::QUICK, "quick");
            assert!(
                images < 2000 || (total.kills > 100 && total.second_crashes > 500 && total.exhaustive_points > 50),
                "not everything was reached: {total:?}"
            );
            assert!(
                images < 2000 || (total.compactions > 20 && total.exchanges > 20 && total.segments_removed > 20 && total.logs_removed > 5),
                "not everything was reached: {total:?}"
            );
        }
    }
}

#[test]
#[ignore = "a hundred thousand images take minutes"]
fn long() {
    match number("EXPLORE_SEED") {
        Some(seed) => drop(go(seed, 100_000, Effort::LONG, "long")),
        None => drop(go(number("EXPLORE_FIRST").unwrap_or(1000), number("EXPLORE_IMAGES").unwrap_or(100_000), Effort::LONG, "long")),
    }
}

#[test]
fn the_same_seed_gives_the_same_events() {
    let hash = |seed| {
        let mut total = Explored::default();
        explore(seed, Effort { points_max: 2, random_images: 1, ..Effort::QUICK }, u64::MAX, &mut total).expect("nothing fails");
        total.hash
    };
    for seed in 0..4 {
        assert_eq!(hash(seed), hash(seed), "seed {seed}");
        assert_ne!(hash(seed), hash(seed + 100));
    }
}
