//! A shard's listener and its connections: accept, limits, sweep, drain.
//!
//! Each shard listens on the same address (`SO_REUSEPORT`); the kernel spreads connections over them. One accept task per shard that
//! is never cancelled while it holds a connection: it waits for readiness and accepts without blocking.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use glommio::io::PollableFd;
use hashbrown::HashMap;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::connection::{self, Connection};
use super::quota::{AcceptRate, ConnectionLimits, ConnectionQuota};
use crate::config::{Config, Settings};
use crate::error::Fatal;
use crate::handler::ConnectionState;
use crate::limits;
use crate::metrics::{Counter, Gauge, ShardMetrics};
use crate::quota::shard::ResolvedCell;
use crate::shard::credits::WakerCell;
use crate::shard::task_queue::{self, Queue, Task};
use crate::shard::{Shard, clock};
use crate::stage::monotonic_us;

/// The network side of one shard.
pub struct Net {
    /// Largest request frame, bytes.
    pub request_bytes_max: usize,
    /// Idle time after which a connection is closed, milliseconds.
    pub idle_ms: i64,
    /// Open connections by number.
    pub connections: RefCell<HashMap<u64, Rc<Connection>>>,
    /// Memory of requests in flight.
    pub memory: RequestMemory,
    /// Where things are counted.
    pub metrics: Rc<ShardMetrics>,
    /// Woken when a connection has ended.
    pub(crate) ended: WakerCell,
    quota: Arc<ConnectionQuota>,
}

impl Net {
    /// No connections yet.
    pub fn new(config: &Config, metrics: Rc<ShardMetrics>, quota: Arc<ConnectionQuota>) -> Rc<Self> {
        Rc::new(Net {
            request_bytes_max: usize::try_from(config.socket_request_max_bytes).unwrap_or(0),
            idle_ms: config.connections_max_idle_ms,
            connections: RefCell::default(),
            memory: RequestMemory::default(),
            metrics,
            ended: WakerCell::default(),
            quota,
        })
    }

    /// Takes over the limits on connections of new settings.
    pub fn set_limits(&self, settings: &Settings) {
        self.quota.set_limits(ConnectionLimits::from_settings(settings));
    }

    /// Brings the gauges up to date, before they are read.
    pub fn observe(&self) {
        let connections = self.connections.borrow();
        let in_flight: usize = connections.values().map(|connection| connection.in_flight()).sum();
        self.metrics.set(Gauge::Connections, connections.len() as i64);
        self.metrics.set(Gauge::RequestsInFlight, in_flight as i64);
        self.metrics.set(Gauge::RequestBytes, self.memory.used() as i64);
    }

    /// Closes connections that have been idle or stuck for too long, once a second.
    pub async fn sweep(self: Rc<Self>) {
        loop {
            clock::sleep(Duration::from_secs(1)).await;
            let now = Instant::now();
            let all: Vec<_> = self.connections.borrow().values().cloned().collect();
            for some in all.chunks(SWEPT_PER_TURN) {
                some.iter().for_each(|connection| connection.sweep(now, self.idle_ms));
                task_queue::reactor_turn().await;
            }
        }
    }

    /// Stops reading on every connection and waits until each has answered what it has in flight, at most this long.
    pub async fn drain(&self, at_most: Duration) {
        let all: Vec<_> = self.connections.borrow().values().cloned().collect();
        for connection in all {
            connection.drain();
        }
        let done = self.ended.wait_until(|| self.connections.borrow().is_empty());
        let deadline = clock::sleep(at_most);
        futures_lite::pin!(done, deadline);
        if let futures_util::future::Either::Right(_) = futures_util::future::select(done, deadline).await {
            tracing::warn!(connections = self.connections.borrow().len(), "requests were still in flight at the end of the drain time");
        }
    }
}

/// Connections looked at between two turns of the shard.
const SWEPT_PER_TURN: usize = 512;

/// Memory of the requests that a shard has in flight. Above the bound no connection reads; what is in flight ends by itself.
#[derive(Default)]
pub struct RequestMemory {
    used: Rc<Cell<usize>>,
    waiting: Rc<RefCell<Vec<std::task::Waker>>>,
}

impl RequestMemory {
    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used.get()
    }

    /// Counts a request's bytes until the guard is dropped.
    pub fn hold(&self, bytes: usize) -> HeldMemory {
        self.used.set(self.used.get() + bytes);
        HeldMemory { used: Rc::clone(&self.used), waiting: Rc::clone(&self.waiting), bytes }
    }

    /// True below the bound.
    pub fn has_room(&self) -> bool {
        self.used.get() <= limits::SHARD_REQUEST_BYTES_MAX
    }

    /// Waits until the shard is below its bound.
    pub async fn wait_for_room(&self) {
        std::future::poll_fn(|cx| {
            if self.has_room() {
                return std::task::Poll::Ready(());
            }
            self.waiting.borrow_mut().push(cx.waker().clone());
            std::task::Poll::Pending
        })
        .await;
    }
}

/// See [`RequestMemory::hold`].
pub struct HeldMemory {
    used: Rc<Cell<usize>>,
    waiting: Rc<RefCell<Vec<std::task::Waker>>>,
    bytes: usize,
}

impl Drop for HeldMemory {
    fn drop(&mut self) {
        self.used.set(self.used.get() - self.bytes);
        if self.used.get() <= limits::SHARD_REQUEST_BYTES_MAX && !self.waiting.borrow().is_empty() {
            let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
            waiting.into_iter().for_each(std::task::Waker::wake);
        }
    }
}

/// Binds one listener per shard to the same address, without listening yet. Port 0 takes a free port, the same for all.
pub fn bind(address: SocketAddr, shards: u16, setting: &str) -> Result<(Vec<Socket>, SocketAddr), Fatal> {
    let fail = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            Fatal::new(format!("{setting} {address} is in use by another process: stop that process or choose another address"))
        }
        io::ErrorKind::AddrNotAvailable => {
            Fatal::new(format!("{setting} {address} is not an address of this host: choose one that is, or 0.0.0.0 for all"))
        }
        io::ErrorKind::PermissionDenied => {
            Fatal::new(format!("{setting} {address} may not be used by this user: choose a port above 1023"))
        }
        _ => Fatal::new(format!("{setting} {address} cannot be used: {error}")),
    };
    let open = |address: SocketAddr, shared: bool| -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(shared)?;
        socket.bind(&address.into())?;
        Ok(socket)
    };
    if shards > 1 {
        // With SO_REUSEPORT a second broker of the same user could bind the same port unnoticed: try without it first. The kernel refuses that
        // beside any socket that listens. This one must not listen, not even for a moment: who connected then would be closed with it.
        once_released(|| open(address, false)).map_err(fail)?;
    }
    let first = once_released(|| open(address, shards > 1)).map_err(fail)?;
    let bound = first.local_addr().ok().and_then(|a| a.as_socket()).unwrap_or(address);
    let mut listeners = vec![first];
    for _ in 1..shards {
        listeners.push(open(bound, true).map_err(fail)?);
    }
    Ok((listeners, bound))
}

/// Tries again for a moment while the address is in use: the kernel takes down an io_uring after its process is gone, and with it the
/// listener that the ring still polls (measured: 4 to 13 ms after kill -9), so a broker started at once would find its own old port.
fn once_released<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let deadline = Instant::now() + limits::ADDRESS_RELEASE;
    loop {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                #[allow(clippy::disallowed_methods, reason = "no shard runs yet")]
                std::thread::sleep(Duration::from_millis(1));
            }
            done => return done,
        }
    }
}

/// Accepts until the task is cancelled. The socket listens already: what came before waits in its backlog.
pub fn start(shard: &Rc<Shard>, net: &Rc<Net>, listener: Socket, per_second: u32) -> io::Result<Task<()>> {
    let listener = PollableFd::new(OwnedFd::from(listener)).map_err(io::Error::from)?;
    Ok(task_queue::spawn(Queue::Net, accept_loop(Rc::clone(shard), Rc::clone(net), listener, per_second)))
}

async fn accept_loop(shard: Rc<Shard>, net: Rc<Net>, listener: PollableFd<OwnedFd>, per_second: u32) {
    let mut rate = AcceptRate::new(per_second, Instant::now());
    let mut next_id = u64::from(shard.id.0) << 48;
    loop {
        if let Err(wait) = rate.take(Instant::now()) {
            // The rest wait in the backlog.
            clock::sleep(wait).await;
            continue;
        }
        let accepted = loop {
            match SockRef::from(listener.get_ref()).accept() {
                Ok(accepted) => break Ok(accepted),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(error) = listener.readable().await {
                        break Err(io::Error::from(error));
                    }
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) => {}
                Err(error) => break Err(error),
            }
        };
        match accepted {
            Ok((socket, address)) => {
                next_id += 1;
                let wait = net.quota.creation_wait(monotonic_us() / 1000);
                if !wait.is_zero() {
                    clock::sleep(wait).await;
                }
                if let Err(error) = admit(&shard, &net, socket, address.as_socket(), next_id) {
                    net.metrics.inc(Counter::ConnectionsRefused);
                    tracing::warn!(peer = ?address.as_socket(), %error, "refused a connection");
                }
            }
            Err(error) => {
                // Out of descriptors or memory: the connection stays in the backlog; try again when some may have been closed.
                tracing::warn!(shard = shard.id.0, %error, "cannot accept connections");
                clock::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Keeps a socket unanswered for so long, then closes it, so that a client above its quota does not come back at once (KIP-612).
fn hold(shard: &Rc<Shard>, socket: Socket, ms: u64) {
    // Above the bound it is closed at once.
    if shard.metrics.gauge(Gauge::HeldConnections) >= limits::HELD_CONNECTIONS_MAX {
        return;
    }
    let held = shard.metrics.held(Gauge::HeldConnections);
    let wait = async move {
        clock::sleep(Duration::from_millis(ms)).await;
        drop((socket, held));
    };
    task_queue::spawn(Queue::Background, wait).detach();
}

/// A place for the connection and its task; the socket is closed otherwise.
fn admit(shard: &Rc<Shard>, net: &Rc<Net>, socket: Socket, peer: Option<SocketAddr>, id: u64) -> Result<(), String> {
    let peer = peer.ok_or("not an internet address")?;
    if let Err(ms) = shard.quotas.connected(peer.ip()) {
        hold(shard, socket, ms);
        return Ok(());
    }
    let place = net.quota.take(peer.ip()).map_err(|refusal| refusal.to_string())?;
    // `accept` sets close-on-exec.
    let prepare = || -> io::Result<SocketAddr> {
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.local_addr()?.as_socket().ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))
    };
    let local = prepare().map_err(|error| error.to_string())?;
    let state = ConnectionState { id, peer, local, client_software: RefCell::new(None), quotas: ResolvedCell::default() };
    task_queue::spawn(Queue::Net, connection::serve(Rc::clone(shard), Rc::clone(net), OwnedFd::from(socket), state, place)).detach();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_released_in_a_moment_is_waited_for() {
        let mut attempts = 0;
        let done = once_released(|| {
            attempts += 1;
            if attempts < 3 { Err(io::Error::from(io::ErrorKind::AddrInUse)) } else { Ok(attempts) }
        });
        assert_eq!(done.expect("the third attempt succeeds"), 3);
        let mut attempts = 0;
        let refused = once_released::<()>(|| {
            attempts += 1;
            Err(io::Error::from(io::ErrorKind::PermissionDenied))
        });
        assert_eq!((refused.expect_err("not in use").kind(), attempts), (io::ErrorKind::PermissionDenied, 1));
    }

    #[test]
    fn an_address_that_stays_in_use_is_refused_in_one_sentence() {
        let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = held.local_addr().expect("bound");
        for shards in [1, 2] {
            let refused = bind(address, shards, "listeners").map(|(_, bound)| bound).expect_err("it is in use");
            assert!(refused.to_string().contains(&format!("listeners {address} is in use")), "{refused}");
        }
    }
}
