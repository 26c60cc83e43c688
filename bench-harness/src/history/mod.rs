//! `history`: results of the same kind over time, and where a figure moved. It reads what `--json` wrote, of any version of this program.
//!
//! Results belong together that measured the same: command, scenario, what the command line changed of it (durations aside), targets with their
//! settings, kind of CPU. Of a comparison the ratios are followed, with their intervals, and what A and B had; of a run its figures; of a search the
//! rate that it found. Results that are invalid or were interrupted are listed and tell no change.

mod change;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use change::{By, Change, Figure, RESULTS_MIN};

use crate::compare::{CompareResult, Side};
use crate::error::BenchError;
use crate::figures::comparable;
use crate::result::{RunResult, SCHEMA};
use crate::slo::{SloResult, Sure};
use crate::stats::{self, Better};

/// Largest result in bytes that is read.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Most files of a directory and those below it.
const FILES_MAX: usize = 10_000;
/// Levels of directories that are looked through.
const DEPTH_MAX: usize = 8;

/// Everything that was found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct History {
    /// Version of this schema.
    pub schema: u32,
    /// Results that belong together.
    pub series: Vec<Series>,
    /// Files of directories that are no results, and directories that may not be read, each with why.
    pub skipped: Vec<(String, String)>,
}

/// Results that measured the same.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Series {
    /// What they measured.
    pub of: String,
    /// The results, from the oldest to the newest.
    pub results: Vec<Found>,
    /// Their figures.
    pub figures: Vec<Line>,
}

/// One result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The file.
    pub file: String,
    /// When it was measured, milliseconds since 1970.
    pub started_unix_ms: i64,
    /// Whether it may be quoted; others tell no change.
    pub valid: bool,
    /// What was measured, by the sums of the executables, where they are known: of A and B, or of the target.
    pub sha256: Vec<String>,
}

/// One figure over time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    /// Name and unit.
    pub figure: String,
    /// Which way better lies.
    pub better: Better,
    /// Its value in each result; `None` where a result does not have it.
    pub values: Vec<Option<Figure>>,
    /// Where it moved; indices are those of the results.
    pub changes: Vec<Change>,
}

/// A result as it was read.
struct Read {
    of: String,
    found: Found,
    figures: Vec<(String, Better, Figure)>,
}

/// Reads results: files, and every `.json` in and below directories. What is no result is refused in a file that was named and skipped elsewhere.
pub fn read(paths: &[PathBuf]) -> Result<History, BenchError> {
    let (mut all, mut skipped) = (Vec::new(), Vec::new());
    for path in paths {
        let refuse = |why: String| BenchError::Config(format!("{}: {why}", path.display()));
        let meta = fs::metadata(path).map_err(|error| refuse(error.to_string()))?;
        if !meta.is_dir() {
            all.push(read_one(path).map_err(refuse)?);
            continue;
        }
        let mut files = Vec::new();
        list(path, DEPTH_MAX, &mut files, &mut skipped).map_err(refuse)?;
        for file in files {
            match read_one(&file) {
                Ok(read) => all.push(read),
                Err(why) => skipped.push((file.display().to_string(), why)),
            }
        }
    }
    if all.is_empty() {
        let given: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        let why = skipped.first().map_or(String::new(), |(file, why)| format!("; {file}: {why}"));
        return Err(BenchError::Config(format!("no results in {}{why}", given.join(", "))));
    }
    Ok(History { schema: SCHEMA, series: series(all), skipped })
}

/// Every `.json` in a directory and below it; directories that may not be read are skipped like files that are no results.
fn list(dir: &Path, depth: usize, out: &mut Vec<PathBuf>, skipped: &mut Vec<(String, String)>) -> Result<(), String> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => {
            skipped.push((dir.display().to_string(), error.to_string()));
            return Ok(());
        }
    };
    let mut entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        // Links to directories are not followed: they may lead back.
        let kind = fs::symlink_metadata(&path).map(|meta| meta.file_type());
        if kind.is_ok_and(|kind| kind.is_dir()) {
            if depth > 0 {
                list(&path, depth - 1, out, skipped)?;
            }
        } else if path.extension().is_some_and(|e| e == "json") && path.is_file() {
            out.push(path);
            if out.len() > FILES_MAX {
                return Err(format!("more than {FILES_MAX} files"));
            }
        }
    }
    Ok(())
}

fn read_one(path: &Path) -> Result<Read, String> {
    let meta = fs::metadata(path).map_err(|error| error.to_string())?;
    if !meta.is_file() || meta.len() > FILE_BYTES_MAX {
        return Err(format!("no file of at most {FILE_BYTES_MAX} bytes"));
    }
    let text = fs::read(path).map_err(|error| error.to_string())?;
    let value: Value = serde_json::from_slice(&text).map_err(|error| format!("no JSON: {error}"))?;
    let has = |name: &str| value.get(name).is_some();
    match value.get("schema").and_then(Value::as_u64) {
        Some(schema) if schema == u64::from(SCHEMA) => {}
        Some(schema) => return Err(format!("its schema is {schema}, {SCHEMA} is what this program reads")),
        None => return Err("no result of run, compare or slo".into()),
    }
    let file = path.display().to_string();
    let broken = |error: serde_json::Error| format!("no result that this program reads: {error}");
    match () {
        () if has("blocks") => serde_json::from_value(value).map_err(broken).map(|result| of_compare(file, &result)),
        () if has("timeline") => serde_json::from_value(value).map_err(broken).map(|result| of_run(file, &result)),
        () if has("trials") => serde_json::from_value(value).map_err(broken).and_then(|result| of_slo(file, &result)),
        () => Err("no result of run, compare or slo".into()),
    }
}

/// What was changed of the scenario, but for how long it was measured.
fn changed(overrides: &BTreeMap<String, String>) -> String {
    let durations = ["duration_s", "warmup_s", "warmup_max_s"];
    let kept = overrides.iter().filter(|(key, _)| !durations.contains(&key.as_str()));
    kept.map(|(key, value)| format!(" {key}={value}")).collect()
}

fn cpu(host: &Value) -> String {
    let text = |name: &str| host.get(name).and_then(Value::as_str);
    text("cpu_model").map_or(String::new(), |model| format!("; {model}, CPUs {}", text("cpus_online").unwrap_or("?")))
}

fn of_compare(file: String, result: &CompareResult) -> Read {
    let kept = if result.kept { ", servers kept" } else { "" };
    let of = format!(
        "compare {}{}: A {}, B {}{kept}{}",
        result.scenario,
        changed(&result.overrides),
        result.a.name,
        result.b.name,
        cpu(&result.host)
    );
    let mut figures = Vec::new();
    let finite = |ratio: stats::Ratio| Figure { value: ratio.point, interval: ratio.high.is_finite().then_some((ratio.low, ratio.high)) };
    for row in &result.rows {
        let at = row.level.map_or(String::new(), |percent| format!("{percent} %: "));
        figures.extend(row.ratio.map(|ratio| (format!("{at}{}, B/A", row.figure), row.better, finite(ratio))));
        for side in [Side::A, Side::B] {
            let blocks = result.blocks.iter().filter(|m| m.block.side == side && !m.block.noise && m.block.level == row.level);
            // A ratio to 1 is the geometric mean with its interval.
            let values: Vec<(f64, f64)> = blocks.filter_map(|m| Some((1.0, *m.figures.get(&row.figure)?))).collect();
            let mean = stats::ratio(&values, result.seed);
            figures.extend(mean.map(|mean| (format!("{at}{}, {side}", row.figure), row.better, finite(mean))));
        }
    }
    let started_unix_ms = result.blocks.iter().map(|m| m.started_unix_ms).min().unwrap_or(0);
    let valid = result.complaints.is_empty() && !result.interrupted;
    let sha256 = [&result.a, &result.b].into_iter().filter_map(|target| target.sha256.clone()).collect();
    Read { of, found: Found { file, started_unix_ms, valid, sha256 }, figures }
}

fn of_run(file: String, result: &RunResult) -> Read {
    let host = result.host.as_ref().map_or(String::new(), cpu);
    let of = format!("run {}{}: {}{host}", result.scenario, changed(&result.overrides), result.target.name);
    let name = |figure: &crate::figures::Named| format!("{} {}", figure.name, figure.unit).trim().to_string();
    let figures = comparable(result).into_iter().map(|f| (name(&f), f.better, Figure { value: f.value, interval: None })).collect();
    let valid = result.verdict.valid && !result.interrupted;
    let sha256 = result.target.sha256.iter().cloned().collect();
    Read { of, found: Found { file, started_unix_ms: result.started_unix_ms, valid, sha256 }, figures }
}

fn of_slo(file: String, result: &SloResult) -> Result<Read, String> {
    let started_unix_ms = result.started_unix_ms.ok_or("a search of an older version, which does not say when it was")?;
    let of = format!("slo {}{}: {}, {}{}", result.scenario, changed(&result.overrides), result.target, result.objective, cpu(&result.host));
    let rate = result.answer.rate.map(|value| ("rate records/s".to_string(), Better::Higher, Figure { value, interval: None }));
    let valid = !result.interrupted && matches!(result.answer.sure, Sure::Confirmed | Sure::LowerBound);
    let sha256 = result.target_sha256.iter().cloned().collect();
    Ok(Read { of, found: Found { file, started_unix_ms, valid, sha256 }, figures: rate.into_iter().collect() })
}

/// Puts together what belongs together, in order, and looks for changes.
fn series(mut all: Vec<Read>) -> Vec<Series> {
    all.sort_by(|a, b| (&a.of, a.found.started_unix_ms, &a.found.file).cmp(&(&b.of, b.found.started_unix_ms, &b.found.file)));
    let mut out = Vec::new();
    for group in all.chunk_by(|a, b| a.of == b.of) {
        let mut names: Vec<(&str, Better)> = Vec::new();
        for (figure, better, _) in group.iter().flat_map(|read| &read.figures) {
            if !names.iter().any(|(known, _)| known == figure) {
                names.push((figure, *better));
            }
        }
        let line = |(figure, better): (&str, Better)| {
            let of = |read: &Read| read.figures.iter().find(|(name, _, _)| name == figure).map(|(_, _, value)| value.clone());
            let values: Vec<Option<Figure>> = group.iter().map(of).collect();
            let usable: Vec<(usize, Figure)> = values
                .iter()
                .zip(group)
                .enumerate()
                .filter_map(|(i, (value, read))| Some((i, value.clone().filter(|value| read.found.valid && value.value > 0.0)?)))
                .collect();
            let figures: Vec<Figure> = usable.iter().map(|(_, figure)| figure.clone()).collect();
            let changes = change::changes(&figures).into_iter().map(|change| Change { at: usable[change.at].0, ..change }).collect();
            Line { figure: figure.to_string(), better, values, changes }
        };
        let figures = names.into_iter().map(line).collect();
        out.push(Series { of: group[0].of.clone(), results: group.iter().map(|read| read.found.clone()).collect(), figures });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_of(of: &str, day: i64, valid: bool, value: f64, half: f64) -> Read {
        let found = Found { file: format!("{day}.json"), started_unix_ms: day * 86_400_000, valid, sha256: Vec::new() };
        let figure = Figure { value, interval: Some((value - half, value + half)) };
        Read { of: of.into(), found, figures: vec![("p99 us".into(), Better::Lower, figure)] }
    }

    #[test]
    fn results_are_put_in_order_and_only_valid_ones_tell_a_change() {
        let all = vec![
            read_of("x", 5, true, 20.0, 1.0),
            read_of("x", 1, true, 10.0, 1.0),
            read_of("y", 2, true, 90.0, 1.0),
            read_of("x", 3, false, 500.0, 1.0),
            read_of("x", 2, true, 10.5, 1.0),
        ];
        let found = series(all);
        assert_eq!(found.iter().map(|s| (s.of.as_str(), s.results.len())).collect::<Vec<_>>(), [("x", 4), ("y", 1)]);
        let line = &found[0].figures[0];
        assert_eq!(line.values.iter().flatten().map(|f| f.value).collect::<Vec<_>>(), [10.0, 10.5, 500.0, 20.0]);
        assert_eq!(line.changes.iter().map(|c| c.at).collect::<Vec<_>>(), [3], "past the invalid one: {:?}", line.changes);
    }

    #[test]
    fn the_committed_results_are_read() {
        let dir = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/baseline"));
        let history = read(std::slice::from_ref(&dir)).unwrap_or_else(|error| panic!("{error}"));
        assert!(history.series.len() >= 10 && history.skipped.is_empty(), "{:?}", history.skipped);
        let ratio = |series: &Series| series.figures.iter().any(|line| line.figure.ends_with(", B/A"));
        assert!(history.series.iter().all(ratio));
    }

    #[test]
    fn what_is_no_result_is_refused_by_name_and_skipped_in_a_directory() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).expect("writes");
            path
        };
        for (name, text, words) in [
            ("a.json", "{", "no JSON"),
            ("b.json", "{}", "no result of run"),
            ("c.json", "{\"schema\":2,\"blocks\":[]}", "its schema is 2"),
            ("d.json", "{\"schema\":1,\"blocks\":[]}", "missing field"),
            ("e.json", "{\"schema\":1}", "no result of run"),
        ] {
            let error = read(&[write(name, text)]).expect_err(name).to_string();
            assert!(error.contains(words) && error.contains(name), "{name}: {error}");
        }
        let error = read(&[dir.path().to_path_buf()]).expect_err("none").to_string();
        assert!(error.contains("no results in"), "{error}");
        write("good.json", &serde_json::to_string(&RunResult { schema: SCHEMA, ..RunResult::default() }).expect("JSON"));
        let history = read(&[dir.path().to_path_buf()]).expect("one");
        assert_eq!((history.series.len(), history.skipped.len()), (1, 5));
        assert!(read(&[dir.path().join("nowhere")]).is_err());
    }
}
