//! `coreline-tune`: reads the host and says what would make a broker on it faster. Writes nothing.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use coreline_tuning::sysfs::Root;
use coreline_tuning::{Facts, Finding, Severity, report, worst};

/// Host checks for Coreline. Exit code 0: fine, 1: findings, 2: error.
#[derive(Parser)]
#[command(name = "coreline-tune", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Reads limits and kernel settings and reports what is not as it should be; never writes.
    Check {
        /// Print facts and findings as JSON.
        #[arg(long)]
        json: bool,
        /// Read /proc and /sys below this directory instead of the host's.
        #[arg(long, default_value = "/", value_name = "DIR")]
        root: String,
    },
}

fn main() -> ExitCode {
    let Command::Check { json, root } = Cli::parse().command;
    if !std::path::Path::new(&root).is_dir() {
        let _ = writeln!(io::stderr(), "coreline-tune: --root {root}: not a directory");
        return ExitCode::from(2);
    }
    let facts = Facts::read(&Root::at(root));
    let findings = report(&facts);
    let text = if json { as_json(&facts, &findings) } else { as_table(&findings) };
    if io::stdout().write_all(text.as_bytes()).is_err() {
        return ExitCode::from(2);
    }
    match worst(&findings) {
        Severity::Ok | Severity::Unknown => ExitCode::SUCCESS,
        Severity::Advice | Severity::Fatal => ExitCode::from(1),
    }
}

fn as_json(facts: &Facts, findings: &[Finding]) -> String {
    let mut text = serde_json::json!({ "facts": facts, "findings": findings }).to_string();
    text.push('\n');
    text
}

fn as_table(findings: &[Finding]) -> String {
    let mut text = String::new();
    for f in findings {
        let word = match f.severity {
            Severity::Ok => "ok",
            Severity::Unknown => "-",
            Severity::Advice => "advice",
            Severity::Fatal => "FATAL",
        };
        text += &format!("{word:<7} {:<16} {} (wanted: {})\n", f.id, f.current, f.wanted);
        if f.severity >= Severity::Advice {
            text += &format!("        why: {}\n        how: {}\n", f.effect, f.remedy);
        }
    }
    text
}
