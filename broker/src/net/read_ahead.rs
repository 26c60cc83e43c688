//! Brings ranges of segment files into the page cache on threads of its own, so that no shard waits for the disk.
//!
//! Work is cut into windows of a file. What a consumer waits for goes first; what it will want next is read ahead within a budget of bytes, and
//! left out beyond it. Whoever wants a window that is in work waits for that work: consumers at the same place share one read, on whichever
//! shards they are. The device is asked for small pieces, and for none while a write of a journal is in flight: what producers wait for goes before
//! what consumers of old records wait for, as far as `patience` goes. Nothing is locked for records that are in the page cache while no window is in work.

mod patience;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use coreline_storage::io::JournalIo;
use futures_channel::oneshot;
use hashbrown::HashMap;
use nix::errno::Errno;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::sys::sendfile::sendfile64;

use self::patience::Patience;
use crate::handler::SendSource;
use crate::limits::{READ_GIVES_WAY_STEP, READ_PIECE_BYTES, READ_WINDOW_BYTES, SENDFILE_STEP_BYTES};
use crate::sys;

/// An open segment file.
pub type Source = Arc<dyn SendSource>;

/// The process's threads and what they have to do.
pub struct ReadAhead {
    state: Mutex<State>,
    work: Condvar,
    /// Windows in `State::jobs`, readable without the lock.
    in_work: AtomicUsize,
    ahead_bytes_max: u64,
}

#[derive(Default)]
struct State {
    jobs: HashMap<Window, Job>,
    /// Somebody waits for these. A window may be named here and in `ahead`; who finds it running or gone passes on.
    asked: VecDeque<Window>,
    ahead: VecDeque<Window>,
    ahead_bytes: u64,
}

/// An aligned piece of an open file, which is told by its address: jobs keep it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Window {
    file: usize,
    index: u64,
}

/// What of a window is read, and who waits for it.
struct Job {
    file: Source,
    from: u64,
    to: u64,
    running: bool,
    /// Bytes of the budget that it holds.
    ahead_bytes: u64,
    waiting: Vec<oneshot::Sender<Result<(), Errno>>>,
}

static THE: OnceLock<Arc<ReadAhead>> = OnceLock::new();

/// Starts the process's threads; only the first call counts.
pub fn start(threads: usize, ahead_bytes_max: u64) -> io::Result<()> {
    let mut outcome = Ok(());
    THE.get_or_init(|| {
        let (all, started) = ReadAhead::start(threads, ahead_bytes_max);
        outcome = started;
        all
    });
    outcome
}

/// The process's read-ahead; where nobody has started one (tests), a small one.
pub fn of_process() -> &'static ReadAhead {
    THE.get_or_init(|| ReadAhead::start(1, 0).0)
}

impl ReadAhead {
    fn start(threads: usize, ahead_bytes_max: u64) -> (Arc<ReadAhead>, io::Result<()>) {
        let all = Arc::new(ReadAhead { state: Mutex::default(), work: Condvar::new(), in_work: AtomicUsize::new(0), ahead_bytes_max });
        let mut outcome = Ok(());
        for i in 0..threads {
            let mine = Arc::clone(&all);
            let spawned = std::thread::Builder::new().name(format!("read-ahead-{i}")).spawn(move || mine.serve());
            outcome = outcome.and(spawned.map(drop));
        }
        (all, outcome)
    }

    /// Brings in the window that holds `from`, at most up to `to`, and waits until that is done. An error is the device's.
    pub async fn bring_in(&self, file: &Source, from: u64, to: u64) -> io::Result<()> {
        let (sender, done) = oneshot::channel();
        self.ask(file, from, to, sender);
        // A thread that is gone has taken the process with it.
        done.await.unwrap_or(Err(Errno::ECANCELED)).map_err(io::Error::from)
    }

    fn ask(&self, file: &Source, from: u64, to: u64, waiter: oneshot::Sender<Result<(), Errno>>) {
        let window = Window::of(file, from);
        let to = to.min(window.end());
        let mut state = self.lock();
        let state = &mut *state;
        let job = state.jobs.entry(window).or_insert_with(|| Job::new(file, from, to));
        job.waiting.push(waiter);
        if !job.running {
            (job.from, job.to) = (job.from.min(from), job.to.max(to));
            state.asked.push_back(window);
        }
        self.in_work.store(state.jobs.len(), Ordering::Release);
        self.work.notify_one();
    }

    /// Has a range read that somebody will want soon, as far as the budget goes. Returns the bytes that were added to the work.
    pub fn ahead(&self, file: &Source, from: u64, to: u64) -> u64 {
        let mut added = 0;
        let mut state = self.lock();
        let state = &mut *state;
        let mut at = from;
        while at < to {
            let window = Window::of(file, at);
            let end = to.min(window.end());
            let bytes = end - at;
            if state.ahead_bytes + bytes > self.ahead_bytes_max {
                break;
            }
            if !state.jobs.contains_key(&window) {
                state.jobs.insert(window, Job { ahead_bytes: bytes, ..Job::new(file, at, end) });
                state.ahead.push_back(window);
                state.ahead_bytes += bytes;
                added += bytes;
                self.work.notify_one();
            }
            at = end;
        }
        self.in_work.store(state.jobs.len(), Ordering::Release);
        added
    }

    /// True while some of the range is being read or waits for that: pages that are on their way look like pages that are there.
    pub fn is_in_work(&self, file: &Source, from: u64, to: u64) -> bool {
        if self.in_work.load(Ordering::Acquire) == 0 {
            return false;
        }
        let state = self.lock();
        let (first, last) = (Window::of(file, from), Window::of(file, to.saturating_sub(1)));
        (first.index..=last.index).any(|index| {
            let job = state.jobs.get(&Window { index, ..first });
            job.is_some_and(|job| job.from < to && from < job.to)
        })
    }

    /// A thread's life.
    fn serve(&self) {
        sys::lower_this_thread();
        // Pages sent to /dev/null are waited for and not copied.
        let null = File::options().write(true).open("/dev/null").ok();
        let mut patience = Patience::new(Instant::now());
        loop {
            let (window, file, from, to) = self.next();
            patience.window(Instant::now());
            let outcome = read_in(file.as_fd(), from, to, null.as_ref(), &mut patience);
            if let Err(error) = outcome {
                tracing::error!(position = from, %error, "a segment file cannot be read");
            }
            let waiting = {
                let mut state = self.lock();
                let job = state.jobs.remove(&window);
                state.ahead_bytes -= job.as_ref().map_or(0, |job| job.ahead_bytes);
                self.in_work.store(state.jobs.len(), Ordering::Release);
                job.map_or(Vec::new(), |job| job.waiting)
            };
            for waiter in waiting {
                // Its connection may be gone.
                let _ = waiter.send(outcome);
            }
        }
    }

    /// The next window to read, marked as running; waits for one.
    fn next(&self) -> (Window, Source, u64, u64) {
        let mut state = self.lock();
        loop {
            let next = state.asked.pop_front().or_else(|| state.ahead.pop_front());
            match next {
                Some(window) => {
                    if let Some(job) = state.jobs.get_mut(&window).filter(|job| !job.running) {
                        job.running = true;
                        return (window, Arc::clone(&job.file), job.from, job.to);
                    }
                }
                None => state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    fn of(file: &Source, position: u64) -> Window {
        Window { file: Arc::as_ptr(file).cast::<()>() as usize, index: position / READ_WINDOW_BYTES }
    }

    fn end(self) -> u64 {
        (self.index + 1) * READ_WINDOW_BYTES
    }
}

impl Job {
    fn new(file: &Source, from: u64, to: u64) -> Job {
        Job { file: Arc::clone(file), from, to, running: false, ahead_bytes: 0, waiting: Vec::new() }
    }
}

/// Reads a range into the page cache; returns when all of it is there. Stops at the end of the file without an error.
fn read_in(file: BorrowedFd<'_>, from: u64, to: u64, null: Option<&File>, patience: &mut Patience) -> Result<(), Errno> {
    let mut at = from;
    while at < to {
        let end = to.min(at + READ_PIECE_BYTES);
        give_way(JournalIo::in_flight, patience);
        if !read_piece(file, at, end, null)? {
            break;
        }
        at = end;
    }
    Ok(())
}

/// Waits while the journal's writes are in flight, as long as the thread may: they have waiters too, and what the device is doing already goes
/// before them.
#[allow(clippy::disallowed_methods, reason = "on a thread of its own, never on a shard")]
fn give_way(writes: impl Fn() -> usize, patience: &mut Patience) {
    while writes() > 0 && !patience.left(Instant::now()).is_zero() {
        std::thread::sleep(READ_GIVES_WAY_STEP);
    }
    patience.begun(Instant::now());
}

/// The same for what the device is asked for at once; false at the end of the file.
fn read_piece(file: BorrowedFd<'_>, from: u64, to: u64, null: Option<&File>) -> Result<bool, Errno> {
    let (Ok(mut at), Ok(to)) = (i64::try_from(from), i64::try_from(to)) else { return Err(Errno::EINVAL) };
    // All of it goes to the device in one request; refused, the reads below do it in smaller ones.
    let _ = posix_fadvise(file, at, to - at, PosixFadviseAdvice::POSIX_FADV_WILLNEED);
    let mut copy = null.is_none().then(|| vec![0; SENDFILE_STEP_BYTES]);
    while at < to {
        let want = usize::try_from(to - at).unwrap_or(SENDFILE_STEP_BYTES).min(SENDFILE_STEP_BYTES);
        let before = at;
        let read = match (&mut copy, null) {
            (Some(buffer), _) => nix::sys::uio::pread(file, &mut buffer[..want], at).inspect(|n| at += *n as i64),
            (None, Some(null)) => sendfile64(null, file, Some(&mut at), want),
            (None, None) => Err(Errno::EINVAL),
        };
        match read {
            Ok(0) => return Ok(false),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::EINVAL | Errno::ENOSYS) if copy.is_none() => {
                at = before;
                copy = Some(vec![0; SENDFILE_STEP_BYTES]);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::block_on;
    use std::io::Write;
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    const MIB: u64 = READ_WINDOW_BYTES;

    fn file(len: u64) -> Source {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; len as usize]).unwrap();
        file.sync_all().unwrap();
        Arc::new(OwnedFd::from(file))
    }

    /// Without threads: nothing is done until `finish` does it.
    fn idle(ahead_bytes_max: u64) -> Arc<ReadAhead> {
        ReadAhead::start(0, ahead_bytes_max).0
    }

    fn asked(all: &ReadAhead, file: &Source, from: u64, to: u64) -> oneshot::Receiver<Result<(), Errno>> {
        let (sender, receiver) = oneshot::channel();
        all.ask(file, from, to, sender);
        receiver
    }

    #[test]
    fn those_who_want_the_same_window_share_one_read() {
        let (all, file) = (idle(0), file(10));
        let mut first = asked(&all, &file, 100, 5000);
        let mut second = asked(&all, &file, 50, 400);
        let mut other = asked(&all, &file, MIB, MIB + 10);
        let (window, _, from, to) = all.next();
        assert_eq!((window.index, from, to), (0, 50, 5000), "one read for both, of all that they want");
        let mut late = asked(&all, &file, 0, MIB);
        assert_eq!(all.next().0.index, 1, "the window that runs is not begun again");
        assert!(all.is_in_work(&file, 0, 60) && !all.is_in_work(&file, 0, 50) && all.is_in_work(&file, 5000, MIB + 1));
        let job = all.lock().jobs.remove(&window).unwrap();
        job.waiting.into_iter().for_each(|w| w.send(Ok(())).unwrap());
        for receiver in [&mut first, &mut second, &mut late] {
            assert_eq!(receiver.try_recv().unwrap(), Some(Ok(())));
        }
        assert_eq!(other.try_recv().unwrap(), None);
    }

    #[test]
    fn what_is_asked_for_goes_before_what_is_read_ahead_and_that_has_a_budget() {
        let (all, file) = (idle(3 * MIB), file(10));
        assert_eq!(all.ahead(&file, MIB / 2, 9 * MIB), 3 * MIB - MIB / 2, "as far as the budget goes, in whole windows");
        assert_eq!(all.ahead(&file, MIB, 2 * MIB), 0, "in work already");
        let _wanted = asked(&all, &file, 2 * MIB, 2 * MIB + 5);
        assert_eq!(all.next().0.index, 2);
        assert_eq!(all.next().0.index, 0);
        assert_eq!(all.next().0.index, 1);
        assert!(all.lock().ahead.pop_front().is_some(), "the third was named twice");
    }

    #[test]
    fn threads_read_and_answer_and_the_end_of_the_file_is_no_error() {
        let (all, started) = ReadAhead::start(2, 4 * MIB);
        started.unwrap();
        let file = file(3 * MIB / 2);
        posix_fadvise(file.as_fd(), 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
        block_on(async {
            all.bring_in(&file, 0, 4 * MIB).await.unwrap();
            all.bring_in(&file, MIB, 4 * MIB).await.unwrap();
            all.bring_in(&file, 3 * MIB, 4 * MIB).await.unwrap();
        });
        assert!(!all.is_in_work(&file, 0, 4 * MIB));
        if let Ok(resident) = sys::is_resident(file.as_fd(), 0, 3 * MIB / 2) {
            assert!(resident);
        }
        assert_eq!(all.lock().ahead_bytes, 0);
    }

    #[test]
    fn a_piece_waits_for_the_journal_but_not_for_ever() {
        let looks = std::cell::Cell::new(3_usize);
        let mut patience = Patience::new(Instant::now() + Duration::from_secs(600));
        give_way(|| looks.replace(looks.get().wrapping_sub(1)), &mut patience);
        assert_eq!(looks.get(), usize::MAX, "it goes on as soon as no write is in flight");
        let began = Instant::now();
        let mut patience = Patience::new(began + Duration::from_millis(5));
        give_way(|| 1, &mut patience);
        assert!(began.elapsed() >= Duration::from_millis(5));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_an_error_for_all_who_wait() {
        let (all, started) = ReadAhead::start(1, 0);
        started.unwrap();
        let directory: Source = Arc::new(OwnedFd::from(File::open("/proc").unwrap()));
        assert!(block_on(all.bring_in(&directory, 0, 10)).is_err());
    }
}
