//! A bounded channel from many senders to one receiver, all on one thread.
//!
//! A full channel makes senders wait; nothing is dropped. Waiting futures may be dropped at any time.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use openraft::OptionalSend;
use openraft_rt::{Mpsc, MpscReceiver, MpscSender, MpscWeakSender, SendError, TryRecvError};

/// The channels of this file.
pub struct LocalMpsc;

impl Mpsc for LocalMpsc {
    type Sender<T: OptionalSend> = Sender<T>;
    type Receiver<T: OptionalSend> = Receiver<T>;
    type WeakSender<T: OptionalSend> = WeakSender<T>;

    fn channel<T: OptionalSend>(buffer: usize) -> (Sender<T>, Receiver<T>) {
        let state = Rc::new(RefCell::new(State {
            queue: VecDeque::new(),
            capacity: buffer.max(1),
            senders: 1,
            receiver_alive: true,
            receiver_waker: None,
            waiting: BTreeMap::new(),
            next_wait: 0,
        }));
        (Sender { state: Rc::clone(&state) }, Receiver { state })
    }
}

struct State<T> {
    queue: VecDeque<T>,
    capacity: usize,
    senders: usize,
    receiver_alive: bool,
    receiver_waker: Option<Waker>,
    /// Senders that wait for room, in the order in which they came. Bounded by the number of live send futures.
    waiting: BTreeMap<u64, Waker>,
    next_wait: u64,
}

impl<T> State<T> {
    /// Every waiter is woken: the first one polled takes the room, the others wait again under their old number.
    fn take_waiting(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.waiting).into_values().collect()
    }
}

/// A sending half; the channel closes when the last one is dropped.
pub struct Sender<T> {
    state: Rc<RefCell<State<T>>>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.state.borrow_mut().senders += 1;
        Sender { state: Rc::clone(&self.state) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let waker = {
            let mut state = self.state.borrow_mut();
            state.senders -= 1;
            if state.senders == 0 { state.receiver_waker.take() } else { None }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T: OptionalSend> MpscSender<LocalMpsc, T> for Sender<T> {
    fn send(&self, message: T) -> impl Future<Output = Result<(), SendError<T>>> {
        SendFuture { state: Rc::clone(&self.state), message: Some(message), wait: None }
    }

    fn downgrade(&self) -> WeakSender<T> {
        WeakSender { state: Rc::clone(&self.state) }
    }
}

struct SendFuture<T> {
    state: Rc<RefCell<State<T>>>,
    message: Option<T>,
    wait: Option<u64>,
}

impl<T> Unpin for SendFuture<T> {}

impl<T> Future for SendFuture<T> {
    type Output = Result<(), SendError<T>>;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let message = this.message.take().expect("a send future is not polled after it was ready");
        let waker = {
            let mut state = this.state.borrow_mut();
            if !state.receiver_alive {
                return Poll::Ready(Err(SendError(message)));
            }
            if state.queue.len() >= state.capacity {
                let number = *this.wait.get_or_insert_with(|| {
                    state.next_wait += 1;
                    state.next_wait
                });
                state.waiting.insert(number, cx.waker().clone());
                this.message = Some(message);
                return Poll::Pending;
            }
            state.queue.push_back(message);
            state.receiver_waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T> Drop for SendFuture<T> {
    fn drop(&mut self) {
        if let Some(number) = self.wait {
            self.state.borrow_mut().waiting.remove(&number);
        }
    }
}

/// The receiving half.
pub struct Receiver<T> {
    state: Rc<RefCell<State<T>>>,
}

impl<T> Receiver<T> {
    fn take(&mut self) -> Result<T, TryRecvError> {
        let (message, wakers) = {
            let mut state = self.state.borrow_mut();
            match state.queue.pop_front() {
                Some(message) => (message, state.take_waiting()),
                None if state.senders == 0 => return Err(TryRecvError::Disconnected),
                None => return Err(TryRecvError::Empty),
            }
        };
        wakers.into_iter().for_each(Waker::wake);
        Ok(message)
    }
}

impl<T: OptionalSend> MpscReceiver<T> for Receiver<T> {
    fn recv(&mut self) -> impl Future<Output = Option<T>> {
        std::future::poll_fn(move |cx| match self.take() {
            Ok(message) => Poll::Ready(Some(message)),
            Err(TryRecvError::Disconnected) => Poll::Ready(None),
            Err(TryRecvError::Empty) => {
                self.state.borrow_mut().receiver_waker = Some(cx.waker().clone());
                Poll::Pending
            }
        })
    }

    fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.take()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let (wakers, queue) = {
            let mut state = self.state.borrow_mut();
            state.receiver_alive = false;
            (state.take_waiting(), std::mem::take(&mut state.queue))
        };
        wakers.into_iter().for_each(Waker::wake);
        // Messages may hold senders of this very channel: dropped outside the borrow.
        drop(queue);
    }
}

/// A sender that does not keep the channel open.
pub struct WeakSender<T> {
    state: Rc<RefCell<State<T>>>,
}

impl<T> Clone for WeakSender<T> {
    fn clone(&self) -> Self {
        WeakSender { state: Rc::clone(&self.state) }
    }
}

impl<T: OptionalSend> MpscWeakSender<LocalMpsc, T> for WeakSender<T> {
    fn upgrade(&self) -> Option<Sender<T>> {
        let mut state = self.state.borrow_mut();
        if state.senders == 0 {
            return None;
        }
        state.senders += 1;
        drop(state);
        Some(Sender { state: Rc::clone(&self.state) })
    }
}
