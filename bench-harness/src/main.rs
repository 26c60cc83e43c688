//! `coreline-bench`: the command line of the load tester; everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    coreline_bench::cli::main()
}
