//! Fetch sessions (KIP-227): what a client has subscribed to on this shard, and which partitions an incremental answer may leave out.
//!
//! Sans-I/O: `now_ms` and the random session id are arguments. A session belongs to the shard that accepted the connection; a client
//! that comes back on another shard gets FETCH_SESSION_ID_NOT_FOUND and starts a new one, as after a broker restart.
//! Caller: `handler/fetch.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use coreline_wire::TopicId;
use coreline_wire::ids::{LeaderEpoch, Offset, PartitionIndex};
use hashbrown::HashMap;

/// Session epoch that asks for a full fetch and a new session.
pub const INITIAL_EPOCH: i32 = 0;
/// Session epoch that closes the session, or fetches without one.
pub const FINAL_EPOCH: i32 = -1;
/// A session unused for this long may be evicted when all slots are taken (Kafka's fixed value).
pub const EVICTION_IDLE_MS: i64 = 120_000;
/// Partitions one session may hold; a larger full fetch is answered without a session.
pub const SESSION_PARTITIONS_MAX: usize = 100_000;

/// How a request names a topic: by name up to version 12, by id from version 13 (KIP-516).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TopicKey {
    /// By name.
    Name(Arc<str>),
    /// By id.
    Id(TopicId),
}

/// Key of a partition within a session.
pub type FetchKey = (TopicKey, PartitionIndex);

/// What a client wants from one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchWant {
    /// First offset wanted.
    pub fetch_offset: Offset,
    /// Most bytes for this partition.
    pub max_bytes: i32,
    /// The client's idea of the leader epoch, -1 for none (KIP-320).
    pub current_leader_epoch: LeaderEpoch,
    /// Epoch of the last record fetched, -1 for none (KIP-595).
    pub last_fetched_epoch: LeaderEpoch,
}

/// What an answer said of a partition, as far as the next incremental answer depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchSaid {
    /// High watermark.
    pub high_watermark: Offset,
    /// Log start offset.
    pub log_start_offset: Offset,
    /// Error code, 0 for none.
    pub error: i16,
    /// Bytes of records.
    pub bytes: u64,
    /// True when the answer carries a diverging epoch or a preferred replica.
    pub must_send: bool,
}

/// Why a session request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionError {
    /// FETCH_SESSION_ID_NOT_FOUND (70).
    IdNotFound,
    /// INVALID_FETCH_SESSION_EPOCH (71).
    InvalidEpoch,
    /// FETCH_SESSION_TOPIC_ID_ERROR (106).
    TopicIdMix,
}

/// How a fetch is to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchContext {
    /// All asked partitions, session id 0.
    Sessionless,
    /// All asked partitions; a session may be made of them by [`SessionCache::establish`].
    Full,
    /// All partitions of the session are read; the answer leaves out what did not change.
    Incremental {
        /// The session.
        session_id: i32,
    },
}

#[derive(Debug)]
struct Entry {
    order: u64,
    want: FetchWant,
    high_watermark: Offset,
    log_start_offset: Offset,
}

#[derive(Debug)]
struct Session {
    epoch: i32,
    uses_topic_ids: bool,
    last_used_ms: i64,
    next_order: u64,
    entries: HashMap<FetchKey, Entry>,
    order: BTreeMap<u64, FetchKey>,
}

/// All sessions of a shard; at most `slots` of them.
#[derive(Debug)]
pub struct SessionCache {
    slots: usize,
    sessions: HashMap<i32, Session>,
}

fn next_epoch(epoch: i32) -> i32 {
    if epoch < 0 {
        FINAL_EPOCH
    } else if epoch == i32::MAX {
        1
    } else {
        epoch + 1
    }
}

impl Session {
    fn upsert(&mut self, key: FetchKey, want: FetchWant) {
        match self.entries.get_mut(&key) {
            Some(entry) => entry.want = want,
            None => {
                let order = self.next_order;
                self.next_order += 1;
                self.order.insert(order, key.clone());
                self.entries.insert(key, Entry { order, want, high_watermark: -1, log_start_offset: -1 });
            }
        }
    }

    fn remove(&mut self, key: &FetchKey) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.order);
        }
    }

    fn move_last(&mut self, key: &FetchKey) {
        let order = self.next_order;
        self.next_order += 1;
        if let Some(entry) = self.entries.get_mut(key) {
            self.order.remove(&entry.order);
            entry.order = order;
            self.order.insert(order, key.clone());
        }
    }
}

impl SessionCache {
    /// A cache of at most `slots` sessions; with 0 every fetch is sessionless.
    pub fn new(slots: usize) -> SessionCache {
        SessionCache { slots, sessions: HashMap::new() }
    }

    /// Sessions now held.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// True when no session is held.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Takes in a request's session fields and says how the answer is shaped. What an incremental request brings and drops is told by `want` and
    /// `forget`; then `listed` says which partitions are to be read. All in steps, since a session may hold very many partitions.
    pub fn begin(&mut self, session_id: i32, epoch: i32, uses_topic_ids: bool, now_ms: i64) -> Result<FetchContext, SessionError> {
        if epoch == INITIAL_EPOCH || epoch == FINAL_EPOCH {
            if session_id != 0 {
                self.sessions.remove(&session_id);
            }
            return Ok(if epoch == FINAL_EPOCH { FetchContext::Sessionless } else { FetchContext::Full });
        }
        let session = self.sessions.get_mut(&session_id).ok_or(SessionError::IdNotFound)?;
        if session.epoch != epoch {
            return Err(SessionError::InvalidEpoch);
        }
        if session.uses_topic_ids != uses_topic_ids {
            return Err(SessionError::TopicIdMix);
        }
        session.last_used_ms = now_ms;
        session.epoch = next_epoch(epoch);
        Ok(FetchContext::Incremental { session_id })
    }

    /// An incremental request wants this of a partition from now on. Beyond the bound of a session new partitions are passed over.
    pub fn want(&mut self, session_id: i32, key: FetchKey, want: FetchWant) {
        if let Some(session) = self.sessions.get_mut(&session_id)
            && (session.entries.len() < SESSION_PARTITIONS_MAX || session.entries.contains_key(&key))
        {
            session.upsert(key, want);
        }
    }

    /// A partition leaves the session; a session without any ends.
    pub fn forget(&mut self, session_id: i32, key: &FetchKey) {
        if let Some(session) = self.sessions.get_mut(&session_id) {
            session.remove(key);
            if session.entries.is_empty() {
                self.sessions.remove(&session_id);
            }
        }
    }

    /// At most `most` partitions of a session, in its order, from a place on; and the place behind them, `None` at the end. Nothing of a session
    /// that is not there.
    pub fn listed(&self, session_id: i32, from: u64, most: usize) -> (Vec<(FetchKey, FetchWant)>, Option<u64>) {
        let Some(session) = self.sessions.get(&session_id) else { return (Vec::new(), None) };
        let some = session.order.range(from..).take(most);
        let wants: Vec<_> = some.clone().filter_map(|(_, key)| session.entries.get(key).map(|entry| (key.clone(), entry.want))).collect();
        (wants, some.last().filter(|_| most > 0).map(|(order, _)| order + 1))
    }

    /// Makes an empty session for a full fetch that is being answered, of which `remember` is told partition by partition; returns its id, or 0
    /// when there are none or too many partitions, or no slot is free.
    pub fn establish(&mut self, random: i32, uses_topic_ids: bool, partitions: usize, now_ms: i64) -> i32 {
        if self.slots == 0 || partitions == 0 || partitions > SESSION_PARTITIONS_MAX {
            return 0;
        }
        if self.sessions.len() >= self.slots {
            let oldest = self.sessions.iter().map(|(id, s)| (s.last_used_ms, *id)).min();
            match oldest {
                Some((used, id)) if now_ms - used >= EVICTION_IDLE_MS => {
                    self.sessions.remove(&id);
                }
                _ => return 0,
            }
        }
        // Any unused positive id will do; walking on from a random one ends because there are far fewer sessions than ids.
        let mut id = (random & i32::MAX).max(1);
        while self.sessions.contains_key(&id) {
            id = if id == i32::MAX { 1 } else { id + 1 };
        }
        let session = Session {
            epoch: next_epoch(INITIAL_EPOCH),
            uses_topic_ids,
            last_used_ms: now_ms,
            next_order: 0,
            entries: HashMap::new(),
            order: BTreeMap::new(),
        };
        self.sessions.insert(id, session);
        id
    }

    /// A partition of a new session, and what its first answer says of it.
    pub fn remember(&mut self, session_id: i32, key: &FetchKey, want: FetchWant, said: FetchSaid) {
        let Some(session) = self.sessions.get_mut(&session_id) else { return };
        session.upsert(key.clone(), want);
        if let Some(entry) = session.entries.get_mut(key) {
            entry.high_watermark = if said.error == 0 { said.high_watermark } else { -1 };
            entry.log_start_offset = said.log_start_offset;
        }
    }

    /// Whether an incremental answer must carry this partition; remembers what was said.
    ///
    /// A partition with records moves behind the others, so that over several answers each gets its share of the byte limit.
    pub fn must_send(&mut self, session_id: i32, key: &FetchKey, said: FetchSaid) -> bool {
        let Some(session) = self.sessions.get_mut(&session_id) else { return true };
        let Some(entry) = session.entries.get_mut(key) else { return true };
        let mut send = said.bytes > 0 || said.must_send;
        if said.high_watermark != entry.high_watermark {
            entry.high_watermark = said.high_watermark;
            send = true;
        }
        if said.log_start_offset != entry.log_start_offset {
            entry.log_start_offset = said.log_start_offset;
            send = true;
        }
        if said.error != 0 {
            // Once the error is over the next answer has to carry the partition again.
            entry.high_watermark = -1;
            send = true;
        }
        if said.bytes > 0 {
            session.move_last(key);
        }
        send
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, p: i32) -> FetchKey {
        (TopicKey::Name(name.into()), p)
    }
    fn want(offset: i64) -> FetchWant {
        FetchWant { fetch_offset: offset, max_bytes: 1 << 20, current_leader_epoch: -1, last_fetched_epoch: -1 }
    }
    fn said(high_watermark: i64, bytes: u64) -> FetchSaid {
        FetchSaid { high_watermark, log_start_offset: 0, error: 0, bytes, must_send: false }
    }
    type Listed = Vec<(FetchKey, FetchWant)>;

    /// What a handler does with a request.
    fn begin(
        cache: &mut SessionCache,
        id: i32,
        epoch: i32,
        by_id: bool,
        wants: Listed,
        forgotten: &[FetchKey],
        now_ms: i64,
    ) -> Result<(FetchContext, Listed), SessionError> {
        let context = cache.begin(id, epoch, by_id, now_ms)?;
        if let FetchContext::Incremental { session_id } = context {
            wants.into_iter().for_each(|(key, want)| cache.want(session_id, key, want));
            forgotten.iter().for_each(|key| cache.forget(session_id, key));
            let (mut all, mut from) = (Vec::new(), Some(0));
            while let Some(at) = from {
                let (some, next) = cache.listed(session_id, at, 1);
                all.extend(some);
                from = next;
            }
            return Ok((context, all));
        }
        Ok((context, wants))
    }
    fn establish<const N: usize>(
        cache: &mut SessionCache,
        random: i32,
        by_id: bool,
        all: [(FetchKey, FetchWant, FetchSaid); N],
        now: i64,
    ) -> i32 {
        let id = cache.establish(random, by_id, N, now);
        all.iter().for_each(|(key, want, said)| cache.remember(id, key, *want, *said));
        id
    }
    fn established(slots: usize) -> (SessionCache, i32) {
        let mut cache = SessionCache::new(slots);
        let id = establish(&mut cache, 77, false, [(key("a", 0), want(0), said(5, 9)), (key("b", 0), want(3), said(3, 0))], 0);
        assert_eq!(id, 77);
        (cache, id)
    }

    #[test]
    fn a_full_fetch_makes_a_session_and_the_next_one_is_incremental() {
        let (mut cache, id) = established(10);
        let (context, wants) = begin(&mut cache, id, 1, false, vec![(key("a", 0), want(5))], &[], 1).expect("epoch 1 follows");
        assert_eq!(context, FetchContext::Incremental { session_id: id });
        assert_eq!(wants, vec![(key("a", 0), want(5)), (key("b", 0), want(3))]);
        assert!(!cache.must_send(id, &key("a", 0), said(5, 0)), "nothing new");
        assert!(cache.must_send(id, &key("b", 0), said(4, 0)), "the high watermark moved");
        assert!(!cache.must_send(id, &key("b", 0), said(4, 0)));
    }

    #[test]
    fn epochs_must_follow_and_unknown_ids_are_refused() {
        let (mut cache, id) = established(10);
        assert_eq!(begin(&mut cache, id, 2, false, vec![], &[], 1), Err(SessionError::InvalidEpoch));
        assert_eq!(begin(&mut cache, id + 1, 1, false, vec![], &[], 1), Err(SessionError::IdNotFound));
        assert_eq!(begin(&mut cache, id, 1, true, vec![], &[], 1), Err(SessionError::TopicIdMix));
        assert!(begin(&mut cache, id, 1, false, vec![], &[], 1).is_ok());
        assert_eq!(begin(&mut cache, id, 1, false, vec![], &[], 1), Err(SessionError::InvalidEpoch), "an epoch is used once");
        assert_eq!(next_epoch(i32::MAX), 1);
    }

    #[test]
    fn closing_and_emptying_end_a_session() {
        let (mut cache, id) = established(10);
        let (context, wants) = begin(&mut cache, id, FINAL_EPOCH, false, vec![], &[], 1).expect("close");
        assert_eq!((context, wants.len(), cache.len()), (FetchContext::Sessionless, 0, 0));
        let (mut cache, id) = established(10);
        let (context, _) = begin(&mut cache, id, 1, false, vec![], &[key("a", 0), key("b", 0)], 1).expect("forget all");
        assert_eq!((context, cache.len()), (FetchContext::Incremental { session_id: id }, 0));
        assert_eq!(cache.listed(id, 0, 10), (Vec::new(), None));
    }

    #[test]
    fn a_partition_with_records_goes_last_and_an_error_is_said_until_it_is_over() {
        let (mut cache, id) = established(10);
        assert!(cache.must_send(id, &key("a", 0), said(6, 100)));
        let (_, wants) = begin(&mut cache, id, 1, false, vec![], &[], 1).expect("next");
        assert_eq!(wants[0].0, key("b", 0));
        let error = FetchSaid { high_watermark: -1, log_start_offset: -1, error: 3, bytes: 0, must_send: false };
        assert!(cache.must_send(id, &key("b", 0), error));
        assert!(cache.must_send(id, &key("b", 0), error));
        assert!(cache.must_send(id, &key("b", 0), said(3, 0)));
    }

    #[test]
    fn slots_are_bounded_and_only_idle_sessions_are_evicted() {
        let (mut cache, first) = established(1);
        let again = |cache: &mut SessionCache, now| establish(cache, 77, false, [(key("c", 0), want(0), said(0, 0))], now);
        assert_eq!(again(&mut cache, EVICTION_IDLE_MS - 1), 0, "no slot");
        assert_eq!(again(&mut cache, EVICTION_IDLE_MS), 77, "the idle one went");
        assert_eq!(cache.len(), 1);
        assert_eq!(begin(&mut cache, first, 1, false, vec![], &[], 0).map(|r| r.1.len()), Ok(1));
        assert_eq!(establish(&mut SessionCache::new(0), 1, false, [(key("c", 0), want(0), said(0, 0))], 0), 0);
    }
}
