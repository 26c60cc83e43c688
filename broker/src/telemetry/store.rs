//! The clients that push metrics: what each was asked for, when it last came, and its series; the decision on each request (KIP-714).
//!
//! Shared by the shards, since a client's connections may be on several; locked for a few microseconds per request of these two APIs and per
//! `/metrics`. Time is an argument. Bounds: [`CLIENTS_MAX`] clients, the one heard of longest ago goes; [`SERIES_PER_CLIENT`] series of each and
//! [`SERIES_MAX`] in all, further ones are left out and counted.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use coreline_wire::error_code::ErrorCode;
use hashbrown::HashMap;
use uuid::Uuid;

use super::otlp::{Point, PointKind};
use super::subscription::{Asked, ClientFacts};

/// Clients that are known at once.
pub const CLIENTS_MAX: usize = 4_096;
/// Series of one client.
pub const SERIES_PER_CLIENT: usize = 256;
/// Series of all clients.
pub const SERIES_MAX: usize = 50_000;
/// A client that was not heard of for so many of its intervals is forgotten, but not before [`FORGET_MS`].
const FORGET_INTERVALS: u64 = 3;
/// See [`FORGET_INTERVALS`].
const FORGET_MS: u64 = 60_000;

/// A metric of a client: its name and attributes.
type SeriesKey = (String, Vec<(String, String)>);

#[derive(Debug)]
struct Client {
    facts: ClientFacts,
    asked: Asked,
    subscription_id: i32,
    /// Which subscriptions it was matched with.
    version: u64,
    got_ms: Option<u64>,
    /// It has got its subscription and not pushed since.
    may_push: bool,
    pushed_ms: Option<u64>,
    seen_ms: u64,
    terminating: bool,
    /// The last error sends it for its subscription at once.
    must_ask: bool,
    series: BTreeMap<SeriesKey, (f64, bool)>,
}

#[derive(Debug, Default)]
struct State {
    clients: HashMap<Uuid, Client>,
    series: usize,
    left_out: u64,
    pushes: u64,
}

/// See the head of the file.
#[derive(Debug, Default)]
pub struct TelemetryStore(Mutex<State>);

/// What a client is answered to GetTelemetrySubscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// Names this set of metrics.
    pub subscription_id: i32,
    /// What it is asked for.
    pub asked: Asked,
}

/// What a push says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Push {
    /// The subscription that it answers.
    pub subscription_id: i32,
    /// The client ends.
    pub terminating: bool,
    /// Its compression is one of those offered.
    pub compression_known: bool,
    /// Bytes as sent are within `telemetry.max.bytes`.
    pub fits: bool,
}

impl TelemetryStore {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides GetTelemetrySubscriptions. `version` counts changes of the subscriptions; `ask` matches them.
    pub fn get(&self, id: Uuid, now_ms: u64, version: u64, client: Known<'_>) -> Result<Subscribed, ErrorCode> {
        let mut state = self.state();
        let client = state.client(id, now_ms, version, client);
        let last = client.got_ms.max(client.pushed_ms);
        let early = last.is_some_and(|last| now_ms.saturating_sub(last) < client.interval_ms());
        if early && !client.must_ask {
            return Err(ErrorCode::ThrottlingQuotaExceeded);
        }
        if !early {
            client.got_ms = Some(now_ms);
            client.may_push = true;
        }
        client.must_ask = false;
        Ok(Subscribed { subscription_id: client.subscription_id, asked: client.asked.clone() })
    }

    /// Decides whether a push is taken. One right behind the subscription may come before the interval is over, since clients spread their pushes.
    pub fn push(&self, id: Uuid, now_ms: u64, version: u64, push: Push, client: Known<'_>) -> Result<(), ErrorCode> {
        let mut state = self.state();
        let client = state.client(id, now_ms, version, client);
        let due = client.pushed_ms.is_none_or(|last| now_ms.saturating_sub(last) >= client.interval_ms());
        let ended = client.terminating;
        // As the last push said: in Kafka, too, a client that is refused once after its end may end again.
        client.terminating = push.terminating;
        let decided = if ended {
            Err(ErrorCode::InvalidRequest)
        } else if !client.may_push && !due && !push.terminating {
            Err(ErrorCode::ThrottlingQuotaExceeded)
        } else {
            client.pushed_ms = Some(now_ms);
            client.may_push = false;
            if push.subscription_id != client.subscription_id {
                Err(ErrorCode::UnknownSubscriptionId)
            } else if !push.compression_known {
                Err(ErrorCode::UnsupportedCompressionType)
            } else if !push.fits {
                Err(ErrorCode::TelemetryTooLarge)
            } else {
                Ok(())
            }
        };
        client.must_ask = matches!(decided, Err(ErrorCode::UnknownSubscriptionId | ErrorCode::UnsupportedCompressionType));
        decided
    }

    /// Takes over the points of a push that was taken.
    pub fn record(&self, id: Uuid, points: Vec<Point>, left_out: usize) {
        let mut state = self.state();
        let state = &mut *state;
        state.pushes += 1;
        state.left_out += left_out as u64;
        let Some(client) = state.clients.get_mut(&id) else { return };
        for point in points {
            let key = (point.name, point.attributes);
            let counted = point.kind != PointKind::Gauge;
            if let Some((value, _)) = client.series.get_mut(&key) {
                *value = if point.kind == PointKind::Delta { *value + point.value } else { point.value };
            } else if client.series.len() < SERIES_PER_CLIENT && state.series < SERIES_MAX {
                client.series.insert(key, (point.value, counted));
                state.series += 1;
            } else {
                state.left_out += 1;
            }
        }
    }

    /// Calls `each` with every series of the clients heard of lately: the client, the metric, its attributes, the value, whether it only grows. Answers with
    /// (clients, pushes, points left out).
    pub fn visit(&self, now_ms: u64, mut each: impl FnMut(&ClientFacts, &str, &[(String, String)], f64, bool)) -> (usize, u64, u64) {
        let mut state = self.state();
        state.forget(now_ms);
        for client in state.clients.values() {
            for ((name, attributes), (value, counted)) in &client.series {
                each(&client.facts, name, attributes, *value, *counted);
            }
        }
        (state.clients.len(), state.pushes, state.left_out)
    }
}

/// A client as its request shows it, and how to match it.
pub struct Known<'a> {
    /// What is known of it.
    pub facts: ClientFacts,
    /// Matches the subscriptions.
    pub ask: &'a dyn Fn(&ClientFacts) -> Asked,
}

impl Client {
    fn interval_ms(&self) -> u64 {
        u64::try_from(self.asked.interval_ms).unwrap_or(0)
    }
}

impl State {
    /// The client, made or matched anew as needed.
    fn client(&mut self, id: Uuid, now_ms: u64, version: u64, known: Known<'_>) -> &mut Client {
        if !self.clients.contains_key(&id) && self.clients.len() >= CLIENTS_MAX {
            self.forget(now_ms);
            let oldest = self.clients.iter().min_by_key(|(_, client)| client.seen_ms).map(|(id, _)| *id);
            if let Some(oldest) = oldest.filter(|_| self.clients.len() >= CLIENTS_MAX) {
                self.remove(oldest);
            }
        }
        let make = |facts: ClientFacts| {
            let asked = (known.ask)(&facts);
            Client {
                subscription_id: subscription_id(&asked, id),
                facts,
                asked,
                version,
                got_ms: None,
                may_push: false,
                pushed_ms: None,
                seen_ms: now_ms,
                terminating: false,
                must_ask: false,
                series: BTreeMap::new(),
            }
        };
        let client = self.clients.entry(id).or_insert_with(|| make(known.facts.clone()));
        if client.version < version {
            // It is told at once: times and errors begin anew, its series stay.
            let series = std::mem::take(&mut client.series);
            *client = Client { series, ..make(known.facts) };
        }
        client.seen_ms = now_ms;
        client
    }

    fn forget(&mut self, now_ms: u64) {
        let old = |client: &Client| now_ms.saturating_sub(client.seen_ms) > (client.interval_ms() * FORGET_INTERVALS).max(FORGET_MS);
        let gone: Vec<Uuid> = self.clients.iter().filter(|(_, client)| old(client)).map(|(id, _)| *id).collect();
        gone.into_iter().for_each(|id| self.remove(id));
    }

    fn remove(&mut self, id: Uuid) {
        if let Some(client) = self.clients.remove(&id) {
            self.series -= client.series.len();
        }
    }
}

/// Names what a client is asked for: changes with it, and differs between clients.
fn subscription_id(asked: &Asked, id: Uuid) -> i32 {
    let text = format!("{:?}{}", asked.metrics, asked.interval_ms);
    let folded = id.as_u128() ^ (id.as_u128() >> 64);
    (crc32fast::hash(text.as_bytes()) ^ (folded as u32) ^ ((folded >> 32) as u32)) as i32
}

#[cfg(test)]
mod tests {
    use super::super::subscription::tests::subscriptions;
    use super::*;

    const ID: Uuid = Uuid::from_u128(7);
    const PUSH: Push = Push { subscription_id: 0, terminating: false, compression_known: true, fits: true };

    fn point(name: &str, value: f64, kind: PointKind) -> Point {
        Point { name: name.to_owned(), attributes: vec![], value, kind }
    }

    fn every_second(facts: &ClientFacts) -> Asked {
        subscriptions(&[&[("metrics", "*"), ("interval.ms", "1000")]]).ask(facts)
    }

    fn known() -> Known<'static> {
        Known { facts: ClientFacts { client_id: "c".to_owned(), ..ClientFacts::default() }, ask: &every_second }
    }

    fn series(store: &TelemetryStore, now_ms: u64) -> Vec<(String, f64, bool)> {
        let mut all = Vec::new();
        store.visit(now_ms, |_, name, _, value, counted| all.push((name.to_owned(), value, counted)));
        all
    }

    #[test]
    fn a_client_asks_pushes_and_keeps_to_its_interval() {
        let store = TelemetryStore::default();
        let got = store.get(ID, 0, 1, known()).expect("the first time");
        assert_eq!(got.asked, Asked { metrics: vec!["*".to_owned()], interval_ms: 1000 });
        let push = Push { subscription_id: got.subscription_id, ..PUSH };
        assert_eq!(store.get(ID, 500, 1, known()), Err(ErrorCode::ThrottlingQuotaExceeded));
        assert_eq!(store.push(ID, 500, 1, push, known()), Ok(()), "right behind the subscription");
        assert_eq!(store.push(ID, 1_000, 1, push, known()), Err(ErrorCode::ThrottlingQuotaExceeded));
        assert_eq!(store.push(ID, 1_500, 1, push, known()), Ok(()));
        assert_eq!(
            store.push(ID, 2_500, 1, Push { compression_known: false, ..push }, known()),
            Err(ErrorCode::UnsupportedCompressionType)
        );
        assert!(store.get(ID, 2_501, 1, known()).is_ok(), "an error that asks for it");
        assert_eq!(store.push(ID, 3_600, 1, Push { fits: false, ..push }, known()), Err(ErrorCode::TelemetryTooLarge));
        // The subscriptions changed: the next push is of an old one, then the client is told at once.
        let other = |facts: &ClientFacts| subscriptions(&[&[("metrics", "a"), ("interval.ms", "2000")]]).ask(facts);
        let changed = || Known { ask: &other, ..known() };
        assert_eq!(store.push(ID, 3_700, 2, push, changed()), Err(ErrorCode::UnknownSubscriptionId));
        let again = store.get(ID, 3_701, 2, changed()).expect("at once");
        assert_ne!(again.subscription_id, got.subscription_id);
        let last = Push { subscription_id: again.subscription_id, terminating: true, ..PUSH };
        assert_eq!(store.push(ID, 3_702, 2, last, changed()), Ok(()), "the end need not wait");
        assert_eq!(store.push(ID, 9_000, 2, last, changed()), Err(ErrorCode::InvalidRequest), "after its end");
    }

    #[test]
    fn one_subscription_lets_one_push_through_however_fast_they_come() {
        let store = TelemetryStore::default();
        let push = Push { subscription_id: store.get(ID, 0, 1, known()).expect("the first time").subscription_id, ..PUSH };
        assert_eq!(store.push(ID, 0, 1, push, known()), Ok(()), "in the millisecond of the subscription");
        assert_eq!(store.push(ID, 0, 1, push, known()), Err(ErrorCode::ThrottlingQuotaExceeded), "and another one");
        assert!(store.get(ID, 1_000, 1, known()).is_ok());
        assert_eq!(store.push(ID, 1_000, 1, push, known()), Ok(()));
        assert_eq!(store.push(ID, 1_001, 1, push, known()), Err(ErrorCode::ThrottlingQuotaExceeded));
        assert_eq!(store.push(ID, 2_000, 1, push, known()), Ok(()), "its time has come");
        assert!(store.get(ID, 3_000, 1, known()).is_ok());
        assert_eq!(store.push(ID, 3_000, 1, Push { terminating: true, ..push }, known()), Ok(()));
    }

    #[test]
    fn gauges_replace_sums_grow_and_silent_clients_are_forgotten() {
        let store = TelemetryStore::default();
        store.get(ID, 0, 1, known()).expect("the first time");
        store.record(
            ID,
            vec![point("g", 1.0, PointKind::Gauge), point("d", 2.0, PointKind::Delta), point("s", 5.0, PointKind::Cumulative)],
            0,
        );
        store.record(
            ID,
            vec![point("g", 3.0, PointKind::Gauge), point("d", 2.0, PointKind::Delta), point("s", 6.0, PointKind::Cumulative)],
            1,
        );
        assert_eq!(series(&store, 1), [("d".to_owned(), 4.0, true), ("g".to_owned(), 3.0, false), ("s".to_owned(), 6.0, true)]);
        assert_eq!(store.visit(FORGET_MS, |_, _, _, _, _| {}), (1, 2, 1));
        assert_eq!(store.visit(FORGET_MS + 1, |_, _, _, _, _| {}), (0, 2, 1));
        assert_eq!(store.state().series, 0);
    }

    #[test]
    fn clients_and_series_are_bounded() {
        let store = TelemetryStore::default();
        store.get(ID, 0, 1, known()).expect("the first time");
        let many = (0..SERIES_PER_CLIENT + 5).map(|i| point(&i.to_string(), 1.0, PointKind::Gauge)).collect();
        store.record(ID, many, 0);
        assert_eq!((series(&store, 1).len(), store.visit(1, |_, _, _, _, _| {}).2), (SERIES_PER_CLIENT, 5));
        for n in 0..CLIENTS_MAX as u128 {
            store.get(Uuid::from_u128(100 + n), 1 + n as u64, 1, known()).expect("the first time");
        }
        assert_eq!(store.state().clients.len(), CLIENTS_MAX);
        assert!(series(&store, 5).is_empty(), "the one heard of longest ago went, with its series");
    }
}
