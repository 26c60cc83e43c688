//! A measurement from outside: a command of the user's, or a scenario of the load tester.
//!
//! The contract, fixed: the command is run once per measurement by `sh -c`. Exit code 0 means measured; any other code ends the proof, and the knob is
//! put back. `CORELINE_PROVE_JSON` names a file that does not exist yet, in a folder of its own. With `--figure PATH` the command writes one JSON
//! document there, and each `PATH` (names joined by dots) is a number above 0: lower is better, or higher where `:higher` ends it. Without a
//! figure the last line of its standard output is that number, lower is better. A scenario is `coreline-bench run ARGUMENTS --omb FILE`, whose
//! latencies are taken.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::{Measure, Metric};

/// Names the file for the figures in the command's environment.
pub const FILE_VARIABLE: &str = "CORELINE_PROVE_JSON";
/// Largest document that is read, bytes.
const DOCUMENT_BYTES_MAX: u64 = 64 << 20;
/// What is taken of a scenario where it has it; milliseconds.
const SCENARIO_FIGURES: &[(&str, &str)] = &[
    ("aggregatedPublishLatency50pct", "produce p50 (ms)"),
    ("aggregatedPublishLatency99pct", "produce p99 (ms)"),
    ("aggregatedEndToEndLatency99pct", "end to end p99 (ms)"),
];

/// A number in the command's document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    path: String,
    higher_is_better: bool,
}

impl Figure {
    /// `PATH` or `PATH:higher`.
    pub fn parse(text: &str) -> Result<Figure, String> {
        let (path, higher_is_better) = match text.rsplit_once(':') {
            Some((path, "higher")) => (path, true),
            Some((path, "lower")) => (path, false),
            _ => (text, false),
        };
        if path.split('.').any(str::is_empty) {
            return Err(format!("{text:?} is no path of names joined by dots"));
        }
        Ok(Figure { path: path.to_owned(), higher_is_better })
    }

    /// The metric, lower is better: what should be high is counted as its inverse.
    fn read(&self, document: &Value) -> Result<Metric, String> {
        let found = number_at(document, &self.path).ok_or_else(|| format!("no number at {:?} in its JSON document", self.path))?;
        if !found.is_finite() || found <= 0.0 {
            return Err(format!("{} is {found}: not a number above 0", self.path));
        }
        let (name, value) = if self.higher_is_better { (format!("1 / {}", self.path), 1.0 / found) } else { (self.path.clone(), found) };
        Ok(Metric { name, value })
    }
}

/// A name may have dots of its own (`p99.9`): the longest that fits is taken.
fn number_at(document: &Value, path: &str) -> Option<f64> {
    if let Some(found) = document.get(path) {
        return found.as_f64();
    }
    let dots = path.rmatch_indices('.').map(|(at, _)| at);
    dots.filter_map(|at| number_at(document.get(&path[..at])?, &path[at + 1..])).next()
}

/// What is run.
#[derive(Clone, Debug)]
enum What {
    /// A command line for the shell, and the figures of its document.
    Command(String, Vec<Figure>),
    /// The load tester, and its arguments behind `run`.
    Scenario(PathBuf, Vec<String>),
}

/// A measurement from outside.
#[derive(Clone, Debug)]
pub struct Bench(What);

impl Bench {
    /// A command of the user's.
    pub fn command(command: &str, figures: Vec<Figure>) -> Bench {
        Bench(What::Command(command.to_owned(), figures))
    }

    /// A scenario of the load tester, which is looked for beside this program and then in the path.
    pub fn scenario(arguments: &str) -> Bench {
        const NAME: &str = "coreline-bench";
        let beside = std::env::current_exe().ok().map(|exe| exe.with_file_name(NAME)).filter(|path| path.is_file());
        Bench(What::Scenario(beside.unwrap_or_else(|| NAME.into()), arguments.split_whitespace().map(str::to_owned).collect()))
    }

    fn run(&self, file: &Path) -> io::Result<Output> {
        let mut command = match &self.0 {
            What::Command(text, _) => {
                let mut command = Command::new("sh");
                command.arg("-c").arg(text);
                command
            }
            What::Scenario(program, arguments) => {
                let mut command = Command::new(program);
                command.arg("run").args(arguments).args(["--quiet", "--no-probe", "--omb"]).arg(file);
                command
            }
        };
        let out = command.stdin(Stdio::null()).env(FILE_VARIABLE, file).output();
        out.map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", command.get_program().display())))
    }

    fn metrics(&self, out: &Output, file: &Path) -> Result<Vec<Metric>, String> {
        if !out.status.success() {
            let said = String::from_utf8_lossy(&out.stderr);
            return Err(format!("it ended with {}: {}", out.status, said.lines().last().unwrap_or("(no word)").trim()));
        }
        match &self.0 {
            What::Command(_, figures) if figures.is_empty() => last_line(&String::from_utf8_lossy(&out.stdout)).map(|m| vec![m]),
            What::Command(_, figures) => {
                let document = document(file)?;
                figures.iter().map(|figure| figure.read(&document)).collect()
            }
            What::Scenario(..) => {
                let document = document(file)?;
                let found = SCENARIO_FIGURES.iter().filter_map(|(path, name)| {
                    let value = document.get(path)?.as_f64().filter(|value| *value > 0.0)?;
                    Some(Metric { name: (*name).to_owned(), value })
                });
                let metrics: Vec<Metric> = found.collect();
                if metrics.is_empty() { Err("its result has no latency".to_owned()) } else { Ok(metrics) }
            }
        }
    }
}

impl Measure for Bench {
    fn measure(&mut self) -> io::Result<Vec<Metric>> {
        // Of its own, so that nobody else can put a link where the command writes.
        let folder = Folder::new()?;
        let file = folder.0.join("figures.json");
        let out = self.run(&file)?;
        self.metrics(&out, &file).map_err(|why| io::Error::other(format!("the bench command: {why}")))
    }
}

fn last_line(text: &str) -> Result<Metric, String> {
    let last = text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("").trim();
    match last.parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0.0 => Ok(Metric { name: "bench".into(), value }),
        _ => Err(format!("its last line is {last:?}, not a number above 0")),
    }
}

fn document(file: &Path) -> Result<Value, String> {
    let unreadable = |why: String| format!("no JSON document in the file that {FILE_VARIABLE} names: {why}");
    let metadata = file.metadata().map_err(|e| unreadable(e.to_string()))?;
    if metadata.len() > DOCUMENT_BYTES_MAX {
        return Err(unreadable(format!("{} bytes", metadata.len())));
    }
    let text = std::fs::read_to_string(file).map_err(|e| unreadable(e.to_string()))?;
    serde_json::from_str(&text).map_err(|e| unreadable(e.to_string()))
}

/// A folder that only this user sees, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Folder> {
        let mut template: OsString = std::env::temp_dir().into();
        template.push("/coreline-prove-XXXXXX");
        Ok(Folder(nix::unistd::mkdtemp(Path::new(&template))?))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(command: &str, figures: &[&str]) -> Result<Vec<(String, f64)>, String> {
        let figures = figures.iter().map(|f| Figure::parse(f).expect("a path")).collect();
        let metrics = Bench::command(command, figures).measure().map_err(|e| e.to_string())?;
        Ok(metrics.into_iter().map(|m| (m.name, m.value)).collect())
    }

    #[test]
    fn the_last_line_or_the_named_figures_are_taken() {
        assert_eq!(measure("echo 1; echo 2.5; echo", &[]), Ok(vec![("bench".to_owned(), 2.5)]));
        let write = r#"echo '{"a":{"p99.9":4,"n":0},"rate":50}' > "$CORELINE_PROVE_JSON""#;
        assert_eq!(measure(write, &["a.p99.9", "rate:higher"]), Ok(vec![("a.p99.9".to_owned(), 4.0), ("1 / rate".to_owned(), 0.02)]));
        for (command, figures, named) in [
            ("echo fast", &[][..], "\"fast\""),
            ("echo -1", &[], "-1"),
            ("echo 3; echo no such target >&2; exit 3", &[], "no such target"),
            (write, &["a.p50"], "a.p50"),
            (write, &["a.n"], "above 0"),
            ("true", &["a"], "CORELINE_PROVE_JSON"),
            ("echo '{' > \"$CORELINE_PROVE_JSON\"", &["a"], "JSON"),
        ] {
            let error = measure(command, figures).expect_err(command);
            assert!(error.contains(named), "{command}: {error}");
        }
        assert!(Figure::parse("a..b").is_err() && Figure::parse("").is_err());
    }

    #[test]
    fn a_scenario_is_a_run_of_the_load_tester() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let program = dir.path().join("coreline-bench");
        let script = "#!/bin/sh\n[ \"$1 $2 $3 $4\" = \"run latency --target here:1\" ] || exit 2\nfor last; do :; done\n\
                      echo '{\"aggregatedPublishLatency50pct\":0.5,\"aggregatedPublishLatency99pct\":2,\"aggregatedEndToEndLatency99pct\":0}' > \"$last\"\n";
        std::fs::write(&program, script).expect("write");
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("sets");
        let of = |arguments: &str| Bench(What::Scenario(program.clone(), arguments.split(' ').map(str::to_owned).collect())).measure();
        let metrics = of("latency --target here:1").expect("measures");
        let names: Vec<_> = metrics.iter().map(|m| (m.name.as_str(), m.value)).collect();
        assert_eq!(names, [("produce p50 (ms)", 0.5), ("produce p99 (ms)", 2.0)], "nothing was read, so there is no end to end");
        assert!(of("nothing").is_err_and(|e| e.to_string().contains("exit status: 2")));
    }
}
