//! `coreline`: arguments, log, then the broker until it is told to stop.

use std::process::ExitCode;
use std::sync::Arc;

use coreline_broker::cli::{self, Command};
use coreline_broker::{logging, shard};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let config = match cli::parse() {
        Command::Serve(config) => *config,
        Command::Print(text) => {
            #[allow(clippy::print_stdout)] // What the user asked for.
            {
                print!("{text}");
            }
            return ExitCode::SUCCESS;
        }
    };
    logging::init(&config);
    // Huge pages would make a quiet broker twice as big, and each first touch of one zeroes 2 MiB on a shard's own time. Refused by
    // kernels that do not know it, which costs memory only.
    let _ = nix::sys::prctl::set_thp_disable(true);
    match shard::start::run(Arc::new(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            eprintln!("coreline: {fatal}");
            ExitCode::FAILURE
        }
    }
}
