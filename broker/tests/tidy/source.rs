//! The workspace's files as values: path from the root, text, and the part of the text that is not tests.

use std::path::{Path, PathBuf};

/// The crates, which are also the folders that are walked.
pub(crate) const CRATES: [&str; 5] = ["wire", "storage", "broker", "bench-harness", "tuning"];

/// One Rust file.
pub(crate) struct Source {
    /// Path from the root, with `/`.
    pub(crate) path: String,
    /// The whole text.
    pub(crate) text: String,
}

impl Source {
    /// A file for a rule's own test.
    pub(crate) fn new(path: &str, text: &str) -> Source {
        Source { path: path.to_string(), text: text.to_string() }
    }

    /// Everything before the tests at the bottom of the file.
    pub(crate) fn code(&self) -> &str {
        if self.is_test() { "" } else { self.text.split("\n#[cfg(test)]\nmod ").next().unwrap_or("") }
    }

    /// Lines of code with their numbers, without comments and without what follows `//` on a line.
    pub(crate) fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code()
            .lines()
            .enumerate()
            .map(|(i, line)| (i + 1, line.split("//").next().unwrap_or("")))
            .filter(|(_, l)| !l.trim().is_empty())
    }

    /// True for files that hold only tests, benches or client programs.
    pub(crate) fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or("");
        self.path.contains("/tests/")
            || self.path.contains("/benches/")
            || self.path.contains("/fuzz/")
            || name.ends_with("tests.rs")
            || name == "testing.rs"
    }

    /// The crate's folder.
    pub(crate) fn krate(&self) -> &str {
        self.path.split('/').next().unwrap_or("")
    }
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_path_buf()
}

/// Every Rust file of the workspace, sorted by path.
pub(crate) fn workspace() -> Vec<Source> {
    let root = root();
    let mut found = Vec::new();
    for krate in CRATES {
        walk(&root.join(krate), &mut found);
    }
    found.sort();
    assert!(found.len() > 50, "only {} files found below {}", found.len(), root.display());
    let read = |path: &PathBuf| {
        let relative = path.strip_prefix(&root).expect("found below the root").to_string_lossy().replace('\\', "/");
        Source::new(&relative, &std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    };
    found.iter().map(read).collect()
}

/// The crates' manifests: folder and text.
pub(crate) fn manifests() -> Vec<(String, String)> {
    let text = |krate: &str| std::fs::read_to_string(root().join(krate).join("Cargo.toml")).expect("every crate has a manifest");
    CRATES.iter().map(|krate| (krate.to_string(), text(krate))).collect()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())).flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let kind = entry.file_type().expect("the file system tells types");
        if kind.is_dir() && name != "target" && name != "node_modules" {
            walk(&path, found);
        } else if kind.is_file() && path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}
