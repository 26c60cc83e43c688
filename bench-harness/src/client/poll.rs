//! `Poll`: epoll with a timer of nanoseconds, and the choice between sleeping and spinning.
//!
//! Asleep until a deadline costs a wake-up (5 to 60 us late, more when the CPU sleeps deeply) and no CPU. Spinning asks epoll without waiting,
//! about 0.3 us of CPU per turn: exact, and a whole CPU for as long. `spin_us` is how long before each deadline spinning begins, at least: where
//! wake-ups turn out later than that it begins so much earlier that one in 200 is missed, up to ten times `spin_us` and four fifths of the wait.

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
/// Most that spinning begins earlier than asked for, as a multiple.
const MARGIN_MAX: u64 = 10;
/// Most of a wait that is spent spinning where more was not asked for, as a fraction. The rest is slept, so that what else has to run on the CPU can:
/// the kernel's own threads beside one of realtime priority, which it would hold back for 50 ms of each second if it left less than a twentieth.
const SPIN_SHARE: (u64, u64) = (4, 5);
/// Wake-ups of which one may come too late for spinning.
const MISSED_OF: u64 = 200;

/// How long before a deadline to wake up: follows the wake-ups' own lateness, of which all but one in [`MISSED_OF`] fit in. Pure.
#[derive(Clone, Copy, Debug)]
struct Margin {
    least_ns: u64,
    now_ns: u64,
}

impl Margin {
    fn new(least_ns: u64) -> Margin {
        Margin { least_ns, now_ns: least_ns }
    }

    /// Before a deadline that is `wait_ns` away: never all of the wait, or the thread would keep its CPU for good.
    fn before(self, wait_ns: u64) -> u64 {
        self.now_ns.min(self.least_ns.max(wait_ns / SPIN_SHARE.1 * SPIN_SHARE.0))
    }

    /// A wake-up came `late_ns` after it was asked for. Steps up and down in the proportion that balances at the share that is missed.
    fn learn(&mut self, late_ns: u64) {
        let step = self.least_ns / 2;
        self.now_ns = if late_ns > self.now_ns {
            (self.now_ns + step).min(self.least_ns.saturating_mul(MARGIN_MAX))
        } else {
            self.now_ns.saturating_sub(step / MISSED_OF).max(self.least_ns)
        };
    }
}

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
    margin: Margin,
    /// The deadline waited for, and when to wake up for it.
    aim: (u64, u64),
    /// The last time it was held up, from and to, and how long all of them were together.
    held_up: (u64, u64),
    held_up_ns: u64,
    events: Vec<EpollEvent>,
}

impl Poll {
    /// A poll that spins for the last `spin_ns` before a deadline, longer where wake-ups are late; never for 0.
    pub fn new(spin_ns: u64) -> io::Result<Poll> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        epoll.add(timer.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, TIMER))?;
        Ok(Poll {
            epoll,
            timer,
            armed_for: 0,
            margin: Margin::new(spin_ns),
            aim: (0, 0),
            held_up: (0, 0),
            held_up_ns: 0,
            events: vec![EpollEvent::empty(); EVENTS],
        })
    }

    /// Watches a socket, by edges: read and write until it would block. Closing it ends that.
    pub fn watch(&self, socket: impl AsFd, token: u64) -> io::Result<()> {
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        Ok(self.epoll.add(socket, EpollEvent::new(flags, token))?)
    }

    /// Waits until something happens or `deadline_ns` has come; what happened goes to `ready`. True if it slept rather than spun.
    pub fn wait(&mut self, deadline_ns: u64, ready: &mut Vec<Ready>) -> io::Result<bool> {
        ready.clear();
        let now = now_ns();
        // Decided once per deadline: looked at again while the wait gets shorter it would be a reason to sleep again and again.
        if self.aim.0 != deadline_ns {
            self.aim = (deadline_ns, deadline_ns.saturating_sub(self.margin.before(deadline_ns.saturating_sub(now))));
        }
        let sleep_until = self.aim.1;
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
        let woken = now_ns();
        self.note_pause(if asleep { sleep_until } else { now }, woken);
        if asleep && woken >= sleep_until {
            self.margin.learn(woken - sleep_until);
        }
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

    /// Nanoseconds before a deadline that it wakes up at now.
    pub fn margin_ns(&self) -> u64 {
        self.margin.now_ns
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
    fn spinning_begins_earlier_where_wake_ups_are_late_and_comes_back() {
        let mut margin = Margin::new(50_000);
        assert_eq!((margin.before(200_000), margin.before(1_000_000)), (50_000, 50_000));
        // Three in a hundred wake-ups are 120 us late.
        for i in 0..20_000 {
            margin.learn(if i % 100 < 3 { 120_000 } else { 4_000 });
        }
        assert!((110_000..150_000).contains(&margin.now_ns), "{margin:?}");
        assert_eq!(margin.before(120_000), 96_000, "it sleeps for a fifth of each wait");
        (0..100_000).for_each(|_| margin.learn(4_000));
        assert_eq!(margin.now_ns, 50_000, "no longer than asked for once they come in time");
        (0..100_000).for_each(|_| margin.learn(10_000_000));
        assert_eq!(margin.now_ns, 500_000, "and there is an end to it");
        let mut none = Margin::new(0);
        (0..1_000).for_each(|_| none.learn(10_000_000));
        assert_eq!(none.before(1_000_000), 0, "whoever asked for no spinning gets none");
    }

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
