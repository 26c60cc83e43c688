//! Tests of the driver: a log in memory that can be slow or fail, time that moves when told to, one thread.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake};

use bytes::Bytes;
use coreline_wire::record::Compression;

use super::*;
use crate::coordinator::request::{
    FetchedOffset, JoinAnswer, JoinGroup, OffsetCommit, OffsetFetch, PartitionCommit, SyncGroup, TopicCommit,
};
use crate::coordinator::{GroupClient, Now, OffsetsLog, Runtime};

/// The topic that the metadata say was deleted.
const DELETED: TopicId = TopicId([0xdd; 16]);

/// Polls everything whenever anything was woken.
#[derive(Default)]
struct World {
    tasks: RefCell<Vec<LocalFuture<'static, ()>>>,
    woken: Arc<Flag>,
    now_ms: Cell<i64>,
    /// Times at which somebody wants to be woken.
    alarms: RefCell<Vec<i64>>,
    nonce: Cell<u8>,
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl World {
    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.tasks.borrow_mut().push(Box::pin(task));
        self.woken.0.store(true, Ordering::Relaxed);
    }

    /// Runs until nothing moves.
    fn settle(&self) {
        let waker = self.woken.clone().into();
        let mut rounds = 0;
        while self.woken.0.swap(false, Ordering::Relaxed) {
            rounds += 1;
            assert!(rounds < 10_000, "the tasks never come to rest");
            let mut tasks = self.tasks.take();
            tasks.retain_mut(|task| Pin::as_mut(task).poll(&mut Context::from_waker(&waker)).is_pending());
            self.tasks.borrow_mut().append(&mut tasks);
        }
    }

    /// Lets time pass, alarm by alarm.
    fn advance(&self, ms: i64) {
        let until = self.now_ms.get() + ms;
        self.settle();
        loop {
            let next = self.alarms.borrow().iter().copied().filter(|at_ms| *at_ms <= until).min();
            let Some(at_ms) = next else { break };
            self.alarms.borrow_mut().retain(|alarm| *alarm != at_ms);
            self.now_ms.set(at_ms.max(self.now_ms.get()));
            self.woken.0.store(true, Ordering::Relaxed);
            self.settle();
        }
        self.now_ms.set(until);
        self.woken.0.store(true, Ordering::Relaxed);
        self.settle();
    }
}

struct TestRuntime(Rc<World>);

impl Runtime for TestRuntime {
    fn now(&self) -> Now {
        Now { ticks_ms: self.0.now_ms.get(), wall_ms: 1_700_000_000_000 + self.0.now_ms.get() }
    }

    fn sleep(&self, duration: Duration) -> LocalFuture<'static, ()> {
        let world = self.0.clone();
        let at_ms = world.now_ms.get() + duration.as_millis() as i64;
        world.alarms.borrow_mut().push(at_ms);
        Box::pin(poll_fn(move |_| if world.now_ms.get() >= at_ms { Poll::Ready(()) } else { Poll::Pending }))
    }

    fn spawn(&self, task: LocalFuture<'static, ()>) {
        self.0.spawn(task);
    }

    fn random(&self) -> [u8; 16] {
        self.0.nonce.set(self.0.nonce.get() + 1);
        [self.0.nonce.get(); 16]
    }
}

/// A log in memory.
#[derive(Clone, Default)]
struct FakeLog(Rc<LogState>);

#[derive(Default)]
struct LogState {
    partitions: RefCell<Option<Vec<Vec<Bytes>>>>,
    ensured: Cell<usize>,
    refuse_topic: Cell<bool>,
    /// Outcomes of the next appends; success when there is none.
    append_errors: RefCell<VecDeque<ErrorCode>>,
    read_errors: RefCell<VecDeque<ErrorCode>>,
    held: Cell<bool>,
    held_reads: Cell<bool>,
}

const PARTITIONS: i32 = 3;

impl LogState {
    fn batches(&self) -> usize {
        self.partitions.borrow().iter().flatten().map(Vec::len).sum()
    }
}

impl OffsetsLog for FakeLog {
    fn topic_was_deleted(&self, id: TopicId) -> bool {
        id == DELETED
    }

    async fn partition_count(&self) -> Result<Option<i32>, ErrorCode> {
        Ok(self.0.partitions.borrow().as_ref().map(|partitions| partitions.len() as i32))
    }

    async fn ensure_topic(&self) -> Result<i32, ErrorCode> {
        self.0.ensured.set(self.0.ensured.get() + 1);
        if self.0.refuse_topic.get() {
            return Err(ErrorCode::InvalidReplicationFactor);
        }
        self.0.partitions.borrow_mut().get_or_insert_with(|| vec![Vec::new(); PARTITIONS as usize]);
        Ok(PARTITIONS)
    }

    async fn append(&self, partition: i32, batch: Bytes) -> Result<i64, ErrorCode> {
        poll_fn(|_| if self.0.held.get() { Poll::Pending } else { Poll::Ready(()) }).await;
        if let Some(error) = self.0.append_errors.borrow_mut().pop_front() {
            return Err(error);
        }
        let mut partitions = self.0.partitions.borrow_mut();
        let log = &mut partitions.as_mut().expect("the topic exists")[partition as usize];
        log.push(batch);
        Ok(log.len() as i64 - 1)
    }

    async fn read(&self, partition: i32, from: i64) -> Result<(Vec<Bytes>, i64), ErrorCode> {
        poll_fn(|_| if self.0.held_reads.get() { Poll::Pending } else { Poll::Ready(()) }).await;
        if let Some(error) = self.0.read_errors.borrow_mut().pop_front() {
            return Err(error);
        }
        let partitions = self.0.partitions.borrow();
        let log = &partitions.as_ref().expect("the topic exists")[partition as usize];
        // Two batches at a time, so that reading goes on.
        let batches: Vec<Bytes> = log.iter().skip(from as usize).take(2).cloned().collect();
        let next = from + batches.len() as i64;
        Ok((batches, next))
    }
}

struct Broker {
    world: Rc<World>,
    log: FakeLog,
    driver: GroupDriver<FakeLog, TestRuntime>,
    client: GroupClient,
}

impl Broker {
    fn start(log: FakeLog) -> Broker {
        let world = Rc::new(World::default());
        let driver = GroupDriver::new(GroupConfig::default(), log.clone(), TestRuntime(world.clone()));
        let runs = driver.clone();
        world.spawn(async move { runs.run().await });
        world.settle();
        let client = GroupClient::local(&driver);
        Broker { world, log, driver, client }
    }

    fn located() -> Broker {
        let broker = Broker::start(FakeLog::default());
        assert_eq!(broker.now(broker.locate()), Some(ErrorCode::None));
        broker
    }

    /// Starts a call; its answer appears in the cell.
    fn start_call<T: 'static>(&self, call: impl Future<Output = T> + 'static) -> Rc<RefCell<Option<T>>> {
        let answer = Rc::new(RefCell::new(None));
        let cell = answer.clone();
        self.world.spawn(async move {
            let value = call.await;
            *cell.borrow_mut() = Some(value);
        });
        self.world.settle();
        answer
    }

    /// The answer to a call, if it comes without waiting.
    fn now<T: 'static>(&self, call: impl Future<Output = T> + 'static) -> Option<T> {
        self.start_call(call).take()
    }

    fn locate(&self) -> impl Future<Output = ErrorCode> + 'static {
        let client = self.client.clone();
        async move { client.locate().await }
    }

    fn commit(&self, group: &str, offset: i64) -> impl Future<Output = ErrorCode> + 'static {
        let client = self.client.clone();
        let partition = PartitionCommit { partition: 0, offset, leader_epoch: 3, metadata: Some("note".into()), refused: ErrorCode::None };
        let request = OffsetCommit {
            group_id: group.into(),
            generation_id: -1,
            retention_ms: -1,
            topics: vec![TopicCommit { name: "t".into(), id: coreline_wire::TopicId([7; 16]), partitions: vec![partition] }],
            ..OffsetCommit::default()
        };
        async move { client.commit(request).await.topics[0].1[0].1 }
    }

    fn fetch(&self, group: &str) -> Result<i64, ErrorCode> {
        let client = self.client.clone();
        let request =
            OffsetFetch { group_id: group.into(), topics: Some(vec![("t".into(), vec![0])]), member_epoch: -1, ..OffsetFetch::default() };
        let answer = self.now(async move { client.fetch(request).await }).expect("a fetch is answered at once");
        let offsets: Vec<&FetchedOffset> = answer.topics.iter().flat_map(|(_, partitions)| partitions).collect();
        if answer.error.is_ok() { Ok(offsets[0].offset) } else { Err(answer.error) }
    }

    fn join(&self, group: &str, member: &str) -> impl Future<Output = JoinAnswer> + 'static {
        let client = self.client.clone();
        let request = JoinGroup {
            group_id: group.into(),
            member_id: member.into(),
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 60_000,
            protocol_type: "consumer".into(),
            protocols: vec![("range".into(), Bytes::from_static(b"x"))],
            ..JoinGroup::default()
        };
        async move { client.join(request).await }
    }

    fn sync(&self, group: &str, member: &str) -> impl Future<Output = (ErrorCode, Bytes)> + 'static {
        let client = self.client.clone();
        let request = SyncGroup {
            group_id: group.into(),
            generation_id: 1,
            member_id: member.into(),
            assignments: vec![(member.into(), Bytes::from_static(b"all"))],
            ..SyncGroup::default()
        };
        async move {
            let answer = client.sync(request).await;
            (answer.error, answer.assignment)
        }
    }
}

#[test]
fn the_first_locate_creates_the_topic_once_for_all_who_ask() {
    let broker = Broker::start(FakeLog::default());
    assert_eq!(broker.fetch("g"), Err(ErrorCode::NotCoordinator), "there is nothing to coordinate on yet");
    assert_eq!(broker.log.0.ensured.get(), 0, "asking for offsets does not create the topic");
    let (first, second) = (broker.locate(), broker.locate());
    let both = broker.now(async move { futures_util::future::join(first, second).await });
    assert_eq!(both, Some((ErrorCode::None, ErrorCode::None)));
    assert_eq!(broker.log.0.ensured.get(), 1);
    assert_eq!(broker.fetch("g"), Ok(-1));
}

#[test]
fn the_first_locate_is_answered_when_the_new_topic_is_loaded_and_does_not_wait_for_ever() {
    let broker = Broker::start(FakeLog::default());
    broker.log.0.held_reads.set(true);
    let located = broker.start_call(broker.locate());
    assert_eq!(*located.borrow(), None);
    broker.world.advance(2_000);
    assert_eq!(located.take(), Some(ErrorCode::None));
    assert_eq!(broker.fetch("g"), Err(ErrorCode::CoordinatorLoadInProgress));
    broker.log.0.held_reads.set(false);
    broker.world.advance(0);
    assert_eq!(broker.fetch("g"), Ok(-1));
}

#[test]
fn while_the_topic_cannot_be_created_there_is_no_coordinator() {
    let broker = Broker::start(FakeLog::default());
    broker.log.0.refuse_topic.set(true);
    assert_eq!(broker.now(broker.locate()), Some(ErrorCode::CoordinatorNotAvailable));
    broker.log.0.refuse_topic.set(false);
    assert_eq!(broker.now(broker.locate()), Some(ErrorCode::None));
}

#[test]
fn an_offset_commit_is_answered_when_it_is_durable() {
    let broker = Broker::located();
    broker.log.0.held.set(true);
    let answer = broker.start_call(broker.commit("g", 42));
    assert_eq!(*answer.borrow(), None);
    assert_eq!(broker.fetch("g"), Ok(-1), "what is not durable is not told");
    broker.log.0.held.set(false);
    broker.world.advance(0);
    assert_eq!(answer.take(), Some(ErrorCode::None));
    assert_eq!(broker.fetch("g"), Ok(42));
}

#[test]
fn a_commit_that_is_not_durable_in_time_is_told_so_and_counts_when_it_is() {
    let broker = Broker::located();
    broker.log.0.held.set(true);
    let first = broker.start_call(broker.commit("g", 1));
    broker.world.advance(3_000);
    let second = broker.start_call(broker.commit("g", 2));
    broker.world.advance(1_999);
    assert_eq!((*first.borrow(), *second.borrow()), (None, None));
    broker.world.advance(20);
    assert_eq!((first.take(), *second.borrow()), (Some(ErrorCode::CoordinatorNotAvailable), None));
    broker.world.advance(3_000);
    assert_eq!(second.take(), Some(ErrorCode::CoordinatorNotAvailable), "also behind the append that takes so long");
    let third = broker.start_call(broker.commit("g", 3));
    assert_eq!(broker.fetch("g"), Ok(-1), "what is not durable is not told");
    broker.log.0.held.set(false);
    broker.world.advance(0);
    assert_eq!((third.take(), broker.fetch("g")), (Some(ErrorCode::None), Ok(3)));
    assert_eq!(broker.log.0.batches(), 2, "nothing that was late is missing: the first alone, the others together");
}

#[test]
fn members_do_not_wait_for_an_assignment_that_is_not_durable_in_time() {
    let broker = Broker::located();
    let joined = broker.start_call(broker.join("g", ""));
    broker.world.advance(3_100);
    let member = joined.take().expect("joined").member_id;
    broker.log.0.held.set(true);
    let late = Some((ErrorCode::CoordinatorNotAvailable, Bytes::new()));
    let synced = broker.start_call(broker.sync("g", &member));
    broker.world.advance(4_900);
    assert_eq!(*synced.borrow(), None);
    broker.world.advance(200);
    assert_eq!(synced.take(), late);
    assert_eq!(broker.now(broker.sync("g", &member)), late, "who comes again is told at once");
    broker.log.0.held.set(false);
    broker.world.advance(0);
    assert_eq!(broker.now(broker.sync("g", &member)), Some((ErrorCode::None, Bytes::from_static(b"all"))));
}

#[test]
fn commits_that_wait_for_the_same_partition_share_a_batch_and_keep_their_order() {
    let broker = Broker::located();
    broker.log.0.held.set(true);
    let answers: Vec<_> = (0..10).map(|offset| broker.start_call(broker.commit("g", offset))).collect();
    broker.log.0.held.set(false);
    broker.world.advance(0);
    assert!(answers.iter().all(|answer| *answer.borrow() == Some(ErrorCode::None)));
    assert_eq!(broker.log.0.batches(), 2, "the first alone, the others together");
    assert_eq!(broker.fetch("g"), Ok(9));
}

#[test]
fn a_batch_that_fails_fails_all_its_writes_and_changes_nothing() {
    let broker = Broker::located();
    assert_eq!(broker.now(broker.commit("g", 1)), Some(ErrorCode::None));
    broker.log.0.held.set(true);
    let answers: Vec<_> = (2..5).map(|offset| broker.start_call(broker.commit("g", offset))).collect();
    broker.log.0.append_errors.borrow_mut().extend([ErrorCode::KafkaStorageError, ErrorCode::NotEnoughReplicas]);
    broker.log.0.held.set(false);
    broker.world.advance(0);
    let answers: Vec<_> = answers.iter().map(|answer| answer.take()).collect();
    let later = Some(ErrorCode::CoordinatorNotAvailable);
    assert_eq!(answers, [Some(ErrorCode::NotCoordinator), later, later]);
    assert_eq!(broker.fetch("g"), Ok(1));
    assert_eq!(broker.now(broker.commit("g", 5)), Some(ErrorCode::None), "the next append is tried anew");
}

#[test]
fn a_large_write_goes_alone() {
    let config = GroupConfig { append_batch_max_bytes: 250, ..GroupConfig::default() };
    let world = Rc::new(World::default());
    let log = FakeLog::default();
    let driver = GroupDriver::new(config, log.clone(), TestRuntime(world.clone()));
    let broker = Broker { world, log, client: GroupClient::local(&driver), driver };
    assert_eq!(broker.now(broker.locate()), Some(ErrorCode::None));
    broker.log.0.held.set(true);
    let answers: Vec<_> = (0..7).map(|offset| broker.start_call(broker.commit("g", offset))).collect();
    broker.log.0.held.set(false);
    broker.world.advance(0);
    assert!(answers.iter().all(|answer| *answer.borrow() == Some(ErrorCode::None)));
    // About 100 bytes each: the first alone, then two by two.
    assert_eq!(broker.log.0.batches(), 4);
    assert_eq!(broker.fetch("g"), Ok(6));
}

#[test]
fn a_join_is_parked_through_the_first_delay_and_the_group_lives_by_the_clock() {
    let broker = Broker::located();
    let joined = broker.start_call(broker.join("g", ""));
    broker.world.advance(2_999);
    assert_eq!(*joined.borrow(), None);
    broker.world.advance(20);
    let answer = joined.take().expect("the delay is over");
    assert_eq!((answer.error, answer.generation_id), (ErrorCode::None, 1));
    let synced = broker.now(broker.sync("g", &answer.member_id));
    assert_eq!(synced, Some((ErrorCode::None, Bytes::from_static(b"all"))));
    broker.world.advance(9_000);
    assert_eq!(broker.driver.inspect(|machine| machine.group("g").map(|group| group.members().len())), Some(1));
    broker.world.advance(1_100);
    assert_eq!(broker.driver.inspect(|machine| machine.group("g").map(|group| group.members().len())), Some(0), "its session is over");
}

#[test]
fn what_was_durable_is_there_after_a_restart() {
    let broker = Broker::located();
    let joined = broker.start_call(broker.join("g", ""));
    broker.world.advance(3_100);
    let member = joined.take().expect("joined").member_id;
    assert_eq!(broker.now(broker.sync("g", &member)).map(|(error, _)| error), Some(ErrorCode::None));
    for n in 0..20 {
        assert_eq!(broker.now(broker.commit(&format!("simple-{n}"), n)), Some(ErrorCode::None));
    }
    let images: Vec<_> = broker.driver.inspect(|machine| machine.images().cloned().collect());

    let again = Broker::start(broker.log.clone());
    assert!(again.driver.inspect(|machine| machine.is_loaded()), "a topic that exists is loaded without being asked for");
    assert_eq!(again.driver.inspect(|machine| machine.images().cloned().collect::<Vec<_>>()), images);
    again.driver.inspect(GroupCoordinator::check_against_images);
    assert_eq!(again.fetch("simple-7"), Ok(7));
    assert_eq!(again.now(again.sync("g", &member)), Some((ErrorCode::None, Bytes::from_static(b"all"))), "its member is still in");
}

#[test]
fn nothing_is_told_of_a_partition_that_is_not_read_to_its_end() {
    let broker = Broker::located();
    for offset in 0..5 {
        assert_eq!(broker.now(broker.commit("g", offset)), Some(ErrorCode::None));
    }
    let log = broker.log.clone();
    log.0.held_reads.set(true);
    let again = Broker::start(log.clone());
    assert_eq!(again.fetch("g"), Err(ErrorCode::CoordinatorLoadInProgress));
    assert_eq!(again.now(again.locate()), Some(ErrorCode::None), "it is the coordinator already");
    log.0.read_errors.borrow_mut().extend([ErrorCode::KafkaStorageError, ErrorCode::KafkaStorageError]);
    log.0.held_reads.set(false);
    again.world.advance(1);
    assert_eq!(again.fetch("g"), Err(ErrorCode::CoordinatorLoadInProgress), "a read that fails is tried again");
    again.world.advance(5_000);
    assert_eq!(again.fetch("g"), Ok(4));
}

#[test]
fn records_that_cannot_be_read_do_not_keep_the_others_from_loading() {
    let log = FakeLog::default();
    let good = Record::Group { group: "g".into(), value: Some(Default::default()) }.encode().expect("encodes");
    let newer = (Bytes::from_static(&[0, 9, 0, 1, b'g']), Some(Bytes::from_static(&[0, 0])));
    let broken = (Bytes::from_static(&[0, 2, 0, 9, b'g']), None);
    let batch = batch::encode(&[newer, broken, good], Compression::None, 0).expect("encodes");
    *log.0.partitions.borrow_mut() = Some(vec![vec![batch, Bytes::from_static(b"not a batch")]]);
    let broker = Broker::start(log);
    assert_eq!(broker.driver.inspect(|machine| (machine.is_loaded(), machine.group_count())), (true, 1));
}

#[test]
fn a_caller_that_goes_away_cancels_its_parked_join() {
    let broker = Broker::located();
    let mut call = Box::pin(broker.join("g", ""));
    let waker = broker.world.woken.clone().into();
    assert!(call.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!(broker.driver.inspect(|machine| machine.group("g").map(|group| group.members().len())), Some(1));
    drop(call);
    assert_eq!(broker.driver.inspect(|machine| machine.group("g").map(|group| group.members().len())), Some(0));
    assert!(broker.driver.inner.callers.borrow().is_empty());
}

#[test]
fn stopping_refuses_who_waits_and_who_comes() {
    let broker = Broker::located();
    let joined = broker.start_call(broker.join("g", ""));
    broker.driver.stop();
    broker.world.settle();
    assert_eq!(joined.take().map(|answer| answer.error), Some(ErrorCode::CoordinatorNotAvailable));
    assert_eq!(broker.now(broker.commit("g", 1)), Some(ErrorCode::CoordinatorNotAvailable));
    assert!(broker.world.tasks.borrow().is_empty(), "every task of the driver has ended");
}
