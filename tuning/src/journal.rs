//! The journal of one transaction: what was there, what we wrote, what the kernel said, and how it ended.
//!
//! A text file of lines `CRC32 JSON`, each flushed before the next thing happens, named by a number that grows. The first record holds every old
//! value, so that a crash at any later point finds all that is needed to undo. A last line without its end is a torn append and is left out; any
//! other damage is an error that names file and line. Values are kept by the boot id: after a restart of the host there is nothing to undo.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::value::Format;

/// Version of the record format.
const VERSION: u32 = 1;
/// Largest journal that is read, bytes; a plan for a host with thousands of queues takes a few hundred KiB.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// How often the lock is tried, 10 ms apart: `is_busy` of another process holds it for microseconds.
const LOCK_TRIES: usize = 10;
/// Closed journals that are kept as history.
const HISTORY: usize = 50;

/// One setting of the transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The knob that asked for it.
    pub knob: String,
    /// Where.
    pub path: String,
    /// The value that was there.
    pub old: String,
    /// The value that we wrote; `None` for a neighbour that the kernel changes by itself.
    pub new: Option<String>,
    /// How the kernel spells it.
    pub format: Format,
    /// Marked for people: it was raised and goes down again on rollback.
    pub raise_only: bool,
    /// Earlier ranks first, both ways.
    pub rank: u8,
    /// Index of the entry whose write changes this one.
    pub leader: Option<usize>,
    /// A value that the kernel shows but does not take.
    pub not_writable: Option<String>,
}

/// Who did it, when and on which start of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// The profile's name.
    pub profile: String,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// The user's name behind sudo, or the user id.
    pub who: String,
    /// Milliseconds since 1970.
    pub at_unix_ms: u64,
    /// Version of this program.
    pub program: String,
}

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub enum Record {
    /// Before the first write: everything that will be written.
    Begin {
        /// Of the format.
        version: u32,
        /// Who and when.
        stamp: Stamp,
        /// What.
        entries: Vec<Entry>,
    },
    /// An entry was written, and this was read back.
    Done {
        /// Index.
        entry: usize,
        /// The kernel's answer.
        read_back: String,
    },
    /// All is written.
    Commit,
    /// Before the first write of an undo: what each entry will be; `None` is left alone.
    Restoring {
        /// By index.
        targets: Vec<Option<String>>,
    },
    /// All is undone, or found to be nobody's business of ours.
    Closed {
        /// In words, by index.
        outcomes: Vec<String>,
    },
}

/// Where a transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Ended before anything was written.
    Empty,
    /// Ended in the middle of `apply`.
    Unfinished,
    /// In force.
    InForce,
    /// Ended in the middle of an undo.
    Restoring,
    /// Over.
    Closed,
}

/// What a journal says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Journal {
    /// Who and when.
    pub stamp: Stamp,
    /// What.
    pub entries: Vec<Entry>,
    /// By index: what was read back after writing.
    pub read_back: Vec<Option<String>>,
    /// `apply` came to its end.
    pub committed: bool,
    /// An undo began, with these aims.
    pub restoring: Option<Vec<Option<String>>>,
    /// It is over.
    pub outcomes: Option<Vec<String>>,
    /// The last line was cut.
    pub torn: bool,
}

/// What is wrong with a journal.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: {why}")]
pub struct Damage {
    /// From 1.
    pub line: usize,
    /// In words.
    pub why: String,
}

impl Journal {
    /// Reads the text of a journal.
    pub fn parse(bytes: &[u8]) -> Result<Journal, Damage> {
        let mut journal = Journal::default();
        let mut begun = false;
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        journal.torn = whole < bytes.len();
        for (i, line) in bytes[..whole].split(|b| *b == b'\n').enumerate().filter(|(_, l)| !l.is_empty()) {
            let damage = |why: &str| Damage { line: i + 1, why: why.to_owned() };
            let record = parse_line(line).map_err(|why| damage(&why))?;
            if !begun && !matches!(record, Record::Begin { .. }) {
                return Err(damage("the first record is not the beginning"));
            }
            journal.take(record, &mut begun).map_err(|why| damage(&why))?;
        }
        Ok(journal)
    }

    fn take(&mut self, record: Record, begun: &mut bool) -> Result<(), String> {
        match record {
            Record::Begin { version, .. } if version != VERSION => {
                return Err(format!("written by another version ({version}) of this program"));
            }
            Record::Begin { .. } if *begun => return Err("a second beginning".to_owned()),
            Record::Begin { stamp, entries, .. } => {
                if entries.iter().any(|e| e.leader.is_some_and(|l| l >= entries.len())) {
                    return Err("an entry follows one that is not there".to_owned());
                }
                *begun = true;
                self.read_back = vec![None; entries.len()];
                (self.stamp, self.entries) = (stamp, entries);
            }
            Record::Done { entry, read_back } => match self.read_back.get_mut(entry) {
                Some(slot) => *slot = Some(read_back),
                None => return Err(format!("there is no entry {entry}")),
            },
            Record::Commit => self.committed = true,
            Record::Restoring { targets } if targets.len() == self.entries.len() => self.restoring = Some(targets),
            Record::Closed { outcomes } if outcomes.len() == self.entries.len() => self.outcomes = Some(outcomes),
            Record::Restoring { .. } | Record::Closed { .. } => return Err("does not fit the number of entries".to_owned()),
        }
        Ok(())
    }

    /// Where the transaction stands.
    pub fn state(&self) -> State {
        if self.entries.is_empty() {
            State::Empty
        } else if self.outcomes.is_some() {
            State::Closed
        } else if self.restoring.is_some() {
            State::Restoring
        } else if self.committed {
            State::InForce
        } else {
            State::Unfinished
        }
    }
}

/// The line of a record, with its end.
pub fn to_line(record: &Record) -> io::Result<Vec<u8>> {
    let json = serde_json::to_string(record).map_err(io::Error::other)?;
    Ok(format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).into_bytes())
}

fn parse_line(line: &[u8]) -> Result<Record, String> {
    let text = std::str::from_utf8(line).map_err(|_| "not text".to_owned())?;
    let (crc, json) = text.split_once(' ').ok_or("no checksum")?;
    if u32::from_str_radix(crc, 16).ok() != Some(crc32fast::hash(json.as_bytes())) {
        return Err("the checksum does not fit".to_owned());
    }
    serde_json::from_str(json).map_err(|e| format!("not a record: {e}"))
}

/// The beginning of a transaction.
pub fn begin(stamp: Stamp, entries: Vec<Entry>) -> Record {
    Record::Begin { version: VERSION, stamp, entries }
}

/// Takes records; each is durable when `append` returns.
pub trait Log {
    /// Adds a record.
    fn append(&mut self, record: &Record) -> io::Result<()>;
}

/// A journal that is being written.
#[derive(Debug)]
pub struct FileLog {
    file: File,
}

impl Log for FileLog {
    fn append(&mut self, record: &Record) -> io::Result<()> {
        self.file.write_all(&to_line(record)?)?;
        self.file.sync_data()
    }
}

/// Why the journals cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system says no.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Its words.
        source: io::Error,
    },
    /// A journal is damaged.
    #[error(
        "journal {path} is damaged: {damage}. Nothing was changed. Its old values are in its first line; put them back by hand, then move the file away"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where.
        damage: Damage,
    },
    /// Somebody else is at it.
    #[error("another coreline-tune holds {path}: wait until it is done")]
    Busy {
        /// The lock.
        path: PathBuf,
    },
}

/// The folder of journals.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
}

/// Held while settings are changed.
#[derive(Debug)]
pub struct Locked<'a> {
    store: &'a Store,
    _lock: Flock<File>,
}

impl Store {
    /// The journals in `dir`; nothing is made yet.
    pub fn at(dir: impl Into<PathBuf>) -> Store {
        Store { dir: dir.into() }
    }

    /// Reads all journals, oldest first. Takes no lock and writes nothing.
    pub fn load(&self) -> Result<Vec<(u64, Journal)>, StoreError> {
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(StoreError::Io { path: self.dir.clone(), source }),
        };
        let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
        let mut numbers: Vec<u64> = names.filter_map(|n| n.strip_suffix(".journal")?.parse().ok()).collect();
        numbers.sort_unstable();
        numbers.into_iter().map(|number| Ok((number, self.read(number)?))).collect()
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:06}.journal"))
    }

    fn read(&self, number: u64) -> Result<Journal, StoreError> {
        let path = self.path(number);
        let read = || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            File::open(&path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|source| StoreError::Io { path: path.clone(), source })?;
        Journal::parse(&bytes).map_err(|damage| StoreError::Damaged { path, damage })
    }

    /// True while somebody holds the lock, as far as this user may ask. Writes nothing.
    pub fn is_busy(&self) -> bool {
        let Ok(file) = File::open(self.dir.join("lock")) else { return false };
        matches!(Flock::lock(file, FlockArg::LockSharedNonblock), Err((_, nix::errno::Errno::EWOULDBLOCK)))
    }

    /// Makes the folder and takes its lock.
    pub fn lock(&self) -> Result<Locked<'_>, StoreError> {
        let failed = |path: &Path, source| StoreError::Io { path: path.to_owned(), source };
        std::fs::create_dir_all(&self.dir).map_err(|e| failed(&self.dir, e))?;
        let path = self.dir.join("lock");
        let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(|e| failed(&path, e))?;
        for _ in 0..LOCK_TRIES {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(Locked { store: self, _lock: lock }),
                Err((back, nix::errno::Errno::EWOULDBLOCK)) => file = back,
                Err((_, errno)) => return Err(failed(&path, errno.into())),
            }
            #[allow(clippy::disallowed_methods, reason = "whoever only asks is gone in a moment; a real holder is not waited for")]
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Err(StoreError::Busy { path })
    }
}

impl Locked<'_> {
    /// A new journal after all others.
    pub fn create(&self) -> Result<(u64, FileLog), StoreError> {
        let number = self.store.load()?.last().map_or(1, |(n, _)| n + 1);
        let path = self.store.path(number);
        let create = || -> io::Result<File> {
            let file = OpenOptions::new().create_new(true).append(true).open(&path)?;
            File::open(&self.store.dir)?.sync_all()?;
            Ok(file)
        };
        let file = create().map_err(|source| StoreError::Io { path: path.clone(), source })?;
        Ok((number, FileLog { file }))
    }

    /// A journal to go on with: a torn line is cut off first.
    pub fn reopen(&self, number: u64) -> Result<FileLog, StoreError> {
        let path = self.store.path(number);
        let open = || -> io::Result<File> {
            let bytes = std::fs::read(&path)?;
            let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
            let file = OpenOptions::new().append(true).open(&path)?;
            file.set_len(whole as u64)?;
            file.sync_data()?;
            Ok(file)
        };
        Ok(FileLog { file: open().map_err(|source| StoreError::Io { path, source })? })
    }

    /// Removes journals in which nothing happened, and all but the last of the closed ones.
    pub fn tidy(&self) -> Result<(), StoreError> {
        let over: Vec<(u64, State)> = self.store.load()?.into_iter().map(|(n, j)| (n, j.state())).collect();
        let closed: Vec<u64> = over.iter().filter(|(_, s)| *s == State::Closed).map(|(n, _)| *n).collect();
        let old = &closed[..closed.len().saturating_sub(HISTORY)];
        let empty = over.iter().filter(|(_, s)| *s == State::Empty).map(|(n, _)| n);
        for number in empty.chain(old) {
            let path = self.store.path(*number);
            std::fs::remove_file(&path).map_err(|source| StoreError::Io { path, source })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str) -> Entry {
        Entry {
            knob: "k".into(),
            path: path.into(),
            old: "1".into(),
            new: Some("2".into()),
            format: Format::Plain,
            raise_only: false,
            rank: 1,
            leader: None,
            not_writable: None,
        }
    }

    fn text() -> Vec<u8> {
        let records = [
            begin(Stamp::default(), vec![entry("/a"), entry("/b")]),
            Record::Done { entry: 0, read_back: "2".into() },
            Record::Done { entry: 1, read_back: "2".into() },
            Record::Commit,
        ];
        records.iter().flat_map(|r| to_line(r).expect("serializes")).collect()
    }

    #[test]
    fn a_journal_that_is_cut_anywhere_is_read_up_to_its_last_whole_line() {
        let text = text();
        let states: Vec<State> = (0..=text.len()).map(|n| Journal::parse(&text[..n]).expect("a cut is no damage").state()).collect();
        assert!(states.is_sorted_by_key(|s| [State::Empty, State::Unfinished, State::InForce].iter().position(|o| o == s)));
        assert_eq!(states.last(), Some(&State::InForce));
    }

    #[test]
    fn any_flipped_byte_is_found_and_its_line_named() {
        let text = text();
        for at in 0..text.len() - 1 {
            let mut bad = text.clone();
            bad[at] ^= 0x11;
            let line = text[..at].iter().filter(|b| **b == b'\n').count() + 1;
            match Journal::parse(&bad) {
                Err(damage) => assert!(damage.line.abs_diff(line) <= 1, "byte {at}: {damage}, expected line {line}"),
                // The case of a hexadecimal digit does not matter.
                Ok(journal) => assert!(bad[at].eq_ignore_ascii_case(&text[at]), "byte {at}: {journal:?}"),
            }
        }
    }

    #[test]
    fn records_that_do_not_fit_are_damage() {
        let lines = |records: &[Record]| -> Vec<u8> { records.iter().flat_map(|r| to_line(r).expect("serializes")).collect() };
        let start = begin(Stamp::default(), vec![entry("/a")]);
        for (bad, line) in [
            (vec![Record::Commit], 1),
            (vec![start.clone(), start.clone()], 2),
            (vec![start.clone(), Record::Done { entry: 7, read_back: String::new() }], 2),
            (vec![start.clone(), Record::Restoring { targets: vec![] }], 2),
            (vec![begin(Stamp::default(), vec![Entry { leader: Some(3), ..entry("/a") }])], 1),
        ] {
            assert_eq!(Journal::parse(&lines(&bad)).map_err(|d| d.line), Err(line), "{bad:?}");
        }
    }

    #[test]
    fn the_folder_is_locked_and_numbers_grow() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let store = Store::at(dir.path().join("state"));
        assert_eq!(store.load().expect("no folder is no error"), []);
        assert!(!store.is_busy());
        let locked = store.lock().expect("free");
        assert!(store.is_busy());
        assert!(matches!(store.lock(), Err(StoreError::Busy { .. })));
        let (first, mut log) = locked.create().expect("creates");
        log.append(&begin(Stamp::default(), vec![entry("/a")])).expect("appends");
        let (second, _) = locked.create().expect("creates");
        assert_eq!((first, second), (1, 2));
        locked.tidy().expect("tidies");
        let left: Vec<_> = store.load().expect("loads").into_iter().map(|(n, j)| (n, j.state())).collect();
        assert_eq!(left, [(1, State::Unfinished)]);
        std::fs::write(dir.path().join("state/000001.journal"), "0 {}\n").expect("write");
        let error = store.load().expect_err("damaged").to_string();
        assert!(error.contains("000001.journal") && error.contains("line 1"), "{error}");
    }
}
