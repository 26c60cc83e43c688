//! The process's log: one line per event on standard error, for people or as JSON, from a level on.
//!
//! Colours only when standard error is a terminal and `NO_COLOR` is not set. Timestamps are UTC with microseconds.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;

use crate::config::Config;

/// Installs the log for the whole process. A second call does nothing (tests share a process).
pub fn init(config: &Config) {
    let ansi = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let dispatch = dispatch(&config.log_format, level(&config.log_level), ansi, std::io::stderr);
    // An error means that a log is installed already.
    let _ = tracing::dispatcher::set_global_default(dispatch);
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

fn dispatch<W>(format: &str, level: LevelFilter, ansi: bool, writer: W) -> tracing::Dispatch
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt().with_max_level(level).with_writer(writer);
    // The consensus library tells its whole life at the info level; an operator asks for that with debug.
    let library = if level == LevelFilter::INFO { LevelFilter::WARN } else { level };
    let targets = Targets::new().with_default(level).with_target("openraft", library);
    match format {
        "json" => builder.json().flatten_event(true).with_current_span(false).with_span_list(false).finish().with(targets).into(),
        _ => builder.with_ansi(ansi).with_target(false).finish().with(targets).into(),
    }
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
        let dispatch = dispatch(format, level, false, move || copy.clone());
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
