//! A connection: one task reads frames and starts requests in order, one sends the answers in order; requests that have to wait run as
//! tasks of their own in between.
//!
//! Every request is bounded: by the frame limit, by the in-flight slots of the connection, by the shard's memory for requests. A
//! protocol error, a panic of a handler or a deadline closes the connection with one log line.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use coreline_wire::api::ApiKey;
use coreline_wire::header;
use futures_util::FutureExt;
use glommio::io::PollableFd;
use socket2::SockRef;

use super::accept::Net;
use super::pipeline::{Outgoing, Pipeline, Slot};
use super::quota::ConnectionPlace;
use super::receive_buffer::ReceiveBuffer;
use super::{send, throttle};
use crate::dispatch::{self, Route};
use crate::handler::{Begun, ConnectionState, HandlerError, HandlerResult, RequestContext, Track};
use crate::limits;
use crate::metrics::{Counter, Gauge, ShardMetrics};
use crate::quota::ShardQuotas;
use crate::shard::credits::WakerCell;
use crate::shard::task_queue::{self, Queue, Task};
use crate::shard::{Shard, clock};
use crate::stage::{Stage, StageStamps, monotonic_us};
use crate::sys;

/// A connection as its tasks and the shard's sweeper see it.
pub struct Connection {
    state: Rc<ConnectionState>,
    socket: PollableFd<OwnedFd>,
    pipeline: RefCell<Pipeline<Task<()>>>,
    /// The writer waits here for an answer to send.
    writer: WakerCell,
    /// The reader waits here for room in the pipeline, or for its end when draining.
    room: WakerCell,
    progress: Progress,
    quotas: Rc<ShardQuotas>,
    /// Not read until then, because of a quota.
    muted_until: Cell<Option<Instant>>,
    draining: Cell<bool>,
    /// Why it is being closed; the first reason stays.
    closing: RefCell<Option<Closing>>,
}

/// What the sweeper looks at.
struct Progress {
    /// Last byte received or sent, last request answered.
    active_at: Cell<Instant>,
    /// Start of the current stretch of a partial frame, and the bytes that must have arrived by its end.
    frame_at: Cell<Option<Instant>>,
    frame_due_bytes: Cell<usize>,
}

/// Why a connection ends.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Closing {
    /// The client closed it, or the network did.
    Peer,
    /// The broker is stopping and every request is answered.
    Drained,
    /// No request for `connections.max.idle.ms`.
    Idle,
    /// The client broke the protocol, or a deadline, or a handler panicked: said in the log.
    Fault { request: Option<String>, reason: String },
}

impl Connection {
    fn close(&self, why: Closing) {
        let mut closing = self.closing.borrow_mut();
        if closing.is_none() {
            *closing = Some(why);
            // Wakes the reader and a waiting writer; the descriptor itself is closed when the last task lets go of it.
            let _ = SockRef::from(self.socket.get_ref()).shutdown(Shutdown::Both);
        }
        drop(closing);
        self.room.wake();
    }

    fn is_closing(&self) -> bool {
        self.closing.borrow().is_some()
    }

    /// Lets what was asked before the end be answered, as far as that does not take long.
    async fn last_answers(&self, why: &Closing) {
        if matches!(why, Closing::Peer | Closing::Fault { .. }) {
            let answered = self.room.wait_until(|| self.pipeline.borrow().is_empty() || self.is_closing());
            let _ = clock::within(limits::LAST_ANSWERS, answered).await;
        }
    }

    /// Stops reading; the connection closes when every request in flight is answered.
    pub fn drain(&self) {
        self.draining.set(true);
        let _ = SockRef::from(self.socket.get_ref()).shutdown(Shutdown::Read);
        self.room.wake();
    }

    /// Closes what has been quiet or stuck for too long. Called by the shard's sweeper.
    pub fn sweep(&self, now: Instant, idle_ms: i64) {
        let quiet = now.saturating_duration_since(self.progress.active_at.get());
        if let Some(since) = self.progress.frame_at.get()
            && now.saturating_duration_since(since).as_secs() >= limits::FRAME_PROGRESS_SECONDS
        {
            let reason = format!("a request did not arrive within {} s", limits::FRAME_PROGRESS_SECONDS);
            self.close(Closing::Fault { request: None, reason });
        } else if quiet.as_millis() as i64 >= idle_ms && self.muted_until.get().is_none() {
            let pipeline = self.pipeline.borrow();
            // A long poll in flight is not idle; an answer that the client does not take is.
            let stuck = pipeline.in_flight() == 0 || pipeline.pending_bytes() > 0;
            drop(pipeline);
            if stuck {
                self.close(Closing::Idle);
            }
        }
    }

    /// Requests that are not answered yet.
    pub fn in_flight(&self) -> usize {
        self.pipeline.borrow().in_flight()
    }

    fn finish(&self, slot: Slot, outgoing: Outgoing) {
        let kept = self.pipeline.borrow_mut().finish(slot, outgoing);
        if let Some(task) = kept {
            // The request's own task is what calls this; dropping its handle would cancel it.
            task.detach();
        }
        self.progress.active_at.set(Instant::now());
        self.writer.wake();
    }

    /// Stops reading for so long.
    fn mute(&self, ms: u64) {
        if ms > 0 {
            let until = Instant::now() + Duration::from_millis(ms);
            self.muted_until.set(self.muted_until.get().max(Some(until)));
        }
    }

    /// A handler's outcome into its slot, or the end of the connection.
    fn conclude(&self, slot: Slot, ctx: &RequestContext, mut result: HandlerResult) {
        if self.quotas.active()
            && let Ok(response) = &mut result
        {
            self.mute(throttle::settle(&self.quotas, ctx, response));
        }
        match result.and_then(|response| dispatch::outgoing(ctx, response)) {
            Ok(outgoing) => self.finish(slot, outgoing),
            Err(HandlerError::Stopping) => self.close(Closing::Drained),
            Err(HandlerError::Close(reason)) => self.close(Closing::Fault { request: Some(dispatch::describe(ctx)), reason }),
        }
    }
}

/// Serves a connection until it ends. The shard's accept task starts this as a task of its own.
pub async fn serve(shard: Rc<Shard>, net: Rc<Net>, socket: OwnedFd, state: ConnectionState, place: ConnectionPlace) {
    let state = Rc::new(state);
    let socket = match PollableFd::new(socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::warn!(peer = %state.peer, %error, "connection refused");
            return;
        }
    };
    let connection = Rc::new(Connection {
        state: Rc::clone(&state),
        socket,
        pipeline: RefCell::default(),
        writer: WakerCell::default(),
        room: WakerCell::default(),
        progress: Progress { active_at: Cell::new(Instant::now()), frame_at: Cell::new(None), frame_due_bytes: Cell::new(0) },
        quotas: Rc::clone(&shard.quotas),
        muted_until: Cell::new(None),
        draining: Cell::new(false),
        closing: RefCell::new(None),
    });
    net.connections.borrow_mut().insert(state.id, Rc::clone(&connection));
    net.metrics.inc(Counter::ConnectionsAccepted);
    let writer = task_queue::spawn(Queue::Net, write_loop(Rc::clone(&connection), Rc::clone(&net.metrics)));

    let mut reader =
        Reader { shard, net: Rc::clone(&net), connection: Rc::clone(&connection), client_id: None, frame_us: 0, received_us: 0 };
    let ended = AssertUnwindSafe(reader.run()).catch_unwind().await;
    match ended {
        Ok(why) => {
            connection.last_answers(&why).await;
            connection.close(why);
        }
        Err(panic) => {
            net.metrics.inc(Counter::HandlerPanics);
            connection.close(Closing::Fault { request: None, reason: format!("panic: {}", panic_text(&*panic)) });
        }
    }

    // Nobody reads the answers any more: cancel what still runs, long polls among it.
    let running = connection.pipeline.borrow_mut().abandon();
    drop(running);
    writer.cancel().await;
    net.connections.borrow_mut().remove(&state.id);
    let client_id = reader.client_id.as_deref().unwrap_or("");
    let why = connection.closing.borrow_mut().take();
    match why {
        Some(Closing::Fault { request, reason }) => {
            net.metrics.inc(Counter::ConnectionsClosed);
            let request = request.unwrap_or_default();
            tracing::warn!(client_id, peer = %state.peer, request, reason, "closed a connection");
        }
        why => tracing::debug!(client_id, peer = %state.peer, ?why, "connection ended"),
    }
    drop(place);
    net.ended.wake();
}

/// Sends finished answers in order.
async fn write_loop(connection: Rc<Connection>, metrics: Rc<ShardMetrics>) {
    let mut parts = VecDeque::new();
    let mut answered: Vec<(ApiKey, StageStamps)> = Vec::new();
    loop {
        {
            let pipeline = &connection.pipeline;
            connection.writer.wait_until(|| pipeline.borrow().front_is_done()).await;
        }
        while let Some(outgoing) = { connection.pipeline.borrow_mut().take_ready() } {
            parts.extend(outgoing.chunks);
            answered.extend(outgoing.request);
        }
        let sent = send::send_all(&connection.socket, &mut parts, |bytes| {
            metrics.add(Counter::BytesSent, bytes as u64);
            connection.pipeline.borrow_mut().sent(bytes);
            connection.progress.active_at.set(Instant::now());
            connection.room.wake();
        })
        .await;
        let now_us = monotonic_us();
        for (api, mut stamps) in answered.drain(..) {
            stamps.mark(Stage::Send, now_us);
            metrics.request(api, &stamps);
        }
        // A request without an answer makes room too.
        connection.room.wake();
        if let Err(error) = sent {
            let gone =
                matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted);
            connection.close(match gone {
                true => Closing::Peer,
                false => Closing::Fault { request: None, reason: format!("sending an answer: {error}") },
            });
            return;
        }
    }
}

/// The reading side.
struct Reader {
    shard: Rc<Shard>,
    net: Rc<Net>,
    connection: Rc<Connection>,
    client_id: Option<Rc<str>>,
    /// When the first byte of the frame at the front came, and when the last bytes did.
    frame_us: u64,
    received_us: u64,
}

impl Reader {
    async fn run(&mut self) -> Closing {
        let mut buffer = ReceiveBuffer::new(self.net.request_bytes_max);
        let mut started = 0;
        loop {
            loop {
                let frame = match buffer.next_frame() {
                    Ok(Some(frame)) => frame,
                    Ok(None) => break,
                    Err(error) => return Closing::Fault { request: None, reason: error.to_string() },
                };
                self.connection.progress.frame_at.set(None);
                self.room().await;
                self.muted().await;
                if self.connection.is_closing() || self.connection.draining.get() {
                    return self.drained().await;
                }
                if let Err(fault) = self.start(frame).await {
                    return fault;
                }
                started += 1;
                if started % limits::REQUESTS_PER_TURN == 0 {
                    task_queue::reactor_turn().await;
                }
            }
            if !self.net.memory.has_room() {
                // Let some requests of this shard end first. That wait is not the client's.
                self.connection.progress.frame_at.set(None);
                self.net.memory.wait_for_room().await;
            }
            self.muted().await;
            self.expect_progress(&buffer);
            let partial = buffer.pending_bytes() > 0;
            match self.receive(&mut buffer).await {
                Ok(0) if self.connection.draining.get() => return self.drained().await,
                Ok(0) => return Closing::Peer,
                Ok(_) => {
                    self.connection.progress.active_at.set(Instant::now());
                    self.received_us = monotonic_us();
                    if !partial {
                        self.frame_us = self.received_us;
                    }
                }
                Err(fault) => return fault,
            }
        }
    }

    /// Waits until another request may start.
    async fn room(&self) {
        let connection = &self.connection;
        connection.room.wait_until(|| connection.pipeline.borrow().has_room() || connection.is_closing()).await;
    }

    /// Waits while the connection is muted; its end and the broker's stop end the wait.
    async fn muted(&self) {
        let connection = &self.connection;
        if connection.muted_until.get().is_none() {
            return;
        }
        let muted = self.net.metrics.held(Gauge::MutedConnections);
        while let Some(until) = connection.muted_until.get() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                connection.muted_until.set(None);
                break;
            }
            // That wait is not the client's.
            connection.progress.frame_at.set(None);
            let over = connection.room.wait_until(|| connection.is_closing() || connection.draining.get());
            if clock::within(left, over).await.is_some() {
                break;
            }
        }
        drop(muted);
        connection.progress.active_at.set(Instant::now());
    }

    /// Waits until every request is answered.
    async fn drained(&self) -> Closing {
        let connection = &self.connection;
        connection.room.wait_until(|| connection.pipeline.borrow().is_empty() || connection.is_closing()).await;
        Closing::Drained
    }

    /// Sets or renews the deadline of a partial frame; a big one must arrive at a steady rate.
    fn expect_progress(&self, buffer: &ReceiveBuffer) {
        let progress = &self.connection.progress;
        let have = buffer.pending_bytes();
        if have == 0 {
            progress.frame_at.set(None);
        } else if progress.frame_at.get().is_none() || have >= progress.frame_due_bytes.get() {
            let stretch = match buffer.frame_bytes() {
                Ok(Some(size)) => (size / limits::FRAME_PROGRESS_PARTS).max(limits::BIG_FRAME_BYTES),
                _ => limits::BIG_FRAME_BYTES,
            };
            progress.frame_at.set(Some(Instant::now()));
            progress.frame_due_bytes.set(have + stretch);
        }
    }

    /// Receives some bytes; 0 at the end of the stream.
    async fn receive(&self, buffer: &mut ReceiveBuffer) -> Result<usize, Closing> {
        let socket = &self.connection.socket;
        loop {
            let (bytes, most) = buffer.room().map_err(|error| Closing::Fault { request: None, reason: error.to_string() })?;
            match sys::recv(socket.get_ref().as_fd(), bytes, most) {
                Ok(read) => {
                    self.net.metrics.add(Counter::BytesReceived, read as u64);
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    buffer.shrink();
                    socket.readable().await.map_err(|_| Closing::Peer)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Closing::Peer),
            }
        }
    }

    /// Starts a request: its ordered part is over when this returns.
    async fn start(&mut self, frame: Bytes) -> Result<(), Closing> {
        let held = self.net.memory.hold(frame.len());
        let (header, body) = header::decode_request(&frame)
            .map_err(|error| Closing::Fault { request: None, reason: format!("malformed request header: {error}") })?;
        if self.client_id.as_deref() != header.client_id.as_ref().map(|id| id.as_str()) {
            self.client_id = header.client_id.as_ref().map(|id| Rc::from(id.as_str()));
        }
        let ctx = RequestContext {
            api_key: header.api_key,
            api_version: header.api_version,
            correlation_id: header.correlation_id,
            client_id: self.client_id.clone(),
            peer: self.connection.state.peer,
            connection: Rc::clone(&self.connection.state),
            received_at: Instant::now(),
            track: Rc::new(Track::start(self.frame_us, Some(self.shard.pulse.work()))),
        };
        self.frame_us = self.received_us;
        ctx.mark(Stage::Receive);
        let slot = self.connection.pipeline.borrow_mut().start();
        let api = match dispatch::route(&ctx) {
            Route::Serve(api) => api,
            Route::Answer(outgoing) => {
                self.connection.finish(slot, outgoing);
                return Ok(());
            }
            Route::Close(reason) => return Err(self.unanswerable(slot, &ctx, reason)),
        };
        let timed = self.shard.quotas.times_requests();
        let mut beginning = std::pin::pin!(AssertUnwindSafe(dispatch::begin(&self.shard, api, ctx.clone(), body)).catch_unwind());
        let begun = if timed { throttle::timed(Rc::clone(&ctx.track), beginning.as_mut()).await } else { beginning.await };
        let future = match begun {
            Ok(Begun::Pending(future)) if timed => Box::pin(throttle::timed(Rc::clone(&ctx.track), future)),
            Ok(Begun::Done(Err(HandlerError::Close(reason)))) => return Err(self.unanswerable(slot, &ctx, reason)),
            Ok(Begun::Done(result)) => {
                self.connection.conclude(slot, &ctx, result);
                return Ok(());
            }
            Ok(Begun::Pending(future)) => future,
            Err(panic) => return Err(self.panicked(&ctx, &*panic)),
        };
        // Run up to its first wait here; most requests never wait and cost no task.
        let mut future = AssertUnwindSafe(future).catch_unwind();
        match futures_util::poll!(&mut future) {
            Poll::Ready(Ok(Err(HandlerError::Close(reason)))) => return Err(self.unanswerable(slot, &ctx, reason)),
            Poll::Ready(Ok(result)) => self.connection.conclude(slot, &ctx, result),
            Poll::Ready(Err(panic)) => return Err(self.panicked(&ctx, &*panic)),
            Poll::Pending => {
                let connection = Rc::clone(&self.connection);
                let net = Rc::clone(&self.net);
                let task = task_queue::spawn(dispatch::queue(api), async move {
                    match future.await {
                        Ok(result) => connection.conclude(slot, &ctx, result),
                        Err(panic) => {
                            net.metrics.inc(Counter::HandlerPanics);
                            let reason = format!("panic: {}", panic_text(&*panic));
                            connection.close(Closing::Fault { request: Some(dispatch::describe(&ctx)), reason });
                        }
                    }
                    drop(held);
                });
                self.connection.pipeline.borrow_mut().keep(slot, task);
            }
        }
        Ok(())
    }

    /// The end of the connection by a request that is not answered; those before it still are.
    fn unanswerable(&self, slot: Slot, ctx: &RequestContext, reason: String) -> Closing {
        self.connection.pipeline.borrow_mut().withdraw(slot);
        Closing::Fault { request: Some(dispatch::describe(ctx)), reason }
    }

    fn panicked(&self, ctx: &RequestContext, panic: &(dyn std::any::Any + Send)) -> Closing {
        self.net.metrics.inc(Counter::HandlerPanics);
        Closing::Fault { request: Some(dispatch::describe(ctx)), reason: format!("panic: {}", panic_text(panic)) }
    }
}

/// The text of a panic, if it has one.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&'static str>().copied()).unwrap_or("no text")
}
