//! A channel of one value that many receivers watch, all on one thread: they see the latest value, not each one.

use std::cell::{Ref, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::{Poll, Waker};

use openraft::{OptionalSend, OptionalSync};
use openraft_rt::watch::{RecvError, SendError};
use openraft_rt::{Watch, WatchReceiver, WatchSender};

/// The channels of this file.
pub struct LocalWatch;

impl Watch for LocalWatch {
    type Sender<T: OptionalSend + OptionalSync> = Sender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = Receiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = Ref<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(init: T) -> (Sender<T>, Receiver<T>) {
        let shared = Rc::new(Shared {
            value: RefCell::new(init),
            state: RefCell::new(State { version: 0, senders: 1, receivers: 0, next_id: 0, waiting: BTreeMap::new() }),
        });
        let receiver = Receiver::new(&shared, 0);
        (Sender { shared }, receiver)
    }
}

struct Shared<T> {
    value: RefCell<T>,
    state: RefCell<State>,
}

struct State {
    /// Rises with each change.
    version: u64,
    senders: usize,
    receivers: usize,
    next_id: u64,
    /// At most one waker per receiver.
    waiting: BTreeMap<u64, Waker>,
}

impl<T> Shared<T> {
    fn wake_all(&self) {
        let waiting = std::mem::take(&mut self.state.borrow_mut().waiting);
        waiting.into_values().for_each(Waker::wake);
    }

    fn changed(&self) {
        self.state.borrow_mut().version += 1;
        self.wake_all();
    }
}

/// The sending half; the channel closes when the last one is dropped.
pub struct Sender<T> {
    shared: Rc<Shared<T>>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.state.borrow_mut().senders += 1;
        Sender { shared: Rc::clone(&self.shared) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let last = {
            let mut state = self.shared.state.borrow_mut();
            state.senders -= 1;
            state.senders == 0
        };
        if last {
            self.shared.wake_all();
        }
    }
}

impl<T: OptionalSend + OptionalSync> WatchSender<LocalWatch, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        if self.shared.state.borrow().receivers == 0 {
            return Err(SendError(value));
        }
        // The old value is dropped outside the borrow.
        let before = self.shared.value.replace(value);
        self.shared.changed();
        drop(before);
        Ok(())
    }

    fn send_if_modified<F: FnOnce(&mut T) -> bool>(&self, modify: F) -> bool {
        let modified = modify(&mut self.shared.value.borrow_mut());
        if modified {
            self.shared.changed();
        }
        modified
    }

    fn borrow_watched(&self) -> Ref<'_, T> {
        self.shared.value.borrow()
    }

    fn subscribe(&self) -> Receiver<T> {
        let version = self.shared.state.borrow().version;
        Receiver::new(&self.shared, version)
    }
}

/// A receiving half, with the version it has seen.
pub struct Receiver<T> {
    shared: Rc<Shared<T>>,
    id: u64,
    seen: u64,
}

impl<T> Receiver<T> {
    fn new(shared: &Rc<Shared<T>>, seen: u64) -> Self {
        let mut state = shared.state.borrow_mut();
        state.receivers += 1;
        state.next_id += 1;
        Receiver { shared: Rc::clone(shared), id: state.next_id, seen }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Receiver::new(&self.shared, self.seen)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.shared.state.borrow_mut();
        state.receivers -= 1;
        state.waiting.remove(&self.id);
    }
}

impl<T: OptionalSend + OptionalSync> WatchReceiver<LocalWatch, T> for Receiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        std::future::poll_fn(|cx| {
            let mut state = self.shared.state.borrow_mut();
            if state.version != self.seen {
                self.seen = state.version;
                return Poll::Ready(Ok(()));
            }
            if state.senders == 0 {
                return Poll::Ready(Err(RecvError(())));
            }
            state.waiting.insert(self.id, cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn borrow_watched(&self) -> Ref<'_, T> {
        self.shared.value.borrow()
    }

    fn borrow_and_update(&mut self) -> Ref<'_, T> {
        self.seen = self.shared.state.borrow().version;
        self.shared.value.borrow()
    }
}
