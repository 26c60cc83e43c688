//! The consensus library's runtime over the glommio executor: tasks, time, randomness and channels, all of one thread.
//!
//! A task that panics does not unwind the executor: its join handle says so, and the library then reports itself as failed, which
//! the quorum's driver turns into the end of the process. Channels are ours (`mpsc`, `watch`), since the library's would be tokio's.
//! Caller: `quorum/types.rs`; the library's own runtime suite runs over it as a test.

mod mpsc;
mod watch;

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use coreline_storage::io::Sleep;
use futures_util::FutureExt;
use openraft::OptionalSend;
use openraft_rt::{AsyncRuntime, Mutex, Oneshot, OneshotSender};

/// The runtime. Holds an executor only in tests; in the broker the library runs inside the metadata shard's.
pub struct GlommioRuntime {
    executor: glommio::LocalExecutor,
}

impl AsyncRuntime for GlommioRuntime {
    type JoinError = JoinError;
    type JoinHandle<T: OptionalSend + 'static> = JoinHandle<T>;
    type Sleep = Sleep;
    type Instant = Instant;
    type TimeoutError = Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = Timeout<T>;
    type ThreadLocalRng = rand::rngs::ThreadRng;
    type Mpsc = mpsc::LocalMpsc;
    type Watch = watch::LocalWatch;
    type Oneshot = LocalOneshot;
    type Mutex<T: OptionalSend + 'static> = LocalMutex<T>;

    fn spawn<T>(future: T) -> JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        let guarded = AssertUnwindSafe(future).catch_unwind();
        JoinHandle { task: Box::pin(glommio::spawn_local(guarded).detach()) }
    }

    fn sleep(duration: Duration) -> Sleep {
        Sleep::new(duration)
    }

    fn sleep_until(deadline: Instant) -> Sleep {
        Self::sleep(deadline.saturating_duration_since(Instant::now()))
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Timeout<F> {
        Timeout { sleep: Self::sleep(duration), future: Box::pin(future) }
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Instant, future: F) -> Timeout<F> {
        Self::timeout(deadline.saturating_duration_since(Instant::now()), future)
    }

    fn is_panic(error: &JoinError) -> bool {
        matches!(error, JoinError::Panicked(_))
    }

    fn thread_rng() -> rand::rngs::ThreadRng {
        rand::rng()
    }

    fn new(_threads: usize) -> Self {
        let executor = glommio::LocalExecutorBuilder::default()
            .ring_depth(32)
            .io_memory(64 * 1024)
            .make()
            .expect("a test's executor needs io_uring and locked memory");
        GlommioRuntime { executor }
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.executor.run(future)
    }
}

impl fmt::Debug for GlommioRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GlommioRuntime")
    }
}

/// Why a task has no result.
#[derive(Debug)]
pub enum JoinError {
    /// It panicked, with this message.
    Panicked(String),
    /// It was cancelled.
    Cancelled,
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Panicked(message) => write!(f, "task panicked: {message}"),
            JoinError::Cancelled => f.write_str("task was cancelled"),
        }
    }
}

type Joined<T> = Option<Result<T, Box<dyn Any + Send>>>;

/// Awaits a spawned task. Dropping it leaves the task running.
pub struct JoinHandle<T> {
    task: Pin<Box<dyn Future<Output = Joined<T>>>>,
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.task.as_mut().poll(cx).map(|joined| match joined {
            Some(Ok(value)) => Ok(value),
            Some(Err(payload)) => Err(JoinError::Panicked(panic_message(payload.as_ref()))),
            None => Err(JoinError::Cancelled),
        })
    }
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

/// The deadline passed first.
#[derive(Debug)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deadline has elapsed")
    }
}

/// A future with a deadline.
pub struct Timeout<F> {
    sleep: Sleep,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // The future goes first, so that a result that is there wins over a deadline that is due.
        if let Poll::Ready(output) = self.future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        self.sleep.poll_unpin(cx).map(|()| Err(Elapsed))
    }
}

/// Channels of one value.
pub struct LocalOneshot;

/// The sending half of a channel of one value.
pub struct LocalOneshotSender<T>(futures_channel::oneshot::Sender<T>);

impl Oneshot for LocalOneshot {
    type Sender<T: OptionalSend> = LocalOneshotSender<T>;
    type Receiver<T: OptionalSend> = futures_channel::oneshot::Receiver<T>;
    type ReceiverError = futures_channel::oneshot::Canceled;

    fn channel<T: OptionalSend>() -> (Self::Sender<T>, Self::Receiver<T>) {
        let (sender, receiver) = futures_channel::oneshot::channel();
        (LocalOneshotSender(sender), receiver)
    }
}

impl<T: OptionalSend> OneshotSender<T> for LocalOneshotSender<T> {
    fn send(self, value: T) -> Result<(), T> {
        self.0.send(value)
    }
}

/// A lock that waits without blocking the thread.
pub struct LocalMutex<T>(futures_util::lock::Mutex<T>);

impl<T: OptionalSend + 'static> Mutex<T> for LocalMutex<T> {
    type Guard<'a> = futures_util::lock::MutexGuard<'a, T>;

    fn new(value: T) -> Self {
        LocalMutex(futures_util::lock::Mutex::new(value))
    }

    fn lock(&self) -> impl Future<Output = Self::Guard<'_>> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_s_runtime_suite_passes() {
        openraft_rt::testing::Suite::<GlommioRuntime>::test_all();
    }

    #[test]
    fn a_panic_in_a_task_stays_in_its_join_handle() {
        GlommioRuntime::run(async {
            let handle = GlommioRuntime::spawn(async { panic!("on purpose") });
            let error: JoinError = handle.await.expect_err("the task panicked");
            assert!(GlommioRuntime::is_panic(&error));
            assert_eq!(error.to_string(), "task panicked: on purpose");
            assert_eq!(GlommioRuntime::spawn(async { 7 }).await.ok(), Some(7), "the executor goes on");
        });
    }
}
