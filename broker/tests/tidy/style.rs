//! Rules on single files: first line, length, banned names, homes of `unsafe`.

use crate::source::Source;

pub(crate) const HEADER_RULE: &str = "The first line of a file is `//!` and one sentence on what the file owns, so that a reader decides in ten \
seconds whether to stay. Think: if no sentence fits, the file owns two things.";

/// Checks the first line.
pub(crate) fn header(source: &Source) -> Vec<String> {
    let first = source.text.lines().next().unwrap_or("");
    match first.strip_prefix("//! ") {
        Some(text) if text.len() >= 20 && !text.starts_with("Placeholder") => Vec::new(),
        _ => vec![format!("{}:1: starts with {first:?}", source.path)],
    }
}

pub(crate) const LENGTH_RULE: &str = "A source file has at most 600 lines (900 with the tests at its bottom), a file of tests 900. Think: which \
second noun has grown here? Give it a file of its own.";

/// Checks the number of lines.
pub(crate) fn length(source: &Source) -> Vec<String> {
    let (all, code) = (source.text.lines().count(), source.code().lines().count());
    if code > 600 || all > 900 { vec![format!("{}: {code} lines, {all} with tests", source.path)] } else { Vec::new() }
}

pub(crate) const NAME_RULE: &str = "One noun, one meaning (the glossary). Think: which of the words of the glossary is meant? A new noun gets a \
line there first.";

/// Banned words and what to write instead.
const BANNED: &[(&str, &str)] = &[
    ("lso", "last_stable_offset or log_start_offset: `lso` means either"),
    ("leo", "log_end_offset"),
    ("hw", "high_watermark"),
    ("hwm", "high_watermark"),
    ("msg_bus", "mesh"),
    ("TODO", "it in DESIGN.md with the reason why not now, or do it"),
    ("FIXME", "it in DESIGN.md with the reason why not now, or fix it"),
    ("XXX", "a sentence"),
    ("HACK", "a sentence that says why"),
];

/// Names that no file and no folder has: they hold whatever found no place.
const BANNED_FILES: &[&str] = &["utils", "util", "helpers", "misc", "common"];

/// Checks for banned words, as whole words, in code and comments, and for banned file names. Short names of a test's own are its affair.
pub(crate) fn banned(source: &Source) -> Vec<String> {
    // The table itself is here.
    if source.path.ends_with("tests/tidy/style.rs") {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    // `tests/common/` is where cargo expects what several tests share.
    for part in source.path.split(['/', '.']).filter(|part| BANNED_FILES.contains(part) && !source.is_test()) {
        complaints.push(format!("{}: `{part}` is no noun of the glossary; name the file by what it owns", source.path));
    }
    for (word, instead) in BANNED.iter().filter(|(word, _)| source.text.contains(word)) {
        let shout = word.starts_with(char::is_uppercase);
        let text = if shout { source.text.as_str() } else { source.code() };
        for (i, line) in text.lines().enumerate() {
            if words(line).any(|w| w == *word) {
                complaints.push(format!("{}:{}: `{word}`; say {instead}", source.path, i + 1));
            }
        }
    }
    complaints
}

/// Identifiers of a line: `hw_bytes` is one word and not `hw`. Text in double quotes is not looked at.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split('"').step_by(2).flat_map(|part| part.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')))
}

pub(crate) const UNSAFE_RULE: &str = "`unsafe` has few homes, and each use says `// SAFETY:` why it is sound, or a crate does it for us. Think: does \
nix, rustix or a safe type already do this?";

/// Files and folders that may hold `unsafe`. The test of the process takes rights away from its child between fork and exec; the client program
/// asks librdkafka for a member's generation, which no crate does.
const UNSAFE_HOMES: &[&str] = &[
    "storage/src/io/",
    "broker/src/net/sendfile.rs",
    "broker/src/sys.rs",
    "broker/tests/process.rs",
    "broker/tests/clients/rust-rdkafka/src/member.rs",
];

/// Checks where `unsafe` is and that a `SAFETY:` comment stands within the four lines above it.
pub(crate) fn unsafe_homes(source: &Source) -> Vec<String> {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut complaints = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let code = line.split("//").next().unwrap_or("");
        if !words(code).any(|w| w == "unsafe") {
            continue;
        }
        if !UNSAFE_HOMES.iter().any(|home| source.path.starts_with(home)) {
            complaints.push(format!("{}:{}: `unsafe` outside its homes", source.path, i + 1));
        } else if !lines[i.saturating_sub(4)..=i].iter().any(|l| l.contains("SAFETY:") || l.contains("# Safety")) {
            complaints.push(format!("{}:{}: `unsafe` without a SAFETY comment", source.path, i + 1));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_header_is_found() {
        assert!(header(&Source::new("a.rs", "//! The frame decoder: bytes in, frames out.\n")).is_empty());
        for bad in
            ["", "use std::fs;\n", "//! Placeholder for what comes later.\n", "//! Short.\n", "// The frame decoder owns this and that.\n"]
        {
            assert_eq!(header(&Source::new("a.rs", bad)).len(), 1, "{bad:?}");
        }
    }

    #[test]
    fn a_long_file_is_found() {
        let lines = |n: usize| "x\n".repeat(n);
        assert!(length(&Source::new("wire/src/a.rs", &lines(600))).is_empty());
        assert_eq!(length(&Source::new("wire/src/a.rs", &lines(601))).len(), 1);
        let with_tests = format!("{}\n#[cfg(test)]\nmod tests {{\n{}", lines(500), lines(300));
        assert!(length(&Source::new("wire/src/a.rs", &with_tests)).is_empty());
        assert!(length(&Source::new("wire/tests/a.rs", &lines(900))).is_empty());
        assert_eq!(length(&Source::new("wire/tests/a.rs", &lines(901))).len(), 1);
    }

    #[test]
    fn banned_words_are_found_as_whole_words_only() {
        let found = |text: &str| banned(&Source::new("storage/src/log.rs", text)).len();
        assert_eq!(found("let hw = 1; // TODO later\n"), 2);
        assert_eq!(found("let hw_bytes = \"hw\"; let xleo = also;\n"), 0);
        assert_eq!(banned(&Source::new("broker/src/utils.rs", "")).len(), 1);
    }

    #[test]
    fn unsafe_is_found_outside_and_unexplained() {
        let found = |path: &str, text: &str| unsafe_homes(&Source::new(path, text)).len();
        assert_eq!(found("broker/src/net/send.rs", "// SAFETY: fine\nunsafe { f() }\n"), 1);
        assert_eq!(found("storage/src/io/aligned.rs", "unsafe { f() }\n"), 1);
        assert_eq!(found("storage/src/io/aligned.rs", "// SAFETY: the length was checked\nunsafe { f() }\n"), 0);
        assert_eq!(found("broker/src/net/send.rs", "// unsafe would be wrong here\nlet s = \"unsafe\"; #[allow(unsafe_code)]\n"), 0);
    }
}
