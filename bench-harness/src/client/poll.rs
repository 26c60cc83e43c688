//! `Poll`: epoll with a timer of nanoseconds, and the choice between sleeping and spinning.
//!
//! Asleep until a deadline costs a wake-up (5 to 60 us late, more when the CPU sleeps deeply) and no CPU. Spinning asks epoll without waiting,
//! about 0.3 us of CPU per turn: exact, and a whole CPU for as long. `spin_us` is how long before each deadline spinning begins.

use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::{TimeSpec, TimeValLike};
use nix::sys::timer::{Expiration, TimerSetTimeFlags};
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};

use crate::clock::now_ns;

/// Events taken at once; few, so that deadlines are looked at between them.
const EVENTS: usize = 32;
const TIMER: u64 = u64::MAX;
/// Nanoseconds from which on a pause counts as held up: a turn of spinning takes a few hundred.
const HELD_UP_NS: u64 = 5_000;

/// What happened on a connection.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// The token it was watched under.
    pub token: u64,
    /// There is something to read, or the end.
    pub readable: bool,
    /// Connected, or room to write.
    pub writable: bool,
}

/// A thread's poll.
#[derive(Debug)]
pub struct Poll {
    epoll: Epoll,
    timer: TimerFd,
    armed_for: u64,
    spin_ns: u64,
    /// The last time it was held up, from and to, and how long all of them were together.
    held_up: (u64, u64),
    held_up_ns: u64,
    events: Vec<EpollEvent>,
}

impl Poll {
    /// A poll that spins for the last `spin_ns` before a deadline.
    pub fn new(spin_ns: u64) -> io::Result<Poll> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        epoll.add(timer.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, TIMER))?;
        Ok(Poll { epoll, timer, armed_for: 0, spin_ns, held_up: (0, 0), held_up_ns: 0, events: vec![EpollEvent::empty(); EVENTS] })
    }

    /// Watches a socket, by edges: read and write until it would block. Closing it ends that.
    pub fn watch(&self, socket: impl AsFd, token: u64) -> io::Result<()> {
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        Ok(self.epoll.add(socket, EpollEvent::new(flags, token))?)
    }

    /// Waits until something happens or `deadline_ns` has come; what happened goes to `ready`. True if it slept rather than spun.
    pub fn wait(&mut self, deadline_ns: u64, ready: &mut Vec<Ready>) -> io::Result<bool> {
        ready.clear();
        let sleep_until = deadline_ns.saturating_sub(self.spin_ns);
        let now = now_ns();
        let asleep = sleep_until > now;
        let timeout = if asleep {
            if self.armed_for != sleep_until {
                let at = TimeSpec::nanoseconds(i64::try_from(sleep_until).unwrap_or(i64::MAX));
                self.timer.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
                self.armed_for = sleep_until;
            }
            EpollTimeout::NONE
        } else {
            EpollTimeout::ZERO
        };
        let n = match self.epoll.wait(&mut self.events, timeout) {
            Ok(n) => n,
            Err(Errno::EINTR) => 0,
            Err(e) => return Err(e.into()),
        };
        self.note_pause(if asleep { sleep_until } else { now }, now_ns());
        for event in self.events[..n].iter().filter(|e| e.data() != TIMER) {
            let flags = event.events();
            ready.push(Ready {
                token: event.data(),
                readable: flags.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR),
                writable: flags.intersects(EpollFlags::EPOLLOUT | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR),
            });
        }
        Ok(asleep)
    }

    /// A thread that asked to go on at `from` went on at `to`.
    fn note_pause(&mut self, from: u64, to: u64) {
        let length = to.saturating_sub(from);
        if length >= HELD_UP_NS {
            self.held_up = (from, to);
            self.held_up_ns += length;
        }
    }

    /// How much of the time from `from` to `to` the thread was held up: between when it asked to be woken, or last looked at the clock while
    /// spinning, and when it ran again. The kernel, other threads or the hypervisor had its CPU then. Only the last such pause is known.
    pub fn held_up(&self, from: u64, to: u64) -> u64 {
        self.held_up.1.min(to).saturating_sub(self.held_up.0.max(from))
    }

    /// Nanoseconds that it was held up since it was made.
    pub fn held_up_ns(&self) -> u64 {
        self.held_up_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_part_of_a_pause_that_was_waited_through_counts() {
        let mut poll = Poll::new(0).expect("a poll");
        poll.note_pause(10_000, 10_000 + HELD_UP_NS - 1);
        assert_eq!((poll.held_up(0, 100_000), poll.held_up_ns()), (0, 0), "a turn of the loop is no pause");
        poll.note_pause(100_000, 300_000);
        assert_eq!(poll.held_up(50_000, 310_000), 200_000, "due before it");
        assert_eq!(poll.held_up(250_000, 310_000), 50_000, "due in it");
        assert_eq!(poll.held_up(305_000, 310_000), 0, "due after it");
        assert_eq!(poll.held_up_ns(), 200_000);
        // Woken by an event long before the deadline: nothing was late.
        poll.note_pause(u64::MAX, 400_000);
        assert_eq!(poll.held_up_ns(), 200_000);
    }
}
