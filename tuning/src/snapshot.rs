//! What was read of a host, by path: the only thing that decisions look at, and the form in which hosts are recorded for tests.
//!
//! A pattern is a path in which `*` stands for any part of one name. A trailing `@` asks for the last name of a link's target, a trailing `?` only
//! whether the path exists; both stay part of the key. Names that start with `/@` are facts that lie in no file (free space, ethtool).
//!
//! Recorded form: a line `PATH = TEXT` per entry, `PATH [ro] = TEXT` where nobody may write, `PATH [denied]` where reading was not allowed, `#`
//! starts a comment, `\n` is a line break inside a text.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::time::Instant;

use crate::sysfs::{Root, bracketed};

/// Most entries that one pattern may give; a tree with more is forged or beyond what a check can say anything about.
const MATCHES_MAX: usize = 8192;

/// One setting as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Trimmed content.
    pub text: String,
    /// True when the file's mode lets nobody write it.
    pub read_only: bool,
}

/// The part of a host that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    entries: BTreeMap<String, Entry>,
    denied: BTreeSet<String>,
    /// True when time ran out before everything was read.
    pub cut_short: bool,
}

/// A line of a recorded tree that makes no sense.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line} of the recorded tree: {text:?} is not `PATH = TEXT`")]
pub struct BadRecording {
    line: usize,
    text: String,
}

impl Snapshot {
    /// Reads everything that fits one of `patterns` below `root`, until `deadline`.
    pub fn read<'a>(root: &Root, patterns: impl IntoIterator<Item = &'a str>, deadline: Instant) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let mut listings = BTreeMap::new();
        for pattern in patterns.into_iter().collect::<BTreeSet<_>>() {
            for path in expand(root, pattern, &mut listings) {
                if Instant::now() >= deadline {
                    snapshot.cut_short = true;
                    return snapshot;
                }
                snapshot.read_one(root, path);
            }
        }
        snapshot
    }

    fn read_one(&mut self, root: &Root, path: String) {
        if let Some(link) = path.strip_suffix('@') {
            if let Some(text) = root.link(link) {
                self.entries.insert(path, Entry { text, read_only: true });
            }
        } else if let Some(real) = path.strip_suffix('?') {
            if root.exists(real) {
                self.entries.insert(path, Entry { text: "present".into(), read_only: true });
            }
        } else {
            match root.try_read(&path) {
                Ok((text, read_only)) => drop(self.entries.insert(path, Entry { text, read_only })),
                Err(error) if error.kind() == ErrorKind::PermissionDenied => drop(self.denied.insert(path)),
                // Not there, or a file that the driver does not fill (the speed of a link that is down).
                Err(_) => {}
            }
        }
    }

    /// Adds or replaces an entry.
    pub fn insert(&mut self, path: impl Into<String>, text: impl Into<String>) {
        self.entries.insert(path.into(), Entry { text: text.into(), read_only: false });
    }

    /// Removes an entry.
    pub fn remove(&mut self, path: &str) {
        self.entries.remove(path);
    }

    /// The text of an entry.
    pub fn get(&self, path: &str) -> Option<&str> {
        self.entries.get(path).map(|e| e.text.as_str())
    }

    /// The entry.
    pub fn entry(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// The text as a number.
    pub fn number(&self, path: &str) -> Option<u64> {
        self.get(path)?.parse().ok()
    }

    /// The chosen word of `a [b] c`.
    pub fn choice(&self, path: &str) -> Option<&str> {
        self.get(path).map(bracketed)
    }

    /// True when the path (without its mark) was found to exist.
    pub fn exists(&self, path: &str) -> bool {
        self.entries.contains_key(&format!("{path}?"))
    }

    /// Entries that fit a pattern, in order of their paths.
    pub fn matching<'a>(&'a self, pattern: &'a str) -> impl Iterator<Item = (&'a str, &'a Entry)> {
        let start = pattern.split('*').next().unwrap_or("");
        self.entries
            .range(start.to_owned()..)
            .take_while(move |(path, _)| path.starts_with(start))
            .filter(move |(path, _)| fits(pattern, path))
            .map(|(path, entry)| (path.as_str(), entry))
    }

    /// Paths that exist but may not be read by this user.
    pub fn denied(&self) -> impl Iterator<Item = &str> {
        self.denied.iter().map(String::as_str)
    }

    /// True when the path may not be read by this user.
    pub fn is_denied(&self, pattern: &str) -> bool {
        self.denied.iter().any(|path| fits(pattern, path))
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// Reads the recorded form.
    pub fn parse(text: &str) -> Result<Snapshot, BadRecording> {
        let mut snapshot = Snapshot::default();
        for (i, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let bad = || BadRecording { line: i + 1, text: line.to_owned() };
            if !line.starts_with('/') {
                return Err(bad());
            }
            if let Some(path) = line.strip_suffix(" [denied]") {
                snapshot.denied.insert(path.to_owned());
                continue;
            }
            let (path, value) = line.split_once(" =").ok_or_else(bad)?;
            let (path, read_only) = path.strip_suffix(" [ro]").map_or((path, false), |p| (p, true));
            snapshot.entries.insert(path.to_owned(), Entry { text: value.trim().replace("\\n", "\n"), read_only });
        }
        Ok(snapshot)
    }

    /// Writes the recorded form.
    pub fn to_recording(&self) -> String {
        let mut text = String::new();
        for (path, entry) in &self.entries {
            let mark = if entry.read_only { " [ro]" } else { "" };
            text += &format!("{path}{mark} = {}\n", entry.text.replace('\n', "\\n"));
        }
        for path in &self.denied {
            text += &format!("{path} [denied]\n");
        }
        text
    }
}

/// True when `path` fits `pattern`, name by name.
pub fn fits(pattern: &str, path: &str) -> bool {
    let (mut patterns, mut names) = (pattern.split('/'), path.split('/'));
    loop {
        match (patterns.next(), names.next()) {
            (None, None) => return true,
            (Some(p), Some(n)) if name_fits(p, n) => {}
            _ => return false,
        }
    }
}

/// One name against one pattern with any number of `*`; each stands for any text, also none.
fn name_fits(pattern: &str, name: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == name };
    let Some(rest) = name.strip_prefix(before) else { return false };
    if !after.contains('*') {
        return rest.len() >= after.len() && rest.ends_with(after);
    }
    rest.char_indices().map(|(i, _)| i).chain([rest.len()]).any(|i| name_fits(after, &rest[i..]))
}

/// The paths that a pattern stands for; directories are listed once and remembered.
fn expand(root: &Root, pattern: &str, listings: &mut BTreeMap<String, Vec<String>>) -> Vec<String> {
    let (pattern, mark) = match pattern.strip_suffix(['@', '?']) {
        Some(p) => (p, &pattern[p.len()..]),
        None => (pattern, ""),
    };
    let mut paths = vec![String::new()];
    for part in pattern.split('/').skip(1) {
        let mut next = Vec::new();
        for path in paths {
            if !part.contains('*') {
                next.push(format!("{path}/{part}"));
                continue;
            }
            let names = listings.entry(path.clone()).or_insert_with(|| root.list(if path.is_empty() { "/" } else { &path }));
            next.extend(names.iter().filter(|n| name_fits(part, n)).map(|n| format!("{path}/{n}")));
        }
        next.truncate(MATCHES_MAX);
        paths = next;
    }
    paths.iter_mut().for_each(|path| path.push_str(mark));
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stays_within_one_name() {
        assert!(fits("/sys/block/*/queue/scheduler", "/sys/block/nvme0n1/queue/scheduler"));
        assert!(!fits("/sys/*/scheduler", "/sys/block/nvme0n1/scheduler"));
        assert!(fits("/a/rx-*/b", "/a/rx-0/b") && !fits("/a/rx-*/b", "/a/tx-0/b"));
        assert!(fits("/a/*x*y", "/a/1x2y") && !fits("/a/*x*y", "/a/1x2"));
        assert!(!fits("/a/ab*ba", "/a/aba"), "the two ends do not overlap");
    }

    #[test]
    fn a_recording_reads_back_as_it_was() {
        let mut snapshot = Snapshot::parse("# a host\n/a = 1\n/b [ro] = x\\ny\n/c [denied]\n/d =\n").expect("parses");
        assert_eq!(snapshot.number("/a"), Some(1));
        assert_eq!(snapshot.entry("/b"), Some(&Entry { text: "x\ny".into(), read_only: true }));
        assert_eq!(snapshot.get("/d"), Some(""));
        assert!(snapshot.is_denied("/c"));
        snapshot.insert("/e/f", "[on] off");
        assert_eq!(Snapshot::parse(&snapshot.to_recording()), Ok(snapshot.clone()));
        assert_eq!(snapshot.choice("/e/f"), Some("on"));
        assert_eq!(Snapshot::parse("/a = 1\nnonsense\n").map_err(|e| e.line), Err(2));
    }

    #[test]
    fn a_tree_is_read_by_patterns_and_time_can_run_out() {
        let dir = tempfile::tempdir().expect("temporary directory");
        for name in ["cpu0", "cpu1", "cpufreq"] {
            std::fs::create_dir_all(dir.path().join("sys").join(name)).expect("create");
        }
        std::fs::write(dir.path().join("sys/cpu0/on"), "1\n").expect("write");
        std::fs::write(dir.path().join("sys/cpu1/on"), "0\n").expect("write");
        std::os::unix::fs::symlink("../../drivers/virtio_net", dir.path().join("sys/driver")).expect("link");
        let root = Root::at(dir.path());
        let patterns = ["/sys/cpu*/on", "/sys/driver@", "/sys/cpufreq?", "/sys/absent?"];
        let later = Instant::now() + std::time::Duration::from_secs(60);
        let snapshot = Snapshot::read(&root, patterns, later);
        let seen: Vec<_> = snapshot.iter().map(|(p, e)| (p, e.text.as_str())).collect();
        assert_eq!(seen, [("/sys/cpu0/on", "1"), ("/sys/cpu1/on", "0"), ("/sys/cpufreq?", "present"), ("/sys/driver@", "virtio_net")]);
        assert_eq!(snapshot.matching("/sys/cpu*/on").count(), 2);
        assert!(Snapshot::read(&root, patterns, Instant::now()).cut_short);
    }
}
