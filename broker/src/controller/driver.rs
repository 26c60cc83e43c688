//! Runs the controller on the metadata shard: takes the waiting requests, decides them, commits their records as one log entry, publishes
//! the image that results, and only then answers.
//!
//! ```text
//!  submit -> [queue, bounded] -> decide ... decide -> one entry: committed, applied -> published to every shard -> answers
//! ```
//! One batch at a time: a decision sees every record decided before it. Requests that come meanwhile wait and share the next entry, so
//! the number of flushes does not grow with the load. If the log fails, everybody is answered with an error and `run` ends: the process
//! must end with it, since nothing can be known of what was written.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use futures_channel::oneshot;
use futures_util::future::LocalBoxFuture;
use futures_util::task::AtomicWaker;

use super::client::{ControllerClient, ControllerTransport};
use super::decide::{ConfigValidator, ControllerLimits, Env, Randomness, decide};
use super::record::MetadataRecord;
use super::replay::replay_batch;
use super::request::{ControllerError, ControllerRequest, ControllerResponse};
use crate::metadata::{MetadataDelta, MetadataImage, Publication, Publisher};
use crate::quorum::{MetadataLog, QuorumError};
use crate::shard::pace::{Pace, STEPS_PER_TURN};

/// Requests that may wait; the next one is refused with [`ControllerError::Overloaded`], which clients retry.
pub const WAITING_REQUESTS_MAX: usize = 1_024;
/// Records of one log entry before no further request joins it: about 1 MiB.
const RECORDS_PER_ENTRY: usize = 20_000;

type Answer = Result<ControllerResponse, ControllerError>;

/// The controller; clones share it. Lives on the metadata shard.
#[derive(Clone)]
pub struct Controller(Rc<Shared>);

struct Shared {
    log: Rc<dyn MetadataLog>,
    limits: ControllerLimits,
    configs: Box<dyn ConfigValidator>,
    random: RefCell<Box<dyn Randomness>>,
    waiting: RefCell<VecDeque<(ControllerRequest, oneshot::Sender<Answer>)>>,
    /// Wakes `run`.
    turn: AtomicWaker,
    /// `run` has begun and not ended.
    running: Cell<bool>,
    /// Wakes `shutdown` when `run` has ended.
    ended: AtomicWaker,
    publisher: RefCell<Option<Rc<dyn Publisher>>>,
    closing: Cell<bool>,
}

impl Controller {
    /// A controller over a log. Nothing is answered before [`Controller::run`] runs.
    pub fn new(
        log: Rc<dyn MetadataLog>,
        limits: ControllerLimits,
        configs: Box<dyn ConfigValidator>,
        random: Box<dyn Randomness>,
    ) -> Controller {
        Controller(Rc::new(Shared {
            log,
            limits,
            configs,
            random: RefCell::new(random),
            waiting: RefCell::new(VecDeque::new()),
            turn: AtomicWaker::new(),
            running: Cell::new(false),
            ended: AtomicWaker::new(),
            publisher: RefCell::new(None),
            closing: Cell::new(false),
        }))
    }

    /// A client for the metadata shard itself.
    pub fn client(&self) -> ControllerClient {
        ControllerClient::new(Rc::new(self.clone()))
    }

    /// The image with everything applied (perhaps not published yet).
    pub fn image(&self) -> Arc<MetadataImage> {
        self.0.log.image()
    }

    /// From now on changes are published. Returns the image that the first publication's delta starts from: give it to every shard
    /// before. Before this call answers mean committed and applied only.
    pub fn attach_publisher(&self, publisher: Rc<dyn Publisher>) -> Arc<MetadataImage> {
        let _ = self.0.log.take_delta();
        *self.0.publisher.borrow_mut() = Some(publisher);
        self.0.log.image()
    }

    /// Serves requests until [`Controller::shutdown`].
    ///
    /// # Errors
    /// [`ControllerError::Failed`] when the log failed: the process must end.
    pub async fn run(&self) -> Result<(), ControllerError> {
        self.0.running.set(true);
        let outcome = loop {
            let Some(batch) = self.next_batch().await else { break Ok(()) };
            if let Err(error) = self.serve(batch).await {
                break Err(error);
            }
        };
        self.0.closing.set(true);
        self.0.running.set(false);
        // Whoever came while the last batch failed gets no answer but this.
        self.0.waiting.borrow_mut().clear();
        self.0.ended.wake();
        outcome
    }

    /// Refuses further requests, lets the ones that wait be answered, and ends the log.
    pub async fn shutdown(&self) {
        self.0.closing.set(true);
        self.0.turn.wake();
        std::future::poll_fn(|cx| {
            self.0.ended.register(cx.waker());
            if self.0.running.get() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        self.0.log.shutdown().await;
    }

    /// Waits for requests and takes all that wait; `None` once the controller closes and nobody waits.
    async fn next_batch(&self) -> Option<Vec<(ControllerRequest, oneshot::Sender<Answer>)>> {
        std::future::poll_fn(|cx| {
            self.0.turn.register(cx.waker());
            let waiting = std::mem::take(&mut *self.0.waiting.borrow_mut());
            // Who has stopped waiting before its turn came asked for nothing.
            let batch: Vec<_> = waiting.into_iter().filter(|(_, answer)| !answer.is_canceled()).collect();
            match (batch.is_empty(), self.0.closing.get()) {
                (false, _) => Poll::Ready(Some(batch)),
                (true, true) => Poll::Ready(None),
                (true, false) => Poll::Pending,
            }
        })
        .await
    }

    async fn serve(&self, batch: Vec<(ControllerRequest, oneshot::Sender<Answer>)>) -> Result<(), ControllerError> {
        let mut rest = VecDeque::from(batch);
        while !rest.is_empty() {
            let before = self.0.log.image();
            let mut image = MetadataImage::clone(&before);
            let mut records: Vec<MetadataRecord> = Vec::new();
            let mut answers = Vec::new();
            // Nobody else sees the image that is decided upon, so it may be built in turns.
            let mut pace = Pace::new();
            while records.len() < RECORDS_PER_ENTRY
                && let Some((request, answer)) = rest.pop_front()
            {
                let decision = {
                    let mut random = self.0.random.borrow_mut();
                    let mut env = Env { limits: &self.0.limits, configs: &*self.0.configs, random: &mut **random };
                    decide(&image, &request, &mut env)
                };
                pace.steps(1 + decision.records.len()).await;
                for some in decision.records.chunks(STEPS_PER_TURN) {
                    replay_batch(&mut image, &mut MetadataDelta::default(), some);
                    pace.steps(some.len()).await;
                }
                records.extend(decision.records);
                answers.push((answer, decision.answer));
            }
            let outcome = if records.is_empty() { Ok(()) } else { self.commit(records, image).await };
            if let Err(error) = outcome {
                let waiting = answers.into_iter().map(|(answer, _)| answer).chain(rest.into_iter().map(|(_, answer)| answer));
                waiting.for_each(|answer| drop(answer.send(Err(error.clone()))));
                return if matches!(error, ControllerError::Failed(_)) { Err(error) } else { Ok(()) };
            }
            for (answer, response) in answers {
                // Who is gone needs no answer.
                let _ = answer.send(Ok(response));
            }
        }
        Ok(())
    }

    /// Commits, applies, publishes.
    async fn commit(&self, records: Vec<MetadataRecord>, decided: MetadataImage) -> Result<(), ControllerError> {
        self.0.log.submit(records).await.map_err(|error| match error {
            QuorumError::NotLeader => ControllerError::NotController,
            QuorumError::Stopped => ControllerError::Stopping,
            other => ControllerError::Failed(other.to_string()),
        })?;
        let image = self.0.log.image();
        debug_assert!(
            MetadataImage { position: image.position, controller_id: image.controller_id, ..decided } == *image,
            "the image that was decided upon is not the one that was applied"
        );
        let publisher = self.0.publisher.borrow().clone();
        if let Some(publisher) = publisher {
            let delta = Arc::new(self.0.log.take_delta());
            publisher.publish(Publication { image, delta }).await;
        }
        Ok(())
    }
}

impl ControllerTransport for Controller {
    fn submit(&self, request: ControllerRequest) -> LocalBoxFuture<'_, Answer> {
        if self.0.closing.get() {
            return Box::pin(async { Err(ControllerError::Stopping) });
        }
        let (sender, receiver) = oneshot::channel();
        {
            let mut waiting = self.0.waiting.borrow_mut();
            if waiting.len() >= WAITING_REQUESTS_MAX {
                return Box::pin(async { Err(ControllerError::Overloaded) });
            }
            waiting.push_back((request, sender));
        }
        self.0.turn.wake();
        Box::pin(async { receiver.await.unwrap_or(Err(ControllerError::Stopping)) })
    }
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controller").field("waiting", &self.0.waiting.borrow().len()).finish_non_exhaustive()
    }
}

/// Randomness from the system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Randomness for SystemRandom {
    fn bytes16(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the system gives random bytes once it has started");
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::testing::{FewConfigs, Seeded};
    use crate::controller::{BrokerRegistration, NewTopic};
    use crate::metadata::Endpoint;
    use futures_lite::future::{block_on, poll_once, zip};

    /// A log in memory: commits at once, counts entries, fails on demand; notes publications.
    struct Memory {
        state: RefCell<(MetadataImage, MetadataDelta)>,
        entries: RefCell<Vec<usize>>,
        fail: RefCell<Option<QuorumError>>,
        seen: RefCell<Vec<String>>,
    }

    impl Memory {
        fn new() -> Rc<Memory> {
            Rc::new(Memory {
                state: RefCell::new((MetadataImage::empty(), MetadataDelta::default())),
                entries: RefCell::default(),
                fail: RefCell::new(None),
                seen: RefCell::default(),
            })
        }
    }

    impl MetadataLog for Memory {
        fn submit(&self, records: Vec<MetadataRecord>) -> LocalBoxFuture<'_, Result<(), QuorumError>> {
            Box::pin(async move {
                futures_lite::future::yield_now().await;
                if let Some(error) = self.fail.borrow_mut().take() {
                    return Err(error);
                }
                let (image, delta) = &mut *self.state.borrow_mut();
                replay_batch(image, delta, &records);
                image.position.index += 1;
                self.entries.borrow_mut().push(records.len());
                self.seen.borrow_mut().push("committed".to_owned());
                Ok(())
            })
        }
        fn image(&self) -> Arc<MetadataImage> {
            Arc::new(self.state.borrow().0.clone())
        }
        fn take_delta(&self) -> MetadataDelta {
            std::mem::take(&mut self.state.borrow_mut().1)
        }
        fn shutdown(&self) -> LocalBoxFuture<'_, ()> {
            Box::pin(async {})
        }
    }

    impl Publisher for Memory {
        fn publish(&self, publication: Publication) -> LocalBoxFuture<'_, ()> {
            Box::pin(async move {
                futures_lite::future::yield_now().await;
                let Publication { image, delta } = publication;
                self.seen.borrow_mut().push(format!("published {} topics, {} new", image.topic_count(), delta.topics_created.len()));
            })
        }
    }

    fn controller(log: &Rc<Memory>) -> Controller {
        let log = Rc::clone(log) as Rc<dyn MetadataLog>;
        Controller::new(log, ControllerLimits::default(), Box::new(FewConfigs), Box::new(Seeded(1)))
    }

    fn register() -> ControllerRequest {
        let endpoints = vec![Endpoint { name: "PLAINTEXT".into(), host: "h".into(), port: 9092 }];
        ControllerRequest::RegisterBroker(BrokerRegistration { id: 1, incarnation: [1; 16], endpoints, rack: None })
    }

    fn create(name: &str) -> ControllerRequest {
        ControllerRequest::CreateTopics { topics: vec![NewTopic::with_defaults(name)], validate_only: false }
    }

    #[test]
    fn an_answer_comes_after_commit_and_publication() {
        block_on(async {
            let log = Memory::new();
            let controller = controller(&log);
            let client = controller.client();
            let work = async {
                client.submit(register()).await.expect("registered");
                let image = controller.attach_publisher(Rc::clone(&log) as Rc<dyn Publisher>);
                assert_eq!(image.brokers().count(), 1);
                client.submit(create("a")).await.expect("created");
                log.seen.borrow_mut().push("answered".to_owned());
                controller.shutdown().await;
                assert_eq!(client.submit(create("b")).await, Err(ControllerError::Stopping));
            };
            let (served, ()) = zip(controller.run(), work).await;
            assert_eq!(served, Ok(()));
            assert_eq!(*log.seen.borrow(), ["committed", "committed", "published 1 topics, 1 new", "answered"]);
        });
    }

    #[test]
    fn requests_that_wait_share_an_entry_and_see_each_other() {
        block_on(async {
            let log = Memory::new();
            let controller = controller(&log);
            let client = controller.client();
            let first = client.submit(register());
            let names = ["a", "b", "a", "c"];
            let answers = futures_util::future::join_all(names.map(|name| client.submit(create(name))));
            let work = async {
                let (_, answers) = zip(first, answers).await;
                controller.shutdown().await;
                answers
            };
            let (_, answers) = zip(controller.run(), work).await;
            let created: Vec<bool> = answers
                .into_iter()
                .map(|answer| match answer {
                    Ok(ControllerResponse::CreateTopics(results)) => results[0].is_ok(),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(created, [true, true, false, true], "the second `a` sees the first one");
            assert_eq!(log.entries.borrow().len(), 1, "one entry for all");
        });
    }

    #[test]
    fn the_queue_is_bounded_and_who_left_is_not_served() {
        block_on(async {
            let log = Memory::new();
            let controller = controller(&log);
            let client = controller.client();
            let mut waiting: Vec<_> = (0..WAITING_REQUESTS_MAX).map(|n| Box::pin(client.submit(create(&format!("t{n}"))))).collect();
            for future in &mut waiting {
                assert!(poll_once(future).await.is_none());
            }
            assert_eq!(client.submit(create("one-more")).await, Err(ControllerError::Overloaded));
            drop(waiting);
            let work = async {
                client.submit(register()).await.expect("registered");
                controller.shutdown().await;
            };
            let _ = zip(controller.run(), work).await;
            assert_eq!(log.image().topic_count(), 0);
        });
    }

    #[test]
    fn a_failed_log_answers_everyone_and_ends_the_run() {
        block_on(async {
            let log = Memory::new();
            let controller = controller(&log);
            let client = controller.client();
            *log.fail.borrow_mut() = Some(QuorumError::Failed("disk gone".into()));
            let (served, (a, b)) = zip(controller.run(), zip(client.submit(register()), client.submit(create("a")))).await;
            let failed = ControllerError::Failed("the metadata quorum has failed: disk gone".into());
            assert_eq!((served, a, b), (Err(failed.clone()), Err(failed.clone()), Err(failed)));
            assert_eq!(client.submit(create("a")).await, Err(ControllerError::Stopping));

            let log = Memory::new();
            let controller = self::controller(&log);
            let client = controller.client();
            *log.fail.borrow_mut() = Some(QuorumError::NotLeader);
            let work = async {
                let answer = client.submit(register()).await;
                controller.shutdown().await;
                answer
            };
            let (served, answer) = zip(controller.run(), work).await;
            assert_eq!((served, answer), (Ok(()), Err(ControllerError::NotController)), "another leader is no failure");
        });
    }
}
