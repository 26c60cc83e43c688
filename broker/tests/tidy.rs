//! The repository checks itself: layering, headers, file lengths, banned names, homes of unsafe and of I/O, unread settings and metrics, README tables.
//!
//! Every rule is a pure function from texts to complaints, so that its own tests can feed it something bad. A complaint says where, what, and what
//! to think about before the rule is changed. Generated documents are rewritten with `CORELINE_UPDATE_DOCS=1 cargo test --test tidy`.

#[path = "tidy/docs.rs"]
mod docs;
#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/style.rs"]
mod style;
#[path = "tidy/unread.rs"]
mod unread;

use source::{Source, workspace};

fn check(rule: &str, complaints: Vec<String>) {
    assert!(complaints.is_empty(), "{rule}\n\n{}\n", complaints.join("\n"));
}

fn each(sources: &[Source], rule: impl Fn(&Source) -> Vec<String>) -> Vec<String> {
    sources.iter().flat_map(rule).collect()
}

#[test]
fn crates_depend_downwards_only() {
    let complaints = layers::manifests(&source::manifests()).into_iter().chain(each(&workspace(), layers::crate_uses)).collect();
    check(layers::CRATE_RULE, complaints);
}

#[test]
fn broker_modules_depend_downwards_only() {
    check(layers::MODULE_RULE, layers::modules(&workspace()));
}

#[test]
fn only_shells_do_io() {
    check(layers::IO_RULE, each(&workspace(), layers::io_homes));
}

#[test]
fn unsafe_stays_in_its_homes_and_says_why_it_is_sound() {
    check(style::UNSAFE_RULE, each(&workspace(), style::unsafe_homes));
}

#[test]
fn every_file_says_first_what_it_owns() {
    check(style::HEADER_RULE, each(&workspace(), style::header));
}

#[test]
fn files_stay_short() {
    check(style::LENGTH_RULE, each(&workspace(), style::length));
}

#[test]
fn names_have_one_meaning() {
    check(style::NAME_RULE, each(&workspace(), style::banned));
}

#[test]
fn settings_and_metrics_that_are_declared_are_used() {
    check(unread::RULE, unread::check(&workspace()));
}

#[test]
fn the_readme_says_what_the_code_says() {
    check(docs::RULE, docs::check());
}

#[test]
fn metric_names_are_unique() {
    let all = coreline_broker::metrics::registry::all();
    let doubled = all.iter().filter(|m| all.iter().filter(|other| other.name == m.name).count() > 1);
    check("A metric has one name and one declaration.", doubled.map(|m| m.name.to_string()).collect());
}
