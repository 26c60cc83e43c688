//! Waits of the executor: for time, leaving nothing behind however often it is polled, and for no time at all, by way of the reactor.

use std::future::Future;
use std::io::{self, PipeReader};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use glommio::io::PollableFd;
use glommio::timer::Timer;

/// So that a time can be told at all.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Ends when a time has passed: at once when there is none to wait, otherwise up to some milliseconds later than asked, never sooner.
///
/// Must be polled on an executor of glommio. It has a new timer for each poll: the executor would keep the old ones until their time, and
/// look at each of them on every turn.
pub struct Sleep {
    until: Instant,
    timer: Option<Timer>,
}

impl Sleep {
    /// Ends `duration` from now; what lies further than a hundred years is taken as that.
    #[must_use]
    pub fn new(duration: Duration) -> Sleep {
        Sleep { until: Instant::now() + duration.min(LONGEST), timer: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            self.timer = None;
            return Poll::Ready(());
        }
        // The executor drops what is less than a millisecond; a timer that is early would make it spin.
        let mut timer = Timer::new(left + Duration::from_millis(1));
        let polled = Pin::new(&mut timer).poll(cx).map(drop);
        self.timer = Some(timer);
        polled
    }
}

/// Gives way so that the reactor looks at its rings and the other queues have their turn.
///
/// Merely yielding would not do: a shard's preempt timer never fires, so the executor runs whatever is runnable in the task's own queue, the
/// yielding task among it, before anything else; completions of the disk and the other queues would wait until the loop ends.
#[derive(Debug)]
pub struct ReactorTurn {
    /// The reading end of a pipe whose writing end is closed: always ready, so waiting for it is one trip through the reactor.
    ready: PollableFd<PipeReader>,
}

impl ReactorTurn {
    /// For the executor this runs on. Holds one descriptor.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn new() -> io::Result<ReactorTurn> {
        let (reader, writer) = io::pipe()?;
        drop(writer);
        Ok(ReactorTurn { ready: PollableFd::new(reader).map_err(io::Error::from)? })
    }

    /// Takes the turn.
    pub async fn take(&self) {
        // A failed poll still went through the reactor.
        drop(self.ready.readable().await);
    }
}
