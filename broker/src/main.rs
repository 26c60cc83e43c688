//! `coreline`: arguments, log, then the broker until it is told to stop.

use std::process::ExitCode;
use std::sync::Arc;

use coreline_broker::cli::{self, Command};
use coreline_broker::{log_tool, logging, preflight, shard, tool};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let config = match cli::parse() {
        Command::Serve(config) => *config,
        Command::Log(command) => return ExitCode::from(u8::try_from(log_tool::run(&command)).unwrap_or(1)),
        Command::Tool(command) => return ExitCode::from(u8::try_from(tool::run(&command)).unwrap_or(1)),
        Command::Config(command) => return ExitCode::from(u8::try_from(tool::run_config(&command)).unwrap_or(1)),
        Command::Print(text) => return ExitCode::from(u8::try_from(tool::print(&text)).unwrap_or(1)),
    };
    logging::init(&config);
    preflight::set_huge_pages(config.runtime_huge_pages);
    let ended = shard::start::run(Arc::new(config));
    logging::finish();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            eprintln!("coreline: {fatal}");
            ExitCode::FAILURE
        }
    }
}
