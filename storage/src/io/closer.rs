//! Closes descriptors on a thread of its own: the last one of a file that was removed frees its space when it closes, which takes long for a large file.
//!
//! One thread per process, started with the first disk. What waits for it is bounded by the descriptors that the process may have open.

use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

type Closing = (Arc<OwnedFd>, Instant);

static CLOSER: OnceLock<Sender<Closing>> = OnceLock::new();

/// Closes it soon, unless somebody else holds it too.
pub(crate) fn close(fd: Arc<OwnedFd>) {
    hand_over(fd, Instant::now());
}

/// Closes it in a while: after the shard has closed the descriptor that this one is a copy of, so that the space is freed here.
pub(crate) fn close_later(fd: OwnedFd) {
    hand_over(Arc::new(fd), Instant::now() + LATER);
}

/// Starts the thread, if there is none. It runs on the processors of who starts it: not to be called on a shard, which has one.
pub(crate) fn start() {
    CLOSER.get_or_init(|| {
        let (sender, receiver) = channel();
        // Without a thread the receiver is gone, and what is sent closes where it was sent.
        let _ = std::thread::Builder::new().name("close".into()).spawn(move || run(&receiver));
        sender
    });
}

fn hand_over(fd: Arc<OwnedFd>, at: Instant) {
    #[cfg(test)]
    tests::note(&fd);
    // Nobody has started it where there is no shard either: in tests and tools.
    if let Some(closer) = CLOSER.get() {
        let _ = closer.send((fd, at));
    }
}

fn run(receiver: &Receiver<Closing>) {
    let mut later: Vec<Closing> = Vec::new();
    loop {
        let next = later.iter().map(|(_, at)| *at).min();
        let wait = next.map_or(FOR_EVER, |at| at.saturating_duration_since(Instant::now()));
        later.extend(receiver.recv_timeout(wait).ok());
        let now = Instant::now();
        later.retain(|(_, at)| *at > now);
    }
}

/// A shard closes what it let go at its next turn.
const LATER: Duration = Duration::from_millis(250);
/// So that a time can be told at all.
const FOR_EVER: Duration = Duration::from_secs(3_600);

#[cfg(test)]
pub(crate) mod tests {
    use std::os::fd::AsFd;
    use std::sync::Mutex;

    use super::*;

    /// Inodes that were closed here.
    static CLOSED: Mutex<Vec<u64>> = Mutex::new(Vec::new());

    pub(super) fn note(fd: &OwnedFd) {
        CLOSED.lock().unwrap().push(inode(fd));
    }

    pub(crate) fn inode(fd: impl AsFd) -> u64 {
        nix::sys::stat::fstat(fd).unwrap().st_ino
    }

    /// How often a descriptor of this file was closed here.
    pub(crate) fn closed(inode: u64) -> usize {
        CLOSED.lock().unwrap().iter().filter(|closed| **closed == inode).count()
    }
}
