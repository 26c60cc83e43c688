//! The flag that Ctrl-C raises, and waits that end soon after it is raised, whatever they wait for.
//!
//! Everything that this program waits for on its main thread waits through here, through `Admin` or in a loop that looks at the flag; the load
//! threads end with the main thread. What has no end of its own (a name that is looked up, a child process) waits on another thread or is killed.

use std::io::{self, Read, Seek};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::error::BenchError;

/// Raised once, never lowered.
pub type Flag = Arc<AtomicBool>;

/// How often a wait looks at the flag.
pub const LOOK: Duration = Duration::from_millis(50);

/// Whether it was raised.
pub fn is_raised(flag: &AtomicBool) -> bool {
    flag.load(Ordering::Relaxed)
}

/// [`BenchError::Interrupted`] if it was raised.
pub fn check(flag: &AtomicBool) -> Result<(), BenchError> {
    if is_raised(flag) { Err(BenchError::Interrupted) } else { Ok(()) }
}

/// What an interrupted wait says where only an [`io::Error`] can; the caller's `check` makes [`BenchError::Interrupted`] of it. Not of the kind
/// `Interrupted`, which the standard library's loops take for a reason to go on.
pub fn as_io() -> io::Error {
    io::Error::other("interrupted")
}

/// Waits a little on the main thread, which has nothing else to do.
pub fn pause(time: Duration, flag: &AtomicBool) -> Result<(), BenchError> {
    let until = Instant::now() + time;
    loop {
        check(flag)?;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        #[allow(clippy::disallowed_methods)] // Not a shard, and nothing announces what is awaited.
        std::thread::sleep(left.min(LOOK));
    }
}

/// Does `work` on a thread of its own and waits for it; `None` when the flag was raised and `grace` more did not suffice. The thread then goes on
/// unheard until its work ends or the program does.
pub fn on_thread<T: Send + 'static>(flag: &AtomicBool, grace: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, done) = channel();
    std::thread::Builder::new().spawn(move || drop(sender.send(work()))).ok()?;
    let mut raised: Option<Instant> = None;
    loop {
        match done.recv_timeout(LOOK) {
            Ok(value) => return Some(value),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) if is_raised(flag) => {
                if raised.get_or_insert_with(Instant::now).elapsed() >= grace {
                    return None;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Runs a command to its end and returns what it said; kills it when the flag is raised.
pub fn output(command: &mut Command, flag: &AtomicBool) -> io::Result<Output> {
    // Files, not pipes: nobody reads until it has ended, however much it says.
    let (mut out, mut err) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let mut child = command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(err.try_clone()?).spawn()?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if pause(Duration::from_millis(2), flag).is_err() {
            child.kill()?;
            child.wait()?;
            return Err(as_io());
        }
    };
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    out.rewind()?;
    out.read_to_end(&mut stdout)?;
    err.rewind()?;
    err.read_to_end(&mut stderr)?;
    Ok(Output { status, stdout, stderr })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_says_what_it_said_and_is_killed_when_nobody_waits_any_more() {
        let flag = AtomicBool::new(false);
        let out = output(Command::new("/bin/sh").args(["-c", "echo a; echo b >&2; exit 3"]), &flag).expect("runs");
        assert_eq!((out.stdout.as_slice(), out.stderr.as_slice(), out.status.code()), (&b"a\n"[..], &b"b\n"[..], Some(3)));
        flag.store(true, Ordering::Relaxed);
        let begun = Instant::now();
        output(Command::new("sleep").arg("1000"), &flag).expect_err("killed");
        assert!(begun.elapsed() < Duration::from_secs(100), "it was waited for");
    }

    #[test]
    fn waits_end_when_the_flag_is_raised() {
        let flag = AtomicBool::new(false);
        pause(Duration::from_millis(1), &flag).expect("a short one ends by itself");
        assert_eq!(on_thread(&flag, Duration::ZERO, || 7), Some(7));
        flag.store(true, Ordering::Relaxed);
        assert!(matches!(pause(Duration::from_secs(1000), &flag), Err(BenchError::Interrupted)));
        let (_open, never) = channel::<()>();
        assert_eq!(on_thread(&flag, Duration::ZERO, move || never.recv().is_ok()), None);
    }
}
