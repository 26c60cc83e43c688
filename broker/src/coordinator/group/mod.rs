//! The group coordinator as a sans-I/O machine: `(state, event, now) -> actions`. No async, no clock, no randomness, ordered maps only.
//!
//! It holds, per partition of `__consumer_offsets`, the durable [`Image`] (changed by `replay` alone) and the live groups. What a
//! decision wants to keep is an [`Action::Append`]; its answers wait for [`Event::Appended`] or [`Event::AppendFailed`]. Requests that
//! wait for other members are parked under their [`Token`]. Callers: the driver; the tests.

mod admin;
mod classic;
mod consumer;
mod embedded;
mod flow;
mod heartbeat;
mod image;
mod join;
mod kind;
mod leave;
mod member;
mod offset;
mod rebalance;
mod retention;
mod state;
mod subscription;
mod sync;
mod write;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::rc::Rc;

use coreline_wire::TopicId;
use coreline_wire::error_code::ErrorCode;

pub use classic::ClassicGroup;
pub(crate) use consumer::Regexes;
pub use consumer::{Assignor, ConsumerGroup, ConsumerGroupState, ConsumerState, HEARTBEAT_INTERVAL, SESSION_TIMEOUT, Search};
pub use image::Image;
pub use kind::Group;
pub use member::Member;
pub use state::ClassicState;

use super::Now;
use super::cluster::{Cluster, ClusterChange};
use super::config::GroupConfig;
use super::partition::partition_of;
use super::record::Record;
use super::request::{GroupRequest, GroupResponse};
use consumer::Waiting;
use write::{Parts, PendingWrite, Writes};

/// Names a request that waits for its answer. Given by the driver, unique while it runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(pub u64);

/// Names a write that is on its way to the log. Given by the machine, in the order of the writes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WriteId(pub u64);

/// What a deadline is for. Setting a timer that runs replaces its deadline.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Timer {
    /// A member (or one that was only given an id) says nothing for too long.
    Session {
        /// Its group.
        group: Rc<str>,
        /// Its id.
        member: Rc<str>,
    },
    /// The join phase, or the delay before the first one, is over.
    Rebalance(Rc<str>),
    /// Members of a generation had long enough to send SyncGroup.
    Sync(Rc<str>),
    /// A member of a consumer group had long enough to give up partitions.
    Reconcile {
        /// Its group.
        group: Rc<str>,
        /// Its id.
        member: Rc<str>,
    },
    /// A classic member of a consumer group had long enough to send JoinGroup.
    Rejoin {
        /// Its group.
        group: Rc<str>,
        /// Its id.
        member: Rc<str>,
    },
    /// A classic member of a consumer group had long enough to send SyncGroup.
    MemberSync {
        /// Its group.
        group: Rc<str>,
        /// Its id.
        member: Rc<str>,
    },
    /// Look for what nobody needs any more in a partition.
    Retention(i32),
}

/// What happens to the machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// `__consumer_offsets` exists with this many partitions; they are to be loaded. Told once.
    TopicFound {
        /// Its partition count.
        partitions: i32,
    },
    /// Records of a partition that is being loaded, in log order.
    Load {
        /// The partition.
        partition: i32,
        /// Some of its records.
        records: Vec<Record>,
    },
    /// A partition was read to its end.
    Loaded {
        /// The partition.
        partition: i32,
    },
    /// A client asks. `GroupRequest::Locate` is the driver's and never comes here.
    Request {
        /// Names the request.
        token: Token,
        /// What is asked.
        request: GroupRequest,
        /// Random bytes for a member id.
        nonce: [u8; 16],
    },
    /// The client of a parked request is gone.
    Cancelled {
        /// Names the request.
        token: Token,
        /// The group that it was about.
        group_id: String,
    },
    /// A deadline has passed. Its timer is no longer set.
    Expired(Timer),
    /// Topics do not exist any more. Told for each partition of `__consumer_offsets`, so that no turn is long.
    TopicsDeleted {
        /// The partition of `__consumer_offsets`.
        partition: i32,
        /// What was deleted.
        topics: Rc<[DeletedTopic]>,
    },
    /// A write is durable. Of one partition, in the order of the writes.
    Appended(WriteId),
    /// A write failed and will never be seen in the log.
    AppendFailed(WriteId, ErrorCode),
    /// A write takes longer than clients are to wait for it. It goes on: `Appended` or `AppendFailed` follows.
    Overdue(WriteId),
    /// Topics, or the settings of groups, are not what they were.
    Published(ClusterChange),
    /// A search has ended.
    Searched {
        /// Its expression.
        pattern: Rc<str>,
        /// Its version.
        version: u64,
        /// The names that match.
        found: BTreeSet<String>,
    },
}

/// A topic that does not exist any more.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DeletedTopic {
    /// Its name, which another topic may have by now.
    pub name: String,
    /// Its id.
    pub id: TopicId,
}

/// What the driver has to do, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Answer a request.
    Answer(Token, GroupResponse),
    /// Append records to a partition of `__consumer_offsets`, and tell how it went.
    Append {
        /// Names the write.
        write: WriteId,
        /// The partition.
        partition: i32,
        /// What to append, in one batch.
        records: Rc<Vec<Record>>,
    },
    /// Set or replace a deadline, in ticks.
    SetTimer(Timer, i64),
    /// Remove a deadline, if it is set.
    ClearTimer(Timer),
    /// Search topic names to the end, giving way in between, and tell what was found.
    Search(Search),
}

/// The group coordinator of one node.
#[derive(Debug)]
pub struct GroupCoordinator {
    config: GroupConfig,
    slots: Vec<Slot>,
    writes: Writes,
    cluster: Cluster,
    regexes: Regexes,
}

/// One partition of `__consumer_offsets` and its groups.
#[derive(Debug, Default)]
struct Slot {
    loaded: bool,
    image: Image,
    groups: BTreeMap<Rc<str>, Group>,
    /// Their offsets are to be forgotten at the next opportunity.
    deleted_topics: BTreeSet<DeletedTopic>,
    /// Groups that a write is about to turn from one kind into the other.
    converting: BTreeSet<Rc<str>>,
    /// What waits for writes, by group. Bounded per group by `max_pending_writes`.
    waiting: BTreeMap<Rc<str>, VecDeque<Waiting>>,
    /// What waits for a search, by expression. Bounded by the requests that connections may have in flight.
    searching: BTreeMap<String, Vec<Waiting>>,
}

/// What a decision may use and leave behind.
struct Context<'a> {
    now: Now,
    config: &'a GroupConfig,
    writes: &'a mut Writes,
    cluster: &'a Cluster,
    regexes: &'a mut Regexes,
    partition: i32,
    actions: Vec<Action>,
    /// The writes before the next one belong to it: if one of them fails, so has the whole.
    parts: Option<Parts>,
}

impl Context<'_> {
    fn answer(&mut self, token: Token, response: GroupResponse) {
        self.actions.push(Action::Answer(token, response));
    }

    fn set_timer(&mut self, timer: Timer, after_ms: i32) {
        self.actions.push(Action::SetTimer(timer, self.now.ticks_ms.saturating_add(i64::from(after_ms.max(0)))));
    }

    fn clear_timer(&mut self, timer: Timer) {
        self.actions.push(Action::ClearTimer(timer));
    }

    fn append(&mut self, records: Vec<Record>, pending: PendingWrite) -> WriteId {
        let records = Rc::new(records);
        let parts = self.parts.take();
        let write = self.writes.begin(self.partition, records.clone(), pending, parts);
        self.actions.push(Action::Append { write, partition: self.partition, records });
        write
    }
}

impl GroupCoordinator {
    /// A coordinator that knows no partition yet.
    pub fn new(config: GroupConfig) -> Self {
        GroupCoordinator { config, slots: Vec::new(), writes: Writes::default(), cluster: Cluster::default(), regexes: Regexes::default() }
    }

    /// Takes in one event. Every request is answered exactly once, now or by a later event, unless it is cancelled; one whose write was overdue may be
    /// answered again by the end of that write, to nobody.
    #[must_use = "the actions are the machine's only effect"]
    pub fn apply(&mut self, event: Event, now: Now) -> Vec<Action> {
        match event {
            Event::TopicFound { partitions } => self.topic_found(partitions, now),
            Event::Load { partition, records } => {
                if let Some(slot) = self.slot_mut(partition) {
                    assert!(!slot.loaded, "partition {partition} is loaded twice");
                    records.iter().for_each(|record| slot.image.replay(record));
                }
                Vec::new()
            }
            Event::Loaded { partition } => self.loaded(partition, now),
            Event::Request { token, request, nonce } => self.request(token, request, nonce, now),
            Event::Cancelled { token, group_id } => self.cancelled(token, &group_id, now),
            Event::Expired(timer) => self.expired(timer, now),
            Event::TopicsDeleted { partition, topics } => self.topics_deleted(partition, &topics, now),
            Event::Appended(write) => self.written(write, Ok(()), now),
            Event::AppendFailed(write, error) => self.written(write, Err(error), now),
            Event::Overdue(write) => self.overdue(write, now),
            Event::Published(change) => self.published(change),
            Event::Searched { pattern, version, found } => self.searched(&pattern, version, found, now),
        }
    }

    /// Partitions of `__consumer_offsets`; none until the topic was found.
    pub fn partition_count(&self) -> usize {
        self.slots.len()
    }

    /// True when every partition was read.
    pub fn is_loaded(&self) -> bool {
        !self.slots.is_empty() && self.slots.iter().all(|slot| slot.loaded)
    }

    /// A live classic group.
    pub fn group(&self, group_id: &str) -> Option<&ClassicGroup> {
        self.slot_of(group_id)?.classic(group_id)
    }

    /// A live group of any kind.
    pub fn any_group(&self, group_id: &str) -> Option<&Group> {
        self.slot_of(group_id)?.groups.get(group_id)
    }

    /// A consumer group, as the log has it.
    pub fn consumer_group(&self, group_id: &str) -> Option<&ConsumerState> {
        self.slot_of(group_id)?.image.consumer.get(group_id)
    }

    /// Number of live groups.
    pub fn group_count(&self) -> usize {
        self.slots.iter().map(|slot| slot.groups.len()).sum()
    }

    /// The durable images, by partition.
    pub fn images(&self) -> impl Iterator<Item = &Image> {
        self.slots.iter().map(|slot| &slot.image)
    }

    /// The topics, by name and id, for which groups of a partition have committed offsets.
    pub fn topics_of(&self, partition: i32) -> BTreeSet<(&str, TopicId)> {
        let slot = usize::try_from(partition).ok().and_then(|partition| self.slots.get(partition));
        let topics = slot.into_iter().flat_map(|slot| slot.image.offsets.values().flatten());
        topics.flat_map(|(name, partitions)| partitions.values().map(|value| (name.as_str(), value.topic_id))).collect()
    }

    /// Asserts that every settled live group is what a restart would rebuild, field by field (reliability.md rows 12 and 13).
    pub fn check_against_images(&self) {
        for slot in self.slots.iter().filter(|slot| slot.loaded) {
            for (id, group) in slot.groups.iter().filter_map(|(id, group)| Some((id, group.classic()?))) {
                let in_flight = self.writes.any_of_group(id);
                let durable = slot.image.groups.get(&**id);
                if let (Some(live), Some(durable), false) = (group.settled_value(), durable, in_flight) {
                    assert_eq!(&live, durable, "group {id:?}: live state is not what the log says");
                }
                if durable.is_none() && !in_flight && group.settled_value().is_some() {
                    assert!(group.is(ClassicState::Empty), "group {id:?} is {} and the log does not know it", group.state());
                }
            }
            for (id, state) in &slot.image.consumer {
                state.check(id);
                let is_live = matches!(slot.groups.get(id.as_str()), Some(Group::Consumer(_)));
                assert!(is_live || slot.converting.contains(id.as_str()), "consumer group {id:?} is in the log and not alive");
            }
            let known = slot.image.groups.keys().chain(slot.image.offsets.keys());
            known.for_each(|id| assert!(slot.groups.contains_key(id.as_str()), "group {id:?} is in the log and not alive"));
        }
    }

    fn topic_found(&mut self, partitions: i32, now: Now) -> Vec<Action> {
        if !self.slots.is_empty() {
            return Vec::new();
        }
        self.slots.resize_with(usize::try_from(partitions).unwrap_or(0), Slot::default);
        // Spread over the interval.
        let interval_ms = self.config.retention_check_interval_ms;
        let first_ms = |partition: i32| interval_ms.saturating_add(interval_ms.saturating_mul(partition.into()) / i64::from(partitions));
        (0..partitions).map(|p| Action::SetTimer(Timer::Retention(p), now.ticks_ms.saturating_add(first_ms(p)))).collect()
    }

    /// Live groups from the image; every member gets a full session to report in.
    fn loaded(&mut self, partition: i32, now: Now) -> Vec<Action> {
        let config = self.config.clone();
        let Some((slot, mut ctx)) = self.open(partition, now) else { return Vec::new() };
        slot.loaded = true;
        for id in slot.image.consumer.keys().cloned().collect::<Vec<_>>() {
            slot.resume_consumer(&mut ctx, &id);
        }
        let ids = slot.image.groups.keys().chain(slot.image.offsets.keys());
        for id in ids {
            if slot.groups.contains_key(id.as_str()) {
                continue;
            }
            let mut group = match slot.image.groups.get(id) {
                Some(value) => ClassicGroup::from_value(id, value),
                None => ClassicGroup::new(Rc::from(id.as_str()), now.wall_ms),
            };
            group.was_written = true;
            group.resume(&mut ctx, config.max_size);
            group.check();
            slot.groups.insert(group.id.clone(), Group::Classic(group));
        }
        let deleted = std::mem::take(&mut slot.deleted_topics);
        slot.forget_topics(&mut ctx, deleted.into_iter().collect());
        ctx.actions
    }

    fn request(&mut self, token: Token, request: GroupRequest, nonce: [u8; 16], now: Now) -> Vec<Action> {
        let refuse = |error| vec![Action::Answer(token, request.refuse(error))];
        if let GroupRequest::List(request) = &request {
            return vec![Action::Answer(token, GroupResponse::Listed(self.list(request)))];
        }
        let Some(group_id) = request.group_id() else { return refuse(ErrorCode::InvalidRequest) };
        // As in Kafka, offsets may belong to the group without a name; members may not, which those of the new protocol are told in words.
        let needs_name = !matches!(
            request,
            GroupRequest::Commit(_)
                | GroupRequest::Fetch(_)
                | GroupRequest::Describe(_)
                | GroupRequest::Delete(_)
                | GroupRequest::ConsumerHeartbeat(_)
        );
        if needs_name && group_id.is_empty() || group_id.len() > TEXT_BYTES_MAX {
            return refuse(ErrorCode::InvalidGroupId);
        }
        if self.slots.is_empty() {
            return refuse(ErrorCode::NotCoordinator);
        }
        let is_full = self.group_count() >= self.config.max_groups;
        let writes_full = self.writes.len() >= self.config.max_pending_writes;
        let Some((slot, mut ctx)) = self.open(self.partition_of(group_id), now) else { return refuse(ErrorCode::NotCoordinator) };
        if !slot.loaded {
            // A heartbeat while the group is loaded keeps the member calm; its session starts when loading is over.
            let calm = matches!(request, GroupRequest::Heartbeat(_));
            return refuse(if calm { ErrorCode::None } else { ErrorCode::CoordinatorLoadInProgress });
        }
        let writes = matches!(
            request,
            GroupRequest::Commit(_)
                | GroupRequest::Sync(_)
                | GroupRequest::Join(_)
                | GroupRequest::Delete(_)
                | GroupRequest::DeleteOffsets(_)
                | GroupRequest::ConsumerHeartbeat(_)
        );
        if writes_full && writes {
            return refuse(ErrorCode::CoordinatorNotAvailable);
        }
        slot.dispatch(&mut ctx, token, request, nonce, is_full);
        ctx.actions
    }

    fn expired(&mut self, timer: Timer, now: Now) -> Vec<Action> {
        let group_id = match &timer {
            Timer::Retention(partition) => return self.retention(*partition, now),
            Timer::Rebalance(group) | Timer::Sync(group) => group.clone(),
            Timer::Session { group, .. }
            | Timer::Reconcile { group, .. }
            | Timer::Rejoin { group, .. }
            | Timer::MemberSync { group, .. } => group.clone(),
        };
        let Some((slot, mut ctx)) = self.open(self.partition_of(&group_id), now) else { return Vec::new() };
        slot.expired(&mut ctx, timer);
        slot.settle(&mut ctx, &group_id);
        ctx.actions
    }

    /// The client of a request is gone.
    fn cancelled(&mut self, token: Token, group_id: &str, now: Now) -> Vec<Action> {
        self.writes.cancel(token);
        let Some((slot, mut ctx)) = self.open(self.partition_of(group_id), now) else { return Vec::new() };
        slot.forget_waiting(token, group_id);
        if let Some(group) = slot.classic_mut(group_id) {
            group.cancel(&mut ctx, token);
        }
        slot.settle(&mut ctx, group_id);
        ctx.actions
    }

    fn open(&mut self, partition: i32, now: Now) -> Option<(&mut Slot, Context<'_>)> {
        let slot = self.slots.get_mut(usize::try_from(partition).ok()?)?;
        let ctx = Context {
            now,
            config: &self.config,
            writes: &mut self.writes,
            cluster: &self.cluster,
            regexes: &mut self.regexes,
            partition,
            actions: Vec::new(),
            parts: None,
        };
        Some((slot, ctx))
    }

    fn partition_of(&self, group_id: &str) -> i32 {
        // The count came as an i32.
        if self.slots.is_empty() { -1 } else { partition_of(group_id, self.slots.len() as i32) }
    }

    fn slot_of(&self, group_id: &str) -> Option<&Slot> {
        self.slots.get(usize::try_from(self.partition_of(group_id)).ok()?)
    }

    fn slot_mut(&mut self, partition: i32) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(partition).ok()?)
    }
}

impl Slot {
    /// After every change of a group: its relations hold, and it is forgotten when nothing is left of it.
    fn settle(&mut self, ctx: &mut Context<'_>, group_id: &str) {
        if let Some(Group::Consumer(_)) = self.groups.get(group_id) {
            // A write that failed leaves nothing of a new group but what else is known by its name.
            if !self.image.consumer.contains_key(group_id) && !ctx.writes.any_state_of_group(group_id) {
                let group = self.groups.remove(group_id);
                if let (Some(Group::Consumer(group)), true) = (group, self.image.knows(group_id)) {
                    self.groups.insert(group.id.clone(), Group::Classic(ClassicGroup::new(group.id.clone(), ctx.now.wall_ms)));
                }
            }
            return;
        }
        let is_known = self.image.knows(group_id);
        let converts = self.converting.contains(group_id);
        let Some(group) = self.classic_mut(group_id) else { return };
        group.check();
        group.was_written |= is_known;
        let idle = group.is(ClassicState::Empty) && group.pending_joins.is_empty() && !converts;
        if idle && !group.was_written && !ctx.writes.any_of_group(group_id) {
            self.groups.remove(group_id);
        }
    }
}

/// The code that a client of the coordinator gets when the log of its partition refuses a write.
pub(crate) fn append_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::UnknownTopicId
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::NotEnoughReplicasAfterAppend
        | ErrorCode::RequestTimedOut => ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError | ErrorCode::FencedLeaderEpoch => ErrorCode::NotCoordinator,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge | ErrorCode::InvalidFetchSize => ErrorCode::UnknownServerError,
        other => other,
    }
}

impl fmt::Display for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Timer::Session { group, member } => write!(f, "session of {member} in {group}"),
            Timer::Reconcile { group, member } => write!(f, "reconciliation of {member} in {group}"),
            Timer::Rejoin { group, member } => write!(f, "rejoin of {member} in {group}"),
            Timer::MemberSync { group, member } => write!(f, "sync of {member} in {group}"),
            Timer::Rebalance(group) => write!(f, "rebalance of {group}"),
            Timer::Sync(group) => write!(f, "sync of {group}"),
            Timer::Retention(partition) => write!(f, "retention of {partition}"),
        }
    }
}

/// The longest text that a record of the offsets topic can hold, in bytes.
pub(crate) const TEXT_BYTES_MAX: usize = i16::MAX as usize;

#[cfg(test)]
#[path = "../group_test/mod.rs"]
mod tests;
