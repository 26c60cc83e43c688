//! The process's log: one line per event on standard error, for people or as JSON, from a level on.
//!
//! Colours only when standard error is a terminal and `NO_COLOR` is not set. Timestamps are UTC with microseconds. The lines are written by a
//! thread of their own.

mod lines;

use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};

use self::lines::Lines;
use crate::config::Config;
use crate::log_level::{self, Levels};

/// The process's lines on their way out; empty where they are written at once.
static LINES: OnceLock<Lines> = OnceLock::new();

/// How long the end of the process waits for lines of the log that nobody takes.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Writes what of the log is on its way; before the process ends, or says something on standard error by itself.
pub fn finish() {
    if let Some(lines) = LINES.get() {
        lines.finish(LAST_LINES);
    }
}

/// Installs the log for the whole process. A second call does nothing (tests share a process).
pub fn init(config: &Config) {
    let ansi = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let levels = Levels::new(level(&config.log_level));
    let (dispatch, filter) = match Lines::start(std::io::stderr(), if config.log_format == "json" { missing_json } else { missing_human }) {
        Ok(lines) => {
            let lines = LINES.get_or_init(|| lines);
            dispatch(&config.log_format, &levels, ansi, || lines.clone())
        }
        // Without a thread for it a shard may wait for its line; without a line nobody knows why the start fails.
        Err(_) => dispatch(&config.log_format, &levels, ansi, std::io::stderr),
    };
    // An error means that a log is installed already.
    if tracing::dispatcher::set_global_default(dispatch).is_ok() {
        log_level::install(levels, move |levels| {
            // An error means that the log is gone, and the process with it.
            let _ = filter.reload(targets(levels));
        });
    }
}

/// The line that stands where lines were left out.
fn missing_human(lines: u64) -> String {
    format!("coreline: {lines} lines of the log are missing here: they came faster than they were taken\n")
}

/// The same as an object.
fn missing_json(lines: u64) -> String {
    let message = "lines of the log are missing here: they came faster than they were taken";
    format!("{}\n", serde_json::json!({ "level": "WARN", "message": message, "missing": lines }))
}

/// The filter of these levels.
fn targets(levels: &Levels) -> Targets {
    Targets::new().with_default(levels.of(log_level::ROOT)).with_targets(levels.targets())
}

/// The filter of a `log.level`.
pub fn level(name: &str) -> LevelFilter {
    match name {
        "off" => LevelFilter::OFF,
        "error" => LevelFilter::ERROR,
        "warn" => LevelFilter::WARN,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        _ => LevelFilter::INFO,
    }
}

/// The log and the handle that changes its filter while it runs.
fn dispatch<W>(format: &str, levels: &Levels, ansi: bool, writer: W) -> (tracing::Dispatch, Handle<Targets, Registry>)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(targets(levels));
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let dispatch = match format {
        "json" => registry.with(lines.json().flatten_event(true).with_current_span(false).with_span_list(false)).into(),
        _ => registry.with(lines.with_ansi(ansi).with_target(false)).into(),
    };
    (dispatch, handle)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no writer panics").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: &str, level: LevelFilter) -> String {
        let out = Captured::default();
        let copy = out.clone();
        let (dispatch, _) = dispatch(format, &Levels::new(level), false, move || copy.clone());
        tracing::dispatcher::with_default(&dispatch, || {
            tracing::info!(shards = 2, "started");
            tracing::debug!("detail");
            tracing::info!(target: "openraft::core", "inner life");
            tracing::warn!(target: "openraft::core", "trouble");
        });
        let bytes = out.0.lock().expect("no writer panics").clone();
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn json_lines_are_objects_with_their_fields() {
        let text = logged("json", level("info"));
        let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
        assert_eq!(lines.len(), 2, "the library's info is left out, its warning is not: {text}");
        assert_eq!((&lines[0]["message"], &lines[0]["shards"], &lines[0]["level"]), (&"started".into(), &2.into(), &"INFO".into()));
    }

    #[test]
    fn levels_change_while_the_log_runs() {
        let out = Captured::default();
        let copy = out.clone();
        let mut levels = Levels::new(LevelFilter::INFO);
        let (dispatch, filter) = dispatch("human", &levels, false, move || copy.clone());
        tracing::dispatcher::with_default(&dispatch, || {
            let say = || tracing::debug!(target: "coreline_storage::log", "detail");
            say();
            levels.set("coreline_storage", Some(LevelFilter::DEBUG));
            filter.reload(targets(&levels)).expect("the log is there");
            say();
            levels.set("coreline_storage", None);
            filter.reload(targets(&levels)).expect("the log is there");
            say();
        });
        let text = String::from_utf8(out.0.lock().expect("no writer panics").clone()).expect("UTF-8");
        assert_eq!(text.matches("detail").count(), 1, "{text}");
    }

    #[test]
    fn human_lines_have_no_escapes_without_a_terminal() {
        let text = logged("human", level("debug"));
        assert!(
            text.contains("INFO") && text.contains("started shards=2") && text.contains("detail") && text.contains("inner life"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'));
        assert_eq!(logged("human", level("off")), "");
    }
}
