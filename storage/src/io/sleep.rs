//! A wait for time on the executor that leaves nothing behind, however often it is polled.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

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
