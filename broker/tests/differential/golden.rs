//! The files of recorded answers: written, read, compared.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::session::Session;

const SEPARATOR: &str = " => ";

/// Cases that hold which versions of an API are advertised.
pub const RANGE: &str = "ApiVersions v4 range of ";

/// How the words of an error are compared.
#[derive(Clone, Copy, PartialEq)]
pub enum Words {
    /// Letter by letter.
    Exact,
    /// Only that there are some wherever Kafka has some.
    Present,
}

/// The answers that belong to one part of the table.
pub struct Part {
    /// File of the recorded answers, beside the cases.
    pub file: &'static str,
    /// Cases that differ on purpose, by a part of their name (or its end, with `$` behind), with the reason. An entry that matches no difference fails the test.
    pub allowed: &'static [(&'static str, &'static str)],
    /// How words are compared.
    pub words: Words,
}

fn path(part: &Part) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/differential").join(part.file)
}

/// Writes the answers of the other broker.
pub fn write(part: &Part, session: &Session) {
    let path = std::env::var_os("CORELINE_DIFFERENTIAL_OUTPUT").map_or_else(|| path(part), |dir| PathBuf::from(dir).join(part.file));
    let line = |case: &str, text: &str| format!("{case}{SEPARATOR}{text}\n");
    let text: String = session.answers.iter().filter_map(|a| Some(line(&a.case, a.text.as_deref()?))).collect();
    std::fs::write(path, text).unwrap();
    println!("not served, thus not recorded: {:?}", session.skipped);
}

/// An answer without the words of its errors, and where it has some.
fn wordless(text: &str) -> (String, Vec<bool>) {
    const MARK: &str = "error_message: ";
    let mut parts = text.split(MARK);
    let mut out = parts.next().unwrap_or("").to_string();
    let mut there = Vec::new();
    for part in parts {
        let Some(words) = part.strip_prefix("Some(\"") else {
            there.push(false);
            out.push_str(part.strip_prefix("None").unwrap_or(part));
            continue;
        };
        // The closing quote is the first that no backslash hides.
        let mut end = 0;
        while end < words.len() && words.as_bytes()[end] != b'"' {
            end += if words.as_bytes()[end] == b'\\' { 2 } else { 1 };
        }
        there.push(end > 0);
        out.push_str(words[end..].strip_prefix("\")").unwrap_or(""));
    }
    (out, there)
}

/// Whether two answers differ in words alone, and ours has words wherever Kafka's has.
fn in_other_words(theirs: &str, ours: &str) -> bool {
    let ((theirs, some), (ours, have)) = (wordless(theirs), wordless(ours));
    theirs == ours && some.len() == have.len() && some.iter().zip(have).all(|(some, have)| have || !some)
}

/// Whether an allowance is about this case: by a part of the case's name, by its end where it ends with `$`.
fn names(allowance: &str, case: &str) -> bool {
    allowance.strip_suffix('$').map_or_else(|| case.contains(allowance), |end| case.ends_with(end))
}

/// Compares answers with the recorded ones; every difference must be allowed, every allowance must be used, and what the broker does not
/// advertise must be in `not_served`.
pub fn compare(part: &Part, session: &Session, not_served: &[(&str, &str)]) {
    let recorded = std::fs::read_to_string(path(part)).unwrap();
    let mut theirs: BTreeMap<&str, &str> = recorded.lines().map(|line| line.split_once(SEPARATOR).unwrap()).collect();
    let mut used = vec![false; part.allowed.len()];
    let (mut complaints, mut words, mut asked) = (Vec::new(), Vec::new(), 0);
    let mut missing = session.skipped.clone();
    let mut differs = |case: &str, kafka: &str, ours: &str| match part.allowed.iter().position(|(name, _)| names(name, case)) {
        Some(i) => used[i] = true,
        None => complaints.push(format!("{case}\n    Kafka: {kafka}\n    ours:  {ours}")),
    };
    for answer in &session.answers {
        let case = answer.case.as_str();
        match (theirs.remove(case), &answer.text) {
            (None, None) => {}
            (Some(_), None) => missing.extend(case.strip_prefix(RANGE).map(str::to_string)),
            (None, Some(text)) => differs(case, "not recorded", text),
            (Some(theirs), Some(ours)) => {
                asked += 1;
                if theirs == ours {
                } else if part.words == Words::Present && in_other_words(theirs, ours) {
                    words.push(format!("{case}\n    Kafka: {theirs}\n    ours:  {ours}"));
                } else {
                    differs(case, theirs, ours);
                }
            }
        }
    }
    for (case, text) in theirs.into_iter().filter(|_| !session.rest_skipped) {
        differs(case, text, "not asked");
    }
    for ((name, reason), used) in part.allowed.iter().zip(used) {
        if !used {
            complaints.push(format!("{name}: allowed ({reason}), but nothing differs"));
        }
    }
    let may_miss = |missing: &str| not_served.iter().any(|(name, _)| missing == *name || missing.starts_with(&format!("{name} v")));
    for missing in missing.iter().filter(|m| !may_miss(m)) {
        complaints.push(format!("{missing} is not advertised, and no reason is given for it"));
    }
    println!("{}: {asked} answers compared; not served: {missing:?}; {} with other words", part.file, words.len());
    if std::env::var_os("CORELINE_DIFFERENTIAL_WORDS").is_some() {
        println!("{}", words.join("\n"));
    }
    assert!(complaints.is_empty(), "{} differences:\n{}", complaints.len(), complaints.join("\n"));
}
