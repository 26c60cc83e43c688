//! The file of recorded answers: written, read, compared.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::session::Answer;

const SEPARATOR: &str = " => ";

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/differential/kafka-4.3.txt")
}

/// Writes the answers of the other broker.
pub fn write(answers: &[Answer]) {
    let path = std::env::var_os("CORELINE_DIFFERENTIAL_OUTPUT").map_or_else(path, PathBuf::from);
    let text: String = answers.iter().map(|a| format!("{}{SEPARATOR}{}\n", a.case, a.text)).collect();
    std::fs::write(path, text).unwrap();
}

/// Compares answers with the recorded ones; every difference must be allowed, every allowance must be used.
pub fn compare(answers: &[Answer], allowed: &[(&str, &str)]) {
    let recorded = std::fs::read_to_string(path()).unwrap();
    let mut theirs: BTreeMap<&str, &str> = recorded.lines().map(|line| line.split_once(SEPARATOR).unwrap()).collect();
    let mut used = vec![false; allowed.len()];
    let mut complaints = Vec::new();
    let mut differs = |case: &str, kafka: &str, ours: &str| match allowed.iter().position(|(name, _)| case.contains(name)) {
        Some(i) => used[i] = true,
        None => complaints.push(format!("{case}\n    Kafka: {kafka}\n    ours:  {ours}")),
    };
    for answer in answers {
        match theirs.remove(answer.case.as_str()) {
            Some(text) if text == answer.text => {}
            Some(text) => differs(&answer.case, text, &answer.text),
            None => differs(&answer.case, "not recorded", &answer.text),
        }
    }
    for (case, text) in theirs {
        differs(case, text, "not asked");
    }
    for ((name, reason), used) in allowed.iter().zip(used) {
        if !used {
            complaints.push(format!("{name}: allowed ({reason}), but nothing differs"));
        }
    }
    assert!(complaints.is_empty(), "{} differences:\n{}", complaints.len(), complaints.join("\n"));
}
