//! Runs a command to its end within a time limit, keeping what it printed.

use std::io::Read;
use std::process::{Child, Command, Output, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Runs the command with no input; kills it at the limit.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Result<Output, String> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = Ended(child.map_err(|error| format!("cannot start: {error}"))?);
    let stdout = collect(child.0.stdout.take());
    let stderr = collect(child.0.stderr.take());
    let status = child.wait(limit);
    drop(child);
    let (stdout, stderr) = (joined(stdout), joined(stderr));
    match status? {
        Some(status) => Ok(Output { status, stdout, stderr }),
        None => Err(format!("still ran after {limit:?}\n{}", tail(&stderr))),
    }
}

/// A child process that does not outlive its owner.
pub(crate) struct Ended(pub(crate) Child);

impl Ended {
    /// None when the limit passed first.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<Option<std::process::ExitStatus>, String> {
        let deadline = Instant::now() + limit;
        let mut pause = Duration::from_millis(1);
        loop {
            match self.0.try_wait() {
                Ok(Some(status)) => return Ok(Some(status)),
                Ok(None) if Instant::now() > deadline => return Ok(None),
                Ok(None) => thread::sleep(pause),
                Err(error) => return Err(format!("waiting: {error}")),
            }
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads a pipe to its end beside the caller.
pub(crate) fn collect(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

pub(crate) fn joined(reader: JoinHandle<Vec<u8>>) -> Vec<u8> {
    reader.join().unwrap_or_default()
}

/// The last lines of an output, each cut to a readable length.
pub(crate) fn tail(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<String> = text.lines().map(|line| line.chars().take(400).collect()).collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}
