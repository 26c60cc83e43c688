//! CPUs and priorities: lists of CPUs, keeping threads on them, a realtime priority, and how long a thread ran and waited for a CPU.

use std::io;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::{Pid, gettid};

/// Reads a list as the kernel writes it: `0-2,5`; empty is none. The error says what is wrong.
pub fn parse(text: &str) -> Result<Vec<usize>, String> {
    let most = CpuSet::count();
    let number = |n: &str| {
        let n = n.trim();
        n.parse::<usize>().ok().filter(|n| *n < most).ok_or_else(|| format!("`{n}` is no CPU; a list reads as 1 or 2-3,6"))
    };
    let mut cpus = Vec::new();
    for part in text.split(',').filter(|_| !text.trim().is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(format!("`{part}` counts downwards"));
        }
        cpus.extend(first..=last);
    }
    Ok(cpus)
}

/// The CPUs that are open to the calling thread.
pub fn open() -> io::Result<Vec<usize>> {
    let open = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|cpu| open.is_set(*cpu).unwrap_or(false)).collect())
}

/// Fails when one of these CPUs is not open to this process; the error names it and those that are.
pub fn check(cpus: &[usize]) -> io::Result<()> {
    let open = open()?;
    match cpus.iter().find(|cpu| !open.contains(cpu)) {
        None => Ok(()),
        Some(cpu) => {
            let list: Vec<String> = open.iter().map(usize::to_string).collect();
            Err(io::Error::other(format!("CPU {cpu} is not open to this process, these are: {}", list.join(", "))))
        }
    }
}

/// Keeps the calling thread, and processes that it starts, on these CPUs; none are any.
pub fn keep_on(cpus: &[usize]) -> io::Result<()> {
    if cpus.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    cpus.iter().try_for_each(|cpu| set.set(*cpu))?;
    let list: Vec<String> = cpus.iter().map(usize::to_string).collect();
    sched_setaffinity(Pid::from_raw(0), &set).map_err(|e| io::Error::other(format!("keeping a thread on CPU {}: {e}", list.join(","))))
}

/// Gives the calling thread a priority under SCHED_FIFO (1 to 99; 0 leaves it as it is), by util-linux' `chrt`.
pub fn realtime(priority: u32) -> io::Result<()> {
    if priority == 0 {
        return Ok(());
    }
    let (priority, thread) = (priority.to_string(), gettid().to_string());
    let said = std::process::Command::new("chrt").args(["--fifo", "--pid", &priority, &thread]).output();
    let fail = |why: String| io::Error::other(format!("generator.realtime = {priority}: chrt: {why}"));
    let out = said.map_err(|e| fail(e.to_string()))?;
    if out.status.success() { Ok(()) } else { Err(fail(String::from_utf8_lossy(&out.stderr).trim().to_string())) }
}

/// The calling thread's id, for [`times`].
pub fn thread_id() -> i32 {
    gettid().as_raw()
}

/// Nanoseconds that a thread of this process ran, and nanoseconds that it was ready to run and another thread had the CPU. `None` where the
/// kernel does not count them.
pub fn times(thread: i32) -> Option<(u64, u64)> {
    let text = std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
    let mut numbers = text.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_the_kernel_writes_them() {
        for (text, cpus) in [("", &[][..]), ("1", &[1]), ("0-2,5", &[0, 1, 2, 5]), (" 3 , 4 ", &[3, 4])] {
            assert_eq!(parse(text).as_deref(), Ok(cpus), "{text}");
        }
        for text in ["x", "1,", "2-", "3-1", "99999999", "-1"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_thread_stays_where_it_was_put_and_a_cpu_that_is_not_there_is_named() {
        let thread = std::thread::spawn(|| {
            let one = *open().expect("asked").last().expect("a CPU");
            check(&[one]).expect("open");
            keep_on(&[one]).expect("kept");
            assert_eq!(open().expect("asked"), [one]);
            let closed = (0..CpuSet::count()).find(|cpu| *cpu != one).expect("another");
            check(&[closed]).expect_err("not open").to_string()
        });
        let why = thread.join().expect("ran");
        assert!(why.contains("is not open to this process, these are: "), "{why}");
        let (ran, _) = times(thread_id()).expect("counted");
        assert!(ran > 0);
    }
}
