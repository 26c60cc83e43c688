//! Runs the group coordinator on its shard: loads it from `__consumer_offsets`, appends its records, parks answers until they are durable.
//!
//! One event, one `apply`; nothing in it waits. Around the machine: a table of callers by token, the timers, one queue of writes per
//! partition. Writes that wait for the same partition share a batch, and one batch of a partition is under way at a time, so the
//! machine hears of its writes in log order. Callers: `client`, the shell (which spawns [`GroupDriver::run`]).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use coreline_wire::TopicId;
use coreline_wire::error_code::ErrorCode;
use futures_channel::oneshot;
use futures_util::future::Either;
use hashbrown::HashMap;

use super::batch::{self, Encoded, Skipped};
use super::client::GroupTransport;
use super::cluster::ClusterChange;
use super::config::GroupConfig;
use super::group::{Action, DeletedTopic, Event, GroupCoordinator, Search, Token, WriteId};
use super::record::Record;
use super::request::{GroupRequest, GroupResponse};
use super::timer::TimerSet;
use super::{LocalFuture, OffsetsLog, Runtime};

/// The group coordinator of this node. Lives on shard 0; clones are handles to the same one.
pub struct GroupDriver<L: OffsetsLog, R: Runtime> {
    inner: Rc<Inner<L, R>>,
}

impl<L: OffsetsLog, R: Runtime> Clone for GroupDriver<L, R> {
    fn clone(&self) -> Self {
        GroupDriver { inner: self.inner.clone() }
    }
}

struct Inner<L, R> {
    config: GroupConfig,
    log: L,
    runtime: R,
    machine: RefCell<GroupCoordinator>,
    callers: RefCell<HashMap<Token, oneshot::Sender<GroupResponse>>>,
    next_token: Cell<u64>,
    timers: RefCell<TimerSet>,
    /// When the timer loop wakes by itself; an earlier deadline wakes it.
    sleeps_until: Cell<Option<i64>>,
    timer_loop: RefCell<Option<Waker>>,
    disturbed: Cell<bool>,
    /// Writes by partition; a partition with an entry has a writer task.
    queues: RefCell<BTreeMap<i32, VecDeque<Queued>>>,
    /// Who waits for the topic to be created; a task creates it while this is not empty.
    locating: RefCell<Vec<oneshot::Sender<ErrorCode>>>,
    stopped: Cell<bool>,
}

/// A write that waits for its batch.
struct Queued {
    write: WriteId,
    records: Rc<Vec<Record>>,
    /// When it was decided, in ticks.
    since_ms: i64,
}

/// Deadlines nearer than this wait for it, so that many of them share one wake-up.
const TIMER_STEP: Duration = Duration::from_millis(10);
/// Expired timers handled before the loop gives way.
const TIMERS_PER_TURN: usize = 128;
/// Partitions that are loaded beside each other.
const LOADERS: usize = 8;
/// How long the first question for the coordinator waits for the partitions to be loaded.
const LOCATE_WAIT_MAX: Duration = Duration::from_secs(2);
/// The longest wait between two attempts to read the log.
const LOAD_RETRY_MAX: Duration = Duration::from_secs(30);

impl<L: OffsetsLog, R: Runtime> GroupDriver<L, R> {
    /// A coordinator that has loaded nothing yet.
    pub fn new(config: GroupConfig, log: L, runtime: R) -> Self {
        let machine = RefCell::new(GroupCoordinator::new(config.clone()));
        GroupDriver {
            inner: Rc::new(Inner {
                config,
                log,
                runtime,
                machine,
                callers: RefCell::default(),
                next_token: Cell::new(0),
                timers: RefCell::default(),
                sleeps_until: Cell::new(None),
                timer_loop: RefCell::new(None),
                disturbed: Cell::new(false),
                queues: RefCell::default(),
                locating: RefCell::default(),
                stopped: Cell::new(false),
            }),
        }
    }

    /// Loads what is in the log, if the topic exists, and fires timers until [`GroupDriver::stop`]. The shell spawns it once.
    pub async fn run(&self) {
        self.inner.find_existing().await;
        self.inner.fire_timers().await;
    }

    /// Ends [`GroupDriver::run`] and refuses everything from now on, parked requests included, with `COORDINATOR_NOT_AVAILABLE`.
    pub fn stop(&self) {
        self.inner.stopped.set(true);
        self.inner.callers.borrow_mut().clear();
        self.inner.locating.borrow_mut().clear();
        self.inner.disturb();
    }

    /// Topics were deleted: what groups committed for them goes, a partition of the offsets topic after the other.
    pub fn topics_deleted(&self, topics: impl Iterator<Item = (String, TopicId)>) {
        let topics: Rc<[DeletedTopic]> = topics.map(|(name, id)| DeletedTopic { name, id }).collect();
        if topics.is_empty() {
            return;
        }
        let inner = self.inner.clone();
        self.inner.runtime.spawn(Box::pin(async move {
            let partitions = inner.machine.borrow().partition_count() as i32;
            for partition in 0..partitions {
                inner.apply(Event::TopicsDeleted { partition, topics: topics.clone() });
                inner.runtime.sleep(Duration::ZERO).await;
            }
        }));
    }

    /// Topics, or the settings of groups, are not what they were.
    pub fn publish(&self, change: ClusterChange) {
        self.inner.apply(Event::Published(change));
    }

    /// Looks at the machine, for tests. `look` must not call the driver.
    pub fn inspect<T>(&self, look: impl FnOnce(&GroupCoordinator) -> T) -> T {
        look(&self.inner.machine.borrow())
    }
}

impl<L: OffsetsLog, R: Runtime> GroupTransport for GroupDriver<L, R> {
    fn call(&self, request: GroupRequest) -> LocalFuture<'static, Result<GroupResponse, ErrorCode>> {
        let inner = self.inner.clone();
        Box::pin(async move {
            if inner.stopped.get() {
                return Err(ErrorCode::CoordinatorNotAvailable);
            }
            if request == GroupRequest::Locate {
                return Ok(GroupResponse::Located(inner.locate().await));
            }
            let token = Token(inner.next_token.replace(inner.next_token.get() + 1));
            let group_id = request.group_id().unwrap_or_default().to_owned();
            let (caller, answer) = oneshot::channel();
            inner.callers.borrow_mut().insert(token, caller);
            let mut guard = CallGuard { inner: Rc::downgrade(&inner), token, group_id, waits: true };
            let nonce = inner.runtime.random();
            inner.apply(Event::Request { token, request, nonce });
            let answer = answer.await;
            guard.waits = false;
            answer.map_err(|_| ErrorCode::CoordinatorNotAvailable)
        })
    }
}

/// Tells the machine when a caller goes away before it has its answer.
struct CallGuard<L: OffsetsLog, R: Runtime> {
    inner: Weak<Inner<L, R>>,
    token: Token,
    group_id: String,
    waits: bool,
}

impl<L: OffsetsLog, R: Runtime> Drop for CallGuard<L, R> {
    fn drop(&mut self) {
        if let (true, Some(inner)) = (self.waits, self.inner.upgrade()) {
            inner.callers.borrow_mut().remove(&self.token);
            inner.apply(Event::Cancelled { token: self.token, group_id: std::mem::take(&mut self.group_id) });
        }
    }
}

impl<L: OffsetsLog, R: Runtime> Inner<L, R> {
    /// One event into the machine, its actions out. Never waits.
    fn apply(self: &Rc<Self>, event: Event) {
        let actions = self.machine.borrow_mut().apply(event, self.runtime.now());
        for action in actions {
            match action {
                Action::Answer(token, response) => {
                    let caller = self.callers.borrow_mut().remove(&token);
                    // A caller that is gone was cancelled, or its answer came with the cancellation.
                    if let Some(caller) = caller {
                        let _ = caller.send(response);
                    }
                }
                Action::Append { write, partition, records } => self.enqueue(write, partition, records),
                Action::SetTimer(timer, at_ms) => {
                    self.timers.borrow_mut().set(timer, at_ms);
                    if self.sleeps_until.get().is_none_or(|until| at_ms < until) {
                        self.disturb();
                    }
                }
                Action::ClearTimer(timer) => self.timers.borrow_mut().clear(&timer),
                Action::Search(search) => {
                    let inner = self.clone();
                    self.runtime.spawn(Box::pin(async move { inner.search(search).await }));
                }
            }
        }
    }

    /// Searches topic names piece by piece: there may be many, and the shard has other work.
    async fn search(self: Rc<Self>, mut search: Search) {
        while search.step() {
            self.runtime.sleep(Duration::ZERO).await;
        }
        let (pattern, version) = (search.pattern.clone(), search.version);
        self.apply(Event::Searched { pattern, version, found: search.found() });
    }

    fn enqueue(self: &Rc<Self>, write: WriteId, partition: i32, records: Rc<Vec<Record>>) {
        let mut queues = self.queues.borrow_mut();
        let has_writer = queues.contains_key(&partition);
        queues.entry(partition).or_default().push_back(Queued { write, records, since_ms: self.runtime.now().ticks_ms });
        if !has_writer {
            let inner = self.clone();
            self.runtime.spawn(Box::pin(async move { inner.write(partition).await }));
        }
    }

    /// Appends what waits for a partition, batch by batch, until nothing does.
    async fn write(self: Rc<Self>, partition: i32) {
        while let Some((writes, records)) = self.next_batch(partition) {
            if records.is_empty() {
                continue;
            }
            let outcome = match batch::encode(&records, self.config.compression, self.runtime.now().wall_ms) {
                Ok(batch) => self.watch(partition, &writes, self.log.append(partition, batch)).await.map(|_| ()),
                Err(error) => {
                    tracing::error!(partition, %error, "a batch of the offsets topic does not encode");
                    Err(ErrorCode::UnknownServerError)
                }
            };
            if let Err(error) = outcome {
                tracing::warn!(partition, %error, writes = writes.len(), "an append to the offsets topic failed");
            }
            for (write, _) in writes {
                self.apply(match outcome {
                    Ok(()) => Event::Appended(write),
                    Err(error) => Event::AppendFailed(write, error),
                });
            }
        }
    }

    /// Waits for an append, however long it takes: only its outcome says what the log holds. Whose write is not durable in time is told meanwhile, first
    /// of `writes`, which are in the append, then of what waits behind them.
    async fn watch<T>(self: &Rc<Self>, partition: i32, writes: &[(WriteId, i64)], append: impl Future<Output = T>) -> T {
        let mut append = std::pin::pin!(append);
        let timeout_ms = self.config.write_timeout_ms;
        // So many of them were told. Nothing but this writer takes writes off the queue, so that they keep their places.
        let mut told = 0;
        loop {
            let now_ms = self.runtime.now().ticks_ms;
            let (overdue, next_ms) = self.look_for_overdue(partition, writes, told, now_ms);
            if told == 0 && !overdue.is_empty() {
                tracing::warn!(
                    partition,
                    timeout_ms,
                    "an append to the offsets topic is not durable in time; who waits for it is told to come again"
                );
            }
            told += overdue.len();
            for write in overdue {
                self.apply(Event::Overdue(write));
            }
            let wait = Duration::from_millis(u64::try_from(next_ms.saturating_sub(now_ms)).unwrap_or(0)).max(TIMER_STEP);
            match futures_util::future::select(append.as_mut(), self.runtime.sleep(wait)).await {
                Either::Left((outcome, _)) => return outcome,
                Either::Right(_) => {}
            }
        }
    }

    /// Which of the writes to a partition are not durable in time, behind the first `told` of them; and when to look again.
    fn look_for_overdue(&self, partition: i32, writes: &[(WriteId, i64)], told: usize, now_ms: i64) -> (Vec<WriteId>, i64) {
        let timeout_ms = self.config.write_timeout_ms;
        let queues = self.queues.borrow();
        let queued = queues.get(&partition).into_iter().flatten().map(|queued| (queued.write, queued.since_ms));
        let mut waiting = writes.iter().copied().chain(queued).skip(told).peekable();
        let mut overdue = Vec::new();
        while let Some((write, _)) = waiting.next_if(|(_, since_ms)| since_ms.saturating_add(timeout_ms) <= now_ms) {
            overdue.push(write);
        }
        let oldest_ms = waiting.peek().map_or(now_ms, |(_, since_ms)| *since_ms);
        (overdue, oldest_ms.saturating_add(timeout_ms))
    }

    /// The writes that go into the next batch, with the time since when they wait, and their records. Ends the writer when there are none.
    fn next_batch(self: &Rc<Self>, partition: i32) -> Option<(Vec<(WriteId, i64)>, Vec<Encoded>)> {
        let mut queues = self.queues.borrow_mut();
        let queue = queues.get_mut(&partition)?;
        if queue.is_empty() {
            queues.remove(&partition);
            return None;
        }
        let (mut writes, mut encoded, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut failed = Vec::new();
        while let Some(queued) = queue.pop_front() {
            let Queued { write, records, since_ms } = &queued;
            let Ok(mut one) = records.iter().map(Record::encode).collect::<Result<Vec<Encoded>, _>>() else {
                failed.push(*write);
                continue;
            };
            let one_bytes: usize = one.iter().map(batch::size_bytes).sum();
            if bytes > 0 && bytes + one_bytes > self.config.append_batch_max_bytes {
                queue.push_front(queued);
                break;
            }
            bytes += one_bytes;
            writes.push((*write, *since_ms));
            encoded.append(&mut one);
        }
        drop(queues);
        for write in failed {
            self.apply(Event::AppendFailed(write, ErrorCode::UnknownServerError));
        }
        Some((writes, encoded))
    }

    /// Is there a topic to coordinate on? Creates it on first use; callers that come meanwhile wait for the same attempt.
    async fn locate(self: &Rc<Self>) -> ErrorCode {
        if self.machine.borrow().partition_count() > 0 {
            return ErrorCode::None;
        }
        let (caller, answer) = oneshot::channel();
        let is_first = {
            let mut locating = self.locating.borrow_mut();
            locating.push(caller);
            locating.len() == 1
        };
        if is_first {
            let inner = self.clone();
            self.runtime.spawn(Box::pin(async move {
                let outcome = match inner.log.ensure_topic().await {
                    Ok(partitions) if partitions > 0 => {
                        // A new topic is loaded at once; who asks next should not be told that it is loading.
                        if let Some(loaded) = inner.found(partitions) {
                            futures_util::future::select(loaded, inner.runtime.sleep(LOCATE_WAIT_MAX)).await;
                        }
                        ErrorCode::None
                    }
                    Ok(_) => ErrorCode::CoordinatorNotAvailable,
                    Err(error) => {
                        tracing::warn!(%error, "the offsets topic could not be created");
                        ErrorCode::CoordinatorNotAvailable
                    }
                };
                for caller in inner.locating.take() {
                    let _ = caller.send(outcome);
                }
            }));
        }
        answer.await.unwrap_or(ErrorCode::CoordinatorNotAvailable)
    }

    /// At start: a topic that exists is loaded before anybody asks.
    async fn find_existing(self: &Rc<Self>) {
        let mut wait = self.config.load_retry;
        while !self.stopped.get() {
            match self.log.partition_count().await {
                Ok(Some(partitions)) => {
                    self.found(partitions);
                    return;
                }
                Ok(None) => return,
                Err(error) => tracing::warn!(%error, "the offsets topic could not be looked up"),
            }
            self.runtime.sleep(wait).await;
            wait = (wait * 2).min(LOAD_RETRY_MAX);
        }
    }

    /// Starts to load the partitions; what it gives ends when they are loaded. `None` when they are known already.
    fn found(self: &Rc<Self>, partitions: i32) -> Option<oneshot::Receiver<()>> {
        if self.machine.borrow().partition_count() > 0 || partitions <= 0 {
            return None;
        }
        self.apply(Event::TopicFound { partitions });
        let (done, loaded) = oneshot::channel();
        let inner = self.clone();
        self.runtime.spawn(Box::pin(async move {
            let next = Cell::new(0);
            let loader = || async {
                while next.get() < partitions {
                    inner.load(next.replace(next.get() + 1)).await;
                }
            };
            futures_util::future::join_all((0..LOADERS).map(|_| loader())).await;
            let groups = inner.machine.borrow().group_count();
            tracing::info!(partitions, groups, "the group coordinator is loaded");
            let _ = done.send(());
        }));
        Some(loaded)
    }

    /// Reads a partition to its end. A read that fails is tried again: half a partition would be wrong offsets.
    async fn load(self: &Rc<Self>, partition: i32) {
        let (mut from, mut wait, mut skipped) = (0, self.config.load_retry, Skipped::default());
        while !self.stopped.get() {
            match self.log.read(partition, from).await {
                Ok((batches, _)) if batches.is_empty() => {
                    if skipped != Skipped::default() {
                        tracing::warn!(partition, ?skipped, "records of the offsets topic were passed over");
                    }
                    self.forget_deleted_topics(partition);
                    return self.apply(Event::Loaded { partition });
                }
                Ok((batches, next)) if next > from => {
                    let mut records = Vec::new();
                    for batch in &batches {
                        if let Err(error) = batch::decode(batch, &mut records, &mut skipped) {
                            tracing::error!(partition, from, %error, "a batch of the offsets topic does not decode");
                            skipped.malformed += 1;
                        }
                    }
                    self.apply(Event::Load { partition, records });
                    from = next;
                    wait = self.config.load_retry;
                    continue;
                }
                Ok((_, next)) => tracing::error!(partition, from, next, "reading the offsets topic does not go on"),
                Err(error) => tracing::warn!(partition, from, %error, "the offsets topic could not be read; trying again"),
            }
            self.runtime.sleep(wait).await;
            wait = (wait * 2).min(LOAD_RETRY_MAX);
        }
    }

    /// Topics may have been deleted without their offsets having been removed: the process ended in between.
    fn forget_deleted_topics(self: &Rc<Self>, partition: i32) {
        let is_deleted = |id: TopicId| id != TopicId::ZERO && self.log.topic_was_deleted(id);
        let machine = self.machine.borrow();
        let deleted = machine.topics_of(partition).into_iter().filter(|(_, id)| is_deleted(*id));
        let topics: Rc<[DeletedTopic]> = deleted.map(|(name, id)| DeletedTopic { name: name.to_owned(), id }).collect();
        drop(machine);
        if !topics.is_empty() {
            self.apply(Event::TopicsDeleted { partition, topics });
        }
    }

    async fn fire_timers(self: &Rc<Self>) {
        while !self.stopped.get() {
            let mut fired = 0;
            while fired < TIMERS_PER_TURN && !self.stopped.get() {
                let due = self.timers.borrow_mut().pop_due(self.runtime.now().ticks_ms);
                let Some(timer) = due else { break };
                self.apply(Event::Expired(timer));
                fired += 1;
            }
            if fired == TIMERS_PER_TURN {
                self.runtime.sleep(Duration::ZERO).await;
                continue;
            }
            let next = self.timers.borrow().next();
            self.sleeps_until.set(next);
            match next {
                None => self.disturbance().await,
                Some(at_ms) => {
                    let wait_ms = at_ms.saturating_sub(self.runtime.now().ticks_ms);
                    let wait = Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0));
                    if !wait.is_zero() {
                        let sleep = self.runtime.sleep(wait.max(TIMER_STEP));
                        futures_util::future::select(sleep, std::pin::pin!(self.disturbance())).await;
                    }
                }
            }
        }
    }

    fn disturb(&self) {
        self.disturbed.set(true);
        if let Some(waker) = self.timer_loop.take() {
            waker.wake();
        }
    }

    fn disturbance(&self) -> impl Future<Output = ()> {
        poll_fn(|cx| {
            if self.disturbed.replace(false) {
                return Poll::Ready(());
            }
            self.timer_loop.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
    }
}

#[cfg(test)]
#[path = "driver_test.rs"]
mod tests;
