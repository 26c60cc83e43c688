//! `coreline-bench`: the load tester for any Kafka-protocol server. So far it knows the host it runs on; load comes next.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use coreline_tuning::Facts;
use coreline_tuning::sysfs::Root;

/// Load tester for Kafka-protocol servers. Exit code 0: done, 2: error.
#[derive(Parser)]
#[command(name = "coreline-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prints the facts of this host that belong beside every result, as JSON.
    Host,
}

fn main() -> ExitCode {
    let Command::Host = Cli::parse().command;
    let facts = Facts::read(&Root::at("/"));
    let mut text = match serde_json::to_string_pretty(&facts) {
        Ok(text) => text,
        Err(error) => {
            let _ = writeln!(io::stderr(), "coreline-bench: cannot show the facts of this host: {error}");
            return ExitCode::from(2);
        }
    };
    text.push('\n');
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(2),
    }
}
