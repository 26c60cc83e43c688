//! Appends that wait for their journal frame, and who is told when it is there, a bounded number at a time.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use crate::io::Disk;
use crate::journal::Ticket;
use crate::log::LogInner;

/// Appends that are told of at once; of one frame's very many the others are told in later turns of the shard.
const TOLD_AT_ONCE: usize = 256;

/// An append that waits.
struct PendingAppend<D: Disk> {
    ticket: Ticket,
    log: Rc<LogInner<D>>,
    end_offset: i64,
}

/// Those that wait for the same of their frames: that they are durable, or that they are written. In the order of their frames.
pub(crate) struct Pending<D: Disk> {
    queue: RefCell<VecDeque<PendingAppend<D>>>,
    /// It is so for frames up to this one.
    reached: Cell<Ticket>,
}

impl<D: Disk> Default for Pending<D> {
    fn default() -> Self {
        Pending { queue: RefCell::default(), reached: Cell::new(Ticket(0)) }
    }
}

impl<D: Disk> Pending<D> {
    /// An append to a log, up to this offset, waits for this frame.
    pub(crate) fn push(&self, ticket: Ticket, log: &Rc<LogInner<D>>, end_offset: i64) {
        let mut queue = self.queue.borrow_mut();
        match queue.back_mut() {
            Some(last) if last.ticket == ticket && Rc::ptr_eq(&last.log, log) => last.end_offset = end_offset,
            _ => queue.push_back(PendingAppend { ticket, log: log.clone(), end_offset }),
        }
    }

    /// It is so for frames up to this one; `tell_some` tells.
    pub(crate) fn reached(&self, ticket: Ticket) {
        self.reached.set(ticket);
    }

    /// Tells the logs of the oldest appends whose frames are there, each once and with the last of its ends. True when some are left.
    pub(crate) fn tell_some(&self, tell: impl Fn(&Rc<LogInner<D>>, i64)) -> bool {
        let reached = self.reached.get();
        let mut advanced: Vec<Rc<LogInner<D>>> = Vec::new();
        {
            let mut queue = self.queue.borrow_mut();
            for _ in 0..TOLD_AT_ONCE {
                if queue.front().is_none_or(|front| front.ticket > reached) {
                    break;
                }
                let Some(done) = queue.pop_front() else { break };
                if done.log.completed_end.replace(Some(done.end_offset)).is_none() {
                    advanced.push(done.log);
                }
            }
        }
        for log in advanced {
            if let Some(end) = log.completed_end.take() {
                tell(&log, end);
            }
        }
        self.queue.borrow().front().is_some_and(|front| front.ticket <= reached)
    }

    /// Nobody is told any more.
    pub(crate) fn clear(&self) {
        self.queue.borrow_mut().clear();
    }
}
