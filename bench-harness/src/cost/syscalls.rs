//! Counting a server's system calls with `perf stat`, which needs perf, its tracepoints and the right to use them.
//!
//! Each call then costs the server a few hundred nanoseconds more, so it is done on request only and said in the result.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Longest wait for perf to write its count.
const END_TIME_MAX: Duration = Duration::from_secs(10);
const EVENT: &str = "raw_syscalls:sys_enter";

/// A running count.
pub struct SyscallCounter {
    perf: Child,
    out: PathBuf,
    _dir: tempfile::TempDir,
}

impl SyscallCounter {
    /// Begins to count the calls of a process and the threads it has and makes; or why that is not possible.
    pub fn start(pid: u32) -> Result<SyscallCounter, String> {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let out = dir.path().join("calls");
        let mut command = Command::new("perf");
        command.args(["stat", "-x", ",", "-e", EVENT, "-p", &pid.to_string(), "-o"]).arg(&out);
        let perf = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let perf = perf.map_err(|error| format!("perf: {error}"))?;
        Ok(SyscallCounter { perf, out, _dir: dir })
    }

    /// The count so far; ends it.
    #[allow(clippy::disallowed_methods)] // No shard here.
    pub fn stop(mut self) -> Result<u64, String> {
        let _ = kill(Pid::from_raw(self.perf.id() as i32), Signal::SIGINT);
        let begun = Instant::now();
        while matches!(self.perf.try_wait(), Ok(None)) {
            if begun.elapsed() > END_TIME_MAX {
                return Err("perf did not end".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        parse(&std::fs::read_to_string(&self.out).unwrap_or_default())
    }
}

impl Drop for SyscallCounter {
    fn drop(&mut self) {
        let _ = self.perf.kill();
        let _ = self.perf.wait();
    }
}

/// The count in perf's comma-separated output.
fn parse(text: &str) -> Result<u64, String> {
    let line = text
        .lines()
        .find(|line| line.contains(EVENT))
        .ok_or("perf counted nothing: it is not allowed to, or the kernel has no such event")?;
    let count = line.split(',').next().unwrap_or("");
    count.parse().map_err(|_| format!("perf says {count}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perfs_output_is_read() {
        assert_eq!(parse("# started on x\n\n12345,,raw_syscalls:sys_enter,1000,100.00,,\n"), Ok(12_345));
        assert_eq!(parse("<not counted>,,raw_syscalls:sys_enter,0,0.00,,\n"), Err("perf says <not counted>".into()));
        assert!(parse("").is_err());
    }
}
