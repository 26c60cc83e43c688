//! `coreline`: arguments, log, then the broker until it is told to stop.

use std::process::ExitCode;
use std::sync::Arc;

use coreline_broker::cli::{self, Command};
use coreline_broker::{log_tool, logging, preflight, shard};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let config = match cli::parse() {
        Command::Serve(config) => *config,
        Command::Log(command) => return ExitCode::from(u8::try_from(log_tool::run(&command)).unwrap_or(1)),
        Command::Print(text) => {
            #[allow(clippy::print_stdout)] // What the user asked for.
            {
                print!("{text}");
            }
            return ExitCode::SUCCESS;
        }
    };
    logging::init(&config);
    preflight::set_huge_pages(config.runtime_huge_pages);
    match shard::start::run(Arc::new(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            eprintln!("coreline: {fatal}");
            ExitCode::FAILURE
        }
    }
}
