//! Lines of the log on their way out: a thread of its own writes them, so that no shard waits for the disk, the pipe or the terminal behind them.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow};

use crate::limits::{LOG_QUEUE_BYTES_MAX, LOG_QUEUE_LINES_MAX};

/// How often it is tried to get into a full queue at the end.
const FULL_STEP: Duration = Duration::from_millis(5);

/// Where lines are handed in; each is a line as a whole. At a bound, of lines or of bytes, a line is left out, and how many were is said behind
/// those that were not.
#[derive(Clone)]
pub(super) struct Lines {
    queue: SyncSender<Message>,
    account: Arc<Account>,
}

#[derive(Default)]
struct Account {
    /// Bytes of lines that wait.
    bytes: AtomicUsize,
    /// Lines left out and not yet spoken of.
    left_out: AtomicU64,
}

enum Message {
    Line(Vec<u8>),
    /// Answered when all before it are written.
    Written(SyncSender<()>),
}

impl Lines {
    /// Starts the thread that writes to `out`; `missing` is the line that says how many were left out.
    pub(super) fn start(out: impl Write + Send + 'static, missing: fn(u64) -> String) -> io::Result<Lines> {
        let (lines, waiting) = Lines::new();
        let account = Arc::clone(&lines.account);
        // Signals are another thread's; this one is started before that.
        let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK).ok();
        let spawned = std::thread::Builder::new().name("log".into()).spawn(move || write_out(&waiting, &account, out, missing));
        // Setting back what was in force cannot fail.
        let _ = mask.map(|mask| mask.thread_set_mask());
        spawned.map(|_| lines)
    }

    fn new() -> (Lines, Receiver<Message>) {
        let (queue, waiting) = sync_channel(LOG_QUEUE_LINES_MAX);
        (Lines { queue, account: Arc::default() }, waiting)
    }

    /// Waits until what was handed in before is written, at most so long: who reads the lines may have stopped.
    #[allow(clippy::disallowed_methods, reason = "at the end of the process, on a thread that is no shard")]
    pub(super) fn finish(&self, at_most: Duration) {
        let until = Instant::now() + at_most;
        let (done, written) = sync_channel(1);
        let mut asked = self.queue.try_send(Message::Written(done));
        while let Err(TrySendError::Full(question)) = asked
            && Instant::now() < until
        {
            std::thread::sleep(FULL_STEP);
            asked = self.queue.try_send(question);
        }
        let _ = written.recv_timeout(until.saturating_duration_since(Instant::now()));
    }

    fn hand_in(&self, line: &[u8]) {
        let waiting = self.account.bytes.fetch_add(line.len(), Ordering::Relaxed);
        let taken = waiting.saturating_add(line.len()) <= LOG_QUEUE_BYTES_MAX
            && match self.queue.try_send(Message::Line(line.to_vec())) {
                Ok(()) => true,
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
            };
        if !taken {
            self.account.bytes.fetch_sub(line.len(), Ordering::Relaxed);
            self.account.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.hand_in(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The thread's life. What cannot be written is gone: there is nowhere to say so.
fn write_out(waiting: &Receiver<Message>, account: &Account, mut out: impl Write, missing: fn(u64) -> String) {
    while let Ok(message) = waiting.recv() {
        match message {
            Message::Line(line) => {
                let _ = out.write_all(&line);
                account.bytes.fetch_sub(line.len(), Ordering::Relaxed);
                let left_out = account.left_out.swap(0, Ordering::Relaxed);
                if left_out > 0 {
                    let _ = out.write_all(missing(left_out).as_bytes());
                }
            }
            Message::Written(done) => {
                let _ = out.flush();
                // Who asked may have stopped waiting.
                let _ = done.try_send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn missing(lines: u64) -> String {
        format!("{lines} missing\n")
    }

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Captured {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_come_out_in_order_and_finish_waits_for_them() {
        let out = Captured::default();
        let mut lines = Lines::start(out.clone(), missing).unwrap();
        let mut expected = String::new();
        for n in 0..1000 {
            let line = format!("line {n}\n");
            lines.write_all(line.as_bytes()).unwrap();
            expected.push_str(&line);
        }
        lines.finish(Duration::from_secs(60));
        assert_eq!(out.text(), expected);
    }

    #[test]
    fn who_hands_in_never_waits_and_what_is_left_out_is_counted() {
        let (mut lines, waiting) = Lines::new();
        for _ in 0..LOG_QUEUE_LINES_MAX + 7 {
            lines.write_all(b"x\n").unwrap();
        }
        // Nobody writes: it does not wait for ever either.
        lines.finish(Duration::from_millis(1));
        let out = Captured::default();
        let (copy, account) = (out.clone(), Arc::clone(&lines.account));
        drop(lines);
        write_out(&waiting, &account, copy, missing);
        assert_eq!(out.text().matches("x\n").count(), LOG_QUEUE_LINES_MAX);
        assert_eq!(out.text().matches("7 missing\n").count(), 1, "once, behind the first that is written again");
        assert_eq!(account.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn long_lines_have_a_bound_in_bytes() {
        let (mut lines, waiting) = Lines::new();
        let line = vec![b'y'; LOG_QUEUE_BYTES_MAX / 2];
        for _ in 0..3 {
            lines.write_all(&line).unwrap();
        }
        let account = Arc::clone(&lines.account);
        drop(lines);
        assert_eq!(waiting.iter().count(), 2);
        assert_eq!(account.left_out.load(Ordering::Relaxed), 1);
    }
}
