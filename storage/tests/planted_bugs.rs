//! The explorer held to finding bugs: each one planted in turn. `cargo test -p coreline-storage --features planted-bugs --test planted_bugs`.
//!
//! `PLANTED=Name` tries one, `PLANTED_IMAGES=n` bounds the images for each.

#[allow(dead_code)]
mod explorer;

use coreline_storage::planted::{Bug, plant};
use explorer::{Effort, run};

#[test]
fn each_planted_bug_is_found() {
    let only = std::env::var("PLANTED").ok();
    let images: u64 = std::env::var("PLANTED_IMAGES").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let mut missed = Vec::new();
    println!("| bug | seed | images until found | what was seen |\n|---|---|---|---|");
    for bug in Bug::ALL.iter().copied().filter(|bug| only.as_ref().is_none_or(|name| *name == format!("{bug:?}"))) {
        plant(Some(bug));
        let (total, took, failure) = run(0, images, Effort::QUICK);
        plant(None);
        match failure {
            Some(failure) => {
                let why = failure.text.lines().next().unwrap_or_default();
                println!("| {bug:?} | {} | {} | {why} |", failure.seed, failure.images);
                if only.is_some() {
                    println!("{}", failure.text);
                }
            }
            None => {
                println!("| {bug:?} | none | more than {} in {took:.0?} | |", total.images);
                // Since the journal's state is written for each new file too, random images seldom meet it: `journal/tests/crash.rs` sweeps over it.
                if bug != Bug::RecycledBeforeMark {
                    missed.push(bug);
                }
            }
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
