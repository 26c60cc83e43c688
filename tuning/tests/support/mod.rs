//! What the tests share: a kernel in memory with its couplings, and a journal in memory.
#![allow(dead_code, reason = "each test file uses its part")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use coreline_tuning::journal::{Journal, Log, Record, to_line};
use coreline_tuning::snapshot::Snapshot;
use coreline_tuning::tree::Tree;
use coreline_tuning::value::Format;

/// What an operation does instead of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The kernel refuses.
    Refuse,
    /// The kernel says yes and does nothing (writes), or the disk is full (journal).
    Ignore,
    /// The process is gone before it.
    DieBefore,
    /// The process is gone after it.
    DieAfter,
}

/// Counts operations of tree and journal together and makes one of them fail.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    pub(crate) operations: usize,
    pub(crate) fault_at: Option<(usize, Fault)>,
    pub(crate) dead: bool,
    pub(crate) writes: usize,
}

/// `Err` when the operation must not happen; `Ok(true)` when the process dies after it.
fn next(fate: &Rc<RefCell<Fate>>) -> Result<Option<Fault>, io::Error> {
    let mut fate = fate.borrow_mut();
    if fate.dead {
        return Err(io::Error::other("dead"));
    }
    fate.operations += 1;
    match fate.fault_at {
        Some((at, fault)) if at == fate.operations => {
            if fault == Fault::DieBefore {
                fate.dead = true;
                return Err(io::Error::other("dead"));
            }
            Ok(Some(fault))
        }
        _ => Ok(None),
    }
}

/// A kernel: an I/O scheduler resets its queue's attributes and bounds their values; dirty bytes and ratio exclude each other; a 0 of the one in
/// force is shown and not taken.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub(crate) settings: Rc<RefCell<BTreeMap<String, String>>>,
    pub(crate) fate: Rc<RefCell<Fate>>,
    /// Longest queue without a scheduler.
    pub(crate) requests_max: u64,
}

impl Kernel {
    pub(crate) fn new(settings: &[(&str, &str)]) -> Kernel {
        let settings = settings.iter().map(|(p, t)| (p.to_string(), t.to_string())).collect();
        Kernel { settings: Rc::new(RefCell::new(settings)), fate: Rc::default(), requests_max: 256 }
    }

    pub(crate) fn of(snapshot: &Snapshot) -> Kernel {
        let settings = snapshot.iter().map(|(p, e)| (p.to_owned(), e.text.clone())).collect();
        Kernel { settings: Rc::new(RefCell::new(settings)), fate: Rc::default(), requests_max: 1023 }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        self.settings.borrow().iter().for_each(|(p, t)| snapshot.insert(p.clone(), t.clone()));
        snapshot
    }

    pub(crate) fn get(&self, path: &str) -> String {
        self.settings.borrow()[path].clone()
    }

    /// Changes a setting as the kernel would, without fault.
    pub(crate) fn set(&self, path: &str, text: &str) -> io::Result<()> {
        let mut settings = self.settings.borrow_mut();
        let refuse = || Err(io::Error::from_raw_os_error(22));
        let Some(old) = settings.get(path).cloned() else { return Err(io::ErrorKind::NotFound.into()) };
        let (dir, name) = path.rsplit_once('/').expect("a path");
        let beside = |name: &str| format!("{dir}/{name}");
        match name {
            "scheduler" => {
                let words: Vec<&str> = old.split([' ', '[', ']']).filter(|w| !w.is_empty()).collect();
                if !words.contains(&text) {
                    return refuse();
                }
                let shown: Vec<String> = words.iter().map(|w| if *w == text { format!("[{w}]") } else { w.to_string() }).collect();
                settings.insert(path.to_owned(), shown.join(" "));
                for (name, reset) in [("nr_requests", if text == "none" { "128" } else { "256" }), ("wbt_lat_usec", "2000")] {
                    if let Some(slot) = settings.get_mut(&beside(name)) {
                        reset.clone_into(slot);
                    }
                }
                return Ok(());
            }
            "nr_requests" => {
                let most = if settings.get(&beside("scheduler")).is_some_and(|s| s.contains("[none]")) { self.requests_max } else { 4096 };
                if text.parse::<u64>().map_or(true, |n| n > most) {
                    return refuse();
                }
            }
            // Fixed under the performance governor, as intel_pstate has it.
            "energy_performance_preference" => {
                let fixed = settings.get(&beside("scaling_governor")).is_some_and(|g| g == "performance");
                if fixed && text != "performance" {
                    return Err(io::Error::from_raw_os_error(16));
                }
            }
            "dirty_bytes" | "dirty_ratio" | "dirty_background_bytes" | "dirty_background_ratio" => {
                // The kernel takes no 0 for bytes; for a ratio it would mean a bound of nothing.
                if text == "0" {
                    return refuse();
                }
                let other = if name.ends_with("bytes") { name.replace("bytes", "ratio") } else { name.replace("ratio", "bytes") };
                settings.insert(beside(&other), "0".to_owned());
            }
            _ if old.contains('[') => {
                let words: Vec<&str> = old.split([' ', '[', ']']).filter(|w| !w.is_empty()).collect();
                if !words.contains(&text) {
                    return refuse();
                }
                let shown: Vec<String> = words.iter().map(|w| if *w == text { format!("[{w}]") } else { w.to_string() }).collect();
                settings.insert(path.to_owned(), shown.join(" "));
                return Ok(());
            }
            _ => {}
        }
        settings.insert(path.to_owned(), text.to_owned());
        Ok(())
    }

    /// All settings in the one spelling that is compared.
    pub(crate) fn normal(&self) -> BTreeMap<String, String> {
        let settings = self.settings.borrow();
        let format = |path: &str, text: &str| {
            let mask = path.ends_with("_affinity") || path.ends_with("_cpus") || path.ends_with("cpumask");
            if mask { Format::Mask.normal(text) } else { Format::Words.normal(&Format::Choice.normal(text)) }
        };
        settings.iter().map(|(p, t)| (p.clone(), format(p, t))).collect()
    }
}

impl Tree for Kernel {
    fn read(&mut self, path: &str) -> io::Result<String> {
        if self.fate.borrow().dead {
            return Err(io::Error::other("dead"));
        }
        self.settings.borrow().get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn write(&mut self, path: &str, text: &str) -> io::Result<()> {
        assert!(coreline_tuning::tree::is_declared(path), "{path} is written, and no knob declares it");
        let fault = next(&self.fate)?;
        self.fate.borrow_mut().writes += 1;
        match fault {
            Some(Fault::Refuse) => Err(io::Error::from_raw_os_error(22)),
            Some(Fault::Ignore) => Ok(()),
            Some(Fault::DieAfter) => {
                self.set(path, text)?;
                self.fate.borrow_mut().dead = true;
                Ok(())
            }
            _ => self.set(path, text),
        }
    }
}

/// A journal in memory whose appends fail by the same fate; a death before an append leaves half a line.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryLog {
    pub(crate) bytes: Rc<RefCell<Vec<u8>>>,
    pub(crate) fate: Rc<RefCell<Fate>>,
}

impl MemoryLog {
    pub(crate) fn with(fate: &Rc<RefCell<Fate>>) -> MemoryLog {
        MemoryLog { bytes: Rc::default(), fate: fate.clone() }
    }

    pub(crate) fn journal(&self) -> Journal {
        Journal::parse(&self.bytes.borrow()).expect("a cut journal is no damaged journal")
    }

    /// What the next process does before it goes on: cut the torn line off.
    pub(crate) fn revive(&self) {
        let mut bytes = self.bytes.borrow_mut();
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        bytes.truncate(whole);
        *self.fate.borrow_mut() = Fate::default();
    }
}

impl Log for MemoryLog {
    fn append(&mut self, record: &Record) -> io::Result<()> {
        let line = to_line(record)?;
        match next(&self.fate) {
            Err(error) => {
                if self.fate.borrow().fault_at.is_some_and(|(at, _)| at == self.fate.borrow().operations) {
                    let torn = line.len() / 2;
                    let mut bytes = self.bytes.borrow_mut();
                    if !bytes.ends_with(&line[..torn]) {
                        bytes.extend(&line[..torn]);
                    }
                }
                Err(error)
            }
            Ok(Some(Fault::Refuse | Fault::Ignore)) => Err(io::Error::from_raw_os_error(28)),
            Ok(fault) => {
                self.bytes.borrow_mut().extend(line);
                if fault == Some(Fault::DieAfter) {
                    self.fate.borrow_mut().dead = true;
                }
                Ok(())
            }
        }
    }
}

/// A temporary folder in memory where there is one: the tests flush thousands of times.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("temporary directory")
}

/// Makes a recorded host into files below `dir`.
pub(crate) fn plant(dir: &std::path::Path, host: &str) {
    let text = std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixture/{host}.tree")));
    let snapshot = Snapshot::parse(&text.expect("the recorded host is there")).expect("parses");
    // Links first, outer ones before inner ones: files may lie below them. What is below a name that is listed as present comes before it, so that
    // it becomes a folder.
    let order = |path: &str| (!path.ends_with('@'), path.ends_with('?'));
    let mut entries: Vec<_> = snapshot.iter().collect();
    entries.sort_by_key(|(path, _)| (order(path), path.len()));
    for (n, (path, entry)) in entries.into_iter().enumerate() {
        let real = dir.join(path.trim_start_matches('/').trim_end_matches(['@', '?']));
        std::fs::create_dir_all(real.parent().expect("below the folder")).expect("create");
        if path.ends_with('@') {
            let target = dir.join(format!("links/{n}/{}", entry.text));
            std::fs::create_dir_all(&target).expect("create");
            std::os::unix::fs::symlink(target, &real).expect("link");
        } else if !real.exists() {
            std::fs::write(&real, format!("{}\n", entry.text)).expect("write");
        }
    }
}

/// Every file below `dir/proc` and `dir/sys`, in the one spelling that is compared.
pub(crate) fn planted(dir: &std::path::Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.join("proc"), dir.join("sys")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            match entry.file_type().expect("a type") {
                kind if kind.is_dir() => folders.push(path),
                kind if kind.is_file() => {
                    let text = std::fs::read_to_string(&path).expect("text");
                    let name = format!("/{}", path.strip_prefix(dir).expect("below").display());
                    let mask = ["_affinity", "_cpus", "cpumask"].iter().any(|end| name.ends_with(end));
                    let text = if mask { Format::Mask.normal(&text) } else { Format::Words.normal(&Format::Choice.normal(&text)) };
                    found.insert(name, text);
                }
                _ => {}
            }
        }
    }
    found
}
