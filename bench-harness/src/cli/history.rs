//! `coreline-bench history`.

use std::path::PathBuf;

use clap::Args;

use super::{check_writable, print, to_json, write_files};
use crate::error::{BenchError, EXIT_OK};
use crate::{history, report};

#[derive(Args)]
pub(super) struct Arguments {
    /// Results that --json wrote, and directories of them.
    #[arg(required = true, value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    /// Shows every result of the figures whose names hold this, such as 'produce p99'.
    #[arg(long, value_name = "NAME")]
    figure: Option<String>,
    /// Writes everything that was found.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Result<u8, BenchError> {
    check_writable(&[&arguments.json])?;
    let found = history::read(&arguments.paths)?;
    print(&report::history::text(&found, arguments.figure.as_deref()))?;
    write_files(&[(&arguments.json, &|| to_json(&found))])?;
    Ok(EXIT_OK)
}
