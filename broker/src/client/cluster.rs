//! `Cluster`: all connections to a cluster; finds who answers a request, and asks again where that helps.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kafka_protocol::messages::{ApiVersionsResponse, FindCoordinatorRequest};
use kafka_protocol::protocol::Request;

use super::address;
use super::backoff::Backoff;
use super::connection::{Connection, Sent};
use super::{ClientError, Partition, Settings, text};

/// Who is to answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum To {
    /// Any broker.
    Any,
    /// The controller, or the broker that stands for it.
    Controller,
    /// This broker.
    Node(i32),
    /// The coordinator of this group.
    Coordinator(String),
}

/// What a connection is for; long polls must not hold up a group's heartbeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    /// Requests that are answered at once, and Produce.
    Short,
    /// Fetch.
    Long,
    /// Group membership.
    Group,
}

/// Leader of a partition and its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leader {
    pub(crate) node: i32,
    pub(crate) epoch: i32,
}

/// A cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(super) settings: Settings,
    connections: BTreeMap<(i32, Lane), Connection>,
    /// Addresses by broker, as the cluster advertises them.
    pub(super) nodes: BTreeMap<i32, String>,
    pub(super) controller: Option<i32>,
    pub(super) leaders: BTreeMap<Partition, Leader>,
    coordinators: BTreeMap<String, i32>,
}

/// Stands for the broker that was reached first, whose number is not known yet.
const BOOTSTRAP: i32 = -1;

impl Cluster {
    /// Connects to the first address that answers.
    pub(crate) fn connect(settings: Settings) -> Result<Cluster, ClientError> {
        let mut cluster = Cluster {
            settings,
            connections: BTreeMap::new(),
            nodes: BTreeMap::new(),
            controller: None,
            leaders: BTreeMap::new(),
            coordinators: BTreeMap::new(),
        };
        cluster.bootstrap()?;
        Ok(cluster)
    }

    /// Connects to the first address that answers: the configured ones, then those that were learned.
    fn bootstrap(&mut self) -> Result<(), ClientError> {
        let mut tried = Vec::new();
        let addresses: Vec<String> = self.settings.brokers.iter().chain(self.nodes.values()).cloned().collect();
        for at in &addresses {
            match Connection::open(at, &self.settings) {
                Ok(connection) => {
                    self.connections.insert((BOOTSTRAP, Lane::Short), connection);
                    return Ok(());
                }
                Err(ClientError::Interrupted) => return Err(ClientError::Interrupted),
                Err(error) => tried.push(error.to_string()),
            }
        }
        tried.dedup();
        Err(ClientError::Unreachable { tried })
    }

    /// How long an operation may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.settings.timeout
    }

    /// The same in milliseconds, for requests that carry it.
    pub(crate) fn timeout_ms(&self) -> i32 {
        i32::try_from(self.settings.timeout.as_millis()).unwrap_or(i32::MAX)
    }

    /// What a broker said of its versions and features.
    pub(crate) fn about(&mut self, to: &To) -> Result<ApiVersionsResponse, ClientError> {
        let node = self.route(to)?;
        Ok(self.connection(node, Lane::Short)?.about().clone())
    }

    /// Whether a broker knows the API.
    pub(crate) fn supports<R: Request>(&mut self, to: &To) -> Result<bool, ClientError> {
        let node = self.route(to)?;
        Ok(self.connection(node, Lane::Short)?.version::<R>().is_ok())
    }

    /// Asks once.
    pub(crate) fn call<R: Request>(&mut self, to: &To, make: impl FnOnce(i16) -> R) -> Result<R::Response, ClientError> {
        let node = self.route(to)?;
        self.call_node(node, Lane::Short, self.settings.timeout, make)
    }

    /// Asks again while the answer, as `check` reads it, says that this may help, for the operation's time at most.
    pub(crate) fn ask<R: Request, T>(
        &mut self,
        to: &To,
        mut make: impl FnMut(i16) -> R,
        mut check: impl FnMut(R::Response) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        self.retry(|cluster| cluster.call(to, &mut make).and_then(&mut check))
    }

    /// Runs an operation again while it fails in a way that may pass, for the operation's time at most.
    pub(crate) fn retry<T>(&mut self, mut run: impl FnMut(&mut Cluster) -> Result<T, ClientError>) -> Result<T, ClientError> {
        let mut backoff = Backoff::until(Instant::now() + self.settings.timeout);
        loop {
            match run(self) {
                Err(error) if error.is_retriable() => {
                    self.forget_routes();
                    if !self.pause(&mut backoff)? {
                        return Err(error);
                    }
                }
                done => return done,
            }
        }
    }

    /// Waits before the next try; false when there is none.
    pub(super) fn pause(&self, backoff: &mut Backoff) -> Result<bool, ClientError> {
        match backoff.wait(Instant::now()) {
            None => Ok(false),
            Some(wait) => {
                #[allow(clippy::disallowed_methods)] // A program of one thread, not a shard.
                std::thread::sleep(wait);
                if self.settings.stop.is_raised() { Err(ClientError::Interrupted) } else { Ok(true) }
            }
        }
    }

    /// Forgets who leads and coordinates what.
    pub(crate) fn forget_routes(&mut self) {
        self.controller = None;
        self.leaders.clear();
        self.coordinators.clear();
    }

    /// A request and its answer over a lane.
    pub(super) fn call_node<R: Request>(
        &mut self,
        node: i32,
        lane: Lane,
        wait: Duration,
        make: impl FnOnce(i16) -> R,
    ) -> Result<R::Response, ClientError> {
        let sent = self.send(node, lane, make)?;
        self.receive::<R>(node, lane, sent, wait)
    }

    /// Sends a request; the answer is for [`Cluster::receive`].
    pub(super) fn send<R: Request>(&mut self, node: i32, lane: Lane, make: impl FnOnce(i16) -> R) -> Result<Sent, ClientError> {
        let connection = self.connection(node, lane)?;
        let result = connection.send(make);
        self.after(node, lane, result)
    }

    /// Sends a request that gets no answer.
    pub(super) fn send_unanswered<R: Request>(&mut self, node: i32, lane: Lane, make: impl FnOnce(i16) -> R) -> Result<(), ClientError> {
        let connection = self.connection(node, lane)?;
        let result = connection.send_unanswered(make);
        self.after(node, lane, result)
    }

    /// Waits for the answer to what was sent.
    pub(super) fn receive<R: Request>(&mut self, node: i32, lane: Lane, sent: Sent, wait: Duration) -> Result<R::Response, ClientError> {
        let Some(connection) = self.connections.get_mut(&(node, lane)) else {
            return Err(ClientError::Io { at: format!("broker {node}"), error: std::io::ErrorKind::NotConnected.into() });
        };
        let result = connection.receive::<R>(sent, wait);
        self.after(node, lane, result)
    }

    /// A connection with an error on it is of no use any more; an interrupted wait leaves it whole.
    fn after<T>(&mut self, node: i32, lane: Lane, result: Result<T, ClientError>) -> Result<T, ClientError> {
        if let Err(ClientError::Io { .. } | ClientError::Protocol { .. } | ClientError::Timeout { .. }) = &result {
            self.connections.remove(&(node, lane));
        }
        result
    }

    fn connection(&mut self, node: i32, lane: Lane) -> Result<&mut Connection, ClientError> {
        if !self.connections.contains_key(&(node, lane)) {
            if node == BOOTSTRAP {
                self.bootstrap()?;
            } else {
                let Some(at) = self.nodes.get(&node).cloned() else {
                    return Err(ClientError::kafka(8, Some("the cluster's metadata does not list it"), format!("broker {node}")));
                };
                let connection = Connection::open(&at, &self.settings)?;
                self.connections.insert((node, lane), connection);
            }
        }
        // Just put there if it was not; the bootstrap connection is in the short lane only.
        let lane = if node == BOOTSTRAP { Lane::Short } else { lane };
        let gone = || ClientError::Io { at: format!("broker {node}"), error: std::io::ErrorKind::NotConnected.into() };
        self.connections.get_mut(&(node, lane)).ok_or_else(gone)
    }

    /// The broker that a request goes to.
    pub(super) fn route(&mut self, to: &To) -> Result<i32, ClientError> {
        match to {
            To::Any => Ok(BOOTSTRAP),
            To::Controller => {
                if self.controller.is_none() {
                    self.refresh_nodes()?;
                }
                // A cluster that names no controller forwards for itself.
                Ok(self.controller.unwrap_or(BOOTSTRAP))
            }
            To::Node(node) => {
                if !self.nodes.contains_key(node) {
                    self.refresh_nodes()?;
                }
                Ok(*node)
            }
            To::Coordinator(group) => self.coordinator(group),
        }
    }

    /// The coordinator of a group.
    pub(crate) fn coordinator(&mut self, group: &str) -> Result<i32, ClientError> {
        if let Some(node) = self.coordinators.get(group) {
            return Ok(*node);
        }
        let make = |version| {
            let request = FindCoordinatorRequest::default();
            if version >= 4 { request.with_coordinator_keys(vec![text(group)]) } else { request.with_key(text(group)) }
        };
        let answer = self.call_node(BOOTSTRAP, Lane::Short, self.settings.timeout, make)?;
        let what = || format!("the coordinator of group '{group}'");
        let (code, message, node, host, port) = match answer.coordinators.into_iter().next() {
            Some(found) => (found.error_code, found.error_message, found.node_id, found.host, found.port),
            None => (answer.error_code, answer.error_message, answer.node_id, answer.host, answer.port),
        };
        ClientError::check(code, message.as_deref(), what)?;
        self.nodes.insert(*node, address::join(&host, port));
        self.coordinators.insert(group.to_string(), *node);
        Ok(*node)
    }
}
