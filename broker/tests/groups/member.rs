//! The programs of a group: members and the observer of committed offsets, driven by lines on their stdin, heard line by line.

use crate::groups::history::Event;
use crate::process;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a program that was asked to end may take.
const END_WITHIN: Duration = Duration::from_secs(30);

/// A running program. Dropped, it is killed.
pub(crate) struct Program {
    child: process::Ended,
    stdin: Option<ChildStdin>,
    reader: Option<JoinHandle<()>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

impl Program {
    /// Starts it; its events go to `events` under `number`.
    pub(crate) fn start(command: &[String], args: &[&str], number: usize, events: Sender<(usize, Event)>) -> Result<Program, String> {
        let mut line = Command::new(&command[0]);
        line.args(&command[1..]).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child: Child = line.spawn().map_err(|error| format!("cannot start {}: {error}", command[0]))?;
        let stdin = child.stdin.take();
        let stderr = process::collect(child.stderr.take());
        let stdout = child.stdout.take().expect("piped");
        let reader = thread::spawn(move || hear(stdout, number, &events));
        Ok(Program { child: process::Ended(child), stdin, reader: Some(reader), stderr: Some(stderr) })
    }

    pub(crate) fn tell(&mut self, command: &str) -> Result<(), String> {
        let stdin = self.stdin.as_mut().ok_or("its stdin is closed")?;
        writeln!(stdin, "{command}").and_then(|()| stdin.flush()).map_err(|error| format!("telling it to {command}: {error}"))
    }

    /// kill -9; the time right before it.
    pub(crate) fn kill(mut self) -> i64 {
        let at = now_ms();
        let _ = kill(Pid::from_raw(self.child.0.id() as i32), Signal::SIGKILL);
        let _ = self.child.0.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        at
    }

    /// Waits until it has ended by itself, with status 0.
    pub(crate) fn end(mut self) -> Result<(), String> {
        self.stdin = None;
        let status = self.child.wait(END_WITHIN)?;
        if status.is_none() {
            let _ = self.child.0.kill();
        }
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        let stderr = process::tail(&self.stderr.take().map(process::joined).unwrap_or_default());
        match status {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(format!("ended with {status}\n{stderr}")),
            None => Err(format!("still ran {END_WITHIN:?} after it was told to leave\n{stderr}")),
        }
    }

    /// Ends it now; what it said on stderr.
    pub(crate) fn last_words(mut self) -> String {
        let _ = self.child.0.kill();
        let _ = self.child.0.wait();
        process::tail(&self.stderr.take().map(process::joined).unwrap_or_default())
    }
}

fn hear(stdout: impl Read, number: usize, events: &Sender<(usize, Event)>) {
    let mut left = false;
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let event = Event::parse(&line);
        left |= matches!(event, Event::Left);
        if events.send((number, event)).is_err() {
            return;
        }
    }
    let why = if left { String::new() } else { "its output ended".to_owned() };
    let _ = events.send((number, Event::Ended { at: now_ms(), why }));
}

pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
