//! `coreline-tune`: reads the host, says what would make a broker on it faster, changes it on request, proves it and undoes it.

use std::process::ExitCode;

fn main() -> ExitCode {
    coreline_tuning::cli::run(std::env::args_os())
}
