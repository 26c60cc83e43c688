//! The levels of the process's log, per part of the program, changed while it runs (Kafka's BROKER_LOGGER configs).
//!
//! Levels are not kept: the next start takes `log.level` again, as in Kafka. `logging` installs the filter and is told of each change; without
//! it (tests) levels are only remembered.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tracing::level_filters::LevelFilter;

/// The logger that stands for everything else; its level is `log.level`.
pub const ROOT: &str = "root";
/// The consensus library, which tells its whole life at the info level.
const LIBRARY: &str = "openraft";
/// What can have a level of its own: prefixes of module paths.
pub const LOGGERS: &[&str] = &[
    "coreline_broker::controller",
    "coreline_broker::coordinator",
    "coreline_broker::handler",
    "coreline_broker::net",
    "coreline_broker::partition",
    "coreline_broker::quorum",
    "coreline_broker::shard",
    "coreline_storage",
    LIBRARY,
    ROOT,
];

/// The levels in force. A value: the process's own is behind [`alter`] and [`describe`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    root: LevelFilter,
    single: BTreeMap<&'static str, LevelFilter>,
}

impl Levels {
    /// One level for all.
    pub fn new(root: LevelFilter) -> Levels {
        Levels { root, single: BTreeMap::new() }
    }

    /// The level of a logger.
    pub fn of(&self, logger: &str) -> LevelFilter {
        match self.single.get(logger) {
            Some(level) => *level,
            // An operator asks for the library's life with debug.
            None if logger == LIBRARY && self.root == LevelFilter::INFO => LevelFilter::WARN,
            None => self.root,
        }
    }

    /// Sets the level of a logger, or takes it away. False for a logger that there is not, and for taking away that of [`ROOT`].
    pub fn set(&mut self, logger: &str, level: Option<LevelFilter>) -> bool {
        match (LOGGERS.iter().find(|known| **known == logger), level) {
            (None, _) => false,
            (Some(&ROOT), level) => level.map(|level| self.root = level).is_some(),
            (Some(known), Some(level)) => {
                self.single.insert(known, level);
                true
            }
            (Some(known), None) => {
                self.single.remove(known);
                true
            }
        }
    }

    /// Prefix of module paths and level, [`ROOT`] left out.
    pub fn targets(&self) -> impl Iterator<Item = (&'static str, LevelFilter)> {
        LOGGERS.iter().filter(|logger| **logger != ROOT).map(|logger| (*logger, self.of(logger)))
    }
}

type Apply = Box<dyn Fn(&Levels) + Send + Sync>;

static LEVELS: Mutex<Option<Levels>> = Mutex::new(None);
static APPLY: OnceLock<Apply> = OnceLock::new();

fn levels() -> MutexGuard<'static, Option<Levels>> {
    LEVELS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts with these levels; `apply` puts changed ones in force. Once per process, later calls do nothing.
pub fn install(start: Levels, apply: impl Fn(&Levels) + Send + Sync + 'static) {
    if APPLY.set(Box::new(apply)).is_ok() {
        *levels() = Some(start);
    }
}

/// The levels now.
pub fn current() -> Levels {
    levels().clone().unwrap_or_else(|| Levels::new(LevelFilter::INFO))
}

/// Every logger with its level in Kafka's words.
pub fn describe() -> Vec<(&'static str, &'static str)> {
    let levels = current();
    LOGGERS.iter().map(|logger| (*logger, name(levels.of(logger)))).collect()
}

/// Puts changes in force, all at once; those that [`Levels::set`] refuses are passed over.
pub fn alter<'a>(changes: impl IntoIterator<Item = (&'a str, Option<LevelFilter>)>) {
    let mut held = levels();
    let mut next = held.clone().unwrap_or_else(|| Levels::new(LevelFilter::INFO));
    for (logger, level) in changes {
        next.set(logger, level);
    }
    if let Some(apply) = APPLY.get() {
        apply(&next);
    }
    *held = Some(next);
}

/// The level of one of Kafka's names; there is nothing beyond an error here, so FATAL is ERROR.
pub fn parse(name: &str) -> Option<LevelFilter> {
    Some(match name {
        "FATAL" | "ERROR" => LevelFilter::ERROR,
        "WARN" => LevelFilter::WARN,
        "INFO" => LevelFilter::INFO,
        "DEBUG" => LevelFilter::DEBUG,
        "TRACE" => LevelFilter::TRACE,
        _ => return None,
    })
}

fn name(level: LevelFilter) -> &'static str {
    match level.into_level() {
        Some(level) => level.as_str(),
        None => "OFF",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logger_has_its_own_level_or_that_of_the_root() {
        let mut levels = Levels::new(LevelFilter::INFO);
        assert_eq!((levels.of("coreline_storage"), levels.of(LIBRARY)), (LevelFilter::INFO, LevelFilter::WARN));
        assert!(levels.set("coreline_storage", Some(LevelFilter::TRACE)) && levels.set(ROOT, Some(LevelFilter::DEBUG)));
        assert_eq!((levels.of("coreline_storage"), levels.of(LIBRARY)), (LevelFilter::TRACE, LevelFilter::DEBUG));
        assert!(levels.set("coreline_storage", None));
        assert_eq!(levels, Levels::new(LevelFilter::DEBUG));
        assert!(!levels.set("no.such", Some(LevelFilter::INFO)) && !levels.set(ROOT, None));
        assert_eq!(levels.targets().count(), LOGGERS.len() - 1);
    }

    #[test]
    fn levels_have_kafkas_names() {
        for (text, level) in
            [("FATAL", "ERROR"), ("ERROR", "ERROR"), ("WARN", "WARN"), ("INFO", "INFO"), ("DEBUG", "DEBUG"), ("TRACE", "TRACE")]
        {
            assert_eq!(parse(text).map(name), Some(level));
        }
        assert_eq!((parse("LOUD"), parse("debug"), name(LevelFilter::OFF)), (None, None, "OFF"));
    }
}
